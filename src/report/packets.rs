//! A pcap of what was reported: the first packets of every reported flow, for Wireshark.
//!
//! Until a flow is judged nobody knows whether it will be reported, so the first packets of every open
//! flow are kept, within caps; what is allowed is forgotten.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::capture::{LinkType, Packet, Timestamp};
use crate::flow::First;
use crate::packet::Side;

/// The most packets kept of one direction of a flow: a handshake with chains of certificates takes fewer.
const PACKETS: usize = 32;
/// The most bytes kept of one direction of a flow.
const BYTES: usize = 48 * 1024;
/// The most bytes kept of all flows that are not judged yet.
const HELD: usize = 256 << 20;
/// The most files written.
const FILES: u64 = 10_000;

/// A folder that gets a small pcap file for every reported flow.
///
/// A file is named by the flow's Community ID: `1:` left out, `/` as `_` and `+` as `-`, as the URL-safe
/// base64 of RFC 4648 section 5 has them, and `-2`, `-3` behind it for further flows of the same ports.
#[derive(Debug)]
pub struct PacketFolder {
    folder: PathBuf,
    flows: HashMap<First, Kept>,
    held: usize,
    names: HashMap<String, u32>,
    counted: PacketCounts,
}

/// What became of the packets of reported flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketCounts {
    /// Files written.
    pub written: u64,
    /// Flows of which packets were left out because all flows together kept too many bytes.
    pub cut: u64,
    /// Reported flows without a file, because there were too many already.
    pub refused: u64,
}

/// The first packets of one flow.
#[derive(Debug)]
struct Kept {
    link: LinkType,
    snaplen: u32,
    /// Packets kept of each side, and their bytes.
    sides: [(usize, usize); 2],
    /// Records as they will stand in the file.
    records: Vec<u8>,
    cut: bool,
}

impl PacketFolder {
    /// Makes the folder if it is not there.
    pub fn open(folder: &Path) -> io::Result<PacketFolder> {
        fs::create_dir_all(folder)?;
        Ok(PacketFolder {
            folder: folder.to_owned(),
            flows: HashMap::new(),
            held: 0,
            names: HashMap::new(),
            counted: PacketCounts::default(),
        })
    }

    /// What was counted so far.
    pub fn counted(&self) -> PacketCounts {
        self.counted
    }

    /// Keeps a packet of a flow if it is one of the first.
    pub fn packet(&mut self, flow: First, side: Side, packet: &Packet<'_>) {
        let kept = self.flows.entry(flow).or_insert_with(|| Kept {
            link: packet.link,
            snaplen: 0,
            sides: [(0, 0); 2],
            records: Vec::new(),
            cut: false,
        });
        let (packets, bytes) = &mut kept.sides[side.index()];
        let record = RECORD + packet.bytes.len();
        if *packets >= PACKETS || *bytes + record > BYTES || kept.link != packet.link {
            return;
        }
        if self.held + record > HELD {
            self.counted.cut += u64::from(!std::mem::replace(&mut kept.cut, true));
            return;
        }
        *packets += 1;
        *bytes += record;
        self.held += record;
        kept.snaplen = kept.snaplen.max(packet.bytes.len() as u32);
        write_record(&mut kept.records, packet);
    }

    /// A flow was judged and needs nothing more.
    pub fn forget(&mut self, flow: First) {
        if let Some(kept) = self.flows.remove(&flow) {
            self.held -= kept.records.len();
        }
    }

    /// A flow was judged and is reported: writes its file.
    ///
    /// # Errors
    /// The file cannot be written; what was written of it is removed.
    pub fn write(&mut self, flow: First, community_id: &str) -> io::Result<()> {
        let Some(kept) = self.flows.remove(&flow) else { return Ok(()) };
        self.held -= kept.records.len();
        if self.counted.written >= FILES {
            self.counted.refused += 1;
            return Ok(());
        }
        let name = self.name(community_id);
        let path = self.folder.join(name);
        let part = path.with_extension("pcap.part");
        let written = kept.write(&part).and_then(|()| fs::rename(&part, &path));
        match written {
            Ok(()) => self.counted.written += 1,
            // The error that came first is the one to tell.
            Err(_) => drop(fs::remove_file(&part)),
        }
        written
    }

    fn name(&mut self, community_id: &str) -> String {
        let id = community_id.strip_prefix("1:").unwrap_or(community_id).replace('/', "_").replace('+', "-");
        let id = id.trim_end_matches('=').to_owned();
        let count = self.names.entry(id.clone()).or_default();
        *count += 1;
        match *count {
            1 => format!("{id}.pcap"),
            again => format!("{id}-{again}.pcap"),
        }
    }
}

