//! The last stage: rows to the report, in order.

use std::io;

use crate::report::{CsvReport, Rows};

/// Writes the report, until that fails.
pub(super) struct Writer<W: io::Write> {
    report: Option<CsvReport<W>>,
    error: Option<csv::Error>,
}

impl<W: io::Write> Writer<W> {
    /// Begins a report, if there is somewhere to write it.
    pub(super) fn new(report: Option<W>) -> csv::Result<Writer<W>> {
        Ok(Writer { report: report.map(CsvReport::new).transpose()?, error: None })
    }

    /// There is a report to make rows for.
    pub(super) fn is_given(&self) -> bool {
        self.report.is_some()
    }

    /// The report could not be written.
    pub(super) fn has_failed(&self) -> bool {
        self.error.is_some()
    }

    /// Takes the rows that come next, and empties them.
    pub(super) fn write(&mut self, rows: &mut Rows) {
        if let (Some(report), None) = (&mut self.report, &self.error) {
            self.error = report.append(rows).err().map(csv::Error::from);
        }
        rows.clear();
    }

    /// Everything taken so far reaches the output.
    pub(super) fn flush(&mut self) {
        if let (Some(report), None) = (&mut self.report, &self.error) {
            self.error = report.flush().err().map(csv::Error::from);
        }
    }

    /// Flushes the report and gives it back; what comes next is not written until another is begun.
    pub(super) fn take(&mut self) -> Option<W> {
        self.flush();
        self.report.take().and_then(CsvReport::into_inner)
    }

    /// The report that could not be written, and why; what comes next is not written until another is begun.
    pub(super) fn take_failed(&mut self) -> Option<(W, csv::Error)> {
        let error = self.error.take()?;
        Some((self.report.take().and_then(CsvReport::into_inner)?, error))
    }

    /// Begins another report.
    pub(super) fn begin(&mut self, report: W) -> csv::Result<()> {
        self.report = Some(CsvReport::new(report)?);
        Ok(())
    }

    /// Writes what is left; gives the error, if one came up at any time.
    pub(super) fn finish(mut self) -> Option<csv::Error> {
        self.flush();
        self.error
    }
}
