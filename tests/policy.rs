//! `flowaudit policy`, as it is called.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::{Folder, Need, Run, capture, flowaudit, have, shared};

fn policy(arguments: &[&str]) -> Run {
    flowaudit(["policy"].iter().chain(arguments))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are text")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pages/loggregator.txt")
}

fn shipped(name: &str) -> String {
    read(Path::new(env!("CARGO_MANIFEST_DIR")).join("policies").join(name))
}

/// Rows of a CSV file as maps from their headers.
fn rows(text: &str) -> Vec<BTreeMap<String, String>> {
    csv::Reader::from_reader(text.as_bytes()).deserialize().map(|row| row.expect("it is CSV")).collect()
}

const INVENTORY: [&str; 3] = ["bosh-instances-ps.json", "bosh-cloud-config.yml", "director.csv"];

fn inventory() -> Vec<String> {
    INVENTORY.iter().flat_map(|file| ["--inventory".to_owned(), text(&capture(file)).to_owned()]).collect()
}

#[test]
fn list_and_show_name_every_shipped_table() {
    let list = policy(&["list"]);
    assert_eq!(list.status, Some(0), "{}", list.stderr);
    assert!(
        list.stdout.contains("loggregator  11") && list.stdout.contains("pas-2.7      185"),
        "{}",
        list.stdout
    );
    let show = policy(&["show", "log-cache"]);
    assert!(
        show.stdout.contains("gorouter") && show.stdout.contains("log-cache (Auth Proxy)"),
        "{}",
        show.stdout
    );
}

#[test]
fn what_show_writes_as_csv_is_read_as_a_policy() {
    let folder = Folder::new("show");
    let file = folder.join("mine.csv");
    fs::write(&file, policy(&["show", "tpcf-10.0", "--csv"]).stdout).expect("it writes");
    let again = policy(&["diff", "tpcf-10.0/uaa", text(&file)]);
    assert_eq!(again.status, Some(1));
    let one = folder.join("uaa.csv");
    fs::write(&one, policy(&["show", "tpcf-10.0/uaa", "--csv"]).stdout).expect("it writes");
    let same = policy(&["diff", "tpcf-10.0/uaa", text(&one)]);
    assert_eq!((same.status, same.stdout.as_str()), (Some(0), "0 added, 0 removed, 0 changed\n"));
}

#[test]
fn lint_names_rows_and_lines_and_ends_with_1() {
    let lint = policy(&["lint", "loggregator"]);
    assert_eq!(lint.status, Some(1), "{}", lint.stderr);
    let shadowed =
        "loggregator:6 (policies/loggregator.csv line 7): loggregator_trafficcontroller (Reverse Log Proxy)";
    assert!(lint.stdout.contains(shadowed), "{}", lint.stdout);
    assert!(
        lint.stdout.contains("covered by loggregator:3 (policies/loggregator.csv line 4)"),
        "{}",
        lint.stdout
    );
    let clean = policy(&["lint", "log-cache"]);
    assert_eq!(clean.status, Some(0), "hints are nothing found: {}", clean.stdout);
    let absent = policy(&["lint", "log-cache", "--inventory", text(&capture("director.csv"))]);
    assert_eq!(absent.status, Some(1));
    assert!(absent.stdout.contains("no VM of the inventory is `gorouter`"), "{}", absent.stdout);
    let error = policy(&["lint", "no-such-table"]);
    assert_eq!(error.status, Some(2));
}

#[test]
fn the_page_is_imported_into_the_shipped_files_byte_for_byte() {
    let folder = Folder::new("import");
    let into = folder.join("tables");
    let run = policy(&["import", text(&page()), "-o", text(&into)]);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    for file in ["loggregator.csv", "log-cache.csv"] {
        assert_eq!(read(into.join(file)), shipped(file), "{file}");
    }
    let lint = policy(&["show", text(&into)]);
    assert!(lint.stdout.contains("tables/log-cache, 5 rows"), "{}", lint.stdout);
}

#[test]
fn several_tables_do_not_go_to_standard_output() {
    let run = policy(&["import", text(&page())]);
    assert_eq!((run.status, run.stdout.as_str()), (Some(2), ""));
    assert!(run.stderr.contains("2 tables (loggregator, log-cache) do not go into one"), "{}", run.stderr);
}

