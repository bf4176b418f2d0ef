use super::super::awake::{Awake, SPARE};
use super::*;
use crate::flow::Want;
use crate::packet::Allowance;
use proptest::prelude::*;

/// Collects what it is lent; `!` stands for a gap, `.` for a close.
#[derive(Default)]
struct Tape {
    text: Vec<u8>,
    /// Bytes to leave unused until this many are there.
    at_least: usize,
    /// After the first byte, skip this many.
    skip: u64,
    /// A hole that ends within so many bytes is passed over up to there.
    within: u64,
}

impl Reader for Tape {
    type Context = ();
    fn new((): &()) -> Tape {
        Tape::default()
    }
    fn begins(&mut self) {}
    fn read(&mut self, _: Side, bytes: &[u8], _: Timestamp, _: &mut Allowance) -> Want {
        if bytes.len() < self.at_least {
            return Want { used: 0, skip: 0, done: false };
        }
        let skip = std::mem::take(&mut self.skip);
        let used = if skip > 0 { 1 } else { bytes.len() };
        self.text.extend_from_slice(&bytes[..used]);
        Want { used, skip, done: false }
    }
    fn gap(&mut self, _: Side, _: Gap, covered: u64, _: Timestamp) -> u64 {
        self.text.push(b'!');
        self.within.saturating_sub(covered)
    }
    fn closed(&mut self, _: Side, _: bool, _: Timestamp) {
        self.text.push(b'.');
    }
    fn datagram(&mut self, _: Side, _: &[u8], _: bool, _: Timestamp) -> bool {
        false
    }
}

fn lender<'a>(reader: &'a mut Tape, budget: &'a mut Budget) -> Lender<'a, Tape> {
    Lender { reader, budget, at: Timestamp(0), home: Home::NOWHERE, doubt: None }
}

fn run(mut tape: Tape, pieces: &[(u32, &[u8], u32)], fin: Option<u32>) -> String {
    let mut streams = Streams::default();
    let mut budget = Budget::new(1 << 20);
    streams.starts_at(Side::A, 100);
    for &(sequence, payload, length) in pieces {
        let piece = Piece { sequence, payload, length, fin: false, urgent: false, answered: true };
        streams.piece(Side::A, piece, &mut lender(&mut tape, &mut budget));
    }
    if let Some(sequence) = fin {
        let piece = Piece { sequence, payload: b"", length: 0, fin: true, urgent: false, answered: true };
        streams.piece(Side::A, piece, &mut lender(&mut tape, &mut budget));
    }
    assert_eq!(budget.held, streams.halves.iter().map(Half::held).sum::<usize>());
    streams.finish(&mut lender(&mut tape, &mut budget));
    String::from_utf8(tape.text).unwrap()
}

fn whole(sequence: u32, payload: &[u8]) -> (u32, &[u8], u32) {
    (sequence, payload, payload.len() as u32)
}

#[test]
fn what_is_missed_counts_no_more() {
    let (mut tape, mut streams) = (Tape { at_least: 10, ..Tape::default() }, Streams::default());
    let mut budget = Budget::new(1 << 20);
    for side in [Side::A, Side::B] {
        let (payload, length) = (&b"abc"[..], 3);
        let piece = Piece { sequence: 100, payload, length, fin: false, urgent: false, answered: true };
        streams.piece(side, piece, &mut lender(&mut tape, &mut budget));
    }
    assert!(budget.held > 0);
    streams.miss(Gap::Cap, &mut lender(&mut tape, &mut budget));
    streams.finish(&mut lender(&mut tape, &mut budget));
    assert_eq!((budget.held, budget.lent), (0, 0));
}

#[test]
fn segments_out_of_order_and_repeated_are_put_in_order() {
    let pieces = [whole(103, b"def"), whole(100, b"abc"), whole(100, b"abc"), whole(104, b"efgh")];
    assert_eq!(run(Tape::default(), &pieces, Some(108)), "abcdefgh.");
}

