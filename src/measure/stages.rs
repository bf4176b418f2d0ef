//! The audit up to a stage and no further: what a stage costs is what a run costs that ends with it, less
//! what a run costs that ends before it. So nothing is timed inside the audit, and nothing slows it down.

use std::error::Error;
use std::hint::black_box;
use std::io;
use std::sync::Arc;

use super::Seen;
use crate::audit::{Audit, FlowReader, Plan};
use crate::capture::{self, CaptureError, Event, Merged, Packet, Timestamp};
use crate::flow::{Clock, FlowTable, Reader, Stamp, Want};
use crate::packet::{Decoded, Decoder, Gap, Inside, Side, inside};

/// A stage of the audit, in the order in which a packet comes through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Packets out of the captures, merged by time.
    Read,
    /// Headers to addresses, ports and flags.
    Decode,
    /// The flow of every packet found and followed, and no payload read.
    Flow,
    /// Payload in order, and what it speaks recognised.
    Recognise,
    /// Flows that ended held against the policy, and counted for the summary.
    Judge,
    /// Rows of the report, to nowhere.
    Write,
}

impl Stage {
    /// All of them, in order.
    pub const ALL: [Stage; 6] =
        [Stage::Read, Stage::Decode, Stage::Flow, Stage::Recognise, Stage::Judge, Stage::Write];

    /// Its name, in one word.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Read => "read",
            Stage::Decode => "decode",
            Stage::Flow => "flow",
            Stage::Recognise => "recognise",
            Stage::Judge => "judge",
            Stage::Write => "write",
        }
    }
}

/// An audit to be measured.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// What flows are held against.
    pub plan: &'a Plan,
    /// The captures, merged into one audit.
    pub captures: &'a [String],
    /// Only packets that this pcap-filter(7) expression matches.
    pub filter: Option<&'a str>,
}

/// Audits through a stage and no further, on this thread and packet by packet.
///
/// # Errors
/// What cannot be opened or read. Damage ends a capture and is no error here.
pub fn run(through: Stage, job: &Job<'_>) -> Result<Seen, Box<dyn Error>> {
    let Job { plan, captures, .. } = *job;
    let opened = captures.iter().map(|path| capture::open(path)).collect::<Result<_, CaptureError>>()?;
    let source = Merged::new(opened)?;
    match through {
        Stage::Read => each_packet(source, |packet| {
            black_box(packet.time);
        }),
        Stage::Decode => decode(source),
        Stage::Flow => follow(source, FlowTable::<Deaf>::new(plan.limits, ())),
        Stage::Recognise => follow(source, FlowTable::<FlowReader>::new(plan.limits, Arc::clone(&plan.keys))),
        Stage::Judge => audit(source, Audit::new(plan, captures.to_vec(), None, None::<io::Sink>)?),
        Stage::Write => audit(source, Audit::new(plan, captures.to_vec(), None, Some(io::sink()))?),
    }
}

/// Audits as `flowaudit check` does, with so many threads.
pub fn check(_: usize, job: &Job<'_>) -> Result<Seen, Box<dyn Error>> {
    run(Stage::Write, job)
}

fn each_packet(mut source: Merged, mut take: impl FnMut(&Packet<'_>)) -> Result<Seen, Box<dyn Error>> {
    let mut seen = Seen::default();
    loop {
        match source.next_event() {
            Ok(Some(Event::Packet(packet))) => {
                seen.packets += 1;
                seen.bytes += packet.bytes.len() as u64;
                take(&packet);
            }
            Ok(Some(Event::Secrets(_))) | Err(_) => {}
            Ok(None) => return Ok(seen),
        }
    }
}

fn decode(source: Merged) -> Result<Seen, Box<dyn Error>> {
    let mut decoder = Decoder::new();
    each_packet(source, |packet| {
        black_box(decoder.decode(packet));
    })
}

fn follow<R: Reader>(source: Merged, mut flows: FlowTable<R>) -> Result<Seen, Box<dyn Error>> {
    let (mut decoder, mut clock) = (Decoder::new(), Clock::default());
    let (mut ended, mut ordinal) = (Vec::new(), 0);
    let seen = each_packet(source, |packet| {
        ordinal += 1;
        let Decoded::Segment(mut segment) = decoder.decode(packet) else { return };
        let &Packet { capture, number, time, precision, .. } = packet;
        let (now, is_due) = clock.advance(time);
        if is_due {
            flows.tick(now, &mut ended);
        }
        let stamp = Stamp { capture, number, ordinal, time, precision, clock: now };
        flows.packet(&segment.head, segment.payload, &stamp, &mut ended);
        while let Some(Inside::Segment(inner)) = inside(&segment) {
            flows.packet(&inner.head, inner.payload, &stamp, &mut ended);
            segment = inner;
        }
        ended.clear();
    })?;
    for (_, id) in flows.remaining() {
        drop(flows.end(id));
    }
    Ok(Seen { flows: flows.account().flows, ..seen })
}

fn audit<W: io::Write>(mut source: Merged, mut audit: Audit<'_, W>) -> Result<Seen, Box<dyn Error>> {
    let mut bytes = 0;
    loop {
        match source.next_event() {
            Ok(Some(Event::Packet(packet))) => {
                bytes += packet.bytes.len() as u64;
                audit.packet(&packet)?;
            }
            Ok(Some(Event::Secrets(secrets))) => audit.secrets(&secrets),
            Ok(None) => break,
            Err(_) => {}
        }
    }
    let outcome = audit.finish();
    Ok(Seen { packets: outcome.account.read, bytes, flows: outcome.account.flows })
}

/// Wants nothing, so that flows are followed and no payload is read.
struct Deaf;

impl Reader for Deaf {
    type Context = ();

    fn new((): &()) -> Deaf {
        Deaf
    }

    fn begins(&mut self) {}

    fn read(&mut self, _: Side, _: &[u8], _: Timestamp) -> Want {
        Want::NOTHING
    }

    fn gap(&mut self, _: Side, _: Gap, _: u64, _: Timestamp) -> u64 {
        0
    }

    fn closed(&mut self, _: Side, _: bool, _: Timestamp) {}

    fn datagram(&mut self, _: Side, _: &[u8], _: bool, _: Timestamp) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::{Inventory, Names};
    use crate::policy::{Options, Policy, Table};

    #[test]
    fn every_stage_sees_the_same_packets_and_flows() {
        let policy = Policy::new(
            Table::built_in().unwrap(),
            Inventory::default(),
            Names::default(),
            Options::default(),
        );
        let plan = Plan::new(policy);
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/captures");
        // Datagrams, VLAN tags, and a capture that is cut.
        let captures = ["match_L2_vlan_tls13.pcap", "match_L7_nats.pcap.gz", "hard_cut_file_L4.pcap"]
            .map(|name| format!("{folder}/{name}"));
        let job = Job { plan: &plan, captures: &captures, filter: None };
        let seen = Stage::ALL.map(|stage| run(stage, &job).unwrap());
        let whole = seen[5];
        assert!(whole.packets > 100 && whole.flows > 2, "{whole:?}");
        for (stage, seen) in Stage::ALL.iter().zip(seen) {
            let flows = if *stage < Stage::Flow { 0 } else { whole.flows };
            assert_eq!(seen, Seen { flows, ..whole }, "{stage:?}");
        }
    }
}
