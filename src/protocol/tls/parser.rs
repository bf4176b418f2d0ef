//! Both sides' bytes to [`Evidence`]: record by record, keeping nothing but partial handshake messages.
//! Records that keys may open are lent whole to [`Secured`].

use std::sync::Arc;

use super::alert::Alert;
use super::cipher;
use super::client_hello::ClientHello;
use super::decrypt::KeyStore;
use super::evidence::Evidence;
use super::group;
use super::handshake::{self, Assembler, Message, kind};
use super::hello::ServerHello;
use super::probe::{probe, probe_midstream};
use super::record::{HEADER, Header, Kind};
use super::resume::{Lesson, SessionName};
use super::secured::{Open, Plaintext, Secured};
use crate::protocol::cursor::Cursor;
use crate::protocol::{Probe, Side, Step};

/// Follows one TLS connection.
#[derive(Debug, Default)]
pub struct Parser {
    evidence: Box<Evidence>,
    streams: [Stream; 2],
    /// Opens records, where there is a key log.
    secured: Option<Box<Secured>>,
}

/// Where one side's bytes stand.
#[derive(Debug, Default)]
struct Stream {
    stage: Stage,
    /// Bytes left of a record of handshake messages in clear.
    left: u16,
    /// The record to be opened whose body comes next.
    sealed: Option<Header>,
    /// This side's handshake records are encrypted from here on, second hellos excepted.
    secured: bool,
    /// Hellos read of this side, and whether anything else was.
    hellos: u8,
    others: bool,
    /// A message that has begun and not ended.
    messages: Option<Box<Assembler>>,
}

/// A [`Stream`] between two records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    stage: Stage,
    secured: bool,
    hellos: u8,
    others: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Stage {
    /// Nothing was read yet.
    #[default]
    Start,
    /// At or inside a record.
    Records,
    /// Somewhere after a hole.
    Lost,
    /// Nothing more can be read.
    Done,
    /// The bytes are not TLS.
    Broken,
}

impl Parser {
    /// Knows nothing yet: not even which side is the client.
    pub fn new() -> Parser {
        Parser::default()
    }

    /// The same, and opens records with these keys.
    pub fn with_keys(keys: Arc<KeyStore>) -> Parser {
        Parser { secured: Some(Box::new(Secured::new(keys))), ..Parser::default() }
    }

    /// Takes the next bytes of `side`, captured at `at` nanoseconds of packet time; what keys open goes to
    /// `plaintext`.
    ///
    /// The answer is [`Step::Done`] once this side's records can add nothing, and [`Step::Broken`]
    /// when they are no records; either stays so for that side.
    pub fn advance(&mut self, side: Side, bytes: &[u8], at: i64, plaintext: &mut dyn Plaintext) -> Step {
        let Parser { evidence, streams: [a, b], secured } = self;
        let (stream, other) = match side {
            Side::A => (a, b),
            Side::B => (b, a),
        };
        let mut open = Open { evidence, secured: secured.as_deref_mut(), plaintext };
        let step = stream.advance(&mut open, side, bytes, at, other.secured);
        if secured.is_some() {
            evidence.weigh();
        }
        match step {
            Step::Broken if stream.stage != Stage::Broken => {
                stream.stop(Stage::Broken);
                evidence.trace.side_mut(side).mark_hole();
            }
            Step::Done if stream.stage != Stage::Broken => stream.stop(Stage::Done),
            _ => {}
        }
        if step == Step::Done
            && other.stage == Stage::Done
            && secured.is_none()
            && evidence.answers().is_none()
        {
            evidence.conclude_but_for_closes();
        }
        step
    }

    /// `covered` bytes of `side` are not lent, the first of them those that were lent and not used.
    ///
    /// Call it also when later packets show that bytes at the end escaped the capture: a FIN, RST or
    /// bare ACK beyond what was lent, or the peer acknowledging more than that.
    ///
    /// A hole within a record that was to be opened leaves the records after it in their places: then says
    /// how many bytes of it are still to be passed over. After any other it is not known where the next
    /// record starts. Should the next bytes lent turn out to be
    /// the front of one, reading goes on: handshake messages in clear still count, the absence of any no
    /// longer does.
    pub fn gap(&mut self, side: Side, covered: u64, plaintext: &mut dyn Plaintext) -> Option<u64> {
        let [a, b] = &mut self.streams;
        let stream = match side {
            Side::A => a,
            Side::B => b,
        };
        if let (Some(header), Some(secured)) = (stream.sealed, &mut self.secured)
            && let Some(rest) = u64::from(header.length).checked_sub(covered)
        {
            stream.sealed = None;
            secured.lost(&mut self.evidence, side, plaintext);
            self.evidence.weigh();
            return Some(rest);
        }
        self.evidence.trace.side_mut(side).mark_hole();
        if let Some(secured) = &mut self.secured {
            secured.gap(&mut self.evidence, side, plaintext);
            self.evidence.weigh();
        }
        if !matches!(stream.stage, Stage::Broken | Stage::Done) {
            stream.stop(Stage::Lost);
        }
        None
    }

