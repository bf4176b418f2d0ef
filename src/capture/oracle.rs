//! Tests against another reader: the pcap-parser crate, over every capture that is at hand.

use std::fs;
use std::path::{Path, PathBuf};

use pcap_parser::pcap::{parse_pcap_frame, parse_pcap_frame_be, parse_pcap_header};
use pcap_parser::traits::PcapNGPacketBlock;
use pcap_parser::{Block, PcapBlockOwned, PcapNGSlice};

use super::*;

/// What both readers say of a packet; the other one has no time for simple packets.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    time: Option<i64>,
    link: LinkType,
    wire_length: u32,
    bytes: Vec<u8>,
}

/// All packets, and whether the capture was read to its end.
type Reading = (Vec<Seen>, Result<(), String>);

fn ours(mut source: FileSource) -> Reading {
    let mut packets = Vec::new();
    loop {
        match source.next_packet() {
            Ok(Some(packet)) => packets.push(Seen {
                time: Some(packet.time.0),
                link: packet.link,
                wire_length: packet.wire_length,
                bytes: packet.bytes.to_vec(),
            }),
            Ok(None) => return (packets, Ok(())),
            Err(error) => return (packets, Err(error.to_string())),
        }
    }
}

fn theirs(bytes: &[u8]) -> Option<Reading> {
    if bytes.starts_with(&pcapng::MAGIC) {
        return Some(theirs_pcapng(bytes));
    }
    let (mut rest, header) = parse_pcap_header(bytes).ok()?;
    // It reads neither the longer records of patched writers nor old versions' swapped lengths.
    if header.is_modified_format() || header.version_minor < 4 {
        return None;
    }
    let unit = if header.is_nanosecond_precision() { 1 } else { 1_000 };
    let link = LinkType::from_code((header.network.0 as u32 & 0xffff) as u16);
    let parse = if header.is_bigendian() { parse_pcap_frame_be } else { parse_pcap_frame };
    let mut packets = Vec::new();
    while !rest.is_empty() {
        match parse(rest) {
            Ok((after, packet)) => {
                rest = after;
                packets.push(Seen {
                    time: Some(
                        i64::from(packet.ts_sec) * Timestamp::SECOND + i64::from(packet.ts_usec) * unit,
                    ),
                    link,
                    wire_length: packet.origlen,
                    bytes: packet.data.to_vec(),
                });
            }
            Err(error) => return Some((packets, Err(short(&error)))),
        }
    }
    Some((packets, Ok(())))
}

fn short(error: &dyn std::fmt::Debug) -> String {
    format!("{error:?}").chars().take(80).collect()
}

fn theirs_pcapng(bytes: &[u8]) -> Reading {
    let mut packets = Vec::new();
    // Link type, ticks in a second, offset in seconds, snapshot length.
    let mut interfaces: Vec<(LinkType, Option<u64>, i64, u32)> = Vec::new();
    let slice = match PcapNGSlice::from_slice(bytes) {
        Ok(slice) => slice,
        Err(error) => return (packets, Err(short(&error))),
    };
    for block in slice {
        let block = match block {
            Ok(PcapBlockOwned::NG(block)) => block,
            Ok(_) => unreachable!("only pcapng blocks in pcapng"),
            Err(error) => return (packets, Err(short(&error))),
        };
        match block {
            Block::SectionHeader(_) => interfaces.clear(),
            Block::InterfaceDescription(interface) => interfaces.push((
                LinkType::from_code(interface.linktype.0 as u16),
                interface.ts_resolution(),
                interface.ts_offset(),
                interface.snaplen,
            )),
            Block::EnhancedPacket(packet) => {
                let Some((link, resolution, offset, _)) = interfaces.get(packet.if_id as usize) else {
                    return (packets, Err("unknown interface".to_owned()));
                };
                let ticks = u128::from(packet.ts_high) << 32 | u128::from(packet.ts_low);
                packets.push(Seen {
                    time: resolution.map(|resolution| {
                        let time = ticks * 1_000_000_000 / u128::from(resolution);
                        time as i64 + offset * Timestamp::SECOND
                    }),
                    link: *link,
                    wire_length: packet.origlen,
                    bytes: packet.packet_data().to_vec(),
                });
            }
            Block::SimplePacket(packet) => {
                let Some((link, .., snaplen)) = interfaces.first() else {
                    return (packets, Err("unknown interface".to_owned()));
                };
                let limit = if *snaplen == 0 { u32::MAX } else { *snaplen };
                let length = packet.origlen.min(limit) as usize;
                packets.push(Seen {
                    time: None,
                    link: *link,
                    wire_length: packet.origlen,
                    bytes: packet.data.get(..length).unwrap_or(packet.data).to_vec(),
                });
            }
            // It knows no obsolete packets, and reads unknown types in one byte order only.
            Block::Unknown(block) if matches!(block.block_type, 2 | 0x0200_0000) => {
                return (packets, Err("obsolete packet".to_owned()));
            }
            _ => {}
        }
    }
    (packets, Ok(()))
}

/// All files below a folder, in order; none if it is not there.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    let mut entries: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn both_readers_see_the_same() {
    let mut paths = Vec::new();
    for folder in ["../shared/captures", "../shared/corpus"] {
        let before = paths.len();
        files(Path::new(folder), &mut paths);
        if paths.len() == before {
            println!("skipped: no captures in {folder}");
        }
    }
    let (mut compared, mut packets, mut different) = (0, 0, Vec::new());
    for path in paths {
        let bytes = fs::read(&path).unwrap();
        let Ok(source) = open(path.to_str().unwrap()) else {
            continue;
        };
        let Some((theirs, their_end)) = theirs(&bytes) else {
            continue;
        };
        let (ours, our_end) = ours(source);
        compared += 1;
        packets += ours.len();
        let same = ours.iter().zip(&theirs).all(|(ours, theirs)| {
            let time = if theirs.time.is_some() { ours.time } else { None };
            (time, ours.link, ours.wire_length, &ours.bytes)
                == (theirs.time, theirs.link, theirs.wire_length, &theirs.bytes)
        });
        // It reads versions that do not exist; libpcap and Wireshark refuse them as well.
        let refused = our_end.as_ref().is_err_and(|error| error.contains("version"));
        let both_ended = our_end.is_ok() && their_end.is_ok();
        let stopped_early = ours.len() < theirs.len() && !refused;
        if !same || (both_ended && ours.len() != theirs.len()) || stopped_early {
            different.push(format!(
                "{}: {} packets, {our_end:?}; they: {}, {their_end:?}",
                path.display(),
                ours.len(),
                theirs.len()
            ));
        }
    }
    println!("{packets} packets of {compared} captures compared");
    assert!(different.is_empty(), "{}", different.join("\n"));
}
