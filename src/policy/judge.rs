//! The verdict: every candidate row held against a flow, and the one that decides.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::cell::Ports;
use super::component::Shown;
use super::ends::{self, BoundEnd, Role};
use super::finding::{Because, Column, Finding, Grade, Reason, Verdict};
use super::observed::Observed;
use super::{Options, Row, Table, security};
use crate::inventory::{Inventory, Lookup, Names};
use crate::packet::{Endpoint, Transport};

/// All rows in force, bound to an inventory and indexed by transport and port.
#[derive(Debug)]
pub struct Policy {
    tables: Vec<Table>,
    rows: Vec<Bound>,
    by_port: HashMap<(Transport, u16), Vec<usize>>,
    by_range: Vec<(Transport, RangeInclusive<u16>, usize)>,
    /// Rows whose document leaves the port open.
    by_ends: Vec<(Transport, usize)>,
    inventory: Arc<Inventory>,
    names: Arc<Names>,
    options: Options,
}

/// A row, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowRef {
    /// Index of its table.
    pub table: usize,
    /// Index of the row in the table; its number in reports is one more.
    pub row: usize,
}

#[derive(Debug)]
struct Bound {
    at: RowRef,
    source: BoundEnd,
    destination: BoundEnd,
}

/// How it is known which end opened a flow, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OpenedBy {
    /// Its SYN.
    Syn,
    /// The SYN-ACK that answered it.
    SynAck,
    /// The protocol's own roles.
    Protocol,
    /// The other end is on a documented port.
    DocumentedPort,
    /// It sent the first packet seen.
    FirstPacket,
}

impl OpenedBy {
    /// The word in the report.
    pub fn word(self) -> &'static str {
        match self {
            OpenedBy::Syn => "syn",
            OpenedBy::SynAck => "syn_ack",
            OpenedBy::Protocol => "protocol",
            OpenedBy::DocumentedPort => "documented_port",
            OpenedBy::FirstPacket => "first_packet",
        }
    }

    fn is_guess(self) -> bool {
        self >= OpenedBy::DocumentedPort
    }
}

/// One flow, as the judge sees it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The end that opened it.
    pub source: Endpoint,
    /// The end that answered.
    pub destination: Endpoint,
    /// Over which transport.
    pub transport: Transport,
    /// How the direction is known.
    pub opened_by: OpenedBy,
    /// What the capture showed of it.
    pub observed: &'a Observed,
    /// The component that the source's certificate names.
    pub source_shown: &'a Shown,
    /// The component that the destination's certificate names.
    pub destination_shown: &'a Shown,
}

/// What the tables say of one flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// The word for it; `None` when allowed.
    pub reason: Option<Reason>,
    /// The row that decides, or the closest one; `None` when no row is close.
    pub row: Option<RowRef>,
    /// Other rows that allow the flow or leave it unproven.
    pub also: Vec<RowRef>,
    /// The deciding row's findings, in the table's order.
    pub findings: Option<[Finding; 6]>,
}

impl Judgement {
    /// The deciding row holds by an inference somewhere.
    pub fn is_inferred(&self) -> bool {
        self.findings.is_some_and(|findings| findings.iter().any(|finding| finding.grade == Grade::Inferred))
    }
}

/// Port cells with wider ranges than this are looked up by range.
const WIDE: usize = 64;

impl Policy {
    /// Binds tables to an inventory, which several policies may share.
    pub fn new(
        tables: Vec<Table>,
        inventory: impl Into<Arc<Inventory>>,
        names: impl Into<Arc<Names>>,
        options: Options,
    ) -> Policy {
        let (inventory, names) = (inventory.into(), names.into());
        let mut policy = Policy {
            rows: Vec::new(),
            by_port: HashMap::new(),
            by_range: Vec::new(),
            by_ends: Vec::new(),
            tables,
            inventory,
            names,
            options,
        };
        for (table, rows) in policy.tables.iter().enumerate() {
            for (row, documented) in rows.rows.iter().enumerate() {
                let index = policy.rows.len();
                policy.rows.push(Bound {
                    at: RowRef { table, row },
                    source: BoundEnd::bind(&documented.source, &policy.names, &policy.inventory),
                    destination: BoundEnd::bind(&documented.destination, &policy.names, &policy.inventory),
                });
                for &transport in &documented.transports {
                    let Ports::Named(ranges) = &documented.ports else {
                        policy.by_ends.push((transport, index));
                        continue;
                    };
                    for range in ranges {
                        if range.len() > WIDE {
                            policy.by_range.push((transport, range.clone(), index));
                            continue;
                        }
                        for port in range.clone() {
                            let rows = policy.by_port.entry((transport, port)).or_default();
                            if rows.last() != Some(&index) {
                                rows.push(index);
                            }
                        }
                    }
                }
            }
        }
        policy
    }

