//! The seeds: what fuzzing starts from, made from `captures/` and from a few messages.

use std::collections::BTreeMap;
use std::fs;

use etherparse::PacketBuilder;
use flowaudit::capture::{Event, LinkType, Packet, Timestamp, open};
use flowaudit::flow::{FlowTable, Limits, Reader, Stamp, Want};
use flowaudit::packet::{Allowance, Decoded, Decoder, Gap, Side};

use super::common::pcap::{Pcap, client_hello};
use super::common::{capture, root};

/// Seeds by target and name.
type Seeds = BTreeMap<(&'static str, String), Vec<u8>>;

/// The most bytes of one seed that are taken from a capture.
const SEED_CAP: usize = 6000;
/// The most bytes that one side says at once in a seed.
const SAID_CAP: usize = 2500;

/// Captures whose connections are what a recogniser, decryption and whole sessions start from: the target, the
/// capture, and the server's port.
const CONNECTIONS: [(&str, &str, u16); 17] = [
    ("tls", "grpc_C1_nozzle_tls12.pcap", 8082),
    ("tls", "grpc_C1_nozzle_tls13.pcap", 8082),
    ("tls", "hard_resumed_L5_tls12.pcap", 9023),
    ("tls", "match_C4_tls12.pcap", 8443),
    ("tls", "violation_no_client_certificate_refused_tls13.pcap", 8082),
    ("tls", "violation_tls10_refused.pcap", 8082),
    ("tls", "violation_weak_cipher_8443.pcap", 8443),
    ("http1", "match_C3_oauth.pcap", 8083),
    ("http1", "match_L11_event_stream.pcap", 8088),
    ("http1", "match_L1_websocket.pcap", 8081),
    ("http1", "violation_no_oauth_8088.pcap", 8088),
    ("http1", "violation_plain_http_8443.pcap", 8443),
    ("http2", "violation_plaintext_8082.pcap", 8082),
    ("nats", "match_L7_nats.pcap.gz", 4222),
    ("nats", "violation_nats_refused.pcap", 4222),
    ("decryption", "grpc_C1_nozzle_tls13.pcap", 8082),
    ("decryption", "match_C4_tls12.pcap", 8443),
];

/// Captures that are seeds themselves, as far as [`SEED_CAP`] reaches.
const FILES: [&str; 14] = [
    "grpc_C1_nozzle_tls13.pcap",
    "hard_one_direction_L7.pcap",
    "hard_reordered_duplicated_L1.pcap",
    "hard_snaplen96_L4.pcap",
    "hard_unanswered.pcap",
    "match_C4_tls12.pcap",
    "match_L2_cooked.pcap",
    "match_L2_nanoseconds.pcap",
    "match_L2_vlan_tls13.pcap",
    "match_L4_big_endian_tls12.pcap",
    "match_L4_secrets_tls13.pcapng",
    "match_L7_nats.pcap.gz",
    "violation_plaintext_8082.pcap",
    "violation_port_scan.pcap",
];

/// Every seed.
pub fn all() -> Seeds {
    let mut seeds = Seeds::new();
    files(&mut seeds);
    connections(&mut seeds);
    messages(&mut seeds);
    packets(&mut seeds);
    segments(&mut seeds);
    texts(&mut seeds);
    seeds
}

fn files(seeds: &mut Seeds) {
    for name in FILES {
        let bytes = fs::read(capture(name)).expect("it reads");
        let whole = cut(&bytes, SEED_CAP);
        seeds.insert(("pipeline", name.to_owned()), [&whole[..], &[0, 0]].concat());
        seeds.insert(("captures", name.to_owned()), [&cut(&bytes, SEED_CAP / 4)[..], &[7, 100]].concat());
    }
    let plain = cut(&fs::read(capture(FILES[5])).expect("it reads"), SEED_CAP / 4);
    seeds.insert(("captures", "zstd".to_owned()), [&zstd(&plain)[..], &[0, 0]].concat());
    let encapsulated = Pcap::of(&odd_frames()).bytes();
    seeds.insert(("pipeline", "odd_frames".to_owned()), [&encapsulated[..], &[0, 0]].concat());
}

/// The beginning of a capture, up to the end of a record.
fn cut(bytes: &[u8], cap: usize) -> Vec<u8> {
    if bytes.len() <= cap || bytes.starts_with(&[0x1f, 0x8b]) {
        return bytes.to_vec();
    }
    let number = |at: usize, big: bool| {
        let four = bytes[at..at + 4].try_into().expect("four bytes");
        (if big { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }) as usize
    };
    let is_pcapng = bytes.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]);
    let big = bytes.starts_with(&[0xa1, 0xb2]);
    let mut end = if is_pcapng { 0 } else { 24 };
    while end + 12 <= bytes.len() {
        let length = if is_pcapng { number(end + 4, big) } else { 16 + number(end + 8, big) };
        if end + length > cap {
            break;
        }
        end += length;
    }
    bytes[..end].to_vec()
}

