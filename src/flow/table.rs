//! The flow table: finds the flow of every packet, begins new ones, and lets go of those that are over.

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

use super::stream::{Budget, Piece, Reader, Streams};
use super::wheel::{Entry, Wheel};
use super::{Counters, Flow, Key, Opener, tcp};
use crate::capture::{Packet, Timestamp};
use crate::packet::{Segment, Side, Tcp, Transport};

/// How long a connection attempt without an answer is waited for.
const ATTEMPT: i64 = 60 * Timestamp::SECOND;
/// How long an open TCP connection may be idle: beyond the two hours of TCP keep-alive most hosts use.
const ESTABLISHED: i64 = 3 * 3600 * Timestamp::SECOND;
/// How long a closed connection stays known, so that late and doubly captured packets find it.
const CLOSED: i64 = 60 * Timestamp::SECOND;
/// How long a UDP flow may be idle.
const UDP: i64 = 120 * Timestamp::SECOND;
/// How long a flow of any other protocol may be idle.
const OTHER: i64 = 60 * Timestamp::SECOND;

/// How many connections that used the same ports one after the other are told apart.
const GENERATIONS: usize = 8;

/// What the flow table may grow to.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Flows at once; packets of further flows are counted and belong to none.
    pub flows: usize,
    /// Bytes held for reassembly, over all flows.
    pub stream_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { flows: 4_000_000, stream_bytes: 1 << 30 }
    }
}

/// What the table counted that no flow's own counters show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Flows begun.
    pub flows: u64,
    /// Packets of flows that were not begun because the table was full.
    pub refused_packets: u64,
    /// TCP segments whose bytes had all been seen before, of all flows.
    pub repeated: u64,
    /// Times reassembly gave up bytes because all flows together held too many.
    pub stream_refused: u64,
    /// The most flows held at once.
    pub most_flows: u64,
}

/// Where a packet went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Into a flow.
    Flow,
    /// Nowhere: its flow would be one more than the cap.
    Refused,
}

/// All flows of an audit.
#[derive(Debug)]
pub struct FlowTable<R> {
    index: HashTable<u32>,
    slab: Vec<Slot<R>>,
    free: Vec<u32>,
    hasher: RandomState,
    wheel: Wheel,
    clock: Option<Timestamp>,
    passed: Vec<Entry>,
    /// The flow the last packet went to.
    last: Option<u32>,
    budget: Budget,
    limits: Limits,
    live: usize,
    account: Account,
}

#[derive(Debug)]
struct Slot<R> {
    generation: u32,
    flow: Option<Flow<R>>,
}

impl<R: Reader + Default> FlowTable<R> {
    /// An empty table. The hash is seeded afresh: packets choose their own tuples.
    pub fn new(limits: Limits) -> FlowTable<R> {
        FlowTable {
            index: HashTable::new(),
            slab: Vec::new(),
            free: Vec::new(),
            hasher: RandomState::default(),
            wheel: Wheel::new(),
            clock: None,
            passed: Vec::new(),
            last: None,
            budget: Budget { held: 0, cap: limits.stream_bytes, refused: 0 },
            limits,
            live: 0,
            account: Account::default(),
        }
    }

    /// What was counted so far.
    pub fn account(&self) -> Account {
        Account { stream_refused: self.budget.refused, ..self.account }
    }

    /// Moves the clock to `now`, unless it is there already; flows that are due go to `ended`.
    pub fn advance(&mut self, now: Timestamp, ended: &mut Vec<Flow<R>>) {
        if self.clock.is_some_and(|clock| now <= clock) {
            return;
        }
        self.clock = Some(now);
        let mut passed = std::mem::take(&mut self.passed);
        if self.wheel.advance(now, &mut passed) {
            let first = ended.len();
            for entry in passed.drain(..) {
                self.look_at(entry, now, ended);
            }
            ended[first..].sort_unstable_by_key(|flow| flow.first_ordinal);
        }
        self.passed = passed;
    }

