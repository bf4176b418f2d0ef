//! The flow table: finds the flow of every packet, begins new ones, and lets go of those that are over.

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::OccupiedEntry;
use std::hash::BuildHasher;

use super::losses::Losses;
use super::stream::{Budget, Piece, Reader, Streams};
use super::wheel::{Entry, Wheel};
use super::{Counters, Flow, Key, Opener, Stamp, tcp};
use crate::capture::Timestamp;
use crate::packet::{Gap, Head, Side, Tcp, Transport};

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
pub struct FlowTable<R: Reader> {
    context: R::Context,
    index: HashTable<Named>,
    slab: Vec<Slot<R>>,
    free: Vec<u32>,
    hasher: RandomState,
    wheel: Wheel,
    passed: Vec<Entry>,
    /// The flow the last packet went to.
    last: Option<u32>,
    budget: Budget,
    losses: Losses,
    limits: Limits,
    live: usize,
    account: Account,
    /// The flow whose reader came to know something with the last packet.
    news: Option<u32>,
}

/// What the index holds of a flow: with half its hash beside it, most others are told apart and the
/// index grows without a look at the flows themselves.
#[derive(Clone, Copy, Debug)]
struct Named {
    half: u32,
    id: u32,
}

impl Named {
    /// The hash under which it stands: the index takes from both its ends.
    fn hash(&self) -> u64 {
        u64::from(self.half) << 32 | u64::from(self.half)
    }
}

#[derive(Debug)]
struct Slot<R> {
    generation: u32,
    flow: Option<Flow<R>>,
}

impl<R: Reader> FlowTable<R> {
    /// An empty table. The hash is seeded afresh: packets choose their own tuples.
    pub fn new(limits: Limits, context: R::Context) -> FlowTable<R> {
        FlowTable {
            context,
            index: HashTable::new(),
            slab: Vec::new(),
            free: Vec::new(),
            hasher: RandomState::default(),
            wheel: Wheel::new(),
            passed: Vec::new(),
            last: None,
            budget: Budget { held: 0, cap: limits.stream_bytes, refused: 0 },
            losses: Losses::default(),
            limits,
            live: 0,
            account: Account::default(),
            news: None,
        }
    }

    /// What was counted so far.
    pub fn account(&self) -> Account {
        Account { stream_refused: self.budget.refused, ..self.account }
    }

    /// The audit's clock shows `now`: flows that are due go to `ended`, in the order of their first packets.
    ///
    /// Does something once in every second that begins, as [`Clock::advance`](super::Clock::advance) tells;
    /// it is to be told of each, before the packet that the clock was moved by.
    pub fn tick(&mut self, now: Timestamp, ended: &mut Vec<Flow<R>>) {
        let mut passed = std::mem::take(&mut self.passed);
        if self.wheel.advance(now, &mut passed) {
            let first = ended.len();
            for entry in passed.drain(..) {
                self.look_at(entry, now, ended);
            }
            ended[first..].sort_unstable_by_key(Flow::first);
        }
        self.passed = passed;
    }

    /// Puts one decoded packet into its flow; a flow that it takes the place of goes to `ended`.
    pub fn packet(&mut self, head: &Head, payload: &[u8], stamp: &Stamp, ended: &mut Vec<Flow<R>>) -> Place {
        let (key, side) = Key::of(head);
        let half = self.half(&key);
        let found = self.find(half, &key).map(|id| self.choose(id, side, head.tcp));
        let (id, is_new) = match found {
            Some(Choice::This(id)) => (Some(id), false),
            Some(Choice::Successor(id)) => {
                self.end_oldest(id, ended);
                // The oldest may have been this one.
                let previous = self.find(half, &key);
                (self.begin(half, key, side, head, stamp, previous), true)
            }
            None => (self.begin(half, key, side, head, stamp, None), true),
        };
        self.last = id;
        let Some(id) = id else {
            self.account.refused_packets += u64::from(head.packets);
            return Place::Refused;
        };
        let Some(flow) = self.slab[id as usize].flow.as_mut() else { return Place::Refused };
        let was_over = flow.tcp.is_over();
        let repeated = flow.packet(side, head, payload, stamp, &mut self.budget);
        self.account.repeated += u64::from(repeated);
        if flow.reader.has_news() {
            self.news = Some(id);
        }
        // Its first packet tells which time-out a flow has; a close brings the deadline forward.
        if is_new || (flow.tcp.is_over() && !was_over) {
            let deadline = Timestamp(stamp.clock.0.saturating_add(flow.time_out()));
            let entry = Entry { id, generation: self.slab[id as usize].generation };
            self.wheel.insert(entry, deadline);
        }
        Place::Flow
    }

