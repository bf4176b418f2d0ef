//! Capture files: what to do with a path, and what is said when it is no capture.

use std::fmt;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::compression::Compression;
use super::map::{Mapped, map};
use super::records::{Next, Records};
use super::stream::{Buffer, Counted, widen};
use super::window::Whole;
use super::{CaptureError, Event, Packet, Secrets, Source, Timestamp};

/// Opens a capture file, or standard input for `-`: pcap or pcapng, plain or in gzip or zstd.
///
/// Plain regular files are mapped into memory; anything else is read through a buffer.
///
/// # Errors
/// What cannot be opened, is empty, or is not a capture. A capture without packets is not an error.
pub fn open(path: &str) -> Result<FileSource, CaptureError> {
    if path == "-" {
        widen(io::stdin());
        return FileSource::read(path, io::stdin());
    }
    let fail = |error: io::Error| {
        let advice = match error.kind() {
            io::ErrorKind::NotFound => "check the path",
            io::ErrorKind::PermissionDenied => "check its permissions, or run as its owner",
            io::ErrorKind::IsADirectory => "name the capture files inside",
            _ => "check the disk it is on",
        };
        CaptureError {
            capture: path.to_owned(),
            offset: None,
            packet: None,
            what: format!("cannot be opened: {error}"),
            advice: advice.to_owned(),
        }
    };
    let file = File::open(path).map_err(fail)?;
    let metadata = file.metadata().map_err(fail)?;
    if metadata.is_dir() {
        return Err(fail(io::ErrorKind::IsADirectory.into()));
    }
    // Files of no length may still have content, as in /proc; reading finds out.
    if !metadata.is_file() || metadata.len() == 0 {
        widen(&file);
        return FileSource::read(path, file);
    }
    let size = Some(metadata.len());
    let Ok(map) = map(&file) else {
        return FileSource::buffered(path, file, size);
    };
    if map.first_chunk().copied().and_then(Compression::recognise).is_some() {
        drop(map);
        return FileSource::buffered(path, file, size);
    }
    let records = Records::open(path, Whole::new(Mapped::new(map)))?;
    Ok(FileSource { size, reading: Reading::Mapped(Box::new(records)) })
}

/// The packets of one capture file or pipe, in the order of the file.
pub struct FileSource {
    size: Option<u64>,
    reading: Reading,
}

enum Reading {
    Mapped(Box<Records<Whole<Mapped>>>),
    Buffered(Box<Records<Buffer<Box<dyn Read + Send>>>>, Arc<AtomicU64>),
}

/// Runs an expression on the records, whichever window they come from.
macro_rules! records {
    ($source:expr, $records:ident => $do:expr) => {
        match $source {
            Reading::Mapped($records) => $do,
            Reading::Buffered($records, _) => $do,
        }
    };
}

impl FileSource {
    /// Reads a capture from any reader, plain or in gzip or zstd; `name` is what errors call it.
    ///
    /// # Errors
    /// As [`open`].
    pub fn read(name: &str, reader: impl Read + Send + 'static) -> Result<FileSource, CaptureError> {
        FileSource::buffered(name, reader, None)
    }

    fn buffered(
        name: &str,
        reader: impl Read + Send + 'static,
        size: Option<u64>,
    ) -> Result<FileSource, CaptureError> {
        let (mut reader, count) = Counted::new(reader);
        let mut magic = Vec::with_capacity(4);
        (&mut reader).take(4).read_to_end(&mut magic).map_err(|error| CaptureError {
            capture: name.to_owned(),
            offset: Some(magic.len() as u64),
            packet: None,
            what: format!("cannot be read: {error}"),
            advice: "check what it comes from".to_owned(),
        })?;
        let compression = magic.first_chunk().copied().and_then(Compression::recognise);
        let reader = Cursor::new(magic).chain(reader);
        let reader = match compression {
            Some(compression) => compression.undo(reader),
            None => Box::new(reader),
        };
        let records = Records::open(name, Buffer::new(reader))?;
        Ok(FileSource { size, reading: Reading::Buffered(Box::new(records), count) })
    }

    /// The path as given, or `-`.
    pub fn name(&self) -> &str {
        records!(&self.reading, records => records.name())
    }

    /// Length of the file in bytes, compressed if it is; `None` for a pipe.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// Bytes of the file read so far, compressed if it is; never more than [`FileSource::size`], unless
    /// the file grows meanwhile.
    pub fn position(&self) -> u64 {
        match &self.reading {
            Reading::Mapped(records) => records.window().position(),
            Reading::Buffered(_, count) => count.load(Ordering::Relaxed),
        }
    }

