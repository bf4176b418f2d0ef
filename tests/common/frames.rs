//! Captures in memory: read, changed segment by segment, and audited by the library.
#![allow(dead_code, reason = "every test binary compiles this file and uses a part of it")]

use std::collections::BTreeMap;

use flowaudit::audit::{Audit, Plan};
use flowaudit::capture::{Event, LinkType, Packet, Precision, Timestamp, open};
use flowaudit::inventory::Inventory;
use flowaudit::policy::{Options, Policy, Table};

/// One frame of a capture.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Nanoseconds since the epoch.
    pub time: i64,
    pub link: LinkType,
    pub bytes: Vec<u8>,
}

/// Where the parts of an Ethernet, IPv4 and TCP frame are.
#[derive(Clone, Copy, Debug)]
pub struct Tcp {
    header: usize,
    payload: usize,
    end: usize,
}

/// One row of a report, by column.
pub type Row = BTreeMap<String, String>;

/// Offset of the IPv4 header behind Ethernet.
const IP: usize = 14;
const FIN: u8 = 1;
const PSH: u8 = 8;

/// Reads a capture.
pub fn read(path: &std::path::Path) -> Vec<Frame> {
    let mut source = open(path.to_str().expect("UTF-8")).unwrap_or_else(|error| panic!("{error}"));
    let mut frames = Vec::new();
    while let Some(event) = source.next_event().unwrap_or_else(|error| panic!("{error}")) {
        if let Event::Packet(packet) = event {
            frames.push(Frame { time: packet.time.0, link: packet.link, bytes: packet.bytes.to_vec() });
        }
    }
    frames
}

/// The built-in tables without an inventory.
pub fn plan() -> Plan {
    let (inventory, names) = Inventory::read([""; 0]).expect("nothing to read");
    let policy = Policy::new(Table::built_in().expect("they parse"), inventory, names, Options::default());
    Plan {
        deviations: policy.with_tables(Table::shipped_overlays().expect("they parse")),
        learn: true,
        ..Plan::new(policy)
    }
}

/// Audits frames and reads the report.
pub fn audit(plan: &Plan, frames: &[Frame]) -> Vec<Row> {
    let mut report = Vec::new();
    let mut audit = Audit::new(plan, vec!["memory".to_owned()], None, Some(&mut report)).expect("it writes");
    for (number, frame) in (1..).zip(frames) {
        let packet = Packet {
            capture: 0,
            number,
            time: Timestamp(frame.time),
            precision: Precision::Micro,
            link: frame.link,
            wire_length: u32::try_from(frame.bytes.len()).expect("small"),
            bytes: &frame.bytes,
        };
        audit.packet(&packet).expect("there is no filter");
    }
    assert!(audit.finish().write_error.is_none());
    csv::Reader::from_reader(&report[..]).deserialize().map(|row| row.expect("a row of the report")).collect()
}

impl Frame {
    /// Where its TCP header and payload are, if it is TCP over IPv4 over Ethernet.
    pub fn tcp(&self) -> Option<Tcp> {
        let bytes = &self.bytes;
        if self.link != LinkType::Ethernet || bytes.get(12..14)? != [8, 0] || *bytes.get(IP + 9)? != 6 {
            return None;
        }
        let end = IP + usize::from(u16::from_be_bytes([bytes[IP + 2], bytes[IP + 3]]));
        let header = IP + usize::from(bytes[IP] & 15) * 4;
        let payload = header + usize::from(*bytes.get(header + 12)? >> 4) * 4;
        (payload <= end && end <= bytes.len()).then_some(Tcp { header, payload, end })
    }

    /// Source and destination port.
    pub fn ports(&self) -> Option<[u16; 2]> {
        let at = self.tcp()?.header;
        let port = |at: usize| u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]]);
        Some([port(at), port(at + 2)])
    }

    /// The same frame between other ports.
    pub fn with_ports(&self, ports: [u16; 2]) -> Frame {
        let mut frame = self.clone();
        let at = self.tcp().expect("TCP").header;
        frame.bytes[at..at + 2].copy_from_slice(&ports[0].to_be_bytes());
        frame.bytes[at + 2..at + 4].copy_from_slice(&ports[1].to_be_bytes());
        frame
    }

    /// Whether it carries payload.
    pub fn has_payload(&self) -> bool {
        self.tcp().is_some_and(|tcp| tcp.end > tcp.payload)
    }

    /// Whether it closes or resets.
    pub fn closes(&self) -> bool {
        self.tcp().is_some_and(|tcp| self.bytes[tcp.header + 13] & 5 != 0)
    }

    /// The same segment as two, the first with `share` of the payload in 256ths; itself if it is too short.
    pub fn split(&self, share: u8) -> Vec<Frame> {
        let Some(tcp) = self.tcp().filter(|tcp| tcp.end - tcp.payload > 1) else { return vec![self.clone()] };
        let length = tcp.end - tcp.payload;
        let first = (length * usize::from(share) / 256).clamp(1, length - 1);
        let part = |from: usize, to: usize| {
            let mut bytes = self.bytes[..tcp.payload].to_vec();
            bytes.extend(&self.bytes[tcp.payload + from..tcp.payload + to]);
            let total = u16::try_from(bytes.len() - IP).expect("it was longer");
            bytes[IP + 2..IP + 4].copy_from_slice(&total.to_be_bytes());
            let at = tcp.header + 4;
            let sequence = u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            let moved = sequence.wrapping_add(u32::try_from(from).expect("small"));
            bytes[at..at + 4].copy_from_slice(&moved.to_be_bytes());
            Frame { bytes, ..self.clone() }
        };
        let (mut head, tail) = (part(0, first), part(first, length));
        head.bytes[tcp.header + 13] &= !(FIN | PSH);
        vec![head, tail]
    }
}

/// Numbers that look random and are the same in every run (SplitMix64).
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of so many.
    pub fn below(&mut self, count: usize) -> usize {
        let count = u64::try_from(count).expect("small");
        usize::try_from(self.roll() % count).expect("below a usize")
    }
}
