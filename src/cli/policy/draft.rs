//! `policy draft`: captures in, a table for review out.

use std::error::Error;
use std::sync::Arc;

use super::{DraftArguments, Status, complain, text};
use crate::audit::{Audit, Feed, Plan, Sink};
use crate::capture::Filter;
use crate::cli::input::Input;
use crate::cli::keylog;
use crate::cli::whole::is_none_of;
use crate::inventory::Inventory;
use crate::policy::draft::{Counts, Draft, Drafted};
use crate::policy::{Options, Policy};
use crate::report::Record;

pub(super) fn run(arguments: &DraftArguments) -> Result<Status, Box<dyn Error>> {
    let read_files = [&arguments.captures, &arguments.inventory, &arguments.keylog];
    is_none_of(arguments.output.as_deref(), read_files.into_iter().flatten())?;
    let (inventory, names) = Inventory::read(&arguments.inventory)?;
    for conflict in inventory.conflicts() {
        complain(&format!("warning: {conflict}"));
    }
    // Without tables nothing is documented, so that no port hints at a direction.
    let policy = Policy::new(Vec::new(), inventory, names, Options::default());
    let plan = Plan { keys: Arc::new(keylog::read(&arguments.keylog)?), ..Plan::new(policy) };
    let mut drafting = Drafting::default();
    let status = read(arguments, &plan, &mut drafting)?;
    for (why, flows) in drafting.0.left_out() {
        super::super::note(&format!("{flows} flows are not in the draft: {}", why.words()));
    }
    let rows = drafting.0.finish(&plan.policy);
    if rows.is_empty() && status == Status::Error {
        return Ok(status);
    }
    if rows.is_empty() {
        return Err("nothing to draft: no communication whose direction is known came about".into());
    }
    text::write(arguments.output.as_deref(), &csv(&rows)?)?;
    Ok(status)
}

/// Collects judged flows.
#[derive(Default)]
struct Drafting(Draft);

impl Sink for Drafting {
    fn flow(&mut self, record: &Record<'_>) {
        let counted = &record.counted;
        let counts = Counts {
            state: counted.state,
            packets: counted.packets.iter().sum(),
            bytes: counted.bytes.iter().sum(),
        };
        self.0.add(&record.subject, record.policy, counts);
    }
}

fn read(arguments: &DraftArguments, plan: &Plan, drafting: &mut Drafting) -> Result<Status, Box<dyn Error>> {
    let filter = arguments.filter.as_deref().map(Filter::new).transpose()?;
    let Some(mut input) = Input::open(&arguments.captures)? else { return Ok(Status::Error) };
    let mut audit = Audit::<std::io::Sink>::new(plan, std::mem::take(&mut input.names), filter, None)?;
    audit.listen(drafting);
    input.feed(&mut audit)?;
    let outcome = audit.finish();
    let mut status = input.finish();
    for error in outcome.errors {
        complain(&error);
        status = Status::Error;
    }
    Ok(status)
}

fn csv(rows: &[Drafted]) -> Result<Vec<u8>, csv::Error> {
    let header: Vec<&str> = text::headers(&[]).collect();
    let rows =
        rows.iter().map(|row| row.cells.iter().chain([&row.note]).map(String::as_str).collect::<Vec<_>>());
    text::csv([header].into_iter().chain(rows))
}
