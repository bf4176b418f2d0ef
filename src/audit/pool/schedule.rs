//! Who does what next. Every change is made under one lock and is short; what there is to do is done outside.
//!
//! ```text
//! read -> follow, per shard -> link -> judge, any number at once -> write
//! ```
//!
//! A shard follows one piece of work at a time and in their order, so does the linker. Everything is
//! numbered when it begins and goes on by number, so that it does not matter who was faster.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::audit::batch::{Batch, RANGE, SHARDS};
use crate::audit::ended::Ended;
use crate::audit::follower::Event;
use crate::audit::judge::Judged;
use crate::protocol::tls::KeyStore;

/// Runs of flows in flight for each thread; the linker waits while there are more.
const RUNS_PER_THREAD: u64 = 4;

/// Flows that are judged at once, each moved from stage to stage by its box.
pub(in crate::audit) type Run = Vec<Box<Ended>>;

/// Batches that the calling thread reads ahead for each of the others before it helps them: with one only,
/// they would wait while it reads the next.
const BATCHES_AHEAD: usize = 4;

/// What all shards do, one piece after the other.
pub(super) enum Work {
    /// Follow these packets.
    Packets(Box<Batch>),
    /// Let go of flows that are left, those that begin before this packet.
    Remaining { until: u64, is_last: bool },
}

/// What a thread is to do next.
pub(super) enum Step {
    /// Fill this batch.
    Read(Box<Batch>),
    Task(Task),
    Write(Box<Judged>),
    Over,
}

/// What any thread can do.
pub(super) enum Task {
    Follow { shard: usize, work: Arc<Work> },
    Link { events: Vec<Vec<Event>>, is_last: bool },
    Judge { number: u64, flows: Run },
}

/// What is in flight.
pub(super) struct Schedule {
    keys: Arc<KeyStore>,
    threads: usize,
    /// From the reader to the linker, in order.
    works: VecDeque<InFlight>,
    /// The number of the first of them.
    first: u64,
    /// The number of the first one that waits for those before it.
    closed: u64,
    reading: Reading,
    shards: [Shard; SHARDS],
    is_linking: bool,
    /// Runs of flows to be judged, and those that were and wait for their turn to be written.
    runs: VecDeque<(u64, Run)>,
    judged: BTreeMap<u64, Box<Judged>>,
    /// How many runs were begun, and how many are written.
    begun: u64,
    written: u64,
    #[expect(clippy::vec_box, reason = "they go back into the boxes they came in")]
    spare: Vec<Box<Batch>>,
    is_stopped: bool,
}

struct InFlight {
    work: Arc<Work>,
    /// How many shards are done with it.
    followed: usize,
}

#[derive(Clone, Copy)]
enum Reading {
    Packets,
    /// All packets were read: flows are let go up to here, of so many packets in all.
    Remaining {
        until: u64,
        packets: u64,
    },
    Done,
}

#[derive(Default)]
struct Shard {
    /// The number of the work it does, or does next.
    next: u64,
    is_busy: bool,
    /// The thread that worked for it last, whose caches hold its flows.
    thread: usize,
    /// What came of work that is not linked yet.
    events: VecDeque<Vec<Event>>,
}

impl Schedule {
    pub(super) fn new(threads: usize, keys: Arc<KeyStore>) -> Schedule {
        Schedule {
            keys,
            threads,
            works: VecDeque::new(),
            first: 0,
            closed: 0,
            reading: Reading::Packets,
            shards: Default::default(),
            is_linking: false,
            runs: VecDeque::new(),
            judged: BTreeMap::new(),
            begun: 0,
            written: 0,
            spare: Vec::new(),
            is_stopped: false,
        }
    }

    /// Nobody begins anything any more.
    pub(super) fn stop(&mut self) {
        self.is_stopped = true;
    }

    /// What a thread is to do; `None` to wait. Threads have numbers, that of the calling thread is 0.
    pub(super) fn step(&mut self, thread: usize) -> Option<Step> {
        match (thread, self.is_stopped) {
            (_, true) => Some(Step::Over),
            (0, false) => self.callers_step(),
            (_, false) => self.task(thread).map(Step::Task),
        }
    }

