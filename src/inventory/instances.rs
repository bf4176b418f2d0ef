//! Who is who: what the files say of instances, put together into VMs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::canonical::canonical;
use super::error::{InventoryError, Place};

/// The most instances that may claim one address.
pub const MAX_CLAIMANTS: usize = 64;

/// One VM, or one host an operator named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vm {
    /// The instance as the file writes it, such as `doppler/91faf7a2-2f56-457a-871e-4235aef2ae5c`.
    pub instance: String,
    /// Its instance group: what stands before the `/`, in canonical form.
    pub group: String,
    /// The deployment it belongs to, where a file says so.
    pub deployment: Option<String>,
    /// The canonical names of the jobs on it, or `None` when no file lists any.
    ///
    /// `bosh instances --ps` lists processes, which with few exceptions bear their job's name.
    pub jobs: Option<BTreeSet<String>>,
}

/// One address claimed by several instances: no look-up answers with just one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The address.
    pub address: IpAddr,
    /// The instances that claim it, in the order of the files.
    pub vms: Vec<Arc<Vm>>,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is claimed by ", self.address)?;
        for (n, vm) in self.vms.iter().enumerate() {
            let separator = if n == 0 { "" } else { " and " };
            write!(f, "{separator}{}", vm.instance.escape_debug())?;
            if let Some(deployment) = &vm.deployment {
                write!(f, " of {}", deployment.escape_debug())?;
            }
        }
        f.write_str(": it counts as neither; give files of one moment, or leave one of them out")
    }
}

/// What one file says of one instance.
#[derive(Clone, Debug, Default)]
pub(super) struct Claim {
    /// The file, for errors.
    pub(super) file: Arc<str>,
    pub(super) instance: String,
    pub(super) deployment: Option<String>,
    pub(super) jobs: Option<BTreeSet<String>>,
    pub(super) addresses: BTreeSet<IpAddr>,
}

/// Who holds an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// The VM at this index.
    One(usize),
    /// The conflict at this index.
    Several(usize),
}

/// All VMs that have an address.
#[derive(Clone, Debug, Default)]
pub(super) struct Instances {
    pub(super) vms: Vec<Arc<Vm>>,
    pub(super) holders: HashMap<IpAddr, Holder, foldhash::fast::RandomState>,
    /// Sorted by address.
    pub(super) conflicts: Vec<Conflict>,
    /// Of VMs and of conflicts, the first that reads the same.
    first: [Vec<usize>; 2],
}

/// The name that reports give to an address: of two addresses it is equal where it reads the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VmName(Holder);

impl Instances {
    /// Puts the claims together.
    ///
    /// Claims are of one instance when they name the same `group/UUID`; or, where an identifier is not
    /// unique (`group/INDEX`, `group/?`, or just `group`), when they share the group and an address
    /// and contradict each other neither in the index nor in the deployment.
    pub(super) fn from_claims(claims: Vec<Claim>) -> Result<Instances, InventoryError> {
        let mut merging = Merging::default();
        let (unique, others): (Vec<_>, Vec<_>) =
            claims.into_iter().partition(|claim| Identifier::of(&claim.instance) == Identifier::Unique);
        for claim in unique {
            merging.add_unique(claim)?;
        }
        for claim in others {
            merging.add_by_address(claim)?;
        }
        Ok(merging.finish())
    }

    pub(super) fn name(&self, holder: Holder) -> Option<VmName> {
        let [vms, conflicts] = &self.first;
        Some(VmName(match holder {
            Holder::One(index) => Holder::One(*vms.get(index)?),
            Holder::Several(index) => Holder::Several(*conflicts.get(index)?),
        }))
    }

    pub(super) fn named(&self, VmName(holder): VmName) -> &[Arc<Vm>] {
        match holder {
            Holder::One(index) => self.vms.get(index).map_or(&[], std::slice::from_ref),
            Holder::Several(index) => self.conflicts.get(index).map_or(&[], |conflict| &conflict.vms),
        }
    }
}

#[derive(Default)]
struct Merging {
    merged: Vec<Claim>,
    by_instance: HashMap<String, usize>,
    /// Ordered, so that conflicts are reported in the same order every time.
    by_address: BTreeMap<IpAddr, Vec<usize>>,
}

impl Merging {
    fn add_unique(&mut self, claim: Claim) -> Result<(), InventoryError> {
        let key = canonical(&claim.instance).into_owned();
        let index = *self.by_instance.entry(key).or_insert(self.merged.len());
        self.put(index, claim)
    }

    fn add_by_address(&mut self, claim: Claim) -> Result<(), InventoryError> {
        let at_its_addresses =
            claim.addresses.iter().filter_map(|address| self.by_address.get(address)).flatten().copied();
        let same = |index: &usize| self.merged.get(*index).is_some_and(|other| compatible(other, &claim));
        let index = at_its_addresses.into_iter().find(same).unwrap_or(self.merged.len());
        self.put(index, claim)
    }

