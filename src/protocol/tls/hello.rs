//! ClientHello and ServerHello (RFC 8446 section 4.1, RFC 5246 section 7.4.1, RFC 5246 appendix E.2).

use super::cipher;
use super::ja4::Ja4;
use super::resume::SessionName;
use crate::protocol::NAME_CAP;
use crate::protocol::cursor::Cursor;

/// Cipher suites kept of a ClientHello; more are counted, and looked at for weakness, but not kept.
pub const CIPHER_CAP: usize = 64;
/// Named groups kept of each list of a ClientHello.
pub const GROUP_CAP: usize = 32;
/// Application protocols kept of a ClientHello.
pub const ALPN_CAP: usize = 16;

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

    /// What stands for it, if it is not empty.
    pub fn name(&self) -> Option<SessionName> {
        SessionName::of(self.as_bytes())
    }
}

/// The first identity of a `pre_shared_key` extension (RFC 8446 section 4.2.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PskOffer {
    /// Bytes of the identity: for a resumption, of the ticket.
    pub identity_length: u16,
    /// Milliseconds since the ticket came plus the ticket's secret offset, modulo 2^32; 0 for an external key.
    pub obfuscated_age: u32,
}

/// What a client offered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// client_version: 0x0303 from TLS 1.2 on.
    pub legacy_version: u16,
    /// The highest version offered, from `supported_versions` where present; GREASE is ignored.
    pub max_version: Option<Version>,
    /// The client's random; by it a key log names a connection. Zero in SSL 2.0 format.
    pub random: [u8; 32],
    /// The session identifier.
    pub session_id: SessionId,
    /// The first [`CIPHER_CAP`] cipher suites, in the client's order, GREASE included.
    pub ciphers: Box<[u16]>,
    /// How many were offered in all.
    pub cipher_count: u16,
    /// One of them is weak; see [`cipher::Class::is_weak`].
    pub weak_ciphers: bool,
    /// The first host name of `server_name` (RFC 6066 section 3), at most [`NAME_CAP`] bytes, raw: hostile until escaped.
    pub server_name: Option<Box<[u8]>>,
    /// The `application_layer_protocol_negotiation` list (RFC 7301), at most [`ALPN_CAP`] entries, raw.
    pub alpn: Option<Vec<Box<[u8]>>>,
    /// Bytes of the `session_ticket` extension (RFC 5077); 0 asks for a ticket.
    pub session_ticket: Option<u16>,
    /// What stands for that ticket, if there is one.
    pub ticket_name: Option<SessionName>,
    /// The first pre-shared key offered.
    pub psk: Option<PskOffer>,
    /// `early_data` was offered: application data may follow before the ServerHello.
    pub early_data: bool,
    /// `post_handshake_auth` was offered: the server may ask for a certificate later.
    pub post_handshake_auth: bool,
    /// `extended_master_secret` was offered (RFC 7627).
    pub extended_master_secret: bool,
    /// `record_size_limit` (RFC 8449), bytes.
    pub record_size_limit: Option<u16>,
    /// `max_fragment_length` (RFC 6066 section 4), its code 1 to 4.
    pub max_fragment_length: Option<u8>,
    /// `client_certificate_type` or `server_certificate_type` was offered (RFC 7250).
    pub certificate_types: bool,
    /// The first [`GROUP_CAP`] of `supported_groups`.
    pub groups: Box<[u16]>,
    /// The groups of `key_share`, at most [`GROUP_CAP`].
    pub key_shares: Box<[u16]>,
    /// What software sent it; of the first hello after a HelloRetryRequest, and not in SSL 2.0 format.
    pub ja4: Option<Ja4>,
}

/// What a server chose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerHello {
    /// The negotiated version, from `supported_versions` where present.
    pub version: Option<Version>,
    /// The server's random.
    pub random: [u8; 32],
    /// The cipher suite.
    pub cipher: u16,
    /// The session identifier; the client's own when a TLS 1.2 session is resumed, or as TLS 1.3 always echoes it.
    pub session_id: SessionId,
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

impl ClientHello {
    /// Parses the body of a ClientHello message; `None` if it is not one from end to end.
    pub fn parse(body: &[u8]) -> Option<ClientHello> {
        let mut cursor = Cursor::new(body);
        let legacy_version = cursor.u16()?;
        let random = cursor.array()?;
        let session_id = SessionId::new(cursor.vector8()?)?;
        let suites = cursor.vector16()?;
        cursor.vector8()?;
        let mut hello = ClientHello {
            legacy_version,
            max_version: Version::from_wire(legacy_version).map(|version| version.min(Version::Tls12)),
            random,
            session_id,
            ja4: Ja4::of(body),
            ..ClientHello::default()
        };
        hello.keep_ciphers(suites.as_chunks().0.iter().map(|suite| u16::from_be_bytes(*suite)));
        each_extension(cursor, |kind, extension| hello.extension(kind, extension))?;
        Some(hello)
    }

