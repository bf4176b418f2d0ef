//! Reports held against known truth, where the recordings that come with it lie beside the project:
//! labelled flows of a whole foundation, and labelled TLS connections of many TLS stacks.
//!
//! Neither may ever be said to be allowed, a violation, mutual or refused when it is not; what the
//! capture cannot show may stay unproven. The tables of what was said are printed (`--nocapture`).

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use common::{Need, flowaudit, have, shared, table};

type Cells = BTreeMap<String, String>;

const FOUNDATION: &str = "captures/loggregator";
const STACKS: &str = "captures/mutual-tls";

/// Matching flows that must be allowed outright, without keys.
const LEAST_ALLOWED: u64 = 515;
/// Of the TLS 1.3 connections that can be decided, those that must get a definite answer, in percent.
const LEAST_DEFINITE: u64 = 98;

#[test]
fn the_flows_of_a_foundation_get_the_verdicts_they_deserve() {
    if !have(&[Need::Shared(FOUNDATION)]) {
        return;
    }
    let path = |name: &str| shared(FOUNDATION).join(name).display().to_string();
    let (instances, networks) = (path("bosh-instances-ps.json"), path("bosh-cloud-config.yml"));
    let inventory = ["--inventory", &instances, "--inventory", &networks];
    let mut score = Score::default();
    for (file, truths) in by_file(&shared(FOUNDATION).join("TRUTH.csv")) {
        let mut reported: BTreeMap<String, Vec<Cells>> = BTreeMap::new();
        for row in report(&shared(FOUNDATION).join("pcap").join(&file), &inventory) {
            let key = key(&row, ["source_ip", "source_port", "destination_ip", "destination_port"]);
            reported.entry(key).or_default().push(row);
        }
        for rows in reported.values_mut() {
            rows.reverse();
        }
        for truth in truths {
            let key = key(&truth, ["client_ip", "client_port", "server_ip", "server_port"]);
            match reported.get_mut(&key).and_then(Vec::pop) {
                Some(row) => score.hold(&file, &truth, &row),
                None => score.wrong.push(format!("{file}: not reported: {key}")),
            }
        }
    }
    println!("{:24}{:12}{:8}flows", "truth", "verdict", "grade");
    for ((truth, verdict, grade), flows) in &score.table {
        println!("{truth:24}{verdict:12}{grade:8}{flows}");
    }
    let allowed: u64 =
        score.table.iter().filter(|((t, v, _), _)| t == "match" && v == "allowed").map(|(_, n)| n).sum();
    println!("{allowed} matching flows allowed outright");
    assert!(score.wrong.is_empty(), "{}", score.wrong.join("\n"));
    assert!(allowed >= LEAST_ALLOWED, "only {allowed} matching flows are allowed");
}

#[test]
fn client_authentication_is_told_as_it_was() {
    if !have(&[Need::Shared(STACKS)]) {
        return;
    }
    let mut counts: BTreeMap<(String, String, &str), u64> = BTreeMap::new();
    let (mut wrong, mut decidable, mut definite) = (Vec::new(), 0, 0);
    for (file, labels) in by_file(&shared(STACKS).join("LABELS.csv")) {
        let rows = report(&shared(STACKS).join("pcap").join(&file), &[]);
        for label in labels {
            let port = &label["client_port"];
            let row = rows.iter().find(|row| [&row["source_port"], &row["destination_port"]].contains(&port));
            let Some(row) = row else {
                wrong.push(format!("{file}: port {port} is not reported"));
                continue;
            };
            let (truth, answer) = (label["true_label"].as_str(), answer(&row["security"], &label));
            let class = truth.trim_end_matches("-pha");
            *counts.entry((label["tls_version"].clone(), truth.to_owned(), answer)).or_default() += 1;
            let undetermined = answer == "undetermined";
            let unforgivable = match answer {
                "mutual" | "failed" => answer != class,
                // A client may be asked after the handshake, which nothing in clear need show.
                _ => class == "mutual" && !undetermined && (truth, answer) != ("mutual-pha", "oneway"),
            };
            if unforgivable || (label["tls_version"] == "1.2" && answer != class) {
                wrong.push(format!("{file} {port}: {truth} told as {answer}: {}", row["evidence"]));
            }
            if label["tls_version"] == "1.3" && label["undecidable"] == "no" {
                decidable += 1;
                definite += u64::from(!undetermined);
            }
        }
    }
    for ((version, truth, answer), connections) in &counts {
        println!("TLS {version:5}{truth:14}{answer:14}{connections}");
    }
    println!("{definite} of {decidable} that can be decided are decided");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(definite * 100 >= decidable * LEAST_DEFINITE, "{definite} of {decidable}");
}

