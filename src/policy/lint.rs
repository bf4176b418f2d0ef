//! What is odd about tables: rows said twice, rows that others cover, names that nobody knows, and rows that no
//! capture could confirm.

use std::collections::BTreeMap;

use super::cell::{App, Asked, End, Ports, Security, Tls};
use super::judge::RowRef;
use super::reach::{self, Best, Limit};
use super::security::tls_asked;
use super::{Row, Table};
use crate::inventory::{Inventory, Names, canonical};

/// The most rows that are compared with each other.
pub const ROWS_CAP: usize = 10_000;

/// What is odd about some rows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Oddity {
    /// The row says what an earlier one says.
    Duplicate {
        /// The earlier one.
        of: RowRef,
    },
    /// Whatever satisfies the row satisfies another one too.
    Shadowed {
        /// That one.
        by: RowRef,
    },
    /// The inventory holds no VM of this documented name, nor of those the map of names gives it.
    VmNotInInventory(String),
    /// The inventory lists the job of this documented component nowhere.
    JobNotInInventory(String),
    /// No capture can confirm the row.
    Never(Limit),
    /// The row is unseen without session keys.
    NeedsKeys(Limit),
    /// A hint: the map of names does not list this VM name, which is then taken as it stands.
    UnknownVm(String),
    /// A hint: the map of names does not list this component, which is then taken as a job of its own name.
    UnknownComponent(String),
    /// A hint: how far the row can be proven.
    Limited(Limit),
}

impl Oddity {
    /// It is worth knowing, and nothing is wrong.
    pub fn is_hint(&self) -> bool {
        matches!(self, Oddity::UnknownVm(_) | Oddity::UnknownComponent(_) | Oddity::Limited(_))
    }
}

/// There are more than [`ROWS_CAP`] rows.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0} rows are more than the {ROWS_CAP} that are compared with each other; lint fewer tables at a time"
)]
pub struct TooManyRows(pub usize);

/// Every oddity, with the rows it is found in.
///
/// Names are held against the inventory if there is one.
pub fn lint(
    tables: &[Table],
    names: &Names,
    inventory: Option<&Inventory>,
) -> Result<BTreeMap<Oddity, Vec<RowRef>>, TooManyRows> {
    let rows: Vec<(RowRef, &Row)> = tables
        .iter()
        .enumerate()
        .flat_map(|(table, rows)| {
            rows.rows.iter().enumerate().map(move |(row, documented)| (RowRef { table, row }, documented))
        })
        .collect();
    if rows.len() > ROWS_CAP {
        return Err(TooManyRows(rows.len()));
    }
    let mut found: BTreeMap<Oddity, Vec<RowRef>> = BTreeMap::new();
    let mut note = |oddity: Oddity, at: RowRef| {
        let rows = found.entry(oddity).or_default();
        if rows.last() != Some(&at) {
            rows.push(at);
        }
    };
    for (index, (at, row)) in rows.iter().enumerate() {
        if let Some(oddity) = covered(index, row, &rows, names) {
            note(oddity, *at);
        }
        for end in [&row.source, &row.destination] {
            of_end(end, names, inventory, &mut |oddity| note(oddity, *at));
        }
        if let Some(worst) = reach::limits(row, names).first() {
            note(
                match worst.best() {
                    Best::Never => Oddity::Never(*worst),
                    Best::NeedsKeys => Oddity::NeedsKeys(*worst),
                    _ => Oddity::Limited(*worst),
                },
                *at,
            );
        }
    }
    Ok(found)
}

/// Whatever satisfies `narrow` satisfies `wide` too: the same or wider source, destination, ports, transports and
/// application, and security that asks for no more.
pub fn covers(wide: &Row, narrow: &Row, names: &Names) -> bool {
    end_covers(&wide.source, &narrow.source, names)
        && end_covers(&wide.destination, &narrow.destination, names)
        && ports_cover(&wide.ports, &narrow.ports)
        && narrow.transports.iter().all(|transport| wide.transports.contains(transport))
        && applications_cover(&wide.applications, &narrow.applications)
        && security_covers(wide, narrow)
}

/// The first row that says the same before this one, or else the first that covers it.
fn covered(index: usize, row: &Row, rows: &[(RowRef, &Row)], names: &Names) -> Option<Oddity> {
    let mut shadow = None;
    for (other, (at, wide)) in rows.iter().enumerate() {
        if other == index || !covers(wide, row, names) {
            continue;
        }
        if covers(row, wide, names) {
            if other < index {
                return Some(Oddity::Duplicate { of: *at });
            }
        } else if shadow.is_none() {
            shadow = Some(Oddity::Shadowed { by: *at });
        }
    }
    shadow
}

