//! `flowaudit live` on a wire between two network namespaces: what it says of traffic as it passes is
//! what `check` says of a capture of the same traffic.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use common::{BINARY, Background, Folder, Namespace, Need, flowaudit, have, mutual_grpc, run, table};

const DOPPLER: &str = "10.0.4.10";
const CELL: &str = "10.0.4.20";
/// The last acknowledgements are still on their way when a client has ended.
const SETTLED: Duration = Duration::from_millis(700);

#[test]
fn an_interrupted_audit_says_what_a_capture_of_the_same_traffic_says() {
    if !have(&[Need::Namespaces, Need::Program("tcpdump"), Need::Program("ethtool"), Need::Program("bash")]) {
        return;
    }
    let site = Site::new("live");
    let capture = site.folder.join("same.pcap");
    let mut tcpdump = site.doppler.command("tcpdump");
    tcpdump.args(["--immediate-mode", "-i", "eth0", "-s", "0", "-U", "-Z", "root", "-w"]).arg(&capture);
    let mut tcpdump = Background::start(tcpdump);
    tcpdump.wait_for("listening on");
    let (mut live, live_report) = site.live(&[]);
    let _server = site.server("1.2");
    site.call("1.2");
    site.plain_http();
    sleep(SETTLED);
    assert_eq!(live.interrupt(), Some(1), "a violation was seen");
    assert_eq!(tcpdump.interrupt(), Some(0));

    let report = site.folder.join("check.csv");
    let checked = flowaudit([
        "check",
        "-o",
        text(&report),
        "--inventory",
        text(&site.folder.join("hosts.csv")),
        text(&capture),
    ]);
    assert_eq!(checked.status, Some(1), "{}", checked.stderr);
    let read = |report: &Path, suffix: &str| {
        table(&fs::read_to_string(format!("{}{suffix}", report.display())).expect("it was written"))
    };
    let (mut said, mut wanted) = (read(&live_report, ""), read(&report, ""));
    for row in said.iter_mut().chain(&mut wanted) {
        // A live packet has no file, and comes after others than in the file.
        for column in ["capture", "first_packet"] {
            assert_ne!(row.remove(column).as_deref(), Some(""), "{column}");
        }
    }
    // The kernel stamps a packet for each of the two that look on.
    for (live, file) in said.iter_mut().zip(&mut wanted) {
        for column in ["start", "end"] {
            let [live, file] = [&mut *live, &mut *file].map(|row| time(&row.remove(column).expect("one")));
            let apart = live.duration_since(file).abs();
            assert!(apart < jiff::SignedDuration::from_millis(20), "{column}: {live} {file}");
        }
    }
    assert_eq!(said, wanted);
    assert_eq!(read(&live_report, ".rows.csv"), read(&report, ".rows.csv"));

    let told: Vec<_> =
        said.iter().map(|row| [row["verdict"].as_str(), &row["security"], &row["table"]]).collect();
    assert_eq!(told, [["allowed", "mutual TLS", "loggregator"], ["violation", "none", "loggregator"]]);
    assert!(said[0]["documented"].ends_with("gRPC over HTTP/2 | Mutual TLS"), "{}", said[0]["documented"]);
    assert_eq!((said[0]["row"].as_str(), said[0]["security_finding"].as_str()), ("2", "confirmed"));
    assert_eq!(said[1]["application"], "HTTP/1.1");
    let account = read(&live_report, ".account.csv");
    let dropped = account.iter().filter(|row| row["scope"] == "drops").map(|row| row["count"].as_str());
    assert_eq!(dropped.collect::<Vec<_>>(), ["0", "0"]);
}

#[test]
fn an_audit_of_a_duration_ends_by_itself() {
    if !have(&[Need::Namespaces, Need::Program("ethtool")]) {
        return;
    }
    let site = Site::new("span");
    let (mut live, report) = site.live(&["--duration", "6", "--filter", "tcp port 8082"]);
    let _server = site.server("1.3");
    site.call("1.3");
    assert_eq!(live.wait(), Some(0), "nothing but a documented communication");
    let rows = table(&fs::read_to_string(report).expect("it was written"));
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0]["verdict"].as_str(), rows[0]["capture"].as_str()), ("allowed", "eth0"));
    // TLS 1.3 hides both: what is left is one reasonable reading.
    let told = ["table", "row", "application_finding", "security", "security_finding"];
    assert_eq!(
        told.map(|column| rows[0][column].as_str()),
        ["loggregator", "2", "inferred", "mutual TLS", "inferred"]
    );
    assert!(rows[0]["documented"].ends_with("gRPC over HTTP/2 | Mutual TLS"), "{}", rows[0]["documented"]);
}

