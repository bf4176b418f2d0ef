//! Decryption over recorded captures: every record of every flow that has keys opens, and what is inside
//! confirms or contradicts what was documented.

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use common::{Folder, Need, capture, flowaudit, have, shared};

type Row = HashMap<String, String>;

/// What the report says where keys did not open all they should.
const FAILURES: [&str; 2] = ["the key does not open it", "records and not the next"];

fn report(captures: &[PathBuf], options: &[PathBuf]) -> Vec<Row> {
    let folder = Folder::new("decrypt");
    let output = folder.join("report.csv");
    let mut arguments = vec![PathBuf::from("check"), "-q".into(), "-o".into(), output.clone()];
    arguments.extend(captures.iter().chain(options).cloned());
    let run = flowaudit(&arguments);
    assert!(matches!(run.status, Some(0 | 1)), "{}", run.stderr);
    let rows = csv::Reader::from_path(&output).expect("a report").deserialize().collect::<Result<_, _>>();
    rows.expect("every row has every column")
}

fn option(name: &str, file: PathBuf) -> [PathBuf; 2] {
    [name.into(), file]
}

fn inventory() -> Vec<PathBuf> {
    let files = ["bosh-instances-ps.json", "bosh-cloud-config.yml", "director.csv"];
    files.iter().flat_map(|file| option("--inventory", capture(file))).collect()
}

fn with_keys() -> Vec<PathBuf> {
    let keys = ["foundation.keys", "grpc.keys"].iter().flat_map(|file| option("--keylog", capture(file)));
    inventory().into_iter().chain(keys).collect()
}

fn decrypted(rows: &[Row]) -> usize {
    rows.iter().filter(|row| row["application_basis"] == "decrypted").count()
}

fn all_opened(rows: &[Row]) {
    for row in rows {
        assert!(!FAILURES.iter().any(|words| row["evidence"].contains(words)), "{row:?}");
    }
}

fn each(rows: &[Row], expected: &[(&str, &str)]) {
    assert!(!rows.is_empty());
    for row in rows {
        for (column, value) in expected {
            assert_eq!(row[*column], *value, "{row:?}");
        }
    }
}

#[test]
fn grpc_and_both_certificates_are_confirmed() {
    for name in ["grpc_C1_nozzle_tls13.pcap", "match_L2_L6_tls13.pcap", "match_C2_tls13.pcap"] {
        let rows = report(&[capture(name)], &with_keys());
        let expected = [
            ("verdict", "allowed"),
            ("application", "gRPC over HTTP/2"),
            ("application_basis", "decrypted"),
            ("application_finding", "confirmed"),
            ("security", "mutual TLS"),
            ("security_basis", "decrypted"),
            ("security_finding", "confirmed"),
        ];
        each(&rows, &expected);
        for row in &rows {
            assert!(row["client_certificate"].contains("CN=") && row["server_certificate"].contains("CN="));
            assert!(row["alpn"].starts_with("h2 ("), "{}", row["alpn"]);
        }
        let rows = report(&[capture(name)], &inventory());
        each(&rows, &[("security_basis", "inferred"), ("client_certificate", "unseen")]);
    }
}

#[test]
fn secrets_in_the_capture_itself_open_it() {
    let rows = report(&[capture("match_L4_secrets_tls13.pcapng")], &inventory());
    let expected = [
        ("verdict", "allowed"),
        ("application", "HTTP/1.1"),
        ("application_basis", "decrypted"),
        ("security", "TLS + Basic authentication"),
    ];
    each(&rows, &expected);
}

#[test]
fn https_without_alpn_is_settled_by_keys_alone() {
    for name in ["match_C4_tls12.pcap", "match_C5_tls12.pcap", "match_L5_L10_tls13.pcap"] {
        let unseen = [("verdict", "unproven"), ("reason", "unseen_application_no_alpn")];
        each(&report(&[capture(name)], &inventory()), &unseen);
        each(&report(&[capture(name)], &with_keys()), &[("verdict", "allowed"), ("application", "HTTP/1.1")]);
    }
}

#[test]
fn a_refusal_names_the_decrypted_alert() {
    let rows = report(&[capture("violation_no_client_certificate_refused_tls13.pcap")], &with_keys());
    each(&rows, &[("reason", "handshake_failed"), ("security_basis", "decrypted")]);
    for row in &rows {
        assert!(row["evidence"].contains("refused with alert 116 certificate_required"), "{row:?}");
    }
}

#[test]
fn decrypted_chains_are_held_against_the_authorities() {
    let judged = |ca: &str, base: Vec<PathBuf>| {
        let options = [base, option("--ca", capture(ca)).to_vec()].concat();
        report(&[capture("match_L2_L6_tls13.pcap")], &options)
    };
    each(&judged("ca.pem", with_keys()), &[("verdict", "allowed")]);
    each(&judged("grpc_ca.crt", with_keys()), &[("verdict", "violation"), ("reason", "wrong_ca")]);
    each(&judged("grpc_ca.crt", inventory()), &[("verdict", "allowed")]);
}

#[test]
fn what_the_keys_do_not_open_is_said() {
    let name = "violation_tls10.pcap";
    for row in report(&[capture(name)], &with_keys()) {
        assert!(row["evidence"].contains("CBC_SHA is not supported"), "{row:?}");
    }
    let other = [inventory(), option("--keylog", capture("grpc.keys")).to_vec()].concat();
    for row in report(&[capture(name)], &other) {
        assert!(row["evidence"].contains("no key for this session in the key log"), "{row:?}");
    }
    for row in report(&[capture(name)], &inventory()) {
        assert!(!row["evidence"].contains("key log"), "{row:?}");
    }
}

