use proptest::prelude::*;

use super::*;
use crate::protocol::testing;

/// A query for `doppler.service`, type A, class IN.
const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07doppler\x07service\0\0\x01\0\x01";

fn answer() -> Vec<u8> {
    let mut answer = QUERY.to_vec();
    answer[2] = 0x85;
    answer[3] = 0x80;
    answer[7] = 1;
    answer.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04\x0a\0\x04\x0a");
    answer
}

fn with_length(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap();
    [&length.to_be_bytes()[..], message].concat()
}

#[test]
fn counts_queries_and_answers_and_keeps_the_name() {
    let mut parser = Parser::new();
    parser.datagram(Side::B, QUERY);
    parser.datagram(Side::A, &answer());
    let name: Box<[u8]> = b"doppler.service"[..].into();
    let addresses = vec![Address { name: name.clone(), address: "10.0.4.10".parse().unwrap() }];
    let expected = Dns {
        queries: 1,
        answers: 1,
        name: Some(name.into()),
        addresses: addresses.clone(),
        addresses_dropped: 0,
    };
    assert_eq!(parser.evidence(), expected);
    assert_eq!(parser.client(), Some(Side::B));
    assert_eq!(parser.take_addresses(), addresses);
    assert!(parser.take_addresses().is_empty(), "taken once");
}

/// The addresses read from one answer, after the question that asked for it.
fn addresses(answer: &[u8]) -> Vec<String> {
    let mut parser = Parser::new();
    parser.datagram(Side::A, QUERY);
    parser.datagram(Side::B, answer);
    parser
        .take_addresses()
        .iter()
        .map(|a| format!("{} {}", String::from_utf8_lossy(&a.name), a.address))
        .collect()
}

#[test]
fn addresses_are_read_behind_aliases_and_pointers() {
    let mut chain = answer();
    chain.truncate(QUERY.len());
    chain[7] = 3;
    // doppler.service CNAME x.service; x.service A; x.service AAAA.
    chain.extend(b"\xc0\x0c\0\x05\0\x01\0\0\0\0\0\x04\x01x\xc0\x14");
    let x = (0xc000 | (chain.len() as u16 - 4)).to_be_bytes();
    chain.extend(x);
    chain.extend(b"\0\x01\0\x01\0\0\0\0\0\x04\x0a\0\x04\x0b");
    chain.extend(x);
    chain.extend(b"\0\x1c\0\x01\0\0\0\0\0\x10\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01");
    assert_eq!(addresses(&chain), ["x.service 10.0.4.11", "x.service fd00::1"]);
}

#[test]
fn an_answer_nobody_asked_for_gives_no_address() {
    let changed = |at: usize, value: u8| {
        let mut answer = answer();
        answer[at] = value;
        addresses(&answer)
    };
    assert_eq!(addresses(&answer()), ["doppler.service 10.0.4.10"]);
    assert!(changed(1, 0x35).is_empty(), "another identifier");
    assert!(changed(3, 0x83).is_empty(), "no such name");
    assert!(changed(QUERY.len(), 0xff).is_empty(), "a pointer forward");
    let mut parser = Parser::new();
    parser.datagram(Side::B, &answer());
    parser.datagram(Side::A, QUERY);
    parser.datagram(Side::A, &answer());
    assert!(parser.take_addresses().is_empty(), "before the question, and from who asked");
    parser.datagram(Side::B, &answer());
    parser.datagram(Side::B, &answer());
    assert_eq!(parser.take_addresses().len(), 1, "one answer a question");
}

#[test]
fn addresses_are_capped() {
    let mut many = answer();
    many[6..8].copy_from_slice(&200_u16.to_be_bytes());
    many.truncate(QUERY.len());
    for n in 0..200 {
        many.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04\x0a\0\x05");
        many.push(n);
    }
    let mut parser = Parser::new();
    parser.datagram(Side::A, QUERY);
    parser.datagram(Side::B, &many);
    parser.datagram(Side::A, QUERY);
    parser.datagram(Side::B, &answer());
    assert_eq!(parser.evidence().addresses_dropped, 201 - ADDRESSES_CAP as u32);
    assert_eq!(parser.take_addresses().len(), ADDRESSES_CAP);
}

fn is_packed(parser: &Parser) -> bool {
    matches!(parser.0, Kept::Few(_))
}

