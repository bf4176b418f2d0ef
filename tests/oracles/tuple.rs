//! Five-tuples, and what is counted of each.

use std::fmt;
use std::net::IpAddr;
use std::ops::AddAssign;

/// An address and a port.
pub type End = (IpAddr, u16);

/// An IP protocol number and two ends, the lower first; protocols without ports have ports 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tuple {
    pub transport: u8,
    pub ends: [End; 2],
}

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;

impl Tuple {
    /// The tuple of a packet or conversation, and whether its ends were turned round.
    pub fn new(transport: u8, from: End, to: End) -> (Tuple, bool) {
        let turned = from > to;
        let ends = if turned { [to, from] } else { [from, to] };
        (Tuple { transport, ends }, turned)
    }

    /// Both ends have the same address.
    pub fn is_of_one_address(&self) -> bool {
        self.ends[0].0 == self.ends[1].0
    }

    /// The two addresses alone.
    pub fn addresses(&self) -> Tuple {
        let [a, b] = self.ends;
        Tuple::new(0, (a.0, 0), (b.0, 0)).0
    }
}

impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [(a, a_port), (b, b_port)] = self.ends;
        write!(f, "{} {a} {a_port} - {b} {b_port}", self.transport)
    }
}

/// Packets and bytes on the wire, from the lower end and from the higher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub packets: [u64; 2],
    pub bytes: [u64; 2],
}

impl Counts {
    /// One packet of so many bytes.
    pub fn packet(bytes: u64, turned: bool) -> Counts {
        Counts { packets: [1, 0], bytes: [bytes, 0] }.turned(turned)
    }

    /// The same with the ends turned round, if they were.
    pub fn turned(mut self, turned: bool) -> Counts {
        if turned {
            self.packets.reverse();
            self.bytes.reverse();
        }
        self
    }

    /// The same without directions, which addresses that are the same do not tell.
    pub fn one_way(&self) -> Counts {
        Counts { packets: [self.total(), 0], bytes: [self.bytes.iter().sum(), 0] }
    }

    /// Packets of both directions.
    pub fn total(&self) -> u64 {
        self.packets.iter().sum()
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        for at in 0..2 {
            self.packets[at] += other.packets[at];
            self.bytes[at] += other.bytes[at];
        }
    }
}