    /// Parses a ClientHello in SSL 2.0 format, without its two-byte header.
    pub fn parse_ssl2(message: &[u8]) -> Option<ClientHello> {
        let mut cursor = Cursor::new(message);
        if cursor.u8()? != 1 {
            return None;
        }
        let legacy_version = cursor.u16()?;
        let (suites, session, challenge) = (cursor.u16()?, cursor.u16()?, cursor.u16()?);
        let suites = cursor.take(suites.into())?;
        cursor.take(session.into())?;
        cursor.take(challenge.into())?;
        let mut hello = ClientHello {
            legacy_version,
            max_version: Version::from_wire(legacy_version),
            ..ClientHello::default()
        };
        let suites = suites.as_chunks::<3>().0.iter().filter(|[kind, ..]| *kind == 0);
        hello.keep_ciphers(suites.map(|[_, suite @ ..]| u16::from_be_bytes(*suite)));
        Some(hello)
    }

    fn keep_ciphers(&mut self, suites: impl Iterator<Item = u16> + Clone) {
        self.cipher_count = u16::try_from(suites.clone().count()).unwrap_or(u16::MAX);
        self.weak_ciphers =
            suites.clone().any(|suite| cipher::classify(suite).is_some_and(cipher::Class::is_weak));
        self.ciphers = suites.take(CIPHER_CAP).collect();
    }

    fn extension(&mut self, kind: u16, body: &[u8]) -> Option<()> {
        let mut cursor = Cursor::new(body);
        match kind {
            0 => {
                let mut names = Cursor::new(cursor.vector16()?);
                let host = names.u8()? == 0;
                let name = names.vector16()?;
                self.server_name = host.then(|| capped(name));
            }
            1 => self.max_fragment_length = Some(cursor.u8()?),
            10 => self.groups = groups(cursor.vector16()?),
            16 => {
                let mut list = Cursor::new(cursor.vector16()?);
                let mut names = Vec::new();
                while !list.is_empty() && names.len() < ALPN_CAP {
                    names.push(Box::from(list.vector8()?));
                }
                self.alpn = Some(names);
            }
            19 | 20 => self.certificate_types = true,
            23 => self.extended_master_secret = true,
            28 => self.record_size_limit = Some(cursor.u16()?),
            35 => {
                self.session_ticket = u16::try_from(body.len()).ok();
                self.ticket_name = SessionName::of(body);
            }
            41 => {
                let mut identities = Cursor::new(cursor.vector16()?);
                let identity_length = u16::try_from(identities.vector16()?.len()).ok()?;
                self.psk = Some(PskOffer { identity_length, obfuscated_age: identities.u32()? });
            }
            42 => self.early_data = true,
            43 => {
                let versions = cursor.vector8()?.as_chunks().0.iter();
                self.max_version = versions.filter_map(|v| Version::from_wire(u16::from_be_bytes(*v))).max();
            }
            49 => self.post_handshake_auth = true,
            51 => {
                let mut shares = Cursor::new(cursor.vector16()?);
                let mut groups = Vec::new();
                while !shares.is_empty() && groups.len() < GROUP_CAP {
                    groups.push(shares.u16()?);
                    shares.vector16()?;
                }
                self.key_shares = groups.into();
            }
            _ => {}
        }
        Some(())
    }
}

impl ServerHello {
    /// Parses the body of a ServerHello message; `None` if it is not one from end to end.
    pub fn parse(body: &[u8]) -> Option<ServerHello> {
        let mut cursor = Cursor::new(body);
        let version = cursor.u16()?;
        let random = cursor.array()?;
        let session_id = SessionId::new(cursor.vector8()?)?;
        let cipher = cursor.u16()?;
        cursor.u8()?;
        let mut hello = ServerHello {
            version: Version::from_wire(version),
            random,
            cipher,
            session_id,
            hello_retry: random == HELLO_RETRY_RANDOM,
            ..ServerHello::default()
        };
        each_extension(cursor, |kind, extension| hello.extension(kind, extension))?;
        Some(hello)
    }

