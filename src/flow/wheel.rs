//! Which flows are due: a hashed wheel of one-second slots in packet time.
//!
//! A flow stands in one slot; packets do not move it. When its slot comes up it is either due, or put
//! into the slot of its new deadline (the scheme of retina's timer wheel).

use crate::capture::Timestamp;

/// Slots in the wheel: longer than the longest time-out, so that most flows come up once.
const SLOTS: i64 = 4096;
/// Entries of a slot that lie together: more of them grow it without being copied.
const TOGETHER: usize = 512;

/// A flow's entry: its place in the slab and the generation of that place. Every flow has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, packed(2))]
pub(super) struct Entry {
    pub(super) id: u32,
    pub(super) generation: u16,
}

/// What comes up in one second; nearly every slot is empty.
#[derive(Debug, Default)]
struct Slot {
    last: Vec<Entry>,
    #[expect(clippy::box_collection, reason = "few slots have any, and all have room for it")]
    full: Option<Box<Vec<Vec<Entry>>>>,
}

impl Slot {
    fn push(&mut self, entry: Entry) {
        if self.last.len() == TOGETHER {
            let full = std::mem::replace(&mut self.last, Vec::with_capacity(TOGETHER));
            self.full.get_or_insert_default().push(full);
        } else if self.last.len() == self.last.capacity() {
            // Every flow stands in one: doubling would reserve as much as all of them take.
            self.last.reserve_exact((4 + self.last.len() / 4).min(TOGETHER - self.last.len()));
        }
        self.last.push(entry);
    }

    fn into_entries(self) -> impl Iterator<Item = Entry> {
        self.full.into_iter().flat_map(|full| *full).flatten().chain(self.last)
    }
}

#[derive(Debug)]
pub(super) struct Wheel {
    slots: Vec<Slot>,
    entries: usize,
    /// The last second whose slot was looked at; `None` before the first packet.
    second: Option<i64>,
}

impl Wheel {
    pub(super) fn new() -> Wheel {
        Wheel { slots: (0..SLOTS).map(|_| Slot::default()).collect(), entries: 0, second: None }
    }

    /// Puts an entry where it comes up in the first whole second after `deadline`.
    pub(super) fn insert(&mut self, entry: Entry, deadline: Timestamp) {
        let due = second(deadline).saturating_add(1);
        let due = self.second.map_or(due, |now| due.max(now.saturating_add(1)));
        self.slots[due.rem_euclid(SLOTS) as usize].push(entry);
        self.entries += 1;
    }

    /// Entries in all slots.
    pub(super) fn len(&self) -> usize {
        self.entries
    }

    /// Forgets entries that `keep` says no to.
    pub(super) fn retain(&mut self, keep: impl Fn(&Entry) -> bool) {
        self.entries = 0;
        for slot in &mut self.slots {
            let kept = std::mem::take(slot).into_entries().filter(|entry| keep(entry));
            for entry in kept {
                slot.push(entry);
                self.entries += 1;
            }
        }
    }

    /// Moves to `now` and hands out every entry whose slot was passed. Returns false at once within
    /// the same second, which is the usual case.
    pub(super) fn advance(&mut self, now: Timestamp, passed: &mut Vec<Entry>) -> bool {
        let now = second(now);
        let Some(last) = self.second else {
            self.second = Some(now);
            return false;
        };
        if now <= last {
            return false;
        }
        let steps = now.saturating_sub(last).min(SLOTS);
        for step in 1..=steps {
            let slot = last.saturating_add(step).rem_euclid(SLOTS) as usize;
            // Its memory goes too: every slot would keep what it took in the worst second.
            passed.extend(std::mem::take(&mut self.slots[slot]).into_entries());
        }
        self.entries -= passed.len();
        self.second = Some(now);
        !passed.is_empty()
    }
}

/// The whole second that a time is in.
pub(super) fn second(time: Timestamp) -> i64 {
    time.0.div_euclid(Timestamp::SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * Timestamp::SECOND)
    }

    #[test]
    fn entries_come_up_after_their_deadline_and_once() {
        let mut wheel = Wheel::new();
        let mut passed = Vec::new();
        wheel.advance(at(1000), &mut passed);
        let entry = Entry { id: 7, generation: 1 };
        wheel.insert(entry, at(1005));
        assert!(!wheel.advance(at(1005), &mut passed));
        assert!(wheel.advance(at(1006), &mut passed));
        assert_eq!(passed, [entry]);
        passed.clear();
        assert!(!wheel.advance(at(9000), &mut passed));
    }

    #[test]
    fn a_slot_with_very_many_hands_out_each_of_them() {
        let mut wheel = Wheel::new();
        let mut passed = Vec::new();
        wheel.advance(at(0), &mut passed);
        let count = 3 * TOGETHER as u32 + 7;
        for id in 0..count {
            wheel.insert(Entry { id, generation: 0 }, at(9));
        }
        wheel.retain(|entry| entry.id % 2 == 0);
        assert_eq!(wheel.len(), count.div_ceil(2) as usize);
        assert!(wheel.advance(at(10), &mut passed));
        assert!(passed.iter().map(|entry| entry.id).eq((0..count).step_by(2)));
        assert_eq!(wheel.len(), 0);
    }

    #[test]
    fn a_jump_over_the_whole_wheel_passes_every_slot() {
        let mut wheel = Wheel::new();
        let mut passed = Vec::new();
        wheel.advance(at(0), &mut passed);
        for id in 0..10 {
            wheel.insert(Entry { id, generation: 0 }, at(i64::from(id) * 100));
        }
        assert!(wheel.advance(at(1_000_000), &mut passed));
        assert_eq!(passed.len(), 10);
    }

    #[test]
    fn a_deadline_in_the_past_comes_up_with_the_next_second() {
        let mut wheel = Wheel::new();
        let mut passed = Vec::new();
        wheel.advance(at(1000), &mut passed);
        wheel.insert(Entry { id: 1, generation: 0 }, at(3));
        assert!(wheel.advance(at(1001), &mut passed));
    }

    #[test]
    fn times_before_the_epoch_and_at_the_ends_of_time_do_not_overflow() {
        let mut wheel = Wheel::new();
        let mut passed = Vec::new();
        wheel.advance(Timestamp(i64::MIN), &mut passed);
        wheel.insert(Entry { id: 1, generation: 0 }, Timestamp(i64::MAX));
        wheel.advance(Timestamp(i64::MAX), &mut passed);
        assert_eq!(passed.len(), 1);
    }
}
