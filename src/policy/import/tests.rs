use proptest::prelude::*;

use super::*;

/// The two tables of the page, as text copied from it.
const PAGE: &str = include_str!("../../../tests/pages/loggregator.txt");

fn rows_of(table: &super::super::Table) -> Vec<([String; 6], String)> {
    table.rows.iter().map(|row| (row.cells.clone(), row.note.clone())).collect()
}

fn are_the_built_in_tables(imported: &[Imported]) {
    let built_in = super::super::Table::built_in().unwrap();
    assert_eq!(imported.len(), built_in.len());
    for (imported, built_in) in imported.iter().zip(&built_in) {
        assert_eq!(imported.name, built_in.name);
        assert_eq!(imported.rows, rows_of(built_in));
        assert!(imported.not_understood().is_empty() && imported.filled.is_empty());
    }
}

#[test]
fn the_page_as_text_gives_the_built_in_tables_cell_for_cell() {
    are_the_built_in_tables(&import(PAGE).unwrap());
}

/// The page the product was asked for, where it lies beside the project.
#[test]
fn the_page_itself_gives_the_built_in_tables_cell_for_cell() {
    let seeds = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/seeds");
    let Ok(folder) = std::fs::read_dir(&seeds) else {
        println!("skipped the_page_itself_gives_the_built_in_tables_cell_for_cell: no ../shared/seeds");
        return;
    };
    let page: String = folder.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    are_the_built_in_tables(&import(&page).unwrap());
}

#[test]
fn the_page_as_markdown_and_as_html_gives_the_same() {
    let title = |line: &str| line.ends_with("Communications") && !line.contains('|');
    let markdown: String = PAGE
        .lines()
        .map(|line| match line {
            _ if title(line) => format!("## <a id='x'></a> {line} {{#x}}\n\n"),
            _ if line.starts_with('*') => format!("{}\n", line.replace('*', "\\*")),
            _ if line.contains('|') => {
                format!("| {}\n", line.replace('*', "\\*").replace("gorouter", "`gorouter`"))
            }
            _ => format!("{line}\n\n"),
        })
        .collect();
    are_the_built_in_tables(&import(&markdown).unwrap());

    let mut html = String::from("<html><head><style>td{}</style></head><body>");
    let mut in_table = false;
    for line in PAGE.lines().filter(|line| !line.starts_with("---")) {
        let is_row = line.contains('|');
        if is_row != in_table {
            html.push_str(if is_row { "<table border=1>\n" } else { "</table>\n" });
            in_table = is_row;
        }
        if is_row {
            let cells = line.trim_end_matches(['|', ' ']).split('|').map(|cell| {
                let cell = cell.trim().replace("Any*", "Any<sup>&#42;</sup>");
                format!("<td>{cell}</td>")
            });
            html.push_str(&format!("<tr>{}</tr>\n", cells.collect::<String>()));
        } else if title(line) {
            html.push_str(&format!("<h2 id='x'>{line}</h2>\n"));
        } else {
            html.push_str(&format!("<p>{line}</p>\n"));
        }
    }
    are_the_built_in_tables(&import(&html).unwrap());
}

fn one(page: &str) -> Imported {
    let mut tables = import(page).unwrap();
    assert_eq!(tables.len(), 1, "{tables:?}");
    tables.remove(0)
}

#[test]
fn the_older_headers_are_read_and_what_they_leave_out_is_noted() {
    let five = one(
        "Source VM | Destination VM | Port | Protocol | Security and Authentication\na | b | 1 | HTTP | None\n",
    );
    assert_eq!(five.rows[0].0, ["a", "b", "1", "TCP", "HTTP", "None"]);
    assert_eq!(five.rows[0].1, "the page documents no transport: TCP is assumed");
    assert_eq!(five.filled, ["Transport Layer Protocol"]);
    let six = one(
        "Source VM | Destination VM | Port | Transport Layer Protocol | App Layer Protocol | Authentication\n\
         a | b | 1 | UDP | DNS | None\n",
    );
    assert_eq!(six.rows[0].0, ["a", "b", "1", "UDP", "DNS", "None"]);
    let tile =
        one("Source Component | Destination Component | Default TCP Port | Notes\na | b | 1 | see there\n");
    assert_eq!(tile.rows[0].0, ["a", "b", "1", "TCP", "Varies", "N/A"]);
    assert!(tile.rows[0].1.starts_with("see there; "), "{}", tile.rows[0].1);
    assert!(tile.not_understood().is_empty());
}

