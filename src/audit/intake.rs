//! The first stage: a packet to the segments it holds, or to the reason why it belongs to no flow.

use std::collections::BTreeMap;

use crate::capture::{CaptureError, Filter, FilterError, LinkType, Packet, Timestamp, link_name};
use crate::flow::{Clock, Stamp};
use crate::packet::{Decoded, Decoder, Inside, Segment, Uncounted, inside, is_tunnel};
use crate::report::Account;

/// Filters, decodes, stamps, and counts what goes no further.
pub(super) struct Intake {
    filter: Option<Filter>,
    decoder: Decoder,
    clock: Clock,
    ordinal: u64,
    account: Account,
    undecoded: BTreeMap<(u16, u16), u64>,
}

/// What the intake hands its packets to.
pub(super) trait Downstream {
    /// A second of packet time begins with the packet of this ordinal, before that packet.
    fn tick(&mut self, ordinal: u64, now: Timestamp);
    /// A packet of some flow; one inside a tunnel comes after the tunnel's own.
    fn segment(&mut self, segment: &Segment<'_>, stamp: &Stamp);
}

impl Intake {
    pub(super) fn new(filter: Option<Filter>) -> Intake {
        Intake {
            filter,
            decoder: Decoder::new(),
            clock: Clock::default(),
            ordinal: 0,
            account: Account::default(),
            undecoded: BTreeMap::new(),
        }
    }

    /// What the audit's clock shows.
    pub(super) fn now(&self) -> Option<Timestamp> {
        self.clock.now()
    }

    /// How many packets were read.
    pub(super) fn ordinal(&self) -> u64 {
        self.ordinal
    }

    /// Takes the next packet.
    #[inline]
    pub(super) fn packet(
        &mut self,
        packet: &Packet<'_>,
        downstream: &mut impl Downstream,
    ) -> Result<(), FilterError> {
        self.ordinal += 1;
        if let Some(filter) = &mut self.filter
            && !filter.matches(packet)?
        {
            self.account.filtered_out += 1;
            return Ok(());
        }
        // Nothing here but moves what was decoded out of the processor's registers before it is downstream.
        match self.decoder.plain(packet) {
            Some(segment) if !is_tunnel(&segment.head) => {
                let stamp = stamp(&mut self.clock, self.ordinal, packet, downstream);
                downstream.segment(&segment, &stamp);
            }
            _ => self.any(packet, downstream),
        }
        Ok(())
    }

    /// Takes a packet of any kind.
    #[inline(never)]
    fn any(&mut self, packet: &Packet<'_>, downstream: &mut impl Downstream) {
        match self.decoder.decode(packet) {
            Decoded::Segment(segment) => {
                let stamp = stamp(&mut self.clock, self.ordinal, packet, downstream);
                downstream.segment(&segment, &stamp);
                if is_tunnel(&segment.head) {
                    self.account.tunnelled_unread += tunnelled(&segment, &stamp, downstream);
                }
            }
            Decoded::Held => {}
            Decoded::Uncounted(reason) => {
                *self.account.uncounted.entry(reason).or_default() += 1;
                if let LinkType::Other(code) = packet.link {
                    *self.undecoded.entry((packet.capture, code)).or_default() += 1;
                }
            }
        }
    }

    /// Time goes on without packets.
    pub(super) fn advance(&mut self, now: Timestamp, downstream: &mut impl Downstream) {
        let (clock, is_due) = self.clock.advance(now);
        if is_due {
            downstream.tick(self.ordinal, clock);
        }
    }

    /// Where the packets went so far that went no further; what fragments wait for is in none of the counts.
    pub(super) fn account(&self) -> Account {
        Account {
            read: self.ordinal,
            differing_fragments: self.decoder.fragment_conflicts(),
            ..self.account.clone()
        }
    }

    /// Where the packets went that went no further, and the captures whose link type is not decoded.
    pub(super) fn finish(mut self, captures: &[String]) -> (Account, Vec<CaptureError>) {
        let incomplete = self.decoder.finish();
        let given_up = self.decoder.take_given_up();
        let mut account = self.account();
        for (reason, packets) in [
            (Uncounted::FragmentIncomplete, incomplete + given_up.incomplete),
            (Uncounted::Malformed, given_up.malformed),
            (Uncounted::TruncatedBeforePorts, given_up.truncated),
        ] {
            *account.uncounted.entry(reason).or_default() += packets;
        }
        let undecoded = self.undecoded.iter().map(|(at, packets)| undecoded(captures, *at, *packets));
        (account, undecoded.collect())
    }
}

/// The clock goes on with a packet that belongs to a flow.
#[inline(always)]
fn stamp(clock: &mut Clock, ordinal: u64, packet: &Packet<'_>, downstream: &mut impl Downstream) -> Stamp {
    let (clock, is_due) = clock.advance(packet.time);
    if is_due {
        downstream.tick(ordinal, clock);
    }
    Stamp {
        capture: packet.capture,
        number: packet.number,
        ordinal,
        time: packet.time,
        precision: packet.precision,
        clock,
    }
}

/// What a tunnel carries is a flow besides the tunnel's own, accounted apart; says how many packets could not
/// be read to the innermost.
fn tunnelled(outermost: &Segment<'_>, stamp: &Stamp, downstream: &mut impl Downstream) -> u64 {
    let mut next = inside(outermost);
    while let Some(this) = next {
        let Inside::Segment(inner) = this else { return outermost.head.packets.into() };
        downstream.segment(&inner, stamp);
        next = inside(&inner);
    }
    0
}

fn undecoded(captures: &[String], (capture, code): (u16, u16), packets: u64) -> CaptureError {
    let name = link_name(code).map_or(String::new(), |name| format!(" ({name})"));
    CaptureError {
        capture: captures.get(usize::from(capture)).cloned().unwrap_or_default(),
        offset: None,
        packet: None,
        what: format!("link type {code}{name} is not decoded, {packets} packets were not audited"),
        advice: "capture on an Ethernet, raw IP, Linux cooked or loopback interface".to_owned(),
    }
}
