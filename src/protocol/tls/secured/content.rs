//! What opened records say: alerts, data, and the encrypted messages of TLS 1.3.

use super::Secured;
use crate::protocol::Side;
use crate::protocol::tls::Plaintext;
use crate::protocol::tls::alert::{Alert, CLOSE_NOTIFY};
use crate::protocol::tls::decrypt::Epoch;
use crate::protocol::tls::evidence::Evidence;
use crate::protocol::tls::handshake::{self, Message, kind};
use crate::protocol::tls::record::Kind;

impl Secured {
    /// Takes what one opened record carries.
    pub(super) fn content(
        &mut self,
        evidence: &mut Evidence,
        side: Side,
        epoch: Epoch,
        (kind, content): (Kind, &[u8]),
        at: i64,
        plaintext: &mut dyn Plaintext,
    ) {
        let from_client = evidence.client == Some(side);
        let facts = evidence.decrypted.get_or_insert_default();
        match kind {
            Kind::Handshake => self.messages(evidence, side, epoch, content, at),
            Kind::Alert => {
                if let [level, description] = *content {
                    // In TLS 1.3 every alert but the closing ones is fatal, whatever its level.
                    let fatal =
                        if self.session.is_modern() { description != CLOSE_NOTIFY } else { level == 2 };
                    facts.alert(Alert { side, fatal, description });
                }
            }
            Kind::ApplicationData if !content.is_empty() => {
                if epoch == Epoch::Early {
                    let accepted = facts.extensions.as_ref().is_some_and(|extensions| extensions.early_data);
                    if !accepted {
                        return;
                    }
                } else if from_client {
                    facts.client_data.get_or_insert(at);
                } else {
                    facts.server_sent(at);
                }
                plaintext.read(side, content, at);
            }
            Kind::ApplicationData | Kind::ChangeCipherSpec | Kind::Heartbeat => {}
        }
    }

    fn messages(&mut self, evidence: &mut Evidence, side: Side, epoch: Epoch, mut content: &[u8], at: i64) {
        if !self.session.is_modern() {
            return;
        }
        let Some(mut messages) = self.messages[side.index()].take() else { return };
        while let Some(message) = messages.next(&mut content) {
            self.note(evidence, side, epoch, &message, at);
        }
        self.messages[side.index()] = Some(messages);
    }

    /// Takes what an encrypted message of TLS 1.3 shows into the evidence.
    fn note(&mut self, evidence: &mut Evidence, side: Side, epoch: Epoch, message: &Message, at: i64) {
        let from_client = evidence.client == Some(side);
        let facts = evidence.decrypted.get_or_insert_default();
        if !from_client && epoch == Epoch::Application {
            facts.server_sent(at);
        }
        match (message.kind, message.body) {
            (kind::ENCRYPTED_EXTENSIONS, Some(body)) if !from_client => {
                match handshake::encrypted_extensions(body) {
                    Some(extensions) => facts.extensions = Some(extensions),
                    None => evidence.malformed = true,
                }
            }
            (kind::CERTIFICATE_REQUEST, _) if !from_client => {
                evidence.certificate_request |= epoch == Epoch::Handshake;
            }
            (kind::CERTIFICATE, Some(body)) => {
                let first = !matches!(evidence.chains.get(side.index()), Some(Some(_)));
                facts.post_handshake |= from_client && first && epoch == Epoch::Application;
                match handshake::certificates_modern(body) {
                    Some(chain) => evidence.keep_chain(side, chain),
                    None => evidence.malformed = true,
                }
            }
            (kind::CERTIFICATE, None) => evidence.malformed = true,
            (kind::COMPRESSED_CERTIFICATE, _) if from_client => facts.compressed = true,
            (kind::CERTIFICATE_VERIFY, _) if from_client => evidence.certificate_verify = true,
            (kind::FINISHED, _) => {
                if facts.finished[side.index()].is_none() {
                    facts.finished[side.index()] = Some(at);
                    facts.flight_whole[side.index()] =
                        epoch == Epoch::Handshake && !facts.broken[side.index()];
                } else if from_client {
                    facts.post_finished = Some(at);
                }
                self.session.next_key(side, Epoch::Handshake);
            }
            (kind::END_OF_EARLY_DATA, _) if from_client => self.session.next_key(side, Epoch::Early),
            (kind::KEY_UPDATE, _) => self.session.update(side),
            _ => {}
        }
    }
}
