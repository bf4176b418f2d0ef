//! What raising the line for TLS would cost: the flows that would become violations.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::Record;
use crate::policy::{Policy, TlsKind, Verdict, WeakCipher};
use crate::protocol::tls::{self, Version};

/// What would become a violation if the operator drew the line for TLS higher.
#[derive(Clone, Debug, Default)]
pub(super) struct Strength {
    /// Flows with TLS.
    flows: u64,
    /// Versions negotiated, or offered at most, by those that are no violation yet and were not refused.
    versions: BTreeMap<Version, u64>,
    /// Those of them that chose a weak cipher suite.
    weak_suites: u64,
}

impl Strength {
    /// Counts one judged flow.
    pub(super) fn add(&mut self, record: &Record<'_>) {
        let observed = record.subject.observed;
        let Some(tls) = observed.tls() else { return };
        self.flows += 1;
        if record.judgement.verdict == Verdict::Violation || observed.security.tls == Some(TlsKind::Refused) {
            return;
        }
        if let Some(version) = tls.version().or(tls.offered_max()) {
            *self.versions.entry(version).or_default() += 1;
        }
        let weak = tls.cipher().and_then(tls::classify).is_some_and(tls::Class::is_weak);
        self.weak_suites += u64::from(weak);
    }

    /// Adds what was counted of other flows.
    pub(super) fn merge(&mut self, more: &Strength) {
        self.flows += more.flows;
        self.weak_suites += more.weak_suites;
        for (version, flows) in &more.versions {
            *self.versions.entry(*version).or_default() += flows;
        }
    }

    /// Flows that would break with this as the least version.
    fn below(&self, least: Version) -> u64 {
        self.versions.iter().filter(|(version, _)| **version < least).map(|(_, flows)| flows).sum()
    }

    /// Writes one line, unless there was no TLS or the line is drawn at its highest.
    pub(super) fn write(&self, policy: &Policy, output: &mut impl Write) -> io::Result<()> {
        let options = policy.options();
        let mut would_break = Vec::new();
        for (least, name) in [(Version::Tls11, "1.1"), (Version::Tls12, "1.2"), (Version::Tls13, "1.3")] {
            if least > options.min_tls {
                would_break.push((self.below(least), format!("--min-tls {name}")));
            }
        }
        if options.weak_cipher == WeakCipher::Note {
            would_break.push((self.weak_suites, "--weak-cipher deny".to_owned()));
        }
        let Some(((flows, option), others)) = would_break.split_first() else { return Ok(()) };
        if self.flows == 0 {
            return Ok(());
        }
        write!(output, "\n{flows} of {} TLS flows would break with {option}", self.flows)?;
        others.iter().try_for_each(|(flows, option)| write!(output, "; {flows} with {option}"))?;
        writeln!(output)
    }
}
