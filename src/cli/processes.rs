//! Whose sockets are whose, told by a process of its own.
//!
//! To look into other users' processes takes capabilities that whoever reads packets must not have. So
//! `flowaudit live` starts itself once more before it gives its own up; that second process reads /proc
//! and nothing else, and writes what changed as lines of JSON into a pipe.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::confine::{Confinement, Keep};
use super::{Status, complain};
use crate::capture::Timestamp;
use crate::local::{Change, Owners, Scanner};

/// The hidden command that this program calls itself with.
pub(super) const COMMAND: &str = "processes";
/// How often sockets are looked at: a connection shorter than this may be missed.
const INTERVAL: Duration = Duration::from_millis(250);
/// The longest line taken from the pipe, in bytes.
const LINE: u64 = 64 * 1024;

/// The second process, not yet listened to.
pub(super) struct Processes {
    /// Ends by itself when nobody reads its pipe any more.
    _child: Child,
    output: ChildStdout,
}

impl Processes {
    /// Starts it; to be called before privileges are given up.
    pub(super) fn start(jobs: &Path) -> io::Result<Processes> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(COMMAND)
            .arg(jobs)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or_else(|| io::Error::other("no pipe from it"))?;
        Ok(Processes { _child: child, output })
    }

    /// Goes on taking what it tells, in a thread.
    pub(super) fn follow(self, now: fn() -> Timestamp) -> io::Result<Arc<Mutex<Owners>>> {
        let owners = Arc::new(Mutex::new(Owners::default()));
        let shared = Arc::clone(&owners);
        thread::Builder::new().name("processes".to_owned()).spawn(move || {
            let mut output = BufReader::new(self.output);
            let mut line = String::new();
            loop {
                line.clear();
                match (&mut output).take(LINE).read_line(&mut line) {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => break complain(&"local processes are no longer looked at"),
                }
                // Other lines, empty ones among them, only say that it is alive.
                if let Ok(change) = serde_json::from_str::<Change>(&line) {
                    shared.lock().unwrap_or_else(PoisonError::into_inner).take(change, now().0);
                }
            }
        })?;
        Ok(owners)
    }
}

/// The second process: tells of sockets until nobody reads any more.
pub(super) fn run(jobs: PathBuf) -> Result<Status, Box<dyn Error>> {
    Confinement { keep: Keep::Processes, ..Confinement::default() }.enter()?;
    let mut scanner = Scanner::new(jobs);
    let mut output = io::stdout().lock();
    loop {
        if tell(&mut output, scanner.scan()?).is_err() {
            return Ok(Status::Clean);
        }
        thread::sleep(INTERVAL);
    }
}

/// Writes a line for each of these, and an empty one.
fn tell(mut output: impl Write, changes: Vec<Change>) -> io::Result<()> {
    for change in changes {
        serde_json::to_writer(&mut output, &change)?;
        output.write_all(b"\n")?;
    }
    output.write_all(b"\n")?;
    output.flush()
}
