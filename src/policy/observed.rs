//! What was observed of a flow, in the report's words: what it speaks, how it is secured, and how sure.

use std::fmt;

use super::finding::Missing;
use crate::flow::Ambiguity;
use crate::packet::{Endpoint, Gap, Side};
use crate::protocol::tls::{self, Alpn, Authentication, Outcome};
use crate::protocol::{Evidence, Ldap, Mysql, Nats, NatsAuthentication, Requests};

/// The `application` column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Application {
    /// gRPC, by its content type.
    Grpc,
    /// HTTP/2 whose content type was not seen.
    Http2,
    /// HTTP/1.
    Http1,
    /// WebSocket, its upgrade accepted.
    WebSocket,
    /// An answer of type `text/event-stream`.
    ServerSentEvents,
    /// NATS.
    Nats,
    /// DNS.
    Dns,
    /// MySQL, or MariaDB.
    Mysql,
    /// SSH.
    Ssh,
    /// LDAP.
    Ldap,
    /// Syslog.
    Syslog,
    /// TLS, with what is inside unseen.
    Tls,
    /// Not recognised, or nothing sent.
    Unknown,
}

impl Application {
    /// The word in the report.
    pub fn word(self) -> &'static str {
        match self {
            Application::Grpc => "gRPC over HTTP/2",
            Application::Http2 => "HTTP/2",
            Application::Http1 => "HTTP/1.1",
            Application::WebSocket => "WebSocket",
            Application::ServerSentEvents => "Server-Sent Events",
            Application::Nats => "NATS",
            Application::Dns => "DNS",
            Application::Mysql => "MySQL",
            Application::Ssh => "SSH",
            Application::Ldap => "LDAP",
            Application::Syslog => "syslog",
            Application::Tls => "TLS",
            Application::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The `application_basis` and `security_basis` columns: on what the word beside it rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Basis {
    /// Bytes in clear.
    Clear,
    /// Bytes opened with the session's keys.
    Decrypted,
    /// Lengths, or offers that leave one reading.
    Inferred,
    /// The connection that began the session.
    Inherited,
    /// Nothing that could be seen.
    Unseen,
}

impl From<tls::Basis> for Basis {
    fn from(basis: tls::Basis) -> Basis {
        match basis {
            tls::Basis::Clear => Basis::Clear,
            tls::Basis::Decrypted => Basis::Decrypted,
            tls::Basis::Inferred => Basis::Inferred,
        }
    }
}

impl Basis {
    /// The word in the report.
    pub fn word(self) -> &'static str {
        match self {
            Basis::Clear => "clear",
            Basis::Decrypted => "decrypted",
            Basis::Inferred => "inferred",
            Basis::Inherited => "inherited",
            Basis::Unseen => "unseen",
        }
    }
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What kind of TLS it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsKind {
    /// The client presented a certificate, and the handshake was accepted.
    Mutual,
    /// Only the server authenticated itself.
    Server,
    /// The client was asked and sent an empty certificate.
    EmptyClientCertificate,
    /// Whether the client presented one, or was accepted, is unseen.
    ClientCertificateUnseen,
    /// A resumed session: no certificates on the wire.
    Resumed,
    /// The handshake was refused or failed.
    Refused,
}

/// Credentials seen, in clear or decrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Credential {
    /// A bearer token.
    OAuth,
    /// User and password.
    Basic,
    /// Anything else.
    Other,
}

/// The `security` column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Security {
    /// TLS, if any.
    pub tls: Option<TlsKind>,
    /// Credentials, if any were seen.
    pub credential: Option<Credential>,
}

