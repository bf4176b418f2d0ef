//! The summary for people: verdicts, what each documented row saw, the reported flows in groups, what
//! could not be seen and what would show it, and where every packet went.

use std::collections::HashMap;
use std::io::{self, Write};

use super::rows::{RowStatistics, RowTally, Tally};
use super::{Account, Record, clean, csv_report, evidence};
use crate::inventory::Learnt;
use crate::policy::{Policy, Reason, Verdict};

/// Groups of reported flows that are told apart; further flows are only counted.
const GROUPS: usize = 10_000;
/// Groups that are shown.
const SHOWN_GROUPS: usize = 50;
/// Disagreements between capture and inventory that are shown.
const SHOWN_DISPUTES: usize = 20;

/// Sums up judged flows as they come.
#[derive(Debug)]
pub struct Summary {
    strict: bool,
    verdicts: [Tally; 3],
    inferred: u64,
    /// Violations that an overlay not in force would explain.
    deviations: u64,
    unseen: HashMap<Reason, u64>,
    groups: HashMap<GroupKey, Group>,
    ungrouped: u64,
    learnt: usize,
    disputes: Vec<String>,
    disputed: u64,
}

#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct GroupKey {
    verdict: Verdict,
    reason: Option<Reason>,
    /// The overlay row that would explain it.
    deviation: Option<String>,
    source: String,
    destination: String,
    port: u16,
}

#[derive(Debug)]
struct Group {
    flows: u64,
    /// The first flow of the group: order of appearance, its ends, and why.
    first: u64,
    example: String,
    evidence: String,
}

impl Summary {
    /// Nothing yet. With `strict`, unproven and inferred flows are reported as well.
    pub fn new(strict: bool) -> Summary {
        Summary {
            strict,
            verdicts: [Tally::default(); 3],
            inferred: 0,
            deviations: 0,
            unseen: HashMap::new(),
            groups: HashMap::new(),
            ungrouped: 0,
            learnt: 0,
            disputes: Vec::new(),
            disputed: 0,
        }
    }

    /// Adds one judged flow.
    pub fn add(&mut self, record: &Record<'_>) {
        let judgement = record.judgement;
        let (packets, bytes) = (record.counted.packets.iter().sum(), record.counted.bytes.iter().sum());
        self.verdicts[judgement.verdict as usize].add(packets, bytes);
        if judgement.verdict == Verdict::Allowed && judgement.is_inferred() {
            self.inferred += 1;
        }
        self.deviations += u64::from(record.known_deviation.is_some());
        if let (Verdict::Unproven, Some(reason)) = (judgement.verdict, judgement.reason) {
            *self.unseen.entry(reason).or_default() += 1;
        }
        if record.is_reportable(self.strict) {
            self.group(record);
        }
    }

    fn group(&mut self, record: &Record<'_>) {
        let subject = &record.subject;
        let end = |ip: std::net::IpAddr| match csv_report::vm(record, ip) {
            name if name.is_empty() => ip.to_string(),
            name => name,
        };
        let key = GroupKey {
            verdict: record.judgement.verdict,
            reason: record.judgement.reason,
            deviation: record.known_deviation.map(str::to_owned),
            source: end(subject.source.ip),
            destination: end(subject.destination.ip),
            port: subject.destination.port,
        };
        let count = self.groups.len() as u64;
        if let Some(group) = self.groups.get_mut(&key) {
            group.flows += 1;
        } else if self.groups.len() < GROUPS {
            let group = Group {
                flows: 1,
                first: count,
                example: format!(
                    "{}:{} -> {}:{}, packet {} of {}",
                    subject.source.ip,
                    subject.source.port,
                    subject.destination.ip,
                    subject.destination.port,
                    record.counted.first_packet,
                    clean(record.capture)
                ),
                evidence: evidence(record).to_string(),
            };
            self.groups.insert(key, group);
        } else {
            self.ungrouped += 1;
        }
    }

    /// Takes over what names the capture gave to addresses.
    pub fn learn(&mut self, learnt: &Learnt) {
        self.learnt = learnt.addresses();
        self.disputed = learnt.disputed();
        self.disputes = learnt.disputes().iter().take(SHOWN_DISPUTES).map(ToString::to_string).collect();
    }

    /// Where the capture and the inventory disagree about an address, the first of them; unescaped.
    pub fn disputes(&self) -> &[String] {
        &self.disputes
    }

