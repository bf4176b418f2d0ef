//! Rings that are read by threads of their own, and their packets in the order of time.
//!
//! A reader copies packets out of its rings into batches, so that the rings are free again whatever the audit
//! is busy with. A packet is handed on once every other reader has come as far: packets of one flow may lie in
//! rings of several.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::interfaces::{TURN, wait};
use super::{Drained, Live, LiveStats, settled};
use crate::capture::{CaptureError, LinkType, Packet, Precision, Timestamp};

/// Batches of each reader, filled or not: how far the audit may be behind, besides what the rings hold.
const BATCHES: usize = 32;
/// Bytes of packets in a batch before it is handed over, but for the last packets'.
const BATCH_BYTES: usize = 1 << 20;
/// Packets copied of one ring before another has its turn.
const COPIED: usize = 16;
/// How long a reader whose rings are empty waits before it says so again.
const QUIET: Duration = Duration::from_millis(20);

/// The readers of all rings, as those see them who take the packets.
pub(super) struct Readers {
    readers: Vec<Reader>,
    news: Receiver<News>,
    /// By interface: packets handed on, and whether it is still there.
    numbers: Vec<u64>,
    is_there: Vec<bool>,
    gone: Vec<CaptureError>,
    stop: Arc<AtomicBool>,
}

struct Reader {
    rings: Vec<(u16, Ring)>,
    /// Filled batches, none empty, of the first of which so many packets were handed on.
    filled: VecDeque<Batch>,
    handed_on: usize,
    /// Where they go then.
    emptied: Sender<Batch>,
    /// No packet of an earlier time is to come after those in `filled`.
    settled: Timestamp,
    progress: Arc<AtomicI64>,
    thread: Option<JoinHandle<()>>,
}

type Ring = Arc<Mutex<Live>>;

enum News {
    Filled(usize, Batch),
    Gone(u16, CaptureError),
}

impl Readers {
    /// Starts a thread for each of these lots of rings.
    ///
    /// # Errors
    /// A thread that the system refuses.
    pub(super) fn start(rings: Vec<Vec<Live>>, clock: fn() -> Timestamp) -> io::Result<Readers> {
        let interfaces = rings.iter().flatten().map(|live| usize::from(live.index) + 1).max().unwrap_or(0);
        let (sender, news) = channel();
        let mut readers = Readers {
            readers: Vec::new(),
            news,
            numbers: vec![0; interfaces],
            is_there: vec![true; interfaces],
            gone: Vec::new(),
            stop: Arc::default(),
        };
        for (number, rings) in rings.into_iter().enumerate() {
            let descriptors: Vec<OwnedFd> = rings
                .iter()
                .map(|live| live.capture.as_fd().try_clone_to_owned())
                .collect::<io::Result<_>>()?;
            let rings: Vec<(u16, Ring)> =
                rings.into_iter().map(|live| (live.index, Arc::new(Mutex::new(live)))).collect();
            let (emptied, empty) = channel();
            for _ in 0..BATCHES {
                // Both ends are here.
                drop(emptied.send(Batch::default()));
            }
            let progress = Arc::new(AtomicI64::new(settled(clock(), true).0));
            let reading = Reading {
                number,
                rings: descriptors.into_iter().zip(rings.iter().cloned()).collect(),
                empty,
                news: sender.clone(),
                progress: Arc::clone(&progress),
                stop: Arc::clone(&readers.stop),
                clock,
            };
            let thread = thread::Builder::new().name(format!("reader {number}"));
            readers.readers.push(Reader {
                rings,
                filled: VecDeque::new(),
                handed_on: 0,
                emptied,
                settled: Timestamp(progress.load(Ordering::Relaxed)),
                progress,
                thread: Some(thread.spawn(move || reading.run())?),
            });
        }
        Ok(readers)
    }

    /// None is left to capture from.
    pub(super) fn is_empty(&self) -> bool {
        !self.is_there.contains(&true) && self.readers.iter().all(|reader| reader.filled.is_empty())
    }

