//! `policy list` and `policy show`.

use std::collections::BTreeMap;
use std::error::Error;

use super::{ShowArguments, Status, tables, text};
use crate::policy::Table;

pub(super) fn list() -> Result<Status, Box<dyn Error>> {
    let mut lines = vec![["NAME", "ROWS", "HOLDS"].map(str::to_owned).to_vec()];
    let mut sets: BTreeMap<&str, (usize, Vec<String>)> = BTreeMap::new();
    for name in Table::shipped_names() {
        let rows = Table::load(name)?.iter().map(|table| table.rows.len()).sum::<usize>();
        match name.split_once('/') {
            None => {
                lines.push(vec![name.to_owned(), rows.to_string(), "in force without --policy".to_owned()])
            }
            Some((set, page)) => {
                let (count, pages) = sets.entry(set).or_default();
                *count += rows;
                pages.push(format!("{page} {rows}"));
            }
        }
    }
    for (set, (rows, pages)) in sets {
        lines.push(vec![set.to_owned(), rows.to_string(), format!("{} tables, as SET/TABLE:", pages.len())]);
        lines.extend(pages.chunks(6).map(|pages| vec![String::new(), String::new(), pages.join(", ")]));
    }
    text::print(text::columns(&lines).as_bytes())?;
    Ok(Status::Clean)
}

pub(super) fn show(arguments: &ShowArguments) -> Result<Status, Box<dyn Error>> {
    let tables = tables(&arguments.tables)?;
    if arguments.csv {
        let header: Vec<String> = text::headers(&["Table", "Row"]).map(str::to_owned).collect();
        let rows = tables.iter().flat_map(|table| {
            table.rows.iter().enumerate().map(|(index, row)| {
                let mut cells = row.cells.to_vec();
                cells.extend([row.note.clone(), table.name.clone(), (index + 1).to_string()]);
                cells
            })
        });
        text::print(&text::csv([header].into_iter().chain(rows))?)?;
        return Ok(Status::Clean);
    }
    let mut shown = String::new();
    for table in &tables {
        let title = [vec![format!("{}, {} rows", table.name, table.rows.len())]];
        shown.push_str(&text::columns(&title));
        let header = ["", "SOURCE", "DESTINATION", "PORT", "TRANSPORT", "APPLICATION", "SECURITY", "NOTE"];
        let mut lines = vec![header.map(str::to_owned).to_vec()];
        for (index, row) in table.rows.iter().enumerate() {
            let mut cells = vec![(index + 1).to_string()];
            cells.extend(row.cells.iter().cloned());
            cells.push(row.note.clone());
            lines.push(cells);
        }
        shown.push_str(&text::columns(&lines));
        shown.push('\n');
    }
    text::print(shown.as_bytes())?;
    Ok(Status::Clean)
}
