//! Reassembly of IP fragments (RFC 791 section 3.2, RFC 8200 section 4.5) in bounded memory.
//!
//! Where fragments overlap, the bytes that came first stay, and fragments that bring other bytes for the
//! same place are counted, and said of the datagram: receivers differ in which they keep, so an evader can use
//! them. Only the bytes captured are kept, so memory follows what was read and not what offsets claim.

use super::ip::{Carried, Fragment};
use super::{Encapsulation, Uncounted};
use crate::capture::Timestamp;
use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Range;

use foldhash::fast::RandomState;

/// The most datagrams in progress.
pub(super) const MAX_DATAGRAMS: usize = 4096;
/// The most memory held for datagrams in progress, in bytes, bookkeeping of pieces included.
pub(super) const MAX_BYTES: usize = 16 << 20;
/// The most pieces kept of one datagram: enough for 64 KiB over the narrowest lawful link, which carries
/// 48 bytes of each 68-byte packet (RFC 791 section 3.2).
pub(super) const MAX_PIECES: usize = 1366;
/// How long after its first fragment was read a datagram is given up, in nanoseconds of packet time
/// (the clock is the latest time read, whatever the order of packets).
pub(super) const MAX_AGE: i64 = 30 * Timestamp::SECOND;
/// The longest fragmentable part: offsets have 13 bits of 8 bytes, lengths 16 bits.
const MAX_DATAGRAM: u32 = 65_535;

/// What fragments of one datagram have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Two captures may hold the same datagram; each counts its own packets.
    pub(super) capture: u16,
    pub(super) encapsulation: Encapsulation,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) identification: u32,
    /// Part of the key in IPv4 only: in IPv6 just the first fragment says it reliably.
    pub(super) protocol: Option<u8>,
}

/// A datagram put together; its bytes are in the store until the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reassembled<'a> {
    /// As far as the capture has it without a hole.
    pub carried: Carried<'a>,
    /// Packets it came in, duplicates included.
    pub packets: u32,
    /// The sum of their lengths on the wire.
    pub wire_bytes: u64,
    /// Some brought other bytes for the same place.
    pub differing: bool,
}

/// Datagrams in progress.
#[derive(Debug)]
pub(super) struct Fragments {
    datagrams: HashMap<Key, Datagram, RandomState>,
    clock: Timestamp,
    next_sweep: Timestamp,
    bytes: usize,
    held: u64,
    expired: u64,
    conflicts: u64,
    whole: Vec<u8>,
}

impl Fragments {
    pub fn new() -> Fragments {
        Fragments {
            datagrams: HashMap::default(),
            clock: Timestamp(i64::MIN),
            next_sweep: Timestamp(i64::MIN),
            bytes: 0,
            held: 0,
            expired: 0,
            conflicts: 0,
            whole: Vec::new(),
        }
    }

    /// Tells the store the time of a packet, of any kind.
    pub fn advance(&mut self, time: Timestamp) {
        self.clock = self.clock.max(time);
    }

    /// Packets held for datagrams in progress.
    pub fn held(&self) -> u64 {
        self.held
    }

    /// Fragments that contradicted earlier ones of their datagram.
    pub fn conflicts(&self) -> u64 {
        self.conflicts
    }

    /// Packets given up since this was last asked, because their datagram grew too old.
    pub fn take_expired(&mut self) -> u64 {
        std::mem::take(&mut self.expired)
    }

    /// Gives up everything in progress; returns how many packets were held.
    pub fn clear(&mut self) -> u64 {
        self.datagrams.clear();
        self.bytes = 0;
        std::mem::take(&mut self.held)
    }

