//! Frames of two ends that talk: Ethernet, IPv4, and TCP or UDP, as a capture would hold them.

use flowaudit::packet::Side;

/// A connection whose segments are numbered as they should be.
pub struct Connection {
    ports: [u16; 2],
    hosts: [[u8; 4]; 2],
    sent: [u32; 2],
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
const TCP: u8 = 6;
const UDP: u8 = 17;

impl Connection {
    /// From the first host to a port of the second.
    pub fn new(hosts: [[u8; 4]; 2], port: u16) -> Connection {
        Connection { ports: [40_000, port], hosts, sent: [1000, 0xffff_fff0] }
    }

    /// SYN, SYN-ACK and ACK.
    pub fn open(&mut self) -> [Vec<u8>; 3] {
        [self.tcp(Side::A, SYN, &[]), self.tcp(Side::B, SYN | ACK, &[]), self.tcp(Side::A, ACK, &[])]
    }

    /// Bytes of a stream.
    pub fn say(&mut self, side: Side, payload: &[u8]) -> Vec<u8> {
        self.tcp(side, ACK, payload)
    }

    /// Bytes that the capture does not hold.
    pub fn lose(&mut self, side: Side, length: u16) {
        let sent = &mut self.sent[side.index()];
        *sent = sent.wrapping_add(u32::from(length));
    }

    /// A FIN, or a RST.
    pub fn close(&mut self, side: Side, reset: bool) -> Vec<u8> {
        self.tcp(side, if reset { RST | ACK } else { FIN | ACK }, &[])
    }

    /// A datagram between the same ends.
    pub fn datagram(&self, side: Side, payload: &[u8]) -> Vec<u8> {
        let mut upper = self.ports(side);
        upper.extend(u16::try_from(8 + payload.len()).expect("short").to_be_bytes());
        upper.extend([0, 0]);
        upper.extend(payload);
        self.frame(side, UDP, &upper)
    }

    fn tcp(&mut self, side: Side, flags: u8, payload: &[u8]) -> Vec<u8> {
        let (here, there) = (side.index(), side.other().index());
        let mut upper = self.ports(side);
        upper.extend(self.sent[here].to_be_bytes());
        upper.extend(self.sent[there].to_be_bytes());
        upper.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        upper.extend(payload);
        let length = u32::try_from(payload.len()).expect("short") + u32::from(flags & (SYN | FIN) != 0);
        self.sent[here] = self.sent[here].wrapping_add(length);
        self.frame(side, TCP, &upper)
    }

    fn ports(&self, side: Side) -> Vec<u8> {
        let [source, destination] = [side, side.other()].map(|side| self.ports[side.index()].to_be_bytes());
        [source, destination].concat()
    }

    fn frame(&self, side: Side, protocol: u8, upper: &[u8]) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0];
        frame.extend(u16::try_from(20 + upper.len()).expect("short").to_be_bytes());
        frame.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
        frame.extend(self.hosts[side.index()]);
        frame.extend(self.hosts[side.other().index()]);
        frame.extend(upper);
        frame
    }
}
