//! Report files that may be read at any time: a finished one is whole, whatever happens.
//!
//! What is being written is called `report.20261122T183124Z.csv.part`, with the time at which it was begun.
//! Finished, it loses `.part`; if there was never more than one, it becomes `report.csv` itself. A `.part`
//! that nobody writes any more was left by a run that could not end: the next one cuts it behind its last
//! whole row and finishes it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use crate::cli::whole::{BESIDE, PART, cannot_write, cut, is_no_file, with_suffix};
use crate::cli::{complain, note};

/// Files begun within one second that get names of their own.
const SAME_SECOND: u32 = 1000;
/// Between two times that a file is synchronised while it is written.
const AHEAD: Duration = Duration::from_millis(100);

/// Where rows go.
pub(super) enum Output {
    /// Standard output, or something that is no file: a pipe, a device.
    Stream(Box<dyn Write + Send>),
    /// A file that is not finished yet.
    Part {
        /// Locked for as long as it is open, so that no other run takes it for a leftover.
        file: File,
        /// Bytes written to it.
        written: Arc<AtomicU64>,
    },
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Output::Stream(stream) => stream.write(bytes),
            Output::Part { file, written } => {
                let count = file.write(bytes)?;
                written.fetch_add(count as u64, Ordering::Relaxed);
                Ok(count)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Output::Stream(stream) => stream.flush(),
            Output::Part { file, .. } => file.flush(),
        }
    }
}

/// When a file is finished and the next begun.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rotation {
    /// After this time.
    pub(super) after: Option<Duration>,
    /// At about this many bytes.
    pub(super) size: Option<u64>,
}

/// The report files of one run.
pub(super) struct Files {
    /// What the user called the report.
    name: PathBuf,
    /// It is no pipe and no device.
    are_files: bool,
    rotation: Rotation,
    part: Option<Part>,
    /// Files finished so far.
    finished: u32,
    finishing: Option<JoinHandle<Result<(), String>>>,
}

/// The file being written.
struct Part {
    path: PathBuf,
    begun: Instant,
    written: Arc<AtomicU64>,
}

impl Files {
    /// Opens where `output` says; files only are finished and rotated. What an earlier run left is finished
    /// first.
    ///
    /// # Errors
    /// A place that cannot be written to.
    pub(super) fn open(output: Option<&str>, rotation: Rotation) -> Result<(Files, Option<Output>), String> {
        let name = PathBuf::from(output.unwrap_or_default());
        let are_files = output.is_some_and(|output| output != "-" && !is_no_file(&name));
        let mut files = Files { name, are_files, rotation, part: None, finished: 0, finishing: None };
        let output = match output {
            None => None,
            Some("-") => Some(Output::Stream(Box::new(io::stdout()))),
            Some(_) if !are_files => {
                let opened = OpenOptions::new().write(true).open(&files.name);
                Some(Output::Stream(Box::new(opened.map_err(|error| cannot_write(&files.name, &error))?)))
            }
            Some(_) => {
                files.recover();
                files.put_aside()?;
                Some(files.begin()?)
            }
        };
        Ok((files, output))
    }

    /// Whether it is time for the next file.
    pub(super) fn is_due(&self) -> bool {
        let Some(part) = &self.part else { return false };
        self.rotation.after.is_some_and(|after| part.begun.elapsed() >= after)
            || self.rotation.size.is_some_and(|size| part.written.load(Ordering::Relaxed) >= size)
    }

    /// Files are written, so that one may be finished and the next begun.
    pub(super) fn are_files(&self) -> bool {
        self.are_files
    }

    /// There should be a file, and none could be begun.
    pub(super) fn is_missing(&self) -> bool {
        self.are_files && self.part.is_none()
    }

