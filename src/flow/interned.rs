//! Values that many flows have in common, kept once each under a small number.

use std::hash::{BuildHasher, Hash};
use std::ops::Index;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::slab::Slab;

/// Every value that some flow keeps, and how many keep it. Seeded: whoever sends packets chooses the values.
#[derive(Debug)]
pub(super) struct Interned<T> {
    values: Slab<(T, u32)>,
    index: HashTable<u32>,
    free: Vec<u32>,
    hasher: RandomState,
    /// The value that was asked for last: the next flow is likely to have it too.
    last: u32,
}

impl<T: Copy + Eq + Hash> Interned<T> {
    pub(super) fn new() -> Interned<T> {
        Interned {
            values: Slab::new(),
            index: HashTable::new(),
            free: Vec::new(),
            hasher: RandomState::default(),
            last: 0,
        }
    }

    /// The number of a value, which one more keeps.
    pub(super) fn keep(&mut self, value: T) -> u32 {
        let Self { values, index, free, hasher, last } = self;
        let at = match values.get(*last) {
            Some((known, kept)) if *kept > 0 && *known == value => *last,
            _ => {
                let hash = hasher.hash_one(value);
                match index.find(hash, |at| values[*at].0 == value) {
                    Some(at) => *at,
                    None => {
                        let at = free.pop().unwrap_or_else(|| values.push((value, 0)));
                        values[at] = (value, 0);
                        index.insert_unique(hash, at, |at| hasher.hash_one(values[*at].0));
                        at
                    }
                }
            }
        };
        self.last = at;
        self.values[at].1 += 1;
        at
    }

    /// One keeps it no more.
    pub(super) fn release(&mut self, at: u32) {
        let (value, kept) = &mut self.values[at];
        *kept -= 1;
        if *kept == 0 {
            let hash = self.hasher.hash_one(*value);
            if let Ok(entry) = self.index.find_entry(hash, |known| *known == at) {
                entry.remove();
            }
            self.free.push(at);
        }
    }

    /// Values that are kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.index.len()
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
        /// Equal values have one number for as long as any is kept, and different ones never.
        #[test]
        fn a_value_is_kept_once(steps in proptest::collection::vec((any::<bool>(), 0u8..6), 0..200)) {
            let mut interned = Interned::new();
            let mut kept: Vec<(u8, u32)> = Vec::new();
            for (keeps, value) in steps {
                if keeps || kept.is_empty() {
                    let at = interned.keep(value);
                    prop_assert!(kept.iter().all(|(other, there)| (*other == value) == (*there == at)));
                    kept.push((value, at));
                } else {
                    interned.release(kept.swap_remove(usize::from(value) % kept.len()).1);
                }
                prop_assert!(kept.iter().all(|(value, at)| interned[*at] == *value));
                let mut values: Vec<u8> = kept.iter().map(|(value, _)| *value).collect();
                values.sort_unstable();
                values.dedup();
                prop_assert_eq!(interned.len(), values.len());
            }
        }
    }
}