/// A zstd frame of one block that is not compressed (RFC 8878 section 3.1.1), the same with every version of the
/// library.
fn zstd(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("short");
    let header = [0x28, 0xb5, 0x2f, 0xfd, 0xa0];
    let block = (length << 3 | 1).to_le_bytes();
    [&header[..], &length.to_le_bytes(), &block[..3], bytes].concat()
}

fn connections(seeds: &mut Seeds) {
    let keys =
        ["foundation.keys", "grpc.keys"].map(|name| fs::read_to_string(capture(name)).expect("it reads"));
    for (target, name, port) in CONNECTIONS {
        let said = conversation(name, port);
        let said: Vec<u8> = said.iter().flat_map(|(side, bytes)| event(*side, 0, bytes)).collect();
        let mut script = said;
        script.truncate(SEED_CAP);
        if target == "decryption" {
            let log = key_lines(&keys.concat(), &script);
            script = [log.as_bytes(), &[0], &script].concat();
            // As that target numbers its ports.
            let place = u8::from(port == 8443) * 4;
            seeds.insert(("sessions", name.to_owned()), [&script[..], &[place, 0]].concat());
        } else {
            script.push(0);
        }
        seeds.insert((target, name.to_owned()), script);
    }
}

/// The lines of a key log that name the connection whose ClientHello stands in these bytes.
fn key_lines(log: &str, script: &[u8]) -> String {
    let mut lines = String::new();
    for line in log.lines() {
        let random = line.split(' ').nth(1).unwrap_or_default();
        let bytes: Vec<u8> = (0..random.len() / 2)
            .filter_map(|at| u8::from_str_radix(&random[2 * at..2 * at + 2], 16).ok())
            .collect();
        if bytes.len() == 32 && script.windows(32).any(|window| window == bytes) {
            lines.push_str(line);
            lines.push('\n');
        }
    }
    lines
}

/// An event of a script: kinds are 0 for data, 1 for missing, 2 for closed, 3 for a datagram.
fn event(side: Side, kind: u8, bytes: &[u8]) -> Vec<u8> {
    let bytes = &bytes[..bytes.len().min(SAID_CAP)];
    let length = u16::try_from(bytes.len()).expect("short").to_be_bytes();
    [&[kind << 1 | side.index() as u8][..], &length, bytes].concat()
}

