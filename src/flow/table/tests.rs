//! The table's promises, one packet at a time and in batches.

use super::ending::*;
use super::*;
use crate::capture::Precision;
use crate::flow::{Clock, ConnState, Opener, Want};
use crate::packet::{Allowance, Encapsulation, Endpoint, Ends, Gap, Tcp, TcpFlags};
use proptest::prelude::*;
use std::net::Ipv4Addr;

const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;
const ACK: u8 = 0x10;
const FIN_ACK: u8 = 0x11;
const RST: u8 = 0x04;

const CLIENT: u16 = 40_000;
const SERVER: u16 = 8082;

/// Keeps the text of both sides, as lent.
#[derive(Debug, Default)]
struct Text([Vec<u8>; 2]);

impl Reader for Text {
    type Context = ();
    fn new((): &()) -> Text {
        Text::default()
    }
    fn begins(&mut self) {}
    fn read(&mut self, side: Side, bytes: &[u8], _: Timestamp, _: &mut Allowance) -> Want {
        self.0[side.index()].extend_from_slice(bytes);
        Want { used: bytes.len(), skip: 0, done: false }
    }
    fn gap(&mut self, side: Side, _: Gap, _: u64, _: Timestamp) -> u64 {
        self.0[side.index()].push(b'!');
        0
    }
    fn closed(&mut self, _: Side, _: bool, _: Timestamp) {}
    fn datagram(&mut self, side: Side, bytes: &[u8], _: bool, _: Timestamp) -> bool {
        self.0[side.index()].extend_from_slice(bytes);
        true
    }
    fn held(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }
    fn let_go(&mut self) {
        *self = Text::default();
    }
}

/// What a test says of one packet; the rest is always the same.
#[derive(Clone, Copy, Debug)]
struct Sent {
    from: u16,
    to: u16,
    transport: Transport,
    flags: u8,
    sequence: u32,
    acknowledgement: u32,
    text: &'static str,
    /// 1 for IPv6, 2 for a VXLAN network, 3 for another one.
    within: u8,
}

fn tcp(from: u16, to: u16, flags: u8, sequence: u32, acknowledgement: u32, text: &'static str) -> Sent {
    Sent { from, to, transport: Transport::TCP, flags, sequence, acknowledgement, text, within: 0 }
}

fn datagram(transport: Transport, from: u16, text: &'static str) -> Sent {
    Sent { from, to: SERVER, transport, flags: 0, sequence: 0, acknowledgement: 0, text, within: 0 }
}

/// A connection opened, used and closed by both ends, with these initial sequence numbers.
fn conversation(client: u32, server: u32, text: &'static str) -> [Sent; 7] {
    let (c, s) = (client.wrapping_add(1), server.wrapping_add(1));
    let after = c.wrapping_add(text.len() as u32);
    [
        tcp(CLIENT, SERVER, SYN, client, 0, ""),
        tcp(SERVER, CLIENT, SYN_ACK, server, c, ""),
        tcp(CLIENT, SERVER, ACK, c, s, ""),
        tcp(CLIENT, SERVER, ACK, c, s, text),
        tcp(SERVER, CLIENT, ACK, s, after, "ok"),
        tcp(CLIENT, SERVER, FIN_ACK, after, s + 2, ""),
        tcp(SERVER, CLIENT, FIN_ACK, s + 2, after + 1, ""),
    ]
}

impl Sent {
    fn head(&self) -> Head {
        let mut encapsulation = Encapsulation::NONE;
        if self.within > 1 {
            assert!(encapsulation.enter(u32::from(self.within)));
        }
        let end = |port| {
            let last = if port == SERVER { 2 } else { 1 };
            let v6 = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last).into();
            let v4 = Ipv4Addr::new(10, 0, 0, last as u8).into();
            Endpoint { ip: if self.within == 1 { v6 } else { v4 }, port }
        };
        Head {
            ends: Ends::new(end(self.from), end(self.to)),
            transport: self.transport,
            tcp: (self.transport == Transport::TCP).then_some(Tcp {
                sequence: self.sequence,
                acknowledgement: self.acknowledgement,
                flags: TcpFlags(self.flags),
            }),
            payload_length: self.text.len() as u32,
            packets: 1,
            differing: false,
            wire_bytes: 60,
            encapsulation,
        }
    }
}

