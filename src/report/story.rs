//! One flow told at length: what it was, what was seen of it, how every candidate row was held against
//! it, and what would settle what was not seen.

use std::fmt;

use super::explain::{append_words, name, says_what};
use super::summary::what_would_show;
use super::text::text;
use super::{Record, clean, number, timeline, words};
use crate::capture::Timestamp;
use crate::flow::ConnState;
use crate::flow::community_id::{DEFAULT_SEED, community_id};
use crate::packet::Transport;
use crate::policy::{Because, Column, Finding, Grade, Missing, OpenedBy, Reason, RowRef, Verdict, columns};
use crate::protocol::tls::Why;

/// Candidate rows that are told, the one that decides first; further ones are counted.
const ROWS: usize = 40;

/// The whole story, in lines for people, everything in it escaped.
pub fn story<'a>(record: &'a Record<'a>) -> impl fmt::Display + 'a {
    Story(record)
}

struct Story<'a>(&'a Record<'a>);

impl fmt::Display for Story<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = self.0;
        flow(record, f)?;
        writeln!(f, "\nSeen, in the protocol's order")?;
        timeline::tell(record, &mut |line| writeln!(f, "  {line}"))?;
        let mut rows = record.policy.explain(&record.subject);
        // What decides is read first; the others stay in table order.
        rows.sort_by_key(|(at, _)| Some(*at) != record.judgement.row);
        candidates(record, &rows, f)?;
        settling(record, &rows, f)
    }
}

fn flow(record: &Record<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (subject, counted, judgement) = (&record.subject, &record.counted, record.judgement);
    let observed = subject.observed;
    writeln!(
        f,
        "Flow {}",
        community_id(subject.source, subject.destination, subject.transport, DEFAULT_SEED)
    )?;
    write!(f, "  verdict      {}", judgement.verdict)?;
    if let Some(reason) = judgement.reason {
        write!(f, ", {reason}")?;
    }
    match (judgement.verdict, judgement.row) {
        (Verdict::Violation, Some(at)) => write!(f, "; closest is {}", clean(&record.policy.name(at)))?,
        (Verdict::Unproven, Some(at)) => write!(f, "; held against {}", clean(&record.policy.name(at)))?,
        (_, Some(at)) => write!(f, " by {}", clean(&record.policy.name(at)))?,
        (_, None) => {}
    }
    if judgement.verdict == Verdict::Allowed && judgement.is_inferred() {
        write!(f, ", resting on an inference")?;
    }
    writeln!(f)?;
    writeln!(f, "  source       {}", end(record, words::SOURCE))?;
    writeln!(f, "  destination  {}", end(record, words::DESTINATION))?;
    writeln!(f, "  direction    {}: {}", subject.opened_by.word(), direction_words(subject.opened_by))?;
    writeln!(f, "  transport    {}", text(|out| words::transport(subject.transport, out)))?;
    writeln!(f, "  application  {} ({})", observed.application, observed.application_basis)?;
    writeln!(f, "  security     {} ({})", observed.security, observed.security_basis)?;
    let time = |time| text(|out| words::time(time, counted.precision, out));
    let took = counted.end.0.saturating_sub(counted.start.0);
    writeln!(
        f,
        "  time         {} to {} ({}.{:06} s)",
        time(counted.start),
        time(counted.end),
        took / Timestamp::SECOND,
        took % Timestamp::SECOND / 1000
    )?;
    let ([to, back], [bytes_to, bytes_back]) = (counted.packets, counted.bytes);
    writeln!(f, "  packets      {to} to the destination, {back} to the source")?;
    writeln!(f, "  bytes        {bytes_to} to the destination, {bytes_back} to the source")?;
    writeln!(f, "  state        {}: {}", counted.state, state_words(counted.state, subject.transport))?;
    write!(f, "  capture      {}, first packet {}", clean(record.capture), counted.first_packet)?;
    match text(|out| words::encapsulation(counted.encapsulation, out)) {
        layers if layers.is_empty() => writeln!(f),
        layers => writeln!(f, ", in {layers}"),
    }
}

fn end(record: &Record<'_>, which: usize) -> String {
    let end = [record.subject.source, record.subject.destination][which];
    match text(|out| words::vm(record, which, out)) {
        name if name.is_empty() => format!("{} port {}, VM unknown", end.ip, end.port),
        name => format!("{} port {}, {name}", end.ip, end.port),
    }
}

fn direction_words(opened_by: OpenedBy) -> &'static str {
    match opened_by {
        OpenedBy::Syn => "the source sent the SYN",
        OpenedBy::SynAck => "the destination answered with SYN-ACK to a SYN that was not captured",
        OpenedBy::Protocol => "by the roles of the protocol; no SYN was captured",
        OpenedBy::DocumentedPort => "guessed, the destination is on a documented port",
        OpenedBy::FirstPacket => "guessed, the source sent the first packet seen",
    }
}

