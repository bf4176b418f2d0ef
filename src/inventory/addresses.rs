//! Several IP addresses in one cell.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::error::quoted;

/// The addresses in a cell, separated by blanks, line feeds or `;`; or what is wrong with it.
///
/// A prefix of full length (`10.0.4.9/32`) is the address.
pub(super) fn parse(cell: &str) -> Result<BTreeSet<IpAddr>, String> {
    words(cell).map(parse_one).collect()
}

/// The words of a cell that holds several, separated by blanks, line feeds or `;`.
pub(super) fn words(cell: &str) -> impl Iterator<Item = &str> {
    cell.split(|c: char| c.is_whitespace() || c == ';').filter(|word| !word.is_empty())
}

fn parse_one(word: &str) -> Result<IpAddr, String> {
    if let Ok(address) = word.parse::<IpAddr>() {
        return Ok(address);
    }
    match word.parse::<IpNet>() {
        Ok(net) if net.prefix_len() == net.max_prefix_len() => Ok(net.addr()),
        _ => Err(format!("{} is not an IP address", quoted(word))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_several_of_both_families() {
        let expected: BTreeSet<IpAddr> =
            ["10.0.0.1", "10.0.0.2", "fd00::1"].iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(parse("10.0.0.1\n10.0.0.2/32; fd00::1 fd00::1"), Ok(expected));
        assert_eq!(parse(" \n"), Ok(BTreeSet::new()));
        for wrong in ["10.0.0.0/24", "10.0.0", "fe80::1%eth0", "10.0.0.1,10.0.0.2", "-"] {
            assert_eq!(parse(wrong), Err(format!("{wrong:?} is not an IP address")));
        }
    }

    proptest! {
        #[test]
        fn any_cell_is_read_or_refused(cell in "\\PC*|[0-9.:/;% \n]{0,40}") {
            let _ = parse(&cell);
        }
    }
}
