//! One direction's record protection: nonce, additional data, and ring's AEAD in place.

use std::fmt;

use ring::aead::{Aad, Algorithm, LessSafeKey, MAX_TAG_LEN, NONCE_LEN, Nonce, UnboundKey};

use crate::protocol::tls::record::{Header, Kind, MAX_PROTECTED};

/// How a record's nonce is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nonces {
    /// TLS 1.3: the sequence number mixed into the IV; the content type is inside (RFC 8446 section 5.3).
    Modern,
    /// ChaCha20-Poly1305 in TLS 1.2: the same nonce, the content type outside (RFC 7905 section 2).
    Sequence,
    /// AES-GCM in TLS 1.2: half of it stands before the ciphertext (RFC 5288 section 3).
    Explicit,
}

/// Bytes of an explicit nonce.
const EXPLICIT: usize = 8;

/// The key of one direction, and the number of its next record.
pub(super) struct RecordKey {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    nonces: Nonces,
    sequence: u64,
}

impl RecordKey {
    pub(super) fn new(
        algorithm: &'static Algorithm,
        key: &[u8],
        iv: [u8; NONCE_LEN],
        nonces: Nonces,
    ) -> Option<RecordKey> {
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?);
        Some(RecordKey { key, iv, nonces, sequence: 0 })
    }

    /// No record was opened yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.sequence == 0
    }

    /// A record whose bytes are missing went by.
    pub(super) fn pass(&mut self) {
        self.sequence = self.sequence.saturating_add(1);
    }

    /// Opens the next record into `scratch`: its content type, and how many bytes there are its content.
    ///
    /// `None` if it does not open; the sequence number then stays.
    pub(super) fn open(
        &mut self,
        header: Header,
        body: &[u8],
        scratch: &mut Vec<u8>,
    ) -> Option<(Kind, usize)> {
        let mut nonce = self.iv;
        let mut sealed = body;
        if self.nonces == Nonces::Explicit {
            let (explicit, rest) = body.split_at_checked(EXPLICIT)?;
            nonce.get_mut(NONCE_LEN - EXPLICIT..)?.copy_from_slice(explicit);
            sealed = rest;
        } else {
            let sequence = self.sequence.to_be_bytes();
            let low = nonce.get_mut(NONCE_LEN - sequence.len()..)?;
            low.iter_mut().zip(sequence).for_each(|(byte, number)| *byte ^= number);
        }
        if sealed.len() > usize::from(MAX_PROTECTED) {
            return None;
        }
        let length = sealed.len().checked_sub(MAX_TAG_LEN)?;
        scratch.clear();
        scratch.extend_from_slice(sealed);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let content = match self.nonces {
            Nonces::Modern => {
                let [major, minor] = header.version.to_be_bytes();
                let [high, low] = header.length.to_be_bytes();
                let header = [header.kind.wire(), major, minor, high, low];
                self.key.open_in_place(nonce, Aad::from(header), scratch).ok()?
            }
            Nonces::Sequence | Nonces::Explicit => {
                let mut additional = [0; 13];
                let (sequence, rest) = additional.split_first_chunk_mut::<8>()?;
                *sequence = self.sequence.to_be_bytes();
                let [major, minor] = header.version.to_be_bytes();
                let [high, low] = u16::try_from(length).ok()?.to_be_bytes();
                rest.copy_from_slice(&[header.kind.wire(), major, minor, high, low]);
                self.key.open_in_place(nonce, Aad::from(additional), scratch).ok()?
            }
        };
        self.sequence = self.sequence.checked_add(1)?;
        if self.nonces != Nonces::Modern {
            return Some((header.kind, content.len()));
        }
        // Content, its type, and any number of zeros (RFC 8446 section 5.2).
        let last = content.iter().rposition(|byte| *byte != 0)?;
        Some((Kind::from_wire(*content.get(last)?)?, last))
    }
}

