//! The pipeline: packets in, judged flows out. The one module that knows every stage.
//!
//! ```text
//! packet -> decode -> flow table -> (bytes in order) -> conversation
//!                          |
//!                 a flow that ended -> observed -> judged -> report
//! ```

mod force;
mod learning;
mod links;
mod open;
mod sockets;

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex};

use crate::capture::{CaptureError, Filter, FilterError, LinkType, Packet, Secrets, Timestamp, link_name};
use crate::flow::{Clock, First, Flow, FlowTable, Limits, Place, Reader, Stamp, Want};
use crate::local::Owners;
use crate::packet::{Decoded, Decoder, Gap, Inside, Side, Transport, Uncounted, inside};
use crate::pki::{Authorities, CertificateNames, Usage};
use crate::policy::{Circumstances, Observed, OpenedBy, Policy, Shown, Subject, Verdict};
use crate::protocol::tls::{self, ClientCertificate, KeyStore};
use crate::protocol::{Conversation, Evidence, Step};
use crate::report::{Account, Certificate, Counted, CsvReport, Record, RowState, RowStatistics, Summary};
use learning::Learning;
use links::{Connection, Links, Watch};
use open::OpenFlows;

pub use force::InForce;

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

/// Violations of open flows that are remembered as told; further ones may be told again at their end.
const TOLD: usize = 1 << 20;

impl Plan {
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
            keys: Arc::default(),
            owners: None,
        }
    }
}

/// A running audit, writing its report to `W` as flows end.
pub struct Audit<'p, W: io::Write> {
    captures: Vec<String>,
    filter: Option<Filter>,
    decoder: Decoder,
    flows: FlowTable<FlowReader>,
    ended: Vec<Flow<FlowReader>>,
    clock: Clock,
    ordinal: u64,
    /// Looked at while they are open, in a live audit.
    open: Option<OpenFlows>,
    judge: Judge<'p, W>,
    account: Account,
    undecoded: BTreeMap<(u16, u16), u64>,
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
}

