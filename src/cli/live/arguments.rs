//! What the user typed after `flowaudit live`.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::files::Rotation;
use super::privileges::PrivilegeArguments;
use super::watch::{RECORDS, Watch};
use crate::capture::{LiveOptions, Timestamp};
use crate::cli::args::AuditArguments;

/// What libpcap calls all interfaces together.
const ANY: &str = "any";
/// As many rings as one group may have (PACKET_FANOUT_MAX in Linux).
const MOST_THREADS: usize = 256;

#[derive(Debug, Args)]
pub(in crate::cli) struct LiveArguments {
    /// An interface to capture on, or `any`; may be given several times.
    #[arg(short = 'i', long = "interface", value_name = "IFACE", required_unless_present = "print_unit")]
    pub(super) interfaces: Vec<String>,

    /// Stop after this many seconds.
    #[arg(long, value_name = "SECONDS")]
    pub(super) duration: Option<u64>,

    #[command(flatten)]
    pub(super) capture: CaptureArguments,

    #[command(flatten)]
    pub(super) reports: ReportArguments,

    #[command(flatten)]
    pub(super) records: RecordsArguments,

    #[command(flatten)]
    pub(super) privileges: PrivilegeArguments,

    #[command(flatten, next_help_heading = "As for `check`")]
    pub(super) audit: AuditArguments,
}

/// How packets are taken from the kernel.
#[derive(Debug, Args)]
#[command(next_help_heading = "Capture")]
pub(super) struct CaptureArguments {
    /// Capture at most this much of each packet.
    #[arg(long, value_name = "BYTES", default_value_t = LiveOptions::SNAPLEN,
          value_parser = clap::value_parser!(i32).range(64..=262_144))]
    snaplen: i32,

    /// How many threads read packets, each from a ring of its own on every interface; the kernel spreads flows
    /// over them. One audits packets where they lie, several copy them for it.
    #[arg(long, value_name = "N", default_value = "1", value_parser = threads)]
    threads: NonZeroUsize,

    /// Size of each of the kernel's rings, one for each interface and thread: what it holds is what may wait when packets come faster
    /// than they are audited.
    #[arg(long, value_name = "MIB", default_value_t = LiveOptions::BUFFER >> 20,
          value_parser = clap::value_parser!(i32).range(1..=2047))]
    buffer_size: i32,

    /// Capture packets for other hosts too: on a port that mirrors a network.
    #[arg(long)]
    promiscuous: bool,
}

/// What is told while the audit runs, and where.
#[derive(Debug, Args)]
#[command(next_help_heading = "Reports while it runs")]
pub(super) struct ReportArguments {
    /// Write an `interim` row of every flow that stays open about this often; 0 for none. Violations are written
    /// as soon as they are known in any case.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    interim: u32,

    /// Finish the report after this time and begin another, named by the time; so does SIGHUP.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    rotate_seconds: Option<u64>,

    /// Finish the report at about this size and begin another.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..1 << 40))]
    rotate_size: Option<u64>,

    /// Log a line about this often when standard error is no terminal.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    log_seconds: u64,

    /// Serve Prometheus metrics on this loopback address.
    #[arg(long, value_name = "IP:PORT", value_parser = loopback)]
    pub(super) metrics: Option<SocketAddr>,

    /// Keep Prometheus metrics in this file, for node_exporter's textfile collector.
    #[arg(long, value_name = "FILE")]
    pub(super) metrics_file: Option<PathBuf>,
}

/// The inventory that BOSH DNS keeps on every VM.
#[derive(Debug, Args)]
pub(super) struct RecordsArguments {
    /// BOSH DNS's inventory of the deployment: read when it is there, and again when it changes.
    #[arg(long = "records", value_name = "FILE", default_value = RECORDS, help_heading = "Inventory")]
    records: PathBuf,

    /// Do not look for that inventory.
    #[arg(long, conflicts_with = "records", help_heading = "Inventory")]
    no_records: bool,
}

/// A kernel spreads packets over so many rings at most.
fn threads(text: &str) -> Result<NonZeroUsize, String> {
    let number = text.parse().ok().filter(|number: &NonZeroUsize| number.get() <= MOST_THREADS);
    number.ok_or_else(|| format!("not a number from 1 to {MOST_THREADS}"))
}

