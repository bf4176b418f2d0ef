//! `captures/MANIFEST.csv` is the list of what `captures/` holds, and between them the captures show
//! every row of the two documented tables.

mod common;

use std::collections::BTreeSet;
use std::fs;

use common::capture;

#[test]
fn manifest_and_folder_agree() {
    let mut listed: BTreeSet<String> = rows().into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(listed.len(), rows().len(), "a file is listed twice");
    listed.extend(["MANIFEST.csv".to_owned(), "record".to_owned()]);
    let present: BTreeSet<String> = fs::read_dir(capture(""))
        .expect("captures/ is there")
        .map(|entry| entry.expect("it lists").file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(listed, present);
}

#[test]
fn every_documented_row_has_a_matching_capture() {
    let shown: BTreeSet<String> = rows()
        .iter()
        .filter(|row| row[0].starts_with("match_") || row[0].starts_with("grpc_"))
        .flat_map(|row| row[2].split(' ').map(str::to_owned).collect::<Vec<_>>())
        .filter(|row| !row.is_empty())
        .collect();
    let loggregator = (1..=11).map(|row| format!("L{row}"));
    let log_cache = (1..=5).map(|row| format!("C{row}"));
    assert_eq!(shown, loggregator.chain(log_cache).collect());
}

/// The manifest's rows: `file, shows, rows, expected, recorded, cut, source`.
fn rows() -> Vec<[String; 7]> {
    let mut reader = csv::Reader::from_path(capture("MANIFEST.csv")).expect("it opens");
    reader.deserialize().map(|row| row.expect("seven cells")).collect()
}
