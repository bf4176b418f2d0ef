//! Header blocks (RFC 7541), of which no text is kept: a table remembers of each field how long it is and what
//! it says of its request. So a table costs little, however full, and so does a field that names an entry.

use std::collections::VecDeque;

use super::BLOCK_CAP;
use super::huffman;
use crate::protocol::NAME_CAP;
use crate::protocol::authorization::{CredentialFields, Credentials};

/// The largest dynamic table a sender may ask for, in bytes as RFC 7541 section 4.1 counts them.
///
/// What the receiver's SETTINGS_HEADER_TABLE_SIZE allowed is not enforced, so that a lost or late SETTINGS
/// does not matter: the sender says in its own header blocks which size it uses (RFC 7541 section 6.3).
const TABLE_CAP: usize = 64 * 1024;

/// How large a table is before its sender says so (RFC 9113 section 6.5.2).
const TABLE_DEFAULT: usize = 4096;

/// What a field counts besides its name and value (RFC 7541 section 4.1).
const FIELD: usize = 32;

/// Fields of one block, counted like this, beyond which its direction is read no more.
const LIST_CAP: usize = 4 * BLOCK_CAP;

/// The block does not follow the rules. The table may be out of step with the sender's: no later block is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// The dynamic table of one direction.
#[derive(Debug)]
pub struct Table {
    /// The newest is the first.
    entries: VecDeque<Field>,
    size: usize,
    most: usize,
}

/// What is read of one header block.
#[derive(Debug, Default)]
pub struct Head {
    /// It has a `:method`.
    pub method: bool,
    /// `:status`.
    pub status: Option<u16>,
    /// Its content type starts `application/grpc`.
    pub grpc: bool,
    credentials: CredentialFields,
    authority: Option<Vec<u8>>,
    host: Option<Vec<u8>>,
    /// Its fields, as [`FIELD`] counts them.
    size: usize,
    /// Pseudo-header fields that were there, a bit each.
    pseudo: u8,
    /// Other fields were there.
    regular: bool,
}

impl Head {
    /// `:authority`, or else `host`, at most [`NAME_CAP`] bytes; if it was asked for, and is in this block.
    pub fn authority(&self) -> Option<&[u8]> {
        self.authority.as_deref().or(self.host.as_deref())
    }

    /// The credentials.
    pub fn credentials(&self) -> Credentials {
        self.credentials.credentials()
    }

    /// It is longer than what is read.
    pub fn over_cap(&self) -> bool {
        self.size > BLOCK_CAP
    }

    /// Takes a field in. What breaks the rules of RFC 9113 section 8.2 and 8.3 is refused.
    fn add(&mut self, field: &Field) -> Result<(), Refused> {
        self.size += field.size();
        if let Some(bit) = field.name.pseudo() {
            if self.regular || self.pseudo & bit != 0 {
                return Err(Refused);
            }
            self.pseudo |= bit;
            self.method |= field.name == Name::Method;
        } else {
            self.regular = true;
        }
        match field.says {
            Says::Nothing => {}
            Says::Status(status) => self.status = Some(status),
            Says::Credentials(credentials) => self.credentials.join(credentials),
            Says::Grpc => self.grpc = true,
            Says::Malformed => return Err(Refused),
        }
        if self.size > LIST_CAP { Err(Refused) } else { Ok(()) }
    }

    /// Keeps the name that the request is for.
    fn keep(&mut self, name: Name, value: &[u8]) {
        let place = match name {
            Name::Authority => &mut self.authority,
            Name::Host => &mut self.host,
            _ => return,
        };
        place.get_or_insert_with(|| value.get(..NAME_CAP).unwrap_or(value).to_vec());
    }
}

/// Names that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Method,
    Scheme,
    Path,
    Authority,
    Protocol,
    Status,
    Host,
    Authorization,
    Cookie,
    ContentType,
    Te,
    /// A field of the connection, which HTTP/2 forbids.
    Forbidden,
    Other,
}

impl Name {
    const fn of(name: &[u8]) -> Name {
        match name {
            b":method" => Name::Method,
            b":scheme" => Name::Scheme,
            b":path" => Name::Path,
            b":authority" => Name::Authority,
            b":protocol" => Name::Protocol,
            b":status" => Name::Status,
            b"host" => Name::Host,
            b"authorization" => Name::Authorization,
            b"cookie" => Name::Cookie,
            b"content-type" => Name::ContentType,
            b"te" => Name::Te,
            b"connection" | b"transfer-encoding" | b"upgrade" | b"keep-alive" | b"proxy-connection" => {
                Name::Forbidden
            }
            _ => Name::Other,
        }
    }

