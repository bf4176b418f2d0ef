//! Flows for tests of verdicts and reports: real bytes read by the real recognisers, between the VMs of
//! a small inventory, held against the built-in tables.

use super::component::Shown;
use super::{Circumstances, Judgement, Observed, OpenedBy, Options, Policy, Subject, Table};
use crate::inventory::Builder;
use crate::packet::{Allowance, Endpoint, Side, Transport};
use crate::protocol::Conversation;
use crate::protocol::testing::Stream;

/// VMs as an operator lists them. The Director's jobs are not known; 10.0.4.99 is claimed twice.
pub const VMS: &str = "ip,vm,jobs,subnet
10.0.4.10,doppler/0,doppler loggregator_agent log-cache,10.0.4.0/24
10.0.4.11,log-api/0,loggregator_trafficcontroller reverse_log_proxy reverse_log_proxy_gateway route_registrar bosh-system-metrics-forwarder loggregator_agent,10.0.4.0/24
10.0.4.12,log-cache/0,log-cache log-cache-nozzle log-cache-cf-auth-proxy loggregator_agent,10.0.4.0/24
10.0.4.13,uaa/0,uaa,10.0.4.0/24
10.0.4.14,nats/0,nats,10.0.4.0/24
10.0.4.15,diego-cell/0,rep,10.0.4.0/24
10.0.0.6,BOSH Director,,10.0.0.0/24
10.0.4.99,uaa/1,uaa,10.0.4.0/24
10.0.4.99,doppler/1,doppler,10.0.4.0/24
";

/// Two subnets of one network, one of another, and a network without ranges.
pub const NETWORKS: &str = "networks:
- name: default
  type: manual
  subnets:
  - {az: z1, range: 10.0.4.0/24}
  - {az: z2, range: 10.0.5.0/24}
- name: infrastructure
  type: manual
  subnets:
  - {az: z1, range: 10.0.0.0/24}
";

pub const DOPPLER: &str = "10.0.4.10";
pub const LOG_API: &str = "10.0.4.11";
pub const LOG_CACHE: &str = "10.0.4.12";
pub const UAA: &str = "10.0.4.13";
pub const NATS: &str = "10.0.4.14";
pub const CELL: &str = "10.0.4.15";
pub const DIRECTOR: &str = "10.0.0.6";
pub const STRANGER: &str = "10.0.4.200";

/// The built-in tables, bound to these inventory files.
pub fn bind(files: &[&str], options: Options) -> Policy {
    bind_tables(Table::built_in().unwrap(), files, options)
}

/// Any tables, bound to these inventory files.
pub fn bind_tables(tables: Vec<Table>, files: &[&str], options: Options) -> Policy {
    let mut builder = Builder::default();
    for (n, file) in files.iter().enumerate() {
        builder.add(&format!("file {n}"), file.as_bytes()).unwrap();
    }
    let (inventory, names) = builder.finish().unwrap();
    Policy::new(tables, inventory, names, options)
}

/// A table of one row, in the page's six cells.
pub fn one_row(name: &str, cells: &str) -> Table {
    let header = "Source VM,Destination VM,Port,Transport Layer Protocol,App Layer Protocol,Security and Authentication";
    Table::parse(name, name, format!("{header}\n{cells}\n").as_bytes()).unwrap()
}

/// The built-in tables, with all of [`VMS`] and [`NETWORKS`].
pub fn policy() -> Policy {
    bind(&[VMS, NETWORKS], Options::default())
}

/// One flow from the client, side A, to the server.
pub struct Case {
    pub source: Endpoint,
    pub destination: Endpoint,
    pub transport: Transport,
    pub opened_by: OpenedBy,
    pub observed: Observed,
    pub source_shown: Shown,
    pub destination_shown: Shown,
}

impl Case {
    pub fn new(source: &str, destination: &str, port: u16, observed: Observed) -> Case {
        Case {
            source: Endpoint { ip: source.parse().unwrap(), port: 40_000 },
            destination: Endpoint { ip: destination.parse().unwrap(), port },
            transport: Transport::TCP,
            opened_by: OpenedBy::Syn,
            observed,
            source_shown: Shown::default(),
            destination_shown: Shown::default(),
        }
    }

