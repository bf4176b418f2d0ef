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
