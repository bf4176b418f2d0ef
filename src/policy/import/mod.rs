//! Documented tables as they are copied from a page: HTML, Markdown, or text with `|` between the cells.
//!
//! A table is one of ours if its first rows hold a header that names a source, a destination and a port. The
//! published pages have had several: six columns, five with `Protocol` in place of two, `Authentication` for the
//! last, `Source Component` and `Default TCP Port`. What such a page does not say is written as the pages
//! themselves write what they leave open, with a note.

mod html;
mod page;

use super::table::HEADERS;
use super::{Row, cell};
use page::Block;

/// The largest page that is read, in bytes.
pub const PAGE_CAP: usize = 16 << 20;
/// The most tables taken from one page.
const TABLES_CAP: usize = 256;
/// The most rows taken from one table.
const ROWS_CAP: usize = 10_000;
/// The most cells of a row that are looked at.
const CELLS_CAP: usize = 64;
/// The longest cell, in bytes; the longest that a table may hold.
const CELL_CAP: usize = 4096;
/// Footnotes kept for one table.
const FOOTNOTES_CAP: usize = 64;
/// Rows at the top of a table that may hold its header, since a caption may stand above it.
const HEADER_WITHIN: usize = 3;
/// The longest name given to a table, in bytes.
const NAME_CAP: usize = 64;

/// One table of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// A name for it, after the heading it stands under: `loggregator`.
    pub name: String,
    /// Its rows: the six cells and the note.
    pub rows: Vec<([String; 6], String)>,
    /// Columns that the page does not have, and that were filled in.
    pub filled: Vec<&'static str>,
}

/// A page that no table can be taken from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// Nothing in it has our columns.
    #[error(
        "no table with a header of source, destination and port was found; copy the page with its header row, as \
         HTML, Markdown or text with `|` between the cells"
    )]
    NoTable,
    /// A row does not fit its header.
    #[error(
        "table `{table}`, row {row}: {cells} cells under a header of {columns}; mend the row in the page's copy"
    )]
    Ragged {
        /// The table's name.
        table: String,
        /// The row, from 1.
        row: usize,
        /// What it has.
        cells: usize,
        /// What the header has.
        columns: usize,
    },
    /// Something is larger than any documented page.
    #[error("{what}, more than the {cap} that are read; import the page in parts")]
    TooMuch {
        /// What there is too much of.
        what: &'static str,
        /// The most that is read.
        cap: usize,
    },
}

/// A cell of an imported table that no policy could use as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotUnderstood {
    /// The row, from 1.
    pub row: usize,
    /// The column's header.
    pub column: &'static str,
    /// The cell.
    pub cell: String,
    /// What was expected.
    pub expected: cell::Expected,
}

impl Imported {
    /// The cells that have to be mended before the table can be used.
    pub fn not_understood(&self) -> Vec<NotUnderstood> {
        let check = |(index, (cells, note)): (usize, &([String; 6], String))| {
            let (column, expected) = Row::parse(cells, note.clone(), 0).err()?;
            Some(NotUnderstood {
                row: index + 1,
                column: HEADERS[column],
                cell: cells[column].clone(),
                expected,
            })
        };
        self.rows.iter().enumerate().filter_map(check).collect()
    }
}

/// Takes every documented table out of a page.
pub fn import(page: &str) -> Result<Vec<Imported>, ImportError> {
    if page.len() > PAGE_CAP {
        return Err(ImportError::TooMuch { what: "bytes in the page", cap: PAGE_CAP });
    }
    let mut found: Vec<Found> = Vec::new();
    let mut title = String::new();
    // Footnotes stand behind their table, before the next one or the next heading.
    let mut below_table = false;
    let mut too_many = false;
    page::blocks(page, &mut |block| match block {
        Block::Heading(text) => {
            title = text;
            below_table = false;
        }
        Block::Text(text) => match (footnote(&text), found.last_mut()) {
            (Some(_), Some(table)) if below_table => {
                if table.footnotes.len() < FOOTNOTES_CAP {
                    table.footnotes.push(text);
                }
            }
            (Some(_), _) => {}
            (None, _) if page::is_title(&text) => {
                title = text;
                below_table = false;
            }
            (None, _) => {}
        },
        Block::Table(cells) => {
            let Some((at, columns)) = header(&cells) else { return };
            if found.len() == TABLES_CAP {
                too_many = true;
                return;
            }
            let name = unique(name(&title), &found);
            let rows = cells.into_iter().skip(at + 1).collect();
            found.push(Found { name, columns, rows, footnotes: Vec::new() });
            below_table = true;
        }
    });
    if too_many {
        return Err(ImportError::TooMuch { what: "tables in the page", cap: TABLES_CAP });
    }
    if found.is_empty() {
        return Err(ImportError::NoTable);
    }
    found.into_iter().map(Found::finish).collect()
}

/// A table as it stands on the page.
struct Found {
    name: String,
    columns: Columns,
    rows: Vec<Vec<String>>,
    footnotes: Vec<String>,
}

/// Where each of our columns is: the six, and the note.
struct Columns {
    of: [Option<usize>; 7],
    count: usize,
}

const TRANSPORT: usize = 3;
const APPLICATION: usize = 4;
const SECURITY: usize = 5;
const NOTE: usize = 6;

