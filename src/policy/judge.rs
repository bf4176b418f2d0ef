//! The verdict: every candidate row held against a flow, and the one that decides.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::cell::Ports;
use super::component::Shown;
use super::ends::{self, BoundEnd, Place, Role};
use super::finding::{Because, Column, Finding, Grade, Reason, Verdict};
use super::likeness::NamedPorts;
use super::nearby::Nearby;
use super::observed::Observed;
use super::{Options, Row, Table, security};
use crate::inventory::{Inventory, Names, Vm};
use crate::packet::{Endpoint, Transport};

/// All rows in force, bound to an inventory and indexed by transport and port.
#[derive(Debug)]
pub struct Policy {
    tables: Vec<Table>,
    rows: Vec<Bound>,
    by_port: HashMap<(Transport, u16), Vec<usize>, RandomState>,
    by_range: Vec<(Transport, RangeInclusive<u16>, usize)>,
    /// Rows whose document leaves the port open.
    by_ends: Vec<(Transport, usize)>,
    /// Ports of all rows that name theirs.
    named_ports: NamedPorts,
    nearby: Nearby,
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
            by_port: HashMap::default(),
            by_range: Vec::new(),
            by_ends: Vec::new(),
            named_ports: NamedPorts::default(),
            nearby: Nearby::default(),
            tables,
            inventory,
            names,
            options,
        };
        for (table, rows) in policy.tables.iter().enumerate() {
            for (row, documented) in rows.rows.iter().enumerate() {
                let index = policy.rows.len();
                let source = BoundEnd::bind(&documented.source, &policy.names, &policy.inventory);
                let destination = BoundEnd::bind(&documented.destination, &policy.names, &policy.inventory);
                policy.nearby.add(index, &source);
                policy.nearby.add(index, &destination);
                if documented.security.inside_vm {
                    policy.nearby.add_anywhere(index);
                }
                policy.rows.push(Bound { at: RowRef { table, row }, source, destination });
                for &transport in &documented.transports {
                    let Ports::Named(ranges) = &documented.ports else {
                        policy.by_ends.push((transport, index));
                        continue;
                    };
                    for range in ranges {
                        policy.named_ports.add(range);
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

    /// Some row names this port, of whichever transport.
    #[inline]
    pub fn names_port(&self, port: u16) -> bool {
        self.named_ports.holds(port)
    }

    /// Some row documents this transport and port.
    pub fn documents(&self, transport: Transport, port: u16) -> bool {
        self.names_port(port)
            && (self.by_port.contains_key(&(transport, port))
                || self.by_range.iter().any(|(t, range, _)| *t == transport && range.contains(&port)))
    }

    /// Source and destination, as the inventory knows them: also for other policies that are bound to it.
    pub fn ends_of<'a>(&'a self, subject: &Subject<'a>) -> [Place<'a>; 2] {
        [
            Place::new(subject.source.ip, subject.source_shown, &self.inventory),
            Place::new(subject.destination.ip, subject.destination_shown, &self.inventory),
        ]
    }

    /// The flow touches a destination group or a port of the policy.
    pub fn in_scope(&self, subject: &Subject<'_>, ends: &[Place<'_>; 2]) -> bool {
        let is_destination = |vm: &Vm| {
            let near = self.nearby.rows([vm].into_iter(), [].into_iter());
            near.iter().any(|&index| self.rows[index].destination.holds(vm))
        };
        self.documents(subject.transport, subject.destination.port)
            || ends.iter().flat_map(Place::vms).any(is_destination)
    }

    /// Holds every candidate row against the flow.
    pub fn judge(&self, subject: &Subject<'_>, ends: &[Place<'_>; 2]) -> Judgement {
        self.best_candidate(subject, ends, usize::MAX)
            .unwrap_or_else(|| self.closest_elsewhere(subject, ends))
    }

    /// Every candidate row with its findings, in table order; where no row has the port, the closest one, if any is close.
    pub fn explain(&self, subject: &Subject<'_>) -> Vec<(RowRef, [Finding; 6])> {
        let ends = self.ends_of(subject);
        let candidates = self.candidates(subject, &ends);
        if candidates.is_empty() {
            let closest = self.closest_elsewhere(subject, &ends);
            return closest.row.zip(closest.findings).into_iter().collect();
        }
        candidates
            .iter()
            .map(|&index| {
                (self.rows[index].at, self.findings(index, subject, self.ends(index, subject, &ends)))
            })
            .collect()
    }

    /// The row that would allow the flow or leave it unproven.
    pub fn explains(&self, subject: &Subject<'_>, ends: &[Place<'_>; 2]) -> Option<RowRef> {
        let judgement = self.best_candidate(subject, ends, 0)?;
        judgement.row.filter(|_| judgement.verdict != Verdict::Violation)
    }

    /// What the candidate that decides says; `None` where there is no candidate, or none whose ends have at
    /// most so many contradictions.
    fn best_candidate(
        &self,
        subject: &Subject<'_>,
        ends: &[Place<'_>; 2],
        mut most: usize,
    ) -> Option<Judgement> {
        let candidates = self.candidates(subject, ends);
        if candidates.is_empty() {
            return None;
        }
        let mut best: Option<(Rank, RowRef, [Finding; 6])> = None;
        let mut also = Vec::new();
        for &index in candidates.iter() {
            let both = self.ends(index, subject, ends);
            // What it carries cannot make it closer than a row with fewer contradictions.
            if both.iter().filter(|finding| finding.grade == Grade::Contradicted).count() > most {
                continue;
            }
            let findings = self.findings(index, subject, both);
            let at = self.rows[index].at;
            let rank = Rank::of(&findings, self.tables[at.table].overlay);
            if rank.contradicted == 0 {
                also.push(at);
            }
            if best.as_ref().is_none_or(|(least, _, _)| rank < *least) {
                most = most.min(rank.contradicted);
                best = Some((rank, at, findings));
            }
        }
        let (rank, at, findings) = best?;
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
        also.retain(|other| *other != at);
        Some(Judgement { verdict, reason, row: Some(at), also, findings: Some(findings) })
    }

    /// Rows of this transport and port, in table order; of those that leave the port open, the ones whose
    /// ends are not contradicted.
    fn candidates(&self, subject: &Subject<'_>, ends: &[Place<'_>; 2]) -> Cow<'_, [usize]> {
        let (transport, port) = (subject.transport, subject.destination.port);
        let named = self.by_port.get(&(transport, port)).map_or(&[][..], Vec::as_slice);
        let wide = self.by_range.iter().filter(|(t, range, _)| *t == transport && range.contains(&port));
        let open = self.by_ends.iter().filter(|(t, _)| *t == transport).map(|(_, index)| *index);
        let open = open.filter(|&index| {
            self.ends(index, subject, ends).iter().all(|finding| finding.grade != Grade::Contradicted)
        });
        let mut others = wide.map(|(_, _, index)| *index).chain(open).peekable();
        if others.peek().is_none() {
            return Cow::Borrowed(named);
        }
        let mut rows: Vec<usize> = named.iter().copied().chain(others).collect();
        rows.sort_unstable();
        rows.dedup();
        Cow::Owned(rows)
    }

    /// All findings of a row, of which those on its ends are known.
    fn findings(
        &self,
        index: usize,
        subject: &Subject<'_>,
        [source, destination]: [Finding; 2],
    ) -> [Finding; 6] {
        let row = self.row(self.rows[index].at);
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

    fn ends(&self, index: usize, subject: &Subject<'_>, ends: &[Place<'_>; 2]) -> [Finding; 2] {
        let bound = &self.rows[index];
        let [source, destination] = ends;
        if self.row(bound.at).security.inside_vm {
            return ends::inside_vm(&bound.destination, source, destination, &self.options);
        }
        let mut both = [
            bound.source.find(Role::Source, source, destination, &self.options),
            bound.destination.find(Role::Destination, destination, source, &self.options),
        ];
        // Only a guess says which end is which, so nothing is held against either.
        if subject.opened_by.is_guess() {
            for finding in both.iter_mut().filter(|finding| finding.grade == Grade::Contradicted) {
                *finding = Finding::unseen(Reason::UnseenDirection, Because::DirectionGuessed);
            }
        }
        both
    }

    /// No row has this port: the row that agrees on most of destination, source and transport, if any
    /// agrees on an end at all.
    fn closest_elsewhere(&self, subject: &Subject<'_>, ends: &[Place<'_>; 2]) -> Judgement {
        let agrees = |finding: &Finding| finding.grade <= Grade::Inferred;
        let mut best: Option<((usize, bool), usize)> = None;
        let near = match ends.iter().all(Place::is_strange) && subject.source.ip != subject.destination.ip {
            // Most traffic that no page documents.
            true => Cow::default(),
            false => {
                self.nearby.rows(ends.iter().flat_map(Place::vms), ends.iter().flat_map(Place::learnt_groups))
            }
        };
        for &index in near.iter() {
            let [source, destination] = self.ends(index, subject, ends);
            let transport = self.row(self.rows[index].at).transports.contains(&subject.transport);
            let agreeing = usize::from(agrees(&source)) + usize::from(agrees(&destination));
            let closeness = (agreeing + usize::from(transport), agrees(&destination));
            if agreeing > 0 && best.is_none_or(|(most, _)| closeness > most) {
                best = Some((closeness, index));
            }
        }
        Judgement {
            verdict: Verdict::Violation,
            reason: Some(Reason::NoRowForPort),
            row: best.map(|(_, index)| self.rows[index].at),
            also: Vec::new(),
            // What the flow carried is only held against the row that comes closest.
            findings: best.map(|(_, index)| self.findings(index, subject, self.ends(index, subject, ends))),
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
                    .filter(|b| matches!(b, Because::CertificateNamesIt | Because::ProcessIsIt))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{
        CELL, Case, DIRECTOR, DOPPLER, Handshake, LOG_API, LOG_CACHE, MUTUAL, NATS, NETWORKS, STRANGER, UAA,
        VMS, bind, bind_tables, http, nats, one_row, policy, silent, spoken,
    };

    fn names(policy: &Policy, rows: &[RowRef]) -> Vec<String> {
        rows.iter().map(|at| policy.name(*at)).collect()
    }

    fn deciding(policy: &Policy, judgement: &Judgement) -> String {
        judgement.row.map_or(String::new(), |at| policy.name(at))
    }

    #[test]
    fn of_the_rows_that_allow_the_one_with_most_confirmed_decides_and_the_others_are_named() {
        let policy = policy();
        // The VM runs an agent, is the traffic controller and runs the reverse log proxy: three rows.
        let flow = Case::new(LOG_API, DOPPLER, 8082, MUTUAL.observed());
        let judgement = flow.judge(&policy);
        assert_eq!((judgement.verdict, judgement.reason), (Verdict::Allowed, None));
        assert_eq!(deciding(&policy, &judgement), "loggregator:2");
        assert_eq!(names(&policy, &judgement.also), ["loggregator:3", "loggregator:6"]);
        let flow = flow.showing("reverselogproxy", &policy);
        assert_eq!(deciding(&policy, &flow.judge(&policy)), "loggregator:6");
        assert_eq!(names(&policy, &flow.judge(&policy).also), ["loggregator:3"]);
    }

    #[test]
    fn every_candidate_is_explained_and_the_closest_one_where_there_is_none() {
        let policy = policy();
        let explained = |case: &Case| policy.explain(&case.subject());
        let flow = Case::new(LOG_API, DOPPLER, 8082, MUTUAL.observed());
        let rows: Vec<RowRef> = explained(&flow).iter().map(|(at, _)| *at).collect();
        assert_eq!(names(&policy, &rows), ["loggregator:2", "loggregator:3", "loggregator:6", "log-cache:1"]);
        for flow in [flow, Case::new(LOG_API, NATS, 9999, silent())] {
            let judgement = flow.judge(&policy);
            let deciding = (judgement.row.unwrap(), judgement.findings.unwrap());
            assert!(explained(&flow).contains(&deciding));
        }
        assert!(explained(&Case::new("192.0.2.1", "192.0.2.2", 9999, silent())).is_empty());
    }

    #[test]
    fn a_row_with_something_unseen_leaves_the_flow_unproven() {
        let policy = bind(&[], Options::default());
        let judgement = Case::new(LOG_API, UAA, 8443, MUTUAL.observed()).judge(&policy);
        assert_eq!((judgement.verdict, judgement.reason), (Verdict::Unproven, Some(Reason::UnseenInventory)));
        let policy = super::tests::policy();
        let no_alpn = Handshake { offered: &[], chosen: None, ..MUTUAL };
        let judgement = Case::new(LOG_API, UAA, 8443, no_alpn.observed()).judge(&policy);
        assert_eq!(
            (judgement.verdict, judgement.reason),
            (Verdict::Unproven, Some(Reason::UnseenApplicationNoAlpn))
        );
    }

    #[test]
    fn on_a_violation_the_row_with_fewest_contradictions_is_closest() {
        let policy = policy();
        // Rows 2, 3 and 6 have this port; the first wants an agent, the second another VM.
        let judgement = Case::new(CELL, DOPPLER, 8082, MUTUAL.observed()).judge(&policy);
        assert_eq!((judgement.verdict, judgement.reason), (Verdict::Violation, Some(Reason::WrongSource)));
        assert_eq!((deciding(&policy, &judgement).as_str(), judgement.also.len()), ("loggregator:2", 0));
        let grades = judgement.findings.unwrap().map(|finding| finding.grade);
        assert_eq!(grades.iter().filter(|grade| **grade == Grade::Contradicted).count(), 1);
    }

    #[test]
    fn a_contradiction_outweighs_anything_unseen() {
        let policy = policy();
        let judgement = Case::new(STRANGER, UAA, 8443, silent()).judge(&policy);
        assert_eq!((judgement.verdict, judgement.reason), (Verdict::Violation, Some(Reason::WrongSource)));
    }

    #[test]
    fn the_first_reason_in_order_is_given() {
        let policy = policy();
        // Destination, source and application are all wrong.
        let judgement = Case::new(STRANGER, UAA, 4222, http(None, "200 OK")).judge(&policy);
        assert_eq!(judgement.reason, Some(Reason::WrongDestination));
        let judgement = Case::new(STRANGER, NATS, 4222, http(None, "200 OK")).judge(&policy);
        assert_eq!(judgement.reason, Some(Reason::WrongSource));
        let judgement = Case::new(LOG_API, NATS, 4222, http(None, "200 OK")).judge(&policy);
        assert_eq!(judgement.reason, Some(Reason::WrongApplication));
    }

    #[test]
    fn without_a_row_for_the_port_the_row_that_agrees_on_most_ends_is_named() {
        let policy = policy();
        let judgement = Case::new(LOG_API, NATS, 9999, silent()).judge(&policy);
        assert_eq!((judgement.verdict, judgement.reason), (Verdict::Violation, Some(Reason::NoRowForPort)));
        assert_eq!(deciding(&policy, &judgement), "loggregator:7");
        let judgement = Case::new("192.0.2.1", "192.0.2.2", 9999, silent()).judge(&policy);
        assert_eq!((judgement.row, judgement.findings), (None, None));
        let mut datagrams = Case::new(LOG_API, DOPPLER, 8082, silent());
        datagrams.transport = Transport::UDP;
        assert_eq!(datagrams.judge(&policy).reason, Some(Reason::NoRowForPort));
    }

    #[test]
    fn a_guessed_direction_holds_neither_end_against_the_flow() {
        let policy = policy();
        for (opened_by, verdict, reason) in [
            (OpenedBy::Syn, Verdict::Violation, Reason::WrongSource),
            (OpenedBy::Protocol, Verdict::Violation, Reason::WrongSource),
            (OpenedBy::DocumentedPort, Verdict::Unproven, Reason::UnseenDirection),
            (OpenedBy::FirstPacket, Verdict::Unproven, Reason::UnseenDirection),
        ] {
            let judgement =
                Case::new(STRANGER, UAA, 8443, MUTUAL.observed()).opened_by(opened_by).judge(&policy);
            assert_eq!((judgement.verdict, judgement.reason), (verdict, Some(reason)), "{opened_by:?}");
        }
        // What it speaks is held against it all the same.
        let plain = Case::new(STRANGER, UAA, 8443, http(None, "200 OK")).opened_by(OpenedBy::FirstPacket);
        assert_eq!(plain.judge(&policy).verdict, Verdict::Violation);
    }

    #[test]
    fn both_ports_of_a_row_count_and_ranges_too() {
        let policy = policy();
        for port in [25555, 8443] {
            let judgement = Case::new(LOG_API, DIRECTOR, port, MUTUAL.observed()).judge(&policy);
            assert_eq!(deciding(&policy, &judgement), "loggregator:8");
            assert!(policy.documents(Transport::TCP, port) && !policy.documents(Transport::UDP, port));
        }
        let table = one_row("cells", "gorouter,diego-cell,\"61001-65534, 80\",TCP,HTTP,None");
        let policy = bind_tables(vec![table], &[VMS], Options::default());
        for (port, documented) in
            [(61_000, false), (61_001, true), (65_534, true), (65_535, false), (80, true)]
        {
            assert_eq!(policy.documents(Transport::TCP, port), documented, "{port}");
            let reason = Case::new(LOG_API, CELL, port, silent()).judge(&policy).reason;
            assert_eq!(reason == Some(Reason::NoRowForPort), !documented, "{port}");
        }
    }

    #[test]
    fn swapped_ends_are_a_wrong_destination() {
        let policy = policy();
        let judgement = Case::new(LOG_CACHE, LOG_API, 8082, MUTUAL.observed()).judge(&policy);
        assert_eq!(
            (judgement.verdict, judgement.reason),
            (Verdict::Violation, Some(Reason::WrongDestination))
        );
    }

    #[test]
    fn in_scope_is_what_touches_a_destination_or_a_port_of_the_tables() {
        let policy = policy();
        let in_scope = |source, destination, port| {
            let case = Case::new(source, destination, port, silent());
            policy.in_scope(&case.subject(), &policy.ends_of(&case.subject()))
        };
        assert!(in_scope(STRANGER, DOPPLER, 9999) && in_scope(DOPPLER, STRANGER, 9999));
        assert!(in_scope(STRANGER, "192.0.2.1", 8082));
        assert!(!in_scope(STRANGER, "192.0.2.1", 9999) && !in_scope(CELL, STRANGER, 9999));
        assert!(in_scope(STRANGER, "10.0.4.99", 9999), "either of the two that claim it is one");
    }

    #[test]
    fn an_inference_is_told_from_a_proof() {
        let policy = policy();
        let clear = Case::new(LOG_API, NATS, 4222, nats("{\"user\":\"u\",\"pass\":\"p\"}", "PONG\r\n"));
        // The Route Registrar is inferred from the job on its VM.
        assert!(clear.judge(&policy).is_inferred());
        let by_certificate = clear.showing("nats_client", &policy).judge(&policy);
        assert!(!by_certificate.is_inferred() && by_certificate.verdict == Verdict::Allowed);
    }

    /// The verdict and reason of a flow against a table of one row.
    fn against(row: &str, case: &Case) -> (Verdict, Option<Reason>) {
        let policy = bind_tables(vec![one_row("t", row)], &[VMS, NETWORKS], Options::default());
        let judgement = case.judge(&policy);
        (judgement.verdict, judgement.reason)
    }

    #[test]
    fn a_row_that_leaves_the_port_open_is_unproven_and_only_for_its_own_ends() {
        let row = "loggregator_trafficcontroller,uaa,Varies,TCP,HTTP,None";
        let flow = Case::new(LOG_API, UAA, 61_234, http(None, "200 OK"));
        assert_eq!(against(row, &flow), (Verdict::Unproven, Some(Reason::UnseenPort)));
        let elsewhere = Case::new(LOG_API, DOPPLER, 61_234, http(None, "200 OK"));
        assert_eq!(against(row, &elsewhere), (Verdict::Violation, Some(Reason::NoRowForPort)));
    }

    #[test]
    fn any_alternative_of_a_cell_will_do() {
        let clear = Case::new(LOG_API, UAA, 8080, http(None, "200 OK"));
        let tls = Case::new(LOG_API, UAA, 8080, MUTUAL.observed());
        for security in ["None/TLS", "Optional TLS"] {
            let row = format!("loggregator_trafficcontroller,uaa,443/8080,TCP,HTTP/HTTPS,{security}");
            assert_eq!(against(&row, &clear).0, Verdict::Allowed, "{security}");
            assert_eq!(against(&row, &tls).0, Verdict::Allowed, "{security}");
        }
        let row = "loggregator_trafficcontroller,uaa,8080,TCP,HTTP,OAuth 2.0 or none";
        assert_eq!(against(row, &clear).0, Verdict::Allowed);
        let row = "doppler or uaa,uaa or doppler,8080,TCP,HTTP,None";
        assert_eq!(against(row, &clear), (Verdict::Violation, Some(Reason::WrongSource)));
    }

    #[test]
    fn https_says_that_there_is_tls_whatever_the_security_cell_adds() {
        let row = "loggregator_trafficcontroller,uaa,8443,TCP,HTTPS,OAuth 2.0";
        let clear = Case::new(LOG_API, UAA, 8443, http(Some("Bearer t"), "200 OK"));
        assert_eq!(against(row, &clear), (Verdict::Violation, Some(Reason::WrongApplication)));
        let tls = Case::new(LOG_API, UAA, 8443, MUTUAL.observed());
        assert_eq!(against(row, &tls), (Verdict::Unproven, Some(Reason::UnseenAuthentication)));
    }

    #[test]
    fn a_signed_url_is_told_by_its_query() {
        let row = "loggregator_trafficcontroller,uaa,4443,TCP,HTTP,Signed URLs/TLS";
        let get = |target: &str| {
            let request = format!("GET {target} HTTP/1.1\r\nHost: blobstore\r\n\r\n");
            let case = spoken(&[&request, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]);
            against(row, &Case::new(LOG_API, UAA, 4443, case))
        };
        assert_eq!(get("/read/x?md5=abc&expires=17"), (Verdict::Allowed, None));
        assert_eq!(get("/read/x"), (Verdict::Violation, Some(Reason::WrongSecurity)));
        let tls = Case::new(LOG_API, UAA, 4443, MUTUAL.observed());
        assert_eq!(against(row, &tls).0, Verdict::Allowed);
    }

    #[test]
    fn what_is_documented_inside_a_vm_must_not_cross_the_network() {
        let row = "Any VM running BOSH DNS,doppler,53,TCP and UDP,HTTP,\
                   Unencrypted. This communication happens inside the VM.";
        let inside = Case::new(DOPPLER, DOPPLER, 53, http(None, "200 OK"));
        assert_eq!(against(row, &inside), (Verdict::Allowed, None));
        let across = Case::new(LOG_API, DOPPLER, 53, http(None, "200 OK"));
        assert_eq!(against(row, &across), (Verdict::Violation, Some(Reason::WrongDestination)));
        let loopback = Case::new("127.0.0.1", "127.0.0.1", 53, http(None, "200 OK"));
        assert_eq!(against(row, &loopback), (Verdict::Unproven, Some(Reason::UnseenInventory)));
    }
}
