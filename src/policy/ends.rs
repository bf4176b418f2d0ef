//! The source and destination columns: is this address a VM the row names?

use std::cell::OnceCell;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::cell::End;
use super::component::{Component, Shown};
use super::finding::{Because, Finding, Grade, Reason};
use super::{Options, SubnetScope};
use crate::inventory::{Holder, Inventory, Lookup, Names, SubnetLookup, Vm, VmName, canonical};

/// A source or destination cell with its names looked up.
#[derive(Debug)]
pub(super) enum BoundEnd {
    AnyInSubnet,
    AnyVmRunning {
        component: Component,
        /// The inventory lists some VM with this job.
        named: bool,
    },
    Vm {
        groups: HashSet<String, RandomState>,
        /// The inventory holds some VM of these groups.
        named: bool,
        component: Option<Component>,
    },
    Either(Vec<BoundEnd>),
}

/// One end of a flow; what the inventory has at its address is looked up once for all rows.
#[derive(Debug)]
pub struct Place<'a> {
    ip: IpAddr,
    holder: Option<Holder>,
    subnet: OnceCell<SubnetLookup<'a>>,
    shown: &'a Shown,
    inventory: &'a Inventory,
}

impl<'a> Place<'a> {
    pub(super) fn new(ip: IpAddr, shown: &'a Shown, inventory: &'a Inventory) -> Place<'a> {
        Place { ip, holder: inventory.holder(ip), subnet: OnceCell::new(), shown, inventory }
    }

    /// What the inventory calls it.
    pub fn name(&self) -> Option<VmName> {
        self.inventory.name_of(self.holder?)
    }

    /// The VMs that have this address: one, or several that claim it.
    pub(super) fn vms(&self) -> impl Iterator<Item = &'a Vm> + use<'a> {
        let (one, several): (Option<&Vm>, &[Arc<Vm>]) = match self.vm() {
            Lookup::Unknown => (None, &[]),
            Lookup::One(vm) => (Some(vm), &[]),
            Lookup::Ambiguous(vms) => (None, vms),
        };
        one.into_iter().chain(several.iter().map(|vm| &**vm))
    }

    /// The groups that the capture itself names here.
    pub(super) fn learnt_groups(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.shown.learnt_groups()
    }

    /// Nothing is known of it that a row could agree with, unless both ends are one.
    pub(super) fn is_strange(&self) -> bool {
        matches!(self.vm(), Lookup::Unknown)
            && !matches!(self.subnet(), SubnetLookup::One(_))
            && self.learnt_groups().next().is_none()
            && !stays_inside(self.ip)
    }

    /// Findings take something from it that is its own.
    pub(super) fn is_like_no_other(&self) -> bool {
        self.shown.process().is_some()
    }

    /// What findings take from it but for its address, beside `peer`, if that is not its own.
    #[inline]
    pub(super) fn likeness(&self, peer: &Place<'_>) -> EndLikeness {
        let (subnet, holds_peer) = match self.subnet() {
            SubnetLookup::One(subnet) => (std::ptr::from_ref(subnet).addr(), subnet.range.contains(&peer.ip)),
            SubnetLookup::Overlapping => (1, false),
            SubnetLookup::Dynamic => (2, false),
            SubnetLookup::Unknown | SubnetLookup::NoneGiven => (3, false),
        };
        EndLikeness {
            holder: self.holder,
            subnet,
            holds_peer,
            stays_inside: stays_inside(self.ip),
            shown: self.shown.places(),
        }
    }

    fn vm(&self) -> Lookup<'a> {
        self.inventory.vm_of(self.holder)
    }

    fn subnet(&self) -> SubnetLookup<'a> {
        *self.subnet.get_or_init(|| self.inventory.subnet(self.ip))
    }
}

/// What places have in common that are one to all findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct EndLikeness {
    holder: Option<Holder>,
    /// Where its subnet is kept, or why it has none.
    subnet: usize,
    /// The other end is in its subnet.
    holds_peer: bool,
    stays_inside: bool,
    shown: [usize; 2],
}

/// Which column an end stands in, and so which words a contradiction gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Source,
    Destination,
}

impl Role {
    fn wrong(self) -> Reason {
        match self {
            Role::Source => Reason::WrongSource,
            Role::Destination => Reason::WrongDestination,
        }
    }
}

