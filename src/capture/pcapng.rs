//! pcapng (draft-ietf-opsawg-pcapng): blocks, in sections, from several interfaces.

use super::record::{Damage, Found, MAX_BLOCK, MAX_CAPTURED, Order, Record, SecretsRecord, array, words};
use super::{LinkType, Precision, Timestamp};

/// The first four bytes of every section, the same in both byte orders.
pub(super) const MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// The most interfaces one section may describe.
const MAX_INTERFACES: usize = 65_536;

/// Block types (section 11.1 of the draft).
mod block {
    pub const SECTION_HEADER: u32 = 0x0a0d_0d0a;
    pub const INTERFACE_DESCRIPTION: u32 = 1;
    pub const OBSOLETE_PACKET: u32 = 2;
    pub const SIMPLE_PACKET: u32 = 3;
    pub const ENHANCED_PACKET: u32 = 6;
    pub const DECRYPTION_SECRETS: u32 = 10;
}

/// Length of a block's type, length and repeated length, in bytes.
const FRAME: u32 = 12;

/// The state of a section.
#[derive(Debug)]
pub(super) struct Pcapng {
    order: Order,
    interfaces: Vec<Interface>,
    /// The length that must follow the body of a block whose body was passed over.
    trailer: Option<u32>,
}

/// What an Interface Description Block says of the packets of its interface.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link: LinkType,
    /// The longest captured packet, 0 for no limit.
    snaplen: u32,
    unit: Unit,
    precision: Precision,
    /// Nanoseconds to add to every timestamp.
    offset: i64,
}

/// How ticks become nanoseconds.
#[derive(Clone, Copy, Debug)]
enum Unit {
    Multiply(u64),
    Divide(u64),
    /// Ticks of 2^-n seconds.
    Binary(u32),
}

impl Pcapng {
    /// A reader before its first section.
    pub fn new() -> Pcapng {
        Pcapng { order: Order::Little, interfaces: Vec::new(), trailer: None }
    }

    /// Whether a capture may end here.
    pub fn may_end(&self) -> bool {
        self.trailer.is_none()
    }

    /// Reads the block at the front of the window.
    #[inline]
    pub fn next(&mut self, window: &[u8]) -> Result<Found, Damage> {
        if let Some(total) = self.trailer {
            let Some(trailer) = array(window, 0) else {
                return Ok(Found::Need(4));
            };
            same_length(total, self.order.u32(trailer))?;
            self.trailer = None;
            return Ok(Found::Skip(4));
        }
        let Some(&[t0, t1, t2, t3, l0, l1, l2, l3]) = window.first_chunk::<8>() else {
            return Ok(Found::Need(8));
        };
        let kind = self.order.u32([t0, t1, t2, t3]);
        if kind == block::SECTION_HEADER {
            return self.section(window, [l0, l1, l2, l3]);
        }
        let total = self.order.u32([l0, l1, l2, l3]);
        match kind {
            block::ENHANCED_PACKET | block::OBSOLETE_PACKET => self.packet(window, kind, total),
            block::SIMPLE_PACKET => self.simple_packet(window, total),
            block::INTERFACE_DESCRIPTION => self.interface(window, total),
            block::DECRYPTION_SECRETS => self.secrets(window, total),
            _ => {
                checked_length(total, FRAME, u32::MAX)?;
                self.trailer = Some(total);
                Ok(Found::Skip(u64::from(total - 4)))
            }
        }
    }

    /// A Section Header Block (section 4.1): a new byte order, and no interfaces yet.
    fn section(&mut self, window: &[u8], total: [u8; 4]) -> Result<Found, Damage> {
        let Some(mark) = array::<4>(window, 8) else {
            return Ok(Found::Need(12));
        };
        let order = match u32::from_le_bytes(mark) {
            0x1a2b_3c4d => Order::Little,
            0x4d3c_2b1a => Order::Big,
            _ => {
                return Err(Damage::new("the section has no valid byte-order mark".to_owned()));
            }
        };
        let total = order.u32(total);
        let size = checked_length(total, FRAME + 16, MAX_BLOCK)?;
        let Some(body) = whole(window, size, total, order)? else {
            return Ok(Found::Need(size));
        };
        let version = (array(body, 4).map(|n| order.u16(n)), array(body, 6).map(|n| order.u16(n)));
        // 1.2 was written by mistake, and means 1.0.
        if let (Some(major), Some(minor)) = version
            && (major != 1 || !matches!(minor, 0 | 2))
        {
            return Err(Damage {
                what: format!("pcapng version {major}.{minor}, where only 1.0 is known"),
                advice: "convert it with a newer `editcap -F pcapng IN OUT`",
            });
        }
        self.order = order;
        self.interfaces.clear();
        Ok(Found::Skip(size as u64))
    }

