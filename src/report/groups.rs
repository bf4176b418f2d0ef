//! Reported flows in groups, for the summary: by reason, ends and port.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::net::IpAddr;

use foldhash::fast::RandomState;

use super::explain::append_evidence;
use super::text::{Text, text};
use super::{Record, clean, number, words};
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
    /// Where they are, and those of parts that were taken away and told there.
    places: HashMap<Key, Place, RandomState>,
    ungrouped: u64,
    /// Parts that were taken away.
    parts: u32,
    /// So many groups were told in them that those who merge the parts take no new ones.
    told_all: bool,
    /// Where texts are put together.
    text: Text,
}

/// Which group of which part.
#[derive(Clone, Copy, Debug)]
struct Place {
    part: u32,
    at: usize,
}

/// What the flows of a group have in common; made into words when it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    verdict: Verdict,
    reason: Option<Reason>,
    /// The overlay row that would explain it.
    deviation: Option<RowRef>,
    source: End,
    destination: End,
    port: u16,
}

impl Hash for Key {
    /// In few numbers, since every reported flow is looked up.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let reason = self.reason.map_or(0, |reason| reason as u64 + 1);
        state.write_u64(u64::from(self.port) | reason << 16 | (self.verdict as u64) << 32);
        self.source.hash(state);
        self.destination.hash(state);
        if let Some(row) = self.deviation {
            row.hash(state);
        }
    }
}

/// A VM by the name the inventory has for it, or an address it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Vm(VmName),
    Address(IpAddr),
}

impl Hash for End {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            End::Vm(name) => name.hash(state),
            End::Address(IpAddr::V4(ip)) => state.write_u32(ip.to_bits()),
            End::Address(IpAddr::V6(ip)) => state.write_u128(ip.to_bits()),
        }
    }
}

#[derive(Clone, Debug)]
struct Group {
    key: Key,
    flows: u64,
    /// `None` in a part, of a group that another part tells.
    told: Option<Box<Told>>,
}

/// What is told of a group's first flow, escaped.
#[derive(Clone, Debug, Default)]
struct Told {
    /// Source and destination, once the inventory that names them is no longer in force.
    ends: Option<[String; 2]>,
    /// Which one it is, and in the next line its evidence.
    example: Box<[u8]>,
    deviation: String,
}

impl Groups {
    /// Gives the groups so far, as a part for [`Groups::merge`], and begins the next part.
    pub(super) fn take(&mut self) -> Groups {
        self.parts += 1;
        if self.places.len() >= GROUPS {
            self.told_all = true;
            self.places.clear();
        }
        // The next part will be about as long.
        let next = Vec::with_capacity(self.list.len());
        let list = std::mem::replace(&mut self.list, next);
        Groups { list, ungrouped: std::mem::take(&mut self.ungrouped), ..Groups::default() }
    }

    /// Adds one reported flow.
    pub(super) fn add(&mut self, record: &Record<'_>) {
        let subject = &record.subject;
        let [source, destination] = record.names;
        let end = |name: Option<VmName>, ip: IpAddr| name.map_or(End::Address(ip), End::Vm);
        let key = Key {
            verdict: record.judgement.verdict,
            reason: record.judgement.reason,
            deviation: record.known_deviation,
            source: end(source, subject.source.ip),
            destination: end(destination, subject.destination.ip),
            port: subject.destination.port,
        };
        if self.told_all && self.list.len() < GROUPS {
            // Where groups are that many, few flows are of one: who merges the parts finds out.
            self.list.push(Group { key, flows: 1, told: None });
            return;
        }
        self.count(key, 1, |told_before, text| (!told_before).then(|| Box::new(Told::of(record, text))));
    }

    /// Adds the groups of flows that came later.
    pub(super) fn merge(&mut self, later: Groups) {
        for Group { key, flows, told } in later.list {
            self.count(key, flows, |_, _| told);
        }
        self.ungrouped += later.ungrouped;
    }

    /// Adds flows to their group. A new one is `told`, given whether it was in an earlier part.
    fn count(&mut self, key: Key, flows: u64, told: impl FnOnce(bool, &mut Text) -> Option<Box<Told>>) {
        let place = Place { part: self.parts, at: self.list.len() };
        let has_room = place.at < GROUPS;
        let told_before = match self.places.entry(key) {
            Entry::Occupied(known) if known.get().part == self.parts => {
                self.list[known.get().at].flows += flows;
                return;
            }
            Entry::Occupied(mut known) if has_room => {
                known.insert(place);
                true
            }
            Entry::Vacant(new) if has_room => {
                new.insert(place);
                false
            }
            _ => {
                self.ungrouped += flows;
                return;
            }
        };
        self.list.push(Group { key, flows, told: told(told_before, &mut self.text) });
    }

    /// Another policy comes into force: what the groups have in common is put into words, and those of one
    /// meaning become one.
    pub(super) fn settle(&mut self, policy: &Policy) {
        let mut meant: HashMap<_, usize> = HashMap::new();
        let mut list: Vec<Group> = Vec::new();
        for mut group in std::mem::take(&mut self.list) {
            let Key { verdict, reason, source, destination, port, .. } = group.key;
            let told = group.told.get_or_insert_default();
            let ends = told.ends.take();
            let ends = ends.unwrap_or_else(|| [source, destination].map(|end| named(end, policy)));
            let meaning = (verdict, reason, told.deviation.clone(), ends.clone(), port);
            match meant.entry(meaning) {
                Entry::Occupied(place) => list[*place.get()].flows += group.flows,
                Entry::Vacant(place) => {
                    place.insert(list.len());
                    told.ends = Some(ends);
                    list.push(group);
                }
            }
        }
        self.list = list;
        self.places.clear();
        self.told_all = false;
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
    fn of(record: &Record<'_>, text: &mut Text) -> Told {
        let subject = &record.subject;
        text.cut(0);
        text.ip(subject.source.ip);
        text.word(":");
        text.number(subject.source.port.into());
        text.word(" -> ");
        text.ip(subject.destination.ip);
        text.word(":");
        text.number(subject.destination.port.into());
        text.word(", packet ");
        text.number(record.counted.first_packet);
        text.word(" of ");
        text.clean(record.capture);
        text.word("\n      ");
        append_evidence(record, text);
        let deviation = record.known_deviation.map(|at| record.deviations.name(at));
        Told {
            ends: None,
            example: text.as_bytes().into(),
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
        let told = told.as_deref();
        let ends = told.and_then(|told| told.ends.clone());
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
            Some(_) => writeln!(output, ", known as {}", told.map_or("", |told| &told.deviation))?,
            None => writeln!(output)?,
        }
        write!(output, "      e.g. ")?;
        output.write_all(told.map_or(&[], |told| &told.example))?;
        writeln!(output)?;
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
        assert!(part.list.iter().all(|group| group.told.is_none()));
        merged.merge(part);
        assert_eq!((merged.ungrouped, merged.flows()), (2, GROUPS as u64 + 3));
        assert_eq!(written(&merged, &policy), written(&whole, &policy));
    }
}
