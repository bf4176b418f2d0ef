//! Bytes that one stream can be read in more than one way: what was lent, held against what comes for the same
//! places.
//!
//! Which of two differing segments an endpoint keeps depends on its system, on what reached it and on checksums,
//! so none of them is taken to be the true one.

use crate::capture::Mapped;

/// The most bytes of one direction that are compared: those lent last, at least half as many.
pub(super) const LENT_BYTES: usize = 4096;
/// Room made for the first that are kept, and how many times more for the next: most hellos and request heads fit.
const FIRST_BYTES: usize = 256;
const MORE: usize = 4;
/// So few bytes are kept although they lie in a map: to remember where takes nearly as much.
const FEW: usize = 64;
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

/// The memory maps of an audit's captures, as far as they are mapped, and the capture that bytes come from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Home<'a> {
    pub(super) maps: &'a [Option<Mapped>],
    pub(super) capture: u16,
}

impl<'a> Home<'a> {
    /// Of bytes that do not stay.
    pub(super) const NOWHERE: Home<'static> = Home { maps: &[], capture: 0 };

    fn map(&self, capture: u16) -> Option<&'a Mapped> {
        self.maps.get(usize::from(capture))?.as_ref()
    }

    /// Where bytes stay, if they lie in the map of their capture.
    fn place(&self, bytes: &[u8]) -> Place {
        let at = self.map(self.capture).filter(|_| bytes.len() >= FEW).and_then(|map| map.offset_of(bytes));
        at.map_or(Place::KEPT, |at| Place::mapped(self.capture, at))
    }
}

/// Where the bytes of a run are: in the map of a capture, in one number with the capture's index, or kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place(u64);

impl Place {
    const KEPT: Place = Place(u64::MAX);
    const CAPTURE_BITS: u32 = 16;

    fn mapped(capture: u16, at: usize) -> Place {
        // No file is as long as what is left for its bytes.
        Place((at as u64) << Place::CAPTURE_BITS | u64::from(capture))
    }

    fn behind(self, count: usize) -> Place {
        if self == Place::KEPT { self } else { Place(self.0 + ((count as u64) << Place::CAPTURE_BITS)) }
    }

    /// The bytes from here on, of all that are mapped.
    fn of<'a>(self, home: &Home<'a>) -> &'a [u8] {
        let map = home.map(self.0 as u16);
        map.and_then(|map| map.get((self.0 >> Place::CAPTURE_BITS) as usize..)).unwrap_or_default()
    }
}

/// The bytes of one direction that were read last.
#[derive(Debug, Default)]
pub(super) struct Lent {
    /// Where they belong, in the order in which they were lent: those before the last run, and that.
    earlier: Vec<Run>,
    last: Run,
    /// Bytes of all runs.
    length: u32,
    /// The bytes of runs that are in no map, in the same order.
    bytes: Vec<u8>,
}

/// Bytes without a hole.
#[derive(Clone, Copy, Debug)]
struct Run {
    sequence: u32,
    length: u32,
    place: Place,
}

impl Default for Run {
    fn default() -> Run {
        Run { sequence: 0, length: 0, place: Place::KEPT }
    }
}

impl Run {
    /// The sequence number behind it.
    fn end(self) -> u32 {
        self.sequence.wrapping_add(self.length)
    }

    fn is_far_behind(self, sequence: u32) -> bool {
        self.length > 0 && sequence.wrapping_sub(self.sequence) > FAR
    }

