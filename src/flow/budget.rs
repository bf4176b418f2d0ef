//! What all flows of a table may keep in memory together.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::reader::{Reader, Shared};
use crate::packet::Allowance;

/// What a reader kept when that was counted last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    own: usize,
    shared: [Option<Shared>; 3],
}

impl Held {
    /// What it keeps now.
    pub(super) fn of(reader: &impl Reader) -> Held {
        Held { own: reader.held(), shared: reader.shared() }
    }
}

/// Counts the bytes that streams and readers keep, and those that had to be given up.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) held: usize,
    pub(super) cap: usize,
    /// Times a flow had to give up bytes because the cap was reached.
    pub(super) refused: u64,
    /// Times a flow let go of bytes that were lent and acknowledged, and compared no more with them.
    pub(super) uncompared: u64,
    /// What of `held` was lent, and is kept to be compared.
    pub(super) lent: usize,
    /// What readers may spend.
    pub(super) allowance: Allowance,
    /// How many readers keep what they have in common.
    shared: HashMap<u64, u32, RandomState>,
}

impl Budget {
    pub(super) fn new(cap: usize) -> Budget {
        Budget {
            held: 0,
            cap,
            refused: 0,
            uncompared: 0,
            lent: 0,
            allowance: Allowance::new(),
            shared: HashMap::default(),
        }
    }

    /// Counts what a reader keeps, where that changed since `counted`. `false` if it kept more and there is no
    /// room: then it was made to let go of it.
    #[inline(always)]
    pub(super) fn settle(&mut self, counted: &mut Held, reader: &mut impl Reader) -> bool {
        let own = reader.held();
        if own == counted.own {
            debug_assert_eq!(counted.shared, reader.shared());
            return true;
        }
        self.settle_changed(counted, Held { own, shared: reader.shared() }, reader)
    }

    fn settle_changed(&mut self, counted: &mut Held, now: Held, reader: &mut impl Reader) -> bool {
        let held = self.held;
        self.count(counted, now);
        let has_room = self.held <= self.cap || self.held <= held;
        if !has_room {
            self.refused += 1;
            self.release(counted);
            *counted = Held::default();
            reader.let_go();
        }
        has_room
    }

    /// As [`Budget::settle`], of a reader that keeps the same in another way: there is room for that.
    pub(super) fn recount(&mut self, counted: &mut Held, reader: &impl Reader) {
        self.count(counted, Held::of(reader));
    }

    fn count(&mut self, counted: &mut Held, now: Held) {
        let before = std::mem::replace(counted, now);
        self.held = (self.held + now.own).saturating_sub(before.own);
        if before.shared != now.shared {
            now.shared.iter().flatten().for_each(|shared| self.share(shared));
            before.shared.iter().flatten().for_each(|shared| self.unshare(shared));
        }
    }

    /// A reader is gone that kept this.
    pub(super) fn release(&mut self, held: &Held) {
        self.held = self.held.saturating_sub(held.own);
        held.shared.iter().flatten().for_each(|shared| self.unshare(shared));
    }

    fn share(&mut self, shared: &Shared) {
        let readers = self.shared.entry(shared.id).or_default();
        if *readers == 0 {
            self.held += shared.bytes;
        }
        *readers += 1;
    }

    fn unshare(&mut self, shared: &Shared) {
        let Some(readers) = self.shared.get_mut(&shared.id) else { return };
        *readers -= 1;
        if *readers == 0 {
            self.shared.remove(&shared.id);
            self.held = self.held.saturating_sub(shared.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Timestamp;
    use crate::flow::Want;
    use crate::packet::{Gap, Side};

    /// Keeps what it is told to.
    #[derive(Default)]
    struct Keeper(usize, Option<u64>);

    impl Reader for Keeper {
        type Context = ();
        fn new((): &()) -> Keeper {
            Keeper::default()
        }
        fn begins(&mut self) {}
        fn read(&mut self, _: Side, _: &[u8], _: Timestamp, _: &mut Allowance) -> Want {
            Want::NOTHING
        }
        fn gap(&mut self, _: Side, _: Gap, _: u64, _: Timestamp) -> u64 {
            0
        }
        fn closed(&mut self, _: Side, _: bool, _: Timestamp) {}
        fn datagram(&mut self, _: Side, _: &[u8], _: bool, _: Timestamp) -> bool {
            false
        }
        fn held(&self) -> usize {
            self.0
        }
        fn shared(&self) -> [Option<Shared>; 3] {
            [self.1.map(|id| Shared { id, bytes: 100 }), None, None]
        }
        fn let_go(&mut self) {
            *self = Keeper::default();
        }
    }

    #[test]
    fn what_readers_have_in_common_counts_once_and_until_the_last_is_gone() {
        let mut budget = Budget::new(1000);
        let mut readers = [Keeper(10, Some(7)), Keeper(20, Some(7)), Keeper(30, Some(8))];
        let mut counted = [Held::default(); 3];
        for (reader, counted) in readers.iter_mut().zip(&mut counted) {
            assert!(budget.settle(counted, reader));
        }
        assert_eq!(budget.held, 60 + 200);
        let [first, second, third] = &mut readers;
        budget.release(&Held::of(first));
        assert_eq!(budget.held, 50 + 200);
        budget.release(&Held::of(second));
        *third = Keeper(31, None);
        assert!(budget.settle(&mut counted[2], third));
        assert_eq!(budget.held, 31);
    }

    #[test]
    fn only_a_reader_that_grows_is_made_to_let_go() {
        let mut budget = Budget::new(100);
        let (mut large, mut counted) = (Keeper(90, None), Held::default());
        assert!(budget.settle(&mut counted, &mut large));
        for mut late in [Keeper(20, None), Keeper(1, Some(1))] {
            assert!(!budget.settle(&mut Held::default(), &mut late));
            assert_eq!((late.0, budget.held), (0, 90));
        }
        large.0 = 85;
        assert!(budget.settle(&mut counted, &mut large), "it shrinks");
        assert_eq!((budget.held, budget.refused), (85, 2));
    }
}
