//! What proxies, MySQL, SSH, LDAP and syslog said in clear, in words for people.

use std::fmt;

use super::escape::clean_bytes;
use crate::protocol::{Evidence, Ldap, Mysql, Proxy, Ssh};

/// Hands each part of it to `part`, of one conversation (TLS may hold another); secrets and user names are not among them.
pub fn words(evidence: &Evidence, mut part: impl FnMut(fmt::Arguments<'_>) -> fmt::Result) -> fmt::Result {
    if let Some(Proxy { version, client }) = evidence.proxy {
        match client {
            Some(client) => part(format_args!(
                "PROXY protocol v{version}, says client {} port {}",
                client.ip(),
                client.port()
            )),
            None => part(format_args!("PROXY protocol v{version}, names no client")),
        }?;
    }
    if let Some(mysql) = &evidence.mysql {
        words_of_mysql(mysql, &mut part)?;
    }
    if let Some(ssh) = &evidence.ssh {
        words_of_ssh(ssh, &mut part)?;
    }
    if let Some(ldap) = &evidence.ldap {
        words_of_ldap(ldap, &mut part)?;
    }
    if let Some(syslog) = &evidence.syslog {
        part(format_args!("{} syslog messages read", syslog.messages))?;
    }
    Ok(())
}

fn words_of_mysql(mysql: &Mysql, part: &mut impl FnMut(fmt::Arguments<'_>) -> fmt::Result) -> fmt::Result {
    if let Some(version) = &mysql.server_version {
        part(format_args!("MySQL server {}", clean_bytes(version)))?;
    }
    if mysql.upgraded {
        part(format_args!("went on in TLS"))?;
    } else if mysql.login {
        let user = if mysql.user { "a user" } else { "no user" };
        let secret = if mysql.secret { "an authentication response" } else { "no authentication response" };
        part(format_args!("login with {user} and {secret}"))?;
    }
    match mysql.error {
        Some(code) if mysql.refused => part(format_args!("login refused with error {code}")),
        Some(code) => part(format_args!("answered with error {code}")),
        None if mysql.accepted => part(format_args!("login accepted")),
        None => Ok(()),
    }
}

fn words_of_ssh(ssh: &Ssh, part: &mut impl FnMut(fmt::Arguments<'_>) -> fmt::Result) -> fmt::Result {
    for identification in ssh.identification.iter().flatten() {
        part(format_args!("SSH-{}", clean_bytes(identification)))?;
    }
    Ok(())
}

fn words_of_ldap(ldap: &Ldap, part: &mut impl FnMut(fmt::Arguments<'_>) -> fmt::Result) -> fmt::Result {
    let kinds = [("anonymous", ldap.anonymous), ("password", ldap.password), ("SASL", ldap.sasl)];
    for (kind, binds) in kinds.iter().filter(|(_, binds)| binds.asked > 0) {
        let (asked, accepted, refused) = (binds.asked, binds.accepted, binds.refused);
        part(format_args!("{asked} {kind} binds ({accepted} accepted, {refused} refused)"))?;
    }
    match ldap.start_tls_answer {
        _ if ldap.upgraded => part(format_args!("went on in TLS")),
        Some(code) => part(format_args!("StartTLS refused with code {code}")),
        None if ldap.start_tls => part(format_args!("StartTLS was not seen to be answered")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Syslog, ldap::Binds};

    fn said(evidence: &Evidence) -> Vec<String> {
        let mut parts = Vec::new();
        let done = words(evidence, |part| {
            parts.push(part.to_string());
            Ok(())
        });
        assert_eq!(done, Ok(()));
        parts
    }

    #[test]
    fn says_what_was_presented_and_answered() {
        assert_eq!(said(&Evidence::default()), [""; 0]);
        let version = Some(b"5.5.\x1b[31m"[..].into());
        let mysql = Mysql {
            server_version: version,
            login: true,
            user: true,
            error: Some(1045),
            refused: true,
            ..Mysql::default()
        };
        let evidence = Evidence { mysql: Some(Box::new(mysql)), ..Evidence::default() };
        let parts = said(&evidence);
        assert!(parts[0].starts_with("MySQL server 5.5.") && !parts[0].contains('\x1b'), "{parts:?}");
        let expected = ["login with a user and no authentication response", "login refused with error 1045"];
        assert_eq!(parts[1..], expected);
        let password = Binds { asked: 2, accepted: 1, refused: 1 };
        let ldap = Ldap { password, start_tls: true, start_tls_answer: Some(2), ..Ldap::default() };
        let syslog = Some(Syslog { messages: 3, ..Syslog::default() });
        let evidence = Evidence { ldap: Some(Box::new(ldap)), syslog, ..Evidence::default() };
        let binds = "2 password binds (1 accepted, 1 refused)";
        assert_eq!(said(&evidence), [binds, "StartTLS refused with code 2", "3 syslog messages read"]);
    }
}