    fn extension(&mut self, kind: u16, body: &[u8]) -> Option<()> {
        let mut cursor = Cursor::new(body);
        match kind {
            16 => self.alpn = Some(capped(Cursor::new(cursor.vector16()?).vector8()?)),
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
fn each_extension(mut cursor: Cursor, mut lend: impl FnMut(u16, &[u8]) -> Option<()>) -> Option<()> {
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

fn groups(list: &[u8]) -> Box<[u16]> {
    list.as_chunks().0.iter().take(GROUP_CAP).map(|group| u16::from_be_bytes(*group)).collect()
}

fn capped(name: &[u8]) -> Box<[u8]> {
    Box::from(name.get(..NAME_CAP).unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, client_hello, extension, hex};
    use super::*;
    use proptest::prelude::*;

    /// The body of the one handshake message of a record.
    fn body(lines: &[&str]) -> Vec<u8> {
        hex(lines).split_off(9)
    }

    #[test]
    fn a_real_client_hello() {
        let hello = ClientHello::parse(&body(testing::CLIENT_HELLO)).expect("a ClientHello");
        assert_eq!(hello.legacy_version, 0x0303);
        assert_eq!(hello.max_version, Some(Version::Tls13));
        assert_eq!(&*hello.ciphers, [0x1301]);
        assert_eq!((hello.cipher_count, hello.weak_ciphers), (1, false));
        assert_eq!(hello.server_name.as_deref(), Some(&b"localhost"[..]));
        assert_eq!(hello.alpn, Some(vec![Box::from(&b"h2"[..])]));
        assert_eq!(hello.session_id.as_bytes().len(), 32);
        assert_eq!((&*hello.groups, &*hello.key_shares), (&[29, 23, 24][..], &[29][..]));
        assert!(hello.extended_master_secret && !hello.early_data && !hello.post_handshake_auth);
        assert_eq!((hello.psk, hello.session_ticket, hello.record_size_limit), (None, None, None));
    }

    #[test]
    fn real_server_hellos() {
        let hello = ServerHello::parse(&body(testing::SERVER_HELLO)).expect("a ServerHello");
        assert_eq!((hello.version, hello.cipher, hello.key_share), (Some(Version::Tls13), 0x1301, Some(29)));
        assert!(!hello.hello_retry && !hello.psk_accepted && hello.alpn.is_none());
        assert_eq!(hello.session_id.as_bytes().len(), 32);
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
    fn offers_for_resumption_and_limits() {
        let mut extensions = extension(41, &[0, 11, 0, 5, 1, 2, 3, 4, 5, 0, 0, 1, 0, 0, 1, 0]);
        extensions.extend(extension(42, &[]));
        extensions.extend(extension(49, &[]));
        extensions.extend(extension(28, &[2, 0]));
        extensions.extend(extension(35, &[0; 40]));
        extensions.extend(extension(43, &[6, 0x3a, 0x3a, 3, 4, 3, 3]));
        let hello = ClientHello::parse(&client_hello(&extensions)[4..]).expect("a ClientHello");
        assert_eq!(hello.psk, Some(PskOffer { identity_length: 5, obfuscated_age: 256 }));
        assert!(hello.early_data && hello.post_handshake_auth);
        assert_eq!((hello.record_size_limit, hello.session_ticket), (Some(512), Some(40)));
        assert_eq!(hello.max_version, Some(Version::Tls13));
    }

    #[test]
    fn what_is_cut_short_is_no_hello() {
        for lines in [testing::CLIENT_HELLO, testing::SERVER_HELLO] {
            let whole = body(lines);
            // Without its extensions a hello is whole again (RFC 5246 section 7.4.1.2).
            let bare = if lines == testing::CLIENT_HELLO { 73 } else { 70 };
            for cut in (0..whole.len()).filter(|&cut| cut != bare) {
                let parsed = if lines == testing::CLIENT_HELLO {
                    ClientHello::parse(&whole[..cut]).is_some()
                } else {
                    ServerHello::parse(&whole[..cut]).is_some()
                };
                assert!(!parsed, "{cut}");
            }
        }
    }

    #[test]
    fn names_and_lists_are_capped() {
        let mut name = vec![0, 0];
        let host = [b'a'; 1000];
        name.splice(0..2, [3, 235, 0, 3, 232]);
        name.extend(host);
        let mut extensions = extension(0, &name);
        let protocols: Vec<u8> = [1, b'x'].repeat(100);
        extensions.extend(extension(16, &[&[0, 200], &protocols[..]].concat()));
        let hello = ClientHello::parse(&client_hello(&extensions)[4..]).expect("a ClientHello");
        assert_eq!(hello.server_name.map(|name| name.len()), Some(NAME_CAP));
        assert_eq!(hello.alpn.map(|names| names.len()), Some(ALPN_CAP));
    }

    #[test]
    fn ssl2_format_has_three_byte_suites() {
        let mut message = vec![1, 3, 1, 0, 6, 0, 0, 0, 16, 0, 0, 10, 7, 0, 0xc0];
        message.extend([5; 16]);
        let hello = ClientHello::parse_ssl2(&message).expect("a ClientHello");
        assert_eq!((hello.max_version, &*hello.ciphers), (Some(Version::Tls10), &[10][..]));
        assert!(hello.weak_ciphers);
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            ClientHello::parse(&bytes);
            ClientHello::parse_ssl2(&bytes);
            ServerHello::parse(&bytes);
        }

        #[test]
        fn any_damage_to_a_real_hello(at in 0usize..200, byte: u8) {
            for lines in [testing::CLIENT_HELLO, testing::SERVER_HELLO, testing::SERVER_HELLO_12] {
                let mut bytes = body(lines);
                if let Some(slot) = bytes.get_mut(at) {
                    *slot = byte;
                }
                if let Some(hello) = ClientHello::parse(&bytes) {
                    prop_assert!(hello.ciphers.len() <= CIPHER_CAP);
                }
                ServerHello::parse(&bytes);
            }
        }
    }
}
