//! Signals: the first SIGINT or SIGTERM finishes the report with what was read, a second ends at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

/// Set once the user has asked to stop.
#[derive(Clone, Debug)]
pub(super) struct Interrupt(Arc<AtomicBool>);

/// The exit status of a program that a second SIGINT ended (128 and the signal's number).
const ENDED_AT_ONCE: i32 = 130;

impl Interrupt {
    /// Begins to listen; the end of the terminal (SIGHUP) is an interrupt too.
    pub(super) fn new() -> io::Result<Interrupt> {
        Interrupt::on(&[SIGINT, SIGTERM, SIGHUP])
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
