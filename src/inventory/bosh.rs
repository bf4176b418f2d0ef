//! What `bosh … --json` prints: `instances` and `vms` tables, and `cloud-config` in its blocks.
//!
//! Source: bosh-cli `ui/json_ui.go`, `cmd/instance_table.go`, `cmd/vms.go`: every cell is a string,
//! several addresses are joined by a line feed, and with `--ps` the row of a VM has an empty process
//! and is followed by one row for each process.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;

use super::addresses;
use super::canonical::canonical;
use super::cloud_config::{self, Network};
use super::error::{InventoryError, Place, quoted};
use super::instances::Claim;
use super::names::Names;
use super::records::{self, Alias, Records};
use super::subnets::Subnets;

const ADVICE: &str =
    "give the output of `bosh instances --ps --json`, `bosh vms --json` or `bosh cloud-config --json`";

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow, rename = "Tables")]
    tables: Option<Vec<Table<'a>>>,
    #[serde(borrow, rename = "Blocks")]
    blocks: Option<Vec<Text<'a>>>,
    #[serde(borrow, rename = "Lines")]
    lines: Option<Vec<Text<'a>>>,
    /// A cloud config written as JSON.
    networks: Option<Vec<Network<String>>>,
    /// BOSH DNS's `records.json`.
    record_keys: Option<Vec<String>>,
    record_infos: Option<Vec<Vec<serde_json::Value>>>,
    aliases: Option<BTreeMap<String, Vec<Alias>>>,
}

#[derive(Deserialize)]
struct Table<'a> {
    #[serde(borrow, rename = "Content")]
    content: Option<Text<'a>>,
    #[serde(borrow, rename = "Rows")]
    rows: Option<Vec<Row<'a>>>,
}

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    instance: Option<Text<'a>>,
    #[serde(borrow)]
    process: Option<Text<'a>>,
    #[serde(borrow)]
    process_state: Option<Text<'a>>,
    #[serde(borrow)]
    ips: Option<Text<'a>>,
    #[serde(borrow)]
    deployment: Option<Text<'a>>,
}

/// A string that borrows from the file unless it has escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads one JSON file, adding what it says of instances and of subnets.
pub(super) fn read(
    file: &Arc<str>,
    text: &str,
    claims: &mut Vec<Claim>,
    subnets: &mut Subnets,
    names: &mut Names,
) -> Result<(), InventoryError> {
    let fail =
        |place, what| InventoryError { file: file.to_string(), place, what, advice: ADVICE.to_owned() };
    let document: Document<'_> = serde_json::from_str(text).map_err(|error| {
        let place = Place::line_and_column(error.line() as u64, error.column() as u64);
        fail(place, format!("not the JSON expected: {}", error.to_string().escape_debug()))
    })?;

    let mut used = false;
    if let Some(networks) = &document.networks {
        cloud_config::add(file, networks, subnets)?;
        used = true;
    }
    if let (Some(keys), Some(infos)) = (&document.record_keys, &document.record_infos) {
        let none = BTreeMap::new();
        let aliases = document.aliases.as_ref().unwrap_or(&none);
        records::read(file, &Records { keys, infos, aliases }, claims, names)?;
        used = true;
    }
    for (n, table) in document.tables.iter().flatten().enumerate() {
        if !matches!(table.content(), "instances" | "vms") {
            continue;
        }
        used = true;
        read_table(file, text, n, table, claims)?;
    }
    // The blocks of other commands hold other texts, which need not be YAML.
    if !used {
        for (n, block) in document.blocks.iter().flatten().enumerate() {
            let name = format!("{file}: Blocks[{n}]");
            used |= cloud_config::read_yaml(&name, &block.0, subnets)?;
        }
    }
    if used {
        return Ok(());
    }
    // A failed command prints its complaint here.
    let last = document.lines.iter().flatten().next_back();
    let said = last.map_or_else(String::new, |line| format!(" (its last line: {})", quoted(&line.0)));
    Err(fail(Place::default(), format!("JSON with neither instances nor networks{said}")))
}

