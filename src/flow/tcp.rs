//! The life of a TCP connection as its flags tell it, in Zeek's terms
//! (`scripts/base/protocols/conn/main.zeek`, `conn_state`).

use std::fmt;

use crate::packet::{Side, TcpFlags};

/// Zeek's `conn_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnState {
    /// Attempt seen, no answer.
    S0,
    /// Established, not ended.
    S1,
    /// Established and ended normally.
    Sf,
    /// Attempt rejected.
    Rej,
    /// Established, the originator closed, the responder did not.
    S2,
    /// Established, the responder closed, the originator did not.
    S3,
    /// Established, the originator reset it.
    Rsto,
    /// The responder reset it.
    Rstr,
    /// The originator sent a SYN and then a RST; no SYN-ACK seen.
    Rstos0,
    /// The responder sent a SYN-ACK and then a RST; no SYN seen.
    Rstrh,
    /// The originator sent a SYN and then a FIN; no SYN-ACK seen.
    Sh,
    /// The responder sent a SYN-ACK and then a FIN; no SYN seen.
    Shr,
    /// No SYN seen: traffic from the middle of a connection, or a transport without connections.
    Oth,
}

impl ConnState {
    /// The state of a flow of datagrams, by which sides sent any.
    pub fn of_datagrams(originator: bool, responder: bool) -> ConnState {
        match (originator, responder) {
            (true, true) => ConnState::Sf,
            (true, false) => ConnState::S0,
            (false, true) => ConnState::Shr,
            (false, false) => ConnState::Oth,
        }
    }
}

impl ConnState {
    /// The word in the report.
    pub fn word(self) -> &'static str {
        match self {
            ConnState::S0 => "S0",
            ConnState::S1 => "S1",
            ConnState::Sf => "SF",
            ConnState::Rej => "REJ",
            ConnState::S2 => "S2",
            ConnState::S3 => "S3",
            ConnState::Rsto => "RSTO",
            ConnState::Rstr => "RSTR",
            ConnState::Rstos0 => "RSTOS0",
            ConnState::Rstrh => "RSTRH",
            ConnState::Sh => "SH",
            ConnState::Shr => "SHR",
            ConnState::Oth => "OTH",
        }
    }
}

impl fmt::Display for ConnState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What one end has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// Nothing seen from it.
    #[default]
    Inactive,
    /// Something, but neither its SYN nor its SYN-ACK.
    Partial,
    SynSent,
    SynAckSent,
    Established,
    Closed,
    Reset,
}

/// Both ends of a connection, and the sequence numbers that tell a repeated packet from a new one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Connection {
    pub(super) ends: [Endpoint; 2],
    /// Initial sequence number of the SYN each side sent, when seen.
    pub(super) initial: [Option<u32>; 2],
    /// Highest sequence number each side has used, plus one; that of a side that sent anything is known.
    pub(super) next: [Option<u32>; 2],
}

impl Connection {
    /// Follows one packet from `side`; says whether everything it carried had been seen before.
    ///
    /// `length` is the payload's length on the wire.
    pub(super) fn packet(&mut self, side: Side, flags: TcpFlags, sequence: u32, length: u32) -> bool {
        let (me, peer) = (side.index(), side.other().index());
        let span = length.wrapping_add(u32::from(flags.syn())).wrapping_add(u32::from(flags.fin()));
        let end = sequence.wrapping_add(span);
        let repeated = span > 0 && self.next[me].is_some_and(|next| !is_after(end, next));
        if self.next[me].is_none_or(|next| is_after(end, next)) {
            self.next[me] = Some(end);
        }
        if flags.syn() {
            self.initial[me].get_or_insert(sequence);
        }
        let state = &mut self.ends;
        if flags.rst() {
            if state != &[Endpoint::Closed; 2] {
                state[me] = Endpoint::Reset;
            }
        } else if flags.fin() {
            if state[me] != Endpoint::Reset {
                state[me] = Endpoint::Closed;
            }
        } else if flags.syn() && flags.ack() {
            match (state[me], state[peer]) {
                (Endpoint::Inactive | Endpoint::Partial, Endpoint::SynSent) => {
                    *state = [Endpoint::Established; 2];
                }
                (Endpoint::Inactive | Endpoint::Partial, _) => state[me] = Endpoint::SynAckSent,
                _ => {}
            }
        } else if flags.syn() {
            if matches!(state[me], Endpoint::Inactive | Endpoint::Partial) {
                state[me] = Endpoint::SynSent;
                if state[peer] == Endpoint::SynAckSent {
                    *state = [Endpoint::Established; 2];
                }
            }
        } else if state[me] == Endpoint::Inactive {
            state[me] = Endpoint::Partial;
        }
        repeated
    }

    /// The initial sequence number of the SYN (or SYN-ACK) `side` sent, when it was seen.
    pub(super) fn initial(&self, side: Side) -> Option<u32> {
        self.initial[side.index()]
    }

    /// How far a packet from `side` lies from what was seen, in bytes either way.
    ///
    /// An end that has not spoken yet is known by what it acknowledges.
    pub(super) fn distance(&self, side: Side, sequence: u32, acknowledgement: Option<u32>) -> u32 {
        let apart = |a: u32, b: u32| (a.wrapping_sub(b) as i32).unsigned_abs();
        let said = self.next[side.index()].map(|next| apart(sequence, next));
        let answered =
            self.next[side.other().index()].zip(acknowledgement).map(|(next, ack)| apart(ack, next));
        said.or(answered).unwrap_or(u32::MAX)
    }