fn state_words(state: ConnState, transport: Transport) -> &'static str {
    match state {
        ConnState::Sf if transport != Transport::TCP => "both sides sent",
        ConnState::S0 => "the source sent, the destination did not answer",
        ConnState::S1 => "established, its end was not seen",
        ConnState::Sf => "established and ended normally",
        ConnState::Rej => "the destination rejected it",
        ConnState::S2 => "established, the source closed, the destination did not",
        ConnState::S3 => "established, the destination closed, the source did not",
        ConnState::Rsto => "established, the source reset it",
        ConnState::Rstr => "the destination reset it",
        ConnState::Rstos0 => "the source sent a SYN and then a RST, no SYN-ACK was seen",
        ConnState::Rstrh => "the destination sent a SYN-ACK and then a RST, no SYN was seen",
        ConnState::Sh => "the source sent a SYN and then a FIN, no SYN-ACK was seen",
        ConnState::Shr => "only the destination was seen to answer",
        ConnState::Oth => "no SYN was seen, or its transport has no connections",
    }
}

type Held = (RowRef, [Finding; 6]);

fn candidates(record: &Record<'_>, rows: &[Held], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let subject = &record.subject;
    let (transport, port) = (text(|out| words::transport(subject.transport, out)), subject.destination.port);
    let elsewhere = record.judgement.reason == Some(Reason::NoRowForPort);
    match (elsewhere, rows) {
        (true, []) => {
            writeln!(f, "\nNo row documents {transport} port {port}, and none names either end as it is")?
        }
        (true, _) => writeln!(f, "\nNo row documents {transport} port {port}; the closest by its ends")?,
        (false, _) => {
            writeln!(f, "\n{} for {transport} port {port}", number(rows.len() as u64, "candidate row"))?
        }
    }
    for (at, findings) in rows.iter().take(ROWS) {
        let decides = Some(*at) == record.judgement.row;
        let mark = if decides { '>' } else { ' ' };
        let standing = standing(record, *at, findings);
        writeln!(f, "{mark} {}  {standing}", clean(&record.policy.name(*at)))?;
        for (column, finding) in columns(findings) {
            let cell = clean(&record.policy.row(*at).cells[column as usize]);
            if elsewhere && says_what(column) {
                writeln!(f, "    {:<12} {:<13} {cell}", name(column), "-")?;
                writeln!(f, "    {:26} a row of another port asks nothing of what this flow carries", "")?;
                continue;
            }
            writeln!(f, "    {:<12} {:<13} {cell}", name(column), finding.grade.to_string())?;
            write!(f, "    {:26} ", "")?;
            if let Some(reason) = finding.reason {
                write!(f, "{reason}: ")?;
            }
            writeln!(f, "{}", text(|out| append_words(record, Some(*at), column, finding, out)))?;
        }
    }
    match rows.len().saturating_sub(ROWS) {
        0 => Ok(()),
        more => writeln!(f, "  and {}", number(more as u64, "further row")),
    }
}

