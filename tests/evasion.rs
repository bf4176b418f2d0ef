//! What those who test intrusion detection try against reassembly and recognition, and what is said of it.
//!
//! `SECURITY.md`, "Evasion", tells the same to those who read reports.

mod common;
#[path = "common/frames.rs"]
mod frames;

use std::fs;

use common::pcap::{Connection, Pcap, client_hello, payloads};
use common::{Folder, capture};
use flowaudit::audit::Plan;
use flowaudit::capture::LinkType;
use flowaudit::inventory::Inventory;
use flowaudit::policy::{Options, Policy, Table};
use frames::{Frame, audit};

const TABLE: &str = "\
Source VM,Destination VM,Port,Transport Layer Protocol,App Layer Protocol,Security and Authentication
client,server,80,TCP,HTTP,None
client,server,8088,TCP,HTTP,OAuth
client,server,4222,TCP,NATS,Basic authentication
client,server,8082,TCP,gRPC over HTTP/2,Mutual TLS
";
const HOSTS: &str = "ip,vm\n10.0.4.20,client/0\n10.0.4.10,server/0\n";
const SERVER: [u8; 4] = [10, 0, 4, 10];

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: server\r\n\r\n";
const PUT: &[u8] = b"PUT /b HTTP/1.1\r\nHost: server\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const INFO: &[u8] = b"INFO {\"server_id\":\"a\",\"auth_required\":true}\r\n";
const CONNECT: &[u8] = b"CONNECT {\"user\":\"u\",\"pass\":\"p\"}\r\nPING\r\n";

/// Where fields of an Ethernet, IPv4 and TCP frame are.
const FRAGMENT: usize = 14 + 6;
const TTL: usize = 14 + 8;
const TCP: usize = 14 + 20;
const FLAGS: usize = TCP + 13;
const CHECKSUM: usize = TCP + 16;

const FIN: u8 = 0x11;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const SYN_ACK: u8 = 0x12;
const URG: u8 = 0x38;

/// What a report says: verdict, reason, application, security.
type Said = [&'static str; 4];

const HTTP: Said = ["allowed", "", "HTTP/1.1", "none"];
const AMBIGUOUS: Said = ["violation", "ambiguous_stream", "HTTP/1.1", "none"];
const GRPC: Said = ["allowed", "", "HTTP/2", "mutual TLS"];

/// What is done, the frames, and what is said of them.
type Case = (&'static str, Vec<Vec<u8>>, Said);

#[test]
fn every_case_is_told_as_it_is() {
    let plan = plan();
    let cases =
        [overlaps(), ends(), beginnings(), fragments(), tls(), other_protocols(), header_floods()].concat();
    let mut wrong = Vec::new();
    for (name, packets, expected) in &cases {
        let frames = (0i64..).zip(packets).map(|(at, bytes)| Frame {
            time: at * 1_000_000,
            link: LinkType::Ethernet,
            bytes: bytes.clone(),
        });
        let rows = audit(&plan, &frames.collect::<Vec<_>>());
        let said: Vec<[&str; 4]> = rows
            .iter()
            .map(|row| ["verdict", "reason", "application", "security"].map(|it| &*row[it]))
            .collect();
        if said != [*expected] || rows[0]["source_vm"] != "client/0" {
            let evidence: Vec<&str> = rows.iter().map(|row| &*row["evidence"]).collect();
            wrong.push(format!("{name}: {said:?} and not {expected:?}: {evidence:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_evidence_says_where() {
    let mut http = Connection::open(SERVER, 80);
    http.say(0, GET);
    http.stray(0, -back(GET), PUT);
    let frame = |bytes: &Vec<u8>| Frame { time: 0, link: LinkType::Ethernet, bytes: bytes.clone() };
    let rows = audit(&plan(), &http.packets.iter().map(frame).collect::<Vec<_>>());
    let words =
        format!("packet 5 of {} brings other bytes than came before (sequence number 1)", rows[0]["capture"]);
    assert!(
        !rows[0]["capture"].is_empty() && rows[0]["evidence"].contains(&words),
        "{}",
        rows[0]["evidence"]
    );
}

/// Different bytes for one place: receivers differ in which they keep (first or last, by system), so neither is
/// taken to be what was read.
fn overlaps() -> Vec<Case> {
    let half = GET.len() / 2;
    vec![
        ("nothing", http(|_| ()), HTTP),
        ("sent again", http(|c| again(c, GET)), HTTP),
        ("sent again, cut otherwise", http(|c| _ = c.stray(0, -10, &GET[GET.len() - 10..])), HTTP),
        ("other bytes, already read", http(|c| again(c, PUT)), AMBIGUOUS),
        ("other bytes, already acknowledged", said_after(OK, PUT), AMBIGUOUS),
        (
            "other bytes, of which the first are those read",
            http(|c| _ = c.stray(0, -4, b"\n\r\nX")),
            AMBIGUOUS,
        ),
        (
            "other bytes while both wait",
            waiting(&GET[half..], |c| _ = c.stray(0, half as i32, &PUT[2..][..GET.len() - half])),
            AMBIGUOUS,
        ),
        ("the bytes before bring others for what waits", waiting(&PUT[2..][..half], |_| ()), AMBIGUOUS),
        (
            "the same bytes wait twice",
            waiting(&GET[half..], |c| _ = c.stray(0, half as i32, &GET[half..])),
            HTTP,
        ),
        ("one byte that is acknowledged: keep-alive", said_after(OK, b"\0"), HTTP),
        ("one byte that is not acknowledged", http(|c| _ = c.stray(0, -1, b"\0")), AMBIGUOUS),
        ("a segment that the server drops for its checksum", http(|c| inserted(c, CHECKSUM, 0)), AMBIGUOUS),
        ("a segment that dies on its way", http(|c| inserted(c, TTL, 1)), AMBIGUOUS),
        ("no checksum is right, as on the host that offloads them", changed(http(|_| ()), CHECKSUM, 0), HTTP),
        ("every packet is on its last hop", changed(http(|_| ()), TTL, 1), HTTP),
        ("urgent data", http(|c| c.packets[3][FLAGS] = URG), AMBIGUOUS),
    ]
}

/// Ends that are none.
fn ends() -> Vec<Case> {
    vec![
        ("a reset in the window, and it goes on", http_before(|c| c.stray(0, 0, b"")[FLAGS] = RST), HTTP),
        ("a reset out of the window", http_before(|c| c.stray(0, 1 << 20, b"")[FLAGS] = RST), HTTP),
        ("a FIN, and it goes on", http_before(|c| c.stray(0, 0, b"")[FLAGS] = FIN), HTTP),
        ("a FIN far ahead", http_before(|c| c.stray(0, 1 << 20, b"")[FLAGS] = FIN), HTTP),
        ("a FIN of long ago", http(|c| c.stray(0, -1 << 20, b"")[FLAGS] = FIN), HTTP),
    ]
}

/// Beginnings of another kind.
fn beginnings() -> Vec<Case> {
    let with_data = |again: &[u8]| {
        let mut c = Connection::open(SERVER, 80);
        c.packets.clear();
        c.stray(0, -1, GET)[FLAGS] = SYN;
        c.stray(1, -1, b"")[FLAGS] = SYN_ACK;
        c.say(0, again);
        c.say(1, OK);
        c.packets
    };
    let mut split = Connection::open(SERVER, 80);
    split.packets.clear();
    split.stray(0, -1, b"")[FLAGS] = SYN;
    split.stray(1, -1, b"")[FLAGS] = SYN;
    split.stray(0, -1, b"")[FLAGS] = SYN_ACK;
    split.say(1, b"");
    split.say(0, GET);
    split.say(1, OK);
    vec![
        ("a SYN with data", with_data(GET), HTTP),
        ("a SYN with other data than what follows", with_data(PUT), AMBIGUOUS),
        ("the server answers a SYN with a SYN of its own", split.packets, HTTP),
    ]
}

/// IP fragments.
fn fragments() -> Vec<Case> {
    let fragmented = |other: Option<usize>| {
        let mut c = Connection::open(SERVER, 80);
        let whole = c.say(0, GET);
        c.packets.pop();
        let [first, second] = in_fragments(&whole);
        c.packets.push(second.clone());
        let mut again = second;
        other.into_iter().for_each(|at| again[at] ^= 1);
        c.packets.extend([again, first]);
        c.say(1, OK);
        c.packets
    };
    vec![
        ("fragments, one of them twice", fragmented(None), HTTP),
        ("fragments with different bytes for one place", fragmented(Some(TCP + 4)), AMBIGUOUS),
    ]
}

/// TLS.
fn tls() -> Vec<Case> {
    let left = ["violation", "wrong_security", "TLS", "TLS (client certificate unseen)"];
    let left_later = ["violation", "wrong_security", "HTTP/2", "mutual TLS"];
    let hello = client_hello(b"server", &[b"h2"]);
    let faked = |side, then: &[u8]| session(&[(0, hello.clone()), (side, then.to_vec())]);
    let mut cases = vec![
        ("a ClientHello, and then HTTP", faked(0, GET), left),
        ("a ClientHello, and then SSH", faked(1, b"SSH-2.0-OpenSSH_9.6\r\n"), left),
        ("a ClientHello, and then no protocol", faked(1, &[0xf7; 100]), left),
        ("a ClientHello, and something else right behind it", session(&[(0, [&hello, GET].concat())]), left),
    ];
    for recorded in ["match_L9_tls12.pcap", "match_C2_tls13.pcap"] {
        let said = payloads(&Pcap::read(&fs::read(capture(recorded)).expect("it reads")));
        let (first, rest) = said.split_at(said.iter().take_while(|(side, _)| *side == 0).count());
        let hello = &first.iter().flat_map(|(_, bytes)| bytes.clone()).collect::<Vec<_>>();
        let with = |first: &dyn Fn(&mut Connection)| {
            let mut c = Connection::open(SERVER, 8082);
            first(&mut c);
            rest.iter().for_each(|(side, bytes)| _ = c.say(*side, bytes));
            c.packets
        };
        let then = |side, bytes: &[u8]| session(&[&said[..8], &[(side, bytes.to_vec())]].concat());
        let bytes = said.iter().flat_map(|(side, bytes)| bytes.iter().map(|byte| (*side, vec![*byte])));
        let (head, tail) = hello.split_at(hello.len() / 2);
        let mut other = hello.clone();
        other[20] ^= 1;
        let in_records =
            hello[5..].chunks(9).flat_map(|part| [&[22, 3, 1, 0, part.len() as u8], part].concat());
        let in_records: Vec<u8> = in_records.collect();
        cases.extend([
            ("a segment a byte", session(&bytes.collect::<Vec<_>>()), GRPC),
            ("a ClientHello of many records", with(&|c| _ = c.say(0, &in_records)), GRPC),
            (
                "a ClientHello of two segments, the second first",
                with(&|c| {
                    c.stray(0, back(head), tail);
                    c.say(0, head);
                    c.say(0, tail);
                }),
                GRPC,
            ),
            (
                "another ClientHello in its place",
                with(&|c| {
                    c.say(0, hello);
                    again(c, &other);
                }),
                ["violation", "ambiguous_stream", "HTTP/2", "mutual TLS"],
            ),
            (
                "a reset, and the handshake goes on",
                with(&|c| {
                    c.say(0, hello);
                    c.stray(1, 0, b"")[FLAGS] = RST;
                }),
                GRPC,
            ),
            (
                "a FIN, and the handshake goes on",
                with(&|c| {
                    c.say(0, hello);
                    c.stray(0, 0, b"")[FLAGS] = FIN;
                }),
                GRPC,
            ),
            ("a handshake, and then a request in clear", then(0, GET), left_later),
            ("a handshake, and then an answer in clear", then(1, OK), left_later),
        ]);
    }
    cases
}

/// What stands between protocols.
fn other_protocols() -> Vec<Case> {
    let smuggled = b"POST / HTTP/1.1\r\nHost: server\r\nAuthorization: Bearer x\r\nContent-Length: 6\r\n\
        Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nG";
    let on = |port, said: &[(usize, &[u8])]| {
        let mut c = Connection::open(SERVER, port);
        said.iter().for_each(|(side, bytes)| _ = c.say(*side, bytes));
        c
    };
    let mut let_in = on(4222, &[(1, INFO), (0, CONNECT), (1, b"PONG\r\n"), (0, b"SUB a 1\r\n")]);
    let_in.stray(0, -9, b"SUB b 1\r\n");
    vec![
        (
            "lengths that disagree, which two servers may read as one request and as two",
            on(8088, &[(0, smuggled), (1, OK)]).packets,
            ["unproven", "unseen_authentication", "HTTP/1.1", "OAuth"],
        ),
        (
            "INFO, and then HTTP",
            on(4222, &[(1, INFO), (0, GET), (1, OK)]).packets,
            ["unproven", "unseen_application", "NATS", "none"],
        ),
        (
            "other bytes, once nothing that follows can change what is said",
            let_in.packets,
            ["allowed", "", "NATS", "Basic authentication"],
        ),
    ]
}

/// Headers that make more work than packets earn are read no more, and a burst is no flood.
fn header_floods() -> Vec<Case> {
    // With what the table has, and without credentials.
    const ASKED: &[u8] = b"\x82\x84\x86\xbe";
    const BARE: &[u8] = b"\x82\x84\x86";
    let requests = |packets: usize, last: &[u8]| {
        let mut c = Connection::open(SERVER, 8088);
        c.say(0, &[&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &http2_frame(4, 0, 0, b"")].concat());
        let mut streams = (1..).step_by(2);
        let mut requests = |count: usize, block: &[u8]| {
            let frames = streams.by_ref().take(count).map(|stream| http2_frame(1, 5, stream, block));
            c.say(0, &frames.collect::<Vec<_>>().concat());
        };
        requests(1, b"\x82\x84\x86\x57\x08Bearer x");
        (0..packets).for_each(|_| requests(100, ASKED));
        requests(1, last);
        c.say(1, &[http2_frame(4, 0, 0, b""), http2_frame(1, 5, 1, b"\x88")].concat());
        c.packets
    };
    vec![
        ("HTTP/2, a burst of requests", requests(200, ASKED), ["allowed", "", "HTTP/2", "OAuth"]),
        (
            "HTTP/2, requests without end, of which the last has no credentials",
            requests(2000, BARE),
            ["unproven", "unseen_authentication", "HTTP/2", "OAuth"],
        ),
        (
            "HTTP/2, a burst of requests, of which the last has no credentials",
            requests(200, BARE),
            ["violation", "wrong_security", "HTTP/2", "OAuth"],
        ),
    ]
}

/// A frame of HTTP/2 (RFC 9113 section 4.1).
fn http2_frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The client sends its last bytes again, or others in their place.
fn again(c: &mut Connection, bytes: &[u8]) {
    c.stray(0, -back(bytes), bytes);
}

fn back(bytes: &[u8]) -> i32 {
    i32::try_from(bytes.len()).expect("short")
}

/// A request, then what `then` does, then the answer.
fn http(then: impl FnOnce(&mut Connection)) -> Vec<Vec<u8>> {
    let mut c = Connection::open(SERVER, 80);
    c.say(0, GET);
    then(&mut c);
    c.say(1, OK);
    c.packets
}

/// What `first` does, then a request and its answer.
fn http_before(first: impl FnOnce(&mut Connection)) -> Vec<Vec<u8>> {
    let mut c = Connection::open(SERVER, 80);
    first(&mut c);
    c.say(0, GET);
    c.say(1, OK);
    c.packets
}

/// A request and its answer, and then the client sends these bytes for its last.
fn said_after(answer: &[u8], bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut c = Connection::open(SERVER, 80);
    c.say(0, GET);
    c.say(1, answer);
    again(&mut c, bytes);
    c.packets
}

/// The second half of a request comes as `second`, then what `then` does, then all of it, and the answer.
fn waiting(second: &[u8], then: impl FnOnce(&mut Connection)) -> Vec<Vec<u8>> {
    let half = GET.len() / 2;
    http_before(|c| {
        c.stray(0, half as i32, second);
        then(c);
    })
}

/// The request that was sent gets another before it, with this byte in its head.
fn inserted(c: &mut Connection, at: usize, byte: u8) {
    again(c, PUT);
    let last = c.packets.len() - 1;
    c.packets[last][at] = byte;
    c.packets.swap(last, last - 1);
}

/// Every frame with this byte in its head.
fn changed(mut packets: Vec<Vec<u8>>, at: usize, byte: u8) -> Vec<Vec<u8>> {
    packets.iter_mut().for_each(|packet| packet[at] = byte);
    packets
}

/// A frame as two fragments, the first of 24 bytes.
fn in_fragments(whole: &[u8]) -> [Vec<u8>; 2] {
    const FIRST: usize = 24;
    let part = |offset: u16, bytes: &[u8]| {
        let mut packet = [&whole[..TCP], bytes].concat();
        let length = u16::try_from(20 + bytes.len()).expect("short");
        packet[16..18].copy_from_slice(&length.to_be_bytes());
        packet[FRAGMENT..FRAGMENT + 2].copy_from_slice(&offset.to_be_bytes());
        packet
    };
    let (first, second) = whole[TCP..].split_at(FIRST);
    [part(0x2000, first), part(FIRST as u16 / 8, second)]
}

/// What both said on the port of gRPC.
fn session(said: &[(usize, Vec<u8>)]) -> Vec<Vec<u8>> {
    let mut c = Connection::open(SERVER, 8082);
    said.iter().for_each(|(side, bytes)| _ = c.say(*side, bytes));
    c.packets
}

fn plan() -> Plan {
    let folder = Folder::new("evasion");
    let hosts = folder.join("hosts.csv");
    fs::write(&hosts, HOSTS).expect("it writes");
    let (inventory, names) = Inventory::read([hosts.to_str().expect("UTF-8")]).expect("it reads");
    let table = Table::parse("evasion", "evasion", TABLE.as_bytes()).expect("it parses");
    Plan::new(Policy::new(vec![table], inventory, names, Options::default()))
}
