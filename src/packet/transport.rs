//! Transport headers: ports, the TCP fields that flows follow, and where the payload starts.

use super::ip::{Carried, ran_out};
use super::{Tcp, TcpFlags, Transport, Uncounted};

/// What a segment takes from its transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Upper<'a> {
    pub source_port: u16,
    pub destination_port: u16,
    pub tcp: Option<Tcp>,
    /// Never longer than `payload_length`.
    pub payload: &'a [u8],
    /// Bytes on the wire.
    pub payload_length: u32,
}

/// Reads the transport header of a whole datagram.
///
/// A header that the capture cut is read as far as flows need it: TCP to its flags (14 bytes), UDP and
/// SCTP to their ports (4), ICMP to its code (2); the payload is then empty. With less, it is
/// [`Uncounted::TruncatedBeforePorts`]. A datagram too short for its header, or a TCP data offset that
/// points outside it, is [`Uncounted::Malformed`]. Any other protocol has ports 0 and all is payload.
pub(super) fn parse(carried: Carried<'_>) -> Result<Upper<'_>, Uncounted> {
    match Transport(carried.protocol) {
        Transport::TCP => tcp(carried),
        Transport::UDP => udp(carried),
        Transport::SCTP => {
            let [a, b, c, d] = *start(carried)?;
            upper(carried, [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])], SCTP_HEADER)
        }
        transport @ (Transport::ICMP | Transport::ICMPV6) => {
            let [kind, code] = *start(carried)?;
            let counterpart = icmp_counterpart(transport, kind).unwrap_or(code);
            // Some ICMPv6 messages are shorter than the eight bytes that most begin with.
            let header = ICMP_HEADER.min(carried.length);
            upper(carried, [u16::from(kind), u16::from(counterpart)], header)
        }
        _ => upper(carried, [0, 0], 0),
    }
}

/// The ICMP type that answers `kind`, or that it answers; `None` for one-way types.
///
/// The pairs are those of the Community ID v1 specification (its reference implementation follows Zeek):
/// a flow's ports are the type and this, or the type and the code of a one-way message.
pub fn icmp_counterpart(transport: Transport, kind: u8) -> Option<u8> {
    let counterpart = match (transport, kind) {
        // Echo, router solicitation, timestamp, information, address mask (RFC 792, 950, 1256).
        (Transport::ICMP, 8) => 0,
        (Transport::ICMP, 0) => 8,
        (Transport::ICMP, 10) => 9,
        (Transport::ICMP, 9) => 10,
        (Transport::ICMP, 13) => 14,
        (Transport::ICMP, 14) => 13,
        (Transport::ICMP, 15) => 16,
        (Transport::ICMP, 16) => 15,
        (Transport::ICMP, 17) => 18,
        (Transport::ICMP, 18) => 17,
        // Echo, listener query, router and neighbour solicitation, node information, home agent
        // address discovery (RFC 4443, 2710, 4861, 4620, 6275).
        (Transport::ICMPV6, 128) => 129,
        (Transport::ICMPV6, 129) => 128,
        (Transport::ICMPV6, 130) => 131,
        (Transport::ICMPV6, 131) => 130,
        (Transport::ICMPV6, 133) => 134,
        (Transport::ICMPV6, 134) => 133,
        (Transport::ICMPV6, 135) => 136,
        (Transport::ICMPV6, 136) => 135,
        (Transport::ICMPV6, 139) => 140,
        (Transport::ICMPV6, 140) => 139,
        (Transport::ICMPV6, 144) => 145,
        (Transport::ICMPV6, 145) => 144,
        _ => return None,
    };
    Some(counterpart)
}

/// Header lengths in bytes (RFC 9293 section 3.1, RFC 768, RFC 9260 section 3.1, RFC 792).
const TCP_HEADER: u32 = 20;
const UDP_HEADER: u32 = 8;
const SCTP_HEADER: u32 = 12;
const ICMP_HEADER: u32 = 8;

fn tcp(carried: Carried<'_>) -> Result<Upper<'_>, Uncounted> {
    let [s0, s1, d0, d1, n0, n1, n2, n3, a0, a1, a2, a3, offset, flags] = *start::<14>(carried)?;
    let header = u32::from(offset >> 4) * 4;
    if header < TCP_HEADER {
        return Err(Uncounted::Malformed);
    }
    let ports = [u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1])];
    let tcp = Tcp {
        sequence: u32::from_be_bytes([n0, n1, n2, n3]),
        acknowledgement: u32::from_be_bytes([a0, a1, a2, a3]),
        flags: TcpFlags(flags),
    };
    Ok(Upper { tcp: Some(tcp), ..upper(carried, ports, header)? })
}

/// The UDP length is believed only when it fits; 0 is what offloading and jumbograms leave.
fn udp(carried: Carried<'_>) -> Result<Upper<'_>, Uncounted> {
    let [s0, s1, d0, d1] = *start::<4>(carried)?;
    let ports = [u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1])];
    let mut upper = upper(carried, ports, UDP_HEADER)?;
    if let Some([_, _, _, _, l0, l1]) = carried.captured.first_chunk::<6>() {
        let stated = u32::from(u16::from_be_bytes([*l0, *l1]));
        if let Some(payload) = stated.checked_sub(UDP_HEADER).filter(|it| *it < upper.payload_length) {
            upper.payload_length = payload;
            upper.payload = upper.payload.get(..payload as usize).unwrap_or(upper.payload);
        }
    }
    Ok(upper)
}

/// The first `N` bytes, or why they are not there.
fn start<const N: usize>(carried: Carried<'_>) -> Result<&[u8; N], Uncounted> {
    carried.captured.first_chunk::<N>().ok_or_else(|| ran_out(carried.captured, carried.length))
}

