//! What tshark says of a capture: its conversations, and the fields of every frame.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use crate::common::run;
use crate::tuple::{End, TCP, Tuple, UDP};

/// The fields asked of every frame.
const FIELDS: &[&str] = &[
    "frame.number",
    "frame.len",
    "frame.protocols",
    "ip.src",
    "ip.dst",
    "ipv6.src",
    "ipv6.dst",
    "tcp.srcport",
    "tcp.dstport",
    "udp.srcport",
    "udp.dstport",
    "tcp.stream",
    "ip.fragment",
    "ipv6.fragment",
    "communityid",
    "tls.handshake.type",
    "tls.handshake.version",
    "tls.handshake.extensions.supported_version",
    "tls.handshake.extensions_server_name",
    "tls.handshake.extensions_alpn_str",
    "tls.handshake.ciphersuite",
    "http.request.method",
    "http.host",
    "http.response.code",
    "http2.headers.method",
    "http2.headers.status",
    "http2.headers.authority",
    "http2.headers.content_type",
];

/// The fields that hold names of a certificate, of the subject or the issuer.
pub const NAMES: &[&str] = &[
    "x509sat.printableString",
    "x509sat.uTF8String",
    "x509sat.teletexString",
    "x509sat.bmpString",
    "x509ce.dNSName",
    "x509ce.rfc822Name",
    "x509ce.uniformResourceIdentifier",
    "x509ce.IPAddress.ipv4",
    "x509ce.IPAddress.ipv6",
];

/// Protocols by their bytes first, by their ports last; segments in order; and heads as soon as they are
/// there, also of bodies that the capture does not hold whole.
const PREFERENCES: &[&str] =
    &["tcp.try_heuristic_first:TRUE", "tcp.reassemble_out_of_order:TRUE", "http.desegment_body:FALSE"];

/// Separates several values of one field: a byte that none of them holds.
const BETWEEN: char = '\u{1f}';

/// All that tshark says of one capture.
pub struct Tshark {
    /// Every frame.
    pub frames: Vec<Frame>,
    /// A line of `-z conv`: TCP streams, UDP conversations, and with transport 0 pairs of addresses.
    pub conversations: Vec<(Tuple, Rough)>,
}

/// Counters of which the bytes are known as far as tshark prints them: `19 kB`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rough {
    pub packets: [u64; 2],
    pub least: [u64; 2],
    pub most: [u64; 2],
}

/// The fields of one frame.
pub struct Frame(Vec<String>);

/// What a frame holds on its way in: a pair of addresses, or a conversation of TCP or UDP.
pub struct Passed {
    /// Its addresses, and its ports where it has some.
    pub tuple: Tuple,
    /// It goes from the higher end to the lower.
    pub turned: bool,
    /// Everything around it is of the link layers that flowaudit decodes: it is the flow of this frame.
    pub outermost: bool,
}

impl Tshark {
    /// Asks tshark; nothing if it cannot read the capture at all. These TCP ports it takes for HTTP/2, which
    /// it does not recognise by bytes.
    pub fn of(path: &Path, http2: &BTreeSet<u16>) -> Option<Tshark> {
        let mut command = Command::new("nice");
        command.args(["tshark", "-n", "--enable-protocol", "communityid"]);
        for preference in PREFERENCES {
            command.args(["-o", preference]);
        }
        for port in http2 {
            command.args(["-d".to_owned(), format!("tcp.port=={port},http2")]);
        }
        command.args(["-T", "fields", "-E", "separator=/t", "-E", "occurrence=a"]);
        command.args(["-E".to_owned(), format!("aggregator={BETWEEN}")]);
        for field in FIELDS.iter().chain(NAMES) {
            command.args(["-e", field]);
        }
        for table in ["tcp", "udp", "ip", "ipv6"] {
            command.args(["-z".to_owned(), format!("conv,{table}")]);
        }
        command.arg("-r").arg(path);
        Tshark::read(&run(command).stdout)
    }

    /// What the bytes of each TCP stream begin with, by the stream's number.
    pub fn openings(&self) -> BTreeMap<u64, &str> {
        let mut openings = BTreeMap::new();
        for frame in &self.frames {
            if let (Some(word), Some(_)) = (frame.above_tcp(), frame.first("tcp.stream")) {
                openings.entry(frame.number("tcp.stream")).or_insert(word);
            }
        }
        openings
    }

    fn read(output: &str) -> Option<Tshark> {
        let (mut frames, mut conversations) = (Vec::new(), Vec::new());
        let mut table = None;
        for line in output.lines() {
            match line {
                "TCP Conversations" => table = Some(TCP),
                "UDP Conversations" => table = Some(UDP),
                "IPv4 Conversations" | "IPv6 Conversations" => table = Some(0),
                _ => match table {
                    Some(transport) if line.contains("<->") => {
                        conversations.push(conversation(transport, line)?)
                    }
                    Some(_) => {}
                    None => {
                        let values: Vec<String> = line.split('\t').map(str::to_owned).collect();
                        // The line before the tables is not a frame.
                        if values.len() == FIELDS.len() + NAMES.len() {
                            frames.push(Frame(values));
                        }
                    }
                },
            }
        }
        // The tables are always printed, unless the file is none that tshark reads.
        table.map(|_| Tshark { frames, conversations })
    }
}