/// A table, and the flows that ended so far.
struct Run {
    table: FlowTable<Text>,
    clock: Clock,
    ended: Vec<Flow<Text>>,
    packets: u64,
}

impl Run {
    fn new(limits: Limits) -> Run {
        Run { table: FlowTable::new(limits, ()), clock: Clock::default(), ended: Vec::new(), packets: 0 }
    }

    fn send(&mut self, seconds: i64, sent: Sent) {
        let stamp = self.stamp(seconds);
        self.table.packet(&sent.head(), sent.text.as_bytes(), &stamp, &mut self.ended);
    }

    /// Looks all of them up before it sends the first.
    fn send_run(&mut self, all: &[(i64, Sent)]) {
        let heads: Vec<Head> = all.iter().map(|(_, sent)| sent.head()).collect();
        let mut found = Vec::new();
        self.table.look_up(&heads, &mut found);
        for (((seconds, sent), head), found) in all.iter().zip(&heads).zip(found) {
            let stamp = self.stamp(*seconds);
            self.table.packet_at(found, head, sent.text.as_bytes(), &stamp, &mut self.ended);
        }
    }

    /// The stamp of the next packet, which moves the clock.
    fn stamp(&mut self, seconds: i64) -> Stamp {
        self.packets += 1;
        let time = Timestamp(seconds * Timestamp::SECOND);
        let clock = self.tick(time);
        let (ordinal, precision) = (self.packets, Precision::Micro);
        Stamp { capture: 0, number: ordinal, ordinal, time, precision, clock }
    }

    fn tick(&mut self, time: Timestamp) -> Timestamp {
        let (clock, is_due) = self.clock.advance(time);
        if is_due {
            self.table.tick(clock, &mut self.ended);
        }
        clock
    }

    fn send_all(&mut self, seconds: i64, all: &[Sent]) {
        for sent in all {
            self.send(seconds, *sent);
        }
    }

    fn advance(&mut self, seconds: i64) -> usize {
        self.tick(Timestamp(seconds * Timestamp::SECOND));
        self.ended.len()
    }

    fn finish(mut self) -> Vec<Flow<Text>> {
        for (_, id) in self.table.remaining() {
            self.ended.extend(self.table.end(id));
        }
        self.is_empty();
        self.ended
    }

    /// Every flow is gone, and left nothing behind.
    fn is_empty(&self) {
        let table = &self.table;
        assert!(table.index.is_empty(), "a flow is left in the index");
        assert_eq!((table.live, table.budget.held, table.carried.len()), (0, 0, 0));
        assert_eq!(table.free.len(), table.hot.iter().count());
        assert_eq!((table.wide.len(), table.around.len(), table.awake.len()), (0, 0, 0));
    }
}

/// What is compared is let go after a silence, which is counted where it was missed, and nothing else is lost.
#[test]
fn a_connection_at_rest_keeps_nothing_and_goes_on() {
    // Without room for many, all are at rest that can be.
    let mut run = Run::new(Limits { flows: 8, ..Limits::default() });
    for sent in &conversation(100, 500, "hello")[..5] {
        run.send(0, *sent);
    }
    let (own, held) = ("hellook".len(), run.table.budget.held);
    assert!(run.table.awake.len() == 1 && held > own);
    run.advance(59);
    assert_eq!((run.table.awake.len(), run.table.budget.held), (1, held), "not for so long");
    run.send(59, tcp(CLIENT, SERVER, ACK, 106, 503, ""));
    run.advance(110);
    assert_eq!(run.table.awake.len(), 1, "it was heard of");
    run.advance(200);
    assert_eq!((run.table.awake.len(), run.table.budget.held), (0, own));
    run.send(201, tcp(CLIENT, SERVER, ACK, 106, 503, " again"));
    run.send(201, tcp(CLIENT, SERVER, ACK, 106, 503, " again"));
    assert_eq!(run.table.account().uncompared, 0);
    run.send(202, tcp(CLIENT, SERVER, ACK, 101, 503, "HELLO"));
    assert_eq!(run.table.account().uncompared, 1);
    run.send(202, tcp(CLIENT, SERVER, ACK, 106, 503, " AGAIN"));
    let flows = run.finish();
    assert_eq!(flows[0].reader.0, [b"hello again".to_vec(), b"ok".to_vec()]);
    assert_eq!(flows[0].ambiguity.map(|ambiguity| ambiguity.sequence), Some(7));
}

