//! One flow's bytes, handed to the recogniser they belong to.
//!
//! The first bytes of either side are probed by every recogniser; the one that is certain gets the flow.
//! A protocol may hand over to another: NATS, MySQL and LDAP to TLS, HTTP/1 to HTTP/2 after an upgrade, a proxy
//! to whatever its client speaks.

use std::sync::Arc;

use super::recognise::{Found, recognise, recognise_datagram};
use super::talk::{Common, State};
use super::tls::{self, KeyStore};
use super::{Address, Evidence, Side, Step, http2};
use crate::packet::{Allowance, Gap};

/// The state of one flow's recognition.
#[derive(Debug, Default)]
pub struct Conversation {
    state: State,
}

/// How many lends (about segments) of one side are probed when a flow's beginning is not in the capture:
/// a request or a record may well start in one of the next.
const MIDSTREAM_TRIES: u8 = 16;
/// How many datagrams of one side are probed.
const DATAGRAM_TRIES: u8 = 4;
/// What records inside TLS may cost that were held back until a gap or the end.
pub(super) const HELD_BACK: Allowance = Allowance::of_packets(64);
/// First bytes that no recogniser is sure of are kept up to this many; then they are unrecognised. The longest
/// request line (`http1::head::LINE_CAP`) is within it, and further bytes are not looked at, however they were
/// cut into segments.
const UNSURE_BYTES: usize = 16 * 1024;

impl Conversation {
    /// A conversation whose TLS these keys may open.
    pub fn with_keys(keys: Arc<KeyStore>) -> Conversation {
        Conversation { state: State::Quiet(Common { keys: Some(keys), ..Common::default() }) }
    }

    /// The flow's beginning is in the capture.
    pub fn begins(&mut self) {
        // Nobody counts what it keeps after this, so that it is not to wake; where it rests, it began.
        if !self.state.is_resting() {
            self.state.common().from_start = true;
        }
    }

    /// It reads soon: what it keeps is asked for.
    pub fn expect(&self) {
        self.state.expect();
    }

    /// It is over soon: what is so many pointers (from 1) behind what it keeps is asked for.
    pub fn expect_behind(&self, pointers: u8) {
        self.state.expect_behind(pointers);
    }

    /// Behind how many pointers there is something.
    pub fn deepest(&self) -> u8 {
        self.state.deepest()
    }

    /// Reads the next bytes of one side of a stream, as far as the allowance goes; `at` is packet time in nanoseconds.
    pub fn read(&mut self, side: Side, bytes: &[u8], at: i64, allowance: &mut Allowance) -> Step {
        let step = match &mut self.state {
            State::Quiet(_) | State::Left(_) => return self.probe(side, bytes, at, allowance),
            State::Tls(talk) => {
                talk.common.spoke[side.index()] = true;
                talk.parser.parser.advance(side, bytes, at, &mut talk.parser.inside.within(allowance))
            }
            State::Http1(talk) => talk.parser.advance(side, bytes),
            State::Http2(talk) => talk.parser.advance(side, bytes, allowance),
            State::Nats(talk) => talk.parser.advance(side, bytes),
            State::Dns(talk) => talk.parser.advance(side, bytes),
            State::Mysql(talk) => talk.parser.advance(side, bytes),
            State::Ssh(talk) => talk.parser.advance(side, bytes),
            State::Ldap(talk) => talk.parser.advance(side, bytes),
            State::Syslog(talk) => talk.parser.advance(side, bytes),
            State::Proxy(talk) => talk.parser.advance(side, bytes),
            State::RestingTls(_) | State::RestingHttp1(_) => {
                self.state.wake();
                return self.read(side, bytes, at, allowance);
            }
        };
        self.state.common().spoke[side.index()] = true;
        match step {
            Step::Switch { used } => {
                let upgraded = match &self.state {
                    State::Http1(talk) if talk.parser.evidence().h2c_accepted => {
                        let client = talk.parser.client();
                        client.map(|client| http2::Parser::upgraded(client, talk.parser.evidence()))
                    }
                    _ => None,
                };
                let mut left = std::mem::take(&mut self.state).leave();
                // What follows the switch is a beginning again.
                left.common.from_start = true;
                self.state = match upgraded {
                    Some(parser) => State::Http2(left.into(parser)),
                    None => State::Left(Box::new(left)),
                };
                // Nothing used means that these bytes are that beginning: nobody lends them again before
                // more of them come, and that may be never. A parser that is new uses something first.
                if used == 0 { self.read(side, bytes, at, allowance) } else { Step::More { used } }
            }
            Step::Broken => {
                let mut left = std::mem::take(&mut self.state).leave();
                left.common.over = true;
                let past = left.past.get_or_insert_default();
                past.broken = true;
                // The client may go on with requests all the same, and they are not read.
                let http1 = past.http1.as_mut().map(|http1| &mut http1.requests);
                let http2 = past.http2.as_mut().map(|http2| &mut http2.requests);
                for requests in http1.into_iter().chain(http2) {
                    requests.unread = true;
                }
                self.state = State::Left(Box::new(left));
                Step::Done
            }
            step => step,
        }
    }

