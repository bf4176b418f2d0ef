//! TLS 1.2 and before: the handshake is in clear up to each side's ChangeCipherSpec.

use super::alert::NO_CERTIFICATE;
use super::evidence::{Basis, ClientCertificate, Evidence, Outcome};
use super::hello::Version;
use super::record::Kind;
use super::trace::{Direction, Moment};
use super::why::Why;
use crate::protocol::Side;

/// What the client showed of itself.
pub(super) fn client_certificate(evidence: &Evidence, client: Side) -> ClientCertificate<'_> {
    if resumed(evidence, client) == Some(true) {
        return ClientCertificate::Unseen(Why::Resumed);
    }
    let done = change_cipher(evidence.trace().side(client)).is_some();
    if let Some(chain) = evidence.chain(client) {
        return if chain.certificates.is_empty() {
            ClientCertificate::Empty(Basis::Clear)
        } else if evidence.certificate_verify {
            ClientCertificate::Presented { basis: Basis::Clear, chain: Some(chain), post_handshake: false }
        } else if done {
            ClientCertificate::Unseen(Why::NoCertificateVerify)
        } else {
            ClientCertificate::Unseen(evidence.why_missing(client))
        };
    }
    let refused_ssl3 =
        |alert: &super::alert::Alert| alert.side == client && alert.description == NO_CERTIFICATE;
    if evidence.version() == Some(Version::Ssl3) && evidence.alerts().iter().any(refused_ssl3) {
        return ClientCertificate::Empty(Basis::Clear);
    }
    if renegotiated(evidence, client) {
        return ClientCertificate::Unseen(Why::Renegotiation);
    }
    // The Certificate stands before the ClientKeyExchange: from there on its absence is certain,
    // unless this side's beginning is missing.
    let hole = evidence.trace().side(client).has_hole();
    let certain = evidence.client_key_exchange && !hole && !evidence.midstream && !evidence.malformed;
    if certain || certificate_requested(evidence, client) == Some(false) {
        ClientCertificate::None(Basis::Clear)
    } else {
        ClientCertificate::Unseen(evidence.why_missing(client))
    }
}

/// Whether CertificateRequest stood before ServerHelloDone.
pub(super) fn certificate_requested(evidence: &Evidence, client: Side) -> Option<bool> {
    if evidence.certificate_request {
        Some(true)
    } else if evidence.trace().side(client.other()).has_hole() {
        // The request may be what is missing; a resumption was read before that.
        (resumed(evidence, client) == Some(true)).then_some(false)
    } else if evidence.server_hello_done || resumed(evidence, client) == Some(true) {
        Some(false)
    } else {
        None
    }
}

/// An abbreviated handshake: the server changes ciphers without a ServerHelloDone (RFC 5246 section 7.3).
pub(super) fn resumed(evidence: &Evidence, client: Side) -> Option<bool> {
    let server = client.other();
    if evidence.server_hello_done || evidence.chain(server).is_some() {
        return Some(false);
    }
    let before = evidence.trace().side(server).before_hole();
    before.iter().any(|record| record.kind == Kind::ChangeCipherSpec).then_some(true)
}

/// How the handshake ended.
pub(super) fn outcome(evidence: &Evidence, client: Side) -> Outcome {
    let (ours, theirs) = (evidence.trace().side(client), evidence.trace().side(client.other()));
    let abbreviated = resumed(evidence, client) == Some(true);
    let (client_finished, server_finished) = (finished(ours), finished(theirs));
    if server_finished && (client_finished || !abbreviated) {
        return Outcome::Accepted(Basis::Clear);
    }
    let refused = |by, alert| Outcome::Refused { by, alert, basis: Basis::Clear };
    if let Some(alert) = evidence.fatal_alert(client.other()) {
        return refused(client.other(), Some(alert));
    }
    if let Some(alert) = evidence.fatal_alert(client) {
        return refused(client, Some(alert));
    }
    let before = |a: Option<Moment>, b: Option<Moment>| match (a, b) {
        (Some(a), Some(b)) => a < b,
        (a, _) => a.is_some(),
    };
    // What a whole stream does not hold was never sent.
    if theirs.whole() && !server_finished && before(theirs.closed, ours.closed) && !left(ours, theirs.closed)
    {
        return refused(client.other(), None);
    }
    if ours.whole() && !client_finished && ours.closed.is_some() && before(ours.closed, theirs.closed) {
        return refused(client, None);
    }
    if ours.whole() && client_finished && ours.closed.is_some() {
        return Outcome::Unseen(if theirs.has_hole() { Why::Hole } else { Why::NoAnswer });
    }
    let missing = if server_finished { client } else { client.other() };
    Outcome::Unseen(evidence.why_missing(missing))
}

