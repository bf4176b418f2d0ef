//! `flowaudit live`: an interface in, report out.

use std::error::Error;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::args::LiveArguments;
use super::interrupt::Interrupt;
use super::{Status, complain, keylog, output, plan};
use crate::audit::Audit;
use crate::capture::{Live, LiveEvent, LiveOptions, Timestamp};

/// How long to wait for a packet before flows that are due are looked at.
const QUIET: Duration = Duration::from_millis(200);

pub(super) fn run(arguments: &LiveArguments) -> Result<Status, Box<dyn Error>> {
    let audit = &arguments.audit;
    let plan = plan::plan(audit)?;
    let options = LiveOptions { filter: audit.judging.filter.clone(), ..LiveOptions::default() };
    let mut live = Live::open(&arguments.interface, &options)?;
    let report = output::open(audit.output.as_deref())?;
    let interrupt = Interrupt::new()?;
    let mut status = Status::Clean;
    let mut keylogs = keylog::Following::new(&audit.judging.keylog, &plan.keys);
    let mut audited = Audit::new(&plan, vec![arguments.interface.clone()], None, report)?;
    let end = arguments.duration.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    super::note(&format!("capturing on {}; interrupt to finish", arguments.interface));
    while !interrupt.is_set() && end.is_none_or(|end| Instant::now() < end) {
        keylogs.look(&plan.keys);
        match live.next_event(QUIET) {
            Ok(LiveEvent::Packet(packet)) => audited.packet(&packet)?,
            Ok(LiveEvent::Quiet) => audited.advance(now()),
            Ok(LiveEvent::End) => break,
            Err(error) => {
                complain(&error);
                status = Status::Error;
                break;
            }
        }
        if audited.cannot_write() {
            break;
        }
    }
    keylogs.look_now(&plan.keys);
    let dropped = live.stats().map(|stats| [u64::from(stats.dropped), u64::from(stats.if_dropped)]);
    let mut outcome = audited.finish();
    match dropped {
        Ok(dropped) => outcome.account.dropped = dropped,
        Err(error) => {
            complain(&error);
            status = Status::Error;
        }
    }
    Ok(output::finish(audit, &plan, &outcome, status))
}

/// Packet time on a live interface is the system's clock.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
