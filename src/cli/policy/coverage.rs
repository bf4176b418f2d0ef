//! `policy coverage`: which rows the reports show in use.

use std::error::Error;
use std::fmt::Write as _;
use std::fs::File;

use super::{CoverageArguments, Status, tables, text};
use crate::inventory::Names;
use crate::policy::coverage::{Coverage, Use, Used};
use crate::policy::reach::{self, Best};
use crate::policy::{Row, RowRef, Table};
use crate::report::{clean_field, clean_line};

pub(super) fn run(arguments: &CoverageArguments) -> Result<Status, Box<dyn Error>> {
    let tables = tables(&arguments.policy)?;
    let mut coverage = Coverage::new(&tables);
    for report in &arguments.reports {
        let file = File::open(report).map_err(|error| format!("{report}: {error}; name a report"))?;
        coverage.read(report, std::io::BufReader::new(file), &tables, |row| {
            clean_field(&text::documented(row))
        })?;
    }
    let rows: Vec<Line<'_>> = lines(&tables, &coverage).collect();
    let output = if arguments.csv { csv(&rows)? } else { shown(&rows, &coverage).into_bytes() };
    text::print(&output)?;
    Ok(Status::Clean)
}

struct Line<'a> {
    table: &'a str,
    number: usize,
    row: &'a Row,
    used: &'a Used,
}

impl Line<'_> {
    /// No use was seen, not even one that contradicts it, and a capture of the network would have shown it.
    fn is_dead(&self) -> bool {
        self.used.how() == Use::Never && !self.used.is_disputed() && !self.stays_out_of_sight()
    }

    fn stays_out_of_sight(&self) -> bool {
        self.row.security.inside_vm
    }

    fn violations(&self) -> String {
        let reasons: Vec<String> =
            self.used.violations.iter().map(|(reason, flows)| format!("{reason} {flows}")).collect();
        reasons.join(", ")
    }
}

fn lines<'a>(tables: &'a [Table], coverage: &'a Coverage) -> impl Iterator<Item = Line<'a>> {
    tables.iter().enumerate().flat_map(move |(table, documented)| {
        documented.rows.iter().enumerate().filter_map(move |(row, cells)| {
            let used = coverage.of(RowRef { table, row })?;
            Some(Line { table: &documented.name, number: row + 1, row: cells, used })
        })
    })
}

fn csv(rows: &[Line<'_>]) -> Result<Vec<u8>, csv::Error> {
    let names = Names::shipped();
    let header = [
        "table",
        "row",
        "use",
        "flows_confirmed",
        "flows_inferred",
        "flows_unproven",
        "flows_also",
        "violations_closest",
        "violations_by_reason",
        "at_best",
        "documented",
    ];
    let lines = rows.iter().map(|line| {
        let Used { confirmed, inferred, unproven, also, .. } = line.used;
        let counts = [confirmed, inferred, unproven, also].map(u64::to_string);
        let mut fields =
            vec![line.table.to_owned(), line.number.to_string(), line.used.how().word().to_owned()];
        fields.extend(counts);
        fields.extend([
            line.used.violations().to_string(),
            line.violations(),
            reach::best(&reach::limits(line.row, &names)).to_string(),
            text::documented(line.row),
        ]);
        fields
    });
    text::csv([header.map(str::to_owned).to_vec()].into_iter().chain(lines))
}

fn shown(rows: &[Line<'_>], coverage: &Coverage) -> String {
    let names = Names::shipped();
    let header =
        ["ROW", "USE", "CONFIRMED", "INFERRED", "UNPROVEN", "ALSO", "VIOLATIONS CLOSEST TO IT", "DOCUMENTED"];
    let mut lines = vec![header.map(str::to_owned).to_vec()];
    for line in rows {
        let Used { confirmed, inferred, unproven, also, .. } = line.used;
        let mut cells = vec![format!("{}:{}", line.table, line.number), line.used.how().word().to_owned()];
        cells.extend([confirmed, inferred, unproven, also].map(u64::to_string));
        cells.extend([line.violations(), text::documented(line.row)]);
        lines.push(cells);
    }
    let mut text = text::columns(&lines);
    // Writing to a string does not fail.
    let _ = writeln!(text);
    for how in [Use::Confirmed, Use::Inferred, Use::Unproven, Use::Shared, Use::Never] {
        let count = rows.iter().filter(|line| line.used.how() == how).count();
        let _ = writeln!(text, "{count:6} rows {}", meaning(how));
    }
    let dead: Vec<Vec<String>> = rows
        .iter()
        .filter(|line| line.is_dead())
        .map(|line| {
            let hard = match reach::best(&reach::limits(line.row, &names)) {
                Best::Never => "its use could not be proven",
                _ => "",
            };
            let cells = text::documented(line.row);
            vec![format!("  {}:{}", line.table, line.number), cells, hard.to_owned()]
        })
        .collect();
    if !dead.is_empty() {
        let _ = writeln!(
            text,
            "\nNo flow of these rows is in the reports. They may be closed if the captures saw every VM they name, \
             for long enough, and no flow was left out with --only, --in-scope or --filter:"
        );
        text.push_str(&text::columns(&dead));
    }
    let disputed: Vec<String> = rows
        .iter()
        .filter(|line| line.used.how() == Use::Never && line.used.is_disputed())
        .map(|line| format!("{}:{}", line.table, line.number))
        .collect();
    if !disputed.is_empty() {
        let rows = clean_line(&disputed.join(" "));
        let _ = writeln!(
            text,
            "\nNever used as documented, but violations came close on their ports; settle those before closing: {rows}"
        );
    }
    let hidden =
        rows.iter().filter(|line| line.used.how() == Use::Never && line.stays_out_of_sight()).count();
    if hidden > 0 {
        let _ = writeln!(
            text,
            "\n{hidden} rows never used stay inside their VM, where a network capture does not see them."
        );
    }
    let violations: u64 = rows.iter().map(|line| line.used.violations()).sum();
    let _ = writeln!(
        text,
        "\n{} flows; {violations} violations close to a row, {} to none{}",
        coverage.flows,
        coverage.without_row,
        match coverage.interim {
            0 => String::new(),
            interim => format!("; {interim} interim rows passed over"),
        }
    );
    text
}

fn meaning(how: Use) -> &'static str {
    match how {
        Use::Confirmed => "confirmed: some flow in every column",
        Use::Inferred => "inferred: some flow allowed, some column by inference",
        Use::Unproven => "unproven: flows that may be theirs, none proven",
        Use::Shared => "shared: only flows that another row decides",
        Use::Never => "never used",
    }
}
