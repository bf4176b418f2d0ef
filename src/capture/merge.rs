//! Several captures as one, in the order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::ops::ControlFlow;

use super::file::FileSource;
use super::records::Next;
use super::{CaptureError, Event, Packet, Secrets, Source, Timestamp};

/// Several captures as one source: of the packets that are next in each, the earliest comes first, and
/// of equally early ones that of the capture named first.
///
/// The packets of one capture are never reordered: some files run backwards, and stay that way. A
/// capture that fails gives its error once and is left out from then on; the others go on.
#[derive(Debug)]
pub struct Merged {
    captures: Vec<FileSource>,
    /// The time of what is next in every capture that has something, and the capture's index.
    heads: BinaryHeap<Reverse<(Timestamp, u16)>>,
    /// Captures that have not been looked at yet, last first.
    unread: Vec<u16>,
    /// What the top of `heads` stands for was lent.
    lent: bool,
}

/// Why no more packets were lent.
#[derive(Debug)]
pub enum Run<'a, B> {
    /// They were not wanted.
    Stopped(B),
    /// Secrets are next.
    Secrets(Secrets<'a>),
    /// There are no more.
    End,
}

impl Merged {
    /// Takes the captures in the order of their indices, which go into [`Packet::capture`].
    ///
    /// # Errors
    /// More captures than an index can number (65,536).
    pub fn new(mut captures: Vec<FileSource>) -> Result<Merged, CaptureError> {
        let mut unread = Vec::with_capacity(captures.len());
        for (index, capture) in captures.iter_mut().enumerate() {
            let Ok(index) = u16::try_from(index) else {
                return Err(CaptureError {
                    capture: capture.name().to_owned(),
                    offset: None,
                    packet: None,
                    what: format!("more than {index} captures at once"),
                    advice: "merge some of them first, with `mergecap`".to_owned(),
                });
            };
            capture.set_capture(index);
            unread.push(index);
        }
        unread.reverse();
        let heads = BinaryHeap::with_capacity(captures.len());
        Ok(Merged { captures, heads, unread, lent: false })
    }

    /// The captures, by index.
    pub fn captures(&self) -> &[FileSource] {
        &self.captures
    }

    /// Length of all captures in bytes; `None` if one of them is a pipe.
    pub fn size(&self) -> Option<u64> {
        self.captures.iter().map(FileSource::size).sum()
    }

    /// Bytes of all captures read so far.
    pub fn position(&self) -> u64 {
        self.captures.iter().map(FileSource::position).sum()
    }

    /// Lends the next packet or secrets, or `None` at the end. Secrets come as soon as everything before
    /// them in their own capture was lent. Errors as in [`Source::next_packet`], which passes over
    /// secrets.
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>, CaptureError> {
        match self.next_capture()? {
            Some(capture) => capture.next_event(),
            None => Ok(None),
        }
    }

    /// Lends packets until `each` breaks, or something else than a packet comes; in the order of
    /// [`Merged::next_event`].
    ///
    /// # Errors
    /// As [`Source::next_packet`].
    pub fn run<B>(
        &mut self,
        mut each: impl FnMut(&Packet<'_>) -> ControlFlow<B>,
    ) -> Result<Run<'_, B>, CaptureError> {
        loop {
            let Some(capture) = self.next_capture()? else { return Ok(Run::End) };
            let Some(packet) = capture.lend_packet() else { break };
            if let ControlFlow::Break(with) = each(&packet) {
                return Ok(Run::Stopped(with));
            }
            // It goes on with this capture until the turn of another one comes.
            let [Reverse((_, index)), others @ ..] = self.heads.as_slice() else { break };
            let until = others.iter().map(|Reverse(head)| *head).take(2).min();
            let until =
                until.map_or(i64::MAX, |(time, other)| time.0.saturating_sub((other < *index).into()));
            let Some(capture) = self.captures.get_mut(usize::from(*index)) else { break };
            if let Some(with) = capture.run(Timestamp(until), &mut each)? {
                return Ok(Run::Stopped(with));
            }
        }
        let top = self.heads.peek().map(|Reverse((_, index))| usize::from(*index));
        let secrets = top.and_then(|index| self.captures.get_mut(index)).and_then(FileSource::lend_secrets);
        Ok(secrets.map_or(Run::End, Run::Secrets))
    }

