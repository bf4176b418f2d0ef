//! Once a flow is classified, its packets allocate nothing, and a flow takes few bytes: counted, not believed.

#![allow(unsafe_code, reason = "a global allocator cannot be written without it")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;

use common::capture;
use common::pcap::{Connection, Pcap, datagram, payloads};
use flowaudit::audit::{Audit, Plan};
use flowaudit::capture::{LinkType, Packet, Precision, Timestamp};
use flowaudit::inventory::{Inventory, Names};
use flowaudit::policy::{Options, Policy, Table};

/// The system's allocator, counting what each thread asks of it and how many bytes it has.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static HELD: Cell<i64> = const { Cell::new(0) };
}

fn count(bytes: usize) {
    // While a thread ends its counter is gone, and nobody asks.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
    hold(bytes as i64);
}

fn hold(bytes: i64) {
    let _ = HELD.try_with(|held| held.set(held.get() + bytes));
}

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        hold(-(layout.size() as i64));
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        hold(-(layout.size() as i64));
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SERVER: [u8; 4] = [10, 0, 4, 10];
/// Rounds that are counted, of two packets or more.
const ROUNDS: usize = 3000;

#[test]
fn the_counter_counts() {
    let before = ALLOCATIONS.get();
    drop(std::hint::black_box(vec![1u8; 100]));
    assert!(ALLOCATIONS.get() > before);
}

#[test]
fn tls_data() {
    for recorded in ["match_L9_tls12.pcap", "match_C2_tls13.pcap"] {
        let mut connection = Connection::open(SERVER, 8080);
        let recorded = Pcap::read(&fs::read(capture(recorded)).expect("it reads"));
        for (side, payload) in payloads(&recorded) {
            connection.say(side, &payload);
        }
        let mut record = vec![23, 3, 3, 4, 0];
        record.extend([0x5a; 1024]);
        nothing_is_allocated("HTTP/2", connection, |connection| {
            connection.say(0, &record);
            connection.say(1, &record);
            // Records that lie across segments.
            connection.say(0, &record[..700]);
            connection.say(0, &record[700..]);
        });
    }
}

