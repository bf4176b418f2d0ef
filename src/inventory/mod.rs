//! Who is who: which address is which VM, which jobs run there, and which subnet it is in.
//!
//! Everything comes from files operators already have: what the bosh CLI prints, a cloud config, or a
//! plain CSV. Each file is recognised by its content, and any number of them make one inventory. An
//! inventory never guesses: an address that two instances claim is ambiguous, and a file that does not
//! say what it must is refused with its place.

mod addresses;
mod bosh;
mod canonical;
mod cells;
mod cloud_config;
mod dns_names;
mod error;
mod hosts;
mod instances;
mod learnt;
mod names;
mod read;
mod records;
mod subnets;

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use instances::Instances;
use read::Said;
use subnets::Subnets;

pub use canonical::canonical;
pub use error::{InventoryError, Place};
pub use instances::{Conflict, Holder, MAX_CLAIMANTS, Vm, VmName};
pub use learnt::{Dispute, Learnt, LearntFrom, LearntGroup};
pub use names::Names;
pub use read::MAX_FILE_BYTES;
pub use subnets::{Subnet, SubnetLookup};

/// Which address is which VM and in which subnet.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    instances: Instances,
    subnets: Subnets,
    groups: HashSet<String>,
    jobs: HashSet<String>,
}

/// Who an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup<'a> {
    /// No VM known has it.
    Unknown,
    /// This VM.
    One(&'a Vm),
    /// Each of these claims it.
    Ambiguous(&'a [Arc<Vm>]),
}

/// Reads files, in any order, into one inventory and one map of names.
///
/// ```
/// let mut files = flowaudit::inventory::Builder::default();
/// files.add("hosts.csv", b"ip,vm,jobs,subnet\n10.0.4.10,doppler/0,doppler,10.0.4.0/24\n")?;
/// let (inventory, names) = files.finish()?;
/// assert!(names.groups("doppler").iter().any(|group| inventory.has_group(group)));
/// # Ok::<(), flowaudit::inventory::InventoryError>(())
/// ```
pub struct Builder {
    said: Said,
    names: Names,
}

impl Default for Builder {
    /// No file read yet, and the names this program ships with.
    fn default() -> Builder {
        Builder { said: Said::default(), names: Names::shipped() }
    }
}

impl Builder {
    /// Reads one file, of at most [`MAX_FILE_BYTES`]; it may be a pipe.
    pub fn read(&mut self, path: &Path) -> Result<(), InventoryError> {
        self.add(&path.display().to_string(), &read::open(path)?)
    }

    /// Adds the content of a file, which errors call `file`.
    pub fn add(&mut self, file: &str, bytes: &[u8]) -> Result<(), InventoryError> {
        read::read(file, bytes, &mut self.said, &mut self.names)
    }

    /// The inventory that all the files make together, and the names.
    ///
    /// It fails only if one address has more than [`MAX_CLAIMANTS`] claimants.
    pub fn finish(self) -> Result<(Inventory, Names), InventoryError> {
        let Said { claims, mut subnets, unnamed } = self.said;
        // Last, so that a range which some file names keeps its network.
        for range in unnamed {
            subnets.add_unnamed(range);
        }
        let instances = Instances::from_claims(claims)?;
        let groups = instances.vms.iter().map(|vm| vm.group.clone()).collect();
        let jobs = instances.vms.iter().flat_map(|vm| vm.jobs.iter().flatten()).cloned().collect();
        Ok((Inventory { instances, subnets, groups, jobs }, self.names))
    }
}

impl Inventory {
    /// Reads any number of files; see [`Builder`].
    pub fn read<P: AsRef<Path>>(
        paths: impl IntoIterator<Item = P>,
    ) -> Result<(Inventory, Names), InventoryError> {
        let mut builder = Builder::default();
        for path in paths {
            builder.read(path.as_ref())?;
        }
        builder.finish()
    }

    /// Which VM has an address.
    pub fn vm(&self, address: IpAddr) -> Lookup<'_> {
        self.vm_of(self.holder(address))
    }

    /// Who holds an address, to be asked for one thing after another.
    pub fn holder(&self, address: IpAddr) -> Option<Holder> {
        self.instances.holders.get(&address).copied()
    }

    /// Which VM that is.
    pub fn vm_of(&self, holder: Option<Holder>) -> Lookup<'_> {
        match holder {
            None => Lookup::Unknown,
            Some(Holder::One(index)) => {
                self.instances.vms.get(index).map_or(Lookup::Unknown, |vm| Lookup::One(vm))
            }
            Some(Holder::Several(index)) => {
                let conflict = self.instances.conflicts.get(index);
                conflict.map_or(Lookup::Unknown, |conflict| Lookup::Ambiguous(&conflict.vms))
            }
        }
    }

    /// What it is called: the name of the VM, or of all that claim the address.
    pub fn name_of(&self, holder: Holder) -> Option<VmName> {
        self.instances.name(holder)
    }

    /// The VMs of that name: one, or all that claim an address of that name. They bear the same instance
    /// name as those at the address, and may differ from them in the rest.
    pub fn instances(&self, name: VmName) -> &[Arc<Vm>] {
        self.instances.named(name)
    }

    /// Which subnet an address is in.
    pub fn subnet(&self, address: IpAddr) -> SubnetLookup<'_> {
        self.subnets.find(address)
    }

    /// Whether some VM with an address is of this instance group.
    pub fn has_group(&self, group: &str) -> bool {
        self.groups.contains(&*canonical(group))
    }

    /// Whether some VM with an address is of this group, by any of its names.
    fn names_vm(&self, group: &str, names: &Names) -> bool {
        self.groups.iter().any(|known| names.same_vm(known, group))
    }

    /// Whether some VM with an address lists this job.
    pub fn has_job(&self, job: &str) -> bool {
        self.jobs.contains(&*canonical(job))
    }

    /// Whether no VM with an address is known; subnets may be.
    pub fn is_empty(&self) -> bool {
        self.instances.vms.is_empty()
    }

    /// Whether any subnet, or a network without ranges, is known.
    pub fn has_subnets(&self) -> bool {
        !self.subnets.is_empty()
    }

    /// Every VM with an address.
    pub fn vms(&self) -> impl ExactSizeIterator<Item = &Vm> {
        self.instances.vms.iter().map(|vm| &**vm)
    }

    /// The addresses that several instances claim, in order.
    pub fn conflicts(&self) -> &[Conflict] {
        &self.instances.conflicts
    }
}

#[cfg(test)]
mod tests;
