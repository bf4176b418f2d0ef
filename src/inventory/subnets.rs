//! Which subnet an address is in.

use std::collections::HashMap;
use std::net::IpAddr;

use foldhash::fast::RandomState;
use ipnet::IpNet;

/// One subnet of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// The network's name in the cloud config; for a subnet named only in a CSV file, its range.
    pub network: String,
    /// Its range, host bits cleared.
    pub range: IpNet,
    /// The availability zones it serves, sorted; none when the file names none.
    pub azs: Vec<String>,
}

/// Where an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubnetLookup<'a> {
    /// In this subnet, and in no other.
    One(&'a Subnet),
    /// In more than one known range: the address alone cannot tell which subnet it is in.
    Overlapping,
    /// In no known range, but networks without ranges exist (type `dynamic`), and it may be in one.
    Dynamic,
    /// Subnets are known, and it is in none of them.
    Unknown,
    /// No file named any subnet.
    NoneGiven,
}

/// All subnets known, looked up by address.
///
/// One hash map a prefix length in use: a look-up costs one probe for each length (a cloud config
/// has a handful), however many subnets there are.
#[derive(Clone, Debug, Default)]
pub(super) struct Subnets {
    subnets: Vec<Subnet>,
    v4: Family,
    v6: Family,
    dynamic: bool,
}

#[derive(Clone, Debug, Default)]
struct Family {
    /// Prefix lengths in use, each with its ranges; a range held by several networks is listed with all.
    lengths: Vec<(u8, Ranges)>,
}

/// By the front bits that all addresses of a range have.
type Ranges = HashMap<u128, Vec<usize>, RandomState>;

/// The first bits of an address, as many as a prefix is long, before as many zeros as make it 128.
fn front(address: IpAddr, length: u8) -> u128 {
    let bits = match address {
        IpAddr::V4(ip) => u128::from(ip.to_bits()) << 96,
        IpAddr::V6(ip) => ip.to_bits(),
    };
    bits & !u128::MAX.checked_shr(length.into()).unwrap_or(0)
}

impl Subnets {
    /// Adds a subnet of a named network; one already known of that network and range gains the zones.
    pub(super) fn add(&mut self, network: &str, range: IpNet, azs: impl IntoIterator<Item = String>) {
        let index = self.index_of(range, |subnet| subnet.network == network).unwrap_or_else(|| {
            self.insert(Subnet { network: network.to_owned(), range: range.trunc(), azs: Vec::new() })
        });
        if let Some(subnet) = self.subnets.get_mut(index) {
            subnet.azs.extend(azs);
            subnet.azs.sort_unstable();
            subnet.azs.dedup();
        }
    }

    /// Adds a range of which only the range is known, unless a network has it already.
    pub(super) fn add_unnamed(&mut self, range: IpNet) {
        let range = range.trunc();
        if self.index_of(range, |_| true).is_none() {
            self.insert(Subnet { network: range.to_string(), range, azs: Vec::new() });
        }
    }

    /// Notes that a network without ranges exists.
    pub(super) fn add_dynamic(&mut self) {
        self.dynamic = true;
    }

    pub(super) fn find(&self, address: IpAddr) -> SubnetLookup<'_> {
        let mut found = None;
        for (length, ranges) in &self.family(address).lengths {
            for &index in ranges.get(&front(address, *length)).into_iter().flatten() {
                if found.is_some() {
                    return SubnetLookup::Overlapping;
                }
                found = self.subnets.get(index);
            }
        }
        match found {
            Some(subnet) => SubnetLookup::One(subnet),
            None if self.dynamic => SubnetLookup::Dynamic,
            None if self.subnets.is_empty() => SubnetLookup::NoneGiven,
            None => SubnetLookup::Unknown,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.subnets.is_empty() && !self.dynamic
    }

    fn index_of(&self, range: IpNet, accept: impl Fn(&Subnet) -> bool) -> Option<usize> {
        let lengths = &self.family(range.addr()).lengths;
        let (length, ranges) = lengths.iter().find(|(length, _)| *length == range.prefix_len())?;
        let indexes = ranges.get(&front(range.addr(), *length))?;
        indexes.iter().copied().find(|&index| self.subnets.get(index).is_some_and(&accept))
    }