#[test]
fn what_most_flows_need_is_two_words() {
    assert_eq!(size_of::<Parser>(), 16);
    let mut parser = Parser::new();
    for round in 1..=ADDRESSES_CAP as u32 {
        parser.datagram(Side::A, QUERY);
        assert!(is_packed(&parser));
        let question = parser.held();
        parser.datagram(Side::B, &answer());
        assert!(parser.held() > question, "addresses are held");
        assert_eq!(parser.take_addresses().len(), 1);
        assert_eq!((is_packed(&parser), parser.held()), (true, question), "until they are taken");
        assert_eq!((parser.evidence().queries, parser.evidence().answers), (round, round));
    }
    assert_eq!(parser.client(), Some(Side::A));
}

#[test]
fn what_few_flows_have_is_kept_as_long_as_they_have_it() {
    let with_id = |message: &[u8], id: u8| [&[0x12, id], &message[2..]].concat();
    let none = |id: u8| [&[0x12, id, 0x81, 0x80], &QUERY[4..]].concat();
    let mut parser = Parser::new();
    for id in 0..9 {
        parser.datagram(Side::A, &with_id(QUERY, id));
        assert_eq!(is_packed(&parser), id == 0);
    }
    parser.datagram(Side::B, &with_id(&answer(), 0));
    assert!(parser.take_addresses().is_empty(), "the oldest made room");
    for id in [3, 1, 2, 8, 6, 5, 7] {
        assert!(!is_packed(&parser));
        parser.datagram(Side::B, &none(id));
    }
    assert!(is_packed(&parser), "one question is left");
    parser.datagram(Side::B, &with_id(&answer(), 4));
    assert_eq!(parser.take_addresses().len(), 1);
    // A question from the other side, and counts over a byte.
    parser.datagram(Side::B, QUERY);
    assert!(!is_packed(&parser));
    parser.datagram(Side::A, &none(0x34));
    assert!(is_packed(&parser));
    for _ in 0..250 {
        parser.datagram(Side::A, QUERY);
        parser.datagram(Side::B, &none(0x34));
    }
    assert!(!is_packed(&parser));
    assert_eq!((parser.evidence().queries, parser.evidence().answers), (260, 260));
}

#[test]
fn an_answer_first_names_the_client_too() {
    let mut parser = Parser::new();
    parser.datagram(Side::A, &answer());
    assert_eq!(parser.client(), Some(Side::B));
}

#[test]
fn reads_an_answer_whose_records_were_cut_off() {
    assert_eq!(probe_datagram(&answer()[..QUERY.len()]), Probe::Certain);
    assert_eq!(probe_datagram(&QUERY[..QUERY.len() - 1]), Probe::NotForUs);
}

#[test]
fn reads_mdns_and_header_only_errors() {
    let mdns = b"\0\0\x84\0\0\0\0\x01\0\0\0\0\x01a\x05local\0\0\x01\x80\x01\0\0\0\x78\0\x04\x0a\0\0\x01";
    assert_eq!(probe_datagram(mdns), Probe::Certain);
    assert_eq!(probe_datagram(b"\0\x01\x80\x01\0\0\0\0\0\0\0\0"), Probe::Certain);
    assert_eq!(probe_datagram(b"\0\x01\x80\0\0\0\0\0\0\0\0\0"), Probe::NotForUs);
}

#[test]
fn refuses_what_breaks_a_rule() {
    let change = |at: usize, value: u8| {
        let mut message = QUERY.to_vec();
        message[at] = value;
        probe_datagram(&message)
    };
    assert_eq!(change(0, 0xff), Probe::Certain);
    assert_eq!(change(2, 0x79), Probe::NotForUs, "opcode 15");
    assert_eq!(change(3, 0x40), Probe::NotForUs, "Z bit");
    assert_eq!(change(3, 0x03), Probe::NotForUs, "a query with an error");
    assert_eq!(change(4, 1), Probe::NotForUs, "257 questions");
    assert_eq!(change(5, 0), Probe::NotForUs, "a query without a question");
    assert_eq!(change(12, 0xc0), Probe::NotForUs, "a pointer to nowhere");
    assert_eq!(change(12, 64), Probe::NotForUs, "a label over 63 bytes");
    assert_eq!(change(QUERY.len() - 1, 2), Probe::NotForUs, "class 2");
    assert_eq!(change(QUERY.len() - 3, 0), Probe::NotForUs, "type 0");
    assert_eq!(probe_datagram(&[0; 64]), Probe::NotForUs);
}

