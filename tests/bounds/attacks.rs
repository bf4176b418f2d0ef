//! What attackers write, packet by packet.

use std::io::{self, Write};

use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use crate::wire::{SERVER, Wire, udp};

/// Writes a capture of about so many thousandths of the full attack.
pub type Make = fn(&mut dyn Write, u32) -> io::Result<()>;

/// What is thrown at the program.
pub struct Attack {
    pub name: &'static str,
    pub make: Make,
    /// Thousandths of it that the ordinary test command runs.
    pub small: u32,
    /// A line of the account that must count something: `scope,name`.
    pub dropped: Option<&'static str>,
    /// How many ordinary packets one of its packets may cost, what is in tunnels counted as packets too.
    pub most: f64,
}

/// What is aimed at.
const AIM: f64 = 3.0;

/// Ordinary traffic of the same make: requests and answers in clear.
pub const ORDINARY: Attack =
    Attack { name: "ordinary requests", make: ordinary, small: 10, dropped: None, most: AIM };

pub const ATTACKS: [Attack; 18] = [
    Attack { name: "SYN flood", make: syn_flood, small: 20, dropped: Some("caps,flows_evicted"), most: AIM },
    Attack {
        name: "partial ClientHellos",
        make: partial_hellos,
        small: 30,
        dropped: Some("caps,stream_bytes"),
        most: AIM,
    },
    Attack {
        name: "out of order, overlapping",
        make: out_of_order,
        small: 5,
        dropped: Some("caps,stream_bytes"),
        most: AIM,
    },
    Attack {
        name: "fragments without end",
        make: fragments,
        small: 10,
        dropped: Some("packets,fragment_cap"),
        most: AIM,
    },
    Attack {
        name: "nested tunnels, VLAN tags",
        make: nested,
        small: 10,
        dropped: Some("tunnels,not_decoded"),
        most: AIM,
    },
    Attack { name: "certificate message of 16 MiB", make: long_chain, small: 5, dropped: None, most: AIM },
    Attack {
        name: "chains, each another",
        make: many_chains,
        small: 30,
        dropped: Some("caps,stream_bytes"),
        most: AIM,
    },
    Attack { name: "chains, all one", make: one_chain, small: 30, dropped: None, most: AIM },
    Attack {
        name: "HTTP/2 header tables",
        make: header_tables,
        small: 40,
        dropped: Some("caps,header_work"),
        most: AIM,
    },
    Attack {
        name: "HTTP/2 fields of a byte",
        make: indexed_fields,
        small: 40,
        dropped: Some("caps,header_work"),
        most: AIM,
    },
    Attack {
        name: "HTTP/2 coded text",
        make: coded_text,
        small: 40,
        dropped: Some("caps,header_work"),
        most: AIM,
    },
    Attack {
        name: "HTTP/2 padded blocks",
        make: padded_blocks,
        small: 40,
        dropped: Some("caps,header_work"),
        most: AIM,
    },
    Attack {
        name: "HTTP/2 empty frames",
        make: empty_frames,
        small: 40,
        // Frames of nothing are so cheap that a part of the attack is read whole.
        dropped: None,
        most: AIM,
    },
    Attack { name: "HTTP/2, all that is read", make: all_that_is_read, small: 10, dropped: None, most: AIM },
    Attack { name: "HTTP/2 CONTINUATION", make: continuation, small: 10, dropped: None, most: AIM },
    Attack {
        name: "hash flooding",
        make: hash_flooding,
        small: 20,
        dropped: Some("caps,flows_evicted"),
        most: AIM,
    },
    Attack { name: "gzip bomb", make: gzip_bomb, small: 5, dropped: None, most: AIM },
    Attack { name: "zstd bomb", make: zstd_bomb, small: 5, dropped: None, most: AIM },
];

/// A share of a full count.
fn part(full: u32, thousandths: u32) -> u32 {
    (u64::from(full) * u64::from(thousandths) / 1000) as u32
}

