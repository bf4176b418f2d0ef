//! The fields of one CSV record, appended to a buffer: quoted as the `csv` crate quotes, and no formulas.

use super::append::Append;
use super::escape::is_formula;

/// Appends the fields of one record, one after the other.
pub(super) struct Fields<'b> {
    out: &'b mut Vec<u8>,
}

impl<'b> Fields<'b> {
    /// Begins a record at the end of `out`.
    pub(super) fn new(out: &'b mut Vec<u8>) -> Fields<'b> {
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
        self.out.extend_from_slice(field);
        self.end();
    }

    /// What is appended needs no quotes and is no formula.
    #[inline]
    pub(super) fn harmless(&mut self, append: impl FnOnce(&mut Vec<u8>)) {
        append(self.out);
        self.end();
    }

    /// What is appended holds words of others, which [`Append::clean`] made printable.
    #[inline]
    pub(super) fn text(&mut self, append: impl FnOnce(&mut Vec<u8>)) {
        let start = self.out.len();
        append(self.out);
        guard(self.out, start);
        self.end();
    }

    /// Ends the record. It has two fields or more.
    #[inline]
    pub(super) fn finish(self) {
        if let Some(separator) = self.out.last_mut() {
            *separator = b'\n';
        }
    }

    #[inline]
    fn end(&mut self) {
        self.out.push(b',');
    }
}

/// One field as it stands in a record of several.
pub(super) fn field(append: impl FnOnce(&mut Vec<u8>)) -> Box<[u8]> {
    let mut out = Vec::new();
    append(&mut out);
    guard(&mut out, 0);
    out.into()
}

/// Makes what stands behind `start` a field: no formula, and in quotes where it needs them.
#[inline]
fn guard(out: &mut Vec<u8>, start: usize) {
    let Some(field) = out.get(start..).filter(|field| !field.is_empty()) else { return };
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

fn mend(out: &mut Vec<u8>, start: usize, formula: bool, quotes: bool) {
    let mark: &[u8] = match (quotes, formula) {
        (true, true) => b"\"'",
        (true, false) => b"\"",
        (false, _) => b"'",
    };
    if quotes && out.get(start..).is_some_and(|field| memchr::memchr(b'"', field).is_some()) {
        let field = out.split_off(start);
        out.extend_from_slice(mark);
        for byte in field {
            // A quote inside is written twice (RFC 4180 section 2).
            if byte == b'"' {
                out.push(b'"');
            }
            out.push(byte);
        }
    } else {
        out.splice(start..start, mark.iter().copied());
    }
    if quotes {
        out.push(b'"');
    }
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
            let mut out = b"before\n".to_vec();
            let mut fields = Fields::new(&mut out);
            let mut expected = csv::Writer::from_writer(b"before\n".to_vec());
            for text in &texts {
                fields.text(|out| out.word(text));
                let formula = text != "-" && text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
                let text = if formula { format!("'{text}") } else { text.clone() };
                fields.made(&field(|out| out.word(&text)));
                expected.write_field(&text).unwrap();
                expected.write_field(&text).unwrap();
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
            prop_assert_eq!(out, expected.into_inner().unwrap());
        }
    }
}
