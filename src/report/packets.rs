//! `--evidence`: the first packets of every reported flow as a small pcap file, for Wireshark.
//!
//! Until a flow is judged nobody knows whether it will be reported, so the first packets of all are held,
//! within caps: those of a flow from its first on, or none.

mod kept;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::capture::{Packet, PcapBuffer, Timestamp};
use crate::flow::First;
use crate::flow::community_id::COMMUNITY_ID_BYTES;
use crate::packet::{DatagramKey, Side, datagram};
use kept::{ENTRY, Fragment, Kept};

/// The most memory for packets of flows that may still be reported; beyond it the flows that began first are
/// let go.
const HELD: usize = 256 << 20;
/// The most files written in a run, which together stay below a gigabyte.
const FILES: u64 = 10_000;
/// The most fragments remembered of datagrams that are not whole yet.
const FRAGMENTS: usize = 64;

/// A folder that gets a pcap file for every reported flow.
///
/// A file is named by the flow's Community ID, with `_` for `:` and `/` and `-` for `+`, and its start, so that
/// flows that use the same ports one after the other have files of their own.
#[derive(Debug)]
pub struct PacketFolder {
    folder: PathBuf,
    /// The oldest come first.
    flows: BTreeMap<First, Kept>,
    held: usize,
    /// The flows that the packet at hand belongs to, and how many packets were put together to one with it.
    touched: Vec<(First, Side, u32)>,
    fragments: VecDeque<(DatagramKey, Fragment)>,
    /// Files of flows that go on.
    open: HashMap<First, PathBuf>,
    /// Files written.
    names: HashSet<PathBuf>,
    counted: PacketCounts,
    error: Option<String>,
    is_failing: bool,
}

/// What became of the packets of reported flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketCounts {
    /// Files written.
    pub files: u64,
    /// Flows without a file because packets took too much memory.
    pub held_cap: u64,
    /// Flows without a file because there were too many.
    pub file_cap: u64,
    /// Flows whose file could not be written.
    pub not_written: u64,
}