    /// Takes in one fragment; returns its datagram when it is whole.
    ///
    /// A fragment beyond 65,535 bytes, or with more to follow and a length that is 0 or no multiple of
    /// 8, is [`Uncounted::Malformed`]; one for which there is no room is [`Uncounted::FragmentCap`].
    /// A duplicate that comes after its datagram was whole begins another, which grows old.
    pub fn add(
        &mut self,
        key: Key,
        fragment: &Fragment<'_>,
        wire_length: u32,
    ) -> Result<Option<Reassembled<'_>>, Uncounted> {
        let range = range_of(fragment)?;
        self.sweep();
        if self.datagrams.get(&key).is_some_and(|it| is_old(it, self.clock)) {
            self.expire(&key);
        }
        let known = self.datagrams.get(&key);
        if known.is_none() && self.datagrams.len() >= MAX_DATAGRAMS {
            return Err(Uncounted::FragmentCap);
        }
        let fit = match known {
            Some(datagram) => datagram.fit(fragment, &range),
            None => Datagram::new(self.clock, fragment).fit(fragment, &range),
        };
        let cost = fit.gaps.iter().map(|gap| cost_of(cut_out(fragment, &range, gap))).sum::<usize>();
        if known.map_or(0, |it| it.pieces.len()) + fit.gaps.len() > MAX_PIECES
            || self.bytes.saturating_add(cost) > MAX_BYTES
        {
            return Err(Uncounted::FragmentCap);
        }
        self.bytes += cost;
        self.held += 1;
        self.conflicts += u64::from(fit.conflict);
        let clock = self.clock;
        let datagram = self.datagrams.entry(key).or_insert_with(|| Datagram::new(clock, fragment));
        datagram.take(fragment, &range, fit, wire_length);
        if !datagram.is_whole() {
            return Ok(None);
        }
        let Some(datagram) = self.remove(&key) else { return Ok(None) };
        Ok(Some(self.assemble(&datagram)))
    }

    fn assemble(&mut self, datagram: &Datagram) -> Reassembled<'_> {
        self.whole.clear();
        for piece in &datagram.pieces {
            self.whole.extend_from_slice(&piece.data);
            if piece.data.len() < piece.range.len() {
                break;
            }
        }
        Reassembled {
            carried: Carried { protocol: datagram.protocol, captured: &self.whole, length: datagram.covered },
            packets: datagram.packets,
            wire_bytes: datagram.wire_bytes,
            differing: datagram.differing,
        }
    }

    /// Gives up what is too old, at most once per second of packet time so that it stays cheap.
    fn sweep(&mut self) {
        if self.clock < self.next_sweep {
            return;
        }
        self.next_sweep = Timestamp(self.clock.0.saturating_add(Timestamp::SECOND));
        let (clock, before) = (self.clock, self.held);
        let (bytes, held) = (&mut self.bytes, &mut self.held);
        self.datagrams.retain(|_, datagram| {
            let keep = !is_old(datagram, clock);
            if !keep {
                *bytes = bytes.saturating_sub(datagram.cost());
                *held = held.saturating_sub(u64::from(datagram.packets));
            }
            keep
        });
        self.expired += before - self.held;
    }

    fn expire(&mut self, key: &Key) {
        if let Some(datagram) = self.remove(key) {
            self.expired += u64::from(datagram.packets);
        }
    }

    fn remove(&mut self, key: &Key) -> Option<Datagram> {
        let datagram = self.datagrams.remove(key)?;
        self.bytes = self.bytes.saturating_sub(datagram.cost());
        self.held = self.held.saturating_sub(u64::from(datagram.packets));
        Some(datagram)
    }
}

#[derive(Debug)]
struct Datagram {
    /// The clock when its first fragment was read: not that packet's own time, which may lie far back.
    born: Timestamp,
    protocol: u8,
    /// In order, without overlap.
    pieces: Vec<Piece>,
    /// The sum of the pieces' ranges.
    covered: u32,
    /// Where the last fragment ends.
    end: Option<u32>,
    packets: u32,
    wire_bytes: u64,
    differing: bool,
}

/// Bytes of a datagram: `data` is shorter than `range` where the capture cut the packet.
#[derive(Debug)]
struct Piece {
    range: Range<u32>,
    data: Box<[u8]>,
}

/// How a fragment fits in with those before it.
struct Fit {
    /// Which of its ranges are new; none of them is empty.
    gaps: Vec<Range<u32>>,
    /// It brings other bytes for a place already filled, or another end.
    conflict: bool,
}

impl Datagram {
    fn new(born: Timestamp, fragment: &Fragment<'_>) -> Datagram {
        Datagram {
            born,
            protocol: fragment.carried.protocol,
            pieces: Vec::new(),
            covered: 0,
            end: None,
            packets: 0,
            wire_bytes: 0,
            differing: false,
        }
    }

