//! `flowaudit check`: captures in, report out.

use std::error::Error;
use std::num::NonZeroUsize;
use std::thread;

use super::args::CheckArguments;
use super::input::Input;
use super::{Status, output, plan, whole};
use crate::audit::Pool;
use crate::capture::Filter;

pub(super) fn run(arguments: &CheckArguments) -> Result<Status, Box<dyn Error>> {
    let audit = &arguments.audit;
    let plan = plan::plan(audit)?;
    whole::is_none_of(audit.output.as_deref(), arguments.captures.iter().chain(audit.judging.files()))?;
    let filter = audit.judging.filter.as_deref().map(Filter::new).transpose()?;
    let Some(mut input) = Input::open(&arguments.captures)? else { return Ok(Status::Error) };
    let report = output::open(audit.output.as_deref())?;
    let threads = arguments.threads.map_or_else(thread::available_parallelism, Ok);
    let threads = threads.unwrap_or(NonZeroUsize::MIN);
    let pool = Pool::new(&plan, std::mem::take(&mut input.names), filter, report, threads)?;
    let outcome = pool.run(&mut input)?;
    Ok(output::finish(audit, &plan, &outcome, input.finish()))
}