    /// An Interface Description Block (section 4.2).
    fn interface(&mut self, window: &[u8], total: u32) -> Result<Found, Damage> {
        let size = checked_length(total, FRAME + 8, MAX_BLOCK)?;
        let Some(body) = whole(window, size, total, self.order)? else {
            return Ok(Found::Need(size));
        };
        let Some((&[k0, k1, _, _, s0, s1, s2, s3], options)) = body.split_first_chunk::<8>() else {
            return Ok(Found::Need(size));
        };
        if self.interfaces.len() >= MAX_INTERFACES {
            return Err(Damage::new(format!("the section describes more than {MAX_INTERFACES} interfaces")));
        }
        let (resolution, offset) = self.time_options(options)?;
        let (unit, precision) = unit(resolution);
        self.interfaces.push(Interface {
            link: LinkType::from_code(self.order.u16([k0, k1])),
            snaplen: self.order.u32([s0, s1, s2, s3]),
            unit,
            precision,
            offset: offset.saturating_mul(Timestamp::SECOND),
        });
        Ok(Found::Skip(size as u64))
    }

    /// The options `if_tsresol` and `if_tsoffset` (section 4.2), or what they are when left out.
    fn time_options(&self, mut options: &[u8]) -> Result<(u8, i64), Damage> {
        const END: u16 = 0;
        const RESOLUTION: u16 = 9;
        const OFFSET: u16 = 14;
        let (mut resolution, mut offset) = (6, 0);
        while let Some((&[c0, c1, l0, l1], rest)) = options.split_first_chunk::<4>() {
            let code = self.order.u16([c0, c1]);
            if code == END {
                break;
            }
            let length = usize::from(self.order.u16([l0, l1]));
            let Some(value) = rest.get(..length) else {
                return Err(Damage::new(format!(
                    "interface option {code} of {length} bytes runs past the end of its block"
                )));
            };
            match (code, value) {
                (RESOLUTION, &[value]) => resolution = value,
                (OFFSET, value) if let Ok(value) = <[u8; 8]>::try_from(value) => {
                    offset = self.order.i64(value);
                }
                (RESOLUTION | OFFSET, _) => {
                    return Err(Damage::new(format!(
                        "interface option {code} (time) cannot be {length} bytes long"
                    )));
                }
                _ => {}
            }
            // The padding of the last option is sometimes left out.
            options = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok((resolution, offset))
    }

    /// An Enhanced Packet Block (section 4.3), or the obsolete Packet Block (appendix A), which
    /// differs in its interface number only.
    #[inline]
    fn packet(&self, window: &[u8], kind: u32, total: u32) -> Result<Found, Damage> {
        const BODY: u32 = 28;
        let size = checked_length(total, FRAME + 20, MAX_BLOCK)?;
        let Some(head) = window.first_chunk::<{ BODY as usize }>() else {
            return Ok(Found::Need(BODY as usize));
        };
        let [_, _, number, high, low, captured, wire_length] = words(head, self.order);
        let interface = self.interface_of(match (kind, self.order) {
            (block::ENHANCED_PACKET, _) => number,
            // Two bytes of interface, then two bytes of how many packets were dropped.
            (_, Order::Little) => number & 0xffff,
            (_, Order::Big) => number >> 16,
        })?;
        let length = packet_length(captured, total - FRAME - 20)?;
        if whole(window, size, total, self.order)?.is_none() {
            return Ok(Found::Need(size));
        }
        let ticks = u64::from(high) << 32 | u64::from(low);
        Ok(Found::Packet(Record {
            size: total,
            start: BODY,
            length,
            time: interface.time(ticks),
            precision: interface.precision,
            link: interface.link,
            wire_length,
        }))
    }

    /// A Simple Packet Block (section 4.4): of the first interface, without a time. As in libpcap it
    /// gets the epoch, which no real packet has.
    fn simple_packet(&self, window: &[u8], total: u32) -> Result<Found, Damage> {
        let size = checked_length(total, FRAME + 4, MAX_BLOCK)?;
        let Some(wire_length) = array(window, 8) else {
            return Ok(Found::Need(12));
        };
        let wire_length = self.order.u32(wire_length);
        let interface = self.interface_of(0)?;
        let limit = if interface.snaplen == 0 { u32::MAX } else { interface.snaplen };
        let room = total - FRAME - 4;
        let length = packet_length(wire_length.min(limit).min(room), room)?;
        if whole(window, size, total, self.order)?.is_none() {
            return Ok(Found::Need(size));
        }
        Ok(Found::Packet(Record {
            size: total,
            start: 12,
            length,
            time: Timestamp(0),
            precision: interface.precision,
            link: interface.link,
            wire_length,
        }))
    }

    /// A Decryption Secrets Block (section 4.7).
    fn secrets(&self, window: &[u8], total: u32) -> Result<Found, Damage> {
        let size = checked_length(total, FRAME + 8, MAX_BLOCK)?;
        let Some(body) = whole(window, size, total, self.order)? else {
            return Ok(Found::Need(size));
        };
        let Some((&[k0, k1, k2, k3, l0, l1, l2, l3], secrets)) = body.split_first_chunk::<8>() else {
            return Ok(Found::Need(size));
        };
        let length = self.order.u32([l0, l1, l2, l3]);
        if length as usize > secrets.len() {
            return Err(Damage::new(format!(
                "secrets of {length} bytes do not fit into their block of {total}"
            )));
        }
        Ok(Found::Secrets(SecretsRecord {
            size: total,
            start: 16,
            length,
            kind: self.order.u32([k0, k1, k2, k3]),
        }))
    }

    #[inline]
    fn interface_of(&self, number: u32) -> Result<&Interface, Damage> {
        self.interfaces.get(number as usize).ok_or_else(|| {
            Damage::new(format!(
                "the packet is of interface {number}, and the section describes {} so far",
                self.interfaces.len()
            ))
        })
    }
}

impl Interface {
    /// A time outside the range of [`Timestamp`] becomes the nearest that fits.
    #[inline]
    fn time(&self, ticks: u64) -> Timestamp {
        let nanoseconds = match self.unit {
            Unit::Multiply(by) => ticks.saturating_mul(by),
            Unit::Divide(by) => ticks / by,
            Unit::Binary(shift) => {
                // 64 bits of ticks and 30 of factor: no overflow.
                let scaled = u128::from(ticks) * u128::from(Timestamp::SECOND.unsigned_abs());
                u64::try_from(scaled >> shift).unwrap_or(u64::MAX)
            }
        };
        Timestamp(i64::try_from(nanoseconds).unwrap_or(i64::MAX).saturating_add(self.offset))
    }
}

/// The unit and precision of an `if_tsresol`: a negative power of 10, or of 2 if the high bit is set.
fn unit(resolution: u8) -> (Unit, Precision) {
    let exponent = u32::from(resolution & 0x7f);
    if resolution & 0x80 != 0 {
        // 2^-20 is the first power finer than a microsecond.
        let precision = if exponent < 20 { Precision::Micro } else { Precision::Nano };
        return (Unit::Binary(exponent), precision);
    }
    let precision = if exponent <= 6 { Precision::Micro } else { Precision::Nano };
    let unit = match exponent {
        0..=9 => Unit::Multiply(10u64.pow(9 - exponent)),
        10..=28 => Unit::Divide(10u64.pow(exponent - 9)),
        // Not even 2^64 such ticks are a nanosecond.
        _ => Unit::Binary(u128::BITS - 1),
    };
    (unit, precision)
}

/// The block's whole length, if it can be: within the limits, and whole 32-bit words.
#[inline]
fn checked_length(total: u32, least: u32, most: u32) -> Result<usize, Damage> {
    if total < least || total > most {
        return Err(Damage::new(format!(
            "the block claims {total} bytes, where {least} to {most} are possible"
        )));
    }
    if !total.is_multiple_of(4) {
        return Err(Damage::new(format!("the block claims {total} bytes, not a multiple of 4")));
    }
    Ok(total as usize)
}

/// The length of a packet, if it can be: under the cap, and with room in its block.
#[inline]
fn packet_length(captured: u32, room: u32) -> Result<u32, Damage> {
    if captured > MAX_CAPTURED {
        return Err(Damage::new(format!(
            "the block claims {captured} captured bytes, more than {MAX_CAPTURED}"
        )));
    }
    if captured > room {
        return Err(Damage::new(format!("{captured} captured bytes do not fit into a block with {room}")));
    }
    Ok(captured)
}

/// The body of a block between its lengths, if the window holds all of it.
#[inline]
fn whole(window: &[u8], size: usize, total: u32, order: Order) -> Result<Option<&[u8]>, Damage> {
    let Some(block) = window.get(..size) else {
        return Ok(None);
    };
    let Some((body, &trailer)) = block.get(8..).and_then(|rest| rest.split_last_chunk::<4>()) else {
        return Ok(None);
    };
    same_length(total, order.u32(trailer))?;
    Ok(Some(body))
}

#[inline]
fn same_length(first: u32, second: u32) -> Result<(), Damage> {
    if first == second {
        return Ok(());
    }
    Err(Damage::new(format!("the block's two lengths differ: {first} before it, {second} after")))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Writes blocks in one byte order.
    #[derive(Clone, Copy)]
    pub struct Writer {
        pub big: bool,
    }

    impl Writer {
        pub fn u16(self, value: u16) -> [u8; 2] {
            if self.big { value.to_be_bytes() } else { value.to_le_bytes() }
        }

        pub fn u32(self, value: u32) -> [u8; 4] {
            if self.big { value.to_be_bytes() } else { value.to_le_bytes() }
        }

        pub fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
            let padded = body.len().next_multiple_of(4);
            let total = self.u32(padded as u32 + 12);
            let mut block = [self.u32(kind), total].concat();
            block.extend(body);
            block.resize(padded + 8, 0);
            block.extend(total);
            block
        }

        pub fn section(self) -> Vec<u8> {
            let body = [&self.u32(0x1a2b_3c4d)[..], &self.u16(1), &self.u16(0), &[0xff; 8]].concat();
            self.block(block::SECTION_HEADER, &body)
        }

        pub fn interface(self, link: u16, snaplen: u32, options: &[(u16, &[u8])]) -> Vec<u8> {
            let mut body = [&self.u16(link)[..], &[0; 2], &self.u32(snaplen)].concat();
            for (code, value) in options {
                body.extend(self.u16(*code));
                body.extend(self.u16(value.len() as u16));
                body.extend(*value);
                body.resize(body.len().next_multiple_of(4), 0);
            }
            self.block(block::INTERFACE_DESCRIPTION, &body)
        }

        pub fn packet(self, interface: u32, ticks: u64, wire: u32, bytes: &[u8]) -> Vec<u8> {
            let words = [interface, (ticks >> 32) as u32, ticks as u32, bytes.len() as u32, wire];
            let mut body: Vec<u8> = words.iter().flat_map(|word| self.u32(*word)).collect();
            body.extend(bytes);
            self.block(block::ENHANCED_PACKET, &body)
        }

        pub fn secrets(self, bytes: &[u8]) -> Vec<u8> {
            let mut body = [self.u32(0x544c_534b), self.u32(bytes.len() as u32)].concat();
            body.extend(bytes);
            self.block(block::DECRYPTION_SECRETS, &body)
        }
    }

