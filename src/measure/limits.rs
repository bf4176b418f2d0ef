//! The limit loops: what merely touching a capture's packets, and counting them by flow, costs.
//!
//! They read plain pcap and pcapng files from a memory map, one after the other and not merged by time,
//! with readers of their own that check no more than they must.

use std::fs::File;
use std::hint::black_box;
use std::io;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::Seen;
use super::tuple::{self, Key};
use super::walk::{self, Foreign};
use crate::capture::map;

/// How much of every packet L1 reads, in bytes.
const HEAD: usize = 64;
/// The most flows that L2 counts: as many as the audit holds at once.
const FLOWS: usize = 4_000_000;

/// Why a limit loop cannot read a capture.
#[derive(Debug, thiserror::Error)]
pub enum Unmeasured {
    /// It cannot be opened, or not be mapped.
    #[error("{0}: {1}")]
    Unmapped(String, io::Error),
    /// It is no plain pcap or pcapng.
    #[error("{0}: the limit loops read plain pcap and pcapng; decompress it first")]
    Foreign(String),
}

/// L1: reads every record header and the first 64 bytes of every packet.
///
/// # Errors
/// The first capture that cannot be read. A capture that is cut or damaged counts up to there.
pub fn l1(captures: &[String]) -> Result<Seen, Unmeasured> {
    let mut seen = Seen::default();
    let mut sum = 0u64;
    each_packet(captures, |_, time, packet| {
        let head = &packet[..packet.len().min(HEAD)];
        let words = head.chunks_exact(8).filter_map(|word| word.first_chunk());
        sum = words.fold(sum ^ time, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
        seen.packets += 1;
        seen.bytes += packet.len() as u64;
    })?;
    black_box(sum);
    Ok(seen)
}

/// Packets and bytes each way, the first time and the last.
type Counted = [u64; 6];

/// L2: besides finding every packet, makes its five-tuple, and looks up and updates one entry of a hash
/// table; a flow is a five-tuple here, for as long as the captures go.
///
/// # Errors
/// As [`l1`].
pub fn l2(captures: &[String]) -> Result<Seen, Unmeasured> {
    let mut seen = Seen::default();
    let mut flows: HashMap<Key, Counted, RandomState> = HashMap::default();
    each_packet(captures, |link, time, packet| {
        seen.packets += 1;
        seen.bytes += packet.len() as u64;
        let Some((key, back)) = tuple::of(link, packet) else { return };
        if flows.len() >= FLOWS && !flows.contains_key(&key) {
            return;
        }
        let counted = flows.entry(key).or_insert([0, 0, 0, 0, time, time]);
        counted[usize::from(back)] += 1;
        counted[2 + usize::from(back)] += packet.len() as u64;
        counted[5] = time;
    })?;
    seen.flows = flows.len() as u64;
    Ok(seen)
}

fn each_packet(captures: &[String], mut packet: impl FnMut(u16, u64, &[u8])) -> Result<(), Unmeasured> {
    for path in captures {
        let map = File::open(path)
            .and_then(|file| map(&file))
            .map_err(|error| Unmeasured::Unmapped(path.clone(), error))?;
        walk::each_packet(&map, &mut packet).map_err(|Foreign| Unmeasured::Foreign(path.clone()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{self, Event};

    /// Every capture of the repository that is not compressed: pcap in both byte orders, pcapng, cut files.
    fn captures() -> Vec<String> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/captures");
        let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let is_plain = |path: &String| path.ends_with(".pcap") || path.ends_with(".pcapng");
        let mut captures: Vec<String> =
            paths.map(|path| path.to_str().unwrap().to_owned()).filter(is_plain).collect();
        captures.sort();
        captures
    }

    #[test]
    fn they_find_the_packets_that_the_audit_reads() {
        for path in captures() {
            let mut read = Seen::default();
            let mut source = capture::open(&path).unwrap();
            while let Ok(Some(event)) = source.next_event() {
                if let Event::Packet(packet) = event {
                    read.packets += 1;
                    read.bytes += packet.bytes.len() as u64;
                }
            }
            let captures = [path];
            assert_eq!(l1(&captures).unwrap(), read, "{captures:?}");
            let counted = l2(&captures).unwrap();
            assert_eq!(Seen { flows: 0, ..counted }, read, "{captures:?}");
            assert!(counted.flows > 0, "{captures:?}");
        }
    }

    #[test]
    fn several_captures_are_counted_together() {
        let captures = captures();
        let apart: u64 = captures.iter().map(|path| l2(std::slice::from_ref(path)).unwrap().packets).sum();
        assert_eq!(l2(&captures).unwrap().packets, apart);
        let twice = [captures[0].clone(), captures[0].clone()];
        assert_eq!(l2(&twice).unwrap().flows, l2(&twice[..1]).unwrap().flows);
    }

    #[test]
    fn what_is_no_plain_capture_is_named() {
        let gzip = concat!(env!("CARGO_MANIFEST_DIR"), "/captures/match_L7_nats.pcap.gz").to_owned();
        let error = l1(std::slice::from_ref(&gzip)).unwrap_err().to_string();
        assert!(error.starts_with(&gzip) && error.ends_with("decompress it first"), "{error}");
        assert!(
            l2(&["/nonexistent.pcap".to_owned()]).unwrap_err().to_string().starts_with("/nonexistent.pcap: ")
        );
    }
}