    /// `side` closed, by a FIN in order or a RST, at `at` nanoseconds of packet time.
    ///
    /// What it sent before must have been lent, or reported by [`Parser::gap`], first: silence before
    /// a close is evidence.
    pub fn closed(&mut self, side: Side, reset: bool, at: i64) {
        let [a, b] = &self.streams;
        let in_record = match side {
            Side::A => a.left > 0 || a.sealed.is_some(),
            Side::B => b.left > 0 || b.sealed.is_some(),
        };
        self.evidence.trace.close(side, at);
        // A reset may overtake bytes: the rest of a record that was cut short.
        if reset && in_record {
            self.evidence.trace.side_mut(side).mark_hole();
        }
    }

    /// Nothing more comes of either side.
    pub fn finish(&mut self, plaintext: &mut dyn Plaintext) {
        if let Some(secured) = &mut self.secured {
            secured.finish(&mut self.evidence, plaintext);
            self.evidence.weigh();
        }
    }

    /// Bytes on the heap, but for the chains of the evidence.
    pub fn held(&self) -> usize {
        let messages = self.streams.iter().filter_map(|stream| stream.messages.as_deref());
        size_of::<Evidence>()
            + self.evidence.held()
            + messages.map(|begun| size_of_val(begun) + begun.held()).sum::<usize>()
            + self.secured.as_deref().map_or(0, |secured| size_of_val(secured) + secured.held())
    }

    /// Where both sides stand and what was seen, if nothing else is kept, as of records to be opened.
    pub(super) fn between_records(&self) -> Option<([Place; 2], &Evidence)> {
        let [Some(a), Some(b)] = self.streams.each_ref().map(Stream::between_records) else { return None };
        let hello = self.evidence.client_hello.as_ref().and_then(|hello| hello.opening.as_ref());
        let opening = hello.or(self.evidence.server_hello.as_ref().and_then(|hello| hello.opening.as_ref()));
        let is_alone = self.secured.is_none() && self.evidence.decrypted.is_none() && opening.is_none();
        is_alone.then_some(([a, b], &*self.evidence))
    }

    /// As it was when [`Parser::between_records`] was asked.
    pub(super) fn of_places(evidence: Box<Evidence>, streams: [Place; 2]) -> Parser {
        let streams = streams.map(|Place { stage, secured, hellos, others }| Stream {
            stage,
            secured,
            hellos,
            others,
            ..Stream::default()
        });
        Parser { evidence, streams, secured: None }
    }

    /// What was seen so far.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// What was seen, when nothing more is to come, and what was told of it before.
    pub(in crate::protocol) fn into_evidence(mut self, told: Option<Lesson>) -> Box<Evidence> {
        self.evidence.told = told;
        self.evidence.conclude();
        self.evidence
    }

    /// The client's side, once it is known.
    pub fn client(&self) -> Option<Side> {
        self.evidence.client
    }
}

impl Stream {
    fn between_records(&self) -> Option<Place> {
        let Stream { stage, left, ref sealed, secured, hellos, others, ref messages } = *self;
        let is_between = left == 0 && sealed.is_none() && messages.is_none();
        is_between.then_some(Place { stage, secured, hellos, others })
    }

    fn stop(&mut self, stage: Stage) {
        self.stage = stage;
        self.left = 0;
        self.sealed = None;
        self.messages = None;
    }

