//! The whole pipeline: packets in, report out, whatever the packets hold.

use std::cell::RefCell;
use std::sync::Arc;

use flowaudit::audit::{Audit, Outcome, Plan, Sink};
use flowaudit::capture::{Event as Captured, FileSource, LinkType, Packet, Precision, Timestamp};
use flowaudit::flow::Limits;
use flowaudit::inventory::{Builder, Inventory, Names};
use flowaudit::packet::Side;
use flowaudit::pki::Authorities;
use flowaudit::policy::draft::{Counts, Draft};
use flowaudit::policy::{Options, Policy, Table};
use flowaudit::protocol::tls::KeyStore;
use flowaudit::report::{COLUMNS, Record, story};

use super::captures::Pieces;
use super::frames::Connection;
use super::input::{Event, Input, pieces, script};
use super::recognisers::with_keys;
use super::texts::{is_harmless, is_one_line};

/// The most packets audited of one capture.
const PACKETS: u64 = 5_000;
/// The longest field of a report, in bytes.
const FIELD_CAP: usize = 16 << 10;
/// Stories told of one audit; each is some hundred lines.
const STORIES: u64 = 8;
/// Ports that tables name, and that protocols speak on.
const PORTS: [u16; 14] = [8082, 8083, 8080, 8088, 8443, 25595, 4222, 53, 514, 3306, 22, 389, 443, 9];

/// A capture as a file, read in any pieces, through to the report.
pub fn pipeline(bytes: &[u8]) {
    let mut input = Input(bytes);
    let (choice, sizes) = (input.choice(), [input.choice(), 0].map(usize::from));
    let Ok(mut source) = FileSource::read("capture", Pieces::new(input.0, sizes)) else { return };
    with_plan(choice, |plan| {
        let mut packets = 0;
        audited(plan, |audit| {
            while packets < PACKETS {
                match source.next_event() {
                    Ok(Some(Captured::Packet(packet))) => {
                        packets += 1;
                        audit.packet(&packet).expect("there is no filter");
                    }
                    Ok(Some(Captured::Secrets(secrets))) => audit.secrets(&secrets),
                    Ok(None) => break,
                    Err(error) => {
                        is_one_line(&error);
                    }
                }
            }
        });
    });
}

/// What two ends say, as packets on a documented port, through to the report: a key log up to a byte of 0, then
/// the script.
pub fn sessions(bytes: &[u8]) {
    let mut input = Input(bytes);
    let (choice, port) = (input.choice(), PORTS[usize::from(input.choice()) % PORTS.len()]);
    with_plan(choice, |plan| {
        let script_bytes = with_keys(input.0, &plan.keys);
        audited(plan, |audit| {
            let mut number = 0;
            let mut hand = |frame: &[u8], cut: bool, audit: &mut Audit<'_, &mut Vec<u8>>| {
                number += 1;
                let packet = Packet {
                    capture: 0,
                    number,
                    time: Timestamp(1_800_000_000 * Timestamp::SECOND + number as i64 * 1_000_000),
                    precision: Precision::Micro,
                    link: LinkType::Ethernet,
                    wire_length: u32::try_from(frame.len()).expect("short") + if cut { 100 } else { 0 },
                    bytes: frame,
                };
                audit.packet(&packet).expect("there is no filter");
            };
            let mut connection = Connection::new([[10, 0, 4, 11], [10, 0, 4, 10]], port);
            if choice & 1 == 0 {
                connection.open().iter().for_each(|frame| hand(frame, false, audit));
            }
            for event in script(script_bytes) {
                match event {
                    Event::Data(side, said, size) => {
                        let said = &said[..said.len().min(60_000)];
                        for piece in pieces(said, size) {
                            hand(&connection.say(side, piece), false, audit);
                        }
                    }
                    Event::Missing(side, length) => connection.lose(side, length),
                    Event::Closed(side, reset) => hand(&connection.close(side, reset), false, audit),
                    Event::Datagram(side, said, cut) => {
                        let said = &said[..said.len().min(60_000)];
                        hand(&connection.datagram(side, said), cut, audit);
                    }
                }
            }
            hand(&connection.close(Side::A, false), false, audit);
            hand(&connection.close(Side::B, false), false, audit);
        });
    });
}

