//! What reports say of the tables: which rows were used, how well that was proven, and which never were.

use std::collections::BTreeMap;
use std::io;

use super::{Reason, Row, RowRef, Table, Verdict, quoted};

/// What reports say of one row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Flows the row allows, every column confirmed.
    pub confirmed: u64,
    /// Flows the row allows, some column inferred.
    pub inferred: u64,
    /// Flows it leaves unproven.
    pub unproven: u64,
    /// Flows that another row decides, and that this one would allow or leave unproven as well.
    pub also: u64,
    /// Violations to which it is the closest row, by reason.
    pub violations: BTreeMap<String, u64>,
}

/// How much use of a row was seen, from most to least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Use {
    /// Some flow was confirmed in every column.
    Confirmed,
    /// Some flow was allowed by inference.
    Inferred,
    /// There were flows that may have been the row's, and none proven.
    Unproven,
    /// There were only flows that another row decides.
    Shared,
    /// None.
    Never,
}

impl Use {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Use::Confirmed => "confirmed",
            Use::Inferred => "inferred",
            Use::Unproven => "unproven",
            Use::Shared => "shared",
            Use::Never => "never",
        }
    }
}

impl Used {
    /// How much use was seen.
    pub fn how(&self) -> Use {
        match self {
            used if used.confirmed > 0 => Use::Confirmed,
            used if used.inferred > 0 => Use::Inferred,
            used if used.unproven > 0 => Use::Unproven,
            used if used.also > 0 => Use::Shared,
            _ => Use::Never,
        }
    }

    /// Violations came closest to it on its own port: its path may be in use, otherwise than documented.
    pub fn is_disputed(&self) -> bool {
        self.violations.keys().any(|reason| reason != Reason::NoRowForPort.word())
    }

    /// Violations in all.
    pub fn violations(&self) -> u64 {
        self.violations.values().sum()
    }
}

/// What reports say of tables.
#[derive(Debug)]
pub struct Coverage {
    rows: Vec<Vec<Used>>,
    /// Flows read.
    pub flows: u64,
    /// Violations without a closest row.
    pub without_row: u64,
    /// Rows of a live report that its flow's last row has overtaken or will.
    pub interim: u64,
}

/// A report that cannot be held against these tables.
#[derive(Debug, thiserror::Error)]
pub enum CoverageError {
    /// It is not CSV.
    #[error("{file}: {error}; expected a report that this program wrote with -o")]
    Csv {
        /// The file.
        file: String,
        /// What is wrong, with its line.
        error: csv::Error,
    },
    /// It is no report.
    #[error("{file}: line 1: no column `{column}`; expected a report that this program wrote with -o")]
    Column {
        /// The file.
        file: String,
        /// What is missing.
        column: &'static str,
    },
    /// A value that no report holds.
    #[error(
        "{file}: line {line}: `{}` is no {what}; expected a report that this program wrote with -o",
        quoted(value)
    )]
    Value {
        /// The file.
        file: String,
        /// Its line, from 1.
        line: u64,
        /// What it should be.
        what: &'static str,
        /// What it is.
        value: String,
    },
    /// It was made with other tables.
    #[error(
        "{file}: line {line}: row `{}` is not in the tables; name those of the report with --policy",
        quoted(row)
    )]
    OtherTables {
        /// The file.
        file: String,
        /// Its line, from 1.
        line: u64,
        /// `table:row`, as the report names it.
        row: String,
    },
    /// It was made with another version of a table.
    #[error(
        "{file}: line {line}: row `{}` reads otherwise in the tables; name the version the report was made with",
        quoted(row)
    )]
    OtherVersion {
        /// The file.
        file: String,
        /// Its line, from 1.
        line: u64,
        /// `table:row`.
        row: String,
    },
}

const COLUMNS: [&str; 13] = [
    "verdict",
    "reason",
    "table",
    "row",
    "also_rows",
    "documented",
    "row_state",
    "source_finding",
    "destination_finding",
    "port_finding",
    "transport_finding",
    "application_finding",
    "security_finding",
];
const FINDINGS: std::ops::Range<usize> = 7..13;

impl Coverage {
    /// Nothing read yet.
    pub fn new(tables: &[Table]) -> Coverage {
        let rows = tables.iter().map(|table| vec![Used::default(); table.rows.len()]).collect();
        Coverage { rows, flows: 0, without_row: 0, interim: 0 }
    }

    /// What is known of a row.
    pub fn of(&self, at: RowRef) -> Option<&Used> {
        self.rows.get(at.table)?.get(at.row)
    }

