//! The summary for people: verdicts, what each documented row saw, the reported flows in groups, what
//! could not be seen and what would show it, and where every packet went.

use std::io::{self, Write};

use super::groups::{GROUPS, Groups};
use super::rows::{RowStatistics, RowTally, Tally};
use super::strength::Strength;
use super::{Account, Record, clean, number};
use crate::inventory::Learnt;
use crate::policy::{Policy, Reason, Verdict};

/// Disagreements between capture and inventory that are shown.
const SHOWN_DISPUTES: usize = 20;

/// Sums up judged flows as they come.
#[derive(Clone, Debug)]
pub struct Summary {
    strict: bool,
    verdicts: [Tally; 3],
    inferred: u64,
    /// Violations that an overlay not in force would explain.
    deviations: u64,
    /// Unproven flows, by [`Reason`].
    unseen: [u64; Reason::ALL.len()],
    strength: Strength,
    groups: Groups,
    learnt: usize,
    disputes: Vec<String>,
    disputed: u64,
}

impl Summary {
    /// The most flows of a part that is merged: no more than there may be groups, so that a part tells
    /// all of its flows apart.
    pub const PART: usize = GROUPS;

    /// Nothing yet. With `strict`, unproven and inferred flows are reported as well.
    pub fn new(strict: bool) -> Summary {
        Summary {
            strict,
            verdicts: [Tally::default(); 3],
            inferred: 0,
            deviations: 0,
            unseen: [0; Reason::ALL.len()],
            strength: Strength::default(),
            groups: Groups::default(),
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
            self.unseen[reason as usize] += 1;
        }
        self.strength.add(record);
        if record.is_reportable(self.strict) {
            self.groups.add(record);
        }
    }

    /// Flows so far, by [`Verdict`].
    pub fn verdicts(&self) -> [u64; 3] {
        self.verdicts.map(|tally| tally.flows)
    }

    /// Flows are judged by another policy from now on than by this one.
    pub fn settle(&mut self, policy: &Policy) {
        self.groups.settle(policy);
    }

    /// Gives the sum so far, as a part for [`Summary::merge`], and begins the next part. A group that was in
    /// an earlier part is counted in later ones and not told again.
    pub fn take(&mut self) -> Summary {
        let groups = self.groups.take();
        let rest = Summary { groups: std::mem::take(&mut self.groups), ..Summary::new(self.strict) };
        Summary { groups, ..std::mem::replace(self, rest) }
    }

    /// Adds the sum of flows that came right after these, at most [`Summary::PART`] of them: it is as if
    /// they had been added here one by one. What was learnt is not part of it.
    pub fn merge(&mut self, later: Summary) {
        for (tally, more) in self.verdicts.iter_mut().zip(later.verdicts) {
            tally.merge(more);
        }
        self.inferred += later.inferred;
        self.deviations += later.deviations;
        for (flows, more) in self.unseen.iter_mut().zip(later.unseen) {
            *flows += more;
        }
        self.strength.merge(&later.strength);
        self.groups.merge(later.groups);
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
        self.groups.flows()
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
        self.groups.write(policy, output)?;
        self.write_unseen(output)?;
        self.strength.write(policy, output)?;
        self.write_learnt(output)?;
        write_account(account, output)
    }

