//! `vm (Component)`: which process on a VM, as far as jobs and certificates in clear tell.

use std::collections::HashSet;

use super::finding::{Because, Finding, Reason};
use crate::inventory::{LearntFrom, LearntGroup, Names, Vm};

/// A documented component, with the jobs and certificate names it is known by.
#[derive(Debug)]
pub(super) struct Component {
    /// Its documented name, canonical.
    name: String,
    jobs: Vec<String>,
}

/// What the capture itself shows of who an end is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The components that a certificate in clear names: empty when none was seen or none is known by it.
    components: Vec<String>,
    /// The groups its address is learnt to be of.
    learnt: Vec<LearntGroup>,
}

impl Shown {
    /// Looks up the names of a leaf certificate.
    pub fn by_certificate<'a>(certificate_names: impl IntoIterator<Item = &'a str>, names: &Names) -> Shown {
        let mut components: Vec<String> = certificate_names
            .into_iter()
            .flat_map(|name| names.components_with_certificate(name))
            .map(|component| crate::inventory::canonical(component).into_owned())
            .collect();
        components.sort();
        components.dedup();
        Shown { components, learnt: Vec::new() }
    }

    /// The same, of an end whose address is learnt to be of these groups.
    pub fn learnt(self, groups: &[LearntGroup]) -> Shown {
        Shown { learnt: groups.to_vec(), ..self }
    }

    /// The groups its address is learnt to be of.
    pub fn learnt_groups(&self) -> impl Iterator<Item = &str> {
        self.learnt.iter().map(|learnt| learnt.group.as_str())
    }

    /// Its address is learnt to be of one of these groups.
    pub(super) fn learnt_as(&self, groups: &HashSet<String>) -> Option<LearntFrom> {
        self.learnt.iter().find(|learnt| groups.contains(&learnt.group)).map(|learnt| learnt.from)
    }
}

impl Component {
    pub(super) fn bind(documented: &str, names: &Names) -> Component {
        let name = crate::inventory::canonical(documented).into_owned();
        Component { jobs: names.jobs(documented), name }
    }

    pub(super) fn jobs(&self) -> impl Iterator<Item = &str> {
        self.jobs.iter().map(String::as_str)
    }

    /// Whether the inventory lists the component's job on this VM; `None` when it lists no jobs.
    pub(super) fn runs_on(&self, vm: &Vm) -> Option<bool> {
        vm.jobs.as_ref().map(|jobs| self.jobs.iter().any(|job| jobs.contains(job)))
    }

    /// A certificate in clear names components, and this is none of them.
    pub(super) fn contradicting(&self, shown: &Shown) -> bool {
        !shown.components.is_empty() && !shown.components.contains(&self.name)
    }

    pub(super) fn find(
        &self,
        wrong: Reason,
        on_vm: Option<bool>,
        no_inventory: bool,
        shown: &Shown,
    ) -> Finding {
        if self.contradicting(shown) {
            Finding::contradicted(wrong, Because::CertificateNamesAnother)
        } else if shown.components.contains(&self.name) {
            Finding::confirmed(Because::CertificateNamesIt)
        } else {
            match on_vm {
                Some(true) => Finding::inferred(Because::RunsJob),
                Some(false) => Finding::contradicted(wrong, Because::DoesNotRunJob),
                None if no_inventory => Finding::unseen(Reason::UnseenInventory, Because::NoInventory),
                None => Finding::unseen(Reason::UnseenInventory, Because::JobsUnknown),
            }
        }
    }
}
