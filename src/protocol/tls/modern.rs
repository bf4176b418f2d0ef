//! TLS 1.3: what the clear part of the handshake says, what [`decrypted`] records showed, and what
//! [`infer`] reads off the rest.

use super::alert::CLOSE_NOTIFY;
use super::decrypted;
use super::evidence::{Basis, ClientCertificate, Evidence, Outcome};
use super::infer::{self, Acceptance, Observed, Presented, Sizes};
use super::record::Kind;
use super::trace::{Moment, Record};
use super::why::Why;
use crate::protocol::Side;

/// The application-data records after the ServerHello, copied out of the trace.
pub(super) struct Records {
    sizes: Sizes,
    client: Vec<Record>,
    server: Vec<Record>,
}

impl Records {
    /// `None` if the cipher suite is not one of TLS 1.3, or the ServerHello has no place in the trace.
    pub(super) fn new(evidence: &Evidence, client: Side) -> Option<Records> {
        let sizes = Sizes::of(evidence.cipher()?)?;
        let hello = evidence.trace().server_hello()?;
        let of = |side| {
            let records = evidence.trace().side(side).before_hole().iter();
            records
                .filter(|record| record.kind == Kind::ApplicationData && record.at > hello)
                .copied()
                .collect()
        };
        Some(Records { sizes, client: of(client), server: of(client.other()) })
    }

    pub(super) fn observed<'a>(&'a self, evidence: &Evidence, client: Side) -> Observed<'a> {
        let (ours, theirs) = (evidence.trace().side(client), evidence.trace().side(client.other()));
        let offered = evidence.client_hello();
        Observed {
            sizes: self.sizes,
            client: &self.client,
            server: &self.server,
            client_closed: ours.closed,
            server_closed: theirs.closed,
            whole: ours.whole() && theirs.whole(),
            early_data: evidence.early_data,
            fragment_limit: offered.is_some_and(|hello| {
                hello.record_size_limit.is_some() || hello.max_fragment_length.is_some()
            }),
        }
    }
}

/// What the client showed of itself.
pub(super) fn client_certificate(evidence: &Evidence, client: Side) -> ClientCertificate<'_> {
    if evidence.server_hello().is_some_and(|hello| hello.psk_accepted) {
        return ClientCertificate::Unseen(Why::Resumed);
    }
    if let Some(shown) = decrypted::client_certificate(evidence, client) {
        return shown;
    }
    let Some(why) = unreadable(evidence, client) else { return read_certificate(evidence, client) };
    ClientCertificate::Unseen(why)
}

/// Whether the server asked for a certificate during the handshake.
pub(super) fn certificate_requested(evidence: &Evidence, client: Side) -> Option<bool> {
    if evidence.server_hello()?.psk_accepted {
        return Some(false);
    }
    if let Some(requested) = decrypted::certificate_requested(evidence, client) {
        return Some(requested);
    }
    let records = Records::new(evidence, client)?;
    let seen = records.observed(evidence, client);
    let server = infer::server_flight(&seen);
    if unreadable(evidence, client).is_some() {
        return server.asked;
    }
    match infer::client_flight(&seen, &server).presented {
        Presented::Certificate | Presented::Empty => Some(true),
        Presented::Nothing => Some(false),
        Presented::Unclear(Why::Contradiction) => None,
        _ => server.asked,
    }
}

