//! `flowaudit live` when it is interrupted with very many flows open: whoever stopped it waits two seconds at most.
//!
//! Some thousands of them; a million with `FLOWAUDIT_LONG=1` in a release build:
//! `FLOWAUDIT_LONG=1 cargo test --release --test live_closing -- --nocapture`.

mod common;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::site::{DOPPLER, Site};
use common::{Background, Need, PATIENCE, have, run};

/// Between the interrupt and the end.
const AT_MOST: Duration = Duration::from_secs(2);
/// Ports that each socket sends to, from this one on: as many flows.
const PORTS: u16 = 10_000;
const FIRST_PORT: u16 = 20_000;
/// Tells this very test program, started once more on the cell, from how many sockets to send.
const SOCKETS: &str = "FLOWAUDIT_TEST_SOCKETS";
/// Datagrams in a row; then a pause, so that the ring holds what an unoptimised build does not keep up with.
const BURST: u16 = 500;

#[test]
fn an_interrupted_audit_with_very_many_open_flows_ends_within_two_seconds() {
    if !have(&[Need::Namespaces, Need::Program("ethtool")]) {
        return;
    }
    let is_long = std::env::var_os("FLOWAUDIT_LONG").is_some_and(|value| value == "1");
    let sockets: u32 = if is_long && !cfg!(debug_assertions) { 100 } else { 1 };
    let flows = sockets * u32::from(PORTS);
    let site = Site::new("open");
    let (mut live, report) = site.live(&["--no-records", "--log-seconds", "1"]);
    let mut sender = site.cell.command(std::env::current_exe().expect("this program"));
    sender.args(["--ignored", "--exact", "sends_to_many_ports"]).env(SOCKETS, sockets.to_string());
    assert_eq!(run(sender).status, Some(0));
    wait_for_open(&mut live, flows);
    let asked = Instant::now();
    assert_eq!(live.interrupt(), Some(1), "no row names these ports");
    let took = asked.elapsed();
    println!("{flows} open flows: the report was finished {took:?} after the interrupt");
    let rows = BufReader::new(File::open(&report).expect("it was written")).lines();
    let finals = rows
        .filter(|row| row.as_ref().is_ok_and(|row| row.contains(",UDP,") && row.contains(",final,")))
        .count();
    assert_eq!(finals, flows as usize);
    assert!(took < AT_MOST, "{took:?}");
}

/// Waits until the log tells of so many.
fn wait_for_open(live: &mut Background, flows: u32) {
    let until = Instant::now() + PATIENCE;
    let open = |line: &str| line.split_once(" flows open")?.0.rsplit_once(' ')?.1.parse().ok();
    let mut line = String::new();
    // What the other end says of closed ports is a flow, too.
    while open(&line) < Some(flows) {
        assert!(Instant::now() < until, "not {flows} flows: {line}");
        line = live.wait_for(" flows open");
    }
}

/// Not a test of its own: started on the cell by another.
#[test]
#[ignore = "started by a test of this file"]
fn sends_to_many_ports() {
    let Some(sockets) = std::env::var(SOCKETS).ok().and_then(|sockets| sockets.parse().ok()) else { return };
    let sockets: Vec<UdpSocket> =
        (0..sockets).map(|_| UdpSocket::bind("0.0.0.0:0").expect("a free port")).collect();
    for socket in &sockets {
        for port in 0..PORTS {
            // What the other end refuses is no error of this one.
            drop(socket.send_to(b"a flow", (DOPPLER, FIRST_PORT + port)));
            if port % BURST == 0 {
                sleep(Duration::from_millis(1));
            }
        }
    }
}
