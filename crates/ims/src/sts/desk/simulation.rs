//! A site in virtual time: hosts with the daemon's own schedule, replicas of the server with the desk's own code, and an STS
//! with AWS's quota. How many calls a second STS gets, how many are throttled, and whether a host is ever without valid
//! credentials.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    fmt::Write,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;

use super::{Ask, Bounds, Desk, Job, Outcome};
use crate::{
    clock::{BootTime, Moment},
    refresh::Timer,
};

/// AWS's for one account and region.
const QUOTA: u32 = 600;
/// How long a call takes.
const CALL: u64 = 120;
/// How long a request waits when the server has something, and when it has nothing.
const RATHER: u64 = 2_000;
const PATIENCE: u64 = 5_000;
const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

/// What happens. All times are milliseconds from the start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Site {
    pub(super) hosts: usize,
    pub(super) replicas: usize,
    pub(super) regions: usize,
    /// Whether the load balancer sends a host to the same replica each time.
    pub(super) sticky: bool,
    /// All hosts start within this.
    pub(super) boot: u64,
    pub(super) life: Duration,
    /// STS answers nothing.
    pub(super) outage: Option<(u64, u64)>,
    /// The first replica is restarted then, the others a while later, each with nothing in its memory.
    pub(super) restarts: Option<(u64, u64)>,
    pub(super) end: u64,
}

/// What was seen, second by second.
pub(super) struct Seen {
    site: Site,
    pub(super) calls: Vec<u32>,
    pub(super) throttled: Vec<u32>,
    /// Hosts that had credentials once and have none that are valid.
    pub(super) without: Vec<u32>,
    /// When the last host had its first credentials.
    pub(super) all_served: u64,
}

impl Seen {
    pub(super) fn peak(&self, from: u64, to: u64) -> u32 {
        self.part(&self.calls, from, to).iter().copied().max().unwrap_or_default()
    }

    pub(super) fn mean(&self, from: u64, to: u64) -> f64 {
        let part = self.part(&self.calls, from, to);
        f64::from(part.iter().sum::<u32>()) / f64::from(u32::try_from(part.len().max(1)).expect("small"))
    }

    pub(super) fn most_without(&self) -> u32 {
        self.without.iter().copied().max().unwrap_or_default()
    }

    pub(super) fn throttled_after(&self, from: u64) -> u32 {
        self.part(&self.throttled, from, self.site.end).iter().sum()
    }

    fn part<'a>(&self, all: &'a [u32], from: u64, to: u64) -> &'a [u32] {
        let second = |at: u64| usize::try_from(at.min(self.site.end) / 1000).expect("small");
        &all[second(from)..second(to)]
    }

    /// Ten minutes a line.
    pub(super) fn table(&self) -> String {
        let step = 10 * MINUTE;
        let mut text = String::from("  minutes   calls/s (mean, busiest)   throttled   hosts without\n");
        for from in (0..self.site.end).step_by(usize::try_from(step).expect("small")) {
            let to = from + step;
            let throttled: u32 = self.part(&self.throttled, from, to).iter().sum();
            let without = self.part(&self.without, from, to).iter().copied().max().unwrap_or_default();
            let (mean, peak) = (self.mean(from, to), self.peak(from, to));
            let minutes = format!("{:>4}–{:<4}", from / MINUTE, to / MINUTE);
            let line = format_args!("{minutes} {mean:>9.0} {peak:>9} {throttled:>17} {without:>15}");
            writeln!(text, "{line}").expect("a text");
        }
        text
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A host asks for its set.
    Host(usize),
    /// A host has waited long enough, for the request of this number.
    Impatient(usize, u32),
    /// A call of a replica ends: host, region, replica, the replica's generation.
    End(usize, usize, usize, u32),
    /// A replica looks at its desk.
    Look(usize, u32),
    Restart(usize),
}

struct Host {
    timer: Timer,
    /// When its set ends.
    held: Option<u64>,
    /// The number of the request that waits, and what it takes if that takes too long.
    waiting: Option<(u32, Option<u64>)>,
    requests: u32,
}

type Server = Desk<usize, usize, u64>;

struct Replica {
    desk: Server,
    generation: u32,
    /// When it looks at its desk next.
    look: Option<u64>,
}

struct World {
    site: Site,
    random: fastrand::Rng,
    hosts: Vec<Host>,
    replicas: Vec<Replica>,
    events: BinaryHeap<Reverse<(u64, Event)>>,
    counted: Vec<BTreeMap<u64, u32>>,
    seen: Seen,
    first: usize,
    /// When hosts lost their last valid set: changes of the number of those without.
    lost: BTreeMap<u64, i64>,
}