/// How the handshake ended.
pub(super) fn outcome(evidence: &Evidence, client: Side) -> Outcome {
    let server_side = client.other();
    let refused = |by, alert, basis| Outcome::Refused { by, alert, basis };
    if let Some(alert) = evidence.fatal_alert(server_side) {
        return refused(server_side, Some(alert), Basis::Clear);
    }
    if let Some(shown) = decrypted::outcome(evidence, client) {
        return shown;
    }
    let Some(records) = Records::new(evidence, client) else { return Outcome::Unseen(Why::Encrypted) };
    let seen = records.observed(evidence, client);
    // Once the client encrypts, a record in clear is not from TLS.
    let clear = evidence.alerts().iter().find(|alert| alert.side == client && seen.client.is_empty());
    if let Some(alert) = clear {
        return refused(client, Some(alert.description).filter(|&alert| alert != CLOSE_NOTIFY), Basis::Clear);
    }
    if let Some(why) = unreadable(evidence, client) {
        return Outcome::Unseen(why);
    }
    if evidence.server_hello().is_some_and(|hello| hello.psk_accepted) {
        return resumption(&seen);
    }
    let server = infer::server_flight(&seen);
    let flight = infer::client_flight(&seen, &server);
    match flight.presented {
        Presented::Silence => silence(evidence, client, &seen, &server),
        Presented::Alert => refused(client, None, Basis::Inferred),
        Presented::Unclear(why) => Outcome::Unseen(why),
        _ => match infer::acceptance(&seen, &flight, &server) {
            Acceptance::Yes => Outcome::Accepted(Basis::Inferred),
            Acceptance::No => refused(server_side, None, Basis::Inferred),
            Acceptance::Unknown(Why::Hole) => {
                let side = if evidence.trace().side(client).whole() { server_side } else { client };
                Outcome::Unseen(evidence.why_missing(side))
            }
            Acceptance::Unknown(why) => Outcome::Unseen(why),
        },
    }
}

fn read_certificate(evidence: &Evidence, client: Side) -> ClientCertificate<'_> {
    let Some(records) = Records::new(evidence, client) else {
        return ClientCertificate::Unseen(Why::Encrypted);
    };
    let seen = records.observed(evidence, client);
    let server = infer::server_flight(&seen);
    let flight = infer::client_flight(&seen, &server);
    let presented =
        |post_handshake| ClientCertificate::Presented { basis: Basis::Inferred, chain: None, post_handshake };
    match flight.presented {
        Presented::Certificate => presented(false),
        Presented::Empty => ClientCertificate::Empty(Basis::Inferred),
        Presented::Nothing => {
            let offered = evidence.client_hello().is_some_and(|hello| hello.post_handshake_auth);
            if offered && infer::post_handshake_certificate(&seen, &flight, &server) {
                presented(true)
            } else if offered
                && [client, client.other()].iter().any(|&side| evidence.trace().side(side).has_hole())
            {
                ClientCertificate::Unseen(Why::Hole)
            } else {
                ClientCertificate::None(Basis::Inferred)
            }
        }
        Presented::Alert => ClientCertificate::Unseen(Why::NotFinished),
        Presented::Silence => ClientCertificate::Unseen(evidence.why_missing(client)),
        Presented::Unclear(why) => ClientCertificate::Unseen(why),
    }
}

/// Why the client's flight cannot be read at all, if so.
fn unreadable(evidence: &Evidence, client: Side) -> Option<Why> {
    if evidence.client_hello().is_none() {
        Some(evidence.why_missing(client))
    } else if evidence.midstream {
        Some(Why::Midstream)
    } else {
        None
    }
}

/// No flight came from the client. Who closes a stream that is whole has broken off, unless records
/// beyond the server's flight show that the client's flight escaped the capture.
fn silence(evidence: &Evidence, client: Side, seen: &Observed, server: &infer::ServerFlight) -> Outcome {
    let first = |ours: Option<Moment>, theirs: Option<Moment>| match (ours, theirs) {
        (Some(ours), Some(theirs)) => ours < theirs,
        (ours, _) => ours.is_some(),
    };
    let refused = |by| Outcome::Refused { by, alert: None, basis: Basis::Clear };
    let early = evidence.early_data;
    if seen.whole && !early && first(seen.client_closed, seen.server_closed) {
        return refused(client);
    }
    let flight_only = seen.server.len() <= server.records.unwrap_or(1);
    if seen.whole && !early && flight_only && first(seen.server_closed, seen.client_closed) {
        return refused(client.other());
    }
    Outcome::Unseen(evidence.why_missing(client))
}

/// A resumption: the server's records after the client's Finished show that both went on.
fn resumption(seen: &Observed) -> Outcome {
    let finished = infer::resumed_finished(seen).and_then(|at| seen.client.get(at));
    let Some(finished) = finished else { return Outcome::Unseen(Why::NotFinished) };
    let alert = 3 + seen.sizes.tag;
    let went_on = |record: &Record| {
        record.at > finished.at && ![alert, alert + 16, 16 + seen.sizes.tag].contains(&record.length)
    };
    if seen.server.iter().any(went_on) {
        Outcome::Accepted(Basis::Inferred)
    } else {
        Outcome::Unseen(Why::NoAnswer)
    }
}
