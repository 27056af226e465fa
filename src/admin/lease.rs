//! The private tokens of `alppaca exec`: each is valid as long as the process for which it was made, also when the daemon
//! is restarted. A fingerprint of it is kept in a file next to the socket; the token itself is nowhere but in the
//! environment of that process.

use std::{
    collections::BTreeSet,
    io, mem,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    PeerCredentials, ProcessId,
    book::{Held, Kept, read},
};
use crate::{
    caller::{
        Owner, Subordinates,
        budget::{Bounds, Rank, Share, Shares},
    },
    clock::BootTime,
    credentials::{RoleId, RoleName, Secret},
    faces::ecs::{EcsTokens, Fingerprint, IssueError},
};

/// How many there may be. Some are kept for accounts that an administrator made: subordinate users are many.
const TOKENS: Bounds = Bounds { total: 3072, reserved: 1024, each: 256, scarce: 512 };
/// The number of roles for which one process may have tokens.
const MAX_OF_PROCESS: usize = 64;
/// For the time between the making of a token and its being taken over here.
const MOMENT: Duration = Duration::from_secs(1);

/// The tokens that were given out and are valid.
#[derive(Debug)]
pub struct Leases {
    tokens: EcsTokens,
    budget: Arc<Shares<Owner>>,
    users: Arc<Subordinates>,
    book: Kept<Lease>,
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

impl Lease {
    fn process(&self) -> ProcessId {
        ProcessId { pid: self.pid, inode: self.inode }
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The process is not known.
    #[error("the daemon cannot see the calling process (is it in another PID namespace, or gone?)")]
    NoProcess,
    /// The account has too many.
    #[error("too many processes have tokens already, and user {0} has a full share of them")]
    TooMany(u32),
    /// The process has too many.
    #[error("process {0} has tokens for {MAX_OF_PROCESS} roles already")]
    TooManyRoles(u32),
    /// None could be made.
    #[error("{0}")]
    Issue(#[from] IssueError),
}

impl Leases {
    /// Takes over what is written in `file` and whose process still runs.
    pub fn new(tokens: EcsTokens, file: Option<PathBuf>, users: Arc<Subordinates>) -> io::Result<Self> {
        let budget = Shares::new(TOKENS);
        let written = file.as_deref().map(read::<Lease>).unwrap_or_default();
        let valid = written.into_iter().filter(|lease| {
            let role = lease.role.parse::<RoleName>().map(|name| RoleId::named(&name));
            lease.process().is_alive() && role.is_ok_and(|role| tokens.adopt(&lease.fingerprint, &role).is_ok())
        });
        let held = valid.map(|lease| {
            let share = budget.note(&users.party(Owner::User(lease.uid)));
            Held { record: lease, _share: share }
        });
        let lost = "programs started by `alppaca exec` lose their credentials";
        let book = Kept::new(held.collect(), file, "leases", lost)?;
        Ok(Self { tokens, budget, users, book })
    }

    /// The ports that are written in `file`.
    pub fn ports_in(file: &Path) -> BTreeSet<u16> {
        let running = read::<Lease>(file).into_iter().filter(|lease| lease.process().is_alive());
        running.filter_map(|lease| lease.port).collect()
    }

    /// The ports at which processes that run expect to be served.
    pub fn ports(&self) -> BTreeSet<u16> {
        self.book.collect(|lease| lease.port)
    }

    /// Makes a token that opens the listed role `role` for as long as the process of `caller` runs, which is served at
    /// `port`, unless that is a listener that the configuration names. It replaces the one that the process has for that
    /// role.
    pub(super) fn issue(
        &self,
        role: &RoleName,
        caller: &PeerCredentials,
        port: Option<u16>,
        now: BootTime,
    ) -> Result<Secret, LeaseError> {
        let process = caller.process.ok_or(LeaseError::NoProcess)?;
        self.book.change(|held| {
            let old = held
                .iter()
                .position(|Held { record: lease, .. }| lease.process() == process && lease.role == role.as_str());
            let share = match old {
                None => Some(self.share(held, process, caller.uid)?),
                Some(_) => None,
            };
            let id = RoleId::named(role);
            let token = self.tokens.issue(&id, MOMENT, now)?;
            let fingerprint = EcsTokens::fingerprint(&token);
            self.tokens.adopt(&fingerprint, &id)?;
            let ProcessId { pid, inode } = process;
            let lease = Lease { fingerprint, role: role.to_string(), uid: caller.uid, pid, inode, port };
            if let Some(share) = share {
                held.push(Held { record: lease, _share: share });
            } else if let Some(old) = old.and_then(|position| held.get_mut(position)) {
                self.tokens.withdraw(&mem::replace(&mut old.record, lease).fingerprint);
            }
            Ok(token)
        })
    }

    /// A share for one more token of a process.
    fn share(&self, held: &[Held<Lease>], process: ProcessId, uid: u32) -> Result<Share<Owner>, LeaseError> {
        if held.iter().filter(|held| held.record.process() == process).count() >= MAX_OF_PROCESS {
            return Err(LeaseError::TooManyRoles(process.pid));
        }
        let rank = if self.users.is_below(uid) { Rank::Privileged } else { Rank::Ordinary };
        self.budget.take(&self.users.party(Owner::User(uid)), rank).ok_or(LeaseError::TooMany(uid))
    }

    /// Ends the tokens of processes that have ended.
    pub(super) fn sweep(&self) {
        let ended = |held: &Held<Lease>| !held.record.process().is_alive();
        if !self.book.any(ended) {
            return;
        }
        self.book.change(|held| {
            for held in held.extract_if(.., |held| ended(held)) {
                self.tokens.withdraw(&held.record.fingerprint);
            }
        });
    }

    /// Writes them again, where what was written has disappeared.
    pub fn remember(&self) {
        self.book.remember();
    }

    /// Leaves the file to another process, or takes it back.
    pub fn hand_over(&self, handed_over: bool) {
        self.book.hand_over(handed_over);
    }

    /// Whether none is valid.
    pub(super) fn is_empty(&self) -> bool {
        !self.book.any(|_held| true)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt};

    use super::*;
    use crate::caller::{Origin, Peer};

    fn caller(process: Option<ProcessId>) -> PeerCredentials {
        PeerCredentials { uid: 1000, process, peer: Peer { address: None, origin: Origin::Unknown { ours: true } } }
    }

    fn opens(tokens: &EcsTokens, token: &Secret) -> bool {
        tokens.opens(token.expose().as_bytes(), BootTime::from_uptime(Duration::from_hours(2)))
    }

    #[test]
    fn a_token_lives_as_long_as_its_process_and_longer_than_the_daemon() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("leases");
        let role = "web".parse().expect("a role name");
        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().expect("cat");
        let process = ProcessId::of(child.id());
        let tokens = EcsTokens::new().expect("randomness");
        let leases = Leases::new(tokens.clone(), Some(file.clone()), Arc::default()).expect("a thread");
        assert!(matches!(leases.issue(&role, &caller(None), None, BootTime::ZERO), Err(LeaseError::NoProcess)));
        let token = leases.issue(&role, &caller(process), Some(7), BootTime::ZERO).expect("room");
        leases.sweep();
        assert!(opens(&tokens, &token));
        // The end writes what has not been written.
        drop(leases);
        assert_eq!(fs::metadata(&file).expect("written").mode() & 0o777, 0o600);
        assert!(!fs::read_to_string(&file).expect("text").contains(token.expose()));
        // Another daemon, with another key.
        let tokens = EcsTokens::new().expect("randomness");
        assert!(!opens(&tokens, &token));
        let leases = Leases::new(tokens.clone(), Some(file.clone()), Arc::default()).expect("a thread");
        assert!(opens(&tokens, &token) && leases.ports().into_iter().eq([7]));
        drop(child.stdin.take());
        child.wait().expect("it ends");
        leases.sweep();
        assert!(!opens(&tokens, &token) && leases.is_empty());
        let tokens = EcsTokens::new().expect("randomness");
        let _leases = Leases::new(tokens.clone(), Some(file), Arc::default()).expect("a thread");
        assert!(!opens(&tokens, &token));
    }

    #[test]
    fn a_process_has_one_token_for_each_role_and_its_user_a_share_of_all() {
        let tokens = EcsTokens::new().expect("randomness");
        let leases = Leases::new(tokens.clone(), None, Arc::default()).expect("no thread");
        let own = ProcessId::of(std::process::id());
        let [web, db] = ["web", "db"].map(|name| name.parse::<RoleName>().expect("a role name"));
        let first = leases.issue(&web, &caller(own), None, BootTime::ZERO).expect("room");
        let other = leases.issue(&db, &caller(own), None, BootTime::ZERO).expect("room");
        let again = leases.issue(&web, &caller(own), None, BootTime::ZERO).expect("room");
        assert!(!opens(&tokens, &first) && opens(&tokens, &other) && opens(&tokens, &again));
        assert_eq!(leases.budget.taken(), 2);
        let roles = (0..).map(|number| format!("role-{number}").parse().expect("a role name"));
        let issued =
            roles.map_while(|role: RoleName| leases.issue(&role, &caller(own), None, BootTime::ZERO).ok()).count();
        assert_eq!(issued, MAX_OF_PROCESS - 2);
    }

    #[test]
    fn subordinate_users_leave_tokens_for_accounts() {
        let leases = Leases::new(EcsTokens::new().expect("randomness"), None, Arc::default()).expect("no thread");
        let role = "web".parse().expect("a role name");
        let process = |pid| Some(ProcessId { pid, inode: 1 });
        let mut pid = 0;
        for uid in 3_000_000_000..3_000_000_020 {
            for _ in 0..TOKENS.scarce {
                pid += 1;
                let caller = PeerCredentials { uid, ..caller(process(pid)) };
                let _full = leases.issue(&role, &caller, None, BootTime::ZERO);
            }
        }
        assert_eq!(leases.budget.taken(), TOKENS.total - TOKENS.reserved);
        assert!(leases.issue(&role, &caller(process(pid + 1)), None, BootTime::ZERO).is_ok());
    }
}
