//! A page as a row of blocks: headings, lines of text, and tables of cells.

use super::{CELLS_CAP, HEADER_WITHIN, ROWS_CAP, html};

/// One piece of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// A heading that the page marks as one.
    Heading(String),
    /// A line.
    Text(String),
    /// Rows of cells.
    Table(Vec<Vec<String>>),
}

/// A line longer than this is no title.
const TITLE_CAP: usize = 80;

/// Rows kept of a table: enough to tell that there are too many.
pub(super) const KEPT_ROWS: usize = ROWS_CAP + HEADER_WITHIN + 1;

/// Gives the blocks of a page, HTML or not, in order.
///
/// Markdown may hold HTML tables, and HTML may have been copied as text, so that both are read wherever they stand.
pub(super) fn blocks(page: &str, each: &mut dyn FnMut(Block)) {
    if html::is_html(page) {
        html::pieces(page, &mut |piece| match piece {
            Block::Text(text) => lines(&text, each),
            other => each(other),
        });
    } else {
        lines(page, each);
    }
}

/// A line that stands as a title: short, and no sentence.
pub(super) fn is_title(line: &str) -> bool {
    line.chars().count() <= TITLE_CAP && !line.ends_with(['.', ':', ';', ','])
}

fn lines(text: &str, each: &mut dyn FnMut(Block)) {
    let mut table: Vec<Vec<String>> = Vec::new();
    for line in text.lines() {
        let line = line.trim();
        match cells(line) {
            Some(cells) if is_rule(&cells) => {}
            Some(cells) if table.len() < KEPT_ROWS => table.push(cells),
            Some(_) => {}
            None => {
                if !table.is_empty() {
                    each(Block::Table(std::mem::take(&mut table)));
                }
                if let Some(heading) = heading(line) {
                    each(Block::Heading(heading));
                } else if !line.is_empty() {
                    each(Block::Text(plain(line)));
                }
            }
        }
    }
    if !table.is_empty() {
        each(Block::Table(table));
    }
}

/// The cells of a line with `|` between them; a `|` behind a backslash belongs to its cell.
fn cells(line: &str) -> Option<Vec<String>> {
    let mut cells = vec![String::new()];
    let (mut escaped, mut count) = (false, 1);
    for character in line.chars() {
        match (character, cells.last_mut()) {
            ('|', _) if !escaped && count <= CELLS_CAP => {
                cells.push(String::new());
                count += 1;
            }
            ('|', Some(cell)) if escaped => {
                // The backslash is not the cell's.
                cell.pop();
                cell.push('|');
            }
            (_, Some(cell)) => cell.push(character),
            (_, None) => {}
        }
        escaped = character == '\\' && !escaped;
    }
    // One at the beginning and one at the end of a line are its borders.
    if cells.len() > 1 && line.ends_with('|') {
        cells.pop();
    }
    if cells.len() > 1 && line.starts_with('|') {
        cells.remove(0);
    }
    (cells.len() > 1).then(|| cells.iter().map(|cell| plain(cell)).collect())
}

/// The line between header and rows: `---|:---:|---`.
fn is_rule(cells: &[String]) -> bool {
    cells.iter().all(|cell| !cell.is_empty() && cell.chars().all(|c| matches!(c, '-' | ':' | ' ')))
        && cells.iter().any(|cell| cell.contains('-'))
}

/// `## Loggregator Communications`, with whatever `{#anchor}` or link stands beside it.
fn heading(line: &str) -> Option<String> {
    let words = line.trim_start_matches('#');
    if words.len() == line.len() || !words.starts_with([' ', '<']) {
        return None;
    }
    let words = words.split(" {#").next().unwrap_or(words);
    Some(plain(words.trim_end_matches('#')))
}

/// A piece of Markdown or text as its words: no tags, entities, backslashes, emphasis, or runs of blanks.
fn plain(text: &str) -> String {
    let text = html::text(text);
    let mut words = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, characters.peek()) {
            ('\\', Some(next)) if next.is_ascii_punctuation() => {}
            _ => words.push(character),
        }
    }
    let mut words = words.trim();
    for around in ["**", "`"] {
        if let Some(inside) = words.strip_prefix(around).and_then(|rest| rest.strip_suffix(around))
            && !inside.is_empty()
            && !inside.contains(around)
        {
            words = inside.trim();
        }
    }
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(page: &str) -> Vec<Block> {
        let mut all = Vec::new();
        blocks(page, &mut |block| all.push(block));
        all
    }

    #[test]
    fn cells_are_split_at_bars() {
        let split = |line: &str| cells(line).unwrap_or_default();
        assert_eq!(split("a | b | c |"), ["a", "b", "c"]);
        assert_eq!(split("| a | b |"), ["a", "b"]);
        assert_eq!(split("|a||c|"), ["a", "", "c"]);
        assert_eq!(split(r"a \| b | **c** | `Any\*`"), ["a | b", "c", "Any*"]);
        assert_eq!(split("Any* | Any** | x"), ["Any*", "Any**", "x"]);
        assert_eq!(cells("no bar"), None);
        assert_eq!(cells("|"), None);
        assert!(is_rule(&split("---|:---:|---|")) && !is_rule(&split("-|a")));
    }

    #[test]
    fn headings_and_lines_stand_between_tables() {
        let page = "# One {#one}\nsome words\n\na | b\n---|---\nc | d\n*note\n## <a id=\"x\"></a> Two\n";
        let table = vec![vec!["a".to_owned(), "b".to_owned()], vec!["c".to_owned(), "d".to_owned()]];
        assert_eq!(
            all(page),
            [
                Block::Heading("One".to_owned()),
                Block::Text("some words".to_owned()),
                Block::Table(table),
                Block::Text("*note".to_owned()),
                Block::Heading("Two".to_owned()),
            ]
        );
    }

    proptest! {
        #[test]
        fn any_page_gives_blocks(page in "[a-c|*\\\\#<>&;/ \\-\n\\PC]{0,200}") {
            let _ = all(&page);
            let _ = all(&format!("<table>{page}"));
        }
    }
}
