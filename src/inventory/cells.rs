//! CSV with named columns in any order and case, and the line every record is on.

use csv::{ReaderBuilder, StringRecord, Trim};

use super::error::{InventoryError, Place, quoted};

/// Where the known columns stand in one file.
pub(super) struct Columns {
    positions: Vec<Option<usize>>,
}

impl Columns {
    /// Whether the file has the known column at this index.
    pub(super) fn has(&self, known: usize) -> bool {
        self.positions.get(known).is_some_and(Option::is_some)
    }
}

/// One record of the file.
pub(super) struct Row<'a> {
    /// The line it starts on, from 1.
    pub(super) line: u64,
    record: &'a StringRecord,
    columns: &'a Columns,
}

impl Row<'_> {
    /// The trimmed cell of the known column at this index; empty when the file has no such column.
    pub(super) fn cell(&self, known: usize) -> &str {
        let position = self.columns.positions.get(known).copied().flatten();
        position.and_then(|n| self.record.get(n)).unwrap_or_default()
    }
}

/// Reads a CSV file whose header names some of the columns in `known` (lower case), and no others.
///
/// `header` judges which columns are there; `each` takes one record. Lines starting `#`, blank lines
/// and records whose cells are all empty are passed over.
pub(super) fn read(
    file: &str,
    text: &str,
    known: &[&str],
    header: impl Fn(&Columns) -> Result<(), String>,
    mut each: impl FnMut(Row<'_>) -> Result<(), InventoryError>,
) -> Result<(), InventoryError> {
    let advice = format!("the columns are {}, in any order", known.join(", "));
    let fail = |line, what| InventoryError {
        file: file.to_owned(),
        place: Place::line(line),
        what,
        advice: advice.clone(),
    };
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .comment(Some(b'#'))
        .flexible(true)
        .trim(Trim::All)
        .from_reader(text.as_bytes());
    let mut record = StringRecord::new();
    let mut columns: Option<(Columns, usize)> = None;
    // Reading from text in memory cannot fail: the bytes are UTF-8 and record lengths are flexible.
    while reader.read_record(&mut record).map_err(|error| fail(1, error.to_string()))? {
        let line = line_of(text, &record);
        let Some((columns, width)) = &columns else {
            let found = locate(&record, known).map_err(|what| fail(line, what))?;
            header(&found).map_err(|what| fail(line, what))?;
            columns = Some((found, record.len()));
            continue;
        };
        if record.iter().all(str::is_empty) {
            continue;
        }
        if record.len() != *width {
            let what = format!("{} cells where the header has {width}", record.len());
            return Err(fail(line, what));
        }
        each(Row { line, record: &record, columns })?;
    }
    match columns {
        Some(_) => Ok(()),
        None => Err(fail(1, "no header line".to_owned())),
    }
}

/// The cells of one header line, trimmed and in lower case.
pub(super) fn header(line: &str) -> Vec<String> {
    line.split(',').map(|cell| cell.trim().trim_matches('"').trim().to_ascii_lowercase()).collect()
}

fn locate(header: &StringRecord, known: &[&str]) -> Result<Columns, String> {
    let mut positions = vec![None; known.len()];
    for (n, cell) in header.iter().enumerate() {
        let name = cell.to_ascii_lowercase();
        let Some(slot) = known.iter().position(|k| *k == name).and_then(|k| positions.get_mut(k)) else {
            return Err(format!("unknown column {}", quoted(cell)));
        };
        if slot.replace(n).is_some() {
            return Err(format!("column {} twice", quoted(cell)));
        }
    }
    Ok(Columns { positions })
}

/// The reader's own position is where it began to look: before comments and blank lines it then passed.
fn line_of(text: &str, record: &StringRecord) -> u64 {
    let Some(position) = record.position() else { return 1 };
    let start = usize::try_from(position.byte()).unwrap_or(usize::MAX);
    let passed = text.get(start..).unwrap_or_default().split('\n');
    let passed = passed.take_while(|line| line.starts_with('#') || line.trim_end_matches('\r').is_empty());
    position.line().saturating_add(passed.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(text: &str) -> Result<Vec<(u64, String, String)>, InventoryError> {
        let mut rows = Vec::new();
        read(
            "f.csv",
            text,
            &["a", "b"],
            |_| Ok(()),
            |row| {
                rows.push((row.line, row.cell(0).to_owned(), row.cell(1).to_owned()));
                Ok(())
            },
        )?;
        Ok(rows)
    }

    fn row(line: u64, a: &str, b: &str) -> (u64, String, String) {
        (line, a.to_owned(), b.to_owned())
    }

    #[test]
    fn counts_lines_past_comments_blanks_and_quotes() {
        let text = "# who\nB, A\n\n# x\n1,2\n\"three\nlines\",4\n,\n5,6\n";
        let expected = vec![row(5, "2", "1"), row(6, "4", "three\nlines"), row(9, "6", "5")];
        assert_eq!(lines(text), Ok(expected.clone()));
        assert_eq!(
            lines(&text.replace('\n', "\r\n")).map(|rows| rows.iter().map(|r| r.0).collect::<Vec<_>>()),
            Ok(vec![5, 6, 9])
        );
    }

    #[test]
    fn says_what_is_wrong_with_the_header() {
        let text = |result: Result<_, InventoryError>| result.map(|_: Vec<_>| ()).unwrap_err().to_string();
        assert_eq!(
            text(lines("a,c\n")),
            "f.csv: line 1: unknown column \"c\"; the columns are a, b, in any order"
        );
        assert_eq!(
            text(lines("a,A\n")),
            "f.csv: line 1: column \"A\" twice; the columns are a, b, in any order"
        );
        assert_eq!(
            text(lines("a\n1,2\n")),
            "f.csv: line 2: 2 cells where the header has 1; the columns are a, b, in any order"
        );
        assert_eq!(text(lines("\n#\n")), "f.csv: line 1: no header line; the columns are a, b, in any order");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*|[ab,\"#\r\n;]{0,60}") {
            let _ = lines(&text);
            let _ = lines(&format!("a,b\n{text}"));
        }

        #[test]
        fn lines_are_right_for_plain_rows(gaps in prop::collection::vec(0usize..3, 1..8)) {
            let mut text = "a,b\n".to_owned();
            let mut expected = Vec::new();
            let mut line = 2;
            for (n, gap) in gaps.iter().enumerate() {
                text.push_str(&"#\n".repeat(*gap));
                line += *gap as u64;
                text.push_str(&format!("{n},x\n"));
                expected.push(row(line, &n.to_string(), "x"));
                line += 1;
            }
            prop_assert_eq!(lines(&text), Ok(expected));
        }
    }
}
