//! What `flowaudit live` tells while it runs: rows of open flows, files that are whole at any time, metrics,
//! and what signals do.

mod common;
#[path = "common/frames.rs"]
mod frames;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::site::{DOPPLER, Site};
use common::{Background, Need, flowaudit, have, table};
use frames::Dice;

const NEEDS: [Need; 3] = [Need::Namespaces, Need::Program("ethtool"), Need::Program("bash")];
/// A report in the end, and how it is told from files that are not finished.
const FINISHED: &str = ".csv";

type Rows = Vec<BTreeMap<String, String>>;

#[test]
fn violations_are_told_at_once_open_flows_now_and_then_and_each_flow_ends_once() {
    if !have(&NEEDS) || !have(&[Need::Program("nats-server"), Need::Program("tcpdump")]) {
        return;
    }
    let site = Site::new("told");
    let capture = site.folder.join("same.pcap");
    let mut tcpdump = site.doppler.command("tcpdump");
    tcpdump.args(["--immediate-mode", "-i", "eth0", "-s", "0", "-U", "-Z", "root", "-w"]).arg(&capture);
    let mut tcpdump = Background::start(tcpdump);
    tcpdump.wait_for("listening on");
    let metrics = site.folder.join("flowaudit.prom");
    let prom = metrics.to_str().expect("UTF-8").to_owned();
    let (mut live, report) = site.live(&["--interim", "2", "--log-seconds", "1", "--metrics-file", &prom]);
    let mut nats = site.doppler.command("nats-server");
    nats.args(["-a", DOPPLER, "-p", "4222", "-m", "8222"]);
    let mut nats = Background::start(nats);
    nats.wait_for("Server is ready");
    let _server = site.server("1.3");
    site.call("1.3");
    // NATS where no row documents one from a cell, open until the end; and HTTP on a port of no row.
    let begun = Instant::now();
    let mut subscriber = site.cell.command("bash");
    subscriber.args([
        "-c",
        &format!("exec 3<>/dev/tcp/{DOPPLER}/4222; printf 'CONNECT {{}}\r\nSUB a 1\r\n' >&3; sleep 8"),
    ]);
    let _subscriber = Background::start(subscriber);
    site.script(&format!(
        "exec 3<>/dev/tcp/{DOPPLER}/8222; printf 'GET /varz HTTP/1.0\r\n\r\n' >&3; cat <&3 >/dev/null"
    ));
    let line = live.wait_for("violation: no_row_for_port");
    assert!(line.contains(":8222") && line.contains("doppler/0"), "{line}");
    live.wait_for("flows open");
    assert!(begun.elapsed() < Duration::from_secs(10), "told long before the flow is forgotten");
    sleep(Duration::from_secs(9).saturating_sub(begun.elapsed()));
    let asked = Instant::now();
    assert_eq!(live.interrupt(), Some(1));
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert_eq!(tcpdump.interrupt(), Some(0));

    let rows = table(&fs::read_to_string(&report).expect("it was written"));
    let of = |state: &str, port: &str| -> Rows {
        let is =
            |row: &&BTreeMap<String, String>| row["row_state"] == state && row["destination_port"] == port;
        rows.iter().filter(is).cloned().collect()
    };
    assert_eq!((of("final", "8082").len(), of("final", "4222").len(), of("final", "8222").len()), (1, 1, 1));
    assert_eq!(of("interim", "8222").len(), 1, "it was over when it was told");
    let open = of("interim", "4222");
    assert!((2..=6).contains(&open.len()), "{}", open.len());
    for (port, interim) in [("4222", &open), ("8222", &of("interim", "8222"))] {
        for column in ["community_id", "start", "verdict", "reason", "first_packet"] {
            assert!(interim.iter().all(|row| row[column] == of("final", port)[0][column]), "{port} {column}");
        }
    }
    let text = fs::read_to_string(metrics).expect("it was written");
    assert!(
        text.contains("\nflowaudit_dropped_packets_total{interface=\"eth0\",by=\"kernel\"} 0\n"),
        "{text}"
    );

    let checked = site.folder.join("check.csv");
    let (to, hosts) = (checked.to_str().expect("UTF-8"), site.folder.join("hosts.csv"));
    let capture = capture.to_str().expect("UTF-8");
    flowaudit(["check", "-o", to, "--inventory", hosts.to_str().expect("UTF-8"), capture]);
    let last = rows.into_iter().filter(|row| row["row_state"] == "final").collect();
    assert_eq!(comparable(last), comparable(table(&fs::read_to_string(checked).expect("it was written"))));
}

/// Rows by their ends, without what differs between an interface and a file, and two clocks on one wire: of two
/// flows that begin together each may call another one the first.
fn comparable(mut rows: Rows) -> Rows {
    rows.sort_by(|one, other| one["community_id"].cmp(&other["community_id"]));
    for row in &mut rows {
        for column in ["capture", "first_packet", "start", "end"] {
            row.remove(column);
        }
    }
    rows
}

