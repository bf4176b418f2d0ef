//! SIGINT and SIGTERM: the first finishes the report with what was read, a second ends at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set once the user has asked to stop.
#[derive(Clone, Debug)]
pub(super) struct Interrupt(Arc<AtomicBool>);

/// The exit status of a program that a second SIGINT ended (128 and the signal's number).
const ENDED_AT_ONCE: i32 = 130;

impl Interrupt {
    /// Begins to listen.
    pub(super) fn new() -> Result<Interrupt, ctrlc::Error> {
        let interrupt = Interrupt(Arc::new(AtomicBool::new(false)));
        let flag = interrupt.clone();
        ctrlc::set_handler(move || {
            if flag.0.swap(true, Ordering::Relaxed) {
                std::process::exit(ENDED_AT_ONCE);
            }
        })?;
        Ok(interrupt)
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
