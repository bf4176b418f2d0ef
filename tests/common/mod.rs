//! What integration tests share: running the built program, leaving out what this machine cannot do,
//! and network namespaces.
#![allow(dead_code, reason = "every test binary compiles this file and uses a part of it")]

pub mod pcap;
pub mod site;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Longest a program may run before a test gives it up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What a run of a program left behind.
#[derive(Debug)]
pub struct Run {
    /// Exit status; `None` when a signal ended it.
    pub status: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs flowaudit to its end, with nothing on its standard input.
pub fn flowaudit<I, S>(arguments: I) -> Run
where
    I: IntoIterator<Item = S>,
    S: AsRef<std::ffi::OsStr>,
{
    let mut command = Command::new(BINARY);
    command.args(arguments);
    run(command)
}

/// The program under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_flowaudit");

/// Runs a program to its end, at most for [`PATIENCE`], with nothing on its standard input.
pub fn run(command: Command) -> Run {
    run_fed(command, Vec::new())
}

/// The same, with these bytes in a pipe on its standard input.
pub fn run_fed(mut command: Command, input: Vec<u8>) -> Run {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("it is piped");
    // A program that does not read to the end is none of this helper's business.
    thread::spawn(move || drop(stdin.write_all(&input)));
    let stdout = read_all(child.stdout.take().expect("it is piped"));
    let stderr = read_all(child.stderr.take().expect("it is piped"));
    let status = wait(&mut child, PATIENCE);
    if status.is_none() {
        // Already gone, or gone now: either way the readers below come to their end.
        drop(child.kill());
        drop(child.wait());
    }
    let (stdout, stderr) = (stdout.join().expect("no panic"), stderr.join().expect("no panic"));
    let status = status.unwrap_or_else(|| panic!("{command:?}: still running\n{stdout}{stderr}"));
    Run { status: status.code(), stdout, stderr }
}

/// Runs flowaudit in the repository's own folder, so that names in reports are the same everywhere.
pub fn flowaudit_at_home(arguments: &[&str]) -> Run {
    let mut command = Command::new(BINARY);
    command.current_dir(root()).args(arguments);
    run(command)
}

/// The inventory of the recorded foundation, relative to the repository.
pub const INVENTORY: [&str; 6] = [
    "--inventory",
    "captures/bosh-instances-ps.json",
    "--inventory",
    "captures/bosh-cloud-config.yml",
    "--inventory",
    "captures/director.csv",
];

/// A CSV file, one map from column to cell a row.
pub fn table(csv: &str) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    reader.deserialize().map(|row| row.expect("as many cells as columns")).collect()
}

/// A file of `captures/`.
pub fn capture(name: &str) -> PathBuf {
    root().join("captures").join(name)
}

/// A file or folder beside the repository, which a newcomer's clone has not: [`have`] it first.
pub fn shared(path: &str) -> PathBuf {
    root().join("../shared").join(path)
}

/// Every file below a folder, in order.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("it lists").path();
        match path.is_dir() {
            true => found.extend(files_below(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What a test cannot do without.
#[derive(Clone, Copy, Debug)]
pub enum Need {
    /// A program on the path.
    Program(&'static str),
    /// The right to make network namespaces, which root has outside of most containers.
    Namespaces,
    /// A file or folder of `../shared`.
    Shared(&'static str),
}

/// Whether the calling test can run; if not, prints why, past the harness's capture.
///
/// Under `FLOWAUDIT_REQUIRE_ALL=1` a missing program or right is a failure: a machine set up to test
/// everything must not skip silently. Absent `../shared` is not: nobody outside has it.
pub fn have(needs: &[Need]) -> bool {
    let require_all = std::env::var_os("FLOWAUDIT_REQUIRE_ALL").is_some_and(|value| value == "1");
    for need in needs {
        let (missing, fatal) = match *need {
            Need::Program(name) if !on_path(name) => (format!("{name} is not installed"), true),
            Need::Namespaces if !can_make_namespaces() => {
                ("cannot make network namespaces: not root".to_owned(), true)
            }
            Need::Shared(path) if !shared(path).exists() => (format!("no ../shared/{path}"), false),
            _ => continue,
        };
        let thread = thread::current();
        let test = thread.name().unwrap_or("a test");
        assert!(!(fatal && require_all), "{test}: {missing}, and FLOWAUDIT_REQUIRE_ALL=1");
        // A lost line is no reason to fail.
        drop(writeln!(std::io::stderr(), "skipped {test}: {missing}"));
        return false;
    }
    true
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn can_make_namespaces() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| {
        let name = unique("probe");
        let ip = |verb: &str| Command::new("ip").args(["netns", verb, &name]).output();
        let made = ip("add").is_ok_and(|output| output.status.success());
        made && ip("del").is_ok_and(|output| output.status.success())
    })
}

/// The gRPC server, client and certificate maker of `tests/programs`: the one that `MUTUAL_GRPC` names,
/// or one built now.
pub fn mutual_grpc() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(program) = std::env::var_os("MUTUAL_GRPC") {
            return program.into();
        }
        let target = root().join("target/programs");
        let built = Command::new(env!("CARGO"))
            .args(["build", "--locked", "--quiet", "--manifest-path"])
            .arg(root().join("tests/programs/Cargo.toml"))
            .arg("--target-dir")
            .arg(&target)
            .status();
        assert!(built.is_ok_and(|status| status.success()), "tests/programs does not build");
        target.join("debug/mutual-grpc")
    })
}

/// A folder of its own for one test, removed at the end.
pub struct Folder(PathBuf);

impl Folder {
    /// Makes it.
    pub fn new(label: &str) -> Folder {
        let path = std::env::temp_dir().join(unique(label));
        fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Folder(path)
    }

    /// A path in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is the temporary folder's to clean.
        drop(fs::remove_dir_all(&self.0));
    }
}

