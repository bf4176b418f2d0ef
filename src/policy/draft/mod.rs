//! A table drafted from what was seen, for somebody to review.
//!
//! Every communication whose direction is known and that came about becomes one row. A cell is what the judge
//! itself would not contradict: the flow is held against the row drafted for it before it is taken in, so that an
//! audit by the draft finds no violation in it. What is not proven is written as the documents would write it,
//! and the note says so.

mod fold;

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::cell::End;
use super::finding::{Grade, Reason};
use super::observed::{Application, Credential, Observed, TlsKind};
use super::{Finding, OpenedBy, Options, Policy, Row, Subject, security};
use crate::flow::ConnState;
use crate::inventory::Lookup;
use crate::packet::Transport;
use crate::protocol::tls::Offer;
use fold::Open;

/// The most rows a draft may have; flows of further ones are left out.
pub const ROWS_CAP: usize = 10_000;

/// A draft in the making.
#[derive(Debug, Default)]
pub struct Draft {
    entries: BTreeMap<Key, Entry>,
    left_out: BTreeMap<LeftOut, u64>,
}

/// One row of a draft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drafted {
    /// Its six cells.
    pub cells: [String; 6],
    /// How much was seen, and what is not proven.
    pub note: String,
}

/// Why a flow is in no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeftOut {
    /// Which end opened it would be a guess.
    DirectionGuessed,
    /// It came to nothing: no answer, or refused before anything was said.
    NotConnected,
    /// The tables' columns hold TCP and UDP alone, on ports from 1.
    NoSuchColumn,
    /// No row that could be written would allow it, for this reason.
    Refused(Reason),
    /// The draft is full.
    Full,
}

impl LeftOut {
    /// Why, in words.
    pub fn words(self) -> String {
        match self {
            LeftOut::DirectionGuessed => "which end opened them is not known".to_owned(),
            LeftOut::NotConnected => "never connected".to_owned(),
            LeftOut::NoSuchColumn => "neither TCP nor UDP, or port 0".to_owned(),
            LeftOut::Refused(reason) => format!("not to be documented as they stand: {reason}"),
            LeftOut::Full => format!("over the cap of {ROWS_CAP} rows"),
        }
    }
}

/// What the flow table counted of a flow.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    /// How the connection went.
    pub state: ConnState,
    /// Packets, both ways.
    pub packets: u64,
    /// Bytes on the wire, both ways.
    pub bytes: u64,
}

/// The ends of a communication: source, destination, port, and whether it is UDP.
type Ends = (String, String, u16, bool);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    ends: Ends,
    application: String,
    security: String,
    open: Open,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entry {
    flows: u64,
    packets: u64,
    bytes: u64,
    example: String,
    inferred: u64,
    /// Flows with something unseen, by the word for it.
    unseen: BTreeMap<Reason, u64>,
}

impl Draft {
    /// Takes a flow in, or counts it as left out.
    pub fn add(&mut self, subject: &Subject<'_>, policy: &Policy, counts: Counts) {
        if let Err(why) = self.try_add(subject, policy, counts) {
            *self.left_out.entry(why).or_default() += 1;
        }
    }

    /// The flows in no row, by why.
    pub fn left_out(&self) -> &BTreeMap<LeftOut, u64> {
        &self.left_out
    }

    /// The rows, by destination, port and source.
    pub fn finish(self, policy: &Policy) -> Vec<Drafted> {
        let mut by_ends: BTreeMap<Ends, Vec<(Key, Entry)>> = BTreeMap::new();
        for (key, entry) in self.entries {
            by_ends.entry(key.ends.clone()).or_default().push((key, entry));
        }
        let mut rows: Vec<(Key, Entry)> =
            by_ends.into_values().flat_map(|rows| fold::merged(rows, policy)).collect();
        rows.sort_by(|(one, _), (other, _)| {
            let order = |key: &Key| (key.ends.1.clone(), key.ends.2, key.ends.3, key.ends.0.clone());
            order(one).cmp(&order(other))
        });
        rows.into_iter().map(|(key, entry)| Drafted { cells: cells(&key), note: entry.note() }).collect()
    }

