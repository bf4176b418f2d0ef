//! Real traffic, made by h2's own client and server over a pipe in memory.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use super::*;
use crate::protocol::testing::{self, Stream};

const CLIENT: Side = Side::B;
const SERVER: Side = Side::A;

type Conversation = Vec<(Side, Vec<u8>)>;

/// One end of the pipe, which notes down what it writes.
struct Tap {
    inner: DuplexStream,
    side: Side,
    log: Arc<Mutex<Conversation>>,
}

impl AsyncRead for Tap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, into)
    }
}

impl AsyncWrite for Tap {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = written {
            self.log.lock().unwrap().push((self.side, bytes[..count].to_vec()));
        }
        written
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

/// What one request of a made conversation carries.
#[derive(Clone, Debug, Default)]
struct Ask {
    fields: Vec<(&'static str, String)>,
    body: usize,
    trailers: bool,
    status: u16,
    answer_type: Option<&'static str>,
}

fn ask(fields: &[(&'static str, &str)], status: u16) -> Ask {
    Ask {
        fields: fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
        status,
        ..Ask::default()
    }
}

/// The bytes of both directions while a client asks all of `asks`, one after the other.
fn talk(asks: &[Ask], table: u32) -> Conversation {
    let log = Arc::new(Mutex::new(Vec::new()));
    let (near, far) = tokio::io::duplex(1 << 16);
    let tap = |inner, side| Tap { inner, side, log: log.clone() };
    let (client_io, server_io) = (tap(near, CLIENT), tap(far, SERVER));
    let asks: Arc<[Ask]> = asks.into();
    let answers = asks.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async move {
        let server = tokio::spawn(async move {
            let mut builder = h2::server::Builder::new();
            builder.header_table_size(table).max_header_list_size(1 << 20);
            let mut connection = builder.handshake::<_, Bytes>(server_io).await.unwrap();
            let mut answers = answers.iter().cloned();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let answer = answers.next().unwrap();
                tokio::spawn(async move {
                    let mut body = request.into_body();
                    while let Some(Ok(data)) = body.data().await {
                        body.flow_control().release_capacity(data.len()).unwrap();
                    }
                    let mut response = Response::builder().status(answer.status);
                    if let Some(kind) = answer.answer_type {
                        response = response.header("content-type", kind);
                    }
                    let mut send = respond.send_response(response.body(()).unwrap(), false).unwrap();
                    send.send_data(Bytes::from_static(b"answer"), false).unwrap();
                    let trailers = http::HeaderMap::from_iter([(
                        http::HeaderName::from_static("grpc-status"),
                        http::HeaderValue::from_static("0"),
                    )]);
                    send.send_trailers(trailers).unwrap();
                });
            }
        });
        let mut builder = h2::client::Builder::new();
        builder.header_table_size(table);
        let (sender, connection) = builder.handshake::<_, Bytes>(client_io).await.unwrap();
        let driver = tokio::spawn(connection);
        for ask in asks.iter() {
            let mut request = Request::builder().method("POST").uri("http://doppler:8082/a");
            for (name, value) in &ask.fields {
                request = request.header(*name, value);
            }
            let mut ready = sender.clone().ready().await.unwrap();
            let end = ask.body == 0 && !ask.trailers;
            let (response, mut send) = ready.send_request(request.body(()).unwrap(), end).unwrap();
            if ask.body > 0 {
                send.send_data(vec![7; ask.body].into(), !ask.trailers).unwrap();
            }
            if ask.trailers {
                send.send_trailers(http::HeaderMap::new()).unwrap();
            }
            let mut body = response.await.unwrap().into_body();
            while let Some(Ok(data)) = body.data().await {
                body.flow_control().release_capacity(data.len()).unwrap();
            }
        }
        drop(sender);
        driver.await.unwrap().unwrap();
        server.await.unwrap();
    });
    std::mem::take(&mut *log.lock().unwrap())
}

fn read_with(mut parser: Parser, conversation: &Conversation, sizes: &[usize]) -> (Parser, Stream) {
    let stream = testing::read_in(conversation, sizes, |side, bytes| {
        parser.advance(side, bytes, &mut Allowance::new())
    });
    (parser, stream)
}

/// Reads the conversation whole and byte by byte, and holds that both come to the same.
fn read(conversation: &Conversation) -> Parser {
    let whole = read_with(Parser::new(), conversation, &[]).0;
    let bytewise = read_with(Parser::new(), conversation, &[1]).0;
    assert_eq!(whole.evidence(), bytewise.evidence());
    assert_eq!(whole.client(), bytewise.client());
    whole
}

#[test]
fn every_request_is_judged_also_from_the_dynamic_table() {
    let mut asks = Vec::new();
    for _ in 0..20 {
        asks.push(ask(&[("authorization", "bearer token"), ("content-type", "application/grpc")], 200));
        asks.push(ask(&[("authorization", "Basic b")], 401));
        asks.push(ask(&[("cookie", "authorization=bearer%20x")], 403));
        asks.push(ask(&[("authorization", "Digest b")], 404));
        asks.push(ask(&[("x", "y")], 500));
    }
    let conversation = talk(&asks, 4096);
    let sent: usize = conversation.iter().map(|(_, bytes)| bytes.len()).sum();
    let plain = b"authorization: bearer token".len() * 20 + b"cookie: authorization=bearer%20x".len() * 20;
    assert!(sent < plain + 100 * 100, "the tables were used");
    let parser = read(&conversation);
    let expected = Requests {
        signed: 0,
        read: 100,
        bearer: 40,
        basic: 20,
        other: 20,
        none: 20,
        unread: false,
        answers_unread: false,
        status_401: 20,
        status_403: 20,
        status_404: 20,
        status_other: 40,
    };
    assert_eq!(parser.evidence().requests, expected);
    assert_eq!(parser.evidence().authority.as_deref(), Some(&b"doppler:8082"[..]));
    assert!(parser.evidence().grpc && !parser.evidence().midstream);
    assert_eq!(parser.client(), Some(CLIENT));
}

#[test]
fn tables_of_other_sizes_are_followed() {
    for table in [0, 128, 8192, 65536] {
        let asks: Vec<_> = (0..60)
            .map(|number| {
                let value = format!("Bearer {number}{}", "t".repeat(200));
                ask(&[("authorization", &value), ("x-b", &value)], 200)
            })
            .collect();
        let parser = read(&talk(&asks, table));
        assert_eq!(parser.evidence().requests.bearer, 60, "table of {table}");
        assert!(!parser.evidence().requests.unread, "table of {table}");
    }
}

#[test]
fn large_headers_come_in_continuations() {
    let large = "v".repeat(40_000);
    let conversation = talk(
        &[
            ask(&[("x-large", &large), ("authorization", "Bearer x")], 200),
            ask(&[("authorization", "Bearer x")], 200),
        ],
        4096,
    );
    let parser = read(&conversation);
    assert_eq!(parser.evidence().requests.bearer, 2);
    assert_eq!(parser.evidence().requests.status_other, 2);
}

#[test]
fn bodies_are_skipped_and_trailers_are_no_requests() {
    let upload = Ask { body: 300_000, ..ask(&[("authorization", "Basic x")], 200) };
    let with_trailers = Ask { trailers: true, body: 10, ..ask(&[], 200) };
    let grpc = Ask { answer_type: Some("application/grpc+proto"), ..ask(&[], 200) };
    let conversation = talk(&[upload, with_trailers, grpc], 4096);
    let parser = read(&conversation);
    let requests = parser.evidence().requests;
    assert_eq!((requests.read, requests.basic, requests.none), (3, 1, 2));
    assert_eq!(requests.status_other, 3);
    assert!(parser.evidence().grpc);
}

#[test]
fn data_is_skipped_not_lent() {
    let mut parser = Parser::new();
    let opening = [PREFACE, b"\0\0\0\x04\0\0\0\0\0", b"\x01\0\0\0\0\0\0\0\x01abc"].concat();
    let step = parser.advance(CLIENT, &opening, &mut Allowance::new());
    assert_eq!(step, Step::Skip { used: opening.len(), skip: 65536 - 3 });
}

#[test]
fn an_upgraded_connection_goes_on_counting() {
    let conversation = talk(&[ask(&[("authorization", "Bearer x")], 401)], 4096);
    let mut before = Http1::default();
    before.requests.request(crate::protocol::Credentials::Bearer);
    before.host = Some(b"uaa"[..].into());
    // h2 takes stream 1 here, where the HTTP/1 request's answer comes: a client's block on it is no request.
    let parser = read_with(Parser::upgraded(CLIENT, &before), &conversation, &[]).0;
    let evidence = parser.evidence();
    assert!(evidence.upgraded);
    assert_eq!((evidence.requests.read, evidence.requests.bearer), (1, 1));
    assert_eq!(evidence.requests.status_401, 1);
    assert_eq!(evidence.authority.as_deref(), Some(&b"uaa"[..]));
    assert_eq!(
        Parser::upgraded(CLIENT, &before).advance(SERVER, b"HTTP/1.1 200 ", &mut Allowance::new()),
        Step::Broken
    );
}

/// The frames of one side, without the preface.
fn frames(conversation: &Conversation, wanted: Side) -> Vec<Vec<u8>> {
    let bytes: Vec<u8> =
        conversation.iter().filter(|(side, _)| *side == wanted).flat_map(|(_, b)| b.clone()).collect();
    let mut rest = bytes.strip_prefix(PREFACE).unwrap_or(&bytes);
    let mut frames = Vec::new();
    while let Some(header) = Header::read(rest) {
        let (frame, more) = rest.split_at(HEADER_LENGTH + header.length as usize);
        frames.push(frame.to_vec());
        rest = more;
    }
    frames
}

#[test]
fn a_connection_begun_before_the_capture_is_recognised_and_unread() {
    let asks = vec![ask(&[("authorization", "Bearer x")], 200); 10];
    let conversation = talk(&asks, 4096);
    for side in [CLIENT, SERVER] {
        let late: Vec<_> = frames(&conversation, side).into_iter().skip(4).collect();
        assert_eq!(probe(&late.concat()), Probe::Certain);
        let parser = read(&vec![(side, late.concat())]);
        assert!(parser.evidence().midstream && parser.evidence().requests.unread);
        assert_eq!(parser.evidence().requests.read, 0);
        assert_eq!(parser.client(), Some(CLIENT), "from {side:?}");
    }
}

#[test]
fn a_gap_among_requests_is_unread_and_among_answers_is_not() {
    let conversation = talk(&[ask(&[], 200)], 4096);
    for (side, unread) in [(CLIENT, true), (SERVER, false)] {
        let mut parser = read(&conversation);
        parser.gap(side);
        let requests = parser.evidence().requests;
        assert_eq!((requests.unread, requests.answers_unread), (unread, !unread));
        assert_eq!(parser.advance(side, b"\0\0\0", &mut Allowance::new()), Step::Done);
    }
}

#[test]
fn blocks_over_the_cap_are_unread() {
    let opening = [PREFACE, b"\0\0\0\x04\0\0\0\0\0"].concat();
    let mut parser = Parser::new();
    let one = [&opening[..], b"\x01\0\x01\x01\x04\0\0\0\x01"].concat();
    assert_eq!(parser.advance(CLIENT, &one, &mut Allowance::new()), Step::Done);
    assert!(parser.evidence().requests.unread);
    let mut parser = Parser::new();
    let mut many = [&opening[..], b"\0\x40\0\x01\0\0\0\0\x01", &[0; 0x4000]].concat();
    for _ in 0..4 {
        many.extend(b"\0\x40\0\x09\0\0\0\0\x01");
        many.extend([0; 0x4000]);
    }
    assert_eq!(parser.advance(CLIENT, &many, &mut Allowance::new()), Step::Done);
    assert!(parser.evidence().requests.unread);
}

#[test]
fn what_breaks_the_rules_is_broken_and_unread() {
    let opening = [PREFACE, b"\0\0\0\x04\0\0\0\0\0"].concat();
    for frame in [
        &b"\0\0\x05\x06\0\0\0\0\0"[..],
        b"\0\0\0\x01\x04\0\0\0\0",
        b"\0\0\0\x09\x04\0\0\0\x01",
        b"\0\0\x01\x01\0\0\0\0\x01\x82\0\0\0\0\0\0\0\0\x01",
    ] {
        let mut parser = Parser::new();
        let bytes = [&opening[..], frame].concat();
        assert_eq!(parser.advance(CLIENT, &bytes, &mut Allowance::new()), Step::Broken, "{frame:?}");
        assert!(parser.evidence().requests.unread);
    }
    assert_eq!(
        Parser::new().advance(CLIENT, b"\x16\x03\x01\0\0\0\0\0\0", &mut Allowance::new()),
        Step::Broken
    );
    let mut parser = Parser::new();
    let step = parser.advance(CLIENT, &[PREFACE, b"\0\0\x08\x06\0\0\0\0\0"].concat(), &mut Allowance::new());
    assert_eq!(step, Step::Broken, "SETTINGS must come first");
}

#[test]
fn an_index_into_nothing_ends_the_reading() {
    let mut parser = Parser::new();
    let bytes = [PREFACE, b"\0\0\0\x04\0\0\0\0\0", b"\0\0\x01\x01\x05\0\0\0\x01\xff"].concat();
    assert_eq!(parser.advance(CLIENT, &bytes, &mut Allowance::new()), Step::Done);
    assert!(parser.evidence().requests.unread);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_conversation_reads_alike_in_any_pieces(
        kinds in proptest::collection::vec(0_usize..4, 1..8),
        sizes in proptest::collection::vec(1_usize..3000, 1..6),
        body in 0_usize..40_000,
    ) {
        let asks: Vec<_> = kinds.iter().map(|kind| match kind {
            0 => ask(&[("authorization", "Bearer x")], 200),
            1 => Ask { body, ..ask(&[("content-type", "application/grpc")], 401) },
            2 => Ask { trailers: true, ..ask(&[("authorization", "Basic x")], 404) },
            _ => ask(&[("x-long", &"v".repeat(body))], 200),
        }).collect();
        let conversation = talk(&asks, 4096);
        let whole = read_with(Parser::new(), &conversation, &[]).0;
        let pieces = read_with(Parser::new(), &conversation, &sizes).0;
        prop_assert_eq!(whole.evidence(), pieces.evidence());
        prop_assert_eq!(whole.evidence().requests.read as usize, kinds.len());
        let bearers = kinds.iter().filter(|kind| **kind == 0).count();
        prop_assert_eq!(whole.evidence().requests.bearer as usize, bearers);
    }

    #[test]
    fn any_bytes_behind_an_opening_are_read_without_panic_and_alike_in_any_pieces(
        start in 0_usize..4,
        frames in proptest::collection::vec(
            (0_u8..11, 0_u8..64, 0_u8..4, proptest::collection::vec(any::<u8>(), 0..40)), 0..8,
        ),
        b: Vec<u8>,
        sizes in proptest::collection::vec(1_usize..30, 1..6),
    ) {
        let mut bytes = match start {
            0 => [PREFACE, b"\0\0\0\x04\0\0\0\0\0"].concat(),
            1 => b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64".to_vec(),
            2 => PREFACE.to_vec(),
            _ => Vec::new(),
        };
        for (kind, flags, stream, payload) in &frames {
            bytes.extend([0, 0, u8::try_from(payload.len()).unwrap(), *kind, *flags, 0, 0, 0, *stream]);
            bytes.extend(payload);
        }
        probe(&bytes);
        let conversation = vec![(CLIENT, bytes), (SERVER, b)];
        let whole = read_with(Parser::new(), &conversation, &[]);
        let pieces = read_with(Parser::new(), &conversation, &sizes);
        prop_assert_eq!(whole.0.evidence(), pieces.0.evidence());
        prop_assert_eq!(whole.0.client(), pieces.0.client());
    }
}

#[test]
fn a_burst_is_read_whole_and_a_flood_is_read_no_more() {
    let request =
        |stream: u8| [&b"\0\0\x07\x01\x05\0\0\0"[..], &[stream], b"\x83\x86\x84\x90\x90\x90\x90"].concat();
    let segment: Vec<u8> = (1..200).step_by(2).flat_map(request).collect();
    let opening = [PREFACE, b"\0\0\0\x04\0\0\0\0\0"].concat();
    let (mut parser, mut allowance) = (Parser::new(), Allowance::new());
    parser.advance(CLIENT, &opening, &mut allowance);
    // As many as most servers take at once, a hundred times over.
    for _ in 0..100 {
        assert_eq!(parser.advance(CLIENT, &segment, &mut allowance), Step::More { used: 1600 });
    }
    assert!(!parser.evidence().requests.unread && allowance.refused() == 0);
    let ends = (0..2000).find(|_| parser.advance(CLIENT, &segment, &mut allowance) == Step::Done);
    assert!(ends.is_some() && parser.evidence().requests.unread && allowance.refused() == 1);
    // Nothing is left but what the packets of a connection earned itself.
    for (packets, read) in [(0, 0), (5, 1)] {
        let mut other = Parser::new();
        allowance.turn_to(packets);
        other.advance(CLIENT, &[&opening[..], &request(1)].concat(), &mut allowance);
        assert_eq!(other.evidence().requests.read, read, "{packets} packets");
        assert_eq!(other.evidence().requests.unread, read == 0);
    }
}
