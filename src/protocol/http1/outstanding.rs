//! The requests whose answers have not come yet.

use super::OUTSTANDING_CAP;
use super::head::Kind;

/// Their kinds, oldest first: a bit each in two words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Outstanding {
    heads: u64,
    connects: u64,
    count: u8,
    /// Whether answers can still be matched with requests.
    in_step: bool,
    /// Answers that were read before their requests: the two sides are not in step in a capture.
    early: u32,
}

// One bit of a word a request.
const _: () = assert!(OUTSTANDING_CAP == u64::BITS as usize);

impl Default for Outstanding {
    fn default() -> Outstanding {
        Outstanding { heads: 0, connects: 0, count: 0, in_step: true, early: 0 }
    }
}

impl Outstanding {
    pub(super) fn asked(&mut self, kind: Kind) {
        if self.early > 0 {
            self.early -= 1;
        } else if usize::from(self.count) == OUTSTANDING_CAP {
            self.in_step = false;
        } else {
            self.heads |= u64::from(kind == Kind::Head) << self.count;
            self.connects |= u64::from(kind == Kind::Connect) << self.count;
            self.count += 1;
        }
    }

    pub(super) fn answered(&mut self) -> Kind {
        if !self.in_step {
            return Kind::Other;
        }
        if self.count == 0 {
            self.early = self.early.saturating_add(1);
            return Kind::Other;
        }
        let kind = match (self.heads & 1, self.connects & 1) {
            (1, _) => Kind::Head,
            (_, 1) => Kind::Connect,
            _ => Kind::Other,
        };
        self.heads >>= 1;
        self.connects >>= 1;
        self.count -= 1;
        kind
    }

    pub(super) fn lose_step(&mut self) {
        self.in_step = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    proptest! {
        #[test]
        fn kinds_come_back_in_order(
            steps in proptest::collection::vec(proptest::option::of(0usize..3), 0..400),
        ) {
            let (mut outstanding, mut expected) = (Outstanding::default(), VecDeque::new());
            for step in steps {
                match step {
                    Some(kind) if expected.len() < OUTSTANDING_CAP => {
                        let kind = [Kind::Other, Kind::Head, Kind::Connect][kind];
                        outstanding.asked(kind);
                        expected.push_back(kind);
                    }
                    None if !expected.is_empty() => {
                        prop_assert_eq!(Some(outstanding.answered()), expected.pop_front());
                    }
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn what_is_out_of_step_says_nothing() {
        let mut outstanding = Outstanding::default();
        assert_eq!(outstanding.answered(), Kind::Other);
        // The request of the answer before.
        outstanding.asked(Kind::Head);
        outstanding.asked(Kind::Connect);
        assert_eq!(outstanding.answered(), Kind::Connect);
        (0..=OUTSTANDING_CAP).for_each(|_| outstanding.asked(Kind::Head));
        assert_eq!(outstanding.answered(), Kind::Other, "one was too many");
    }
}
