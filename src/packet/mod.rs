//! Frames to flow keys: link layer, VLAN tags, IP and its fragments, down to ports, flags and payload.
//!
//! Plain packets take a short way of our own; etherparse decodes every other one from the IP header on.
//! Nothing here knows flows or protocols.

mod allowance;
mod decoder;
mod encapsulation;
mod ends;
mod fragments;
mod ip;
mod link;
mod plain;
mod transport;
mod vxlan;

#[cfg(test)]
mod corpus;

pub use allowance::Allowance;
pub use decoder::{Decoder, GivenUp, datagram};
pub use encapsulation::{Encapsulation, Layer};
pub use ends::{Addresses, Ends};
pub use fragments::Key as DatagramKey;
pub use transport::icmp_counterpart;
pub use vxlan::{Inside, inside, is_tunnel};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// URG: the segment carries urgent data, or data before it.
    pub fn urg(self) -> bool {
        self.0 & 0x20 != 0
    }
}

/// One decoded packet: everything the flow table needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// What its headers say.
    pub head: Head,
    /// The payload above the transport header, as far as it was captured.
    pub payload: &'a [u8],
}

/// What the headers of a packet say; its payload may be elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Between whom it went, and who sent it.
    pub ends: Ends,
    /// The IP protocol.
    pub transport: Transport,
    /// The TCP header, when it is TCP.
    pub tcp: Option<Tcp>,
    /// The payload's length on the wire, in bytes.
    pub payload_length: u32,
    /// Captured packets it is made of: more than one when fragments were put together.
    pub packets: u32,
    /// They are fragments that brought different bytes for the same place.
    pub differing: bool,
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
