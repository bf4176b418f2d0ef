//! Which flows are judged alike. Most flows repeat what others did, and what the tables say of one of them holds
//! for all: whoever judges many may remember it.

use std::hash::{Hash, Hasher};
use std::ops::RangeInclusive;

use super::ends::{EndLikeness, Place};
use super::finding::Missing;
use super::judge::{OpenedBy, Subject};
use super::observed::{Application, Basis, Observed, Security};
use super::security::{is_h2, is_http};
use crate::packet::Transport;
use crate::protocol::tls::{self, Alpn, ClientCertificate, Offer, Outcome, Version};
use crate::protocol::{Nats, Requests};

/// All that a judgement takes from a flow, and all that its words say but for addresses, the port and the state:
/// flows that are alike get the same from one policy, and from others that share its inventory.
///
/// It names what the policy and the flow hold by where that is kept, so that both must be kept with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Likeness {
    transport: Transport,
    /// The destination's port, if some row names it.
    port: Option<u16>,
    opened_by: OpenedBy,
    ends: [EndLikeness; 2],
    is_one_address: bool,
    carried: Carried,
}

impl Likeness {
    /// That of a flow; `None` of one that shows too much of its own to be like others. `is_named` tells whether
    /// some row of the policies that judge it names the destination's port, of whichever transport.
    pub fn of(subject: &Subject<'_>, ends: &[Place<'_>; 2], is_named: bool) -> Option<Likeness> {
        let [source, destination] = ends;
        let is_like_no_other =
            ends.iter().any(Place::is_like_no_other) || Carried::tells_its_own(subject.observed);
        if is_like_no_other {
            return None;
        }
        Some(Likeness {
            transport: subject.transport,
            port: is_named.then_some(subject.destination.port),
            opened_by: subject.opened_by,
            ends: [source.likeness(destination), destination.likeness(source)],
            is_one_address: subject.source.ip == subject.destination.ip,
            carried: Carried::of(subject.observed),
        })
    }
}

impl Hash for Likeness {
    /// All of it, most in few numbers.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Likeness { transport, port, opened_by, ends, is_one_address, carried } = self;
        let flags = [*is_one_address, carried.no_payload, carried.unrecognised, carried.broken];
        let flags = flags.into_iter().fold(0, |flags, flag| flags << 1 | u64::from(flag));
        let port = port.map_or(1 << 16, u64::from);
        state.write_u64(port | flags << 20 | u64::from(transport.0) << 24 | (*opened_by as u64) << 32);
        let missing = carried.missing.map_or(0, |missing| missing as u64 + 1);
        let bases = (carried.application_basis as u64) << 16 | (carried.security_basis as u64) << 24;
        state.write_u64(carried.application as u64 | missing << 8 | bases);
        (ends, carried.security, carried.requests).hash(state);
        if let Some(nats) = &carried.nats {
            let Nats { info, auth_required, tls_required, upgraded, authentication, refused, accepted } =
                nats;
            (info, auth_required, tls_required, upgraded, refused, accepted).hash(state);
            state.write_u64(*authentication as u64);
        }
        if let Some(Tls { outcome, certificate, resumed, version, offered_max, cipher, offered, chosen }) =
            &carried.tls
        {
            let outcome = match outcome {
                Outcome::Accepted(basis) => *basis as u64,
                Outcome::Unseen(why) => 1 << 8 | *why as u64,
                Outcome::Refused { by, alert, basis } => {
                    let alert = alert.map_or(0, |alert| 1 << 32 | u64::from(alert) << 24);
                    2 << 8 | (*basis as u64) << 16 | (by.index() as u64) << 23 | alert
                }
            };
            (outcome, certificate, resumed, version, offered_max, cipher, offered, chosen).hash(state);
        }
    }
}

/// What the columns on application and security look at.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Carried {
    application: Application,
    application_basis: Basis,
    security: Security,
    security_basis: Basis,
    missing: Option<Missing>,
    no_payload: bool,
    unrecognised: bool,
    broken: bool,
    requests: Option<Requests>,
    nats: Option<Nats>,
    tls: Option<Tls>,
}

impl Carried {
    /// The words for a finding tell more than is compared here.
    fn tells_its_own(observed: &Observed) -> bool {
        let evidence = &observed.evidence;
        evidence.inside.is_some()
            || evidence.mysql.is_some()
            || evidence.ldap.is_some()
            || observed.inherited.is_some()
            || observed.ambiguity.is_some()
            || observed.chains.iter().any(Option::is_some)
    }

    #[inline]
    fn of(observed: &Observed) -> Carried {
        let evidence = &observed.evidence;
        Carried {
            application: observed.application,
            application_basis: observed.application_basis,
            security: observed.security,
            security_basis: observed.security_basis,
            missing: observed.missing,
            no_payload: observed.no_payload,
            unrecognised: evidence.unrecognised,
            broken: evidence.broken,
            requests: observed.requests().copied(),
            nats: observed.nats().copied(),
            tls: observed.tls().map(Tls::of),
        }
    }
}

/// What is asked of TLS without keys.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tls {
    outcome: Outcome,
    certificate: Certificate,
    resumed: Option<bool>,
    version: Option<Version>,
    offered_max: Option<Version>,
    cipher: Option<u16>,
    offered: Offered,
    chosen: Chosen,
}

