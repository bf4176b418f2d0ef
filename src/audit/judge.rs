//! The fourth stage: a flow that ended to its verdict and its row. One flow does not bear on another here, so
//! that runs of flows can be judged side by side.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::alike::{Alike, Kept, Said};
use super::ended::{Ended, Leaves, Open};
use super::force::InForce;
use super::{Plan, Sink, sockets};
use crate::flow::First;
use crate::inventory::Names;
use crate::pki::Leaf;
use crate::policy::{Likeness, Place, Shown, Subject, Verdict};
use crate::protocol::tls;
use crate::report::{Record, RowState, RowStatistics, RowWriter, Rows, Summary};

/// Open flows that are remembered as told to be violations; further ones may be told again.
const TOLD: usize = 1 << 20;
/// Certificates whose components are remembered.
const CERTIFICATES: usize = 1024;

/// Judges flows, and makes their rows.
pub(super) struct Judge<'p> {
    plan: InForce<'p>,
    captures: Arc<[String]>,
    /// Open flows that were told to be violations.
    told: HashSet<First, RandomState>,
    components: Components,
    alike: Alike,
    /// Makes the rows of the report, if one is written.
    rows: Option<RowWriter>,
}

/// What comes of a run of flows.
#[derive(Debug)]
pub(super) struct Judged {
    /// Rows of the report.
    pub(super) csv: Rows,
    pub(super) summary: Summary,
    pub(super) rows: RowStatistics,
    pub(super) out_of_scope: u64,
}

impl Judged {
    /// Nothing yet.
    pub(super) fn new(plan: &Plan) -> Judged {
        Judged {
            csv: Rows::default(),
            summary: Summary::new(plan.strict),
            rows: RowStatistics::new(&plan.policy),
            out_of_scope: 0,
        }
    }

    /// Gives what came of the run so far, and begins another, which comes after it.
    pub(super) fn take(&mut self, plan: &Plan) -> Judged {
        Judged {
            csv: std::mem::take(&mut self.csv),
            summary: self.summary.take(),
            rows: std::mem::replace(&mut self.rows, RowStatistics::new(&plan.policy)),
            out_of_scope: std::mem::take(&mut self.out_of_scope),
        }
    }

    /// Adds what came of the flows right after these.
    pub(super) fn merge(&mut self, later: Judged) {
        self.summary.merge(later.summary);
        self.rows.merge(&later.rows);
        self.out_of_scope += later.out_of_scope;
    }
}

impl<'p> Judge<'p> {
    pub(super) fn new(plan: &'p Plan, captures: Arc<[String]>, is_written: bool) -> Judge<'p> {
        Judge {
            plan: InForce::First(plan),
            captures,
            told: HashSet::default(),
            components: Components::default(),
            alike: Alike::default(),
            rows: is_written.then(RowWriter::default),
        }
    }

    /// One that goes by the same plan, and was told nothing yet.
    pub(super) fn another(&self) -> Judge<'p> {
        Judge {
            plan: self.plan.clone(),
            captures: Arc::clone(&self.captures),
            told: HashSet::default(),
            components: Components::default(),
            alike: Alike::default(),
            rows: self.rows.as_ref().map(|_| RowWriter::default()),
        }
    }

    /// Goes by another plan from now on.
    pub(super) fn go_by(&mut self, plan: InForce<'p>) {
        self.plan = plan;
        self.components = Components::default();
        self.alike = Alike::default();
        self.rows = self.rows.take().map(|_| RowWriter::default());
    }

