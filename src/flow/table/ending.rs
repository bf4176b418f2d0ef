//! How flows leave the table: when their time is over, when there is no room, and at the end.

use std::cmp::Reverse;

use hashbrown::HashTable;

use super::{First, FlowTable};
use crate::capture::{Timestamp, near};
use crate::flow::budget::Held;
use crate::flow::reader::Reader;
use crate::flow::record::{Cold, Hot, LIVE, READ, WIDE};
use crate::flow::slab::Slab;
use crate::flow::wheel::Entry;
use crate::flow::{Flow, Key};
use crate::packet::{Gap, Head, Side, Transport};

/// How long a connection attempt without an answer is waited for.
pub(super) const ATTEMPT: i64 = 60 * Timestamp::SECOND;
/// How long an open TCP connection may be idle: beyond the two hours of TCP keep-alive most hosts use.
pub(super) const ESTABLISHED: i64 = 3 * 3600 * Timestamp::SECOND;
/// How long a closed connection stays known, so that late and doubly captured packets find it.
pub(super) const CLOSED: i64 = 60 * Timestamp::SECOND;
/// How long a UDP flow may be idle.
pub(super) const UDP: i64 = 120 * Timestamp::SECOND;
/// How long a flow of any other protocol may be idle.
pub(super) const OTHER: i64 = 60 * Timestamp::SECOND;

/// How many connections that used the same ports one after the other are told apart.
pub(super) const GENERATIONS: usize = 8;

/// Flows that may end at once because their time is over. Many more are due together after a flood or a
/// leap of the clock; they end a few with each packet, so that what is made of them is never much.
pub(super) const AT_ONCE: usize = 2048;
/// How many more may end with each packet, and with each second that begins.
pub(super) const WITH_EACH: usize = 2;
/// Flows that end one after the other and are asked for together, so that memory is waited for once.
pub(super) const ASKED_FOR: usize = 16;
/// Entries of ended flows that the wheel may hold besides those of live ones before it is swept.
pub(super) const STALE: usize = 1 << 16;
/// Flows looked at for the one that is worth least when there is no room for another.
pub(super) const LOOKED_AT: usize = 64;
/// Of them, flows that are found at once, unless all are worth much.
pub(super) const TOGETHER: usize = 32;

impl<R: Reader> FlowTable<R> {
    /// The audit's clock shows `now`: flows that are due go to `ended`, in the order of their first packets.
    /// When they are very many, the rest of them ends with the packets that follow.
    ///
    /// Does something once in every second that begins, as [`Clock::advance`](crate::flow::Clock::advance) tells;
    /// it is to be told of each, before the packet that the clock was moved by.
    pub fn tick(&mut self, now: Timestamp, ended: &mut Vec<Flow<R>>) {
        let mut passed = std::mem::take(&mut self.passed);
        if self.wheel.advance(now, &mut passed) {
            let waiting = self.due.len();
            for entries in passed.chunks(ASKED_FOR) {
                entries.iter().filter_map(|entry| self.hot.get(entry.id)).for_each(near);
                entries.iter().filter_map(|entry| self.cold.get(entry.id)).for_each(near);
                for entry in entries {
                    self.look_at(*entry, now);
                }
            }
            passed.clear();
            self.due.make_contiguous()[waiting..].sort_unstable_by_key(|(first, _)| *first);
            passed.shrink_to(AT_ONCE);
        }
        self.passed = passed;
        self.end_due(now, ended);
        self.rest(now);
    }

    /// Puts a flow where it comes up when it is due.
    #[inline(never)]
    pub(super) fn wait_for_end(&mut self, id: u32) {
        let entry = Entry { id, generation: self.cold[id].generation };
        self.wheel.insert(entry, deadline(&self.hot[id]));
        if self.wheel.len() > 3 * self.live + STALE {
            let Self { wheel, hot, cold, .. } = self;
            wheel.retain(|entry| is_named(hot, cold, *entry));
        }
    }

    /// Every flow still there, in the order of their first packets: each is to be let go with
    /// [`FlowTable::end`]. A list of the flows themselves would take as much memory as the table.
    ///
    /// No packet may come after this.
    pub fn remaining(&mut self) -> Vec<(First, u32)> {
        self.is_closing = true;
        self.index = HashTable::new();
        let mut order = Vec::with_capacity(self.live);
        for ((id, hot), (_, cold)) in self.hot.iter().zip(self.cold.iter()) {
            if hot.is(LIVE) {
                order.push((cold.first(), id));
            }
        }
        // Numbers are given in the order of packets but for those that were free, so that this finds long runs.
        order.sort();
        order
    }

    /// These flows end next: what that takes of each is asked for, without waiting for one after the other.
    fn expect(&self, ids: impl Iterator<Item = u32> + Clone) {
        for id in ids.clone() {
            self.hot.get(id).into_iter().for_each(near);
            self.cold.get(id).into_iter().for_each(near);
        }
        let mut deepest = 0;
        for cold in ids.clone().filter_map(|id| self.cold.get(id)) {
            cold.expect(&self.awake);
            deepest = deepest.max(cold.reader.deepest());
        }
        self.expect_names(ids.clone());
        for pointers in 1..=deepest {
            for cold in ids.clone().filter_map(|id| self.cold.get(id)) {
                cold.reader.expect_behind(pointers);
            }
        }
    }

