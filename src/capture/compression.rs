//! gzip and zstd around a capture, recognised by their first bytes.

use std::io::{self, BufRead, BufReader, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::gzip::Gzip;

/// The largest zstd window accepted, in bytes: what `zstd --long=27` writes and reads. The decoder
/// keeps that much of its output.
const ZSTD_WINDOW: u64 = 128 << 20;

/// How much compressed data is read at a time, in bytes.
const CHUNK: usize = 128 << 10;

/// A compression that is undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    /// RFC 1952, one or more members.
    Gzip,
    /// RFC 8878, one or more frames, skippable ones included.
    Zstd,
}

impl Compression {
    /// The compression of a file that starts with these four bytes.
    pub fn recognise(magic: [u8; 4]) -> Option<Compression> {
        match magic {
            [0x1f, 0x8b, ..] => Some(Compression::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Some(Compression::Zstd),
            _ => None,
        }
    }

    /// What was compressed, read from its first byte.
    pub fn undo<R: Read + Send + 'static>(self, reader: R) -> Box<dyn Read + Send> {
        match self {
            Compression::Gzip => Box::new(Gzip::new(BufReader::with_capacity(CHUNK, reader))),
            Compression::Zstd => Box::new(Zstd::new(reader)),
        }
    }
}

/// All frames of a zstd file, one after the other.
struct Zstd<R> {
    source: BufReader<R>,
    decoder: FrameDecoder,
    in_frame: bool,
    /// Given once everything decoded before it was read.
    error: Option<io::Error>,
}

/// An empty last block, and room for the checksum that some frames have after it (RFC 8878 section
/// 3.1.1.2).
const LAST_BLOCK: [u8; 7] = [1, 0, 0, 0, 0, 0, 0];

impl<R: Read> Zstd<R> {
    fn new(reader: R) -> Zstd<R> {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(ZSTD_WINDOW);
        Zstd { source: BufReader::with_capacity(CHUNK, reader), decoder, in_frame: false, error: None }
    }

    /// Starts the next frame; `false` at the end of the file.
    fn next_frame(&mut self) -> io::Result<bool> {
        loop {
            if at_end(&mut self.source)? {
                return Ok(false);
            }
            match self.decoder.init(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let mut skipped = (&mut self.source).take(u64::from(length));
                    if io::copy(&mut skipped, &mut io::sink())? < u64::from(length) {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }

    /// Decodes one block. After an error the decoder still holds back as much output as the window is
    /// long; it gives that away at the end of a frame only, so that it is told of one.
    fn next_block(&mut self) -> io::Result<()> {
        let one = || BlockDecodingStrategy::UptoBlocks(1);
        if let Err(error) = self.decoder.decode_blocks(&mut self.source, one()) {
            self.error = Some(if at_end(&mut self.source)? {
                io::Error::new(io::ErrorKind::UnexpectedEof, "the zstd data is cut short")
            } else {
                io::Error::other(error)
            });
            self.decoder.decode_blocks(&LAST_BLOCK[..], one()).map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Holds the frame just read against its checksum, if it has one.
    fn end_frame(&mut self) -> io::Result<()> {
        self.in_frame = false;
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let stored = self.decoder.get_checksum_from_data();
        if stored.is_some() && stored != self.decoder.get_calculated_checksum() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a zstd frame's checksum is wrong"));
        }
        Ok(())
    }
}

impl<R: Read> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.in_frame {
                if !self.next_frame()? {
                    return Ok(0);
                }
                self.in_frame = true;
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                self.next_block()?;
            }
            let n = self.decoder.read(buffer)?;
            if n > 0 {
                return Ok(n);
            }
            self.end_frame()?;
        }
    }
}

pub(super) fn at_end(source: &mut impl BufRead) -> io::Result<bool> {
    loop {
        match source.fill_buf() {
            Ok(bytes) => return Ok(bytes.is_empty()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::capture::stream::tests::Chunks;
    use proptest::prelude::*;
    use std::io::Write;

    pub fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    pub fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    fn magic(bytes: &[u8]) -> [u8; 4] {
        *bytes.first_chunk().unwrap()
    }

    /// What comes out, up to the end or an error, and the error.
    fn undone(compression: Compression, bytes: Vec<u8>, sizes: Vec<usize>) -> (Vec<u8>, Option<String>) {
        let mut out = Vec::new();
        let mut reader = compression.undo(Chunks::new(bytes, sizes));
        let error = loop {
            let mut buffer = [0; 1000];
            match reader.read(&mut buffer) {
                Ok(0) => break None,
                Ok(n) => out.extend(&buffer[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Some(error.to_string()),
            }
        };
        (out, error)
    }

    #[test]
    fn several_members_and_frames() {
        let long = vec![7; 300_000];
        let members = [gzip(b"one"), gzip(b""), gzip(&long)].concat();
        assert_eq!(Compression::recognise(magic(&members)), Some(Compression::Gzip));
        let expected = [b"one", &long[..]].concat();
        assert_eq!(undone(Compression::Gzip, members, vec![999]), (expected.clone(), None));

        let skipped = [&[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        let frames = [skipped.clone(), zstd(b"one"), skipped, zstd(b""), zstd(&long)].concat();
        assert_eq!(Compression::recognise(magic(&frames)), Some(Compression::Zstd));
        assert_eq!(Compression::recognise(magic(&zstd(b"one"))), Some(Compression::Zstd));
        assert_eq!(undone(Compression::Zstd, frames, vec![1 << 20]), (expected, None));
    }

    #[test]
    fn a_wrong_checksum_is_an_error() {
        let mut bytes = zstd(b"some bytes to compress");
        let last = bytes.len() - 1;
        assert_eq!(bytes[4] & 4, 4, "the frame has a checksum");
        bytes[last] ^= 1;
        let (out, error) = undone(Compression::Zstd, bytes, vec![1 << 20]);
        assert_eq!(out, b"some bytes to compress");
        assert!(error.unwrap().contains("checksum"));
    }

    #[test]
    fn a_cut_frame_gives_all_whole_blocks_before() {
        let noise: Vec<u8> = (0..400_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let mut bytes = zstd(&noise);
        bytes.truncate(bytes.len() - 10);
        let (out, error) = undone(Compression::Zstd, bytes, vec![1 << 20]);
        assert_eq!(out.len(), 3 * (128 << 10));
        assert!(noise.starts_with(&out));
        assert_eq!(error.unwrap(), "the zstd data is cut short");
    }

    #[test]
    fn a_window_over_the_cap_is_an_error() {
        // Frame header descriptor 0, window descriptor for 2^31 bytes.
        let bytes = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 1, 0, 0];
        assert!(undone(Compression::Zstd, bytes, vec![100]).1.is_some());
    }

    proptest! {
        #[test]
        fn cut_or_changed_input_never_panics(
            bytes in prop::collection::vec(any::<u8>(), 1..2000),
            cut in any::<prop::sample::Index>(),
            flip in any::<prop::sample::Index>(),
            value in any::<u8>(),
        ) {
            for (compression, mut packed) in
                [(Compression::Gzip, gzip(&bytes)), (Compression::Zstd, zstd(&bytes))]
            {
                let kept = cut.index(packed.len());
                let (out, error) = undone(compression, packed[..kept].to_vec(), vec![1 << 20]);
                prop_assert!(bytes.starts_with(&out));
                prop_assert!(error.is_some() || kept == 0);
                let at = flip.index(packed.len());
                packed[at] = value;
                undone(compression, packed, vec![1 << 20]);
            }
        }
    }
}
