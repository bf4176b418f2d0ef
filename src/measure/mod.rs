//! How fast captures are audited, and how fast they could be at best.
//!
//! [`limits`] has the loops that do next to nothing with a capture: no auditor on this machine can be faster.
//! `flowaudit bench` and `cargo bench` hold the audit against them.

pub mod limits;
mod tuple;
mod walk;

/// What a run found in its captures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Packets read.
    pub packets: u64,
    /// Their captured bytes.
    pub bytes: u64,
    /// Flows told apart; 0 where nobody told any.
    pub flows: u64,
}
