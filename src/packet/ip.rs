//! IPv4 (RFC 791) and IPv6 (RFC 8200) headers, their extension headers and fragment fields.
//!
//! Checksums are not verified: with offloading they are often not yet filled in when captured.

use super::Uncounted;
use etherparse::err::{ip_auth, ipv4, ipv6};
use etherparse::{
    IpAuthHeaderSlice, IpNumber, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice,
    Ipv6RawExtHeaderSlice, ip_number,
};
use std::net::IpAddr;

/// Addresses, and what the packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IpPacket<'a> {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub part: Part<'a>,
}

/// A whole datagram, or a fragment of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Whole(Carried<'a>),
    Fragment(Fragment<'a>),
}

/// What comes after the IP header and its extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Carried<'a> {
    /// The IP protocol.
    pub protocol: u8,
    /// The bytes captured, never more than `length`.
    pub captured: &'a [u8],
    /// The length on the wire, in bytes.
    pub length: u32,
}

/// One fragment (RFC 791 section 3.2, RFC 8200 section 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fragment<'a> {
    /// The datagram's identification: 16 bits in IPv4, 32 in IPv6.
    pub identification: u32,
    /// Where it starts in the datagram's fragmentable part, in bytes.
    pub offset: u16,
    /// Whether more follow.
    pub more: bool,
    /// The bytes of that part; its protocol is the header they start with, when `offset` is 0.
    pub carried: Carried<'a>,
}

/// Reads an IP packet of which `wire_length` bytes were on the wire, link-layer padding included.
///
/// That length counts only when the header gives none, as segmentation offload leaves it: total
/// length 0 in IPv4, payload length 0 in IPv6. A header's length is believed even beyond it, since
/// tools that cut packets often note the cut length as the one on the wire. A header whose own lengths
/// disagree is [`Uncounted::Malformed`]; bytes that run out are [`Uncounted::TruncatedBeforePorts`].
pub(super) fn parse(ip: &[u8], wire_length: u32) -> Result<IpPacket<'_>, Uncounted> {
    match ip.first().map(|first| first >> 4) {
        Some(4) => parse_v4(ip, wire_length),
        Some(6) => parse_v6(ip, wire_length),
        Some(_) => Err(Uncounted::Malformed),
        None => Err(Uncounted::TruncatedBeforePorts),
    }
}

/// Steps over the extension headers at the start of a reassembled datagram.
///
/// A fragment inside it is [`Uncounted::Malformed`]: no sender makes one, and following it would nest.
pub(super) fn unwrap_reassembled(is_v6: bool, carried: Carried<'_>) -> Result<Carried<'_>, Uncounted> {
    if !is_v6 {
        return unwrap_v4(carried);
    }
    match unwrap_v6(carried)? {
        Part::Whole(carried) => Ok(carried),
        Part::Fragment(_) => Err(Uncounted::Malformed),
    }
}

fn parse_v4(ip: &[u8], wire_length: u32) -> Result<IpPacket<'_>, Uncounted> {
    let header = Ipv4HeaderSlice::from_slice(ip).map_err(|error| match error {
        ipv4::HeaderSliceError::Len(_) => Uncounted::TruncatedBeforePorts,
        ipv4::HeaderSliceError::Content(_) => Uncounted::Malformed,
    })?;
    let total = match header.total_len() {
        0 => wire_length,
        total => u32::from(total),
    };
    let carried = carried_from(ip, header.slice().len(), total, header.protocol())?;
    let part = if header.is_fragmenting_payload() {
        Part::Fragment(Fragment {
            identification: u32::from(header.identification()),
            offset: header.fragments_offset().byte_offset(),
            more: header.more_fragments(),
            carried,
        })
    } else {
        Part::Whole(unwrap_v4(carried)?)
    };
    Ok(IpPacket { source: header.source_addr().into(), destination: header.destination_addr().into(), part })
}

fn parse_v6(ip: &[u8], wire_length: u32) -> Result<IpPacket<'_>, Uncounted> {
    let header = Ipv6HeaderSlice::from_slice(ip).map_err(|error| match error {
        ipv6::HeaderSliceError::Len(_) => Uncounted::TruncatedBeforePorts,
        ipv6::HeaderSliceError::Content(_) => Uncounted::Malformed,
    })?;
    let header_length = header.slice().len();
    let next = header.next_header();
    let total = match u32::from(header.payload_length()) {
        // Nothing follows, and nothing is meant to; what may stand there is padding.
        0 if next == ip_number::IPV6_NO_NEXT_HEADER => header_length as u32,
        0 => wire_length,
        payload => payload + header_length as u32,
    };
    let part = unwrap_v6(carried_from(ip, header_length, total, next)?)?;
    Ok(IpPacket { source: header.source_addr().into(), destination: header.destination_addr().into(), part })
}

