//! Whole connections, sealed here, read back through the parser.

use std::sync::Arc;

use proptest::prelude::*;

use super::wire::*;
use super::*;
use crate::protocol::testing::Stream;
use crate::protocol::tls::decrypt::testing::Sender;
use crate::protocol::tls::evidence::Authentication;
use crate::protocol::tls::record::HEADER;
use crate::protocol::tls::{Alpn, Basis, ClientCertificate, Decryption, KeyStore, Outcome, Parser, Why};

const ALL: &[u8] = &[1, 2, 3, 4, 5];

fn mutual() -> Wire {
    let mut wire = Wire::new(b"");
    wire.handshake(H2, &[CERTIFICATE, VERIFY]);
    wire.say(CLIENT, "ping");
    wire.after(SERVER, Kind::Handshake, TICKET);
    wire.say(SERVER, "pong");
    wire
}

#[test]
fn a_handshake_with_both_certificates() {
    let (evidence, tape) = mutual().read(ALL, &[]);
    assert_eq!(evidence.authentication(), Authentication::Mutual(Basis::Decrypted));
    assert_eq!(evidence.alpn(), Alpn::Chosen(b"h2", Basis::Decrypted));
    assert_eq!(evidence.certificate_requested(), Some(true));
    assert_eq!(*evidence.server_chain().unwrap().certificates, [Box::from(*b"der")]);
    let ClientCertificate::Presented { basis, chain: Some(chain), post_handshake: false } =
        evidence.client_certificate()
    else {
        panic!("{:?}", evidence.client_certificate())
    };
    assert_eq!((basis, chain.certificates.len()), (Basis::Decrypted, 1));
    assert_eq!((tape.said(CLIENT), tape.said(SERVER)), ("ping", "pong"));
    assert_eq!(evidence.decryption(), Some(Decryption::Opened { records: 5 }));
}

#[test]
fn a_handshake_without_a_certificate_and_one_with_an_empty_one() {
    for (answer, expected) in [
        (&[][..], Authentication::OneWay(Basis::Decrypted)),
        (&[EMPTY], Authentication::Empty(Basis::Decrypted)),
    ] {
        let mut wire = Wire::new(b"");
        wire.handshake(b"\x08\0\0\x02\0\0", answer);
        wire.say(CLIENT, "a");
        wire.say(SERVER, "b");
        let (evidence, _) = wire.read(ALL, &[]);
        assert_eq!(evidence.authentication(), expected);
        assert_eq!(evidence.alpn(), Alpn::None(Basis::Decrypted));
    }
}

#[test]
fn what_crosses_the_clients_flight_is_no_acceptance() {
    let mut wire = Wire::new(b"");
    wire.server_hello();
    wire.flight(SERVER, &[H2, REQUEST, CERTIFICATE, VERIFY, FINISHED]);
    wire.after(SERVER, Kind::Handshake, TICKET);
    wire.flight(CLIENT, &[CERTIFICATE, VERIFY, FINISHED]);
    let (evidence, _) = wire.read(ALL, &[]);
    assert!(matches!(evidence.outcome(), Outcome::Unseen(_)), "{:?}", evidence.outcome());
    wire.say(CLIENT, "a");
    wire.say(SERVER, "b");
    assert_eq!(wire.read(ALL, &[]).0.outcome(), Outcome::Accepted(Basis::Decrypted));
}

#[test]
fn a_refusal_names_its_alert_under_whichever_keys() {
    for under_handshake in [false, true] {
        let mut wire = Wire::new(b"");
        wire.handshake(H2, &[EMPTY]);
        wire.say(CLIENT, "ping");
        if under_handshake {
            let record = wire.handshake[1].seal(Kind::Alert, &[2, 116], 0);
            wire.sent.push((SERVER, record));
        } else {
            wire.after(SERVER, Kind::Alert, &[2, 116]);
        }
        let (evidence, _) = wire.read(ALL, &[]);
        let refused = Outcome::Refused { by: SERVER, alert: Some(116), basis: Basis::Decrypted };
        assert_eq!(evidence.outcome(), refused, "{under_handshake}");
    }
    let mut wire = Wire::new(b"");
    wire.server_hello();
    wire.flight(SERVER, &[H2, CERTIFICATE, VERIFY, FINISHED]);
    let record = wire.handshake[0].seal(Kind::Alert, &[2, 48], 0);
    wire.sent.push((CLIENT, record));
    let refused = Outcome::Refused { by: CLIENT, alert: Some(48), basis: Basis::Decrypted };
    assert_eq!(wire.read(ALL, &[]).0.outcome(), refused);
}

