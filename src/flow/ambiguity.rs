//! Bytes that one stream can be read in more than one way: what was lent, held against what comes for the same
//! places.
//!
//! Which of two differing segments an endpoint keeps depends on its system, on what reached it and on checksums,
//! so none of them is taken to be the true one.

/// The most bytes of one direction kept to be compared: those lent last, at least half as many.
pub(super) const LENT_BYTES: usize = 4096;
/// Room made for the first of them: most hellos and request heads fit.
const FIRST_BYTES: usize = 1024;
/// Runs farther behind than this are not compared any more: their numbers come again after 4 GiB.
const FAR: u32 = 1 << 30;

/// Why the bytes of a flow can be read in more than one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Segments brought different bytes for the same place.
    Segments,
    /// Urgent data: whether a receiver reads it in line depends on its options (RFC 6093).
    Urgent,
    /// IP fragments brought different bytes for the same place.
    Fragments,
}

/// That the bytes of a flow can be read in more than one way, and where that first showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ambiguity {
    /// Why.
    pub doubt: Doubt,
    /// Sequence number of the first byte in doubt: behind the SYN's if that was captured, as Wireshark counts.
    pub sequence: u32,
    /// The packet that showed it: its capture, as [`Stamp`](super::Stamp) has it, and its number there.
    pub packet: (u16, u64),
}

/// The bytes of one direction that were read last.
#[derive(Debug, Default)]
pub(super) struct Lent {
    /// Where they belong, in the order in which they were lent: those before the last run, and that.
    earlier: Vec<Run>,
    last: Run,
    bytes: Vec<u8>,
}

/// Bytes without a hole.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    sequence: u32,
    length: u32,
}

impl Run {
    /// The sequence number behind it.
    fn end(self) -> u32 {
        self.sequence.wrapping_add(self.length)
    }
}

impl Lent {
    /// Memory that it takes.
    pub(super) fn held(&self) -> usize {
        self.bytes.capacity() + self.earlier.capacity() * size_of::<Run>()
    }

    /// The sequence number behind the last byte.
    pub(super) fn end(&self) -> Option<u32> {
        (self.last.length > 0).then(|| self.last.end())
    }

    fn runs(&self) -> impl Iterator<Item = &Run> {
        self.earlier.iter().chain([&self.last])
    }

    /// Keeps these bytes, as far as there is room; what was lent first goes.
    pub(super) fn add(&mut self, sequence: u32, bytes: &[u8]) {
        let before = bytes.len().saturating_sub(LENT_BYTES);
        let (sequence, bytes) = (sequence.wrapping_add(before as u32), &bytes[before..]);
        if bytes.is_empty() {
            return;
        }
        let far = self.runs().take_while(|run| sequence.wrapping_sub(run.sequence) > FAR);
        let far = far.map(|run| run.length as usize).sum();
        let length = self.bytes.len() + bytes.len();
        // More than must be, so that it is not done for every segment.
        let over = if length > LENT_BYTES { self.bytes.len().min(length - LENT_BYTES / 2) } else { 0 };
        self.forget_first(over.max(far));
        if self.last.length > 0 && self.last.end() != sequence {
            self.earlier.push(self.last);
            self.last.length = 0;
        }
        if self.last.length == 0 {
            self.last.sequence = sequence;
        }
        self.last.length += bytes.len() as u32;
        if self.bytes.capacity() - self.bytes.len() < bytes.len() {
            let room = if self.bytes.capacity() == 0 { bytes.len().max(FIRST_BYTES) } else { LENT_BYTES };
            self.bytes.reserve_exact(room - self.bytes.len());
        }
        self.bytes.extend_from_slice(bytes);
    }

    fn forget_first(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        self.bytes.drain(..count);
        let mut left = count as u32;
        let whole = self.earlier.iter().take_while(|run| {
            let is_whole = run.length <= left;
            left -= if is_whole { run.length } else { 0 };
            is_whole
        });
        let whole = whole.count();
        self.earlier.drain(..whole);
        let first = self.earlier.first_mut().unwrap_or(&mut self.last);
        first.sequence = first.sequence.wrapping_add(left);
        first.length -= left;
    }

    /// The first place, in the order of what was lent, for which these bytes are others.
    pub(super) fn difference(&self, sequence: u32, bytes: &[u8]) -> Option<u32> {
        let mut rest = &self.bytes[..];
        self.runs().find_map(|run| {
            let (lent, others) = rest.split_at_checked(run.length as usize)?;
            rest = others;
            difference((run.sequence, lent), (sequence, bytes))
        })
    }
}

/// The first place for which both stretches of a stream have bytes, and not the same.
pub(super) fn difference(one: (u32, &[u8]), other: (u32, &[u8])) -> Option<u32> {
    let apart = other.0.wrapping_sub(one.0) as i32;
    let (first, second) = if apart >= 0 { (one, other) } else { (other, one) };
    let first = first.1.get(apart.unsigned_abs() as usize..)?;
    let common = first.len().min(second.1.len());
    let (a, b) = (&first[..common], &second.1[..common]);
    // Nearly always they are the same, which is told faster than where they differ.
    if a == b {
        return None;
    }
    let at = a.iter().zip(b).position(|(a, b)| a != b)?;
    Some(second.0.wrapping_add(at as u32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_what_both_have_is_compared() {
        assert_eq!(difference((10, b"abcd"), (12, b"cdXX")), None);
        assert_eq!(difference((10, b"abcd"), (12, b"cX")), Some(13));
        assert_eq!(difference((12, b"cX"), (10, b"abcd")), Some(13));
        assert_eq!(difference((10, b"abcd"), (14, b"X")), None);
        assert_eq!(difference((u32::MAX, b"ab"), (0, b"X")), Some(0));
    }

    #[test]
    fn runs_are_apart_and_what_is_far_behind_is_forgotten() {
        let mut lent = Lent::default();
        lent.add(100, b"abc");
        lent.add(103, b"def");
        lent.add(200, b"xyz");
        assert_eq!((lent.runs().count(), lent.end()), (2, Some(203)));
        assert_eq!(lent.difference(105, b"f whatever comes between is not lent"), None);
        assert_eq!(lent.difference(101, b"bcdEf"), Some(104));
        assert_eq!(lent.difference(199, b"_xy_"), Some(202));
        lent.add(200 + FAR, b"far");
        assert_eq!(lent.difference(101, b"bcdEf"), None);
        assert_eq!(lent.difference(200, b"XYZ"), Some(200));
    }

    proptest! {
        /// Whatever was lent, the last of it is found again, and no more than the cap is kept.
        #[test]
        fn the_bytes_lent_last_are_compared(
            pieces in proptest::collection::vec((0u32..40, 1usize..3000), 1..20),
            start in any::<u32>(),
        ) {
            let mut lent = Lent::default();
            let mut next = start;
            for (hole, length) in pieces {
                next = next.wrapping_add(hole);
                let bytes: Vec<u8> = (0..length).map(|at| at as u8).collect();
                lent.add(next, &bytes);
                prop_assert_eq!(lent.difference(next, &bytes), None);
                next = next.wrapping_add(length as u32);
                prop_assert_eq!(lent.end(), Some(next));
                let last = next.wrapping_sub(1);
                prop_assert_eq!(lent.difference(last, &[!bytes[length - 1]]), Some(last));
                prop_assert!(lent.bytes.len() <= LENT_BYTES);
                prop_assert_eq!(lent.runs().map(|run| run.length as usize).sum::<usize>(), lent.bytes.len());
            }
        }
    }
}