fn of_end(end: &End, names: &Names, inventory: Option<&Inventory>, note: &mut impl FnMut(Oddity)) {
    let component = |name: &str, note: &mut dyn FnMut(Oddity)| {
        if !names.knows_component(name) {
            note(Oddity::UnknownComponent(name.to_owned()));
        }
        let jobs = names.jobs(name);
        // One without jobs has no process of its own, so that no list of jobs could show it.
        if inventory.is_some_and(|held| !jobs.is_empty() && !jobs.iter().any(|job| held.has_job(job))) {
            note(Oddity::JobNotInInventory(name.to_owned()));
        }
    };
    match end {
        End::AnyInSubnet => {}
        End::AnyVmRunning(name) => component(name, note),
        End::Vm { vm, component: process } => {
            if !names.knows_vm(vm) {
                note(Oddity::UnknownVm(vm.clone()));
            }
            if inventory.is_some_and(|held| !names.groups(vm).iter().any(|group| held.has_group(group))) {
                note(Oddity::VmNotInInventory(vm.clone()));
            }
            if let Some(process) = process {
                component(process, note);
            }
        }
        End::Either(ends) => {
            for end in ends {
                of_end(end, names, inventory, note);
            }
        }
    }
}

fn end_covers(wide: &End, narrow: &End, names: &Names) -> bool {
    let same = |one: &str, other: &str| canonical(one) == canonical(other);
    match (wide, narrow) {
        (_, End::Either(ends)) => ends.iter().all(|end| end_covers(wide, end, names)),
        (End::Either(ends), _) => ends.iter().any(|end| end_covers(end, narrow, names)),
        // Not even `Any*` covers a VM: that VM need not be in the destination's subnet.
        (End::AnyInSubnet, End::AnyInSubnet) => true,
        (End::AnyVmRunning(wide), End::AnyVmRunning(narrow)) => same(wide, narrow),
        (End::AnyVmRunning(wide), End::Vm { component: Some(narrow), .. }) => same(wide, narrow),
        (End::Vm { vm: wide, component }, End::Vm { vm: narrow, component: process }) => {
            let groups = names.groups(wide);
            let vms = names.groups(narrow).iter().all(|group| groups.contains(group));
            let processes = match (component, process) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(wide), Some(narrow)) => same(wide, narrow),
            };
            vms && processes
        }
        _ => false,
    }
}

fn ports_cover(wide: &Ports, narrow: &Ports) -> bool {
    match (wide, narrow) {
        (Ports::Open, Ports::Open) => true,
        (Ports::Named(wide), Ports::Named(narrow)) => narrow.iter().all(|narrow| {
            // A range may be covered by several that touch.
            let mut next = Some(*narrow.start());
            while let Some(port) = next.filter(|port| port <= narrow.end()) {
                let end = wide.iter().filter(|range| range.contains(&port)).map(|range| *range.end()).max();
                match end {
                    None => return false,
                    Some(end) => next = end.checked_add(1),
                }
            }
            true
        }),
        // An open port is never proven, a named one is.
        _ => false,
    }
}

fn applications_cover(wide: &[App], narrow: &[App]) -> bool {
    let covers = |wide: &App, narrow: &App| match (wide, narrow) {
        (App::Bytes, App::Open) => false,
        (App::Bytes, _) => true,
        (App::Http, App::ServerSentEvents) => true,
        (wide, narrow) => wide == narrow,
    };
    narrow.iter().all(|narrow| wide.iter().any(|wide| covers(wide, narrow)))
}

fn security_covers(wide: &Row, narrow: &Row) -> bool {
    let tls = |asked: &Asked, row: &Row| tls_asked(asked.tls, &row.applications);
    let alternative = |one: &Asked, other: &Asked| {
        let transport = match (tls(one, wide), tls(other, narrow)) {
            (Tls::Unstated, _) | (Tls::Server, Tls::Mutual) => true,
            (one, other) => one == other,
        };
        transport && (one.authentication.is_none() || one.authentication == other.authentication)
    };
    let any =
        |security: &Security, other: &Asked| security.alternatives.iter().any(|one| alternative(one, other));
    wide.security.inside_vm == narrow.security.inside_vm
        && narrow.security.alternatives.iter().all(|other| any(&wide.security, other))
}

#[cfg(test)]
mod tests {
    use super::super::table::HEADERS;
    use super::*;

    const UAA: &str = "router,uaa,8443,TCP,HTTPS,TLS";

    fn table(rows: &[&str]) -> Table {
        let text = format!("{}\n{}\n", HEADERS.join(","), rows.join("\n"));
        Table::parse("t.csv", "t", text.as_bytes()).unwrap()
    }

    fn covers_row(wide: &str, narrow: &str) -> bool {
        let rows = table(&[wide, narrow]).rows;
        covers(&rows[0], &rows[1], &Names::shipped())
    }

    fn at(row: usize) -> RowRef {
        RowRef { table: 0, row }
    }

    #[test]
    fn a_row_covers_itself_and_its_other_spelling() {
        assert!(covers_row(UAA, UAA));
        assert!(
            covers_row(UAA, "gorouter,uaa,8443,TCP,HTTPS,TLS")
                && covers_row("gorouter,uaa,8443,TCP,HTTPS,TLS", UAA)
        );
        assert!(covers_row("a,b,1,TCP,GRPC,Mutual TLS", "a,b,1,TCP,gRPC over HTTP/2,Mutual TLS"));
    }

