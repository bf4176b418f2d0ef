//! What a piece of work takes: time on the wall, processor time, memory.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use procfs::process::{ClearRefs, Process, Status};
use rustix::time::{ClockId, clock_gettime};

/// How often memory is looked at while it is measured.
const LOOK: Duration = Duration::from_millis(5);

/// What some work took of time.
#[derive(Clone, Copy, Debug)]
pub struct Time {
    /// From its beginning to its end.
    pub wall: Duration,
    /// User and system time of all threads of this process.
    pub cpu: Duration,
}

/// What this process held of memory at most while it did some work, in bytes; `None` where the system does
/// not tell.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Everything in memory, the pages of mapped captures among it, which the system takes back at need.
    pub all: Option<u64>,
    /// What is this process's own, mapped files left out.
    pub own: Option<u64>,
}

/// Does some work; the processor time of other threads of this process counts as its.
pub fn time<T>(work: impl FnOnce() -> T) -> (T, Time) {
    let (begun, cpu) = (Instant::now(), cpu_time());
    let done = work();
    (done, Time { wall: begun.elapsed(), cpu: cpu_time().saturating_sub(cpu) })
}

/// Does some work, while another thread looks at this process's memory. What earlier work left to the
/// allocator counts too.
pub fn memory<T>(work: impl FnOnce() -> T) -> (T, Memory) {
    // Without this the peak would be that of the process's whole life; where it is not allowed, none is told.
    let is_reset = Process::myself().and_then(|this| this.clear_refs(ClearRefs::PeakRSS)).is_ok();
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let looker = scope.spawn(|| {
            let mut own = None;
            loop {
                own = own.max(status().and_then(|status| status.rssanon));
                if is_done.load(Ordering::Relaxed) {
                    return own;
                }
                thread::park_timeout(LOOK);
            }
        });
        let done = work();
        is_done.store(true, Ordering::Relaxed);
        looker.thread().unpark();
        let all = status().filter(|_| is_reset).and_then(|status| status.vmhwm);
        let own = looker.join().ok().flatten();
        (done, Memory { all: all.map(bytes), own: own.map(bytes) })
    })
}

fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

fn status() -> Option<Status> {
    Process::myself().and_then(|this| this.status()).ok()
}

fn bytes(kibibytes: u64) -> u64 {
    kibibytes.saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;

    #[test]
    fn work_takes_time_and_sleep_no_processor_time() {
        let (sum, busy) = time(|| (0..3_000_000u64).fold(0, |sum, n| black_box(sum ^ n)));
        black_box(sum);
        assert!(busy.cpu > Duration::ZERO);
        let ((), asleep) = time(|| thread::sleep(Duration::from_millis(30)));
        assert!(asleep.wall >= Duration::from_millis(30));
    }

    #[test]
    fn a_block_that_is_written_is_seen() {
        const BLOCK: usize = 64 << 20;
        let ((), held) = memory(|| {
            let block = black_box(vec![1u8; BLOCK]);
            thread::sleep(10 * LOOK);
            drop(block);
        });
        assert!(held.own.unwrap() >= BLOCK as u64, "{held:?}");
        assert!(held.all.is_none_or(|all| all >= BLOCK as u64), "{held:?}");
    }
}
