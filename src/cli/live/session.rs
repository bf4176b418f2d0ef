//! One live audit: packets as long as there are any, time when there are none, and what is to be done now
//! and then in between.

use std::cell::RefCell;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::LiveArguments;
use super::files::{Files, Output};
use super::metrics::Metrics;
use super::standing::{Memory, Standing};
use super::view::View;
use super::watch::Watch;
use crate::audit::{Audit, Plan, Sink};
use crate::capture::{Drained, HOLD_BACK, Interfaces, LiveStats, Timestamp};
use crate::cli::interrupt::{Hangup, Interrupt};
use crate::cli::whole::{beside, cannot_write};
use crate::cli::{Status, keylog, output, plan};
use crate::report::{Account, PacketFolder, Record, RowState, violation};

/// How long to wait for a packet before other things are looked at.
const QUIET: Duration = Duration::from_millis(100);
/// How often is now and then.
const TICK: Duration = Duration::from_millis(200);
/// How often metrics are renewed.
const METRICS: Duration = Duration::from_secs(1);
/// How long after a report could not be written another is begun.
const AGAIN: Duration = Duration::from_secs(5);
/// How long an audit that was asked to stop goes on reading: the kernel hands over what it held back within
/// the first, and what piled up is read until the second.
const DRAINING: [Duration; 2] = [Duration::from_millis(HOLD_BACK as u64 * 3 / 2), Duration::from_millis(700)];
/// Violations that wait for the view; it tells fewer in any case.
const WAITING: usize = 1000;

/// Everything that was opened for the audit before privileges were given up.
pub(super) struct Opened {
    pub(super) plan: Plan,
    pub(super) interfaces: Interfaces,
    pub(super) metrics: Metrics,
    pub(super) memory: Memory,
    /// The records of BOSH DNS.
    pub(super) watch: Option<Watch>,
}

/// Asked for by signals.
pub(super) struct Signals {
    pub(super) interrupt: Interrupt,
    pub(super) hangup: Hangup,
}

/// Runs the audit to its end.
pub(super) fn run(
    arguments: &LiveArguments,
    opened: Opened,
    signals: &Signals,
) -> Result<Status, Box<dyn Error>> {
    let Opened { plan, interfaces, metrics, memory, watch } = opened;
    let packets = arguments.audit.evidence.as_deref().map(PacketFolder::open).transpose()?;
    let (files, report) = Files::open(arguments.audit.output.as_deref(), arguments.reports.rotation())?;
    let keylogs = keylog::Following::new(&arguments.audit.judging.keylog, &plan.keys);
    let news = News::default();
    let mut listener = news.clone();
    let mut audited = Audit::new(&plan, arguments.interfaces.clone(), None, report)?;
    audited.listen(&mut listener);
    audited.look_at_open_flows(arguments.reports.interim());
    if let Some(packets) = packets {
        audited.keep_packets(packets);
    }
    let now = Instant::now();
    let view = View::new(arguments.audit.quiet, arguments.reports.log());
    let named = |name: &String| (name.clone(), LiveStats::default());
    let standing =
        Standing { interfaces: arguments.interfaces.iter().map(named).collect(), ..Standing::default() };
    let mut session = Session {
        arguments,
        interfaces,
        audited,
        files,
        keylogs,
        watch,
        news,
        view,
        metrics,
        memory,
        standing,
        status: Status::Clean,
        begun: now,
        measured: now,
        begun_file: now,
        counted: wall_clock(),
        latest: None,
        is_behind: false,
    };
    session.view.say(&format!("capturing on {}; interrupt to finish", arguments.interfaces.join(", ")));
    session.capture(signals)?;
    session.finish()
}

struct Session<'a> {
    arguments: &'a LiveArguments,
    interfaces: Interfaces,
    audited: Audit<'a, Output>,
    files: Files,
    keylogs: keylog::Following,
    watch: Option<Watch>,
    news: News,
    view: View,
    metrics: Metrics,
    memory: Memory,
    standing: Standing,
    status: Status,
    begun: Instant,
    /// When metrics were renewed.
    measured: Instant,
    /// When a file of the report was begun, or was to be.
    begun_file: Instant,
    /// When drops were counted, by the system's clock.
    counted: Timestamp,
    /// Time of the last packet.
    latest: Option<Timestamp>,
    /// The rings held more at the last look than was read.
    is_behind: bool,
}

