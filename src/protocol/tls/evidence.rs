//! What one TLS connection showed, and the questions the rest of the program asks of it.
//!
//! The parser only records facts; every answer is worked out when it is asked for, off the hot path.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::{Arc, LazyLock};

use foldhash::fast::RandomState;

use super::alert::Alert;
use super::answers::{Answers, Questions};
use super::client_hello::ClientHello;
use super::decrypted::{Decrypted, Decryption};
use super::hello::{Opening, ServerHello, Version};
use super::record::Kind;
use super::resume::{Given, Lesson, SessionName};
use super::trace::Trace;
use super::why::Why;
use crate::capture::near;
use crate::protocol::Side;

/// Alerts in clear that are kept.
pub const ALERT_CAP: usize = 8;

/// What carries an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Basis {
    /// Bytes in clear.
    Clear,
    /// Bytes that were encrypted, opened with the session's keys.
    Decrypted,
    /// Lengths and order of encrypted records, which leave one reasonable reading.
    Inferred,
}

impl Basis {
    /// Bytes show it, in clear or decrypted.
    pub fn is_shown(self) -> bool {
        self != Basis::Inferred
    }
}

/// A certificate chain sent in clear or decrypted, as raw DER, leaf first; empty if the message listed none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The certificates, at most [`super::CERTIFICATE_CAP`] and [`super::CHAIN_CAP`] bytes. Connections that
    /// showed the same share them as a rule: the same pointer is the same chain.
    pub certificates: Arc<[Box<[u8]>]>,
    /// Whether these are all that were sent.
    pub complete: bool,
    /// Stands for the certificates.
    id: u64,
}

/// Nobody who sends certificates is to know which share a number.
static CHAIN_SEED: LazyLock<RandomState> = LazyLock::new(RandomState::default);

impl Hash for Chain {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl Chain {
    pub(super) fn new(certificates: Vec<Box<[u8]>>, complete: bool) -> Chain {
        Chain {
            id: CHAIN_SEED.hash_one((&certificates, complete)),
            certificates: certificates.into(),
            complete,
        }
    }

    /// Tells it from all other chains of this run.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Bytes it takes on the heap.
    pub fn held(&self) -> usize {
        size_of::<Chain>() + self.certificates.iter().map(|der| size_of_val(der) + der.len()).sum::<usize>()
    }
}

/// The application protocols a client offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer<'a> {
    /// No ClientHello was read.
    Unseen(Why),
    /// It offered none.
    None,
    /// It offered these, raw, in its order.
    List(&'a [Box<[u8]>]),
}

/// The application protocol the server chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpn<'a> {
    /// This one, raw.
    Chosen(&'a [u8], Basis),
    /// None.
    None(Basis),
    /// It cannot be told.
    Unseen(Why),
}

/// What the client showed of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientCertificate<'a> {
    /// A certificate and a CertificateVerify.
    Presented {
        /// What carries that.
        basis: Basis,
        /// The chain, when it was sent in clear (TLS 1.2 and before) or decrypted.
        chain: Option<&'a Chain>,
        /// It was asked for and presented after the handshake (RFC 8446 section 4.6.2).
        post_handshake: bool,
    },
    /// It was asked, and presented an empty list.
    Empty(Basis),
    /// It was not asked, and presented nothing.
    None(Basis),
    /// It cannot be told.
    Unseen(Why),
}

/// How the handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Both sides went on: a certificate that was presented was accepted.
    Accepted(Basis),
    /// One side ended it before it was complete, by an alert or by closing.
    Refused {
        /// Who.
        by: Side,
        /// The alert's description, when it was in clear or decrypted.
        alert: Option<u8>,
        /// What carries that.
        basis: Basis,
    },
    /// It cannot be told.
    Unseen(Why),
}

/// Certificate and outcome together: who proved what to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Authentication {
    /// The client presented a certificate, and the server went on.
    Mutual(Basis),
    /// The client presented none.
    OneWay(Basis),
    /// The client was asked, presented an empty list, and the server went on.
    Empty(Basis),
    /// The handshake was refused or broken off.
    Refused(Basis),
    /// The session was resumed; an earlier connection settled it.
    Resumed,
    /// It cannot be told.
    Unseen(Why),
}

