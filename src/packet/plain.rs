//! The short way through the packets that captures are made of: Ethernet, VLAN tags, IPv4 or IPv6, and
//! at once TCP or UDP, all headers captured.
//!
//! It answers only where nothing is to be judged: no fragments, no extension headers, no lengths that
//! contradict each other or were left to the wire. Everything else goes the long way, which decides what
//! is wrong with it; where both answer, they say the same.

use super::link::{IPV4, IPV6, VLAN, VLAN_DOUBLE, VLAN_PROVIDER};
use super::{Addresses, Encapsulation, Ends, Head, Segment, Tcp, TcpFlags, Transport};
use crate::capture::{LinkType, Packet};
use std::net::Ipv6Addr;

/// Decodes a plain packet of `wire_length` bytes; `None` sends it the long way.
pub(super) fn segment<'a>(packet: &Packet<'a>, wire_length: u32) -> Option<Segment<'a>> {
    if packet.link != LinkType::Ethernet {
        return None;
    }
    frame(packet.bytes, Encapsulation::NONE, wire_length)
}

/// The same for an Ethernet frame that has this around it.
pub(super) fn frame(bytes: &[u8], mut encapsulation: Encapsulation, wire_length: u32) -> Option<Segment<'_>> {
    let (ether_type, mut rest) = bytes.get(12..)?.split_first_chunk::<2>()?;
    let mut ether_type = u16::from_be_bytes(*ether_type);
    while matches!(ether_type, VLAN | VLAN_PROVIDER | VLAN_DOUBLE) {
        let ([a, b, c, d], inner) = rest.split_first_chunk::<4>()?;
        if !encapsulation.push(u16::from_be_bytes([*a, *b]) & 0x0fff) {
            return None;
        }
        (ether_type, rest) = (u16::from_be_bytes([*c, *d]), inner);
    }
    match ether_type {
        IPV4 => upper(v4(rest)?, encapsulation, wire_length),
        IPV6 => upper(v6(rest)?, encapsulation, wire_length),
        _ => None,
    }
}

/// The same for the plainest of them, IPv4 without tags; `None` says nothing of others.
#[inline(always)]
pub(super) fn plainest<'a>(packet: &Packet<'a>, wire_length: u32) -> Option<Segment<'a>> {
    let ([_, _, _, _, _, _, _, _, _, _, _, _, a, b], rest) = packet.bytes.split_first_chunk::<14>()?;
    if packet.link != LinkType::Ethernet || u16::from_be_bytes([*a, *b]) != IPV4 {
        return None;
    }
    upper(v4(rest)?, Encapsulation::NONE, wire_length)
}

#[inline(always)]
fn upper(found: Found<'_>, encapsulation: Encapsulation, wire_length: u32) -> Option<Segment<'_>> {
    let upper = match found.transport {
        Transport::TCP => tcp(found.body, found.length)?,
        Transport::UDP => udp(found.body, found.length)?,
        _ => return None,
    };
    let head = Head {
        ends: match found.addresses {
            Addresses::V4(both) => Ends::v4(both, upper.ports),
            Addresses::V6(both) => Ends::v6(both, upper.ports),
        },
        transport: found.transport,
        tcp: upper.tcp,
        payload_length: upper.payload_length,
        packets: 1,
        differing: false,
        wire_bytes: u64::from(wire_length),
        encapsulation,
    };
    Some(Segment { head, payload: upper.payload })
}

struct Found<'a> {
    /// The sender's first.
    addresses: Addresses,
    transport: Transport,
    /// What was captured of the datagram's body, never more than `length`.
    body: &'a [u8],
    length: u32,
}

struct Upper<'a> {
    ports: [u16; 2],
    tcp: Option<Tcp>,
    payload: &'a [u8],
    payload_length: u32,
}

/// More fragments, and the offset: the rest of that field does not matter here.
const FRAGMENT: u16 = 0x3fff;

/// RFC 791 section 3.1.
#[inline(always)]
fn v4(ip: &[u8]) -> Option<Found<'_>> {
    let [first, _, t0, t1, _, _, f0, f1, _, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] =
        *ip.first_chunk::<20>()?;
    let header = u16::from(first & 0x0f) * 4;
    if first >> 4 != 4 || header < 20 || u16::from_be_bytes([f0, f1]) & FRAGMENT != 0 {
        return None;
    }
    // With a total length of 0 there is nothing to subtract from either.
    let length = u16::from_be_bytes([t0, t1]).checked_sub(header)?;
    let body = ip.get(usize::from(header)..)?;
    Some(Found {
        addresses: Addresses::V4([
            u32::from_be_bytes([s0, s1, s2, s3]),
            u32::from_be_bytes([d0, d1, d2, d3]),
        ]),
        transport: Transport(protocol),
        body: body.get(..usize::from(length)).unwrap_or(body),
        length: u32::from(length),
    })
}

/// RFC 8200 section 3.
#[inline(always)]
fn v6(ip: &[u8]) -> Option<Found<'_>> {
    let (head, body) = ip.split_first_chunk::<40>()?;
    let length = u16::from_be_bytes([head[4], head[5]]);
    if head[0] >> 4 != 6 || length == 0 {
        return None;
    }
    let (source, rest) = head[8..].split_first_chunk::<16>()?;
    Some(Found {
        addresses: Addresses::V6([*source, *rest.first_chunk::<16>()?].map(Ipv6Addr::from)),
        transport: Transport(head[6]),
        body: body.get(..usize::from(length)).unwrap_or(body),
        length: u32::from(length),
    })
}

/// RFC 9293 section 3.1.
#[inline(always)]
fn tcp(body: &[u8], length: u32) -> Option<Upper<'_>> {
    let [s0, s1, d0, d1, n0, n1, n2, n3, a0, a1, a2, a3, offset, flags, ..] = *body.first_chunk::<20>()?;
    let header = u32::from(offset >> 4) * 4;
    if header < 20 {
        return None;
    }
    Some(Upper {
        ports: [u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1])],
        tcp: Some(Tcp {
            sequence: u32::from_be_bytes([n0, n1, n2, n3]),
            acknowledgement: u32::from_be_bytes([a0, a1, a2, a3]),
            flags: TcpFlags(flags),
        }),
        payload: body.get(header as usize..)?,
        payload_length: length.checked_sub(header)?,
    })
}

/// RFC 768.
#[inline(always)]
fn udp(body: &[u8], length: u32) -> Option<Upper<'_>> {
    let ([s0, s1, d0, d1, l0, l1, _, _], payload) = body.split_first_chunk::<8>()?;
    let stated = u32::from(u16::from_be_bytes([*l0, *l1]));
    // A shorter one leaves padding behind; a longer one, or none, is for the long way.
    let payload_length = stated.checked_sub(8).filter(|_| stated <= length)?;
    Some(Upper {
        ports: [u16::from_be_bytes([*s0, *s1]), u16::from_be_bytes([*d0, *d1])],
        tcp: None,
        payload: payload.get(..payload_length as usize).unwrap_or(payload),
        payload_length,
    })
}
