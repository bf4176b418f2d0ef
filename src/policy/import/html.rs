//! As much of HTML as tables need: tags, entities, `rowspan` and `colspan`. Nothing is refused; what is not closed
//! ends with the page.

use super::page::{Block, KEPT_ROWS};
use super::{CELL_CAP, CELLS_CAP, PAGE_CAP};

/// The most rows one cell may span.
const SPAN_CAP: usize = 1000;
/// The longest entity looked for, in bytes: `&#x10FFFF;`.
const ENTITY_CAP: usize = 10;

/// There is an HTML table in it.
pub(super) fn is_html(page: &str) -> bool {
    page.as_bytes().windows(6).any(|window| window.eq_ignore_ascii_case(b"<table"))
}

/// Gives tables, headings, and the text between them, with lines where the page has blocks.
pub(super) fn pieces(page: &str, each: &mut dyn FnMut(Block)) {
    let mut text = String::new();
    let mut table: Option<Grid> = None;
    let mut in_heading = false;
    for token in Tokens::new(page) {
        match token {
            Token::Text(words) => match &mut table {
                Some(table) => table.text(words),
                None => text.push_str(&entities(words)),
            },
            Token::Tag { name, closing, attributes } => {
                if let Some(grid) = &mut table {
                    grid.tag(&name, closing, attributes);
                    if grid.depth == 0 {
                        table.take().into_iter().for_each(|grid| each(Block::Table(grid.finish())));
                    }
                    continue;
                }
                let heading = matches!(name.as_bytes(), [b'h', b'1'..=b'6']);
                if name == "table" || heading {
                    let before = std::mem::take(&mut text);
                    each(match in_heading {
                        true => Block::Heading(blanks(&before)),
                        false => Block::Text(before),
                    });
                    in_heading = heading && !closing;
                }
                match name.as_str() {
                    "table" if !closing => table = Some(Grid::default()),
                    "p" | "br" | "div" | "li" | "tr" | "section" | "hr" => text.push('\n'),
                    _ => {}
                }
            }
        }
    }
    each(Block::Text(text));
    table.into_iter().for_each(|grid| each(Block::Table(grid.finish())));
}

/// A piece of a page as its words: tags left out, entities decoded, runs of blanks made one.
pub(super) fn text(piece: &str) -> String {
    let mut words = String::new();
    for token in Tokens::new(piece) {
        match token {
            Token::Text(text) => words.push_str(&entities(text)),
            Token::Tag { name, .. } if matches!(name.as_str(), "br" | "p" | "li" | "div") => words.push(' '),
            Token::Tag { .. } => {}
        }
    }
    blanks(&words)
}

