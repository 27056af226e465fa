//! The thread of the refresher.

use std::{io, thread, time::Duration};

use tokio::{runtime::Handle, sync::watch, time::timeout};

use super::{Daemon, runtime};
use crate::{
    refresh::{Follower, Refresher, Work},
    sign_in::SignIns,
};

/// Stack of the thread. Its deepest call is a TLS handshake.
const STACK: usize = 512 * 1024;
/// How long the renewal of a sign-in is waited for at the end: many providers accept a refresh token once.
const RENEWAL: Duration = Duration::from_secs(2);

/// The refresher, and what is done beside it and at the end for who follows its calls.
#[derive(Default)]
pub(super) struct Refreshing {
    work: Option<Work>,
    farewell: Option<Work>,
}

impl Daemon {
    /// One whose calls somebody follows.
    #[must_use]
    pub fn followed_by(mut self, follower: Option<Follower>) -> Self {
        let Some(Follower { watch, work, farewell, counts }) = follower else { return self };
        self.refresher = self.refresher.watched_by(watch);
        self.refresher.refresh_stats().use_spans(counts);
        self.refreshing = Refreshing { work: Some(work), farewell: Some(farewell) };
        self
    }
}

impl Refreshing {
    /// The refresher on a thread of its own, where sign-ins are renewed as well, and the way to have other work done there.
    pub(super) fn start(
        &mut self,
        mut refresher: Refresher,
        mut stopped: watch::Receiver<()>,
        sign_ins: SignIns,
    ) -> io::Result<(thread::JoinHandle<()>, Handle)> {
        let runtime = runtime()?;
        let beside = runtime.handle().clone();
        let requests = refresher.requests();
        beside.spawn(sign_ins.run(move || requests.look_again()));
        if let Some(work) = self.work.take() {
            beside.spawn(work);
        }
        let thread = thread::Builder::new().name("refresh".into()).stack_size(STACK).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = refresher.run() => {}
                    // An error, too, means that the other side is gone.
                    _ = stopped.changed() => {}
                }
                refresher.hand_over();
            });
            // A name look-up may still be blocking a helper thread.
            runtime.shutdown_timeout(Duration::from_millis(100));
        })?;
        Ok((thread, beside))
    }

    /// Says farewell, and waits for the renewals that are under way; more do not begin. Meanwhile what is held is served.
    pub(super) async fn end(self, sign_ins: &SignIns) {
        let farewell = async {
            if let Some(farewell) = self.farewell {
                farewell.await;
            }
        };
        let (_given_up, ()) = tokio::join!(timeout(RENEWAL, sign_ins.pause()), farewell);
    }
}

/// Waits for the end of the thread, and fails if it has failed.
pub(super) fn join(thread: thread::JoinHandle<()>) {
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}
