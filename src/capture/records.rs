//! The loop over a capture's records, the same for both formats and for both kinds of window.

use std::ops::ControlFlow;

use super::file::{FOREIGN, foreign};
use super::map::{LINE, expect};
use super::pcap::{FILE_HEADER, Pcap};
use super::pcapng::{self, Pcapng};
use super::record::{Damage, Found, Record, SecretsRecord, array};
use super::window::Window;
use super::{CaptureError, Packet, Secrets, Timestamp};

/// How far ahead of the record that is read bytes are asked for: a few small packets, which take as long to read as
/// memory takes to answer.
const AHEAD: usize = 1536;

/// The most that is asked for there at once: of a larger packet the processor fetches the rest as it is read, if it is.
const ASKED: usize = 512;

/// What is asked for of a record whose place is known or guessed: its header, and those of the packet.
const HEADERS: usize = 128;

/// The packets of one capture, one of them read ahead: its bytes are lent when it is taken.
pub(super) struct Records<W> {
    name: Box<str>,
    capture: u16,
    window: W,
    format: Format,
    /// Where the window starts, from the start of the (decompressed) capture.
    offset: u64,
    /// Packets lent so far.
    number: u64,
    head: Head,
}

/// What a capture holds next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A packet of this time.
    Packet(Timestamp),
    Secrets,
    End,
}

#[derive(Debug)]
enum Format {
    Pcap(Pcap),
    Pcapng(Pcapng),
}

impl Format {
    /// What is at the front of a window.
    #[inline]
    fn next(&mut self, window: &[u8]) -> Result<Found, Damage> {
        match self {
            Format::Pcap(pcap) => pcap.next(window),
            Format::Pcapng(pcapng) => pcapng.next(window),
        }
    }
}

/// What became of the record at the front of the window.
enum Head {
    Unread,
    Packet(Record),
    Secrets(SecretsRecord),
    /// It was lent, and ends after so many bytes.
    Lent(u32),
    /// The capture is at its end, or broken.
    Finished,
}

