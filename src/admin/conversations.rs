//! The requests that are being answered: the daemon ends after them.

use std::time::Duration;

use tokio::{sync::watch, time::timeout};

/// How long the last answers may take.
const LIMIT: Duration = Duration::from_secs(2);

/// All of them. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Conversations(watch::Sender<bool>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Conversation(watch::Receiver<bool>);

impl Conversations {
    pub(super) fn begin(&self) -> Conversation {
        Conversation(self.0.subscribe())
    }

    /// From now on nothing is waited for before an answer is given.
    pub fn end(&self) {
        self.0.send_replace(true);
    }

    /// Ready when all are over, or have taken too long.
    pub async fn ended(&self) {
        if timeout(LIMIT, self.0.closed()).await.is_err() {
            tracing::warn!("{} request(s) at the admin socket were not over after {LIMIT:?}", self.0.receiver_count());
        }
    }
}

impl Conversation {
    /// Ready when the daemon is about to end.
    pub(super) async fn cut_short(&mut self) {
        if self.0.wait_for(|ending| *ending).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