fn ordinary(output: &mut dyn Write, scale: u32) -> io::Result<()> {
    let wire = &mut Wire::new(output)?;
    for number in 0..part(300_000, scale) {
        let mut talk = wire.open(0x0a00_0000 + number % 5000, 10_000 + (number / 5000) as u16, 8082)?;
        for _ in 0..4 {
            wire.say(
                &mut talk,
                0,
                b"GET /recentlogs HTTP/1.1\r\nHost: doppler\r\nAuthorization: bearer x\r\n\r\n",
            )?;
            wire.say(&mut talk, 1, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")?;
        }
        wire.close(&mut talk)?;
    }
    Ok(())
}

/// Ten million sources ask for a connection, and none goes on.
fn syn_flood(output: &mut dyn Write, scale: u32) -> io::Result<()> {
    let wire = &mut Wire::new(output)?;
    for number in 0..part(10_000_000, scale) {
        let (source, server) =
            (crate::wire::End(0x2000_0000 + number, 40_000, number), crate::wire::End(SERVER, 8082, 0));
        wire.tcp([source, server], &[], |tcp| tcp.syn())?;
    }
    Ok(())
}

/// A million connections, each of which sends most of a ClientHello and waits.
fn partial_hellos(output: &mut dyn Write, scale: u32) -> io::Result<()> {
    let wire = &mut Wire::new(output)?;
    let hello = [&[22, 3, 1, 8, 0, 1, 0, 7, 252, 3, 3][..], &[7; 1200]].concat();
    for number in 0..part(1_000_000, scale) {
        let mut talk = wire.open(0x2000_0000 + number, 40_000, 8082)?;
        wire.say(&mut talk, 0, &hello)?;
    }
    Ok(())
}

/// A request that is never whole: segments behind a hole, each of which overlaps others.
fn out_of_order(output: &mut dyn Write, scale: u32) -> io::Result<()> {
    let wire = &mut Wire::new(output)?;
    let mut talks = Vec::new();
    for number in 0..part(100_000, scale) {
        let mut talk = wire.open(0x2000_0000 + number, 40_000, 8082)?;
        wire.say(&mut talk, 0, b"GET / HTTP/1.1\r\nX: ")?;
        talks.push(talk);
    }
    for round in 0..50u32 {
        for talk in &talks {
            wire.say_at(talk, 0, 1 + round * 7919 % 60_000, &[b'x'; 1400])?;
        }
    }
    Ok(())
}

/// First pieces of datagrams, the rest of which never comes.
fn fragments(output: &mut dyn Write, scale: u32) -> io::Result<()> {
    let wire = &mut Wire::new(output)?;
    let mut frame = udp(0, SERVER, [40_000, 514], &[7; 1200]);
    // More fragments follow.
    frame[20] = 0x20;
    for number in 0..part(5_000_000, scale) {
        frame[18..20].copy_from_slice(&(number as u16).to_be_bytes());
        frame[26..30].copy_from_slice(&(0x2000_0000 + (number >> 16)).to_be_bytes());
        frame[24..26].fill(0);
        let sum = checksum(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        wire.frame(&frame)?;
    }
    Ok(())
}

/// Tunnels in tunnels and tags behind tags, more than are followed.
fn nested(output: &mut dyn Write, scale: u32) -> io::Result<()> {
    let wire = &mut Wire::new(output)?;
    for number in 0..part(1_000_000, scale) {
        let mut frame = udp(0x2000_0000 + number, SERVER, [40_000, 514], b"<13>hello");
        for depth in 0..4 {
            let network = (number + depth).to_be_bytes();
            let vxlan = [&[8, 0, 0, 0][..], &network[1..], &[0], &frame].concat();
            frame = udp(0x0a00_0001, 0x0a00_0002, [number as u16 | 0x8000, 4789], &vxlan);
        }
        let tags = [0x81, 0, 0, number as u8].repeat(number as usize % 12);
        frame.splice(12..12, tags);
        wire.frame(&frame)?;
    }
    Ok(())
}

/// Servers whose certificates are announced to be as long as the field allows, and that send them: four
/// gibibytes in all.
fn long_chain(output: &mut dyn Write, scale: u32) -> io::Result<()> {
    let wire = &mut Wire::new(output)?;
    let record = [&[22, 3, 3, 0x40, 0][..], &[0x30; 0x4000]].concat();
    for number in 0..part(256, scale).max(1) {
        let mut talk = wire.open(0x2000_0000 + number, 40_000, 8082)?;
        wire.say(&mut talk, 0, &client_hello())?;
        wire.say(
            &mut talk,
            1,
            &[&server_hello()[..], &[22, 3, 3, 0, 7, 11, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfc]].concat(),
        )?;
        for piece in std::iter::repeat_n(&record, 1023).flat_map(|record| record.chunks(1460)) {
            wire.say(&mut talk, 1, piece)?;
        }
    }
    Ok(())
}

/// Servers of which each shows a chain of its own, as long as is kept.
fn many_chains(output: &mut dyn Write, scale: u32) -> io::Result<()> {
    chains(output, part(60_000, scale), 2, |number| number)
}

/// Servers that show the same chain, longer than those that are looked up.
fn one_chain(output: &mut dyn Write, scale: u32) -> io::Result<()> {
    chains(output, part(30_000, scale), 4, |_| 0)
}

/// Servers with chains of so many certificates, each told by a number from others.
fn chains(
    output: &mut dyn Write,
    servers: u32,
    certificates: usize,
    differ: fn(u32) -> u32,
) -> io::Result<()> {
    let wire = &mut Wire::new(output)?;
    for number in 0..servers {
        let mut talk = wire.open(0x2000_0000 + number, 40_000, 8082)?;
        wire.say(&mut talk, 0, &client_hello())?;
        let der = [&differ(number).to_be_bytes()[..], &[0x30; 15_000]].concat();
        let list = vector24(&der).repeat(certificates);
        let message = [&[11][..], &vector24(&vector24(&list))].concat();
        let records = message
            .chunks(0x4000)
            .map(|part| [&[22, 3, 3][..], &(part.len() as u16).to_be_bytes(), part].concat());
        let flight = [server_hello()].into_iter().chain(records).collect::<Vec<_>>().concat();
        for piece in flight.chunks(1460) {
            wire.say(&mut talk, 1, piece)?;
        }
    }
    Ok(())
}

/// Tables of header fields, filled in few bytes.
fn header_tables(output: &mut dyn Write, scale: u32) -> io::Result<()> {
    let block =
        [&b"\x3f\xe1\xff\x03\x82\x84\x86"[..], &[0x40, 1, b'a', 0], &[0x7e, 1, b'x'].repeat(450)].concat();
    requests(output, part(100_000, scale), &frame(1, 4, &block), 8)
}

/// Credentials from the table, again and again.
fn indexed_fields(output: &mut dyn Write, scale: u32) -> io::Result<()> {
    let block = [&b"\x82\x84\x86\x57\x08Bearer x"[..], &[0xbe].repeat(1380)].concat();
    requests(output, part(100_000, scale), &frame(1, 4, &block), 8)
}

/// A long value in the Huffman code, with the shortest codes of which no two are looked up at once.
fn coded_text(output: &mut dyn Write, scale: u32) -> io::Result<()> {
    // Eight times `B`, 1011101 in bits, are seven bytes (RFC 7541 appendix B), and all is 1365 bytes long.
    let eight = [0xbb, 0x76, 0xed, 0xdb, 0xb7, 0x6e, 0xdd];
    let block = [&b"\x82\x84\x86\x0f\x0a\xff\xd6\x09"[..], &eight.repeat(195)].concat();
    requests(output, part(100_000, scale), &frame(1, 4, &block), 8)
}

/// Requests of three bytes, each in a frame of its own that tells how long its padding is.
fn padded_blocks(output: &mut dyn Write, scale: u32) -> io::Result<()> {
    requests(output, part(100_000, scale), &frame(1, 12, b"\0\x82\x84\x86").repeat(100), 8)
}

/// DATA of nothing, in as many frames as there is room for.
fn empty_frames(output: &mut dyn Write, scale: u32) -> io::Result<()> {
    requests(output, part(100_000, scale), &frame(0, 0, b"").repeat(155), 8)
}

/// As many requests as all packets of a connection earn, for as long as it goes on.
fn all_that_is_read(output: &mut dyn Write, scale: u32) -> io::Result<()> {
    let block = [frame(1, 4, b"\x82\x84\x86").repeat(5), frame(0, 0, &[b'x'; 1330])].concat();
    requests(output, part(12_000, scale), &block, 100)
}

/// A header block that goes on and on, in frames of a few bytes.
fn continuation(output: &mut dyn Write, scale: u32) -> io::Result<()> {
    let block = [frame(1, 0, b"\x82\x84\x86"), frame(9, 0, b"\0\x01a\x01b").repeat(90)].concat();
    requests(output, part(100_000, scale), &block, 30)
}

/// HTTP/2 connections that send the same so many times.
fn requests(output: &mut dyn Write, connections: u32, sent: &[u8], times: u32) -> io::Result<()> {
    let wire = &mut Wire::new(output)?;
    for number in 0..connections {
        let mut talk = wire.open(0x2000_0000 + number, 40_000, 8082)?;
        wire.say(&mut talk, 0, &[&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, b"")].concat())?;
        for _ in 0..times {
            wire.say(&mut talk, 0, sent)?;
        }
    }
    Ok(())
}

/// Tuples that a hash without a seed would put in one place: the exclusive-or of their ends is one number, and
/// so is the sum.
fn hash_flooding(output: &mut dyn Write, scale: u32) -> io::Result<()> {
    let wire = &mut Wire::new(output)?;
    for number in 0..part(10_000_000, scale) {
        let low = number & 0x00ff_ffff;
        let high = (number >> 24) as u16;
        wire.udp(0x2000_0000 + low, 0x4000_0000 - low, [7000 + high, 7000 - high], b"x")?;
    }
    Ok(())
}

fn gzip_bomb(output: &mut dyn Write, scale: u32) -> io::Result<()> {
    bomb(output, scale, |bytes| {
        let mut packed = GzEncoder::new(Vec::new(), flate2::Compression::best());
        packed.write_all(bytes).and_then(|()| packed.finish()).expect("a vector takes it")
    })
}

fn zstd_bomb(output: &mut dyn Write, scale: u32) -> io::Result<()> {
    bomb(output, scale, |bytes| compress_to_vec(bytes, CompressionLevel::Fastest))
}

/// The same datagrams again and again, packed by `pack` into a hundredth of their size and less: members of a
/// megabyte each, several gigabytes in all.
fn bomb(output: &mut dyn Write, scale: u32, pack: impl Fn(&[u8]) -> Vec<u8>) -> io::Result<()> {
    let mut begun = Vec::new();
    Wire::new(&mut begun)?;
    let header = begun.len();
    let mut all = begun.clone();
    let mut wire = Wire::new(&mut all)?;
    for _ in 0..12_000 {
        wire.udp(0x2000_0000, SERVER, [40_000, 514], &[b'x'; 40])?;
    }
    output.write_all(&pack(&begun))?;
    let member = pack(&all[2 * header..]);
    for _ in 0..part(4000, scale) {
        output.write_all(&member)?;
    }
    Ok(())
}

fn client_hello() -> Vec<u8> {
    hello(1, &[0, 2, 0xc0, 0x2f, 1, 0])
}

fn server_hello() -> Vec<u8> {
    hello(2, &[0xc0, 0x2f, 0])
}

/// A hello of TLS 1.2 in a record of its own (RFC 5246 section 7.4.1).
fn hello(kind: u8, suites: &[u8]) -> Vec<u8> {
    let body = [&[3, 3][..], &[7; 32], &[0], suites].concat();
    let message = [&[kind][..], &vector24(&body)].concat();
    [&[22, 3, 1][..], &(message.len() as u16).to_be_bytes(), &message].concat()
}

fn vector24(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes()[1..], body].concat()
}

/// A frame of HTTP/2 on stream 1, SETTINGS on 0 (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, u8::from(kind != 4)], payload].concat()
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.as_chunks::<2>().0.iter().map(|pair| u32::from(u16::from_be_bytes(*pair))).sum();
    !(((sum >> 16) + (sum & 0xffff)) as u16)
}
