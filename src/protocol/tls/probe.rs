//! Whether bytes are TLS: from the first byte of a connection, or from its middle.

use super::alert;
use super::record::{HEADER, Header, Kind, MAX_CLEAR};
use crate::protocol::Probe;
use crate::protocol::cursor::Cursor;

/// Headers in a row that make a connection whose beginning was not captured TLS beyond doubt.
const CHAIN: usize = 3;
/// The least fragment an authenticated cipher leaves of an application-data record.
const LEAST_PROTECTED: u16 = 17;
/// The longest SSL 2.0 ClientHello believed: 9 bytes, 16 of session id, 32 of challenge, ciphers.
const SSL2_MAX: usize = 1024;

/// Whether `bytes`, the first that one side sent, begin a TLS connection.
///
/// Accepted are a ClientHello or a ServerHello in a handshake record, a ClientHello in SSL 2.0 format
/// (RFC 5246 appendix E.2), and an alert in clear, which is all that some servers answer.
pub fn probe(bytes: &[u8]) -> Probe {
    if bytes.first().is_some_and(|first| first & 0x80 != 0) {
        return probe_ssl2(bytes);
    }
    let header = match Header::read(bytes) {
        Ok(Some(header)) => header,
        Ok(None) => return Probe::Unsure,
        Err(_) => return Probe::NotForUs,
    };
    let body = bytes.get(HEADER..).unwrap_or_default();
    match header.kind {
        Kind::Handshake if (1..=MAX_CLEAR).contains(&header.length) => probe_hello(header.length, body),
        Kind::Alert if header.length == 2 => match *body {
            [1 | 2, description, ..] if alert::name(description).is_some() => Probe::Certain,
            [] | [1 | 2] => Probe::Unsure,
            _ => Probe::NotForUs,
        },
        _ => Probe::NotForUs,
    }
}

/// Whether `bytes`, from anywhere in a connection but at the front of a record, are TLS.
///
/// Certain are three plausible record headers in a row, two whole records that end with the bytes, or
/// one whole application-data record that does.
pub fn probe_midstream(bytes: &[u8]) -> Probe {
    let mut rest = bytes;
    let mut headers = 0;
    loop {
        let header = match Header::read(rest) {
            Ok(Some(header)) if plausible(header) => header,
            Ok(None) => return Probe::Unsure,
            _ => return Probe::NotForUs,
        };
        headers += 1;
        if headers == CHAIN {
            return Probe::Certain;
        }
        match rest.get(HEADER + usize::from(header.length)..) {
            None => return Probe::Unsure,
            Some([]) if headers == 2 || header.kind == Kind::ApplicationData => return Probe::Certain,
            Some(next) => rest = next,
        }
    }
}

/// Whether the record can stand in the middle of a connection of TLS 1.0 or later.
fn plausible(header: Header) -> bool {
    (0x0301..=0x0303).contains(&header.version)
        && match header.kind {
            Kind::ChangeCipherSpec => header.length == 1,
            Kind::Alert => header.length == 2 || header.length >= LEAST_PROTECTED,
            Kind::Handshake => header.length >= 4,
            Kind::ApplicationData => header.length >= LEAST_PROTECTED,
            Kind::Heartbeat => false,
        }
}

fn probe_hello(record: u16, body: &[u8]) -> Probe {
    let mut cursor = Cursor::new(body);
    match cursor.u8() {
        Some(1 | 2) => {}
        Some(_) => return Probe::NotForUs,
        None => return Probe::Unsure,
    }
    // A hello cut into records too short for its own header tells no more than this.
    if record < 6 {
        return Probe::Certain;
    }
    let Some(length) = cursor.u24() else { return Probe::Unsure };
    // Version, random, session id, one cipher suite, one compression method.
    if length < 38 || length > super::handshake::MESSAGE_CAP as u32 {
        return Probe::NotForUs;
    }
    match cursor.u16() {
        Some(0x0300..=0x0304) => Probe::Certain,
        Some(_) => Probe::NotForUs,
        None => Probe::Unsure,
    }
}

