//! The queue of one upstream: how many calls run concurrently, and how many begin in a second. Pure.

use std::{collections::VecDeque, time::Duration};

use super::CallLimit;
use crate::clock::BootTime;

/// Calls that wait for their turn, first come, first served.
#[derive(Debug)]
pub struct CallQueue<T> {
    bounds: CallLimit,
    due: VecDeque<T>,
    running: usize,
    /// How many calls may begin immediately, as of `counted`.
    tokens: f64,
    counted: BootTime,
}

impl<T> CallQueue<T> {
    /// An empty queue.
    pub fn new(bounds: CallLimit, now: BootTime) -> Self {
        Self { bounds, due: VecDeque::new(), running: 0, tokens: burst(bounds), counted: now }
    }

    /// Appends a call.
    pub fn push(&mut self, item: T) {
        self.due.push_back(item);
    }

    /// Whether one more call would begin immediately.
    pub fn is_free(&self, now: BootTime) -> bool {
        let waiting = self.due.len();
        let in_time =
            self.tokens(now).is_none_or(|tokens| tokens >= 1.0 + f64::from(u32::try_from(waiting).unwrap_or(u32::MAX)));
        in_time && self.running.saturating_add(waiting) < self.bounds.concurrency.max(1)
    }

    /// How many calls the rate lets begin immediately, if there is one.
    fn tokens(&self, now: BootTime) -> Option<f64> {
        let passed = now.since(self.counted).as_secs_f64();
        self.bounds.rate.map(|rate| (self.tokens + passed * rate).min(burst(self.bounds)))
    }

    /// Drops the calls that are not wanted any more.
    pub fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        self.due.retain(keep);
    }

    /// Takes out all that waits.
    pub fn drain(&mut self) -> Vec<T> {
        self.due.drain(..).collect()
    }

    /// The next call that may begin at `now`; it counts as running until [`done`](Self::done).
    pub fn next(&mut self, now: BootTime) -> Option<T> {
        if self.running >= self.bounds.concurrency.max(1) || self.due.is_empty() {
            return None;
        }
        if let Some(tokens) = self.tokens(now) {
            (self.tokens, self.counted) = (tokens, now);
            if self.tokens < 1.0 {
                return None;
            }
            self.tokens -= 1.0;
        }
        let next = self.due.pop_front()?;
        self.running += 1;
        Some(next)
    }

    /// A call has ended.
    pub fn done(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// Right after [`next`](Self::next) gave nothing: how long until it may, if only time is missing.
    pub fn pause(&self) -> Option<Duration> {
        let rate = self.bounds.rate?;
        let free = self.running < self.bounds.concurrency.max(1) && !self.due.is_empty();
        // A little more, so that no rounding makes it wake just before.
        free.then(|| Duration::from_secs_f64((1.0 - self.tokens).max(0.0) / rate) + Duration::from_millis(1))
    }
}

/// As many as a second allows, and at least one.
fn burst(bounds: CallLimit) -> f64 {
    bounds.rate.map_or(0.0, |rate| rate.max(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(concurrency: usize, rate: Option<f64>) -> CallQueue<u32> {
        let mut queue = CallQueue::new(CallLimit { concurrency, rate }, BootTime::ZERO);
        (0..100).for_each(|item| queue.push(item));
        queue
    }

    #[test]
    fn no_more_calls_run_at_once_than_are_allowed() {
        let mut queue = queue(2, None);
        let mut next = || queue.next(BootTime::ZERO);
        assert_eq!([next(), next(), next()], [Some(0), Some(1), None]);
        assert_eq!(queue.pause(), None);
        queue.done();
        assert_eq!(queue.next(BootTime::ZERO), Some(2));
    }

    #[test]
    fn no_more_calls_begin_in_a_second_than_are_allowed() {
        let mut queue = queue(100, Some(10.0));
        let mut begun = Vec::new();
        let mut now = BootTime::ZERO;
        while begun.len() < 100 {
            while queue.next(now).is_some() {
                begun.push(now);
            }
            now = now + queue.pause().unwrap_or_default();
        }
        assert_eq!(begun.iter().filter(|at| **at == BootTime::ZERO).count(), 10);
        assert!((9..10).contains(&begun[99].uptime().as_secs()), "{begun:?}");
        assert!(begun.windows(11).all(|part| part[10].since(part[0]) >= Duration::from_millis(100)));
    }

    #[test]
    fn it_is_free_as_long_as_one_more_call_would_begin_at_once() {
        for (concurrency, rate) in [(3, None), (100, Some(3.0))] {
            let mut queue = CallQueue::new(CallLimit { concurrency, rate }, BootTime::ZERO);
            for item in 0..3 {
                assert!(queue.is_free(BootTime::ZERO), "{item}");
                queue.push(item);
            }
            assert!(!queue.is_free(BootTime::ZERO));
            while queue.next(BootTime::ZERO).is_some() {}
            assert!(!queue.is_free(BootTime::ZERO));
            queue.done();
            assert!(queue.is_free(BootTime::from_millis(1000)));
        }
    }

    #[test]
    fn a_slow_rate_still_lets_one_begin() {
        let mut queue = queue(100, Some(0.1));
        assert_eq!((queue.next(BootTime::ZERO), queue.next(BootTime::ZERO)), (Some(0), None));
        assert!((10.0..10.1).contains(&queue.pause().expect("time is missing").as_secs_f64()));
        assert_eq!(queue.next(BootTime::from_millis(11_000)), Some(1));
    }
}