#[test]
fn a_name_over_255_bytes_is_refused() {
    let mut message = QUERY[..12].to_vec();
    for _ in 0..4 {
        message.push(63);
        message.extend([b'a'; 63]);
    }
    message.extend(b"\0\0\x01\0\x01");
    assert_eq!(probe_datagram(&message), Probe::NotForUs);
}

#[test]
fn names_in_presentation_form() {
    assert_eq!(&*presentation(b"\0"), b".");
    assert_eq!(&*presentation(b"\x03a.b\x04\\\0 \xff\0"), br"a\.b.\\\000\032\255");
    let long = [&[63][..], &[0xff; 63], &[63], &[b'a'; 63], &[0]].concat();
    let text = presentation(&long);
    assert_eq!(text.len(), NAME_CAP);
    assert!(text.ends_with(b"\\255.aa"), "cut at the cap");
}

#[test]
fn reads_messages_behind_their_length() {
    let mut parser = Parser::new();
    let two = [with_length(QUERY), with_length(QUERY)].concat();
    assert_eq!(parser.advance(Side::A, &two), Step::More { used: two.len() });
    assert_eq!(parser.evidence().queries, 2);
    assert_eq!(probe(&two[..2]), Probe::Unsure);
    assert_eq!(probe(&two[..20]), Probe::Unsure);
    assert_eq!(probe(&two), Probe::Certain);
    assert_eq!(probe(b"\0\x0b"), Probe::NotForUs);
    assert_eq!(probe(b"\0\x0b01234567890"), Probe::NotForUs);
    assert_eq!(probe(b"GET / HTTP/1.1\r\n\r\n"), Probe::NotForUs);
}

#[test]
fn the_rest_of_a_long_message_is_skipped() {
    let mut long = answer();
    long.resize(5000, 7);
    let framed = with_length(&long);
    let mut parser = Parser::new();
    let step = parser.advance(Side::A, &framed[..300]);
    assert_eq!(step, Step::Skip { used: 300, skip: 5002 - 300 });
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic_and_alike_in_any_pieces(
        a: Vec<u8>, sizes in proptest::collection::vec(1_usize..9, 1..5),
    ) {
        probe(&a);
        Parser::new().datagram(Side::A, &a);
        addresses(&[QUERY, &a].concat());
        let conversation = [(Side::A, a)];
        prop_assert_eq!(read(&conversation, &[]), read(&conversation, &sizes));
    }

    #[test]
    fn a_conversation_reads_alike_in_any_pieces(
        kinds in proptest::collection::vec(any::<bool>(), 0..8),
        padding in 0_usize..400,
        sizes in proptest::collection::vec(1_usize..70, 1..5),
    ) {
        let conversation: Vec<_> = kinds.iter().map(|query| match query {
            true => (Side::A, with_length(QUERY)),
            false => {
                let mut answer = answer();
                answer.extend(vec![0; padding]);
                (Side::B, with_length(&answer))
            }
        }).collect();
        let whole = read(&conversation, &[]);
        prop_assert_eq!(whole.queries as usize, kinds.iter().filter(|query| **query).count());
        prop_assert_eq!(whole.answers as usize, kinds.iter().filter(|query| !**query).count());
        prop_assert_eq!(whole, read(&conversation, &sizes));
    }

    #[test]
    fn any_records_behind_an_answer_are_read_or_refused(
        records: Vec<u8>, pointer in 0_u8..80, kind in prop_oneof![Just(1_u8), Just(28), Just(5)], count: u8,
    ) {
        let mut message = answer();
        message[7] = count;
        message.truncate(QUERY.len());
        message.extend([0xc0, pointer, 0, kind, 0, 1]);
        message.extend(&records);
        for address in addresses(&message) {
            prop_assert!(address.len() <= NAME_CAP + 40);
        }
    }

    #[test]
    fn any_name_in_presentation_form_is_printable_and_within_the_cap(
        labels in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..64), 0..5),
    ) {
        let mut wire = Vec::new();
        for label in &labels {
            wire.push(u8::try_from(label.len()).unwrap());
            wire.extend(label);
        }
        wire.push(0);
        let text = presentation(&wire);
        prop_assert!(!text.is_empty() && text.len() <= NAME_CAP);
        prop_assert!(text.iter().all(|byte| (b'!'..=b'~').contains(byte)));
    }
}

fn read(conversation: &[(Side, Vec<u8>)], sizes: &[usize]) -> Dns {
    let mut parser = Parser::new();
    testing::read_in(conversation, sizes, |side, bytes| parser.advance(side, bytes));
    parser.evidence()
}
