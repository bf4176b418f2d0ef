//! LDAP in clear (RFC 4511): how clients bind, what the server answers, and whether both go on in TLS.
//!
//! Read until a bind with credentials was accepted; messages are passed over by their length. Names and
//! passwords are looked at and never kept.

mod message;

use super::{Probe, Side, Step};
use message::{Bind, Fault, Message, Operation, READ_CAP};

/// How many pieces of a side's bytes are searched for a message after a gap.
pub const RESYNC_CAP: u16 = 4096;

/// Evidence of LDAP in clear (RFC 4511).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ldap {
    /// Simple binds without a password, or without a name.
    pub anonymous: Binds,
    /// Simple binds with a name and a password.
    pub password: Binds,
    /// SASL binds; a mechanism of several steps asks as often.
    pub sasl: Binds,
    /// The first SASL mechanism asked for; at most 32 bytes.
    pub mechanism: Option<Box<[u8]>>,
    /// The client asked for StartTLS (RFC 4511 section 4.14).
    pub start_tls: bool,
    /// The result code of the answer to that.
    pub start_tls_answer: Option<u8>,
    /// Both sides went on in TLS.
    pub upgraded: bool,
}

/// What became of the binds of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Binds {
    /// bindRequests.
    pub asked: u32,
    /// Answered with success.
    pub accepted: u32,
    /// Answered with a code that says the client is not let in: invalid credentials (49) and its like.
    pub refused: u32,
}

impl Ldap {
    /// Bytes on the heap.
    pub(super) fn held(&self) -> usize {
        self.mechanism.as_deref().map_or(0, <[u8]>::len)
    }
}

/// Whether the first bytes of one side are an LDAP message.
///
/// Two nested lengths that agree, four tags and a field of the operation leave random bytes less than one
/// chance in 2^40.
pub fn probe(bytes: &[u8]) -> Probe {
    match message::read(bytes) {
        Ok(_) => Probe::Certain,
        Err(Fault::Short) => Probe::Unsure,
        Err(Fault::Malformed) => Probe::NotForUs,
    }
}

/// Reads both sides of one LDAP connection.
#[derive(Clone, Debug, Default)]
pub struct Parser {
    evidence: Ldap,
    client: Option<Side>,
    readers: [Reader; 2],
    /// The bind that waits for its answer: its messageID and kind.
    pending: Option<(u32, Kind)>,
    /// The messageID of the StartTLS that waits.
    pending_tls: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Anonymous,
    Password,
    Sasl,
}

#[derive(Clone, Copy, Debug, Default)]
struct Reader {
    begun: bool,
    /// Bytes are missing: looking for a message at the start of a piece, in so many more of them.
    lost: Option<u16>,
    done: bool,
}

impl Parser {
    /// A parser at the start of a connection.
    pub fn new() -> Parser {
        Parser::default()
    }

    /// Reads on in one side's bytes.
    pub fn advance(&mut self, side: Side, bytes: &[u8]) -> Step {
        let mut used = 0;
        loop {
            if self.evidence.upgraded {
                return Step::Switch { used };
            }
            let settled = self.evidence.password.accepted > 0 || self.evidence.sasl.accepted > 0;
            let reader = &mut self.readers[side.index()];
            if settled || reader.done {
                return Step::Done;
            }
            let rest = bytes.get(used..).unwrap_or_default();
            // The answer to StartTLS may be missing, and where bytes are, the request for it as well.
            let expected = self.evidence.start_tls || reader.lost.is_some();
            if expected && starts_tls(rest) {
                if rest.len() < 3 {
                    return Step::More { used };
                }
                self.evidence.upgraded = true;
                continue;
            }
            match message::read(rest) {
                Err(Fault::Short) => return Step::More { used },
                Ok(message) => {
                    *reader = Reader { begun: true, lost: None, done: false };
                    let missing = message.length.saturating_sub(rest.len());
                    // Both go on in TLS behind the last byte of the answer that says so.
                    let lets_go = message.operation == Operation::ExtendedResponse(0)
                        && self.pending_tls == Some(message.id);
                    if missing > 0 && lets_go && message.length <= READ_CAP {
                        return Step::More { used };
                    }
                    self.message(side, &message);
                    if missing > 0 {
                        return Step::Skip { used: bytes.len(), skip: missing as u64 };
                    }
                    used += message.length;
                }
                Err(Fault::Malformed) => match reader.lost {
                    Some(left) => {
                        reader.lost = left.checked_sub(1);
                        reader.done = reader.lost.is_none();
                        return Step::More { used: bytes.len() };
                    }
                    None => {
                        // Behind a SASL bind, protected buffers may follow (RFC 4422 section 3.7).
                        reader.done = true;
                        return if reader.begun { Step::Done } else { Step::Broken };
                    }
                },
            }
        }
    }

