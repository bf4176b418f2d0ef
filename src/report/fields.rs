//! The fields of one CSV record, appended to a buffer: quoted as the `csv` crate quotes, and no formulas.

use super::escape::is_formula;
use super::text::Text;

/// Appends the fields of one record, one after the other.
pub(super) struct Fields<'b> {
    out: &'b mut Text,
}

impl<'b> Fields<'b> {
    /// Begins a record at the end of `out`.
    pub(super) fn new(out: &'b mut Text) -> Fields<'b> {
        Fields { out }
    }

    /// A field of our own words, which needs no quotes and is no formula.
    #[inline]
    pub(super) fn word(&mut self, word: &str) {
        self.out.word(word);
        self.end();
    }

    /// A number, or nothing.
    #[inline]
    pub(super) fn number(&mut self, number: u64) {
        self.out.number(number);
        self.end();
    }

    /// A field that was made by [`field`] before.
    #[inline]
    pub(super) fn made(&mut self, field: &[u8]) {
        self.out.put(field);
        self.end();
    }

    /// Fields that were made before, each with its comma.
    #[inline]
    pub(super) fn several(&mut self, fields: &[u8]) {
        self.out.put(fields);
    }

    /// How much was put so far.
    pub(super) fn length(&self) -> usize {
        self.out.length()
    }

    /// What is appended needs no quotes and is no formula.
    #[inline]
    pub(super) fn harmless(&mut self, append: impl FnOnce(&mut Text)) {
        append(self.out);
        self.end();
    }

    /// What is appended holds words of others, which [`Text::clean`] made printable.
    #[inline]
    pub(super) fn text(&mut self, append: impl FnOnce(&mut Text)) {
        let start = self.out.length();
        append(self.out);
        guard(self.out, start);
        self.end();
    }

    /// The same, of text that as a rule needs quotes, or needs none, and nothing else: `append` says whether it does.
    #[inline]
    pub(super) fn sentences(&mut self, quoted: bool, append: impl FnOnce(&mut Text) -> bool) {
        let start = self.out.length();
        if quoted {
            self.out.byte(b'"');
        }
        match (append(self.out), quoted) {
            (true, true) => self.out.byte(b'"'),
            (true, false) => {}
            (false, _) => {
                if quoted {
                    self.out.remove(start);
                }
                guard(self.out, start);
            }
        }
        self.end();
    }

    /// Ends the record. It has two fields or more.
    #[inline]
    pub(super) fn finish(self) {
        self.out.cut(self.out.length() - 1);
        self.out.byte(b'\n');
    }

    #[inline]
    fn end(&mut self) {
        self.out.byte(b',');
    }
}

/// Whether text becomes a field by putting quotes around it; `None` if that would not do.
pub(super) fn needs_only_quotes(field: &[u8]) -> Option<bool> {
    // A hyphen alone is no formula, but whatever goes on with one is.
    let is_plain = !is_formula(field) && field != b"-" && memchr::memchr(b'"', field).is_none();
    is_plain.then(|| needs_quotes(field))
}

/// Whether text behind what needs quotes, or needs none, changes nothing of that.
pub(super) fn goes_on(quoted: bool, text: &[u8]) -> bool {
    text.is_empty() || memchr::memchr(b'"', text).is_none() && (quoted || !needs_quotes(text))
}

/// One field as it stands in a record of several.
pub(super) fn field(put: impl FnOnce(&mut Text)) -> Box<[u8]> {
    let mut out = Text::default();
    put(&mut out);
    guard(&mut out, 0);
    out.as_bytes().into()
}

/// Makes what stands behind `start` a field: no formula, and in quotes where it needs them.
#[inline]
fn guard(out: &mut Text, start: usize) {
    let field = &out.as_bytes()[start..];
    if field.is_empty() {
        return;
    }
    let (formula, quotes) = (is_formula(field), needs_quotes(field));
    if formula || quotes {
        mend(out, start, formula, quotes);
    }
}

/// A byte that a reader would take for something else than the field's text.
#[inline]
fn needs_quotes(field: &[u8]) -> bool {
    // Without a way out of the middle, so that many bytes are looked at together.
    field.iter().fold(false, |needs, byte| needs | matches!(byte, b',' | b'"' | b'\n' | b'\r'))
}

fn mend(out: &mut Text, start: usize, formula: bool, quotes: bool) {
    if formula {
        out.insert(start, b"'");
    }
    if !quotes {
        return;
    }
    if memchr::memchr(b'"', &out.as_bytes()[start..]).is_some() {
        let field = out.as_bytes()[start..].to_vec();
        out.cut(start);
        for byte in field {
            // A quote inside is written twice (RFC 4180 section 2).
            out.put(if byte == b'"' { b"\"\"" } else { std::slice::from_ref(&byte) });
        }
    }
    out.insert(start, b"\"");
    out.byte(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn fields_are_those_of_the_csv_crate(
            texts in prop::collection::vec("[ -~]{0,20}|[,\"\r\n'=@+-]{0,6}|\\PC{0,40}", 2..8),
            numbers in prop::collection::vec(any::<u64>(), 0..3),
        ) {
            let mut out = Text::default();
            out.word("before\n");
            let mut fields = Fields::new(&mut out);
            let mut expected = csv::Writer::from_writer(b"before\n".to_vec());
            for text in &texts {
                fields.text(|out| out.word(text));
                let quoted = needs_only_quotes(text.as_bytes());
                fields.sentences(quoted == Some(true), |out| {
                    out.word(text);
                    quoted.is_some()
                });
                let (first, rest) = text.split_at(text.floor_char_boundary(text.len() / 2));
                let quoted = needs_only_quotes(first.as_bytes()).filter(|_| !first.is_empty());
                fields.sentences(quoted == Some(true), |out| {
                    out.word(text);
                    quoted.is_some_and(|quoted| goes_on(quoted, rest.as_bytes()))
                });
                let formula = text != "-" && text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
                let text = if formula { format!("'{text}") } else { text.clone() };
                fields.made(&field(|out| out.word(&text)));
                for _ in 0..4 {
                    expected.write_field(&text).unwrap();
                }
            }
            for number in numbers {
                fields.number(number);
                fields.word("word");
                fields.harmless(|out| out.number(number));
                expected.write_field(number.to_string()).unwrap();
                expected.write_field("word").unwrap();
                expected.write_field(number.to_string()).unwrap();
            }
            fields.finish();
            expected.write_record(None::<&[u8]>).unwrap();
            let expected = expected.into_inner().unwrap();
            prop_assert_eq!(out.as_bytes(), &expected[..]);
        }
    }
}
