//! MySQL in clear (dev.mysql.com, "Connection Phase"): greeting, login, and the answer to it.
//!
//! Read until the login is answered, or until both sides go on in TLS. Names and secrets are looked at
//! and never kept. MariaDB speaks the same.

mod packet;

use super::{NAME_CAP, Probe, Side, Step};
use packet::{Answer, Fault, Greeting, HEADER, Opening, Packet};

/// How many pieces of a side's bytes are searched for TLS after a gap.
pub const RESYNC_CAP: u16 = 64;
/// The highest sequence number of a login believed: every plugin is done after a few packets.
const SEQUENCE_CAP: u8 = 32;

/// Evidence of MySQL in clear (dev.mysql.com, "Connection Phase").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mysql {
    /// The server's version, when its greeting was read; at most [`NAME_CAP`] bytes.
    pub server_version: Option<Box<[u8]>>,
    /// The greeting offered TLS.
    pub tls_offered: bool,
    /// The client asked for TLS, or TLS was seen in place of a login.
    pub upgraded: bool,
    /// The authentication plugin, the last that either side named; at most 64 bytes.
    pub plugin: Option<Box<[u8]>>,
    /// The client's login was read.
    pub login: bool,
    /// The login named a user.
    pub user: bool,
    /// The client sent an authentication response that is not empty.
    pub secret: bool,
    /// The server answered OK to a login.
    pub accepted: bool,
    /// The code of the error that the server gave instead.
    pub error: Option<u16>,
    /// That error says that this client is not let in.
    pub refused: bool,
}

impl Mysql {
    /// Bytes on the heap.
    pub(super) fn held(&self) -> usize {
        [&self.server_version, &self.plugin].into_iter().flatten().map(|name| name.len()).sum()
    }
}

/// Whether the first bytes of one side are MySQL.
///
/// Certain are a whole greeting of version 10 or a whole error in its place, and a client's login (in clear, or
/// the first inside TLS) or request for TLS; each has at least 60 fixed bits.
pub fn probe(bytes: &[u8]) -> Probe {
    let Some(packet) = packet::packet(bytes) else {
        return match bytes.get(2) {
            None | Some(0) => Probe::Unsure,
            Some(_) => Probe::NotForUs,
        };
    };
    let read = match packet.sequence {
        0 => packet::greeting(&packet).map(|_| ()),
        1 | 2 => packet::is_opening(&packet),
        _ => Err(Fault::Malformed),
    };
    match read {
        Ok(()) => Probe::Certain,
        Err(Fault::Short) => Probe::Unsure,
        Err(Fault::Malformed) => Probe::NotForUs,
    }
}