/// What a row says of the flow, and whether it is the one that decides.
fn standing(record: &Record<'_>, at: RowRef, findings: &[Finding; 6]) -> &'static str {
    let judgement = record.judgement;
    let has = |grade| findings.iter().any(|finding| finding.grade == grade);
    let decides = judgement.row == Some(at);
    match (decides, has(Grade::Contradicted), has(Grade::Unseen)) {
        (true, true, _) => "decides: it is contradicted, and comes closest",
        (true, false, true) => "decides: not contradicted, something unseen",
        (true, false, false) => "decides: it allows the flow",
        (false, true, _) => "contradicted",
        (false, false, true) => "not contradicted, something unseen",
        (false, false, false) => "allows the flow as well",
    }
}

/// What is unseen in which rows, told once for each answer.
fn settling(record: &Record<'_>, rows: &[Held], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if record.judgement.reason == Some(Reason::NoRowForPort) {
        return Ok(());
    }
    let mut answers: Vec<(Reason, &'static str, Vec<String>)> = Vec::new();
    let is_contradicted =
        |findings: &[Finding; 6]| findings.iter().any(|finding| finding.grade == Grade::Contradicted);
    for (at, findings) in rows.iter().take(ROWS) {
        for (column, finding) in columns(findings) {
            let Some(reason) = finding.reason.filter(|_| finding.grade == Grade::Unseen) else { continue };
            let answer = settles(record, column, finding, reason);
            let idle = if is_contradicted(findings) { " (contradicted elsewhere)" } else { "" };
            let place = format!("{} of {}{idle}", name(column), clean(&record.policy.name(*at)));
            match answers.iter_mut().find(|known| (known.0, known.1) == (reason, answer)) {
                Some((_, _, places)) => places.push(place),
                None => answers.push((reason, answer, vec![place])),
            }
        }
    }
    if answers.is_empty() {
        return Ok(());
    }
    writeln!(f, "\nNot seen, and what would show it")?;
    for (reason, answer, places) in &answers {
        writeln!(f, "  {reason}: {answer}")?;
        writeln!(f, "      {}", places.join(", "))?;
    }
    if rows.iter().all(|(_, findings)| is_contradicted(findings)) {
        writeln!(f, "  None of it would change the verdict: every row is contradicted by what was seen")?;
    }
    Ok(())
}

/// What would settle this finding: closer than the summary's answer where the flow itself tells.
fn settles(record: &Record<'_>, column: Column, finding: &Finding, reason: Reason) -> &'static str {
    let general = what_would_show(reason);
    let is_whole = record.subject.observed.missing.is_none();
    for because in finding.because() {
        match because {
            Because::DocumentOpen if column != Column::Port => {
                return "a table that says it: this document leaves it open";
            }
            Because::AmbiguousAddress => return "an inventory in which one VM alone has this address",
            Because::Loopback => return "nothing in the capture: a loopback address is on every VM",
            Because::SubnetOverlaps => return "an inventory whose subnets do not overlap",
            Because::SubnetDynamic => return "nothing: this network has no ranges to compare with",
            Because::NotCaptured(Missing::TooLittle) | Because::ContentTypeUnseen if is_whole => {
                return "a capture of such a connection that carries more";
            }
            Because::NotAccepted(_)
            | Because::ClientCertificateUnseen(
                Why::NotFinished | Why::NoAnswer | Why::NoCertificateVerify | Why::Malformed,
            ) if is_whole => {
                return "a capture of such a connection whose handshake is seen to come to its end";
            }
            _ => {}
        }
    }
    general
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{
        CELL, Case, DOPPLER, Handshake, LOG_API, MUTUAL, NATS, STRANGER, UAA, http, nats, policy, silent,
    };
    use crate::report::testing::judged;

    fn told(case: &Case) -> String {
        let policy = policy();
        story(&judged(&policy, case, None).record()).to_string()
    }

    fn holds(text: &str, parts: &[&str]) {
        for part in parts {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn the_row_that_decides_is_read_first_and_alone_is_marked() {
        let text = told(&Case::new(LOG_API, DOPPLER, 8082, MUTUAL.observed()));
        holds(&text, &["verdict      allowed by loggregator:2", "4 candidate rows for TCP port 8082"]);
        let rows: Vec<&str> = text
            .lines()
            .filter(|line| {
                line.starts_with("  loggregator:")
                    || line.starts_with("  log-cache:")
                    || line.starts_with('>')
            })
            .collect();
        assert_eq!(rows.len(), 4, "{text}");
        assert!(rows[0].starts_with("> loggregator:2  decides: it allows the flow"), "{rows:?}");
        assert!(rows[1..].iter().all(|row| row.starts_with("  ")), "{rows:?}");
        assert!(!text.contains("Not seen"), "{text}");
    }

    #[test]
    fn each_row_is_told_with_what_it_documents_itself() {
        let text = told(&Case::new(CELL, DOPPLER, 8082, MUTUAL.observed()));
        holds(
            &text,
            &[
                "and does not run Loggregator Agent",
                "wrong_source: 10.0.4.15 is diego-cell/0, not loggregator_trafficcontroller (Reverse Log Proxy)",
            ],
        );
    }

    #[test]
    fn a_row_of_another_port_is_held_against_the_ends_only() {
        let text = told(&Case::new(LOG_API, NATS, 9999, http(None, "200 OK")));
        holds(
            &text,
            &[
                "No row documents TCP port 9999; the closest by its ends",
                "asks nothing of what this flow carries",
            ],
        );
        assert!(!text.contains("HTTP/1.1 in clear"), "{text}");
        let text = told(&Case::new("192.0.2.1", "192.0.2.2", 9999, silent()));
        holds(&text, &["and none names either end as it is", "no payload was exchanged"]);
    }

    #[test]
    fn what_is_unseen_comes_with_what_would_show_it() {
        let no_alpn = Handshake { offered: &[], chosen: None, ..MUTUAL };
        let text = told(&Case::new(LOG_API, UAA, 8443, no_alpn.observed()));
        holds(
            &text,
            &["verdict      unproven, unseen_application_no_alpn", "unseen_application_no_alpn: --keylog"],
        );
        let text = told(&Case::new(STRANGER, UAA, 8443, no_alpn.observed()));
        holds(&text, &["(contradicted elsewhere)", "None of it would change the verdict"]);
    }

    #[test]
    fn credentials_are_told_by_kind_and_never_shown() {
        let password = "{\"user\":\"someone\",\"pass\":\"hunter2\"}";
        let text = told(&Case::new(LOG_API, NATS, 4222, nats(password, "PONG\r\n")));
        holds(&text, &["NATS: CONNECT carried user and password"]);
        assert!(!text.contains("someone") && !text.contains("hunter2"), "{text}");
        let text = told(&Case::new(LOG_API, LOG_API, 8081, http(Some("Bearer s3cret"), "200 OK")));
        holds(&text, &["HTTP/1: 1 request, 1 bearer"]);
        assert!(!text.contains("s3cret"), "{text}");
    }
}