impl Table<'_> {
    fn content(&self) -> &str {
        self.content.as_ref().map_or("", |text| &text.0)
    }
}

fn read_table(
    file: &Arc<str>,
    text: &str,
    table: usize,
    rows: &Table<'_>,
    claims: &mut Vec<Claim>,
) -> Result<(), InventoryError> {
    // One table is one deployment's, so within it an instance's text names one instance.
    let mut started: HashMap<&str, usize> = HashMap::new();
    let mut silent = Vec::new();
    for (n, row) in rows.rows.iter().flatten().enumerate() {
        let fail = |column: &str, what: String| {
            let line = row.instance.as_ref().and_then(|instance| line_of(text, &instance.0));
            let path = Some(format!("Tables[{table}].Rows[{n}].{column}"));
            let place = Place { path, ..Place::line(line.unwrap_or_default()) };
            InventoryError { file: file.to_string(), place, what, advice: ADVICE.to_owned() }
        };
        let instance = row.instance.as_ref().map_or("", |instance| instance.0.trim());
        if instance.is_empty() {
            return Err(fail("instance", "no instance name".to_owned()));
        }
        let process = row.process.as_ref().map(|process| process.0.trim());
        if let Some(process) = process.filter(|process| !process.is_empty()) {
            let Some(claim) = started.get(instance).and_then(|&index| claims.get_mut(index)) else {
                let what = format!("a process of {}, whose own row is missing", quoted(instance));
                return Err(fail("process", what));
            };
            claim.jobs.get_or_insert_default().insert(canonical(process).into_owned());
            continue;
        }
        let cell = row.ips.as_ref().map_or("", |ips| &ips.0);
        let addresses: BTreeSet<IpAddr> = addresses::parse(cell).map_err(|what| fail("ips", what))?;
        let deployment = row.deployment.as_ref().map(|name| name.0.trim().to_owned());
        let state = row.process_state.as_ref().map_or("", |state| &state.0);
        if process.is_some() && state != "running" {
            silent.push(claims.len());
        }
        started.insert(instance, claims.len());
        claims.push(Claim {
            file: Arc::clone(file),
            instance: instance.to_owned(),
            deployment: deployment.filter(|name| !name.is_empty()),
            jobs: process.map(|_| BTreeSet::new()),
            addresses,
        });
    }
    // An agent that does not answer lists no process; that does not mean that nothing runs there.
    for index in silent {
        if let Some(claim) = claims.get_mut(index) {
            claim.jobs = claim.jobs.take().filter(|jobs| !jobs.is_empty());
        }
    }
    Ok(())
}

/// The line, from 1, of a part that borrows from the text; `None` for one that does not.
fn line_of(text: &str, part: &str) -> Option<u64> {
    let offset = part.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    let before = text.as_bytes().get(..offset)?;
    Some(memchr::memchr_iter(b'\n', before).count() as u64 + 1)
}

#[cfg(test)]
mod tests {
    use super::super::subnets::SubnetLookup;
    use super::*;
    use proptest::prelude::*;

