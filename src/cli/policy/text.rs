//! Text for terminals and CSV for files, with everything that others wrote made harmless.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

pub(super) use crate::cli::output::print;
use crate::cli::whole::replace;
use crate::policy::Row;
use crate::policy::table::HEADERS;
use crate::report::{clean, clean_field};

/// Columns wider than this do not push the others aside.
const WIDEST: usize = 60;

/// Lines with their columns under each other.
pub(super) fn columns(lines: &[Vec<String>]) -> String {
    let count = lines.iter().map(Vec::len).max().unwrap_or(0);
    let lines: Vec<Vec<String>> =
        lines.iter().map(|line| line.iter().map(|cell| clean(cell).to_string()).collect()).collect();
    let width = |cell: &String| cell.chars().count();
    let widths: Vec<usize> = (0..count)
        .map(|column| {
            lines.iter().filter_map(|line| line.get(column)).map(width).max().unwrap_or(0).min(WIDEST)
        })
        .collect();
    let mut text = String::new();
    for line in &lines {
        let mut shown = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            // Writing to a string does not fail.
            let _ = write!(shown, "{cell:width$}  ");
        }
        text.push_str(shown.trim_end());
        text.push('\n');
    }
    text
}

/// `Source VM | Destination VM | …`
pub(super) fn documented(row: &Row) -> String {
    row.cells.iter().map(|cell| clean(cell).to_string()).collect::<Vec<_>>().join(" | ")
}

/// The headers of a table that `--policy` reads, and more.
pub(super) fn headers<'a>(further: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    HEADERS.into_iter().chain(["Note"]).chain(further.iter().copied())
}

/// CSV of these lines, the header among them.
pub(super) fn csv<L, F>(lines: impl IntoIterator<Item = L>) -> Result<Vec<u8>, csv::Error>
where
    L: IntoIterator<Item = F>,
    F: AsRef<str>,
{
    let mut writer = csv::Writer::from_writer(Vec::new());
    for line in lines {
        writer.write_record(line.into_iter().map(|field| clean_field(field.as_ref())))?;
    }
    writer.into_inner().map_err(|error| csv::Error::from(io::Error::other(error.to_string())))
}

/// Writes a file, or to standard output where none is named.
pub(super) fn write(file: Option<&str>, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
    match file {
        None | Some("-") => print(bytes),
        Some(file) => Ok(replace(Path::new(file), |file| file.write_all(bytes))?),
    }
}
