//! Follows one connection under encryption: which records to open, and what their content says.

mod content;

use std::sync::Arc;

use super::decrypt::{Found, KeyStore, Opened, Session};
use super::evidence::Evidence;
use super::handshake::Assembler;
use super::hello::Version;
use super::record::{Header, Kind};
use crate::protocol::Side;

/// Bytes of client records that wait for what says how to read them: the ServerHello in a capture out of
/// order, or the server's word on early data.
pub const HELD_CAP: usize = 64 * 1024;
/// Bytes of both sides' records that wait for keys that are still being written.
pub const AWAITING_KEYS_CAP: usize = 16 * 1024;

/// Takes what was inside the records, in order.
pub trait Plaintext {
    /// The next bytes of one side, captured at `at` nanoseconds of packet time.
    fn read(&mut self, side: Side, bytes: &[u8], at: i64);
    /// Bytes of one side are missing here.
    fn gap(&mut self, side: Side);
    /// More of this side is wanted.
    fn wants(&self, side: Side) -> bool;
}

/// Both sides of one connection under encryption.
#[derive(Debug)]
pub(super) struct Secured {
    session: Session,
    stage: Stage,
    /// Messages that span records, of each side; none once they fell out of step.
    messages: [Option<Assembler>; 2],
    changes: [u8; 2],
    /// Encrypted records of the client went by before there was any key.
    missed: bool,
    held: Vec<Held>,
    held_bytes: usize,
    scratch: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The hellos were not both read yet.
    Hellos,
    /// They were, and the key log does not have the keys yet.
    Awaiting,
    /// There are keys.
    Keyed,
    /// There is nothing to open anything with.
    Over,
}

#[derive(Debug)]
struct Held {
    side: Side,
    header: Header,
    at: i64,
    body: Box<[u8]>,
}

impl Secured {
    pub(super) fn new(keys: Arc<KeyStore>) -> Secured {
        Secured {
            session: Session::new(keys),
            stage: Stage::Hellos,
            messages: [Some(Assembler::default()), Some(Assembler::default())],
            changes: [0; 2],
            missed: false,
            held: Vec::new(),
            held_bytes: 0,
            scratch: Vec::new(),
        }
    }

    /// Bytes on the heap.
    pub(super) fn held(&self) -> usize {
        let messages = self.messages.iter().flatten().map(Assembler::held);
        self.session.held()
            + messages.sum::<usize>()
            + size_of::<Held>() * self.held.capacity()
            + self.held_bytes
            + self.scratch.capacity()
    }

    /// Hellos may have been read: looks for the keys once there are both.
    pub(super) fn hellos(&mut self, evidence: &mut Evidence, plaintext: &mut dyn Plaintext) {
        let (Stage::Hellos | Stage::Awaiting, Some(client)) = (self.stage, evidence.client) else { return };
        let (Some(hello), Some(chosen)) = (&evidence.client_hello, &evidence.server_hello) else { return };
        if !self.session.has_log() {
            self.stage = Stage::Over;
            return;
        }
        let found = self.session.find(client, hello, chosen);
        let facts = evidence.decrypted.get_or_insert_default();
        facts.no_key = found == Found::Nothing;
        facts.unsupported = found == Found::Unsupported;
        self.stage = match found {
            Found::Keys => Stage::Keyed,
            Found::Nothing if self.session.may_come() => Stage::Awaiting,
            Found::Nothing | Found::Unsupported => Stage::Over,
        };
        if self.missed {
            self.gap(evidence, client, plaintext);
        }
        self.release(evidence, plaintext);
    }

    /// Nothing more comes of either side: a last look for keys that were late.
    pub(super) fn finish(&mut self, evidence: &mut Evidence, plaintext: &mut dyn Plaintext) {
        if self.stage == Stage::Awaiting {
            self.hellos(evidence, plaintext);
        }
    }

