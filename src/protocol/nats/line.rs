//! One line of the NATS client protocol: its verb, and what of its arguments matters here.

/// The longest line but INFO and CONNECT, in bytes (the server's own `max_control_line`).
pub const LINE_CAP: usize = 4096;

/// The longest INFO or CONNECT line, in bytes.
pub const JSON_CAP: usize = 64 * 1024;

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// `INFO {…}` from a server.
    Info(&'a [u8]),
    /// `CONNECT {…}` from a client.
    Connect(&'a [u8]),
    /// `PING`, either way.
    Ping,
    /// `PONG`, either way.
    Pong,
    /// `+OK` from a server.
    Ok,
    /// `-ERR '…'` from a server, with the text between the quotes.
    Err(&'a [u8]),
    /// `MSG` or `HMSG` from a server: so many bytes of payload follow, and a line end.
    Delivery(u64),
    /// `PUB` or `HPUB` from a client: so many bytes of payload follow, and a line end.
    Publication(u64),
    /// `SUB` or `UNSUB` from a client.
    Subscription,
}

/// What the first bytes lent are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read<'a> {
    /// A line of so many bytes, its line end included.
    Line(Line<'a>, usize),
    /// The start of a line.
    Partial,
    /// No line of this protocol, or one over its cap.
    Neither,
}

/// Reads the first line. Verbs compare without regard to case, lines end with CR LF.
pub fn read(bytes: &[u8]) -> Read<'_> {
    let verb_length = bytes
        .iter()
        .take(VERB_CAP + 1)
        .take_while(|b| b.is_ascii_alphabetic() || matches!(b, b'+' | b'-'))
        .count();
    let (verb, rest) = bytes.split_at(verb_length);
    if rest.is_empty() {
        let could_be = |known: &&[u8]| {
            let head = known.get(..verb.len());
            head.is_some_and(|head| head.eq_ignore_ascii_case(verb))
        };
        return match VERBS.iter().any(could_be) {
            true => Read::Partial,
            false => Read::Neither,
        };
    }
    if !VERBS.iter().any(|known| known.eq_ignore_ascii_case(verb)) {
        return Read::Neither;
    }
    let json = verb.eq_ignore_ascii_case(b"INFO") || verb.eq_ignore_ascii_case(b"CONNECT");
    if json && !starts_json(rest) {
        return Read::Neither;
    }
    let cap = if json { JSON_CAP } else { LINE_CAP };
    let within_cap = bytes.get(..cap).unwrap_or(bytes);
    // Of a part of a line as of all of it, so that it does not matter how it is cut.
    let plain = |text: &[u8]| json || text.iter().all(|b| *b >= b' ' || matches!(b, b'\r' | b'\t'));
    let Some(newline) = memchr::memchr(b'\n', within_cap) else {
        return match plain(rest) && bytes.len() < cap {
            true => Read::Partial,
            false => Read::Neither,
        };
    };
    let line = bytes.get(verb_length..newline).unwrap_or_default();
    let parsed = line.strip_suffix(b"\r").filter(|rest| plain(rest)).and_then(|rest| arguments(verb, rest));
    match parsed {
        Some(line) => Read::Line(line, newline + 1),
        None => Read::Neither,
    }
}

const VERB_CAP: usize = 7;

const VERBS: [&[u8]; 12] = [
    b"INFO", b"CONNECT", b"PING", b"PONG", b"+OK", b"-ERR", b"MSG", b"HMSG", b"PUB", b"HPUB", b"SUB",
    b"UNSUB",
];

/// Whether blanks and the brace of an object follow, as far as the bytes go: this is what tells a NATS
/// CONNECT from an HTTP one.
fn starts_json(rest: &[u8]) -> bool {
    let object = rest.trim_ascii_start();
    matches!(rest.first(), Some(b' ' | b'\t')) && matches!(object.first(), None | Some(b'{'))
}

fn arguments<'a>(verb: &[u8], rest: &'a [u8]) -> Option<Line<'a>> {
    let verb_is = |known: &[u8]| verb.eq_ignore_ascii_case(known);
    let mut words = [&[][..]; 6];
    let mut count = 0;
    if !(verb_is(b"INFO") || verb_is(b"CONNECT") || verb_is(b"-ERR")) {
        for word in rest.split(|b| *b == b' ' || *b == b'\t').filter(|word| !word.is_empty()) {
            if !word.iter().all(|b| *b > b' ' && *b != 0x7f) {
                return None;
            }
            *words.get_mut(count)? = word;
            count += 1;
        }
    }
    let words = words.get(..count)?;
    let payload = || words.last().and_then(|word| number(word));
    let blank = matches!(rest.first(), Some(b' ' | b'\t'));
    match count {
        _ if verb_is(b"INFO") => Some(Line::Info(rest.trim_ascii())),
        _ if verb_is(b"CONNECT") => Some(Line::Connect(rest.trim_ascii())),
        _ if verb_is(b"-ERR") => {
            let text = rest.trim_ascii().strip_prefix(b"'")?.strip_suffix(b"'")?;
            Some(Line::Err(text))
        }
        0 if verb_is(b"PING") => Some(Line::Ping),
        0 if verb_is(b"PONG") => Some(Line::Pong),
        0 if verb_is(b"+OK") => Some(Line::Ok),
        _ if !blank => None,
        3 | 4 if verb_is(b"MSG") => payload().map(Line::Delivery),
        4 | 5 if verb_is(b"HMSG") => payload().map(Line::Delivery),
        2 | 3 if verb_is(b"PUB") => payload().map(Line::Publication),
        3 | 4 if verb_is(b"HPUB") => payload().map(Line::Publication),
        2 | 3 if verb_is(b"SUB") => Some(Line::Subscription),
        1 if verb_is(b"UNSUB") => Some(Line::Subscription),
        2 if verb_is(b"UNSUB") => payload().map(|_| Line::Subscription),
        _ => None,
    }
}

