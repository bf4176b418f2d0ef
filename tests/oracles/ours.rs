//! What flowaudit says of a capture, flow by flow.

use std::io;
use std::path::Path;

use flowaudit::audit::{Audit, Plan, Sink};
use flowaudit::capture::{self, Event, Merged};
use flowaudit::flow::community_id::{DEFAULT_SEED, community_id};
use flowaudit::inventory::{Inventory, Names};
use flowaudit::policy::{Options, Policy, Table};
use flowaudit::protocol::Evidence;
use flowaudit::protocol::tls::{Alpn, Basis};
use flowaudit::report::{Account, Certificate, Record};

use crate::tuple::{Counts, Tuple};

/// All that one capture comes to.
pub struct Ours {
    /// Every flow, in the report's order.
    pub flows: Vec<Flow>,
    /// Where the packets went.
    pub account: Account,
}

/// One flow: one generation of its five-tuple.
pub struct Flow {
    /// Its transport and ends.
    pub tuple: Tuple,
    /// The port of the end that answered.
    pub server_port: u16,
    /// Packets and bytes.
    pub counts: Counts,
    /// It is inside a tunnel.
    pub tunnelled: bool,
    /// Its Community ID.
    pub community_id: String,
    /// Its TLS handshake.
    pub tls: Option<Tls>,
    /// Its requests, in clear or decrypted.
    pub http: Option<Http>,
}

/// A TLS handshake.
pub struct Tls {
    /// Of the ClientHello: server name and protocols offered.
    pub client: Option<(String, Vec<String>)>,
    /// Of the ServerHello: version and cipher suite.
    pub server: Option<(String, u16)>,
    /// The protocol chosen, in clear or decrypted.
    pub alpn: Option<String>,
    /// Names on the certificates in clear or decrypted, of server and client: `CN=…; SAN=…`.
    pub certificates: [Option<String>; 2],
}

/// The requests of a flow.
pub struct Http {
    /// HTTP/2, or HTTP/1.
    pub two: bool,
    /// It began as HTTP/1.
    pub upgraded: bool,
    /// Request heads read.
    pub requests: u32,
    /// Answers, but for interim ones.
    pub answers: u32,
    /// Host or authority of the first request.
    pub host: String,
    /// A content type is gRPC's.
    pub grpc: bool,
    /// Requests may have been missed, and the flow says so.
    pub unread: bool,
}

impl Ours {
    /// Audits one capture with the built-in tables; nothing if it cannot be opened.
    pub fn of(path: &Path) -> Option<Ours> {
        let source = capture::open(path.to_str().expect("the corpus has plain names")).ok()?;
        let names = vec![source.name().to_owned()];
        let mut source = Merged::new(vec![source]).ok()?;
        let tables = Table::built_in().expect("the built-in tables are good");
        let plan = Plan::new(Policy::new(tables, Inventory::default(), Names::default(), Options::default()));
        let mut flows = Flows(Vec::new());
        let mut audit = Audit::<io::Sink>::new(&plan, names, None, None).expect("nothing is written");
        audit.listen(&mut flows);
        // What stands before a damage is compared all the same.
        while let Ok(Some(event)) = source.next_event() {
            match event {
                Event::Packet(packet) => audit.packet(&packet).expect("there is no filter"),
                Event::Secrets(secrets) => audit.secrets(&secrets),
            }
        }
        let account = audit.finish().account;
        Some(Ours { flows: flows.0, account })
    }
}

struct Flows(Vec<Flow>);

impl Sink for Flows {
    fn flow(&mut self, record: &Record<'_>) {
        let (subject, counted) = (&record.subject, &record.counted);
        let end = |end: flowaudit::packet::Endpoint| (end.ip, end.port);
        let (tuple, turned) = Tuple::new(subject.transport.0, end(subject.source), end(subject.destination));
        let counts = Counts { packets: counted.packets, bytes: counted.bytes };
        let evidence = &subject.observed.evidence;
        self.0.push(Flow {
            tuple,
            server_port: subject.destination.port,
            counts: counts.turned(turned),
            tunnelled: counted.encapsulation.network().is_some(),
            community_id: community_id(subject.source, subject.destination, subject.transport, DEFAULT_SEED),
            tls: tls(record),
            http: http(evidence.inside.as_deref().unwrap_or(evidence)),
        });
    }
}

fn tls(record: &Record<'_>) -> Option<Tls> {
    let tls = record.subject.observed.tls()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let shown = |certificate: &Certificate| match certificate {
        Certificate::Names(names) => Some(names.to_string()),
        _ => None,
    };
    Some(Tls {
        client: tls.client_hello().map(|hello| {
            let offered = hello.alpn.iter().flatten().map(|name| text(name)).collect();
            (hello.server_name.as_deref().map(text).unwrap_or_default(), offered)
        }),
        server: tls.server_hello().map(|hello| {
            (hello.version.map_or(String::new(), |version| version.name().to_string()), hello.cipher)
        }),
        alpn: match tls.alpn() {
            Alpn::Chosen(name, Basis::Clear | Basis::Decrypted) => Some(text(name)),
            _ => None,
        },
        certificates: match record.certificates {
            Some([server, client]) => [shown(server), shown(client)],
            None => [None, None],
        },
    })
}

fn http(evidence: &Evidence) -> Option<Http> {
    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    let (two, requests, host, grpc) = match (&evidence.http1, &evidence.http2) {
        (_, Some(http2)) => (true, &http2.requests, text(http2.authority.as_deref()), http2.grpc),
        (Some(http1), None) => (false, &http1.requests, text(http1.host.as_deref()), false),
        (None, None) => return None,
    };
    let answers = requests.status_401 + requests.status_403 + requests.status_404 + requests.status_other;
    let upgraded = evidence.http2.as_ref().is_some_and(|http2| http2.upgraded);
    Some(Http { two, upgraded, requests: requests.read, answers, host, grpc, unread: requests.unread })
}
