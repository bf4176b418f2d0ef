//! The answers of a connection that is over: worked out once, asked for by every row it is held against.

use super::evidence::{Alpn, Basis, ClientCertificate, Evidence, Offer, Outcome};
use super::why::Why;

/// What [`Evidence`] answers, with nothing borrowed from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answers {
    certificate: ClientCertificate<'static>,
    /// The client's chain belongs to the certificate.
    chain: bool,
    pub(super) requested: Option<bool>,
    pub(super) outcome: Outcome,
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
