//! What only a live audit does: it looks at flows that are open, it may be told of packets that were lost, its
//! report goes from file to file, and the plan it goes by may be replaced.

use std::io;

use super::force::InForce;
use super::judge::Judged;
use super::{Audit, Outcome, Plan};
use crate::capture::Timestamp;
use crate::report::{Account, RowStatistics};

impl<'p, W: io::Write> Audit<'p, W> {
    /// From now on, [`Audit::look`] looks at open flows: tells violations at once, and gives every flow that
    /// stays open a row about once in `every` nanoseconds.
    pub fn look_at_open_flows(&mut self, every: Option<i64>) {
        self.rest.follower.look_at_open_flows(every);
    }

    /// Looks at the open flows whose time it is.
    pub fn look(&mut self) {
        if let Some(now) = self.intake.now() {
            self.rest.follower.look(now, &mut self.rest.events);
            self.rest.go_on();
        }
    }

    /// Packets of this time were dropped before they could be read: what is missing of flows of that time does
    /// not contradict.
    pub fn lost(&mut self, from: Timestamp, to: Timestamp) {
        self.rest.follower.lost(from, to);
    }

    /// The plan in force.
    pub fn plan(&self) -> &Plan {
        &self.rest.plan
    }

    /// Goes by another plan from now on, one with the same keys; what rows saw is counted anew.
    pub fn go_by(&mut self, plan: Plan) {
        let rest = &mut self.rest;
        let Judged { summary, rows, .. } = &mut rest.judged;
        summary.settle(&rest.plan.policy);
        *rows = RowStatistics::new(&plan.policy);
        let plan = InForce::later(plan);
        rest.follower.go_by(plan.clone());
        rest.linker.go_by(plan.clone());
        rest.judge.go_by(plan.clone());
        rest.plan = plan;
    }

    /// Why packets of reported flows cannot be written, if that is news.
    pub fn take_packets_error(&mut self) -> Option<String> {
        self.rest.packets.as_mut()?.take_error()
    }

    /// Everything judged so far reaches the report.
    pub fn flush(&mut self) {
        self.rest.writer.flush();
    }

    /// Gives the report back, complete so far; nothing is written until another takes its place.
    pub fn take_report(&mut self) -> Option<W> {
        self.rest.writer.take()
    }

    /// Gives back a report that could not be written, and why: the audit goes on without.
    pub fn take_failed_report(&mut self) -> Option<(W, csv::Error)> {
        self.rest.writer.take_failed()
    }

    /// Begins another report.
    ///
    /// # Errors
    /// One that cannot be begun.
    pub fn write_report_to(&mut self, report: W) -> csv::Result<()> {
        self.rest.writer.begin(report)
    }

    /// Ends the audit, as [`Audit::finish`] does, on all cores and without telling the sink; also gives back the
    /// report, and the plan that was in force at the end.
    pub fn finish_with_report(mut self) -> (Outcome, Option<W>, InForce<'p>) {
        match self.rest.packets {
            // Their files are written one by one.
            Some(_) => self.end_in_line(),
            None => self.rest.end_on_all_cores(self.intake.ordinal()),
        }
        self.outcome()
    }

    /// Where packets went so far.
    pub fn account(&self) -> Account {
        let mut account = self.intake.account();
        self.rest.account(&mut account);
        account
    }

    /// What every row saw so far, under the plan in force.
    pub fn rows(&self) -> &RowStatistics {
        &self.rest.judged.rows
    }

    /// Flows that ended so far, by [`crate::policy::Verdict`].
    pub fn verdicts(&self) -> [u64; 3] {
        self.rest.judged.summary.verdicts()
    }

    /// Flows in the table, closed ones that are still known included.
    pub fn open_flows(&self) -> u64 {
        self.rest.follower.flows()
    }
}
