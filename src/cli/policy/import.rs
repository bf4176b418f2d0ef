//! `policy import`: a page in, tables out.

use std::error::Error;
use std::io::Read;
use std::path::Path;

use super::{ImportArguments, Status, complain, text};
use crate::cli::whole::is_none_of;
use crate::policy::import::{Imported, PAGE_CAP, import};

pub(super) fn run(arguments: &ImportArguments) -> Result<Status, Box<dyn Error>> {
    let name = arguments.page.as_str();
    is_none_of(arguments.output.as_deref(), [&arguments.page])?;
    let page = read(name).map_err(|error| format!("{name}: {error}"))?;
    let tables = import(&page).map_err(|error| format!("{name}: {error}"))?;
    let mut status = Status::Clean;
    for table in &tables {
        if !table.filled.is_empty() {
            complain(&format!(
                "{name}: table `{}`: the page has no column {}; filled in, and said in the notes",
                table.name,
                table.filled.join(", ")
            ));
        }
        for wrong in table.not_understood() {
            complain(&format!(
                "{name}: table `{}`, row {}, column `{}`: `{}` is not understood; mend it before use: expected {}",
                table.name, wrong.row, wrong.column, wrong.cell, wrong.expected
            ));
            status = Status::Reported;
        }
    }
    let output = arguments.output.as_deref().filter(|output| *output != "-");
    let folder =
        output.filter(|output| output.ends_with('/') || tables.len() > 1 || Path::new(output).is_dir());
    match (folder, tables.as_slice()) {
        (None, [table]) => text::write(output, &csv(table)?)?,
        (None, _) => {
            let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
            return Err(format!(
                "{name}: {} tables ({}) do not go into one; name a folder for them with -o",
                names.len(),
                names.join(", ")
            )
            .into());
        }
        (Some(folder), tables) => {
            std::fs::create_dir_all(folder)
                .map_err(|error| format!("{folder}: {error}; name a folder with -o"))?;
            for table in tables {
                let file = Path::new(folder).join(format!("{}.csv", table.name)).display().to_string();
                text::write(Some(&file), &csv(table)?)?;
                super::super::note(&format!("{file}: {} rows", table.rows.len()));
            }
        }
    }
    Ok(status)
}

fn csv(table: &Imported) -> Result<Vec<u8>, csv::Error> {
    let header: Vec<&str> = text::headers(&[]).collect();
    let rows = table
        .rows
        .iter()
        .map(|(cells, note)| cells.iter().map(String::as_str).chain([note.as_str()]).collect::<Vec<_>>());
    text::csv([header].into_iter().chain(rows))
}

fn read(name: &str) -> Result<String, Box<dyn Error>> {
    let input: Box<dyn Read> = match name {
        "-" => Box::new(std::io::stdin().lock()),
        file => Box::new(std::fs::File::open(file)?),
    };
    let mut bytes = Vec::new();
    let more = u64::try_from(PAGE_CAP)?.saturating_add(1);
    input.take(more).read_to_end(&mut bytes)?;
    String::from_utf8(bytes).map_err(|error| match error.utf8_error().valid_up_to() {
        // Cut within a character by the cap on what is read.
        at if at + 4 > PAGE_CAP => format!("more than {PAGE_CAP} bytes; import the page in parts").into(),
        at => format!("byte {at}: not UTF-8; save the page as UTF-8").into(),
    })
}
