//! Proof of life for the service manager: given only while both runtimes do their work.

use std::time::Duration;

use tokio::{runtime::Handle, sync::oneshot};

use crate::clock;

/// How a service manager wants to be told that the daemon lives.
pub struct Watchdog {
    /// It ends a daemon that is silent for so long.
    pub limit: Duration,
    /// Tells it.
    pub feed: Box<dyn FnMut() + Send>,
}

/// Feeds it for ever, from the runtime that serves. Each time the one that asks upstreams, `beside`, has to do something
/// first: where one of the two is stuck, the service manager hears nothing.
pub(super) async fn feed(mut watchdog: Watchdog, beside: Handle) {
    loop {
        let (tell, told) = oneshot::channel();
        beside.spawn(async move { tell.send(()) });
        if told.await.is_err() {
            // That runtime is gone: the daemon ends.
            return;
        }
        (watchdog.feed)();
        clock::sleep(watchdog.limit / 3).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn a_runtime_that_is_stuck_starves_the_watchdog() {
        let runtime = || Builder::new_current_thread().enable_time().build().expect("a runtime");
        let (serving, refreshing) = (runtime(), runtime());
        let (fed, feeds) = mpsc::channel();
        let limit = Duration::from_millis(30);
        let watchdog = Watchdog { limit, feed: Box::new(move || fed.send(()).expect("the test listens")) };
        serving.spawn(feed(watchdog, refreshing.handle().clone()));
        let some_time = || serving.block_on(async { tokio::time::sleep(limit * 10).await });
        some_time();
        assert_eq!(feeds.try_iter().count(), 0, "nothing turns the other runtime");
        refreshing.block_on(async { tokio::time::sleep(limit).await });
        some_time();
        assert_eq!(feeds.try_iter().count(), 1, "once, for what was done meanwhile");
        let (stop, stopped) = oneshot::channel::<()>();
        let turning = std::thread::spawn(move || refreshing.block_on(async { drop(stopped.await) }));
        some_time();
        assert!(feeds.try_iter().count() > 1);
        drop(stop);
        turning.join().expect("no panic");
    }
}
