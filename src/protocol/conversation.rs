//! One flow's bytes, handed to the recogniser they belong to.
//!
//! The first bytes of either side are probed by every recogniser; the one that is certain gets the flow.
//! A protocol may hand over to another: NATS, MySQL and LDAP to TLS, HTTP/1 to HTTP/2 after an upgrade.

use std::sync::Arc;

use super::inside::Inside;
use super::tls::KeyStore;
use super::{Address, Dns, Http1, Http2, Ldap, Mysql, Nats, Probe, Side, Ssh, Step, Syslog};
use super::{dns, http1, http2, ldap, mysql, nats, ssh, syslog, tls};
use crate::packet::Gap;

/// Everything the capture showed of what a flow speaks.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// TLS, wherever in the flow it began.
    pub tls: Option<Box<tls::Evidence>>,
    /// What was inside it, as far as keys opened it.
    pub inside: Option<Box<Evidence>>,
    /// HTTP/1 in clear.
    pub http1: Option<Box<Http1>>,
    /// HTTP/2 in clear.
    pub http2: Option<Box<Http2>>,
    /// NATS in clear.
    pub nats: Option<Nats>,
    /// DNS.
    pub dns: Option<Box<Dns>>,
    /// MySQL in clear.
    pub mysql: Option<Box<Mysql>>,
    /// SSH.
    pub ssh: Option<Box<Ssh>>,
    /// LDAP in clear.
    pub ldap: Option<Box<Ldap>>,
    /// Syslog in clear.
    pub syslog: Option<Syslog>,
    /// The client, by the protocol's own roles.
    pub client: Option<Side>,
    /// Which sides sent payload.
    pub spoke: [bool; 2],
    /// Why bytes are missing that a recogniser wanted, the first time.
    pub gap: Option<Gap>,
    /// The bytes broke the rules of the protocol they had been recognised as.
    pub broken: bool,
    /// Decisive first bytes were read and no recogniser knew them.
    pub unrecognised: bool,
}

impl Evidence {
    /// Some protocol was recognised.
    pub fn recognised(&self) -> bool {
        self.tls.is_some()
            || self.http1.is_some()
            || self.http2.is_some()
            || self.nats.is_some()
            || self.dns.is_some()
            || self.mysql.is_some()
            || self.ssh.is_some()
            || self.ldap.is_some()
            || self.syslog.is_some()
    }

    /// A protocol that may go on in TLS was recognised in clear; what follows a switch is that.
    pub fn has_prologue(&self) -> bool {
        self.nats.is_some() || self.mysql.is_some() || self.ldap.is_some()
    }

    /// Both sides agreed to go on in TLS.
    fn went_on_in_tls(&self) -> bool {
        self.nats.is_some_and(|nats| nats.upgraded)
            || self.mysql.as_ref().is_some_and(|mysql| mysql.upgraded)
            || self.ldap.as_ref().is_some_and(|ldap| ldap.upgraded)
    }
}

/// The state of one flow's recognition.
#[derive(Debug, Default)]
pub struct Conversation {
    active: Active,
    /// Opens TLS; none inside of it.
    keys: Option<Arc<KeyStore>>,
    inside: Inside,
    evidence: Evidence,
    /// The flow's beginning is in the capture, so its first bytes are the protocol's first bytes.
    from_start: bool,
    /// Lends that each side's bytes were not recognised in.
    misses: [u8; 2],
}

/// The recogniser a flow belongs to. Boxed: most flows of a capture are idle or classified.
#[derive(Debug, Default)]
enum Active {
    #[default]
    Probing,
    Tls(Box<tls::Parser>),
    Http1(Box<http1::Parser>),
    Http2(Box<http2::Parser>),
    Nats(Box<nats::Parser>),
    Dns(Box<dns::Parser>),
    Mysql(Box<mysql::Parser>),
    Ssh(Box<ssh::Parser>),
    Ldap(Box<ldap::Parser>),
    Syslog(Box<syslog::Parser>),
    /// Nothing more is wanted.
    Over,
}

/// How many lends (about segments) of one side are probed when a flow's beginning is not in the capture:
/// a request or a record may well start in one of the next.
const MIDSTREAM_TRIES: u8 = 16;
/// How many datagrams of one side are probed.
const DATAGRAM_TRIES: u8 = 4;
/// First bytes that no recogniser is sure of are kept up to this many; then they are unrecognised. The longest
/// request line ([`http1::LINE_CAP`]) is within it, and further bytes are not looked at, however they were cut
/// into segments.
const UNSURE_BYTES: usize = 16 * 1024;

