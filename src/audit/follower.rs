//! The second stage: packets to what other stages need to know of their flows, in packet order.

use std::sync::Arc;

use super::Plan;
use super::ended::{Ended, Open};
use super::force::InForce;
use super::links::Connection;
use super::open::OpenFlows;
use super::reader::FlowReader;
use crate::capture::{Maps, Timestamp};
use crate::flow::{First, Flow, FlowTable, Found, Limits, Stamp};
use crate::packet::{Head, Transport};
use crate::protocol::Address;
use crate::report::Account;

/// Follows the flows of one flow table.
pub(super) struct Follower<'p> {
    plan: InForce<'p>,
    table: FlowTable<FlowReader>,
    ended: Vec<Flow<FlowReader>>,
    /// Where the flows of the next packets were when they were looked up, and how many of those came.
    found: Vec<Found>,
    came: usize,
    packets: Packets,
    /// Flows that are looked at while they are open, in a live audit.
    open: Option<OpenFlows>,
    /// Once the captures are at their end: what is left of the table, last first.
    remaining: Option<Vec<(First, u32)>>,
}

/// Packets that were followed.
#[derive(Clone, Copy, Debug, Default)]
struct Packets {
    in_flows: u64,
    tunnelled: u64,
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
    /// A flow ended, or is looked at while it is open.
    Flow(Box<Ended>),
}

impl Event {
    pub(super) fn order(&self) -> Order {
        self.order
    }
}

impl<'p> Follower<'p> {
    pub(super) fn new(plan: &'p Plan, limits: Limits) -> Follower<'p> {
        Follower {
            plan: InForce::First(plan),
            table: FlowTable::new(limits, Arc::clone(&plan.keys)),
            ended: Vec::new(),
            found: Vec::new(),
            came: 0,
            packets: Packets::default(),
            open: None,
            remaining: None,
        }
    }

    /// Payload stays in these maps.
    pub(super) fn with_maps(self, maps: Maps) -> Follower<'p> {
        Follower { table: self.table.with_maps(maps), ..self }
    }

    /// A second of packet time begins.
    pub(super) fn tick(&mut self, ordinal: u64, now: Timestamp, events: &mut Vec<Event>) {
        self.table.tick(now, &mut self.ended);
        self.hand_on_ended(|first| (ordinal, Part::Due, first), events);
    }

