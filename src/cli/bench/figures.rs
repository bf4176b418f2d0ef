//! From what was measured to what is shown: medians, ratios and differences, as a table or as CSV.

use std::io::{self, Write};
use std::iter::zip;

use serde::Serialize;

use super::{Measured, Work};
use crate::measure::Stage;

/// What is shown, a line each.
pub(super) struct Figures(Vec<Line>);

/// One line; its fields in order are the columns of the CSV.
#[derive(Debug, Serialize)]
struct Line {
    /// `limit`, `check` or `stage`.
    kind: &'static str,
    name: &'static str,
    threads: usize,
    packets: u64,
    /// Captured bytes of these packets.
    bytes: u64,
    flows: u64,
    /// From beginning to end; empty for a stage, as everything that is about the whole.
    wall_seconds: Option<f64>,
    /// User and system; of a stage, what it adds to the stages before it.
    cpu_seconds: f64,
    packets_per_second: Option<f64>,
    gigabits_per_second: Option<f64>,
    /// Processor time against that of L1 in the same round.
    ratio_l1: Option<f64>,
    /// The same against L2.
    ratio_l2: Option<f64>,
    peak_bytes: Option<u64>,
    own_peak_bytes: Option<u64>,
}

impl Figures {
    pub(super) fn of(measured: &[Measured]) -> Figures {
        let cpu = |work: Work| measured.iter().find(|measured| measured.work == work).map(cpu_seconds);
        let (l1, l2) = (cpu(Work::L1), cpu(Work::L2));
        let line = |measured: &Measured| {
            let own = cpu_seconds(measured);
            let ratio = |limit: &Option<Vec<f64>>| {
                Some(median(zip(&own, limit.as_ref()?).map(|(own, limit)| own / limit)))
            };
            let wall = median(measured.times.iter().map(|time| time.wall.as_secs_f64()));
            let seen = measured.seen;
            let whole = |kind, name, threads| Line {
                kind,
                name,
                threads,
                packets: seen.packets,
                bytes: seen.bytes,
                flows: seen.flows,
                wall_seconds: Some(wall),
                cpu_seconds: median(own.iter().copied()),
                packets_per_second: Some(seen.packets as f64 / wall),
                gigabits_per_second: Some(seen.bytes as f64 * 8e-9 / wall),
                ratio_l1: ratio(&l1),
                ratio_l2: ratio(&l2),
                peak_bytes: measured.memory.all,
                own_peak_bytes: measured.memory.own,
            };
            match measured.work {
                Work::L1 => whole("limit", "L1", 1),
                Work::L2 => whole("limit", "L2", 1),
                Work::Check(threads) => whole("check", "check", threads.get()),
                Work::Through(stage) => {
                    let before = Stage::ALL.into_iter().take_while(|before| *before != stage).last();
                    let before = before.and_then(|before| cpu(Work::Through(before)));
                    let before = before.unwrap_or_else(|| vec![0.0; own.len()]);
                    Line {
                        cpu_seconds: median(zip(&own, before).map(|(own, before)| own - before)),
                        wall_seconds: None,
                        packets_per_second: None,
                        gigabits_per_second: None,
                        ratio_l1: None,
                        ratio_l2: None,
                        ..whole("stage", stage.name(), 1)
                    }
                }
            }
        };
        Figures(measured.iter().map(line).collect())
    }

    /// Writes CSV, with a header.
    pub(super) fn write_csv(&self, output: impl Write) -> csv::Result<()> {
        let mut writer = csv::Writer::from_writer(output);
        for line in &self.0 {
            writer.serialize(line)?;
        }
        Ok(writer.flush()?)
    }

    /// Writes tables for people.
    pub(super) fn write(&self, runs: u16, output: &mut impl Write) -> io::Result<()> {
        let (stages, whole): (Vec<&Line>, Vec<&Line>) = self.0.iter().partition(|line| line.kind == "stage");
        if let Some(Line { packets, bytes, flows, .. }) = whole.last() {
            writeln!(output, "{packets} packets, {bytes} bytes, {flows} flows; medians of {runs} runs")?;
        }
        writeln!(output)?;
        writeln!(
            output,
            "{:<10}{:>8}{:>9}{:>9}{:>13}{:>9}{:>9}{:>9}{:>10}{:>9}",
            "",
            "threads",
            "wall s",
            "CPU s",
            "packets/s",
            "Gbit/s",
            "CPU/L1",
            "CPU/L2",
            "peak MiB",
            "own MiB"
        )?;
        let cell = |value: Option<f64>, digits: usize| {
            value.map(|value| format!("{value:.digits$}")).unwrap_or_default()
        };
        let mebibytes = |bytes: Option<u64>| bytes.map(|bytes| (bytes >> 20).to_string()).unwrap_or_default();
        for line in &whole {
            writeln!(
                output,
                "{:<10}{:>8}{:>9}{:>9.3}{:>13}{:>9}{:>9}{:>9}{:>10}{:>9}",
                line.name,
                line.threads,
                cell(line.wall_seconds, 3),
                line.cpu_seconds,
                cell(line.packets_per_second, 0),
                cell(line.gigabits_per_second, 2),
                cell(line.ratio_l1, 2),
                cell(line.ratio_l2, 2),
                mebibytes(line.peak_bytes),
                mebibytes(line.own_peak_bytes),
            )?;
        }
        writeln!(
            output,
            "\n{:<10}{:>8}{:>9}{:>9}{:>14}{:>13}",
            "stage", "", "", "CPU s", "ns a packet", "ns a flow"
        )?;
        for line in &stages {
            let each = |of: u64| line.cpu_seconds * 1e9 / of.max(1) as f64;
            let flows = if line.flows > 0 { format!("{:.0}", each(line.flows)) } else { String::new() };
            let packets = each(line.packets);
            writeln!(output, "{:<10}{:>26.3}{packets:>14.1}{flows:>13}", line.name, line.cpu_seconds)?;
        }
        writeln!(output, "\n{NOTE}")
    }
}

