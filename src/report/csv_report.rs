//! The report itself: one CSV row a flow, in a fixed order of columns.

use std::collections::HashMap;
use std::io;

use foldhash::fast::RandomState;

use super::Record;
use super::explain::append_evidence;
use super::fields::{Fields, field};
use super::text::{Text, text};
use super::words::{self, Clock};
use crate::flow::community_id;
use crate::policy::{Policy, Reason, RowRef};
use crate::protocol::tls::{self, Alpn, Basis, Ja4, Version};

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
    /// There until it is given back.
    output: Option<W>,
    rows: RowWriter,
    buffer: Vec<u8>,
}

/// Rows are handed to the output when they come to this many bytes.
const BUFFERED: usize = 256 * 1024;
/// Rows that come to so many bytes at once are handed on as they are.
const NOT_COPIED: usize = BUFFERED / 4;

impl<W: io::Write> CsvReport<W> {
    /// Begins a report: writes the header.
    pub fn new(output: W) -> csv::Result<CsvReport<W>> {
        let mut header = csv::Writer::from_writer(Vec::with_capacity(BUFFERED));
        header.write_record(COLUMNS)?;
        let buffer = header.into_inner().map_err(|error| error.into_error())?;
        Ok(CsvReport { output: Some(output), rows: RowWriter::default(), buffer })
    }

    /// Writes one flow.
    pub fn write(&mut self, record: &Record<'_>) -> io::Result<()> {
        self.rows.row(record, &mut self.buffer);
        self.write_when_full()
    }

    /// Writes whole rows that a [`RowWriter`] made elsewhere.
    pub fn append(&mut self, rows: &[u8]) -> io::Result<()> {
        if rows.len() >= NOT_COPIED {
            self.write_buffer()?;
            return self.output.as_mut().map_or(Ok(()), |output| output.write_all(rows));
        }
        self.buffer.extend_from_slice(rows);
        self.write_when_full()
    }

    /// Everything written so far reaches the output.
    pub fn flush(&mut self) -> io::Result<()> {
        self.write_buffer()?;
        self.output.as_mut().map_or(Ok(()), W::flush)
    }

    /// Gives the output back. What is still buffered is lost: flush first.
    pub fn into_inner(mut self) -> Option<W> {
        self.buffer.clear();
        self.output.take()
    }

    fn write_when_full(&mut self) -> io::Result<()> {
        if self.buffer.len() < BUFFERED { Ok(()) } else { self.write_buffer() }
    }

    fn write_buffer(&mut self) -> io::Result<()> {
        let written = self.output.as_mut().map_or(Ok(()), |output| output.write_all(&self.buffer));
        // What failed may have been written in part: it is not written again.
        self.buffer.clear();
        written
    }
}

impl<W: io::Write> Drop for CsvReport<W> {
    /// An audit that ends early loses no row; who wants to know of errors flushes.
    fn drop(&mut self) {
        let _ = self.flush();
    }
}

/// Makes rows of the flows that one policy judged; a thread that makes rows has one of its own.
#[derive(Clone, Debug, Default)]
pub struct RowWriter {
    text: Text,
    clock: Clock,
    capture: Made,
    documented: HashMap<RowRef, Documented, RandomState>,
    /// Of overlays that are not in force.
    deviations: HashMap<RowRef, Documented, RandomState>,
}

/// A field that was made before, which often comes again.
#[derive(Clone, Debug, Default)]
struct Made {
    text: String,
    field: Box<[u8]>,
}

impl Made {
    fn of(&mut self, text: &str) -> &[u8] {
        if self.text != text {
            *self = Made { text: text.to_owned(), field: field(|out| out.clean(text)) };
        }
        &self.field
    }
}

/// What does not change from flow to flow of a documented row.
#[derive(Clone, Debug)]
struct Documented {
    /// The field `table`.
    table: Box<[u8]>,
    /// `table:row`, as in `also_rows`, where it is one of several.
    name: String,
    /// The field `documented`.
    cells: Box<[u8]>,
}

impl Documented {
    fn new(policy: &Policy, at: RowRef) -> Documented {
        Documented {
            table: field(|out| out.clean(&policy.tables()[at.table].name)),
            name: text(|out| out.clean(&policy.name(at))),
            cells: field(|out| words::cells(&policy.row(at).cells, out)),
        }
    }
}

