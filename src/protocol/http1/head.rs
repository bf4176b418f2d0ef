//! The head of one HTTP/1 message: where it ends, how its body is framed, and what it says.

use std::mem::MaybeUninit;

use crate::protocol::authorization::{CredentialFields, Credentials};

/// The most header fields read in one head; a head with more is not read.
pub const FIELD_CAP: usize = 100;

/// The longest request line waited for, in bytes.
pub const LINE_CAP: usize = 16 * 1024;

/// What the first bytes of a message are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// A request line (RFC 9112 section 3).
    Request,
    /// A status line (RFC 9112 section 4).
    Response,
    /// Too few bytes to say.
    Unsure,
    /// Neither.
    Neither,
}

/// Reads the first line, as far as telling a request from a response needs it.
///
/// A request line is certain only once ` HTTP/1.x` and its line end were seen, which keeps RTSP, SIP
/// and NATS (`CONNECT {`, `PUB a 1`) out; a status line once its three digits were.
pub fn start(bytes: &[u8]) -> Start {
    const VERSION: &[u8] = b"HTTP/1.";
    if let Some(rest) = bytes.strip_prefix(VERSION) {
        return status_line(rest);
    }
    // A lone CR may be half of an empty line, which may stand before a message.
    if VERSION.starts_with(bytes) || bytes == b"\r" {
        return Start::Unsure;
    }
    request_line(bytes)
}

/// What follows `HTTP/1.` in a status line.
fn status_line(rest: &[u8]) -> Start {
    let shape: [fn(u8) -> bool; 5] = [
        |b| b == b'0' || b == b'1',
        |b| b == b' ',
        |b| (b'1'..=b'9').contains(&b),
        |b| b.is_ascii_digit(),
        |b| b.is_ascii_digit(),
    ];
    if !rest.iter().zip(shape).all(|(byte, fits)| fits(*byte)) {
        Start::Neither
    } else if rest.len() < shape.len() {
        Start::Unsure
    } else {
        Start::Response
    }
}

fn request_line(bytes: &[u8]) -> Start {
    const METHOD_CAP: usize = 24;
    let method = bytes
        .iter()
        .take(METHOD_CAP)
        .take_while(|b| b.is_ascii_uppercase() || matches!(b, b'-' | b'_'))
        .count();
    let (method, rest) = bytes.split_at(method);
    let Some(target) = rest.strip_prefix(b" ") else {
        return match rest.is_empty() && method.len() < METHOD_CAP {
            true => Start::Unsure,
            false => Start::Neither,
        };
    };
    let target_starts = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'*' | b'[');
    match target.first() {
        _ if method.is_empty() || method.len() == METHOD_CAP => return Start::Neither,
        None => return Start::Unsure,
        Some(first) if !target_starts(*first) => return Start::Neither,
        Some(_) => {}
    }
    let within_cap = bytes.get(..LINE_CAP).unwrap_or(bytes);
    let end = memchr::memchr(b'\n', within_cap);
    let line = end.map_or(within_cap, |end| &within_cap[..end]);
    // Asked of a whole line too: what a beginning rules out, the rest does not bring back.
    if !line.iter().all(|b| *b >= b' ' || *b == b'\r') {
        return Start::Neither;
    }
    if end.is_none() {
        return if bytes.len() < LINE_CAP { Start::Unsure } else { Start::Neither };
    }
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0") {
        true => Start::Request,
        false => Start::Neither,
    }
}

/// Finds the end of a head, past its empty line, looking only from `scanned` on.
///
/// `Err` has the offset to look from when more bytes came. A bare LF ends a line too, as it does in
/// httparse (RFC 9112 section 2.2).
pub fn end(bytes: &[u8], scanned: usize) -> Result<usize, usize> {
    let mut at = scanned;
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr::memchr(b'\n', rest)) {
        let newline = at + found;
        match (bytes.get(newline + 1), bytes.get(newline + 2)) {
            (Some(b'\n'), _) => return Ok(newline + 2),
            (Some(b'\r'), Some(b'\n')) => return Ok(newline + 3),
            (None, _) | (Some(b'\r'), None) => return Err(newline),
            _ => at = newline + 1,
        }
    }
    Err(bytes.len())
}

/// Where a message ends (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// That many bytes follow the head.
    Length(u64),
    /// Chunks follow.
    Chunked,
    /// Everything until the connection closes.
    UntilClose,
    /// Two readers could disagree about it: the shape of request smuggling (RFC 9112 section 11.2).
    Ambiguous,
}

/// A protocol named in `Upgrade` (RFC 9110 section 7.8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Upgrade {
    /// No `Upgrade` field.
    #[default]
    None,
    /// `websocket` (RFC 6455).
    WebSocket,
    /// `h2c` (RFC 7540 section 3.2).
    H2c,
    /// Anything else.
    Other,
}

/// How a request bears on its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Neither of the others, or not known.
    #[default]
    Other,
    /// HEAD: the answer has no body.
    Head,
    /// CONNECT: a 2xx answer opens a tunnel.
    Connect,
}

