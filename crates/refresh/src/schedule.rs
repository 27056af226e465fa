//! Decides when to fetch again. Pure: a moment in, a wait out.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    clock::{BootTime, Moment, until},
    failback,
};

/// Nothing is asked more often than this.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
/// The back-off after failures grows up to this, where nothing is held or what is held ends soon.
const LONGEST_BACKOFF: Duration = Duration::from_mins(1);
/// While a set is held, a failed attempt is repeated within this part of the life that is left.
const HELD_PART: u32 = 8;
/// However much is left, a failed attempt is repeated after this at the latest.
const LONGEST_RETRY: Duration = Duration::from_mins(5);
/// However long credentials live, they are fetched again after this at the latest.
const LONGEST_WAIT: Duration = Duration::from_hours(3);
/// SDKs expect 25 to 30 minutes left in every answer; this leaves 8 minutes for retries.
const WANTED_LIFE: Duration = Duration::from_mins(38);
/// Sets that live shorter than this cannot keep [`WANTED_LIFE`].
const SHORT_LIFE: Duration = Duration::from_mins(45);
/// The most that jitter brings a fetch forward.
const MOST_JITTER: Duration = Duration::from_mins(4);
/// How soon an AWS-facing source is retried after a refusal.
const REFUSED_WAIT: Duration = Duration::from_mins(5);
/// An upstream may say how long its list is fresh, within these bounds.
const LIST_AGES: [Duration; 2] = [Duration::from_mins(1), Duration::from_hours(1)];
/// An upstream in trouble may say when to come back, within these bounds.
const TOLD: [Duration; 2] = [SHORTEST_WAIT, Duration::from_mins(10)];
/// A fleet that was told the same is spread over this part of it.
const TOLD_SPREAD: f64 = 0.25;
/// On demand, a failing upstream is asked again after this part of the time for which it has been failing: a whole fleet
/// waits for it.
const DEMAND_PART: u32 = 60;

/// How an upstream is asked. Sets are always fetched by their age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cadence {
    /// An IMS: its refusal may be its own trouble, and is soon asked about again.
    Ims {
        /// How often its list is asked for.
        interval: Duration,
    },
    /// AWS, or what answers for it: a refusal stands until a person has changed something.
    Aws,
}

impl Cadence {
    /// How soon an upstream that is asked so is tried again after another has taken over.
    pub fn return_wait(self) -> Duration {
        match self {
            Self::Ims { interval } => interval,
            Self::Aws => failback::USUAL,
        }
    }
}

/// How long to wait after receiving a set that lives for another `life`. `random` is in 0..1.
pub fn wait_by_age(life: Duration, random: f64) -> Duration {
    let wait = if life < SHORT_LIFE {
        (life / 3).saturating_sub((life / 30).mul_f64(random))
    } else {
        let wanted = WANTED_LIFE.max(life / 2);
        let jitter = MOST_JITTER.min(life / 15).mul_f64(random);
        life.saturating_sub(wanted).min(LONGEST_WAIT).saturating_sub(jitter)
    };
    wait.max(SHORTEST_WAIT)
}

/// How much of a `life` is left when the next set is fetched, at the latest.
pub fn left_when_fetched(life: Duration) -> Duration {
    life.saturating_sub(wait_by_age(life, 0.0))
}

/// A wait that began at one moment and is judged by both clocks: the boot clock, which no step of
/// the wall clock can stretch, and the life that the wall clock leaves to the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timer {
    started: BootTime,
    wait: Duration,
    /// Due also when the set expiring then has no more than this left.
    life: Option<(Timestamp, Duration)>,
    /// How long the upstream wants to be left alone.
    told: Duration,
    /// How often in a row it failed, and since when.
    failures: u32,
    failing_since: BootTime,
}

impl Timer {
    /// Due now.
    pub fn due_now(now: Moment) -> Self {
        Self::after(now, Duration::ZERO)
    }

    /// Due in a while.
    pub(super) fn after(now: Moment, wait: Duration) -> Self {
        Self { started: now.boot, wait, life: None, told: Duration::ZERO, failures: 0, failing_since: now.boot }
    }