    const LITTLE: Writer = Writer { big: false };
    const BIG: Writer = Writer { big: true };

    /// Everything in the file, up to its end or to the damage.
    fn read(bytes: &[u8]) -> (Vec<Record>, Vec<SecretsRecord>, Option<Damage>) {
        let (mut packets, mut secrets, mut parser, mut at) = (Vec::new(), Vec::new(), Pcapng::new(), 0);
        loop {
            match parser.next(&bytes[at..]) {
                Ok(Found::Packet(record)) => {
                    at += record.size as usize;
                    packets.push(record);
                }
                Ok(Found::Secrets(record)) => {
                    at += record.size as usize;
                    secrets.push(record);
                }
                Ok(Found::Skip(n)) if n as usize <= bytes.len() - at => at += n as usize,
                Ok(_) => return (packets, secrets, None),
                Err(damage) => return (packets, secrets, Some(damage)),
            }
        }
    }

    fn packets(bytes: &[u8]) -> Vec<Record> {
        let (packets, _, damage) = read(bytes);
        assert_eq!(damage, None);
        packets
    }

    fn damage(bytes: &[u8]) -> String {
        read(bytes).2.expect("damage").what
    }

    #[test]
    fn sections_have_their_own_order_and_interfaces() {
        let file = [
            LITTLE.section(),
            LITTLE.interface(1, 0, &[]),
            LITTLE.interface(113, 0, &[(9, &[9])]),
            LITTLE.packet(1, 5, 99, b"first"),
            LITTLE.packet(0, 6, 6, b"second"),
            BIG.section(),
            BIG.interface(101, 0, &[]),
            BIG.packet(0, (1 << 32) + 7, 3, b"3rd"),
        ]
        .concat();
        let packets = packets(&file);
        let seen: Vec<_> =
            packets.iter().map(|p| (p.time.0, p.precision, p.link, p.length, p.wire_length)).collect();
        assert_eq!(
            seen,
            [
                (5, Precision::Nano, LinkType::LinuxCooked, 5, 99),
                (6_000, Precision::Micro, LinkType::Ethernet, 6, 6),
                (((1 << 32) + 7) * 1_000, Precision::Micro, LinkType::RawIp, 3, 3),
            ]
        );
    }

