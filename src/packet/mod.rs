//! Frames to flow keys: link layer, VLAN tags, IP and its fragments, down to ports, flags and payload.
//!
//! etherparse decodes everything from the IP header on. Nothing here knows flows or protocols.

mod decoder;
mod fragments;
mod ip;
mod link;
mod transport;
mod vxlan;

#[cfg(test)]
mod corpus;

pub use decoder::{Decoder, GivenUp};
pub use transport::icmp_counterpart;
pub use vxlan::{Inside, inside};

use std::net::IpAddr;

/// One end of a flow. Protocols without ports have port 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The address; IPv4-mapped IPv6 addresses stay as they are on the wire.
    pub ip: IpAddr,
    /// The port, or the ICMP type and mapped code as Community ID defines them.
    pub port: u16,
}

/// One of the two ends of a flow, in the flow key's own order; who is the client is separate evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The lower endpoint of the flow's key.
    A,
    /// The higher endpoint.
    B,
}

impl Side {
    /// The opposite end.
    pub fn other(self) -> Side {
        match self {
            Side::A => Side::B,
            Side::B => Side::A,
        }
    }
    /// 0 for A and 1 for B, to index a pair.
    pub fn index(self) -> usize {
        self as usize
    }
}

/// Why bytes are missing from what was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// Packets are not in the capture.
    Loss,
    /// The capture cut the packet (snaplen).
    Snaplen,
    /// A cap of this program was reached.
    Cap,
}

/// An IP protocol number (IANA Assigned Internet Protocol Numbers).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Transport(pub u8);

impl Transport {
    /// ICMP for IPv4.
    pub const ICMP: Transport = Transport(1);
    /// TCP.
    pub const TCP: Transport = Transport(6);
    /// UDP.
    pub const UDP: Transport = Transport(17);
    /// ICMP for IPv6.
    pub const ICMPV6: Transport = Transport(58);
    /// SCTP.
    pub const SCTP: Transport = Transport(132);
}

/// The TCP header fields the flow table follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Sequence number of the first payload byte (of the SYN itself in a SYN).
    pub sequence: u32,
    /// Acknowledgement number; meaningful when [`TcpFlags::ack`] is set.
    pub acknowledgement: u32,
    /// The flag bits.
    pub flags: TcpFlags,
}

/// The flag bits of a TCP header, low byte, as on the wire (RFC 9293 section 3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// FIN.
    pub fn fin(self) -> bool {
        self.0 & 0x01 != 0
    }
    /// SYN.
    pub fn syn(self) -> bool {
        self.0 & 0x02 != 0
    }
    /// RST.
    pub fn rst(self) -> bool {
        self.0 & 0x04 != 0
    }
    /// ACK.
    pub fn ack(self) -> bool {
        self.0 & 0x10 != 0
    }
}

/// What carried the IP packet besides the link layer; printed in the report's `encapsulation` column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Encapsulation {
    /// VLAN identifiers from the outside in; only the first `tags` are meaningful.
    pub vlans: [u16; Encapsulation::MAX_TAGS],
    /// How many VLAN tags there were.
    pub tags: u8,
    tunnels: [Tunnel; Encapsulation::MAX_TUNNELS],
    depth: u8,
}

/// One VXLAN tunnel around a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Tunnel {
    /// The VXLAN network identifier, 24 bits.
    vni: u32,
    /// How many VLAN tags stand outside of it.
    tags_before: u8,
}

/// One thing around a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// A VLAN tag's identifier (IEEE 802.1Q), 12 bits.
    Vlan(u16),
    /// A VXLAN network identifier (RFC 7348 section 5), 24 bits.
    Vxlan(u32),
}

impl Encapsulation {
    /// Nothing around the packet.
    pub const NONE: Encapsulation = Encapsulation {
        vlans: [0; Encapsulation::MAX_TAGS],
        tags: 0,
        tunnels: [Tunnel { vni: 0, tags_before: 0 }; Encapsulation::MAX_TUNNELS],
        depth: 0,
    };
    /// The most VLAN tags followed; a frame with more is counted as malformed.
    pub const MAX_TAGS: usize = 8;
    /// The most tunnels followed, one inside the other; what is inside further ones is not decoded.
    pub const MAX_TUNNELS: usize = 2;