    fn advance(
        &mut self,
        open: &mut Open<'_>,
        side: Side,
        bytes: &[u8],
        at: i64,
        other_encrypts: bool,
    ) -> Step {
        match self.stage {
            Stage::Done => return Step::Done,
            Stage::Broken => return Step::Broken,
            Stage::Lost if !at_record(bytes) => return Step::Done,
            Stage::Start | Stage::Lost | Stage::Records => {}
        }
        if !bytes.is_empty() {
            open.evidence.trace.side_mut(side).seen = true;
        }
        let mut rest = bytes;
        loop {
            let used = bytes.len() - rest.len();
            if let Some(header) = self.sealed {
                let Some((body, next)) = rest.split_at_checked(header.length.into()) else {
                    return Step::More { used };
                };
                self.sealed = None;
                open.record(side, header, body, at);
                rest = next;
                continue;
            }
            if self.left > 0 {
                let count = rest.len().min(usize::from(self.left));
                let Some((fragment, next)) = rest.split_at_checked(count) else { return Step::More { used } };
                self.messages(open.evidence, side, fragment, at);
                open.hellos();
                self.left = self.left.saturating_sub(u16::try_from(count).unwrap_or(u16::MAX));
                rest = next;
                if self.left > 0 {
                    return Step::More { used: used + count };
                }
                continue;
            }
            if open.evidence.trace.side(side).full() && !open.reads_on(side) {
                return Step::Done;
            }
            if self.stage == Stage::Start && rest.first().is_some_and(|first| first & 0x80 != 0) {
                match ssl2_hello(rest) {
                    Some(Some((hello, next))) => {
                        self.stage = Stage::Records;
                        self.hellos = 1;
                        client_hello(open.evidence, side, hello);
                        rest = next;
                        continue;
                    }
                    Some(None) => return Step::More { used },
                    None => return Step::Broken,
                }
            }
            let header = match Header::read(rest) {
                Ok(Some(header)) => header,
                Ok(None) => return Step::More { used },
                Err(_) => return Step::Broken,
            };
            let body = rest.get(HEADER..).unwrap_or_default();
            let changed = self.secured;
            let opened = self.opens(open.evidence, side, header, body, at);
            if self.secured && !changed && other_encrypts && open.secured.is_none() {
                open.evidence.forget_openings();
            }
            if !matches!(opened, Body::Unknown) {
                self.stage = Stage::Records;
            }
            match opened {
                Body::Unknown => return Step::More { used },
                Body::Messages => {
                    self.left = header.length;
                    rest = body;
                }
                Body::Sealed if open.takes(side, header.kind, changed) => {
                    self.sealed = Some(header);
                    rest = body;
                }
                Body::Sealed | Body::Skipped => match body.get(usize::from(header.length)..) {
                    Some(next) => rest = next,
                    None => return Step::Skip { used: used + HEADER, skip: header.length.into() },
                },
            }
        }
    }

    /// Takes note of a record, and says what to do with its body.
    fn opens(&mut self, evidence: &mut Evidence, side: Side, header: Header, body: &[u8], at: i64) -> Body {
        let start = self.stage == Stage::Start;
        match header.kind {
            Kind::Handshake if header.length == 0 => return Body::Skipped,
            Kind::Handshake => match self.in_clear(header, body) {
                None => return Body::Unknown,
                Some(true) => {
                    evidence.midstream |=
                        start && !matches!(body.first(), Some(&(kind::CLIENT_HELLO | kind::SERVER_HELLO)));
                    return Body::Messages;
                }
                Some(false) => self.secured = true,
            },
            // No encrypted alert is that short.
            Kind::Alert if header.length == 2 => {
                let Some(&[level, description]) = body.first_chunk::<2>() else { return Body::Unknown };
                evidence.keep_alert(Alert { side, fatal: level == 2, description });
                return Body::Skipped;
            }
            Kind::ChangeCipherSpec => self.secured = true,
            Kind::Alert | Kind::ApplicationData | Kind::Heartbeat => {}
        }
        if start {
            evidence.midstream = true;
            self.secured = true;
        }
        evidence.keep_record(side, header.kind, header.length, at);
        Body::Sealed
    }

    /// Whether a handshake record is in clear; `None` asks for more bytes.
    fn in_clear(&self, header: Header, body: &[u8]) -> Option<bool> {
        if self.messages.is_some() {
            return Some(true);
        }
        if matches!(self.stage, Stage::Start | Stage::Lost) {
            // A hello, or a message of a handshake whose hello was not captured.
            return handshake::looks_like_start(body, header.length);
        }
        if !self.secured {
            return Some(true);
        }
        // A middlebox-compatible ChangeCipherSpec may stand before the second hello after a
        // HelloRetryRequest (RFC 8446 appendix D.4), of either side.
        if self.hellos != 1 || self.others {
            return Some(false);
        }
        handshake::looks_like_hello(body, header.length)
    }

