//! Packets and bytes of every five-tuple and of every pair of addresses, against tshark's conversations.

use std::collections::{BTreeMap, BTreeSet};

use flowaudit::packet::Uncounted;

use crate::ours::Ours;
use crate::tally::Tally;
use crate::tshark::{Frame, Rough, Tshark};
use crate::tuple::{Counts, TCP, Tuple, UDP};

/// tshark's frames by the flow that each should be in, and why its conversations may differ from that.
#[derive(Default)]
struct Model {
    /// What the outermost conversation of every frame comes to.
    outermost: BTreeMap<Tuple, Counts>,
    /// Seen inside a tunnel, quoted by an ICMP error, or behind a link layer that is not decoded.
    inside: BTreeSet<Tuple>,
    /// Sent in fragments: tshark counts the datagram once, when it is whole.
    fragmented: BTreeSet<Tuple>,
}

/// Compares both programs' counters.
pub fn compare(ours: &Ours, theirs: &Tshark, tally: &mut Tally) {
    let model = model(&theirs.frames);
    for (transport, question) in [(TCP, "TCP five-tuple"), (UDP, "UDP five-tuple"), (0, "pair of addresses")]
    {
        let mut flows: BTreeMap<Tuple, [Counts; 2]> = BTreeMap::new();
        for flow in &ours.flows {
            let (tuple, counts) = match transport {
                0 if flow.tuple.is_of_one_address() => (flow.tuple.addresses(), flow.counts.one_way()),
                0 => (flow.tuple.addresses(), flow.counts),
                _ => (flow.tuple, flow.counts),
            };
            if tuple.transport == transport {
                flows.entry(tuple).or_default()[usize::from(flow.tunnelled)] += counts;
            }
        }
        let mut conversations: BTreeMap<Tuple, Rough> = BTreeMap::new();
        for (tuple, rough) in theirs.conversations.iter().filter(|(tuple, _)| tuple.transport == transport) {
            conversations.entry(*tuple).or_default().add(rough);
        }
        let mut missing = 0;
        let mut lacking = Vec::new();
        let tuples: BTreeSet<Tuple> = flows.keys().chain(conversations.keys()).copied().collect();
        for tuple in tuples {
            let [outer, inner] = flows.get(&tuple).copied().unwrap_or_default();
            let mut all = outer;
            all += inner;
            let said = conversations.get(&tuple).copied().unwrap_or_default();
            let expected = model.outermost.get(&tuple).copied().unwrap_or_default();
            if said.packets == all.packets && said.fits(all.bytes) {
                tally.agree(question);
            } else if outer == expected && model.fragmented.contains(&tuple) {
                tally.explained(question, "fragments: tshark counts a datagram once");
            } else if outer == expected && model.inside.contains(&tuple) {
                tally.explained(question, "in a tunnel, quoted, or behind a link layer not decoded");
            } else {
                let differs =
                    format!("{tuple}: ours {outer:?} + {inner:?}, tshark {said:?}, its frames {expected:?}");
                match expected.total().checked_sub(outer.total()) {
                    Some(short @ 1..) => {
                        missing += short;
                        lacking.push(differs);
                    }
                    _ => tally.differ(question, differs),
                }
            }
        }
        // Malformed and cut packets and incomplete fragments are in the account instead, which says of the
        // whole capture how many there are.
        let elsewhere = |reason: &Uncounted| !matches!(reason, Uncounted::NotIp | Uncounted::LinkType);
        let account = ours.account.uncounted.iter().filter(|(reason, _)| elsewhere(reason));
        let counted: u64 = account.map(|(_, packets)| packets).sum();
        for differs in lacking {
            if missing <= counted {
                tally.explained(question, "packets that our account counts by reason");
            } else {
                tally.differ(question, format!("{differs}, of {missing} packets the account has {counted}"));
            }
        }
    }
}

fn model(frames: &[Frame]) -> Model {
    let lengths: BTreeMap<u64, u64> =
        frames.iter().map(|frame| (frame.number("frame.number"), frame.number("frame.len"))).collect();
    let mut model = Model::default();
    for frame in frames {
        for passed in frame.passed() {
            if !passed.outermost {
                model.inside.insert(passed.tuple);
                continue;
            }
            let sum = model.outermost.entry(passed.tuple).or_default();
            *sum += Counts::packet(frame.number("frame.len"), passed.turned);
            for number in frame.fragments().filter(|number| *number != frame.number("frame.number")) {
                model.fragmented.insert(passed.tuple);
                // The other fragments are of this conversation too, and show no ports themselves.
                if passed.tuple.transport != 0 {
                    *sum += Counts::packet(lengths.get(&number).copied().unwrap_or(0), passed.turned);
                }
            }
        }
    }
    model
}
