//! The second stage: packets to what other stages need to know of their flows, in packet order.

use std::sync::Arc;

use super::Plan;
use super::ended::Ended;
use super::links::Connection;
use super::reader::FlowReader;
use crate::capture::Timestamp;
use crate::flow::{First, Flow, FlowTable, Found, Limits, Place, Stamp};
use crate::packet::{Head, Transport};
use crate::pki::KnownCertificates;
use crate::protocol::Address;
use crate::report::Account;

/// Follows the flows of one flow table.
pub(super) struct Follower<'p> {
    plan: &'p Plan,
    table: FlowTable<FlowReader>,
    ended: Vec<Flow<FlowReader>>,
    /// Where the flows of the next packets were when they were looked up, and how many of those came.
    found: Vec<Found>,
    came: usize,
    certificates: KnownCertificates,
    places: Places,
    /// Once the captures are at their end: what is left of the table, last first.
    remaining: Option<Vec<(First, u32)>>,
}

/// Where packets went.
#[derive(Clone, Copy, Debug, Default)]
struct Places {
    in_flows: u64,
    flow_cap: u64,
    tunnelled: u64,
    tunnelled_flow_cap: u64,
}

/// Something that stages after this one are to know.
#[derive(Debug)]
pub(super) struct Event {
    order: Order,
    pub(super) what: What,
}

/// Where an event stands among all of the audit, whichever follower it comes from: by the packet it came
/// with. Flows that were due come before what the packet itself brought about, by their first packets; what
/// it brought about, from the outside of its tunnels in.
pub(super) type Order = (u64, Part, First);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Due,
    Packet,
    /// After the last packet.
    Remaining,
}

#[derive(Debug)]
pub(super) enum What {
    /// DNS answers gave names to these addresses.
    Answers(Vec<Address>),
    /// The handshake of a flow that goes on is settled.
    Settled(Box<Connection>),
    /// A flow ended.
    Ended(Box<Ended>),
}

impl Event {
    pub(super) fn order(&self) -> Order {
        self.order
    }
}

impl<'p> Follower<'p> {
    pub(super) fn new(plan: &'p Plan, limits: Limits) -> Follower<'p> {
        Follower {
            plan,
            table: FlowTable::new(limits, Arc::clone(&plan.keys)),
            ended: Vec::new(),
            found: Vec::new(),
            came: 0,
            certificates: KnownCertificates::default(),
            places: Places::default(),
            remaining: None,
        }
    }

    /// A second of packet time begins.
    pub(super) fn tick(&mut self, ordinal: u64, now: Timestamp, events: &mut Vec<Event>) {
        self.table.tick(now, &mut self.ended);
        for flow in self.ended.drain(..) {
            let order = (ordinal, Part::Due, flow.first());
            events.push(Event {
                order,
                what: What::Ended(Ended::new(flow, self.plan, &mut self.certificates)),
            });
        }
    }

    /// These packets come next: looked up together, they wait for memory once.
    pub(super) fn expect<'h>(&mut self, heads: impl Iterator<Item = &'h Head>) {
        self.table.look_up(heads, &mut self.found);
        self.came = 0;
    }

    /// Takes the next packet.
    pub(super) fn packet(&mut self, head: &Head, payload: &[u8], stamp: &Stamp, events: &mut Vec<Event>) {
        let packets = u64::from(head.packets);
        let place = match self.found.get(self.came) {
            Some(found) => self.table.packet_at(*found, head, payload, stamp, &mut self.ended),
            None => self.table.packet(head, payload, stamp, &mut self.ended),
        };
        self.came += 1;
        let depth = head.encapsulation.depth();
        match (place, depth) {
            (Place::Flow, 0) => self.places.in_flows += packets,
            (Place::Flow, _) => self.places.tunnelled += packets,
            (Place::Refused, 0) => self.places.flow_cap += packets,
            (Place::Refused, _) => self.places.tunnelled_flow_cap += packets,
        }
        let order = (stamp.ordinal, Part::Packet, (0, depth));
        if self.plan.learn && head.transport == Transport::UDP && depth == 0 && place == Place::Flow {
            let addresses = self.table.last_reader().map(|reader| reader.conversation.take_addresses());
            if let Some(addresses) = addresses.filter(|addresses| !addresses.is_empty()) {
                events.push(Event { order, what: What::Answers(addresses) });
            }
        }
        if let Some(flow) = self.table.take_news()
            && let Some(tls) = flow.reader.conversation.tls()
            && let Some(connection) = Connection::new(&flow, tls)
        {
            events.push(Event { order, what: What::Settled(Box::new(connection)) });
        }
        for flow in self.ended.drain(..) {
            events.push(Event {
                order,
                what: What::Ended(Ended::new(flow, self.plan, &mut self.certificates)),
            });
        }
    }

    /// The captures are at their end: flows that are left end, those whose first packet comes before that
    /// of ordinal `until`.
    pub(super) fn remaining(&mut self, until: u64, events: &mut Vec<Event>) {
        let remaining = self.remaining.get_or_insert_with(|| {
            let mut remaining = self.table.remaining();
            remaining.reverse();
            remaining
        });
        while let Some(((_, id), first)) = remaining.last().map(|last| (*last, last.0))
            && first.0 < until
        {
            remaining.pop();
            if let Some(flow) = self.table.end(id) {
                let order = (u64::MAX, Part::Remaining, first);
                events.push(Event {
                    order,
                    what: What::Ended(Ended::new(flow, self.plan, &mut self.certificates)),
                });
            }
        }
    }

    /// Adds what it counted.
    pub(super) fn account(&self, account: &mut Account) {
        account.in_flows += self.places.in_flows;
        account.flow_cap += self.places.flow_cap;
        account.tunnelled += self.places.tunnelled;
        account.tunnelled_flow_cap += self.places.tunnelled_flow_cap;
        let flows = self.table.account();
        account.flows += flows.flows;
        account.repeated_segments += flows.repeated;
        account.stream_cap += flows.stream_refused;
    }
}