#[test]
fn keys_are_updated_on_each_side_alone() {
    let mut wire = mutual();
    for side in [CLIENT, SERVER, SERVER] {
        wire.after(side, Kind::Handshake, KEY_UPDATE);
        wire.application[side.index()].update();
        wire.say(side, " again");
    }
    let (evidence, tape) = wire.read(ALL, &[]);
    assert_eq!((tape.said(CLIENT), tape.said(SERVER)), ("ping again", "pong again again"));
    assert_eq!(evidence.decryption(), Some(Decryption::Opened { records: 11 }));
}

/// Early data goes out before the ServerHello, and stays out of what was said unless it was accepted.
fn early(accepted: bool) -> Wire {
    let mut wire = Wire::new(b"\0\x2a\0\0");
    let data = wire.early.seal(Kind::ApplicationData, b"early ", 0);
    wire.sent.push((CLIENT, data));
    wire.server_hello();
    wire.flight(SERVER, &[if accepted { H2_EARLY } else { H2 }, CERTIFICATE, VERIFY, FINISHED]);
    if accepted {
        let end = wire.early.seal(Kind::Handshake, END_OF_EARLY_DATA, 0);
        wire.sent.push((CLIENT, end));
    }
    wire.flight(CLIENT, &[FINISHED]);
    wire.say(CLIENT, "late");
    wire.say(SERVER, "yes");
    wire
}

#[test]
fn early_data_is_read_or_passed_over() {
    for (accepted, secrets, said) in [
        (true, ALL, "early late"),
        (false, ALL, "late"),
        (true, &ALL[1..], "!!late"),
        (false, &ALL[1..], "late"),
    ] {
        let (evidence, tape) = early(accepted).read(secrets, &[]);
        assert_eq!((tape.said(CLIENT), tape.said(SERVER)), (said, "yes"), "{accepted} {secrets:?}");
        assert_eq!(evidence.authentication(), Authentication::OneWay(Basis::Decrypted));
        assert!(matches!(evidence.decryption(), Some(Decryption::Opened { .. })));
    }
}

#[test]
fn a_client_read_before_the_server_waits_for_it() {
    let mut wire = mutual();
    let (client, server): (Vec<_>, Vec<_>) = wire.sent.into_iter().partition(|(side, _)| *side == CLIENT);
    wire.sent = client.into_iter().chain(server).collect();
    let (evidence, tape) = wire.read(ALL, &[]);
    assert_eq!((tape.said(CLIENT), tape.said(SERVER)), ("ping", "pong"));
    assert_eq!(evidence.authentication(), Authentication::Mutual(Basis::Decrypted));
}

#[test]
fn keys_that_are_still_being_written_are_waited_for() {
    for (wire, late) in
        [(mutual(), 0), (mutual(), 3), (mutual(), 6), (mutual(), usize::MAX), (early(true), 8)]
    {
        let said = if late == 8 { ("early late", "yes") } else { ("ping", "pong") };
        let keys = Arc::new(KeyStore::default());
        keys.add(b"\n");
        keys.expect_more();
        let (mut parser, mut tape) = (Parser::with_keys(Arc::clone(&keys)), Tape::default());
        let mut stream = Stream::default();
        for (at, (side, record)) in wire.sent.iter().enumerate() {
            if at == late {
                keys.add(&log(ALL));
            }
            stream.lend(*side, record, |side, bytes| parser.advance(side, bytes, at as i64, &mut tape));
        }
        assert_eq!(parser.evidence().decryption() == Some(Decryption::NoKey), late >= 8);
        keys.add(&log(ALL));
        parser.finish(&mut tape);
        assert_eq!((tape.said(CLIENT), tape.said(SERVER)), said, "{late}");
        assert_eq!(parser.evidence().alpn(), Alpn::Chosen(b"h2", Basis::Decrypted));
    }
}

#[test]
fn waiting_for_keys_has_a_cap() {
    let keys = Arc::new(KeyStore::default());
    keys.add(b"\n");
    keys.expect_more();
    let mut wire = mutual();
    wire.say(CLIENT, &"x".repeat(AWAITING_KEYS_CAP - 200));
    wire.say(CLIENT, &"x".repeat(200));
    let (evidence, tape) = read(&wire.sent, Arc::clone(&keys), &[]);
    assert_eq!(evidence.decryption(), Some(Decryption::NoKey));
    assert_eq!(tape, Tape::default());
}

