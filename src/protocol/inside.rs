//! What keys let out of TLS: a conversation of its own, probed like any stream.

use super::{Conversation, Evidence, Side, Step, tls};
use crate::packet::{Allowance, Gap};

/// Decrypted bytes of one side kept for a recogniser that needs more of them to go on.
pub const KEPT_CAP: usize = 128 * 1024;

/// The conversation inside, once anything was decrypted.
#[derive(Debug, Default)]
pub(super) struct Inside(Option<Box<Nested>>);

#[derive(Debug)]
struct Nested {
    conversation: Conversation,
    halves: [Half; 2],
}

/// Where one side's plaintext stands.
#[derive(Debug, Default)]
struct Half {
    kept: Vec<u8>,
    /// Bytes that come next and do not matter.
    skip: u64,
    done: bool,
}

impl Inside {
    /// Everything that was seen inside, if anything was decrypted.
    pub(super) fn finish(&mut self) -> Option<Box<Evidence>> {
        self.0.take().map(|nested| Box::new(nested.conversation.finish()))
    }

    /// What was seen inside so far.
    pub(super) fn so_far(&self) -> Option<Box<Evidence>> {
        self.0.as_ref().map(|nested| Box::new(nested.conversation.so_far()))
    }

    /// Nothing was decrypted.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Bytes on the heap.
    pub(super) fn held(&self) -> usize {
        self.0.as_deref().map_or(0, |nested| {
            let kept = nested.halves.iter().map(|half| half.kept.capacity());
            let chains = nested.conversation.chains().into_iter().flatten().map(tls::Chain::held);
            size_of_val(nested) + kept.sum::<usize>() + nested.conversation.held() + chains.sum::<usize>()
        })
    }

    /// Takes what is let out, and reads it as far as the allowance goes.
    pub(super) fn within<'a>(&'a mut self, allowance: &'a mut Allowance) -> Within<'a> {
        Within { inside: self, allowance }
    }

    fn nested(&mut self) -> &mut Nested {
        self.0.get_or_insert_with(|| {
            let mut conversation = Conversation::default();
            conversation.begins();
            Box::new(Nested { conversation, halves: Default::default() })
        })
    }
}

/// The conversation inside, while it may spend something.
pub(super) struct Within<'a> {
    inside: &'a mut Inside,
    allowance: &'a mut Allowance,
}

impl tls::Plaintext for Within<'_> {
    fn read(&mut self, side: Side, bytes: &[u8], at: i64) {
        let Nested { conversation, halves } = self.inside.nested();
        let [a, b] = halves;
        let half = match side {
            Side::A => a,
            Side::B => b,
        };
        half.read(conversation, side, bytes, at, self.allowance);
    }

    fn gap(&mut self, side: Side) {
        let Nested { conversation, halves } = self.inside.nested();
        if let Some(half) = halves.get_mut(side.index()).filter(|half| !half.done) {
            *half = Half::default();
            conversation.gap(side, Gap::Loss, 0);
        }
    }

    fn wants(&self, side: Side) -> bool {
        self.inside
            .0
            .as_ref()
            .is_none_or(|nested| nested.halves.get(side.index()).is_some_and(|half| !half.done))
    }
}

impl Half {
    fn read(
        &mut self,
        conversation: &mut Conversation,
        side: Side,
        bytes: &[u8],
        at: i64,
        allowance: &mut Allowance,
    ) {
        let mut rest = self.after_skip(bytes);
        if rest.is_empty() || self.done {
            return;
        }
        // The buffer is used again and again: a conversation that is read for long costs no allocation.
        let mut kept = std::mem::take(&mut self.kept);
        let fresh = kept.is_empty();
        if !fresh {
            kept.extend_from_slice(rest);
            rest = &kept;
        }
        while !rest.is_empty() {
            let used = match conversation.read(side, rest, at, allowance) {
                Step::More { used } => used,
                Step::Skip { used, skip } => {
                    self.skip = skip;
                    used
                }
                // The conversation itself goes on after a switch.
                Step::Done | Step::Switch { .. } | Step::Broken => {
                    self.done = true;
                    return;
                }
            };
            let before = rest.len();
            rest = self.after_skip(rest.get(used..).unwrap_or_default());
            if rest.len() == before {
                break;
            }
        }
        if rest.len() > KEPT_CAP {
            conversation.gap(side, Gap::Cap, 0);
            return;
        }
        let left = rest.len();
        if fresh {
            kept.extend_from_slice(bytes.get(bytes.len() - left..).unwrap_or_default());
        } else {
            kept.drain(..kept.len() - left);
        }
        self.kept = kept;
    }

