//! Names learnt from DNS answers in the capture: inferred at best, never against an inventory.

mod common;

use std::collections::HashMap;
use std::fs;

use common::{Folder, Run, flowaudit};

const CELL: [u8; 4] = [10, 0, 4, 20];
const DOPPLER: [u8; 4] = [10, 0, 4, 10];
const RESOLVER: [u8; 4] = [10, 0, 4, 2];
const TABLE: &str =
    "Source VM,Destination VM,Port,Transport Layer Protocol,App Layer Protocol,Security and Authentication
diego_cell,doppler,8082,TCP,gRPC over HTTP/2,Mutual TLS
";

#[test]
fn an_answer_names_the_destination_where_no_inventory_does() {
    let row = &audit(&[question(7), answer(7), syn()], "", &[]).0;
    assert_eq!(row["destination_finding"], "inferred");
    let words = "10.0.4.10 is doppler by a name learnt from DNS in this capture";
    assert!(row["evidence"].contains(words), "{}", row["evidence"]);
    assert_eq!(row["verdict"], "unproven");
}

#[test]
fn it_serves_every_flow_that_ends_later() {
    let row = &audit(&[syn(), question(7), answer(7)], "", &[]).0;
    assert_eq!(row["destination_finding"], "inferred");
}

#[test]
fn nothing_is_learnt_from_what_nobody_asked() {
    for packets in [&[answer(7), syn()][..], &[question(8), answer(7), syn()]] {
        let row = &audit(packets, "", &[]).0;
        assert_eq!(row["destination_finding"], "unseen", "{}", row["evidence"]);
    }
    let row = &audit(&[question(7), answer(7), syn()], "", &["--no-learn"]).0;
    assert_eq!(row["destination_finding"], "unseen");
}

#[test]
fn an_inventory_stands_and_the_disagreement_is_told() {
    let packets = [question(7), answer(7), syn()];
    for (hosts, words) in [
        (
            "10.0.4.99,doppler/0\n",
            "10.0.4.10 is not in the inventory, which names other VMs for doppler.service",
        ),
        (
            "10.0.4.10,uaa/0\n10.0.4.99,doppler/0\n",
            "10.0.4.10 is uaa/0 in the inventory, and DNS in this capture calls",
        ),
    ] {
        let (row, run) = audit(&packets, hosts, &[]);
        assert_eq!(row["destination_finding"], "contradicted", "{}", row["evidence"]);
        assert_eq!((row["verdict"].as_str(), row["reason"].as_str()), ("violation", "wrong_destination"));
        assert!(run.stderr.contains(&format!("flowaudit: warning: {words}")), "{}", run.stderr);
        assert!(run.stderr.contains("Names learnt from the capture for 1 host,"), "{}", run.stderr);
        assert_eq!(
            run.stderr.matches(words).count(),
            2,
            "a warning and a line of the summary: {}",
            run.stderr
        );
    }
    let (row, run) = audit(&packets, "10.0.4.10,doppler/0\n", &[]);
    assert_eq!(row["destination_finding"], "confirmed");
    assert!(!run.stderr.contains("warning"), "{}", run.stderr);
    let (row, _) = audit(&packets, "10.0.4.10,uaa/0\n", &[]);
    assert_eq!(row["destination_finding"], "unseen", "known to be another VM, and no doppler is named");
}

/// The report's row of the connection to port 8082.
fn audit(packets: &[Vec<u8>], hosts: &str, options: &[&str]) -> (HashMap<String, String>, Run) {
    let folder = Folder::new("learnt");
    let (capture, report) = (folder.join("c.pcap"), folder.join("r.csv"));
    let (inventory, table) = (folder.join("hosts.csv"), folder.join("one-row.csv"));
    fs::write(&table, TABLE).expect("it writes");
    fs::write(&capture, pcap(packets)).expect("it writes");
    let mut arguments =
        vec!["check".into(), capture.into_os_string(), "-o".into(), report.clone().into_os_string()];
    arguments.extend(["--policy".into(), table.into_os_string()]);
    if !hosts.is_empty() {
        fs::write(&inventory, format!("ip,vm\n{hosts}")).expect("it writes");
        arguments.extend(["--inventory".into(), inventory.into_os_string()]);
    }
    arguments.extend(options.iter().map(Into::into));
    let run = flowaudit(arguments);
    let mut reader = csv::Reader::from_path(report).expect("it opens");
    let mut rows = reader.deserialize().map(|row| row.expect("it has its columns"));
    let row = rows.find(|row: &HashMap<String, String>| row["destination_port"] == "8082");
    (row.expect("it is reported"), run)
}

/// A capture of raw IPv4 packets (link type 101), one a second.
fn pcap(packets: &[Vec<u8>]) -> Vec<u8> {
    let header: [u32; 6] = [0xa1b2_c3d4, 2 | 4 << 16, 0, 0, 65535, 101];
    let mut file: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
    for (second, packet) in packets.iter().enumerate() {
        let length = packet.len() as u32;
        let record: [u32; 4] = [1_700_000_000 + second as u32, 0, length, length];
        file.extend(record.iter().flat_map(|word| word.to_le_bytes()));
        file.extend(packet);
    }
    file
}

fn ip(protocol: u8, source: [u8; 4], destination: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let length = (20 + payload.len() as u16).to_be_bytes();
    let fixed = [0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, protocol, 0, 0];
    [&fixed[..], &source, &destination, payload].concat()
}

fn udp(source: ([u8; 4], u16), destination: ([u8; 4], u16), payload: &[u8]) -> Vec<u8> {
    let words = [source.1, destination.1, 8 + payload.len() as u16, 0];
    let mut datagram: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    datagram.extend(payload);
    ip(17, source.0, destination.0, &datagram)
}

/// Asks for `doppler.service.cf.internal`, class IN, type A.
fn message(flags: u8, id: u8, records: u8) -> Vec<u8> {
    let mut message = vec![0, id, flags, 0, 0, 1, 0, records, 0, 0, 0, 0];
    for label in ["doppler", "service", "cf", "internal", ""] {
        message.push(label.len() as u8);
        message.extend(label.as_bytes());
    }
    message.extend([0, 1, 0, 1]);
    message
}

fn question(id: u8) -> Vec<u8> {
    udp((CELL, 40_000), (RESOLVER, 53), &message(0x01, id, 0))
}

fn answer(id: u8) -> Vec<u8> {
    let mut answer = message(0x85, id, 1);
    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
    answer.extend(DOPPLER);
    udp((RESOLVER, 53), (CELL, 40_000), &answer)
}

/// Opens a connection from the cell to doppler's port 8082.
fn syn() -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(50_000_u16.to_be_bytes());
    segment.extend(8082_u16.to_be_bytes());
    segment.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    ip(6, CELL, DOPPLER, &segment)
}
