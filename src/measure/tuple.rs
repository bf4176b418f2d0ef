//! A packet's five-tuple, taken as it comes: no tunnels, fragments or IPv6 extension headers.

use crate::capture::LinkType;

/// Both addresses, both ports and the protocol, lower end first.
pub(super) type Key = [u8; 37];

/// A packet's key, and whether the higher end sent it; `None` for what is not IP.
#[inline]
pub(super) fn of(link: u16, packet: &[u8]) -> Option<(Key, bool)> {
    let ip = network(link, packet)?;
    let (addresses, protocol, upper) = match ip.first()? >> 4 {
        4 => (ip.get(12..20)?, ip[9], ip.get(usize::from(ip[0] & 15) * 4..).unwrap_or(&[])),
        6 => (ip.get(8..40)?, ip[6], ip.get(40..).unwrap_or(&[])),
        _ => return None,
    };
    let (source, destination) = addresses.split_at(addresses.len() / 2);
    let [s0, s1, d0, d1] = match (protocol, upper.first_chunk::<4>()) {
        (6 | 17, Some(ports)) => *ports,
        _ => [0; 4],
    };
    let (sender, receiver) = ((source, [s0, s1]), (destination, [d0, d1]));
    let back = sender > receiver;
    let (low, high) = if back { (receiver, sender) } else { (sender, receiver) };
    let mut key = [0; 37];
    key[..low.0.len()].copy_from_slice(low.0);
    key[16..16 + high.0.len()].copy_from_slice(high.0);
    key[32..34].copy_from_slice(&low.1);
    key[34..36].copy_from_slice(&high.1);
    key[36] = protocol;
    Some((key, back))
}

/// Where IP begins, behind the link layer and its VLAN tags.
#[inline]
fn network(link: u16, packet: &[u8]) -> Option<&[u8]> {
    let mut rest = match LinkType::from_code(link) {
        LinkType::Ethernet => packet.get(12..)?,
        LinkType::LinuxCooked => packet.get(14..)?,
        LinkType::RawIp => return Some(packet),
        LinkType::Loopback => return packet.get(4..),
        LinkType::LinuxCooked2 => return packet.get(20..).filter(|_| is_ip(packet)),
        LinkType::Other(_) => return None,
    };
    while let [0x81, 0x00, _, _, inside @ ..] = rest {
        rest = inside;
    }
    rest.get(2..).filter(|_| is_ip(rest))
}

/// Whether this begins with an EtherType of IP.
fn is_ip(bytes: &[u8]) -> bool {
    matches!(bytes, [0x08, 0x00, ..] | [0x86, 0xdd, ..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip4(source: u8, destination: u8, ports: [u16; 2]) -> Vec<u8> {
        let mut ip = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, source, 10, 0, 0, destination];
        ip.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
        ip
    }

    #[test]
    fn both_directions_have_one_key_on_every_link() {
        let there = ip4(1, 2, [5000, 443]);
        let back = ip4(2, 1, [443, 5000]);
        let (key, turned) = of(101, &there).unwrap();
        assert!(!turned);
        assert_eq!(of(101, &back), Some((key, true)));
        let prefixes: [(u16, Vec<u8>); 5] = [
            (1, [&[0; 12][..], &[8, 0]].concat()),
            (1, [&[0; 12][..], &[0x81, 0, 0, 5, 8, 0]].concat()),
            (113, [&[0; 14][..], &[8, 0]].concat()),
            (276, [&[8, 0][..], &[0; 18]].concat()),
            (0, vec![2, 0, 0, 0]),
        ];
        for (link, prefix) in prefixes {
            assert_eq!(of(link, &[&prefix[..], &back].concat()), Some((key, true)), "{link}");
        }
        assert_ne!(of(101, &ip4(1, 2, [5001, 443])), of(101, &there));
    }

    #[test]
    fn what_is_not_ip_has_none() {
        assert_eq!(of(1, &[&[0; 12][..], &[8, 6], &[0; 28]].concat()), None);
        assert_eq!(of(147, &ip4(1, 2, [1, 2])), None);
        assert_eq!(of(101, &ip4(1, 2, [1, 2])[..15]), None);
    }

    proptest! {
        #[test]
        fn any_bytes(link in prop::sample::select(vec![0u16, 1, 101, 113, 276]), bytes: Vec<u8>) {
            of(link, &bytes);
        }
    }
}
