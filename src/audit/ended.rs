//! A flow that ended, or that is looked at while it is open, summed up: all that can be said of it without
//! knowing other flows.

use std::cell::RefCell;
use std::sync::Arc;

use super::Plan;
use super::links::Connection;
use super::reader::FlowReader;
use crate::capture::Timestamp;
use crate::flow::community_id::{self, COMMUNITY_ID_BYTES, DEFAULT_SEED};
use crate::flow::{First, Flow, Key, Opener};
use crate::inventory::LearntGroup;
use crate::packet::{Gap, Side, Transport};
use crate::pki::{Authorities, CertificateNames, ChainProblem, KnownCertificates, Leaf, Usage};
use crate::policy::{Circumstances, Observed, OpenedBy, Policy};
use crate::protocol::Evidence;
use crate::protocol::tls::{self, ClientCertificate};
use crate::report::{Certificate, Counted};

/// One flow on its way from the flow table to the judge.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) key: Key,
    /// Tells it from all others.
    pub(super) first: First,
    /// It goes on; `None` if it ended.
    pub(super) open: Option<Open>,
    /// The side that opened it.
    pub(super) source: Side,
    pub(super) opened_by: OpenedBy,
    pub(super) counted: Counted,
    /// The capture its first packet came from.
    pub(super) capture: u16,
    pub(super) observed: Observed,
    pub(super) leaves: Option<Leaves>,
    /// What other connections may resume, or this one resumed.
    pub(super) connection: Option<Box<Connection>>,
    /// The groups that the addresses of its ends are learnt to be of, by [`Side::index`].
    pub(super) learnt: [Option<Arc<[LearntGroup]>>; 2],
}

/// Why a flow is looked at while it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Open {
    /// It gets a row if it is a violation and was not told to be one.
    Violation,
    /// It gets a row.
    Any,
}

/// The leaf certificates of a connection.
#[derive(Debug)]
pub(super) struct Leaves {
    /// The server's and the client's, for the report.
    pub(super) told: [Certificate; 2],
    /// Their names, for telling components apart.
    pub(super) names: [Option<Arc<Leaf>>; 2],
}

impl Ended {
    /// Takes out of the flow what its reader saw.
    pub(super) fn new(flow: &mut Flow<FlowReader>, plan: &Plan) -> Box<Ended> {
        let evidence = std::mem::take(&mut flow.reader.conversation).finish();
        Ended::summed_up(flow, evidence, None, plan)
    }

    /// A flow that goes on, as far as it went; packets of it may be lost.
    pub(super) fn open(flow: &Flow<&FlowReader>, lost: bool, which: Open, plan: &Plan) -> Box<Ended> {
        let mut evidence = flow.reader.conversation.so_far();
        if lost {
            evidence.gap.get_or_insert(Gap::Loss);
        }
        Ended::summed_up(flow, evidence, Some(which), plan)
    }

    fn summed_up<R>(flow: &Flow<R>, evidence: Evidence, open: Option<Open>, plan: &Plan) -> Box<Ended> {
        let (source, opened_by) = direction(flow, evidence.client, &plan.policy);
        let circumstances = Circumstances {
            from_start: flow.from_start(),
            connected: flow.key.transport == Transport::TCP,
            packets: [flow.sent[0].packets, flow.sent[1].packets],
            ambiguity: flow.ambiguity,
        };
        let mut observed = Observed::new(evidence, circumstances);
        if let Some(authorities) = &plan.authorities {
            observed.chains = judge_chains(observed.tls(), authorities, flow.start);
        }
        let unlearnt = observed.tls().filter(|tls| !tls.is_learnt());
        let connection = unlearnt.and_then(|tls| Connection::new(flow, tls));
        // The place first: it is written where it stays.
        let place = Box::new_uninit();
        Box::write(
            place,
            Ended {
                key: flow.key,
                first: flow.first(),
                open,
                source,
                opened_by,
                counted: counted(flow, source),
                capture: flow.first_packet.0,
                leaves: observed.tls().map(Leaves::of),
                observed,
                connection,
                learnt: [None, None],
            },
        )
    }

    /// Its Community ID, as the report has it.
    pub(super) fn community_id(&self) -> [u8; COMMUNITY_ID_BYTES] {
        let (source, destination) = (self.key.end(self.source), self.key.end(self.source.other()));
        community_id::bytes(source, destination, self.key.transport, DEFAULT_SEED)
    }

    /// The names on the certificate of a server whose handshake was accepted, and the server's side, unless
    /// the operator's authorities do not vouch for it.
    pub(super) fn vouched(&self) -> Option<(Side, &CertificateNames)> {
        let tls = self.observed.tls()?;
        let accepted = matches!(tls.outcome(), tls::Outcome::Accepted(_));
        let doubtful = self.observed.ambiguity.is_some() || matches!(self.observed.chains[0], Some(Err(_)));
        let names = &self.leaves.as_ref()?.names[0].as_ref()?.names;
        let client = tls.client().unwrap_or(self.source);
        (accepted && !doubtful).then_some((client.other(), names))
    }
}

impl Leaves {
    fn of(tls: &tls::Evidence) -> Leaves {
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
        Leaves { told: [server.0, client.0], names: [server.1, client.1] }
    }
}

thread_local! {
    /// Chains are shared by all flows that a thread reads, whichever flow table they are in; so is what is read of them.
    static KNOWN: RefCell<KnownCertificates> = RefCell::default();
}

fn leaf(chain: &tls::Chain) -> (Certificate, Option<Arc<Leaf>>) {
    let known = || KNOWN.with_borrow_mut(|known| known.leaf(&chain.certificates));
    match (!chain.certificates.is_empty()).then(known) {
        None => (Certificate::Empty, None),
        Some(Some(leaf)) => (Certificate::Names(Arc::clone(&leaf.text)), Some(leaf)),
        Some(None) => (Certificate::Unreadable, None),
    }
}

/// Which side opened a flow, and how that is known.
fn direction<R>(flow: &Flow<R>, client: Option<Side>, policy: &Policy) -> (Side, OpenedBy) {
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

fn counted<R>(flow: &Flow<R>, source: Side) -> Counted {
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
        evicted: flow.evicted,
    }
}

/// What the operator's authorities say of the server's and of the client's chain, at the capture's time.
fn judge_chains(
    tls: Option<&tls::Evidence>,
    authorities: &Authorities,
    at: Timestamp,
) -> [Option<Result<(), ChainProblem>>; 2] {
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