/// Runs an audit to its end, and holds all it puts out to what must be true of it.
fn audited(plan: &Plan, feed: impl FnOnce(&mut Audit<'_, &mut Vec<u8>>)) {
    let (mut report, mut looking) = (Vec::new(), Looking::default());
    let mut audit = Audit::new(plan, vec!["capture".to_owned()], None, Some(&mut report)).expect("it writes");
    audit.listen(&mut looking);
    feed(&mut audit);
    let outcome = audit.finish();
    let mut reportable = looking.flows;
    if !plan.only.is_empty() {
        reportable = 0;
    }
    holds(plan, &outcome, &report, reportable);
    for drafted in looking.draft.finish(&plan.policy) {
        assert!(drafted.cells.iter().all(|cell| cell.len() <= FIELD_CAP));
    }
}

/// Looks at every flow as `explain` and `policy draft` do.
#[derive(Default)]
struct Looking {
    flows: u64,
    draft: Draft,
}

impl Sink for Looking {
    fn flow(&mut self, record: &Record<'_>) {
        self.flows += 1;
        if self.flows <= STORIES {
            story(record).to_string().lines().for_each(is_harmless);
        }
        let counted = &record.counted;
        let counts = Counts {
            state: counted.state,
            packets: counted.packets.iter().sum(),
            bytes: counted.bytes.iter().sum(),
        };
        self.draft.add(&record.subject, record.policy, counts);
    }
}

fn holds(plan: &Plan, outcome: &Outcome, report: &[u8], rows: u64) {
    let account = &outcome.account;
    assert!(outcome.write_error.is_none());
    assert_eq!(account.unaccounted(), 0, "{account:?}");
    let mut reader = csv::Reader::from_reader(report);
    assert_eq!(reader.headers().expect("a header").iter().collect::<Vec<_>>(), COLUMNS);
    let mut found = 0;
    for row in reader.records() {
        let row = row.expect("a row of UTF-8");
        found += 1;
        assert_eq!(row.len(), COLUMNS.len());
        for field in &row {
            is_harmless(field);
            assert!(field.len() <= FIELD_CAP, "a field of {} bytes", field.len());
            let formula = field != "-" && field.starts_with(['=', '+', '-', '@']);
            assert!(!formula, "a formula: {field}");
        }
        assert!(["allowed", "unproven", "violation"].contains(&&row[0]), "{}", &row[0]);
        assert_eq!(row[1].is_empty(), &row[0] == "allowed", "a reason stands beside what is not allowed");
    }
    assert_eq!(found, rows, "a row a flow");
    assert_eq!(account.flows, rows + account.out_of_scope, "{account:?}");
    let mut shown = Vec::new();
    outcome.summary.write(&plan.policy, &outcome.rows, account, &mut shown).expect("it is kept in memory");
    let shown = String::from_utf8(shown).expect("text");
    shown.lines().for_each(is_harmless);
    for dispute in outcome.summary.disputes() {
        is_one_line(dispute);
    }
    for error in &outcome.errors {
        is_one_line(error);
    }
    let mut beside = Vec::new();
    account.write(&mut beside).expect("it is kept in memory");
    outcome.rows.write(&plan.policy, &mut beside).expect("it is kept in memory");
    String::from_utf8(beside).expect("text").lines().for_each(is_harmless);
}

thread_local! {
    /// Made once, since binding tables takes longer than most audits.
    static PLAN: RefCell<Plan> = RefCell::new(plan());
}

/// Runs with a plan of these choices, and with no keys but those that the input brings.
fn with_plan(choice: u8, run: impl FnOnce(&Plan)) {
    PLAN.with_borrow_mut(|plan| {
        plan.keys = Arc::new(KeyStore::default());
        plan.strict = choice & 2 != 0;
        plan.learn = choice & 4 == 0;
        plan.in_scope = choice & 8 != 0;
        plan.limits = match choice & 16 {
            0 => Limits::default(),
            _ => Limits { flows: 3, stream_bytes: 2000 },
        };
        run(plan);
    });
}

fn plan() -> Plan {
    let (inventory, names) = inventory();
    let policy = Policy::new(Table::built_in().expect("they parse"), inventory, names, Options::default());
    let mut authorities = Authorities::default();
    authorities.add("ca.pem", include_bytes!("../../../captures/ca.pem")).expect("it is well formed");
    Plan {
        deviations: policy.with_tables(Table::shipped_overlays().expect("they parse")),
        authorities: Some(authorities),
        ..Plan::new(policy)
    }
}

fn inventory() -> (Inventory, Names) {
    let mut files = Builder::default();
    for (name, bytes) in [
        ("bosh-instances-ps.json", &include_bytes!("../../../captures/bosh-instances-ps.json")[..]),
        ("bosh-cloud-config.yml", include_bytes!("../../../captures/bosh-cloud-config.yml")),
        ("director.csv", include_bytes!("../../../captures/director.csv")),
    ] {
        files.add(name, bytes).expect("it is well formed");
    }
    files.finish().expect("no address has so many")
}
