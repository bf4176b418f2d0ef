//! Connections behind a PROXY header are judged as the same connections without one.

mod common;

use std::fs;

use common::pcap::{Connection, Pcap, payloads};
use common::{BINARY, INVENTORY, capture, root, run_fed, table};

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.4.20 51234 8082\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x0a\0\x04\x14\xc8\x22\x1f\x92";
/// What the header may change.
const CHANGED: [&str; 2] = ["evidence", "bytes_to_destination"];

#[test]
fn what_is_behind_a_header_is_judged_as_without() {
    let recorded = |name| payloads(&Pcap::read(&fs::read(capture(name)).expect("it reads")));
    let request = b"GET / HTTP/1.1\r\nHost: uaa\r\nAuthorization: bearer x\r\n\r\n".to_vec();
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec();
    for (name, port, application, said) in [
        ("gRPC", 8082, "HTTP/2", recorded("match_C2_tls13.pcap")),
        ("HTTPS", 8443, "TLS", recorded("match_C4_tls12.pcap")),
        ("refused", 8082, "HTTP/2", recorded("violation_no_client_certificate_refused_tls13.pcap")),
        ("HTTP", 8083, "HTTP/1.1", vec![(0, request), (1, answer)]),
    ] {
        let audit = |header: &[u8]| {
            let mut connection = Connection::open([10, 0, 4, 10], port);
            let mut header = header.to_vec();
            for (side, payload) in &said {
                // The header comes in one segment with what the client says first.
                let before = if *side == 0 { std::mem::take(&mut header) } else { Vec::new() };
                connection.say(*side, &[&before[..], payload].concat());
            }
            let mut command = std::process::Command::new(BINARY);
            command.current_dir(root()).args(["check", "-q", "-o", "-", "-"]).args(INVENTORY);
            let rows = table(&run_fed(command, Pcap::of(&connection.packets).bytes()).stdout);
            let [row] = &rows[..] else { panic!("{name}: {rows:?}") };
            row.clone()
        };
        let mut plain = audit(b"");
        assert_eq!(plain["application"], application, "{name}");
        plain.retain(|column, _| !CHANGED.contains(&column.as_str()));
        for (header, version) in [(V1, 1), (V2, 2)] {
            let mut row = audit(header);
            let says = format!("PROXY protocol v{version}, says client 192.0.2.7 port 51234");
            assert!(row["evidence"].contains(&says), "{name}: {}", row["evidence"]);
            row.retain(|column, _| !CHANGED.contains(&column.as_str()));
            assert_eq!(row, plain, "{name}, version {version}");
        }
    }
}
