//! Text appended to a buffer of bytes, without going through formatting: most rows of a report are made
//! of nothing else.

use std::fmt;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};

use super::escape::{clean, clean_bytes, is_plain};

/// Appends text; what it writes is UTF-8.
pub(super) trait Append {
    /// Text of our own.
    fn word(&mut self, text: &str);
    /// Text of others, made harmless as [`clean`] does.
    fn clean(&mut self, text: &str);
    /// The same for bytes, as [`clean_bytes`] does.
    fn clean_bytes(&mut self, bytes: &[u8]);
    /// A decimal number.
    fn number(&mut self, number: u64);
    /// An address as [`IpAddr`] shows it.
    fn ip(&mut self, ip: IpAddr);
    /// Anything else, by its formatting.
    fn show(&mut self, shown: impl fmt::Display);
}

impl Append for Vec<u8> {
    #[inline]
    fn word(&mut self, text: &str) {
        self.extend_from_slice(text.as_bytes());
    }

    #[inline]
    fn clean(&mut self, text: &str) {
        if is_plain(text.as_bytes()) {
            self.extend_from_slice(text.as_bytes());
        } else {
            self.show(clean(text));
        }
    }

    #[inline]
    fn clean_bytes(&mut self, bytes: &[u8]) {
        if is_plain(bytes) {
            self.extend_from_slice(bytes);
        } else {
            self.show(clean_bytes(bytes));
        }
    }

    #[inline]
    fn number(&mut self, number: u64) {
        self.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    #[inline]
    fn ip(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => ipv4(ip, self),
            IpAddr::V6(ip) => self.show(ip),
        }
    }

    fn show(&mut self, shown: impl fmt::Display) {
        // Writing to memory does not fail.
        let _ = write!(self, "{shown}");
    }
}

/// What was appended, as text for those who format.
pub(super) fn text(append: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    append(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// Each octet's digits, and how many they are.
const OCTETS: [([u8; 3], u8); 256] = {
    let mut octets = [([0; 3], 0); 256];
    let mut n = 0;
    while n < 256 {
        let digits = [b'0' + n as u8 / 100, b'0' + n as u8 / 10 % 10, b'0' + n as u8 % 10];
        octets[n] = match digits {
            [b'0', b'0', c] => ([c, b'.', 0], 1),
            [b'0', b, c] => ([b, c, b'.'], 2),
            digits => (digits, 3),
        };
        n += 1;
    }
    octets
};

#[inline]
fn ipv4(ip: Ipv4Addr, out: &mut Vec<u8>) {
    // Four octets of up to three digits, each with its point.
    let mut text = [b'.'; 16];
    let mut end = 0;
    for octet in ip.octets() {
        let (digits, length) = OCTETS[usize::from(octet)];
        if let Some(place) = text.get_mut(end..end + 3) {
            place.copy_from_slice(&digits);
        }
        end += usize::from(length);
        if let Some(point) = text.get_mut(end) {
            *point = b'.';
        }
        end += 1;
    }
    out.extend_from_slice(text.get(..end - 1).unwrap_or_default());
}

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
