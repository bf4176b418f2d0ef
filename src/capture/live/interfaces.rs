//! Several interfaces, read in turn by one thread.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::{Drained, Live, LiveOptions, LiveStats};
use crate::capture::{CaptureError, Packet};

/// Packets read of one interface before the next has its turn.
const TURN: usize = 256;

/// Captures from several interfaces.
pub struct Interfaces {
    captures: Vec<Live>,
}

impl Interfaces {
    /// Starts to capture on all of them; their order is that of the audit's captures.
    ///
    /// # Errors
    /// See [`Live::open`]; one that cannot be opened is an error for all.
    pub fn open(names: &[String], options: &LiveOptions) -> Result<Interfaces, CaptureError> {
        let captures = names.iter().zip(0..).map(|(name, index)| Live::open(name, index, options));
        Ok(Interfaces { captures: captures.collect::<Result<_, _>>()? })
    }

    /// None is left to capture from.
    pub fn is_empty(&self) -> bool {
        self.captures.is_empty()
    }

    /// Waits until an interface has packets, at most for `timeout`; says whether one has. A signal ends
    /// the wait early.
    ///
    /// # Errors
    /// A wait that the system refuses.
    pub fn wait(&self, timeout: Duration) -> io::Result<bool> {
        let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
        let descriptors: Vec<_> = self.captures.iter().map(|live| live.capture.as_fd()).collect();
        let mut polled: Vec<_> = descriptors.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        match poll(&mut polled, Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Lends what the rings hold, a turn of every interface; says whether all are empty. An interface that
    /// went away is left out from then on, and told.
    pub fn turn(&mut self, mut take: impl FnMut(&Packet<'_>), mut gone: impl FnMut(CaptureError)) -> Drained {
        let mut all = Drained::Empty;
        self.captures.retain_mut(|live| match live.drain(TURN, &mut take) {
            Ok(drained) => {
                if drained == Drained::More {
                    all = Drained::More;
                }
                true
            }
            Err(error) => {
                gone(error);
                false
            }
        });
        all
    }

    /// What every interface received and dropped since this was last asked, by its index.
    ///
    /// # Errors
    /// Whatever libpcap says of the first that fails.
    pub fn stats(&mut self) -> Result<Vec<(u16, LiveStats)>, CaptureError> {
        self.captures.iter_mut().map(|live| Ok((live.index, live.stats()?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::LinkType;
    use std::net::UdpSocket;

    #[test]
    fn loopback_traffic_is_captured_with_the_right_to() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let options = LiveOptions {
            filter: Some(format!("udp dst port {}", address.port())),
            ..LiveOptions::default()
        };
        let names = ["lo".to_owned(), "any".to_owned()];
        let mut interfaces = match Interfaces::open(&names, &options) {
            Ok(interfaces) => interfaces,
            Err(error) => {
                println!("skipped: {error}");
                return;
            }
        };
        assert!(!interfaces.wait(Duration::from_millis(10)).unwrap());
        socket.send_to(b"to myself", address).unwrap();
        let mut seen = Vec::new();
        for _ in 0..100 {
            interfaces.wait(Duration::from_millis(50)).unwrap();
            let take = |packet: &Packet<'_>| {
                seen.push((packet.capture, packet.number, packet.link, packet.bytes.ends_with(b"to myself")));
            };
            assert_eq!(interfaces.turn(take, |error| panic!("{error}")), Drained::Empty);
            if seen.len() == 2 {
                break;
            }
        }
        seen.sort_unstable_by_key(|seen| seen.0);
        assert_eq!(seen, [(0, 1, LinkType::Ethernet, true), (1, 1, LinkType::LinuxCooked, true)]);
        let stats = interfaces.stats().unwrap();
        assert!(stats.iter().all(|(_, stats)| stats.received >= 1 && stats.dropped == 0), "{stats:?}");
        let again = interfaces.stats().unwrap();
        assert!(again.iter().all(|(_, stats)| *stats == LiveStats::default()), "{again:?}");
    }
}