    /// The source presented a certificate of this name in clear.
    pub fn showing(mut self, name: &str, policy: &Policy) -> Case {
        self.source_shown = Shown::by_certificate([name], policy.names());
        self
    }

    pub fn opened_by(mut self, opened_by: OpenedBy) -> Case {
        self.opened_by = opened_by;
        self
    }

    pub fn subject(&self) -> Subject<'_> {
        Subject {
            source: self.source,
            destination: self.destination,
            transport: self.transport,
            opened_by: self.opened_by,
            observed: &self.observed,
            source_shown: &self.source_shown,
            destination_shown: &self.destination_shown,
        }
    }

    pub fn judge(&self, policy: &Policy) -> Judgement {
        policy.judge(&self.subject(), &policy.ends_of(&self.subject()))
    }
}

/// A TCP connection captured from its start, both ways.
pub const WHOLE: Circumstances =
    Circumstances { from_start: true, connected: true, packets: [5, 5], ambiguity: None };

/// What these bytes show, sent one after the other by the client, A, and the server, B.
pub fn observed(sent: &[(Side, &[u8])], circumstances: Circumstances) -> Observed {
    let (mut stream, mut conversation) = (Stream::default(), Conversation::default());
    let mut allowance = Allowance::new();
    if circumstances.from_start {
        conversation.begins();
    }
    for (at, (side, bytes)) in sent.iter().enumerate() {
        stream.lend(*side, bytes, |side, bytes| conversation.read(side, bytes, at as i64, &mut allowance));
    }
    Observed::new(conversation.finish(), circumstances)
}

/// What these texts show, the client's first, then the server's in turn.
pub fn spoken(texts: &[&str]) -> Observed {
    let sides = [Side::A, Side::B].into_iter().cycle();
    let sent: Vec<(Side, &[u8])> = sides.zip(texts).map(|(side, text)| (side, text.as_bytes())).collect();
    observed(&sent, WHOLE)
}

/// A whole flow of these bytes, in this order.
pub fn spoken_bytes(sent: &[(Side, Vec<u8>)]) -> Observed {
    let sent: Vec<(Side, &[u8])> = sent.iter().map(|(side, bytes)| (*side, &bytes[..])).collect();
    observed(&sent, WHOLE)
}

/// A connection on which nothing was said.
pub fn silent() -> Observed {
    observed(&[], WHOLE)
}

/// One request with this `Authorization`, if any, and an answer of this status.
pub fn http(authorization: Option<&str>, status: &str) -> Observed {
    let field = authorization.map_or(String::new(), |value| format!("Authorization: {value}\r\n"));
    spoken(&[
        &format!("GET / HTTP/1.1\r\nHost: doppler\r\n{field}\r\n"),
        &format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"),
    ])
}

/// A NATS client that sends this CONNECT, and what the server says to it.
pub fn nats(connect: &str, answer: &str) -> Observed {
    let info = "INFO {\"server_id\":\"x\",\"auth_required\":true}\r\n";
    spoken(&["", info, &format!("CONNECT {connect}\r\nPING\r\n"), answer])
}

/// What a TLS 1.2 client does when asked for a certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// It is not asked.
    NotAsked,
    /// It sends an empty list.
    Empty,
    /// It presents one, and proves it.
    Presents,
}

/// A handshake in clear (RFC 5246 section 7.3), to be varied: by default mutual, with h2 agreed.
#[derive(Clone, Copy)]
pub struct Handshake {
    pub version: u16,
    pub cipher: u16,
    pub offered: &'static [&'static str],
    pub chosen: Option<&'static str>,
    pub client: Client,
    /// An abbreviated handshake.
    pub resumed: bool,
    /// The server's fatal alert after the client's flight.
    pub refused: Option<u8>,
}

/// ECDHE_RSA_WITH_AES_128_GCM_SHA256.
pub const GOOD_SUITE: u16 = 0xc02f;
/// RSA_WITH_AES_128_CBC_SHA: RSA key exchange.
pub const WEAK_SUITE: u16 = 0x002f;

