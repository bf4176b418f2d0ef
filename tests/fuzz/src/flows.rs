//! Reassembly: segments in any order, repeated, overlapping, cut, with numbers that wrap.

use std::net::{IpAddr, Ipv4Addr};

use flowaudit::capture::{Precision, Timestamp};
use flowaudit::flow::{Clock, Flow, FlowTable, Limits, Reader, Stamp, Want};
use flowaudit::packet::{
    Allowance, Encapsulation, Endpoint, Ends, Gap, Head, Side, Tcp, TcpFlags, Transport,
};

/// The most segments of one list.
const SEGMENTS: usize = 4096;
/// Sequence numbers wrap within the first segments.
const FIRST: u32 = 0xffff_fe00;
/// Bits of the first byte of a segment.
const UDP: u8 = 0x08;
const CUT: u8 = 0x10;
const OTHER_NUMBERS: u8 = 0x20;
const FAR: u8 = 0x40;
const SYN: u8 = 2;

/// Every byte that is lent stands where it belongs, and every packet is counted in a flow.
///
/// The bytes are a list of segments of 8 bytes: which flow and what is odd about it, flags, sequence number,
/// acknowledgement number and length, and the seconds since the one before.
pub fn reassemble(bytes: &[u8]) {
    let limits = Limits { flows: 6, stream_bytes: 4096 };
    let mut table: FlowTable<Position> =
        FlowTable::new(limits, u64::from(bytes.first().copied().unwrap_or(0)));
    let (mut ended, mut clock, mut time) = (Vec::new(), Clock::default(), 0i64);
    let (mut placed, mut counted) = (0u64, 0u64);
    for (ordinal, segment) in (1..).zip(bytes.as_chunks::<8>().0.iter().take(SEGMENTS)) {
        time += i64::from(segment[7] as i8) * Timestamp::SECOND;
        let sent: Vec<u8> =
            (0..u32::from(segment[6])).map(|n| numbered(sequence(segment), n, segment[1])).collect();
        let (now, due) = clock.advance(Timestamp(time));
        if due {
            table.tick(now, &mut ended);
        }
        let stamp = Stamp {
            capture: 0,
            number: ordinal,
            ordinal,
            time: Timestamp(time),
            precision: Precision::Micro,
            clock: now,
        };
        let captured = if segment[0] & CUT == 0 { &sent[..] } else { &sent[..sent.len() / 2] };
        table.packet(&decoded(segment, sent.len()), captured, &stamp, &mut ended);
        placed += 1;
        counted += ended.drain(..).map(|flow| packets(&flow)).sum::<u64>();
    }
    for (_, id) in table.remaining() {
        counted += packets(&table.end(id).expect("it is there"));
    }
    assert_eq!(placed, counted, "packets put into flows, and packets that flows count");
    assert!(table.account().most_flows <= 6);
}

fn packets(flow: &Flow<Position>) -> u64 {
    // Whatever came, there is a word for it.
    assert!(!flow.state(flow.first_sender).to_string().is_empty());
    flow.sent.iter().map(|counters| counters.packets).sum()
}

/// The low byte of a sequence number is what stands there.
fn numbered(sequence: u32, n: u32, flags: u8) -> u8 {
    let behind_syn = u32::from(flags & SYN != 0);
    sequence.wrapping_add(n).wrapping_add(behind_syn) as u8
}

fn sequence(segment: &[u8; 8]) -> u32 {
    number(segment[0], u16::from_be_bytes([segment[2], segment[3]]))
}

fn number(odd: u8, offset: u16) -> u32 {
    let offset = if odd & FAR == 0 { u32::from(offset) } else { u32::from(offset) << 16 };
    let first = if odd & OTHER_NUMBERS == 0 { FIRST } else { FIRST.wrapping_add(0x4000_0000) };
    first.wrapping_add(offset)
}

fn decoded(segment: &[u8; 8], length: usize) -> Head {
    let end = |last: u8, port: u16| Endpoint { ip: IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)), port };
    let (client, server) = (end(1 + (segment[0] >> 1 & 3), 40000), end(9, 443));
    let (source, destination) = if segment[0] & 1 == 0 { (client, server) } else { (server, client) };
    let is_udp = segment[0] & UDP != 0;
    let tcp = Tcp {
        sequence: sequence(segment),
        acknowledgement: number(segment[0], u16::from_be_bytes([segment[4], segment[5]])),
        flags: TcpFlags(segment[1]),
    };
    Head {
        ends: Ends::new(source, destination),
        transport: if is_udp { Transport::UDP } else { Transport::TCP },
        tcp: (!is_udp).then_some(tcp),
        payload_length: u32::try_from(length).expect("short"),
        packets: 1,
        differing: false,
        wire_bytes: 40 + length as u64,
        encapsulation: Encapsulation::NONE,
    }
}

/// Knows which byte comes next, once it has seen one.
#[derive(Default)]
struct Position {
    next: [Option<u8>; 2],
    done: [bool; 2],
    closed: [bool; 2],
    dice: u64,
}

impl Position {
    /// One of so many; what it is does not matter, and that it is the same every time does.
    fn below(&mut self, count: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % count
    }

    /// Bytes that are not wanted: mostly none.
    fn skip(&mut self) -> u64 {
        match self.below(8) {
            0 => self.below(600),
            1 => self.below(1 << 33),
            _ => 0,
        }
    }
}

impl Reader for Position {
    type Context = u64;

    fn new(seed: &u64) -> Position {
        Position { next: [None; 2], done: [false; 2], closed: [false; 2], dice: *seed }
    }

    fn begins(&mut self) {}

    fn read(&mut self, side: Side, bytes: &[u8], _: Timestamp, _: &mut Allowance) -> Want {
        let i = side.index();
        assert!(!bytes.is_empty() && !self.done[i]);
        let first = *self.next[i].get_or_insert(bytes[0]);
        for (byte, at) in bytes.iter().zip(0u64..) {
            assert_eq!(*byte, first.wrapping_add(at as u8), "byte {at} of {}", bytes.len());
        }
        let used = match self.below(4) {
            0 => self.below(bytes.len() as u64 + 1),
            _ => bytes.len() as u64,
        };
        let skip = if used == bytes.len() as u64 { self.skip() } else { 0 };
        self.next[i] = Some(first.wrapping_add((used + skip) as u8));
        self.done[i] = self.below(64) == 0;
        Want { used: used as usize, skip, done: self.done[i] }
    }

    fn gap(&mut self, side: Side, _: Gap, covered: u64, _: Timestamp) -> u64 {
        let i = side.index();
        assert!(!self.done[i]);
        let skip = self.skip();
        // As many as can be means that nobody knows how many.
        self.next[i] = match covered {
            u64::MAX => None,
            _ => self.next[i].map(|next| next.wrapping_add(covered.wrapping_add(skip) as u8)),
        };
        skip
    }

    fn closed(&mut self, side: Side, _: bool, _: Timestamp) {
        assert!(!std::mem::replace(&mut self.closed[side.index()], true), "a side closes once");
    }

    fn datagram(&mut self, _: Side, _: &[u8], _: bool, _: Timestamp) -> bool {
        self.below(16) != 0
    }
}
