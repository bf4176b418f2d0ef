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

use std::fmt;
use std::process::ExitCode;

use clap::Parser;

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
            // Help and version are no errors, and a closed pipe is nobody's fault.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() {
                Status::Error as u8
            } else {
                Status::Clean as u8
            });
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
    use std::io::Write;
    // Where even standard error is closed there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "flowaudit: {}", crate::report::clean_line(&error.to_string()));
}

/// Writes one line of news to standard error.
fn note(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "flowaudit: {text}");
}
