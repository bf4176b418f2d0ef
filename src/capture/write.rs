//! Packets to classic pcap (draft-ietf-opsawg-pcap), little endian.

use std::io::{self, Write};

use super::{LinkType, Packet, Precision, Timestamp};

/// The first word of a file in microseconds, and of one in nanoseconds.
const MAGIC: [u32; 2] = [0xa1b2_c3d4, 0xa1b2_3c4d];
/// Major and minor version of the format.
const VERSION: u32 = 2 | 4 << 16;
/// A record's header: seconds, fraction, captured and original length.
const RECORD: usize = 16;
/// Larger than any packet written: libpcap's limit for network links.
const SNAPLEN: u32 = 262_144;

/// Packets that are to become a file of their own.
#[derive(Debug)]
pub struct PcapBuffer {
    link: LinkType,
    /// The finest of its packets.
    precision: Precision,
    /// Records as a file in nanoseconds has them.
    records: Vec<u8>,
}

impl PcapBuffer {
    /// An empty one: the format has one link type a file.
    pub fn new(link: LinkType) -> PcapBuffer {
        PcapBuffer { link, precision: Precision::Micro, records: Vec::new() }
    }

    /// The link type of its packets.
    pub fn link(&self) -> LinkType {
        self.link
    }

    /// Bytes that its records take in a file.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes that it takes in memory.
    pub fn memory(&self) -> usize {
        self.records.capacity()
    }

    /// Bytes that a packet takes in a file.
    pub fn size_of(packet: &Packet<'_>) -> usize {
        RECORD + packet.bytes.len()
    }

    /// Adds a packet of its link type. A time that the format cannot hold becomes the nearest that it can.
    pub fn push(&mut self, packet: &Packet<'_>) {
        self.precision = self.precision.max(packet.precision);
        let seconds = packet.time.0.div_euclid(Timestamp::SECOND).clamp(0, i64::from(u32::MAX));
        let nanoseconds = packet.time.0.rem_euclid(Timestamp::SECOND);
        let head = [seconds as u32, nanoseconds as u32, packet.bytes.len() as u32, packet.wire_length];
        self.records.extend_from_slice(head.map(u32::to_le_bytes).as_flattened());
        self.records.extend_from_slice(packet.bytes);
    }

    /// Writes the whole file, times with as many digits as they came with.
    ///
    /// # Errors
    /// Those of `output`.
    pub fn write(&self, mut output: impl Write) -> io::Result<()> {
        let is_nano = self.precision == Precision::Nano;
        let head = [MAGIC[usize::from(is_nano)], VERSION, 0, 0, SNAPLEN, u32::from(self.link.code())];
        output.write_all(head.map(u32::to_le_bytes).as_flattened())?;
        let mut rest = &self.records[..];
        while let Some((head, after)) = rest.split_first_chunk::<RECORD>() {
            let mut head = *head;
            let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
            let (fraction, length) = (word(4), word(8) as usize);
            if !is_nano {
                head[4..8].copy_from_slice(&(fraction / 1000).to_le_bytes());
            }
            let (bytes, next) = after.split_at(length);
            output.write_all(&head)?;
            output.write_all(bytes)?;
            rest = next;
        }
        output.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{FileSource, Source};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            code in prop_oneof![Just(0_u16), Just(1), Just(101), Just(113), Just(276), Just(105)],
            packets in prop::collection::vec(
                (0..i64::from(u32::MAX) * Timestamp::SECOND, any::<bool>(), 0_u32..2000, prop::collection::vec(any::<u8>(), 0..100)),
                1..20,
            ),
        ) {
            let link = LinkType::from_code(code);
            let packet = |number: usize| {
                let (time, is_nano, cut, bytes) = &packets[number];
                let (unit, precision) = if *is_nano { (1, Precision::Nano) } else { (1000, Precision::Micro) };
                let wire_length = bytes.len() as u32 + cut;
                Packet { capture: 0, number: 1 + number as u64, time: Timestamp(time / unit * unit), precision, link, wire_length, bytes }
            };
            let mut buffer = PcapBuffer::new(link);
            (0..packets.len()).for_each(|number| buffer.push(&packet(number)));
            let finest = (0..packets.len()).map(|number| packet(number).precision).max();
            let mut file = Vec::new();
            buffer.write(&mut file).unwrap();
            let mut source = FileSource::read("memory", std::io::Cursor::new(file)).unwrap();
            for number in 0..packets.len() {
                let (wanted, read) = (packet(number), source.next_packet().unwrap().unwrap());
                prop_assert_eq!((read.time, read.link, read.wire_length), (wanted.time, link, wanted.wire_length));
                prop_assert_eq!((read.bytes, Some(read.precision)), (wanted.bytes, finest));
            }
            prop_assert!(source.next_packet().unwrap().is_none());
        }
    }

    #[test]
    fn times_out_of_reach_become_the_nearest() {
        for (time, seconds) in [(-5, 0_u32), (i64::MAX, u32::MAX)] {
            let mut buffer = PcapBuffer::new(LinkType::Ethernet);
            buffer.push(&Packet {
                capture: 0,
                number: 1,
                time: Timestamp(time),
                precision: Precision::Nano,
                link: LinkType::Ethernet,
                wire_length: 1,
                bytes: &[1],
            });
            assert_eq!(buffer.records[..4], seconds.to_le_bytes());
        }
    }
}
