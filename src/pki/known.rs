//! Certificates that were read before: what a server shows, it shows to every client.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::CertificateNames;

/// Certificates that are remembered.
const CERTIFICATES_CAP: usize = 1024;
/// Bytes of theirs that are remembered.
const BYTES_CAP: usize = 8 << 20;

/// What certificates were read to name, within caps; who reads certificates has one of its own.
#[derive(Debug, Default)]
pub struct KnownCertificates {
    /// By where the chains are kept that begin with them, which is nobody else's place while they are held
    /// here; without a value if they are no certificates.
    known: HashMap<usize, (Chain, Option<Arc<Leaf>>), RandomState>,
    bytes: usize,
}

/// Certificates in DER, leaf first; chains that are alike are one as a rule.
type Chain = Arc<[Box<[u8]>]>;

/// A certificate that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Whom it names.
    pub names: CertificateNames,
    /// The same as text, unescaped.
    pub text: Arc<str>,
}

impl KnownCertificates {
    /// Reads the first certificate of a chain, or remembers it; `None` if it cannot be read.
    pub fn leaf(&mut self, chain: &Chain) -> Option<Arc<Leaf>> {
        let place = Arc::as_ptr(chain).addr();
        if let Some((_, leaf)) = self.known.get(&place) {
            return leaf.clone();
        }
        let leaf = CertificateNames::from_der(chain.first()?).ok().map(|names| {
            let text = names.to_string().into();
            Arc::new(Leaf { names, text })
        });
        let bytes = chain.iter().map(|der| der.len()).sum();
        // When full it begins anew: which of them will come again is not known.
        if self.known.len() >= CERTIFICATES_CAP || self.bytes.saturating_add(bytes) > BYTES_CAP {
            self.known.clear();
            self.bytes = 0;
        }
        if bytes <= BYTES_CAP {
            self.bytes += bytes;
            self.known.insert(place, (Arc::clone(chain), leaf.clone()));
        }
        leaf
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    fn chain(der: &[u8]) -> Chain {
        Arc::from([Box::from(der)])
    }

    #[test]
    fn what_is_remembered_is_what_was_read() {
        let signed = |name: &str| {
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            chain(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der())
        };
        let mut known = KnownCertificates::default();
        let (one, other, none) = (signed("one"), signed("other"), chain(b"no certificate"));
        for _ in 0..2 {
            for chain in [&one, &other] {
                let names = CertificateNames::from_der(&chain[0]).unwrap();
                let leaf = known.leaf(chain).unwrap();
                assert_eq!((&*leaf.text, &leaf.names), (names.to_string().as_str(), &names));
            }
            assert_eq!(known.leaf(&none), None);
        }
        assert_eq!(known.known.len(), 3);
    }

    #[test]
    fn however_many_come_no_more_than_the_caps_are_kept() {
        let mut known = KnownCertificates::default();
        for number in 0..=CERTIFICATES_CAP {
            assert_eq!(known.leaf(&chain(&number.to_be_bytes())), None);
        }
        assert_eq!((known.known.len(), known.bytes), (1, size_of::<usize>()));
        for number in 0..20u8 {
            assert_eq!(known.leaf(&chain(&vec![number; 1 << 20])), None);
            assert!(known.bytes <= BYTES_CAP, "{}", known.bytes);
        }
        assert_eq!(known.leaf(&chain(&vec![0; BYTES_CAP + 1])), None);
        assert_eq!((known.known.len(), known.bytes), (0, 0));
    }
}
