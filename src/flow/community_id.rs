//! Community ID v1: the flow identifier that Zeek, Suricata and Wireshark print too
//! (github.com/corelight/community-id-spec).

use crate::packet::{Endpoint, Transport, icmp_counterpart};
use std::net::IpAddr;

/// The seed that every tool uses unless told otherwise.
pub const DEFAULT_SEED: u16 = 0;
/// Bytes of an identifier: `1:` and the base64 of a SHA-1.
pub const COMMUNITY_ID_BYTES: usize = 2 + 28;

/// The Community ID of a flow, [`COMMUNITY_ID_BYTES`] characters.
///
/// It is the same from both ends, except for one-way ICMP messages: there `source` must be the sender
/// of the message, whose ports are its type and code. The two addresses are of one family. SCTP with
/// both ports 0 counts as a protocol without ports.
pub fn community_id(source: Endpoint, destination: Endpoint, transport: Transport, seed: u16) -> String {
    bytes(source, destination, transport, seed).map(char::from).iter().collect()
}

/// The same as ASCII, without an allocation.
pub fn bytes(
    source: Endpoint,
    destination: Endpoint,
    transport: Transport,
    seed: u16,
) -> [u8; COMMUNITY_ID_BYTES] {
    let mut id = [0; COMMUNITY_ID_BYTES];
    write(source, destination, transport, seed, &mut id);
    id
}

/// The same, where it is to stand.
#[inline]
pub fn write(
    source: Endpoint,
    destination: Endpoint,
    transport: Transport,
    seed: u16,
    id: &mut [u8; COMMUNITY_ID_BYTES],
) {
    let (low, high) = if source < destination || is_one_way(source, transport) {
        (source, destination)
    } else {
        (destination, source)
    };
    let mut hashed = Hashed { words: [0; 4], bits: 0 };
    hashed.push(seed.into(), 16);
    for ip in [low.ip, high.ip] {
        match ip {
            IpAddr::V4(ip) => hashed.push(ip.to_bits().into(), 32),
            IpAddr::V6(ip) => hashed.push(ip.to_bits(), 128),
        }
    }
    hashed.push(u128::from(transport.0) << 8, 16);
    if has_ports(low, high, transport) {
        hashed.push(u128::from(low.port) << 16 | u128::from(high.port), 32);
    }
    base64(hashed.sha1(), id);
}

/// `1:`, and a digest in base64 (RFC 4648 section 4).
fn base64(digest: [u32; 5], id: &mut [u8; COMMUNITY_ID_BYTES]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let [a, b, c, d, e] = digest.map(u128::from);
    let (high, low) = (a << 96 | b << 64 | c << 32 | d, e);
    id[..2].copy_from_slice(b"1:");
    for (at, digits) in id[2..].as_chunks_mut::<4>().0.iter_mut().enumerate() {
        // Twenty-four bits of all 160, with nothing behind them.
        let bits = match at {
            0..5 => (high >> (104 - 24 * at)) as u32,
            5 => (high << 16 | low >> 16) as u32,
            _ => (low << 8) as u32,
        };
        *digits = [18, 12, 6, 0].map(|shift| DIGITS[(bits >> shift & 63) as usize]);
    }
    // The last byte was none of the digest's.
    id[COMMUNITY_ID_BYTES - 1] = b'=';
}

/// What is hashed, put together first, in words as large as are hashed: hashing it at once is cheaper than piece by
/// piece.
struct Hashed {
    /// One block of SHA-1: seed, two addresses, protocol and padding, and two ports leave room in it for
    /// the mark and the length that end a message. The first byte is the highest.
    words: [u128; 4],
    bits: usize,
}