impl<'p, W: io::Write> Audit<'p, W> {
    /// Begins an audit of captures with these names; a report is written if there is somewhere to.
    pub fn new(
        plan: &'p Plan,
        captures: Vec<String>,
        filter: Option<Filter>,
        report: Option<W>,
    ) -> Result<Audit<'p, W>, csv::Error> {
        Ok(Audit {
            captures,
            filter,
            decoder: Decoder::new(),
            flows: FlowTable::new(plan.limits, Arc::clone(&plan.keys)),
            ended: Vec::new(),
            clock: Clock::default(),
            ordinal: 0,
            open: None,
            judge: Judge::new(plan, report.map(CsvReport::new).transpose()?),
            account: Account::default(),
            undecoded: BTreeMap::new(),
        })
    }

    /// Hands every judged flow to `sink` as well.
    pub fn listen(&mut self, sink: &'p mut dyn Sink) {
        self.judge.sink = Some(sink);
    }

    /// Takes the next packet.
    pub fn packet(&mut self, packet: &Packet<'_>) -> Result<(), FilterError> {
        self.account.read += 1;
        self.ordinal += 1;
        if let Some(filter) = &mut self.filter
            && !filter.matches(packet)?
        {
            self.account.filtered_out += 1;
            return Ok(());
        }
        match self.decoder.decode(packet) {
            Decoded::Segment(segment) => {
                let packets = u64::from(segment.head.packets);
                let (clock, is_due) = self.clock.advance(packet.time);
                if is_due {
                    self.flows.tick(clock, &mut self.ended);
                }
                let stamp = Stamp {
                    capture: packet.capture,
                    number: packet.number,
                    ordinal: self.ordinal,
                    time: packet.time,
                    precision: packet.precision,
                    clock,
                };
                match self.flows.packet(&segment.head, segment.payload, &stamp, &mut self.ended) {
                    Place::Flow => {
                        self.account.in_flows += packets;
                        if self.judge.plan.learn && segment.head.transport == Transport::UDP {
                            self.judge.learn_answers(self.flows.last_reader());
                        }
                    }
                    Place::Refused => self.account.flow_cap += packets,
                }
                if let Some(flow) = self.flows.take_news() {
                    self.judge.learn(flow);
                }
                watch_begun(&mut self.open, &self.flows);
                // What a tunnel carries is a flow besides the tunnel's own, accounted apart.
                let mut outer = segment;
                while let Some(inside) = inside(&outer) {
                    let Inside::Segment(inner) = inside else {
                        self.account.tunnelled_unread += packets;
                        break;
                    };
                    match self.flows.packet(&inner.head, inner.payload, &stamp, &mut self.ended) {
                        Place::Flow => self.account.tunnelled += packets,
                        Place::Refused => self.account.tunnelled_flow_cap += packets,
                    }
                    if let Some(flow) = self.flows.take_news() {
                        self.judge.learn(flow);
                    }
                    watch_begun(&mut self.open, &self.flows);
                    outer = inner;
                }
            }
            Decoded::Held => {}
            Decoded::Uncounted(reason) => {
                *self.account.uncounted.entry(reason).or_default() += 1;
                if let LinkType::Other(code) = packet.link {
                    *self.undecoded.entry((packet.capture, code)).or_default() += 1;
                }
            }
        }
        if !self.ended.is_empty() {
            self.judge_ended();
        }
        Ok(())
    }

    /// Takes secrets that a capture carries for the packets after it.
    pub fn secrets(&mut self, secrets: &Secrets<'_>) {
        if secrets.kind == Secrets::TLS_KEY_LOG {
            self.judge.plan.keys.add(secrets.bytes);
        }
    }

    /// Time goes on without packets: flows that are due end.
    pub fn advance(&mut self, now: Timestamp) {
        let (clock, is_due) = self.clock.advance(now);
        if is_due {
            self.flows.tick(clock, &mut self.ended);
            self.judge_ended();
        }
    }

    /// The report could not be written, so that there is no use in going on.
    pub fn cannot_write(&self) -> bool {
        self.judge.write_error.is_some()
    }

    /// From now on, [`Audit::look`] looks at open flows: tells violations at once, and gives every flow that
    /// stays open a row about once in `every` nanoseconds.
    pub fn look_at_open_flows(&mut self, every: Option<i64>) {
        self.open = Some(OpenFlows::new(every));
    }

    /// Looks at the open flows whose time it is.
    pub fn look(&mut self) {
        let (Some(open), Some(now)) = (&mut self.open, self.clock.now()) else { return };
        while let Some(young) = open.next_young(now) {
            let flow = self.flows.get(young.id).filter(|flow| flow.first() == young.first);
            let Some(flow) = flow else { continue };
            let lost = self.flows.has_lost(flow);
            let told = self.judge.open(flow, lost, Open::Violation, &self.captures);
            if !told && !flow.is_over() {
                open.again(young);
            }
        }
        for id in open.turn(now, self.flows.numbers()) {
            if let Some(flow) = self.flows.get(id).filter(|flow| !flow.is_over())
                && open.is_long(flow.start, now)
            {
                let lost = self.flows.has_lost(flow);
                self.judge.open(flow, lost, Open::Any, &self.captures);
            }
        }
    }

    /// Packets of this time were dropped before they could be read: what is missing of flows of that time does
    /// not contradict.
    pub fn lost(&mut self, from: Timestamp, to: Timestamp) {
        self.flows.lost(from, to);
    }

    /// The plan in force.
    pub fn plan(&self) -> &Plan {
        &self.judge.plan
    }

    /// Goes by another plan from now on, with the same keys; what rows saw is counted anew.
    pub fn go_by(&mut self, plan: Plan) {
        self.judge.go_by(plan);
    }

    /// Everything judged so far is written.
    pub fn flush(&mut self) {
        self.judge.flush();
    }

    /// Flushes the report and gives it back; nothing is written until another takes its place.
    pub fn take_report(&mut self) -> Option<W> {
        self.judge.flush();
        self.judge.report.take().and_then(CsvReport::into_inner)
    }

    /// Begins a report.
    ///
    /// # Errors
    /// One that cannot be written.
    pub fn write_report_to(&mut self, report: W) -> csv::Result<()> {
        self.judge.report = Some(CsvReport::new(report)?);
        Ok(())
    }

    /// Where packets went so far.
    pub fn account(&self) -> Account {
        let mut account = self.account.clone();
        let flows = self.flows.account();
        account.flows = flows.flows;
        account.repeated_segments = flows.repeated;
        account.stream_cap = flows.stream_refused;
        account.differing_fragments = self.decoder.fragment_conflicts();
        account.out_of_scope = self.judge.out_of_scope;
        account.learnt_names = self.judge.learning.dropped();
        account.session_cap = self.judge.links.dropped;
        account.key_cap = self.judge.plan.keys.refused();
        account
    }

    /// What every row saw so far, under the plan in force.
    pub fn rows(&self) -> &RowStatistics {
        &self.judge.rows
    }

    /// Flows that ended so far, by [`Verdict`].
    pub fn verdicts(&self) -> [u64; 3] {
        self.judge.summary.verdicts()
    }

    /// Flows in the table, closed ones that are still known included.
    pub fn open_flows(&self) -> u64 {
        self.flows.len() as u64
    }

    /// Ends the audit: every flow still open is judged, and the report is complete.
    pub fn finish(self) -> Outcome {
        self.finish_with_report().0
    }

    /// The same, and gives back the report and the plan that was in force at the end.
    pub fn finish_with_report(mut self) -> (Outcome, Option<W>, InForce<'p>) {
        let (judge, captures) = (&mut self.judge, &self.captures);
        for (_, id) in self.flows.remaining() {
            if let Some(flow) = self.flows.end(id) {
                judge.ended(flow, captures);
            }
        }
        self.judge.flush();
        let mut account = self.account();
        let incomplete = self.decoder.finish();
        let given_up = self.decoder.take_given_up();
        for (reason, packets) in [
            (Uncounted::FragmentIncomplete, incomplete + given_up.incomplete),
            (Uncounted::Malformed, given_up.malformed),
            (Uncounted::TruncatedBeforePorts, given_up.truncated),
        ] {
            *account.uncounted.entry(reason).or_default() += packets;
        }
        self.judge.summary.learn(self.judge.learning.learnt());
        let errors =
            self.undecoded.iter().map(|(at, packets)| undecoded(&self.captures, *at, *packets)).collect();
        let Judge { plan, summary, rows, write_error, report, .. } = self.judge;
        (
            Outcome { summary, rows, account, errors, write_error },
            report.and_then(CsvReport::into_inner),
            plan,
        )
    }

    fn judge_ended(&mut self) {
        for flow in self.ended.drain(..) {
            self.judge.ended(flow, &self.captures);
        }
    }
}

