//! The report itself: one CSV row a flow, in a fixed order of columns.

use std::fmt::{self, Write as _};
use std::io;

use super::escape::{clean, clean_bytes, is_formula};
use super::{Certificate, Record, evidence};
use crate::capture::{Precision, Timestamp};
use crate::flow::community_id;
use crate::inventory::Lookup;
use crate::packet::{Encapsulation, Layer, Transport};
use crate::protocol::tls::{self, Alpn, Basis};

/// The columns, in order: a stable contract, new ones at the end.
pub const COLUMNS: [&str; 45] = [
    "verdict",
    "reason",
    "table",
    "row",
    "also_rows",
    "source_vm",
    "destination_vm",
    "source_ip",
    "source_port",
    "destination_ip",
    "destination_port",
    "transport",
    "application",
    "security",
    "tls_version",
    "tls_cipher",
    "server_name",
    "alpn",
    "client_certificate",
    "server_certificate",
    "start",
    "end",
    "packets_to_destination",
    "packets_to_source",
    "bytes_to_destination",
    "bytes_to_source",
    "state",
    "source_finding",
    "destination_finding",
    "port_finding",
    "transport_finding",
    "application_finding",
    "security_finding",
    "evidence",
    "community_id",
    "documented",
    "opened_by",
    "application_basis",
    "security_basis",
    "capture",
    "first_packet",
    "encapsulation",
    "known_deviation",
    "row_state",
    "ja4",
];

/// Writes judged flows as CSV.
pub struct CsvReport<W: io::Write> {
    writer: csv::Writer<W>,
    field: String,
}

impl<W: io::Write> CsvReport<W> {
    /// Begins a report: writes the header.
    pub fn new(output: W) -> csv::Result<CsvReport<W>> {
        let mut writer = csv::WriterBuilder::new().buffer_capacity(256 * 1024).from_writer(output);
        writer.write_record(COLUMNS)?;
        Ok(CsvReport { writer, field: String::new() })
    }

    /// Writes one flow.
    pub fn write(&mut self, record: &Record<'_>) -> csv::Result<()> {
        let (policy, subject, judgement) = (record.policy, &record.subject, record.judgement);
        let (observed, counted) = (subject.observed, &record.counted);
        let tls = observed.tls();
        self.text(judgement.verdict)?;
        self.text(Maybe(judgement.reason))?;
        self.text(Maybe(judgement.row.map(|at| clean(&policy.tables()[at.table].name))))?;
        self.text(Maybe(judgement.row.map(|at| at.row + 1)))?;
        self.text(Joined(judgement.also.iter().map(|at| policy.name(*at))))?;
        self.text(vm(record, subject.source.ip))?;
        self.text(vm(record, subject.destination.ip))?;
        self.text(subject.source.ip)?;
        self.text(subject.source.port)?;
        self.text(subject.destination.ip)?;
        self.text(subject.destination.port)?;
        self.text(transport(subject.transport))?;
        self.text(observed.application)?;
        self.text(observed.security)?;
        self.text(Maybe(tls.and_then(tls::Evidence::version).map(tls::Version::name)))?;
        self.text(Maybe(tls.and_then(tls::Evidence::cipher).map(cipher)))?;
        self.text(Maybe(server_name(record)))?;
        self.text(Maybe(tls.and_then(alpn)))?;
        let [server, client] =
            record.certificates.map_or([None, None], |[server, client]| [Some(server), Some(client)]);
        self.text(Maybe(client.map(certificate)))?;
        self.text(Maybe(server.map(certificate)))?;
        self.text(time(counted.start, counted.precision))?;
        self.text(time(counted.end, counted.precision))?;
        self.text(counted.packets[0])?;
        self.text(counted.packets[1])?;
        self.text(counted.bytes[0])?;
        self.text(counted.bytes[1])?;
        self.text(counted.state)?;
        for column in 0..6 {
            self.text(Maybe(judgement.findings.map(|findings| findings[column].grade)))?;
        }
        self.text(evidence(record))?;
        self.text(community_id::community_id(subject.source, subject.destination, subject.transport, 0))?;
        self.text(Maybe(judgement.row.map(|at| Documented(&policy.row(at).cells))))?;
        self.text(subject.opened_by.word())?;
        self.text(observed.application_basis)?;
        self.text(observed.security_basis)?;
        self.text(clean(record.capture))?;
        self.text(counted.first_packet)?;
        self.text(encapsulation(counted.encapsulation))?;
        self.text(Maybe(record.known_deviation.map(clean)))?;
        self.text("final")?;
        self.text(Maybe(tls.and_then(tls::Evidence::client_hello).and_then(|hello| hello.ja4)))?;
        self.writer.write_record(None::<&[u8]>)
    }