    /// Flows that the exit status reports.
    pub fn reportable(&self) -> u64 {
        self.groups.values().map(|group| group.flows).sum::<u64>() + self.ungrouped
    }

    /// Writes the summary.
    pub fn write(
        &self,
        policy: &Policy,
        rows: &RowStatistics,
        account: &Account,
        output: &mut impl Write,
    ) -> io::Result<()> {
        self.write_verdicts(account, output)?;
        write_rows(policy, rows, output)?;
        self.write_groups(output)?;
        self.write_unseen(output)?;
        self.write_learnt(output)?;
        write_account(account, output)
    }

    fn write_verdicts(&self, account: &Account, output: &mut impl Write) -> io::Result<()> {
        let flows: u64 = self.verdicts.iter().map(|tally| tally.flows).sum();
        writeln!(output, "{flows} flows in {} packets", account.read)?;
        for verdict in Verdict::ALL {
            let tally = &self.verdicts[verdict as usize];
            write!(
                output,
                "  {:<10}{:>9} flows {:>11} packets {:>14} bytes",
                verdict.to_string(),
                tally.flows,
                tally.packets,
                tally.bytes
            )?;
            match verdict {
                Verdict::Allowed if self.inferred > 0 => {
                    writeln!(output, "   {} of these rest on an inference", self.inferred)?;
                }
                Verdict::Violation if self.deviations > 0 => {
                    writeln!(output, "   {} of these are known deviations", self.deviations)?;
                }
                _ => writeln!(output)?,
            }
        }
        if account.out_of_scope > 0 {
            writeln!(output, "  {:<10}{:>9} flows left out by --in-scope", "", account.out_of_scope)?;
        }
        Ok(())
    }

    fn write_groups(&self, output: &mut impl Write) -> io::Result<()> {
        if self.groups.is_empty() {
            return writeln!(output, "\nNothing to report.");
        }
        let mut groups: Vec<(&GroupKey, &Group)> = self.groups.iter().collect();
        groups.sort_by_key(|(key, group)| {
            (std::cmp::Reverse(key.verdict), std::cmp::Reverse(group.flows), group.first)
        });
        let (known, unknown): (Vec<_>, Vec<_>) =
            groups.into_iter().partition(|(key, _)| key.deviation.is_some());
        let flows = |groups: &[(&GroupKey, &Group)]| groups.iter().map(|(_, group)| group.flows).sum::<u64>();
        if unknown.is_empty() {
            writeln!(output, "\nNothing to report but known deviations.")?;
        } else {
            writeln!(output, "\nReported: {} flows in {} groups", flows(&unknown), unknown.len())?;
            write_list(&unknown, output)?;
        }
        if !known.is_empty() {
            writeln!(
                output,
                "\nKnown deviations: {} flows in {} groups that an overlay would explain (--overlay)",
                flows(&known),
                known.len()
            )?;
            write_list(&known, output)?;
        }
        if self.ungrouped > 0 {
            writeln!(
                output,
                "  and {} flows of further groups; the report written with -o has every flow",
                self.ungrouped
            )?;
        }
        Ok(())
    }

    fn write_learnt(&self, output: &mut impl Write) -> io::Result<()> {
        if self.learnt == 0 {
            return Ok(());
        }
        writeln!(
            output,
            "\nNames learnt from the capture: {} addresses; used only where no inventory knows better",
            self.learnt
        )?;
        for dispute in &self.disputes {
            writeln!(output, "  {}", clean(dispute))?;
        }
        let further = self.disputed - self.disputes.len() as u64;
        if further > 0 {
            writeln!(output, "  and {further} further disagreements with the inventory")?;
        }
        Ok(())
    }

    fn write_unseen(&self, output: &mut impl Write) -> io::Result<()> {
        if self.unseen.is_empty() {
            return Ok(());
        }
        writeln!(output, "\nNot seen, and what would show it")?;
        let mut unseen: Vec<(&Reason, &u64)> = self.unseen.iter().collect();
        unseen.sort_by_key(|(reason, _)| **reason);
        for (reason, flows) in unseen {
            writeln!(output, "  {flows:>9} flows {reason}: {}", what_would_show(*reason))?;
        }
        Ok(())
    }
}

