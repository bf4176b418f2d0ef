//! The application and security columns: what the bytes showed against what the row documents.

use super::authentication;
use super::cell::{self, App, Asked};
use super::finding::{Because, Finding, Missing, Reason};
use super::observed::{self, Application, Observed, TlsKind};
use super::{Options, Row, WeakCipher};
use crate::pki::ChainProblem;
use crate::protocol::tls::{self, Alpn, Basis, ClientCertificate, Offer, Outcome};

/// Holds what the flow speaks against the row's application cell: the best of its alternatives.
pub(super) fn application(row: &Row, observed: &Observed) -> Finding {
    let finding = row
        .applications
        .iter()
        .map(|app| one_application(*app, row, observed))
        .min_by_key(|finding| finding.grade)
        .unwrap_or(Finding::confirmed(Because::NothingAsked));
    // What was read is one reading of several.
    if observed.ambiguity.is_some() {
        return finding.and(Finding::contradicted(Reason::AmbiguousStream, Because::BytesAmbiguous));
    }
    // In clear, what reads the bytes may know less than those who speak it; of TLS its records are all there is.
    if observed.evidence.broken && observed.tls().is_none() {
        let because = Because::FollowedByOther(observed.application);
        return finding.and(Finding::unseen(Reason::UnseenApplication, because));
    }
    finding
}

