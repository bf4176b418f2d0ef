//! On a live VM: which local process a flow's socket belongs to, and which BOSH job that process is.
//!
//! [`Scanner`] reads /proc; [`Owners`] remembers what it found for as long as flows may ask. Nothing here
//! is needed for an audit: without it, jobs in the inventory tell which processes a VM may have.

mod job;
mod owners;
mod scan;

pub use owners::{During, Owners};
pub use scan::{Change, Scanner};

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;

/// The process that a socket belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Its process number.
    pub pid: u32,
    /// What it is.
    pub program: Program,
}

/// What a process is on a VM of the platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Program {
    /// A process of this BOSH job, by its cgroup or a path under the jobs' folder.
    Job(String),
    /// The executable at this path, which belongs to no job.
    Other(String),
    /// A process whose executable could not be read.
    Unknown,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.program {
            Program::Job(name) => write!(f, "job {name} (process {})", self.pid),
            Program::Other(path) => write!(f, "{path} (process {})", self.pid),
            Program::Unknown => write!(f, "process {}", self.pid),
        }
    }
}

/// One socket of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Socket {
    /// IP protocol number: 6 or 17.
    pub transport: u8,
    /// Its own address; unspecified if it takes packets to any.
    pub local: SocketAddr,
    /// The other end; `None` for one that listens or is not connected.
    pub remote: Option<SocketAddr>,
}