    /// The calling thread reads ahead for the others before it helps them.
    fn callers_step(&mut self) -> Option<Step> {
        if self.is_over() {
            return Some(Step::Over);
        }
        if let Some(judged) = self.judged.remove(&self.written) {
            return Some(Step::Write(judged));
        }
        let ahead = BATCHES_AHEAD * (self.threads - 1);
        self.batch(ahead).or_else(|| self.task(0).map(Step::Task)).or_else(|| self.batch(ahead + 1))
    }

    /// A batch was read; `packets` tells how many were read in all, if it is the last.
    pub(super) fn read(&mut self, batch: Box<Batch>, packets: Option<u64>) {
        if batch.is_empty() {
            self.spare.push(batch);
        } else {
            self.begin(Work::Packets(batch));
        }
        if let Some(packets) = packets {
            self.reading = Reading::Remaining { until: 0, packets };
            self.let_go();
        }
        self.open();
    }

    /// A shard is done with its work.
    pub(super) fn followed(&mut self, shard: usize, events: Vec<Event>) {
        let Some(shard) = self.shards.get_mut(shard) else { return };
        let place = shard.next.saturating_sub(self.first) as usize;
        shard.events.push_back(events);
        shard.next += 1;
        shard.is_busy = false;
        if let Some(work) = self.works.get_mut(place) {
            work.followed += 1;
        }
        self.open();
    }

    /// The linker is done with its work.
    pub(super) fn linked(&mut self, runs: Vec<Run>) {
        for flows in runs {
            self.runs.push_back((self.begun, flows));
            self.begun += 1;
        }
        self.is_linking = false;
    }

    /// A run of flows was judged.
    pub(super) fn judged(&mut self, number: u64, judged: Judged) {
        self.judged.insert(number, Box::new(judged));
    }

    /// The run that was to be written next is.
    pub(super) fn written(&mut self) {
        self.written += 1;
    }

    fn is_over(&self) -> bool {
        let is_linked = self.works.is_empty() && !self.is_linking;
        matches!(self.reading, Reading::Done) && is_linked && self.begun == self.written
    }

    /// A batch to be filled, if fewer than `wanted` are in flight.
    fn batch(&mut self, wanted: usize) -> Option<Step> {
        let is_wanted = matches!(self.reading, Reading::Packets) && self.works.len() < wanted;
        is_wanted.then(|| Step::Read(self.spare.pop().unwrap_or_default()))
    }

    /// What is furthest on its way to the report.
    fn task(&mut self, thread: usize) -> Option<Task> {
        if let Some((number, flows)) = self.runs.pop_front() {
            return Some(Task::Judge { number, flows });
        }
        self.link().or_else(|| self.follow(thread))
    }

    fn link(&mut self) -> Option<Task> {
        let is_followed = self.works.front().is_some_and(|work| work.followed == SHARDS);
        let has_room = self.begun - self.written < RUNS_PER_THREAD * self.threads as u64;
        if self.is_linking || !is_followed || !has_room {
            return None;
        }
        self.is_linking = true;
        self.first += 1;
        let mut is_last = false;
        match self.works.pop_front().and_then(|work| Arc::into_inner(work.work)) {
            Some(Work::Packets(batch)) => self.spare.push(batch),
            Some(Work::Remaining { is_last: last, .. }) => is_last = last,
            None => {}
        }
        self.let_go();
        let events = self.shards.iter_mut().filter_map(|shard| shard.events.pop_front()).collect();
        Some(Task::Link { events, is_last })
    }

    /// Of the shards that have something to do, the one that lags behind furthest; of several, one that this
    /// thread worked for.
    fn follow(&mut self, thread: usize) -> Option<Task> {
        let is_free = |(_, shard): &(usize, &mut Shard)| !shard.is_busy && shard.next < self.closed;
        let shards = self.shards.iter_mut().enumerate();
        let (number, shard) =
            shards.filter(is_free).min_by_key(|(_, shard)| (shard.next, shard.thread != thread))?;
        let work = self.works.get(shard.next.checked_sub(self.first)? as usize)?;
        (shard.is_busy, shard.thread) = (true, thread);
        Some(Task::Follow { shard: number, work: Arc::clone(&work.work) })
    }