    /// The bit of a pseudo-header field.
    fn pseudo(self) -> Option<u8> {
        matches!(
            self,
            Name::Method | Name::Scheme | Name::Path | Name::Authority | Name::Protocol | Name::Status
        )
        .then(|| 1 << self as u8)
    }
}

/// What a field says that anyone asks about.
#[derive(Clone, Copy, Debug)]
enum Says {
    Nothing,
    Status(u16),
    Credentials(CredentialFields),
    Grpc,
    Malformed,
}

impl Says {
    fn of(name: Name, value: &[u8]) -> Result<Says, Refused> {
        let is_lawful = match name {
            Name::Method => !value.is_empty() && value.iter().all(|byte| is_token(*byte)),
            Name::Scheme | Name::Path | Name::Authority | Name::Protocol => str::from_utf8(value).is_ok(),
            Name::Status => matches!(value, [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9']),
            _ => value.iter().all(|byte| *byte >= b' ' && *byte != 0x7f || *byte == b'\t'),
        };
        if !is_lawful {
            return Err(Refused);
        }
        let mut credentials = CredentialFields::default();
        Ok(match name {
            Name::Status => Says::Status(value.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit & 15))),
            Name::Path => {
                credentials.target(value);
                Says::Credentials(credentials)
            }
            Name::Authorization => {
                credentials.field(b"authorization", value);
                Says::Credentials(credentials)
            }
            Name::Cookie => {
                credentials.field(b"cookie", value);
                Says::Credentials(credentials)
            }
            Name::ContentType if value.starts_with(b"application/grpc") => Says::Grpc,
            Name::Te if value != b"trailers" => Says::Malformed,
            Name::Forbidden => Says::Malformed,
            _ => Says::Nothing,
        })
    }
}

/// A field, without its text.
#[derive(Clone, Copy, Debug)]
struct Field {
    /// Bytes of its name, and of its value; what is longer than can be told fits into no table.
    lengths: [u16; 2],
    name: Name,
    says: Says,
}

impl Field {
    fn size(&self) -> usize {
        self.lengths.iter().map(|length| usize::from(*length)).sum::<usize>() + FIELD
    }
}

impl Table {
    /// An empty one.
    pub fn new() -> Table {
        Table { entries: VecDeque::new(), size: 0, most: TABLE_DEFAULT }
    }

    /// Bytes on the heap.
    pub fn held(&self) -> usize {
        self.entries.capacity() * size_of::<Field>()
    }

    /// Reads a whole header block; `wants_authority` to keep what the request is for.
    pub fn block(&mut self, block: &[u8], wants_authority: bool) -> Result<Head, Refused> {
        let (mut rest, mut scratch) = (block, Vec::new());
        let (mut head, mut may_resize) = (Head::default(), true);
        while let Some(first) = rest.first() {
            if first & 0xe0 == 0x20 {
                let most = integer(&mut rest, 5)?;
                if !may_resize || most > TABLE_CAP {
                    return Err(Refused);
                }
                self.most = most;
                self.shrink(most);
                continue;
            }
            may_resize = false;
            if first & 0x80 != 0 {
                let index = integer(&mut rest, 7)?;
                head.add(&self.get(index)?)?;
                continue;
            }
            let is_kept = first & 0x40 != 0;
            let (name, length) = match integer(&mut rest, if is_kept { 6 } else { 4 })? {
                0 => name(string(&mut rest, &mut scratch)?)?,
                index => self.get(index).map(|field| (field.name, field.lengths[0]))?,
            };
            let value = string(&mut rest, &mut scratch)?;
            let field = Field { lengths: [length, told(value)], name, says: Says::of(name, value)? };
            if wants_authority {
                head.keep(name, value);
            }
            if is_kept {
                self.insert(field);
            }
            head.add(&field)?;
        }
        Ok(head)
    }

    fn get(&self, index: usize) -> Result<Field, Refused> {
        let found = match index.checked_sub(STATIC.len() + 1) {
            Some(at) => self.entries.get(at),
            None => STATIC.get(index.wrapping_sub(1)),
        };
        found.copied().ok_or(Refused)
    }

    /// Makes room, and a field the newest entry if there is room at all.
    fn insert(&mut self, field: Field) {
        let size = field.size();
        self.shrink(self.most.saturating_sub(size));
        if size <= self.most {
            self.size += size;
            self.entries.push_front(field);
        }
    }

