//! The packets kept of one flow, and fragments on their way to one.

use crate::capture::{Packet, PcapBuffer};
use crate::packet::Side;

/// The most packets kept of each direction of a flow: handshakes with chains of certificates take fewer.
pub(super) const PACKETS: usize = 32;
/// The most bytes kept of each direction of a flow.
pub(super) const BYTES: usize = 48 << 10;
/// What a flow takes besides its packets, in bytes.
pub(super) const ENTRY: usize = 160;

/// The first packets of one flow.
#[derive(Debug)]
pub(super) struct Kept {
    packets: PcapBuffer,
    /// Packets and bytes kept of each side.
    sides: [(usize, usize); 2],
    /// Sides of which a packet was left out, and with it all that come later.
    full: [bool; 2],
    /// Bytes of these packets that the flow's file has.
    written: usize,
}

impl Kept {
    pub(super) fn new(packet: &Packet<'_>) -> Kept {
        Kept { packets: PcapBuffer::new(packet.link), sides: [(0, 0); 2], full: [false; 2], written: 0 }
    }

    /// What it takes, in bytes.
    pub(super) fn memory(&self) -> usize {
        ENTRY + self.packets.memory()
    }

    pub(super) fn packets(&self) -> &PcapBuffer {
        &self.packets
    }

    /// There are packets that the flow's file has not.
    pub(super) fn has_more(&self) -> bool {
        self.written < self.packets.len()
    }

    /// The flow's file has all packets so far.
    pub(super) fn is_written(&mut self) {
        self.written = self.packets.len();
    }

    /// Adds a packet, if there is room.
    pub(super) fn add(&mut self, side: Side, packet: &Packet<'_>) {
        let (packets, bytes) = &mut self.sides[side.index()];
        let is_full = &mut self.full[side.index()];
        let size = PcapBuffer::size_of(packet);
        *is_full |= packet.link != self.packets.link() || *packets >= PACKETS || *bytes + size > BYTES;
        if !*is_full {
            *packets += 1;
            *bytes += size;
            self.packets.push(packet);
        }
    }
}

/// A packet, copied.
#[derive(Debug)]
pub(super) struct Fragment {
    packet: Packet<'static>,
    bytes: Vec<u8>,
}

impl Fragment {
    pub(super) fn of(packet: &Packet<'_>) -> Fragment {
        Fragment { packet: Packet { bytes: &[], ..*packet }, bytes: packet.bytes.to_vec() }
    }

    pub(super) fn lend(&self) -> Packet<'_> {
        Packet { bytes: &self.bytes, ..self.packet }
    }
}