/// Remembers a flow that began with the last packet, to look at it while it is open.
fn watch_begun(open: &mut Option<OpenFlows>, flows: &FlowTable<FlowReader>) {
    if let Some(open) = open
        && open.has_begun(flows.account().flows)
        && let Some((id, flow)) = flows.last().and_then(|id| Some((id, flows.get(id)?)))
    {
        open.begun(id, flow.first(), flow.start);
    }
}

fn undecoded(captures: &[String], (capture, code): (u16, u16), packets: u64) -> CaptureError {
    let name = link_name(code).map_or(String::new(), |name| format!(" ({name})"));
    CaptureError {
        capture: captures.get(usize::from(capture)).cloned().unwrap_or_default(),
        offset: None,
        packet: None,
        what: format!("link type {code}{name} is not decoded, {packets} packets were not audited"),
        advice: "capture on an Ethernet, raw IP, Linux cooked or loopback interface".to_owned(),
    }
}

/// Which open flows get a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    /// Those that are a violation and were not told to be one.
    Violation,
    /// Each.
    Any,
}

/// The second half of the pipeline: a flow that ended, to a row in the report.
struct Judge<'p, W: io::Write> {
    plan: InForce<'p>,
    report: Option<CsvReport<W>>,
    sink: Option<&'p mut dyn Sink>,
    summary: Summary,
    rows: RowStatistics,
    links: Links,
    learning: Learning,
    out_of_scope: u64,
    /// Open flows that were told to be violations.
    told: HashSet<First>,
    write_error: Option<csv::Error>,
}

