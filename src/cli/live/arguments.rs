//! What the user typed after `flowaudit live`.

use clap::Args;

use super::privileges::PrivilegeArguments;
use crate::capture::LiveOptions;
use crate::cli::args::AuditArguments;

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
    pub(super) privileges: PrivilegeArguments,

    #[command(flatten)]
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

    /// Size of the kernel's ring, for each interface: what it holds is what may wait when packets come faster
    /// than they are audited.
    #[arg(long, value_name = "MIB", default_value_t = LiveOptions::BUFFER >> 20,
          value_parser = clap::value_parser!(i32).range(1..=2047))]
    buffer_size: i32,

    /// Capture packets for other hosts too: on a port that mirrors a network.
    #[arg(long)]
    promiscuous: bool,
}

impl LiveArguments {
    pub(super) fn options(&self) -> LiveOptions {
        LiveOptions {
            filter: self.audit.judging.filter.clone(),
            promiscuous: self.capture.promiscuous,
            snaplen: self.capture.snaplen,
            buffer: self.capture.buffer_size << 20,
        }
    }
}
