use std::path::PathBuf;

use super::*;
use proptest::prelude::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn inventory(files: &[&str]) -> Inventory {
    let mut builder = Builder::default();
    for (n, file) in files.iter().enumerate() {
        builder.add(&format!("file {n}"), file.as_bytes()).unwrap();
    }
    builder.finish().unwrap().0
}

const PS: &str = r#"{"Tables":[{"Content":"instances","Rows":[
{"instance":"diego_cell/0","ips":"10.0.4.20\nfd00::20","deployment":"cf","process":"","process_state":"running"},
{"instance":"diego_cell/0","ips":"","deployment":"","process":"rep","process_state":"running"},
{"instance":"smoke-tests/0","ips":"","deployment":"cf","process":"","process_state":""}]}]}"#;

#[test]
fn answers_the_questions_a_policy_asks() {
    let inventory = inventory(&[PS, "ip,vm,subnet\n10.0.4.6,BOSH Director,10.0.4.0/24\n"]);
    let Lookup::One(vm) = inventory.vm(ip("fd00::20")) else { panic!("not found") };
    assert_eq!((vm.instance.as_str(), vm.group.as_str()), ("diego_cell/0", "diego-cell"));
    assert_eq!(inventory.vm(ip("10.0.4.20")), Lookup::One(vm));
    assert_eq!(inventory.vm(ip("10.0.4.21")), Lookup::Unknown);
    assert!(inventory.has_group("diego_cell") && inventory.has_group("diego-cell"));
    assert!(inventory.has_group("bosh-director"));
    assert!(!inventory.has_group("smoke-tests"), "an errand without a VM does not make a group complete");
    assert!(inventory.has_job("rep") && !inventory.has_job("doppler"));
    assert!(matches!(inventory.subnet(ip("10.0.4.9")), SubnetLookup::One(s) if s.network == "10.0.4.0/24"));
    assert_eq!(inventory.vms().len(), 2);
}

#[test]
fn an_empty_inventory_says_so() {
    let nothing = Inventory::default();
    assert!(nothing.is_empty() && !nothing.has_subnets());
    assert_eq!(nothing.subnet(ip("10.0.4.9")), SubnetLookup::NoneGiven);
    let subnets = inventory(&["networks:\n- name: d\n  type: dynamic\n"]);
    assert!(subnets.is_empty() && subnets.has_subnets());
}

#[test]
fn a_contested_address_is_ambiguous() {
    let inventory = inventory(&[PS, "ip,vm\n10.0.4.20,router\n"]);
    assert!(matches!(inventory.vm(ip("10.0.4.20")), Lookup::Ambiguous(vms) if vms.len() == 2));
    assert!(matches!(inventory.vm(ip("fd00::20")), Lookup::One(_)));
    let text = inventory.conflicts()[0].to_string();
    assert!(
        text.contains("10.0.4.20") && text.contains("diego_cell/0 of cf") && text.contains("router"),
        "{text}"
    );
}

#[test]
fn a_range_named_in_any_file_keeps_its_network() {
    let csv = "ip,vm,subnet\n10.0.4.6,director,10.0.4.0/24\n";
    let yaml = "networks:\n- name: default\n  subnets: [{range: 10.0.4.0/24}]\n";
    for files in [[csv, yaml], [yaml, csv]] {
        let inventory = inventory(&files);
        assert!(matches!(inventory.subnet(ip("10.0.4.9")), SubnetLookup::One(s) if s.network == "default"));
    }
}

#[test]
fn names_among_the_files_are_merged() {
    let mut builder = Builder::default();
    builder.add("names.csv", b"kind,documented,deployed\nvm,doppler,my_doppler\n").unwrap();
    let (_, names) = builder.finish().unwrap();
    assert_eq!(names.groups("doppler"), ["doppler", "my-doppler"]);
    assert_eq!(names.groups("cloud_controller"), ["cloud-controller", "api"]);
}

/// A file of the recorded foundation, or `None`, with a line printed, where it is not at hand.
fn recorded(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from("../shared/captures/loggregator").join(name);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is not here", path.display());
    None
}

