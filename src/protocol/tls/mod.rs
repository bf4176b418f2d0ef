//! TLS 1.0 to 1.3 (RFC 2246, 4346, 5246, 8446): what the handshake shows in clear, and what record
//! lengths leave as the one reasonable reading.
