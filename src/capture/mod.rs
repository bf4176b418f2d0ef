//! Where packets come from: classic pcap, pcapng, gzip or zstd of them, a pipe, or an interface.
//!
//! Every source lends its packets: the bytes stay in the memory map, the read buffer or the kernel's
//! ring, and nothing is copied. This room knows nothing of what is inside a packet.

mod compression;
mod file;
mod filter;
mod gzip;
mod link;
mod live;
mod map;
mod merge;
#[cfg(test)]
mod oracle;
mod pcap;
mod pcapng;
mod record;
mod records;
mod stream;
mod window;
mod write;

use std::fmt;

pub use file::{FileSource, open};
pub use filter::{Filter, FilterError};
pub use link::link_name;
pub use live::{Drained, HOLD_BACK, Interfaces, LiveOptions, LiveStats};
pub(crate) use map::map;
pub use map::{Mapped, Maps};
pub(crate) use map::{near, near_to_write};
pub use merge::{Merged, Run};
pub use record::MAX_CAPTURED;
pub use write::PcapBuffer;

/// A point in packet time: nanoseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Nanoseconds in one second.
    pub const SECOND: i64 = 1_000_000_000;
}

/// How many decimal digits of a second a capture records; reports print times with as many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precision {
    /// Microseconds: classic pcap's usual unit, and pcapng's default.
    #[default]
    Micro,
    /// Nanoseconds, or anything finer than microseconds.
    Nano,
}

/// What the first bytes of a packet are (the tcpdump.org LINKTYPE registry).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkType {
    /// LINKTYPE_ETHERNET, 1.
    Ethernet,
    /// LINKTYPE_RAW 101 (and 12, 14), LINKTYPE_IPV4 228, LINKTYPE_IPV6 229: IP from the first byte.
    RawIp,
    /// LINKTYPE_LINUX_SLL, 113.
    LinuxCooked,
    /// LINKTYPE_LINUX_SLL2, 276.
    LinuxCooked2,
    /// LINKTYPE_NULL 0 (byte order of the capturing host) and LINKTYPE_LOOP 108 (big endian).
    Loopback,
    /// Anything else: its packets are counted, named in an error, and not audited.
    Other(u16),
}

/// One captured frame, lent by its source.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Which capture it came from: an index into the audit's list of captures.
    pub capture: u16,
    /// Its number within that capture, from 1, as Wireshark counts.
    pub number: u64,
    /// When it was captured.
    pub time: Timestamp,
    /// The unit its time was recorded in.
    pub precision: Precision,
    /// What its first bytes are.
    pub link: LinkType,
    /// Its length on the wire, in bytes; at least `bytes.len()` unless the record lies.
    pub wire_length: u32,
    /// The bytes captured.
    pub bytes: &'a [u8],
}

/// Secrets that a capture carries for the packets after it: a pcapng Decryption Secrets Block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Secrets<'a> {
    /// Which capture they came from, as in [`Packet::capture`].
    pub capture: u16,
    /// What they are, such as [`Secrets::TLS_KEY_LOG`].
    pub kind: u32,
    /// The secrets themselves, without padding. Never to be stored in or printed by a report.
    pub bytes: &'a [u8],
}

impl Secrets<'_> {
    /// A TLS key log in the format of `SSLKEYLOGFILE` (draft-ietf-opsawg-pcapng section 4.7).
    pub const TLS_KEY_LOG: u32 = 0x544c_534b;
}

/// What a capture file holds, in the order in which it holds it.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A packet.
    Packet(Packet<'a>),
    /// Secrets for the packets after it.
    Secrets(Secrets<'a>),
}

/// A source of packets.
pub trait Source {
    /// Lends the next packet, or `None` at the end.
    ///
    /// An error ends the capture that it names, and what was lent before it stands. It is given once:
    /// the next call goes on with the captures that are left, or gives `None` if there are none.
    fn next_packet(&mut self) -> Result<Option<Packet<'_>>, CaptureError>;
}

/// A capture that cannot be opened, or that stops making sense part of the way through.
///
/// Its text names the capture, where the damage is, what is wrong, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{capture}: {}{what}; {advice}", Place(*.offset, *.packet))]
pub struct CaptureError {
    /// The file, `-` for standard input, or the interface.
    pub capture: String,
    /// Byte offset of the record at fault, from the start of the (decompressed) capture.
    pub offset: Option<u64>,
    /// Number of the packet at fault, from 1.
    pub packet: Option<u64>,
    /// What is wrong.
    pub what: String,
    /// What the user can do about it.
    pub advice: String,
}

struct Place(Option<u64>, Option<u64>);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(offset) = self.0 {
            write!(f, "byte {offset}: ")?;
        }
        if let Some(packet) = self.1 {
            write!(f, "packet {packet}: ")?;
        }
        Ok(())
    }
}
