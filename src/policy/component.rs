//! `vm (Component)`: which process on a VM, as far as jobs and certificates in clear tell.

use std::collections::HashSet;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::finding::{Because, Finding, Reason};
use crate::inventory::{LearntFrom, LearntGroup, Names, Vm};

/// A documented component, with the jobs and certificate names it is known by.
#[derive(Debug)]
pub(super) struct Component {
    /// Its documented name, canonical.
    name: String,
    jobs: Vec<String>,
}

/// The local process of an end, on the audited VM itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The BOSH job it is of; `None` for a program that is no job's.
    job: Option<String>,
    /// What it is called in evidence.
    text: String,
}

impl Process {
    /// A process of this job, or of none; `text` names it.
    pub fn new(job: Option<&str>, text: String) -> Process {
        Process { job: job.map(|job| crate::inventory::canonical(job).into_owned()), text }
    }
}

/// What the capture itself shows of who an end is, and the VM it was taken on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The components that a certificate in clear names: none when none was seen or none is known by it.
    components: Option<Arc<[String]>>,
    /// The groups its address is learnt to be of.
    learnt: Option<Arc<[LearntGroup]>>,
    /// The process that has the socket.
    process: Option<Box<Process>>,
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
        let components = Some(components.into()).filter(|components: &Arc<[String]>| !components.is_empty());
        Shown { components, ..Shown::default() }
    }

    /// Adds that the address of the end is learnt to be of these groups.
    pub fn learn(&mut self, groups: Arc<[LearntGroup]>) {
        self.learnt = Some(groups);
    }

    /// Adds that this process has the socket of the end.
    pub fn own(&mut self, process: Process) {
        self.process = Some(Box::new(process));
    }

    /// Where the components and groups are kept that are shown.
    pub(super) fn places(&self) -> [usize; 2] {
        let components = self.components.as_ref().map_or(0, |it| Arc::as_ptr(it).addr());
        let learnt = self.learnt.as_ref().map_or(0, |it| Arc::as_ptr(it).addr());
        [components, learnt]
    }

    /// The process that has the socket, in words for evidence.
    pub fn process(&self) -> Option<&str> {
        self.process.as_ref().map(|process| process.text.as_str())
    }

    /// The groups its address is learnt to be of.
    pub fn learnt_groups(&self) -> impl Iterator<Item = &str> {
        self.learnt.iter().flat_map(|learnt| learnt.iter()).map(|learnt| learnt.group.as_str())
    }

    /// Its address is learnt to be of one of these groups.
    pub(super) fn learnt_as(&self, groups: &HashSet<String, RandomState>) -> Option<LearntFrom> {
        self.learnt.as_ref()?.iter().find(|learnt| groups.contains(&learnt.group)).map(|learnt| learnt.from)
    }

    /// Whether the certificate names this component; `None` if it names none.
    fn is_named(&self, component: &String) -> Option<bool> {
        Some(self.components.as_ref()?.contains(component))
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

    /// Whether the inventory lists the component's job on this VM; `None` when its jobs cannot tell.
    pub(super) fn runs_on(&self, vm: &Vm) -> Option<bool> {
        // One without jobs has no process of its own (`Silk CNI`), so that no list of jobs could show it.
        let jobs = vm.jobs.as_ref().filter(|_| !self.jobs.is_empty())?;
        Some(self.jobs.iter().any(|job| jobs.contains(job)))
    }

    /// Why another process than this one speaks: the socket is another's, or a certificate in clear names
    /// components and this is none of them.
    pub(super) fn contradicting(&self, shown: &Shown) -> Option<Because> {
        if self.has_socket(shown) == Some(false) {
            return Some(Because::ProcessIsAnother);
        }
        let another = shown.is_named(&self.name) == Some(false);
        another.then_some(Because::CertificateNamesAnother)
    }

    /// Whether the process that has the socket is this one; one without jobs has no process of its own.
    fn has_socket(&self, shown: &Shown) -> Option<bool> {
        let process = shown.process.as_ref().filter(|_| !self.jobs.is_empty())?;
        Some(process.job.as_ref().is_some_and(|job| self.jobs.contains(job)))
    }

    pub(super) fn find(
        &self,
        wrong: Reason,
        on_vm: Option<bool>,
        no_inventory: bool,
        shown: &Shown,
    ) -> Finding {
        if let Some(because) = self.contradicting(shown) {
            Finding::contradicted(wrong, because)
        } else if self.has_socket(shown) == Some(true) {
            Finding::confirmed(Because::ProcessIsIt)
        } else if shown.is_named(&self.name) == Some(true) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::{Builder, Lookup};
    use crate::policy::finding::Grade;

    fn find(component: &str, certificate: Option<&str>, on_vm: Option<bool>) -> (Grade, Option<Because>) {
        let names = Names::shipped();
        let shown = Shown::by_certificate(certificate, &names);
        let finding = Component::bind(component, &names).find(Reason::WrongSource, on_vm, false, &shown);
        (finding.grade, finding.because().next())
    }

    #[test]
    fn a_certificate_in_clear_outranks_the_inventory() {
        let (confirmed, contradicted) = (Grade::Confirmed, Grade::Contradicted);
        let (it, another) = (Some(Because::CertificateNamesIt), Some(Because::CertificateNamesAnother));
        for on_vm in [Some(true), Some(false), None] {
            assert_eq!(find("Reverse Log Proxy", Some("reverselogproxy"), on_vm), (confirmed, it));
            assert_eq!(find("Reverse Log Proxy", Some("ReverseLogProxy"), on_vm), (confirmed, it));
            assert_eq!(find("Reverse Log Proxy", Some("metron"), on_vm), (contradicted, another));
        }
    }

    #[test]
    fn a_certificate_that_names_no_component_known_says_nothing() {
        let unknown = Some("host.example");
        assert_eq!(find("Nozzle", unknown, Some(true)), (Grade::Inferred, Some(Because::RunsJob)));
        assert_eq!(find("Nozzle", unknown, Some(false)), (Grade::Contradicted, Some(Because::DoesNotRunJob)));
        assert_eq!(find("Nozzle", unknown, None), (Grade::Unseen, Some(Because::JobsUnknown)));
    }

    #[test]
    fn a_certificate_shared_by_several_components_names_each_of_them() {
        for component in ["Log Cache", "Nozzle", "Auth Proxy"] {
            assert_eq!(find(component, Some("log-cache"), None).0, Grade::Confirmed, "{component}");
        }
    }

    #[test]
    fn the_local_process_outranks_the_inventory_and_agrees_with_the_certificate_or_contradicts() {
        let names = Names::shipped();
        let find = |job: Option<&str>, certificate: Option<&str>| {
            let process = Process::new(job, String::new());
            let mut shown = Shown::by_certificate(certificate, &names);
            shown.own(process);
            let component = Component::bind("Reverse Log Proxy", &names);
            let finding = component.find(Reason::WrongSource, Some(true), false, &shown);
            (finding.grade, finding.because().next())
        };
        let another = (Grade::Contradicted, Some(Because::ProcessIsAnother));
        assert_eq!(find(Some("reverse-log-proxy"), None), (Grade::Confirmed, Some(Because::ProcessIsIt)));
        assert_eq!(find(Some("loggregator_trafficcontroller"), None), another);
        assert_eq!(find(None, None), another);
        let liar = find(Some("reverse_log_proxy"), Some("metron"));
        assert_eq!(liar, (Grade::Contradicted, Some(Because::CertificateNamesAnother)));
    }

    #[test]
    fn a_component_without_jobs_is_not_missed_in_a_list_of_jobs() {
        let mut files = Builder::default();
        files.add("i.csv", b"ip,vm,jobs\n10.0.0.1,diego_cell/0,rep\n").unwrap();
        let (inventory, names) = files.finish().unwrap();
        let Lookup::One(vm) = inventory.vm("10.0.0.1".parse().unwrap()) else { panic!("it is there") };
        let runs = |component: &str| Component::bind(component, &names).runs_on(vm);
        assert_eq!([runs("Rep"), runs("BBS"), runs("Silk CNI")], [Some(true), Some(false), None]);
    }
}
