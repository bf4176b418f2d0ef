//! The flow table: every packet goes to its flow, or begins one.

mod ending;
mod names;
mod resting;

use std::collections::{HashMap, VecDeque};
use std::net::Ipv6Addr;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use ending::{AT_ONCE, Candidate, WITH_EACH};
use names::{Choice, Named, is_opening};
use resting::Restless;

use super::ambiguity::Home;
use super::awake::Awake;
use super::budget::{Budget, Held};
use super::interned::Interned;
use super::limits::Limits;
use super::losses::Losses;
use super::reader::Reader;
use super::record::{Around, Cold, FOLLOWS, Hot, LIVE, NETWORK, OLD, READ, TcpSegment, WIDE};
use super::slab::Slab;
use super::wheel::{Entry, Wheel};
use super::{Ambiguity, Counters, Doubt, Flow, Key, Stamp};
use crate::capture::{Maps, Timestamp, near};
use crate::packet::{Addresses, Encapsulation, Head, Side, Transport};

/// So few flows are near the processor anyway: they need not be asked for ahead.
const FEW: usize = 1024;

/// What the table counted that no flow's own counters show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Flows begun.
    pub flows: u64,
    /// Flows that ended early to make room for others.
    pub evicted: u64,
    /// TCP segments whose bytes had all been seen before, of all flows.
    pub repeated: u64,
    /// Times a flow had to give up bytes because all of them together held too many.
    pub stream_refused: u64,
    /// Times bytes that were read and acknowledged were let go for that reason: nothing was left to compare with.
    pub uncompared: u64,
    /// Times a reader read no more of a direction because that would have cost more than packets earned.
    pub unread: u64,
    /// The most flows held at once.
    pub most_flows: u64,
}

/// All flows of an audit, or of a share of it.
///
/// A flow is two records under one number: what every packet looks at, in one cache line, and the rest.
/// With many flows nearly every look-up waits for memory, so packets come in runs: [`FlowTable::look_up`]
/// asks for everything a run will need, one kind of thing after the other, so that the waits overlap, and
/// [`FlowTable::packet_at`] then finds it near.
pub struct FlowTable<R: Reader> {
    context: R::Context,
    index: HashTable<Named>,
    hot: Slab<Hot>,
    cold: Slab<Cold<R>>,
    free: Vec<u32>,
    /// IPv6 addresses.
    wide: Interned<Ipv6Addr>,
    around: Interned<Around>,
    awake: Awake,
    /// The flows of these, in the order in which they are looked at.
    restless: VecDeque<Restless>,
    /// The flows before those that follow one under the same key.
    followed: HashMap<u32, u32, RandomState>,
    /// What some flows counted beyond what their records say.
    carried: HashMap<u32, Carried>,
    /// Flows whose bytes can be read in more than one way.
    ambiguous: HashMap<u32, Ambiguity>,
    hasher: RandomState,
    wheel: Wheel,
    passed: Vec<Entry>,
    /// Flows whose time is over, in the order in which they end, and how many may do so now.
    due: VecDeque<(First, Entry)>,
    allowance: usize,
    /// The place that is looked at next when room is needed, and what was found to be worth least, best last.
    hand: u32,
    worthless: Vec<Candidate>,
    /// The flow the last packet went to, and whether it was a datagram that was read.
    last: Option<u32>,
    was_read: bool,
    budget: Budget,
    /// Bytes in here stay, and need not be kept.
    maps: Maps,
    losses: Losses,
    limits: Limits,
    live: usize,
    account: Account,
    /// The flow whose reader came to know something with the last packet.
    news: Option<u32>,
    /// No packet comes any more: the index is gone.
    is_closing: bool,
}

/// Where a packet's flow was when it was looked up. A hint: the flow may have ended, or another may have
/// taken its place, before the packet's turn comes.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    half: u32,
    id: u32,
}

