//! HTTP/2 in clear (RFC 9113), with prior knowledge, after `Upgrade: h2c`, or begun before the capture.
//!
//! A walk over the frame headers stands before the decoder: only header blocks reach it, every other
//! payload is passed over. Each direction has its own decoder, made when its first block comes.

mod cost;
mod decoder;
mod field;
mod frame;
mod hpack;
mod huffman;

use std::sync::Arc;

use super::{Http1, Probe, Requests, Side, Step, repeated};
use crate::packet::Allowance;
use cost::Left;
use decoder::Decoder;
use frame::{HEADER_LENGTH, Header, Kind, PREFACE};
use hpack::Head;

/// The longest header block read, as sent and as decoded, in bytes.
pub const BLOCK_CAP: usize = 64 * 1024;

/// How many frames a side of a connection begun before the capture is followed to learn who the client is.
pub const MIDSTREAM_CAP: u16 = 4096;

/// Evidence of HTTP/2 in clear (RFC 9113).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Http2 {
    /// The requests and the answers to them; after an upgrade, the HTTP/1 ones too.
    pub requests: Requests,
    /// `:authority` of the first request, at most [`NAME_CAP`] bytes, raw: hostile until escaped.
    pub authority: Option<Arc<[u8]>>,
    /// A request or an answer has a content type starting `application/grpc`.
    pub grpc: bool,
    /// Began as an HTTP/1.1 request with `Upgrade: h2c` that was accepted.
    pub upgraded: bool,
    /// Recognised by the shape of its frames only: it began before the capture.
    pub midstream: bool,
}

impl Http2 {
    /// Bytes on the heap.
    pub(super) fn held(&self) -> usize {
        self.authority.as_deref().map_or(0, <[u8]>::len)
    }
}

/// Whether the first bytes of one side are HTTP/2.
///
/// Certain is the 24-byte preface, a SETTINGS frame with known entries (random bytes pass once in 2^70
/// times), or three plausible frames in a row (once in 2^70 times).
pub fn probe(bytes: &[u8]) -> Probe {
    match (frame::opening(bytes), frame::shape(bytes)) {
        (Probe::Certain, _) | (_, Probe::Certain) => Probe::Certain,
        (Probe::Unsure, _) | (_, Probe::Unsure) => Probe::Unsure,
        (Probe::NotForUs, Probe::NotForUs) => Probe::NotForUs,
    }
}

/// Reads both sides of one HTTP/2 connection.
#[derive(Debug, Default)]
pub struct Parser {
    evidence: Http2,
    client: Option<Side>,
    readers: [Reader; 2],
    /// The highest stream a request came on.
    highest: u32,
    /// What was spent of what this flow's packets earned.
    spent: u64,
}

#[derive(Debug, Default)]
struct Reader {
    state: State,
    decoder: Option<Box<Decoder>>,
    block: Option<Block>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Start,
    /// Where SETTINGS must follow: behind the client's preface, or at the server's start.
    Settings,
    Frame,
    /// In a frame that belongs to a header block, with so many bytes left in it.
    Block(Header, usize),
    /// In a connection begun before the capture, with so many frames left to look at.
    Midstream(u16),
    Done,
}

/// A header block that is not at its end.
#[derive(Clone, Copy, Debug)]
struct Block {
    stream: u32,
    /// Bytes of its frames so far.
    length: usize,
}

/// What reading one frame, or a piece of one, came to.
enum Outcome {
    Need,
    Used { used: usize, skip: u64 },
    Done,
    Broken,
}

impl Parser {
    /// A parser at the start of a connection.
    pub fn new() -> Parser {
        Parser::default()
    }

    /// A parser behind an accepted `Upgrade: h2c`, whose first request was HTTP/1 and is answered on
    /// stream 1 (RFC 7540 section 3.2). What was seen of the requests goes on being counted.
    pub fn upgraded(client: Side, before: &Http1) -> Parser {
        Parser {
            evidence: Http2 {
                requests: before.requests,
                authority: before.host.clone(),
                upgraded: true,
                ..Http2::default()
            },
            client: Some(client),
            readers: Default::default(),
            highest: 1,
            spent: 0,
        }
    }

