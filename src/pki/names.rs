//! Who a certificate names (RFC 5280 sections 4.1.2 and 4.2.1.6).
//!
//! These names are for showing and comparing: nothing here says that the certificate is genuine.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use x509_parser::certificate::X509CertificateParser;
use x509_parser::extensions::{GeneralName, SubjectAlternativeName};
use x509_parser::nom::Parser;
use x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME;
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

/// The most alternative names kept of one certificate; the rest are counted.
pub const MAX_NAMES: usize = 32;
/// The most bytes kept of one name: the longest DNS name (RFC 1035 section 2.3.4). A longer one is cut,
/// and ends in `…` so that it equals no real name.
pub const MAX_NAME_BYTES: usize = 255;

/// These bytes are no X.509 certificate in DER; the text says where they stop being one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an X.509 certificate: {0}")]
pub struct NotACertificate(pub String);

/// The names in one certificate, as its bytes have them: hostile until escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateNames {
    /// The subject's common name; the last one when there are several, as Go reads it.
    pub common_name: Option<String>,
    /// DNS names, IP addresses, e-mail addresses and URIs, in the certificate's order.
    ///
    /// Invalid UTF-8 is replaced, and an address of neither 4 nor 16 bytes is written in hexadecimal.
    pub alternative: Vec<String>,
    /// How many alternative names beyond [`MAX_NAMES`] there were.
    pub dropped: usize,
    /// The issuer's common name.
    pub issuer: Option<String>,
    /// The first second of validity, in Unix time.
    pub not_before: i64,
    /// The last second of validity, in Unix time.
    pub not_after: i64,
}

impl CertificateNames {
    /// Reads one certificate in DER. Bytes after it are passed over.
    pub fn from_der(der: &[u8]) -> Result<CertificateNames, NotACertificate> {
        // Of what its extensions hold, only the names are read.
        let mut parser = X509CertificateParser::new().with_deep_parse_extensions(false);
        let (_, certificate) = parser.parse(der).map_err(|error| NotACertificate(error.to_string()))?;
        let mut names = CertificateNames {
            common_name: common_name(certificate.subject()),
            issuer: common_name(certificate.issuer()),
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
            ..CertificateNames::default()
        };
        // An extension that appears twice is an error of the certificate: its names then say nothing.
        if let Ok(Some(extension)) = certificate.get_extension_unique(&OID_X509_EXT_SUBJECT_ALT_NAME)
            && let Ok((_, list)) = SubjectAlternativeName::from_der(extension.value)
        {
            for name in list.general_names.iter().filter_map(alternative) {
                if names.alternative.len() < MAX_NAMES {
                    names.alternative.push(name);
                } else {
                    names.dropped += 1;
                }
            }
        }
        Ok(names)
    }

    /// The common name, then the alternative names.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.common_name.iter().chain(&self.alternative).map(String::as_str)
    }
}

impl fmt::Display for CertificateNames {
    /// `CN=…; SAN=…, …`, unescaped; the part without a name is left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.common_name.is_some() || self.alternative.is_empty() {
            write!(f, "CN={}", self.common_name.as_deref().unwrap_or_default())?;
        }
        for (n, name) in self.alternative.iter().enumerate() {
            let before = match n {
                0 if self.common_name.is_some() => "; SAN=",
                0 => "SAN=",
                _ => ", ",
            };
            write!(f, "{before}{name}")?;
        }
        if self.dropped > 0 {
            write!(f, ", … {} more", self.dropped)?;
        }
        Ok(())
    }
}

fn common_name(name: &X509Name<'_>) -> Option<String> {
    let attribute = name.iter_common_name().last()?;
    Some(match attribute.as_str() {
        Ok(text) => capped(text),
        Err(_) => lossy(attribute.as_slice()),
    })
}

fn alternative(name: &GeneralName<'_>) -> Option<String> {
    Some(match name {
        GeneralName::DNSName(text) | GeneralName::RFC822Name(text) | GeneralName::URI(text) => capped(text),
        GeneralName::IPAddress(bytes) => address(bytes),
        // Text types (RFC 5280: 1 e-mail, 2 DNS, 6 URI) whose bytes are not ASCII.
        GeneralName::Invalid(tag, bytes) if matches!(tag.0, 1 | 2 | 6) => lossy(bytes),
        _ => return None,
    })
}

fn address(bytes: &[u8]) -> String {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Ipv4Addr::from(octets).to_string();
    }
    if let Ok(octets) = <[u8; 16]>::try_from(bytes) {
        return Ipv6Addr::from(octets).to_string();
    }
    let digits = bytes.iter().take(MAX_NAME_BYTES).map(|byte| format!("{byte:02x}"));
    capped(&digits.collect::<String>())
}

fn lossy(bytes: &[u8]) -> String {
    // One byte more than is kept, so that the cut still shows.
    capped(&String::from_utf8_lossy(bytes.get(..=MAX_NAME_BYTES).unwrap_or(bytes)))
}