/// [`ClientCertificate`] without the chain: what that names is in the likeness of the ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Certificate {
    Presented(tls::Basis),
    Empty(tls::Basis),
    None(tls::Basis),
    Unseen(tls::Why),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Offered {
    Unseen,
    None,
    List { has_h2: bool, only_h2: bool, only_http: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Chosen {
    Unseen,
    None(tls::Basis),
    Some { basis: tls::Basis, is_h2: bool, is_http: bool },
}

impl Tls {
    fn of(tls: &tls::Evidence) -> Tls {
        Tls {
            outcome: tls.outcome(),
            certificate: match tls.client_certificate() {
                ClientCertificate::Presented { basis, .. } => Certificate::Presented(basis),
                ClientCertificate::Empty(basis) => Certificate::Empty(basis),
                ClientCertificate::None(basis) => Certificate::None(basis),
                ClientCertificate::Unseen(why) => Certificate::Unseen(why),
            },
            resumed: tls.resumed(),
            version: tls.version(),
            offered_max: tls.offered_max(),
            cipher: tls.cipher(),
            offered: match tls.alpn_offered() {
                Offer::Unseen(_) => Offered::Unseen,
                Offer::None => Offered::None,
                Offer::List(names) => Offered::List {
                    has_h2: names.iter().any(|name| is_h2(name)),
                    only_h2: names.iter().all(|name| is_h2(name)),
                    only_http: names.iter().all(|name| is_http(name)),
                },
            },
            chosen: match tls.alpn() {
                Alpn::Unseen(_) => Chosen::Unseen,
                Alpn::None(basis) => Chosen::None(basis),
                Alpn::Chosen(name, basis) => {
                    Chosen::Some { basis, is_h2: is_h2(name), is_http: is_http(name) }
                }
            },
        }
    }
}

/// Ports that some row names, of whichever transport: one bit each, since every flow is asked about.
#[derive(Debug)]
pub(super) struct NamedPorts(Box<[u64; 1024]>);

impl Default for NamedPorts {
    fn default() -> NamedPorts {
        NamedPorts(Box::new([0; 1024]))
    }
}

impl NamedPorts {
    pub(super) fn add(&mut self, ports: &RangeInclusive<u16>) {
        let (first, last) = (ports.start() / 64, ports.end() / 64);
        for (at, word) in (first..=last).zip(&mut self.0[usize::from(first)..]) {
            let from = if at == first { !0 << (ports.start() % 64) } else { !0 };
            let to = if at == last { !0 >> (63 - ports.end() % 64) } else { !0 };
            *word |= from & to;
        }
    }

    #[inline]
    pub(super) fn holds(&self, port: u16) -> bool {
        self.0[usize::from(port / 64)] & 1 << (port % 64) != 0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};
    use std::hash::BuildHasher;

    use foldhash::fast::RandomState;

    use super::*;
    use crate::policy::testing::{
        CELL, Case, Client, DIRECTOR, DOPPLER, Handshake, LOG_API, MUTUAL, NATS, NETWORKS, STRANGER, UAA,
        VMS, bind, http, nats, silent,
    };
    use crate::policy::{Judgement, Options};

    #[test]
    fn flows_that_are_alike_are_judged_alike() {
        let ends = [CELL, DIRECTOR, DOPPLER, LOG_API, NATS, STRANGER, UAA];
        let strangers = ["10.0.4.201", "10.0.5.7", "127.0.0.1", "169.254.0.2", "192.0.2.1", "192.0.2.2"];
        let ends = || ends.iter().chain(&strangers);
        let observed = [
            silent(),
            http(None, "200 OK"),
            http(Some("Bearer x"), "200 OK"),
            http(Some("Basic x"), "401 Unauthorized"),
            nats("{\"user\":\"u\",\"pass\":\"p\"}", "PONG\r\n"),
            nats("{\"verbose\":false}", "PONG\r\n"),
            MUTUAL.observed(),
            Handshake { client: Client::Empty, ..MUTUAL }.observed(),
            Handshake { offered: &[], chosen: None, ..MUTUAL }.observed(),
            Handshake { refused: Some(48), ..MUTUAL }.observed(),
            Handshake { version: 0x0302, ..MUTUAL }.observed(),
        ];
        for files in [&[VMS, NETWORKS][..], &[]] {
            let policy = bind(files, Options::default());
            let mut known: HashMap<Likeness, Judgement> = HashMap::new();
            let mut flows = 0;
            for (source, destination) in ends().flat_map(|source| ends().map(move |end| (source, end))) {
                for (port, observed) in [443, 4222, 8082, 9998, 9999]
                    .into_iter()
                    .flat_map(|port| observed.iter().map(move |it| (port, it)))
                {
                    for opened_by in [OpenedBy::Syn, OpenedBy::FirstPacket] {
                        let case =
                            Case::new(source, destination, port, observed.clone()).opened_by(opened_by);
                        let subject = case.subject();
                        let ends = policy.ends_of(&subject);
                        let likeness = Likeness::of(&subject, &ends, policy.names_port(port));
                        let judgement = policy.judge(&subject, &ends);
                        let first =
                            known.entry(likeness.expect("nothing of its own")).or_insert(judgement.clone());
                        assert_eq!(*first, judgement, "{subject:?}");
                        flows += 1;
                    }
                }
            }
            assert!(known.len() < flows / 2, "{} of {flows}", known.len());
            let hasher = RandomState::default();
            let hashes: HashSet<u64> = known.keys().map(|likeness| hasher.hash_one(likeness)).collect();
            assert_eq!(hashes.len(), known.len());
        }
    }

    #[test]
    fn ports_are_held_by_ranges() {
        let mut ports = NamedPorts::default();
        for range in [63..=64, 130..=130, 1024..=2047, u16::MAX..=u16::MAX] {
            ports.add(&range);
        }
        let held: Vec<u16> = (0..=u16::MAX).filter(|port| ports.holds(*port)).collect();
        let expected: Vec<u16> = [63, 64, 130].into_iter().chain(1024..=2047).chain([u16::MAX]).collect();
        assert_eq!(held, expected);
        ports.add(&(0..=u16::MAX));
        assert!((0..=u16::MAX).all(|port| ports.holds(port)));
    }
}
