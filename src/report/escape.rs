//! Hostile text made harmless: for terminals, for spreadsheets, and for whoever reads along.

use std::fmt::{self, Write};

/// The longest text shown from the wire or from an operator's file, in characters.
const SHOWN: usize = 255;
/// The longest line for a terminal, in characters: a path may have 4096 bytes.
const LINE: usize = 5000;

/// Text with control characters, direction overrides and what is invisible written as `\u{…}`, and cut when very
/// long.
pub fn clean(text: &str) -> impl fmt::Display + '_ {
    Clean(text, SHOWN)
}

/// The same for bytes, with those that are no UTF-8 written as `\xNN`.
pub fn clean_bytes(bytes: &[u8]) -> impl fmt::Display + '_ {
    CleanBytes(bytes)
}

/// A line for a terminal, longer than a name may be: an error, which names files and what they hold.
pub fn clean_line(text: &str) -> String {
    Clean(text, LINE).to_string()
}

/// A field of a CSV file made from what others wrote, of any length: harmless, and no formula.
pub fn clean_field(text: &str) -> String {
    let mut field = Clean(text, usize::MAX).to_string();
    if is_formula(field.as_bytes()) {
        field.insert(0, '\'');
    }
    field
}

/// A field that begins like this is a formula to a spreadsheet, some of which take full-width `＝＋－＠` for the
/// narrow ones; `-` alone, standard input, is none.
pub(super) fn is_formula(field: &[u8]) -> bool {
    match field {
        b"-" => false,
        [b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r' | b'\n', ..] => true,
        _ => ["＝", "＋", "－", "＠"].iter().any(|wide| field.starts_with(wide.as_bytes())),
    }
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

/// Text, and how much of it is shown.
struct Clean<'a>(&'a str, usize);

impl fmt::Display for Clean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut budget = self.1;
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

/// Neither a control character, nor one that changes how what follows is shown, nor one that is not shown itself:
/// Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt), separators of lines, annotations.
fn is_harmless(character: char) -> bool {
    let is_ignorable = matches!(
        character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
    );
    let is_special = matches!(character, '\u{2028}' | '\u{2029}' | '\u{fff9}'..='\u{fffb}');
    !(character.is_control() || is_ignorable || is_special)
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
    fn no_field_is_a_formula() {
        for formula in ["=1", "+1", "-1", "@a", "＝1", "＋1", "－1", "＠a"] {
            assert_eq!(clean_field(formula), format!("'{formula}"));
        }
        // What begins with a control character begins with `\\` once that is spelled out.
        assert_eq!(clean_field("\t=1"), "\\u{9}=1");
        assert_eq!((clean_field("-"), clean_field("a=1")), ("-".to_owned(), "a=1".to_owned()));
    }

    #[test]
    fn very_long_text_is_cut() {
        let long = "x".repeat(100_000);
        assert_eq!(clean(&long).to_string().chars().count(), SHOWN);
        assert_eq!(clean_line(&long).chars().count(), LINE);
        assert_eq!(clean_field(&long), long, "a table that is written is written whole");
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
