//! ClientHello (RFC 8446 section 4.1.2, RFC 5246 section 7.4.1.2 and appendix E.2).
//!
//! What software repeats in every hello of its own is a [`Shape`], parsed once and shared by connections.

use std::cell::RefCell;
use std::ops::Deref;
use std::sync::Arc;

use super::cipher;
use super::hello::{Opening, Version, capped, each_extension};
use super::ja4::Ja4;
use super::resume::SessionName;
use crate::protocol::cursor::Cursor;
use crate::protocol::repeated::{self, Repeated};

/// Cipher suites kept of a ClientHello; more are counted, and looked at for weakness, but not kept.
pub const CIPHER_CAP: usize = 64;
/// Named groups kept of each list of a ClientHello.
pub const GROUP_CAP: usize = 32;
/// Application protocols kept of a ClientHello.
pub const ALPN_CAP: usize = 16;

/// Extensions (IANA TLS ExtensionType) that are read.
mod kind {
    pub(super) const SERVER_NAME: u16 = 0;
    pub(super) const MAX_FRAGMENT_LENGTH: u16 = 1;
    pub(super) const SUPPORTED_GROUPS: u16 = 10;
    pub(super) const SIGNATURE_ALGORITHMS: u16 = 13;
    pub(super) const ALPN: u16 = 16;
    pub(super) const CLIENT_CERTIFICATE_TYPE: u16 = 19;
    pub(super) const SERVER_CERTIFICATE_TYPE: u16 = 20;
    pub(super) const EXTENDED_MASTER_SECRET: u16 = 23;
    pub(super) const RECORD_SIZE_LIMIT: u16 = 28;
    pub(super) const SESSION_TICKET: u16 = 35;
    pub(super) const PRE_SHARED_KEY: u16 = 41;
    pub(super) const EARLY_DATA: u16 = 42;
    pub(super) const SUPPORTED_VERSIONS: u16 = 43;
    pub(super) const POST_HANDSHAKE_AUTH: u16 = 49;
    pub(super) const KEY_SHARE: u16 = 51;
}

/// The first identity of a `pre_shared_key` extension (RFC 8446 section 4.2.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PskOffer {
    /// Bytes of the identity: for a resumption, of the ticket.
    pub identity_length: u16,
    /// Milliseconds since the ticket came plus the ticket's secret offset, modulo 2^32; 0 for an external key.
    pub obfuscated_age: u32,
}

/// What a client offered: its own, and through [`Deref`] the [`Shape`] it shares with others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClientHello {
    pub(super) shape: Arc<Shape>,
    /// Random, by which a key log names a connection, and session identifier; none in SSL 2.0 format, and
    /// none once both sides encrypt and there are no keys.
    pub opening: Option<Box<Opening>>,
    /// The first host name of `server_name` (RFC 6066 section 3), at most [`super::super::NAME_CAP`] bytes, raw:
    /// hostile until escaped.
    pub server_name: Option<Arc<[u8]>>,
    /// Bytes of the `session_ticket` extension (RFC 5077); 0 asks for a ticket.
    pub session_ticket: Option<u16>,
    /// What stands for that ticket, if there is one.
    pub ticket_name: Option<SessionName>,
    /// The first pre-shared key offered.
    pub psk: Option<PskOffer>,
}

/// The part of a ClientHello that does not change from connection to connection of one program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Shape {
    /// client_version: 0x0303 from TLS 1.2 on.
    pub legacy_version: u16,
    /// The highest version offered, from `supported_versions` where present; GREASE is ignored.
    pub max_version: Option<Version>,
    /// The first [`CIPHER_CAP`] cipher suites, in the client's order, GREASE included.
    pub ciphers: Box<[u16]>,
    /// How many were offered in all.
    pub cipher_count: u16,
    /// One of them is weak; see [`cipher::Class::is_weak`].
    pub weak_ciphers: bool,
    /// The `application_layer_protocol_negotiation` list (RFC 7301), at most [`ALPN_CAP`] entries, raw.
    pub alpn: Option<Vec<Box<[u8]>>>,
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

