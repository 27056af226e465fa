//! The answers of a real IMDS, for all but credentials. Requests look into a small cache and never wait for a socket: what is
//! missing is asked for through [`Wanted`], while the request waits for it to arrive, as it waits for a first fetch.

mod cache;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

pub use cache::Reply;
use cache::{Cache, Entry, life};
use tokio::sync::{Notify, mpsc};

use crate::clock::{BootTime, SharedClock};

/// How many paths may queue.
const QUEUE: usize = 64;

/// What a request can get without waiting.
#[derive(Debug)]
pub(super) enum Asked {
    /// This.
    Reply(Reply),
    /// Nothing: it has been asked for.
    Underway,
}

/// The side of the requests.
#[derive(Debug)]
pub struct Passthrough {
    cache: Arc<Mutex<Cache>>,
    wanted: mpsc::Sender<Box<str>>,
    timeout: Duration,
}

/// The side of the upstream: what is wanted from it.
pub struct Wanted {
    paths: mpsc::Receiver<Box<str>>,
    replies: Replies,
}

/// Where the upstream's answers go.
#[derive(Clone)]
pub struct Replies {
    cache: Arc<Mutex<Cache>>,
    arrived: Arc<Notify>,
    clock: SharedClock,
}

/// Both sides for an IMDS whose answers may take `timeout`. `arrived` is notified of each.
pub fn passthrough(timeout: Duration, arrived: Arc<Notify>, clock: SharedClock) -> (Passthrough, Wanted) {
    let cache: Arc<Mutex<Cache>> = Arc::default();
    let (want, paths) = mpsc::channel(QUEUE);
    let replies = Replies { cache: Arc::clone(&cache), arrived, clock };
    (Passthrough { cache, wanted: want, timeout }, Wanted { paths, replies })
}

/// The path to ask the upstream for; `None` if it is not to be asked. Only what was understood is passed on, written
/// again from decoded segments of harmless characters, so that no spelling can have different meanings here and there.
/// Paths about credentials, in upper or lower case, are never requested; tags may have any name.
pub(super) fn upstream_path(segments: &[&str]) -> Option<String> {
    let (version, rest) = segments.split_first()?;
    let harmless = |segment: &&str| {
        !matches!(*segment, "." | "..")
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:+=@,".contains(&byte))
    };
    let secret = |segment: &&str| segment.to_ascii_lowercase().contains("credential");
    let tag = matches!(rest, ["meta-data", "tags", "instance", _]);
    if !segments.iter().all(harmless) || (!tag && segments.iter().any(secret)) {
        return None;
    }
    match rest {
        // What there is at all.
        [] if !version.is_empty() => Some(format!("/{version}/")),
        ["meta-data", second, ..] if second.eq_ignore_ascii_case("iam") => None,
        ["meta-data" | "dynamic", ..] | ["user-data"] => Some(format!("/{}", segments.join("/"))),
        _ => None,
    }
}

impl Passthrough {
    /// What is known of `path`, a result of [`upstream_path`]; if nothing is, it is asked for.
    pub(super) fn ask(&self, path: &str, now: BootTime) -> Asked {
        let mut cache = lock(&self.cache);
        match cache.entries.get(path) {
            Some(Entry::Held { reply, since }) if now < *since + life(reply) => return Asked::Reply(reply.clone()),
            Some(Entry::Underway { since }) if now < *since + self.timeout * 2 => return Asked::Underway,
            _ => {}
        }
        if !cache.make_room(path, 0, now) || self.wanted.try_send(path.into()).is_err() {
            return Asked::Reply(Reply::Failed);
        }
        cache.entries.insert(path.into(), Entry::Underway { since: now });
        Asked::Underway
    }
}

impl Wanted {
    /// The next path to ask the upstream for; `None` once the face is gone.
    pub async fn next(&mut self) -> Option<Box<str>> {
        self.paths.recv().await
    }

    /// Where the answers go.
    pub fn replies(&self) -> Replies {
        self.replies.clone()
    }
}

