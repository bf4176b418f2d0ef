use proptest::prelude::*;

use super::*;
use crate::protocol::testing::{self, Stream};

const CLIENT: Side = Side::B;
const SERVER: Side = Side::A;

fn client(text: &str) -> (Side, Vec<u8>) {
    (CLIENT, text.as_bytes().to_vec())
}

fn server(text: &str) -> (Side, Vec<u8>) {
    (SERVER, text.as_bytes().to_vec())
}

fn read_in(conversation: &[(Side, Vec<u8>)], sizes: &[usize]) -> (Parser, Stream) {
    let mut parser = Parser::new();
    let stream = testing::read_in(conversation, sizes, |side, bytes| parser.advance(side, bytes));
    (parser, stream)
}

/// Reads the conversation whole and byte by byte, and holds that both come to the same.
fn read(conversation: &[(Side, Vec<u8>)]) -> (Parser, Stream) {
    let whole = read_in(conversation, &[]);
    let bytewise = read_in(conversation, &[1]);
    assert_eq!(whole.0.evidence(), bytewise.0.evidence());
    assert_eq!(whole.0.client(), bytewise.0.client());
    for side in [CLIENT, SERVER] {
        assert_eq!(whole.1.ended(side).is_some(), bytewise.1.ended(side).is_some());
    }
    whole
}

