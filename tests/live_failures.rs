//! `flowaudit live` when things go wrong: packets come faster than they are read; and what it looks like
//! on a terminal.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::pcap::client_hello;
use common::site::{DOPPLER, Site};
use common::{BINARY, Background, Need, have, run, table};

const NEEDS: [Need; 3] = [Need::Namespaces, Need::Program("ethtool"), Need::Program("bash")];
/// Tells this very test program, started once more on the cell, for how many milliseconds to send.
const FLOOD: &str = "FLOWAUDIT_TEST_FLOOD";
/// What it sends to, and the first of the ports that get hostile names.
const PORT: u16 = 20_000;

#[test]
fn what_was_dropped_is_counted_and_contradicts_nothing() {
    if !have(&NEEDS) {
        return;
    }
    let site = Site::new("drop");
    let (mut live, report) = site.live(&["--buffer-size", "1", "--no-records"]);
    let _server = site.server("1.3");
    // It connects, and asks in clear when nobody looks: seen, that would be a violation.
    let mut client = site.cell.command("bash");
    let asks = "printf 'GET / HTTP/1.1\\r\\nHost: doppler\\r\\n\\r\\n' >&3; cat <&3 >/dev/null";
    client.args(["-c", &format!("exec 3<>/dev/tcp/{DOPPLER}/8082; echo open; sleep 1; {asks}")]);
    let mut client = Background::start(client);
    client.wait_for("open");
    sleep(Duration::from_millis(400));
    live.signal("STOP");
    flood(&site, 400);
    client.wait();
    live.signal("CONT");
    sleep(Duration::from_millis(1500));
    site.plain_http();
    live.wait_for(":8082");
    assert_eq!(live.interrupt(), Some(1));

    let mut rows = table(&fs::read_to_string(&report).expect("it was written"));
    rows.retain(|row| row["row_state"] == "final" && row["destination_port"] == "8082");
    rows.sort_by(|one, other| one["start"].cmp(&other["start"]));
    let told: Vec<_> = rows.iter().map(|row| (row["verdict"].as_str(), row["reason"].as_str())).collect();
    assert_eq!(told, [("unproven", "unseen_loss"), ("violation", "wrong_application")], "{rows:?}");
    let account = fs::read_to_string(format!("{}.account.csv", report.display())).expect("it was written");
    let of = |scope: &str| -> Vec<(String, u64)> {
        let rows = table(&account).into_iter().filter(|row| row["scope"] == scope);
        rows.map(|row| (row["name"].clone(), row["count"].parse().expect("a number"))).collect()
    };
    let packets = of("packets");
    assert_eq!(packets[0].1, packets[1..].iter().map(|(_, count)| count).sum::<u64>(), "{packets:?}");
    assert!(of("drops")[0].1 > 1000, "{account}");
}

#[test]
fn on_a_terminal_it_stays_where_it_is_and_leaves_nothing_behind() {
    if !have(&NEEDS) || !have(&[Need::Program("script")]) {
        return;
    }
    let site = Site::new("view");
    let _server = site.server("1.2");
    let live = format!("{BINARY} live --no-processes --no-records -i eth0 -o /dev/null");
    for (rows, columns, narrowed) in [(24, 100, None), (6, 12, None), (50, 100, Some(40))] {
        let [shown, keys, now] = ["shown", "keys", "now"].map(|name| site.folder.join(name));
        let mut fifo = Command::new("mkfifo");
        fifo.arg(&keys);
        assert_eq!(run(fifo).status, Some(0));
        // The emulator below is told when by a character that terminals leave out.
        let narrow = narrowed.map_or(String::new(), |columns| {
            let when = format!("until [ -e {} ]; do sleep 0.1; done", now.display());
            format!("({when}; stty -F /dev/tty cols {columns}; printf \"\\0\" >/dev/tty) &")
        });
        let script = format!(
            "exec script -qefc '{narrow} stty -echo rows {rows} cols {columns}; exec {live}' {} <{}",
            shown.display(),
            keys.display()
        );
        let mut terminal = site.doppler.command("bash");
        terminal.args(["-c", &script]);
        let mut terminal = Background::start(terminal);
        let mut keyboard = fs::OpenOptions::new().write(true).open(&keys).expect("a terminal reads it");
        terminal.wait_for("interrupt");
        let mut sender = site.cell.command(std::env::current_exe().expect("this program"));
        sender.args(["--ignored", "--exact", "sends_hostile_names"]);
        assert_eq!(run(sender).status, Some(0));
        (0..3).for_each(|_| drop(terminal.wait_for("\x1b[J")));
        if narrowed.is_some() {
            fs::write(&now, "").expect("it writes");
            terminal.wait_for("\0");
            (0..2).for_each(|_| drop(terminal.wait_for("\x1b[J")));
        }
        keyboard.write_all(b"\x03").expect("a terminal takes it");
        assert_eq!(terminal.wait(), Some(1), "violations were seen");
        drop(keyboard);
        let said = fs::read_to_string(&shown).expect("UTF-8");
        fs::remove_file(&keys).expect("it is there");

        // The first and last line are the program's that makes the terminal.
        let (_, said) = said.split_once('\n').expect("its first line");
        let (said, _) = said.rsplit_once("\nScript done").expect("its last line");
        let mut screen = Screen { rows, columns, narrowed, ..Screen::default() };
        screen.write(said);
        assert!(screen.erased.len() > 3, "{said:?}");
        for blank in &screen.erased {
            assert!(!blank.contains("auditing "), "{rows} rows: nothing is left behind:\n{blank}");
            assert!(!blank.contains("latest violations"), "{rows} rows: nothing is left behind:\n{blank}");
        }
        let last = screen.lines.join("\n");
        assert!(!last.contains("auditing ") && last.contains("flow"), "{last}");
        if rows > 20 {
            assert!(said.contains("no_row_for_port: ") && said.contains("handshake_failed: "), "{said}");
        }
    }
}

