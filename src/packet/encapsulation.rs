//! What stands around an IP packet: VLAN tags and VXLAN tunnels.

/// What carried the IP packet besides the link layer; printed in the report's `encapsulation` column.
///
/// Packed into 20 bytes: every decoded packet and every flow has one, and most are empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Encapsulation {
    /// Twelve bits for each tag, the outermost lowest.
    vlans: [u32; 3],
    /// The network identifier (24 bits), how many tags stand outside of the tunnel (4 bits); the lowest
    /// 4 bits of the first count the tags in all, those of the second the tunnels.
    tunnels: [u32; Encapsulation::MAX_TUNNELS],
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
    pub const NONE: Encapsulation = Encapsulation { vlans: [0; 3], tunnels: [0; Encapsulation::MAX_TUNNELS] };
    /// The most VLAN tags followed; a frame with more is counted as malformed.
    pub const MAX_TAGS: usize = 8;
    /// The most tunnels followed, one inside the other; what is inside further ones is not decoded.
    pub const MAX_TUNNELS: usize = 2;

    /// Everything around the packet, from the outside in.
    pub fn layers(&self) -> impl Iterator<Item = Layer> + '_ {
        let (tags, tunnels) = (self.tags(), usize::from(self.depth()));
        let (all, mut tag, mut tunnel) = (self.all_vlans(), 0, 0);
        std::iter::from_fn(move || {
            if let Some((vni, tags_before)) = self.tunnels[..tunnels].get(tunnel).map(|it| unpack(*it))
                && tags_before == tag
            {
                tunnel += 1;
                return Some(Layer::Vxlan(vni));
            }
            let vlan = (all >> (u32::from(tag) * TAG_BITS)) as u16 & TAG;
            tag += 1;
            (tag <= tags).then_some(Layer::Vlan(vlan))
        })
    }

    /// The innermost VXLAN network the packet is in: addresses mean something within it only.
    #[inline]
    pub fn network(&self) -> Option<u32> {
        self.innermost().map(|(vni, _)| vni)
    }

    /// How many tunnels are around the packet.
    #[inline]
    pub fn depth(&self) -> u8 {
        (self.tunnels[1] & COUNT) as u8
    }

    /// Adds the next inner tag; `false` when the cap is reached.
    #[must_use]
    pub(crate) fn push(&mut self, vlan: u16) -> bool {
        let tags = self.tags();
        if usize::from(tags) >= Encapsulation::MAX_TAGS {
            return false;
        }
        let all = self.all_vlans() | u128::from(vlan & TAG) << (u32::from(tags) * TAG_BITS);
        self.vlans = [all as u32, (all >> 32) as u32, (all >> 64) as u32];
        self.tunnels[0] += 1;
        true
    }

    /// Adds the next inner tunnel; `false` when the cap is reached.
    #[must_use]
    pub(crate) fn enter(&mut self, vni: u32) -> bool {
        let tags = self.tags();
        let depth = usize::from(self.depth());
        let Some(slot) = self.tunnels.get_mut(depth) else { return false };
        *slot |= (vni & 0xff_ffff) << 8 | u32::from(tags) << 4;
        self.tunnels[1] += 1;
        true
    }

    /// The VLAN tags alone, from the outside in.
    pub(super) fn vlans(&self) -> impl Iterator<Item = u16> + '_ {
        let all = self.all_vlans();
        (0..u32::from(self.tags())).map(move |at| (all >> (at * TAG_BITS)) as u16 & TAG)
    }

    /// How many VLAN tags are around the packet, those around its tunnels included.
    #[inline]
    pub fn tags(&self) -> u8 {
        (self.tunnels[0] & COUNT) as u8
    }

    fn all_vlans(&self) -> u128 {
        let [a, b, c] = self.vlans.map(u128::from);
        a | b << 32 | c << 64
    }

    /// The network identifier, and the tags outside of it.
    #[inline]
    fn innermost(&self) -> Option<(u32, u8)> {
        let at = self.depth().checked_sub(1)?;
        self.tunnels.get(usize::from(at)).map(|tunnel| unpack(*tunnel))
    }
}

const TAG: u16 = 0x0fff;
const TAG_BITS: u32 = 12;
const COUNT: u32 = 0x0f;

fn unpack(tunnel: u32) -> (u32, u8) {
    (tunnel >> 8, (tunnel >> 4 & COUNT) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_layer() -> impl Strategy<Value = Layer> {
        prop_oneof![
            3 => (0u16..4096).prop_map(Layer::Vlan),
            1 => (0u32..1 << 24).prop_map(Layer::Vxlan),
        ]
    }

    proptest! {
        #[test]
        fn layers_come_back_in_order_up_to_the_caps(all in prop::collection::vec(any_layer(), 0..14)) {
            let (mut encapsulation, mut kept) = (Encapsulation::NONE, Vec::new());
            for layer in all {
                let (is_vlan, cap) = match layer {
                    Layer::Vlan(_) => (true, Encapsulation::MAX_TAGS),
                    Layer::Vxlan(_) => (false, Encapsulation::MAX_TUNNELS),
                };
                let same = |kept: &&Layer| matches!(kept, Layer::Vlan(_)) == is_vlan;
                let fits = kept.iter().filter(same).count() < cap;
                let added = match layer {
                    Layer::Vlan(vlan) => encapsulation.push(vlan),
                    Layer::Vxlan(vni) => encapsulation.enter(vni),
                };
                prop_assert_eq!(added, fits);
                if fits {
                    kept.push(layer);
                }
            }
            prop_assert_eq!(encapsulation.layers().collect::<Vec<_>>(), kept.clone());
            let inner = kept.iter().rev().find_map(|layer| match layer {
                Layer::Vxlan(vni) => Some(*vni),
                Layer::Vlan(_) => None,
            });
            prop_assert_eq!(encapsulation.network(), inner);
            prop_assert_eq!(size_of::<Encapsulation>(), 20);
        }
    }
}