#[cfg(test)]
impl RecordKey {
    /// The next record, whole, as its sender makes it.
    pub(super) fn seal(&mut self, kind: Kind, content: &[u8], zeros: usize) -> Vec<u8> {
        let mut inside = content.to_vec();
        let sequence = self.sequence.to_be_bytes();
        let mut nonce = self.iv;
        let (mut outer, mut explicit) = (kind.wire(), Vec::new());
        let mut additional = Vec::new();
        if self.nonces == Nonces::Explicit {
            explicit.extend(sequence);
            nonce[4..].copy_from_slice(&sequence);
        } else {
            nonce[4..].iter_mut().zip(sequence).for_each(|(byte, number)| *byte ^= number);
        }
        if self.nonces == Nonces::Modern {
            inside.push(kind.wire());
            inside.resize(inside.len() + zeros, 0);
            outer = Kind::ApplicationData.wire();
        } else {
            additional.extend(sequence);
        }
        let sealed = explicit.len() + inside.len() + MAX_TAG_LEN;
        let authenticated = if self.nonces == Nonces::Modern { sealed } else { inside.len() };
        let length = |length: usize| u16::try_from(length).expect("a record is short").to_be_bytes();
        additional.extend([outer, 3, 3]);
        additional.extend(length(authenticated));
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(nonce, Aad::from(additional), &mut inside).expect("it seals");
        self.sequence += 1;
        [&[outer, 3, 3][..], &length(sealed), &explicit, &inside].concat()
    }
}

impl fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordKey(.., record {})", self.sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::tls::decrypt::schedule::Suite;
    use crate::protocol::tls::decrypt::testing::{RFC8448, hex};
    use crate::protocol::tls::hello::Version;
    use proptest::prelude::*;
    use ring::aead::CHACHA20_POLY1305;

    /// RFC 8448 section 3, "{client} send application_data record": the bytes 0 to 49.
    #[test]
    fn a_published_record_opens_once_and_in_its_place() {
        let suite = Suite::of(Version::Tls13, 0x1301).unwrap();
        let mut key = suite.traffic_key(&hex(RFC8448.client_application)).unwrap();
        let record = hex(RFC8448.client_data);
        let header = Header::read(&record).unwrap().unwrap();
        let mut scratch = Vec::new();
        let expected: Vec<u8> = (0..50).collect();
        assert_eq!(key.open(header, &record[5..], &mut scratch), Some((Kind::ApplicationData, 50)));
        assert_eq!(scratch[..50], expected);
        assert!(key.open(header, &record[5..], &mut scratch).is_none(), "not under the next number");
        let mut other = suite.traffic_key(&hex(RFC8448.server_application)).unwrap();
        assert!(other.open(header, &record[5..], &mut scratch).is_none(), "not under another key");
        assert!(other.is_fresh() && !key.is_fresh());
    }

    fn key(nonces: Nonces) -> RecordKey {
        RecordKey::new(&CHACHA20_POLY1305, &[7; 32], [9; 12], nonces).unwrap()
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let length = u16::try_from(body.len()).unwrap();
            let header = Header { kind: Kind::ApplicationData, version: 0x0303, length };
            for nonces in [Nonces::Modern, Nonces::Sequence, Nonces::Explicit] {
                let mut key = key(nonces);
                prop_assert!(key.open(header, &body, &mut Vec::new()).is_none());
                prop_assert!(key.is_fresh());
            }
        }

        #[test]
        fn what_was_sealed_opens(
            content in proptest::collection::vec(any::<u8>(), 0..100), zeros in 0usize..20, before in 0u64..3,
            nonces in proptest::sample::select(vec![Nonces::Modern, Nonces::Sequence, Nonces::Explicit]),
        ) {
            let mut sender = key(nonces);
            let mut receiver = key(nonces);
            (0..before).for_each(|_| sender.pass());
            let record = sender.seal(Kind::Handshake, &content, zeros);
            let header = Header::read(&record).unwrap().unwrap();
            (0..before).for_each(|_| receiver.pass());
            let mut scratch = Vec::new();
            let opened = receiver.open(header, &record[5..], &mut scratch);
            prop_assert_eq!(opened, Some((Kind::Handshake, content.len())));
            prop_assert_eq!(&scratch[..content.len()], &content);
        }
    }
}
