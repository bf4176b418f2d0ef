//! Why something of a TLS connection cannot be told.

use std::fmt;

/// The reason for an answer that is not there; its text is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// The connection began before the capture.
    Midstream,
    /// Bytes that would tell are missing from the capture.
    Hole,
    /// Only one direction was captured.
    OneDirection,
    /// TLS 1.3 encrypts it, and no length gives it away.
    Encrypted,
    /// The session was resumed: who the client is was settled on an earlier connection.
    Resumed,
    /// The records are padded so that more than one reading fits.
    AmbiguousPadding,
    /// Early data is mixed with the handshake.
    EarlyData,
    /// What the server asked and what the client answered do not fit together.
    Contradiction,
    /// The handshake did not get that far in the capture.
    NotFinished,
    /// The client was done, and nothing shows whether the server agreed.
    NoAnswer,
    /// A certificate was sent without the signature that proves it is the sender's.
    NoCertificateVerify,
    /// The handshake was renegotiated under encryption.
    Renegotiation,
    /// A handshake message contradicts itself, or is over the cap.
    Malformed,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Midstream => "the connection began before the capture",
            Why::Hole => "part of the handshake is missing from the capture",
            Why::OneDirection => "only one direction was captured",
            Why::Encrypted => "TLS 1.3 encrypts it",
            Why::Resumed => "the session was resumed",
            Why::AmbiguousPadding => "record padding leaves more than one reading",
            Why::EarlyData => "early data is mixed with the handshake",
            Why::Contradiction => "the two sides' record lengths do not fit together",
            Why::NotFinished => "the handshake did not finish in the capture",
            Why::NoAnswer => "nothing shows whether the server accepted",
            Why::NoCertificateVerify => "a certificate came without its proof of possession",
            Why::Renegotiation => "the handshake was renegotiated under encryption",
            Why::Malformed => "a handshake message is malformed or too long",
        })
    }
}
