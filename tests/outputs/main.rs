//! What others wrote, on every output: nothing of it may move a terminal's cursor, forge a line, hide or turn round
//! text, or be a formula to a spreadsheet. And outputs that fail.

#[path = "../common/mod.rs"]
mod common;
mod failures;
mod hostile;

use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{BINARY, Background, Folder, Namespace, Need, PATIENCE, Run, have, run};

/// The longest line, in bytes: a row of the report with every name in it as long as is shown.
const LINE_CAP: usize = 16 * 1024;
/// A name for files. Tables are named by theirs, without spaces.
const FILE: &str = "=\u{1b}[31m\u{202e}\u{9b}\n＝";
const HEADER: &str = "Source VM,Destination VM,Port,Transport Layer Protocol,App Layer Protocol,Security and Authentication,Note\n";

/// A folder with a capture, a policy and an inventory, all of hostile names.
struct Inputs {
    folder: Folder,
    capture: String,
    policy: String,
    inventory: String,
}

impl Inputs {
    fn new(label: &str) -> Inputs {
        let [capture, policy, inventory] = ["pcap", "csv", "hosts"].map(|ending| format!("{FILE}.{ending}"));
        let inputs = Inputs { folder: Folder::new(label), capture, policy, inventory };
        let write = |name: &str, bytes: &[u8]| fs::write(inputs.folder.join(name), bytes).expect("it writes");
        write(&inputs.capture, &hostile::capture());
        let words = hostile::words();
        let rows = words
            .iter()
            .zip(words.iter().rev())
            .map(|(one, other)| csv(&[one, other, "8000-8010", "TCP", "HTTP", "Mutual TLS", one]));
        write(&inputs.policy, [HEADER.to_owned()].into_iter().chain(rows).collect::<String>().as_bytes());
        let hosts =
            (1..).zip(&words).map(|(at, word)| csv(&[&format!("10.0.4.{at}"), word, word, "10.0.4.0/24"]));
        let hosts = ["ip,vm,jobs,subnet\n".to_owned()].into_iter().chain(hosts);
        write(&inputs.inventory, hosts.collect::<String>().as_bytes());
        inputs
    }

    /// Runs flowaudit where the inputs are.
    fn run(&self, arguments: &[&str]) -> Run {
        let mut command = Command::new(BINARY);
        command.current_dir(self.folder.join("")).args(arguments);
        run(command)
    }

    /// Runs it, and holds what it said to what must hold.
    fn harmless(&self, arguments: &[&str]) -> Run {
        let run = self.run(arguments);
        is_harmless(&format!("{arguments:?}, standard output"), &run.stdout);
        is_harmless(&format!("{arguments:?}, standard error"), &run.stderr);
        run
    }
}

#[test]
fn a_report_and_all_beside_it_are_harmless() {
    let inputs = Inputs::new("report");
    let judging = ["--strict", "--policy", &inputs.policy, "--inventory", &inputs.inventory];
    let check = |rest: &[&str]| inputs.harmless(&[&["check"], &judging[..], rest].concat());
    let to_file = check(&["-o", "report.csv", &inputs.capture]);
    assert_eq!(to_file.status, Some(1), "{}", to_file.stderr);
    assert_eq!(check(&[&inputs.capture]).status, Some(1));
    for (file, rows) in [("report.csv", 100), ("report.csv.rows.csv", 10), ("report.csv.account.csv", 10)] {
        let text = fs::read_to_string(inputs.folder.join(file)).expect("UTF-8");
        assert!(is_table(file, &text) >= rows, "{file}: {text}");
    }
    // The names did get there: each is at least in one place.
    let report = fs::read_to_string(inputs.folder.join("report.csv")).expect("UTF-8");
    for escaped in
        ["\\u{1b}[31mred", "\\u{9b}31m", "\\xff\\xfe", "\\u{202e}fdp.exe", "'=cmd|", "'＝1", "aaa…"]
    {
        assert!(report.contains(escaped), "{escaped}");
    }
    // Reports name tables escaped, so that of a hostile name they are not found again.
    fs::copy(inputs.folder.join(&inputs.policy), inputs.folder.join("plain.csv")).expect("it copies");
    inputs.run(&["check", "-q", "-o", "plain.report", "--policy", "plain.csv", &inputs.capture]);
    inputs.harmless(&["policy", "coverage", "report.csv", "--policy", &inputs.policy]);
    let coverage = ["policy", "coverage", "plain.report", "--policy", "plain.csv"];
    assert_eq!(inputs.harmless(&coverage).status, Some(0));
    is_table("coverage", &inputs.harmless(&[&coverage[..], &["--csv"]].concat()).stdout);
}