/// A payload length: at most nine digits, as the server reads them.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, digit| {
        let value = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        Some(sum * 10 + value)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_every_verb() {
        let cases: [(&str, Line<'_>); 14] = [
            ("INFO {\"a\":1} \r\n", Line::Info(b"{\"a\":1}")),
            ("connect {}\r\n", Line::Connect(b"{}")),
            ("PING\r\n", Line::Ping),
            ("PONG \r\n", Line::Pong),
            ("+OK\r\n", Line::Ok),
            ("-ERR 'Stale Connection'\r\n", Line::Err(b"Stale Connection")),
            ("MSG a.b 9 11\r\n", Line::Delivery(11)),
            ("MSG a.b 9 reply 11\r\n", Line::Delivery(11)),
            ("HMSG a.b 9 12 23\r\n", Line::Delivery(23)),
            ("PUB a.b 0\r\n", Line::Publication(0)),
            ("HPUB a\treply 22 33\r\n", Line::Publication(33)),
            ("SUB a.* queue 44\r\n", Line::Subscription),
            ("UNSUB 1 5\r\n", Line::Subscription),
            ("Sub a 1\r\nmore", Line::Subscription),
        ];
        for (text, line) in cases {
            let length = text.find('\n').unwrap() + 1;
            assert_eq!(read(text.as_bytes()), Read::Line(line, length), "{text}");
        }
    }

    #[test]
    fn waits_for_the_rest_of_a_line() {
        for text in ["", "P", "pub", "PUB a", "INFO", "INFO ", "INFO {", "CONNECT {\r", "+O", "PING\r"] {
            assert_eq!(read(text.as_bytes()), Read::Partial, "{text}");
        }
    }

    #[test]
    fn refuses_other_protocols() {
        for text in [
            "CONNECT a:443 HTTP/1.1\r\n",
            "CONNECTED",
            "GET / HTTP/1.1\r\n",
            "PUBLISH",
            "PING\n",
            "PING x\r\n",
            "+OK ready\r\n",
            "-ERR unknown command\r\n",
            "MSG a 1\r\n",
            "MSG a 1 x\r\n",
            "PUB a 9999999999\r\n",
            "SUB\r\n",
            "SUB a\0 1\r\n",
            "PUB \x01",
            "\x16\x03\x01",
        ] {
            assert_eq!(read(text.as_bytes()), Read::Neither, "{text}");
        }
    }

    #[test]
    fn lines_are_capped() {
        let mut line = b"SUB ".to_vec();
        line.resize(LINE_CAP, b'a');
        assert_eq!(read(&line[..LINE_CAP - 1]), Read::Partial);
        assert_eq!(read(&line), Read::Neither);
        let mut line = b"INFO {".to_vec();
        line.resize(JSON_CAP, b' ');
        assert_eq!(read(&line[..JSON_CAP - 1]), Read::Partial);
        assert_eq!(read(&line), Read::Neither);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            read(&bytes);
        }

        #[test]
        fn a_line_is_partial_until_it_is_whole(line in "(PUB|MSG|SUB|PING|INFO|-ERR) [a-z{}' 0-9]{0,12}\r\n") {
            if let Read::Line(..) = read(line.as_bytes()) {
                for end in 0..line.len() {
                    prop_assert_eq!(read(&line.as_bytes()[..end]), Read::Partial);
                }
            }
        }
    }
}