impl Hashed {
    /// Appends the lowest `bits` bits of a number, of which there are no others.
    #[inline(always)]
    fn push(&mut self, number: u128, bits: usize) {
        let (at, used) = (self.bits / 128, self.bits % 128);
        let left = 128 - used;
        if bits <= left {
            self.words[at & 3] |= number << (left - bits);
        } else {
            self.words[at & 3] |= number >> (bits - left);
            self.words[(at + 1) & 3] |= number << (128 - (bits - left));
        }
        self.bits += bits;
    }

    /// FIPS 180-4 section 6.1 for a message of one block.
    #[inline(always)]
    fn sha1(mut self) -> [u32; 5] {
        let bits = self.bits as u128;
        self.push(0x80, 8);
        self.words[3] |= bits;
        let mut block = [0; 64];
        block
            .as_chunks_mut()
            .0
            .iter_mut()
            .zip(self.words)
            .for_each(|(place, word)| *place = word.to_be_bytes());
        let mut state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
        sha1::compress(&mut state, &[block.into()]);
        state
    }
}

/// One-way ICMP messages are not put in order: what answers them, if anything, is another flow.
fn is_one_way(source: Endpoint, transport: Transport) -> bool {
    is_icmp(transport)
        && u8::try_from(source.port).is_ok_and(|kind| icmp_counterpart(transport, kind).is_none())
}

fn has_ports(low: Endpoint, high: Endpoint, transport: Transport) -> bool {
    match transport {
        Transport::TCP | Transport::UDP => true,
        Transport::SCTP => low.port != 0 || high.port != 0,
        _ => is_icmp(transport),
    }
}

