//! Where reports and summaries go, and what becomes of errors on the way.

use std::error::Error;
use std::fs::File;
use std::io::{self, BufWriter, Write};

use super::args::AuditArguments;
use super::{Status, complain};
use crate::audit::{Outcome, Plan};

/// Opens the report's destination, if one was asked for.
pub(super) fn open(output: Option<&str>) -> Result<Option<Box<dyn Write>>, Box<dyn Error>> {
    Ok(match output {
        None => None,
        Some("-") => Some(Box::new(io::stdout().lock())),
        Some(file) => Some(Box::new(create(file)?)),
    })
}

fn create(file: &str) -> Result<File, String> {
    File::create(file).map_err(|error| cannot_write(file, &error))
}

fn cannot_write(file: &str, error: &dyn std::fmt::Display) -> String {
    format!("{file}: cannot be written: {error}; name a file in a folder that exists and has room")
}

/// Writes what is left to write once an audit is over, and says how it ended.
pub(super) fn finish(
    arguments: &AuditArguments,
    plan: &Plan,
    outcome: &Outcome,
    mut status: Status,
) -> Status {
    let output = arguments.output.as_deref();
    if let Some(error) = &outcome.write_error {
        status = status.max(failed(output.unwrap_or("-"), error));
    }
    status = status.max(match beside(output, plan, outcome) {
        Ok(()) => Status::Clean,
        Err((file, error)) => failed(&file, &error),
    });
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

/// The account and the rows: beside the report, or on standard error when the report is on standard output.
pub(super) fn beside(
    output: Option<&str>,
    plan: &Plan,
    outcome: &Outcome,
) -> Result<(), (String, csv::Error)> {
    let Some(file) = output else { return Ok(()) };
    if file == "-" {
        let written = outcome
            .account
            .write(io::stderr().lock())
            .and_then(|()| outcome.rows.write(&plan.policy, io::stderr().lock()));
        return written.map_err(|error| ("standard error".to_owned(), error));
    }
    let account = format!("{file}.account.csv");
    let rows = format!("{file}.rows.csv");
    let written =
        File::create(&account).map_err(csv::Error::from).and_then(|file| outcome.account.write(file));
    written.map_err(|error| (account, error))?;
    let written =
        File::create(&rows).map_err(csv::Error::from).and_then(|file| outcome.rows.write(&plan.policy, file));
    written.map_err(|error| (rows, error))
}

/// A reader that has seen enough is no error; anything else is one.
pub(super) fn failed(file: &str, error: &csv::Error) -> Status {
    if let csv::ErrorKind::Io(error) = error.kind()
        && error.kind() == io::ErrorKind::BrokenPipe
    {
        return Status::Clean;
    }
    complain(&cannot_write(file, error));
    Status::Error
}