    /// What reads the flow that the last packet went to.
    pub fn last_reader(&mut self) -> Option<&mut R> {
        let slot = self.slab.get_mut(self.last? as usize)?;
        slot.flow.as_mut().map(|flow| &mut flow.reader)
    }

    /// The flow that the last packet belonged to, if its reader has news ([`Reader::has_news`]).
    pub fn take_news(&mut self) -> Option<&Flow<R>> {
        let id = self.news.take()?;
        self.flow(id)
    }

    /// Every flow still there, in the order of their first packets: each is to be let go with
    /// [`FlowTable::end`]. A list of the flows themselves would take as much memory as the table.
    pub fn remaining(&self) -> Vec<(First, u32)> {
        let flow = |(id, slot): (usize, &Slot<R>)| Some((slot.flow.as_ref()?.first(), id as u32));
        let mut order: Vec<(First, u32)> = self.slab.iter().enumerate().filter_map(flow).collect();
        order.sort_unstable();
        order
    }

    /// Lets go of one flow, told from others by what [`FlowTable::remaining`] says.
    pub fn end(&mut self, id: u32) -> Option<Flow<R>> {
        let slot = self.slab.get_mut(id as usize)?;
        let mut flow = slot.flow.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id);
        self.live -= 1;
        let half = self.half(&flow.key);
        match self.entry(half, id) {
            Some(entry) => match flow.previous {
                Some(previous) => entry.into_mut().id = previous,
                None => drop(entry.remove()),
            },
            None => self.unhang(half, id, flow.previous, &flow.key),
        }
        if self.has_lost(&flow) {
            flow.lost();
        }
        flow.finish(&mut self.budget);
        Some(flow)
    }

    /// Packets of this time were dropped before they could be read: flows of that time may lack some.
    pub fn lost(&mut self, from: Timestamp, to: Timestamp) {
        self.losses.add(from, to);
    }

    /// Packets of this flow may be among those that were dropped.
    pub fn has_lost(&self, flow: &Flow<R>) -> bool {
        let until = flow.is_over().then_some(flow.end);
        self.losses.touch(flow.start, until)
    }

    /// The flow that has this number now; see [`FlowTable::last`].
    pub fn get(&self, id: u32) -> Option<&Flow<R>> {
        self.flow(id)
    }

    /// The number of the flow the last packet went to. Another flow may have it once that one has ended.
    pub fn last(&self) -> Option<u32> {
        self.last
    }

    /// Flows are numbered below this.
    pub fn numbers(&self) -> u32 {
        self.slab.len() as u32
    }

    /// Flows in the table.
    pub fn len(&self) -> usize {
        self.live
    }

    /// No flow is in the table.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    fn half(&self, key: &Key) -> u32 {
        self.hasher.hash_one(key) as u32
    }

    fn find(&self, half: u32, key: &Key) -> Option<u32> {
        let is_key = |id: u32| self.slab[id as usize].flow.as_ref().is_some_and(|flow| flow.key == *key);
        let same = |named: &Named| named.half == half && is_key(named.id);
        self.index.find(Named { half, id: 0 }.hash(), same).map(|named| named.id)
    }

    /// The entry that names this flow, unless it is an older one of its key.
    fn entry(&mut self, half: u32, id: u32) -> Option<OccupiedEntry<'_, Named>> {
        self.index.find_entry(Named { half, id }.hash(), |named| named.id == id).ok()
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
        let acknowledgement = tcp.flags.ack().then_some(tcp.acknowledgement);
        let distance = |flow: &Flow<R>| flow.tcp.distance(side, tcp.sequence, acknowledgement);
        let mut best = (distance(flow), newest);
        while let Some(flow) = self.flow(previous) {
            let far = distance(flow);
            if far < best.0 {
                best = (far, previous);
            }
            let Some(next) = flow.previous else { break };
            previous = next;
        }
        Choice::This(best.1)
    }

    fn flow(&self, id: u32) -> Option<&Flow<R>> {
        self.slab.get(id as usize)?.flow.as_ref()
    }

    fn begin(
        &mut self,
        half: u32,
        key: Key,
        side: Side,
        head: &Head,
        stamp: &Stamp,
        previous: Option<u32>,
    ) -> Option<u32> {
        if self.live >= self.limits.flows {
            return None;
        }
        let flow = Flow::new(key, side, head, stamp, previous, R::new(&self.context));
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                self.slab.push(Slot { generation: 0, flow: None });
                (self.slab.len() - 1) as u32
            }
        };
        self.slab[id as usize].flow = Some(flow);
        match previous {
            // The index names the newest flow of a key; the ones before hang on it.
            Some(previous) => {
                if let Some(entry) = self.entry(half, previous) {
                    entry.into_mut().id = id;
                }
            }
            None => {
                let named = Named { half, id };
                self.index.insert_unique(named.hash(), named, Named::hash);
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
            ended.extend(self.end(oldest));
        }
    }

    /// Ends the flow of a wheel entry if it is due, else puts the entry where it will be.
    fn look_at(&mut self, entry: Entry, now: Timestamp, ended: &mut Vec<Flow<R>>) {
        let slot = &self.slab[entry.id as usize];
        let Some(flow) = slot.flow.as_ref().filter(|_| slot.generation == entry.generation) else { return };
        let deadline = Timestamp(flow.touched.0.saturating_add(flow.time_out()));
        if now > deadline {
            ended.extend(self.end(entry.id));
        } else {
            self.wheel.insert(entry, deadline);
        }
    }

    /// Takes `id` out of the chain of flows that used the same key one after the other.
    fn unhang(&mut self, half: u32, id: u32, replacement: Option<u32>, key: &Key) {
        let mut at = self.find(half, key);
        while let Some(flow) = at.and_then(|at| self.slab[at as usize].flow.as_mut()) {
            if flow.previous == Some(id) {
                flow.previous = replacement;
                return;
            }
            at = flow.previous;
        }
    }
}

