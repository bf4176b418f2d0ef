//! Header blocks (RFC 7541), of which no text is kept: a table remembers of each field how long it is and what
//! it says of its request. So a table costs little, however full, and so does a field that names an entry.

use super::BLOCK_CAP;
use super::cost::{self, Left};
use super::field::{Field, Name, OVERHEAD, STATIC, Says};
use super::huffman;
use crate::protocol::NAME_CAP;
use crate::protocol::authorization::Credentials;

/// The largest dynamic table a sender may ask for, in bytes as RFC 7541 section 4.1 counts them.
///
/// What the receiver's SETTINGS_HEADER_TABLE_SIZE allowed is not enforced, so that a lost or late SETTINGS
/// does not matter: the sender says in its own header blocks which size it uses (RFC 7541 section 6.3).
const TABLE_CAP: usize = 64 * 1024;

/// How large a table is before its sender says so (RFC 9113 section 6.5.2).
const TABLE_DEFAULT: usize = 4096;

/// Fields of one block, counted as in a table, beyond which its direction is read no more.
const LIST_CAP: usize = 4 * BLOCK_CAP;

/// The block does not follow the rules, or costs too much. The table may be out of step with the sender's: no later
/// block is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// What is read of one header block.
#[derive(Debug, Default)]
pub struct Head {
    /// What its fields count and say.
    size: usize,
    says: Says,
    /// `:status`.
    pub status: Option<u16>,
    authority: Option<Vec<u8>>,
    host: Option<Vec<u8>>,
}

impl Head {
    /// It has a `:method`.
    pub fn method(&self) -> bool {
        self.says.has(Name::Method)
    }

    /// Its content type starts `application/grpc`.
    pub fn grpc(&self) -> bool {
        self.says.grpc()
    }

    /// Its credentials.
    pub fn credentials(&self) -> Credentials {
        self.says.credentials().credentials()
    }

    /// `:authority`, or else `host`, at most [`NAME_CAP`] bytes; if it was asked for, and is spelled out in this block.
    pub fn authority(&self) -> Option<&[u8]> {
        if self.says.has(Name::Authority) { self.authority.as_deref() } else { self.host.as_deref() }
    }

    /// It is longer than what is read.
    pub fn over_cap(&self) -> bool {
        self.size >= BLOCK_CAP
    }

    /// Keeps the name that the request is for.
    fn keep(&mut self, name: Name, value: &[u8]) {
        let place = match name {
            Name::Authority => &mut self.authority,
            Name::Host => &mut self.host,
            _ => return,
        };
        *place = Some(value.get(..NAME_CAP).unwrap_or(value).to_vec());
    }
}

/// The dynamic table of one direction.
#[derive(Debug)]
pub struct Table {
    /// The fields, in a ring of a power of two.
    ring: Vec<Field>,
    /// How many fields came and went so far: where in the ring the next one goes, and the oldest one is.
    next: usize,
    oldest: usize,
    /// What they count, and may count at most.
    size: usize,
    most: usize,
}

impl Table {
    /// An empty one.
    pub fn new() -> Table {
        Table { ring: ring(TABLE_DEFAULT), next: 0, oldest: 0, size: 0, most: TABLE_DEFAULT }
    }

    /// Bytes on the heap.
    pub fn held(&self) -> usize {
        self.ring.capacity() * size_of::<Field>()
    }

    /// Reads a whole header block; `wants_authority` to keep what the request is for.
    pub fn block(&mut self, block: &[u8], wants_authority: bool, left: &mut Left) -> Result<Head, Refused> {
        left.pay(cost::BLOCK)?;
        let mut reader = self.resize(Reader { bytes: block, at: 0 }, left)?;
        // What every field changes is kept in registers.
        let (mut size, mut says, mut head, mut scratch) = (0, Says::default(), Head::default(), Vec::new());
        while let Some(first) = reader.peek() {
            let field = if first & 0x80 != 0 {
                left.pay(if first == 0xff { cost::INDEXED_FAR } else { cost::INDEXED })?;
                self.get(reader.integer(0x7f)?)?
            } else {
                left.pay(cost::LITERAL)?;
                let (is_kept, prefix) = match first >> 5 {
                    2 | 3 => (true, 0x3f),
                    0 => (false, 0x0f),
                    // A table is resized at a block's start only.
                    _ => return Err(Refused),
                };
                let named = match reader.integer(prefix)? {
                    0 => {
                        let name = reader.string(&mut scratch, left)?;
                        left.pay(cost::name(name.len()))?;
                        Field::named(name)?
                    }
                    index => self.get(index)?,
                };
                let value = reader.string(&mut scratch, left)?;
                left.pay(cost::value(named.name(), value.len()))?;
                let field = named.with(value)?;
                // Only the first: a second one may be there to be read in the place of one that the table has.
                if wants_authority && !says.has(field.name()) {
                    head.keep(field.name(), value);
                }
                if is_kept {
                    self.insert(field);
                }
                field
            };
            if !field.says().is_plain() {
                if !says.allows(field.says()) {
                    return Err(Refused);
                }
                if field.name() == Name::Status {
                    head.status = Some(field.status());
                }
            }
            size += field.size();
            says.join(field.says());
        }
        (head.size, head.says) = (size, says);
        if size > LIST_CAP { Err(Refused) } else { Ok(head) }
    }