#[test]
fn stories_are_harmless() {
    let inputs = Inputs::new("explain");
    let judging = ["--policy", &inputs.policy, "--inventory", &inputs.inventory];
    for (server, _) in (1..).zip(hostile::names()) {
        // Every name in a handshake and a request, and the first of them in every protocol.
        let further = if server < 4 { &[53, 514, 8002, 8003, 8004, 8005, 8006, 8007, 8008][..] } else { &[] };
        for port in further.iter().chain(&[8000, 8001]) {
            let flow = format!("10.0.4.{server}:{port}");
            let told =
                inputs.harmless(&[&["explain", &inputs.capture, "--flow", &flow], &judging[..]].concat());
            assert!(told.stdout.contains("candidate row") || *port < 8000, "{flow}: {}", told.stderr);
        }
    }
}

#[test]
fn work_on_tables_is_harmless() {
    let inputs = Inputs::new("tables");
    let policy = &inputs.policy;
    for (arguments, csv) in [
        (&["policy", "lint", policy, "--inventory", &inputs.inventory][..], false),
        (&["policy", "show", policy], false),
        (&["policy", "show", policy, "--csv"], true),
        (&["policy", "diff", policy, "loggregator"], false),
        (&["policy", "draft", &inputs.capture, "--inventory", &inputs.inventory], true),
        (&["policy", "draft", &inputs.capture], true),
    ] {
        let run = inputs.harmless(arguments);
        assert!(run.stdout.lines().count() > 10, "{arguments:?}: {}{}", run.stdout, run.stderr);
        if csv {
            is_table(&format!("{arguments:?}"), &run.stdout);
        }
    }
    // What is shown is a table again.
    let shown = inputs.run(&["policy", "show", policy, "--csv"]).stdout;
    fs::write(inputs.folder.join("again.csv"), shown).expect("it writes");
    assert_eq!(inputs.harmless(&["policy", "show", "again.csv"]).status, Some(0));

    let words = hostile::words();
    let cells = |word: &String| format!("<tr>{}</tr>", format!("<td>{word}</td>").repeat(6));
    let header = "<th>Source VM</th><th>Destination VM</th><th>Port</th><th>Transport</th><th>Protocol</th><th>Security</th>";
    let page = format!(
        "<h1>{FILE}</h1><table><tr>{header}</tr>{}</table>",
        words.iter().map(cells).collect::<String>()
    );
    fs::write(inputs.folder.join("page.html"), page).expect("it writes");
    let imported = inputs.harmless(&["policy", "import", "page.html"]);
    assert_eq!(imported.status, Some(1), "{}", imported.stderr);
    assert!(is_table("import", &imported.stdout) > 5, "{}", imported.stdout);
}

#[test]
fn figures_are_harmless() {
    let inputs = Inputs::new("bench");
    for csv in [&[][..], &["--csv"]] {
        let bench = ["bench", "--runs", "1", "--threads", "1", "--policy", &inputs.policy, &inputs.capture];
        assert_eq!(inputs.harmless(&[&bench[..], csv].concat()).status, Some(0));
    }
}

#[test]
fn errors_are_one_harmless_line() {
    let inputs = Inputs::new("errors");
    let named = |name: &str, text: &str| {
        fs::write(inputs.folder.join(name), text).expect("it writes");
        name.to_owned()
    };
    // Those that are no mere formulas.
    for word in hostile::words().into_iter().take(7).filter(|word| !word.contains('\0')) {
        let bad_policy =
            named("bad.csv", &format!("{HEADER}{}", csv(&["a", "b", &word, "TCP", "HTTP", "TLS", ""])));
        let bad_hosts = named("bad.hosts", &format!("ip,vm\n{}", csv(&[&word, "a"])));
        let bad_json = named("bad.json", &format!("{{\"Tables\": {word:?}, {word}"));
        let bad_report = named("report.csv", &format!("{word}\n"));
        let bad_pem = named("ca.pem", &format!("-----BEGIN {word}-----\n{word}\n-----END {word}-----\n"));
        let bad_keys = named("keys", &format!("{word}\n"));
        let capture = &inputs.capture;
        for arguments in [
            &["check", "--", &word][..],
            &["check", "--policy", &bad_policy, capture],
            &["check", "--inventory", &bad_hosts, capture],
            &["check", "--inventory", &bad_json, capture],
            &["check", "--ca", &bad_pem, capture],
            &["check", "--keylog", &bad_keys, capture],
            &["check", &format!("--policy={word}"), capture],
            &["check", &format!("--overlay={word}"), capture],
            &["check", &format!("--inventory={word}"), capture],
            &["check", &format!("--ca={word}"), capture],
            &["check", &format!("--keylog={word}"), capture],
            &["check", &format!("--filter={word}"), capture],
            &["check", &format!("-o/nowhere/{word}"), capture],
            &["live", "--no-processes", &format!("-i={word}")],
            &["policy", "coverage", &bad_report],
            &["policy", "import", "--", &word],
        ] {
            let run = inputs.harmless(arguments);
            assert_eq!((run.status, run.stdout.as_str()), (Some(2), ""), "{arguments:?}: {}", run.stderr);
            assert_eq!(run.stderr.lines().count(), 1, "{arguments:?}: {}", run.stderr);
        }
        // These tell the usage as well.
        for option in ["--only", "--min-tls", "--subnet-scope", "--no-such-option"] {
            assert_eq!(inputs.harmless(&["check", &format!("{option}={word}"), capture]).status, Some(2));
        }
        assert_eq!(inputs.harmless(&["explain", capture, &format!("--flow={word}")]).status, Some(2));
    }
}

