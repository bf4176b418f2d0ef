//! The command line: what was typed (`args`) becomes a plan with everything opened (`plan`), which is run
//! (`check`, `explain`, `live`, `bench`) to an exit status.

mod args;
mod bench;
mod check;
mod confine;
mod explain;
mod input;
mod interrupt;
mod keylog;
mod live;
mod memory;
mod output;
mod plan;
mod policy;
mod processes;
mod progress;
mod whole;

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::report::clean_line;
use args::{Arguments, Command};

/// How a run ended; its number is the exit status, as grep and linters have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Status {
    /// Nothing to report.
    Clean = 0,
    /// At least one flow to report.
    Reported = 1,
    /// An error; it wins over what was reported.
    Error = 2,
}

/// Runs the program as it was called.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let status = if error.use_stderr() { Status::Error } else { Status::Clean };
            let text = error.render().to_string();
            // Help and version are no errors, and a closed pipe is nobody's fault.
            let _ = match text.lines().all(|line| clean_line(line) == line) {
                true => error.print(),
                // It quotes what was typed, or what a script made of a file's name.
                false => text.lines().try_for_each(|line| writeln!(io::stderr(), "{}", clean_line(line))),
            };
            return ExitCode::from(status as u8);
        }
    };
    let status = match arguments.command {
        Command::Check(arguments) => check::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Live(arguments) => live::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Policy(arguments) => policy::run(&arguments),
        Command::Processes { jobs } => processes::run(jobs),
    };
    ExitCode::from(status.unwrap_or_else(|error| {
        complain(&error);
        Status::Error
    }) as u8)
}

/// Writes one clear line to standard error.
fn complain(error: &dyn fmt::Display) {
    note(&error.to_string());
}

/// Writes one line of news to standard error.
fn note(text: &str) {
    // Where even standard error is closed there is nobody to tell.
    let _ = writeln!(io::stderr(), "flowaudit: {}", clean_line(text));
}
