//! Files of operators: certificates, tables, pages, inventories, reports.

use std::fmt::Display;
use std::net::IpAddr;

use flowaudit::capture::{Filter, Packet, Precision, Timestamp};
use flowaudit::inventory::{Builder, Inventory, Names};
use flowaudit::pki::{Authorities, CertificateNames, MAX_NAME_BYTES, MAX_NAMES, Usage};
use flowaudit::policy::coverage::Coverage;
use flowaudit::policy::diff::diff;
use flowaudit::policy::import::import;
use flowaudit::policy::lint::lint;
use flowaudit::policy::{Options, Policy, Table};
use flowaudit::report::clean_line;

use super::input::Input;
use super::packets::LINKS;

/// Words of pcap-filter(7) that a byte from 128 on stands for. There are no others, so that no expression holds a
/// name that would be looked up in DNS.
const WORDS: [&str; 40] = [
    "tcp",
    "udp",
    "icmp",
    "ip",
    "ip6",
    "arp",
    "ether",
    "vlan",
    "mpls",
    "vxlan",
    "geneve",
    "host",
    "net",
    "mask",
    "port",
    "portrange 1-9",
    "proto",
    "src",
    "dst",
    "and",
    "or",
    "not",
    "len",
    "less",
    "greater",
    "broadcast",
    "multicast",
    "10.0.4.10",
    "10.0.0.0/8",
    "fd00::1",
    "fd00::/8",
    "02:02:02:02:02:02",
    "443",
    "0x10",
    "4294967296",
    "tcp[tcpflags]",
    "tcp-syn",
    "ip[0:4]",
    "inbound",
    "wlan",
];
/// The most words of one filter: libpcap takes time for each.
const FILTER: usize = 200;
/// The longest error, in bytes: it is one line that people read.
const LINE_CAP: usize = 2000;
/// The most rows that are held against each other.
const ROWS: usize = 200;

/// Filter expressions: taken and asked about a packet of every link type, or refused with an error.
///
/// A byte from 128 on is a word, another is itself if it is neither letter, digit, dot nor hyphen.
pub fn filters(bytes: &[u8]) {
    let expression: String = bytes
        .iter()
        .take(FILTER)
        .map(|byte| match byte {
            128.. => format!(" {} ", WORDS[usize::from(byte - 128) % WORDS.len()]),
            byte if byte.is_ascii_alphanumeric() || b".-".contains(byte) => String::new(),
            byte => char::from(*byte).to_string(),
        })
        .collect();
    let packet = |link| Packet {
        capture: 0,
        number: 1,
        time: Timestamp(0),
        precision: Precision::Micro,
        link,
        wire_length: 60,
        bytes: &[0x45; 60],
    };
    match Filter::new(&expression) {
        Ok(mut filter) => {
            for link in LINKS {
                if let Err(error) = filter.matches(&packet(link)) {
                    is_one_line(&error);
                }
            }
        }
        Err(error) => {
            is_one_line(&error);
        }
    }
}

/// PEM bundles, certificates and chains of them.
///
/// The bytes are a bundle, or, by the last byte, certificates in DER, each behind its length in two bytes.
pub fn certificates(bytes: &[u8]) {
    let mut input = Input(bytes);
    if input.choice() & 1 == 0 {
        let mut authorities = Authorities::default();
        if let Err(error) = authorities.add("ca.pem", input.0) {
            is_one_line(&error);
        }
        let chains: [&[&[u8]]; 2] = [&[], &[input.0]];
        for chain in chains {
            judge(&authorities, chain);
        }
        return;
    }
    let mut rest = input.0;
    let mut chain = Vec::new();
    while let Some(([high, low], behind)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (certificate, behind) = behind.split_at(length.min(behind.len()));
        chain.push(certificate);
        rest = behind;
        match CertificateNames::from_der(certificate) {
            Ok(names) => {
                assert!(names.alternative.len() <= MAX_NAMES);
                assert!(names.iter().all(|name| name.len() <= MAX_NAME_BYTES + '…'.len_utf8()));
                let _ = names.to_string();
            }
            Err(error) => {
                is_one_line(&error);
            }
        }
    }
    judge(&Authorities::default(), &chain);
    // Its own last certificate for an authority.
    let mut authorities = Authorities::default();
    if let Some(last) = chain.last()
        && authorities.add("chain", pem(last).as_bytes()).is_ok()
    {
        judge(&authorities, &chain);
    }
}