    /// Begins the next file.
    ///
    /// # Errors
    /// A folder that cannot be written to.
    pub(super) fn begin(&mut self) -> Result<Output, String> {
        let now = stamp(SystemTime::now());
        for again in 0..SAME_SECOND {
            let finished = self.stamped(&now, again);
            let path = with_suffix(&finished, PART);
            if finished.exists() {
                continue;
            }
            let file = match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(cannot_write(&path, &error)),
            };
            // Where files cannot be locked, two runs on one name are told apart by their files' names still.
            let _ = file.try_lock();
            let written = Arc::new(AtomicU64::new(0));
            self.part = Some(Part { path, begun: Instant::now(), written: Arc::clone(&written) });
            return Ok(Output::Part { file, written });
        }
        Err(format!("{}: more than {SAME_SECOND} files were begun in one second", self.name.display()))
    }

    /// Finishes a file that was written to its end; `None` when what was written is no file. Returns the name
    /// that it bears at once, or will as soon as the disk has it.
    pub(super) fn finish(&mut self, output: Output, last: bool) -> Result<Option<PathBuf>, String> {
        let (Some(part), Output::Part { file, .. }) = (self.part.take(), output) else { return Ok(None) };
        let only =
            last && self.finished == 0 && self.rotation.after.is_none() && self.rotation.size.is_none();
        self.finished += 1;
        let name = if only { self.name.clone() } else { part.path.with_extension("") };
        self.settle()?;
        let (from, to) = (part.path, name.clone());
        // A disk may take seconds, and packets do not wait.
        self.finishing = Some(thread::spawn(move || publish(&file, &from, &to)));
        if last {
            self.settle()?;
        }
        Ok(Some(name))
    }

    /// Finishes a file that could not be written to its end; `last` as for [`Files::finish`].
    pub(super) fn salvage(&mut self, output: Output, last: bool) -> Result<Option<PathBuf>, String> {
        if let (Some(part), Output::Part { .. }) = (&self.part, &output) {
            let cut = cut(&part.path).map_err(|error| cannot_write(&part.path, &error))?;
            if cut.rows == 0 {
                let part = self.part.take();
                return part.map_or(Ok(None), |part| {
                    fs::remove_file(&part.path)
                        .map(|()| None)
                        .map_err(|error| cannot_write(&part.path, &error))
                });
            }
        }
        self.finish(output, last)
    }

    /// Has the disk take what is written while more is, until what this returns is dropped: then there is little left
    /// to wait for when the file is finished. An error is told by then, too, since that file was opened before.
    pub(super) fn synchronise(&self) -> Option<Sender<()>> {
        let file = OpenOptions::new().write(true).open(&self.part.as_ref()?.path).ok()?;
        let (until, dropped) = channel();
        thread::spawn(move || {
            while dropped.recv_timeout(AHEAD) == Err(RecvTimeoutError::Timeout) && file.sync_data().is_ok() {}
        });
        Some(until)
    }

    /// Waits for the disk to have what was finished before.
    fn settle(&mut self) -> Result<(), String> {
        let Some(finishing) = self.finishing.take() else { return Ok(()) };
        finishing.join().unwrap_or_else(|_| Err(format!("{}: was not finished", self.name.display())))
    }

    /// Finishes what runs that were killed left behind.
    fn recover(&self) {
        let folder = folder(&self.name);
        let Ok(entries) = fs::read_dir(folder) else { return };
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| self.is_part(path)) {
            match recover(&path) {
                Ok(Some(told)) => note(&told),
                Ok(None) => {}
                // It stays as it is; a new file is written all the same.
                Err(error) => complain(&format!("{}: cannot be recovered: {error}", path.display())),
            }
        }
    }

    /// A file that a run with this name of its report wrote and did not finish.
    fn is_part(&self, path: &Path) -> bool {
        let text = |path: Option<&std::ffi::OsStr>| path.map(|text| text.to_string_lossy().into_owned());
        let (Some(name), Some(stem)) = (text(path.file_name()), text(self.name.file_stem())) else {
            return false;
        };
        let extension = text(self.name.extension()).map_or(String::new(), |text| format!(".{text}"));
        name.strip_prefix(&format!("{stem}."))
            .and_then(|rest| rest.strip_suffix(&format!("{extension}.{PART}")))
            .is_some_and(is_stamp)
    }

    /// A report of an earlier run under the plain name gets the time of its last change into its name.
    fn put_aside(&self) -> Result<(), String> {
        let Ok(about) = fs::metadata(&self.name) else { return Ok(()) };
        if about.len() == 0 {
            return Ok(());
        }
        let changed = stamp(about.modified().unwrap_or_else(|_| SystemTime::now()));
        let free = (0..SAME_SECOND).map(|again| self.stamped(&changed, again)).find(|name| !name.exists());
        let aside = free.ok_or_else(|| format!("{}: there are too many reports", self.name.display()))?;
        let beside = BESIDE.map(|suffix| [&self.name, &aside].map(|name| with_suffix(name, suffix)));
        for [from, to] in [[self.name.clone(), aside.clone()]].into_iter().chain(beside) {
            if from.exists() {
                fs::rename(&from, &to).map_err(|error| cannot_write(&to, &error))?;
            }
        }
        note(&format!("{}: an earlier report, is now {}", self.name.display(), aside.display()));
        Ok(())
    }

    /// `report.csv` with a time in it: `report.20261122T183124Z.csv`.
    fn stamped(&self, stamp: &str, again: u32) -> PathBuf {
        let again = if again == 0 { String::new() } else { format!("-{}", again + 1) };
        let mut name = self.name.file_stem().unwrap_or_default().to_owned();
        name.push(format!(".{stamp}{again}"));
        if let Some(extension) = self.name.extension() {
            name.push(".");
            name.push(extension);
        }
        self.name.with_file_name(name)
    }
}