    #[test]
    fn time_resolutions_and_offset() {
        let offset = 10i64.to_le_bytes();
        let time = |options: &[(u16, &[u8])], ticks| {
            let file = [LITTLE.section(), LITTLE.interface(1, 0, options), LITTLE.packet(0, ticks, 0, b"")];
            let packet = packets(&file.concat())[0];
            (packet.time.0, packet.precision)
        };
        assert_eq!(time(&[], 1_500_000), (1_500_000_000, Precision::Micro));
        assert_eq!(time(&[(9, &[0])], 3), (3_000_000_000, Precision::Micro));
        assert_eq!(time(&[(9, &[3])], 3), (3_000_000, Precision::Micro));
        assert_eq!(time(&[(9, &[12])], 3_999), (3, Precision::Nano));
        assert_eq!(time(&[(9, &[28])], u64::MAX), (1, Precision::Nano));
        assert_eq!(time(&[(9, &[29])], u64::MAX), (0, Precision::Nano));
        assert_eq!(time(&[(9, &[127])], u64::MAX), (0, Precision::Nano));
        assert_eq!(time(&[(9, &[0x80 | 10])], 1536), (1_500_000_000, Precision::Micro));
        assert_eq!(time(&[(9, &[0x80 | 32])], 3 << 31), (1_500_000_000, Precision::Nano));
        assert_eq!(time(&[(9, &[0x80 | 127])], u64::MAX), (0, Precision::Nano));
        assert_eq!(time(&[(14, &offset)], 1_000_000), (11_000_000_000, Precision::Micro));
        assert_eq!(time(&[(14, &i64::MAX.to_le_bytes())], 1), (i64::MAX, Precision::Micro));
        assert_eq!(time(&[(9, &[0])], u64::MAX), (i64::MAX, Precision::Micro));
        // What follows the end of options is not an option.
        assert_eq!(time(&[(0, &[]), (9, &[0])], 1), (1_000, Precision::Micro));
    }

