//! The bytes of each direction of a TCP connection, in order, lent to whoever reads them.
//!
//! Bytes in order go straight from the packet to the reader; what the reader cannot use yet is kept, and
//! what comes too early waits, both under caps. A hole that never fills is told to the reader, unless it
//! lies in bytes the reader said it does not need.

use super::ambiguity::{Doubt, Home, Lent, difference};
use super::awake::{CLOSED, DONE, FORGOT, NEXT, Quiet, SENT, SPOKE};
use super::budget::{Budget, Held};
use super::reader::Reader;
use super::tcp::is_after;
use crate::capture::Timestamp;
use crate::packet::{Gap, Side};

/// The most bytes of one direction that wait for a hole before them to fill.
const AHEAD_BYTES: usize = 128 * 1024;
/// The most segments of one direction that wait.
const AHEAD_SEGMENTS: usize = 256;
/// The most bytes of one direction kept for a reader that needs more to go on.
const KEPT_BYTES: usize = 256 * 1024;
/// An emptied buffer of at most this many bytes waits for the next message that is cut by a segment.
const SPARE_BYTES: usize = 16 * 1024;

/// Bytes that were lent and acknowledged are kept while all of them take at most this share of the budget.
const LENT_SHARE: usize = 16;

/// A FIN takes a place in the sequence as well, and may be all that stands between two numbers.
const FIN: u32 = 1;

/// Whom the bytes of a flow are lent to, and what may be kept for it.
pub(super) struct Lender<'a, R: Reader> {
    pub(super) reader: &'a mut R,
    pub(super) budget: &'a mut Budget,
    /// Packet time.
    pub(super) at: Timestamp,
    /// Where its bytes may stay.
    pub(super) home: Home<'a>,
    /// Why, and from which sequence number on, the bytes can be read in more than one way.
    pub(super) doubt: Option<(Doubt, u32)>,
}

/// Both directions of one connection.
#[derive(Debug, Default)]
pub(super) struct Streams {
    halves: [Half; 2],
    /// What is counted of what the reader keeps.
    pub(super) counted: Held,
}

/// One TCP segment as the stream sees it.
#[derive(Clone, Copy)]
pub(super) struct Piece<'a> {
    /// Sequence number of its first payload byte.
    pub(super) sequence: u32,
    pub(super) payload: &'a [u8],
    /// The payload's length on the wire.
    pub(super) length: u32,
    pub(super) fin: bool,
    pub(super) urgent: bool,
    /// Anything of the other side was captured.
    pub(super) answered: bool,
}

impl Streams {
    /// Goes on from what was known so far, where nothing is known here.
    pub(super) fn go_on(&mut self, quiet: &Quiet, counted: Held) {
        self.counted = counted;
        for (at, half) in self.halves.iter_mut().enumerate() {
            let (next, sent, known) = (quiet.next[at], quiet.sent[at], quiet.known[at]);
            half.next = (known & NEXT != 0).then_some(next);
            half.sent = (known & SENT != 0).then_some(sent);
            half.closed = known & CLOSED != 0;
            half.done = known & DONE != 0;
            half.spoke = known & SPOKE != 0;
            half.forgot = known & FORGOT != 0;
        }
    }

    /// What is left to know, unless one direction keeps something or is in the middle of being read.
    pub(super) fn quiet(&self) -> Option<Quiet> {
        self.halves.iter().all(Half::is_quiet).then(|| self.known())
    }

    /// As [`Streams::quiet`], of a connection that nothing was heard of for long: bytes that were only kept to be
    /// compared are let go, and neither direction need have come to its end.
    pub(super) fn rest(&mut self, budget: &mut Budget) -> Option<Quiet> {
        if !self.halves.iter().all(Half::can_rest) {
            return None;
        }
        for half in &mut self.halves {
            half.release(budget);
            half.forgot |= half.lent.end().is_some();
        }
        Some(self.known())
    }

    fn known(&self) -> Quiet {
        let [a, b] = &self.halves;
        let known = |half: &Half| {
            let bit = |is: bool, bit: u8| if is { bit } else { 0 };
            bit(half.next.is_some(), NEXT)
                | bit(half.sent.is_some(), SENT)
                | bit(half.closed, CLOSED)
                | bit(half.done, DONE)
                | bit(half.spoke, SPOKE)
                | bit(half.forgot, FORGOT)
        };
        Quiet {
            next: [a.next.unwrap_or(0), b.next.unwrap_or(0)],
            sent: [a.sent.unwrap_or(0), b.sent.unwrap_or(0)],
            known: [known(a), known(b)],
        }
    }