/// Once the disk has all of it, and not before, a file gets its name.
fn publish(file: &File, from: &Path, to: &Path) -> Result<(), String> {
    let published = file.sync_all().and_then(|()| fs::rename(from, to));
    // The name too is on the disk, where folders can be synchronised at all.
    let _ = File::open(folder(to)).and_then(|folder| folder.sync_all());
    published.map_err(|error| cannot_write(to, &error))
}

/// Finishes a file that no process writes any more, and says so.
fn recover(path: &Path) -> io::Result<Option<String>> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let cut = cut(path)?;
    let finished = path.with_extension("");
    if cut.rows == 0 {
        fs::remove_file(path)?;
        return Ok(None);
    }
    if finished.exists() {
        return Err(io::Error::other(format!("there is a {} already", finished.display())));
    }
    file.sync_all()?;
    fs::rename(path, &finished)?;
    let lost = if cut.lost == 0 { "" } else { ", without the last row, which was not whole" };
    Ok(Some(format!("{}: left by an earlier run, is now {}{lost}", path.display(), finished.display())))
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A time as file names bear it, in UTC.
fn stamp(time: SystemTime) -> String {
    let time = jiff::Timestamp::try_from(time).unwrap_or_default();
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}

fn is_stamp(text: &str) -> bool {
    let (time, again) = text.split_once('-').map_or((text, None), |(time, again)| (time, Some(again)));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_time = time.strip_suffix('Z').and_then(|time| time.split_once('T'));
    is_time.is_some_and(|(day, time)| day.len() == 8 && time.len() == 6 && digits(day) && digits(time))
        && again.is_none_or(digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    /// A folder of its own, removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Folder {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let unique =
                format!("flowaudit-files-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().join(unique);
            fs::create_dir(&path).unwrap();
            Folder(path)
        }

        fn name(&self) -> String {
            self.0.join("report.csv").to_str().unwrap().to_owned()
        }

        fn list(&self) -> Vec<String> {
            let mut names: Vec<String> = fs::read_dir(&self.0)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    fn write(output: Option<Output>, text: &str) -> Output {
        let mut output = output.unwrap();
        output.write_all(text.as_bytes()).unwrap();
        output
    }

    #[test]
    fn one_file_bears_the_name_that_was_asked_for_once_it_is_whole() {
        let folder = Folder::new();
        let (mut files, output) = Files::open(Some(&folder.name()), Rotation::default()).unwrap();
        let output = write(output, "a\n1\n");
        let part = folder.list();
        assert_eq!(part.len(), 1);
        assert!(part[0].starts_with("report.2") && part[0].ends_with("Z.csv.part"), "{part:?}");
        assert!(!files.is_due());
        assert_eq!(files.finish(output, true).unwrap(), Some(folder.name().into()));
        assert_eq!(folder.list(), ["report.csv"]);
        assert_eq!(fs::read_to_string(folder.name()).unwrap(), "a\n1\n");
        let (mut files, output) = Files::open(Some(&folder.name()), Rotation::default()).unwrap();
        let output = write(output, "a\n2\n");
        assert_eq!(folder.list().len(), 2, "the earlier report was put aside");
        files.finish(output, true).unwrap();
        assert_eq!(fs::read_to_string(folder.name()).unwrap(), "a\n2\n");
        assert_eq!(folder.list().len(), 2);
    }

    #[test]
    fn files_that_are_rotated_bear_their_times_and_never_meet() {
        let folder = Folder::new();
        let rotation = Rotation { after: None, size: Some(4) };
        let (mut files, mut output) = Files::open(Some(&folder.name()), rotation).unwrap();
        for _ in 0..3 {
            let full = write(output, "a\n1\n");
            assert!(files.is_due());
            let name = files.finish(full, false).unwrap().unwrap();
            assert!(name.to_str().unwrap().ends_with(".csv"));
            output = Some(files.begin().unwrap());
            assert!(!files.is_due());
        }
        files.finish(output.unwrap(), true).unwrap();
        let list = folder.list();
        assert_eq!(list.len(), 4, "{list:?}");
        assert!(list.iter().all(|name| name.ends_with(".csv") && name != "report.csv"), "{list:?}");
    }

    #[test]
    fn what_a_killed_run_left_is_cut_and_finished_and_what_is_being_written_is_left_alone() {
        let folder = Folder::new();
        let left = folder.0.join("report.20260102T030405Z.csv.part");
        fs::write(&left, "a,b\n1,\"x\"\"\n\"\n2,\"y").unwrap();
        fs::write(folder.0.join("report.20260102T030406Z-2.csv.part"), "a,b\n1").unwrap();
        fs::write(folder.0.join("report.other.csv.part"), "a,b\n1").unwrap();
        let (_writing, _output) = Files::open(Some(&folder.name()), Rotation::default()).unwrap();
        let recovered = fs::read_to_string(left.with_extension("")).unwrap();
        assert_eq!(recovered, "a,b\n1,\"x\"\"\n\"\n");
        let (_second, _other) = Files::open(Some(&folder.name()), Rotation::default()).unwrap();
        let parts = folder.list().into_iter().filter(|name| name.ends_with(".part")).count();
        assert_eq!(parts, 3, "the foreign one, and one for each run: {:?}", folder.list());
    }

    #[test]
    fn a_file_that_could_not_be_written_to_its_end_keeps_its_whole_rows() {
        let folder = Folder::new();
        let (mut files, output) = Files::open(Some(&folder.name()), Rotation::default()).unwrap();
        let output = write(output, "a\n1\n2");
        files.salvage(output, true).unwrap();
        assert_eq!(fs::read_to_string(folder.name()).unwrap(), "a\n1\n");
        let (mut files, output) = Files::open(Some(&folder.name()), Rotation::default()).unwrap();
        let output = write(output, "a\n");
        assert_eq!(files.salvage(output, true).unwrap(), None);
        assert!(!folder.list().contains(&"report.csv".to_owned()), "nothing to tell: {:?}", folder.list());
    }

    #[test]
    fn what_is_no_file_is_written_as_it_is() {
        let (mut files, output) = Files::open(Some("/dev/null"), Rotation::default()).unwrap();
        assert!(!files.are_files());
        assert_eq!(files.finish(write(output, "a\n"), true).unwrap(), None);
        let error = Files::open(Some("/nowhere/at/all.csv"), Rotation::default()).map(|_| ()).unwrap_err();
        assert!(error.contains("cannot be written"), "{error}");
    }

    #[test]
    fn times_in_names() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000);
        assert_eq!(stamp(time), "20261118T110640Z");
        assert!(is_stamp("20261118T110640Z") && is_stamp("20261118T110640Z-12"));
        for other in ["", "20261118", "20261118T110640", "20261118T110640Z-", "2026111T8110640Z"] {
            assert!(!is_stamp(other), "{other}");
        }
    }
}