    /// Waits until a reader has packets, or until one that others wait for may have come further.
    pub(super) fn wait(&mut self, timeout: Duration) {
        let is_held_up = self.readers.iter().any(|reader| !reader.filled.is_empty());
        if let Ok(news) = self.news.recv_timeout(if is_held_up { timeout.min(QUIET / 2) } else { timeout }) {
            self.note(news);
        }
    }

    /// Hands on some packets; those that are left wait for other readers to come as far.
    pub(super) fn turn(
        &mut self,
        mut take: impl FnMut(&Packet<'_>),
        gone: impl FnMut(CaptureError),
    ) -> Drained {
        // Before what they filled until then.
        for reader in &mut self.readers {
            reader.settled = Timestamp(reader.progress.load(Ordering::Acquire));
        }
        while let Ok(news) = self.news.try_recv() {
            self.note(news);
        }
        self.gone.drain(..).for_each(gone);
        let mut left = TURN;
        while left > 0 {
            let heads = self.readers.iter().enumerate().filter(|(_, reader)| !reader.filled.is_empty());
            let Some(first) = heads.min_by_key(|(_, reader)| reader.reached()).map(|(first, _)| first) else {
                return Drained::Empty;
            };
            let others = self.readers.iter().enumerate().filter(|(number, _)| *number != first);
            let until = others.map(|(_, reader)| reader.reached()).min().unwrap_or(Timestamp(i64::MAX));
            match self.readers[first].hand_on(until, left, &mut self.numbers, &mut take) {
                0 => return Drained::Empty,
                handed_on => left -= handed_on,
            }
        }
        Drained::More
    }

    /// No packet of an earlier time is still to be handed on.
    pub(super) fn settled(&self) -> Timestamp {
        self.readers.iter().map(Reader::reached).min().unwrap_or_default()
    }

    /// What the rings of every interface received and dropped since this was last asked.
    pub(super) fn stats(&mut self) -> Result<Vec<(u16, LiveStats)>, CaptureError> {
        let rings = self.readers.iter().flat_map(|reader| &reader.rings);
        let stats = |(interface, ring): &(u16, Ring)| Ok((*interface, lock(ring).stats()?));
        rings.map(stats).collect()
    }

    fn note(&mut self, news: News) {
        match news {
            News::Filled(number, batch) => self.readers[number].filled.push_back(batch),
            News::Gone(interface, error) => {
                if std::mem::take(&mut self.is_there[usize::from(interface)]) {
                    self.gone.push(error);
                    self.readers.iter_mut().for_each(|it| it.rings.retain(|(index, _)| *index != interface));
                }
            }
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for reader in self.readers.drain(..) {
            // A reader that waits for an empty batch ends when nobody can send one.
            drop(reader.emptied);
            drop(reader.thread.map(JoinHandle::join));
        }
    }
}

impl Reader {
    /// The time of the next packet, or that before which there is none.
    fn reached(&self) -> Timestamp {
        let next = self.filled.front().and_then(|batch| batch.packets.get(self.handed_on));
        next.map_or(self.settled, |packet| packet.time)
    }

    /// Hands on packets up to this time, at most so many; says how many there were.
    fn hand_on(
        &mut self,
        until: Timestamp,
        most: usize,
        numbers: &mut [u64],
        take: &mut impl FnMut(&Packet<'_>),
    ) -> usize {
        let mut count = 0;
        while count < most
            && let Some(batch) = self.filled.front()
            && let Some(packet) = batch.packet(self.handed_on)
            && packet.time <= until
        {
            let number = &mut numbers[usize::from(packet.capture)];
            *number += 1;
            take(&Packet { number: *number, ..packet });
            count += 1;
            self.handed_on += 1;
            if self.handed_on == batch.packets.len() {
                self.handed_on = 0;
                // A reader that ended needs none.
                drop(self.filled.pop_front().map(|batch| self.emptied.send(batch)));
            }
        }
        count
    }
}

/// Packets in the order in which they were read.
#[derive(Default)]
struct Batch {
    packets: Vec<Copied>,
    bytes: Vec<u8>,
}

struct Copied {
    interface: u16,
    time: Timestamp,
    link: LinkType,
    wire_length: u32,
    /// Where its bytes end; they begin where those before it end.
    end: usize,
}

impl Batch {
    fn push(&mut self, packet: &Packet<'_>) {
        self.bytes.extend_from_slice(packet.bytes);
        self.packets.push(Copied {
            interface: packet.capture,
            time: packet.time,
            link: packet.link,
            wire_length: packet.wire_length,
            end: self.bytes.len(),
        });
    }

    /// A packet, without its number.
    fn packet(&self, index: usize) -> Option<Packet<'_>> {
        let copied = self.packets.get(index)?;
        let begin = index.checked_sub(1).map_or(0, |before| self.packets[before].end);
        Some(Packet {
            capture: copied.interface,
            number: 0,
            time: copied.time,
            precision: Precision::Nano,
            link: copied.link,
            wire_length: copied.wire_length,
            bytes: &self.bytes[begin..copied.end],
        })
    }
}

/// What a reader's thread has.
struct Reading {
    number: usize,
    rings: Vec<(OwnedFd, (u16, Ring))>,
    empty: Receiver<Batch>,
    news: Sender<News>,
    progress: Arc<AtomicI64>,
    stop: Arc<AtomicBool>,
    clock: fn() -> Timestamp,
}

impl Reading {
    /// Reads until it is to stop, or no interface is left.
    fn run(mut self) {
        let mut batch = Batch::default();
        while !self.stop.load(Ordering::Relaxed) && !self.rings.is_empty() {
            let now = (self.clock)();
            let is_empty = self.copy(&mut batch) == Drained::Empty;
            let is_handed_over = batch.bytes.len() >= BATCH_BYTES || (is_empty && !batch.packets.is_empty());
            if is_handed_over
                && self.news.send(News::Filled(self.number, std::mem::take(&mut batch))).is_err()
            {
                break;
            }
            if is_empty {
                self.progress.store(settled(now, true).0, Ordering::Release);
            }
            if is_handed_over {
                // While the audit is too far behind, the rings fill.
                let Ok(emptied) = self.empty.recv() else { break };
                batch = emptied;
                batch.packets.clear();
                batch.bytes.clear();
            }
            // What a wait that the system refuses costs is processor time.
            if is_empty {
                drop(wait(self.rings.iter().map(|(descriptor, _)| descriptor), QUIET));
            }
        }
        self.progress.store(i64::MAX, Ordering::Release);
    }

    /// Copies a turn of every ring; says whether all are empty.
    fn copy(&mut self, batch: &mut Batch) -> Drained {
        let mut all = Drained::Empty;
        self.rings.retain(|(_, (interface, ring))| {
            let drained = lock(ring).drain(COPIED, |packet| batch.push(packet));
            match drained {
                Ok(drained) => {
                    if drained == Drained::More {
                        all = Drained::More;
                    }
                    true
                }
                Err(error) => {
                    drop(self.news.send(News::Gone(*interface, error)));
                    false
                }
            }
        });
        all
    }
}

fn lock(ring: &Ring) -> std::sync::MutexGuard<'_, Live> {
    ring.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Readers without threads, and where what they say is told by hand.
    fn readers(count: usize) -> (Readers, Sender<News>, Vec<Receiver<Batch>>) {
        let (sender, news) = channel();
        let (emptied, empty): (Vec<_>, Vec<_>) = (0..count).map(|_| channel()).unzip();
        let readers = emptied.into_iter().map(|emptied| Reader {
            rings: Vec::new(),
            filled: VecDeque::new(),
            handed_on: 0,
            emptied,
            settled: Timestamp(0),
            progress: Arc::default(),
            thread: None,
        });
        let (numbers, is_there, gone) = (vec![0; 2], vec![true; 2], Vec::new());
        (
            Readers { readers: readers.collect(), news, numbers, is_there, gone, stop: Arc::default() },
            sender,
            empty,
        )
    }

    fn batch(packets: &[(u16, i64)]) -> Batch {
        let mut batch = Batch::default();
        for (interface, time) in packets {
            batch.push(&Packet {
                capture: *interface,
                number: 0,
                time: Timestamp(*time),
                precision: Precision::Nano,
                link: LinkType::Ethernet,
                wire_length: 8,
                bytes: &time.to_be_bytes(),
            });
        }
        batch
    }

    /// What one turn hands on: interface, number and time.
    fn turn(readers: &mut Readers) -> (Vec<(u16, u64, i64)>, Drained) {
        let mut taken = Vec::new();
        let take = |packet: &Packet<'_>| {
            assert_eq!(packet.bytes, packet.time.0.to_be_bytes());
            taken.push((packet.capture, packet.number, packet.time.0));
        };
        let drained = readers.turn(take, |error| panic!("{error}"));
        (taken, drained)
    }

