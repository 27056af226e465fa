//! Asks a real IMDS for the documents that the face passes on, which never include credentials: see
//! [`crate::faces::imds::Passthrough`].

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Method, StatusCode};
use tokio::sync::{Mutex, Semaphore};

use crate::{
    faces::imds::{Replies, Reply, Wanted},
    fetch::{Answer, Call, Client, FetchError, Options, SetupError, parse_url},
};

/// The longest document; user data have at most 16 KiB.
const MAX_BODY: usize = 64 * 1024;
/// How many calls run concurrently.
const CALLS: usize = 8;

const TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
const TOKEN_TTL: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");
const PROBE: HeaderName = HeaderName::from_static("x-alppaca-probe");
const PID: HeaderName = HeaderName::from_static("x-alppaca-pid");

/// Asks for what is wanted.
pub(super) struct Relay {
    calls: Arc<Calls>,
    wanted: Wanted,
}

struct Calls {
    base: String,
    client: Client,
    timeout: Duration,
    replies: Replies,
    /// The token for the upstream; empty where it has none (version 1).
    token: Mutex<Option<HeaderValue>>,
}

impl Relay {
    /// Answers what is `wanted` with what the IMDS at `base` says within `timeout`.
    pub(super) fn new(base: &str, timeout: Duration, wanted: Wanted) -> Result<Self, SetupError> {
        let client = Client::new(&parse_url("passthrough", base)?, &Options::direct(timeout, None))?;
        let replies = wanted.replies();
        let calls = Calls { base: base.to_owned(), client, timeout, replies, token: Mutex::default() };
        Ok(Self { calls: Arc::new(calls), wanted })
    }

    /// Asks for what is wanted, until the face is gone.
    pub(super) async fn run(mut self) {
        let permits = Arc::new(Semaphore::new(CALLS));
        while let Some(path) = self.wanted.next().await {
            // It is never closed.
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
        self.replies.give(path, reply);
    }

    fn judge(&self, path: &str, fetched: &Answer) -> Reply {
        let pid = fetched.headers.get(PID).and_then(|pid| pid.to_str().ok()?.parse().ok());
        if pid == Some(std::process::id()) {
            tracing::error!(
                "passthrough: {} leads back to this daemon; exempt its account from the rule that captures the address",
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