/// Reads both sides of one MySQL connection until the login is answered.
#[derive(Clone, Debug, Default)]
pub struct Parser {
    evidence: Mysql,
    client: Option<Side>,
    readers: [Reader; 2],
    /// The client went on to commands, so that nothing of the login follows.
    over: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Reader {
    begun: bool,
    /// Bytes are missing: where a packet begins is unknown, and only TLS is looked for, in so many pieces.
    lost: Option<u16>,
    done: bool,
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
            if self.evidence.upgraded {
                return Step::Switch { used };
            }
            if self.is_settled() || self.readers[side.index()].done {
                return Step::Done;
            }
            let rest = bytes.get(used..).unwrap_or_default();
            match starts_tls(rest) {
                // Where the request for it was lost, or its sender was not captured.
                Some(true) if !self.evidence.login => {
                    self.evidence.upgraded = true;
                    continue;
                }
                None if !rest.is_empty() => return Step::More { used },
                _ => {}
            }
            let reader = &mut self.readers[side.index()];
            if let Some(left) = reader.lost {
                reader.lost = left.checked_sub(1);
                reader.done = reader.lost.is_none();
                return Step::More { used: bytes.len() };
            }
            let Some(packet) = packet::packet(rest) else { return Step::More { used } };
            match self.packet(side, &packet) {
                Ok(()) => {}
                Err(Fault::Short) => return Step::More { used },
                Err(Fault::Malformed) => {
                    let reader = &mut self.readers[side.index()];
                    reader.done = true;
                    return if reader.begun { Step::Done } else { Step::Broken };
                }
            }
            self.readers[side.index()].begun = true;
            let total = HEADER + packet.length;
            if let Some(skip) = total.checked_sub(rest.len()).filter(|skip| *skip > 0) {
                return Step::Skip { used: bytes.len(), skip: skip as u64 };
            }
            used += total;
        }
    }

    /// Bytes of this side are missing here; what follows is lent next.
    pub fn gap(&mut self, side: Side) {
        let reader = &mut self.readers[side.index()];
        if !reader.done {
            reader.lost = Some(RESYNC_CAP);
        }
    }

    /// What was seen so far.
    pub fn evidence(&self) -> &Mysql {
        &self.evidence
    }

    /// Who connects: the side that a greeting was sent to, or that sent a login.
    pub fn client(&self) -> Option<Side> {
        self.client
    }

    /// Nothing that follows can add evidence.
    fn is_settled(&self) -> bool {
        let evidence = &self.evidence;
        let answered = evidence.accepted || evidence.error.is_some();
        // An error in place of the greeting is the end of it.
        self.over || (answered && (evidence.login || evidence.server_version.is_none()))
    }

    fn packet(&mut self, side: Side, packet: &Packet<'_>) -> Result<(), Fault> {
        let client = *self.client.get_or_insert(match packet.sequence {
            0 => side.other(),
            _ => side,
        });
        match side == client {
            true => self.client_packet(packet),
            false => self.server_packet(packet),
        }
    }

    fn server_packet(&mut self, packet: &Packet<'_>) -> Result<(), Fault> {
        let evidence = &mut self.evidence;
        if packet.sequence == 0 {
            match packet::greeting(packet)? {
                Greeting::Server { version, tls, plugin } => {
                    evidence.server_version = Some(version.get(..NAME_CAP).unwrap_or(version).into());
                    evidence.tls_offered = tls;
                    // The login's own word counts more, should it have been read first.
                    if evidence.plugin.is_none() {
                        evidence.plugin = plugin.map(Box::from);
                    }
                }
                Greeting::Error(code) => self.error(code),
            }
            return Ok(());
        }
        match packet::answer(packet)? {
            Answer::Accepted if (2..=SEQUENCE_CAP).contains(&packet.sequence) => evidence.accepted = true,
            Answer::Error(code) => self.error(code),
            Answer::Switch(plugin) => evidence.plugin = Some(plugin.into()),
            Answer::Accepted | Answer::Other => {}
        }
        let settled = self.evidence.accepted || self.evidence.error.is_some();
        let server = self.client.map_or(Side::A, Side::other);
        self.readers[server.index()].done |= settled;
        Ok(())
    }

    fn client_packet(&mut self, packet: &Packet<'_>) -> Result<(), Fault> {
        match packet.sequence {
            0 => self.over = true,
            1 | 2 if !self.evidence.login => match packet::opening(packet)? {
                Opening::Tls => self.evidence.upgraded = true,
                Opening::Login { user, secret, plugin } => {
                    self.evidence.login = true;
                    self.evidence.user = user;
                    self.evidence.secret |= secret;
                    if let Some(plugin) = plugin {
                        self.evidence.plugin = Some(plugin.into());
                    }
                }
            },
            2..=SEQUENCE_CAP if self.evidence.login => {
                if packet.body.is_empty() && packet.length > 0 {
                    return Err(Fault::Short);
                }
                self.evidence.secret |= packet.length > 1 || packet::is_secret(packet.body);
            }
            _ => return Err(Fault::Malformed),
        }
        Ok(())
    }

    fn error(&mut self, code: u16) {
        self.evidence.error = Some(code);
        self.evidence.refused = packet::is_refusal(code);
    }
}

