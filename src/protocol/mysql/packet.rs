//! The packets of MySQL's connection phase: what of them matters here, never what a secret holds.
//!
//! Integers are little endian (dev.mysql.com, "Protocol Basics").

use crate::protocol::cursor::Cursor;

/// Length in three bytes and the sequence number.
pub const HEADER: usize = 4;
/// The longest greeting believed, in bytes.
pub const GREETING_CAP: usize = 1024;
/// How much of a client's first packet is read: connection attributes at its end do not matter.
pub const OPENING_CAP: usize = 2048;
/// The longest name of an authentication plugin kept, in bytes.
pub const PLUGIN_CAP: usize = 64;

/// Capability flags (dev.mysql.com, "Capabilities Flags").
const CONNECT_WITH_DB: u32 = 1 << 3;
const PROTOCOL_41: u32 = 1 << 9;
const SSL: u32 = 1 << 11;
const SECURE_CONNECTION: u32 = 1 << 15;
const PLUGIN_AUTH: u32 = 1 << 19;
const PLUGIN_AUTH_LENENC: u32 = 1 << 21;

/// One packet, as far as it was lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The body's length in bytes.
    pub length: usize,
    /// Its number within the phase or command.
    pub sequence: u8,
    /// As much of the body as there is, at most `length` bytes.
    pub body: &'a [u8],
}

/// Reads the header of a packet; `None` if it is not all there.
pub fn packet(bytes: &[u8]) -> Option<Packet<'_>> {
    let ([a, b, c, sequence], rest) = bytes.split_first_chunk()?;
    let length = usize::from(*a) | usize::from(*b) << 8 | usize::from(*c) << 16;
    Some(Packet { length, sequence: *sequence, body: rest.get(..length).unwrap_or(rest) })
}

/// Why a packet cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// What matters of it is not all there.
    Short,
    /// It breaks a rule.
    Malformed,
}

/// A server's first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting<'a> {
    /// Handshake V10.
    Server {
        /// The server's version.
        version: &'a [u8],
        /// It offers TLS.
        tls: bool,
        /// Its authentication plugin, if it names one.
        plugin: Option<&'a [u8]>,
    },
    /// An error instead: its code.
    Error(u16),
}

/// Reads a server's first packet.
pub fn greeting<'a>(packet: &Packet<'a>) -> Result<Greeting<'a>, Fault> {
    let long_enough = match packet.body.first() {
        Some(0x0a) => (GREETING_LEAST..=GREETING_CAP).contains(&packet.length),
        Some(0xff) => (4..=GREETING_CAP).contains(&packet.length),
        Some(_) => false,
        None => packet.length <= GREETING_CAP,
    };
    if packet.sequence != 0 || !long_enough {
        return Err(Fault::Malformed);
    }
    if packet.body.len() < packet.length {
        return Err(Fault::Short);
    }
    let read = match packet.body.split_first() {
        Some((0x0a, rest)) => handshake_v10(rest),
        Some((_, rest)) => error_greeting(rest).map(Greeting::Error),
        None => None,
    };
    read.ok_or(Fault::Malformed)
}

/// A client's first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening<'a> {
    /// SSLRequest: TLS follows.
    Tls,
    /// HandshakeResponse.
    Login {
        /// It names a user.
        user: bool,
        /// It carries an authentication response.
        secret: bool,
        /// The authentication plugin, if it names one.
        plugin: Option<&'a [u8]>,
    },
}

/// Reads a client's first packet: the first after the greeting, or the second, inside TLS.
pub fn opening<'a>(packet: &Packet<'a>) -> Result<Opening<'a>, Fault> {
    if !matches!(packet.sequence, 1 | 2) || packet.length < 5 || packet.length > usize::from(u16::MAX) {
        return Err(Fault::Malformed);
    }
    if packet.body.len() < packet.length.min(OPENING_CAP) {
        return Err(Fault::Short);
    }
    let mut cursor = Cursor::new(packet.body);
    let low = cursor.array().map_or(0, u16::from_le_bytes);
    if u32::from(low) & PROTOCOL_41 == 0 {
        return opening_320(u32::from(low), packet.length, cursor).ok_or(Fault::Malformed);
    }
    opening_41(low, packet.length, cursor).ok_or(Fault::Malformed)
}