impl Security {
    /// What the report calls it, in pieces.
    pub fn words(self) -> [&'static str; 3] {
        let tls = self.tls.map(|kind| match kind {
            TlsKind::Mutual => "mutual TLS",
            TlsKind::Server => "TLS",
            TlsKind::EmptyClientCertificate => "TLS (empty client certificate)",
            TlsKind::ClientCertificateUnseen => "TLS (client certificate unseen)",
            TlsKind::Resumed => "TLS (resumed)",
            TlsKind::Refused => "TLS handshake refused",
        });
        let credential = self.credential.map(|credential| match credential {
            Credential::OAuth => "OAuth",
            Credential::Basic => "Basic authentication",
            Credential::Other => "other authentication",
        });
        match (tls, credential) {
            (Some(tls), Some(credential)) => [tls, " + ", credential],
            (Some(one), None) | (None, Some(one)) => [one, "", ""],
            (None, None) => ["none", "", ""],
        }
    }
}

impl fmt::Display for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.words().iter().try_for_each(|word| f.write_str(word))
    }
}

/// What a resumed session takes over from the connection that began it, or resumed it before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inherited {
    /// What that connection showed: mutual, one-way, or an empty client certificate.
    pub kind: TlsKind,
    /// That connection's client.
    pub client: Endpoint,
    /// Its server.
    pub server: Endpoint,
    /// Session identifier or ticket are the same bytes; otherwise the ticket's length is what fits.
    pub named: bool,
}

/// Everything observed of one flow.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The evidence itself.
    pub evidence: Evidence,
    /// What it speaks.
    pub application: Application,
    /// How that is known.
    pub application_basis: Basis,
    /// How it is secured.
    pub security: Security,
    /// How that is known.
    pub security_basis: Basis,
    /// The session was resumed, and this is what began it.
    pub inherited: Option<Box<Inherited>>,
    /// Nothing was sent above the transport.
    pub no_payload: bool,
    /// Why bytes that would tell more are not in the capture.
    pub missing: Option<Missing>,
    /// Its bytes can be read in more than one way.
    pub ambiguity: Option<Ambiguity>,
    /// What `--ca` said of the server's and of the client's chain.
    pub chains: [Option<Result<(), crate::pki::ChainProblem>>; 2],
}

/// What the flow table knows that bears on what could be seen.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// The flow's beginning is in the capture.
    pub from_start: bool,
    /// The flow is of a transport with connections.
    pub connected: bool,
    /// Packets each side sent.
    pub packets: [u64; 2],
    /// Its bytes can be read in more than one way.
    pub ambiguity: Option<Ambiguity>,
}

impl Observed {
    /// Sums up the evidence of one flow.
    pub fn new(evidence: Evidence, circumstances: Circumstances) -> Observed {
        let (application, application_basis) = application(&evidence);
        let (security, security_basis) = security(&evidence, application);
        Observed {
            application,
            application_basis,
            security,
            security_basis,
            inherited: None,
            // What a hole held may have been payload.
            no_payload: evidence.spoke == [false, false] && evidence.gap.is_none(),
            missing: missing(&evidence, circumstances),
            ambiguity: circumstances.ambiguity,
            chains: [None, None],
            evidence,
        }
    }

    /// Takes over what an earlier connection showed, if this one resumed a session and was accepted.
    pub fn inherit(&mut self, inherited: Inherited) {
        let accepted = self.tls().is_some_and(|tls| matches!(tls.outcome(), tls::Outcome::Accepted(_)));
        if accepted && self.security.tls == Some(TlsKind::Resumed) {
            self.security.tls = Some(inherited.kind);
            self.security_basis = Basis::Inherited;
            self.inherited = Some(Box::new(inherited));
        }
    }

    /// The requests read, in clear or decrypted, of whichever HTTP version.
    pub fn requests(&self) -> Option<&Requests> {
        requests(&self.evidence)
    }

    /// NATS evidence; of what is inside TLS, when that was opened.
    pub fn nats(&self) -> Option<&Nats> {
        nats(&self.evidence)
    }

    /// MySQL evidence; of what is inside TLS, when that was opened.
    pub fn mysql(&self) -> Option<&Mysql> {
        mysql(&self.evidence)
    }

