//! What a parser looks at: the front part of a capture that has not been dealt with.

use std::io;
use std::ops::Deref;

/// The rest of a capture, of which the front is in memory.
pub(super) trait Window {
    /// What is in memory.
    fn bytes(&self) -> &[u8];

    /// Passes over `n` bytes that are in memory.
    fn consume(&mut self, n: usize);

    /// Brings at least `n` bytes into memory; `false` if the capture ends before.
    fn fill(&mut self, n: usize) -> io::Result<bool>;

    /// Passes over `n` bytes, in memory or not; `false` if the capture ends before.
    fn skip(&mut self, n: u64) -> io::Result<bool>;
}

/// A capture that is in memory as a whole: mapped, or read.
#[derive(Debug)]
pub(super) struct Whole<B> {
    all: B,
    position: usize,
}

impl<B: Deref<Target = [u8]>> Whole<B> {
    pub fn new(all: B) -> Whole<B> {
        Whole { all, position: 0 }
    }

    /// The capture from its first byte on.
    pub fn all(&self) -> &B {
        &self.all
    }

    /// Bytes passed over so far.
    pub fn position(&self) -> u64 {
        self.position as u64
    }
}

impl<B: Deref<Target = [u8]>> Window for Whole<B> {
    #[inline]
    fn bytes(&self) -> &[u8] {
        self.all.get(self.position..).unwrap_or_default()
    }

    #[inline]
    fn consume(&mut self, n: usize) {
        self.position = self.position.saturating_add(n).min(self.all.len());
    }

    fn fill(&mut self, n: usize) -> io::Result<bool> {
        Ok(self.bytes().len() >= n)
    }

    fn skip(&mut self, n: u64) -> io::Result<bool> {
        let rest = self.bytes().len();
        let within = usize::try_from(n).ok().filter(|n| *n <= rest);
        self.position += within.unwrap_or(rest);
        Ok(within.is_some())
    }
}
