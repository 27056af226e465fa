//! The wall clock, a clock that counts through suspend, and sleeping. The only place that reads
//! either; everything else is handed a [`Moment`].

use std::{
    ops::Add,
    sync::Arc,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// One moment, read from both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// What the wall clock shows. It may be stepped either way between two readings.
    pub wall: Timestamp,
    /// What the boot clock shows. It only grows.
    pub boot: BootTime,
}

/// An instant of the boot clock (`CLOCK_BOOTTIME`), which counts from the machine's boot on, also while it is suspended,
/// and which nothing steps. Instants of different boots have nothing to do with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(Duration);

impl BootTime {
    /// The boot itself.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// The instant at which the machine has been up for `uptime`.
    pub const fn from_uptime(uptime: Duration) -> Self {
        Self(uptime)
    }

    /// How long the machine has been up at this instant.
    pub const fn uptime(self) -> Duration {
        self.0
    }

    /// The same in whole milliseconds, to keep it in an atomic.
    pub fn as_millis(self) -> u64 {
        // Boot clocks do not reach the year 584,942,417.
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }

    /// The instant for a result of [`as_millis`](Self::as_millis).
    pub const fn from_millis(uptime: u64) -> Self {
        Self(Duration::from_millis(uptime))
    }

    /// The time that passed since the `earlier` instant; zero if that is the later one.
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// The instant a while later; the last one that there is, if the while is too long.
impl Add<Duration> for BootTime {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }
}

/// A source of moments.
pub trait Clock: Send + Sync + 'static {
    /// This moment.
    fn now(&self) -> Moment;

    /// The same by the boot clock alone.
    fn boot(&self) -> BootTime {
        self.now().boot
    }
}

/// A clock to hand around.
pub type SharedClock = Arc<dyn Clock>;

/// The kernel's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl SystemClock {
    /// The kernel's clocks, ready to hand around.
    pub fn shared() -> SharedClock {
        Arc::new(Self)
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        let wall = clock_gettime(ClockId::Realtime);
        // The kernel's wall clock cannot leave jiff's range (it ends in the year 2554).
        let wall = Timestamp::new(wall.tv_sec, nanoseconds(wall.tv_nsec)).unwrap_or(Timestamp::UNIX_EPOCH);
        Moment { wall, boot: self.boot() }
    }

    fn boot(&self) -> BootTime {
        let boot = clock_gettime(ClockId::Boottime);
        BootTime(Duration::new(boot.tv_sec.unsigned_abs(), nanoseconds(boot.tv_nsec).unsigned_abs()))
    }
}

fn nanoseconds(part: i64) -> i32 {
    i32::try_from(part).unwrap_or_default()
}

/// Sleeps. Time that the machine is suspended does not count (timers run on `CLOCK_MONOTONIC`), so
/// long waits should sleep in short pieces and read the clock after each.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// How much longer than `now` the `later` moment is away; zero if it has passed.
pub fn until(later: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(now)).unwrap_or(Duration::ZERO)
}

/// The same moment for interfaces of the standard library; the epoch for what lies before it.
pub fn system_time(timestamp: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + until(timestamp, Timestamp::UNIX_EPOCH)
}

/// A clock for tests that follows tokio's paused clock and can be stepped and suspended.
#[cfg(any(test, feature = "fake-clock"))]
pub mod fake {
    use std::sync::Mutex;

    use super::{Arc, BootTime, Clock, Duration, Moment, Timestamp};

    /// A clock that follows tokio's (paused) clock.
    #[derive(Debug)]
    pub struct FakeClock {
        start: tokio::time::Instant,
        offsets: Mutex<Offsets>,
    }

    #[derive(Debug)]
    struct Offsets {
        wall: Timestamp,
        boot: BootTime,
    }

    impl FakeClock {
        /// Starts at 2026-11-23T10:00:00Z, one hour after boot.
        #[allow(clippy::disallowed_methods, reason = "this is the fake clock")]
        pub fn new() -> Arc<Self> {
            let wall = "2026-11-23T10:00:00Z".parse().expect("a timestamp");
            let offsets = Mutex::new(Offsets { wall, boot: BootTime(Duration::from_hours(1)) });
            Arc::new(Self { start: tokio::time::Instant::now(), offsets })
        }

        /// Sets the wall clock forward (or back) as an administrator or NTP may.
        pub fn step_wall(&self, seconds: i64) {
            let mut offsets = self.offsets.lock().expect("not poisoned");
            offsets.wall += jiff::SignedDuration::from_secs(seconds);
        }

        /// Suspends the machine: both clocks go on, timers do not.
        pub fn suspend(&self, duration: Duration) {
            let mut offsets = self.offsets.lock().expect("not poisoned");
            offsets.wall += duration;
            offsets.boot = offsets.boot + duration;
        }
    }

    impl Clock for FakeClock {
        #[allow(clippy::disallowed_methods, reason = "this is the fake clock")]
        fn now(&self) -> Moment {
            let elapsed = self.start.elapsed();
            let offsets = self.offsets.lock().expect("not poisoned");
            Moment { wall: offsets.wall + elapsed, boot: offsets.boot + elapsed }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_clocks_go_forward() {
        let clock = SystemClock;
        let (first, second) = (clock.now(), clock.now());
        assert!(second.boot >= first.boot);
        assert!(first.wall > "2026-01-01T00:00:00Z".parse().expect("a timestamp"));
    }

    #[test]
    fn instants_of_the_boot_clock_do_not_leave_its_range() {
        let early = BootTime::ZERO + Duration::from_secs(5);
        let late = early + Duration::from_millis(1500);
        assert!(late > early);
        assert_eq!(late.since(early), Duration::from_millis(1500));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(late + Duration::MAX, BootTime::from_uptime(Duration::MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn the_fake_clock_steps_and_suspends() {
        let clock = fake::FakeClock::new();
        let start = clock.now();
        sleep(Duration::from_secs(5)).await;
        clock.step_wall(-60);
        clock.suspend(Duration::from_secs(7));
        let now = clock.now();
        assert_eq!(now.boot, start.boot + Duration::from_secs(12));
        assert_eq!(until(start.wall, now.wall), Duration::from_secs(48));
    }
}
