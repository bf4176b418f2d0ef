//! `policy lint`: what is odd, grouped by what it is, with the rows and their lines.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;

use super::{LintArguments, Status, complain, tables, text};
use crate::inventory::{Inventory, Names};
use crate::policy::lint::{Oddity, lint};
use crate::policy::reach::{self, Best, Limit};
use crate::policy::{RowRef, Table};
use crate::report::clean;

pub(super) fn run(arguments: &LintArguments) -> Result<Status, Box<dyn Error>> {
    let tables = tables(&arguments.tables)?;
    let (inventory, names) = Inventory::read(&arguments.inventory)?;
    for conflict in inventory.conflicts() {
        complain(&format!("warning: {conflict}"));
    }
    let found = lint(&tables, &names, (!inventory.is_empty()).then_some(&inventory))?;
    // Rows said twice and shadowed each have another row of their own: they stand under one heading.
    let mut headings: Vec<(String, Vec<String>)> = Vec::new();
    let (mut odd, mut hints) = (0, 0);
    for (oddity, rows) in &found {
        *(if oddity.is_hint() { &mut hints } else { &mut odd }) += rows.len();
        let (heading, with) = words(oddity, &tables);
        let lines: Vec<String> = match oddity.is_hint() {
            true => vec![format!("  {with}{}", references(rows, &tables))],
            false => rows.iter().map(|at| format!("  {}{with}", reference(*at, &tables))).collect(),
        };
        match headings.last_mut() {
            Some((last, under)) if *last == heading => under.extend(lines),
            _ => headings.push((heading, lines)),
        }
    }
    let mut shown = String::new();
    for (heading, lines) in headings {
        // Writing to a string does not fail.
        let _ = writeln!(shown, "{heading}\n{}\n", lines.join("\n"));
    }
    shown.push_str(&summary(&tables, &names, odd, hints));
    text::print(shown.as_bytes())?;
    Ok(if odd > 0 { Status::Reported } else { Status::Clean })
}

/// The heading an oddity stands under, and what its line says besides the row.
fn words(oddity: &Oddity, tables: &[Table]) -> (String, String) {
    let named = |name: &str| format!("`{}`: ", clean(name));
    let other = |words: &str, at: RowRef| format!("\n    {words} {}", reference(at, tables));
    match oddity {
        Oddity::Duplicate { of } => ("rows said twice".to_owned(), other("says what is said by", *of)),
        Oddity::Shadowed { by } => {
            ("rows that another row covers wholly".to_owned(), other("covered by", *by))
        }
        Oddity::VmNotInInventory(name) => (
            format!("no VM of the inventory is `{}`: what names it stays unseen", clean(name)),
            String::new(),
        ),
        Oddity::JobNotInInventory(name) => {
            (format!("no VM of the inventory runs `{}`", clean(name)), String::new())
        }
        Oddity::Never(limit) => (format!("no capture can confirm: {limit}"), String::new()),
        Oddity::NeedsKeys(limit) => {
            (format!("no capture can confirm without session keys: {limit}"), String::new())
        }
        Oddity::UnknownVm(name) => (
            "hint: VM names that the map of names does not list, taken as they stand".to_owned(),
            named(name),
        ),
        Oddity::UnknownComponent(name) => (
            "hint: components that the map of names does not list, taken as jobs of the same name".to_owned(),
            named(name),
        ),
        Oddity::Limited(limit) => (format!("hint: {limit}"), String::new()),
    }
}

/// `loggregator:6 (loggregator.csv line 7): a | b | …`
fn reference(at: RowRef, tables: &[Table]) -> String {
    let table = &tables[at.table];
    let row = &table.rows[at.row];
    let (name, file) = (clean(&table.name), clean(&table.file));
    format!("{name}:{} ({file} line {}): {}", at.row + 1, row.line, text::documented(row))
}

/// `loggregator:1-3,6 log-cache:2`
fn references(rows: &[RowRef], tables: &[Table]) -> String {
    let mut by_table: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
    for at in rows {
        let runs = by_table.entry(at.table).or_default();
        match runs.last_mut() {
            Some((_, last)) if *last == at.row => *last = at.row + 1,
            Some((_, last)) if *last == at.row + 1 => {}
            _ => runs.push((at.row + 1, at.row + 1)),
        }
    }
    let of_table = |(table, runs): (usize, Vec<(usize, usize)>)| {
        let run = |(first, last): (usize, usize)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        };
        let runs: Vec<String> = runs.into_iter().map(run).collect();
        format!("{}:{}", clean(&tables[table].name), runs.join(","))
    };
    by_table.into_iter().map(of_table).collect::<Vec<_>>().join(" ")
}

/// How far the rows can be proven, by what limits each most.
fn summary(tables: &[Table], names: &Names, odd: usize, hints: usize) -> String {
    let mut by_limit: BTreeMap<(Best, Option<Limit>), usize> = BTreeMap::new();
    for row in tables.iter().flat_map(|table| &table.rows) {
        let limits = reach::limits(row, names);
        *by_limit.entry((reach::best(&limits), limits.first().copied())).or_default() += 1;
    }
    let mut lines = vec![["rows", "at best", "since"].map(str::to_owned).to_vec()];
    lines.extend(by_limit.iter().map(|((best, limit), rows)| {
        let why = limit.map_or_else(|| "in clear".to_owned(), |limit| limit.to_string());
        vec![rows.to_string(), best.to_string(), why]
    }));
    let rows: usize = by_limit.values().sum();
    format!("{}\n{rows} rows: {odd} found, {hints} hints\n", text::columns(&lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_rows_are_written_short() {
        let tables = Table::built_in().unwrap();
        let at = |table, row| RowRef { table, row };
        assert_eq!(
            references(&[at(0, 0), at(0, 1), at(0, 2), at(0, 5), at(1, 1)], &tables),
            "loggregator:1-3,6 log-cache:2"
        );
    }
}
