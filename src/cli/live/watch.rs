//! This VM's own inventory, the `records.json` of BOSH DNS: there or not yet, and replaced when VMs come and go.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// Where BOSH DNS keeps it on every VM of a deployment.
pub(super) const RECORDS: &str = "/var/vcap/instance/dns/records.json";
/// How often a look is taken.
const OFTEN: Duration = Duration::from_secs(3);

/// A file whose changes matter.
pub(super) struct Watch {
    file: PathBuf,
    known: Option<Seen>,
    looked: Instant,
}

/// What tells one state of a file from the next.
type Seen = (SystemTime, u64);

impl Watch {
    /// Watches a file that may not be there yet.
    pub(super) fn new(file: &Path) -> Watch {
        Watch { file: file.to_owned(), known: seen(file), looked: Instant::now() }
    }

    /// The file, if it is there.
    pub(super) fn present(&self) -> Option<&Path> {
        self.known.is_some().then_some(&*self.file)
    }

    /// Whether it is another than at the last look; looks once in a while. A file that was taken away is
    /// no change: what it said is still the best there is.
    pub(super) fn has_changed(&mut self) -> bool {
        if self.looked.elapsed() < OFTEN {
            return false;
        }
        self.looked = Instant::now();
        let now = seen(&self.file);
        let changed = now.is_some() && now != self.known;
        if changed {
            self.known = now;
        }
        changed
    }
}

fn seen(file: &Path) -> Option<Seen> {
    let about = fs::metadata(file).ok()?;
    Some((about.modified().ok()?, about.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_appears_changes_or_goes() {
        let file = std::env::temp_dir().join(format!("flowaudit-watch-{}", std::process::id()));
        let mut watch = Watch::new(&file);
        let mut changed = || {
            watch.looked -= OFTEN;
            (watch.has_changed(), watch.present().is_some())
        };
        assert_eq!(changed(), (false, false));
        fs::write(&file, "a").unwrap();
        assert_eq!(changed(), (true, true));
        assert_eq!(changed(), (false, true));
        fs::write(&file, "ab").unwrap();
        assert_eq!(changed(), (true, true));
        fs::remove_file(&file).unwrap();
        assert_eq!(changed(), (false, true));
        fs::write(&file, "ab").unwrap();
        let touched = SystemTime::now() + Duration::from_secs(9);
        fs::File::options().write(true).open(&file).unwrap().set_modified(touched).unwrap();
        assert_eq!(changed(), (true, true));
        fs::remove_file(&file).unwrap();
        assert!(!watch.has_changed(), "no look so soon");
    }
}