    fn fit(&self, fragment: &Fragment<'_>, range: &Range<u32>) -> Fit {
        let filled_to = self.pieces.last().map_or(0, |it| it.range.end);
        let mut conflict = match self.end {
            Some(end) => range.end > end || (!fragment.more && range.end != end),
            None => !fragment.more && range.end < filled_to,
        };
        let last = range.end.min(self.end.unwrap_or(range.end));
        let mut gaps = Vec::new();
        let mut at = range.start;
        let before = self.pieces.partition_point(|piece| piece.range.end <= range.start);
        for piece in self.pieces.iter().skip(before) {
            if piece.range.start >= range.end {
                break;
            }
            conflict |= differs(piece, fragment, range);
            if at < piece.range.start {
                gaps.push(at..piece.range.start);
            }
            at = at.max(piece.range.end);
        }
        if at < last {
            gaps.push(at..last);
        }
        Fit { gaps, conflict }
    }

    fn take(&mut self, fragment: &Fragment<'_>, range: &Range<u32>, fit: Fit, wire_length: u32) {
        self.packets = self.packets.saturating_add(1);
        self.wire_bytes = self.wire_bytes.saturating_add(u64::from(wire_length));
        self.differing |= fit.conflict;
        let filled_to = self.pieces.last().map_or(0, |it| it.range.end);
        if !fragment.more && self.end.is_none() && range.end >= filled_to {
            self.end = Some(range.end);
        }
        for gap in fit.gaps {
            if gap.start == 0 {
                self.protocol = fragment.carried.protocol;
            }
            self.covered += gap.end - gap.start;
            let data = cut_out(fragment, range, &gap).into();
            let at = self.pieces.partition_point(|it| it.range.start < gap.start);
            self.pieces.insert(at, Piece { range: gap, data });
        }
    }

    fn is_whole(&self) -> bool {
        self.end == Some(self.covered)
    }

    fn cost(&self) -> usize {
        self.pieces.iter().map(|it| cost_of(&it.data)).sum()
    }
}

fn is_old(datagram: &Datagram, clock: Timestamp) -> bool {
    clock.0.saturating_sub(datagram.born.0) > MAX_AGE
}

fn range_of(fragment: &Fragment<'_>) -> Result<Range<u32>, Uncounted> {
    let (start, length) = (u32::from(fragment.offset), fragment.carried.length);
    let end = start.checked_add(length).filter(|it| *it <= MAX_DATAGRAM).ok_or(Uncounted::Malformed)?;
    if fragment.more && (length == 0 || length % 8 != 0) {
        return Err(Uncounted::Malformed);
    }
    Ok(start..end)
}

/// The memory that keeping these bytes as a piece takes.
fn cost_of(data: &[u8]) -> usize {
    size_of::<Piece>() + data.len()
}

/// The captured bytes of a fragment at `part`, which lies within its `range`.
fn cut_out<'a>(fragment: &Fragment<'a>, range: &Range<u32>, part: &Range<u32>) -> &'a [u8] {
    slice_at(fragment.carried.captured, range.start, part)
}

/// Whether both have bytes for the same place, and not the same ones.
fn differs(piece: &Piece, fragment: &Fragment<'_>, range: &Range<u32>) -> bool {
    let common = piece.range.start.max(range.start)..piece.range.end.min(range.end);
    let (old, new) = (slice_at(&piece.data, piece.range.start, &common), cut_out(fragment, range, &common));
    let both = old.len().min(new.len());
    old.get(..both) != new.get(..both)
}