fn probe_ssl2(bytes: &[u8]) -> Probe {
    let mut cursor = Cursor::new(bytes);
    let Some(length) = cursor.u16().map(|length| usize::from(length & 0x7fff)) else { return Probe::Unsure };
    if length > SSL2_MAX || cursor.u8().is_some_and(|kind| kind != 1) {
        return Probe::NotForUs;
    }
    let Some(version) = cursor.u16() else { return Probe::Unsure };
    let (Some(ciphers), Some(session), Some(challenge)) = (cursor.u16(), cursor.u16(), cursor.u16()) else {
        return if ssl2_version(version) { Probe::Unsure } else { Probe::NotForUs };
    };
    let sizes = 9 + usize::from(ciphers) + usize::from(session) + usize::from(challenge);
    let consistent =
        ciphers % 3 == 0 && ciphers > 0 && matches!(session, 0 | 16) && (16..=32).contains(&challenge);
    if ssl2_version(version) && consistent && sizes == length { Probe::Certain } else { Probe::NotForUs }
}

fn ssl2_version(version: u16) -> bool {
    matches!(version, 0x0002 | 0x0300..=0x0303)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HELLO: &[u8] = &[22, 3, 1, 1, 0x8b, 1, 0, 1, 0x87, 3, 3, 0xaa];

    #[test]
    fn a_hello_is_certain_at_its_version_and_unsure_before() {
        for cut in 0..11 {
            assert_eq!(probe(&HELLO[..cut]), Probe::Unsure, "{cut}");
        }
        assert_eq!(probe(&HELLO[..11]), Probe::Certain);
        let mut server = HELLO.to_vec();
        server[5] = 2;
        assert_eq!(probe(&server), Probe::Certain);
    }

    #[test]
    fn other_handshake_messages_versions_and_text_are_not() {
        for (at, byte) in [(0, 23), (1, 2), (2, 5), (3, 0xff), (5, 11), (7, 0xff), (9, 4)] {
            let mut other = HELLO.to_vec();
            other[at] = byte;
            assert_eq!(probe(&other), if at == 7 { Probe::Certain } else { Probe::NotForUs }, "{at}");
        }
        assert_eq!(probe(b"GET / HTTP/1.1\r\n"), Probe::NotForUs);
        assert_eq!(probe(b"PRI * HTTP/2.0\r\n"), Probe::NotForUs);
    }

    #[test]
    fn an_alert_may_come_first() {
        assert_eq!(probe(&[21, 3, 1, 0, 2, 2, 70]), Probe::Certain);
        assert_eq!(probe(&[21, 3, 1, 0, 2, 2]), Probe::Unsure);
        assert_eq!(probe(&[21, 3, 1, 0, 2, 3, 70]), Probe::NotForUs);
        assert_eq!(probe(&[21, 3, 1, 0, 2, 2, 255]), Probe::NotForUs);
    }

    #[test]
    fn an_ssl2_hello_has_consistent_lengths() {
        let mut hello = vec![0x80, 28, 1, 3, 1, 0, 3, 0, 0, 0, 16];
        assert_eq!(probe(&hello), Probe::Certain);
        hello[1] = 29;
        assert_eq!(probe(&hello), Probe::NotForUs);
    }

    #[test]
    fn midstream_wants_a_chain_or_a_record_that_fills_the_segment() {
        let mut one = vec![23, 3, 3, 0, 20];
        one.extend([7; 20]);
        assert_eq!(probe_midstream(&one), Probe::Certain);
        assert_eq!(probe_midstream(&one[..24]), Probe::Unsure);
        let mut chain = one.clone();
        chain.push(0x55);
        assert_eq!(probe_midstream(&chain), Probe::NotForUs);
        chain.pop();
        chain.extend([20, 3, 3, 0, 1, 1, 22, 3, 3, 0, 40]);
        assert_eq!(probe_midstream(&chain), Probe::Certain);
        assert_eq!(probe_midstream(&[20, 3, 3, 0, 1, 1]), Probe::Unsure);
        assert_eq!(probe_midstream(&[23, 3, 3, 0xff, 0xff]), Probe::NotForUs);
    }

    proptest! {
        #[test]
        fn more_bytes_never_change_a_definite_answer(bytes in proptest::collection::vec(any::<u8>(), 0..64), cut in 0usize..64) {
            let cut = cut.min(bytes.len());
            let first = probe(&bytes[..cut]);
            if first != Probe::Unsure {
                prop_assert_eq!(first, probe(&bytes));
            }
            probe_midstream(&bytes);
        }
    }
}
