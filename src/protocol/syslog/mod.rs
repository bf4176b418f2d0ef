//! Syslog in clear: over TCP (RFC 6587), over UDP (RFC 5426), in the form of RFC 5424 or of RFC 3164.
//!
//! Only headers are read, of a few messages; what they say is passed over.

mod header;

use super::{Probe, Side, Step};
use header::{Fault, HEADER_CAP, Text};

/// After so many messages nothing more is read.
pub const MESSAGES_CAP: u32 = 4;
/// After so many lines without a header, of messages that have several, nothing more is read.
pub const LINES_CAP: u16 = 256;
/// The longest message passed over by its length, in bytes.
pub const MESSAGE_CAP: u32 = 1 << 24;

/// The form of a message's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RFC 5424 section 6.
    Rfc5424,
    /// RFC 3164 section 4.1, or its like with a time of RFC 3339.
    Bsd,
}

/// How messages are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// A length before each (RFC 6587 section 3.4.1).
    Counted,
    /// A line end or NUL behind each (RFC 6587 section 3.4.2).
    Lines,
    /// A datagram for each (RFC 5426 section 3.1).
    Datagrams,
}

/// Evidence of syslog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Syslog {
    /// The form of the first message.
    pub format: Option<Format>,
    /// How its messages are told apart.
    pub framing: Option<Framing>,
    /// Messages read, at most [`MESSAGES_CAP`].
    pub messages: u32,
}

/// Whether the first bytes of one side of a TCP stream are a syslog message.
pub fn probe(bytes: &[u8]) -> Probe {
    match message(bytes) {
        Ok(_) => Probe::Certain,
        Err(Fault::Short) => Probe::Unsure,
        Err(Fault::Malformed) => Probe::NotForUs,
    }
}

/// Whether one side's bytes from the middle of a stream are syslog: two messages in a row. One alone may
/// stand in the body of something else, a request to a log drain for example.
pub fn probe_midstream(bytes: &[u8]) -> Probe {
    let after = match message(bytes) {
        Ok((_, Some(length), header)) => bytes.get(header + length..),
        Ok((_, None, _)) => {
            bytes.iter().position(|byte| ends_line(*byte)).and_then(|end| bytes.get(end + 1..))
        }
        Err(Fault::Short) => return Probe::Unsure,
        Err(Fault::Malformed) => return Probe::NotForUs,
    };
    after.map_or(Probe::Unsure, probe)
}

/// Whether one UDP payload is a syslog message.
pub fn probe_datagram(bytes: &[u8]) -> Probe {
    match header::read(bytes) {
        Ok(_) => Probe::Certain,
        Err(_) => Probe::NotForUs,
    }
}

/// Reads the first messages of one syslog flow.
#[derive(Clone, Debug, Default)]
pub struct Parser {
    evidence: Syslog,
    sender: Option<Side>,
    in_line: bool,
    /// Lines read that have no header: a message may hold several.
    others: u16,
    lost: bool,
}

impl Parser {
    /// A parser at the start of a message.
    pub fn new() -> Parser {
        Parser::default()
    }

    /// Reads one UDP payload.
    pub fn datagram(&mut self, side: Side, bytes: &[u8]) -> Step {
        if let Ok((format, _)) = header::read(bytes) {
            self.count(side, format, Framing::Datagrams);
        }
        // One datagram of this form says it all, and the next may be as long as it likes.
        Step::Done
    }

    /// Reads on in one side's bytes of a TCP stream.
    pub fn advance(&mut self, side: Side, bytes: &[u8]) -> Step {
        if self.sender.is_some_and(|sender| sender != side) {
            // Receivers have nothing to say.
            return Step::Done;
        }
        let mut used = 0;
        loop {
            if self.lost || self.evidence.messages >= MESSAGES_CAP || self.others >= LINES_CAP {
                return Step::Done;
            }
            let rest = bytes.get(used..).unwrap_or_default();
            if self.in_line {
                let Some(end) = rest.iter().position(|byte| ends_line(*byte)) else {
                    return Step::More { used: bytes.len() };
                };
                self.in_line = false;
                used += end + 1;
                continue;
            }
            match (message(rest), self.evidence.framing) {
                (Ok((format, Some(length), before)), None | Some(Framing::Counted)) => {
                    self.count(side, format, Framing::Counted);
                    let total = before + length;
                    match total.checked_sub(rest.len()) {
                        None | Some(0) => used += total,
                        Some(skip) => return Step::Skip { used: bytes.len(), skip: skip as u64 },
                    }
                }
                (Ok((format, None, _)), None | Some(Framing::Lines)) => {
                    self.count(side, format, Framing::Lines);
                    self.in_line = true;
                }
                (Err(Fault::Short), _) => return Step::More { used },
                (_, None) => return Step::Broken,
                (_, Some(Framing::Lines)) => {
                    self.others += 1;
                    self.in_line = true;
                }
                (_, Some(_)) => return Step::Done,
            }
        }
    }