/// What the first connection to a port of a capture says, the client being [`Side::A`].
fn conversation(name: &str, port: u16) -> Vec<(Side, Vec<u8>)> {
    let mut source = open(capture(name).to_str().expect("UTF-8")).expect("it opens");
    let mut decoder = Decoder::new();
    let mut table: FlowTable<Said> = FlowTable::new(Limits::default(), ());
    let (mut ended, mut ordinal) = (Vec::new(), 0);
    while let Some(event) = source.next_event().expect("it is whole") {
        let Event::Packet(packet) = event else { continue };
        ordinal += 1;
        if let Decoded::Segment(segment) = decoder.decode(&packet) {
            let Packet { capture, number, time, precision, .. } = packet;
            let stamp = Stamp { capture, number, ordinal, time, precision, clock: time };
            table.packet(&segment.head, segment.payload, &stamp, &mut ended);
        }
    }
    for (_, id) in table.remaining() {
        ended.extend(table.end(id));
    }
    ended.sort_by_key(|flow| flow.first_ordinal);
    let flow = ended.into_iter().find(|flow| (flow.key.ports.contains(&port)) && !flow.reader.0.is_empty());
    let flow = flow.unwrap_or_else(|| panic!("{name}: nobody speaks on port {port}"));
    let turned = flow.key.ports[0] == port;
    let side = |side: Side| if turned { side.other() } else { side };
    flow.reader.0.into_iter().map(|(from, bytes)| (side(from), bytes)).collect()
}

/// Keeps what is said.
#[derive(Default)]
struct Said(Vec<(Side, Vec<u8>)>);

impl Reader for Said {
    type Context = ();

    fn new((): &()) -> Said {
        Said(Vec::new())
    }

    fn begins(&mut self) {}

    fn read(&mut self, side: Side, bytes: &[u8], _: Timestamp, _: &mut Allowance) -> Want {
        match self.0.last_mut() {
            Some((last, said)) if *last == side => said.extend(bytes),
            _ => self.0.push((side, bytes.to_vec())),
        }
        Want { used: bytes.len(), skip: 0, done: false }
    }

    fn gap(&mut self, _: Side, _: Gap, _: u64, _: Timestamp) -> u64 {
        0
    }

    fn closed(&mut self, _: Side, _: bool, _: Timestamp) {}

    fn datagram(&mut self, _: Side, _: &[u8], _: bool, _: Timestamp) -> bool {
        false
    }
}

