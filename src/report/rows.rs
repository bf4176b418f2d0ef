//! What every row of the tables saw: `FILE.rows.csv`, and the summary's lines.

use std::io;

use crate::policy::{Judgement, Policy, RowRef, Verdict};

/// Flows, packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Flows.
    pub flows: u64,
    /// Packets, both ways.
    pub packets: u64,
    /// Bytes on the wire, both ways.
    pub bytes: u64,
}

impl Tally {
    /// Adds another tally.
    pub fn merge(&mut self, more: Tally) {
        self.flows += more.flows;
        self.packets += more.packets;
        self.bytes += more.bytes;
    }

    /// Adds one flow.
    pub fn add(&mut self, packets: u64, bytes: u64) {
        self.flows += 1;
        self.packets += packets;
        self.bytes += bytes;
    }
}

/// What one row saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowTally {
    /// Flows it decides, by [`Verdict`]; on violations it is the closest row.
    pub by_verdict: [Tally; 3],
    /// Flows that another row decides and this one would allow or leave unproven too.
    pub also: Tally,
}

impl RowTally {
    /// Some flow went as this row documents, as far as could be seen.
    pub fn was_seen(&self) -> bool {
        self.by_verdict[Verdict::Allowed as usize].flows
            + self.by_verdict[Verdict::Unproven as usize].flows
            + self.also.flows
            > 0
    }
}

/// What all rows saw, in table order.
#[derive(Clone, Debug)]
pub struct RowStatistics {
    tables: Vec<Vec<RowTally>>,
}

impl RowStatistics {
    /// Nothing seen yet.
    pub fn new(policy: &Policy) -> RowStatistics {
        let tables =
            policy.tables().iter().map(|table| vec![RowTally::default(); table.rows.len()]).collect();
        RowStatistics { tables }
    }

    /// Counts one judged flow.
    pub fn add(&mut self, judgement: &Judgement, packets: u64, bytes: u64) {
        if let Some(at) = judgement.row {
            self.tables[at.table][at.row].by_verdict[judgement.verdict as usize].add(packets, bytes);
        }
        for at in &judgement.also {
            self.tables[at.table][at.row].also.add(packets, bytes);
        }
    }

    /// Adds what the rows of the same policy saw of other flows, in whichever order.
    pub fn merge(&mut self, more: &RowStatistics) {
        for (row, more) in self.tables.iter_mut().flatten().zip(more.tables.iter().flatten()) {
            for (tally, more) in row.by_verdict.iter_mut().zip(more.by_verdict) {
                tally.merge(more);
            }
            row.also.merge(more.also);
        }
    }

    /// Every row with what it saw.
    pub fn iter(&self) -> impl Iterator<Item = (RowRef, &RowTally)> {
        self.tables.iter().enumerate().flat_map(|(table, rows)| {
            rows.iter().enumerate().map(move |(row, tally)| (RowRef { table, row }, tally))
        })
    }

    /// Writes the rows as CSV.
    pub fn write(&self, policy: &Policy, output: impl io::Write) -> csv::Result<()> {
        let mut writer = csv::Writer::from_writer(output);
        let columns = ["allowed", "unproven", "violation", "also"];
        let counts = columns.iter().flat_map(|column| {
            ["flows", "packets", "bytes"].iter().map(move |what| format!("{what}_{column}"))
        });
        let header =
            ["table", "row", "documented", "seen"].iter().map(|word| (*word).to_owned()).chain(counts);
        writer.write_record(header)?;
        for (at, tally) in self.iter() {
            let cells: Vec<String> =
                policy.row(at).cells.iter().map(|cell| super::clean(cell).to_string()).collect();
            let seen = if tally.was_seen() { "yes" } else { "never" };
            let fixed = [
                super::clean(&policy.tables()[at.table].name).to_string(),
                (at.row + 1).to_string(),
                cells.join(" | "),
                seen.to_owned(),
            ];
            let tallies = tally.by_verdict.iter().chain([&tally.also]);
            let counts =
                tallies.flat_map(|tally| [tally.flows, tally.packets, tally.bytes]).map(|n| n.to_string());
            writer.write_record(fixed.into_iter().chain(counts).map(|field| super::clean_field(&field)))?;
        }
        writer.flush()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{CELL, Case, DOPPLER, LOG_API, MUTUAL, STRANGER, policy};
    use std::collections::HashMap;

    #[test]
    fn a_flow_counts_for_the_row_that_decides_and_for_those_that_would_allow_it_too() {
        let policy = policy();
        let mut rows = RowStatistics::new(&policy);
        for (source, destination, port) in [
            (LOG_API, DOPPLER, 8082),
            (LOG_API, DOPPLER, 8082),
            (CELL, DOPPLER, 8082),
            (STRANGER, "192.0.2.9", 9999),
        ] {
            let case = Case::new(source, destination, port, MUTUAL.observed());
            rows.add(&case.judge(&policy), 9, 900);
        }
        let mut csv = Vec::new();
        rows.write(&policy, &mut csv).unwrap();
        let read: Vec<HashMap<String, String>> =
            csv::Reader::from_reader(&csv[..]).deserialize().map(Result::unwrap).collect();
        assert_eq!(read.len(), 16);
        let of = |row: usize, column: &str| read[row - 1][column].clone();
        assert_eq!((of(2, "flows_allowed"), of(2, "packets_allowed")), ("2".to_owned(), "18".to_owned()));
        assert_eq!((of(2, "flows_violation"), of(2, "bytes_violation")), ("1".to_owned(), "900".to_owned()));
        assert_eq!((of(3, "flows_allowed"), of(3, "flows_also")), ("0".to_owned(), "2".to_owned()));
        assert_eq!(
            (of(2, "seen"), of(3, "seen"), of(4, "seen")),
            ("yes".into(), "yes".into(), "never".into())
        );
        assert_eq!((of(12, "table"), of(12, "row")), ("log-cache".to_owned(), "1".to_owned()));
    }

    #[test]
    fn a_violation_alone_is_no_sight_of_the_row() {
        let policy = policy();
        let mut rows = RowStatistics::new(&policy);
        rows.add(&Case::new(CELL, DOPPLER, 8082, MUTUAL.observed()).judge(&policy), 1, 1);
        assert!(rows.iter().all(|(_, tally)| !tally.was_seen()));
    }
}