    /// The memory map that its packets lie in, if it is mapped.
    pub fn mapped(&self) -> Option<Mapped> {
        match &self.reading {
            Reading::Mapped(records) => Some(records.window().all().clone()),
            Reading::Buffered(..) => None,
        }
    }

    /// Sets the index that goes into every packet as [`Packet::capture`]; it starts as 0.
    pub fn set_capture(&mut self, capture: u16) {
        records!(&mut self.reading, records => records.set_capture(capture));
    }

    /// Lends the next packet or secrets, or `None` at the end. Errors as in [`Source::next_packet`],
    /// which passes over secrets.
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>, CaptureError> {
        Ok(match self.peek()? {
            Next::Packet(_) => self.lend_packet().map(Event::Packet),
            Next::Secrets => {
                records!(&mut self.reading, records => records.lend_secrets()).map(Event::Secrets)
            }
            Next::End => None,
        })
    }

    pub(super) fn peek(&mut self) -> Result<Next, CaptureError> {
        records!(&mut self.reading, records => records.peek())
    }

    /// Lends the secrets that [`FileSource::peek`] announced.
    pub(super) fn lend_secrets(&mut self) -> Option<Secrets<'_>> {
        records!(&mut self.reading, records => records.lend_secrets())
    }

    /// Lends packets after the last one lent until `each` breaks, one is later than `until`, or something
    /// else comes. Errors as in [`Source::next_packet`].
    pub(super) fn run<B>(
        &mut self,
        until: Timestamp,
        each: &mut impl FnMut(&Packet<'_>) -> ControlFlow<B>,
    ) -> Result<Option<B>, CaptureError> {
        records!(&mut self.reading, records => records.run(until, each))
    }

    pub(super) fn lend_packet(&mut self) -> Option<Packet<'_>> {
        records!(&mut self.reading, records => records.lend_packet())
    }
}

impl Source for FileSource {
    fn next_packet(&mut self) -> Result<Option<Packet<'_>>, CaptureError> {
        records!(&mut self.reading, records => {
            records.peek_packet()?;
            Ok(records.lend_packet())
        })
    }
}

impl fmt::Debug for FileSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSource").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// How much of a file that is no capture is looked at, in bytes.
pub(super) const FOREIGN: usize = 64;

