//! What ties a resumed session to the connection that began it.
//!
//! Up to TLS 1.2 the session identifier, or the ticket, is in clear on both connections (RFC 5246
//! section 7.4.1, RFC 5077): equal bytes are the same session. TLS 1.3 encrypts the ticket as it is
//! given and shows it as it is used (RFC 8446 sections 4.2.11 and 4.6.1). What is left is its length:
//! a NewSessionTicket is longer than the ticket inside by a constant of the server's stack, and stacks
//! that put the client's certificate into the ticket make tickets of unauthenticated clients far
//! shorter. Stacks whose tickets do not tell (a handle to the server's own memory, wolfSSL, mbedTLS)
//! are left out.

use std::hash::BuildHasher;
use std::num::NonZero;
use std::sync::LazyLock;

use foldhash::fast::RandomState;

use super::evidence::{Authentication, Evidence};
use super::hello::Version;
use super::infer::{Observed, ServerFlight};
use super::lengths::{Padding, Wire};
use super::modern::Reading;
use crate::protocol::Side;

/// A ticket this long or longer has room for a certificate; see [`Tickets::tells`].
const LEAST_WITH_CERTIFICATE: u16 = 400;
/// A shorter identity is a handle to a session that the server keeps, or of a stack that was not measured.
const LEAST_SELF_CONTAINED: u16 = 96;
/// A server's flight in one record is at least this long: it holds a certificate.
const LEAST_FLIGHT: u16 = 400;
/// The `early_data` extension in a NewSessionTicket (RFC 8446 section 4.2.10), bytes.
const EARLY_DATA: u16 = 8;

/// What stands for a session identifier or a ticket: a hash whose seeds nobody who sends one can foresee, and
/// which is long enough to tell all apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionName([NonZero<u64>; 2]);

impl SessionName {
    /// Stands for whichever a connection has.
    pub(super) const ANY: SessionName = SessionName([NonZero::<u64>::MIN; 2]);
}

static NAME_SEEDS: LazyLock<[RandomState; 2]> = LazyLock::new(Default::default);

impl SessionName {
    /// Of an identifier or a ticket; an empty one names nothing.
    pub fn of(bytes: &[u8]) -> Option<SessionName> {
        if bytes.is_empty() {
            return None;
        }
        let hash = |seed: &RandomState| NonZero::new(seed.hash_one(bytes)).unwrap_or(NonZero::<u64>::MAX);
        Some(SessionName(NAME_SEEDS.each_ref().map(hash)))
    }
}

/// What a connection gave its client to resume it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Given {
    /// Session identifier and ticket, up to TLS 1.2.
    pub names: [Option<SessionName>; 2],
    /// In TLS 1.3.
    pub tickets: Tickets,
    /// When, in nanoseconds of packet time.
    pub at: i64,
}

/// Stands for all that connections which resume one can learn from it. It is held against one other, so that few
/// bits will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::protocol) struct Lesson(NonZero<u32>);

impl Lesson {
    pub(super) fn of(authentication: Authentication, given: Option<Given>) -> Lesson {
        let [seed, _] = &*NAME_SEEDS;
        // When it was given is what a rest may blur, and what a connection that teaches the same may leave as it is.
        let given = given.map(|given| (given.names, given.tickets));
        let hash = seed.hash_one((authentication, given)) as u32;
        Lesson(NonZero::new(hash).unwrap_or(NonZero::<u32>::MAX))
    }
}

/// The tickets of a TLS 1.3 connection, as far as record lengths show them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tickets {
    /// None were seen.
    None,
    /// Some were, or may have been, and their length cannot be told.
    Unread,
    /// The record that stands where tickets do holds this.
    Record {
        /// How the server lays out its records.
        layout: Layout,
        /// Bytes of the messages in it.
        messages: u16,
    },
}

/// How a server lays out its flight: which stacks it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// A record for every message.
    Apart,
    /// The same, each padded by 16 bytes.
    Padded,
    /// One record for all.
    Together,
}