/// What was said of the flows so far.
#[derive(Default)]
struct Score {
    table: BTreeMap<(String, String, &'static str), u64>,
    wrong: Vec<String>,
}

impl Score {
    fn hold(&mut self, file: &str, truth: &Cells, row: &Cells) {
        let verdict = row["verdict"].as_str();
        let (right, soft) = deserved(truth);
        let grade = match () {
            () if right.contains(&verdict) => "right",
            () if soft.contains(&verdict) => "soft",
            () => "WRONG",
        };
        *self.table.entry((truth["expected"].clone(), verdict.to_owned(), grade)).or_default() += 1;
        let mut complain = |what: &str| {
            let said = [verdict, &row["reason"], &row["table"], &row["row"], &row["evidence"]].join(" ");
            self.wrong.push(format!(
                "{file} {}:{}: {what}: expected {} {} {}, said {said}",
                truth["client_ip"], truth["client_port"], truth["expected"], truth["reason"], truth["note"]
            ));
        };
        if grade == "WRONG" {
            complain("wrong verdict");
        }
        let source = (&row["source_ip"], &row["source_port"]);
        if truth["syn_in_file"] == "yes" && source != (&truth["client_ip"], &truth["client_port"]) {
            complain("ends swapped");
        }
        if verdict == "violation" {
            // TLS under a row in clear is the reason, unless an end is wrong, which comes first.
            let first = ["stronger_than_documented", "wrong_source", "wrong_destination", "outside_subnet"];
            if truth["note"].contains("TLS under it") && !first.contains(&row["reason"].as_str()) {
                complain("not stronger_than_documented");
            }
            return;
        }
        let named = named_rows(row);
        let documented = documented_ports();
        for row_name in &named {
            if !documented[row_name].contains(&row["destination_port"].as_str()) {
                complain(&format!("row of another port {row_name}"));
            }
        }
        let matches = truth["seed_row"].split('|').any(|wanted| named.contains(wanted));
        if truth["expected"] == "match" && !truth["seed_row"].is_empty() && !matches {
            complain("another row");
        }
    }
}

/// The verdicts that are right for a flow, and those that are right but could be better.
fn deserved(truth: &Cells) -> (&'static [&'static str], &'static [&'static str]) {
    const ALLOWED: &[&str] = &["allowed"];
    const UNPROVEN: &[&str] = &["unproven"];
    const VIOLATION: &[&str] = &["violation"];
    const ANY: &[&str] = &["allowed", "unproven", "violation"];
    let (reason, note) = (truth["reason"].as_str(), truth["note"].as_str());
    let why = |words: &str| reason.contains(words) || note.contains(words);
    match truth["expected"].as_str() {
        "match" => (ALLOWED, UNPROVEN),
        "match-with-difference" if why("plain HTTP request") => (ALLOWED, UNPROVEN),
        // Allowed only if inherited from the connection it resumes.
        "match-with-difference" if why("resumed") => (UNPROVEN, ALLOWED),
        "match-with-difference" if truth["handshake_in_file"] == "no" => (VIOLATION, UNPROVEN),
        "match-with-difference" => (VIOLATION, &[]),
        // Only keys or a CA show these.
        "report" if truth["app_protocol"].contains("random text") => (ANY, &[]),
        "report" if why("another CA") && !why("refused") => (ANY, &[]),
        "report" => (VIOLATION, UNPROVEN),
        "out-of-table" if why("inside one VM") => (ANY, &[]),
        "out-of-table" => (VIOLATION, &[]),
        "no-connection" => (&["violation", "unproven"], &[]),
        other => panic!("no such truth: {other}"),
    }
}

/// The deciding row and the others, as the truth names them: `L1` to `L11`, `C1` to `C5`.
fn named_rows(row: &Cells) -> BTreeSet<String> {
    let deciding = format!("{}:{}", row["table"], row["row"]);
    row["also_rows"]
        .split_whitespace()
        .chain([deciding.as_str()])
        .map(|name| name.replace("loggregator:", "L").replace("log-cache:", "C"))
        .collect()
}

/// The ports of every row, read from the tables' own files.
fn documented_ports() -> BTreeMap<String, Vec<&'static str>> {
    let tables = [
        ("L", include_str!("../policies/loggregator.csv")),
        ("C", include_str!("../policies/log-cache.csv")),
    ];
    let mut ports = BTreeMap::new();
    for (letter, text) in tables {
        for (at, line) in text.lines().skip(1).enumerate() {
            let port = line.split(',').nth(2).expect("the third column");
            ports.insert(format!("{letter}{}", at + 1), port.split(" and ").collect());
        }
    }
    ports
}

/// The `security` column as one of the labels.
fn answer(security: &str, label: &Cells) -> &'static str {
    let answer = match security.split(" + ").next().unwrap_or_default() {
        said if said.contains("unseen") => "undetermined",
        "TLS handshake refused" => "failed",
        "TLS (empty client certificate)" => "empty",
        said if said.starts_with("mutual TLS") => "mutual",
        said if said.contains("resumed") => "resumed",
        said if said.starts_with("TLS") => "oneway",
        _ => "undetermined",
    };
    // An answer taken over from the connection that is resumed is as right.
    let case = label["case"].as_str();
    let required = case.starts_with("app_resume") && label["server_auth_mode"] == "require";
    let inherited = match case {
        _ if case.contains("mtls") || required => "mutual",
        _ if case.contains("empty") => "empty",
        _ => "oneway",
    };
    if label["true_label"] == "resumed" && answer == inherited { "resumed" } else { answer }
}

/// The report on one capture.
fn report(capture: &Path, arguments: &[&str]) -> Vec<Cells> {
    let capture = capture.display().to_string();
    let run = flowaudit([&["check", "-q", "-o", "-"], arguments, &[&capture]].concat());
    table(&run.stdout)
}

/// The lines of a file of truth, by the capture they belong to.
fn by_file(path: &Path) -> BTreeMap<String, Vec<Cells>> {
    let mut files: BTreeMap<String, Vec<Cells>> = BTreeMap::new();
    for line in table(&fs::read_to_string(path).expect("it reads")) {
        files.entry(line["file"].clone()).or_default().push(line);
    }
    files
}

/// A flow's transport and ends, the same from both sides.
fn key(cells: &Cells, columns: [&str; 4]) -> String {
    let [source_ip, source_port, destination_ip, destination_port] = columns.map(|column| &cells[column]);
    let mut ends = [format!("{source_ip} {source_port}"), format!("{destination_ip} {destination_port}")];
    ends.sort();
    format!("{} {} {}", cells["transport"].to_uppercase(), ends[0], ends[1])
}
