//! Captures that cannot be mapped: pipes, standard input, compressed files.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::pipe::{fcntl_getpipe_size, fcntl_setpipe_size};

use super::record::MAX_BLOCK;
use super::window::Window;

/// The buffer's first size, in bytes; it grows only for a record that does not fit.
const FIRST_SIZE: usize = 256 << 10;

/// The buffer's last size, in bytes: no parser asks for a window longer than one block.
const LAST_SIZE: usize = MAX_BLOCK as usize;

/// Lets a pipe hold as much as one read can take: with the 64 KiB it has at first, writer and reader wait for each other
/// four times as often. Only advice: what is no pipe, and what the system refuses, is read as it is.
pub(super) fn widen(pipe: impl AsFd) {
    if fcntl_getpipe_size(&pipe).is_ok_and(|size| size < FIRST_SIZE) {
        let _ = fcntl_setpipe_size(&pipe, FIRST_SIZE);
    }
}

/// A window on a reader, in one buffer that is used over and over.
pub(super) struct Buffer<R> {
    reader: R,
    buffer: Vec<u8>,
    /// The window is `buffer[start..end]`.
    start: usize,
    end: usize,
}

impl<R: Read> Buffer<R> {
    pub fn new(reader: R) -> Buffer<R> {
        Buffer { reader, buffer: vec![0; FIRST_SIZE], start: 0, end: 0 }
    }

    /// Reads once into the free end of the buffer, which must not be empty; `false` at the end.
    fn read(&mut self) -> io::Result<bool> {
        loop {
            let free = self.buffer.get_mut(self.end..).unwrap_or_default();
            match self.reader.read(free) {
                Ok(n) => {
                    self.end += n.min(free.len());
                    return Ok(n > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Moves the window to the front of a buffer that can hold `n` bytes.
    fn make_room(&mut self, n: usize) {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if n > self.buffer.len() {
            self.buffer.resize(n.next_power_of_two(), 0);
        }
    }
}

impl<R: Read> Window for Buffer<R> {
    #[inline]
    fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    #[inline]
    fn consume(&mut self, n: usize) {
        self.start = self.start.saturating_add(n).min(self.end);
    }

    fn fill(&mut self, n: usize) -> io::Result<bool> {
        if n > LAST_SIZE {
            return Err(io::Error::other("the record is longer than the buffer may grow"));
        }
        if self.end - self.start < n {
            self.make_room(n);
        }
        while self.end - self.start < n {
            if !self.read()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn skip(&mut self, n: u64) -> io::Result<bool> {
        let mut left = n;
        loop {
            let held = self.end - self.start;
            let now = usize::try_from(left).unwrap_or(usize::MAX).min(held);
            self.start += now;
            left -= now as u64;
            if left == 0 {
                return Ok(true);
            }
            (self.start, self.end) = (0, 0);
            if !self.read()? {
                return Ok(false);
            }
        }
    }
}

/// Counts what is read from a file, for whoever shows progress.
pub(super) struct Counted<R> {
    reader: R,
    count: Arc<AtomicU64>,
}

impl<R> Counted<R> {
    /// The reader, and the number of bytes that were read from it.
    pub fn new(reader: R) -> (Counted<R>, Arc<AtomicU64>) {
        let count = Arc::new(AtomicU64::new(0));
        (Counted { reader, count: Arc::clone(&count) }, count)
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        self.count.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::capture::window::Whole;
    use proptest::prelude::*;

    #[test]
    fn a_pipe_is_widened_and_never_narrowed() {
        let (reader, _writer) = io::pipe().unwrap();
        widen(&reader);
        assert_eq!(fcntl_getpipe_size(&reader), Ok(FIRST_SIZE));
        fcntl_setpipe_size(&reader, 2 * FIRST_SIZE).unwrap();
        widen(&reader);
        assert_eq!(fcntl_getpipe_size(&reader), Ok(2 * FIRST_SIZE));
        widen(std::fs::File::open("/dev/null").unwrap());
    }

    /// A reader that gives as many bytes at a time as it is told, interrupted in between.
    pub struct Chunks {
        pub bytes: Vec<u8>,
        pub sizes: Vec<usize>,
        pub at: usize,
        pub turn: usize,
    }

    impl Chunks {
        pub fn new(bytes: Vec<u8>, sizes: Vec<usize>) -> Chunks {
            Chunks { bytes, sizes, at: 0, turn: 0 }
        }
    }

    impl Read for Chunks {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.turn += 1;
            if self.turn.is_multiple_of(3) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let size = self.sizes.get(self.turn % self.sizes.len().max(1)).copied().unwrap_or(usize::MAX);
            let n = (&self.bytes[self.at..]).read(&mut buffer[..])?.min(size.max(1));
            self.at += n;
            Ok(n)
        }
    }

    #[test]
    fn the_buffer_grows_for_a_long_record_and_no_further_than_its_cap() {
        let long = FIRST_SIZE + 1;
        let mut buffer = Buffer::new(Chunks::new(vec![1; long + 10], vec![1000]));
        assert!(buffer.fill(long).unwrap());
        assert!(buffer.bytes().len() >= long);
        assert!(buffer.skip(long as u64).unwrap());
        assert!(!buffer.fill(11).unwrap());
        assert_eq!(buffer.bytes().len(), 10);
        assert_eq!(buffer.buffer.len(), 2 * FIRST_SIZE);
        assert!(buffer.fill(LAST_SIZE + 1).is_err());
    }

    #[test]
    fn reads_are_counted() {
        let (counted, count) = Counted::new(&b"0123456789"[..]);
        let mut buffer = Buffer::new(counted);
        assert!(buffer.fill(3).unwrap());
        assert_eq!(count.load(Ordering::Relaxed), 10);
    }

    proptest! {
        #[test]
        fn a_buffer_shows_what_a_whole_window_shows(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            sizes in prop::collection::vec(1usize..50, 0..6),
            steps in prop::collection::vec((0usize..100, 0u64..120), 0..10),
        ) {
            let mut whole = Whole::new(bytes.clone());
            let mut buffer = Buffer::new(Chunks::new(bytes, sizes));
            for (need, skip) in steps {
                let filled = buffer.fill(need).unwrap();
                prop_assert_eq!(filled, whole.fill(need).unwrap());
                if filled {
                    prop_assert_eq!(&buffer.bytes()[..need], &whole.bytes()[..need]);
                } else {
                    prop_assert_eq!(buffer.bytes(), whole.bytes());
                }
                prop_assert_eq!(buffer.skip(skip).unwrap(), whole.skip(skip).unwrap());
            }
        }
    }
}
