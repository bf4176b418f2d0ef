//! Packet decoding: every link type, VLAN tags, fragments, tunnels.

use flowaudit::capture::{LinkType, Packet, Precision, Timestamp};
use flowaudit::packet::{Decoded, Decoder, Encapsulation, Inside, Segment, inside};

/// Link types by their code in a list of packets.
pub const LINKS: [LinkType; 6] = [
    LinkType::Ethernet,
    LinkType::RawIp,
    LinkType::LinuxCooked,
    LinkType::LinuxCooked2,
    LinkType::Loopback,
    LinkType::Other(147),
];

/// The most packets of one list.
const PACKETS: usize = 4096;

/// Every packet is in a segment, held, or counted, and a segment lends no more than its packet has.
///
/// The bytes are a list of packets: link type, seconds since the one before, bytes that the capture cut, and the
/// length in two bytes in network order, each followed by as many bytes.
pub fn decode(bytes: &[u8]) {
    let mut decoder = Decoder::new();
    let (mut read, mut counted, mut time) = (0u64, 0u64, 0i64);
    for (number, (link, later, cut, frame)) in (1..).zip(packets(bytes)) {
        time += i64::from(later as i8) * Timestamp::SECOND;
        let packet = Packet {
            capture: 0,
            number,
            time: Timestamp(time),
            precision: Precision::Micro,
            link,
            wire_length: u32::try_from(frame.len()).expect("short") + u32::from(cut),
            bytes: frame,
        };
        read += 1;
        match decoder.decode(&packet) {
            Decoded::Segment(segment) => {
                assert!(segment.head.packets >= 1);
                counted += u64::from(segment.head.packets);
                holds(&segment);
                if segment.head.packets == 1 {
                    assert!(segment.payload.len() <= frame.len());
                }
                tunnels(segment);
            }
            Decoded::Held => {}
            Decoded::Uncounted(_) => counted += 1,
        }
    }
    let held = decoder.held();
    let incomplete = decoder.finish();
    assert_eq!(held, incomplete);
    let given_up = decoder.take_given_up();
    counted += incomplete + given_up.incomplete + given_up.malformed + given_up.truncated;
    assert_eq!(read, counted, "packets read, and packets accounted for");
}

/// The packets of a list.
fn packets(mut bytes: &[u8]) -> impl Iterator<Item = (LinkType, u8, u8, &[u8])> {
    std::iter::from_fn(move || {
        let (&[link, later, cut, high, low], rest) = bytes.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (frame, rest) = rest.split_at(length.min(rest.len()));
        bytes = rest;
        Some((LINKS[usize::from(link) % LINKS.len()], later, cut, frame))
    })
    .take(PACKETS)
}

fn holds(segment: &Segment<'_>) {
    let captured = u32::try_from(segment.payload.len()).expect("a datagram is short");
    assert!(captured <= segment.head.payload_length, "{captured} of {}", segment.head.payload_length);
    assert!(usize::from(segment.head.encapsulation.tags()) <= Encapsulation::MAX_TAGS);
    assert!(usize::from(segment.head.encapsulation.depth()) <= Encapsulation::MAX_TUNNELS);
    let layers =
        usize::from(segment.head.encapsulation.tags()) + usize::from(segment.head.encapsulation.depth());
    assert_eq!(segment.head.encapsulation.layers().count(), layers);
}

fn tunnels(mut outer: Segment<'_>) {
    while let Some(Inside::Segment(inner)) = inside(&outer) {
        assert!(inner.head.encapsulation.depth() == outer.head.encapsulation.depth() + 1);
        assert!(inner.payload.len() < outer.payload.len());
        holds(&inner);
        outer = inner;
    }
}
