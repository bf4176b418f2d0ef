//! HTTP/1.0 and HTTP/1.1 in clear (RFC 9112), read by httparse for the life of the flow.
//!
//! Every head is read, bodies are passed over by their framing, and nothing is kept but counts and the
//! first `Host`.

mod chunked;
mod head;
mod outstanding;
mod rest;

use std::sync::Arc;

use super::{NAME_CAP, Probe, Requests, Side, Step, repeated};
use chunked::{Chunked, Walk};
use head::{Framing, Kind, Start, Upgrade};
use outstanding::Outstanding;
pub(super) use rest::Counts;

/// The longest head waited for, in bytes.
pub const HEAD_CAP: usize = 64 * 1024;

/// The most requests that may wait for their answers; with more, HEAD and CONNECT are no longer told
/// apart when the answers come.
pub const OUTSTANDING_CAP: usize = 64;

/// How many pieces of a side's bytes are searched for a message after a gap.
pub const RESYNC_CAP: u16 = 4096;

/// Evidence of HTTP/1 in clear (RFC 9112).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Http1 {
    /// The requests and the answers to them.
    pub requests: Requests,
    /// `Host` of the first request, at most [`NAME_CAP`] bytes, raw: hostile until escaped.
    pub host: Option<Arc<[u8]>>,
    /// A request asked for `Upgrade: websocket`.
    pub websocket_asked: bool,
    /// It was answered with status 101 and `Upgrade: websocket` (RFC 6455 section 4).
    pub websocket_accepted: bool,
    /// A request asked for `Upgrade: h2c`, and was answered with status 101 and the same
    /// (RFC 7540 section 3.2): HTTP/2 follows on both sides.
    pub h2c_accepted: bool,
    /// An answer's content type is `text/event-stream` (WHATWG HTML, Server-Sent Events).
    pub event_stream: bool,
}

impl Http1 {
    /// Bytes on the heap.
    pub(super) fn held(&self) -> usize {
        self.host.as_deref().map_or(0, <[u8]>::len)
    }
}

/// Whether the first bytes of one side are an HTTP/1 request or response.
///
/// Certain needs at least the nine fixed bytes of ` HTTP/1.x` and its line end, or the twelve of a
/// status line: random bytes pass fewer than once in 2^50 times.
pub fn probe(bytes: &[u8]) -> Probe {
    match head::start(without_empty_lines(bytes).1) {
        Start::Request | Start::Response => Probe::Certain,
        Start::Unsure => Probe::Unsure,
        Start::Neither => Probe::NotForUs,
    }
}

