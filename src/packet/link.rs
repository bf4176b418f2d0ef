//! Link layers: Ethernet, VLAN tags, Linux cooked captures, BSD loopback and bare IP.

use super::{Encapsulation, Uncounted};
use crate::capture::LinkType;

/// The IP packet inside a frame, and what it was wrapped in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// From the first byte of the IP header to the last captured byte, link-layer padding included.
    pub ip: &'a [u8],
    /// The VLAN tags passed on the way.
    pub encapsulation: Encapsulation,
}

/// Finds the IP packet in a frame.
///
/// Bytes that run out are [`Uncounted::TruncatedBeforePorts`], whoever cut them.
pub(super) fn find_ip(link: LinkType, bytes: &[u8]) -> Result<Frame<'_>, Uncounted> {
    match link {
        LinkType::Ethernet => {
            let (header, rest) = split::<14>(bytes)?;
            behind_type(be16(header[12], header[13]), rest)
        }
        LinkType::RawIp => Ok(Frame { ip: bytes, encapsulation: Encapsulation::default() }),
        LinkType::LinuxCooked => {
            let (header, rest) = split::<16>(bytes)?;
            behind_cooked(be16(header[2], header[3]), be16(header[14], header[15]), rest)
        }
        LinkType::LinuxCooked2 => {
            let (header, rest) = split::<20>(bytes)?;
            behind_cooked(be16(header[8], header[9]), be16(header[0], header[1]), rest)
        }
        LinkType::Loopback => {
            let (header, ip) = split::<4>(bytes)?;
            if is_ip_family(*header) {
                Ok(Frame { ip, encapsulation: Encapsulation::default() })
            } else {
                Err(Uncounted::NotIp)
            }
        }
        LinkType::Other(_) => Err(Uncounted::LinkType),
    }
}

/// EtherTypes (IANA IEEE 802 Numbers); 0x9100 is the pre-standard outer tag some switches still send.
pub(super) const IPV4: u16 = 0x0800;
pub(super) const IPV6: u16 = 0x86dd;
pub(super) const VLAN: u16 = 0x8100;
pub(super) const VLAN_PROVIDER: u16 = 0x88a8;
pub(super) const VLAN_DOUBLE: u16 = 0x9100;

/// Values up to this are the length of an 802.3 frame, not a type (IEEE 802.3 section 3.2.6).
const MAX_LENGTH: u16 = 1500;

/// 802.2 header of a frame that goes on with an EtherType: SNAP with the zero OUI (RFC 1042).
const SNAP: [u8; 6] = [0xaa, 0xaa, 0x03, 0, 0, 0];

/// ARPHRD values for which a cooked capture's protocol field is no EtherType (LINKTYPE_LINUX_SLL):
/// FRAD, 802.11 with radiotap, netlink.
const NOT_ETHER_TYPED: [u16; 3] = [770, 803, 824];

/// The cooked protocol field of an 802.2 frame.
const COOKED_LLC: u16 = 0x0004;

/// Follows VLAN tags and SNAP from an EtherType to IP.
fn behind_type(mut ether_type: u16, mut rest: &[u8]) -> Result<Frame<'_>, Uncounted> {
    let mut encapsulation = Encapsulation::default();
    loop {
        match ether_type {
            IPV4 | IPV6 => return Ok(Frame { ip: rest, encapsulation }),
            VLAN | VLAN_PROVIDER | VLAN_DOUBLE => {
                let (tag, inner) = split::<4>(rest)?;
                if !encapsulation.push(be16(tag[0], tag[1]) & 0x0fff) {
                    return Err(Uncounted::Malformed);
                }
                (ether_type, rest) = (be16(tag[2], tag[3]), inner);
            }
            0..=MAX_LENGTH => {
                let Some(inner) = rest.strip_prefix(&SNAP) else { return Err(Uncounted::NotIp) };
                let (inner_type, inner) = split::<2>(inner)?;
                (ether_type, rest) = (be16(inner_type[0], inner_type[1]), inner);
                // A length here too would be no EtherType: without this, SNAP could nest for ever.
                if ether_type <= MAX_LENGTH {
                    return Err(Uncounted::NotIp);
                }
            }
            _ => return Err(Uncounted::NotIp),
        }
    }
}

fn behind_cooked(hardware: u16, protocol: u16, rest: &[u8]) -> Result<Frame<'_>, Uncounted> {
    if NOT_ETHER_TYPED.contains(&hardware) || (protocol <= MAX_LENGTH && protocol != COOKED_LLC) {
        return Err(Uncounted::NotIp);
    }
    behind_type(protocol, rest)
}

/// Whether a loopback header names IP: AF_INET is 2 everywhere, AF_INET6 is 24 on NetBSD and OpenBSD,
/// 28 on FreeBSD, 30 on macOS and 10 on Linux; the byte order is the capturing host's.
fn is_ip_family(header: [u8; 4]) -> bool {
    let big = u32::from_be_bytes(header);
    let family = if big > 0xffff { big.swap_bytes() } else { big };
    matches!(family, 2 | 10 | 24 | 28 | 30)
}

