//! The plain CSV inventory: a header with `ip`, `vm`, `jobs` and `subnet`, and a line a host.

use std::collections::BTreeSet;
use std::sync::Arc;

use ipnet::IpNet;

use super::addresses;
use super::canonical::canonical;
use super::cells::{self, Columns, Row};
use super::error::{InventoryError, Place, quoted};
use super::instances::Claim;

/// The columns such a file may have.
pub(super) const COLUMNS: [&str; 4] = ["ip", "vm", "jobs", "subnet"];
const IP: usize = 0;
const VM: usize = 1;
const JOBS: usize = 2;
const SUBNET: usize = 3;

const ADVICE: &str = "a line reads like `10.0.4.10,doppler,doppler loggregator_agent,10.0.4.0/24`";

/// Reads one file, adding what it says of hosts and of subnets.
pub(super) fn read(
    file: &Arc<str>,
    text: &str,
    claims: &mut Vec<Claim>,
    subnets: &mut Vec<IpNet>,
) -> Result<(), InventoryError> {
    let header = |columns: &Columns| match (columns.has(IP), columns.has(VM), columns.has(SUBNET)) {
        (true, false, _) => Err("column vm is missing".to_owned()),
        (false, true, _) => Err("column ip is missing".to_owned()),
        (false, false, false) => Err("columns ip and vm are missing".to_owned()),
        _ => Ok(()),
    };
    cells::read(file, text, &COLUMNS, header, |row| {
        let (claim, ranges) = read_row(file, &row)?;
        subnets.extend(ranges);
        claims.extend(claim);
        Ok(())
    })
}

fn read_row(file: &Arc<str>, row: &Row<'_>) -> Result<(Option<Claim>, Vec<IpNet>), InventoryError> {
    let fail = |what: String| InventoryError {
        file: file.to_string(),
        place: Place::line(row.line),
        what,
        advice: ADVICE.to_owned(),
    };
    let addresses = addresses::parse(row.cell(IP)).map_err(fail)?;
    let instance = row.cell(VM);
    match (addresses.is_empty(), instance.is_empty()) {
        (false, true) => return Err(fail("an address without a vm".to_owned())),
        (true, false) => return Err(fail(format!("the vm {} without an address", quoted(instance)))),
        _ => {}
    }
    let mut ranges = Vec::new();
    for word in addresses::words(row.cell(SUBNET)) {
        let Ok(range) = word.parse::<IpNet>() else {
            return Err(fail(format!("{} is no address range such as 10.0.4.0/24", quoted(word))));
        };
        if !addresses.is_empty() && !addresses.iter().any(|address| range.contains(address)) {
            return Err(fail(format!("no address of this line is in {range}")));
        }
        ranges.push(range);
    }
    if instance.is_empty() {
        return Ok((None, ranges));
    }
    let jobs: BTreeSet<String> =
        addresses::words(row.cell(JOBS)).map(|job| canonical(job).into_owned()).collect();
    let claim = Claim {
        file: Arc::clone(file),
        instance: instance.to_owned(),
        deployment: None,
        // An empty cell says nothing of this host, rather than that it is idle.
        jobs: Some(jobs).filter(|jobs| !jobs.is_empty()),
        addresses,
    };
    Ok((Some(claim), ranges))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(text: &str) -> Result<(Vec<Claim>, Vec<IpNet>), InventoryError> {
        let (mut claims, mut subnets) = (Vec::new(), Vec::new());
        read(&"hosts.csv".into(), text, &mut claims, &mut subnets).map(|()| (claims, subnets))
    }

    fn refused(text: &str) -> String {
        run(text).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn reads_columns_in_any_order_and_case() {
        let text = "# mine\nSubnet, VM ,IP,Jobs\n\
            10.0.4.0/24,doppler/0,10.0.4.10; fd00::1,\"doppler;log_cache\"\n\
            ,uaa,10.0.4.14,\n10.0.5.0/24,,,\n";
        let (claims, subnets) = run(text).unwrap();
        assert_eq!(claims.len(), 2);
        assert_eq!((claims[0].instance.as_str(), claims[0].addresses.len()), ("doppler/0", 2));
        assert!(claims[0].jobs.as_ref().unwrap().iter().eq(["doppler", "log-cache"]));
        assert_eq!(claims[1].jobs, None);
        assert_eq!(subnets, ["10.0.4.0/24".parse().unwrap(), "10.0.5.0/24".parse().unwrap()]);
    }

    #[test]
    fn errors_name_the_line() {
        assert!(refused("ip,jobs\n").starts_with("hosts.csv: line 1: column vm is missing;"));
        assert!(refused("vm\n").starts_with("hosts.csv: line 1: column ip is missing;"));
        assert!(
            refused("ip,vm\n\n10.0.0.300,a\n").starts_with("hosts.csv: line 3: \"10.0.0.300\" is not an IP")
        );
        assert!(refused("ip,vm\n10.0.0.3,\n").starts_with("hosts.csv: line 2: an address without a vm;"));
        assert!(refused("ip,vm\n,a\n").starts_with("hosts.csv: line 2: the vm \"a\" without an address;"));
        let wrong = refused("ip,vm,subnet\n10.0.0.3,a,10.1.0.0/16\n");
        assert!(
            wrong.starts_with("hosts.csv: line 2: no address of this line is in 10.1.0.0/16;"),
            "{wrong}"
        );
        assert!(refused("subnet\n10.1.0.0\n").contains("\"10.1.0.0\" is no address range"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*|[0-9.,;/a\n#\"]{0,60}") {
            let _ = run(&text);
            let _ = run(&format!("ip,vm,jobs,subnet\n{text}"));
        }
    }
}