#[test]
fn of_several_beginnings_the_acknowledged_one_counts() {
    for (acknowledged, expected) in [(900, "ab"), (100, "!ab"), (500, "!ab")] {
        let (mut streams, mut tape) = (Streams::default(), Tape::default());
        let mut budget = Budget::new(1 << 20);
        for start in [100, 500, 900] {
            streams.opens_at(Side::A, start);
            streams.has_sent(Side::A, start);
        }
        streams.acknowledged(Side::A, acknowledged, &mut budget);
        let piece =
            Piece { sequence: 900, payload: b"ab", length: 2, fin: false, urgent: false, answered: true };
        streams.piece(Side::A, piece, &mut lender(&mut tape, &mut budget));
        // What is settled is not unsettled by a forged SYN-ACK.
        streams.opens_at(Side::A, 40);
        streams.acknowledged(Side::A, 40, &mut budget);
        streams.finish(&mut lender(&mut tape, &mut budget));
        assert_eq!(String::from_utf8(tape.text).unwrap(), expected, "{acknowledged}");
    }
}

#[test]
fn a_hole_that_never_fills_is_told_once() {
    assert_eq!(run(Tape::default(), &[whole(100, b"ab"), whole(104, b"ef")], Some(106)), "ab!ef.");
}

#[test]
fn a_fin_beyond_what_was_seen_is_a_hole_and_not_a_close() {
    assert_eq!(run(Tape::default(), &[whole(100, b"ab")], Some(110)), "ab!");
}

#[test]
fn bytes_sent_and_never_seen_are_a_hole() {
    for (sent, expected) in [(102, "ab"), (103, "ab"), (110, "ab!")] {
        let (mut streams, mut tape) = (Streams::default(), Tape::default());
        let mut budget = Budget::new(1 << 20);
        streams.starts_at(Side::A, 100);
        let piece =
            Piece { sequence: 100, payload: b"ab", length: 2, fin: false, urgent: false, answered: true };
        streams.piece(Side::A, piece, &mut lender(&mut tape, &mut budget));
        streams.has_sent(Side::A, sent);
        streams.finish(&mut lender(&mut tape, &mut budget));
        assert_eq!(String::from_utf8(tape.text).unwrap(), expected, "{sent}");
    }
}

#[test]
fn a_reset_does_not_settle_where_a_side_begins() {
    let (mut streams, mut tape) = (Streams::default(), Tape::default());
    let mut budget = Budget::new(1 << 20);
    streams.starts_at(Side::A, 100);
    streams.reset(Side::A, 100, &mut lender(&mut tape, &mut budget));
    let quiet = streams.quiet().expect("nothing is kept");
    let mut streams = Awake::new().wake(&quiet, Held::default());
    streams.opens_at(Side::A, 900);
    streams.acknowledged(Side::A, 900, &mut budget);
    let piece = Piece { sequence: 900, payload: b"ab", length: 2, fin: false, urgent: false, answered: true };
    streams.piece(Side::A, piece, &mut lender(&mut tape, &mut budget));
    streams.finish(&mut lender(&mut tape, &mut budget));
    assert_eq!(String::from_utf8(tape.text).unwrap(), ".ab");
}

#[test]
fn a_reset_behind_bytes_never_seen_tells_the_hole_first() {
    let (mut streams, mut tape) = (Streams::default(), Tape::default());
    streams.starts_at(Side::A, 100);
    let mut budget = Budget::new(1 << 20);
    streams.reset(Side::A, 110, &mut lender(&mut tape, &mut budget));
    assert_eq!(tape.text, b"!.");
}

#[test]
fn a_cut_segment_leaves_a_hole_and_the_next_one_goes_on() {
    assert_eq!(run(Tape::default(), &[(100, b"ab", 10), whole(110, b"kl")], None), "ab!kl");
}

#[test]
fn a_hole_in_bytes_not_needed_is_no_hole() {
    let tape = Tape { skip: 5, ..Tape::default() };
    assert_eq!(run(tape, &[whole(100, b"a"), whole(104, b"efgh")], Some(108)), "agh.");
    let tape = Tape { skip: 5, ..Tape::default() };
    assert_eq!(run(tape, &[(100, b"ab", 6), whole(106, b"gh")], Some(108)), "agh.");
}