    fn messages(&mut self, evidence: &mut Evidence, side: Side, mut fragment: &[u8], at: i64) {
        let mut messages = self.messages.take().map_or_else(Assembler::default, |begun| *begun);
        while let Some(message) = messages.next(&mut fragment) {
            match message.kind {
                kind::CLIENT_HELLO | kind::SERVER_HELLO => self.hellos = self.hellos.saturating_add(1),
                _ => self.others = true,
            }
            note(evidence, side, &message, at);
        }
        if messages.in_message() {
            self.messages = Some(Box::new(messages));
        }
    }
}

/// Whether bytes after a hole are the front of a record, as a segment often begins with one.
fn at_record(bytes: &[u8]) -> bool {
    let message = match Header::read(bytes) {
        Ok(Some(header)) if header.kind == Kind::Handshake => {
            let body = bytes.get(HEADER..).unwrap_or_default();
            handshake::looks_like_start(body, header.length) == Some(true)
        }
        _ => false,
    };
    message || probe(bytes) == Probe::Certain || probe_midstream(bytes) == Probe::Certain
}

/// What to do with a record's body.
enum Body {
    /// More bytes are needed to tell.
    Unknown,
    /// Handshake messages in clear.
    Messages,
    /// Encrypted, or a ChangeCipherSpec.
    Sealed,
    /// Nothing in it matters.
    Skipped,
}

/// Takes what a message in clear shows into the evidence.
fn note(evidence: &mut Evidence, side: Side, message: &Message, at: i64) {
    let understood = match (message.kind, message.body) {
        (kind::CLIENT_HELLO, Some(body)) => {
            ClientHello::parse(body).map(|hello| client_hello(evidence, side, hello))
        }
        (kind::SERVER_HELLO, Some(body)) => {
            ServerHello::parse(body).map(|hello| server_hello(evidence, side, hello, at))
        }
        (kind::CERTIFICATE, Some(body)) => {
            handshake::certificates(body).map(|chain| evidence.keep_chain(side, chain))
        }
        (kind::SERVER_KEY_EXCHANGE, Some(body)) => {
            let suite = evidence.cipher().and_then(cipher::classify);
            if suite.is_some_and(|suite| suite.finite_field) {
                evidence.finite_field = group::finite_field(body);
            } else {
                evidence.curve = handshake::named_curve(body);
            }
            Some(())
        }
        (kind::CLIENT_HELLO | kind::SERVER_HELLO | kind::CERTIFICATE, None) => None,
        (kind::NEW_SESSION_TICKET, body) => {
            evidence.ticket = Some(message.length);
            evidence.session_ticket = body.and_then(handshake::ticket).and_then(SessionName::of);
            Some(())
        }
        (kind::CERTIFICATE_REQUEST, _) => {
            evidence.certificate_request = true;
            Some(())
        }
        (kind::SERVER_HELLO_DONE, _) => {
            evidence.server_hello_done = true;
            Some(())
        }
        (kind::CERTIFICATE_VERIFY, _) => {
            evidence.certificate_verify = true;
            Some(())
        }
        (kind::CLIENT_KEY_EXCHANGE, _) => {
            evidence.client_key_exchange = true;
            Some(())
        }
        _ => Some(()),
    };
    evidence.malformed |= understood.is_none();
}

fn client_hello(evidence: &mut Evidence, side: Side, mut hello: ClientHello) {
    if *evidence.client.get_or_insert(side) != side {
        evidence.malformed = true;
        return;
    }
    evidence.early_data |= hello.early_data;
    if let Some(first) = &evidence.client_hello {
        hello.follows(first);
    }
    evidence.keep_client_hello(hello);
}

fn server_hello(evidence: &mut Evidence, side: Side, hello: ServerHello, at: i64) {
    if *evidence.client.get_or_insert(side.other()) == side {
        evidence.malformed = true;
    } else if hello.hello_retry {
        evidence.hello_retry = true;
    } else {
        evidence.trace.mark_server_hello(side, at);
        evidence.keep_server_hello(hello);
    }
}