#[test]
fn where_there_is_room_what_was_read_stays_to_be_compared() {
    let mut run = Run::new(Limits::default());
    for sent in &conversation(100, 500, "hello")[..5] {
        run.send(0, *sent);
    }
    run.advance(200);
    assert_eq!(run.table.awake.len(), 1);
    run.send(202, tcp(CLIENT, SERVER, ACK, 101, 503, "HELLO"));
    assert_eq!(run.table.account().uncompared, 0);
    assert!(run.finish()[0].ambiguity.is_some());
}

fn run(all: &[(i64, Sent)]) -> Vec<Flow<Text>> {
    let mut run = Run::new(Limits::default());
    for &(seconds, sent) in all {
        run.send(seconds, sent);
    }
    run.finish()
}

fn packets(flow: &Flow<Text>) -> u64 {
    flow.sent.iter().map(|sent| sent.packets).sum()
}

/// What the client said; it is the lower address.
fn said(flow: &Flow<Text>) -> &str {
    std::str::from_utf8(&flow.reader.0[0]).unwrap()
}

#[test]
fn what_is_taken_from_a_reader_is_not_held_any_more() {
    let mut run = Run::new(Limits::default());
    run.send(0, datagram(Transport::UDP, CLIENT, "hello"));
    assert_eq!(run.table.budget.held, 5);
    let taken = run.table.take_from_last(std::mem::take).expect("it was read");
    assert_eq!((taken.held(), run.table.budget.held), (5, 0));
    run.send(0, tcp(CLIENT, SERVER, SYN, 1, 0, ""));
    assert!(run.table.take_from_last(std::mem::take).is_none());
}

#[test]
fn both_directions_are_one_flow_opened_by_the_syn() {
    let flows = run(&conversation(100, 900, "hello").map(|sent| (0, sent)));
    let [flow] = &flows[..] else { panic!("{flows:?}") };
    assert_eq!((flow.sent[0].packets, flow.sent[1].packets, flow.sent[0].bytes), (4, 3, 240));
    assert_eq!((said(flow), flow.opener), ("hello", Some(Opener::Syn(Side::A))));
    assert_eq!(flow.state(Side::A), ConnState::Sf);
}

#[test]
fn a_new_syn_after_the_close_begins_a_new_flow() {
    let mut run = Run::new(Limits::default());
    run.send_all(0, &conversation(100, 900, "first"));
    run.send_all(1, &conversation(70_000, 3_000_000, "second"));
    let flows = run.finish();
    let told: Vec<_> = flows.iter().map(|flow| (said(flow), packets(flow), flow.state(Side::A))).collect();
    assert_eq!(told, [("first", 7, ConnState::Sf), ("second", 7, ConnState::Sf)]);
}

#[test]
fn answers_of_a_reused_port_go_to_the_newest_connection() {
    // The server's next initial sequence number lies as far from the last one as it can.
    let mut run = Run::new(Limits::default());
    run.send_all(0, &conversation(100, 0, "first"));
    run.send(1, tcp(CLIENT, SERVER, SYN, 500_000, 0, ""));
    run.send(1, tcp(SERVER, CLIENT, SYN_ACK, 3, 500_001, ""));
    run.send_all(
        2,
        &[tcp(CLIENT, SERVER, SYN, 900_000, 0, ""), tcp(SERVER, CLIENT, RST | ACK, 0, 900_001, "")],
    );
    let flows = run.finish();
    let told: Vec<_> = flows.iter().map(|flow| (packets(flow), flow.state(Side::A))).collect();
    assert_eq!(told, [(7, ConnState::Sf), (2, ConnState::S1), (2, ConnState::Rej)]);
}

