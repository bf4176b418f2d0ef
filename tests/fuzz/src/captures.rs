//! Readers of captures: pcap, pcapng, gzip and zstd of them, whatever the size of each read.

use std::io::{self, Cursor, Read};

use flowaudit::capture::{Event, FileSource, MAX_CAPTURED};

use super::input::Input;
use super::texts::is_one_line;

/// The most events read of one capture: a few bytes of gzip may hold millions, each as the one before.
const EVENTS: usize = 20_000;

/// Read at once and read in pieces, a capture holds the same; a damaged compressed one up to the damage, where what
/// the decompressor had not yet handed on is lost.
pub fn read(bytes: &[u8]) {
    let mut input = Input(bytes);
    let sizes = [input.choice(), input.choice()].map(usize::from);
    let (whole, pieces) = (summary(Cursor::new(input.0.to_vec())), summary(Pieces::new(input.0, sizes)));
    let damaged = [&whole.3, &pieces.3].into_iter().flatten().any(|error| error.contains("cannot be read"));
    if !damaged {
        assert_eq!(whole, pieces, "pieces of {sizes:?} bytes");
    }
}

/// A reader that gives a few bytes at a time, and is interrupted now and then.
pub struct Pieces {
    bytes: Cursor<Vec<u8>>,
    sizes: [usize; 2],
    turn: usize,
}

impl Pieces {
    /// Gives so many bytes, and so many, in turns; 0 stands for as many as are asked for.
    pub fn new(bytes: &[u8], sizes: [usize; 2]) -> Pieces {
        Pieces { bytes: Cursor::new(bytes.to_vec()), sizes, turn: 0 }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.turn += 1;
        if self.turn.is_multiple_of(7) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let size = match self.sizes[self.turn % 2] {
            0 => buffer.len(),
            size => size.min(buffer.len()),
        };
        self.bytes.read(&mut buffer[..size])
    }
}

/// What a capture holds: packets, secrets, a sum over both, and how it ends.
fn summary(reader: impl Read + Send + 'static) -> (u64, u64, u64, Option<String>) {
    let mut source = match FileSource::read("capture", reader) {
        Ok(source) => source,
        Err(error) => return (0, 0, 0, Some(is_one_line(&error))),
    };
    let (mut packets, mut secrets, mut sum) = (0, 0, 0);
    let mut error = None;
    for _ in 0..EVENTS {
        match source.next_event() {
            Ok(Some(Event::Packet(packet))) => {
                packets += 1;
                assert_eq!(packet.number, packets);
                assert!(packet.bytes.len() <= MAX_CAPTURED as usize);
                sum = mix(sum, packet.time.0 as u64 ^ u64::from(packet.wire_length), packet.bytes);
            }
            Ok(Some(Event::Secrets(found))) => {
                secrets += 1;
                sum = mix(sum, u64::from(found.kind), found.bytes);
            }
            Ok(None) => return (packets, secrets, sum, error),
            Err(found) => {
                assert!(error.is_none(), "{found} after {error:?}");
                error = Some(is_one_line(&found));
            }
        }
    }
    (packets, secrets, sum, error)
}

/// A checksum that order and content go into (FNV-1a).
fn mix(sum: u64, first: u64, bytes: &[u8]) -> u64 {
    let step = |sum: u64, value: u64| (sum ^ value).wrapping_mul(0x100_0000_01b3);
    bytes.iter().fold(step(sum, first), |sum, byte| step(sum, u64::from(*byte)))
}