/// What follows the first `header` bytes of an IP packet of `total` bytes.
fn carried_from(ip: &[u8], header: usize, total: u32, protocol: IpNumber) -> Result<Carried<'_>, Uncounted> {
    let header_length = u32::try_from(header).map_err(|_| Uncounted::Malformed)?;
    let length = total.checked_sub(header_length).ok_or(Uncounted::Malformed)?;
    let rest = ip.get(header..).ok_or(Uncounted::TruncatedBeforePorts)?;
    Ok(Carried { protocol: protocol.0, captured: rest.get(..length as usize).unwrap_or(rest), length })
}

/// IPv4 has one extension header, the authentication header (RFC 4302).
fn unwrap_v4(carried: Carried<'_>) -> Result<Carried<'_>, Uncounted> {
    if carried.protocol == ip_number::AUTH.0 { behind_authentication(carried) } else { Ok(carried) }
}

/// IPv6 extension headers in a row; every one is 8 bytes or more, so the row ends.
///
/// Walked here rather than by etherparse's `Ipv6ExtensionsSlice`, which reads the data of a later
/// fragment as if it were headers.
fn unwrap_v6(mut carried: Carried<'_>) -> Result<Part<'_>, Uncounted> {
    let mut first = true;
    loop {
        carried = match IpNumber(carried.protocol) {
            // Only right after the IPv6 header (RFC 8200 section 4.1): receivers refuse it elsewhere.
            ip_number::IPV6_HOP_BY_HOP if !first => return Err(Uncounted::Malformed),
            ip_number::IPV6_HOP_BY_HOP | ip_number::IPV6_ROUTE | ip_number::IPV6_DEST_OPTIONS => {
                let header = Ipv6RawExtHeaderSlice::from_slice(carried.captured)
                    .map_err(|_| ran_out(carried.captured, carried.length))?;
                behind(carried, header.slice().len(), header.next_header())?
            }
            ip_number::IPV6_FRAG => {
                let header = Ipv6FragmentHeaderSlice::from_slice(carried.captured)
                    .map_err(|_| ran_out(carried.captured, carried.length))?;
                let carried = behind(carried, header.slice().len(), header.next_header())?;
                if header.is_fragmenting_payload() {
                    return Ok(Part::Fragment(Fragment {
                        identification: header.identification(),
                        offset: header.fragment_offset().byte_offset(),
                        more: header.more_fragments(),
                        carried,
                    }));
                }
                carried
            }
            ip_number::AUTH => behind_authentication(carried)?,
            _ => return Ok(Part::Whole(carried)),
        };
        first = false;
    }
}

fn behind_authentication(carried: Carried<'_>) -> Result<Carried<'_>, Uncounted> {
    let header = IpAuthHeaderSlice::from_slice(carried.captured).map_err(|error| match error {
        ip_auth::HeaderSliceError::Len(_) => ran_out(carried.captured, carried.length),
        ip_auth::HeaderSliceError::Content(_) => Uncounted::Malformed,
    })?;
    behind(carried, header.slice().len(), header.next_header())
}

fn behind(carried: Carried<'_>, header: usize, next: IpNumber) -> Result<Carried<'_>, Uncounted> {
    carried_from(carried.captured, header, carried.length, next)
}

/// Why a header is not all there: the capture cut it, or the packet is too short for it.
pub(super) fn ran_out(captured: &[u8], length: u32) -> Uncounted {
    if captured.len() < length as usize { Uncounted::TruncatedBeforePorts } else { Uncounted::Malformed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v4(total: u16, flags_and_offset: u16, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut ip = vec![0x45, 0];
        ip.extend(total.to_be_bytes());
        ip.extend([0x12, 0x34]);
        ip.extend(flags_and_offset.to_be_bytes());
        ip.extend([64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        ip.extend(payload);
        ip
    }

    fn v6(length: u16, next: u8, payload: &[u8]) -> Vec<u8> {
        let mut ip = vec![0x60, 0, 0, 0];
        ip.extend(length.to_be_bytes());
        ip.extend([next, 64]);
        ip.extend([0x20; 16]);
        ip.extend([0x30; 16]);
        ip.extend(payload);
        ip
    }

    fn whole(ip: &[u8], wire: u32) -> (u8, Vec<u8>, u32) {
        match parse(ip, wire).unwrap().part {
            Part::Whole(carried) => (carried.protocol, carried.captured.to_vec(), carried.length),
            Part::Fragment(fragment) => panic!("{fragment:?}"),
        }
    }

    #[test]
    fn v4_lengths() {
        let exact = v4(24, 0, 17, b"abcd");
        assert_eq!(whole(&exact, 24), (17, b"abcd".to_vec(), 4));
        let padded = v4(22, 0, 17, b"abcd");
        assert_eq!(whole(&padded, 24), (17, b"ab".to_vec(), 2));
        let cut = v4(1500, 0, 17, b"abcd");
        assert_eq!(whole(&cut, 1500), (17, b"abcd".to_vec(), 1480));
        let offloaded = v4(0, 0, 6, b"abcd");
        assert_eq!(whole(&offloaded, 65_600), (6, b"abcd".to_vec(), 65_580));
        assert_eq!(parse(&v4(19, 0, 17, b""), 20), Err(Uncounted::Malformed));
        assert_eq!(parse(&exact[..19], 24), Err(Uncounted::TruncatedBeforePorts));
        let mut short_header = exact.clone();
        short_header[0] = 0x44;
        assert_eq!(parse(&short_header, 24), Err(Uncounted::Malformed));
        let mut options = exact;
        options[0] = 0x46;
        assert_eq!(whole(&options, 24), (17, vec![], 0));
        assert_eq!(parse(&[0x50; 40], 40), Err(Uncounted::Malformed));
        assert_eq!(parse(&[], 40), Err(Uncounted::TruncatedBeforePorts));
    }

    #[test]
    fn v6_lengths_and_extension_headers() {
        assert_eq!(whole(&v6(4, 17, b"abcdpadding"), 51), (17, b"abcd".to_vec(), 4));
        assert_eq!(whole(&v6(0, 6, b"abcd"), 90_000), (6, b"abcd".to_vec(), 89_960));
        assert_eq!(whole(&v6(0, 59, b"padding"), 47), (59, vec![], 0));
        let chain = [
            &[60, 0, 0, 0, 0, 0, 0, 0][..],                     // hop by hop
            &[43, 0, 0, 0, 0, 0, 0, 0],                         // destination options
            &[51, 0, 0, 0, 0, 0, 0, 0],                         // routing
            &[44, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 9, 9, 9, 9], // authentication
            &[17, 0, 0, 0, 0, 0, 0, 7],                         // an atomic fragment
            b"abcd",
        ]
        .concat();
        assert_eq!(whole(&v6(chain.len() as u16, 0, &chain), 200), (17, b"abcd".to_vec(), 4));
        for cut in 0..chain.len() - 4 {
            let ip = v6(chain.len() as u16, 0, &chain[..cut]);
            assert_eq!(parse(&ip, 200), Err(Uncounted::TruncatedBeforePorts), "cut at {cut}");
            let ip = v6(cut as u16, 0, &chain[..cut]);
            if cut > 0 {
                assert_eq!(parse(&ip, 200), Err(Uncounted::Malformed), "short by {cut}");
            }
        }
        let late_hop_by_hop = [[0, 0, 0, 0, 0, 0, 0, 0], [17, 0, 0, 0, 0, 0, 0, 0]].concat();
        assert_eq!(parse(&v6(16, 60, &late_hop_by_hop), 56), Err(Uncounted::Malformed));
    }

    #[test]
    fn fragments_are_told_before_anything_in_them_is_read() {
        let first = v4(28, 0x2000, 51, b"abcdefgh");
        let carried = Carried { protocol: 51, captured: b"abcdefgh", length: 8 };
        let fragment = Fragment { identification: 0x1234, offset: 0, more: true, carried };
        assert_eq!(parse(&first, 28).unwrap().part, Part::Fragment(fragment));
        // The data of a later fragment would read as a malformed hop-by-hop header.
        let later = [&[0, 0, 0, 16 | 1, 0, 0, 0, 7][..], b"\0\xff345678"].concat();
        let carried = Carried { protocol: 0, captured: b"\0\xff345678", length: 8 };
        let fragment = Fragment { identification: 7, offset: 16, more: true, carried };
        assert_eq!(parse(&v6(16, 44, &later), 56).unwrap().part, Part::Fragment(fragment));
    }

    #[test]
    fn a_fragment_in_a_reassembled_datagram_is_malformed() {
        let inner = [17, 0, 0, 1, 0, 0, 0, 7];
        let carried = Carried { protocol: 44, captured: &inner, length: 8 };
        assert_eq!(unwrap_reassembled(true, carried), Err(Uncounted::Malformed));
        assert_eq!(unwrap_reassembled(false, carried), Ok(carried));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200),
                                       version in prop_oneof![Just(0x45u8), Just(0x60), any::<u8>()],
                                       next in prop_oneof![Just(0u8), Just(44), Just(51), Just(60), any::<u8>()],
                                       extra in 0u32..2000) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = version;
            }
            if let Some(byte) = bytes.get_mut(6) {
                *byte = next;
            }
            if let Ok(packet) = parse(&bytes, bytes.len() as u32 + extra) {
                let carried = match packet.part {
                    Part::Whole(carried) => carried,
                    Part::Fragment(fragment) => fragment.carried,
                };
                prop_assert!(carried.captured.len() <= carried.length as usize);
                if let Ok(inner) = unwrap_reassembled(version == 0x60, carried) {
                    prop_assert!(inner.captured.len() <= inner.length as usize);
                }
            }
        }
    }
}
