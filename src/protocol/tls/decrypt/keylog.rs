//! Key logs in NSS format (draft-ietf-tls-keylogfile): what `SSLKEYLOGFILE` and pcapng secrets blocks hold.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

/// Sessions whose secrets are kept; lines of further ones are counted and left out.
pub const SESSION_CAP: usize = 500_000;
/// The longest line read, in bytes; the longest that means anything has 200.
pub const LINE_CAP: usize = 1024;

/// The longest secret: as long as the longest hash of a cipher suite, and as a master secret.
const SECRET_CAP: usize = 48;
/// Bytes of a client's random, by which a log names the connection.
const RANDOM: usize = 32;

/// All secrets an audit was given. It may grow while flows are read; they look once, at their ServerHello.
#[derive(Default)]
pub struct KeyStore {
    sessions: RwLock<Sessions>,
    grows: AtomicBool,
}

#[derive(Default)]
struct Sessions {
    by_random: HashMap<[u8; RANDOM], Secrets>,
    given: bool,
    refused: u64,
}

/// What one piece of a key log came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// Lines with a secret that is used.
    pub secrets: u64,
    /// Lines of the format whose label is not used.
    pub unused: u64,
    /// Number of the first line that is no line of a key log, from 1.
    pub foreign: Option<u64>,
}

impl KeyStore {
    /// Reads lines; those that are not understood are left out.
    pub fn add(&self, log: &[u8]) -> Added {
        let mut added = Added::default();
        let mut sessions = self.sessions.write().unwrap_or_else(PoisonError::into_inner);
        sessions.given = true;
        for (number, line) in (1..).zip(log.split(|byte| *byte == b'\n')) {
            match Line::read(line) {
                Line::Secret(label, random, secret) => {
                    added.secrets += 1;
                    sessions.keep(label, random, secret);
                }
                Line::Unused => added.unused += 1,
                Line::Empty => {}
                Line::Foreign => {
                    added.foreign.get_or_insert(number);
                }
            }
        }
        added
    }

    /// Keys may come later than the packets they open, as with a log that is being written.
    pub fn expect_more(&self) {
        self.grows.store(true, Ordering::Relaxed);
    }

    /// Whether [`KeyStore::expect_more`] was said.
    pub(in crate::protocol::tls) fn grows(&self) -> bool {
        self.grows.load(Ordering::Relaxed)
    }

    /// Some key log was given, however little it holds.
    pub fn is_given(&self) -> bool {
        self.sessions.read().unwrap_or_else(PoisonError::into_inner).given
    }

    /// Lines left out because [`SESSION_CAP`] was reached.
    pub fn refused(&self) -> u64 {
        self.sessions.read().unwrap_or_else(PoisonError::into_inner).refused
    }

    /// The secrets of the connection whose client chose this random.
    pub(in crate::protocol::tls) fn secrets(&self, random: &[u8; RANDOM]) -> Option<Secrets> {
        self.sessions.read().unwrap_or_else(PoisonError::into_inner).by_random.get(random).cloned()
    }
}

impl fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyStore(..)")
    }
}

impl Sessions {
    fn keep(&mut self, label: Label, random: [u8; RANDOM], secret: Secret) {
        if self.by_random.len() >= SESSION_CAP && !self.by_random.contains_key(&random) {
            self.refused += 1;
            return;
        }
        let secrets = self.by_random.entry(random).or_default();
        if let Some(slot) = secrets.0.get_mut(label as usize) {
            *slot = Some(secret);
        }
    }
}

/// What a secret is for; the labels of a key log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    /// `CLIENT_RANDOM`: the master secret of TLS 1.2 and before, whatever the key exchange.
    Master,
    /// `CLIENT_EARLY_TRAFFIC_SECRET`.
    ClientEarly,
    /// `CLIENT_HANDSHAKE_TRAFFIC_SECRET`.
    ClientHandshake,
    /// `SERVER_HANDSHAKE_TRAFFIC_SECRET`.
    ServerHandshake,
    /// `CLIENT_TRAFFIC_SECRET_0`.
    ClientApplication,
    /// `SERVER_TRAFFIC_SECRET_0`.
    ServerApplication,
}

/// The secrets of one connection.
#[derive(Clone, Debug, Default)]
pub(in crate::protocol::tls) struct Secrets([Option<Secret>; 6]);

impl Secrets {
    pub(super) fn get(&self, label: Label) -> Option<&[u8]> {
        self.0.get(label as usize)?.as_ref().map(Secret::as_bytes)
    }
}

/// One secret. Never shown, and overwritten when it is let go of.
#[derive(Clone)]
pub(super) struct Secret {
    bytes: [u8; SECRET_CAP],
    length: usize,
}

impl Secret {
    pub(super) fn new(secret: &[u8]) -> Option<Secret> {
        let mut bytes = [0; SECRET_CAP];
        bytes.get_mut(..secret.len())?.copy_from_slice(secret);
        Some(Secret { bytes, length: secret.len() })
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.bytes = [0; SECRET_CAP];
        // Keeps the compiler from leaving the overwriting out.
        std::hint::black_box(&self.bytes);
    }
}