impl Conversation {
    /// A conversation whose TLS these keys may open.
    pub fn with_keys(keys: Arc<KeyStore>) -> Conversation {
        Conversation { keys: Some(keys), ..Conversation::default() }
    }

    /// The flow's beginning is in the capture.
    pub fn begins(&mut self) {
        self.from_start = true;
    }

    /// Reads the next bytes of one side of a stream; `at` is packet time in nanoseconds.
    pub fn read(&mut self, side: Side, bytes: &[u8], at: i64) -> Step {
        self.evidence.spoke[side.index()] = true;
        let step = match &mut self.active {
            Active::Probing => return self.probe(side, bytes, at),
            Active::Tls(parser) => parser.advance(side, bytes, at, &mut self.inside),
            Active::Http1(parser) => parser.advance(side, bytes),
            Active::Http2(parser) => parser.advance(side, bytes),
            Active::Nats(parser) => parser.advance(side, bytes),
            Active::Dns(parser) => parser.advance(side, bytes),
            Active::Mysql(parser) => parser.advance(side, bytes),
            Active::Ssh(parser) => parser.advance(side, bytes),
            Active::Ldap(parser) => parser.advance(side, bytes),
            Active::Syslog(parser) => parser.advance(side, bytes),
            Active::Over => Step::Done,
        };
        match step {
            Step::Switch { used } => {
                let upgraded = match &self.active {
                    Active::Http1(parser) if parser.evidence().h2c_accepted => {
                        parser.client().map(|client| http2::Parser::upgraded(client, parser.evidence()))
                    }
                    _ => None,
                };
                self.keep_evidence();
                self.active = upgraded.map_or(Active::Probing, |parser| Active::Http2(Box::new(parser)));
                // What follows the switch is a beginning again.
                self.from_start = true;
                Step::More { used }
            }
            Step::Broken => {
                self.evidence.broken = true;
                self.keep_evidence();
                // The client may go on with requests all the same, and they are not read.
                let evidence = &mut self.evidence;
                let http1 = evidence.http1.as_mut().map(|http1| &mut http1.requests);
                let http2 = evidence.http2.as_mut().map(|http2| &mut http2.requests);
                for requests in http1.into_iter().chain(http2) {
                    requests.unread = true;
                }
                Step::Done
            }
            step => step,
        }
    }

    /// `covered` bytes of one side are not lent, the first of them those that were lent and not used. Says
    /// how many after these do not matter either.
    pub fn gap(&mut self, side: Side, cause: Gap, covered: u64) -> u64 {
        if let Active::Tls(parser) = &mut self.active {
            let rest = parser.gap(side, covered, &mut self.inside);
            if let Some(rest) = rest {
                // All that is missing is inside a record, as without keys.
                return rest;
            }
        }
        self.evidence.gap.get_or_insert(cause);
        match &mut self.active {
            Active::Probing => self.from_start = false,
            Active::Tls(_) => {}
            Active::Http1(parser) => parser.gap(side),
            Active::Http2(parser) => parser.gap(side),
            Active::Nats(parser) => parser.gap(side),
            Active::Dns(parser) => parser.gap(side),
            Active::Mysql(parser) => parser.gap(side),
            Active::Ssh(parser) => parser.gap(side),
            Active::Ldap(parser) => parser.gap(side),
            Active::Syslog(parser) => parser.gap(side),
            Active::Over => {}
        }
        0
    }

    /// What TLS showed so far, if TLS is what is spoken now.
    pub fn tls(&self) -> Option<&tls::Evidence> {
        match &self.active {
            Active::Tls(parser) => Some(parser.evidence()),
            _ => None,
        }
    }

    /// One side closed its direction, or reset the connection.
    pub fn closed(&mut self, side: Side, reset: bool, at: i64) {
        if let Active::Tls(parser) = &mut self.active {
            parser.closed(side, reset, at);
        }
    }

