//! The PROXY protocol (haproxy.org, proxy-protocol.txt): a proxy says for whom it connects, in a header before that
//! client's own bytes, which both sides go on with.
//!
//! Whoever can connect can send one. What it says of the client is told, and decides nothing.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::{Probe, Side, Step};

/// The longest header of version 1, its line end included (section 2.1).
pub const LINE_CAP: usize = 107;
/// The longest header of version 2 that is believed; addresses and what usual extensions say fit many times.
pub const HEADER_CAP: usize = 4096;

/// Evidence of the PROXY protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Proxy {
    /// 1 or 2.
    pub version: u8,
    /// The client that the proxy says it connects for; none when it says it connects for itself, or does not know.
    pub client: Option<SocketAddr>,
}

/// Whether the first bytes of one side are a header.
pub fn probe(bytes: &[u8]) -> Probe {
    let begins = |with: &[u8]| bytes.starts_with(with);
    let may_begin = |with: &[u8]| with.starts_with(bytes);
    if FAMILIES.iter().any(|family| begins(family)) {
        return Probe::Certain;
    }
    if FAMILIES.iter().any(|family| may_begin(family)) || may_begin(SIGNATURE) {
        return Probe::Unsure;
    }
    match bytes.split_first_chunk::<FIXED>() {
        Some((fixed, _)) if begins(SIGNATURE) && length(fixed).is_some() => Probe::Certain,
        None if begins(SIGNATURE) => Probe::Unsure,
        _ => Probe::NotForUs,
    }
}

/// Reads the header.
#[derive(Clone, Debug, Default)]
pub struct Parser {
    evidence: Proxy,
    client: Option<Side>,
    over: bool,
}

/// How headers of version 1 begin.
const FAMILIES: [&[u8]; 3] = [b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN"];
/// How headers of version 2 begin (section 2.2).
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The part of them that is always there: signature, version and command, family, length of the rest.
const FIXED: usize = 16;

impl Parser {
    /// A parser at the start of a connection.
    pub fn new() -> Parser {
        Parser::default()
    }

    /// Reads on in one side's bytes.
    pub fn advance(&mut self, side: Side, bytes: &[u8]) -> Step {
        if self.over {
            return Step::Done;
        }
        if *self.client.get_or_insert(side) != side {
            // It may answer what follows the header, and that is read once the header is there.
            return Step::More { used: 0 };
        }
        let is_second = bytes.iter().zip(SIGNATURE).all(|(byte, expected)| byte == expected);
        let header = if is_second { second(bytes) } else { first(bytes) };
        match header {
            Header::Short => Step::More { used: 0 },
            Header::Malformed => Step::Broken,
            Header::Whole(evidence, used) => {
                self.evidence = evidence;
                Step::Switch { used }
            }
        }
    }

    /// Bytes of this side are missing here: where the header ends is not known.
    pub fn gap(&mut self, side: Side) {
        self.over |= self.client.is_none_or(|client| client == side);
    }

    /// What was seen so far.
    pub fn evidence(&self) -> Proxy {
        self.evidence
    }

    /// Who connects: the side that sends the header.
    pub fn client(&self) -> Option<Side> {
        self.client
    }
}

enum Header {
    Whole(Proxy, usize),
    Short,
    Malformed,
}

/// Version 1: a line for people.
fn first(bytes: &[u8]) -> Header {
    let line = bytes.get(..LINE_CAP).unwrap_or(bytes);
    let Some(end) = memchr::memchr(b'\n', line) else {
        return if line.len() < LINE_CAP { Header::Short } else { Header::Malformed };
    };
    let words = line.get(..end).and_then(|line| std::str::from_utf8(line.strip_suffix(b"\r")?).ok());
    let Some(words) = words else { return Header::Malformed };
    let mut words = words.split(' ').skip(1);
    let client = match words.next() {
        Some("TCP4") => source::<Ipv4Addr>(words).map(Some),
        Some("TCP6") => source::<Ipv6Addr>(words).map(Some),
        Some("UNKNOWN") => Some(None),
        _ => None,
    };
    match client {
        Some(client) => Header::Whole(Proxy { version: 1, client }, end + 1),
        None => Header::Malformed,
    }
}

/// The first of two addresses and of two ports, if all four are such.
fn source<'a, A: FromStr + Into<std::net::IpAddr>>(
    words: impl Iterator<Item = &'a str>,
) -> Option<SocketAddr> {
    let words: Vec<&str> = words.collect();
    let [source, destination, from, to] = words[..] else { return None };
    let port =
        |word: &str| word.bytes().all(|byte| byte.is_ascii_digit()).then(|| word.parse::<u16>().ok())?;
    let (source, _) = (source.parse::<A>().ok()?, destination.parse::<A>().ok()?);
    let (from, _) = (port(from)?, port(to)?);
    Some(SocketAddr::new(source.into(), from))
}

