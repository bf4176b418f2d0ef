//! Flows that nothing is heard of for a while: what is kept of their bytes is made to take less.

use super::FlowTable;
use super::ending::{AT_ONCE, CLOSED, STALE, is_named};
use crate::capture::Timestamp;
use crate::flow::reader::Reader;
use crate::flow::wheel::Entry;

/// How long after the last packet of a flow: as long as a closed one stays known, what comes late or doubly has come.
pub(super) const REST: i64 = CLOSED;
/// Of flows that wait, when they are very many, a part like this is looked at in each second that begins.
const SHARE: usize = 16;
/// While flows take up no more than such a part of the table, and their bytes no more than such a part of what these may
/// be, they stay as they are: to take less costs more than it saves.
const FLOWS: usize = 16;
const BYTES: usize = 4;

/// A flow that keeps something of its bytes, and when it is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Restless {
    due: Timestamp,
    entry: Entry,
}

impl Restless {
    pub(super) fn new(entry: Entry, now: Timestamp) -> Restless {
        Restless { due: Timestamp(now.0.saturating_add(REST)), entry }
    }
}

impl<R: Reader> FlowTable<R> {
    /// A flow began to keep something of its bytes.
    pub(super) fn wait_for_rest(&mut self, id: u32, now: Timestamp) {
        let entry = Entry { id, generation: self.cold[id].generation };
        self.restless.push_back(Restless::new(entry, now));
        if self.restless.len() > 2 * self.live + STALE {
            // Flows that ended are still in it until they are due, and some more than once.
            let Self { restless, hot, cold, .. } = self;
            let mut is_in = vec![false; hot.len() as usize];
            restless.retain(|Restless { entry, .. }| {
                is_named(hot, cold, *entry) && !std::mem::replace(&mut is_in[entry.id as usize], true)
            });
        }
    }

    /// Puts flows to rest that nothing was heard of for long enough; others are looked at again.
    pub(super) fn rest(&mut self, now: Timestamp) {
        let most = AT_ONCE.max(self.restless.len() / SHARE);
        let is_roomy = self.live <= self.limits.flows / FLOWS && self.budget.held <= self.budget.cap / BYTES;
        for _ in 0..most {
            let Some(Restless { entry, .. }) = self.restless.pop_front_if(|next| next.due <= now) else {
                break;
            };
            if !is_named(&self.hot, &self.cold, entry) {
                continue;
            }
            let is_idle = self.hot[entry.id].touched.0.saturating_add(REST) <= now.0;
            if !is_idle || is_roomy || !self.cold[entry.id].rest(&mut self.awake, &mut self.budget) {
                self.restless.push_back(Restless::new(entry, now));
            }
        }
        if self.restless.len() < self.restless.capacity() / 4 {
            self.restless.shrink_to_fit();
        }
    }
}
