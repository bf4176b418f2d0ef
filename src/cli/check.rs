//! `flowaudit check`: captures in, report out.

use std::error::Error;

use super::args::CheckArguments;
use super::interrupt::Interrupt;
use super::progress::Progress;
use super::{Status, complain, output, plan};
use crate::audit::Audit;
use crate::capture::{self, Event, FileSource, Filter, Merged};

pub(super) fn run(arguments: &CheckArguments) -> Result<Status, Box<dyn Error>> {
    let audit = &arguments.audit;
    let plan = plan::plan(audit)?;
    let filter = audit.filter.as_deref().map(Filter::new).transpose()?;
    let mut status = Status::Clean;
    let mut captures: Vec<FileSource> = Vec::new();
    for path in &arguments.captures {
        match capture::open(path) {
            Ok(capture) => captures.push(capture),
            Err(error) => {
                complain(&error);
                status = Status::Error;
            }
        }
    }
    if captures.is_empty() {
        return Ok(Status::Error);
    }
    let names = captures.iter().map(|capture| capture.name().to_owned()).collect();
    let mut source = Merged::new(captures)?;
    let report = output::open(audit.output.as_deref())?;
    let mut progress = Progress::new(source.size());
    let mut audited = Audit::new(&plan, names, filter, report)?;
    // `tcpdump -w - | flowaudit check -` is ended with an interrupt that both receive.
    let interrupt = Interrupt::new()?;
    while !interrupt.is_set() {
        match source.next_event() {
            Ok(Some(Event::Packet(packet))) => audited.packet(&packet)?,
            Ok(Some(Event::Secrets(secrets))) => audited.secrets(&secrets),
            Ok(None) => break,
            Err(error) => {
                complain(&error);
                status = Status::Error;
            }
        }
        if audited.cannot_write() {
            break;
        }
        if progress.is_due() {
            progress.show(source.position());
        }
    }
    progress.clear();
    let outcome = audited.finish();
    Ok(output::finish(audit, &plan, &outcome, status))
}
