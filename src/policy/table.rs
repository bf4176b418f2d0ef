//! Documented tables, read from CSV in the page's own six columns.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::cell::{self, App, End, Ports, Security};
use super::quoted;
use super::shipped::{self, Shipped};
use crate::packet::Transport;

/// The largest table that is read, in bytes: thousands of times a documented page.
pub const MAX_FILE_BYTES: u64 = 64 << 20;

/// One documented page.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name in reports: `loggregator`, or `SET/TABLE`.
    pub name: String,
    /// The file it was read from, for messages; its place in this repository when it came with the program.
    pub file: String,
    /// Its rows, in order; row 1 is the first.
    pub rows: Vec<Row>,
    /// It says what deployments do otherwise: a documented row that allows as much decides before its rows.
    pub overlay: bool,
}

/// One allowed communication.
#[derive(Clone, Debug)]
pub struct Row {
    /// Who opens it.
    pub source: End,
    /// Who answers.
    pub destination: End,
    /// On which ports.
    pub ports: Ports,
    /// Over which transports.
    pub transports: Vec<Transport>,
    /// What it speaks: any of these.
    pub applications: Vec<App>,
    /// How it is secured.
    pub security: Security,
    /// The six cells as written.
    pub cells: [String; 6],
    /// The footnote conditions, as written.
    pub note: String,
    /// Its line in the file, from 1.
    pub line: u64,
}

/// A table that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The file cannot be read at all.
    #[error(
        "{file}: {error}; name a table or overlay that comes with the program, a table file, or a folder of tables"
    )]
    Io {
        /// The file.
        file: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// It is not CSV.
    #[error("{file}: {error}; expected CSV with the columns {}", HEADERS.join(", "))]
    Csv {
        /// The file.
        file: String,
        /// What is wrong, with its line.
        error: csv::Error,
    },
    /// A column is missing.
    #[error("{file}: line 1: no column `{column}`; expected the columns {} (and `Note`)", HEADERS.join(", "))]
    Header {
        /// The file.
        file: String,
        /// The column.
        column: &'static str,
    },
    /// A cell cannot be read.
    #[error(
        "{file}: line {line}, column `{column}`: `{}` is not understood; expected {expected}",
        quoted(cell)
    )]
    Cell {
        /// The file.
        file: String,
        /// Its line, from 1.
        line: u64,
        /// The column's header.
        column: &'static str,
        /// The cell, as written.
        cell: String,
        /// What was expected.
        expected: cell::Expected,
    },
    /// There is nothing in it.
    #[error("{file}: {what}; expected at least one row")]
    Empty {
        /// The file or folder.
        file: String,
        /// What is missing.
        what: &'static str,
    },
    /// It is longer than [`MAX_FILE_BYTES`].
    #[error("{file}: larger than {MAX_FILE_BYTES} bytes; give a table, or the rows that are needed")]
    TooLong {
        /// The file.
        file: String,
    },
    /// A table's name would not stand in a report.
    #[error("{file}: a table's name holds no `:` and no space; rename the file")]
    Name {
        /// The file.
        file: String,
    },
}

/// The page's own headers, in its order.
pub const HEADERS: [&str; 6] = [
    "Source VM",
    "Destination VM",
    "Port",
    "Transport Layer Protocol",
    "App Layer Protocol",
    "Security and Authentication",
];

/// A file of this name beside tables is a map of names, and no table.
const NAMES: &str = "names.csv";

impl Table {
    /// The tables in force without `--policy`: the 16 rows of Loggregator and Log Cache communications.
    pub fn built_in() -> Result<Vec<Table>, TableError> {
        shipped::DEFAULT.iter().map(Table::shipped).collect()
    }

