//! Lends bytes to a recogniser in tests the way a stream does: unused bytes again, skipped ones never.

use super::{Side, Step};

/// Both sides of one stream.
#[derive(Default)]
pub struct Stream {
    pending: [Vec<u8>; 2],
    skip: [u64; 2],
    ended: [Option<Step>; 2],
}

impl Stream {
    /// Lends `bytes` of `side`, and what was left of it before.
    pub fn lend(&mut self, side: Side, mut bytes: &[u8], mut advance: impl FnMut(Side, &[u8]) -> Step) {
        let i = side.index();
        if self.ended[i].is_some() {
            return;
        }
        let skipped = usize::try_from(self.skip[i]).unwrap_or(usize::MAX).min(bytes.len());
        bytes = &bytes[skipped..];
        self.skip[i] -= skipped as u64;
        self.pending[i].extend(bytes);
        while !self.pending[i].is_empty() {
            let pending = &mut self.pending[i];
            match advance(side, pending) {
                Step::More { used } => {
                    pending.drain(..used);
                    return;
                }
                Step::Skip { used, skip } => {
                    pending.drain(..used);
                    let now = usize::try_from(skip).unwrap_or(usize::MAX).min(pending.len());
                    pending.drain(..now);
                    self.skip[i] = skip - now as u64;
                }
                Step::Switch { used } => {
                    pending.drain(..used);
                    self.ended[i] = Some(Step::Switch { used });
                    return;
                }
                end @ (Step::Done | Step::Broken) => {
                    self.ended[i] = Some(end);
                    return;
                }
            }
        }
    }

    /// How reading that side ended, if it did; `used` of a switch is counted from the last piece lent.
    pub fn ended(&self, side: Side) -> Option<Step> {
        self.ended[side.index()]
    }

    /// The bytes of that side that were lent and not used.
    pub fn unused(&self, side: Side) -> &[u8] {
        &self.pending[side.index()]
    }
}

/// Lends a whole conversation in pieces of the sizes given.
pub fn read_in(
    conversation: &[(Side, Vec<u8>)],
    sizes: &[usize],
    mut advance: impl FnMut(Side, &[u8]) -> Step,
) -> Stream {
    let mut stream = Stream::default();
    for (side, piece) in cut(conversation, sizes) {
        stream.lend(side, piece, &mut advance);
    }
    stream
}

/// Cuts a conversation into pieces of the sizes given, over and over; no size cuts nothing.
pub fn cut<'a>(
    conversation: &'a [(Side, Vec<u8>)],
    sizes: &'a [usize],
) -> impl Iterator<Item = (Side, &'a [u8])> {
    let mut sizes = sizes.iter().cycle();
    conversation.iter().flat_map(move |(side, bytes)| {
        let mut rest = &bytes[..];
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            let size = sizes.next().map_or(rest.len(), |size| (*size).clamp(1, rest.len()));
            let (piece, more) = rest.split_at(size);
            pieces.push((*side, piece));
            rest = more;
        }
        pieces
    })
}
