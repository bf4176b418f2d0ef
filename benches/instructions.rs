//! How many instructions each stage of the audit takes, and whether that is more than was recorded.
//!
//! `cargo bench --bench instructions` runs the audit up to each of its stages under callgrind, on a capture
//! made from the repository's own, and takes differences: instructions do not wobble with the machine as
//! seconds do. What it finds is compared with `benches/instructions.csv`, and it fails if a stage takes
//! over 3 % more than recorded there, or over 3 % less, so that the next growth is seen too.
//! `FLOWAUDIT_BLESS=1` records anew, and belongs in the commit that changed the figures.
//!
//! Another compiler or other build settings give other figures: then nothing is compared, which is said.

mod common;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use common::Failure;
use flowaudit::measure::stages::{self, Job};
use flowaudit::measure::{Seen, Stage};

const RECORD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.csv");
/// Copies of the repository's captures: enough that tables fill and caches of answers are used.
const COPIES: u16 = 12;
/// How much a figure may differ from the recorded one, in parts of it. Hash tables are seeded anew in every
/// run, which moves a figure by less than a tenth of this.
const TOLERANCE: f64 = 0.03;
/// How a stage is asked for in a process of its own: this, its name, the capture.
const ONE: &str = "--one";

/// Instructions of one stage, as recorded.
#[derive(Clone, Debug, PartialEq)]
struct Figure {
    stage: String,
    /// `packet` or `flow`: what there is one of for so many instructions.
    per: String,
    instructions: f64,
    /// What built it: figures of different builds are not to be compared.
    built_by: String,
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = env::args().collect();
    if let [_, one, name, path] = &arguments[..]
        && one == ONE
    {
        return run_one(name, path);
    }
    let capture = common::made_capture("instructions.pcap", COPIES)?;
    let figures = figures(&capture, &built_by()?);
    fs::remove_file(&capture)?;
    let figures = figures?;
    if env::var_os("FLOWAUDIT_BLESS").is_some_and(|value| value == "1") {
        for figure in &figures {
            println!("{figure}");
        }
        return record(&figures);
    }
    compare(&figures, &recorded()?)
}

/// Runs every stage, and takes from its instructions those of the one before.
fn figures(capture: &str, built_by: &str) -> Result<Vec<Figure>, Failure> {
    let mut before = 0;
    let mut figures = Vec::new();
    for stage in Stage::ALL {
        let (through, seen) = count(stage, capture)?;
        let (per, of) = match stage {
            Stage::Read | Stage::Decode | Stage::Flow | Stage::Recognise => ("packet", seen.packets),
            Stage::Judge | Stage::Write => ("flow", seen.flows),
        };
        figures.push(Figure {
            stage: stage.name().to_owned(),
            per: per.to_owned(),
            instructions: (through as f64 - before as f64) / of.max(1) as f64,
            built_by: built_by.to_owned(),
        });
        before = through;
    }
    Ok(figures)
}

/// Instructions of the audit up to a stage.
fn count(through: Stage, capture: &str) -> Result<(u64, Seen), Failure> {
    let out = PathBuf::from(capture).with_extension(format!("{}.callgrind", through.name()));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--toggle-collect=*measured_part*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(env::current_exe()?)
        .args([ONE, through.name(), capture])
        .output()
        .map_err(|error| format!("valgrind: {error}; install it"))?;
    if !output.status.success() {
        return Err(format!("{}: {}", through.name(), String::from_utf8_lossy(&output.stderr)).into());
    }
    let instructions = total(&out)?;
    fs::remove_file(&out)?;
    let text = String::from_utf8(output.stdout)?;
    let numbers = text.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>()?;
    let [packets, bytes, flows] = numbers[..] else {
        return Err(format!("{} printed `{text}`", through.name()).into());
    };
    Ok((instructions, Seen { packets, bytes, flows }))
}

/// What callgrind counted, over all threads.
fn total(out: &Path) -> Result<u64, Failure> {
    let text = fs::read_to_string(out)?;
    let totals: Vec<u64> = text
        .lines()
        .filter_map(|line| line.strip_prefix("totals: "))
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    match totals.iter().sum() {
        0 => Err("callgrind counted nothing: it did not find the function to count in".into()),
        counted => Ok(counted),
    }
}

