//! Values that many flows have in common, kept once as a rule, each under a small number.

use std::hash::{BuildHasher, Hash};
use std::ops::Index;

use foldhash::fast::RandomState;

use super::slab::Slab;

/// Values that are remembered by their hashes for the flows that come next: of two in one place, the later.
const RECENT: usize = 1024;

/// Every value that some flow keeps, and how many keep it.
///
/// What was not asked for of late is kept anew, which costs its bytes. An index of all would cost a flood of values that
/// are all different more than it saves anyone.
#[derive(Debug)]
pub(super) struct Interned<T> {
    values: Slab<(T, u32)>,
    free: Vec<u32>,
    /// Seeded: whoever sends packets chooses the values.
    hasher: RandomState,
    recent: Box<[u32; RECENT]>,
}

impl<T: Copy + Eq + Hash> Interned<T> {
    pub(super) fn new() -> Interned<T> {
        Interned {
            values: Slab::new(),
            free: Vec::new(),
            hasher: RandomState::default(),
            recent: Box::new([0; RECENT]),
        }
    }

    /// The number of a value, which one more keeps.
    pub(super) fn keep(&mut self, value: T) -> u32 {
        let recent = &mut self.recent[self.hasher.hash_one(value) as usize % RECENT];
        if self.values.get(*recent).is_none_or(|(known, kept)| *kept == 0 || *known != value) {
            *recent = match self.free.pop() {
                Some(at) => {
                    self.values[at] = (value, 0);
                    at
                }
                None => self.values.push((value, 0)),
            };
        }
        self.values[*recent].1 += 1;
        *recent
    }

    /// One keeps it no more.
    pub(super) fn release(&mut self, at: u32) {
        let kept = &mut self.values[at].1;
        *kept -= 1;
        if *kept == 0 {
            self.free.push(at);
        }
    }

    /// Values that are kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.values.len() as usize - self.free.len()
    }
}

impl<T> Index<u32> for Interned<T> {
    type Output = T;
    #[inline]
    fn index(&self, at: u32) -> &T {
        &self.values[at].0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_value_is_there_for_as_long_as_it_is_kept(
            steps in proptest::collection::vec((any::<bool>(), prop_oneof![0u16..6, any::<u16>()]), 0..300),
        ) {
            let mut interned = Interned::new();
            let mut kept: Vec<(u16, u32)> = Vec::new();
            for (keeps, value) in steps {
                if keeps || kept.is_empty() {
                    let at = interned.keep(value);
                    prop_assert!(kept.iter().all(|(other, there)| *there != at || *other == value));
                    kept.push((value, at));
                } else {
                    interned.release(kept.swap_remove(usize::from(value) % kept.len()).1);
                }
                prop_assert!(kept.iter().all(|(value, at)| interned[*at] == *value));
                let mut numbers: Vec<u32> = kept.iter().map(|(_, at)| *at).collect();
                numbers.sort_unstable();
                numbers.dedup();
                prop_assert_eq!(interned.len(), numbers.len());
            }
        }
    }

    #[test]
    fn what_repeats_is_kept_once() {
        let mut interned = Interned::new();
        let numbers: Vec<u32> = (0..1000).map(|_| interned.keep(7u16)).collect();
        assert!(numbers.iter().all(|at| *at == numbers[0]) && interned.len() == 1);
        numbers.iter().for_each(|at| interned.release(*at));
        assert_eq!(interned.len(), 0);
    }
}