    /// Bytes of this side are missing here; what was seen has to do.
    pub fn gap(&mut self, _side: Side) {
        self.lost = true;
    }

    /// What was seen so far.
    pub fn evidence(&self) -> &Syslog {
        &self.evidence
    }

    /// Who sends messages.
    pub fn client(&self) -> Option<Side> {
        self.sender
    }

    fn count(&mut self, side: Side, format: Format, framing: Framing) {
        self.sender.get_or_insert(side);
        self.evidence.format.get_or_insert(format);
        self.evidence.framing.get_or_insert(framing);
        self.evidence.messages = self.evidence.messages.saturating_add(1);
    }
}

/// The message at the front: its format, its length if one stands before it, and the length of what says that.
fn message(bytes: &[u8]) -> Result<(Format, Option<usize>, usize), Fault> {
    if !bytes.first().is_some_and(u8::is_ascii_digit) {
        return header::read(bytes).map(|(format, _)| (format, None, 0));
    }
    let mut text = Text::new(bytes);
    let length = text.number(8)?;
    text.literal(b" ")?;
    if length > MESSAGE_CAP {
        return Err(Fault::Malformed);
    }
    let before = text.read();
    let length = usize::try_from(length).map_err(|_| Fault::Malformed)?;
    let rest = bytes.get(before..).unwrap_or_default();
    let within = rest.get(..length.min(HEADER_CAP)).unwrap_or(rest);
    match header::read(within) {
        Ok((format, _)) => Ok((format, Some(length), before)),
        // The whole message is there, and too short for its header.
        Err(Fault::Short) if within.len() == length.min(HEADER_CAP) => Err(Fault::Malformed),
        Err(fault) => Err(fault),
    }
}

