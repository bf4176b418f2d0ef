//! What one flow's bytes showed, whatever was spoken.

use super::{Dns, Http1, Http2, Ldap, Mysql, Nats, Proxy, Side, Ssh, Syslog, tls};
use crate::packet::Gap;

/// Everything the capture showed of what a flow speaks.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// TLS, wherever in the flow it began.
    pub tls: Option<Box<tls::Evidence>>,
    /// What was inside it, as far as keys opened it.
    pub inside: Option<Box<Evidence>>,
    /// HTTP/1 in clear.
    pub http1: Option<Box<Http1>>,
    /// HTTP/2 in clear.
    pub http2: Option<Box<Http2>>,
    /// NATS in clear.
    pub nats: Option<Nats>,
    /// DNS.
    pub dns: Option<Box<Dns>>,
    /// MySQL in clear.
    pub mysql: Option<Box<Mysql>>,
    /// SSH.
    pub ssh: Option<Box<Ssh>>,
    /// LDAP in clear.
    pub ldap: Option<Box<Ldap>>,
    /// Syslog in clear.
    pub syslog: Option<Syslog>,
    /// The header of a proxy, before all of it.
    pub proxy: Option<Proxy>,
    /// The client, by the protocol's own roles.
    pub client: Option<Side>,
    /// Which sides sent payload.
    pub spoke: [bool; 2],
    /// Why bytes are missing that a recogniser wanted, the first time.
    pub gap: Option<Gap>,
    /// The bytes broke the rules of the protocol they had been recognised as.
    pub broken: bool,
    /// Decisive first bytes were read and no recogniser knew them.
    pub unrecognised: bool,
}

impl Evidence {
    /// Some protocol was recognised.
    pub fn recognised(&self) -> bool {
        self.tls.is_some()
            || self.http1.is_some()
            || self.http2.is_some()
            || self.nats.is_some()
            || self.dns.is_some()
            || self.mysql.is_some()
            || self.ssh.is_some()
            || self.ldap.is_some()
            || self.syslog.is_some()
    }

    /// Bytes on the heap, but for the chains of TLS.
    pub(super) fn held(&self) -> usize {
        let Evidence { tls, inside, http1, http2, dns, mysql, ssh, ldap, .. } = self;
        fn boxed<T>(it: &Option<Box<T>>, held: impl FnOnce(&T) -> usize) -> usize {
            it.as_deref().map_or(0, |it| size_of_val(it) + held(it))
        }
        boxed(tls, tls::Evidence::held)
            + boxed(inside, Evidence::held)
            + boxed(http1, Http1::held)
            + boxed(http2, Http2::held)
            + boxed(dns, Dns::held)
            + boxed(mysql, Mysql::held)
            + boxed(ssh, Ssh::held)
            + boxed(ldap, Ldap::held)
    }

    /// A protocol that may go on in TLS was recognised in clear; what follows a switch is that.
    pub fn has_prologue(&self) -> bool {
        self.nats.is_some() || self.mysql.is_some() || self.ldap.is_some()
    }

    /// Both sides agreed to go on in TLS.
    pub(super) fn went_on_in_tls(&self) -> bool {
        self.nats.is_some_and(|nats| nats.upgraded)
            || self.mysql.as_ref().is_some_and(|mysql| mysql.upgraded)
            || self.ldap.as_ref().is_some_and(|ldap| ldap.upgraded)
    }
}
