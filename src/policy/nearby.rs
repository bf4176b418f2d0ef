//! Which rows name an end of a flow, so that a flow on a port that no row documents is held against those
//! only: tables may have tens of thousands of rows.

use std::borrow::Cow;
use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::ends::BoundEnd;
use crate::inventory::Vm;

/// Rows by what their ends name.
#[derive(Debug, Default)]
pub(super) struct Nearby {
    by_group: HashMap<String, Vec<usize>, RandomState>,
    by_job: HashMap<String, Vec<usize>, RandomState>,
    /// Rows with an end that is not told by a VM, in table order.
    anywhere: Vec<usize>,
}

impl Nearby {
    /// Adds one end of the row at this index.
    pub(super) fn add(&mut self, index: usize, end: &BoundEnd) {
        match end {
            BoundEnd::AnyInSubnet => self.add_anywhere(index),
            BoundEnd::AnyVmRunning { component, .. } => {
                for job in component.jobs() {
                    self.by_job.entry(job.to_owned()).or_default().push(index);
                }
            }
            BoundEnd::Vm { groups, .. } => {
                for group in groups {
                    self.by_group.entry(group.clone()).or_default().push(index);
                }
            }
            BoundEnd::Either(ends) => ends.iter().for_each(|end| self.add(index, end)),
        }
    }

    /// Adds a row whose ends are told by where its addresses are.
    pub(super) fn add_anywhere(&mut self, index: usize) {
        if self.anywhere.last() != Some(&index) {
            self.anywhere.push(index);
        }
    }

    /// Rows that may name one of these VMs or groups, in table order.
    pub(super) fn rows<'a>(
        &self,
        vms: impl Iterator<Item = &'a Vm>,
        groups: impl Iterator<Item = &'a str>,
    ) -> Cow<'_, [usize]> {
        let mut rows = Vec::new();
        for vm in vms {
            rows.extend(self.by_group.get(&vm.group).into_iter().flatten());
            let jobs = vm.jobs.iter().flatten();
            rows.extend(jobs.filter_map(|job| self.by_job.get(job)).flatten());
        }
        for group in groups {
            rows.extend(self.by_group.get(group).into_iter().flatten());
        }
        // Most traffic that no page documents is of hosts that no page names.
        if rows.is_empty() {
            return Cow::Borrowed(&self.anywhere);
        }
        rows.extend(&self.anywhere);
        rows.sort_unstable();
        rows.dedup();
        Cow::Owned(rows)
    }
}