/// What a connection resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumes {
    /// The session of this identifier or of this ticket, up to TLS 1.2.
    Named([Option<SessionName>; 2]),
    /// In TLS 1.3.
    Ticket {
        /// Bytes of the identity offered and accepted.
        length: u16,
        /// The client sent early data: the ticket permits it.
        early_data: bool,
    },
}

impl Tickets {
    /// Whether a ticket of `length` bytes is what was given here; `None` if that cannot be told.
    pub fn fit(&self, length: u16, early_data: bool) -> Option<bool> {
        let (layout, messages) = match *self {
            Tickets::None => return Some(false),
            Tickets::Unread => return None,
            Tickets::Record { layout, messages } => (layout, messages),
        };
        // Measured; wolfSSL (18 in a layout of its own) and mbedTLS (49 on a grid) are not among them.
        let overheads: &[u16] = match layout {
            // OpenSSL, GnuTLS; Go, which takes no early data.
            Layout::Apart if early_data => &[25, 21],
            Layout::Apart => &[25, 21, 17],
            // JSSE.
            Layout::Padded => &[18],
            // rustls and tlslite, BoringSSL, NSS.
            Layout::Together => &[49, 22, 19],
        };
        let extension = if early_data { EARLY_DATA } else { 0 };
        Some(overheads.iter().any(|overhead| {
            let message = length.saturating_add(overhead + extension);
            // Who sends a flight in one record sends two tickets in one.
            messages == message || (layout == Layout::Together && messages == message.saturating_mul(2))
        }))
    }

    /// Whether a ticket of `length` bytes shows by its length that its session has, or has not, a
    /// client certificate inside.
    pub fn tells(&self, length: u16, certificate: bool) -> bool {
        // Some JSSE tickets hold the server's own certificate.
        let own = matches!(self, Tickets::Record { layout: Layout::Padded, .. });
        match certificate {
            true => length >= LEAST_WITH_CERTIFICATE,
            false => length >= LEAST_SELF_CONTAINED && (own || length < LEAST_WITH_CERTIFICATE),
        }
    }
}

impl Evidence {
    /// What this connection resumed, if it did and it can be told.
    pub fn resumes(&self) -> Option<Resumes> {
        if self.resumed() != Some(true) || self.midstream() {
            return None;
        }
        let (client, server) = (self.client_hello()?, self.server_hello()?);
        if self.version()? < Version::Tls13 {
            let echoed = server.session_name.filter(|_| self.echoes_session());
            let names = [echoed, client.ticket_name];
            return Some(Resumes::Named(names));
        }
        let psk = client.psk?;
        // Another than the first identity has a length that was not kept; an external key has no age.
        (server.psk_index == Some(0) && psk.obfuscated_age != 0)
            .then_some(Resumes::Ticket { length: psk.identity_length, early_data: client.early_data })
    }

    /// Whether all that others may learn from it was told while it went on, and it resumed nothing itself.
    pub fn is_learnt(&self) -> bool {
        let Some(told) = self.told.filter(|_| self.resumed() == Some(false)) else { return false };
        let (authentication, given) = self.authentication_and_given();
        told == Lesson::of(authentication, given)
    }

    /// Of both sides records were remembered: such that are not in clear, as a rule.
    pub(super) fn both_encrypt(&self) -> bool {
        [Side::A, Side::B].iter().all(|&side| !self.trace().side(side).records.is_empty())
    }

    /// How many record headers were remembered: what was inferred can change only with them.
    pub fn progress(&self) -> usize {
        if let Some(answers) = self.answers() {
            return answers.progress;
        }
        [Side::A, Side::B].iter().map(|&side| self.trace().side(side).records.len()).sum()
    }
}

/// What a connection up to TLS 1.2 gave its client, in clear.
pub(super) fn given_in_clear(evidence: &Evidence) -> Option<Given> {
    let names = [evidence.server_hello()?.session_name, evidence.session_ticket];
    let at = evidence.trace().server_hello()?;
    Some(Given { names, tickets: Tickets::None, at: evidence.trace().time(at) })
}