impl Replies {
    /// Gives the answer for `path` to the requests that wait for it, and to others for a moment.
    pub fn give(&self, path: &str, reply: Reply) {
        let now = self.clock.boot();
        let mut cache = lock(&self.cache);
        if cache.make_room(path, reply.length(), now) {
            cache.entries.insert(path.into(), Entry::Held { reply, since: now });
        }
        drop(cache);
        self.arrived.notify_waiters();
    }
}

fn lock(cache: &Mutex<Cache>) -> MutexGuard<'_, Cache> {
    // Nothing under the lock can panic half-way.
    cache.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{
        cache::{MAX_BYTES, MAX_ENTRIES},
        *,
    };
    use crate::clock::SystemClock;

    const BODY: usize = 64 * 1024;

    #[test]
    fn nothing_that_has_to_do_with_credentials_is_ever_asked_for() {
        for path in [
            "latest/meta-data/iam",
            "latest/meta-data/iam/info",
            "latest/meta-data/IAM/security-credentials/x",
            "latest/meta-data/identity-credentials/ec2/security-credentials/ec2-instance",
            "latest/meta-data/Identity-Credentials",
            "latest/meta-data/x/../iam/security-credentials",
            "latest/meta-data/x/./y",
            "../latest/meta-data/iam",
            "latest/dynamic/../meta-data/iam",
            "latest/meta-data/iam%2fsecurity",
            "latest/meta-data/i\u{131}m",
            "latest/meta-data/iam;x",
            "latest/meta-data/a b",
            "latest/meta-data/a\\b",
            "latest/api/token",
            "latest/user-data/x",
            "latest/credentials",
            "latest/meta-data/tags/credential-owner",
            "latest/meta-data/tags/instance/credential/x",
            "latest/meta-data/tags/instance/..",
            "",
        ] {
            assert_eq!(upstream_path(&path.split('/').collect::<Vec<_>>()), None, "{path}");
        }
        for path in [
            "latest/meta-data",
            "latest/meta-data/tags/instance/credential-owner",
            "2021-03-23/dynamic/instance-identity/document",
            "latest/user-data",
        ] {
            assert_eq!(upstream_path(&path.split('/').collect::<Vec<_>>()), Some(format!("/{path}")));
        }
        assert_eq!(upstream_path(&["latest"]).as_deref(), Some("/latest/"));
    }

    #[test]
    fn the_cache_is_bounded_and_forgets() {
        let clock = SystemClock::shared();
        let (passthrough, mut wanted) = passthrough(Duration::from_secs(1), Arc::default(), clock);
        let at = |second: u64| BootTime::from_millis(second * 1000);
        assert!(matches!(passthrough.ask("/a", at(0)), Asked::Underway));
        assert!(matches!(passthrough.ask("/a", at(1)), Asked::Underway));
        assert_eq!(wanted.paths.try_recv().as_deref(), Ok("/a"));
        assert!(wanted.paths.try_recv().is_err(), "asked for once");
        {
            let mut cache = lock(&passthrough.cache);
            for index in 0..100 {
                assert!(cache.make_room("x", BODY, at(2)));
                let reply = Reply::Found(vec![0; BODY].into(), None);
                cache.entries.insert(format!("/{index}").into(), Entry::Held { reply, since: at(2) });
            }
            assert!(cache.entries.values().map(Entry::length).sum::<usize>() <= MAX_BYTES);
        }
        assert!(matches!(passthrough.ask("/99", at(3)), Asked::Reply(Reply::Found(..))));
        assert!(matches!(passthrough.ask("/99", at(8)), Asked::Underway));
        for index in 0..QUEUE * 2 {
            passthrough.ask(&format!("/q{index}"), at(8));
        }
        assert!(matches!(passthrough.ask("/more", at(8)), Asked::Reply(Reply::Failed)));
        assert!(lock(&passthrough.cache).entries.len() <= MAX_ENTRIES);
    }
}
