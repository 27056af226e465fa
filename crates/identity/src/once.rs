//! Proofs for one request: held while it is under way, and then used, or given back.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

/// A SHA-256.
pub(crate) type Hash = [u8; 32];

/// The proofs for one request that were used, or are held. One for all methods of a server, and for as long as it runs: a
/// method that is opened anew, or two that read the same file, do not make a proof good again.
#[derive(Debug, Default)]
pub struct UsedOnce(Mutex<HashMap<Hash, Use>>);

#[derive(Debug)]
struct Use {
    until: SystemTime,
    /// By a request that has no answer yet.
    held: bool,
}

/// Why a proof is not for this request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Another one that has no answer yet may give it back.
    Held,
    /// Another one was answered.
    Used,
}

impl UsedOnce {
    /// Takes a proof for a request.
    pub(crate) fn take(self: &Arc<Self>, hash: Hash, until: SystemTime, now: SystemTime) -> Result<Hold, Taken> {
        let mut all = self.all();
        all.retain(|_, one| one.held || one.until > now);
        match all.entry(hash) {
            Entry::Vacant(place) => {
                place.insert(Use { until, held: true });
                Ok(Hold { of: Arc::clone(self), hash, spent: AtomicBool::new(false) })
            }
            Entry::Occupied(one) if one.get().held => Err(Taken::Held),
            Entry::Occupied(_) => Err(Taken::Used),
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Hash, Use>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are remembered.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.all().len()
    }
}

/// A proof for one request, for as long as no other request may have it. When this is dropped, the proof is good again,
/// unless it was spent.
pub struct Hold {
    of: Arc<UsedOnce>,
    hash: Hash,
    spent: AtomicBool,
}

impl Hold {
    /// The request has its answer: the proof is not good again.
    pub fn spend(&self) {
        self.spent.store(true, Ordering::Relaxed);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let spent = *self.spent.get_mut();
        let mut all = self.of.all();
        if !spent {
            all.remove(&self.hash);
        } else if let Some(one) = all.get_mut(&self.hash) {
            one.held = false;
        }
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").field("spent", &self.spent).finish_non_exhaustive()
    }
}

/// There is one for each proof at a time.
impl PartialEq for Hold {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Hold {}