#[test]
fn a_syn_of_a_known_initial_sequence_number_is_a_duplicate_also_after_close() {
    let first = conversation(100, 900, "first");
    let mut all: Vec<_> = first.iter().map(|sent| (0, *sent)).collect();
    all.push((1, first[0]));
    all.extend(conversation(70_000, 3_000_000, "second").map(|sent| (2, sent)));
    // The whole first connection once more, after the second one was closed.
    all.extend(first.map(|sent| (3, sent)));
    let flows = run(&all);
    let told: Vec<_> = flows.iter().map(|flow| (said(flow), packets(flow))).collect();
    assert_eq!(told, [("first", 15), ("second", 7)]);
    assert!(flows[0].repeated > 0 && flows[1].repeated == 0);
    assert_eq!(flows[0].state(Side::A), ConnState::Sf);
}

#[test]
fn late_packets_find_the_earlier_connection_of_the_same_ports() {
    let (mut first, second) = (conversation(100, 900, "early"), conversation(70_000, 3_000_000, "second"));
    // The first connection's data is captured only after the second one has begun.
    let late = first[3];
    first[3] = first[2];
    let mut all: Vec<_> = first.iter().map(|sent| (0, *sent)).collect();
    all.extend(second[..3].iter().map(|sent| (1, *sent)));
    all.push((1, late));
    all.extend(second[3..].iter().map(|sent| (1, *sent)));
    let flows = run(&all);
    assert_eq!(flows.iter().map(said).collect::<Vec<_>>(), ["early", "second"]);
}

#[test]
fn a_syn_ack_alone_opens_for_the_other_side_and_a_late_syn_joins_it() {
    let [syn, syn_ack, ..] = conversation(100, 900, "");
    assert_eq!(run(&[(0, syn_ack)])[0].opener, Some(Opener::SynAck(Side::A)));
    let flows = run(&[(0, syn_ack), (0, syn)]);
    assert_eq!(flows.len(), 1);
    assert_eq!((flows[0].opener, flows[0].state(Side::A)), (Some(Opener::Syn(Side::A)), ConnState::S1));
    let middle = run(&[(0, tcp(SERVER, CLIENT, ACK, 5, 5, "x"))]);
    assert_eq!((middle[0].opener, middle[0].first_sender), (None, Side::B));
}

#[test]
fn idle_flows_expire_by_transport_and_state_in_packet_time() {
    let established = &conversation(100, 900, "x")[..4];
    let closed = conversation(100, 900, "x");
    let cases: [(&[Sent], i64); 6] = [
        (&[tcp(CLIENT, SERVER, SYN, 1, 0, "")], ATTEMPT),
        (established, ESTABLISHED),
        (&[tcp(CLIENT, SERVER, ACK, 5, 5, "from the middle")], ESTABLISHED),
        (&closed, CLOSED),
        (&[datagram(Transport::UDP, CLIENT, "x")], UDP),
        (&[datagram(Transport::ICMP, CLIENT, "x")], OTHER),
    ];
    for (sent, time_out) in cases {
        let seconds = time_out / Timestamp::SECOND;
        let mut run = Run::new(Limits::default());
        run.send_all(1000, sent);
        assert_eq!(run.advance(1000 + seconds), 0, "{sent:?}");
        // The wheel looks once a second.
        assert_eq!(run.advance(1000 + seconds + 2), 1, "{sent:?}");
    }
}

#[test]
fn a_packet_puts_the_deadline_off() {
    let mut run = Run::new(Limits::default());
    for seconds in (0..1000).step_by(100) {
        run.send(seconds, datagram(Transport::UDP, CLIENT, "x"));
    }
    assert_eq!(run.advance(1019), 0);
    assert_eq!(run.advance(1022), 1);
    assert_eq!((packets(&run.ended[0]), run.ended[0].end), (10, Timestamp(900 * Timestamp::SECOND)));
}