    /// Reads one datagram; says whether more are wanted.
    pub fn datagram(&mut self, side: Side, bytes: &[u8], cut: bool) -> bool {
        self.evidence.spoke[side.index()] = true;
        if let Active::Probing = self.active {
            if cut {
                self.evidence.gap.get_or_insert(Gap::Snaplen);
            }
            self.active = match (dns::probe_datagram(bytes), syslog::probe_datagram(bytes)) {
                (Probe::Certain, _) => Active::Dns(Box::new(dns::Parser::new())),
                (_, Probe::Certain) => Active::Syslog(Box::new(syslog::Parser::new())),
                _ => {
                    let misses = &mut self.misses[side.index()];
                    *misses += 1;
                    if *misses >= DATAGRAM_TRIES {
                        self.evidence.unrecognised = self.evidence.gap.is_none();
                        self.active = Active::Over;
                    }
                    return *misses < DATAGRAM_TRIES;
                }
            };
        }
        let step = match &mut self.active {
            Active::Dns(parser) => parser.datagram(side, bytes),
            Active::Syslog(parser) => parser.datagram(side, bytes),
            _ => Step::Done,
        };
        step != Step::Done
    }

    /// Addresses that DNS answers gave names to since this was last asked.
    pub fn take_addresses(&mut self) -> Vec<Address> {
        match &mut self.active {
            Active::Dns(parser) => parser.take_addresses(),
            _ => Vec::new(),
        }
    }

    /// Everything that was seen so far, of a flow that goes on.
    pub fn so_far(&self) -> Evidence {
        let mut evidence = self.evidence.clone();
        let client = match &self.active {
            Active::Tls(parser) => {
                evidence.tls = Some(Box::new(parser.evidence().clone()));
                evidence.inside = self.inside.so_far();
                parser.client()
            }
            Active::Http1(parser) => {
                evidence.http1 = Some(Box::new(parser.evidence().clone()));
                parser.client()
            }
            Active::Http2(parser) => {
                evidence.http2 = Some(Box::new(parser.evidence().clone()));
                parser.client()
            }
            Active::Nats(parser) => {
                evidence.nats = Some(*parser.evidence());
                parser.client()
            }
            Active::Dns(parser) => {
                evidence.dns = Some(Box::new(parser.evidence().clone()));
                parser.client()
            }
            Active::Mysql(parser) => {
                evidence.mysql = Some(Box::new(parser.evidence().clone()));
                parser.client()
            }
            Active::Ssh(parser) => {
                evidence.ssh = Some(Box::new(parser.evidence().clone()));
                None
            }
            Active::Ldap(parser) => {
                evidence.ldap = Some(Box::new(parser.evidence().clone()));
                parser.client()
            }
            Active::Syslog(parser) => {
                evidence.syslog = Some(*parser.evidence());
                parser.client()
            }
            Active::Probing | Active::Over => None,
        };
        evidence.client = evidence.client.or(client);
        evidence
    }

    /// The flow is over: everything that was seen.
    pub fn finish(mut self) -> Evidence {
        if matches!(self.active, Active::Probing) && self.misses != [0, 0] && self.evidence.gap.is_none() {
            self.evidence.unrecognised = true;
        }
        self.keep_evidence();
        if self.evidence.tls.is_none() && self.evidence.went_on_in_tls() {
            // Nothing of it was captured: that is unseen TLS, and not a flow without.
            self.evidence.tls = Some(Box::new(tls::Parser::new().evidence().clone()));
        }
        self.evidence
    }

    fn probe(&mut self, side: Side, bytes: &[u8], at: i64) -> Step {
        let first = if self.from_start { bytes.get(..UNSURE_BYTES).unwrap_or(bytes) } else { bytes };
        match probe(first, self.from_start, self.evidence.has_prologue()) {
            Found::Yes(mut active) => {
                if let (Active::Tls(parser), Some(keys)) = (&mut active, &self.keys)
                    && keys.is_given()
                {
                    **parser = tls::Parser::with_keys(Arc::clone(keys));
                }
                if let (Active::Http1(parser), false) = (&mut active, self.from_start) {
                    parser.joins(side.other());
                }
                self.active = active;
                self.read(side, bytes, at)
            }
            Found::Unsure if bytes.len() < UNSURE_BYTES => Step::More { used: 0 },
            Found::Unsure | Found::No => {
                let misses = &mut self.misses[side.index()];
                *misses = misses.saturating_add(1);
                if self.from_start || *misses >= MIDSTREAM_TRIES {
                    self.evidence.unrecognised = self.from_start;
                    return Step::Done;
                }
                Step::More { used: bytes.len() }
            }
        }
    }

