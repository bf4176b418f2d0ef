//! Documented names against deployed ones: the tables say `loggregator_trafficcontroller` where a
//! deployment says `log-api`, and `Route Registrar` where a process list says `route_registrar`.
//!
//! The shipped map is `policies/names.csv`; operators add to it with files of the same columns. It
//! follows the instance groups, jobs, DNS aliases and certificates of cloudfoundry/cf-deployment.

use std::borrow::Cow;
use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::addresses::words;
use super::canonical::canonical;
use super::cells;
use super::dns_names::DnsNames;
use super::error::{InventoryError, Place, quoted};

/// The columns of a names file.
pub(super) const COLUMNS: [&str; 5] = ["kind", "documented", "deployed", "certificates", "note"];
const KIND: usize = 0;
const DOCUMENTED: usize = 1;
const DEPLOYED: usize = 2;
const CERTIFICATES: usize = 3;

const SHIPPED: &str = include_str!("../../policies/names.csv");

/// What documented VM and component names are called in a deployment.
///
/// Names are compared in [`canonical`] form, certificate names without regard to case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    groups: HashMap<String, Vec<String>, RandomState>,
    components: HashMap<String, Component, RandomState>,
    certificates: HashMap<String, Vec<String>, RandomState>,
    dns: DnsNames,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Component {
    documented: String,
    jobs: Vec<String>,
    certificates: Vec<String>,
}

impl Names {
    /// The map this program ships with.
    ///
    /// # Panics
    ///
    /// If the file compiled in is not well formed, which a test rules out.
    pub fn shipped() -> Names {
        let mut names = Names::default();
        names.merge("policies/names.csv", SHIPPED).expect("the names compiled in are well formed");
        names
    }

    /// Adds a CSV file with the columns `kind`, `documented`, `deployed`, `certificates` and `note`.
    ///
    /// A name already known gains the groups, jobs and certificates of the new line and loses none.
    /// `file` is what errors call it. On an error nothing is added.
    pub fn merge(&mut self, file: &str, csv: &str) -> Result<(), InventoryError> {
        let mut merged = self.clone();
        let header = |columns: &cells::Columns| match (KIND..=DEPLOYED).find(|&n| !columns.has(n)) {
            Some(n) => Err(format!("column {} is missing", COLUMNS.get(n).copied().unwrap_or_default())),
            None => Ok(()),
        };
        cells::read(file, csv, &COLUMNS, header, |row| {
            let fail = |what: String, advice: &str| InventoryError {
                file: file.to_owned(),
                place: Place::line(row.line),
                what,
                advice: advice.to_owned(),
            };
            let documented = row.cell(DOCUMENTED);
            if documented.is_empty() {
                return Err(fail("no documented name".to_owned(), "write the name as the tables have it"));
            }
            match row.cell(KIND).to_ascii_lowercase().as_str() {
                "vm" | "dns" if !row.cell(CERTIFICATES).is_empty() => {
                    let advice = "certificates belong to components: write them on a line of that kind";
                    Err(fail("certificates of a vm or a DNS name".to_owned(), advice))
                }
                "vm" => {
                    merged.add_groups(documented, row.cell(DEPLOYED));
                    Ok(())
                }
                "component" => {
                    merged.add_component(documented, row.cell(DEPLOYED), row.cell(CERTIFICATES));
                    Ok(())
                }
                "dns" => {
                    let groups = words(row.cell(DEPLOYED)).map(|group| canonical(group).into_owned());
                    merged.dns.add(documented, groups);
                    Ok(())
                }
                other => Err(fail(format!("kind {}", quoted(other)), "write vm, component or dns")),
            }
        })?;
        *self = merged;
        Ok(())
    }

    /// The canonical instance groups a documented VM name stands for: itself first, then the others.
    pub fn groups(&self, documented: &str) -> Vec<String> {
        let itself = canonical(documented);
        let mut groups = vec![itself.clone().into_owned()];
        for group in self.groups.get(&*itself).into_iter().flatten() {
            add(&mut groups, group.clone());
        }
        groups
    }

