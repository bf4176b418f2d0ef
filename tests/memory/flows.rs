//! What a flow takes in all, in a flow table that has very many: its records, its places in index and wheel, and what
//! is kept of its bytes. What flows know of each other (`audit/links.rs`) is capped apart, and not in here.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use flowaudit::capture::{Precision, Timestamp};
use flowaudit::flow::{Clock, FlowTable, Limits, Reader, Shared, Stamp, Want};
use flowaudit::packet::{
    Allowance, Encapsulation, Endpoint, Ends, Gap, Head, Side, Tcp, TcpFlags, Transport,
};
use flowaudit::protocol::tls::{Chain, KeyStore};
use flowaudit::protocol::{Conversation, Step};

use super::common::capture;
use super::common::pcap::Pcap;
use super::{HELD, Said, sides};

/// What a flow may take that is idle or classified, in bytes.
const FLOW_BYTES: isize = 200;
/// What one of TLS takes whose records have lengths that no other has, before as many were seen as are looked at.
const UNLIKE_BYTES: isize = 760;
/// A million flows, with `FLOWAUDIT_LONG=1`.
const MILLION: u32 = 1_000_000;
/// Else so many, for which an index has the same share of empty places.
const FEWER: u32 = MILLION / 16;
/// Flows of one client address.
const PER_CLIENT: u32 = 16;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

#[test]
fn idle() {
    for family in families() {
        takes(FLOW_BYTES, "idle", *family, Transport::TCP, |_| Said::new());
    }
    takes(FLOW_BYTES, "idle, each of a client of its own", Family::V6Apart, Transport::TCP, |_| Said::new());
}

#[test]
fn nats_connected() {
    let said = |flow: u32| {
        let info = format!("INFO {{\"server_id\":\"x\",\"client_id\":{flow},\"auth_required\":true}}\r\n");
        let connect = format!("CONNECT {{\"user\":\"u\",\"pass\":\"p\",\"name\":\"{flow}\"}}\r\nPING\r\n");
        vec![
            (Side::B, info.into_bytes()),
            (Side::A, connect.into_bytes()),
            (Side::B, b"PONG\r\n".to_vec()),
            (Side::A, b"PUB router.register 5\r\nhello\r\n".to_vec()),
            (Side::B, b"MSG router.greet 1 5\r\nhello\r\n".to_vec()),
        ]
    };
    for family in families() {
        takes(FLOW_BYTES, "NATS", *family, Transport::TCP, said);
    }
}

#[test]
fn dns_answered() {
    let said = |flow: u32| {
        let id = (flow as u16).to_be_bytes();
        let question = b"\0\x01\0\0\0\0\0\0\x07doppler\x07service\x02cf\x08internal\0\0\x01\0\x01";
        let query = [&id[..], &[1, 0], question].concat();
        let mut answer = [&id[..], &[0x81, 0x80], question].concat();
        answer[7] = 1;
        answer.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04\x0a\0\x04");
        answer.push(flow as u8);
        vec![(Side::A, query), (Side::B, answer)]
    };
    for family in families() {
        takes(FLOW_BYTES, "DNS", *family, Transport::UDP, said);
    }
}

#[test]
fn http1_keep_alive() {
    let said = |flow: u32| {
        let request = format!(
            "GET /apps/{flow}/recentlogs HTTP/1.1\r\nHost: doppler.example\r\nAuthorization: Bearer abc\r\n\r\n"
        );
        let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
        let round = [(Side::A, request.into_bytes()), (Side::B, answer.as_bytes().to_vec())];
        round.iter().cycle().take(8).cloned().collect()
    };
    for family in families() {
        takes(FLOW_BYTES, "HTTP/1", *family, Transport::TCP, said);
    }
}

#[test]
fn tls_after_its_handshake() {
    for (name, recorded) in RECORDED {
        let handshake = handshake(recorded);
        for family in families() {
            takes(FLOW_BYTES, name, *family, Transport::TCP, |flow| of_its_own(&handshake, flow));
        }
    }
}

/// What is alike to nothing is kept by its flow alone, as before the silence.
#[test]
fn tls_after_data_of_lengths_that_no_other_has() {
    for (name, recorded) in RECORDED {
        let handshake = handshake(recorded);
        let said = |flow: u32| {
            let mut said = of_its_own(&handshake, flow);
            for (side, length) in [(Side::A, flow % 1000 + 20), (Side::B, flow / 1000 + 20)] {
                let record = [&[23, 3, 3][..], &(length as u16).to_be_bytes(), &vec![0; length as usize]];
                said.push((side, record.concat()));
            }
            said
        };
        takes(UNLIKE_BYTES, &format!("{name}, alike to none"), Family::V6, Transport::TCP, said);
    }
}

