//! How far a capture can go in proving a row, and what stands in the way.
//!
//! It is read from the cells and the map of names: the best that any capture of a network could show of a flow that
//! goes as documented, with every VM in the inventory and without session keys. The judge's own rules are in `security.rs`; this page is their shadow.

use std::fmt;

use super::Row;
use super::cell::{App, Asked, Authentication, End, Ports, Tls};
use super::security::tls_asked;
use crate::inventory::Names;

/// The best that can be said of a row, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Best {
    /// Every column can be confirmed.
    Confirmed,
    /// Some column can be inferred at best.
    Inferred,
    /// It depends on the client: inferred or confirmed if it offers ALPN, else unseen without session keys.
    ByAlpn,
    /// Some column is unseen without session keys.
    NeedsKeys,
    /// Some column stays unseen, whatever is captured.
    Never,
}

impl fmt::Display for Best {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Best::Confirmed => "confirmed",
            Best::Inferred => "inferred at best",
            Best::ByAlpn => "unseen without ALPN or keys",
            Best::NeedsKeys => "unseen without keys",
            Best::Never => "never proven",
        })
    }
}

/// What keeps a row from being confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// TLS: what is in clear up to TLS 1.2 is inferred in TLS 1.3.
    Tls13,
    /// No certificate shows the component: its job on the VM is all there is.
    ComponentByJob,
    /// gRPC inside TLS: ALPN shows HTTP/2 and no more.
    GrpcInTls,
    /// HTTP inside TLS: shown by ALPN, which Go's HTTPS clients do not offer.
    HttpInTls,
    /// Another protocol inside TLS.
    ApplicationInTls,
    /// Credentials inside TLS.
    AuthenticationInTls,
    /// A component with neither job nor certificate.
    ComponentUnseen,
    /// Traffic that never leaves its VM.
    InsideVm,
    /// `Key`, `Shared secret`.
    AuthenticationUntold,
    /// The application column leaves it open.
    ApplicationOpen,
    /// The port column leaves it open.
    PortOpen,
    /// The application does not log in as the security column says, so no flow can satisfy the row.
    CellsDisagree,
}

impl Limit {
    /// The best that a row with this limit can come to.
    pub fn best(self) -> Best {
        match self {
            // Up to TLS 1.2 nothing is lost.
            Limit::Tls13 => Best::Confirmed,
            Limit::GrpcInTls | Limit::ComponentByJob => Best::Inferred,
            Limit::HttpInTls => Best::ByAlpn,
            Limit::ApplicationInTls | Limit::AuthenticationInTls => Best::NeedsKeys,
            Limit::ComponentUnseen
            | Limit::InsideVm
            | Limit::AuthenticationUntold
            | Limit::ApplicationOpen
            | Limit::PortOpen
            | Limit::CellsDisagree => Best::Never,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::Tls13 => "TLS: in clear up to TLS 1.2, inferred in TLS 1.3",
            Limit::ComponentByJob => "in clear, but which process it is only the job on its VM tells",
            Limit::GrpcInTls => "gRPC inside TLS: ALPN shows HTTP/2 and no more",
            Limit::HttpInTls => {
                "HTTP inside TLS: shown by ALPN (TLS 1.2 confirmed, TLS 1.3 inferred); unseen without keys \
                 where the client offers none, as Go's HTTPS clients do"
            }
            Limit::ApplicationInTls => "what is spoken inside TLS is unseen without keys",
            Limit::AuthenticationInTls => "credentials inside TLS are unseen without keys",
            Limit::ComponentUnseen => "a component with neither job nor certificate to tell it by",
            Limit::InsideVm => "documented inside the VM: never on a network, only on that VM's own loopback",
            Limit::AuthenticationUntold => "`Key`, `Shared secret`: nothing to tell them by",
            Limit::ApplicationOpen => "the document leaves the application open (`Varies`)",
            Limit::PortOpen => "the document leaves the port open",
            Limit::CellsDisagree => {
                "the cells disagree: this application does not log in this way, so no flow can satisfy the row"
            }
        })
    }
}