/// Handshake messages after application data.
pub(super) fn renegotiated(evidence: &Evidence, client: Side) -> bool {
    let records = &evidence.trace().side(client).records;
    let data = records.iter().position(|record| record.kind == Kind::ApplicationData);
    data.and_then(|at| records.get(at..))
        .is_some_and(|later| later.iter().any(|record| record.kind == Kind::Handshake))
}

/// Index of the first ChangeCipherSpec.
fn change_cipher(direction: &Direction) -> Option<usize> {
    direction.records.iter().position(|record| record.kind == Kind::ChangeCipherSpec)
}

/// Whether an encrypted Finished, or what can only follow it, was sent.
fn finished(direction: &Direction) -> bool {
    let after = change_cipher(direction).and_then(|at| direction.records.get(at + 1..)).unwrap_or_default();
    after.iter().any(|record| matches!(record.kind, Kind::Handshake | Kind::ApplicationData))
}

/// Whether the client said goodbye, under encryption, before the server closed.
fn left(client: &Direction, closed: Option<Moment>) -> bool {
    client
        .records
        .iter()
        .any(|record| record.kind == Kind::Alert && closed.is_none_or(|closed| record.at < closed))
}

#[cfg(test)]
mod tests {
    use super::super::evidence::{Alpn, Authentication};
    use super::super::testing::{client_hello, extension, feed, message, record, server_hello};
    use super::super::{Parser, RECORD_CAP};
    use super::*;

    const CLIENT: Side = Side::B;
    const SERVER: Side = Side::A;

    /// Plays a TLS 1.2 connection. Client: `CH` hello, `cert`, `empty`, `KEX`, `CV` signature; server: `SH`
    /// hello, `CERT`, `REQ`, `DONE`, `NST`; both, with `C` or `S` before: `ccs`, `fin-` encrypted Finished,
    /// `data`, `bye` encrypted alert, `alert` fatal in clear, `close`, `reset`, `gap`.
    fn play(words: &str) -> Evidence {
        let mut parser = Parser::new();
        let list = |certificates: &[u8]| [&[0, 0, certificates.len() as u8][..], certificates].concat();
        for (at, word) in (0i64..).map(|at| at * 1_000_000).zip(words.split_whitespace()) {
            let (side, clear) = match word {
                "CH" => (CLIENT, client_hello(&[])),
                "cert" => (CLIENT, message(11, &list(&[0, 0, 2, 0x30, 0]))),
                "empty" => (CLIENT, message(11, &list(&[]))),
                "KEX" => (CLIENT, message(16, &[1; 33])),
                "CV" => (CLIENT, message(15, &[1; 70])),
                "SH" => (SERVER, server_hello(0xc02f, &extension(16, &[0, 3, 2, b'h', b'2']))),
                "CERT" => (SERVER, message(11, &list(&[0, 0, 3, 0x30, 1, 5]))),
                "REQ" => (SERVER, message(13, &[0; 20])),
                "DONE" => (SERVER, [message(12, &[3, 0, 29, 0]), message(14, &[])].concat()),
                "NST" => (SERVER, message(4, &[0; 100])),
                _ => {
                    let (side, what) = word.split_at(1);
                    let side = if side == "C" { CLIENT } else { SERVER };
                    let bytes = match what {
                        "ccs" => record(20, &[1]),
                        "fin-" => record(22, &[0; 40]),
                        "data" => record(23, &[3; 80]),
                        "bye" => record(21, &[0; 26]),
                        "alert" => record(21, &[2, 42]),
                        "warning" => record(21, &[1, 41]),
                        "gap" => {
                            parser.gap(side, u64::MAX, &mut super::super::testing::Unread);
                            continue;
                        }
                        "close" | "reset" => {
                            parser.closed(side, what == "reset", at);
                            continue;
                        }
                        other => panic!("{other} is no word"),
                    };
                    feed(&mut parser, side, &bytes, at);
                    continue;
                }
            };
            feed(&mut parser, side, &record(22, &clear), at);
        }
        parser.evidence().clone()
    }

    fn said(words: &str) -> Authentication {
        play(words).authentication()
    }

    const ASKED: &str = "CH SH CERT REQ DONE";
    const FINISHED: &str = "Cccs Cfin- NST Sccs Sfin-";

