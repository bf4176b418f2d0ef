//! PEM bundles of certificates (RFC 7468).
//!
//! This is the one module that names rustls-pemfile. That crate is unmaintained (RUSTSEC-2025-0134)
//! and a thin wrapper over the PEM reader of rustls-pki-types, which this crate has anyway. To drop it,
//! replace the call in `certificates` by `CertificateDer::pem_slice_iter(bytes)` of
//! `rustls_pki_types::pem::PemObject`, which yields the same items.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustls_pki_types::CertificateDer;

/// The largest PEM bundle read, in bytes.
pub const MAX_BUNDLE_BYTES: u64 = 16 * 1024 * 1024;
/// The most certificates in one bundle.
pub const MAX_AUTHORITIES: usize = 4096;

/// Characters of the PEM reader's own complaint that are shown.
const SHOWN: usize = 120;

/// A bundle that cannot be read or holds no usable authority.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {what}; {advice}")]
pub struct PemError {
    /// The file, as the user named it.
    pub file: String,
    /// What is wrong.
    pub what: String,
    /// What the user can do about it.
    pub advice: String,
}

impl PemError {
    pub(super) fn new(file: &str, what: String) -> PemError {
        let advice = "give a file of CERTIFICATE sections, as `openssl x509` writes them".to_owned();
        PemError { file: file.to_owned(), what, advice }
    }
}

/// Reads a bundle from a file, which may be a pipe.
pub(super) fn open(path: &Path) -> Result<Vec<u8>, PemError> {
    let fail = |what| PemError::new(&path.display().to_string(), what);
    let file = File::open(path).map_err(|error| fail(error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(MAX_BUNDLE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| fail(error.to_string()))?;
    if bytes.len() as u64 > MAX_BUNDLE_BYTES {
        return Err(fail(format!("larger than {MAX_BUNDLE_BYTES} bytes")));
    }
    Ok(bytes)
}

/// The certificates of a bundle, at least one; other sections, private keys among them, are passed over.
pub(super) fn certificates(file: &str, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let mut rest = bytes;
    let mut certificates = Vec::new();
    for certificate in rustls_pemfile::certs(&mut rest) {
        let certificate = certificate.map_err(|error| {
            // The text quotes the line at fault, whatever its length.
            let why: String = error.to_string().chars().take(SHOWN).collect();
            PemError::new(file, format!("not PEM after {} certificates: {why}", certificates.len()))
        })?;
        if certificates.len() == MAX_AUTHORITIES {
            return Err(PemError::new(file, format!("more than {MAX_AUTHORITIES} certificates")));
        }
        certificates.push(certificate);
    }
    if certificates.is_empty() {
        return Err(PemError::new(file, "no certificate in PEM".to_owned()));
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(bytes: &[u8]) -> String {
        certificates("ca.pem", bytes).unwrap_err().to_string()
    }

    #[test]
    fn reads_certificates_and_passes_over_the_rest() {
        let text = b"issued by us\n-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n\
            -----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n";
        assert_eq!(certificates("ca.pem", text).unwrap(), [CertificateDer::from(vec![0x30, 3, 2, 1, 1])]);
    }

    #[test]
    fn errors_name_the_file() {
        assert!(refused(b"").starts_with("ca.pem: no certificate in PEM; give a file of CERTIFICATE"));
        assert!(refused(&[0x30, 0x82, 1, 2]).starts_with("ca.pem: no certificate in PEM"));
        let place = "ca.pem: not PEM after 0 certificates: ";
        for wrong in ["MAMC\n", "!\n-----END CERTIFICATE-----\n"] {
            let error = refused(format!("-----BEGIN CERTIFICATE-----\n{wrong}").as_bytes());
            assert!(error.starts_with(place), "{error}");
        }
        let long = refused(format!("-----BEGIN {}\n", "x".repeat(5000)).as_bytes());
        assert!(long.starts_with(place) && long.len() < 300, "{long}");
        assert!(open(Path::new("/no/such/file")).unwrap_err().to_string().starts_with("/no/such/file: "));
    }

    #[test]
    fn the_number_of_certificates_is_capped() {
        let one = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n";
        assert!(certificates("ca.pem", one.repeat(MAX_AUTHORITIES).as_bytes()).is_ok());
        assert!(refused(one.repeat(MAX_AUTHORITIES + 1).as_bytes()).contains("more than 4096"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "\\PC*") {
            let _ = certificates("f", &bytes);
            let _ = certificates("f", format!("-----BEGIN CERTIFICATE-----\n{text}").as_bytes());
            let _ = certificates("f", format!("-----BEGIN {text}").as_bytes());
        }
    }
}