    /// `covered` bytes of one side are not lent, the first of them those that were lent and not used. Says
    /// how many after these do not matter either.
    pub fn gap(&mut self, side: Side, cause: Gap, covered: u64) -> u64 {
        if self.state.is_resting() {
            self.state.wake();
        }
        if let State::Tls(talk) = &mut self.state {
            let mut allowance = HELD_BACK;
            let rest = talk.parser.parser.gap(side, covered, &mut talk.parser.inside.within(&mut allowance));
            if let Some(rest) = rest {
                // All that is missing is inside a record, as without keys.
                return rest;
            }
        }
        self.state.common().gap.get_or_insert(cause);
        match &mut self.state {
            State::Quiet(common) => common.from_start = false,
            State::Left(talk) => talk.common.from_start = false,
            State::Tls(_) | State::RestingTls(_) | State::RestingHttp1(_) => {}
            State::Http1(talk) => talk.parser.gap(side),
            State::Http2(talk) => talk.parser.gap(side),
            State::Nats(talk) => talk.parser.gap(side),
            State::Dns(talk) => talk.parser.gap(side),
            State::Mysql(talk) => talk.parser.gap(side),
            State::Ssh(talk) => talk.parser.gap(side),
            State::Ldap(talk) => talk.parser.gap(side),
            State::Syslog(talk) => talk.parser.gap(side),
            State::Proxy(talk) => talk.parser.gap(side),
        }
        0
    }

    /// Bytes on the heap, but for [`Conversation::chains`] and [`Conversation::alike`]. Changes with what is read, with
    /// gaps and with what is taken only.
    pub fn held(&self) -> usize {
        self.state.held()
    }

    /// The certificate chains it keeps, which it may have in common with others.
    pub fn chains(&self) -> [Option<&tls::Chain>; 2] {
        let tls = match &self.state {
            State::Tls(talk) => Some(talk.parser.parser.evidence()),
            State::Left(talk) => talk.past.as_ref().and_then(|past| past.tls.as_deref()),
            _ => None,
        };
        if let State::RestingTls(resting) = &self.state {
            return resting.chains();
        }
        tls.map_or([None; 2], tls::Evidence::chains)
    }

    /// At rest, what it may have in common with others: a number that stands for all of it, and its bytes.
    pub fn alike(&self) -> Option<(u64, usize)> {
        match &self.state {
            State::RestingTls(resting) => Some(resting.alike()),
            State::RestingHttp1(resting) => Some(resting.alike()),
            _ => None,
        }
    }

    /// Nothing comes for a while: takes less room until it does.
    pub fn rest(&mut self) {
        self.state.rest();
    }

    /// There is no room for it: forgets what it saw, and wants nothing more.
    pub fn let_go(&mut self) {
        let Common { from_start, spoke, .. } = *self.state.common();
        let common = Common { from_start, spoke, over: true, gap: Some(Gap::Cap), ..Common::default() };
        self.state = State::Quiet(common);
    }

    /// What TLS showed so far, if TLS is what is spoken now.
    pub fn tls(&self) -> Option<&tls::Evidence> {
        match &self.state {
            State::Tls(talk) => Some(talk.parser.parser.evidence()),
            _ => None,
        }
    }

