//! Key logs from files: read whole before an audit, and followed while one runs live.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::time::{Duration, Instant};

use crate::protocol::tls::KeyStore;

/// The longest key log read, in bytes.
const CAP: u64 = 1 << 30;
/// The most read of a log at a time while it is followed.
const PIECE: u64 = 1 << 20;
/// How often logs that are being written are looked at.
const OFTEN: Duration = Duration::from_millis(100);

/// Reads these files; one that holds nothing of a key log is an error.
pub(super) fn read(files: &[String]) -> Result<KeyStore, String> {
    let keys = KeyStore::default();
    for file in files {
        let mut log = Vec::new();
        File::open(file).and_then(|opened| opened.take(CAP + 1).read_to_end(&mut log)).map_err(|error| {
            format!("{file}: cannot be read: {error}; name the file that SSLKEYLOGFILE named")
        })?;
        if log.len() as u64 > CAP {
            return Err(format!("{file}: is longer than {CAP} bytes; split it"));
        }
        let added = keys.add(&log);
        if let (0, 0, Some(line)) = (added.secrets, added.unused, added.foreign) {
            return Err(format!(
                "{file}: line {line}: not a line of a key log, and no other line is; name the file that \
                 SSLKEYLOGFILE named"
            ));
        }
    }
    Ok(keys)
}

/// Logs that programs write while their connections are audited.
pub(super) struct Following {
    files: Vec<(String, u64)>,
    looked: Instant,
}

impl Following {
    /// Follows these files, which [`read`] has read.
    pub(super) fn new(files: &[String], keys: &KeyStore) -> Following {
        if !files.is_empty() {
            keys.expect_more();
        }
        Following { files: files.iter().map(|file| (file.clone(), 0)).collect(), looked: Instant::now() }
    }

    /// Takes what was written since, if it is time to look.
    pub(super) fn look(&mut self, keys: &KeyStore) {
        if !self.files.is_empty() && self.looked.elapsed() >= OFTEN {
            self.look_now(keys);
        }
    }

    /// Takes what was written since.
    pub(super) fn look_now(&mut self, keys: &KeyStore) {
        self.looked = Instant::now();
        for (file, read) in &mut self.files {
            // A log that cannot be read now may be again: its connections stay undecrypted until then.
            if let Ok(log) = written(file, read) {
                keys.add(&log);
            }
        }
    }
}

/// The whole lines of `file` after the first `read` bytes, which grow by them.
fn written(file: &str, read: &mut u64) -> io::Result<Vec<u8>> {
    let mut opened = File::open(file)?;
    // A log that became shorter was begun anew.
    if opened.metadata()?.len() < *read {
        *read = 0;
    }
    opened.seek(SeekFrom::Start(*read))?;
    let mut log = Vec::new();
    opened.take(PIECE).read_to_end(&mut log)?;
    let whole = log.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let full = log.len() as u64 == PIECE;
    if !full || whole > 0 {
        log.truncate(whole);
    }
    *read += log.len() as u64;
    Ok(log)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_log_is_followed_line_by_line_and_begun_anew() {
        let path = std::env::temp_dir().join(format!("flowaudit-keylog-{}", std::process::id()));
        let name = path.to_string_lossy().into_owned();
        let mut file = File::create(&path).unwrap();
        let mut read = 0;
        file.write_all(b"one\ntw").unwrap();
        assert_eq!(written(&name, &mut read).unwrap(), b"one\n");
        file.write_all(b"o\n").unwrap();
        assert_eq!(written(&name, &mut read).unwrap(), b"two\n");
        assert_eq!(written(&name, &mut read).unwrap(), b"");
        std::fs::write(&path, b"new\n").unwrap();
        assert_eq!(written(&name, &mut read).unwrap(), b"new\n");
        std::fs::remove_file(&path).unwrap();
        assert!(written(&name, &mut read).is_err());
    }

    #[test]
    fn errors_name_the_file_and_the_line() {
        let missing = read(&["no/such/file".to_owned()]).unwrap_err();
        assert!(missing.starts_with("no/such/file: cannot be read: "), "{missing}");
        let path = std::env::temp_dir().join(format!("flowaudit-no-keylog-{}", std::process::id()));
        std::fs::write(&path, b"\n# text\nnot a key log\n").unwrap();
        let foreign = read(&[path.to_string_lossy().into_owned()]).unwrap_err();
        std::fs::remove_file(&path).unwrap();
        assert!(foreign.contains(": line 3: not a line of a key log"), "{foreign}");
    }
}
