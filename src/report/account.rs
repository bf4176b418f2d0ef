//! Where every packet went, and what caps and damage kept from being seen: `FILE.account.csv`.

use std::collections::BTreeMap;
use std::io;

use super::PacketCounts;
use crate::packet::Uncounted;

/// Packets read, packets in flows, and packets that belong to no flow by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Packets read from all captures.
    pub read: u64,
    /// Packets in flows.
    pub in_flows: u64,
    /// Packets that the `--filter` left out.
    pub filtered_out: u64,
    /// Packets that belong to no flow, by reason.
    pub uncounted: BTreeMap<Uncounted, u64>,
    /// Packets inside tunnels that are in flows of their own; each is among `read` once, as its tunnel's.
    pub tunnelled: u64,
    /// Packets of tunnels whose frame inside was not decoded: not IP, malformed, cut, a fragment, too deep.
    pub tunnelled_unread: u64,
    /// Flows begun.
    pub flows: u64,
    /// Flows that `--in-scope` left out of the verdicts.
    pub out_of_scope: u64,
    /// TCP segments whose bytes had all been seen before.
    pub repeated_segments: u64,
    /// Fragments that brought other bytes than earlier ones of their datagram.
    pub differing_fragments: u64,
    /// Flows that ended early to make room for others.
    pub evicted_flows: u64,
    /// Times a flow had to give up bytes because all of them together held too many.
    pub stream_cap: u64,
    /// Times bytes that were read were not kept to be compared for that reason; no finding rests on them.
    pub uncompared: u64,
    /// Directions that were read no more because their headers made more work than packets earn.
    pub header_work: u64,
    /// TLS sessions that could not be remembered for those that resume them, because there were too many.
    pub session_cap: u64,
    /// Key log lines left out because there were too many sessions.
    pub key_cap: u64,
    /// Names that the capture gave to addresses, given up because of a cap.
    pub learnt_names: u64,
    /// What became of the packets of reported flows, with `--evidence`.
    pub evidence: Option<PacketCounts>,
    /// Packets that the kernel or the interface dropped, when live.
    pub dropped: [u64; 2],
}

/// The word for a reason in the account.
fn word(reason: Uncounted) -> &'static str {
    match reason {
        Uncounted::NotIp => "not_ip",
        Uncounted::Malformed => "malformed",
        Uncounted::TruncatedBeforePorts => "truncated_before_ports",
        Uncounted::FragmentIncomplete => "fragment_incomplete",
        Uncounted::FragmentCap => "fragment_cap",
        Uncounted::LinkType => "link_type",
    }
}

impl Account {
    /// Every line: scope, name, count. Packets by reason add up to those read.
    pub fn lines(&self) -> Vec<(&'static str, &'static str, u64)> {
        let mut lines = vec![
            ("packets", "read", self.read),
            ("packets", "in_flows", self.in_flows),
            ("packets", "filtered_out", self.filtered_out),
        ];
        for reason in [
            Uncounted::NotIp,
            Uncounted::Malformed,
            Uncounted::TruncatedBeforePorts,
            Uncounted::FragmentIncomplete,
            Uncounted::FragmentCap,
            Uncounted::LinkType,
        ] {
            lines.push(("packets", word(reason), self.uncounted.get(&reason).copied().unwrap_or(0)));
        }
        lines.extend([
            ("tunnels", "in_flows", self.tunnelled),
            ("tunnels", "not_decoded", self.tunnelled_unread),
            ("flows", "total", self.flows),
            ("flows", "out_of_scope", self.out_of_scope),
            ("duplicates", "tcp_segments", self.repeated_segments),
            ("duplicates", "fragments_differing", self.differing_fragments),
            ("caps", "flows_evicted", self.evicted_flows),
            ("caps", "stream_bytes", self.stream_cap),
            ("caps", "compared_bytes", self.uncompared),
            ("caps", "tls_sessions", self.session_cap),
            ("caps", "key_log_sessions", self.key_cap),
            ("caps", "learnt_names", self.learnt_names),
            ("drops", "kernel", self.dropped[0]),
            ("drops", "interface", self.dropped[1]),
        ]);
        if self.header_work > 0 {
            lines.push(("caps", "header_work", self.header_work));
        }
        if let Some(evidence) = self.evidence {
            lines.extend([
                ("evidence", "files", evidence.files),
                ("evidence", "not_written", evidence.not_written),
                ("evidence", "file_cap", evidence.file_cap),
                ("evidence", "memory_cap", evidence.held_cap),
            ]);
        }
        lines
    }

    /// Packets that are neither in a flow nor counted by reason; zero, or a defect.
    pub fn unaccounted(&self) -> i128 {
        let counted = self.in_flows + self.filtered_out + self.uncounted.values().sum::<u64>();
        i128::from(self.read) - i128::from(counted)
    }

    /// Writes the account as CSV.
    pub fn write(&self, output: impl io::Write) -> csv::Result<()> {
        let mut writer = csv::Writer::from_writer(output);
        writer.write_record(["scope", "name", "count"])?;
        for (scope, name, count) in self.lines() {
            writer.write_record([scope, name, &count.to_string()])?;
        }
        writer.flush()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_by_reason_add_up_to_those_read() {
        let mut account = Account { read: 10, in_flows: 4, filtered_out: 4, ..Account::default() };
        assert_eq!(account.unaccounted(), 2);
        account.uncounted.extend([(Uncounted::NotIp, 1), (Uncounted::Malformed, 1)]);
        assert_eq!(account.unaccounted(), 0);
        account.in_flows += 1;
        assert_eq!(account.unaccounted(), -1);
        let lines = account.lines();
        let packets = lines.iter().filter(|(scope, name, _)| *scope == "packets" && *name != "read");
        assert_eq!(packets.map(|(_, _, count)| count).sum::<u64>(), 11);
    }

    #[test]
    fn every_line_stands_there_also_when_it_counts_nothing() {
        let mut csv = Vec::new();
        let account = Account { read: 7, dropped: [2, 1], ..Account::default() };
        account.write(&mut csv).unwrap();
        let csv = String::from_utf8(csv).unwrap();
        assert!(csv.starts_with("scope,name,count\npackets,read,7\npackets,in_flows,0\n"), "{csv}");
        assert!(csv.ends_with("drops,kernel,2\ndrops,interface,1\n"), "{csv}");
        assert_eq!(csv.lines().count(), 1 + account.lines().len());
    }
}