    /// These packets come next: looked up together, they wait for memory once.
    pub(super) fn expect<'h>(&mut self, heads: impl Iterator<Item = &'h Head>) {
        self.table.look_up(heads, &mut self.found);
        self.came = 0;
    }

    /// Takes the next packet.
    #[inline]
    pub(super) fn packet(&mut self, head: &Head, payload: &[u8], stamp: &Stamp, events: &mut Vec<Event>) {
        let packets = u64::from(head.packets);
        match self.found.get(self.came) {
            Some(found) => self.table.packet_at(*found, head, payload, stamp, &mut self.ended),
            None => self.table.packet(head, payload, stamp, &mut self.ended),
        }
        self.came += 1;
        let depth = head.encapsulation.depth();
        match depth {
            0 => self.packets.in_flows += packets,
            _ => self.packets.tunnelled += packets,
        }
        if let Some(open) = &mut self.open
            && open.has_begun(self.table.account().flows)
            && let Some((id, flow)) = self.table.last().and_then(|id| Some((id, self.table.get(id)?)))
        {
            open.begun(id, flow.first(), flow.start);
        }
        let order = (stamp.ordinal, Part::Packet, (0, depth));
        if head.transport == Transport::UDP && depth == 0 && self.plan.learn {
            self.answered(order, events);
        }
        if self.table.has_news() {
            self.settled(order, events);
        }
        if !self.ended.is_empty() {
            self.hand_on_ended(|_| order, events);
        }
    }

    /// What the last packet answered, if it was DNS.
    fn answered(&mut self, order: Order, events: &mut Vec<Event>) {
        if self.table.last_reader().is_some_and(|reader| reader.conversation.has_addresses())
            && let Some(addresses) = self.table.take_from_last(|reader| reader.conversation.take_addresses())
        {
            events.push(Event { order, what: What::Answers(addresses) });
        }
    }

    /// The last packet settled the handshake of its flow.
    #[inline(never)]
    fn settled(&mut self, order: Order, events: &mut Vec<Event>) {
        if let Some(flow) = self.table.take_news()
            && let Some(tls) = flow.reader.conversation.tls()
            && let Some(connection) = Connection::new(&flow, tls)
        {
            events.push(Event { order, what: What::Settled(connection) });
        }
    }

    /// The flow that the last packet went to.
    pub(super) fn last(&self) -> Option<First> {
        self.table.last_first()
    }

    /// Hands on the flows that ended.
    fn hand_on_ended(&mut self, order: impl Fn(First) -> Order, events: &mut Vec<Event>) {
        let Follower { ended, plan, .. } = self;
        // All together: as the room is there, each event is written where it stays.
        events.extend(ended.iter_mut().map(|flow| {
            let order = order(flow.first());
            Event { order, what: What::Flow(Ended::new(flow, plan)) }
        }));
        ended.clear();
    }

    /// The captures are at their end: flows that are left end, those whose first packet comes before that
    /// of ordinal `until`.
    pub(super) fn remaining(&mut self, until: u64, events: &mut Vec<Event>) {
        let mut remaining = self.remaining.take().unwrap_or_else(|| {
            let mut remaining = self.table.remaining();
            remaining.reverse();
            remaining
        });
        while self.table.end_last(&mut remaining, |first| first.0 < until, &mut self.ended) {
            self.hand_on_ended(|first| (u64::MAX, Part::Remaining, first), events);
        }
        self.remaining = Some(remaining);
    }

    /// Open flows are looked at from now on.
    pub(super) fn look_at_open_flows(&mut self, every: Option<i64>) {
        self.open = Some(OpenFlows::new(every));
    }

    /// Hands on the open flows whose time it is.
    pub(super) fn look(&mut self, now: Timestamp, events: &mut Vec<Event>) {
        let Some(open) = &mut self.open else { return };
        let mut hand_on = |flow: &Flow<&FlowReader>, which: Open| {
            let order = (u64::MAX, Part::Packet, flow.first());
            let flow = Ended::open(flow, self.table.has_lost(flow), which, &self.plan);
            events.push(Event { order, what: What::Flow(flow) });
        };
        while let Some(young) = open.next_young(now) {
            if let Some(flow) = self.table.get(young.id).filter(|flow| flow.first() == young.first) {
                hand_on(&flow, Open::Violation);
                if !flow.is_over() {
                    open.again(young);
                }
            }
        }
        for id in open.turn(now, self.table.numbers()) {
            if let Some(flow) = self.table.get(id).filter(|flow| !flow.is_over())
                && open.is_long(flow.start, now)
            {
                hand_on(&flow, Open::Any);
            }
        }
    }

    /// Packets of this time were lost.
    pub(super) fn lost(&mut self, from: Timestamp, to: Timestamp) {
        self.table.lost(from, to);
    }

    /// Goes by another plan from now on.
    pub(super) fn go_by(&mut self, plan: InForce<'p>) {
        self.plan = plan;
    }

    /// Flows in the table.
    pub(super) fn flows(&self) -> u64 {
        self.table.len() as u64
    }

    /// Adds what it counted.
    pub(super) fn account(&self, account: &mut Account) {
        account.in_flows += self.packets.in_flows;
        account.tunnelled += self.packets.tunnelled;
        let flows = self.table.account();
        account.flows += flows.flows;
        account.repeated_segments += flows.repeated;
        account.evicted_flows += flows.evicted;
        account.stream_cap += flows.stream_refused;
        account.uncompared += flows.uncompared;
        account.header_work += flows.unread;
    }
}