/// What a connection of TLS 1.3 gave its client.
pub(super) fn given_encrypted(reading: &Reading<'_>) -> Given {
    let (tickets, at) = tickets(reading);
    Given { names: [None, None], tickets, at }
}

fn tickets(reading: &Reading<'_>) -> (Tickets, i64) {
    let Reading { evidence, client, .. } = *reading;
    let trace = evidence.trace();
    let hello = trace.server_hello().map_or(0, |at| trace.time(at));
    let seen = (!evidence.midstream()).then(|| reading.seen()).flatten();
    let Some(seen) = seen else { return (Tickets::Unread, hello) };
    let flight = match reading.is_resumed() {
        true => resumption_flight(&seen),
        false => full_flight(&seen, reading.server_flight(&seen)),
    };
    let nothing = if trace.side(client.other()).has_hole() || evidence.early_data {
        Tickets::Unread
    } else {
        Tickets::None
    };
    let Some((layout, count)) = flight else {
        return (if seen.client.is_empty() { nothing } else { Tickets::Unread }, hello);
    };
    let Some(record) = seen.server.get(count) else { return (nothing, hello) };
    let padding = 1 + seen.sizes.tag + if layout == Layout::Padded { 16 } else { 0 };
    let messages = record.length.saturating_sub(padding);
    (Tickets::Record { layout, messages }, trace.time(record.at))
}

/// Layout and records of the server's flight in a full handshake.
fn full_flight(seen: &Observed, flight: &ServerFlight) -> Option<(Layout, usize)> {
    match (flight.padding, flight.records) {
        (Some(Padding::None), Some(count)) => Some((Layout::Apart, count)),
        (Some(Padding::Plus16), Some(count)) => Some((Layout::Padded, count)),
        (Some(Padding::Grid(_)), _) => None,
        _ => together(seen, LEAST_FLIGHT),
    }
}

/// The same in a resumption, where the flight is EncryptedExtensions and Finished.
fn resumption_flight(seen: &Observed) -> Option<(Layout, usize)> {
    let finished = |padding| {
        let second = seen.server.get(1).map(|record| record.length);
        second.is_some_and(|length| Wire { sizes: seen.sizes, padding }.is_finished(length))
    };
    if finished(Padding::None) {
        Some((Layout::Apart, 2))
    } else if finished(Padding::Plus16) {
        Some((Layout::Padded, 2))
    } else {
        let shortest = Wire { sizes: seen.sizes, padding: Padding::None }.length(10 + seen.sizes.hash);
        together(seen, shortest)
    }
}