    /// Reads on in one side's bytes. A side that asks for more work than the allowance has is read no more.
    pub fn advance(&mut self, side: Side, bytes: &[u8], allowance: &mut Allowance) -> Step {
        let before = allowance.left(self.spent);
        let mut left = Left::new(before);
        let step = self.walk(side, bytes, &mut left);
        allowance.spend(&mut self.spent, before - left.units());
        if left.is_overdrawn() {
            allowance.refuse();
        }
        step
    }

    fn walk(&mut self, side: Side, bytes: &[u8], left: &mut Left) -> Step {
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            let outcome = match self.readers[side.index()].state {
                State::Done => Outcome::Done,
                _ if rest.is_empty() => Outcome::Need,
                _ if left.pay(cost::FRAME).is_err() => self.give_up(side),
                State::Start => self.start(side, rest),
                State::Settings | State::Frame => self.frame(side, rest, left),
                State::Block(frame, missing) => self.block(side, frame, missing, rest, left),
                State::Midstream(frames) => self.midstream(side, frames, rest),
            };
            match outcome {
                Outcome::Need => return Step::More { used },
                Outcome::Done => return Step::Done,
                Outcome::Broken => return Step::Broken,
                Outcome::Used { used: more, skip } => {
                    used += more;
                    let rest = bytes.len().saturating_sub(used);
                    match usize::try_from(skip) {
                        Ok(skip) if skip <= rest => used += skip,
                        _ => {
                            let skip = skip - rest as u64;
                            return Step::Skip { used: bytes.len(), skip };
                        }
                    }
                }
            }
        }
    }

    /// Bytes of this side are missing here; what follows is lent next.
    ///
    /// The header table is lost with them, so nothing more is read of a side that had begun.
    pub fn gap(&mut self, side: Side) {
        if self.readers[side.index()].state == State::Start {
            self.unread(side);
        } else {
            self.give_up(side);
        }
    }

    /// Bytes on the heap.
    pub fn held(&self) -> usize {
        let decoders = self.readers.iter().filter_map(|reader| reader.decoder.as_deref());
        self.evidence.held() + decoders.map(Decoder::held).sum::<usize>()
    }

    /// What was seen so far.
    pub fn evidence(&self) -> &Http2 {
        &self.evidence
    }

    /// What was seen, when nothing more is to come.
    pub fn into_evidence(self) -> Http2 {
        self.evidence
    }

    /// Who sends the requests: by the preface, the server's SETTINGS, or the first header block.
    pub fn client(&self) -> Option<Side> {
        self.client
    }

    fn start(&mut self, side: Side, bytes: &[u8]) -> Outcome {
        let (role, used) = match frame::opening(bytes) {
            Probe::Certain if bytes.starts_with(PREFACE) => (Some(side), PREFACE.len()),
            Probe::Certain => (Some(side.other()), 0),
            Probe::Unsure => return Outcome::Need,
            Probe::NotForUs => (None, 0),
        };
        let reader = &mut self.readers[side.index()];
        match (role, self.client) {
            (Some(role), client) if client.is_none_or(|client| client == role) => {
                self.client = Some(role);
                reader.state = State::Settings;
                return Outcome::Used { used, skip: 0 };
            }
            (_, Some(_)) if self.evidence.upgraded => return Outcome::Broken,
            _ => {}
        }
        // Once the other side was recognised, one frame header is enough.
        let other_known = self.evidence.midstream || self.client.is_some();
        let shape = match Header::read(bytes) {
            Some(header) if other_known && header.plausible() => Probe::Certain,
            _ => frame::shape(bytes),
        };
        match shape {
            Probe::Unsure => Outcome::Need,
            Probe::NotForUs => Outcome::Broken,
            Probe::Certain => {
                self.evidence.midstream |= self.client.is_none();
                reader.state = State::Midstream(MIDSTREAM_CAP);
                self.unread(side);
                Outcome::Used { used: 0, skip: 0 }
            }
        }
    }

    fn frame(&mut self, side: Side, bytes: &[u8], left: &mut Left) -> Outcome {
        let Some(header) = Header::read(bytes) else {
            return Outcome::Need;
        };
        let reader = &mut self.readers[side.index()];
        let in_block = reader.block.is_some_and(|block| block.stream == header.stream());
        let in_order = match (reader.state, header.kind()) {
            (State::Settings, _) => header.is_settings(),
            (_, Kind::Continuation) => in_block,
            _ => reader.block.is_none(),
        };
        if !header.lawful() || !in_order {
            self.give_up(side);
            return Outcome::Broken;
        }
        reader.state = State::Frame;
        let length = header.length as usize;
        if !matches!(header.kind(), Kind::Headers | Kind::PushPromise | Kind::Continuation) {
            return Outcome::Used { used: HEADER_LENGTH, skip: u64::from(header.length) };
        }
        let so_far = reader.block.map_or(0, |block| block.length).saturating_add(length);
        reader.block = match header.ends_headers() {
            true => None,
            false => Some(Block { stream: header.stream(), length: so_far }),
        };
        if so_far > BLOCK_CAP {
            return self.give_up(side);
        }
        match self.block(side, header, length, bytes.get(HEADER_LENGTH..).unwrap_or_default(), left) {
            Outcome::Used { used, skip } => Outcome::Used { used: HEADER_LENGTH + used, skip },
            other => other,
        }
    }

    /// Gives the decoder what there is of a frame of which `missing` bytes are still to come.
    fn block(&mut self, side: Side, frame: Header, missing: usize, bytes: &[u8], left: &mut Left) -> Outcome {
        let piece = bytes.get(..missing).unwrap_or(bytes);
        let missing = missing - piece.len();
        let reader = &mut self.readers[side.index()];
        reader.state = if missing == 0 { State::Frame } else { State::Block(frame, missing) };
        let decoder = reader.decoder.get_or_insert_with(|| Box::new(Decoder::new()));
        let from_client = self.client == Some(side);
        let is_first = from_client && self.evidence.requests.read == 0;
        match decoder.feed(frame, piece, missing == 0, is_first, left) {
            Ok(Some(head)) if from_client => {
                request(&mut self.evidence, &mut self.highest, frame.stream(), &head)
            }
            Ok(Some(head)) => answer(&mut self.evidence, &head),
            Ok(None) => {}
            Err(_) => return self.give_up(side),
        }
        Outcome::Used { used: piece.len(), skip: 0 }
    }

    fn midstream(&mut self, side: Side, left: u16, bytes: &[u8]) -> Outcome {
        let Some(header) = Header::read(bytes) else {
            return Outcome::Need;
        };
        let state = &mut self.readers[side.index()].state;
        if !header.plausible() || left == 0 || self.client.is_some() {
            *state = State::Done;
            return Outcome::Done;
        }
        if header.kind() == Kind::Headers && header.block_first() {
            let Some(first) = bytes.get(HEADER_LENGTH) else {
                return Outcome::Need;
            };
            self.client = frame::sent_by_client(*first).map(|client| match client {
                true => side,
                false => side.other(),
            });
        }
        *state = State::Midstream(left - 1);
        Outcome::Used { used: HEADER_LENGTH, skip: u64::from(header.length) }
    }

    /// Reads no more of this side.
    fn give_up(&mut self, side: Side) -> Outcome {
        let reader = &mut self.readers[side.index()];
        reader.decoder = None;
        if reader.state != State::Done {
            reader.state = State::Done;
            self.unread(side);
        }
        Outcome::Done
    }

    /// What this side sent cannot be read: a loss among the answers loses no request.
    fn unread(&mut self, side: Side) {
        let requests = &mut self.evidence.requests;
        let lost = if self.client == Some(side.other()) {
            &mut requests.answers_unread
        } else {
            &mut requests.unread
        };
        *lost = true;
    }
}

/// A header block from the client: a request if it opens a stream (RFC 9113 section 5.1.1), else trailers.
fn request(evidence: &mut Http2, highest: &mut u32, stream: u32, head: &Head) {
    if stream <= *highest || stream.is_multiple_of(2) {
        return;
    }
    *highest = stream;
    if head.over_cap() || !head.method() {
        evidence.requests.unread = true;
        return;
    }
    if evidence.requests.read == 0 {
        evidence.authority = head.authority().map(repeated::name);
    }
    evidence.grpc |= head.grpc();
    evidence.requests.request(head.credentials());
}

/// A header block from the server: an answer if it has a status, else trailers.
fn answer(evidence: &mut Http2, head: &Head) {
    evidence.grpc |= head.grpc();
    if let Some(status) = head.status {
        evidence.requests.answer(status);
    }
}

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
