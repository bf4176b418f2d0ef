//! Names that an attacker would choose, and everything that can bear a name.

use rcgen::{CertificateParams, DnType, KeyPair};

use crate::common::pcap::{Connection, Pcap, client_hello, datagram};

/// Names as bytes on the wire.
pub fn names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = vec![
        b"\x1b[31mred\x1b[2J\x1b]8;;http://evil\x1b\\link\x07".to_vec(),
        "\u{9b}31m\u{9d}8;;x\u{9c}\u{85}next".into(),
        b"a\r\nflowaudit: forged\r\n\0\x08\x7f".to_vec(),
        "\u{202e}fdp.exe\u{2066}\u{200b}\u{feff}\u{e0041}\u{2028}".into(),
        b"\xff\xfe\xc3(\xed\xa0\x80".to_vec(),
        b"\",\"=1+1\",\"x".to_vec(),
        vec![b'a'; 9000],
        "\u{202e}".repeat(2500).into(),
    ];
    let formulas =
        ["=cmd|' /C calc'!A1", "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "＝1", "＋1", "－1", "＠1"];
    names.extend(formulas.map(Vec::from));
    names
}

/// The same as text that a file of an operator may hold, no longer than a cell may be.
pub fn words() -> Vec<String> {
    // A cell with a parenthesis names a component.
    let fits = |c: &char| !['\u{fffd}', '('].contains(c);
    let text = |name: Vec<u8>| String::from_utf8_lossy(&name).chars().filter(fits).take(250).collect();
    names().into_iter().map(text).filter(|word: &String| !word.is_empty()).collect()
}

/// A capture in which every protocol says every name; the servers are 10.0.4.1 and so on.
pub fn capture() -> Vec<u8> {
    let mut packets = Vec::new();
    for (at, name) in (1..).zip(names()) {
        let server = [10, 0, 4, at];
        for (port, turns) in (8000..).zip(conversations(&name)) {
            let mut connection = Connection::open(server, port);
            for (side, payload) in turns {
                connection.say(side, &payload);
            }
            packets.extend(connection.packets);
        }
        packets.push(datagram(server, 53, &dns(&name)));
        packets.push(datagram(server, 514, &[b"<13>Sep 12 19:16:12 ", &name[..], b" logger: test"].concat()));
    }
    Pcap::of(&packets).bytes()
}

/// What both sides say, 0 for the client, in every protocol that rests on TCP.
fn conversations(name: &[u8]) -> Vec<Vec<(usize, Vec<u8>)>> {
    let join = |parts: &[&[u8]]| parts.concat();
    let request =
        join(&[b"GET /", name, b" HTTP/1.1\r\nHost: ", name, b"\r\nUser-Agent: ", name, b"\r\n\r\n"]);
    let bind = join(&[&[2, 1, 3, 4, 0, 0xa3], &ber(&join(&[&[4], &ber(name)]))]);
    vec![
        vec![(0, client_hello(name, &[name.get(..250).unwrap_or(name), b"h2"])), (1, server_hello(name))],
        vec![(0, request), (1, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec())],
        vec![(0, http2(name))],
        vec![
            (1, join(&[b"INFO {\"server_name\":\"", name, b"\"}\r\n"])),
            (0, join(&[b"CONNECT {\"user\":\"", name, b"\"}\r\nPUB ", name, b" 0\r\n\r\n"])),
        ],
        vec![(1, mysql(name))],
        vec![(0, join(&[b"SSH-2.0-", name, b"\r\n"])), (1, join(&[b"SSH-2.0-", name, b"\r\n"]))],
        vec![(0, join(&[&[0x30], &ber(&join(&[&[2, 1, 1, 0x60], &ber(&bind)]))]))],
        vec![(0, join(&[b"<13>1 - ", name, b" ", name, b" - - - text\n"]))],
        vec![(0, name.to_vec())],
    ]
}

/// A ServerHello and a certificate with this name, twice (RFC 5246 sections 7.4.1.3 and 7.4.2).
fn server_hello(name: &[u8]) -> Vec<u8> {
    let certificate = certificate(name);
    let hello = [&[3, 3][..], &[7; 32], &[0, 0xc0, 0x2f, 0]].concat();
    let chain = length24(&length24(&certificate));
    let messages = [(2, hello), (11, chain), (14, Vec::new())]
        .map(|(kind, body)| [vec![kind], length24(&body)].concat());
    let records = messages.concat();
    records.chunks(1 << 14).flat_map(|record| [&[22, 3, 3], &length16(record)[..]].concat()).collect()
}

/// A certificate with this name. It is put in place of another of the same length, which no signature minds that
/// nobody checks.
fn certificate(name: &[u8]) -> Vec<u8> {
    let held = "p".repeat(name.len());
    let mut params = CertificateParams::new(vec![held.clone()]).expect("letters make a name");
    params.distinguished_name.push(DnType::CommonName, held.as_str());
    let signed = params.self_signed(&KeyPair::generate().expect("a key")).expect("it signs");
    let mut der = signed.der().to_vec();
    for at in 0..=der.len() - name.len() {
        if der[at..at + name.len()] == *held.as_bytes() {
            der[at..at + name.len()].copy_from_slice(name);
        }
    }
    der
}

/// A preface, SETTINGS and the headers of a request (RFC 9113, RFC 7541 section 6.2.1).
fn http2(name: &[u8]) -> Vec<u8> {
    let name = name.get(..100).unwrap_or(name);
    let length = name.len() as u8;
    let block = [&[0x82, 0x86, 0x41, length], name, &[0x44, length + 1, b'/'], name].concat();
    let frame = |kind: u8, flags: u8, stream: u8, body: &[u8]| {
        [&[0, 0, body.len() as u8, kind, flags, 0, 0, 0, stream], body].concat()
    };
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &[]), frame(1, 5, 1, &block)].concat()
}

/// A server's greeting with this version (dev.mysql.com, "Protocol::HandshakeV10").
fn mysql(name: &[u8]) -> Vec<u8> {
    let name = name.get(..500).unwrap_or(name);
    let rest = b"\0\x08\0\0\0aaaaaaaa\0\xff\xff\x21\x02\0\xf7\xdf\x15\0\0\0\0\0\0\0\0\0\0bbbbbbbb";
    let body = [b"\x0a", name, rest].concat();
    [&[body.len() as u8, (body.len() >> 8) as u8, 0, 0], &body[..]].concat()
}

/// A question for an address of this name, as one label.
fn dns(name: &[u8]) -> Vec<u8> {
    let label = name.get(..63).unwrap_or(name);
    [b"\0\x01\x01\0\0\x01\0\0\0\0\0\0", &[label.len() as u8][..], label, b"\x03org\0\0\x01\0\x01"].concat()
}

/// A length as BER has it, and what it is of (X.690 section 8.1.3).
fn ber(body: &[u8]) -> Vec<u8> {
    [&[0x82, (body.len() >> 8) as u8, body.len() as u8], body].concat()
}

fn length16(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u16).to_be_bytes(), body].concat()
}

fn length24(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes()[1..], body].concat()
}
