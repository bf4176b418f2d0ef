//! NATS in clear (docs.nats.io, client protocol): who presented what, and whether it was let in.
//!
//! Read only until that is known. Payloads are passed over by their length; credentials are looked at
//! and never kept.

mod json;
mod line;

use super::{Probe, Side, Step};
use line::{Line, Read};

/// How many pieces of a side's bytes are searched for a line after a gap.
pub const RESYNC_CAP: u16 = 4096;

/// How a NATS client presented itself in CONNECT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NatsAuthentication {
    /// No CONNECT was read, or one that cannot be read in one way only.
    #[default]
    Unseen,
    /// CONNECT carried nothing that is whole.
    None,
    /// `user` and `pass`, neither empty.
    UserPassword,
    /// `auth_token`.
    Token,
    /// `nkey` and `sig`, without a JWT.
    Nkey,
    /// `jwt`.
    Jwt,
}

/// Evidence of NATS in clear (docs.nats.io, client protocol).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nats {
    /// The server's INFO was read.
    pub info: bool,
    /// INFO said `auth_required`.
    pub auth_required: bool,
    /// INFO said `tls_required`.
    pub tls_required: bool,
    /// The two sides went on in TLS after INFO.
    pub upgraded: bool,
    /// What CONNECT carried.
    pub authentication: NatsAuthentication,
    /// The server answered `-ERR` with an authorization or authentication complaint.
    pub refused: bool,
    /// The server answered anything that shows the client was let in (+OK, PONG, MSG, HMSG, PING after CONNECT).
    pub accepted: bool,
}

/// Whether the first bytes of one side are NATS.
///
/// `PING` and `+OK` alone leave it open, since Redis says them too. Everything certain has at least 48
/// fixed bits.
pub fn probe(bytes: &[u8]) -> Probe {
    for (opening, shortest) in [(&b"INFO"[..], 7), (b"CONNECT", 10)] {
        // A blank stands between, as a line's own reader asks of fewer bytes.
        let json = bytes.strip_prefix(opening).filter(|rest| matches!(rest, [b' ' | b'\t', ..]));
        let json = json.map(|rest| {
            let blanks = rest.iter().take_while(|byte| matches!(**byte, b' ' | b'\t')).count();
            rest.get(blanks..).unwrap_or_default()
        });
        if let Some([b'{', b'"' | b'}', ..]) = json
            && bytes.len() >= shortest
        {
            return Probe::Certain;
        }
    }
    match line::read(bytes) {
        Read::Partial => Probe::Unsure,
        Read::Neither => Probe::NotForUs,
        Read::Line(Line::Ping | Line::Ok, length) => {
            match bytes.get(length..).map_or(Read::Partial, line::read) {
                Read::Partial | Read::Line(Line::Ping | Line::Ok, _) => Probe::Unsure,
                Read::Line(..) => Probe::Certain,
                Read::Neither => Probe::NotForUs,
            }
        }
        Read::Line(Line::Delivery(payload) | Line::Publication(payload), length) => {
            let end = usize::try_from(payload).ok().and_then(|payload| length.checked_add(payload));
            let end = end.and_then(|end| bytes.get(end..)).unwrap_or_default();
            match b"\r\n".starts_with(end.get(..2).unwrap_or(end)) {
                true => Probe::Certain,
                false => Probe::NotForUs,
            }
        }
        Read::Line(..) => Probe::Certain,
    }
}

/// Reads both sides of one NATS connection until the client was let in or refused.
#[derive(Clone, Debug, Default)]
pub struct Parser {
    evidence: Nats,
    client: Option<Side>,
    places: [Place; 2],
    /// At least one line of each side was read.
    begun: [bool; 2],
    /// The client said something: CONNECT, or another verb in a connection begun before the capture.
    opened: bool,
    /// That was CONNECT.
    connected: bool,
}

/// Where one side's bytes stand. Open connections are many, and most are read to the end of what matters: two bytes
/// for each side do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place(u16);

impl Place {
    /// At a line.
    const LINE: Place = Place(u16::MAX);
    const DONE: Place = Place(u16::MAX - 1);
    /// Bytes are missing: looking for a line at the start of a piece, in so many more of them.
    const RESYNC: Place = Place(RESYNC_CAP);

    fn after_a_piece_without(self) -> Place {
        self.0.checked_sub(1).map_or(Place::DONE, Place)
    }

