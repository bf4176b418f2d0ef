//! `policy diff`: what changed, page by page.

use std::error::Error;
use std::fmt::Write as _;

use super::{DiffArguments, Status, tables, text};
use crate::policy::diff::{Change, Page, Version, diff};
use crate::policy::table::HEADERS;
use crate::report::clean;

pub(super) fn run(arguments: &DiffArguments) -> Result<Status, Box<dyn Error>> {
    let old = tables(std::slice::from_ref(&arguments.old))?;
    let new = tables(std::slice::from_ref(&arguments.new))?;
    let pages = diff(&old, &new);
    let mut shown = String::new();
    let mut totals = [0; 3];
    for page in &pages {
        // Writing to a string does not fail.
        let _ = writeln!(shown, "{}", heading(page));
        for change in &page.changes {
            let (kind, line) = line(change);
            totals[kind] += 1;
            shown.push_str(&line);
        }
        shown.push('\n');
    }
    let [added, removed, changed] = totals;
    let _ = writeln!(shown, "{added} added, {removed} removed, {changed} changed");
    text::print(shown.as_bytes())?;
    Ok(if pages.is_empty() { Status::Clean } else { Status::Reported })
}

fn heading(page: &Page<'_>) -> String {
    let only = match page.only_in {
        Some(Version::Old) => " (the new version has no such page)",
        Some(Version::New) => " (the old version has no such page)",
        None => "",
    };
    format!("{}{only}", clean(&page.name))
}

/// Which of the totals it counts in, and its lines.
fn line(change: &Change<'_>) -> (usize, String) {
    match change {
        Change::Added(number, row) => (0, format!("  + {number}: {}\n", text::documented(row))),
        Change::Removed(number, row) => (1, format!("  - {number}: {}\n", text::documented(row))),
        Change::Changed { from, to, columns } => {
            let mut lines = format!("  ~ {} → {}: {}\n", from.0, to.0, text::documented(to.1));
            for &column in columns {
                let (was, is) = (clean(&from.1.cells[column]), clean(&to.1.cells[column]));
                let _ = writeln!(lines, "      {}: {was} → {is}", HEADERS[column]);
            }
            (2, lines)
        }
    }
}
