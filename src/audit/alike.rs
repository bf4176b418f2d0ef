//! Judgements of flows that are like others ([`Likeness`]), with what their rows have in common.
//!
//! Only what comes a second time is kept: a flood of flows that are all different costs a look-up each. What is
//! forgotten costs only that it is made again.

use std::collections::HashMap;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use super::Plan;
use crate::policy::{Judgement, Likeness, Place, RowRef, Shown, Subject, Verdict};
use crate::report::Common;

/// Judgements that are kept; then all are forgotten.
const KEPT: usize = 2048;
/// Likenesses that are remembered to have come once, by their hashes: of two in one place, the later.
const ONCE: usize = 4096;

/// What the tables say of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) judgement: Judgement,
    /// The row of an overlay not in force that would explain a violation.
    pub(super) known_deviation: Option<RowRef>,
}

impl Said {
    pub(super) fn of(plan: &Plan, subject: &Subject<'_>, ends: &[Place<'_>; 2]) -> Said {
        let judgement = plan.policy.judge(subject, ends);
        let known_deviation = match judgement.verdict {
            Verdict::Violation => plan.deviations.explains(subject, ends),
            Verdict::Allowed | Verdict::Unproven => None,
        };
        Said { judgement, known_deviation }
    }
}

/// What holds of all flows that are alike.
pub(super) struct Kept {
    pub(super) said: Said,
    /// What their rows have in common, if rows are made.
    pub(super) row: Option<Common>,
    pub(super) likeness: Likeness,
    /// What the likeness names by its place: held so that nothing else comes to stand there.
    pub(super) _shown: [Shown; 2],
}

/// Where something alike was looked for: it is worth keeping if it came before.
pub(super) struct Sought {
    hash: u64,
    pub(super) came_before: bool,
}

pub(super) struct Alike {
    hasher: RandomState,
    once: Box<[u64; ONCE]>,
    kept: HashMap<u64, Kept, RandomState>,
}

impl Default for Alike {
    fn default() -> Alike {
        Alike { hasher: RandomState::default(), once: Box::new([0; ONCE]), kept: HashMap::default() }
    }
}

impl Alike {
    /// What is kept of flows that have this likeness, or else where to keep it.
    pub(super) fn find(&mut self, likeness: &Likeness) -> Result<&Kept, Sought> {
        let hash = self.hasher.hash_one(likeness);
        match self.kept.get(&hash) {
            Some(kept) if kept.likeness == *likeness => Ok(kept),
            _ => {
                let once = &mut self.once[hash as usize % ONCE];
                let came_before = std::mem::replace(once, hash) == hash;
                Err(Sought { hash, came_before })
            }
        }
    }

    /// Keeps what was looked for.
    pub(super) fn keep(&mut self, sought: &Sought, kept: Kept) {
        if self.kept.len() >= KEPT {
            self.kept.clear();
        }
        self.kept.insert(sought.hash, kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{Case, DOPPLER, STRANGER, policy, silent};

    #[test]
    fn what_comes_a_second_time_is_kept_and_then_found() {
        let plan = Plan::new(policy());
        let case = Case::new(STRANGER, DOPPLER, 8082, silent());
        let subject = case.subject();
        let ends = plan.policy.ends_of(&subject);
        let said = Said::of(&plan, &subject, &ends);
        let likeness = || Likeness::of(&subject, &ends, true).expect("nothing of its own");
        let mut alike = Alike::default();
        assert!(alike.find(&likeness()).is_err_and(|sought| !sought.came_before));
        let Err(sought) = alike.find(&likeness()) else { panic!("it was not kept") };
        assert!(sought.came_before);
        let kept = Kept { said: said.clone(), row: None, likeness: likeness(), _shown: Default::default() };
        alike.keep(&sought, kept);
        assert!(alike.find(&likeness()).is_ok_and(|kept| kept.said == said));
    }
}