impl<W: Window> Records<W> {
    /// Recognises the format.
    pub fn open(name: &str, mut window: W) -> Result<Records<W>, CaptureError> {
        let fail = |what: String, advice: &str| CaptureError {
            capture: name.to_owned(),
            offset: None,
            packet: None,
            what,
            advice: advice.to_owned(),
        };
        let unreadable = |error: std::io::Error| fail(format!("cannot be read: {error}"), READ_ADVICE);
        window.fill(4).map_err(unreadable)?;
        let Some(magic) = array::<4>(window.bytes(), 0) else {
            return Err(match window.bytes().len() {
                0 => fail(
                    "the capture is empty".to_owned(),
                    "check that the program that wrote it captured anything at all",
                ),
                length => fail(
                    format!("the capture ends after {length} bytes, before its format shows"),
                    "fetch or record it again",
                ),
            });
        };
        let mut start = 0;
        let format = if magic == pcapng::MAGIC {
            Format::Pcapng(Pcapng::new())
        } else if Pcap::recognise(magic) {
            window.fill(FILE_HEADER).map_err(unreadable)?;
            let Some(header) = window.bytes().first_chunk::<FILE_HEADER>() else {
                return Err(fail(
                    format!("the capture ends after {} bytes, inside its header", window.bytes().len()),
                    "fetch or record it again",
                ));
            };
            let pcap = Pcap::open(header).map_err(|Damage { what, advice }| fail(what, advice))?;
            start = FILE_HEADER as u64;
            window.skip(start).map_err(unreadable)?;
            Format::Pcap(pcap)
        } else {
            window.fill(FOREIGN).map_err(unreadable)?;
            let (what, advice) = foreign(window.bytes());
            return Err(fail(what, advice));
        };
        Ok(Records {
            name: name.into(),
            capture: 0,
            window,
            format,
            offset: start,
            number: 0,
            head: Head::Unread,
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sets the index that goes into every packet.
    pub fn set_capture(&mut self, capture: u16) {
        self.capture = capture;
    }

    pub fn window(&self) -> &W {
        &self.window
    }

    /// Reads ahead to the next packet or secrets, unless that was done already.
    ///
    /// An error is given once; afterwards the capture is at its end.
    #[inline]
    pub fn peek(&mut self) -> Result<Next, CaptureError> {
        match self.head {
            Head::Packet(record) => return Ok(Next::Packet(record.time)),
            Head::Secrets(_) => return Ok(Next::Secrets),
            Head::Finished => return Ok(Next::End),
            Head::Lent(size) => {
                self.window.consume(size as usize);
                self.offset = self.offset.saturating_add(u64::from(size));
            }
            Head::Unread => {}
        }
        match self.format.next(self.window.bytes()) {
            Ok(Found::Packet(record)) => {
                self.head = Head::Packet(record);
                Ok(Next::Packet(record.time))
            }
            other => self.look_further(other),
        }
    }

    /// All of [`Records::peek`] that most packets do not need.
    #[inline(never)]
    fn look_further(&mut self, mut found: Result<Found, Damage>) -> Result<Next, CaptureError> {
        self.head = Head::Finished;
        loop {
            match found {
                Ok(Found::Packet(record)) => {
                    self.head = Head::Packet(record);
                    return Ok(Next::Packet(record.time));
                }
                Ok(Found::Secrets(record)) => {
                    self.head = Head::Secrets(record);
                    return Ok(Next::Secrets);
                }
                Ok(Found::Skip(n)) => self.skip(n)?,
                Ok(Found::Need(n)) => match self.window.fill(n) {
                    Ok(true) => {}
                    Ok(false) if self.window.bytes().is_empty() && self.may_end() => {
                        return Ok(Next::End);
                    }
                    Ok(false) => {
                        let held = self.window.bytes().len();
                        return Err(self.cut(format!("{held} bytes of at least {n} are there")));
                    }
                    Err(error) => return Err(self.unreadable(&error)),
                },
                Err(Damage { what, advice }) => return Err(self.fail(what, advice)),
            }
            found = self.format.next(self.window.bytes());
        }
    }

    /// Lends the packet that [`Records::peek`] announced.
    #[inline]
    pub fn lend_packet(&mut self) -> Option<Packet<'_>> {
        let Head::Packet(record) = self.head else {
            return None;
        };
        self.head = Head::Lent(record.size);
        self.number += 1;
        Some(packet(self.capture, self.number, &record, self.window.bytes()))
    }

    /// Lends packets until `each` breaks: those after the last one lent, one after the other, as long as
    /// none is later than `until`. What comes then is there to be peeked at. Errors as in [`Records::peek`].
    pub fn run<B>(
        &mut self,
        until: Timestamp,
        each: &mut impl FnMut(&Packet<'_>) -> ControlFlow<B>,
    ) -> Result<Option<B>, CaptureError> {
        let Head::Lent(size) = self.head else { return Ok(None) };
        // What is in memory is gone through without moving the window for every record.
        let mut rest = self.window.bytes().get(size as usize..).unwrap_or_default();
        let mut passed = size as usize;
        let stopped = loop {
            let record = match self.format.next(rest) {
                Ok(Found::Packet(record)) if record.time <= until => record,
                other => break Err(other),
            };
            self.number += 1;
            // Where the next record stands is read from this one, so nothing could be fetched early but by asking:
            // for the next record, for one as long after it, and for as many bytes ahead as this one has.
            let size = record.size as usize;
            expect::<HEADERS>(rest, size);
            expect::<HEADERS>(rest, 2 * size);
            (AHEAD..AHEAD + size.min(ASKED)).step_by(LINE).for_each(|at| expect::<1>(rest, at));
            if let ControlFlow::Break(with) = each(&packet(self.capture, self.number, &record, rest)) {
                self.head = Head::Lent(record.size);
                break Ok(with);
            }
            rest = rest.get(record.size as usize..).unwrap_or_default();
            passed += record.size as usize;
        };
        self.window.consume(passed);
        self.offset = self.offset.saturating_add(passed as u64);
        match stopped {
            Ok(with) => Ok(Some(with)),
            Err(found) => self.look_further(found).map(|_| None),
        }
    }

    /// Lends the secrets that [`Records::peek`] announced.
    pub fn lend_secrets(&mut self) -> Option<Secrets<'_>> {
        let Head::Secrets(record) = self.head else {
            return None;
        };
        self.head = Head::Lent(record.size);
        Some(Secrets {
            capture: self.capture,
            kind: record.kind,
            bytes: slice(self.window.bytes(), record.start, record.length),
        })
    }

    /// Reads ahead to the next packet, past any secrets.
    pub fn peek_packet(&mut self) -> Result<Option<Timestamp>, CaptureError> {
        loop {
            match self.peek()? {
                Next::Packet(time) => return Ok(Some(time)),
                Next::Secrets => {
                    self.lend_secrets();
                }
                Next::End => return Ok(None),
            }
        }
    }

    fn skip(&mut self, n: u64) -> Result<(), CaptureError> {
        match self.window.skip(n) {
            Ok(true) => {
                self.offset = self.offset.saturating_add(n);
                Ok(())
            }
            Ok(false) => Err(self.cut(format!("it is {n} bytes long, and not all are there"))),
            Err(error) => Err(self.unreadable(&error)),
        }
    }

    fn may_end(&self) -> bool {
        match &self.format {
            Format::Pcap(_) => true,
            Format::Pcapng(pcapng) => pcapng.may_end(),
        }
    }

    #[cold]
    fn cut(&self, how: String) -> CaptureError {
        self.fail(
            format!("the capture ends inside this record: {how}"),
            "what came before it was read; for the rest, fetch or record it again",
        )
    }

    #[cold]
    fn unreadable(&self, error: &std::io::Error) -> CaptureError {
        self.fail(format!("reading failed: {error}"), READ_ADVICE)
    }

    #[cold]
    fn fail(&self, what: String, advice: &str) -> CaptureError {
        CaptureError {
            capture: self.name.to_string(),
            offset: Some(self.offset),
            packet: Some(self.number + 1),
            what,
            advice: advice.to_owned(),
        }
    }
}

const READ_ADVICE: &str = "check the disk, or the compressed file (`gzip -t`, `zstd -t`)";

#[inline]
fn packet<'a>(capture: u16, number: u64, record: &Record, window: &'a [u8]) -> Packet<'a> {
    Packet {
        capture,
        number,
        time: record.time,
        precision: record.precision,
        link: record.link,
        wire_length: record.wire_length,
        bytes: slice(window, record.start, record.length),
    }
}

