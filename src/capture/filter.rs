//! BPF filter expressions, as tcpdump takes them, compiled by libpcap.

use pcap::{BpfProgram, Capture, Linktype};

use super::{LinkType, Packet};

/// A filter expression (pcap-filter(7)), compiled once for each link type that it meets.
///
/// It sees the captured bytes only: `len`, `less` and `greater` are about the captured length.
pub struct Filter {
    expression: String,
    programs: [Option<BpfProgram>; LINKS.len()],
}

/// A filter expression that libpcap does not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("filter `{}`{link}: {message}; see pcap-filter(7) for what can be asked", shown(expression))]
pub struct FilterError {
    /// The expression as given.
    pub expression: String,
    /// ` on …` with the link type, when the expression makes sense on others.
    pub link: String,
    /// What libpcap says of it.
    pub message: String,
}

/// How much of an expression an error shows, in characters.
const SHOWN: usize = 200;
/// The link types that programs are compiled for, with libpcap's DLT number and its name for people.
const LINKS: [(i32, &str); 4] =
    [(1, "Ethernet"), (DLT_RAW, "raw IP"), (113, "Linux cooked"), (276, "Linux cooked, version 2")];

/// DLT numbers are libpcap's own, and this one differs by system (pcap/dlt.h).
const DLT_RAW: i32 = if cfg!(target_os = "openbsd") { 14 } else { 12 };

impl Filter {
    /// Compiles an expression.
    ///
    /// # Errors
    /// An expression that libpcap takes on no link type. One that it takes on some only, such as
    /// `ether host`, is an error of [`Filter::matches`] where it meets another.
    pub fn new(expression: &str) -> Result<Filter, FilterError> {
        let mut filter = Filter { expression: expression.to_owned(), programs: Default::default() };
        let mut first = None;
        for (program, link) in filter.programs.iter_mut().zip(LINKS) {
            match compile(expression, link) {
                Ok(compiled) => {
                    *program = Some(compiled);
                    return Ok(filter);
                }
                Err(error) => {
                    first.get_or_insert(error);
                }
            }
        }
        Err(FilterError {
            expression: expression.to_owned(),
            link: String::new(),
            message: first.map(|error| error.message).unwrap_or_default(),
        })
    }

    /// Whether a packet matches.
    ///
    /// Packets of link types that are not decoded always match, so that they are counted and named as
    /// such instead of going missing.
    ///
    /// # Errors
    /// An expression that makes no sense on the packet's link type.
    pub fn matches(&mut self, packet: &Packet<'_>) -> Result<bool, FilterError> {
        let (index, bytes) = match packet.link {
            LinkType::Ethernet => (0, packet.bytes),
            LinkType::RawIp => (1, packet.bytes),
            // After four bytes in the byte order of who knows which host, it is raw IP.
            LinkType::Loopback => (1, packet.bytes.get(4..).unwrap_or_default()),
            LinkType::LinuxCooked => (2, packet.bytes),
            LinkType::LinuxCooked2 => (3, packet.bytes),
            LinkType::Other(_) => return Ok(true),
        };
        let (Some(program), Some(link)) = (self.programs.get_mut(index), LINKS.get(index)) else {
            return Ok(true);
        };
        let program = match program {
            Some(program) => program,
            None => program.insert(compile(&self.expression, *link)?),
        };
        Ok(program.filter(bytes))
    }
}

fn compile(expression: &str, (dlt, link): (i32, &str)) -> Result<BpfProgram, FilterError> {
    Capture::dead(Linktype(dlt)).and_then(|capture| capture.compile(expression, true)).map_err(|error| {
        FilterError {
            expression: expression.to_owned(),
            link: format!(" on {link}"),
            message: message(&error),
        }
    })
}

/// The expression as it may stand in an error: cut when long.
fn shown(expression: &str) -> &str {
    expression.char_indices().nth(SHOWN).and_then(|(end, _)| expression.get(..end)).unwrap_or(expression)
}

/// libpcap's own words.
pub(super) fn message(error: &pcap::Error) -> String {
    match error {
        pcap::Error::PcapError(message) => message.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{Precision, Timestamp};
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    fn packet(link: LinkType, bytes: &[u8]) -> Packet<'_> {
        Packet {
            capture: 0,
            number: 1,
            time: Timestamp(0),
            precision: Precision::Micro,
            link,
            wire_length: bytes.len() as u32,
            bytes,
        }
    }

    /// TCP from port 1000 to 443, behind each link type's header.
    fn everywhere(six: bool) -> Vec<(LinkType, Vec<u8>)> {
        let mut ip = Vec::new();
        let builder = if six {
            PacketBuilder::ipv6([1; 16], [2; 16], 64)
        } else {
            PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        };
        builder.tcp(1000, 443, 1, 1000).write(&mut ip, b"hello").unwrap();
        let ether_type: [u8; 2] = if six { [0x86, 0xdd] } else { [8, 0] };
        let behind = |header: &[&[u8]]| [&header.concat()[..], &ip].concat();
        vec![
            (LinkType::Ethernet, behind(&[&[2; 12], &ether_type])),
            (LinkType::RawIp, ip.clone()),
            (LinkType::LinuxCooked, behind(&[&[0, 0, 0, 1, 0, 6], &[0; 8], &ether_type])),
            (LinkType::LinuxCooked2, behind(&[&ether_type, &[0; 18]])),
            (LinkType::Loopback, behind(&[if six { &[0, 0, 0, 24] } else { &[0, 0, 0, 2] }])),
            (LinkType::Loopback, behind(&[if six { &[30, 0, 0, 0] } else { &[2, 0, 0, 0] }])),
        ]
    }

    #[test]
    fn every_decoded_link_type() {
        for six in [false, true] {
            for (expression, expected) in [
                ("tcp port 443", true),
                ("tcp port 80", false),
                ("udp", false),
                ("ip", !six),
                ("ip6", six),
                ("host 10.0.0.2", !six),
                ("", true),
            ] {
                let mut filter = Filter::new(expression).unwrap();
                for (link, bytes) in everywhere(six) {
                    let matched = filter.matches(&packet(link, &bytes));
                    assert_eq!(matched, Ok(expected), "{expression} on {link:?}");
                }
            }
        }
    }

    #[test]
    fn link_types_that_are_not_decoded_match() {
        let mut filter = Filter::new("tcp port 443").unwrap();
        assert_eq!(filter.matches(&packet(LinkType::Other(127), b"")), Ok(true));
    }

    #[test]
    fn errors_quote_libpcap() {
        let error = Filter::new("tcp prot 443").map(|_| ()).unwrap_err();
        assert!(error.to_string().starts_with("filter `tcp prot 443`: "), "{error}");
        assert!(error.message.contains("syntax error"), "{error}");
        let mut filter = Filter::new("ether host 02:02:02:02:02:02").unwrap();
        let samples = everywhere(false);
        assert_eq!(filter.matches(&packet(LinkType::Ethernet, &samples[0].1)), Ok(true));
        let error = filter.matches(&packet(LinkType::RawIp, &samples[1].1)).unwrap_err();
        assert!(error.to_string().contains(" on raw IP: "), "{error}");
        assert!(Filter::new("tcp\0port").is_err());
    }

    proptest! {
        #[test]
        fn any_packet_gives_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut filter = Filter::new("tcp port 443 or ip6 or ip[40] = 7").unwrap();
            for (link, _) in everywhere(false) {
                prop_assert!(filter.matches(&packet(link, &bytes)).is_ok());
            }
        }
    }
}