#[test]
fn a_live_audit_is_harmless() {
    if !have(&[Need::Namespaces, Need::Program("bash")]) {
        return;
    }
    let (inputs, vm) = (Inputs::new("live"), Namespace::new("live"));
    vm.ip(&["addr", "add", "10.0.4.1/32", "dev", "lo"]);
    let path = |name: &str| inputs.folder.join(name).to_str().expect("UTF-8").to_owned();
    let (log, metrics, report) = (path("log"), path("metrics.prom"), path(&format!("{FILE}.report")));
    let mut live = vm.command("bash");
    live.args(["-c", "exec \"$@\" 2>\"$0\"", &log, BINARY, "live", "--no-processes", "-i", "lo"]);
    live.args([
        "--duration",
        "4",
        "--log-seconds",
        "1",
        "--strict",
        "--metrics-file",
        &metrics,
        "-o",
        &report,
    ]);
    live.args(["--policy", &path(&inputs.policy), "--inventory", &path(&inputs.inventory)]);
    let mut live = Background::start(live);
    let until = Instant::now() + PATIENCE;
    while !fs::read_to_string(&log).is_ok_and(|log| log.contains("capturing on")) {
        assert!(Instant::now() < until, "{}", fs::read_to_string(&log).unwrap_or_default());
        sleep(Duration::from_millis(20));
    }
    let mut knock = vm.command("bash");
    knock.args(["-c", "echo > /dev/tcp/10.0.4.1/8001; echo > /dev/tcp/10.0.4.1/9999"]);
    run(knock);
    assert_eq!(live.wait(), Some(1), "{}", fs::read_to_string(&log).unwrap_or_default());
    let said = fs::read_to_string(&log).expect("UTF-8");
    is_harmless("log", &said);
    assert!(said.contains("violation: ") && said.contains("\\u{1b}[31mred"), "{said}");
    is_harmless("metrics", &fs::read_to_string(&metrics).expect("UTF-8"));
    for suffix in ["", ".account.csv", ".rows.csv"] {
        is_table("live", &fs::read_to_string(format!("{report}{suffix}")).expect("UTF-8"));
    }
}

/// Lines of bounded length, without control characters and without those that turn text round or are not seen.
fn is_harmless(what: &str, output: &str) {
    for line in output.split('\n') {
        assert!(
            line.len() <= LINE_CAP,
            "{what}: a line of {} bytes: {}",
            line.len(),
            &line[..line.floor_char_boundary(2000)]
        );
        for c in line.chars() {
            let hides = matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}');
            assert!(!c.is_control() && !hides, "{what}: {c:?} in {line:?}");
        }
    }
}

/// Harmless, as many cells in every row as in the header, and no cell a formula. Gives how many rows there are.
fn is_table(what: &str, text: &str) -> usize {
    is_harmless(what, text);
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().expect("a header").clone();
    let rows: Vec<csv::StringRecord> =
        reader.records().map(|row| row.unwrap_or_else(|error| panic!("{what}: {error}"))).collect();
    for cell in rows.iter().flatten().chain(&header) {
        assert!(
            cell == "-" || !cell.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']),
            "{what}: {cell}"
        );
    }
    rows.len()
}

/// One line of CSV.
fn csv(cells: &[&str]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(cells).expect("memory takes it");
    String::from_utf8(writer.into_inner().expect("memory takes it")).expect("UTF-8")
}
