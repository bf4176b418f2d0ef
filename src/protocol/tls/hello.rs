//! ServerHello, and what both hellos have (RFC 8446 section 4.1, RFC 5246 section 7.4.1).

use super::resume::SessionName;
use crate::protocol::NAME_CAP;
use crate::protocol::cursor::Cursor;

/// The random of a ServerHello that is a HelloRetryRequest (RFC 8446 section 4.1.3).
const HELLO_RETRY_RANDOM: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2,
    0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// A protocol version, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// SSL 2.0.
    Ssl2,
    /// SSL 3.0 (RFC 6101).
    Ssl3,
    /// TLS 1.0 (RFC 2246).
    Tls10,
    /// TLS 1.1 (RFC 4346).
    Tls11,
    /// TLS 1.2 (RFC 5246).
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

impl Version {
    /// The version of a ProtocolVersion field; `None` for GREASE and whatever is not assigned.
    pub fn from_wire(version: u16) -> Option<Version> {
        Some(match version {
            0x0002 => Version::Ssl2,
            0x0300 => Version::Ssl3,
            0x0301 => Version::Tls10,
            0x0302 => Version::Tls11,
            0x0303 => Version::Tls12,
            0x0304 => Version::Tls13,
            _ => return None,
        })
    }

    /// As it is usually written.
    pub fn name(self) -> &'static str {
        match self {
            Version::Ssl2 => "SSL 2.0",
            Version::Ssl3 => "SSL 3.0",
            Version::Tls10 => "TLS 1.0",
            Version::Tls11 => "TLS 1.1",
            Version::Tls12 => "TLS 1.2",
            Version::Tls13 => "TLS 1.3",
        }
    }
}

/// A session identifier: 0 to 32 bytes, kept in place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SessionId {
    bytes: [u8; 32],
    length: u8,
}

impl SessionId {
    fn new(id: &[u8]) -> Option<SessionId> {
        let mut bytes = [0; 32];
        bytes.get_mut(..id.len())?.copy_from_slice(id);
        Some(SessionId { bytes, length: u8::try_from(id.len()).ok()? })
    }

    /// The identifier.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

/// How a hello opens a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Opening {
    /// The side's random.
    pub random: [u8; 32],
    /// The session identifier.
    pub session_id: SessionId,
}

impl Opening {
    /// Reads on behind the version.
    pub(super) fn read(cursor: &mut Cursor) -> Option<Opening> {
        let random = cursor.array()?;
        Some(Opening { random, session_id: SessionId::new(cursor.vector8()?)? })
    }
}

/// What a server chose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ServerHello {
    /// The negotiated version, from `supported_versions` where present.
    pub version: Option<Version>,
    /// The cipher suite.
    pub cipher: u16,
    /// Random and session identifier, the client's own when a TLS 1.2 session is resumed, or as TLS 1.3 always
    /// echoes it; none once both sides encrypt and there are no keys.
    pub opening: Option<Box<Opening>>,
    /// What stands for that session up to TLS 1.2, if the identifier is not empty.
    pub session_name: Option<SessionName>,
    /// It asks for another ClientHello, and chooses nothing yet.
    pub hello_retry: bool,
    /// The protocol chosen in clear (TLS 1.2 and before), at most [`NAME_CAP`] bytes, raw.
    pub alpn: Option<Box<[u8]>>,
    /// `pre_shared_key`: the key the client offered is in use (RFC 8446 section 4.2.11).
    pub psk_accepted: bool,
    /// Which of the client's identities it is, from 0.
    pub psk_index: Option<u16>,
    /// The group of `key_share`.
    pub key_share: Option<u16>,
    /// `extended_master_secret` (RFC 7627).
    pub extended_master_secret: bool,
}

impl ServerHello {
    /// Bytes on the heap.
    pub(super) fn held(&self) -> usize {
        self.opening.as_deref().map_or(0, size_of_val) + self.alpn.as_deref().map_or(0, <[u8]>::len)
    }