/// Whether a client's first packet is beyond doubt one: protocol 4.1, its filler zero.
///
/// The last four of the 23 filler bytes are MariaDB's further capabilities.
pub fn is_opening(packet: &Packet<'_>) -> Result<(), Fault> {
    let flags = packet.body.first_chunk().map(|low| u32::from(u16::from_le_bytes(*low)));
    let filler = packet.body.get(9..).unwrap_or_default();
    let filler = filler.get(..19).unwrap_or(filler);
    let possible = matches!(packet.sequence, 1 | 2)
        && (32..=usize::from(u16::MAX)).contains(&packet.length)
        && flags.is_none_or(|flags| flags & PROTOCOL_41 != 0)
        && filler.iter().all(|byte| *byte == 0);
    if !possible {
        return Err(Fault::Malformed);
    }
    opening(packet).map(|_| ())
}

/// What a server says to a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// OK.
    Accepted,
    /// ERR, and its code.
    Error(u16),
    /// AuthSwitchRequest, and the plugin asked for.
    Switch(&'a [u8]),
    /// Anything else, AuthMoreData among it.
    Other,
}

/// Reads a server's packet after a login.
pub fn answer<'a>(packet: &Packet<'a>) -> Result<Answer<'a>, Fault> {
    let (first, rest) = match packet.body.split_first() {
        Some((first, rest)) => (*first, rest),
        None if packet.length > 0 => return Err(Fault::Short),
        None => return Ok(Answer::Other),
    };
    match first {
        0x00 if (3..=GREETING_CAP).contains(&packet.length) => Ok(Answer::Accepted),
        0xff if packet.length >= 3 => {
            let code = rest.first_chunk().ok_or(Fault::Short)?;
            Ok(Answer::Error(u16::from_le_bytes(*code)))
        }
        0xfe if packet.length == 1 => Ok(Answer::Switch(b"mysql_old_password")),
        0xfe => match rest.iter().take(PLUGIN_CAP + 1).position(|byte| *byte == 0) {
            Some(end) => Ok(Answer::Switch(rest.get(..end).unwrap_or_default())),
            None if rest.len() < (packet.length - 1).min(PLUGIN_CAP + 1) => Err(Fault::Short),
            None => Ok(Answer::Other),
        },
        _ => Ok(Answer::Other),
    }
}

/// Whether an error code says that the server does not let this client in: access denied (1044, 1045, 1698),
/// host not allowed (1130), authentication method refused (1251), account locked or blocked (3118, 3955),
/// TLS required (3159).
pub fn is_refusal(code: u16) -> bool {
    matches!(code, 1044 | 1045 | 1130 | 1251 | 1698 | 3118 | 3159 | 3955)
}

/// A greeting without its version: numbers, eight bytes of scramble, filler, flags and ten reserved bytes.
const GREETING_LEAST: usize = 34;

