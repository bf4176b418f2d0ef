//! Frames of header blocks in, heads out: puts together what comes in pieces and lies in several frames.

use std::ops::Range;

use super::frame::{Header, Kind};
use super::hpack::{Head, Refused, Table};

/// Decodes the header blocks of one direction of a connection.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
    /// The block so far, as much of it as did not come whole.
    pending: Vec<u8>,
    /// Where the frame that is being read begins there.
    from: usize,
    /// The block is a PUSH_PROMISE's, which is a request that nobody sent.
    promised: bool,
}

impl Decoder {
    /// A decoder with an empty table.
    pub fn new() -> Decoder {
        Decoder { table: Table::new(), pending: Vec::new(), from: 0, promised: false }
    }

    /// Bytes on the heap.
    pub fn held(&self) -> usize {
        size_of::<Decoder>() + self.table.held() + self.pending.capacity()
    }

    /// Takes the next piece of a frame's payload, which ends the frame if `is_last`; the head comes with the last
    /// piece of the last frame. `wants_authority` to keep what the request is for.
    pub fn feed(
        &mut self,
        frame: Header,
        piece: &[u8],
        is_last: bool,
        wants_authority: bool,
    ) -> Result<Option<Head>, Refused> {
        if frame.kind != Kind::Continuation {
            self.promised = frame.kind == Kind::PushPromise;
        }
        let head = if is_last && frame.ends_headers() && self.pending.is_empty() {
            let block = piece.get(fragment(frame, piece)?).unwrap_or_default();
            self.table.block(block, wants_authority)?
        } else {
            self.pending.extend_from_slice(piece);
            if !is_last {
                return Ok(None);
            }
            let within = fragment(frame, self.pending.get(self.from..).unwrap_or_default())?;
            let length = within.len();
            self.pending.copy_within(self.from + within.start..self.from + within.end, self.from);
            self.from += length;
            self.pending.truncate(self.from);
            if !frame.ends_headers() {
                return Ok(None);
            }
            self.from = 0;
            self.table.block(&std::mem::take(&mut self.pending), wants_authority)?
        };
        Ok((!self.promised).then_some(head))
    }
}

/// Where in a frame's payload its part of the block lies: behind what stands first, and before the padding (RFC
/// 9113 sections 6.2 and 6.6).
fn fragment(frame: Header, payload: &[u8]) -> Result<Range<usize>, Refused> {
    let (before, padding) = match payload.first() {
        Some(padding) if frame.is_padded() => (1, usize::from(*padding)),
        None if frame.is_padded() => return Err(Refused),
        _ => (0, 0),
    };
    let start = before
        + match frame.kind {
            Kind::Headers if frame.has_priority() => 5,
            Kind::PushPromise => 4,
            _ => 0,
        };
    match payload.len().checked_sub(padding) {
        Some(end) if start <= end => Ok(start..end),
        _ => Err(Refused),
    }
}
