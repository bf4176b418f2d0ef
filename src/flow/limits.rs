//! What a flow table may grow to.

/// Bytes that a flow takes besides what is kept of its stream and by its reader, at most: its two records,
/// IPv6 addresses, its place in the index while that grows, its entries in the wheel, and its share of what is on
/// its way to the report.
const FLOW: u64 = 512;

/// What a program takes that has no flows: itself, its threads, empty caches, packets on their way.
const OWN: u64 = 24 << 20;

/// What the flow table may grow to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Flows at once; each further one takes the place of one that is worth less.
    pub flows: usize,
    /// Bytes held for reassembly and by readers, over all flows.
    pub stream_bytes: usize,
}

impl Limits {
    /// The shares that flows have in this many bytes, without what every program takes: three eighths for all that
    /// stand in the table, a quarter for what is kept of their bytes. The rest is for what is on its way to the
    /// report, for what flows know of each other, and for the allocator.
    pub fn within(memory: u64) -> Limits {
        let memory = memory.saturating_sub(OWN);
        let count = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Limits { flows: count(memory / 8 * 3 / FLOW).max(1), stream_bytes: count(memory / 4) }
    }
}

impl Default for Limits {
    /// Those of two gibibytes.
    fn default() -> Limits {
        Limits::within(2 << 30)
    }
}