    /// Follows what a block's start says of its table's size (RFC 7541 section 6.3).
    fn resize<'b>(&mut self, mut reader: Reader<'b>, left: &mut Left) -> Result<Reader<'b>, Refused> {
        while reader.peek().is_some_and(|first| first & 0xe0 == 0x20) {
            left.pay(cost::RESIZE)?;
            let most = reader.integer(0x1f)?;
            if most > TABLE_CAP {
                return Err(Refused);
            }
            self.most = most;
            self.shrink(most);
            if self.ring.len() < ring_length(most) {
                left.pay(ring_length(most))?;
                // The oldest first, as many as there are.
                let oldest = self.place(self.oldest);
                self.ring.rotate_left(oldest);
                (self.oldest, self.next) = (0, self.next - self.oldest);
                self.ring.resize(ring_length(most), Field::default());
            }
        }
        Ok(reader)
    }

    #[inline]
    fn get(&self, index: usize) -> Result<Field, Refused> {
        let found = match index.checked_sub(STATIC.len()) {
            Some(back) if back < self.next - self.oldest => self.ring.get(self.place(self.next - 1 - back)),
            None if index != 0 => STATIC.get(index),
            _ => None,
        };
        found.copied().ok_or(Refused)
    }

    #[inline]
    fn place(&self, number: usize) -> usize {
        number & self.ring.len().wrapping_sub(1)
    }

    /// Makes room, and a field the newest entry if there is room at all.
    #[inline]
    fn insert(&mut self, field: Field) {
        let size = field.size();
        self.shrink(self.most.saturating_sub(size));
        let place = self.place(self.next);
        if let Some(entry) = self.ring.get_mut(place).filter(|_| size <= self.most) {
            *entry = field;
            self.next += 1;
            self.size += size;
        }
    }

    /// Drops the oldest entries until what is left counts no more than `most`.
    #[inline]
    fn shrink(&mut self, most: usize) {
        while self.size > most {
            let oldest = self.ring.get(self.place(self.oldest));
            self.size -= oldest.map_or(0, |field| field.size());
            self.oldest += 1;
        }
    }
}

/// Room for the fields of a table of so many bytes.
fn ring(most: usize) -> Vec<Field> {
    vec![Field::default(); ring_length(most)]
}

fn ring_length(most: usize) -> usize {
    (most / OVERHEAD).next_power_of_two()
}