    /// The names of every table that comes with the program: the default ones, then those of sets.
    pub fn shipped_names() -> impl Iterator<Item = &'static str> {
        shipped::DEFAULT.iter().chain(shipped::SETS).map(|table| table.name)
    }

    /// The tables that a `--policy` argument names: a shipped table, a shipped set or one table of it, a
    /// file, or a folder of files.
    pub fn load(argument: &str) -> Result<Vec<Table>, TableError> {
        let of_set = |table: &&Shipped| {
            table.name == argument
                || table.name.strip_prefix(argument).is_some_and(|rest| rest.starts_with('/'))
        };
        let shipped: Vec<&Shipped> = shipped::DEFAULT.iter().chain(shipped::SETS).filter(of_set).collect();
        if !shipped.is_empty() {
            return shipped.into_iter().map(Table::shipped).collect();
        }
        let path = Path::new(argument);
        let io = |error| TableError::Io { file: argument.to_owned(), error };
        if !std::fs::metadata(path).map_err(io)?.is_dir() {
            return Ok(vec![Table::read(path, "")?]);
        }
        let mut files: Vec<PathBuf> = Vec::new();
        for entry in std::fs::read_dir(path).map_err(io)? {
            let file = entry.map_err(io)?.path();
            let names = file.file_name().is_some_and(|name| name == NAMES);
            if file.extension().is_some_and(|extension| extension == "csv") && !names {
                files.push(file);
            }
        }
        files.sort();
        if files.is_empty() {
            return Err(TableError::Empty { file: argument.to_owned(), what: "no .csv file in this folder" });
        }
        let set = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let set = set.file_name().unwrap_or_default().to_string_lossy();
        files.iter().map(|file| Table::read(file, &set)).collect()
    }

    /// The table that an `--overlay` argument names: a shipped overlay, or a file.
    pub fn load_overlay(argument: &str) -> Result<Table, TableError> {
        let table = match shipped::OVERLAYS.iter().find(|overlay| overlay.name == argument) {
            Some(overlay) => {
                let file = format!("policies/overlays/{}.csv", overlay.name);
                Table::parse(&file, overlay.name, overlay.text.as_bytes())?
            }
            None => Table::read(Path::new(argument), "")?,
        };
        Ok(Table { overlay: true, ..table })
    }

    /// Every overlay that comes with the program.
    pub fn shipped_overlays() -> Result<Vec<Table>, TableError> {
        shipped::OVERLAYS.iter().map(|overlay| Table::load_overlay(overlay.name)).collect()
    }

    fn shipped(shipped: &Shipped) -> Result<Table, TableError> {
        Table::parse(&format!("policies/{}.csv", shipped.name), shipped.name, shipped.text.as_bytes())
    }

    /// Reads a file, whose table is called by the file's name, behind the set's if there is one.
    fn read(path: &Path, set: &str) -> Result<Table, TableError> {
        let file = path.display().to_string();
        let mut text = Vec::new();
        // The length is not asked for beforehand: a pipe has none, and a file may grow.
        File::open(path)
            .and_then(|opened| opened.take(MAX_FILE_BYTES + 1).read_to_end(&mut text))
            .map_err(|error| TableError::Io { file: file.clone(), error })?;
        if text.len() as u64 > MAX_FILE_BYTES {
            return Err(TableError::TooLong { file });
        }
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = if set.is_empty() { stem.into_owned() } else { format!("{set}/{stem}") };
        Table::parse(&file, &name, &text)
    }

    /// Reads a table; `file` is for messages, `name` for reports.
    pub fn parse(file: &str, name: &str, text: &[u8]) -> Result<Table, TableError> {
        if name.is_empty() || name.contains([':', ' ']) {
            return Err(TableError::Name { file: file.to_owned() });
        }
        let csv_error = |error| TableError::Csv { file: file.to_owned(), error };
        let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).flexible(true).from_reader(text);
        let headers = reader.headers().map_err(csv_error)?.clone();
        let find = |wanted: &str| {
            headers
                .iter()
                .position(|header| header.trim().trim_start_matches('\u{feff}').eq_ignore_ascii_case(wanted))
        };
        let mut columns = [0; 6];
        for (column, header) in columns.iter_mut().zip(HEADERS) {
            *column =
                find(header).ok_or_else(|| TableError::Header { file: file.to_owned(), column: header })?;
        }
        let note = find("Note");
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(csv_error)?;
            let line = record.position().map_or(0, csv::Position::line);
            let cells = columns.map(|column| record.get(column).unwrap_or("").trim().to_owned());
            let note = note.and_then(|column| record.get(column)).unwrap_or("").trim().to_owned();
            rows.push(Row::parse(&cells, note, line).map_err(|(column, expected)| TableError::Cell {
                file: file.to_owned(),
                line,
                column: HEADERS[column],
                cell: cells[column].clone(),
                expected,
            })?);
        }
        if rows.is_empty() {
            return Err(TableError::Empty { file: file.to_owned(), what: "a table without rows" });
        }
        Ok(Table { name: name.to_owned(), file: file.to_owned(), rows, overlay: false })
    }
}

