//! Certificates: who they name, and whether an authority the user trusts stands behind them.
//!
//! Nothing here knows flows or files other than PEM bundles; times are given, never read from a clock.

mod authorities;
mod known;
mod names;
mod pem;

pub use authorities::{Authorities, ChainProblem, MAX_CHAIN, Usage};
pub use known::{KnownCertificates, Leaf};
pub use names::{CertificateNames, MAX_NAME_BYTES, MAX_NAMES, NotACertificate};
pub use pem::{MAX_AUTHORITIES, MAX_BUNDLE_BYTES, PemError};