#[test]
fn tls_long_after_its_handshake() {
    let records = [&[23, 3, 3, 0, 100][..], &[0x5a; 100]].concat().repeat(48);
    for (name, recorded) in RECORDED {
        let mut said = handshake(recorded);
        said.extend([Side::A, Side::B].map(|side| (side, records.clone())));
        let name = format!("{name}, much data");
        for family in families() {
            takes(FLOW_BYTES, &name, *family, Transport::TCP, |flow| of_its_own(&said, flow));
        }
    }
}

const RECORDED: [(&str, &str); 2] = [("TLS 1.2", "match_L9_tls12.pcap"), ("TLS 1.3", "match_C2_tls13.pcap")];

/// What a recorded connection said up to the first of its data.
fn handshake(recorded: &str) -> Said {
    let mut said = sides(&Pcap::read(&fs::read(capture(recorded)).expect("it reads")));
    said.truncate(8);
    said
}

/// The same hellos with randoms and session identifiers of this flow, the server's identifier the client's where it
/// was so.
fn of_its_own(said: &Said, flow: u32) -> Said {
    /// A record's header, a message's and the version stand before a hello's random.
    const RANDOM: usize = 11;
    const SESSION: usize = RANDOM + 32;
    let mut said = said.clone();
    let mut hellos = [false; 2];
    for (side, bytes) in &mut said {
        if std::mem::replace(&mut hellos[side.index()], true) {
            continue;
        }
        let length = usize::from(bytes[SESSION]);
        let id = &mut bytes[SESSION + 1..SESSION + 1 + length];
        if let Some(front) = id.first_chunk_mut::<4>() {
            *front = (u32::from_be_bytes(*front) ^ flow).to_be_bytes();
        }
        bytes[RANDOM..RANDOM + 4].copy_from_slice(&flow.to_be_bytes());
    }
    said
}

#[derive(Clone, Copy, Debug)]
enum Family {
    V4,
    V6,
    /// No two flows have a client in common.
    V6Apart,
}

/// Those of IPv6 take more: the others are asked for where there is time.
fn families() -> &'static [Family] {
    if is_long() { &[Family::V4, Family::V6] } else { &[Family::V6] }
}

fn is_long() -> bool {
    std::env::var_os("FLOWAUDIT_LONG").is_some_and(|value| value == "1")
}

/// Opens very many flows within minutes, each of which says what `said` makes for it, waits until the last have been
/// silent for more than one, and holds what they take against `most`.
fn takes(most: isize, what: &str, family: Family, transport: Transport, said: impl Fn(u32) -> Said) {
    let flows = if is_long() { MILLION } else { FEWER };
    // Datagrams are not waited for as long as connections are.
    let (span, rest) = if transport == Transport::UDP { (60, 0) } else { (1000, 150) };
    let open = |flows: u32| {
        let mut table = Table::new(flows);
        let before = HELD.get();
        for flow in 0..flows {
            table.wait_until(i64::from(flow) * span * Timestamp::SECOND / i64::from(flows));
            table.open(flow, family, transport, &said(flow));
        }
        for second in span..span + rest {
            table.wait_until(second * Timestamp::SECOND);
        }
        assert_eq!(table.table.len(), flows as usize);
        (HELD.get() - before) / flows as isize
    };
    // What all share is there before it is counted.
    open(1);
    let held = open(flows);
    println!("{what}, {family:?}: {held} bytes a flow");
    assert!(held <= most, "{what}, {family:?}: {held} bytes a flow");
}

struct Table {
    table: FlowTable<Speaker>,
    clock: Clock,
    now: Timestamp,
    packets: u64,
}

impl Table {
    /// One that so many flows fill.
    fn new(flows: u32) -> Table {
        let limits = Limits { flows: flows as usize, stream_bytes: 4 << 30 };
        let table = FlowTable::new(limits, Arc::new(KeyStore::default()));
        Table { table, clock: Clock::default(), now: Timestamp(0), packets: 0 }
    }

    /// Lets time pass, in which no flow is due.
    fn wait_until(&mut self, now: i64) {
        let mut ended = Vec::new();
        let (clock, is_due) = self.clock.advance(Timestamp(now));
        if is_due {
            self.table.tick(clock, &mut ended);
        }
        assert!(ended.is_empty());
        self.now = clock;
    }

