//! The answers of a connection that is over: worked out once, asked for by every row it is held against.

use super::evidence::{Alpn, Basis, ClientCertificate, Evidence, Offer, Outcome};
use super::resume::Given;
use super::why::Why;

/// What [`Evidence`] answers, with nothing borrowed from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
        let certificate = evidence.client_certificate();
        let (certificate, chain) = match certificate {
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
            requested: evidence.certificate_requested(),
            outcome: evidence.outcome(),
            resumed: evidence.resumed(),
            renegotiated: evidence.renegotiated(),
            given: evidence.given(),
            progress: evidence.progress(),
            alpn: Choice::of(evidence),
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
    fn of(evidence: &Evidence) -> Choice {
        match evidence.alpn() {
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
