//! The pipeline: packets in, judged flows out. The one module that knows every stage.
//!
//! ```text
//! packet -> intake -> follower -> linker -> judge -> writer
//!           decode    flows, and  what      verdict  rows
//!           stamp     what was    flows     and row  in order
//!           tick      said in     know of
//!                     them        each other
//! ```
//!
//! Every stage takes what the one before it made, in packet order. [`Audit`] puts them together in one
//! thread, packet by packet; [`Pool`] hands them batches, on as many threads as there are, and comes to
//! the same report.

mod alike;
mod batch;
mod closing;
mod ended;
mod follower;
mod force;
mod intake;
mod judge;
mod learning;
mod linker;
mod links;
mod live;
mod open;
mod pool;
pub(crate) mod prefix;
mod reader;
mod sockets;
mod writer;

use std::io;
use std::sync::{Arc, Mutex};

use crate::capture::{CaptureError, Filter, FilterError, Packet, Secrets, Timestamp};
use crate::flow::{Limits, Stamp};
use crate::local::Owners;
use crate::packet::Segment;
use crate::pki::Authorities;
use crate::policy::{Policy, Verdict};
use crate::protocol::tls::KeyStore;
use crate::report::{Account, PacketFolder, Record, RowStatistics, Summary};
use follower::{Event, Follower};
use intake::{Downstream, Intake};
use judge::{Judge, Judged};
use linker::Linker;
use writer::Writer;

pub use force::InForce;
pub use pool::{Feed, Pool, Take};

/// What an audit holds flows against, and what it reports of them.
#[derive(Debug)]
pub struct Plan {
    /// The tables, bound to the inventory.
    pub policy: Policy,
    /// Overlays that are not in force, which may still explain a violation.
    pub deviations: Policy,
    /// The operator's certificate authorities, if given.
    pub authorities: Option<Authorities>,
    /// Verdicts to write to the report; empty for all.
    pub only: Vec<Verdict>,
    /// Leave flows that touch nothing of the policy out of the verdicts.
    pub in_scope: bool,
    /// Learn names of addresses from the capture itself.
    pub learn: bool,
    /// Report unproven and inferred flows as well.
    pub strict: bool,
    /// What the flow table may grow to.
    pub limits: Limits,
    /// TLS sessions that are remembered for those that resume them.
    pub sessions: usize,
    /// The keys to decrypt with; what captures carry joins them.
    pub keys: Arc<KeyStore>,
    /// Whose the sockets of this machine are, if it is the one that is audited.
    pub owners: Option<Arc<Mutex<Owners>>>,
}

/// Is handed every judged flow, in the report's order, for what is not the report.
pub trait Sink {
    /// Takes one; it may be looked at and not kept.
    fn flow(&mut self, record: &Record<'_>);

    /// A flow, open or ended, came to be known as a violation; told once of each.
    fn violation(&mut self, _: &Record<'_>) {}
}

impl Plan {
    /// As many sessions as are ever remembered.
    pub const SESSIONS: usize = 1 << 18;

    /// Holds flows against these tables, and reports every violation: no authorities, no keys, nothing learnt
    /// from the capture, no overlay to explain by.
    pub fn new(policy: Policy) -> Plan {
        Plan {
            deviations: policy.with_tables(Vec::new()),
            policy,
            authorities: None,
            only: Vec::new(),
            in_scope: false,
            learn: false,
            strict: false,
            limits: Limits::default(),
            sessions: Plan::SESSIONS,
            keys: Arc::default(),
            owners: None,
        }
    }

    fn add_secrets(&self, secrets: &Secrets<'_>) {
        if secrets.kind == Secrets::TLS_KEY_LOG {
            self.keys.add(secrets.bytes);
        }
    }
}

/// What an audit comes to.
#[derive(Debug)]
pub struct Outcome {
    /// The verdicts, for people.
    pub summary: Summary,
    /// What every row of the tables saw.
    pub rows: RowStatistics,
    /// Where every packet went.
    pub account: Account,
    /// Captures whose link type is not decoded.
    pub errors: Vec<CaptureError>,
    /// The report could not be written to its end.
    pub write_error: Option<csv::Error>,
    /// Files of packets could not be written, which was not told yet.
    pub packets_error: Option<String>,
}

/// A running audit in one thread, writing its report to `W` as flows end.
pub struct Audit<'p, W: io::Write> {
    captures: Arc<[String]>,
    intake: Intake,
    rest: Rest<'p, W>,
}

/// Everything behind the intake.
struct Rest<'p, W: io::Write> {
    plan: InForce<'p>,
    follower: Follower<'p>,
    events: Vec<Event>,
    linker: Linker<'p>,
    judge: Judge<'p>,
    judged: Judged,
    sink: Option<&'p mut dyn Sink>,
    /// Packets of flows that may be reported are kept here.
    packets: Option<PacketFolder>,
    writer: Writer<W>,
}