    /// LDAP evidence; of what is inside TLS, when that was opened.
    pub fn ldap(&self) -> Option<&Ldap> {
        ldap(&self.evidence)
    }

    /// TLS evidence.
    pub fn tls(&self) -> Option<&tls::Evidence> {
        self.evidence.tls.as_deref()
    }
}

fn requests(evidence: &Evidence) -> Option<&Requests> {
    if let Some(requests) = evidence.inside.as_deref().and_then(requests) {
        return Some(requests);
    }
    match (&evidence.http2, &evidence.http1) {
        (Some(http2), _) => Some(&http2.requests),
        (None, Some(http1)) => Some(&http1.requests),
        (None, None) => None,
    }
}

/// NATS says INFO in clear and the rest inside TLS.
fn nats(evidence: &Evidence) -> Option<&Nats> {
    evidence.inside.as_deref().and_then(nats).or(evidence.nats.as_ref())
}

/// MySQL says its greeting in clear and the login inside TLS.
fn mysql(evidence: &Evidence) -> Option<&Mysql> {
    evidence.inside.as_deref().and_then(mysql).or(evidence.mysql.as_deref())
}

/// LDAP asks for TLS in clear and binds inside.
fn ldap(evidence: &Evidence) -> Option<&Ldap> {
    evidence.inside.as_deref().and_then(ldap).or(evidence.ldap.as_deref())
}

fn application(evidence: &Evidence) -> (Application, Basis) {
    if let Some(decrypted) = evidence.inside.as_deref().and_then(decrypted)
        // What began in clear is known, whatever of the rest could be read.
        && (decrypted != Application::Unknown || !evidence.has_prologue())
    {
        return (decrypted, Basis::Decrypted);
    }
    if let Some(http2) = &evidence.http2 {
        return (if http2.grpc { Application::Grpc } else { Application::Http2 }, Basis::Clear);
    }
    if let Some(http1) = &evidence.http1 {
        let application = match (http1.websocket_accepted, http1.event_stream) {
            (true, _) => Application::WebSocket,
            (false, true) => Application::ServerSentEvents,
            (false, false) => Application::Http1,
        };
        return (application, Basis::Clear);
    }
    if evidence.nats.is_some() {
        return (Application::Nats, Basis::Clear);
    }
    if evidence.dns.is_some() {
        return (Application::Dns, Basis::Clear);
    }
    for (seen, application) in [
        (evidence.mysql.is_some(), Application::Mysql),
        (evidence.ssh.is_some(), Application::Ssh),
        (evidence.ldap.is_some(), Application::Ldap),
        (evidence.syslog.is_some(), Application::Syslog),
    ] {
        if seen {
            return (application, Basis::Clear);
        }
    }
    match &evidence.tls {
        Some(tls) => inside_tls(tls),
        None => (Application::Unknown, Basis::Unseen),
    }
}

/// What decrypted bytes showed to be inside TLS, if they showed it.
fn decrypted(inside: &Evidence) -> Option<Application> {
    match application(inside) {
        (application, Basis::Clear) => Some(application),
        _ if inside.unrecognised && !inside.recognised() => Some(Application::Unknown),
        _ => None,
    }
}

/// What ALPN says of what is inside TLS: never more than an inference, since it is what was agreed and
/// not what was spoken.
fn inside_tls(tls: &tls::Evidence) -> (Application, Basis) {
    match tls.alpn() {
        // Agreed or not, a handshake that failed carried nothing.
        _ if matches!(tls.outcome(), Outcome::Refused { .. }) => (Application::Tls, Basis::Unseen),
        Alpn::Chosen(b"h2", _) => (Application::Http2, Basis::Inferred),
        Alpn::Chosen(b"http/1.1", _) => (Application::Http1, Basis::Inferred),
        _ => (Application::Tls, Basis::Unseen),
    }
}

