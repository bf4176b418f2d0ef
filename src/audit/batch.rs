//! Packets on their way from the one intake to the followers of many flow tables, many at a time.
//!
//! What headers say is copied; payload is not. It stays in the memory map, and a batch says where; only
//! what is in no map (pipes, compressed captures, datagrams put together from fragments) is kept in the
//! batch itself.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::Ipv6Addr;

use super::follower::{Event, Follower};
use super::intake::{Downstream, Intake};
use super::pool::Take;
use crate::capture::{FilterError, Maps, Packet, Secrets, Timestamp, near, near_to_write};
use crate::flow::{Limits, Stamp};
use crate::packet::{Addresses, Head, Segment};
use crate::protocol::tls::KeyStore;

/// How many flow tables an audit is spread over, whatever the number of threads: what a cap on one of them
/// refuses does not depend on that. One reader keeps no more threads busy; each doubling costs one thread some
/// hundredths of its time, since tables and payload are gone through more often.
pub(super) const SHARDS: usize = 8;
/// Packets handed over at once: few enough for the processor's caches, enough to make up for the handing over.
const PACKETS: usize = 1024;
/// Bytes of payload that a batch keeps itself before it is handed over, but for the last packet's.
const KEPT_BYTES: usize = 1 << 20;
/// Packets of one shard that are looked up together: enough to keep memory busy, and few of those that come
/// soon after the packet that began their flow.
pub(super) const RUN: usize = 32;
/// Flows left at the end are let go by their first packets, so many packets of the audit at a time: each of these may
/// have begun a flow, and several ranges are on their way at once.
pub(super) const RANGE: u64 = 1024;

/// The share of one shard in what all may grow to.
pub(super) fn share(limits: Limits) -> Limits {
    Limits { flows: limits.flows.div_ceil(SHARDS), stream_bytes: limits.stream_bytes.div_ceil(SHARDS) }
}

/// The ends of the ranges in which flows are let go that are left after so many packets.
pub(super) fn ranges(packets: u64) -> impl Iterator<Item = u64> {
    (0..=packets / RANGE).map(|range| (range + 1).saturating_mul(RANGE))
}

/// What the intake made of many packets, in their order.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Log lines of secrets that come before the first of these packets.
    secrets: Vec<Box<[u8]>>,
    /// When a second of packet time begins: before which packet, and what the clock shows.
    ticks: Vec<(u64, Timestamp)>,
    shards: [Vec<Item>; SHARDS],
    packets: usize,
    kept: Vec<u8>,
}

/// One packet of a flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) head: Head,
    pub(super) stamp: Stamp,
    payload: Place,
}

/// Where payload lies.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// In the map of the packet's capture.
    Mapped { start: usize, length: u32 },
    /// In the batch.
    Kept { start: usize, length: u32 },
}

impl Batch {
    /// There is nothing in it for anybody.
    pub(super) fn is_empty(&self) -> bool {
        self.packets == 0 && self.ticks.is_empty() && self.secrets.is_empty()
    }

    /// It waits for all packets before it, so that its secrets open none of those.
    pub(super) fn has_secrets(&self) -> bool {
        !self.secrets.is_empty()
    }

    /// Adds its secrets to the keys.
    pub(super) fn open(&self, keys: &KeyStore) {
        for secrets in &self.secrets {
            keys.add(secrets);
        }
    }

    /// Empties it, to be filled again; these secrets come first.
    pub(super) fn begin(&mut self, secrets: Vec<Box<[u8]>>) {
        self.secrets = secrets;
        self.ticks.clear();
        self.shards.iter_mut().for_each(Vec::clear);
        self.packets = 0;
        self.kept.clear();
    }

    /// The packets of one shard.
    pub(super) fn items(&self, shard: usize) -> &[Item] {
        self.shards.get(shard).map_or(&[], Vec::as_slice)
    }

    /// The seconds that begin, and with which packet.
    pub(super) fn ticks(&self) -> &[(u64, Timestamp)] {
        &self.ticks
    }

    /// Hands the packets of one shard to its follower.
    pub(super) fn follow(
        &self,
        shard: usize,
        maps: &Maps,
        follower: &mut Follower<'_>,
        events: &mut Vec<Event>,
    ) {
        let mut ticks = &self.ticks[..];
        for run in self.items(shard).chunks(RUN) {
            follower.expect(run.iter().map(|item| &item.head));
            // Payload was passed over when its headers were read, by another thread maybe.
            for payload in run.iter().map(|item| self.payload(item, maps)) {
                payload.first().into_iter().for_each(near);
            }
            for item in run {
                while let [(ordinal, now), rest @ ..] = ticks
                    && *ordinal <= item.stamp.ordinal
                {
                    follower.tick(*ordinal, *now, events);
                    ticks = rest;
                }
                follower.packet(&item.head, self.payload(item, maps), &item.stamp, events);
            }
        }
        for (ordinal, now) in ticks {
            follower.tick(*ordinal, *now, events);
        }
    }

