//! Hostile text made harmless: for terminals, for spreadsheets, and for whoever reads along.

use std::fmt::{self, Write};

/// The longest text shown from the wire or from an operator's file, in characters.
const SHOWN: usize = 255;

/// Text with control characters and direction overrides written as `\u{…}`, and cut when very long.
pub fn clean(text: &str) -> impl fmt::Display + '_ {
    Clean(text)
}

/// The same for bytes, with those that are no UTF-8 written as `\xNN`.
pub fn clean_bytes(bytes: &[u8]) -> impl fmt::Display + '_ {
    CleanBytes(bytes)
}

/// A line for a terminal, of any length: an error, which names files and what they hold.
pub fn clean_line(text: &str) -> String {
    text.chars()
        .map(|c| if is_harmless(c) { c.to_string() } else { c.escape_unicode().to_string() })
        .collect()
}

/// A field of a CSV file made from what others wrote, of any length: harmless, and no formula.
pub fn clean_field(text: &str) -> String {
    let mut field = clean_line(text);
    if is_formula(field.as_bytes()) {
        field.insert(0, '\'');
    }
    field
}

/// A field that begins like this is a formula to a spreadsheet; `-` alone, standard input, is none.
pub(super) fn is_formula(field: &[u8]) -> bool {
    matches!(field, [b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r' | b'\n', ..]) && field != b"-"
}

/// Short text of printable ASCII, which nearly all is: there is nothing to escape in it.
#[inline]
pub(super) fn is_plain(text: &[u8]) -> bool {
    // Without a way out of the middle, so that many bytes are looked at together.
    text.len() < SHOWN && text.iter().fold(true, |plain, byte| plain & is_printable(*byte))
}

fn is_printable(byte: u8) -> bool {
    (b' '..=b'~').contains(&byte)
}

struct Clean<'a>(&'a str);

impl fmt::Display for Clean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut budget = SHOWN;
        write_clean(self.0, &mut budget, f)
    }
}

struct CleanBytes<'a>(&'a [u8]);

impl fmt::Display for CleanBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut budget = SHOWN;
        for chunk in self.0.utf8_chunks() {
            write_clean(chunk.valid(), &mut budget, f)?;
            for byte in chunk.invalid() {
                if budget == 0 {
                    return Ok(());
                }
                budget -= 1;
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

fn write_clean(text: &str, budget: &mut usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut rest = text;
    while *budget > 0 {
        // What is plain need not be looked at character by character; what may be the last one is.
        let plain = rest.bytes().take(*budget - 1).take_while(|byte| is_printable(*byte)).count();
        let (plain, others) = rest.split_at_checked(plain).unwrap_or((rest, ""));
        f.write_str(plain)?;
        *budget -= plain.len();
        let mut characters = others.chars();
        let Some(character) = characters.next() else { break };
        rest = characters.as_str();
        *budget -= 1;
        if *budget == 0 {
            return f.write_char('…');
        }
        if is_harmless(character) {
            f.write_char(character)?;
        } else {
            write!(f, "{}", character.escape_unicode())?;
        }
    }
    Ok(())
}

/// Neither a control character nor one that changes how what follows is shown.
fn is_harmless(character: char) -> bool {
    let reorders = matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let invisible = matches!(
        character,
        '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2028}' | '\u{2029}' | '\u{2060}' | '\u{feff}'
    );
    !(character.is_control() || reorders || invisible)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escape_sequences_and_overrides_are_spelled_out() {
        assert_eq!(clean("a\u{1b}[31mb").to_string(), "a\\u{1b}[31mb");
        assert_eq!(clean("\u{202e}exe").to_string(), "\\u{202e}exe");
        assert_eq!(clean_bytes(b"ok\xff\n").to_string(), "ok\\xff\\u{a}");
        assert_eq!(clean("naïve ✓").to_string(), "naïve ✓");
    }

    #[test]
    fn very_long_text_is_cut() {
        let long = "x".repeat(100_000);
        assert_eq!(clean(&long).to_string().chars().count(), SHOWN);
        assert!(clean_bytes(&[0xff; 100_000]).to_string().len() <= SHOWN * 4);
    }

    proptest! {
        #[test]
        fn nothing_unprintable_gets_through(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let shown = clean_bytes(&bytes).to_string();
            prop_assert!(shown.chars().all(is_harmless));
        }
    }
}