    /// Puts one decoded packet into its flow; flows it puts an end to go to `ended`.
    ///
    /// `ordinal` numbers the packets of all captures together, from 1.
    pub fn packet(
        &mut self,
        segment: &Segment<'_>,
        packet: &Packet<'_>,
        ordinal: u64,
        ended: &mut Vec<Flow<R>>,
    ) -> Place {
        self.advance(packet.time, ended);
        let (key, side) = Key::of(segment);
        let hash = self.hasher.hash_one(key);
        let found = self.find(hash, &key).map(|id| self.choose(id, side, segment.tcp));
        let id = match found {
            Some(Choice::This(id)) => Some(id),
            Some(Choice::Successor(id)) => {
                self.end_oldest(id, ended);
                // The oldest may have been this one.
                let previous = self.find(hash, &key);
                self.begin(hash, key, side, segment, packet, ordinal, previous)
            }
            None => self.begin(hash, key, side, segment, packet, ordinal, None),
        };
        self.last = id;
        let Some(id) = id else {
            self.account.refused_packets += u64::from(segment.packets);
            return Place::Refused;
        };
        let clock = self.clock.unwrap_or(packet.time);
        let Some(flow) = self.slab[id as usize].flow.as_mut() else { return Place::Refused };
        let was_over = flow.tcp.is_over();
        let repeated = flow.packet(side, segment, packet.time, clock, &mut self.budget);
        self.account.repeated += u64::from(repeated);
        if flow.tcp.is_over() && !was_over {
            let entry = Entry { id, generation: self.slab[id as usize].generation };
            self.wheel.insert(entry, Timestamp(clock.0.saturating_add(CLOSED)));
        }
        Place::Flow
    }

    /// What reads the flow that the last packet went to.
    pub fn last_reader(&mut self) -> Option<&mut R> {
        let slot = self.slab.get_mut(self.last? as usize)?;
        slot.flow.as_mut().map(|flow| &mut flow.reader)
    }

    /// Every flow still there goes to `ended`, in the order of their first packets.
    pub fn finish(&mut self, ended: &mut Vec<Flow<R>>) {
        let first = ended.len();
        for id in 0..self.slab.len() as u32 {
            self.end(id, ended);
        }
        ended[first..].sort_unstable_by_key(|flow| flow.first_ordinal);
    }

    fn find(&self, hash: u64, key: &Key) -> Option<u32> {
        let same = |id: &u32| self.slab[*id as usize].flow.as_ref().is_some_and(|flow| flow.key == *key);
        self.index.find(hash, same).copied()
    }

    /// Which of the connections that used these ports one after the other a packet belongs to.
    fn choose(&self, newest: u32, side: Side, tcp: Option<Tcp>) -> Choice {
        let (Some(flow), Some(tcp)) = (self.flow(newest), tcp) else { return Choice::This(newest) };
        let opening = tcp.flags.syn() && !tcp.flags.ack();
        if opening {
            let mut id = Some(newest);
            while let Some((this, flow)) = id.and_then(|id| Some((id, self.flow(id)?))) {
                if flow.tcp.initial(side) == Some(tcp.sequence) {
                    return Choice::This(this);
                }
                id = flow.previous;
            }
            let known = flow.tcp.initial(side).is_some() || flow.tcp.is_over();
            return if known { Choice::Successor(newest) } else { Choice::This(newest) };
        }
        let Some(mut previous) = flow.previous else { return Choice::This(newest) };
        let mut best = (flow.tcp.distance(side, tcp.sequence), newest);
        while let Some(flow) = self.flow(previous) {
            best = best.min((flow.tcp.distance(side, tcp.sequence), previous));
            let Some(next) = flow.previous else { break };
            previous = next;
        }
        Choice::This(best.1)
    }

    fn flow(&self, id: u32) -> Option<&Flow<R>> {
        self.slab.get(id as usize)?.flow.as_ref()
    }

