//! `flowaudit explain`: captures in, the story of one flow out.

use std::error::Error;
use std::io;

use super::args::{ExplainArguments, FlowArgument};
use super::input::Input;
use super::output::print;
use super::{Status, complain, plan};
use crate::audit::{Audit, Feed, Sink};
use crate::capture::Filter;
use crate::flow::community_id::{DEFAULT_SEED, community_id};
use crate::policy::Subject;
use crate::report::{Record, story};

/// Flows that are told; further ones are counted.
const TOLD: usize = 10;

pub(super) fn run(arguments: &ExplainArguments) -> Result<Status, Box<dyn Error>> {
    let judging = &arguments.judging;
    let plan = plan::judging(judging)?;
    let filter = judging.filter.as_deref().map(Filter::new).transpose()?;
    let Some(mut input) = Input::open(&arguments.captures)? else { return Ok(Status::Error) };
    let mut telling = Telling::new(&arguments.flow, plan.strict);
    let mut audit = Audit::<io::Sink>::new(&plan, std::mem::take(&mut input.names), filter, None)?;
    audit.listen(&mut telling);
    input.feed(&mut audit)?;
    let outcome = audit.finish();
    let mut status = input.finish();
    for error in &outcome.errors {
        complain(error);
        status = Status::Error;
    }
    if telling.matched == 0 {
        complain(&format!(
            "none of the {} flows is {}; the columns of `flowaudit check -o` name them all",
            telling.seen,
            wanted(&arguments.flow)
        ));
        return Ok(Status::Error);
    }
    print(telling.text().as_bytes())?;
    Ok(if telling.reportable { status.max(Status::Reported) } else { status })
}

fn wanted(flow: &FlowArgument) -> String {
    match flow {
        FlowArgument::Id(id) => id.clone(),
        FlowArgument::End(end) => format!("from or to {} port {}", end.ip, end.port),
    }
}

/// Tells the flows that are meant, as they end.
struct Telling<'a> {
    flow: &'a FlowArgument,
    strict: bool,
    seen: u64,
    matched: u64,
    reportable: bool,
    told: Vec<String>,
}

impl Telling<'_> {
    fn new(flow: &FlowArgument, strict: bool) -> Telling<'_> {
        Telling { flow, strict, seen: 0, matched: 0, reportable: false, told: Vec::new() }
    }

    fn is_meant(&self, subject: &Subject<'_>) -> bool {
        let Subject { source, destination, transport, .. } = *subject;
        match self.flow {
            FlowArgument::End(end) => *end == source || *end == destination,
            FlowArgument::Id(id) => *id == community_id(source, destination, transport, DEFAULT_SEED),
        }
    }

    fn text(&self) -> String {
        let mut text = self.told.join("\n");
        let more = self.matched - self.told.len() as u64;
        if more > 0 {
            text.push_str(&format!(
                "\nand {more} more; name one by its Community ID, or narrow with --filter\n"
            ));
        }
        text
    }
}

impl Sink for Telling<'_> {
    fn flow(&mut self, record: &Record<'_>) {
        self.seen += 1;
        if !self.is_meant(&record.subject) {
            return;
        }
        self.matched += 1;
        self.reportable |= record.is_reportable(self.strict);
        if self.told.len() < TOLD {
            self.told.push(story(record).to_string());
        }
    }
}