#[test]
fn a_closed_flow_is_let_go_long_before_an_open_one_would_be() {
    let mut run = Run::new(Limits::default());
    let all = conversation(100, 900, "x");
    run.send_all(0, &all[..5]);
    run.send_all(5000, &all[5..]);
    assert_eq!(run.advance(5000 + 62), 1);
    // The entry of the three hours comes up for a place that another flow has by now.
    run.send(5063, datagram(Transport::UDP, CLIENT, "x"));
    run.send(5063 + 119, datagram(Transport::UDP, CLIENT, "x"));
    assert_eq!(run.advance(5063 + 119 + 119), 1);
    run.advance(ESTABLISHED / Timestamp::SECOND + 10);
    assert_eq!(run.ended.len(), 2);
    assert_eq!(run.finish().len(), 2);
}

#[test]
fn time_running_backwards_ends_nothing_and_joins_the_same_flow() {
    let all = conversation(100, 900, "hello");
    let mut run = Run::new(Limits::default());
    run.send_all(100_000, &all[..4]);
    run.send_all(10, &all[4..]);
    assert_eq!(run.advance(100_000), 0, "the clock does not go on by itself");
    let flows = run.finish();
    let [flow] = &flows[..] else { panic!("{flows:?}") };
    assert_eq!(
        (flow.start, flow.end),
        (Timestamp(10 * Timestamp::SECOND), Timestamp(100_000 * Timestamp::SECOND))
    );
    assert_eq!((flow.state(Side::A), said(flow)), (ConnState::Sf, "hello"));
}

#[test]
fn a_flow_read_backwards_in_time_lives_its_time_out_from_where_the_clock_is() {
    let mut run = Run::new(Limits::default());
    run.send(100_000, datagram(Transport::UDP, 1, "x"));
    run.send(10, datagram(Transport::UDP, 2, "x"));
    assert_eq!(run.advance(100_120), 0);
    assert_eq!(run.advance(100_122), 2);
}

#[test]
fn a_flow_beyond_the_cap_takes_the_place_of_the_one_that_is_worth_least() {
    let mut run = Run::new(Limits { flows: 5, ..Limits::default() });
    run.send_all(0, &conversation(1000, 5000, "hello")[..5]);
    run.send(0, datagram(Transport::UDP, 1, "x"));
    run.send(0, datagram(Transport::UDP, 2, "x"));
    let attempt = |port| tcp(port, SERVER, SYN, 7, 0, "");
    // Of the attempts, the older one.
    for port in [3, 4, 5] {
        run.send(1, attempt(port));
    }
    let evicted =
        |run: &Run| run.ended.iter().map(|flow| (flow.key.ports[0], flow.evicted)).collect::<Vec<_>>();
    assert_eq!(evicted(&run), [(3, true)]);
    // An answer makes it worth more than what only one side sent, of which the older goes first.
    for port in [4, 5] {
        run.send(2, tcp(SERVER, port, SYN_ACK, 9, 8, ""));
    }
    for port in [6, 7, 8] {
        run.send(3, attempt(port));
    }
    assert_eq!(evicted(&run)[1..], [(1, true), (6, true), (7, true)]);
    let account = run.table.account();
    assert_eq!((account.flows, account.evicted, account.most_flows), (9, 4, 5));
    let flows = run.finish();
    let kept: Vec<_> = flows.iter().filter(|flow| !flow.evicted).map(|flow| flow.key.ports[0]).collect();
    assert_eq!(kept, [CLIENT, 2, 4, 5, 8]);
}

#[test]
fn very_many_flows_that_are_due_end_a_few_with_each_packet() {
    let mut run = Run::new(Limits::default());
    let many = AT_ONCE as u16 + 100;
    for port in 1..=many {
        run.send(0, datagram(Transport::UDP, port, "x"));
    }
    assert_eq!(run.advance(1000), AT_ONCE);
    // One that is due and still there is not gone on with.
    run.send(1000, datagram(Transport::UDP, many, "y"));
    run.send(1001, datagram(Transport::UDP, many, "y"));
    assert_eq!(run.ended.last().map(packets), Some(1));
    for _ in 0..many {
        run.send(1001, datagram(Transport::UDP, many, "y"));
    }
    assert_eq!(run.table.len(), 1);
    assert_eq!(run.finish().iter().map(packets).sum::<u64>(), 2 * u64::from(many) + 2);
}

