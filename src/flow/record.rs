//! What the table keeps of a flow: one cache line that every packet of it looks at, and the rest apart,
//! which a classified flow does not touch until it ends.

use super::ambiguity::{Doubt, Home};
use super::awake::{Awake, Quiet};
use super::budget::{Budget, Held};
use super::reader::Reader;
use super::stream::{Lender, Piece, Streams};
use super::tcp::{self, Connection, Endpoint, is_after};
use super::{First, Opener, Stamp};
use crate::capture::{Precision, Timestamp};
use crate::packet::{Encapsulation, Gap, Head, Side, Tcp};

/// There is a flow in this place.
pub(super) const LIVE: u8 = 1;
/// It has IPv6 addresses, kept apart: `a` and `b` are their numbers.
pub(super) const WIDE: u8 = 2;
/// It is inside a VXLAN network, which its encapsulation names.
pub(super) const NETWORK: u8 = 4;
/// A newer flow has the same key: the index names that one.
pub(super) const OLD: u8 = 8;
/// It follows an older one that has the same key.
pub(super) const FOLLOWS: u8 = 16;
/// Its reader wants bytes of it.
pub(super) const READ: u8 = 32;
/// The initial sequence number of side A is known; that of side B in the next bit.
const INITIAL: u8 = 64;

/// What every packet of a flow looks at.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Hot {
    /// The IPv4 addresses of side A and of side B, or the numbers of their IPv6 addresses.
    pub(super) a: u32,
    pub(super) b: u32,
    pub(super) ports: [u16; 2],
    pub(super) transport: u8,
    pub(super) flags: u8,
    ends: [Endpoint; 2],
    initial: [u32; 2],
    next: [u32; 2],
    /// What each side sent, as far as 32 bits count.
    pub(super) packets: [u32; 2],
    pub(super) bytes: [u32; 2],
    /// The latest time of a packet, and what the clock showed when the last one was read.
    pub(super) end: Timestamp,
    pub(super) touched: Timestamp,
}

impl Hot {
    pub(super) const EMPTY: Hot = Hot {
        a: 0,
        b: 0,
        ports: [0; 2],
        transport: 0,
        flags: 0,
        ends: [Endpoint::Inactive; 2],
        initial: [0; 2],
        next: [0; 2],
        packets: [0; 2],
        bytes: [0; 2],
        end: Timestamp(0),
        touched: Timestamp(0),
    };

    #[inline]
    pub(super) fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(super) fn set(&mut self, flag: u8, is: bool) {
        self.flags = if is { self.flags | flag } else { self.flags & !flag };
    }

    /// Anything of this side was captured.
    pub(super) fn has_sent(&self, side: Side) -> bool {
        self.ends[side.index()] != Endpoint::Inactive
    }

    /// Nothing more is expected of the connection.
    #[inline]
    pub(super) fn is_over(&self) -> bool {
        tcp::are_over(self.ends)
    }

    /// A connection attempt that was not answered.
    #[inline]
    pub(super) fn is_attempt(&self) -> bool {
        tcp::are_attempt(self.ends)
    }

    /// The number of the SYN that a side began with.
    #[inline]
    pub(super) fn initial(&self, side: Side) -> Option<u32> {
        (self.flags & INITIAL << side.index() != 0).then_some(self.initial[side.index()])
    }

    /// The connection's state; an end that ever sent anything is not inactive, and has a next number.
    #[inline]
    pub(super) fn connection(&self) -> Connection {
        let next = |at: usize| (self.ends[at] != Endpoint::Inactive).then_some(self.next[at]);
        Connection {
            ends: self.ends,
            initial: [self.initial(Side::A), self.initial(Side::B)],
            next: [next(0), next(1)],
        }
    }

    /// Follows a packet that neither opens nor closes, from an end that spoke before, as
    /// [`Connection::packet`] does: says whether everything it carried had been seen. `None` for any other.
    #[inline]
    pub(super) fn goes_on(&mut self, side: Side, tcp: Tcp, length: u32) -> Option<bool> {
        let me = side.index();
        if tcp.flags.syn() || tcp.flags.fin() || tcp.flags.rst() || self.ends[me] == Endpoint::Inactive {
            return None;
        }
        let end = tcp.sequence.wrapping_add(length);
        let is_new = is_after(end, self.next[me]);
        if is_new {
            self.next[me] = end;
        }
        Some(length > 0 && !is_new)
    }

    /// Follows any packet: says whether everything it carried had been seen, and whether it closed the connection.
    #[inline(never)]
    pub(super) fn turns(&mut self, side: Side, tcp: Tcp, length: u32) -> (bool, bool) {
        let mut connection = self.connection();
        let was_over = connection.is_over();
        let repeated = connection.packet(side, tcp.flags, tcp.sequence, length);
        self.set_connection(&connection);
        (repeated, connection.is_over() && !was_over)
    }