    /// Whether TLS came to show what connections that resume it need; says so once.
    pub fn has_news(&mut self) -> bool {
        match &mut self.state {
            State::Tls(talk) => talk.parser.watch.has_news(talk.parser.parser.evidence()),
            _ => false,
        }
    }

    /// One side closed its direction, or reset the connection.
    pub fn closed(&mut self, side: Side, reset: bool, at: i64) {
        if let State::RestingTls(_) = &self.state {
            self.state.wake();
        }
        if let State::Tls(talk) = &mut self.state {
            talk.parser.parser.closed(side, reset, at);
        }
    }

    /// Reads one datagram; says whether more are wanted.
    pub fn datagram(&mut self, side: Side, bytes: &[u8], cut: bool) -> bool {
        let common = self.state.common();
        common.spoke[side.index()] = true;
        if common.over {
            return false;
        }
        if let State::Quiet(common) = &mut self.state {
            if cut {
                common.gap.get_or_insert(Gap::Snaplen);
            }
            match recognise_datagram(bytes) {
                Some(protocol) => self.state.begin(protocol),
                None => {
                    let misses = &mut common.misses[side.index()];
                    *misses += 1;
                    let more = *misses < DATAGRAM_TRIES;
                    if !more {
                        common.unrecognised = common.gap.is_none();
                        common.over = true;
                    }
                    return more;
                }
            }
        }
        let step = match &mut self.state {
            State::Dns(talk) => talk.parser.datagram(side, bytes),
            State::Syslog(talk) => talk.parser.datagram(side, bytes),
            _ => Step::Done,
        };
        step != Step::Done
    }

    /// Whether there are any for [`Conversation::take_addresses`].
    pub fn has_addresses(&self) -> bool {
        matches!(&self.state, State::Dns(talk) if talk.parser.has_addresses())
    }

    /// Addresses that DNS answers gave names to since this was last asked. They are not held any more.
    pub fn take_addresses(&mut self) -> Vec<Address> {
        match &mut self.state {
            State::Dns(talk) => talk.parser.take_addresses(),
            _ => Vec::new(),
        }
    }

    /// Everything that was seen so far, of a flow that goes on.
    pub fn so_far(&self) -> Evidence {
        let (common, mut evidence) = self.state.so_far();
        evidence.unrecognised = common.unrecognised;
        evidence.spoke = common.spoke;
        evidence.gap = common.gap;
        evidence
    }

    /// The flow is over: everything that was seen.
    pub fn finish(self) -> Evidence {
        let probing = matches!(self.state, State::Quiet(_) | State::Left(_));
        let (common, mut evidence) = self.state.finish();
        let missed = probing && !common.over && common.misses != [0, 0] && common.gap.is_none();
        evidence.unrecognised = common.unrecognised || missed;
        evidence.spoke = common.spoke;
        evidence.gap = common.gap;
        if evidence.tls.is_none() && evidence.went_on_in_tls() {
            // Nothing of it was captured: that is unseen TLS, and not a flow without.
            evidence.tls = Some(tls::Parser::new().into_evidence(None));
        }
        evidence
    }

