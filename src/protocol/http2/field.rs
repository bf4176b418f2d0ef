//! Header fields without their text: how long they are, and what they say of their request.

use super::hpack::Refused;
use crate::protocol::authorization::CredentialFields;

/// What a field counts besides its name and value (RFC 7541 section 4.1).
pub const OVERHEAD: usize = 32;

/// A field as a table keeps it: in one number, which is written and read at once.
///
/// From the lowest bits on: 16 of the length of name and value, 16 of that of the name, 12 of the code of a
/// `:status`, 4 of what the name means, 16 of what the field says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Field(u64);

impl Field {
    /// Of what the name means, where the bits of a field have it.
    const NAME: u32 = 44;
    const OTHER: u64 = (Name::Other as u64) << Field::NAME | (Says::REGULAR as u64) << 48;

    /// A name that is spelled out; names are lower case (RFC 9113 section 8.2.1).
    pub fn named(text: &[u8]) -> Result<Field, Refused> {
        let name = Name::of(text);
        // Receivers built on Rust's `http` take a quotation mark too, and what they take is to be read.
        let is_lawful = |byte: &u8| is_token(*byte) && !byte.is_ascii_uppercase() || *byte == b'"';
        if name == Name::Other && (text.is_empty() || !text.iter().all(is_lawful)) {
            return Err(Refused);
        }
        Ok(Field::of(name, text.len(), text.len(), 0, Says::of_name(name)))
    }

    /// A field of the same name. A value that the name does not allow is refused.
    #[inline]
    pub fn with(self, value: &[u8]) -> Result<Field, Refused> {
        match self.name() {
            Name::Other if is_text(value) => {
                let length = told(self.name_length() + value.len());
                Ok(Field(self.0 & 0xffff_0000 | length | Field::OTHER))
            }
            name => self.with_meaning(name, value),
        }
    }

    #[inline(never)]
    fn with_meaning(self, name: Name, value: &[u8]) -> Result<Field, Refused> {
        if !name.allows(value) {
            return Err(Refused);
        }
        let status = match (name, value) {
            (Name::Status, [a, b, c]) => number(*a, *b, *c),
            _ => 0,
        };
        let length = self.name_length() + value.len();
        Ok(Field::of(name, self.name_length(), length, status, Says::of(name, value)))
    }

    /// What is longer than can be told is too long for any table.
    const fn of(name: Name, name_length: usize, length: usize, status: u16, says: Says) -> Field {
        let lengths = told(length) | told(name_length) << 16;
        Field(lengths | (status as u64) << 32 | (name as u64) << Field::NAME | (says.0 as u64) << 48)
    }

    /// What its name means.
    #[inline]
    pub fn name(self) -> Name {
        NAMES[(self.0 >> Field::NAME) as usize & 15]
    }

    /// What it says.
    #[inline]
    pub fn says(self) -> Says {
        Says((self.0 >> 48) as u16)
    }

    /// The code of a `:status`.
    pub fn status(self) -> u16 {
        (self.0 >> 32) as u16 & 0xfff
    }

    #[inline]
    fn name_length(self) -> usize {
        usize::from((self.0 >> 16) as u16)
    }

    /// What it counts. More than any table has room for if it is longer than can be told.
    #[inline]
    pub fn size(self) -> usize {
        usize::from(self.0 as u16) + OVERHEAD
    }
}

const fn told(length: usize) -> u64 {
    if length < 0xffff { length as u64 } else { 0xffff }
}

const fn number(a: u8, b: u8, c: u8) -> u16 {
    (a & 15) as u16 * 100 + (b & 15) as u16 * 10 + (c & 15) as u16
}

/// Names that matter, those of pseudo-header fields first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
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

