//! An audit on many threads: the same stages, in batches, and the same report whatever their number.
//!
//! The calling thread alone reads captures and writes the report. All else is shared out by a small
//! schedule ([`schedule`]): each thread takes the task that is furthest on its way to the report, so that
//! little waits anywhere. With one thread the calling thread does all of it, by the same rules.

mod schedule;

use std::io;
use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::batch::{Batch, Filling, SHARDS, Spread, share};
use super::follower::{Event, Follower, What};
use super::intake::Intake;
use super::judge::{Judge, Judged};
use super::linker::Linker;
use super::writer::Writer;
use super::{Outcome, Plan, outcome};
use crate::capture::{Filter, FilterError, Maps, Packet, Secrets, near};
use crate::report::Rows;
pub(super) use schedule::Run;
use schedule::{Schedule, Step, Task, Work};

/// The number of the calling thread.
const CALLER: usize = 0;
/// So many flows ahead of the one that is dealt with are asked of memory: another thread may have made them.
const AHEAD: usize = 3;
/// Flows that are judged at once, about.
pub(super) const FLOWS_IN_RUN: usize = 512;

/// Takes what captures hold.
pub trait Take {
    /// Takes the next packet.
    ///
    /// # Errors
    /// A filter that makes no sense on the packet's link type.
    fn packet(&mut self, packet: &Packet<'_>) -> Result<(), FilterError>;
    /// Takes secrets for the packets after them.
    fn secrets(&mut self, secrets: &Secrets<'_>);
    /// Nothing more is wanted now.
    fn has_enough(&self) -> bool;
}

/// Where an audit's packets come from.
pub trait Feed {
    /// Hands over what comes next, until the taker has enough; `false` once there is no more.
    ///
    /// # Errors
    /// What the taker fails with.
    fn feed(&mut self, taker: &mut impl Take) -> Result<bool, FilterError>;
    /// The memory maps that packets lie in, by the index of their captures.
    fn maps(&self) -> Maps;
}

/// An audit that is about to run on several threads.
pub struct Pool<'p, W: io::Write> {
    plan: &'p Plan,
    captures: Arc<[String]>,
    intake: Intake,
    writer: Writer<W>,
    threads: NonZeroUsize,
}

impl<'p, W: io::Write> Pool<'p, W> {
    /// Sets up an audit of captures with these names; a report is written if there is somewhere to.
    ///
    /// # Errors
    /// A report that cannot be begun.
    pub fn new(
        plan: &'p Plan,
        captures: Vec<String>,
        filter: Option<Filter>,
        report: Option<W>,
        threads: NonZeroUsize,
    ) -> Result<Pool<'p, W>, csv::Error> {
        let writer = Writer::new(report)?;
        Ok(Pool { plan, captures: captures.into(), intake: Intake::new(filter), writer, threads })
    }

    /// Audits all that `feed` has; when the report cannot be written, only what was read until then.
    ///
    /// # Errors
    /// A filter that makes no sense on a packet's link type.
    pub fn run(self, feed: &mut impl Feed) -> Result<Outcome, FilterError> {
        let Pool { plan, captures, intake, writer, threads } = self;
        let is_written = writer.is_given();
        let maps = feed.maps();
        let follower = |_| Mutex::new(Follower::new(plan, share(plan.limits)).with_maps(maps.clone()));
        let schedule = Schedule::new(threads.get(), Arc::clone(&plan.keys));
        let shared = Shared {
            plan,
            followers: (0..SHARDS).map(follower).collect(),
            maps,
            linking: Mutex::new(Linking { linker: Linker::new(plan), waiting: Vec::new() }),
            schedule: Mutex::new(Waited { it: schedule, waiting: 0 }),
            wake: Condvar::new(),
            spare: Mutex::new(Vec::new()),
        };
        let judge = || Judge::new(plan, Arc::clone(&captures), is_written);
        let judged = Judged::new(plan);
        let mut caller = Caller { intake, writer, spread: Spread::default(), secrets: Vec::new(), judged };
        thread::scope(|scope| {
            for thread in CALLER + 1..threads.get() {
                let (shared, judge) = (&shared, judge());
                scope.spawn(move || shared.help(thread, judge));
            }
            caller.work(&shared, judge(), feed)
        })?;
        let Shared { followers, linking, .. } = shared;
        let followers: Vec<_> = followers.into_iter().map(into_inner).collect();
        let Caller { intake, writer, judged, .. } = caller;
        Ok(outcome(plan, &captures, intake, &followers, &into_inner(linking).linker, judged, writer))
    }
}

/// What all threads see.
struct Shared<'p> {
    plan: &'p Plan,
    maps: Maps,
    followers: Vec<Mutex<Follower<'p>>>,
    linking: Mutex<Linking<'p>>,
    schedule: Mutex<Waited<Schedule>>,
    wake: Condvar,
    /// Emptied buffers for the rows of a run: memory that is new each time costs more than the rows.
    spare: Mutex<Vec<Rows>>,
}

/// What threads wait for, and how many do: nobody is woken where nobody waits.
struct Waited<T> {
    it: T,
    waiting: usize,
}

/// The linker, and flows that wait until they are enough to be judged.
struct Linking<'p> {
    linker: Linker<'p>,
    waiting: Run,
}

/// Stops the others when a thread ends before its time, so that nobody waits for it.
struct Fuse<'a, 'p>(&'a Shared<'p>);

impl Drop for Fuse<'_, '_> {
    fn drop(&mut self) {
        self.0.tell(Schedule::stop);
    }
}

