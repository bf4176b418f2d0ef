//! SSH (RFC 4253): both sides' identification strings, and whether a key exchange began.
//!
//! Nothing after KEXINIT is read. Which side is the client the strings do not say.

use super::{Probe, Side, Step};

/// The longest identification string, in bytes, its line end included (RFC 4253 section 4.2).
pub const LINE_CAP: usize = 255;
/// The most lines that a server may say before it identifies itself (RFC 4253 section 4.2 sets no limit).
pub const BANNER_CAP: u8 = 32;

/// Evidence of SSH (RFC 4253), by [`Side::index`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ssh {
    /// What each side said after `SSH-` (protocol version, software version, comment), as it was sent;
    /// at most 251 bytes.
    pub identification: [Option<Box<[u8]>>; 2],
    /// Each side's KEXINIT was read (RFC 4253 section 7.1).
    pub key_exchange: [bool; 2],
}

impl Ssh {
    /// Bytes on the heap.
    pub(super) fn held(&self) -> usize {
        self.identification.iter().flatten().map(|line| line.len()).sum()
    }
}

/// Whether the first bytes of one side are an SSH identification string, from its version on.
pub fn probe(bytes: &[u8]) -> Probe {
    let (known, rest) = bytes.split_at(bytes.len().min(PREFIX.len()));
    if !PREFIX.starts_with(known) {
        return Probe::NotForUs;
    }
    // 2.0, 1.99 of those that speak both, and 1.3 and 1.5 of the first version.
    let certain = VERSIONS.iter().any(|version| rest.starts_with(version));
    let possible = VERSIONS.iter().any(|version| version.starts_with(rest));
    match (certain, possible) {
        (true, _) => Probe::Certain,
        (false, true) => Probe::Unsure,
        (false, false) => Probe::NotForUs,
    }
}

/// Reads both sides of one SSH connection as far as their first key exchange.
#[derive(Clone, Debug, Default)]
pub struct Parser {
    evidence: Ssh,
    states: [State; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Waits for the identification string; so many other lines may still come before it.
    Identification(u8),
    KeyExchange,
    Done,
}

impl Default for State {
    fn default() -> State {
        State::Identification(BANNER_CAP)
    }
}

const PREFIX: &[u8] = b"SSH-";
const VERSIONS: [&[u8]; 4] = [b"2.0-", b"1.99-", b"1.5-", b"1.3-"];
/// The longest packet that all must take, in bytes (RFC 4253 section 6.1).
const PACKET_CAP: u32 = 35_000;
/// A KEXINIT's least: padding length, type, cookie, eleven empty lists, flag, reserved, padding.
const KEXINIT_LEAST: u32 = 1 + 1 + 16 + 10 * 4 + 1 + 4 + 4;
const KEXINIT: u8 = 20;

impl Parser {
    /// A parser that has seen nothing.
    pub fn new() -> Parser {
        Parser::default()
    }

    /// Reads on in one side's bytes.
    pub fn advance(&mut self, side: Side, bytes: &[u8]) -> Step {
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            let state = &mut self.states[side.index()];
            match *state {
                State::Identification(banners) => {
                    let line = rest.get(..LINE_CAP).unwrap_or(rest);
                    let Some(end) = memchr::memchr(b'\n', line) else {
                        return if rest.len() < LINE_CAP { Step::More { used } } else { Step::Broken };
                    };
                    used += end + 1;
                    let line = rest.get(..end).unwrap_or_default();
                    let line = line.strip_suffix(b"\r").unwrap_or(line);
                    if let Some(identification) = line.strip_prefix(PREFIX) {
                        let first = identification.starts_with(b"1.") && !identification.starts_with(b"1.99");
                        // The first version has another key exchange.
                        *state = if first { State::Done } else { State::KeyExchange };
                        self.evidence.identification[side.index()] = Some(identification.into());
                    } else if let Some(left) = banners.checked_sub(1) {
                        *state = State::Identification(left);
                    } else {
                        return Step::Broken;
                    }
                }
                State::KeyExchange => {
                    let Some(([a, b, c, d, _, kind], _)) = rest.split_first_chunk() else {
                        return Step::More { used };
                    };
                    let length = u32::from_be_bytes([*a, *b, *c, *d]);
                    self.evidence.key_exchange[side.index()] =
                        *kind == KEXINIT && (KEXINIT_LEAST..=PACKET_CAP).contains(&length);
                    *state = State::Done;
                }
                State::Done => return Step::Done,
            }
        }
    }

