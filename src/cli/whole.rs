//! Files that a reader finds whole, or whole up to a row, whatever becomes of who writes them.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::audit::Plan;
use crate::report::{Account, RowStatistics};

/// What a file that is being written ends in.
pub(super) const PART: &str = "part";
/// What stands beside a report, behind its name.
pub(super) const BESIDE: [&str; 2] = ["account.csv", "rows.csv"];

/// Where packets went and what rows saw, beside a report in a file; beside a pipe or a device there is no place.
///
/// # Errors
/// A folder that cannot be written to, or has no room.
pub(super) fn beside(
    report: &Path,
    plan: &Plan,
    account: &Account,
    rows: &RowStatistics,
) -> Result<(), String> {
    if is_no_file(report) {
        return Ok(());
    }
    let [account_file, rows_file] = BESIDE.map(|suffix| with_suffix(report, suffix));
    replace(&account_file, |file| Ok(account.write(file)?))?;
    replace(&rows_file, |file| Ok(rows.write(&plan.policy, file)?))
}

/// Writes a small file whole or not at all: what a reader finds under `name` is never half of it. What is no file
/// is written as it is.
///
/// # Errors
/// A folder that cannot be written to.
pub(super) fn replace(name: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), String> {
    if is_no_file(name) {
        let written = File::create(name).and_then(|mut file| write(&mut file));
        return written.map_err(|error| cannot_write(name, &error));
    }
    // A link stays one.
    let file = fs::canonicalize(name).unwrap_or_else(|_| name.to_owned());
    let part = with_suffix(&file, PART);
    let written =
        File::create(&part).and_then(|mut opened| write(&mut opened)).and_then(|()| fs::rename(&part, &file));
    written.map_err(|error| {
        // Left behind, it would be in the way of nothing but a tidy folder.
        let _ = fs::remove_file(&part);
        cannot_write(name, &error)
    })
}

/// `name` with `.suffix` behind it.
pub(super) fn with_suffix(name: &Path, suffix: &str) -> PathBuf {
    let mut name = name.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

/// What cutting a file behind its last whole row left.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Whole rows, the header not counted.
    pub(super) rows: u64,
    /// Bytes behind them.
    pub(super) lost: u64,
}

/// Cuts a CSV file behind its last whole row. A line break within quotes ends no row.
pub(super) fn cut(path: &Path) -> io::Result<Cut> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut reader = BufReader::with_capacity(1 << 16, &file);
    let (mut quoted, mut at, mut whole, mut lines) = (false, 0, 0, 0_u64);
    let mut buffer = [0; 1 << 14];
    loop {
        let count = reader.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        for byte in &buffer[..count] {
            at += 1;
            match byte {
                b'"' => quoted = !quoted,
                b'\n' if !quoted => (whole, lines) = (at, lines + 1),
                _ => {}
            }
        }
    }
    if whole < at {
        file.set_len(whole)?;
    }
    Ok(Cut { rows: lines.saturating_sub(1), lost: at - whole })
}

/// Refuses to write over what is read.
///
/// # Errors
/// The report, or what stands beside it, is one of these files.
pub(super) fn is_none_of<'a>(
    output: Option<&str>,
    read: impl IntoIterator<Item = &'a String>,
) -> Result<(), String> {
    let file = |path: &Path| fs::metadata(path).ok().filter(fs::Metadata::is_file);
    let Some(output) = output.filter(|output| *output != "-").map(Path::new) else { return Ok(()) };
    let written: Vec<_> = [output.to_owned()]
        .into_iter()
        .chain(BESIDE.map(|suffix| with_suffix(output, suffix)))
        .filter_map(|path| Some((file(&path)?, path)))
        .collect();
    for name in read {
        let Some(about) = file(Path::new(name)) else { continue };
        let same =
            |(other, _): &&(fs::Metadata, PathBuf)| (other.dev(), other.ino()) == (about.dev(), about.ino());
        if let Some((_, path)) = written.iter().find(same) {
            return Err(format!(
                "{}: would be written over {name}, which is read; name another file",
                path.display()
            ));
        }
    }
    Ok(())
}

/// Something to write to that is there and is no file, or another name of what is open already.
pub(super) fn is_no_file(path: &Path) -> bool {
    let is_open =
        ["/dev/stdout", "/dev/stderr", "/dev/fd", "/proc"].iter().any(|open| path.starts_with(open));
    is_open || fs::metadata(path).is_ok_and(|about| !about.is_file())
}

/// The one line that a file which cannot be written is told by.
pub(super) fn cannot_write(file: &Path, error: &dyn fmt::Display) -> String {
    format!(
        "{}: cannot be written: {error}; name a file in a folder that exists, has room and may be written to",
        file.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn cut_anywhere_a_report_keeps_exactly_its_whole_rows(
            rows in proptest::collection::vec(proptest::collection::vec("[a\",\n]{0,6}", 3), 1..6),
            at in 0.0..1.0,
        ) {
            let (mut writer, mut ends) = (csv::Writer::from_writer(Vec::new()), Vec::new());
            for row in &rows {
                writer.write_record(row).unwrap();
                writer.flush().unwrap();
                ends.push(writer.get_ref().len());
            }
            let bytes = writer.into_inner().unwrap();
            let kept = (bytes.len() as f64 * at) as usize;
            let path = std::env::temp_dir().join(format!("flowaudit-cut-{}", std::process::id()));
            fs::write(&path, &bytes[..kept]).unwrap();
            let whole = ends.iter().rposition(|end| *end <= kept);
            let end = whole.map_or(0, |whole| ends[whole]);
            prop_assert_eq!(cut(&path).unwrap(), Cut { rows: whole.unwrap_or(0) as u64, lost: (kept - end) as u64 });
            prop_assert_eq!(fs::read(&path).unwrap(), &bytes[..end]);
            fs::remove_file(&path).unwrap();
        }
    }
}
