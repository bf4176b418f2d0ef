//! Names that the capture itself gives to addresses: DNS answers, and server certificates in clear.
//!
//! Anyone can send a DNS answer or present a certificate, so such a name is `inferred` at best, and
//! never stands against an inventory: where the two disagree, that is a [`Dispute`].

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::{Inventory, Lookup, Names};

/// The most addresses that names are learnt for.
const ADDRESSES_CAP: usize = 65_536;
/// The most groups one address is learnt to be of.
const GROUPS_CAP: usize = 4;
/// The most disputes told one by one; further ones are counted.
const DISPUTES_CAP: usize = 100;

/// Where a name was learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LearntFrom {
    /// An answer to a DNS question, both in the capture.
    Dns,
    /// The certificate of a server whose handshake was accepted.
    Certificate,
}

impl LearntFrom {
    /// The word for it in reports.
    pub fn word(self) -> &'static str {
        match self {
            LearntFrom::Dns => "DNS",
            LearntFrom::Certificate => "a certificate",
        }
    }
}

impl fmt::Display for LearntFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One group an address is learnt to be of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearntGroup {
    /// The instance group, in canonical form.
    pub group: String,
    /// Where it was learnt first.
    pub from: LearntFrom,
}

/// The capture and the inventory disagree about an address; the inventory stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispute {
    address: IpAddr,
    name: String,
    from: LearntFrom,
    /// What the inventory has at the address; nothing when it knows other VMs of that name.
    known: Option<String>,
}

impl fmt::Display for Dispute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Dispute { address, name, from, known } = self;
        let name = name.escape_debug();
        match known {
            Some(vm) => write!(f, "{address} is {} in the inventory", vm.escape_debug())?,
            None => write!(f, "{address} is not in the inventory, which names other VMs for {name}")?,
        }
        write!(f, ", and {from} in this capture calls it {name}: the inventory stands")
    }
}

/// Everything learnt so far.
#[derive(Clone, Debug, Default)]
pub struct Learnt {
    groups: HashMap<IpAddr, Arc<[LearntGroup]>, RandomState>,
    disputes: Vec<Dispute>,
    disputed: u64,
    dropped: u64,
}

impl Learnt {
    /// Learns that an address goes by a name; one that is no name of the platform teaches nothing.
    ///
    /// `partial` says that the inventory does not claim to know every VM of a group.
    pub fn learn(
        &mut self,
        address: IpAddr,
        name: &str,
        from: LearntFrom,
        (inventory, names): (&Inventory, &Names),
        partial: bool,
    ) {
        if address.is_loopback() || address.is_unspecified() || address.is_multicast() {
            return;
        }
        for group in names.dns_groups(name) {
            if !self.groups.contains_key(&address) && self.groups.len() >= ADDRESSES_CAP {
                self.dropped += 1;
                continue;
            }
            let known = self.groups.entry(address).or_default();
            if known.iter().any(|known| known.group == group) {
                continue;
            }
            if known.len() >= GROUPS_CAP {
                self.dropped += 1;
                continue;
            }
            let disputed = disputes(address, &group, inventory, names, partial);
            *known = known.iter().cloned().chain([LearntGroup { group, from }]).collect();
            if let Some(known) = disputed {
                self.disputed += 1;
                if self.disputes.len() < DISPUTES_CAP {
                    self.disputes.push(Dispute { address, name: name.to_owned(), from, known });
                }
            }
        }
    }

    /// The groups an address is learnt to be of.
    pub fn groups(&self, address: IpAddr) -> &[LearntGroup] {
        self.groups.get(&address).map_or(&[], |groups| groups)
    }

    /// The same, to be kept; `None` if it is not learnt to be of any.
    pub fn shared_groups(&self, address: IpAddr) -> Option<Arc<[LearntGroup]>> {
        self.groups.get(&address).cloned()
    }

    /// How many addresses have a learnt name.
    pub fn addresses(&self) -> usize {
        self.groups.len()
    }

