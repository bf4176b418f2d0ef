//! Sockets and their processes, out of /proc.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use procfs::net::{TcpState, tcp, tcp6, udp, udp6};
use procfs::process::{FDTarget, Process, all_processes};
use procfs::{ProcError, ProcResult};
use serde::{Deserialize, Serialize};

use super::job::{Traits, job};
use super::{Owner, Program, Socket};

/// IP protocol numbers.
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Sockets followed at once; of a machine that has more, the rest stay unknown.
const SOCKETS: usize = 1 << 18;

/// Stands for the inode where several sockets share one address (SO_REUSEPORT): nobody can tell whose a
/// flow is.
const SHARED: u64 = u64::MAX;

/// What changed since the scan before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A socket is there, and this process has it.
    Opened(Socket, Owner),
    /// It is no longer there, or another process's.
    Closed(Socket),
}

/// Follows the sockets of this network namespace.
#[derive(Debug)]
pub struct Scanner {
    jobs: PathBuf,
    /// Sockets told of, with their inodes.
    told: HashMap<Socket, u64>,
    /// Inodes whose process is known, or was looked for in vain.
    owners: HashMap<u64, Option<Owner>>,
}

impl Scanner {
    /// `jobs` is the jobs' folder, `/var/vcap/jobs` on a VM that BOSH made.
    pub fn new(jobs: PathBuf) -> Scanner {
        Scanner { jobs, told: HashMap::new(), owners: HashMap::new() }
    }

    /// Looks at all sockets, and at the processes if there are sockets not seen before.
    ///
    /// # Errors
    /// /proc cannot be read at all; a process that may not be looked into is passed over.
    pub fn scan(&mut self) -> io::Result<Vec<Change>> {
        let sockets = sockets().map_err(io::Error::other)?;
        let there: HashSet<u64> = sockets.values().copied().collect();
        self.owners.retain(|inode, _| there.contains(inode));
        let fresh: HashSet<u64> =
            there.iter().filter(|inode| !self.owners.contains_key(inode)).copied().collect();
        if !fresh.is_empty() {
            self.find(&fresh).map_err(io::Error::other)?;
        }
        let mut changes = Vec::new();
        self.told.retain(|socket, inode| {
            let stays = sockets.get(socket) == Some(inode);
            if !stays {
                changes.push(Change::Closed(*socket));
            }
            stays
        });
        for (socket, inode) in sockets {
            if let (None, Some(Some(owner))) = (self.told.get(&socket), self.owners.get(&inode)) {
                self.told.insert(socket, inode);
                changes.push(Change::Opened(socket, owner.clone()));
            }
        }
        Ok(changes)
    }

    /// Looks for the processes that have these sockets; those of nobody are remembered as such.
    fn find(&mut self, inodes: &HashSet<u64>) -> ProcResult<()> {
        self.owners.extend(inodes.iter().map(|inode| (*inode, None)));
        for process in all_processes()?.flatten() {
            let Ok(descriptors) = process.fd() else { continue };
            let mut owner: Option<Owner> = None;
            for descriptor in descriptors.flatten() {
                if let FDTarget::Socket(inode) = descriptor.target
                    && inodes.contains(&inode)
                {
                    let owner = owner.get_or_insert_with(|| Owner::of(&process, &self.jobs));
                    self.owners.insert(inode, Some(owner.clone()));
                }
            }
        }
        Ok(())
    }
}

impl Owner {
    fn of(process: &Process, jobs: &Path) -> Owner {
        let text = |path: ProcResult<PathBuf>| path.ok().map(|path| path.to_string_lossy().into_owned());
        let executable = text(process.exe());
        let cgroups = process.cgroups().map(|groups| groups.0).unwrap_or_default();
        let traits = Traits {
            cgroups: cgroups.into_iter().map(|group| group.pathname).collect(),
            paths: executable
                .clone()
                .into_iter()
                .chain(text(process.cwd()))
                .chain(process.cmdline().unwrap_or_default())
                .collect(),
        };
        let program = match (job(&traits, jobs), executable) {
            (Some(job), _) => Program::Job(job),
            // A package's program without a trace of its job may still be some job's.
            (None, Some(path)) if !jobs.parent().is_some_and(|root| Path::new(&path).starts_with(root)) => {
                Program::Other(path)
            }
            (None, _) => Program::Unknown,
        };
        Owner { pid: u32::try_from(process.pid).unwrap_or_default(), program }
    }
}

/// Every socket with an owner, and its inode.
fn sockets() -> ProcResult<HashMap<Socket, u64>> {
    let mut sockets = HashMap::new();
    let mut add = |transport, local: SocketAddr, remote: Option<SocketAddr>, inode| {
        // A connection that nobody holds any more, as in TIME_WAIT, has no inode.
        if inode != 0 && sockets.len() < SOCKETS {
            let (local, remote) = (canonical(local), remote.map(canonical));
            let known = sockets.entry(Socket { transport, local, remote }).or_insert(inode);
            if *known != inode {
                *known = SHARED;
            }
        }
    };
    for entry in absent_is_empty(tcp())?.into_iter().chain(absent_is_empty(tcp6())?) {
        let remote = (entry.state != TcpState::Listen).then_some(entry.remote_address);
        add(TCP, entry.local_address, remote, entry.inode);
    }
    for entry in absent_is_empty(udp())?.into_iter().chain(absent_is_empty(udp6())?) {
        let remote = Some(entry.remote_address).filter(|remote| remote.port() != 0);
        add(UDP, entry.local_address, remote, entry.inode);
    }
    Ok(sockets)
}

/// A kernel without IPv6 has no file for it.
fn absent_is_empty<T>(entries: ProcResult<Vec<T>>) -> ProcResult<Vec<T>> {
    match entries {
        Err(ProcError::NotFound(_)) => Ok(Vec::new()),
        entries => entries,
    }
}

/// IPv4 as such, also on a socket of IPv6.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};

    fn opened(changes: &[Change], socket: Socket) -> Option<&Owner> {
        changes.iter().find_map(|change| match change {
            Change::Opened(it, owner) if *it == socket => Some(owner),
            _ => None,
        })
    }

    #[test]
    fn this_process_owns_its_sockets() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut scanner = Scanner::new("/var/vcap/jobs".into());
        let changes = scanner.scan().unwrap();
        let connected = |stream: &TcpStream| Socket {
            transport: TCP,
            local: stream.local_addr().unwrap(),
            remote: Some(stream.peer_addr().unwrap()),
        };
        let listening = Socket { transport: TCP, local: listener.local_addr().unwrap(), remote: None };
        let unconnected = Socket { transport: UDP, local: datagrams.local_addr().unwrap(), remote: None };
        for socket in [connected(&client), connected(&server), listening, unconnected] {
            let owner = opened(&changes, socket).unwrap_or_else(|| panic!("{socket:?} is missing"));
            assert_eq!(owner.pid, std::process::id());
            assert_eq!(
                owner.program,
                Program::Other(std::env::current_exe().unwrap().to_str().unwrap().to_owned())
            );
        }
        // Told once, and told again when it is gone.
        let socket = connected(&client);
        assert_eq!(opened(&scanner.scan().unwrap(), socket), None);
        drop((client, server));
        assert!(scanner.scan().unwrap().contains(&Change::Closed(socket)));
    }
}
