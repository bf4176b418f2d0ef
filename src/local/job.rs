//! The BOSH job of a process.
//!
//! bpm runs a job's process in a container whose cgroup is named `bpm-JOB` or `bpm-JOB.2ePROCESS`: every
//! byte that is no letter, digit, `_` or `-` is written as a dot and two hexadecimal digits (bpm-release,
//! `src/bpm/jobid/encoding.go`). Other jobs are started by monit from scripts under the jobs' folder, and
//! their executable, working folder or arguments name a path there.

use std::path::{Component, Path};

/// What is read of a process to tell its job.
#[derive(Clone, Debug, Default)]
pub(super) struct Traits {
    /// The paths of its cgroups.
    pub(super) cgroups: Vec<String>,
    /// The paths it runs from: executable, working folder, arguments.
    pub(super) paths: Vec<String>,
}

/// The job, if any trait names one; `jobs` is the jobs' folder (`/var/vcap/jobs`).
pub(super) fn job(traits: &Traits, jobs: &Path) -> Option<String> {
    let by_cgroup = traits.cgroups.iter().find_map(|path| by_cgroup(path));
    by_cgroup.or_else(|| traits.paths.iter().find_map(|path| by_path(path, jobs)))
}

fn by_cgroup(path: &str) -> Option<String> {
    // systemd puts `runc-` before the name and `.scope` behind it.
    let name = path.split('/').find_map(|part| {
        let part = part.strip_suffix(".scope").unwrap_or(part);
        let part = part.rsplit_once("runc-").map_or(part, |(_, name)| name);
        part.strip_prefix("bpm-")
    })?;
    let decoded = decode(name)?;
    let job = decoded.split('.').next().unwrap_or_default();
    is_name(job).then(|| job.to_owned())
}

/// Undoes bpm's encoding of a container's name.
fn decode(name: &str) -> Option<String> {
    let mut parts = name.split('.');
    let mut decoded = parts.next()?.to_owned();
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        let byte = u8::from_str_radix(code, 16).ok()?;
        decoded.push(char::from(byte));
        decoded.push_str(rest);
    }
    Some(decoded)
}

fn by_path(path: &str, jobs: &Path) -> Option<String> {
    // An argument may say `--config=/var/vcap/jobs/…`.
    let path = path.split_once('=').map_or(path, |(_, value)| value);
    // `jobs/NAME` is a link to `data/jobs/NAME/DIGEST`.
    let data = jobs.parent()?.join("data/jobs");
    let below = [jobs, &data].into_iter().find_map(|folder| Path::new(path).strip_prefix(folder).ok())?;
    match below.components().next()? {
        Component::Normal(name) => name.to_str().filter(|name| is_name(name)).map(str::to_owned),
        _ => None,
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(cgroups: &[&str], paths: &[&str]) -> Option<String> {
        let own = |all: &[&str]| all.iter().map(ToString::to_string).collect();
        job(&Traits { cgroups: own(cgroups), paths: own(paths) }, Path::new("/var/vcap/jobs"))
    }

    #[test]
    fn bpm_names_the_job_in_the_cgroup() {
        for path in [
            "/bpm-reverse_log_proxy",
            "/system.slice/runc-bpm-reverse_log_proxy.scope",
            "/system.slice/monit.service/bpm-reverse_log_proxy.2eworker",
        ] {
            assert_eq!(of(&[path], &[]).as_deref(), Some("reverse_log_proxy"), "{path}");
        }
        for path in ["/", "/bpm-", "/bpm-x.zz", "/user.slice/session-1.scope", "/bpm-a.2f..2f", "/bpm-a.e"] {
            assert_eq!(of(&[path], &[]), None, "{path}");
        }
    }

    #[test]
    fn other_jobs_are_known_by_a_path_under_the_jobs_folder() {
        for path in [
            "/var/vcap/jobs/nats/bin/nats_ctl",
            "/var/vcap/data/jobs/nats/6b1c/config/nats.json",
            "--config=/var/vcap/jobs/nats/config/nats.json",
        ] {
            assert_eq!(of(&["/"], &["/usr/bin/env", path]).as_deref(), Some("nats"), "{path}");
        }
        for path in ["/var/vcap/packages/nats/bin/nats", "/var/vcap/jobs", "/var/vcap/jobs/../x", "nats"] {
            assert_eq!(of(&[], &[path]), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_process_calls_itself(cgroup in ".{0,40}", path in ".{0,40}") {
            for cgroup in [cgroup.clone(), format!("/bpm-{cgroup}")] {
                let jobs = of(&[&cgroup], &[&format!("/var/vcap/jobs/{path}")]);
                prop_assert!(jobs.is_none_or(|job| is_name(&job)));
            }
        }
    }
}