#[test]
fn a_wrong_key_changes_nothing_but_the_evidence() {
    let folder = Folder::new("wrong");
    let keys = fs::read_to_string(capture("foundation.keys")).expect("a key log");
    let turned: String = keys
        .lines()
        .map(|line| match line.rsplit_once(' ') {
            Some((before, secret)) => format!("{before} {}\n", secret.chars().rev().collect::<String>()),
            None => format!("{line}\n"),
        })
        .collect();
    fs::write(folder.join("turned.keys"), turned).expect("it is written");
    let wrong = [inventory(), option("--keylog", folder.join("turned.keys")).to_vec()].concat();
    for name in ["match_L2_L6_tls13.pcap", "match_L2_L3_L6_tls12.pcap", "match_L5_L10_tls13.pcap"] {
        let (plain, wrong) = (report(&[capture(name)], &inventory()), report(&[capture(name)], &wrong));
        assert_eq!(plain.len(), wrong.len());
        for (plain, wrong) in plain.iter().zip(wrong) {
            assert!(wrong["evidence"].ends_with("the key does not open it"), "{wrong:?}");
            for (column, value) in plain.iter().filter(|(column, _)| *column != "evidence") {
                assert_eq!(*value, wrong[column], "{column}");
            }
        }
    }
}

#[test]
fn keys_never_reach_the_report() {
    let keys = fs::read_to_string(capture("foundation.keys")).expect("a key log");
    let secrets: Vec<&str> = keys.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    assert!(!secrets.is_empty());
    for row in report(&[capture("match_L2_L6_tls13.pcap")], &with_keys()) {
        for value in row.values() {
            assert!(!secrets.iter().any(|secret| value.contains(&secret[..16])));
        }
    }
}

#[test]
fn no_key_log_is_an_error_that_says_so() {
    let run = flowaudit([
        "check".into(),
        capture("match_L9_tls12.pcap"),
        "--keylog".into(),
        capture("director.csv"),
    ]);
    assert_eq!(run.status, Some(2));
    assert!(run.stderr.contains("line 1: not a line of a key log"), "{}", run.stderr);
}

#[test]
fn every_keyed_flow_of_the_foundation_opens() {
    if !have(&[Need::Shared("captures/loggregator/keylogs")]) {
        return;
    }
    let keys = files("captures/loggregator/keylogs");
    let options: Vec<PathBuf> = keys.into_iter().flat_map(|file| option("--keylog", file)).collect();
    let mut opened = 0;
    for file in files("captures/loggregator/pcap") {
        let name = file.file_name().expect("a file").to_string_lossy().into_owned();
        // Captures that are cut end in an error by design.
        if name.contains("x_cut") {
            continue;
        }
        let rows = report(&[file], &options);
        all_opened(&rows);
        opened += decrypted(&rows);
    }
    assert!(opened >= 900, "{opened}");
}

/// The labels know what the client showed: with keys nothing else is ever said.
#[test]
fn every_labelled_connection_is_told_as_it_was() {
    if !have(&[Need::Shared("captures/mutual-tls")]) {
        return;
    }
    let labels = shared("captures/mutual-tls/LABELS.csv");
    let labels: Vec<Row> = csv::Reader::from_path(labels)
        .expect("labels")
        .deserialize()
        .collect::<Result<_, _>>()
        .expect("every row has every column");
    let mut told = 0;
    for label in labels.iter().filter(|label| !label["keylog"].is_empty()) {
        let file = shared("captures/mutual-tls/pcap").join(&label["file"]);
        let keys = shared("captures/mutual-tls/keys").join(&label["keylog"]);
        let rows = report(&[file], &option("--keylog", keys));
        all_opened(&rows);
        let row = rows.iter().find(|row| row["source_port"] == label["client_port"]).expect("the flow");
        let expected = match label["true_label"].split('-').next().unwrap_or_default() {
            "mutual" => "mutual TLS",
            "oneway" => "TLS",
            "empty" => "TLS (empty client certificate)",
            "resumed" => "TLS (resumed)",
            "failed" => "TLS handshake refused",
            other => panic!("{other}"),
        };
        let said = row["security"].split(" + ").next().unwrap_or_default();
        if row["security_basis"] == "inherited" {
            // What is taken over is held against the labels in tests/mutual_tls.rs.
            assert_eq!(expected, "TLS (resumed)", "{row:?}");
            told += 1;
        } else if said != "TLS (client certificate unseen)" {
            assert_eq!(said, expected, "{row:?}");
            told += 1;
        }
        // Neither the three connections under CCM nor those refused before they had a server.
        if row["application_basis"] == "decrypted" && label["alpn"] != "none" {
            assert!(row["alpn"].starts_with(&format!("{} (", label["alpn"])), "{row:?}");
        }
    }
    assert!(told + 4 >= labels.iter().filter(|label| !label["keylog"].is_empty()).count(), "{told}");
}

/// Captures of other projects that carry their keys.
#[test]
fn captures_with_their_own_secrets_open() {
    for (name, application) in [
        ("wireshark/test/captures/tls12-dsb.pcapng", "HTTP/1.1"),
        ("wireshark/test/captures/http2_follow_multistream.pcapng", "HTTP/2"),
        ("ja4/pcap/http2-with-cookies.pcapng", "HTTP/2"),
    ] {
        let path = format!("corpus/{name}");
        if !shared(&path).exists() {
            assert!(!have(&[Need::Shared("corpus/such-a-capture")]));
            continue;
        }
        let rows = report(&[shared(&path)], &[]);
        all_opened(&rows);
        let inside: Vec<&Row> = rows.iter().filter(|row| row["application_basis"] == "decrypted").collect();
        assert!(!inside.is_empty(), "{name}");
        assert!(inside.iter().all(|row| row["application"] == application), "{name}");
    }
}

fn files(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(shared(folder))
        .expect("it lists")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    files
}