    /// Nothing more is expected: both ends closed, or one reset.
    pub(super) fn is_over(&self) -> bool {
        are_over(self.ends)
    }

    /// Zeek's state of the connection, seen from `originator`.
    pub(super) fn state(&self, originator: Side) -> ConnState {
        use Endpoint::{Closed, Established, Inactive, Partial, Reset, SynAckSent, SynSent};
        let (o, r) = (self.ends[originator.index()], self.ends[originator.other().index()]);
        let silent = |end| matches!(end, Inactive | Partial);
        match (o, r) {
            (SynSent | SynAckSent, Reset) => ConnState::Rej,
            (o, Reset) if silent(o) => ConnState::Rstrh,
            (_, Reset) => ConnState::Rstr,
            (Reset, r) if silent(r) => ConnState::Rstos0,
            (Reset, _) => ConnState::Rsto,
            (Closed, Closed) => ConnState::Sf,
            (Closed, r) if silent(r) => ConnState::Sh,
            (Closed, _) => ConnState::S2,
            (o, Closed) if silent(o) => ConnState::Shr,
            (_, Closed) => ConnState::S3,
            (SynSent, Inactive) => ConnState::S0,
            (Established, Established) => ConnState::S1,
            _ => ConnState::Oth,
        }
    }
}

/// As [`Connection::is_over`], by what both ends did.
#[inline]
pub(super) fn are_over([a, b]: [Endpoint; 2]) -> bool {
    // One by one: to compare both at once, the processor would wait until what was written of each has left it.
    matches!((a, b), (Endpoint::Reset, _) | (_, Endpoint::Reset) | (Endpoint::Closed, Endpoint::Closed))
}

/// An attempt that was never answered, or not yet.
#[inline]
pub(super) fn are_attempt([a, b]: [Endpoint; 2]) -> bool {
    matches!((a, b), (Endpoint::SynSent, Endpoint::Inactive) | (Endpoint::Inactive, Endpoint::SynSent))
}

/// `a` comes after `b` in sequence space (RFC 9293 section 3.4).
pub(super) fn is_after(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYN: TcpFlags = TcpFlags(0x02);
    const SYN_ACK: TcpFlags = TcpFlags(0x12);
    const ACK: TcpFlags = TcpFlags(0x10);
    const FIN_ACK: TcpFlags = TcpFlags(0x11);
    const RST: TcpFlags = TcpFlags(0x04);

    fn state(packets: &[(Side, TcpFlags)]) -> ConnState {
        let mut connection = Connection::default();
        for &(side, flags) in packets {
            connection.packet(side, flags, 100, 0);
        }
        connection.state(Side::A)
    }

    #[test]
    fn every_state_has_its_history() {
        use Side::{A, B};
        assert_eq!(state(&[(A, SYN)]), ConnState::S0);
        assert_eq!(state(&[(A, SYN), (B, SYN_ACK)]), ConnState::S1);
        assert_eq!(state(&[(A, SYN), (B, SYN_ACK), (A, ACK), (A, FIN_ACK), (B, FIN_ACK)]), ConnState::Sf);
        assert_eq!(state(&[(A, SYN), (B, RST)]), ConnState::Rej);
        assert_eq!(state(&[(A, SYN), (B, SYN_ACK), (A, FIN_ACK)]), ConnState::S2);
        assert_eq!(state(&[(A, SYN), (B, SYN_ACK), (B, FIN_ACK)]), ConnState::S3);
        assert_eq!(state(&[(A, SYN), (B, SYN_ACK), (A, RST)]), ConnState::Rsto);
        assert_eq!(state(&[(A, SYN), (B, SYN_ACK), (B, RST)]), ConnState::Rstr);
        assert_eq!(state(&[(A, SYN), (A, RST)]), ConnState::Rstos0);
        assert_eq!(state(&[(B, SYN_ACK), (B, RST)]), ConnState::Rstrh);
        assert_eq!(state(&[(A, SYN), (A, FIN_ACK)]), ConnState::Sh);
        assert_eq!(state(&[(B, SYN_ACK), (B, FIN_ACK)]), ConnState::Shr);
        assert_eq!(state(&[(A, ACK), (B, ACK)]), ConnState::Oth);
    }

    #[test]
    fn a_reset_after_both_closed_is_still_a_normal_end() {
        use Side::{A, B};
        let history = [(A, SYN), (B, SYN_ACK), (A, FIN_ACK), (B, FIN_ACK), (A, RST)];
        assert_eq!(state(&history), ConnState::Sf);
    }

    #[test]
    fn the_order_of_syn_and_syn_ack_does_not_matter() {
        assert_eq!(state(&[(Side::B, SYN_ACK), (Side::A, SYN)]), ConnState::S1);
    }

    #[test]
    fn repeated_bytes_are_told_from_new_ones_across_the_wrap() {
        let mut connection = Connection::default();
        assert!(!connection.packet(Side::A, ACK, u32::MAX - 9, 20));
        assert!(connection.packet(Side::A, ACK, u32::MAX - 9, 20));
        assert!(!connection.packet(Side::A, ACK, 10, 5));
        assert!(connection.packet(Side::A, ACK, 0, 10));
        assert!(!connection.packet(Side::A, ACK, 15, 0), "a bare ACK repeats nothing");
    }
}