    /// Merges the claim into the one at `index`, or appends it there.
    fn put(&mut self, index: usize, claim: Claim) -> Result<(), InventoryError> {
        for &address in &claim.addresses {
            let claimants = self.by_address.entry(address).or_default();
            if claimants.contains(&index) {
                continue;
            }
            if claimants.len() >= MAX_CLAIMANTS {
                return Err(InventoryError {
                    file: claim.file.to_string(),
                    place: Place::default(),
                    what: format!("{address} is claimed by more than {MAX_CLAIMANTS} instances"),
                    advice: "give every instance its own address".to_owned(),
                });
            }
            claimants.push(index);
        }
        match self.merged.get_mut(index) {
            None => self.merged.push(claim),
            Some(known) => {
                known.deployment = known.deployment.take().or(claim.deployment);
                known.addresses.extend(claim.addresses);
                if let Some(jobs) = claim.jobs {
                    known.jobs.get_or_insert_default().extend(jobs);
                }
                // `doppler/0` says more than `doppler`, whichever file came first.
                if Identifier::of(&known.instance) == Identifier::None
                    && Identifier::of(&claim.instance) != Identifier::None
                {
                    known.instance = claim.instance;
                }
            }
        }
        Ok(())
    }

    fn finish(self) -> Instances {
        let mut instances = Instances::default();
        // Where each merged claim went. An instance without an address (an errand between its runs)
        // cannot be seen in a capture, and must not make the inventory look complete for its group.
        let places: Vec<usize> = self
            .merged
            .into_iter()
            .map(|claim| {
                if !claim.addresses.is_empty() {
                    instances.vms.push(Arc::new(claim.into_vm()));
                }
                instances.vms.len().saturating_sub(1)
            })
            .collect();
        for (address, claimants) in self.by_address {
            let claimants: Vec<usize> = claimants.iter().filter_map(|&n| places.get(n)).copied().collect();
            let holder = match claimants.as_slice() {
                [index] => Holder::One(*index),
                _ => {
                    let vms = claimants.iter().filter_map(|&n| instances.vms.get(n)).cloned().collect();
                    instances.conflicts.push(Conflict { address, vms });
                    Holder::Several(instances.conflicts.len() - 1)
                }
            };
            instances.holders.insert(address, holder);
        }
        let conflicts = instances.conflicts.iter().map(|conflict| conflict.vms.as_slice());
        instances.first = [first(instances.vms.iter().map(std::slice::from_ref)), first(conflicts)];
        instances
    }
}

/// Of each list of instances, the place of the first with the same names.
fn first<'a>(lists: impl Iterator<Item = &'a [Arc<Vm>]>) -> Vec<usize> {
    let mut known: HashMap<Vec<&str>, usize> = HashMap::new();
    lists
        .enumerate()
        .map(|(place, vms)| {
            let names = vms.iter().map(|vm| vm.instance.as_str()).collect();
            *known.entry(names).or_insert(place)
        })
        .collect()
}

impl Claim {
    fn into_vm(self) -> Vm {
        let group = canonical(group_of(&self.instance)).into_owned();
        Vm { instance: self.instance, group, deployment: self.deployment, jobs: self.jobs }
    }
}

/// How far the part of an instance after the `/` tells it from the others of its group.
#[derive(PartialEq, Eq)]
enum Identifier<'a> {
    /// A UUID: it names one instance, wherever it appears.
    Unique,
    /// An index or an operator's own word: another deployment may have it too.
    Local(&'a str),
    /// None, or `?`, which the CLI prints when it does not know.
    None,
}

impl Identifier<'_> {
    fn of(instance: &str) -> Identifier<'_> {
        match instance.split_once('/').map(|(_, id)| id) {
            None | Some("" | "?") => Identifier::None,
            Some(id) if is_uuid(id) => Identifier::Unique,
            Some(id) => Identifier::Local(id),
        }
    }
}

