//! Requests to read something again, granted at most once in an interval.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use tokio::sync::Notify;

use crate::clock::BootTime;

/// The wish, shared by the requests and the reader.
#[derive(Debug)]
pub struct Wish {
    pause: Duration,
    /// When it was last expressed, in milliseconds of the boot clock; 0 for never.
    last: AtomicU64,
    /// Whether it is being granted.
    underway: AtomicBool,
    expressed: Notify,
}

impl Wish {
    /// A wish that is granted once in `pause`.
    pub fn new(pause: Duration) -> Self {
        Self { pause, last: AtomicU64::new(0), underway: AtomicBool::new(false), expressed: Notify::new() }
    }

    /// Whether it is worth waiting: something is being read, or is about to be.
    pub fn express(&self, now: BootTime) -> bool {
        if self.underway.load(Ordering::Acquire) {
            return true;
        }
        let last = BootTime::from_millis(self.last.load(Ordering::Relaxed));
        if last != BootTime::ZERO && now < last + self.pause {
            return false;
        }
        self.last.store(now.as_millis().max(1), Ordering::Relaxed);
        self.underway.store(true, Ordering::Release);
        self.expressed.notify_one();
        true
    }

    /// Waits until it is expressed.
    pub async fn expressed(&self) {
        self.expressed.notified().await;
    }

    /// Tells that it was granted.
    pub fn granted(&self) {
        self.underway.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_granted_once_in_a_while() {
        let wish = Wish::new(Duration::from_secs(1));
        let at = BootTime::from_millis;
        assert!(wish.express(at(0)));
        assert!(wish.express(at(1)), "it is under way");
        wish.granted();
        assert!(!wish.express(at(999)));
        assert!(wish.express(at(1001)));
    }
}
