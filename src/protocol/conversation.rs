//! One flow's bytes, handed to the recogniser they belong to.
//!
//! The first bytes of either side are probed by every recogniser; the one that is certain gets the flow.
//! A protocol may hand over to another: NATS to TLS after INFO, HTTP/1 to HTTP/2 after an upgrade.

use super::{Address, Dns, Http1, Http2, Nats, Probe, Side, Step, dns, http1, http2, nats, tls};
use crate::packet::Gap;

/// Everything the capture showed of what a flow speaks.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// TLS, wherever in the flow it began.
    pub tls: Option<Box<tls::Evidence>>,
    /// HTTP/1 in clear.
    pub http1: Option<Box<Http1>>,
    /// HTTP/2 in clear.
    pub http2: Option<Box<Http2>>,
    /// NATS in clear.
    pub nats: Option<Nats>,
    /// DNS.
    pub dns: Option<Box<Dns>>,
    /// The client, by the protocol's own roles.
    pub client: Option<Side>,
    /// Which sides sent payload.
    pub spoke: [bool; 2],
    /// Why bytes are missing that a recogniser wanted, the first time.
    pub gap: Option<Gap>,
    /// The bytes broke the rules of the protocol they had been recognised as.
    pub broken: bool,
    /// Decisive first bytes were read and no recogniser knew them.
    pub unrecognised: bool,
}

impl Evidence {
    /// Some protocol was recognised.
    pub fn recognised(&self) -> bool {
        self.tls.is_some()
            || self.http1.is_some()
            || self.http2.is_some()
            || self.nats.is_some()
            || self.dns.is_some()
    }
}

/// The state of one flow's recognition.
#[derive(Debug, Default)]
pub struct Conversation {
    active: Active,
    evidence: Evidence,
    /// The flow's beginning is in the capture, so its first bytes are the protocol's first bytes.
    from_start: bool,
    /// Lends that each side's bytes were not recognised in.
    misses: [u8; 2],
}

/// The recogniser a flow belongs to. Boxed: most flows of a capture are idle or classified.
#[derive(Debug, Default)]
enum Active {
    #[default]
    Probing,
    Tls(Box<tls::Parser>),
    Http1(Box<http1::Parser>),
    Http2(Box<http2::Parser>),
    Nats(Box<nats::Parser>),
    Dns(Box<dns::Parser>),
    /// Nothing more is wanted.
    Over,
}

/// How many lends (about segments) of one side are probed when a flow's beginning is not in the capture:
/// a request or a record may well start in one of the next.
const MIDSTREAM_TRIES: u8 = 16;
/// How many datagrams of one side are probed.
const DATAGRAM_TRIES: u8 = 4;
/// First bytes that no recogniser is sure of are kept up to this many; then they are unrecognised.
const UNSURE_BYTES: usize = 4096;

impl Conversation {
    /// The flow's beginning is in the capture.
    pub fn begins(&mut self) {
        self.from_start = true;
    }

    /// Reads the next bytes of one side of a stream; `at` is packet time in nanoseconds.
    pub fn read(&mut self, side: Side, bytes: &[u8], at: i64) -> Step {
        self.evidence.spoke[side.index()] = true;
        let step = match &mut self.active {
            Active::Probing => return self.probe(side, bytes, at),
            Active::Tls(parser) => parser.advance(side, bytes, at),
            Active::Http1(parser) => parser.advance(side, bytes),
            Active::Http2(parser) => parser.advance(side, bytes),
            Active::Nats(parser) => parser.advance(side, bytes),
            Active::Dns(parser) => parser.advance(side, bytes),
            Active::Over => Step::Done,
        };
        match step {
            Step::Switch { used } => {
                let upgraded = match &self.active {
                    Active::Http1(parser) if parser.evidence().h2c_accepted => {
                        parser.client().map(|client| http2::Parser::upgraded(client, parser.evidence()))
                    }
                    _ => None,
                };
                self.keep_evidence();
                self.active = upgraded.map_or(Active::Probing, |parser| Active::Http2(Box::new(parser)));
                // What follows the switch is a beginning again.
                self.from_start = true;
                Step::More { used }
            }
            Step::Broken => {
                self.evidence.broken = true;
                self.keep_evidence();
                Step::Done
            }
            step => step,
        }
    }

    /// Bytes of one side are missing.
    pub fn gap(&mut self, side: Side, cause: Gap) {
        self.evidence.gap.get_or_insert(cause);
        match &mut self.active {
            Active::Probing => self.from_start = false,
            Active::Tls(parser) => parser.gap(side),
            Active::Http1(parser) => parser.gap(side),
            Active::Http2(parser) => parser.gap(side),
            Active::Nats(parser) => parser.gap(side),
            Active::Dns(parser) => parser.gap(side),
            Active::Over => {}
        }
    }