impl<'p, W: io::Write> Judge<'p, W> {
    fn new(plan: &'p Plan, report: Option<CsvReport<W>>) -> Judge<'p, W> {
        Judge {
            plan: InForce::First(plan),
            report,
            sink: None,
            summary: Summary::new(plan.strict),
            rows: RowStatistics::new(&plan.policy),
            links: Links::default(),
            learning: Learning::default(),
            out_of_scope: 0,
            told: HashSet::new(),
            write_error: None,
        }
    }

    fn go_by(&mut self, plan: Plan) {
        self.summary.settle(&self.plan.policy);
        self.rows = RowStatistics::new(&plan.policy);
        self.plan = InForce::Later(Arc::new(plan));
        if let Some(report) = &mut self.report {
            report.forget_rows();
        }
    }

    /// A handshake of a flow that goes on is settled.
    fn learn(&mut self, flow: &Flow<FlowReader>) {
        let tls = flow.reader.conversation.tls();
        if let Some(connection) = tls.and_then(|tls| connection(flow, tls)) {
            self.links.learn(&connection);
        }
    }

    fn ended(&mut self, mut flow: Flow<FlowReader>, captures: &[String]) {
        let evidence = std::mem::take(&mut flow.reader.conversation).finish();
        self.flow(&flow, evidence, None, captures);
    }

    /// Judges a flow as far as it went; says whether it is a violation that was told.
    fn open(&mut self, flow: &Flow<FlowReader>, lost: bool, which: Open, captures: &[String]) -> bool {
        if which == Open::Violation && self.told.contains(&flow.first()) {
            return true;
        }
        let mut evidence = flow.reader.conversation.so_far();
        if lost {
            evidence.gap.get_or_insert(Gap::Loss);
        }
        self.flow(flow, evidence, Some(which), captures)
    }

    /// Judges a flow, one that is `open` or one that ended; says whether it is a violation.
    fn flow(
        &mut self,
        flow: &Flow<FlowReader>,
        evidence: Evidence,
        open: Option<Open>,
        captures: &[String],
    ) -> bool {
        let capture = captures.get(usize::from(flow.first_packet.0)).map_or("", String::as_str);
        let plan = self.plan.clone();
        let policy = &plan.policy;
        let (source, opened_by) = direction(flow, evidence.client, policy);
        let circumstances = Circumstances {
            from_start: flow.from_start(),
            connected: flow.key.transport == Transport::TCP,
            packets: [flow.sent[0].packets, flow.sent[1].packets],
        };
        let mut observed = Observed::new(evidence, circumstances);
        if let Some(connection) = observed.tls().and_then(|tls| connection(flow, tls)) {
            if open.is_none() {
                self.links.learn(&connection);
            }
            if let Some(inherited) = self.links.inherited(&connection) {
                observed.inherit(inherited);
            }
        }
        let names = observed.tls().map(certificates);
        if let Some(authorities) = &plan.authorities {
            observed.chains = judge_chains(observed.tls(), authorities, flow.start);
        }
        if plan.learn && open.is_none() {
            self.learn_names(flow, source, &observed, names.as_ref());
        }
        let shown = |side: usize| match names.as_ref().and_then(|names| names[side].1.as_ref()) {
            Some(names) => Shown::by_certificate(names.iter(), policy.names()),
            None => Shown::default(),
        };
        let (server_shown, client_shown) = (shown(0), shown(1));
        // Certificates belong to the TLS roles, which a flow opened the other way round turns about.
        let turned = observed.tls().and_then(tls::Evidence::client).is_some_and(|client| client != source);
        let (source_shown, destination_shown) =
            if turned { (&server_shown, &client_shown) } else { (&client_shown, &server_shown) };
        // Inside a tunnel an address is not the VM's that has it outside.
        let learnt = |side: Side| match flow.encapsulation.network() {
            None => self.learning.groups(flow.key.end(side).ip),
            Some(_) => &[],
        };
        let process = |side: Side| {
            let owners = plan.owners.as_ref().filter(|_| flow.encapsulation.network().is_none())?;
            sockets::process(owners, flow, side)
        };
        let shown = |shown: &Shown, side: Side| shown.clone().learnt(learnt(side)).owned(process(side));
        let source_shown = &shown(source_shown, source);
        let destination_shown = &shown(destination_shown, source.other());
        let subject = Subject {
            source: flow.key.end(source),
            destination: flow.key.end(source.other()),
            transport: flow.key.transport,
            opened_by,
            observed: &observed,
            source_shown,
            destination_shown,
        };
        if plan.in_scope && !policy.in_scope(&subject) {
            self.out_of_scope += u64::from(open.is_none());
            return false;
        }
        let judgement = policy.judge(&subject);
        let is_violation = judgement.verdict == Verdict::Violation;
        if open == Some(Open::Violation) && !is_violation {
            return false;
        }
        let known_deviation = match judgement.verdict {
            Verdict::Violation => plan.deviations.explains(&subject),
            Verdict::Allowed | Verdict::Unproven => None,
        };
        let counted = counted(flow, source);
        let certificates = names.map(|[(server, _), (client, _)]| [server, client]);
        let record = Record {
            policy,
            subject,
            judgement: &judgement,
            deviations: &plan.deviations,
            known_deviation,
            counted,
            capture,
            certificates: certificates.as_ref(),
            state: if open.is_some() { RowState::Interim } else { RowState::Final },
        };
        if open.is_none() {
            self.count(&record);
        }
        if is_violation {
            self.tell(flow.first(), &record);
        }
        self.write(&record);
        is_violation
    }

    /// Names in DNS answers are learnt in the order of packets, so that they serve every flow that ends
    /// after the answer was read; of DNS over TCP, when that flow ends.
    fn learn_answers(&mut self, reader: Option<&mut FlowReader>) {
        if let Some(reader) = reader {
            let addresses = reader.conversation.take_addresses();
            self.learning.answers(&addresses, &self.plan.policy);
        }
    }

    /// What a flow that ended teaches: what is left of DNS answers, and the names on the certificate of a
    /// server whose handshake was accepted, unless the operator's authorities do not vouch for it.
    fn learn_names(
        &mut self,
        flow: &Flow<FlowReader>,
        source: Side,
        observed: &Observed,
        certificates: Option<&[(Certificate, Option<CertificateNames>); 2]>,
    ) {
        // Application containers talk through tunnels, and name no VM of the platform.
        if flow.encapsulation.network().is_some() {
            return;
        }
        let policy = &self.plan.policy;
        if let Some(dns) = &observed.evidence.dns {
            self.learning.rest(dns, policy);
        }
        let accepted = observed.tls().is_some_and(|tls| matches!(tls.outcome(), tls::Outcome::Accepted(_)));
        let doubtful = matches!(observed.chains[0], Some(Err(_)));
        if let (true, Some([(_, Some(names)), _])) = (accepted && !doubtful, certificates) {
            let client = observed.tls().and_then(tls::Evidence::client).unwrap_or(source);
            self.learning.certificate(flow.key.end(client.other()).ip, names, policy);
        }
    }

    /// A flow ended.
    fn count(&mut self, record: &Record<'_>) {
        let Counted { packets, bytes, .. } = record.counted;
        self.summary.add(record);
        self.rows.add(record.judgement, packets.iter().sum(), bytes.iter().sum());
        if let Some(sink) = &mut self.sink {
            sink.flow(record);
        }
    }

    /// A violation is told once.
    fn tell(&mut self, first: First, record: &Record<'_>) {
        let is_news = match record.state {
            RowState::Final => !self.told.remove(&first),
            RowState::Interim => !self.told.contains(&first),
        };
        if let (true, Some(sink)) = (is_news, &mut self.sink) {
            sink.violation(record);
        }
        if record.state == RowState::Interim && self.told.len() < TOLD {
            self.told.insert(first);
        }
    }

    fn write(&mut self, record: &Record<'_>) {
        let only = &self.plan.only;
        if !only.is_empty() && !only.contains(&record.judgement.verdict) {
            return;
        }
        if let (Some(report), None) = (&mut self.report, &self.write_error) {
            self.write_error = report.write(record).err().map(csv::Error::from);
        }
    }

    fn flush(&mut self) {
        if let (Some(report), None) = (&mut self.report, &self.write_error) {
            self.write_error = report.flush().err().map(csv::Error::from);
        }
    }
}

/// Which side opened a flow, and how that is known.
fn direction(flow: &Flow<FlowReader>, client: Option<Side>, policy: &Policy) -> (Side, OpenedBy) {
    use crate::flow::Opener;
    match (flow.opener, client) {
        (Some(Opener::Syn(side)), _) => return (side, OpenedBy::Syn),
        (Some(Opener::SynAck(side)), _) => return (side, OpenedBy::SynAck),
        (None, Some(side)) => return (side, OpenedBy::Protocol),
        (None, None) => {}
    }
    let documented = |side: Side| policy.documents(flow.key.transport, flow.key.end(side).port);
    match (documented(Side::A), documented(Side::B)) {
        (false, true) => (Side::A, OpenedBy::DocumentedPort),
        (true, false) => (Side::B, OpenedBy::DocumentedPort),
        _ => (flow.first_sender, OpenedBy::FirstPacket),
    }
}

/// A flow as a TLS connection, once its roles are known.
fn connection<'a>(flow: &Flow<FlowReader>, tls: &'a tls::Evidence) -> Option<Connection<'a>> {
    let client = tls.client()?;
    Some(Connection {
        tls,
        client: flow.key.end(client),
        server: flow.key.end(client.other()),
        start: flow.start,
        ordinal: flow.first_ordinal,
    })
}