    #[test]
    fn each_column_may_be_wider_and_none_narrower() {
        for (wide, narrow) in [
            ("a,b,1-5,TCP,HTTP,None", "a,b,2,TCP,HTTP,None"),
            ("a,b,\"1, 2-4\",TCP,HTTP,None", "a,b,1-3,TCP,HTTP,None"),
            ("a,b,1,TCP and UDP,DNS,None", "a,b,1,TCP,DNS,None"),
            ("a,b,1,TCP,HTTP/WebSocket,None", "a,b,1,TCP,HTTP,None"),
            ("a,b,1,TCP,TCP,None", "a,b,1,TCP,SSH,SSH"),
            ("a,b,1,TCP,HTTPS,TLS", "a,b,1,TCP,HTTPS,Mutual TLS"),
            ("a,b,1,TCP,HTTPS,TLS", "a,b,1,TCP,HTTPS,TLS and OAuth 2.0"),
            ("a,b,1,TCP,HTTP,None/TLS", "a,b,1,TCP,HTTP,None"),
            ("a,b,1,TCP,HTTP,None", "a (X),b,1,TCP,HTTP,None"),
            ("Any VM running X,b,1,TCP,HTTP,None", "a (X),b,1,TCP,HTTP,None"),
            ("a or c,b,1,TCP,HTTP,None", "a,b,1,TCP,HTTP,None"),
        ] {
            assert!(covers_row(wide, narrow), "{wide} covers {narrow}");
            assert!(!covers_row(narrow, wide), "{narrow} covers {wide}");
        }
        for (wide, narrow) in [
            ("Any*,b,1,TCP,HTTP,None", "a,b,1,TCP,HTTP,None"),
            ("a,b,Varies,TCP,HTTP,None", "a,b,1,TCP,HTTP,None"),
            ("a,b,1,TCP,Varies,None", "a,b,1,TCP,HTTP,None"),
            ("a,b,1,TCP,HTTP,None", "a,b,1,TCP,HTTP,TLS"),
            ("a,b,1,TCP,HTTP,OAuth", "a,b,1,TCP,HTTP,Basic authentication"),
            ("a,b,1,TCP,DNS,None", "a,b,1,TCP,DNS,Unencrypted. This communication happens inside the VM."),
        ] {
            assert!(!covers_row(wide, narrow), "{wide} covers {narrow}");
        }
    }

    #[test]
    fn duplicates_and_shadows_are_told_apart() {
        let rows = [UAA, "router (Gorouter),uaa,8443,TCP,HTTPS,TLS", "gorouter,uaa,8443,TCP,HTTPS,TLS"];
        let found = lint(&[table(&rows)], &Names::shipped(), None).unwrap();
        assert_eq!(found.get(&Oddity::Duplicate { of: at(0) }), Some(&vec![at(2)]));
        assert_eq!(found.get(&Oddity::Shadowed { by: at(0) }), Some(&vec![at(1)]));
    }

    #[test]
    fn names_are_held_against_the_map_and_the_inventory() {
        let mut files = crate::inventory::Builder::default();
        files.add("i.csv", b"ip,vm,jobs\n10.0.0.1,router/0,gorouter\n").unwrap();
        let (inventory, names) = files.finish().unwrap();
        let rows = ["gorouter,uaa,8443,TCP,HTTPS,TLS", "mine (Gorouter),router (Own),1,TCP,HTTP,None"];
        let found = lint(&[table(&rows)], &names, Some(&inventory)).unwrap();
        assert_eq!(found.get(&Oddity::VmNotInInventory("uaa".to_owned())), Some(&vec![at(0)]));
        assert_eq!(found.get(&Oddity::VmNotInInventory("mine".to_owned())), Some(&vec![at(1)]));
        assert_eq!(found.get(&Oddity::JobNotInInventory("Own".to_owned())), Some(&vec![at(1)]));
        assert_eq!(found.get(&Oddity::UnknownVm("mine".to_owned())), Some(&vec![at(1)]));
        assert_eq!(found.get(&Oddity::UnknownComponent("Own".to_owned())), Some(&vec![at(1)]));
        assert!(!found.contains_key(&Oddity::JobNotInInventory("Gorouter".to_owned())));
    }

    #[test]
    fn the_default_rows_hold_two_shadows_and_nothing_that_no_capture_confirms() {
        let found = lint(&Table::built_in().unwrap(), &Names::shipped(), None).unwrap();
        let wrong: Vec<_> = found.iter().filter(|(oddity, _)| !oddity.is_hint()).collect();
        // The traffic controller's own rows cover those of processes on its VM.
        assert_eq!(
            wrong,
            [
                (&Oddity::Shadowed { by: at(2) }, &vec![at(5)]),
                (&Oddity::Shadowed { by: at(4) }, &vec![at(9)])
            ]
        );
    }
}
