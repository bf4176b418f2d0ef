//! `flowaudit live` on a wire between two network namespaces: what it says of traffic as it passes is
//! what `check` says of a capture of the same traffic.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use common::site::{DOPPLER, Site};
use common::{Background, Need, flowaudit, have, table};

/// By then a live audit has looked at a flow that is open.
const LOOKED: Duration = Duration::from_millis(1500);
/// Two that look on at one packet stamp it one after the other, between which a busy machine may do other things.
const STAMPS_APART: jiff::SignedDuration = jiff::SignedDuration::from_millis(500);

#[test]
fn an_interrupted_audit_says_what_a_capture_of_the_same_traffic_says() {
    if !have(&[Need::Namespaces, Need::Program("tcpdump"), Need::Program("ethtool"), Need::Program("bash")]) {
        return;
    }
    let site = Site::new("live");
    let (mut tcpdump, capture) = record(&site);
    let (mut live, live_report) = site.live(&["--interim", "1"]);
    let _server = site.server("1.2");
    site.call("1.2");
    site.plain_http();
    site.settle();
    // The violation is told as of an open flow, too.
    sleep(LOOKED);
    assert_eq!(live.interrupt(), Some(1), "a violation was seen");
    assert_eq!(tcpdump.interrupt(), Some(0));

    let report = check(&site, &capture);
    let read = |report: &Path, suffix: &str| {
        table(&fs::read_to_string(format!("{}{suffix}", report.display())).expect("it was written"))
    };
    let (mut said, mut wanted) = (read(&live_report, ""), read(&report, ""));
    // How many rows an open flow gets is a matter of when one looks.
    said.retain(|row| row["row_state"] == "final");
    assert_eq!(said.len(), wanted.len());
    for rows in [&mut said, &mut wanted] {
        rows.sort_by(|one, other| one["start"].cmp(&other["start"]));
    }
    for row in said.iter_mut().chain(&mut wanted) {
        // A live packet has no file, and comes after others than in the file.
        for column in ["capture", "first_packet"] {
            assert_ne!(row.remove(column).as_deref(), Some(""), "{column}");
        }
    }
    // The kernel stamps a packet for each of the two that look on.
    for (live, file) in said.iter_mut().zip(&mut wanted) {
        for column in ["start", "end"] {
            let [live, file] = [&mut *live, &mut *file].map(|row| time(&row.remove(column).expect("one")));
            let apart = live.duration_since(file).abs();
            assert!(apart < STAMPS_APART, "{column}: {live} {file}");
        }
    }
    assert_eq!(said, wanted);
    assert_eq!(read(&live_report, ".rows.csv"), read(&report, ".rows.csv"));

    let told: Vec<_> =
        said.iter().map(|row| [row["verdict"].as_str(), &row["security"], &row["table"]]).collect();
    assert_eq!(told, [["allowed", "mutual TLS", "loggregator"], ["violation", "none", "loggregator"]]);
    assert!(said[0]["documented"].ends_with("gRPC over HTTP/2 | Mutual TLS"), "{}", said[0]["documented"]);
    assert_eq!((said[0]["row"].as_str(), said[0]["security_finding"].as_str()), ("2", "confirmed"));
    assert_eq!(said[1]["application"], "HTTP/1.1");
    let account = read(&live_report, ".account.csv");
    let dropped = account.iter().filter(|row| row["scope"] == "drops").map(|row| row["count"].as_str());
    assert_eq!(dropped.collect::<Vec<_>>(), ["0", "0"]);
}

