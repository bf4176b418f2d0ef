//! HTTP/2 frame headers (RFC 9113 section 4.1), and the shapes by which the protocol is recognised.

pub use h2::frame::Kind;
use h2::frame::{Head, Settings, StreamDependency, StreamId};

use crate::protocol::Probe;

/// What a client sends first (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The length of a frame header, in bytes.
pub const HEADER_LENGTH: usize = 9;

/// How many plausible frames in a row make a connection whose start was not captured.
pub const SHAPE_FRAMES: usize = 3;

/// One frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Payload length, in bytes.
    pub length: u32,
    /// Type, flags and stream identifier, as `h2` reads them.
    pub head: Head,
    reserved: bool,
}

impl Header {
    /// END_STREAM, or ACK.
    const LOWEST: u8 = 0x01;
    const END_HEADERS: u8 = 0x04;
    const PADDED: u8 = 0x08;
    const PRIORITY: u8 = 0x20;

    /// Reads a header from its nine bytes, big endian; `None` if there are fewer.
    pub fn read(bytes: &[u8]) -> Option<Header> {
        let header: &[u8; HEADER_LENGTH] = bytes.first_chunk()?;
        let &[l0, l1, l2, _, _, s0, ..] = header;
        Some(Header {
            length: u32::from_be_bytes([0, l0, l1, l2]),
            // Reads nine bytes without asking how many there are.
            head: Head::parse(header),
            reserved: s0 & 0x80 != 0,
        })
    }

    /// The type.
    pub fn kind(self) -> Kind {
        self.head.kind()
    }

    /// The stream identifier, without the reserved bit.
    pub fn stream(self) -> u32 {
        self.head.stream_id().into()
    }

    fn has(self, flag: u8) -> bool {
        self.head.flag() & flag != 0
    }

    /// Whether the header block ends with this frame.
    pub fn ends_headers(self) -> bool {
        self.has(Header::END_HEADERS)
    }

    /// Whether the header block begins with the payload: no padding and no priority before it.
    pub fn block_first(self) -> bool {
        !self.has(Header::PADDED | Header::PRIORITY)
    }

    /// Whether the payload has a header block from its start to its end.
    pub fn is_whole_block(self) -> bool {
        self.kind() == Kind::Headers && self.ends_headers()
    }

    /// What a payload of HEADERS has of its block: no padding, and no priority (RFC 9113 section 6.2).
    pub fn block(self, payload: &[u8]) -> Option<&[u8]> {
        let (padding, mut rest) = match self.has(Header::PADDED) {
            true => payload.split_first()?,
            false => (&0, payload),
        };
        if self.has(Header::PRIORITY) {
            let (priority, block) = rest.split_at_checked(5)?;
            let dependency = StreamDependency::load(priority).ok()?;
            if dependency.dependency_id() == self.head.stream_id() {
                return None;
            }
            rest = block;
        }
        rest.get(..rest.len().checked_sub(usize::from(*padding))?)
    }

    /// Whether it is a first SETTINGS: not an acknowledgement.
    pub fn is_settings(self) -> bool {
        self.kind() == Kind::Settings && self.lawful() && !self.has(Header::LOWEST)
    }

    /// Whether length and stream are lawful for the type (RFC 9113 section 6).
    pub fn lawful(self) -> bool {
        let of_stream = self.stream() != 0;
        match self.kind() {
            Kind::Data | Kind::Continuation => of_stream,
            Kind::Headers => of_stream,
            Kind::Priority => of_stream && self.length == 5,
            Kind::Reset => of_stream && self.length == 4,
            Kind::Settings if self.has(Header::LOWEST) => !of_stream && self.length == 0,
            Kind::Settings => !of_stream && self.length.is_multiple_of(6),
            Kind::PushPromise => of_stream && self.length >= 4,
            Kind::Ping => !of_stream && self.length == 8,
            Kind::GoAway => !of_stream && self.length >= 8,
            Kind::WindowUpdate => self.length == 4,
            Kind::Unknown => true,
        }
    }

    /// Whether it is DATA that carries nothing and ends nothing: lawful, and never sent. Protocols whose
    /// messages begin with zeros (Modbus) look like it.
    fn is_idle(self) -> bool {
        self.kind() == Kind::Data && self.length == 0 && !self.has(Header::LOWEST)
    }

