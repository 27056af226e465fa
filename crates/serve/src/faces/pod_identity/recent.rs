//! The tokens of requests that wait: they are looked at again at each change of the store, and a signature costs more than all
//! else of such a look.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

use super::account::Bearer;
use crate::{
    clock::Moment,
    jwt::{Demands, PublicKey},
};

/// What was found out about a token is remembered for so long.
const MEMORY: Duration = Duration::from_secs(2);
/// Of so many tokens. Others are verified at each look.
const MOST: usize = 1024;

type Digest = [u8; SHA256_OUTPUT_LEN];

/// Whose these tokens are.
#[derive(Default)]
pub(super) struct Recent(Mutex<HashMap<Digest, Entry>>);

struct Entry {
    bearer: Arc<Bearer>,
    /// The keys with which that was found out,
    keys: Arc<Vec<PublicKey>>,
    /// and when.
    at: Moment,
}

impl Entry {
    fn is_over(&self, now: Moment) -> bool {
        now.boot.since(self.at.boot) >= MEMORY || now.wall < self.at.wall
    }
}

impl Recent {
    fn entries(&self) -> MutexGuard<'_, HashMap<Digest, Entry>> {
        // Nothing under the lock can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose a token is that was verified a moment ago with these keys and has not ended since.
    pub(super) fn find(
        &self,
        token: &str,
        keys: &Arc<Vec<PublicKey>>,
        demands: &Demands,
        now: Moment,
    ) -> Option<Arc<Bearer>> {
        if self.entries().is_empty() {
            return None;
        }
        let digest = digest_of(token);
        let entries = self.entries();
        let entry = entries.get(&digest)?;
        let has_ended = now.wall.as_duration().as_secs_f64() >= entry.bearer.ends + demands.leeway.as_secs_f64();
        let counts = !entry.is_over(now) && !has_ended && Arc::ptr_eq(&entry.keys, keys);
        counts.then(|| Arc::clone(&entry.bearer))
    }

    /// Remembers whose a token is that was verified now with these keys.
    pub(super) fn keep(&self, token: &str, bearer: Arc<Bearer>, keys: Arc<Vec<PublicKey>>, now: Moment) {
        let digest = digest_of(token);
        let mut entries = self.entries();
        entries.retain(|_, entry| !entry.is_over(now));
        if entries.len() < MOST {
            entries.insert(digest, Entry { bearer, keys, at: now });
        }
    }
}

fn digest_of(token: &str) -> Digest {
    let mut bytes = [0; SHA256_OUTPUT_LEN];
    bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{faces::tests::now, kubernetes::Account};

    fn later(seconds: u64) -> Moment {
        let by = Duration::from_secs(seconds);
        Moment { wall: now().wall + by, boot: now().boot + by }
    }

    #[test]
    fn a_token_is_remembered_for_a_moment_until_it_ends_and_with_its_keys_only() {
        let demands = Demands { issuer: None, audiences: Vec::new(), algorithms: None, leeway: Duration::from_secs(1) };
        let keys: Arc<Vec<PublicKey>> = Arc::default();
        let bearer = |ends: f64| {
            let account = Account::new("prod", "web").expect("legal");
            Arc::new(Bearer { account, uid: None, pod: None, issued: None, ends })
        };
        let seconds = now().wall.as_duration().as_secs_f64();
        let recent = Recent::default();
        let find = |token: &str, keys: &Arc<Vec<PublicKey>>, at| recent.find(token, keys, &demands, at).is_some();
        assert!(!find("a", &keys, now()));
        recent.keep("a", bearer(seconds + 3600.0), Arc::clone(&keys), now());
        assert!(find("a", &keys, now()) && find("a", &keys, later(1)) && !find("b", &keys, now()));
        assert!(!find("a", &keys, later(2)), "it is verified again");
        assert!(!find("a", &Arc::default(), now()), "there are other keys");
        let back = Moment { wall: now().wall - Duration::from_secs(1), ..now() };
        assert!(!find("a", &keys, back), "it may not be valid yet");
        recent.keep("b", bearer(seconds), Arc::clone(&keys), now());
        assert!(find("b", &keys, now()) && !find("b", &keys, later(1)), "it has ended");
        // No flood takes more memory, and what is over makes room.
        for number in 0..3 * MOST {
            recent.keep(&format!("flood-{number}"), bearer(seconds), Arc::clone(&keys), now());
        }
        assert_eq!(recent.entries().len(), MOST);
        recent.keep("c", bearer(seconds + 3600.0), Arc::clone(&keys), later(2));
        assert!(find("c", &keys, later(2)) && recent.entries().len() == 1);
    }
}
