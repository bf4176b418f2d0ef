//! `flowaudit live`: interfaces in, reports out, for as long as it is let.

mod arguments;
mod session;

use std::error::Error;

use super::interrupt::Interrupt;
use super::{Status, output, plan};
use crate::capture::Interfaces;

pub(super) use arguments::LiveArguments;

pub(super) fn run(arguments: &LiveArguments) -> Result<Status, Box<dyn Error>> {
    let plan = plan::plan(&arguments.audit)?;
    let interfaces = Interfaces::open(&arguments.interfaces, &arguments.options())?;
    let report = output::open(arguments.audit.output.as_deref())?;
    let interrupt = Interrupt::new()?;
    session::run(arguments, &plan, interfaces, report, &interrupt)
}
