//! What tells one flow from another.

use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use crate::packet::{Endpoint, Head, Side, Transport};

/// The two ends of a flow in a fixed order, lower first, so that both directions find the same flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The lower endpoint, [`Side::A`].
    pub a: Endpoint,
    /// The higher endpoint, [`Side::B`].
    pub b: Endpoint,
    /// The IP protocol.
    pub transport: Transport,
    /// The VXLAN network it is in, if any: the same addresses in another are others.
    pub network: Option<u32>,
}

impl Key {
    /// The key of a packet, and the side that sent it.
    #[inline]
    pub fn of(head: &Head) -> (Key, Side) {
        let (source, destination, transport) = (head.source, head.destination, head.transport);
        let network = head.encapsulation.network();
        if is_ordered(&source, &destination) {
            (Key { a: source, b: destination, transport, network }, Side::A)
        } else {
            (Key { a: destination, b: source, transport, network }, Side::B)
        }
    }

    /// The endpoint on `side`.
    pub fn end(&self, side: Side) -> Endpoint {
        match side {
            Side::A => self.a,
            Side::B => self.b,
        }
    }
}

/// As `a <= b`, in one comparison for the addresses nearly every packet has.
#[inline]
fn is_ordered(a: &Endpoint, b: &Endpoint) -> bool {
    match (a.ip, b.ip) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let whole = |ip: u32, port: u16| u64::from(ip) << 16 | u64::from(port);
            whole(from.to_bits(), a.port) <= whole(to.to_bits(), b.port)
        }
        _ => a <= b,
    }
}

/// A few whole words, where deriving would feed a hasher every part of every address by itself.
impl Hash for Key {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        let ports = u64::from(self.a.port) << 32 | u64::from(self.b.port) << 16;
        let rest = ports | u64::from(self.transport.0);
        match (self.a.ip, self.b.ip) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let both = u64::from(a.to_bits()) << 32 | u64::from(b.to_bits());
                state.write_u128(u128::from(both) << 64 | u128::from(rest));
            }
            (a, b) => {
                for ip in [a, b] {
                    state.write_u128(match ip {
                        IpAddr::V4(ip) => u128::from(ip.to_bits()),
                        IpAddr::V6(ip) => ip.to_bits(),
                    });
                }
                state.write_u64(rest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_end() -> impl Strategy<Value = Endpoint> {
        let ip = prop_oneof![
            3 => (0u32..4).prop_map(|ip| IpAddr::from(ip.to_be_bytes())),
            1 => (0u128..3).prop_map(|ip| IpAddr::from(ip.to_be_bytes())),
        ];
        (ip, 0u16..4).prop_map(|(ip, port)| Endpoint { ip, port })
    }

    proptest! {
        #[test]
        fn ends_are_ordered_as_their_type_orders_them(a in any_end(), b in any_end()) {
            prop_assert_eq!(is_ordered(&a, &b), a <= b);
        }
    }
}
