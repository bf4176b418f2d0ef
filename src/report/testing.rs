//! Records of judged flows for tests of reports.

use super::{Certificate, Counted, Record, RowState};
use crate::capture::{Precision, Timestamp};
use crate::flow::ConnState;
use crate::packet::Encapsulation;
use crate::policy::testing::Case;
use crate::policy::{Judgement, Place, Policy};

/// A judged flow with all that its record borrows.
pub(super) struct Judged<'a> {
    pub(super) policy: &'a Policy,
    pub(super) case: &'a Case,
    pub(super) judgement: Judgement,
    pub(super) certificates: Option<[Certificate; 2]>,
}

/// Judges a flow; server and client showed these certificates.
pub(super) fn judged<'a>(policy: &'a Policy, case: &'a Case, certificates: Option<[&str; 2]>) -> Judged<'a> {
    Judged {
        policy,
        case,
        judgement: case.judge(policy),
        certificates: certificates.map(|names| names.map(|name| Certificate::Names(name.into()))),
    }
}

impl Judged<'_> {
    pub(super) fn record(&self) -> Record<'_> {
        Record {
            policy: self.policy,
            subject: self.case.subject(),
            names: self.policy.ends_of(&self.case.subject()).each_ref().map(Place::name),
            judgement: &self.judgement,
            deviations: self.policy,
            known_deviation: None,
            counted: COUNTED,
            capture: "a.pcap",
            ambiguous_in: None,
            certificates: self.certificates.as_ref(),
            state: RowState::Final,
        }
    }
}

/// Five packets each way, in the first two seconds of 2026-11-22.
pub(super) const COUNTED: Counted = Counted {
    start: Timestamp(1_795_305_600 * Timestamp::SECOND),
    end: Timestamp(1_795_305_601 * Timestamp::SECOND),
    precision: Precision::Micro,
    packets: [5, 4],
    bytes: [500, 400],
    state: ConnState::Sf,
    first_packet: 17,
    encapsulation: Encapsulation::NONE,
    repeated: 0,
    evicted: false,
};
