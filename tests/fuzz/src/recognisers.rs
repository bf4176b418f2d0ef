//! Recognisers: what two ends say, in any pieces, with holes, closed at any point.

use std::sync::Arc;

use flowaudit::packet::{Allowance, Gap, Side};
use flowaudit::protocol::tls::KeyStore;
use flowaudit::protocol::{Conversation, Evidence, Probe, Step};
use flowaudit::protocol::{
    dns as of_dns, http1 as of_http1, http2 as of_http2, ldap as of_ldap, mysql as of_mysql,
};
use flowaudit::protocol::{
    nats as of_nats, proxy as of_proxy, ssh as of_ssh, syslog as of_syslog, tls as of_tls,
};

use super::input::{Event, Input, pieces, script};

/// What is known to be recognised before the script begins, so that arbitrary bytes reach the recogniser meant.
type Opening = Option<Event<'static>>;

/// The most first bytes that are probed one by one.
const FIRST: usize = 600;

/// A recogniser, asked about first bytes.
type Asked = fn(&[u8]) -> Probe;

/// The first bytes of a stream: what a recogniser is sure of it is sure of whatever follows.
pub fn probes(bytes: &[u8]) {
    let probes: [(&str, Asked); 10] = [
        ("tls", of_tls::probe),
        ("http1", of_http1::probe),
        ("http2", of_http2::probe),
        ("nats", of_nats::probe),
        ("dns", of_dns::probe),
        ("mysql", of_mysql::probe),
        ("ssh", of_ssh::probe),
        ("ldap", of_ldap::probe),
        ("syslog", of_syslog::probe),
        ("proxy", of_proxy::probe),
    ];
    for (name, probe) in probes {
        let mut before = Probe::Unsure;
        for length in 1..=bytes.len().min(FIRST) {
            let now = probe(&bytes[..length]);
            assert!(
                before == Probe::Unsure || before == now,
                "{name}: {before:?}, and {now:?} of {length} bytes"
            );
            before = now;
        }
    }
}

/// TLS, in clear handshakes and closed records.
pub fn tls(bytes: &[u8]) {
    // Record and handshake header of a ClientHello of 512 bytes, its version, and where its random begins.
    const HELLO: &[u8] = &[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    one_way_or_another(bytes, Some(Event::Data(Side::A, HELLO, 0)));
}

/// HTTP/1.
pub fn http1(bytes: &[u8]) {
    one_way_or_another(bytes, Some(Event::Data(Side::A, b"GET / HTTP/1.1\r\n", 0)));
}

/// HTTP/2.
pub fn http2(bytes: &[u8]) {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    one_way_or_another(bytes, Some(Event::Data(Side::A, PREFACE, 0)));
}

/// NATS.
pub fn nats(bytes: &[u8]) {
    one_way_or_another(bytes, Some(Event::Data(Side::B, b"INFO {\"server_id\":\"a\"}\r\n", 0)));
}

/// DNS, in datagrams and in a stream.
pub fn dns(bytes: &[u8]) {
    const QUESTION: &[u8] = b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01";
    one_way_or_another(bytes, Some(Event::Datagram(Side::A, QUESTION, false)));
}

/// MySQL.
pub fn mysql(bytes: &[u8]) {
    const GREETING: &[u8] = b"\x4a\0\0\0\x0a8.0.36\0\x08\0\0\0abcdefgh\0\xff\xff\xff\x02\0\xff\xdf\x15\
        \0\0\0\0\0\0\0\0\0\0abcdefghijkl\0caching_sha2_password\0";
    one_way_or_another(bytes, Some(Event::Data(Side::B, GREETING, 0)));
}

/// SSH.
pub fn ssh(bytes: &[u8]) {
    one_way_or_another(bytes, Some(Event::Data(Side::A, b"SSH-2.0-OpenSSH_9.6\r\n", 0)));
}

/// LDAP.
pub fn ldap(bytes: &[u8]) {
    const BIND: &[u8] = b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\0\x80\0";
    one_way_or_another(bytes, Some(Event::Data(Side::A, BIND, 0)));
}

/// Syslog, in datagrams and in a stream.
pub fn syslog(bytes: &[u8]) {
    const MESSAGE: &[u8] = b"<14>1 2026-01-01T00:00:00Z host app 1 - - text\n";
    one_way_or_another(bytes, Some(Event::Data(Side::A, MESSAGE, 0)));
}

/// The PROXY protocol, and whatever follows it.
pub fn proxy(bytes: &[u8]) {
    one_way_or_another(bytes, Some(Event::Data(Side::A, b"PROXY TCP4 192.0.2.7 10.0.4.20 51234 443\r\n", 0)));
}

/// TLS whose keys are known: a key log up to a byte of 0, then the script.
pub fn decryption(bytes: &[u8]) {
    let keys = Arc::new(KeyStore::default());
    let script = with_keys(bytes, &keys);
    let evidence = converse(script, None, Some(&keys), false);
    assert_eq!(format!("{keys:?}"), "KeyStore(..)", "secrets are not printed");
    drop(evidence);
}

/// Adds the key log in front to `keys`; the script is what is left.
pub fn with_keys<'a>(bytes: &'a [u8], keys: &KeyStore) -> &'a [u8] {
    match bytes.iter().position(|byte| *byte == 0) {
        Some(at) => {
            keys.add(&bytes[..at]);
            &bytes[at + 1..]
        }
        None => bytes,
    }
}

