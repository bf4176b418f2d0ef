//! Alerts (RFC 8446 section 6, and the IANA TLS Alerts registry).

use crate::protocol::Side;

/// One alert that was sent in clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Alert {
    /// Who sent it.
    pub side: Side,
    /// The level is fatal (2); warning (1) otherwise.
    pub fatal: bool,
    /// AlertDescription; see [`name`].
    pub description: u8,
}

/// close_notify: the sender will send no more.
pub const CLOSE_NOTIFY: u8 = 0;
/// no_certificate: what an SSL 3.0 client answers instead of an empty Certificate (RFC 6101 section 5.6.6).
pub const NO_CERTIFICATE: u8 = 41;

/// The registered name of an AlertDescription.
pub fn name(description: u8) -> Option<&'static str> {
    Some(match description {
        CLOSE_NOTIFY => "close_notify",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        21 => "decryption_failed",
        22 => "record_overflow",
        30 => "decompression_failure",
        40 => "handshake_failure",
        NO_CERTIFICATE => "no_certificate",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        52 => "too_many_cids_requested",
        60 => "export_restriction",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        90 => "user_canceled",
        100 => "no_renegotiation",
        109 => "missing_extension",
        110 => "unsupported_extension",
        111 => "certificate_unobtainable",
        112 => "unrecognized_name",
        113 => "bad_certificate_status_response",
        114 => "bad_certificate_hash_value",
        115 => "unknown_psk_identity",
        116 => "certificate_required",
        117 => "general_error",
        120 => "no_application_protocol",
        121 => "ech_required",
        _ => return None,
    })
}
