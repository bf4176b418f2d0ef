//! Handshake messages out of record fragments (RFC 8446 section 4): split and coalesced in any way.

use std::cell::RefCell;
use std::sync::Arc;

use super::decrypted::Extensions;
use super::evidence::Chain;
use crate::protocol::cursor::Cursor;
use crate::protocol::repeated::{Once, Repeated};

/// The longest handshake message kept, in bytes; a longer one is passed over and marked.
pub const MESSAGE_CAP: usize = 128 * 1024;
/// Certificates kept of one chain.
pub const CERTIFICATE_CAP: usize = 16;
/// Bytes kept of one chain.
pub const CHAIN_CAP: usize = 64 * 1024;

/// Room made for a message before its bytes are there, at most.
const BELIEVED: usize = 8 * 1024;

/// Handshake message types (IANA TLS HandshakeType) that show something.
pub(super) mod kind {
    pub const CLIENT_HELLO: u8 = 1;
    pub const SERVER_HELLO: u8 = 2;
    pub const NEW_SESSION_TICKET: u8 = 4;
    pub const END_OF_EARLY_DATA: u8 = 5;
    pub const ENCRYPTED_EXTENSIONS: u8 = 8;
    pub const CERTIFICATE: u8 = 11;
    pub const SERVER_KEY_EXCHANGE: u8 = 12;
    pub const CERTIFICATE_REQUEST: u8 = 13;
    pub const SERVER_HELLO_DONE: u8 = 14;
    pub const CERTIFICATE_VERIFY: u8 = 15;
    pub const CLIENT_KEY_EXCHANGE: u8 = 16;
    pub const FINISHED: u8 = 20;
    pub const KEY_UPDATE: u8 = 24;
    pub const COMPRESSED_CERTIFICATE: u8 = 25;
}

/// One message that ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub(super) kind: u8,
    /// Its length, without the header of four bytes.
    pub(super) length: u32,
    /// Its body, if it is of a kind that is read and not over the cap.
    pub(super) body: Option<&'a [u8]>,
}

/// Puts messages of one side together.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    header: [u8; 4],
    header_have: u8,
    /// Bytes of the body still to come, once the header is whole.
    left: u32,
    /// Body bytes so far, of a message that is kept.
    body: Vec<u8>,
    /// The buffer holds a message already delivered.
    delivered: bool,
}

impl Assembler {
    /// Whether a message has begun and not ended.
    pub(super) fn in_message(&self) -> bool {
        self.header_have > 0
    }

    /// Bytes on the heap.
    pub(super) fn held(&self) -> usize {
        self.body.capacity()
    }

    /// Takes from the front of `input` up to the end of a message; `None` when `input` is used up first.
    pub(super) fn next<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Option<Message<'a>> {
        if self.delivered {
            self.body = Vec::new();
            self.delivered = false;
        }
        while let Some(slot) = self.header.get_mut(usize::from(self.header_have)) {
            let (&first, rest) = input.split_first()?;
            *slot = first;
            *input = rest;
            self.header_have += 1;
            if self.header_have == 4 {
                self.left = self.length();
            }
        }
        let keep = self.kept();
        let count = input.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let (part, rest) = input.split_at_checked(count)?;
        *input = rest;
        self.left = self.left.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
        let whole_at_once = self.left == 0 && self.body.is_empty();
        if keep && !whole_at_once {
            if self.body.is_empty() {
                // All of it at once, as far as a length that nothing followed yet is believed.
                self.body.reserve_exact((self.length() as usize).min(BELIEVED).max(part.len()));
            }
            self.body.extend_from_slice(part);
        }
        if self.left > 0 {
            return None;
        }
        self.header_have = 0;
        self.delivered = true;
        let body = if whole_at_once { part } else { &self.body };
        Some(Message { kind: self.kind(), length: self.length(), body: keep.then_some(body) })
    }

    fn kind(&self) -> u8 {
        self.header[0]
    }

    fn length(&self) -> u32 {
        let [_, a, b, c] = self.header;
        u32::from_be_bytes([0, a, b, c])
    }

    fn kept(&self) -> bool {
        let read = matches!(
            self.kind(),
            kind::CLIENT_HELLO
                | kind::SERVER_HELLO
                | kind::NEW_SESSION_TICKET
                | kind::ENCRYPTED_EXTENSIONS
                | kind::CERTIFICATE
                | kind::SERVER_KEY_EXCHANGE
        );
        read && self.length() as usize <= MESSAGE_CAP
    }
}

