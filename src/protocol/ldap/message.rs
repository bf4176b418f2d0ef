//! One LDAPMessage (RFC 4511 section 4.1.1): its BER envelope, and what of the operation matters here.

use crate::protocol::cursor::Cursor;

/// The longest message passed over, in bytes.
pub const MESSAGE_CAP: usize = 64 << 20;
/// The longest part of an operation that is read: a name, a mechanism, an OID.
pub const READ_CAP: usize = 3072;
/// The longest SASL mechanism kept, in bytes (RFC 4422 section 3.1 allows 20).
pub const MECHANISM_CAP: usize = 32;

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// What matters of it is not all there.
    Short,
    /// They break a rule.
    Malformed,
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its length in bytes, envelope included.
    pub length: usize,
    /// The messageID.
    pub id: u32,
    /// What it asks or answers.
    pub operation: Operation<'a>,
}

/// What a message asks or answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    /// bindRequest.
    Bind(Bind<'a>),
    /// bindResponse, with its result code.
    BindResponse(u8),
    /// extendedRequest for StartTLS.
    StartTls,
    /// extendedResponse, with its result code.
    ExtendedResponse(u8),
    /// Any other request.
    Request,
    /// Any other response.
    Response,
}

/// How a client binds (RFC 4511 section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bind<'a> {
    /// Simple, without a password or without a name: anonymous or unauthenticated (RFC 4513 section 5.1).
    Anonymous,
    /// Simple, with a name and a password.
    Password,
    /// SASL, with the mechanism's name.
    Sasl(&'a [u8]),
    /// Microsoft's own choices 9 to 11 (MS-ADTS section 5.1.1.1.3).
    Sicily,
}

/// Reads the first message.
pub fn read(bytes: &[u8]) -> Result<Message<'_>, Fault> {
    let mut cursor = Cursor::new(bytes);
    let content = expect(&mut cursor, SEQUENCE)?;
    let length = bytes.len() - cursor.rest().len() + content;
    if content > MESSAGE_CAP {
        return Err(Fault::Malformed);
    }
    let before = cursor.rest().len();
    let id_length = expect(&mut cursor, INTEGER)?;
    if !(1..=4).contains(&id_length) {
        return Err(Fault::Malformed);
    }
    let id = cursor.take(id_length).ok_or(Fault::Short)?;
    let id = id.iter().fold(0_u32, |id, byte| id << 8 | u32::from(*byte));
    let tag = cursor.u8().ok_or(Fault::Short)?;
    if id > i32::MAX as u32 || !OPERATIONS.contains(&tag) {
        return Err(Fault::Malformed);
    }
    let body = length_of(&mut cursor)?;
    // Controls may follow the operation, nothing else.
    let used = before - cursor.rest().len() + body;
    if used > content || content - used == 1 {
        return Err(Fault::Malformed);
    }
    let captured = cursor.rest().get(..body).unwrap_or(cursor.rest());
    let operation = operation(tag, Cursor::new(captured), body)?;
    Ok(Message { length, id, operation })
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const ENUMERATED: u8 = 0x0a;

const BIND_REQUEST: u8 = 0x60;
const BIND_RESPONSE: u8 = 0x61;
const UNBIND_REQUEST: u8 = 0x42;
const SEARCH_REQUEST: u8 = 0x63;
const DELETE_REQUEST: u8 = 0x4a;
const ABANDON_REQUEST: u8 = 0x50;
const EXTENDED_REQUEST: u8 = 0x77;
const EXTENDED_RESPONSE: u8 = 0x78;
const SEARCH_ENTRY: u8 = 0x64;
const SEARCH_REFERENCE: u8 = 0x73;
const INTERMEDIATE: u8 = 0x79;

/// Every protocolOp of RFC 4511 section 4.1.1.
const OPERATIONS: [u8; 21] = [
    BIND_REQUEST,
    BIND_RESPONSE,
    UNBIND_REQUEST,
    SEARCH_REQUEST,
    SEARCH_ENTRY,
    0x65,
    SEARCH_REFERENCE,
    0x66,
    0x67,
    0x68,
    0x69,
    DELETE_REQUEST,
    0x6b,
    0x6c,
    0x6d,
    0x6e,
    0x6f,
    ABANDON_REQUEST,
    EXTENDED_REQUEST,
    EXTENDED_RESPONSE,
    INTERMEDIATE,
];