    /// Whether it is what real peers send: known type, only flags defined for it, a stream opened by a
    /// client, and a payload within the default SETTINGS_MAX_FRAME_SIZE.
    ///
    /// A random header passes about once in 2^24 times.
    pub fn plausible(self) -> bool {
        let flags = match self.kind() {
            Kind::Data => Header::LOWEST | Header::PADDED,
            Kind::Headers => Header::LOWEST | Header::END_HEADERS | Header::PADDED | Header::PRIORITY,
            Kind::Settings | Kind::Ping => Header::LOWEST,
            Kind::PushPromise => Header::END_HEADERS | Header::PADDED,
            Kind::Continuation => Header::END_HEADERS,
            _ => 0,
        };
        self.kind() != Kind::Unknown
            && self.lawful()
            && !self.reserved
            && !self.has(!flags)
            && (self.stream() == 0 || self.stream() % 2 == 1)
            && self.length <= 16_384
            && !(self.kind() == Kind::Headers && self.length == 0)
    }
}

/// Whether the first bytes of one side are HTTP/2 from its start: the client's preface, or the server's
/// SETTINGS. An empty SETTINGS is certain only with a plausible frame behind it.
pub fn opening(bytes: &[u8]) -> Probe {
    if bytes.starts_with(PREFACE) {
        return Probe::Certain;
    }
    if PREFACE.starts_with(bytes) {
        return Probe::Unsure;
    }
    let Some(header) = Header::read(bytes) else {
        // The longest SETTINGS waited for has 32 entries.
        let settings = [0, 0, 192, 4, 0, 0, 0, 0, 0];
        let fits = |(at, (byte, most)): (usize, (&u8, &u8))| match at {
            2 => byte <= most && byte % 6 == 0,
            _ => byte == most,
        };
        return match bytes.iter().zip(&settings).enumerate().all(fits) {
            true => Probe::Unsure,
            false => Probe::NotForUs,
        };
    };
    if !header.is_settings() || !header.plausible() || header.length > 192 {
        return Probe::NotForUs;
    }
    let payload = bytes.get(HEADER_LENGTH..).unwrap_or_default();
    let length = header.length as usize;
    // The first entry decides, so that bytes which come later do not.
    let entry = payload.get(..length).unwrap_or(payload).first_chunk::<6>();
    let sure = match (entry, payload.get(length..).and_then(Header::read)) {
        (Some(entry), _) => setting(entry),
        (None, Some(next)) => next.plausible(),
        (None, None) => return Probe::Unsure,
    };
    if sure { Probe::Certain } else { Probe::NotForUs }
}

/// Whether the bytes are [`SHAPE_FRAMES`] plausible frames in a row, whatever stands before them.
pub fn shape(bytes: &[u8]) -> Probe {
    let mut rest = bytes;
    for _ in 0..SHAPE_FRAMES {
        let Some(header) = Header::read(rest) else {
            return Probe::Unsure;
        };
        if !header.plausible() || header.is_idle() {
            return Probe::NotForUs;
        }
        let end = HEADER_LENGTH + header.length as usize;
        rest = rest.get(end..).unwrap_or_default();
    }
    Probe::Certain
}

/// Who a HEADERS frame comes from, told by the first byte of its block alone, which the static table
/// gives (RFC 7541 appendix A): `:method` from a client, `:status` from a server.
pub fn sent_by_client(first: u8) -> Option<bool> {
    match first {
        0x82 | 0x83 | 0x42 | 0x43 | 0x02 | 0x03 => Some(true),
        0x88..=0x8e | 0x48..=0x4e | 0x08..=0x0e => Some(false),
        _ => None,
    }
}