    /// Everything written so far reaches the output.
    pub fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }

    fn text(&mut self, text: impl fmt::Display) -> csv::Result<()> {
        self.field.clear();
        let _ = write!(self.field, "{text}");
        if is_formula(&self.field) {
            self.field.insert(0, '\'');
        }
        self.writer.write_field(&self.field)
    }
}

/// A field that may be empty.
struct Maybe<T>(Option<T>);

impl<T: fmt::Display> fmt::Display for Maybe<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |value| value.fmt(f))
    }
}

/// Words separated by spaces.
struct Joined<I>(I);

impl<I: Iterator<Item = String> + Clone> fmt::Display for Joined<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, word) in self.0.clone().enumerate() {
            if at > 0 {
                f.write_str(" ")?;
            }
            write!(f, "{}", clean(&word))?;
        }
        Ok(())
    }
}

struct Documented<'a>(&'a [String; 6]);

impl fmt::Display for Documented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, cell) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(" | ")?;
            }
            write!(f, "{}", clean(cell))?;
        }
        Ok(())
    }
}

/// The instance name the inventory gives an address; several, joined, when they conflict.
pub(super) fn vm(record: &Record<'_>, ip: std::net::IpAddr) -> String {
    match record.policy.inventory().vm(ip) {
        Lookup::Unknown => String::new(),
        Lookup::One(vm) => clean(&vm.instance).to_string(),
        Lookup::Ambiguous(vms) => {
            let names: Vec<String> = vms.iter().map(|vm| clean(&vm.instance).to_string()).collect();
            names.join(" or ")
        }
    }
}

pub(super) fn transport(transport: Transport) -> impl fmt::Display {
    struct Word(Transport);
    impl fmt::Display for Word {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match self.0 {
                Transport::TCP => f.write_str("TCP"),
                Transport::UDP => f.write_str("UDP"),
                Transport::ICMP => f.write_str("ICMP"),
                Transport::ICMPV6 => f.write_str("ICMPv6"),
                Transport(132) => f.write_str("SCTP"),
                Transport(number) => write!(f, "IP protocol {number}"),
            }
        }
    }
    Word(transport)
}

pub(super) fn cipher(suite: u16) -> impl fmt::Display {
    struct Suite(u16);
    impl fmt::Display for Suite {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match tls::cipher_name(self.0) {
                Some(name) => f.write_str(name),
                None => write!(f, "0x{:04x}", self.0),
            }
        }
    }
    Suite(suite)
}

/// SNI, or the name the client gave in clear.
fn server_name(record: &Record<'_>) -> Option<String> {
    let evidence = &record.subject.observed.evidence;
    let name = match (&evidence.tls, &evidence.http1, &evidence.http2) {
        (Some(tls), ..) => tls.server_name(),
        (None, Some(http1), _) => http1.host.as_deref(),
        (None, None, Some(http2)) => http2.authority.as_deref(),
        _ => None,
    };
    name.map(|name| clean_bytes(name).to_string())
}

/// `chosen (offered a b)`, `offered a b`, or nothing.
fn alpn(tls: &tls::Evidence) -> Option<String> {
    let chosen = match tls.alpn() {
        Alpn::Chosen(name, Basis::Clear | Basis::Decrypted) => clean_bytes(name).to_string(),
        Alpn::Chosen(name, Basis::Inferred) => format!("{} inferred", clean_bytes(name)),
        Alpn::None(_) => "none chosen".to_owned(),
        Alpn::Unseen(_) => "unseen".to_owned(),
    };
    let offered = match tls.alpn_offered() {
        tls::Offer::Unseen(_) => "offer unseen".to_owned(),
        tls::Offer::None => "none offered".to_owned(),
        tls::Offer::List(names) => {
            let names: Vec<String> = names.iter().map(|name| clean_bytes(name).to_string()).collect();
            format!("offered {}", names.join(" "))
        }
    };
    Some(format!("{chosen} ({offered})"))
}

