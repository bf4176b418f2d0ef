//! A connection of TLS 1.3 as it goes over the wire, sealed for tests, and what is read of it.

use std::sync::Arc;

use super::*;
use crate::protocol::testing::{Stream, cut};
use crate::protocol::tls::decrypt::testing::Sender;
use crate::protocol::tls::record::Kind;
use crate::protocol::tls::{KeyStore, Parser};

pub(super) const CLIENT: Side = Side::A;
pub(super) const SERVER: Side = Side::B;
pub(super) const RANDOMS: [[u8; 32]; 2] = [[1; 32], [2; 32]];
pub(super) const CHACHA: u16 = 0x1303;
pub(super) const CERTIFICATE: &[u8] = b"\x0b\0\0\x0c\0\0\0\x08\0\0\x03der\0\0";
pub(super) const EMPTY: &[u8] = b"\x0b\0\0\x04\0\0\0\0";
pub(super) const VERIFY: &[u8] = b"\x0f\0\0\x08\x08\x04\0\x04sign";
pub(super) const FINISHED: &[u8] = &[20, 0, 0, 4, 9, 9, 9, 9];
pub(super) const REQUEST: &[u8] = b"\x0d\0\0\x03\0\0\0";
pub(super) const TICKET: &[u8] = b"\x04\0\0\x02xx";
pub(super) const KEY_UPDATE: &[u8] = &[24, 0, 0, 1, 0];
pub(super) const H2: &[u8] = b"\x08\0\0\x0b\0\x09\0\x10\0\x05\0\x03\x02h2";
pub(super) const H2_EARLY: &[u8] = b"\x08\0\0\x0f\0\x0d\0\x10\0\x05\0\x03\x02h2\0\x2a\0\0";
pub(super) const END_OF_EARLY_DATA: &[u8] = &[5, 0, 0, 0];

/// What came out, per side; `!` for a gap.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tape(pub(super) [Vec<u8>; 2]);

impl Plaintext for Tape {
    fn read(&mut self, side: Side, bytes: &[u8], _: i64) {
        self.0[side.index()].extend(bytes);
    }
    fn gap(&mut self, side: Side) {
        self.0[side.index()].push(b'!');
    }
    fn wants(&self, _: Side) -> bool {
        true
    }
}

impl Tape {
    pub(super) fn said(&self, side: Side) -> &str {
        std::str::from_utf8(&self.0[side.index()]).expect("it is text")
    }
}

pub(super) fn secret(of: u8) -> Vec<u8> {
    vec![of; 32]
}

/// A connection as it goes over the wire. Secrets: 1 early, 2 and 3 handshake, 4 and 5 application.
pub(super) struct Wire {
    pub(super) sent: Vec<(Side, Vec<u8>)>,
    pub(super) early: Sender,
    pub(super) handshake: [Sender; 2],
    pub(super) application: [Sender; 2],
    pub(super) piece: usize,
    pub(super) zeros: usize,
}

impl Wire {
    pub(super) fn new(hello_extensions: &[u8]) -> Wire {
        let sender = |of| Sender::modern(CHACHA, &secret(of));
        let mut wire = Wire {
            sent: Vec::new(),
            early: sender(1),
            handshake: [sender(2), sender(3)],
            application: [sender(4), sender(5)],
            piece: usize::MAX,
            zeros: 0,
        };
        wire.clear(
            CLIENT,
            1,
            &[b"\0\x2b\0\x03\x02\x03\x04\0\x10\0\x05\0\x03\x02h2", hello_extensions].concat(),
        );
        wire
    }

    /// A hello in clear.
    pub(super) fn clear(&mut self, side: Side, kind: u8, extensions: &[u8]) {
        let suites: &[u8] = if kind == 1 { &[0, 2, 0x13, 3, 1, 0] } else { &[0x13, 3, 0] };
        let length = |bytes: &[u8]| u16::try_from(bytes.len()).expect("short").to_be_bytes();
        let random = RANDOMS[side.index()];
        let body = [&[3, 3][..], &random, &[0], suites, &length(extensions), extensions].concat();
        let message = [&[kind, 0][..], &length(&body), &body].concat();
        self.sent.push((side, [&[22, 3, 3][..], &length(&message), &message].concat()));
    }

    pub(super) fn server_hello(&mut self) {
        self.clear(SERVER, 2, b"\0\x2b\0\x02\x03\x04");
    }

    /// Handshake messages under handshake keys, in records of at most `piece` bytes.
    pub(super) fn flight(&mut self, side: Side, messages: &[&[u8]]) {
        for piece in messages.concat().chunks(self.piece.min(1 << 14)) {
            let record = self.handshake[side.index()].seal(Kind::Handshake, piece, self.zeros);
            self.sent.push((side, record));
        }
    }

    pub(super) fn after(&mut self, side: Side, kind: Kind, content: &[u8]) {
        let record = self.application[side.index()].seal(kind, content, self.zeros);
        self.sent.push((side, record));
    }

    pub(super) fn say(&mut self, side: Side, text: &str) {
        self.after(side, Kind::ApplicationData, text.as_bytes());
    }

    /// Everything up to both Finished; the server asks, the client answers with this.
    pub(super) fn handshake(&mut self, extensions: &[u8], answer: &[&[u8]]) {
        self.server_hello();
        let request: &[u8] = if answer.is_empty() { b"" } else { REQUEST };
        self.flight(SERVER, &[extensions, request, CERTIFICATE, VERIFY, FINISHED]);
        self.sent.push((CLIENT, vec![20, 3, 3, 0, 1, 1]));
        self.flight(CLIENT, &[answer.concat().as_slice(), FINISHED]);
    }

    pub(super) fn read(&self, secrets: &[u8], sizes: &[usize]) -> (Evidence, Tape) {
        read(&self.sent, Arc::new(store(secrets)), sizes)
    }
}

/// A key log with some of the secrets.
pub(super) fn store(secrets: &[u8]) -> KeyStore {
    let store = KeyStore::default();
    store.add(&log(secrets));
    store
}

pub(super) fn log(secrets: &[u8]) -> Vec<u8> {
    let lines = secrets.iter().map(|&of| {
        let label = match of {
            1 => "CLIENT_EARLY_TRAFFIC_SECRET",
            2 => "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
            3 => "SERVER_HANDSHAKE_TRAFFIC_SECRET",
            4 => "CLIENT_TRAFFIC_SECRET_0",
            _ => "SERVER_TRAFFIC_SECRET_0",
        };
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        format!("{label} {} {}\n", hex(&RANDOMS[0]), hex(&secret(of)))
    });
    lines.collect::<String>().into_bytes()
}

pub(super) fn read(sent: &[(Side, Vec<u8>)], keys: Arc<KeyStore>, sizes: &[usize]) -> (Evidence, Tape) {
    let (mut parser, mut tape, mut stream) = (Parser::with_keys(keys), Tape::default(), Stream::default());
    for (at, (side, piece)) in (0i64..).zip(cut(sent, sizes)) {
        stream.lend(side, piece, |side, bytes| parser.advance(side, bytes, at * 1_000_000, &mut tape));
    }
    (parser.evidence().clone(), tape)
}