/// Groups in their order, at most [`SHOWN_GROUPS`] of them.
fn write_list(groups: &[(&GroupKey, &Group)], output: &mut impl Write) -> io::Result<()> {
    for (key, group) in groups.iter().take(SHOWN_GROUPS) {
        let reason = key.reason.map_or("inferred", Reason::word);
        write!(
            output,
            "  {} {reason}: {} -> {} port {}, {} flows",
            key.verdict, key.source, key.destination, key.port, group.flows
        )?;
        match &key.deviation {
            Some(row) => writeln!(output, ", known as {}", clean(row))?,
            None => writeln!(output)?,
        }
        writeln!(output, "      e.g. {}", group.example)?;
        writeln!(output, "      {}", group.evidence)?;
    }
    if let Some(hidden) = groups.get(SHOWN_GROUPS..).filter(|hidden| !hidden.is_empty()) {
        let flows: u64 = hidden.iter().map(|(_, group)| group.flows).sum();
        writeln!(
            output,
            "  and {flows} flows in {} further groups; the report written with -o has every flow",
            hidden.len()
        )?;
    }
    Ok(())
}

fn write_rows(policy: &Policy, rows: &RowStatistics, output: &mut impl Write) -> io::Result<()> {
    writeln!(
        output,
        "\nDocumented rows{:>57}  {:>9} {:>9} {:>9} {:>11} {:>14}",
        "", "allowed", "unproven", "violation", "packets", "bytes"
    )?;
    for (at, tally) in rows.iter() {
        let name = policy.name(at);
        let row = policy.row(at);
        let path = format!("{} -> {} {}", clean(&row.cells[0]), clean(&row.cells[1]), clean(&row.cells[2]));
        write!(output, "  {:<70}", shorten(&format!("{}  {path}", clean(&name)), 70))?;
        let sum = |f: fn(&Tally) -> u64| tally.by_verdict.iter().map(f).sum::<u64>();
        let [allowed, unproven, violation] = tally.by_verdict.map(|tally| tally.flows);
        let mark = mark(tally);
        writeln!(
            output,
            "  {allowed:>9} {unproven:>9} {violation:>9} {:>11} {:>14}{mark}",
            sum(|tally| tally.packets),
            sum(|tally| tally.bytes)
        )?;
    }
    Ok(())
}

fn mark(tally: &RowTally) -> String {
    match (tally.was_seen(), tally.also.flows) {
        (false, _) => "   never seen".to_owned(),
        (true, 0) => String::new(),
        (true, also) => format!("   or {also} flows of another row"),
    }
}

/// At most `width` characters.
fn shorten(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width - 1).collect();
    short.push('…');
    short
}

fn what_would_show(reason: Reason) -> &'static str {
    match reason {
        Reason::UnseenInventory => {
            "--inventory with a file that names these VMs and their jobs (`bosh instances --ps --json`)"
        }
        Reason::UnseenSubnet => "--inventory with the cloud config (`bosh cloud-config`)",
        Reason::UnseenDirection | Reason::UnseenMidstream => {
            "a capture that starts before these connections do"
        }
        Reason::UnseenLoss => "a capture without loss (a larger buffer: `tcpdump -B 65536`)",
        Reason::UnseenSnaplen => "a longer snaplen (`tcpdump -s 0`, `bosh pcap --snaplen 65535`)",
        Reason::UnseenOneDirection => "a capture that sees both directions",
        Reason::UnseenPort => "nothing: the document names no port",
        Reason::UnseenNoPayload => "nothing: these connections carried no payload",
        Reason::UnseenApplicationNoAlpn => {
            "the session keys: the client offered no ALPN, as Go's HTTPS clients do, so these rows normally end here"
        }
        Reason::UnseenApplication => "the session keys: what is inside TLS is encrypted",
        Reason::UnseenClientCertificate => "the session keys: in TLS 1.3 certificates are encrypted",
        Reason::UnseenResumed => "a capture that holds the connection which these sessions resume",
        Reason::UnseenAuthentication => "a capture that holds every request of these connections",
        _ => "",
    }
}

fn write_account(account: &Account, output: &mut impl Write) -> io::Result<()> {
    write!(output, "\nPackets: {} read = {} in flows", account.read, account.in_flows)?;
    for (scope, name, count) in account.lines() {
        if scope == "packets" && count > 0 && !matches!(name, "read" | "in_flows") {
            write!(output, " + {count} {name}")?;
        }
    }
    writeln!(output)?;
    for (scope, name, count) in account.lines() {
        if matches!(scope, "duplicates" | "caps" | "drops") && count > 0 {
            writeln!(output, "  {scope} {name}: {count}")?;
        }
    }
    Ok(())
}
