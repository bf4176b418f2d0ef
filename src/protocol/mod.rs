//! What a flow speaks: bytes in, evidence out.
//!
//! One file or folder a protocol. No I/O, no clock, no addresses, and no verdict: ports never decide
//! what a flow speaks, and whether it is allowed is decided elsewhere.

mod authorization;
mod conversation;
pub mod cursor;
pub mod dns;
mod evidence;
pub mod http1;
pub mod http2;
mod inside;
pub mod ldap;
pub mod mysql;
pub mod nats;
pub mod proxy;
mod recognise;
mod repeated;
mod rest;
pub mod ssh;
pub mod syslog;
mod talk;
pub mod tls;

#[cfg(test)]
pub(crate) mod testing;

pub use crate::packet::Side;
pub use authorization::{Credentials, Requests};
pub use conversation::Conversation;
pub use dns::{Address, Dns};
pub use evidence::Evidence;
pub use http1::Http1;
pub use http2::Http2;
pub use inside::KEPT_CAP;
pub use ldap::Ldap;
pub use mysql::Mysql;
pub use nats::{Nats, NatsAuthentication};
pub use proxy::Proxy;
pub use ssh::Ssh;
pub use syslog::Syslog;

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
