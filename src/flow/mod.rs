//! Flows: which packets belong together, who opened them, how they ended, and their bytes in order.
//!
//! The table keeps one [`Flow`] for every conversation between two endpoints; [`stream`] puts the first
//! bytes of each direction in order and lends them to a [`Reader`], which says how many it still needs.
//! Nothing here knows what the bytes mean. Time is packet time: the clock is the largest time seen.

mod ambiguity;
mod awake;
mod budget;
pub mod community_id;
mod interned;
mod key;
mod limits;
mod losses;
mod reader;
mod record;
mod slab;
mod stream;
mod table;
mod tcp;
mod wheel;

pub use ambiguity::{Ambiguity, Doubt};
pub use key::Key;
pub use limits::Limits;
pub use reader::{Reader, Shared, Want};
pub use table::{Account, First, FlowTable, Found};
pub use tcp::ConnState;

use crate::capture::{Precision, Timestamp};
use crate::packet::{Encapsulation, Side, Transport};

/// Which packet of an audit one is, and when it was read.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// Which capture it came from: an index into the audit's list of captures.
    pub capture: u16,
    /// Its number within that capture, from 1.
    pub number: u64,
    /// Its number over all captures of the audit, from 1.
    pub ordinal: u64,
    /// When it was captured.
    pub time: Timestamp,
    /// The unit its time was recorded in.
    pub precision: Precision,
    /// What the audit's clock shows once it was read: the largest time so far.
    pub clock: Timestamp,
}

/// The clock of an audit: the largest time seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    now: Option<Timestamp>,
    /// When the next second begins.
    next_second: Timestamp,
}

impl Clock {
    /// What it shows; nothing before the first packet.
    pub fn now(&self) -> Option<Timestamp> {
        self.now
    }

    /// Moves on to `time`, unless it is there already; says what it shows then, and whether flow tables
    /// are to look for flows that are due ([`FlowTable::tick`]): with every second that begins.
    #[inline]
    pub fn advance(&mut self, time: Timestamp) -> (Timestamp, bool) {
        let is_due = match self.now {
            Some(now) if time <= now => return (now, false),
            Some(_) => time >= self.next_second,
            None => true,
        };
        self.now = Some(time);
        if is_due {
            let second = wheel::second(time).saturating_add(1);
            self.next_second = Timestamp(second.saturating_mul(Timestamp::SECOND));
        }
        (time, is_due)
    }
}

/// What was counted of one direction of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Captured packets, fragments and repetitions included.
    pub packets: u64,
    /// Their bytes on the wire, link layer included, as Wireshark's conversations count.
    pub bytes: u64,
}

/// One conversation between two endpoints, as the table lets go of it; while the table keeps it, `R` is a
/// reference.
#[derive(Debug)]
pub struct Flow<R> {
    /// Its endpoints and transport.
    pub key: Key,
    /// Counters of what each side sent, indexed by [`Side::index`].
    pub sent: [Counters; 2],
    /// Time of its earliest packet.
    pub start: Timestamp,
    /// Time of its latest packet.
    pub end: Timestamp,
    /// The finest unit its times were recorded in.
    pub precision: Precision,
    /// The side that sent the first packet seen.
    pub first_sender: Side,
    /// The side that opened it, when a SYN or a SYN-ACK told.
    pub opener: Option<Opener>,
    /// Capture and packet number of its first packet.
    pub first_packet: (u16, u64),
    /// The first packet's ordinal over all captures of the audit, from 1.
    pub first_ordinal: u64,
    /// VLAN tags and tunnels of its first packet.
    pub encapsulation: Encapsulation,
    /// TCP segments whose bytes had all been seen before.
    pub repeated: u32,
    /// It ended early, to make room for others.
    pub evicted: bool,
    /// Its bytes can be read in more than one way; the first time that showed.
    pub ambiguity: Option<Ambiguity>,
    /// What read its bytes.
    pub reader: R,
    tcp: tcp::Connection,
}

/// Who opened a TCP connection, and by which packet it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opener {
    /// This side sent a SYN.
    Syn(Side),
    /// The other side answered it with a SYN-ACK; its SYN was not captured.
    SynAck(Side),
}

impl Opener {
    /// The side that opened the connection.
    pub fn side(self) -> Side {
        match self {
            Opener::Syn(side) | Opener::SynAck(side) => side,
        }
    }
}

impl<R> Flow<R> {
    /// What orders it among others that end together.
    pub fn first(&self) -> First {
        (self.first_ordinal, self.encapsulation.depth())
    }

    /// How the flow went, in Zeek's letters, seen from `originator`.
    pub fn state(&self, originator: Side) -> ConnState {
        match self.key.transport {
            Transport::TCP => self.tcp.state(originator),
            Transport::UDP => {
                let sent = |side: Side| self.sent[side.index()].packets > 0;
                ConnState::of_datagrams(sent(originator), sent(originator.other()))
            }
            _ => ConnState::Oth,
        }
    }

    /// Both sides of a TCP flow closed it, or one reset it.
    pub fn is_over(&self) -> bool {
        self.tcp.is_over()
    }

    /// A TCP flow whose beginning is in the capture: a SYN or a SYN-ACK was seen.
    pub fn from_start(&self) -> bool {
        self.opener.is_some()
    }
}