    #[test]
    fn simple_and_obsolete_packets() {
        let simple = |wire: u32, bytes: &[u8]| {
            let body = [&LITTLE.u32(wire)[..], bytes].concat();
            LITTLE.block(block::SIMPLE_PACKET, &body)
        };
        let obsolete = [
            &LITTLE.u16(0)[..],
            &LITTLE.u16(0xffff),
            &LITTLE.u32(0),
            &LITTLE.u32(8),
            &LITTLE.u32(2),
            &LITTLE.u32(70),
            b"ab",
        ]
        .concat();
        let file = [
            LITTLE.section(),
            LITTLE.interface(1, 6, &[]),
            simple(5, b"small"),
            simple(100, b"cut to snaplen"),
            LITTLE.block(block::OBSOLETE_PACKET, &obsolete),
        ]
        .concat();
        let seen: Vec<_> =
            packets(&file).iter().map(|p| (p.time.0, p.start, p.length, p.wire_length)).collect();
        assert_eq!(seen, [(0, 12, 5, 5), (0, 12, 6, 100), (8_000, 28, 2, 70)]);
    }

    #[test]
    fn secrets_are_cut_to_their_length() {
        let file = [LITTLE.section(), LITTLE.secrets(b"CLIENT_RANDOM")].concat();
        let (_, secrets, damage) = read(&file);
        assert_eq!(damage, None);
        let expected = SecretsRecord { size: 36, start: 16, length: 13, kind: 0x544c_534b };
        assert_eq!(secrets, [expected]);
    }

