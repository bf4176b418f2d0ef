//! The application and security columns: what the bytes showed against what the row documents.

use super::cell::{self, App, Authentication};
use super::finding::{Because, Finding, Missing, Reason};
use super::observed::{self, Application, Observed};
use super::{Options, Row, WeakCipher};
use crate::pki::ChainProblem;
use crate::protocol::tls::{self, Alpn, Basis, ClientCertificate, Offer, Outcome};
use crate::protocol::{NatsAuthentication, Requests};

/// Holds what the flow speaks against the row's application cell: the best of its alternatives.
pub(super) fn application(row: &Row, observed: &Observed) -> Finding {
    row.applications
        .iter()
        .map(|app| one_application(*app, row, observed))
        .min_by_key(|finding| finding.grade)
        .unwrap_or(Finding::confirmed(Because::NothingAsked))
}

fn one_application(app: App, row: &Row, observed: &Observed) -> Finding {
    if let Some(tls) = observed.tls() {
        if observed.application == Application::Nats && app == App::Nats {
            return Finding::confirmed(Because::Speaks(Application::Nats));
        }
        return inside_tls(app, row, tls, observed);
    }
    let speaks = Because::Speaks(observed.application);
    let contradicted = Finding::contradicted(Reason::WrongApplication, speaks);
    match (observed.application, app) {
        (Application::Unknown, _) => unrecognised(observed),
        (Application::Grpc, App::Grpc)
        | (Application::Http1 | Application::Http2, App::Http)
        | (Application::WebSocket, App::WebSocket)
        | (Application::ServerSentEvents, App::ServerSentEvents | App::Http)
        | (Application::Nats, App::Nats)
        | (Application::Dns, App::Dns) => Finding::confirmed(speaks),
        (Application::Http2, App::Grpc) => {
            let all_read = observed.requests().is_some_and(|requests| requests.read > 0 && !requests.unread);
            if all_read && observed.missing.is_none() {
                contradicted
            } else {
                Finding::unseen(Reason::UnseenApplication, Because::ContentTypeUnseen)
            }
        }
        _ => contradicted,
    }
}

/// Bytes that no recogniser knew, or none at all.
fn unrecognised(observed: &Observed) -> Finding {
    if observed.no_payload {
        return Finding::unseen(Reason::UnseenNoPayload, Because::NoPayload);
    }
    match observed.missing {
        Some(missing) => Finding::unseen(missing.reason(), Because::NotCaptured(missing)),
        None if observed.evidence.unrecognised => {
            Finding::contradicted(Reason::WrongApplication, Because::SpeaksUnknown)
        }
        None => Finding::unseen(Reason::UnseenApplication, Because::NotCaptured(Missing::TooLittle)),
    }
}

fn inside_tls(app: App, row: &Row, tls: &tls::Evidence, observed: &Observed) -> Finding {
    if let Some(finding) = decrypted(app, observed) {
        return finding;
    }
    let accepted = matches!(tls.outcome(), Outcome::Accepted(_));
    match app {
        App::Grpc if row.security.tls != cell::Tls::No => grpc(tls, accepted, observed),
        App::Https => https(tls, accepted, observed),
        // A row documented in clear: the security column says what is wrong.
        _ => Finding::unseen(Reason::UnseenApplication, Because::InsideTls),
    }
}

/// What decrypted bytes say of the row's application; `None` if they do not settle it.
fn decrypted(app: App, observed: &Observed) -> Option<Finding> {
    if observed.application_basis != observed::Basis::Decrypted {
        return None;
    }
    use Application::{Dns, Grpc, Http1, Http2, Nats, ServerSentEvents, Unknown, WebSocket};
    let speaks = Because::SpeaksInside(observed.application);
    let contradicted = |because| Some(Finding::contradicted(Reason::WrongApplication, because));
    match (observed.application, app) {
        (Unknown, _) => contradicted(Because::SpeaksUnknownInside),
        // HTTPS is HTTP of any version and use inside TLS.
        (Grpc | Http1 | Http2 | WebSocket | ServerSentEvents, App::Https)
        | (Grpc, App::Grpc)
        | (Http1 | Http2 | ServerSentEvents, App::Http)
        | (WebSocket, App::WebSocket)
        | (ServerSentEvents, App::ServerSentEvents)
        | (Nats, App::Nats)
        | (Dns, App::Dns) => Some(Finding::confirmed(speaks)),
        (Http2, App::Grpc) => match observed.requests() {
            Some(requests) if requests.read > 0 && !requests.unread => contradicted(speaks),
            Some(requests) if requests.read > 0 => {
                Some(Finding::unseen(Reason::UnseenApplication, Because::ContentTypeUnseen))
            }
            // Nothing was asked: what was offered still says what it was opened for.
            _ => None,
        },
        _ => contradicted(speaks),
    }
}

