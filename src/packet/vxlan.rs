//! VXLAN (RFC 7348): the Ethernet frame inside a UDP datagram, as a packet of its own.
//!
//! The header has no magic, so this is the one place where a port says what bytes are. A datagram that is
//! not read here stays what it was anyway, a packet of the outer flow.

use super::ip::Part;
use super::{Encapsulation, Endpoint, Ends, Head, Segment, Transport, Uncounted, ip, link, plain, transport};
use crate::capture::LinkType;

/// What a VXLAN datagram carries.
#[derive(Clone, Copy, Debug)]
pub enum Inside<'a> {
    /// A packet of a flow of its own. It counts the same captured packets, with all their bytes on the wire.
    Segment(Segment<'a>),
    /// A frame that is not decoded: not IP, malformed, cut before its ports, a fragment, or one tunnel more
    /// than [`super::Encapsulation::MAX_TUNNELS`].
    Unread,
}

/// Whether a packet goes where VXLAN datagrams go: worth a look [`inside`].
#[inline(always)]
pub fn is_tunnel(head: &Head) -> bool {
    head.transport == Transport::UDP && head.ends.destination_port() == PORT
}

/// Looks into a packet; `None` if it is no VXLAN datagram.
///
/// One is: UDP to port 4789, flags with the I bit alone, and reserved bits zero (RFC 7348 section 5).
pub fn inside<'a>(outer: &Segment<'a>) -> Option<Inside<'a>> {
    if !is_tunnel(&outer.head) {
        return None;
    }
    let (header, frame) = outer.payload.split_first_chunk::<HEADER>()?;
    let [FLAGS, 0, 0, 0, a, b, c, 0] = *header else { return None };
    let wire_length = outer.head.payload_length.saturating_sub(HEADER as u32);
    let inner = segment(outer, u32::from_be_bytes([0, a, b, c]), frame, wire_length);
    Some(inner.map_or(Inside::Unread, Inside::Segment))
}

/// IANA's port (RFC 7348 section 8); older senders use 8472, which is assigned to something else.
const PORT: u16 = 4789;
const HEADER: usize = 8;
/// The I flag: the network identifier is valid.
const FLAGS: u8 = 0x08;

fn segment<'a>(
    outer: &Segment<'a>,
    vni: u32,
    frame: &'a [u8],
    wire_length: u32,
) -> Result<Segment<'a>, Uncounted> {
    let mut encapsulation = outer.head.encapsulation;
    if !encapsulation.enter(vni) {
        return Err(Uncounted::Malformed);
    }
    let Head { packets, differing, wire_bytes, .. } = outer.head;
    match plain::frame(frame, encapsulation, wire_length) {
        Some(Segment { head, payload }) => {
            Ok(Segment { head: Head { packets, differing, wire_bytes, ..head }, payload })
        }
        None => long_way(outer, encapsulation, frame, wire_length),
    }
}

