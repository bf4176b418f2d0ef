//! Keys in, plaintext out: opens the records of one connection with the secrets of a key log.
//!
//! [`KeyStore`] holds the secrets, `schedule` makes record keys of them, `protection` opens records with
//! ring, and [`Session`] knows which key each side's next record is under. What the plaintext says is
//! read elsewhere.

mod keylog;
mod protection;
mod schedule;
#[cfg(test)]
pub(super) mod testing;

use std::sync::Arc;

pub use keylog::{Added, KeyStore, LINE_CAP, SESSION_CAP};

use super::client_hello::ClientHello;
use super::hello::ServerHello;
use super::record::{Header, Kind};
use crate::protocol::Side;
use keylog::{Label, Secret, Secrets};
use protection::RecordKey;
use schedule::Suite;

/// Records of a side that are tried and passed over before its first one opens: early data without its
/// secret, or a handshake without its.
const PASSED_CAP: u16 = 64;

/// The keys of one connection.
#[derive(Debug)]
pub(super) struct Session {
    keys: Arc<KeyStore>,
    suite: Option<Suite>,
    directions: [Direction; 2],
}

/// What the key log has for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Keys for at least one side.
    Keys,
    /// Nothing of this connection.
    Nothing,
    /// Secrets, but of a cipher suite or version that is not supported.
    Unsupported,
}

/// Which keys a record was under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Epoch {
    /// The client's early data.
    Early,
    /// The handshake of TLS 1.3.
    Handshake,
    /// Everything after; in TLS 1.2 everything encrypted.
    Application,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opened {
    /// Its content stands at the front of the scratch buffer.
    Content {
        /// The keys it was under.
        epoch: Epoch,
        /// What it carries.
        kind: Kind,
        /// Bytes of content.
        length: usize,
    },
    /// It is under keys that are not there, as was to be expected.
    Passed,
    /// It does not open, and nothing after it will.
    Failed,
}

#[derive(Debug, Default)]
struct Direction {
    /// In the order in which they are used.
    keys: Vec<Keyed>,
    at: usize,
    passed: u16,
}

#[derive(Debug)]
struct Keyed {
    epoch: Epoch,
    /// The traffic secret, for key updates; none in TLS 1.2.
    secret: Option<Secret>,
    key: Box<RecordKey>,
}

impl Session {
    pub(super) fn new(keys: Arc<KeyStore>) -> Session {
        Session { keys, suite: None, directions: Default::default() }
    }

    /// Bytes on the heap.
    pub(super) fn held(&self) -> usize {
        let keys = |direction: &Direction| direction.keys.len() * size_of::<(Keyed, RecordKey)>();
        self.directions.iter().map(keys).sum()
    }

    /// A key log was given.
    pub(super) fn has_log(&self) -> bool {
        self.keys.is_given()
    }

    /// The key log may yet have what it has not.
    pub(super) fn may_come(&self) -> bool {
        self.keys.grows()
    }

    /// The key log has something of the connection whose client chose this random.
    pub(super) fn knows(&self, client_random: &[u8; 32]) -> bool {
        self.keys.secrets(client_random).is_some()
    }

    /// Looks for the keys, once both hellos were read.
    pub(super) fn find(&mut self, client: Side, hello: &ClientHello, chosen: &ServerHello) -> Found {
        let Some(secrets) = self.keys.secrets(&hello.random()) else { return Found::Nothing };
        let Some(suite) = chosen.version.and_then(|version| Suite::of(version, chosen.cipher)) else {
            return Found::Unsupported;
        };
        self.suite = Some(suite);
        let [ours, theirs] = if suite.is_modern() {
            use Epoch::{Application, Early, Handshake};
            let early = hello.early_data.then_some((Early, Label::ClientEarly));
            let client = [(Handshake, Label::ClientHandshake), (Application, Label::ClientApplication)];
            let server = [(Handshake, Label::ServerHandshake), (Application, Label::ServerApplication)];
            [
                Direction::modern(suite, &secrets, early.into_iter().chain(client)),
                Direction::modern(suite, &secrets, server.into_iter()),
            ]
        } else {
            let master = secrets.get(Label::Master);
            let pair = master.and_then(|master| suite.key_block(master, &hello.random(), &chosen.random()));
            let Some(pair) = pair else { return Found::Nothing };
            pair.map(Direction::classic)
        };
        if ours.keys.is_empty() && theirs.keys.is_empty() {
            return Found::Nothing;
        }
        let [a, b] = &mut self.directions;
        (*a, *b) = if client == Side::A { (ours, theirs) } else { (theirs, ours) };
        Found::Keys
    }