    /// Bytes of this side are missing here; what follows is lent next.
    pub fn gap(&mut self, side: Side) {
        let reader = &mut self.readers[side.index()];
        if !reader.done {
            reader.lost = Some(RESYNC_CAP);
        }
    }

    /// What was seen so far.
    pub fn evidence(&self) -> &Ldap {
        &self.evidence
    }

    /// Who connects: the side that asks.
    pub fn client(&self) -> Option<Side> {
        self.client
    }

    fn message(&mut self, side: Side, message: &Message<'_>) {
        let asks = matches!(message.operation, Operation::Bind(_) | Operation::StartTls | Operation::Request);
        self.client.get_or_insert(if asks { side } else { side.other() });
        let evidence = &mut self.evidence;
        match message.operation {
            Operation::Bind(bind) => {
                let kind = match bind {
                    Bind::Anonymous => Kind::Anonymous,
                    Bind::Password => Kind::Password,
                    Bind::Sasl(_) | Bind::Sicily => Kind::Sasl,
                };
                if let (None, Bind::Sasl(mechanism)) = (&evidence.mechanism, bind) {
                    evidence.mechanism = Some(mechanism.into());
                }
                let binds = evidence.binds(kind);
                binds.asked = binds.asked.saturating_add(1);
                self.pending = Some((message.id, kind));
            }
            Operation::BindResponse(code) => {
                let Some((_, kind)) = self.pending.take_if(|(id, _)| *id == message.id) else { return };
                let binds = evidence.binds(kind);
                match code {
                    0 => binds.accepted = binds.accepted.saturating_add(1),
                    code if is_refusal(code) => binds.refused = binds.refused.saturating_add(1),
                    _ => {}
                }
            }
            Operation::StartTls => {
                evidence.start_tls = true;
                self.pending_tls = Some(message.id);
            }
            Operation::ExtendedResponse(code) => {
                if self.pending_tls.take_if(|id| *id == message.id).is_some() {
                    evidence.start_tls_answer = Some(code);
                    evidence.upgraded = code == 0;
                }
            }
            Operation::Request | Operation::Response => {}
        }
    }
}

impl Ldap {
    fn binds(&mut self, kind: Kind) -> &mut Binds {
        match kind {
            Kind::Anonymous => &mut self.anonymous,
            Kind::Password => &mut self.password,
            Kind::Sasl => &mut self.sasl,
        }
    }
}

/// Result codes that say a client is not let in (RFC 4511 section 4.1.9, RFC 4513 section 5): method not
/// supported, stronger authentication or confidentiality required, inappropriate authentication, invalid
/// credentials, insufficient rights, unwilling.
fn is_refusal(code: u8) -> bool {
    matches!(code, 7 | 8 | 13 | 48 | 49 | 50 | 53)
}

