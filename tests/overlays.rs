//! What real deployments do otherwise than the pages say: explained by a shipped overlay, allowed once it
//! is in force, and never a cover for what was planted.

mod common;

use std::collections::HashMap;
use std::path::Path;

use common::{Folder, Need, flowaudit, have, shared};

const CAPTURES: &str = "captures/loggregator";
/// Captures of the current release, as it runs by itself.
const CURRENT: &[&str] = &["cur13_", "tls12_"];
/// Flows of the recorded foundation that the recordings' own notes call a finding, and the overlay normal.
const KNOWN_FINDINGS: &[&str] = &["25595", "9022"];

#[test]
fn the_overlay_explains_the_current_release() {
    if !have(&[Need::Shared(CAPTURES)]) {
        return;
    }
    let mut seen = 0;
    for file in captures(|name| CURRENT.iter().any(|prefix| name.starts_with(prefix))) {
        let (without, with) = (audit(&file, &[]), audit(&file, &["--overlay", "cf-deployment"]));
        for truth in truths(&file) {
            if truth["expected"] == "report" && !KNOWN_FINDINGS.contains(&truth["server_port"].as_str()) {
                continue;
            }
            seen += 1;
            let now = &with[&key(&truth, TRUTH_ENDS)];
            assert_ne!(now["verdict"], "violation", "{file}: {now:?}");
            let before = &without[&key(&truth, TRUTH_ENDS)];
            if before["verdict"] == now["verdict"] {
                assert_eq!(
                    (&now["table"], &now["row"]),
                    (&before["table"], &before["row"]),
                    "{file}: {now:?}"
                );
            }
            let violation = before["verdict"] == "violation";
            assert_eq!(!before["known_deviation"].is_empty(), violation, "{file}: {before:?}");
            if violation {
                let row = format!("{}:{}", now["table"], now["row"]);
                assert_eq!(before["known_deviation"], row, "{file}: {now:?}");
                assert_eq!(now["table"], "cf-deployment");
                assert_eq!(now["known_deviation"], "", "{file}: nothing is left to explain");
            }
        }
    }
    assert!(seen > 500, "{seen} flows");
}

#[test]
fn what_was_planted_stays_reported() {
    if !have(&[Need::Shared(CAPTURES)]) {
        return;
    }
    let mut seen = 0;
    for file in captures(|name| name.starts_with('v') && !name.starts_with("v105_")) {
        let (without, with) = (audit(&file, &[]), audit(&file, &["--overlay", "cf-deployment"]));
        for truth in truths(&file) {
            if truth["expected"] != "report" {
                continue;
            }
            seen += 1;
            let (before, now) = (&without[&key(&truth, TRUTH_ENDS)], &with[&key(&truth, TRUTH_ENDS)]);
            assert_ne!(now["verdict"], "allowed", "{file}: {now:?}");
            // What is wrong inside TLS is not seen without keys, so the overlay's TLS row leaves it unproven.
            let inside_tls = truth["auth_visible_without_keys"] == "no: inside TLS";
            let hidden = inside_tls && truth["reason"].starts_with("no OAuth bearer");
            if !hidden {
                assert_eq!(now["verdict"], before["verdict"], "{file}: {now:?}");
                assert_eq!(before["known_deviation"], "", "{file}: {before:?}");
            }
        }
    }
    assert!(seen > 150, "{seen} flows");
}

/// With the session keys nothing inside TLS is left to stand for a violation, and none of what is planted hides.
#[test]
fn with_session_keys_too() {
    if !have(&[Need::Shared(CAPTURES)]) {
        return;
    }
    let with_keys = |file: &str, keys: &str| {
        let keys = shared(CAPTURES).join("keylogs").join(keys).display().to_string();
        audit(file, &["--overlay", "cf-deployment", "--keylog", &keys])
    };
    for prefix in CURRENT {
        for file in captures(|name| name.starts_with(prefix)) {
            for row in with_keys(&file, &format!("{}keys", prefix.replace('_', "."))).values() {
                assert_ne!(row["verdict"], "violation", "{file}: {row:?}");
            }
        }
    }
    let planted = "v12a_no_authorization_8081_tls";
    let rows = with_keys(&format!("{planted}.pcap"), &format!("{planted}.keys"));
    let without_token = rows.values().filter(|row| row["destination_port"] == "8081");
    assert!(without_token.clone().count() > 0);
    for row in without_token {
        assert_eq!(row["verdict"], "violation", "{row:?}");
    }
}

