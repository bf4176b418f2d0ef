//! One row of the report. What it has in common with the rows of other flows that were judged alike is made once;
//! what is a flow's own is put between.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::csv_report::Rows;
use super::explain::{self, Hole};
use super::fields::{self, Fields, field};
use super::text::{Text, text};
use super::words::{self, Clock};
use super::{Certificate, Record};
use crate::flow::community_id::{self, COMMUNITY_ID_BYTES, DEFAULT_SEED};
use crate::policy::{Policy, Reason, RowRef};
use crate::protocol::tls::{self, Alpn, Basis, Ja4, Version};

/// Makes rows of the flows that one policy judged; a thread that makes rows has one of its own.
#[derive(Clone, Debug, Default)]
pub struct RowWriter {
    /// Of starts and of ends: many in a row are in one second.
    clocks: [Clock; 2],
    capture: Made,
    documented: HashMap<RowRef, Documented, RandomState>,
    /// Of overlays that are not in force.
    deviations: HashMap<RowRef, Documented, RandomState>,
    /// Of a flow that is like no other.
    common: Common,
}

/// What rows have in common whose flows are alike ([`crate::policy::Likeness`]): whole fields, and words for their
/// evidence.
#[derive(Clone, Debug, Default)]
pub struct Common {
    text: Text,
    /// Where its pieces end.
    ends: [usize; Piece::ALL],
    /// What is left out of the evidence, and where.
    holes: Vec<(usize, Hole)>,
    /// Whether the evidence, which stands there, needs quotes; `None` if that would not do, or is not known. What is
    /// put into its holes changes nothing of it.
    quoted: Option<bool>,
}

/// The pieces of [`Common`], in order.
#[derive(Clone, Copy, Debug)]
enum Piece {
    /// From `verdict` to `destination_vm`.
    Verdict,
    /// From `transport` to `tls_cipher`.
    Spoken,
    Findings,
    /// What was held against the row, no whole field.
    Evidence,
    /// From `documented` to `security_basis`.
    Documented,
    Deviation,
}

impl Piece {
    const ALL: usize = Piece::Deviation as usize + 1;
}

impl Common {
    fn piece(&self, piece: Piece) -> &[u8] {
        let start = (piece as usize).checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text.as_bytes()[start..self.ends[piece as usize]]
    }

    /// Appends the evidence, with what is the flow's own in its holes; says whether it is known that
    /// quotes would do, or none, as they are needed by what all have in common.
    fn evidence(&self, record: &Record<'_>, out: &mut Text) -> bool {
        let told = self.piece(Piece::Evidence);
        let mut done = 0;
        for (at, hole) in &self.holes {
            out.put(&told[done..*at]);
            hole.fill(record, out);
            done = at + 1;
        }
        out.put(&told[done..]);
        let end = out.length();
        explain::append_further(record, told.is_empty(), out);
        self.quoted.is_some_and(|quoted| fields::goes_on(quoted, &out.as_bytes()[end..]))
    }
}

/// A field that was made before, which often comes again.
#[derive(Clone, Debug, Default)]
struct Made {
    text: String,
    field: Box<[u8]>,
}

impl Made {
    fn of(&mut self, text: &str) -> &[u8] {
        if self.text != text {
            *self = Made { text: text.to_owned(), field: field(|out| out.clean(text)) };
        }
        &self.field
    }
}

/// What does not change from flow to flow of a documented row.
#[derive(Clone, Debug)]
struct Documented {
    /// The field `table`.
    table: Box<[u8]>,
    /// `table:row`, as in `also_rows`, where it is one of several.
    name: String,
    /// The field `documented`.
    cells: Box<[u8]>,
}

impl Documented {
    fn new(policy: &Policy, at: RowRef) -> Documented {
        Documented {
            table: field(|out| out.clean(&policy.tables()[at.table].name)),
            name: text(|out| out.clean(&policy.name(at))),
            cells: field(|out| words::cells(&policy.row(at).cells, out)),
        }
    }
}

impl RowWriter {
    /// Appends the row of one flow, with its line feed.
    pub fn row(&mut self, record: &Record<'_>, rows: &mut Rows) {
        let mut common = std::mem::take(&mut self.common);
        self.fill(record, &mut common);
        self.row_like(record, &common, rows);
        self.common = common;
    }