const NOTE: &str = "\
L1 touches every record and the first 64 bytes of each packet; L2 also makes five-tuples and looks each up in
a hash table. check is `flowaudit check` with its report to nowhere; packets/s and Gbit/s are by the wall. CPU is
user and system time; CPU/L1 and CPU/L2 are medians of ratios within one round. A stage's time is that of the
audit on one thread up to this stage, less that of the audit up to the stage before. Peak memory counts the
pages of mapped captures, which the system takes back at need; own memory does not, and is looked at every 5 ms.";

fn cpu_seconds(measured: &Measured) -> Vec<f64> {
    measured.times.iter().map(|time| time.cpu.as_secs_f64()).collect()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle), values.len() % 2) {
        (None, _) => 0.0,
        (Some(value), 1) => *value,
        (Some(value), _) => (values[middle - 1] + value) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Seen;
    use crate::measure::meter::{Memory, Time};
    use std::num::NonZero;
    use std::time::Duration;

    fn measured(work: Work, cpu: [u64; 3]) -> Measured {
        let seen = Seen { packets: 1000, bytes: 1_000_000, flows: 10 };
        let time = |cpu| Time { wall: Duration::from_millis(cpu / 2), cpu: Duration::from_millis(cpu) };
        let memory = Memory { all: Some(3 << 20), own: None };
        Measured { work, seen, times: cpu.map(time).to_vec(), memory }
    }

    fn figures() -> Figures {
        Figures::of(&[
            measured(Work::L1, [50, 100, 100]),
            measured(Work::L2, [100, 200, 200]),
            measured(Work::Through(Stage::Read), [20, 30, 40]),
            measured(Work::Through(Stage::Decode), [50, 61, 72]),
            measured(Work::Check(NonZero::new(2).unwrap()), [150, 400, 410]),
        ])
    }

    #[test]
    fn medians_ratios_and_differences() {
        let Figures(lines) = figures();
        let [l1, _, read, decode, check] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((l1.ratio_l1, l1.ratio_l2), (Some(1.0), Some(0.5)));
        assert_eq!((check.ratio_l2, check.wall_seconds), (Some(2.0), Some(0.2)));
        assert_eq!((check.packets_per_second, check.gigabits_per_second), (Some(5000.0), Some(0.04)));
        assert_eq!(check.cpu_seconds, 0.4);
        assert_eq!(read.cpu_seconds, 0.03);
        assert!((decode.cpu_seconds - 0.031).abs() < 1e-9);
        assert_eq!((decode.wall_seconds, decode.ratio_l2), (None, None));
    }

    #[test]
    fn without_limits_there_are_no_ratios() {
        let Figures(lines) = Figures::of(&[measured(Work::Check(NonZero::<usize>::MIN), [1, 2, 3])]);
        assert_eq!((lines[0].ratio_l1, lines[0].ratio_l2), (None, None));
    }

    #[test]
    fn both_forms_have_every_line() {
        let (mut text, mut csv) = (Vec::new(), Vec::new());
        figures().write(3, &mut text).unwrap();
        figures().write_csv(&mut csv).unwrap();
        let text = String::from_utf8(text).unwrap();
        for name in ["L1  ", "L2  ", "check  ", "read  ", "decode  "] {
            assert_eq!(text.lines().filter(|line| line.starts_with(name)).count(), 1, "{name}\n{text}");
        }
        let mut csv = csv::Reader::from_reader(&csv[..]);
        let header = csv.headers().unwrap().clone();
        assert_eq!(header.iter().next_back(), Some("own_peak_bytes"));
        let last = csv.records().last().unwrap().unwrap();
        assert_eq!(
            last.iter().take(8).collect::<Vec<_>>(),
            ["check", "check", "2", "1000", "1000000", "10", "0.2", "0.4"]
        );
    }

    #[test]
    fn medians() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
        assert_eq!(median([].into_iter()), 0.0);
    }
}