    /// Moves what the active recogniser saw into the evidence, and lets go of its state.
    fn keep_evidence(&mut self) {
        let evidence = &mut self.evidence;
        let client = match std::mem::replace(&mut self.active, Active::Over) {
            Active::Tls(mut parser) => {
                parser.finish(&mut self.inside);
                let client = parser.client();
                evidence.tls = Some(Box::new(parser.into_evidence()));
                evidence.inside = self.inside.finish();
                client
            }
            Active::Http1(parser) => {
                let client = parser.client();
                evidence.http1 = Some(Box::new(parser.into_evidence()));
                client
            }
            Active::Http2(parser) => {
                let client = parser.client();
                evidence.http2 = Some(Box::new(parser.into_evidence()));
                client
            }
            Active::Nats(parser) => {
                evidence.nats = Some(*parser.evidence());
                parser.client()
            }
            Active::Dns(parser) => {
                let client = parser.client();
                evidence.dns = Some(Box::new(parser.into_evidence()));
                client
            }
            Active::Mysql(parser) => {
                evidence.mysql = Some(Box::new(parser.evidence().clone()));
                parser.client()
            }
            Active::Ssh(parser) => {
                evidence.ssh = Some(Box::new(parser.evidence().clone()));
                None
            }
            Active::Ldap(parser) => {
                evidence.ldap = Some(Box::new(parser.evidence().clone()));
                parser.client()
            }
            Active::Syslog(parser) => {
                evidence.syslog = Some(*parser.evidence());
                parser.client()
            }
            Active::Probing | Active::Over => None,
        };
        evidence.client = evidence.client.or(client);
    }
}

enum Found {
    Yes(Active),
    Unsure,
    No,
}