fn moment(milliseconds: u64) -> Moment {
    let boot = BootTime::from_millis(milliseconds);
    Moment { wall: Timestamp::from_second(1_795_428_000).expect("in range") + boot.uptime(), boot }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 4)
}

fn desk(site: &Site, now: u64, seed: u64) -> Server {
    let bounds = Bounds { capacity: site.hosts, patience: Duration::from_millis(PATIENCE), rate: 100.0 };
    Desk::new(bounds, site.regions, moment(now), fastrand::Rng::with_seed(seed))
}

pub(super) fn simulate(site: Site) -> Seen {
    let seconds = usize::try_from(site.end / 1000).expect("small");
    let (calls, throttled) = (vec![0; seconds], vec![0; seconds]);
    let seen = Seen { site, calls, throttled, without: vec![0; seconds], all_served: 0 };
    let new = |_| Host { timer: Timer::due_now(moment(0)), held: None, waiting: None, requests: 0 };
    let replica = |number| Replica { desk: desk(&site, 0, number), generation: 0, look: None };
    let mut world = World {
        site,
        random: fastrand::Rng::with_seed(2015),
        hosts: (0..site.hosts).map(new).collect(),
        replicas: (0..site.replicas as u64).map(replica).collect(),
        events: BinaryHeap::new(),
        counted: vec![BTreeMap::new(); site.regions],
        seen,
        first: 0,
        lost: BTreeMap::new(),
    };
    for host in 0..site.hosts {
        let at = world.random.u64(0..site.boot);
        world.push(at, Event::Host(host));
    }
    if let Some((first, pause)) = site.restarts {
        for replica in 0..site.replicas {
            world.push(first + pause * replica as u64, Event::Restart(replica));
        }
    }
    world.run();
    world.seen
}

impl World {
    fn push(&mut self, at: u64, event: Event) {
        self.events.push(Reverse((at, event)));
    }

    fn run(&mut self) {
        while let Some(Reverse((now, event))) = self.events.pop() {
            if now >= self.site.end {
                break;
            }
            match event {
                Event::Host(host) => self.ask(host, now),
                Event::Impatient(host, request) => self.impatient(host, request, now),
                Event::End(host, region, replica, generation) => self.end(host, region, replica, generation, now),
                Event::Look(replica, generation) if self.replicas[replica].generation == generation => {
                    self.replicas[replica].look = None;
                    self.look(replica, now);
                }
                Event::Look(..) => {}
                Event::Restart(replica) => self.restart(replica, now),
            }
        }
        let mut without = 0_i64;
        let mut changes = std::mem::take(&mut self.lost).into_iter().peekable();
        for (second, count) in self.seen.without.iter_mut().enumerate() {
            while let Some((_, change)) = changes.next_if(|(at, _)| *at <= second as u64 * 1000) {
                without += change;
            }
            *count = u32::try_from(without).expect("none less than nothing");
        }
    }

    fn replica_of(&mut self, host: usize) -> usize {
        if self.site.sticky { host % self.site.replicas } else { self.random.usize(0..self.site.replicas) }
    }

    fn ask(&mut self, host: usize, now: u64) {
        let replica = self.replica_of(host);
        let answer = self.replicas[replica].desk.ask(host, &host, moment(now));
        match answer {
            Ask::Ready(set) => self.answered(host, Some(set), now),
            Ask::No(_) => self.answered(host, None, now),
            Ask::Wait(_, held) => {
                let state = &mut self.hosts[host];
                state.requests += 1;
                let request = state.requests;
                state.waiting = Some((request, held));
                let limit = if held.is_some() { RATHER } else { PATIENCE };
                self.push(now + limit, Event::Impatient(host, request));
            }
        }
        self.look(replica, now);
    }

    /// A host has its answer: the end of its set, or none.
    fn answered(&mut self, host: usize, set: Option<u64>, now: u64) {
        let random = self.random.f64();
        let state = &mut self.hosts[host];
        state.waiting = None;
        let wall = |end: u64| moment(end).wall;
        if let Some(end) = set {
            match state.held.replace(end) {
                None => {
                    self.first += 1;
                    if self.first == self.site.hosts {
                        self.seen.all_served = now;
                    }
                }
                // It is without from the end of the old one until now, if that has ended.
                Some(old) if old < now => {
                    *self.lost.entry(now).or_default() -= 1;
                }
                Some(old) => {
                    *self.lost.entry(old).or_default() -= 1;
                }
            }
            *self.lost.entry(end).or_default() += 1;
            state.timer =
                Timer::after_set(moment(now), wall(end), Duration::from_millis(end.saturating_sub(now)), random);
        } else {
            let alive = state.held.filter(|end| *end > now);
            state.timer =
                state.timer.after_failure(moment(now), alive.map(|end| Duration::from_millis(end - now)), random);
            if alive.is_none() {
                state.timer.hasten();
            }
        }
        let wait = milliseconds(state.timer.remaining(moment(now)));
        self.push(now + wait, Event::Host(host));
    }

