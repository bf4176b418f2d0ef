//! The answers of a connection that is over: worked out once, asked for by every row it is held against.

use super::evidence::{Alpn, Authentication, Basis, ClientCertificate, Evidence, Offer, Outcome};
use super::hello::Version;
use super::modern::Reading;
use super::resume::{Given, given_encrypted, given_in_clear};
use super::why::Why;
use super::{alpn, classic, modern};
use crate::protocol::Side;

/// What is asked of a connection at one time: what several questions rest on is read once.
pub(super) struct Questions<'e> {
    evidence: &'e Evidence,
    /// `None` before a version is negotiated.
    family: Option<Family<'e>>,
}

enum Family<'e> {
    /// TLS 1.2 and before, and the client's side.
    Classic(Side),
    /// TLS 1.3.
    Modern(Reading<'e>),
}

impl<'e> Questions<'e> {
    pub(super) fn of(evidence: &'e Evidence) -> Questions<'e> {
        let family = evidence.client().zip(evidence.version()).map(|(client, version)| match version {
            Version::Tls13 => Family::Modern(Reading::new(evidence, client)),
            _ => Family::Classic(client),
        });
        Questions { evidence, family }
    }

    pub(super) fn certificate(&self) -> ClientCertificate<'e> {
        match &self.family {
            Some(Family::Classic(client)) => classic::client_certificate(self.evidence, *client),
            Some(Family::Modern(reading)) => modern::client_certificate(reading),
            None => ClientCertificate::Unseen(self.evidence.why_no_server_hello()),
        }
    }

    pub(super) fn certificate_requested(&self) -> Option<bool> {
        match self.family.as_ref()? {
            Family::Classic(client) => classic::certificate_requested(self.evidence, *client),
            Family::Modern(reading) => modern::certificate_requested(reading),
        }
    }

    pub(super) fn resumed(&self) -> Option<bool> {
        match self.family.as_ref()? {
            Family::Classic(client) => classic::resumed(self.evidence, *client),
            Family::Modern(reading) => Some(reading.is_resumed()),
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        match &self.family {
            Some(Family::Classic(client)) => classic::outcome(self.evidence, *client),
            Some(Family::Modern(reading)) => modern::outcome(reading),
            None => self.evidence.outcome_without_server_hello(),
        }
    }

    pub(super) fn renegotiated(&self) -> bool {
        matches!(&self.family, Some(Family::Classic(client)) if classic::renegotiated(self.evidence, *client))
    }

    pub(super) fn authentication(&self) -> Authentication {
        let (certificate, outcome, resumed) = match self.evidence.answers() {
            Some(answers) => (answers.certificate(self.evidence), answers.outcome, answers.resumed),
            None => (self.certificate(), self.outcome(), self.resumed()),
        };
        match (outcome, certificate) {
            (Outcome::Refused { basis, .. }, _) => Authentication::Refused(basis),
            _ if resumed == Some(true) => Authentication::Resumed,
            (_, ClientCertificate::None(basis)) if self.evidence.version() == Some(Version::Tls13) => {
                Authentication::OneWay(basis)
            }
            (_, ClientCertificate::Unseen(why)) => Authentication::Unseen(why),
            (Outcome::Unseen(why), _) => Authentication::Unseen(why),
            // The weaker of the two carries the answer.
            (Outcome::Accepted(by), ClientCertificate::Presented { basis, .. }) => {
                Authentication::Mutual(basis.max(by))
            }
            (Outcome::Accepted(by), ClientCertificate::Empty(basis)) => Authentication::Empty(basis.max(by)),
            (Outcome::Accepted(by), ClientCertificate::None(basis)) => Authentication::OneWay(basis.max(by)),
        }
    }

    pub(super) fn given(&self) -> Option<Given> {
        if let Some(answers) = self.evidence.answers() {
            return answers.given;
        }
        match self.family.as_ref()? {
            Family::Classic(_) => given_in_clear(self.evidence),
            Family::Modern(reading) => Some(given_encrypted(reading)),
        }
    }

    pub(super) fn alpn(&self) -> Alpn<'e> {
        let reading = match &self.family {
            Some(Family::Modern(reading)) => Some(reading),
            _ => None,
        };
        alpn::chosen(self.evidence, reading)
    }
}

/// What [`Evidence`] answers, with nothing borrowed from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Answers {
    certificate: ClientCertificate<'static>,
    /// The client's chain belongs to the certificate.
    chain: bool,
    pub(super) requested: Option<bool>,
    pub(super) outcome: Outcome,
    pub(super) resumed: Option<bool>,
    pub(super) renegotiated: bool,
    pub(super) given: Option<Given>,
    pub(super) progress: usize,
    alpn: Choice,
}

/// [`Alpn`], with nothing borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Choice {
    /// This one of those the client offered.
    Offered(u8, Basis),
    None(Basis),
    Unseen(Why),
    /// It was sent in so many bytes, and is looked up there.
    Sent,
}