/// gRPC needs HTTP/2, and HTTP/2 over TLS needs ALPN (RFC 9113 section 3.2).
fn grpc(tls: &tls::Evidence, accepted: bool, observed: &Observed) -> Finding {
    let wrong = |because| Finding::contradicted(Reason::WrongApplication, because);
    let offered_only_h2 = match tls.alpn_offered() {
        Offer::None => return wrong(Because::NoAlpnOffered),
        Offer::List(names) if !names.iter().any(|name| is_h2(name)) => return wrong(Because::H2NotOffered),
        Offer::List(names) => names.iter().all(|name| is_h2(name)),
        Offer::Unseen(_) => false,
    };
    match tls.alpn() {
        Alpn::Chosen(name, basis) if basis.is_shown() && !is_h2(name) => wrong(Because::AlpnOther),
        Alpn::None(basis) if basis.is_shown() => wrong(Because::AlpnOther),
        Alpn::Chosen(_, basis) if basis.is_shown() && offered_only_h2 => Finding::inferred(alpn_shown(basis)),
        _ if offered_only_h2 && accepted => Finding::inferred(Because::OnlyH2Offered),
        _ if offered_only_h2 => not_accepted(tls, observed),
        _ => inside_unseen(observed),
    }
}

fn https(tls: &tls::Evidence, accepted: bool, observed: &Observed) -> Finding {
    match tls.alpn() {
        Alpn::Chosen(name, basis) if basis.is_shown() && is_http(name) => {
            return Finding::confirmed(alpn_shown(basis));
        }
        Alpn::Chosen(_, basis) if basis.is_shown() => {
            return Finding::contradicted(Reason::WrongApplication, Because::AlpnOther);
        }
        Alpn::Chosen(name, Basis::Inferred) if is_http(name) => {
            return Finding::inferred(Because::AlpnInferred);
        }
        _ => {}
    }
    match tls.alpn_offered() {
        Offer::None => Finding::unseen(Reason::UnseenApplicationNoAlpn, Because::NoAlpnOffered),
        Offer::List(names) if names.iter().all(|name| is_http(name)) => match accepted {
            true => Finding::inferred(Because::OnlyHttpOffered),
            false => not_accepted(tls, observed),
        },
        _ => inside_unseen(observed),
    }
}

fn alpn_shown(basis: Basis) -> Because {
    if basis == Basis::Decrypted { Because::AlpnDecrypted } else { Because::AlpnInClear }
}

fn is_h2(name: &[u8]) -> bool {
    name == b"h2"
}

fn is_http(name: &[u8]) -> bool {
    matches!(name, b"h2" | b"http/1.1" | b"http/1.0")
}

fn inside_unseen(observed: &Observed) -> Finding {
    match observed.missing {
        Some(missing) => Finding::unseen(missing.reason(), Because::NotCaptured(missing)),
        None => Finding::unseen(Reason::UnseenApplication, Because::InsideTls),
    }
}

fn not_accepted(tls: &tls::Evidence, observed: &Observed) -> Finding {
    let why = match tls.outcome() {
        Outcome::Unseen(why) => Some(why),
        _ => None,
    };
    let reason = observed.missing.map_or(Reason::UnseenApplication, Missing::reason);
    Finding::unseen(reason, Because::NotAccepted(why))
}

/// Holds how the flow is secured against the row's security cell.
pub(super) fn security(row: &Row, observed: &Observed, options: &Options) -> Finding {
    let asked = row.security;
    let of_transport = match (asked.tls, observed.tls()) {
        (cell::Tls::No, Some(_)) => {
            return Finding::contradicted(Reason::StrongerThanDocumented, Because::TlsUnderPlainRow);
        }
        (cell::Tls::No, None) => None,
        (_, None) => Some(not_tls(observed)),
        (cell::Tls::Server, Some(tls)) => Some(tls_finding(tls, false, observed, options)),
        (cell::Tls::Mutual, Some(tls)) => Some(tls_finding(tls, true, observed, options)),
    };
    let of_application = asked.authentication.map(|asked| authentication(asked, observed));
    match (of_transport, of_application) {
        (Some(one), Some(other)) => one.and(other),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => Finding::confirmed(Because::NothingAsked),
    }
}

/// TLS is documented and none was recognised.
fn not_tls(observed: &Observed) -> Finding {
    let finding = unrecognised(observed);
    match observed.application {
        Application::Unknown if finding.reason != Some(Reason::WrongApplication) => finding,
        _ => Finding::contradicted(Reason::WrongSecurity, Because::InClear),
    }
}

fn tls_finding(tls: &tls::Evidence, mutual: bool, observed: &Observed, options: &Options) -> Finding {
    let mut finding = outcome(tls, observed);
    if mutual {
        finding = finding.and(client_certificate(tls, observed));
    }
    if let Some(version) = tls.version().filter(|version| *version < options.min_tls) {
        finding = finding.and(Finding::contradicted(Reason::WeakTls, Because::TlsVersionBelow(version)));
    }
    if let Some(suite) = tls.cipher().filter(|suite| tls::classify(*suite).is_some_and(tls::Class::is_weak)) {
        finding = finding.and(match options.weak_cipher {
            WeakCipher::Note => Finding::confirmed(Because::WeakSuite(suite)),
            WeakCipher::Deny => Finding::contradicted(Reason::WeakCipher, Because::WeakSuite(suite)),
        });
    }
    for (client, judged) in [(false, &observed.chains[0]), (true, &observed.chains[1])] {
        if let (Some(Err(problem)), true) = (judged, mutual || !client) {
            finding = finding.and(chain(client, problem));
        }
    }
    finding
}