    /// After the upstream gave its list, which is asked for every `interval` unless the upstream says how long it is
    /// fresh. A quarter of the wait is left to chance either way, so that a fleet that started together spreads.
    pub fn after_list(now: Moment, interval: Duration, max_age: Option<Duration>, random: f64) -> Self {
        let [shortest, longest] = LIST_AGES;
        let wait = max_age.map_or(interval, |age| age.clamp(shortest, longest));
        Self::after(now, failback::about(wait, random).max(SHORTEST_WAIT))
    }

    /// After receiving a set that is valid until `expiration` and lives for another `life`.
    pub fn after_set(now: Moment, expiration: Timestamp, life: Duration, random: f64) -> Self {
        let wait = wait_by_age(life, random);
        Self { life: Some((expiration, life.saturating_sub(wait))), ..Self::after(now, wait) }
    }

    /// For a set that is valid until `expiration` and lives for another `life`, which another process meant to fetch again at the
    /// instant `due`. If the wall clock was set since, that may be too late: a set that lives as long as this one is due by then
    /// in any case.
    pub(super) fn handed_over(now: Moment, due: BootTime, expiration: Timestamp, life: Duration) -> Self {
        let wait = due.since(now.boot).min(wait_by_age(life, 0.0));
        Self { life: Some((expiration, life.saturating_sub(wait))), ..Self::after(now, wait) }
    }

    /// After the upstream refused: of an IMS that may be its own trouble. A set that is held and lives for another `left` leaves
    /// time.
    #[must_use]
    pub fn after_refusal(&self, now: Moment, cadence: Cadence, left: Option<Duration>, random: f64) -> Self {
        let end = left.unwrap_or(Duration::MAX);
        match cadence {
            Cadence::Ims { interval } => {
                let calm = left.map(|_| interval).unwrap_or_default();
                self.backed_off(now, calm.max(LONGEST_BACKOFF), end, random)
            }
            Cadence::Aws => {
                let wait = REFUSED_WAIT.saturating_sub(REFUSED_WAIT.mul_f64(random / 10.0));
                Self { wait: wait.min(end / 2).max(SHORTEST_WAIT), ..self.failed(now) }
            }
        }
    }

    /// After a failure that says nothing about a set. One that is held and lives for another `left` leaves time.
    #[must_use]
    pub fn after_failure(&self, now: Moment, left: Option<Duration>, random: f64) -> Self {
        let left = left.filter(|left| !left.is_zero());
        let longest = left.map_or(LONGEST_BACKOFF, |left| (left / HELD_PART).clamp(LONGEST_BACKOFF, LONGEST_RETRY));
        self.backed_off(now, longest, left.unwrap_or(Duration::MAX), random)
    }

    /// After a failure to get the list, or its refusal. `known`: the interval at which it is asked for, if roles are known.
    #[must_use]
    pub fn after_list_failure(&self, now: Moment, known: Option<Duration>, random: f64) -> Self {
        self.backed_off(now, known.unwrap_or_default().max(LONGEST_BACKOFF), Duration::MAX, random)
    }

    /// The upstream says that it wants to be left alone for `again`. A set that is held and lives for another `left` is not left
    /// to run out for that: towards its end the upstream is asked as often as if it had said nothing.
    #[must_use]
    pub fn told(self, again: Option<Duration>, left: Option<Duration>, random: f64) -> Self {
        let Some(again) = again else { return self };
        let [shortest, longest] = TOLD;
        let left = left.unwrap_or(Duration::MAX);
        let told = again.clamp(shortest, longest).mul_f64(1.0 + TOLD_SPREAD * random).min(left / HELD_PART);
        Self { wait: self.wait.max(told), told, ..self }
    }

    /// From `now` on nothing is held any more: a failed attempt is repeated as soon as if nothing had ever been.
    pub fn nothing_is_held(&mut self, now: Moment, random: f64) {
        let waited = now.boot.since(self.started);
        self.wait = self.wait.min((waited + LONGEST_BACKOFF.mul_f64(random).max(SHORTEST_WAIT)).max(self.told));
    }