/// For every kind of frame; where both answer, they say the same.
#[inline(never)]
fn long_way<'a>(
    outer: &Segment<'a>,
    mut encapsulation: Encapsulation,
    frame: &'a [u8],
    wire_length: u32,
) -> Result<Segment<'a>, Uncounted> {
    let found = link::find_ip(LinkType::Ethernet, frame)?;
    if !found.encapsulation.vlans().all(|tag| encapsulation.push(tag)) {
        return Err(Uncounted::Malformed);
    }
    let before_ip = u32::try_from(frame.len() - found.ip.len()).unwrap_or(u32::MAX);
    let packet = ip::parse(found.ip, wire_length.saturating_sub(before_ip))?;
    let Part::Whole(carried) = packet.part else { return Err(Uncounted::FragmentIncomplete) };
    let upper = transport::parse(carried)?;
    let head = Head {
        ends: Ends::new(
            Endpoint { ip: packet.source, port: upper.source_port },
            Endpoint { ip: packet.destination, port: upper.destination_port },
        ),
        transport: Transport(carried.protocol),
        tcp: upper.tcp,
        payload_length: upper.payload_length,
        encapsulation,
        ..outer.head
    };
    Ok(Segment { head, payload: upper.payload })
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    use super::*;
    use crate::packet::Layer;

    const VNI: [u8; 8] = [FLAGS, 0, 0, 0, 0, 1, 2, 0];

    fn outer(payload: &[u8]) -> Segment<'_> {
        let head = Head {
            ends: Ends::new(
                Endpoint { ip: [10, 0, 0, 1].into(), port: 50_000 },
                Endpoint { ip: [10, 0, 0, 2].into(), port: PORT },
            ),
            transport: Transport::UDP,
            tcp: None,
            payload_length: payload.len() as u32,
            packets: 1,
            differing: false,
            wire_bytes: payload.len() as u64 + 42,
            encapsulation: Encapsulation::default(),
        };
        Segment { head, payload }
    }

    fn tcp(payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        let ip = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 255, 0, 1], [10, 255, 0, 2], 64);
        ip.tcp(1025, 8080, 7, 512).write(&mut frame, payload).unwrap();
        frame
    }

    fn datagram(frame: &[u8]) -> Vec<u8> {
        [&VNI, frame].concat()
    }

    fn unwrap(inside: Option<Inside<'_>>) -> Segment<'_> {
        match inside {
            Some(Inside::Segment(segment)) => segment,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_inner_frame_is_a_packet_of_its_own() {
        let datagram = datagram(&tcp(b"hello"));
        let mut outer = outer(&datagram);
        assert!(outer.head.encapsulation.push(100));
        let inner = unwrap(inside(&outer));
        assert_eq!(inner.head.ends.source(), Endpoint { ip: [10, 255, 0, 1].into(), port: 1025 });
        assert_eq!(inner.head.ends.destination(), Endpoint { ip: [10, 255, 0, 2].into(), port: 8080 });
        assert_eq!((inner.head.transport, inner.payload), (Transport::TCP, &b"hello"[..]));
        assert_eq!(inner.head.tcp.map(|tcp| tcp.sequence), Some(7));
        assert_eq!((inner.head.packets, inner.head.wire_bytes), (1, outer.head.wire_bytes));
        let layers: Vec<Layer> = inner.head.encapsulation.layers().collect();
        assert_eq!(layers, [Layer::Vlan(100), Layer::Vxlan(0x0102)]);
        assert_eq!(inner.head.encapsulation.network(), Some(0x0102));
        assert_eq!(outer.head.encapsulation.network(), None);
    }

    #[test]
    fn inner_tags_stand_inside_the_tunnel() {
        let frame = tcp(b"");
        let tagged = [&frame[..12], &[0x81, 0, 0, 7], &frame[12..]].concat();
        let datagram = datagram(&tagged);
        let mut outer = outer(&datagram);
        assert!(outer.head.encapsulation.push(100));
        let layers: Vec<Layer> = unwrap(inside(&outer)).head.encapsulation.layers().collect();
        assert_eq!(layers, [Layer::Vlan(100), Layer::Vxlan(0x0102), Layer::Vlan(7)]);
    }

    #[test]
    fn a_cut_frame_is_read_as_far_as_it_goes() {
        let datagram = datagram(&tcp(&[9; 100]));
        let cut = Segment { payload: &datagram[..80], ..outer(&datagram) };
        let inner = unwrap(inside(&cut));
        assert_eq!((inner.payload.len(), inner.head.payload_length), (80 - 8 - 54, 100));
        for end in 8..8 + 14 + 20 + 14 {
            let cut = Segment { payload: &datagram[..end], ..outer(&datagram) };
            assert!(matches!(inside(&cut), Some(Inside::Unread)), "{end}");
        }
        let cut = Segment { payload: &datagram[..7], ..outer(&datagram) };
        assert!(inside(&cut).is_none());
    }

    #[test]
    fn tunnels_nest_to_a_depth() {
        let nest = |payload: &[u8]| {
            let mut frame = Vec::new();
            let ip = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 1, 0, 1], [10, 1, 0, 2], 64);
            ip.udp(5000, PORT).write(&mut frame, payload).unwrap();
            datagram(&frame)
        };
        let thrice = nest(&nest(&datagram(&tcp(b""))));
        let outer = outer(&thrice);
        let first = unwrap(inside(&outer));
        let second = unwrap(inside(&first));
        assert_eq!(second.head.encapsulation.depth(), 2);
        assert!(matches!(inside(&second), Some(Inside::Unread)));
    }

    #[test]
    fn other_datagrams_are_left_alone() {
        let datagram = datagram(&tcp(b""));
        for at in [0, 1, 2, 3, 7] {
            let mut other = datagram.clone();
            other[at] ^= 0x04;
            assert!(inside(&outer(&other)).is_none(), "{at}");
        }
        let mut elsewhere = outer(&datagram);
        elsewhere.head.ends.ports[1] = 8472;
        assert!(inside(&elsewhere).is_none());
        let mut tcp_to_it = outer(&datagram);
        tcp_to_it.head.transport = Transport::TCP;
        assert!(inside(&tcp_to_it).is_none());
        let arp = [&VNI[..], &[0xff; 12], &[8, 6], &[0; 28]].concat();
        assert!(matches!(inside(&outer(&arp)), Some(Inside::Unread)));
        let mut fragment = datagram;
        fragment[8 + 14 + 6] = 0x20;
        assert!(matches!(inside(&outer(&fragment)), Some(Inside::Unread)));
    }

    proptest! {
        #[test]
        fn any_datagram_is_read_without_panic(
            frame in proptest::collection::vec(any::<u8>(), 0..200),
            flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            real: bool, extra in 0_u32..100,
        ) {
            let mut datagram = datagram(&if real { tcp(&frame) } else { frame });
            for (at, value) in flips {
                let at = at.index(datagram.len());
                datagram[at] = value;
            }
            let mut segment = outer(&datagram);
            segment.head.payload_length += extra;
            let mut depth = 0;
            while let Some(Inside::Segment(inner)) = inside(&segment) {
                prop_assert!(inner.payload.len() <= inner.head.payload_length as usize);
                prop_assert!(inner.payload.len() < segment.payload.len());
                let (header, frame) = segment.payload.split_first_chunk::<HEADER>().unwrap();
                let mut encapsulation = segment.head.encapsulation;
                prop_assert!(encapsulation.enter(u32::from_be_bytes([0, header[4], header[5], header[6]])));
                let wire_length = segment.head.payload_length - HEADER as u32;
                prop_assert_eq!(long_way(&segment, encapsulation, frame, wire_length).ok(), Some(inner));
                depth += 1;
                segment = inner;
            }
            prop_assert!(depth <= Encapsulation::MAX_TUNNELS);
        }
    }
}