impl ClientHello {
    /// Bytes on the heap, as if it shared its shape with nobody.
    pub(super) fn held(&self) -> usize {
        let Shape { ciphers, alpn, groups, key_shares, .. } = &*self.shape;
        let alpn = alpn.iter().flatten().map(|name| size_of_val(name) + name.len());
        size_of::<Shape>()
            + size_of_val(&**ciphers)
            + size_of_val(&**groups)
            + size_of_val(&**key_shares)
            + alpn.sum::<usize>()
            + self.opening.as_deref().map_or(0, size_of_val)
            + self.server_name.as_deref().map_or(0, <[u8]>::len)
    }
}

impl Deref for ClientHello {
    type Target = Shape;

    fn deref(&self) -> &Shape {
        &self.shape
    }
}

impl ClientHello {
    /// Parses the body of a ClientHello message; `None` if it is not one from end to end.
    pub fn parse(body: &[u8]) -> Option<ClientHello> {
        let mut cursor = Cursor::new(body);
        let legacy_version = cursor.u16()?;
        let opening = Opening::read(&mut cursor)?;
        let suites = cursor.vector16()?;
        cursor.vector8()?;
        let mut own = Own::default();
        let shape = CACHES.with_borrow_mut(|Caches { key, shapes }| {
            key.clear();
            key.extend(legacy_version.to_be_bytes());
            key.extend((suites.len() as u16).to_be_bytes());
            key.extend(suites);
            each_extension(cursor, |kind, extension| {
                key.extend(kind.to_be_bytes());
                own.extension(kind, extension, key)
            })?;
            shapes.get(key, || Shape::parse(body, legacy_version, suites, cursor).map(Arc::new))
        })?;
        let Own { server_name, session_ticket, ticket_name, psk } = own;
        let opening = Some(Box::new(opening));
        Some(ClientHello { shape, opening, server_name, session_ticket, ticket_name, psk })
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
        let mut shape =
            Shape { legacy_version, max_version: Version::from_wire(legacy_version), ..Shape::default() };
        let suites = suites.as_chunks::<3>().0.iter().filter(|[kind, ..]| *kind == 0);
        shape.keep_ciphers(suites.map(|[_, suite @ ..]| u16::from_be_bytes(*suite)));
        Some(ClientHello { shape: Arc::new(shape), ..ClientHello::default() })
    }

    /// The client's random, as long as it is kept.
    pub(super) fn random(&self) -> [u8; 32] {
        self.opening.as_ref().map_or_else(Default::default, |opening| opening.random)
    }

    /// It answers a HelloRetryRequest to `first`, whose fingerprint stands.
    pub(super) fn follows(&mut self, first: &ClientHello) {
        if self.ja4 != first.ja4 {
            Arc::make_mut(&mut self.shape).ja4 = first.ja4;
        }
    }
}

/// What extensions say that is one connection's own.
#[derive(Default)]
struct Own {
    server_name: Option<Arc<[u8]>>,
    session_ticket: Option<u16>,
    ticket_name: Option<SessionName>,
    psk: Option<PskOffer>,
}

