//! How fast captures are audited, and how fast they could be at best.
//!
//! [`limits`] has the loops that do next to nothing with a capture: no auditor on this machine can be faster.
//! [`stages`] runs the audit up to one of its stages. `flowaudit bench` and `cargo bench` put them side by side.

pub mod limits;
pub mod meter;
pub mod stages;
mod tuple;
mod walk;

pub use stages::Stage;

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