impl Row {
    /// Reads six cells; an error names the column and what was expected in it.
    pub(super) fn parse(
        cells: &[String; 6],
        note: String,
        line: u64,
    ) -> Result<Row, (usize, cell::Expected)> {
        let at = |column| move |expected| (column, expected);
        Ok(Row {
            source: End::parse(&cells[0]).map_err(at(0))?,
            destination: End::parse(&cells[1]).map_err(at(1))?,
            ports: Ports::parse(&cells[2]).map_err(at(2))?,
            transports: cell::transports(&cells[3]).map_err(at(3))?,
            applications: cell::applications(&cells[4]).map_err(at(4))?,
            security: Security::parse(&cells[5]).map_err(at(5))?,
            cells: cells.clone(),
            note,
            line,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_sixteen_built_in_rows_parse() {
        let tables = Table::built_in().unwrap();
        let counts: Vec<_> = tables.iter().map(|table| (table.name.as_str(), table.rows.len())).collect();
        assert_eq!(counts, [("loggregator", 11), ("log-cache", 5)]);
    }

    /// The page the product was asked for, where it lies beside the project.
    #[test]
    fn the_built_in_rows_are_the_pages_cell_for_cell() {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/seeds");
        let Ok(folder) = std::fs::read_dir(&seeds) else {
            println!("skipped the_built_in_rows_are_the_pages_cell_for_cell: ../shared/seeds is not here");
            return;
        };
        let page: String = folder
            .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
            .collect::<Vec<_>>()
            .join("\n");
        let documented: Vec<Vec<&str>> = page
            .lines()
            .filter(|line| {
                line.matches('|').count() >= 6 && !line.starts_with("Source VM") && !line.starts_with("---")
            })
            .map(|line| line.split('|').take(6).map(str::trim).collect())
            .collect();
        let tables = Table::built_in().unwrap();
        let built_in: Vec<Vec<&str>> = tables
            .iter()
            .flat_map(|table| &table.rows)
            .map(|row| row.cells.iter().map(String::as_str).collect())
            .collect();
        assert_eq!(built_in, documented);
    }

    #[test]
    fn every_shipped_set_parses_whole() {
        let count = |set: &str| {
            let tables = Table::load(set).unwrap();
            (tables.len(), tables.iter().map(|table| table.rows.len()).sum::<usize>())
        };
        assert_eq!(count("pas-2.7"), (11, 185));
        assert_eq!(count("tpcf-10.0"), (11, 184));
        assert_eq!(count("pas-2.7/loggregator"), (1, 11));
        assert_eq!(Table::load("pas-2.7/log-cache").unwrap()[0].name, "pas-2.7/log-cache");
    }

    #[test]
    fn every_overlay_parses_and_gives_its_source_in_every_row() {
        let overlays = Table::shipped_overlays().unwrap();
        assert_eq!(
            overlays.iter().map(|overlay| overlay.name.as_str()).collect::<Vec<_>>(),
            ["cf-deployment"]
        );
        for row in overlays.iter().flat_map(|overlay| &overlay.rows) {
            assert!(row.note.len() > 40, "{:?}", row.cells);
        }
        assert_eq!(Table::load_overlay("cf-deployment").unwrap().rows.len(), overlays[0].rows.len());
        assert!(Table::load_overlay("no-such-overlay").is_err());
    }

    /// The public tables, where they lie beside the project.
    #[test]
    fn the_shipped_sets_are_the_public_tables_cell_for_cell() {
        let facts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/facts/tables");
        for (set, file) in [("pas-2.7", "seed_version_2.7.csv"), ("tpcf-10.0", "latest_tpcf_10.0.csv")] {
            let Ok(mut reader) = csv::Reader::from_path(facts.join(file)) else {
                println!("skipped the_shipped_sets_are_the_public_tables_cell_for_cell: no ../shared/facts");
                return;
            };
            let public: Vec<Vec<String>> = reader
                .records()
                .map(|row| row.unwrap().iter().take(6).map(str::to_owned).collect())
                .collect();
            let mut shipped: Vec<Vec<String>> = Vec::new();
            for row in Table::load(set).unwrap().iter().flat_map(|table| &table.rows) {
                let mut cells = row.cells.to_vec();
                // The public list has the marks of footnotes stripped.
                if cells[0] == "Any*" {
                    cells[0] = "Any".to_owned();
                }
                shipped.push(cells);
            }
            let sorted = |mut rows: Vec<Vec<String>>| {
                rows.sort();
                rows
            };
            assert_eq!(sorted(shipped), sorted(public), "{set}");
        }
    }

    #[test]
    fn a_bad_cell_is_named_by_file_line_and_column() {
        let text = "Source VM,Destination VM,Port,Transport Layer Protocol,App Layer Protocol,Security and Authentication\n\
                    Any*,uaa,8443,TCP,HTTPS,TLS\nAny*,uaa,eight,TCP,HTTPS,TLS\n";
        let error = Table::parse("my.csv", "my", text.as_bytes()).unwrap_err().to_string();
        assert!(
            error.starts_with("my.csv: line 3, column `Port`: `eight` is not understood; expected ports"),
            "{error}"
        );
    }

    #[test]
    fn a_missing_column_and_an_empty_table_are_errors() {
        let error = Table::parse("t.csv", "t", b"Source VM,Port\n").unwrap_err().to_string();
        assert!(error.contains("no column `Destination VM`"), "{error}");
        let header = HEADERS.join(",");
        let error = Table::parse("t.csv", "t", header.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("a table without rows"), "{error}");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Table::parse("t.csv", "t", &text);
            let mut with_header = HEADERS.join(",").into_bytes();
            with_header.push(b'\n');
            with_header.extend(text);
            let _ = Table::parse("t.csv", "t", &with_header);
        }
    }
}
