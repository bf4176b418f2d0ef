//! `flowaudit check`: captures in, report out.

use std::error::Error;

use super::args::CheckArguments;
use super::input::Input;
use super::{Status, output, plan};
use crate::audit::Audit;
use crate::capture::Filter;

pub(super) fn run(arguments: &CheckArguments) -> Result<Status, Box<dyn Error>> {
    let audit = &arguments.audit;
    let plan = plan::plan(audit)?;
    let filter = audit.judging.filter.as_deref().map(Filter::new).transpose()?;
    let Some(mut input) = Input::open(&arguments.captures)? else { return Ok(Status::Error) };
    let report = output::open(audit.output.as_deref())?;
    let mut audited = Audit::new(&plan, std::mem::take(&mut input.names), filter, report)?;
    let status = input.feed(&mut audited)?;
    let outcome = audited.finish();
    Ok(output::finish(audit, &plan, &outcome, status))
}