    fn set_connection(&mut self, connection: &Connection) {
        self.ends = connection.ends;
        for at in [0, 1] {
            if let Some(initial) = connection.initial[at] {
                self.initial[at] = initial;
                self.flags |= INITIAL << at;
            }
            self.next[at] = connection.next[at].unwrap_or(0);
        }
    }
}

/// What a flow is asked for when it begins, when its bytes are read, and when it ends: a cache line too. What few
/// flows have stands apart, in the table.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Cold<R> {
    pub(super) start: Timestamp,
    pub(super) reader: R,
    ordinal: Number,
    number: Number,
    /// Number of its [`Around`].
    pub(super) around: u32,
    /// How many flows had this place before, as far as 16 bits count: enough that who names one means it.
    pub(super) generation: u16,
    /// Repeated segments, as far as 16 bits count.
    pub(super) repeated: u16,
    quiet: Quiet,
    origin: Origin,
}

/// What the first packets of most flows have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Around {
    pub(super) encapsulation: Encapsulation,
    pub(super) capture: u16,
}

/// The number of a packet, in six bytes: at ten million packets a second these last for most of a year, and from
/// then on all have the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Number([u16; 3]);

impl Number {
    fn new(number: u64) -> Number {
        let number = number.min((1 << 48) - 1);
        Number([number as u16, (number >> 16) as u16, (number >> 32) as u16])
    }

    fn get(self) -> u64 {
        let [low, middle, high] = self.0.map(u64::from);
        low | middle << 16 | high << 32
    }
}

impl<R: Reader> Cold<R> {
    pub(super) fn new(head: &Head, stamp: &Stamp, around: u32, generation: u16, reader: R) -> Cold<R> {
        Cold {
            start: stamp.time,
            ordinal: Number::new(stamp.ordinal),
            number: Number::new(stamp.number),
            reader,
            quiet: Quiet::default(),
            around,
            generation,
            repeated: 0,
            origin: Origin::new(head.ends.sender, stamp.precision, head.encapsulation.depth()),
        }
    }

    /// Its bytes are read soon: what that takes is asked for.
    #[inline]
    pub(super) fn expect(&self, awake: &Awake) {
        awake.expect(&self.quiet);
        self.reader.expect();
    }

    /// What orders it among others.
    pub(super) fn first(&self) -> First {
        (self.ordinal.get(), self.origin.depth())
    }

    /// Number of its first packet in its capture.
    pub(super) fn number(&self) -> u64 {
        self.number.get()
    }

    pub(super) fn first_sender(&self) -> Side {
        self.origin.sender()
    }

    pub(super) fn precision(&self) -> Precision {
        self.origin.precision()
    }

    pub(super) fn opener(&self) -> Option<Opener> {
        self.origin.opener()
    }

    /// `side` sent a SYN, or the answer to one.
    pub(super) fn opened(&mut self, side: Side, answered: bool) {
        self.reader.begins();
        self.origin.set_opener(match (self.opener(), answered) {
            (Some(Opener::Syn(opener)), _) => Opener::Syn(opener),
            (_, false) => Opener::Syn(side),
            (Some(known), true) => known,
            (None, true) => Opener::SynAck(side.other()),
        });
    }

    /// Takes the numbers of a TCP segment: where each side begins, and how far it has sent. `initial` is the number
    /// of the SYN that its sender began with.
    #[inline]
    pub(super) fn tells(
        &mut self,
        segment: &TcpSegment<'_>,
        initial: Option<u32>,
        awake: &mut Awake,
        budget: &mut Budget,
    ) {
        let TcpSegment { side, tcp, .. } = *segment;
        if tcp.flags.syn() {
            self.begins(side, tcp.sequence.wrapping_add(1), awake);
        }
        // The handshake's own ACK says where the other side starts, should its SYN-ACK be missing.
        let opens = |initial: u32| tcp.flags.ack() && initial.wrapping_add(1) == tcp.sequence;
        let answers = !tcp.flags.syn() && initial.is_some_and(opens);
        let tells = tcp.flags.ack() && !tcp.flags.rst();
        let (other, acknowledged) = (side.other(), tcp.acknowledgement);
        if let Some(streams) = awake.of(&self.quiet) {
            if answers {
                streams.starts_at(other, acknowledged);
            }
            if tells {
                streams.acknowledged(other, acknowledged, budget);
                streams.has_sent(side, tcp.sequence);
                streams.has_sent(other, acknowledged);
            }
        } else {
            if answers {
                self.quiet.starts_at(other, acknowledged);
            }
            if tells {
                self.quiet.has_sent(side, tcp.sequence);
                self.quiet.has_sent(other, acknowledged);
            }
        }
    }

