//! `flowaudit explain` on kept captures: the whole story held against the text kept for it under
//! `tests/explain/`, and what happens when no flow, or more than one, is meant.
//!
//! After a change that is meant to change what is told, write the texts anew and read the difference:
//!
//! ```text
//! FLOWAUDIT_BLESS=1 cargo test --test explain && git diff tests/explain
//! ```

mod common;

use std::fs;

use common::{INVENTORY, Run, flowaudit_at_home, root, table};

/// `explain` with the recorded foundation's inventory.
fn explain(arguments: &[&str]) -> Run {
    flowaudit_at_home(&[&["explain"], &INVENTORY[..], arguments].concat())
}

/// Holds what is told against the kept text.
fn is_kept(name: &str, status: i32, arguments: &[&str]) {
    let run = explain(arguments);
    assert_eq!((run.status, run.stderr.as_str()), (Some(status), ""), "{arguments:?}");
    let path = root().join("tests/explain").join(name);
    if std::env::var_os("FLOWAUDIT_BLESS").is_some_and(|value| value == "1") {
        fs::write(&path, &run.stdout).expect("it is written");
    }
    let kept = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(run.stdout, kept, "{name}");
}

#[test]
fn a_violation_in_clear_is_told() {
    let capture = "captures/violation_nats_wrong_source.pcap";
    is_kept("nats_wrong_source.txt", 1, &[capture, "--flow", "1:qv+yYsnSnZs8VRRecsBfip5GyLg="]);
}

#[test]
fn a_resumed_session_is_told_with_the_connection_that_began_it() {
    let capture = "captures/hard_resumed_L5_tls13.pcap";
    is_kept("resumed_tls13.txt", 0, &[capture, "--flow", "10.0.4.11:57080"]);
}

#[test]
fn an_empty_certificate_and_the_names_of_a_handshake_in_clear_are_told() {
    let capture = "captures/violation_empty_client_certificate_tls12.pcap";
    is_kept(
        "empty_certificate_tls12.txt",
        1,
        &["--ca", "captures/ca.pem", capture, "--flow", &server(capture)],
    );
}

#[test]
fn decrypted_bytes_are_told_as_such() {
    let capture = "captures/match_L4_secrets_tls13.pcapng";
    is_kept("decrypted_tls13.txt", 0, &[capture, "--flow", &first(capture, "community_id")]);
}

#[test]
fn strict_reports_as_check_does() {
    let capture = "captures/hard_resumed_L5_tls13.pcap";
    assert_eq!(explain(&["--strict", capture, "--flow", "10.0.4.11:57080"]).status, Some(1));
}

#[test]
fn an_end_may_mean_several_flows_and_only_some_are_told() {
    let scan = "captures/violation_port_scan.pcap";
    let rows = report(scan);
    let mut ends: Vec<(usize, String)> = rows
        .iter()
        .map(|row| format!("{}:{}", row["source_ip"], row["source_port"]))
        .map(|end| {
            (
                rows.iter()
                    .filter(|row| format!("{}:{}", row["source_ip"], row["source_port"]) == end)
                    .count(),
                end,
            )
        })
        .collect();
    ends.sort();
    let (flows, end) = ends.pop().expect("the scan has flows");
    let run = explain(&[scan, "--flow", &end]);
    assert_eq!(run.status, Some(1), "{}", run.stderr);
    assert_eq!(run.stdout.matches("\nSeen, in the protocol's order\n").count(), flows.min(10));
    assert_eq!(run.stdout.contains(" more; name one by its Community ID"), flows > 10, "{flows}");
}

#[test]
fn a_flow_that_is_not_there_is_an_error_that_counts_the_others() {
    let capture = "captures/violation_nats_wrong_source.pcap";
    let run = explain(&[capture, "--flow", "192.0.2.1:1"]);
    assert_eq!((run.status, run.stdout.as_str()), (Some(2), ""));
    assert!(
        run.stderr.starts_with("flowaudit: none of the 1 flows is from or to 192.0.2.1 port 1"),
        "{}",
        run.stderr
    );
    let run = explain(&[capture, "--flow", "nats"]);
    assert_eq!(run.status, Some(2));
    assert!(run.stderr.contains("neither a Community ID"), "{}", run.stderr);
    assert_eq!(explain(&["captures/none.pcap", "--flow", "192.0.2.1:1"]).status, Some(2));
}

fn report(capture: &str) -> Vec<std::collections::BTreeMap<String, String>> {
    table(&flowaudit_at_home(&["check", "-q", "-o", "-", capture]).stdout)
}

fn first(capture: &str, column: &str) -> String {
    report(capture).first().expect("a flow")[column].clone()
}

/// The server's end of a capture's first flow.
fn server(capture: &str) -> String {
    format!("{}:{}", first(capture, "destination_ip"), first(capture, "destination_port"))
}