/// What keeps a row from being confirmed, worst first: of its alternatives, the one that fares best.
pub fn limits(row: &Row, names: &Names) -> Vec<Limit> {
    let mut limits = row
        .applications
        .iter()
        .flat_map(|app| row.security.alternatives.iter().map(|asked| of_pair(*app, *asked, row, names)))
        .min_by_key(|limits| (best(limits), limits.len()))
        .unwrap_or_default();
    if row.security.inside_vm {
        limits.push(Limit::InsideVm);
    }
    if row.ports == Ports::Open {
        limits.push(Limit::PortOpen);
    }
    limits.sort_by_key(|limit| std::cmp::Reverse((limit.best(), *limit)));
    limits.dedup();
    limits
}

/// The best that a row with these limits can come to.
pub fn best(limits: &[Limit]) -> Best {
    limits.iter().map(|limit| limit.best()).max().unwrap_or(Best::Confirmed)
}

fn of_pair(app: App, asked: Asked, row: &Row, names: &Names) -> Vec<Limit> {
    let mut limits = Vec::new();
    let tls = tls_asked(asked.tls, &row.applications);
    let in_tls = match tls {
        Tls::Server | Tls::Mutual => true,
        Tls::No | Tls::Unstated => app.implies_tls(),
    };
    if in_tls {
        limits.push(Limit::Tls13);
    }
    // The client's certificate is the source's, the server's is the destination's.
    for (end, certificate) in [(&row.source, tls == Tls::Mutual), (&row.destination, in_tls)] {
        limits.extend(of_component(end, certificate, names));
    }
    match app {
        App::Open => limits.push(Limit::ApplicationOpen),
        App::Bytes => {}
        // These begin in clear, whatever follows.
        App::Nats | App::Mysql | App::Ldap | App::Ssh => {}
        App::Grpc if in_tls => limits.push(Limit::GrpcInTls),
        App::Https | App::Http if in_tls => limits.push(Limit::HttpInTls),
        _ if in_tls => limits.push(Limit::ApplicationInTls),
        _ => {}
    }
    match asked.authentication {
        None => {}
        Some(Authentication::Untold) => limits.push(Limit::AuthenticationUntold),
        Some(authentication) if !agrees(app, authentication) => limits.push(Limit::CellsDisagree),
        Some(_) if in_tls => limits.push(Limit::AuthenticationInTls),
        Some(_) => {}
    }
    limits
}

/// What a component in the cell adds, with or without a certificate that may name it.
fn of_component(end: &End, certificate: bool, names: &Names) -> Option<Limit> {
    let component = match end {
        End::Vm { component, .. } => component.as_deref()?,
        End::Either(ends) => {
            return ends.iter().map(|end| of_component(end, certificate, names)).min().flatten();
        }
        // `Any VM running X` is chosen by its job, which the inventory confirms.
        End::AnyInSubnet | End::AnyVmRunning(_) => return None,
    };
    if certificate && !names.certificates(component).is_empty() {
        return None;
    }
    Some(if names.jobs(component).is_empty() { Limit::ComponentUnseen } else { Limit::ComponentByJob })
}

