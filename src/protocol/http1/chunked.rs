//! Walks a chunked body (RFC 9112 section 7.1) without reading what is in the chunks.

/// The longest chunk-size or trailer line, extensions included, in bytes.
const LINE_CAP: usize = 8 * 1024;

/// The longest trailer section, in bytes.
const TRAILER_CAP: u32 = 64 * 1024;

/// Where in a chunked body the reader stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Chunked {
    part: Part,
    trailers: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Part {
    #[default]
    Size,
    DataEnd,
    Trailers,
}

/// What one step over a chunked body came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// More bytes are needed.
    Need,
    /// The first `used` bytes are dealt with, and `skip` bytes of a chunk follow them.
    Used {
        /// Bytes of framing.
        used: usize,
        /// Bytes of chunk data after them.
        skip: u64,
    },
    /// The body ended with the first `used` bytes.
    End {
        /// Bytes of framing.
        used: usize,
    },
    /// This is no chunked body, or a line of it is over its cap.
    Broken,
}

impl Chunked {
    /// Reads one line of framing.
    pub fn step(&mut self, bytes: &[u8]) -> Walk {
        if self.part == Part::DataEnd {
            self.part = Part::Size;
            return match bytes {
                [b'\r', b'\n', ..] => Walk::Used { used: 2, skip: 0 },
                [b'\n', ..] => Walk::Used { used: 1, skip: 0 },
                [] | [b'\r'] => {
                    self.part = Part::DataEnd;
                    Walk::Need
                }
                _ => Walk::Broken,
            };
        }
        let within_cap = bytes.get(..LINE_CAP).unwrap_or(bytes);
        let Some(end) = memchr::memchr(b'\n', within_cap) else {
            return match bytes.len() < LINE_CAP {
                true => Walk::Need,
                false => Walk::Broken,
            };
        };
        let used = end + 1;
        let line = bytes.get(..end).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if self.part == Part::Trailers {
            self.trailers = self.trailers.saturating_add(u32::try_from(used).unwrap_or(u32::MAX));
            return match line.is_empty() {
                true => Walk::End { used },
                false if self.trailers > TRAILER_CAP => Walk::Broken,
                false => Walk::Used { used, skip: 0 },
            };
        }
        match size(line) {
            Some(0) => {
                self.part = Part::Trailers;
                Walk::Used { used, skip: 0 }
            }
            Some(skip) => {
                self.part = Part::DataEnd;
                Walk::Used { used, skip }
            }
            None => Walk::Broken,
        }
    }
}

/// The chunk size, in hexadecimal digits before the extensions.
fn size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|b| *b == b';').next()?.trim_ascii_end();
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, digit| {
        let value = char::from(*digit).to_digit(16)?;
        sum.checked_mul(16)?.checked_add(u64::from(value))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Walks `body` to its end and says how long it is.
    fn length(body: &[u8]) -> Result<usize, Walk> {
        let mut walk = Chunked::default();
        let mut at = 0;
        loop {
            match walk.step(body.get(at..).unwrap_or_default()) {
                Walk::Used { used, skip } => {
                    at += used + usize::try_from(skip).map_err(|_| Walk::Broken)?;
                }
                Walk::End { used } => return Ok(at + used),
                other => return Err(other),
            }
        }
    }

    #[test]
    fn walks_chunks_extensions_and_trailers() {
        let body = b"4;a=b\r\nWiki\r\nA \r\n0123456789\r\n0\r\nX: y\r\n\r\n";
        assert_eq!(length(body), Ok(body.len()));
        assert_eq!(length(b"1\na\n0\n\n"), Ok(7));
    }

    #[test]
    fn refuses_what_is_not_a_chunk() {
        assert_eq!(length(b"xyz\r\n"), Err(Walk::Broken));
        assert_eq!(length(b"\r\n"), Err(Walk::Broken));
        assert_eq!(length(b"-1\r\n"), Err(Walk::Broken));
        assert_eq!(length(b"2\r\nabc\r\n"), Err(Walk::Broken));
        assert_eq!(length(b"11111111111111111\r\n"), Err(Walk::Broken));
        assert_eq!(length(&[b'1'; LINE_CAP]), Err(Walk::Broken));
    }

    #[test]
    fn trailers_are_capped() {
        let mut body = b"0\r\n".to_vec();
        body.extend(b"a: b\r\n".repeat(TRAILER_CAP as usize / 6 + 1));
        assert_eq!(length(&body), Err(Walk::Broken));
    }

    proptest! {
        #[test]
        fn any_body_is_walked_to_its_own_end(
            chunks: Vec<Vec<u8>>, tail: Vec<u8>,
        ) {
            let mut body = Vec::new();
            for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
                body.extend(format!("{:x}\r\n", chunk.len()).bytes());
                body.extend(chunk);
                body.extend(b"\r\n");
            }
            body.extend(b"0\r\n\r\n");
            let end = body.len();
            body.extend(tail);
            prop_assert_eq!(length(&body), Ok(end));
        }

        #[test]
        fn any_bytes_are_walked_without_panic(bytes: Vec<u8>) {
            let mut walk = Chunked::default();
            let mut rest = &bytes[..];
            while let Walk::Used { used, .. } = walk.step(rest) {
                rest = &rest[used..];
            }
        }
    }
}
