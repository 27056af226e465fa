//! One region of STS: how many calls it gets, and whether it works. Pure.
//!
//! AWS counts the calls of an account in each region, 600 a second by default, and says `Throttling` beyond that. The
//! rate is halved then, and grows back within a minute.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>

use std::time::Duration;

use crate::clock::BootTime;

/// How many calls may run at once.
const CONCURRENCY: usize = 64;
/// After being halved the rate is whole again after so long, if there is no more throttling.
const RECOVERY: Duration = Duration::from_mins(1);
/// Answers to calls that ran at the same time are one sign of throttling, not many.
const SAME: Duration = Duration::from_secs(1);
/// At least this share of the rate is left.
const FLOOR: f64 = 1.0 / 64.0;
/// The wait after a failure doubles up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A region.
#[derive(Debug)]
pub(super) struct Region {
    full: f64,
    rate: f64,
    tokens: f64,
    /// When rate and tokens were brought up to date.
    counted: BootTime,
    halved: Option<BootTime>,
    running: usize,
    failures: u32,
    /// No call begins before; after it one tries.
    closed_until: Option<BootTime>,
}

impl Region {
    /// A region that may get `rate` calls a second.
    pub(super) fn new(rate: f64, now: BootTime) -> Self {
        let mut region = Self {
            full: rate,
            rate,
            tokens: 0.0,
            counted: now,
            halved: None,
            running: 0,
            failures: 0,
            closed_until: None,
        };
        region.tokens = region.burst();
        region
    }

    /// What half a second allows; at least one call.
    fn burst(&self) -> f64 {
        (self.rate / 2.0).max(1.0)
    }

    fn count(&mut self, now: BootTime) {
        let passed = now.since(self.counted).as_secs_f64();
        self.counted = self.counted.max(now);
        self.rate = (self.rate + self.full * passed / RECOVERY.as_secs_f64()).min(self.full);
        self.tokens = (self.tokens + self.rate * passed).min(self.burst());
    }

    /// Whether it is not known to fail.
    pub(super) fn is_open(&self) -> bool {
        self.closed_until.is_none()
    }

    /// How long until it may be tried again; nothing if it may be.
    pub(super) fn reopens(&self, now: BootTime) -> Duration {
        self.closed_until.map_or(Duration::ZERO, |until| until.since(now))
    }

    /// How many calls may begin in a second now.
    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    /// Takes one call's share if there is one. A call without hurry leaves half of what there is to others.
    pub(super) fn take(&mut self, now: BootTime, hurry: bool) -> bool {
        self.count(now);
        let (room, needed) = match self.closed_until {
            Some(until) => (now >= until && self.running == 0, 1.0),
            None => (self.running < CONCURRENCY, if hurry { 1.0 } else { (self.burst() / 2.0).max(1.0) }),
        };
        let taken = room && self.tokens >= needed;
        if taken {
            self.tokens -= 1.0;
            self.running += 1;
        }
        taken
    }

    /// Right after [`take`](Self::take) gave nothing: after how long it may, if only time is missing.
    pub(super) fn pause(&self, now: BootTime, hurry: bool) -> Option<Duration> {
        let closed = match self.closed_until {
            Some(_) if self.running > 0 => return None,
            Some(until) => until.since(now),
            None if self.running >= CONCURRENCY => return None,
            None => Duration::ZERO,
        };
        let needed = if hurry || !closed.is_zero() { 1.0 } else { (self.burst() / 2.0).max(1.0) };
        let missing = Duration::from_secs_f64((needed - self.tokens).max(0.0) / self.rate.max(f64::MIN_POSITIVE));
        // A little more, so that no rounding makes it wake just before.
        Some(closed.max(missing) + Duration::from_millis(1))
    }

    /// A call has ended with AWS's word about the call itself.
    pub(super) fn answered(&mut self) {
        self.running = self.running.saturating_sub(1);
        (self.failures, self.closed_until) = (0, None);
    }

