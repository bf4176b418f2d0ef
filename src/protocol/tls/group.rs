//! Key exchange: named groups (IANA TLS Supported Groups registry) and finite-field sizes.

use std::fmt;

use super::cipher;
use super::evidence::Evidence;
use crate::protocol::cursor::Cursor;

/// How the keys of a connection were agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyExchange {
    /// In this named group.
    Group(u16),
    /// Diffie-Hellman over a finite field whose prime has so many bits, chosen by the server (RFC 5246).
    FiniteField(u32),
    /// The client encrypted the secret to the server's RSA key: no forward secrecy.
    Rsa,
}

/// The registered name of a group, and whether it withstands a quantum computer.
fn group(number: u16) -> Option<(&'static str, bool)> {
    Some(match number {
        0x0013 => ("secp192r1", false),
        0x0015 => ("secp224r1", false),
        0x0017 => ("secp256r1", false),
        0x0018 => ("secp384r1", false),
        0x0019 => ("secp521r1", false),
        0x001a => ("brainpoolP256r1", false),
        0x001b => ("brainpoolP384r1", false),
        0x001c => ("brainpoolP512r1", false),
        0x001d => ("X25519", false),
        0x001e => ("X448", false),
        0x001f => ("brainpoolP256r1tls13", false),
        0x0020 => ("brainpoolP384r1tls13", false),
        0x0021 => ("brainpoolP512r1tls13", false),
        0x0029 => ("curveSM2", false),
        0x0100 => ("ffdhe2048", false),
        0x0101 => ("ffdhe3072", false),
        0x0102 => ("ffdhe4096", false),
        0x0103 => ("ffdhe6144", false),
        0x0104 => ("ffdhe8192", false),
        0x0200 => ("MLKEM512", true),
        0x0201 => ("MLKEM768", true),
        0x0202 => ("MLKEM1024", true),
        0x11eb => ("SecP256r1MLKEM768", true),
        0x11ec => ("X25519MLKEM768", true),
        0x11ed => ("SecP384r1MLKEM1024", true),
        0x6399 => ("X25519Kyber768Draft00", true),
        0x639a => ("SecP256r1Kyber768Draft00", true),
        _ => return None,
    })
}

impl fmt::Display for KeyExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            KeyExchange::Group(number) => match group(number) {
                Some((name, true)) => write!(f, "{name} (post-quantum)"),
                Some((name, false)) => f.write_str(name),
                None => write!(f, "group 0x{number:04x}"),
            },
            KeyExchange::FiniteField(bits) => write!(f, "finite field of {bits} bits"),
            KeyExchange::Rsa => f.write_str("RSA (no forward secrecy)"),
        }
    }
}

impl Evidence {
    /// How the keys were agreed; `None` where it was not seen, or nothing was agreed anew.
    pub fn key_exchange(&self) -> Option<KeyExchange> {
        if let Some(group) = self.group() {
            return Some(KeyExchange::Group(group));
        }
        if let Some(bits) = self.finite_field {
            return Some(KeyExchange::FiniteField(bits));
        }
        let rsa = cipher::classify(self.cipher()?)?.rsa_key_exchange;
        (rsa && self.resumed() == Some(false)).then_some(KeyExchange::Rsa)
    }
}

/// Bits of the prime in a ServerKeyExchange of a DHE suite (RFC 5246 section 7.4.3).
pub(super) fn finite_field(body: &[u8]) -> Option<u32> {
    let prime = Cursor::new(body).vector16()?;
    let first = prime.iter().position(|byte| *byte != 0)?;
    let significant = prime.get(first..)?;
    let bits = u32::try_from(significant.len()).ok()? * 8;
    Some(bits - significant.first()?.leading_zeros())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{SHA256, play};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn groups_are_named_and_post_quantum_is_said() {
        assert_eq!(KeyExchange::Group(0x11ec).to_string(), "X25519MLKEM768 (post-quantum)");
        assert_eq!(KeyExchange::Group(0x001d).to_string(), "X25519");
        assert_eq!(KeyExchange::Group(0xfe30).to_string(), "group 0xfe30");
    }

    #[test]
    fn a_prime_is_as_long_as_its_first_bit_says() {
        let mut body = vec![1, 0];
        body.extend([0xff; 256]);
        assert_eq!(finite_field(&body), Some(2048));
        assert_eq!(finite_field(&[0, 3, 0, 0x40, 1]), Some(15));
        assert_eq!(finite_field(&[0, 2, 0, 0]), None);
        assert_eq!(finite_field(&[1, 0, 0xff]), None);
    }

    #[test]
    fn nothing_was_agreed_before_a_server_hello() {
        assert_eq!(play(SHA256, "C22").key_exchange(), None);
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_size_or_none(body in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert!(finite_field(&body).is_none_or(|bits| bits > 0 && bits <= 8 * 38));
        }
    }
}