    /// `side` says in a SYN that its first byte has this number.
    fn begins(&mut self, side: Side, sequence: u32, awake: &mut Awake) {
        if let Some(streams) = awake.of(&self.quiet) {
            streams.opens_at(side, sequence);
        } else if !self.quiet.opens_at(side, sequence) {
            let mut streams = awake.wake(&self.quiet, Held::of(&self.reader));
            streams.opens_at(side, sequence);
            self.quiet = awake.add(streams);
        }
    }

    /// Puts the bytes of a TCP segment in order and lends them; says whether more are wanted, and whether and
    /// from which sequence number on they can be read in more than one way. `answered` says that the other side
    /// sent something.
    pub(super) fn read(
        &mut self,
        segment: &TcpSegment<'_>,
        answered: bool,
        awake: &mut Awake,
        budget: &mut Budget,
    ) -> (bool, Option<(Doubt, u32)>) {
        let Some(streams) = awake.of(&self.quiet) else {
            return self.wake(segment, answered, awake, budget);
        };
        let (wanted, doubt, quiet) = read_with(streams, &mut self.reader, segment, answered, budget);
        if let Some(quiet) = quiet {
            let streams = awake.remove(&self.quiet);
            streams.into_iter().for_each(|streams| awake.let_go(streams));
            self.quiet = quiet;
        }
        (wanted, doubt)
    }

    /// As [`Cold::read`], of a connection that is quiet.
    #[inline(never)]
    fn wake(
        &mut self,
        segment: &TcpSegment<'_>,
        answered: bool,
        awake: &mut Awake,
        budget: &mut Budget,
    ) -> (bool, Option<(Doubt, u32)>) {
        let mut streams = awake.wake(&self.quiet, Held::of(&self.reader));
        let (wanted, doubt, quiet) = read_with(&mut streams, &mut self.reader, segment, answered, budget);
        self.quiet = match quiet {
            Some(quiet) => {
                awake.let_go(streams);
                quiet
            }
            None => awake.add(streams),
        };
        (wanted, doubt)
    }

    /// Nothing was heard of it for long. Says whether all was done that can be done to take fewer bytes.
    pub(super) fn rest(&mut self, awake: &mut Awake, budget: &mut Budget) -> bool {
        let Some(streams) = awake.of(&self.quiet) else {
            let mut counted = Held::of(&self.reader);
            self.reader.rest();
            budget.recount(&mut counted, &self.reader);
            return true;
        };
        let quiet = streams.rest(budget);
        self.reader.rest();
        budget.recount(&mut streams.counted, &self.reader);
        if let Some(quiet) = quiet {
            awake.remove(&self.quiet);
            self.quiet = quiet;
        }
        quiet.is_some()
    }

    /// Reads one datagram; says whether more are wanted.
    pub(super) fn datagram(
        &mut self,
        side: Side,
        payload: &[u8],
        cut: bool,
        at: Timestamp,
        budget: &mut Budget,
    ) -> bool {
        let mut counted = Held::of(&self.reader);
        let wanted = self.reader.datagram(side, payload, cut, at);
        budget.settle(&mut counted, &mut self.reader) && wanted
    }

    /// The flow is over: what waits is read after all. Packets of it may be `missed`, for this cause.
    pub(super) fn finish(
        &mut self,
        missed: Option<Gap>,
        at: Timestamp,
        awake: &mut Awake,
        budget: &mut Budget,
    ) {
        let mut streams = match awake.remove(&self.quiet) {
            Some(streams) => streams,
            None => awake.wake(&self.quiet, Held::default()),
        };
        // Which packets it had is not asked any more: what it reads now, all packets earned.
        budget.allowance.turn_to(0);
        let mut lender = Lender { reader: &mut self.reader, budget, at, home: Home::NOWHERE, doubt: None };
        if let Some(cause) = missed {
            streams.miss(cause, &mut lender);
        }
        streams.finish(&mut lender);
        awake.let_go(streams);
    }
}

