//! `flowaudit live`: interfaces in, reports out, for as long as it is let.

mod arguments;
mod privileges;
mod session;

use std::error::Error;
use std::io::{self, Write};

use super::interrupt::Interrupt;
use super::processes::Processes;
use super::{Status, note, output, plan};
use crate::capture::Interfaces;

pub(super) use arguments::LiveArguments;

pub(super) fn run(arguments: &LiveArguments) -> Result<Status, Box<dyn Error>> {
    if arguments.privileges.print_unit {
        io::stdout().write_all(privileges::UNIT.as_bytes())?;
        return Ok(Status::Clean);
    }
    let mut plan = plan::plan(&arguments.audit)?;
    let interfaces = Interfaces::open(&arguments.interfaces, &arguments.options())?;
    let processes = match arguments.privileges.no_processes {
        true => None,
        false => Some(Processes::start(&arguments.privileges.jobs)?),
    };
    // From here on nothing can be opened that was not foreseen, and no thread was started before.
    let confined = arguments.confinement()?.enter()?;
    note(&confined.to_string());
    plan.owners = processes.map(|processes| processes.follow(session::wall_clock)).transpose()?;
    let report = output::open(arguments.audit.output.as_deref())?;
    let interrupt = Interrupt::new()?;
    session::run(arguments, &plan, interfaces, report, &interrupt)
}
