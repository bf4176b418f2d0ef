//! Hostile input: what `tests/fuzz` hands to a fuzzer, run over its seeds, over what fuzzing found, and over
//! mutations of both.
//!
//! Seeds are made from `captures/` and from the few messages in `seeds.rs`, and kept so that a fuzzer starts from
//! them. After a change of either, write them anew:
//!
//! ```text
//! FLOWAUDIT_BLESS=1 cargo test --test hostile seeds
//! ```
//!
//! What a fuzzer finds is kept under `tests/fuzz/findings/TARGET/`, by a name that says what it is.

#[path = "../common/mod.rs"]
mod common;
#[path = "../fuzz/src/lib.rs"]
mod fuzz;
mod mutation;
mod seeds;

use std::collections::BTreeMap;
use std::fs;
use std::panic::catch_unwind;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use proptest::test_runner::{Config, TestError, TestRunner};

use common::root;
use fuzz::TARGETS;

/// The most that all seeds together may weigh, in bytes.
const SEEDS_CAP: usize = 300_000;
/// Mutations tried of each target in one run, unless the time runs out first.
const MUTATIONS: u32 = 2000;
/// How long mutations of one target are tried in one run.
const PATIENCE: Duration = Duration::from_millis(500);

/// Makes a test of every target, so that they run side by side and the one that fails is named.
macro_rules! targets {
    ($($target:ident)*) => {
        $(
            mod $target {
                #[test]
                fn seeds_and_findings() {
                    super::kept_inputs_hold(stringify!($target));
                }

                #[test]
                fn mutations() {
                    super::mutations_hold(stringify!($target));
                }
            }
        )*

        #[test]
        fn every_target_is_tested() {
            let tested = [$(stringify!($target)),*];
            assert_eq!(TARGETS.iter().map(|target| target.name).collect::<Vec<_>>(), tested);
        }
    };
}

targets! {
    captures packets flows probes tls http1 http2 nats dns mysql ssh ldap syslog proxy decryption certificates filters
    tables pages inventories reports sessions pipeline
}

#[test]
fn every_target_has_its_fuzzer() {
    for target in TARGETS {
        let fuzzer = folder("fuzz_targets").join(format!("{}.rs", target.name));
        let source =
            fs::read_to_string(&fuzzer).unwrap_or_else(|error| panic!("{}: {error}", fuzzer.display()));
        assert!(source.contains(&format!("run(\"{}\", bytes)", target.name)), "{}", fuzzer.display());
    }
    let fuzzers = fs::read_dir(folder("fuzz_targets")).expect("it lists").count();
    assert_eq!(fuzzers, TARGETS.len());
}

#[test]
fn the_memory_map_alone_is_unsafe() {
    let lifted = "allow(unsafe_code)";
    let mut folders = vec![root().join("src")];
    let (mut with_unsafe, mut sources) = (Vec::new(), 0);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("it lists") {
            let path = entry.expect("it lists").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let source = fs::read_to_string(&path).expect("it reads");
            sources += 1;
            let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
            if code.clone().any(|line| line.contains("unsafe {") || line.contains(lifted)) {
                with_unsafe.push(path);
            }
        }
    }
    assert!(sources > 100, "{sources}");
    assert_eq!(with_unsafe, [root().join("src/capture/map.rs")]);
    let library = fs::read_to_string(root().join("src/lib.rs")).expect("it reads");
    let program = fs::read_to_string(root().join("src/main.rs")).expect("it reads");
    // Where the compiler refuses it, only what lifts that has to be looked for.
    assert!(library.contains("#![deny(unsafe_code)]") && program.contains("#![forbid(unsafe_code)]"));
}

#[test]
fn seeds_are_those_of_the_captures() {
    let made = seeds::all();
    for target in TARGETS {
        assert!(made.keys().any(|(of, _)| *of == target.name), "no seed for {}", target.name);
    }
    let weight = made.values().map(Vec::len).sum::<usize>();
    assert!(weight <= SEEDS_CAP, "{weight} bytes");
    let folder = folder("seeds");
    if std::env::var_os("FLOWAUDIT_BLESS").is_some() {
        for ((target, name), bytes) in &made {
            fs::create_dir_all(folder.join(target)).expect("it can be made");
            fs::write(folder.join(target).join(name), bytes).expect("it can be written");
        }
    }
    let mut wrong = Vec::new();
    for target in TARGETS {
        let kept = inputs("seeds", target.name);
        let of_target = made.iter().filter(|((of, _), _)| *of == target.name);
        let made: BTreeMap<String, Vec<u8>> =
            of_target.map(|((_, name), bytes)| (name.clone(), bytes.clone())).collect();
        for name in made.keys().chain(kept.keys()) {
            if made.get(name) != kept.get(name) {
                wrong.push(format!("{}/{name}", target.name));
            }
        }
    }
    wrong.dedup();
    assert!(wrong.is_empty(), "not as they are made, or made no more: {wrong:?}");
}

fn kept_inputs_hold(target: &str) {
    let mut failed = Vec::new();
    for kind in ["seeds", "findings"] {
        for (name, bytes) in inputs(kind, target) {
            let begun = Instant::now();
            if catch_unwind(|| fuzz::run(target, &bytes)).is_err() {
                failed.push(format!("tests/fuzz/{kind}/{target}/{name}"));
            }
            assert!(begun.elapsed() < common::PATIENCE, "{kind}/{target}/{name} takes for ever");
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

fn mutations_hold(target: &str) {
    let seeds: Vec<Vec<u8>> =
        ["seeds", "findings"].iter().flat_map(|kind| inputs(kind, target).into_values()).collect();
    let config = Config { cases: MUTATIONS, failure_persistence: None, ..Config::default() };
    let begun = Instant::now();
    let run = TestRunner::new(config).run(&mutation::inputs(seeds), |bytes| {
        if begun.elapsed() < PATIENCE {
            fuzz::run(target, &bytes);
        }
        Ok(())
    });
    match run {
        Ok(()) => {}
        Err(TestError::Fail(reason, bytes)) => {
            panic!("{reason}\nkeep this under tests/fuzz/findings/{target}/: b\"{}\"", bytes.escape_ascii())
        }
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}

/// Kept inputs of a target, by name.
fn inputs(kind: &str, target: &str) -> BTreeMap<String, Vec<u8>> {
    let Ok(listed) = fs::read_dir(folder(kind).join(target)) else { return BTreeMap::new() };
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.expect("it lists");
        (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).expect("it reads"))
    };
    listed.map(read).collect()
}

fn folder(name: &str) -> PathBuf {
    root().join("tests/fuzz").join(name)
}