#[test]
fn without_handshake_secrets_what_was_said_is_read() {
    let (evidence, tape) = mutual().read(&[4, 5], &[]);
    assert_eq!((tape.said(CLIENT), tape.said(SERVER)), ("ping", "pong"));
    assert!(!matches!(evidence.alpn(), Alpn::Chosen(_, Basis::Decrypted)));
    assert!(!matches!(evidence.client_certificate(), ClientCertificate::None(Basis::Decrypted)));
}

#[test]
fn a_key_that_does_not_open_leaves_what_lengths_say() {
    let mut wire = mutual();
    let plain = wire.read(&[], &[]).0;
    assert_eq!(plain.decryption(), Some(Decryption::NoKey));
    for sender in &mut wire.handshake {
        sender.update();
    }
    let mut other = Wire { sent: Vec::new(), ..wire };
    other.sent = Wire::new(b"").sent;
    other.handshake(H2, &[CERTIFICATE, VERIFY]);
    let (evidence, tape) = other.read(ALL, &[]);
    assert_eq!(evidence.decryption(), Some(Decryption::WrongKey));
    assert_eq!((tape.said(CLIENT), tape.said(SERVER)), ("!", "!"));
    assert_eq!(evidence.authentication(), other.read(&[], &[]).0.authentication());
}

#[test]
fn a_suite_that_is_not_supported_is_said() {
    let mut wire = mutual();
    let (_, hello) = &mut wire.sent[1];
    let at = hello.windows(2).position(|bytes| bytes == [0x13, 3]).unwrap();
    hello[at + 1] = 4;
    assert_eq!(wire.read(ALL, &[]).0.decryption(), Some(Decryption::Unsupported));
}

#[test]
fn a_hole_inside_a_record_costs_that_record_only() {
    let mut wire = mutual();
    wire.say(SERVER, " lost");
    wire.say(SERVER, " found");
    let keys = Arc::new(store(ALL));
    let (mut parser, mut tape, mut stream) = (Parser::with_keys(keys), Tape::default(), Stream::default());
    let lost = wire.sent.len() - 2;
    for (at, (side, record)) in wire.sent.iter().enumerate() {
        let lent = if at == lost { &record[..HEADER + 2] } else { record };
        stream.lend(*side, lent, |side, bytes| parser.advance(side, bytes, at as i64, &mut tape));
        if at == lost {
            assert_eq!(stream.unused(SERVER).len(), 2);
            let rest = parser.gap(SERVER, (record.len() - HEADER) as u64, &mut tape);
            assert_eq!(rest, Some(0));
            stream = Stream::default();
        }
    }
    assert_eq!(tape.said(SERVER), "pong! found");
    // A hole that goes beyond the record leaves nothing to count from.
    assert_eq!(parser.gap(SERVER, 1, &mut tape), None);
    assert_eq!(tape.said(SERVER), "pong! found!");
}

#[test]
fn a_hole_in_the_clients_flight_is_never_taken_for_no_certificate() {
    let mut wire = Wire::new(b"");
    wire.piece = 16;
    wire.handshake(H2, &[CERTIFICATE, VERIFY]);
    wire.say(CLIENT, "ping");
    wire.say(SERVER, "pong");
    let keys = Arc::new(store(ALL));
    let (mut parser, mut tape) = (Parser::with_keys(keys), Tape::default());
    let mut stream = Stream::default();
    let lost = wire.sent.iter().position(|(side, record)| *side == CLIENT && record[0] == 23).unwrap();
    for (at, (side, record)) in wire.sent.iter().enumerate() {
        let lent = if at == lost { &record[..HEADER + 2] } else { record };
        stream.lend(*side, lent, |side, bytes| parser.advance(side, bytes, at as i64, &mut tape));
        if at == lost {
            parser.gap(CLIENT, (record.len() - HEADER) as u64, &mut tape);
            stream = Stream::default();
        }
    }
    let answer = parser.evidence().client_certificate();
    assert!(!matches!(answer, ClientCertificate::None(_) | ClientCertificate::Empty(_)), "{answer:?}");
}