fn counted(flow: &Flow<FlowReader>, source: Side) -> Counted {
    let (to_destination, to_source) = (flow.sent[source.index()], flow.sent[source.other().index()]);
    Counted {
        start: flow.start,
        end: flow.end,
        precision: flow.precision,
        packets: [to_destination.packets, to_source.packets],
        bytes: [to_destination.bytes, to_source.bytes],
        state: flow.state(source),
        first_packet: flow.first_packet.1,
        encapsulation: flow.encapsulation,
        repeated: flow.repeated,
    }
}

/// The certificates of the server and of the client, for the report and for telling components apart.
fn certificates(tls: &tls::Evidence) -> [(Certificate, Option<CertificateNames>); 2] {
    let server = match tls.server_chain() {
        Some(chain) => leaf(chain),
        None => (Certificate::Unseen, None),
    };
    let client = match tls.client_certificate() {
        ClientCertificate::Presented { chain: Some(chain), .. } => leaf(chain),
        ClientCertificate::Presented { chain: None, .. } | ClientCertificate::Unseen(_) => {
            (Certificate::Unseen, None)
        }
        ClientCertificate::Empty(_) => (Certificate::Empty, None),
        ClientCertificate::None(_) => (Certificate::None, None),
    };
    [server, client]
}

fn leaf(chain: &tls::Chain) -> (Certificate, Option<CertificateNames>) {
    match chain.certificates.first().map(|der| CertificateNames::from_der(der)) {
        None => (Certificate::Empty, None),
        Some(Ok(names)) => (Certificate::Names(names.to_string()), Some(names)),
        Some(Err(_)) => (Certificate::Unreadable, None),
    }
}