#[test]
fn a_hole_within_what_the_reader_waits_for_is_passed_over_to_its_end() {
    let tape = || Tape { at_least: 4, within: 8, ..Tape::default() };
    let after = whole(106, b"ghijklmn");
    assert_eq!(run(tape(), &[whole(100, b"ab"), after], Some(114)), "!ijklmn.");
    assert_eq!(run(tape(), &[(100, b"ab", 6), after], Some(114)), "!ijklmn.");
    assert_eq!(run(tape(), &[whole(100, b"ab"), whole(109, b"jklmn")], Some(114)), "!jklmn.");
}

#[test]
fn a_reader_that_needs_more_gets_the_same_bytes_again() {
    let tape = Tape { at_least: 4, ..Tape::default() };
    assert_eq!(run(tape, &[whole(100, b"ab"), whole(102, b"c"), whole(103, b"def")], None), "abcdef");
}

#[test]
fn waiting_bytes_are_capped_and_the_hole_given_up() {
    let big = vec![b'x'; 1000];
    let pieces: Vec<_> = (0..200).map(|n| whole(200 + n * 1000, &big)).collect();
    let text = run(Tape::default(), &pieces, None);
    assert_eq!(text.len(), 1 + 200 * 1000);
    assert!(text.starts_with('!'));
}

proptest! {
    /// However a text is cut, shuffled and repeated, it comes out whole and in order.
    #[test]
    fn any_order_gives_the_text(
        text in proptest::collection::vec(1u8..=127, 1..200),
        cuts in proptest::collection::vec((0usize..200, 1usize..40), 0..40),
        start in any::<u32>(),
    ) {
        let text: Vec<u8> = text.iter().map(|b| b'a' + b % 26).collect();
        let mut streams = Streams::default();
        let mut budget = Budget::new(1 << 20);
        let mut tape = Tape::default();
        streams.starts_at(Side::A, start);
        let all = (0..text.len()).step_by(7).map(|at| (at, 7));
        for (at, length) in cuts.into_iter().chain(all) {
            let from = at.min(text.len());
            let payload = &text[from..(from + length).min(text.len())];
            let piece = Piece {
                sequence: start.wrapping_add(from as u32),
                payload,
                length: payload.len() as u32,
                fin: false,
                urgent: false,
                answered: true,
            };
            streams.piece(Side::A, piece, &mut lender(&mut tape, &mut budget));
        }
        streams.finish(&mut lender(&mut tape, &mut budget));
        prop_assert_eq!(tape.text, text);
    }

    /// Arbitrary pieces never panic, and never hold more than the caps allow.
    #[test]
    fn arbitrary_pieces_stay_within_the_caps(
        pieces in proptest::collection::vec(
            (any::<u32>(), 0usize..3000, any::<u32>(), any::<bool>(), 0u64..5000, 0usize..3), 0..300),
    ) {
        let bytes = vec![0u8; 3000];
        let mut streams = Streams::default();
        let mut budget = Budget::new(64 * 1024);
        for (sequence, captured, length, fin, skip, at_least) in pieces {
            let mut tape = Tape { skip, at_least: at_least * 1000, ..Tape::default() };
            let length = length % 4000;
            let payload = &bytes[..captured.min(length as usize)];
            let piece = Piece { sequence: sequence % 9000, payload, length, fin, urgent: false, answered: true };
            streams.piece(Side::B, piece, &mut lender(&mut tape, &mut budget));
            prop_assert!(streams.halves[1].ahead_bytes as usize <= AHEAD_BYTES);
            prop_assert!(streams.halves[1].kept.len() <= KEPT_BYTES);
        }
    }
}

#[test]
fn boxes_that_are_let_go_keep_nothing_and_are_few() {
    let mut awake = Awake::new();
    let all: Vec<_> = (0..2 * SPARE).map(|_| awake.wake(&Quiet::default(), Held::default())).collect();
    let mut budget = Budget::new(1 << 20);
    for mut streams in all {
        let piece =
            Piece { sequence: 9, payload: b"ab", length: 2, fin: false, urgent: false, answered: true };
        streams.starts_at(Side::A, 5);
        streams.piece(Side::A, piece, &mut lender(&mut Tape::default(), &mut budget));
        assert!(budget.held > 0, "it waits for what comes before");
        awake.let_go(streams);
    }
    assert_eq!(awake.spares(), SPARE);
    let streams = awake.wake(&Quiet::default(), Held::default());
    assert!(streams.halves.iter().all(|half| half.held() == 0 && half.next.is_none()));
}