#[test]
fn recorded_instances_of_every_shape_agree() {
    let shapes = ["bosh-instances.json", "bosh-instances-ps.json", "bosh-instances-ps-details.json"];
    let Some(paths) = shapes.iter().map(|name| recorded(name)).collect::<Option<Vec<_>>>() else { return };
    for (n, path) in paths.iter().enumerate() {
        let (inventory, _) = Inventory::read([path]).unwrap();
        assert!(inventory.conflicts().is_empty());
        let Lookup::One(vm) = inventory.vm(ip("10.0.4.11")) else { panic!("{}", path.display()) };
        assert_eq!(
            (vm.group.as_str(), vm.deployment.as_deref()),
            ("loggregator-trafficcontroller", Some("cf"))
        );
        assert_eq!(vm.jobs.is_some(), n > 0);
        assert_eq!(inventory.has_job("reverse-log-proxy"), n > 0);
    }
    let (all, _) = Inventory::read(&paths).unwrap();
    let (one, _) = Inventory::read(&paths[1..2]).unwrap();
    assert_eq!(all.vms().len(), one.vms().len());
    assert!(all.conflicts().is_empty());
}

#[test]
fn recorded_names_of_both_deployments_are_known() {
    let shapes = ["bosh-instances-ps.json", "bosh-instances-ps.cf-deployment-names.json"];
    let Some(paths) = shapes.iter().map(|name| recorded(name)).collect::<Option<Vec<_>>>() else { return };
    for path in paths {
        let (inventory, names) = Inventory::read([&path]).unwrap();
        let held = |documented: &str| names.groups(documented).iter().any(|group| inventory.has_group(group));
        for vm in [
            "loggregator_trafficcontroller",
            "doppler",
            "uaa",
            "cloud_controller",
            "nats",
            "gorouter",
            "log-cache",
        ] {
            assert!(held(vm), "{vm} in {}", path.display());
        }
        for component in [
            "Loggregator Agent",
            "Reverse Log Proxy",
            "Reverse Log Proxy Gateway",
            "Route Registrar",
            "Metrics Forwarder",
            "Log Cache",
            "Nozzle",
            "Auth Proxy",
            "Traffic Controller",
        ] {
            assert!(names.jobs(component).iter().any(|job| inventory.has_job(job)), "{component}");
        }
        assert!(!held("BOSH Director"));
    }
}

#[test]
fn recorded_cloud_configs_agree() {
    for name in ["bosh-cloud-config.yml", "bosh-cloud-config.json"] {
        let Some(path) = recorded(name) else { continue };
        let (inventory, _) = Inventory::read([path]).unwrap();
        let SubnetLookup::One(subnet) = inventory.subnet(ip("10.0.4.11")) else { panic!("{name}") };
        assert_eq!((subnet.network.as_str(), subnet.azs.len()), ("default", 2));
        assert!(matches!(inventory.subnet(ip("10.0.9.50")), SubnetLookup::One(s) if s.network == "services"));
        assert_eq!(inventory.subnet(ip("10.1.0.1")), SubnetLookup::Unknown);
    }
}

#[test]
fn sample_outputs_are_read() {
    let folder = PathBuf::from("../shared/facts/bosh");
    let Ok(files) = std::fs::read_dir(&folder) else {
        println!("skipped: {} is not here", folder.display());
        return;
    };
    for path in
        files.map(|file| file.unwrap().path()).filter(|path| !path.to_string_lossy().contains("records"))
    {
        let (inventory, _) = Inventory::read([&path]).unwrap();
        let Lookup::One(vm) = inventory.vm(ip("10.0.16.8")) else { panic!("{}", path.display()) };
        assert_eq!(vm.group, "doppler");
    }
}

proptest! {
    #[test]
    fn any_files_in_any_order_answer_without_panic(
        files in prop::collection::vec("\\PC*|ip,vm,jobs,subnet\n([0-9.]{7},[a-c/0]{1,3},[ab ]{0,3},\n){0,4}", 0..4),
        address in any::<[u8; 4]>(),
    ) {
        let mut builder = Builder::default();
        for file in &files {
            let _ = builder.add("f", file.as_bytes());
        }
        let (inventory, _) = builder.finish().unwrap();
        let _ = (inventory.vm(address.into()), inventory.subnet(address.into()));
    }
}