/// What to say of a file that starts like this, and is no capture; only the first [`FOREIGN`] bytes count.
pub(super) fn foreign(start: &[u8]) -> (String, &'static str) {
    const CONVERT: &str = "convert it with `editcap -F pcapng IN OUT`";
    const DECOMPRESS: &str = "decompress it, or compress it with gzip or zstd instead";
    const OTHER: &str = "give a capture that tcpdump, Wireshark or `bosh pcap` wrote";
    let start = start.get(..FOREIGN).unwrap_or(start);
    let (found, advice) = match start {
        [b's', b'n', b'o', b'o', b'p', 0, ..] => (", but a snoop file", CONVERT),
        [b'X', b'C', b'P', 0, ..] => (", but a Network Associates Sniffer file", CONVERT),
        [b'G', b'M', b'B', b'U', ..] => (", but a Microsoft Network Monitor file", CONVERT),
        [b'B', b'Z', b'h', ..] => (", but compressed with bzip2", DECOMPRESS),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => (", but compressed with xz", DECOMPRESS),
        [0x04, 0x22, 0x4d, 0x18, ..] => (", but compressed with lz4", DECOMPRESS),
        [b'P', b'K', 3, 4, ..] => (", but a zip archive", "unpack it first"),
        [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => (", but compressed twice", "decompress it once"),
        text if text.iter().all(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | 0x20..0x7f)) => {
            (", but text", OTHER)
        }
        _ => ("", OTHER),
    };
    let bytes: Vec<String> = start.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    (format!("not a pcap or pcapng file{found} (starts with {})", bytes.join(" ")), advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::compression::tests::{gzip, zstd};
    use crate::capture::pcap::tests::{file_header, record};
    use crate::capture::pcapng::tests::Writer;
    use std::path::PathBuf;

    fn capture() -> Vec<u8> {
        [file_header(0xa1b2_c3d4, (2, 4), 1, false), record(1, 0, 5, b"first"), record(2, 0, 6, b"second")]
            .concat()
    }

    /// A file that goes away with the test.
    struct Temporary(PathBuf);

    impl Temporary {
        fn new(name: &str, bytes: &[u8]) -> Temporary {
            let path = std::env::temp_dir().join(format!("flowaudit-{}-{name}", std::process::id()));
            std::fs::write(&path, bytes).unwrap();
            Temporary(path)
        }

        fn open(&self) -> Result<FileSource, CaptureError> {
            open(self.0.to_str().unwrap())
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            std::fs::remove_file(&self.0).unwrap();
        }
    }

    fn payloads(source: &mut FileSource) -> (Vec<Vec<u8>>, Option<CaptureError>) {
        let mut payloads = Vec::new();
        loop {
            match source.next_packet() {
                Ok(Some(packet)) => {
                    assert_eq!(packet.number, payloads.len() as u64 + 1);
                    payloads.push(packet.bytes.to_vec());
                }
                Ok(None) => return (payloads, None),
                Err(error) => return (payloads, Some(error)),
            }
        }
    }

    #[test]
    fn plain_and_compressed_files() {
        for (name, bytes) in [("plain", capture()), ("gz", gzip(&capture())), ("zst", zstd(&capture()))] {
            let file = Temporary::new(name, &bytes);
            let mut source = file.open().unwrap();
            assert_eq!(matches!(source.reading, Reading::Mapped(_)), name == "plain");
            assert_eq!(source.size(), Some(bytes.len() as u64));
            assert_eq!(source.name(), file.0.to_str().unwrap());
            let (payloads, error) = payloads(&mut source);
            assert!(error.is_none(), "{error:?}");
            assert_eq!(payloads, [&b"first"[..], b"second"]);
            assert_eq!(source.position(), bytes.len() as u64);
        }
    }

    #[test]
    fn readers_of_any_kind() {
        for bytes in [capture(), gzip(&capture()), zstd(&capture())] {
            let mut source = FileSource::read("-", Cursor::new(bytes)).unwrap();
            assert_eq!(source.size(), None);
            assert_eq!(payloads(&mut source).0.len(), 2);
        }
    }

    #[test]
    fn a_cut_compressed_file_gives_what_came_before() {
        let mut state = 1u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(400_000)
        .collect();
        let long = [capture(), record(3, 0, 0, &noise)].concat();
        for mut bytes in [gzip(&long), zstd(&long)] {
            bytes.truncate(bytes.len() / 4 * 3);
            let mut source = FileSource::read("cut", Cursor::new(bytes)).unwrap();
            let (payloads, error) = payloads(&mut source);
            assert!(payloads == [&b"first"[..], b"second"]);
            assert_eq!(error.unwrap().packet, Some(3));
            assert!(source.next_packet().unwrap().is_none());
        }
    }

    #[test]
    fn secrets_come_before_the_packets_after_them() {
        let writer = Writer { big: false };
        let bytes = [
            writer.section(),
            writer.interface(1, 0, &[]),
            writer.secrets(b"keys"),
            writer.packet(0, 1, 1, b"x"),
        ]
        .concat();
        let mut source = FileSource::read("ng", Cursor::new(bytes.clone())).unwrap();
        source.set_capture(3);
        let Some(Event::Secrets(secrets)) = source.next_event().unwrap() else {
            panic!("secrets come first");
        };
        assert_eq!(secrets, Secrets { capture: 3, kind: Secrets::TLS_KEY_LOG, bytes: b"keys" });
        let Some(Event::Packet(packet)) = source.next_event().unwrap() else {
            panic!("then a packet");
        };
        assert_eq!((packet.capture, packet.number), (3, 1));
        assert!(source.next_event().unwrap().is_none());
        let mut source = FileSource::read("ng", Cursor::new(bytes)).unwrap();
        assert_eq!(payloads(&mut source).0, [b"x"]);
    }

    #[test]
    fn what_cannot_be_opened_is_explained() {
        let text = |error: CaptureError| error.to_string();
        let missing = text(open("/nonexistent/file.pcap").unwrap_err());
        assert!(missing.starts_with("/nonexistent/file.pcap: cannot be opened: "), "{missing}");
        assert!(missing.ends_with("; check the path"), "{missing}");
        assert!(text(open("/").unwrap_err()).ends_with("name the capture files inside"));
        assert!(text(open("/dev/null").unwrap_err()).contains("the capture is empty"));
        assert!(text(Temporary::new("empty", b"").open().unwrap_err()).contains("the capture is empty"));
        let foreign = |name, bytes: &[u8]| text(Temporary::new(name, bytes).open().unwrap_err());
        assert!(foreign("exe", b"MZ\x90\x00\x03").contains("(starts with 4d 5a 90 00 03)"));
        assert!(foreign("text", b"# tcpdump\n").contains("but text (starts with 23 20 74"));
        assert!(foreign("snoop", b"snoop\0\0\0\0\0\0\x02").contains("a snoop file"));
        assert!(foreign("twice", &gzip(&zstd(&capture()))).contains("compressed twice"));
        assert!(foreign("xz", b"\xfd7zXZ\0\0").contains("compressed with xz"));
    }
}
