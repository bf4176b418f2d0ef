//! A capture that is written into a pipe as it is made: no file, and no more memory than one packet.

use std::io::{self, Write};

use etherparse::{PacketBuilder, PacketBuilderStep, TcpHeader};

/// Classic pcap, little endian, microseconds, Ethernet, as `tests/common/pcap.rs` writes it.
const HEADER: [u8; 24] = [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0];

/// Takes packets, a microsecond apart.
pub struct Wire<'w> {
    output: &'w mut dyn Write,
    packets: u64,
    frame: Vec<u8>,
}

/// One end of a connection: address, port and next sequence number.
#[derive(Clone, Copy)]
pub struct End(pub u32, pub u16, pub u32);

/// A connection from some client to 10.0.4.10, in the middle of being spoken.
pub struct Talk {
    ends: [End; 2],
}

pub const SERVER: u32 = u32::from_be_bytes([10, 0, 4, 10]);

impl Wire<'_> {
    /// Begins a capture.
    pub fn new(output: &mut dyn Write) -> io::Result<Wire<'_>> {
        output.write_all(&HEADER)?;
        Ok(Wire { output, packets: 0, frame: Vec::new() })
    }

    /// Adds a frame.
    pub fn frame(&mut self, frame: &[u8]) -> io::Result<()> {
        let (seconds, length) = (self.packets / 1_000_000, frame.len() as u32);
        let head = [1_795_000_000 + seconds as u32, (self.packets % 1_000_000) as u32, length, length];
        self.packets += 1;
        self.output.write_all(&head.map(u32::to_le_bytes).concat())?;
        self.output.write_all(frame)
    }

    /// Adds a TCP segment.
    pub fn tcp(
        &mut self,
        [from, to]: [End; 2],
        payload: &[u8],
        flags: impl FnOnce(PacketBuilderStep<TcpHeader>) -> PacketBuilderStep<TcpHeader>,
    ) -> io::Result<()> {
        let ip = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(from.0.to_be_bytes(), to.0.to_be_bytes(), 64);
        let mut frame = std::mem::take(&mut self.frame);
        frame.clear();
        flags(ip.tcp(from.1, to.1, from.2, 64_000)).write(&mut frame, payload).expect("a vector takes it");
        self.frame(&frame)?;
        self.frame = frame;
        Ok(())
    }

    /// Adds a UDP datagram.
    pub fn udp(&mut self, from: u32, to: u32, ports: [u16; 2], payload: &[u8]) -> io::Result<()> {
        self.frame(&udp(from, to, ports, payload))
    }

    /// Opens a connection: SYN, SYN-ACK, ACK.
    pub fn open(&mut self, client: u32, from: u16, to: u16) -> io::Result<Talk> {
        let mut talk = Talk { ends: [End(client, from, 1000), End(SERVER, to, 5000)] };
        let [client, server] = talk.ends;
        self.tcp([client, server], &[], |tcp| tcp.syn())?;
        self.tcp([server, client], &[], |tcp| tcp.syn().ack(1001))?;
        (talk.ends[0].2, talk.ends[1].2) = (1001, 5001);
        self.say(&mut talk, 0, &[])?;
        Ok(talk)
    }

    /// Sends payload from the client, 0, or the server, 1.
    pub fn say(&mut self, talk: &mut Talk, side: usize, payload: &[u8]) -> io::Result<()> {
        self.say_at(talk, side, 0, payload)?;
        talk.ends[side].2 = talk.ends[side].2.wrapping_add(payload.len() as u32);
        Ok(())
    }

    /// Sends payload that stands so many bytes further on than what was sent.
    pub fn say_at(&mut self, talk: &Talk, side: usize, ahead: u32, payload: &[u8]) -> io::Result<()> {
        let (mut from, to) = (talk.ends[side], talk.ends[1 - side]);
        from.2 = from.2.wrapping_add(ahead);
        self.tcp([from, to], payload, |tcp| tcp.ack(to.2))
    }

    /// Both ends close.
    pub fn close(&mut self, talk: &mut Talk) -> io::Result<()> {
        for side in [0, 1] {
            let (from, to) = (talk.ends[side], talk.ends[1 - side]);
            self.tcp([from, to], &[], |tcp| tcp.fin().ack(to.2))?;
            talk.ends[side].2 += 1;
        }
        Ok(())
    }
}

/// A UDP datagram's frame.
pub fn udp(from: u32, to: u32, [source, destination]: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let ip = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(from.to_be_bytes(), to.to_be_bytes(), 64);
    let mut frame = Vec::new();
    ip.udp(source, destination).write(&mut frame, payload).expect("a vector takes it");
    frame
}