/// Whether the application has this way of logging in.
fn agrees(app: App, authentication: Authentication) -> bool {
    let http = matches!(
        app,
        App::Grpc | App::Https | App::Http | App::WebSocket | App::ServerSentEvents | App::Open | App::Bytes
    );
    match authentication {
        Authentication::OAuth | Authentication::UaaToken => http,
        Authentication::Basic => http || matches!(app, App::Nats | App::Ldap | App::Ldaps),
        Authentication::LdapBind => matches!(app, App::Ldap | App::Ldaps | App::Open | App::Bytes),
        Authentication::Mysql => matches!(app, App::Mysql | App::Open | App::Bytes),
        Authentication::Ssh => matches!(app, App::Ssh | App::Open | App::Bytes),
        Authentication::SignedUrl => http,
        Authentication::Untold => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(port: &str, app: &str, security: &str) -> Vec<Limit> {
        let cells = ["a", "b", port, "TCP", app, security].map(str::to_owned);
        limits(&Row::parse(&cells, String::new(), 1).unwrap(), &Names::shipped())
    }

    #[test]
    fn what_is_in_clear_has_no_limit() {
        assert_eq!(of("8081", "HTTP/WebSocket", "OAuth"), []);
        assert_eq!(of("4222", "NATS", "Basic authentication"), []);
        assert_eq!(of("53", "DNS", "None"), []);
        assert_eq!(of("15010", "gRPC", "None"), []);
        assert_eq!(of("1024-65535", "TCP", "None"), []);
        assert_eq!(of("3306", "MySQL", "MySQL authentication"), []);
        assert_eq!(of("2222", "SSH", "SSH"), []);
        assert_eq!(of("389", "LDAP", "LDAP bind"), []);
    }

    #[test]
    fn tls_hides_by_degrees() {
        assert_eq!(of("8082", "gRPC over HTTP/2", "Mutual TLS"), [Limit::GrpcInTls, Limit::Tls13]);
        assert_eq!(of("8443", "HTTPS", "TLS"), [Limit::HttpInTls, Limit::Tls13]);
        assert_eq!(of("8443", "HTTPS", "None"), [Limit::HttpInTls, Limit::Tls13], "HTTPS says TLS itself");
        assert_eq!(of("6067", "Syslog", "TLS"), [Limit::ApplicationInTls, Limit::Tls13]);
        let with_credentials = of("443", "HTTPS", "TLS and OAuth 2.0");
        assert_eq!(with_credentials, [Limit::AuthenticationInTls, Limit::HttpInTls, Limit::Tls13]);
        assert_eq!(best(&with_credentials), Best::NeedsKeys);
        assert_eq!(best(&of("8443", "HTTPS", "OAuth 2.0 or none")), Best::ByAlpn, "the easier alternative");
        assert_eq!(best(&of("80", "HTTP/HTTPS", "Optional TLS")), Best::Confirmed, "the easier alternative");
    }

    #[test]
    fn what_the_document_leaves_open_stays_open() {
        assert_eq!(of("Varies", "HTTP", "None"), [Limit::PortOpen]);
        assert_eq!(of("80", "Varies", "None"), [Limit::ApplicationOpen]);
        assert_eq!(best(&of("80", "HTTP/HTTPS", "Key")), Best::Never);
        assert_eq!(best(&of("80", "HTTP", "Signed URLs/TLS")), Best::Confirmed, "a signed query in clear");
        assert_eq!(of("3306", "HTTP", "MySQL authentication"), [Limit::CellsDisagree]);
        assert_eq!(
            of("53", "DNS", "Unencrypted. This communication happens inside the VM."),
            [Limit::InsideVm]
        );
    }

    #[test]
    fn a_component_is_shown_by_a_certificate_or_a_job() {
        let of = |source: &str, destination: &str, app: &str, security: &str| {
            let cells = [source, destination, "1", "TCP", app, security].map(str::to_owned);
            best(&limits(&Row::parse(&cells, String::new(), 1).unwrap(), &Names::shipped()))
        };
        assert_eq!(of("a (Route Registrar)", "nats", "NATS", "Basic authentication"), Best::Inferred);
        assert_eq!(of("a", "b (Auth Proxy)", "HTTP", "OAuth"), Best::Inferred);
        assert_eq!(of("a", "b (Log Cache)", "TCP", "TLS"), Best::Confirmed, "by the server's certificate");
        assert_eq!(of("a (Nozzle)", "b", "TCP", "TLS"), Best::Inferred, "a client without a certificate");
        assert_eq!(of("a (Nozzle)", "b", "TCP", "Mutual TLS"), Best::Confirmed);
        assert_eq!(of("a (Silk CNI)", "b", "HTTP", "None"), Best::Never);
        assert_eq!(of("Any VM running BOSH DNS", "b", "HTTP", "None"), Best::Confirmed);
    }
}