/// What the pages call our columns.
const CALLED: [&[&str]; 7] = [
    &["source vm", "source component", "source"],
    &["destination vm", "destination component", "destination"],
    &["port", "ports", "default tcp port", "destination port"],
    &["transport layer protocol", "transport protocol", "transport"],
    &["app layer protocol", "application layer protocol", "app protocol", "protocol"],
    &["security and authentication", "authentication", "security"],
    &["note", "notes"],
];

/// What is written where the page has no such column: as the pages write what they leave open.
const UNSAID: [(usize, &str, &str); 3] = [
    (TRANSPORT, "TCP", "the page documents no transport: TCP is assumed"),
    (APPLICATION, "Varies", "the page documents no application"),
    (SECURITY, "N/A", "the page documents no security"),
];

/// The header among the first rows, and where the columns are.
fn header(rows: &[Vec<String>]) -> Option<(usize, Columns)> {
    rows.iter().take(HEADER_WITHIN).enumerate().find_map(|(at, cells)| {
        let words: Vec<String> = cells.iter().take(CELLS_CAP).map(|cell| cell.to_lowercase()).collect();
        let of = CALLED.map(|names| {
            names.iter().find_map(|name| words.iter().position(|word| word.trim_end_matches(MARKS) == *name))
        });
        (of[0].is_some() && of[1].is_some() && of[2].is_some())
            .then_some((at, Columns { of, count: cells.len() }))
    })
}

impl Found {
    fn finish(self) -> Result<Imported, ImportError> {
        if self.rows.len() > ROWS_CAP {
            return Err(ImportError::TooMuch { what: "rows in a table", cap: ROWS_CAP });
        }
        let unsaid: Vec<_> =
            UNSAID.into_iter().filter(|(column, ..)| self.columns.of[*column].is_none()).collect();
        let mut rows = Vec::new();
        for (index, cells) in self.rows.iter().enumerate() {
            if cells.iter().all(String::is_empty) {
                continue;
            }
            if cells.len() != self.columns.count {
                return Err(ImportError::Ragged {
                    table: self.name,
                    row: index + 1,
                    cells: cells.len(),
                    columns: self.columns.count,
                });
            }
            if cells.iter().any(|cell| cell.len() > CELL_CAP) {
                return Err(ImportError::TooMuch { what: "bytes in a cell", cap: CELL_CAP });
            }
            let at = |column: usize| {
                self.columns.of[column].and_then(|at| cells.get(at)).map_or("", String::as_str)
            };
            let mut notes: Vec<&str> = vec![at(NOTE)];
            let mut six = [0, 1, 2, TRANSPORT, APPLICATION, SECURITY].map(|column| at(column).to_owned());
            for cell in &mut six {
                notes.extend(unmark(cell, &self.footnotes));
            }
            for (column, value, why) in &unsaid {
                (*value).clone_into(&mut six[*column]);
                notes.push(why);
            }
            notes.retain(|note| !note.is_empty());
            let mut once: Vec<&str> = Vec::new();
            for note in notes {
                if !once.contains(&note) {
                    once.push(note);
                }
            }
            let separator = if unsaid.is_empty() { " " } else { "; " };
            rows.push((six, once.join(separator)));
        }
        Ok(Imported {
            name: self.name,
            rows,
            filled: unsaid.iter().map(|(column, ..)| HEADERS[*column]).collect(),
        })
    }
}

/// What footnotes are marked with.
const MARKS: [char; 4] = ['*', '†', '‡', '§'];

/// A footnote's mark and its words.
fn footnote(line: &str) -> Option<(&str, &str)> {
    let words = line.trim_start_matches(MARKS);
    let mark = &line[..line.len() - words.len()];
    (!mark.is_empty() && !words.trim().is_empty()).then_some((mark, words.trim()))
}

/// Takes the mark off a cell, and gives the footnote it stands for.
///
/// `Any` keeps a mark, since `Any*` is how the tables write it: whatever mark a page uses, the footnote that says
/// "within its subnet" makes it `Any*`. A mark without a footnote stays where it is.
fn unmark<'a>(cell: &mut String, footnotes: &'a [String]) -> Option<&'a str> {
    let words = cell.trim_end_matches(MARKS);
    let mark = &cell[words.len()..];
    if mark.is_empty() || words.is_empty() {
        return None;
    }
    let (note, text) = footnotes
        .iter()
        .find_map(|line| footnote(line).filter(|(m, _)| *m == mark).map(|(_, text)| (line, text)))?;
    let words = words.trim_end();
    if !words.eq_ignore_ascii_case("any") {
        *cell = words.to_owned();
    } else if text.to_lowercase().contains("within its subnet") {
        "Any*".clone_into(cell);
    }
    Some(note)
}

/// `Log Cache Communications` is `log-cache`; what has no name is `table`.
fn name(title: &str) -> String {
    let mut name = String::new();
    for word in title.to_lowercase().split(|c: char| !c.is_ascii_alphanumeric()) {
        if word.is_empty() || matches!(word, "communications" | "network") {
            continue;
        }
        if name.len() + word.len() >= NAME_CAP {
            break;
        }
        if !name.is_empty() {
            name.push('-');
        }
        name.push_str(word);
    }
    if name.is_empty() { "table".to_owned() } else { name }
}

fn unique(name: String, found: &[Found]) -> String {
    let taken = |name: &str| found.iter().any(|table| table.name == name);
    if !taken(&name) {
        return name;
    }
    // There are at most TABLES_CAP others.
    (2..=TABLES_CAP + 1).map(|n| format!("{name}-{n}")).find(|name| !taken(name)).unwrap_or(name)
}

#[cfg(test)]
mod tests;
