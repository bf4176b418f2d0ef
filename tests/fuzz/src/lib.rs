//! What must hold of any bytes: one closure a target, for the fuzzer and for `cargo test` alike.
//!
//! A closure takes the bytes, uses the library's public API alone, and panics where something that must hold does
//! not. `fuzz_targets/` hands them to libFuzzer; `tests/hostile.rs` includes this file as a module and runs them
//! over the seeds, over what fuzzing found, and over mutations of both.

mod audit;
mod captures;
mod flows;
mod frames;
mod input;
mod packets;
mod recognisers;
mod texts;

/// One thing that is fuzzed.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: of its seeds, of its findings and of its fuzzer.
    pub name: &'static str,
    /// Panics if these bytes break what must hold.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "captures", run: captures::read },
    Target { name: "packets", run: packets::decode },
    Target { name: "flows", run: flows::reassemble },
    Target { name: "probes", run: recognisers::probes },
    Target { name: "tls", run: recognisers::tls },
    Target { name: "http1", run: recognisers::http1 },
    Target { name: "http2", run: recognisers::http2 },
    Target { name: "nats", run: recognisers::nats },
    Target { name: "dns", run: recognisers::dns },
    Target { name: "mysql", run: recognisers::mysql },
    Target { name: "ssh", run: recognisers::ssh },
    Target { name: "ldap", run: recognisers::ldap },
    Target { name: "syslog", run: recognisers::syslog },
    Target { name: "proxy", run: recognisers::proxy },
    Target { name: "decryption", run: recognisers::decryption },
    Target { name: "certificates", run: texts::certificates },
    Target { name: "filters", run: texts::filters },
    Target { name: "tables", run: texts::tables },
    Target { name: "pages", run: texts::pages },
    Target { name: "inventories", run: texts::inventories },
    Target { name: "reports", run: texts::reports },
    Target { name: "sessions", run: audit::sessions },
    Target { name: "pipeline", run: audit::pipeline },
];

/// Runs the target of this name.
///
/// # Panics
/// If there is none, or if what it holds to be true of any bytes is not.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.unwrap_or_else(|| panic!("no target `{name}`"));
    (target.run)(bytes);
}