/// No flow has this number: caps end far below.
const NOWHERE: u32 = u32::MAX;

impl<R: Reader> FlowTable<R> {
    /// An empty table. The hash is seeded afresh: packets choose their own tuples.
    pub fn new(limits: Limits, context: R::Context) -> FlowTable<R> {
        FlowTable {
            context,
            index: HashTable::new(),
            hot: Slab::new(),
            cold: Slab::new(),
            free: Vec::new(),
            wide: Interned::new(),
            around: Interned::new(),
            awake: Awake::new(),
            restless: VecDeque::new(),
            followed: HashMap::default(),
            carried: HashMap::default(),
            ambiguous: HashMap::default(),
            hasher: RandomState::default(),
            wheel: Wheel::new(),
            passed: Vec::new(),
            due: VecDeque::new(),
            allowance: AT_ONCE,
            hand: 0,
            worthless: Vec::new(),
            last: None,
            was_read: false,
            budget: Budget::new(limits.stream_bytes),
            maps: Maps::new(),
            losses: Losses::default(),
            limits,
            live: 0,
            account: Account::default(),
            news: None,
            is_closing: false,
        }
    }

    /// Payload may lie in these maps, by the index of its capture: there it stays, and need not be kept.
    pub fn with_maps(self, maps: Maps) -> FlowTable<R> {
        FlowTable { maps, ..self }
    }

    /// What was counted so far.
    pub fn account(&self) -> Account {
        Account {
            stream_refused: self.budget.refused,
            uncompared: self.budget.uncompared,
            unread: self.budget.allowance.refused(),
            ..self.account
        }
    }

