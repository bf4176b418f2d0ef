//! Which flows are due: a hashed wheel of one-second slots in packet time.
//!
//! A flow stands in one slot; packets do not move it. When its slot comes up it is either due, or put
//! into the slot of its new deadline (the scheme of retina's timer wheel).

use crate::capture::Timestamp;

/// Slots in the wheel: longer than the longest time-out, so that most flows come up once.
const SLOTS: i64 = 4096;

/// A flow's entry: its place in the slab and the generation of that place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: u32,
    pub(super) generation: u32,
}

#[derive(Debug)]
pub(super) struct Wheel {
    slots: Vec<Vec<Entry>>,
    entries: usize,
    /// The last second whose slot was looked at; `None` before the first packet.
    second: Option<i64>,
}

impl Wheel {
    pub(super) fn new() -> Wheel {
        Wheel { slots: (0..SLOTS).map(|_| Vec::new()).collect(), entries: 0, second: None }
    }

    /// Puts an entry where it comes up in the first whole second after `deadline`.
    pub(super) fn insert(&mut self, entry: Entry, deadline: Timestamp) {
        let due = second(deadline).saturating_add(1);
        let due = self.second.map_or(due, |now| due.max(now.saturating_add(1)));
        let slot = &mut self.slots[due.rem_euclid(SLOTS) as usize];
        if slot.len() == slot.capacity() {
            // Every flow stands in one: doubling would reserve as much as all of them take.
            slot.reserve_exact(4 + slot.len() / 4);
        }
        slot.push(entry);
        self.entries += 1;
    }

    /// Entries in all slots.
    pub(super) fn len(&self) -> usize {
        self.entries
    }

    /// Forgets entries that `keep` says no to.
    pub(super) fn retain(&mut self, keep: impl Fn(&Entry) -> bool) {
        for slot in &mut self.slots {
            slot.retain(&keep);
            slot.shrink_to(slot.len() + slot.len() / 4);
        }
        self.entries = self.slots.iter().map(Vec::len).sum();
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
            passed.append(&mut std::mem::take(&mut self.slots[slot]));
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
