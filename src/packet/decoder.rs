//! One packet in, one [`Decoded`] out.

use super::fragments::{Fragments, Key, Reassembled};
use super::ip::{Carried, Fragment, IpPacket, Part};
use super::link::Frame;
use super::{
    Decoded, Encapsulation, Endpoint, Ends, Head, Segment, Transport, Uncounted, ip, link, plain, transport,
};
use crate::capture::Packet;

/// Decodes packets, and keeps the fragments whose datagrams are not yet whole.
///
/// Every packet given to it ends up in exactly one place: in a [`Segment`] (which says how many it is
/// made of), in [`Decoded::Uncounted`], in [`Decoder::take_given_up`], or in [`Decoder::finish`].
#[derive(Debug)]
pub struct Decoder {
    fragments: Fragments,
    unreadable: GivenUp,
}

/// Packets that were [`Decoded::Held`] and then belonged to no flow after all, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GivenUp {
    /// [`Uncounted::FragmentIncomplete`]: the rest of the datagram did not come in 30 seconds.
    pub incomplete: u64,
    /// [`Uncounted::Malformed`]: the datagram became whole, and its header contradicts itself.
    pub malformed: u64,
    /// [`Uncounted::TruncatedBeforePorts`]: the datagram became whole, cut before its ports.
    pub truncated: u64,
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder::new()
    }
}

impl Decoder {
    /// A decoder that holds nothing.
    pub fn new() -> Decoder {
        Decoder { fragments: Fragments::new(), unreadable: GivenUp::default() }
    }

    /// Decodes the next packet of the audit; times may run backwards.
    ///
    /// A whole packet's segment borrows from the packet, a reassembled one's from the decoder. Only
    /// fragments allocate.
    pub fn decode<'a>(&'a mut self, packet: &Packet<'a>) -> Decoded<'a> {
        self.fragments.advance(packet.time);
        let (captured, wire_length) = lengths(packet);
        match plain::segment(packet, wire_length) {
            Some(segment) => Decoded::Segment(segment),
            None => self.decode_any(packet, captured, wire_length),
        }
    }

    /// As [`Decoder::decode`], for what most captures are made of; any other packet is yet to be decoded.
    #[inline(always)]
    pub fn plain<'a>(&mut self, packet: &Packet<'a>) -> Option<Segment<'a>> {
        self.fragments.advance(packet.time);
        plain::plainest(packet, lengths(packet).1)
    }

    /// Packets given up since this was last asked, to be counted by reason.
    pub fn take_given_up(&mut self) -> GivenUp {
        let unreadable = std::mem::take(&mut self.unreadable);
        GivenUp { incomplete: unreadable.incomplete + self.fragments.take_expired(), ..unreadable }
    }

    /// Ends the audit: gives up all datagrams in progress and returns how many packets were still held,
    /// to be counted as [`Uncounted::FragmentIncomplete`] besides [`Decoder::take_given_up`].
    pub fn finish(&mut self) -> u64 {
        self.fragments.clear()
    }

    /// Packets held at this moment.
    pub fn held(&self) -> u64 {
        self.fragments.held()
    }

    /// Fragments read so far that brought other bytes, or another end, than earlier ones of their
    /// datagram; the earlier ones were kept.
    pub fn fragment_conflicts(&self) -> u64 {
        self.fragments.conflicts()
    }

    /// The long way, for every kind of packet.
    #[inline(never)]
    pub(super) fn decode_any<'a>(
        &'a mut self,
        packet: &Packet<'a>,
        captured: u32,
        wire_length: u32,
    ) -> Decoded<'a> {
        match parse(packet, wire_length) {
            Ok((encapsulation, found)) => match found.part {
                Part::Whole(carried) => match transport::parse(carried) {
                    Ok(upper) => {
                        let packets = Packets { count: 1, wire_bytes: wire_length.into(), differing: false };
                        segment(encapsulation, &found, carried.protocol, upper, packets)
                    }
                    Err(reason) => Decoded::Uncounted(blame(reason, captured, wire_length)),
                },
                Part::Fragment(fragment) => {
                    let key = key(packet.capture, encapsulation, &found, &fragment);
                    self.decode_fragment(key, &found, &fragment, wire_length)
                }
            },
            Err(reason) => Decoded::Uncounted(blame(reason, captured, wire_length)),
        }
    }

    fn decode_fragment<'a>(
        &'a mut self,
        key: Key,
        found: &IpPacket<'a>,
        fragment: &Fragment<'_>,
        wire_length: u32,
    ) -> Decoded<'a> {
        let whole = match self.fragments.add(key, fragment, wire_length) {
            Ok(Some(whole)) => whole,
            Ok(None) => return Decoded::Held,
            Err(reason) => return Decoded::Uncounted(reason),
        };
        let read = ip::unwrap_reassembled(found.source.is_ipv6(), whole.carried)
            .and_then(|carried: Carried<'a>| Ok((carried.protocol, transport::parse(carried)?)));
        match read {
            Ok((protocol, upper)) => {
                let Reassembled { packets: count, wire_bytes, differing, .. } = whole;
                let packets = Packets { count, wire_bytes, differing };
                segment(key.encapsulation, found, protocol, upper, packets)
            }
            Err(reason) => {
                // This packet is answered for by what is returned; the ones before it are not yet.
                let before = u64::from(whole.packets.saturating_sub(1));
                match reason {
                    Uncounted::TruncatedBeforePorts => self.unreadable.truncated += before,
                    _ => self.unreadable.malformed += before,
                }
                Decoded::Uncounted(reason)
            }
        }
    }
}

