//! One live audit: packets as long as there are any, and time when there are none.

use std::error::Error;
use std::io::Write;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::LiveArguments;
use crate::audit::{Audit, Plan};
use crate::capture::{Drained, HOLD_BACK, Interfaces, Timestamp};
use crate::cli::interrupt::Interrupt;
use crate::cli::{Status, complain, keylog, note, output};

/// How long to wait for a packet before flows that are due are looked at.
const QUIET: Duration = Duration::from_millis(200);
/// How far behind the system's clock the audit's stays on quiet interfaces, in nanoseconds: the kernel may
/// hold back packets that are older than the last look at its ring.
const BEHIND: i64 = 2 * HOLD_BACK as i64 * 1_000_000;
/// How long an audit that was asked to stop goes on reading: the kernel hands over what it held back within
/// the first, and what piled up is read until the second.
const DRAINING: [Duration; 2] = [Duration::from_millis(HOLD_BACK as u64 * 3 / 2), Duration::from_millis(700)];

pub(super) fn run<W: Write>(
    arguments: &LiveArguments,
    plan: &Plan,
    mut interfaces: Interfaces,
    report: Option<W>,
    interrupt: &Interrupt,
) -> Result<Status, Box<dyn Error>> {
    let audit = &arguments.audit;
    let mut status = Status::Clean;
    let mut keylogs = keylog::Following::new(&audit.judging.keylog, &plan.keys);
    let mut audited = Audit::new(plan, arguments.interfaces.clone(), None, report)?;
    let end = arguments.duration.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut stopping: Option<Instant> = None;
    let mut dropped = [0, 0];
    note(&format!("capturing on {}; interrupt to finish", arguments.interfaces.join(", ")));
    while !interfaces.is_empty() {
        let now = Instant::now();
        if stopping.is_none() && (interrupt.is_set() || end.is_some_and(|end| now >= end)) {
            stopping = Some(now);
        }
        keylogs.look(&plan.keys);
        let mut failed = Ok(());
        let drained = interfaces.turn(
            |packet| {
                if let Err(error) = audited.packet(packet) {
                    failed = Err(error);
                }
            },
            |gone| {
                complain(&gone);
                status = Status::Error;
            },
        );
        failed?;
        if audited.cannot_write() {
            break;
        }
        if drained == Drained::Empty {
            audited.advance(Timestamp(wall_clock().0.saturating_sub(BEHIND)));
        }
        if let Some(since) = stopping {
            let least = DRAINING[usize::from(drained == Drained::More)];
            if now.duration_since(since) >= least {
                break;
            }
        }
        if drained == Drained::Empty {
            interfaces.wait(if stopping.is_some() { DRAINING[0] / 4 } else { QUIET })?;
        }
        for (_, stats) in interfaces.stats()? {
            dropped[0] += stats.dropped;
            dropped[1] += stats.if_dropped;
        }
    }
    keylogs.look_now(&plan.keys);
    let mut outcome = audited.finish();
    outcome.account.dropped = dropped;
    Ok(output::finish(audit, plan, &outcome, status))
}

/// Packet time on a live interface is the system's clock.
pub(super) fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