#[test]
fn judges_every_request_of_a_connection() {
    let (parser, _) = read(&[
        client("GET /a HTTP/1.1\r\nHost: uaa.service\r\nAuthorization: bearer t\r\n\r\n"),
        server("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
        client("POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nauthorization: Basic b\r\n\r\nGET "),
        server("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"),
        client("GET /c HTTP/1.1\r\n\r\nGET /d HTTP/1.1\r\nAuthorization: Digest x\r\n\r\n"),
        server("HTTP/1.1 403 F\r\nContent-Length: 0\r\n\r\nHTTP/1.1 404 N\r\n\r\n"),
    ]);
    let expected = Requests {
        signed: 0,
        read: 4,
        bearer: 1,
        basic: 1,
        other: 1,
        none: 1,
        unread: false,
        answers_unread: false,
        status_401: 1,
        status_403: 1,
        status_404: 1,
        status_other: 1,
    };
    assert_eq!(parser.evidence().requests, expected);
    assert_eq!(parser.evidence().host.as_deref(), Some(&b"uaa.service"[..]));
    assert_eq!(parser.client(), Some(CLIENT));
}

#[test]
fn bodies_are_skipped_not_lent() {
    let mut parser = Parser::new();
    let head = b"PUT / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\nabc";
    let step = parser.advance(CLIENT, head);
    assert_eq!(step, Step::Skip { used: head.len(), skip: 1_000_000 - 3 });
    let step = parser.advance(CLIENT, b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(step, Step::More { used: 18 });
    assert_eq!(parser.evidence().requests.read, 2);
}

#[test]
fn chunked_bodies_are_walked() {
    let (parser, _) = read(&[
        client("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"),
        client("12\r\nGET / HTTP/1.1\r\n\r\n\r\n0\r\nTrailer: x\r\n\r\n"),
        client("GET / HTTP/1.1\r\nAuthorization: Bearer x\r\n\r\n"),
    ]);
    assert_eq!(parser.evidence().requests.read, 2);
    assert!(!parser.evidence().requests.unread);
}

#[test]
fn answers_without_a_body_whatever_they_say() {
    let (parser, _) = read(&[
        client("HEAD / HTTP/1.1\r\n\r\n"),
        server("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"),
        client("POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx"),
        server("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"),
        client("GET / HTTP/1.1\r\n\r\n"),
        server("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"),
        client("GET / HTTP/1.1\r\n\r\n"),
        server("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
    ]);
    assert_eq!(parser.evidence().requests.status_other, 3);
    assert_eq!(parser.evidence().requests.status_404, 1);
}

#[test]
fn an_answer_seen_before_its_request_is_still_matched() {
    let (parser, _) = read(&[
        server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        client("GET / HTTP/1.1\r\n\r\nHEAD / HTTP/1.1\r\n\r\n"),
        server("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nHTTP/1.1 404 N\r\n\r\n"),
    ]);
    assert_eq!(parser.evidence().requests.status_other, 2);
    assert_eq!(parser.evidence().requests.status_404, 1);
}

#[test]
fn a_websocket_ends_the_reading() {
    let (parser, stream) = read(&[
        client(
            "GET /stream HTTP/1.1\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\nAuthorization: bearer x\r\n\r\n",
        ),
        server("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\u{1}frame"),
        client("\u{1}\u{2}frame"),
    ]);
    assert!(parser.evidence().websocket_asked && parser.evidence().websocket_accepted);
    assert!(!parser.evidence().requests.unread);
    assert_eq!(stream.ended(CLIENT), Some(Step::Done));
    assert_eq!(stream.ended(SERVER), Some(Step::Done));
}

#[test]
fn frames_before_the_answer_are_no_loss_once_it_is_read() {
    let ask = client("GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n");
    let frames = client("\u{1}\u{2}frame");
    let (parser, _) = read(&[ask.clone(), frames.clone()]);
    assert!(parser.evidence().requests.unread, "no answer was seen");
    let accept = server("HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n");
    let (parser, _) = read(&[ask.clone(), frames.clone(), accept]);
    assert!(!parser.evidence().requests.unread);
    let refuse = server("HTTP/1.1 400 x\r\nContent-Length: 0\r\n\r\n");
    let (parser, _) = read(&[ask, frames, refuse]);
    assert!(parser.evidence().requests.unread);
    assert!(!parser.evidence().websocket_accepted);
}

#[test]
fn a_refused_upgrade_goes_on_in_http() {
    let (parser, _) = read(&[
        client("GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n"),
        server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        client("GET / HTTP/1.1\r\n\r\n"),
    ]);
    assert_eq!(parser.evidence().requests.read, 2);
    assert!(!parser.evidence().h2c_accepted);
}

#[test]
fn an_upgrade_answered_before_its_request_was_captured_is_read_all_the_same() {
    let mut parser = Parser::new();
    let answer = b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(parser.advance(Side::B, answer), Step::Done);
    let request = b"GET /x HTTP/1.1\r\nUpgrade: websocket\r\nAuthorization: Bearer t\r\n\r\n\x81\x00";
    assert_eq!(parser.advance(Side::A, request), Step::Done);
    let requests = parser.evidence().requests;
    assert_eq!((requests.read, requests.bearer, requests.unread), (1, 1, false));
}

#[test]
fn h2c_switches_at_the_end_of_the_101() {
    let (parser, stream) = read(&[
        client("GET / HTTP/1.1\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"),
        server("HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n\0\0\0\u{4}\0\0\0\0\0"),
    ]);
    assert!(parser.evidence().h2c_accepted);
    assert!(matches!(stream.ended(SERVER), Some(Step::Switch { .. })));
    assert_eq!(stream.unused(SERVER), b"\0\0\0\x04\0\0\0\0\0");
    assert_eq!(parser.evidence().requests.status_other, 0);
}

#[test]
fn connect_switches_when_it_is_accepted() {
    let ask = client("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
    let (_, stream) = read(&[ask.clone(), server("HTTP/1.1 200 OK\r\n\r\n")]);
    assert!(matches!(stream.ended(SERVER), Some(Step::Switch { .. })));
    let (parser, stream) = read(&[ask.clone(), server("HTTP/1.1 407 x\r\nContent-Length: 0\r\n\r\n"), ask]);
    assert_eq!(stream.ended(SERVER), None);
    assert_eq!(parser.evidence().requests.read, 2);
}

#[test]
fn an_event_stream_is_told_and_the_requests_go_on() {
    let (parser, _) = read(&[
        client("GET /v2/read HTTP/1.1\r\nAuthorization: bearer x\r\n\r\n"),
        server("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"),
        server("6\r\ndata:x\r\n"),
        client("GET /v2/read HTTP/1.1\r\n\r\n"),
    ]);
    assert!(parser.evidence().event_stream);
    assert_eq!((parser.evidence().requests.bearer, parser.evidence().requests.none), (1, 1));
}

#[test]
fn an_answer_until_close_ends_that_side_only() {
    let (parser, stream) = read(&[
        client("GET / HTTP/1.0\r\n\r\n"),
        server("HTTP/1.0 200 OK\r\n\r\nHTTP/1.1 401 in the body\r\n\r\n"),
    ]);
    assert_eq!(stream.ended(SERVER), Some(Step::Done));
    assert_eq!(parser.evidence().requests.status_401, 0);
    assert!(!parser.evidence().requests.unread);
}

#[test]
fn smuggling_shapes_end_the_reading() {
    for fields in
        ["Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "Content-Length: 4\r\nContent-Length: 5\r\n"]
    {
        let (parser, stream) = read(&[
            client(&format!("POST / HTTP/1.1\r\nAuthorization: bearer x\r\n{fields}\r\n")),
            client("0\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
        ]);
        assert_eq!(parser.evidence().requests.read, 1);
        assert!(parser.evidence().requests.unread);
        assert_eq!(stream.ended(CLIENT), Some(Step::Done));
    }
}

#[test]
fn a_head_over_the_cap_is_unread() {
    let mut head = b"GET / HTTP/1.1\r\n".to_vec();
    while head.len() <= HEAD_CAP {
        head.extend(b"Cookie: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n");
    }
    head.extend(b"\r\n");
    for sizes in [&[][..], &[1000]] {
        let (parser, stream) = read_in(&[(CLIENT, head.clone())], sizes);
        assert!(parser.evidence().requests.unread);
        assert_eq!(parser.evidence().requests.read, 0);
        assert_eq!(stream.ended(CLIENT), Some(Step::Done));
    }
}

#[test]
fn requests_after_a_gap_are_judged_and_the_gap_is_told() {
    let mut parser = Parser::new();
    parser.advance(CLIENT, b"GET / HTTP/1.1\r\nAuthorization: bearer x\r\n\r\n");
    parser.gap(CLIENT);
    assert_eq!(parser.advance(CLIENT, b"rest of a head\r\n\r\n"), Step::More { used: 18 });
    parser.advance(CLIENT, b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(parser.evidence().requests.read, 2);
    assert_eq!(parser.evidence().requests.none, 1);
    assert!(parser.evidence().requests.unread);
}

#[test]
fn a_gap_among_the_answers_loses_no_request() {
    let mut parser = Parser::new();
    parser.advance(CLIENT, b"GET / HTTP/1.1\r\n\r\n");
    parser.gap(SERVER);
    parser.advance(SERVER, b"tail");
    parser.advance(SERVER, b"HTTP/1.1 401 x\r\nContent-Length: 0\r\n\r\n");
    assert!(!parser.evidence().requests.unread);
    assert_eq!(parser.evidence().requests.status_401, 1);
}

#[test]
fn the_search_after_a_gap_is_bounded() {
    let mut parser = Parser::new();
    parser.gap(CLIENT);
    let tries = (0..).take_while(|_| parser.advance(CLIENT, b"\x01") != Step::Done).count();
    assert_eq!(tries, usize::from(RESYNC_CAP));
}

#[test]
fn what_is_not_http_is_broken_at_the_start_and_unread_later() {
    assert_eq!(Parser::new().advance(CLIENT, b"\x16\x03\x01"), Step::Broken);
    let mut parser = Parser::new();
    let step = parser.advance(CLIENT, b"GET / HTTP/1.1\r\n\r\n\x16\x03\x01");
    assert_eq!(step, Step::Done);
    assert!(parser.evidence().requests.unread);
}

#[test]
fn probes_either_side() {
    assert_eq!(probe(b"\r\nGET / HTTP/1.1\r\n"), Probe::Certain);
    assert_eq!(probe(b"HTTP/1.1 200 OK\r\n"), Probe::Certain);
    assert_eq!(probe(b""), Probe::Unsure);
    assert_eq!(probe(b"CONNECT {}\r\n"), Probe::NotForUs);
}

#[test]
fn the_host_kept_is_capped() {
    let host = "h".repeat(NAME_CAP + 1);
    let (parser, _) = read(&[client(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"))]);
    assert_eq!(parser.evidence().host.as_ref().map(|host| host.len()), Some(NAME_CAP));
}

fn message() -> impl Strategy<Value = (Side, Vec<u8>)> {
    let body = proptest::collection::vec(any::<u8>(), 0..40);
    (0_u8..9, body).prop_map(|(kind, body)| {
        let length = body.len();
        let (side, head) = match kind {
            0 => (CLIENT, "GET / HTTP/1.1\r\nAuthorization: Bearer x\r\n\r\n".to_owned()),
            1 => (CLIENT, format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n")),
            2 => (CLIENT, "HEAD / HTTP/1.1\r\n\r\n".to_owned()),
            3 => (CLIENT, "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n".to_owned()),
            4 => (SERVER, format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")),
            5 => (SERVER, "HTTP/1.1 401 x\r\nContent-Length: 0\r\n\r\n".to_owned()),
            6 => (SERVER, "HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n".to_owned()),
            7 => (
                SERVER,
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n".to_owned(),
            ),
            _ => (CLIENT, "CONNECT a:1 HTTP/1.1\r\n\r\n".to_owned()),
        };
        let mut bytes = head.into_bytes();
        if matches!(kind, 1 | 4) {
            bytes.extend(body);
        }
        (side, bytes)
    })
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic_and_alike_in_any_pieces(
        a: Vec<u8>, b: Vec<u8>, sizes in proptest::collection::vec(1_usize..9, 1..5), gap: bool,
    ) {
        let conversation = [(CLIENT, a.clone()), (SERVER, b)];
        let whole = read_in(&conversation, &[]);
        let pieces = read_in(&conversation, &sizes);
        prop_assert_eq!(whole.0.evidence(), pieces.0.evidence());
        let mut parser = Parser::new();
        if gap {
            parser.gap(CLIENT);
        }
        parser.advance(CLIENT, &a);
        probe(&a);
    }

    #[test]
    fn a_conversation_reads_alike_in_any_pieces(
        conversation in proptest::collection::vec(message(), 0..12),
        sizes in proptest::collection::vec(1_usize..60, 1..8),
    ) {
        let whole = read_in(&conversation, &[]);
        let pieces = read_in(&conversation, &sizes);
        prop_assert_eq!(whole.0.evidence(), pieces.0.evidence());
        prop_assert_eq!(whole.0.client(), pieces.0.client());
        for side in [CLIENT, SERVER] {
            prop_assert_eq!(whole.1.ended(side).is_some(), pieces.1.ended(side).is_some());
        }
    }
}
