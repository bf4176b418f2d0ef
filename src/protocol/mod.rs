//! What a flow speaks: bytes in, evidence out.
//!
//! One file or folder a protocol. No I/O, no clock, no addresses, and no verdict: ports never decide
//! what a flow speaks, and whether it is allowed is decided elsewhere.

pub mod cursor;
pub mod tls;

/// One of the two ends of a flow, in the flow key's own order; who is the client is separate evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The lower endpoint of the flow's key.
    A,
    /// The higher endpoint.
    B,
}

impl Side {
    /// The opposite end.
    pub fn other(self) -> Side {
        match self {
            Side::A => Side::B,
            Side::B => Side::A,
        }
    }
    /// 0 for A and 1 for B, to index a pair.
    pub fn index(self) -> usize {
        self as usize
    }
}

/// Whether the first bytes one side sent are the start of a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// They are.
    Certain,
    /// They could be; more bytes will tell.
    Unsure,
    /// They are not.
    NotForUs,
}

/// What a recogniser did with the bytes it was lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The first `used` bytes are dealt with; call again with the rest and what follows it.
    More {
        /// Bytes that need not be lent again.
        used: usize,
    },
    /// The first `used` bytes are dealt with, and the next `skip` bytes of this side do not matter:
    /// they need neither be kept nor lent, and may even be missing from the capture.
    Skip {
        /// Bytes that need not be lent again.
        used: usize,
        /// How many bytes after those to pass over.
        skip: u64,
    },
    /// Nothing more from this side can add evidence.
    Done,
    /// From byte `used` on, both sides speak something else, to be probed afresh.
    Switch {
        /// Bytes that belonged to this protocol.
        used: usize,
    },
    /// These bytes are not this protocol, or break its rules.
    Broken,
}

/// How the requests that carry credentials in clear were authenticated, counted request by request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Request heads read whole.
    pub read: u32,
    /// Of those, with `Authorization: Bearer` (any case), or the cookie `authorization` carrying one.
    pub bearer: u32,
    /// With `Authorization: Basic`.
    pub basic: u32,
    /// With another `Authorization` scheme.
    pub other: u32,
    /// With no credentials at all.
    pub none: u32,
    /// Some requests could not be read: a gap, a cut packet, a head over the cap, a late start.
    pub unread: bool,
    /// Answers with status 401.
    pub status_401: u32,
    /// Answers with status 403.
    pub status_403: u32,
    /// Answers with status 404.
    pub status_404: u32,
    /// Answers with any other final status (interim 1xx ones but 101 are not counted).
    pub status_other: u32,
}

/// Evidence of HTTP/1 in clear (RFC 9112).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Http1 {
    /// The requests and the answers to them.
    pub requests: Requests,
    /// `Host` of the first request, at most [`NAME_CAP`] bytes, raw: hostile until escaped.
    pub host: Option<Box<[u8]>>,
    /// A request asked for `Upgrade: websocket`.
    pub websocket_asked: bool,
    /// It was answered with status 101 and `Upgrade: websocket` (RFC 6455 section 4).
    pub websocket_accepted: bool,
    /// An answer's content type is `text/event-stream` (WHATWG HTML, Server-Sent Events).
    pub event_stream: bool,
}

/// Evidence of HTTP/2 in clear (RFC 9113).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Http2 {
    /// The requests and the answers to them.
    pub requests: Requests,
    /// `:authority` of the first request, at most [`NAME_CAP`] bytes, raw: hostile until escaped.
    pub authority: Option<Box<[u8]>>,
    /// A request or an answer has a content type starting `application/grpc`.
    pub grpc: bool,
    /// Began as an HTTP/1.1 request with `Upgrade: h2c` that was accepted.
    pub upgraded: bool,
    /// Recognised by the shape of its frames only: it began before the capture.
    pub midstream: bool,
}

/// How a NATS client presented itself in CONNECT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NatsAuthentication {
    /// No CONNECT was read.
    #[default]
    Unseen,
    /// CONNECT carried nothing.
    None,
    /// `user` and `pass`, neither empty.
    UserPassword,
    /// `auth_token`.
    Token,
    /// `nkey` and `sig`, without a JWT.
    Nkey,
    /// `jwt`.
    Jwt,
}

/// Evidence of NATS in clear (docs.nats.io, client protocol).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nats {
    /// The server's INFO was read.
    pub info: bool,
    /// INFO said `auth_required`.
    pub auth_required: bool,
    /// INFO said `tls_required`.
    pub tls_required: bool,
    /// The two sides went on in TLS after INFO.
    pub upgraded: bool,
    /// What CONNECT carried.
    pub authentication: NatsAuthentication,
    /// The server answered `-ERR` with an authorization or authentication complaint.
    pub refused: bool,
    /// The server answered anything that shows the client was let in (+OK, PONG, MSG, HMSG, PING after CONNECT).
    pub accepted: bool,
}

/// Evidence of DNS (RFC 1035).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// Queries seen.
    pub queries: u32,
    /// Answers seen.
    pub answers: u32,
    /// First name asked for, in presentation form, at most [`NAME_CAP`] bytes.
    pub name: Option<Box<[u8]>>,
}

/// The longest name kept from the wire, in bytes (a DNS name's own limit, RFC 1035 section 2.3.4).
pub const NAME_CAP: usize = 255;