    /// Parses the body of a ServerHello message; `None` if it is not one from end to end.
    pub fn parse(body: &[u8]) -> Option<ServerHello> {
        let mut cursor = Cursor::new(body);
        let version = cursor.u16()?;
        let opening = Opening::read(&mut cursor)?;
        let cipher = cursor.u16()?;
        cursor.u8()?;
        let mut hello = ServerHello {
            version: Version::from_wire(version),
            cipher,
            hello_retry: opening.random == HELLO_RETRY_RANDOM,
            ..ServerHello::default()
        };
        each_extension(cursor, |kind, extension| hello.extension(kind, extension))?;
        if hello.version < Some(Version::Tls13) {
            hello.session_name = SessionName::of(opening.session_id.as_bytes());
        }
        hello.opening = Some(Box::new(opening));
        Some(hello)
    }

    /// The server's random, as long as it is kept.
    pub(super) fn random(&self) -> [u8; 32] {
        self.opening.as_ref().map_or_else(Default::default, |opening| opening.random)
    }

    fn extension(&mut self, kind: u16, body: &[u8]) -> Option<()> {
        let mut cursor = Cursor::new(body);
        match kind {
            16 => self.alpn = Some(Box::from(capped(Cursor::new(cursor.vector16()?).vector8()?))),
            23 => self.extended_master_secret = true,
            41 => {
                self.psk_accepted = true;
                self.psk_index = cursor.u16();
            }
            43 => self.version = Version::from_wire(cursor.u16()?),
            51 => self.key_share = Some(cursor.u16()?),
            _ => {}
        }
        Some(())
    }
}

/// Lends every extension; extensions may be absent altogether, but not be cut short.
pub(super) fn each_extension(
    mut cursor: Cursor,
    mut lend: impl FnMut(u16, &[u8]) -> Option<()>,
) -> Option<()> {
    if cursor.is_empty() {
        return Some(());
    }
    let mut extensions = Cursor::new(cursor.vector16()?);
    while !extensions.is_empty() {
        let kind = extensions.u16()?;
        lend(kind, extensions.vector16()?)?;
    }
    Some(())
}

/// The front of a name, [`NAME_CAP`] bytes at most.
pub(super) fn capped(name: &[u8]) -> &[u8] {
    name.get(..NAME_CAP).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, hex};
    use super::*;
    use proptest::prelude::*;

    /// The body of the one handshake message of a record.
    fn body(lines: &[&str]) -> Vec<u8> {
        hex(lines).split_off(9)
    }

    #[test]
    fn real_server_hellos() {
        let hello = ServerHello::parse(&body(testing::SERVER_HELLO)).expect("a ServerHello");
        assert_eq!((hello.version, hello.cipher, hello.key_share), (Some(Version::Tls13), 0x1301, Some(29)));
        assert!(!hello.hello_retry && !hello.psk_accepted && hello.alpn.is_none());
        assert_eq!(hello.opening.unwrap().session_id.as_bytes().len(), 32);
        let hello = ServerHello::parse(&body(testing::SERVER_HELLO_12)).expect("a ServerHello");
        assert_eq!((hello.version, hello.cipher), (Some(Version::Tls12), 0xc02f));
        assert_eq!(hello.alpn.as_deref(), Some(&b"h2"[..]));
        assert!(hello.extended_master_secret);
    }

    #[test]
    fn a_hello_retry_request_is_told_by_its_random() {
        let mut retry = body(testing::SERVER_HELLO);
        retry[2..34].copy_from_slice(&HELLO_RETRY_RANDOM);
        assert!(ServerHello::parse(&retry).is_some_and(|hello| hello.hello_retry));
    }

    #[test]
    fn what_is_cut_short_is_no_hello() {
        let whole = body(testing::SERVER_HELLO);
        // Without its extensions a hello is whole again (RFC 5246 section 7.4.1.2).
        for cut in (0..whole.len()).filter(|&cut| cut != 70) {
            assert!(ServerHello::parse(&whole[..cut]).is_none(), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            ServerHello::parse(&bytes);
        }

        #[test]
        fn any_damage_to_a_real_hello(at in 0usize..200, byte: u8) {
            for lines in [testing::SERVER_HELLO, testing::SERVER_HELLO_12] {
                let mut bytes = body(lines);
                if let Some(slot) = bytes.get_mut(at) {
                    *slot = byte;
                }
                ServerHello::parse(&bytes);
            }
        }
    }
}
