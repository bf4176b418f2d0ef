//! Conversations that nothing is heard of for long, or need be: what they have in common with others is kept once,
//! and each keeps what is its own.

use std::cell::RefCell;
use std::collections::HashSet;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::{Arc, LazyLock};

use foldhash::fast::RandomState;

use super::http1;
use super::inside::Inside;
use super::talk::{Common, Talk, Tls};
use super::tls::{self, Chain};

/// What one cache remembers at most; then it is emptied and begins anew.
const CACHED: usize = 1024;

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
type Cache<T> = RefCell<HashSet<Arc<Alike<T>>, RandomState>>;

thread_local! {
    static HTTP1: Cache<http1::Parser> = RefCell::default();
    static TLS: Cache<tls::Concluded> = RefCell::default();
}

/// The one that is known, if any is alike.
fn kept<T: Eq>(cache: &Cache<T>, new: Alike<T>) -> Arc<Alike<T>> {
    let mut known = cache.borrow_mut();
    if let Some(known) = known.get(&new) {
        return Arc::clone(known);
    }
    if known.len() >= CACHED {
        known.clear();
    }
    let new = Arc::new(new);
    known.insert(Arc::clone(&new));
    new
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
        let alike = HTTP1.with(|cache| kept(cache, Alike::new(common, parser)));
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

/// TLS of which nothing more need be read.
#[derive(Debug)]
pub(super) struct RestingTls {
    alike: Arc<Alike<tls::Concluded>>,
    own: tls::Own,
}

impl RestingTls {
    /// Puts a conversation to rest, if it can be.
    pub(super) fn of(talk: &Talk<Tls>) -> Option<Box<RestingTls>> {
        let common = rests(talk).filter(|_| talk.parser.inside.is_empty())?;
        let (concluded, own) = tls::Concluded::take(&talk.parser.parser, &talk.parser.watch)?;
        let alike = TLS.with(|cache| kept(cache, Alike::new(common, concluded)));
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
        (self.alike.id, size_of::<Alike<tls::Concluded>>() + self.alike.it.held())
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
