//! `flowaudit check` as it is used from a shell: exit statuses, streams, options, and what goes wrong.

mod common;

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use common::pcap::{Connection, Pcap, client_hello};
use common::{BINARY, Folder, INVENTORY, Run, capture, flowaudit_at_home, root, run_fed, table};

const ALLOWED: &str = "captures/match_C2_tls13.pcap";
const UNPROVEN: &str = "captures/match_C4_tls12.pcap";
const VIOLATION: &str = "captures/violation_nats_wrong_source.pcap";
const SCAN: &str = "captures/violation_port_scan.pcap";
const CUT: &str = "captures/hard_cut_file_L4.pcap";

/// `check` with the recorded foundation's inventory.
fn check(arguments: &[&str]) -> Run {
    flowaudit_at_home(&[&["check"], &INVENTORY[..], arguments].concat())
}

/// The same, with bytes in a pipe on standard input.
fn check_fed(arguments: &[&str], input: Vec<u8>) -> Run {
    let mut command = Command::new(BINARY);
    command.current_dir(root()).arg("check").args(INVENTORY).args(arguments);
    run_fed(command, input)
}

/// The report that `check` writes to standard output with these arguments, as rows.
fn report(arguments: &[&str]) -> Vec<std::collections::BTreeMap<String, String>> {
    table(&check(&[&["-q", "-o", "-"], arguments].concat()).stdout)
}

fn column<'a>(rows: &'a [std::collections::BTreeMap<String, String>], name: &str) -> Vec<&'a str> {
    rows.iter().map(|row| row[name].as_str()).collect()
}

