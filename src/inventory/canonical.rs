//! The one spelling in which instance groups, jobs and deployments are compared.

use std::borrow::Cow;

/// The canonical form of a BOSH name: lower case, with `_` written `-`.
///
/// That is how the Director itself spells names in DNS records
/// (`src/bosh-director/lib/bosh/director/canonicalizer.rb`), so `diego_cell`, `diego-cell` and
/// `Diego_Cell` are one name. A blank is written `-` too: no BOSH name has one, and the documented
/// component names (`Route Registrar`) then read as the job they name (`route_registrar`).
pub fn canonical(name: &str) -> Cow<'_, str> {
    let name = name.trim();
    if name.chars().all(|c| !c.is_uppercase() && c != '_' && !c.is_whitespace()) {
        return Cow::Borrowed(name);
    }
    let mut text = String::with_capacity(name.len());
    for c in name.chars() {
        if c == '_' || c.is_whitespace() {
            text.push('-');
        } else {
            text.extend(c.to_lowercase());
        }
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_spelling_for_all() {
        assert_eq!(canonical("diego_cell"), "diego-cell");
        assert_eq!(canonical(" Diego_Cell\t"), "diego-cell");
        assert_eq!(canonical("Route Registrar"), "route-registrar");
        assert!(matches!(canonical("log-cache"), Cow::Borrowed("log-cache")));
    }

    proptest! {
        #[test]
        fn canonical_of_ascii_is_stable(name in "[ -~]{0,40}") {
            let once = canonical(&name).into_owned();
            prop_assert_eq!(canonical(&once).into_owned(), once.clone());
        }
    }
}