impl BoundEnd {
    pub(super) fn bind(end: &End, names: &Names, inventory: &Inventory) -> BoundEnd {
        match end {
            End::AnyInSubnet => BoundEnd::AnyInSubnet,
            End::AnyVmRunning(name) => {
                let component = Component::bind(name, names);
                let named = component.jobs().any(|job| inventory.has_job(job));
                BoundEnd::AnyVmRunning { component, named }
            }
            End::Vm { vm, component } => {
                let mut groups: HashSet<String, RandomState> = names.groups(vm).into_iter().collect();
                groups.insert(canonical(vm).into_owned());
                let named = groups.iter().any(|group| inventory.has_group(group));
                let component = component.as_ref().map(|name| Component::bind(name, names));
                BoundEnd::Vm { groups, named, component }
            }
            End::Either(ends) => {
                BoundEnd::Either(ends.iter().map(|end| BoundEnd::bind(end, names, inventory)).collect())
            }
        }
    }

    /// The groups this end names, for `--in-scope`.
    pub(super) fn holds(&self, vm: &Vm) -> bool {
        match self {
            BoundEnd::AnyInSubnet => false,
            BoundEnd::AnyVmRunning { component, .. } => component.runs_on(vm) == Some(true),
            BoundEnd::Vm { groups, .. } => groups.contains(&vm.group),
            BoundEnd::Either(ends) => ends.iter().any(|end| end.holds(vm)),
        }
    }

    /// Holds an end against the cell; `peer` is the other one, for `Any*`.
    pub(super) fn find(&self, role: Role, place: &Place<'_>, peer: &Place<'_>, options: &Options) -> Finding {
        let (groups, named, component) = match self {
            BoundEnd::AnyInSubnet => return any_in_subnet(place, peer, options),
            BoundEnd::AnyVmRunning { component, named } => {
                return any_vm_running(role, component, *named, place, options);
            }
            BoundEnd::Vm { groups, named, component } => (groups, *named, component),
            BoundEnd::Either(ends) => {
                let findings = ends.iter().map(|end| end.find(role, place, peer, options));
                return findings
                    .min_by_key(|finding| finding.grade)
                    .unwrap_or(Finding::confirmed(Because::NothingAsked));
            }
        };
        // A name learnt from the capture loses to an inventory that knows the VM or the address.
        let learnt = match place.vm() {
            Lookup::Unknown if !named => place.shown.learnt_as(groups),
            _ => None,
        };
        let address = match learnt {
            Some(from) => Finding::inferred(Because::Learnt(from)),
            None => address(role, named, place, options, |vm| groups.contains(&vm.group)),
        };
        match component {
            // On the wrong VM it does not matter which process it is.
            None => address,
            Some(_) if address.grade == Grade::Contradicted => address,
            Some(component) => {
                let on_vm = match place.vm() {
                    Lookup::One(vm) => component.runs_on(vm),
                    _ => None,
                };
                let found = component.find(role.wrong(), on_vm, place.inventory.is_empty(), place.shown);
                let by_jobs_alone = found.because().any(|because| because == Because::DoesNotRunJob);
                address.and(match options.inventory_partial && by_jobs_alone {
                    true => Finding::unseen(Reason::UnseenInventory, Because::PartialInventory),
                    false => found,
                })
            }
        }
    }
}

/// Is the VM at this address one of those the row names?
fn address(
    role: Role,
    named: bool,
    place: &Place<'_>,
    options: &Options,
    is_one: impl Fn(&Vm) -> bool,
) -> Finding {
    let contradicted = |because| {
        if !named {
            Finding::unseen(Reason::UnseenInventory, Because::NotNamed)
        } else if options.inventory_partial {
            Finding::unseen(Reason::UnseenInventory, Because::PartialInventory)
        } else {
            Finding::contradicted(role.wrong(), because)
        }
    };
    if place.inventory.is_empty() {
        return Finding::unseen(Reason::UnseenInventory, Because::NoInventory);
    }
    match place.vm() {
        Lookup::One(vm) if is_one(vm) => Finding::confirmed(Because::InInventory),
        Lookup::One(_) => contradicted(Because::OtherVm),
        Lookup::Ambiguous(vms) if vms.iter().any(|vm| is_one(vm)) => {
            Finding::unseen(Reason::UnseenInventory, Because::AmbiguousAddress)
        }
        Lookup::Ambiguous(_) => contradicted(Because::OtherVm),
        Lookup::Unknown => contradicted(Because::NotInInventory),
    }
}

