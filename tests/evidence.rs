//! `--evidence`: what is kept of reported flows, audited again, tells the same of them.

mod common;
#[path = "common/frames.rs"]
mod frames;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use common::pcap::{Pcap, datagram};
use common::site::Site;
use common::{Folder, INVENTORY, Need, capture, files_below, flowaudit, flowaudit_at_home, have, run, table};
use frames::read;

type Row = BTreeMap<String, String>;

/// The most packets kept of a direction.
const PACKETS: u64 = 32;

#[test]
fn what_is_kept_tells_what_the_report_tells() {
    let folder = Folder::new("evidence");
    let captures: Vec<String> = files_below(&capture(""))
        .iter()
        .map(|path| format!("captures/{}", path.file_name().expect("a file").to_string_lossy()))
        // One holds flows of another once more; pcapng's secrets stay where they are.
        .filter(|name| name.contains(".pcap") && !name.contains("cut_file") && !name.ends_with("ng"))
        .collect();
    let captures: Vec<&str> = captures.iter().map(String::as_str).collect();
    let [plain, first, again] = ["plain.csv", "first.csv", "again.csv"].map(|name| folder.join(name));
    let kept = folder.join("kept");
    // What the capture teaches would be missing from what is kept of it.
    let options = [&INVENTORY[..], &["--no-learn", "--strict", "--ca", "captures/ca.pem", "-o"]].concat();
    let check = |report: &Path, rest: &[&str]| {
        let run = flowaudit_at_home(&[&["check"], &options[..], &[text(report)], rest].concat());
        assert_eq!(run.status, Some(1), "{}", run.stderr);
    };
    check(&plain, &captures);
    check(&first, &[&["--evidence", text(&kept)], &captures[..]].concat());
    let read = |path: &Path| fs::read_to_string(path).expect("it was written");
    assert!(read(&plain) == read(&first), "the report is the same");

    let files = files_below(&kept);
    let account = read(Path::new(&format!("{}.account.csv", text(&first))));
    let counted = format!("evidence,files,{}\nevidence,not_written,0\n", files.len());
    assert!(account.contains(&counted), "{account}");
    check(&again, &files.iter().map(|file| text(file)).collect::<Vec<_>>());
    let name = |row: &Row| (row["community_id"].clone(), row["start"].clone());
    let told: HashMap<_, Row> = table(&read(&again)).into_iter().map(|row| (name(&row), row)).collect();
    let (mut compared, mut cut) = (0, 0);
    for row in table(&read(&first)) {
        let packets = |column: &str| row[column].parse::<u64>().expect("a number");
        // A connection that is not reported may be the one that this one resumed.
        if row["verdict"] == "allowed" || row["security_basis"] == "inherited" {
            continue;
        }
        let again = told.get(&name(&row)).unwrap_or_else(|| panic!("nothing was kept of {row:?}"));
        if ["packets_to_destination", "packets_to_source"].into_iter().any(|to| packets(to) > PACKETS) {
            cut += 1;
            continue;
        }
        compared += 1;
        for column in row.keys().filter(|column| !["capture", "first_packet"].contains(&column.as_str())) {
            assert_eq!(row[column], again[column], "{column} of {row:?}");
        }
    }
    assert!(compared > 100 && cut < compared / 10, "{compared} compared, {cut} cut");

    if have(&[Need::Program("capinfos")]) {
        let mut capinfos = Command::new("capinfos");
        capinfos.args(["-T", "-r", "-c"]).args(&files);
        let said = run(capinfos);
        assert_eq!((said.status, said.stdout.lines().count()), (Some(0), files.len()), "{}", said.stderr);
        for line in said.stdout.lines() {
            let (file, packets) = line.split_once('\t').expect("two columns");
            assert_eq!(packets.parse(), Ok(frames::read(Path::new(file)).len()), "{file}");
        }
    }
}