/// What a request head says.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// How its answer is framed.
    pub kind: Kind,
    /// Its credentials.
    pub credentials: Credentials,
    /// Where its body ends; never [`Framing::UntilClose`].
    pub framing: Framing,
    /// What it asks to upgrade to.
    pub upgrade: Upgrade,
    /// `Host`, raw.
    pub host: Option<&'a [u8]>,
}

/// What a response head says.
#[derive(Clone, Copy, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Where its body ends, for a request that was neither HEAD nor CONNECT.
    pub framing: Framing,
    /// What it upgrades to.
    pub upgrade: Upgrade,
    /// Its content type is `text/event-stream`.
    pub event_stream: bool,
}

/// Reads a whole request head; `None` if httparse refuses it or it has over [`FIELD_CAP`] fields.
pub fn request(head: &[u8]) -> Option<Request<'_>> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELD_CAP];
    let mut parsed = httparse::Request::new(&mut []);
    let done = parsed.parse_with_uninit_headers(head, &mut fields).ok()?;
    if !done.is_complete() {
        return None;
    }
    let kind = match parsed.method? {
        "HEAD" => Kind::Head,
        "CONNECT" => Kind::Connect,
        _ => Kind::Other,
    };
    let mut credentials = CredentialFields::default();
    credentials.target(parsed.path.unwrap_or_default().as_bytes());
    let mut host = None;
    for field in &*parsed.headers {
        credentials.field(field.name.as_bytes(), field.value);
        if host.is_none() && field.name.eq_ignore_ascii_case("host") && !field.value.is_empty() {
            host = Some(field.value);
        }
    }
    let lengths = Lengths::of(parsed.headers);
    let framing = match lengths {
        // A receiver of HTTP/1.0 may not know of chunks (RFC 9112 section 6.1).
        Lengths { coding: Some(_), .. } if parsed.version? == 0 => Framing::Ambiguous,
        Lengths { coding: Some(_), length: Some(_), .. } => Framing::Ambiguous,
        Lengths { malformed: true, .. } => Framing::Ambiguous,
        Lengths { coding: Some(true), .. } => Framing::Chunked,
        Lengths { coding: Some(false), .. } => Framing::Ambiguous,
        Lengths { length, .. } => Framing::Length(length.unwrap_or(0)),
    };
    Some(Request {
        kind,
        credentials: credentials.credentials(),
        framing,
        upgrade: upgrade(parsed.headers),
        host,
    })
}

/// Reads a whole response head; `None` if httparse refuses it or it has over [`FIELD_CAP`] fields.
pub fn response(head: &[u8]) -> Option<Response> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELD_CAP];
    let mut parsed = httparse::Response::new(&mut []);
    let done = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut parsed, head, &mut fields)
        .ok()?;
    if !done.is_complete() {
        return None;
    }
    let status = parsed.code?;
    let framing = match Lengths::of(parsed.headers) {
        _ if matches!(status, 100..=199 | 204 | 304) => Framing::Length(0),
        Lengths { coding: Some(_), length: Some(_), .. } => Framing::Ambiguous,
        Lengths { malformed: true, .. } => Framing::Ambiguous,
        Lengths { coding: Some(true), .. } => Framing::Chunked,
        Lengths { length: Some(length), .. } => Framing::Length(length),
        _ => Framing::UntilClose,
    };
    let event_stream = parsed.headers.iter().any(|field| {
        let media_type = field.value.split(|b| *b == b';').next().unwrap_or_default();
        field.name.eq_ignore_ascii_case("content-type")
            && media_type.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
    });
    Some(Response { status, framing, upgrade: upgrade(parsed.headers), event_stream })
}

/// What the fields say about the length of the body.
#[derive(Clone, Copy, Default)]
struct Lengths {
    /// `Content-Length`, the same in every place it stands.
    length: Option<u64>,
    /// There is a `Transfer-Encoding`; whether `chunked` is its last coding and stands there once.
    coding: Option<bool>,
    /// Lengths that are no numbers or that differ.
    malformed: bool,
}

impl Lengths {
    fn of(fields: &[httparse::Header<'_>]) -> Lengths {
        let mut found = Lengths::default();
        for field in fields {
            if field.name.eq_ignore_ascii_case("content-length") {
                for element in field.value.split(|b| *b == b',') {
                    let length = decimal(element.trim_ascii());
                    found.malformed |= length.is_none() || (found.length.is_some() && found.length != length);
                    found.length = found.length.or(length);
                }
            } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
                for coding in field.value.split(|b| *b == b',') {
                    let chunked = coding.trim_ascii().eq_ignore_ascii_case(b"chunked");
                    // Nothing may follow `chunked`, not even another one.
                    found.malformed |= found.coding == Some(true);
                    found.coding = Some(chunked);
                }
            }
        }
        found
    }
}

/// A number of decimal digits only; `None` on anything else or on overflow.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, digit| {
        let value = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        sum.checked_mul(10)?.checked_add(value)
    })
}