    /// Whether the body of this record is wanted; `changed` if a ChangeCipherSpec of its side went before.
    ///
    /// Once one is not, nothing more of its side can be opened.
    pub(super) fn takes(
        &mut self,
        evidence: &Evidence,
        side: Side,
        kind: Kind,
        changed: bool,
        plaintext: &dyn Plaintext,
    ) -> bool {
        match self.stage {
            Stage::Over => false,
            Stage::Hellos => {
                let hello = evidence.client_hello().filter(|_| evidence.client == Some(side));
                let (Some(hello), Kind::ApplicationData) = (hello, kind) else { return false };
                let wanted = self.session.may_come() || self.session.knows(&hello.random());
                self.missed |= !wanted;
                wanted
            }
            Stage::Awaiting => protects(evidence.version() >= Some(Version::Tls13), kind, changed),
            Stage::Keyed if !protects(self.session.is_modern(), kind, changed) => false,
            Stage::Keyed => {
                let wanted = self.reads_on(evidence, side, plaintext);
                if !wanted && self.session.can_open(side) {
                    self.session.stop(side);
                }
                wanted
            }
        }
    }

    /// Whether records of this side are still opened.
    pub(super) fn reads_on(&self, evidence: &Evidence, side: Side, plaintext: &dyn Plaintext) -> bool {
        self.stage == Stage::Awaiting
            || self.stage == Stage::Keyed
                && self.session.can_open(side)
                && (plaintext.wants(side) || !self.is_settled(evidence))
    }

    /// A record that [`Secured::takes`], whole.
    pub(super) fn record(
        &mut self,
        evidence: &mut Evidence,
        side: Side,
        header: Header,
        body: &[u8],
        at: i64,
        plaintext: &mut dyn Plaintext,
    ) {
        if self.stage == Stage::Awaiting {
            self.hellos(evidence, plaintext);
        }
        if self.holds_back(evidence, side) {
            self.held_bytes += body.len();
            let cap = if self.stage == Stage::Awaiting { AWAITING_KEYS_CAP } else { HELD_CAP };
            if self.held_bytes <= cap {
                self.held.push(Held { side, header, at, body: Box::from(body) });
            } else {
                self.gap(evidence, side, plaintext);
            }
            return;
        }
        self.open(evidence, side, header, body, at, plaintext);
        if !self.held.is_empty() && evidence.client.is_none_or(|client| !self.holds_back(evidence, client)) {
            self.release(evidence, plaintext);
        }
    }

    /// The body of a record that was wanted is not in the capture.
    pub(super) fn lost(&mut self, evidence: &mut Evidence, side: Side, plaintext: &mut dyn Plaintext) {
        let after_handshake = !self.session.is_modern()
            || evidence.decrypted.as_ref().is_some_and(|facts| facts.finished[side.index()].is_some());
        if self.stage != Stage::Keyed || !after_handshake {
            return self.gap(evidence, side, plaintext);
        }
        self.session.pass(side);
        self.messages[side.index()] = None;
        self.broke(evidence, side, plaintext);
    }

    /// Bytes of this side are missing, and with them the count of its records.
    pub(super) fn gap(&mut self, evidence: &mut Evidence, side: Side, plaintext: &mut dyn Plaintext) {
        if self.stage == Stage::Over || (self.stage == Stage::Keyed && !self.session.can_open(side)) {
            return;
        }
        if self.stage == Stage::Awaiting {
            self.stage = Stage::Over;
            self.held = Vec::new();
            return;
        }
        if self.stage == Stage::Hellos {
            // A hello may yet come, but what is missing may have been encrypted.
            if self.held.is_empty() {
                return;
            }
            self.stage = Stage::Over;
        }
        self.session.stop(side);
        self.broke(evidence, side, plaintext);
        self.release(evidence, plaintext);
    }

    /// A ChangeCipherSpec of this side. A second one in TLS 1.2 is a renegotiation, to other keys.
    pub(super) fn changed(&mut self, evidence: &mut Evidence, side: Side, plaintext: &mut dyn Plaintext) {
        let changes = &mut self.changes[side.index()];
        *changes = changes.saturating_add(1);
        if *changes > 1 && self.stage == Stage::Keyed && !self.session.is_modern() {
            self.gap(evidence, side, plaintext);
        }
    }

    fn is_settled(&self, evidence: &Evidence) -> bool {
        let (Some(client), Some(facts)) = (evidence.client, &evidence.decrypted) else { return false };
        if !self.session.is_modern() {
            return true;
        }
        let later = evidence.client_hello.as_ref().is_some_and(|hello| hello.post_handshake_auth);
        facts.is_settled(client) && (!later || facts.accepted_later())
    }