fn any_vm_running(
    role: Role,
    component: &Component,
    named: bool,
    place: &Place<'_>,
    options: &Options,
) -> Finding {
    let jobs_known = match place.vm() {
        Lookup::One(vm) => component.runs_on(vm),
        _ => None,
    };
    let address = match jobs_known {
        Some(true) => Finding::confirmed(Because::RunsJob),
        Some(false) if named && !options.inventory_partial => {
            Finding::contradicted(role.wrong(), Because::DoesNotRunJob)
        }
        Some(false) if named => Finding::unseen(Reason::UnseenInventory, Because::PartialInventory),
        Some(false) => Finding::unseen(Reason::UnseenInventory, Because::NotNamed),
        None if matches!(place.vm(), Lookup::One(_)) => {
            Finding::unseen(Reason::UnseenInventory, Because::JobsUnknown)
        }
        None => address(role, named, place, options, |vm| component.runs_on(vm) == Some(true)),
    };
    // The VM is chosen by its job; a socket's owner or a certificate can only say that another process is
    // speaking.
    match component.contradicting(place.shown) {
        Some(because) => address.and(Finding::contradicted(role.wrong(), because)),
        None => address,
    }
}

/// `Any*`: the destination's own subnet, read literally; the source need not be a known VM.
fn any_in_subnet(source: &Place<'_>, destination: &Place<'_>, options: &Options) -> Finding {
    let unseen = |because| Finding::unseen(Reason::UnseenSubnet, because);
    match destination.subnet() {
        SubnetLookup::One(subnet) if subnet.range.contains(&source.ip) => {
            Finding::confirmed(Because::SameSubnet)
        }
        SubnetLookup::One(subnet) => match source.subnet() {
            SubnetLookup::Overlapping => unseen(Because::SubnetOverlaps),
            SubnetLookup::One(other) if other.network == subnet.network => {
                if options.subnet_scope == SubnetScope::Network {
                    Finding::confirmed(Because::SameNetwork)
                } else {
                    Finding::contradicted(Reason::OutsideSubnet, Because::OtherSubnetSameNetwork)
                }
            }
            _ => Finding::contradicted(Reason::OutsideSubnet, Because::OutsideSubnet),
        },
        SubnetLookup::Overlapping => unseen(Because::SubnetOverlaps),
        SubnetLookup::Dynamic => unseen(Because::SubnetDynamic),
        SubnetLookup::Unknown | SubnetLookup::NoneGiven => unseen(Because::SubnetUnknown),
    }
}

/// A row documented inside one VM: both ends are one address, or addresses that never leave a VM.
pub(super) fn inside_vm(
    destination_end: &BoundEnd,
    source: &Place<'_>,
    destination: &Place<'_>,
    options: &Options,
) -> [Finding; 2] {
    let ends = [source.ip, destination.ip];
    let inside = source.ip == destination.ip || ends.into_iter().any(stays_inside);
    if !inside {
        return [
            Finding::contradicted(Reason::WrongSource, Because::CrossesTheNetwork),
            Finding::contradicted(Reason::WrongDestination, Because::CrossesTheNetwork),
        ];
    }
    let which = ends.into_iter().find(|ip| !stays_inside(*ip));
    let on_vm = match which {
        Some(ip) => {
            let shown = Shown::default();
            let place = Place::new(ip, &shown, destination.inventory);
            destination_end.find(Role::Destination, &place, &place, options)
        }
        None => Finding::unseen(Reason::UnseenInventory, Because::Loopback),
    };
    [Finding::confirmed(Because::InsideVm), on_vm]
}

