//! What tells one flow from another.

use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use crate::packet::{Endpoint, Ends, Head, Side, Transport};

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
    /// The key of a packet.
    #[inline(always)]
    pub fn of(head: &Head) -> Key {
        let (Ends { a, b, .. }, transport) = (head.ends, head.transport);
        Key { a, b, transport, network: head.encapsulation.network() }
    }

    /// The endpoint on `side`.
    pub fn end(&self, side: Side) -> Endpoint {
        match side {
            Side::A => self.a,
            Side::B => self.b,
        }
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