/// Whether one SETTINGS entry is known, reserved for greasing or experimental, and within its range
/// (RFC 9113 section 6.5.2), which `h2` knows.
fn setting(entry: &[u8; 6]) -> bool {
    let &[high, low, ..] = entry;
    let is_known = match u16::from_be_bytes([high, low]) {
        1..=0x20 | 0xf000.. => true,
        other => other & 0x0f0f == 0x0a0a,
    };
    is_known && Settings::load(Head::new(Kind::Settings, 0, StreamId::zero()), entry).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SETTINGS: &[u8] = b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64";
    const EMPTY: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
    const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0\x01\x02\x03\x04\x05\x06\x07\x08";
    const WINDOW: &[u8] = b"\0\0\x04\x08\0\0\0\0\x05\0\0\x10\0";

    #[test]
    fn answers_of_modbus_are_no_frames() {
        // Exception 11 of unit 10, as gateways repeat it (Modbus messaging on TCP/IP, section 3.1.3).
        let answer = [0, 0, 0, 0, 0, 3, 10, 0x88, 11];
        assert_eq!(shape(&answer), Probe::NotForUs);
        assert_eq!(shape(&answer.repeat(3)), Probe::NotForUs);
    }

    #[test]
    fn recognises_both_openings() {
        assert_eq!(opening(PREFACE), Probe::Certain);
        assert_eq!(opening(&PREFACE[..5]), Probe::Unsure);
        assert_eq!(opening(SETTINGS), Probe::Certain);
        for end in 0..SETTINGS.len() {
            assert_eq!(opening(&SETTINGS[..end]), Probe::Unsure, "{end} bytes");
        }
        let unknown = b"\0\0\x0c\x04\0\0\0\0\0\0\x03\0\0\0\x64\x44\x44\0\0\0\0";
        assert_eq!(opening(unknown), Probe::Certain, "the first entry decided, before the second came");
        assert_eq!(opening(EMPTY), Probe::Unsure);
        assert_eq!(opening(&[EMPTY, PING].concat()), Probe::Certain);
        assert_eq!(opening(&[EMPTY, b"random bytes"].concat()), Probe::NotForUs);
    }

    #[test]
    fn refuses_other_openings() {
        for other in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"\x16\x03\x01",
            b"\0\0\0\x05",
            b"\0\0\x06\x04\x01\0\0\0\0\0\x03\0\0\0\x64",
            b"\0\0\x06\x04\0\0\0\0\0\0\x02\0\0\0\x02",
            b"\0\0\x06\x04\0\0\0\0\0\0\0\0\0\0\x02",
            b"\0\0\x07\x04\0\0\0\0\0",
        ] {
            assert_eq!(opening(other), Probe::NotForUs, "{other:?}");
        }
    }

    #[test]
    fn three_plausible_frames_make_a_shape() {
        assert_eq!(shape(&[PING, WINDOW, PING].concat()), Probe::Certain);
        assert_eq!(shape(&[PING, WINDOW].concat()), Probe::Unsure);
        assert_eq!(shape(&[PING, WINDOW, b"GET / HTTP/1.1"].concat()), Probe::NotForUs);
        assert_eq!(shape(&[0; 64]), Probe::NotForUs);
        assert_eq!(shape(b"\0\0\x08\x06\0\0\0\0\x01"), Probe::NotForUs, "PING on a stream");
        assert_eq!(shape(b"\0\0\x08\0\0\0\0\0\x02"), Probe::NotForUs, "an even stream");
        assert_eq!(shape(b"\0\0\x08\0\x40\0\0\0\x01"), Probe::NotForUs, "an unknown flag");
    }

    proptest! {
        #[test]
        fn any_bytes_are_probed_without_panic(bytes: Vec<u8>) {
            opening(&bytes);
            shape(&bytes);
        }

        #[test]
        fn more_bytes_never_turn_certain_into_no(bytes: Vec<u8>, tail: Vec<u8>, pick in 0_u8..3) {
            let opened = match pick {
                0 => [SETTINGS, &bytes].concat(),
                1 => [PING, WINDOW, &bytes].concat(),
                _ => bytes,
            };
            let longer = [&opened[..], &tail].concat();
            if opening(&opened) == Probe::NotForUs {
                prop_assert_eq!(opening(&longer), Probe::NotForUs);
            }
            if shape(&opened) == Probe::NotForUs {
                prop_assert_eq!(shape(&longer), Probe::NotForUs);
            }
            if shape(&opened) == Probe::Certain {
                prop_assert_eq!(shape(&longer), Probe::Certain);
            }
        }
    }
}
