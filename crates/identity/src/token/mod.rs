//! Secrets of hosts, or tokens for one request: a file has their hashes.

mod file;
mod options;

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use arc_swap::ArcSwap;
use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{SHA256, digest},
    rand,
};
use file::{Entry, is_name, read, render};
pub use options::METHOD;

use crate::{
    Evidence, Hold, Identity, Prove, Refusal, UsedOnce,
    credentials::Secret,
    lines::LinesError,
    names::hex,
    once::{Hash, Taken},
};

/// The scheme in `Authorization`.
const SCHEME: &str = "Alppaca-Token";
/// The longest secret.
const MAX_SECRET: usize = 512;

/// Proof by a secret.
pub struct Tokens {
    name: String,
    file: PathBuf,
    entries: ArcSwap<Vec<Entry>>,
    /// The tokens for one request that were used. This server alone knows, and until it is restarted.
    used: Arc<UsedOnce>,
}

impl Tokens {
    /// Reads a file with lines `NAME SHA256-HEX [until TIME] [once]`. `used` is that of the server.
    pub fn load(name: &str, file: PathBuf, used: Arc<UsedOnce>) -> Result<Self, LinesError> {
        let entries = ArcSwap::from_pointee(read(&file)?);
        Ok(Self { name: name.to_owned(), file, entries, used })
    }

    /// Reads the file again. If it is wrong, everything stays as it was. What was used stays used.
    pub fn reload(&self) -> Result<(), LinesError> {
        self.entries.store(read(&self.file)?.into());
        Ok(())
    }

    /// Takes a token for one request. It is used when the server says so, since its own trouble uses none.
    fn take(&self, hash: Hash, until: SystemTime, now: SystemTime) -> Result<Arc<Hold>, Refusal> {
        self.used.take(hash, until, now).map(Arc::new).map_err(|taken| match taken {
            Taken::Used => Refusal::Refused("the token was for one request, and has been used".to_owned()),
            Taken::Held => Refusal::Unavailable("the token is for one request, and another one has it".to_owned()),
        })
    }
}

impl Prove for Tokens {
    fn name(&self) -> &str {
        &self.name
    }

    fn challenge(&self) -> Option<String> {
        Some(SCHEME.to_owned())
    }

    fn prove(&self, evidence: &Evidence<'_>) -> Result<Option<Identity>, Refusal> {
        let Some(secret) = crate::authorization(evidence, SCHEME)? else { return Ok(None) };
        let unknown = || Refusal::Refused("the token is not known".to_owned());
        if secret.is_empty() || secret.len() > MAX_SECRET {
            return Err(unknown());
        }
        let hash = hash(secret);
        let entries = self.entries.load();
        // Each comparison takes the same time.
        let same = |entry: &&Entry| verify_slices_are_equal(&entry.hash, &hash).is_ok();
        let entry = entries.iter().find(same).ok_or_else(unknown)?;
        if entry.until.is_some_and(|until| until <= evidence.now) {
            return Err(Refusal::Refused(format!("the token of {} has ended: make a new one", entry.name)));
        }
        let until = entry.until.filter(|_| entry.once);
        let hold = until.map(|until| self.take(hash, until, evidence.now)).transpose()?;
        let proof = format!("sha256 {}", hex(&hash));
        Ok(Some(Identity { proof, hold, ..Identity::new(&*entry.name, METHOD.word, &self.name) }))
    }
}

fn hash(secret: &str) -> Hash {
    let mut hash = Hash::default();
    hash.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
    hash
}

/// Why no token can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// It would not be one word of a line.
    #[error("{0:?} is not a name for a token: it has 1 to 256 characters without blanks")]
    Name(String),
    /// What was used is remembered until the token's end.
    #[error("a token for one request needs an end")]
    Endless,
    /// There is no randomness.
    #[error("the system has no randomness")]
    NoRandomness,
}

/// Makes a secret for a host, with the line for the file. `once`: for one request, which each server counts for itself.
pub fn issue(name: &str, until: Option<jiff::Timestamp>, once: bool) -> Result<(Secret, String), IssueError> {
    if !is_name(name) {
        return Err(IssueError::Name(name.to_owned()));
    }
    if once && until.is_none() {
        return Err(IssueError::Endless);
    }
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| IssueError::NoRandomness)?;
    let secret = Secret::new(hex(&bytes));
    let line = render(name, &hash(secret.expose()), until, once);
    Ok((secret, line))
}

#[cfg(test)]
mod tests;
