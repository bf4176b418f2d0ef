//! How much memory an audit may take: as typed, or as the machine has.

use std::fs;
use std::path::Path;
use std::str::FromStr;

use procfs::{Current, Meminfo};

/// The least that can be asked for: every attack of `tests/bounds` stays below it.
const LEAST: u64 = 128 << 20;
/// What is taken where nothing is said: room for one and a half million flows at once.
const USUAL: u64 = 2 << 30;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Memory(u64);

impl Memory {
    /// Bytes.
    pub(super) fn bytes(self) -> u64 {
        self.0
    }
}

impl Default for Memory {
    /// Half of what the machine and this process's control group have is the most; reports are the same on all
    /// machines as long as nothing has to give way.
    fn default() -> Memory {
        let machine = Meminfo::current().ok().map(|meminfo| meminfo.mem_total);
        let had = machine.into_iter().chain(control_group()).min();
        Memory(had.map_or(USUAL, |had| (had / 2).clamp(LEAST, USUAL)))
    }
}

impl FromStr for Memory {
    type Err = String;

    fn from_str(text: &str) -> Result<Memory, String> {
        let (number, unit) = match text.strip_suffix(['M', 'm']) {
            Some(number) => (number, 20),
            None => (
                text.strip_suffix(['G', 'g']).unwrap_or(text),
                if text.ends_with(['G', 'g']) { 30 } else { 0 },
            ),
        };
        let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << unit));
        match bytes {
            Some(bytes) if bytes >= LEAST => Ok(Memory(bytes)),
            Some(_) => Err(format!("too little to audit in: the least is {}M", LEAST >> 20)),
            None => Err("not a size: mebibytes as in 512M, gibibytes as in 4G, or bytes".to_owned()),
        }
    }
}

/// What this process's control group and those above it allow, the least of it (cgroups version 2).
fn control_group() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let limit = |group: &Path| {
        let file = Path::new("/sys/fs/cgroup").join(group).join("memory.max");
        fs::read_to_string(file).ok()?.trim().parse::<u64>().ok()
    };
    Path::new(own).ancestors().filter_map(limit).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_said_in_bytes_mebibytes_and_gibibytes() {
        for (text, bytes) in
            [("128M", 128 << 20), ("4G", 4 << 30), ("1073741824", 1 << 30), ("300m", 300 << 20)]
        {
            assert_eq!(text.parse(), Ok(Memory(bytes)), "{text}");
        }
        for (wrong, why) in
            [("127M", "least"), ("", "512M"), ("M", "512M"), ("2T", "512M"), ("99999999999G", "512M")]
        {
            let error = wrong.parse::<Memory>().unwrap_err();
            assert!(error.contains(why), "{wrong}: {error}");
        }
    }

    #[test]
    fn without_a_size_it_is_no_more_than_the_machine_has() {
        let had = Meminfo::current().expect("this is Linux").mem_total;
        let usual = Memory::default().bytes();
        assert!((LEAST..=USUAL).contains(&usual) && (usual <= had / 2 || usual == LEAST));
    }
}
