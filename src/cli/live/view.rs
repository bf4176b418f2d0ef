//! What people see of a running audit: a few lines redrawn in place on a terminal, else a line now and then.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use rustix::termios::tcgetwinsize;

use super::standing::Standing;
use crate::report::clean_line;

/// How often the terminal is redrawn.
const REDRAW: Duration = Duration::from_secs(1);
/// Violations shown on a terminal.
const LATEST: usize = 8;
/// Violations told in one interval of the log; further ones are counted.
const TOLD: u64 = 100;
/// Rows and columns of a terminal that does not say.
const ROWS: usize = 24;
const COLUMNS: usize = 100;

/// Tells how the audit goes.
pub(super) struct View<W = io::Stderr> {
    output: W,
    kind: Kind,
    before: Standing,
    shown: Option<Instant>,
}

enum Kind {
    Silent,
    Terminal {
        drawn: Drawn,
        latest: VecDeque<String>,
    },
    Log {
        every: Duration,
        /// Violations since the last line.
        violations: u64,
    },
}

/// What stands on the terminal now.
#[derive(Clone, Copy, Default)]
struct Drawn {
    lines: usize,
    /// How wide the terminal was then.
    columns: usize,
}

impl View {
    /// A view for standard error as it is; `every` is the log's interval.
    pub(super) fn new(quiet: bool, every: Duration) -> View {
        let output = io::stderr();
        let kind = if quiet {
            Kind::Silent
        } else if output.is_terminal() {
            Kind::Terminal { drawn: Drawn::default(), latest: VecDeque::new() }
        } else {
            Kind::Log { every, violations: 0 }
        };
        View { output, kind, before: Standing::default(), shown: None }
    }
}

// Where even standard error is closed there is nobody to tell: what cannot be written is left out.
impl<W: Write> View<W> {
    /// A violation came to be known.
    pub(super) fn violation(&mut self, text: &str) {
        let line = clean_line(text).to_string();
        match &mut self.kind {
            Kind::Silent => {}
            Kind::Terminal { latest, .. } => {
                latest.truncate(LATEST - 1);
                latest.push_front(line);
            }
            Kind::Log { violations, .. } => {
                *violations += 1;
                if *violations <= TOLD {
                    let _ = writeln!(self.output, "flowaudit: violation: {line}");
                }
            }
        }
    }

    /// Says one line of news, whatever stands on the terminal; errors are said even by a quiet program.
    pub(super) fn say(&mut self, text: &str) {
        self.clear();
        let _ = writeln!(self.output, "flowaudit: {}", clean_line(text));
    }

    /// Whether [`View::show`] would show anything now.
    pub(super) fn is_due(&self) -> bool {
        let every = match self.kind {
            Kind::Silent => return false,
            Kind::Terminal { .. } => REDRAW,
            Kind::Log { every, .. } => every,
        };
        self.shown.is_none_or(|shown| shown.elapsed() >= every)
    }

    /// Shows where the audit stands.
    pub(super) fn show(&mut self, standing: &Standing) {
        let before = std::mem::replace(&mut self.before, standing.clone());
        let first = self.shown.replace(Instant::now()).is_none();
        match &mut self.kind {
            Kind::Silent => {}
            Kind::Terminal { drawn, latest } => {
                let [rows, columns] = size();
                let mut lines = screen(standing, &before, latest);
                // What scrolled off the top could not be taken back.
                lines.truncate(rows - 1);
                let mut text = drawn.erase(columns);
                for line in &lines {
                    text.push_str(cut(line, columns));
                    text.push('\n');
                }
                *drawn = Drawn { lines: lines.len(), columns };
                let _ = self.output.write_all(text.as_bytes());
            }
            // Nothing has happened yet.
            Kind::Log { .. } if first => {}
            Kind::Log { violations, .. } => {
                let more = violations.saturating_sub(TOLD);
                *violations = 0;
                let untold =
                    if more == 0 { String::new() } else { format!("; {more} more violations were not told") };
                let _ = writeln!(self.output, "flowaudit: {}{untold}", line(standing, &before));
            }
        }
        let _ = self.output.flush();
    }

