//! What all flows of a table may keep in memory together.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::reader::{Held, Reader, Shared};

/// Counts the bytes that streams and readers keep, and those that had to be given up.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) held: usize,
    pub(super) cap: usize,
    /// Times a flow had to give up bytes because the cap was reached.
    pub(super) refused: u64,
    /// Times a flow let go of bytes that were lent and acknowledged, and compared no more with them.
    pub(super) uncompared: u64,
    /// What of `held` was lent, and is kept to be compared.
    pub(super) lent: usize,
    /// How many readers keep what they have in common.
    shared: HashMap<u64, u32, RandomState>,
}

impl Budget {
    pub(super) fn new(cap: usize) -> Budget {
        Budget { held: 0, cap, refused: 0, uncompared: 0, lent: 0, shared: HashMap::default() }
    }

    /// What a reader keeps has changed since it kept `before`; `false` if it is to let go, since it grew and
    /// there is no room.
    #[must_use]
    pub(super) fn settle(&mut self, before: &Held, after: &Held) -> bool {
        if before == after {
            return true;
        }
        let held = self.held;
        self.held = (self.held + after.own).saturating_sub(before.own);
        for (before, after) in
            before.shared.iter().zip(&after.shared).filter(|(before, after)| before != after)
        {
            after.iter().for_each(|shared| self.share(shared));
            before.iter().for_each(|shared| self.unshare(shared));
        }
        self.held <= self.cap || self.held <= held
    }

    /// A reader is gone that kept this.
    pub(super) fn release(&mut self, held: &Held) {
        self.held = self.held.saturating_sub(held.own);
        held.shared.iter().flatten().for_each(|shared| self.unshare(shared));
    }

    /// Makes a reader let go of what it keeps.
    pub(super) fn refuse(&mut self, reader: &mut impl Reader) {
        self.refused += 1;
        self.release(&reader.held());
        reader.let_go();
    }

    fn share(&mut self, shared: &Shared) {
        let readers = self.shared.entry(shared.id).or_default();
        if *readers == 0 {
            self.held += shared.bytes;
        }
        *readers += 1;
    }

    fn unshare(&mut self, shared: &Shared) {
        let Some(readers) = self.shared.get_mut(&shared.id) else { return };
        *readers -= 1;
        if *readers == 0 {
            self.shared.remove(&shared.id);
            self.held = self.held.saturating_sub(shared.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(own: usize, shared: Option<u64>) -> Held {
        Held { own, shared: [shared.map(|id| Shared { id, bytes: 100 }), None] }
    }

    #[test]
    fn what_readers_have_in_common_counts_once_and_until_the_last_is_gone() {
        let mut budget = Budget::new(1000);
        let nothing = Held::default();
        for reader in [held(10, Some(7)), held(20, Some(7)), held(30, Some(8))] {
            assert!(budget.settle(&nothing, &reader));
        }
        assert_eq!(budget.held, 60 + 200);
        budget.release(&held(10, Some(7)));
        assert_eq!(budget.held, 50 + 200);
        budget.release(&held(20, Some(7)));
        assert!(budget.settle(&held(30, Some(8)), &held(31, None)));
        assert_eq!(budget.held, 31);
    }

    #[test]
    fn only_a_reader_that_grows_is_to_let_go() {
        let mut budget = Budget::new(100);
        assert!(budget.settle(&held(0, None), &held(90, None)));
        assert!(!budget.settle(&held(0, None), &held(20, None)));
        assert!(budget.settle(&held(20, None), &held(15, None)), "it shrinks");
        assert!(!budget.settle(&held(0, None), &held(0, Some(1))));
    }
}