fn is_icmp(transport: Transport) -> bool {
    matches!(transport, Transport::ICMP | Transport::ICMPV6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use sha1::{Digest, Sha1};

    /// The specification's published vectors (`baseline_deflt.json`, `baseline_seed1.json`): protocol,
    /// source, destination, ports, ID with seed 0, ID with seed 1. Two-way flows are published from both
    /// ends; here the test turns them round.
    const VECTORS: &[(u8, &str, &str, u16, u16, &str, &str)] = &[
        (
            58,
            "fe80::200:86ff:fe05:80da",
            "fe80::260:97ff:fe07:69ea",
            135,
            136,
            "1:dGHyGvjMfljg6Bppwm3bg0LO8TY=",
            "1:kHa1FhMYIT6Ym2Vm2AOtoOARDzY=",
        ),
        (
            58,
            "fe80::260:97ff:fe07:69ea",
            "fe80::200:86ff:fe05:80da",
            135,
            136,
            "1:zavyT/cezQr1fmImYCwYnMXbgck=",
            "1:2hSqmsDZ2kdcY9kbiUzOEBic0iM=",
        ),
        (
            58,
            "3ffe:501:1800:2345::2",
            "3ffe:507:0:1:200:86ff:fe05:80da",
            3,
            0,
            "1:2ObVBgIn28oZvibYZhZMBgh7WdQ=",
            "1:lVEtCZpYu84Xqaa++3lXFyuu2n4=",
        ),
        (
            58,
            "3ffe:501:410:0:2c0:dfff:fe47:33e",
            "3ffe:507:0:1:200:86ff:fe05:80da",
            1,
            4,
            "1:hLZd0XGWojozrvxqE0dWB1iM6R0=",
            "1:W8MHwXpWzpoSTD+cGcaJr4u0ys8=",
        ),
        (
            58,
            "3ffe:507:0:1:200:86ff:fe05:80da",
            "3ffe:501:0:1001::2",
            128,
            129,
            "1:+TW+HtLHvV1xnGhV1lv7XoJrqQg=",
            "1:GfZxjAkDk2MkegpBYHV6tadtFXQ=",
        ),
        (
            58,
            "fe80::200:86ff:fe05:80da",
            "ff02::2",
            133,
            134,
            "1:hO+sN4H+MG5MY/8hIrXPqc4ZQz0=",
            "1:L7Ka0ZMYu+J3bL4ulW2PrqyXNo8=",
        ),
        (
            58,
            "fe80::260:97ff:fe07:69ea",
            "ff02::1",
            134,
            133,
            "1:pkvHqCL88/tg1k4cPigmZXUtL00=",
            "1:K/ee5UCqAMAQXDorP5nSa2CGLjc=",
        ),
        (
            1,
            "192.168.0.89",
            "192.168.0.1",
            8,
            0,
            "1:X0snYXpgwiv9TZtqg64sgzUn6Dk=",
            "1:03g6IloqVBdcZlPyX8r0hgoE7kA=",
        ),
        (
            1,
            "10.0.0.1",
            "10.0.0.2",
            11,
            0,
            "1:YHxtAirCG//0OzkcVAukqKQN9xM=",
            "1:XjUibYHaafLQ3pxQeiMI8g25q20=",
        ),
        (
            6,
            "2001:470:e5bf:dead:4957:2174:e82c:4887",
            "2607:f8b0:400c:c03::1a",
            63943,
            25,
            "1:/qFaeAR+gFe1KYjMzVDsMv+wgU4=",
            "1:eJYTW6AOzFLlSUoESovMjnu7rMw=",
        ),
        (
            132,
            "192.168.170.8",
            "192.168.170.56",
            7,
            7,
            "1:MP2EtRCAUIZvTw6MxJHLV7N7JDs=",
            "1:5w3ZRjeKBzqT3zsaEECDGjUbYeg=",
        ),
        (
            6,
            "128.232.110.120",
            "66.35.250.204",
            34855,
            80,
            "1:LQU9qZlK+B5F3KDmev6m5PMibrg=",
            "1:3V71V58M3Ksw/yuFALMcW0LAHvc=",
        ),
        (
            17,
            "192.168.1.52",
            "8.8.8.8",
            54585,
            53,
            "1:d/FP5EW3wiY1vCndhwleRRKHowQ=",
            "1:Q9We8WO3piVF8yEQBNJF4uiSVrI=",
        ),
        (
            46,
            "10.1.12.1",
            "10.1.12.2",
            0,
            0,
            "1:KHlLkgoJW7ifUTyTSgyVfkFHzKw=",
            "1:rYir8gphR31noO9iDRQmF/BteEI=",
        ),
    ];

    fn id(vector: &(u8, &str, &str, u16, u16, &str, &str), seed: u16) -> String {
        let source = Endpoint { ip: vector.1.parse().unwrap(), port: vector.3 };
        let destination = Endpoint { ip: vector.2.parse().unwrap(), port: vector.4 };
        community_id(source, destination, Transport(vector.0), seed)
    }

    #[test]
    fn published_vectors() {
        for vector in VECTORS {
            assert_eq!(id(vector, DEFAULT_SEED), vector.5, "{vector:?}");
            assert_eq!(id(vector, 1), vector.6, "{vector:?}");
            let end = Endpoint { ip: vector.1.parse().unwrap(), port: vector.3 };
            if !is_one_way(end, Transport(vector.0)) {
                let back = (vector.0, vector.2, vector.1, vector.4, vector.3, vector.5, vector.6);
                assert_eq!(id(&back, DEFAULT_SEED), vector.5, "{back:?}");
            }
        }
    }

    #[test]
    fn same_address_is_ordered_by_port() {
        let forth = id(&(6, "10.0.0.1", "10.0.0.1", 1234, 80, "", ""), 0);
        assert_eq!(forth, id(&(6, "10.0.0.1", "10.0.0.1", 80, 1234, "", ""), 0));
        assert_ne!(forth, id(&(6, "10.0.0.1", "10.0.0.1", 80, 1235, "", ""), 0));
    }

    #[test]
    fn sctp_without_known_ports_is_hashed_without_them() {
        let unknown = id(&(132, "10.0.0.1", "10.0.0.2", 0, 0, "", ""), 0);
        let digest = Sha1::digest([0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 132, 0]);
        assert_eq!(unknown, format!("1:{}", STANDARD.encode(digest)));
    }
}