/// As much of a terminal as the view needs: other sequences fail.
#[derive(Default)]
struct Screen {
    rows: usize,
    columns: usize,
    /// How wide it is made once it is.
    narrowed: Option<usize>,
    /// All lines since the beginning; those before the last `rows` scrolled off.
    lines: Vec<String>,
    /// The cursor's line; its column is the end of it.
    at: usize,
    /// What was left each time that something was erased.
    erased: Vec<String>,
}

impl Screen {
    fn write(&mut self, text: &str) {
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            self.lines.resize(self.lines.len().max(self.at + 1), String::new());
            match letter {
                '\r' => {}
                '\n' => self.at += 1,
                '\0' => self.narrow(),
                '\x1b' => {
                    let mut sequence = String::new();
                    while !sequence.ends_with(|letter: char| letter.is_ascii_alphabetic()) {
                        sequence.push(letters.next().expect("a whole sequence"));
                    }
                    self.control(&sequence);
                }
                letter if letter.is_control() => panic!("{letter:?} on a terminal: {text:?}"),
                letter => {
                    if self.lines[self.at].chars().count() == self.columns {
                        self.at += 1;
                        self.lines.insert(self.at, String::new());
                    }
                    self.lines[self.at].push(letter);
                }
            }
        }
    }

    fn control(&mut self, sequence: &str) {
        let top = self.lines.len().saturating_sub(self.rows);
        match sequence {
            "[H" => self.at = top,
            // From the cursor on, which stands at the beginning of its line.
            "[J" | "[2J" => {
                self.lines.truncate(if sequence == "[J" { self.at } else { top });
                self.erased.push(self.lines.join("\n"));
            }
            up => {
                let up = up.strip_prefix('[').and_then(|up| up.strip_suffix('A'));
                let up: usize = up.and_then(|up| up.parse().ok()).expect("cursor up");
                // The cursor stops at the top.
                self.at = self.at.saturating_sub(up).max(top);
            }
        }
    }

    /// Lines that are longer than it is wide from now on go on in the next.
    fn narrow(&mut self) {
        self.columns = self.narrowed.expect("it is to be");
        let below = self.lines.split_off(self.at);
        let wrapped = std::mem::take(&mut self.lines).into_iter().flat_map(|line| {
            let letters: Vec<char> = line.chars().collect();
            let parts: Vec<String> = letters.chunks(self.columns).map(String::from_iter).collect();
            if parts.is_empty() { vec![line] } else { parts }
        });
        self.lines = wrapped.collect();
        self.at = self.lines.len();
        self.lines.extend(below);
    }
}

fn flood(site: &Site, milliseconds: u64) {
    let mut sender = site.cell.command(std::env::current_exe().expect("this program"));
    sender.args(["--ignored", "--exact", "floods"]).env(FLOOD, milliseconds.to_string());
    assert_eq!(run(sender).status, Some(0));
}

/// Not a test of its own: started on the cell by others.
#[test]
#[ignore = "started by tests of this file"]
fn floods() {
    let Ok(milliseconds) = std::env::var(FLOOD) else { return };
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a free port");
    let until = Instant::now() + Duration::from_millis(milliseconds.parse().expect("a number"));
    while Instant::now() < until {
        // What the other end refuses is no error of this one.
        drop(socket.send_to(&[0; 1200], (DOPPLER, PORT)));
    }
}

/// Not a test of its own: a name that would clear a terminal and set its title.
#[test]
#[ignore = "started by tests of this file"]
fn sends_hostile_names() {
    let hello = client_hello(b"\x1b[2J\x1b]0;mine\x07.example", &[b"h2\x1b[1A"]);
    let mut stream = TcpStream::connect((DOPPLER, 8082)).expect("it listens");
    stream.write_all(&hello).expect("it is read");
    drop(stream.read(&mut [0; 100]));
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a free port");
    (0..20).for_each(|port| drop(socket.send_to(&hello, (DOPPLER, PORT + port))));
}
