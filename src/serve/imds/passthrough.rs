//! What a real IMDS says, for all but credentials. Requests look into a small cache and never wait for a socket: what is
//! missing is asked for by a [`Relay`] elsewhere, while the request waits for it to arrive, as it waits for a first fetch.

mod cache;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

pub(super) use cache::Reply;
use cache::{Cache, Entry, life};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use tokio::sync::{Notify, Semaphore, mpsc};

use crate::{
    clock::SharedClock,
    fetch::{Answer, Call, Client, FetchError, Options, SetupError, parse_url},
};

/// The longest document; user data have at most 16 KiB.
const MAX_BODY: usize = 64 * 1024;
/// How many calls run at once, and how many may queue.
const CALLS: usize = 8;
const QUEUE: usize = 64;

const TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
const TOKEN_TTL: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");
const PROBE: HeaderName = HeaderName::from_static("x-alppaca-probe");
const PID: HeaderName = HeaderName::from_static("x-alppaca-pid");

/// What can be said to a request at once.
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

/// The side of the upstream: asks for what is wanted.
pub struct Relay {
    calls: Arc<Calls>,
    wanted: mpsc::Receiver<Box<str>>,
}

struct Calls {
    base: String,
    client: Client,
    timeout: Duration,
    clock: SharedClock,
    cache: Arc<Mutex<Cache>>,
    /// Told when an answer has arrived.
    arrived: Arc<Notify>,
    /// The token for the upstream; empty where it has none (version 1).
    token: tokio::sync::Mutex<Option<HeaderValue>>,
}

/// Both sides for the IMDS at `base`, whose answers may take `timeout`. `arrived` is told of each.
pub fn passthrough(
    base: &str,
    timeout: Duration,
    arrived: Arc<Notify>,
    clock: SharedClock,
) -> Result<(Passthrough, Relay), SetupError> {
    let client = Client::new(&parse_url("passthrough", base)?, &Options::direct(timeout, None))?;
    let cache: Arc<Mutex<Cache>> = Arc::default();
    let (want, wanted) = mpsc::channel(QUEUE);
    let calls = Calls {
        base: base.to_owned(),
        client,
        timeout,
        clock,
        cache: Arc::clone(&cache),
        arrived,
        token: tokio::sync::Mutex::default(),
    };
    Ok((Passthrough { cache, wanted: want, timeout }, Relay { calls: Arc::new(calls), wanted }))
}

/// The path to ask the upstream for; `None` if it is not to be asked. Only what was understood is passed on, spelled
/// anew from decoded segments of harmless characters, so no spelling can mean one thing here and another there. What has
/// to do with credentials, in any case of letters, is never asked for; a tag may be called what it likes.
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
    pub(super) fn ask(&self, path: &str, now: Duration) -> Asked {
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

impl Relay {
    /// Asks for what is wanted, until nobody can want anything any more.
    pub async fn run(mut self) {
        let permits = Arc::new(Semaphore::new(CALLS));
        while let Some(path) = self.wanted.recv().await {
            // Nobody closes it.
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            let calls = Arc::clone(&self.calls);
            tokio::spawn(async move {
                calls.call(&path).await;
                drop(permit);
            });
        }
    }
}

impl Calls {
    async fn call(&self, path: &str) {
        // The tokens count, too.
        let fetched = tokio::time::timeout(self.timeout, self.get(path)).await;
        let late = |_| Err(FetchError(format!("GET {}{path}: no answer within {:?}", self.base, self.timeout)));
        let reply = match fetched.unwrap_or_else(late) {
            Ok(fetched) => self.judge(path, &fetched),
            Err(error) => {
                tracing::warn!("passthrough: {error}");
                Reply::Failed
            }
        };
        let now = self.clock.now().boot;
        let mut cache = lock(&self.cache);
        let length = match &reply {
            Reply::Found(body, _) => body.len(),
            Reply::Absent | Reply::Failed => 0,
        };
        if cache.make_room(path, length, now) {
            cache.entries.insert(path.into(), Entry::Held { reply, since: now });
        }
        drop(cache);
        self.arrived.notify_waiters();
    }

    fn judge(&self, path: &str, fetched: &Answer) -> Reply {
        let pid = fetched.headers.get(PID).and_then(|pid| pid.to_str().ok()?.parse().ok());
        if pid == Some(std::process::id()) {
            tracing::error!(
                "passthrough: {} leads back to this daemon; take its account out of the rule that captures the address",
                self.base
            );
            return Reply::Failed;
        }
        match fetched.status {
            StatusCode::OK => {
                let modified = fetched.headers.get(http::header::LAST_MODIFIED).and_then(|date| date.to_str().ok());
                Reply::Found(Arc::from(fetched.body.as_slice()), modified.map(Into::into))
            }
            StatusCode::NOT_FOUND => Reply::Absent,
            status => {
                tracing::warn!("passthrough: GET {}{path}: {status}", self.base);
                Reply::Failed
            }
        }
    }

    /// With a token of our own, and once more with a new one if it is refused. No header of the client goes along.
    async fn get(&self, path: &str) -> Result<Answer, FetchError> {
        let url = format!("{}{path}", self.base);
        let mut again = false;
        loop {
            let mut call = Call::new(Method::GET, &url).header(PROBE, HeaderValue::from_static("1"));
            let token = self.token(again).await?;
            let with_token = token.is_some();
            if let Some(token) = token {
                call = call.header(TOKEN, token);
            }
            let fetched = self.client.send(call, MAX_BODY).await?;
            if fetched.status != StatusCode::UNAUTHORIZED || again || !with_token {
                return Ok(fetched);
            }
            again = true;
        }
    }

    /// The token for the upstream; `None` where it gives none, which means version 1.
    async fn token(&self, renew: bool) -> Result<Option<HeaderValue>, FetchError> {
        let mut held = self.token.lock().await;
        if let (Some(token), false) = (&*held, renew) {
            return Ok(Some(token.clone()));
        }
        *held = None;
        let url = format!("{}/latest/api/token", self.base);
        let call = Call::new(Method::PUT, &url).header(TOKEN_TTL, HeaderValue::from_static("21600"));
        let fetched = self.client.send(call, MAX_BODY).await?;
        if fetched.status == StatusCode::OK
            && let Ok(mut token) = HeaderValue::from_bytes(&fetched.body)
        {
            token.set_sensitive(true);
            *held = Some(token);
        }
        Ok(held.clone())
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
        let (passthrough, mut relay) =
            passthrough("http://127.0.0.1:1", Duration::from_secs(1), Arc::default(), clock).expect("a client");
        let at = Duration::from_secs;
        assert!(matches!(passthrough.ask("/a", at(0)), Asked::Underway));
        assert!(matches!(passthrough.ask("/a", at(1)), Asked::Underway));
        assert_eq!(relay.wanted.try_recv().as_deref(), Ok("/a"));
        assert!(relay.wanted.try_recv().is_err(), "asked for once");
        {
            let mut cache = lock(&passthrough.cache);
            for index in 0..100 {
                assert!(cache.make_room("x", MAX_BODY, at(2)));
                let reply = Reply::Found(vec![0; MAX_BODY].into(), None);
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
