//! Memory maps of capture files, and asking memory ahead: the one place of this crate with `unsafe` in it.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::sync::Arc;

use memmap2::{Advice, Mmap};

/// A capture file in memory, shared by all who read it.
#[derive(Clone, Debug)]
pub struct Mapped(Arc<Mmap>);

impl Mapped {
    pub(super) fn new(map: Mmap) -> Mapped {
        Mapped(Arc::new(map))
    }

    /// Where these bytes lie in it, if they do.
    #[inline]
    pub fn offset_of(&self, part: &[u8]) -> Option<usize> {
        let start = part.as_ptr().addr().checked_sub(self.as_ptr().addr())?;
        let end = start.checked_add(part.len())?;
        (end <= self.len()).then_some(start)
    }
}

impl Deref for Mapped {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// The memory maps of an audit's captures, by index; `None` where there is none.
pub type Maps = Vec<Option<Mapped>>;

/// Maps a regular, non-empty file for reading from front to back.
///
/// # Errors
/// What `mmap` says, for example on file systems that cannot map.
pub(crate) fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: a map is only sound while nobody changes the file, and no program can make sure of that
    // (ripgrep has the same note). Two things can go wrong. If the file is changed in place, the
    // parsers may see a byte twice with two values: they check every length against the window after
    // they have copied it out, so that this gives wrong packets at worst. If the file is cut short,
    // touching what is gone raises SIGBUS, and the program dies without a report: captures still being
    // rotated in place should come in over a pipe, which is never mapped. A file that only grows, as
    // under `tcpdump -w`, is read up to the length it had here.
    let map = unsafe { Mmap::map(file) }?;
    // Only advice: without it the kernel reads ahead less.
    let _ = map.advise(Advice::Sequential);
    Ok(map)
}

/// A line of the processor's caches, in bytes.
pub(super) const LINE: usize = 64;

/// How much of a value is asked for, in bytes.
#[cfg(target_arch = "x86_64")]
const NEAR: usize = 8 * LINE;

/// Asks for the cache lines of the `N` bytes from `at` on, as [`near`] does; nothing happens where they are not all
/// there.
#[inline(always)]
pub(super) fn expect<const N: usize>(bytes: &[u8], at: usize) {
    if let Some(wanted) = bytes.get(at..).and_then(|rest| rest.first_chunk::<N>()) {
        near(wanted);
    }
}

/// Asks for the cache lines of a value, the first of them if it is large: they come nearer while something else is
/// done. Only a hint; nothing happens on processors it is not written for.
#[inline(always)]
#[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
pub(crate) fn near<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    for at in (0..size_of::<T>().min(NEAR)).step_by(LINE) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the address lies within `value`, and a prefetch changes nothing that a program could see: where a
        // read would fault, it does nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast::<i8>().add(at)) }
    }
}

/// The same of a value that is written next, which another processor may have read last: it gives its lines up.
#[inline(always)]
#[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
pub(crate) fn near_to_write<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    for at in (0..size_of::<T>().min(NEAR)).step_by(LINE) {
        let line = std::ptr::from_ref(value).addr() + at;
        // SAFETY: as above. It is written out because the compiler turns its own hint for writing into that for reading,
        // unless it knows the processor; one that does not have it passes over it.
        unsafe { std::arch::asm!("prefetchw [{}]", in(reg) line, options(nostack, nomem, preserves_flags)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_holds_the_file() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let map = map(&File::open(path).unwrap()).unwrap();
        assert_eq!(&map[..], std::fs::read(path).unwrap());
    }

    #[test]
    fn what_is_not_there_may_be_asked_for() {
        for at in [0, 100, 128, 300, usize::MAX] {
            expect::<100>(&[7; 256], at);
        }
        near(&[7u64; 1000]);
        near(&());
    }
}
