//! `flowaudit policy`: the tables themselves, looked at, checked, imported, compared and drafted.

mod coverage;
mod diff;
mod draft;
mod import;
mod lint;
mod show;
mod text;

use std::error::Error;

use clap::{Args, Subcommand};

use super::{Status, complain, plan};
use crate::policy::Table;

#[derive(Debug, Args)]
pub(super) struct PolicyArguments {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// List the tables and sets that come with the program.
    List,
    /// Show the rows of tables.
    Show(ShowArguments),
    /// Find rows said twice or covered by others, names that nobody knows, and rows that no capture can confirm.
    ///
    /// Exit status: 0 nothing found (hints aside), 1 something found, 2 an error.
    Lint(LintArguments),
    /// Make tables of a documented page: HTML, Markdown, or text with `|` between the cells.
    ///
    /// Footnotes go to the Note column of the rows that bear their mark. Exit status: 0 usable as it is, 1 some
    /// cells have to be mended first, 2 an error.
    Import(ImportArguments),
    /// Show what changed from one version of tables to another.
    ///
    /// Exit status, as of diff: 0 no difference in the six columns, 1 some, 2 an error.
    Diff(DiffArguments),
    /// Say from reports which rows were used, how well that was proven, and which never were.
    Coverage(CoverageArguments),
    /// Draft a table from captured traffic, for review.
    ///
    /// One row for each communication whose direction is known and that came about; what is not proven is marked
    /// in its note. An audit by the draft finds no violation in the flows that are in it.
    Draft(DraftArguments),
}

#[derive(Debug, Args)]
struct ShowArguments {
    /// Tables, sets, CSV files or folders of them.
    #[arg(required = true, value_name = "NAME|FILE|DIR")]
    tables: Vec<String>,
    /// Write CSV, which is valid input of --policy.
    #[arg(long)]
    csv: bool,
}

#[derive(Debug, Args)]
struct LintArguments {
    /// Tables, sets, CSV files or folders of them.
    #[arg(required = true, value_name = "NAME|FILE|DIR")]
    tables: Vec<String>,
    /// Hold names against these inventory files; a CSV map of names adds to the shipped one.
    #[arg(long, value_name = "FILE")]
    inventory: Vec<String>,
}

#[derive(Debug, Args)]
struct ImportArguments {
    /// The page; `-` is standard input.
    #[arg(value_name = "FILE")]
    page: String,
    /// Write here: a file for one table, a folder for several. [default: standard output]
    #[arg(short = 'o', long, value_name = "FILE|DIR")]
    output: Option<String>,
}

#[derive(Debug, Args)]
struct DiffArguments {
    /// The old version: a table, set, CSV file or folder.
    #[arg(value_name = "OLD")]
    old: String,
    /// The new version.
    #[arg(value_name = "NEW")]
    new: String,
}

#[derive(Debug, Args)]
struct CoverageArguments {
    /// Reports that `check` or `live` wrote with -o, without --only.
    #[arg(required = true, value_name = "REPORT")]
    reports: Vec<String>,
    /// The tables the reports were made with. [default: both built-in tables]
    #[arg(long, value_name = "NAME|FILE|DIR")]
    policy: Vec<String>,
    /// Write CSV.
    #[arg(long)]
    csv: bool,
}

#[derive(Debug, Args)]
struct DraftArguments {
    /// pcap or pcapng files, also in gzip or zstd; `-` is standard input.
    #[arg(required = true, value_name = "CAPTURE")]
    captures: Vec<String>,
    /// Who is who; without it rows name addresses.
    #[arg(long, value_name = "FILE")]
    inventory: Vec<String>,
    /// Draft only from packets that this pcap-filter(7) expression matches.
    #[arg(long, value_name = "BPF")]
    filter: Option<String>,
    /// Write the table here. [default: standard output]
    #[arg(short = 'o', long, value_name = "FILE")]
    output: Option<String>,
}

pub(super) fn run(arguments: &PolicyArguments) -> Result<Status, Box<dyn Error>> {
    match &arguments.command {
        PolicyCommand::List => show::list(),
        PolicyCommand::Show(arguments) => show::show(arguments),
        PolicyCommand::Lint(arguments) => lint::run(arguments),
        PolicyCommand::Import(arguments) => import::run(arguments),
        PolicyCommand::Diff(arguments) => diff::run(arguments),
        PolicyCommand::Coverage(arguments) => coverage::run(arguments),
        PolicyCommand::Draft(arguments) => draft::run(arguments),
    }
}

fn tables(arguments: &[String]) -> Result<Vec<Table>, Box<dyn Error>> {
    if arguments.is_empty() { Ok(Table::built_in()?) } else { plan::named_tables(arguments) }
}