/// Metrics tell who speaks with whom: nobody but this VM is to ask.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(address),
        Ok(_) => {
            Err("not a loopback address; let a proxy or --metrics-file take metrics off the VM".to_owned())
        }
        Err(_) => Err("not IP:PORT, as in 127.0.0.1:9108 or [::1]:9108".to_owned()),
    }
}

impl ReportArguments {
    /// How often an open flow gets a row, in nanoseconds.
    pub(super) fn interim(&self) -> Option<i64> {
        (self.interim > 0).then(|| i64::from(self.interim) * Timestamp::SECOND)
    }

    pub(super) fn rotation(&self) -> Rotation {
        Rotation {
            after: self.rotate_seconds.map(Duration::from_secs),
            size: self.rotate_size.map(|mebibytes| mebibytes << 20),
        }
    }

    pub(super) fn log(&self) -> Duration {
        Duration::from_secs(self.log_seconds)
    }
}

impl RecordsArguments {
    /// The file to watch, if any.
    pub(super) fn file(&self) -> Option<&Path> {
        (!self.no_records).then_some(&*self.records)
    }
}

impl LiveArguments {
    /// Whether every packet is captured once.
    ///
    /// # Errors
    /// An interface that is named twice.
    pub(super) fn once(&self) -> Result<(), String> {
        for (at, name) in self.interfaces.iter().enumerate() {
            if self.interfaces[..at].contains(name) {
                return Err(format!("{name}: named twice; name every interface once"));
            }
        }
        match self.interfaces.iter().any(|name| name == ANY) && self.interfaces.len() > 1 {
            true => Err(format!("{ANY}: is all interfaces; name it alone, or each of those that are meant")),
            false => Ok(()),
        }
    }

    /// What is audited, with the records of BOSH DNS among the inventory as soon as they are there.
    pub(super) fn audit_with(&self, records: Option<&Watch>) -> AuditArguments {
        let mut audit = self.audit.clone();
        let file = records.and_then(Watch::present);
        audit.judging.inventory.extend(file.map(|file| file.to_string_lossy().into_owned()));
        audit
    }

    pub(super) fn options(&self) -> LiveOptions {
        LiveOptions {
            filter: self.audit.judging.filter.clone(),
            promiscuous: self.capture.promiscuous,
            snaplen: self.capture.snaplen,
            buffer: self.capture.buffer_size << 20,
            rings: self.capture.threads,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::cli::args::{Arguments, Command};

    fn arguments(line: &str) -> LiveArguments {
        let words = ["flowaudit", "live"].into_iter().chain(line.split(' '));
        match Arguments::try_parse_from(words).map(|arguments| arguments.command) {
            Ok(Command::Live(arguments)) => *arguments,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_packet_is_captured_once() {
        for line in ["-i any", "-i eth0", "-i eth0 -i lo"] {
            assert_eq!(arguments(line).once(), Ok(()));
        }
        assert!(arguments("-i eth0 -i lo -i eth0").once().unwrap_err().starts_with("eth0: named twice"));
        assert!(arguments("-i eth0 -i any").once().unwrap_err().starts_with("any: is all interfaces"));
    }

    #[test]
    fn help_tells_options_of_the_audit_apart_from_those_of_privileges() {
        let command = Arguments::command();
        let live = command.find_subcommand("live").unwrap();
        let heading = |id: &str| live.get_arguments().find(|a| a.get_id() == id).unwrap().get_help_heading();
        for id in ["policy", "inventory", "output", "quiet"] {
            assert_eq!(heading(id), Some("As for `check`"), "{id}");
        }
        assert_eq!(heading("user"), Some("Privileges"));
    }

    #[test]
    fn metrics_are_for_this_machine_only() {
        assert_eq!(loopback("127.0.0.1:9108"), Ok(([127, 0, 0, 1], 9108).into()));
        assert!(loopback("[::1]:1").is_ok());
        assert!(loopback("0.0.0.0:9108").unwrap_err().contains("--metrics-file"));
        assert!(loopback("9108").is_err());
    }
}