fn security(evidence: &Evidence, application: Application) -> (Security, Basis) {
    let credential = credential(evidence);
    let Some(tls) = &evidence.tls else {
        let basis = match application {
            Application::Unknown if !evidence.unrecognised => Basis::Unseen,
            _ => Basis::Clear,
        };
        return (Security { tls: None, credential }, basis);
    };
    let (kind, basis) = match tls.authentication() {
        Authentication::Mutual(basis) => (TlsKind::Mutual, basis.into()),
        Authentication::OneWay(basis) => (TlsKind::Server, basis.into()),
        Authentication::Empty(basis) => (TlsKind::EmptyClientCertificate, basis.into()),
        Authentication::Refused(basis) => (TlsKind::Refused, basis.into()),
        Authentication::Resumed => (TlsKind::Resumed, Basis::Clear),
        Authentication::Unseen(_) => (TlsKind::ClientCertificateUnseen, Basis::Unseen),
    };
    (Security { tls: Some(kind), credential }, basis)
}

fn credential(evidence: &Evidence) -> Option<Credential> {
    if let Some(requests) = requests(evidence) {
        let counts = [
            (requests.bearer, Credential::OAuth),
            (requests.basic, Credential::Basic),
            (requests.other, Credential::Other),
            (requests.signed, Credential::Other),
        ];
        return counts.into_iter().find(|(count, _)| *count > 0).map(|(_, credential)| credential);
    }
    if let Some(mysql) = mysql(evidence) {
        return (mysql.user && mysql.secret).then_some(Credential::Other);
    }
    if let Some(ldap) = ldap(evidence) {
        let kinds = [(ldap.password.asked, Credential::Basic), (ldap.sasl.asked, Credential::Other)];
        return kinds.into_iter().find(|(asked, _)| *asked > 0).map(|(_, credential)| credential);
    }
    match nats(evidence)?.authentication {
        NatsAuthentication::UserPassword => Some(Credential::Basic),
        NatsAuthentication::Token | NatsAuthentication::Nkey | NatsAuthentication::Jwt => {
            Some(Credential::Other)
        }
        NatsAuthentication::None | NatsAuthentication::Unseen => None,
    }
}