    /// As [`Quiet::starts_at`].
    pub(super) fn starts_at(&mut self, side: Side, sequence: u32) {
        self.halves[side.index()].next.get_or_insert(sequence);
    }

    /// `side` says itself, in a SYN, that its next byte has this sequence number.
    pub(super) fn opens_at(&mut self, side: Side, sequence: u32) {
        let half = &mut self.halves[side.index()];
        if *half.next.get_or_insert(sequence) != sequence && !half.spoke {
            half.other_start = Some(sequence);
        }
    }

    /// The other end acknowledged what `side` has sent so far. Of several beginnings, the one that is
    /// acknowledged is the connection's.
    pub(super) fn acknowledged(&mut self, side: Side, sequence: u32, budget: &mut Budget) {
        let half = &mut self.halves[side.index()];
        if half.acknowledged.is_none_or(|before| is_after(sequence, before)) {
            half.acknowledged = Some(sequence);
        }
        if budget.lent > budget.cap / LENT_SHARE
            && half.lent.end().is_some_and(|end| !is_after(end, sequence))
        {
            budget.uncompared += 1;
            half.release(budget);
            half.lent = Lent::default();
            half.hold(budget);
        }
        if !half.spoke && half.other_start == Some(sequence) {
            (half.next, half.sent, half.other_start) = (Some(sequence), None, None);
        }
    }

    /// As [`Quiet::has_sent`].
    pub(super) fn has_sent(&mut self, side: Side, sequence: u32) {
        let sent = &mut self.halves[side.index()].sent;
        if sent.is_none_or(|before| is_after(sequence, before)) {
            *sent = Some(sequence);
        }
    }

    #[inline(never)]
    pub(super) fn piece<R: Reader>(&mut self, side: Side, piece: Piece<'_>, to: &mut Lender<'_, R>) {
        let half = &mut self.halves[side.index()];
        // While it is worked on, the budget is what all others hold.
        half.release(to.budget);
        half.piece(side, piece, to);
        half.hold(to.budget);
    }

    /// `side` reset the connection; `sequence` is the RST's own, behind everything it had sent.
    pub(super) fn reset<R: Reader>(&mut self, side: Side, sequence: u32, to: &mut Lender<'_, R>) {
        let half = &mut self.halves[side.index()];
        if !half.closed {
            half.release(to.budget);
            if half.lacks_bytes_before(sequence.wrapping_sub(FIN)) {
                half.lose(side, Gap::Loss, u64::MAX, to);
            }
            half.closed = true;
            to.reader.closed(side, true, to.at);
            half.hold(to.budget);
        }
    }

    /// The reader wants nothing more of either side.
    pub(super) fn are_done(&self) -> bool {
        self.halves.iter().all(|half| half.done)
    }

    /// The flow is over: what waits behind holes is lent after all, and holes are told.
    pub(super) fn finish<R: Reader>(&mut self, to: &mut Lender<'_, R>) {
        self.let_go(to.budget);
        for side in [Side::A, Side::B] {
            self.halves[side.index()].finish(side, to);
        }
    }

    /// Packets may be missing at the end of a direction that is not closed; within it, sequence numbers tell.
    pub(super) fn miss<R: Reader>(&mut self, cause: Gap, to: &mut Lender<'_, R>) {
        for side in [Side::A, Side::B] {
            let half = &mut self.halves[side.index()];
            if !half.closed {
                half.release(to.budget);
                half.lose(side, cause, u64::MAX, to);
                half.hold(to.budget);
            }
        }
    }

    /// Once both sides sent all there is, nothing is compared any more. What the reader left unused stays: should more
    /// come after all, it has to be told what it missed.
    pub(super) fn forget_ended(&mut self, budget: &mut Budget) {
        if !self.halves.iter().all(Half::has_ended) {
            return;
        }
        for half in &mut self.halves {
            half.release(budget);
            half.lent = Lent::default();
            if half.kept.is_empty() {
                half.kept = Vec::new();
            }
            half.hold(budget);
        }
    }

    /// What is held for both directions will be no more.
    pub(super) fn let_go(&self, budget: &mut Budget) {
        self.halves.iter().for_each(|half| half.release(budget));
    }
}