    /// Full jitter, doubling up to `longest`, but never past the middle of the life that is `left`.
    fn backed_off(&self, now: Moment, longest: Duration, left: Duration, random: f64) -> Self {
        let failed = self.failed(now);
        let backoff = Duration::from_secs(1 << (failed.failures - 1).min(12)).min(longest).mul_f64(random);
        Self { wait: backoff.min(left / 2).max(SHORTEST_WAIT), ..failed }
    }

    /// One more failure in a row; due now.
    fn failed(&self, now: Moment) -> Self {
        let failures = self.failures.saturating_add(1);
        let failing_since = if self.failures == 0 { now.boot } else { self.failing_since };
        Self { failures, failing_since, ..Self::due_now(now) }
    }

    /// A request is waiting for the result: the next attempt is due within a second of the last one, or a little later
    /// for an upstream that has been failing for long. Its word when to come back holds, but for no longer than the usual
    /// back-off: it may be well again before the time that it gave.
    pub fn hasten(&mut self) {
        let failing = self.started.since(self.failing_since);
        let told = self.told.min(LONGEST_BACKOFF);
        self.wait = self.wait.min((failing / DEMAND_PART).max(SHORTEST_WAIT).max(told));
    }

    /// Something has changed that may let a failed attempt succeed: the next one is due within a second of it, but not before
    /// the upstream wants to be asked.
    pub(super) fn again(&mut self) {
        self.wait = self.wait.min(SHORTEST_WAIT.max(self.told.min(LONGEST_BACKOFF)));
    }

    /// As it is, but due in `wait` at the latest.
    #[must_use]
    pub(super) fn within(self, wait: Duration) -> Self {
        Self { wait: self.wait.min(wait.max(SHORTEST_WAIT)), ..self }
    }

    /// When it is due, at the latest.
    pub fn due(&self, now: Moment) -> Timestamp {
        now.wall.checked_add(self.remaining(now)).unwrap_or(Timestamp::MAX)
    }

    /// How long until it is due; zero if it is.
    pub fn remaining(&self, now: Moment) -> Duration {
        let waited = now.boot.since(self.started);
        let by_boot = self.wait.saturating_sub(waited);
        // A due-by-life wait is no shorter than the shortest: the set may arrive all but expired.
        let by_life = self.life.map_or(by_boot, |(expiration, left)| {
            until(expiration, now.wall).saturating_sub(left).max(SHORTEST_WAIT.saturating_sub(waited))
        });
        by_boot.min(by_life)
    }
}