    /// As [`FlowTable::look_up`] does, asks for the places of these flows in the index.
    fn expect_names(&self, ids: impl Iterator<Item = u32>) {
        if !self.index.is_empty() {
            ids.for_each(|id| self.near_place(self.hashed(&self.key(id)).half));
        }
    }

    /// Lets go of some flows of those that [`FlowTable::remaining`] lists, last first, down to the first for which
    /// `is_wanted` is false; says whether there were any.
    pub fn end_last(
        &mut self,
        remaining: &mut Vec<(First, u32)>,
        is_wanted: impl Fn(First) -> bool,
        ended: &mut Vec<Flow<R>>,
    ) -> bool {
        let last = remaining.iter().rev().take(ASKED_FOR);
        let wanted = last.take_while(|(first, _)| is_wanted(*first)).count();
        let last = remaining.split_off(remaining.len() - wanted);
        self.expect(last.iter().map(|(_, id)| *id));
        ended.extend(last.iter().rev().filter_map(|(_, id)| self.take_out(*id, false)));
        wanted > 0
    }

    /// Lets go of one flow, told from others by what [`FlowTable::remaining`] says.
    pub fn end(&mut self, id: u32) -> Option<Flow<R>> {
        self.take_out(id, false)
    }

    fn take_out(&mut self, id: u32, evicted: bool) -> Option<Flow<R>> {
        let hot = *self.hot.get(id).filter(|hot| hot.is(LIVE))?;
        let cold = &mut self.cold[id];
        let is_over = hot.is_over();
        let missed = match self.losses.touch(cold.start, is_over.then_some(hot.end)) {
            true => Some(Gap::Loss),
            false => (evicted && !is_over).then_some(Gap::Cap),
        };
        self.budget.release(&Held::of(&cold.reader));
        match (Transport(hot.transport), missed) {
            (Transport::TCP, _) if hot.is(READ) => {
                cold.finish(missed, hot.end, &mut self.awake, &mut self.budget);
            }
            (Transport::UDP, Some(cause)) => {
                for side in [Side::A, Side::B] {
                    cold.reader.gap(side, cause, u64::MAX, hot.end);
                }
            }
            _ => {}
        }
        let reader = std::mem::take(&mut cold.reader);
        let flow = self.flow(id, evicted, reader);
        self.forget(id, &hot, &flow.key);
        Some(flow)
    }

    /// Its place is free, and nothing names it.
    fn forget(&mut self, id: u32, hot: &Hot, key: &Key) {
        if !self.is_closing {
            self.unname(id, hot, key);
        }
        if hot.is(WIDE) {
            self.wide.release(hot.a);
            self.wide.release(hot.b);
        }
        if !self.carried.is_empty() {
            self.carried.remove(&id);
        }
        if !self.ambiguous.is_empty() {
            self.ambiguous.remove(&id);
        }
        self.hot[id].flags = 0;
        let cold = &mut self.cold[id];
        cold.generation = cold.generation.wrapping_add(1);
        self.around.release(cold.around);
        self.free.push(id);
        self.live -= 1;
    }

    /// Makes room for another flow. The flow that is worth least ends, of those the hand came by: a look at
    /// all of them would cost more than the flow is worth.
    pub(super) fn make_room(&mut self, ended: &mut Vec<Flow<R>>) {
        if self.live < self.limits.flows {
            return;
        }
        if self.worthless.is_empty() {
            self.look_for_worthless();
        }
        while let Some(Candidate { id, generation, worth, touched }) = self.worthless.pop() {
            let is_there = is_named(&self.hot, &self.cold, Entry { id, generation });
            if is_there && (self.hot[id].touched, self.hot[id].worth()) == (touched, worth) {
                self.account.evicted += 1;
                ended.extend(self.take_out(id, true));
                return;
            }
            if self.worthless.is_empty() {
                self.look_for_worthless();
            }
        }
    }

    /// A connection begins: while it is not answered it is worth less than what was found, unless that is as little.
    pub(super) fn reconsider(&mut self) {
        if self.worthless.last().is_some_and(|candidate| candidate.worth != Worth::Attempt) {
            self.worthless.clear();
        }
    }