/// The last byte says whether the opening comes first.
fn one_way_or_another(bytes: &[u8], opening: Opening) {
    let mut input = Input(bytes);
    let opening = opening.filter(|_| input.choice() & 1 != 0);
    let in_pieces = converse(input.0, opening, None, false);
    // How bytes are cut into segments is anyone's choice, and must not decide what is seen. Behind a hole it may:
    // there, the beginning of a segment is the best guess at the beginning of a message.
    if !script(input.0).any(|event| matches!(event, Event::Missing(..))) {
        let at_once = converse(input.0, opening, None, true);
        assert_eq!(format!("{in_pieces:?}"), format!("{at_once:?}"), "in pieces, and at once");
    }
}

fn converse(bytes: &[u8], opening: Opening, keys: Option<&Arc<KeyStore>>, at_once: bool) -> Evidence {
    let mut conversation = match keys {
        Some(keys) => Conversation::with_keys(Arc::clone(keys)),
        None => Conversation::default(),
    };
    conversation.begins();
    let mut halves = [Half::default(), Half::default()];
    for (event, at) in opening.into_iter().chain(script(bytes)).zip(0i64..) {
        match event {
            Event::Data(side, said, size) => {
                for piece in pieces(said, if at_once { 0 } else { size }) {
                    halves[side.index()].lend(&mut conversation, side, piece, at);
                }
            }
            Event::Missing(side, length) => {
                halves[side.index()].lose(&mut conversation, side, u64::from(length));
            }
            Event::Closed(side, reset) => {
                if !std::mem::replace(&mut halves[side.index()].closed, true) {
                    conversation.closed(side, reset, at);
                }
            }
            Event::Datagram(side, said, cut) => {
                conversation.datagram(side, said, cut);
                assert!(conversation.take_addresses().len() <= flowaudit::protocol::dns::ADDRESSES_CAP);
            }
        }
        // What may be asked at any time.
        let _ = conversation.tls().map(|tls| (tls.version(), tls.cipher(), tls.outcome()));
    }
    let evidence = conversation.finish();
    let _ = (evidence.recognised(), evidence.has_prologue());
    evidence
}

/// One direction, as reassembly hands it on: unused bytes again, unwanted ones never, nothing once it is done.
#[derive(Default)]
struct Half {
    kept: Vec<u8>,
    skip: u64,
    done: bool,
    closed: bool,
}

impl Half {
    fn lend(&mut self, conversation: &mut Conversation, side: Side, bytes: &[u8], at: i64) {
        if self.done || self.closed {
            return;
        }
        let bytes = pass(&mut self.skip, bytes);
        if bytes.is_empty() {
            return;
        }
        self.kept.extend(bytes);
        let mut rest = &self.kept[..];
        while !rest.is_empty() {
            let (used, skip) = match conversation.read(side, rest, at, &mut Allowance::new()) {
                Step::More { used } => (used, 0),
                Step::Skip { used, skip } => (used, skip),
                Step::Done | Step::Switch { .. } | Step::Broken => {
                    self.done = true;
                    return;
                }
            };
            assert!(used <= rest.len(), "{used} used of {}", rest.len());
            let before = rest.len();
            self.skip = skip;
            rest = pass(&mut self.skip, &rest[used..]);
            if rest.len() == before {
                break;
            }
        }
        self.kept = rest.to_vec();
    }

    fn lose(&mut self, conversation: &mut Conversation, side: Side, missing: u64) {
        if self.done || self.closed {
            return;
        }
        if self.skip >= missing {
            self.skip -= missing;
            return;
        }
        let unused = std::mem::take(&mut self.kept).len() as u64;
        self.skip = conversation.gap(side, Gap::Loss, unused + missing - self.skip);
    }
}

/// Bytes that are wanted, behind those that are not.
fn pass<'a>(skip: &mut u64, bytes: &'a [u8]) -> &'a [u8] {
    let passed = usize::try_from(*skip).unwrap_or(usize::MAX).min(bytes.len());
    *skip -= passed as u64;
    &bytes[passed..]
}