    /// Adds a report; `documented` gives a row's cells as reports write them.
    pub fn read(
        &mut self,
        file: &str,
        report: impl io::Read,
        tables: &[Table],
        documented: impl Fn(&Row) -> String,
    ) -> Result<(), CoverageError> {
        let csv_error = |error| CoverageError::Csv { file: file.to_owned(), error };
        let mut reader = csv::Reader::from_reader(report);
        let headers = reader.headers().map_err(csv_error)?.clone();
        let mut columns = [0; COLUMNS.len()];
        for (column, name) in columns.iter_mut().zip(COLUMNS) {
            let found = headers.iter().position(|header| header == name);
            *column = found.ok_or_else(|| CoverageError::Column { file: file.to_owned(), column: name })?;
        }
        let names: BTreeMap<&str, usize> =
            tables.iter().enumerate().map(|(index, table)| (table.name.as_str(), index)).collect();
        let mut record = csv::StringRecord::new();
        while reader.read_record(&mut record).map_err(csv_error)? {
            let line = record.position().map_or(0, csv::Position::line);
            let cell = |column: usize| record.get(columns[column]).unwrap_or("");
            let [verdict, reason, table, row, also, cells, state] = [0, 1, 2, 3, 4, 5, 6].map(cell);
            if state == "interim" {
                self.interim += 1;
                continue;
            }
            let value = |what, value: &str| CoverageError::Value {
                file: file.to_owned(),
                line,
                what,
                value: value.to_owned(),
            };
            let find = |table: &str, row: &str| {
                let index = *names.get(table)?;
                let number: usize = row.parse().ok()?;
                let at = RowRef { table: index, row: number.checked_sub(1)? };
                (at.row < tables.get(index)?.rows.len()).then_some(at)
            };
            let other = |row: String| CoverageError::OtherTables { file: file.to_owned(), line, row };
            let of_word = |verdict: &Verdict| verdict.to_string();
            let verdict = Verdict::ALL
                .into_iter()
                .find(|known| of_word(known) == verdict)
                .ok_or_else(|| value("verdict", verdict))?;
            if verdict == Verdict::Violation && !Reason::ALL.iter().any(|known| known.word() == reason) {
                return Err(value("reason", reason));
            }
            let at = match (table, row) {
                ("", "") => None,
                _ => Some(find(table, row).ok_or_else(|| other(format!("{table}:{row}")))?),
            };
            let mut shared = Vec::new();
            for name in also.split(' ').filter(|name| !name.is_empty()) {
                let (table, row) = name.rsplit_once(':').unwrap_or((name, ""));
                shared.push(find(table, row).ok_or_else(|| other(name.to_owned()))?);
            }
            if let Some(at) = at
                && documented(&tables[at.table].rows[at.row]) != cells
            {
                let row = format!("{table}:{row}");
                return Err(CoverageError::OtherVersion { file: file.to_owned(), line, row });
            }
            self.flows += 1;
            for at in shared {
                self.rows[at.table][at.row].also += 1;
            }
            let Some(at) = at else {
                self.without_row += 1;
                continue;
            };
            let used = &mut self.rows[at.table][at.row];
            match verdict {
                Verdict::Allowed if FINDINGS.clone().all(|column| cell(column) == "confirmed") => {
                    used.confirmed += 1
                }
                Verdict::Allowed => used.inferred += 1,
                Verdict::Unproven => used.unproven += 1,
                Verdict::Violation => *used.violations.entry(reason.to_owned()).or_default() += 1,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn documented(row: &Row) -> String {
        row.cells.join(" | ")
    }

    fn line(verdict: &str, reason: &str, row: &str, also: &str, finding: &str) -> String {
        let tables = Table::built_in().unwrap();
        let number: usize = row.parse().unwrap_or(0);
        let cells = tables[0].rows.get(number.wrapping_sub(1)).map_or(String::new(), documented);
        let table = if row.is_empty() { "" } else { "loggregator" };
        let findings = [finding; 6].join(",");
        format!("{verdict},{reason},{table},{row},{also},{cells},final,{findings}\n")
    }

    fn read(lines: &[String]) -> Result<Coverage, CoverageError> {
        let tables = Table::built_in().unwrap();
        let mut coverage = Coverage::new(&tables);
        let text = format!("{}\n{}", COLUMNS.join(","), lines.concat());
        coverage.read("r.csv", text.as_bytes(), &tables, documented).map(|()| coverage)
    }

    #[test]
    fn flows_are_counted_by_what_they_prove() {
        let coverage = read(&[
            line("allowed", "", "1", "", "confirmed"),
            line("allowed", "", "2", "loggregator:3 log-cache:2", "inferred"),
            line("unproven", "unseen_application", "4", "", "unseen"),
            line("violation", "wrong_source", "7", "", "contradicted"),
            line("violation", "no_row_for_port", "", "", ""),
        ])
        .unwrap();
        let how = |table, row| coverage.of(RowRef { table, row }).unwrap().how();
        assert_eq!([how(0, 0), how(0, 1), how(0, 3)], [Use::Confirmed, Use::Inferred, Use::Unproven]);
        assert_eq!([how(0, 2), how(1, 1), how(0, 6)], [Use::Shared, Use::Shared, Use::Never]);
        let closest = coverage.of(RowRef { table: 0, row: 6 }).unwrap();
        assert_eq!(closest.violations.get("wrong_source"), Some(&1));
        assert_eq!((coverage.flows, coverage.without_row), (5, 1));
    }

    #[test]
    fn a_report_of_other_tables_is_refused_at_its_line() {
        let good = line("allowed", "", "1", "", "confirmed");
        let error = |bad: String| read(&[good.clone(), bad]).unwrap_err().to_string();
        assert!(
            error(good.replace("loggregator,1", "mine,1")).starts_with("r.csv: line 3: row `mine:1` is not")
        );
        assert!(error(good.replace(",1,,", ",12,,")).contains("row `loggregator:12` is not in the tables"));
        assert!(error(good.replace(",1,,", ",2,,")).contains("row `loggregator:2` reads otherwise"));
        assert!(error(good.replace("allowed", "fine")).contains("`fine` is no verdict"));
        assert!(error(line("violation", "whim", "1", "", "")).contains("`whim` is no reason"));
    }

    #[test]
    fn what_is_no_report_is_refused() {
        let tables = Table::built_in().unwrap();
        let error = Coverage::new(&tables).read("x", &b"a,b\n1,2\n"[..], &tables, documented).unwrap_err();
        assert!(error.to_string().starts_with("x: line 1: no column `verdict`"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let tables = Table::built_in().unwrap();
            let mut text = format!("{}\n", COLUMNS.join(",")).into_bytes();
            text.extend(bytes);
            let _ = Coverage::new(&tables).read("r", &text[..], &tables, documented);
        }
    }
}
