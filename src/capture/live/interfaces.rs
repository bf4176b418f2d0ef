//! Several interfaces, read in turn by one thread, or by several.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::readers::Readers;
use super::{Drained, Live, LiveOptions, LiveStats, settled};
use crate::capture::{CaptureError, Packet, Timestamp};

/// Packets read of one interface before the next has its turn.
pub(super) const TURN: usize = 256;

/// Captures from several interfaces.
pub struct Interfaces {
    clock: fn() -> Timestamp,
    rings: Rings,
}

enum Rings {
    /// Read by the caller, who is lent packets as they lie there.
    Lent(Vec<Live>),
    /// To be read by readers: the rings of each.
    Opened(Vec<Vec<Live>>),
    Read(Readers),
}

impl Interfaces {
    /// Opens all of them; their order is that of the audit's captures. `clock` is the system's.
    ///
    /// # Errors
    /// See [`Live::open`]; one that cannot be opened is an error for all.
    pub fn open(
        names: &[String],
        options: &LiveOptions,
        clock: fn() -> Timestamp,
    ) -> Result<Interfaces, CaptureError> {
        let opened = names.iter().zip(0..).map(|(name, index)| Live::open_rings(name, index, options, clock));
        let mut rings: Vec<Vec<Live>> = (0..options.rings.get()).map(|_| Vec::new()).collect();
        for opened in opened.collect::<Result<Vec<_>, _>>()? {
            rings.iter_mut().zip(opened).for_each(|(lot, ring)| lot.push(ring));
        }
        let rings = match rings.pop() {
            Some(only) if rings.is_empty() => Rings::Lent(only),
            last => Rings::Opened(rings.into_iter().chain(last).collect()),
        };
        Ok(Interfaces { clock, rings })
    }

    /// Starts the threads that read, if they are several.
    ///
    /// # Errors
    /// A thread that the system refuses.
    pub fn start(self) -> io::Result<Interfaces> {
        let rings = match self.rings {
            Rings::Opened(rings) => Rings::Read(Readers::start(rings, self.clock)?),
            rings => rings,
        };
        Ok(Interfaces { rings, ..self })
    }

    /// None is left to capture from.
    pub fn is_empty(&self) -> bool {
        match &self.rings {
            Rings::Lent(captures) => captures.is_empty(),
            Rings::Opened(rings) => rings.is_empty(),
            Rings::Read(readers) => readers.is_empty(),
        }
    }

    /// Waits until an interface has packets, at most for `timeout`. A signal may end the wait early.
    ///
    /// # Errors
    /// A wait that the system refuses.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        match &mut self.rings {
            Rings::Lent(captures) => wait(captures.iter().map(|live| &live.capture), timeout),
            Rings::Opened(_) => Ok(()),
            Rings::Read(readers) => {
                readers.wait(timeout);
                Ok(())
            }
        }
    }

    /// Lends what the rings hold, a turn of every interface; says whether all are empty. An interface that
    /// went away is left out from then on, and told.
    pub fn turn(&mut self, mut take: impl FnMut(&Packet<'_>), mut gone: impl FnMut(CaptureError)) -> Drained {
        let captures = match &mut self.rings {
            Rings::Lent(captures) => captures,
            Rings::Opened(_) => return Drained::Empty,
            Rings::Read(readers) => return readers.turn(take, gone),
        };
        let mut all = Drained::Empty;
        captures.retain_mut(|live| match live.drain(TURN, &mut take) {
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

    /// After a turn that left nothing: no packet of an earlier time is to come.
    pub fn settled(&self) -> Timestamp {
        match &self.rings {
            Rings::Lent(_) | Rings::Opened(_) => settled((self.clock)(), false),
            Rings::Read(readers) => readers.settled(),
        }
    }

    /// What was received and dropped since this was last asked, by the indices of interfaces, each of which
    /// may come several times.
    ///
    /// # Errors
    /// Whatever libpcap says of the first that fails.
    pub fn stats(&mut self) -> Result<Vec<(u16, LiveStats)>, CaptureError> {
        match &mut self.rings {
            Rings::Lent(captures) => {
                captures.iter_mut().map(|live| Ok((live.index, live.stats()?))).collect()
            }
            Rings::Opened(_) => Ok(Vec::new()),
            Rings::Read(readers) => readers.stats(),
        }
    }
}

/// Waits until one of these can be read.
pub(super) fn wait<'f, F: AsFd + 'f>(
    files: impl Iterator<Item = &'f F>,
    timeout: Duration,
) -> io::Result<()> {
    let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
    let mut polled: Vec<_> = files.map(|file| PollFd::new(file, PollFlags::IN)).collect();
    match poll(&mut polled, Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::LinkType;
    use std::net::UdpSocket;
    use std::num::NonZeroUsize;

    #[test]
    fn loopback_traffic_is_captured_once_with_the_right_to_on_any_number_of_rings() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let clock = || Timestamp(jiff::Timestamp::now().as_nanosecond() as i64);
        for rings in [1, 3] {
            let options = LiveOptions {
                filter: Some(format!("udp dst port {}", address.port())),
                buffer: 1 << 20,
                rings: NonZeroUsize::new(rings).unwrap(),
                ..LiveOptions::default()
            };
            let names = ["lo".to_owned(), "any".to_owned()];
            let mut interfaces = match Interfaces::open(&names, &options, clock) {
                Ok(interfaces) => interfaces.start().unwrap(),
                Err(error) => {
                    println!("skipped: {error}");
                    return;
                }
            };
            socket.send_to(b"to myself", address).unwrap();
            let mut seen = Vec::new();
            for _ in 0..100 {
                interfaces.wait(Duration::from_millis(50)).unwrap();
                let take = |packet: &Packet<'_>| {
                    let is_it = packet.bytes.ends_with(b"to myself");
                    seen.push((packet.capture, packet.number, packet.link, is_it));
                };
                assert_eq!(interfaces.turn(take, |error| panic!("{error}")), Drained::Empty);
                if seen.len() == 2 {
                    break;
                }
            }
            seen.sort_unstable_by_key(|seen| seen.0);
            assert_eq!(
                seen,
                [(0, 1, LinkType::Ethernet, true), (1, 1, LinkType::LinuxCooked, true)],
                "{rings}"
            );
            let stats = interfaces.stats().unwrap();
            assert_eq!(stats.len(), 2 * rings);
            for interface in 0..2 {
                let of = stats.iter().filter(|(index, _)| *index == interface).map(|(_, stats)| stats);
                assert!(of.clone().any(|stats| stats.received >= 1), "{stats:?}");
                assert!(of.clone().all(|stats| stats.dropped == 0), "{stats:?}");
            }
            let again = interfaces.stats().unwrap();
            assert!(again.iter().all(|(_, stats)| *stats == LiveStats::default()), "{again:?}");
        }
    }
}
