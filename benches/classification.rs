//! How fast whole captures are audited, as a ratio to what merely touching and counting packets costs.
//!
//! `cargo bench` measures three programs in turn on one capture, each in a process of its own:
//!
//! - **L1** maps the file and reads every record header and the first 64 bytes of each packet;
//! - **L2** is L1 plus a five-tuple and one look-up and update in a hash map per packet;
//! - **check** is the product: map, decode, flows, recognition, verdicts, and the CSV report to a sink.
//!
//! Seconds depend on the machine and on what else it does; ratios within one run hold. Nothing here
//! fails for being slow: instruction counts decide that (`instructions.rs`).
//!
//! The capture is made from the repository's own, written many times over with fresh ports and times
//! into the build's folder, and read with the repository's inventory. `FLOWAUDIT_BENCH_CAPTURE` names
//! another (plain pcap or pcapng), `FLOWAUDIT_BENCH_RUNS` how often each is measured.

mod common;

use std::num::NonZero;
use std::process::Command;
use std::{env, fs};

use common::Failure;
use flowaudit::measure::Seen;
use flowaudit::measure::limits::{l1, l2};
use flowaudit::measure::stages::{self, Job};
use rustix::time::{ClockId, clock_gettime};

/// How often each program is measured, unless told otherwise.
const RUNS: usize = 5;
/// How a program of [`PROGRAMS`] is asked for: this, its name, the capture.
const ONE: &str = "--one";

type Program = (&'static str, fn(&[String]) -> Result<Seen, Failure>);

const PROGRAMS: [Program; 3] =
    [("L1", |captures| Ok(l1(captures)?)), ("L2", |captures| Ok(l2(captures)?)), ("check", check)];

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = env::args().collect();
    if let [_, one, name, path] = &arguments[..]
        && one == ONE
    {
        return run_one(name, path);
    }
    let runs = match env::var("FLOWAUDIT_BENCH_RUNS") {
        Ok(runs) => runs.parse::<usize>()?.max(1),
        Err(_) => RUNS,
    };
    if let Ok(given) = env::var("FLOWAUDIT_BENCH_CAPTURE") {
        return compare(&given, runs);
    }
    let made = common::made_capture("classification.pcap", u16::MAX)?;
    let compared = compare(&made, runs);
    fs::remove_file(&made)?;
    compared
}

/// Measures every program in turn, `runs` times, and prints the table.
fn compare(path: &str, runs: usize) -> Result<(), Failure> {
    let mut seen = [Seen::default(); PROGRAMS.len()];
    let mut seconds: Vec<[f64; PROGRAMS.len()]> = Vec::new();
    // The first round only brings the file into the page cache.
    for round in 0..=runs {
        let mut took = [0.0; PROGRAMS.len()];
        for (at, (name, _)) in PROGRAMS.iter().enumerate() {
            (took[at], seen[at]) = measure(name, path)?;
        }
        if round > 0 {
            seconds.push(took);
        }
    }
    let size = fs::metadata(path)?.len();
    let [_, _, Seen { packets, bytes, flows }] = seen;
    println!("{path}: {} MiB, {packets} packets, {flows} flows; medians of {runs} runs", size >> 20);
    println!("{:<8}{:>10}{:>14}{:>10}{:>9}{:>9}", "", "CPU s", "packets/s", "Gbit/s", "/ L1", "/ L2");
    for (at, (name, _)) in PROGRAMS.iter().enumerate() {
        let of = |value: &dyn Fn(&[f64; 3]) -> f64| median(seconds.iter().map(value).collect());
        let took = of(&|took| took[at]);
        let (l1, l2) = (of(&|took| took[at] / took[0]), of(&|took| took[at] / took[1]));
        let (rate, gigabits) = (packets as f64 / took, bytes as f64 * 8e-9 / took);
        println!("{name:<8}{took:>10.3}{rate:>14.0}{gigabits:>10.1}{l1:>9.2}{l2:>9.2}");
    }
    if seen.iter().any(|other| other.packets != packets) {
        return Err("the programs did not read the same packets".into());
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// Runs one program in a fresh process; its CPU seconds, user and system.
fn measure(name: &str, path: &str) -> Result<(f64, Seen), Failure> {
    let output = Command::new(env::current_exe()?).args([ONE, name, path]).output()?;
    if !output.status.success() {
        return Err(format!("{name} failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let text = String::from_utf8(output.stdout)?;
    let numbers = text.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>()?;
    let [nanoseconds, packets, bytes, flows] = numbers[..] else {
        return Err(format!("{name} printed `{text}`").into());
    };
    Ok((nanoseconds as f64 / 1e9, Seen { packets, bytes, flows }))
}

fn run_one(name: &str, path: &str) -> Result<(), Failure> {
    let (_, program) = PROGRAMS.iter().find(|(known, _)| *known == name).ok_or("no such program")?;
    let Seen { packets, bytes, flows } = program(&[path.to_owned()])?;
    // The processor time of this whole process, all its threads.
    let took = clock_gettime(ClockId::ProcessCPUTime);
    println!("{} {packets} {bytes} {flows}", took.tv_sec * 1_000_000_000 + took.tv_nsec);
    Ok(())
}

/// The product, as `flowaudit check --threads 1` puts it together.
fn check(captures: &[String]) -> Result<Seen, Failure> {
    stages::check(NonZero::<usize>::MIN, &Job { plan: &common::plan()?, captures, filter: None })
}