    fn is_resync(self) -> bool {
        self.0 <= RESYNC_CAP
    }
}

impl Default for Place {
    fn default() -> Place {
        Place::LINE
    }
}

impl Parser {
    /// A parser at the start of a connection.
    pub fn new() -> Parser {
        Parser::default()
    }

    /// Reads on in one side's bytes.
    pub fn advance(&mut self, side: Side, bytes: &[u8]) -> Step {
        let mut used = 0;
        loop {
            let place = &mut self.places[side.index()];
            if self.evidence.upgraded {
                return Step::Switch { used };
            }
            let settled = self.evidence.refused || (self.evidence.accepted && self.opened);
            if settled || *place == Place::DONE {
                return Step::Done;
            }
            let rest = bytes.get(used..).unwrap_or_default();
            if self.evidence.info && !self.opened && starts_tls(rest, self.client == Some(side)) {
                self.evidence.upgraded = true;
                continue;
            }
            match (line::read(rest), *place) {
                (Read::Partial, _) => return Step::More { used },
                (Read::Line(line, length), _) => {
                    *place = Place::LINE;
                    self.begun[side.index()] = true;
                    used += length;
                    // The line end behind a payload belongs to it.
                    let skip = match line {
                        Line::Delivery(payload) | Line::Publication(payload) => payload + 2,
                        _ => 0,
                    };
                    self.line(side, line);
                    let left = bytes.len().saturating_sub(used);
                    match usize::try_from(skip) {
                        Ok(skip) if skip <= left => used += skip,
                        _ => {
                            let skip = skip - left as u64;
                            return Step::Skip { used: bytes.len(), skip };
                        }
                    }
                }
                (Read::Neither, searched) if searched.is_resync() => {
                    *place = searched.after_a_piece_without();
                    return Step::More { used: bytes.len() };
                }
                (Read::Neither, _) if !self.begun[side.index()] => return Step::Broken,
                (Read::Neither, _) => {
                    *place = Place::DONE;
                    return Step::Done;
                }
            }
        }
    }

    /// Bytes of this side are missing here; what follows is lent next.
    pub fn gap(&mut self, side: Side) {
        let place = &mut self.places[side.index()];
        if *place != Place::DONE {
            *place = Place::RESYNC;
        }
    }

    /// What was seen so far.
    pub fn evidence(&self) -> &Nats {
        &self.evidence
    }

    /// Who connects: the side that INFO was sent to, or that said what only clients say.
    pub fn client(&self) -> Option<Side> {
        self.client
    }

    fn line(&mut self, side: Side, line: Line<'_>) {
        let client = match line {
            Line::Info(_) | Line::Delivery(_) | Line::Ok | Line::Err(_) => Some(side.other()),
            Line::Connect(_) | Line::Publication(_) | Line::Subscription => Some(side),
            Line::Ping | Line::Pong => None,
        };
        self.client = self.client.or(client);
        let from_client = self.client == Some(side);
        let evidence = &mut self.evidence;
        match line {
            Line::Info(text) if !evidence.info => {
                let info = json::info(text).unwrap_or_default();
                evidence.info = true;
                evidence.auth_required = info.auth_required;
                evidence.tls_required = info.tls_required;
            }
            Line::Connect(text) if !self.connected => {
                self.connected = true;
                self.opened = true;
                evidence.authentication = json::connect(text).unwrap_or_default();
            }
            Line::Err(text) => evidence.refused |= complains_of_authentication(text),
            Line::Ok | Line::Delivery(_) => evidence.accepted = true,
            Line::Pong if self.client.is_some() && !from_client => evidence.accepted = true,
            Line::Ping if self.connected && !from_client => evidence.accepted = true,
            _ if from_client => self.opened = true,
            _ => {}
        }
    }
}

/// Whether TLS begins here: a handshake record from either side, or an alert from the server.
fn starts_tls(bytes: &[u8], from_client: bool) -> bool {
    match bytes.first() {
        Some(0x16) => true,
        Some(0x15) => !from_client,
        _ => false,
    }
}

