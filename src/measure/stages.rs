//! The audit up to a stage and no further: what a stage costs is what a run costs that ends with it, less
//! what a run costs that ends before it. So nothing is timed inside the audit, and nothing slows it down.

use std::error::Error;
use std::hint::black_box;
use std::io;
use std::num::NonZero;
use std::ops::ControlFlow::{Break, Continue};

use super::Seen;
use crate::audit::{Feed, Plan, Pool, Take, prefix};
use crate::capture::{
    self, CaptureError, FileSource, Filter, FilterError, Maps, Merged, Packet, Run, Secrets,
};
use crate::report::Account;

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

/// Reads the captures once; gives what is wrong with them. Each is measured up to there.
///
/// # Errors
/// What cannot be opened.
pub fn damage(captures: &[String]) -> Result<Vec<CaptureError>, CaptureError> {
    let mut reading = Reading::open(captures)?;
    let mut damage = Vec::new();
    loop {
        match reading.source.next_event() {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(damage),
            Err(error) => damage.push(error),
        }
    }
}

/// Audits through a stage and no further, on one thread.
///
/// # Errors
/// What cannot be opened, and a filter that makes no sense. Damage ends a capture and is no error here.
pub fn run(through: Stage, job: &Job<'_>) -> Result<Seen, Box<dyn Error>> {
    let mut reading = Reading::open(job.captures)?;
    let filter = || job.filter.map(Filter::new).transpose();
    let account = match through {
        Stage::Read => {
            reading.feed(&mut Untaken)?;
            return Ok(reading.seen);
        }
        Stage::Decode => prefix::decode(filter()?, &mut reading)?,
        Stage::Flow => prefix::flow(job.plan, filter()?, &mut reading)?,
        Stage::Recognise => prefix::recognise(job.plan, filter()?, &mut reading)?,
        Stage::Judge => whole(job, None::<io::Sink>, NonZero::<usize>::MIN, &mut reading)?,
        Stage::Write => whole(job, Some(io::sink()), NonZero::<usize>::MIN, &mut reading)?,
    };
    Ok(Seen { flows: account.flows, ..reading.seen })
}

/// Audits as `flowaudit check` does, on so many threads, and writes the report to nowhere.
///
/// # Errors
/// As [`run`].
pub fn check(threads: NonZero<usize>, job: &Job<'_>) -> Result<Seen, Box<dyn Error>> {
    let mut reading = Reading::open(job.captures)?;
    let account = whole(job, Some(io::sink()), threads, &mut reading)?;
    Ok(Seen { flows: account.flows, ..reading.seen })
}

fn whole(
    job: &Job<'_>,
    report: Option<impl io::Write>,
    threads: NonZero<usize>,
    reading: &mut Reading,
) -> Result<Account, Box<dyn Error>> {
    let filter = job.filter.map(Filter::new).transpose()?;
    let pool = Pool::new(job.plan, job.captures.to_vec(), filter, report, threads)?;
    Ok(pool.run(reading)?.account)
}

/// Captures being read, and what was read of them.
struct Reading {
    source: Merged,
    seen: Seen,
}

impl Reading {
    fn open(captures: &[String]) -> Result<Reading, CaptureError> {
        let captures = captures.iter().map(|path| capture::open(path)).collect::<Result<_, _>>()?;
        Ok(Reading { source: Merged::new(captures)?, seen: Seen::default() })
    }
}

impl Feed for Reading {
    fn feed(&mut self, taker: &mut impl Take) -> Result<bool, FilterError> {
        let Reading { source, seen } = self;
        loop {
            let run = source.run(|packet| {
                seen.packets += 1;
                seen.bytes += packet.bytes.len() as u64;
                match taker.packet(packet) {
                    Ok(()) if taker.has_enough() => Break(Ok(true)),
                    Ok(()) => Continue(()),
                    Err(error) => Break(Err(error)),
                }
            });
            match run {
                Ok(Run::Stopped(stopped)) => return stopped,
                Ok(Run::Secrets(secrets)) => taker.secrets(&secrets),
                Ok(Run::End) => return Ok(false),
                Err(_) => {}
            }
            if taker.has_enough() {
                return Ok(true);
            }
        }
    }

    fn maps(&self) -> Maps {
        self.source.captures().iter().map(FileSource::mapped).collect()
    }
}

/// Takes what is read, and does nothing with it.
struct Untaken;

impl Take for Untaken {
    fn packet(&mut self, packet: &Packet<'_>) -> Result<(), FilterError> {
        black_box(packet.time);
        Ok(())
    }

    fn secrets(&mut self, _: &Secrets<'_>) {}

    fn has_enough(&self) -> bool {
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