fn one_application(app: App, row: &Row, observed: &Observed) -> Finding {
    if let Some(tls) = observed.tls() {
        // What was spoken in clear before TLS began is as good as ever.
        let prologue =
            matches!(observed.application, Application::Nats | Application::Mysql | Application::Ldap);
        if prologue && is_documented(observed.application, app, false) {
            return Finding::confirmed(Because::Speaks(observed.application));
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
        (application, app) if is_documented(application, app, false) => Finding::confirmed(speaks),
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

/// This application is what the cell names.
fn is_documented(application: Application, app: App, inside_tls: bool) -> bool {
    use Application::{Dns, Grpc, Http1, Http2, Ldap, Mysql, Nats, ServerSentEvents, Ssh, Syslog, WebSocket};
    match (application, app) {
        (Grpc, App::Grpc)
        | (Http1 | Http2 | ServerSentEvents, App::Http)
        | (WebSocket, App::WebSocket)
        | (ServerSentEvents, App::ServerSentEvents)
        | (Nats, App::Nats)
        | (Dns, App::Dns)
        | (Mysql, App::Mysql)
        | (Ssh, App::Ssh)
        | (Ldap, App::Ldap)
        | (Syslog, App::Syslog) => true,
        // HTTPS is HTTP of any version and use inside TLS.
        (Grpc | Http1 | Http2 | WebSocket | ServerSentEvents, App::Https) | (Ldap, App::Ldaps) => inside_tls,
        _ => false,
    }
}

/// Bytes that no recogniser knew, or none at all.
pub(super) fn unrecognised(observed: &Observed) -> Finding {
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
        App::Open => Finding::unseen(Reason::UnseenApplication, Because::DocumentOpen),
        App::Bytes => Finding::confirmed(Because::NothingAsked),
        App::Grpc if !documented_in_clear(row) => grpc(tls, accepted, observed),
        App::Https => https(tls, accepted, observed),
        App::Http if !documented_in_clear(row) => https(tls, accepted, observed),
        // A row documented in clear: the security column says what is wrong.
        _ => Finding::unseen(Reason::UnseenApplication, Because::InsideTls),
    }
}

/// What decrypted bytes say of the row's application; `None` if they do not settle it.
fn decrypted(app: App, observed: &Observed) -> Option<Finding> {
    if observed.application_basis != observed::Basis::Decrypted {
        return None;
    }
    use Application::{Http2, Unknown};
    let speaks = Because::SpeaksInside(observed.application);
    let contradicted = |because| Some(Finding::contradicted(Reason::WrongApplication, because));
    match (observed.application, app) {
        (_, App::Open) => Some(Finding::unseen(Reason::UnseenApplication, Because::DocumentOpen)),
        (_, App::Bytes) => Some(Finding::confirmed(Because::NothingAsked)),
        (Unknown, _) => contradicted(Because::SpeaksUnknownInside),
        (application, app) if is_documented(application, app, true) => Some(Finding::confirmed(speaks)),
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

pub(super) fn is_h2(name: &[u8]) -> bool {
    name == b"h2"
}

pub(super) fn is_http(name: &[u8]) -> bool {
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
    let of_application = asked.authentication.map(|asked| authentication::find(asked, observed));
    match (of_transport, of_application) {
        (Some(one), Some(other)) => one.and(other),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => Finding::confirmed(Because::NothingAsked),
    }
}

/// `HTTPS` and `LDAPS` say that there is TLS, whatever the security cell adds.
pub(super) fn tls_asked(stated: cell::Tls, applications: &[App]) -> cell::Tls {
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
    // A handshake says nothing of bytes outside its records.
    if observed.evidence.broken {
        finding = finding.and(match observed.missing {
            None => Finding::contradicted(Reason::WrongSecurity, Because::FollowedByOther(Application::Tls)),
            Some(missing) => Finding::unseen(missing.reason(), Because::FollowedByOther(Application::Tls)),
        });
    }
    if mutual {
        finding = finding.and(client_certificate(tls, observed));
    }
    let below = |version: &tls::Version| *version < options.min_tls;
    if let Some(version) = tls.version().filter(below) {
        finding = finding.and(Finding::contradicted(Reason::WeakTls, Because::TlsVersionBelow(version)));
    }
    // A server chooses no higher than it is offered.
    if let (None, Some(version)) = (tls.version(), tls.offered_max().filter(below)) {
        finding = finding.and(Finding::contradicted(Reason::WeakTls, Because::TlsOfferBelow(version)));
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
        return inherited(observed);
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

/// What the connection that began a resumed session showed: never more than an inference.
fn inherited(observed: &Observed) -> Finding {
    let wrong = |because| Finding::contradicted(Reason::WrongSecurity, because);
    let finding = match observed.inherited.as_ref().map(|inherited| inherited.kind) {
        Some(TlsKind::Mutual) => Finding::inferred(Because::ClientCertificate),
        Some(TlsKind::Server) => wrong(Because::NoClientCertificate),
        Some(TlsKind::EmptyClientCertificate) => wrong(Because::EmptyClientCertificate),
        _ => return Finding::unseen(Reason::UnseenResumed, Because::Resumed),
    };
    finding.and(Finding::inferred(Because::Inherited))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::finding::Grade::{Confirmed, Contradicted, Inferred, Unseen};
    use crate::policy::finding::{Grade, Verdict};
    use crate::policy::testing::{
        Case, Client, DOPPLER, Handshake, LOG_API, MUTUAL, NATS, UAA, WEAK_SUITE, WHOLE, bind, http, nats,
        observed, one_row, policy, silent, spoken,
    };
    use crate::policy::{Circumstances, Options};
    use crate::protocol::Side;
    use crate::protocol::tls::Version;

    type Found = (Grade, Option<Reason>);

    /// The application and security columns of a row with these two cells.
    fn find_with(options: Options, cells: &str, observed: &Observed) -> [Found; 2] {
        let table = one_row("t", &format!("a,b,1,TCP,{cells}"));
        let row = &table.rows[0];
        [application(row, observed), security(row, observed, &options)]
            .map(|finding| (finding.grade, finding.reason))
    }

    fn find(cells: &str, observed: &Observed) -> [Found; 2] {
        find_with(Options::default(), cells, observed)
    }

    const GRPC: &str = "gRPC over HTTP/2,Mutual TLS";
    const HTTPS: &str = "HTTPS,TLS";
    const YES: Found = (Confirmed, None);

    fn wrong(reason: Reason) -> Found {
        (Contradicted, Some(reason))
    }

    fn unseen(reason: Reason) -> Found {
        (Unseen, Some(reason))
    }

    #[test]
    fn mutual_tls_asks_for_a_certificate_and_an_accepted_handshake() {
        assert_eq!(find(GRPC, &MUTUAL.observed())[1], YES);
        let cases = [
            (Handshake { client: Client::NotAsked, ..MUTUAL }, wrong(Reason::WrongSecurity)),
            (Handshake { client: Client::Empty, ..MUTUAL }, wrong(Reason::WrongSecurity)),
            (Handshake { refused: Some(48), ..MUTUAL }, wrong(Reason::HandshakeFailed)),
            (Handshake { resumed: true, ..MUTUAL }, unseen(Reason::UnseenResumed)),
        ];
        for (handshake, expected) in cases {
            assert_eq!(find(GRPC, &handshake.observed())[1], expected);
        }
        // A row that asks for TLS alone takes any of these but the refused one.
        for (handshake, expected) in [(cases[0].0, YES), (cases[3].0, YES), (MUTUAL, YES)] {
            assert_eq!(find(HTTPS, &handshake.observed())[1], expected);
        }
        assert_eq!(find(HTTPS, &cases[2].0.observed())[1], wrong(Reason::HandshakeFailed));
    }

    #[test]
    fn a_certificate_without_an_answer_of_the_server_proves_nothing() {
        let mut unanswered = MUTUAL.observed_in(WHOLE);
        assert_eq!(find(GRPC, &unanswered)[1], YES);
        let hello = [22, 3, 3, 0, 1, 1];
        unanswered = observed(&[(Side::A, &hello)], Circumstances { packets: [3, 0], ..WHOLE });
        assert_eq!(find(GRPC, &unanswered)[1], unseen(Reason::UnseenOneDirection));
    }

    #[test]
    fn grpc_needs_h2() {
        let h2_and_more = Handshake { offered: &["h2", "http/1.1"], ..MUTUAL };
        let cases = [
            (MUTUAL, (Inferred, None)),
            (h2_and_more, unseen(Reason::UnseenApplication)),
            (Handshake { offered: &[], chosen: None, ..MUTUAL }, wrong(Reason::WrongApplication)),
            (Handshake { offered: &["http/1.1"], chosen: None, ..MUTUAL }, wrong(Reason::WrongApplication)),
            (Handshake { chosen: None, ..MUTUAL }, wrong(Reason::WrongApplication)),
            (Handshake { chosen: Some("http/1.1"), ..h2_and_more }, wrong(Reason::WrongApplication)),
        ];
        for (handshake, expected) in cases {
            let (offered, chosen) = (handshake.offered, handshake.chosen);
            assert_eq!(find(GRPC, &handshake.observed())[0], expected, "{offered:?} {chosen:?}");
        }
    }

    #[test]
    fn https_is_any_http_inside_tls() {
        let both = Handshake { offered: &["h2", "http/1.1"], chosen: Some("http/1.1"), ..MUTUAL };
        let cases = [
            (MUTUAL, YES),
            (both, YES),
            (Handshake { offered: &[], chosen: None, ..MUTUAL }, unseen(Reason::UnseenApplicationNoAlpn)),
            (Handshake { chosen: None, ..both }, (Inferred, None)),
            (
                Handshake { offered: &["h2", "nats"], chosen: None, ..MUTUAL },
                unseen(Reason::UnseenApplication),
            ),
            (
                Handshake { offered: &["nats"], chosen: Some("nats"), ..MUTUAL },
                wrong(Reason::WrongApplication),
            ),
        ];
        for (handshake, expected) in cases {
            let (offered, chosen) = (handshake.offered, handshake.chosen);
            assert_eq!(find(HTTPS, &handshake.observed())[0], expected, "{offered:?} {chosen:?}");
        }
        let plain = find(HTTPS, &http(None, "200 OK"));
        assert_eq!(plain, [wrong(Reason::WrongApplication), wrong(Reason::WrongSecurity)]);
    }

    #[test]
    fn alternatives_are_either() {
        let cells = "HTTP/Server Sent Events,None";
        assert_eq!(find(cells, &http(None, "200 OK")), [YES, YES]);
        let stream =
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(find(cells, &spoken(&["GET / HTTP/1.1\r\nHost: x\r\n\r\n", stream])), [YES, YES]);
        assert_eq!(find("WebSocket,None", &http(None, "200 OK"))[0], wrong(Reason::WrongApplication));
    }

    #[test]
    fn stronger_than_documented_does_not_match_either() {
        let stronger = wrong(Reason::StrongerThanDocumented);
        for cells in ["HTTP,OAuth", "NATS,Basic authentication", "HTTP,None"] {
            assert_eq!(find(cells, &MUTUAL.observed())[1], stronger, "{cells}");
        }
        // What is inside cannot be told, so it gives no reason of its own.
        assert_eq!(find("HTTP,None", &MUTUAL.observed())[0], unseen(Reason::UnseenApplication));
        let policy = policy();
        let judged = Case::new(LOG_API, NATS, 4222, MUTUAL.observed()).judge(&policy);
        assert_eq!(
            (judged.verdict, judged.reason),
            (Verdict::Violation, Some(Reason::StrongerThanDocumented))
        );
    }

    #[test]
    fn old_versions_and_weak_suites_contradict_where_the_operator_draws_the_line() {
        let tls11 = Handshake { version: 0x0302, ..MUTUAL }.observed();
        assert_eq!(find(GRPC, &tls11)[1], wrong(Reason::WeakTls));
        let lower = Options { min_tls: Version::Tls10, ..Options::default() };
        assert_eq!(find_with(lower, GRPC, &tls11)[1], YES);
        let higher = Options { min_tls: Version::Tls13, ..Options::default() };
        assert_eq!(find_with(higher, GRPC, &MUTUAL.observed())[1], wrong(Reason::WeakTls));

        let weak = Handshake { cipher: WEAK_SUITE, ..MUTUAL }.observed();
        assert_eq!(find(GRPC, &weak)[1], YES);
        let deny = Options { weak_cipher: WeakCipher::Deny, ..Options::default() };
        assert_eq!(find_with(deny, GRPC, &weak)[1], wrong(Reason::WeakCipher));
        assert_eq!(find_with(deny, GRPC, &MUTUAL.observed())[1], YES);
    }

    #[test]
    fn a_chain_counts_for_the_ends_the_row_asks_about() {
        let mut observed = MUTUAL.observed();
        observed.chains = [Some(Ok(())), Some(Err(ChainProblem::UnknownIssuer))];
        assert_eq!(find(GRPC, &observed)[1], wrong(Reason::WrongCa));
        assert_eq!(find(HTTPS, &observed)[1], YES, "the client's certificate is not asked for");
        let problems = [
            (ChainProblem::Expired, wrong(Reason::CertificateExpired)),
            (ChainProblem::NotYetValid, wrong(Reason::CertificateExpired)),
            (ChainProblem::WrongUsage, wrong(Reason::WrongKeyUsage)),
            (ChainProblem::Malformed(String::new()), wrong(Reason::WrongSecurity)),
            (ChainProblem::Other(String::new()), YES),
        ];
        for (problem, expected) in problems {
            observed.chains = [Some(Err(problem)), None];
            assert_eq!(find(HTTPS, &observed)[1], expected);
        }
    }

    #[test]
    fn every_request_must_carry_what_the_row_asks_for() {
        let oauth = |observed: &Observed| find("HTTP,OAuth", observed)[1];
        assert_eq!(oauth(&http(Some("bearer x"), "200 OK")), YES);
        assert_eq!(oauth(&http(Some("Bearer x"), "403 Forbidden")), YES);
        assert_eq!(oauth(&http(Some("Bearer x"), "404 Not Found")), YES);
        assert_eq!(oauth(&http(Some("Basic x"), "200 OK")), wrong(Reason::WrongSecurity));
        assert_eq!(oauth(&http(None, "200 OK")), wrong(Reason::WrongSecurity));
        assert_eq!(oauth(&silent()), unseen(Reason::UnseenNoPayload));
        assert_eq!(find("HTTP,Basic authentication", &http(Some("Basic x"), "200 OK"))[1], YES);
        let request = |field: &str| format!("GET / HTTP/1.1\r\nHost: x\r\n{field}\r\n");
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let (with, without) = (request("Authorization: Bearer x\r\n"), request(""));
        assert_eq!(oauth(&spoken(&[&with, answer, &with, answer])), YES);
        assert_eq!(oauth(&spoken(&[&with, answer, &without, answer])), wrong(Reason::WrongSecurity));
    }

    #[test]
    fn a_uaa_token_without_the_word_bearer_is_not_told_from_other_credentials() {
        let token = |authorization| find("HTTP,UAA Token", &http(authorization, "200 OK"))[1];
        assert_eq!(token(Some("Bearer x")), YES);
        assert_eq!(token(Some("eyJhbGciOi")), unseen(Reason::UnseenAuthentication));
        assert_eq!(token(None), wrong(Reason::WrongSecurity));
        assert_eq!(find("HTTP,OAuth", &http(Some("eyJhbGciOi"), "200 OK"))[1], wrong(Reason::WrongSecurity));
    }

    #[test]
    fn only_401_is_a_refusal_and_one_other_answer_is_none() {
        let answers = |all: &[&str]| {
            let request = "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n\r\n".to_owned();
            let texts: Vec<String> = all
                .iter()
                .flat_map(|status| {
                    [request.clone(), format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")]
                })
                .collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            find("HTTP,OAuth", &spoken(&texts))[1]
        };
        assert_eq!(answers(&["401 Unauthorized", "401 Unauthorized"]), wrong(Reason::AuthenticationRefused));
        assert_eq!(answers(&["401 Unauthorized", "200 OK"]), YES);
        assert_eq!(answers(&["401 Unauthorized", "403 Forbidden"]), YES);
    }

    #[test]
    fn requests_before_the_capture_leave_authentication_unseen() {
        let request = b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n\r\n";
        let middle = Circumstances { from_start: false, ..WHOLE };
        let observed = observed(&[(Side::A, request)], middle);
        assert_eq!(find("HTTP,OAuth", &observed)[1].0, Unseen);
        assert_eq!(find("HTTP,OAuth", &observed)[0], YES);
    }

    #[test]
    fn nats_is_user_and_password_let_in() {
        let basic = |connect: &str, answer: &str| find("NATS,Basic authentication", &nats(connect, answer));
        let password = "{\"user\":\"u\",\"pass\":\"p\"}";
        assert_eq!(basic(password, "PONG\r\n"), [YES, YES]);
        assert_eq!(basic(password, "+OK\r\nPONG\r\n"), [YES, YES]);
        assert_eq!(
            basic(password, "-ERR 'Authorization Violation'\r\n")[1],
            wrong(Reason::AuthenticationRefused)
        );
        assert_eq!(basic("{\"verbose\":false}", "PONG\r\n")[1], wrong(Reason::WrongSecurity));
        assert_eq!(basic("{\"auth_token\":\"t\"}", "PONG\r\n")[1], wrong(Reason::WrongSecurity));
        assert_eq!(basic(password, "")[1], unseen(Reason::UnseenAuthentication));
    }

    #[test]
    fn bytes_of_no_protocol_contradict_only_when_they_are_the_first() {
        let bytes = [0xf7u8; 64];
        let from_start = observed(&[(Side::A, &bytes)], WHOLE);
        assert_eq!(find(GRPC, &from_start), [wrong(Reason::WrongApplication), wrong(Reason::WrongSecurity)]);
        let middle = observed(&[(Side::A, &bytes)], Circumstances { from_start: false, ..WHOLE });
        assert_eq!(find(GRPC, &middle), [unseen(Reason::UnseenMidstream), unseen(Reason::UnseenMidstream)]);
        assert_eq!(find(GRPC, &silent()), [unseen(Reason::UnseenNoPayload); 2]);
    }

    #[test]
    fn grpc_in_clear_is_the_wrong_security_and_not_the_wrong_application() {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        let clear = observed(&[(Side::A, preface)], WHOLE);
        let [application, security] = find(GRPC, &clear);
        assert_eq!((application.0, security), (Unseen, wrong(Reason::WrongSecurity)));
        let judged = Case::new(LOG_API, DOPPLER, 8082, clear).judge(&policy());
        assert_eq!((judged.verdict, judged.reason), (Verdict::Violation, Some(Reason::WrongSecurity)));
    }

    #[test]
    fn without_an_inventory_a_contradiction_still_shows() {
        let policy = bind(&[], Options::default());
        let judged = Case::new(LOG_API, UAA, 8443, http(None, "200 OK")).judge(&policy);
        assert_eq!((judged.verdict, judged.reason), (Verdict::Violation, Some(Reason::WrongApplication)));
    }
}
