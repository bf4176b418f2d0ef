//! What the program will do: every file read, every table bound, every choice made.

use std::error::Error;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use super::args::{AuditArguments, ScopeArgument, TlsArgument, VerdictArgument, WeakArgument};
use crate::audit::Plan;
use crate::flow::Limits;
use crate::inventory::Inventory;
use crate::pki::Authorities;
use crate::policy::{Options, Policy, SubnetScope, Table, Verdict, WeakCipher};
use crate::protocol::tls::{KeyStore, Version};

/// Reads what the arguments name and makes an audit's plan of it.
pub(super) fn plan(arguments: &AuditArguments) -> Result<Plan, Box<dyn Error>> {
    let tables =
        if arguments.policy.is_empty() { Table::built_in()? } else { named_tables(&arguments.policy)? };
    let (inventory, names) = Inventory::read(&arguments.inventory)?;
    for conflict in inventory.conflicts() {
        super::complain(&format!("warning: {conflict}"));
    }
    let authorities = if arguments.ca.is_empty() { None } else { Some(Authorities::read(&arguments.ca)?) };
    let options = Options {
        inventory_partial: arguments.inventory_partial,
        subnet_scope: match arguments.subnet_scope {
            ScopeArgument::Subnet => SubnetScope::Subnet,
            ScopeArgument::Network => SubnetScope::Network,
        },
        min_tls: match arguments.min_tls {
            TlsArgument::Tls10 => Version::Tls10,
            TlsArgument::Tls11 => Version::Tls11,
            TlsArgument::Tls12 => Version::Tls12,
            TlsArgument::Tls13 => Version::Tls13,
        },
        weak_cipher: match arguments.weak_cipher {
            WeakArgument::Note => WeakCipher::Note,
            WeakArgument::Deny => WeakCipher::Deny,
        },
    };
    let only = arguments.only.iter().map(|verdict| match verdict {
        VerdictArgument::Allowed => Verdict::Allowed,
        VerdictArgument::Unproven => Verdict::Unproven,
        VerdictArgument::Violation => Verdict::Violation,
    });
    Ok(Plan {
        policy: Policy::new(tables, inventory, names, options),
        authorities,
        only: only.collect(),
        in_scope: arguments.in_scope,
        strict: arguments.strict,
        limits: Limits::default(),
        keys: keys(&arguments.keylog)?,
    })
}

/// The longest key log read, in bytes.
const KEY_LOG_CAP: u64 = 1 << 30;

fn keys(files: &[String]) -> Result<Arc<KeyStore>, Box<dyn Error>> {
    let keys = KeyStore::default();
    for file in files {
        let cannot = |error: io::Error| {
            format!("{file}: cannot be read: {error}; name the file that SSLKEYLOGFILE named")
        };
        let mut log = Vec::new();
        File::open(file)
            .and_then(|opened| opened.take(KEY_LOG_CAP + 1).read_to_end(&mut log))
            .map_err(cannot)?;
        if log.len() as u64 > KEY_LOG_CAP {
            return Err(format!("{file}: is longer than {KEY_LOG_CAP} bytes; split it").into());
        }
        let added = keys.add(&log);
        if let (0, 0, Some(line)) = (added.secrets, added.unused, added.foreign) {
            return Err(format!(
                "{file}: line {line}: not a line of a key log, and no other line is; name the file that \
                 SSLKEYLOGFILE named"
            )
            .into());
        }
    }
    Ok(Arc::new(keys))
}

fn named_tables(arguments: &[String]) -> Result<Vec<Table>, Box<dyn Error>> {
    let mut tables: Vec<Table> = Vec::new();
    for argument in arguments {
        for table in Table::load(argument)? {
            if tables.iter().any(|other| other.name == table.name) {
                return Err(format!(
                    "{argument}: a table named `{}` is in force already; rename one of the files",
                    table.name
                )
                .into());
            }
            tables.push(table);
        }
    }
    Ok(tables)
}