    fn probe(&mut self, side: Side, bytes: &[u8], at: i64, allowance: &mut Allowance) -> Step {
        let behind_prologue = match &self.state {
            State::Left(talk) => talk.past.as_ref().is_some_and(|past| past.has_prologue()),
            _ => false,
        };
        let common = self.state.common();
        common.spoke[side.index()] = true;
        if common.over {
            return Step::Done;
        }
        let from_start = common.from_start;
        let first = if from_start { bytes.get(..UNSURE_BYTES).unwrap_or(bytes) } else { bytes };
        match recognise(first, from_start, behind_prologue) {
            Found::Yes(protocol) => {
                self.state.begin(protocol);
                if let (State::Http1(talk), false) = (&mut self.state, from_start) {
                    talk.parser.joins(side.other());
                }
                self.read(side, bytes, at, allowance)
            }
            Found::Unsure if bytes.len() < UNSURE_BYTES => Step::More { used: 0 },
            Found::Unsure | Found::No => {
                let misses = &mut common.misses[side.index()];
                *misses = misses.saturating_add(1);
                if from_start || *misses >= MIDSTREAM_TRIES {
                    common.unrecognised = from_start;
                    return Step::Done;
                }
                Step::More { used: bytes.len() }
            }
        }
    }
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
                match conversation.read(*side, rest, 0, &mut Allowance::new()) {
                    Step::More { used } if used > 0 => rest = &rest[used..],
                    Step::More { .. } | Step::Skip { .. } | Step::Done => break,
                    step => panic!("{step:?} is the conversation's own"),
                }
            }
        }
        conversation
    }

    #[test]
    fn a_flow_that_nothing_was_recognised_in_costs_two_words() {
        assert!(size_of::<Conversation>() <= 2 * size_of::<usize>());
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
    fn a_hello_that_nothing_follows_is_read_behind_a_prologue() {
        for prologue in
            [[(SERVER, GREETING), (CLIENT, SSL_REQUEST)], [(CLIENT, START_TLS), (SERVER, GRANTED)]]
        {
            let mut conversation = speak(&prologue);
            conversation.read(CLIENT, &hello(1), 0, &mut Allowance::new());
            let tls = conversation.finish().tls.expect("a hello was sent");
            assert!(tls.client_hello().is_some());
        }
    }

    #[test]
    fn a_long_request_line_is_recognised_in_any_pieces() {
        let line = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(8000));
        for size in [1000, 4096, line.len()] {
            let mut conversation = Conversation::default();
            conversation.begins();
            let mut kept = 0;
            for end in (size..line.len()).step_by(size).chain([line.len()]) {
                if let Step::More { used } =
                    conversation.read(CLIENT, &line.as_bytes()[kept..end], 0, &mut Allowance::new())
                {
                    kept += used;
                }
            }
            let evidence = conversation.finish();
            assert!(evidence.http1.is_some_and(|http| http.requests.read == 1), "{size}");
        }
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
        conversation.read(CLIENT, request, 0, &mut Allowance::new());
        assert_eq!(
            conversation.read(SERVER, b"the end of a body", 0, &mut Allowance::new()),
            Step::More { used: 17 }
        );
        conversation.read(CLIENT, request, 0, &mut Allowance::new());
        conversation.read(SERVER, b"HTTP/1.1 404 Not Found\r\n\r\n", 0, &mut Allowance::new());
        let evidence = conversation.finish();
        assert!(!evidence.broken);
        let requests = evidence.http1.expect("requests were sent").requests;
        assert_eq!((requests.read, requests.status_404, requests.unread), (2, 1, false));
    }

    #[test]
    fn what_was_seen_so_far_is_what_an_end_there_would_show() {
        let (one, other) = (hello(1), hello(2));
        let spoken: [&[(Side, &[u8])]; 4] = [
            &[(CLIENT, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")],
            &[(SERVER, GREETING), (CLIENT, SSL_REQUEST)],
            &[(CLIENT, START_TLS), (SERVER, GRANTED), (CLIENT, &one), (SERVER, &other)],
            &[(SERVER, b"INFO {}\r\n"), (CLIENT, b"CONNECT {\"user\":\"a\",\"pass\":\"b\"}\r\n")],
        ];
        for pieces in spoken {
            let conversation = speak(pieces);
            let so_far = conversation.so_far();
            let again = conversation.so_far();
            assert_eq!(format!("{so_far:?}"), format!("{again:?}"), "looking changes nothing");
            let mut end = conversation.finish();
            let told =
                |tls: &tls::Evidence| (tls.client(), tls.outcome(), tls.authentication(), tls.cipher());
            if let Some(tls) = &so_far.tls {
                assert_eq!(end.tls.as_deref().map(told), Some(told(tls)));
            }
            // An end tells more: TLS that was agreed on does not come any more.
            end.tls.clone_from(&so_far.tls);
            assert_eq!(format!("{so_far:?}"), format!("{end:?}"));
        }
    }

    #[test]
    fn datagrams_are_dns_or_syslog() {
        let mut conversation = Conversation::default();
        assert!(!conversation.datagram(SERVER, b"<13>Sep 12 19:16:12 logger: test", false));
        let evidence = conversation.finish();
        assert_eq!((evidence.syslog.map(|syslog| syslog.messages), evidence.client), (Some(1), Some(SERVER)));
    }
}
