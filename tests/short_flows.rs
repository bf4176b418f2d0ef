//! Many short connections for as long as it is let: every one is a row, and memory does not grow with time.
//!
//! A few seconds of them; an hour, which is a million, with `FLOWAUDIT_LONG=1`.

mod common;

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::site::{DOPPLER, Site};
use common::{Background, Need, files_below, have, mutual_grpc, table};

/// Connections begun in a second.
const RATE: u64 = 290;
/// What memory may grow to once every flow that is held for a while has been.
const GROWTH: f64 = 1.1;
/// When that is: closed flows are known for a minute, and files are rotated.
const SETTLED: Duration = Duration::from_secs(600);
const SAMPLE: Duration = Duration::from_secs(10);

#[test]
fn every_short_connection_is_one_row_and_memory_stays_flat() {
    if !have(&[Need::Namespaces, Need::Program("ethtool")]) {
        return;
    }
    let is_long = std::env::var_os("FLOWAUDIT_LONG").is_some_and(|value| value == "1");
    let flows = if is_long { 1_000_000 } else { 4 * RATE };
    let site = Site::new("short");
    let (open, closed) = (format!("{DOPPLER}:8081"), format!("{DOPPLER}:9999"));
    let mut server = site.doppler.command(mutual_grpc());
    server.args(["short-server", "--listen", &open, "--listen", &closed]);
    let mut server = Background::start(server);
    server.wait_for(":9999");
    let (mut live, _) = site.live(&["--quiet", "--no-records", "--rotate-seconds", "60", "--interim", "60"]);
    let mut client = site.cell.command(mutual_grpc());
    client.args(["short-client", "--connect", &open, "--connect", &closed]);
    client.args(["--flows", &flows.to_string(), "--rate", &RATE.to_string()]);
    let mut client = Background::start(client);
    let begun = Instant::now();
    let (mut settled, mut last) = (None, 0);
    while client.is_running() {
        sleep(SAMPLE.min(Duration::from_secs(flows / RATE) / 4));
        last = resident(live.id());
        assert!(begun.elapsed().as_secs() < 60 + 2 * flows / RATE, "the client does not come to its end");
        if settled.is_none() && begun.elapsed() >= SETTLED {
            settled = Some(last);
        }
    }
    client.wait_for(&format!("made {flows} connections"));
    sleep(Duration::from_millis(500));
    assert_eq!(live.interrupt(), Some(1), "half of them are to a port of no row");
    println!("{flows} flows in {:?}: {settled:?} KiB once settled, {last} KiB at the end", begun.elapsed());
    if let Some(settled) = settled {
        assert!(last as f64 <= settled as f64 * GROWTH, "{settled} KiB after {SETTLED:?}, then {last} KiB");
    }
    let is_report = |file: &PathBuf| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("live") && !name.ends_with(".account.csv") && !name.ends_with(".rows.csv")
    };
    let mut finals = 0;
    for report in files_below(&site.folder.join("")).into_iter().filter(is_report) {
        let rows = table(&fs::read_to_string(report).expect("it was written"));
        let ports = ["8081", "9999"];
        finals += rows
            .iter()
            .filter(|row| row["row_state"] == "final" && ports.contains(&row["destination_port"].as_str()))
            .count() as u64;
    }
    assert_eq!(finals, flows);
}

/// Memory of a process that is resident, in KiB.
fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