/// A record's header: seconds, nanoseconds, captured and original length.
const RECORD: usize = 16;
/// Classic pcap with nanoseconds (draft-ietf-opsawg-pcap section 4), little endian.
const MAGIC: u32 = 0xa1b2_3c4d;

impl Kept {
    fn write(&self, path: &Path) -> io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        let header = [MAGIC, 2 | 4 << 16, 0, 0, self.snaplen, u32::from(self.link.code())];
        file.write_all(header.map(u32::to_le_bytes).as_flattened())?;
        file.write_all(&self.records)?;
        file.flush()
    }
}

fn write_record(records: &mut Vec<u8>, packet: &Packet<'_>) {
    let seconds = packet.time.0.div_euclid(Timestamp::SECOND);
    let nanoseconds = packet.time.0.rem_euclid(Timestamp::SECOND);
    // Times that classic pcap cannot hold are clamped to those it can.
    let seconds = u32::try_from(seconds).unwrap_or(if seconds < 0 { 0 } else { u32::MAX });
    let head = [seconds, nanoseconds as u32, packet.bytes.len() as u32, packet.wire_length];
    records.extend_from_slice(head.map(u32::to_le_bytes).as_flattened());
    records.extend_from_slice(packet.bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{self, Precision, Source};

    fn packet(number: u64, bytes: &[u8]) -> Packet<'_> {
        Packet {
            capture: 0,
            number,
            time: Timestamp(number as i64 * 1_000_001),
            precision: Precision::Nano,
            link: LinkType::Ethernet,
            wire_length: bytes.len() as u32 + 5,
            bytes,
        }
    }

    /// A folder that goes away with the test.
    struct Temporary(PathBuf);

    impl Temporary {
        fn new(name: &str) -> Temporary {
            Temporary(std::env::temp_dir().join(format!("flowaudit-{}-{name}", std::process::id())))
        }

        fn packets(&self, name: &str) -> Vec<(i64, u32, Vec<u8>)> {
            let mut source = capture::open(self.0.join(name).to_str().unwrap()).unwrap();
            let mut packets = Vec::new();
            while let Some(packet) = source.next_packet().unwrap() {
                assert_eq!(packet.link, LinkType::Ethernet);
                packets.push((packet.time.0, packet.wire_length, packet.bytes.to_vec()));
            }
            packets
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn reported_flows_get_a_file_and_others_are_forgotten() {
        let folder = Temporary::new("reported");
        let mut packets = PacketFolder::open(&folder.0).unwrap();
        packets.packet((1, 0), Side::A, &packet(1, b"first"));
        packets.packet((2, 0), Side::A, &packet(2, b"another"));
        packets.packet((1, 0), Side::B, &packet(3, b"answer"));
        packets.forget((2, 0));
        packets.write((1, 0), "1:LQU9qZlK+B5F3KDmev6m5PMib/g=").unwrap();
        packets.write((2, 0), "1:AAA=").unwrap();
        assert_eq!((packets.held, packets.counted().written), (0, 1));
        let told = folder.packets("LQU9qZlK-B5F3KDmev6m5PMib_g.pcap");
        assert_eq!(told, [(1_000_001, 10, b"first".to_vec()), (3_000_003, 11, b"answer".to_vec())]);
        // The next flow of the same ports.
        packets.packet((9, 0), Side::A, &packet(9, b"again"));
        packets.write((9, 0), "1:LQU9qZlK+B5F3KDmev6m5PMib/g=").unwrap();
        assert_eq!(folder.packets("LQU9qZlK-B5F3KDmev6m5PMib_g-2.pcap").len(), 1);
    }

    #[test]
    fn one_direction_leaves_room_for_the_other() {
        let folder = Temporary::new("directions");
        let mut packets = PacketFolder::open(&folder.0).unwrap();
        let large = vec![7; 9000];
        for number in 1..100 {
            packets.packet((1, 0), Side::A, &packet(number, &large));
        }
        for number in 100..200 {
            packets.packet((1, 0), Side::B, &packet(number, b"small"));
        }
        packets.write((1, 0), "1:x=").unwrap();
        let told = folder.packets("x.pcap");
        let sizes = |length| told.iter().filter(|(_, _, bytes)| bytes.len() == length).count();
        assert_eq!((sizes(9000), sizes(5)), (5, PACKETS));
        packets.packet((2, 0), Side::A, &packet(1, b"x"));
        packets.held = HELD;
        packets.packet((2, 0), Side::A, &packet(2, b"y"));
        packets.packet((2, 0), Side::A, &packet(3, b"z"));
        assert_eq!(packets.counted().cut, 1);
    }
}