/// Whether `fragment`, of a record of `record` bytes, starts a hello in clear.
///
/// Tells a second hello from an encrypted message after ChangeCipherSpec; `None` asks for more bytes.
pub(super) fn looks_like_hello(fragment: &[u8], record: u16) -> Option<bool> {
    if record < 6 {
        return Some(false);
    }
    let mut cursor = Cursor::new(fragment);
    if !matches!(cursor.u8()?, kind::CLIENT_HELLO | kind::SERVER_HELLO) {
        return Some(false);
    }
    let length = cursor.u24()?;
    let version = cursor.u16()?;
    Some(version == 0x0303 && length >= 38 && length as usize <= MESSAGE_CAP)
}

/// Whether `fragment`, the first of a side in a record of `record` bytes, starts a message in clear:
/// a hello, or one of a handshake whose hello was not captured. `None` asks for more bytes.
pub(super) fn looks_like_start(fragment: &[u8], record: u16) -> Option<bool> {
    let mut cursor = Cursor::new(fragment);
    let first = cursor.u8()?;
    if matches!(first, kind::CLIENT_HELLO | kind::SERVER_HELLO) || record < 4 {
        return Some(matches!(first, kind::CLIENT_HELLO | kind::SERVER_HELLO));
    }
    let known = matches!(first, kind::CERTIFICATE..=kind::CLIENT_KEY_EXCHANGE);
    if !known {
        return Some(false);
    }
    let length = cursor.u24()?;
    let inside = length + 4 <= u32::from(record);
    Some(inside || (first == kind::CERTIFICATE && length as usize <= CHAIN_CAP))
}

/// Reads the body of a Certificate message of TLS 1.2 and before (RFC 5246 section 7.4.2).
pub(super) fn certificates(body: &[u8]) -> Option<Arc<Chain>> {
    let list = Cursor::new(body).vector24()?;
    CHAINS.with_borrow_mut(|chains| chains.get(list, || chain(list, false)))
}

/// Reads the body of a Certificate message of TLS 1.3 (RFC 8446 section 4.4.2).
pub(super) fn certificates_modern(body: &[u8]) -> Option<Arc<Chain>> {
    let mut outer = Cursor::new(body);
    outer.vector8()?;
    chain(outer.vector24()?, true)
}

/// Reads the body of EncryptedExtensions (RFC 8446 section 4.3.1).
pub(super) fn encrypted_extensions(body: &[u8]) -> Option<Extensions> {
    let mut list = Cursor::new(Cursor::new(body).vector16()?);
    let mut extensions = Extensions::default();
    while !list.is_empty() {
        let kind = list.u16()?;
        let mut extension = Cursor::new(list.vector16()?);
        match kind {
            16 => extensions.alpn = Some(Box::from(Cursor::new(extension.vector16()?).vector8()?)),
            42 => extensions.early_data = true,
            _ => {}
        }
    }
    Some(extensions)
}

/// Certificates, each followed by extensions in TLS 1.3.
fn chain(list: &[u8], extensions: bool) -> Option<Arc<Chain>> {
    let mut list = Cursor::new(list);
    let (mut certificates, mut complete) = (Vec::new(), true);
    let mut kept = 0;
    while !list.is_empty() {
        let certificate = list.vector24()?;
        if extensions {
            list.vector16()?;
        }
        kept += certificate.len();
        if certificates.len() == CERTIFICATE_CAP || kept > CHAIN_CAP {
            complete = false;
            break;
        }
        certificates.push(Box::from(certificate));
    }
    let chain = Chain::new(certificates, complete);
    Some(ONE_OF_ALL.get(chain.id(), chain))
}

static ONE_OF_ALL: Once<Chain> = Once::new();

thread_local! {
    /// The chains in clear that this thread's connections showed: most show one of a few.
    static CHAINS: RefCell<Repeated<Arc<Chain>>> = RefCell::default();
}

/// The ticket of a NewSessionTicket of TLS 1.2 and before (RFC 5077 section 3.3).
pub(super) fn ticket(body: &[u8]) -> Option<&[u8]> {
    let mut cursor = Cursor::new(body);
    cursor.u32()?;
    cursor.vector16()
}

/// The named curve of a ServerKeyExchange, when it is an elliptic-curve one (RFC 8422 section 5.4).
pub(super) fn named_curve(body: &[u8]) -> Option<u16> {
    let mut cursor = Cursor::new(body);
    if cursor.u8()? != 3 {
        return None;
    }
    cursor.u16()
}

#[cfg(test)]
mod tests {
    use super::super::testing::message;
    use super::*;
    use proptest::prelude::*;

