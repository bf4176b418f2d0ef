//! Reported flows in groups, for the summary: by reason, ends and port.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::net::IpAddr;

use foldhash::fast::RandomState;

use super::text::text;
use super::{Record, clean, evidence, number, words};
use crate::inventory::VmName;
use crate::policy::{Policy, Reason, RowRef, Verdict};

/// Groups of reported flows that are told apart; further flows are only counted.
pub(super) const GROUPS: usize = 10_000;
/// Groups that are shown.
pub(super) const SHOWN_GROUPS: usize = 50;

/// The groups, as flows come.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups {
    /// In order of appearance.
    list: Vec<Group>,
    places: HashMap<Key, usize, RandomState>,
    ungrouped: u64,
    /// Groups of parts that were taken away, and told there.
    told: HashSet<Key, RandomState>,
}

/// What the flows of a group have in common; made into words when it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    verdict: Verdict,
    reason: Option<Reason>,
    /// The overlay row that would explain it.
    deviation: Option<RowRef>,
    source: End,
    destination: End,
    port: u16,
}

/// A VM by the name the inventory has for it, or an address it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum End {
    Vm(VmName),
    Address(IpAddr),
}

#[derive(Clone, Debug)]
struct Group {
    key: Key,
    flows: u64,
    told: Told,
}

/// What is told of a group's first flow, escaped.
#[derive(Clone, Debug, Default)]
struct Told {
    /// Source and destination, once the inventory that names them is no longer in force.
    ends: Option<[String; 2]>,
    example: String,
    evidence: String,
    deviation: String,
}

impl Groups {
    /// Gives the groups so far, as a part for [`Groups::merge`], and begins the next part.
    pub(super) fn take(&mut self) -> Groups {
        for group in &self.list {
            if self.told.len() < GROUPS {
                self.told.insert(group.key);
            }
        }
        let told = std::mem::take(&mut self.told);
        std::mem::replace(self, Groups { told, ..Groups::default() })
    }

    /// Adds one reported flow.
    pub(super) fn add(&mut self, record: &Record<'_>) {
        let subject = &record.subject;
        let inventory = record.policy.inventory();
        let end = |ip: IpAddr| inventory.name(ip).map_or(End::Address(ip), End::Vm);
        let key = Key {
            verdict: record.judgement.verdict,
            reason: record.judgement.reason,
            deviation: record.known_deviation,
            source: end(subject.source.ip),
            destination: end(subject.destination.ip),
            port: subject.destination.port,
        };
        // Once that many were told, those who merge the parts take no new ones.
        let is_told = self.told.len() >= GROUPS || self.told.contains(&key);
        self.count(key, 1, || if is_told { Told::default() } else { Told::of(record) });
    }

    /// Adds the groups of flows that came later.
    pub(super) fn merge(&mut self, later: Groups) {
        for Group { key, flows, told } in later.list {
            self.count(key, flows, || told);
        }
        self.ungrouped += later.ungrouped;
    }

    fn count(&mut self, key: Key, flows: u64, told: impl FnOnce() -> Told) {
        if let Some(group) = self.places.get(&key).and_then(|place| self.list.get_mut(*place)) {
            group.flows += flows;
        } else if self.list.len() < GROUPS {
            self.places.insert(key, self.list.len());
            self.list.push(Group { key, flows, told: told() });
        } else {
            self.ungrouped += flows;
        }
    }

    /// Another policy comes into force: what the groups have in common is put into words, and those of one
    /// meaning become one.
    pub(super) fn settle(&mut self, policy: &Policy) {
        let mut meant: HashMap<_, usize> = HashMap::new();
        let mut list: Vec<Group> = Vec::new();
        for mut group in std::mem::take(&mut self.list) {
            let Key { verdict, reason, source, destination, port, .. } = group.key;
            let ends = group.told.ends.take();
            let ends = ends.unwrap_or_else(|| [source, destination].map(|end| named(end, policy)));
            let meaning = (verdict, reason, group.told.deviation.clone(), ends.clone(), port);
            match meant.entry(meaning) {
                Entry::Occupied(place) => list[*place.get()].flows += group.flows,
                Entry::Vacant(place) => {
                    place.insert(list.len());
                    group.told.ends = Some(ends);
                    list.push(group);
                }
            }
        }
        self.list = list;
        self.places.clear();
        self.told.clear();
    }