    /// Drops the oldest entries until what is left counts no more than `most`.
    fn shrink(&mut self, most: usize) {
        while self.size > most {
            let Some(oldest) = self.entries.pop_back() else { break };
            self.size -= oldest.size();
        }
    }
}

/// An integer, the first bits of which are so many of a byte (RFC 7541 section 5.1).
fn integer(bytes: &mut &[u8], prefix: u32) -> Result<usize, Refused> {
    let most = (1 << prefix) - 1;
    let mut value = next(bytes)? & most;
    if value < most {
        return Ok(value);
    }
    for shift in [0, 7, 14, 21] {
        let byte = next(bytes)?;
        value += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Refused)
}

fn next(bytes: &mut &[u8]) -> Result<usize, Refused> {
    let (first, rest) = bytes.split_first().ok_or(Refused)?;
    *bytes = rest;
    Ok(usize::from(*first))
}

/// A string, written out in `scratch` if it is coded (RFC 7541 section 5.2).
fn string<'s, 'b: 's>(bytes: &mut &'b [u8], scratch: &'s mut Vec<u8>) -> Result<&'s [u8], Refused> {
    let is_coded = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer(bytes, 7)?;
    let (text, rest) = bytes.split_at_checked(length).ok_or(Refused)?;
    *bytes = rest;
    if !is_coded {
        return Ok(text);
    }
    scratch.clear();
    huffman::decode(text, scratch)?;
    Ok(scratch)
}

/// What a name means, and its length; names are lower case (RFC 9113 section 8.2.1).
fn name(text: &[u8]) -> Result<(Name, u16), Refused> {
    let name = Name::of(text);
    let is_lawful = |byte: &u8| is_token(*byte) && !byte.is_ascii_uppercase();
    if name == Name::Other && (text.is_empty() || !text.iter().all(is_lawful)) {
        return Err(Refused);
    }
    Ok((name, told(text)))
}

/// How long a text is, as a [`Field`] tells it.
fn told(text: &[u8]) -> u16 {
    u16::try_from(text.len()).unwrap_or(u16::MAX)
}

/// Characters of names (RFC 9110 section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The static table (RFC 7541 appendix A).
static STATIC: [Field; 61] = {
    #[rustfmt::skip]
    const TEXTS: [(&str, &str); 61] = [
        (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
        (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
        (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
        ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
        ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""),
        ("cache-control", ""), ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""),
        ("content-length", ""), ("content-location", ""), ("content-range", ""), ("content-type", ""),
        ("cookie", ""), ("date", ""), ("etag", ""), ("expect", ""), ("expires", ""), ("from", ""), ("host", ""),
        ("if-match", ""), ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""),
        ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""), ("location", ""), ("max-forwards", ""),
        ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""), ("referer", ""), ("refresh", ""),
        ("retry-after", ""), ("server", ""), ("set-cookie", ""), ("strict-transport-security", ""),
        ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""), ("www-authenticate", ""),
    ];
    let mut fields = [Field { lengths: [0; 2], name: Name::Other, says: Says::Nothing }; 61];
    let mut at = 0;
    while at < fields.len() {
        let (name, value) = (TEXTS[at].0.as_bytes(), TEXTS[at].1.as_bytes());
        let meaning = Name::of(name);
        let says = match (meaning, value) {
            (Name::Status, [a, b, c]) => {
                Says::Status((*a & 15) as u16 * 100 + (*b & 15) as u16 * 10 + (*c & 15) as u16)
            }
            (Name::Forbidden, _) => Says::Malformed,
            _ => Says::Nothing,
        };
        fields[at] = Field { lengths: [name.len() as u16, value.len() as u16], name: meaning, says };
        at += 1;
    }
    fields
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of one direction, the last of which is told.
    fn last(blocks: &[&[u8]]) -> Result<Head, Refused> {
        let mut table = Table::new();
        blocks.iter().try_fold(Head::default(), |_, block| table.block(block, true))
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
            let sizes = blocks.map(|block| table.block(block, false).map(|head| (head.method, table.size)));
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
        assert!(last(&[b"\x00\x02te\x08trailers"]).is_ok());
    }

    #[test]
    fn a_full_table_takes_what_held_says_and_no_more_than_a_few_bytes_an_entry() {
        let mut table = Table::new();
        let block = [&b"\x3f\xe1\xff\x03\x40\x01a\x00"[..], &[0x7e, 1, b'x'].repeat(5000)].concat();
        assert!(table.block(&block, false).is_ok());
        assert_eq!(table.entries.len(), TABLE_CAP / 34);
        assert!(table.held() <= 24 * 1024, "{}", table.held());
    }
}
