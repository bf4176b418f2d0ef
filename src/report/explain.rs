//! The `evidence` column: why each finding is what it is, in words for people.

use super::Record;
use super::because::Words;
use super::further::further;
use super::text::{Text, text};
use crate::policy::{Because, Column, Finding, Reason, RowRef, Verdict, columns};

/// Appends a short text of what was held against the row that decides, and what else was seen.
pub(super) fn append_evidence(record: &Record<'_>, out: &mut Text) {
    let start = out.length();
    append_all_held(record, false, out);
    append_further(record, out.length() == start, out);
}

/// Appends what was held against the row that decides, as it is of all flows alike: with holes for the rest.
pub(super) fn append_held(record: &Record<'_>, out: &mut Text) {
    append_all_held(record, true, out);
}

fn append_all_held(record: &Record<'_>, with_holes: bool, out: &mut Text) {
    let mut parts = Parts { out, first: true };
    match &record.judgement.findings {
        None => parts.next().word("no documented row names this port, source or destination"),
        Some(findings) => held(record, findings, with_holes, &mut parts),
    }
    let observed = record.subject.observed;
    if record.judgement.verdict == Verdict::Violation && !observed.no_payload {
        let out = parts.next();
        out.word("seen: application ");
        out.word(observed.application.word());
        out.word(", security ");
        observed.security.words().iter().for_each(|word| out.word(word));
    }
}

/// Appends what else was seen; the `first` part stands without a semicolon.
pub(super) fn append_further(record: &Record<'_>, first: bool, out: &mut Text) {
    further(record, &mut Parts { out, first });
}

/// What flows that are judged alike differ in. In words put together for all of them a control character stands for
/// it: all other text is escaped and holds none.
#[derive(Clone, Copy, Debug)]
pub(super) enum Hole {
    Source,
    Destination,
    Port,
    State,
}

impl Hole {
    /// All in a text, with their places.
    pub(super) fn all(text: &[u8]) -> impl Iterator<Item = (usize, Hole)> {
        let of = |byte: &u8| match byte {
            0 => Some(Hole::Source),
            1 => Some(Hole::Destination),
            2 => Some(Hole::Port),
            3 => Some(Hole::State),
            _ => None,
        };
        text.iter().enumerate().filter_map(move |(at, byte)| Some((at, of(byte)?)))
    }

    pub(super) fn fill(self, record: &Record<'_>, out: &mut Text) {
        let subject = &record.subject;
        match self {
            Hole::Source => out.ip(subject.source.ip),
            Hole::Destination => out.ip(subject.destination.ip),
            Hole::Port => out.number(subject.destination.port.into()),
            Hole::State => out.word(record.counted.state.word()),
        }
    }
}

/// The same, for what formats.
pub fn evidence(record: &Record<'_>) -> String {
    text(|out| append_evidence(record, out))
}

/// Appends why a finding is what it is, held against this row.
pub(super) fn append_words(
    record: &Record<'_>,
    row: Option<RowRef>,
    column: Column,
    finding: &Finding,
    out: &mut Text,
) {
    append_words_or_holes(&Words { record, row, column, with_holes: false }, finding, out);
}

fn append_words_or_holes(words: &Words<'_>, finding: &Finding, out: &mut Text) {
    for (at, because) in finding.because().enumerate() {
        if at > 0 {
            out.word(", ");
        }
        words.one(because, out);
    }
}

/// Parts separated by semicolons.
pub(super) struct Parts<'b> {
    out: &'b mut Text,
    first: bool,
}

impl Parts<'_> {
    /// Where the next part goes.
    pub(super) fn next(&mut self) -> &mut Text {
        if !std::mem::replace(&mut self.first, false) {
            self.out.word("; ");
        }
        self.out
    }
}

/// What each column's finding is and why, what decides first.
fn held(record: &Record<'_>, findings: &[Finding; 6], with_holes: bool, parts: &mut Parts<'_>) {
    // A row of another port is named for its ends only: it asks nothing of this flow.
    let elsewhere = record.judgement.reason == Some(Reason::NoRowForPort);
    let mut all = Column::ALL;
    let mut told = 0;
    for (column, finding) in columns(findings) {
        if !is_plain(column, finding) && (!elsewhere || says_where(column)) {
            all[told] = column;
            told += 1;
        }
    }
    let all = &mut all[..told];
    let finding = |column: Column| &findings[column as usize];
    let reason = record.judgement.reason;
    all.sort_by_key(|column| {
        let finding = finding(*column);
        (std::cmp::Reverse(finding.grade), finding.reason != reason)
    });
    for (at, column) in all.iter().enumerate() {
        let same = |other: &&Column| {
            says_what(*column)
                && says_what(**other)
                && finding(**other).because().eq(finding(*column).because())
        };
        if all[..at].iter().any(|other| same(&other)) {
            continue;
        }
        let out = parts.next();
        out.word(name(*column));
        if let Some(twin) = all[at + 1..].iter().find(same) {
            out.word(" and ");
            out.word(name(*twin));
        }
        out.word(": ");
        let words = Words { record, row: record.judgement.row, column: *column, with_holes };
        append_words_or_holes(&words, finding(*column), out);
    }
}