/// Whether a TLS handshake record begins here, as far as the bytes go.
fn starts_tls(bytes: &[u8]) -> bool {
    let [major, minor] = [1, 2].map(|at| bytes.get(at).copied());
    bytes.first() == Some(&0x16) && matches!(major, None | Some(3)) && matches!(minor, None | Some(0..=4))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::testing::{self, Stream};

    const CLIENT: Side = Side::A;
    const SERVER: Side = Side::B;

    fn message(id: u8, tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u8::try_from(body.len()).unwrap();
        [&[0x30, length + 5, 2, 1, id, tag, length], body].concat()
    }

    fn bind(id: u8, name: &str, password: &str) -> (Side, Vec<u8>) {
        let mut body = vec![2, 1, 3, 4, name.len() as u8];
        body.extend(name.as_bytes());
        body.extend([0x80, password.len() as u8]);
        body.extend(password.as_bytes());
        (CLIENT, message(id, 0x60, &body))
    }

    fn sasl(id: u8) -> (Side, Vec<u8>) {
        (CLIENT, message(id, 0x60, b"\x02\x01\x03\x04\0\xa3\x0c\x04\x0aGSS-SPNEGO"))
    }

    fn search(id: u8) -> (Side, Vec<u8>) {
        (CLIENT, message(id, 0x63, b"\x04\x02dc\x0a\x01\x02\x0a\x01\0\x02\x01\0\x02\x01\0\x01\x01\0"))
    }

    fn result(id: u8, tag: u8, code: u8) -> (Side, Vec<u8>) {
        (SERVER, message(id, tag, &[0x0a, 1, code, 4, 0, 4, 0]))
    }

    fn start_tls(id: u8) -> (Side, Vec<u8>) {
        (CLIENT, message(id, 0x77, b"\x80\x161.3.6.1.4.1.1466.20037"))
    }

    fn read_in(conversation: &[(Side, Vec<u8>)], sizes: &[usize]) -> (Parser, Stream) {
        let mut parser = Parser::new();
        let stream = testing::read_in(conversation, sizes, |side, bytes| parser.advance(side, bytes));
        (parser, stream)
    }

    /// Reads the conversation whole and byte by byte, and holds that both come to the same.
    fn read(conversation: &[(Side, Vec<u8>)]) -> (Ldap, Stream) {
        let whole = read_in(conversation, &[]);
        let bytewise = read_in(conversation, &[1]);
        assert_eq!(whole.0.evidence(), bytewise.0.evidence());
        assert_eq!((whole.0.client(), bytewise.0.client()), (Some(CLIENT), Some(CLIENT)));
        (whole.0.evidence().clone(), whole.1)
    }

    #[test]
    fn a_password_is_refused_and_then_accepted() {
        let (ldap, stream) = read(&[
            bind(1, "", ""),
            result(1, 0x61, 0),
            search(2),
            (SERVER, message(2, 0x64, b"\x04\x02dc\x30\0")),
            result(2, 0x65, 0),
            bind(3, "cn=admin", "wrong"),
            result(3, 0x61, 49),
            bind(4, "cn=admin", "right"),
            result(4, 0x61, 0),
            search(5),
        ]);
        assert_eq!(ldap.anonymous, Binds { asked: 1, accepted: 1, refused: 0 });
        assert_eq!(ldap.password, Binds { asked: 2, accepted: 1, refused: 1 });
        assert_eq!(ldap.sasl, Binds::default());
        assert_eq!(stream.ended(CLIENT), Some(Step::Done));
    }

    #[test]
    fn sasl_takes_several_steps() {
        let (ldap, _) = read(&[sasl(1), result(1, 0x61, 14), sasl(2), result(2, 0x61, 0)]);
        assert_eq!(ldap.sasl, Binds { asked: 2, accepted: 1, refused: 0 });
        assert_eq!(ldap.mechanism.as_deref(), Some(&b"GSS-SPNEGO"[..]));
    }

    #[test]
    fn an_answer_to_another_message_says_nothing() {
        let (ldap, _) = read(&[bind(1, "a", "b"), result(2, 0x61, 0), result(1, 0x61, 52)]);
        assert_eq!(ldap.password, Binds { asked: 1, accepted: 0, refused: 0 });
    }

    #[test]
    fn start_tls_is_a_switch_when_it_was_granted() {
        let (ldap, stream) = read(&[start_tls(1), result(1, 0x78, 0), (CLIENT, b"\x16\x03\x01".to_vec())]);
        assert!(ldap.start_tls && ldap.upgraded);
        assert_eq!(ldap.start_tls_answer, Some(0));
        assert_eq!(stream.ended(SERVER), Some(Step::Switch { used: 14 }));
        assert!(matches!(stream.ended(CLIENT), Some(Step::Switch { used: 0 })));
        let (ldap, _) = read(&[start_tls(1), result(1, 0x78, 2), bind(2, "a", "b"), result(2, 0x61, 0)]);
        assert!(!ldap.upgraded && ldap.password.accepted == 1);
        assert_eq!(ldap.start_tls_answer, Some(2));
    }

    #[test]
    fn tls_is_found_where_the_answer_was_lost() {
        for side in [CLIENT, SERVER] {
            let (mut parser, _) = read_in(&[start_tls(1)], &[]);
            parser.gap(SERVER);
            assert_eq!(parser.advance(side, b"\x16\x03"), Step::More { used: 0 });
            assert_eq!(parser.advance(side, b"\x16\x03\x03\0"), Step::Switch { used: 0 });
        }
    }

    #[test]
    fn after_a_gap_messages_are_found_again() {
        let (mut parser, _) = read_in(&[bind(1, "a", "b")], &[]);
        parser.gap(SERVER);
        assert_eq!(parser.advance(SERVER, b"tail of a message"), Step::More { used: 17 });
        parser.advance(SERVER, &result(1, 0x61, 0).1);
        assert_eq!(parser.evidence().password.accepted, 1);
        let mut parser = Parser::new();
        parser.gap(CLIENT);
        let tries = (0..).take_while(|_| parser.advance(CLIENT, b"\x01") != Step::Done).count();
        assert_eq!(tries, usize::from(RESYNC_CAP) + 1);
    }

    #[test]
    fn bodies_are_passed_over() {
        let entry = b"\x30\x82\x20\0\x02\x01\x02\x64\x82\x1f\xf9\x04\x02dc";
        let mut parser = Parser::new();
        let step = parser.advance(SERVER, entry);
        assert_eq!(step, Step::Skip { used: entry.len(), skip: 0x2004 - entry.len() as u64 });
    }

    fn piece() -> impl Strategy<Value = (Side, Vec<u8>)> {
        prop_oneof![
            Just(bind(1, "", "")),
            Just(bind(2, "a", "b")),
            Just(sasl(2)),
            Just(search(3)),
            Just(start_tls(4)),
            (1_u8..5, proptest::sample::select(vec![0x61_u8, 0x65, 0x78]), 0_u8..60)
                .prop_map(|(id, tag, code)| result(id, tag, code)),
            Just((CLIENT, b"\x16\x03\x01\0".to_vec())),
            proptest::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| (SERVER, bytes)),
        ]
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic_and_alike_in_any_pieces(
            a: Vec<u8>, b: Vec<u8>, sizes in proptest::collection::vec(1_usize..9, 1..5),
        ) {
            probe(&a);
            let conversation = [(CLIENT, a), (SERVER, b)];
            let (whole, pieces) = (read_in(&conversation, &[]), read_in(&conversation, &sizes));
            prop_assert_eq!(whole.0.evidence(), pieces.0.evidence());
        }

        #[test]
        fn a_conversation_reads_alike_in_any_pieces(
            conversation in proptest::collection::vec(piece(), 0..10),
            sizes in proptest::collection::vec(1_usize..40, 1..6),
        ) {
            let (whole, pieces) = (read_in(&conversation, &[]), read_in(&conversation, &sizes));
            prop_assert_eq!(whole.0.evidence(), pieces.0.evidence());
            prop_assert_eq!(whole.0.client(), pieces.0.client());
        }
    }
}
