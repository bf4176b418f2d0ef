//! What a connection showed that is silent, taken apart: what others between the same programs showed as well, and
//! what is its own, in few bytes.

use super::evidence::Evidence;
use super::parser::Place;
use super::resume::{Given, Lesson, SessionName, Tickets};
use super::watch::Watch;
use super::{Chain, Parser};

/// What connections have in common: what they showed, without what [`Own`] holds.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(in crate::protocol) struct Shown {
    evidence: Evidence,
    streams: [Place; 2],
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

impl Shown {
    /// Takes a connection apart between two records, unless more of it is its own, or others are still to learn from it
    /// what it gave before: when it did is not kept.
    pub(in crate::protocol) fn take(parser: &Parser, watch: &Watch) -> Option<(Shown, Own)> {
        let (streams, evidence) = parser.between_records()?;
        let is_untold =
            |given: Given| given.names != [None; 2] || matches!(given.tickets, Tickets::Record { .. });
        if evidence.answers().is_none() && watch.told.is_none() && evidence.given().is_some_and(is_untold) {
            return None;
        }
        let (origin, trace) = evidence.trace.without_times()?;
        let mut names = evidence.session_names();
        let session = names.next();
        if names.any(|other| Some(other) != session) {
            return None;
        }
        let given = evidence.answers().and_then(|answers| answers.given);
        let at = given.map_or(0, |given| given.at.saturating_sub(origin));
        let own = Own { origin, given: i32::try_from(at / MICRO).ok()?, told: watch.told, session };
        let mut evidence = evidence.clone();
        evidence.trace = trace;
        evidence.weigh();
        evidence.set(None, SessionName::ANY);
        // Nothing asks for more than whether it was zero.
        if let Some(psk) = evidence.client_hello.as_mut().and_then(|hello| hello.psk.as_mut()) {
            psk.obfuscated_age = psk.obfuscated_age.min(1);
        }
        let shown = Shown { evidence, streams, progress: watch.progress, looks: watch.looks };
        (at % MICRO == 0).then_some((shown, own))
    }

