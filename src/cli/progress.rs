//! How far a long run has come: on a terminal only, never in a pipe.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Runs shorter than this show nothing.
const PATIENCE: Duration = Duration::from_millis(700);

pub(super) struct Progress {
    begun: Instant,
    bar: Option<ProgressBar>,
    size: Option<u64>,
    on_terminal: bool,
}

impl Progress {
    /// `size`: bytes there are to read, when that is known.
    pub(super) fn new(size: Option<u64>) -> Progress {
        Progress { begun: Instant::now(), bar: None, size, on_terminal: std::io::stderr().is_terminal() }
    }

    /// Shows how many bytes were read.
    pub(super) fn show(&mut self, position: u64) {
        if self.on_terminal && self.bar.is_none() && self.begun.elapsed() > PATIENCE {
            self.bar = Some(bar(self.size));
        }
        if let Some(bar) = &self.bar {
            bar.set_position(position);
        }
    }

    /// Takes the line away again.
    pub(super) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(size: Option<u64>) -> ProgressBar {
    let (bar, template) = match size {
        Some(size) => {
            (ProgressBar::new(size), "{bytes} of {total_bytes} {wide_bar} {bytes_per_sec}, {eta} left")
        }
        None => (ProgressBar::new_spinner(), "{spinner} {bytes} read, {bytes_per_sec}"),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