fn run_one(name: &str, capture: &str) -> Result<(), Failure> {
    let stage = Stage::ALL.into_iter().find(|stage| stage.name() == name).ok_or("no such stage")?;
    let (plan, captures) = (common::plan()?, [capture.to_owned()]);
    let job = Job { plan: &plan, captures: &captures, filter: None };
    let Seen { packets, bytes, flows } = measured_part(stage, &job)?;
    println!("{packets} {bytes} {flows}");
    Ok(())
}

/// Callgrind counts in here and nowhere else.
#[inline(never)]
fn measured_part(stage: Stage, job: &Job<'_>) -> Result<Seen, Failure> {
    stages::run(stage, job)
}

/// The compiler, its target, and what the environment says of how to build.
fn built_by() -> Result<String, Failure> {
    let output = Command::new(env::var_os("RUSTC").unwrap_or("rustc".into())).arg("-vV").output()?;
    let text = String::from_utf8(output.stdout)?;
    let line =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
    let settings =
        env::vars().filter(|(name, _)| name.starts_with("CARGO_PROFILE_") || name.ends_with("RUSTFLAGS"));
    let mut settings: Vec<String> = settings.map(|(name, value)| format!(" {name}={value}")).collect();
    settings.sort();
    Ok(format!("rustc {} {}{}", line("release: "), line("host: "), settings.concat()))
}

/// Prints both side by side; an error if they differ by too much.
fn compare(figures: &[Figure], recorded: &[Figure]) -> Result<(), Failure> {
    let (mut grown, mut shrunk, mut other_build) = (false, false, None);
    for figure in figures {
        let Some(known) = recorded.iter().find(|known| known.stage == figure.stage) else {
            println!("{figure}   not recorded");
            grown = true;
            continue;
        };
        let change = figure.instructions / known.instructions - 1.0;
        print!("{figure}   recorded {:>10.1} {:>+7.1} %", known.instructions, change * 100.0);
        if known.built_by != figure.built_by {
            other_build = Some((&known.built_by, &figure.built_by));
            println!();
        } else if change > TOLERANCE {
            grown = true;
            println!("   GROWN");
        } else if change < -TOLERANCE {
            shrunk = true;
            println!("   SHRUNK");
        } else {
            println!();
        }
    }
    const AGAIN: &str =
        "record it in the commit that did it: FLOWAUDIT_BLESS=1 cargo bench --bench instructions";
    if let Some((known, this)) = other_build {
        println!(
            "NOT COMPARED: recorded with {known}, built with {this}; with a new compiler to stay, {AGAIN}"
        );
    }
    match (grown, shrunk) {
        (true, _) => {
            Err(format!("a stage takes more instructions than recorded; mend it, or {AGAIN}").into())
        }
        (_, true) => Err(format!("a stage takes fewer instructions than recorded; {AGAIN}").into()),
        (false, false) => Ok(()),
    }
}

fn recorded() -> Result<Vec<Figure>, Failure> {
    let mut figures = Vec::new();
    for row in csv::Reader::from_path(RECORD)?.records() {
        let row = row?;
        let [stage, per, instructions, built_by] = [0, 1, 2, 3].map(|at| row.get(at).unwrap_or_default());
        figures.push(Figure {
            stage: stage.to_owned(),
            per: per.to_owned(),
            instructions: instructions.parse()?,
            built_by: built_by.to_owned(),
        });
    }
    Ok(figures)
}

fn record(figures: &[Figure]) -> Result<(), Failure> {
    let mut writer = csv::Writer::from_path(RECORD)?;
    writer.write_record(["stage", "per", "instructions", "built_by"])?;
    for Figure { stage, per, instructions, built_by } in figures {
        writer.write_record([stage, per, &format!("{instructions:.1}"), built_by])?;
    }
    Ok(writer.flush()?)
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<10}{:>10.1} instructions a {:<6}", self.stage, self.instructions, self.per)
    }
}
