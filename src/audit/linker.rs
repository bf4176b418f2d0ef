//! The third stage, one for the whole audit and in packet order: what flows know of each other.

use super::Plan;
use super::ended::Ended;
use super::follower::What;
use super::force::InForce;
use super::learning::Learning;
use super::links::Links;
use crate::inventory::Learnt;
use crate::packet::Side;
use crate::report::Account;

/// Ties resumed sessions to the connections that began them, and gives names learnt from the capture.
pub(super) struct Linker<'p> {
    plan: InForce<'p>,
    links: Links,
    learning: Learning,
}

impl<'p> Linker<'p> {
    pub(super) fn new(plan: &'p Plan) -> Linker<'p> {
        Linker { plan: InForce::First(plan), links: Links::new(plan.sessions), learning: Learning::default() }
    }

    /// Takes the next event of the audit; hands on a flow that ended, ready to be judged.
    ///
    /// Names in DNS answers are learnt in the order of packets, so that they serve every flow that ends
    /// after the answer was read; of DNS over TCP, when that flow ends.
    pub(super) fn link(&mut self, what: What) -> Option<Box<Ended>> {
        match what {
            What::Answers(addresses) => {
                self.learning.answers(&addresses, &self.plan.policy);
                None
            }
            What::Settled(connection) => {
                self.links.learn(&connection);
                None
            }
            What::Flow(mut flow) => {
                let is_over = flow.open.is_none();
                if let Some(connection) = flow.connection.take() {
                    if is_over {
                        self.links.learn(&connection);
                    }
                    if let Some(inherited) = self.links.inherited(&connection) {
                        flow.observed.inherit(inherited);
                    }
                }
                // Application containers talk through tunnels, and name no VM of the platform; and inside a
                // tunnel an address is not the VM's that has it outside.
                if self.plan.learn && flow.counted.encapsulation.network().is_none() {
                    if is_over {
                        self.learn_names(&flow);
                    }
                    let groups = |side: Side| self.learning.groups(flow.key.end(side).ip);
                    flow.learnt = [groups(Side::A), groups(Side::B)];
                }
                Some(flow)
            }
        }
    }

    /// Goes by another plan from now on; what was learnt stays.
    pub(super) fn go_by(&mut self, plan: InForce<'p>) {
        self.plan = plan;
    }

    /// Everything learnt, for the summary.
    pub(super) fn learnt(&self) -> &Learnt {
        self.learning.learnt()
    }

    /// Adds what it gave up because of a cap.
    pub(super) fn account(&self, account: &mut Account) {
        account.learnt_names += self.learning.dropped();
        account.session_cap += self.links.dropped;
    }

    /// What a flow that ended teaches: what is left of DNS answers, and the names on certificates.
    fn learn_names(&mut self, flow: &Ended) {
        let policy = &self.plan.policy;
        if let Some(dns) = &flow.observed.evidence.dns {
            self.learning.rest(dns, policy);
        }
        if let Some((server, names)) = flow.vouched() {
            self.learning.certificate(flow.key.end(server).ip, names, policy);
        }
    }
}