    /// Looks up the flows of a run of packets, to be handed to [`FlowTable::packet_at`] one by one; some
    /// hundred are enough to keep memory busy.
    pub fn look_up<'h>(&self, heads: impl IntoIterator<Item = &'h Head>, found: &mut Vec<Found>) {
        found.clear();
        found.extend(heads.into_iter().map(|head| self.hashed(&Key::of(head))));
        // Each of these loops asks for what the next one looks at: the waits of all packets overlap.
        if self.live >= FEW {
            found.iter().for_each(|found| self.near_place(found.half));
        }
        for found in found.iter_mut() {
            let half = found.half;
            let same = |named: &Named| named.half == half;
            found.id = self.index.find(Named::hash(&Named { half, id: 0 }), same).map_or(NOWHERE, |it| it.id);
        }
        if self.live < FEW {
            return;
        }
        let hot = |found: &Found| self.hot.get(found.id);
        found.iter().filter_map(hot).for_each(near);
        let is_read = |found: &&Found| hot(found).is_some_and(|hot| hot.is(READ));
        let cold = |found: &Found| self.cold.get(found.id);
        found.iter().filter(is_read).filter_map(cold).for_each(near);
        found.iter().filter(is_read).filter_map(cold).for_each(|cold| cold.expect(&self.awake));
    }

    /// Puts one decoded packet into its flow; flows that it takes the place of go to `ended`.
    pub fn packet(&mut self, head: &Head, payload: &[u8], stamp: &Stamp, ended: &mut Vec<Flow<R>>) {
        let found = self.hashed(&Key::of(head));
        self.packet_at(found, head, payload, stamp, ended);
    }

    /// As [`FlowTable::packet`], for a packet that was looked up.
    #[inline(always)]
    pub fn packet_at(
        &mut self,
        found: Found,
        head: &Head,
        payload: &[u8],
        stamp: &Stamp,
        ended: &mut Vec<Flow<R>>,
    ) {
        self.allowance = (self.allowance + WITH_EACH).min(AT_ONCE);
        self.budget.allowance.earn();
        if !self.due.is_empty() {
            self.end_due_before(found.half, head, stamp.clock, ended);
        }
        let (id, is_new) = match self.simply_goes_to(found.id, head) {
            true => (found.id, false),
            false => self.find_or_begin(found.half, head, stamp, ended),
        };
        (self.last, self.was_read) = (Some(id), false);
        let closed = self.follow(id, head, payload, stamp);
        // Its first packet tells which time-out a flow has; a close brings the deadline forward.
        if is_new || closed {
            self.wait_for_end(id);
        }
    }

    /// Whether a packet goes to this flow, and there is nothing to choose.
    #[inline(always)]
    fn simply_goes_to(&self, id: u32, head: &Head) -> bool {
        let Some(hot) = self.hot.get(id) else { return false };
        hot.flags & (LIVE | OLD | FOLLOWS) == LIVE
            && !is_opening(head)
            && self.has_key(id, hot, &Key::of(head))
    }

    /// The flow that a packet goes to, and whether it begins with it.
    #[inline(never)]
    fn find_or_begin(
        &mut self,
        half: u32,
        head: &Head,
        stamp: &Stamp,
        ended: &mut Vec<Flow<R>>,
    ) -> (u32, bool) {
        let key = Key::of(head);
        let previous = match self.find(half, &key).map(|id| self.choose(id, head)) {
            Some(Choice::This(id)) => return (id, false),
            Some(Choice::Successor(id)) => {
                self.end_oldest(id, ended);
                self.make_room(ended);
                // Either may have ended this one.
                self.find(half, &key)
            }
            None => {
                self.make_room(ended);
                None
            }
        };
        (self.begin(half, head, stamp, previous), true)
    }

    /// What read the last packet, if that was a datagram and wanted.
    pub fn last_reader(&self) -> Option<&R> {
        let id = self.last.filter(|_| self.was_read)?;
        self.hot.get(id)?.is(LIVE).then(|| &self.cold[id].reader)
    }

    /// Takes something out of [`FlowTable::last_reader`], which may hold less then.
    pub fn take_from_last<T>(&mut self, take: impl FnOnce(&mut R) -> T) -> Option<T> {
        let mut counted = Held::of(self.last_reader()?);
        let reader = &mut self.cold[self.last?].reader;
        let taken = take(reader);
        self.budget.recount(&mut counted, reader);
        Some(taken)
    }

    /// Whether there is news to take.
    #[inline]
    pub fn has_news(&self) -> bool {
        self.news.is_some()
    }

    /// The flow that the last packet belonged to, if its reader has news ([`Reader::has_news`]).
    pub fn take_news(&mut self) -> Option<Flow<&R>> {
        let id = self.news.take()?;
        self.get(id)
    }

    /// The flow that has this number now; see [`FlowTable::last`].
    pub fn get(&self, id: u32) -> Option<Flow<&R>> {
        self.hot.get(id).filter(|hot| hot.is(LIVE))?;
        Some(self.flow(id, false, &self.cold[id].reader))
    }

    /// The number of the flow the last packet went to. Another flow may have it once that one has ended.
    pub fn last(&self) -> Option<u32> {
        self.last
    }

    /// What tells the flow the last packet went to from all others.
    pub fn last_first(&self) -> Option<First> {
        Some(self.cold.get(self.last?)?.first())
    }

    /// Flows are numbered below this.
    pub fn numbers(&self) -> u32 {
        self.hot.len()
    }

    /// Flows in the table.
    pub fn len(&self) -> usize {
        self.live
    }

    /// No flow is in the table.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Packets of this time were dropped before they could be read: flows of that time may lack some.
    pub fn lost(&mut self, from: Timestamp, to: Timestamp) {
        self.losses.add(from, to);
    }

    /// Whether packets of the time of a flow were dropped.
    pub fn has_lost<T>(&self, flow: &Flow<T>) -> bool {
        self.losses.touch(flow.start, flow.is_over().then_some(flow.end))
    }

    /// A live flow, read by this.
    #[inline(always)]
    fn flow<T>(&self, id: u32, evicted: bool, reader: T) -> Flow<T> {
        let (hot, cold) = (&self.hot[id], &self.cold[id]);
        let carried = if self.carried.is_empty() { None } else { self.carried.get(&id) };
        let (around, (first_ordinal, _)) = (&self.around[cold.around], cold.first());
        let sent = |side: usize| {
            let carried = carried.map_or(Counters::default(), |carried| carried.sent[side]);
            Counters {
                packets: u64::from(hot.packets[side]) + carried.packets,
                bytes: u64::from(hot.bytes[side]) + carried.bytes,
            }
        };
        Flow {
            key: self.key(id),
            sent: [sent(0), sent(1)],
            start: cold.start,
            end: hot.end,
            precision: cold.precision(),
            first_sender: cold.first_sender(),
            opener: cold.opener(),
            first_packet: (around.capture, cold.number()),
            first_ordinal,
            encapsulation: around.encapsulation,
            repeated: u32::from(cold.repeated) + carried.map_or(0, |carried| carried.repeated),
            evicted,
            ambiguity: if self.ambiguous.is_empty() { None } else { self.ambiguous.get(&id).copied() },
            reader,
            tcp: hot.connection(),
        }
    }

    fn begin(&mut self, half: u32, head: &Head, stamp: &Stamp, previous: Option<u32>) -> u32 {
        let key = Key::of(head);
        let mut hot = Hot::EMPTY;
        (hot.flags, hot.end, hot.touched) = (LIVE, stamp.time, stamp.clock);
        (hot.ports, hot.transport) = (key.ports, key.transport.0);
        hot.set(READ, head.tcp.is_some() || key.transport == Transport::UDP);
        hot.set(NETWORK, key.network.is_some());
        match key.addresses {
            Addresses::V4(both) => [hot.a, hot.b] = both,
            Addresses::V6(both) => {
                hot.set(WIDE, true);
                [hot.a, hot.b] = both.map(|address| self.wide.keep(address));
            }
        }
        let around = self.around.keep(Around { encapsulation: head.encapsulation, capture: stamp.capture });
        let reader = R::new(&self.context);
        let id = match self.free.pop() {
            Some(id) => {
                let generation = self.cold[id].generation;
                (self.hot[id], self.cold[id]) = (hot, Cold::new(head, stamp, around, generation, reader));
                id
            }
            None => {
                self.cold.push(Cold::new(head, stamp, around, 0, reader));
                self.hot.push(hot)
            }
        };
        match previous {
            // The index names the newest flow of a key; the ones before hang on it.
            Some(previous) => {
                self.set_previous(id, Some(previous));
                self.hot[previous].set(OLD, true);
                if let Some(entry) = self.entry(half, previous) {
                    entry.into_mut().id = id;
                }
            }
            None => {
                let named = Named { half, id };
                self.index.insert_unique(named.hash(), named, Named::hash);
            }
        }
        if key.transport == Transport::TCP {
            self.reconsider();
        }
        self.live += 1;
        self.account.flows += 1;
        self.account.most_flows = self.account.most_flows.max(self.live as u64);
        id
    }

    /// VLAN tags and tunnels of a live flow.
    fn encapsulation(&self, id: u32) -> &Encapsulation {
        &self.around[self.cold[id].around].encapsulation
    }

    /// Lets a flow follow one packet of it; says whether that closed it.
    #[inline(always)]
    fn follow(&mut self, id: u32, head: &Head, payload: &[u8], stamp: &Stamp) -> bool {
        let (at, length, side) = (stamp.time, head.payload_length, head.ends.sender);
        let me = side.index();
        let hot = &mut self.hot[id];
        let packets = u64::from(hot.packets[me]) + u64::from(head.packets);
        let bytes = u64::from(hot.bytes[me]).saturating_add(head.wire_bytes);
        (hot.packets[me], hot.bytes[me]) = (packets as u32, bytes as u32);
        if (packets | bytes) > u64::from(u32::MAX) {
            carry(&mut self.carried, (id, side), packets, bytes);
        }
        if at >= hot.end {
            hot.end = at;
        } else {
            let start = &mut self.cold[id].start;
            *start = at.min(*start);
        }
        hot.touched = stamp.clock;
        // Of a flow that is not read any more, no bytes decide anything.
        if head.differing && hot.is(READ) {
            let sequence = head.tcp.map_or(0, |tcp| tcp.sequence);
            let sequence = sequence.wrapping_sub(hot.initial(side).unwrap_or(0));
            note(&mut self.ambiguous, id, Doubt::Fragments, sequence, stamp);
        }
        let Some(tcp) = head.tcp else {
            if hot.is(READ) && length > 0 {
                let cut = (payload.len() as u64) < u64::from(length);
                let cold = &mut self.cold[id];
                hot.set(READ, cold.datagram(side, payload, cut, at, &mut self.budget));
                self.was_read = true;
                if cold.reader.has_news() {
                    self.news = Some(id);
                }
            }
            return false;
        };
        let (repeated, closed) = match hot.goes_on(side, tcp, length) {
            Some(repeated) => (repeated, false),
            None => hot.turns(side, tcp, length),
        };
        if repeated {
            self.account.repeated += 1;
            let repeated = &mut self.cold[id].repeated;
            *repeated = repeated.wrapping_add(1);
            if *repeated == 0 {
                self.carried.entry(id).or_default().repeated += 1 << u16::BITS;
            }
        }
        if tcp.flags.syn() {
            self.cold[id].opened(side, tcp.flags.ack());
        }
        if hot.is(READ) {
            let cold = &mut self.cold[id];
            let home = Home { maps: &self.maps, capture: stamp.capture };
            let segment = TcpSegment { side, tcp, payload, length, at, home };
            cold.tells(&segment, hot.initial(side), &mut self.awake, &mut self.budget);
            if segment.is_piece() {
                let answered = hot.has_sent(side.other());
                self.budget.allowance.turn_to(hot.packets.map(u64::from).iter().sum());
                let (wanted, doubt) = cold.read(&segment, answered, &mut self.awake, &mut self.budget);
                hot.set(READ, wanted);
                self.news = cold.reader.has_news().then_some(id).or(self.news);
                if let Some((doubt, sequence)) = doubt {
                    let sequence = sequence.wrapping_sub(hot.initial(side).unwrap_or(0));
                    note(&mut self.ambiguous, id, doubt, sequence, stamp);
                }
            }
            if std::mem::take(&mut self.awake.woke) {
                self.wait_for_rest(id, stamp.clock);
            }
        }
        closed
    }
}

/// Orders flows by their first packets: its ordinal, and how many tunnels are around the flow, since one
/// packet may begin several flows, one inside the other.
pub type First = (u64, u8);

/// To be added to what the records of a flow say.
#[derive(Clone, Copy, Debug, Default)]
struct Carried {
    sent: [Counters; 2],
    repeated: u32,
}

/// What one side of a flow sent goes beyond what its record counts.
#[cold]
#[inline(never)]
fn carry(carried: &mut HashMap<u32, Carried>, (id, side): (u32, Side), packets: u64, bytes: u64) {
    const CARRY: u64 = !(u32::MAX as u64);
    let carried = &mut carried.entry(id).or_default().sent[side.index()];
    carried.packets += packets & CARRY;
    carried.bytes += bytes & CARRY;
}

/// Bytes of a flow can be read in more than one way; the first time that shows is remembered.
#[cold]
#[inline(never)]
fn note(ambiguous: &mut HashMap<u32, Ambiguity>, id: u32, doubt: Doubt, sequence: u32, stamp: &Stamp) {
    let packet = (stamp.capture, stamp.number);
    ambiguous.entry(id).or_insert(Ambiguity { doubt, sequence, packet });
}

#[cfg(test)]
mod tests;