#[test]
fn a_flood_leaves_no_more_in_the_wheel_than_some_times_what_the_table_holds() {
    let mut run = Run::new(Limits { flows: 10, ..Limits::default() });
    for number in 0..4 * STALE as u32 {
        let (from, network) = (number as u16, (number >> 16) as u8 + 2);
        run.send(0, Sent { within: network, ..datagram(Transport::UDP, from, "x") });
        assert!(run.table.wheel.len() <= 3 * 10 + STALE + 1);
        run.ended.clear();
    }
    assert_eq!(run.advance(1000), 10, "entries of live flows are still there");
}

#[test]
fn a_flood_leaves_no_more_that_waits_for_rest_than_some_times_what_the_table_holds() {
    let mut run = Run::new(Limits { flows: 10, ..Limits::default() });
    for number in 0..4 * STALE as u32 {
        run.send(0, tcp(number as u16, SERVER, ACK, number >> 16, 500, "x"));
        assert!(run.table.restless.len() <= 2 * 10 + STALE + 1);
        run.ended.clear();
    }
    assert!(run.table.restless.len() > 10);
}

#[test]
fn a_reader_that_grows_beyond_what_all_may_hold_lets_go() {
    let mut run = Run::new(Limits { stream_bytes: 8, ..Limits::default() });
    run.send(0, datagram(Transport::UDP, 1, "held"));
    run.send(0, datagram(Transport::UDP, 2, "held too"));
    run.send(0, datagram(Transport::UDP, 1, "more"));
    run.send(0, datagram(Transport::UDP, 2, "unread"));
    assert_eq!(run.table.account().stream_refused, 1);
    // Room again once another has ended.
    run.advance(1000);
    run.send(1001, datagram(Transport::UDP, 3, "held"));
    assert_eq!(run.finish().iter().map(said).collect::<Vec<_>>(), ["heldmore", "", "held"]);
}

#[test]
fn flows_end_in_the_order_of_their_first_packets() {
    let mut run = Run::new(Limits::default());
    for port in [7, 3, 5] {
        run.send(0, datagram(Transport::UDP, port, "x"));
    }
    run.advance(500);
    for port in [9, 1] {
        run.send(501, datagram(Transport::UDP, port, "x"));
    }
    let ports: Vec<_> = run.finish().iter().map(|flow| flow.key.ports[0]).collect();
    assert_eq!(ports, [7, 3, 5, 9, 1]);
}

#[test]
fn the_middle_one_of_three_connections_can_end_first() {
    let mut run = Run::new(Limits::default());
    run.send_all(0, &conversation(100, 900, "one")[..4]);
    run.send_all(0, &conversation(1_000_000, 900_000, "two"));
    run.send_all(0, &conversation(9_000_000, 70_000_000, "three")[..4]);
    assert_eq!(run.advance(70), 1);
    run.send(71, conversation(100, 900, "one")[4]);
    run.send(71, conversation(9_000_000, 70_000_000, "three")[4]);
    let flows = run.finish();
    let told: Vec<_> = flows.iter().map(|flow| (said(flow), packets(flow))).collect();
    assert_eq!(told, [("two", 7), ("one", 5), ("three", 5)]);
}

#[test]
fn loss_is_told_to_flows_of_its_time_unless_their_sequence_numbers_tell_of_none() {
    let second = |seconds: i64| Timestamp(seconds * Timestamp::SECOND);
    let told = |flow: &Flow<Text>| flow.reader.0.iter().any(|text| text.contains(&b'!'));
    let open = &conversation(1000, 5000, "hello")[..5];
    for (sent, lost, expected) in [
        (open, (20, 30), true),
        (open, (5, 10), true),
        (open, (5, 9), false),
        (&conversation(1000, 5000, "hello")[..], (5, 30), false),
        (&[datagram(Transport::UDP, CLIENT, "a")], (10, 11), true),
        (&[datagram(Transport::UDP, CLIENT, "a")], (5, 6), false),
    ] {
        let mut run = Run::new(Limits::default());
        run.send_all(10, sent);
        run.table.lost(second(lost.0), second(lost.1));
        let ended = run.finish();
        assert_eq!(ended.iter().map(told).collect::<Vec<_>>(), [expected], "{sent:?} {lost:?}");
    }
}