/// Orders flows by their first packets: its ordinal, and how many tunnels are around the flow, since one
/// packet may begin several flows, one inside the other.
pub type First = (u64, u8);

enum Choice {
    This(u32),
    /// A new connection on the ports of this one.
    Successor(u32),
}

impl<R: Reader> Flow<R> {
    fn new(key: Key, side: Side, head: &Head, stamp: &Stamp, previous: Option<u32>, reader: R) -> Flow<R> {
        Flow {
            key,
            start: stamp.time,
            end: stamp.time,
            precision: stamp.precision,
            sent: [Counters::default(); 2],
            first_sender: side,
            opener: None,
            first_packet: (stamp.capture, stamp.number),
            first_ordinal: stamp.ordinal,
            encapsulation: head.encapsulation,
            repeated: 0,
            reader,
            tcp: tcp::Connection::default(),
            streams: head.tcp.is_some().then(Box::default),
            datagrams_wanted: key.transport == Transport::UDP,
            touched: stamp.clock,
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
        head: &Head,
        payload: &[u8],
        stamp: &Stamp,
        budget: &mut Budget,
    ) -> bool {
        let (at, length) = (stamp.time, head.payload_length);
        let sent = &mut self.sent[side.index()];
        sent.packets += u64::from(head.packets);
        sent.bytes += head.wire_bytes;
        self.start = self.start.min(at);
        self.end = self.end.max(at);
        self.touched = stamp.clock;
        let Some(tcp) = head.tcp else {
            if self.datagrams_wanted && length > 0 {
                let cut = (payload.len() as u64) < u64::from(length);
                self.datagrams_wanted = self.reader.datagram(side, payload, cut, at);
            }
            return false;
        };
        let repeated = self.tcp.packet(side, tcp.flags, tcp.sequence, length);
        self.repeated += u32::from(repeated);
        if tcp.flags.syn() {
            self.opened(side, tcp.flags.ack());
        }
        if let Some(streams) = self.streams.as_mut() {
            let fin = tcp.flags.fin();
            let piece = Piece { sequence: tcp.sequence, payload, length, fin, at };
            feed(streams, &mut self.reader, &self.tcp, side, tcp, piece, budget);
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

    /// Packets of its time were dropped.
    fn lost(&mut self) {
        match &mut self.streams {
            Some(streams) => streams.lost(self.end, &mut self.reader),
            None if self.key.transport == Transport::UDP => {
                for side in [Side::A, Side::B] {
                    self.reader.gap(side, Gap::Loss, u64::MAX, self.end);
                }
            }
            None => {}
        }
    }

    fn finish(&mut self, budget: &mut Budget) {
        if let Some(mut streams) = self.streams.take() {
            budget.held = budget.held.saturating_sub(streams.held());
            streams.finish(self.end, &mut self.reader);
        }
    }
}

fn feed<R: Reader>(
    streams: &mut Streams,
    reader: &mut R,
    connection: &tcp::Connection,
    side: Side,
    tcp: Tcp,
    piece: Piece<'_>,
    budget: &mut Budget,
) {
    let sequence = tcp.sequence.wrapping_add(u32::from(tcp.flags.syn()));
    if tcp.flags.syn() {
        streams.opens_at(side, sequence);
    } else if tcp.flags.ack() && connection.initial(side).is_some_and(|i| i.wrapping_add(1) == tcp.sequence) {
        // The handshake's own ACK says where the other side starts, should its SYN-ACK be missing.
        streams.starts_at(side.other(), tcp.acknowledgement);
    }
    if tcp.flags.ack() && !tcp.flags.rst() {
        streams.acknowledged(side.other(), tcp.acknowledgement);
        streams.has_sent(side, tcp.sequence);
        streams.has_sent(side.other(), tcp.acknowledgement);
    }
    if tcp.flags.rst() {
        streams.reset(side, tcp.sequence, piece.at, reader);
    } else if piece.length > 0 || piece.fin {
        streams.piece(side, Piece { sequence, ..piece }, reader, budget);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Precision;
    use crate::flow::{Clock, ConnState, Want};
    use crate::packet::{Encapsulation, Endpoint, TcpFlags};
    use proptest::prelude::*;

    const SYN: u8 = 0x02;
    const SYN_ACK: u8 = 0x12;
    const ACK: u8 = 0x10;
    const FIN_ACK: u8 = 0x11;
    const RST: u8 = 0x04;

    const CLIENT: u16 = 40_000;
    const SERVER: u16 = 8082;

    /// Keeps the text of both sides, as lent.
    #[derive(Debug, Default)]
    struct Text([Vec<u8>; 2]);

    impl Reader for Text {
        type Context = ();
        fn new((): &()) -> Text {
            Text::default()
        }
        fn begins(&mut self) {}
        fn read(&mut self, side: Side, bytes: &[u8], _: Timestamp) -> Want {
            self.0[side.index()].extend_from_slice(bytes);
            Want { used: bytes.len(), skip: 0, done: false }
        }
        fn gap(&mut self, side: Side, _: Gap, _: u64, _: Timestamp) -> u64 {
            self.0[side.index()].push(b'!');
            0
        }
        fn closed(&mut self, _: Side, _: bool, _: Timestamp) {}
        fn datagram(&mut self, side: Side, bytes: &[u8], _: bool, _: Timestamp) -> bool {
            self.0[side.index()].extend_from_slice(bytes);
            true
        }
    }

    /// What a test says of one packet; the rest is always the same.
    #[derive(Clone, Copy, Debug)]
    struct Sent {
        from: u16,
        to: u16,
        transport: Transport,
        flags: u8,
        sequence: u32,
        acknowledgement: u32,
        text: &'static str,
    }

    fn tcp(from: u16, to: u16, flags: u8, sequence: u32, acknowledgement: u32, text: &'static str) -> Sent {
        Sent { from, to, transport: Transport::TCP, flags, sequence, acknowledgement, text }
    }

    fn datagram(transport: Transport, from: u16, text: &'static str) -> Sent {
        Sent { from, to: SERVER, transport, flags: 0, sequence: 0, acknowledgement: 0, text }
    }

    /// A connection opened, used and closed by both ends, with these initial sequence numbers.
    fn conversation(client: u32, server: u32, text: &'static str) -> [Sent; 7] {
        let (c, s) = (client.wrapping_add(1), server.wrapping_add(1));
        let after = c.wrapping_add(text.len() as u32);
        [
            tcp(CLIENT, SERVER, SYN, client, 0, ""),
            tcp(SERVER, CLIENT, SYN_ACK, server, c, ""),
            tcp(CLIENT, SERVER, ACK, c, s, ""),
            tcp(CLIENT, SERVER, ACK, c, s, text),
            tcp(SERVER, CLIENT, ACK, s, after, "ok"),
            tcp(CLIENT, SERVER, FIN_ACK, after, s + 2, ""),
            tcp(SERVER, CLIENT, FIN_ACK, s + 2, after + 1, ""),
        ]
    }

    /// A table, and the flows that ended so far.
    struct Run {
        table: FlowTable<Text>,
        clock: Clock,
        ended: Vec<Flow<Text>>,
        packets: u64,
    }

    impl Run {
        fn new(limits: Limits) -> Run {
            Run { table: FlowTable::new(limits, ()), clock: Clock::default(), ended: Vec::new(), packets: 0 }
        }

        fn send(&mut self, seconds: i64, sent: Sent) -> Place {
            self.packets += 1;
            let end = |port| Endpoint { ip: [10, 0, 0, if port == SERVER { 2 } else { 1 }].into(), port };
            let head = Head {
                source: end(sent.from),
                destination: end(sent.to),
                transport: sent.transport,
                tcp: (sent.transport == Transport::TCP).then_some(Tcp {
                    sequence: sent.sequence,
                    acknowledgement: sent.acknowledgement,
                    flags: TcpFlags(sent.flags),
                }),
                payload_length: sent.text.len() as u32,
                packets: 1,
                wire_bytes: 60,
                encapsulation: Encapsulation::default(),
            };
            let time = Timestamp(seconds * Timestamp::SECOND);
            let clock = self.tick(time);
            let (ordinal, precision) = (self.packets, Precision::Micro);
            let stamp = Stamp { capture: 0, number: ordinal, ordinal, time, precision, clock };
            self.table.packet(&head, sent.text.as_bytes(), &stamp, &mut self.ended)
        }

        fn tick(&mut self, time: Timestamp) -> Timestamp {
            let (clock, is_due) = self.clock.advance(time);
            if is_due {
                self.table.tick(clock, &mut self.ended);
            }
            clock
        }

        fn send_all(&mut self, seconds: i64, all: &[Sent]) {
            for sent in all {
                self.send(seconds, *sent);
            }
        }

        fn advance(&mut self, seconds: i64) -> usize {
            self.tick(Timestamp(seconds * Timestamp::SECOND));
            self.ended.len()
        }

        fn finish(mut self) -> Vec<Flow<Text>> {
            for (_, id) in self.table.remaining() {
                self.ended.extend(self.table.end(id));
            }
            assert!(self.table.index.is_empty(), "a flow is left in the index");
            assert_eq!((self.table.live, self.table.budget.held), (0, 0));
            self.ended
        }
    }

    fn run(all: &[(i64, Sent)]) -> Vec<Flow<Text>> {
        let mut run = Run::new(Limits::default());
        for &(seconds, sent) in all {
            run.send(seconds, sent);
        }
        run.finish()
    }

    #[test]
    fn loss_is_told_to_flows_of_its_time_unless_their_sequence_numbers_tell_of_none() {
        let second = |seconds: i64| Timestamp(seconds * Timestamp::SECOND);
        let told = |flow: &Flow<Text>| flow.reader.0.iter().any(|text| text.contains(&b'!'));
        let open = &conversation(1000, 5000, "hello")[..5];
        for (sent, lost, expected) in [
            (open, (20, 30), true),
            (open, (5, 10), true),
            (open, (5, 9), false),
            (&conversation(1000, 5000, "hello")[..], (5, 30), false),
            (&[datagram(Transport::UDP, CLIENT, "a")], (10, 11), true),
            (&[datagram(Transport::UDP, CLIENT, "a")], (5, 6), false),
        ] {
            let mut run = Run::new(Limits::default());
            run.send_all(10, sent);
            run.table.lost(second(lost.0), second(lost.1));
            let ended = run.finish();
            assert_eq!(ended.iter().map(told).collect::<Vec<_>>(), [expected], "{sent:?} {lost:?}");
        }
    }

    fn packets(flow: &Flow<Text>) -> u64 {
        flow.sent.iter().map(|sent| sent.packets).sum()
    }

    /// What the client said; it is the lower address.
    fn said(flow: &Flow<Text>) -> &str {
        std::str::from_utf8(&flow.reader.0[0]).unwrap()
    }

    #[test]
    fn both_directions_are_one_flow_opened_by_the_syn() {
        let flows = run(&conversation(100, 900, "hello").map(|sent| (0, sent)));
        let [flow] = &flows[..] else { panic!("{flows:?}") };
        assert_eq!((flow.sent[0].packets, flow.sent[1].packets, flow.sent[0].bytes), (4, 3, 240));
        assert_eq!((said(flow), flow.opener), ("hello", Some(Opener::Syn(Side::A))));
        assert_eq!(flow.state(Side::A), ConnState::Sf);
    }

    #[test]
    fn a_new_syn_after_the_close_begins_a_new_flow() {
        let mut run = Run::new(Limits::default());
        run.send_all(0, &conversation(100, 900, "first"));
        run.send_all(1, &conversation(70_000, 3_000_000, "second"));
        let flows = run.finish();
        let told: Vec<_> =
            flows.iter().map(|flow| (said(flow), packets(flow), flow.state(Side::A))).collect();
        assert_eq!(told, [("first", 7, ConnState::Sf), ("second", 7, ConnState::Sf)]);
    }

    #[test]
    fn answers_of_a_reused_port_go_to_the_newest_connection() {
        // The server's next initial sequence number lies as far from the last one as it can.
        let mut run = Run::new(Limits::default());
        run.send_all(0, &conversation(100, 0, "first"));
        run.send(1, tcp(CLIENT, SERVER, SYN, 500_000, 0, ""));
        run.send(1, tcp(SERVER, CLIENT, SYN_ACK, 3, 500_001, ""));
        run.send_all(
            2,
            &[tcp(CLIENT, SERVER, SYN, 900_000, 0, ""), tcp(SERVER, CLIENT, RST | ACK, 0, 900_001, "")],
        );
        let flows = run.finish();
        let told: Vec<_> = flows.iter().map(|flow| (packets(flow), flow.state(Side::A))).collect();
        assert_eq!(told, [(7, ConnState::Sf), (2, ConnState::S1), (2, ConnState::Rej)]);
    }

    #[test]
    fn a_syn_of_a_known_initial_sequence_number_is_a_duplicate_also_after_close() {
        let first = conversation(100, 900, "first");
        let mut all: Vec<_> = first.iter().map(|sent| (0, *sent)).collect();
        all.push((1, first[0]));
        all.extend(conversation(70_000, 3_000_000, "second").map(|sent| (2, sent)));
        // The whole first connection once more, after the second one was closed.
        all.extend(first.map(|sent| (3, sent)));
        let flows = run(&all);
        let told: Vec<_> = flows.iter().map(|flow| (said(flow), packets(flow))).collect();
        assert_eq!(told, [("first", 15), ("second", 7)]);
        assert!(flows[0].repeated > 0 && flows[1].repeated == 0);
        assert_eq!(flows[0].state(Side::A), ConnState::Sf);
    }

    #[test]
    fn late_packets_find_the_earlier_connection_of_the_same_ports() {
        let (mut first, second) =
            (conversation(100, 900, "early"), conversation(70_000, 3_000_000, "second"));
        // The first connection's data is captured only after the second one has begun.
        let late = first[3];
        first[3] = first[2];
        let mut all: Vec<_> = first.iter().map(|sent| (0, *sent)).collect();
        all.extend(second[..3].iter().map(|sent| (1, *sent)));
        all.push((1, late));
        all.extend(second[3..].iter().map(|sent| (1, *sent)));
        let flows = run(&all);
        assert_eq!(flows.iter().map(said).collect::<Vec<_>>(), ["early", "second"]);
    }

    #[test]
    fn a_syn_ack_alone_opens_for_the_other_side_and_a_late_syn_joins_it() {
        let [syn, syn_ack, ..] = conversation(100, 900, "");
        assert_eq!(run(&[(0, syn_ack)])[0].opener, Some(Opener::SynAck(Side::A)));
        let flows = run(&[(0, syn_ack), (0, syn)]);
        assert_eq!(flows.len(), 1);
        assert_eq!((flows[0].opener, flows[0].state(Side::A)), (Some(Opener::Syn(Side::A)), ConnState::S1));
        let middle = run(&[(0, tcp(SERVER, CLIENT, ACK, 5, 5, "x"))]);
        assert_eq!((middle[0].opener, middle[0].first_sender), (None, Side::B));
    }

    #[test]
    fn idle_flows_expire_by_transport_and_state_in_packet_time() {
        let established = &conversation(100, 900, "x")[..4];
        let closed = conversation(100, 900, "x");
        let cases: [(&[Sent], i64); 6] = [
            (&[tcp(CLIENT, SERVER, SYN, 1, 0, "")], ATTEMPT),
            (established, ESTABLISHED),
            (&[tcp(CLIENT, SERVER, ACK, 5, 5, "from the middle")], ESTABLISHED),
            (&closed, CLOSED),
            (&[datagram(Transport::UDP, CLIENT, "x")], UDP),
            (&[datagram(Transport::ICMP, CLIENT, "x")], OTHER),
        ];
        for (sent, time_out) in cases {
            let seconds = time_out / Timestamp::SECOND;
            let mut run = Run::new(Limits::default());
            run.send_all(1000, sent);
            assert_eq!(run.advance(1000 + seconds), 0, "{sent:?}");
            // The wheel looks once a second.
            assert_eq!(run.advance(1000 + seconds + 2), 1, "{sent:?}");
        }
    }

    #[test]
    fn a_packet_puts_the_deadline_off() {
        let mut run = Run::new(Limits::default());
        for seconds in (0..1000).step_by(100) {
            run.send(seconds, datagram(Transport::UDP, CLIENT, "x"));
        }
        assert_eq!(run.advance(1019), 0);
        assert_eq!(run.advance(1022), 1);
        assert_eq!((packets(&run.ended[0]), run.ended[0].end), (10, Timestamp(900 * Timestamp::SECOND)));
    }

    #[test]
    fn a_closed_flow_is_let_go_long_before_an_open_one_would_be() {
        let mut run = Run::new(Limits::default());
        let all = conversation(100, 900, "x");
        run.send_all(0, &all[..5]);
        run.send_all(5000, &all[5..]);
        assert_eq!(run.advance(5000 + 62), 1);
        // The entry of the three hours comes up for a place that another flow has by now.
        run.send(5063, datagram(Transport::UDP, CLIENT, "x"));
        run.send(5063 + 119, datagram(Transport::UDP, CLIENT, "x"));
        assert_eq!(run.advance(5063 + 119 + 119), 1);
        run.advance(ESTABLISHED / Timestamp::SECOND + 10);
        assert_eq!(run.ended.len(), 2);
        assert_eq!(run.finish().len(), 2);
    }

    #[test]
    fn time_running_backwards_ends_nothing_and_joins_the_same_flow() {
        let all = conversation(100, 900, "hello");
        let mut run = Run::new(Limits::default());
        run.send_all(100_000, &all[..4]);
        run.send_all(10, &all[4..]);
        assert_eq!(run.advance(100_000), 0, "the clock does not go on by itself");
        let flows = run.finish();
        let [flow] = &flows[..] else { panic!("{flows:?}") };
        assert_eq!(
            (flow.start, flow.end),
            (Timestamp(10 * Timestamp::SECOND), Timestamp(100_000 * Timestamp::SECOND))
        );
        assert_eq!((flow.state(Side::A), said(flow)), (ConnState::Sf, "hello"));
    }

    #[test]
    fn a_flow_read_backwards_in_time_lives_its_time_out_from_where_the_clock_is() {
        let mut run = Run::new(Limits::default());
        run.send(100_000, datagram(Transport::UDP, 1, "x"));
        run.send(10, datagram(Transport::UDP, 2, "x"));
        assert_eq!(run.advance(100_120), 0);
        assert_eq!(run.advance(100_122), 2);
    }

    #[test]
    fn packets_beyond_the_cap_on_flows_are_counted_and_begin_none() {
        let mut run = Run::new(Limits { flows: 2, ..Limits::default() });
        assert_eq!(run.send(0, datagram(Transport::UDP, 1, "x")), Place::Flow);
        assert_eq!(run.send(0, datagram(Transport::UDP, 2, "x")), Place::Flow);
        assert_eq!(run.send(0, datagram(Transport::UDP, 3, "x")), Place::Refused);
        assert_eq!(run.send(0, datagram(Transport::UDP, 2, "x")), Place::Flow);
        // Room again once the others have expired.
        assert_eq!(run.send(1000, datagram(Transport::UDP, 3, "x")), Place::Flow);
        let account = run.table.account();
        assert_eq!((account.flows, account.refused_packets, account.most_flows), (3, 1, 2));
        assert_eq!(run.finish().len(), 3);
    }

    #[test]
    fn flows_end_in_the_order_of_their_first_packets() {
        let mut run = Run::new(Limits::default());
        for port in [7, 3, 5] {
            run.send(0, datagram(Transport::UDP, port, "x"));
        }
        run.advance(500);
        for port in [9, 1] {
            run.send(501, datagram(Transport::UDP, port, "x"));
        }
        let ports: Vec<_> = run.finish().iter().map(|flow| flow.key.a.port).collect();
        assert_eq!(ports, [7, 3, 5, 9, 1]);
    }

    #[test]
    fn the_middle_one_of_three_connections_can_end_first() {
        let mut run = Run::new(Limits::default());
        run.send_all(0, &conversation(100, 900, "one")[..4]);
        run.send_all(0, &conversation(1_000_000, 900_000, "two"));
        run.send_all(0, &conversation(9_000_000, 70_000_000, "three")[..4]);
        assert_eq!(run.advance(70), 1);
        run.send(71, conversation(100, 900, "one")[4]);
        run.send(71, conversation(9_000_000, 70_000_000, "three")[4]);
        let flows = run.finish();
        let told: Vec<_> = flows.iter().map(|flow| (said(flow), packets(flow))).collect();
        assert_eq!(told, [("two", 7), ("one", 5), ("three", 5)]);
    }

    fn any_packet() -> impl Strategy<Value = (i64, Sent)> {
        let flags = prop::sample::select(vec![SYN, SYN_ACK, ACK, FIN_ACK, RST]);
        let transport = prop::sample::select(vec![Transport::TCP, Transport::TCP, Transport::UDP]);
        (0i64..20_000, 1u16..4, any::<bool>(), flags, transport, 0u32..40, any::<u32>()).prop_map(
            |(seconds, port, forth, flags, transport, sequence, acknowledgement)| {
                let (from, to) = if forth { (port, SERVER) } else { (SERVER, port) };
                let sequence = sequence.wrapping_mul(150_000_000);
                (seconds, Sent { from, to, transport, flags, sequence, acknowledgement, text: "abc" })
            },
        )
    }

    proptest! {
        #[test]
        fn no_packet_is_lost_whatever_their_order(all in prop::collection::vec(any_packet(), 0..80)) {
            let flows = run(&all);
            prop_assert_eq!(flows.iter().map(packets).sum::<u64>(), all.len() as u64);
        }
    }
}