/// Protocols that no kept capture holds.
fn messages(seeds: &mut Seeds) {
    const QUESTION: &[u8] =
        b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07doppler\x07service\x02cf\x08internal\0\0\x01\0\x01";
    const ANSWER: &[u8] =
        b"\x12\x34\x81\x80\0\x01\0\x01\0\0\0\0\x07doppler\x07service\x02cf\x08internal\0\0\x01\0\x01\
        \xc0\x0c\0\x01\0\x01\0\0\0\x1e\0\x04\x0a\0\x04\x0a";
    const GREETING: &[u8] = b"\x4a\0\0\0\x0a8.0.36\0\x08\0\0\0abcdefgh\0\xff\xff\xff\x02\0\xff\xdf\x15\
        \0\0\0\0\0\0\0\0\0\0abcdefghijkl\0caching_sha2_password\0";
    const LOGIN: &[u8] =
        b"\x3d\0\0\x01\x85\xa6\xff\x01\0\0\0\x01\x21\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
        uaa\0\x14abcdefghijklmnopqrst";
    const SSL_REQUEST: &[u8] =
        b"\x20\0\0\x01\x05\xae\x0f\0\0\0\0\x01\x21\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    const OK: &[u8] = b"\x07\0\0\x02\0\0\0\x02\0\0\0";
    const BIND: &[u8] = b"\x30\x1a\x02\x01\x01\x60\x15\x02\x01\x03\x04\x08cn=admin\x80\x06secret";
    const BOUND: &[u8] = b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\0\x04\0\x04\0";
    const START_TLS: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";
    const GRANTED: &[u8] = b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\0\x04\0\x04\0";
    const LOG: &[u8] = b"<14>1 2026-11-22T00:00:00.000000Z host app 1 - [a@1 b=\"c\"] text\n";
    const OLD_LOG: &[u8] = b"<13>Nov 22 00:00:00 host app[1]: text\n";
    const BANNER: &[u8] = b"SSH-2.0-OpenSSH_9.6\r\n";
    let (a, b) = (Side::A, Side::B);
    let hello = client_hello(b"doppler.service.cf.internal", &[b"h2"]);
    let framed = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
    let counted = [b"66 ", LOG].concat();
    let mut exchange = vec![0, 0, 1, 0x14, 4, 20];
    exchange.extend([7; 16]);
    for names in [&b"curve25519-sha256"[..], b"ssh-ed25519", b"aes128-ctr", b"aes128-ctr", b"hmac-sha2-256"] {
        exchange.extend(u32::try_from(names.len()).expect("short").to_be_bytes());
        exchange.extend(names);
    }
    exchange.resize(4 + 0x114, 0);
    type Said<'a> = &'a [(Side, u8, &'a [u8])];
    let scripts: [(&'static str, &str, Said<'_>); 18] = [
        ("dns", "datagrams", &[(a, 3, QUESTION), (b, 3, ANSWER)]),
        ("dns", "stream", &[(a, 0, &framed(QUESTION)), (b, 0, &framed(ANSWER))]),
        ("mysql", "password", &[(b, 0, GREETING), (a, 0, LOGIN), (b, 0, OK)]),
        ("mysql", "tls", &[(b, 0, GREETING), (a, 0, SSL_REQUEST), (a, 0, &hello)]),
        ("ssh", "exchange", &[(a, 0, BANNER), (b, 0, BANNER), (a, 0, &exchange), (b, 0, &exchange)]),
        ("ldap", "password", &[(a, 0, BIND), (b, 0, BOUND)]),
        ("ldap", "tls", &[(a, 0, START_TLS), (b, 0, GRANTED), (a, 0, &hello)]),
        ("syslog", "datagrams", &[(a, 3, LOG), (a, 3, OLD_LOG)]),
        ("syslog", "lines", &[(a, 0, LOG), (a, 0, OLD_LOG), (a, 0, LOG)]),
        ("syslog", "counted", &[(a, 0, &counted), (a, 0, &counted)]),
        ("http2", "upgrade", &[
            (a, 0, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
                HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n"),
            (b, 0, b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"),
            (a, 0, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"),
            (b, 0, b"\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\x05\0\0\0\x01\x88"),
        ]),
        ("http1", "chunked", &[
            (a, 0, b"POST /v2 HTTP/1.1\r\nHost: a\r\nAuthorization: bearer x\r\nTransfer-Encoding: chunked\r\n\r\n\
                4;a=b\r\nbody\r\n0\r\nTrailer: x\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
            (b, 0, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 401 Unauthorized\r\nContent-Length: 3\r\n\r\nno.\
                HTTP/1.0 200 OK\r\n\r\nuntil the end"),
        ]),
        ("nats", "headers", &[
            (b, 0, b"INFO {\"server_id\":\"a\",\"auth_required\":true,\"tls_required\":true}\r\n"),
            (a, 0, b"CONNECT {\"user\":\"nats\",\"pass\":\"x\",\"headers\":true}\r\nPING\r\nHPUB a 12 14\r\nNATS/1.0\r\n\r\n\
                ab\r\nSUB a 1\r\n"),
            (b, 0, b"PONG\r\nMSG a 1 2\r\nab\r\n-ERR 'Authorization Violation'\r\n"),
        ]),
        ("proxy", "line", &[(a, 0, b"PROXY TCP4 192.0.2.7 10.0.4.20 51234 8443\r\n"), (a, 0, &hello)]),
        ("proxy", "unknown", &[(a, 0, b"PROXY UNKNOWN\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), (b, 0, b"HTTP/1.1 200 OK\r\n\r\n")]),
        ("proxy", "binary", &[(a, 0, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x11\xc0\0\x02\x07\x0a\0\x04\x14\xc8\x22\x20\xfb\x04\0\x02ab"), (a, 0, &hello)]),
        ("tls", "names", &[(a, 0, &hello)]),
        ("tls", "old_hello", &[(a, 0, b"\x80\x2e\x01\x03\x01\0\x15\0\0\0\x10\0\0\x05\0\0\x0a\x01\0\x80\x07\0\xc0\x03\0\x80\
            \0\0\x09\x06\0\x40abcdefghijklmnop")]),
    ];
    for (target, name, said) in scripts {
        let script: Vec<u8> =
            said.iter().flat_map(|(side, kind, bytes)| event(*side, *kind, bytes)).collect();
        seeds.insert((target, name.to_owned()), [&script[..], &[0]].concat());
        let first = said.iter().find(|(_, kind, _)| *kind == 0).map(|(_, _, bytes)| bytes.to_vec());
        if let Some(first) = first {
            seeds.insert(("probes", format!("{target}_{name}")), first);
        }
    }
}

fn packets(seeds: &mut Seeds) {
    let mut list = |name: &str, frames: &[(u8, Vec<u8>)]| {
        let entry = |(link, frame): &(u8, Vec<u8>)| {
            [&[*link, 1, 0][..], &u16::try_from(frame.len()).expect("short").to_be_bytes(), frame].concat()
        };
        seeds.insert(("packets", name.to_owned()), frames.iter().flat_map(entry).collect());
    };
    for name in ["match_L2_cooked.pcap", "match_L2_vlan_tls13.pcap", "match_C3_oauth.pcap"] {
        let mut source = open(capture(name).to_str().expect("UTF-8")).expect("it opens");
        let mut frames = Vec::new();
        while let (Some(Event::Packet(packet)), 0..6) =
            (source.next_event().expect("it is whole"), frames.len())
        {
            let link = match packet.link {
                LinkType::LinuxCooked2 => 3,
                LinkType::LinuxCooked => 2,
                _ => 0,
            };
            frames.push((link, packet.bytes.to_vec()));
        }
        list(name, &frames);
    }
    list("odd_frames", &odd_frames().into_iter().map(|frame| (0, frame)).collect::<Vec<_>>());
    let ip: Vec<u8> = odd_frames()[0][14..].to_vec();
    list("raw", &[(1, ip.clone())]);
    list("loopback", &[(4, [&[2, 0, 0, 0][..], &ip].concat())]);
    list("cooked", &[(2, [&[0; 14][..], &[8, 0], &ip].concat())]);
}

/// A datagram, its fragments in both versions of IP, tunnels in tunnels, tags, and an error that quotes a packet.
fn odd_frames() -> Vec<Vec<u8>> {
    let built = |builder: etherparse::PacketBuilderStep<etherparse::UdpHeader>, payload: &[u8]| {
        let mut frame = Vec::new();
        builder.write(&mut frame, payload).expect("a vector takes it");
        frame
    };
    let udp = |port: u16, payload: &[u8]| {
        built(
            PacketBuilder::ethernet2([2; 6], [4; 6])
                .ipv4([10, 0, 4, 20], [10, 0, 4, 10], 64)
                .udp(40_000, port),
            payload,
        )
    };
    let udp6 =
        built(PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6([1; 16], [2; 16], 64).udp(40_000, 53), &[7; 64]);
    let datagram = udp(514, &[b'x'; 64]);
    let vxlan = udp(4789, &[&[8, 0, 0, 0, 0, 0, 7, 0][..], &datagram].concat());
    let nested = udp(4789, &[&[8, 0, 0, 0, 0, 0, 9, 0][..], &vxlan].concat());
    let tagged = [&datagram[..12], &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6], &datagram[12..]].concat();
    let fragment = |offset: usize, length: usize, more: bool| {
        let (head, carried) = datagram.split_at(34);
        let mut frame = [head, &carried[offset..offset + length]].concat();
        frame[16..18].copy_from_slice(&(20 + length as u16).to_be_bytes());
        frame[20..22].copy_from_slice(&((offset as u16 / 8) | (u16::from(more) << 13)).to_be_bytes());
        frame
    };
    let fragment6 = |offset: usize, length: usize, more: bool| {
        let (head, carried) = udp6.split_at(54);
        let part = (offset as u16 | u16::from(more)).to_be_bytes();
        let mut frame =
            [head, &[17, 0, part[0], part[1], 0, 0, 0, 1], &carried[offset..offset + length]].concat();
        frame[18..20].copy_from_slice(&(8 + length as u16).to_be_bytes());
        frame[20] = 44;
        frame
    };
    let mut unreachable = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([10, 0, 4, 10], [10, 0, 4, 20], 64)
        .icmpv4_raw(3, 3, [0; 4])
        .write(&mut unreachable, &datagram[14..42])
        .expect("a vector takes it");
    vec![
        datagram.clone(),
        fragment(0, 40, true),
        fragment(40, 32, false),
        fragment6(0, 40, true),
        fragment6(40, 32, false),
        vxlan,
        nested,
        tagged,
        unreachable,
    ]
}

/// Segments as the target `flows` numbers them: in order, out of order, repeated, closed, refused.
fn segments(seeds: &mut Seeds) {
    const SYN: u8 = 2;
    const ACK: u8 = 16;
    let segment = |odd: u8, flags: u8, sequence: u16, acknowledged: u16, length: u8| {
        let ([s, q], [a, k]) = (sequence.to_be_bytes(), acknowledged.to_be_bytes());
        [odd, flags, s, q, a, k, length, 1]
    };
    let open = [segment(0, SYN, 0, 0, 0), segment(1, SYN | ACK, 0, 1, 0), segment(0, ACK, 1, 1, 0)];
    let mut add = |name: &str, rest: &[[u8; 8]]| {
        seeds.insert(("flows", name.to_owned()), [&open[..], rest].concat().concat());
    };
    let said = |from: u16| segment(0, ACK, 1 + from * 200, 1, 200);
    add(
        "in_order",
        &[said(0), said(1), said(2), segment(0, ACK | 1, 601, 1, 0), segment(1, ACK | 1, 1, 602, 0)],
    );
    add("out_of_order", &[said(2), said(1), said(4), said(0), said(3), said(2)]);
    add("overlapping", &[said(0), segment(0, ACK, 101, 1, 250), segment(0, ACK, 1, 1, 255)]);
    add("hole", &[said(0), said(3), segment(1, ACK, 1, 801, 50), segment(0, ACK | 1, 801, 51, 0)]);
    add("cut", &[segment(0x10, ACK, 1, 1, 200), said(1), segment(0x10, ACK, 401, 1, 100)]);
    add("reset", &[said(0), segment(1, 4 | ACK, 1, 201, 0), said(1)]);
    add(
        "again",
        &[
            said(0),
            segment(0x20, SYN, 0, 0, 0),
            segment(0x21, SYN | ACK, 0, 1, 0),
            segment(0x20, ACK, 1, 1, 9),
        ],
    );
    add("datagrams", &[segment(8, 0, 0, 0, 100), segment(9, 0, 0, 0, 100)]);
    add(
        "many",
        &[
            segment(2, SYN, 0, 0, 0),
            segment(4, SYN, 0, 0, 0),
            segment(6, SYN, 0, 0, 0),
            segment(10, 0, 0, 0, 1),
        ],
    );
}

fn texts(seeds: &mut Seeds) {
    // Words by their place in that target's list: `tcp port 443 and not host 10.0.4.10`, and so on.
    let filters: [(&str, &[u8]); 3] = [
        ("host_and_port", &[128, 142, 160, 147, 149, 139, 155]),
        ("arithmetic", &[165, b'&', 161, b'=', 160]),
        ("brackets", &[b'(', b'(', 129, 148, 133, b')', 147, 135, 160, b')']),
    ];
    for (name, bytes) in filters {
        seeds.insert(("filters", name.to_owned()), bytes.to_vec());
    }
    const PS: &str = r#"{"Tables":[{"Content":"instances","Rows":[
{"instance":"diego_cell/0","ips":"10.0.4.20\nfd00::20","deployment":"cf","process":"","process_state":"running"},
{"instance":"diego_cell/0","ips":"","deployment":"","process":"rep","process_state":"running"},
{"instance":"doppler/0","ips":"10.0.4.10","deployment":"cf","process":"","process_state":""}]}]}"#;
    const RECORDS: &str = r#"{"records":[["10.0.16.8","x.doppler.default.cf.bosh"]],"version":42,
"record_keys":["id","num_id","instance_group","group_ids","az","network","deployment","ip","domain"],
"record_infos":[["91faf7a2","0","doppler",["1"],"z1","default","cf","10.0.16.8","bosh"]],
"aliases":{"doppler.service.cf.internal":["q-s0.doppler.default.cf.bosh"]}}"#;
    const HOSTS: &str =
        "ip,vm,jobs,subnet\n10.0.4.10,doppler/0,doppler log-cache,10.0.4.0/24\nfd00::1,a,,fd00::/64\n";
    const NAMES: &str = "kind,documented,deployed,certificates,note\nvm,doppler,my_doppler,doppler,\n";
    const REPORT: &str = "verdict,reason,table,row,also_rows,documented,row_state,source_finding,destination_finding,\
port_finding,transport_finding,application_finding,security_finding\n\
violation,no_row_for_port,,,,,final,,,,,,\n\
unproven,unseen_inventory,loggregator,1,loggregator:2,a | b,final,unseen,unseen,confirmed,confirmed,confirmed,unseen\n";
    let read = |path: &str| fs::read_to_string(root().join(path)).expect("it reads");
    let mut add = |target: &'static str, name: &str, bytes: &[u8]| {
        seeds.insert((target, name.to_owned()), bytes.to_vec());
    };
    add("tables", "log-cache", read("policies/log-cache.csv").as_bytes());
    add("tables", "loggregator", read("policies/loggregator.csv").as_bytes());
    add("pages", "text", read("tests/pages/loggregator.txt").as_bytes());
    let header = "Source VM|Destination VM|Port|Transport Layer Protocol|App Layer Protocol|Security and Authentication";
    let row = "Any*|loggregator_trafficcontroller (Reverse Log Proxy)|8082 and 8083|TCP|gRPC over HTTP/2|Mutual TLS";
    let line = |tag: &str, row: &str| {
        let cells: String = row.split('|').map(|cell| format!("<{tag} rowspan=1>{cell}</{tag}>")).collect();
        format!("<tr>{cells}</tr>")
    };
    let html = format!(
        "<h2>Log Cache &amp; more</h2><table>{}{}</table><p>*Any VM within its subnet.</p>",
        line("th", header),
        line("td", row)
    );
    add("pages", "html", html.as_bytes());
    let rule = "---|".repeat(6);
    add("pages", "markdown", format!("# Log Cache\n\n|{header}|\n|{rule}\n|{row}|\n\n*Any VM\n").as_bytes());
    add("inventories", "instances.json", PS.as_bytes());
    add("inventories", "records.json", RECORDS.as_bytes());
    add("inventories", "cloud-config.yml", read("captures/bosh-cloud-config.yml").as_bytes());
    add("inventories", "hosts_and_names", format!("{HOSTS}\0{NAMES}\0{PS}").as_bytes());
    add("reports", "two_rows", REPORT.as_bytes());
    let bundle = fs::read(capture("ca.pem")).expect("it reads");
    let certificates: Vec<_> =
        rustls_pemfile::certs(&mut &bundle[..]).take(2).map(|found| found.expect("it is PEM")).collect();
    let chain: Vec<u8> = certificates
        .iter()
        .flat_map(|der| [&u16::try_from(der.len()).expect("short").to_be_bytes()[..], der].concat())
        .collect();
    add("certificates", "chain", &[&chain[..], &[1]].concat());
    add("certificates", "bundle", &[&fs::read(capture("grpc_ca.crt")).expect("it reads")[..], &[0]].concat());
}
