//! What decrypted records showed of a TLS connection, and what follows from it.

use super::alert::{Alert, CLOSE_NOTIFY};
use super::evidence::{ALERT_CAP, Basis, ClientCertificate, Evidence, Outcome};
use super::why::Why;
use crate::protocol::Side;

/// user_canceled: says nothing of the handshake (RFC 8446 section 6.1).
const USER_CANCELED: u8 = 90;

/// How far the keys that were given went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decryption {
    /// The key log has nothing of this session.
    NoKey,
    /// It has, but the version or the cipher suite is not supported.
    Unsupported,
    /// The key opens not one record.
    WrongKey,
    /// Records were opened until one did not.
    Stopped {
        /// How many.
        records: u32,
    },
    /// All that was tried was opened.
    Opened {
        /// How many records.
        records: u32,
    },
}

/// The facts. Certificates stand beside those of clear handshakes, in [`Evidence`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Decrypted {
    pub(super) no_key: bool,
    pub(super) unsupported: bool,
    pub(super) opened: u32,
    pub(super) failed: bool,
    /// Records of this side are missing, or did not open.
    pub(super) broken: [bool; 2],
    /// EncryptedExtensions were read: the protocol chosen, raw, and whether early data was accepted.
    pub(super) extensions: Option<Extensions>,
    /// Packet time of each side's Finished, nanoseconds.
    pub(super) finished: [Option<i64>; 2],
    /// All handshake messages of this side up to its Finished were read.
    pub(super) flight_whole: [bool; 2],
    /// The client sent its certificate after its Finished.
    pub(super) post_handshake: bool,
    /// Packet time of the Finished that came with it.
    pub(super) post_finished: Option<i64>,
    /// The client sent a compressed certificate (RFC 8879), which is not read.
    pub(super) compressed: bool,
    pub(super) alerts: Vec<Alert>,
    /// Packet time of the client's first application data.
    pub(super) client_data: Option<i64>,
    /// Packet time of the server's first and last record under its application keys, alerts left out.
    pub(super) server_went_on: Option<(i64, i64)>,
}

/// What EncryptedExtensions held (RFC 8446 section 4.3.1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Extensions {
    pub(super) alpn: Option<Box<[u8]>>,
    pub(super) early_data: bool,
}

impl Decrypted {
    /// Bytes on the heap.
    pub(super) fn held(&self) -> usize {
        let alpn = self.extensions.as_ref().and_then(|extensions| extensions.alpn.as_deref());
        size_of::<Alert>() * self.alerts.capacity() + alpn.map_or(0, <[u8]>::len)
    }

    pub(super) fn decryption(&self) -> Option<Decryption> {
        Some(match (self.opened, self.failed) {
            _ if self.no_key => Decryption::NoKey,
            _ if self.unsupported => Decryption::Unsupported,
            (0, true) => Decryption::WrongKey,
            (0, false) => return None,
            (records, true) => Decryption::Stopped { records },
            (records, false) => Decryption::Opened { records },
        })
    }

    pub(super) fn alert(&mut self, alert: Alert) {
        if self.alerts.len() < ALERT_CAP {
            self.alerts.push(alert);
        }
    }

    pub(super) fn server_sent(&mut self, at: i64) {
        let (first, last) = self.server_went_on.unwrap_or((at, at));
        self.server_went_on = Some((first.min(at), last.max(at)));
    }

    /// Whether the server went on after the client's flight: it sent something after client data, or all
    /// that it sent came after the Finished. What crosses the flight on the wire proves nothing.
    pub(super) fn accepted(&self, client: Side) -> bool {
        let (Some(finished), Some((first, last))) = (self.finished[client.index()], self.server_went_on)
        else {
            return false;
        };
        first > finished || self.client_data.is_some_and(|data| data >= finished && last > data)
    }

    /// Whether the server went on after a certificate that came after the handshake.
    pub(super) fn accepted_later(&self) -> bool {
        let last = self.server_went_on.map(|(_, last)| last);
        self.post_finished.is_some_and(|finished| last.is_some_and(|last| last > finished))
    }

    /// Nothing of the handshake is still to come.
    pub(super) fn is_settled(&self, client: Side) -> bool {
        self.finished[client.other().index()].is_some() && self.accepted(client)
    }

    fn error(&self, side: Side) -> Option<u8> {
        let errors = self.alerts.iter().filter(|alert| alert.side == side).map(|alert| alert.description);
        errors.into_iter().find(|alert| !matches!(*alert, CLOSE_NOTIFY | USER_CANCELED))
    }
}

/// What the client showed of itself in TLS 1.3; `None` if the decrypted records do not tell.
pub(super) fn client_certificate(evidence: &Evidence, client: Side) -> Option<ClientCertificate<'_>> {
    let decrypted = evidence.decrypted.as_deref()?;
    let post_handshake = decrypted.post_handshake;
    let presented = |chain| ClientCertificate::Presented { basis: Basis::Decrypted, chain, post_handshake };
    Some(match evidence.chain(client) {
        Some(chain) if chain.certificates.is_empty() => ClientCertificate::Empty(Basis::Decrypted),
        Some(_)
            if post_handshake && !decrypted.accepted_later() && decrypted.error(client.other()).is_none() =>
        {
            ClientCertificate::Unseen(Why::NoAnswer)
        }
        Some(chain) if evidence.certificate_verify => presented(Some(chain)),
        None if decrypted.compressed && evidence.certificate_verify => presented(None),
        Some(_) => ClientCertificate::Unseen(Why::NoCertificateVerify),
        None if decrypted.compressed => ClientCertificate::Unseen(Why::NoCertificateVerify),
        None if !decrypted.flight_whole[client.index()] => return None,
        None => {
            let later = evidence.client_hello().is_some_and(|hello| hello.post_handshake_auth);
            if later && decrypted.broken[client.index()] {
                ClientCertificate::Unseen(Why::Hole)
            } else {
                ClientCertificate::None(Basis::Decrypted)
            }
        }
    })
}

/// Whether the server asked for a certificate during the handshake; `None` if the records do not tell.
pub(super) fn certificate_requested(evidence: &Evidence, client: Side) -> Option<bool> {
    let decrypted = evidence.decrypted.as_deref()?;
    if evidence.certificate_request {
        return Some(true);
    }
    decrypted.flight_whole[client.other().index()].then_some(false)
}

/// How a handshake of TLS 1.3 ended; `None` if the decrypted records do not tell.
pub(super) fn outcome(evidence: &Evidence, client: Side) -> Option<Outcome> {
    let decrypted = evidence.decrypted.as_deref()?;
    let server = client.other();
    let accepted = decrypted.accepted(client);
    // A client that has none to show later on was let in before, whatever becomes of it.
    let none_later =
        decrypted.post_handshake && evidence.chain(client).is_some_and(|chain| chain.certificates.is_empty());
    let refused = |by, alert| Some(Outcome::Refused { by, alert: Some(alert), basis: Basis::Decrypted });
    match (decrypted.error(server), decrypted.error(client)) {
        (Some(alert), _) if !accepted || (is_about_handshake(alert) && !none_later) => refused(server, alert),
        (_, Some(alert)) if decrypted.finished[client.index()].is_none() => refused(client, alert),
        _ => accepted.then_some(Outcome::Accepted(Basis::Decrypted)),
    }
}

/// Alerts that end a handshake, even if the server sent data before it read the client's flight.
fn is_about_handshake(alert: u8) -> bool {
    matches!(alert, 40..=49 | 51 | 115 | 116 | 120)
}