/// How long a packet is as captured and on the wire; a record that lies about the latter is taken to be as
/// long as what it holds.
#[inline(always)]
fn lengths(packet: &Packet<'_>) -> (u32, u32) {
    let captured = u32::try_from(packet.bytes.len()).unwrap_or(u32::MAX);
    (captured, packet.wire_length.max(captured))
}

/// The datagram that a packet is a fragment of, if it is one.
pub fn datagram(packet: &Packet<'_>) -> Option<Key> {
    let (encapsulation, found) = parse(packet, lengths(packet).1).ok()?;
    match &found.part {
        Part::Fragment(fragment) => Some(key(packet.capture, encapsulation, &found, fragment)),
        Part::Whole(_) => None,
    }
}

fn key(capture: u16, encapsulation: Encapsulation, found: &IpPacket<'_>, fragment: &Fragment<'_>) -> Key {
    Key {
        capture,
        encapsulation,
        source: found.source,
        destination: found.destination,
        identification: fragment.identification,
        protocol: found.source.is_ipv4().then_some(fragment.carried.protocol),
    }
}

fn parse<'a>(packet: &Packet<'a>, wire_length: u32) -> Result<(Encapsulation, IpPacket<'a>), Uncounted> {
    let Frame { ip: bytes, encapsulation } = link::find_ip(packet.link, packet.bytes)?;
    let before_ip = packet.bytes.len().saturating_sub(bytes.len());
    let wire_length = wire_length.saturating_sub(u32::try_from(before_ip).unwrap_or(u32::MAX));
    Ok((encapsulation, ip::parse(bytes, wire_length)?))
}

/// Bytes that ran out in a packet captured whole were never there.
fn blame(reason: Uncounted, captured: u32, wire_length: u32) -> Uncounted {
    match reason {
        Uncounted::TruncatedBeforePorts if captured >= wire_length => Uncounted::Malformed,
        reason => reason,
    }
}

/// The packets a datagram came in.
struct Packets {
    count: u32,
    wire_bytes: u64,
    differing: bool,
}