fn outcome(tls: &tls::Evidence, observed: &Observed) -> Finding {
    match tls.outcome() {
        Outcome::Accepted(Basis::Inferred) => Finding::inferred(Because::HandshakeAccepted),
        Outcome::Accepted(_) => Finding::confirmed(Because::HandshakeAccepted),
        Outcome::Refused { alert, .. } => {
            Finding::contradicted(Reason::HandshakeFailed, Because::HandshakeRefused(alert))
        }
        Outcome::Unseen(why) => {
            let reason = observed.missing.map_or(Reason::UnseenClientCertificate, Missing::reason);
            Finding::unseen(reason, Because::NotAccepted(Some(why)))
        }
    }
}

fn client_certificate(tls: &tls::Evidence, observed: &Observed) -> Finding {
    if tls.resumed() == Some(true) {
        return Finding::unseen(Reason::UnseenResumed, Because::Resumed);
    }
    let wrong = |because| Finding::contradicted(Reason::WrongSecurity, because);
    match tls.client_certificate() {
        ClientCertificate::Presented { basis: Basis::Inferred, .. } => {
            Finding::inferred(Because::ClientCertificate)
        }
        ClientCertificate::Presented { .. } => Finding::confirmed(Because::ClientCertificate),
        ClientCertificate::Empty(_) => wrong(Because::EmptyClientCertificate),
        ClientCertificate::None(_) => wrong(Because::NoClientCertificate),
        ClientCertificate::Unseen(why) => {
            let reason = observed.missing.map_or(Reason::UnseenClientCertificate, Missing::reason);
            Finding::unseen(reason, Because::ClientCertificateUnseen(why))
        }
    }
}

fn chain(client: bool, problem: &ChainProblem) -> Finding {
    let because = Because::Chain { client };
    match problem {
        ChainProblem::UnknownIssuer => Finding::contradicted(Reason::WrongCa, because),
        ChainProblem::Expired | ChainProblem::NotYetValid => {
            Finding::contradicted(Reason::CertificateExpired, because)
        }
        ChainProblem::WrongUsage => Finding::contradicted(Reason::WrongKeyUsage, because),
        ChainProblem::Malformed(_) => Finding::contradicted(Reason::WrongSecurity, because),
        // A chain this program cannot judge is not held against the flow.
        ChainProblem::Other(_) => Finding::confirmed(because),
    }
}

fn authentication(asked: Authentication, observed: &Observed) -> Finding {
    if let Some(requests) = observed.requests() {
        return requests_finding(asked, requests, observed);
    }
    if let Some(nats) = observed.nats() {
        return nats_finding(asked, nats);
    }
    let finding = unrecognised(observed);
    match finding.reason {
        Some(Reason::WrongApplication) => Finding::unseen(Reason::UnseenAuthentication, Because::NoRequest),
        _ if observed.application != Application::Unknown => {
            Finding::unseen(Reason::UnseenAuthentication, Because::NoRequest)
        }
        _ => finding,
    }
}

fn requests_finding(asked: Authentication, requests: &Requests, observed: &Observed) -> Finding {
    let carrying = match asked {
        Authentication::OAuth => requests.bearer,
        Authentication::Basic => requests.basic,
    };
    let answered = requests.status_403 + requests.status_404 + requests.status_other;
    if requests.status_401 > 0 && answered == 0 {
        return Finding::contradicted(Reason::AuthenticationRefused, Because::Only401);
    }
    if carrying < requests.read {
        let without = requests.read - carrying;
        return Finding::contradicted(Reason::WrongSecurity, Because::RequestsWithout(without));
    }
    if requests.read == 0 {
        let reason = observed.missing.map_or(Reason::UnseenAuthentication, Missing::reason);
        return Finding::unseen(reason, Because::NoRequest);
    }
    if requests.unread {
        return Finding::unseen(Reason::UnseenAuthentication, Because::RequestsUnread);
    }
    if observed.missing == Some(Missing::Midstream) {
        return Finding::unseen(Reason::UnseenMidstream, Because::RequestsUnread);
    }
    Finding::confirmed(Because::EveryRequest)
}

fn nats_finding(asked: Authentication, nats: &crate::protocol::Nats) -> Finding {
    if nats.refused {
        return Finding::contradicted(Reason::AuthenticationRefused, Because::NatsRefused);
    }
    let presented = Because::NatsPresented(nats.authentication);
    match (asked, nats.authentication) {
        (_, NatsAuthentication::Unseen) => Finding::unseen(Reason::UnseenAuthentication, presented),
        (Authentication::Basic, NatsAuthentication::UserPassword) if nats.accepted => {
            Finding::confirmed(presented)
        }
        (Authentication::Basic, NatsAuthentication::UserPassword) => {
            Finding::unseen(Reason::UnseenAuthentication, Because::AnswerUnseen)
        }
        _ => Finding::contradicted(Reason::WrongSecurity, presented),
    }
}