/// Link types, tags and both units of time, byte for byte.
#[test]
fn packets_are_kept_as_they_were_captured() {
    for name in ["match_L2_cooked.pcap", "match_L2_nanoseconds.pcap", "match_L2_vlan_tls13.pcap"] {
        let folder = Folder::new("kept");
        let kept = folder.join("kept");
        let original = capture(name);
        flowaudit(["check", "--quiet", "--strict", "--evidence", text(&kept), text(&original)]);
        let from = read(&original);
        let files = files_below(&kept);
        assert!(!files.is_empty(), "{name}: without an inventory its flows are unproven");
        for file in &files {
            let mut rest = from.iter();
            for frame in read(file) {
                let is_it = |other: &&frames::Frame| {
                    (other.time, other.link, &other.bytes) == (frame.time, frame.link, &frame.bytes)
                };
                assert!(
                    rest.any(|other| is_it(&other)),
                    "{name}: a packet at {} that is no original",
                    frame.time
                );
            }
        }
        // As many digits as the original has.
        let head = |path: &Path| fs::read(path).expect("it is there")[..4].to_vec();
        assert_eq!(head(&files[0]), head(&original), "{name}");
    }
}

#[test]
fn every_fragment_of_a_datagram_is_kept() {
    let folder = Folder::new("parts");
    let whole = datagram([10, 0, 4, 10], 9999, &[7; 64]);
    // More fragments, and eight times eight bytes further on (RFC 791 section 3.1).
    let part = |flags: u8, offset: u8, body: &[u8]| {
        let mut frame = whole[..34].to_vec();
        frame[17] = 20 + body.len() as u8;
        (frame[18], frame[19], frame[20], frame[21]) = (0, 9, flags, offset);
        frame.extend(body);
        frame
    };
    let (first, last) = (part(0x20, 0, &whole[34..98]), part(0, 8, &whole[98..]));
    let between = datagram([10, 0, 4, 10], 8888, b"another flow");
    let (file, kept) = (folder.join("parts.pcap"), folder.join("kept"));
    fs::write(&file, Pcap::of(&[first.clone(), between.clone(), last.clone()]).bytes()).expect("it writes");
    flowaudit(["check", "--quiet", "--evidence", text(&kept), text(&file)]);
    let mut frames: Vec<Vec<Vec<u8>>> = files_below(&kept)
        .iter()
        .map(|file| read(file).into_iter().map(|frame| frame.bytes).collect())
        .collect();
    frames.sort_by_key(Vec::len);
    assert_eq!(frames, [vec![between], vec![first, last]]);
}

#[test]
fn a_folder_that_cannot_be_written_to_is_one_clear_line() {
    let folder = Folder::new("nowhere");
    fs::write(folder.join("file"), "").expect("it writes");
    for nowhere in [folder.join("file"), folder.join("none/below"), "/proc".into()] {
        let capture = capture("violation_port_scan.pcap");
        let run = flowaudit(["check", "--evidence", text(&nowhere), text(&capture)]);
        assert_eq!((run.status, run.stdout.as_str()), (Some(2), ""), "{}", run.stderr);
        let told = run.stderr.strip_prefix(&format!("flowaudit: {}: cannot be written: ", nowhere.display()));
        assert!(told.is_some() && run.stderr.lines().count() == 1, "{}", run.stderr);
    }
}

#[test]
fn live_it_is_there_as_soon_as_the_violation_is_told_and_nobody_else_s() {
    if !have(&[Need::Namespaces, Need::Program("ethtool"), Need::Program("bash")]) {
        return;
    }
    let site = Site::new("kept");
    fs::set_permissions(site.folder.join(""), fs::Permissions::from_mode(0o777)).expect("it is ours");
    let kept = site.folder.join("kept");
    let (mut live, report) = site.live(&["--user", "nobody", "--evidence", text(&kept)]);
    let _server = site.server("1.3");
    site.call("1.3");
    site.plain_http();
    live.wait_for("violation: ");
    let told = files_below(&kept);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(live.interrupt(), Some(1));
    assert_eq!(files_below(&kept), told, "of the other flow nothing is kept");
    for (path, mode) in [(&kept, 0o700), (&told[0], 0o600)] {
        let about = fs::metadata(path).expect("it is there");
        assert_eq!((about.mode() & 0o777, about.uid()), (mode, 65_534), "{}", path.display());
    }
    let again = site.folder.join("again.csv");
    let hosts = site.folder.join("hosts.csv");
    flowaudit(["check", "--inventory", text(&hosts), "-o", text(&again), text(&told[0])]);
    let violation = |report: &Path| {
        let mut rows = table(&fs::read_to_string(report).expect("it was written"));
        rows.retain(|row| row["row_state"] == "final" && row["verdict"] == "violation");
        assert_eq!(rows.len(), 1);
        ["reason", "row", "community_id", "packets_to_source", "security", "evidence"]
            .map(|column| rows[0][column].clone())
    };
    assert_eq!(violation(&report), violation(&again));
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