/// StartTLS (RFC 4511 section 4.14).
const START_TLS: &[u8] = b"1.3.6.1.4.1.1466.20037";

fn operation<'a>(tag: u8, mut body: Cursor<'a>, length: usize) -> Result<Operation<'a>, Fault> {
    match tag {
        BIND_REQUEST => bind(body),
        UNBIND_REQUEST => requires(length == 0, Operation::Request),
        ABANDON_REQUEST => requires((1..=4).contains(&length), Operation::Request),
        DELETE_REQUEST => requires(length <= READ_CAP, Operation::Request),
        INTERMEDIATE => Ok(Operation::Response),
        SEARCH_REQUEST => {
            string(&mut body, OCTETS)?;
            let (scope, aliases) = (enumerated(&mut body)?, enumerated(&mut body)?);
            requires(scope <= 3 && aliases <= 3, Operation::Request)
        }
        EXTENDED_REQUEST => {
            let name = string(&mut body, 0x80)?;
            let plain = !name.is_empty() && name.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
            requires(plain, if name == START_TLS { Operation::StartTls } else { Operation::Request })
        }
        SEARCH_ENTRY | SEARCH_REFERENCE => {
            expect(&mut body, OCTETS)?;
            Ok(Operation::Response)
        }
        // Modify, add, modify DN and compare begin with a name.
        0x66 | 0x68 | 0x6c | 0x6e => {
            expect(&mut body, OCTETS)?;
            Ok(Operation::Request)
        }
        // Everything else is an LDAPResult (RFC 4511 section 4.1.9): code, name, text.
        _ => {
            let code = enumerated(&mut body)?;
            expect(&mut body, OCTETS)?;
            Ok(match tag {
                BIND_RESPONSE => Operation::BindResponse(code),
                EXTENDED_RESPONSE => Operation::ExtendedResponse(code),
                _ => Operation::Response,
            })
        }
    }
}

fn bind(mut body: Cursor<'_>) -> Result<Operation<'_>, Fault> {
    let version_length = expect(&mut body, INTEGER)?;
    let version = body.u8().ok_or(Fault::Short)?;
    if version_length != 1 || !(1..=3).contains(&version) {
        return Err(Fault::Malformed);
    }
    let named = !string(&mut body, OCTETS)?.is_empty();
    let choice = body.u8().ok_or(Fault::Short)?;
    let length = length_of(&mut body)?;
    let bind = match choice {
        0x80 if named && length > 0 => Bind::Password,
        0x80 => Bind::Anonymous,
        0xa3 => {
            let mechanism = string(&mut body, OCTETS)?;
            let plain = mechanism.iter().all(|byte| byte.is_ascii_graphic());
            if !plain || mechanism.is_empty() || mechanism.len() > MECHANISM_CAP {
                return Err(Fault::Malformed);
            }
            Bind::Sasl(mechanism)
        }
        0x89..=0x8b => Bind::Sicily,
        _ => return Err(Fault::Malformed),
    };
    Ok(Operation::Bind(bind))
}

fn requires<'a>(it: bool, operation: Operation<'a>) -> Result<Operation<'a>, Fault> {
    if it { Ok(operation) } else { Err(Fault::Malformed) }
}

/// An element with this tag, whole.
fn string<'a>(cursor: &mut Cursor<'a>, tag: u8) -> Result<&'a [u8], Fault> {
    let length = expect(cursor, tag)?;
    if length > READ_CAP {
        return Err(Fault::Malformed);
    }
    cursor.take(length).ok_or(Fault::Short)
}

fn enumerated(cursor: &mut Cursor<'_>) -> Result<u8, Fault> {
    match expect(cursor, ENUMERATED)? {
        1 => cursor.u8().ok_or(Fault::Short),
        _ => Err(Fault::Malformed),
    }
}

/// A tag and the length of what follows it.
fn expect(cursor: &mut Cursor<'_>, tag: u8) -> Result<usize, Fault> {
    match cursor.u8() {
        Some(found) if found == tag => length_of(cursor),
        Some(_) => Err(Fault::Malformed),
        None => Err(Fault::Short),
    }
}