const SIX: &str = "Source VM | Destination VM | Port | Transport Layer Protocol | App Layer Protocol | Security and Authentication\n";

#[test]
fn footnotes_go_to_the_rows_that_bear_their_mark() {
    let page = format!(
        "{SIX}Any** | a | 1 | TCP | HTTP | None\nb | mysql* | 1 | TCP | HTTP | Mutual TLS†\nb | c*** | 1 | TCP | HTTP | None\n\
         *Only with internal MySQL.\n** Any source VM can send requests within its subnet.\n†Of the app.\n"
    );
    let rows = one(&page).rows;
    assert_eq!(rows[0].0[0], "Any*", "whatever the mark, the subnet is meant");
    assert_eq!(rows[0].1, "** Any source VM can send requests within its subnet.");
    assert_eq!((rows[1].0[1].as_str(), rows[1].0[5].as_str()), ("mysql", "Mutual TLS"));
    assert_eq!(rows[1].1, "*Only with internal MySQL. †Of the app.");
    assert_eq!((rows[2].0[1].as_str(), rows[2].1.as_str()), ("c***", ""), "a mark without a footnote stays");
}

#[test]
fn any_with_another_meaning_is_kept_and_said_not_to_be_understood() {
    let page = format!(
        "{SIX}syslog_adapter | Any** | Any*** | TCP | HTTPS | TLS\n**Any host configured by a user.\n***Any port.\n"
    );
    let table = one(&page);
    assert_eq!(table.rows[0].0[1..3], ["Any**", "Any***"]);
    let wrong = table.not_understood();
    assert_eq!(wrong.len(), 1);
    assert_eq!((wrong[0].row, wrong[0].column, wrong[0].cell.as_str()), (1, "Destination VM", "Any**"));
}

#[test]
fn tables_are_named_after_their_headings_and_never_twice() {
    assert_eq!(name("Log Cache Communications"), "log-cache");
    assert_eq!(name("Container-to-Container Network: Communications!"), "container-to-container");
    assert_eq!(name("../../etc/passwd"), "etc-passwd");
    assert_eq!(name("Communications"), "table");
    let page = format!("Same\n{SIX}a | b | 1 | TCP | HTTP | None\n\n{SIX}a | b | 1 | TCP | HTTP | None\n");
    let names: Vec<String> = import(&page).unwrap().into_iter().map(|table| table.name).collect();
    assert_eq!(names, ["same", "same-2"]);
}

#[test]
fn what_is_no_documented_table_is_refused_by_name() {
    assert_eq!(import("no table here"), Err(ImportError::NoTable));
    assert_eq!(import("a | b\n1 | 2\n"), Err(ImportError::NoTable));
    let error = import(&format!("{SIX}a | b | 1\n")).unwrap_err().to_string();
    assert!(error.starts_with("table `table`, row 1: 3 cells under a header of 6"), "{error}");
}

#[test]
fn everything_that_grows_is_capped() {
    let row = "a | b | 1 | TCP | HTTP | None\n";
    let long = format!("{SIX}{}", row.repeat(ROWS_CAP + 1));
    assert!(matches!(import(&long), Err(ImportError::TooMuch { what: "rows in a table", .. })));
    let many = format!("{SIX}{row}\nx\n").repeat(TABLES_CAP + 1);
    assert!(matches!(import(&many), Err(ImportError::TooMuch { what: "tables in the page", .. })));
    let wide = format!("{SIX}{} | b | 1 | TCP | HTTP | None\n", "a".repeat(CELL_CAP + 1));
    assert!(matches!(import(&wide), Err(ImportError::TooMuch { what: "bytes in a cell", .. })));
}

proptest! {
    #[test]
    fn any_page_is_imported_or_refused(body in "([a-z*†|<>/&;#\n ]|table|tr|td|Any|\\PC){0,120}") {
        for page in [
            body.clone(),
            format!("{SIX}{body}"),
            format!("<table><tr><td>Source VM<td>Destination VM<td>Port</tr>{body}</table>{body}"),
        ] {
            if let Ok(tables) = import(&page) {
                for table in tables {
                    prop_assert!(!table.name.is_empty() && !table.name.contains(['/', '.', ':', ' ']));
                    let _ = table.not_understood();
                }
            }
        }
    }
}
