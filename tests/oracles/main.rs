//! Other people's captures, held against tshark: flows, packets and bytes of every five-tuple, TLS
//! handshakes, certificates, request heads and Community IDs.
//!
//! tshark takes its time: one capture in [`EVERY`] is compared, besides those with a kept explanation;
//! with `FLOWAUDIT_LONG=1` all are.

#[path = "../common/mod.rs"]
mod common;
mod conversations;
mod handshakes;
mod identifiers;
mod known;
mod ours;
mod requests;
mod tally;
mod tshark;
mod tuple;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use common::{Need, capture, files_below, have, shared};
use known::KNOWN;
use ours::Ours;
use tally::Tally;
use tshark::Tshark;

/// How many captures are compared at a time.
const AT_A_TIME: usize = 2;

/// Of how many captures one is compared.
const EVERY: usize = 16;

#[test]
fn tshark_agrees_on_public_captures() {
    if !have(&[Need::Program("tshark"), Need::Shared("corpus")]) {
        return;
    }
    let corpus = shared("corpus");
    let all = std::env::var_os("FLOWAUDIT_LONG").is_some_and(|value| value == "1");
    let kept: BTreeSet<PathBuf> = KNOWN.iter().map(|known| corpus.join(known.file)).collect();
    let mut paths = files_below(&corpus);
    for path in &kept {
        assert!(paths.contains(path), "{} is no more", path.display());
    }
    let mut at = 0;
    paths.retain(|path| {
        at += 1;
        all || at % EVERY == 0 || kept.contains(path)
    });
    agree(&paths);
}

#[test]
fn tshark_agrees_on_our_own_captures() {
    if !have(&[Need::Program("tshark")]) {
        return;
    }
    let mut paths = files_below(&capture(""));
    paths.retain(|path| path.extension().is_some_and(|it| it == "pcap" || it == "pcapng"));
    agree(&paths);
}

/// Compares each capture with tshark, a few at a time; every difference must be explained.
fn agree(paths: &[PathBuf]) {
    let next = AtomicUsize::new(0);
    let sum = Mutex::new(Tally::default());
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let tally = compare(path);
                    sum.lock().expect("no panic").add(tally);
                }
            });
        }
    });
    let tally = sum.into_inner().expect("no panic");
    println!("{} captures\n{tally}", paths.len());
    let differences: Vec<String> =
        tally.differences.iter().map(|(question, what)| format!("{question}: {what}")).collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn compare(path: &Path) -> Tally {
    let mut tally = Tally::default();
    let Some(ours) = Ours::of(path) else { return tally };
    let in_clear = ours.flows.iter().filter(|flow| flow.tls.is_none());
    let http2 = in_clear.filter(|flow| flow.http.as_ref().is_some_and(|http| http.two && !http.upgraded));
    let http2 = http2.map(|flow| flow.server_port).collect();
    let Some(theirs) = Tshark::of(path, &http2) else { return tally };
    conversations::compare(&ours, &theirs, &mut tally);
    handshakes::compare(&ours, &theirs, &mut tally);
    requests::compare(&ours, &theirs, &mut tally);
    identifiers::compare(&ours, &theirs, &mut tally);
    for known in KNOWN.iter().filter(|known| path.ends_with(Path::new("corpus").join(known.file))) {
        let found = tally.explain(known.questions, known.count, known.why);
        if found != known.count {
            let kept = format!("{found} differ, and {} are kept: {}", known.count, known.why);
            tally.differ(known.questions, kept);
        }
    }
    for (_, what) in &mut tally.differences {
        what.insert_str(0, &format!("{}: ", path.display()));
    }
    tally
}
