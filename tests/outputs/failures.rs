//! Outputs that cannot be written and inputs that cannot be read: one clear line, the status that says so, and
//! nothing lost that was written before.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use super::common::pcap::{Pcap, datagram};
use super::common::{
    BINARY, Folder, Namespace, Need, Run, capture, flowaudit, flowaudit_at_home, have, root, run, table,
};

const SCAN: &str = "captures/violation_port_scan.pcap";
const CAPTURE: &str = "captures/match_C2_tls13.pcap";

/// An error of one line that begins and goes on like this.
fn is_error(run: &Run, place: &str, words: &str) {
    assert_eq!((run.status, run.stdout.as_str()), (Some(2), ""), "{}", run.stderr);
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    assert!(
        run.stderr.starts_with(&format!("flowaudit: {place}")) && run.stderr.contains(words),
        "{}",
        run.stderr
    );
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// The files of a folder, by name.
fn listed(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("it lists")
        .map(|entry| entry.expect("it lists").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

#[test]
fn beside_a_device_or_a_pipe_nothing_is_written() {
    let run = flowaudit_at_home(&["check", "-q", "-o", "/dev/null", CAPTURE]);
    assert_eq!((run.status, run.stderr.as_str()), (Some(0), ""));
    let full = flowaudit_at_home(&["check", "-q", "-o", "/dev/full", CAPTURE]);
    is_error(&full, "/dev/full: cannot be written: No space left on device", "");
    let folder = Folder::new("pipe");
    let mut pipe = Command::new("bash");
    pipe.current_dir(root())
        .args(["-c", "mkfifo \"$1\" && (cat \"$1\" >\"$1.read\" & \"$0\" check -q -o \"$1\" \"$2\"; wait)"]);
    pipe.arg(BINARY).arg(folder.join("pipe")).arg(CAPTURE);
    assert_eq!(super::common::run(pipe).status, Some(0));
    assert_eq!(listed(&folder.join("")), ["pipe", "pipe.read"]);
    assert_eq!(table(&fs::read_to_string(folder.join("pipe.read")).expect("UTF-8")).len(), 1);
    for device in ["/dev/null", "/dev/full"] {
        for suffix in ["account.csv", "rows.csv"] {
            assert!(!Path::new(&format!("{device}.{suffix}")).exists(), "{device}.{suffix}");
        }
        assert!(!fs::metadata(device).expect("it is still there").is_file(), "{device}");
    }
    let mut redirected = Command::new("bash");
    redirected.current_dir(root()).args([
        "-c",
        "\"$0\" check -q -o /dev/stdout \"$1\" >\"$2\"",
        BINARY,
        CAPTURE,
    ]);
    redirected.arg(folder.join("redirected"));
    assert_eq!(super::common::run(redirected).status, Some(0));
    assert_eq!(table(&fs::read_to_string(folder.join("redirected")).expect("UTF-8")).len(), 1);
    assert!(!Path::new("/dev/stdout.rows.csv").exists());
    let drafted = flowaudit_at_home(&["policy", "draft", CAPTURE, "-o", "/dev/full"]);
    is_error(&drafted, "/dev/full: cannot be written: No space left on device", "");
}

#[test]
fn what_is_read_is_not_written_over() {
    let folder = Folder::new("same");
    let (file, link) = (folder.join("same.pcap"), folder.join("link"));
    fs::copy(root().join(CAPTURE), &file).expect("it copies");
    symlink(&file, &link).expect("it links");
    let hosts = folder.join("out.rows.csv");
    fs::write(&hosts, "ip,vm\n10.0.4.10,doppler\n").expect("it writes");
    let (page, bytes) = (folder.join("page.md"), fs::read(&file).expect("it reads"));
    fs::write(&page, "| a |\n").expect("it writes");
    let (file, link, out) = (text(&file), text(&link), folder.join("out"));
    for (arguments, place) in [
        (&["check", "-o", file, file][..], file),
        (&["check", "-o", link, file], link),
        (&["check", "-o", text(&out), "--inventory", text(&hosts), file], text(&hosts)),
        (&["policy", "draft", "-o", file, file], file),
        (&["policy", "import", "-o", text(&page), text(&page)], text(&page)),
        (
            &["live", "--no-processes", "-i", "lo", "-o", text(&hosts), "--inventory", text(&hosts)],
            text(&hosts),
        ),
    ] {
        is_error(&flowaudit(arguments), &format!("{place}: would be written over "), "name another file");
    }
    assert_eq!(fs::read(file).expect("it reads"), bytes);
    assert_eq!(listed(&folder.join("")), ["link", "out.rows.csv", "page.md", "same.pcap"]);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error_whatever_it_reads() {
    for arguments in [
        &["policy", "show", "pas-2.7"][..],
        &["policy", "list"],
        &["explain", SCAN, "--flow", "10.0.4.20:40000"],
        &["live", "--print-unit"],
        &["--help"],
    ] {
        let mut command = Command::new(BINARY);
        command
            .current_dir(root())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr);
        // There is no such flow: that is an error, and no word of the pipe.
        let status = if arguments[0] == "explain" { 2 } else { 0 };
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
        assert!(!said.contains("ipe"), "{arguments:?}: {said}");
    }
}

#[test]
fn what_one_may_not_do_is_said_with_what_to_do() {
    let root = fs::metadata("/proc/self").expect("Linux has it").uid() == 0;
    if root && !have(&[Need::Program("setpriv")]) {
        return;
    }
    let folder = Folder::new("may");
    let (secret, closed) = (folder.join("secret.pcap"), folder.join("closed"));
    fs::copy(capture("match_C2_tls13.pcap"), &secret).expect("it copies");
    fs::create_dir(&closed).expect("it can be made");
    for (path, mode) in [(&folder.join(""), 0o755), (&secret, 0), (&closed, 0o555)] {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
    }
    let report = closed.join("report.csv");
    let readable = folder.join("readable.pcap");
    fs::copy(capture("match_C2_tls13.pcap"), &readable).expect("it copies");
    for (arguments, place, words) in [
        (
            &["check", text(&secret)][..],
            text(&secret),
            "cannot be opened: Permission denied (os error 13); check its permissions",
        ),
        (
            &["check", "-o", text(&report), text(&readable)],
            text(&report),
            "cannot be written: Permission denied",
        ),
        (&["check", "-o", text(&closed), text(&readable)], text(&closed), "cannot be written: "),
        (
            &["policy", "draft", "-o", text(&report), text(&readable)],
            text(&report),
            "cannot be written: Permission denied",
        ),
        (&["live", "--no-processes", "-i", "lo"], "", "permi"),
    ] {
        let mut command = Command::new(if root { "setpriv" } else { BINARY });
        if root {
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", BINARY]);
        }
        command.args(arguments);
        is_error(&run(command), place, words);
    }
    assert!(listed(&closed).is_empty());
}

#[test]
fn on_a_full_disk_whole_rows_are_kept() {
    if !have(&[Need::Namespaces, Need::Program("unshare")]) {
        return;
    }
    let folder = Folder::new("full");
    let packets: Vec<Vec<u8>> = (1000..1400).map(|port| datagram([10, 0, 4, 10], port, b"x")).collect();
    fs::write(folder.join("many.pcap"), Pcap::of(&packets).bytes()).expect("it writes");
    // The old draft fills the disk: what cannot be written whole does not take its place.
    let script = "mkdir disk && mount -t tmpfs -o size=128k none disk && cp keep.csv disk/draft.csv &&
        \"$0\" check -q -o disk/report.csv many.pcap; echo \"status $?\"; cp disk/report.csv out.csv;
        rm disk/report.csv*; head -c 1M /dev/zero >disk/fill 2>/dev/null;
        \"$0\" policy draft \"$1\" -o disk/draft.csv; echo \"status $?\"; cp disk/draft.csv draft.csv; ls disk";
    fs::write(folder.join("keep.csv"), "kept\n".repeat(100)).expect("it writes");
    let mut command = Command::new("unshare");
    command.current_dir(folder.join("")).args(["-m", "bash", "-c", script, BINARY]).arg(root().join(CAPTURE));
    let run = run(command);
    assert_eq!(run.stdout, "status 2\nstatus 2\ndraft.csv\nfill\n", "{}", run.stderr);
    let errors: Vec<&str> =
        run.stderr.lines().filter(|line| line.contains("cannot be written: No space left")).collect();
    assert!(errors.iter().any(|line| line.starts_with("flowaudit: disk/report.csv: ")), "{}", run.stderr);
    assert!(errors.iter().any(|line| line.starts_with("flowaudit: disk/draft.csv: ")), "{}", run.stderr);
    let report = fs::read_to_string(folder.join("out.csv")).expect("it was kept");
    assert!(report.ends_with('\n') && (10..400).contains(&table(&report).len()), "{report}");
    assert_eq!(fs::read(folder.join("draft.csv")).expect("it was kept"), "kept\n".repeat(100).as_bytes());
}

#[test]
fn a_live_audit_goes_on_when_the_disk_is_full_and_writes_again_when_there_is_room() {
    if !have(&[Need::Namespaces, Need::Program("unshare")]) {
        return;
    }
    let (folder, vm) = (Folder::new("room"), Namespace::new("room"));
    let script = "cd \"$1\" && mkdir disk out && mount -t tmpfs -o size=512k none disk && head -c 500K /dev/zero >disk/fill
        knock() { for port in $(seq $1 $2); do (echo >/dev/tcp/127.0.0.1/$port) 2>/dev/null; done; }
        until_said() { for i in $(seq 300); do grep -q \"$1\" log && return; sleep 0.1; done; }
        \"$0\" live --no-processes -i lo -o disk/report.csv 2>log & live=$!
        until_said 'capturing on'; knock 9001 9060; until_said 'rows are lost'
        rm disk/fill; sleep 5.5; knock 9201 9203; until_said ':9203'; sleep 1
        kill -INT $live; wait $live; echo \"status $?\"; cp disk/* out";
    let mut command = vm.command("unshare");
    command.args(["-m", "bash", "-c", script, BINARY, text(&folder.join(""))]);
    let run = run(command);
    let log = fs::read_to_string(folder.join("log")).expect("it was written");
    assert_eq!(run.stdout, "status 2\n", "{}{log}", run.stderr);
    assert!(log.contains("disk/report.csv: cannot be written: No space left on device"), "{log}");
    let files = listed(&folder.join("out"));
    assert!(files.iter().all(|file| !file.ends_with(".part")), "{files:?}");
    let reports = files.iter().filter(|file| !file.contains(".account.") && !file.contains(".rows."));
    let rows: Vec<_> = reports
        .flat_map(|file| table(&fs::read_to_string(folder.join("out").join(file)).expect("UTF-8")))
        .collect();
    let of = |port: &str| rows.iter().filter(|row| row["destination_port"] == port).count();
    assert!(of("9001") >= 1 && of("9203") >= 1, "{files:?}: {log}");
}