    /// The tables in force.
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// The inventory in force.
    pub fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// The names in force.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The options in force.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Binds other tables to what this policy is bound to.
    pub fn with_tables(&self, tables: Vec<Table>) -> Policy {
        Policy::new(tables, Arc::clone(&self.inventory), Arc::clone(&self.names), self.options)
    }

    /// The row at a reference.
    pub fn row(&self, at: RowRef) -> &Row {
        &self.tables[at.table].rows[at.row]
    }

    /// A reference as reports write it: `table:row`.
    pub fn name(&self, at: RowRef) -> String {
        format!("{}:{}", self.tables[at.table].name, at.row + 1)
    }

    /// Some row documents this transport and port.
    pub fn documents(&self, transport: Transport, port: u16) -> bool {
        self.by_port.contains_key(&(transport, port))
            || self.by_range.iter().any(|(t, range, _)| *t == transport && range.contains(&port))
    }

    /// The flow touches a destination group or a port of the policy.
    pub fn in_scope(&self, subject: &Subject<'_>) -> bool {
        let is_destination = |vm: &_| self.rows.iter().any(|bound| bound.destination.holds(vm));
        self.documents(subject.transport, subject.destination.port)
            || [subject.source.ip, subject.destination.ip].iter().any(|ip| match self.inventory.vm(*ip) {
                Lookup::One(vm) => is_destination(vm),
                Lookup::Ambiguous(vms) => vms.iter().any(|vm| is_destination(vm)),
                Lookup::Unknown => false,
            })
    }

    /// Holds every candidate row against the flow.
    pub fn judge(&self, subject: &Subject<'_>) -> Judgement {
        let candidates = self.candidates(subject);
        if candidates.is_empty() {
            return self.closest_elsewhere(subject);
        }
        let mut best: Option<(Rank, usize, [Finding; 6])> = None;
        let mut open = Vec::new();
        for index in candidates {
            let findings = self.findings(index, subject);
            let rank = Rank::of(&findings, self.tables[self.rows[index].at.table].overlay);
            if rank.contradicted == 0 {
                open.push(index);
            }
            if best.as_ref().is_none_or(|(least, _, _)| rank < *least) {
                best = Some((rank, index, findings));
            }
        }
        let Some((rank, index, findings)) = best else { return self.closest_elsewhere(subject) };
        let verdict = match (rank.contradicted, rank.unseen) {
            (0, false) => Verdict::Allowed,
            (0, true) => Verdict::Unproven,
            _ => Verdict::Violation,
        };
        let decisive = match verdict {
            Verdict::Allowed => None,
            Verdict::Unproven => Some(Grade::Unseen),
            Verdict::Violation => Some(Grade::Contradicted),
        };
        let reason = decisive.and_then(|grade| first_reason(&findings, grade));
        let also =
            open.into_iter().filter(|&other| other != index).map(|other| self.rows[other].at).collect();
        Judgement { verdict, reason, row: Some(self.rows[index].at), also, findings: Some(findings) }
    }

    /// The row that would allow the flow or leave it unproven, as reports write it.
    pub fn explains(&self, subject: &Subject<'_>) -> Option<String> {
        if self.candidates(subject).is_empty() {
            return None;
        }
        let judgement = self.judge(subject);
        judgement.row.filter(|_| judgement.verdict != Verdict::Violation).map(|row| self.name(row))
    }

    /// Rows of this transport and port, in table order; of those that leave the port open, the ones whose
    /// ends are not contradicted.
    fn candidates(&self, subject: &Subject<'_>) -> Vec<usize> {
        let (transport, port) = (subject.transport, subject.destination.port);
        let mut rows = self.by_port.get(&(transport, port)).cloned().unwrap_or_default();
        let before = rows.len();
        let wide = self.by_range.iter().filter(|(t, range, _)| *t == transport && range.contains(&port));
        rows.extend(wide.map(|(_, _, index)| *index));
        let open = self.by_ends.iter().filter(|(t, _)| *t == transport).map(|(_, index)| *index);
        rows.extend(open.filter(|&index| {
            self.ends(index, subject).iter().all(|finding| finding.grade != Grade::Contradicted)
        }));
        if rows.len() > before {
            rows.sort_unstable();
            rows.dedup();
        }
        rows
    }

