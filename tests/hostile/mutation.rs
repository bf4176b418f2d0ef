//! Bytes made from other bytes, as a fuzzer without coverage would.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// The longest input made.
const LONGEST: usize = 40_000;
/// Numbers at which lengths and counts go wrong.
const NUMBERS: [u64; 10] = [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX];

/// Arbitrary bytes, or one of these changed in a few places.
pub fn inputs(seeds: Vec<Vec<u8>>) -> BoxedStrategy<Vec<u8>> {
    let arbitrary = vec(any::<u8>(), 0..600);
    if seeds.is_empty() {
        return arbitrary.boxed();
    }
    let changed =
        (select(seeds.clone()), select(seeds), vec(change(), 0..6)).prop_map(|(seed, other, changes)| {
            let mut bytes = seed;
            for change in changes {
                change.apply(&mut bytes, &other);
                bytes.truncate(LONGEST);
            }
            bytes
        });
    prop_oneof![1 => arbitrary, 9 => changed].boxed()
}

#[derive(Clone, Debug)]
enum Change {
    /// One byte is another.
    Set(Index, u8),
    /// One bit is turned.
    Turn(Index, u8),
    /// Bytes are put in.
    Insert(Index, Vec<u8>),
    /// Bytes are taken out.
    Remove(Index, u16),
    /// Bytes stand there again and again.
    Repeat(Index, u8, u8),
    /// A number of so many bytes, in either order.
    Number(Index, u64, usize, bool),
    /// What follows is another seed's.
    Splice(Index, Index),
    /// The end is missing.
    Cut(Index),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (at(), 0u8..8).prop_map(|(at, bit)| Change::Turn(at, bit)),
        (at(), vec(any::<u8>(), 1..20)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (at(), 1u16..300).prop_map(|(at, length)| Change::Remove(at, length)),
        (at(), 1u8..60, 1u8..100).prop_map(|(at, length, times)| Change::Repeat(at, length, times)),
        (at(), select(&NUMBERS), select(&[1, 2, 3, 4, 8]), any::<bool>())
            .prop_map(|(at, number, width, big)| Change::Number(at, number, width, big)),
        (at(), at()).prop_map(|(at, from)| Change::Splice(at, from)),
        at().prop_map(Change::Cut),
    ]
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>, other: &[u8]) {
        let place = |at: &Index, bytes: &[u8]| at.index(bytes.len() + 1);
        match self {
            Change::Set(at, byte) => {
                if let Some(place) = one(at, bytes) {
                    *place = *byte;
                }
            }
            Change::Turn(at, bit) => {
                if let Some(place) = one(at, bytes) {
                    *place ^= 1 << bit;
                }
            }
            Change::Insert(at, more) => {
                let at = place(at, bytes);
                bytes.splice(at..at, more.iter().copied());
            }
            Change::Remove(at, length) => {
                let at = place(at, bytes);
                let end = (at + usize::from(*length)).min(bytes.len());
                bytes.drain(at..end);
            }
            Change::Repeat(at, length, times) => {
                let at = place(at, bytes);
                let end = (at + usize::from(*length)).min(bytes.len());
                let again = bytes[at..end].repeat(usize::from(*times));
                bytes.splice(at..at, again);
            }
            Change::Number(at, number, width, big) => {
                let at = place(at, bytes);
                let number =
                    if *big { &number.to_be_bytes()[8 - width..] } else { &number.to_le_bytes()[..*width] };
                let end = (at + width).min(bytes.len());
                bytes.splice(at..end, number.iter().copied());
            }
            Change::Splice(at, from) => {
                bytes.truncate(place(at, bytes));
                bytes.extend(&other[place(from, other)..]);
            }
            Change::Cut(at) => bytes.truncate(place(at, bytes)),
        }
    }
}

fn one<'a>(at: &Index, bytes: &'a mut [u8]) -> Option<&'a mut u8> {
    let length = bytes.len();
    if length == 0 { None } else { bytes.get_mut(at.index(length)) }
}