fn blanks(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A table being read.
#[derive(Default)]
struct Grid {
    depth: usize,
    begun: bool,
    rows: Vec<Vec<String>>,
    cell: Option<String>,
    span: (usize, usize),
    /// For each column, the text of a cell above and how many rows it still reaches down.
    hanging: Vec<(usize, String)>,
    /// Bytes that cells came to by reaching down or across.
    copied: usize,
}

impl Grid {
    fn text(&mut self, words: &str) {
        // One byte more than a cell may have tells that it is too long.
        if let Some(cell) = self.cell.as_mut().filter(|cell| cell.len() <= CELL_CAP) {
            cell.extend(entities(words).chars().take(CELL_CAP + 1));
        }
    }

    fn tag(&mut self, name: &str, closing: bool, attributes: &str) {
        if !self.begun {
            (self.begun, self.depth) = (true, 1);
        }
        match (name, closing) {
            ("table", false) => self.depth = self.depth.saturating_add(1),
            ("table", true) => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 0 {
                    self.end_row();
                }
            }
            // What is inside a table inside a cell is that cell's text.
            _ if self.depth > 1 => {}
            ("tr", false) => {
                self.end_row();
                if self.rows.len() < KEPT_ROWS {
                    self.rows.push(Vec::new());
                }
            }
            ("tr", true) => self.end_row(),
            ("td" | "th", false) => {
                self.end_cell();
                if self.rows.is_empty() {
                    self.rows.push(Vec::new());
                }
                self.cell = Some(String::new());
                let span = |name| attribute(attributes, name).unwrap_or(1).max(1);
                self.span = (span("rowspan").min(SPAN_CAP), span("colspan").min(CELLS_CAP));
            }
            ("td" | "th", true) => self.end_cell(),
            ("br" | "p" | "li" | "div", _) => {
                if let Some(cell) = &mut self.cell {
                    cell.push(' ');
                }
            }
            _ => {}
        }
    }

    fn end_cell(&mut self) {
        let Some(cell) = self.cell.take() else { return };
        self.fill();
        let Some(row) = self.rows.last_mut() else { return };
        let text = blanks(&cell);
        for across in 0..self.span.1 {
            // A row that is cut short here does not fit its header, which is said.
            if row.len() >= CELLS_CAP || self.copied > PAGE_CAP {
                return;
            }
            if self.span.0 > 1 {
                if self.hanging.len() <= row.len() {
                    self.hanging.resize(row.len() + 1, (0, String::new()));
                }
                self.hanging[row.len()] = (self.span.0 - 1, text.clone());
            }
            if across > 0 {
                self.copied += text.len();
            }
            row.push(text.clone());
        }
    }

    /// Takes over cells that reach down into this row, up to the next free place.
    fn fill(&mut self) {
        let Some(row) = self.rows.last_mut() else { return };
        while let Some((left, text)) = self.hanging.get_mut(row.len()).filter(|(left, _)| *left > 0) {
            if self.copied > PAGE_CAP {
                return;
            }
            *left -= 1;
            self.copied += text.len();
            row.push(text.clone());
        }
    }

    fn end_row(&mut self) {
        self.end_cell();
        // An empty row is none, and nothing reaches into it.
        if self.rows.last().is_some_and(|row| !row.is_empty()) {
            self.fill();
        } else {
            self.rows.pop();
        }
    }

    fn finish(mut self) -> Vec<Vec<String>> {
        self.end_row();
        self.rows
    }
}

enum Token<'a> {
    Text(&'a str),
    Tag { name: String, closing: bool, attributes: &'a str },
}

/// Tags and the text between them; comments, scripts and styles are left out.
struct Tokens<'a> {
    rest: &'a str,
    /// There is no `>` any more, so that every `<` is text.
    no_end: bool,
}

impl<'a> Tokens<'a> {
    fn new(page: &'a str) -> Tokens<'a> {
        Tokens { rest: page, no_end: false }
    }

    /// Everything up to `end` is passed over; without it, everything.
    fn pass(&mut self, end: &str) {
        let at = find_ignoring_case(self.rest, end);
        self.rest = at.map_or("", |at| &self.rest[at..]);
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            if self.rest.is_empty() {
                return None;
            }
            let begins_tag = |at: usize| {
                let next = self.rest.as_bytes().get(at + 1);
                !self.no_end
                    && next.is_some_and(|b| b.is_ascii_alphabetic() || matches!(b, b'/' | b'!' | b'?'))
            };
            let at = self.rest.match_indices('<').map(|(at, _)| at).find(|at| begins_tag(*at));
            match at {
                Some(0) => {}
                at => {
                    let (text, rest) = self.rest.split_at(at.unwrap_or(self.rest.len()));
                    self.rest = rest;
                    return Some(Token::Text(text));
                }
            }
            if self.rest.starts_with("<!--") {
                self.pass("-->");
                self.rest = self.rest.strip_prefix("-->").unwrap_or("");
                continue;
            }
            let Some(end) = self.rest.find('>') else {
                self.no_end = true;
                continue;
            };
            let inside = &self.rest[1..end];
            self.rest = &self.rest[end + 1..];
            let (closing, inside) = match inside.strip_prefix('/') {
                Some(inside) => (true, inside),
                None => (false, inside),
            };
            let length = inside.bytes().take_while(u8::is_ascii_alphanumeric).count();
            let (name, attributes) = inside.split_at(length);
            let name = name.to_ascii_lowercase();
            if !closing && matches!(name.as_str(), "script" | "style") {
                self.pass(if name == "script" { "</script" } else { "</style" });
            }
            return Some(Token::Tag { name, closing, attributes });
        }
    }
}

fn find_ignoring_case(text: &str, wanted: &str) -> Option<usize> {
    text.as_bytes().windows(wanted.len()).position(|window| window.eq_ignore_ascii_case(wanted.as_bytes()))
}