    /// Takes the lines off the terminal.
    pub(super) fn clear(&mut self) {
        if let Kind::Terminal { drawn, .. } = &mut self.kind {
            let [_, columns] = size();
            let _ = self.output.write_all(std::mem::take(drawn).erase(columns).as_bytes());
        }
    }
}

/// Rows and columns of the terminal, at least two of each.
fn size() -> [usize; 2] {
    let size = tcgetwinsize(io::stderr()).map_or([0; 2], |size| [size.ws_row, size.ws_col].map(usize::from));
    let or = |told: usize, usual: usize| if told == 0 { usual } else { told.max(2) };
    [or(size[0], ROWS), or(size[1], COLUMNS)]
}

/// As much of a line as fits; the last column is left free, since some terminals go on to the next line behind
/// it. What is not ASCII may take two columns.
fn cut(line: &str, columns: usize) -> &str {
    let mut used = 0;
    let end = line.char_indices().find(|(_, letter)| {
        used += if letter.is_ascii() { 1 } else { 2 };
        used >= columns
    });
    &line[..end.map_or(line.len(), |(at, _)| at)]
}

impl Drawn {
    /// Takes the lines off a terminal that is as wide as this now: moves the cursor up over them and clears from
    /// there on (ECMA-48 CUU and ED). On one that became narrower a line may have become several, or may not have:
    /// all of the screen is cleared (CUP and ED).
    fn erase(self, columns: usize) -> String {
        match self.lines {
            0 => String::new(),
            _ if columns < self.columns => "\x1b[H\x1b[2J".to_owned(),
            lines => format!("\x1b[{lines}A\x1b[J"),
        }
    }
}

/// The log's line: what was counted in its interval, and what stands.
fn line(standing: &Standing, before: &Standing) -> String {
    let since = |now: u64, then: u64| now.saturating_sub(then);
    let packets = since(standing.account.read, before.account.read);
    let [kernel, interface, evicted] = standing.lost();
    let [old_kernel, old_interface, old_evicted] = before.lost();
    let ended: Vec<u64> = (0..3).map(|at| since(standing.verdicts[at], before.verdicts[at])).collect();
    format!(
        "{packets} packets ({:.0}/s), {} flows open, {} ended ({} allowed, {} unproven, {} violations), \
         {} violations of open flows, dropped {} by the kernel, {} by the interface, {} flows ended early for want of room, \
         lag {} ms{}",
        standing.packets_a_second(before),
        standing.open,
        ended.iter().sum::<u64>(),
        ended[0],
        ended[1],
        ended[2],
        since(standing.interim, before.interim),
        since(kernel, old_kernel),
        since(interface, old_interface),
        since(evicted, old_evicted),
        standing.lag.as_millis(),
        memory(standing),
    )
}

/// What a terminal shows.
fn screen(standing: &Standing, before: &Standing, latest: &VecDeque<String>) -> Vec<String> {
    let [kernel, interface, evicted] = standing.lost();
    let [allowed, unproven, violations] = standing.verdicts;
    let interfaces: Vec<&str> = standing.interfaces.iter().map(|(name, _)| name.as_str()).collect();
    let mut lines = vec![
        format!("auditing {} for {}", clean_line(&interfaces.join(", ")), clock(standing.elapsed)),
        format!(
            "packets   {} ({:.0}/s), lag {} ms{}",
            standing.account.read,
            standing.packets_a_second(before),
            standing.lag.as_millis(),
            memory(standing)
        ),
        format!("dropped   {kernel} by the kernel, {interface} by the interface"),
        format!(
            "flows     {} open, {} ended, {evicted} of them early for want of room",
            standing.open,
            allowed + unproven + violations
        ),
        format!("verdicts  {allowed} allowed, {unproven} unproven, {violations} violations"),
        format!("latest violations, {} told while their flows were open:", standing.interim),
    ];
    if latest.is_empty() {
        lines.push("  none".to_owned());
    }
    lines.extend(latest.iter().map(|line| format!("  {line}")));
    lines
}

fn memory(standing: &Standing) -> String {
    standing.memory.map_or(String::new(), |bytes| format!(", {} MiB", bytes >> 20))
}

