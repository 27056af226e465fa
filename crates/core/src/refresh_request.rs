//! Requests to read something again, granted at most once in an interval.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use tokio::sync::Notify;

use crate::clock::BootTime;

/// The request, shared by the requests and the reader.
#[derive(Debug)]
pub struct RefreshRequest {
    pause: Duration,
    /// When it was last made, in milliseconds of the boot clock; 0 for never.
    last: AtomicU64,
    /// Whether it is being done.
    underway: AtomicBool,
    requested: Notify,
}

impl RefreshRequest {
    /// A request that is granted once in `pause`.
    pub fn new(pause: Duration) -> Self {
        Self { pause, last: AtomicU64::new(0), underway: AtomicBool::new(false), requested: Notify::new() }
    }

    /// Whether it is worth waiting: something is being read, or is about to be.
    pub fn request(&self, now: BootTime) -> bool {
        if self.underway.load(Ordering::Acquire) {
            return true;
        }
        let last = BootTime::from_millis(self.last.load(Ordering::Relaxed));
        if last != BootTime::ZERO && now < last + self.pause {
            return false;
        }
        self.last.store(now.as_millis().max(1), Ordering::Relaxed);
        self.underway.store(true, Ordering::Release);
        self.requested.notify_one();
        true
    }

    /// Waits until it is requested.
    pub async fn requested(&self) {
        self.requested.notified().await;
    }

    /// Reports that it was done.
    pub fn done(&self) {
        self.underway.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_granted_once_in_a_while() {
        let refresh_request = RefreshRequest::new(Duration::from_secs(1));
        let at = BootTime::from_millis;
        assert!(refresh_request.request(at(0)));
        assert!(refresh_request.request(at(1)), "it is under way");
        refresh_request.done();
        assert!(!refresh_request.request(at(999)));
        assert!(refresh_request.request(at(1001)));
    }
}