/// Version 2: a header for machines.
fn second(bytes: &[u8]) -> Header {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED>() else { return Header::Short };
    let Some(length) = length(fixed) else { return Header::Malformed };
    let Some(rest) = rest.get(..length) else { return Header::Short };
    let port = |at: usize| rest.get(at..)?.first_chunk().map(|port| u16::from_be_bytes(*port));
    let client = || match (fixed[12], fixed[13]) {
        (PROXIED, 0x11 | 0x12) => {
            Some(SocketAddr::new(Ipv4Addr::from(*rest.first_chunk::<4>()?).into(), port(8)?))
        }
        (PROXIED, 0x21 | 0x22) => {
            Some(SocketAddr::new(Ipv6Addr::from(*rest.first_chunk::<16>()?).into(), port(32)?))
        }
        _ => None,
    };
    Header::Whole(Proxy { version: 2, client: client() }, FIXED + length)
}

/// Version 2 and the command PROXY; its other command is LOCAL, one less.
const PROXIED: u8 = 0x21;

/// How long what follows is, if the fixed part is one that the document knows.
fn length(fixed: &[u8; FIXED]) -> Option<usize> {
    let [command, family, high, low] = *fixed.last_chunk()?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    // Two addresses and two ports, or two paths of sockets.
    let least = match (command, family) {
        (0x20, _) | (PROXIED, 0) => 0,
        (PROXIED, 0x11 | 0x12) => 12,
        (PROXIED, 0x21 | 0x22) => 36,
        (PROXIED, 0x31 | 0x32) => 216,
        _ => return None,
    };
    (least..=HEADER_CAP - FIXED).contains(&length).then_some(length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::Allowance;
    use crate::protocol::Conversation;
    use crate::protocol::testing::{self, Stream};

    const V1: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.4.20 51234 8443\r\n";

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, rest].concat()
    }

    fn v2_ipv4() -> Vec<u8> {
        // Addresses, ports, and an extension (section 2.2.1) that is passed over.
        v2(PROXIED, 0x11, b"\xc0\0\x02\x07\x0a\0\x04\x14\xc8\x22\x20\xfb\x04\0\x02ab")
    }

    fn read(bytes: &[u8], sizes: &[usize]) -> (Proxy, Stream) {
        let mut parser = Parser::new();
        let said = [(Side::A, bytes.to_vec())];
        let stream = testing::read_in(&said, sizes, |side, bytes| parser.advance(side, bytes));
        (parser.evidence(), stream)
    }

    fn client(address: &str) -> Option<SocketAddr> {
        Some(address.parse().unwrap())
    }

    #[test]
    fn both_versions_say_who_the_client_is() {
        let v6 =
            [&[0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[1], &[0; 15], &[2], &[0x30, 0x39, 1, 0xbb]].concat();
        for (header, version, says) in [
            (V1.to_vec(), 1, client("192.0.2.7:51234")),
            (b"PROXY TCP6 2001:db8::1 ::1 12345 443\r\n".to_vec(), 1, client("[2001:db8::1]:12345")),
            (b"PROXY UNKNOWN\r\n".to_vec(), 1, None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), 1, None),
            (v2_ipv4(), 2, client("192.0.2.7:51234")),
            (v2(PROXIED, 0x21, &v6), 2, client("[2001:db8::1]:12345")),
            (v2(PROXIED, 0x31, &[b'/'; 216]), 2, None),
            (v2(0x20, 0, b""), 2, None),
        ] {
            for sizes in [&[][..], &[1], &[5, 11]] {
                let (proxy, stream) = read(&[&header[..], b"next"].concat(), sizes);
                assert_eq!(proxy, Proxy { version, client: says }, "{header:?}");
                assert!(matches!(stream.ended(Side::A), Some(Step::Switch { .. })), "{header:?}");
                assert!(b"next".starts_with(stream.unused(Side::A)), "{header:?}");
            }
        }
    }

    #[test]
    fn what_breaks_the_rules_is_no_header() {
        for header in [
            &b"PROXY TCP4 192.0.2.7 10.0.4.20 51234\r\n"[..],
            b"PROXY TCP4 192.0.2.7 10.0.4.20 51234 8443 1\r\n",
            b"PROXY TCP4 ::1 ::1 51234 8443\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.4.20 +1 8443\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.4.20 51234 8443\n",
            b"PROXY UNKNOWNS\r\n",
            &[b"PROXY TCP4 ", &[b'1'; LINE_CAP][..]].concat(),
        ] {
            assert_eq!(read(header, &[3]).1.ended(Side::A), Some(Step::Broken), "{header:?}");
        }
        for header in [v2(0x31, 0x11, &[0; 12]), v2(PROXIED, 0x11, &[0; 11]), v2(0x20, 0, &[0; HEADER_CAP])] {
            assert_eq!(probe(&header), Probe::NotForUs, "{header:?}");
        }
    }

    #[test]
    fn probes_both_versions() {
        for certain in [V1, b"PROXY UNKNOWN", &v2_ipv4()] {
            assert_eq!(probe(certain), Probe::Certain, "{certain:?}");
        }
        for unsure in [&b""[..], b"P", b"PROXY ", b"PROXY TCP", b"\r\n", &v2_ipv4()[..15]] {
            assert_eq!(probe(unsure), Probe::Unsure, "{unsure:?}");
        }
        for other in [&b"PROXY / HTTP/1.1\r\n"[..], b"proxy TCP4 ", b"\r\n\r\nGET"] {
            assert_eq!(probe(other), Probe::NotForUs, "{other:?}");
        }
    }

    #[test]
    fn what_follows_is_what_is_spoken() {
        let request = b"GET / HTTP/1.1\r\nHost: uaa\r\nAuthorization: bearer x\r\n\r\n";
        for header in [V1.to_vec(), v2_ipv4()] {
            let (mut conversation, allowance) = (Conversation::default(), &mut Allowance::new());
            conversation.begins();
            let all = [&header[..], request].concat();
            let used = match conversation.read(Side::B, &all, 0, allowance) {
                Step::More { used } => used,
                step => panic!("{step:?}"),
            };
            assert_eq!(used, header.len());
            conversation.read(Side::B, &all[used..], 0, allowance);
            conversation.read(Side::A, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 0, allowance);
            let evidence = conversation.finish();
            assert_eq!(evidence.proxy.unwrap().client, client("192.0.2.7:51234"));
            assert_eq!((evidence.client, evidence.broken), (Some(Side::B), false));
            assert_eq!(evidence.http1.unwrap().requests.bearer, 1);
        }
    }

    #[test]
    fn an_answer_waits_for_the_header_and_a_hole_in_it_is_the_end() {
        let mut parser = Parser::new();
        assert_eq!(parser.advance(Side::A, &V1[..20]), Step::More { used: 0 });
        assert_eq!(parser.advance(Side::B, b"INFO {}\r\n"), Step::More { used: 0 });
        parser.gap(Side::B);
        assert_eq!(parser.advance(Side::A, V1), Step::Switch { used: V1.len() });
        let mut parser = Parser::new();
        assert_eq!(parser.advance(Side::A, &V1[..20]), Step::More { used: 0 });
        parser.gap(Side::A);
        assert_eq!(parser.advance(Side::A, V1), Step::Done);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic_and_alike_in_any_pieces(
            rest: Vec<u8>, fixed in prop::sample::select(vec![&b""[..], b"PROXY TCP4 ", b"PROXY TCP6 1", SIGNATURE]),
            sizes in proptest::collection::vec(1_usize..9, 1..5),
        ) {
            let bytes = [fixed, &rest].concat();
            probe(&bytes);
            prop_assert_eq!(read(&bytes, &[]).0, read(&bytes, &sizes).0);
        }
    }
}
