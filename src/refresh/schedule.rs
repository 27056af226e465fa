//! When to ask again. Pure: a moment in, a wait out.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    clock::{Moment, until},
    source::way_back,
};

/// Nothing is asked more often than this.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
/// The back-off after failures grows up to this.
const LONGEST_BACKOFF: Duration = Duration::from_mins(1);
/// However long credentials live, they are fetched again after this at the latest.
const LONGEST_WAIT: Duration = Duration::from_hours(3);
/// SDKs want 25 to 30 minutes left in every answer; this leaves 8 minutes for retries.
const WANTED_LIFE: Duration = Duration::from_mins(38);
/// Sets that live shorter than this cannot keep [`WANTED_LIFE`].
const SHORT_LIFE: Duration = Duration::from_mins(45);
/// The most that jitter brings a fetch forward.
const MOST_JITTER: Duration = Duration::from_mins(4);
/// How soon an AWS-facing source that refused for good is asked again.
const REFUSED_WAIT: Duration = Duration::from_mins(5);

/// How an upstream is asked while all is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cadence {
    /// The upstream is near and may change its mind: ask again and again, whatever the life.
    Poll {
        /// How often.
        interval: Duration,
    },
    /// Each call counts: ask when a good part of the life is over.
    Ahead,
}

impl Cadence {
    /// How long to wait after receiving a set that lives for another `life`. `random` is in 0..1.
    fn wait(self, life: Duration, random: f64) -> Duration {
        let wait = match self {
            Self::Poll { interval } => {
                let wait = interval.min(life / 3);
                wait.saturating_sub(wait.mul_f64(random / 10.0))
            }
            Self::Ahead if life < SHORT_LIFE => (life / 3).saturating_sub((life / 30).mul_f64(random)),
            Self::Ahead => {
                let wanted = WANTED_LIFE.max(life / 2);
                let jitter = MOST_JITTER.min(life / 15).mul_f64(random);
                life.saturating_sub(wanted).min(LONGEST_WAIT).saturating_sub(jitter)
            }
        };
        wait.max(SHORTEST_WAIT)
    }

    /// How much of a `life` is left when the next set is fetched, at the latest.
    pub fn left(self, life: Duration) -> Duration {
        life.saturating_sub(self.wait(life, 0.0))
    }

    /// How soon an upstream that is asked so is tried again after another has taken over.
    pub fn return_wait(self) -> Duration {
        match self {
            Self::Poll { interval } => interval * 5,
            Self::Ahead => way_back::USUAL,
        }
    }

    fn wait_after_refusal(self, random: f64) -> Duration {
        let wait = match self {
            Self::Poll { interval } => interval,
            Self::Ahead => REFUSED_WAIT,
        };
        wait.saturating_sub(wait.mul_f64(random / 10.0)).max(SHORTEST_WAIT)
    }
}

/// A wait that began at one moment and is judged by both clocks: the boot clock, which no step of
/// the wall clock can stretch, and the life that the wall clock leaves to the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timer {
    started: Duration,
    wait: Duration,
    /// Due also when the set expiring then has no more than this left.
    life: Option<(Timestamp, Duration)>,
    failures: u32,
}

impl Timer {
    /// Due now.
    pub fn due_now(now: Moment) -> Self {
        Self { started: now.boot, wait: Duration::ZERO, life: None, failures: 0 }
    }

    /// After an answer without an expiration, such as a role list.
    pub fn after_answer(now: Moment, cadence: Cadence, random: f64) -> Self {
        Self { started: now.boot, wait: cadence.wait(Duration::MAX, random), life: None, failures: 0 }
    }

    /// After receiving a set that is valid until `expiration`.
    pub fn after_set(now: Moment, expiration: Timestamp, cadence: Cadence, random: f64) -> Self {
        let life = until(expiration, now.wall);
        let wait = cadence.wait(life, random);
        Self { started: now.boot, wait, life: Some((expiration, life.saturating_sub(wait))), failures: 0 }
    }

    /// Due in a while.
    pub(super) fn after(now: Moment, wait: Duration) -> Self {
        Self { started: now.boot, wait, life: None, failures: 0 }
    }

    /// After the upstream refused for good; sooner if there is a set that expires.
    pub fn after_refusal(now: Moment, cadence: Cadence, expiration: Option<Timestamp>, random: f64) -> Self {
        let left = expiration.map_or(Duration::MAX, |at| until(at, now.wall));
        let wait = cadence.wait_after_refusal(random).min(left / 2).max(SHORTEST_WAIT);
        Self { started: now.boot, wait, life: None, failures: 0 }
    }

    /// After a failure that says nothing: full jitter, doubling, but never past the middle of the
    /// life that a held set has left.
    #[must_use]
    pub fn after_failure(&self, now: Moment, expiration: Option<Timestamp>, random: f64) -> Self {
        let failures = self.failures.saturating_add(1);
        let backoff = Duration::from_secs(1 << (failures - 1).min(6)).min(LONGEST_BACKOFF).mul_f64(random);
        let left = expiration.map(|at| until(at, now.wall)).filter(|left| !left.is_zero());
        let wait = backoff.min(left.map_or(LONGEST_BACKOFF, |left| left / 2)).max(SHORTEST_WAIT);
        Self { started: now.boot, wait, life: None, failures }
    }

