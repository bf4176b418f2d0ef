//! Resource records of a DNS message: the addresses in them, and names with pointers.

use std::net::IpAddr;

use crate::protocol::NAME_CAP;

/// The record at `at` (RFC 1035 section 4.1.3), if it is an address of class IN, and where the next begins;
/// `None` when the bytes end or break a rule.
pub(super) fn address(message: &[u8], at: usize) -> Option<(Option<IpAddr>, usize)> {
    const A: u16 = 1;
    const AAAA: u16 = 28;
    const IN: u16 = 1;
    let fixed_at = after_name(message, at)?;
    let fixed: [u8; 10] = *message.get(fixed_at..)?.first_chunk()?;
    let data_at = fixed_at + fixed.len();
    let next = data_at + usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
    let data = message.get(data_at..next)?;
    let kind = u16::from_be_bytes([fixed[0], fixed[1]]);
    let address = match (kind, u16::from_be_bytes([fixed[2], fixed[3]])) {
        (A, IN) => <[u8; 4]>::try_from(data).ok().map(IpAddr::from),
        (AAAA, IN) => <[u8; 16]>::try_from(data).ok().map(IpAddr::from),
        _ => None,
    };
    Some((address, next))
}

/// Where the name at `at` ends in the message, its end possibly a pointer (RFC 1035 section 4.1.4).
fn after_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            0xc0..=0xff => return Some(at + 2),
            _ => return None,
        }
    }
}

/// The name at `at` in wire form without pointers. Every pointer must lead to a place before the one it
/// was read from, so there is no way around in a circle.
pub(super) fn expand(message: &[u8], mut at: usize) -> Option<Vec<u8>> {
    let mut name = Vec::new();
    let mut limit = at;
    loop {
        match *message.get(at)? {
            0 => {
                name.push(0);
                return Some(name);
            }
            length @ 1..=63 => {
                let end = at + 1 + usize::from(length);
                name.extend(message.get(at..end)?);
                at = end;
            }
            high @ 0xc0..=0xff => {
                let low = *message.get(at + 1)?;
                at = usize::from(u16::from_be_bytes([high & 0x3f, low]));
                if at >= limit {
                    return None;
                }
                limit = at;
            }
            _ => return None,
        }
        if name.len() >= NAME_CAP {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `\x01x` at 2, a pointer to it at 5, a record with a pointer at 7.
    const MESSAGE: &[u8] = b"..\x01x\0\xc0\x02\xc0\x05\0\x01\0\x01\0\0\0\0\0\x04\x0a\0\0\x01";

    #[test]
    fn names_are_followed_backwards_only() {
        assert_eq!(expand(MESSAGE, 2).as_deref(), Some(&b"\x01x\0"[..]));
        assert_eq!(expand(MESSAGE, 7).as_deref(), Some(&b"\x01x\0"[..]), "over two pointers");
        for (message, what) in [
            (&b"\xc0\x00"[..], "to itself"),
            (b"\xc0\x02\xc0\x00", "forward"),
            (b"\x01x\xc0\x00", "into its own beginning, for ever"),
            (b"\x40x", "a label of a kind unknown"),
            (b"\x02x", "cut"),
        ] {
            assert_eq!(expand(message, 0), None, "{what}");
        }
    }

    #[test]
    fn an_address_and_what_follows_it() {
        let end = MESSAGE.len();
        assert_eq!(address(MESSAGE, 7), Some((Some("10.0.0.1".parse().unwrap()), end)));
        assert_eq!(address(&MESSAGE[..end - 1], 7), None, "cut");
        let mut other = MESSAGE.to_vec();
        other[10] = 16;
        assert_eq!(address(&other, 7), Some((None, end)), "a TXT record");
        other[10] = 28;
        assert_eq!(address(&other, 7), Some((None, end)), "an AAAA record of four bytes");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(message: Vec<u8>, at in 0_usize..300) {
            if let Some((_, next)) = address(&message, at) {
                prop_assert!(next > at && next <= message.len());
            }
            if let Some(name) = expand(&message, at) {
                prop_assert!(name.len() <= NAME_CAP);
            }
        }

        #[test]
        fn any_chain_of_pointers_comes_to_an_end(bytes in prop::collection::vec(0xc0_u8..=0xc1, 0..600)) {
            let _ = expand(&bytes, bytes.len().saturating_sub(2));
        }
    }
}
