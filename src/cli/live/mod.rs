//! `flowaudit live`: interfaces in, reports out, for as long as it is let.

mod arguments;
mod files;
mod metrics;
mod privileges;
mod session;
mod standing;
mod view;
mod watch;

use std::error::Error;

use super::interrupt::Interrupt;
use super::processes::Processes;
use super::{Status, complain, note, output, plan, whole};
use crate::audit::Plan;
use crate::capture::Interfaces;
use metrics::Metrics;
use session::{Opened, Signals};
use standing::Memory;
use watch::Watch;

pub(super) use arguments::LiveArguments;

pub(super) fn run(arguments: &LiveArguments) -> Result<Status, Box<dyn Error>> {
    if arguments.privileges.print_unit {
        output::print(privileges::UNIT.as_bytes())?;
        return Ok(Status::Clean);
    }
    arguments.once()?;
    whole::is_none_of(arguments.audit.output.as_deref(), arguments.audit.judging.files())?;
    let watch = arguments.records.file().map(Watch::new);
    let mut plan = first_plan(arguments, watch.as_ref())?;
    let interfaces = Interfaces::open(&arguments.interfaces, &arguments.options(), session::wall_clock)?;
    let reports = &arguments.reports;
    let mut metrics = Metrics::open(reports.metrics, reports.metrics_file.as_deref())?;
    let memory = Memory::open();
    arguments.make_evidence_folder()?;
    let processes = match arguments.privileges.no_processes {
        true => None,
        false => Some(Processes::start(&arguments.privileges.jobs)?),
    };
    // From here on nothing can be opened that was not foreseen, and no thread was started before.
    let confined = arguments.confinement()?.enter()?;
    note(&confined.to_string());
    plan.owners = processes.map(|processes| processes.follow(session::wall_clock)).transpose()?;
    metrics.serve()?;
    if let Some(address) = metrics.address() {
        note(&format!("metrics at http://{address}/metrics"));
    }
    let (interrupt, hangup) = Interrupt::with_hangup()?;
    let interfaces = interfaces.start()?;
    let opened = Opened { plan, interfaces, metrics, memory, watch };
    session::run(arguments, opened, &Signals { interrupt, hangup })
}

/// The plan to begin with. The inventory of BOSH DNS was not asked for by name: if it cannot be read now, it
/// is as if it were not there yet.
fn first_plan(arguments: &LiveArguments, watch: Option<&Watch>) -> Result<Plan, Box<dyn Error>> {
    match plan::plan(&arguments.audit_with(watch)) {
        Err(error) if watch.is_some_and(|watch| watch.present().is_some()) => {
            let plan = plan::plan(&arguments.audit)?;
            complain(&format!("{error}; going on without it until it changes"));
            Ok(plan)
        }
        plan => plan,
    }
}