/// All of them, in their order.
static NAMES: [Name; 16] = [
    Name::Method,
    Name::Scheme,
    Name::Path,
    Name::Authority,
    Name::Protocol,
    Name::Status,
    Name::Host,
    Name::Authorization,
    Name::Cookie,
    Name::ContentType,
    Name::Te,
    Name::Forbidden,
    Name::Other,
    Name::Other,
    Name::Other,
    Name::Other,
];

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

    fn allows(self, value: &[u8]) -> bool {
        match self {
            Name::Method => !value.is_empty() && value.iter().all(|byte| is_token(*byte)),
            Name::Scheme | Name::Path | Name::Authority | Name::Protocol => str::from_utf8(value).is_ok(),
            Name::Status => matches!(value, [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9']),
            _ => is_text(value),
        }
    }
}

/// Whether it has characters of values only (RFC 9110 section 5.5). Looks at all of it, so that the compiler takes
/// many bytes at once.
#[inline]
fn is_text(value: &[u8]) -> bool {
    value.iter().fold(true, |all, byte| all & ((*byte >= b' ') & (*byte != 0x7f) | (*byte == b'\t')))
}

/// Characters of names (RFC 9110 section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// What fields say that anyone asks about, a bit each: what those of a request say is joined in one instruction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Says(u16);

impl Says {
    /// The bits of credentials are the lowest ones; those of pseudo-header fields stand in the order of their names.
    const GRPC: u16 = 1 << 5;
    const MALFORMED: u16 = 1 << 6;
    const REGULAR: u16 = 1 << 7;
    const PSEUDO: u16 = 0x3f << 8;
    const HOST: u16 = 1 << 14;

    fn of(name: Name, value: &[u8]) -> Says {
        let mut credentials = CredentialFields::default();
        let mut says = Says::of_name(name);
        match name {
            Name::Path => credentials.target(value),
            Name::Authorization => credentials.authorization(value),
            Name::Cookie => credentials.cookie(value),
            Name::ContentType if value.starts_with(b"application/grpc") => says.0 |= Says::GRPC,
            Name::Te if value != b"trailers" => says.0 |= Says::MALFORMED,
            _ => {}
        }
        Says(says.0 | u16::from(credentials.bits()))
    }

    const fn of_name(name: Name) -> Says {
        match name {
            Name::Forbidden => Says(Says::REGULAR | Says::MALFORMED),
            Name::Host => Says(Says::REGULAR | Says::HOST),
            _ if (name as u8) < Name::Host as u8 => Says(0x100 << name as u8),
            _ => Says(Says::REGULAR),
        }
    }

    /// Adds what another field says.
    #[inline]
    pub fn join(&mut self, further: Says) {
        self.0 |= further.0;
    }

    /// Whether such a field may stand behind any others and be there again.
    #[inline]
    pub fn is_plain(self) -> bool {
        self.0 & (Says::MALFORMED | Says::PSEUDO) == 0
    }

    /// Whether a field that says this may follow: it is a pseudo-header field, of which each may be there once and
    /// before all others (RFC 9113 section 8.3).
    pub fn allows(self, further: Says) -> bool {
        further.0 & Says::MALFORMED == 0 && self.0 & (Says::REGULAR | further.0) == 0
    }

    /// There is such a field: a pseudo-header field, or the host.
    pub fn has(self, name: Name) -> bool {
        self.0 & Says::of_name(name).0 & (Says::PSEUDO | Says::HOST) != 0
    }

    /// A content type starts `application/grpc`.
    pub fn grpc(self) -> bool {
        self.0 & Says::GRPC != 0
    }

    /// The credentials.
    pub fn credentials(self) -> CredentialFields {
        CredentialFields::from_bits(self.0 as u8)
    }
}

const _: () = assert!(CredentialFields::ALL as u16 & (Says::GRPC | Says::MALFORMED | Says::REGULAR) == 0);

/// The static table (RFC 7541 appendix A), from 1 on.
pub static STATIC: [Field; 62] = {
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
    let mut fields = [Field(0); 62];
    let mut at = 0;
    while at < TEXTS.len() {
        let (text, value) = (TEXTS[at].0.as_bytes(), TEXTS[at].1.as_bytes());
        let name = Name::of(text);
        let status = match value {
            [a, b, c] if matches!(name, Name::Status) => number(*a, *b, *c),
            _ => 0,
        };
        let length = text.len() + value.len();
        fields[at + 1] = Field::of(name, text.len(), length, status, Says::of_name(name));
        at += 1;
    }
    fields
};