fn upper(carried: Carried<'_>, ports: [u16; 2], header: u32) -> Result<Upper<'_>, Uncounted> {
    Ok(Upper {
        source_port: ports[0],
        destination_port: ports[1],
        tcp: None,
        payload: carried.captured.get(header as usize..).unwrap_or_default(),
        payload_length: carried.length.checked_sub(header).ok_or(Uncounted::Malformed)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TCP: [u8; 24] = [0, 80, 1, 187, 0, 0, 0, 1, 0, 0, 0, 2, 0x60, 0x12, 0, 0, 0, 0, 0, 0, 2, 4, 5, 180];

    fn carried(protocol: Transport, captured: &[u8], length: u32) -> Carried<'_> {
        Carried { protocol: protocol.0, captured, length }
    }

    #[test]
    fn tcp_whole_and_cut() {
        let bytes = [&TCP[..], b"hello"].concat();
        let whole = parse(carried(Transport::TCP, &bytes, 29)).unwrap();
        let tcp = Tcp { sequence: 1, acknowledgement: 2, flags: TcpFlags(0x12) };
        assert_eq!((whole.source_port, whole.destination_port, whole.tcp), (80, 443, Some(tcp)));
        assert_eq!((whole.payload, whole.payload_length), (&b"hello"[..], 5));
        for cut in 0..14 {
            let result = parse(carried(Transport::TCP, &bytes[..cut], 29));
            assert_eq!(result, Err(Uncounted::TruncatedBeforePorts));
        }
        for cut in 14..=24 {
            let cut = parse(carried(Transport::TCP, &bytes[..cut], 29)).unwrap();
            assert_eq!(cut, Upper { payload: &[], ..whole });
        }
        assert_eq!(parse(carried(Transport::TCP, &bytes[..23], 23)), Err(Uncounted::Malformed));
        assert_eq!(parse(carried(Transport::TCP, &bytes[..13], 13)), Err(Uncounted::Malformed));
        let mut small_offset = TCP;
        small_offset[12] = 0x40;
        assert_eq!(parse(carried(Transport::TCP, &small_offset, 24)), Err(Uncounted::Malformed));
    }

    #[test]
    fn udp_length_is_taken_when_it_fits() {
        let payload = |stated: u8, length| {
            let bytes = [0, 53, 0, 54, 0, stated, 0, 0, b'a', b'b', b'c'];
            parse(carried(Transport::UDP, &bytes, length)).map(|it| (it.payload.len(), it.payload_length))
        };
        assert_eq!(payload(11, 11), Ok((3, 3)));
        assert_eq!(payload(10, 11), Ok((2, 2)));
        assert_eq!(payload(8, 11), Ok((0, 0)));
        assert_eq!(payload(7, 11), Ok((3, 3)));
        assert_eq!(payload(0, 11), Ok((3, 3)));
        assert_eq!(payload(200, 11), Ok((3, 3)));
        assert_eq!(payload(20, 100), Ok((3, 12)));
        let cut = parse(carried(Transport::UDP, &[0, 53, 0, 54], 11)).unwrap();
        assert_eq!((cut.source_port, cut.destination_port, cut.payload_length), (53, 54, 3));
        assert_eq!(parse(carried(Transport::UDP, &[0, 53, 0, 54], 7)), Err(Uncounted::Malformed));
        assert_eq!(parse(carried(Transport::UDP, &[0, 53, 0], 11)), Err(Uncounted::TruncatedBeforePorts));
    }

    #[test]
    fn icmp_types_stand_for_ports() {
        let ports = |protocol, kind, code| {
            let bytes = [kind, code, 0, 0, 0, 0, 0, 0, 1];
            let upper = parse(carried(protocol, &bytes, 9)).unwrap();
            assert_eq!(upper.payload, [1]);
            (upper.source_port, upper.destination_port)
        };
        assert_eq!(ports(Transport::ICMP, 8, 0), (8, 0));
        assert_eq!(ports(Transport::ICMP, 0, 0), (0, 8));
        assert_eq!(ports(Transport::ICMP, 3, 13), (3, 13));
        assert_eq!(ports(Transport::ICMPV6, 128, 0), (128, 129));
        assert_eq!(ports(Transport::ICMPV6, 1, 4), (1, 4));
        let short = parse(carried(Transport::ICMPV6, &[128, 0, 0, 0], 4)).unwrap();
        assert_eq!((short.payload_length, short.destination_port), (0, 129));
    }

    #[test]
    fn counterparts_pair_up() {
        for transport in [Transport::ICMP, Transport::ICMPV6, Transport::TCP] {
            for kind in 0..=255 {
                if let Some(other) = icmp_counterpart(transport, kind) {
                    assert_eq!(icmp_counterpart(transport, other), Some(kind));
                }
            }
        }
    }

    #[test]
    fn sctp_has_ports_and_the_rest_has_none() {
        let bytes = [0, 7, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 9];
        let sctp = parse(carried(Transport::SCTP, &bytes, 13)).unwrap();
        assert_eq!((sctp.source_port, sctp.destination_port, sctp.payload), (7, 8, &[9][..]));
        let gre = parse(carried(Transport(47), &bytes, 20)).unwrap();
        assert_eq!((gre.source_port, gre.destination_port), (0, 0));
        assert_eq!((gre.payload, gre.payload_length), (&bytes[..], 20));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
            protocol in prop_oneof![Just(1u8), Just(6), Just(17), Just(58), Just(132), any::<u8>()],
            extra in 0u32..100,
        ) {
            let length = bytes.len() as u32 + extra;
            if let Ok(upper) = parse(Carried { protocol, captured: &bytes, length }) {
                prop_assert!(upper.payload.len() <= upper.payload_length as usize);
                prop_assert!(upper.payload_length <= length);
            }
        }
    }
}