impl<'p, W: io::Write> Audit<'p, W> {
    /// Begins an audit of captures with these names; a report is written if there is somewhere to.
    pub fn new(
        plan: &'p Plan,
        captures: Vec<String>,
        filter: Option<Filter>,
        report: Option<W>,
    ) -> Result<Audit<'p, W>, csv::Error> {
        let (captures, writer) = (Arc::from(captures), Writer::new(report)?);
        let rest = Rest {
            plan: InForce::First(plan),
            follower: Follower::new(plan, plan.limits),
            events: Vec::new(),
            linker: Linker::new(plan),
            judge: Judge::new(plan, Arc::clone(&captures), writer.is_given()),
            judged: Judged::new(plan),
            sink: None,
            packets: None,
            writer,
        };
        Ok(Audit { captures, intake: Intake::new(filter), rest })
    }

    /// Hands every judged flow to `sink` as well.
    pub fn listen(&mut self, sink: &'p mut dyn Sink) {
        self.rest.sink = Some(sink);
    }

    /// Keeps the first packets of every reported flow in `folder`.
    pub fn keep_packets(&mut self, folder: PacketFolder) {
        self.rest.packets = Some(folder);
    }

    /// Takes the next packet.
    pub fn packet(&mut self, packet: &Packet<'_>) -> Result<(), FilterError> {
        self.intake.packet(packet, &mut self.rest)?;
        if let Some(packets) = &mut self.rest.packets {
            packets.packet(self.intake.ordinal(), packet);
        }
        self.rest.go_on();
        Ok(())
    }

    /// Takes secrets that a capture carries for the packets after it.
    pub fn secrets(&mut self, secrets: &Secrets<'_>) {
        self.rest.plan.add_secrets(secrets);
    }

    /// Time goes on without packets: flows that are due end.
    pub fn advance(&mut self, now: Timestamp) {
        self.intake.advance(now, &mut self.rest);
        self.rest.go_on();
    }

    /// The report could not be written, so that there is no use in going on.
    pub fn cannot_write(&self) -> bool {
        self.rest.writer.has_failed()
    }

    /// Ends the audit: every flow still open is judged, and the report is complete.
    pub fn finish(mut self) -> Outcome {
        self.end_in_line();
        self.outcome().0
    }

    /// Judges every flow still open.
    fn end_in_line(&mut self) {
        for until in batch::ranges(self.intake.ordinal()) {
            self.rest.follower.remaining(until, &mut self.rest.events);
            self.rest.go_on();
        }
    }

    /// What it came to, the report, and the plan that was in force at the end.
    fn outcome(self) -> (Outcome, Option<W>, InForce<'p>) {
        let Rest { plan, follower, linker, judged, packets, mut writer, .. } = self.rest;
        let report = writer.take();
        let mut outcome = outcome(&plan, &self.captures, self.intake, &[follower], &linker, judged, writer);
        if let Some(mut packets) = packets {
            outcome.account.evidence = Some(packets.counted());
            outcome.packets_error = packets.take_error();
        }
        (outcome, report, plan)
    }
}

impl<W: io::Write> Take for Audit<'_, W> {
    fn packet(&mut self, packet: &Packet<'_>) -> Result<(), FilterError> {
        Audit::packet(self, packet)
    }

    fn secrets(&mut self, secrets: &Secrets<'_>) {
        Audit::secrets(self, secrets);
    }

    fn has_enough(&self) -> bool {
        self.cannot_write()
    }
}

impl<W: io::Write> Downstream for Rest<'_, W> {
    fn tick(&mut self, ordinal: u64, now: Timestamp) {
        self.follower.tick(ordinal, now, &mut self.events);
    }

    fn segment(&mut self, segment: &Segment<'_>, stamp: &Stamp) {
        self.follower.packet(&segment.head, segment.payload, stamp, &mut self.events);
        if let Some(packets) = &mut self.packets
            && let Some(flow) = self.follower.last()
        {
            packets.belongs(flow, segment.head.ends.sender, segment.head.packets);
        }
    }
}

impl<W: io::Write> Rest<'_, W> {
    /// Adds what was counted behind the intake.
    fn account(&self, account: &mut Account) {
        count(account, &self.plan, std::slice::from_ref(&self.follower), &self.linker, &self.judged);
        account.evidence = self.packets.as_ref().map(PacketFolder::counted);
    }

    /// Takes what came of a packet to the report: one follower's events are in order as they are.
    fn go_on(&mut self) {
        for event in self.events.drain(..) {
            if let Some(flow) = self.linker.link(event.what) {
                let sink = self.sink.as_mut().map(|sink| &mut **sink as &mut dyn Sink);
                let is_reported = self.judge.flow(&flow, &mut self.judged, sink);
                if let Some(packets) = &mut self.packets {
                    let told = || (flow.community_id(), flow.counted.start);
                    packets.judged(flow.first, flow.open.is_none(), is_reported.then(told));
                }
                self.writer.write(&mut self.judged.csv);
            }
        }
    }
}

/// What the stages come to once all packets went through them.
fn outcome<W: io::Write>(
    plan: &Plan,
    captures: &[String],
    intake: Intake,
    followers: &[Follower<'_>],
    linker: &Linker<'_>,
    judged: Judged,
    writer: Writer<W>,
) -> Outcome {
    let (mut account, errors) = intake.finish(captures);
    count(&mut account, plan, followers, linker, &judged);
    let mut summary = judged.summary;
    summary.learn(linker.learnt());
    Outcome { summary, rows: judged.rows, account, errors, write_error: writer.finish(), packets_error: None }
}

/// Adds what the stages behind the intake counted.
fn count(
    account: &mut Account,
    plan: &Plan,
    followers: &[Follower<'_>],
    linker: &Linker<'_>,
    judged: &Judged,
) {
    followers.iter().for_each(|follower| follower.account(account));
    linker.account(account);
    account.out_of_scope = judged.out_of_scope;
    account.key_cap = plan.keys.refused();
}