    /// TLS 1.3, and not 1.2; known once keys were found.
    pub(super) fn is_modern(&self) -> bool {
        self.suite.is_some_and(Suite::is_modern)
    }

    /// There is a key for what this side sends next.
    pub(super) fn can_open(&self, side: Side) -> bool {
        let direction = self.direction(side);
        direction.at < direction.keys.len()
    }

    /// There is a key for this side's handshake messages.
    pub(super) fn reads_handshake(&self, side: Side) -> bool {
        let direction = self.direction(side);
        self.can_open(side) && direction.keys.iter().any(|keyed| keyed.epoch == Epoch::Handshake)
    }

    /// Opens this side's next record into `scratch`. With `may_pass`, a first record that does not open
    /// may be early data.
    pub(super) fn open(
        &mut self,
        side: Side,
        header: Header,
        body: &[u8],
        may_pass: bool,
        scratch: &mut Vec<u8>,
    ) -> Opened {
        let modern = self.is_modern();
        let direction = self.direction_mut(side);
        let at = direction.at;
        for candidate in direction.candidates().into_iter().flatten() {
            let Some(keyed) = direction.keys.get_mut(candidate) else { continue };
            if let Some((kind, length)) = keyed.key.open(header, body, scratch) {
                let epoch = keyed.epoch;
                direction.at = at.max(candidate);
                return Opened::Content { epoch, kind, length };
            }
        }
        if direction.may_pass(may_pass, modern) && direction.passed < PASSED_CAP {
            direction.passed += 1;
            return Opened::Passed;
        }
        self.stop(side);
        Opened::Failed
    }

    /// This side's next record is not in the capture.
    pub(super) fn pass(&mut self, side: Side) {
        let direction = self.direction_mut(side);
        if let Some(keyed) = direction.keys.get_mut(direction.at) {
            keyed.key.pass();
        }
    }

    /// What this side sends next is under its next key.
    pub(super) fn next_key(&mut self, side: Side, after: Epoch) {
        let direction = self.direction_mut(side);
        if direction.keys.get(direction.at).is_some_and(|keyed| keyed.epoch == after) {
            direction.at += 1;
        }
    }

    /// This side sent a KeyUpdate (RFC 8446 section 4.6.3).
    pub(super) fn update(&mut self, side: Side) {
        let Some(suite) = self.suite else { return };
        let direction = self.direction_mut(side);
        let Some(keyed) = direction.keys.get_mut(direction.at) else { return };
        let next = keyed.secret.as_ref().and_then(|secret| suite.updated(secret.as_bytes()));
        let key = next.as_ref().and_then(|secret| suite.traffic_key(secret.as_bytes()));
        match key {
            Some(key) => {
                *keyed.key = key;
                keyed.secret = next;
            }
            None => self.stop(side),
        }
    }

    /// No more of this side is opened.
    pub(super) fn stop(&mut self, side: Side) {
        *self.direction_mut(side) = Direction::default();
    }

    fn direction(&self, side: Side) -> &Direction {
        let [a, b] = &self.directions;
        match side {
            Side::A => a,
            Side::B => b,
        }
    }

    fn direction_mut(&mut self, side: Side) -> &mut Direction {
        let [a, b] = &mut self.directions;
        match side {
            Side::A => a,
            Side::B => b,
        }
    }
}

impl Direction {
    fn modern(suite: Suite, secrets: &Secrets, epochs: impl Iterator<Item = (Epoch, Label)>) -> Direction {
        let keyed = |(epoch, label)| {
            let secret = secrets.get(label)?;
            let key = Box::new(suite.traffic_key(secret)?);
            Some(Keyed { epoch, secret: Secret::new(secret), key })
        };
        Direction { keys: epochs.filter_map(keyed).collect(), at: 0, passed: 0 }
    }

