//! What was observed of a flow, in the report's words: what it speaks, how it is secured, and how sure.

use std::fmt;

use super::finding::Missing;
use crate::packet::{Gap, Side};
use crate::protocol::tls::{self, Alpn, Authentication};
use crate::protocol::{Evidence, NatsAuthentication, Requests};

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

impl fmt::Display for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
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
        })
    }
}

/// The `application_basis` and `security_basis` columns: on what the word beside it rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Basis {
    /// Bytes in clear.
    Clear,
    /// Lengths, or offers that leave one reading.
    Inferred,
    /// Nothing that could be seen.
    Unseen,
}

impl From<tls::Basis> for Basis {
    fn from(basis: tls::Basis) -> Basis {
        match basis {
            tls::Basis::Clear => Basis::Clear,
            tls::Basis::Inferred => Basis::Inferred,
        }
    }
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Basis::Clear => "clear",
            Basis::Inferred => "inferred",
            Basis::Unseen => "unseen",
        })
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

/// Credentials seen in clear.
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

impl fmt::Display for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
            (Some(tls), Some(credential)) => write!(f, "{tls} + {credential}"),
            (Some(one), None) | (None, Some(one)) => f.write_str(one),
            (None, None) => f.write_str("none"),
        }
    }
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
    /// Nothing was sent above the transport.
    pub no_payload: bool,
    /// Why bytes that would tell more are not in the capture.
    pub missing: Option<Missing>,
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
            no_payload: evidence.spoke == [false, false],
            missing: missing(&evidence, circumstances),
            chains: [None, None],
            evidence,
        }
    }

    /// The requests read in clear, of whichever HTTP version.
    pub fn requests(&self) -> Option<&Requests> {
        requests(&self.evidence)
    }

    /// TLS evidence.
    pub fn tls(&self) -> Option<&tls::Evidence> {
        self.evidence.tls.as_deref()
    }
}

fn requests(evidence: &Evidence) -> Option<&Requests> {
    match (&evidence.http2, &evidence.http1) {
        (Some(http2), _) => Some(&http2.requests),
        (None, Some(http1)) => Some(&http1.requests),
        (None, None) => None,
    }
}

fn application(evidence: &Evidence) -> (Application, Basis) {
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

/// What ALPN says of what is inside TLS: never more than an inference, since it is what was agreed and
/// not what was spoken.
fn inside_tls(tls: &tls::Evidence) -> (Application, Basis) {
    match tls.alpn() {
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
        ];
        return counts.into_iter().find(|(count, _)| *count > 0).map(|(_, credential)| credential);
    }
    if let Some(mysql) = &evidence.mysql {
        return (mysql.user && mysql.secret).then_some(Credential::Other);
    }
    if let Some(ldap) = &evidence.ldap {
        let kinds = [(ldap.password.asked, Credential::Basic), (ldap.sasl.asked, Credential::Other)];
        return kinds.into_iter().find(|(asked, _)| *asked > 0).map(|(_, credential)| credential);
    }
    match evidence.nats?.authentication {
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
    match evidence.gap {
        Some(Gap::Snaplen) => return Some(Missing::Snaplen),
        Some(Gap::Loss | Gap::Cap) => return Some(Missing::Loss),
        None => {}
    }
    let silent = [Side::A, Side::B].into_iter().any(|side| circumstances.packets[side.index()] == 0);
    (silent && circumstances.connected).then_some(Missing::OneDirection)
}
