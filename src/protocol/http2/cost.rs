//! What reading HTTP/2 costs, in units of about a nanosecond, as an [`Allowance`](crate::packet::Allowance) counts.
//! Each is what the worst of its kind takes, so that nobody gets more work done than was paid for.

use super::field::Name;
use super::hpack::Refused;

/// A frame, whatever it is, or a piece of one.
pub const FRAME: usize = 6;

/// A header block.
pub const BLOCK: usize = 20;

/// A piece of a block that has to be put together.
pub const PIECE: usize = 60;

/// A field that is in a table, and one whose index takes more than a byte.
pub const INDEXED: usize = 3;
pub const INDEXED_FAR: usize = 11;

/// A change of the table's size.
pub const RESIZE: usize = 10;

/// A field that is spelled out, besides its text.
pub const LITERAL: usize = 20;

/// Text in the Huffman code, and each byte of it.
const CODED: usize = 16;
const CODED_BYTE: usize = 3;

/// Text in the Huffman code, of so many bytes.
pub fn coded(length: usize) -> usize {
    CODED + CODED_BYTE * length
}

/// A name of so many bytes that is spelled out.
pub fn name(length: usize) -> usize {
    2 * length
}

/// A value of so many bytes, as thoroughly as those of this name are looked at.
pub fn value(name: Name, length: usize) -> usize {
    match name {
        Name::Method | Name::Path | Name::Cookie => 4 * length,
        Name::Other => length / 8,
        _ => length,
    }
}

/// What may still be spent.
#[derive(Debug)]
pub struct Left {
    units: u64,
    is_overdrawn: bool,
}

impl Left {
    /// So many units.
    pub fn new(units: u64) -> Left {
        Left { units, is_overdrawn: false }
    }

    /// Pays for what is done next; what cannot be paid for is not to be done, and leaves what there is to others.
    #[inline]
    pub fn pay(&mut self, units: usize) -> Result<(), Refused> {
        match self.units.checked_sub(units as u64) {
            Some(left) => {
                self.units = left;
                Ok(())
            }
            None => {
                self.is_overdrawn = true;
                Err(Refused)
            }
        }
    }

    /// How many are left.
    pub fn units(&self) -> u64 {
        self.units
    }

    /// Once it was not enough.
    pub fn is_overdrawn(&self) -> bool {
        self.is_overdrawn
    }
}