impl Shared<'_> {
    /// Waits until there is something for the thread of this number to do.
    fn next(&self, thread: usize) -> Step {
        let mut schedule = lock(&self.schedule);
        loop {
            if let Some(step) = schedule.it.step(thread) {
                return step;
            }
            schedule.waiting += 1;
            schedule = self.wake.wait(schedule).unwrap_or_else(PoisonError::into_inner);
            schedule.waiting -= 1;
        }
    }

    /// Changes the schedule, which may give others something to do.
    fn tell(&self, change: impl FnOnce(&mut Schedule)) {
        let mut schedule = lock(&self.schedule);
        change(&mut schedule.it);
        let is_waited_for = schedule.waiting > 0;
        drop(schedule);
        if is_waited_for {
            self.wake.notify_all();
        }
    }

    /// What a thread does besides the calling one.
    fn help(&self, thread: usize, mut judge: Judge<'_>) {
        let _fuse = Fuse(self);
        let mut judged = Judged::new(self.plan);
        while let Step::Task(task) = self.next(thread) {
            self.perform(task, &mut judge, &mut judged);
        }
    }

    /// `judged` goes from run to run, each of which comes after the one before it.
    fn perform(&self, task: Task, judge: &mut Judge<'_>, judged: &mut Judged) {
        match task {
            Task::Follow { shard, work } => {
                let events = self.follow(shard, &work);
                drop(work);
                self.tell(|schedule| schedule.followed(shard, events));
            }
            Task::Link { events, is_last } => {
                let runs = lock(&self.linking).link(events, is_last);
                self.tell(|schedule| schedule.linked(runs));
            }
            Task::Judge { number, flows } => {
                judged.csv = lock(&self.spare).pop().unwrap_or_default();
                for (at, flow) in flows.iter().enumerate() {
                    flows.get(at + AHEAD).into_iter().for_each(|next| near(&**next));
                    judge.flow(flow, judged, None);
                }
                drop(flows);
                let judged = judged.take(self.plan);
                self.tell(|schedule| schedule.judged(number, judged));
            }
        }
    }

    fn follow(&self, shard: usize, work: &Work) -> Vec<Event> {
        let mut events = Vec::new();
        if let Some(follower) = self.followers.get(shard) {
            let mut follower = lock(follower);
            match work {
                Work::Packets(batch) => batch.follow(shard, &self.maps, &mut follower, &mut events),
                Work::Remaining { until, .. } => follower.remaining(*until, &mut events),
            }
        }
        events
    }
}

impl Linking<'_> {
    /// Takes what all followers made of one piece of work; gives the flows that can be judged, by runs.
    fn link(&mut self, events: Vec<Vec<Event>>, is_last: bool) -> Vec<Run> {
        let mut all = Vec::with_capacity(events.iter().map(Vec::len).sum());
        events.into_iter().for_each(|events| all.extend(events));
        // Each follower's are in order already, and the order of those that are alike stays.
        all.sort_by_key(Event::order);
        let mut runs = Vec::new();
        let mut all = all.into_iter();
        while let Some(event) = all.next() {
            if let Some(What::Flow(next)) = all.as_slice().get(AHEAD).map(|event| &event.what) {
                near(&next.open);
                near(&next.connection);
                near(&next.counted.encapsulation);
            }
            self.waiting.extend(self.linker.link(event.what));
            if self.waiting.len() >= FLOWS_IN_RUN {
                runs.push(std::mem::take(&mut self.waiting));
            }
        }
        if is_last && !self.waiting.is_empty() {
            runs.push(std::mem::take(&mut self.waiting));
        }
        runs
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn into_inner<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// What only the calling thread has.
struct Caller<W: io::Write> {
    intake: Intake,
    writer: Writer<W>,
    spread: Spread,
    /// Secrets for the packets that come next.
    secrets: Vec<Box<[u8]>>,
    judged: Judged,
}

impl<W: io::Write> Caller<W> {
    fn work(
        &mut self,
        shared: &Shared<'_>,
        mut judge: Judge<'_>,
        feed: &mut impl Feed,
    ) -> Result<(), FilterError> {
        let _fuse = Fuse(shared);
        let mut judged = Judged::new(shared.plan);
        loop {
            match shared.next(CALLER) {
                Step::Write(run) => {
                    let emptied = self.write(*run);
                    lock(&shared.spare).push(emptied);
                    shared.tell(Schedule::written);
                }
                Step::Read(batch) => {
                    let (batch, packets) = self.read(batch, &shared.maps, feed)?;
                    shared.tell(|schedule| schedule.read(batch, packets));
                }
                Step::Task(task) => shared.perform(task, &mut judge, &mut judged),
                Step::Over => return Ok(()),
            }
        }
    }

    /// Gives back the buffer that the rows were in.
    fn write(&mut self, mut judged: Judged) -> Rows {
        let mut rows = std::mem::take(&mut judged.csv);
        self.writer.write(&mut rows);
        self.judged.merge(judged);
        rows
    }

    /// Fills a batch; if it is the last one, also tells how many packets there were in all.
    fn read(
        &mut self,
        mut batch: Box<Batch>,
        maps: &Maps,
        feed: &mut impl Feed,
    ) -> Result<(Box<Batch>, Option<u64>), FilterError> {
        batch.begin(std::mem::take(&mut self.secrets));
        let (intake, spread, secrets) = (&mut self.intake, &mut self.spread, &mut self.secrets);
        let mut filling = Filling::new(intake, spread, secrets, maps, batch);
        let has_more = !self.writer.has_failed() && feed.feed(&mut filling)?;
        let batch = filling.into_batch();
        let is_last = !has_more && self.secrets.is_empty();
        Ok((batch, is_last.then(|| self.intake.ordinal())))
    }
}