#[cfg(test)]
mod simulation;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);
    const IMS: Cadence = Cadence::Ims { interval: Duration::from_mins(5) };

    fn moment(wall_seconds: i64, boot_seconds: u64) -> Moment {
        Moment {
            wall: Timestamp::from_second(1_795_428_000 + wall_seconds).expect("in range"),
            boot: BootTime::from_uptime(Duration::from_secs(10_000 + boot_seconds)),
        }
    }

    proptest! {
        /// A restart neither puts off the next fetch nor brings it forward, unless the clock was set meanwhile.
        #[test]
        fn what_was_handed_over_is_due_when_it_was(life in 60_u64..43_200, passed in 0.0..1.0, random in 0.0..1.0, step in 0_u64..43_200) {
            let begin = moment(0, 100);
            let expiration = begin.wall + Duration::from_secs(life);
            let before = Timer::after_set(begin, expiration, Duration::from_secs(life), random);
            let later = before.remaining(begin).mul_f64(passed);
            let now = Moment { wall: begin.wall + later, boot: begin.boot + later };
            let due = now.boot + before.remaining(now);
            prop_assert_eq!(Timer::handed_over(now, due, expiration, until(expiration, now.wall)).remaining(now), before.remaining(now));
            // The clock was behind and is right now: the set lives less long than the other process could know.
            let right = Moment { wall: now.wall + Duration::from_secs(step), ..now };
            let left = until(expiration, right.wall);
            let wait = Timer::handed_over(right, due, expiration, left).remaining(right);
            prop_assert!(wait <= wait_by_age(left, 0.0), "{wait:?} of {left:?}");
        }
    }

    #[test]
    fn a_list_is_asked_for_at_the_interval_unless_its_upstream_says_otherwise() {
        let now = moment(0, 0);
        let wait = |interval: u64, max_age: Option<u64>, random| {
            let max_age = max_age.map(Duration::from_secs);
            Timer::after_list(now, Duration::from_secs(interval), max_age, random).remaining(now).as_secs()
        };
        assert_eq!([0.0, 0.5, 1.0].map(|random| wait(300, None, random)), [225, 300, 375]);
        for (max_age, seconds) in [(600, 600), (1, 60), (86_400, 3600)] {
            assert_eq!(wait(300, Some(max_age), 0.5), seconds, "max-age={max_age}");
        }
        assert_eq!(wait(1, None, 0.0), 1);
    }

    #[test]
    fn a_set_is_fetched_by_its_age_and_leaves_the_life_that_sdks_want() {
        for (life, left) in [(60, 38), (45, 38), (30, 20), (15, 10), (90, 45), (360, 180), (720, 540)] {
            assert_eq!(left_when_fetched(MINUTE * life), MINUTE * left, "{life} minutes");
        }
        assert_eq!(wait_by_age(MINUTE * 60, 1.0), MINUTE * 18);
        for (life, wait) in [(90, 30), (9, 3), (2, 1), (0, 1)] {
            assert_eq!(wait_by_age(Duration::from_secs(life), 0.0), Duration::from_secs(wait), "{life} s");
        }
    }

    /// The waits after this number of failures in a row, in seconds, with the longest jitter.
    fn waits(count: usize, fail: impl Fn(&Timer) -> Timer) -> Vec<u64> {
        let mut timer = Timer::due_now(moment(0, 0));
        let mut next = || {
            timer = fail(&timer);
            timer.remaining(moment(0, 0)).as_secs()
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn failures_back_off_but_not_past_the_middle_of_the_remaining_life() {
        let now = moment(0, 0);
        assert_eq!(waits(9, |timer| timer.after_failure(now, None, 1.0)), [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        let failed =
            |left, random| waits(20, |timer| timer.after_failure(now, Some(Duration::from_secs(left)), random)).pop();
        for (left, wait) in [(50, 25), (120, 60), (480, 60), (960, 120), (2280, 285), (36_000, 300)] {
            assert_eq!(failed(left, 1.0), Some(wait), "{left} s are left");
        }
        assert_eq!(failed(50, 0.0), Some(1));
        let calm = Some(MINUTE * 5);
        assert_eq!(waits(10, |timer| timer.after_list_failure(now, calm, 1.0))[5..], [32, 64, 128, 256, 300]);
        assert_eq!(waits(8, |timer| timer.after_list_failure(now, None, 1.0))[5..], [32, 60, 60]);
    }

    #[test]
    fn an_upstream_is_left_alone_as_it_wants_unless_a_set_is_about_to_end() {
        let now = moment(0, 0);
        let told = |again, left: Option<u64>, random| {
            let left = left.map(Duration::from_secs);
            let timer = Timer::due_now(now).after_failure(now, left, random);
            timer.told(Some(Duration::from_secs(again)), left, random)
        };
        let wait = |again, left, random| told(again, left, random).remaining(now).as_secs();
        for (again, seconds) in [(0, 1), (1, 1), (30, 30), (600, 600), (86_400, 600), (u64::MAX, 600)] {
            assert_eq!(wait(again, None, 0.0), seconds, "{again} s");
        }
        assert_eq!((wait(40, None, 1.0), wait(600, None, 1.0)), (50, 750), "a fleet is spread, and none is early");
        for (left, seconds) in [(36_000, 600), (2400, 300), (240, 30), (80, 10), (8, 1)] {
            assert_eq!(wait(600, Some(left), 0.0), seconds, "{left} s are left");
        }
        let usual = waits(20, |timer| timer.after_failure(now, None, 1.0).told(None, None, 1.0));
        assert_eq!(usual[4..8], [16, 32, 60, 60]);
        let slower = waits(8, |timer| timer.after_failure(now, None, 1.0).told(Some(MINUTE / 3), None, 0.0));
        assert_eq!(slower, [20, 20, 20, 20, 20, 32, 60, 60], "the back-off goes on");
    }

    #[test]
    fn a_client_that_waits_breaks_the_word_of_an_upstream_once_a_minute_at_most() {
        let now = moment(0, 0);
        for (again, seconds) in [(5, 5), (30, 30), (600, 60)] {
            let failed = Timer::due_now(now).after_failure(now, None, 0.0);
            let mut timer = failed.told(Some(Duration::from_secs(again)), None, 0.0);
            timer.hasten();
            assert_eq!(timer.remaining(now).as_secs(), seconds, "{again} s");
            timer.nothing_is_held(now, 0.0);
            assert_eq!(timer.remaining(now).as_secs(), again.min(60), "{again} s");
        }
    }

    #[test]
    fn a_refusal_of_an_ims_is_asked_about_soon_and_then_ever_more_rarely() {
        let now = moment(0, 0);
        let refused = |held| waits(11, |timer| timer.after_refusal(now, IMS, held, 1.0));
        assert_eq!(refused(None), [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60]);
        assert_eq!(refused(Some(MINUTE * 60)), [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(waits(3, |timer| timer.after_refusal(now, Cadence::Aws, None, 0.0)), [300; 3]);
    }

    #[test]
    fn a_refusal_is_asked_about_again_well_before_the_set_expires() {
        let now = moment(0, 0);
        let wait = |cadence, left| {
            let left = Some(Duration::from_secs(left));
            *waits(20, |timer| timer.after_refusal(now, cadence, left, 0.99)).last().expect("some")
        };
        assert_eq!(wait(Cadence::Aws, 100), 50);
        assert_eq!(wait(IMS, 20), 10);
        assert_eq!(wait(Cadence::Aws, 1), 1);
        assert_eq!((wait(Cadence::Aws, 3600), wait(IMS, 3600)), (270, 297));
    }

    #[test]
    fn on_demand_it_is_due_within_a_second_but_a_long_outage_is_spared() {
        let hastened = |failing: u64| {
            let mut timer = Timer::due_now(moment(0, 0)).after_failure(moment(0, 0), None, 1.0);
            for _ in 0..9 {
                timer = timer.after_failure(moment(0, failing), None, 1.0);
            }
            timer.hasten();
            timer.remaining(moment(0, failing))
        };
        for (failing, wait) in [(0, 1), (45, 1), (60, 1), (600, 10), (3600, 60), (36_000, 60)] {
            assert_eq!(hastened(failing), Duration::from_secs(wait), "failing for {failing} s");
        }
        let mut timer = Timer::due_now(moment(0, 0));
        timer.hasten();
        assert_eq!(timer.remaining(moment(0, 0)), Duration::ZERO, "never later than without");
    }

    #[test]
    fn clock_steps_and_suspend_neither_stretch_nor_lose_a_wait() {
        let expiration = moment(3600, 0).wall;
        let timer = Timer::after_set(moment(0, 0), expiration, MINUTE * 60, 0.0);
        assert_eq!(timer.remaining(moment(0, 0)), MINUTE * 22);
        // The wall clock goes back an hour: the boot clock still brings it on.
        assert_eq!(timer.remaining(moment(-3600, 20 * 60)), MINUTE * 2);
        // The wall clock goes ahead half an hour: the set is older than thought.
        assert_eq!(timer.remaining(moment(1800, 5)), Duration::ZERO);
        // Suspended for an hour: both clocks went on.
        assert_eq!(timer.remaining(moment(3600, 3600)), Duration::ZERO);
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
            let timer = Timer::after_set(now, later(life), Duration::from_millis(life), random);
            let then = Moment { wall: later(waited), boot: now.boot + Duration::from_millis(waited) };
            prop_assert!(timer.remaining(then) >= SHORTEST_WAIT.saturating_sub(Duration::from_millis(waited)));
        }

        #[test]
        fn no_wait_is_shorter_than_a_second_or_outlasts_the_set(life in 0_u64..200_000, random in 0.0_f64..1.0) {
            let now = moment(0, 0);
            let expiration = moment(i64::try_from(life).expect("small"), 0).wall;
            let wait = Timer::after_set(now, expiration, Duration::from_secs(life), random).remaining(now);
            prop_assert!(wait >= SHORTEST_WAIT);
            prop_assert!(wait <= Duration::from_secs(life).max(SHORTEST_WAIT));
            prop_assert!(wait <= LONGEST_WAIT);
        }
    }
}
