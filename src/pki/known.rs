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
    /// By their bytes; without a value if they are no certificate.
    known: HashMap<Box<[u8]>, Option<Arc<Leaf>>, RandomState>,
    bytes: usize,
}

/// A certificate that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Whom it names.
    pub names: CertificateNames,
    /// The same as text, unescaped.
    pub text: Arc<str>,
}

impl KnownCertificates {
    /// Reads a certificate in DER, or remembers it; `None` if it cannot be read.
    pub fn leaf(&mut self, der: &[u8]) -> Option<Arc<Leaf>> {
        if let Some(known) = self.known.get(der) {
            return known.clone();
        }
        let leaf = CertificateNames::from_der(der).ok().map(|names| {
            let text = names.to_string().into();
            Arc::new(Leaf { names, text })
        });
        // When full it begins anew: which of them will come again is not known.
        if self.known.len() >= CERTIFICATES_CAP || self.bytes.saturating_add(der.len()) > BYTES_CAP {
            self.known.clear();
            self.bytes = 0;
        }
        if der.len() <= BYTES_CAP {
            self.bytes += der.len();
            self.known.insert(der.into(), leaf.clone());
        }
        leaf
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    #[test]
    fn what_is_remembered_is_what_was_read() {
        let der = |name: &str| {
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
        };
        let mut known = KnownCertificates::default();
        let (one, other) = (der("one"), der("other"));
        for _ in 0..2 {
            for der in [&one, &other] {
                let names = CertificateNames::from_der(der).unwrap();
                let leaf = known.leaf(der).unwrap();
                assert_eq!((&*leaf.text, &leaf.names), (names.to_string().as_str(), &names));
            }
            assert_eq!(known.leaf(b"no certificate"), None);
        }
        assert_eq!(known.known.len(), 3);
    }

    #[test]
    fn however_many_come_no_more_than_the_caps_are_kept() {
        let mut known = KnownCertificates::default();
        for number in 0..=CERTIFICATES_CAP {
            assert_eq!(known.leaf(&number.to_be_bytes()), None);
        }
        assert_eq!((known.known.len(), known.bytes), (1, size_of::<usize>()));
        for number in 0..20u8 {
            assert_eq!(known.leaf(&vec![number; 1 << 20]), None);
            assert!(known.bytes <= BYTES_CAP, "{}", known.bytes);
        }
        assert_eq!(known.leaf(&vec![0; BYTES_CAP + 1]), None);
        assert_eq!((known.known.len(), known.bytes), (0, 0));
    }
}
