//! Every capture of `captures/` held against the report kept for it under `tests/golden/`: one trace in,
//! everything said about it diffed against a baseline that somebody has read.
//!
//! After a change that is meant to change reports, write the baselines anew and read the difference as
//! if you had to sign the audit:
//!
//! ```text
//! FLOWAUDIT_BLESS=1 cargo test --test golden && git diff captures/MANIFEST.csv tests/golden
//! ```
//!
//! A baseline is one text: how the program was called, its exit status, standard error with the summary,
//! and the report, the account and the rows. The manifest's `expected` column is held against the
//! verdicts and reasons of the report, and is never written.

mod common;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use common::{Folder, INVENTORY, capture, flowaudit_at_home, root, table};

#[test]
fn every_capture_gives_the_report_kept_for_it() {
    let mut wrong = Vec::new();
    for row in captures() {
        let said = audit(&[&INVENTORY[..], &[&format!("captures/{}", row.file)]].concat());
        wrong.extend(compare(&row.file, &said));
    }
    for file in fs::read_dir(folder()).expect("baselines are there") {
        let name = file.expect("it lists").file_name().to_string_lossy().into_owned();
        let of = name.strip_suffix(".txt").unwrap_or(&name);
        if ![WHOLE, OPENED].contains(&of) && !captures().iter().any(|row| row.file == of) {
            wrong.push(format!("{name}: no such capture in the manifest"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Everything as one audit, with the authorities of the recorded foundation.
#[test]
fn all_captures_together_give_the_report_kept_for_them() {
    let said = audit_of_all(&["--ca", "captures/ca.pem"]);
    let wrong = compare(WHOLE, &said);
    assert!(wrong.is_none(), "{}", wrong.unwrap_or_default());
}

/// The same with the session keys, and only what is not a violation, since those are in the other.
#[test]
fn with_the_session_keys_they_give_the_report_kept_for_that() {
    let keys = ["--keylog", "captures/foundation.keys", "--keylog", "captures/grpc.keys"];
    let only = ["--only", "allowed", "--only", "unproven"];
    let said = audit_of_all(&[&["--ca", "captures/ca.pem"][..], &keys, &only].concat());
    let wrong = compare(OPENED, &said);
    assert!(wrong.is_none(), "{}", wrong.unwrap_or_default());
}

/// The cut file is left out: it is another file's flows once more.
fn audit_of_all(options: &[&str]) -> String {
    let files: Vec<String> = captures()
        .iter()
        .filter(|row| row.file != "hard_cut_file_L4.pcap")
        .map(|row| format!("captures/{}", row.file))
        .collect();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    audit(&[&INVENTORY[..], options, &files].concat())
}

#[test]
fn the_manifest_expects_what_is_reported() {
    let mut wrong = Vec::new();
    for row in captures() {
        let file = format!("captures/{}", row.file);
        let run = flowaudit_at_home(&[&["check", "-q", "-o", "-"], &INVENTORY[..], &[&file]].concat());
        let told: BTreeSet<String> = table(&run.stdout)
            .iter()
            .map(|flow| format!("{} {}", flow["verdict"], flow["reason"]).trim_end().to_owned())
            .collect();
        let expected: BTreeSet<String> = row.expected.split("; ").map(str::to_owned).collect();
        if told != expected {
            wrong.push(format!("{}: expected {expected:?}, reported {told:?}", row.file));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The baseline of all captures together.
const WHOLE: &str = "all";
/// The baseline of all captures together with their session keys.
const OPENED: &str = "all_with_keys";

/// A capture in the manifest.
struct Row {
    file: String,
    expected: String,
}

fn captures() -> Vec<Row> {
    let manifest = fs::read_to_string(capture("MANIFEST.csv")).expect("it reads");
    let rows = table(&manifest).into_iter();
    let rows = rows.map(|row| Row { file: row["file"].clone(), expected: row["expected"].clone() });
    rows.filter(|row| row.file.contains(".pcap")).collect()
}

fn folder() -> PathBuf {
    root().join("tests/golden")
}

/// Everything one audit says.
fn audit(arguments: &[&str]) -> String {
    let folder = Folder::new("golden");
    let report = folder.join("report.csv");
    let output = report.to_str().expect("UTF-8");
    let run = flowaudit_at_home(&[&["check", "-o", output], arguments].concat());
    let mut said = format!("flowaudit check {}\n", arguments.join(" "));
    let status = run.status.expect("it ends by itself");
    writeln!(said, "exit status {status}\n\n--- standard error\n{}", run.stderr).expect("memory writes");
    for (title, suffix) in [("report", ""), ("account", ".account.csv"), ("rows", ".rows.csv")] {
        let file = fs::read_to_string(format!("{output}{suffix}")).expect("it was written");
        writeln!(said, "--- {title}\n{file}").expect("memory writes");
    }
    assert_eq!(run.stdout, "");
    said
}

/// Compares with the baseline, or writes it anew; what differs first.
fn compare(name: &str, said: &str) -> Option<String> {
    let path = folder().join(format!("{name}.txt"));
    if std::env::var_os("FLOWAUDIT_BLESS").is_some_and(|value| value == "1") {
        fs::write(&path, said).expect("the baseline writes");
        return None;
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    if kept == said {
        return None;
    }
    let lines = kept.lines().count().max(said.lines().count());
    let line = (0..lines).find(|at| kept.lines().nth(*at) != said.lines().nth(*at)).unwrap_or(lines);
    let show = |text: &str| text.lines().nth(line).unwrap_or("(end)").to_owned();
    Some(format!(
        "{name}: line {} of the baseline differs (FLOWAUDIT_BLESS=1 writes it anew)\n- {}\n+ {}",
        line + 1,
        show(&kept),
        show(said)
    ))
}