fn capped(text: &str) -> String {
    if text.len() <= MAX_NAME_BYTES {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(MAX_NAME_BYTES);
    format!("{}…", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, CustomExtension, DnType, KeyPair, SanType};

    fn params(common_name: Option<&str>) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.remove(DnType::CommonName);
        if let Some(name) = common_name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params
    }

    fn read(params: &CertificateParams) -> CertificateNames {
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        CertificateNames::from_der(certificate.der()).unwrap()
    }

    /// A subject alternative name extension of raw GeneralNames: (tag, content).
    fn raw(names: &[(u8, &[u8])]) -> CertificateParams {
        let mut content = Vec::new();
        for (tag, bytes) in names {
            content.extend([0x80 | tag, 0x82]);
            content.extend((bytes.len() as u16).to_be_bytes());
            content.extend(*bytes);
        }
        let mut sequence = vec![0x30, 0x83];
        sequence.extend(&(content.len() as u32).to_be_bytes()[1..]);
        sequence.extend(content);
        let mut params = params(Some("raw"));
        params.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 17], sequence)];
        params
    }

    #[test]
    fn reads_every_kind_of_name() {
        let mut params = params(Some("doppler"));
        params.subject_alt_names = vec![
            SanType::DnsName("doppler.service.cf.internal".try_into().unwrap()),
            SanType::IpAddress("10.0.4.10".parse().unwrap()),
            SanType::IpAddress("fd00::1".parse().unwrap()),
            SanType::Rfc822Name("ops@example.com".try_into().unwrap()),
            SanType::URI("spiffe://cf/doppler".try_into().unwrap()),
        ];
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 1);
        let names = read(&params);
        assert_eq!(
            names.to_string(),
            "CN=doppler; SAN=doppler.service.cf.internal, 10.0.4.10, fd00::1, ops@example.com, spiffe://cf/doppler"
        );
        assert_eq!(names.issuer.as_deref(), Some("doppler"));
        assert_eq!((names.not_before, names.not_after), (1_767_225_600, 1_798_761_600));
        assert!(names.iter().take(2).eq(["doppler", "doppler.service.cf.internal"]));
    }

    #[test]
    fn shows_what_there_is() {
        assert_eq!(read(&params(None)).to_string(), "CN=");
        let mut only = params(None);
        only.subject_alt_names = vec![SanType::DnsName("a".try_into().unwrap())];
        assert_eq!(read(&only).to_string(), "SAN=a");
    }

    #[test]
    fn hostile_names_are_kept_raw_and_capped() {
        let long = vec![b'x'; 70_000 / 2];
        let names = read(&raw(&[(2, b"a\x1b[2J"), (2, b"\xff\xfe"), (7, b"\x01\x02\x03"), (2, &long)]));
        assert_eq!(names.alternative[..3], ["a\u{1b}[2J", "\u{fffd}\u{fffd}", "010203"]);
        assert_eq!(names.alternative[3].len(), MAX_NAME_BYTES + "…".len());
        let many: Vec<(u8, &[u8])> = vec![(2, b"n"); MAX_NAMES + 5];
        let names = read(&raw(&many));
        assert_eq!((names.alternative.len(), names.dropped), (MAX_NAMES, 5));
        assert!(names.to_string().ends_with(", … 5 more"));
    }

    #[test]
    fn recorded_certificates_name_their_components() {
        for (file, shown, issuer) in [
            ("doppler.crt", "CN=doppler; SAN=doppler", "loggregatorCA"),
            ("director.crt", "CN=10.0.0.6; SAN=10.0.0.6", "default.bosh-ca"),
            ("log_cache.crt", "CN=log-cache; SAN=log_cache, log-cache, logcache", "log-cache"),
        ] {
            let path = format!("../shared/captures/loggregator/certs/{file}");
            let Ok(pem) = std::fs::read(&path) else {
                println!("skipped: {path} is not here");
                continue;
            };
            let certificate = &super::super::pem::certificates(file, &pem).unwrap()[0];
            let names = CertificateNames::from_der(certificate).unwrap();
            assert_eq!((names.to_string().as_str(), names.issuer.as_deref()), (shown, Some(issuer)));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = CertificateNames::from_der(&bytes).map(|names| names.to_string());
        }

        #[test]
        fn any_damage_is_read_or_refused(at in 0usize..400, byte in any::<u8>(), cut in 0usize..400) {
            let mut der = DAMAGED.with(|der| der.clone());
            let at = at % der.len();
            der[at] = byte;
            let _ = CertificateNames::from_der(&der).map(|names| names.to_string());
            let cut = cut % der.len();
            prop_assert!(CertificateNames::from_der(&der[..cut]).is_err());
        }

        #[test]
        fn any_names_stay_within_the_caps(
            names in prop::collection::vec((0u8..9, prop::collection::vec(any::<u8>(), 0..600)), 0..40),
        ) {
            let listed: Vec<(u8, &[u8])> = names.iter().map(|(tag, bytes)| (*tag, &bytes[..])).collect();
            let names = read(&raw(&listed));
            prop_assert!(names.alternative.len() <= MAX_NAMES);
            prop_assert!(names.alternative.iter().all(|name| name.len() <= MAX_NAME_BYTES + 3));
        }
    }

    thread_local! {
        static DAMAGED: Vec<u8> = {
            let mut params = params(Some("doppler"));
            params.subject_alt_names = vec![SanType::DnsName("doppler".try_into().unwrap())];
            params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
        };
    }
}