fn any_packet() -> impl Strategy<Value = Sent> {
    let flags = prop::sample::select(vec![SYN, SYN_ACK, ACK, FIN_ACK, RST]);
    let transport = prop::sample::select(vec![Transport::TCP, Transport::TCP, Transport::UDP]);
    let within = prop::sample::select(vec![0u8, 0, 1, 2, 3]);
    (1u16..4, any::<bool>(), flags, transport, 0u32..40, any::<u32>(), within).prop_map(
        |(port, forth, flags, transport, sequence, acknowledgement, within)| {
            let (from, to) = if forth { (port, SERVER) } else { (SERVER, port) };
            let sequence = sequence.wrapping_mul(150_000_000);
            Sent { from, to, transport, flags, sequence, acknowledgement, text: "abc", within }
        },
    )
}

/// Packets at any time, or shortly after one another.
fn any_packets() -> impl Strategy<Value = Vec<(i64, Sent)>> {
    let wild = prop::collection::vec((0i64..20_000, any_packet()), 0..80);
    let steady = prop::collection::vec((0i64..40, any_packet()), 0..120).prop_map(|mut all| {
        let mut now = 0;
        for (seconds, _) in &mut all {
            now += *seconds;
            *seconds = now;
        }
        all
    });
    prop_oneof![wild, steady]
}

/// All that is told of a flow.
fn told(flow: &Flow<Text>) -> String {
    format!("{flow:?} {:?}", flow.state(Side::A))
}

proptest! {
    #[test]
    fn no_packet_is_lost_whatever_their_order(all in any_packets()) {
        let flows = run(&all);
        prop_assert_eq!(flows.iter().map(packets).sum::<u64>(), all.len() as u64);
    }

    #[test]
    fn flows_that_expire_leave_nothing_behind(all in any_packets()) {
        let mut run = Run::new(Limits::default());
        for &(seconds, sent) in &all {
            run.send(seconds, sent);
        }
        // Past the longest time-out, and once more for those that were put off.
        run.advance(40_000);
        run.advance(80_000);
        run.is_empty();
        prop_assert_eq!(run.ended.iter().map(packets).sum::<u64>(), all.len() as u64);
    }

    #[test]
    fn a_run_looked_up_ahead_comes_to_the_same_as_one_by_one(
        all in any_packets(), size in 1usize..40, flows in prop::sample::select(vec![2usize, 5, 1000]),
    ) {
        let limits = Limits { flows, ..Limits::default() };
        let (mut single, mut runs) = (Run::new(limits), Run::new(limits));
        for &(seconds, sent) in &all {
            single.send(seconds, sent);
        }
        all.chunks(size).for_each(|run| runs.send_run(run));
        prop_assert_eq!(single.table.account(), runs.table.account());
        let (single, runs) = (single.finish(), runs.finish());
        prop_assert_eq!(single.iter().map(told).collect::<Vec<_>>(), runs.iter().map(told).collect::<Vec<_>>());
    }
}

#[test]
fn counters_go_on_beyond_what_their_records_hold() {
    let mut run = Run::new(Limits::default());
    let mut expected = Counters::default();
    for wire_bytes in [u64::from(u32::MAX), 7, 1 << 33, u64::from(u32::MAX)] {
        let stamp = run.stamp(0);
        let packets = u32::MAX - 1;
        let head = Head { wire_bytes, packets, ..datagram(Transport::UDP, CLIENT, "x").head() };
        run.table.packet(&head, b"x", &stamp, &mut run.ended);
        expected.packets += u64::from(packets);
        expected.bytes += wire_bytes;
    }
    run.send(0, datagram(Transport::UDP, 1, "another"));
    let flows = run.finish();
    assert_eq!(flows[0].sent, [expected, Counters::default()]);
    assert_eq!(flows[1].sent[0].packets, 1);
}