impl Answers {
    pub(super) fn of(evidence: &Evidence) -> Answers {
        if let Some(known) = evidence.answers() {
            return *known;
        }
        let questions = Questions::of(evidence);
        let (certificate, chain) = match questions.certificate() {
            ClientCertificate::Presented { basis, chain, post_handshake } => {
                (ClientCertificate::Presented { basis, chain: None, post_handshake }, chain.is_some())
            }
            ClientCertificate::Empty(basis) => (ClientCertificate::Empty(basis), false),
            ClientCertificate::None(basis) => (ClientCertificate::None(basis), false),
            ClientCertificate::Unseen(why) => (ClientCertificate::Unseen(why), false),
        };
        Answers {
            certificate,
            chain,
            requested: questions.certificate_requested(),
            outcome: questions.outcome(),
            resumed: questions.resumed(),
            renegotiated: questions.renegotiated(),
            given: questions.given(),
            progress: evidence.progress(),
            alpn: Choice::of(questions.alpn(), evidence),
        }
    }

    pub(super) fn certificate<'a>(&self, evidence: &'a Evidence) -> ClientCertificate<'a> {
        match self.certificate {
            ClientCertificate::Presented { basis, post_handshake, .. } if self.chain => {
                let chain = evidence.client().and_then(|client| evidence.chain(client));
                ClientCertificate::Presented { basis, chain, post_handshake }
            }
            other => other,
        }
    }

    /// `None` where the evidence itself tells at once.
    pub(super) fn alpn<'a>(&self, evidence: &'a Evidence) -> Option<Alpn<'a>> {
        match self.alpn {
            Choice::Offered(at, basis) => {
                let Offer::List(offered) = evidence.alpn_offered() else { return None };
                offered.get(usize::from(at)).map(|name| Alpn::Chosen(name, basis))
            }
            Choice::None(basis) => Some(Alpn::None(basis)),
            Choice::Unseen(why) => Some(Alpn::Unseen(why)),
            Choice::Sent => None,
        }
    }
}

impl Choice {
    fn of(alpn: Alpn<'_>, evidence: &Evidence) -> Choice {
        match alpn {
            Alpn::None(basis) => Choice::None(basis),
            Alpn::Unseen(why) => Choice::Unseen(why),
            Alpn::Chosen(name, basis @ Basis::Inferred) => {
                let Offer::List(offered) = evidence.alpn_offered() else { return Choice::Sent };
                let at = offered.iter().position(|offered| **offered == *name);
                at.and_then(|at| u8::try_from(at).ok()).map_or(Choice::Sent, |at| Choice::Offered(at, basis))
            }
            Alpn::Chosen(..) => Choice::Sent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Kind;
    use super::super::testing::{SHA256, SHA384, Script, play};
    use super::super::trace::RECORD_CAP;
    use super::*;
    use crate::protocol::Side;
    use proptest::prelude::*;

    /// A second, in nanoseconds.
    const SECOND: i64 = 1_000_000_000;

    proptest! {
        /// Letting record headers go changes no answer, whatever lengths fill them and however it closes.
        #[test]
        fn what_is_concluded_early_stands(
            start in prop_oneof![
                Just("C22 S22"),
                Just("C22 S22 S:32 S:941 S:281 S:53"),
                Just("C22 S22 S:32 S:113 S:941 S:281 S:53 C:961 C:281 C:53"),
                Just("C22 S22 S:1342 C:1261 C:71"),
                Just("C22 Sgap S:1200 C:53"),
                Just("C22 C:71"),
            ],
            modes in (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()),
            client in proptest::collection::vec(prop_oneof![Just(53u16), Just(19), Just(281), 17u16..2200], RECORD_CAP),
            server in proptest::collection::vec(prop_oneof![Just(53u16), Just(19), Just(140), 17u16..2200], RECORD_CAP),
            client_first: bool,
            last_apart: bool,
            closes in proptest::collection::vec((any::<bool>(), 0i64..3 * SECOND), 0..3),
        ) {
            let (psk, early_data, post_handshake_auth, long) = modes;
            let cipher = if long { SHA384.cipher } else { SHA256.cipher };
            let script = Script { cipher, psk, early_data, post_handshake_auth, alpn: &["h2", "http/1.1"] };
            let mut evidence = play(script, start);
            let mut fill = |side, lengths: &[u16], skipped: usize, at| {
                for length in lengths.iter().skip(skipped) {
                    evidence.trace.push(side, Kind::ApplicationData, *length, at);
                }
            };
            // One record of the server's after all of the client's is where a close may still tell.
            fill(Side::B, &server, usize::from(last_apart), SECOND);
            fill(if client_first { Side::A } else { Side::B }, &client, 0, 2 * SECOND);
            fill(Side::A, &client, 0, 2 * SECOND);
            fill(Side::B, &server, 0, 3 * SECOND);
            let mut early = evidence.clone();
            early.conclude_but_for_closes();
            for (side, after) in closes {
                let side = if side { Side::A } else { Side::B };
                evidence.trace.close(side, 3 * SECOND + after);
                early.trace.close(side, 3 * SECOND + after);
            }
            early.conclude();
            prop_assert_eq!(Answers::of(&early), Answers::of(&evidence));
            prop_assert_eq!(early.authentication(), evidence.authentication());
            prop_assert_eq!(early.alpn(), evidence.alpn());
        }
    }
}
