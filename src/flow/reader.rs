//! What reads the bytes of a flow, as the flow table sees it.

use crate::capture::Timestamp;
use crate::packet::{Allowance, Gap, Side};

/// What a reader makes of the bytes it was lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// How many of them it is done with; the rest is lent again with what follows.
    pub used: usize,
    /// How many bytes after those it does not need to see.
    pub skip: u64,
    /// It wants nothing more of this side.
    pub done: bool,
}

impl Want {
    /// Nothing more of this side.
    pub const NOTHING: Want = Want { used: 0, skip: 0, done: true };
}

/// Something that several readers keep together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shared {
    /// Tells it from all else.
    pub id: u64,
    /// Its size.
    pub bytes: usize,
}

/// Reads the bytes of a flow.
///
/// Every flow has one for as long as it is known, whether or not it ever carries a byte: one that has
/// nothing to remember should be as small as two words, with whatever it needs to read in a box.
///
/// The default one stands where a flow was; it is never lent anything.
pub trait Reader: Default {
    /// What all readers share.
    type Context;
    /// The reader of a flow that begins.
    fn new(context: &Self::Context) -> Self;
    /// The connection's beginning is in the capture.
    fn begins(&mut self);
    /// Reads the next bytes of a stream: never empty, always in order. What they say may be read as far as the
    /// allowance goes.
    fn read(&mut self, side: Side, bytes: &[u8], at: Timestamp, allowance: &mut Allowance) -> Want;
    /// Bytes of this side are missing here; what is lent next comes after them. In all `covered` bytes are
    /// not lent, the first of them those that were lent and not used; says how many after these it does
    /// not need to see.
    fn gap(&mut self, side: Side, cause: Gap, covered: u64, at: Timestamp) -> u64;
    /// This side closed its direction, in order, or reset the connection.
    fn closed(&mut self, side: Side, reset: bool, at: Timestamp);
    /// It reads soon: asks for what it has on the heap.
    fn expect(&self) {}
    /// It is over soon: asks for what it will look at then, so many pointers (from 1) behind what
    /// [`Reader::expect`] asks for.
    fn expect_behind(&self, _pointers: u8) {}
    /// Behind how many pointers there is something.
    fn deepest(&self) -> u8 {
        0
    }
    /// Whether something came to be known that other flows wait for; asked after every packet that it read bytes
    /// of, and says so once.
    fn has_news(&mut self) -> bool {
        false
    }
    /// Reads one datagram, `cut` if the capture cut it; says whether more are wanted.
    fn datagram(&mut self, side: Side, bytes: &[u8], cut: bool, at: Timestamp) -> bool;
    /// Bytes of its own that it keeps on the heap, which change only when it reads, is told of a gap, lets go or is taken from.
    /// Asked whenever it did, so it is to cost next to nothing.
    fn held(&self) -> usize {
        0
    }
    /// What it keeps and may have in common with other readers, which is counted once for all. Changes only when
    /// [`Reader::held`] does.
    fn shared(&self) -> [Option<Shared>; 3] {
        [None; 3]
    }
    /// Nothing came for long, and may never: what it keeps may take fewer bytes, at the cost of time when more comes.
    fn rest(&mut self) {}
    /// There is no room for what it keeps: forgets it, and that bytes were read.
    fn let_go(&mut self) {}
}
