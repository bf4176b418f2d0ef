//! Which open flows a live audit looks at, and when: those that began a while ago for violations to be told at
//! once, and all of them, one after the other, for rows that say how they stand.

use std::collections::VecDeque;

use crate::capture::Timestamp;
use crate::flow::First;

/// How long after its beginning a flow is looked at: once most handshakes are settled, and again for slow ones.
const AFTER: [i64; 4] =
    [Timestamp::SECOND, 4 * Timestamp::SECOND, 16 * Timestamp::SECOND, 64 * Timestamp::SECOND];
/// Flows that wait to be looked at again; further ones are looked at with all others.
const WAITING: usize = 1 << 20;

/// When flows are looked at.
#[derive(Debug)]
pub(super) struct OpenFlows {
    /// Flows that began, and those that are to be looked at again: each list in the order of its times.
    young: [VecDeque<Young>; AFTER.len()],
    /// Flows that began so far.
    begun: u64,
    /// How often each open flow gets a row, in nanoseconds.
    every: Option<i64>,
    /// When all were looked at last, and as far as then.
    looked: Option<Timestamp>,
    next: f64,
}

/// A flow that is to be looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Young {
    /// Its number, which another flow may have by then.
    pub(super) id: u32,
    pub(super) first: First,
    began: Timestamp,
    look: usize,
}

impl OpenFlows {
    pub(super) fn new(every: Option<i64>) -> OpenFlows {
        OpenFlows { young: Default::default(), begun: 0, every, looked: None, next: 0.0 }
    }

    /// Whether a flow began, of which there were `begun` in all, since this was last asked.
    pub(super) fn has_begun(&mut self, begun: u64) -> bool {
        std::mem::replace(&mut self.begun, begun) != begun
    }

    /// A flow began.
    pub(super) fn begun(&mut self, id: u32, first: First, began: Timestamp) {
        self.wait(Young { id, first, began, look: 0 });
    }

    /// A flow that was looked at has more to show.
    pub(super) fn again(&mut self, young: Young) {
        self.wait(Young { look: young.look + 1, ..young });
    }

    fn wait(&mut self, young: Young) {
        if let Some(waiting) = self.young.get_mut(young.look).filter(|waiting| waiting.len() < WAITING) {
            waiting.push_back(young);
        }
    }

    /// The next flow that is to be looked at for a violation.
    pub(super) fn next_young(&mut self, now: Timestamp) -> Option<Young> {
        let due = |young: &Young| young.began.0.saturating_add(AFTER[young.look]) <= now.0;
        self.young.iter_mut().find(|waiting| waiting.front().is_some_and(due))?.pop_front()
    }

    /// The numbers of flows whose turn it is to get a row, `numbers` being all there are; they come round once
    /// in the time that was asked for. How long a flow has been there must be asked of it.
    pub(super) fn turn(&mut self, now: Timestamp, numbers: u32) -> impl Iterator<Item = u32> + use<> {
        let since = self.looked.replace(now).map_or(0, |looked| now.0.saturating_sub(looked.0));
        let share = self.every.map_or(0.0, |every| (since as f64 / every as f64).min(1.0));
        let from = if self.next < f64::from(numbers) { self.next } else { 0.0 };
        let to = from + share * f64::from(numbers);
        self.next = if to < f64::from(numbers) { to } else { to - f64::from(numbers) };
        // Numbers whose place was passed, round the end.
        (from.ceil() as u32..to.ceil() as u32).map(move |number| number % numbers.max(1))
    }

    /// A flow that has been there this long gets rows.
    pub(super) fn is_long(&self, began: Timestamp, now: Timestamp) -> bool {
        self.every.is_some_and(|every| began.0.saturating_add(every) <= now.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp(milliseconds * 1_000_000)
    }

    #[test]
    fn a_flow_is_looked_at_a_while_after_it_began_and_again_later() {
        let mut open = OpenFlows::new(None);
        open.begun(3, (7, 0), at(0));
        open.begun(4, (8, 0), at(100));
        assert!(open.next_young(at(999)).is_none());
        let young = open.next_young(at(1000)).unwrap();
        assert_eq!((young.id, young.first), (3, (7, 0)));
        assert!(open.next_young(at(1000)).is_none());
        open.again(young);
        assert_eq!(open.next_young(at(3999)).unwrap().id, 4);
        assert!(open.next_young(at(3999)).is_none());
        let mut looks = 1;
        let mut next = open.next_young(at(4000));
        while let Some(young) = next {
            looks += 1;
            open.again(young);
            next = open.next_young(at(1_000_000));
        }
        assert_eq!(looks, AFTER.len());
    }

    #[test]
    fn every_number_comes_round_once_in_the_time_whatever_the_steps() {
        for (numbers, step) in [(1, 100), (10, 70), (1000, 999), (1000, 7), (7, 5000)] {
            let mut open = OpenFlows::new(Some(10 * Timestamp::SECOND));
            assert_eq!(open.turn(at(0), numbers).count(), 0);
            let mut seen = vec![0; numbers as usize];
            let mut now = 0;
            while now < 100_000 {
                now += step;
                open.turn(at(now), numbers).for_each(|number| seen[number as usize] += 1);
            }
            assert!(seen.iter().all(|count| (9..=11).contains(count)), "{numbers} {step} {seen:?}");
        }
    }

    #[test]
    fn a_table_that_grew_or_is_empty_is_no_trouble() {
        let mut open = OpenFlows::new(Some(Timestamp::SECOND));
        open.turn(at(0), 0).for_each(drop);
        assert_eq!(open.turn(at(500), 0).count(), 0);
        assert_eq!(open.turn(at(1000), 100).count(), 50);
        assert!(open.turn(at(1500), 10).all(|number| number < 10));
        assert_eq!(OpenFlows::new(None).turn(at(5), 10).count(), 0);
    }
}