fn handshake_v10(bytes: &[u8]) -> Option<Greeting<'_>> {
    let (version, rest) = until_nul(bytes)?;
    let plausible = version.first().is_some_and(u8::is_ascii_digit)
        && version.contains(&b'.')
        && version.iter().all(|byte| (b' '..=b'~').contains(byte));
    let mut cursor = Cursor::new(rest);
    cursor.take(12)?;
    let filler = cursor.u8()?;
    let low = u16::from_le_bytes(cursor.array()?);
    cursor.take(3)?;
    let high = u16::from_le_bytes(cursor.array()?);
    let flags = u32::from(low) | u32::from(high) << 16;
    let scramble = usize::from(cursor.u8()?);
    // MariaDB puts capabilities of its own into the last four of the ten reserved bytes.
    let reserved = cursor.take(6)?;
    cursor.take(4)?;
    if !plausible || filler != 0 || reserved.iter().any(|byte| *byte != 0) {
        return None;
    }
    let mut plugin = None;
    if flags & PLUGIN_AUTH != 0 {
        cursor.take(scramble.saturating_sub(8).max(13))?;
        // Some versions leave out the last NUL.
        let name = until_nul(cursor.rest()).map_or(cursor.rest(), |(name, _)| name);
        plugin = plugin_name(name);
    }
    Some(Greeting::Server { version, tls: flags & SSL != 0, plugin })
}

/// An error instead of a greeting: one of those that come before a login, and text.
fn error_greeting(bytes: &[u8]) -> Option<u16> {
    let (code, text) = bytes.split_first_chunk()?;
    let code = u16::from_le_bytes(*code);
    // Too many connections, bad handshake, shutdown, blocked or unknown host, user or server limits.
    let known = matches!(code, 1040 | 1043 | 1053 | 1129 | 1130 | 1152..=1161 | 1203 | 1226);
    let printable = text.iter().all(|byte| (b' '..=b'~').contains(byte));
    (known && printable && !text.is_empty()).then_some(code)
}

fn opening_41<'a>(low: u16, length: usize, mut cursor: Cursor<'a>) -> Option<Opening<'a>> {
    let high = u16::from_le_bytes(cursor.array()?);
    let flags = u32::from(low) | u32::from(high) << 16;
    cursor.take(4 + 1 + 23)?;
    if flags & SSL != 0 && length == 32 {
        return Some(Opening::Tls);
    }
    let (user, rest) = until_nul(cursor.rest())?;
    let mut cursor = Cursor::new(rest);
    let response = if flags & PLUGIN_AUTH_LENENC != 0 {
        let length = match cursor.u8()? {
            short @ 0..=0xfa => usize::from(short),
            0xfc => usize::from(u16::from_le_bytes(cursor.array()?)),
            _ => return None,
        };
        cursor.take(length)?
    } else if flags & SECURE_CONNECTION != 0 {
        cursor.vector8()?
    } else {
        let (response, rest) = until_nul(cursor.rest())?;
        cursor = Cursor::new(rest);
        response
    };
    let mut rest = cursor.rest();
    if flags & CONNECT_WITH_DB != 0 {
        rest = until_nul(rest).map_or(&[][..], |(_, rest)| rest);
    }
    let plugin = match flags & PLUGIN_AUTH != 0 {
        true => until_nul(rest).and_then(|(name, _)| plugin_name(name)),
        false => None,
    };
    Some(Opening::Login { user: !user.is_empty(), secret: is_secret(response), plugin })
}

/// The protocol before 4.1: two bytes of flags, three of packet size, user and response.
fn opening_320<'a>(flags: u32, length: usize, mut cursor: Cursor<'a>) -> Option<Opening<'a>> {
    cursor.take(3)?;
    if flags & SSL != 0 && length == 5 {
        return Some(Opening::Tls);
    }
    let (user, response) = until_nul(cursor.rest())?;
    let response = until_nul(response).map_or(response, |(response, _)| response);
    Some(Opening::Login { user: !user.is_empty(), secret: is_secret(response), plugin: None })
}

/// Whether an authentication response holds anything: an empty password is sent as nothing or as one NUL,
/// and one byte 1 or 2 asks for the server's public key.
pub fn is_secret(response: &[u8]) -> bool {
    !matches!(response, [] | [0..=2])
}

fn plugin_name(name: &[u8]) -> Option<&[u8]> {
    let plain = name.iter().all(|byte| byte.is_ascii_graphic());
    (plain && !name.is_empty() && name.len() <= PLUGIN_CAP).then_some(name)
}

fn until_nul(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(0, bytes)?;
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}
