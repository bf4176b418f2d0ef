//! Text put together without going through formatting: the rows of a report are made of nothing else.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::escape::{clean, clean_bytes, is_plain};

/// Text that grows; as much of it is kept as was ever needed. What is put into it is UTF-8.
#[derive(Clone, Debug, Default)]
pub(super) struct Text {
    /// The text and room for more. Room that is there already makes short copies cheap.
    bytes: Vec<u8>,
    length: usize,
}

/// Room is made in steps of this: several rows.
const STEP: usize = 4096;

impl Text {
    /// What was put so far.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Nothing yet, of what will take so many bytes.
    pub(super) fn with_capacity(bytes: usize) -> Text {
        Text { bytes: Vec::with_capacity(bytes + STEP), length: 0 }
    }

    /// A copy that keeps no room for more.
    pub(super) fn kept(&self) -> Text {
        Text { bytes: self.as_bytes().to_vec(), length: self.length }
    }

    /// How long it is so far, bytes.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// Keeps the first bytes only.
    pub(super) fn cut(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// Text of our own, or whatever needs no escaping.
    #[inline]
    pub(super) fn word(&mut self, text: &str) {
        // Many fields are empty, and copying nothing is not for nothing.
        if !text.is_empty() {
            self.put(text.as_bytes());
        }
    }

    /// Text of others, made harmless as [`clean`] does.
    #[inline]
    pub(super) fn clean(&mut self, text: &str) {
        if is_plain(text.as_bytes()) {
            self.put(text.as_bytes());
        } else {
            self.show(clean(text));
        }
    }

    /// The same for bytes, as [`clean_bytes`] does.
    #[inline]
    pub(super) fn clean_bytes(&mut self, bytes: &[u8]) {
        if is_plain(bytes) {
            self.put(bytes);
        } else {
            self.show(clean_bytes(bytes));
        }
    }

    /// A decimal number.
    #[inline]
    pub(super) fn number(&mut self, number: u64) {
        // Most are small.
        if let Some((digits, length)) = usize::try_from(number).ok().and_then(|at| SMALL.get(at)) {
            return self.put_first(digits, usize::from(*length));
        }
        if number >= 100_000_000 {
            return self.put(itoa::Buffer::new().format(number).as_bytes());
        }
        let digits = u64::from_le_bytes(eight_digits(number));
        // The last digit stays, also of nothing.
        let zeros = (digits & 0x000f_0f0f_0f0f_0f0f | 1 << 56).trailing_zeros() / 8;
        self.put_first(&(digits >> (8 * zeros)).to_le_bytes(), 8 - zeros as usize);
    }

    /// An address as [`IpAddr`] shows it.
    pub(super) fn ip(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => self.ipv4(ip),
            IpAddr::V6(ip) => self.ipv6(ip),
        }
    }

    /// Anything else, by its formatting.
    pub(super) fn show(&mut self, shown: impl fmt::Display) {
        // Writing to memory does not fail.
        let _ = fmt::write(self, format_args!("{shown}"));
    }

    /// One byte.
    #[inline]
    pub(super) fn byte(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        } else {
            self.put_and_make_room(&[byte]);
        }
    }

    /// Bytes as they are.
    #[inline]
    pub(super) fn put(&mut self, bytes: &[u8]) {
        let room = self.bytes.get_mut(self.length..).unwrap_or_default();
        if let Some(place) = room.get_mut(..bytes.len()) {
            place.copy_from_slice(bytes);
            self.length += bytes.len();
        } else {
            self.put_and_make_room(bytes);
        }
    }

    /// Bytes as they are, before what stands behind `start`.
    pub(super) fn insert(&mut self, start: usize, bytes: &[u8]) {
        let end = self.length;
        self.put(bytes);
        self.bytes.copy_within(start..end, start + bytes.len());
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
    }

    /// Takes the byte at `place` out.
    pub(super) fn remove(&mut self, place: usize) {
        self.bytes.copy_within(place + 1..self.length, place);
        self.length -= 1;
    }

    /// The first `wanted` of these bytes: copying as many as the compiler knows and cutting is quicker
    /// than copying as many as are wanted.
    #[inline]
    pub(super) fn put_first<const N: usize>(&mut self, bytes: &[u8; N], wanted: usize) {
        let room = self.bytes.get_mut(self.length..).unwrap_or_default();
        if let Some(place) = room.first_chunk_mut() {
            *place = *bytes;
            self.length += wanted.min(N);
        } else {
            self.put_and_make_room(&bytes[..wanted.min(N)]);
        }
    }

    /// Bytes that `write` puts where they stay, and says how many of them are wanted. What is put together elsewhere,
    /// in small pieces, and then copied in large ones keeps the processor waiting.
    #[inline]
    pub(super) fn put_with<const N: usize>(&mut self, write: impl FnOnce(&mut [u8; N]) -> usize) {
        if self.bytes.len() - self.length < N {
            self.put_and_make_room(&[]);
        }
        if let Some(place) = self.bytes.get_mut(self.length..).and_then(<[u8]>::first_chunk_mut) {
            self.length += write(place).min(N);
        }
    }

    #[inline]
    fn ipv4(&mut self, ip: Ipv4Addr) {
        self.put_with::<16>(|place| {
            let mut end = 0;
            for octet in ip.octets() {
                let (digits, length) = OCTETS[usize::from(octet)];
                if let Some(place) = place.get_mut(end..end + 4) {
                    place.copy_from_slice(&digits);
                }
                end += usize::from(length);
            }
            end - 1
        });
    }

    /// RFC 5952, as [`Ipv6Addr`] shows it.
    fn ipv6(&mut self, ip: Ipv6Addr) {
        if ip.to_ipv4_mapped().is_some() {
            return self.show(ip);
        }
        let words = ip.segments();
        // The first of the longest runs of zeros is left out; one zero is no run.
        let (mut gap, mut length) = (8..8, 0);
        for (at, word) in words.iter().enumerate() {
            length = if *word == 0 { length + 1 } else { 0 };
            if length > gap.len().max(1) {
                gap = at + 1 - length..at + 1;
            }
        }
        for (at, word) in words.into_iter().enumerate() {
            if gap.contains(&at) {
                if at == gap.start {
                    self.put(b"::");
                }
                continue;
            }
            if at > 0 && at != gap.end {
                self.byte(b':');
            }
            let digits = [12, 8, 4, 0].map(|shift| b"0123456789abcdef"[usize::from(word >> shift & 15)]);
            let zeros = (word | 1).leading_zeros() / 4;
            self.put_first(&(u32::from_le_bytes(digits) >> (8 * zeros)).to_le_bytes(), 4 - zeros as usize);
        }
    }

    #[cold]
    fn put_and_make_room(&mut self, bytes: &[u8]) {
        self.bytes.truncate(self.length);
        self.bytes.extend_from_slice(bytes);
        self.length = self.bytes.len();
        self.bytes.resize(self.length + STEP, 0);
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.word(text);
        Ok(())
    }
}

