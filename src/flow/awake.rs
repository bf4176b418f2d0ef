//! Which connections keep something while they are read, and what is left of all others.
//!
//! Streams take a third of a kilobyte: few connections have them at one time, and boxes of them go round.

use super::budget::Held;
use super::stream::Streams;
use super::tcp::is_after;
use crate::capture::near;
use crate::packet::Side;

/// All there is to know of both directions while neither keeps anything: most connections of a capture
/// are idle, or read to their end. Of others it says which [`Streams`] are theirs.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, packed(2))]
pub(super) struct Quiet {
    /// The first is the number of its streams, if it is [`AWAKE`].
    pub(super) next: [u32; 2],
    pub(super) sent: [u32; 2],
    /// For each side [`NEXT`], [`SENT`], [`CLOSED`], [`DONE`], [`SPOKE`] and [`FORGOT`].
    pub(super) known: [u8; 2],
}

pub(super) const NEXT: u8 = 1;
pub(super) const SENT: u8 = 2;
pub(super) const CLOSED: u8 = 4;
pub(super) const DONE: u8 = 8;
pub(super) const SPOKE: u8 = 16;
pub(super) const FORGOT: u8 = 64;
/// Of the first side: all of this is known elsewhere.
const AWAKE: u8 = 32;

impl Quiet {
    #[inline]
    fn awake(&self) -> Option<u32> {
        (self.known[0] & AWAKE != 0).then_some(self.next[0])
    }

    /// The next byte of `side` has this sequence number, if nothing told before.
    pub(super) fn starts_at(&mut self, side: Side, sequence: u32) {
        let at = side.index();
        if self.known[at] & NEXT == 0 {
            self.known[at] |= NEXT;
            self.next[at] = sequence;
        }
    }

    /// As [`Streams::opens_at`]; `false` if it says so after another beginning was told, which is more
    /// than can be kept here.
    #[must_use]
    pub(super) fn opens_at(&mut self, side: Side, sequence: u32) -> bool {
        self.starts_at(side, sequence);
        let at = side.index();
        self.next[at] == sequence || self.known[at] & SPOKE != 0
    }

    /// `side` has sent everything up to `sequence`: it says so itself, or the other end acknowledged it.
    pub(super) fn has_sent(&mut self, side: Side, sequence: u32) {
        let at = side.index();
        if self.known[at] & SENT == 0 || is_after(sequence, self.sent[at]) {
            self.known[at] |= SENT;
            self.sent[at] = sequence;
        }
    }
}

/// The streams of connections that keep something or are in the middle of being read: of few of all.
#[derive(Debug)]
pub(super) struct Awake {
    streams: Vec<Option<Box<Streams>>>,
    free: Vec<u32>,
    /// Boxes for the next to wake: many do for one message, and to move what is in them costs more than that.
    #[expect(clippy::vec_box, reason = "they go back into the places they come from")]
    spare: Vec<Box<Streams>>,
    /// There are more since this was taken back.
    pub(super) woke: bool,
}

/// Spare boxes: few are needed at once, one after the other.
pub(super) const SPARE: usize = 16;

impl Awake {
    pub(super) fn new() -> Awake {
        Awake { streams: Vec::new(), free: Vec::new(), spare: Vec::new(), woke: false }
    }

    /// The streams of a connection that was quiet, to go on from there; `counted` is counted of what its reader keeps.
    pub(super) fn wake(&mut self, quiet: &Quiet, counted: Held) -> Box<Streams> {
        let mut streams = self.spare.pop().unwrap_or_default();
        streams.go_on(quiet, counted);
        streams
    }

    /// These are not needed any more.
    pub(super) fn let_go(&mut self, mut streams: Box<Streams>) {
        if self.spare.len() < SPARE {
            *streams = Streams::default();
            self.spare.push(streams);
        }
    }

    /// The streams of a connection, unless it is quiet.
    #[inline]
    pub(super) fn of(&mut self, quiet: &Quiet) -> Option<&mut Streams> {
        self.streams.get_mut(quiet.awake()? as usize)?.as_deref_mut()
    }

    /// They are needed soon: memory is asked for them.
    #[inline]
    pub(super) fn expect(&self, quiet: &Quiet) {
        let streams = quiet.awake().and_then(|at| self.streams.get(at as usize)?.as_deref());
        streams.into_iter().for_each(near);
    }

    /// Keeps the streams of a connection, which says so from now on.
    pub(super) fn add(&mut self, streams: Box<Streams>) -> Quiet {
        let at = self.free.pop().unwrap_or_else(|| {
            self.streams.push(None);
            (self.streams.len() - 1) as u32
        });
        self.streams[at as usize] = Some(streams);
        self.woke = true;
        Quiet { next: [at, 0], known: [AWAKE, 0], ..Quiet::default() }
    }

    /// Lets go of the streams of a connection, unless it is quiet.
    pub(super) fn remove(&mut self, quiet: &Quiet) -> Option<Box<Streams>> {
        let at = quiet.awake()?;
        let streams = self.streams[at as usize].take();
        self.free.push(at);
        if self.free.len() == self.streams.len() {
            // Their memory goes too, whatever was needed when most were awake.
            (self.streams, self.free) = (Vec::new(), Vec::new());
        }
        streams
    }

    /// Boxes that wait.
    #[cfg(test)]
    pub(super) fn spares(&self) -> usize {
        self.spare.len()
    }

    /// Connections that are not quiet.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.streams.iter().flatten().count()
    }
}