/// The evidence of one TLS connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Evidence {
    pub(super) client: Option<Side>,
    pub(super) client_hello: Option<ClientHello>,
    pub(super) server_hello: Option<ServerHello>,
    /// Bytes on the heap, when they were counted last; see [`Evidence::weigh`].
    weight: u32,
    pub(super) hello_retry: bool,
    /// Early data was offered by any ClientHello, also the one before a HelloRetryRequest.
    pub(super) early_data: bool,
    pub(super) chains: [Option<Arc<Chain>>; 2],
    pub(super) certificate_request: bool,
    pub(super) certificate_verify: bool,
    pub(super) client_key_exchange: bool,
    pub(super) server_hello_done: bool,
    pub(super) curve: Option<u16>,
    pub(super) finite_field: Option<u32>,
    pub(super) ticket: Option<u32>,
    pub(super) session_ticket: Option<SessionName>,
    /// Whether both hellos carry one session identifier, once these are gone.
    echoes_session: bool,
    pub(super) alerts: Vec<Alert>,
    pub(super) midstream: bool,
    pub(super) malformed: bool,
    pub(super) trace: Trace,
    /// What keys opened; none were given otherwise.
    pub(super) decrypted: Option<Box<Decrypted>>,
    /// Once nothing more is to come.
    pub(super) answers: Option<Box<Answers>>,
    /// What was told to those who learn from it while it went on.
    pub(super) told: Option<Lesson>,
}

impl Evidence {
    /// It is asked for answers soon: the records they rest on are asked of memory.
    pub(in crate::protocol) fn expect(&self) {
        for side in [Side::A, Side::B] {
            self.trace.side(side).records.first().into_iter().for_each(near);
        }
    }

    /// The side that sent the ClientHello, or did not send the ServerHello.
    pub fn client(&self) -> Option<Side> {
        self.client
    }

    /// The negotiated version.
    pub fn version(&self) -> Option<Version> {
        self.server_hello.as_ref()?.version
    }

    /// The highest version the client offered.
    pub fn offered_max(&self) -> Option<Version> {
        self.client_hello.as_ref()?.max_version
    }

    /// The negotiated cipher suite; see [`super::cipher_name`] and [`super::classify`].
    pub fn cipher(&self) -> Option<u16> {
        self.server_hello.as_ref().map(|hello| hello.cipher)
    }

    /// The group of the key exchange: of `key_share` in TLS 1.3, of ServerKeyExchange before.
    pub fn group(&self) -> Option<u16> {
        self.server_hello.as_ref()?.key_share.or(self.curve)
    }

    /// The host name the client asked for, raw: hostile until escaped.
    pub fn server_name(&self) -> Option<&[u8]> {
        self.client_hello.as_ref()?.server_name.as_deref()
    }

    /// All that the client offered (of its second hello, after a HelloRetryRequest).
    pub fn client_hello(&self) -> Option<&ClientHello> {
        self.client_hello.as_ref()
    }

    /// All that the server chose.
    pub fn server_hello(&self) -> Option<&ServerHello> {
        self.server_hello.as_ref()
    }

