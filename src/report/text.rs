//! Text put together without going through formatting: the rows of a report are made of nothing else.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use super::escape::{clean, clean_bytes, is_plain};

/// Text that grows; as much of it is kept as was ever needed. What is put into it is UTF-8.
#[derive(Clone, Debug, Default)]
pub(super) struct Text {
    /// The text and room for more. Room that is there already makes short copies cheap.
    bytes: Vec<u8>,
    length: usize,
}

/// Room is made in steps of this.
const STEP: usize = 256;

impl Text {
    /// What was put so far.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
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
        if number < 10 {
            return self.byte(b'0' + number as u8);
        }
        self.put(itoa::Buffer::new().format(number).as_bytes());
    }

    /// An address as [`IpAddr`] shows it.
    pub(super) fn ip(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => self.ipv4(ip),
            IpAddr::V6(ip) => self.show(ip),
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

    fn ipv4(&mut self, ip: Ipv4Addr) {
        let mut text = [0; 16];
        let mut end = 0;
        for octet in ip.octets() {
            let (digits, length) = OCTETS[usize::from(octet)];
            if let Some(place) = text.get_mut(end..end + 4) {
                place.copy_from_slice(&digits);
            }
            end += usize::from(length);
        }
        self.put_first(&text, end - 1);
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

/// What was put, as a string for those who format.
pub(super) fn text(put: impl FnOnce(&mut Text)) -> String {
    let mut out = Text::default();
    put(&mut out);
    String::from_utf8_lossy(out.as_bytes()).into_owned()
}

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

    proptest! {
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
