//! `flowaudit check`: captures in, report out.

use std::error::Error;
use std::num::NonZeroUsize;
use std::thread;

use super::args::CheckArguments;
use super::input::Input;
use super::{Status, output, plan, whole};
use crate::audit::{Audit, Feed, Pool};
use crate::capture::Filter;
use crate::report::PacketFolder;

pub(super) fn run(arguments: &CheckArguments) -> Result<Status, Box<dyn Error>> {
    let audit = &arguments.audit;
    let plan = plan::plan(audit)?;
    whole::is_none_of(audit.output.as_deref(), arguments.captures.iter().chain(audit.judging.files()))?;
    let filter = audit.judging.filter.as_deref().map(Filter::new).transpose()?;
    let Some(mut input) = Input::open(&arguments.captures)? else { return Ok(Status::Error) };
    let packets = audit.evidence.as_deref().map(|folder| {
        PacketFolder::make(folder)?;
        PacketFolder::open(folder)
    });
    let packets = packets.transpose()?;
    let report = output::open(audit.output.as_deref())?;
    let names = std::mem::take(&mut input.names);
    let outcome = match packets {
        // Packets are copied as they come, in the order of the audit.
        Some(packets) => {
            let mut audited = Audit::new(&plan, names, filter, report)?;
            audited.keep_packets(packets);
            input.feed(&mut audited)?;
            audited.finish()
        }
        None => {
            let threads = arguments.threads.map_or_else(thread::available_parallelism, Ok);
            let threads = threads.unwrap_or(NonZeroUsize::MIN);
            Pool::new(&plan, names, filter, report, threads)?.run(&mut input)?
        }
    };
    Ok(output::finish(audit, &plan, &outcome, input.finish()))
}