fn slice(window: &[u8], start: u32, length: u32) -> &[u8] {
    window.get(start as usize..).and_then(|rest| rest.get(..length as usize)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::pcap::tests::{file_header, record};
    use crate::capture::pcapng::tests::Writer;
    use crate::capture::stream::Buffer;
    use crate::capture::stream::tests::Chunks;
    use crate::capture::window::Whole;
    use proptest::prelude::*;

    /// Everything a capture gives, as text: packets, secrets, the error.
    fn everything<W: Window>(window: W) -> Vec<String> {
        let mut records = match Records::open("test", window) {
            Ok(records) => records,
            Err(error) => return vec![error.to_string()],
        };
        let mut seen = Vec::new();
        loop {
            match records.peek() {
                Ok(Next::Packet(_)) => seen.push(format!("{:?}", records.lend_packet())),
                Ok(Next::Secrets) => seen.push(format!("{:?}", records.lend_secrets())),
                Ok(Next::End) => return seen,
                Err(error) => {
                    seen.push(error.to_string());
                    assert_eq!(records.peek().unwrap(), Next::End, "an error is given once");
                    return seen;
                }
            }
        }
    }

    fn small_pcap() -> Vec<u8> {
        [
            file_header(0xa1b2_c3d4, (2, 4), 1, false),
            record(1, 0, 5, b"first"),
            record(2, 0, 0, b""),
            record(3, 0, 90, b"third"),
        ]
        .concat()
    }

    fn small_pcapng() -> Vec<u8> {
        let writer = Writer { big: true };
        [
            writer.section(),
            writer.interface(1, 0, &[]),
            writer.secrets(b"CLIENT_RANDOM"),
            writer.packet(0, 1, 5, b"first"),
            writer.block(5, &[0; 40]),
            writer.packet(0, 2, 6, b"second"),
        ]
        .concat()
    }

    #[test]
    fn peeking_does_not_take() {
        let mut records = Records::open("test", Whole::new(small_pcap())).unwrap();
        assert_eq!(records.lend_packet().map(|p| p.number), None);
        assert_eq!(records.peek().unwrap(), Next::Packet(Timestamp(1_000_000_000)));
        assert_eq!(records.peek().unwrap(), Next::Packet(Timestamp(1_000_000_000)));
        let first = records.lend_packet().unwrap();
        assert_eq!((first.number, first.bytes), (1, &b"first"[..]));
        assert_eq!(records.lend_packet().map(|p| p.number), None);
        assert_eq!(records.peek_packet().unwrap(), Some(Timestamp(2_000_000_000)));
    }

    #[test]
    fn a_header_alone_is_an_empty_capture() {
        assert!(everything(Whole::new(file_header(0xa1b2_c3d4, (2, 4), 1, false))).is_empty());
        assert!(everything(Whole::new(Writer { big: false }.section())).is_empty());
    }

    #[test]
    fn a_cut_capture_gives_what_came_before() {
        let mut bytes = small_pcap();
        bytes.pop();
        let seen = everything(Whole::new(bytes));
        assert_eq!(seen.len(), 3);
        assert_eq!(
            seen[2],
            "test: byte 61: packet 3: the capture ends inside this record: 20 bytes of at least 21 are \
             there; what came before it was read; for the rest, fetch or record it again"
        );
        assert!(everything(Whole::new(vec![]))[0].contains("the capture is empty"));
        assert!(everything(Whole::new(vec![1; 3]))[0].contains("after 3 bytes"));
        assert!(everything(Whole::new(small_pcap()[..20].to_vec()))[0].contains("inside its header"));
    }

    #[test]
    fn damage_is_placed() {
        let mut bytes = small_pcap();
        bytes[61 + 8 + 3] = 0xff;
        let seen = everything(Whole::new(bytes));
        assert!(seen[2].starts_with("test: byte 61: packet 3: the record claims 4278190085"), "{}", seen[2]);
    }

    proptest! {
        #[test]
        fn chunking_changes_nothing(
            pcapng in any::<bool>(),
            cut in any::<prop::sample::Index>(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            sizes in prop::collection::vec(1usize..40, 1..8),
        ) {
            let mut bytes = if pcapng { small_pcapng() } else { small_pcap() };
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            bytes.truncate(cut.index(bytes.len() + 1));
            let whole = everything(Whole::new(bytes.clone()));
            prop_assert_eq!(everything(Buffer::new(Chunks::new(bytes, sizes))), whole);
        }

        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..200), pcapng in any::<bool>()) {
            let start = if pcapng { small_pcapng() } else { small_pcap() };
            everything(Whole::new(bytes.clone()));
            everything(Whole::new([start, bytes].concat()));
        }
    }
}
