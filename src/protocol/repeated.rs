//! What many connections show alike, kept once: hellos of one program, names, certificate chains.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use foldhash::fast::RandomState;

/// Bytes that all keys of one cache may take; then it is emptied and begins anew.
pub(super) const CACHE_BYTES: usize = 1 << 20;
/// The longest key that is remembered, in bytes.
pub(super) const KEY_CAP: usize = 16 * 1024;

/// Values made of bytes, by these bytes. Everyone has a cache of its own: there is no lock, and what is
/// forgotten costs only that the next value alike is made again.
#[derive(Debug)]
pub(super) struct Repeated<V> {
    known: HashMap<Box<[u8]>, V, RandomState>,
    bytes: usize,
}

impl<V> Default for Repeated<V> {
    fn default() -> Repeated<V> {
        Repeated { known: HashMap::default(), bytes: 0 }
    }
}

impl<V: Clone> Repeated<V> {
    /// The value of `key`: the one known, or what `make` makes, which is remembered.
    pub(super) fn get(&mut self, key: &[u8], make: impl FnOnce() -> Option<V>) -> Option<V> {
        if let Some(known) = self.known.get(key) {
            return Some(known.clone());
        }
        let value = make()?;
        if key.len() <= KEY_CAP {
            // An entry costs more than its key.
            let bytes = key.len() + size_of::<(Box<[u8]>, V)>();
            if self.bytes + bytes > CACHE_BYTES {
                self.known.clear();
                self.bytes = 0;
            }
            self.bytes += bytes;
            self.known.insert(Box::from(key), value.clone());
        }
        Some(value)
    }
}

/// Values of which there is one at any time of all that are alike, whichever thread or cache forgot it: so who counts
/// what all keep may count it once. Looked at where a cache knows nothing, and when a connection comes to rest.
pub(super) struct Once<T>(LazyLock<Mutex<Known<T>>>);

struct Known<T> {
    values: HashMap<u64, Weak<T>, RandomState>,
    /// As long as this it is rid of values that are gone.
    full: usize,
}

/// Values below which none are looked through for those that are gone.
const FEW: usize = 1024;

impl<T: PartialEq> Once<T> {
    pub(super) const fn new() -> Once<T> {
        Once(LazyLock::new(|| Mutex::new(Known { values: HashMap::default(), full: FEW })))
    }

    /// The one that is alike, or else this; `id` stands for all of it.
    pub(super) fn get(&self, id: u64, new: T) -> Arc<T> {
        let Known { values, full } = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match values.get(&id).and_then(Weak::upgrade) {
            Some(known) if *known == new => known,
            known => {
                let new = Arc::new(new);
                // Two that have one number are two: it happens to nobody in practice.
                if known.is_none() {
                    values.insert(id, Arc::downgrade(&new));
                }
                if values.len() > *full {
                    values.retain(|_, value| value.strong_count() > 0);
                    *full = (2 * values.len()).max(FEW);
                }
                new
            }
        }
    }
}

thread_local! {
    static NAMES: RefCell<Repeated<Arc<[u8]>>> = RefCell::default();
}

/// A name that other flows are likely to show as well: of a host, of a protocol.
pub(super) fn name(bytes: &[u8]) -> Arc<[u8]> {
    let made = NAMES.with_borrow_mut(|names| names.get(bytes, || Some(Arc::from(bytes))));
    made.unwrap_or_else(|| Arc::from(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(cache: &mut Repeated<Arc<[u8]>>, key: &[u8]) -> Arc<[u8]> {
        cache.get(key, || Some(Arc::from(key))).expect("it is made")
    }

    #[test]
    fn what_repeats_is_the_same_value() {
        let mut cache = Repeated::default();
        let first = made(&mut cache, b"doppler");
        assert!(Arc::ptr_eq(&first, &made(&mut cache, b"doppler")));
        assert_eq!(&*made(&mut cache, b"metron"), b"metron");
        assert!(cache.get(b"nothing", || None).is_none());
    }

    #[test]
    fn there_is_one_of_all_that_are_alike_until_nobody_has_it() {
        static ONCE: Once<Vec<u8>> = Once::new();
        let first = ONCE.get(1, vec![1]);
        assert!(Arc::ptr_eq(&first, &ONCE.get(1, vec![1])));
        assert_eq!(*ONCE.get(1, vec![2]), [2], "a number alone says nothing");
        for id in 2..10 * FEW as u64 {
            ONCE.get(id, Vec::new());
        }
        assert!(Arc::ptr_eq(&first, &ONCE.get(1, vec![1])));
        assert!(ONCE.0.lock().unwrap().values.len() <= FEW + 1);
    }

    #[test]
    fn the_cache_is_capped_and_goes_on() {
        let mut cache = Repeated::default();
        let first = made(&mut cache, b"doppler");
        for number in 0..CACHE_BYTES as u64 / 32 {
            made(&mut cache, &number.to_be_bytes());
            assert!(cache.bytes <= CACHE_BYTES);
        }
        assert!(!Arc::ptr_eq(&first, &made(&mut cache, b"doppler")));
        let long = vec![7; KEY_CAP + 1];
        assert!(!Arc::ptr_eq(&made(&mut cache, &long), &made(&mut cache, &long)));
    }
}
