//! Conversations that nothing is heard of for long: what they have in common with others is kept once,
//! and each keeps what is its own.

use std::cell::RefCell;
use std::collections::HashSet;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::{Arc, LazyLock};

use foldhash::fast::RandomState;

use super::http1;
use super::inside::Inside;
use super::repeated::{CACHE_BYTES, Once};
use super::talk::{Common, Talk, Tls};
use super::tls::{self, Chain};

/// What conversations at rest have in common.
#[derive(Debug)]
pub(super) struct Alike<T> {
    common: Common,
    it: T,
    /// Stands for all of it.
    id: u64,
}

/// Whoever sends bytes is not to know which share a number.
static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::default);

impl<T: Eq + Hash> Alike<T> {
    fn new(common: Common, it: T) -> Alike<T> {
        let id = SEED.hash_one((&common, &it));
        Alike { common, it, id }
    }
}

impl<T: PartialEq> PartialEq for Alike<T> {
    fn eq(&self, other: &Alike<T>) -> bool {
        self.id == other.id && self.common == other.common && self.it == other.it
    }
}

impl<T: Eq> Eq for Alike<T> {}

impl<T> Hash for Alike<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

/// Everyone has caches of its own, as of names: there is no lock, and what is forgotten costs memory for a while.
#[derive(Debug)]
struct Cache<T> {
    known: HashSet<Arc<Alike<T>>, RandomState>,
    bytes: usize,
}

impl<T> Default for Cache<T> {
    fn default() -> Cache<T> {
        Cache { known: HashSet::default(), bytes: 0 }
    }
}

static ONE_HTTP1: Once<Alike<http1::Parser>> = Once::new();
static ONE_TLS: Once<Alike<tls::Shown>> = Once::new();

thread_local! {
    static HTTP1: RefCell<Cache<http1::Parser>> = RefCell::default();
    static TLS: RefCell<Cache<tls::Shown>> = RefCell::default();
}

impl<T: Eq> Cache<T> {
    /// The one that is known, if any is alike; it keeps so many bytes besides its own.
    fn get(&mut self, new: Alike<T>, held: usize, one_of_all: &Once<Alike<T>>) -> Arc<Alike<T>> {
        if let Some(known) = self.known.get(&new) {
            return Arc::clone(known);
        }
        let bytes = size_of::<Alike<T>>() + held;
        if self.bytes + bytes > CACHE_BYTES {
            self.known.clear();
            self.bytes = 0;
        }
        self.bytes += bytes;
        let new = one_of_all.get(new.id, new);
        self.known.insert(Arc::clone(&new));
        new
    }
}

/// HTTP/1 at rest.
#[derive(Debug)]
pub(super) struct RestingHttp1 {
    alike: Arc<Alike<http1::Parser>>,
    counts: http1::Counts,
}

impl RestingHttp1 {
    /// Puts a conversation to rest, if it can be.
    pub(super) fn of(talk: &Talk<http1::Parser>) -> Option<Box<RestingHttp1>> {
        let common = rests(talk)?;
        let mut parser = talk.parser.clone();
        let counts = parser.take_counts()?;
        let held = parser.evidence().held();
        let alike = HTTP1.with_borrow_mut(|cache| cache.get(Alike::new(common, parser), held, &ONE_HTTP1));
        Some(Box::new(RestingHttp1 { alike, counts }))
    }

    pub(super) fn wake(&self) -> Box<Talk<http1::Parser>> {
        let mut parser = self.alike.it.clone();
        parser.put_counts(&self.counts);
        Box::new(Talk { common: self.alike.common.clone(), past: None, parser })
    }

    pub(super) fn common(&self) -> &Common {
        &self.alike.common
    }

    /// What stands for all that it has in common, and the bytes that takes.
    pub(super) fn alike(&self) -> (u64, usize) {
        (self.alike.id, size_of::<Alike<http1::Parser>>() + self.alike.it.evidence().held())
    }
}

/// TLS at rest.
#[derive(Debug)]
pub(super) struct RestingTls {
    alike: Arc<Alike<tls::Shown>>,
    own: tls::Own,
}

impl RestingTls {
    /// Puts a conversation to rest, if it can be.
    pub(super) fn of(talk: &Talk<Tls>) -> Option<Box<RestingTls>> {
        let common = rests(talk).filter(|_| talk.parser.inside.is_empty())?;
        let (shown, own) = tls::Shown::take(&talk.parser.parser, &talk.parser.watch)?;
        let held = shown.held() + shown.chains().into_iter().flatten().map(Chain::held).sum::<usize>();
        let alike = TLS.with_borrow_mut(|cache| cache.get(Alike::new(common, shown), held, &ONE_TLS));
        Some(Box::new(RestingTls { alike, own }))
    }

    pub(super) fn wake(&self) -> Box<Talk<Tls>> {
        let (parser, watch) = self.alike.it.put_together(&self.own);
        let parser = Tls { parser, inside: Inside::default(), watch };
        Box::new(Talk { common: self.alike.common.clone(), past: None, parser })
    }

    pub(super) fn common(&self) -> &Common {
        &self.alike.common
    }

    /// As [`RestingHttp1::alike`], but for the chains.
    pub(super) fn alike(&self) -> (u64, usize) {
        (self.alike.id, size_of::<Alike<tls::Shown>>() + self.alike.it.held())
    }

    pub(super) fn chains(&self) -> [Option<&Chain>; 2] {
        self.alike.it.chains()
    }
}

/// What belongs to a flow whose beginning was captured and that spoke nothing else before: only such rest.
fn rests<P>(talk: &Talk<P>) -> Option<Common> {
    (talk.past.is_none() && talk.common.from_start).then(|| talk.common.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_flows_own_is_few_bytes() {
        assert_eq!(size_of::<RestingTls>(), 40);
        assert_eq!(size_of::<RestingHttp1>(), 40);
        assert_eq!(size_of::<Talk<crate::protocol::nats::Parser>>(), 40);
    }
}
