//! Which proofs for one request were used.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

/// A SHA-256.
pub(crate) type Hash = [u8; 32];

/// The proofs for one request that were used, with their ends. One for all methods of a server, and for as long as it
/// runs: a method that is opened anew, or two that read the same file, do not make a proof good again.
#[derive(Debug, Default)]
pub struct UsedOnce(Mutex<HashMap<Hash, SystemTime>>);

impl UsedOnce {
    /// Marks a proof as used. Whether it was not before.
    pub(crate) fn spend(&self, hash: Hash, until: SystemTime, now: SystemTime) -> bool {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_, until| *until > now);
        used.insert(hash, until).is_none()
    }

    /// How many are remembered.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}
