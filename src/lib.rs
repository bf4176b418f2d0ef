//! flowaudit reads a packet capture, follows every flow, recognises what each flow speaks, and holds
//! it against a documented table of allowed network communications.
//!
//! The data goes one way: `capture -> packet -> flow -> protocol -> policy -> report`, and
//! [`audit`] is the one module that knows all of them. ARCHITECTURE.md has the picture.

#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod audit;
pub mod capture;
pub mod cli;
pub mod flow;
pub mod inventory;
pub mod local;
pub mod measure;
pub mod packet;
pub mod pki;
pub mod policy;
pub mod protocol;
pub mod report;