    #[expect(clippy::too_many_arguments, reason = "one caller, and every argument is a different thing")]
    fn begin(
        &mut self,
        hash: u64,
        key: Key,
        side: Side,
        segment: &Segment<'_>,
        packet: &Packet<'_>,
        ordinal: u64,
        previous: Option<u32>,
    ) -> Option<u32> {
        if self.live >= self.limits.flows {
            return None;
        }
        let flow = Flow::new(key, side, segment, packet, ordinal, previous);
        let deadline =
            Timestamp(packet.time.max(self.clock.unwrap_or(packet.time)).0.saturating_add(flow.time_out()));
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                self.slab.push(Slot { generation: 0, flow: None });
                (self.slab.len() - 1) as u32
            }
        };
        let slot = &mut self.slab[id as usize];
        slot.flow = Some(flow);
        self.wheel.insert(Entry { id, generation: slot.generation }, deadline);
        match previous {
            // The index names the newest flow of a key; the ones before hang on it.
            Some(previous) => {
                if let Ok(entry) = self.index.find_entry(hash, |other| *other == previous) {
                    *entry.into_mut() = id;
                }
            }
            None => {
                let (slab, hasher) = (&self.slab, &self.hasher);
                self.index.insert_unique(hash, id, |id| rehash(slab, hasher, *id));
            }
        }
        self.live += 1;
        self.account.flows += 1;
        self.account.most_flows = self.account.most_flows.max(self.live as u64);
        Some(id)
    }

    /// Lets go of the oldest connection on these ports when there are as many as are told apart.
    fn end_oldest(&mut self, newest: u32, ended: &mut Vec<Flow<R>>) {
        let (mut oldest, mut count) = (newest, 1);
        while let Some(previous) = self.flow(oldest).and_then(|flow| flow.previous) {
            oldest = previous;
            count += 1;
        }
        if count >= GENERATIONS {
            self.end(oldest, ended);
        }
    }

    /// Ends the flow of a wheel entry if it is due, else puts the entry where it will be.
    fn look_at(&mut self, entry: Entry, now: Timestamp, ended: &mut Vec<Flow<R>>) {
        let slot = &self.slab[entry.id as usize];
        let Some(flow) = slot.flow.as_ref().filter(|_| slot.generation == entry.generation) else { return };
        let deadline = Timestamp(flow.touched.0.saturating_add(flow.time_out()));
        if now > deadline {
            self.end(entry.id, ended);
        } else {
            self.wheel.insert(entry, deadline);
        }
    }

    fn end(&mut self, id: u32, ended: &mut Vec<Flow<R>>) {
        let slot = &mut self.slab[id as usize];
        let Some(mut flow) = slot.flow.take() else { return };
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id);
        self.live -= 1;
        let hash = self.hasher.hash_one(flow.key);
        match self.index.find_entry(hash, |other| *other == id) {
            Ok(entry) => match flow.previous {
                Some(previous) => *entry.into_mut() = previous,
                None => drop(entry.remove()),
            },
            Err(_) => self.unhang(hash, id, flow.previous, &flow.key),
        }
        flow.finish(&mut self.budget);
        ended.push(flow);
    }

    /// Takes `id` out of the chain of flows that used the same key one after the other.
    fn unhang(&mut self, hash: u64, id: u32, replacement: Option<u32>, key: &Key) {
        let mut at = self.find(hash, key);
        while let Some(flow) = at.and_then(|at| self.slab[at as usize].flow.as_mut()) {
            if flow.previous == Some(id) {
                flow.previous = replacement;
                return;
            }
            at = flow.previous;
        }
    }
}

enum Choice {
    This(u32),
    /// A new connection on the ports of this one.
    Successor(u32),
}

fn rehash<R>(slab: &[Slot<R>], hasher: &RandomState, id: u32) -> u64 {
    slab[id as usize].flow.as_ref().map_or(0, |flow| hasher.hash_one(flow.key))
}

impl<R: Reader + Default> Flow<R> {
    fn new(
        key: Key,
        side: Side,
        segment: &Segment<'_>,
        packet: &Packet<'_>,
        ordinal: u64,
        previous: Option<u32>,
    ) -> Flow<R> {
        Flow {
            key,
            start: packet.time,
            end: packet.time,
            precision: packet.precision,
            sent: [Counters::default(); 2],
            first_sender: side,
            opener: None,
            first_packet: (packet.capture, packet.number),
            first_ordinal: ordinal,
            encapsulation: segment.encapsulation,
            repeated: 0,
            reader: R::default(),
            tcp: tcp::Connection::default(),
            streams: segment.tcp.is_some().then(Box::default),
            datagrams_wanted: key.transport == Transport::UDP,
            touched: packet.time,
            previous,
        }
    }