    #[test]
    fn a_packet_waits_until_other_readers_have_come_as_far() {
        let (mut readers, sender, empty) = readers(2);
        sender.send(News::Filled(0, batch(&[(0, 10), (1, 20), (0, 30)]))).unwrap();
        assert_eq!(turn(&mut readers), (vec![], Drained::Empty));
        assert_eq!(readers.settled(), Timestamp(0));
        readers.readers[1].progress.store(20, Ordering::Release);
        assert_eq!(turn(&mut readers), (vec![(0, 1, 10), (1, 1, 20)], Drained::Empty));
        assert_eq!(readers.settled(), Timestamp(20));
        sender.send(News::Filled(1, batch(&[(0, 25), (0, 40)]))).unwrap();
        assert_eq!(turn(&mut readers), (vec![(0, 2, 25), (0, 3, 30)], Drained::Empty));
        assert!(empty[0].try_recv().is_ok(), "it is to be filled again");
        readers.readers[0].progress.store(i64::MAX, Ordering::Release);
        assert_eq!(turn(&mut readers), (vec![(0, 4, 40)], Drained::Empty));
        assert!(!readers.is_empty());
    }

    #[test]
    fn an_interface_that_went_away_is_told_once() {
        let (mut readers, sender, _empty) = readers(2);
        let gone = |interface| {
            let error = CaptureError {
                capture: format!("eth{interface}"),
                offset: None,
                packet: None,
                what: "it went away".to_owned(),
                advice: String::new(),
            };
            News::Gone(interface, error)
        };
        [gone(1), gone(1), gone(0)].into_iter().for_each(|news| sender.send(news).unwrap());
        let mut told = Vec::new();
        readers.turn(|packet| panic!("{packet:?}"), |error| told.push(error.capture));
        assert_eq!(told, ["eth1", "eth0"]);
        assert!(readers.is_empty());
    }

    proptest! {
        #[test]
        fn packets_of_all_readers_come_in_the_order_of_time(
            lots in prop::collection::vec(prop::collection::vec(0_i64..1000, 0..400), 1..4),
            cut in 1_usize..200,
        ) {
            let (mut readers, sender, _empty) = readers(lots.len());
            let mut expected = Vec::<i64>::new();
            for (number, mut times) in lots.into_iter().enumerate() {
                times.sort_unstable();
                expected.extend(&times);
                for part in times.chunks(cut) {
                    let packets: Vec<_> = part.iter().map(|time| (0, *time)).collect();
                    sender.send(News::Filled(number, batch(&packets))).unwrap();
                }
                readers.readers[number].progress.store(i64::MAX, Ordering::Release);
            }
            expected.sort_unstable();
            let mut seen = Vec::new();
            loop {
                let (taken, drained) = turn(&mut readers);
                seen.extend(taken.into_iter().map(|(_, _, time)| time));
                if drained == Drained::Empty {
                    break;
                }
            }
            prop_assert_eq!(seen, expected);
        }
    }
}
