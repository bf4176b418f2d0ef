//! The header of one syslog message: RFC 5424 section 6.2, or the older form of RFC 3164 section 4.1.

use super::Format;

/// The longest header: priority, version, time, host, application, process and message with their blanks,
/// and the first byte of structured data.
pub const HEADER_CAP: usize = 5 + 2 + 36 + 256 + 49 + 129 + 33 + 1;

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// They end before it does.
    Short,
    /// They break a rule.
    Malformed,
}

/// Reads the header at the front of `bytes`: its format, and its length in bytes.
///
/// RFC 5424: `<PRI>1 TIMESTAMP HOST APP PROCID MSGID` and the first byte of structured data. RFC 3164:
/// `<PRI>Mmm dd hh:mm:ss `, or a time of RFC 3339 in its place, as rsyslog's forwarding format has it.
pub fn read(bytes: &[u8]) -> Result<(Format, usize), Fault> {
    let mut text = Text { bytes, at: 0 };
    text.literal(b"<")?;
    let priority = text.number(3)?;
    if priority > 191 {
        return Err(Fault::Malformed);
    }
    text.literal(b">")?;
    let format = match (text.peek(0)?, text.peek(1)) {
        (b'1', Ok(b' ')) => {
            rfc5424(&mut text)?;
            Format::Rfc5424
        }
        (b'1', Err(fault)) => return Err(fault),
        (b'0'..=b'9', _) => {
            internet_time(&mut text)?;
            text.literal(b" ")?;
            Format::Bsd
        }
        _ => {
            bsd_time(&mut text)?;
            text.literal(b" ")?;
            Format::Bsd
        }
    };
    Ok((format, text.at))
}

const MONTHS: [&[u8]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

fn rfc5424(text: &mut Text<'_>) -> Result<(), Fault> {
    text.literal(b"1 ")?;
    match text.peek(0)? {
        b'-' => text.literal(b"-")?,
        _ => internet_time(text)?,
    }
    text.literal(b" ")?;
    for longest in [255, 48, 128, 32] {
        text.word(longest)?;
        text.literal(b" ")?;
    }
    match text.next()? {
        b'-' | b'[' => Ok(()),
        _ => Err(Fault::Malformed),
    }
}

/// `Jan  2 10:09:52`; a day under ten stands behind a blank, or behind a zero where senders get it wrong.
fn bsd_time(text: &mut Text<'_>) -> Result<(), Fault> {
    text.one_of(&MONTHS)?;
    text.literal(b" ")?;
    let day = match text.next()? {
        b' ' => 0,
        tens @ b'0'..=b'3' => tens - b'0',
        _ => return Err(Fault::Malformed),
    };
    let ones = text.digits(1)?;
    if !(1..=31).contains(&(u32::from(day) * 10 + ones)) {
        return Err(Fault::Malformed);
    }
    text.literal(b" ")?;
    clock(text)
}

/// RFC 3339 as RFC 5424 section 6.2.3 narrows it: `T` and `Z` in upper case, at most six digits of a second.
/// Nine are taken, which some libraries send.
fn internet_time(text: &mut Text<'_>) -> Result<(), Fault> {
    text.digits(4)?;
    text.literal(b"-")?;
    let month = text.digits(2)?;
    text.literal(b"-")?;
    let day = text.digits(2)?;
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return Err(Fault::Malformed);
    }
    text.literal(b"T")?;
    clock(text)?;
    if text.peek(0)? == b'.' {
        text.literal(b".")?;
        text.digits(1)?;
        for _ in 1..9 {
            if text.peek(0)?.is_ascii_digit() {
                text.digits(1)?;
            }
        }
    }
    match text.next()? {
        b'Z' => Ok(()),
        b'+' | b'-' => {
            let hours = text.digits(2)?;
            text.literal(b":")?;
            let minutes = text.digits(2)?;
            if hours > 23 || minutes > 59 { Err(Fault::Malformed) } else { Ok(()) }
        }
        _ => Err(Fault::Malformed),
    }
}

fn clock(text: &mut Text<'_>) -> Result<(), Fault> {
    let hours = text.digits(2)?;
    text.literal(b":")?;
    let minutes = text.digits(2)?;
    text.literal(b":")?;
    let seconds = text.digits(2)?;
    if hours > 23 || minutes > 59 || seconds > 60 { Err(Fault::Malformed) } else { Ok(()) }
}