    /// What a packet of this batch carries.
    pub(super) fn payload<'a>(&'a self, item: &Item, maps: &'a Maps) -> &'a [u8] {
        let (bytes, start, length) = match item.payload {
            Place::Mapped { start, length } => {
                let map = maps.get(usize::from(item.stamp.capture)).and_then(Option::as_ref);
                (map.map_or(&[][..], |map| map), start, length)
            }
            Place::Kept { start, length } => (&self.kept[..], start, length),
        };
        bytes.get(start..).and_then(|rest| rest.get(..length as usize)).unwrap_or_default()
    }

    fn place(&mut self, capture: u16, payload: &[u8], maps: &Maps) -> Place {
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let map = maps.get(usize::from(capture)).and_then(Option::as_ref);
        if let Some(start) = map.and_then(|map| map.offset_of(payload)) {
            return Place::Mapped { start, length };
        }
        let start = self.kept.len();
        self.kept.extend_from_slice(payload);
        Place::Kept { start, length }
    }
}

/// Which shard a flow belongs to: the same for both directions, and for the same capture in every run, yet
/// not to be foreseen by those who send its packets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spread {
    seed: Option<u64>,
}

/// An odd number without pattern (the golden ratio's fraction).
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

impl Spread {
    /// The seed is the first packet of the audit, and when it was captured.
    #[cold]
    fn begin(&mut self, packet: &Packet<'_>) {
        let mut hasher = DefaultHasher::new();
        (packet.time, packet.bytes).hash(&mut hasher);
        self.seed = Some(hasher.finish());
    }

    #[inline(always)]
    fn shard(self, head: &Head) -> usize {
        let seed = self.seed.unwrap_or_default();
        let addresses = match head.ends.addresses {
            Addresses::V4([a, b]) => u64::from(a) << 32 | u64::from(b),
            Addresses::V6([a, b]) => {
                let fold = |ip: Ipv6Addr| fold((ip.to_bits() >> 64) as u64 ^ seed, ip.to_bits() as u64 ^ MIX);
                fold(a).rotate_left(32) ^ fold(b)
            }
        };
        // The ends stand in one order for both directions.
        let [a, b] = head.ends.ports;
        let both = fold(addresses ^ seed, MIX ^ u64::from(u32::from(a) << 16 | u32::from(b)));
        (both % SHARDS as u64) as usize
    }
}

/// Both halves of a product, each bit of which hangs on all of the factors'.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

/// Fills a batch from the intake.
pub(super) struct Filling<'a> {
    intake: &'a mut Intake,
    /// Secrets for the next batch.
    secrets: &'a mut Vec<Box<[u8]>>,
    pouring: Pouring<'a>,
}

impl<'a> Filling<'a> {
    /// Goes on with a batch that was begun.
    pub(super) fn new(
        intake: &'a mut Intake,
        spread: &'a mut Spread,
        secrets: &'a mut Vec<Box<[u8]>>,
        maps: &'a Maps,
        batch: Box<Batch>,
    ) -> Filling<'a> {
        Filling { intake, secrets, pouring: Pouring { spread, maps, batch } }
    }

    /// What it filled.
    pub(super) fn into_batch(self) -> Box<Batch> {
        self.pouring.batch
    }
}

impl Take for Filling<'_> {
    fn packet(&mut self, packet: &Packet<'_>) -> Result<(), FilterError> {
        if self.pouring.spread.seed.is_none() {
            self.pouring.spread.begin(packet);
        }
        self.pouring.batch.packets += 1;
        self.intake.packet(packet, &mut self.pouring)
    }

    fn secrets(&mut self, secrets: &Secrets<'_>) {
        if secrets.kind == Secrets::TLS_KEY_LOG {
            let batch = &mut *self.pouring.batch;
            let place = if batch.packets == 0 { &mut batch.secrets } else { &mut *self.secrets };
            place.push(secrets.bytes.into());
        }
    }

    fn has_enough(&self) -> bool {
        let batch = &*self.pouring.batch;
        batch.packets >= PACKETS || batch.kept.len() >= KEPT_BYTES || !self.secrets.is_empty()
    }
}

/// A batch, as the intake sees it.
struct Pouring<'a> {
    spread: &'a mut Spread,
    maps: &'a Maps,
    batch: Box<Batch>,
}

impl Downstream for Pouring<'_> {
    fn tick(&mut self, ordinal: u64, now: Timestamp) {
        self.batch.ticks.push((ordinal, now));
    }

    #[inline(always)]
    fn segment(&mut self, segment: &Segment<'_>, stamp: &Stamp) {
        let payload = self.batch.place(stamp.capture, segment.payload, self.maps);
        let shard = self.spread.shard(&segment.head);
        if let Some(items) = self.batch.shards.get_mut(shard) {
            items.push(Item { head: segment.head, stamp: *stamp, payload });
            // The follower that reads these places read them last, maybe on another processor.
            items.spare_capacity_mut().get(1).into_iter().for_each(near_to_write);
        }
    }
}