    const PS: &str = r#"{"Tables":[{"Content":"instances","Header":{},"Rows":[
{"instance":"doppler/0","az":"z1","ips":"10.0.0.1\nfd00::1","deployment":"cf","process":"","process_state":"running"},
{"instance":"doppler/0","az":"","ips":"","deployment":"","process":"loggregator_agent","process_state":"failing"},
{"instance":"smoke-tests/0","az":"z1","ips":"","deployment":"cf","process":"","process_state":""},
{"instance":"uaa/0","az":"z1","ips":"10.0.0.2","deployment":"cf","process":"","process_state":"unresponsive agent"},
{"instance":"vm/0","az":"z1","ips":"10.0.0.3","deployment":"cf","process":"","process_state":"running"}],
"Notes":null}],"Blocks":null,"Lines":["Succeeded"]}"#;

    fn run(text: &str) -> Result<(Vec<Claim>, Subnets), InventoryError> {
        let (mut claims, mut subnets) = (Vec::new(), Subnets::default());
        read(&"f.json".into(), text, &mut claims, &mut subnets, &mut Names::default())
            .map(|()| (claims, subnets))
    }

    fn refused(text: &str) -> String {
        run(text).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn reads_processes_addresses_and_deployment() {
        let (claims, _) = run(PS).unwrap();
        assert_eq!(claims.len(), 4);
        assert_eq!(claims[0].deployment.as_deref(), Some("cf"));
        assert_eq!(claims[0].addresses.len(), 2);
        assert!(claims[0].jobs.as_ref().unwrap().iter().eq(["loggregator-agent"]));
        assert!(claims[1].addresses.is_empty());
        assert_eq!(claims[2].jobs, None, "an agent that does not answer lists no jobs");
        assert_eq!(claims[3].jobs, Some(BTreeSet::new()), "nothing runs there");
    }

    #[test]
    fn tables_without_processes_list_no_jobs() {
        let row =
            |ip| format!(r#"{{"Content":"vms","Rows":[{{"instance":"a/0","ips":"{ip}","active":"true"}}]}}"#);
        let text = format!(r#"{{"Tables":[{},{}],"Blocks":null}}"#, row("10.0.0.1"), row("10.1.0.1"));
        let (claims, _) = run(&text).unwrap();
        assert_eq!(claims.len(), 2);
        assert!(claims.iter().all(|claim| claim.jobs.is_none() && claim.deployment.is_none()));
    }

    #[test]
    fn reads_cloud_configs_in_blocks_and_as_json() {
        let block =
            r#"{"Tables":null,"Blocks":["networks:\n- name: d\n  subnets: [{range: 10.0.0.0/24}]\n"]}"#;
        let json =
            r#"{"networks":[{"name":"d","type":"manual","subnets":[{"range":"10.0.0.0/24","azs":["z1"]}]}]}"#;
        for text in [block, json] {
            let (_, subnets) = run(text).unwrap();
            let found = subnets.find("10.0.0.7".parse().unwrap());
            assert!(matches!(found, SubnetLookup::One(s) if s.network == "d"), "{text}");
        }
        let error = refused(&block.replace("10.0.0.0/24", "x"));
        assert!(error.starts_with("f.json: Blocks[0]: line 3, column "), "{error}");
        let error = refused(&json.replace("10.0.0.0/24", "x"));
        assert!(
            error.starts_with("f.json: networks[0].subnets[0].range: \"x\" is no address range"),
            "{error}"
        );
    }

    #[test]
    fn errors_say_where_and_what_to_do() {
        let error = refused(&PS.replace("10.0.0.2", "10.0.0.2,5"));
        assert!(
            error.starts_with("f.json: line 5: Tables[0].Rows[3].ips: \"10.0.0.2,5\" is not an IP"),
            "{error}"
        );
        assert!(error.contains("bosh instances --ps --json"), "{error}");
        let error =
            refused(&PS.replace("\"instance\":\"doppler/0\",\"az\":\"\"", "\"instance\":\"other/0\""));
        assert!(error.contains("Tables[0].Rows[1].process: a process of \"other/0\""), "{error}");
        let error = refused(&PS.replace("\"doppler/0\"", "7"));
        assert!(error.starts_with("f.json: line 2, column "), "{error}");
        let error =
            refused(r#"{"Tables":[],"Blocks":null,"Lines":["Fetching: Expected non-empty \u001b[31m"]}"#);
        assert!(error.contains("its last line: \"Fetching") && !error.contains('\u{1b}'), "{error}");
        assert!(refused("[]").contains("not the JSON expected"));
        assert!(
            refused(r#"{"Tables":[{"Content":"deployments","Rows":[{"name":"cf"}]}]}"#).contains("neither")
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*", ips in "\\PC{0,20}") {
            let _ = run(&text);
            let _ = run(&PS.replace("10.0.0.2", &ips));
        }

        #[test]
        fn a_file_cut_anywhere_is_refused(end in 0..PS.len()) {
            prop_assert!(run(&PS[..end]).is_err());
        }
    }
}
