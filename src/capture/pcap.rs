//! Classic pcap (draft-ietf-opsawg-pcap): a file header, then records of one link type.

use super::record::{Damage, Found, MAX_CAPTURED, Order, Record, words};
use super::{LinkType, Precision, Timestamp};

/// Length of the file header, in bytes.
pub(super) const FILE_HEADER: usize = 24;

/// What the file header says of the records after it.
#[derive(Debug)]
pub(super) struct Pcap {
    order: Order,
    /// Nanoseconds in one unit of the sub-second field.
    unit: i64,
    precision: Precision,
    link: LinkType,
    /// Length of a record's header, in bytes.
    header: u32,
    lengths: Lengths,
}

/// The order of a record's two lengths, which libpcap changed before version 2.4.
#[derive(Clone, Copy, Debug)]
enum Lengths {
    CapturedFirst,
    WireFirst,
    /// Version 2.3 was written both ways: the smaller one is the captured length.
    Either,
}

impl Pcap {
    /// Whether a file that starts with these four bytes is classic pcap.
    pub fn recognise(magic: [u8; 4]) -> bool {
        layout(magic).is_some()
    }

    /// Reads the file header (draft-ietf-opsawg-pcap section 4).
    pub fn open(file_header: &[u8; FILE_HEADER]) -> Result<Pcap, Damage> {
        let [m0, m1, m2, m3, rest @ ..] = *file_header;
        let [v0, v1, n0, n1, _, _, _, _, _, _, _, _, _, _, _, _, l0, l1, l2, l3] = rest;
        let Some((order, precision, header)) = layout([m0, m1, m2, m3]) else {
            return Err(Damage::new("the header does not start with a pcap magic number".to_owned()));
        };
        let (major, minor) = (order.u16([v0, v1]), order.u16([n0, n1]));
        if major != 2 {
            return Err(Damage {
                what: format!("pcap version {major}.{minor}, where only 2.x is known"),
                advice: "convert it with `editcap -F pcapng IN OUT`",
            });
        }
        Ok(Pcap {
            order,
            unit: match precision {
                Precision::Micro => 1_000,
                Precision::Nano => 1,
            },
            precision,
            // The high bits say how long the frame check sequence is.
            link: LinkType::from_code((order.u32([l0, l1, l2, l3]) & 0xffff) as u16),
            header,
            lengths: match minor {
                0..=2 => Lengths::WireFirst,
                3 => Lengths::Either,
                _ => Lengths::CapturedFirst,
            },
        })
    }

    /// Reads the record at the front of the window (draft-ietf-opsawg-pcap section 5).
    ///
    /// A sub-second field over its range carries over into the seconds, as it does in tcpdump. The
    /// snapshot length of the file header is not held against any record.
    #[inline]
    pub fn next(&self, window: &[u8]) -> Result<Found, Damage> {
        let Some(head) = window.first_chunk::<16>() else {
            return Ok(Found::Need(16));
        };
        let [seconds, fraction, first, second] = words(head, self.order);
        let (captured, wire_length) = match self.lengths {
            Lengths::CapturedFirst => (first, second),
            Lengths::WireFirst => (second, first),
            Lengths::Either => (first.min(second), first.max(second)),
        };
        if captured > MAX_CAPTURED {
            return Err(too_long(captured));
        }
        let size = self.header + captured;
        if window.len() < size as usize {
            return Ok(Found::Need(size as usize));
        }
        // Both factors are below 2^32: seconds end in 2106, well within an i64 of nanoseconds.
        let time = i64::from(seconds) * Timestamp::SECOND + i64::from(fraction) * self.unit;
        Ok(Found::Packet(Record {
            size,
            start: self.header,
            length: captured,
            time: Timestamp(time),
            precision: self.precision,
            link: self.link,
            wire_length,
        }))
    }
}

#[cold]
fn too_long(captured: u32) -> Damage {
    Damage::new(format!("the record claims {captured} captured bytes, more than {MAX_CAPTURED}"))
}

