//! The report does not depend on the number of threads, nor on how an audit is driven: byte for byte.

mod common;
#[path = "common/frames.rs"]
mod frames;

use std::fs;
use std::num::NonZeroUsize;

use common::pcap::Connection;
use common::{Folder, INVENTORY, capture, flowaudit_at_home};
use flowaudit::audit::{Audit, Feed, Outcome, Plan, Pool, Take};
use flowaudit::capture::{FilterError, LinkType, Maps, Packet, Precision, Secrets, Timestamp};
use flowaudit::flow::Limits;
use flowaudit::protocol::tls::KeyStore;
use frames::{Frame, plan, read};

const THREADS: [usize; 4] = [1, 2, 3, 8];

/// Every capture that makes up the recorded foundation, merged by time.
#[test]
fn captures_merged_give_one_report() {
    let mut captures: Vec<String> = fs::read_dir(capture(""))
        .expect("captures/ is there")
        .map(|entry| format!("captures/{}", entry.expect("it lists").file_name().to_string_lossy()))
        .filter(|name| name.contains(".pcap"))
        .collect();
    captures.sort();
    let keys = ["--keylog", "captures/foundation.keys", "--keylog", "captures/grpc.keys"];
    let options: [&[&str]; 4] = [&[], &INVENTORY, &["--no-learn", "--filter", "tcp"], &keys];
    for options in options {
        let told = THREADS.map(|threads| check(threads, options, &captures));
        assert!(told[0].contains("--- report\nverdict,"), "{}", told[0]);
        for (threads, other) in THREADS.iter().zip(&told) {
            assert!(*other == told[0], "{threads} threads with {options:?} tell something else");
        }
    }
}

/// Everything `check` says and writes.
fn check(threads: usize, options: &[&str], captures: &[String]) -> String {
    let folder = Folder::new("threads");
    let report = folder.join("report.csv");
    let (report, threads) = (report.to_str().expect("UTF-8"), threads.to_string());
    let captures: Vec<&str> = captures.iter().map(String::as_str).collect();
    let run =
        flowaudit_at_home(&[&["check", "--threads", &threads, "-o", report], options, &captures].concat());
    let mut said = format!("{:?}\n{}", run.status, run.stderr);
    for (title, suffix) in [("report", ""), ("account", ".account.csv"), ("rows", ".rows.csv")] {
        let file = fs::read_to_string(format!("{report}{suffix}")).expect("it was written");
        said.push_str(&format!("--- {title}\n{file}"));
    }
    said
}

/// Flows that expire, end, are resumed and reuse ports, over many batches.
#[test]
fn many_batches_give_one_report() {
    let scene = Scene::new();
    assert!(scene.frames.len() > 20_000);
    let alone = scene.alone(Limits::default());
    assert!(alone.contains("inherited") && alone.contains("known_deviation"), "{}", &alone[..2000]);
    for threads in THREADS {
        assert!(scene.together(threads, Limits::default()) == alone, "{threads} threads tell something else");
    }
}

/// A live audit ends what is left on all cores.
#[test]
fn what_is_left_gives_one_report() {
    let frame = read(&capture("violation_plaintext_8082.pcap")).swap_remove(0);
    let ports = (0..20_000_u16).map(|n| [1024 + n, if n % 3 == 0 { 8082 } else { 9000 + n % 1000 }]);
    let frames = ports.map(|ports| frame.with_ports(ports)).collect();
    let scene = Scene { frames, secrets: Vec::new() };
    let plan = plan();
    let mut audit = Audit::new(&plan, names(), None, Some(Vec::new())).expect("memory writes");
    let mut feed = Feeding { scene: &scene, at: 0, secrets: 0, fails_at: usize::MAX };
    while feed.feed(&mut audit).expect("there is no filter") {}
    let (outcome, report, _) = audit.finish_with_report();
    let told = told(&plan, &outcome, &report.expect("there was one"));
    assert!(told == scene.alone(Limits::default()), "{}", &told[..2000]);
}