#[test]
fn an_audit_on_several_threads_says_what_one_on_one_says() {
    if !have(&[Need::Namespaces, Need::Program("tcpdump"), Need::Program("ethtool"), Need::Program("bash")]) {
        return;
    }
    let site = Site::new("rings");
    let (mut tcpdump, capture) = record(&site);
    let (mut one, report_of_one) = site.live(&[]);
    let (mut several, report_of_several) = site.live_to("several.csv", &["--threads", "3"]);
    let _server = site.server("1.2");
    site.call("1.2");
    site.plain_http();
    // The kernel spreads fragments by their addresses, and whole datagrams of the same flow by ports too.
    site.script(&format!(
        "for port in {{2001..2040}}; do
           exec 3<>/dev/udp/{DOPPLER}/$port
           echo whole >&3; head -c 4000 /dev/zero >&3; echo again >&3
         done"
    ));
    site.settle();
    assert_eq!([one.interrupt(), several.interrupt()], [Some(1); 2], "a violation was seen");
    assert_eq!(tcpdump.interrupt(), Some(0));
    let checked = check(&site, &capture);
    let read = |report: &Path, suffix: &str| {
        table(&fs::read_to_string(format!("{}{suffix}", report.display())).expect("it was written"))
    };
    let [one, several, checked] = [&report_of_one, &report_of_several, &checked].map(|report| {
        let mut rows = read(report, "");
        // When a violation is told before its flow ends is a matter of when one looks.
        rows.retain(|row| row["row_state"] == "final");
        rows.sort_by(|one, other| one["community_id"].cmp(&other["community_id"]));
        for row in &mut rows {
            ["capture", "first_packet", "start", "end"].iter().for_each(|column| drop(row.remove(*column)));
        }
        rows
    });
    assert!(several.len() >= 42, "{}", several.len());
    assert_eq!(several, one);
    assert_eq!(several, checked);
    let account = |report: &Path| read(report, ".account.csv");
    assert_eq!(account(&report_of_several), account(&report_of_one));
}

#[test]
fn an_audit_of_a_duration_ends_by_itself() {
    if !have(&[Need::Namespaces, Need::Program("ethtool")]) {
        return;
    }
    let site = Site::new("span");
    let (mut live, report) = site.live(&["--duration", "6", "--filter", "tcp port 8082"]);
    let _server = site.server("1.3");
    site.call("1.3");
    assert_eq!(live.wait(), Some(0), "nothing but a documented communication");
    let rows = table(&fs::read_to_string(report).expect("it was written"));
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0]["verdict"].as_str(), rows[0]["capture"].as_str()), ("allowed", "eth0"));
    // TLS 1.3 hides both: what is left is one reasonable reading.
    let told = ["table", "row", "application_finding", "security", "security_finding"];
    assert_eq!(
        told.map(|column| rows[0][column].as_str()),
        ["loggregator", "2", "inferred", "mutual TLS", "inferred"]
    );
    assert!(rows[0]["documented"].ends_with("gRPC over HTTP/2 | Mutual TLS"), "{}", rows[0]["documented"]);
}

#[test]
fn an_interface_that_is_not_there_is_an_error() {
    if !have(&[Need::Namespaces]) {
        return;
    }
    let run = flowaudit(["live", "-i", "nosuchinterface0", "--duration", "1"]);
    assert_eq!((run.status, run.stdout.as_str()), (Some(2), ""));
    assert!(run.stderr.starts_with("flowaudit: nosuchinterface0: "), "{}", run.stderr);
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
}

/// Records the wire of a site into a file.
fn record(site: &Site) -> (Background, PathBuf) {
    let capture = site.folder.join("same.pcap");
    let mut tcpdump = site.doppler.command("tcpdump");
    tcpdump.args(["--immediate-mode", "-i", "eth0", "-s", "0", "-U", "-Z", "root", "-w"]).arg(&capture);
    let mut tcpdump = Background::start(tcpdump);
    tcpdump.wait_for("listening on");
    (tcpdump, capture)
}

/// The report on such a file.
fn check(site: &Site, capture: &Path) -> PathBuf {
    let report = site.folder.join("check.csv");
    let checked = flowaudit([
        "check",
        "-o",
        text(&report),
        "--inventory",
        text(&site.folder.join("hosts.csv")),
        text(capture),
    ]);
    assert_eq!(checked.status, Some(1), "{}", checked.stderr);
    report
}

fn time(text: &str) -> jiff::Timestamp {
    text.parse().expect("RFC 3339")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
