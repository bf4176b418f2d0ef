//! TLS 1.0 to 1.3 (RFC 2246, 4346, 5246, 8446): what the handshake shows in clear, and what record
//! lengths leave as the one reasonable reading.
//!
//! [`probe`] recognises a connection, [`Parser`] follows it, and [`Evidence`] answers questions about
//! it. `parser` reads records and clear messages; `classic` and `modern` draw the conclusions for
//! TLS up to 1.2 and for 1.3; `infer` holds all that is not in clear, as arithmetic on `lengths`. With a
//! [`KeyStore`], `decrypt` opens records, `secured` reads them, and `decrypted` concludes.

mod alert;
mod alpn;
mod answers;
mod cipher;
mod classic;
mod client_hello;
mod decrypt;
mod decrypted;
mod evidence;
mod group;
mod handshake;
mod hello;
mod infer;
mod ja4;
mod lengths;
mod modern;
mod parser;
mod probe;
mod record;
mod rest;
mod resume;
mod secured;
#[cfg(test)]
mod testing;
mod trace;
mod watch;
mod why;

pub use alert::{Alert, name as alert_name};
pub use cipher::{Class, cipher_name, classify};
pub use client_hello::{ALPN_CAP, CIPHER_CAP, ClientHello, GROUP_CAP, PskOffer, Shape};
pub use decrypt::{Added as AddedKeys, KeyStore, LINE_CAP, SESSION_CAP};
pub use decrypted::Decryption;
pub use evidence::{
    ALERT_CAP, Alpn, Authentication, Basis, Chain, ClientCertificate, Evidence, Offer, Outcome,
};
pub use group::KeyExchange;
pub use handshake::{CERTIFICATE_CAP, CHAIN_CAP, MESSAGE_CAP};
pub use hello::{Opening, ServerHello, SessionId, Version};
pub use ja4::Ja4;
pub use parser::Parser;
pub use probe::{probe, probe_midstream};
pub(super) use rest::{Own, Shown};
pub use resume::{Given, Layout, Resumes, SessionName, Tickets};
pub use secured::{AWAITING_KEYS_CAP, HELD_CAP, Plaintext};
pub use trace::RECORD_CAP;
pub(super) use watch::Watch;
pub use why::Why;
