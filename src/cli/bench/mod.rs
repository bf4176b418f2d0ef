//! `flowaudit bench`: how fast captures are audited here, held against what merely touching them costs.

mod figures;

use std::error::Error;
use std::fs;
use std::num::NonZero;
use std::thread::available_parallelism;

use clap::Args;

use super::args::JudgingArguments;
use super::output::print;
use super::{Status, complain, note, plan};
use crate::measure::meter::{self, Memory, Time};
use crate::measure::stages::{self, Job};
use crate::measure::{Seen, Stage, limits};
use figures::Figures;

#[derive(Debug, Args)]
pub(super) struct BenchArguments {
    /// pcap or pcapng files; those in gzip or zstd are measured without the loops they are held against.
    #[arg(required = true, value_name = "CAPTURE")]
    pub(super) captures: Vec<String>,

    /// Thread counts to measure, separated by commas. [default: 1 and the machine's]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(super) threads: Vec<NonZero<usize>>,

    /// How often everything is measured; medians are shown.
    #[arg(long, value_name = "N", default_value = "3")]
    pub(super) runs: NonZero<u16>,

    /// Write CSV.
    #[arg(long)]
    pub(super) csv: bool,

    #[command(flatten)]
    pub(super) judging: JudgingArguments,
}

/// Something that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    L1,
    L2,
    /// The audit up to a stage, on one thread.
    Through(Stage),
    /// `flowaudit check` with so many threads, its report to nowhere.
    Check(NonZero<usize>),
}

/// What it took.
#[derive(Debug)]
struct Measured {
    work: Work,
    seen: Seen,
    /// One a round.
    times: Vec<Time>,
    memory: Memory,
}

pub(super) fn run(arguments: &BenchArguments) -> Result<Status, Box<dyn Error>> {
    let captures = &arguments.captures;
    for capture in captures {
        let is_pipe = fs::metadata(capture).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir());
        if capture == "-" || is_pipe {
            return Err(format!(
                "{capture}: captures are read many times here, and a pipe only once; write it to a file"
            )
            .into());
        }
    }
    let plan = plan::judging(&arguments.judging)?;
    let mut status = Status::Clean;
    for error in stages::damage(captures)? {
        complain(&error);
        status = Status::Error;
    }
    let job = Job { plan: &plan, captures, filter: arguments.judging.filter.as_deref() };
    let mut measured = Vec::new();
    // First, while no earlier work has left anything to the allocator.
    for threads in threads(&arguments.threads) {
        let work = Work::Check(threads);
        let (seen, memory) = meter::memory(|| once(work, &job));
        measured.push(Measured { work, seen: seen?, times: Vec::new(), memory });
    }
    let limits = [Work::L1, Work::L2];
    let others = match limits::l1(captures) {
        Ok(_) => &limits[..],
        Err(error) => {
            note(&format!("L1 and L2 are left out: {error}"));
            &[]
        }
    };
    let others = others.iter().copied().chain(Stage::ALL.map(Work::Through));
    let unmeasured =
        |work| Measured { work, seen: Seen::default(), times: Vec::new(), memory: Memory::default() };
    measured.splice(..0, others.map(unmeasured));
    for _ in 0..arguments.runs.get() {
        for measured in &mut measured {
            let (seen, time) = meter::time(|| once(measured.work, &job));
            measured.seen = seen?;
            measured.times.push(time);
        }
    }
    let (figures, mut text) = (Figures::of(&measured), Vec::new());
    if arguments.csv {
        figures.write_csv(&mut text)?;
    } else {
        figures.write(arguments.runs.get(), &mut text)?;
    }
    print(&text)?;
    Ok(status)
}

/// Does it once.
fn once(work: Work, job: &Job<'_>) -> Result<Seen, Box<dyn Error>> {
    match work {
        Work::L1 => Ok(limits::l1(job.captures)?),
        Work::L2 => Ok(limits::l2(job.captures)?),
        Work::Through(stage) => stages::run(stage, job),
        Work::Check(threads) => stages::check(threads, job),
    }
}

/// The thread counts to measure, each once.
fn threads(asked: &[NonZero<usize>]) -> Vec<NonZero<usize>> {
    let one = NonZero::<usize>::MIN;
    let mut threads = asked.to_vec();
    if threads.is_empty() {
        threads = vec![one, available_parallelism().unwrap_or(one)];
    }
    threads.sort_unstable();
    threads.dedup();
    threads
}