    fn try_add(&mut self, subject: &Subject<'_>, policy: &Policy, counts: Counts) -> Result<(), LeftOut> {
        let observed = subject.observed;
        let is_udp = match subject.transport {
            Transport::TCP => false,
            Transport::UDP => true,
            _ => return Err(LeftOut::NoSuchColumn),
        };
        if subject.destination.port == 0 {
            return Err(LeftOut::NoSuchColumn);
        }
        if subject.opened_by > OpenedBy::Protocol {
            return Err(LeftOut::DirectionGuessed);
        }
        let unanswered =
            matches!(counts.state, ConnState::S0 | ConnState::Rej | ConnState::Rstos0 | ConnState::Sh);
        if !is_udp && unanswered && observed.no_payload {
            return Err(LeftOut::NotConnected);
        }
        let source = end(subject.source.ip, policy);
        let destination = end(subject.destination.ip, policy);
        let ends = (source, destination, subject.destination.port, is_udp);
        let (key, findings) = drafted(ends, observed, policy.options()).map_err(LeftOut::Refused)?;
        if self.entries.len() >= ROWS_CAP && !self.entries.contains_key(&key) {
            return Err(LeftOut::Full);
        }
        let entry = self.entries.entry(key).or_default();
        if entry.flows == 0 {
            entry.example = format!(
                "{}:{} > {}:{}",
                subject.source.ip, subject.source.port, subject.destination.ip, subject.destination.port
            );
        }
        entry.flows += 1;
        entry.packets += counts.packets;
        entry.bytes += counts.bytes;
        entry.inferred += u64::from(findings.iter().any(|finding| finding.grade == Grade::Inferred));
        let unseen = findings.iter().filter(|finding| finding.grade == Grade::Unseen);
        if let Some(reason) = unseen.filter_map(|finding| finding.reason).min() {
            *entry.unseen.entry(reason).or_default() += 1;
        }
        Ok(())
    }
}

impl Entry {
    fn add(&mut self, other: Entry) {
        self.flows += other.flows;
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.inferred += other.inferred;
        for (reason, flows) in other.unseen {
            *self.unseen.entry(reason).or_default() += flows;
        }
    }

    fn note(&self) -> String {
        let Entry { flows, packets, bytes, example, .. } = self;
        let unseen: u64 = self.unseen.values().sum();
        let of = |count: u64, what: &str| match count {
            0 => String::new(),
            count => format!("; {what} in {count}"),
        };
        let reasons: Vec<String> =
            self.unseen.iter().map(|(reason, flows)| format!("{} ({flows})", reason.word())).collect();
        let seen = format!(
            "drafted from traffic: flows {flows}, packets {packets}, bytes {bytes}; for example {example}"
        );
        let inferred = of(self.inferred, "application or security inferred");
        match unseen {
            0 => format!("{seen}{inferred}"),
            _ => format!("{seen}{inferred}; NOT PROVEN in {unseen}: {}", reasons.join(" ")),
        }
    }
}

/// What stands in the source or destination cell for an address: its instance group, or the address itself.
fn end(ip: IpAddr, policy: &Policy) -> String {
    match policy.inventory().vm(ip) {
        Lookup::One(vm) if is_plain(&vm.group) => vm.group.clone(),
        // An address that several claim is no one's.
        Lookup::One(_) | Lookup::Ambiguous(_) | Lookup::Unknown => ip.to_string(),
    }
}

/// A cell of this text is read as a VM of this name.
fn is_plain(name: &str) -> bool {
    End::parse(name) == Ok(End::Vm { vm: name.to_owned(), component: None })
}

