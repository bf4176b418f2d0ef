//! From secrets to record keys: HKDF-Expand-Label (RFC 8446 section 7.1) and the PRF of TLS 1.2
//! (RFC 5246 section 5), on ring's HKDF and HMAC.

use ring::aead::{AES_128_GCM, AES_256_GCM, Algorithm, CHACHA20_POLY1305};
use ring::{hkdf, hmac};

use super::keylog::Secret;
use super::protection::{Nonces, RecordKey};
use crate::protocol::tls::cipher::cipher_name;
use crate::protocol::tls::hello::Version;

/// A cipher suite that can be decrypted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suite {
    aead: &'static Algorithm,
    sha384: bool,
    modern: bool,
}

/// Record keys of TLS 1.2: of the client, and of the server.
pub(super) type Pair = [RecordKey; 2];

impl Suite {
    /// `None` for CBC, CCM, stream ciphers, and whatever ring does not have.
    pub(super) fn of(version: Version, cipher: u16) -> Option<Suite> {
        let name = cipher_name(cipher)?;
        let modern = version >= Version::Tls13;
        if version < Version::Tls12 || modern != (cipher >> 8 == 0x13) {
            return None;
        }
        let aead = if name.contains("_AES_128_GCM_") {
            &AES_128_GCM
        } else if name.contains("_AES_256_GCM_") {
            &AES_256_GCM
        } else if name.contains("_CHACHA20_POLY1305_") {
            &CHACHA20_POLY1305
        } else {
            return None;
        };
        Some(Suite { aead, sha384: name.ends_with("_SHA384"), modern })
    }

    /// TLS 1.3, and not 1.2.
    pub(super) fn is_modern(self) -> bool {
        self.modern
    }

    /// The record key of a traffic secret (RFC 8446 section 7.3); `None` if it is not as long as the hash.
    pub(super) fn traffic_key(self, secret: &[u8]) -> Option<RecordKey> {
        let mut key = [0; 32];
        let key = key.get_mut(..self.aead.key_len())?;
        let mut iv = [0; 12];
        self.expand(secret, b"key", key)?;
        self.expand(secret, b"iv", &mut iv)?;
        RecordKey::new(self.aead, key, iv, Nonces::Modern)
    }

    /// The traffic secret after a KeyUpdate (RFC 8446 section 7.2).
    pub(super) fn updated(self, secret: &[u8]) -> Option<Secret> {
        let mut next = [0; 48];
        let next = next.get_mut(..self.hash_length())?;
        self.expand(secret, b"traffic upd", next)?;
        Secret::new(next)
    }

    /// The record keys of a master secret (RFC 5246 section 6.3, RFC 5288 section 3, RFC 7905 section 2).
    pub(super) fn key_block(
        self,
        master: &[u8],
        client_random: &[u8; 32],
        server_random: &[u8; 32],
    ) -> Option<Pair> {
        let chacha = self.aead == &CHACHA20_POLY1305;
        let (key, salt) = (self.aead.key_len(), if chacha { 12 } else { 4 });
        let mut block = [0; 2 * (32 + 12)];
        let block = block.get_mut(..2 * (key + salt))?;
        prf(self.sha384, master, b"key expansion", &[server_random, client_random], block);
        let (keys, salts) = block.split_at_checked(2 * key)?;
        let ((client, server), (client_salt, server_salt)) =
            (keys.split_at_checked(key)?, salts.split_at_checked(salt)?);
        let nonces = if chacha { Nonces::Sequence } else { Nonces::Explicit };
        let record_key = |key: &[u8], salt: &[u8]| {
            let mut iv = [0; 12];
            iv.get_mut(..salt.len())?.copy_from_slice(salt);
            RecordKey::new(self.aead, key, iv, nonces)
        };
        Some([record_key(client, client_salt)?, record_key(server, server_salt)?])
    }

    fn hash_length(self) -> usize {
        if self.sha384 { 48 } else { 32 }
    }

