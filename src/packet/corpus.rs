//! Every capture of the corpus through the decoder, where there is a corpus.

use super::{Decoded, Decoder, plain};
use crate::capture::{LinkType, Packet, Precision, Timestamp};
use pcap_parser::{Block, PcapBlockOwned, PcapError, create_reader};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

#[test]
fn every_packet_is_in_one_place() {
    let mut distribution: BTreeMap<String, u64> = BTreeMap::new();
    let (mut captures, mut packets) = (0u64, 0u64);
    for directory in ["../shared/corpus", "../shared/captures"].map(Path::new) {
        if !directory.is_dir() {
            println!("skipped: no {}", directory.display());
            continue;
        }
        for path in files_under(directory) {
            let mut decoder = Decoder::new();
            let (mut read, mut counted) = (0u64, 0u64);
            for_each_packet(&path, |packet| {
                read += 1;
                let wire_length = packet.wire_length.max(packet.bytes.len() as u32);
                if let Some(short) = plain::segment(packet, wire_length) {
                    let mut long = Decoder::new();
                    let long = long.decode_any(packet, packet.bytes.len() as u32, wire_length);
                    assert!(
                        matches!(long, Decoded::Segment(long) if long == short),
                        "{} packet {}: {short:?} and {long:?}",
                        path.display(),
                        packet.number
                    );
                }
                let (name, of_packets) = match decoder.decode(packet) {
                    Decoded::Segment(segment) => {
                        let place = format!("{} packet {}", path.display(), packet.number);
                        assert!(segment.payload.len() <= segment.head.payload_length as usize, "{place}");
                        assert!(segment.head.wire_bytes >= segment.payload.len() as u64, "{place}");
                        let cut = if segment.payload.len() < segment.head.payload_length as usize {
                            ", cut"
                        } else {
                            ""
                        };
                        let joined = if segment.head.packets > 1 { ", joined" } else { "" };
                        (
                            format!("protocol {}{cut}{joined}", segment.head.transport.0),
                            u64::from(segment.head.packets),
                        )
                    }
                    Decoded::Held => ("held".to_owned(), 0),
                    Decoded::Uncounted(reason) => (format!("{reason:?}"), 1),
                };
                counted += of_packets;
                *distribution.entry(name).or_default() += 1;
            });
            counted += decoder.finish();
            let given_up = decoder.take_given_up();
            counted += given_up.incomplete + given_up.malformed + given_up.truncated;
            assert_eq!(read, counted, "{}", path.display());
            assert_eq!(decoder.held(), 0);
            captures += u64::from(read > 0);
            packets += read;
        }
    }
    println!("{packets} packets of {captures} captures: {distribution:#?}");
}

fn files_under(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() { directories.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

/// Reads as far as pcap-parser can; a file that is no capture has no packets.
fn for_each_packet(path: &Path, mut visit: impl FnMut(&Packet<'_>)) {
    let mut file: Box<dyn Read + Send> = Box::new(File::open(path).unwrap());
    if path.extension().is_some_and(|it| it == "gz") {
        file = Box::new(flate2::read::MultiGzDecoder::new(file));
    }
    let Ok(mut reader) = create_reader(1 << 20, file) else { return };
    let mut links: Vec<LinkType> = Vec::new();
    let mut number = 0;
    let mut visit = |link, time, original, bytes: &[u8]| {
        number += 1;
        let packet = Packet {
            capture: 0,
            number,
            time,
            precision: Precision::Micro,
            link,
            wire_length: original,
            bytes,
        };
        visit(&packet);
    };
    let no_link = LinkType::Other(u16::MAX);
    loop {
        match reader.next() {
            Ok((used, block)) => {
                match block {
                    PcapBlockOwned::LegacyHeader(header) => links = vec![link_type(header.network.0)],
                    PcapBlockOwned::Legacy(record) => {
                        let time = i64::from(record.ts_sec) * Timestamp::SECOND;
                        let link = links.first().copied().unwrap_or(no_link);
                        visit(link, Timestamp(time), record.origlen, record.data);
                    }
                    PcapBlockOwned::NG(Block::SectionHeader(_)) => links.clear(),
                    PcapBlockOwned::NG(Block::InterfaceDescription(it)) => {
                        links.push(link_type(it.linktype.0))
                    }
                    PcapBlockOwned::NG(Block::EnhancedPacket(it)) => {
                        let units = i64::from(it.ts_high) << 32 | i64::from(it.ts_low);
                        let link = links.get(it.if_id as usize).copied().unwrap_or(no_link);
                        let bytes = it.data.get(..it.caplen as usize).unwrap_or(it.data);
                        visit(link, Timestamp(units.saturating_mul(1000)), it.origlen, bytes);
                    }
                    PcapBlockOwned::NG(Block::SimplePacket(it)) => {
                        let link = links.first().copied().unwrap_or(no_link);
                        let bytes = it.data.get(..it.origlen as usize).unwrap_or(it.data);
                        visit(link, Timestamp(0), it.origlen, bytes);
                    }
                    PcapBlockOwned::NG(_) => {}
                }
                reader.consume(used);
            }
            Err(error) => {
                let cut = matches!(error, PcapError::Incomplete(_));
                if !cut || reader.refill().is_err() || reader.reader_exhausted() {
                    return;
                }
            }
        }
    }
}

fn link_type(number: i32) -> LinkType {
    match number {
        1 => LinkType::Ethernet,
        12 | 14 | 101 | 228 | 229 => LinkType::RawIp,
        113 => LinkType::LinuxCooked,
        276 => LinkType::LinuxCooked2,
        0 | 108 => LinkType::Loopback,
        other => LinkType::Other(u16::try_from(other).unwrap_or(u16::MAX)),
    }
}