/// The first thing that kept bytes from being seen.
fn missing(evidence: &Evidence, circumstances: Circumstances) -> Option<Missing> {
    if circumstances.connected && !circumstances.from_start {
        return Some(Missing::Midstream);
    }
    let silent = [Side::A, Side::B].into_iter().any(|side| circumstances.packets[side.index()] == 0);
    match evidence.gap {
        Some(Gap::Snaplen) => Some(Missing::Snaplen),
        // A side of which nothing was captured is one large hole.
        _ if silent && circumstances.connected => Some(Missing::OneDirection),
        Some(Gap::Loss) => Some(Missing::Loss),
        Some(Gap::Cap) => Some(Missing::Memory),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{Client, Handshake, MUTUAL, WHOLE, http, nats, observed, silent, spoken};

    fn said(observed: &Observed) -> (String, Basis, String, Basis) {
        let words = (observed.application.to_string(), observed.security.to_string());
        (words.0, observed.application_basis, words.1, observed.security_basis)
    }

    fn is(observed: &Observed, application: &str, basis: Basis, security: &str, security_basis: Basis) {
        let expected = (application.to_owned(), basis, security.to_owned(), security_basis);
        assert_eq!(said(observed), expected);
    }

    #[test]
    fn what_is_in_clear_is_said_with_the_credentials_it_carried() {
        let clear = Basis::Clear;
        is(&http(None, "200 OK"), "HTTP/1.1", clear, "none", clear);
        is(&http(Some("Bearer x"), "200 OK"), "HTTP/1.1", clear, "OAuth", clear);
        is(&http(Some("Basic x"), "200 OK"), "HTTP/1.1", clear, "Basic authentication", clear);
        is(&http(Some("Digest x"), "200 OK"), "HTTP/1.1", clear, "other authentication", clear);
        let password = "{\"user\":\"u\",\"pass\":\"p\"}";
        is(&nats(password, "PONG\r\n"), "NATS", clear, "Basic authentication", clear);
        is(&nats("{\"auth_token\":\"t\"}", "PONG\r\n"), "NATS", clear, "other authentication", clear);
        is(&nats("{\"verbose\":false}", "PONG\r\n"), "NATS", clear, "none", clear);
        let stream =
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        let events = spoken(&["GET / HTTP/1.1\r\nHost: x\r\n\r\n", stream]);
        is(&events, "Server-Sent Events", clear, "none", clear);
        is(
            &spoken(&["\u{1}\u{2}\u{3}\u{4} no protocol at all, not one byte\n"]),
            "unknown",
            Basis::Unseen,
            "none",
            clear,
        );
    }

    #[test]
    fn silence_is_neither_secure_nor_in_clear() {
        is(&silent(), "unknown", Basis::Unseen, "none", Basis::Unseen);
        assert!(silent().no_payload);
        let lost = Evidence { gap: Some(Gap::Loss), ..silent().evidence };
        assert!(!Observed::new(lost, WHOLE).no_payload);
    }

    #[test]
    fn every_kind_of_tls_has_its_word() {
        let of = |handshake: Handshake| handshake.observed().security.to_string();
        assert_eq!(of(MUTUAL), "mutual TLS");
        assert_eq!(of(Handshake { client: Client::NotAsked, ..MUTUAL }), "TLS");
        assert_eq!(of(Handshake { client: Client::Empty, ..MUTUAL }), "TLS (empty client certificate)");
        assert_eq!(of(Handshake { refused: Some(42), ..MUTUAL }), "TLS handshake refused");
        assert_eq!(of(Handshake { resumed: true, ..MUTUAL }), "TLS (resumed)");
        let server_only = Circumstances { packets: [0, 5], ..WHOLE };
        let records = MUTUAL.observed_in(Circumstances { from_start: false, ..server_only });
        assert_eq!(records.security.to_string(), "mutual TLS", "the bytes are there all the same");
        let middle = Circumstances { from_start: false, ..WHOLE };
        let mut data = vec![23, 3, 3, 0, 40];
        data.extend([7; 40]);
        let unseen = observed(&[(Side::A, &data)], middle);
        assert_eq!(unseen.security.to_string(), "TLS (client certificate unseen)");
        assert_eq!(unseen.security_basis, Basis::Unseen);
    }

    #[test]
    fn what_alpn_agreed_on_is_only_inferred_to_be_spoken() {
        is(&MUTUAL.observed(), "HTTP/2", Basis::Inferred, "mutual TLS", Basis::Clear);
        let http1 = Handshake { offered: &["h2", "http/1.1"], chosen: Some("http/1.1"), ..MUTUAL };
        is(&http1.observed(), "HTTP/1.1", Basis::Inferred, "mutual TLS", Basis::Clear);
        let refused = Handshake { refused: Some(42), ..MUTUAL };
        is(&refused.observed(), "TLS", Basis::Unseen, "TLS handshake refused", Basis::Clear);
        let none = Handshake { chosen: None, ..MUTUAL };
        is(&none.observed(), "TLS", Basis::Unseen, "mutual TLS", Basis::Clear);
    }

    #[test]
    fn the_first_thing_that_kept_bytes_away_is_named() {
        let missing = |circumstances| observed(&[], circumstances).missing;
        assert_eq!(missing(WHOLE), None);
        assert_eq!(missing(Circumstances { from_start: false, ..WHOLE }), Some(Missing::Midstream));
        assert_eq!(missing(Circumstances { packets: [3, 0], ..WHOLE }), Some(Missing::OneDirection));
        let datagrams = Circumstances { connected: false, from_start: false, packets: [1, 0], ..WHOLE };
        assert_eq!(missing(datagrams), None, "datagrams have no beginning and need no answer");
    }
}