    /// Looks at the next flows for those that are worth least. Several are found at once where that is little: a
    /// flood ends as many as it begins, and to look anew for each, and to wait for the memory of each, costs
    /// more than all the rest.
    fn look_for_worthless(&mut self) {
        let (found, mut least) = (&mut self.worthless, Worth::Spoken);
        for _ in 0..LOOKED_AT {
            let id = self.hand;
            let Some(hot) = self.hot.get(id) else {
                self.hand = 0;
                continue;
            };
            self.hand += 1;
            let worth = if hot.is(LIVE) { hot.worth() } else { continue };
            if worth < least {
                found.clear();
                least = worth;
            }
            if worth == least {
                found.push(Candidate { id, generation: 0, worth, touched: hot.touched });
            }
            // Flows begin in the order in which the hand goes round: these are among the oldest.
            if worth == Worth::Attempt && found.len() == TOGETHER {
                break;
            }
        }
        let kept = if least == Worth::Spoken { 1 } else { TOGETHER };
        if found.len() > kept {
            found.select_nth_unstable_by_key(kept, Candidate::age);
            found.truncate(kept);
        }
        found.sort_unstable_by_key(|candidate| Reverse(candidate.age()));
        // As in `look_up`: what the end of each will need is asked for together.
        self.worthless.iter().for_each(|candidate| near(&self.cold[candidate.id]));
        self.expect_names(self.worthless.iter().map(|candidate| candidate.id));
        for candidate in &mut self.worthless {
            candidate.generation = self.cold[candidate.id].generation;
        }
    }

    /// Lets go of the oldest connection on these ports when there are as many as are told apart.
    pub(super) fn end_oldest(&mut self, newest: u32, ended: &mut Vec<Flow<R>>) {
        let (mut oldest, mut count) = (newest, 1);
        while let Some(previous) = self.previous(oldest) {
            oldest = previous;
            count += 1;
        }
        if count >= GENERATIONS {
            ended.extend(self.end(oldest));
        }
    }

    /// Puts the flow of a wheel entry among those that end if it is due, else the entry where it will be.
    fn look_at(&mut self, entry: Entry, now: Timestamp) {
        if !is_named(&self.hot, &self.cold, entry) {
            return;
        }
        if self.is_due(entry.id, now) {
            let cold = &self.cold[entry.id];
            self.due.push_back((cold.first(), entry));
        } else {
            self.wheel.insert(entry, deadline(&self.hot[entry.id]));
        }
    }

    /// Ends flows that are due, as many as may end now.
    fn end_due(&mut self, now: Timestamp, ended: &mut Vec<Flow<R>>) {
        self.allowance = (self.allowance + WITH_EACH).min(AT_ONCE);
        let mut asked_for = 0;
        while self.allowance > 0
            && let Some((_, entry)) = self.due.pop_front()
        {
            if asked_for == 0 {
                asked_for = self.due.len().min(ASKED_FOR);
                self.expect(self.due.iter().take(asked_for).map(|(_, next)| next.id));
            }
            asked_for = asked_for.saturating_sub(1);
            if !is_named(&self.hot, &self.cold, entry) {
                continue;
            }
            if self.is_due(entry.id, now) {
                self.allowance -= 1;
                ended.extend(self.end(entry.id));
            } else {
                self.wheel.insert(entry, deadline(&self.hot[entry.id]));
            }
        }
    }

    /// Ends flows that are due, in any case that of the packet which comes next.
    #[inline(never)]
    pub(super) fn end_due_before(
        &mut self,
        half: u32,
        head: &Head,
        now: Timestamp,
        ended: &mut Vec<Flow<R>>,
    ) {
        self.end_due(now, ended);
        if let Some(id) = self.find(half, &Key::of(head)).filter(|id| self.is_due(*id, now)) {
            ended.extend(self.end(id));
        }
    }

    fn is_due(&self, id: u32, now: Timestamp) -> bool {
        now > deadline(&self.hot[id])
    }
}

/// A flow that may end to make room, if it is then as it was when it was looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    id: u32,
    generation: u16,
    worth: Worth,
    touched: Timestamp,
}

impl Candidate {
    /// The least was left alone for longest.
    fn age(&self) -> (Timestamp, u32) {
        (self.touched, self.id)
    }
}

/// What flows are worth when there is no room for all, from the least on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Worth {
    /// A connection attempt that was not answered: what floods are made of.
    Attempt,
    /// Closed: it waits for nothing but repetitions.
    Closed,
    /// Only one side ever sent anything.
    OneWay,
    Spoken,
}

impl Hot {
    #[inline]
    fn worth(&self) -> Worth {
        if self.is_attempt() {
            Worth::Attempt
        } else if self.is_over() {
            Worth::Closed
        } else if self.packets.contains(&0) {
            Worth::OneWay
        } else {
            Worth::Spoken
        }
    }
}

/// The flow that an entry was made for is still there.
pub(super) fn is_named<R>(hot: &Slab<Hot>, cold: &Slab<Cold<R>>, entry: Entry) -> bool {
    hot[entry.id].is(LIVE) && cold[entry.id].generation == entry.generation
}

/// Until when the next packet of a flow is waited for.
fn deadline(hot: &Hot) -> Timestamp {
    Timestamp(hot.touched.0.saturating_add(time_out(hot)))
}

/// How long a flow may be idle from now on, in nanoseconds.
fn time_out(hot: &Hot) -> i64 {
    match Transport(hot.transport) {
        Transport::TCP if hot.is_over() => CLOSED,
        Transport::TCP if hot.is_attempt() => ATTEMPT,
        Transport::TCP => ESTABLISHED,
        Transport::UDP => UDP,
        _ => OTHER,
    }
}