/// Loopback, and the link-local addresses that BOSH DNS listens on (169.254.0.2).
fn stays_inside(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::finding::Grade;
    use crate::policy::testing::{
        CELL, DIRECTOR, DOPPLER, LOG_API, LOG_CACHE, NETWORKS, STRANGER, UAA, VMS, bind,
    };

    /// Grade and reason of one cell held against an address, with another at the other end.
    fn find_with(
        files: &[&str],
        options: Options,
        cell: &str,
        ip: &str,
        peer: &str,
    ) -> (Grade, Option<Reason>) {
        let policy = bind(files, options);
        let (inventory, names) = (policy.inventory(), policy.names());
        let end = BoundEnd::bind(&End::parse(cell).unwrap(), names, inventory);
        let (ip, peer) = (ip.parse().unwrap(), peer.parse().unwrap());
        let shown = Shown::default();
        let [place, peer] = [ip, peer].map(|ip| Place::new(ip, &shown, inventory));
        let finding = end.find(Role::Source, &place, &peer, &options);
        (finding.grade, finding.reason)
    }

    fn find(cell: &str, ip: &str) -> (Grade, Option<Reason>) {
        find_with(&[VMS, NETWORKS], Options::default(), cell, ip, DOPPLER)
    }

    const CONFIRMED: (Grade, Option<Reason>) = (Grade::Confirmed, None);
    const WRONG: (Grade, Option<Reason>) = (Grade::Contradicted, Some(Reason::WrongSource));
    const UNSEEN: (Grade, Option<Reason>) = (Grade::Unseen, Some(Reason::UnseenInventory));

    #[test]
    fn a_vm_is_known_by_its_documented_or_its_deployed_name() {
        assert_eq!(find("doppler", DOPPLER), CONFIRMED);
        assert_eq!(find("loggregator_trafficcontroller", LOG_API), CONFIRMED);
        assert_eq!(find("loggregator_trafficcontroller", DOPPLER), WRONG);
        assert_eq!(find("loggregator_trafficcontroller", STRANGER), WRONG);
    }

    #[test]
    fn an_inventory_is_complete_for_what_it_names_and_silent_on_the_rest() {
        assert_eq!(find("credhub", STRANGER), UNSEEN);
        assert_eq!(find_with(&[], Options::default(), "doppler", DOPPLER, UAA), UNSEEN);
        let partial = Options { inventory_partial: true, ..Options::default() };
        assert_eq!(find_with(&[VMS], partial, "uaa", STRANGER, DOPPLER), UNSEEN);
        assert_eq!(find_with(&[VMS], partial, "uaa", DOPPLER, DOPPLER), UNSEEN);
        assert_eq!(find_with(&[VMS], partial, "uaa", UAA, DOPPLER), CONFIRMED);
        let component = "doppler (Reverse Log Proxy)";
        assert_eq!(find_with(&[VMS], partial, component, DOPPLER, UAA), UNSEEN);
        assert_eq!(find(component, DOPPLER), WRONG);
    }

    #[test]
    fn an_address_claimed_twice_is_either_or_neither() {
        assert_eq!(find("uaa", "10.0.4.99"), UNSEEN);
        assert_eq!(find("nats", "10.0.4.99"), WRONG);
    }

    #[test]
    fn any_vm_running_is_chosen_by_job() {
        let cell = "Any VM running Loggregator Agent";
        assert_eq!(find(cell, LOG_API), CONFIRMED);
        assert_eq!(find(cell, CELL), WRONG);
        assert_eq!(find(cell, STRANGER), WRONG);
        assert_eq!(find(cell, DIRECTOR), UNSEEN, "its jobs are not listed");
        assert_eq!(find("Any VM running Unheard Of", CELL), UNSEEN);
        let partial = Options { inventory_partial: true, ..Options::default() };
        assert_eq!(find_with(&[VMS], partial, cell, CELL, DOPPLER), UNSEEN);
    }

    #[test]
    fn a_component_is_inferred_from_jobs_and_never_widens_the_vm() {
        let cell = "loggregator_trafficcontroller (Reverse Log Proxy)";
        assert_eq!(find(cell, LOG_API), (Grade::Inferred, None));
        assert_eq!(find("log-cache (Reverse Log Proxy)", LOG_CACHE), WRONG, "no such job there");
        assert_eq!(find("doppler (Log Cache)", LOG_CACHE), WRONG, "the job runs there, on another VM");
        assert_eq!(find("BOSH Director (Metrics Server)", DIRECTOR), UNSEEN);
    }

    #[test]
    fn any_is_the_destinations_subnet_read_literally() {
        let network = Options { subnet_scope: SubnetScope::Network, ..Options::default() };
        let outside = (Grade::Contradicted, Some(Reason::OutsideSubnet));
        let cases = [
            (STRANGER, CONFIRMED, CONFIRMED),
            ("10.0.5.7", outside, CONFIRMED),
            (DIRECTOR, outside, outside),
            ("192.0.2.1", outside, outside),
        ];
        for (ip, literally, by_network) in cases {
            assert_eq!(find("Any*", ip), literally, "{ip}");
            assert_eq!(find_with(&[VMS, NETWORKS], network, "Any*", ip, DOPPLER), by_network, "{ip}");
        }
    }

    #[test]
    fn a_subnet_that_is_not_known_overlaps_or_has_no_range_is_unseen() {
        let unseen = (Grade::Unseen, Some(Reason::UnseenSubnet));
        let default = Options::default();
        assert_eq!(find_with(&[], default, "Any*", STRANGER, DOPPLER), unseen);
        assert_eq!(find("Any*", STRANGER), CONFIRMED);
        assert_eq!(find_with(&[NETWORKS], default, "Any*", STRANGER, "192.0.2.1"), unseen);
        let overlapping = "networks:\n- name: one\n  subnets:\n  - {range: 10.0.4.0/24}\n- name: two\n  subnets:\n  - {range: 10.0.4.0/25}\n";
        assert_eq!(find_with(&[overlapping], default, "Any*", STRANGER, DOPPLER), unseen);
        let dynamic = "networks:\n- name: one\n  type: dynamic\n";
        assert_eq!(find_with(&[dynamic], default, "Any*", STRANGER, DOPPLER), unseen);
    }
}