    /// Flows in all groups, and those beyond.
    pub(super) fn flows(&self) -> u64 {
        self.list.iter().map(|group| group.flows).sum::<u64>() + self.ungrouped
    }

    /// Writes the groups, those apart that an overlay would explain.
    pub(super) fn write(&self, policy: &Policy, output: &mut impl Write) -> io::Result<()> {
        if self.list.is_empty() {
            return writeln!(output, "\nNothing to report.");
        }
        let mut groups: Vec<&Group> = self.list.iter().collect();
        // Stable: of two alike, the one that appeared first.
        groups.sort_by_key(|group| (Reverse(group.key.verdict), Reverse(group.flows)));
        let (known, unknown): (Vec<_>, Vec<_>) =
            groups.into_iter().partition(|group| group.key.deviation.is_some());
        let count = |groups: &[&Group]| {
            let flows = groups.iter().map(|group| group.flows).sum();
            format!("{} in {}", number(flows, "flow"), number(groups.len() as u64, "group"))
        };
        if unknown.is_empty() {
            writeln!(output, "\nNothing to report but known deviations.")?;
        } else {
            writeln!(output, "\nReported: {}", count(&unknown))?;
            write_list(&unknown, policy, output)?;
        }
        if !known.is_empty() {
            writeln!(
                output,
                "\nKnown deviations: {} that an overlay would explain (--overlay)",
                count(&known)
            )?;
            write_list(&known, policy, output)?;
        }
        if self.ungrouped > 0 {
            writeln!(
                output,
                "  and {} of further groups; the report written with -o has every flow",
                number(self.ungrouped, "flow")
            )?;
        }
        Ok(())
    }
}

impl Told {
    fn of(record: &Record<'_>) -> Told {
        let subject = &record.subject;
        let deviation = record.known_deviation.map(|at| record.deviations.name(at));
        Told {
            ends: None,
            example: format!(
                "{}:{} -> {}:{}, packet {} of {}",
                subject.source.ip,
                subject.source.port,
                subject.destination.ip,
                subject.destination.port,
                record.counted.first_packet,
                clean(record.capture)
            ),
            evidence: evidence(record),
            deviation: deviation.map_or(String::new(), |name| clean(&name).to_string()),
        }
    }
}

/// The end of a group in words.
fn named(end: End, policy: &Policy) -> String {
    match end {
        End::Vm(name) => text(|out| words::instances(policy.inventory().instances(name), out)),
        End::Address(ip) => text(|out| out.ip(ip)),
    }
}