fn upgrade(fields: &[httparse::Header<'_>]) -> Upgrade {
    let mut found = Upgrade::None;
    for field in fields {
        if !field.name.eq_ignore_ascii_case("upgrade") {
            continue;
        }
        for protocol in field.value.split(|b| *b == b',') {
            let protocol = protocol.trim_ascii();
            if protocol.eq_ignore_ascii_case(b"websocket") {
                return Upgrade::WebSocket;
            }
            if protocol.eq_ignore_ascii_case(b"h2c") {
                found = Upgrade::H2c;
            } else if found == Upgrade::None {
                found = Upgrade::Other;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tells_requests_from_responses_and_from_other_protocols() {
        assert_eq!(start(b"GET / HTTP/1.1\r\n"), Start::Request);
        assert_eq!(start(b"M-SEARCH * HTTP/1.1\r\n"), Start::Request);
        assert_eq!(start(b"CONNECT a.b:443 HTTP/1.1\r\n"), Start::Request);
        assert_eq!(start(b"GET / HTTP/1.0\n"), Start::Request);
        assert_eq!(start(b"HTTP/1.1 200"), Start::Response);
        for partial in ["", "\r", "H", "HTTP/1.1 20", "GET", "GET ", "GET /a b", "HEAD /"] {
            assert_eq!(start(partial.as_bytes()), Start::Unsure, "{partial}");
        }
        for other in [
            "CONNECT {\"verbose\"",
            "INFO {",
            "PING\r\n",
            "PUB a 1\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "OPTIONS rtsp://a RTSP/1.0\r\n",
            "SSH-2.0-x\r\n",
            "HTTP/2.0 200",
            "HTTP/1.1 abc",
            "get / HTTP/1.1\r\n",
            " / HTTP/1.1\r\n",
            "GET /\0\0",
            "GET /\0 HTTP/1.1\r\n",
            "AAAAAAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAAAAAAA / HTTP/1.1\r\n",
        ] {
            assert_eq!(start(other.as_bytes()), Start::Neither, "{other}");
        }
    }

    #[test]
    fn a_line_without_an_end_is_given_up_at_the_cap() {
        let mut long = b"GET /".to_vec();
        long.resize(LINE_CAP - 1, b'a');
        assert_eq!(start(&long), Start::Unsure);
        long.push(b'a');
        assert_eq!(start(&long), Start::Neither);
    }

    fn framing_of(fields: &str) -> Framing {
        let head = format!("POST / HTTP/1.1\r\n{fields}\r\n");
        request(head.as_bytes()).unwrap().framing
    }

    #[test]
    fn frames_bodies() {
        assert_eq!(framing_of(""), Framing::Length(0));
        assert_eq!(framing_of("content-LENGTH: 7\r\n"), Framing::Length(7));
        assert_eq!(framing_of("Content-Length: 7, 7\r\n"), Framing::Length(7));
        assert_eq!(framing_of("Transfer-Encoding: Chunked\r\n"), Framing::Chunked);
        assert_eq!(framing_of("Transfer-Encoding: gzip, chunked\r\n"), Framing::Chunked);
    }

    #[test]
    fn shapes_of_request_smuggling_are_ambiguous() {
        for fields in [
            "Content-Length: 7\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 7\r\nContent-Length: 8\r\n",
            "Content-Length: 7, 8\r\n",
            "Content-Length: +7\r\n",
            "Content-Length: \r\n",
            "Content-Length: 99999999999999999999999\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding: chunked, identity\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ] {
            assert_eq!(framing_of(fields), Framing::Ambiguous, "{fields}");
        }
        let old = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(request(old).unwrap().framing, Framing::Ambiguous);
        assert!(request(b"GET / HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n").is_none());
    }

    #[test]
    fn a_head_with_too_many_fields_is_refused() {
        let head = |fields: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(fields));
        assert!(request(head(FIELD_CAP).as_bytes()).is_some());
        assert!(request(head(FIELD_CAP + 1).as_bytes()).is_none());
    }

    #[test]
    fn reads_upgrades_and_event_streams() {
        let head = b"HTTP/1.1 101 x\r\nupgrade: WebSocket\r\nConnection: Upgrade\r\n\r\n";
        assert_eq!(response(head).unwrap().upgrade, Upgrade::WebSocket);
        let head = b"HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\n\r\n";
        let head = response(head).unwrap();
        assert!(head.event_stream);
        assert_eq!(head.framing, Framing::UntilClose);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>, scanned: usize) {
            start(&bytes);
            let _ = end(&bytes, scanned);
            request(&bytes);
            response(&bytes);
        }

        #[test]
        fn the_end_found_in_pieces_is_the_end_found_at_once(
            bytes in "[a\r\n]{0,24}", cut in 0_usize..24,
        ) {
            let bytes = bytes.as_bytes();
            let first = end(bytes.get(..cut).unwrap_or(bytes), 0);
            let pieces = first.or_else(|scanned| end(bytes, scanned));
            prop_assert_eq!(pieces, end(bytes, 0));
        }
    }
}
