//! The report itself: one CSV row a flow, in a fixed order of columns.

use std::io;

use super::Record;
use super::row::RowWriter;
use super::text::Text;

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
    buffer: Rows,
}

/// Rows are handed to the output when they come to this many bytes.
const BUFFERED: usize = 256 * 1024;
/// So many are not copied together with others first.
const MANY: usize = BUFFERED / 4;

/// Whole rows of a report, or its header, as bytes.
#[derive(Clone, Debug, Default)]
pub struct Rows(pub(super) Text);

impl Rows {
    /// None yet, with room for about so many bytes.
    pub fn with_capacity(bytes: usize) -> Rows {
        Rows(Text::with_capacity(bytes))
    }

    /// The rows.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Forgets them.
    pub fn clear(&mut self) {
        self.0.cut(0);
    }
}

impl<W: io::Write> CsvReport<W> {
    /// Begins a report: writes the header.
    pub fn new(output: W) -> csv::Result<CsvReport<W>> {
        let mut header = csv::Writer::from_writer(Vec::new());
        header.write_record(COLUMNS)?;
        let mut buffer = Rows::with_capacity(BUFFERED);
        buffer.0.put(&header.into_inner().map_err(|error| error.into_error())?);
        Ok(CsvReport { output: Some(output), rows: RowWriter::default(), buffer })
    }

    /// Writes one flow.
    pub fn write(&mut self, record: &Record<'_>) -> io::Result<()> {
        self.rows.row(record, &mut self.buffer);
        self.write_when_full()
    }

    /// Writes whole rows that a [`RowWriter`] made elsewhere.
    pub fn append(&mut self, rows: &Rows) -> io::Result<()> {
        if rows.as_bytes().len() >= MANY {
            self.write_buffer()?;
            return self.output.as_mut().map_or(Ok(()), |output| output.write_all(rows.as_bytes()));
        }
        self.buffer.0.put(rows.as_bytes());
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
        if self.buffer.as_bytes().len() < BUFFERED { Ok(()) } else { self.write_buffer() }
    }

    fn write_buffer(&mut self) -> io::Result<()> {
        let written = self.output.as_mut().map_or(Ok(()), |output| output.write_all(self.buffer.as_bytes()));
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

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