    /// What the rows of all flows like this one have in common.
    pub fn common(&mut self, record: &Record<'_>) -> Common {
        let mut common = std::mem::take(&mut self.common);
        self.fill(record, &mut common);
        let kept = Common { text: common.text.kept(), holes: common.holes.clone(), ..common };
        self.common = common;
        kept
    }

    /// The same as [`RowWriter::row`], of a flow that is like the one whose row `common` was made for.
    pub fn row_like(&mut self, record: &Record<'_>, common: &Common, Rows(out): &mut Rows) {
        let (subject, counted) = (&record.subject, &record.counted);
        let tls = subject.observed.tls();
        let [starts, ends] = &mut self.clocks;
        let mut row = Fields::new(out);
        row.several(common.piece(Piece::Verdict));
        row.harmless(|out| out.ip(subject.source.ip));
        row.number(subject.source.port.into());
        row.harmless(|out| out.ip(subject.destination.ip));
        row.number(subject.destination.port.into());
        row.several(common.piece(Piece::Spoken));
        row.text(|out| server_name(record, out));
        match tls {
            Some(tls) => certificates(record, tls, &mut row),
            None => row.several(b",,,"),
        }
        row.harmless(|out| starts.time(counted.start, counted.precision, out));
        row.harmless(|out| ends.time(counted.end, counted.precision, out));
        row.number(counted.packets[0]);
        row.number(counted.packets[1]);
        row.number(counted.bytes[0]);
        row.number(counted.bytes[1]);
        row.word(counted.state.word());
        row.several(common.piece(Piece::Findings));
        row.sentences(common.quoted == Some(true), |out| common.evidence(record, out));
        row.harmless(|out| {
            out.put_with(|id| {
                community_id::write(subject.source, subject.destination, subject.transport, DEFAULT_SEED, id);
                COMMUNITY_ID_BYTES
            })
        });
        row.several(common.piece(Piece::Documented));
        row.made(self.capture.of(record.capture));
        row.number(counted.first_packet);
        row.harmless(|out| words::encapsulation(counted.encapsulation, out));
        row.several(common.piece(Piece::Deviation));
        row.word(record.state.word());
        let hello = tls.and_then(tls::Evidence::client_hello);
        row.word(hello.and_then(|hello| hello.ja4.as_ref()).map_or("", Ja4::as_str));
        row.finish();
    }

    fn fill(&mut self, record: &Record<'_>, common: &mut Common) {
        let Common { text, ends, holes, quoted } = common;
        let (policy, subject, judgement) = (record.policy, &record.subject, record.judgement);
        let observed = subject.observed;
        let tls = observed.tls();
        for at in judgement.row.iter().chain(&judgement.also) {
            self.documented.entry(*at).or_insert_with(|| Documented::new(policy, *at));
        }
        let documented = |at| self.documented.get(&at);
        if let Some(at) = record.known_deviation {
            self.deviations.entry(at).or_insert_with(|| Documented::new(record.deviations, at));
        }
        let deviation = record.known_deviation.and_then(|at| self.deviations.get(&at));
        let decides = judgement.row.and_then(documented);
        let mut piece_ends = ends.iter_mut();
        let mut end = |length: usize| piece_ends.next().into_iter().for_each(|end| *end = length);

        text.cut(0);
        let mut row = Fields::new(text);
        row.word(judgement.verdict.word());
        row.word(judgement.reason.map_or("", Reason::word));
        row.made(decides.map_or(&[], |row| &row.table));
        row.harmless(|out| judgement.row.iter().for_each(|at| out.number(at.row as u64 + 1)));
        row.text(|out| joined(judgement.also.iter().filter_map(|at| documented(*at)), out));
        row.text(|out| words::vm(record, words::SOURCE, out));
        row.text(|out| words::vm(record, words::DESTINATION, out));
        end(row.length());
        row.harmless(|out| words::transport(subject.transport, out));
        row.word(observed.application.word());
        row.harmless(|out| observed.security.words().iter().for_each(|word| out.word(word)));
        row.word(tls.and_then(tls::Evidence::version).map_or("", Version::name));
        row.harmless(|out| tls.and_then(tls::Evidence::cipher).iter().for_each(|at| words::cipher(*at, out)));
        end(row.length());
        for column in 0..6 {
            row.word(judgement.findings.as_ref().map_or("", |findings| findings[column].grade.word()));
        }
        let start = row.length();
        end(start);
        explain::append_held(record, text);
        end(text.length());
        holes.clear();
        holes.extend(Hole::all(&text.as_bytes()[start..]));
        let held = &text.as_bytes()[start..];
        *quoted = fields::needs_only_quotes(held).filter(|_| !held.is_empty());
        let mut row = Fields::new(text);
        row.made(decides.map_or(&[], |row| &row.cells));
        row.word(subject.opened_by.word());
        row.word(observed.application_basis.word());
        row.word(observed.security_basis.word());
        end(row.length());
        row.text(|out| deviation.iter().for_each(|row| out.word(&row.name)));
        end(row.length());
    }
}

