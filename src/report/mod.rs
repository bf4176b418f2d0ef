//! What people get: the CSV report, the account of packets, the rows of the tables, and the summary.
//!
//! Everything that came off the wire, and everything an operator's files hold, is escaped here
//! ([`escape`]) before it reaches a file or a terminal.

pub mod account;
mod because;
mod csv_report;
mod escape;
mod explain;
mod fields;
mod further;
mod groups;
mod packets;
mod row;
mod rows;
mod spoken;
mod story;
mod strength;
mod summary;
#[cfg(test)]
mod testing;
mod text;
mod timeline;
mod words;

pub use account::Account;
pub use csv_report::{COLUMNS, CsvReport, Rows};
pub use escape::{clean, clean_bytes, clean_field, clean_line};
pub use explain::evidence;
pub use packets::{PacketCounts, PacketFolder};
pub use row::{Common, RowWriter};
pub use rows::RowStatistics;
pub use story::story;
pub use summary::Summary;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::capture::{Precision, Timestamp};
use crate::flow::ConnState;
use crate::inventory::VmName;
use crate::packet::{Encapsulation, Endpoint};
use crate::policy::{Judgement, Policy, Reason, RowRef, Subject, Verdict};

/// One judged flow, as reports see it.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The tables, the inventory and the options it was judged by.
    pub policy: &'a Policy,
    /// Its ends and what was observed of it.
    pub subject: Subject<'a>,
    /// What the inventory calls its source and its destination.
    pub names: [Option<VmName>; 2],
    /// What the tables say of it.
    pub judgement: &'a Judgement,
    /// The overlays that are not in force.
    pub deviations: &'a Policy,
    /// Their row that would explain a violation.
    pub known_deviation: Option<RowRef>,
    /// What the flow table counted.
    pub counted: Counted,
    /// The capture its first packet came from.
    pub capture: &'a str,
    /// The capture of the packet that showed its bytes to be ambiguous.
    pub ambiguous_in: Option<&'a str>,
    /// The certificates of the server and of the client, if there was TLS.
    pub certificates: Option<&'a [Certificate; 2]>,
    /// Whether it ended.
    pub state: RowState,
}

/// The `row_state` column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowState {
    /// The flow ended: its only row of this kind.
    Final,
    /// The flow goes on: how it stands.
    Interim,
}

impl RowState {
    /// Its word in reports.
    pub fn word(self) -> &'static str {
        match self {
            RowState::Final => "final",
            RowState::Interim => "interim",
        }
    }
}

/// What the flow table counted of a flow, seen from its source.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// Time of the earliest packet.
    pub start: Timestamp,
    /// Time of the latest.
    pub end: Timestamp,
    /// Digits its times were recorded with.
    pub precision: Precision,
    /// Packets to the destination, and to the source.
    pub packets: [u64; 2],
    /// Bytes on the wire to the destination, and to the source.
    pub bytes: [u64; 2],
    /// Zeek's conn_state.
    pub state: ConnState,
    /// Number of the first packet in its capture.
    pub first_packet: u64,
    /// VLAN tags.
    pub encapsulation: Encapsulation,
    /// TCP segments that repeated bytes already seen.
    pub repeated: u32,
    /// It ended early, to make room for others.
    pub evicted: bool,
}

/// What is known of one end's certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Certificate {
    /// None was asked for or presented.
    #[default]
    None,
    /// An empty chain was presented.
    Empty,
    /// It could not be seen.
    Unseen,
    /// The leaf's names, as `CN=…; SAN=…`, unescaped.
    Names(Arc<str>),
    /// A certificate was presented that cannot be parsed.
    Unreadable,
}

/// A violation in one line, for people: why, who, and what was seen.
pub fn violation(record: &Record<'_>) -> String {
    let subject = &record.subject;
    let end = |which: usize, end: Endpoint| {
        let name = text::text(|out| words::vm(record, which, out));
        match name.is_empty() {
            true => SocketAddr::new(end.ip, end.port).to_string(),
            false => format!("{name} ({})", SocketAddr::new(end.ip, end.port)),
        }
    };
    let reason = record.judgement.reason.map_or("", Reason::word);
    format!(
        "{reason}: {} -> {}: {}",
        end(words::SOURCE, subject.source),
        end(words::DESTINATION, subject.destination),
        evidence(record)
    )
}

/// A count with its noun: `1 flow`, `2 flows`.
fn number(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

impl Record<'_> {
    /// The flow is one that the user should look at.
    pub fn is_reportable(&self, strict: bool) -> bool {
        match self.judgement.verdict {
            Verdict::Violation => true,
            Verdict::Unproven => strict,
            Verdict::Allowed => strict && self.judgement.is_inferred(),
        }
    }
}
