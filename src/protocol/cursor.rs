//! A checked big-endian cursor: every read is bounded, none can panic.

/// Reads integers and length-prefixed vectors off the front of a byte slice.
///
/// Every method returns `None`, and moves nothing, when fewer bytes are left than it needs.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// Starts at the first of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { rest: bytes }
    }

    /// The bytes not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*taken)
    }

    /// The next byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Two bytes, big endian.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// Three bytes, big endian.
    pub fn u24(&mut self) -> Option<u32> {
        self.array().map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    /// Four bytes, big endian.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// A vector whose length in bytes stands before it in one byte.
    pub fn vector8(&mut self) -> Option<&'a [u8]> {
        self.vector(|cursor| cursor.u8().map(usize::from))
    }

    /// A vector whose length in bytes stands before it in two bytes.
    pub fn vector16(&mut self) -> Option<&'a [u8]> {
        self.vector(|cursor| cursor.u16().map(usize::from))
    }

    /// A vector whose length in bytes stands before it in three bytes.
    pub fn vector24(&mut self) -> Option<&'a [u8]> {
        self.vector(|cursor| cursor.u24().and_then(|length| usize::try_from(length).ok()))
    }

    fn vector(&mut self, length: impl FnOnce(&mut Self) -> Option<usize>) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let count = length(&mut ahead)?;
        let taken = ahead.take(count)?;
        *self = ahead;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integers_are_big_endian() {
        let mut cursor = Cursor::new(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(cursor.u8(), Some(1));
        assert_eq!(cursor.u16(), Some(0x0203));
        assert_eq!(cursor.u24(), Some(0x04_0506));
        assert_eq!(cursor.u32(), Some(0x0708_090a));
        assert!(cursor.is_empty());
        assert_eq!(cursor.u8(), None);
    }

    #[test]
    fn a_read_that_fails_moves_nothing() {
        let mut cursor = Cursor::new(&[0, 3, 9, 9]);
        assert_eq!(cursor.vector16(), None);
        assert_eq!(cursor.u32(), Some(0x0003_0909));
    }

    proptest! {
        #[test]
        fn vectors_lie_inside_the_input(bytes in proptest::collection::vec(any::<u8>(), 0..64), width in 1usize..4) {
            let mut cursor = Cursor::new(&bytes);
            let vector = match width {
                1 => cursor.vector8(),
                2 => cursor.vector16(),
                _ => cursor.vector24(),
            };
            let read = bytes.len() - cursor.rest().len();
            match vector {
                Some(vector) => prop_assert_eq!(read, width + vector.len()),
                None => prop_assert_eq!(read, 0),
            }
        }
    }
}
