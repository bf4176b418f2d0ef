//! How long TLS 1.3 records are: messages, cipher suites, and what senders pad (RFC 8446 section 5.2).

use super::trace::Record;

/// From here on a grid hides an empty Certificate and a Finished in one block alike.
pub(super) const COARSE_GRID: u16 = 64;

/// Lengths that follow from a TLS 1.3 cipher suite, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// The hash, and so the Finished message's body.
    pub hash: u16,
    /// The authentication tag of every record.
    pub tag: u16,
}

impl Sizes {
    /// Of a TLS 1.3 suite (RFC 8446 appendix B.4, RFC 8998).
    pub fn of(cipher: u16) -> Option<Sizes> {
        Some(match cipher {
            0x1302 => Sizes { hash: 48, tag: 16 },
            0x1301 | 0x1303 | 0x1304 | 0x00c6 | 0x00c7 => Sizes { hash: 32, tag: 16 },
            0x1305 => Sizes { hash: 32, tag: 8 },
            _ => return None,
        })
    }
}

/// How a side pads its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// Not at all.
    None,
    /// By 16 bytes, always.
    Plus16,
    /// Content and type byte up to a multiple of this.
    Grid(u16),
}

/// The habits that leave exact lengths, likeliest first.
pub(super) const EXACT: [Padding; 4] = [Padding::None, Padding::Plus16, Padding::Grid(16), Padding::Grid(32)];

/// Message lengths to record lengths, under one habit.
pub(super) struct Wire {
    pub(super) sizes: Sizes,
    pub(super) padding: Padding,
}

impl Wire {
    /// The record that holds `message` bytes.
    pub(super) fn length(&self, message: u16) -> u16 {
        let inner = message + 1;
        let padded = match self.padding {
            Padding::None => inner,
            Padding::Plus16 => inner + 16,
            Padding::Grid(block) => inner.next_multiple_of(block),
        };
        padded + self.sizes.tag
    }

    /// Whether a Finished fits exactly.
    pub(super) fn is_finished(&self, record: u16) -> bool {
        record == self.length(4 + self.sizes.hash)
    }

    /// Whether a CertificateVerify fits: Ed25519 and Ed448, ECDSA in DER (which varies), RSA, ML-DSA.
    pub(super) fn is_verify(&self, record: u16) -> bool {
        let fits = |signature: u16| record == self.length(8 + signature);
        let fixed = [64, 114, 128, 256, 384, 512, 1024, 2420, 3309, 4627];
        fixed.into_iter().any(fits) || (68..=72).any(fits) || (100..=104).any(fits) || (135..=139).any(fits)
    }
}

/// Record lengths that an alert fits.
pub(super) struct AlertSize {
    exact: [u16; 3],
    /// On a coarse grid anything up to one block of it.
    up_to: u16,
}

impl AlertSize {
    /// For the sender of these records, whose habit may be known.
    pub(super) fn new(sizes: Sizes, records: &[Record], padding: Option<Padding>) -> AlertSize {
        let of = |padding| Wire { sizes, padding }.length(2);
        let exact = match padding {
            Some(padding) => [of(padding); 3],
            None => [of(Padding::None), of(Padding::Plus16), of(Padding::Grid(16))],
        };
        let coarse = padding.is_none_or(|padding| matches!(padding, Padding::Grid(block) if block > 16))
            && grid(records, sizes.tag).is_some_and(|grid| grid >= 32);
        let up_to = if coarse { records.iter().map(|record| record.length).min().unwrap_or(0) } else { 0 };
        AlertSize { exact, up_to }
    }

    /// Whether only a coarse grid gives alerts away: other messages may be as short.
    pub(super) fn is_coarse(&self) -> bool {
        self.up_to > 0
    }

    /// Whether a record of this length may be an alert.
    pub(super) fn fits(&self, record: u16) -> bool {
        self.exact.contains(&record) || record <= self.up_to
    }
}

/// The coarsest grid that all records lie on, in bytes; a lone record must lie on a usual one.
pub(super) fn grid(records: &[Record], tag: u16) -> Option<u16> {
    let divide = |mut a: u16, mut b: u16| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let all = records.iter().try_fold(0, |all, record| Some(divide(all, record.length.checked_sub(tag)?)))?;
    (all > 0 && (records.len() > 1 || all % COARSE_GRID == 0)).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(cipher: u16, padding: Padding) -> Wire {
        Wire { sizes: Sizes::of(cipher).expect("a TLS 1.3 suite"), padding }
    }

    #[test]
    fn lengths_as_measured_on_real_stacks() {
        let all = |cipher, padding| {
            let wire = wire(cipher, padding);
            let finished = 4 + wire.sizes.hash;
            (wire.length(2), wire.length(8), wire.length(finished), wire.length(8 + finished))
        };
        assert_eq!(all(0x1301, Padding::None), (19, 25, 53, 61));
        assert_eq!(all(0x1302, Padding::None), (19, 25, 69, 77));
        assert_eq!(all(0x1302, Padding::Plus16), (35, 41, 85, 93));
        assert_eq!(all(0x1303, Padding::Grid(16)), (32, 32, 64, 64));
        assert_eq!(all(0x1302, Padding::Grid(64)), (80, 80, 80, 80));
        assert!(wire(0x1305, Padding::None).is_finished(45));
        assert_eq!(Sizes::of(0xc02f), None);
    }

    #[test]
    fn signatures() {
        let plain = wire(0x1301, Padding::None);
        for length in [89, 95, 96, 97, 127, 281, 537] {
            assert!(plain.is_verify(length), "{length}");
        }
        for length in [53, 71, 100, 250, 282] {
            assert!(!plain.is_verify(length), "{length}");
        }
        assert!(wire(0x1301, Padding::Grid(16)).is_verify(288));
    }
}