/// Groups in their order, at most [`SHOWN_GROUPS`] of them.
fn write_list(groups: &[&Group], policy: &Policy, output: &mut impl Write) -> io::Result<()> {
    for Group { key, flows, told } in groups.iter().take(SHOWN_GROUPS) {
        let reason = key.reason.map_or("inferred", Reason::word);
        let ends = told.ends.clone();
        let [source, destination] =
            ends.unwrap_or_else(|| [key.source, key.destination].map(|end| named(end, policy)));
        write!(
            output,
            "  {} {reason}: {source} -> {destination} port {}, {}",
            key.verdict,
            key.port,
            number(*flows, "flow")
        )?;
        match key.deviation {
            Some(_) => writeln!(output, ", known as {}", told.deviation)?,
            None => writeln!(output)?,
        }
        writeln!(output, "      e.g. {}", told.example)?;
        writeln!(output, "      {}", told.evidence)?;
    }
    if let Some(hidden) = groups.get(SHOWN_GROUPS..).filter(|hidden| !hidden.is_empty()) {
        let flows: u64 = hidden.iter().map(|group| group.flows).sum();
        writeln!(
            output,
            "  and {} in {}; the report written with -o has every flow",
            number(flows, "flow"),
            number(hidden.len() as u64, "further group")
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{CELL, Case, DOPPLER, LOG_API, MUTUAL, NATS, UAA, policy};
    use crate::report::testing::judged;
    use proptest::prelude::*;

    fn written(groups: &Groups, policy: &Policy) -> String {
        let mut text = Vec::new();
        groups.write(policy, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    proptest! {
        #[test]
        fn parts_merged_in_order_are_the_whole(
            runs in prop::collection::vec(
                (0usize..3, prop::collection::vec((0usize..5, 0usize..5, 8080u16..8084), 1..8)),
                1..10,
            ),
        ) {
            let policy = policy();
            let ends = [CELL, DOPPLER, LOG_API, NATS, UAA];
            let (mut whole, mut merged) = (Groups::default(), Groups::default());
            let mut adders = [(); 3].map(|()| Groups::default());
            for (adder, flows) in &runs {
                for (source, destination, port) in flows {
                    let case = Case::new(ends[*source], ends[*destination], *port, MUTUAL.observed());
                    let judged = judged(&policy, &case, None);
                    whole.add(&judged.record());
                    adders[*adder].add(&judged.record());
                }
                merged.merge(adders[*adder].take());
            }
            let flows: usize = runs.iter().map(|(_, flows)| flows.len()).sum();
            prop_assert_eq!(merged.flows(), flows as u64);
            prop_assert_eq!(written(&merged, &policy), written(&whole, &policy));
        }
    }

    #[test]
    fn groups_outlive_the_inventory_that_named_their_ends() {
        let policy = policy();
        let add = |groups: &mut Groups| {
            for source in [CELL, LOG_API] {
                let case = Case::new(source, DOPPLER, 9999, MUTUAL.observed());
                groups.add(&judged(&policy, &case, None).record());
            }
        };
        let mut groups = Groups::default();
        add(&mut groups);
        let before = written(&groups, &policy);
        let stranger = crate::policy::testing::bind(&[], crate::policy::Options::default());
        groups.settle(&policy);
        assert_eq!(written(&groups, &stranger), before);
        add(&mut groups);
        groups.settle(&policy);
        assert_eq!((groups.list.len(), groups.flows()), (2, 4));
        groups.settle(&stranger);
        assert_eq!(
            written(&groups, &stranger),
            before.replace("2 flows in", "4 flows in").replace("1 flow", "2 flows")
        );
    }

    #[test]
    fn parts_of_more_groups_than_are_kept_tell_nothing_and_count_all() {
        let policy = policy();
        let add = |groups: &mut Groups, number: usize| {
            let case =
                Case::new(&format!("192.0.{}.{}", number / 250, number % 250), UAA, 8443, MUTUAL.observed());
            groups.add(&judged(&policy, &case, None).record());
        };
        let (mut whole, mut merged, mut parts) = (Groups::default(), Groups::default(), Groups::default());
        for number in (0..GROUPS).chain([GROUPS + 1, GROUPS + 1, 7]) {
            add(&mut whole, number);
        }
        (0..GROUPS).for_each(|number| add(&mut parts, number));
        merged.merge(parts.take());
        [GROUPS + 1, GROUPS + 1, 7].iter().for_each(|number| add(&mut parts, *number));
        let part = parts.take();
        assert!(part.list.iter().all(|group| group.told.evidence.is_empty()));
        merged.merge(part);
        assert_eq!((merged.ungrouped, merged.flows()), (2, GROUPS as u64 + 3));
        assert_eq!(written(&merged, &policy), written(&whole, &policy));
    }
}