    fn after_skip<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let passed = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        self.skip -= passed as u64;
        bytes.get(passed..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::tls::Plaintext;
    use proptest::prelude::*;

    const REQUEST: &[u8] =
        b"POST /a HTTP/1.1\r\nHost: uaa\r\nAuthorization: bearer x\r\nContent-Length: 5\r\n\r\nhello\
        GET /b HTTP/1.1\r\nHost: uaa\r\n\r\n";

    fn evidence(sizes: &[usize], gap: Option<usize>) -> Evidence {
        let (mut inside, mut allowance) = (Inside::default(), Allowance::new());
        let mut sizes = sizes.iter().cycle();
        let (mut rest, mut pieces) = (REQUEST, 0);
        while !rest.is_empty() {
            let size = sizes.next().map_or(rest.len(), |size| (*size).clamp(1, rest.len()));
            let (piece, more) = rest.split_at(size);
            if gap == Some(pieces) {
                inside.within(&mut allowance).gap(Side::A);
            } else {
                inside.within(&mut allowance).read(Side::A, piece, 0);
            }
            (rest, pieces) = (more, pieces + 1);
        }
        *inside.finish().expect("bytes were read")
    }

    #[test]
    fn nothing_decrypted_is_nothing_inside() {
        let mut inside = Inside::default();
        assert!(inside.within(&mut Allowance::new()).wants(Side::A) && inside.finish().is_none());
    }

    #[test]
    fn bytes_that_no_recogniser_knows_are_not_wanted_for_long() {
        let mut inside = Inside::default();
        let mut allowance = Allowance::new();
        let mut within = inside.within(&mut allowance);
        within.read(Side::B, b"\x00\x01\x02 nothing known \xff\xfe", 0);
        assert!(!within.wants(Side::B) && within.wants(Side::A));
        assert!(inside.finish().is_some_and(|evidence| evidence.unrecognised));
    }

    #[test]
    fn headers_inside_are_paid_for_as_well() {
        let request = b"\0\0\x03\x01\x04\0\0\0\x01\x82\x84\x86";
        let (mut inside, mut allowance) = (Inside::default(), Allowance::of_packets(8));
        let mut within = inside.within(&mut allowance);
        within.read(Side::A, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", 0);
        within.read(Side::A, request, 0);
        assert!(within.wants(Side::A));
        within.read(Side::A, &request.repeat(100), 0);
        assert!(!within.wants(Side::A));
        let http2 = inside.finish().and_then(|evidence| evidence.http2).expect("it is HTTP/2");
        assert!(http2.requests.unread && http2.requests.none == 1 && allowance.refused() == 1);
    }

    proptest! {
        #[test]
        fn records_cut_anywhere_say_the_same(sizes in proptest::collection::vec(1usize..40, 0..6)) {
            let http1 = evidence(&sizes, None).http1.expect("it is HTTP/1");
            prop_assert_eq!((http1.requests.read, http1.requests.bearer, http1.requests.none), (2, 1, 1));
            prop_assert!(!http1.requests.unread);
        }

        #[test]
        fn a_missing_record_is_never_taken_for_none(sizes in proptest::collection::vec(1usize..40, 1..6), at in 0usize..8) {
            let evidence = evidence(&sizes, Some(at));
            let http1 = evidence.http1.unwrap_or_default();
            let whole = http1.requests.read == 2 && !http1.requests.unread && evidence.gap.is_none();
            let pieces = sizes.iter().cycle().scan(0, |sum, size| { *sum += size; (*sum - size < REQUEST.len()).then_some(()) }).count();
            prop_assert_eq!(whole, at >= pieces);
        }
    }
}
