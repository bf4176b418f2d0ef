//! Two versions of tables held against each other.

use std::collections::{BTreeMap, HashMap};

use super::{Row, Table};
use crate::inventory::canonical;

/// The differences of one page.
#[derive(Debug, Default)]
pub struct Page<'a> {
    /// Its name, without the set's.
    pub name: String,
    /// Only one of the two versions has the page at all.
    pub only_in: Option<Version>,
    /// What became of its rows, in the order of the old version, then what is new.
    pub changes: Vec<Change<'a>>,
}

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The first.
    Old,
    /// The second.
    New,
}

/// What became of a row; its number in its table is counted from 1.
#[derive(Debug)]
pub enum Change<'a> {
    /// The new version has it no more.
    Removed(usize, &'a Row),
    /// The new version has it.
    Added(usize, &'a Row),
    /// Both have it, and these columns differ.
    Changed {
        /// As it was.
        from: (usize, &'a Row),
        /// As it is.
        to: (usize, &'a Row),
        /// Indices of the six columns.
        columns: Vec<usize>,
    },
}

/// The pages that differ, by name.
///
/// Rows are matched by source, destination and port within a page; names that differ in case, `_` and `-` alone are
/// one name, and the spelling then shows as a changed cell. Notes are not compared: they are anybody's words. Two
/// single tables are one page, whatever their names.
pub fn diff<'a>(old: &'a [Table], new: &'a [Table]) -> Vec<Page<'a>> {
    if let ([old], [new]) = (old, new) {
        let page =
            Page { name: page_name(new).to_owned(), changes: rows(&old.rows, &new.rows), only_in: None };
        return [page].into_iter().filter(|page| !page.changes.is_empty()).collect();
    }
    let mut pages: BTreeMap<&str, [Option<&'a Table>; 2]> = BTreeMap::new();
    for (version, tables) in [old, new].into_iter().enumerate() {
        for table in tables {
            pages.entry(page_name(table)).or_default()[version] = Some(table);
        }
    }
    let pages = pages.into_iter().map(|(name, versions)| {
        let of = |version: Option<&'a Table>| version.map_or(&[][..], |table| &table.rows);
        Page {
            name: name.to_owned(),
            only_in: match versions {
                [Some(_), None] => Some(Version::Old),
                [None, Some(_)] => Some(Version::New),
                _ => None,
            },
            changes: rows(of(versions[0]), of(versions[1])),
        }
    });
    pages.filter(|page| !page.changes.is_empty()).collect()
}

fn page_name(table: &Table) -> &str {
    table.name.rsplit('/').next().unwrap_or(&table.name)
}

fn rows<'a>(old: &'a [Row], new: &'a [Row]) -> Vec<Change<'a>> {
    let mut by_key: HashMap<[String; 3], Vec<usize>> = HashMap::new();
    for (index, row) in new.iter().enumerate() {
        by_key.entry(key(row)).or_default().push(index);
    }
    // Rows that are the same find each other first, so that of several with one key none looks changed.
    let mut partner: Vec<Option<usize>> = vec![None; old.len()];
    for exactly in [true, false] {
        for (row, partner) in old.iter().zip(&mut partner).filter(|(_, partner)| partner.is_none()) {
            let Some(candidates) = by_key.get_mut(&key(row)) else { continue };
            let place = match exactly {
                true => candidates.iter().position(|&index| new[index].cells == row.cells),
                false => (!candidates.is_empty()).then_some(0),
            };
            *partner = place.map(|place| candidates.remove(place));
        }
    }
    let mut changes = Vec::new();
    for (index, (row, partner)) in old.iter().zip(&partner).enumerate() {
        let Some(partner) = *partner else {
            changes.push(Change::Removed(index + 1, row));
            continue;
        };
        let columns: Vec<usize> =
            (0..row.cells.len()).filter(|&column| row.cells[column] != new[partner].cells[column]).collect();
        if !columns.is_empty() {
            changes.push(Change::Changed {
                from: (index + 1, row),
                to: (partner + 1, &new[partner]),
                columns,
            });
        }
    }
    let mut added: Vec<usize> = by_key.into_values().flatten().collect();
    added.sort_unstable();
    changes.extend(added.into_iter().map(|index| Change::Added(index + 1, &new[index])));
    changes
}

fn key(row: &Row) -> [String; 3] {
    [0, 1, 2].map(|column| canonical(&row.cells[column]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::super::table::HEADERS;
    use super::*;
    use proptest::prelude::*;

    fn table(rows: &[&str]) -> Vec<Table> {
        let text = format!("{}\n{}\n", HEADERS.join(","), rows.join("\n"));
        vec![Table::parse("t.csv", "t", text.as_bytes()).unwrap()]
    }

    fn summary(old: &[&str], new: &[&str]) -> Vec<String> {
        let (old, new) = (table(old), table(new));
        diff(&old, &new)
            .iter()
            .flat_map(|page| &page.changes)
            .map(|change| match change {
                Change::Removed(row, _) => format!("-{row}"),
                Change::Added(row, _) => format!("+{row}"),
                Change::Changed { from, to, columns } => format!("{}>{} {columns:?}", from.0, to.0),
            })
            .collect()
    }

    #[test]
    fn rows_are_added_removed_and_changed() {
        let old = ["a,b,1,TCP,HTTP,None", "a,c,1,TCP,HTTP,None", "log-cache,b,1,TCP,HTTP,None"];
        let new = ["a,d,1,TCP,HTTP,None", "log_cache,b,1,TCP,HTTP,None", "a,b,1,TCP,HTTPS,TLS"];
        assert_eq!(summary(&old, &new), ["1>3 [4, 5]", "-2", "3>2 [0]", "+1"]);
        assert!(summary(&old, &old).is_empty());
    }

    #[test]
    fn rows_of_one_key_pair_with_their_equals_first() {
        let (http, https) = ("a,b,1,TCP,HTTP,None", "a,b,1,TCP,HTTPS,TLS");
        assert!(summary(&[http, https], &[https, http]).is_empty());
        assert_eq!(summary(&[http, http], &[http]), ["-2"]);
        assert_eq!(summary(&[http], &[http, https]), ["+2"]);
    }

    /// The changes of the Loggregator page between the two versions, as its history lists them: Log Cache on a VM of
    /// its own, the nozzle's row turned round, the syslog agent's row.
    #[test]
    fn the_two_shipped_versions_differ_as_the_page_s_history_says() {
        let (old, new) = (Table::load("pas-2.7").unwrap(), Table::load("tpcf-10.0").unwrap());
        let pages = diff(&old, &new);
        let rows = |name: &str, added: bool| -> Vec<String> {
            let page = pages.iter().find(|page| page.name == name).unwrap();
            page.changes
                .iter()
                .filter_map(|change| match change {
                    Change::Added(_, row) if added => Some(row.cells[..3].join(" | ")),
                    Change::Removed(_, row) if !added => Some(row.cells[..3].join(" | ")),
                    _ => None,
                })
                .collect()
        };
        assert_eq!(
            rows("loggregator", false),
            ["loggregator_trafficcontroller | doppler (Log Cache) | 8080"]
        );
        assert_eq!(rows("loggregator", true), ["loggregator_trafficcontroller | log_cache | 8080"]);
        assert_eq!(
            rows("log-cache", false),
            ["loggregator_trafficcontroller (Reverse Log Proxy) | log-cache (Nozzle) | 8082"]
        );
        assert_eq!(
            rows("log-cache", true),
            [
                "log_cache (Nozzle) | loggregator_trafficcontroller (Reverse Log Proxy) | 8082",
                "Any VM running Loggregator Syslog Agent | log_cache | 6067"
            ]
        );
    }

    proptest! {
        #[test]
        fn every_row_is_kept_changed_removed_or_added(
            old in proptest::collection::vec((0..3u8, 0..3u8), 1..8),
            new in proptest::collection::vec((0..3u8, 0..3u8), 1..8),
        ) {
            let cells = |rows: &[(u8, u8)]| -> Vec<String> {
                let applications = ["HTTP", "NATS", "DNS"];
                rows.iter().map(|(end, app)| format!("a,b{end},1,TCP,{},None", applications[usize::from(*app)])).collect()
            };
            let (old, new) = (cells(&old), cells(&new));
            let refs = |rows: &[String]| table(&rows.iter().map(String::as_str).collect::<Vec<_>>());
            let (old, new) = (refs(&old), refs(&new));
            let pages = diff(&old, &new);
            let changes: Vec<&Change<'_>> = pages.iter().flat_map(|page| &page.changes).collect();
            let removed = changes.iter().filter(|change| matches!(change, Change::Removed(..))).count();
            let added = changes.iter().filter(|change| matches!(change, Change::Added(..))).count();
            prop_assert_eq!(old[0].rows.len() - removed, new[0].rows.len() - added);
        }
    }
}