/// `Authorization Violation`, `Authentication Timeout`, `User Authentication Expired` and their like;
/// not `Permissions Violation`, which is said to clients that were let in.
fn complains_of_authentication(text: &[u8]) -> bool {
    text.split(|b| *b == b' ').any(|word| {
        word.eq_ignore_ascii_case(b"authorization") || word.eq_ignore_ascii_case(b"authentication")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::testing::{self, Stream};

    const CLIENT: Side = Side::A;
    const SERVER: Side = Side::B;
    const INFO: &str = "INFO {\"server_id\":\"x\",\"auth_required\":true} \r\n";
    const CONNECT: &str = "CONNECT {\"verbose\":false,\"user\":\"nats\",\"pass\":\"secret\"}\r\n";

    fn client(text: &str) -> (Side, Vec<u8>) {
        (CLIENT, text.as_bytes().to_vec())
    }

    fn server(text: &str) -> (Side, Vec<u8>) {
        (SERVER, text.as_bytes().to_vec())
    }

    fn read_in(conversation: &[(Side, Vec<u8>)], sizes: &[usize]) -> (Parser, Stream) {
        let mut parser = Parser::new();
        let stream = testing::read_in(conversation, sizes, |side, bytes| parser.advance(side, bytes));
        (parser, stream)
    }

    /// Reads the conversation whole and byte by byte, and holds that both come to the same.
    fn read(conversation: &[(Side, Vec<u8>)]) -> (Parser, Stream) {
        let whole = read_in(conversation, &[]);
        let bytewise = read_in(conversation, &[1]);
        assert_eq!(whole.0.evidence(), bytewise.0.evidence());
        assert_eq!(whole.0.client(), bytewise.0.client());
        whole
    }

    #[test]
    fn a_client_with_user_and_password_is_let_in() {
        let (mut parser, _) =
            read(&[server(INFO), client(&format!("{CONNECT}PING\r\n")), server("PONG\r\n")]);
        let expected = Nats {
            info: true,
            auth_required: true,
            authentication: NatsAuthentication::UserPassword,
            accepted: true,
            ..Nats::default()
        };
        assert_eq!(parser.evidence(), &expected);
        assert_eq!(parser.client(), Some(CLIENT));
        assert_eq!(parser.advance(CLIENT, b"SUB a 1\r\n"), Step::Done);
        assert_eq!(parser.advance(SERVER, b"MSG a 1 2\r\n"), Step::Done);
    }

    #[test]
    fn a_refusal_is_told_from_a_complaint_about_permissions() {
        for text in ["Authorization Violation", "authentication timeout", "User Authentication Expired"] {
            let answer = server(&format!("-ERR '{text}'\r\n"));
            let (parser, stream) = read(&[server(INFO), client("CONNECT {}\r\n"), answer]);
            assert!(parser.evidence().refused && !parser.evidence().accepted, "{text}");
            assert_eq!(parser.evidence().authentication, NatsAuthentication::None);
            assert_eq!(stream.ended(SERVER), Some(Step::Done));
        }
        let answer = server("-ERR 'Permissions Violation for Publish to \"a\"'\r\n");
        let (parser, _) = read(&[server(INFO), client(CONNECT), answer]);
        assert!(!parser.evidence().refused);
    }

    #[test]
    fn payloads_are_passed_over() {
        let (parser, _) = read(&[
            client("PUB a 11\r\nCONNECT {}\r\n\r\nHPUB a 2 9\r\n-ERR 'Aut\r\nPING\r\n"),
            server("+OK\r\n"),
        ]);
        assert_eq!(parser.evidence().authentication, NatsAuthentication::Unseen);
        assert!(!parser.evidence().refused && parser.evidence().accepted);
        let mut parser = Parser::new();
        let step = parser.advance(SERVER, b"MSG a 1 1000\r\nabc");
        assert_eq!(step, Step::Skip { used: 17, skip: 999 });
    }

    #[test]
    fn tls_after_info_is_a_switch() {
        let (parser, stream) = read(&[server(INFO), client("\u{16}\u{3}\u{1}")]);
        assert!(parser.evidence().upgraded);
        assert!(matches!(stream.ended(CLIENT), Some(Step::Switch { used: 0 })));
        for first in ["\u{16}\u{3}", "\u{15}\u{3}"] {
            let (parser, stream) = read(&[server(&format!("{INFO}{first}"))]);
            assert!(parser.evidence().upgraded);
            assert!(matches!(stream.ended(SERVER), Some(Step::Switch { .. })));
            assert_eq!(stream.unused(SERVER).first(), first.as_bytes().first());
        }
        assert_eq!(Parser::new().advance(CLIENT, b"\x16\x03"), Step::Broken);
    }

    #[test]
    fn one_side_alone_is_read() {
        let (parser, _) = read(&[client(CONNECT)]);
        assert_eq!(parser.evidence().authentication, NatsAuthentication::UserPassword);
        assert_eq!(parser.client(), Some(CLIENT));
        assert!(!parser.evidence().accepted);
        let (parser, _) = read(&[server(INFO), server("PING\r\n")]);
        assert!(!parser.evidence().accepted, "no CONNECT was seen");
        let (parser, _) = read(&[server(INFO), server("PONG\r\n")]);
        assert!(parser.evidence().accepted);
    }

    #[test]
    fn a_connect_that_cannot_be_read_stays_unseen() {
        let (parser, _) = read(&[client("CONNECT {\"user\":\"a\",\"user\":\"b\",\"pass\":\"c\"}\r\n")]);
        assert_eq!(parser.evidence().authentication, NatsAuthentication::Unseen);
    }

    #[test]
    fn after_a_gap_lines_are_found_again() {
        let mut parser = Parser::new();
        parser.advance(SERVER, INFO.as_bytes());
        parser.gap(SERVER);
        assert_eq!(parser.advance(SERVER, b"\x01 tail\r\n"), Step::More { used: 8 });
        parser.advance(SERVER, b"+OK\r\n");
        assert!(parser.evidence().accepted);
        let mut parser = Parser::new();
        parser.gap(CLIENT);
        let tries = (0..).take_while(|_| parser.advance(CLIENT, b"\x01") != Step::Done).count();
        assert_eq!(tries, usize::from(RESYNC_CAP) + 1);
    }

    #[test]
    fn probes_the_openings_and_the_verbs() {
        for certain in [
            "INFO {\"server",
            "CONNECT {}",
            "CONNECT {\"user",
            "INFO {\"server_id\":\"a\"}\n",
            "PONG\r\n",
            "PING\r\nSUB a 1\r\n",
            "-ERR 'Stale Connection'\r\n",
            "MSG a 1 2\r\nok",
            "PUB a 2\r\nok\r\n",
        ] {
            assert_eq!(probe(certain.as_bytes()), Probe::Certain, "{certain}");
        }
        for unsure in ["", "PI", "PING\r\n", "+OK\r\n", "INFO {", "SUB a"] {
            assert_eq!(probe(unsure.as_bytes()), Probe::Unsure, "{unsure}");
        }
        for other in
            ["CONNECT a:1 HTTP/1.1\r\n", "PUB a 2\r\nokay", "PING\r\n*1\r\n", "INFO{\"a\"", "+PONG\r\n"]
        {
            assert_eq!(probe(other.as_bytes()), Probe::NotForUs, "{other}");
        }
    }

    fn piece() -> impl Strategy<Value = (Side, Vec<u8>)> {
        let text = prop_oneof![
            Just(server(INFO)),
            Just(client(CONNECT)),
            Just(client("PING\r\nSUB a 1\r\n")),
            Just(server("PONG\r\n")),
            Just(server("PING\r\n")),
            Just(server("-ERR 'Authorization Violation'\r\n")),
            Just(client("\u{16}\u{3}\u{1}")),
        ];
        let message = proptest::collection::vec(any::<u8>(), 0..30).prop_map(|payload| {
            let mut bytes = format!("MSG a 1 {}\r\n", payload.len()).into_bytes();
            bytes.extend(payload);
            bytes.extend(b"\r\n");
            (SERVER, bytes)
        });
        prop_oneof![3 => text, 1 => message]
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic_and_alike_in_any_pieces(
            a: Vec<u8>, b: Vec<u8>, sizes in proptest::collection::vec(1_usize..9, 1..5),
        ) {
            probe(&a);
            let conversation = [(CLIENT, a), (SERVER, b)];
            let whole = read_in(&conversation, &[]);
            let pieces = read_in(&conversation, &sizes);
            prop_assert_eq!(whole.0.evidence(), pieces.0.evidence());
        }

        #[test]
        fn a_conversation_reads_alike_in_any_pieces(
            conversation in proptest::collection::vec(piece(), 0..10),
            sizes in proptest::collection::vec(1_usize..40, 1..6),
        ) {
            let whole = read_in(&conversation, &[]);
            let pieces = read_in(&conversation, &sizes);
            prop_assert_eq!(whole.0.evidence(), pieces.0.evidence());
            prop_assert_eq!(whole.0.client(), pieces.0.client());
        }
    }
}