#[test]
fn a_certificate_may_be_asked_for_after_the_handshake() {
    let offer = b"\0\x31\0\0";
    let later = |answer: &[u8], then: Option<(Kind, &[u8])>| {
        let mut wire = Wire::new(offer);
        wire.handshake(H2, &[]);
        wire.say(CLIENT, "a");
        wire.say(SERVER, "b");
        wire.after(SERVER, Kind::Handshake, REQUEST);
        wire.after(CLIENT, Kind::Handshake, answer);
        if let Some((kind, content)) = then {
            wire.after(SERVER, kind, content);
        }
        wire.read(ALL, &[]).0
    };
    let proven = [CERTIFICATE, VERIFY, FINISHED].concat();
    let data = Some((Kind::ApplicationData, &b"c"[..]));
    let alert = Some((Kind::Alert, &[2, 116][..]));
    let mutual = later(&proven, data);
    assert!(matches!(
        mutual.client_certificate(),
        ClientCertificate::Presented { basis: Basis::Decrypted, post_handshake: true, .. }
    ));
    assert_eq!(mutual.authentication(), Authentication::Mutual(Basis::Decrypted));
    assert_eq!(later(&proven, None).client_certificate(), ClientCertificate::Unseen(Why::NoAnswer));
    assert!(matches!(later(&proven, alert).outcome(), Outcome::Refused { alert: Some(116), .. }));
    let none = [EMPTY, FINISHED].concat();
    assert_eq!(later(&none, alert).authentication(), Authentication::Empty(Basis::Decrypted));
}

/// TLS 1.2, from the ServerHello on resumed: no certificates, ChangeCipherSpec, then all is sealed.
#[test]
fn tls_1_2_opens_after_change_cipher_spec() {
    for (suite, master) in [(0xcca8u16, [7; 48]), (0xc02f, [8; 48]), (0xc030, [9; 48]), (0x009c, [5; 48])] {
        let mut wire = Wire::new(b"");
        wire.clear(SERVER, 2, b"");
        let (_, hello) = &mut wire.sent[1];
        let at = hello.windows(2).position(|bytes| bytes == [0x13, 3]).unwrap();
        hello[at..at + 2].copy_from_slice(&suite.to_be_bytes());
        let mut sides = Sender::classic(suite, &master, &RANDOMS[0], &RANDOMS[1]);
        for (side, text) in [(SERVER, "b"), (CLIENT, "a")] {
            let sender = &mut sides[side.index()];
            wire.sent.push((side, vec![20, 3, 3, 0, 1, 1]));
            wire.sent.push((side, sender.seal(Kind::Handshake, FINISHED, 0)));
            wire.sent.push((side, sender.seal(Kind::ApplicationData, text.as_bytes(), 0)));
            wire.sent.push((side, sender.seal(Kind::Alert, &[1, 0], 0)));
        }
        let hex: String = master.iter().map(|byte| format!("{byte:02x}")).collect();
        let store = KeyStore::default();
        store.add(format!("CLIENT_RANDOM {} {hex}", "01".repeat(32)).as_bytes());
        let (evidence, tape) = read(&wire.sent, Arc::new(store), &[]);
        assert_eq!((tape.said(CLIENT), tape.said(SERVER)), ("a", "b"), "{suite:04x}");
        assert_eq!(evidence.decryption(), Some(Decryption::Opened { records: 6 }));
        assert_eq!(evidence.decrypted_alerts().len(), 2);
    }
}

proptest! {
    #[test]
    fn any_cut_of_records_and_segments_says_the_same(
        piece in 1usize..80, zeros in 0usize..40, sizes in proptest::collection::vec(1usize..400, 0..6),
    ) {
        let mut wire = Wire::new(b"");
        (wire.piece, wire.zeros) = (piece, zeros);
        wire.handshake(H2, &[CERTIFICATE, VERIFY]);
        wire.say(CLIENT, "ping");
        wire.say(SERVER, "pong");
        let (evidence, tape) = wire.read(ALL, &sizes);
        prop_assert_eq!(evidence.authentication(), Authentication::Mutual(Basis::Decrypted));
        prop_assert_eq!((tape.said(CLIENT), tape.said(SERVER)), ("ping", "pong"));
    }

    #[test]
    fn a_changed_byte_never_panics_and_never_adds_a_certificate(
        record in 0usize..12, at in 0usize..400, bits in 1u8.., sizes in proptest::collection::vec(1usize..400, 0..4),
    ) {
        let mut wire = Wire::new(b"");
        wire.handshake(H2, &[EMPTY]);
        wire.say(CLIENT, "ping");
        wire.say(SERVER, "pong");
        let record = record % wire.sent.len();
        let bytes = &mut wire.sent[record].1;
        let at = at % bytes.len();
        bytes[at] ^= bits;
        let (evidence, tape) = wire.read(ALL, &sizes);
        let answer = evidence.authentication();
        prop_assert!(answer != Authentication::Mutual(Basis::Decrypted), "{answer:?}");
        for (side, text) in [(CLIENT, "ping"), (SERVER, "pong")] {
            prop_assert!(text.starts_with(tape.said(side).trim_matches('!')), "{tape:?}");
        }
    }
}