/// A network namespace, with its loopback up and without IPv6; removed, with its interfaces, at the end.
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one, its name unique among all processes.
    pub fn new(label: &str) -> Namespace {
        let namespace = Namespace { name: unique(label) };
        ip(&["netns", "add", &namespace.name]);
        namespace.ip(&["link", "set", "lo", "up"]);
        // Neighbour discovery would add packets that no test asked for.
        let mut sysctl = namespace.command("sysctl");
        sysctl.args(["-qw", "net.ipv6.conf.all.disable_ipv6=1"]);
        succeed(sysctl);
        namespace
    }

    /// A command that will run inside.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Runs `ip` on this namespace.
    pub fn ip(&self, arguments: &[&str]) {
        let mut all = vec!["-n", &self.name];
        all.extend(arguments);
        ip(&all);
    }

    /// Lays a wire to another namespace, each end with an address such as `10.0.4.11/24` on an interface
    /// of the name given, and both up. Offloads are off: captures hold segments as a wire carries them.
    pub fn wire(&self, interface: &str, address: &str, other: (&Namespace, &str, &str)) {
        let (peer, peer_interface, peer_address) = other;
        let end = ["link", "add", interface, "netns", &self.name, "type", "veth"];
        let far = ["peer", "name", peer_interface, "netns", &peer.name];
        ip(&[&end[..], &far[..]].concat());
        for (end, interface, address) in [(self, interface, address), (peer, peer_interface, peer_address)] {
            let mut ethtool = end.command("ethtool");
            ethtool.args(["-K", interface, "tx", "off", "gso", "off", "tso", "off", "gro", "off"]);
            succeed(ethtool);
            end.ip(&["addr", "add", address, "dev", interface]);
            end.ip(&["link", "set", interface, "up"]);
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Also runs while a failed test unwinds: never a second panic.
        drop(Command::new("ip").args(["netns", "del", &self.name]).output());
    }
}

/// A program that runs beside the test, and is killed at its end.
pub struct Background {
    child: Child,
    lines: Receiver<String>,
    said: String,
}

impl Background {
    /// Starts it; what it says on standard output and standard error is read as it comes.
    pub fn start(mut command: Command) -> Background {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (sender, lines) = channel();
        let stdout = child.stdout.take().expect("it is piped");
        let stderr = child.stderr.take().expect("it is piped");
        let outputs: [Box<dyn Read + Send>; 2] = [Box::new(stdout), Box::new(stderr)];
        for output in outputs {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        Background { child, lines, said: String::new() }
    }

    /// Waits until it says a line that holds `words`, and returns that line.
    pub fn wait_for(&mut self, words: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(words) => return line,
                Ok(line) => {
                    self.said.push_str(&line);
                    self.said.push('\n');
                }
                Err(error) => panic!("no line with `{words}` ({error}); it said:\n{}", self.said),
            }
        }
    }

    /// Its process number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    /// Interrupts it as Ctrl-C does, waits for its end, and returns its exit status.
    pub fn interrupt(&mut self) -> Option<i32> {
        self.signal("INT");
        self.wait()
    }

    /// Sends it a signal, by its name without `SIG`.
    pub fn signal(&self, name: &str) {
        let mut kill = Command::new("sh");
        kill.args(["-c", &format!("kill -{name} \"$0\""), &self.child.id().to_string()]);
        succeed(kill);
    }

    /// Waits for its end, and returns its exit status.
    pub fn wait(&mut self) -> Option<i32> {
        let status = wait(&mut self.child, PATIENCE);
        status.unwrap_or_else(|| panic!("still running; it said:\n{}", self.said)).code()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Usually it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An authority `test-ca`, and a certificate of it for each of these names, as `NAME.crt` and `NAME.key`.
pub fn certificates(folder: &Folder, names: &[&str]) {
    let certificate = |arguments: &[&str]| {
        let mut command = Command::new(mutual_grpc());
        command.arg("certificate").args(arguments).arg("--folder").arg(folder.join(""));
        let run = run(command);
        assert_eq!(run.status, Some(0), "{}", run.stderr);
    };
    certificate(&["authority", "--cn", "test-ca", "--name", "ca"]);
    for name in names {
        certificate(&["leaf", "--authority", "ca", "--cn", name, "--name", name]);
    }
}

/// Short enough for an interface, and of this process and call only.
fn unique(label: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("fa{}-{}-{label}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn ip(arguments: &[&str]) {
    let mut command = Command::new("ip");
    command.args(arguments);
    succeed(command);
}

fn succeed(command: Command) {
    let text = format!("{command:?}");
    let run = run(command);
    assert!(run.status == Some(0), "{text}: {}", run.stderr);
}

fn read_all(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).expect("a pipe reads");
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn wait(child: &mut Child, patience: Duration) -> Option<std::process::ExitStatus> {
    let until = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait().expect("it is this process's child") {
            return Some(status);
        }
        if Instant::now() > until {
            return None;
        }
        thread::sleep(Duration::from_millis(5));
    }
}