    /// The capture whose turn it is; the caller lends what it has.
    fn next_capture(&mut self) -> Result<Option<&mut FileSource>, CaptureError> {
        while let Some(index) = self.unread.pop() {
            if let Some(capture) = self.captures.get_mut(usize::from(index))
                && let Some(time) = head(capture)?
            {
                self.heads.push(Reverse((time, index)));
            }
        }
        if self.lent
            && let Some(mut top) = self.heads.peek_mut()
        {
            self.lent = false;
            let Reverse((time, index)) = &mut *top;
            let next = self.captures.get_mut(usize::from(*index)).map_or(Ok(None), head);
            match next {
                Ok(Some(next)) => *time = next,
                Ok(None) => {
                    PeekMut::pop(top);
                }
                Err(error) => {
                    PeekMut::pop(top);
                    return Err(error);
                }
            }
        }
        let Some(Reverse((_, index))) = self.heads.peek() else {
            return Ok(None);
        };
        self.lent = true;
        Ok(self.captures.get_mut(usize::from(*index)))
    }
}

impl Source for Merged {
    fn next_packet(&mut self) -> Result<Option<Packet<'_>>, CaptureError> {
        while let Some(capture) = self.next_capture()? {
            if capture.lend_secrets().is_none() {
                break;
            }
        }
        let Some(Reverse((_, index))) = self.heads.peek() else {
            return Ok(None);
        };
        Ok(self.captures.get_mut(usize::from(*index)).and_then(FileSource::lend_packet))
    }
}

