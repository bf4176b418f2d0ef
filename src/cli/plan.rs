//! What the program will do: every file read, every table bound, every choice made.

use std::error::Error;
use std::sync::Arc;

use super::args::{
    AuditArguments, JudgingArguments, ScopeArgument, TlsArgument, VerdictArgument, WeakArgument,
};
use super::keylog;
use crate::audit::Plan;
use crate::flow::Limits;
use crate::inventory::{Inventory, Names};
use crate::pki::Authorities;
use crate::policy::{Options, Policy, SubnetScope, Table, Verdict, WeakCipher};
use crate::protocol::tls::Version;

/// Reads what the arguments name and makes an audit's plan of it.
pub(super) fn plan(arguments: &AuditArguments) -> Result<Plan, Box<dyn Error>> {
    let judging = judging(&arguments.judging)?;
    let only = arguments.only.iter().map(|verdict| match verdict {
        VerdictArgument::Allowed => Verdict::Allowed,
        VerdictArgument::Unproven => Verdict::Unproven,
        VerdictArgument::Violation => Verdict::Violation,
    });
    let memory = arguments.max_memory.unwrap_or_default().bytes();
    let (limits, sessions) = (Limits::within(memory), sessions(memory));
    Ok(Plan { only: only.collect(), in_scope: arguments.in_scope, limits, sessions, ..judging })
}

/// As many TLS sessions as a sixteenth of the memory holds, of half a kilobyte each.
fn sessions(memory: u64) -> usize {
    usize::try_from(memory / 16 / 512).map_or(Plan::SESSIONS, |most| most.min(Plan::SESSIONS))
}

/// A plan that leaves no flow out.
pub(super) fn judging(arguments: &JudgingArguments) -> Result<Plan, Box<dyn Error>> {
    let mut tables =
        if arguments.policy.is_empty() { Table::built_in()? } else { named_tables(&arguments.policy)? };
    for argument in &arguments.overlay {
        add(&mut tables, argument, Table::load_overlay(argument)?)?;
    }
    let mut deviations = Table::shipped_overlays()?;
    deviations.retain(|overlay| tables.iter().all(|table| table.name != overlay.name));
    let (inventory, names) = inventory(arguments)?;
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
    let policy = Policy::new(tables, inventory, names, options);
    Ok(Plan {
        deviations: policy.with_tables(deviations),
        policy,
        authorities: authorities(arguments)?,
        only: Vec::new(),
        in_scope: false,
        learn: !arguments.no_learn,
        strict: arguments.strict,
        limits: Limits::default(),
        sessions: Plan::SESSIONS,
        keys: Arc::new(keylog::read(&arguments.keylog)?),
        owners: None,
    })
}

/// The same plan with inventory and authorities read again, and the tables as they are.
pub(super) fn renewed(plan: &Plan, arguments: &JudgingArguments) -> Result<Plan, Box<dyn Error>> {
    let (inventory, names) = inventory(arguments)?;
    let tables = |policy: &Policy| policy.tables().to_vec();
    let policy = Policy::new(tables(&plan.policy), inventory, names, *plan.policy.options());
    Ok(Plan {
        deviations: policy.with_tables(tables(&plan.deviations)),
        policy,
        authorities: authorities(arguments)?,
        only: plan.only.clone(),
        keys: Arc::clone(&plan.keys),
        owners: plan.owners.clone(),
        ..*plan
    })
}

fn inventory(arguments: &JudgingArguments) -> Result<(Inventory, Names), Box<dyn Error>> {
    let (inventory, names) = Inventory::read(&arguments.inventory)?;
    for conflict in inventory.conflicts() {
        super::complain(&format!("warning: {conflict}"));
    }
    Ok((inventory, names))
}

fn authorities(arguments: &JudgingArguments) -> Result<Option<Authorities>, Box<dyn Error>> {
    Ok(if arguments.ca.is_empty() { None } else { Some(Authorities::read(&arguments.ca)?) })
}

/// The tables that `--policy` arguments name, together.
pub(super) fn named_tables(arguments: &[String]) -> Result<Vec<Table>, Box<dyn Error>> {
    let mut tables: Vec<Table> = Vec::new();
    for argument in arguments {
        for table in Table::load(argument)? {
            add(&mut tables, argument, table)?;
        }
    }
    Ok(tables)
}

/// Rows are named by their table in reports, so no two tables bear one name.
fn add(tables: &mut Vec<Table>, argument: &str, table: Table) -> Result<(), Box<dyn Error>> {
    if tables.iter().any(|other| other.name == table.name) {
        return Err(format!(
            "{argument}: a table named `{}` is in force already; rename one of the files",
            table.name
        )
        .into());
    }
    tables.push(table);
    Ok(())
}