enum Line {
    Secret(Label, [u8; RANDOM], Secret),
    Unused,
    Empty,
    Foreign,
}

impl Line {
    fn read(line: &[u8]) -> Line {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            return Line::Empty;
        }
        if line.len() > LINE_CAP {
            return Line::Foreign;
        }
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let (Some(label), Some(random), Some(secret), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Line::Foreign;
        };
        let hex = |word: &[u8]| word.len().is_multiple_of(2) && word.iter().all(u8::is_ascii_hexdigit);
        let named = label.iter().all(|byte| byte.is_ascii_uppercase() || matches!(byte, b'_' | b'0'..=b'9'));
        if !named || !hex(random) || !hex(secret) {
            return Line::Foreign;
        }
        let label = match label {
            b"CLIENT_RANDOM" => Label::Master,
            b"CLIENT_EARLY_TRAFFIC_SECRET" => Label::ClientEarly,
            b"CLIENT_HANDSHAKE_TRAFFIC_SECRET" => Label::ClientHandshake,
            b"SERVER_HANDSHAKE_TRAFFIC_SECRET" => Label::ServerHandshake,
            b"CLIENT_TRAFFIC_SECRET_0" => Label::ClientApplication,
            b"SERVER_TRAFFIC_SECRET_0" => Label::ServerApplication,
            _ => return Line::Unused,
        };
        let mut id = [0; RANDOM];
        let mut bytes = [0; SECRET_CAP];
        let length = secret.len() / 2;
        let whole = random.len() == 2 * RANDOM && matches!(length, 32 | 48);
        let Some(room) = bytes.get_mut(..length).filter(|_| whole) else { return Line::Foreign };
        decode(random, &mut id);
        decode(secret, room);
        match Secret::new(room) {
            Some(secret) => Line::Secret(label, id, secret),
            None => Line::Foreign,
        }
    }
}

/// Hexadecimal digits, two a byte.
fn decode(digits: &[u8], bytes: &mut [u8]) {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.to_ascii_uppercase().saturating_sub(b'A').saturating_add(10) & 15,
    };
    for (byte, &[high, low]) in bytes.iter_mut().zip(digits.as_chunks().0) {
        *byte = value(high) << 4 | value(low);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(label: &str, random: u8, secret: u8, length: usize) -> String {
        let hex = |byte: u8, count: usize| format!("{byte:02x}").repeat(count);
        format!("{label} {} {}\r\n", hex(random, 32), hex(secret, length).to_uppercase())
    }

    #[test]
    fn secrets_are_found_by_the_clients_random() {
        let store = KeyStore::default();
        assert!(!store.is_given());
        let log =
            ["# a comment\n\n", &line("CLIENT_RANDOM", 1, 0xab, 48), &line("EXPORTER_SECRET", 1, 3, 32)]
                .concat();
        assert_eq!(store.add(log.as_bytes()), Added { secrets: 1, unused: 1, foreign: None });
        store.add(line("SERVER_TRAFFIC_SECRET_0", 2, 0x5c, 32).as_bytes());
        let secrets = |random| store.secrets(&[random; 32]);
        assert_eq!(secrets(1).unwrap().get(Label::Master), Some(&[0xab; 48][..]));
        assert_eq!(secrets(2).unwrap().get(Label::ServerApplication), Some(&[0x5c; 32][..]));
        assert!(secrets(2).unwrap().get(Label::Master).is_none());
        assert!(secrets(3).is_none());
    }

    #[test]
    fn the_first_foreign_line_is_named() {
        let short = "CLIENT_RANDOM 00 00\n";
        for foreign in [short, "hello world\n", "CLIENT_RANDOM zz zz\n", "a b c d\n", "client_random 00 00\n"]
        {
            let log = format!("\n{foreign}{}", line("CLIENT_RANDOM", 1, 1, 48));
            let added = KeyStore::default().add(log.as_bytes());
            assert_eq!(added, Added { secrets: 1, unused: 0, foreign: Some(2) }, "{foreign}");
        }
    }

    #[test]
    fn nothing_shows_a_secret() {
        let store = KeyStore::default();
        store.add(line("CLIENT_RANDOM", 1, 0xab, 48).as_bytes());
        let shown = format!("{store:?} {:?}", store.secrets(&[1; 32]));
        assert!(!shown.contains("171") && !shown.to_lowercase().contains("ab, ab"), "{shown}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(log in proptest::collection::vec(any::<u8>(), 0..400)) {
            KeyStore::default().add(&log);
        }

        #[test]
        fn any_words_are_read(words in proptest::collection::vec("(CLIENT_RANDOM|RSA|[0-9a-fA-F]{60,100}| |\n)", 0..20)) {
            let added = KeyStore::default().add(words.concat().as_bytes());
            prop_assert!(added.secrets + added.unused <= words.len() as u64);
        }

        #[test]
        fn hexadecimal_comes_back(bytes in proptest::array::uniform32(any::<u8>()), upper in any::<bool>()) {
            let mut hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            if upper { hex = hex.to_uppercase(); }
            let mut back = [0; 32];
            decode(hex.as_bytes(), &mut back);
            prop_assert_eq!(back, bytes);
        }
    }
}