    /// Kinds, lengths and bodies of all messages, when the bytes come in pieces of these sizes.
    fn assemble(bytes: &[u8], pieces: &[usize]) -> Vec<(u8, u32, Option<Vec<u8>>)> {
        let mut assembler = Assembler::default();
        let mut found = Vec::new();
        let mut rest = bytes;
        let mut sizes = pieces.iter().cycle();
        while !rest.is_empty() {
            let size = sizes.next().map_or(rest.len(), |&size| size.clamp(1, rest.len()));
            let (mut piece, next) = rest.split_at(size);
            rest = next;
            while let Some(message) = assembler.next(&mut piece) {
                found.push((message.kind, message.length, message.body.map(<[u8]>::to_vec)));
            }
        }
        found
    }

    #[test]
    fn coalesced_and_split_messages() {
        let bytes =
            [message(1, &[1, 2, 3]), message(14, &[]), message(16, &[9; 70]), message(11, &[0, 0, 0])]
                .concat();
        let expected =
            vec![(1, 3, Some(vec![1, 2, 3])), (14, 0, None), (16, 70, None), (11, 3, Some(vec![0, 0, 0]))];
        for size in 1..bytes.len() {
            assert_eq!(assemble(&bytes, &[size]), expected, "{size}");
        }
    }

    #[test]
    fn a_message_over_the_cap_is_passed_over() {
        let bytes = [message(11, &vec![0; MESSAGE_CAP + 1]), message(1, &[5])].concat();
        assert_eq!(
            assemble(&bytes, &[1000]),
            vec![(11, MESSAGE_CAP as u32 + 1, None), (1, 1, Some(vec![5]))]
        );
    }

    #[test]
    fn chains_are_capped() {
        let nothing = |complete| Some(Arc::new(Chain::new(Vec::new(), complete)));
        assert_eq!(certificates(&[0, 0, 0]), nothing(true));
        assert_eq!(certificates(&[0, 0, 4, 0, 0, 2, 7]), None);
        let many = [&[0, 0, 160][..], &[0, 0, 1, 7].repeat(40)].concat();
        let chain = certificates(&many).expect("a chain");
        assert_eq!((chain.certificates.len(), chain.complete), (CERTIFICATE_CAP, false));
        let mut long = vec![1, 0x38, 0x83, 1, 0x38, 0x80];
        long.resize(3 + 0x1_3883, 0);
        assert_eq!(certificates(&long), nothing(false));
        assert!(Arc::ptr_eq(&chain, &certificates(&many).expect("the same")));
    }

    #[test]
    fn curves() {
        assert_eq!(named_curve(&[3, 0, 29, 32]), Some(29));
        assert_eq!(named_curve(&[0, 1, 0]), None);
    }

    #[test]
    fn a_chain_of_tls_1_3_has_a_context_and_extensions() {
        let body = [0, 0, 0, 14, 0, 0, 2, 7, 8, 0, 0, 0, 0, 1, 9, 0, 1, 5];
        let chain = certificates_modern(&body).unwrap();
        assert_eq!(*chain.certificates, [Box::from([7, 8]), Box::from([9])]);
        assert!(certificates_modern(&[0, 0, 0, 0]).unwrap().certificates.is_empty());
        assert!(certificates_modern(&body[..17]).is_none());
    }

    #[test]
    fn encrypted_extensions_name_the_protocol_chosen() {
        let body = [0, 13, 0, 16, 0, 5, 0, 3, 2, b'h', b'2', 0, 42, 0, 0];
        let expected = Extensions { alpn: Some(Box::from(*b"h2")), early_data: true };
        assert_eq!(encrypted_extensions(&body), Some(expected));
        assert_eq!(encrypted_extensions(&[0, 0]), Some(Extensions::default()));
        assert_eq!(encrypted_extensions(&body[..12]), None);
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            bytes in proptest::collection::vec(prop_oneof![Just(0u8), 0u8..20, any::<u8>()], 0..600),
            pieces in proptest::collection::vec(1usize..80, 1..8),
        ) {
            prop_assert_eq!(assemble(&bytes, &pieces), assemble(&bytes, &[]));
            certificates(&bytes);
            named_curve(&bytes);
        }

        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            encrypted_extensions(&bytes);
            for chain in [certificates(&bytes), certificates_modern(&bytes)].into_iter().flatten() {
                prop_assert!(chain.certificates.iter().map(|one| one.len()).sum::<usize>() <= bytes.len());
            }
        }
    }
}