    /// HKDF-Expand-Label without a context.
    fn expand(self, secret: &[u8], label: &[u8], out: &mut [u8]) -> Option<()> {
        struct Length(usize);
        impl hkdf::KeyType for Length {
            fn len(&self) -> usize {
                self.0
            }
        }
        if secret.len() != self.hash_length() {
            return None;
        }
        let algorithm = if self.sha384 { hkdf::HKDF_SHA384 } else { hkdf::HKDF_SHA256 };
        let length = u16::try_from(out.len()).ok()?.to_be_bytes();
        let label_length = [u8::try_from(6 + label.len()).ok()?];
        let info = [&length[..], &label_length, b"tls13 ", label, &[0]];
        let key = hkdf::Prk::new_less_safe(algorithm, secret);
        key.expand(&info, Length(out.len())).ok()?.fill(out).ok()
    }
}

/// The pseudorandom function of TLS 1.2: P_hash over label and seed (RFC 5246 section 5).
fn prf(sha384: bool, secret: &[u8], label: &[u8], seed: &[&[u8]], out: &mut [u8]) {
    let algorithm = if sha384 { hmac::HMAC_SHA384 } else { hmac::HMAC_SHA256 };
    let key = hmac::Key::new(algorithm, secret);
    let keyed = |before: &[u8]| {
        let mut context = hmac::Context::with_key(&key);
        context.update(before);
        context
    };
    let finish = |mut context: hmac::Context| {
        context.update(label);
        seed.iter().for_each(|part| context.update(part));
        context.sign()
    };
    let mut a = finish(keyed(&[]));
    for part in out.chunks_mut(a.as_ref().len()) {
        let block = finish(keyed(a.as_ref()));
        part.copy_from_slice(block.as_ref().get(..part.len()).unwrap_or_default());
        a = hmac::sign(&key, a.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::tls::decrypt::testing::{RFC8448, hex};

    #[test]
    fn suites_that_can_be_decrypted() {
        let of = |version, suite| Suite::of(version, suite).is_some();
        for modern in [0x1301, 0x1302, 0x1303] {
            assert!(of(Version::Tls13, modern) && !of(Version::Tls12, modern));
        }
        for classic in [0x009c, 0x009d, 0xc02b, 0xc02f, 0xc030, 0xcca8, 0xcca9, 0x00a8] {
            assert!(of(Version::Tls12, classic) && !of(Version::Tls13, classic), "{classic:04x}");
            assert!(!of(Version::Tls11, classic));
        }
        // CCM, CBC, RC4, Camellia, SM4, unknown.
        for other in [0x1304, 0x1305, 0x00c6, 0x002f, 0xc014, 0x0005, 0xc0ac, 0xc072, 0x0a0a] {
            assert!(!of(Version::Tls12, other) && !of(Version::Tls13, other), "{other:04x}");
        }
    }

    /// RFC 8448 section 3: the keys beside the traffic secrets.
    #[test]
    fn labels_expand_as_published() {
        let suite = Suite::of(Version::Tls13, 0x1301).unwrap();
        let expand = |secret: &str, label: &[u8], length: usize| {
            let mut out = vec![0; length];
            suite.expand(&hex(secret), label, &mut out).unwrap();
            out
        };
        let secret = RFC8448.server_handshake;
        assert_eq!(expand(secret, b"key", 16), hex("3fce516009c21727d0f2e4e86ee403bc"));
        assert_eq!(expand(secret, b"iv", 12), hex("5d313eb2671276ee13000b30"));
        let finished = "008d3b66f816ea559f96b537e885c31fc068bf492c652f01f288a1d8cdc19fc8";
        assert_eq!(expand(secret, b"finished", 32), hex(finished));
        assert_eq!(expand(RFC8448.client_handshake, b"key", 16), hex("dbfaa693d1762c5b666af5d950258d01"));
        assert_eq!(expand(RFC8448.client_handshake, b"iv", 12), hex("5bd3c71b836e0b76bb73265f"));
        assert!(suite.traffic_key(&[0; 48]).is_none());
    }

    /// The vector that the IETF TLS working group's list published for P_SHA256.
    #[test]
    fn the_prf_gives_the_published_bytes() {
        let mut out = [0; 100];
        let seed = hex("a0ba9f936cda311827a6f796ffd5198c");
        prf(false, &hex("9bbe436ba940f017b17652849a71db35"), b"test label", &[&seed], &mut out);
        let expected = "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9\
                        c9a46b4e14baf9af0fa022f7077def17abfd3797c0564bab4fbc91666e9def9b97fce34f796789ba\
                        a48082d122ee42c5a72e5a5110fff70187347b66";
        assert_eq!(out[..], hex(expected));
    }
}