fn bytes(capture: &str) -> Vec<u8> {
    fs::read(root().join(capture)).expect("it is in the repository")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn the_exit_status_tells_clean_from_reported_from_error() {
    for (arguments, status) in [
        (&[ALLOWED][..], 0),
        (&[UNPROVEN], 0),
        (&[VIOLATION], 1),
        (&[ALLOWED, VIOLATION], 1),
        (&["captures/none.pcap"], 2),
        (&[CUT], 2),
        // An error wins over what was reported.
        (&[CUT, VIOLATION], 2),
        (&["captures/none.pcap", VIOLATION], 2),
        (&["--no-such-option", VIOLATION], 2),
        (&[], 2),
    ] {
        assert_eq!(check(arguments).status, Some(status), "{arguments:?}");
    }
    assert_eq!(flowaudit_at_home(&["--help"]).status, Some(0));
    assert_eq!(flowaudit_at_home(&["--version"]).status, Some(0));
}

#[test]
fn strict_reports_what_is_unproven_or_inferred() {
    assert_eq!(check(&["--strict", UNPROVEN]).status, Some(1));
    // The Route Registrar is inferred from the job on its VM.
    assert_eq!(check(&["--strict", "captures/match_L7_nats.pcap.gz"]).status, Some(1));
    // Every column of these flows is confirmed.
    assert_eq!(check(&["--strict", "captures/match_L1_websocket.pcap"]).status, Some(0));
}

#[test]
fn standard_input_is_a_capture_also_compressed() {
    let wanted = report(&[VIOLATION]);
    for input in [bytes(VIOLATION), gzip(&bytes(VIOLATION))] {
        let run = check_fed(&["-q", "-o", "-", "-"], input);
        assert_eq!(run.status, Some(1), "{}", run.stderr);
        let mut rows = table(&run.stdout);
        assert_eq!(column(&rows, "capture"), ["-"]);
        rows[0].insert("capture".to_owned(), VIOLATION.to_owned());
        assert_eq!(rows, wanted);
    }
    let empty = check_fed(&["-"], Vec::new());
    assert_eq!(empty.status, Some(2));
    assert!(empty.stderr.starts_with("flowaudit: -: the capture is empty"), "{}", empty.stderr);
}

#[test]
fn the_report_on_standard_output_stands_there_alone() {
    let run = check(&["-o", "-", VIOLATION]);
    assert_eq!(table(&run.stdout).len(), 1);
    assert_eq!(run.stdout.lines().count(), 2, "a header and a flow: {}", run.stdout);
    for part in ["scope,name,count\npackets,read,", "table,row,documented,seen,", "1 flow in 26 packets"] {
        assert!(run.stderr.contains(part), "{part}: {}", run.stderr);
    }
}

#[test]
fn the_report_in_a_file_has_account_and_rows_beside_it() {
    let folder = Folder::new("beside");
    let file = folder.join("report.csv");
    let run = check(&["-o", text(&file), VIOLATION]);
    assert_eq!((run.status, run.stdout.as_str()), (Some(1), ""));
    let read =
        |suffix: &str| fs::read_to_string(format!("{}{suffix}", file.display())).expect("it was written");
    assert_eq!(column(&table(&read("")), "reason"), ["wrong_source"]);
    assert_eq!(table(&read(".rows.csv")).len(), 16);
    let account = table(&read(".account.csv"));
    assert_eq!((account[0]["name"].as_str(), account[0]["count"].as_str()), ("read", "26"));
}

#[test]
fn quiet_silences_the_summary_and_nothing_else() {
    let loud = check(&[VIOLATION]);
    assert!(loud.stdout.contains("violation wrong_source: diego_cell/"), "{}", loud.stdout);
    assert_eq!(loud.stderr, "");
    let quiet = check(&["--quiet", VIOLATION]);
    assert_eq!((quiet.status, quiet.stdout.as_str(), quiet.stderr.as_str()), (Some(1), "", ""));
    assert!(check(&["--quiet", CUT]).stderr.contains("byte 36706"));
}

#[test]
fn nothing_but_text_lines_in_a_pipe() {
    // No progress bar, no colours, no carriage returns.
    let run = check(&[SCAN, "captures/match_L1_websocket.pcap"]);
    for output in [run.stdout, run.stderr] {
        assert!(output.chars().all(|c| c == '\n' || !c.is_control()), "{output:?}");
    }
}

#[test]
fn only_narrows_the_report_and_not_the_verdict() {
    let both = [ALLOWED, UNPROVEN, VIOLATION];
    let verdicts = |only: &[&str]| {
        let rows = report(&[only, &both[..]].concat());
        let mut verdicts: Vec<String> = rows.iter().map(|row| row["verdict"].clone()).collect();
        verdicts.sort();
        verdicts
    };
    assert_eq!(verdicts(&[]), ["allowed", "unproven", "violation"]);
    assert_eq!(verdicts(&["--only", "violation"]), ["violation"]);
    assert_eq!(verdicts(&["--only", "allowed", "--only", "unproven"]), ["allowed", "unproven"]);
    assert_eq!(check(&["-q", "-o", "-", "--only", "allowed", VIOLATION]).status, Some(1));
}

#[test]
fn in_scope_leaves_what_touches_nothing_documented_out_of_the_verdicts() {
    let cooked = "captures/match_L2_cooked.pcap";
    assert_eq!(report(&[cooked]).len(), 3);
    let run = check(&["--in-scope", "-o", "-", cooked]);
    assert_eq!((run.status, table(&run.stdout).len()), (Some(0), 2));
    assert!(run.stderr.contains("flows,out_of_scope,1"), "{}", run.stderr);
    assert!(run.stderr.contains("1 flows left out by --in-scope"), "{}", run.stderr);
}

#[test]
fn a_partial_inventory_holds_no_address_against_a_flow() {
    let run = check(&["--inventory-partial", "-o", "-", VIOLATION]);
    let rows = table(&run.stdout);
    assert_eq!(run.status, Some(0));
    assert_eq!(
        (column(&rows, "verdict"), column(&rows, "reason")),
        (vec!["unproven"], vec!["unseen_inventory"])
    );
    let without = table(&flowaudit_at_home(&["check", "-q", "-o", "-", VIOLATION]).stdout);
    assert_eq!(column(&without, "reason"), ["unseen_inventory"]);
}

#[test]
fn subnet_scope_is_the_destinations_subnet_or_its_network() {
    let folder = Folder::new("scope");
    let config = folder.join("cloud-config.yml");
    let networks = "networks:\n- name: default\n  type: manual\n  subnets:\n  \
                    - {az: z1, range: 10.0.4.0/24}\n  - {az: z2, range: 10.0.9.0/24}\n";
    fs::write(&config, networks).expect("it writes");
    let reasons = |scope: &str| {
        let arguments =
            ["check", "-q", "-o", "-", "--inventory", "captures/bosh-instances-ps.json", "--inventory"];
        let rest = [text(&config), "--subnet-scope", scope, "captures/violation_outside_subnet.pcap"];
        let rows = table(&flowaudit_at_home(&[&arguments[..], &rest].concat()).stdout);
        rows.iter().map(|row| format!("{} {}", row["verdict"], row["reason"])).collect::<Vec<_>>()
    };
    assert_eq!(reasons("subnet"), ["violation wrong_source", "violation outside_subnet"]);
    assert_eq!(reasons("network"), ["violation wrong_source", "allowed "]);
}

#[test]
fn the_lines_for_old_tls_and_weak_suites_can_be_moved() {
    let reasons = |arguments: &[&str]| {
        let rows = report(arguments);
        rows.iter().map(|row| row["reason"].clone()).collect::<Vec<_>>()
    };
    let tls12 = "captures/match_L9_tls12.pcap";
    assert_eq!(reasons(&[tls12]), [""]);
    assert_eq!(reasons(&["--min-tls", "1.3", tls12]), ["weak_tls"]);
    assert_eq!(reasons(&["captures/violation_tls10.pcap"]), ["weak_tls"]);
    assert_eq!(reasons(&["--min-tls", "1.0", "captures/violation_tls10.pcap"]), [""]);
    let weak = "captures/violation_weak_cipher_8443.pcap";
    assert_eq!(reasons(&[weak]), ["unseen_application_no_alpn"; 2]);
    assert_eq!(reasons(&["--weak-cipher", "deny", weak]), ["weak_cipher"; 2]);
}

#[test]
fn a_filter_leaves_packets_out_and_counts_them() {
    let run = check(&["--filter", "port 40582", "-o", "-", "captures/match_L7_nats.pcap.gz", VIOLATION]);
    assert_eq!((run.status, table(&run.stdout).len()), (Some(0), 1));
    assert!(run.stderr.contains("packets,filtered_out,26\n"), "{}", run.stderr);
    let bad = check(&["--filter", "tcp prot 5", VIOLATION]);
    assert_eq!((bad.status, bad.stdout.as_str()), (Some(2), ""));
    assert!(bad.stderr.starts_with("flowaudit: filter `tcp prot 5`: "), "{}", bad.stderr);
}

/// A report without what tells one file from several.
fn without_places(
    mut rows: Vec<std::collections::BTreeMap<String, String>>,
) -> Vec<std::collections::BTreeMap<String, String>> {
    for row in &mut rows {
        row.remove("capture");
        row.remove("first_packet");
    }
    rows.sort();
    rows
}

#[test]
fn several_captures_are_one_audit() {
    for whole in ["captures/match_L1_websocket.pcap", VIOLATION, "captures/match_L2_L3_L6_tls12.pcap"] {
        let wanted = without_places(report(&[whole]));
        let pcap = Pcap::read(&bytes(whole));
        let folder = Folder::new("split");
        let half = pcap.records.len() / 2;
        // By time, and by direction: the lower of the two addresses' bytes first.
        let by_time = [pcap.only(|at, _| at < half), pcap.only(|at, _| at >= half)];
        let by_direction = [
            pcap.only(|_, frame| frame[26..30] < frame[30..34]),
            pcap.only(|_, frame| frame[26..30] >= frame[30..34]),
        ];
        for parts in [by_time, by_direction] {
            let files = [folder.join("one.pcap"), folder.join("two.pcap")];
            for (file, bytes) in files.iter().zip(&parts) {
                assert!(bytes.len() > 100, "both parts hold packets");
                fs::write(file, bytes).expect("it writes");
            }
            for order in [[0, 1], [1, 0]] {
                let merged = report(&order.map(|at| text(&files[at])));
                assert_eq!(without_places(merged), wanted, "{whole}");
            }
        }
    }
}

#[test]
fn a_capture_fanned_in_twice_with_time_running_backwards_changes_no_verdict() {
    for once in [
        ALLOWED,
        UNPROVEN,
        VIOLATION,
        "captures/match_L1_websocket.pcap",
        "captures/match_L2_L3_L6_tls12.pcap",
        "captures/match_C3_oauth.pcap",
        "captures/violation_http1_8082.pcap",
        "captures/violation_nats_refused.pcap",
        SCAN,
    ] {
        let wanted = report(&[once]);
        let mut twice = bytes(once);
        twice.extend(&bytes(once)[24..]);
        let run = check_fed(&["-q", "-o", "-", "-"], twice);
        let rows = table(&run.stdout);
        for name in ["verdict", "reason", "table", "row", "also_rows", "security", "start", "end", "state"] {
            assert_eq!(column(&rows, name), column(&wanted, name), "{once} {name}");
        }
        let packets = |rows: &[std::collections::BTreeMap<String, String>]| {
            column(rows, "packets_to_destination")
                .iter()
                .map(|n| n.parse::<u64>().expect("a count"))
                .sum::<u64>()
        };
        assert_eq!(packets(&rows), 2 * packets(&wanted), "{once}");
        let repeated = table(run.stderr.split("\ntable,").next().expect("the account is first"));
        let repeated = repeated.iter().find(|row| row["name"] == "tcp_segments").expect("it is listed");
        assert_ne!(repeated["count"], "0", "{once}");
    }
}

#[test]
fn what_cannot_be_opened_is_named_with_what_to_do() {
    for (argument, words) in [
        ("captures/none.pcap", "captures/none.pcap: cannot be opened: "),
        ("captures", "captures: cannot be opened: is a directory; name the capture files inside"),
        ("Cargo.toml", "Cargo.toml: not a pcap or pcapng file, but text"),
        ("/dev/null", "/dev/null: the capture is empty"),
    ] {
        let run = check(&[argument]);
        assert_eq!((run.status, run.stdout.as_str()), (Some(2), ""));
        assert!(run.stderr.starts_with(&format!("flowaudit: {words}")), "{}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    }
}

#[test]
fn a_cut_file_is_audited_up_to_the_cut() {
    let run = check(&["-o", "-", CUT]);
    assert_eq!((run.status, table(&run.stdout).len()), (Some(2), 8));
    let place = "flowaudit: captures/hard_cut_file_L4.pcap: byte 36706: packet 128: the capture ends inside this record";
    assert!(run.stderr.contains(place), "{}", run.stderr);
    // Cut within the very first record: nothing to audit, but no other word for it.
    let first = check_fed(&["-o", "-", "-"], bytes(VIOLATION)[..50].to_vec());
    assert_eq!((first.status, table(&first.stdout).len()), (Some(2), 0));
    assert!(
        first.stderr.contains("-: byte 24: packet 1: the capture ends inside this record"),
        "{}",
        first.stderr
    );
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let run = check(&["-q", "-o", "/nonexistent/report.csv", ALLOWED]);
    assert_eq!(run.status, Some(2));
    assert!(
        run.stderr.starts_with("flowaudit: /nonexistent/report.csv: cannot be written: "),
        "{}",
        run.stderr
    );
    for arguments in [&["-q", "-o", "-", ALLOWED][..], &[ALLOWED]] {
        let mut command = Command::new(BINARY);
        command.current_dir(root()).arg("check").args(INVENTORY).args(arguments);
        let full = File::options().write(true).open("/dev/full").expect("Linux has it");
        command.stdin(Stdio::null()).stdout(full).stderr(Stdio::piped());
        let output = command.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("cannot be written: No space left on device"), "{said}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    for arguments in [&["-q", "-o", "-", SCAN][..], &[SCAN]] {
        let mut command = Command::new(BINARY);
        command.current_dir(root()).arg("check").args(INVENTORY).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        drop(child.stdout.take());
        let mut said = String::new();
        child.stderr.take().expect("it is piped").read_to_string(&mut said).expect("UTF-8");
        assert_eq!(child.wait().expect("it ends").code(), Some(1), "{said}");
        assert!(!said.contains("flowaudit:"), "{said}");
    }
}

#[test]
fn bad_tables_and_inventories_are_named_by_file_line_and_column() {
    let folder = Folder::new("bad");
    let header = "Source VM,Destination VM,Port,Transport Layer Protocol,App Layer Protocol,Security and Authentication\n";
    let cases = [
        (
            "--policy",
            "t.csv",
            format!("{header}Any*,uaa,8443,TCP,HTTPS,TLS\nAny*,uaa,eight,TCP,HTTPS,TLS\n"),
            "line 3, column `Port`: `eight` is not understood; expected ports from 1 to 65535",
        ),
        (
            "--policy",
            "t.csv",
            "Source VM,Port\n".to_owned(),
            "line 1: no column `Destination VM`; expected the columns Source VM",
        ),
        ("--policy", "t.csv", header.to_owned(), "a table without rows; expected at least one row"),
        (
            "--policy",
            "two words.csv",
            header.to_owned(),
            "a table's name holds no `:` and no space; rename the file",
        ),
        ("--inventory", "i.json", "{\"Tables\": 5}".to_owned(), "line 1, column 12: not the JSON expected"),
        (
            "--inventory",
            "i.csv",
            "ip,vm,jobs,subnet\n10.0.0.1,a,,\n10.0.0,b,,\n".to_owned(),
            "line 3: \"10.0.0\" is not an IP address",
        ),
        ("--inventory", "i.txt", "no inventory at all".to_owned(), "give `bosh instances --ps --json`"),
        ("--ca", "ca.pem", "no certificate".to_owned(), ""),
    ];
    for (option, name, content, words) in cases {
        let file = folder.join(name);
        fs::write(&file, content).expect("it writes");
        let run = flowaudit_at_home(&["check", option, text(&file), ALLOWED]);
        assert_eq!((run.status, run.stdout.as_str()), (Some(2), ""), "{name}");
        assert!(run.stderr.starts_with(&format!("flowaudit: {}: ", file.display())), "{}", run.stderr);
        assert!(run.stderr.contains(words), "{words}: {}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    }
    let twice = check(&["--policy", "policies/loggregator.csv", "--policy", "loggregator", ALLOWED]);
    assert_eq!(twice.status, Some(2));
    assert!(twice.stderr.contains("a table named `loggregator` is in force already"), "{}", twice.stderr);
}

#[test]
fn a_policy_of_ones_own_takes_the_place_of_the_built_in_one() {
    let folder = Folder::new("own");
    let file = folder.join("own.csv");
    let header = "Source VM,Destination VM,Port,Transport Layer Protocol,App Layer Protocol,Security and Authentication\n";
    fs::write(&file, format!("{header}diego_cell,nats,4222,TCP,NATS,Basic authentication\n"))
        .expect("it writes");
    let rows = report(&["--policy", text(&file), VIOLATION]);
    assert_eq!((column(&rows, "verdict"), column(&rows, "table")), (vec!["allowed"], vec!["own"]));
    assert_eq!(check(&["--policy", "loggregator", VIOLATION]).status, Some(1));
}

#[test]
fn hostile_names_reach_neither_report_nor_terminal_raw() {
    let hosts: [&[u8]; 5] = [
        b"=cmd|' /C calc'!A1",
        b"\x1b]0;owned\x07\x1b[2J",
        b"\xff\xfe\r\n,\"x",
        "\u{202e}gpj.exe".as_bytes(),
        &[b'a'; 9000],
    ];
    for host in hosts {
        let mut connection = Connection::open([10, 0, 4, 10], 8082);
        connection.say(0, &client_hello(host, &[b"\x1b[31mh2", b"=h2"]));
        connection.say(1, b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let capture = Pcap::of(&connection.packets).bytes();
        let to_stdout = check_fed(&["-o", "-", "-"], capture.clone());
        let summary = check_fed(&["-"], capture);
        for output in [&to_stdout.stdout, &to_stdout.stderr, &summary.stdout, &summary.stderr] {
            assert!(output.chars().all(|c| c == '\n' || !c.is_control()), "{output:?}");
            assert!(!output.contains('\u{202e}') && !output.contains('\u{fffd}'), "{output:?}");
        }
        let rows = table(&to_stdout.stdout);
        assert_eq!(rows.len(), 1);
        for (name, value) in &rows[0] {
            assert!(value == "-" || !value.starts_with(['=', '+', '-', '@']), "{name}: {value}");
            assert!(value.len() < 2000, "{name}: {value}");
        }
        assert_eq!(rows[0]["application"], "TLS", "{:?}", rows[0]);
        assert_ne!(rows[0]["server_name"], "", "{:?}", rows[0]);
    }
    let hostile = check(&["\u{1b}[2Jnone.pcap"]);
    assert_eq!(hostile.stderr.lines().count(), 1);
    assert!(!hostile.stderr.contains('\u{1b}'), "{:?}", hostile.stderr);
}

#[test]
fn a_capture_named_by_its_full_path_is_the_same_capture() {
    let path = capture("match_C2_tls13.pcap");
    let mut rows = report(&[text(&path)]);
    rows[0].insert("capture".to_owned(), ALLOWED.to_owned());
    assert_eq!(rows, report(&[ALLOWED]));
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::read::GzEncoder::new(bytes, flate2::Compression::default());
    let mut packed = Vec::new();
    encoder.read_to_end(&mut packed).expect("memory reads");
    packed
}