pub const MUTUAL: Handshake = Handshake {
    version: 0x0303,
    cipher: GOOD_SUITE,
    offered: &["h2"],
    chosen: Some("h2"),
    client: Client::Presents,
    resumed: false,
    refused: None,
};

impl Handshake {
    pub fn observed(self) -> Observed {
        self.observed_in(WHOLE)
    }

    pub fn observed_in(self, circumstances: Circumstances) -> Observed {
        let flights = self.flights();
        let sent: Vec<(Side, &[u8])> = flights.iter().map(|(side, bytes)| (*side, &bytes[..])).collect();
        observed(&sent, circumstances)
    }

    fn flights(self) -> Vec<(Side, Vec<u8>)> {
        let certificate = vector24(&vector24(b"DER of a certificate"));
        let finished = || [self.record(20, &[1]), self.record(22, &[7; 40])].concat();
        let hello = [self.message(1, &self.client_hello())].concat();
        if self.resumed {
            let server = [self.message(2, &self.server_hello()), finished()].concat();
            return vec![(Side::A, hello), (Side::B, server), (Side::A, finished())];
        }
        let mut server = vec![self.message(2, &self.server_hello()), self.message(11, &certificate)];
        if self.client != Client::NotAsked {
            server.push(self.message(13, &[1, 1, 0, 2, 4, 1, 0, 0]));
        }
        server.push(self.message(14, &[]));
        let mut client = match self.client {
            Client::NotAsked => vec![],
            Client::Empty => vec![self.message(11, &vector24(b""))],
            Client::Presents => vec![self.message(11, &certificate)],
        };
        client.push(self.message(16, &[0; 66]));
        if self.client == Client::Presents {
            client.push(self.message(15, &[4, 1, 0, 2, 9, 9]));
        }
        client.push(finished());
        let answer = match self.refused {
            Some(alert) => self.record(21, &[2, alert]),
            None => finished(),
        };
        vec![(Side::A, hello), (Side::B, server.concat()), (Side::A, client.concat()), (Side::B, answer)]
    }

    fn client_hello(self) -> Vec<u8> {
        let names: Vec<u8> = self.offered.iter().flat_map(|name| vector8(name.as_bytes())).collect();
        let alpn = if self.offered.is_empty() { vec![] } else { extension(16, &vector16(&names)) };
        let name = [&[0][..], &vector16(b"doppler.service.cf.internal")].concat();
        let extensions = [extension(0, &vector16(&name)), alpn].concat();
        let suites = [self.cipher.to_be_bytes(), GOOD_SUITE.to_be_bytes()].concat();
        let session = if self.resumed { vector8(&[3; 32]) } else { vec![0] };
        let version = &self.version.to_be_bytes()[..];
        [version, &[1; 32], &session, &vector16(&suites), &[1, 0], &vector16(&extensions)].concat()
    }

    fn server_hello(self) -> Vec<u8> {
        let alpn = self.chosen.map_or(vec![], |name| extension(16, &vector16(&vector8(name.as_bytes()))));
        let session = if self.resumed { vector8(&[3; 32]) } else { vec![0] };
        let (version, cipher) = (self.version.to_be_bytes(), self.cipher.to_be_bytes());
        [&version[..], &[2; 32], &session, &cipher, &[0], &vector16(&alpn)].concat()
    }

    fn message(self, kind: u8, body: &[u8]) -> Vec<u8> {
        self.record(22, &[&[kind][..], &vector24(body)].concat())
    }

    fn record(self, kind: u8, body: &[u8]) -> Vec<u8> {
        [&[kind][..], &self.version.to_be_bytes(), &vector16(body)].concat()
    }
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vector16(body)].concat()
}

fn vector8(body: &[u8]) -> Vec<u8> {
    [&[body.len() as u8], body].concat()
}

fn vector16(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u16).to_be_bytes()[..], body].concat()
}

fn vector24(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes()[1..], body].concat()
}