    fn impatient(&mut self, host: usize, request: u32, now: u64) {
        if let Some((waiting, held)) = self.hosts[host].waiting
            && waiting == request
        {
            self.answered(host, held, now);
        }
    }

    /// A replica begins what it may begin.
    fn look(&mut self, replica: usize, now: u64) {
        loop {
            let Replica { desk, generation, .. } = &mut self.replicas[replica];
            let generation = *generation;
            match desk.next(moment(now)) {
                Ok(Job { key, region }) => {
                    let second = usize::try_from(now / 1000).expect("small");
                    self.seen.calls[second] += 1;
                    self.push(now + CALL, Event::End(*key, region, replica, generation));
                }
                Err(pause) => {
                    let at = now.saturating_add(milliseconds(pause).max(1));
                    let replica_state = &mut self.replicas[replica];
                    if replica_state.look.is_none_or(|look| at < look) {
                        replica_state.look = Some(at);
                        self.push(at, Event::Look(replica, generation));
                    }
                    return;
                }
            }
        }
    }

    fn end(&mut self, host: usize, region: usize, replica: usize, generation: u32, now: u64) {
        let second = now / 1000;
        let down = self.site.outage.is_some_and(|(from, to)| (from..to).contains(&now));
        let counted = self.counted[region].entry(second).or_default();
        *counted += 1;
        let outcome = if down {
            Outcome::Failed("no answer".to_owned())
        } else if *counted > QUOTA {
            self.seen.throttled[usize::try_from(second).expect("small")] += 1;
            Outcome::Throttled("Rate exceeded".to_owned())
        } else {
            let end = now + milliseconds(self.site.life);
            Outcome::Made(end, moment(end).wall)
        };
        let replica_state = &mut self.replicas[replica];
        if replica_state.generation == generation {
            let result = replica_state.desk.finished(&Arc::new(host), region, outcome, moment(now));
            if let (Some(result), Some((_, held))) = (result, self.hosts[host].waiting) {
                self.answered(host, result.ok().or(held), now);
            }
            self.look(replica, now);
        }
    }

    /// It forgets all. Who waits for it is told that there is nothing.
    fn restart(&mut self, replica: usize, now: u64) {
        let seed = self.random.u64(..);
        let state = &mut self.replicas[replica];
        state.generation += 1;
        state.desk = desk(&self.site, now, seed);
        state.look = None;
    }
}

/// Three replicas, two regions.
fn site(hosts: usize, life: Duration) -> Site {
    Site {
        hosts,
        replicas: 3,
        regions: 2,
        sticky: true,
        boot: MINUTE,
        life,
        outage: None,
        restarts: None,
        end: 4 * HOUR,
    }
}

/// What must hold of each; `flat` is the time from which on calls are even.
#[allow(clippy::print_stdout, reason = "the numbers are its result")]
fn check(name: &str, seen: &Seen, flat: u64, evenness: f64) {
    let table = seen.table();
    println!("{name}: all hosts served after {} s\n{table}", seen.all_served / 1000);
    assert_eq!(seen.most_without(), 0, "{name}: hosts without\n{table}");
    assert!(seen.all_served > 0, "{name}: a host never got any\n{table}");
    assert_eq!(seen.throttled_after(5_000), 0, "{name}: throttled\n{table}");
    let (mean, peak) = (seen.mean(flat, seen.site.end), seen.peak(flat, seen.site.end));
    assert!(
        f64::from(peak) < mean * evenness + 10.0,
        "{name}: {peak} in the busiest second, {mean:.0} on average\n{table}"
    );
}

fn all(hosts: usize) {
    let hour = Duration::from_hours(1);
    let cold = site(hosts, hour);
    check("cold start within a minute, then steady", &simulate(cold), HOUR, 2.0);
    let long = Duration::from_hours(4);
    let outage = Site { outage: Some((5 * HOUR, 6 * HOUR)), end: 12 * HOUR, ..site(hosts, long) };
    check("an outage of an hour, sets of four hours", &simulate(outage), 10 * HOUR, 3.0);
    let rolling = Site { restarts: Some((2 * HOUR, 5 * MINUTE)), ..site(hosts, hour) };
    check("a rolling restart of three replicas", &simulate(rolling), 3 * HOUR, 2.0);
    let spread = Site { sticky: false, ..site(hosts, hour) };
    check("any replica for any request", &simulate(spread), HOUR, 2.0);
}

#[test]
fn a_thousand_hosts() {
    all(1_000);
}

/// `cargo test --release -p alppaca-ims hundred_thousand -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes; the small one runs the same code"]
fn a_hundred_thousand_hosts() {
    all(100_000);
}