    /// Opens a flow and says all this, each piece acknowledged.
    fn open(&mut self, flow: u32, family: Family, transport: Transport, said: &Said) {
        let ends = ends(flow, family);
        if transport == Transport::UDP {
            for (side, bytes) in said {
                self.send(ends, *side, None, bytes);
            }
            return;
        }
        let mut next = [flow.wrapping_mul(0x9e37_79b9), flow.wrapping_mul(0x85eb_ca6b)];
        let mut send = |side: Side, flags: u8, bytes: &[u8]| {
            let (me, other) = (side.index(), side.other().index());
            let tcp = Tcp { sequence: next[me], acknowledgement: next[other], flags: TcpFlags(flags) };
            self.send(ends, side, Some(tcp), bytes);
            next[me] = next[me].wrapping_add(bytes.len() as u32 + u32::from(flags & SYN != 0));
        };
        send(Side::A, SYN, &[]);
        send(Side::B, SYN | ACK, &[]);
        send(Side::A, ACK, &[]);
        for (side, bytes) in said {
            for segment in bytes.chunks(1448) {
                send(*side, ACK, segment);
                send(side.other(), ACK, &[]);
            }
        }
    }

    /// Sends a packet of the client, side A, or of the server.
    fn send(&mut self, ends: Ends, side: Side, tcp: Option<Tcp>, bytes: &[u8]) {
        self.packets += 1;
        let head = Head {
            ends: Ends { sender: if side == Side::A { ends.sender } else { ends.sender.other() }, ..ends },
            transport: if tcp.is_some() { Transport::TCP } else { Transport::UDP },
            tcp,
            payload_length: bytes.len() as u32,
            packets: 1,
            differing: false,
            wire_bytes: bytes.len() as u64 + 54,
            encapsulation: Encapsulation::NONE,
        };
        let stamp = Stamp {
            capture: 0,
            number: self.packets,
            ordinal: self.packets,
            time: self.now,
            precision: Precision::Micro,
            clock: self.now,
        };
        let mut ended = Vec::new();
        self.table.packet(&head, bytes, &stamp, &mut ended);
        assert!(ended.is_empty());
        self.table.take_news();
    }
}

/// A client's address and port, and those of one of a few servers.
fn ends(flow: u32, family: Family) -> Ends {
    let (client, port) = (flow / PER_CLIENT, 32_768 + (flow % PER_CLIENT) as u16);
    let server = flow % 8;
    let wide =
        |net: u16, host: u32| Ipv6Addr::new(0xfd00, 0, 0, net, 0, 0, (host >> 16) as u16, host as u16).into();
    let (client, server) = match family {
        Family::V4 => (
            Ipv4Addr::from_bits(0x0b00_0000 + client).into(),
            Ipv4Addr::from_bits(0x0a00_0400 + server).into(),
        ),
        Family::V6 => (wide(1, client), wide(0, server)),
        Family::V6Apart => (wide(1, flow), wide(0, server)),
    };
    Ends::new(Endpoint { ip: client, port }, Endpoint { ip: server, port: 8080 })
}

/// Hands a flow's bytes to its conversation, as the audit does.
#[derive(Default)]
struct Speaker(Conversation);

impl Reader for Speaker {
    type Context = Arc<KeyStore>;

    fn new(keys: &Arc<KeyStore>) -> Speaker {
        Speaker(Conversation::with_keys(Arc::clone(keys)))
    }

    fn begins(&mut self) {
        self.0.begins();
    }

    fn read(&mut self, side: Side, bytes: &[u8], at: Timestamp, allowance: &mut Allowance) -> Want {
        match self.0.read(side, bytes, at.0, allowance) {
            Step::More { used } => Want { used, skip: 0, done: false },
            Step::Skip { used, skip } => Want { used, skip, done: false },
            Step::Done | Step::Switch { .. } | Step::Broken => Want::NOTHING,
        }
    }

    fn gap(&mut self, side: Side, cause: Gap, covered: u64, _: Timestamp) -> u64 {
        self.0.gap(side, cause, covered)
    }

    fn closed(&mut self, side: Side, reset: bool, at: Timestamp) {
        self.0.closed(side, reset, at.0);
    }

    fn held(&self) -> usize {
        self.0.held()
    }

    fn shared(&self) -> [Option<Shared>; 3] {
        let chain = |chain: &Chain| Shared { id: chain.id(), bytes: chain.held() };
        let [one, other] = self.0.chains().map(|it| it.map(chain));
        [one, other, self.0.alike().map(|(id, bytes)| Shared { id, bytes })]
    }

    fn rest(&mut self) {
        self.0.rest();
    }

    fn let_go(&mut self) {
        self.0.let_go();
    }

    fn has_news(&mut self) -> bool {
        self.0.has_news()
    }

    fn datagram(&mut self, side: Side, bytes: &[u8], cut: bool, _: Timestamp) -> bool {
        let more = self.0.datagram(side, bytes, cut);
        // Names are learnt from them, flow by flow.
        self.0.take_addresses();
        more
    }
}
