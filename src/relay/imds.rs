//! Asks a real IMDS for the documents that the face passes on, which never include credentials: see
//! [`crate::faces::imds::Passthrough`].

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, StatusCode};
use tokio::sync::Semaphore;

use crate::{
    faces::imds::{Replies, Reply, Wanted},
    fetch::{Answer, ImdsClient, Options, SetupError},
};

/// The longest document; user data have at most 16 KiB.
const MAX_BODY: usize = 64 * 1024;
/// How many calls run concurrently.
const CALLS: usize = 8;

const PROBE: HeaderName = HeaderName::from_static("x-alppaca-probe");
const PID: HeaderName = HeaderName::from_static("x-alppaca-pid");

/// Asks for what is wanted.
pub(super) struct Relay {
    calls: Arc<Calls>,
    wanted: Wanted,
}

struct Calls {
    client: ImdsClient,
    timeout: Duration,
    replies: Replies,
}

impl Relay {
    /// Answers what is `wanted` with what the IMDS at `base` says within `timeout`.
    pub(super) fn new(base: &str, timeout: Duration, wanted: Wanted) -> Result<Self, SetupError> {
        // Without a token if there is none, whatever the reason. No header of the client goes along.
        let client = ImdsClient::new("passthrough", base, &Options::direct(timeout, None), |_| true)?
            .with_header(PROBE, HeaderValue::from_static("1"));
        let replies = wanted.replies();
        let calls = Calls { client, timeout, replies };
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
        let reply = match tokio::time::timeout(self.timeout, self.client.get(path, MAX_BODY)).await {
            Ok(Ok(fetched)) => self.judge(path, &fetched),
            Ok(Err(error)) => {
                tracing::warn!("passthrough: {error}");
                Reply::Failed
            }
            Err(_elapsed) => {
                let url = self.client.url(path);
                tracing::warn!("passthrough: GET {url}: no answer within {:?}", self.timeout);
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
                self.client.url("")
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
                tracing::warn!("passthrough: GET {}: {status}", self.client.url(path));
                Reply::Failed
            }
        }
    }
}
