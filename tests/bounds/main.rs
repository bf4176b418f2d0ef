//! Memory, account and time under attack: captures made by attackers stay below `--max-memory`, what was given
//! up is counted, and a packet costs no more than some times an ordinary one.
//!
//! `FLOWAUDIT_LONG=1 cargo test --release --test bounds -- --nocapture` prints SECURITY's table, at full scale.

#[path = "../common/mod.rs"]
mod common;

mod attacks;
mod wire;

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use attacks::{ATTACKS, Attack, ORDINARY};
use common::{BINARY, Folder, capture, flowaudit};
use procfs::process::{ProcState, Process};

/// What a run took, and what it says.
struct Taken {
    status: Option<i32>,
    /// Peak of memory, in bytes.
    peak: u64,
    cpu: Duration,
    said: String,
}

impl Taken {
    fn packets(&self) -> u64 {
        count(&self.said, "packets,read")
    }

    /// Nanoseconds of processor time for each packet.
    fn cost(&self) -> f64 {
        self.cpu.as_nanos() as f64 / self.packets().max(1) as f64
    }
}

/// How large attacks are, and how much memory there is for them.
struct Scale {
    is_full: bool,
    memory: (&'static str, u64),
    /// Longest that one attack may take.
    patience: Duration,
    /// How often each is run, in turn with ordinary traffic: the least time of either counts, since others on the
    /// machine only ever add to it.
    runs: usize,
}

impl Scale {
    fn wanted() -> Scale {
        match std::env::var_os("FLOWAUDIT_LONG").is_some_and(|value| value == "1") {
            true => {
                Scale { is_full: true, memory: ("2G", 2 << 30), patience: Duration::from_secs(900), runs: 3 }
            }
            false => Scale {
                is_full: false,
                memory: ("128M", 128 << 20),
                patience: Duration::from_secs(60),
                runs: 1,
            },
        }
    }
}

#[test]
fn attacks_stay_below_the_ceiling_and_are_told() {
    let scale = Scale::wanted();
    let mut failures = Vec::new();
    println!(
        "{:30} {:>10} {:>9} {:>8} {:>9} {:>6}  given up",
        "attack", "packets", "flows", "MiB", "ns/packet", "ratio"
    );
    for attack in [&ORDINARY].into_iter().chain(&ATTACKS) {
        // Not a number until it is measured, and then the least.
        let (mut ordinary, mut runs) = (f64::NAN, Vec::new());
        for _ in 0..scale.runs {
            if scale.is_full {
                ordinary = ordinary.min(audit(&ORDINARY, &scale).cost());
            }
            runs.push(audit(attack, &scale));
        }
        runs.sort_by_key(|taken| taken.cpu);
        let peak = runs.iter().map(|taken| taken.peak).max().unwrap_or_default();
        let taken = runs.swap_remove(0);
        let ratio = taken.cost() / ordinary;
        let Attack { name, dropped, most, .. } = attack;
        let mut fails = |is: bool, what: String| failures.extend(is.then(|| format!("{name}: {what}")));
        fails(!matches!(taken.status, Some(0 | 1)), format!("{:?} {}", taken.status, taken.said));
        // What is in a tunnel is a packet of a flow of its own, besides the one around it.
        let followed = taken.packets() + count(&taken.said, "tunnels,in_flows");
        let layers = followed as f64 / taken.packets().max(1) as f64;
        let given_up: Vec<_> = given_up(&taken.said).collect();
        println!(
            "{name:30} {:>10} {:>9} {:>8} {:>9.0} {ratio:>6.1}  {}",
            taken.packets(),
            count(&taken.said, "flows,total"),
            peak >> 20,
            taken.cost(),
            given_up.join(", ")
        );
        fails(peak >= scale.memory.1, format!("{} MiB", peak >> 20));
        let is_told = dropped.is_none_or(|line| count(&taken.said, line) > 0);
        fails(!is_told, format!("nothing counted as {dropped:?}"));
        fails(ratio > most * layers, format!("{ratio:.1} times an ordinary packet"));
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn operators_files_of_a_million_lines_are_read() {
    let scale = Scale::wanted();
    let lines = if scale.is_full { 1_000_000 } else { 10_000 };
    let folder = Folder::new("lines");
    /// The option, how its file begins, its lines, and how it ends.
    type Lines = (&'static str, &'static str, fn(u32) -> String, &'static str);
    let files: [Lines; 3] = [
        (
            "--policy",
            "Source VM,Destination VM,Port,Transport Layer Protocol,App Layer Protocol,Security and Authentication\n",
            |n| format!("Any*,doppler,{},TCP,HTTP,None\n", n % 65_000 + 1),
            "",
        ),
        (
            "--inventory",
            "ip,vm\n",
            |n| format!("{},vm{}/0\n", std::net::Ipv4Addr::from(0x0a00_0000 + n), n / 8),
            "",
        ),
        (
            "--inventory",
            "{\"Tables\":[{\"Content\":\"instances\",\"Rows\":[",
            |n| {
                format!(
                    "{}{{\"instance\":\"vm{}/{n}\",\"ips\":\"{}\"}}\n",
                    if n == 0 { "" } else { "," },
                    n / 8,
                    std::net::Ipv4Addr::from(0x0a00_0000 + n)
                )
            },
            "]}]}",
        ),
    ];
    for (at, (option, head, line, foot)) in files.into_iter().enumerate() {
        let path = folder.join(&format!("lines{at}"));
        let mut file = BufWriter::new(File::create(&path).expect("it is writable"));
        let written = file
            .write_all(head.as_bytes())
            .and_then(|()| (0..lines).try_for_each(|n| file.write_all(line(n).as_bytes())))
            .and_then(|()| file.write_all(foot.as_bytes()))
            .and_then(|()| file.flush());
        written.expect("it is writable");
        let capture = capture("match_L9_tls12.pcap");
        let mut command = Command::new(BINARY);
        command.args(["check", "-q", "--max-memory", scale.memory.0, option]).arg(&path).arg(capture);
        let taken = run(command, &scale, |_| Ok(()));
        println!("{option} {lines} lines: {:?}, {} MiB, {:?}", taken.status, taken.peak >> 20, taken.cpu);
        assert!(taken.peak < scale.memory.1, "{option}: {} MiB", taken.peak >> 20);
        assert!(taken.status.is_some_and(|status| status < 2), "{option}: {}", taken.said);
    }
}

#[test]
fn a_ceiling_below_what_any_audit_takes_is_refused() {
    let run = flowaudit(["check", "--max-memory", "64M", "x.pcap"]);
    assert_eq!(run.status, Some(2));
    assert!(run.stderr.contains("the least is 128M"), "{}", run.stderr);
}

fn audit(attack: &Attack, scale: &Scale) -> Taken {
    let mut command = Command::new(BINARY);
    command.args(["check", "-", "-q", "-o", "-", "--threads", "2", "--max-memory", scale.memory.0]);
    run(command, scale, |output| (attack.make)(output, if scale.is_full { 1000 } else { attack.small }))
}

/// Runs a program whose standard input `feed` writes, and looks at its memory.
fn run(
    mut command: Command,
    scale: &Scale,
    feed: impl FnOnce(&mut dyn Write) -> std::io::Result<()> + Send,
) -> Taken {
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    #[expect(
        clippy::zombie_processes,
        reason = "it is waited for once its memory cannot be looked at any more"
    )]
    let mut child = command.spawn().expect("it starts");
    let (stdin, mut stderr) = (child.stdin.take().expect("piped"), child.stderr.take().expect("piped"));
    let process = Process::new(child.id().cast_signed()).expect("it is there until it is waited for");
    thread::scope(|scope| {
        // A program that does not read to the end says why.
        scope.spawn(move || drop(feed(&mut BufWriter::with_capacity(1 << 20, stdin))));
        let said = scope.spawn(move || {
            let mut said = String::new();
            stderr.read_to_string(&mut said).map(|_| said)
        });
        let until = Instant::now() + scale.patience;
        let mut peak = 0;
        loop {
            let stat = process.stat().expect("it is there until it is waited for");
            if stat.state().is_ok_and(|state| state == ProcState::Zombie) {
                let ticks = (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64;
                let status = child.wait().expect("it is this process's child").code();
                let said = said.join().expect("no panic").expect("UTF-8");
                return Taken { status, peak, cpu: Duration::from_secs_f64(ticks), said };
            }
            let now = process.status().ok().and_then(|status| status.vmhwm);
            peak = peak.max(now.unwrap_or_default() * 1024);
            if Instant::now() > until {
                // What it says below is then too little.
                drop(child.kill());
            }
            thread::sleep(Duration::from_millis(2));
        }
    })
}

/// What a line of the account counts.
fn count(said: &str, line: &str) -> u64 {
    let count = said.lines().find_map(|told| told.strip_prefix(line)?.strip_prefix(','));
    count.and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// The lines of the account that tell of what was not seen.
fn given_up(said: &str) -> impl Iterator<Item = &str> {
    let tells = |line: &&str| {
        let kept = ["packets,read,", "packets,in_flows,"].iter().any(|kept| line.starts_with(kept));
        let is_told = ["packets,", "caps,", "tunnels,not_decoded,"].iter().any(|told| line.starts_with(told));
        is_told && !kept && !line.ends_with(",0")
    };
    said.lines().filter(tells)
}
