//! The documented tables, and what they say of a flow.
//!
//! A table's cells are parsed into what they ask for ([`cell`]); the rows of all tables in force are
//! bound to the inventory and indexed by transport and port ([`Policy`]); and each candidate row is held
//! against a flow's evidence, column by column ([`finding`]), to a [`Judgement`].

mod authentication;
pub mod cell;
mod component;
pub mod coverage;
pub mod diff;
pub mod draft;
mod ends;
pub mod finding;
pub mod import;
mod judge;
mod likeness;
pub mod lint;
mod nearby;
pub mod observed;
pub mod reach;
mod security;
mod shipped;
pub mod table;
#[cfg(test)]
pub(crate) mod testing;

pub use component::{Process, Shown};
pub use ends::Place;
pub use finding::{Because, Column, Finding, Grade, Missing, Reason, Verdict};
pub use judge::{Judgement, OpenedBy, Policy, RowRef, Subject, columns};
pub use likeness::Likeness;
pub use observed::{Application, Basis, Circumstances, Inherited, Observed, Security, TlsKind};
pub use table::{Row, Table, TableError};

use std::fmt;

use crate::protocol::tls::Version;

/// What the operator asked for beyond the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Treat no inventory as complete: an address it does not know is unseen, not contradicted.
    pub inventory_partial: bool,
    /// How far `Any*` reaches.
    pub subnet_scope: SubnetScope,
    /// TLS below this contradicts.
    pub min_tls: Version,
    /// Whether weak cipher suites contradict or are only noted.
    pub weak_cipher: WeakCipher,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            inventory_partial: false,
            subnet_scope: SubnetScope::Subnet,
            min_tls: Version::Tls12,
            weak_cipher: WeakCipher::Note,
        }
    }
}

/// How far `Any*`, "within its subnet", reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubnetScope {
    /// The destination's own subnet, read literally.
    Subnet,
    /// Any subnet of the destination's network, since a network usually has one subnet per zone.
    Network,
}

/// What RSA key exchange, NULL, EXPORT, RC4 and 3DES do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeakCipher {
    /// They are evidence.
    Note,
    /// They contradict the security column.
    Deny,
}

/// Text of a file as it may stand in an error: control characters escaped, cut when long.
fn quoted(text: &str) -> impl fmt::Display + '_ {
    const SHOWN: usize = 80;
    fmt::from_fn(move |f| match text.char_indices().nth(SHOWN) {
        Some((end, _)) => write!(f, "{}…", text.get(..end).unwrap_or_default().escape_debug()),
        None => write!(f, "{}", text.escape_debug()),
    })
}