/// A header block and how far it was read. What is seldom gets a copy, so that this may stay in registers.
#[derive(Clone, Copy)]
struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Reader<'b> {
    #[inline]
    fn peek(self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// An integer, which begins in the bits of a byte that `prefix` has (RFC 7541 section 5.1).
    #[inline]
    fn integer(&mut self, prefix: u8) -> Result<usize, Refused> {
        let value = self.peek().ok_or(Refused)? & prefix;
        self.at += 1;
        if value < prefix {
            return Ok(usize::from(value));
        }
        let (value, reader) = self.further(prefix)?;
        *self = reader;
        Ok(value)
    }

    #[inline(never)]
    fn further(mut self, prefix: u8) -> Result<(usize, Reader<'b>), Refused> {
        let mut value = usize::from(prefix);
        for shift in [0, 7, 14, 21] {
            let byte = self.peek().ok_or(Refused)?;
            self.at += 1;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value, self));
            }
        }
        Err(Refused)
    }

    /// A string, written out in `scratch` if it is coded (RFC 7541 section 5.2).
    #[inline]
    fn string<'s>(&mut self, scratch: &'s mut Vec<u8>, left: &mut Left) -> Result<&'s [u8], Refused>
    where
        'b: 's,
    {
        let is_coded = self.peek().ok_or(Refused)? & 0x80 != 0;
        let length = self.integer(0x7f)?;
        let text = self.bytes.get(self.at..self.at + length).ok_or(Refused)?;
        self.at += length;
        if !is_coded {
            return Ok(text);
        }
        left.pay(cost::coded(length))?;
        huffman::decode(text, scratch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of one direction, the last of which is told.
    fn last(blocks: &[&[u8]]) -> Result<Head, Refused> {
        let mut table = Table::new();
        blocks.iter().try_fold(Head::default(), |_, block| table.block(block, true, &mut Left::new(u64::MAX)))
    }

    #[test]
    fn examples_of_the_standard() {
        // RFC 7541 appendix C.3 and C.4: three requests, the host in the table from the first on.
        let plain: [&[u8]; 3] = [
            b"\x82\x86\x84\x41\x0fwww.example.com",
            b"\x82\x86\x84\xbe\x58\x08no-cache",
            b"\x82\x87\x85\xbf\x40\x0acustom-key\x0ccustom-value",
        ];
        let coded: [&[u8]; 3] = [
            b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
            b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf",
            b"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf",
        ];
        for blocks in [plain, coded] {
            assert_eq!(last(&blocks[..1]).unwrap().authority(), Some(&b"www.example.com"[..]));
            let mut table = Table::new();
            let sizes = blocks.map(|block| {
                table.block(block, false, &mut Left::new(u64::MAX)).map(|head| (head.method(), table.size))
            });
            assert_eq!(sizes, [Ok((true, 57)), Ok((true, 110)), Ok((true, 164))]);
        }
    }

    #[test]
    fn what_the_table_says_again_counts_again() {
        let bearer: &[u8] = b"\x82\x84\x86\x57\x08Bearer x";
        for (again, expected) in
            [(&b"\x82\x84\x86\xbe"[..], Credentials::Bearer), (b"\x82\x84\x86", Credentials::None)]
        {
            assert_eq!(last(&[bearer, again]).unwrap().credentials(), expected);
        }
        // Too large for the table, which it empties (RFC 7541 section 4.4).
        let large = [&b"\x82\x84\x86\x57\x7f\xe1\x1fBasic "[..], &[b'x'; 4186]].concat();
        assert_eq!(last(&[bearer, &large]).unwrap().credentials(), Credentials::Basic);
        assert!(last(&[bearer, &large, b"\xbe"]).is_err());
        assert!(last(&[bearer, b"\x20\x82\xbe"]).is_err(), "a table of no size is empty");
        assert!(last(&[b"\x3f\xe1\xff\x03\x82"]).is_ok() && last(&[b"\x3f\xe2\xff\x03\x82"]).is_err());
    }

    #[test]
    fn of_two_hosts_the_first_is_the_one_also_where_its_text_is_not_kept() {
        let first: &[u8] = b"\x82\x84\x86\x66\x01a";
        assert_eq!(last(&[first]).unwrap().authority(), Some(&b"a"[..]));
        assert_eq!(last(&[&[first, b"\x66\x01b"].concat()]).unwrap().authority(), Some(&b"a"[..]));
        for again in [&b"\x82\x84\x86\xbe\x66\x01b"[..], b"\x82\x84\x86\xa6\x66\x01b"] {
            assert_eq!(last(&[first, again]).unwrap().authority(), None, "{again:?}");
        }
    }

    #[test]
    fn what_breaks_the_rules_is_refused() {
        for block in [
            &b"\x80"[..],                // an index of nothing
            b"\xff\xff\xff\xff\xff\x0f", // an index beyond what there may be
            b"\x82\x20",                 // a table resized behind a field
            b"\x82\x83",                 // two methods
            b"\x00\x01a\x01b\x82",       // a method behind other fields
            b"\x00\x01A\x01b",           // upper case
            b"\x00\x00\x01b",            // no name
            b"\x00\x02:a\x01b",          // a pseudo-header field that there is not
            b"\x00\x01a\x02b",           // cut
            b"\x00\x01a\x02b\n",         // a line's end in a value
            b"\x08\x03abc",              // no status
            b"\x00\x0aconnection\x01x",
            b"\x00\x02te\x04gzip",
        ] {
            assert!(last(&[block]).is_err(), "{block:?}");
        }
        assert!(last(&[b"\x00\x02te\x08trailers"]).is_ok() && last(&[b"\x00\x01\"\x01b"]).is_ok());
    }

    #[test]
    fn a_full_table_takes_eight_bytes_an_entry_and_keeps_them_when_it_grows() {
        let mut table = Table::new();
        let newest = [0x7e, 1, b'x'].repeat(30);
        let fill = |begun: &[u8], table: &mut Table| {
            let block = [begun, &newest].concat();
            table.block(&block, false, &mut Left::new(u64::MAX)).map(|_| table.next - table.oldest)
        };
        assert_eq!(fill(b"\x40\x01a\x00", &mut table), Ok(31));
        for count in [61, 91] {
            assert_eq!(fill(b"", &mut table), Ok(count));
        }
        assert_eq!(table.held(), TABLE_DEFAULT / 32 * 8);
        assert_eq!(fill(b"\x3f\xe1\xff\x03", &mut table), Ok(121));
        // The oldest is still the one without a value.
        assert_eq!(table.get(62 + 120).map(Field::size), Ok(33));
        assert_eq!(table.size, 33 + 120 * 34);
        for _ in 0..100 {
            assert!(fill(b"", &mut table).is_ok());
        }
        assert_eq!(table.next - table.oldest, TABLE_CAP / 34);
        assert_eq!(table.held(), TABLE_CAP / 32 * 8);
    }

    #[test]
    fn what_cannot_be_paid_for_is_refused() {
        let block = [&b"\x82\x84\x86\x0f\x0a\x86\xa8\xeb\x10\x64\x9c\xbf"[..], &[0x90; 9]].concat();
        let read = |units: u64| {
            let mut left = Left::new(units);
            let head = Table::new().block(&block, false, &mut left);
            (head.is_ok(), left.is_overdrawn())
        };
        let most = (0..1000).find(|units| read(*units).0).expect("it does not cost more");
        assert_eq!((read(most), read(most - 1), read(0)), ((true, false), (false, true), (false, true)));
    }
}
