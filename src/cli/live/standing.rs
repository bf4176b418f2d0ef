//! Where a running audit stands: what the view, the log, the metrics and the reports tell of it.

use std::fs::File;
use std::io::{Read, Seek};
use std::time::Duration;

use crate::capture::LiveStats;
use crate::report::Account;

/// Bytes in a page of memory, as /proc/self/statm counts them on the platforms this is built for.
const PAGE: u64 = 4096;

/// Everything counted since the audit began, and what is so at this moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    /// Since the audit began.
    pub(super) elapsed: Duration,
    /// Where packets went.
    pub(super) account: Account,
    /// What each interface received and dropped.
    pub(super) interfaces: Vec<(String, LiveStats)>,
    /// Flows in the flow table, closed ones that are still known included.
    pub(super) open: u64,
    /// Flows that ended, by verdict.
    pub(super) verdicts: [u64; 3],
    /// Violations told before their flows ended.
    pub(super) interim: u64,
    /// How far the last packet audited is behind the system's clock.
    pub(super) lag: Duration,
    /// Memory resident, in bytes, where the system tells.
    pub(super) memory: Option<u64>,
    /// Times policy and inventory were read again, and times that failed.
    pub(super) reloads: [u64; 2],
}

impl Standing {
    /// Packets dropped before this program saw them, and flows that ended early for want of room.
    pub(super) fn lost(&self) -> [u64; 3] {
        let [kernel, interface] = self.account.dropped;
        [kernel, interface, self.account.evicted_flows]
    }

    /// Packets and bytes a second since `before`.
    pub(super) fn packets_a_second(&self, before: &Standing) -> f64 {
        let seconds = self.elapsed.saturating_sub(before.elapsed).as_secs_f64();
        let packets = self.account.read.saturating_sub(before.account.read);
        if seconds > 0.0 { packets as f64 / seconds } else { 0.0 }
    }
}

/// Reads how much memory this process has. Opened before privileges are given up.
#[derive(Debug)]
pub(super) struct Memory(Option<File>);

impl Memory {
    pub(super) fn open() -> Memory {
        Memory(File::open("/proc/self/statm").ok())
    }

    /// Resident memory, in bytes.
    pub(super) fn resident(&mut self) -> Option<u64> {
        let file = self.0.as_mut()?;
        file.rewind().ok()?;
        let mut text = String::new();
        file.take(256).read_to_string(&mut text).ok()?;
        let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
        Some(pages * PAGE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_the_time_between() {
        let mut before = Standing { elapsed: Duration::from_secs(10), ..Standing::default() };
        before.account.read = 100;
        let mut now = Standing { elapsed: Duration::from_secs(12), ..Standing::default() };
        now.account.read = 600;
        assert!((now.packets_a_second(&before) - 250.0).abs() < 1e-9);
        assert!(before.packets_a_second(&before).abs() < 1e-9);
    }

    #[test]
    fn memory_is_read_again_and_again() {
        let mut memory = Memory::open();
        assert!(memory.resident().unwrap() > 0);
        let block = vec![1_u8; 32 << 20];
        // Other tests of this process take and give back memory of their own, and the kernel counts in batches and may
        // take back what nobody used for a while.
        let resident = memory.resident().unwrap();
        assert!(resident >= 16 << 20 && block[1 << 20] == 1, "{resident}");
    }
}
