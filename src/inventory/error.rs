//! The one error of this room: which file, where in it, what is wrong, what to do.

use std::fmt;
use std::num::NonZeroU64;

/// An inventory file that cannot be read or does not say what it must.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {place}{what}; {advice}")]
pub struct InventoryError {
    /// The file, as the user named it.
    pub file: String,
    /// Where in the file.
    pub place: Place,
    /// What was found and what was expected.
    pub what: String,
    /// What the user can do about it.
    pub advice: String,
}

/// A place in a text file, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1.
    pub line: Option<NonZeroU64>,
    /// Column, from 1.
    pub column: Option<NonZeroU64>,
    /// The path of a value inside JSON or YAML, such as `Tables[0].Rows[2].ips`.
    pub path: Option<String>,
}

impl Place {
    /// A line, from 1; 0 means unknown.
    pub(super) fn line(line: u64) -> Place {
        Place { line: NonZeroU64::new(line), ..Place::default() }
    }

    /// A line and a column, both from 1; 0 means unknown.
    pub(super) fn line_and_column(line: u64, column: u64) -> Place {
        Place { line: NonZeroU64::new(line), column: NonZeroU64::new(column), path: None }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}")?;
            if let Some(column) = self.column {
                write!(f, ", column {column}")?;
            }
            f.write_str(": ")?;
        }
        if let Some(path) = &self.path {
            write!(f, "{path}: ")?;
        }
        Ok(())
    }
}

/// Text from a file as it may stand in an error: quoted, control characters escaped, cut when long.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 80;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_file_the_place_and_the_remedy() {
        let mut place = Place::line_and_column(3, 7);
        place.path = Some("Tables[0].Rows[2].ips".to_owned());
        let error = InventoryError {
            file: "vms.json".to_owned(),
            place,
            what: "\"x\" is not an IP address".to_owned(),
            advice: "write one".to_owned(),
        };
        assert_eq!(
            error.to_string(),
            "vms.json: line 3, column 7: Tables[0].Rows[2].ips: \"x\" is not an IP address; write one"
        );
    }

    #[test]
    fn quotes_hostile_text() {
        assert_eq!(quoted("a\u{1b}[2Jb"), "\"a\\u{1b}[2Jb\"");
        let long = "é".repeat(200);
        assert_eq!(quoted(&long).chars().count(), 83);
    }
}