/// What a magic number says: byte order, time unit, length of a record's header.
fn layout(magic: [u8; 4]) -> Option<(Order, Precision, u32)> {
    const STANDARD: u32 = 16;
    // Alexey Kuznetsov's patched libpcap added interface index, protocol and packet type.
    const PATCHED: u32 = 24;
    let of = |magic: u32| match magic {
        0xa1b2_c3d4 => Some((Precision::Micro, STANDARD)),
        0xa1b2_3c4d => Some((Precision::Nano, STANDARD)),
        0xa1b2_cd34 => Some((Precision::Micro, PATCHED)),
        _ => None,
    };
    [Order::Little, Order::Big]
        .into_iter()
        .find_map(|order| of(order.u32(magic)).map(|(precision, header)| (order, precision, header)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A file header in either byte order.
    pub fn file_header(magic: u32, version: (u16, u16), network: u32, big: bool) -> Vec<u8> {
        let mut header = Vec::new();
        let put32 = |header: &mut Vec<u8>, value: u32| {
            header.extend(if big { value.to_be_bytes() } else { value.to_le_bytes() });
        };
        put32(&mut header, magic);
        for part in [version.0, version.1] {
            header.extend(if big { part.to_be_bytes() } else { part.to_le_bytes() });
        }
        for word in [0, 0, 65_535, network] {
            put32(&mut header, word);
        }
        header
    }

    /// A little-endian record.
    pub fn record(seconds: u32, fraction: u32, wire: u32, bytes: &[u8]) -> Vec<u8> {
        let mut record = Vec::new();
        for word in [seconds, fraction, bytes.len() as u32, wire] {
            record.extend(word.to_le_bytes());
        }
        record.extend(bytes);
        record
    }

    fn open(header: &[u8]) -> Result<Pcap, Damage> {
        Pcap::open(header.first_chunk().expect("24 bytes"))
    }

    fn packet(pcap: &Pcap, window: &[u8]) -> Record {
        match pcap.next(window) {
            Ok(Found::Packet(record)) => record,
            other => panic!("no packet: {other:?}"),
        }
    }

    #[test]
    fn microseconds_little_endian() {
        let pcap = open(&file_header(0xa1b2_c3d4, (2, 4), 1, false)).unwrap();
        let bytes = record(7, 500_000, 1514, b"abc");
        assert_eq!(
            packet(&pcap, &bytes),
            Record {
                size: 19,
                start: 16,
                length: 3,
                time: Timestamp(7_500_000_000),
                precision: Precision::Micro,
                link: LinkType::Ethernet,
                wire_length: 1514,
            }
        );
        assert_eq!(pcap.next(&bytes[..15]), Ok(Found::Need(16)));
        assert_eq!(pcap.next(&bytes[..18]), Ok(Found::Need(19)));
    }

    #[test]
    fn nanoseconds_big_endian_and_frame_check_bits() {
        let pcap = open(&file_header(0xa1b2_3c4d, (2, 4), 0x2400_0071, true)).unwrap();
        let mut bytes = Vec::new();
        for word in [1u32, 123_456_789, 2, 60] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend(b"xy");
        let record = packet(&pcap, &bytes);
        assert_eq!(record.time, Timestamp(1_123_456_789));
        assert_eq!(record.precision, Precision::Nano);
        assert_eq!(record.link, LinkType::LinuxCooked);
        assert_eq!((record.length, record.wire_length), (2, 60));
    }

    #[test]
    fn patched_records_have_longer_headers() {
        let pcap = open(&file_header(0xa1b2_cd34, (2, 4), 1, false)).unwrap();
        let mut bytes = record(1, 0, 4, b"");
        bytes[8] = 4;
        bytes.extend([9; 8]);
        bytes.extend(b"data");
        let record = packet(&pcap, &bytes);
        assert_eq!(&bytes[record.start as usize..][..record.length as usize], b"data");
        assert_eq!(record.size as usize, bytes.len());
        assert_eq!(pcap.next(&bytes[..20]), Ok(Found::Need(28)));
    }

    #[test]
    fn sub_seconds_over_range_carry_over() {
        let pcap = open(&file_header(0xa1b2_c3d4, (2, 4), 1, false)).unwrap();
        assert_eq!(packet(&pcap, &record(1, 2_500_000, 0, b"")).time, Timestamp(3_500_000_000));
        let last = packet(&pcap, &record(u32::MAX, u32::MAX, 0, b""));
        assert_eq!(last.time, Timestamp(4_294_967_295_000_000_000 + 4_294_967_295_000));
    }

    #[test]
    fn old_versions_swap_the_lengths() {
        let mut bytes = record(1, 0, 3, b"");
        bytes[8] = 90;
        bytes.extend(b"abc");
        for minor in [2, 3] {
            let pcap = open(&file_header(0xa1b2_c3d4, (2, minor), 1, false)).unwrap();
            let record = packet(&pcap, &bytes);
            assert_eq!((record.length, record.wire_length), (3, 90));
        }
    }

    #[test]
    fn absurd_length_and_unknown_version_are_damage() {
        let pcap = open(&file_header(0xa1b2_c3d4, (2, 4), 1, false)).unwrap();
        let mut bytes = record(1, 0, 3, b"abc");
        bytes[8..12].copy_from_slice(&(MAX_CAPTURED + 1).to_le_bytes());
        assert!(pcap.next(&bytes).unwrap_err().what.contains("1048577"));
        bytes[8..12].copy_from_slice(&MAX_CAPTURED.to_le_bytes());
        assert_eq!(pcap.next(&bytes), Ok(Found::Need(MAX_CAPTURED as usize + 16)));
        let error = open(&file_header(0xa1b2_c3d4, (7, 1), 1, false)).unwrap_err();
        assert!(error.what.contains("7.1"));
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_value_that_fits(
            header in any::<[u8; 20]>(),
            magic in prop::sample::select(vec![0xa1b2_c3d4u32, 0xa1b2_3c4d, 0xa1b2_cd34, 0]),
            big in any::<bool>(),
            bytes in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let mut all = [0; FILE_HEADER];
            all[..4].copy_from_slice(&if big { magic.to_be_bytes() } else { magic.to_le_bytes() });
            all[4..].copy_from_slice(&header);
            if let Ok(pcap) = Pcap::open(&all) {
                match pcap.next(&bytes) {
                    Ok(Found::Packet(r)) => {
                        prop_assert!(r.start + r.length == r.size && r.size as usize <= bytes.len());
                    }
                    Ok(Found::Need(n)) => prop_assert!(n > bytes.len()),
                    Ok(other) => prop_assert!(false, "{other:?}"),
                    Err(damage) => prop_assert!(!damage.what.is_empty()),
                }
            }
        }
    }
}