    #[test]
    fn mutual_one_way_and_empty() {
        let evidence = play(&format!("{ASKED} cert KEX CV {FINISHED}"));
        assert_eq!(evidence.authentication(), Authentication::Mutual(Basis::Clear));
        assert_eq!(evidence.client(), Some(CLIENT));
        assert_eq!(evidence.certificate_requested(), Some(true));
        assert_eq!(evidence.resumed(), Some(false));
        assert_eq!(
            (evidence.version(), evidence.cipher(), evidence.group()),
            (Some(Version::Tls12), Some(0xc02f), Some(29))
        );
        assert_eq!(evidence.alpn(), Alpn::Chosen(b"h2", Basis::Clear));
        assert_eq!(evidence.ticket_length(), Some(100));
        let chain = |chain: Option<&super::super::Chain>| chain.map(|chain| chain.certificates.concat());
        assert_eq!(chain(evidence.server_chain()), Some(vec![0x30, 1, 5]));
        match evidence.client_certificate() {
            ClientCertificate::Presented { chain: presented, basis: Basis::Clear, post_handshake: false } => {
                assert_eq!(chain(presented), Some(vec![0x30, 0]));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(said(&format!("{ASKED} empty KEX {FINISHED}")), Authentication::Empty(Basis::Clear));
        assert_eq!(said(&format!("CH SH CERT DONE KEX {FINISHED}")), Authentication::OneWay(Basis::Clear));
    }

    #[test]
    fn a_certificate_without_its_proof_is_not_mutual() {
        let words = format!("{ASKED} cert KEX {FINISHED}");
        assert_eq!(said(&words), Authentication::Unseen(Why::NoCertificateVerify));
    }

    #[test]
    fn refusals() {
        let refused = Authentication::Refused(Basis::Clear);
        let outcome = |words: &str| play(&format!("{ASKED} {words}")).outcome();
        let by = |by, alert| Outcome::Refused { by, alert, basis: Basis::Clear };
        assert_eq!(outcome("cert KEX CV Cccs Cfin- Salert Sclose"), by(SERVER, Some(42)));
        assert_eq!(outcome("Calert Cclose"), by(CLIENT, Some(42)));
        assert_eq!(outcome("empty KEX Cccs Cfin- Sreset"), by(SERVER, None));
        assert_eq!(outcome("Cclose Sclose"), by(CLIENT, None));
        assert_eq!(said(&format!("{ASKED} empty KEX Cccs Cfin- Salert")), refused);
        assert_eq!(said("CH Salert Sclose"), refused);
    }

    #[test]
    fn what_is_missing_refuses_nothing_and_proves_nothing() {
        for words in [
            "cert KEX CV Cccs Cfin- Sgap Sclose",
            "cert KEX CV Cccs Cfin- Cclose Sclose",
            "cert KEX CV Cccs Cfin- Cbye Sclose",
            "cert KEX CV Cccs Cfin-",
            "cert KEX CV Cccs Cfin- Cgap Cclose",
            "Cgap KEX Cccs Cfin- Sccs Sfin-",
            "cert KEX Cgap Cccs Cfin- Sgap",
        ] {
            let said = said(&format!("{ASKED} {words}"));
            assert!(matches!(said, Authentication::Unseen(_)), "{words}: {said:?}");
        }
        // The request may be what is missing; so may all of a full handshake before ChangeCipherSpec.
        assert_eq!(
            said("CH SH CERT Sgap DONE Cgap Cccs Cfin- Sccs Sfin-"),
            Authentication::Unseen(Why::Hole)
        );
        assert_eq!(play("CH SH Sgap Sccs Sfin- Cccs Cfin-").resumed(), None);
        // A certificate read after a hole is a certificate.
        let late = format!("Cgap SH CERT REQ DONE cert KEX CV {FINISHED}");
        assert_eq!(said(&late), Authentication::Mutual(Basis::Clear));
    }

    #[test]
    fn resumption() {
        let evidence = play("CH SH NST Sccs Sfin- Cccs Cfin- Cdata");
        assert_eq!(evidence.resumed(), Some(true));
        assert_eq!(evidence.authentication(), Authentication::Resumed);
        assert_eq!(evidence.outcome(), Outcome::Accepted(Basis::Clear));
        let broken_off = play("CH SH Sccs Sfin- Cclose");
        assert_eq!(broken_off.outcome(), Outcome::Refused { by: CLIENT, alert: None, basis: Basis::Clear });
    }

    #[test]
    fn renegotiation_leaves_a_missing_certificate_open() {
        let words = format!("CH SH CERT DONE KEX {FINISHED} Cdata Sfin- Cfin-");
        assert!(play(&words).renegotiated());
        assert_eq!(said(&words), Authentication::Unseen(Why::Renegotiation));
    }

    #[test]
    fn a_connection_begun_before_the_capture_tells_what_is_left() {
        let evidence = play("Cdata Sdata Cdata");
        assert!(evidence.midstream());
        assert_eq!(evidence.authentication(), Authentication::Unseen(Why::Midstream));
        let evidence = play("cert KEX CV Cccs Cfin- Sccs Sfin-");
        assert!(evidence.midstream());
        assert!(matches!(evidence.authentication(), Authentication::Unseen(_)));
    }

    #[test]
    fn a_side_is_done_at_the_cap() {
        let mut parser = Parser::new();
        let data = record(23, &[3; 80]).repeat(RECORD_CAP + 1);
        assert_eq!(feed(&mut parser, CLIENT, &data, 0), crate::protocol::Step::Done);
        assert_eq!(parser.evidence().trace().side(CLIENT).records.len(), RECORD_CAP);
    }
}