/// A ClientHello in SSL 2.0 format and what follows it: `None` if it is not one, `Some(None)` if it is not whole.
fn ssl2_hello(bytes: &[u8]) -> Option<Option<(ClientHello, &[u8])>> {
    /// Longer ones are not believed.
    const MAX: u16 = 1024;
    let mut cursor = Cursor::new(bytes);
    let Some(length) = cursor.u16() else { return Some(None) };
    let length = length & 0x7fff;
    if length > MAX {
        return None;
    }
    match cursor.take(length.into()) {
        Some(message) => Some(Some((ClientHello::parse_ssl2(message)?, cursor.rest()))),
        None => Some(None),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, MS, Unread, client_hello, extension, feed, hex, record, server_hello};
    use super::super::{Authentication, Offer, Version};
    use super::*;
    use proptest::prelude::*;

    /// The two streams of a TLS 1.3 connection with a HelloRetryRequest, CCS before the second hello.
    fn retried() -> [Vec<u8>; 2] {
        let hello = record(22, &client_hello(&extension(43, &[2, 3, 4])));
        let mut retry = record(22, &server_hello(0x1301, &extension(43, &[3, 4])));
        retry[11..43]
            .copy_from_slice(&hex(&["cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c"]));
        let ccs = record(20, &[1]);
        let data = |length: usize| record(23, &vec![0x17; length]);
        let client = [&hello[..], &ccs, &hello, &data(961), &data(281), &data(53), &data(71)].concat();
        let server = [
            &retry[..],
            &ccs,
            &record(22, &server_hello(0x1301, &extension(43, &[3, 4]))),
            &data(32),
            &data(113),
            &data(941),
            &data(281),
            &data(53),
            &data(250),
        ]
        .concat();
        [client, server]
    }

    /// Lends both streams in pieces of these sizes, as the stream layer does, and gives the evidence.
    ///
    /// All of the server's flight goes before the client's, and its last record after.
    fn lend(client: &[u8], server: &[u8], pieces: &[usize]) -> Evidence {
        let mut parser = Parser::new();
        let answer = server.len().saturating_sub(255);
        let mut client_lender = Lender::new(Side::A, pieces);
        let mut server_lender = Lender::new(Side::B, pieces);
        server_lender.lend(&mut parser, &server[..answer], MS);
        client_lender.lend(&mut parser, client, 2 * MS);
        server_lender.lend(&mut parser, &server[answer..], 3 * MS);
        parser.evidence().clone()
    }

    /// One side of a stream layer: keeps what was not used, drops what may be skipped.
    struct Lender<'a> {
        side: Side,
        pieces: std::iter::Cycle<std::slice::Iter<'a, usize>>,
        kept: Vec<u8>,
        skip: u64,
        over: bool,
    }

    impl<'a> Lender<'a> {
        fn new(side: Side, pieces: &'a [usize]) -> Lender<'a> {
            Lender { side, pieces: pieces.iter().cycle(), kept: Vec::new(), skip: 0, over: false }
        }

        fn lend(&mut self, parser: &mut Parser, bytes: &[u8], at: i64) {
            let mut rest = bytes;
            while !rest.is_empty() && !self.over {
                let size = self.pieces.next().map_or(rest.len(), |&size| size.clamp(1, rest.len()));
                let (piece, next) = rest.split_at(size);
                rest = next;
                self.kept.extend(piece);
                while !self.over {
                    let dropped = usize::try_from(self.skip).expect("small").min(self.kept.len());
                    self.kept.drain(..dropped);
                    self.skip -= dropped as u64;
                    if self.skip > 0 {
                        break;
                    }
                    match parser.advance(self.side, &self.kept, at, &mut Unread) {
                        Step::More { used } => {
                            self.kept.drain(..used);
                            break;
                        }
                        Step::Skip { used, skip } => {
                            self.kept.drain(..used);
                            self.skip = skip;
                        }
                        _ => self.over = true,
                    }
                }
            }
        }
    }

    #[test]
    fn real_hellos() {
        let mut parser = Parser::new();
        let client = hex(testing::CLIENT_HELLO);
        assert_eq!(parser.advance(Side::B, &client, 0, &mut Unread), Step::More { used: client.len() });
        assert_eq!(parser.client(), Some(Side::B));
        feed(&mut parser, Side::A, &hex(testing::SERVER_HELLO), MS);
        let evidence = parser.evidence();
        assert_eq!(
            (evidence.version(), evidence.offered_max()),
            (Some(Version::Tls13), Some(Version::Tls13))
        );
        assert_eq!((evidence.cipher(), evidence.group()), (Some(0x1301), Some(29)));
        assert_eq!(evidence.server_name(), Some(&b"localhost"[..]));
        assert!(matches!(evidence.alpn_offered(), Offer::List([name]) if **name == *b"h2"));
        assert!(!evidence.malformed() && !evidence.midstream() && !evidence.hello_retry());
    }

    #[test]
    fn a_retried_hello_in_any_pieces() {
        let [client, server] = retried();
        let whole = lend(&client, &server, &[]);
        assert!(whole.hello_retry() && !whole.malformed());
        assert!(matches!(whole.authentication(), Authentication::Mutual(_)), "{:?}", whole.authentication());
        for size in [1, 2, 3, 5, 7, 64, 300] {
            assert_eq!(lend(&client, &server, &[size]), whole, "{size}");
        }
    }

    #[test]
    fn a_hello_over_several_records() {
        let hello = client_hello(&extension(0xfe0d, &[7; 2000]));
        let bytes: Vec<u8> = hello.chunks(500).flat_map(|part| record(22, part)).collect();
        let mut parser = Parser::new();
        assert_eq!(parser.advance(Side::A, &bytes, 0, &mut Unread), Step::More { used: bytes.len() });
        assert_eq!(parser.evidence().offered_max(), Some(Version::Tls12));
    }

    #[test]
    fn what_is_no_record_is_broken_and_stays_so() {
        let mut parser = Parser::new();
        assert_eq!(parser.advance(Side::A, b"GET / HTTP/1.1", 0, &mut Unread), Step::Broken);
        assert_eq!(parser.advance(Side::A, &hex(testing::CLIENT_HELLO), 0, &mut Unread), Step::Broken);
        parser.gap(Side::A, u64::MAX, &mut Unread);
        assert_eq!(parser.advance(Side::A, &hex(testing::CLIENT_HELLO), 0, &mut Unread), Step::Broken);
    }

    #[test]
    fn bodies_are_skipped() {
        let mut parser = Parser::new();
        feed(&mut parser, Side::A, &hex(testing::CLIENT_HELLO), 0);
        assert_eq!(
            parser.advance(Side::A, &[23, 3, 3, 0x40, 0, 9], 0, &mut Unread),
            Step::Skip { used: 5, skip: 0x4000 }
        );
        parser.gap(Side::A, u64::MAX, &mut Unread);
        assert_eq!(parser.advance(Side::A, b"the middle of a record", 0, &mut Unread), Step::Done);
    }

    #[test]
    fn a_side_cannot_be_both() {
        let mut parser = Parser::new();
        feed(&mut parser, Side::A, &hex(testing::CLIENT_HELLO), 0);
        feed(&mut parser, Side::A, &hex(testing::SERVER_HELLO), 0);
        assert!(parser.evidence().malformed());
        assert_eq!(parser.evidence().version(), None);
    }

    fn plausible_bytes() -> impl Strategy<Value = Vec<u8>> {
        let record = (20u8..25, 0usize..90, any::<u8>(), 0u8..20).prop_map(|(kind, length, fill, first)| {
            let mut body = vec![fill; length];
            for (slot, byte) in body.iter_mut().zip([first, 0, 0, fill % 80]) {
                *slot = byte;
            }
            record(kind, &body)
        });
        let real = prop_oneof![
            Just(hex(testing::CLIENT_HELLO)),
            Just(hex(testing::SERVER_HELLO)),
            Just(hex(testing::SERVER_HELLO_12)),
        ];
        let noise = proptest::collection::vec(any::<u8>(), 0..40);
        proptest::collection::vec(prop_oneof![4 => record, 2 => real, 1 => noise], 0..12)
            .prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            client in plausible_bytes(),
            server in plausible_bytes(),
            pieces in proptest::collection::vec(1usize..100, 1..6),
        ) {
            let whole = lend(&client, &server, &[]);
            let pieced = lend(&client, &server, &pieces);
            prop_assert_eq!(&whole, &pieced);
            prop_assert_eq!(whole.authentication(), pieced.authentication());
            whole.alpn();
            whole.certificate_requested();
        }

        #[test]
        fn holes_and_closes_anywhere(
            parts in proptest::collection::vec((any::<bool>(), 0u8..8, plausible_bytes()), 0..12),
        ) {
            let mut parser = Parser::new();
            for (at, (first, event, bytes)) in (0i64..).zip(parts) {
                let side = if first { Side::A } else { Side::B };
                match event {
                    0 => drop(parser.gap(side, u64::MAX, &mut Unread)),
                    1 => parser.closed(side, bytes.len() % 2 == 0, at),
                    _ => {
                        feed(&mut parser, side, &bytes, at);
                    }
                }
                parser.evidence().authentication();
                parser.evidence().alpn();
            }
            prop_assert!(parser.evidence().alerts().len() <= super::super::evidence::ALERT_CAP);
        }
    }
}