/// Whether a TLS handshake record begins here, `None` if that needs more bytes: as a packet it would be
/// longer than any of a login.
fn starts_tls(bytes: &[u8]) -> Option<bool> {
    match *bytes {
        [0x16, 0x03, minor, ..] => Some((1..=4).contains(&minor)),
        [] | [0x16] | [0x16, 0x03] => None,
        _ => Some(false),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::testing::{self, Stream};

    const CLIENT: Side = Side::A;
    const SERVER: Side = Side::B;
    const GREETING: &[u8] = b"5.5.35-0ubuntu0.12.04.2\0\x98\0\0\0]E!r<uX8\0\xff\xf7\x08\x02\0\x0f\x80\x15\
        \0\0\0\0\0\0\0\0\0\0Of2c!tIM)\"n'\0mysql_native_password\0";
    const CAPABILITIES: [u8; 9] = [0x05, 0xa6, 0x0f, 0, 0, 0, 0, 1, 0x21];
    const DENIED: &[u8] = b"\xff\x15\x04#28000Access denied for user 'user0'@'h' (using password: NO)";

    fn packet(sequence: u8, body: &[u8]) -> Vec<u8> {
        let [a, b, c, _] = u32::try_from(body.len()).unwrap().to_le_bytes();
        [&[a, b, c, sequence], body].concat()
    }

    fn greeting() -> (Side, Vec<u8>) {
        (SERVER, packet(0, &[b"\x0a", GREETING].concat()))
    }

    fn login(user: &str, response: &[u8]) -> (Side, Vec<u8>) {
        let length = u8::try_from(response.len()).unwrap();
        let plugin = &b"mysql_native_password\0"[..];
        let body = [&CAPABILITIES[..], &[0; 23], user.as_bytes(), &[0, length], response, plugin].concat();
        (CLIENT, packet(1, &body))
    }

    fn ssl_request() -> (Side, Vec<u8>) {
        let mut body = CAPABILITIES.to_vec();
        body[1] |= 0x08;
        body.extend([0; 23]);
        (CLIENT, packet(1, &body))
    }

    fn server(sequence: u8, body: &[u8]) -> (Side, Vec<u8>) {
        (SERVER, packet(sequence, body))
    }

    fn client(sequence: u8, body: &[u8]) -> (Side, Vec<u8>) {
        (CLIENT, packet(sequence, body))
    }

    fn ok(sequence: u8) -> (Side, Vec<u8>) {
        server(sequence, &[0, 0, 0, 2, 0, 0, 0])
    }

    fn read_in(conversation: &[(Side, Vec<u8>)], sizes: &[usize]) -> (Parser, Stream) {
        let mut parser = Parser::new();
        let stream = testing::read_in(conversation, sizes, |side, bytes| parser.advance(side, bytes));
        (parser, stream)
    }

    /// Reads the conversation whole and byte by byte, and holds that both come to the same.
    fn read(conversation: &[(Side, Vec<u8>)]) -> (Mysql, Stream) {
        let whole = read_in(conversation, &[]);
        let bytewise = read_in(conversation, &[1]);
        assert_eq!(whole.0.evidence(), bytewise.0.evidence());
        assert_eq!(whole.0.client(), Some(CLIENT));
        assert_eq!(bytewise.0.client(), Some(CLIENT));
        (whole.0.evidence().clone(), whole.1)
    }

    #[test]
    fn a_login_is_accepted() {
        let (mysql, stream) =
            read(&[greeting(), login("user10", &[0x55; 20]), ok(2), client(0, b"\x03select 1")]);
        let expected = Mysql {
            server_version: Some(b"5.5.35-0ubuntu0.12.04.2"[..].into()),
            plugin: Some(b"mysql_native_password"[..].into()),
            login: true,
            user: true,
            secret: true,
            accepted: true,
            ..Mysql::default()
        };
        assert_eq!(mysql, expected);
        assert_eq!(stream.ended(SERVER), Some(Step::Done));
        assert_eq!(stream.ended(CLIENT), Some(Step::Done));
    }

    #[test]
    fn a_login_is_refused() {
        let (mysql, _) = read(&[greeting(), login("user0", &[]), server(2, DENIED)]);
        assert!(mysql.refused && !mysql.accepted && !mysql.secret && mysql.user);
        assert_eq!(mysql.error, Some(1045));
        let (mysql, _) = read(&[greeting(), login("", &[1; 20]), server(2, b"\xff\x28\x04#08S01shutdown")]);
        assert!(!mysql.refused && !mysql.user);
        assert_eq!(mysql.error, Some(1064));
    }

    #[test]
    fn an_error_may_stand_in_place_of_the_greeting() {
        let text = b"\xff\x6a\x04Host '10.0.0.1' is not allowed to connect to this MySQL server";
        let (mysql, stream) = read(&[server(0, text), client(0, b"x")]);
        assert!(mysql.refused && mysql.server_version.is_none());
        assert_eq!(stream.ended(CLIENT), Some(Step::Done));
        let (mysql, _) = read(&[server(0, b"\xff\x10\x04Too many connections")]);
        assert_eq!((mysql.error, mysql.refused), (Some(1040), false));
    }

    #[test]
    fn a_request_for_tls_is_a_switch() {
        let (mut parser, stream) = read_in(&[greeting(), ssl_request()], &[]);
        assert!(parser.evidence().upgraded && !parser.evidence().login);
        assert_eq!(stream.ended(CLIENT), Some(Step::Switch { used: 36 }));
        assert_eq!(parser.advance(SERVER, b"\x16\x03\x03"), Step::Switch { used: 0 });
        let mut both = ssl_request().1;
        both.extend(b"\x16\x03\x01\x02");
        let (_, stream) = read_in(&[greeting(), (CLIENT, both)], &[]);
        assert_eq!(stream.unused(CLIENT), b"\x16\x03\x01\x02");
    }

    #[test]
    fn tls_is_found_where_the_request_for_it_was_lost() {
        for side in [CLIENT, SERVER] {
            let (mut parser, _) = read_in(&[greeting()], &[]);
            parser.gap(side);
            assert_eq!(parser.advance(side, b"\x01\x02\x03"), Step::More { used: 3 });
            assert_eq!(parser.advance(side, b"\x16\x03"), Step::More { used: 0 });
            assert_eq!(parser.advance(side, b"\x16\x03\x01\x02\0"), Step::Switch { used: 0 });
            assert!(parser.evidence().upgraded);
        }
        let mut parser = Parser::new();
        parser.gap(CLIENT);
        let tries = (0..).take_while(|_| parser.advance(CLIENT, b"\x01") != Step::Done).count();
        assert_eq!(tries, usize::from(RESYNC_CAP) + 1);
    }

    #[test]
    fn a_switched_plugin_asks_for_another_response() {
        let switch = [&b"\xfecaching_sha2_password\0"[..], &[7; 21]].concat();
        let (mysql, _) = read(&[
            greeting(),
            login("u", &[]),
            server(2, &switch),
            client(3, &[9; 32]),
            server(4, &[1, 4]),
            client(5, &[2]),
            server(6, &[&[1][..], &[b'K'; 450]].concat()),
            client(7, &[5; 256]),
            ok(8),
        ]);
        assert!(mysql.secret && mysql.accepted);
        assert_eq!(mysql.plugin.as_deref(), Some(&b"caching_sha2_password"[..]));
        let (mysql, _) = read(&[greeting(), login("u", &[0]), server(2, &[1, 4]), client(3, &[2])]);
        assert!(!mysql.secret, "a request for the public key is no secret");
    }

    #[test]
    fn the_protocol_before_4_1_is_read() {
        let old = b"\x0a3.23.54\0\x4e\0\0\0;H`8pMQ5\0\x2c\0\x08\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        let login = b"\x85\x04\0\0\0danny\0CLQVIE[S";
        let (mysql, _) = read(&[server(0, old), client(1, login), server(2, &[0, 0, 0, 2, 0])]);
        assert!(mysql.user && mysql.secret && mysql.accepted);
        assert_eq!((mysql.server_version.as_deref(), mysql.plugin), (Some(&b"3.23.54"[..]), None));
    }

    #[test]
    fn a_login_inside_tls_follows_the_request_for_it() {
        let mut inside = login("u", &[1; 20]);
        inside.1[3] = 2;
        assert_eq!(probe(&inside.1), Probe::Certain);
        let (mysql, _) = read(&[inside, ok(3)]);
        assert!(mysql.login && mysql.user && mysql.secret && mysql.accepted);
    }

    #[test]
    fn other_protocols_are_told() {
        let mut parser = Parser::new();
        parser.advance(SERVER, &greeting().1);
        assert_eq!(parser.advance(CLIENT, b"GET / HTTP/1.1\r\n\r\n"), Step::Broken);
        for (bytes, expected) in [
            (&greeting().1[..], Probe::Certain),
            (&greeting().1[..50], Probe::Unsure),
            (&login("u", &[1; 20]).1, Probe::Certain),
            (&ssl_request().1, Probe::Certain),
            (&server(0, b"\xff\x10\x04Too many connections").1, Probe::Certain),
            (b"", Probe::Unsure),
            (&ok(2).1, Probe::NotForUs),
            (&client(0, b"\x03select 1").1, Probe::NotForUs),
            (&[0; 64], Probe::NotForUs),
            (b"GET / HTTP/1.1\r\n", Probe::NotForUs),
        ] {
            assert_eq!(probe(bytes), expected, "{bytes:x?}");
        }
        for at in [0, 3, 4, 41, 50] {
            let mut greeting = greeting().1;
            greeting[at] ^= 0x40;
            assert_eq!(probe(&greeting), Probe::NotForUs, "{at}");
        }
    }

    fn piece() -> impl Strategy<Value = (Side, Vec<u8>)> {
        prop_oneof![
            Just(greeting()),
            Just(login("u", &[3; 20])),
            Just(ssl_request()),
            Just(ok(2)),
            Just(server(2, DENIED)),
            Just(server(2, b"\xfex\0y")),
            Just(client(3, &[1, 2, 3])),
            Just(client(0, b"\x0e")),
            (any::<bool>(), 0_u8..4, proptest::collection::vec(any::<u8>(), 0..40))
                .prop_map(|(a, sequence, body)| (if a { CLIENT } else { SERVER }, packet(sequence, &body))),
        ]
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic_and_alike_in_any_pieces(
            a: Vec<u8>, b: Vec<u8>, sizes in proptest::collection::vec(1_usize..9, 1..5),
        ) {
            probe(&a);
            let conversation = [(CLIENT, a), (SERVER, b)];
            let (whole, pieces) = (read_in(&conversation, &[]), read_in(&conversation, &sizes));
            prop_assert_eq!(whole.0.evidence(), pieces.0.evidence());
        }

        #[test]
        fn a_conversation_reads_alike_in_any_pieces(
            conversation in proptest::collection::vec(piece(), 0..8),
            sizes in proptest::collection::vec(1_usize..40, 1..6),
        ) {
            let (whole, pieces) = (read_in(&conversation, &[]), read_in(&conversation, &sizes));
            prop_assert_eq!(whole.0.evidence(), pieces.0.evidence());
            prop_assert_eq!(whole.0.client(), pieces.0.client());
        }

        #[test]
        fn more_bytes_never_change_a_definite_answer(piece in piece(), end: prop::sample::Index) {
            let part = probe(&piece.1[..end.index(piece.1.len())]);
            prop_assert!(part == Probe::Unsure || part == probe(&piece.1));
        }
    }
}