impl PacketFolder {
    /// Makes the folder, for its owner alone; says whether it was not there.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make(folder: &Path) -> Result<bool, String> {
        match DirBuilder::new().mode(0o700).create(folder) {
            Ok(()) => Ok(true),
            Err(_) if folder.is_dir() => Ok(false),
            Err(error) => Err(cannot_write(folder, &error)),
        }
    }

    /// Begins to keep packets for a folder that is there.
    ///
    /// # Errors
    /// Files cannot be written to it.
    pub fn open(folder: &Path) -> Result<PacketFolder, String> {
        let probe = folder.join(".flowaudit.part");
        let written = create(&probe).and_then(|_| fs::remove_file(&probe));
        written.map_err(|error| cannot_write(folder, &error))?;
        Ok(PacketFolder {
            folder: folder.to_owned(),
            flows: BTreeMap::new(),
            held: 0,
            touched: Vec::new(),
            fragments: VecDeque::new(),
            open: HashMap::new(),
            names: HashSet::new(),
            counted: PacketCounts::default(),
            error: None,
            is_failing: false,
        })
    }

    /// What was counted so far.
    pub fn counted(&self) -> PacketCounts {
        self.counted
    }

    /// Why files cannot be written; told once, and again only after one could be written.
    pub fn take_error(&mut self) -> Option<String> {
        self.error.take()
    }

    /// The packet at hand belongs to this flow; so many packets were put together to one with it.
    pub fn belongs(&mut self, flow: First, side: Side, packets: u32) {
        self.touched.push((flow, side, packets));
    }

    /// Takes the packet at hand, the audit's `ordinal`-th: keeps it if it is among the first of its flows.
    pub fn packet(&mut self, ordinal: u64, packet: &Packet<'_>) {
        if self.touched.is_empty() {
            self.remember_fragment(packet);
            return;
        }
        let mut touched = std::mem::take(&mut self.touched);
        let is_put_together = touched.iter().any(|(_, _, packets)| *packets > 1);
        let parts = if is_put_together { self.fragments_with(packet) } else { Vec::new() };
        for (flow, side, _) in touched.drain(..) {
            if flow.0 == ordinal && self.counted.files < FILES {
                self.flows.insert(flow, Kept::new(packet));
                self.held += ENTRY;
            }
            let Some(kept) = self.flows.get_mut(&flow) else { continue };
            let before = kept.memory();
            parts.iter().for_each(|part| kept.add(side, &part.lend()));
            kept.add(side, packet);
            self.held += kept.memory() - before;
        }
        self.touched = touched;
        while self.held > HELD
            && let Some((_, kept)) = self.flows.pop_first()
        {
            self.held -= kept.memory();
        }
    }

    fn remember_fragment(&mut self, packet: &Packet<'_>) {
        let Some(key) = datagram(packet) else { return };
        if self.fragments.len() == FRAGMENTS {
            self.fragments.pop_front();
        }
        self.fragments.push_back((key, Fragment::of(packet)));
    }

    /// The fragments that a packet, the last of them, makes whole.
    fn fragments_with(&mut self, packet: &Packet<'_>) -> Vec<Fragment> {
        let key = datagram(packet);
        let (parts, others) = self.fragments.drain(..).partition(|(of, _)| Some(*of) == key);
        self.fragments = others;
        VecDeque::into_iter(parts).map(|(_, part)| part).collect()
    }

    /// A flow was judged, which is over or goes on; if it is reported, with this Community ID and start, its
    /// file is written or brought up to date.
    pub fn judged(
        &mut self,
        flow: First,
        is_over: bool,
        reported: Option<([u8; COMMUNITY_ID_BYTES], Timestamp)>,
    ) {
        if let Some((id, start)) = reported {
            let lacking = self.write(flow, &id, start);
            if let (Some(count), true) = (lacking, is_over) {
                *count += 1;
            }
        }
        if is_over {
            self.open.remove(&flow);
            if let Some(kept) = self.flows.remove(&flow) {
                self.held -= kept.memory();
            }
        }
    }

    /// Writes what is not written yet of a flow; gives where to count it if there is no file then.
    fn write(&mut self, flow: First, id: &[u8], start: Timestamp) -> Option<&mut u64> {
        let path = self.open.get(&flow);
        if path.is_none() && self.counted.files >= FILES {
            return Some(&mut self.counted.file_cap);
        }
        let Some(kept) = self.flows.get_mut(&flow) else {
            return path.is_none().then_some(&mut self.counted.held_cap);
        };
        if !kept.has_more() {
            return None;
        }
        let is_new = path.is_none();
        let path = path.cloned().unwrap_or_else(|| free_name(&self.names, &self.folder, id, start));
        if let Err(error) = replace(&path, kept.packets()) {
            if !std::mem::replace(&mut self.is_failing, true) {
                self.error = Some(cannot_write(&path, &error));
            }
            return Some(&mut self.counted.not_written);
        }
        kept.is_written();
        self.is_failing = false;
        self.counted.files += u64::from(is_new);
        self.names.insert(path.clone());
        self.open.insert(flow, path);
        None
    }
}

/// A file that no other flow of this run has.
fn free_name(names: &HashSet<PathBuf>, folder: &Path, id: &[u8], start: Timestamp) -> PathBuf {
    let safe = |byte: &u8| match byte {
        b':' | b'/' => '_',
        b'+' => '-',
        other => char::from(*other),
    };
    let id: String = id.iter().map(safe).collect();
    let start = jiff::Timestamp::from_nanosecond(i128::from(start.0)).unwrap_or_default();
    let stem = format!("{id}_{}", start.strftime("%Y%m%dT%H%M%S%.fZ"));
    let numbers = std::iter::once(String::new()).chain((2..).map(|number: u64| format!("-{number}")));
    let mut paths = numbers.map(|number| folder.join(format!("{stem}{number}.pcap")));
    paths.find(|path| !names.contains(path)).unwrap_or_default()
}

