//! How fast whole captures are audited, as a ratio to what merely touching and counting packets costs.
//!
//! `cargo bench` measures three programs in turn on one capture, each in a process of its own:
//!
//! - **L1** maps the file and reads every record header and the first 64 bytes of each packet;
//! - **L2** is L1 plus a five-tuple and one look-up and update in a hash map per packet;
//! - **check** is the product: map, decode, flows, recognition, verdicts, and the CSV report to a sink.
//!
//! Seconds depend on the machine and on what else it does; ratios within one run hold. Nothing here
//! fails for being slow: instruction counts decide that.
//!
//! The capture is made from the repository's own, written many times over with fresh ports and times
//! into the build's folder, and read with the repository's inventory. `FLOWAUDIT_BENCH_CAPTURE` names
//! another (classic pcap, Ethernet, little endian), `FLOWAUDIT_BENCH_RUNS` how often each is measured.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, hint};

use flowaudit::audit::{Audit, Plan};
use flowaudit::capture::{self, Event, LinkType, Merged, Timestamp};
use flowaudit::inventory::Inventory;
use flowaudit::policy::{Options, Policy, Table};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use memmap2::{Advice, Mmap};
use rustix::time::{ClockId, clock_gettime};

/// How often each program is measured, unless told otherwise.
const RUNS: usize = 5;
const CAPTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/captures");
/// How a program of [`PROGRAMS`] is asked for: this, its name, the capture.
const ONE: &str = "--one";