#[test]
fn an_interface_that_is_not_there_is_an_error() {
    if !have(&[Need::Namespaces]) {
        return;
    }
    let run = flowaudit(["live", "-i", "nosuchinterface0", "--duration", "1"]);
    assert_eq!((run.status, run.stdout.as_str()), (Some(2), ""));
    assert!(run.stderr.starts_with("flowaudit: nosuchinterface0: "), "{}", run.stderr);
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
}

/// Two VMs on a wire: a Doppler, on which the audit runs, and a Diego cell with an agent.
struct Site {
    doppler: Namespace,
    cell: Namespace,
    folder: Folder,
}

impl Site {
    fn new(label: &str) -> Site {
        let folder = Folder::new(label);
        let (doppler, cell) = (Namespace::new(label), Namespace::new(label));
        doppler.wire("eth0", &format!("{DOPPLER}/24"), (&cell, "eth0", &format!("{CELL}/24")));
        let site = Site { doppler, cell, folder };
        site.certificate(&["authority", "--cn", "test-ca", "--name", "ca"]);
        for name in ["doppler", "metron"] {
            site.certificate(&["leaf", "--authority", "ca", "--cn", name, "--name", name]);
        }
        let hosts = format!(
            "ip,vm,jobs,subnet\n{DOPPLER},doppler/0,doppler,10.0.4.0/24\n{CELL},diego_cell/0,rep loggregator_agent,10.0.4.0/24\n"
        );
        fs::write(site.folder.join("hosts.csv"), hosts).expect("it writes");
        site
    }

    fn certificate(&self, arguments: &[&str]) {
        let mut command = Command::new(mutual_grpc());
        command.arg("certificate").args(arguments).arg("--folder").arg(self.folder.join(""));
        let run = run(command);
        assert_eq!(run.status, Some(0), "{}", run.stderr);
    }

    /// Starts an audit on the Doppler's interface; it is capturing when this returns.
    fn live(&self, arguments: &[&str]) -> (Background, PathBuf) {
        let report = self.folder.join("live.csv");
        let mut command = self.doppler.command(BINARY);
        // A capture does not tell whose the sockets were.
        command.args(["live", "--no-processes", "-i", "eth0", "-o"]).arg(&report);
        command.arg("--inventory").arg(self.folder.join("hosts.csv")).args(arguments);
        let mut live = Background::start(command);
        live.wait_for("capturing on eth0");
        (live, report)
    }

    fn server(&self, version: &str) -> Background {
        let mut command = self.doppler.command(mutual_grpc());
        command.args(["server", "--listen", &format!("{DOPPLER}:8082"), "--tls", version]);
        self.identity(&mut command, "doppler");
        let mut server = Background::start(command);
        server.wait_for("listening");
        server
    }

    /// gRPC over mutual TLS, as row 2 of the Loggregator table has it.
    fn call(&self, version: &str) {
        let mut command = self.cell.command(mutual_grpc());
        command.args(["client", "--connect", &format!("{DOPPLER}:8082"), "--server-name", "doppler"]);
        command.args(["--tls", version, "--calls", "3", "--streams", "1", "--pause", "20"]);
        self.identity(&mut command, "metron");
        let run = run(command);
        assert_eq!(run.status, Some(0), "{}", run.stderr);
    }

    /// A request in clear to the same port, which its server does not understand.
    fn plain_http(&self) {
        let mut command = self.cell.command("bash");
        let script = format!(
            "exec 3<>/dev/tcp/{DOPPLER}/8082; printf 'GET / HTTP/1.1\\r\\nHost: doppler\\r\\n\\r\\n' >&3; cat <&3 >/dev/null"
        );
        command.args(["-c", &script]);
        run(command);
    }

    fn identity(&self, command: &mut Command, name: &str) {
        command.arg("--ca").arg(self.folder.join("ca.crt"));
        command.arg("--certificate").arg(self.folder.join(&format!("{name}.crt")));
        command.arg("--key").arg(self.folder.join(&format!("{name}.key")));
    }
}

fn time(text: &str) -> jiff::Timestamp {
    text.parse().expect("RFC 3339")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