#[test]
fn one_table_goes_to_standard_output_and_odd_cells_are_named() {
    let folder = Folder::new("odd");
    let file = folder.join("page.html");
    let html = "<h1>Drains</h1><table><tr><th>Source VM<th>Destination VM<th>Port<th>Protocol<th>Authentication</tr>\
                <tr><td>syslog_adapter\u{1b}[31m<td>=1+1<td>Any***<td>HTTPS<td>TLS</tr></table>";
    fs::write(&file, html).expect("it writes");
    let run = policy(&["import", text(&file)]);
    assert_eq!(run.status, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("row 1, column `Port`: `Any***` is not understood"), "{}", run.stderr);
    assert!(run.stderr.contains("no column Transport Layer Protocol"), "{}", run.stderr);
    assert!(run.stdout.contains("syslog_adapter\\u{1b}[31m,'=1+1,Any***,TCP,HTTPS,TLS,"), "{}", run.stdout);
}

#[test]
fn the_two_versions_differ_as_the_public_history_says() {
    let run = policy(&["diff", "pas-2.7", "tpcf-10.0"]);
    assert_eq!(run.status, Some(1), "{}", run.stderr);
    for line in [
        "  - 9: loggregator_trafficcontroller | doppler (Log Cache) | 8080 | TCP | gRPC over HTTP/2 | Mutual TLS",
        "  + 11: loggregator_trafficcontroller | log_cache | 8080 | TCP | gRPC over HTTP/2 | Mutual TLS",
        "  + 6: Any VM running Loggregator Syslog Agent | log_cache | 6067 | TCP | Syslog | TLS or Mutual TLS (configurable)",
        "      Destination VM: log-cache → log_cache",
    ] {
        assert!(run.stdout.contains(line), "{line}\n{}", run.stdout);
    }
    if !have(&[Need::Shared("facts/tables/loggregator_table_changes.csv")]) {
        return;
    }
    // The changes after the older version: each is about the syslog agent's 6067, Log Cache's own VM, or the nozzle.
    let history = read(shared("facts/tables/loggregator_table_changes.csv"));
    let later: Vec<_> = rows(&history)
        .into_iter()
        .filter(|change| {
            change["versions"].starts_with("2.13 on") || change["versions"].starts_with("5.0 on")
        })
        .collect();
    assert!(!later.is_empty());
    for change in later {
        for (words, line) in [
            ("doppler (Log Cache) -> log_cache", "- 9: loggregator_trafficcontroller | doppler (Log Cache)"),
            ("syslog agent -> log_cache row", "Any VM running Loggregator Syslog Agent | log_cache"),
            (
                "nozzle row the right way round",
                "log_cache (Nozzle) | loggregator_trafficcontroller (Reverse Log Proxy)",
            ),
            ("6667 corrected to 6067", "| log_cache | 6067 |"),
            ("TLS or Mutual TLS (configurable)", "| 6067 | TCP | Syslog | TLS or Mutual TLS (configurable)"),
        ] {
            if change["change"].contains(words) {
                assert!(run.stdout.contains(line), "{words}\n{}", run.stdout);
            }
        }
    }
}

#[test]
fn coverage_reads_what_check_wrote() {
    let folder = Folder::new("coverage");
    let report = folder.join("report.csv");
    let mut check = vec!["check".to_owned(), "-q".to_owned(), "-o".to_owned(), text(&report).to_owned()];
    check.extend(
        ["match_L1_websocket.pcap", "match_C4_tls12.pcap", "violation_nats_wrong_source.pcap"]
            .map(|file| text(&capture(file)).to_owned()),
    );
    check.extend(inventory());
    assert_eq!(flowaudit(&check).status, Some(1));
    let run = policy(&["coverage", text(&report), "--csv"]);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    let used: BTreeMap<String, String> = rows(&run.stdout)
        .into_iter()
        .map(|row| (format!("{}:{}", row["table"], row["row"]), row["use"].clone()))
        .collect();
    assert_eq!(used.len(), 16);
    assert_eq!(used["loggregator:1"], "confirmed");
    assert_eq!(used["log-cache:4"], "unproven");
    assert_eq!(used["loggregator:7"], "never", "a violation is no use");
    let shown = policy(&["coverage", text(&report)]).stdout;
    assert!(shown.contains("wrong_source 1") && shown.contains("14 rows never used"), "{shown}");
    assert!(shown.contains("settle those before closing: loggregator:7\n"), "{shown}");
    let other = policy(&["coverage", text(&report), "--policy", "tpcf-10.0"]);
    assert_eq!(other.status, Some(2));
    assert!(
        other.stderr.contains("is not in the tables; name those of the report with --policy"),
        "{}",
        other.stderr
    );
}

