//! One packet in, one [`Decoded`] out.

use super::fragments::{Fragments, Key};
use super::ip::{Carried, Fragment, IpPacket, Part};
use super::link::Frame;
use super::{Decoded, Encapsulation, Endpoint, Segment, Transport, Uncounted, ip, link, transport};
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
        let captured = u32::try_from(packet.bytes.len()).unwrap_or(u32::MAX);
        // A record that lies about its length on the wire is taken to be as long as what it holds.
        let wire_length = packet.wire_length.max(captured);
        match parse(packet, wire_length) {
            Ok((encapsulation, found)) => match found.part {
                Part::Whole(carried) => match transport::parse(carried) {
                    Ok(upper) => {
                        segment(encapsulation, &found, carried.protocol, upper, 1, u64::from(wire_length))
                    }
                    Err(reason) => Decoded::Uncounted(blame(reason, captured, wire_length)),
                },
                Part::Fragment(fragment) => {
                    let key = Key {
                        capture: packet.capture,
                        encapsulation,
                        source: found.source,
                        destination: found.destination,
                        identification: fragment.identification,
                        protocol: found.source.is_ipv4().then_some(fragment.carried.protocol),
                    };
                    self.decode_fragment(key, &found, &fragment, wire_length)
                }
            },
            Err(reason) => Decoded::Uncounted(blame(reason, captured, wire_length)),
        }
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
                segment(key.encapsulation, found, protocol, upper, whole.packets, whole.wire_bytes)
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

fn segment<'a>(
    encapsulation: Encapsulation,
    found: &IpPacket<'_>,
    protocol: u8,
    upper: transport::Upper<'a>,
    packets: u32,
    wire_bytes: u64,
) -> Decoded<'a> {
    Decoded::Segment(Segment {
        source: Endpoint { ip: found.source, port: upper.source_port },
        destination: Endpoint { ip: found.destination, port: upper.destination_port },
        transport: Transport(protocol),
        tcp: upper.tcp,
        payload: upper.payload,
        payload_length: upper.payload_length,
        packets,
        wire_bytes,
        encapsulation,
    })
}
