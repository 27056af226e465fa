//! A fleet in virtual time: how many calls a second its IMS gets, by these rules and by those before them.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use jiff::Timestamp;

use super::Timer;
use crate::clock::{BootTime, Moment};

const HOSTS: usize = 10_000;
const LIFE: Duration = Duration::from_hours(1);
/// All hosts start within this, as after a power cut.
const BOOT: Duration = Duration::from_mins(1);
const INTERVAL: Duration = Duration::from_mins(5);
const HOUR: usize = 3600;
/// All is well from here on, until nothing is for an hour.
const WELL: std::ops::Range<usize> = HOUR / 2..HOUR;
const OUTAGE: std::ops::Range<usize> = HOUR..2 * HOUR;
const AFTER: std::ops::Range<usize> = 2 * HOUR..2 * HOUR + HOUR / 6;
const END: usize = AFTER.end;

/// When a host asks. All times are milliseconds from the start.
trait Rule {
    /// It asks for the list and gets it, or not; after how long it asks again.
    fn list(&mut self, now: u64, arrives: bool, random: f64) -> u64;

    /// It asks for its set and gets one that ends at `arrives`, or none; what it holds ends at `held`. Its programs ask
    /// once a second.
    fn set(&mut self, now: u64, arrives: Option<u64>, held: Option<u64>, random: f64) -> u64;
}

/// The rules above.
struct ByAge {
    list: Timer,
    set: Timer,
    known: Option<Duration>,
}

impl Rule for ByAge {
    fn list(&mut self, now: u64, arrives: bool, random: f64) -> u64 {
        let now = moment(now);
        if arrives {
            self.known = Some(INTERVAL);
            self.list = Timer::after_list(now, INTERVAL, None, random);
        } else {
            self.list = self.list.after_list_failure(now, self.known, random);
            if self.known.is_none() {
                self.list.hasten();
            }
        }
        milliseconds(self.list.remaining(now))
    }

    fn set(&mut self, now: u64, arrives: Option<u64>, held: Option<u64>, random: f64) -> u64 {
        let now = moment(now);
        let left = |end| moment(end).boot.since(now.boot);
        self.set = match arrives {
            Some(end) => Timer::after_set(now, moment(end).wall, left(end), random),
            None => self.set.after_failure(now, held.map(left), random),
        };
        if arrives.or(held).is_none() {
            self.set.hasten();
        }
        milliseconds(self.set.remaining(now))
    }
}

/// The rules before: list and set once a minute, and the same back-off for both.
#[derive(Default)]
struct ByTheMinute {
    failures: [u32; 2],
}

impl ByTheMinute {
    fn wait(&mut self, what: What, arrives: bool, left: u64, random: f64) -> u64 {
        let failures = &mut self.failures[what as usize];
        let of = |wait: u64, part: f64| milliseconds(Duration::from_millis(wait).mul_f64(part));
        if arrives {
            *failures = 0;
            return of(60_000, 1.0 - random / 10.0);
        }
        *failures += 1;
        of((1000 << (*failures - 1).min(6)).min(60_000), random).min(left / 2).max(1000)
    }
}

impl Rule for ByTheMinute {
    fn list(&mut self, _: u64, arrives: bool, random: f64) -> u64 {
        self.wait(What::List, arrives, u64::MAX, random)
    }

    fn set(&mut self, now: u64, arrives: Option<u64>, held: Option<u64>, random: f64) -> u64 {
        self.wait(What::Set, arrives.is_some(), held.map_or(u64::MAX, |held| held - now), random)
    }
}

/// What the upstream saw, second by second, and how the hosts fared.
struct Seen {
    calls: Vec<u32>,
    /// When the last host had a new set after the outage.
    recovered: usize,
    /// When the first host had no valid set any more.
    first_without: Option<usize>,
}

impl Seen {
    fn peak(&self, seconds: std::ops::Range<usize>) -> u32 {
        self.calls[seconds].iter().copied().max().unwrap_or_default()
    }

    fn mean(&self, seconds: std::ops::Range<usize>) -> f64 {
        let count = u32::try_from(seconds.len()).map_or(f64::MAX, f64::from);
        f64::from(self.calls[seconds].iter().sum::<u32>()) / count
    }
}

fn moment(milliseconds: u64) -> Moment {
    let boot = BootTime::from_millis(milliseconds);
    Moment { wall: Timestamp::from_second(1_795_428_000).expect("in range") + boot.uptime(), boot }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("small")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    List,
    Set,
}