/// As [`Cold::read`]; says besides what is left to know, if nothing else need be kept.
#[inline(always)]
fn read_with<R: Reader>(
    streams: &mut Streams,
    reader: &mut R,
    segment: &TcpSegment<'_>,
    answered: bool,
    budget: &mut Budget,
) -> (bool, Option<(Doubt, u32)>, Option<Quiet>) {
    let TcpSegment { side, tcp, payload, length, at, home } = *segment;
    let sequence = tcp.sequence.wrapping_add(u32::from(tcp.flags.syn()));
    let mut lender = Lender { reader, budget, at, home, doubt: None };
    if tcp.flags.rst() {
        streams.reset(side, tcp.sequence, &mut lender);
    } else {
        let (fin, urgent) = (tcp.flags.fin(), tcp.flags.urg());
        streams.piece(side, Piece { sequence, payload, length, fin, urgent, answered }, &mut lender);
    }
    let Lender { reader, budget, doubt, .. } = lender;
    if !budget.settle(&mut streams.counted, reader) || streams.are_done() {
        streams.let_go(budget);
        return (false, doubt, Some(Quiet::default()));
    }
    if tcp.flags.fin() {
        streams.forget_ended(budget);
    }
    (true, doubt, streams.quiet())
}

/// One TCP segment on its way to a reader.
#[derive(Clone, Copy)]
pub(super) struct TcpSegment<'a> {
    pub(super) side: Side,
    pub(super) tcp: Tcp,
    pub(super) payload: &'a [u8],
    /// The payload's length on the wire.
    pub(super) length: u32,
    pub(super) at: Timestamp,
    pub(super) home: Home<'a>,
}

impl TcpSegment<'_> {
    /// It carries bytes, or ends its side's.
    #[inline]
    pub(super) fn is_piece(&self) -> bool {
        self.length > 0 || self.tcp.flags.fin() || self.tcp.flags.rst()
    }
}

/// Who sent the first packet, how finely it was timed and how many tunnels are around it, and who opened the flow,
/// in one byte.
#[derive(Clone, Copy, Debug)]
struct Origin(u8);

impl Origin {
    const SENDER: u8 = 1;
    const NANO: u8 = 2;
    /// An opener is known; the two bits above tell the side, and by which packet.
    const OPENED: u8 = 4;
    const OPENER: u8 = 8;
    const SYN_ACK: u8 = 16;
    const DEPTH: u32 = 5;

    fn new(sender: Side, precision: Precision, depth: u8) -> Origin {
        let nano = if precision == Precision::Nano { Origin::NANO } else { 0 };
        Origin(depth << Origin::DEPTH | nano | if sender == Side::B { Origin::SENDER } else { 0 })
    }

    fn depth(self) -> u8 {
        self.0 >> Origin::DEPTH
    }

    fn side(self, bit: u8) -> Side {
        if self.0 & bit == 0 { Side::A } else { Side::B }
    }

    fn sender(self) -> Side {
        self.side(Origin::SENDER)
    }

    fn precision(self) -> Precision {
        if self.0 & Origin::NANO == 0 { Precision::Micro } else { Precision::Nano }
    }

    fn opener(self) -> Option<Opener> {
        let side = self.side(Origin::OPENER);
        match (self.0 & Origin::OPENED != 0, self.0 & Origin::SYN_ACK != 0) {
            (false, _) => None,
            (true, false) => Some(Opener::Syn(side)),
            (true, true) => Some(Opener::SynAck(side)),
        }
    }

    fn set_opener(&mut self, opener: Opener) {
        let side = if opener.side() == Side::B { Origin::OPENER } else { 0 };
        let syn_ack = if matches!(opener, Opener::SynAck(_)) { Origin::SYN_ACK } else { 0 };
        let rest = self.0 & !(Origin::OPENED | Origin::OPENER | Origin::SYN_ACK);
        self.0 = rest | Origin::OPENED | side | syn_ack;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_as_small_as_they_are_meant_to_be() {
        assert_eq!(size_of::<Hot>(), 64);
        assert_eq!(size_of::<Cold<[usize; 2]>>(), 64);
    }

    #[test]
    fn numbers_of_packets_stop_at_the_last() {
        for number in [0, 1, 0xffff, 0x1_0000, 0x1234_5678_9abc, (1 << 48) - 1] {
            assert_eq!(Number::new(number).get(), number);
        }
        assert_eq!(Number::new(u64::MAX).get(), (1 << 48) - 1);
    }

    #[test]
    fn an_origin_keeps_its_parts_apart() {
        use Side::{A, B};
        let openers = [Opener::Syn(A), Opener::Syn(B), Opener::SynAck(A), Opener::SynAck(B)];
        for (sender, precision) in [(A, Precision::Nano), (B, Precision::Micro)] {
            let mut origin = Origin::new(sender, precision, 2);
            assert_eq!(origin.opener(), None);
            for opener in openers {
                origin.set_opener(opener);
                assert_eq!(origin.opener(), Some(opener));
                assert_eq!((origin.sender(), origin.precision(), origin.depth()), (sender, precision, 2));
            }
        }
    }
}
