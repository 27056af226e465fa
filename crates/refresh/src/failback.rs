//! Decides when to fail back to an upstream that others stand in for. Pure.

use std::time::Duration;

use crate::clock::BootTime;

/// How soon it is tried, where the upstream is not polled anyway.
pub const USUAL: Duration = Duration::from_mins(5);
/// While it goes on failing the wait doubles this often.
const DOUBLINGS: u32 = 2;

/// A wait for the next attempt, by the boot clock. A quarter of it is left to chance either way, so that the hosts that
/// left an upstream together do not come back together.
#[derive(Debug)]
pub struct Failback {
    base: Duration,
    began: BootTime,
    wait: Duration,
    failures: u32,
}

impl Failback {
    /// It has just been left: after about `base` it is tried. `random` is in 0..1.
    pub fn new(base: Duration, now: BootTime, random: f64) -> Self {
        Self { base, began: now, wait: about(base, random), failures: 0 }
    }

    /// It has been tried, and still fails.
    pub fn failed(&mut self, now: BootTime, random: f64) {
        self.failures = self.failures.saturating_add(1);
        self.began = now;
        self.wait = about(self.base * (1 << self.failures.min(DOUBLINGS)), random);
    }

    /// How long until it is to be tried; zero if it is time.
    pub fn remaining(&self, now: BootTime) -> Duration {
        self.wait.saturating_sub(now.since(self.began))
    }
}

/// `wait`, of which a quarter is left to chance either way.
pub fn about(wait: Duration, random: f64) -> Duration {
    wait.mul_f64(0.75 + random / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_to_a_bound_and_is_left_to_chance() {
        let mut failback = Failback::new(USUAL, BootTime::ZERO, 0.5);
        let mut waits = vec![failback.remaining(BootTime::ZERO)];
        for _ in 0..3 {
            failback.failed(BootTime::ZERO, 0.5);
            waits.push(failback.remaining(BootTime::ZERO));
        }
        assert_eq!(waits, [5, 10, 20, 20].map(Duration::from_mins));
        let at = |second: u64| BootTime::from_millis(second * 1000);
        for (random, seconds) in [(0.0, 225), (1.0, 375)] {
            let failback = Failback::new(USUAL, at(7), random);
            assert_eq!(failback.remaining(at(7)).as_secs(), seconds);
            assert_eq!(failback.remaining(at(6 + seconds)), Duration::from_secs(1));
            assert!(failback.remaining(at(8 + seconds)).is_zero());
        }
    }
}