    fn begin(&mut self, work: Work) {
        self.works.push_back(InFlight { work: Arc::new(work), followed: 0 });
    }

    /// Opens work to the shards, up to secrets that open nothing before them.
    fn open(&mut self) {
        while let Some(next) = self.works.get(self.closed.saturating_sub(self.first) as usize) {
            if let Work::Packets(batch) = &*next.work
                && batch.has_secrets()
            {
                if self.shards.iter().any(|shard| shard.next < self.closed) {
                    return;
                }
                batch.open(&self.keys);
            }
            self.closed += 1;
        }
    }

    /// Once all packets were read, flows that are left are let go, a few pieces of work ahead.
    fn let_go(&mut self) {
        while let Reading::Remaining { until, packets } = self.reading
            && self.works.len() <= 2 * self.threads
        {
            let until = until.saturating_add(RANGE);
            let is_last = until > packets;
            self.begin(Work::Remaining { until, is_last });
            self.reading = if is_last { Reading::Done } else { Reading::Remaining { until, packets } };
        }
        self.open();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Plan;
    use crate::policy::testing::policy;
    use proptest::prelude::*;

    /// A piece of work for one shard, as the test tells them apart.
    fn until(work: &Work) -> u64 {
        match work {
            Work::Remaining { until, .. } => *until,
            Work::Packets(_) => 0,
        }
    }

    proptest! {
        #[test]
        fn whoever_is_faster_everything_is_done_once_and_in_order(
            threads in 1usize..5,
            packets in 0u64..40_000,
            mut luck in prop::collection::vec(any::<u16>(), 200),
        ) {
            let plan = Plan::new(policy());
            let mut schedule = Schedule::new(threads, Arc::default());
            let (mut busy, mut is_caller_free, mut followed) = (Vec::new(), true, [0; SHARDS]);
            let (mut batches, mut linked, mut begun, mut written) = (0, 0, 0, 0);
            loop {
                luck.rotate_left(1);
                let is_caller = is_caller_free;
                let is_free = busy.len() < threads && (busy.is_empty() || luck[0] & 1 == 0);
                let thread = if is_caller { 0 } else { 1 + usize::from(luck[1]) % threads };
                let step = if is_free { schedule.step(thread) } else { None };
                match step {
                    Some(Step::Over) => break,
                    Some(Step::Read(mut batch)) => {
                        batches += 1;
                        batch.begin(vec![Box::default(); usize::from(luck[0] % 4 == 0)]);
                        schedule.read(batch, (batches > 9).then_some(packets));
                        continue;
                    }
                    Some(Step::Write(_)) => {
                        written += 1;
                        schedule.written();
                        continue;
                    }
                    Some(Step::Task(task)) => {
                        is_caller_free &= !is_caller;
                        busy.push((is_caller, task));
                        continue;
                    }
                    None => prop_assert!(!busy.is_empty(), "nobody has anything to do"),
                }
                let (was_caller, task) = busy.swap_remove(usize::from(luck[0]) % busy.len());
                is_caller_free |= was_caller;
                match task {
                    Task::Follow { shard, work } => {
                        let at = until(&work);
                        prop_assert!(at == 0 || at == followed[shard] + RANGE);
                        followed[shard] = at;
                        drop(work);
                        schedule.followed(shard, Vec::new());
                    }
                    Task::Link { events, is_last } => {
                        prop_assert_eq!(events.len(), SHARDS);
                        linked += 1;
                        let runs = usize::from(luck[0] % 3);
                        begun += runs;
                        schedule.linked((0..runs).map(|_| Run::new()).collect());
                        prop_assert!(!is_last || followed.iter().all(|until| *until > packets));
                    }
                    Task::Judge { number, .. } => {
                        prop_assert!(number >= written);
                        schedule.judged(number, Judged::new(&plan));
                    }
                }
            }
            prop_assert_eq!((begun as u64, busy.len()), (written, 0));
            prop_assert!(linked > packets / RANGE && followed.iter().all(|until| *until > packets));
        }
    }
}