/// The time of what is next in a capture. Secrets have none: they come first.
fn head(capture: &mut FileSource) -> Result<Option<Timestamp>, CaptureError> {
    Ok(match capture.peek()? {
        Next::Packet(time) => Some(time),
        Next::Secrets => Some(Timestamp(i64::MIN)),
        Next::End => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::pcap::tests::{file_header, record};
    use crate::capture::pcapng::tests::Writer;
    use proptest::prelude::*;
    use std::io::Cursor;

    fn source(name: &str, bytes: Vec<u8>) -> FileSource {
        FileSource::read(name, Cursor::new(bytes)).unwrap()
    }

    fn capture(seconds: &[u32]) -> Vec<u8> {
        let mut bytes = file_header(0xa1b2_c3d4, (2, 4), 1, false);
        for second in seconds {
            bytes.extend(record(*second, 0, 1, b"x"));
        }
        bytes
    }

    /// Second, capture and number of a packet.
    type Seen = (u32, u16, u64);

    /// Every packet, and the errors with the number of packets before.
    fn everything(merged: &mut Merged) -> (Vec<Seen>, Vec<(usize, String)>) {
        let (mut packets, mut errors) = (Vec::new(), Vec::new());
        loop {
            match merged.next_packet() {
                Ok(Some(packet)) => {
                    let second = (packet.time.0 / Timestamp::SECOND) as u32;
                    packets.push((second, packet.capture, packet.number));
                }
                Ok(None) => return (packets, errors),
                Err(error) => errors.push((packets.len(), error.capture)),
            }
        }
    }

    /// The same in runs of so many packets at most, and the number of packets before each secrets.
    fn in_runs(merged: &mut Merged, most: usize) -> (Vec<Seen>, Vec<(usize, String)>, Vec<usize>) {
        let (mut packets, mut errors, mut secrets) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            let mut left = most;
            let run = merged.run(|packet| {
                let second = (packet.time.0 / Timestamp::SECOND) as u32;
                packets.push((second, packet.capture, packet.number));
                left -= 1;
                if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            match run {
                Ok(Run::Stopped(())) => {}
                Ok(Run::Secrets(_)) => secrets.push(packets.len()),
                Ok(Run::End) => return (packets, errors, secrets),
                Err(error) => errors.push((packets.len(), error.capture)),
            }
        }
    }

    #[test]
    fn by_time_then_by_index_and_never_within_a_capture() {
        let captures = [capture(&[2, 5, 3, 9]), capture(&[]), capture(&[2, 4])];
        let captures: Vec<_> = captures.into_iter().map(|bytes| source("a", bytes)).collect();
        let mut merged = Merged::new(captures).unwrap();
        let (packets, errors) = everything(&mut merged);
        assert_eq!(packets, [(2, 0, 1), (2, 2, 1), (4, 2, 2), (5, 0, 2), (3, 0, 3), (9, 0, 4)]);
        assert!(errors.is_empty());
        assert_eq!(merged.size(), None);
        assert_eq!(merged.position(), (24 * 3 + 17 * 6) as u64);
        assert!(merged.next_packet().unwrap().is_none());
    }

    #[test]
    fn a_broken_capture_does_not_stop_the_others() {
        let cut = |seconds: &[u32]| {
            let mut bytes = capture(seconds);
            bytes.pop();
            bytes
        };
        let captures = vec![
            source("cut at once", cut(&[1])),
            source("whole", capture(&[1, 2, 3])),
            source("cut later", cut(&[2, 9])),
        ];
        let (packets, errors, _) = in_runs(&mut Merged::new(captures).unwrap(), 9);
        assert_eq!(packets, [(1, 1, 1), (2, 1, 2), (2, 2, 1), (3, 1, 3)]);
        assert_eq!(errors, [(0, "cut at once".to_owned()), (3, "cut later".to_owned())]);
    }

    #[test]
    fn secrets_come_first_or_are_passed_over() {
        let writer = Writer { big: false };
        let with_secrets = [
            writer.section(),
            writer.interface(1, 0, &[]),
            writer.packet(0, 5_000_000, 1, b"x"),
            writer.secrets(b"keys"),
            writer.packet(0, 6_000_000, 1, b"x"),
        ]
        .concat();
        let merged =
            || Merged::new(vec![source("a", capture(&[5, 7])), source("b", with_secrets.clone())]).unwrap();
        let mut events = Vec::new();
        let mut with = merged();
        while let Some(event) = with.next_event().unwrap() {
            events.push(match event {
                Event::Packet(packet) => (packet.capture, packet.number),
                Event::Secrets(secrets) => {
                    assert_eq!(secrets, Secrets { capture: 1, kind: Secrets::TLS_KEY_LOG, bytes: b"keys" });
                    (secrets.capture, 0)
                }
            });
        }
        assert_eq!(events, [(0, 1), (1, 1), (1, 0), (1, 2), (0, 2)]);
        let seconds = [(5, 0, 1), (5, 1, 1), (6, 1, 2), (7, 0, 2)].to_vec();
        assert_eq!(in_runs(&mut merged(), 9), (seconds, Vec::new(), vec![2]));
        assert_eq!(everything(&mut merged()).0, [(5, 0, 1), (5, 1, 1), (6, 1, 2), (7, 0, 2)]);
    }

    proptest! {
        #[test]
        fn the_earliest_head_always_comes_next(
            files in prop::collection::vec(prop::collection::vec(0u32..20, 0..8), 0..6),
            most in 1usize..6,
        ) {
            let captures = || files.iter().map(|seconds| source("a", capture(seconds))).collect();
            let (packets, _) = everything(&mut Merged::new(captures()).unwrap());
            prop_assert_eq!(&in_runs(&mut Merged::new(captures()).unwrap(), most).0, &packets);
            let mut taken = vec![0; files.len()];
            let mut expected = Vec::new();
            while let Some((second, index)) = files
                .iter()
                .enumerate()
                .filter_map(|(index, file)| Some((*file.get(taken[index])?, index)))
                .min()
            {
                taken[index] += 1;
                expected.push((second, index as u16, taken[index] as u64));
            }
            prop_assert_eq!(packets, expected);
        }
    }
}
