//! The thread of the refresher.

use std::{io, thread, time::Duration};

use tokio::{runtime::Handle, sync::watch, time::timeout};

use super::runtime;
use crate::{refresh::Refresher, sign_in::SignIns};

/// Stack of the thread. Its deepest call is a TLS handshake.
const STACK: usize = 512 * 1024;
/// How long the renewal of a sign-in is waited for at the end: many providers accept a refresh token once.
const RENEWAL: Duration = Duration::from_secs(2);

/// The refresher on a thread of its own, where sign-ins are renewed as well, and the way to have other work done there.
pub(super) fn start(
    mut refresher: Refresher,
    mut stopped: watch::Receiver<()>,
    sign_ins: SignIns,
) -> io::Result<(thread::JoinHandle<()>, Handle)> {
    let runtime = runtime()?;
    let beside = runtime.handle().clone();
    let requests = refresher.requests();
    beside.spawn(sign_ins.run(move || requests.look_again()));
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

/// Waits for the end of the thread, and fails if it has failed.
pub(super) fn join(thread: thread::JoinHandle<()>) {
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Waits for the renewals that are under way; more do not begin. Meanwhile what is held is served.
pub(super) async fn last_renewals(sign_ins: &SignIns) {
    let _given_up = timeout(RENEWAL, sign_ins.pause()).await;
}
