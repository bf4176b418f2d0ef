//! The end of a live audit: the flows that are left are judged on all cores, since whoever stopped it waits.
//!
//! The calling thread follows, links and writes as before. Runs of flows go to helpers in turn, and what
//! comes of them is taken back in the same order. The pool's schedule is more than is wanted here: there is one flow
//! table, nothing to read, and only judging to share out.

use std::io;
use std::num::NonZeroUsize;
use std::sync::mpsc::channel;
use std::thread;

use super::judge::Judged;
use super::pool::{FLOWS_IN_RUN, Run};
use super::{Plan, Rest, batch};
use crate::report::Rows;

/// Runs on their way, for each helper.
const IN_FLIGHT: usize = 4;

impl<W: io::Write> Rest<'_, W> {
    /// Ends every flow that is left after so many packets. Sinks are not told of them.
    pub(super) fn end_on_all_cores(&mut self, packets: u64) {
        let Rest { plan, follower, events, linker, judge, judged, writer, .. } = self;
        let plan: &Plan = plan;
        let count = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        thread::scope(|scope| {
            let helper = |_| {
                let (to, runs) = channel::<Run>();
                let (parts, from) = channel::<Judged>();
                let mut judge = judge.another();
                scope.spawn(move || {
                    let mut judged = Judged::new(plan);
                    let mut took = 0;
                    for run in runs {
                        // They take about as much as those of the run before.
                        judged.csv = Rows::with_capacity(took);
                        for flow in run {
                            judge.flow(&flow, &mut judged, None);
                        }
                        took = judged.csv.as_bytes().len();
                        if parts.send(judged.take(plan)).is_err() {
                            break;
                        }
                    }
                });
                (to, from)
            };
            let helpers: Vec<_> = (0..count).map(helper).collect();
            let mut helpers = [helpers.iter().cycle(), helpers.iter().cycle()];
            let [giving, taking] = &mut helpers;
            // A helper is gone only if it panicked, which the scope passes on.
            let mut give = |run| giving.next().is_some_and(|(to, _)| to.send(run).is_ok());
            let mut take = || {
                let part = taking.next().and_then(|(_, from)| from.recv().ok());
                if let Some(mut part) = part {
                    writer.write(&mut part.csv);
                    judged.merge(part);
                }
            };
            let (mut run, mut on_their_way) = (Run::new(), 0);
            for until in batch::ranges(packets) {
                follower.remaining(until, events);
                for event in events.drain(..) {
                    run.extend(linker.link(event.what));
                    if run.len() < FLOWS_IN_RUN {
                        continue;
                    }
                    if on_their_way == count * IN_FLIGHT {
                        take();
                        on_their_way -= 1;
                    }
                    on_their_way += usize::from(give(std::mem::take(&mut run)));
                }
            }
            on_their_way += usize::from(give(run));
            (0..on_their_way).for_each(|_| take());
        });
    }
}
