//! Captures made by tests: cut, put together, or written from nothing.

use etherparse::PacketBuilder;

/// Classic pcap, little endian, microseconds, Ethernet.
const HEADER: [u8; 24] = [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0];
/// A record's header.
const RECORD: usize = 16;

/// A classic little-endian pcap file: its header, and its records with their own headers.
pub struct Pcap {
    pub header: Vec<u8>,
    pub records: Vec<Vec<u8>>,
}

impl Pcap {
    /// Takes a file apart.
    pub fn read(bytes: &[u8]) -> Pcap {
        let (header, mut rest) = bytes.split_at(HEADER.len());
        assert_eq!(header[..4], HEADER[..4], "classic, little endian, microseconds");
        let mut records = Vec::new();
        while !rest.is_empty() {
            let length = u32::from_le_bytes(rest[8..12].try_into().expect("four bytes"));
            let (record, more) = rest.split_at(RECORD + length as usize);
            records.push(record.to_vec());
            rest = more;
        }
        Pcap { header: header.to_vec(), records }
    }

    /// A file of these packets, one millisecond apart.
    pub fn of(packets: &[Vec<u8>]) -> Pcap {
        let records = packets.iter().enumerate().map(|(at, packet)| {
            let at = at as u32;
            let length = packet.len() as u32;
            let head = [1_795_000_000 + at / 1000, at % 1000 * 1000, length, length];
            [head.map(u32::to_le_bytes).concat(), packet.clone()].concat()
        });
        Pcap { header: HEADER.to_vec(), records: records.collect() }
    }

    /// The file with those of its records that `keep` says yes to, by their frames.
    pub fn only(&self, keep: impl Fn(usize, &[u8]) -> bool) -> Vec<u8> {
        let kept = self.records.iter().enumerate().filter(|(at, record)| keep(*at, &record[RECORD..]));
        [self.header.clone()].into_iter().chain(kept.map(|(_, record)| record.clone())).flatten().collect()
    }

    /// The whole file.
    pub fn bytes(&self) -> Vec<u8> {
        self.only(|_, _| true)
    }
}

/// Both ends of a TCP connection between 10.0.4.20 and a server, with the sequence numbers they use.
pub struct Connection {
    server: [u8; 4],
    port: u16,
    next: [u32; 2],
    /// The frames sent so far.
    pub packets: Vec<Vec<u8>>,
}

impl Connection {
    /// Opens it: SYN, SYN-ACK, ACK.
    pub fn open(server: [u8; 4], port: u16) -> Connection {
        let mut connection = Connection { server, port, next: [1000, 5000], packets: Vec::new() };
        let synchronized = |builder: etherparse::PacketBuilderStep<etherparse::TcpHeader>| builder.syn();
        connection.send(0, &[], synchronized);
        connection.next[0] += 1;
        let acknowledged = connection.next[0];
        connection.send(1, &[], |builder| builder.syn().ack(acknowledged));
        connection.next[1] += 1;
        connection.say(0, &[]);
        connection
    }

    /// Sends payload from the client, 0, or the server, 1.
    pub fn say(&mut self, side: usize, payload: &[u8]) -> Vec<u8> {
        let acknowledged = self.next[1 - side];
        self.send(side, payload, |builder| builder.ack(acknowledged));
        self.packets.last().expect("just sent").clone()
    }

    /// Sends payload from the client, 0, or the server, 1, so far from the byte that would be next; that one stays
    /// next. The frame may still be changed.
    pub fn stray(&mut self, side: usize, offset: i32, payload: &[u8]) -> &mut Vec<u8> {
        let next = self.next[side];
        self.next[side] = next.wrapping_add_signed(offset);
        self.say(side, payload);
        self.next[side] = next;
        self.packets.last_mut().expect("just sent")
    }

    fn send(
        &mut self,
        side: usize,
        payload: &[u8],
        flags: impl FnOnce(
            etherparse::PacketBuilderStep<etherparse::TcpHeader>,
        ) -> etherparse::PacketBuilderStep<etherparse::TcpHeader>,
    ) {
        let ends = [([10, 0, 4, 20], 40_000), (self.server, self.port)];
        let ((source, from), (destination, to)) = (ends[side], ends[1 - side]);
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(source, destination, 64).tcp(
            from,
            to,
            self.next[side],
            64_000,
        );
        let mut packet = Vec::new();
        flags(builder).write(&mut packet, payload).expect("a vector takes it");
        self.next[side] = self.next[side].wrapping_add(payload.len() as u32);
        self.packets.push(packet);
    }
}

/// A UDP datagram from 10.0.4.20.
pub fn datagram(server: [u8; 4], port: u16, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 4, 20], server, 64).udp(40_000, port);
    let mut packet = Vec::new();
    builder.write(&mut packet, payload).expect("a vector takes it");
    packet
}

/// A ClientHello of TLS 1.2 that asks for this host and offers these protocols (RFC 5246 section 7.4.1.2).
pub fn client_hello(host: &[u8], protocols: &[&[u8]]) -> Vec<u8> {
    let name = vector16(&[&[0][..], &vector16(host)].concat());
    let protocols: Vec<u8> =
        protocols.iter().flat_map(|name| [&[name.len() as u8], *name].concat()).collect();
    let protocols = vector16(&protocols);
    let extensions = [&[0, 0][..], &vector16(&name), &[0, 16], &vector16(&protocols)].concat();
    let body = [&[3, 3][..], &[7; 32], &[0], &[0, 2, 0xc0, 0x2f], &[1, 0], &vector16(&extensions)].concat();
    let message = [&[1, 0][..], &vector16(&body)].concat();
    [&[22, 3, 1][..], &vector16(&message)].concat()
}

fn vector16(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u16).to_be_bytes()[..], body].concat()
}

/// What a recorded connection carried, with 0 for the client, up to its first FIN or RST.
pub fn payloads(pcap: &Pcap) -> Vec<(usize, Vec<u8>)> {
    let mut payloads = Vec::new();
    let mut client = None;
    for record in &pcap.records {
        let frame = etherparse::SlicedPacket::from_ethernet(&record[16..]).expect("it was recorded whole");
        let Some(etherparse::TransportSlice::Tcp(tcp)) = frame.transport else { continue };
        let port = *client.get_or_insert(tcp.source_port());
        if tcp.fin() || tcp.rst() {
            break;
        }
        if !tcp.payload().is_empty() {
            payloads.push((usize::from(tcp.source_port() != port), tcp.payload().to_vec()));
        }
    }
    payloads
}