    /// Everything around the packet, from the outside in.
    pub fn layers(&self) -> impl Iterator<Item = Layer> + '_ {
        let tunnels = self.tunnels.iter().take(usize::from(self.depth));
        let mut from = 0;
        let outer = tunnels.flat_map(move |tunnel| {
            let vlans = self.tags_between(from, tunnel.tags_before);
            from = tunnel.tags_before;
            vlans.chain([Layer::Vxlan(tunnel.vni)])
        });
        let last = self.innermost().map_or(0, |tunnel| tunnel.tags_before);
        outer.chain(self.tags_between(last, self.tags))
    }

    /// The innermost VXLAN network the packet is in: addresses mean something within it only.
    pub fn network(&self) -> Option<u32> {
        self.innermost().map(|tunnel| tunnel.vni)
    }

    /// How many tunnels are around the packet.
    pub fn depth(&self) -> u8 {
        self.depth
    }

    /// Adds the next inner tag; `false` when the cap is reached.
    #[must_use]
    pub(crate) fn push(&mut self, vlan: u16) -> bool {
        let Some(slot) = self.vlans.get_mut(usize::from(self.tags)) else { return false };
        *slot = vlan;
        self.tags += 1;
        true
    }

    /// Adds the next inner tunnel; `false` when the cap is reached.
    #[must_use]
    pub(crate) fn enter(&mut self, vni: u32) -> bool {
        let Some(slot) = self.tunnels.get_mut(usize::from(self.depth)) else { return false };
        *slot = Tunnel { vni, tags_before: self.tags };
        self.depth += 1;
        true
    }

    fn innermost(&self) -> Option<&Tunnel> {
        self.depth.checked_sub(1).and_then(|at| self.tunnels.get(usize::from(at)))
    }

    fn tags_between(&self, from: u8, to: u8) -> impl Iterator<Item = Layer> + '_ {
        let tags = self.vlans.get(usize::from(from)..usize::from(to)).unwrap_or_default();
        tags.iter().map(|vlan| Layer::Vlan(*vlan))
    }
}

/// One decoded packet: everything the flow table needs.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// What its headers say.
    pub head: Head,
    /// The payload above the transport header, as far as it was captured.
    pub payload: &'a [u8],
}

/// What the headers of a packet say; its payload may be elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// Who sent it.
    pub source: Endpoint,
    /// To whom.
    pub destination: Endpoint,
    /// The IP protocol.
    pub transport: Transport,
    /// The TCP header, when it is TCP.
    pub tcp: Option<Tcp>,
    /// The payload's length on the wire, in bytes.
    pub payload_length: u32,
    /// Captured packets it is made of: more than one when fragments were put together.
    pub packets: u32,
    /// Bytes on the wire of all those packets, link layer included.
    pub wire_bytes: u64,
    /// VLAN tags and tunnels.
    pub encapsulation: Encapsulation,
}

/// Why a packet belongs to no flow. Every packet read is either in a flow or counted under one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Uncounted {
    /// ARP, LLDP, a bare 802.2 frame and the like.
    NotIp,
    /// A header that contradicts itself, or more VLAN tags than the cap.
    Malformed,
    /// The capture cut the packet before its addresses and ports were complete.
    TruncatedBeforePorts,
    /// A fragment whose datagram never became whole: its first or another part is missing.
    FragmentIncomplete,
    /// A fragment refused because the fragment store was full.
    FragmentCap,
    /// The link type is not one of those decoded.
    LinkType,
}

/// What became of one packet.
#[derive(Clone, Copy, Debug)]
pub enum Decoded<'a> {
    /// It goes to a flow.
    Segment(Segment<'a>),
    /// A fragment kept until its datagram is whole: it will be counted then, or when it is given up.
    Held,
    /// It belongs to no flow, for this reason.
    Uncounted(Uncounted),
}