/// The digits of a number below 10^8, zeros in front included: all at once, side by side in one word.
#[inline]
pub(super) fn eight_digits(number: u64) -> [u8; 8] {
    // Halves of four digits, then pairs, then digits. Multiplying and shifting divides by 100 and by 10,
    // exactly for numbers as small as these.
    let halves = (number / 10_000) | ((number % 10_000) << 32);
    let hundreds = ((halves * 10_486) >> 20) & 0x7f_0000_007f;
    let pairs = hundreds | ((halves - 100 * hundreds) << 16);
    let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
    let digits = tens | ((pairs - 10 * tens) << 8);
    (digits | 0x3030_3030_3030_3030).to_le_bytes()
}

/// What was put, as a string for those who format.
pub(super) fn text(put: impl FnOnce(&mut Text)) -> String {
    let mut out = Text::default();
    put(&mut out);
    String::from_utf8_lossy(out.as_bytes()).into_owned()
}

/// The digits of numbers below a thousand, and how many they are.
static SMALL: [([u8; 3], u8); 1000] = {
    let mut small = [([0; 3], 0); 1000];
    let mut n = 0;
    while n < 1000 {
        let digits = [b'0' + (n / 100) as u8, b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8];
        small[n] = match digits {
            [b'0', b'0', c] => ([c, 0, 0], 1),
            [b'0', b, c] => ([b, c, 0], 2),
            all => (all, 3),
        };
        n += 1;
    }
    small
};

/// Each octet's digits and the point behind them, and how many bytes that is.
const OCTETS: [([u8; 4], u8); 256] = {
    let mut octets = [([0; 4], 0); 256];
    let mut n = 0;
    while n < 256 {
        let digits = [b'0' + n as u8 / 100, b'0' + n as u8 / 10 % 10, b'0' + n as u8 % 10];
        octets[n] = match digits {
            [b'0', b'0', c] => ([c, b'.', 0, 0], 2),
            [b'0', b, c] => ([b, c, b'.', 0], 3),
            [a, b, c] => ([a, b, c, b'.'], 4),
        };
        n += 1;
    }
    octets
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_octet_is_written() {
        for octet in 0..=255u8 {
            let ip = IpAddr::from([octet, 255 - octet, octet, octet]);
            assert_eq!(text(|out| out.ip(ip)), ip.to_string());
        }
    }

    #[test]
    fn every_length_of_number_is_written() {
        for number in (0..20).map(|length| 10u64.pow(length)).flat_map(|power| [power - 1, power, power + 1])
        {
            assert_eq!(text(|out| out.number(number)), number.to_string());
        }
    }

    proptest! {
        #[test]
        fn numbers_and_addresses_are_written_as_formatting_would(
            number in 0u64..100_000_000,
            words in prop::collection::vec(prop_oneof![Just(0u16), 0u16..0x20, any::<u16>()], 8),
        ) {
            let words: [u16; 8] = words.try_into().unwrap();
            let ip = IpAddr::from(words);
            prop_assert_eq!(text(|out| out.ip(ip)), ip.to_string());
            prop_assert_eq!(text(|out| out.number(number)), number.to_string());
        }

        #[test]
        fn all_is_written_as_formatting_would(
            ip in any::<IpAddr>(),
            number in any::<u64>(),
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            shown in "\\PC{0,300}",
        ) {
            prop_assert_eq!(text(|out| out.ip(ip)), ip.to_string());
            prop_assert_eq!(text(|out| out.number(number)), number.to_string());
            prop_assert_eq!(text(|out| out.clean_bytes(&bytes)), clean_bytes(&bytes).to_string());
            prop_assert_eq!(text(|out| out.clean(&shown)), clean(&shown).to_string());
            prop_assert_eq!(text(|out| out.show(&shown)), shown);
        }
    }
}
