//! From record to record through a capture in memory, with no more checks than a walk needs.

/// What is walked is neither pcap nor pcapng.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Foreign;

/// The most interfaces of one pcapng section whose link types are remembered.
const INTERFACES: usize = 1024;

/// Lends every packet with its LINKTYPE code and the eight bytes of its time as they stand; stops where
/// the capture is cut or makes no sense.
pub(super) fn each_packet(capture: &[u8], mut packet: impl FnMut(u16, u64, &[u8])) -> Result<(), Foreign> {
    match capture.first_chunk::<4>() {
        Some([0xd4, 0xc3, 0xb2, 0xa1] | [0x4d, 0x3c, 0xb2, 0xa1]) => pcap::<false, 16>(capture, &mut packet),
        Some([0xa1, 0xb2, 0xc3, 0xd4] | [0xa1, 0xb2, 0x3c, 0x4d]) => pcap::<true, 16>(capture, &mut packet),
        // Kuznetzov's variant has eight more bytes in every record header.
        Some([0x34, 0xcd, 0xb2, 0xa1]) => pcap::<false, 24>(capture, &mut packet),
        Some([0xa1, 0xb2, 0xcd, 0x34]) => pcap::<true, 24>(capture, &mut packet),
        Some([0x0a, 0x0d, 0x0d, 0x0a]) => pcapng(capture, &mut packet),
        _ => return Err(Foreign),
    };
    Ok(())
}

/// Classic pcap since version 2.4 (draft-ietf-opsawg-pcap sections 4 and 5).
fn pcap<const BIG: bool, const HEADER: usize>(
    capture: &[u8],
    packet: &mut impl FnMut(u16, u64, &[u8]),
) -> Option<()> {
    let (head, mut rest) = capture.split_first_chunk::<24>()?;
    let link = number::<BIG>(head, 20)? as u16;
    loop {
        let (head, after) = rest.split_first_chunk::<HEADER>()?;
        let (bytes, next) = after.split_at_checked(number::<BIG>(head, 8)? as usize)?;
        packet(link, u64::from_le_bytes(*head.first_chunk()?), bytes);
        rest = next;
    }
}

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

/// pcapng (draft-ietf-opsawg-pcapng section 4); a section's byte order stands behind its first eight bytes.
fn pcapng(mut rest: &[u8], packet: &mut impl FnMut(u16, u64, &[u8])) -> Option<()> {
    let mut links = Vec::new();
    loop {
        let big = rest.get(8..12)? == [0x1a, 0x2b, 0x3c, 0x4d];
        rest = if big {
            section::<true>(rest, &mut links, packet)
        } else {
            section::<false>(rest, &mut links, packet)
        }?;
    }
}

/// Walks one section; what is left begins with the next one.
fn section<'a, const BIG: bool>(
    mut rest: &'a [u8],
    links: &mut Vec<u16>,
    packet: &mut impl FnMut(u16, u64, &[u8]),
) -> Option<&'a [u8]> {
    links.clear();
    let mut begun = false;
    loop {
        let kind = number::<BIG>(rest, 0)?;
        if kind == SECTION_HEADER && begun {
            return Some(rest);
        }
        begun = true;
        let length = number::<BIG>(rest, 4)? as usize;
        // The total length stands at both ends of a block; shorter than that it would not go on.
        let (block, next) = rest.split_at_checked(length.max(12).next_multiple_of(4))?;
        match kind {
            INTERFACE if links.len() < INTERFACES => links.push(half::<BIG>(number::<BIG>(block, 8)?)),
            ENHANCED_PACKET | PACKET => {
                let interface = number::<BIG>(block, 8)?;
                // The older block has a counter of drops in the same four bytes.
                let interface = if kind == PACKET { u32::from(half::<BIG>(interface)) } else { interface };
                let link = links.get(interface as usize).copied().unwrap_or(u16::MAX);
                let bytes = block.get(28..)?.get(..number::<BIG>(block, 20)? as usize)?;
                packet(link, u64::from_le_bytes(*block.get(12..)?.first_chunk()?), bytes);
            }
            SIMPLE_PACKET => {
                // It may be cut to the interface's snapshot length: what is padding then is lent as well.
                let bytes = block.get(12..block.len() - 4)?;
                let wire = number::<BIG>(block, 8)? as usize;
                packet(links.first().copied().unwrap_or(u16::MAX), 0, &bytes[..wire.min(bytes.len())]);
            }
            _ => {}
        }
        rest = next;
    }
}