fn segment<'a>(
    encapsulation: Encapsulation,
    found: &IpPacket<'_>,
    protocol: u8,
    upper: transport::Upper<'a>,
    packets: Packets,
) -> Decoded<'a> {
    let head = Head {
        ends: Ends::new(
            Endpoint { ip: found.source, port: upper.source_port },
            Endpoint { ip: found.destination, port: upper.destination_port },
        ),
        transport: Transport(protocol),
        tcp: upper.tcp,
        payload_length: upper.payload_length,
        packets: packets.count,
        differing: packets.differing,
        wire_bytes: packets.wire_bytes,
        encapsulation,
    };
    Decoded::Segment(Segment { head, payload: upper.payload })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{LinkType, Precision, Timestamp};
    use crate::packet::{Tcp, TcpFlags};
    use etherparse::{PacketBuilder, PacketBuilderStep, VlanId};
    use proptest::prelude::*;

    fn packet(bytes: &[u8]) -> Packet<'_> {
        Packet {
            capture: 0,
            number: 1,
            time: Timestamp(0),
            precision: Precision::Micro,
            link: LinkType::Ethernet,
            wire_length: bytes.len() as u32,
            bytes,
        }
    }

    fn ethernet() -> PacketBuilderStep<etherparse::Ethernet2Header> {
        PacketBuilder::ethernet2([2; 6], [4; 6])
    }

    fn tcp(payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let builder = ethernet().ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).tcp(1025, 443, 7, 512).syn().ack(9);
        builder.write(&mut bytes, payload).unwrap();
        bytes
    }

    fn decoded<'a>(decoder: &'a mut Decoder, packet: &Packet<'a>) -> Segment<'a> {
        match decoder.decode(packet) {
            Decoded::Segment(segment) => segment,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn tcp_over_ipv4() {
        let bytes = tcp(b"hello");
        let mut decoder = Decoder::new();
        let segment = decoded(&mut decoder, &packet(&bytes));
        assert_eq!(segment.head.ends.source(), Endpoint { ip: [10, 0, 0, 1].into(), port: 1025 });
        assert_eq!(segment.head.ends.destination(), Endpoint { ip: [10, 0, 0, 2].into(), port: 443 });
        assert_eq!(segment.head.transport, Transport::TCP);
        let header = Tcp { sequence: 7, acknowledgement: 9, flags: TcpFlags(0x12) };
        assert_eq!(segment.head.tcp, Some(header));
        assert_eq!((segment.payload, segment.head.payload_length), (&b"hello"[..], 5));
        assert_eq!((segment.head.packets, segment.head.wire_bytes), (1, 59));
    }

    #[test]
    fn udp_over_ipv6_in_two_tags() {
        let mut bytes = Vec::new();
        let tags = (VlanId::try_new(100).unwrap(), VlanId::try_new(4000).unwrap());
        let builder = ethernet().double_vlan(tags.0, tags.1).ipv6([1; 16], [2; 16], 9).udp(53, 5353);
        builder.write(&mut bytes, b"query").unwrap();
        let mut decoder = Decoder::new();
        let segment = decoded(&mut decoder, &packet(&bytes));
        assert_eq!((segment.head.ends.source().port, segment.head.ends.destination().port), (53, 5353));
        assert_eq!((segment.payload, segment.head.tcp), (&b"query"[..], None));
        assert_eq!(segment.head.encapsulation.vlans().collect::<Vec<_>>(), [100, 4000]);
    }

    #[test]
    fn padding_is_no_payload_and_a_cut_is_visible() {
        let mut decoder = Decoder::new();
        let mut padded = tcp(b"");
        padded.resize(60, 0xee);
        let segment = decoded(&mut decoder, &packet(&padded));
        assert_eq!(
            (segment.payload, segment.head.payload_length, segment.head.wire_bytes),
            (&b""[..], 0, 60)
        );

        let whole = tcp(&[7; 1000]);
        for cut in [48, 53, 54, 100] {
            let cut_packet = Packet { bytes: &whole[..cut], ..packet(&whole) };
            let segment = decoded(&mut decoder, &cut_packet);
            assert_eq!((segment.payload.len(), segment.head.payload_length), (cut.saturating_sub(54), 1000));
        }
        for cut in 0..48 {
            let cut_packet = Packet { bytes: &whole[..cut], ..packet(&whole) };
            let Decoded::Uncounted(reason) = decoder.decode(&cut_packet) else { panic!("{cut}") };
            assert_eq!(reason, Uncounted::TruncatedBeforePorts);
            // The same bytes captured whole never had the rest.
            let Decoded::Uncounted(reason) = decoder.decode(&packet(&whole[..cut])) else { panic!("{cut}") };
            assert_eq!(reason, Uncounted::Malformed);
        }
    }

    #[test]
    fn offloaded_segments_take_their_length_from_the_wire() {
        let mut bytes = tcp(b"hello");
        bytes[16..18].fill(0);
        let offloaded = Packet { wire_length: 70_000, ..packet(&bytes) };
        let mut decoder = Decoder::new();
        let segment = decoded(&mut decoder, &offloaded);
        assert_eq!((segment.payload, segment.head.payload_length), (&b"hello"[..], 70_000 - 54));
        let lying_record = Packet { wire_length: 1, ..packet(&bytes) };
        assert_eq!(decoded(&mut decoder, &lying_record).head.payload_length, 5);
    }

    #[test]
    fn an_echo_and_its_reply_are_one_flow() {
        let ends = |source, destination, reply| {
            let mut bytes = Vec::new();
            let ip = ethernet().ipv4(source, destination, 64);
            let icmp = if reply { ip.icmpv4_echo_reply(1, 2) } else { ip.icmpv4_echo_request(1, 2) };
            icmp.write(&mut bytes, b"ping").unwrap();
            let mut decoder = Decoder::new();
            let segment = decoded(&mut decoder, &packet(&bytes));
            assert_eq!((segment.head.transport, segment.payload), (Transport::ICMP, &b"ping"[..]));
            (segment.head.ends.source(), segment.head.ends.destination())
        };
        let (source, destination) = ends([10, 0, 0, 1], [10, 0, 0, 2], false);
        assert_eq!((source.port, destination.port), (8, 0));
        assert_eq!(ends([10, 0, 0, 2], [10, 0, 0, 1], true), (destination, source));
    }

    /// An IP packet's fragments of `size` units of eight bytes, each in a frame of its own.
    fn fragments_of(protocol: u8, body: &[u8], size: usize, is_v6: bool) -> Vec<Vec<u8>> {
        let chunks: Vec<&[u8]> = body.chunks(size * 8).collect();
        let frame = |(index, chunk): (usize, &&[u8])| {
            let units = (index * size) as u16;
            let more = index + 1 < chunks.len();
            let mut frame = vec![0; 12];
            if is_v6 {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                frame.extend((chunk.len() as u16 + 8).to_be_bytes());
                frame.extend([44, 64]);
                frame.extend([[1; 16], [2; 16]].concat());
                frame.extend([protocol, 0]);
                frame.extend((units << 3 | u16::from(more)).to_be_bytes());
                frame.extend([0, 0, 0, 9]);
            } else {
                frame.extend([8, 0, 0x45, 0]);
                frame.extend((chunk.len() as u16 + 20).to_be_bytes());
                frame.extend([0, 9]);
                frame.extend((units | if more { 0x2000 } else { 0 }).to_be_bytes());
                frame.extend([64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
            }
            frame.extend(*chunk);
            frame
        };
        chunks.iter().enumerate().map(frame).collect()
    }

    fn udp(payload: &[u8]) -> Vec<u8> {
        let mut body = vec![0, 53, 0, 54];
        body.extend((payload.len() as u16 + 8).to_be_bytes());
        body.extend([0, 0]);
        body.extend(payload);
        body
    }

    #[test]
    fn fragments_become_one_segment() {
        for is_v6 in [false, true] {
            let frames = fragments_of(17, &udp(&[5; 30]), 2, is_v6);
            let mut decoder = Decoder::new();
            let (last, first) = frames.split_last().unwrap();
            for frame in first {
                assert!(matches!(decoder.decode(&packet(frame)), Decoded::Held));
            }
            assert_eq!(decoder.held(), 2);
            let segment = decoded(&mut decoder, &packet(last));
            assert_eq!((segment.payload, segment.head.payload_length), (&[5; 30][..], 30));
            assert_eq!((segment.head.ends.source().port, segment.head.packets), (53, 3));
            assert_eq!(segment.head.wire_bytes, frames.iter().map(|it| it.len() as u64).sum::<u64>());
            assert_eq!((decoder.finish(), decoder.take_given_up()), (0, GivenUp::default()));
        }
    }

    #[test]
    fn fragments_with_other_tags_or_of_other_captures_do_not_mix() {
        let frames = fragments_of(17, &udp(&[5; 8]), 1, false);
        let mut decoder = Decoder::new();
        assert!(matches!(decoder.decode(&packet(&frames[0])), Decoded::Held));
        let other = Packet { capture: 1, ..packet(&frames[1]) };
        assert!(matches!(decoder.decode(&other), Decoded::Held));
        let tagged = [&frames[1][..12], &[0x81, 0, 0, 1], &frames[1][12..]].concat();
        assert!(matches!(decoder.decode(&packet(&tagged)), Decoded::Held));
        assert_eq!(decoder.finish(), 3);
    }

    #[test]
    fn packets_of_an_unreadable_datagram_are_counted_too() {
        // A TCP data offset that points behind the datagram.
        let mut body = vec![0; 24];
        body[12] = 0xf0;
        let frames = fragments_of(6, &body, 1, false);
        let mut decoder = Decoder::new();
        for frame in &frames[..2] {
            assert!(matches!(decoder.decode(&packet(frame)), Decoded::Held));
        }
        let last = decoder.decode(&packet(&frames[2]));
        assert!(matches!(last, Decoded::Uncounted(Uncounted::Malformed)));
        assert_eq!(decoder.take_given_up(), GivenUp { malformed: 2, ..GivenUp::default() });

        let frames = fragments_of(6, &[0; 24], 1, false);
        for frame in &frames[..2] {
            let cut = Packet { bytes: &frame[..36], ..packet(frame) };
            assert!(matches!(decoder.decode(&cut), Decoded::Held));
        }
        let last = decoder.decode(&packet(&frames[2]));
        assert!(matches!(last, Decoded::Uncounted(Uncounted::TruncatedBeforePorts)));
        assert_eq!(decoder.take_given_up(), GivenUp { truncated: 2, ..GivenUp::default() });
        assert_eq!(decoder.take_given_up(), GivenUp::default());
    }

    #[test]
    fn datagrams_never_made_whole_are_given_up() {
        let frames = fragments_of(17, &udp(&[5; 30]), 2, false);
        let mut decoder = Decoder::new();
        assert!(matches!(decoder.decode(&packet(&frames[0])), Decoded::Held));
        let other = tcp(b"");
        let later = Packet { time: Timestamp(31 * Timestamp::SECOND), ..packet(&other) };
        decoded(&mut decoder, &later);
        assert!(matches!(decoder.decode(&packet(&frames[1])), Decoded::Held));
        assert_eq!(decoder.take_given_up(), GivenUp { incomplete: 1, ..GivenUp::default() });
        assert_eq!((decoder.held(), decoder.finish(), decoder.held()), (1, 1, 0));
    }

    const LINKS: [LinkType; 6] = [
        LinkType::Ethernet,
        LinkType::RawIp,
        LinkType::LinuxCooked,
        LinkType::LinuxCooked2,
        LinkType::Loopback,
        LinkType::Other(9),
    ];

    /// A packet of every kind that the short way is for, and of some that it is not.
    fn frame_of_kind(kind: usize, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let v4 = || ethernet().ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
        let v6 = || ethernet().ipv6([1; 16], [2; 16], 9);
        let tagged = || ethernet().single_vlan(VlanId::try_new(100).unwrap());
        let options = [etherparse::TcpOptionElement::MaximumSegmentSize(1460)];
        match kind {
            0 => v4().tcp(1025, 443, 7, 512).write(&mut bytes, payload).unwrap(),
            1 => v4().udp(1025, 53).write(&mut bytes, payload).unwrap(),
            2 => v6().tcp(1025, 443, 7, 512).fin().write(&mut bytes, payload).unwrap(),
            3 => v6().udp(1025, 53).write(&mut bytes, payload).unwrap(),
            4 => tagged()
                .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
                .tcp(1025, 443, 7, 512)
                .options(&options)
                .unwrap()
                .write(&mut bytes, payload)
                .unwrap(),
            5 => tagged().ipv6([1; 16], [2; 16], 9).udp(1025, 53).write(&mut bytes, payload).unwrap(),
            6 => v4().icmpv4_echo_request(1, 2).write(&mut bytes, payload).unwrap(),
            _ => bytes = fragments_of(17, &udp(payload), 2, kind == 7).swap_remove(0),
        }
        bytes
    }

    #[test]
    fn plain_packets_take_the_short_way() {
        for kind in 0..9 {
            let bytes = frame_of_kind(kind, &[9; 40]);
            let packet = packet(&bytes);
            let answered = plain::segment(&packet, packet.wire_length).is_some();
            assert_eq!(answered, kind < 6, "kind {kind}");
            let is_plainest = plain::plainest(&packet, packet.wire_length).is_some();
            assert_eq!(is_plainest, kind < 2, "kind {kind}");
        }
    }

    proptest! {
        #[test]
        fn the_short_way_says_what_the_long_way_says(
            kind in 0usize..9,
            payload in proptest::collection::vec(any::<u8>(), 0..40),
            flips in proptest::collection::vec((0usize..64, any::<u8>()), 0..3),
            cut in prop_oneof![3 => Just(0usize), 1 => 0usize..80],
            extra in prop_oneof![Just(0u32), 0u32..200],
        ) {
            let mut bytes = frame_of_kind(kind, &payload);
            for (at, value) in flips {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            let wire_length = bytes.len() as u32 + extra;
            bytes.truncate(bytes.len().saturating_sub(cut));
            let packet = Packet { wire_length, ..packet(&bytes) };
            let short = plain::segment(&packet, wire_length);
            if let Some(shortest) = plain::plainest(&packet, wire_length) {
                prop_assert_eq!(Some(shortest), short);
            }
            if let Some(short) = short {
                let mut decoder = Decoder::new();
                match decoder.decode_any(&packet, bytes.len() as u32, wire_length) {
                    Decoded::Segment(long) => prop_assert_eq!(short, long),
                    other => prop_assert!(false, "{:?} and {:?}", short, other),
                }
            }
        }

        #[test]
        fn any_order_with_duplicates_gives_the_payload_back(
            payload in proptest::collection::vec(any::<u8>(), 9..1500),
            size in 1usize..32,
            is_v6 in any::<bool>(),
            picks in proptest::collection::vec(any::<prop::sample::Index>(), 1..100),
        ) {
            let frames = fragments_of(17, &udp(&payload), size, is_v6);
            let mut decoder = Decoder::new();
            let (mut read, mut given) = (0, 0);
            for frame in picks.iter().map(|it| it.get(&frames)).chain(&frames) {
                read += 1;
                if let Decoded::Segment(segment) = decoder.decode(&packet(frame)) {
                    prop_assert_eq!(segment.payload, &payload);
                    given += u64::from(segment.head.packets);
                }
            }
            prop_assert!(given >= frames.len() as u64);
            prop_assert_eq!(read, given + decoder.finish());
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_lose_no_packet(
            packets in proptest::collection::vec(
                (proptest::collection::vec(any::<u8>(), 0..120), 0u32..200, 0usize..6, any::<i64>(), any::<bool>()),
                0..20,
            ),
        ) {
            let mut decoder = Decoder::new();
            let mut counted = 0;
            for (bytes, wire_length, link, time, as_ip) in &packets {
                let mut bytes = bytes.clone();
                // Random EtherTypes and versions seldom are IP: help half of them on.
                if let (true, Some(at)) = (as_ip, bytes.get_mut(12..15)) {
                    at.copy_from_slice(&[8, 0, 0x45]);
                }
                let read = Packet {
                    time: Timestamp(*time), link: LINKS[*link], wire_length: *wire_length, ..packet(&bytes)
                };
                match decoder.decode(&read) {
                    Decoded::Segment(segment) => {
                        prop_assert!(segment.payload.len() <= segment.head.payload_length as usize);
                        prop_assert!(segment.payload.len() as u64 <= segment.head.wire_bytes);
                        counted += u64::from(segment.head.packets);
                    }
                    Decoded::Held => {}
                    Decoded::Uncounted(_) => counted += 1,
                }
            }
            counted += decoder.finish();
            let given_up = decoder.take_given_up();
            counted += given_up.incomplete + given_up.malformed + given_up.truncated;
            prop_assert_eq!(counted, packets.len() as u64);
        }

        #[test]
        fn flipped_bytes_of_real_packets_never_panic(
            flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            cut in 0usize..80,
            kind in 0usize..4,
        ) {
            let mut bytes = match kind {
                0 => tcp(&[1; 20]),
                1 => fragments_of(17, &udp(&[2; 40]), 2, true).swap_remove(0),
                2 => fragments_of(17, &udp(&[2; 40]), 2, false).swap_remove(1),
                _ => fragments_of(17, &udp(&[2; 4]), 9, true).swap_remove(0),
            };
            for (at, value) in &flips {
                let at = at.index(bytes.len());
                bytes[at] = *value;
            }
            let kept = bytes.len().saturating_sub(cut);
            let mut decoder = Decoder::new();
            let cut = Packet { bytes: &bytes[..kept], ..packet(&bytes) };
            if let Decoded::Segment(segment) = decoder.decode(&cut) {
                prop_assert!(segment.payload.len() <= segment.head.payload_length as usize);
                prop_assert!(segment.payload.len() <= kept);
            }
        }
    }
}
