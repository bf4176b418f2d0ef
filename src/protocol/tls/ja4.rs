//! JA4: a fingerprint of the software that sent a ClientHello (FoxIO, technical_details/JA4.md; BSD 3-Clause).
//!
//! Clients built alike send hellos alike, so an auditor can tell two programs on one VM apart. GREASE
//! (RFC 8701) is ignored everywhere.

use std::fmt;

use ring::digest::{SHA256, digest};

use crate::protocol::cursor::Cursor;

/// A JA4 fingerprint: 36 ASCII characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ja4([u8; 36]);

impl Ja4 {
    /// Of the body of a ClientHello that came over TCP; `None` if it is not one from end to end.
    pub fn of(body: &[u8]) -> Option<Ja4> {
        let mut cursor = Cursor::new(body);
        let mut version = cursor.u16()?;
        cursor.take(32)?;
        cursor.vector8()?;
        let mut ciphers: Vec<u16> = values(cursor.vector16()?).collect();
        cursor.vector8()?;
        let mut extensions = Vec::new();
        let mut signatures = Vec::new();
        let mut alpn: &[u8] = &[];
        let mut list = if cursor.is_empty() { cursor } else { Cursor::new(cursor.vector16()?) };
        while !list.is_empty() {
            let kind = list.u16()?;
            let mut extension = Cursor::new(list.vector16()?);
            if is_grease(kind) {
                continue;
            }
            extensions.push(kind);
            match kind {
                SIGNATURE_ALGORITHMS => {
                    signatures = values(extension.vector16().unwrap_or_default()).collect()
                }
                ALPN => {
                    let mut names = Cursor::new(extension.vector16().unwrap_or_default());
                    alpn = names.vector8().unwrap_or_default();
                }
                SUPPORTED_VERSIONS => {
                    version = values(extension.vector8().unwrap_or_default()).max().unwrap_or(version);
                }
                _ => {}
            }
        }
        let (cipher_count, extension_count) = (ciphers.len(), extensions.len());
        let name = if extensions.contains(&SERVER_NAME) { b'd' } else { b'i' };
        extensions.retain(|kind| !matches!(*kind, SERVER_NAME | ALPN));
        ciphers.sort_unstable();
        extensions.sort_unstable();
        let mut text = [b'_'; 36];
        let (first, hashes) = text.split_at_mut(10);
        let [v, w] = version_code(version);
        let [c, d] = two_digits(cipher_count);
        let [e, f] = two_digits(extension_count);
        let [a, b] = ends(alpn);
        first.copy_from_slice(&[b't', v, w, name, c, d, e, f, a, b]);
        hashes.get_mut(1..13)?.copy_from_slice(&hash(&ciphers, &[]));
        hashes.get_mut(14..26)?.copy_from_slice(&hash(&extensions, &signatures));
        Some(Ja4(text))
    }

    /// The fingerprint itself.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The part that stands for the cipher suites offered: the same in every hello of one program.
    pub fn ciphers(&self) -> &[u8] {
        self.0.get(11..23).unwrap_or_default()
    }
}

