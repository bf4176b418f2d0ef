//! Which recogniser a flow's first bytes belong to.

use super::{Probe, dns, http1, http2, ldap, mysql, nats, proxy, ssh, syslog, tls};

/// The protocols there is a recogniser for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Tls,
    Http1,
    Http2,
    Nats,
    Dns,
    Mysql,
    Ssh,
    Ldap,
    Syslog,
    Proxy,
}

/// What first bytes say.
pub(super) enum Found {
    Yes(Protocol),
    Unsure,
    No,
}

/// Which recogniser these first bytes belong to; behind the prologue of a protocol in clear, TLS alone.
pub(super) fn recognise(bytes: &[u8], from_start: bool, behind_prologue: bool) -> Found {
    let mut unsure = false;
    let mut certain = |probe: Probe| {
        unsure |= probe == Probe::Unsure;
        probe == Probe::Certain
    };
    if certain(tls::probe(bytes)) {
        return Found::Yes(Protocol::Tls);
    }
    if !behind_prologue {
        if certain(proxy::probe(bytes)) {
            return Found::Yes(Protocol::Proxy);
        }
        if certain(http2::probe(bytes)) {
            return Found::Yes(Protocol::Http2);
        }
        if certain(nats::probe(bytes)) {
            return Found::Yes(Protocol::Nats);
        }
        if certain(http1::probe(bytes)) {
            return Found::Yes(Protocol::Http1);
        }
        if certain(dns::probe(bytes)) {
            return Found::Yes(Protocol::Dns);
        }
        if certain(mysql::probe(bytes)) {
            return Found::Yes(Protocol::Mysql);
        }
        if certain(ssh::probe(bytes)) {
            return Found::Yes(Protocol::Ssh);
        }
        if certain(ldap::probe(bytes)) {
            return Found::Yes(Protocol::Ldap);
        }
        let syslog = if from_start { syslog::probe(bytes) } else { syslog::probe_midstream(bytes) };
        if certain(syslog) {
            return Found::Yes(Protocol::Syslog);
        }
    }
    if !from_start && certain(tls::probe_midstream(bytes)) {
        return Found::Yes(Protocol::Tls);
    }
    if unsure { Found::Unsure } else { Found::No }
}

/// Which recogniser a datagram belongs to.
pub(super) fn recognise_datagram(bytes: &[u8]) -> Option<Protocol> {
    match (dns::probe_datagram(bytes), syslog::probe_datagram(bytes)) {
        (Probe::Certain, _) => Some(Protocol::Dns),
        (_, Probe::Certain) => Some(Protocol::Syslog),
        _ => None,
    }
}