    /// A call was one too many.
    pub(super) fn throttled(&mut self, now: BootTime) {
        self.answered();
        self.count(now);
        if self.halved.is_none_or(|halved| now.since(halved) >= SAME) {
            self.halved = Some(now);
            self.rate = (self.rate / 2.0).max(self.full * FLOOR);
            self.tokens = 0.0;
        }
    }

    /// A call says nothing: the region, or the way to it, is broken. `random` is in 0..1.
    pub(super) fn failed(&mut self, now: BootTime, random: f64) {
        self.running = self.running.saturating_sub(1);
        if self.closed_until.is_some_and(|until| now < until) {
            // One of those that ran when it was closed.
            return;
        }
        let wait = Duration::from_secs(1 << self.failures.min(5)).min(LONGEST_WAIT);
        self.failures = self.failures.saturating_add(1);
        self.closed_until = Some(now + wait.mul_f64(0.75 + random / 2.0));
    }

    /// A call was never sent.
    pub(super) fn unsent(&mut self) {
        self.running = self.running.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(milliseconds: u64) -> BootTime {
        BootTime::from_millis(milliseconds)
    }

    #[test]
    fn throttling_halves_the_rate_once_and_it_grows_back() {
        let mut region = Region::new(100.0, at(0));
        for _ in 0..30 {
            assert!(region.take(at(0), true));
        }
        for answer in 0..30 {
            region.throttled(at(answer / 3));
        }
        assert!((50.0..51.0).contains(&region.rate()), "{}", region.rate());
        assert!(!region.take(at(10), true));
        region.take(at(15_000), true);
        assert!((74.0..76.0).contains(&region.rate()), "{}", region.rate());
        region.take(at(90_000), true);
        assert!((region.rate() - 100.0).abs() < 0.01);
        for second in 100..130 {
            region.throttled(at(second * 1000));
        }
        assert!(region.rate() >= 100.0 * FLOOR);
    }

    #[test]
    fn a_region_that_fails_is_left_alone_and_then_tried_by_one_call() {
        let mut region = Region::new(100.0, at(0));
        assert!(region.take(at(0), true) && region.take(at(0), true));
        region.failed(at(0), 0.5);
        region.failed(at(10), 0.5);
        assert!(!region.is_open() && !region.take(at(500), true));
        assert_eq!(region.reopens(at(400)), Duration::from_millis(600), "two calls that ran together are one failure");
        assert!(region.take(at(1000), true) && !region.take(at(1000), true), "one tries");
        assert_eq!(region.pause(at(1000), true), None);
        region.failed(at(1100), 0.5);
        assert_eq!(region.reopens(at(1100)), Duration::from_secs(2));
        assert!(region.take(at(3100), false));
        region.answered();
        assert!(region.is_open() && region.take(at(3100), true) && region.take(at(3100), true));
    }

    #[test]
    fn a_call_without_hurry_leaves_some() {
        let mut region = Region::new(100.0, at(0));
        let calm = std::iter::repeat_with(|| region.take(at(0), false)).take_while(|taken| *taken).count();
        let hasty = std::iter::repeat_with(|| region.take(at(0), true)).take_while(|taken| *taken).count();
        assert_eq!((calm, hasty), (26, 24));
    }

    proptest! {
        /// In no second there are more calls than the rate and the burst, however they are distributed, and after the pause
        /// that it names there is one.
        #[test]
        fn the_rate_holds(rate in 1.0_f64..200.0, waits in proptest::collection::vec(0_u64..50, 1..400)) {
            let mut region = Region::new(rate, at(0));
            let mut now = 0;
            let mut begun: Vec<u64> = Vec::new();
            for wait in waits {
                now += wait;
                if region.take(at(now), true) {
                    begun.push(now);
                    region.answered();
                } else if let Some(pause) = region.pause(at(now), true) {
                    prop_assert!(region.take(at(now) + pause, true));
                    now += u64::try_from(pause.as_millis()).expect("small") + 1;
                    begun.push(now);
                    region.answered();
                }
                let last = begun.iter().filter(|then| **then + 1000 > now).count();
                prop_assert!(f64::from(u32::try_from(last).expect("small")) <= rate + (rate / 2.0).max(1.0) + 1.0);
            }
        }
    }
}