    fn insert(&mut self, subnet: Subnet) -> usize {
        let index = self.subnets.len();
        let range = subnet.range;
        let family = if range.addr().is_ipv4() { &mut self.v4 } else { &mut self.v6 };
        let front = front(range.addr(), range.prefix_len());
        match family.lengths.iter_mut().find(|(length, _)| *length == range.prefix_len()) {
            Some((_, ranges)) => ranges.entry(front).or_default().push(index),
            None => family.lengths.push((range.prefix_len(), Ranges::from_iter([(front, vec![index])]))),
        }
        self.subnets.push(subnet);
        index
    }

    fn family(&self, address: IpAddr) -> &Family {
        if address.is_ipv4() { &self.v4 } else { &self.v6 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn every_answer_has_its_case() {
        let mut subnets = Subnets::default();
        assert_eq!(subnets.find(ip("10.0.4.9")), SubnetLookup::NoneGiven);
        assert!(subnets.is_empty());
        subnets.add("default", net("10.0.4.0/24"), ["z1".to_owned()]);
        subnets.add("default", net("10.0.5.0/24"), []);
        subnets.add("default", net("fd00:4::/64"), []);
        assert!(
            matches!(subnets.find(ip("10.0.4.255")), SubnetLookup::One(s) if s.range == net("10.0.4.0/24") && s.azs == ["z1"])
        );
        assert!(matches!(subnets.find(ip("fd00:4::9")), SubnetLookup::One(s) if s.network == "default"));
        assert_eq!(subnets.find(ip("10.0.6.1")), SubnetLookup::Unknown);
        subnets.add("services", net("10.0.0.0/16"), []);
        assert_eq!(subnets.find(ip("10.0.4.9")), SubnetLookup::Overlapping);
        subnets.add_dynamic();
        assert_eq!(subnets.find(ip("10.9.0.1")), SubnetLookup::Dynamic);
        assert_eq!(subnets.find(ip("10.0.4.9")), SubnetLookup::Overlapping);
    }

    #[test]
    fn the_same_subnet_twice_is_one() {
        let mut subnets = Subnets::default();
        subnets.add("default", net("10.0.4.0/24"), ["z2".to_owned()]);
        subnets.add("default", net("10.0.4.1/24"), ["z1".to_owned(), "z2".to_owned()]);
        subnets.add_unnamed(net("10.0.4.7/24"));
        assert!(matches!(subnets.find(ip("10.0.4.9")), SubnetLookup::One(s) if s.azs == ["z1", "z2"]));
        subnets.add("other", net("10.0.4.0/24"), []);
        assert_eq!(subnets.find(ip("10.0.4.9")), SubnetLookup::Overlapping);
    }

    proptest! {
        #[test]
        fn agrees_with_a_linear_search(
            ranges in prop::collection::vec((0u32..16, 24u8..=32), 0..12),
            address in 0u32..4096,
        ) {
            let base = 0x0a00_0000u32;
            let mut subnets = Subnets::default();
            let mut all = Vec::new();
            for (n, (third, length)) in ranges.into_iter().enumerate() {
                let range = IpNet::new(IpAddr::V4((base + (third << 8)).into()), length).unwrap();
                subnets.add(&format!("n{n}"), range, []);
                all.push(range);
            }
            let address = IpAddr::V4((base + address).into());
            let holding = all.iter().filter(|range| range.contains(&address)).count();
            match subnets.find(address) {
                SubnetLookup::One(subnet) => {
                    prop_assert_eq!(holding, 1);
                    prop_assert!(subnet.range.contains(&address));
                }
                SubnetLookup::Overlapping => prop_assert!(holding > 1),
                SubnetLookup::Unknown => prop_assert!(holding == 0 && !all.is_empty()),
                SubnetLookup::NoneGiven => prop_assert!(all.is_empty()),
                SubnetLookup::Dynamic => prop_assert!(false),
            }
        }
    }
}
