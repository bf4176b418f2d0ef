//! What a flow speaks: bytes in, evidence out.
//!
//! One file or folder a protocol. No I/O, no clock, no addresses, and no verdict: ports never decide
//! what a flow speaks, and whether it is allowed is decided elsewhere.

mod authorization;
pub mod dns;
pub mod http1;
pub mod http2;
pub mod nats;
pub mod tls;

#[cfg(test)]
mod testing;

pub use authorization::{Credentials, Requests};
pub use dns::Dns;
pub use http1::Http1;
pub use http2::Http2;
pub use nats::{Nats, NatsAuthentication};

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

/// The longest name kept from the wire, in bytes (a DNS name's own limit, RFC 1035 section 2.3.4).
pub const NAME_CAP: usize = 255;