    fn classic(key: RecordKey) -> Direction {
        let keyed = Keyed { epoch: Epoch::Application, secret: None, key: Box::new(key) };
        Direction { keys: vec![keyed], at: 0, passed: 0 }
    }

    /// The keys that the next record may be under, likeliest first.
    fn candidates(&self) -> [Option<usize>; 3] {
        let present = self.keys.get(self.at);
        let early = present.is_some_and(|keyed| keyed.epoch == Epoch::Early);
        let fresh = present.is_none_or(|keyed| keyed.key.is_fresh());
        [
            Some(self.at),
            // Early data ends without a word when it was rejected.
            early.then_some(self.at + 1),
            // An alert about the handshake is sent under its keys by some, after the Finished (mbedTLS).
            self.at.checked_sub(1).filter(|_| fresh),
        ]
    }

    /// Whether a record that does not open says nothing of the keys after it.
    fn may_pass(&self, early_data: bool, modern: bool) -> bool {
        let Some(present) = self.keys.get(self.at) else { return false };
        let no_handshake = modern && self.at == 0 && present.epoch == Epoch::Application;
        present.epoch == Epoch::Early || (present.key.is_fresh() && (early_data || no_handshake))
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{RFC8448, hex};
    use super::*;
    use crate::protocol::tls::hello::{Opening, Version};

    /// RFC 8448 section 3, as a key log: the session with its keys.
    fn session(labels: &[&str]) -> (Session, Found) {
        let store = KeyStore::default();
        for line in RFC8448.log().lines().filter(|line| labels.iter().any(|label| line.starts_with(label))) {
            store.add(line.as_bytes());
        }
        let mut session = Session::new(Arc::new(store));
        let opening = Opening { random: RFC8448.random(), ..Opening::default() };
        let hello = ClientHello { opening: Some(Box::new(opening)), ..ClientHello::default() };
        let chosen = ServerHello { version: Some(Version::Tls13), cipher: 0x1301, ..ServerHello::default() };
        let found = session.find(Side::A, &hello, &chosen);
        (session, found)
    }

    fn open(session: &mut Session, record: &str) -> Opened {
        let record = hex(record);
        let header = Header::read(&record).unwrap().unwrap();
        session.open(Side::A, header, &record[5..], false, &mut Vec::new())
    }

    #[test]
    fn each_flight_is_under_its_own_key() {
        let (mut session, found) = session(&["CLIENT"]);
        assert_eq!(found, Found::Keys);
        assert!(session.can_open(Side::A) && !session.can_open(Side::B));
        let finished = Opened::Content { epoch: Epoch::Handshake, kind: Kind::Handshake, length: 36 };
        assert_eq!(open(&mut session, RFC8448.client_finished), finished);
        session.next_key(Side::A, Epoch::Handshake);
        let data = Opened::Content { epoch: Epoch::Application, kind: Kind::ApplicationData, length: 50 };
        assert_eq!(open(&mut session, RFC8448.client_data), data);
        assert_eq!(open(&mut session, RFC8448.client_data), Opened::Failed);
        assert!(!session.can_open(Side::A));
    }

    #[test]
    fn without_the_handshake_secret_its_records_are_passed_over() {
        let (mut session, _) = session(&["CLIENT_TRAFFIC"]);
        assert_eq!(open(&mut session, RFC8448.client_finished), Opened::Passed);
        assert!(matches!(open(&mut session, RFC8448.client_data), Opened::Content { length: 50, .. }));
        assert_eq!(open(&mut session, RFC8448.client_finished), Opened::Failed);
    }

    #[test]
    fn a_wrong_key_is_given_up_at_the_first_record() {
        let (mut session, _) = session(&["CLIENT"]);
        session.update(Side::A);
        assert_eq!(open(&mut session, RFC8448.client_finished), Opened::Failed);
    }

    #[test]
    fn nothing_is_found_for_another_connection() {
        assert_eq!(session(&[]).1, Found::Nothing);
        assert_eq!(session(&["EXPORTER"]).1, Found::Nothing);
    }
}
