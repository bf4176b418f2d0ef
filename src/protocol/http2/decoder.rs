//! Frames of header blocks in, heads out: puts together what comes in pieces and lies in several frames.

use bytes::BytesMut;
use h2::frame::PushPromise;

use super::cost::{self, Left};
use super::frame::{Header, Kind};
use super::hpack::{Head, Refused, Table};

/// How many CONTINUATION frames a block may have that do not end it. With [`super::BLOCK_CAP`] and frames as large
/// as every peer takes them, no block needs more.
const CONTINUATIONS: u8 = 5;

/// A buffer of so many bytes is kept for the next frame.
const BUFFER: usize = 256;

/// Decodes the header blocks of one direction of a connection.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
    /// The payload of a frame that has not come whole.
    payload: BytesMut,
    /// The block so far, of frames that did not end it, and how many of them were CONTINUATION.
    block: BytesMut,
    continuations: u8,
    /// The block is a PUSH_PROMISE's, which is a request that nobody sent.
    promised: bool,
}

impl Decoder {
    /// A decoder with an empty table.
    pub fn new() -> Decoder {
        Decoder {
            table: Table::new(),
            payload: BytesMut::new(),
            block: BytesMut::new(),
            continuations: 0,
            promised: false,
        }
    }

    /// Bytes on the heap.
    pub fn held(&self) -> usize {
        size_of::<Decoder>() + self.table.held() + self.payload.capacity() + self.block.capacity()
    }

    /// Takes the next piece of a frame's payload, which ends the frame if `is_last`; the head comes with the last
    /// piece of the last frame. `wants_authority` to keep what the request is for.
    pub fn feed(
        &mut self,
        frame: Header,
        piece: &[u8],
        is_last: bool,
        wants_authority: bool,
        left: &mut Left,
    ) -> Result<Option<Head>, Refused> {
        if is_last && self.payload.is_empty() && frame.is_whole_block() {
            // Most have nothing to be put together.
            let block = frame.block(piece).ok_or(Refused)?;
            return self.table.block(block, wants_authority, left).map(Some);
        }
        left.pay(cost::PIECE)?;
        self.payload.extend_from_slice(piece);
        if !is_last {
            return Ok(None);
        }
        let fragment = self.fragment(frame)?;
        let block = match self.block.is_empty() {
            true => fragment,
            false => {
                self.block.extend_from_slice(&fragment);
                std::mem::take(&mut self.block)
            }
        };
        if !frame.ends_headers() {
            self.block = block;
            return Ok(None);
        }
        let head = self.table.block(&block, wants_authority, left)?;
        if block.capacity() <= BUFFER {
            self.payload = block;
            self.payload.clear();
        }
        Ok((!self.promised).then_some(head))
    }

    /// What a whole frame has of its block: no padding, no priority, and not the stream that it promises.
    fn fragment(&mut self, frame: Header) -> Result<BytesMut, Refused> {
        let payload = std::mem::take(&mut self.payload);
        (self.promised, self.continuations) = match frame.kind() {
            Kind::Continuation => (self.promised, self.continuations + u8::from(!frame.ends_headers())),
            kind => (kind == Kind::PushPromise, 0),
        };
        if self.continuations > CONTINUATIONS {
            return Err(Refused);
        }
        match frame.kind() {
            Kind::Headers => frame.block(&payload).map(BytesMut::from),
            Kind::PushPromise => PushPromise::load(frame.head, payload).ok().map(|(_, fragment)| fragment),
            _ => Some(payload),
        }
        .ok_or(Refused)
    }
}