/// The first row between these ends that could be written for the flow and is not contradicted by it.
fn drafted(ends: Ends, observed: &Observed, options: &Options) -> Result<(Key, [Finding; 2]), Reason> {
    let mut refused = None;
    let with = |application: String, security: String| Key {
        ends: ends.clone(),
        application,
        security,
        open: fold::open(observed),
    };
    // Refused credentials are nobody's right to connect, whatever else the row asks for.
    for asked in ["OAuth", "Basic authentication"] {
        let key = with("HTTP".to_owned(), asked.to_owned());
        if let Some(row) = row(&key)
            && security::security(&row, observed, options).reason == Some(Reason::AuthenticationRefused)
        {
            return Err(Reason::AuthenticationRefused);
        }
    }
    for application in applications(observed) {
        for security in securities(observed) {
            let key = with(application.clone(), security);
            let Some(row) = row(&key) else { continue };
            let findings =
                [security::application(&row, observed), security::security(&row, observed, options)];
            let contradiction = findings.iter().find(|finding| finding.grade == Grade::Contradicted);
            match contradiction {
                None => return Ok((key, findings)),
                Some(finding) => refused = refused.or(finding.reason),
            }
        }
    }
    Err(refused.unwrap_or(Reason::UnseenApplication))
}

fn row(key: &Key) -> Option<Row> {
    Row::parse(&cells(key), String::new(), 0).ok()
}

fn cells(key: &Key) -> [String; 6] {
    let (source, destination, port, is_udp) = &key.ends;
    [
        source.clone(),
        destination.clone(),
        port.to_string(),
        if *is_udp { "UDP" } else { "TCP" }.to_owned(),
        key.application.clone(),
        key.security.clone(),
    ]
}

/// What the application cell may say, best first.
fn applications(observed: &Observed) -> Vec<String> {
    let only_h2 = observed.tls().is_some_and(|tls| match tls.alpn_offered() {
        Offer::List(names) => names.iter().all(|name| &**name == b"h2"),
        _ => false,
    });
    let in_tls = observed.tls().is_some();
    let first = match observed.application {
        Application::Grpc => "gRPC over HTTP/2".to_owned(),
        Application::Http2 | Application::Tls if only_h2 => "gRPC over HTTP/2".to_owned(),
        Application::Http1 | Application::Http2 if !in_tls => "HTTP".to_owned(),
        Application::Http1 | Application::Http2 | Application::Tls => "HTTPS".to_owned(),
        Application::WebSocket => "HTTP/WebSocket".to_owned(),
        Application::ServerSentEvents => "HTTP/Server Sent Events".to_owned(),
        Application::Unknown => "Varies".to_owned(),
        named => named.to_string(),
    };
    let mut all = vec![first];
    if in_tls {
        all.push("HTTPS".to_owned());
    }
    all.push("Varies".to_owned());
    all
}

/// What the security cell may say, most demanding first.
fn securities(observed: &Observed) -> Vec<String> {
    let tls = match observed.security.tls {
        Some(TlsKind::Mutual) => Some("Mutual TLS"),
        Some(_) => Some("TLS"),
        None => None,
    };
    let credential = match observed.security.credential {
        Some(Credential::OAuth) => Some("OAuth 2.0"),
        Some(Credential::Basic) => Some("Basic authentication"),
        Some(Credential::Other) | None => None,
    };
    let mut all = Vec::new();
    match (tls, credential) {
        (Some(tls), Some(credential)) => all.push(format!("{tls} and {credential}")),
        (None, Some(credential)) => all.extend([credential.to_owned(), format!("{credential} or none")]),
        (_, None) => {}
    }
    all.push(tls.unwrap_or("None").to_owned());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_read_as_themselves_stand_in_a_cell() {
        assert!(is_plain("diego-cell") && is_plain("10.0.4.10") && is_plain("fd00::1"));
        for name in ["any", "Any*", "any vm running x", "a or b", "a (b)", "a(", ""] {
            assert!(!is_plain(name), "{name}");
        }
    }
}
