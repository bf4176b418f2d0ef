//! The record headers of one connection, in order: all that is left to see once TLS encrypts.

use std::cmp::Ordering;

use super::record::Kind;
use crate::protocol::Side;

/// Records remembered of one side, handshake messages in clear not counted. What a connection shows
/// about its handshake stands in the first dozen; the rest is room for fragments and early data.
pub const RECORD_CAP: usize = 48;

/// How long after each other two events may be for some rule to ask whether they are, in microseconds.
pub(super) const WINDOW: i32 = 1_000_000;

/// When something was seen: packet time first, and the order of reading among equals.
///
/// Kept in bytes, most significant first, so that it leaves no holes in a [`Record`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Moment {
    /// Microseconds, offset so that bytes compare as numbers do.
    micros: [u8; 4],
    order: u8,
}

impl Moment {
    fn new(micros: i32, order: u8) -> Moment {
        Moment { micros: (micros as u32 ^ SIGN).to_be_bytes(), order }
    }

    /// Microseconds since the first event of the connection, saturating at half an hour.
    pub fn micros(self) -> i32 {
        (u32::from_be_bytes(self.micros) ^ SIGN) as i32
    }

    /// Both in one number: quicker to compare than byte by byte.
    fn rank(self) -> u64 {
        u64::from(u32::from_be_bytes(self.micros)) << 8 | u64::from(self.order)
    }
}

impl Ord for Moment {
    fn cmp(&self, other: &Moment) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for Moment {
    fn partial_cmp(&self, other: &Moment) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Turns the order of signed numbers into that of unsigned ones.
const SIGN: u32 = 1 << 31;

/// The header of one record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Record {
    /// When its header was complete.
    pub at: Moment,
    /// What it says it carries.
    pub kind: Kind,
    /// Bytes after the header.
    pub length: u16,
}

/// Everything seen of a connection's records but the clear handshake messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Trace {
    origin: Option<i64>,
    order: u8,
    sides: [Direction; 2],
    server_hello: Option<Moment>,
}

/// One side's part of a [`Trace`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Direction {
    /// The records, in stream order; their moments never decrease.
    pub(super) records: Vec<Record>,
    /// When this side closed, by FIN or RST.
    pub(super) closed: Option<Moment>,
    /// How many records stand before the first hole: bytes that are missing, or stopped making sense.
    hole: Option<u8>,
    /// This side sent bytes that were seen.
    pub(super) seen: bool,
}

impl Trace {
    /// Bytes on the heap.
    pub(super) fn held(&self) -> usize {
        self.sides.iter().map(|side| size_of::<Record>() * side.records.capacity()).sum()
    }
}

impl Direction {
    /// Whether [`RECORD_CAP`] is reached, so that what this side sent later is not known.
    pub(super) fn full(&self) -> bool {
        self.records.len() >= RECORD_CAP
    }

    /// Whether bytes of this side are missing.
    pub(super) fn has_hole(&self) -> bool {
        self.hole.is_some()
    }

    /// Notes that bytes are missing after the records so far.
    pub(super) fn mark_hole(&mut self) {
        self.hole.get_or_insert(self.records.len() as u8);
    }

    /// The records before the first hole.
    pub(super) fn before_hole(&self) -> &[Record] {
        self.hole.and_then(|hole| self.records.get(..hole.into())).unwrap_or(&self.records)
    }

    /// Whether everything this side sent until it closed, or until now, is known.
    pub(super) fn whole(&self) -> bool {
        self.seen && !self.has_hole() && !self.full()
    }
}

impl Trace {
    pub(super) fn side(&self, side: Side) -> &Direction {
        match side {
            Side::A => &self.sides[0],
            Side::B => &self.sides[1],
        }
    }

    pub(super) fn side_mut(&mut self, side: Side) -> &mut Direction {
        match side {
            Side::A => &mut self.sides[0],
            Side::B => &mut self.sides[1],
        }
    }

    /// When the ServerHello that chose the cipher suite came.
    pub(super) fn server_hello(&self) -> Option<Moment> {
        self.server_hello
    }

    /// A moment in nanoseconds of packet time.
    pub(super) fn time(&self, at: Moment) -> i64 {
        self.origin.unwrap_or(0).saturating_add(i64::from(at.micros()) * 1000)
    }