    /// One side closed its direction, or reset the connection.
    pub fn closed(&mut self, side: Side, reset: bool, at: i64) {
        if let Active::Tls(parser) = &mut self.active {
            parser.closed(side, reset, at);
        }
    }

    /// Reads one datagram; says whether more are wanted.
    pub fn datagram(&mut self, side: Side, bytes: &[u8], cut: bool) -> bool {
        self.evidence.spoke[side.index()] = true;
        if let Active::Probing = self.active {
            if cut {
                self.evidence.gap.get_or_insert(Gap::Snaplen);
            }
            match dns::probe_datagram(bytes) {
                Probe::Certain => self.active = Active::Dns(Box::new(dns::Parser::new())),
                Probe::Unsure | Probe::NotForUs => {
                    let misses = &mut self.misses[side.index()];
                    *misses += 1;
                    if *misses >= DATAGRAM_TRIES {
                        self.evidence.unrecognised = self.evidence.gap.is_none();
                        self.active = Active::Over;
                    }
                    return *misses < DATAGRAM_TRIES;
                }
            }
        }
        let Active::Dns(parser) = &mut self.active else { return false };
        !matches!(parser.datagram(side, bytes), Step::Done)
    }

    /// Addresses that DNS answers gave names to since this was last asked.
    pub fn take_addresses(&mut self) -> Vec<Address> {
        match &mut self.active {
            Active::Dns(parser) => parser.take_addresses(),
            _ => Vec::new(),
        }
    }

    /// The flow is over: everything that was seen.
    pub fn finish(mut self) -> Evidence {
        if matches!(self.active, Active::Probing) && self.misses != [0, 0] && self.evidence.gap.is_none() {
            self.evidence.unrecognised = true;
        }
        self.keep_evidence();
        self.evidence
    }

    fn probe(&mut self, side: Side, bytes: &[u8], at: i64) -> Step {
        match probe(bytes, self.from_start, self.evidence.nats.is_some()) {
            Found::Yes(active) => {
                self.active = active;
                self.read(side, bytes, at)
            }
            Found::Unsure if bytes.len() < UNSURE_BYTES => Step::More { used: 0 },
            Found::Unsure | Found::No => {
                let misses = &mut self.misses[side.index()];
                *misses = misses.saturating_add(1);
                if self.from_start || *misses >= MIDSTREAM_TRIES {
                    self.evidence.unrecognised = self.from_start;
                    return Step::Done;
                }
                Step::More { used: bytes.len() }
            }
        }
    }

    /// Moves what the active recogniser saw into the evidence, and lets go of its state.
    fn keep_evidence(&mut self) {
        let evidence = &mut self.evidence;
        let client = match std::mem::replace(&mut self.active, Active::Over) {
            Active::Tls(parser) => {
                let client = parser.client();
                evidence.tls = Some(Box::new(parser.evidence().clone()));
                client
            }
            Active::Http1(parser) => {
                evidence.http1 = Some(Box::new(parser.evidence().clone()));
                parser.client()
            }
            Active::Http2(parser) => {
                evidence.http2 = Some(Box::new(parser.evidence().clone()));
                parser.client()
            }
            Active::Nats(parser) => {
                evidence.nats = Some(*parser.evidence());
                parser.client()
            }
            Active::Dns(parser) => {
                evidence.dns = Some(Box::new(parser.evidence().clone()));
                parser.client()
            }
            Active::Probing | Active::Over => None,
        };
        evidence.client = evidence.client.or(client);
    }
}

enum Found {
    Yes(Active),
    Unsure,
    No,
}

/// Which recogniser these first bytes belong to.
fn probe(bytes: &[u8], from_start: bool, after_nats: bool) -> Found {
    let mut unsure = false;
    let mut certain = |probe: Probe| {
        unsure |= probe == Probe::Unsure;
        probe == Probe::Certain
    };
    if certain(tls::probe(bytes)) {
        return Found::Yes(Active::Tls(Box::new(tls::Parser::new())));
    }
    if after_nats {
        return if unsure { Found::Unsure } else { Found::No };
    }
    if certain(http2::probe(bytes)) {
        return Found::Yes(Active::Http2(Box::new(http2::Parser::new())));
    }
    if certain(nats::probe(bytes)) {
        return Found::Yes(Active::Nats(Box::new(nats::Parser::new())));
    }
    if certain(http1::probe(bytes)) {
        return Found::Yes(Active::Http1(Box::new(http1::Parser::new())));
    }
    if certain(dns::probe(bytes)) {
        return Found::Yes(Active::Dns(Box::new(dns::Parser::new())));
    }
    if !from_start && certain(tls::probe_midstream(bytes)) {
        return Found::Yes(Active::Tls(Box::new(tls::Parser::new())));
    }
    if unsure { Found::Unsure } else { Found::No }
}
