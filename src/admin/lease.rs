//! The private tokens of `alppaca exec`: each is valid as long as the process for which it was made, also when the daemon
//! is started anew. What tells a token from others is kept in a file beside the socket; the token itself is nowhere but in
//! the environment of that process.

use std::{
    collections::BTreeSet,
    fs, io,
    io::Write,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{Caller, ProcessId};
use crate::{
    credentials::{RoleId, RoleName, Secret},
    serve::{ContainerTokens, Fingerprint, IssueError},
};

/// How many one account may have at once.
const MAX_OF_ONE: usize = 512;
/// More than the largest file has.
const MAX_FILE: u64 = 4 * 1024 * 1024;
/// For the time between the making of a token and its being taken over here.
const MOMENT: Duration = Duration::from_secs(1);

/// The tokens that were given out and are valid.
#[derive(Debug)]
pub struct Leases {
    tokens: ContainerTokens,
    /// Where they are remembered; nowhere if there is no socket.
    file: Option<PathBuf>,
    held: Mutex<Vec<Lease>>,
}

/// One token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Lease {
    fingerprint: Fingerprint,
    role: String,
    uid: u32,
    pid: u32,
    /// See [`ProcessId`].
    inode: u64,
    /// Where the process gets its credentials, if that is a port of ours alone.
    #[serde(default)]
    port: Option<u16>,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The process is not known.
    #[error("the daemon cannot see the process that asks (is it in another PID namespace, or gone?)")]
    NoProcess,
    /// The account has too many.
    #[error("user {0} has {MAX_OF_ONE} processes with tokens already")]
    TooMany(u32),
    /// None could be made.
    #[error("{0}")]
    Issue(#[from] IssueError),
}

impl Lease {
    fn process(&self) -> ProcessId {
        ProcessId { pid: self.pid, inode: self.inode }
    }
}

impl Leases {
    /// Takes over what is written in `file` and whose process still runs.
    pub fn new(tokens: ContainerTokens, file: Option<PathBuf>) -> Self {
        let mut held = file.as_deref().map(read).unwrap_or_default();
        held.retain(|lease| {
            let role = lease.role.parse::<RoleName>().map(|name| RoleId::named(&name));
            lease.process().is_alive() && role.is_ok_and(|role| tokens.adopt(&lease.fingerprint, &role).is_ok())
        });
        Self { tokens, file, held: Mutex::new(held) }
    }

    /// The ports at which processes that run expect to be served.
    pub fn ports(&self) -> BTreeSet<u16> {
        self.held().iter().filter_map(|lease| lease.port).collect()
    }

    /// Makes a token that opens the listed role `role` for as long as the process of `caller` runs, which is served at
    /// `port`, unless that is a listener that the configuration names.
    pub(super) fn issue(
        &self,
        role: &RoleName,
        caller: &Caller,
        port: Option<u16>,
        now: Duration,
    ) -> Result<Secret, LeaseError> {
        let process = caller.process.ok_or(LeaseError::NoProcess)?;
        let mut held = self.held();
        if held.iter().filter(|lease| lease.uid == caller.uid).count() >= MAX_OF_ONE {
            return Err(LeaseError::TooMany(caller.uid));
        }
        let id = RoleId::named(role);
        let token = self.tokens.issue(&id, MOMENT, now)?;
        let fingerprint = ContainerTokens::fingerprint(&token);
        self.tokens.adopt(&fingerprint, &id)?;
        let ProcessId { pid, inode } = process;
        held.push(Lease { fingerprint, role: role.to_string(), uid: caller.uid, pid, inode, port });
        self.write(&held);
        Ok(token)
    }

    /// Ends the tokens of processes that have ended.
    pub(super) fn sweep(&self) {
        let mut held = self.held();
        let before = held.len();
        held.retain(|lease| {
            let alive = lease.process().is_alive();
            if !alive {
                self.tokens.withdraw(&lease.fingerprint);
            }
            alive
        });
        if held.len() < before {
            self.write(&held);
        }
    }

    /// Writes them again, where what was written has disappeared.
    pub fn remember(&self) {
        let held = self.held();
        if !held.is_empty() {
            self.write(&held);
        }
    }

    /// Whether none is valid.
    pub(super) fn is_empty(&self) -> bool {
        self.held().is_empty()
    }

    /// A token that is not remembered is valid until the daemon ends.
    fn write(&self, held: &[Lease]) {
        let Some(file) = &self.file else { return };
        if let Err(error) = write(file, held) {
            tracing::warn!(
                "{}: {error}; programs started by `alppaca exec` lose their credentials when the daemon is restarted",
                file.display()
            );
        }
    }

    fn held(&self) -> MutexGuard<'_, Vec<Lease>> {
        // Nothing under the lock can panic half-way.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What cannot be read is told, and as good as nothing.
fn read(file: &Path) -> Vec<Lease> {
    let read = || -> io::Result<Vec<Lease>> {
        let metadata = fs::symlink_metadata(file)?;
        let own = rustix::process::geteuid().as_raw();
        // Whoever could write here could let himself in.
        if !metadata.is_file() || metadata.len() > MAX_FILE || metadata.uid() != own || metadata.mode() & 0o022 != 0 {
            return Err(io::Error::other("it is not ours alone"));
        }
        Ok(serde_json::from_slice(&fs::read(file)?)?)
    };
    match read() {
        Ok(held) => held,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            tracing::warn!("{}: {error}; the tokens in it are not taken over", file.display());
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
    use crate::caller::{Origin, Peer};

    fn caller(process: Option<ProcessId>) -> Caller {
        Caller { uid: 1000, process, peer: Peer { address: None, origin: Origin::Unknown } }
    }

    fn opens(tokens: &ContainerTokens, token: &Secret) -> bool {
        tokens.opens(token.expose().as_bytes(), Duration::from_hours(2))
    }

    #[test]
    fn a_token_lives_as_long_as_its_process_and_longer_than_the_daemon() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("leases");
        let role = "web".parse().expect("a role name");
        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().expect("cat");
        let process = ProcessId::of(child.id());
        let tokens = ContainerTokens::new().expect("randomness");
        let leases = Leases::new(tokens.clone(), Some(file.clone()));
        assert!(matches!(leases.issue(&role, &caller(None), None, Duration::ZERO), Err(LeaseError::NoProcess)));
        let token = leases.issue(&role, &caller(process), Some(7), Duration::ZERO).expect("room");
        leases.sweep();
        assert!(opens(&tokens, &token));
        assert_eq!(fs::metadata(&file).expect("written").mode() & 0o777, 0o600);
        assert!(!fs::read_to_string(&file).expect("text").contains(token.expose()));
        // Another daemon, with another key.
        let tokens = ContainerTokens::new().expect("randomness");
        assert!(!opens(&tokens, &token));
        let leases = Leases::new(tokens.clone(), Some(file.clone()));
        assert!(opens(&tokens, &token) && leases.ports().into_iter().eq([7]));
        drop(child.stdin.take());
        child.wait().expect("it ends");
        leases.sweep();
        assert!(!opens(&tokens, &token) && leases.is_empty());
        let tokens = ContainerTokens::new().expect("randomness");
        let _leases = Leases::new(tokens.clone(), Some(file));
        assert!(!opens(&tokens, &token));
    }

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