    /// Whether a client's record can be read only after something the server still has to say.
    fn holds_back(&self, evidence: &Evidence, side: Side) -> bool {
        if self.stage == Stage::Awaiting {
            return true;
        }
        if evidence.client != Some(side) {
            return false;
        }
        match self.stage {
            Stage::Hellos | Stage::Awaiting => true,
            Stage::Over => false,
            Stage::Keyed => {
                let unsaid = evidence.decrypted.as_ref().is_none_or(|facts| facts.extensions.is_none());
                evidence.early_data && unsaid && self.session.reads_handshake(side.other())
            }
        }
    }

    /// Records that waited are read now, or go on waiting.
    fn release(&mut self, evidence: &mut Evidence, plaintext: &mut dyn Plaintext) {
        if matches!(self.stage, Stage::Hellos | Stage::Awaiting) {
            return;
        }
        self.held_bytes = 0;
        for held in std::mem::take(&mut self.held) {
            if self.stage == Stage::Keyed && self.session.can_open(held.side) {
                self.record(evidence, held.side, held.header, &held.body, held.at, plaintext);
            }
        }
    }

    fn open(
        &mut self,
        evidence: &mut Evidence,
        side: Side,
        header: Header,
        body: &[u8],
        at: i64,
        plaintext: &mut dyn Plaintext,
    ) {
        let early = evidence.early_data && evidence.client == Some(side);
        let mut scratch = std::mem::take(&mut self.scratch);
        match self.session.open(side, header, body, early, &mut scratch) {
            Opened::Content { epoch, kind, length } => {
                let facts = evidence.decrypted.get_or_insert_default();
                facts.opened = facts.opened.saturating_add(1);
                let content = scratch.get(..length).unwrap_or_default();
                self.content(evidence, side, epoch, (kind, content), at, plaintext);
            }
            Opened::Passed => {
                // Early data that was accepted is the front of what the client said.
                let accepted = evidence.decrypted.as_ref().and_then(|facts| facts.extensions.as_ref());
                if early && accepted.is_some_and(|extensions| extensions.early_data) {
                    plaintext.gap(side);
                }
            }
            Opened::Failed => {
                evidence.decrypted.get_or_insert_default().failed = true;
                self.broke(evidence, side, plaintext);
            }
        }
        self.scratch = scratch;
    }

    fn broke(&mut self, evidence: &mut Evidence, side: Side, plaintext: &mut dyn Plaintext) {
        evidence.decrypted.get_or_insert_default().broken[side.index()] = true;
        plaintext.gap(side);
    }
}

/// What both sides of a connection share while one is read.
pub(super) struct Open<'a> {
    pub(super) evidence: &'a mut Evidence,
    pub(super) secured: Option<&'a mut Secured>,
    pub(super) plaintext: &'a mut dyn Plaintext,
}

impl Open<'_> {
    /// Takes note of a record that was not messages in clear; says whether its body is to be lent whole.
    pub(super) fn takes(&mut self, side: Side, kind: Kind, changed: bool) -> bool {
        let Some(secured) = &mut self.secured else { return false };
        if kind == Kind::ChangeCipherSpec {
            secured.changed(self.evidence, side, self.plaintext);
        }
        secured.takes(self.evidence, side, kind, changed, self.plaintext)
    }

    /// Records of this side are wanted, though no more of their headers are remembered.
    pub(super) fn reads_on(&self, side: Side) -> bool {
        self.secured.as_ref().is_some_and(|secured| secured.reads_on(self.evidence, side, self.plaintext))
    }

    pub(super) fn record(&mut self, side: Side, header: Header, body: &[u8], at: i64) {
        if let Some(secured) = &mut self.secured {
            secured.record(self.evidence, side, header, body, at, self.plaintext);
        }
    }

    pub(super) fn hellos(&mut self) {
        if let Some(secured) = &mut self.secured {
            secured.hellos(self.evidence, self.plaintext);
        }
    }
}

/// Whether records of this kind are encrypted; `changed` if a ChangeCipherSpec of their side went before.
fn protects(modern: bool, kind: Kind, changed: bool) -> bool {
    match modern {
        true => kind == Kind::ApplicationData,
        false => changed && kind != Kind::ChangeCipherSpec,
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod wire;
