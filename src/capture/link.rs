//! The tcpdump.org LINKTYPE registry, as far as this program has a use for it.

use super::LinkType;

impl LinkType {
    /// The link type of a LINKTYPE code, as capture files record it.
    ///
    /// 12 and 14 are what BSD systems called raw IP before 101 was agreed on, and some files hold them.
    pub fn from_code(code: u16) -> LinkType {
        match code {
            1 => LinkType::Ethernet,
            12 | 14 | 101 | 228 | 229 => LinkType::RawIp,
            113 => LinkType::LinuxCooked,
            276 => LinkType::LinuxCooked2,
            0 | 108 => LinkType::Loopback,
            other => LinkType::Other(other),
        }
    }

    /// A code that stands for it in a capture file.
    pub fn code(self) -> u16 {
        match self {
            LinkType::Ethernet => 1,
            LinkType::RawIp => 101,
            LinkType::LinuxCooked => 113,
            LinkType::LinuxCooked2 => 276,
            LinkType::Loopback => 0,
            LinkType::Other(code) => code,
        }
    }
}

/// The usual name of a link type, or `None` if it is not one of the common ones.
///
/// The registry is at <https://www.tcpdump.org/linktypes.html>.
pub fn link_name(code: u16) -> Option<&'static str> {
    Some(match code {
        0 => "BSD loopback",
        1 => "Ethernet",
        3 => "AX.25",
        6 => "IEEE 802.5 Token Ring",
        8 => "SLIP",
        9 => "PPP",
        10 => "FDDI",
        12 | 14 | 101 => "raw IP",
        50 => "PPP in HDLC-like framing",
        51 => "PPPoE",
        100 => "LLC/SNAP over ATM",
        104 => "Cisco HDLC",
        105 => "IEEE 802.11",
        107 => "Frame Relay",
        108 => "OpenBSD loopback",
        109 => "OpenBSD IPsec enc",
        113 => "Linux cooked",
        117 => "OpenBSD pflog",
        119 => "IEEE 802.11 with Prism header",
        122 => "IP over Fibre Channel",
        127 => "IEEE 802.11 with radiotap header",
        138 => "IP over FireWire",
        147..=162 => "private use",
        163 => "IEEE 802.11 with AVS header",
        187 => "Bluetooth HCI",
        189 | 220 => "Linux USB",
        192 => "per-packet information",
        195 | 230 => "IEEE 802.15.4",
        201 => "Bluetooth HCI with direction",
        204 => "PPP with direction",
        226 => "Solaris IP over InfiniBand or ipnet",
        227 => "CAN",
        228 => "raw IPv4",
        229 => "raw IPv6",
        239 => "Linux NFLOG",
        247 => "IP over InfiniBand",
        249 => "Windows USB",
        251 => "Bluetooth Low Energy",
        252 => "Wireshark upper PDU",
        253 => "Linux netlink",
        258 => "macOS pktap",
        276 => "Linux cooked, version 2",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_the_decoded_link_types() {
        for (code, link) in [
            (0, LinkType::Loopback),
            (1, LinkType::Ethernet),
            (12, LinkType::RawIp),
            (14, LinkType::RawIp),
            (101, LinkType::RawIp),
            (108, LinkType::Loopback),
            (113, LinkType::LinuxCooked),
            (228, LinkType::RawIp),
            (229, LinkType::RawIp),
            (276, LinkType::LinuxCooked2),
        ] {
            assert_eq!(LinkType::from_code(code), link);
            assert_eq!(LinkType::from_code(link.code()), link);
            assert!(link_name(code).is_some(), "{code} has a name");
        }
        assert_eq!(LinkType::from_code(127), LinkType::Other(127));
    }

    #[test]
    fn names_of_other_link_types() {
        assert_eq!(link_name(105), Some("IEEE 802.11"));
        assert_eq!(link_name(9), Some("PPP"));
        assert_eq!(link_name(u16::MAX), None);
    }
}
