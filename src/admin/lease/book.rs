//! The leases that are held, and their file, written by a separate thread because requests cannot wait for a disk.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::super::ProcessId;
use crate::{
    caller::{Owner, budget::Share},
    faces::ecs::Fingerprint,
};

/// The file is written no more often than this.
const PAUSE: Duration = Duration::from_secs(1);
/// More than the largest file has.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// One token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lease {
    pub(super) fingerprint: Fingerprint,
    pub(super) role: String,
    pub(super) uid: u32,
    pub(super) pid: u32,
    /// See [`ProcessId`].
    pub(super) inode: u64,
    /// Where the process gets its credentials, if that is a port of ours alone.
    #[serde(default)]
    pub(super) port: Option<u16>,
}

/// A lease, and its share of all that there may be.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) lease: Lease,
    pub(super) _share: Share<Owner>,
}

/// What is held, and whether it has been written.
#[derive(Debug)]
pub(super) struct Book {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    held: Vec<Held>,
    unwritten: bool,
    /// Whether the daemon ends.
    over: bool,
}

impl Lease {
    pub(super) fn process(&self) -> ProcessId {
        ProcessId { pid: self.pid, inode: self.inode }
    }
}

impl Book {
    /// What is held already has been written.
    pub(super) fn new(held: Vec<Held>) -> Self {
        Self { state: Mutex::new(State { held, unwritten: false, over: false }), changed: Condvar::new() }
    }

    /// Changes what is held, and has it written.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Vec<Held>) -> T) -> T {
        let mut state = self.state();
        state.unwritten = true;
        self.changed.notify_all();
        change(&mut state.held)
    }

    /// Whether something like this is held.
    pub(super) fn any(&self, like: impl Fn(&Held) -> bool) -> bool {
        self.state().held.iter().any(like)
    }

    /// What `find` finds in all that is held.
    pub(super) fn collect<T, C: FromIterator<T>>(&self, find: impl Fn(&Lease) -> Option<T>) -> C {
        self.state().held.iter().filter_map(|held| find(&held.lease)).collect()
    }

    /// Lets the writing thread end.
    pub(super) fn close(&self) {
        self.state().over = true;
        self.changed.notify_all();
    }

    /// Writes changes immediately, but no more often than once in a [`PAUSE`], and at the end.
    pub(super) fn write_to(&self, file: &Path) {
        let mut state = self.state();
        loop {
            let waiting = self.changed.wait_while(state, |state| !state.unwritten && !state.over);
            state = waiting.unwrap_or_else(PoisonError::into_inner);
            if std::mem::take(&mut state.unwritten) {
                let leases: Vec<Lease> = state.held.iter().map(|held| held.lease.clone()).collect();
                drop(state);
                // A token that is not remembered is valid until the daemon ends.
                if let Err(error) = write(file, &leases) {
                    tracing::warn!(
                        "{}: {error}; programs started by `alppaca exec` lose their credentials when the daemon is \
                         restarted",
                        file.display()
                    );
                }
                state = self.state();
            } else if state.over {
                return;
            }
            let pause = self.changed.wait_timeout_while(state, PAUSE, |state| !state.over);
            state = pause.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What cannot be read is logged, and as good as nothing.
pub(super) fn read(file: &Path) -> Vec<Lease> {
    let read = || -> io::Result<Vec<Lease>> {
        let metadata = fs::symlink_metadata(file)?;
        let own = rustix::process::geteuid().as_raw();
        // To write here is to let oneself in.
        if !metadata.is_file() || metadata.len() > MAX_FILE || metadata.uid() != own || metadata.mode() & 0o022 != 0 {
            return Err(io::Error::other("it is not a regular file that only the daemon's account can write"));
        }
        Ok(serde_json::from_slice(&fs::read(file)?)?)
    };
    match read() {
        Ok(held) => held,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            tracing::warn!("{}: {error}; its tokens are ignored", file.display());
            Vec::new()
        }
    }
}

/// All or nothing.
fn write(file: &Path, held: &[Lease]) -> io::Result<()> {
    let new = file.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut target = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    target.write_all(&serde_json::to_vec(held)?)?;
    fs::rename(&new, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_others_may_write_is_not_believed() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("leases");
        let own = ProcessId::of(std::process::id()).expect("us");
        let lease =
            Lease { fingerprint: [7; 32], role: "web".into(), uid: 0, pid: own.pid, inode: own.inode, port: None };
        write(&file, &[lease]).expect("ours");
        assert_eq!(read(&file).len(), 1);
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o620)).expect("ours");
        assert!(read(&file).is_empty());
        fs::write(&file, "garbage").expect("ours");
        assert!(read(&file).is_empty());
    }
}