    #[test]
    fn other_blocks_are_passed_over_without_being_read() {
        let custom = BIG.block(0x0bad, &[7; 50]);
        let start = [BIG.section(), BIG.interface(1, 0, &[])].concat();
        let file = [&start[..], &custom, &BIG.packet(0, 1, 1, b"x")].concat();
        assert_eq!(packets(&file).len(), 1);
        let mut parser = Pcapng::new();
        parser.next(&start).unwrap();
        assert_eq!(parser.next(&custom[..8]), Ok(Found::Skip(60)));
        assert!(!parser.may_end());
        let mut wrong = file;
        wrong[start.len() + 60 + 3] ^= 4;
        assert!(damage(&wrong).contains("two lengths differ"));
    }

    #[test]
    fn damage_is_named() {
        let start = [LITTLE.section(), LITTLE.interface(1, 0, &[])].concat();
        let after = |block: Vec<u8>| damage(&[&start[..], &block].concat());
        assert!(after(LITTLE.packet(1, 0, 0, b"")).contains("interface 1"));
        let mut packet = LITTLE.packet(0, 0, 4, b"data");
        packet[20] = 5;
        assert!(after(packet.clone()).contains("5 captured bytes do not fit"));
        packet[20..24].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(after(packet.clone()).contains("more than 1048576"));
        packet[4] = 37;
        assert!(after(packet.clone()).contains("not a multiple of 4"));
        packet[4..8].copy_from_slice(&0xffff_fff0u32.to_le_bytes());
        assert!(after(packet).contains("claims 4294967280 bytes"));
        assert!(after(LITTLE.block(9, &[])[..4].repeat(3)).contains("claims 9 bytes"));
        assert!(after(LITTLE.interface(1, 0, &[(9, &[1, 2])])).contains("cannot be 2 bytes"));
        let mut options = LITTLE.interface(1, 0, &[(2, b"eth0")]);
        options[18] = 200;
        assert!(after(options).contains("option 2 of 200 bytes"));
        let mut section = LITTLE.section();
        section[12] = 2;
        assert!(damage(&section).contains("version 2.0"));
        section[12] = 1;
        section[14] = 1;
        assert!(damage(&section).contains("version 1.1"));
        section[8] = 0;
        assert!(damage(&section).contains("byte-order mark"));
    }

    proptest! {
        #[test]
        fn any_bytes_give_values_that_fit(
            big in any::<bool>(),
            blocks in prop::collection::vec(
                (0u32..12, prop::collection::vec(any::<u8>(), 0..60), any::<bool>()), 0..8),
            noise in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let writer = Writer { big };
            let mut bytes = [writer.section(), writer.interface(1, 0, &[])].concat();
            for (kind, mut body, zeros) in blocks {
                if zeros {
                    // A small interface number and small lengths get further.
                    body.iter_mut().take(18).for_each(|byte| *byte = 0);
                }
                bytes.extend(writer.block(kind, &body));
            }
            bytes.extend(noise);
            let mut parser = Pcapng::new();
            let mut rest = &bytes[..];
            loop {
                let size = match parser.next(rest) {
                    Ok(Found::Packet(r)) => {
                        prop_assert!(r.start + r.length <= r.size && r.size as usize <= rest.len());
                        u64::from(r.size)
                    }
                    Ok(Found::Secrets(r)) => {
                        prop_assert!(r.start + r.length <= r.size && r.size as usize <= rest.len());
                        u64::from(r.size)
                    }
                    Ok(Found::Skip(n)) => n,
                    Ok(Found::Need(n)) => {
                        prop_assert!(n > rest.len() && n <= MAX_BLOCK as usize);
                        break;
                    }
                    Err(damage) => {
                        prop_assert!(!damage.what.is_empty());
                        break;
                    }
                };
                prop_assert!(size > 0);
                match rest.get(size as usize..) {
                    Some(after) => rest = after,
                    None => break,
                }
            }
        }
    }
}