    /// Bytes of this side are missing here; where the next packet begins is not known any more.
    pub fn gap(&mut self, side: Side) {
        self.states[side.index()] = State::Done;
    }

    /// What was seen so far.
    pub fn evidence(&self) -> &Ssh {
        &self.evidence
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::testing::{self, Stream};

    fn key_exchange() -> Vec<u8> {
        let mut packet = vec![0, 0, 0, 92, 6, KEXINIT];
        packet.extend([7; 90]);
        packet
    }

    fn read(conversation: &[(Side, Vec<u8>)], sizes: &[usize]) -> (Ssh, Stream) {
        let mut parser = Parser::new();
        let stream = testing::read_in(conversation, sizes, |side, bytes| parser.advance(side, bytes));
        (parser.evidence().clone(), stream)
    }

    #[test]
    fn both_sides_identify_themselves_and_exchange_keys() {
        let side = |line: &[u8]| [line, &key_exchange()].concat();
        let conversation = [
            (Side::B, side(b"SSH-2.0-OpenSSH_9.6p1 Ubuntu-3\r\n")),
            (Side::A, side(b"SSH-2.0-libssh-0.2\n")),
        ];
        for sizes in [&[][..], &[1], &[7, 3]] {
            let (ssh, stream) = read(&conversation, sizes);
            assert_eq!(ssh.identification[1].as_deref(), Some(&b"2.0-OpenSSH_9.6p1 Ubuntu-3"[..]));
            assert_eq!(ssh.identification[0].as_deref(), Some(&b"2.0-libssh-0.2"[..]));
            assert_eq!(ssh.key_exchange, [true, true]);
            assert_eq!(stream.ended(Side::A), Some(Step::Done));
            assert_eq!(stream.ended(Side::B), Some(Step::Done));
        }
    }

    #[test]
    fn what_follows_need_not_be_a_key_exchange() {
        let (ssh, _) = read(&[(Side::A, b"SSH-2.0-x\r\nGET / HTTP/1.1\r\n".to_vec())], &[]);
        assert_eq!((ssh.identification[0].as_deref(), ssh.key_exchange), (Some(&b"2.0-x"[..]), [false; 2]));
        let (ssh, stream) = read(&[(Side::A, b"SSH-1.5-1.2.27\n\0\0\0\x5c\x06\x14".to_vec())], &[]);
        assert_eq!(ssh.key_exchange, [false; 2]);
        assert_eq!(stream.ended(Side::A), Some(Step::Done));
    }

    #[test]
    fn a_server_may_greet_first_but_not_for_ever() {
        let (ssh, _) = read(&[(Side::B, b"Welcome\r\nto all\r\nSSH-2.0-x\r\n".to_vec())], &[4]);
        assert_eq!(ssh.identification[1].as_deref(), Some(&b"2.0-x"[..]));
        let (_, stream) = read(&[(Side::B, b"Welcome\r\n".repeat(40))], &[]);
        assert_eq!(stream.ended(Side::B), Some(Step::Broken));
        let (_, stream) = read(&[(Side::B, vec![b'a'; LINE_CAP])], &[]);
        assert_eq!(stream.ended(Side::B), Some(Step::Broken));
    }

    #[test]
    fn after_a_gap_nothing_more_is_read() {
        let mut parser = Parser::new();
        parser.gap(Side::A);
        assert_eq!(parser.advance(Side::A, b"SSH-2.0-x\r\n"), Step::Done);
        assert_eq!(parser.evidence(), &Ssh::default());
    }

    #[test]
    fn probes_the_versions() {
        for certain in ["SSH-2.0-", "SSH-1.99-Cisco-1.25\n", "SSH-1.5-x"] {
            assert_eq!(probe(certain.as_bytes()), Probe::Certain, "{certain}");
        }
        for unsure in ["", "S", "SSH-", "SSH-2", "SSH-1.9"] {
            assert_eq!(probe(unsure.as_bytes()), Probe::Unsure, "{unsure}");
        }
        for other in ["SSL", "ssh-2.0-x", "SSH-3.0-x", "SSH 2.0"] {
            assert_eq!(probe(other.as_bytes()), Probe::NotForUs, "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic_and_alike_in_any_pieces(
            a: Vec<u8>, b: Vec<u8>, known: bool, sizes in proptest::collection::vec(1_usize..9, 1..5),
        ) {
            probe(&a);
            let a = if known { [b"SSH-2.0-", &a[..]].concat() } else { a };
            let conversation = [(Side::A, a), (Side::B, b)];
            prop_assert_eq!(read(&conversation, &[]).0, read(&conversation, &sizes).0);
        }
    }
}
