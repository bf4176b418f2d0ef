//! Conversations that nothing is heard of for long: what they have in common with others is kept once,
//! and each keeps what is its own.

use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, LazyLock};

use foldhash::fast::RandomState;

use super::http1;
use super::inside::Inside;
use super::repeated::Once;
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

static ONE_HTTP1: Once<Alike<http1::Parser>> = Once::new();
static ONE_TLS: Once<Alike<tls::Shown>> = Once::new();

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
        let alike = Alike::new(common, parser);
        Some(Box::new(RestingHttp1 { alike: ONE_HTTP1.get(alike.id, alike), counts }))
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
        let alike = Alike::new(common, shown);
        Some(Box::new(RestingTls { alike: ONE_TLS.get(alike.id, alike), own }))
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
