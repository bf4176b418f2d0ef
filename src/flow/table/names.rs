//! Which flow of the table has a key: the newest of that key, and those before it.

use std::hash::BuildHasher;

use hashbrown::hash_table::OccupiedEntry;

use super::{FlowTable, Found, NOWHERE};
use crate::capture::near;
use crate::flow::Key;
use crate::flow::reader::Reader;
use crate::flow::record::{FOLLOWS, Hot, NETWORK, OLD, WIDE};
use crate::packet::{Addresses, Head, Side, Tcp, Transport};

/// So many places of the index share a cache line.
const NEIGHBOURS: usize = 64 / size_of::<Named>();

impl<R: Reader> FlowTable<R> {
    /// Where to look for a key; not yet looked up.
    #[inline]
    pub(super) fn hashed(&self, key: &Key) -> Found {
        Found { half: self.hasher.hash_one(key) as u32, id: NOWHERE }
    }

    #[inline]
    pub(super) fn find(&self, half: u32, key: &Key) -> Option<u32> {
        let same = |named: &Named| named.half == half && self.has_key(named.id, &self.hot[named.id], key);
        self.index.find(Named { half, id: 0 }.hash(), same).map(|named| named.id)
    }

    /// Whether a live flow has this key.
    #[inline(always)]
    pub(super) fn has_key(&self, id: u32, hot: &Hot, key: &Key) -> bool {
        let same = match key.addresses {
            Addresses::V4(both) => !hot.is(WIDE) && [hot.a, hot.b] == both,
            Addresses::V6([a, b]) => hot.is(WIDE) && self.wide[hot.a] == a && self.wide[hot.b] == b,
        };
        // What is in no network does not look at the encapsulation.
        same && hot.ports == key.ports
            && hot.transport == key.transport.0
            && hot.is(NETWORK) == key.network.is_some()
            && (key.network.is_none() || self.encapsulation(id).network() == key.network)
    }

    /// The key of a live flow.
    pub(super) fn key(&self, id: u32) -> Key {
        let hot = &self.hot[id];
        Key {
            addresses: match hot.is(WIDE) {
                true => Addresses::V6([self.wide[hot.a], self.wide[hot.b]]),
                false => Addresses::V4([hot.a, hot.b]),
            },
            ports: hot.ports,
            transport: Transport(hot.transport),
            network: if hot.is(NETWORK) { self.encapsulation(id).network() } else { None },
        }
    }

    /// The flow before this one under the same key.
    pub(super) fn previous(&self, id: u32) -> Option<u32> {
        if self.hot.get(id)?.is(FOLLOWS) { self.followed.get(&id).copied() } else { None }
    }

    pub(super) fn set_previous(&mut self, id: u32, previous: Option<u32>) {
        self.hot[id].set(FOLLOWS, previous.is_some());
        match previous {
            Some(previous) => self.followed.insert(id, previous),
            None => self.followed.remove(&id),
        };
    }

    /// The entry that names this flow, unless it is an older one of its key.
    pub(super) fn entry(&mut self, half: u32, id: u32) -> Option<OccupiedEntry<'_, Named>> {
        self.index.find_entry(Named { half, id }.hash(), |named| named.id == id).ok()
    }

    /// Which of the connections that used these ports one after the other a packet belongs to.
    #[inline]
    pub(super) fn choose(&self, newest: u32, head: &Head) -> Choice {
        match head.tcp {
            Some(tcp) if is_opening(head) || self.hot[newest].is(FOLLOWS) => {
                self.choose_among(newest, head.ends.sender, tcp, is_opening(head))
            }
            _ => Choice::This(newest),
        }
    }

    fn choose_among(&self, newest: u32, side: Side, tcp: Tcp, opening: bool) -> Choice {
        let generations = || std::iter::successors(Some(newest), |id| self.previous(*id));
        let of = |id: u32| self.hot[id].connection();
        if opening {
            if let Some(id) = generations().find(|id| of(*id).initial(side) == Some(tcp.sequence)) {
                return Choice::This(id);
            }
            let last = of(newest);
            let known = last.initial(side).is_some() || last.is_over();
            return if known { Choice::Successor(newest) } else { Choice::This(newest) };
        }
        let acknowledgement = tcp.flags.ack().then_some(tcp.acknowledgement);
        let distance = |id: &u32| of(*id).distance(side, tcp.sequence, acknowledgement);
        // The first of the nearest, which is the newest of them.
        Choice::This(generations().min_by_key(distance).unwrap_or(newest))
    }

    /// Asks for where the index has a flow or will have it, by the flow there and one further on: an index that is
    /// worth asking for is nearly full. Only a hint, as it takes for granted where a hash table begins to look.
    #[inline(always)]
    pub(super) fn near_place(&self, half: u32) {
        let last = self.index.num_buckets().wrapping_sub(1);
        let place = Named { half, id: 0 }.hash() as usize;
        for at in [0, NEIGHBOURS] {
            self.index.get_bucket(place.wrapping_add(at) & last).into_iter().for_each(near);
        }
    }

    /// Takes a flow that ends out of the index, or out of the chain of flows that used the same key one
    /// after the other.
    pub(super) fn unname(&mut self, id: u32, hot: &Hot, key: &Key) {
        let previous = if hot.is(FOLLOWS) { self.followed.remove(&id) } else { None };
        let half = self.hashed(key).half;
        if !hot.is(OLD) {
            if let Some(entry) = self.entry(half, id) {
                match previous {
                    Some(previous) => entry.into_mut().id = previous,
                    None => drop(entry.remove()),
                }
            }
            if let Some(previous) = previous {
                self.hot[previous].set(OLD, false);
            }
            return;
        }
        let mut at = self.find(half, key);
        while let Some(newer) = at {
            at = self.previous(newer);
            if at == Some(id) {
                self.set_previous(newer, previous);
                return;
            }
        }
    }
}

/// What the index holds of a flow: with half its hash beside it, most others are told apart and the
/// index grows without a look at the flows themselves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named {
    pub(super) half: u32,
    pub(super) id: u32,
}

impl Named {
    /// The hash under which it stands: the index takes from both its ends.
    #[inline]
    pub(super) fn hash(&self) -> u64 {
        u64::from(self.half) << 32 | u64::from(self.half)
    }
}

pub(super) enum Choice {
    This(u32),
    /// A new connection on the ports of this one.
    Successor(u32),
}

/// A SYN that answers none: it may begin another connection.
#[inline(always)]
pub(super) fn is_opening(head: &Head) -> bool {
    head.tcp.is_some_and(|tcp| tcp.flags.syn() && !tcp.flags.ack())
}