impl Own {
    /// Takes what is this connection's own, and writes what belongs to the shape to `key`.
    fn extension(&mut self, kind: u16, body: &[u8], key: &mut Vec<u8>) -> Option<()> {
        let mut cursor = Cursor::new(body);
        match kind {
            kind::SERVER_NAME => {
                let mut list = Cursor::new(cursor.vector16()?);
                let host = list.u8()? == 0;
                let name = capped(list.vector16()?);
                self.server_name = host.then(|| repeated::name(name));
            }
            kind::SESSION_TICKET => {
                self.session_ticket = u16::try_from(body.len()).ok();
                self.ticket_name = SessionName::of(body);
            }
            kind::PRE_SHARED_KEY => {
                let mut identities = Cursor::new(cursor.vector16()?);
                let identity_length = u16::try_from(identities.vector16()?.len()).ok()?;
                self.psk = Some(PskOffer { identity_length, obfuscated_age: identities.u32()? });
            }
            kind::KEY_SHARE => {
                let start = key.len();
                key.extend([0; 2]);
                each_key_share(body, |group| key.extend(group.to_be_bytes()))?;
                let length = (key.len() - start) as u16;
                key.get_mut(start..start + 2)?.copy_from_slice(&length.to_be_bytes());
            }
            kind::MAX_FRAGMENT_LENGTH
            | kind::SUPPORTED_GROUPS
            | kind::SIGNATURE_ALGORITHMS
            | kind::ALPN
            | kind::RECORD_SIZE_LIMIT
            | kind::SUPPORTED_VERSIONS => {
                key.extend((body.len() as u16).to_be_bytes());
                key.extend(body);
            }
            _ => {}
        }
        Some(())
    }
}

impl Shape {
    /// Of the hello in `body`, whose version, suites and extensions these are.
    fn parse(body: &[u8], legacy_version: u16, suites: &[u8], extensions: Cursor) -> Option<Shape> {
        let mut shape = Shape {
            legacy_version,
            max_version: Version::from_wire(legacy_version).map(|version| version.min(Version::Tls12)),
            ja4: Ja4::of(body),
            ..Shape::default()
        };
        shape.keep_ciphers(suites.as_chunks().0.iter().map(|suite| u16::from_be_bytes(*suite)));
        each_extension(extensions, |kind, extension| shape.extension(kind, extension))?;
        Some(shape)
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
            kind::MAX_FRAGMENT_LENGTH => self.max_fragment_length = Some(cursor.u8()?),
            kind::SUPPORTED_GROUPS => {
                let list = cursor.vector16()?.as_chunks().0.iter();
                self.groups = list.take(GROUP_CAP).map(|group| u16::from_be_bytes(*group)).collect();
            }
            kind::ALPN => {
                let mut list = Cursor::new(cursor.vector16()?);
                let mut names = Vec::new();
                while !list.is_empty() && names.len() < ALPN_CAP {
                    names.push(Box::from(list.vector8()?));
                }
                self.alpn = Some(names);
            }
            kind::CLIENT_CERTIFICATE_TYPE | kind::SERVER_CERTIFICATE_TYPE => self.certificate_types = true,
            kind::EXTENDED_MASTER_SECRET => self.extended_master_secret = true,
            kind::RECORD_SIZE_LIMIT => self.record_size_limit = Some(cursor.u16()?),
            kind::EARLY_DATA => self.early_data = true,
            kind::SUPPORTED_VERSIONS => {
                let versions = cursor.vector8()?.as_chunks().0.iter();
                self.max_version = versions.filter_map(|v| Version::from_wire(u16::from_be_bytes(*v))).max();
            }
            kind::POST_HANDSHAKE_AUTH => self.post_handshake_auth = true,
            kind::KEY_SHARE => {
                let mut groups = Vec::new();
                each_key_share(body, |group| groups.push(group))?;
                self.key_shares = groups.into();
            }
            _ => {}
        }
        Some(())
    }
}

/// What this thread's connections share.
#[derive(Default)]
struct Caches {
    /// A key being put together.
    key: Vec<u8>,
    shapes: Repeated<Arc<Shape>>,
}

thread_local! {
    static CACHES: RefCell<Caches> = RefCell::default();
}