    /// How long it may be idle from now on, in nanoseconds.
    fn time_out(&self) -> i64 {
        match self.key.transport {
            Transport::TCP if self.tcp.is_over() => CLOSED,
            Transport::TCP if self.tcp.is_attempt() => ATTEMPT,
            Transport::TCP => ESTABLISHED,
            Transport::UDP => UDP,
            _ => OTHER,
        }
    }

    /// Follows one packet; says whether all its bytes had been seen before.
    fn packet(
        &mut self,
        side: Side,
        segment: &Segment<'_>,
        at: Timestamp,
        clock: Timestamp,
        budget: &mut Budget,
    ) -> bool {
        let sent = &mut self.sent[side.index()];
        sent.packets += u64::from(segment.packets);
        sent.bytes += segment.wire_bytes;
        self.start = self.start.min(at);
        self.end = self.end.max(at);
        self.touched = clock;
        let Some(tcp) = segment.tcp else {
            if self.datagrams_wanted && segment.payload_length > 0 {
                let cut = (segment.payload.len() as u64) < u64::from(segment.payload_length);
                self.datagrams_wanted = self.reader.datagram(side, segment.payload, cut, at);
            }
            return false;
        };
        let repeated = self.tcp.packet(side, tcp.flags, tcp.sequence, segment.payload_length);
        self.repeated += u32::from(repeated);
        if tcp.flags.syn() {
            self.opened(side, tcp.flags.ack());
        }
        if let Some(streams) = self.streams.as_mut() {
            feed(streams, &mut self.reader, &self.tcp, side, tcp, segment, at, budget);
            if streams.are_done() {
                budget.held = budget.held.saturating_sub(streams.held());
                self.streams = None;
            }
        }
        repeated
    }

    fn opened(&mut self, side: Side, answered: bool) {
        self.reader.begins();
        self.opener = match (self.opener, answered) {
            (Some(Opener::Syn(opener)), _) => Some(Opener::Syn(opener)),
            (_, false) => Some(Opener::Syn(side)),
            (Some(known), true) => Some(known),
            (None, true) => Some(Opener::SynAck(side.other())),
        };
    }

    fn finish(&mut self, budget: &mut Budget) {
        if let Some(mut streams) = self.streams.take() {
            budget.held = budget.held.saturating_sub(streams.held());
            streams.finish(self.end, &mut self.reader);
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "the parts of a flow that are borrowed apart")]
fn feed<R: Reader>(
    streams: &mut Streams,
    reader: &mut R,
    connection: &tcp::Connection,
    side: Side,
    tcp: Tcp,
    segment: &Segment<'_>,
    at: Timestamp,
    budget: &mut Budget,
) {
    let sequence = tcp.sequence.wrapping_add(u32::from(tcp.flags.syn()));
    if tcp.flags.syn() {
        streams.starts_at(side, sequence);
    } else if tcp.flags.ack() && connection.initial(side).is_some_and(|i| i.wrapping_add(1) == tcp.sequence) {
        // The handshake's own ACK says where the other side starts, should its SYN-ACK be missing.
        streams.starts_at(side.other(), tcp.acknowledgement);
    }
    if tcp.flags.ack() && !tcp.flags.rst() {
        streams.has_sent(side, tcp.sequence);
        streams.has_sent(side.other(), tcp.acknowledgement);
    }
    if tcp.flags.rst() {
        streams.reset(side, tcp.sequence, at, reader);
    } else if segment.payload_length > 0 || tcp.flags.fin() {
        let (payload, length) = (segment.payload, segment.payload_length);
        let piece = Piece { sequence, payload, length, fin: tcp.flags.fin(), at };
        streams.piece(side, piece, reader, budget);
    }
}
