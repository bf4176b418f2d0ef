//! Whether a chain seen on the wire leads to an authority the user trusts (RFC 5280 section 6).
//!
//! rustls-webpki judges the path. It is stricter than the programs that made the connection: it
//! refuses X.509 v1, SHA-1, RSA keys below 2048 bits and curves ring lacks, all of which old but real
//! certificates have. Such a chain gives [`ChainProblem::Other`]: it could not be judged.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, Error, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter, KeyUsage};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

use super::pem::{self, PemError};

/// The most certificates of one chain that are judged.
pub const MAX_CHAIN: usize = 10;

/// Bits of the RSA keys whose signatures ring checks.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// id-kp-serverAuth and id-kp-clientAuth (RFC 5280 section 4.2.1.12), the content of the OID in DER.
const SERVER_AUTH: KeyPurposeId<'static> = KeyPurposeId::new(&[0x2b, 6, 1, 5, 5, 7, 3, 1]);
const CLIENT_AUTH: KeyPurposeId<'static> = KeyPurposeId::new(&[0x2b, 6, 1, 5, 5, 7, 3, 2]);
/// anyExtendedKeyUsage.
const ANY_USAGE: KeyPurposeId<'static> = KeyPurposeId::new(&[0x55, 0x1d, 0x25, 0]);

/// What a certificate was used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// It was presented by the client.
    Client,
    /// It was presented by the server.
    Server,
}

/// Why a chain is not accepted. Only [`ChainProblem::Other`] leaves the question open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainProblem {
    /// No path of valid signatures and permitted issuers leads to an authority.
    #[error("not issued by an authority given")]
    UnknownIssuer,
    /// A certificate of the path was past its validity.
    #[error("expired")]
    Expired,
    /// A certificate of the path was not valid yet.
    #[error("not valid yet")]
    NotYetValid,
    /// Its extended key usage does not permit what it was used for.
    #[error("not for this use: extended key usage")]
    WrongUsage,
    /// No X.509 certificate at all.
    #[error("malformed: {0}")]
    Malformed(String),
    /// It could not be judged: old or weak cryptography, an unsupported feature, too long a chain.
    #[error("could not be judged: {0}")]
    Other(String),
}

/// The certificate authorities a user trusts.
#[derive(Clone, Debug, Default)]
pub struct Authorities {
    anchors: Vec<TrustAnchor<'static>>,
    certificates: HashSet<CertificateDer<'static>>,
    /// Subject names in DER, each with the bits of its RSA key where ring does not take them.
    subjects: Vec<(Vec<u8>, Option<usize>)>,
}

impl Authorities {
    /// Reads PEM bundles, of at most [`super::MAX_BUNDLE_BYTES`] each; they may be pipes.
    pub fn read<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<Authorities, PemError> {
        let mut authorities = Authorities::default();
        for path in paths {
            let path = path.as_ref();
            authorities.add(&path.display().to_string(), &pem::open(path)?)?;
        }
        Ok(authorities)
    }

    /// Adds the certificates of a PEM bundle, which errors call `file`.
    pub fn add(&mut self, file: &str, pem: &[u8]) -> Result<(), PemError> {
        for (n, certificate) in pem::certificates(file, pem)?.into_iter().enumerate() {
            let fail = |why: String| PemError::new(file, format!("certificate {}: {why}", n + 1));
            if self.certificates.contains(&certificate) {
                continue;
            }
            let anchor = webpki::anchor_from_trusted_cert(&certificate)
                .map_err(|error| fail(error.to_string()))?
                .to_owned();
            let (_, parsed) =
                X509Certificate::from_der(&certificate).map_err(|error| fail(error.to_string()))?;
            self.subjects.push((parsed.subject().as_raw().to_vec(), refused_rsa_bits(&parsed)));
            self.anchors.push(anchor);
            self.certificates.insert(certificate);
        }
        Ok(())
    }

    /// How many different authorities there are.
    pub fn len(&self) -> usize {
        self.anchors.len()
    }

    /// Whether there is none; every chain then has an unknown issuer.
    pub fn is_empty(&self) -> bool {
        self.anchors.is_empty()
    }