/// Reads text off the front, telling what is too short from what is wrong.
pub struct Text<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Text<'a> {
    pub fn new(bytes: &'a [u8]) -> Text<'a> {
        Text { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub fn read(&self) -> usize {
        self.at
    }

    pub fn literal(&mut self, expected: &[u8]) -> Result<(), Fault> {
        self.one_of(&[expected])
    }

    /// A number without leading zeros, in at most so many digits.
    pub fn number(&mut self, most: usize) -> Result<u32, Fault> {
        let mut number = self.digits(1)?;
        let mut digits = 1;
        while self.peek(0)?.is_ascii_digit() {
            if number == 0 || digits == most {
                return Err(Fault::Malformed);
            }
            number = number * 10 + self.digits(1)?;
            digits += 1;
        }
        Ok(number)
    }

    fn one_of(&mut self, expected: &[&[u8]]) -> Result<(), Fault> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if let Some(found) = expected.iter().find(|text| rest.starts_with(text)) {
            self.at += found.len();
            return Ok(());
        }
        let short = expected.iter().any(|text| text.starts_with(rest));
        Err(if short { Fault::Short } else { Fault::Malformed })
    }

    fn peek(&self, ahead: usize) -> Result<u8, Fault> {
        self.bytes.get(self.at + ahead).copied().ok_or(Fault::Short)
    }

    fn next(&mut self) -> Result<u8, Fault> {
        let byte = self.peek(0)?;
        self.at += 1;
        Ok(byte)
    }

    /// Exactly so many digits, at most nine.
    fn digits(&mut self, count: usize) -> Result<u32, Fault> {
        let mut number = 0;
        for _ in 0..count {
            let digit = self.next()?;
            if !digit.is_ascii_digit() {
                return Err(Fault::Malformed);
            }
            number = number * 10 + u32::from(digit - b'0');
        }
        Ok(number)
    }

    /// Printable characters up to a blank.
    fn word(&mut self, longest: usize) -> Result<(), Fault> {
        let start = self.at;
        while self.peek(0)?.is_ascii_graphic() {
            self.at += 1;
            if self.at - start > longest {
                return Err(Fault::Malformed);
            }
        }
        if self.at == start { Err(Fault::Malformed) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADERS: [(&str, Format); 9] = [
        ("<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 -", Format::Rfc5424),
        ("<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - -", Format::Rfc5424),
        ("<0>1 - - - - - [", Format::Rfc5424),
        ("<14>1 2026-11-22T16:01:02.123456789Z cf.space.app 9b-4d [APP/PROC/WEB/0] - [", Format::Rfc5424),
        ("<34>Oct 11 22:14:15 ", Format::Bsd),
        ("<191>Jan  2 10:09:52 ", Format::Bsd),
        ("<13>Jan 01 00:01:47 ", Format::Bsd),
        ("<13>2013-09-12T19:16:34.457849+04:00 ", Format::Bsd),
        ("<13>1999-12-31T23:59:60Z ", Format::Bsd),
    ];

    #[test]
    fn reads_both_forms_and_waits_for_their_ends() {
        for (text, format) in HEADERS {
            let message = format!("{text} rest");
            assert_eq!(read(message.as_bytes()), Ok((format, text.len())), "{text}");
            for end in 0..text.len() {
                assert_eq!(read(&text.as_bytes()[..end]), Err(Fault::Short), "{}", &text[..end]);
            }
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "<192>1 - - - - - -",
            "<034>1 - - - - - -",
            "<>1 - - - - - -",
            "<34>2 - - - - - -",
            "<34>1 - - - - - x",
            "<34>1 - -  - - -",
            "<34>1 2003-13-11T22:14:15Z h a p m -",
            "<34>1 2003-10-11t22:14:15Z h a p m -",
            "<34>1 2003-10-11T22:14:15.1234567890Z h a p m -",
            "<34>1 2003-10-11T22:14:15+24:00 h a p m -",
            "<34>Okt 11 22:14:15 x",
            "<34>Oct 32 22:14:15 x",
            "<34>Oct 11 24:14:15 x",
            "<34>Oct 11 22:14:15.123 x",
            "<189>72: Mar  3 19:57:17.371: %LINK-5-CHANGED",
            "<30>snmpd[6956]: Connection",
            "<html>",
            "<?xml version=\"1.0\"?>",
            "GET / HTTP/1.1",
        ] {
            assert_eq!(read(text.as_bytes()), Err(Fault::Malformed), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>, text in "<[0-9]{1,4}>1? ?[-A-Z0-9:. T]{0,60}") {
            let _ = read(&bytes);
            if let Ok((_, length)) = read(text.as_bytes()) {
                prop_assert!(length <= text.len().min(HEADER_CAP));
            }
        }

        #[test]
        fn more_bytes_never_change_a_definite_answer(
            header in proptest::sample::select(&HEADERS[..]),
            change in proptest::option::of((any::<prop::sample::Index>(), b' '..=b'~')),
        ) {
            let mut bytes = header.0.as_bytes().to_vec();
            if let Some((at, byte)) = change {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let whole = read(&bytes);
            for end in 0..bytes.len() {
                let part = read(&bytes[..end]);
                prop_assert!(part == Err(Fault::Short) || part == whole);
            }
        }
    }
}
