//! Metrics in Prometheus' text format: served on a loopback port, or kept in a file.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::standing::Standing;
use crate::cli::whole;
use crate::policy::{Policy, Verdict};
use crate::report::{RowStatistics, clean};

/// The longest request read, in bytes.
const REQUEST: usize = 4096;
/// How long one client may take, all in all.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the file is written.
const OFTEN: Duration = Duration::from_secs(15);

/// Where metrics go.
#[derive(Default)]
pub(super) struct Metrics {
    text: Arc<Mutex<String>>,
    listener: Option<TcpListener>,
    served: bool,
    file: Option<PathBuf>,
    written: Option<Instant>,
}

impl Metrics {
    /// Opens a port, if one is asked for; it is served once [`Metrics::serve`] is called.
    ///
    /// # Errors
    /// An address that is taken.
    pub(super) fn open(address: Option<SocketAddr>, file: Option<&Path>) -> Result<Metrics, String> {
        let taken = |address, error| format!("{address}: metrics cannot be served there: {error}");
        let listen = |address| TcpListener::bind(address).map_err(|error| taken(address, error));
        Ok(Metrics {
            listener: address.map(listen).transpose()?,
            file: file.map(Path::to_owned),
            ..Metrics::default()
        })
    }

    /// The address served on.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.listener.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Starts to answer: in a thread of its own, one client after the other.
    ///
    /// # Errors
    /// No further thread.
    pub(super) fn serve(&mut self) -> io::Result<()> {
        if let Some(listener) = &self.listener {
            let (listener, text) = (listener.try_clone()?, Arc::clone(&self.text));
            thread::Builder::new().name("metrics".to_owned()).spawn(move || {
                for client in listener.incoming() {
                    // A client that breaks off is its own business; one that cannot be accepted now may be later.
                    match client {
                        Ok(client) => drop(answer(client, &text)),
                        Err(_) => thread::sleep(PATIENCE / 10),
                    }
                }
            })?;
            self.served = true;
        }
        Ok(())
    }

    /// Somebody may look.
    pub(super) fn are_wanted(&self) -> bool {
        self.served || self.file.is_some()
    }

    /// Takes new figures.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(super) fn update(
        &mut self,
        standing: &Standing,
        policy: &Policy,
        rows: &RowStatistics,
    ) -> Result<(), String> {
        let text = render(standing, policy, rows);
        let written = match &self.file {
            Some(file) if self.written.is_none_or(|written| written.elapsed() >= OFTEN) => {
                self.written = Some(Instant::now());
                whole::replace(file, |file| file.write_all(text.as_bytes()))
            }
            _ => Ok(()),
        };
        *self.text.lock().unwrap_or_else(PoisonError::into_inner) = text;
        written
    }
}

/// Answers one request.
fn answer(mut client: TcpStream, text: &Mutex<String>) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    client.set_write_timeout(Some(PATIENCE))?;
    let mut request = Vec::new();
    let mut buffer = [0; 512];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < REQUEST {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        client.set_read_timeout(Some(left))?;
        let count = client.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        request.extend_from_slice(&buffer[..count]);
    }
    let is_ours =
        [&b"GET /metrics "[..], b"GET / ", b"GET /metrics?"].iter().any(|start| request.starts_with(start));
    let (status, body) = if is_ours {
        ("200 OK", text.lock().unwrap_or_else(PoisonError::into_inner).clone())
    } else {
        ("404 Not Found", "metrics are at /metrics\n".to_owned())
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    client.write_all(head.as_bytes())?;
    client.write_all(body.as_bytes())
}

/// All metrics as text.
fn render(standing: &Standing, policy: &Policy, rows: &RowStatistics) -> String {
    let mut text = Text::default();
    let account = &standing.account;
    text.metric("packets_read_total", "counter", "Packets captured and read.");
    text.value(&[], account.read);
    text.metric("packets_total", "counter", "Packets read, by where they went.");
    for (_, name, count) in
        account.lines().iter().filter(|(scope, name, _)| *scope == "packets" && *name != "read")
    {
        text.value(&[("place", name)], count);
    }
    text.metric("dropped_packets_total", "counter", "Packets dropped before they could be read.");
    for (interface, stats) in &standing.interfaces {
        for (by, count) in [("kernel", stats.dropped), ("interface", stats.if_dropped)] {
            text.value(&[("interface", interface), ("by", by)], count);
        }
    }
    text.metric("caps_total", "counter", "Times something was given up because it had grown to its cap.");
    for (_, name, count) in account.lines().iter().filter(|(scope, ..)| *scope == "caps") {
        text.value(&[("cap", name)], count);
    }
    text.metric("flows_open", "gauge", "Flows in the flow table, closed ones that are still known included.");
    text.value(&[], standing.open);
    text.metric("flows_begun_total", "counter", "Flows begun.");
    text.value(&[], account.flows);
    text.metric("flows_total", "counter", "Flows that ended, by verdict.");
    for verdict in [Verdict::Allowed, Verdict::Unproven, Verdict::Violation] {
        text.value(&[("verdict", &verdict.to_string())], standing.verdicts[verdict as usize]);
    }
    text.metric("interim_violations_total", "counter", "Violations told before their flows ended.");
    text.value(&[], standing.interim);
    text.metric("row_flows_total", "counter", "Flows that ended, by the row that decides and verdict.");
    for (at, tally) in rows.iter() {
        let (table, row) = (&policy.tables()[at.table].name, (at.row + 1).to_string());
        for verdict in [Verdict::Allowed, Verdict::Unproven, Verdict::Violation] {
            let labels = [("table", table.as_str()), ("row", &row), ("verdict", &verdict.to_string())];
            text.value(&labels, tally.by_verdict[verdict as usize].flows);
        }
    }
    text.metric("lag_seconds", "gauge", "How far the last packet audited is behind the system's clock.");
    text.value(&[], standing.lag.as_secs_f64());
    if let Some(memory) = standing.memory {
        text.metric("resident_memory_bytes", "gauge", "Memory resident.");
        text.value(&[], memory);
    }
    text.metric("uptime_seconds", "gauge", "Time since the audit began.");
    text.value(&[], standing.elapsed.as_secs());
    text.metric("reloads_total", "counter", "Times policy and inventory were read again.");
    for (outcome, count) in ["read", "failed"].iter().zip(standing.reloads) {
        text.value(&[("outcome", outcome)], count);
    }
    text.text
}