/// From `alpn` to `server_certificate`.
fn certificates(record: &Record<'_>, tls: &tls::Evidence, row: &mut Fields<'_>) {
    let [server, client] =
        record.certificates.map_or([None, None], |[server, client]| [Some(server), Some(client)]);
    row.text(|out| alpn(tls, out));
    for shown in [client, server] {
        row.text(|out| shown.iter().for_each(|shown: &&Certificate| words::certificate(shown, out)));
    }
}

/// Names of rows, separated by spaces.
fn joined<'a>(rows: impl Iterator<Item = &'a Documented>, out: &mut Text) {
    for (at, row) in rows.enumerate() {
        if at > 0 {
            out.word(" ");
        }
        out.word(&row.name);
    }
}

/// SNI, or the name the client gave in clear.
fn server_name(record: &Record<'_>, out: &mut Text) {
    let evidence = &record.subject.observed.evidence;
    let name = match (&evidence.tls, &evidence.http1, &evidence.http2) {
        (Some(tls), ..) => tls.server_name(),
        (None, Some(http1), _) => http1.host.as_deref(),
        (None, None, Some(http2)) => http2.authority.as_deref(),
        _ => None,
    };
    out.clean_bytes(name.unwrap_or_default());
}

/// `chosen (offered a b)`.
fn alpn(tls: &tls::Evidence, out: &mut Text) {
    match tls.alpn() {
        Alpn::Chosen(name, basis) => {
            out.clean_bytes(name);
            out.word(if basis == Basis::Inferred { " inferred" } else { "" });
        }
        Alpn::None(_) => out.word("none chosen"),
        Alpn::Unseen(_) => out.word("unseen"),
    }
    match tls.alpn_offered() {
        tls::Offer::Unseen(_) => out.word(" (offer unseen)"),
        tls::Offer::None => out.word(" (none offered)"),
        tls::Offer::List(names) => {
            out.word(" (offered ");
            for (at, name) in names.iter().enumerate() {
                if at > 0 {
                    out.word(" ");
                }
                out.clean_bytes(name);
            }
            out.word(")");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{Case, DOPPLER, MUTUAL, STRANGER, http, policy, silent};
    use crate::report::testing::judged;

    #[test]
    fn the_row_of_a_flow_that_is_like_another_is_its_own() {
        let policy = policy();
        for observed in [silent(), http(None, "200 OK"), MUTUAL.observed()] {
            for port in [8082, 9999] {
                let cases =
                    [STRANGER, "10.0.4.201"].map(|source| Case::new(source, DOPPLER, port, observed.clone()));
                let [like, other] = cases.each_ref().map(|case| judged(&policy, case, None));
                let mut writer = RowWriter::default();
                let [mut shared, mut own] = [(); 2].map(|()| Rows::default());
                let common = writer.common(&like.record());
                writer.row_like(&other.record(), &common, &mut shared);
                writer.row(&other.record(), &mut own);
                let text = String::from_utf8_lossy(own.as_bytes());
                assert_eq!(String::from_utf8_lossy(shared.as_bytes()), text);
                assert!(text.matches("10.0.4.201").count() > 1 && !text.contains(STRANGER), "{text}");
            }
        }
    }
}
