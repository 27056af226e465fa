//! Drops what the daemon does not need: the account it was started with, capabilities, core
//! dumps. For good, and checked afterwards.

mod account;
mod directory;

use std::io;

pub use account::{Account, Identity, group, identify, resolve};
pub use directory::make_directory;
use rustix::{
    io::Errno,
    mm::{MlockAllFlags, mlockall},
    process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask},
    thread::{
        CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, no_new_privs,
        remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
    },
};

/// Why the daemon does not go on.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// No such user.
    #[error("user: there is no account {0:?} on this host")]
    NoUser(String),
    /// No such group.
    #[error("group: there is no group {0:?} on this host")]
    NoGroup(String),
    /// The account data base could not be asked.
    #[error("cannot look up {what:?}: {source}")]
    LookUp {
        /// Which name.
        what: String,
        /// The reason.
        source: io::Error,
    },
    /// Only root can switch to another account.
    #[error("cannot become {0}: only root can; start as root, or remove `user` and `group` from the configuration")]
    NotRoot(String),
    /// Another thread would keep the old rights.
    #[error("privileges can be dropped only while there is one thread, but there are {0}")]
    Threads(usize),
    /// A step failed.
    #[error("cannot drop privileges: {step}: {source}")]
    Step {
        /// Which.
        step: &'static str,
        /// The reason.
        source: io::Error,
    },
    /// A step claims to have worked, but has not.
    #[error("privileges are not what they should be after dropping them: {0}")]
    NotDropped(&'static str),
}

fn step<T, E: Into<io::Error>>(step: &'static str, result: Result<T, E>) -> Result<T, SandboxError> {
    result.map_err(|source| SandboxError::Step { step, source: source.into() })
}

/// Becomes `identity`: groups, user, and no capabilities. There is no way back, which is checked.
pub fn become_identity(identity: &Identity) -> Result<(), SandboxError> {
    let threads = step("counting threads", std::fs::read_dir("/proc/self/task"))?.count();
    if threads != 1 {
        return Err(SandboxError::Threads(threads));
    }
    if rustix::process::geteuid().is_root() {
        drop_bounding_set()?;
    }
    account::change(identity)?;
    drop_capabilities()?;
    account::verify(identity)
}

/// Forgoes what a daemon that holds secrets should not have: gaining privileges by executing
/// something, core dumps, being traced by others of the same user, files that others may read.
/// Unless it runs as root on purpose, also any capability it was given for binding.
pub fn harden() -> Result<(), SandboxError> {
    step("PR_SET_NO_NEW_PRIVS", set_no_new_privs(true))?;
    step("PR_SET_DUMPABLE", set_dumpable_behavior(DumpableBehavior::NotDumpable))?;
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    step("RLIMIT_CORE", setrlimit(Resource::Core, none))?;
    umask(rustix::fs::Mode::from_bits_truncate(0o027));
    if !rustix::process::geteuid().is_root() {
        drop_capabilities()?;
    }
    match no_new_privs() {
        Ok(true) => Ok(()),
        _ => Err(SandboxError::NotDropped("new privileges could still be gained")),
    }
}

/// Keeps the memory of this process, which holds secrets, out of any swap, if there is no limit for it: with one, a thread
/// too many would fail. Only pages that are in use count. Answers whether it is so.
pub fn lock_memory() -> bool {
    let unlimited = getrlimit(Resource::Memlock).maximum.is_none();
    let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    unlimited && setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None }).is_ok() && mlockall(all).is_ok()
}

/// Whether this process, as it is, may listen at the ports that are reserved for root.
pub fn may_bind_low_ports() -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::NET_BIND_SERVICE))
}

/// Raises the limit of open files as far as it goes: each connection needs one. Answers the limit.
pub fn raise_file_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let limit = if setrlimit(Resource::Nofile, raised).is_ok() { raised } else { limit };
    limit.current.unwrap_or(u64::MAX)
}

fn drop_bounding_set() -> Result<(), SandboxError> {
    for bit in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        match remove_capability_from_bounding_set(capability) {
            // The kernel has no capability of this number.
            Err(Errno::INVAL) => return Ok(()),
            result => step("removing a capability from the bounding set", result)?,
        }
    }
    Ok(())
}

fn drop_capabilities() -> Result<(), SandboxError> {
    let empty = CapabilitySet::empty();
    let none = CapabilitySets { effective: empty, permitted: empty, inheritable: empty };
    step("clearing the ambient capabilities", clear_ambient_capability_set())?;
    // A service manager that gives none may also refuse the call.
    if !step("reading the capabilities", capabilities(None))?.permitted.is_empty() {
        step("dropping the capabilities", set_capabilities(None, none))?;
    }
    let left = step("reading the capabilities", capabilities(None))?;
    if left.effective.is_empty() && left.permitted.is_empty() && left.inheritable.is_empty() {
        Ok(())
    } else {
        Err(SandboxError::NotDropped("capabilities are left"))
    }
}