    /// The canonical jobs that are a documented component.
    ///
    /// A component in no file stands for the job of its own name. One listed without jobs gives none:
    /// it has no process of its own, so a list of jobs cannot show whether it is there.
    pub fn jobs(&self, component: &str) -> Vec<String> {
        let itself = canonical(component);
        match self.components.get(&*itself) {
            Some(component) => component.jobs.clone(),
            None => vec![itself.into_owned()],
        }
    }

    /// The certificate names (CN or SAN) this component presents, as the file writes them.
    pub fn certificates(&self, component: &str) -> &[String] {
        self.components.get(&*canonical(component)).map_or(&[], |component| &component.certificates)
    }

    /// The documented components that present a certificate of this name, in the files' order.
    ///
    /// One name may belong to several (`metron` has been presented by Diego's rep too): it shows one
    /// of them and not which.
    pub fn components_with_certificate(&self, name: &str) -> impl Iterator<Item = &str> {
        // Nearly every name is in lower case already.
        let plain = name.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
        let name = if plain { Cow::Borrowed(name) } else { Cow::Owned(name.to_lowercase()) };
        let keys = self.certificates.get(&*name);
        keys.into_iter().flatten().filter_map(|key| Some(self.components.get(key)?.documented.as_str()))
    }

    /// Some file lists this documented VM name.
    pub fn knows_vm(&self, documented: &str) -> bool {
        self.groups.contains_key(&*canonical(documented))
    }

    /// Some file lists this documented component.
    pub fn knows_component(&self, component: &str) -> bool {
        self.components.contains_key(&*canonical(component))
    }

    /// The canonical instance groups behind a DNS name; none for a name that is not the platform's.
    pub fn dns_groups(&self, name: &str) -> Vec<String> {
        self.dns.groups(name)
    }

    /// Puts the groups of a DNS alias in place of those it had.
    pub(super) fn put_dns<'a>(&mut self, alias: &str, groups: impl IntoIterator<Item = &'a str>) {
        self.dns.replace(alias, groups.into_iter().map(|group| canonical(group).into_owned()).collect());
    }

    /// Two canonical groups are names of one documented VM.
    pub(super) fn same_vm(&self, one: &str, other: &str) -> bool {
        one == other
            || self.groups.iter().any(|(itself, groups)| {
                let is = |group: &str| itself == group || groups.iter().any(|known| known == group);
                is(one) && is(other)
            })
    }

    fn add_groups(&mut self, documented: &str, deployed: &str) {
        let groups = self.groups.entry(canonical(documented).into_owned()).or_default();
        for group in words(deployed) {
            add(groups, canonical(group).into_owned());
        }
    }

    fn add_component(&mut self, documented: &str, deployed: &str, certificates: &str) {
        let key = canonical(documented).into_owned();
        let component = self.components.entry(key.clone()).or_insert_with(|| Component {
            documented: documented.to_owned(),
            jobs: Vec::new(),
            certificates: Vec::new(),
        });
        for job in words(deployed) {
            add(&mut component.jobs, canonical(job).into_owned());
        }
        for certificate in words(certificates) {
            add(&mut component.certificates, certificate.to_owned());
            add(self.certificates.entry(certificate.to_lowercase()).or_default(), key.clone());
        }
    }
}