fn split<const N: usize>(bytes: &[u8]) -> Result<(&[u8; N], &[u8]), Uncounted> {
    bytes.split_first_chunk::<N>().ok_or(Uncounted::TruncatedBeforePorts)
}

fn be16(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high, low])
}

#[cfg(test)]
mod tests {
    use super::*;

    const IP: &[u8] = &[0x45, 1, 2, 3];

    fn frame(parts: &[&[u8]]) -> Vec<u8> {
        parts.concat()
    }

    fn found(link: LinkType, bytes: &[u8]) -> (Vec<u8>, Vec<u16>) {
        let frame = find_ip(link, bytes).unwrap();
        (frame.ip.to_vec(), frame.encapsulation.vlans().collect())
    }

    #[test]
    fn ethernet_and_its_tags() {
        let plain = frame(&[&[0; 12], &[8, 0], IP]);
        assert_eq!(found(LinkType::Ethernet, &plain), (IP.to_vec(), vec![]));
        let tagged = frame(&[
            &[0; 12],
            &[0x88, 0xa8, 0xe0, 7],
            &[0x91, 0, 0x0f, 0xff],
            &[0x81, 0, 0, 9],
            &[0x86, 0xdd],
            IP,
        ]);
        assert_eq!(found(LinkType::Ethernet, &tagged), (IP.to_vec(), vec![7, 4095, 9]));
        for cut in 0..26 {
            assert_eq!(
                find_ip(LinkType::Ethernet, &tagged[..cut]),
                Err(Uncounted::TruncatedBeforePorts),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn one_tag_too_many_is_malformed() {
        let tags = |n: usize| frame(&[&[0; 12], &[0x81, 0, 0, 1].repeat(n), &[8, 0], IP]);
        let most = found(LinkType::Ethernet, &tags(Encapsulation::MAX_TAGS));
        assert_eq!(most, (IP.to_vec(), vec![1; Encapsulation::MAX_TAGS]));
        assert_eq!(
            find_ip(LinkType::Ethernet, &tags(Encapsulation::MAX_TAGS + 1)),
            Err(Uncounted::Malformed)
        );
    }

    #[test]
    fn llc_is_not_ip_but_snap_can_be() {
        let stp = frame(&[&[0; 12], &[0, 38, 0x42, 0x42, 3], &[0; 35]]);
        assert_eq!(find_ip(LinkType::Ethernet, &stp), Err(Uncounted::NotIp));
        let snap = frame(&[&[0; 12], &[0, 12], &SNAP, &[8, 0], IP]);
        assert_eq!(found(LinkType::Ethernet, &snap), (IP.to_vec(), vec![]));
        let nested = frame(&[&[0; 12], &[0, 12], &SNAP, &[0, 12], &SNAP, &[8, 0], IP]);
        assert_eq!(find_ip(LinkType::Ethernet, &nested), Err(Uncounted::NotIp));
        let arp = frame(&[&[0; 12], &[8, 6], &[0; 28]]);
        assert_eq!(find_ip(LinkType::Ethernet, &arp), Err(Uncounted::NotIp));
    }

    #[test]
    fn cooked_captures() {
        let v1 = frame(&[&[0, 0, 0, 1, 0, 6], &[0; 8], &[0x81, 0, 0, 5, 8, 0], IP]);
        assert_eq!(found(LinkType::LinuxCooked, &v1), (IP.to_vec(), vec![5]));
        let v2 = frame(&[&[0x86, 0xdd, 0, 0, 0, 0, 0, 2, 0, 1, 4, 6], &[0; 8], IP]);
        assert_eq!(found(LinkType::LinuxCooked2, &v2), (IP.to_vec(), vec![]));
        let netlink = frame(&[&[0, 4, 3, 56], &[0; 10], &[8, 0], IP]);
        assert_eq!(find_ip(LinkType::LinuxCooked, &netlink), Err(Uncounted::NotIp));
        let llc = frame(&[&[0, 0, 0, 1], &[0; 10], &[0, 4], &SNAP, &[8, 0], IP]);
        assert_eq!(found(LinkType::LinuxCooked, &llc), (IP.to_vec(), vec![]));
        let raw_8023 = frame(&[&[0, 0, 0, 1], &[0; 10], &[0, 1], &SNAP, &[8, 0], IP]);
        assert_eq!(find_ip(LinkType::LinuxCooked, &raw_8023), Err(Uncounted::NotIp));
    }

    #[test]
    fn loopback_in_either_byte_order() {
        for family in [2u32, 10, 24, 28, 30] {
            for header in [family.to_be_bytes(), family.to_le_bytes()] {
                assert_eq!(found(LinkType::Loopback, &frame(&[&header, IP])), (IP.to_vec(), vec![]));
            }
        }
        assert_eq!(find_ip(LinkType::Loopback, &[0, 0, 0, 7, 0x45]), Err(Uncounted::NotIp));
        assert_eq!(find_ip(LinkType::Loopback, &[0, 0, 0]), Err(Uncounted::TruncatedBeforePorts));
    }

    #[test]
    fn raw_and_unknown() {
        assert_eq!(found(LinkType::RawIp, IP), (IP.to_vec(), vec![]));
        assert_eq!(find_ip(LinkType::Other(147), IP), Err(Uncounted::LinkType));
    }
}