/// A flight in one record: nothing else came before the client's.
fn together(seen: &Observed, shortest: u16) -> Option<(Layout, usize)> {
    let (only, client) = (seen.server.first()?, seen.client.first()?);
    let alone = seen.server.get(1).is_none_or(|next| next.at > client.at);
    (only.length >= shortest && only.at < client.at && alone).then_some((Layout::Together, 1))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{SHA256, SHA384, Script, play};
    use super::*;
    use proptest::prelude::*;

    fn tickets(script: Script, words: &str) -> Tickets {
        play(script, words).given().expect("a connection").tickets
    }

    /// Record headers of real stacks, and the identity that the connection after it offered.
    #[test]
    fn tickets_of_real_stacks_fit() {
        let rows = [
            ("OpenSSL", "C22 S22 S:32 S:1785 S:281 S:53 C:53 S:234 S:234", 192),
            ("OpenSSL", "C22 S22 S:32 S:113 S:1785 S:281 S:53 C:1261 S:1178 S:1178", 1136),
            ("GnuTLS", "C22 S22 S:32 S:941 S:281 S:53 S:252 S:252 C:53", 214),
            ("Go", "C22 S22 S:36 S:145 S:941 S:281 S:53 C:25 C:53 S:139", 105),
            ("rustls", "C22 S22 S:1260 C:53 S:339", 112),
            ("rustls", "C22 S22 S:1342 C:1261 S:2213", 1049),
            ("JSSE", "C22 S22 S:39 S:957 S:297 S:69 C:53 S:1200", 1149),
        ];
        for (stack, words, length) in rows {
            let tickets = tickets(SHA256, words);
            assert_eq!(tickets.fit(length, false), Some(true), "{stack} {tickets:?}");
            assert_eq!(tickets.fit(length + 16, false), Some(false), "{stack}");
            assert_eq!(tickets.fit(length, true), Some(false), "{stack}");
        }
        assert_eq!(tickets(SHA384, "C22 S22 S:38 S:941 S:281 S:69 S:276 C:69").fit(230, true), Some(true));
    }

    #[test]
    fn stacks_whose_tickets_do_not_tell_are_left_out() {
        // mbedTLS: a grid of 16.
        let words = "C22 S22 S:32 S:48 S:960 S:288 S:64 C:64 S:160";
        assert_eq!(tickets(SHA256, words), Tickets::Unread);
        // wolfSSL: 18 more than its ticket of 174, without padding.
        let words = "C22 S22 S:23 S:941 S:281 S:53 C:53 S:209";
        assert_eq!(tickets(SHA256, words).fit(174, false), Some(false));
        // A handle to the server's memory.
        let handle = tickets(SHA256, "C22 S22 S:32 S:1785 S:281 S:53 C:53 S:74");
        assert_eq!(handle.fit(32, false), Some(true));
        assert!(!handle.tells(32, true) && !handle.tells(32, false));
        let plain = tickets(SHA256, "C22 S22 S:32 S:1785 S:281 S:53 C:53 S:234");
        assert!(plain.tells(192, false) && !plain.tells(192, true));
        assert!(plain.tells(1136, true) && !plain.tells(1136, false));
    }

    #[test]
    fn what_is_missing_is_unread_and_what_is_not_there_is_none() {
        assert_eq!(tickets(SHA256, "C22 S22 S:32 S:1785 S:281 S:53 C:53"), Tickets::None);
        assert_eq!(tickets(SHA256, "C22 S22 S:32 S:1785 S:281 S:53 C:53 Sgap S:234"), Tickets::Unread);
        assert_eq!(tickets(SHA256, "C22 S22 S:1260 S:500 C:53 S:339"), Tickets::Unread);
        assert_eq!(tickets(SHA256, "C22 S22 Sgap S:1260 C:53 S:339"), Tickets::Unread);
    }

    #[test]
    fn a_resumed_connection_gives_tickets_too() {
        let resumed = Script { psk: true, ..SHA256 };
        let apart = tickets(resumed, "C22 S22 S20:1 S:36 S:53 C:53 S:234");
        assert_eq!(apart.fit(192, false), Some(true));
        let together = tickets(resumed, "C22 S22 S20:1 S:68 C:53 S:339");
        assert_eq!(together.fit(112, false), Some(true));
    }

    #[test]
    fn names_are_equal_where_bytes_are() {
        assert_eq!(SessionName::of(b""), None);
        assert_eq!(SessionName::of(b"one"), SessionName::of(b"one"));
        assert_ne!(SessionName::of(b"one"), SessionName::of(b"two"));
    }

    proptest! {
        #[test]
        fn no_length_panics(server in proptest::collection::vec(any::<u16>(), 0..6), length in any::<u16>()) {
            let words: String = server.iter().map(|length| format!(" S:{}", length % 16_000)).collect();
            let tickets = tickets(SHA256, &format!("C22 S22{words} C:53 S:{}", length % 16_000));
            let own = matches!(tickets, Tickets::Record { layout: Layout::Padded, .. });
            let both = tickets.tells(length, true) && tickets.tells(length, false);
            prop_assert!(own || !both);
            tickets.fit(length, false);
            tickets.fit(length, true);
        }
    }
}
