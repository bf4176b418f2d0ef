//! `flowaudit bench`: every figure is there, and what cannot be measured is said.

mod common;

use std::collections::BTreeMap;

use common::{capture, flowaudit};

/// Columns by name, for each line by its kind, name and threads.
fn figures(csv: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let header = reader.headers().expect("a header").clone();
    let line = |row: csv::StringRecord| {
        let name = format!("{} {} {}", &row[0], &row[1], &row[2]);
        (name, header.iter().zip(&row).map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    };
    reader.records().map(|row| line(row.expect("a row"))).collect()
}

#[test]
fn every_line_has_its_figures() {
    let capture = capture("match_L9_tls12.pcap");
    let capture = capture.to_str().expect("UTF-8");
    let run = flowaudit(["bench", capture, "--runs", "1", "--threads", "2,1,2", "--csv"]);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    let figures = figures(&run.stdout);
    let mut expected = vec!["limit L1 1", "limit L2 1", "check check 1", "check check 2"];
    expected.extend([
        "stage read 1",
        "stage decode 1",
        "stage flow 1",
        "stage recognise 1",
        "stage judge 1",
        "stage write 1",
    ]);
    expected.sort_unstable();
    assert_eq!(figures.keys().collect::<Vec<_>>(), expected);
    let packets = &figures["limit L1 1"]["packets"];
    assert!(packets.parse::<u64>().expect("a number") > 100);
    for (name, line) in &figures {
        assert_eq!(&line["packets"], packets, "{name}");
        let is_whole = !name.starts_with("stage");
        for column in ["wall_seconds", "packets_per_second", "gigabits_per_second", "ratio_l1", "ratio_l2"] {
            assert_eq!(
                line[column].parse::<f64>().is_ok_and(|value| value > 0.0),
                is_whole,
                "{name} {column}"
            );
        }
        assert!(line["cpu_seconds"].parse::<f64>().is_ok(), "{name}");
        let is_check = name.starts_with("check");
        assert_eq!(line["own_peak_bytes"].parse::<u64>().is_ok_and(|bytes| bytes > 0), is_check, "{name}");
    }
}

#[test]
fn what_is_compressed_is_measured_without_limits() {
    let capture = capture("match_L7_nats.pcap.gz");
    let run = flowaudit(["bench", capture.to_str().expect("UTF-8"), "--runs", "1", "--threads", "1"]);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("L1 and L2 are left out: ") && run.stderr.contains("decompress it first"));
    assert!(run.stdout.lines().any(|line| line.starts_with("check ")), "{}", run.stdout);
    assert!(
        !run.stdout.lines().any(|line| line.starts_with("L1 ") && !line.contains("touches")),
        "{}",
        run.stdout
    );
}

#[test]
fn damage_is_told_and_ends_a_capture() {
    let capture = capture("hard_cut_file_L4.pcap");
    let run =
        flowaudit(["bench", capture.to_str().expect("UTF-8"), "--runs", "1", "--threads", "1", "--csv"]);
    assert_eq!(run.status, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("fetch or record it again"), "{}", run.stderr);
    assert_eq!(figures(&run.stdout).len(), 9);
}

#[test]
fn what_cannot_be_measured() {
    for (capture, says) in [
        ("-", "write it to a file"),
        ("/dev/null", "write it to a file"),
        ("/nonexistent.pcap", "check the path"),
    ] {
        let run = flowaudit(["bench", capture]);
        assert_eq!(run.status, Some(2), "{capture}");
        assert!(run.stderr.contains(says), "{}", run.stderr);
    }
    assert_eq!(flowaudit(["bench", "x.pcap", "--threads", "0"]).status, Some(2));
}