    pub(super) fn mark_server_hello(&mut self, side: Side, at: i64) {
        if self.server_hello.is_none() {
            self.server_hello = Some(self.moment(side, at));
        }
    }

    /// Remembers a record, while there is room; says whether it took more memory to do so.
    #[inline(always)]
    pub(super) fn push(&mut self, side: Side, kind: Kind, length: u16, at: i64) -> bool {
        if self.side(side).full() {
            return false;
        }
        let at = self.moment(side, at);
        let records = &mut self.side_mut(side).records;
        let grows = records.len() == records.capacity();
        if grows {
            // Most connections show a dozen records and no more.
            records.reserve_exact(records.len().max(8).min(RECORD_CAP - records.len()));
        }
        records.push(Record { at, kind, length });
        grows
    }

    pub(super) fn close(&mut self, side: Side, at: i64) {
        if self.side(side).closed.is_none() {
            let at = self.moment(side, at);
            self.side_mut(side).closed = Some(at);
        }
    }

    /// `side` closes as soon as it can: with the last that was seen of the connection.
    pub(super) fn close_now(&mut self, side: Side) {
        let last =
            self.sides.iter().filter_map(|direction| direction.records.last()).map(|record| record.at).max();
        let at = last.map_or(0, |at| self.time(at));
        self.close(side, at);
    }

    /// Lets go of the records, once all that they tell is known.
    pub(super) fn forget_records(&mut self) {
        for direction in &mut self.sides {
            direction.records = Vec::new();
        }
    }

    /// Its origin, and the same with times that others are likely to have as well: events keep their order, and those
    /// that are within [`WINDOW`] of each other stay so, which is all that rules ask for. `None` where such times
    /// cannot be found, or were too late to be told.
    pub(super) fn without_times(&self) -> Option<(i64, Trace)> {
        let mut trace = self.clone();
        let mut moments = Vec::new();
        for side in &mut trace.sides {
            moments.extend(side.records.iter_mut().map(|record| &mut record.at).chain(&mut side.closed));
        }
        moments.extend(&mut trace.server_hello);
        moments.sort();
        let (mut first, mut last, mut told) = (0, 0, 0);
        for (order, moment) in (0..).zip(moments) {
            let micros = moment.micros();
            if order == 0 || micros.checked_sub(last)? > WINDOW {
                told = if order == 0 { 0 } else { told + WINDOW + 1 };
                first = micros;
            }
            if micros.checked_sub(first)? > WINDOW || micros == i32::MAX {
                return None;
            }
            (*moment, last, trace.order) = (Moment::new(told, order), micros, order + 1);
        }
        trace.origin = None;
        Some((self.origin?, trace))
    }

    pub(super) fn remember_origin(&mut self, origin: i64) {
        self.origin = Some(origin);
    }

    /// A late segment that fills a hole may be older than what it follows: time never runs backwards in a stream.
    fn moment(&mut self, side: Side, at: i64) -> Moment {
        let origin = *self.origin.get_or_insert(at);
        let micros = at.saturating_sub(origin) / 1000;
        let micros = i32::try_from(micros).unwrap_or(if micros < 0 { i32::MIN } else { i32::MAX });
        let last = self.side(side).records.last().map_or(i32::MIN, |record| record.at.micros());
        self.order = self.order.saturating_add(1);
        Moment::new(micros.max(last), self.order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_keeps_its_order_and_its_cap() {
        let mut trace = Trace::default();
        trace.push(Side::A, Kind::ApplicationData, 1, 5_000_000);
        trace.push(Side::B, Kind::ApplicationData, 2, 1_000_000);
        trace.push(Side::A, Kind::ApplicationData, 3, 2_000_000);
        let a = &trace.side(Side::A).records;
        assert!(a[0].at < a[1].at);
        assert!(trace.side(Side::B).records[0].at < a[0].at);
        for _ in 0..200 {
            trace.push(Side::B, Kind::ApplicationData, 9, i64::MAX);
        }
        assert_eq!(trace.side(Side::B).records.len(), RECORD_CAP);
        assert!(trace.side(Side::B).full() && !trace.side(Side::B).whole());
        trace.close(Side::B, i64::MIN);
        assert_eq!(trace.side(Side::B).closed.map(Moment::micros), Some(i32::MAX));
    }
}
