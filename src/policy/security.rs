//! The application and security columns: what the bytes showed against what the row documents.

use super::cell::{self, App, Asked, Authentication};
use super::finding::{Because, Finding, Missing, Reason};
use super::observed::{Application, Observed};
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
    match app {
        App::Open => return Finding::unseen(Reason::UnseenApplication, Because::DocumentOpen),
        App::Bytes => return Finding::confirmed(Because::NothingAsked),
        _ => {}
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
    let accepted = matches!(tls.outcome(), Outcome::Accepted(_));
    match app {
        App::Open => Finding::unseen(Reason::UnseenApplication, Because::DocumentOpen),
        App::Bytes => Finding::confirmed(Because::NothingAsked),
        App::Grpc if !documented_in_clear(row) => grpc(tls, accepted, observed),
        App::Https => https(tls, accepted, observed),
        App::Http if !documented_in_clear(row) => https(tls, accepted, observed),
        // A row documented in clear: the security column says what is wrong.
        _ => Finding::unseen(Reason::UnseenApplication, Because::InsideTls),
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
        Alpn::Chosen(name, Basis::Clear) if !is_h2(name) => wrong(Because::AlpnOther),
        Alpn::None(Basis::Clear) => wrong(Because::AlpnOther),
        Alpn::Chosen(_, Basis::Clear) if offered_only_h2 => Finding::inferred(Because::AlpnInClear),
        _ if offered_only_h2 && accepted => Finding::inferred(Because::OnlyH2Offered),
        _ if offered_only_h2 => not_accepted(tls, observed),
        _ => inside_unseen(observed),
    }
}

fn https(tls: &tls::Evidence, accepted: bool, observed: &Observed) -> Finding {
    match tls.alpn() {
        Alpn::Chosen(name, Basis::Clear) if is_http(name) => return Finding::confirmed(Because::AlpnInClear),
        Alpn::Chosen(_, Basis::Clear) => {
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

/// Every alternative of the row's security cell is without TLS.
fn documented_in_clear(row: &Row) -> bool {
    row.security.alternatives.iter().all(|asked| asked.tls == cell::Tls::No)
}

/// Holds how the flow is secured against the row's security cell: the best of its alternatives.
pub(super) fn security(row: &Row, observed: &Observed, options: &Options) -> Finding {
    row.security
        .alternatives
        .iter()
        .map(|asked| one_security(*asked, row, observed, options))
        .min_by_key(|finding| finding.grade)
        .unwrap_or(Finding::confirmed(Because::NothingAsked))
}

fn one_security(asked: Asked, row: &Row, observed: &Observed, options: &Options) -> Finding {
    let of_transport = match (tls_asked(asked.tls, &row.applications), observed.tls()) {
        (cell::Tls::No, Some(_)) => {
            return Finding::contradicted(Reason::StrongerThanDocumented, Because::TlsUnderPlainRow);
        }
        (cell::Tls::No, None) | (cell::Tls::Unstated, None) => None,
        (_, None) => Some(not_tls(observed)),
        (cell::Tls::Server | cell::Tls::Unstated, Some(tls)) => {
            Some(tls_finding(tls, false, observed, options))
        }
        (cell::Tls::Mutual, Some(tls)) => Some(tls_finding(tls, true, observed, options)),
    };
    let of_application = asked.authentication.map(|asked| authentication(asked, observed));
    match (of_transport, of_application) {
        (Some(one), Some(other)) => one.and(other),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => Finding::confirmed(Because::NothingAsked),
    }
}

/// `HTTPS` and `LDAPS` say that there is TLS, whatever the security cell adds.
fn tls_asked(stated: cell::Tls, applications: &[App]) -> cell::Tls {
    let implying = applications.iter().filter(|app| app.implies_tls()).count();
    match stated {
        cell::Tls::No | cell::Tls::Unstated if implying == applications.len() => cell::Tls::Server,
        cell::Tls::No if implying > 0 => cell::Tls::Unstated,
        stated => stated,
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
        Outcome::Accepted(Basis::Clear) => Finding::confirmed(Because::HandshakeAccepted),
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
    match asked {
        Authentication::Untold => {
            return Finding::unseen(Reason::UnseenAuthentication, Because::DocumentOpen);
        }
        Authentication::Mysql
        | Authentication::LdapBind
        | Authentication::Ssh
        | Authentication::OAuth
        | Authentication::UaaToken
        | Authentication::Basic => {}
    }
    if let Some(requests) = observed.requests() {
        return requests_finding(asked, requests, observed);
    }
    if let Some(nats) = &observed.evidence.nats {
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
        Authentication::OAuth | Authentication::UaaToken => requests.bearer,
        Authentication::Basic => requests.basic,
        // Asked of protocols that have no requests: none of these carried it.
        _ => 0,
    };
    let answered = requests.status_403 + requests.status_404 + requests.status_other;
    if requests.status_401 > 0 && answered == 0 {
        return Finding::contradicted(Reason::AuthenticationRefused, Because::Only401);
    }
    if asked == Authentication::UaaToken && requests.other > 0 && carrying + requests.other == requests.read {
        return Finding::unseen(Reason::UnseenAuthentication, Because::OtherCredentials);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Circumstances, Grade};
    use crate::protocol::{Evidence, Http2};

    /// What a cell that asks for `asked` finds in requests of which so many carried each kind.
    fn find(asked: Authentication, bearer: u32, other: u32, none: u32) -> Grade {
        let requests = Requests { read: bearer + other + none, bearer, other, none, ..Requests::default() };
        let http2 = Some(Box::new(Http2 { requests, ..Http2::default() }));
        let circumstances = Circumstances { from_start: true, connected: true, packets: [9, 9] };
        let observed = Observed::new(Evidence { http2, ..Evidence::default() }, circumstances);
        authentication(asked, &observed).grade
    }

    #[test]
    fn a_uaa_token_without_the_word_bearer_is_not_told_from_other_credentials() {
        let (token, oauth) = (Authentication::UaaToken, Authentication::OAuth);
        assert_eq!(find(token, 2, 0, 0), Grade::Confirmed);
        assert_eq!(find(token, 1, 1, 0), Grade::Unseen);
        assert_eq!(find(token, 0, 1, 1), Grade::Contradicted);
        assert_eq!(find(oauth, 0, 1, 0), Grade::Contradicted);
    }
}