    fn findings(&self, index: usize, subject: &Subject<'_>) -> [Finding; 6] {
        let row = self.row(self.rows[index].at);
        let [source, destination] = self.ends(index, subject);
        [
            source,
            destination,
            match row.ports.contains(subject.destination.port) {
                Some(true) => Finding::confirmed(Because::PortMatches),
                Some(false) => Finding::contradicted(Reason::NoRowForPort, Because::PortDiffers),
                None => Finding::unseen(Reason::UnseenPort, Because::DocumentOpen),
            },
            if row.transports.contains(&subject.transport) {
                Finding::confirmed(Because::TransportMatches)
            } else {
                Finding::contradicted(Reason::NoRowForPort, Because::TransportDiffers)
            },
            security::application(row, subject.observed),
            security::security(row, subject.observed, &self.options),
        ]
    }

    fn ends(&self, index: usize, subject: &Subject<'_>) -> [Finding; 2] {
        let bound = &self.rows[index];
        let (inventory, options) = (&self.inventory, &self.options);
        let (source, destination) = (subject.source.ip, subject.destination.ip);
        if self.row(bound.at).security.inside_vm {
            return ends::inside_vm(&bound.destination, source, destination, inventory, options);
        }
        let (from, to) = (&bound.source, &bound.destination);
        let both = [
            from.find(Role::Source, source, destination, subject.source_shown, inventory, options),
            to.find(Role::Destination, destination, source, subject.destination_shown, inventory, options),
        ];
        both.map(|finding| match finding.grade {
            // Only a guess says which end is which, so nothing is held against either.
            Grade::Contradicted if subject.opened_by.is_guess() => {
                Finding::unseen(Reason::UnseenDirection, Because::DirectionGuessed)
            }
            _ => finding,
        })
    }

    /// No row has this port: the row that agrees on most of destination, source and transport, if any
    /// agrees on an end at all.
    fn closest_elsewhere(&self, subject: &Subject<'_>) -> Judgement {
        let agrees = |finding: &Finding| finding.grade <= Grade::Inferred;
        let mut best: Option<((usize, bool), usize, [Finding; 6])> = None;
        for index in 0..self.rows.len() {
            let findings = self.findings(index, subject);
            let [source, destination, _, transport, ..] = &findings;
            let ends = usize::from(agrees(source)) + usize::from(agrees(destination));
            let closeness = (ends + usize::from(agrees(transport)), agrees(destination));
            if ends > 0 && best.as_ref().is_none_or(|(most, _, _)| closeness > *most) {
                best = Some((closeness, index, findings));
            }
        }
        Judgement {
            verdict: Verdict::Violation,
            reason: Some(Reason::NoRowForPort),
            row: best.as_ref().map(|(_, index, _)| self.rows[*index].at),
            also: Vec::new(),
            findings: best.map(|(_, _, findings)| findings),
        }
    }
}

/// How close a row comes; the least is the closest, and among equals the first in table order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    contradicted: usize,
    unseen: bool,
    /// A row of an overlay explains what no documented row does.
    overlay: bool,
    confirmed: Reverse<usize>,
    /// A certificate that names the row's component tells it from the rows beside it.
    component: Reverse<usize>,
}

impl Rank {
    fn of(findings: &[Finding; 6], overlay: bool) -> Rank {
        let count = |grade| findings.iter().filter(|finding| finding.grade == grade).count();
        let contradicted = count(Grade::Contradicted);
        Rank {
            contradicted,
            unseen: contradicted == 0 && count(Grade::Unseen) > 0,
            overlay,
            confirmed: Reverse(count(Grade::Confirmed)),
            component: Reverse(
                findings
                    .iter()
                    .flat_map(Finding::because)
                    .filter(|b| *b == Because::CertificateNamesIt)
                    .count(),
            ),
        }
    }
}

fn first_reason(findings: &[Finding; 6], grade: Grade) -> Option<Reason> {
    findings.iter().filter(|finding| finding.grade == grade).filter_map(|finding| finding.reason).min()
}

/// Which column a finding of a judgement belongs to.
pub fn columns(findings: &[Finding; 6]) -> impl Iterator<Item = (Column, &Finding)> {
    Column::ALL.into_iter().zip(findings)
}