    /// How long until it is due; zero if it is.
    pub fn remaining(&self, now: Moment) -> Duration {
        let waited = now.boot.saturating_sub(self.started);
        let by_boot = self.wait.saturating_sub(waited);
        // A due-by-life wait is no shorter than the shortest: the set may arrive all but expired.
        let by_life = self.life.map_or(by_boot, |(expiration, left)| {
            until(expiration, now.wall).saturating_sub(left).max(SHORTEST_WAIT.saturating_sub(waited))
        });
        by_boot.min(by_life)
    }

    /// How often in a row it failed.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);
    const POLL: Cadence = Cadence::Poll { interval: MINUTE };

    fn moment(wall_seconds: i64, boot_seconds: u64) -> Moment {
        Moment {
            wall: Timestamp::from_second(1_795_428_000 + wall_seconds).expect("in range"),
            boot: Duration::from_secs(10_000 + boot_seconds),
        }
    }

    #[test]
    fn an_ims_is_asked_at_the_interval_and_sooner_for_short_lives() {
        for (life, wait) in [(3600, 60), (180, 60), (90, 30), (9, 3), (2, 1), (0, 1)] {
            assert_eq!(POLL.wait(Duration::from_secs(life), 0.0), Duration::from_secs(wait), "{life} s");
        }
        assert_eq!(POLL.wait(Duration::MAX, 0.5), Duration::from_secs(57));
    }

    #[test]
    fn an_aws_facing_source_leaves_the_life_that_sdks_want() {
        for (life, left) in [(60, 38), (45, 38), (30, 20), (15, 10), (90, 45), (360, 180), (720, 540)] {
            let wait = Cadence::Ahead.wait(MINUTE * life, 0.0);
            assert_eq!((MINUTE * life).checked_sub(wait), Some(MINUTE * left), "{life} minutes");
        }
        assert_eq!(Cadence::Ahead.wait(MINUTE * 60, 1.0), MINUTE * 18);
    }

    #[test]
    fn failures_back_off_but_not_past_the_middle_of_the_remaining_life() {
        let now = moment(0, 0);
        let mut timer = Timer::due_now(now);
        let mut waits = Vec::new();
        for _ in 0..9 {
            timer = timer.after_failure(now, None, 1.0);
            waits.push(timer.remaining(now).as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        let expiration = moment(50, 0).wall;
        assert_eq!(timer.after_failure(now, Some(expiration), 1.0).remaining(now), Duration::from_secs(25));
        assert_eq!(timer.after_failure(now, Some(expiration), 0.0).remaining(now), SHORTEST_WAIT);
    }

    #[test]
    fn clock_steps_and_suspend_neither_stretch_nor_lose_a_wait() {
        let expiration = moment(3600, 0).wall;
        let timer = Timer::after_set(moment(0, 0), expiration, Cadence::Ahead, 0.0);
        assert_eq!(timer.remaining(moment(0, 0)), MINUTE * 22);
        // The wall clock goes back an hour: the boot clock still brings it on.
        assert_eq!(timer.remaining(moment(-3600, 20 * 60)), MINUTE * 2);
        // The wall clock goes ahead half an hour: the set is older than thought.
        assert_eq!(timer.remaining(moment(1800, 5)), Duration::ZERO);
        // Suspended for an hour: both clocks went on.
        assert_eq!(timer.remaining(moment(3600, 3600)), Duration::ZERO);
    }

    #[test]
    fn a_refusal_is_asked_about_again_well_before_the_set_expires() {
        let now = moment(0, 0);
        let wait = |cadence, left| {
            let expiration = Some(moment(left, 0).wall);
            Timer::after_refusal(now, cadence, expiration, 0.0).remaining(now)
        };
        assert_eq!(wait(Cadence::Ahead, 100), Duration::from_secs(50));
        assert_eq!(wait(POLL, 20), Duration::from_secs(10));
        assert_eq!(wait(Cadence::Ahead, 1), SHORTEST_WAIT);
        assert_eq!(wait(Cadence::Ahead, 3600), REFUSED_WAIT);
    }

    proptest! {
        #[test]
        fn a_set_that_is_all_but_expired_is_not_asked_for_without_pause(
            life in 0_u64..5000,
            waited in 0_u64..1000,
            random in 0.0_f64..1.0,
        ) {
            let now = moment(0, 0);
            let later = |milliseconds| now.wall + Duration::from_millis(milliseconds);
            for cadence in [POLL, Cadence::Ahead] {
                let timer = Timer::after_set(now, later(life), cadence, random);
                let then = Moment { wall: later(waited), boot: now.boot + Duration::from_millis(waited) };
                prop_assert!(timer.remaining(then) >= SHORTEST_WAIT.saturating_sub(Duration::from_millis(waited)));
            }
        }

        #[test]
        fn no_wait_is_shorter_than_a_second_or_outlasts_the_set(life in 0_u64..200_000, random in 0.0_f64..1.0) {
            let now = moment(0, 0);
            let expiration = moment(i64::try_from(life).expect("small"), 0).wall;
            for cadence in [POLL, Cadence::Ahead] {
                let wait = Timer::after_set(now, expiration, cadence, random).remaining(now);
                prop_assert!(wait >= SHORTEST_WAIT);
                prop_assert!(wait <= Duration::from_secs(life).max(SHORTEST_WAIT));
                prop_assert!(wait <= LONGEST_WAIT);
            }
        }
    }
}