#[test]
fn a_table_is_in_force_only_once() {
    let capture = common::capture("MANIFEST.csv");
    let run = flowaudit([
        "check",
        &capture.display().to_string(),
        "--overlay",
        "cf-deployment",
        "--overlay",
        "cf-deployment",
    ]);
    assert_eq!(run.status, Some(2));
    assert!(run.stderr.contains("a table named `cf-deployment` is in force already"), "{}", run.stderr);
}

#[test]
fn the_summary_tells_known_deviations_from_the_rest() {
    if !have(&[Need::Shared(CAPTURES)]) {
        return;
    }
    let summary = |file: &str| {
        let capture = shared(CAPTURES).join("pcap").join(file).display().to_string();
        flowaudit([vec!["check".to_owned(), capture], inventory()].concat()).stdout
    };
    let known = summary("cur13_C1_rlp_nozzle_8082.pcap");
    assert!(known.contains("2 of these are known deviations"), "{known}");
    assert!(known.contains("Nothing to report but known deviations."), "{known}");
    assert!(known.contains("port 8082, 2 flows, known as cf-deployment:1"), "{known}");
    let unknown = summary("v10_unexpected_port_9999.pcap");
    assert!(unknown.contains("Reported: 2 flows") && !unknown.contains("nown deviations"), "{unknown}");
}

type Row = HashMap<String, String>;

const TRUTH_ENDS: [&str; 4] = ["client_ip", "client_port", "server_ip", "server_port"];
const REPORT_ENDS: [&str; 4] = ["source_ip", "source_port", "destination_ip", "destination_port"];

/// The two ends of a flow, whichever opened it.
fn key(row: &Row, [ip, port, other_ip, other_port]: [&str; 4]) -> [String; 2] {
    let mut ends = [format!("{} {}", row[ip], row[port]), format!("{} {}", row[other_ip], row[other_port])];
    ends.sort();
    ends
}

fn captures(wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let folder = std::fs::read_dir(shared(CAPTURES).join("pcap")).expect("it is there");
    let names = folder.map(|entry| entry.expect("it lists").file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| wanted(name)).collect();
    names.sort();
    assert!(!names.is_empty());
    names
}

fn truths(file: &str) -> Vec<Row> {
    let mut rows = read(&shared(CAPTURES).join("TRUTH.csv"));
    rows.retain(|row| row["file"] == file);
    rows
}

fn inventory() -> Vec<String> {
    let file = |name: &str| shared(CAPTURES).join(name).display().to_string();
    let option = "--inventory".to_owned();
    vec![option.clone(), file("bosh-instances-ps.json"), option, file("bosh-cloud-config.yml")]
}

/// The report on one capture, by the ends of its flows.
fn audit(file: &str, options: &[&str]) -> HashMap<[String; 2], Row> {
    let folder = Folder::new("overlay");
    let report = folder.join("report.csv");
    let mut arguments =
        vec!["check".to_owned(), shared(CAPTURES).join("pcap").join(file).display().to_string()];
    arguments.extend(inventory());
    arguments.extend(options.iter().map(|option| (*option).to_owned()));
    arguments.extend(["-q".to_owned(), "-o".to_owned(), report.display().to_string()]);
    let run = flowaudit(&arguments);
    assert!(
        run.status == Some(0) || run.status == Some(1) || file.contains("cut_file"),
        "{file}: {}",
        run.stderr
    );
    read(&report).into_iter().map(|row| (key(&row, REPORT_ENDS), row)).collect()
}

fn read(path: &Path) -> Vec<Row> {
    let mut reader = csv::Reader::from_path(path).expect("it opens");
    reader.deserialize().map(|row| row.expect("it has its columns")).collect()
}