type Failure = Box<dyn Error>;
type Program = (&'static str, fn(&str) -> Result<Seen, Failure>);

const PROGRAMS: [Program; 3] = [("L1", l1), ("L2", l2), ("check", check)];

/// What a program found in the capture.
#[derive(Clone, Copy, Default)]
struct Seen {
    packets: u64,
    /// Captured bytes of all packets.
    bytes: u64,
    flows: u64,
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = env::args().collect();
    if let [_, one, name, path] = &arguments[..]
        && one == ONE
    {
        return run_one(name, path);
    }
    let runs = match env::var("FLOWAUDIT_BENCH_RUNS") {
        Ok(runs) => runs.parse::<usize>()?.max(1),
        Err(_) => RUNS,
    };
    let Ok(given) = env::var("FLOWAUDIT_BENCH_CAPTURE") else {
        let made = made_capture()?;
        let path = made.to_str().ok_or("the build's folder has a name that is no UTF-8")?;
        let compared = compare(path, runs);
        fs::remove_file(&made)?;
        return compared;
    };
    compare(&given, runs)
}

/// Measures every program in turn, `runs` times, and prints the table.
fn compare(path: &str, runs: usize) -> Result<(), Failure> {
    let mut seen = [Seen::default(); PROGRAMS.len()];
    let mut seconds: Vec<[f64; PROGRAMS.len()]> = Vec::new();
    // The first round only brings the file into the page cache.
    for round in 0..=runs {
        let mut took = [0.0; PROGRAMS.len()];
        for (at, (name, _)) in PROGRAMS.iter().enumerate() {
            (took[at], seen[at]) = measure(name, path)?;
        }
        if round > 0 {
            seconds.push(took);
        }
    }
    let size = fs::metadata(path)?.len();
    let [_, _, Seen { packets, bytes, flows }] = seen;
    println!("{path}: {} MiB, {packets} packets, {flows} flows; medians of {runs} runs", size >> 20);
    println!("{:<8}{:>10}{:>14}{:>10}{:>9}{:>9}", "", "CPU s", "packets/s", "Gbit/s", "/ L1", "/ L2");
    for (at, (name, _)) in PROGRAMS.iter().enumerate() {
        let of = |value: &dyn Fn(&[f64; 3]) -> f64| median(seconds.iter().map(value).collect());
        let took = of(&|took| took[at]);
        let (l1, l2) = (of(&|took| took[at] / took[0]), of(&|took| took[at] / took[1]));
        let (rate, gigabits) = (packets as f64 / took, bytes as f64 * 8e-9 / took);
        println!("{name:<8}{took:>10.3}{rate:>14.0}{gigabits:>10.1}{l1:>9.2}{l2:>9.2}");
    }
    if seen.iter().any(|other| other.packets != packets) {
        return Err("the programs did not read the same packets".into());
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// Runs one program in a fresh process; its CPU seconds, user and system.
fn measure(name: &str, path: &str) -> Result<(f64, Seen), Failure> {
    let output = Command::new(env::current_exe()?).args([ONE, name, path]).output()?;
    if !output.status.success() {
        return Err(format!("{name} failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let text = String::from_utf8(output.stdout)?;
    let numbers = text.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>()?;
    let [nanoseconds, packets, bytes, flows] = numbers[..] else {
        return Err(format!("{name} printed `{text}`").into());
    };
    Ok((nanoseconds as f64 / 1e9, Seen { packets, bytes, flows }))
}

fn run_one(name: &str, path: &str) -> Result<(), Failure> {
    let (_, program) = PROGRAMS.iter().find(|(known, _)| *known == name).ok_or("no such program")?;
    let Seen { packets, bytes, flows } = program(path)?;
    // The processor time of this whole process, all its threads.
    let took = clock_gettime(ClockId::ProcessCPUTime);
    println!("{} {packets} {bytes} {flows}", took.tv_sec * Timestamp::SECOND + took.tv_nsec);
    Ok(())
}

/// The product, as `flowaudit check` puts it together.
fn check(path: &str) -> Result<Seen, Failure> {
    let (inventory, names) = Inventory::read(&[
        format!("{CAPTURES}/bosh-instances-ps.json"),
        format!("{CAPTURES}/bosh-cloud-config.yml"),
        format!("{CAPTURES}/director.csv"),
    ])?;
    let policy = Policy::new(Table::built_in()?, inventory, names, Options::default());
    let plan =
        Plan { deviations: policy.with_tables(Table::shipped_overlays()?), learn: true, ..Plan::new(policy) };
    let mut source = Merged::new(vec![capture::open(path)?])?;
    let mut audit = Audit::new(&plan, vec![path.to_owned()], None, Some(io::sink()))?;
    let mut bytes = 0;
    while let Some(event) = source.next_event()? {
        if let Event::Packet(packet) = event {
            bytes += packet.bytes.len() as u64;
            audit.packet(&packet)?;
        }
    }
    let outcome = audit.finish();
    Ok(Seen { packets: outcome.account.read, bytes, flows: outcome.account.flows })
}

fn l1(path: &str) -> Result<Seen, Failure> {
    let mut seen = Seen::default();
    let mut sum = 0u64;
    each_packet(path, |time, packet| {
        let head = &packet[..packet.len().min(64)];
        let words = head.chunks_exact(8).filter_map(|word| word.first_chunk());
        sum = words.fold(sum ^ time, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
        seen.packets += 1;
        seen.bytes += packet.len() as u64;
    })?;
    hint::black_box(sum);
    Ok(seen)
}

/// Both addresses, both ports and the protocol, lower end first.
type Key = [u8; 37];
/// Packets and bytes each way, the first time and the last.
type Value = [u64; 6];

fn l2(path: &str) -> Result<Seen, Failure> {
    let mut seen = Seen::default();
    let mut flows: HashMap<Key, Value, RandomState> = HashMap::default();
    each_packet(path, |time, packet| {
        seen.packets += 1;
        seen.bytes += packet.len() as u64;
        let Some((key, back)) = five_tuple(packet) else { return };
        let value = flows.entry(key).or_insert([0, 0, 0, 0, time, time]);
        value[usize::from(back)] += 1;
        value[2 + usize::from(back)] += packet.len() as u64;
        value[5] = time;
    })?;
    seen.flows = flows.len() as u64;
    Ok(seen)
}

fn five_tuple(packet: &[u8]) -> Option<(Key, bool)> {
    let mut ip = packet.get(12..)?;
    while let [0x81, 0x00, _, _, rest @ ..] = ip {
        ip = rest;
    }
    let (addresses, protocol, upper) = match ip {
        [0x08, 0x00, ip @ ..] => {
            (ip.get(12..20)?, ip[9], ip.get(usize::from(ip[0] & 15) * 4..).unwrap_or(&[]))
        }
        [0x86, 0xdd, ip @ ..] => (ip.get(8..40)?, ip[6], ip.get(40..).unwrap_or(&[])),
        _ => return None,
    };
    let (source, destination) = addresses.split_at(addresses.len() / 2);
    let [s0, s1, d0, d1] = match (protocol, upper.first_chunk::<4>()) {
        (6 | 17, Some(ports)) => *ports,
        _ => [0; 4],
    };
    let (sender, receiver) = ((source, [s0, s1]), (destination, [d0, d1]));
    let back = sender > receiver;
    let (low, high) = if back { (receiver, sender) } else { (sender, receiver) };
    let mut key = [0; 37];
    key[..low.0.len()].copy_from_slice(low.0);
    key[16..16 + high.0.len()].copy_from_slice(high.0);
    key[32..34].copy_from_slice(&low.1);
    key[34..36].copy_from_slice(&high.1);
    key[36] = protocol;
    Some((key, back))
}

/// Lends the packets of a mapped capture, with the eight bytes of their time.
fn each_packet(path: &str, mut packet: impl FnMut(u64, &[u8])) -> Result<(), Failure> {
    let file = File::open(path)?;
    // SAFETY: the file is not changed while it is measured.
    let map = unsafe { Mmap::map(&file) }?;
    map.advise(Advice::Sequential)?;
    let known = [0xa1b2_c3d4_u32, 0xa1b2_3c4d].map(u32::to_le_bytes);
    if !map.first_chunk().is_some_and(|magic| known.contains(magic)) {
        return Err(format!("{path}: L1 and L2 read classic pcap in little endian only").into());
    }
    let mut rest = map.get(24..).unwrap_or(&[]);
    while let Some((head, after)) = rest.split_first_chunk::<16>() {
        let [t0, t1, t2, t3, t4, t5, t6, t7, c0, c1, c2, c3, ..] = *head;
        let captured = u32::from_le_bytes([c0, c1, c2, c3]) as usize;
        let (bytes, next) = after.split_at_checked(captured).ok_or("the capture is cut")?;
        packet(u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]), bytes);
        rest = next;
    }
    Ok(())
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

/// Writes the repository's captures many times over into one file.
fn made_capture() -> Result<PathBuf, Failure> {
    let originals = originals()?;
    let mut ports: BTreeMap<u16, u16> = BTreeMap::new();
    for original in &originals {
        for at in ports_of(&original.bytes) {
            let count = ports.len() as u16;
            ports.entry(port(&original.bytes, at)).or_insert(count);
        }
    }
    // As many copies as there are ports, so that no two flows are taken for one.
    let copies = i64::from((u16::MAX - EPHEMERAL) / (ports.len().max(1) as u16));
    let mut order: Vec<(i64, i64, usize)> = (0..copies)
        .flat_map(|copy| {
            originals.iter().enumerate().map(move |(at, original)| (copy * GAP + original.time, copy, at))
        })
        .collect();
    order.sort_unstable();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("classification.pcap");
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
    Ok(path)
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