#[test]
fn an_http_body_in_clear() {
    let mut connection = Connection::open(SERVER, 8081);
    connection.say(0, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900000000\r\n\r\n");
    connection.say(1, b"HTTP/1.1 200 OK\r\nContent-Length: 900000000\r\n\r\n");
    let body = [0x5a; 1400];
    nothing_is_allocated("HTTP/1.1", connection, |connection| {
        connection.say(0, &body);
        connection.say(1, &body);
    });
}

#[test]
fn http_requests_on_one_connection() {
    let connection = Connection::open(SERVER, 8081);
    let request = b"GET /apps/x/recentlogs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer abc\r\n\r\n";
    let answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    nothing_is_allocated("HTTP/1.1", connection, |connection| {
        connection.say(0, request);
        connection.say(1, answer);
        // And one that lies across segments.
        connection.say(0, &request[..40]);
        connection.say(0, &request[40..]);
        connection.say(1, answer);
    });
}

#[test]
fn a_websocket_and_an_event_stream() {
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
    let answers = [
        ("WebSocket", format!("HTTP/1.1 101 Switching Protocols\r\n{upgrade}\r\n")),
        (
            "Server-Sent Events",
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
                .to_owned(),
        ),
    ];
    for (application, answer) in answers {
        let mut connection = Connection::open(SERVER, 8081);
        let request = format!("GET / HTTP/1.1\r\nHost: x\r\nAuthorization: bearer x\r\n{upgrade}\r\n");
        connection.say(0, request.as_bytes());
        connection.say(1, answer.as_bytes());
        nothing_is_allocated(application, connection, |connection| {
            connection.say(1, b"e\r\ndata: {\"a\":1}\n\r\n");
            connection.say(0, b"");
        });
    }
}

#[test]
fn nats_messages() {
    let mut connection = Connection::open(SERVER, 4222);
    connection.say(1, b"INFO {\"server_id\":\"x\",\"auth_required\":true}\r\n");
    connection.say(0, b"CONNECT {\"user\":\"u\",\"pass\":\"p\"}\r\nPING\r\n");
    connection.say(1, b"PONG\r\n");
    nothing_is_allocated("NATS", connection, |connection| {
        connection.say(0, b"PUB router.register 5\r\nhello\r\nPING\r\n");
        connection.say(1, b"MSG router.greet 1 5\r\nhello\r\nPONG\r\n");
    });
}

#[test]
fn datagrams_and_streams_of_no_protocol_known() {
    nothing_is_allocated("unknown", Connection::open(SERVER, 9999), |connection| {
        connection.say(0, &[0xf7; 700]);
        connection.say(1, &[0xf8; 700]);
        connection.packets.push(datagram(SERVER, 3457, &[0xf7; 200]));
    });
}

/// What a flow may take in all, in bytes, that keeps nothing: idle, or read as far as it is wanted.
const FLOW_BYTES: i64 = 160;

#[test]
fn a_million_idle_connections() {
    flows_are_small("idle connections", 1_000_000, &Connection::open(SERVER, 9999).packets);
}

#[test]
fn connections_and_datagrams_of_no_protocol_known() {
    let mut spoken = Connection::open(SERVER, 9999);
    spoken.say(0, &[0xf7; 60]);
    flows_are_small("connections whose client alone spoke", 250_000, &spoken.packets);
    spoken.say(1, &[0xf8; 60]);
    flows_are_small("connections whose both ends spoke", 250_000, &spoken.packets);
    let datagram = datagram(SERVER, 3457, &[0xf7; 200]);
    flows_are_small("datagrams", 250_000, std::slice::from_ref(&datagram));
    flows_are_small("read datagrams", 250_000, &[&datagram[..]; 6].map(<[u8]>::to_vec));
}

/// Has so many clients send these packets of one, and holds what their flows take against [`FLOW_BYTES`].
fn flows_are_small(what: &str, flows: u32, packets: &[Vec<u8>]) {
    let plan = plan();
    let mut audit = audit(&plan, None);
    let client: [u8; 4] = packets[0][26..30].try_into().expect("four bytes");
    let before = HELD.get();
    let mut read = 0;
    for flow in 0..flows {
        for packet in packets {
            let mut bytes = packet.clone();
            for at in [26, 30] {
                if bytes[at..at + 4] == client {
                    bytes[at..at + 4].copy_from_slice(&(0x0b00_0000 + flow).to_be_bytes());
                }
            }
            send(&mut audit, read, &bytes, 1);
            read += 1;
        }
    }
    let held = HELD.get() - before;
    assert_eq!(audit.finish().account.flows, u64::from(flows));
    println!("{what}: {} bytes a flow", held / i64::from(flows));
    assert!(held <= FLOW_BYTES * i64::from(flows), "{what}: {} bytes a flow", held / i64::from(flows));
}

fn plan() -> Plan {
    let policy = Policy::new(
        Table::built_in().expect("the built-in tables parse"),
        Inventory::default(),
        Names::shipped(),
        Options::default(),
    );
    Plan {
        deviations: policy.with_tables(Table::shipped_overlays().expect("the overlays parse")),
        learn: true,
        ..Plan::new(policy)
    }
}

fn audit<'p>(plan: &'p Plan, report: Option<&'p mut Vec<u8>>) -> Audit<'p, &'p mut Vec<u8>> {
    Audit::new(plan, vec!["test".to_owned()], None, report).expect("memory writes")
}

/// Sends a packet that has so many before it, each a time apart from the next.
fn send(audit: &mut Audit<'_, &mut Vec<u8>>, before: usize, bytes: &[u8], apart: i64) {
    let packet = Packet {
        capture: 0,
        number: before as u64 + 1,
        time: Timestamp(before as i64 * apart),
        precision: Precision::Micro,
        link: LinkType::Ethernet,
        wire_length: bytes.len() as u32,
        bytes,
    };
    audit.packet(&packet).expect("there is no filter");
}

/// Sends some rounds, then counts what many more of them allocate; the flow is told to be `application`.
fn nothing_is_allocated(application: &str, mut connection: Connection, round: impl Fn(&mut Connection)) {
    (0..200).for_each(|_| round(&mut connection));
    let warm = connection.packets.len();
    (0..ROUNDS).for_each(|_| round(&mut connection));
    let plan = plan();
    let mut report = Vec::new();
    let mut audit = audit(&plan, Some(&mut report));
    let mut before = 0;
    for (at, bytes) in connection.packets.iter().enumerate() {
        if at == warm {
            before = ALLOCATIONS.get();
        }
        send(&mut audit, at, bytes, Timestamp::SECOND / 1000);
    }
    let allocations = ALLOCATIONS.get() - before;
    let outcome = audit.finish();
    assert_eq!(outcome.account.in_flows, connection.packets.len() as u64);
    assert_eq!(outcome.account.repeated_segments, 0, "every segment is new");
    let report = common::table(&String::from_utf8(report).expect("UTF-8"));
    assert_eq!(report[0]["application"], application);
    assert_eq!(allocations, 0, "of {} packets", connection.packets.len() - warm);
}
