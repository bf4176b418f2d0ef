//! Values under small numbers, in chunks: growing copies nothing, and what is reserved ahead is little.

use std::ops::{Index, IndexMut};

use crate::capture::near;

/// Values in one chunk.
const CHUNK: usize = 1024;
/// So many values ahead of the last, memory is asked for the place of one that may be added soon.
const AHEAD: usize = 8;

/// Values that are only ever added; whoever holds a number asks for what is there.
#[derive(Debug)]
pub(super) struct Slab<T> {
    chunks: Vec<Vec<T>>,
}

impl<T> Slab<T> {
    pub(super) fn new() -> Slab<T> {
        Slab { chunks: Vec::new() }
    }

    /// Adds a value; its number is one more than that of the last.
    pub(super) fn push(&mut self, value: T) -> u32 {
        if self.chunks.last().is_none_or(|last| last.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let at = self.len();
        if let Some(last) = self.chunks.last_mut() {
            last.push(value);
            last.spare_capacity_mut().get(AHEAD).into_iter().for_each(near);
        }
        at
    }

    /// Values are numbered below this.
    pub(super) fn len(&self) -> u32 {
        let Some(last) = self.chunks.last() else { return 0 };
        ((self.chunks.len() - 1) * CHUNK + last.len()) as u32
    }

    #[inline]
    pub(super) fn get(&self, at: u32) -> Option<&T> {
        self.chunks.get(at as usize / CHUNK)?.get(at as usize % CHUNK)
    }

    /// All values with their numbers, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..).zip(self.chunks.iter().flatten())
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;
    #[inline]
    fn index(&self, at: u32) -> &T {
        &self.chunks[at as usize / CHUNK][at as usize % CHUNK]
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, at: u32) -> &mut T {
        &mut self.chunks[at as usize / CHUNK][at as usize % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_up_across_chunks() {
        let mut slab = Slab::new();
        let end = 3 * CHUNK as u32 + 7;
        for value in 0..end {
            assert_eq!(slab.push(value), value);
        }
        slab[CHUNK as u32] = 5;
        assert_eq!((slab[CHUNK as u32 - 1], slab[CHUNK as u32], slab.get(end)), (CHUNK as u32 - 1, 5, None));
        assert!(slab.iter().all(|(at, value)| at == *value || at == CHUNK as u32));
        assert_eq!(slab.iter().count(), end as usize);
    }
}