/// Metrics on their way into text.
#[derive(Default)]
struct Text {
    text: String,
    name: &'static str,
}

impl Text {
    /// The values that follow are of this metric.
    fn metric(&mut self, name: &'static str, kind: &str, help: &str) {
        self.name = name;
        let _ = write!(self.text, "# HELP flowaudit_{name} {help}\n# TYPE flowaudit_{name} {kind}\n");
    }

    fn value(&mut self, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let _ = write!(self.text, "flowaudit_{}", self.name);
        for (at, (name, label)) in labels.iter().enumerate() {
            // Names of tables and interfaces come from files and arguments.
            let label = clean(label).to_string().replace('\\', "\\\\").replace('"', "\\\"");
            let _ = write!(self.text, "{}{name}=\"{label}\"", if at == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::LiveStats;
    use crate::policy::testing::policy;

    fn standing() -> Standing {
        let stats = LiveStats { received: 9, dropped: 2, if_dropped: 1 };
        let interfaces = vec![("eth\"0".to_owned(), stats)];
        let mut standing =
            Standing { verdicts: [5, 0, 1], interfaces, memory: Some(4096), ..Standing::default() };
        standing.account.read = 7;
        standing
    }

    #[test]
    fn every_line_is_a_comment_or_a_name_with_labels_and_a_number() {
        let policy = policy();
        let text = render(&standing(), &policy, &RowStatistics::new(&policy));
        for line in text.lines().filter(|line| !line.starts_with("# ")) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(name.starts_with("flowaudit_") && value.parse::<f64>().is_ok(), "{line}");
        }
        assert!(text.contains("\nflowaudit_packets_read_total 7\n"), "{text}");
        assert!(text.contains("\nflowaudit_flows_total{verdict=\"violation\"} 1\n"), "{text}");
        assert!(
            text.contains("flowaudit_dropped_packets_total{interface=\"eth\\\"0\",by=\"kernel\"} 2\n"),
            "{text}"
        );
        assert!(
            text.contains("flowaudit_row_flows_total{table=\"log-cache\",row=\"1\",verdict=\"allowed\"} 0\n")
        );
        assert_eq!(text.lines().filter(|line| line.starts_with("flowaudit_row_flows_total")).count(), 48);
    }

    #[test]
    fn a_client_is_answered_and_a_silent_or_endless_one_is_given_up() {
        let mut metrics = Metrics::open(Some(([127, 0, 0, 1], 0).into()), None).unwrap();
        metrics.serve().unwrap();
        let policy = policy();
        metrics.update(&standing(), &policy, &RowStatistics::new(&policy)).unwrap();
        let address = metrics.address().unwrap();
        let ask = |request: &[u8]| {
            let mut client = TcpStream::connect(address).unwrap();
            client.write_all(request).unwrap();
            let mut said = String::new();
            // A server that closes on what it did not read resets the connection.
            let _ = client.read_to_string(&mut said);
            said
        };
        let silent = TcpStream::connect(address).unwrap();
        let begun = Instant::now();
        let said = ask(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(
            said.starts_with("HTTP/1.1 200 OK\r\n") && said.contains("flowaudit_flows_open 0\n"),
            "{said}"
        );
        assert!(begun.elapsed() < PATIENCE * 3);
        drop(silent);
        assert!(ask(b"POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404"));
        ask(&vec![b'x'; REQUEST * 4]);
        assert!(ask(b"GET / HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 200"));
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let file = std::env::temp_dir().join(format!("flowaudit-metrics-{}.prom", std::process::id()));
        let mut metrics = Metrics::open(None, Some(&file)).unwrap();
        assert!(metrics.are_wanted());
        let policy = policy();
        metrics.update(&standing(), &policy, &RowStatistics::new(&policy)).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert!(text.starts_with("# HELP") && text.ends_with('\n'));
        let mut nowhere = Metrics::open(None, Some(Path::new("/nowhere/at/all.prom"))).unwrap();
        assert!(nowhere.update(&standing(), &policy, &RowStatistics::new(&policy)).is_err());
    }
}