#[derive(Debug, Default)]
struct Half {
    /// Sequence number of the next byte to lend; `None` before the first packet.
    next: Option<u32>,
    /// How far either end said that this side has sent, captured or not.
    sent: Option<u32>,
    /// Bytes from `next` on that the reader does not need.
    skip: u64,
    /// Bytes in order that the reader could not use yet.
    kept: Vec<u8>,
    /// Segments beyond `next`, nearest first.
    ahead: Vec<Ahead>,
    ahead_bytes: u32,
    /// Where this side's FIN stands, and when it came.
    fin: Option<(u32, Timestamp)>,
    closed: bool,
    done: bool,
    /// Where this side begins by a later SYN-ACK with another number, until it is acknowledged.
    other_start: Option<u32>,
    /// It sent bytes: where it begins is settled.
    spoke: bool,
    /// How far the other end acknowledged it, as far as that was captured.
    acknowledged: Option<u32>,
    /// What was read, while more is wanted.
    lent: Lent,
    /// Of what was read before a rest, nothing is there to be compared.
    forgot: bool,
}

#[derive(Debug)]
struct Ahead {
    sequence: u32,
    bytes: Box<[u8]>,
    length: u32,
}

impl Half {
    fn held(&self) -> usize {
        self.kept.capacity()
            + self.ahead_bytes as usize
            + self.ahead.capacity() * size_of::<Ahead>()
            + self.lent.held()
    }

    /// What it holds counts.
    fn hold(&self, budget: &mut Budget) {
        budget.held += self.held();
        budget.lent += self.lent.held();
    }

    fn release(&self, budget: &mut Budget) {
        budget.held = budget.held.saturating_sub(self.held());
        budget.lent = budget.lent.saturating_sub(self.lent.held());
    }

    /// Nothing is lost if all of this but [`Quiet`] is forgotten. That it is neither done nor closed nor ever spoke
    /// keeps a direction that is read for the life of its flow from being forgotten with each message.
    fn is_quiet(&self) -> bool {
        let is_settled = if self.done || self.has_ended() {
            self.fin.is_none() || self.closed
        } else {
            !self.spoke && self.fin.is_none() && self.other_start.is_none()
        };
        is_settled && self.skip == 0 && self.held() == 0
    }

    /// Nothing is lost if all of this but [`Quiet`] and what was lent is forgotten.
    fn can_rest(&self) -> bool {
        let is_settled = self.other_start.is_none() && (self.fin.is_none() || self.closed);
        is_settled && self.skip == 0 && self.kept.is_empty() && self.ahead.is_empty()
    }

    /// Everything up to its FIN was lent, so nothing is to come.
    fn has_ended(&self) -> bool {
        self.closed && self.fin.is_some() && self.ahead.is_empty()
    }

    fn piece<R: Reader>(&mut self, side: Side, piece: Piece<'_>, to: &mut Lender<'_, R>) {
        let next = *self.next.get_or_insert(piece.sequence);
        self.spoke |= piece.length > 0;
        if piece.fin {
            self.fin.get_or_insert((piece.sequence.wrapping_add(piece.length), to.at));
        }
        if piece.length > 0 && !self.done {
            let distance = piece.sequence.wrapping_sub(next) as i32;
            if piece.urgent {
                to.doubt = Some((Doubt::Urgent, piece.sequence));
            } else if distance < 0 || !self.ahead.is_empty() {
                to.doubt =
                    self.difference(next, &piece, &to.home).map(|sequence| (Doubt::Segments, sequence));
                // One byte is a keep-alive as a rule.
                let is_missed = distance < 0 && piece.length > 1 && self.has_forgotten(&piece);
                to.budget.uncompared += u64::from(is_missed);
            }
            if distance > 0 && distance as u64 > self.skip {
                self.wait(side, next, piece, to);
            } else {
                self.take(side, piece.sequence, piece.payload, piece.length, to);
            }
            self.catch_up(side, to);
        } else if self.done && piece.length > 0 {
            let end = piece.sequence.wrapping_add(piece.length);
            if is_after(end, next) {
                self.next = Some(end);
            }
        }
        self.close_if_reached(side, to.reader);
    }

