//! The two ends of a packet, laid out for what is done with every packet: hashing and comparing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Endpoint, Side};

/// The two ends of a packet in a fixed order, so that both directions of a flow have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Addresses of the lower endpoint, [`Side::A`], and of the higher.
    pub addresses: Addresses,
    /// Their ports.
    pub ports: [u16; 2],
    /// The end that sent the packet.
    pub sender: Side,
}

/// Two addresses of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// IPv4, each as the number it is.
    V4([u32; 2]),
    /// IPv6; IPv4-mapped ones stay as they are on the wire.
    V6([Ipv6Addr; 2]),
}

impl Addresses {
    /// The address on `side`.
    pub fn on(&self, side: Side) -> IpAddr {
        match self {
            Addresses::V4(both) => IpAddr::V4(Ipv4Addr::from_bits(both[side.index()])),
            Addresses::V6(both) => IpAddr::V6(both[side.index()]),
        }
    }
}

impl Ends {
    /// The ends of a packet from `source` to `destination`; both are of one family.
    pub fn new(source: Endpoint, destination: Endpoint) -> Ends {
        let ports = [source.port, destination.port];
        let wide = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        match (source.ip, destination.ip) {
            (IpAddr::V4(from), IpAddr::V4(to)) => Ends::v4([from.to_bits(), to.to_bits()], ports),
            (from, to) => Ends::v6([wide(from), wide(to)], ports),
        }
    }

    /// Between IPv4 addresses, those of the sender first.
    #[inline(always)]
    pub(super) fn v4(addresses: [u32; 2], ports: [u16; 2]) -> Ends {
        let whole = |at: usize| u64::from(addresses[at]) << 16 | u64::from(ports[at]);
        let (from, to) = (whole(0), whole(1));
        // No branch: which side sends is as good as chance.
        let (a, b) = (from.min(to), from.max(to));
        Ends {
            addresses: Addresses::V4([(a >> 16) as u32, (b >> 16) as u32]),
            ports: [a as u16, b as u16],
            sender: if from <= to { Side::A } else { Side::B },
        }
    }

    /// Between IPv6 addresses, those of the sender first.
    #[inline(always)]
    pub(super) fn v6(addresses: [Ipv6Addr; 2], ports: [u16; 2]) -> Ends {
        let ([from, to], [source, destination]) = (addresses, ports);
        if (from, source) <= (to, destination) {
            Ends { addresses: Addresses::V6(addresses), ports, sender: Side::A }
        } else {
            Ends { addresses: Addresses::V6([to, from]), ports: [destination, source], sender: Side::B }
        }
    }

    /// The endpoint on `side`.
    pub fn on(&self, side: Side) -> Endpoint {
        Endpoint { ip: self.addresses.on(side), port: self.ports[side.index()] }
    }

    /// Who sent it.
    pub fn source(&self) -> Endpoint {
        self.on(self.sender)
    }

    /// To whom.
    pub fn destination(&self) -> Endpoint {
        self.on(self.sender.other())
    }

    /// The port it went to.
    #[inline]
    pub fn destination_port(&self) -> u16 {
        self.ports[self.sender.other().index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same few addresses and ports again and again, of one family.
    fn any_ends() -> impl Strategy<Value = [Endpoint; 2]> {
        let ip = |is_wide: bool, ip: u8| match is_wide {
            true => IpAddr::from(u128::from(ip).to_be_bytes()),
            false => IpAddr::from(u32::from(ip).to_be_bytes()),
        };
        let end = (0u8..3, 0u16..4);
        (any::<bool>(), end.clone(), end).prop_map(move |(is_wide, a, b)| {
            [a, b].map(|(last, port)| Endpoint { ip: ip(is_wide, last), port })
        })
    }

    proptest! {
        #[test]
        fn ends_are_ordered_as_their_type_orders_them([a, b] in any_ends()) {
            let ends = Ends::new(a, b);
            prop_assert_eq!((ends.on(Side::A), ends.on(Side::B)), (a.min(b), a.max(b)));
            prop_assert_eq!((ends.source(), ends.destination()), (a, b));
            prop_assert_eq!(ends.destination_port(), b.port);
        }
    }
}