impl RowWriter {
    /// Appends the row of one flow, with its line feed.
    pub fn row(&mut self, record: &Record<'_>, out: &mut Vec<u8>) {
        let (policy, subject, judgement) = (record.policy, &record.subject, record.judgement);
        let (observed, counted) = (subject.observed, &record.counted);
        let tls = observed.tls();
        let [server, client] =
            record.certificates.map_or([None, None], |[server, client]| [Some(server), Some(client)]);
        for at in judgement.row.iter().chain(&judgement.also) {
            self.documented.entry(*at).or_insert_with(|| Documented::new(policy, *at));
        }
        let documented = |at| self.documented.get(&at);
        if let Some(at) = record.known_deviation {
            self.deviations.entry(at).or_insert_with(|| Documented::new(record.deviations, at));
        }
        let deviation = record.known_deviation.and_then(|at| self.deviations.get(&at));
        let decides = judgement.row.and_then(documented);
        let clock = &mut self.clock;

        self.text.cut(0);
        let mut row = Fields::new(&mut self.text);
        row.word(judgement.verdict.word());
        row.word(judgement.reason.map_or("", Reason::word));
        row.made(decides.map_or(&[], |row| &row.table));
        row.harmless(|out| judgement.row.iter().for_each(|at| out.number(at.row as u64 + 1)));
        row.text(|out| joined(judgement.also.iter().filter_map(|at| documented(*at)), out));
        row.text(|out| words::vm(record, subject.source.ip, out));
        row.text(|out| words::vm(record, subject.destination.ip, out));
        row.harmless(|out| out.ip(subject.source.ip));
        row.number(subject.source.port.into());
        row.harmless(|out| out.ip(subject.destination.ip));
        row.number(subject.destination.port.into());
        row.harmless(|out| words::transport(subject.transport, out));
        row.word(observed.application.word());
        row.harmless(|out| observed.security.words().iter().for_each(|word| out.word(word)));
        row.word(tls.and_then(tls::Evidence::version).map_or("", Version::name));
        row.harmless(|out| tls.and_then(tls::Evidence::cipher).iter().for_each(|at| words::cipher(*at, out)));
        row.text(|out| server_name(record, out));
        row.text(|out| tls.iter().for_each(|tls| alpn(tls, out)));
        row.text(|out| client.iter().for_each(|client| words::certificate(client, out)));
        row.text(|out| server.iter().for_each(|server| words::certificate(server, out)));
        row.harmless(|out| clock.time(counted.start, counted.precision, out));
        row.harmless(|out| clock.time(counted.end, counted.precision, out));
        row.number(counted.packets[0]);
        row.number(counted.packets[1]);
        row.number(counted.bytes[0]);
        row.number(counted.bytes[1]);
        row.word(counted.state.word());
        for column in 0..6 {
            row.word(judgement.findings.as_ref().map_or("", |findings| findings[column].grade.word()));
        }
        row.text(|out| append_evidence(record, out));
        row.made(&community_id::bytes(subject.source, subject.destination, subject.transport, 0));
        row.made(decides.map_or(&[], |row| &row.cells));
        row.word(subject.opened_by.word());
        row.word(observed.application_basis.word());
        row.word(observed.security_basis.word());
        row.made(self.capture.of(record.capture));
        row.number(counted.first_packet);
        row.harmless(|out| words::encapsulation(counted.encapsulation, out));
        row.text(|out| deviation.iter().for_each(|row| out.word(&row.name)));
        row.word(record.state.word());
        let hello = tls.and_then(tls::Evidence::client_hello);
        row.word(hello.and_then(|hello| hello.ja4.as_ref()).map_or("", Ja4::as_str));
        row.finish();
        out.extend_from_slice(self.text.as_bytes());
    }
}

/// Names of rows, separated by spaces.
fn joined<'a>(rows: impl Iterator<Item = &'a Documented>, out: &mut Text) {
    for (at, row) in rows.enumerate() {
        if at > 0 {
            out.word(" ");
        }
        out.word(&row.name);
    }
}

/// SNI, or the name the client gave in clear.
fn server_name(record: &Record<'_>, out: &mut Text) {
    let evidence = &record.subject.observed.evidence;
    let name = match (&evidence.tls, &evidence.http1, &evidence.http2) {
        (Some(tls), ..) => tls.server_name(),
        (None, Some(http1), _) => http1.host.as_deref(),
        (None, None, Some(http2)) => http2.authority.as_deref(),
        _ => None,
    };
    out.clean_bytes(name.unwrap_or_default());
}

/// `chosen (offered a b)`.
fn alpn(tls: &tls::Evidence, out: &mut Text) {
    match tls.alpn() {
        Alpn::Chosen(name, basis) => {
            out.clean_bytes(name);
            out.word(if basis == Basis::Inferred { " inferred" } else { "" });
        }
        Alpn::None(_) => out.word("none chosen"),
        Alpn::Unseen(_) => out.word("unseen"),
    }
    match tls.alpn_offered() {
        tls::Offer::Unseen(_) => out.word(" (offer unseen)"),
        tls::Offer::None => out.word(" (none offered)"),
        tls::Offer::List(names) => {
            out.word(" (offered ");
            for (at, name) in names.iter().enumerate() {
                if at > 0 {
                    out.word(" ");
                }
                out.clean_bytes(name);
            }
            out.word(")");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{Case, DOPPLER, LOG_API, MUTUAL, NATS, http, nats, one_row, policy, spoken};
    use crate::policy::{Options, testing};
    use crate::report::testing::{Judged, judged};

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
}
