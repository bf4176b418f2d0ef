//! Captures, opened and read to their end.

use std::error::Error;
use std::io::Write;

use super::interrupt::Interrupt;
use super::progress::Progress;
use super::{Status, complain};
use crate::audit::Audit;
use crate::capture::{self, Event, FileSource, Merged};

/// The captures that were named, merged by time.
pub(super) struct Input {
    /// What they are called in reports.
    pub(super) names: Vec<String>,
    source: Merged,
    status: Status,
}

impl Input {
    /// Opens them; `None`, with every reason written, if not one of them opens.
    pub(super) fn open(paths: &[String]) -> Result<Option<Input>, Box<dyn Error>> {
        let mut status = Status::Clean;
        let mut captures: Vec<FileSource> = Vec::new();
        for path in paths {
            match capture::open(path) {
                Ok(capture) => captures.push(capture),
                Err(error) => {
                    complain(&error);
                    status = Status::Error;
                }
            }
        }
        if captures.is_empty() {
            return Ok(None);
        }
        let names = captures.iter().map(|capture| capture.name().to_owned()).collect();
        Ok(Some(Input { names, source: Merged::new(captures)?, status }))
    }

    /// Hands an audit all they hold, or all until an interrupt.
    pub(super) fn feed<W: Write>(mut self, audit: &mut Audit<'_, W>) -> Result<Status, Box<dyn Error>> {
        let mut progress = Progress::new(self.source.size());
        // `tcpdump -w - | flowaudit check -` is ended with an interrupt that both receive.
        let interrupt = Interrupt::new()?;
        while !interrupt.is_set() {
            match self.source.next_event() {
                Ok(Some(Event::Packet(packet))) => audit.packet(&packet)?,
                Ok(Some(Event::Secrets(secrets))) => audit.secrets(&secrets),
                Ok(None) => break,
                Err(error) => {
                    complain(&error);
                    self.status = Status::Error;
                }
            }
            if audit.cannot_write() {
                break;
            }
            if progress.is_due() {
                progress.show(self.source.position());
            }
        }
        progress.clear();
        Ok(self.status)
    }
}