/// Each flow table has its share of what all may hold, whatever the number of threads.
#[test]
fn caps_refuse_the_same() {
    let scene = Scene::new();
    let limits = Limits { flows: 64, stream_bytes: 16 };
    let told = scene.together(1, limits);
    for cap in ["evicted_flows", "stream_cap"] {
        assert!(!told.contains(&format!("\n    {cap}: 0,")), "{cap}: {}", &told[..2000]);
    }
    for threads in THREADS {
        assert!(scene.together(threads, limits) == told, "{threads} threads tell something else");
    }
}

/// What packets earn is spent in their order, whatever the number of threads.
#[test]
fn header_floods_are_given_up_the_same() {
    let mut flood = Connection::open([10, 0, 4, 10], 8082);
    flood.say(0, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    let request = b"\0\0\x03\x01\x04\0\0\0\x01\x82\x84\x86";
    (0..12).for_each(|_| _ = flood.say(0, &request.repeat(110)));
    let mut frames = Vec::new();
    for round in 0..16 {
        // Connections at once, so that they take turns in spending.
        for bytes in &flood.packets {
            let frame = Frame { time: 0, link: LinkType::Ethernet, bytes: bytes.clone() };
            frames.extend((0..100).map(|number| {
                let client = 20_000 + round * 100 + number;
                let ports = frame.ports().expect("it is TCP");
                frame.with_ports(ports.map(|port| if port == 8082 { port } else { client }))
            }));
        }
    }
    let time = |(at, frame): (i64, Frame)| Frame { time: at * 1_000_000, ..frame };
    let scene = Scene { frames: (0..).zip(frames).map(time).collect(), secrets: Vec::new() };
    let told = scene.together(1, Limits::default());
    assert!(!told.contains("\n    header_work: 0,"), "{}", &told[..2000]);
    for threads in THREADS {
        assert!(scene.together(threads, Limits::default()) == told, "{threads} threads tell something else");
    }
}

/// Secrets open what comes after them and nothing before.
#[test]
fn secrets_open_the_same() {
    let mut scene = Scene::new();
    let middle = scene.frames.len() / 2;
    scene.secrets = (0..3)
        .map(|at| (middle + at * 4000, fs::read(capture("foundation.keys")).expect("it reads")))
        .collect();
    let alone = scene.alone(Limits::default());
    let opened = alone.matches("decrypted").count();
    assert!(opened > 0, "{}", &alone[..2000]);
    for threads in THREADS {
        let told = scene.together(threads, Limits::default());
        assert!(told == alone, "{threads} threads: {} of {opened}", told.matches("decrypted").count());
    }
    scene.secrets[0].0 = 0;
    assert!(scene.alone(Limits::default()).matches("decrypted").count() > opened);
}

/// An error on the way ends the audit and every thread.
#[test]
fn a_filter_that_fails_ends_all() {
    let scene = Scene::new();
    let plan = plan();
    let mut feed = Feeding { scene: &scene, at: 0, secrets: 0, fails_at: 10_000 };
    let pool = Pool::new(&plan, names(), None, Some(Vec::new()), number(3)).expect("memory writes");
    assert!(pool.run(&mut feed).is_err());
}

/// A thread that panics takes the others with it: nobody waits for it.
#[test]
#[should_panic(expected = "out of captures")]
fn a_panic_ends_all() {
    let scene = Scene::new();
    let plan = plan();
    let mut feed = Feeding { scene: &scene, at: 0, secrets: 0, fails_at: usize::MAX };
    let mut panicking = Panicking(&mut feed);
    let pool = Pool::new(&plan, names(), None, Some(Vec::new()), number(3)).expect("memory writes");
    drop(pool.run(&mut panicking));
}

/// Panics with the third batch.
struct Panicking<'a, 'b>(&'a mut Feeding<'b>);

impl Feed for Panicking<'_, '_> {
    fn feed(&mut self, taker: &mut impl Take) -> Result<bool, FilterError> {
        assert!(self.0.at < 8000, "out of captures");
        self.0.feed(taker)
    }

    fn maps(&self) -> Maps {
        self.0.maps()
    }
}

/// Frames of all captures, over and over with time going on, and what comes between them.
struct Scene {
    frames: Vec<Frame>,
    /// Before which frame, and what.
    secrets: Vec<(usize, Vec<u8>)>,
}

impl Scene {
    fn new() -> Scene {
        let mut once: Vec<Frame> = Vec::new();
        for entry in fs::read_dir(capture("")).expect("captures/ is there") {
            let path = entry.expect("it lists").path();
            if path.to_string_lossy().contains(".pcap") && !path.to_string_lossy().contains("cut_file") {
                once.extend(read(&path));
            }
        }
        once.sort_by_key(|frame| frame.time);
        let begin = once.iter().map(|frame| frame.time).min().unwrap_or(0);
        let end = once.iter().map(|frame| frame.time).max().unwrap_or(0);
        // Some of them expire before the next round comes, and some have a successor on their ports.
        let round = end - begin + 50 * Timestamp::SECOND;
        let rounds = 20_000 / once.len() as i64 + 1;
        let frames = (0..rounds).flat_map(|n| {
            once.iter().map(move |frame| Frame { time: frame.time + n * round, ..frame.clone() })
        });
        Scene { frames: frames.collect(), secrets: Vec::new() }
    }

    /// In one thread, packet by packet.
    fn alone(&self, limits: Limits) -> String {
        let plan = Plan { limits, keys: KeyStore::default().into(), ..plan() };
        let mut report = Vec::new();
        let mut audit = Audit::new(&plan, names(), None, Some(&mut report)).expect("memory writes");
        let mut feed = Feeding { scene: self, at: 0, secrets: 0, fails_at: usize::MAX };
        while feed.feed(&mut audit).expect("there is no filter") {}
        told(&plan, &audit.finish(), &report)
    }

    fn together(&self, threads: usize, limits: Limits) -> String {
        let plan = Plan { limits, keys: KeyStore::default().into(), ..plan() };
        let mut report = Vec::new();
        let pool =
            Pool::new(&plan, names(), None, Some(&mut report), number(threads)).expect("memory writes");
        let mut feed = Feeding { scene: self, at: 0, secrets: 0, fails_at: usize::MAX };
        told(&plan, &pool.run(&mut feed).expect("there is no filter"), &report)
    }
}

fn names() -> Vec<String> {
    vec!["memory".to_owned()]
}

fn number(threads: usize) -> NonZeroUsize {
    NonZeroUsize::new(threads).expect("at least one")
}

/// Everything an audit comes to, as text.
fn told(plan: &Plan, outcome: &Outcome, report: &[u8]) -> String {
    assert!(outcome.write_error.is_none());
    assert_eq!(outcome.account.unaccounted(), 0);
    let (mut summary, mut rows) = (Vec::new(), Vec::new());
    outcome
        .summary
        .write(&plan.policy, &outcome.rows, &outcome.account, &mut summary)
        .expect("memory writes");
    outcome.rows.write(&plan.policy, &mut rows).expect("memory writes");
    let text = [&summary, &rows, report].map(String::from_utf8_lossy).concat();
    format!("{:#?}\n{text}", outcome.account)
}

/// Hands a scene over.
struct Feeding<'a> {
    scene: &'a Scene,
    at: usize,
    secrets: usize,
    fails_at: usize,
}

impl Feed for Feeding<'_> {
    fn feed(&mut self, taker: &mut impl Take) -> Result<bool, FilterError> {
        while let Some(frame) = self.scene.frames.get(self.at) {
            if let Some((_, bytes)) = self.scene.secrets.get(self.secrets).filter(|next| next.0 <= self.at) {
                self.secrets += 1;
                taker.secrets(&Secrets { capture: 0, kind: Secrets::TLS_KEY_LOG, bytes });
            } else if self.at >= self.fails_at {
                let text = || "tested".to_owned();
                return Err(FilterError { expression: text(), link: text(), message: text() });
            } else {
                self.at += 1;
                taker.packet(&Packet {
                    capture: 0,
                    number: self.at as u64,
                    time: Timestamp(frame.time),
                    precision: Precision::Micro,
                    link: frame.link,
                    wire_length: u32::try_from(frame.bytes.len()).expect("small"),
                    bytes: &frame.bytes,
                })?;
            }
            if taker.has_enough() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn maps(&self) -> Maps {
        Vec::new()
    }
}