/// What the operator's authorities say of the server's and of the client's chain, at the capture's time.
fn judge_chains(
    tls: Option<&tls::Evidence>,
    authorities: &Authorities,
    at: Timestamp,
) -> [Option<Result<(), crate::pki::ChainProblem>>; 2] {
    let Some(tls) = tls else { return [None, None] };
    let judge = |chain: Option<&tls::Chain>, usage| {
        let chain = chain.filter(|chain| chain.complete && !chain.certificates.is_empty())?;
        let der: Vec<&[u8]> = chain.certificates.iter().map(|der| &**der).collect();
        Some(authorities.check(&der, usage, at.0.div_euclid(Timestamp::SECOND)))
    };
    let client = match tls.client_certificate() {
        ClientCertificate::Presented { chain, .. } => chain,
        _ => None,
    };
    [judge(tls.server_chain(), Usage::Server), judge(client, Usage::Client)]
}

/// Hands a flow's bytes to its conversation.
#[derive(Debug)]
struct FlowReader {
    conversation: Conversation,
    watch: Watch,
}

impl Reader for FlowReader {
    type Context = Arc<KeyStore>;

    fn new(keys: &Arc<KeyStore>) -> FlowReader {
        FlowReader { conversation: Conversation::with_keys(Arc::clone(keys)), watch: Watch::default() }
    }

    fn begins(&mut self) {
        self.conversation.begins();
    }

    fn read(&mut self, side: Side, bytes: &[u8], at: Timestamp) -> Want {
        match self.conversation.read(side, bytes, at.0) {
            Step::More { used } => Want { used, skip: 0, done: false },
            Step::Skip { used, skip } => Want { used, skip, done: false },
            // The conversation itself turns these into one of the others; nothing more is wanted.
            Step::Done | Step::Switch { .. } | Step::Broken => Want::NOTHING,
        }
    }

    fn gap(&mut self, side: Side, cause: Gap, covered: u64, _: Timestamp) -> u64 {
        self.conversation.gap(side, cause, covered)
    }

    fn closed(&mut self, side: Side, reset: bool, at: Timestamp) {
        self.conversation.closed(side, reset, at.0);
    }

    fn has_news(&mut self) -> bool {
        self.watch.has_news(self.conversation.tls())
    }

    fn datagram(&mut self, side: Side, bytes: &[u8], cut: bool, _: Timestamp) -> bool {
        self.conversation.datagram(side, bytes, cut)
    }
}