pub(super) fn certificate(certificate: &Certificate) -> String {
    match certificate {
        Certificate::None => String::new(),
        Certificate::Empty => "empty".to_owned(),
        Certificate::Unseen => "unseen".to_owned(),
        Certificate::Unreadable => "unreadable".to_owned(),
        Certificate::Names(names) => clean(names).to_string(),
    }
}

pub(super) fn encapsulation(encapsulation: Encapsulation) -> String {
    let words: Vec<String> = encapsulation
        .layers()
        .map(|layer| match layer {
            Layer::Vlan(id) => format!("vlan {id}"),
            Layer::Vxlan(vni) => format!("vxlan {vni}"),
        })
        .collect();
    words.join(" ")
}

/// RFC 3339 in UTC, with the capture's digits.
pub(super) fn time(time: Timestamp, precision: Precision) -> impl fmt::Display {
    struct Time(Timestamp, Precision);
    impl fmt::Display for Time {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let digits = match self.1 {
                Precision::Micro => 6,
                Precision::Nano => 9,
            };
            match jiff::Timestamp::from_nanosecond(i128::from(self.0.0)) {
                Ok(time) => write!(f, "{time:.digits$}"),
                Err(_) => write!(f, "{} ns", self.0.0),
            }
        }
    }
    Time(time, precision)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{Case, DOPPLER, LOG_API, MUTUAL, NATS, http, nats, one_row, policy, spoken};
    use crate::policy::{Options, testing};
    use crate::report::testing::{Judged, judged};
    use std::collections::HashMap;

    /// One record, written and read back.
    fn written(judged: &Judged<'_>) -> HashMap<String, String> {
        let mut csv = Vec::new();
        let mut report = CsvReport::new(&mut csv).unwrap();
        report.write(&judged.record()).unwrap();
        report.flush().unwrap();
        drop(report);
        let mut reader = csv::Reader::from_reader(&csv[..]);
        let mut rows = reader.deserialize();
        let row = rows.next().expect("one row").expect("as many fields as columns");
        assert!(rows.next().is_none());
        row
    }

    #[test]
    fn an_allowed_flow_is_told_in_the_contracts_words() {
        let policy = policy();
        let case = Case::new(LOG_API, DOPPLER, 8082, MUTUAL.observed()).showing("reverselogproxy", &policy);
        let row = written(&judged(&policy, &case, Some(["CN=doppler", "CN=reverselogproxy"])));
        let expected = [
            ("verdict", "allowed"),
            ("reason", ""),
            ("table", "loggregator"),
            ("row", "6"),
            ("also_rows", "loggregator:3"),
            ("source_vm", "log-api/0"),
            ("destination_vm", "doppler/0"),
            ("source_ip", LOG_API),
            ("source_port", "40000"),
            ("destination_ip", DOPPLER),
            ("destination_port", "8082"),
            ("transport", "TCP"),
            ("application", "HTTP/2"),
            ("security", "mutual TLS"),
            ("tls_version", "TLS 1.2"),
            ("tls_cipher", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
            ("server_name", "doppler.service.cf.internal"),
            ("alpn", "h2 (offered h2)"),
            ("client_certificate", "CN=reverselogproxy"),
            ("server_certificate", "CN=doppler"),
            ("start", "2026-11-22T00:00:00.000000Z"),
            ("end", "2026-11-22T00:00:01.000000Z"),
            ("packets_to_destination", "5"),
            ("packets_to_source", "4"),
            ("bytes_to_destination", "500"),
            ("bytes_to_source", "400"),
            ("state", "SF"),
            ("source_finding", "confirmed"),
            ("destination_finding", "confirmed"),
            ("port_finding", "confirmed"),
            ("transport_finding", "confirmed"),
            ("application_finding", "inferred"),
            ("security_finding", "confirmed"),
            (
                "documented",
                "loggregator_trafficcontroller (Reverse Log Proxy) | doppler | 8082 | TCP | gRPC over HTTP/2 | Mutual TLS",
            ),
            ("opened_by", "syn"),
            ("application_basis", "inferred"),
            ("security_basis", "clear"),
            ("capture", "a.pcap"),
            ("first_packet", "17"),
            ("encapsulation", ""),
            ("known_deviation", ""),
            ("row_state", "final"),
        ];
        for (column, value) in expected {
            assert_eq!(row[column], value, "{column}");
        }
        assert!(row["community_id"].starts_with("1:"));
        assert!(row["ja4"].starts_with("t12d0202h2_"), "{}", row["ja4"]);
        let told: Vec<_> = expected.iter().map(|(column, _)| *column).collect();
        let rest: Vec<_> = COLUMNS.iter().filter(|column| !told.contains(column)).collect();
        assert_eq!(rest, [&"evidence", &"community_id", &"ja4"]);
        let ja4 = &row["ja4"];
        assert!(ja4.starts_with("t12") && ja4.len() == 36, "{ja4}");
    }

    #[test]
    fn a_flow_that_no_row_is_near_leaves_the_rows_cells_empty() {
        let policy = policy();
        let case = Case::new("192.0.2.1", "192.0.2.2", 9999, http(None, "200 OK"));
        let row = written(&judged(&policy, &case, None));
        assert_eq!((row["verdict"].as_str(), row["reason"].as_str()), ("violation", "no_row_for_port"));
        for column in
            ["table", "row", "also_rows", "documented", "source_vm", "source_finding", "tls_version"]
        {
            assert_eq!(row[column], "", "{column}");
        }
        assert_eq!(row["server_name"], "doppler", "the Host field of the request");
    }

    #[test]
    fn names_off_the_wire_are_no_formulas_and_no_escape_sequences() {
        let policy = policy();
        for (host, shown) in [("=cmd()", "'=cmd()"), ("+1", "'+1"), ("@x", "'@x"), ("-a", "'-a")] {
            let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let case = Case::new(LOG_API, NATS, 4222, spoken(&[&request]));
            assert_eq!(written(&judged(&policy, &case, None))["server_name"], shown);
        }
        let case = Case::new(LOG_API, DOPPLER, 8082, MUTUAL.observed());
        let row = written(&judged(&policy, &case, Some(["CN=\u{1b}[2J\u{202e}x", "=HYPERLINK(1)"])));
        assert_eq!(row["server_certificate"], "CN=\\u{1b}[2J\\u{202e}x");
        assert_eq!(row["client_certificate"], "'=HYPERLINK(1)");
    }

    #[test]
    fn what_an_operators_files_hold_is_escaped_too() {
        let vms = "ip,vm,jobs,subnet\n10.0.4.10,=doppler\u{1b}[2J,doppler,10.0.4.0/24\n";
        let table = one_row("t", "\u{7}gorouter,=doppler\u{7},8082,TCP,HTTP,None");
        let policy = testing::bind_tables(vec![table], &[vms], Options::default());
        let case = Case::new("192.0.2.1", DOPPLER, 8082, http(None, "200 OK"));
        let row = written(&judged(&policy, &case, None));
        assert_eq!(row["destination_vm"], "'=doppler\\u{1b}[2J");
        assert!(row.values().all(|value| !value.contains(char::is_control)), "{row:?}");
    }

    #[test]
    fn passwords_and_tokens_reach_no_column() {
        let policy = policy();
        let password =
            nats("{\"user\":\"uSecret\",\"pass\":\"pSecret\",\"auth_token\":\"tSecret\"}", "PONG\r\n");
        for observed in
            [password, http(Some("Bearer bSecret"), "200 OK"), http(Some("Basic bSecret"), "200 OK")]
        {
            let case = Case::new(LOG_API, NATS, 4222, observed);
            let row = written(&judged(&policy, &case, None));
            assert!(row.values().all(|value| !value.contains("Secret")), "{row:?}");
        }
    }

    #[test]
    fn times_are_rfc_3339_with_the_captures_digits() {
        let at = Timestamp(1_795_000_000_123_456_789);
        assert_eq!(time(at, Precision::Micro).to_string(), "2026-11-18T11:06:40.123456Z");
        assert_eq!(time(at, Precision::Nano).to_string(), "2026-11-18T11:06:40.123456789Z");
    }

    #[test]
    fn encapsulation_is_said_from_the_outside_in() {
        let mut both = Encapsulation::default();
        assert!(both.push(100) && both.push(200) && both.enter(7) && both.push(300));
        assert_eq!(encapsulation(both), "vlan 100 vlan 200 vxlan 7 vlan 300");
        assert_eq!(encapsulation(Encapsulation::default()), "");
    }
}
