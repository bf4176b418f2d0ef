//! The record layer's header (RFC 8446 section 5.1, RFC 5246 section 6.2.1).

use crate::protocol::cursor::Cursor;

/// Bytes of a record header.
pub(super) const HEADER: usize = 5;
/// The longest fragment of a protected record that any version allows (RFC 5246 section 6.2.3).
pub(super) const MAX_PROTECTED: u16 = (1 << 14) + 2048;
/// The longest fragment of a record in clear (RFC 8446 section 5.1).
pub(super) const MAX_CLEAR: u16 = 1 << 14;

/// What a record carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// 20: change_cipher_spec.
    ChangeCipherSpec,
    /// 21: alert.
    Alert,
    /// 22: handshake.
    Handshake,
    /// 23: application_data; in TLS 1.3 everything that is encrypted.
    #[default]
    ApplicationData,
    /// 24: heartbeat (RFC 6520).
    Heartbeat,
}

impl Kind {
    /// The kind of a ContentType; `None` for one not assigned.
    pub(super) fn from_wire(kind: u8) -> Option<Kind> {
        Some(match kind {
            20 => Kind::ChangeCipherSpec,
            21 => Kind::Alert,
            22 => Kind::Handshake,
            23 => Kind::ApplicationData,
            24 => Kind::Heartbeat,
            _ => return None,
        })
    }

    /// The ContentType.
    pub(super) fn wire(self) -> u8 {
        match self {
            Kind::ChangeCipherSpec => 20,
            Kind::Alert => 21,
            Kind::Handshake => 22,
            Kind::ApplicationData => 23,
            Kind::Heartbeat => 24,
        }
    }
}

/// One record header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// The version field: major and minor byte, big endian. It says little: see `hello`.
    pub(super) version: u16,
    /// Bytes that follow the header.
    pub(super) length: u16,
}

/// No record of any version begins like this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotARecord;

impl Header {
    /// Reads the header at the front of `bytes`; `None` when it is not complete.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<Header>, NotARecord> {
        let mut cursor = Cursor::new(bytes);
        let Some(kind) = cursor.u8() else { return Ok(None) };
        let kind = Kind::from_wire(kind).ok_or(NotARecord)?;
        let Some(version) = cursor.u16() else { return Ok(None) };
        if !(0x0300..=0x0304).contains(&version) {
            return Err(NotARecord);
        }
        let Some(length) = cursor.u16() else { return Ok(None) };
        if length > MAX_PROTECTED {
            return Err(NotARecord);
        }
        Ok(Some(Header { kind, version, length }))
    }
}