/// Lends the groups of a `key_share` extension, at most [`GROUP_CAP`].
fn each_key_share(body: &[u8], mut lend: impl FnMut(u16)) -> Option<()> {
    let mut shares = Cursor::new(Cursor::new(body).vector16()?);
    for _ in 0..GROUP_CAP {
        if shares.is_empty() {
            break;
        }
        lend(shares.u16()?);
        shares.vector16()?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, client_hello, extension, hex};
    use super::*;
    use crate::protocol::NAME_CAP;
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
        assert_eq!(hello.opening.as_ref().unwrap().session_id.as_bytes().len(), 32);
        assert_eq!((&*hello.groups, &*hello.key_shares), (&[29, 23, 24][..], &[29][..]));
        assert!(hello.extended_master_secret && !hello.early_data && !hello.post_handshake_auth);
        assert_eq!((hello.psk, hello.session_ticket, hello.record_size_limit), (None, None, None));
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
    fn names_and_lists_are_capped() {
        let mut name = vec![0, 0];
        let host = [b'a'; 1000];
        name.splice(0..2, [3, 235, 0, 3, 232]);
        name.extend(host);
        let mut extensions = extension(0, &name);
        let protocols: Vec<u8> = [1, b'x'].repeat(100);
        extensions.extend(extension(16, &[&[0, 200], &protocols[..]].concat()));
        let hello = ClientHello::parse(&client_hello(&extensions)[4..]).expect("a ClientHello");
        assert_eq!(hello.server_name.as_ref().map(|name| name.len()), Some(NAME_CAP));
        assert_eq!(hello.alpn.as_ref().map(Vec::len), Some(ALPN_CAP));
    }

    #[test]
    fn ssl2_format_has_three_byte_suites() {
        let mut message = vec![1, 3, 1, 0, 6, 0, 0, 0, 16, 0, 0, 10, 7, 0, 0xc0];
        message.extend([5; 16]);
        let hello = ClientHello::parse_ssl2(&message).expect("a ClientHello");
        assert_eq!((hello.max_version, &*hello.ciphers), (Some(Version::Tls10), &[10][..]));
        assert!(hello.weak_ciphers);
    }

    #[test]
    fn what_is_cut_short_is_no_hello() {
        let whole = body(testing::CLIENT_HELLO);
        // Without its extensions a hello is whole again (RFC 5246 section 7.4.1.2).
        for cut in (0..whole.len()).filter(|&cut| cut != 73) {
            assert!(ClientHello::parse(&whole[..cut]).is_none(), "{cut}");
        }
    }

    #[test]
    fn hellos_of_one_program_share_what_repeats() {
        let first = body(testing::CLIENT_HELLO);
        let mut second = first.clone();
        second[2..34].copy_from_slice(&[9; 32]);
        let at = second.windows(9).position(|name| name == b"localhost").expect("its name");
        second[at] = b'v';
        let [first, second] = [first, second].map(|body| ClientHello::parse(&body).expect("a ClientHello"));
        assert!(Arc::ptr_eq(&first.shape, &second.shape));
        assert_eq!(second.server_name.as_deref(), Some(&b"vocalhost"[..]));
        assert_ne!(first.opening, second.opening);
    }

    /// The same hello, with nothing remembered from another.
    fn parsed_afresh(body: &[u8]) -> Option<ClientHello> {
        CACHES.set(Caches::default());
        ClientHello::parse(body)
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            ClientHello::parse(&bytes);
            ClientHello::parse_ssl2(&bytes);
        }

        #[test]
        fn what_is_remembered_changes_no_hello(
            damage in proptest::collection::vec((0usize..200, any::<u8>()), 1..4),
        ) {
            let whole = body(testing::CLIENT_HELLO);
            let mut bytes = whole.clone();
            for (at, byte) in damage {
                if let Some(slot) = bytes.get_mut(at) {
                    *slot = byte;
                }
            }
            ClientHello::parse(&whole);
            let hello = ClientHello::parse(&bytes);
            prop_assert!(hello.as_ref().is_none_or(|hello| hello.ciphers.len() <= CIPHER_CAP));
            prop_assert_eq!(hello.as_ref().and_then(|hello| hello.ja4), hello.as_ref().and_then(|_| Ja4::of(&bytes)));
            prop_assert_eq!(parsed_afresh(&bytes), hello);
        }
    }
}