    /// Judges the next flow of a run; says whether it is to be reported.
    pub(super) fn flow(&mut self, flow: &Ended, judged: &mut Judged, sink: Option<&mut dyn Sink>) -> bool {
        if flow.open == Some(Open::Violation) && self.told.contains(&flow.first) {
            return false;
        }
        let plan = self.plan.clone();
        let Plan { policy, deviations, only, .. } = &*plan;
        let Ended { key, source, opened_by, counted, observed, leaves, learnt, .. } = flow;
        let (source, opened_by, counted) = (*source, *opened_by, *counted);
        // Certificates belong to the TLS roles, which a flow opened the other way round turns about.
        let turned = observed.tls().and_then(tls::Evidence::client).is_some_and(|client| client != source);
        let (mut source_shown, mut destination_shown) = (Shown::default(), Shown::default());
        if let Some(Leaves { names: [server, client], .. }) = leaves {
            let (at_source, at_destination) = if turned { (server, client) } else { (client, server) };
            let names = policy.names();
            for (leaf, shown) in [(at_source, &mut source_shown), (at_destination, &mut destination_shown)] {
                if let Some(leaf) = leaf {
                    *shown = self.components.shown(leaf, names);
                }
            }
        }
        // Inside a tunnel an address is not this machine's that has it outside.
        let owners = plan.owners.as_ref().filter(|_| counted.encapsulation.network().is_none());
        for (side, shown) in [(source, &mut source_shown), (source.other(), &mut destination_shown)] {
            if let Some(groups) = &learnt[side.index()] {
                shown.learn(Arc::clone(groups));
            }
            if let Some(process) = owners.and_then(|owners| sockets::process(owners, flow, side)) {
                shown.own(process);
            }
        }
        let subject = Subject {
            source: key.end(source),
            destination: key.end(source.other()),
            transport: key.transport,
            opened_by,
            observed,
            source_shown: &source_shown,
            destination_shown: &destination_shown,
        };
        let ends = policy.ends_of(&subject);
        if plan.in_scope && !policy.in_scope(&subject, &ends) {
            judged.out_of_scope += u64::from(flow.open.is_none());
            return false;
        }
        let port = subject.destination.port;
        let is_named = policy.names_port(port) || deviations.names_port(port);
        let likeness = Likeness::of(&subject, &ends, is_named);
        let (kept, sought) = match likeness.as_ref().map(|likeness| self.alike.find(likeness)) {
            Some(Ok(kept)) => (Some(kept), None),
            Some(Err(sought)) => (None, Some(sought)),
            None => (None, None),
        };
        let said = match kept {
            Some(kept) => Cow::Borrowed(&kept.said),
            None => Cow::Owned(Said::of(&plan, &subject, &ends)),
        };
        debug_assert!(kept.is_none() || *said == Said::of(&plan, &subject, &ends), "{subject:?}");
        let Said { judgement, known_deviation } = &*said;
        let is_violation = judgement.verdict == Verdict::Violation;
        if flow.open == Some(Open::Violation) && !is_violation {
            return false;
        }
        let is_news = is_violation && is_news(&mut self.told, flow);
        let captures = &self.captures;
        let named = |capture: u16| captures.get(usize::from(capture)).map_or("", String::as_str);
        let ambiguous_in = flow.observed.ambiguity.map(|ambiguity| named(ambiguity.packet.0));
        let record = Record {
            policy,
            subject,
            names: ends.each_ref().map(Place::name),
            judgement,
            deviations,
            known_deviation: *known_deviation,
            counted,
            capture: named(flow.capture),
            ambiguous_in,
            certificates: leaves.as_ref().map(|Leaves { told, .. }| told),
            state: if flow.open.is_none() { RowState::Final } else { RowState::Interim },
        };
        if flow.open.is_none() {
            judged.summary.add(&record);
            judged.rows.add(judgement, counted.packets.iter().sum(), counted.bytes.iter().sum());
        }
        if let Some(sink) = sink {
            if is_news {
                sink.violation(&record);
            }
            if flow.open.is_none() {
                sink.flow(&record);
            }
        }
        if let Some(rows) = &mut self.rows
            && (only.is_empty() || only.contains(&judgement.verdict))
        {
            match kept.and_then(|kept| kept.row.as_ref()) {
                Some(common) => rows.row_like(&record, common, &mut judged.csv),
                None => rows.row(&record, &mut judged.csv),
            }
        }
        let is_reportable = record.is_reportable(plan.strict);
        if let Some(sought) = sought.filter(|sought| sought.came_before)
            && let Some(likeness) = likeness
        {
            let row = self.rows.as_mut().map(|rows| rows.common(&record));
            let said = said.into_owned();
            let shown = [source_shown, destination_shown];
            self.alike.keep(&sought, Kept { said, row, likeness, _shown: shown });
        }
        is_reportable
    }
}

/// Whether this violation was not told yet; remembers it for as long as the flow is open.
fn is_news(told: &mut HashSet<First, RandomState>, flow: &Ended) -> bool {
    match flow.open {
        None => told.is_empty() || !told.remove(&flow.first),
        Some(_) if told.len() < TOLD => told.insert(flow.first),
        Some(_) => !told.contains(&flow.first),
    }
}

/// What certificates show of components, of those that were looked up before: by where the names of each
/// are kept, which is nobody else's place while they are held here.
#[derive(Default)]
struct Components {
    known: HashMap<usize, (Arc<Leaf>, Shown), RandomState>,
}

impl Components {
    fn shown(&mut self, leaf: &Arc<Leaf>, names: &Names) -> Shown {
        let place = Arc::as_ptr(leaf).addr();
        if let Some((_, shown)) = self.known.get(&place) {
            return shown.clone();
        }
        if self.known.len() >= CERTIFICATES {
            self.known.clear();
        }
        let shown = Shown::by_certificate(leaf.names.iter(), names);
        self.known.insert(place, (Arc::clone(leaf), shown.clone()));
        shown
    }
}
