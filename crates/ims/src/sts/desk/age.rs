//! How old a set may be for what. Pure.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    clock::{Moment, until},
    refresh::wait_by_age,
};

/// A set with this share of its life left is handed out as it is.
const FRESH: f64 = 0.75;
/// One with less than that, or this share of its life, is handed out only if there is no other.
const LEAST: Duration = Duration::from_mins(15);
const LEAST_SHARE: f64 = 0.25;
/// What is left of short lives has to be shared: never more than this is kept from clients.
const MOST_SHARE: f64 = 0.5;
/// A client that comes back within this multiple of the usual wait has come back here, and not to another replica.
const TIMELY: f64 = 1.5;
/// A renewal ahead of its time may be this share of the wait early.
const EARLY: f64 = 0.5;

/// A set, and both clocks when it was made.
#[derive(Debug, Clone)]
pub(super) struct Held<S> {
    pub(super) set: S,
    made: Moment,
    expiration: Timestamp,
}

impl<S> Held<S> {
    pub(super) fn new(set: S, made: Moment, expiration: Timestamp) -> Self {
        Self { set, made, expiration }
    }

    pub(super) fn life(&self) -> Duration {
        until(self.expiration, self.made.wall)
    }

    fn age(&self, now: Moment) -> Duration {
        self.life().saturating_sub(self.rest(now))
    }

    /// How long it is valid by both clocks: the boot clock, which no step of the wall clock can stretch, and the wall
    /// clock, which AWS has, too.
    pub(super) fn rest(&self, now: Moment) -> Duration {
        let by_boot = (self.made.boot + self.life()).since(now.boot);
        by_boot.min(until(self.expiration, now.wall))
    }

    /// Whether there is no need for another one.
    pub(super) fn is_fresh(&self, now: Moment) -> bool {
        self.rest(now) >= self.life().mul_f64(FRESH)
    }

    /// Whether it has enough left for a client that can do without a fresher one.
    pub(super) fn is_decent(&self, now: Moment) -> bool {
        let life = self.life();
        self.rest(now) >= LEAST.max(life.mul_f64(LEAST_SHARE)).min(life.mul_f64(MOST_SHARE))
    }

    /// Whether a client asks for another one as soon as the daemon does.
    pub(super) fn is_timely(&self, now: Moment) -> bool {
        self.age(now) <= wait_by_age(self.life(), 0.0).mul_f64(TIMELY)
    }

    /// If a client gets it now: in how long it should be renewed at the earliest and at the latest, so that a client
    /// with the daemon's schedule finds a fresh one. `None` if this one will still be fresh then.
    pub(super) fn renewal(&self, now: Moment) -> Option<(Duration, Duration)> {
        let rest = self.rest(now);
        let next = wait_by_age(rest, 1.0);
        let fresh_then = rest.saturating_sub(next) >= self.life().mul_f64(FRESH);
        (!fresh_then).then(|| (next.mul_f64(1.0 - EARLY), next))
    }
}