fn ends_line(byte: u8) -> bool {
    matches!(byte, b'\n' | 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::testing::{Stream, cut};

    const MESSAGE: &str = "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - 'su root' failed";
    const OLD: &str = "<34>Oct 11 22:14:15 mymachine su: 'su root' failed";

    fn counted(message: &str) -> String {
        format!("{} {message}", message.len())
    }

    fn read(text: &str, sizes: &[usize]) -> (Syslog, Option<Step>) {
        let mut parser = Parser::new();
        let mut stream = Stream::default();
        for (side, piece) in cut(&[(Side::A, text.as_bytes().to_vec())], sizes) {
            stream.lend(side, piece, |side, bytes| parser.advance(side, bytes));
        }
        assert!(parser.client().is_none_or(|client| client == Side::A));
        (*parser.evidence(), stream.ended(Side::A))
    }

    #[test]
    fn reads_messages_behind_their_length() {
        for sizes in [&[][..], &[1], &[13, 2]] {
            let (syslog, ended) = read(&counted(MESSAGE).repeat(6), sizes);
            let format = Some(Format::Rfc5424);
            let expected = Syslog { format, framing: Some(Framing::Counted), messages: MESSAGES_CAP };
            assert_eq!((syslog, ended), (expected, Some(Step::Done)));
        }
        let long = format!("5000 {MESSAGE}");
        let skip = 5005 - long.len() as u64;
        assert_eq!(Parser::new().advance(Side::A, long.as_bytes()), Step::Skip { used: long.len(), skip });
    }

    #[test]
    fn reads_lines_and_messages_of_several() {
        for sizes in [&[][..], &[1], &[13, 2]] {
            let text = format!("{OLD}\n{OLD}\n\tat java.lang.Thread\n12\n<34>\n{MESSAGE}\0");
            let (syslog, ended) = read(&text, sizes);
            let (format, framing) = (Some(Format::Bsd), Some(Framing::Lines));
            assert_eq!((syslog, ended), (Syslog { format, framing, messages: 3 }, None));
        }
        let (syslog, ended) = read(&format!("{OLD}\n{}", "x\n".repeat(300)), &[]);
        assert_eq!((syslog.messages, ended), (1, Some(Step::Done)));
    }

    #[test]
    fn reads_one_datagram() {
        let mut parser = Parser::new();
        assert_eq!(probe_datagram(OLD.as_bytes()), Probe::Certain);
        assert_eq!(parser.datagram(Side::B, OLD.as_bytes()), Step::Done);
        let (format, framing) = (Some(Format::Bsd), Some(Framing::Datagrams));
        assert_eq!(parser.evidence(), &Syslog { format, framing, messages: 1 });
        assert_eq!(parser.client(), Some(Side::B));
        assert_eq!(probe_datagram(&OLD.as_bytes()[..12]), Probe::NotForUs);
        assert_eq!(probe_datagram(counted(OLD).as_bytes()), Probe::NotForUs, "datagrams are not counted");
    }

    #[test]
    fn what_is_no_message_ends_a_counted_stream() {
        let (syslog, ended) = read(&format!("{}GET / HTTP/1.1\r\n", counted(MESSAGE)), &[]);
        assert_eq!((syslog.messages, ended), (1, Some(Step::Done)));
        let mut parser = Parser::new();
        parser.gap(Side::A);
        assert_eq!(parser.advance(Side::A, MESSAGE.as_bytes()), Step::Done);
    }

    #[test]
    fn probes_framing_and_header() {
        let counted = counted(MESSAGE);
        for certain in [MESSAGE, OLD, &counted] {
            assert_eq!(probe(certain.as_bytes()), Probe::Certain, "{certain}");
        }
        for unsure in ["", "<", "83", "83 ", "83 <34>1 2003", "<34>Oct 11"] {
            assert_eq!(probe(unsure.as_bytes()), Probe::Unsure, "{unsure}");
        }
        for other in ["0 <34>1 - - - - - -", "083 <", "200 OK", "9 <34>1 - - - - - -", "123456789", "<html>"]
        {
            assert_eq!(probe(other.as_bytes()), Probe::NotForUs, "{other}");
        }
    }

    #[test]
    fn from_the_middle_two_messages_are_asked_for() {
        let counted = counted(MESSAGE);
        for (text, expected) in [
            (counted.clone(), Probe::Unsure),
            (counted.repeat(2), Probe::Certain),
            (format!("{counted}POST / HTTP/1.1\r\n"), Probe::NotForUs),
            (format!("{OLD}\n"), Probe::Unsure),
            (format!("{OLD}\n{OLD}"), Probe::Certain),
            (format!("{OLD}\nPOST / HTTP/1.1\r\n"), Probe::NotForUs),
            ("tail of a message\n".to_owned(), Probe::NotForUs),
        ] {
            assert_eq!(probe_midstream(text.as_bytes()), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic_and_alike_in_any_pieces(
            bytes: Vec<u8>, sizes in proptest::collection::vec(1_usize..9, 1..5),
        ) {
            probe(&bytes);
            probe_midstream(&bytes);
            Parser::new().datagram(Side::A, &bytes);
            let text: String = bytes.iter().map(|byte| char::from(*byte & 0x7f)).collect();
            prop_assert_eq!(read(&text, &[]).0, read(&text, &sizes).0);
        }

        #[test]
        fn a_stream_reads_alike_in_any_pieces(
            pieces in proptest::collection::vec(proptest::sample::select(vec![
                format!("{MESSAGE}\n"), format!("{OLD}\n"), counted(MESSAGE), counted(OLD), "other\n".to_owned(), "7".to_owned(),
            ]), 0..8),
            sizes in proptest::collection::vec(1_usize..60, 1..6),
        ) {
            let text = pieces.concat();
            prop_assert_eq!(read(&text, &[]).0, read(&text, &sizes).0);
        }
    }
}