#[test]
fn a_hangup_begins_a_file_and_reads_the_policy_again_unless_it_is_broken() {
    if !have(&NEEDS) {
        return;
    }
    let site = Site::new("hup");
    let policy = site.folder.join("rows.csv");
    let header = "Source VM,Destination VM,Port,Transport Layer Protocol,App Layer Protocol,Security and Authentication,Note\n";
    let row = |port: u16| format!("{header}diego_cell,doppler,{port},TCP,HTTP,None,\n");
    fs::write(&policy, row(7001)).expect("it writes");
    let (mut live, report) = site.live(&["--policy", policy.to_str().expect("UTF-8"), "--no-records"]);
    let knock = |port: u16| site.script(&format!("exec 3<>/dev/tcp/{DOPPLER}/{port}"));
    knock(7002);
    live.wait_for(":7002");
    fs::write(&policy, "no,policy\n1,2\n").expect("it writes");
    live.signal("HUP");
    live.wait_for("as read before");
    fs::write(&policy, row(7002)).expect("it writes");
    live.signal("HUP");
    live.wait_for("policy and inventory read again");
    knock(7001);
    let line = live.wait_for(":7001");
    assert!(line.contains("no_row_for_port"), "{line}");
    assert_eq!(live.interrupt(), Some(1));
    let files = finished(&site.folder.join(""));
    assert_eq!(files.len(), 3, "{files:?}");
    assert!(!report.exists(), "files that are several bear their times");
    let rows: Rows = files.iter().flat_map(|file| whole(file)).collect();
    let last: Vec<_> = rows.iter().filter(|row| row["row_state"] == "final").collect();
    assert_eq!(last.len(), 2, "no flow is lost or told twice: {last:?}");
    // Judged by the policy of their end: the port of the first is documented by then.
    let of = |port: &str| last.iter().find(|row| row["destination_port"] == port).expect("it ended");
    assert_ne!(of("7002")["reason"], "no_row_for_port");
    assert_eq!(of("7001")["reason"], "no_row_for_port");
}

#[test]
fn killed_at_any_moment_it_leaves_whole_files_and_the_next_run_finishes_the_last() {
    if !have(&NEEDS) {
        return;
    }
    let site = Site::new("kill");
    let mut begun = 0;
    let rounds = if std::env::var_os("FLOWAUDIT_LONG").is_some() { 60 } else { 5 };
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64;
    let mut dice = Dice(seed);
    println!("moments of seed {seed}");
    for round in 0..rounds {
        // One within each second after the start, where files are begun, written, finished and begun.
        let moment = round % 3 * 1000 + dice.below(1000) as u64 + 200;
        let (live, _) = site.live(&["--rotate-seconds", "1", "--interim", "1", "--quiet"]);
        let until = Instant::now() + Duration::from_millis(moment);
        while Instant::now() < until {
            begun += 40;
            site.script(&format!(
                "for port in {{{}..{begun}}}; do echo x > /dev/udp/{DOPPLER}/$((1024 + port)); done",
                begun - 39
            ));
        }
        live.signal("KILL");
        drop(live);
        for file in finished(&site.folder.join("")) {
            whole(&file);
        }
    }
    let (mut live, _) = site.live(&["--rotate-seconds", "1", "--quiet"]);
    assert_eq!(live.interrupt(), Some(0), "nothing was sent to this one");
    let left: Vec<PathBuf> = list(&site.folder.join(""))
        .into_iter()
        .filter(|file| file.extension().is_some_and(|e| e == "part"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    let rows: Rows = finished(&site.folder.join("")).iter().flat_map(|file| whole(file)).collect();
    assert!(rows.len() > 100, "{} rows of {begun} flows", rows.len());
}

/// A report that says it is finished: every row has every column, and the last ends with its line.
fn whole(file: &Path) -> Rows {
    let mut text = String::new();
    fs::File::open(file).and_then(|mut file| file.read_to_string(&mut text)).expect("it is there");
    assert!(text.ends_with('\n'), "{}: ends in the middle of a row", file.display());
    let rows = table(&text);
    assert!(rows.iter().all(|row| row.len() == 45), "{}", file.display());
    rows
}

/// Finished reports in a folder, by their names.
fn finished(folder: &Path) -> Vec<PathBuf> {
    let is = |file: &PathBuf| {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let beside = name.ends_with(".account.csv") || name.ends_with(".rows.csv");
        name.starts_with("live") && name.ends_with(FINISHED) && !beside
    };
    list(folder).into_iter().filter(is).collect()
}

fn list(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .expect("it is there")
        .map(|entry| entry.expect("it is readable").path())
        .collect();
    files.sort();
    files
}

#[test]
fn a_second_interrupt_ends_at_once_and_metrics_are_served() {
    if !have(&NEEDS) {
        return;
    }
    let site = Site::new("stop");
    let mut command = site.doppler.command(common::BINARY);
    command.args(["live", "-i", "eth0", "-i", "lo", "--metrics", "127.0.0.1:9108", "--no-records"]);
    let mut live = Background::start(command);
    live.wait_for("capturing on eth0, lo");
    sleep(Duration::from_millis(1500));
    let script = "exec 3<>/dev/tcp/127.0.0.1/9108; printf 'GET /metrics HTTP/1.1\\r\\n\\r\\n' >&3; cat <&3";
    let mut ask = site.doppler.command("bash");
    ask.args(["-c", script]);
    let said = common::run(ask).stdout;
    assert!(said.starts_with("HTTP/1.1 200 OK") && said.contains("flowaudit_lag_seconds "), "{said}");
    assert!(
        said.contains("flowaudit_row_flows_total{table=\"loggregator\",row=\"1\",verdict=\"allowed\"} 0"),
        "{said}"
    );
    live.signal("INT");
    live.signal("INT");
    let status = live.wait();
    assert!(status == Some(130) || status == Some(0), "{status:?}");
    drop(std::io::stdout().flush());
}