/// Hours, minutes and seconds.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(kind: Kind) -> View<Vec<u8>> {
        View { output: Vec::new(), kind, before: Standing::default(), shown: None }
    }

    fn said(view: &mut View<Vec<u8>>) -> String {
        String::from_utf8(std::mem::take(&mut view.output)).unwrap()
    }

    fn standing(read: u64, seconds: u64) -> Standing {
        let mut standing = Standing {
            elapsed: Duration::from_secs(seconds),
            verdicts: [read / 10, 1, 2],
            open: 7,
            ..Standing::default()
        };
        standing.account.read = read;
        standing.account.dropped = [read / 100, 0];
        standing
    }

    #[test]
    fn a_log_tells_violations_at_once_and_of_an_interval_what_was_new_in_it() {
        let mut view = view(Kind::Log { every: Duration::ZERO, violations: 0 });
        view.show(&standing(0, 0));
        assert_eq!(said(&mut view), "");
        view.violation("10.0.0.1 \u{1b}[2J");
        assert_eq!(said(&mut view), "flowaudit: violation: 10.0.0.1 \\u{1b}[2J\n");
        view.show(&standing(1000, 10));
        let line = said(&mut view);
        assert!(
            line.starts_with("flowaudit: 1000 packets (100/s), 7 flows open, 100 ended (100 allowed"),
            "{line}"
        );
        assert!(line.contains("dropped 10 by the kernel"), "{line}");
        view.show(&standing(1500, 20));
        let line = said(&mut view);
        assert!(line.starts_with("flowaudit: 500 packets (50/s)") && line.contains("dropped 5 by"), "{line}");
        assert_eq!(line.lines().count(), 1);
        for _ in 0..TOLD + 5 {
            view.violation("x");
        }
        assert_eq!(said(&mut view).lines().count() as u64, TOLD);
        view.show(&standing(1500, 30));
        assert!(said(&mut view).ends_with("; 5 more violations were not told\n"));
    }

    #[test]
    fn a_terminal_is_redrawn_in_place_and_cleaned_up() {
        let mut view = view(Kind::Terminal { drawn: Drawn::default(), latest: VecDeque::new() });
        view.show(&standing(1000, 10));
        let first = said(&mut view);
        assert!(!first.contains('\x1b') && first.contains("  none\n"), "{first}");
        for number in 0..LATEST + 3 {
            view.violation(&format!("number {number} \x07"));
        }
        assert_eq!(said(&mut view), "", "shown with the next drawing");
        view.show(&standing(2000, 3671));
        let second = said(&mut view);
        assert!(second.starts_with(&format!("\x1b[{}A\x1b[J", first.lines().count())), "{second:?}");
        assert!(second.contains("for 1:01:11\n") && second.contains("number 10 \\u{7}"), "{second}");
        assert!(!second.contains("number 2 "), "{second}");
        view.say("news");
        assert!(said(&mut view).ends_with("\x1b[Jflowaudit: news\n"));
        view.clear();
        assert_eq!(said(&mut view), "");
    }

    #[test]
    fn lines_that_may_have_been_wrapped_anew_are_cleared_with_all_else() {
        let drawn = Drawn { lines: 7, columns: 80 };
        assert_eq!(
            [81, 80, 79].map(|columns| drawn.erase(columns)),
            ["\x1b[7A\x1b[J", "\x1b[7A\x1b[J", "\x1b[H\x1b[2J"]
        );
        assert_eq!(Drawn { lines: 0, columns: 80 }.erase(20), "");
    }

    #[test]
    fn lines_are_cut_before_the_last_column() {
        assert_eq!(
            ["", "abc", "abcd", "abé", "é", "ab"].map(|line| cut(line, 4)),
            ["", "abc", "abc", "ab", "é", "ab"]
        );
        assert_eq!(cut("x", 2), "x");
    }

    #[test]
    fn a_silent_view_says_nothing_but_news() {
        let mut view = view(Kind::Silent);
        view.violation("x");
        assert!(!view.is_due());
        view.show(&standing(1, 1));
        assert_eq!(said(&mut view), "");
        view.say("the disk is full");
        assert_eq!(said(&mut view), "flowaudit: the disk is full\n");
    }
}
