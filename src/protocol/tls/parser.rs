//! Both sides' bytes to [`Evidence`]: record by record, keeping nothing but partial handshake messages.
//! Records that keys may open are lent whole to [`Secured`].

use std::sync::Arc;

use super::alert::Alert;
use super::decrypt::KeyStore;
use super::evidence::{ALERT_CAP, Evidence};
use super::handshake::{self, Assembler, Message, kind};
use super::hello::{ClientHello, ServerHello};
use super::probe::{probe, probe_midstream};
use super::record::{HEADER, Header, Kind};
use super::secured::{Open, Plaintext, Secured};
use crate::protocol::cursor::Cursor;
use crate::protocol::{Probe, Side, Step};

/// Follows one TLS connection.
#[derive(Debug, Default)]
pub struct Parser {
    evidence: Evidence,
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
    messages: Assembler,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
        let stream = match side {
            Side::A => a,
            Side::B => b,
        };
        let mut open = Open { evidence, secured: secured.as_deref_mut(), plaintext };
        let step = stream.advance(&mut open, side, bytes, at);
        match step {
            Step::Broken if stream.stage != Stage::Broken => {
                stream.stop(Stage::Broken);
                evidence.trace.side_mut(side).mark_hole();
            }
            Step::Done if stream.stage != Stage::Broken => stream.stop(Stage::Done),
            _ => {}
        }
        step
    }

    /// `covered` bytes of `side` are not lent, the first of them those that were lent and not used.
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
            return Some(rest);
        }
        self.evidence.trace.side_mut(side).mark_hole();
        if let Some(secured) = &mut self.secured {
            secured.gap(&mut self.evidence, side, plaintext);
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
        }
    }

    /// What was seen so far.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// The client's side, once it is known.
    pub fn client(&self) -> Option<Side> {
        self.evidence.client
    }
}

impl Stream {
    fn stop(&mut self, stage: Stage) {
        self.stage = stage;
        self.left = 0;
        self.sealed = None;
        self.messages = Assembler::default();
    }

    fn advance(&mut self, open: &mut Open<'_>, side: Side, bytes: &[u8], at: i64) -> Step {
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
            match self.opens(open.evidence, side, header, body, at) {
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
            self.stage = Stage::Records;
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
                Some(false) if start => {
                    self.secured = true;
                    evidence.midstream = true;
                }
                Some(false) => self.secured = true,
            },
            // No encrypted alert is that short.
            Kind::Alert if header.length == 2 => {
                let Some(&[level, description]) = body.first_chunk::<2>() else { return Body::Unknown };
                if evidence.alerts.len() < ALERT_CAP {
                    evidence.alerts.push(Alert { side, fatal: level == 2, description });
                }
                return Body::Skipped;
            }
            Kind::ChangeCipherSpec => self.secured = true,
            Kind::Alert | Kind::ApplicationData | Kind::Heartbeat => {}
        }
        evidence.midstream |= start;
        evidence.trace.push(side, header.kind, header.length, at);
        Body::Sealed
    }

    /// Whether a handshake record is in clear; `None` asks for more bytes.
    fn in_clear(&self, header: Header, body: &[u8]) -> Option<bool> {
        if self.messages.in_message() {
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
        while let Some(message) = self.messages.next(&mut fragment) {
            match message.kind {
                kind::CLIENT_HELLO | kind::SERVER_HELLO => self.hellos = self.hellos.saturating_add(1),
                _ => self.others = true,
            }
            note(evidence, side, &message, at);
        }
    }
}

/// Whether bytes after a hole are the front of a record, as a segment often begins with one.
fn at_record(bytes: &[u8]) -> bool {
    probe(bytes) == Probe::Certain || probe_midstream(bytes) == Probe::Certain
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
            evidence.curve = handshake::named_curve(body);
            Some(())
        }
        (kind::CLIENT_HELLO | kind::SERVER_HELLO | kind::CERTIFICATE, None) => None,
        (kind::NEW_SESSION_TICKET, _) => {
            evidence.ticket = Some(message.length);
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

fn client_hello(evidence: &mut Evidence, side: Side, hello: ClientHello) {
    if *evidence.client.get_or_insert(side) != side {
        evidence.malformed = true;
        return;
    }
    evidence.early_data |= hello.early_data;
    evidence.client_hello = Some(Box::new(hello));
}

fn server_hello(evidence: &mut Evidence, side: Side, hello: ServerHello, at: i64) {
    if *evidence.client.get_or_insert(side.other()) == side {
        evidence.malformed = true;
    } else if hello.hello_retry {
        evidence.hello_retry = true;
    } else {
        evidence.trace.mark_server_hello(side, at);
        evidence.server_hello = Some(Box::new(hello));
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