impl fmt::Display for Ja4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Ja4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const SERVER_NAME: u16 = 0;
const SIGNATURE_ALGORITHMS: u16 = 13;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Two equal bytes that end in `a` (RFC 8701 section 2).
fn is_grease(value: u16) -> bool {
    let [high, low] = value.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

/// The values of a list of two-byte integers, GREASE left out.
fn values(list: &[u8]) -> impl Iterator<Item = u16> {
    list.as_chunks().0.iter().map(|value| u16::from_be_bytes(*value)).filter(|value| !is_grease(*value))
}

fn version_code(version: u16) -> [u8; 2] {
    *match version {
        0x0304 => b"13",
        0x0303 => b"12",
        0x0302 => b"11",
        0x0301 => b"10",
        0x0300 => b"s3",
        0x0002 => b"s2",
        _ => b"00",
    }
}

/// A count in two digits, at most 99.
fn two_digits(count: usize) -> [u8; 2] {
    let count = u8::try_from(count).unwrap_or(u8::MAX).min(99);
    [b'0' + count / 10, b'0' + count % 10]
}

/// First and last character of a protocol name; of its hexadecimal form where either is no letter or digit.
fn ends(name: &[u8]) -> [u8; 2] {
    match (name.first(), name.last()) {
        (Some(first), Some(last)) if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() => {
            [*first, *last]
        }
        (Some(first), Some(last)) => [digit(first >> 4), digit(last & 0x0f)],
        _ => *b"00",
    }
}

fn digit(nibble: u8) -> u8 {
    HEX.get(usize::from(nibble)).copied().unwrap_or(b'0')
}

/// The first 12 digits of the SHA-256 of `list` in hexadecimal, then `_` and `more` if there is any;
/// zeros for an empty list.
fn hash(list: &[u16], more: &[u16]) -> [u8; 12] {
    let mut digits = [b'0'; 12];
    if list.is_empty() {
        return digits;
    }
    let mut text = Vec::with_capacity(5 * (list.len() + more.len()));
    for (part, first) in [(list, &b""[..]), (more, b"_")] {
        let mut separator = first;
        for value in part {
            let [a, b] = value.to_be_bytes();
            text.extend_from_slice(separator);
            text.extend_from_slice(&[digit(a >> 4), digit(a & 15), digit(b >> 4), digit(b & 15)]);
            separator = b",";
        }
    }
    let digest = digest(&SHA256, &text);
    for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(digest.as_ref()) {
        *pair = [digit(byte >> 4), digit(byte & 0x0f)];
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The example of the specification, its lists in the order of its original rendering.
    const CIPHERS: &[u16] = &[
        0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c,
        0x009d, 0x002f, 0x0035,
    ];
    const EXTENSIONS: &[u16] = &[
        0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023, 0x0012, 0x002b,
        0xff01, 0x000b, 0x000a, 0x0015,
    ];
    const SIGNATURES: &[u16] = &[0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601];

    fn list(values: &[u16]) -> Vec<u8> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_be_bytes()).collect();
        [&(bytes.len() as u16).to_be_bytes()[..], &bytes].concat()
    }

    fn hello(ciphers: &[u16], extensions: &[u16], signatures: &[u16], alpn: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        for &kind in extensions {
            let body = match kind {
                13 => list(signatures),
                16 => [&[0, alpn.len() as u8 + 1, alpn.len() as u8], alpn].concat(),
                43 => vec![6, 0x7a, 0x7a, 3, 4, 3, 3],
                _ => Vec::new(),
            };
            all.extend(kind.to_be_bytes());
            all.extend((body.len() as u16).to_be_bytes());
            all.extend(body);
        }
        let mut hello = vec![3, 3];
        hello.extend([7; 32]);
        hello.push(0);
        hello.extend(list(ciphers));
        hello.extend([1, 0]);
        hello.extend((all.len() as u16).to_be_bytes());
        hello.extend(all);
        hello
    }

    fn ja4(ciphers: &[u16], extensions: &[u16], signatures: &[u16], alpn: &[u8]) -> String {
        Ja4::of(&hello(ciphers, extensions, signatures, alpn)).expect("a hello").to_string()
    }

    #[test]
    fn the_specifications_example() {
        let expected = "t13d1516h2_8daaf6152771_e5627efa2ab1";
        assert_eq!(ja4(CIPHERS, EXTENSIONS, SIGNATURES, b"h2"), expected);
        let grease = |values: &[u16]| [&[0x0a0a], values, &[0xfafa]].concat();
        let greased = ja4(&grease(CIPHERS), &grease(EXTENSIONS), &grease(SIGNATURES), b"h2");
        assert_eq!(greased, expected);
        assert_eq!(ja4(CIPHERS, EXTENSIONS, &[], b"h2"), "t13d1516h2_8daaf6152771_6d807ffa2a79");
    }

    #[test]
    fn what_is_not_there_is_zeros() {
        assert_eq!(ja4(&[], &[], &[], b""), "t12i000000_000000000000_000000000000");
        assert_eq!(ja4(&[], &[0, 16], &[], b""), "t12d000200_000000000000_000000000000");
    }

    #[test]
    fn protocol_names_that_are_no_letters_are_shown_in_hexadecimal() {
        let cases: [(&[u8], &[u8; 2]); 8] = [
            (b"http/1.1", b"h1"),
            (b"x", b"xx"),
            (&[0xab], b"ab"),
            (&[0xab, 0xcd], b"ad"),
            (&[0x30, 0xab], b"3b"),
            (&[0x30, 0x31, 0xab, 0xcd], b"3d"),
            (&[0x30, 0xab, 0xcd, 0x31], b"01"),
            (b"", b"00"),
        ];
        for (name, shown) in cases {
            assert_eq!(&ends(name), shown, "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_fingerprint_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some(ja4) = Ja4::of(&bytes) {
                prop_assert!(ja4.0.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_'));
            }
        }

        #[test]
        fn order_does_not_matter_but_for_signatures(
            ciphers in proptest::collection::vec(any::<u16>(), 0..130),
            signatures in proptest::collection::vec(any::<u16>(), 0..9),
        ) {
            let mut reversed = ciphers.clone();
            reversed.reverse();
            let one = ja4(&ciphers, EXTENSIONS, &signatures, b"h2");
            prop_assert_eq!(one.len(), 36);
            prop_assert_eq!(one, ja4(&reversed, EXTENSIONS, &signatures, b"h2"));
        }
    }
}
