//! Handshakes for this room's tests: real hellos, hand-built messages, and connections written as text.

use super::{Evidence, Parser, Plaintext};
use crate::protocol::{Side, Step};

/// Nobody reads what keys open.
pub struct Unread;

impl Plaintext for Unread {
    fn read(&mut self, _: Side, _: &[u8], _: i64) {}
    fn gap(&mut self, _: Side) {}
    fn wants(&self, _: Side) -> bool {
        false
    }
}

/// rustls 0.23, to a GnuTLS server: TLS 1.3, `h2`, `localhost`.
pub(super) const CLIENT_HELLO: &[&str] = &[
    "16030100d8010000d403034f64ee050f0722128479ce536078d49a07a5c14fc0852188b5cab3e858a49ca220ed88a93b9e77",
    "5ecaa55536501861a0e896da6d27b7f121b024990d62baf121fe0002130101000089003300260024001d0020d8a0b9a1c2ce",
    "a11dad5305d93ddd598abe7f10d0208bd7e66a17cec144f09c1a002b0003020304001700000000000e000c0000096c6f6361",
    "6c686f7374001000050003026832000500050100000000000b00020100000d00140012050304030807080608050804060105",
    "010401002d00020101000a00080006001d00170018",
];
/// GnuTLS 3.7: its answer.
pub(super) const SERVER_HELLO: &[&str] = &[
    "160303007a02000076030323c2ff2c9a4cb3feff8c9430e9d8c9ee9819c6081932084c0a573016bdbb997120ed88a93b9e77",
    "5ecaa55536501861a0e896da6d27b7f121b024990d62baf121fe130100002e00330024001d0020e0c05ccdc83b66d061c964",
    "e755eb3a1dd4fdb8c10589b9bccd8212a6c4eb8a69002b00020304",
];
/// Go, to a GnuTLS client: TLS 1.2, 0xc02f, `h2`.
pub(super) const SERVER_HELLO_12: &[&str] = &[
    "160303004c0200004803037d566944a265298bc8b144b855185e1a468ea73b0bf453b30ba8d3f744a397d900c02f00002000",
    "230000ff0100010000170000001000050003026832000b0002010000000000",
];

/// One millisecond, in nanoseconds.
pub(super) const MS: i64 = 1_000_000;

pub(super) fn hex(lines: &[&str]) -> Vec<u8> {
    let digits = lines.concat();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex")).collect()
}

pub(super) fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, 3, 3];
    bytes.extend(u16::try_from(body.len()).expect("fits a record").to_be_bytes());
    bytes.extend(body);
    bytes
}

pub(super) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(body.len()).expect("fits a message").to_be_bytes().to_vec();
    bytes[0] = kind;
    bytes.extend(body);
    bytes
}

pub(super) fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.extend(u16::try_from(body.len()).expect("fits an extension").to_be_bytes());
    bytes.extend(body);
    bytes
}

/// A ClientHello message with these extensions.
pub(super) fn client_hello(extensions: &[u8]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 4, 0x13, 1, 0xc0, 0x2f, 1, 0]);
    body.extend(u16::try_from(extensions.len()).expect("fits").to_be_bytes());
    body.extend(extensions);
    message(1, &body)
}

/// A ServerHello message with this cipher suite and these extensions.
pub(super) fn server_hello(cipher: u16, extensions: &[u8]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([9; 32]);
    body.push(0);
    body.extend(cipher.to_be_bytes());
    body.push(0);
    body.extend(u16::try_from(extensions.len()).expect("fits").to_be_bytes());
    body.extend(extensions);
    message(2, &body)
}

/// What a connection written as text is told besides its records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Script<'a> {
    pub(super) cipher: u16,
    /// The server picked the client's pre-shared key.
    pub(super) psk: bool,
    pub(super) early_data: bool,
    pub(super) post_handshake_auth: bool,
    /// Protocols offered.
    pub(super) alpn: &'a [&'a str],
}

pub(super) const SHA256: Script =
    Script { cipher: 0x1301, psk: false, early_data: false, post_handshake_auth: false, alpn: &[] };
pub(super) const SHA384: Script = Script { cipher: 0x1302, ..SHA256 };

/// Plays a TLS 1.3 connection: `C22` and `S22` are hellos, `C:53` an application-data record, `C20:1`
/// one of another type, `Cfin` and `Crst` closes, `Cgap` a hole, `+900` a pause in milliseconds.
/// Every word but the pause takes a millisecond.
pub(super) fn play(script: Script, words: &str) -> Evidence {
    let mut parser = Parser::new();
    let mut at = 0;
    for word in words.split_whitespace() {
        if let Some(pause) = word.strip_prefix('+') {
            at += pause.parse::<i64>().expect("milliseconds") * MS;
            continue;
        }
        at += MS;
        let (who, what) = word.split_at(1);
        let side = if who == "C" { Side::A } else { Side::B };
        let bytes = match what.split_once(':') {
            _ if what == "fin" || what == "rst" => {
                parser.closed(side, what == "rst", at);
                continue;
            }
            _ if what == "gap" => {
                parser.gap(side, u64::MAX, &mut Unread);
                continue;
            }
            Some(("22", _)) | None => record(22, &hello(script, side)),
            Some((kind, length)) => {
                let kind = if kind.is_empty() { 23 } else { kind.parse().expect("record type") };
                let length: usize = length.parse().expect("length");
                let body = if kind == 21 && length == 2 { vec![2, 48] } else { vec![1; length] };
                record(kind, &body)
            }
        };
        feed(&mut parser, side, &bytes, at);
    }
    parser.evidence().clone()
}

fn hello(script: Script, side: Side) -> Vec<u8> {
    let mut extensions = extension(43, if side == Side::A { &[2, 3, 4] } else { &[3, 4] });
    if side == Side::B {
        if script.psk {
            extensions.extend(extension(41, &[0, 0]));
        }
        return server_hello(script.cipher, &extensions);
    }
    if script.early_data {
        extensions.extend(extension(42, &[]));
    }
    if script.post_handshake_auth {
        extensions.extend(extension(49, &[]));
    }
    if !script.alpn.is_empty() {
        let mut list = Vec::new();
        for name in script.alpn {
            list.push(u8::try_from(name.len()).expect("short"));
            list.extend(name.as_bytes());
        }
        let mut body = u16::try_from(list.len()).expect("short").to_be_bytes().to_vec();
        body.extend(list);
        extensions.extend(extension(16, &body));
    }
    client_hello(&extensions)
}

/// Lends bytes as the stream layer does: again what was not used, and nothing that may be skipped.
pub(super) fn feed(parser: &mut Parser, side: Side, bytes: &[u8], at: i64) -> Step {
    let mut rest = bytes;
    loop {
        let step = parser.advance(side, rest, at, &mut Unread);
        match step {
            Step::Skip { used, skip } => match rest.get(used + usize::try_from(skip).expect("small")..) {
                Some(next) if !next.is_empty() => rest = next,
                _ => return step,
            },
            _ => return step,
        }
    }
}