    /// The first place for which a segment brings other bytes than came before, of those that the reader was lent
    /// last or is still to be lent.
    fn difference(&self, next: u32, piece: &Piece<'_>, home: &Home<'_>) -> Option<u32> {
        if self.is_keep_alive(next, piece) {
            return None;
        }
        let (sequence, bytes) = (piece.sequence, piece.payload);
        let kept = next.wrapping_sub(self.kept.len() as u32);
        let end = sequence.wrapping_add(bytes.len() as u32);
        let mut ahead = self.ahead.iter().take_while(|ahead| is_after(end, ahead.sequence));
        self.lent
            .difference(sequence, bytes, home)
            .or_else(|| difference((kept, &self.kept), (sequence, bytes)))
            .or_else(|| ahead.find_map(|it| difference((it.sequence, &it.bytes), (sequence, bytes))))
    }

    /// Some of these bytes were read before a rest.
    fn has_forgotten(&self, piece: &Piece<'_>) -> bool {
        self.forgot && self.lent.start().is_none_or(|start| is_after(start, piece.sequence))
    }

    /// One byte that the other end has: it is sent for the answer, and may be any (RFC 9293 section 3.8.4). Where
    /// nothing of the other end was captured, the last byte is taken to be one.
    fn is_keep_alive(&self, next: u32, piece: &Piece<'_>) -> bool {
        let end = piece.sequence.wrapping_add(1);
        let acknowledged = self.acknowledged.is_some_and(|acknowledged| !is_after(end, acknowledged));
        piece.length == 1 && (acknowledged || end == next && !piece.answered)
    }

    /// Keeps a segment that came before the bytes in front of it; gives up on those when a cap is reached.
    fn wait<R: Reader>(&mut self, side: Side, next: u32, piece: Piece<'_>, to: &mut Lender<'_, R>) {
        let far = |sequence: u32| sequence.wrapping_sub(next);
        let at = self.ahead.partition_point(|a| far(a.sequence) < far(piece.sequence));
        if let Some(same) = self.ahead.get_mut(at).filter(|a| a.sequence == piece.sequence) {
            if same.bytes.len() < piece.payload.len() {
                self.ahead_bytes += (piece.payload.len() - same.bytes.len()) as u32;
                (same.bytes, same.length) = (piece.payload.into(), piece.length);
            }
        } else {
            self.ahead_bytes += piece.payload.len() as u32;
            let ahead = Ahead { sequence: piece.sequence, bytes: piece.payload.into(), length: piece.length };
            self.ahead.insert(at, ahead);
        }
        let over_all = to.budget.held + self.held() > to.budget.cap;
        to.budget.refused += u64::from(over_all);
        if over_all || self.ahead_bytes as usize > AHEAD_BYTES || self.ahead.len() > AHEAD_SEGMENTS {
            let cause = if over_all { Gap::Cap } else { Gap::Loss };
            self.give_up_hole(side, cause, to);
        }
    }

    /// The bytes before the nearest waiting segment will not come any more.
    fn give_up_hole<R: Reader>(&mut self, side: Side, cause: Gap, to: &mut Lender<'_, R>) {
        if let Some(nearest) = self.ahead.first() {
            let missing = self.next.map_or(0, |next| nearest.sequence.wrapping_sub(next));
            self.next = Some(nearest.sequence);
            self.lose(side, cause, u64::from(missing).saturating_sub(self.skip), to);
        }
    }

    /// The next `missing` bytes do not come.
    fn lose<R: Reader>(&mut self, side: Side, cause: Gap, missing: u64, to: &mut Lender<'_, R>) {
        let unused = std::mem::take(&mut self.kept).len() as u64;
        self.skip = 0;
        if !self.done {
            self.skip = to.reader.gap(side, cause, unused.saturating_add(missing), to.at);
        }
    }

    /// Lends every waiting segment that is now in order.
    fn catch_up<R: Reader>(&mut self, side: Side, to: &mut Lender<'_, R>) {
        while let (Some(next), Some(nearest)) = (self.next, self.ahead.first()) {
            let distance = nearest.sequence.wrapping_sub(next) as i32;
            if distance > 0 && distance as u64 > self.skip {
                break;
            }
            let ahead = self.ahead.remove(0);
            self.ahead_bytes -= ahead.bytes.len() as u32;
            self.take(side, ahead.sequence, &ahead.bytes, ahead.length, to);
        }
        if self.ahead.is_empty() && self.ahead.capacity() > 0 {
            self.ahead = Vec::new();
        }
    }