    /// The connection as it was.
    pub(in crate::protocol) fn put_together(&self, own: &Own) -> (Parser, Watch) {
        let mut evidence = Box::new(self.evidence.clone());
        evidence.trace.remember_origin(own.origin);
        evidence.weigh();
        let at = own.origin.saturating_add(i64::from(own.given) * MICRO);
        evidence.set(Some(at), own.session.unwrap_or(SessionName::ANY));
        let watch = Watch { progress: self.progress, looks: self.looks, told: own.told };
        (Parser::of_places(evidence, self.streams), watch)
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
    use super::super::answers::Answers;
    use super::super::evidence::Authentication;
    use super::super::testing::{self, Unread, hex, record};
    use super::*;
    use crate::protocol::Side;
    use proptest::prelude::*;

    const SECOND: i64 = 1_000_000_000;

    /// A connection whose server answers with a session identifier of these bytes, that sends records of these lengths.
    fn connection(server_hello: &[&str], own: u8, records: &[(bool, u16, i64)]) -> (Parser, Watch) {
        let (mut parser, mut watch) = (Parser::new(), Watch::default());
        let start = i64::from(own) * SECOND;
        for (side, hello) in [(Side::A, testing::CLIENT_HELLO), (Side::B, server_hello)] {
            let mut hello = hex(hello);
            if side == Side::B {
                // The last bytes of the lengths of record and message, and the identifier behind the random.
                (hello[4], hello[8]) = (hello[4] + 32 - hello[43], hello[8] + 32 - hello[43]);
                let end = 44 + usize::from(hello[43]);
                hello.splice(43..end, [[32].as_slice(), &[own; 32]].concat());
            }
            parser.advance(side, &hello, start, &mut Unread);
        }
        for side in [Side::B, Side::A] {
            parser.advance(side, &record(20, &[1]), start, &mut Unread);
        }
        send(&mut parser, &mut watch, records, start);
        (parser, watch)
    }

    fn send(parser: &mut Parser, watch: &mut Watch, records: &[(bool, u16, i64)], from: i64) {
        for (is_client, length, after) in records {
            let side = if *is_client { Side::A } else { Side::B };
            parser.advance(side, &record(23, &vec![0; usize::from(*length)]), from + after, &mut Unread);
            watch.has_news(parser.evidence());
        }
    }

    fn records(most: usize) -> impl Strategy<Value = Vec<(bool, u16, i64)>> {
        let length = prop_oneof![Just(53u16), Just(19), Just(281), 17u16..2200];
        let gap = prop_oneof![4 => 0i64..SECOND / 20, 1 => SECOND / 2..4 * SECOND];
        proptest::collection::vec((any::<bool>(), length, gap), 0..most).prop_map(|mut records| {
            let mut time = 0;
            for (.., after) in &mut records {
                time += *after;
                *after = time;
            }
            records
        })
    }

    proptest! {
        /// Whatever came before a rest and comes after it, the answers are those of a connection that did not rest.
        #[test]
        fn a_rest_changes_no_answer(
            before in records(60),
            after in records(60),
            closes in proptest::collection::vec((any::<bool>(), any::<bool>()), 0..3),
            is_modern: bool,
        ) {
            let hello = if is_modern { testing::SERVER_HELLO } else { testing::SERVER_HELLO_12 };
            let (mut parser, mut watch) = connection(hello, 1, &before);
            // Few of them teach anything, which is no matter here.
            watch.told = watch.told.or(Some(Lesson::of(Authentication::Resumed, None)));
            let taken = Shown::take(&parser, &watch);
            let Some((shown, own)) = taken else { return Ok(()) };
            let (mut rested, mut rested_watch) = shown.put_together(&own);
            prop_assert_eq!(rested_watch.told, watch.told);
            let answers = |parser: &Parser| {
                let mut answers = Answers::of(parser.evidence());
                answers.given = answers.given.map(|given| Given { at: 0, ..given });
                answers
            };
            prop_assert_eq!(answers(&rested), answers(&parser));
            for (parser, watch) in [(&mut parser, &mut watch), (&mut rested, &mut rested_watch)] {
                send(parser, watch, &after, 400 * SECOND);
                for (is_client, reset) in &closes {
                    parser.closed(if *is_client { Side::A } else { Side::B }, *reset, 900 * SECOND);
                }
            }
            prop_assert_eq!(answers(&rested), answers(&parser));
            let [rested, parser] = [(rested, rested_watch), (parser, watch)]
                .map(|(parser, watch)| parser.into_evidence(watch.told()));
            prop_assert_eq!(rested.is_learnt(), parser.is_learnt());
            prop_assert_eq!(rested.resumes(), parser.resumes());
        }
    }

    #[test]
    fn connections_that_differ_in_sessions_and_times_are_alike() {
        let records: Vec<_> = (0..60).flat_map(|_| [(false, 100, 0), (true, 90, 0)]).collect();
        for hello in [testing::SERVER_HELLO, testing::SERVER_HELLO_12] {
            let connections = [1, 2].map(|own| connection(hello, own, &records));
            let [one, other] = connections.each_ref().map(|(parser, watch)| {
                let (shown, own) = Shown::take(parser, watch).expect("it is concluded");
                let (again, _) = shown.put_together(&own);
                assert_eq!(Answers::of(again.evidence()), Answers::of(parser.evidence()));
                assert_eq!(again.evidence().given(), parser.evidence().given());
                shown
            });
            assert_eq!(one, other);
        }
    }

    #[test]
    fn what_was_not_told_is_not_taken_apart() {
        // A session that others may resume, and a random that a key log may name.
        let (parser, watch) = connection(testing::SERVER_HELLO_12, 1, &[]);
        assert!(parser.evidence().given().is_some_and(|given| given.names != [None; 2]));
        assert!(Shown::take(&parser, &watch).is_none());
        let mut parser = Parser::new();
        parser.advance(Side::A, &hex(testing::CLIENT_HELLO), 0, &mut Unread);
        assert!(Shown::take(&parser, &Watch::default()).is_none());
    }
}
