//! Signals: the first SIGINT or SIGTERM finishes the report with what was read, a second ends at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

/// Set once the user has asked to stop.
#[derive(Clone, Debug)]
pub(super) struct Interrupt(Arc<AtomicBool>);

/// Set by SIGHUP: begin new files, and read again what the audit goes by.
#[derive(Clone, Debug)]
pub(super) struct Hangup(Arc<AtomicBool>);

/// The exit status of a program that a second SIGINT ended (128 and the signal's number).
const ENDED_AT_ONCE: i32 = 130;

impl Interrupt {
    /// Begins to listen; the end of the terminal (SIGHUP) is an interrupt too.
    pub(super) fn new() -> io::Result<Interrupt> {
        Interrupt::on(&[SIGINT, SIGTERM, SIGHUP])
    }

    /// Begins to listen where SIGHUP means something else.
    pub(super) fn with_hangup() -> io::Result<(Interrupt, Hangup)> {
        let hangup = Arc::new(AtomicBool::new(false));
        flag::register(SIGHUP, Arc::clone(&hangup))?;
        Ok((Interrupt::on(&[SIGINT, SIGTERM])?, Hangup(hangup)))
    }

    fn on(signals: &[i32]) -> io::Result<Interrupt> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in signals {
            // In this order: the first signal finds the flag unset, and sets it.
            flag::register_conditional_shutdown(*signal, ENDED_AT_ONCE, Arc::clone(&flag))?;
            flag::register(*signal, Arc::clone(&flag))?;
        }
        Ok(Interrupt(flag))
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Hangup {
    /// Whether one came since this was last asked.
    pub(super) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}
