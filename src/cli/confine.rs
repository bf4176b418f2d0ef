//! Gives up what capturing needed, before the first packet is read.
//!
//! The order matters, and SECURITY has the reasons: no new privileges, the bounding set, groups and user,
//! the capabilities themselves, Landlock. All of it binds the calling thread and those it starts, so it is
//! done while there is only one.

use std::fmt;
use std::os::unix;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus,
};
use nix::unistd::{Gid, Uid, User};
use rustix::thread::{self, CapabilitySet, CapabilitySets};

/// The newest Landlock that is asked for; older kernels give what they have.
const LANDLOCK: ABI = ABI::V5;

/// What a process needs from here on.
#[derive(Clone, Debug, Default)]
pub(super) struct Confinement {
    /// Run as this user.
    pub(super) user: Option<Identity>,
    /// Capabilities to keep; none for whoever reads packets.
    pub(super) keep: Keep,
    /// Files and folders that may be read.
    pub(super) read: Vec<PathBuf>,
    /// Folders in which files may be made, written, renamed and removed.
    pub(super) write: Vec<PathBuf>,
}

/// Capabilities to keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Keep {
    /// None.
    #[default]
    Nothing,
    /// To look into other users' processes (CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH); without Landlock.
    Processes,
}

/// A user and the group of that user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    user: Uid,
    group: Gid,
}

impl Identity {
    /// Looks up a user by name or number.
    pub(super) fn of(user: &str) -> Result<Identity, String> {
        let found = match user.parse::<u32>() {
            Ok(number) => User::from_uid(Uid::from_raw(number)),
            Err(_) => User::from_name(user),
        };
        match found {
            Ok(Some(user)) => Ok(Identity { user: user.uid, group: user.gid }),
            Ok(None) => Err(format!("there is no user `{user}` on this machine; name one, or its number")),
            Err(error) => Err(format!("user `{user}` cannot be looked up: {error}")),
        }
    }

    /// Gives it a file or folder.
    pub(super) fn own(self, path: &Path) -> Result<(), String> {
        let given = unix::fs::chown(path, Some(self.user.as_raw()), Some(self.group.as_raw()));
        given.map_err(|error| {
            format!(
                "{}: cannot be given to --user: {error}; start as root to change the user",
                path.display()
            )
        })
    }
}

/// What came of it, for people.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Confined {
    landlock: RulesetStatus,
}

impl fmt::Display for Confined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("capabilities given up; ")?;
        f.write_str(match self.landlock {
            RulesetStatus::FullyEnforced => "confined by Landlock",
            RulesetStatus::PartiallyEnforced => "confined by Landlock as far as this kernel has it",
            RulesetStatus::NotEnforced => "this kernel has no Landlock",
        })
    }
}

impl Confinement {
    /// Gives up everything else, for good.
    ///
    /// # Errors
    /// More than one thread, or a step that the kernel refuses: going on would be less confined than asked.
    pub(super) fn enter(&self) -> Result<Confined, String> {
        let threads = std::fs::read_dir("/proc/self/task").map(Iterator::count);
        if threads.is_ok_and(|threads| threads != 1) {
            return Err("privileges cannot be given up with several threads".to_owned());
        }
        let fail = |what: &str, error: rustix::io::Errno| format!("{what}: {error}");
        thread::set_no_new_privs(true).map_err(|error| fail("no_new_privs cannot be set", error))?;
        let keep = self.keep.capabilities();
        self.shrink_bounding_set(keep)?;
        if let Some(Identity { user, group }) = self.user {
            let refused = "start as root to change the user";
            let (user, group) = (thread::Uid::from_raw(user.as_raw()), thread::Gid::from_raw(group.as_raw()));
            thread::set_thread_groups(&[])
                .and_then(|()| thread::set_thread_res_gid(group, group, group))
                .and_then(|()| thread::set_thread_res_uid(user, user, user))
                .map_err(|error| fail("the user cannot be changed", error) + "; " + refused)?;
        }
        let has = thread::capabilities(None).map_err(|error| fail("capabilities cannot be read", error))?;
        let rest = CapabilitySets {
            effective: has.permitted & keep,
            permitted: has.permitted & keep,
            inheritable: CapabilitySet::empty(),
        };
        thread::set_capabilities(None, rest)
            .map_err(|error| fail("capabilities cannot be given up", error))?;
        let landlock = match self.keep {
            Keep::Nothing => {
                self.landlock().map_err(|error| format!("Landlock cannot be entered: {error}"))?
            }
            // Landlock forbids to look into processes outside of it, which is all that these are kept for.
            Keep::Processes => RulesetStatus::NotEnforced,
        };
        Ok(Confined { landlock })
    }

    /// So that no program this one might be made to start could gain a capability either. Needs one itself:
    /// without it, no_new_privs alone holds.
    fn shrink_bounding_set(&self, keep: CapabilitySet) -> Result<(), String> {
        let has = thread::capabilities(None).map_err(|error| error.to_string())?;
        if !has.effective.contains(CapabilitySet::SETPCAP) {
            return Ok(());
        }
        for capability in CapabilitySet::all().difference(keep).iter() {
            if thread::capability_is_in_bounding_set(capability) == Ok(true) {
                thread::remove_capability_from_bounding_set(capability)
                    .map_err(|error| format!("the bounding set cannot be made smaller: {error}"))?;
            }
        }
        Ok(())
    }

    fn landlock(&self) -> Result<RulesetStatus, RulesetError> {
        let read = AccessFs::from_read(LANDLOCK) & !AccessFs::Execute;
        let write = read | (AccessFs::from_write(LANDLOCK) & !special_files());
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(LANDLOCK))?
            .handle_access(AccessNet::from_all(LANDLOCK))?
            .create()?;
        for (paths, access) in [(&self.read, read), (&self.write, write)] {
            for path in paths {
                // What does not exist cannot be read later either.
                let Ok(opened) = PathFd::new(path) else { continue };
                let access = if path.is_dir() { access } else { access & AccessFs::from_file(LANDLOCK) };
                rules = rules.add_rule(PathBeneath::new(opened, access))?;
            }
        }
        Ok(rules.restrict_self()?.ruleset)
    }
}

/// Devices, sockets and links, which nothing here makes.
fn special_files() -> landlock::BitFlags<AccessFs> {
    AccessFs::MakeChar
        | AccessFs::MakeBlock
        | AccessFs::MakeSock
        | AccessFs::MakeFifo
        | AccessFs::MakeSym
        | AccessFs::IoctlDev
}

impl Keep {
    fn capabilities(self) -> CapabilitySet {
        match self {
            Keep::Nothing => CapabilitySet::empty(),
            Keep::Processes => CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_READ_SEARCH,
        }
    }
}