#[inline]
fn number<const BIG: bool>(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = *bytes.get(at..)?.first_chunk()?;
    Some(if BIG { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
}

/// The first two of four bytes.
fn half<const BIG: bool>(number: u32) -> u16 {
    (if BIG { number >> 16 } else { number & 0xffff }) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packets(capture: &[u8]) -> Option<Vec<(u16, Vec<u8>)>> {
        let mut packets = Vec::new();
        each_packet(capture, |link, _, bytes| packets.push((link, bytes.to_vec()))).ok()?;
        Some(packets)
    }

    fn words(big: bool, words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| if big { word.to_be_bytes() } else { word.to_le_bytes() }).collect()
    }

    fn block(big: bool, kind: u32, body: &[u8]) -> Vec<u8> {
        let body = [body, &[0; 3][..(4 - body.len() % 4) % 4]].concat();
        let length = body.len() as u32 + 12;
        [&words(big, &[kind, length])[..], &body, &words(big, &[length])].concat()
    }

    #[test]
    fn pcap_in_every_layout() {
        for big in [false, true] {
            for (magic, more) in [(0xa1b2_c3d4, 0), (0xa1b2_3c4d, 0), (0xa1b2_cd34, 2)] {
                let file = words(big, &[magic, 0, 0, 0, 65_535, 113]);
                let head = [&words(big, &[1, 2, 5, 9])[..], &vec![0; more * 4]].concat();
                let whole = [&file[..], &head, b"first", &head, b"other"].concat();
                let expected = [(113, b"first".to_vec()), (113, b"other".to_vec())];
                assert_eq!(packets(&whole).unwrap(), expected, "{magic:x} {big}");
                assert_eq!(packets(&whole[..whole.len() - 1]).unwrap(), expected[..1], "cut");
            }
        }
    }

    #[test]
    fn pcapng_with_sections_of_both_orders() {
        let section = |big: bool, link: u8| {
            let order = words(big, &[0x1a2b_3c4d]);
            let half = |value: u16| if big { value.to_be_bytes() } else { value.to_le_bytes() };
            let interface = |link: u8| [half(u16::from(link)), half(0)].concat();
            [
                block(big, SECTION_HEADER, &[&order[..], &[0; 12]].concat()),
                block(big, INTERFACE, &interface(1)),
                block(big, INTERFACE, &interface(link)),
                block(big, ENHANCED_PACKET, &[&words(big, &[1, 0, 0, 3, 3])[..], b"new"].concat()),
                block(big, 4, b"names"),
                block(big, PACKET, &[&half(1)[..], &half(7), &words(big, &[0, 0, 3, 3]), b"old"].concat()),
                block(big, SIMPLE_PACKET, &[&words(big, &[6])[..], b"simple"].concat()),
            ]
            .concat()
        };
        let expected =
            |link: u16| [(link, b"new".to_vec()), (link, b"old".to_vec()), (1, b"simple".to_vec())];
        let whole = [section(false, 113), section(true, 101)].concat();
        assert_eq!(packets(&whole).unwrap(), [expected(113), expected(101)].concat());
    }

    #[test]
    fn what_is_foreign() {
        for foreign in [&b""[..], b"\x1f\x8b\x08\x00rest", b"text"] {
            assert_eq!(packets(foreign), None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_come_to_an_end(
            magic in prop::sample::select(vec![0xa1b2_c3d4u32, 0xd4c3_b2a1, 0xa1b2_cd34, 0x0a0d_0d0a]),
            rest in prop::collection::vec(prop_oneof![Just(0u8), Just(6), Just(32), any::<u8>()], 0..400),
        ) {
            let whole = [&magic.to_le_bytes()[..], &rest].concat();
            let lent: usize = packets(&whole).unwrap().iter().map(|(_, bytes)| bytes.len()).sum();
            prop_assert!(lent <= whole.len());
        }
    }
}