impl Session<'_> {
    /// Captures until it is to end.
    fn capture(&mut self, signals: &Signals) -> Result<(), Box<dyn Error>> {
        let end = self.arguments.duration.map(|seconds| self.begun + Duration::from_secs(seconds));
        let mut stopping: Option<Instant> = None;
        let mut ticked = self.begun;
        // A pipe that nobody reads any more is the end; a disk may have room again.
        while !self.interfaces.is_empty() && (self.files.are_files() || !self.audited.cannot_write()) {
            let now = Instant::now();
            if stopping.is_none() && (signals.interrupt.is_set() || end.is_some_and(|end| now >= end)) {
                stopping = Some(now);
            }
            let drained = self.turn()?;
            self.is_behind = drained == Drained::More;
            if stopping
                .is_some_and(|since| now.duration_since(since) >= DRAINING[usize::from(self.is_behind)])
            {
                break;
            }
            if !self.is_behind {
                self.audited.advance(self.interfaces.settled());
                self.interfaces.wait(if stopping.is_some() { DRAINING[0] / 4 } else { QUIET })?;
            }
            if now.duration_since(ticked) >= TICK {
                ticked = now;
                self.tick();
            }
            if signals.hangup.take() {
                self.begin_anew();
            }
        }
        Ok(())
    }

    /// Reads a turn of packets.
    fn turn(&mut self) -> Result<Drained, Box<dyn Error>> {
        let Session { interfaces, audited, latest, view, status, .. } = self;
        self.keylogs.look(&audited.plan().keys);
        let mut failed = Ok(());
        let drained = interfaces.turn(
            |packet| {
                *latest = Some(packet.time);
                if let Err(error) = audited.packet(packet) {
                    failed = Err(error);
                }
            },
            |gone| {
                view.say(&gone.to_string());
                *status = Status::Error;
            },
        );
        failed?;
        Ok(drained)
    }

    /// What is done now and then.
    fn tick(&mut self) {
        self.count_drops();
        self.audited.look();
        // What is written can be read at once.
        self.audited.flush();
        if let Some(error) = self.audited.take_packets_error() {
            self.view.say(&error);
        }
        for line in self.news.take() {
            self.view.violation(&line);
        }
        if let Some((report, error)) = self.audited.take_failed_report() {
            self.lose(report, &error);
        } else if self.files.is_missing() && self.begun_file.elapsed() >= AGAIN {
            self.begin_file();
        } else if self.files.is_due() {
            self.rotate();
        }
        if self.watch.as_mut().is_some_and(Watch::has_changed) {
            self.read_records();
        }
        let measure = self.metrics.are_wanted() && self.measured.elapsed() >= METRICS;
        if measure || self.view.is_due() {
            self.stand();
        }
        if measure {
            self.measured = Instant::now();
            let updated =
                self.metrics.update(&self.standing, &self.audited.plan().policy, self.audited.rows());
            if let Err(error) = updated {
                self.wrong(&error);
            }
        }
        if self.view.is_due() {
            self.view.show(&self.standing);
        }
    }

    /// Counts what was dropped since the last time; flows of that time are not to be contradicted by what is
    /// missing of them.
    fn count_drops(&mut self) {
        let now = wall_clock();
        let stats = match self.interfaces.stats() {
            Ok(stats) => stats,
            // The next packet read of it will say the same, and end it.
            Err(_) => return,
        };
        let mut lost = false;
        for (index, stats) in stats {
            lost |= stats.dropped + stats.if_dropped > 0;
            if let Some((_, total)) = self.standing.interfaces.get_mut(usize::from(index)) {
                total.received += stats.received;
                total.dropped += stats.dropped;
                total.if_dropped += stats.if_dropped;
            }
        }
        if lost {
            self.audited.lost(self.counted, now);
        }
        self.counted = now;
    }

    fn dropped(&self) -> [u64; 2] {
        let totals = self.standing.interfaces.iter().map(|(_, total)| [total.dropped, total.if_dropped]);
        totals.fold([0, 0], |sum, of| [sum[0] + of[0], sum[1] + of[1]])
    }

    fn account(&self) -> Account {
        Account { dropped: self.dropped(), ..self.audited.account() }
    }

    /// Brings what is told up to date.
    fn stand(&mut self) {
        self.standing.elapsed = self.begun.elapsed();
        self.standing.account = self.account();
        self.standing.open = self.audited.open_flows();
        self.standing.verdicts = self.audited.verdicts();
        self.standing.interim = self.news.count();
        self.standing.memory = self.memory.resident();
        let behind = self.latest.filter(|_| self.is_behind).map_or(0, |latest| wall_clock().0 - latest.0);
        self.standing.lag = Duration::from_nanos(u64::try_from(behind).unwrap_or(0));
    }

    /// Finishes the report's file and begins the next.
    fn rotate(&mut self) {
        self.audited.flush();
        if !self.files.are_files() || self.audited.cannot_write() {
            return;
        }
        let Some(full) = self.audited.take_report() else { return };
        let finished = self.files.finish(full, false);
        self.begin_file();
        self.close(finished);
    }

    /// The report could not be written: its whole rows are kept, and the audit goes on without until there is room.
    fn lose(&mut self, report: Output, error: &csv::Error) {
        let name = Path::new(self.arguments.audit.output.as_deref().unwrap_or_default());
        self.wrong(&format!("{}; rows are lost until there is room", cannot_write(name, error)));
        let salvaged = self.files.salvage(report, false);
        self.close(salvaged);
        self.begun_file = Instant::now();
    }

    /// Begins the report's next file, if it can be.
    fn begin_file(&mut self) {
        self.begun_file = Instant::now();
        let begun = self.files.begin().map(|next| self.audited.write_report_to(next));
        match begun {
            Ok(begun) => drop(begun.inspect_err(|error| self.wrong(&error.to_string()))),
            Err(error) => self.wrong(&error),
        }
    }

    /// What stands beside a file that was finished.
    fn close(&mut self, finished: Result<Option<PathBuf>, String>) {
        let plan = self.audited.plan();
        let beside = |report: PathBuf| beside(&report, plan, &self.account(), self.audited.rows());
        if let Err(error) = finished.and_then(|finished| finished.map_or(Ok(()), beside)) {
            self.wrong(&error);
        }
    }

    /// Something that the exit status tells of, and that the audit goes on with.
    fn wrong(&mut self, error: &str) {
        self.status = Status::Error;
        self.view.say(error);
    }

    /// SIGHUP: new files, and policy and inventory as they are now.
    fn begin_anew(&mut self) {
        self.rotate();
        let audit = self.arguments.audit_with(self.watch.as_ref());
        let old = self.audited.plan();
        let (keys, owners) = (Arc::clone(&old.keys), old.owners.clone());
        let read = plan::plan(&audit).map(|plan| Plan { keys, owners, ..plan });
        self.go_by(read, "policy and inventory");
    }

    /// The inventory of BOSH DNS is another than it was.
    fn read_records(&mut self) {
        let audit = self.arguments.audit_with(self.watch.as_ref());
        let read = plan::renewed(self.audited.plan(), &audit.judging);
        self.go_by(read, "the inventory");
    }

    /// Goes by a new plan if there is one, and says so.
    fn go_by(&mut self, read: Result<Plan, Box<dyn Error>>, what: &str) {
        self.view.clear();
        match read {
            Ok(plan) => {
                self.audited.go_by(plan);
                self.standing.reloads[0] += 1;
                self.view.say(&format!("{what} read again"));
            }
            Err(error) => {
                self.standing.reloads[1] += 1;
                self.view.say(&format!("{error}; going on with {what} as read before"));
            }
        }
    }

    /// Ends the audit: judges what is open, and finishes the report.
    fn finish(mut self) -> Result<Status, Box<dyn Error>> {
        self.keylogs.look_now(&self.audited.plan().keys);
        self.count_drops();
        let dropped = self.dropped();
        let synchronising = self.files.synchronise();
        let (mut outcome, report, plan) = self.audited.finish_with_report();
        drop(synchronising);
        outcome.account.dropped = dropped;
        self.view.clear();
        let mut status = self.status;
        let audit = &self.arguments.audit;
        let finished = match (report, &outcome.write_error) {
            (None, _) => Ok(None),
            (Some(report), None) => self.files.finish(report, true),
            (Some(report), Some(error)) => {
                status = status.max(output::failed(audit.output.as_deref().unwrap_or("-"), error));
                self.files.salvage(report, true)
            }
        };
        let written = finished.and_then(|finished| match finished {
            Some(report) => beside(&report, &plan, &outcome.account, &outcome.rows),
            None if audit.output.as_deref() == Some("-") => output::on_standard_error(&plan, &outcome),
            None => Ok(()),
        });
        status = status.max(output::or_complain(written));
        Ok(output::tell(audit, &plan, &outcome, status))
    }
}

/// Violations that came to be known and were not told yet.
#[derive(Clone, Default)]
struct News(Rc<RefCell<(Vec<String>, u64)>>);

impl News {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.borrow_mut().0)
    }

    /// How many there were in all while their flows were open.
    fn count(&self) -> u64 {
        self.0.borrow().1
    }
}

impl Sink for News {
    fn flow(&mut self, _: &Record<'_>) {}

    fn violation(&mut self, record: &Record<'_>) {
        let (waiting, count) = &mut *self.0.borrow_mut();
        *count += u64::from(record.state == RowState::Interim);
        if waiting.len() < WAITING {
            waiting.push(violation(record));
        }
    }
}

/// Packet time on a live interface is the system's clock.
pub(super) fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