fn conversation(transport: u8, line: &str) -> Option<(Tuple, Rough)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let end = |word: &str| -> Option<End> {
        if transport == 0 {
            return Some((word.parse().ok()?, 0));
        }
        let (ip, port) = word.rsplit_once(':')?;
        Some((ip.parse().ok()?, port.parse().ok()?))
    };
    let (tuple, turned) = Tuple::new(transport, end(words.first()?)?, end(words.get(2)?)?);
    let mut rough = Rough::default();
    // Towards the left end first.
    for (from, at) in [(1, 3), (0, 6)] {
        let from = if turned { 1 - from } else { from };
        let unit = match *words.get(at + 2)? {
            "bytes" => 1,
            "kB" => 1_000,
            "MB" => 1_000_000,
            _ => return None,
        };
        rough.packets[from] = words.get(at)?.parse().ok()?;
        rough.least[from] = words.get(at + 1)?.parse::<u64>().ok()? * unit;
        rough.most[from] = rough.least[from] + unit - 1;
    }
    Some((tuple, rough))
}

impl Rough {
    /// Adds another line of the same conversation.
    pub fn add(&mut self, other: &Rough) {
        for at in 0..2 {
            self.packets[at] += other.packets[at];
            self.least[at] += other.least[at];
            self.most[at] += other.most[at];
        }
    }

    /// Whether exact bytes fit what was printed.
    pub fn fits(&self, bytes: [u64; 2]) -> bool {
        (0..2).all(|at| (self.least[at]..=self.most[at]).contains(&bytes[at]))
    }
}

impl Frame {
    /// Every value of a field, in the frame's order.
    pub fn all(&self, field: &str) -> impl Iterator<Item = &str> {
        let at = FIELDS.iter().chain(NAMES).position(|name| *name == field).expect("it is asked for");
        let value = self.0[at].as_str();
        value.split(BETWEEN).filter(|value| !value.is_empty())
    }

    /// Its first value.
    pub fn first(&self, field: &str) -> Option<&str> {
        self.all(field).next()
    }

    /// A field's first value as a number, 0 if there is none.
    pub fn number(&self, field: &str) -> u64 {
        self.first(field).map_or(0, |value| value.parse().unwrap_or(0))
    }

    /// Whether it went through this dissector.
    pub fn has(&self, protocol: &str) -> bool {
        self.first("frame.protocols").is_some_and(|path| path.split(':').any(|word| word == protocol))
    }

    /// The frames that its datagram was put together from, this one included; none if it came whole.
    pub fn fragments(&self) -> impl Iterator<Item = u64> {
        self.all("ip.fragment").chain(self.all("ipv6.fragment")).filter_map(|number| number.parse().ok())
    }

    /// What stands right above the outermost IP header and its extensions.
    pub fn above_ip(&self) -> Option<&str> {
        let mut words = self.first("frame.protocols")?.split(':');
        words.by_ref().find(|word| ["ip", "ipv6"].contains(word))?;
        words.find(|word| !word.starts_with("ipv6."))
    }

    /// What stands right above the outermost TCP header.
    pub fn above_tcp(&self) -> Option<&str> {
        let mut words = self.first("frame.protocols")?.split(':');
        words.by_ref().find(|word| *word == "tcp")?;
        words.next()
    }

    /// Every pair of addresses and every conversation of TCP and UDP in it, from the outside in.
    pub fn passed(&self) -> Vec<Passed> {
        let mut found = Vec::new();
        let mut outside = Vec::new();
        let pairs = |from: &'static str, to: &'static str| self.all(from).zip(self.all(to));
        let (mut four, mut six) = (pairs("ip.src", "ip.dst"), pairs("ipv6.src", "ipv6.dst"));
        let (mut tcp, mut udp) = (pairs("tcp.srcport", "tcp.dstport"), pairs("udp.srcport", "udp.dstport"));
        let mut addresses: Option<[IpAddr; 2]> = None;
        let ip = |pair: (&str, &str)| Some([pair.0.parse().ok()?, pair.1.parse().ok()?]);
        for word in self.first("frame.protocols").unwrap_or_default().split(':') {
            let (transport, ports) = match word {
                "ip" => (0, None),
                "ipv6" => (0, None),
                "tcp" => (TCP, tcp.next()),
                "udp" => (UDP, udp.next()),
                _ => {
                    if !word.starts_with("ipv6.") {
                        outside.push(word);
                    }
                    continue;
                }
            };
            let next = match word {
                "ip" => four.next().and_then(ip),
                "ipv6" => six.next().and_then(ip),
                _ => addresses,
            };
            let Some([from, to]) = next else { break };
            addresses = next;
            let port = |word: &str| word.parse::<u16>().unwrap_or(0);
            let (from_port, to_port) = ports.map_or((0, 0), |(from, to)| (port(from), port(to)));
            if transport == 0 || ports.is_some() {
                let (tuple, turned) = Tuple::new(transport, (from, from_port), (to, to_port));
                found.push(Passed { tuple, turned, outermost: outside.iter().all(|word| is_link(word)) });
            }
            if transport == 0 && found.len() > 1 {
                // Whatever is inside an IP packet inside another is not that packet's own.
                outside.push("tunnel");
                if let Some(last) = found.last_mut() {
                    last.outermost = false;
                }
            }
        }
        found
    }
}

/// Layers that may stand around the IP packet whose flow flowaudit follows.
fn is_link(word: &str) -> bool {
    ["eth", "ethertype", "vlan", "ieee8021ad", "llc", "sll", "null", "raw"].contains(&word)
}
