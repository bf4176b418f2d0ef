//! Captures, opened and read to their end.

use std::error::Error;
use std::ops::ControlFlow::{Break, Continue};

use super::interrupt::Interrupt;
use super::progress::Progress;
use super::{Status, complain};
use crate::audit::{Feed, Take};
use crate::capture::{self, FileSource, FilterError, Maps, Merged, Run};

/// The most packets between two looks at how far it has come.
const STRIDE: u32 = 4096;

/// The captures that were named, merged by time.
pub(super) struct Input {
    /// What they are called in reports.
    pub(super) names: Vec<String>,
    source: Merged,
    progress: Progress,
    interrupt: Interrupt,
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
        let source = Merged::new(captures)?;
        let progress = Progress::new(source.size());
        // `tcpdump -w - | flowaudit check -` is ended with an interrupt that both receive.
        let interrupt = Interrupt::new()?;
        Ok(Some(Input { names, source, progress, interrupt, status }))
    }

    /// Whether all could be read, once that is over.
    pub(super) fn finish(self) -> Status {
        self.progress.clear();
        self.status
    }
}

impl Feed for Input {
    /// An interrupt ends the captures where they are.
    fn feed(&mut self, taker: &mut impl Take) -> Result<bool, FilterError> {
        let Input { source, progress, interrupt, status, .. } = self;
        while !interrupt.is_set() {
            let mut left = STRIDE;
            let run = source.run(|packet| {
                left -= 1;
                match taker.packet(packet) {
                    Ok(()) if left == 0 || taker.has_enough() || interrupt.is_set() => Break(Ok(())),
                    Ok(()) => Continue(()),
                    Err(error) => Break(Err(error)),
                }
            });
            match run {
                Ok(Run::Stopped(stopped)) => stopped?,
                Ok(Run::Secrets(secrets)) => taker.secrets(&secrets),
                Ok(Run::End) => return Ok(false),
                Err(error) => {
                    complain(&error);
                    *status = Status::Error;
                }
            }
            progress.show(source.position());
            if taker.has_enough() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn maps(&self) -> Maps {
        self.source.captures().iter().map(FileSource::mapped).collect()
    }
}
