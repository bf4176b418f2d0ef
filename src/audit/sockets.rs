//! Which local process a flow's end is, on the audited VM itself.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use super::ended::Ended;
use crate::capture::Timestamp;
use crate::flow::ConnState;
use crate::local::{During, Owners, Program};
use crate::packet::{Endpoint, Side, Transport};
use crate::policy::Process;

/// A socket may be seen for the first time so long after the last packet of a flow that is still open.
const LATE: i64 = Timestamp::SECOND;

/// The process at this side, if it is a local one and was seen to have the socket.
pub(super) fn process(owners: &Mutex<Owners>, flow: &Ended, side: Side) -> Option<Process> {
    let address = |end: Endpoint| SocketAddr::new(end.ip.to_canonical(), end.port);
    let (local, remote) = (address(flow.key.end(side)), address(flow.key.end(side.other())));
    let late = if is_closed(flow) { 0 } else { LATE };
    let during = During { start: flow.counted.start.0, end: Some(flow.counted.end.0.saturating_add(late)) };
    let owners = owners.lock().unwrap_or_else(PoisonError::into_inner);
    let owner = owners.owner(flow.key.transport.0, local, remote, during)?;
    match &owner.program {
        Program::Job(job) => Some(Process::new(Some(job), owner.to_string())),
        Program::Other(_) => Some(Process::new(None, owner.to_string())),
        Program::Unknown => None,
    }
}

/// Both ends are done with it: a socket seen later is another's.
fn is_closed(flow: &Ended) -> bool {
    use ConnState::{Oth, S0, S1, S2, S3};
    flow.key.transport == Transport::TCP && !matches!(flow.counted.state, S0 | S1 | S2 | S3 | Oth)
}