    fn forget_first(&mut self, count: u32) {
        self.sequence = self.sequence.wrapping_add(count);
        self.length -= count;
        self.place = self.place.behind(count as usize);
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

    /// The sequence number of the first byte.
    pub(super) fn start(&self) -> Option<u32> {
        self.runs().find(|run| run.length > 0).map(|run| run.sequence)
    }

    fn runs(&self) -> impl Iterator<Item = &Run> {
        self.earlier.iter().chain([&self.last])
    }

    /// Remembers these bytes; those that were lent first are forgotten.
    pub(super) fn add(&mut self, sequence: u32, bytes: &[u8], home: &Home<'_>) {
        let before = bytes.len().saturating_sub(LENT_BYTES);
        let (sequence, bytes) = (sequence.wrapping_add(before as u32), &bytes[before..]);
        if bytes.is_empty() {
            return;
        }
        let length = self.length as usize + bytes.len();
        if length > LENT_BYTES {
            // More than must be, so that it is not done for every segment.
            self.forget_first(self.length.min((length - LENT_BYTES / 2) as u32));
        }
        if self.earlier.first().unwrap_or(&self.last).is_far_behind(sequence) {
            let far = self.runs().take_while(|run| run.is_far_behind(sequence));
            self.forget_first(far.map(|run| run.length).sum());
        }
        self.length += bytes.len() as u32;
        let place = home.place(bytes);
        let goes_on =
            self.last.end() == sequence && self.last.place.behind(self.last.length as usize) == place;
        if self.last.length > 0 && !goes_on {
            self.earlier.push(self.last);
            self.last.length = 0;
        }
        if self.last.length == 0 {
            self.last = Run { sequence, length: 0, place };
        }
        self.last.length += bytes.len() as u32;
        if place == Place::KEPT {
            self.keep(bytes);
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let (length, capacity) = (self.bytes.len(), self.bytes.capacity());
        if capacity - length < bytes.len() {
            let room = (capacity * MORE).clamp(FIRST_BYTES, LENT_BYTES).max(length + bytes.len());
            self.bytes.reserve_exact(room - length);
        }
        self.bytes.extend_from_slice(bytes);
    }

    fn forget_first(&mut self, mut count: u32) {
        self.length -= count;
        let (mut whole, mut kept) = (0, 0);
        for run in self.earlier.iter_mut().chain([&mut self.last]) {
            let gone = run.length.min(count);
            kept += if run.place == Place::KEPT { gone as usize } else { 0 };
            count -= gone;
            whole += usize::from(gone == run.length);
            run.forget_first(gone);
        }
        self.bytes.drain(..kept);
        self.earlier.drain(..whole.min(self.earlier.len()));
    }

    /// The first place, in the order of what was lent, for which these bytes are others.
    pub(super) fn difference(&self, sequence: u32, bytes: &[u8], home: &Home<'_>) -> Option<u32> {
        let mut rest = &self.bytes[..];
        self.runs().find_map(|run| {
            let from = if run.place == Place::KEPT { rest } else { run.place.of(home) };
            let (lent, others) = from.split_at_checked(run.length as usize)?;
            if run.place == Place::KEPT {
                rest = others;
            }
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
    use crate::capture;
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
        lent.add(100, b"abc", &Home::NOWHERE);
        lent.add(103, b"def", &Home::NOWHERE);
        lent.add(200, b"xyz", &Home::NOWHERE);
        assert_eq!((lent.runs().count(), lent.end()), (2, Some(203)));
        assert_eq!(lent.difference(105, b"f whatever comes between is not lent", &Home::NOWHERE), None);
        assert_eq!(lent.difference(101, b"bcdEf", &Home::NOWHERE), Some(104));
        assert_eq!(lent.difference(199, b"_xy_", &Home::NOWHERE), Some(202));
        lent.add(200 + FAR, b"far", &Home::NOWHERE);
        assert_eq!(lent.difference(101, b"bcdEf", &Home::NOWHERE), None);
        assert_eq!(lent.difference(200, b"XYZ", &Home::NOWHERE), Some(200));
    }

    #[test]
    fn a_run_of_nothing_is_left_by_no_forgetting() {
        let mut lent = Lent::default();
        for at in 0..40 {
            lent.add(at * 200, &[at as u8; 200], &Home::NOWHERE);
            lent.add(1_000_000 + at, &[at as u8], &Home::NOWHERE);
        }
        assert!(lent.earlier.iter().all(|run| run.length > 0));
    }

    proptest! {
        /// Whatever was lent, the last of it is found again wherever it is, and no more than the cap is kept.
        #[test]
        fn the_bytes_lent_last_are_compared(
            pieces in proptest::collection::vec((0u32..40, 1usize..3000, any::<bool>()), 1..20),
            start in any::<u32>(),
        ) {
            let file = concat!(env!("CARGO_MANIFEST_DIR"), "/captures/match_C2_tls13.pcap");
            let maps = [capture::open(file).expect("it is there").mapped()];
            let map = maps[0].as_ref().expect("it can be mapped");
            let home = Home { maps: &maps, capture: 0 };
            let mut lent = Lent::default();
            let (mut next, mut at) = (start, 0);
            for (hole, length, is_mapped) in pieces {
                next = next.wrapping_add(hole);
                at = (at + 17) % (map.len() - length);
                let copy = map[at..at + length].to_vec();
                let bytes = if is_mapped { &map[at..at + length] } else { &copy[..] };
                lent.add(next, bytes, &home);
                prop_assert_eq!(lent.difference(next, &copy, &home), None);
                next = next.wrapping_add(length as u32);
                prop_assert_eq!(lent.end(), Some(next));
                let last = next.wrapping_sub(1);
                prop_assert_eq!(lent.difference(last, &[!bytes[length - 1]], &home), Some(last));
                let compared: usize = lent.runs().map(|run| run.length as usize).sum();
                prop_assert_eq!(compared, lent.length as usize);
                prop_assert!(compared <= LENT_BYTES);
                let kept = lent.runs().filter(|run| run.place == Place::KEPT);
                prop_assert_eq!(kept.map(|run| run.length as usize).sum::<usize>(), lent.bytes.len());
            }
        }
    }
}
