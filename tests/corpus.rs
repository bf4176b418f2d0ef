//! Other people's captures, damaged and fuzzed ones among them: every one goes through `check`, and its
//! account of packets adds up to what capinfos counts.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{Folder, Need, files_below, flowaudit, have, run, shared};

/// How many captures are checked at a time.
const AT_A_TIME: usize = 2;

/// How many captures capinfos is given at once.
const AT_ONCE: usize = 200;

const LINK: &str = "a link type capinfos does not know; its packets are counted, and not audited";
const REFUSED: &str = "neither program reads a packet of it";

/// Captures that capinfos cannot count, what flowaudit reads of them (nothing: it makes no report), and why.
const UNCOUNTED: &[(&str, Option<u64>, &str)] = &[
    ("libpcap/tests/filter/brcm-tag-stp.pcap", Some(4), LINK),
    ("libpcap/tests/filter/brcm-tag.pcap", Some(15), LINK),
    ("libpcap/tests/filter/dsa.pcap", Some(8), LINK),
    ("libpcap/tests/linktype-reserved-field-not-zero.pcap", Some(0), REFUSED),
    ("libpcap/tests/pcap-invalid-version-1.pcap", None, REFUSED),
    ("libpcap/tests/pcapng-invalid-vers-1.pcapng", Some(0), REFUSED),
    ("libpcap/tests/pcapng-invalid-vers-2.pcapng", Some(0), REFUSED),
    ("libpcap/tests/shb-option-too-long.pcapng", Some(0), REFUSED),
    ("tcpdump/tests/brcm-tag-prepend.pcap", Some(15), LINK),
    ("tcpdump/tests/brcm-tag.pcap", Some(23), LINK),
    ("tcpdump/tests/dsa-high-vid.pcap", Some(4), LINK),
    ("tcpdump/tests/dsa.pcap", Some(8), LINK),
    ("tcpdump/tests/edsa-high-vid.pcap", Some(4), LINK),
    ("tcpdump/tests/edsa.pcap", Some(10), LINK),
    ("tcpdump/tests/frf16_magic_ie-oobr.pcap", Some(1), LINK),
    ("tcpdump/tests/hoobr_juniper3.pcap", Some(1), LINK),
    ("tcpdump/tests/juniper_es_oobr.pcap", Some(1), LINK),
    ("tcpdump/tests/juniper_monitor_invalid_cookie_length.pcap", Some(1), LINK),
    ("tcpdump/tests/kday6.pcap", Some(1), LINK),
    ("tcpdump/tests/vtp_asan-2.pcap", Some(1), LINK),
    ("tcpdump/tests/vtp_asan-3.pcap", Some(1), LINK),
    ("tcpdump/tests/vtp_asan.pcap", Some(5), LINK),
];

/// What `check` made of one capture.
struct Checked {
    path: PathBuf,
    account: Option<BTreeMap<String, u64>>,
    took: Duration,
}

#[test]
fn every_capture_is_accounted_for() {
    if !have(&[Need::Program("capinfos"), Need::Shared("corpus")]) {
        return;
    }
    let corpus = shared("corpus");
    let paths = files_below(&corpus);
    let counts = capinfos(&paths);
    let mut explained: BTreeMap<PathBuf, Option<u64>> =
        UNCOUNTED.iter().map(|(file, read, _)| (corpus.join(file), *read)).collect();
    let mut sum: BTreeMap<String, u64> = BTreeMap::new();
    let mut wrong = Vec::new();
    let checked = check(&paths);
    for Checked { path, account, .. } in &checked {
        let read = account.as_ref().map(|account| account["read"]);
        let (whole, parts): (Vec<_>, Vec<_>) =
            account.iter().flatten().partition(|(name, _)| *name == "read");
        let add = |lines: &[(&String, &u64)]| lines.iter().map(|(_, count)| **count).sum::<u64>();
        if add(&whole) != add(&parts) {
            wrong.push(format!("{}: {account:?} does not add up", path.display()));
        }
        match (counts.get(path), explained.remove(path)) {
            (Some(count), None) if read == Some(*count) => {}
            (None, Some(expected)) if read == expected => {}
            (count, expected) => wrong.push(format!(
                "{}: read {read:?}, capinfos {count:?}, kept in this test {expected:?}",
                path.display()
            )),
        }
        for (name, count) in account.iter().flatten() {
            *sum.entry(name.clone()).or_default() += count;
        }
    }
    wrong.extend(explained.into_keys().map(|path| format!("{}: is no more", path.display())));
    let slowest = checked.iter().max_by_key(|checked| checked.took).expect("there are captures");
    println!("{} captures, {} of them counted by capinfos: {sum:?}", checked.len(), counts.len());
    println!("the slowest, {}, took {:?}", slowest.path.display(), slowest.took);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Runs `check` on each, a few at a time; it must end, and by itself.
fn check(paths: &[PathBuf]) -> Vec<Checked> {
    let folder = Folder::new("corpus");
    let next = AtomicUsize::new(0);
    let all = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(path) = paths.get(at) else { break };
                    let report = folder.join(&format!("{at}.csv"));
                    let began = Instant::now();
                    let run = flowaudit([
                        "check".as_ref(),
                        "-q".as_ref(),
                        "-o".as_ref(),
                        report.as_os_str(),
                        path.as_os_str(),
                    ]);
                    let took = began.elapsed();
                    // A panic has status 101, and a signal none.
                    assert!(
                        matches!(run.status, Some(0..=2)),
                        "{}: status {:?}\n{}",
                        path.display(),
                        run.status,
                        run.stderr
                    );
                    let account = account(&report);
                    assert!(run.status == Some(2) || account.is_some(), "{}: no report", path.display());
                    all.lock().expect("no panic").push(Checked { path: path.clone(), account, took });
                }
            });
        }
    });
    all.into_inner().expect("no panic")
}

/// The lines about packets of the account beside a report.
fn account(report: &Path) -> Option<BTreeMap<String, u64>> {
    let text = fs::read_to_string(format!("{}.account.csv", report.display())).ok()?;
    let lines = text.lines().filter_map(|line| line.strip_prefix("packets,")?.split_once(','));
    Some(lines.map(|(name, count)| (name.to_owned(), count.parse().expect("a number"))).collect())
}

/// What capinfos counts, of the captures it can read.
fn capinfos(paths: &[PathBuf]) -> BTreeMap<PathBuf, u64> {
    let mut counts = BTreeMap::new();
    for some in paths.chunks(AT_ONCE) {
        let mut command = Command::new("capinfos");
        command.args(["-c", "-M", "-T", "-r"]).args(some);
        for line in run(command).stdout.lines() {
            if let Some((path, count)) = line.rsplit_once('\t')
                && let Ok(count) = count.parse()
            {
                counts.insert(PathBuf::from(path), count);
            }
        }
    }
    counts
}