/// Reads both sides of one HTTP/1 connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Parser {
    evidence: Http1,
    client: Option<Side>,
    readers: [Reader; 2],
    outstanding: Outstanding,
    /// The last request asked to go on in another protocol, and was not answered yet.
    switch_asked: bool,
    /// The client was taken to have switched before the answer was seen; holds `unread` as it was.
    switch_presumed: Option<bool>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Reader {
    state: State,
    /// Bytes of the present head in which its end was already looked for.
    scanned: u32,
    /// At least one head of this side was read.
    begun: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum State {
    #[default]
    Head,
    Chunked(Chunked),
    /// Bytes before are missing: looking for a message at the start of a piece, in so many more of them.
    Resync(u16),
    Done,
}

/// What reading one head or one line of framing came to.
enum Outcome {
    Need,
    Used { used: usize, skip: u64 },
    Done,
    Switch { used: usize },
    Broken,
}

impl Parser {
    /// A parser at the start of a connection.
    pub fn new() -> Parser {
        Parser::default()
    }

    /// Reads on in one side's bytes.
    pub fn advance(&mut self, side: Side, bytes: &[u8]) -> Step {
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            let outcome = match self.readers[side.index()].state {
                State::Done => Outcome::Done,
                _ if rest.is_empty() => Outcome::Need,
                State::Head => self.head(side, rest),
                State::Chunked(walk) => self.chunked(side, walk, rest),
                State::Resync(left) => self.resync(side, left, rest),
            };
            match outcome {
                Outcome::Need => return Step::More { used },
                Outcome::Done => return Step::Done,
                Outcome::Broken => return Step::Broken,
                Outcome::Switch { used: more } => return Step::Switch { used: used + more },
                Outcome::Used { used: more, skip } => {
                    used += more;
                    let left = bytes.len().saturating_sub(used);
                    match usize::try_from(skip) {
                        Ok(skip) if skip <= left => used += skip,
                        _ => {
                            let skip = skip - left as u64;
                            return Step::Skip { used: bytes.len(), skip };
                        }
                    }
                }
            }
        }
    }

    /// The flow began before the capture: what this side sends first may be the middle of a message.
    pub fn joins(&mut self, side: Side) {
        self.readers[side.index()].state = State::Resync(RESYNC_CAP);
    }

    /// Bytes of this side are missing here; what follows is lent next.
    pub fn gap(&mut self, side: Side) {
        // Which answer belongs to which request can no longer be told.
        self.outstanding.lose_step();
        if self.client != Some(side.other()) {
            self.evidence.requests.unread = true;
        }
        let reader = &mut self.readers[side.index()];
        if reader.state != State::Done {
            reader.scanned = 0;
            reader.state = State::Resync(RESYNC_CAP);
        }
    }

    /// What was seen so far.
    pub fn evidence(&self) -> &Http1 {
        &self.evidence
    }

    /// What was seen, when nothing more is to come.
    pub fn into_evidence(self) -> Http1 {
        self.evidence
    }

    /// Who sends the requests, once a message was read.
    pub fn client(&self) -> Option<Side> {
        self.client
    }

    fn head(&mut self, side: Side, bytes: &[u8]) -> Outcome {
        let (empty, message) = without_empty_lines(bytes);
        if empty > 0 {
            return Outcome::Used { used: empty, skip: 0 };
        }
        let reader = &mut self.readers[side.index()];
        if reader.scanned == 0 {
            let role = match head::start(message) {
                Start::Unsure => return Outcome::Need,
                Start::Neither => return self.not_a_message(side),
                Start::Request => side,
                Start::Response => side.other(),
            };
            if *self.client.get_or_insert(role) != role {
                return self.not_a_message(side);
            }
        }
        let reader = &mut self.readers[side.index()];
        let end = match head::end(message, reader.scanned as usize) {
            Ok(end) if end <= HEAD_CAP => end,
            Err(scanned) if scanned < HEAD_CAP => {
                reader.scanned = scanned.max(1) as u32;
                return Outcome::Need;
            }
            _ => return self.give_up(side),
        };
        reader.scanned = 0;
        reader.begun = true;
        let message = message.get(..end).unwrap_or_default();
        match self.client == Some(side) {
            true => self.request(side, message),
            false => self.response(side, message),
        }
    }

    fn request(&mut self, side: Side, message: &[u8]) -> Outcome {
        let Some(request) = head::request(message) else {
            return self.give_up(side);
        };
        let evidence = &mut self.evidence;
        if evidence.requests.read == 0 {
            let host = request.host.map(|host| host.get(..NAME_CAP).unwrap_or(host));
            evidence.host = host.map(repeated::name);
        }
        evidence.requests.request(request.credentials);
        evidence.websocket_asked |= request.upgrade == Upgrade::WebSocket;
        self.switch_asked = request.upgrade != Upgrade::None || request.kind == Kind::Connect;
        self.outstanding.asked(request.kind);
        if self.evidence.websocket_accepted {
            self.readers[side.index()].state = State::Done;
            return Outcome::Done;
        }
        self.body(side, request.framing, message.len())
    }

    fn response(&mut self, side: Side, message: &[u8]) -> Outcome {
        let Some(response) = head::response(message) else {
            return self.give_up(side);
        };
        let used = message.len();
        if response.status == 101 {
            return self.switched(side, response.upgrade, used);
        }
        self.evidence.requests.answer(response.status);
        if matches!(response.status, 100..=199) {
            return Outcome::Used { used, skip: 0 };
        }
        let kind = self.outstanding.answered();
        if kind == Kind::Connect && matches!(response.status, 200..=299) {
            return Outcome::Switch { used };
        }
        self.switch_asked = false;
        self.evidence.event_stream |= response.event_stream;
        match kind {
            Kind::Head => Outcome::Used { used, skip: 0 },
            _ => self.body(side, response.framing, used),
        }
    }

    fn switched(&mut self, side: Side, upgrade: Upgrade, used: usize) -> Outcome {
        if let Some(unread) = self.switch_presumed.take() {
            self.evidence.requests.unread = unread;
        }
        match upgrade {
            Upgrade::WebSocket => {
                self.evidence.requests.answer(101);
                self.evidence.websocket_accepted = true;
                self.readers[side.index()].state = State::Done;
                // A capture out of order may show the answer before its request, which is still to be read.
                let asked = &mut self.readers[side.other().index()];
                if asked.begun {
                    asked.state = State::Done;
                }
                Outcome::Done
            }
            // The request itself is answered in HTTP/2, on stream 1.
            Upgrade::H2c => {
                self.evidence.h2c_accepted = true;
                Outcome::Switch { used }
            }
            _ => {
                self.evidence.requests.answer(101);
                Outcome::Switch { used }
            }
        }
    }

    /// Goes on behind a head of `used` bytes.
    fn body(&mut self, side: Side, framing: Framing, used: usize) -> Outcome {
        match framing {
            Framing::Length(skip) => Outcome::Used { used, skip },
            Framing::Chunked => {
                self.readers[side.index()].state = State::Chunked(Chunked::default());
                Outcome::Used { used, skip: 0 }
            }
            Framing::UntilClose => {
                self.readers[side.index()].state = State::Done;
                Outcome::Done
            }
            Framing::Ambiguous => self.give_up(side),
        }
    }

    fn chunked(&mut self, side: Side, mut walk: Chunked, bytes: &[u8]) -> Outcome {
        let step = walk.step(bytes);
        self.readers[side.index()].state = match step {
            Walk::End { .. } => State::Head,
            _ => State::Chunked(walk),
        };
        match step {
            Walk::Need => Outcome::Need,
            Walk::Used { used, skip } => Outcome::Used { used, skip },
            Walk::End { used } => Outcome::Used { used, skip: 0 },
            Walk::Broken => self.give_up(side),
        }
    }

    fn resync(&mut self, side: Side, left: u16, bytes: &[u8]) -> Outcome {
        let may_be_client = self.client != Some(side.other());
        let reader = &mut self.readers[side.index()];
        let wanted = match self.client {
            Some(client) if client == side => Start::Request,
            Some(_) => Start::Response,
            None => Start::Unsure,
        };
        match (head::start(bytes), left.checked_sub(1)) {
            (Start::Unsure, _) => Outcome::Need,
            (found @ (Start::Request | Start::Response), _) if wanted == found || wanted == Start::Unsure => {
                reader.state = State::Head;
                self.head(side, bytes)
            }
            (_, Some(left)) => {
                reader.state = State::Resync(left);
                // The rest of a request, at least.
                self.evidence.requests.unread |= may_be_client;
                Outcome::Used { used: bytes.len(), skip: 0 }
            }
            (_, None) => {
                reader.state = State::Done;
                Outcome::Done
            }
        }
    }

    /// Where a message should begin, none does.
    fn not_a_message(&mut self, side: Side) -> Outcome {
        if !self.readers[side.index()].begun {
            return Outcome::Broken;
        }
        let before = self.evidence.requests.unread;
        if self.client == Some(side) && self.switch_asked && self.switch_presumed.is_none() {
            self.switch_presumed = Some(before);
        }
        self.give_up(side)
    }

    /// Reads no more of this side.
    fn give_up(&mut self, side: Side) -> Outcome {
        if self.client == Some(side) {
            self.evidence.requests.unread = true;
        }
        self.readers[side.index()].state = State::Done;
        Outcome::Done
    }
}

/// Skips the empty lines that may stand before a message (RFC 9112 section 2.2); says how many bytes.
fn without_empty_lines(bytes: &[u8]) -> (usize, &[u8]) {
    let mut rest = bytes;
    while let Some(more) = rest.strip_prefix(b"\r\n").or(rest.strip_prefix(b"\n")) {
        rest = more;
    }
    (bytes.len() - rest.len(), rest)
}

#[cfg(test)]
mod tests;
