//! Community IDs, against tshark's.

use std::collections::{BTreeMap, BTreeSet};

use crate::ours::Ours;
use crate::tally::Tally;
use crate::tshark::Tshark;
use crate::tuple::{TCP, Tuple, UDP};

/// Compares the identifiers of each five-tuple, and of pairs of addresses for protocols without ports.
pub fn compare(ours: &Ours, theirs: &Tshark, tally: &mut Tally) {
    let mut said: BTreeMap<Tuple, BTreeSet<&str>> = BTreeMap::new();
    for frame in &theirs.frames {
        let passed = frame.passed();
        // tshark gives the identifier of what is innermost in tunnels, and not of what ICMP quotes.
        let icmp = frame.above_ip().is_some_and(|word| word.starts_with("icmp"));
        let told = if icmp { passed.first() } else { passed.last() };
        if let (Some(id), Some(told)) = (frame.first("communityid"), told)
            && told.outermost
        {
            said.entry(told.tuple).or_default().insert(id);
        }
    }
    for flow in ours.flows.iter().filter(|flow| !flow.tunnelled) {
        let ports = [TCP, UDP].contains(&flow.tuple.transport);
        let (question, tuple) = match ports {
            true => ("Community ID, TCP and UDP", flow.tuple),
            false => ("Community ID, other protocols", flow.tuple.addresses()),
        };
        let Some(ids) = said.get(&tuple) else { continue };
        if ids.contains(flow.community_id.as_str()) && (!ports || ids.len() == 1) {
            tally.agree(question);
        } else {
            tally.differ(question, format!("{}: ours {}, tshark {ids:?}", flow.tuple, flow.community_id));
        }
    }
}
