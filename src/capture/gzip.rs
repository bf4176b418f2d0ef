//! gzip (RFC 1952) undone so that damage loses nothing that was decoded before it.

use std::io::{self, BufRead, BufReader, Read};

use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::compression::at_end;

/// Decoded bytes kept at a time: more than the window, which the decoder would keep back at an error.
const DECODED: usize = 64 << 10;
/// Flags of a member's header (section 2.3.1): fields that come between it and the data.
const HEADER_CHECKSUM: u8 = 2;
const EXTRA: u8 = 4;
const NAME: u8 = 8;
const COMMENT: u8 = 16;

/// All members of a gzip file, one after the other.
pub(super) struct Gzip<R> {
    source: BufReader<R>,
    inflate: Decompress,
    checksum: Crc,
    in_member: bool,
    decoded: Vec<u8>,
    /// How many of these were read.
    read: usize,
    /// Given once they all were.
    error: Option<io::Error>,
}

impl<R: Read> Gzip<R> {
    pub(super) fn new(source: BufReader<R>) -> Gzip<R> {
        Gzip {
            source,
            inflate: Decompress::new(false),
            checksum: Crc::new(),
            in_member: false,
            decoded: Vec::with_capacity(DECODED),
            read: 0,
            error: None,
        }
    }

    /// Decodes more; `false` at the end of the file.
    fn decode(&mut self) -> io::Result<bool> {
        (self.read, self.in_member) = (0, self.in_member || self.next_member()?);
        self.decoded.clear();
        if !self.in_member {
            return Ok(false);
        }
        let is_over = at_end(&mut self.source)?;
        let (before, input) = (self.inflate.total_in(), self.source.fill_buf()?);
        let status = self.inflate.decompress_vec(input, &mut self.decoded, FlushDecompress::None);
        let used = self.inflate.total_in() - before;
        self.source.consume(usize::try_from(used).unwrap_or(usize::MAX));
        self.checksum.update(&self.decoded);
        match status {
            Ok(Status::StreamEnd) => {
                self.in_member = false;
                self.error = self.end_member().err();
            }
            Ok(Status::Ok | Status::BufError) if is_over && self.decoded.is_empty() => {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the gzip data is cut short"));
            }
            Ok(Status::Ok | Status::BufError) => {}
            Err(error) => self.error = Some(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
        Ok(true)
    }

    /// Reads the header of the next member; `false` at the end of the file.
    fn next_member(&mut self) -> io::Result<bool> {
        if at_end(&mut self.source)? {
            return Ok(false);
        }
        let [0x1f, 0x8b, 8, flags, ..] = self.take::<10>()? else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no gzip member where one should begin"));
        };
        if flags & EXTRA != 0 {
            let length = u64::from(u16::from_le_bytes(self.take()?));
            io::copy(&mut (&mut self.source).take(length), &mut io::sink())?;
        }
        for text in [NAME, COMMENT] {
            while flags & text != 0 && self.take()? != [0] {}
        }
        if flags & HEADER_CHECKSUM != 0 {
            self.take::<2>()?;
        }
        self.inflate.reset(false);
        self.checksum.reset();
        Ok(true)
    }

    /// Holds the member just read against its checksum and length.
    fn end_member(&mut self) -> io::Result<()> {
        let told = [u32::from_le_bytes(self.take()?), u32::from_le_bytes(self.take()?)];
        if told != [self.checksum.sum(), self.checksum.amount()] {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a gzip member's checksum is wrong"));
        }
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.source.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

impl<R: Read> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let left = self.decoded.get(self.read..).unwrap_or_default();
            if !left.is_empty() {
                let count = left.len().min(buffer.len());
                buffer[..count].copy_from_slice(&left[..count]);
                self.read += count;
                return Ok(count);
            }
            if let Some(error) = self.error.take() {
                return Err(error);
            }
            if !self.decode()? {
                return Ok(0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::compression::tests::gzip;
    use proptest::prelude::*;

    /// What comes out, and why no more does.
    fn undone(bytes: &[u8]) -> (Vec<u8>, Option<io::Error>) {
        let mut out = Vec::new();
        let error = Gzip::new(BufReader::with_capacity(100, bytes)).read_to_end(&mut out).err();
        (out, error)
    }

    /// Bytes that pack badly.
    fn noise(length: u32) -> Vec<u8> {
        (0..length).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
    }

    #[test]
    fn fields_of_the_header_are_passed_over() {
        let mut bytes = gzip(b"packed");
        bytes[3] = EXTRA | NAME | COMMENT | HEADER_CHECKSUM;
        bytes.splice(10..10, *b"\x03\0abcname\0comment\0hc");
        assert!(matches!(undone(&bytes), (out, None) if out == b"packed"));
    }

    #[test]
    fn a_wrong_checksum_or_a_cut_trailer_loses_nothing() {
        let bytes = gzip(&noise(200_000));
        for at in [bytes.len() - 8, bytes.len() - 1] {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1;
            let (out, error) = undone(&wrong);
            assert!(
                out == noise(200_000) && error.is_some_and(|error| error.to_string().contains("checksum"))
            );
            let (out, error) = undone(&bytes[..at]);
            assert!(out == noise(200_000) && error.is_some());
        }
    }

    proptest! {
        #[test]
        fn all_that_was_decoded_before_the_damage_comes_out(
            whole in 1u32..200_000, damaged in 1000u32..100_000, at in any::<prop::sample::Index>(),
        ) {
            let (first, mut second) = (gzip(&noise(whole)), gzip(&noise(damaged)));
            // A block type that is reserved: damage that shows at once.
            let at = 10 + at.index(second.len() - 18);
            second[10] |= 6;
            let (out, error) = undone(&[&first[..], &second].concat());
            prop_assert!(out == noise(whole) && error.is_some());
            // Damage anywhere: what stands before it comes out, but for the code it is in.
            let mut second = gzip(&noise(damaged));
            second.truncate(at);
            let (cut, _) = undone(&second);
            second.extend([0xff; 40_000]);
            let (out, _) = undone(&second);
            prop_assert!(out.starts_with(&cut), "{} of {}", out.len(), cut.len());
        }
    }
}
