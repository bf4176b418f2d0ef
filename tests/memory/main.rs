//! What an open flow costs once it is classified, or known to be of no protocol: counted, not believed.

#![allow(unsafe_code, reason = "a global allocator cannot be written without it")]

#[path = "../common/mod.rs"]
mod common;
mod flows;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;

use common::capture;
use common::pcap::{Pcap, payloads};
use flowaudit::packet::{Allowance, Side};
use flowaudit::protocol::{Conversation, Step};

/// The system's allocator, counting the bytes each thread holds.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // While a thread ends its counter is gone, and nobody asks.
    let _ = HELD.try_with(|held| held.set(held.get() + bytes));
}

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Conversations that are open at once.
const CONVERSATIONS: usize = 100;

type Said = Vec<(Side, Vec<u8>)>;

#[test]
fn bytes_of_no_protocol_cost_nothing_besides_the_flow() {
    holds(0, &[(Side::A, vec![0xf7; 700]), (Side::B, vec![0xf8; 700])]);
}

#[test]
fn nats() {
    let said: [(Side, &[u8]); 4] = [
        (Side::B, b"INFO {\"server_id\":\"x\",\"auth_required\":true}\r\n"),
        (Side::A, b"CONNECT {\"user\":\"u\",\"pass\":\"p\"}\r\nPING\r\n"),
        (Side::B, b"PONG\r\n"),
        (Side::A, b"PUB router.register 5\r\nhello\r\n"),
    ];
    holds(40, &said.map(|(side, bytes)| (side, bytes.to_vec())));
}

#[test]
fn http1() {
    let request =
        b"GET /apps/x/recentlogs HTTP/1.1\r\nHost: doppler.example\r\nAuthorization: Bearer abc\r\n\r\n";
    let answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    let round = [(Side::A, request.to_vec()), (Side::B, answer.to_vec())];
    holds(160, &round.iter().cycle().take(20).cloned().collect::<Said>());
}

#[test]
fn dns() {
    const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07doppler\x07service\0\0\x01\0\x01";
    let mut answer = QUERY.to_vec();
    answer[2] = 0x81;
    answer[3] = 0x80;
    let open = || {
        let mut conversation = Conversation::default();
        conversation.datagram(Side::A, QUERY, false);
        conversation.datagram(Side::B, &answer, false);
        conversation
    };
    let held = measure(open);
    println!("{held} bytes on the heap");
    assert!(held <= 40, "{held} bytes");
}

/// A handshake and a little data: record headers are still kept, eight bytes each.
#[test]
fn tls_after_its_handshake() {
    for recorded in ["match_L9_tls12.pcap", "match_C2_tls13.pcap"] {
        let recorded = Pcap::read(&fs::read(capture(recorded)).expect("it reads"));
        let said = sides(&recorded);
        holds(720, &said[..said.len().min(12)]);
    }
}

/// Enough data that nothing more of it is read: the headers are gone, and what they told is kept.
#[test]
fn tls_long_after_its_handshake() {
    let mut record = vec![23, 3, 3, 0, 100];
    record.extend([0x5a; 100]);
    for recorded in ["match_L9_tls12.pcap", "match_C2_tls13.pcap"] {
        let recorded = Pcap::read(&fs::read(capture(recorded)).expect("it reads"));
        let mut said = sides(&recorded);
        for _ in 0..60 {
            said.extend([Side::A, Side::B].map(|side| (side, record.clone())));
        }
        holds(576, &said);
    }
}

/// What is sent to make a decoder of header blocks grow: tables full of small fields and of large ones, and a
/// block without end.
#[test]
fn http2_tables() {
    let frame = |kind: u8, flags: u8, block: &[u8]| {
        let length = (block.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], block].concat()
    };
    let said = |headers: &[Vec<u8>]| {
        let opening = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
        // A table of 64 KiB, as far as the sender is concerned (RFC 7541 section 6.3).
        let first = frame(1, 0, b"\x3f\xe1\xff\x03\x82\x84\x86");
        let rest = headers.iter().map(|block| frame(9, 0, block));
        let sent = [opening, first].into_iter().chain(rest);
        sent.map(|bytes| (Side::A, bytes)).collect::<Said>()
    };
    // Literals with incremental indexing: a new name (40), or that of the newest entry, 62 (7e).
    let small: Vec<u8> = [&[0x40, 1, b'a', 9][..], &[b'b'; 9]].concat().repeat(2000);
    let repeated: Vec<u8> =
        [&[0x40, 1, b'a', 0][..], &[&[0x7e, 10][..], &[b'x'; 10]].concat().repeat(3000)].concat();
    let long = |byte: u8| {
        [&[0x40, 0x7f, 0x81, 0x1f][..], &vec![byte; 4000], &[0x7f, 0x81, 0x1f], &vec![byte; 4000]].concat()
    };
    let large: Vec<Vec<u8>> = (0..7).map(|at| long(b'a' + at)).collect();
    for headers in [vec![], vec![vec![0x82]; 3], vec![small], vec![repeated], large] {
        let held = measure(|| speak(&said(&headers)));
        println!("{held} bytes on the heap");
    }
}

/// Bytes that each of many conversations holds on the heap once all this was said, at most `most`.
fn holds(most: isize, said: &[(Side, Vec<u8>)]) {
    let held = measure(|| speak(said));
    println!("{held} bytes on the heap");
    assert!(held <= most, "{held} bytes");
}

fn measure(open: impl Fn() -> Conversation) -> isize {
    // What all share is there before it is counted.
    drop(open());
    let mut conversations = Vec::with_capacity(CONVERSATIONS);
    let before = HELD.get();
    conversations.extend((0..CONVERSATIONS).map(|_| open()));
    let held = (HELD.get() - before) / CONVERSATIONS as isize;
    let told = conversations.iter().map(|it: &Conversation| it.held() as isize).max().unwrap_or_default();
    assert!(told >= held, "it says {told} and holds {held}");
    held
}

/// Lends everything as streams do.
fn speak(said: &[(Side, Vec<u8>)]) -> Conversation {
    let mut conversation = Conversation::default();
    conversation.begins();
    let mut kept: [Vec<u8>; 2] = [Vec::new(), Vec::new()];
    let mut skip = [0, 0];
    let mut done = [false, false];
    for (side, bytes) in said {
        let at = side.index();
        kept[at].extend(bytes);
        while !done[at] && !kept[at].is_empty() {
            let passed = kept[at].len().min(skip[at]);
            kept[at].drain(..passed);
            skip[at] -= passed;
            if kept[at].is_empty() {
                break;
            }
            let used = match conversation.read(*side, &kept[at], 0, &mut Allowance::new()) {
                Step::More { used } => used,
                Step::Skip { used, skip: more } => {
                    skip[at] = more as usize;
                    used
                }
                Step::Done | Step::Switch { .. } | Step::Broken => {
                    done[at] = true;
                    break;
                }
            };
            kept[at].drain(..used);
            if used == 0 && skip[at] == 0 {
                break;
            }
        }
    }
    conversation
}

fn sides(pcap: &Pcap) -> Said {
    let side = |at| if at == 0 { Side::A } else { Side::B };
    payloads(pcap).into_iter().map(|(at, bytes)| (side(at), bytes)).collect()
}
