//! `/var/vcap/instance/dns/records.json`, which the Director gives to every VM for BOSH DNS.
//!
//! Writer: bosh `src/bosh-director/lib/bosh/director/dns/dns_records.rb`; reader: bosh-dns-release
//! `record_set.go`. Like that reader, columns are found by name and rows of another length are passed
//! over. It lists instances of all deployments and no jobs, and spells groups with hyphens.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::error::{InventoryError, Place, quoted};
use super::instances::Claim;
use super::names::Names;

const ADVICE: &str = "give /var/vcap/instance/dns/records.json of a VM as it is";

/// The columns needed, in `record_keys`.
const ID: &str = "id";
const GROUP: &str = "instance_group";
const DEPLOYMENT: &str = "deployment";
const IP: &str = "ip";
/// Joins aliases to instances; absent in old versions.
const GROUP_IDS: &str = "group_ids";

/// What one alias points at.
#[derive(Deserialize)]
pub(super) struct Alias {
    group_id: Option<String>,
}

/// The parts of the file that are read.
pub(super) struct Records<'a> {
    pub(super) keys: &'a [String],
    pub(super) infos: &'a [Vec<Value>],
    pub(super) aliases: &'a BTreeMap<String, Vec<Alias>>,
}

/// Adds the instances to the claims and the aliases to the names.
pub(super) fn read(
    file: &Arc<str>,
    records: &Records<'_>,
    claims: &mut Vec<Claim>,
    names: &mut Names,
) -> Result<(), InventoryError> {
    let fail = |path: String, what: String| InventoryError {
        file: file.to_string(),
        place: Place { path: Some(path), ..Place::default() },
        what,
        advice: ADVICE.to_owned(),
    };
    let position = |key: &str| records.keys.iter().position(|other| other == key);
    let needed = |key: &str| {
        position(key).ok_or_else(|| fail("record_keys".to_owned(), format!("no key {}", quoted(key))))
    };
    let (id, group, deployment, ip) = (needed(ID)?, needed(GROUP)?, needed(DEPLOYMENT)?, needed(IP)?);
    let group_ids = position(GROUP_IDS);
    let mut groups: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (n, info) in records.infos.iter().enumerate() {
        let text = |at: usize| info.get(at).and_then(Value::as_str).filter(|text| !text.is_empty());
        let (Some(id), Some(group), Some(deployment), Some(ip)) =
            (text(id), text(group), text(deployment), text(ip))
        else {
            continue;
        };
        if info.len() != records.keys.len() {
            continue;
        }
        let address: IpAddr = ip.parse().map_err(|_| {
            fail(format!("record_infos[{n}].{IP}"), format!("{} is not an IP address", quoted(ip)))
        })?;
        claims.push(Claim {
            file: Arc::clone(file),
            instance: format!("{group}/{id}"),
            deployment: Some(deployment.to_owned()),
            jobs: None,
            addresses: BTreeSet::from([address]),
        });
        let ids = group_ids.and_then(|at| info.get(at)).and_then(Value::as_array);
        for id in ids.into_iter().flatten().filter_map(Value::as_str) {
            groups.entry(id).or_default().insert(group);
        }
    }
    for (domain, targets) in records.aliases {
        let ids = targets.iter().filter_map(|target| target.group_id.as_deref());
        let behind: BTreeSet<&str> = ids.filter_map(|id| groups.get(id)).flatten().copied().collect();
        if !behind.is_empty() {
            names.put_dns(domain, behind);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Builder, Inventory, Lookup};
    use super::*;
    use proptest::prelude::*;

    const RECORDS: &str = r#"{"records":[["10.0.16.8","x.doppler.default.cf.bosh"]],"version":42,
"record_keys":["id","num_id","instance_group","group_ids","az","network","deployment","ip","domain"],
"record_infos":[
["91faf7a2-2f56-457a-871e-4235aef2ae5c","12","doppler",["7","21"],"z1","default","cf","10.0.16.8","bosh"],
["0b6d3f7e-0f3c-4a53-9a8d-000000000001","13","loggregator-trafficcontroller",["8"],null,"pas","cf-2","10.0.16.9","bosh"],
["short","row"]],
"aliases":{"doppler.service.cf.internal":[{"root_domain":"bosh","group_id":"7","health_filter":null}],
"gone.service.cf.internal":[{"group_id":"99"}]}}"#;

    fn run(text: &str) -> Result<(Inventory, Names), InventoryError> {
        let mut files = Builder::default();
        files.add("records.json", text.as_bytes())?;
        files.finish()
    }

    fn vm(inventory: &Inventory, address: &str) -> Option<(String, Option<String>, bool)> {
        match inventory.vm(address.parse().unwrap()) {
            Lookup::One(vm) => Some((vm.group.clone(), vm.deployment.clone(), vm.jobs.is_some())),
            _ => None,
        }
    }

    #[test]
    fn columns_are_found_by_name_and_short_rows_passed_over() {
        let (inventory, names) = run(RECORDS).unwrap();
        assert_eq!(inventory.vms().len(), 2);
        assert_eq!(vm(&inventory, "10.0.16.8"), Some(("doppler".to_owned(), Some("cf".to_owned()), false)));
        let controller = vm(&inventory, "10.0.16.9").unwrap();
        assert_eq!(
            (controller.0.as_str(), controller.1.as_deref()),
            ("loggregator-trafficcontroller", Some("cf-2"))
        );
        assert!(names.groups("loggregator_trafficcontroller").iter().any(|group| inventory.has_group(group)));
        assert_eq!(names.dns_groups("doppler.service.cf.internal"), ["doppler"]);
        assert!(names.dns_groups("gone.service.cf.internal").is_empty());
        let turned = RECORDS.replace(r#""id","num_id""#, r#""num_id","id""#);
        assert!(
            run(&turned)
                .is_ok_and(|(inventory, _)| inventory.vms().all(|vm| !vm.instance.contains("91faf7a2")))
        );
    }

    #[test]
    fn it_merges_with_what_the_cli_lists() {
        let mut files = Builder::default();
        files.add("records.json", RECORDS.as_bytes()).unwrap();
        let ps = r#"{"Tables":[{"Content":"instances","Rows":[
            {"instance":"doppler/91faf7a2-2f56-457a-871e-4235aef2ae5c","ips":"10.0.16.8","deployment":"cf","process":""},
            {"instance":"doppler/91faf7a2-2f56-457a-871e-4235aef2ae5c","process":"doppler"}]}]}"#;
        files.add("ps.json", ps.as_bytes()).unwrap();
        let (inventory, _) = files.finish().unwrap();
        assert!(inventory.conflicts().is_empty());
        assert_eq!(vm(&inventory, "10.0.16.8").map(|vm| vm.2), Some(true), "and knows its jobs now");
    }

    #[test]
    fn an_address_of_two_deployments_is_neither() {
        let reused = RECORDS.replace("10.0.16.9", "10.0.16.8");
        let (inventory, _) = run(&reused).unwrap();
        assert!(
            matches!(inventory.vm("10.0.16.8".parse().unwrap()), Lookup::Ambiguous(vms) if vms.len() == 2)
        );
        let text = inventory.conflicts()[0].to_string();
        assert!(text.contains(" of cf and ") && text.contains(" of cf-2: it counts as neither"), "{text}");
    }

    #[test]
    fn errors_say_where() {
        let refused = |text: String| run(&text).unwrap_err().to_string();
        let error = refused(RECORDS.replace(r#""deployment""#, r#""deployments""#));
        assert!(
            error.starts_with("records.json: record_keys: no key \"deployment\"; give /var/vcap/"),
            "{error}"
        );
        let error = refused(RECORDS.replace("\"10.0.16.9\"", "\"10.0.16\""));
        assert!(
            error.starts_with("records.json: record_infos[1].ip: \"10.0.16\" is not an IP address"),
            "{error}"
        );
    }

    /// The file as the Director writes it, where it lies beside the project.
    #[test]
    fn the_directors_own_shape_is_read() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/facts/bosh/records.json");
        let Ok(text) = std::fs::read_to_string(path) else {
            println!("skipped the_directors_own_shape_is_read: ../shared/facts is not here");
            return;
        };
        let (inventory, _) = run(&text).unwrap();
        assert_eq!(inventory.vms().len(), 2);
    }

    proptest! {
        #[test]
        fn any_cell_is_read_or_refused(cell in "\\PC{0,20}", end in 0..RECORDS.len()) {
            let _ = run(&RECORDS.replace("10.0.16.8", &cell));
            prop_assert!(run(&RECORDS[..end]).is_err());
        }
    }
}
