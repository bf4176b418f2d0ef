//! What the parsers of both file formats share: byte order, what they find, and how they fail.

use super::{LinkType, Precision, Timestamp};

/// The longest captured packet accepted, in bytes: four times libpcap's own limit for network links
/// (MAXIMUM_SNAPLEN, 262144). A longer one is damage, found before anything is allocated for it.
pub const MAX_CAPTURED: u32 = 4 * 262_144;

/// The longest pcapng block whose contents matter, in bytes (libpcap's limit too). Every parser asks
/// for a window of this size at most.
pub(super) const MAX_BLOCK: u32 = 16 << 20;

/// The order in which a file's writer stored the bytes of its integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

impl Order {
    #[inline]
    pub fn u16(self, bytes: [u8; 2]) -> u16 {
        match self {
            Order::Little => u16::from_le_bytes(bytes),
            Order::Big => u16::from_be_bytes(bytes),
        }
    }

    #[inline]
    pub fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Order::Little => u32::from_le_bytes(bytes),
            Order::Big => u32::from_be_bytes(bytes),
        }
    }

    pub fn i64(self, bytes: [u8; 8]) -> i64 {
        match self {
            Order::Little => i64::from_le_bytes(bytes),
            Order::Big => i64::from_be_bytes(bytes),
        }
    }
}

/// What is at the front of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A record that holds a packet, all of it in the window.
    Packet(Record),
    /// A record that holds secrets, all of it in the window.
    Secrets(SecretsRecord),
    /// So many bytes without a packet, at least one; they need not all be in the window.
    Skip(u64),
    /// Too little to tell: the window is shorter than this, and at most [`MAX_BLOCK`] is asked for.
    Need(usize),
}

/// Where a packet is in the window, and what its record says of it. Kept small: it is copied for every
/// packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Length of the whole record.
    pub size: u32,
    /// Where the packet's bytes start.
    pub start: u32,
    /// How many they are.
    pub length: u32,
    pub time: Timestamp,
    pub precision: Precision,
    pub link: LinkType,
    pub wire_length: u32,
}

/// Where secrets are in the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SecretsRecord {
    pub size: u32,
    pub start: u32,
    pub length: u32,
    pub kind: u32,
}

/// Why the record at the front of a window makes no sense.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Damage {
    pub what: String,
    pub advice: &'static str,
}

impl Damage {
    /// Damage that nothing but a good copy of the file can mend.
    #[cold]
    pub fn new(what: String) -> Damage {
        Damage { what, advice: "the capture is damaged from here on: fetch or record it again" }
    }
}

/// `N` bytes of the window from `at`, if it holds them.
pub(super) fn array<const N: usize>(window: &[u8], at: usize) -> Option<[u8; N]> {
    window.get(at..)?.first_chunk().copied()
}

/// As many 32-bit words as are asked for, from the front of at least as many bytes.
///
/// The compiler knows both lengths: nothing is checked at run time.
#[inline]
pub(super) fn words<const WORDS: usize, const BYTES: usize>(
    bytes: &[u8; BYTES],
    order: Order,
) -> [u32; WORDS] {
    const { assert!(BYTES >= WORDS * 4) };
    let (chunks, _) = bytes.as_chunks::<4>();
    let mut words = [0; WORDS];
    for (word, chunk) in words.iter_mut().zip(chunks) {
        *word = u32::from_le_bytes(*chunk);
    }
    // One branch for all words, not one for each.
    match order {
        Order::Little => words,
        Order::Big => words.map(u32::swap_bytes),
    }
}
