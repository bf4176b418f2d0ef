//! When packets were dropped before anyone could read them: a flow of that time may lack some.

use crate::capture::Timestamp;

/// Times told apart; beyond that, the two that come first are one together with the time between them.
const SPANS: usize = 64;

/// Spans of packet time in which packets were lost, in the order they were told.
#[derive(Debug, Default)]
pub(super) struct Losses(Vec<[Timestamp; 2]>);

impl Losses {
    /// Some were lost between these times.
    pub(super) fn add(&mut self, from: Timestamp, to: Timestamp) {
        match self.0.last_mut() {
            // Loss that goes on is one span.
            Some(last) if from <= last[1] => *last = [last[0].min(from), last[1].max(to)],
            _ => self.0.push([from, to]),
        }
        if self.0.len() > SPANS {
            let first = self.0.remove(0);
            self.0[0][0] = first[0];
        }
    }

    /// Whether some were lost between `start` and `end`; of a flow that goes on, `end` is `None`.
    pub(super) fn touch(&self, start: Timestamp, end: Option<Timestamp>) -> bool {
        self.0.iter().any(|[from, to]| start <= *to && end.is_none_or(|end| *from <= end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touched(losses: &Losses, start: i64, end: Option<i64>) -> bool {
        losses.touch(Timestamp(start), end.map(Timestamp))
    }

    #[test]
    fn a_flow_is_touched_by_loss_while_it_goes_on() {
        let mut losses = Losses::default();
        assert!(!touched(&losses, 0, None));
        losses.add(Timestamp(10), Timestamp(20));
        for (start, end, expected) in [
            (0, Some(9), false),
            (0, Some(10), true),
            (0, None, true),
            (15, Some(16), true),
            (20, None, true),
            (21, None, false),
        ] {
            assert_eq!(touched(&losses, start, end), expected, "{start} {end:?}");
        }
        losses.add(Timestamp(18), Timestamp(30));
        losses.add(Timestamp(40), Timestamp(50));
        assert!(touched(&losses, 25, Some(26)) && !touched(&losses, 31, Some(39)));
    }

    #[test]
    fn many_spans_are_kept_as_fewer_that_hold_them() {
        let mut losses = Losses::default();
        for span in 0..1000 {
            losses.add(Timestamp(span * 10), Timestamp(span * 10 + 1));
        }
        assert!(losses.0.len() <= SPANS);
        assert!((0..1000).all(|span| touched(&losses, span * 10, Some(span * 10))));
        assert!(!touched(&losses, 9985, Some(9988)), "what came last is told apart");
    }
}
