//! A connection that is silent: what it counted apart from what it has in common with others.

use super::Parser;
use crate::protocol::Requests;

/// Counters that are not zero, of as many as connections have as a rule.
#[derive(Clone, Copy, Debug)]
pub(in crate::protocol) struct Counts {
    /// A bit for each.
    which: u16,
    values: [u32; 7],
}

impl Parser {
    /// Takes out what was counted; `None` if that is more than a few numbers.
    pub(in crate::protocol) fn take_counts(&mut self) -> Option<Counts> {
        let mut counts = Counts { which: 0, values: [0; 7] };
        let mut values = counts.values.iter_mut();
        let counters = counters(&mut self.evidence.requests);
        for (at, counter) in counters.iter().enumerate().filter(|(_, counter)| ***counter > 0) {
            counts.which |= 1 << at;
            *values.next()? = **counter;
        }
        for counter in counters {
            *counter = 0;
        }
        Some(counts)
    }

    /// Puts back what was taken out.
    pub(in crate::protocol) fn put_counts(&mut self, counts: &Counts) {
        let mut values = counts.values.iter();
        for (at, counter) in counters(&mut self.evidence.requests).into_iter().enumerate() {
            if counts.which & 1 << at != 0 {
                *counter = values.next().copied().unwrap_or(0);
            }
        }
    }
}

fn counters(requests: &mut Requests) -> [&mut u32; 10] {
    let Requests { read, bearer, basic, other, signed, none, unread: _, .. } = requests;
    let Requests { status_401, status_403, status_404, status_other, .. } = requests;
    [read, bearer, basic, other, signed, none, status_401, status_403, status_404, status_other]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn counts_come_back_where_they_were(values in proptest::array::uniform10(prop_oneof![Just(0), any::<u32>()])) {
            let mut parser = Parser::new();
            for (counter, value) in counters(&mut parser.evidence.requests).into_iter().zip(values) {
                *counter = value;
            }
            let before = parser.clone();
            let few = values.iter().filter(|value| **value > 0).count() <= 7;
            match parser.take_counts() {
                Some(counts) => {
                    prop_assert_eq!(&parser, &Parser::new());
                    parser.put_counts(&counts);
                }
                None => prop_assert!(!few),
            }
            prop_assert_eq!(parser, before);
        }
    }
}