/// What of `part` is in `bytes`, which begin at `start`.
fn slice_at<'a>(bytes: &'a [u8], start: u32, part: &Range<u32>) -> &'a [u8] {
    let from = part.start.saturating_sub(start) as usize;
    let to = (part.end.saturating_sub(start) as usize).min(bytes.len());
    bytes.get(from..to).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: Key = Key {
        capture: 0,
        encapsulation: Encapsulation::NONE,
        source: IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)),
        destination: IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2)),
        identification: 1,
        protocol: Some(17),
    };

    fn fragment(offset: u16, more: bool, captured: &[u8]) -> Fragment<'_> {
        let carried = Carried { protocol: 17, captured, length: captured.len() as u32 };
        Fragment { identification: 1, offset, more, carried }
    }

    fn add(store: &mut Fragments, it: Fragment<'_>) -> Result<Option<(Vec<u8>, u32)>, Uncounted> {
        let whole = store.add(KEY, &it, 100)?;
        Ok(whole.map(|it| (it.carried.captured.to_vec(), it.packets)))
    }

    #[test]
    fn in_order_and_in_reverse() {
        let mut store = Fragments::new();
        assert_eq!(add(&mut store, fragment(0, true, b"01234567")), Ok(None));
        assert_eq!(add(&mut store, fragment(8, false, b"89")), Ok(Some((b"0123456789".to_vec(), 2))));
        assert_eq!(add(&mut store, fragment(8, false, b"89")), Ok(None));
        assert_eq!(add(&mut store, fragment(8, false, b"89")), Ok(None));
        assert_eq!(store.held(), 2);
        let whole = store.add(KEY, &fragment(0, true, b"01234567"), 100).unwrap().unwrap();
        assert_eq!((whole.packets, whole.wire_bytes, whole.carried.length), (3, 300, 10));
        assert_eq!((store.held(), store.bytes, store.conflicts()), (0, 0, 0));
    }

    #[test]
    fn the_first_bytes_stay_and_others_are_counted() {
        let mut store = Fragments::new();
        assert_eq!(add(&mut store, fragment(8, true, b"AAAAAAAA")), Ok(None));
        assert_eq!(add(&mut store, fragment(0, true, b"bbbbbbbbbbbbbbbbbbbbbbbb")), Ok(None));
        assert_eq!(store.conflicts(), 1);
        let whole = add(&mut store, fragment(16, false, b"bbbbbbbbcc"));
        assert_eq!(whole, Ok(Some((b"bbbbbbbbAAAAAAAAbbbbbbbbcc".to_vec(), 3))));
        assert_eq!(store.conflicts(), 1);
    }

    #[test]
    fn a_second_end_does_not_move_the_first() {
        let mut store = Fragments::new();
        assert_eq!(add(&mut store, fragment(8, false, b"89")), Ok(None));
        assert_eq!(add(&mut store, fragment(16, false, b"far")), Ok(None));
        assert_eq!(add(&mut store, fragment(8, true, b"89abcdef")), Ok(None));
        assert_eq!(store.conflicts(), 2);
        let whole = add(&mut store, fragment(0, true, b"01234567"));
        assert_eq!(whole, Ok(Some((b"0123456789".to_vec(), 4))));
        // An end before bytes already there is not believed either.
        assert_eq!(add(&mut store, fragment(8, true, b"89abcdef")), Ok(None));
        assert_eq!(add(&mut store, fragment(0, false, b"01")), Ok(None));
        assert_eq!(store.conflicts(), 3);
    }

    #[test]
    fn cut_fragments_give_the_bytes_before_the_first_hole() {
        let mut store = Fragments::new();
        let carried = Carried { protocol: 17, captured: b"0123", length: 8 };
        let cut = Fragment { identification: 1, offset: 0, more: true, carried };
        assert_eq!(store.add(KEY, &cut, 100), Ok(None));
        let whole = store.add(KEY, &fragment(8, false, b"89"), 100).unwrap().unwrap();
        assert_eq!((whole.carried.captured, whole.carried.length), (&b"0123"[..], 10));
    }

    #[test]
    fn impossible_fragments_are_malformed() {
        let mut store = Fragments::new();
        for bad in [
            fragment(0, true, b"1234567"),
            fragment(0, true, b""),
            fragment(65_528, true, b"12345678"),
            fragment(65_528, false, b"123456789"),
        ] {
            assert_eq!(add(&mut store, bad), Err(Uncounted::Malformed));
        }
        assert_eq!(add(&mut store, fragment(65_528, false, b"1234567")), Ok(None));
        // An empty last fragment carries the end alone.
        let mut store = Fragments::new();
        assert_eq!(add(&mut store, fragment(8, false, b"")), Ok(None));
        let whole = add(&mut store, fragment(0, true, b"01234567"));
        assert_eq!(whole, Ok(Some((b"01234567".to_vec(), 2))));
    }

    #[test]
    fn old_datagrams_are_given_up_by_the_clock_not_by_their_own_time() {
        let mut store = Fragments::new();
        store.advance(Timestamp(1000 * Timestamp::SECOND));
        store.advance(Timestamp(5));
        assert_eq!(add(&mut store, fragment(0, true, b"01234567")), Ok(None));
        store.advance(Timestamp(1030 * Timestamp::SECOND));
        assert_eq!(add(&mut store, fragment(0, true, b"01234567")), Ok(None));
        assert_eq!((store.held(), store.take_expired()), (2, 0));
        store.advance(Timestamp(1030 * Timestamp::SECOND + 1));
        assert_eq!(add(&mut store, fragment(8, false, b"89")), Ok(None));
        assert_eq!((store.held(), store.take_expired(), store.take_expired()), (1, 2, 0));
        store.advance(Timestamp(i64::MAX));
        let other = Key { identification: 2, ..KEY };
        assert_eq!(store.add(other, &fragment(8, false, b"89"), 100), Ok(None));
        assert_eq!((store.held(), store.take_expired()), (1, 1));
        assert_eq!((store.clear(), store.held(), store.bytes), (1, 0, 0));
    }

    #[test]
    fn caps_refuse_and_do_not_forget() {
        let mut store = Fragments::new();
        for identification in 0..MAX_DATAGRAMS as u32 {
            let key = Key { identification, ..KEY };
            assert_eq!(store.add(key, &fragment(8, true, b"89abcdef"), 100), Ok(None));
        }
        let key = Key { identification: MAX_DATAGRAMS as u32, ..KEY };
        assert_eq!(store.add(key, &fragment(8, true, b"89abcdef"), 100), Err(Uncounted::FragmentCap));
        assert_eq!(store.held(), MAX_DATAGRAMS as u64);
        assert_eq!(add(&mut store, fragment(16, false, b"")), Ok(None));
        assert!(add(&mut store, fragment(0, true, b"01234567")).unwrap().is_some());

        let mut store = Fragments::new();
        for piece in 0..MAX_PIECES as u16 {
            assert_eq!(add(&mut store, fragment(piece * 16, true, b"89abcdef")), Ok(None));
        }
        assert_eq!(add(&mut store, fragment(8, true, b"89abcdef")), Err(Uncounted::FragmentCap));

        let mut store = Fragments::new();
        let large = vec![0; 65_528];
        let refused = (0..300).find(|it| {
            let key = Key { identification: *it, ..KEY };
            store.add(key, &fragment(0, true, &large), 100) == Err(Uncounted::FragmentCap)
        });
        assert_eq!(refused, Some((MAX_BYTES / (65_528 + size_of::<Piece>())) as u32));
        assert!(store.bytes <= MAX_BYTES);
    }

    proptest! {
        #[test]
        fn any_order_with_duplicates_gives_the_datagram_back(
            payload in proptest::collection::vec(any::<u8>(), 9..2000),
            sizes in proptest::collection::vec(1usize..20, 1..40),
            picks in proptest::collection::vec(any::<prop::sample::Index>(), 1..200),
        ) {
            let mut fragments = Vec::new();
            let mut at = 0;
            for size in sizes.iter().cycle() {
                let end = payload.len().min(at + size * 8);
                fragments.push(fragment(at as u16, end < payload.len(), &payload[at..end]));
                at = end;
                if at == payload.len() {
                    break;
                }
            }
            let mut store = Fragments::new();
            let (mut given, mut read) = (0u64, 0u64);
            let random = picks.iter().map(|it| it.get(&fragments));
            for it in random.chain(&fragments) {
                read += 1;
                if let Some((whole, packets)) = add(&mut store, *it).unwrap() {
                    prop_assert_eq!(&whole, &payload);
                    given += u64::from(packets);
                }
            }
            prop_assert!(given >= fragments.len() as u64);
            prop_assert_eq!(store.conflicts(), 0);
            prop_assert_eq!(read, given + store.held());
            prop_assert_eq!(store.bytes, store.datagrams.values().map(Datagram::cost).sum::<usize>());
        }

        #[test]
        fn arbitrary_fragments_lose_no_packet(
            all in proptest::collection::vec(
                (0u16..12, any::<bool>(), proptest::collection::vec(0u8..2, 0..64), 0u32..20, 0u32..3, 0i64..50),
                0..60,
            ),
        ) {
            let mut store = Fragments::new();
            let (mut given, mut refused, mut expired) = (0, 0, 0);
            for (units, more, bytes, extra, identification, time) in &all {
                store.advance(Timestamp(time * Timestamp::SECOND));
                let carried = Carried { protocol: 17, captured: bytes, length: bytes.len() as u32 + extra };
                let it = Fragment { identification: *identification, offset: units * 8, more: *more, carried };
                match store.add(Key { identification: *identification, ..KEY }, &it, 1) {
                    Ok(Some(whole)) => {
                        prop_assert!(whole.carried.captured.len() <= whole.carried.length as usize);
                        given += u64::from(whole.packets);
                    }
                    Ok(None) => {}
                    Err(_) => refused += 1,
                }
                expired += store.take_expired();
            }
            prop_assert_eq!(all.len() as u64, given + refused + expired + store.held());
            prop_assert_eq!(store.bytes, store.datagrams.values().map(Datagram::cost).sum::<usize>());
        }
    }
}
