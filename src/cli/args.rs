//! What the user typed.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::memory::Memory;
use crate::packet::Endpoint;

/// Audits a packet capture against a documented table of allowed network communications.
#[derive(Debug, Parser)]
#[command(name = "flowaudit", version, max_term_width = 100)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Audit capture files or pipes.
    ///
    /// Exit status: 0 nothing to report, 1 at least one flow to report, 2 an error.
    Check(CheckArguments),
    /// Tell all that was seen of one flow, and how every candidate row was held against it.
    ///
    /// Exit status: 0 nothing to report of it, 1 it is to be reported, 2 an error, or no such flow.
    Explain(ExplainArguments),
    /// Audit live interfaces.
    ///
    /// Runs until the duration is over or it is interrupted. Exit status as for `check`.
    Live(Box<super::live::LiveArguments>),
    /// Measure how fast captures are audited on this machine.
    ///
    /// Exit status: 0, or 2 on an error.
    Bench(super::bench::BenchArguments),
    /// Look at documented tables, check, import, compare and draft them.
    Policy(super::policy::PolicyArguments),
    /// Tell of local sockets, for `live`, which starts this by itself.
    #[command(hide = true, name = super::processes::COMMAND)]
    Processes {
        /// The folder of BOSH jobs.
        jobs: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    /// pcap or pcapng files, also in gzip or zstd; `-` is standard input. Several are one audit.
    #[arg(required = true, value_name = "CAPTURE")]
    pub(super) captures: Vec<String>,

    #[command(flatten)]
    pub(super) audit: AuditArguments,

    /// How many threads to work with; the report is the same. [default: as many as there are processors]
    #[arg(long, value_name = "N", conflicts_with = "evidence")]
    pub(super) threads: Option<NonZeroUsize>,
}

#[derive(Debug, Args)]
pub(super) struct ExplainArguments {
    /// pcap or pcapng files, also in gzip or zstd; `-` is standard input. Several are one audit.
    #[arg(required = true, value_name = "CAPTURE")]
    pub(super) captures: Vec<String>,

    /// The flow: its Community ID as in the report, or an address and port of either end (`10.0.4.10:8082`,
    /// `[fd00::1]:443`).
    #[arg(long, value_name = "COMMUNITY_ID|IP:PORT")]
    pub(super) flow: FlowArgument,

    #[command(flatten)]
    pub(super) judging: JudgingArguments,
}

#[derive(Clone, Debug, Args)]
pub(super) struct AuditArguments {
    #[command(flatten)]
    pub(super) judging: JudgingArguments,

    /// Write the CSV report here, with FILE.account.csv and FILE.rows.csv beside it unless it is a pipe or a device;
    /// `-` is standard output.
    #[arg(short = 'o', long, value_name = "FILE")]
    pub(super) output: Option<String>,

    /// Keep the first packets of each reported flow in this folder, as small pcap files named by Community ID.
    /// `check` then works on one thread.
    #[arg(long, value_name = "DIR")]
    pub(super) evidence: Option<PathBuf>,

    /// Write only flows with this verdict to the report; may be given several times.
    #[arg(long, value_name = "VERDICT")]
    pub(super) only: Vec<VerdictArgument>,

    /// Leave flows that touch no destination and no port of the tables out of the verdicts.
    #[arg(long)]
    pub(super) in_scope: bool,

    /// Take no more memory than about this: `512M`, `4G`. What gives way then is counted in the account.
    /// [default: 2G, or half of what the machine has]
    #[arg(long, value_name = "SIZE")]
    pub(super) max_memory: Option<Memory>,

    /// Write no summary.
    #[arg(short = 'q', long)]
    pub(super) quiet: bool,
}

/// What flows are held against, and how.
#[derive(Clone, Debug, Args)]
pub(super) struct JudgingArguments {
    /// Tables in force: `loggregator`, `log-cache`, a set (`pas-2.7`) or a table of it (`pas-2.7/nats`), a CSV file or a folder
    /// of them. [default: `loggregator` and `log-cache`]
    #[arg(long, value_name = "NAME|FILE|DIR")]
    pub(super) policy: Vec<String>,

    /// Put rows for what real deployments do otherwise in force too: `cf-deployment`, or a CSV file. Without it
    /// such a flow is a violation whose `known_deviation` column names the row.
    #[arg(long, value_name = "NAME|FILE")]
    pub(super) overlay: Vec<String>,