/// The number that an attribute holds.
fn attribute(attributes: &str, name: &str) -> Option<usize> {
    let after = &attributes[find_ignoring_case(attributes, name)? + name.len()..];
    let value = after.trim_start().strip_prefix('=')?.trim_start().trim_start_matches(['"', '\'']);
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    value[..digits].parse().ok()
}

/// Text with its character references decoded; what is none of them stays as it is.
fn entities(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        decoded.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.bytes().take(ENTITY_CAP).position(|byte| byte == b';');
        match end.and_then(|end| Some((end, entity(&rest[1..end])?))) {
            Some((end, character)) => {
                decoded.push(character);
                rest = &rest[end + 1..];
            }
            None => {
                decoded.push('&');
                rest = &rest[1..];
            }
        }
    }
    decoded.push_str(rest);
    decoded
}

fn entity(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16),
            None => number.parse(),
        };
        return char::from_u32(code.ok()?);
    }
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => ' ',
        "ast" => '*',
        "dagger" => '†',
        "Dagger" => '‡',
        "sect" => '§',
        "vert" => '|',
        "ndash" => '–',
        "mdash" => '—',
        "hyphen" => '-',
        "lowbar" => '_',
        "sol" => '/',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(page: &str) -> Vec<Block> {
        let mut all = Vec::new();
        pieces(page, &mut |piece| all.push(piece));
        all
    }

    fn tables(page: &str) -> Vec<Vec<Vec<String>>> {
        let table = |piece| match piece {
            Block::Table(rows) => Some(rows),
            _ => None,
        };
        all(page).into_iter().filter_map(table).collect()
    }

    #[test]
    fn cells_are_read_with_their_entities() {
        let page = "<TABLE class='a'><thead><tr><th>A&amp;B</th><th> x <sup>*</sup></th></tr></thead>\
                    <tr><td>1 &lt; 2<br/>3<td>&#42;&#x2020;&bogus;&</table>";
        assert_eq!(tables(page), [[["A&B", "x *"], ["1 < 2 3", "*†&bogus;&"]]]);
    }

    #[test]
    fn cells_reach_down_and_across() {
        let page = "<table><tr><td rowspan=\"2\">a<td>b<td rowspan=3>c<tr><td>d<tr><td colspan='2'>e</table>";
        assert_eq!(tables(page), [[["a", "b", "c"], ["a", "d", "c"], ["e", "e", "c"]]]);
    }

    #[test]
    fn spans_do_not_multiply_a_page() {
        let cell = format!("<td rowspan=1000 colspan=64>{}", "x".repeat(CELL_CAP));
        let rows = &tables(&format!("<table>{}</table>", format!("<tr>{cell}").repeat(900)))[0];
        let bytes: usize = rows.iter().flatten().map(String::len).sum();
        assert!(bytes <= PAGE_CAP + 900 * 2 * CELL_CAP, "{bytes}");
    }

    #[test]
    fn what_is_no_content_is_left_out() {
        let page = "<!-- <table><tr><td>no</table> --><script>'<table>'</script><table><tr><td>yes<!-- > --></td>\
                    <td>in<table><tr><td>side</table></td></tr></table>";
        assert_eq!(tables(page), [[["yes", "inside"]]]);
    }

    #[test]
    fn headings_and_text_are_kept_apart() {
        let page = "<h2>One\n<a></a>two</h2><p>words</p><table><tr><td>a</table><p>*note</p>";
        let pieces = all(page);
        assert!(pieces.contains(&Block::Heading("One two".to_owned())), "{pieces:?}");
        assert!(pieces.iter().any(|piece| matches!(piece, Block::Text(text) if text.contains("\n*note"))));
    }

    proptest! {
        #[test]
        fn any_text_is_read(page in "(<|>|/|!--|--|&|;|#|table|tr|td|th|rowspan|colspan|=|\"|script|[0-9]{1,6}|\\PC| ){0,60}") {
            let _ = all(&page);
            let _ = text(&page);
            for rows in tables(&format!("<table><tr><td {page}")) {
                prop_assert!(rows.iter().all(|row| row.len() <= CELLS_CAP));
            }
        }
    }
}
