//! How a target takes what it needs out of bytes.
//!
//! What is read (a file, a script) stands in front, so that a seed is what it looks like. Choices are taken from
//! the end, where a change of one does not move the rest.

use flowaudit::packet::Side;

/// Bytes from which choices are taken.
pub struct Input<'a>(pub &'a [u8]);

impl Input<'_> {
    /// The next choice, from the end; 0 when nothing is left.
    pub fn choice(&mut self) -> u8 {
        let Some((last, rest)) = self.0.split_last() else { return 0 };
        self.0 = rest;
        *last
    }
}

/// The most events of one script; what comes later adds time and no new state.
const EVENTS: usize = 512;

/// What happens in a conversation.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A side of a stream sends these bytes, in pieces of so many; 0 for one piece.
    Data(Side, &'a [u8], usize),
    /// Bytes of a side are missing.
    Missing(Side, u16),
    /// A side closes, or resets.
    Closed(Side, bool),
    /// A side sends a datagram; `true` if the capture cut it.
    Datagram(Side, &'a [u8], bool),
}

/// A conversation as a list of events: each a byte for what happens, a length of two bytes in network order, and
/// as many bytes, or as many as are left.
///
/// Of the first byte, bit 0 is the side, bits 1 and 2 are the kind in the order of [`Event`], and the rest is the
/// size of pieces, or a flag.
pub fn script(mut bytes: &[u8]) -> impl Iterator<Item = Event<'_>> {
    std::iter::from_fn(move || {
        let (&[what, high, low], rest) = bytes.split_first_chunk()?;
        let length = u16::from_be_bytes([high, low]);
        let side = if what & 1 == 0 { Side::A } else { Side::B };
        let more = what >> 3;
        if matches!(what >> 1 & 3, 1 | 2) {
            bytes = rest;
            return Some(match what >> 1 & 3 {
                1 => Event::Missing(side, length),
                _ => Event::Closed(side, more & 1 != 0),
            });
        }
        let (said, rest) = rest.split_at(usize::from(length).min(rest.len()));
        bytes = rest;
        Some(match what >> 1 & 3 {
            0 => Event::Data(side, said, usize::from(more)),
            _ => Event::Datagram(side, said, more & 1 != 0),
        })
    })
    .take(EVENTS)
}

/// These bytes in pieces of this size; 0 for one piece.
pub fn pieces(bytes: &[u8], size: usize) -> impl Iterator<Item = &[u8]> {
    bytes.chunks(if size == 0 { bytes.len().max(1) } else { size })
}