    /// Where the capture and the inventory disagree, in the order of the capture, the first of them.
    pub fn disputes(&self) -> &[Dispute] {
        &self.disputes
    }

    /// How often they disagree.
    pub fn disputed(&self) -> u64 {
        self.disputed
    }

    /// Names not kept because of a cap.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// What the inventory says instead, if it says otherwise.
fn disputes(
    address: IpAddr,
    group: &str,
    inventory: &Inventory,
    names: &Names,
    partial: bool,
) -> Option<Option<String>> {
    match inventory.vm(address) {
        Lookup::One(vm) => (!names.same_vm(&vm.group, group)).then(|| Some(vm.instance.clone())),
        // Which of them it is cannot be told, so nothing is disputed.
        Lookup::Ambiguous(_) => None,
        Lookup::Unknown => (!partial && inventory.names_vm(group, names)).then_some(None),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Builder;
    use super::*;
    use proptest::prelude::*;

    fn inventory(hosts: &str) -> (Inventory, Names) {
        let mut files = Builder::default();
        files.add("hosts.csv", format!("ip,vm\n{hosts}").as_bytes()).unwrap();
        files.finish().unwrap()
    }

    fn learn(hosts: &str, address: &str, name: &str) -> Learnt {
        let (inventory, names) = inventory(hosts);
        let mut learnt = Learnt::default();
        learnt.learn(address.parse().unwrap(), name, LearntFrom::Dns, (&inventory, &names), false);
        learnt
    }

    #[test]
    fn a_name_of_the_platform_is_learnt_once() {
        let mut learnt = learn("", "10.0.4.10", "doppler.service.cf.internal");
        let (inventory, names) = inventory("");
        let address = "10.0.4.10".parse().unwrap();
        for name in ["q-s0.doppler.default.cf.bosh", "www.example.com"] {
            learnt.learn(address, name, LearntFrom::Certificate, (&inventory, &names), false);
        }
        let expected = LearntGroup { group: "doppler".to_owned(), from: LearntFrom::Dns };
        assert_eq!(learnt.groups(address), [expected]);
        assert!(learnt.disputes().is_empty());
        assert!(learnt.groups("10.0.4.11".parse().unwrap()).is_empty());
        assert_eq!(learn("", "127.0.0.1", "doppler.service.cf.internal").addresses(), 0);
    }

    #[test]
    fn an_inventory_that_says_otherwise_is_a_dispute() {
        let text = |hosts: &str| {
            let learnt = learn(hosts, "10.0.4.10", "doppler.service.cf.internal");
            learnt.disputes().first().map(ToString::to_string)
        };
        assert_eq!(text("10.0.4.10,doppler/0\n"), None);
        assert_eq!(text("10.0.4.11,uaa/0\n"), None, "it names no doppler");
        assert_eq!(
            text("10.0.4.10,uaa/0\n").unwrap(),
            "10.0.4.10 is uaa/0 in the inventory, and DNS in this capture calls it \
             doppler.service.cf.internal: the inventory stands"
        );
        assert!(text("10.0.4.99,doppler/0\n").unwrap().starts_with("10.0.4.10 is not in the inventory"));
    }

    #[test]
    fn a_deployed_name_of_the_same_vm_is_no_dispute() {
        let learnt = learn(
            "10.0.4.11,loggregator_trafficcontroller/0\n",
            "10.0.4.11",
            "reverse-log-proxy.service.cf.internal",
        );
        assert!(learnt.disputes().is_empty());
    }

    proptest! {
        #[test]
        fn what_is_kept_is_bounded(names_asked in prop::collection::vec("[a-c]{1,2}", 0..40)) {
            let (inventory, names) = (Inventory::default(), Names::default());
            let mut learnt = Learnt::default();
            let address = "10.0.4.10".parse().unwrap();
            for group in &names_asked {
                let name = format!("q-s0.{group}.default.cf.bosh");
                learnt.learn(address, &name, LearntFrom::Dns, (&inventory, &names), false);
            }
            prop_assert!(learnt.groups(address).len() <= GROUPS_CAP);
        }
    }
}