struct Host<R> {
    rule: R,
    /// When its set ends.
    held: Option<u64>,
    /// Whether it knows its role.
    listed: bool,
    /// Whether it has asked in vain.
    behind: bool,
}

fn simulate<R: Rule>(rule: impl Fn() -> R) -> Seen {
    let mut random = fastrand::Rng::with_seed(2015);
    let new = |_| Host { rule: rule(), held: None, listed: false, behind: false };
    let mut hosts: Vec<Host<R>> = (0..HOSTS).map(new).collect();
    let mut due = BinaryHeap::new();
    for number in 0..HOSTS {
        due.push(Reverse((milliseconds(BOOT.mul_f64(random.f64())), number, What::List)));
    }
    let mut seen = Seen { calls: vec![0; END], recovered: 0, first_without: None };
    while let Some(Reverse((now, number, what))) = due.pop() {
        let second = usize::try_from(now / 1000).expect("small");
        let Some(count) = seen.calls.get_mut(second) else { break };
        *count += 1;
        let up = !OUTAGE.contains(&second);
        let host = &mut hosts[number];
        let wait = match what {
            What::List => host.rule.list(now, up, random.f64()),
            What::Set => {
                let alive = host.held.filter(|end| *end > now);
                if host.held.is_some() && alive.is_none() {
                    seen.first_without.get_or_insert(second);
                }
                if up && std::mem::take(&mut host.behind) {
                    seen.recovered = second;
                }
                host.behind |= !up;
                let arrives = up.then_some(now + milliseconds(LIFE));
                host.held = arrives.or(host.held);
                host.rule.set(now, arrives, alive, random.f64())
            }
        };
        if what == What::List && up && !std::mem::replace(&mut host.listed, true) {
            due.push(Reverse((now, number, What::Set)));
        }
        due.push(Reverse((now + wait, number, what)));
    }
    seen
}

/// The rows of the table in `docs/ims.md`.
fn table(before: &Seen, now: &Seen) -> String {
    let minutes = |second: usize| format!("{:.0} min", Duration::from_secs(second as u64).as_secs_f64() / 60.0);
    let mean = |seen: &Seen, when| format!("{:.0}", seen.mean(when));
    let row = |what: &str, of: &dyn Fn(&Seen) -> String| format!("| {what} | {} | {} |\n", of(before), of(now));
    [
        row("cold start: the busiest second", &|seen| seen.peak(0..120).to_string()),
        row("all is well: calls a second", &|seen| mean(seen, WELL)),
        row("all is well: the busiest second", &|seen| seen.peak(WELL).to_string()),
        row("outage of an hour: attempts a second", &|seen| mean(seen, OUTAGE)),
        row("outage of an hour: the busiest second", &|seen| seen.peak(OUTAGE).to_string()),
        row("the first host has no valid set after", &|seen| {
            minutes(seen.first_without.map_or(0, |second| second - OUTAGE.start))
        }),
        row("afterwards: the busiest second", &|seen| seen.peak(AFTER).to_string()),
        row("all hosts have a new set after", &|seen| minutes(seen.recovered - OUTAGE.end)),
    ]
    .concat()
}

/// The numbers of `docs/ims.md` come from here.
#[test]
fn ten_thousand_hosts_spare_their_ims_and_get_over_an_hour_without_it() {
    let before = simulate(ByTheMinute::default);
    let due = || Timer::due_now(moment(0));
    let now = simulate(|| ByAge { list: due(), set: due(), known: None });
    let rows = table(&before, &now);
    assert!((330.0..360.0).contains(&before.mean(WELL)), "list and set, each once a minute: {rows}");
    assert!(now.mean(WELL) < before.mean(WELL) / 8.0, "{rows}");
    assert!(now.peak(120..OUTAGE.start) < 150, "after the start it stays even: {rows}");
    // 600 a second are what AWS gives an account for AssumeRole in a region. While it is down nothing gets there.
    assert!([0..120, AFTER].into_iter().all(|when| now.peak(when) < 600), "{rows}");
    assert!(now.mean(OUTAGE) < 400.0 && now.peak(OUTAGE) < 800, "{rows}");
    assert!(now.first_without.is_some_and(|second| second >= OUTAGE.start + 37 * 60), "{rows}");
    assert!((OUTAGE.end..OUTAGE.end + 90).contains(&now.recovered), "{rows}");
    let documented = include_str!("../../../../docs/ims.md");
    assert!(documented.contains(&rows), "docs/ims.md has other numbers than\n{rows}");
}