/// What a draft of captures leaves out, and the verdicts of an audit of the same captures by that draft.
fn by_own_draft(captures: &[PathBuf], inventory: &[String]) -> (u64, BTreeMap<String, u64>) {
    let folder = Folder::new("draft");
    let (draft, report) = (folder.join("draft.csv"), folder.join("report.csv"));
    let captures: Vec<String> = captures.iter().map(|file| text(file).to_owned()).collect();
    let with = |command: &[&str]| -> Run {
        flowaudit(
            command.iter().map(|word| (*word).to_owned()).chain(captures.clone()).chain(inventory.to_vec()),
        )
    };
    let drafted = with(&["policy", "draft", "-o", text(&draft)]);
    assert_eq!(drafted.status, Some(0), "{captures:?}: {}", drafted.stderr);
    let left_out = drafted
        .stderr
        .lines()
        .filter_map(|line| line.strip_prefix("flowaudit: ")?.split(' ').next()?.parse::<u64>().ok())
        .sum();
    let audited = with(&["check", "-q", "--policy", text(&draft), "-o", text(&report)]);
    assert!(matches!(audited.status, Some(0 | 1)), "{captures:?}: {}", audited.stderr);
    let mut verdicts: BTreeMap<String, u64> = BTreeMap::new();
    // What is neither TCP nor UDP (here, neighbour discovery) has no column in a table.
    for row in
        rows(&read(&report)).into_iter().filter(|row| matches!(row["transport"].as_str(), "TCP" | "UDP"))
    {
        *verdicts.entry(row["verdict"].clone()).or_default() += 1;
    }
    (left_out, verdicts)
}

#[test]
fn an_audit_by_the_own_draft_finds_no_violation() {
    let all = fs::read_dir(capture("")).expect("captures/ is there");
    let healthy: Vec<PathBuf> = all
        .map(|entry| entry.expect("it lists").path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name.contains(".pcap") && (name.starts_with("match_") || name.starts_with("grpc_"))
        })
        .collect();
    assert!(healthy.len() > 10);
    for inventory in [inventory(), Vec::new()] {
        for file in &healthy {
            let (_, verdicts) = by_own_draft(std::slice::from_ref(file), &inventory);
            assert!(verdicts.values().sum::<u64>() > 0, "{}: something is drafted", file.display());
            assert_eq!(verdicts.get("violation"), None, "{}: {verdicts:?}", file.display());
        }
        let (_, verdicts) = by_own_draft(&healthy, &inventory);
        assert_eq!(verdicts.get("violation"), None, "all together: {verdicts:?}");
    }
}

#[test]
fn what_should_not_be_documented_is_left_out_and_said() {
    for (file, why) in [
        ("violation_tls10.pcap", "weak_tls"),
        ("violation_nats_refused.pcap", "authentication_refused"),
        ("violation_port_scan.pcap", "never connected"),
        ("violation_foreign_ca_refused_tls12.pcap", "handshake_failed"),
    ] {
        let mut arguments = vec!["policy".to_owned(), "draft".to_owned(), text(&capture(file)).to_owned()];
        arguments.extend(inventory());
        let run = flowaudit(&arguments);
        assert!(run.stderr.contains(why), "{file}: {}", run.stderr);
    }
    let captures = ["match_L7_nats.pcap.gz", "violation_port_scan.pcap", "violation_tls10.pcap"].map(capture);
    let (left_out, verdicts) = by_own_draft(&captures, &inventory());
    assert!(
        verdicts["violation"] > 0 && verdicts["violation"] <= left_out,
        "{left_out} left out, {verdicts:?}"
    );
}

/// Violations of a draft are flows that it left out, in everything recorded of a real foundation.
#[test]
fn drafts_of_real_traffic_hold() {
    if !have(&[Need::Shared("captures/loggregator/pcap")]) {
        return;
    }
    for name in
        ["tls12_all.pcap", "v105_all.pcap", "v09_source_outside_subnet.pcap", "v17_midstream_tls12.pcap"]
    {
        let file = shared("captures/loggregator/pcap").join(name);
        let (left_out, verdicts) = by_own_draft(&[file], &inventory());
        let violations = verdicts.get("violation").copied().unwrap_or(0);
        assert!(violations <= left_out, "{name}: {left_out} left out, {verdicts:?}");
    }
}
