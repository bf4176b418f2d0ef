//! A site to audit live: two VMs on a wire, and real programs on them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{BINARY, Background, Folder, Namespace, PATIENCE, certificates, mutual_grpc, run};

/// The address of the Doppler.
pub const DOPPLER: &str = "10.0.4.10";
/// The address of the Diego cell.
pub const CELL: &str = "10.0.4.20";

/// Two VMs on a wire: a Doppler, on which the audit runs, and a Diego cell with an agent.
pub struct Site {
    /// The audited VM.
    pub doppler: Namespace,
    /// Its peer.
    pub cell: Namespace,
    /// Certificates, inventory and reports.
    pub folder: Folder,
}

impl Site {
    /// Makes both, with certificates and an inventory.
    pub fn new(label: &str) -> Site {
        let folder = Folder::new(label);
        let (doppler, cell) = (Namespace::new(label), Namespace::new(label));
        doppler.wire("eth0", &format!("{DOPPLER}/24"), (&cell, "eth0", &format!("{CELL}/24")));
        let site = Site { doppler, cell, folder };
        certificates(&site.folder, &["doppler", "metron"]);
        let hosts = format!(
            "ip,vm,jobs,subnet\n{DOPPLER},doppler/0,doppler,10.0.4.0/24\n{CELL},diego_cell/0,rep loggregator_agent,10.0.4.0/24\n"
        );
        fs::write(site.folder.join("hosts.csv"), hosts).expect("it writes");
        site
    }

    /// Starts an audit on the Doppler's interface; it is capturing when this returns.
    pub fn live(&self, arguments: &[&str]) -> (Background, PathBuf) {
        self.live_to("live.csv", arguments)
    }

    /// The same, with a report of this name.
    pub fn live_to(&self, report: &str, arguments: &[&str]) -> (Background, PathBuf) {
        let report = self.folder.join(report);
        let mut command = self.doppler.command(BINARY);
        // A capture does not tell whose the sockets were.
        command.args(["live", "--no-processes", "-i", "eth0", "-o"]).arg(&report);
        command.arg("--inventory").arg(self.folder.join("hosts.csv")).args(arguments);
        let mut live = Background::start(command);
        live.wait_for("capturing on eth0");
        (live, report)
    }

    /// A gRPC server on the Doppler.
    pub fn server(&self, version: &str) -> Background {
        let mut command = self.doppler.command(mutual_grpc());
        command.args(["server", "--listen", &format!("{DOPPLER}:8082"), "--tls", version]);
        self.identity(&mut command, "doppler");
        let mut server = Background::start(command);
        server.wait_for("listening");
        server
    }

    /// gRPC over mutual TLS, as row 2 of the Loggregator table has it.
    pub fn call(&self, version: &str) {
        let mut command = self.cell.command(mutual_grpc());
        command.args(["client", "--connect", &format!("{DOPPLER}:8082"), "--server-name", "doppler"]);
        command.args(["--tls", version, "--calls", "3", "--streams", "1", "--pause", "20"]);
        self.identity(&mut command, "metron");
        let run = run(command);
        assert_eq!(run.status, Some(0), "{}", run.stderr);
    }

    /// A request in clear to the same port, which its server does not understand.
    pub fn plain_http(&self) {
        let mut command = self.cell.command("bash");
        let script = format!(
            "exec 3<>/dev/tcp/{DOPPLER}/8082; printf 'GET / HTTP/1.1\\r\\nHost: doppler\\r\\n\\r\\n' >&3; cat <&3 >/dev/null"
        );
        command.args(["-c", &script]);
        run(command);
    }

    /// Waits until every connection is over and its last segment has passed: a client that ended is no sign of it.
    pub fn settle(&self) {
        let until = Instant::now() + PATIENCE;
        // Of what is closed, only the end that closed first still knows, in TIME-WAIT; both ends are asked.
        let is_open = |end: &Namespace| {
            let mut ss = end.command("ss");
            ss.args(["-Htn", "state", "connected", "exclude", "time-wait"]);
            let run = run(ss);
            assert_eq!(run.status, Some(0), "{}", run.stderr);
            !run.stdout.is_empty()
        };
        while is_open(&self.doppler) || is_open(&self.cell) {
            assert!(Instant::now() < until, "a connection does not end");
            sleep(Duration::from_millis(20));
        }
    }

    /// Runs a bash script on the cell.
    pub fn script(&self, script: &str) {
        let mut command = self.cell.command("bash");
        command.args(["-c", script]);
        run(command);
    }

    fn identity(&self, command: &mut Command, name: &str) {
        command.arg("--ca").arg(self.folder.join("ca.crt"));
        command.arg("--certificate").arg(self.folder.join(&format!("{name}.crt")));
        command.arg("--key").arg(self.folder.join(&format!("{name}.key")));
    }
}