fn add(list: &mut Vec<String>, item: String) {
    if !list.contains(&item) {
        list.push(item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with_certificate(names: &Names, certificate: &str) -> Vec<String> {
        names.components_with_certificate(certificate).map(str::to_owned).collect()
    }

    #[test]
    fn documented_vms_are_found_under_deployed_names() {
        let names = Names::shipped();
        assert_eq!(
            names.groups("loggregator_trafficcontroller"),
            ["loggregator-trafficcontroller", "log-api"]
        );
        assert_eq!(names.groups("cloud_controller"), ["cloud-controller", "api"]);
        assert_eq!(names.groups("gorouter"), ["gorouter", "router"]);
        assert_eq!(names.groups("router"), ["router", "gorouter"]);
        assert_eq!(names.groups("log_cache"), ["log-cache"]);
        assert_eq!(names.groups("BOSH Director")[0], "bosh-director");
        assert_eq!(names.groups("my_group"), ["my-group"]);
    }

    #[test]
    fn every_component_of_the_two_tables_has_its_job() {
        let names = Names::shipped();
        for (component, job) in [
            ("Loggregator Agent", "loggregator-agent"),
            ("Reverse Log Proxy", "reverse-log-proxy"),
            ("Reverse Log Proxy Gateway", "reverse-log-proxy-gateway"),
            ("Route Registrar", "route-registrar"),
            ("Metrics Forwarder", "bosh-system-metrics-forwarder"),
            ("Metrics Server", "system-metrics-server"),
            ("Log Cache", "log-cache"),
            ("Nozzle", "log-cache-nozzle"),
            ("Auth Proxy", "log-cache-cf-auth-proxy"),
            ("Traffic Controller", "loggregator-trafficcontroller"),
        ] {
            assert!(names.components.contains_key(&*canonical(component)), "{component}");
            assert!(names.jobs(component).iter().any(|j| j == job), "{component}");
        }
        assert_eq!(names.jobs("My Job"), ["my-job"]);
        assert!(names.jobs("Silk CNI").is_empty());
    }

    #[test]
    fn certificates_name_components() {
        let names = Names::shipped();
        assert_eq!(with_certificate(&names, "reverselogproxy"), ["Reverse Log Proxy"]);
        assert_eq!(with_certificate(&names, "TrafficController"), ["Traffic Controller"]);
        assert_eq!(with_certificate(&names, "rlp-gateway"), ["Reverse Log Proxy Gateway"]);
        assert_eq!(with_certificate(&names, "metron")[0], "Loggregator Agent");
        assert!(with_certificate(&names, "log-cache").contains(&"Nozzle".to_owned()));
        assert!(with_certificate(&names, "nobody").is_empty());
        assert_eq!(names.certificates("reverse log proxy gateway")[..2], ["rlp_gateway", "rlp-gateway"]);
        assert!(names.certificates("My Job").is_empty());
    }

    #[test]
    fn an_operators_file_adds() {
        let mut names = Names::shipped();
        let own = "documented,KIND,deployed\nuaa,vm,identity uaa\nuaa,vm,idp\nNozzle,component,my_nozzle\n";
        names.merge("own.csv", own).unwrap();
        assert_eq!(names.groups("uaa"), ["uaa", "identity", "idp"]);
        assert_eq!(names.jobs("Nozzle"), ["log-cache-nozzle", "my-nozzle"]);
    }

    #[test]
    fn a_wrong_file_adds_nothing() {
        let mut names = Names::shipped();
        for (csv, what) in [
            ("kind,documented\n", "line 1: column deployed is missing"),
            (
                "kind,documented,deployed\nvm,a,b\nhost,a,b\n",
                "line 3: kind \"host\"; write vm, component or dns",
            ),
            ("kind,documented,deployed\nvm,,b\n", "line 2: no documented name"),
            ("kind,documented,deployed,certificates\nvm,a,b,c\n", "line 2: certificates of a vm"),
        ] {
            let error = names.merge("own.csv", csv).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
        assert_eq!(names, Names::shipped());
    }

    proptest! {
        #[test]
        fn any_text_is_merged_or_refused(text in "\\PC*|[a-c,;vm\n#\"]{0,60}") {
            let mut names = Names::default();
            let _ = names.merge("f", &text);
            let _ = names.merge("f", &format!("kind,documented,deployed,certificates\n{text}"));
            let _ = (names.groups(&text), names.jobs(&text));
        }
    }
}
