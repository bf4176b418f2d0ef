//! Where reports and summaries go, and what becomes of errors on the way.

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::args::AuditArguments;
use super::whole::{beside, cannot_write, cut, is_no_file};
use super::{Status, complain};
use crate::audit::{Outcome, Plan};

/// Opens the report's destination, if one was asked for.
pub(super) fn open(output: Option<&str>) -> Result<Option<Box<dyn Write>>, Box<dyn Error>> {
    Ok(match output {
        None => None,
        Some("-") => Some(Box::new(io::stdout().lock())),
        Some(file) => {
            let opened = File::create(file).map_err(|error| cannot_write(Path::new(file), &error))?;
            Some(Box::new(opened))
        }
    })
}

/// Writes what is left to write once an audit is over, and says how it ended.
pub(super) fn finish(
    arguments: &AuditArguments,
    plan: &Plan,
    outcome: &Outcome,
    mut status: Status,
) -> Status {
    let output = arguments.output.as_deref();
    let report = output.filter(|output| *output != "-").map(Path::new);
    if let Some(error) = &outcome.write_error {
        status = status.max(failed(output.unwrap_or("-"), error));
        let cut = report.filter(|report| !is_no_file(report)).map_or(Ok(()), |report| cut(report).map(drop));
        status = status.max(or_complain(cut));
    }
    status = status.max(or_complain(match (output, report) {
        (_, Some(report)) => beside(report, plan, &outcome.account, &outcome.rows),
        (Some(_), None) => on_standard_error(plan, outcome),
        (None, None) => Ok(()),
    }));
    tell(arguments, plan, outcome, status)
}

/// Says what came of an audit whose files are written, and how it ended.
pub(super) fn tell(arguments: &AuditArguments, plan: &Plan, outcome: &Outcome, mut status: Status) -> Status {
    for error in &outcome.errors {
        complain(error);
        status = Status::Error;
    }
    if let Some(error) = &outcome.packets_error {
        complain(error);
    }
    if outcome.account.evidence.is_some_and(|evidence| evidence.not_written > 0) {
        status = Status::Error;
    }
    for dispute in outcome.summary.disputes() {
        complain(&format!("warning: {dispute}"));
    }
    if !arguments.quiet {
        let written = match arguments.output {
            None => summary(plan, outcome, io::stdout().lock()),
            Some(_) => summary(plan, outcome, io::stderr().lock()),
        };
        if let Err(error) = written {
            status = status.max(failed("the summary", &csv::Error::from(error)));
        }
    }
    if outcome.account.unaccounted() != 0 {
        complain(&format!(
            "{} packets are not accounted for; this is a defect of flowaudit, please report it",
            outcome.account.unaccounted()
        ));
        status = Status::Error;
    }
    if outcome.summary.reportable() > 0 { status.max(Status::Reported) } else { status }
}

fn summary(plan: &Plan, outcome: &Outcome, output: impl Write) -> io::Result<()> {
    let mut output = BufWriter::new(output);
    outcome.summary.write(&plan.policy, &outcome.rows, &outcome.account, &mut output)?;
    output.flush()
}

/// The account and the rows, on standard error as the report is on standard output.
pub(super) fn on_standard_error(plan: &Plan, outcome: &Outcome) -> Result<(), String> {
    let (account, rows) = (&outcome.account, &outcome.rows);
    let written =
        account.write(io::stderr().lock()).and_then(|()| rows.write(&plan.policy, io::stderr().lock()));
    written.map_err(|error| cannot_write(Path::new("standard error"), &error))
}

/// Writes to standard output; a reader that has seen enough is no error.
pub(super) fn print(bytes: &[u8]) -> Result<(), Box<dyn Error>> {
    let mut output = io::stdout().lock();
    match output.write_all(bytes).and_then(|()| output.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| format!("standard output cannot be written: {error}").into()),
    }
}

/// Says what went wrong, if anything.
pub(super) fn or_complain<E: fmt::Display>(done: Result<(), E>) -> Status {
    match done {
        Ok(()) => Status::Clean,
        Err(error) => {
            complain(&error);
            Status::Error
        }
    }
}

/// A reader that has seen enough is no error; anything else is one.
pub(super) fn failed(file: &str, error: &csv::Error) -> Status {
    if let csv::ErrorKind::Io(error) = error.kind()
        && error.kind() == io::ErrorKind::BrokenPipe
    {
        return Status::Clean;
    }
    complain(&cannot_write(Path::new(file), error));
    Status::Error
}
