//! What a live audit may still do once its interfaces are open.

use std::path::{Path, PathBuf};

use clap::Args;

use super::LiveArguments;
use crate::cli::confine::{Confinement, Identity};
use crate::report::PacketFolder;

/// The unit that `--print-unit` prints.
pub(super) const UNIT: &str = include_str!("flowaudit.service");

/// Where the kernel tells of this process, and of what an interface lost.
const SYSTEM: [&str; 2] = ["/proc", "/sys"];

#[derive(Debug, Args)]
#[command(next_help_heading = "Privileges")]
pub(super) struct PrivilegeArguments {
    /// Go on as this user, when started as root.
    #[arg(long, value_name = "NAME|UID")]
    user: Option<String>,

    /// Do not look for the local process that has the socket of a flow.
    #[arg(long)]
    pub(super) no_processes: bool,

    /// The folder of BOSH jobs, which tells the job of a process.
    #[arg(long, value_name = "DIR", default_value = "/var/vcap/jobs")]
    pub(super) jobs: PathBuf,

    /// Print a systemd unit for a live audit, and end.
    #[arg(long, exclusive = true)]
    pub(super) print_unit: bool,
}

impl LiveArguments {
    /// Everything the audit needs from now on, and nothing else.
    pub(super) fn confinement(&self) -> Result<Confinement, String> {
        let judging = &self.audit.judging;
        let files = judging.files().map(Path::new).chain(self.records.file());
        let files = files.filter(|path| folder(path).exists());
        let output = self.audit.output.as_deref().filter(|output| *output != "-").map(Path::new);
        Ok(Confinement {
            user: self.user()?,
            read: files.map(folder).chain(SYSTEM.map(PathBuf::from)).collect(),
            write: output
                .into_iter()
                .chain(self.reports.metrics_file.as_deref())
                .chain(self.audit.evidence.as_deref())
                .map(folder)
                .collect(),
            ..Confinement::default()
        })
    }

    /// Makes the folder of packets, if it is not there, for the user that the audit goes on as.
    pub(super) fn make_evidence_folder(&self) -> Result<(), String> {
        let Some(folder) = &self.audit.evidence else { return Ok(()) };
        let user = self.user()?;
        match (PacketFolder::make(folder)?, user) {
            (true, Some(user)) => user.own(folder),
            _ => Ok(()),
        }
    }

    fn user(&self) -> Result<Option<Identity>, String> {
        self.privileges.user.as_deref().map(Identity::of).transpose()
    }
}

/// A file is replaced by another of its name, so it is its folder that must stay in reach.
fn folder(path: &Path) -> PathBuf {
    if path.is_dir() {
        return path.to_owned();
    }
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_reached_through_its_folder() {
        assert_eq!(folder(Path::new("report.csv")), Path::new("."));
        assert_eq!(folder(Path::new("/var/log/report.csv")), Path::new("/var/log"));
        assert_eq!(folder(Path::new("/")), Path::new("/"));
    }
}