/// The columns that tell where a flow goes, rather than what it carries.
fn says_where(column: Column) -> bool {
    matches!(column, Column::Source | Column::Destination | Column::Port)
}

/// The columns about what it carries: what holds of both is said once.
pub(super) fn says_what(column: Column) -> bool {
    matches!(column, Column::Application | Column::Security)
}

/// A matching port or transport needs no words.
fn is_plain(column: Column, finding: &Finding) -> bool {
    matches!(column, Column::Port | Column::Transport)
        && finding
            .because()
            .all(|because| matches!(because, Because::PortMatches | Because::TransportMatches))
}

/// The column as people read it.
pub(super) fn name(column: Column) -> &'static str {
    match column {
        Column::Source => "source",
        Column::Destination => "destination",
        Column::Port => "port",
        Column::Transport => "transport",
        Column::Application => "application",
        Column::Security => "security",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{
        CELL, Case, DIRECTOR, DOPPLER, Handshake, LOG_API, MUTUAL, NATS, STRANGER, UAA, http, nats, policy,
    };
    use crate::policy::{Observed, OpenedBy};
    use crate::report::testing::judged;

    fn told(source: &str, destination: &str, port: u16, observed: Observed) -> String {
        let policy = policy();
        let case = Case::new(source, destination, port, observed);
        evidence(&judged(&policy, &case, None).record())
    }

    fn begins(text: &str, with: &str) {
        assert!(text.starts_with(with), "{text}");
    }

    #[test]
    fn what_decides_is_read_first() {
        begins(
            &told(CELL, NATS, 4222, nats("{\"verbose\":false}", "PONG\r\n")),
            "source: 10.0.4.15 is diego-cell/0, not loggregator_trafficcontroller (Route Registrar)",
        );
        begins(
            &told(LOG_API, NATS, 4222, nats("{\"verbose\":false}", "PONG\r\n")),
            "security: CONNECT carried no credentials; source: ",
        );
        // Source and destination are both wrong: the one that gives the reason comes first.
        begins(
            &told(STRANGER, UAA, 4222, http(None, "200 OK")),
            "destination: 10.0.4.13 is uaa/0, not nats; ",
        );
        begins(
            &told(LOG_API, UAA, 8443, Handshake { offered: &[], chosen: None, ..MUTUAL }.observed()),
            "application: the client offered no ALPN; source: ",
        );
    }

    #[test]
    fn a_source_outside_the_subnet_is_told_network_and_zone() {
        let policy = policy();
        for (source, words) in [
            (
                "10.0.5.7",
                "source: 10.0.5.7 is in another subnet of the destination's network, not in 10.0.4.0/24 (default, z1)",
            ),
            (DIRECTOR, "source: 10.0.0.6 is outside the destination's subnet 10.0.4.0/24 (default, z1)"),
        ] {
            let case = Case::new(source, LOG_API, 8081, http(Some("Bearer x"), "200 OK"));
            begins(&evidence(&judged(&policy, &case, None).record()), words);
        }
    }

    #[test]
    fn requests_are_counted_by_what_they_carried_and_what_came_back() {
        let text = told(LOG_API, LOG_API, 8088, http(Some("Basic x"), "403 Forbidden"));
        begins(&text, "security: 1 request did not carry it (1 request, 1 basic, 1 answered 403)");
    }

    #[test]
    fn a_refusal_names_its_alert() {
        let text = told(LOG_API, DOPPLER, 8082, Handshake { refused: Some(48), ..MUTUAL }.observed());
        begins(&text, "security: TLS 1.2 handshake refused with alert 48 unknown_ca");
    }

    #[test]
    fn without_a_row_near_it_says_what_the_flow_spoke() {
        let text = told("192.0.2.1", "192.0.2.2", 9999, http(None, "200 OK"));
        assert_eq!(
            text,
            "no documented row names this port, source or destination; seen: application HTTP/1.1, security none"
        );
    }

    #[test]
    fn a_row_of_another_port_is_named_for_its_ends_only() {
        let text = told(LOG_API, NATS, 9999, http(None, "200 OK"));
        begins(&text, "port: 9999, documented is 4222; ");
        assert!(!text.contains("application:") && !text.contains("security:"), "{text}");
    }

    #[test]
    fn a_guessed_direction_says_so() {
        let policy = policy();
        let case = Case::new(STRANGER, UAA, 8443, MUTUAL.observed()).opened_by(OpenedBy::FirstPacket);
        let text = evidence(&judged(&policy, &case, None).record());
        begins(&text, "source: which end opened the flow is only guessed");
    }
}