    /// Judges a chain as it was presented, the end entity's certificate first, at a time of the capture.
    ///
    /// Names are not compared: who the certificate is for is another question. A certificate that is
    /// itself among the authorities is trusted as it is, within its validity and usage.
    pub fn check(&self, chain: &[&[u8]], usage: Usage, at_unix_seconds: i64) -> Result<(), ChainProblem> {
        let [leaf, issuers @ ..] = chain else {
            return Err(ChainProblem::Malformed("no certificate".to_owned()));
        };
        if issuers.len() >= MAX_CHAIN {
            let what = format!("a chain of {} certificates, at most {MAX_CHAIN} are judged", chain.len());
            return Err(ChainProblem::Other(what));
        }
        let (_, parsed) =
            X509Certificate::from_der(leaf).map_err(|error| ChainProblem::Malformed(error.to_string()))?;
        if self.certificates.contains(&CertificateDer::from(*leaf)) {
            return check_trusted(&parsed, usage, at_unix_seconds);
        }
        // A certificate that is none can be part of no path.
        let parsed: Vec<X509Certificate<'_>> =
            chain.iter().filter_map(|der| Some(X509Certificate::from_der(der).ok()?.1)).collect();
        // A path to an authority has a certificate that names it as issuer: this holds whatever the
        // cryptography, and keeps `Other` from hiding a chain of somebody else's.
        let issued =
            |subject: &[u8]| parsed.iter().any(|certificate| certificate.issuer().as_raw() == subject);
        if !self.subjects.iter().any(|(subject, _)| issued(subject)) {
            return Err(ChainProblem::UnknownIssuer);
        }
        self.verify(leaf, issuers, usage, at_unix_seconds).map_err(|error| match error {
            Error::UnknownIssuer
            | Error::EndEntityUsedAsCa
            | Error::PathLenConstraintViolated
            | Error::NameConstraintViolation => ChainProblem::UnknownIssuer,
            // ring calls a signature by a key it does not take invalid too.
            Error::InvalidSignatureForPublicKey => {
                let authorities =
                    self.subjects.iter().filter(|(subject, _)| issued(subject)).filter_map(|(_, bits)| *bits);
                let presented = parsed
                    .iter()
                    .filter(|certificate| issued(certificate.subject().as_raw()))
                    .filter_map(refused_rsa_bits);
                match authorities.chain(presented).next() {
                    Some(bits) => ChainProblem::Other(format!("signed with an RSA key of {bits} bits")),
                    None => ChainProblem::UnknownIssuer,
                }
            }
            Error::CertExpired { .. } => ChainProblem::Expired,
            Error::CertNotValidYet { .. } => ChainProblem::NotYetValid,
            Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => ChainProblem::WrongUsage,
            other => ChainProblem::Other(other.to_string()),
        })
    }

    fn verify(&self, leaf: &[u8], issuers: &[&[u8]], usage: Usage, at: i64) -> Result<(), Error> {
        let leaf = CertificateDer::from(leaf);
        let issuers: Vec<CertificateDer<'_>> = issuers.iter().map(|der| CertificateDer::from(*der)).collect();
        // Before the epoch nothing is valid yet either.
        let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(at).unwrap_or(0)));
        let leaf = EndEntityCert::try_from(&leaf)?;
        let algorithms = webpki::ALL_VERIFICATION_ALGS;
        leaf.verify_for_usage(algorithms, &self.anchors, &issuers, at, usage, None, None).map(|_| ())
    }
}

impl ExtendedKeyUsageValidator for Usage {
    /// As webpki's own, and satisfied by anyExtendedKeyUsage as in RFC 5280.
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        let (wanted, required) = match self {
            Usage::Client => (CLIENT_AUTH, KeyUsage::client_auth()),
            Usage::Server => (SERVER_AUTH, KeyUsage::server_auth()),
        };
        let mut any = false;
        for purpose in purposes {
            let purpose = purpose?;
            if purpose == wanted || purpose == ANY_USAGE {
                return Ok(());
            }
            any = true;
        }
        let context = webpki::RequiredEkuNotFoundContext { required, present: Vec::new() };
        if any { Err(Error::RequiredEkuNotFoundContext(context)) } else { Ok(()) }
    }
}

fn check_trusted(leaf: &X509Certificate<'_>, usage: Usage, at: i64) -> Result<(), ChainProblem> {
    if at < leaf.validity().not_before.timestamp() {
        return Err(ChainProblem::NotYetValid);
    }
    if at > leaf.validity().not_after.timestamp() {
        return Err(ChainProblem::Expired);
    }
    match leaf.extended_key_usage() {
        Ok(None) => Ok(()),
        Ok(Some(extension)) => {
            let given = extension.value;
            let this = match usage {
                Usage::Client => given.client_auth,
                Usage::Server => given.server_auth,
            };
            if this || given.any { Ok(()) } else { Err(ChainProblem::WrongUsage) }
        }
        Err(error) => Err(ChainProblem::Other(error.to_string())),
    }
}

/// The bits of an RSA key that ring does not take; `None` for any other key.
fn refused_rsa_bits(certificate: &X509Certificate<'_>) -> Option<usize> {
    let Ok(PublicKey::RSA(key)) = certificate.public_key().parsed() else { return None };
    let significant = key.modulus.iter().skip_while(|byte| **byte == 0).count();
    Some(significant.saturating_mul(8)).filter(|bits| !RSA_BITS.contains(bits))
}

#[cfg(test)]
mod tests;