/// Which recogniser these first bytes belong to; behind the prologue of a protocol in clear, TLS alone.
fn probe(bytes: &[u8], from_start: bool, behind_prologue: bool) -> Found {
    let mut unsure = false;
    let mut certain = |probe: Probe| {
        unsure |= probe == Probe::Unsure;
        probe == Probe::Certain
    };
    if certain(tls::probe(bytes)) {
        return Found::Yes(Active::Tls(Box::new(tls::Parser::new())));
    }
    if !behind_prologue {
        if certain(http2::probe(bytes)) {
            return Found::Yes(Active::Http2(Box::new(http2::Parser::new())));
        }
        if certain(nats::probe(bytes)) {
            return Found::Yes(Active::Nats(Box::new(nats::Parser::new())));
        }
        if certain(http1::probe(bytes)) {
            return Found::Yes(Active::Http1(Box::new(http1::Parser::new())));
        }
        if certain(dns::probe(bytes)) {
            return Found::Yes(Active::Dns(Box::new(dns::Parser::new())));
        }
        if certain(mysql::probe(bytes)) {
            return Found::Yes(Active::Mysql(Box::new(mysql::Parser::new())));
        }
        if certain(ssh::probe(bytes)) {
            return Found::Yes(Active::Ssh(Box::new(ssh::Parser::new())));
        }
        if certain(ldap::probe(bytes)) {
            return Found::Yes(Active::Ldap(Box::new(ldap::Parser::new())));
        }
        let syslog = if from_start { syslog::probe(bytes) } else { syslog::probe_midstream(bytes) };
        if certain(syslog) {
            return Found::Yes(Active::Syslog(Box::new(syslog::Parser::new())));
        }
    }
    if !from_start && certain(tls::probe_midstream(bytes)) {
        return Found::Yes(Active::Tls(Box::new(tls::Parser::new())));
    }
    if unsure { Found::Unsure } else { Found::No }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: Side = Side::A;
    const SERVER: Side = Side::B;
    const GREETING: &[u8] = b"\x2f\0\0\0\x0a8.0.36\0\x08\0\0\0aaaaaaaa\0\xff\xff\x21\x02\0\xf7\xdf\x15\
        \0\0\0\0\0\0\0\0\0\0bbbbbbbb";
    const SSL_REQUEST: &[u8] =
        b"\x20\0\0\x01\x05\xae\x0f\0\0\0\0\x01\x21\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    const START_TLS: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";
    const GRANTED: &[u8] = b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\0\x04\0\x04\0";

    /// A TLS 1.2 ClientHello with one cipher suite (RFC 5246 section 7.4.1.2), or the ServerHello to it.
    fn hello(kind: u8) -> Vec<u8> {
        let suite: &[u8] = if kind == 1 { &[0, 2, 0xc0, 0x2f, 1, 0] } else { &[0xc0, 0x2f, 0] };
        let body = [&[3, 3][..], &[7; 32], &[0], suite].concat();
        let length = u8::try_from(body.len()).unwrap();
        [&[22, 3, 1, 0, length + 4, kind, 0, 0, length], &body[..]].concat()
    }

    /// Lends each piece once, as streams do when readers use all of it.
    fn speak(pieces: &[(Side, &[u8])]) -> Conversation {
        let mut conversation = Conversation::default();
        conversation.begins();
        for (side, piece) in pieces {
            let mut rest = *piece;
            while !rest.is_empty() {
                match conversation.read(*side, rest, 0) {
                    Step::More { used } if used > 0 => rest = &rest[used..],
                    Step::More { .. } | Step::Skip { .. } | Step::Done => break,
                    step => panic!("{step:?} is the conversation's own"),
                }
            }
        }
        conversation
    }

    #[test]
    fn mysql_goes_on_in_tls_on_both_sides() {
        let both = [SSL_REQUEST, &hello(1)].concat();
        let conversation = speak(&[(SERVER, GREETING), (CLIENT, &both), (SERVER, &hello(2))]);
        let evidence = conversation.finish();
        assert!(evidence.mysql.is_some_and(|mysql| mysql.upgraded && mysql.server_version.is_some()));
        let tls = evidence.tls.expect("a hello was sent");
        assert_eq!((tls.client(), tls.cipher()), (Some(CLIENT), Some(0xc02f)));
        assert_eq!(evidence.client, Some(CLIENT));
    }

    #[test]
    fn ldap_goes_on_in_tls_on_both_sides() {
        let (one, other) = (hello(1), hello(2));
        let pieces = [(CLIENT, START_TLS), (SERVER, GRANTED), (CLIENT, &one[..]), (SERVER, &other)];
        let evidence = speak(&pieces).finish();
        assert!(evidence.ldap.is_some_and(|ldap| ldap.upgraded));
        let tls = evidence.tls.expect("a hello was sent");
        assert_eq!((tls.client(), tls.cipher()), (Some(CLIENT), Some(0xc02f)));
    }

    #[test]
    fn tls_that_was_agreed_on_and_not_captured_is_unseen() {
        let evidence = speak(&[(SERVER, GREETING), (CLIENT, SSL_REQUEST)]).finish();
        let tls = evidence.tls.expect("it went on in TLS");
        assert!(matches!(tls.outcome(), tls::Outcome::Unseen(_)));
        assert!(matches!(tls.authentication(), tls::Authentication::Unseen(_)));
    }

    #[test]
    fn behind_a_prologue_nothing_but_tls_is_believed() {
        let evidence =
            speak(&[(SERVER, GREETING), (CLIENT, SSL_REQUEST), (CLIENT, b"GET / HTTP/1.1\r\n\r\n")]).finish();
        assert!(evidence.http1.is_none() && evidence.mysql.is_some());
    }

    #[test]
    fn requests_behind_an_answer_of_another_protocol_are_said_to_be_unread() {
        let request = b"GET / HTTP/1.1\r\nAuthorization: Bearer x\r\n\r\n";
        let evidence = speak(&[(CLIENT, request), (SERVER, b"\0\0none"), (CLIENT, request)]).finish();
        assert!(evidence.broken);
        let requests = evidence.http1.expect("a request was sent").requests;
        assert_eq!((requests.bearer, requests.unread), (1, true));
    }

    #[test]
    fn a_body_begun_before_the_capture_does_not_end_reading() {
        let request = b"GET / HTTP/1.1\r\n\r\n";
        let mut conversation = Conversation::default();
        conversation.read(CLIENT, request, 0);
        assert_eq!(conversation.read(SERVER, b"the end of a body", 0), Step::More { used: 17 });
        conversation.read(CLIENT, request, 0);
        conversation.read(SERVER, b"HTTP/1.1 404 Not Found\r\n\r\n", 0);
        let evidence = conversation.finish();
        assert!(!evidence.broken);
        let requests = evidence.http1.expect("requests were sent").requests;
        assert_eq!((requests.read, requests.status_404, requests.unread), (2, 1, false));
    }

    #[test]
    fn datagrams_are_dns_or_syslog() {
        let mut conversation = Conversation::default();
        assert!(!conversation.datagram(SERVER, b"<13>Sep 12 19:16:12 logger: test", false));
        let evidence = conversation.finish();
        assert_eq!((evidence.syslog.map(|syslog| syslog.messages), evidence.client), (Some(1), Some(SERVER)));
    }
}
