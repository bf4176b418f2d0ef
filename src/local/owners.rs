//! Which process had a socket at the time of a flow.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Change, Owner, Socket};

/// Owners remembered; the oldest give way.
const REMEMBERED: usize = 1 << 18;
/// How many owners one socket's addresses had, one after the other.
const GENERATIONS: usize = 4;

/// The owners of sockets, each with the time in which it was seen to be that.
#[derive(Debug, Default)]
pub struct Owners {
    sockets: HashMap<Socket, Vec<Tenure>>,
    order: VecDeque<Socket>,
}

/// An owner, from the first scan that saw it to the last; nanoseconds since 1970.
#[derive(Clone, Debug)]
struct Tenure {
    owner: Owner,
    since: i64,
    until: Option<i64>,
}

/// When a flow was there; nanoseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct During {
    /// Its first packet.
    pub start: i64,
    /// Its last packet; `None` while it is open.
    pub end: Option<i64>,
}

impl Owners {
    /// Takes what a scan at time `at` found.
    pub fn take(&mut self, change: Change, at: i64) {
        match change {
            Change::Opened(socket, owner) => {
                let tenures = match self.sockets.entry(socket) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(place) => {
                        self.order.push_back(socket);
                        place.insert(Vec::with_capacity(1))
                    }
                };
                if tenures.len() >= GENERATIONS {
                    tenures.remove(0);
                }
                tenures.push(Tenure { owner, since: at, until: None });
                if self.order.len() > REMEMBERED
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.sockets.remove(&oldest);
                }
            }
            Change::Closed(socket) => {
                if let Some(last) = self.sockets.get_mut(&socket).and_then(|all| all.last_mut()) {
                    last.until.get_or_insert(at);
                }
            }
        }
    }

    /// The process at `local` of a flow to `remote`: the one that has the connection, or else the only
    /// one that takes packets at that port. `None` if none or several were seen in that time.
    pub fn owner(
        &self,
        transport: u8,
        local: SocketAddr,
        remote: SocketAddr,
        during: During,
    ) -> Option<&Owner> {
        let socket = |local, remote| Socket { transport, local, remote };
        let connected = self.of(socket(local, Some(remote)), during);
        if connected != Found::Nobody {
            return connected.owner();
        }
        let any = match local.ip() {
            IpAddr::V4(_) => [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)],
            IpAddr::V6(_) => [IpAddr::V6(Ipv6Addr::UNSPECIFIED); 2],
        };
        let addresses = [local.ip(), any[0], any[1]];
        let listening = addresses.map(|ip| self.of(socket(SocketAddr::new(ip, local.port()), None), during));
        listening.into_iter().find(|found| *found != Found::Nobody)?.owner()
    }

    fn of(&self, socket: Socket, during: During) -> Found<'_> {
        let there = self.sockets.get(&socket).into_iter().flatten().filter(|tenure| {
            during.end.is_none_or(|end| tenure.since <= end)
                && tenure.until.is_none_or(|until| until >= during.start)
        });
        there.fold(Found::Nobody, |found, tenure| match found {
            Found::Nobody => Found::One(&tenure.owner),
            Found::One(owner) if *owner == tenure.owner => found,
            _ => Found::Several,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found<'a> {
    Nobody,
    One(&'a Owner),
    Several,
}

impl<'a> Found<'a> {
    fn owner(self) -> Option<&'a Owner> {
        match self {
            Found::One(owner) => Some(owner),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::Program;

    fn owner(pid: u32) -> Owner {
        Owner { pid, program: Program::Job(format!("job{pid}")) }
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn tcp(local: &str, remote: Option<&str>) -> Socket {
        Socket { transport: 6, local: address(local), remote: remote.map(address) }
    }

    const LOCAL: &str = "10.0.0.1:8082";
    const REMOTE: &str = "10.0.0.2:40000";

    fn pid(owners: &Owners, start: i64, end: Option<i64>) -> Option<u32> {
        let during = During { start, end };
        owners.owner(6, address(LOCAL), address(REMOTE), during).map(|owner| owner.pid)
    }

    #[test]
    fn the_connection_tells_before_the_listener() {
        let mut owners = Owners::default();
        assert_eq!(pid(&owners, 0, None), None);
        owners.take(Change::Opened(tcp("[::]:8082", None), owner(1)), 5);
        assert_eq!(pid(&owners, 0, None), Some(1));
        owners.take(Change::Opened(tcp("0.0.0.0:8082", None), owner(2)), 5);
        assert_eq!(pid(&owners, 0, None), Some(2));
        owners.take(Change::Opened(tcp(LOCAL, Some(REMOTE)), owner(3)), 10);
        assert_eq!(pid(&owners, 0, None), Some(3));
        assert_eq!(pid(&owners, 0, Some(9)), Some(2), "the connection came later");
    }

    #[test]
    fn a_reused_port_belongs_to_whoever_had_it_then() {
        let mut owners = Owners::default();
        let socket = tcp(LOCAL, Some(REMOTE));
        for (pid, at) in [(1, 10), (2, 30)] {
            owners.take(Change::Opened(socket, owner(pid)), at);
            owners.take(Change::Closed(socket), at + 5);
        }
        assert_eq!(pid(&owners, 8, Some(12)), Some(1));
        assert_eq!(pid(&owners, 28, Some(40)), Some(2));
        assert_eq!(pid(&owners, 8, Some(40)), None, "one flow cannot be both's");
        assert_eq!(pid(&owners, 20, Some(25)), None);
        for at in 0..10 {
            owners.take(Change::Opened(socket, owner(9)), 100 + at);
        }
        assert_eq!(owners.sockets[&socket].len(), GENERATIONS);
    }
}