/// Writes a file whole or not at all, for its owner alone.
fn replace(path: &Path, packets: &PcapBuffer) -> io::Result<()> {
    let part = path.with_extension("pcap.part");
    let written = create(&part)
        .and_then(|file| packets.write(BufWriter::new(file)))
        .and_then(|()| fs::rename(&part, path));
    // The error that came first is the one to tell.
    written.inspect_err(|_| drop(fs::remove_file(&part)))
}

/// What a killed run left is in nobody's way, and a link that someone put there is not followed.
fn create(part: &Path) -> io::Result<File> {
    match fs::remove_file(part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => OpenOptions::new().write(true).create_new(true).mode(0o600).open(part),
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> String {
    format!(
        "{}: cannot be written: {error}; name a folder for --evidence that has room and may be written to",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use super::kept::{BYTES, PACKETS};
    use super::*;
    use crate::capture::{self, LinkType, Precision, Source};
    use std::os::unix::fs::PermissionsExt;

    const ID: &[u8; COMMUNITY_ID_BYTES] = b"1:LQU9qZlK+B5F3KDmev6m5PMib/g=";
    const START: Timestamp = Timestamp(1_795_000_000_123_456_000);

    fn packet(number: u64, bytes: &[u8]) -> Packet<'_> {
        Packet {
            capture: 0,
            number,
            time: Timestamp(number as i64 * 1_000_000),
            precision: Precision::Micro,
            link: LinkType::Ethernet,
            wire_length: bytes.len() as u32,
            bytes,
        }
    }

    /// A folder that goes away with the test.
    struct Temporary(PathBuf);

    impl Temporary {
        fn new(name: &str) -> (Temporary, PacketFolder) {
            let folder = std::env::temp_dir().join(format!("flowaudit-{}-{name}", std::process::id()));
            assert!(PacketFolder::make(&folder).unwrap());
            let packets = PacketFolder::open(&folder).unwrap();
            (Temporary(folder), packets)
        }

        /// The files, by name, with the bytes of their packets.
        fn files(&self) -> BTreeMap<String, Vec<Vec<u8>>> {
            let file = |entry: io::Result<fs::DirEntry>| {
                let entry = entry.unwrap();
                let mut source = capture::open(entry.path().to_str().unwrap()).unwrap();
                let mut packets = Vec::new();
                while let Some(packet) = source.next_packet().unwrap() {
                    packets.push(packet.bytes.to_vec());
                }
                (entry.file_name().into_string().unwrap(), packets)
            };
            fs::read_dir(&self.0).unwrap().map(file).collect()
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    impl PacketFolder {
        fn take(&mut self, flow: First, side: Side, ordinal: u64, bytes: &[u8]) {
            self.belongs(flow, side, 1);
            self.packet(ordinal, &packet(ordinal, bytes));
        }
    }

    #[test]
    fn reported_flows_get_a_file_each_and_others_are_forgotten() {
        let (folder, mut packets) = Temporary::new("reported");
        packets.take((1, 0), Side::A, 1, b"first");
        packets.take((2, 0), Side::A, 2, b"another");
        packets.take((1, 0), Side::B, 3, b"answer");
        packets.take((4, 0), Side::B, 4, b"same ports, same start");
        packets.judged((2, 0), true, None);
        packets.judged((1, 0), true, Some((*ID, START)));
        packets.judged((4, 0), true, Some((*ID, START)));
        assert_eq!((packets.held, packets.flows.len(), packets.open.len()), (0, 0, 0));
        let name = "1_LQU9qZlK-B5F3KDmev6m5PMib_g=_20261118T110640.123456Z";
        let wanted = [
            (format!("{name}-2.pcap"), vec![b"same ports, same start".to_vec()]),
            (format!("{name}.pcap"), vec![b"first".to_vec(), b"answer".to_vec()]),
        ];
        assert_eq!(folder.files(), wanted.into());
        assert_eq!(packets.counted(), PacketCounts { files: 2, ..PacketCounts::default() });
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder.0), 0o700);
        assert_eq!(mode(&folder.0.join(format!("{name}.pcap"))), 0o600);
    }

    #[test]
    fn the_file_of_a_flow_that_goes_on_is_brought_up_to_date() {
        let (folder, mut packets) = Temporary::new("open");
        packets.take((1, 0), Side::A, 1, b"first");
        packets.judged((1, 0), false, Some((*ID, START)));
        let first = folder.files();
        packets.take((1, 0), Side::B, 2, b"second");
        // The start of a flow moves when an earlier packet comes later; its file stays.
        packets.judged((1, 0), true, Some((*ID, Timestamp(0))));
        let last = folder.files();
        assert_eq!((first.len(), last.len(), packets.counted().files), (1, 1, 1));
        assert_eq!(first.keys().collect::<Vec<_>>(), last.keys().collect::<Vec<_>>());
        assert_eq!(last.values().next().unwrap().len(), 2);
    }

    #[test]
    fn one_direction_leaves_room_for_the_other_and_nothing_comes_behind_what_was_left_out() {
        let (folder, mut packets) = Temporary::new("directions");
        let large = vec![7; 9000];
        for ordinal in 1..100 {
            packets.take((1, 0), Side::A, ordinal, &large);
        }
        packets.take((1, 0), Side::A, 100, b"would fit");
        for ordinal in 101..200 {
            packets.take((1, 0), Side::B, ordinal, b"small");
        }
        packets.judged((1, 0), true, Some((*ID, START)));
        let files = folder.files();
        let sizes = |length| files.values().flatten().filter(|bytes| bytes.len() == length).count();
        assert_eq!((sizes(9000), sizes(9), sizes(5)), (5, 0, PACKETS));
    }

    #[test]
    fn beyond_the_memory_cap_the_oldest_flow_is_let_go_for_good() {
        let (folder, mut packets) = Temporary::new("memory");
        let large = vec![7; BYTES - 16];
        let many = (HELD / BYTES) as u64 + 1;
        for ordinal in 1..=many {
            packets.take((ordinal, 0), Side::A, ordinal, &large);
            assert!(packets.held <= HELD);
        }
        assert_eq!(packets.held, packets.flows.values().map(Kept::memory).sum::<usize>());
        packets.take((1, 0), Side::B, many + 1, b"more of the first");
        packets.judged((1, 0), true, Some((*ID, START)));
        assert!(folder.files().is_empty());
        packets.judged((many, 0), true, Some((*ID, START)));
        assert_eq!(packets.counted(), PacketCounts { files: 1, held_cap: 1, ..PacketCounts::default() });
    }

    #[test]
    fn what_cannot_be_written_is_told_once_and_counted() {
        let (folder, mut packets) = Temporary::new("gone");
        for ordinal in 1..=3 {
            packets.take((ordinal, 0), Side::A, ordinal, b"x");
        }
        fs::remove_dir(&folder.0).unwrap();
        packets.judged((1, 0), true, Some((*ID, START)));
        let error = packets.take_error().unwrap();
        assert!(error.contains(".pcap: cannot be written: ") && error.lines().count() == 1, "{error}");
        packets.judged((2, 0), true, Some((*ID, START)));
        assert_eq!((packets.take_error(), packets.counted().not_written), (None, 2));
        PacketFolder::make(&folder.0).unwrap();
        packets.judged((3, 0), true, Some((*ID, START)));
        assert_eq!((folder.files().len(), packets.counted().files), (1, 1));
        packets.counted.files = FILES;
        packets.take((4, 0), Side::A, 4, b"x");
        packets.judged((4, 0), true, Some((*ID, START)));
        assert_eq!((folder.files().len(), packets.counted().file_cap, packets.held), (1, 1, 0));
    }
}
