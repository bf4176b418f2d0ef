//! What a connection shows that is concluded, taken apart: what others between the same programs show as well, and
//! what is its own, in few bytes.

use super::evidence::Evidence;
use super::parser::Ended;
use super::resume::{Lesson, SessionName};
use super::watch::Watch;
use super::{Chain, Parser};

/// What connections have in common: evidence whose answers are known, without what [`Own`] holds.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(in crate::protocol) struct Concluded {
    evidence: Evidence,
    streams: [Ended; 2],
    progress: u8,
    looks: u8,
}

/// What tells one of them from the others.
#[derive(Clone, Copy, Debug)]
pub(in crate::protocol) struct Own {
    origin: i64,
    /// When it gave its client what to resume it by, in microseconds since then.
    given: i32,
    told: Option<Lesson>,
    /// The one session that it began or resumed, up to TLS 1.2.
    session: Option<SessionName>,
}

impl Concluded {
    /// Takes a connection apart, if nothing that follows can change what is said of it.
    pub(in crate::protocol) fn take(parser: &Parser, watch: &Watch) -> Option<(Concluded, Own)> {
        let (streams, evidence) = parser.ended()?;
        let origin = evidence.trace.origin_alone()?;
        let mut names = evidence.session_names();
        let session = names.next();
        if names.any(|other| Some(other) != session) {
            return None;
        }
        let at = evidence.answers()?.given.map_or(0, |given| given.at.saturating_sub(origin));
        let own = Own { origin, given: i32::try_from(at / MICRO).ok()?, told: watch.told, session };
        let mut evidence = evidence.clone();
        evidence.trace.forget_times();
        evidence.set(None, SessionName::ANY);
        // Nothing asks for more than whether it was zero.
        if let Some(psk) = evidence.client_hello.as_mut().and_then(|hello| hello.psk.as_mut()) {
            psk.obfuscated_age = psk.obfuscated_age.min(1);
        }
        let concluded = Concluded { evidence, streams, progress: watch.progress, looks: watch.looks };
        (at % MICRO == 0).then_some((concluded, own))
    }

    /// The connection as it was.
    pub(in crate::protocol) fn put_together(&self, own: &Own) -> (Parser, Watch) {
        let mut evidence = Box::new(self.evidence.clone());
        evidence.trace.remember_origin(own.origin);
        let at = own.origin.saturating_add(i64::from(own.given) * MICRO);
        evidence.set(Some(at), own.session.unwrap_or(SessionName::ANY));
        let watch = Watch { progress: self.progress, looks: self.looks, told: own.told };
        (Parser::of_ended(evidence, self.streams), watch)
    }

    pub(in crate::protocol) fn chains(&self) -> [Option<&Chain>; 2] {
        self.evidence.chains()
    }

    /// Bytes on the heap, but for those chains.
    pub(in crate::protocol) fn held(&self) -> usize {
        self.evidence.held()
    }
}

/// Nanoseconds.
const MICRO: i64 = 1000;

impl Evidence {
    /// Every session that it names.
    fn session_names(&self) -> impl Iterator<Item = SessionName> {
        let Evidence { client_hello, server_hello, session_ticket, answers, .. } = self;
        let offered = client_hello.as_ref().and_then(|hello| hello.ticket_name);
        let chosen = server_hello.as_ref().and_then(|hello| hello.session_name);
        let given = answers.as_ref().and_then(|answers| answers.given).map_or([None; 2], |given| given.names);
        [offered, chosen, *session_ticket].into_iter().chain(given).flatten()
    }

    /// Puts one name in the place of each, and says when they were given.
    fn set(&mut self, given_at: Option<i64>, name: SessionName) {
        let Evidence { client_hello, server_hello, session_ticket, answers, .. } = self;
        let offered = client_hello.as_mut().map(|hello| &mut hello.ticket_name);
        let chosen = server_hello.as_mut().map(|hello| &mut hello.session_name);
        let given = answers.as_mut().and_then(|answers| answers.given.as_mut());
        let given = given.map(|given| {
            given.at = given_at.unwrap_or(0);
            given.names.iter_mut()
        });
        for known in
            offered.into_iter().chain(chosen).chain([session_ticket]).chain(given.into_iter().flatten())
        {
            *known = known.map(|_| name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, Unread, hex};
    use super::*;
    use crate::protocol::Side;

    /// A connection that sent more than is looked at, with this random byte in its session identifiers.
    fn concluded(server_hello: &[&str], own: u8) -> (Parser, Watch) {
        let (mut parser, mut watch) = (Parser::new(), Watch::default());
        for (side, hello) in [(Side::A, testing::CLIENT_HELLO), (Side::B, server_hello)] {
            let mut hello = hex(hello);
            // Behind the heads of record and message, the version and the random.
            if hello[43] > 0 {
                hello[50] = own;
            }
            parser.advance(side, &hello, i64::from(own) * 1_000_000, &mut Unread);
        }
        let records = [23, 3, 3, 0, 2, 0, 0].repeat(60);
        for side in [Side::B, Side::A] {
            parser.advance(side, &[20, 3, 3, 0, 1, 1], 2_000_000_000, &mut Unread);
            parser.advance(side, &records, 3_000_000_000, &mut Unread);
            watch.has_news(parser.evidence());
        }
        (parser, watch)
    }

    #[test]
    fn what_was_taken_apart_is_put_together_as_it_was() {
        for server_hello in [testing::SERVER_HELLO, testing::SERVER_HELLO_12] {
            let connections = [1, 2].map(|own| concluded(server_hello, own));
            let [one, other] = connections.each_ref().map(|(parser, watch)| {
                let (concluded, own) = Concluded::take(parser, watch).expect("it is concluded");
                let (again, watched) = concluded.put_together(&own);
                let mut before = parser.evidence().clone();
                let origin = before.trace.origin_alone().expect("records came");
                before.trace.forget_times();
                before.trace.remember_origin(origin);
                assert_eq!(again.evidence(), &before);
                assert_eq!(watched.told, watch.told);
                concluded
            });
            assert_eq!(one, other);
        }
    }

    #[test]
    fn what_goes_on_is_not_taken_apart() {
        let mut parser = Parser::new();
        parser.advance(Side::A, &hex(testing::CLIENT_HELLO), 0, &mut Unread);
        assert!(Concluded::take(&parser, &Watch::default()).is_none());
    }
}