    /// The application protocols the client offered.
    pub fn alpn_offered(&self) -> Offer<'_> {
        match &self.client_hello {
            None => Offer::Unseen(self.why_no_hello(self.client)),
            Some(hello) => hello.alpn.as_deref().map_or(Offer::None, Offer::List),
        }
    }

    /// The application protocol the server chose.
    pub fn alpn(&self) -> Alpn<'_> {
        let known = self.answers().and_then(|answers| answers.alpn(self));
        known.unwrap_or_else(|| Questions::of(self).alpn())
    }

    /// What the client showed of itself.
    pub fn client_certificate(&self) -> ClientCertificate<'_> {
        if let Some(answers) = self.answers() {
            return answers.certificate(self);
        }
        Questions::of(self).certificate()
    }

    /// The server's chain, in clear up to TLS 1.2, or decrypted.
    pub fn server_chain(&self) -> Option<&Chain> {
        self.chain(self.client?.other())
    }

    /// Whether the server asked for a certificate during the handshake; `None` if it cannot be told.
    pub fn certificate_requested(&self) -> Option<bool> {
        if let Some(answers) = self.answers() {
            return answers.requested;
        }
        Questions::of(self).certificate_requested()
    }

    /// Whether an earlier session was resumed (in TLS 1.3, or a pre-shared key used); `None` if it cannot be told.
    pub fn resumed(&self) -> Option<bool> {
        if let Some(answers) = self.answers() {
            return answers.resumed;
        }
        Questions::of(self).resumed()
    }

    /// How the handshake ended.
    pub fn outcome(&self) -> Outcome {
        if let Some(answers) = self.answers() {
            return answers.outcome;
        }
        Questions::of(self).outcome()
    }

    /// Certificate and outcome taken together.
    ///
    /// A client that presents nothing in TLS 1.3 is one-way whatever follows: its Finished was seen.
    pub fn authentication(&self) -> Authentication {
        Questions::of(self).authentication()
    }

    /// The same, and what it gave its client to resume it by: cheaper than to ask for one after the other.
    pub fn authentication_and_given(&self) -> (Authentication, Option<Given>) {
        let questions = Questions::of(self);
        (questions.authentication(), questions.given())
    }

    /// What this connection gave its client to resume it by; `None` before anything could be.
    pub fn given(&self) -> Option<Given> {
        Questions::of(self).given()
    }

    /// The first [`ALERT_CAP`] alerts sent in clear.
    pub fn alerts(&self) -> &[Alert] {
        &self.alerts
    }

    /// The first [`ALERT_CAP`] alerts that were decrypted.
    pub fn decrypted_alerts(&self) -> &[Alert] {
        self.decrypted.as_ref().map_or(&[], |decrypted| &decrypted.alerts)
    }

    /// How far the keys given went; `None` if none were, or nothing was encrypted.
    pub fn decryption(&self) -> Option<Decryption> {
        self.decrypted.as_ref()?.decryption()
    }

    /// Length of the NewSessionTicket message sent in clear (TLS 1.2, RFC 5077), bytes.
    pub fn ticket_length(&self) -> Option<u32> {
        self.ticket
    }

    /// One side's first bytes were not the beginning of a connection.
    pub fn midstream(&self) -> bool {
        self.midstream
    }

    /// The server asked for a second ClientHello.
    pub fn hello_retry(&self) -> bool {
        self.hello_retry
    }

    /// A handshake message was malformed or over the cap, and is not in the evidence.
    pub fn malformed(&self) -> bool {
        self.malformed
    }

    /// Handshake messages followed application data: the connection was renegotiated (TLS 1.2 and before).
    pub fn renegotiated(&self) -> bool {
        if let Some(answers) = self.answers() {
            return answers.renegotiated;
        }
        Questions::of(self).renegotiated()
    }

    /// The chains that the sides showed in clear.
    pub fn chains(&self) -> [Option<&Chain>; 2] {
        self.chains.each_ref().map(Option::as_deref)
    }

    /// Bytes on the heap, but for those chains.
    pub fn held(&self) -> usize {
        debug_assert_eq!(self.weight, self.counted());
        self.weight as usize
    }

    /// Counts what it keeps on the heap, whenever that changed: it is asked for far more often.
    pub(super) fn weigh(&mut self) {
        self.weight = self.counted();
    }

    fn counted(&self) -> u32 {
        let Evidence { client_hello, server_hello, chains, alerts, trace, decrypted, answers, .. } = self;
        // That a chain is kept shows, though it is counted elsewhere.
        let chains = chains.iter().flatten().map(size_of_val).sum::<usize>();
        let counted = client_hello.as_ref().map_or(0, ClientHello::held)
            + server_hello.as_ref().map_or(0, ServerHello::held)
            + chains
            + size_of::<Alert>() * alerts.capacity()
            + trace.held()
            + decrypted.as_deref().map_or(0, |decrypted| size_of_val(decrypted) + decrypted.held())
            + answers.as_deref().map_or(0, size_of_val);
        u32::try_from(counted).unwrap_or(u32::MAX)
    }

    /// Both hellos carry the same session identifier.
    pub(super) fn echoes_session(&self) -> bool {
        let opening = |hello: Option<&Option<Box<Opening>>>| Some(hello?.as_ref()?.session_id);
        let client = opening(self.client_hello.as_ref().map(|hello| &hello.opening));
        let server = opening(self.server_hello.as_ref().map(|hello| &hello.opening));
        self.echoes_session || (client.is_some() && client == server)
    }

    /// No hello is to come, and no key: what only serves these is let go.
    pub(super) fn forget_openings(&mut self) {
        self.echoes_session = self.echoes_session();
        if let Some(hello) = &mut self.client_hello {
            hello.opening = None;
        }
        if let Some(hello) = &mut self.server_hello {
            hello.opening = None;
        }
        self.weigh();
    }

    pub(super) fn keep_client_hello(&mut self, hello: ClientHello) {
        self.client_hello = Some(hello);
        self.weigh();
    }

    pub(super) fn keep_server_hello(&mut self, hello: ServerHello) {
        self.server_hello = Some(hello);
        self.weigh();
    }

    /// Keeps an alert in clear, of the first [`ALERT_CAP`].
    pub(super) fn keep_alert(&mut self, alert: Alert) {
        if self.alerts.len() < ALERT_CAP {
            self.alerts.push(alert);
            self.weigh();
        }
    }

    /// Keeps the header of a record; see [`Trace::push`].
    #[inline]
    pub(super) fn keep_record(&mut self, side: Side, kind: Kind, length: u16, at: i64) {
        if self.trace.push(side, kind, length, at) {
            self.weigh();
        }
    }

    /// Nothing more is to come: works out the answers, once for all who ask.
    pub(super) fn conclude(&mut self) {
        if self.answers.is_none() {
            self.answers = Some(Box::new(Answers::of(self)));
            self.weigh();
        }
    }

    /// Nothing more is to come but that the sides close. Where even that can change no answer, they are
    /// worked out and the record headers let go.
    pub(super) fn conclude_but_for_closes(&mut self) {
        let answers = Answers::of(self);
        // A close is the more telling the sooner it comes.
        let indifferent = [Side::A, Side::B].into_iter().all(|first| {
            let mut closed = self.clone();
            closed.trace.close_now(first);
            closed.trace.close_now(first.other());
            Answers::of(&closed) == answers
        });
        if indifferent {
            self.answers = Some(Box::new(answers));
            self.trace.forget_records();
            self.weigh();
        }
    }

    /// What was worked out when nothing more was to come.
    pub(super) fn answers(&self) -> Option<&Answers> {
        self.answers.as_deref()
    }

    /// The record headers, for the rules that read lengths.
    pub(super) fn trace(&self) -> &Trace {
        &self.trace
    }

    pub(super) fn chain(&self, side: Side) -> Option<&Chain> {
        let [a, b] = &self.chains;
        match side {
            Side::A => a.as_deref(),
            Side::B => b.as_deref(),
        }
    }

    /// Keeps the first chain that `side` sent.
    pub(super) fn keep_chain(&mut self, side: Side, chain: Arc<Chain>) {
        if let Some(slot) = self.chains.get_mut(side.index()) {
            slot.get_or_insert(chain);
        }
        self.weigh();
    }

    /// The first fatal alert in clear by `side`.
    pub(super) fn fatal_alert(&self, side: Side) -> Option<u8> {
        self.alerts.iter().find(|alert| alert.side == side && alert.fatal).map(|alert| alert.description)
    }

    /// Why what `side` would have shown is not there.
    pub(super) fn why_missing(&self, side: Side) -> Why {
        let direction = self.trace.side(side);
        if direction.has_hole() {
            Why::Hole
        } else if !direction.seen {
            Why::OneDirection
        } else if self.midstream {
            Why::Midstream
        } else if self.malformed {
            Why::Malformed
        } else {
            Why::NotFinished
        }
    }

    fn why_no_hello(&self, side: Option<Side>) -> Why {
        side.map_or(if self.midstream { Why::Midstream } else { Why::Hole }, |side| self.why_missing(side))
    }

    pub(super) fn why_no_server_hello(&self) -> Why {
        self.why_no_hello(self.client.map(Side::other))
    }

    /// A server that answers a whole ClientHello with an alert, or by closing, has refused.
    pub(super) fn outcome_without_server_hello(&self) -> Outcome {
        let unseen = Outcome::Unseen(self.why_no_server_hello());
        let (Some(client), Some(_)) = (self.client, &self.client_hello) else { return unseen };
        let (ours, theirs) = (self.trace.side(client), self.trace.side(client.other()));
        let refused = |alert| Outcome::Refused { by: client.other(), alert, basis: Basis::Clear };
        if let Some(alert) = self.fatal_alert(client.other()) {
            return refused(Some(alert));
        }
        let closed_first = match (theirs.closed, ours.closed) {
            (Some(server), Some(client)) => server < client,
            (server, _) => server.is_some(),
        };
        let known = self.server_hello.is_none()
            && !theirs.has_hole()
            && theirs.records.is_empty()
            && !ours.has_hole()
            && !self.midstream
            && !self.malformed;
        if closed_first && known { refused(None) } else { unseen }
    }
}