    /// Who is who: `bosh instances --ps --json`, `bosh vms --json`, `bosh cloud-config`,
    /// BOSH DNS's `records.json`, or CSV with `ip, vm, jobs, subnet`; also a CSV that maps documented names to deployed ones.
    #[arg(long, value_name = "FILE")]
    pub(super) inventory: Vec<String>,

    /// Certificate authorities (PEM) that certificates seen must lead to.
    #[arg(long, value_name = "FILE")]
    pub(super) ca: Vec<String>,

    /// TLS session secrets to decrypt with, in the format of SSLKEYLOGFILE; may be given several times. What
    /// a pcapng file carries itself is used as well.
    #[arg(long, value_name = "FILE")]
    pub(super) keylog: Vec<String>,

    /// Audit only packets that this pcap-filter(7) expression matches.
    #[arg(long, value_name = "BPF")]
    pub(super) filter: Option<String>,

    /// The inventory is partial: an address it does not know is unseen, not contradicted.
    #[arg(long)]
    pub(super) inventory_partial: bool,

    /// Learn no names of addresses from DNS answers and certificates in the capture.
    #[arg(long)]
    pub(super) no_learn: bool,

    /// How far `Any*` reaches: the destination's own subnet, or any subnet of its network.
    #[arg(long, value_name = "SCOPE", default_value = "subnet")]
    pub(super) subnet_scope: ScopeArgument,

    /// TLS below this version contradicts.
    #[arg(long, value_name = "V", default_value = "1.2")]
    pub(super) min_tls: TlsArgument,

    /// Whether weak cipher suites (RSA key exchange, NULL, EXPORT, RC4, 3DES) are noted or contradict.
    #[arg(long, value_name = "ACTION", default_value = "note")]
    pub(super) weak_cipher: WeakArgument,

    /// Report unproven flows, and allowed ones that rest on an inference, as well.
    #[arg(long)]
    pub(super) strict: bool,
}

impl JudgingArguments {
    /// Every file and folder that is read for it.
    pub(super) fn files(&self) -> impl Iterator<Item = &String> {
        [&self.policy, &self.overlay, &self.inventory, &self.ca, &self.keylog].into_iter().flatten()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum VerdictArgument {
    Allowed,
    Unproven,
    Violation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ScopeArgument {
    Subnet,
    Network,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum TlsArgument {
    #[value(name = "1.0")]
    Tls10,
    #[value(name = "1.1")]
    Tls11,
    #[value(name = "1.2")]
    Tls12,
    #[value(name = "1.3")]
    Tls13,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum WeakArgument {
    Note,
    Deny,
}

/// Which flow is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FlowArgument {
    /// Community ID v1, seed 0.
    Id(String),
    /// One of its ends.
    End(Endpoint),
}

impl FromStr for FlowArgument {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<FlowArgument, Self::Err> {
        let is_digest = |rest: &str| {
            rest.len() == 28 && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))
        };
        if text.strip_prefix("1:").is_some_and(is_digest) {
            return Ok(FlowArgument::Id(text.to_owned()));
        }
        match text.parse::<SocketAddr>() {
            Ok(end) => Ok(FlowArgument::End(Endpoint { ip: end.ip(), port: end.port() })),
            Err(_) => {
                Err("neither a Community ID (`1:` and 28 characters, the report's community_id) nor IP:PORT \
                           (`10.0.4.10:8082`, `[fd00::1]:443`)")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_is_named_by_its_id_or_an_end() {
        let id = "1:LQU9qZlK+B5F3KDmev6m5PMibrg=";
        assert_eq!(id.parse(), Ok(FlowArgument::Id(id.to_owned())));
        for (text, ip) in [("10.0.4.10:443", "10.0.4.10"), ("[fd00::1]:443", "fd00::1")] {
            let end = Endpoint { ip: ip.parse().unwrap(), port: 443 };
            assert_eq!(text.parse(), Ok(FlowArgument::End(end)));
        }
        for wrong in ["", "1:", "1:LQU9", "2:LQU9qZlK+B5F3KDmev6m5PMibrg=", "10.0.4.10", "doppler/0:443"] {
            assert!(wrong.parse::<FlowArgument>().is_err(), "{wrong}");
        }
    }
}
