//! Names of addresses, learnt from the capture in the order of its packets.

use std::net::IpAddr;
use std::sync::Arc;

use crate::inventory::{Learnt, LearntFrom, LearntGroup};
use crate::pki::CertificateNames;
use crate::policy::Policy;
use crate::protocol::{Address, Dns};

/// What was learnt so far.
#[derive(Debug, Default)]
pub(super) struct Learning {
    learnt: Learnt,
    /// Addresses in DNS answers beyond what one flow gives.
    unread: u64,
}

impl Learning {
    /// Learns from DNS answers.
    pub(super) fn answers(&mut self, addresses: &[Address], policy: &Policy) {
        for Address { name, address } in addresses {
            if let Ok(name) = std::str::from_utf8(name) {
                self.name(*address, name, LearntFrom::Dns, policy);
            }
        }
    }

    /// Learns from what is left of a DNS flow that ended.
    pub(super) fn rest(&mut self, dns: &Dns, policy: &Policy) {
        self.unread += u64::from(dns.addresses_dropped);
        self.answers(&dns.addresses, policy);
    }

    /// Learns from the certificate of a server whose handshake was accepted.
    pub(super) fn certificate(&mut self, server: IpAddr, names: &CertificateNames, policy: &Policy) {
        for name in names.iter() {
            self.name(server, name, LearntFrom::Certificate, policy);
        }
    }

    /// The groups an address is learnt to be of.
    pub(super) fn groups(&self, address: IpAddr) -> Option<Arc<[LearntGroup]>> {
        self.learnt.shared_groups(address)
    }

    /// Everything learnt, for the summary.
    pub(super) fn learnt(&self) -> &Learnt {
        &self.learnt
    }

    /// Names given up because of a cap.
    pub(super) fn dropped(&self) -> u64 {
        self.unread + self.learnt.dropped()
    }

    fn name(&mut self, address: IpAddr, name: &str, from: LearntFrom, policy: &Policy) {
        let known = (policy.inventory(), policy.names());
        self.learnt.learn(address, name, from, known, policy.options().inventory_partial);
    }
}