/// Tables as files.
pub fn tables(bytes: &[u8]) {
    match Table::parse("table.csv", "table", bytes) {
        Err(error) => {
            is_one_line(&error);
        }
        Ok(mut table) => {
            assert!(!table.rows.is_empty());
            table.rows.truncate(ROWS);
            let names = Names::shipped();
            lint(std::slice::from_ref(&table), &names, None).expect("few rows");
            let tables = [table];
            assert!(diff(&tables, &tables).iter().all(|page| page.changes.is_empty()), "a table is as it is");
            let [table] = tables;
            Policy::new(vec![table], Inventory::default(), names, Options::default());
        }
    }
}

/// Pages from which tables are imported.
pub fn pages(bytes: &[u8]) {
    let page = String::from_utf8_lossy(bytes);
    match import(&page) {
        Err(error) => {
            is_one_line(&error);
        }
        Ok(tables) => {
            for table in tables {
                assert!(!table.name.is_empty() && !table.name.contains([':', ' ']), "{:?}", table.name);
                for wrong in table.not_understood() {
                    assert!((1..=table.rows.len()).contains(&wrong.row));
                }
            }
        }
    }
}

/// Inventories: files with a byte of 0 between them.
pub fn inventories(bytes: &[u8]) {
    let mut builder = Builder::default();
    for file in bytes.split(|byte| *byte == 0) {
        if let Err(error) = builder.add("inventory", file) {
            is_one_line(&error);
        }
    }
    match builder.finish() {
        Err(error) => {
            is_one_line(&error);
        }
        Ok((inventory, names)) => {
            for address in ["10.0.4.10", "10.0.0.6", "255.255.255.255", "::", "::ffff:10.0.4.10", "fd00::1"] {
                let address: IpAddr = address.parse().expect("an address");
                let _ = (inventory.vm(address), inventory.subnet(address));
            }
            for vm in inventory.vms().take(ROWS) {
                assert!(inventory.has_group(&vm.group), "{:?}", vm.group);
                let _ = names.groups(&vm.group);
            }
            for conflict in inventory.conflicts() {
                is_one_line(conflict);
            }
        }
    }
}

/// Reports, read back.
pub fn reports(bytes: &[u8]) {
    let tables = Table::built_in().expect("they parse");
    let mut coverage = Coverage::new(&tables);
    if let Err(error) = coverage.read("report.csv", bytes, &tables, |row| row.cells.join(" | ")) {
        is_one_line(&error);
    }
}

/// An error as the terminal shows it: one line, harmless, of a length that people read.
pub fn is_one_line(error: &impl Display) -> String {
    let text = clean_line(&error.to_string());
    assert!(!text.is_empty() && text.len() <= LINE_CAP, "an error of {} bytes: {text}", text.len());
    is_harmless(&text);
    text
}

/// Nothing in it moves a cursor, changes a colour, ends a line or turns text about.
pub fn is_harmless(text: &str) {
    let turns = ['\u{61c}', '\u{200e}', '\u{200f}', '\u{feff}', '\u{ad}', '\u{2028}', '\u{2029}'];
    let turns = |c: char| {
        turns.contains(&c) || ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c)
    };
    if let Some(found) = text.chars().find(|c| c.is_control() || turns(*c)) {
        panic!("{found:?} in {text:?}");
    }
}

fn judge(authorities: &Authorities, chain: &[&[u8]]) {
    for usage in [Usage::Client, Usage::Server] {
        for at in [i64::MIN, -1, 0, 1_800_000_000, i64::MAX] {
            if let Err(problem) = authorities.check(chain, usage, at) {
                is_one_line(&problem);
            }
        }
    }
}

/// DER as a PEM section (RFC 7468), in base64 (RFC 4648).
fn pem(der: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for three in der.chunks(3) {
        let bits =
            three.iter().chain([0, 0].iter()).take(3).fold(0, |bits, byte| bits << 8 | u32::from(*byte));
        for n in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * n) & 63) as usize];
            text.push(if n <= three.len() { char::from(digit) } else { '=' });
        }
        if text.len() % 65 > 60 {
            text.push('\n');
        }
    }
    text.push_str("\n-----END CERTIFICATE-----\n");
    text
}
