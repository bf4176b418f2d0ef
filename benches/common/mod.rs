//! What the benchmarks share: a capture made from the repository's own, and what it is held against.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use flowaudit::audit::Plan;
use flowaudit::capture::{self, Event, LinkType, Timestamp};
use flowaudit::inventory::Inventory;
use flowaudit::policy::{Options, Policy, Table};

pub type Failure = Box<dyn Error>;

const CAPTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/captures");

/// What `flowaudit check` would hold the repository's captures against, with its inventory.
pub fn plan() -> Result<Plan, Failure> {
    let (inventory, names) = Inventory::read(&[
        format!("{CAPTURES}/bosh-instances-ps.json"),
        format!("{CAPTURES}/bosh-cloud-config.yml"),
        format!("{CAPTURES}/director.csv"),
    ])?;
    let policy = Policy::new(Table::built_in()?, inventory, names, Options::default());
    let deviations = policy.with_tables(Table::shipped_overlays()?);
    Ok(Plan { deviations, learn: true, ..Plan::new(policy) })
}

/// Ports from here on are clients' own; every documented one is below.
const EPHEMERAL: u16 = 32_768;
/// Gaps inside a capture are cut to this, and every further copy begins this much later.
const GAP: i64 = Timestamp::SECOND;
/// Captures begin so long after one another, so that their flows overlap as they do on a real link.
const STAGGER: i64 = 20_000_000;

/// One packet of the repository's captures: its time from the first of all, and its bytes.
struct Original {
    time: i64,
    wire_length: u32,
    bytes: Vec<u8>,
}

/// Writes the repository's captures over and over into one file in the build's folder, with fresh ports and
/// times; the same bytes every time. At most so many copies, and no more than there are ports for, so that
/// no two flows are taken for one.
pub fn made_capture(name: &str, most_copies: u16) -> Result<String, Failure> {
    let originals = originals()?;
    let mut ports: BTreeMap<u16, u16> = BTreeMap::new();
    for original in &originals {
        for at in ports_of(&original.bytes) {
            let count = ports.len() as u16;
            ports.entry(port(&original.bytes, at)).or_insert(count);
        }
    }
    let copies = i64::from(most_copies.min((u16::MAX - EPHEMERAL) / (ports.len().max(1) as u16)));
    let mut order: Vec<(i64, i64, usize)> = (0..copies)
        .flat_map(|copy| {
            originals.iter().enumerate().map(move |(at, original)| (copy * GAP + original.time, copy, at))
        })
        .collect();
    order.sort_unstable();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&path)?);
    let header: [u32; 6] = [0xa1b2_3c4d, 2 | 4 << 16, 0, 0, capture::MAX_CAPTURED, 1];
    file.write_all(header.map(u32::to_le_bytes).as_flattened())?;
    // A second with a date: 2025-11-22.
    let start = 1_763_769_600 * Timestamp::SECOND;
    for (time, copy, at) in order {
        let Original { wire_length, bytes, .. } = &originals[at];
        let mut bytes = bytes.clone();
        for at in ports_of(&bytes) {
            let fresh = EPHEMERAL + ports[&port(&bytes, at)] + copy as u16 * ports.len() as u16;
            set_port(&mut bytes, at, fresh);
        }
        let time = start + time;
        let (seconds, nanoseconds) = (time / Timestamp::SECOND, time % Timestamp::SECOND);
        let head = [seconds as u32, nanoseconds as u32, bytes.len() as u32, *wire_length];
        file.write_all(head.map(u32::to_le_bytes).as_flattened())?;
        file.write_all(&bytes)?;
    }
    file.flush()?;
    Ok(path.into_os_string().into_string().map_err(|_| "the build's folder has a name that is no UTF-8")?)
}

/// The Ethernet packets of every `captures/*.pcap`; a capture that is cut counts up to there.
fn originals() -> Result<Vec<Original>, Failure> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(CAPTURES)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "pcap"));
    paths.sort();
    let mut originals = Vec::new();
    for (at, path) in paths.iter().enumerate() {
        let mut source = capture::open(path.to_str().ok_or("a capture's name is no UTF-8")?)?;
        let (mut time, mut last) = (at as i64 * STAGGER, None);
        while let Ok(Some(Event::Packet(packet))) = source.next_event() {
            time += (packet.time.0 - last.unwrap_or(packet.time.0)).clamp(0, GAP);
            last = Some(packet.time.0);
            if packet.link == LinkType::Ethernet {
                let (wire_length, bytes) = (packet.wire_length, packet.bytes.to_vec());
                originals.push(Original { time, wire_length, bytes });
            }
        }
    }
    Ok(originals)
}

/// Where the ports of clients stand in a TCP segment over IPv4; the captures hold little else.
fn ports_of(bytes: &[u8]) -> Vec<usize> {
    let Some(upper) = upper(bytes) else { return Vec::new() };
    [upper, upper + 2].into_iter().filter(|&at| port(bytes, at) >= EPHEMERAL).collect()
}

/// Where the TCP header begins.
fn upper(bytes: &[u8]) -> Option<usize> {
    let mut at = 12;
    while bytes.get(at..at + 2)? == [0x81, 0x00] {
        at += 4;
    }
    let ip = bytes.get(at + 2..).filter(|_| bytes[at..at + 2] == [0x08, 0x00])?;
    let upper = at + 2 + usize::from(ip.first()? & 15) * 4;
    (*ip.get(9)? == 6 && bytes.len() >= upper + 4).then_some(upper)
}

fn port(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Writes a port, and makes up for it in the checksum where that was captured (RFC 1624 section 3).
fn set_port(bytes: &mut [u8], at: usize, fresh: u16) {
    let old = port(bytes, at);
    bytes[at..at + 2].copy_from_slice(&fresh.to_be_bytes());
    let Some(upper) = upper(bytes) else { return };
    if let Some(checksum) = bytes.get_mut(upper + 16..upper + 18) {
        let mut sum = u32::from(!u16::from_be_bytes([checksum[0], checksum[1]]));
        sum += u32::from(!old) + u32::from(fresh);
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        checksum.copy_from_slice(&(!(sum as u16)).to_be_bytes());
    }
}