    /// Takes a segment that starts at or before `next`, or within the bytes not needed.
    fn take<R: Reader>(
        &mut self,
        side: Side,
        sequence: u32,
        payload: &[u8],
        length: u32,
        to: &mut Lender<'_, R>,
    ) {
        let next = self.next.unwrap_or(sequence);
        let distance = sequence.wrapping_sub(next) as i32;
        let mut seen = 0;
        if distance > 0 {
            self.skip -= distance as u64;
        } else {
            seen = distance.unsigned_abs();
            if seen >= length {
                return;
            }
        }
        self.next = Some(sequence.wrapping_add(length));
        let fresh = payload.get(seen as usize..).unwrap_or(&[]);
        let missing = u64::from(length - seen.max(payload.len().min(length as usize) as u32));
        self.lend(side, sequence.wrapping_add(seen), fresh, to);
        if missing > 0 {
            if self.skip >= missing {
                self.skip -= missing;
            } else {
                self.lose(side, Gap::Snaplen, missing - self.skip, to);
            }
        }
    }

    /// Lends bytes in order, of which the first has this sequence number.
    fn lend<R: Reader>(&mut self, side: Side, sequence: u32, fresh: &[u8], to: &mut Lender<'_, R>) {
        let passed = self.skip.min(fresh.len() as u64) as usize;
        let mut sequence = sequence.wrapping_add(passed as u32).wrapping_sub(self.kept.len() as u32);
        self.skip -= passed as u64;
        let mut rest = &fresh[passed..];
        if rest.is_empty() || self.done {
            return;
        }
        let mut joined = Vec::new();
        if !self.kept.is_empty() {
            joined = std::mem::take(&mut self.kept);
            joined.extend_from_slice(rest);
            rest = &joined;
        }
        while !rest.is_empty() && !self.done {
            let want = to.reader.read(side, rest, to.at, &mut to.budget.allowance);
            let (used, unused) = rest.split_at_checked(want.used).unwrap_or((rest, &[]));
            self.done = want.done;
            let passed = want.skip.min(unused.len() as u64) as usize;
            self.skip = want.skip - passed as u64;
            rest = &unused[passed..];
            if !self.done {
                self.lent.add(sequence, used, &to.home);
                sequence = sequence.wrapping_add((used.len() + passed) as u32);
            }
            if want.used == 0 && passed == 0 {
                break;
            }
        }
        if self.done {
            self.forget();
            return;
        }
        let over_all = !rest.is_empty() && to.budget.held + self.held() + rest.len() > to.budget.cap;
        to.budget.refused += u64::from(over_all);
        if over_all || rest.len() > KEPT_BYTES {
            // As far as the reader can tell, anything may be missing from here on.
            self.lose(side, Gap::Cap, u64::MAX, to);
        } else if joined.is_empty() {
            self.kept.extend_from_slice(rest);
        } else {
            let used = joined.len() - rest.len();
            joined.drain(..used);
            if !joined.is_empty() || joined.capacity() <= SPARE_BYTES {
                self.kept = joined;
            }
        }
    }

    fn forget(&mut self) {
        self.skip = 0;
        self.kept = Vec::new();
        self.ahead = Vec::new();
        self.ahead_bytes = 0;
        self.lent = Lent::default();
    }

    fn close_if_reached<R: Reader>(&mut self, side: Side, reader: &mut R) {
        let Some((fin, at)) = self.fin else { return };
        if !self.closed && self.next.is_some() && !self.lacks_bytes_before(fin) {
            self.closed = true;
            reader.closed(side, false, at);
        }
    }

    fn finish<R: Reader>(&mut self, side: Side, to: &mut Lender<'_, R>) {
        while !self.ahead.is_empty() {
            self.give_up_hole(side, Gap::Loss, to);
            self.catch_up(side, to);
        }
        self.close_if_reached(side, to.reader);
        let end = self.sent.map(|end| end.wrapping_sub(FIN));
        if self.fin.is_some() && !self.closed || end.is_some_and(|end| self.lacks_bytes_before(end)) {
            self.lose(side, Gap::Loss, u64::MAX, to);
        }
    }

    /// Bytes before `sequence` that the reader needs were not captured.
    fn lacks_bytes_before(&self, sequence: u32) -> bool {
        self.next.is_some_and(|next| {
            let left = sequence.wrapping_sub(next) as i32;
            left > 0 && left as u64 > self.skip
        })
    }
}

#[cfg(test)]
mod tests;