fn is_uuid(id: &str) -> bool {
    id.len() == 36
        && id.bytes().enumerate().all(|(n, byte)| match n {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn group_of(instance: &str) -> &str {
    instance.split_once('/').map_or(instance, |(group, _)| group)
}

fn compatible(one: &Claim, other: &Claim) -> bool {
    let same_group = canonical(group_of(&one.instance)) == canonical(group_of(&other.instance));
    let identifiers = match (Identifier::of(&one.instance), Identifier::of(&other.instance)) {
        (Identifier::Local(one), Identifier::Local(other)) => one == other,
        // An instance has both a UUID and an index, so the two do not contradict each other.
        _ => true,
    };
    let deployments = match (&one.deployment, &other.deployment) {
        (Some(one), Some(other)) => canonical(one) == canonical(other),
        _ => true,
    };
    same_group && identifiers && deployments
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ONE: &str = "doppler/91faf7a2-2f56-457a-871e-4235aef2ae5c";
    const TWO: &str = "doppler/0b6d3f7e-0f3c-4a53-9a8d-000000000001";

    fn claim(instance: &str, deployment: Option<&str>, jobs: Option<&[&str]>, addresses: &[&str]) -> Claim {
        Claim {
            file: "f".into(),
            instance: instance.to_owned(),
            deployment: deployment.map(str::to_owned),
            jobs: jobs.map(|jobs| jobs.iter().map(|job| (*job).to_owned()).collect()),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        }
    }

    fn merged(claims: &[Claim]) -> Instances {
        Instances::from_claims(claims.to_vec()).unwrap()
    }

    fn jobs(vm: &Vm) -> Option<Vec<&str>> {
        vm.jobs.as_ref().map(|jobs| jobs.iter().map(String::as_str).collect())
    }

    #[test]
    fn one_instance_in_several_files_is_merged() {
        let instances = merged(&[
            claim(ONE, None, None, &["10.0.0.1"]),
            claim(ONE, Some("cf"), Some(&["doppler"]), &["10.0.0.1", "fd00::1"]),
            claim("Doppler", None, Some(&["log-cache"]), &["fd00::1"]),
            claim(&ONE.replace("doppler", "Doppler"), None, None, &["10.0.0.9"]),
        ]);
        assert_eq!(instances.vms.len(), 1);
        assert_eq!(instances.vms[0].instance, ONE);
        assert_eq!(instances.vms[0].deployment.as_deref(), Some("cf"));
        assert_eq!(jobs(&instances.vms[0]), Some(vec!["doppler", "log-cache"]));
        assert_eq!(instances.holders.len(), 3);
        assert!(instances.conflicts.is_empty());
    }

    #[test]
    fn an_index_is_no_identity_across_deployments() {
        let instances = merged(&[
            claim("doppler/0", None, None, &["10.0.0.1"]),
            claim("doppler/0", None, None, &["10.1.0.1"]),
            claim("doppler/0", None, Some(&["doppler"]), &["10.1.0.1"]),
        ]);
        assert_eq!(instances.vms.len(), 2);
        assert_eq!((jobs(&instances.vms[0]), jobs(&instances.vms[1])), (None, Some(vec!["doppler"])));
    }

    #[test]
    fn hosts_of_one_bare_name_keep_their_own_jobs() {
        let instances = merged(&[
            claim("doppler", None, Some(&["doppler"]), &["10.0.0.1"]),
            claim("doppler", None, Some(&["log-cache"]), &["10.0.0.2"]),
        ]);
        assert_eq!(jobs(&instances.vms[0]), Some(vec!["doppler"]));
        assert_eq!(jobs(&instances.vms[1]), Some(vec!["log-cache"]));
    }

    #[test]
    fn an_address_of_two_instances_is_a_conflict() {
        for other in [TWO, "router/0", "router"] {
            let instances = merged(&[
                claim(other, None, None, &["10.0.0.1"]),
                claim(ONE, Some("cf"), None, &["10.0.0.1"]),
            ]);
            assert_eq!(instances.conflicts.len(), 1, "{other}");
            assert_eq!(instances.conflicts[0].vms.len(), 2);
            assert!(matches!(instances.holders[&instances.conflicts[0].address], Holder::Several(0)));
            let text = instances.conflicts[0].to_string();
            assert!(text.starts_with("10.0.0.1 is claimed by ") && text.contains(other), "{text}");
            assert!(text.contains(&format!("{ONE} of cf")), "{text}");
        }
        let indexes = [
            claim("doppler/0", Some("cf"), None, &["10.0.0.1"]),
            claim("doppler/1", Some("cf"), None, &["10.0.0.1"]),
            claim("doppler/0", Some("cf-2"), None, &["10.0.0.1"]),
        ];
        assert_eq!(merged(&indexes).conflicts[0].vms.len(), 3);
    }

    #[test]
    fn too_many_claimants_are_refused() {
        let claims = (0..=MAX_CLAIMANTS).map(|n| claim(&format!("g{n}"), None, None, &["10.0.0.1"]));
        let error = Instances::from_claims(claims.collect()).unwrap_err().to_string();
        assert!(error.contains("more than 64 instances"), "{error}");
    }

    proptest! {
        #[test]
        fn the_order_of_files_does_not_change_who_holds_what(
            parts in prop::collection::vec((0usize..5, 0u8..4, prop::option::of(0usize..3)), 0..10),
        ) {
            let names = [ONE, TWO, "doppler", "router/0", "router/1"];
            let jobs: [&[&str]; 3] = [&["a"], &["b"], &["a", "c"]];
            let claims: Vec<Claim> = parts
                .iter()
                .map(|&(name, host, job)| {
                    claim(names[name], None, job.map(|n| jobs[n]), &[&format!("10.0.0.{host}")])
                })
                .collect();
            let reversed: Vec<Claim> = claims.iter().rev().cloned().collect();
            let (one, other) = (merged(&claims), merged(&reversed));
            for (address, holder) in &one.holders {
                let same_kind = matches!(
                    (holder, &other.holders[address]),
                    (Holder::One(_), Holder::One(_)) | (Holder::Several(_), Holder::Several(_))
                );
                prop_assert!(same_kind, "{}", address);
            }
            for host in 0..4u8 {
                let address: IpAddr = format!("10.0.0.{host}").parse().unwrap();
                let claimed = parts.iter().any(|part| part.1 == host);
                prop_assert_eq!(one.holders.contains_key(&address), claimed);
            }
        }
    }
}