/// A definite length (RFC 4511 section 5.1 forbids the other) in at most four octets.
fn length_of(cursor: &mut Cursor<'_>) -> Result<usize, Fault> {
    match cursor.u8().ok_or(Fault::Short)? {
        short @ 0..=0x7f => Ok(usize::from(short)),
        long @ 0x81..=0x84 => {
            let octets = cursor.take(usize::from(long & 0x7f)).ok_or(Fault::Short)?;
            Ok(octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet)))
        }
        _ => Err(Fault::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn operation_of(bytes: &[u8]) -> Result<Operation<'_>, Fault> {
        read(bytes).map(|message| message.operation)
    }

    #[test]
    fn tells_binds_apart() {
        for (bytes, bind) in [
            (&b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\0\x80\0"[..], Bind::Anonymous),
            (b"\x30\x0e\x02\x01\x01\x60\x09\x02\x01\x03\x04\x02cn\x80\0", Bind::Anonymous),
            (b"\x30\x10\x02\x01\x01\x60\x0b\x02\x01\x03\x04\x02cn\x80\x02pw", Bind::Password),
            (b"\x30\x0e\x02\x01\x01\x60\x09\x02\x01\x03\x04\0\x80\x02pw", Bind::Anonymous),
            (b"\x30\x14\x02\x01\x01\x60\x0f\x02\x01\x03\x04\0\xa3\x08\x04\x06GSSAPI", Bind::Sasl(b"GSSAPI")),
            (b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\0\x89\0", Bind::Sicily),
        ] {
            assert_eq!(operation_of(bytes), Ok(Operation::Bind(bind)));
            assert_eq!(read(bytes).map(|message| message.length), Ok(bytes.len()));
        }
    }

    #[test]
    fn reads_lengths_as_active_directory_writes_them() {
        let bytes = b"\x30\x84\0\0\0\x10\x02\x01\x05\x61\x84\0\0\0\x07\x0a\x01\x31\x04\0\x04\0";
        let expected = Message { length: 22, id: 5, operation: Operation::BindResponse(49) };
        assert_eq!(read(bytes), Ok(expected));
    }

    #[test]
    fn reads_start_tls_and_the_answer() {
        let request = [&b"\x30\x1d\x02\x01\x01\x77\x18\x80\x16"[..], START_TLS].concat();
        assert_eq!(operation_of(&request), Ok(Operation::StartTls));
        let answer = b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\0\x04\0\x04\0";
        assert_eq!(operation_of(answer), Ok(Operation::ExtendedResponse(0)));
    }

    #[test]
    fn refuses_what_breaks_a_rule() {
        for other in [
            // SNMP v1 and v3.
            &b"\x30\x29\x02\x01\0\x04\x06public\xa0\x1c"[..],
            b"\x30\x3e\x02\x01\x03\x30\x11\x02\x04",
            // An operation longer than its message, and one that leaves a byte.
            b"\x30\x05\x02\x01\x03\x42\x01\0",
            b"\x30\x06\x02\x01\x03\x42\0\xa0",
            b"\x30\x80\x02\x01\x03\x42\0",
            b"\x30\x08\x02\x04\xff\0\0\0\x42\0",
            b"GET / HTTP/1.1\r\n",
        ] {
            assert_eq!(operation_of(other), Err(Fault::Malformed), "{other:x?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(
            bytes: Vec<u8>, tag in proptest::sample::select(&OPERATIONS[..]), id: u8,
        ) {
            let _ = read(&bytes);
            let length = u8::try_from(bytes.len().min(100)).unwrap();
            let mut framed = vec![SEQUENCE, length + 5, INTEGER, 1, id, tag, length];
            framed.extend(&bytes);
            if let Ok(message) = read(&framed) {
                prop_assert_eq!(message.length, usize::from(length) + 7);
            }
        }

        #[test]
        fn a_message_is_short_until_it_is_told(name in "[a-z]{0,40}", password in "[a-z]{0,40}") {
            let mut body = vec![INTEGER, 1, 3, OCTETS, name.len() as u8];
            body.extend(name.as_bytes());
            body.extend([0x80, password.len() as u8]);
            body.extend(password.as_bytes());
            let mut bytes = vec![SEQUENCE, body.len() as u8 + 5, INTEGER, 1, 9, BIND_REQUEST, body.len() as u8];
            bytes.extend(&body);
            let told = bytes.len() - password.len();
            for end in 0..bytes.len() {
                let read = read(&bytes[..end]).map(|message| message.id);
                prop_assert_eq!(read, if end < told { Err(Fault::Short) } else { Ok(9) });
            }
        }
    }
}
