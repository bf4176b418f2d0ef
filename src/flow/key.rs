//! What tells one flow from another.

use std::hash::{Hash, Hasher};

use crate::packet::{Addresses, Endpoint, Head, Side, Transport};

/// The two ends of a flow in a fixed order, lower first, so that both directions find the same flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Addresses of the lower endpoint, [`Side::A`], and of the higher, [`Side::B`].
    pub addresses: Addresses,
    /// Their ports.
    pub ports: [u16; 2],
    /// The IP protocol.
    pub transport: Transport,
    /// The VXLAN network it is in, if any: the same addresses in another are others.
    pub network: Option<u32>,
}

impl Key {
    /// The key of a packet.
    #[inline(always)]
    pub fn of(head: &Head) -> Key {
        let (ends, transport) = (&head.ends, head.transport);
        let network = head.encapsulation.network();
        Key { addresses: ends.addresses, ports: ends.ports, transport, network }
    }

    /// The endpoint on `side`.
    pub fn end(&self, side: Side) -> Endpoint {
        Endpoint { ip: self.addresses.on(side), port: self.ports[side.index()] }
    }
}

/// A few whole words, where deriving would feed a hasher every part of every address by itself.
impl Hash for Key {
    #[inline(always)]
    fn hash<H: Hasher>(&self, state: &mut H) {
        let ports = u64::from(self.ports[0]) << 32 | u64::from(self.ports[1]) << 16;
        // Its 24 bits where the rest leaves room: without it, whoever makes tunnels would put all that is in them
        // in one place.
        let network = u64::from(self.network.unwrap_or(0));
        let network = network << 48 | network >> 16 << 8;
        let rest = ports | network | u64::from(self.transport.0);
        match self.addresses {
            Addresses::V4([a, b]) => {
                let both = u64::from(a) << 32 | u64::from(b);
                state.write_u128(u128::from(both) << 64 | u128::from(rest));
            }
            Addresses::V6(both) => {
                for ip in both {
                    state.write_u128(ip.to_bits());
                }
                state.write_u64(rest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use foldhash::fast::RandomState;
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    #[test]
    fn networks_are_hashed_apart() {
        let hasher = RandomState::default();
        let key = |network| Key {
            addresses: Addresses::V4([1, 2]),
            ports: [u16::MAX; 2],
            transport: Transport::UDP,
            network,
        };
        let networks = (0..24).map(|bit| Some(1 << bit)).chain([None]);
        let hashes: HashSet<u64> = networks.map(|network| hasher.hash_one(key(network))).collect();
        assert_eq!(hashes.len(), 25);
    }
}