    fn write_verdicts(&self, account: &Account, output: &mut impl Write) -> io::Result<()> {
        let flows: u64 = self.verdicts.iter().map(|tally| tally.flows).sum();
        writeln!(output, "{} in {}", number(flows, "flow"), number(account.read, "packet"))?;
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

    fn write_learnt(&self, output: &mut impl Write) -> io::Result<()> {
        if self.learnt == 0 {
            return Ok(());
        }
        writeln!(
            output,
            "\nNames learnt from the capture for {}, used only where no inventory knows better",
            number(self.learnt as u64, "host")
        )?;
        for dispute in &self.disputes {
            writeln!(output, "  {}", clean(dispute))?;
        }
        let further = self.disputed - self.disputes.len() as u64;
        if further > 0 {
            writeln!(output, "  and {} with the inventory", number(further, "further disagreement"))?;
        }
        Ok(())
    }

    fn write_unseen(&self, output: &mut impl Write) -> io::Result<()> {
        let mut unseen = Reason::ALL.iter().zip(self.unseen).filter(|(_, flows)| *flows > 0).peekable();
        if unseen.peek().is_some() {
            writeln!(output, "\nNot seen, and what would show it")?;
        }
        for (reason, flows) in unseen {
            writeln!(output, "  {flows:>9} flows {reason}: {}", what_would_show(*reason))?;
        }
        Ok(())
    }
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
        (true, also) => format!("   or {} of another row", number(also, "flow")),
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

/// What the operator can do to have it shown; empty for what is not unseen.
pub(super) fn what_would_show(reason: Reason) -> &'static str {
    match reason {
        Reason::UnseenInventory => {
            "--inventory with a file that names these VMs and their jobs (`bosh instances --ps --json`)"
        }
        Reason::UnseenSubnet => "--inventory with the cloud config (`bosh cloud-config`)",
        Reason::UnseenDirection | Reason::UnseenMidstream => {
            "a capture that starts before these connections do"
        }
        Reason::UnseenLoss => "a capture without loss (a larger buffer: `tcpdump -B 65536`)",
        Reason::UnseenMemory => "a larger --max-memory, where the caps below count what was given up",
        Reason::UnseenSnaplen => "a longer snaplen (`tcpdump -s 0`, `bosh pcap --snaplen 65535`)",
        Reason::UnseenOneDirection => "a capture that sees both directions",
        Reason::UnseenPort => "a table that names the port: this document leaves it open",
        Reason::UnseenNoPayload => "nothing: these connections carried no payload",
        Reason::UnseenApplicationNoAlpn => {
            "--keylog with the session keys: the client offered no ALPN, as Go's HTTPS clients do, so these rows normally end here"
        }
        Reason::UnseenApplication => "--keylog with the session keys: what is inside TLS is encrypted",
        Reason::UnseenClientCertificate => {
            "--keylog with the session keys: in TLS 1.3 certificates are encrypted"
        }
        Reason::UnseenResumed => "a capture that holds the connection which these sessions resume",
        Reason::UnseenAuthentication => {
            "a capture that holds every request of these connections; inside TLS, --keylog with the session keys"
        }
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
        if matches!(scope, "duplicates" | "caps" | "evidence" | "drops") && count > 0 {
            writeln!(output, "  {scope} {name}: {count}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{CELL, Case, DOPPLER, Handshake, LOG_API, MUTUAL, STRANGER, UAA, policy};
    use crate::report::groups::SHOWN_GROUPS;
    use crate::report::testing::judged;

    /// The summary of these flows.
    fn summed(cases: &[Case], strict: bool) -> (String, u64) {
        let policy = policy();
        let mut summary = Summary::new(strict);
        let mut rows = RowStatistics::new(&policy);
        for case in cases {
            let judged = judged(&policy, case, None);
            summary.add(&judged.record());
            rows.add(&judged.judgement, 9, 900);
        }
        let account = Account { read: 9 * cases.len() as u64, ..Account::default() };
        let mut text = Vec::new();
        summary.write(&policy, &rows, &account, &mut text).unwrap();
        (String::from_utf8(text).unwrap(), summary.reportable())
    }

    fn flow(source: &str, destination: &str, port: u16) -> Case {
        Case::new(source, destination, port, MUTUAL.observed())
    }

    #[test]
    fn reported_flows_are_grouped_by_reason_ends_and_port() {
        let cases = [flow(CELL, DOPPLER, 8082), flow(STRANGER, UAA, 8443), flow(CELL, DOPPLER, 8082)];
        let (text, reportable) = summed(&cases, false);
        assert_eq!(reportable, 3);
        let groups = "Reported: 3 flows in 2 groups
  violation wrong_source: diego-cell/0 -> doppler/0 port 8082, 2 flows
      e.g. 10.0.4.15:40000 -> 10.0.4.10:8082, packet 17 of a.pcap
      source: 10.0.4.15 is diego-cell/0 and does not run Loggregator Agent; ";
        assert!(text.contains(groups), "{text}");
        assert!(text.contains("violation wrong_source: 10.0.4.200 -> uaa/0 port 8443, 1 flow"), "{text}");
    }

    #[test]
    fn strict_reports_what_is_unproven_or_inferred() {
        let no_alpn = Handshake { offered: &[], chosen: None, ..MUTUAL };
        let cases = [flow(LOG_API, DOPPLER, 8082), Case::new(LOG_API, UAA, 8443, no_alpn.observed())];
        let (text, reportable) = summed(&cases, false);
        assert_eq!(reportable, 0);
        assert!(text.contains("Nothing to report."), "{text}");
        assert!(text.contains("1 of these rest on an inference"), "{text}");
        assert!(
            text.contains("1 flows unseen_application_no_alpn: --keylog with the session keys"),
            "{text}"
        );
        let (text, reportable) = summed(&cases, true);
        assert_eq!(reportable, 2);
        assert!(text.contains("  allowed inferred: log-api/0 -> doppler/0 port 8082, 1 flow"), "{text}");
        assert!(text.contains("  unproven unseen_application_no_alpn: log-api/0 -> uaa/0"), "{text}");
    }

    #[test]
    fn at_most_fifty_groups_are_shown_and_the_rest_is_counted() {
        let cases: Vec<Case> = (0..60).map(|n| flow(&format!("192.0.2.{n}"), UAA, 8443)).collect();
        let (text, reportable) = summed(&cases, false);
        assert_eq!(reportable, 60);
        assert_eq!(text.matches("violation wrong_source: ").count(), SHOWN_GROUPS);
        assert!(text.contains("  and 10 flows in 10 further groups"), "{text}");
    }

    #[test]
    fn every_documented_row_is_listed_and_those_never_seen_are_marked() {
        let (text, _) = summed(&[flow(LOG_API, DOPPLER, 8082)], false);
        assert_eq!(text.matches("never seen").count(), 13);
        assert!(text.contains("or 1 flow of another row"), "{text}");
    }

    #[test]
    fn every_unseen_reason_says_what_would_show_it() {
        let unseen = Reason::ALL.iter().filter(|reason| reason.word().starts_with("unseen"));
        assert_eq!(unseen.clone().count(), 15);
        for reason in unseen {
            assert!(!what_would_show(*reason).is_empty(), "{reason}");
        }
    }

    #[test]
    fn packets_that_are_in_no_flow_are_named() {
        let mut account = Account { read: 5, in_flows: 2, filtered_out: 3, ..Account::default() };
        account.dropped = [4, 0];
        let mut text = Vec::new();
        write_account(&account, &mut text).unwrap();
        let expected = "\nPackets: 5 read = 2 in flows + 3 filtered_out\n  drops kernel: 4\n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }
}
