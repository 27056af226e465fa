//! Years in virtual time: the refresher with its schedule and the store, under outages, refusals, suspends, clock steps and
//! restarts at random. What must hold at every moment is in [`World::look`] and [`State::count`].

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "for those who follow one life"
)]

use std::{
    env,
    ops::Range,
    panic,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;

use super::super::*;
use crate::{
    Carryover, ErrorKind, Handover, RoleList, Source, SourceError, SourceFuture,
    clock::{Clock, fake::FakeClock},
    credentials::{Credentials, Secret},
    schedule::wait_by_age,
};

const NAMES: [&str; 3] = ["a", "b", "c"];
const HOUR: Duration = Duration::from_hours(1);
/// How long sets live: those of most hosts nearly as long as STS allows, those of the others down to its shortest.
const LIVES: [[f64; 2]; 2] = [[8.0 * 3600.0, 12.0 * 3600.0], [900.0, 12.0 * 3600.0]];
/// One host in so many has much trouble, and asks for its list every five minutes instead of every hour, ...
const STORMY: u64 = 16;
/// ... and one in so many looks at the clocks as often as in reality, which costs most of the time of its life.
const TICKING: u64 = 256;
/// How often one process may ask one question in an hour, however that fails and however callers wait: once a second in the
/// first minute, then after the shorter of 1/60 of the time it has been failing and a back-off of 0 to 60 s. That makes
/// 347 on average.
const MOST_IN_AN_HOUR: usize = 450;
/// After how many lives it is said how it goes.
const REPORT: u64 = 100;
/// How long before its end it is looked whether a set is still served; a timer may be a millisecond late.
const MOMENT: Duration = Duration::from_millis(3);
/// The handover is that old at most.
const HANDED: Duration = Duration::from_millis(1100);

/// What the upstream does at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    Fine,
    Down,
    /// It takes ten seconds to fail.
    Hanging,
    /// It refuses everything, as one that has lost its own key.
    Refusing,
    /// Its list has a line that is no role, and none of the roles.
    Garbage,
    /// It hands out what has expired.
    Late,
    /// It lists, but has no sets.
    OnlyLists,
}

const FOUL: [Weather; 6] = {
    use Weather::{Down, Garbage, Hanging, Late, OnlyLists, Refusing};
    [Down, Hanging, Refusing, Garbage, Late, OnlyLists]
};

/// A set that the upstream gave, as the daemon has to see it.
#[derive(Debug, Clone, Copy)]
struct Given {
    at: BootTime,
    /// When it truly ends.
    end: Timestamp,
    /// When its life is over by the boot clock, reckoned when it came, in whole milliseconds as the daemon does.
    ends: BootTime,
    /// How far the wall clock was behind then, as far as the daemon could not know that.
    behind: SignedDuration,
}

/// One question to the upstream, and what is known of its answers.
#[derive(Debug, Default)]
struct Asked {
    calls: std::collections::VecDeque<BootTime>,
    total: u64,
}

struct State {
    random: Rng,
    life: Duration,
    /// Whether the upstream says how long a set lives by its own clock, which is right.
    tells_life: bool,
    /// How often the list is to be asked for.
    interval: Duration,
    /// How often the daemon looks at the clocks though nothing is due. Few hosts have the real one. For the others, who
    /// spend their years faster, the test has them look where it matters: after each suspend and step of the clock.
    tick: Duration,
    weather: Weather,
    /// Which roles the upstream has.
    has: [bool; NAMES.len()],
    /// Which roles it has told this process, or the one before, that it has.
    told: [bool; NAMES.len()],
    given: [Option<Given>; NAMES.len()],
    asked: [Asked; NAMES.len() + 1],
    serial: u64,
    /// How much the wall clock is ahead of the true time.
    ahead: SignedDuration,
    /// Since when it has refused its list.
    refused: Option<BootTime>,
    /// Since when it has not even refused it.
    silent: Option<BootTime>,
    /// When each role was last seen to be listed.
    seen: [Option<BootTime>; NAMES.len()],
    /// When something last happened that is no fair weather.
    trouble: BootTime,
    started: BootTime,
}

/// The upstream, and everything around the daemon.
struct World {
    clock: Arc<FakeClock>,
    state: Mutex<State>,
}

impl State {
    /// The upstream gets a call; the last question is the list.
    fn count(&mut self, question: usize, now: BootTime) {
        // An hour of fair weather, after one, or more, in which everything settled.
        let is_quiet = self.fair_for(now) > self.settled().max(HOUR) + HOUR;
        let asked = &mut self.asked[question];
        asked.total += 1;
        while asked.calls.front().is_some_and(|at| now.since(*at) > HOUR) {
            asked.calls.pop_front();
        }
        if let Some(last) = asked.calls.back() {
            assert!(now.since(*last) >= Duration::from_secs(1), "{question}: twice in a second");
        }
        asked.calls.push_back(now);
        assert!(asked.calls.len() <= MOST_IN_AN_HOUR, "{question}: {} calls in an hour", asked.calls.len());
        if is_quiet {
            let shortest =
                if question == NAMES.len() { self.interval.mul_f64(0.75) } else { wait_by_age(self.life, 1.0) };
            let most = 1 + HOUR.as_millis() / shortest.as_millis();
            let calls = asked.calls.len();
            assert!(calls as u128 <= most, "{question}: {calls} calls in a quiet hour, {most} allowed");
        }
    }

    /// For how long nothing has happened in fair weather.
    fn fair_for(&self, now: BootTime) -> Duration {
        let is_fair = self.weather == Weather::Fine && self.ahead.is_zero();
        if is_fair { now.since(self.trouble.max(self.started)) } else { Duration::ZERO }
    }

    /// After this long without trouble the list is known and everything fetched: an interval with its jitter, a back-off, a
    /// look at the clock.
    fn settled(&self) -> Duration {
        self.interval.mul_f64(1.25) + Duration::from_secs(60 + 15 + 5)
    }

    fn latency(&mut self) -> Duration {
        match self.weather {
            Weather::Hanging => Duration::from_secs(10),
            _ => Duration::from_millis(self.random.u64(1..400)),
        }
    }

    fn error(&self) -> SourceError {
        match self.weather {
            Weather::Refusing => SourceError::doubtful("AssumeRoleUnauthorizedAccess", "no key of its own"),
            _ => SourceError::transient("down"),
        }
    }
}

impl World {
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().expect("not poisoned"))
    }

    async fn asked(&self, question: usize) {
        let latency = self.with(|state| {
            state.count(question, self.clock.now().boot);
            state.latency()
        });
        clock::sleep(latency).await;
    }
}

impl Source for World {
    fn roles(&self) -> SourceFuture<'_, RoleList> {
        Box::pin(async {
            self.asked(NAMES.len()).await;
            self.with(|state| {
                let garbage = state.weather == Weather::Garbage;
                if !garbage && !matches!(state.weather, Weather::Fine | Weather::Late | Weather::OnlyLists) {
                    let now = self.clock.now().boot;
                    if state.weather == Weather::Refusing {
                        state.refused.get_or_insert(now);
                        state.silent = None;
                    } else {
                        state.silent.get_or_insert(now);
                    }
                    return Err(state.error());
                }
                state.silent = None;
                if garbage {
                    return Ok(RoleList { problems: vec!["<html>".to_owned()], ..RoleList::default() });
                }
                (state.told, state.refused) = (state.has, None);
                let gone = |(given, has): (&mut Option<Given>, &bool)| *given = given.take().filter(|_| *has);
                state.given.iter_mut().zip(&state.has).for_each(gone);
                let names = NAMES.iter().zip(state.has).filter(|(_, has)| *has);
                let names = names.map(|(name, _)| name.parse().expect("a name")).collect();
                Ok(RoleList { names, ..RoleList::default() })
            })
        })
    }

    fn concurrency(&self) -> usize {
        2
    }

    fn fetch<'a>(&'a self, role: &'a RoleName) -> SourceFuture<'a, Credentials> {
        let number = NAMES.iter().position(|name| *name == role.as_str()).expect("one of ours");
        Box::pin(async move {
            self.asked(number).await;
            let now = self.clock.now();
            self.with(|state| {
                if !matches!(state.weather, Weather::Fine | Weather::Garbage | Weather::Late) {
                    return Err(state.error());
                }
                if !state.has[number] {
                    let message = "no such role".to_owned();
                    let kind = ErrorKind::Refused { code: "Code".into(), message, withdraws: true };
                    state.given[number] = None;
                    return Err(SourceError::new(kind, "403"));
                }
                let truly = now.wall - state.ahead;
                let late = state.weather == Weather::Late;
                let end = if late { truly - Duration::from_hours(48) } else { truly + state.life };
                let left = end.duration_since(now.wall);
                // By a clock that is ahead by almost all its life: what lives for seconds has to be fetched every few seconds.
                if left < SignedDuration::from_secs(30) {
                    state.asked[number].calls.clear();
                }
                let life = state.tells_life.then(|| clock::until(end, truly));
                if left.is_positive() && state.told[number] {
                    let left = left.unsigned_abs();
                    // Where the clock is behind by more than 15 minutes, the upstream's counts.
                    let true_life = life.filter(|life| left > *life + Duration::from_mins(15));
                    let ends = BootTime::from_millis((now.boot + true_life.unwrap_or(left)).as_millis());
                    let behind = if true_life.is_some() { SignedDuration::ZERO } else { -state.ahead };
                    state.given[number] = Some(Given { at: now.boot, end, ends, behind });
                }
                state.serial += 1;
                Ok(Credentials {
                    access_key_id: format!("ASIA{}", state.serial),
                    secret_access_key: Secret::new("secret"),
                    session_token: Secret::new("token"),
                    expiration: end,
                    life,
                    last_updated: None,
                    account_id: None,
                    role_arn: None,
                })
            })
        })
    }
}

/// The daemon, as far as it is simulated: it lives until the next restart.
struct Daemon {
    store: Arc<Store>,
    requests: RoleRequests,
    stop: Arc<Notify>,
    task: tokio::task::JoinHandle<()>,
}

/// What the last daemon has handed over.
type Handed = Arc<Mutex<Option<Handover>>>;

impl Daemon {
    fn start(world: &Arc<World>, handed: &Handed) -> Self {
        let store = Store::shared();
        let graph = Graph::listing(Arc::<World>::clone(world), world.with(|state| state.interval));
        let keep = Arc::clone(handed);
        let hand_over = Box::new(move |handover| *keep.lock().expect("not poisoned") = Some(handover));
        let mut refresher = Refresher::new(graph, Arc::clone(&store), Arc::<FakeClock>::clone(&world.clock), None)
            .with_hand_over(hand_over);
        world.with(|state| {
            refresher.random = Rng::with_seed(state.random.u64(..));
            refresher.tick = state.tick;
            state.started = world.clock.now().boot;
            state.asked.iter_mut().for_each(|asked| asked.calls.clear());
        });
        if let Some(handover) = handed.lock().expect("not poisoned").take() {
            refresher.take_over_from(handover, |_| Carryover::Unchanged, Carryover::Unchanged, Carryover::Unchanged);
        }
        let (requests, stop) = (refresher.requests(), Arc::new(Notify::new()));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            tokio::select! {
                () = refresher.run() => {}
                () = stopped.notified() => refresher.hand_over(),
            }
        });
        Self { store, requests, stop, task }
    }
}

/// One host and its upstream over a part of the time.
struct Life {
    world: Arc<World>,
    daemon: Daemon,
    handed: Handed,
    random: Rng,
    /// How many of the roles its upstream has at most.
    roles: usize,
    /// Between which lengths the lives of its sets are.
    lives: [f64; 2],
    /// The longest time from one event to the next, and when that is.
    pace: f64,
    next: BootTime,
    /// When the weather turns fine again, and when the wall clock is set right.
    fine_at: Option<BootTime>,
    right_at: Option<BootTime>,
    looks: u64,
    events: u64,
}

/// Any length between both, in seconds; each order of magnitude is as likely as another.
fn any_length(random: &mut Rng, [shortest, longest]: [f64; 2]) -> Duration {
    Duration::from_secs_f64((shortest.ln() + random.f64() * (longest.ln() - shortest.ln())).exp())
}

impl Life {
    fn begin(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let clock = FakeClock::new();
        let now = clock.now().boot;
        let is_stormy = seed % STORMY == 1;
        let lives = LIVES[usize::from(is_stormy || random.u8(..4) == 0)];
        let roles = if random.bool() { 1 } else { random.usize(1..=NAMES.len()) };
        let state = State {
            random: random.fork(),
            life: any_length(&mut random, lives),
            tells_life: seed % 4 != 3,
            interval: if is_stormy { Duration::from_mins(5) } else { HOUR },
            tick: if seed.is_multiple_of(TICKING) { TICK } else { Duration::from_hours(24) },
            weather: Weather::Fine,
            has: std::array::from_fn(|role| role < roles),
            told: [false; NAMES.len()],
            given: [None; NAMES.len()],
            asked: Default::default(),
            serial: 0,
            ahead: SignedDuration::ZERO,
            refused: None,
            silent: None,
            seen: Default::default(),
            trouble: now,
            started: now,
        };
        let world = Arc::new(World { clock, state: Mutex::new(state) });
        let handed = Handed::default();
        let daemon = Daemon::start(&world, &handed);
        let pace = if is_stormy { 3.0 * 3600.0 } else { 96.0 * 3600.0 };
        let (fine_at, right_at, looks, events) = (None, None, 0, 0);
        Self { world, daemon, handed, random, roles, lives, pace, next: now, fine_at, right_at, looks, events }
    }

    async fn run(&mut self, length: Duration) {
        let start = self.world.clock.now().boot;
        while self.world.clock.now().boot.since(start) < length {
            clock::sleep(self.until_next()).await;
            self.look();
            self.turn();
            let now = self.world.clock.now().boot;
            if now >= self.next {
                self.next = now + any_length(&mut self.random, [1.0, self.pace]);
                self.events += 1;
                self.happen().await;
                self.look();
            }
        }
    }

    /// How long until the next look: any while, but not beyond the moment when something is to happen, nor the last one in
    /// which a set has to be served, or the first in which it must not be.
    fn until_next(&mut self) -> Duration {
        let now = self.world.clock.now();
        let wait = any_length(&mut self.random, [0.3, 4.0 * 3600.0]);
        let mut ends =
            [Some(self.next), self.fine_at, self.right_at].map(|at| at.map(|at| at.since(now.boot))).to_vec();
        for given in self.world.with(|state| state.given).into_iter().flatten() {
            let left = given.ends.since(now.boot).min(clock::until(given.end, now.wall));
            ends.extend(
                [Some(left.saturating_sub(MOMENT)), Some(left)].map(|left| left.filter(|left| !left.is_zero())),
            );
        }
        ends.into_iter().flatten().fold(wait, Duration::min)
    }

    /// Ends what has lasted long enough.
    fn turn(&mut self) {
        let now = self.world.clock.now().boot;
        if self.fine_at.take_if(|at| *at <= now).is_some() {
            self.trouble(|state| state.weather = Weather::Fine);
        }
        if self.right_at.take_if(|at| *at <= now).is_some() {
            let ahead = self.world.with(|state| std::mem::take(&mut state.ahead));
            self.world.clock.step_wall(-ahead.as_secs());
            self.trouble(|_| {});
            // The kernel says so.
            self.daemon.requests.try_again();
        }
    }

    fn trouble<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let now = self.world.clock.now().boot;
        self.world.with(|state| {
            state.trouble = now;
            change(state)
        })
    }

    /// Tells what happens, to those who follow one life.
    fn tell(&self, what: impl FnOnce() -> String) {
        if env::var_os("ALPPACA_YEARS_TRACE").is_some() {
            let now = self.world.clock.now().boot;
            let (has, told, weather) = self.world.with(|state| (state.has, state.told, state.weather));
            println!("{:.1} {} {has:?} {told:?} {weather:?}", now.uptime().as_secs_f64(), what());
        }
    }

    async fn happen(&mut self) {
        let now = self.world.clock.now().boot;
        let what = self.random.u8(0..12);
        self.tell(|| format!("event {what}"));
        match what {
            0..4 if self.fine_at.is_none() => {
                let weather = FOUL[self.random.usize(..FOUL.len())];
                self.trouble(|state| state.weather = weather);
                self.fine_at = Some(now + any_length(&mut self.random, [5.0, 86_400.0]));
            }
            4 => {
                self.world.clock.suspend(any_length(&mut self.random, [1.0, 3.0 * 86_400.0]));
                self.trouble(|_| {});
                self.look();
                self.be_noticed().await;
            }
            5 if self.right_at.is_none() => {
                let size =
                    i64::try_from(any_length(&mut self.random, [1.0, 86_400.0]).as_secs()).expect("a day at most");
                let step = if self.random.bool() { size } else { -size };
                self.world.clock.step_wall(step);
                self.trouble(|state| state.ahead += SignedDuration::from_secs(step));
                self.right_at = Some(now + any_length(&mut self.random, [1.0, 6.0 * 3600.0]));
                self.daemon.requests.try_again();
            }
            6 => {
                let role = self.random.usize(..self.roles);
                self.trouble(|state| state.has[role] ^= true);
            }
            7 => {
                let life = any_length(&mut self.random, self.lives);
                self.trouble(|state| state.life = life);
            }
            8 => self.restart().await,
            // From one kind of trouble to the next.
            10 if self.fine_at.is_some() => {
                let weather = FOUL[self.random.usize(..FOUL.len())];
                self.trouble(|state| state.weather = weather);
            }
            9 => {
                self.daemon.requests.try_again();
                self.trouble(|_| {});
            }
            _ => {}
        }
    }

    /// Nothing says so, but the next look at the clocks shows it.
    async fn be_noticed(&mut self) {
        clock::sleep(TICK.mul_f64(self.random.f64())).await;
        drop(self.daemon.store.awaited_change());
    }

    async fn restart(&mut self) {
        let now = self.world.clock.now().boot;
        let killed = self.random.bool();
        self.tell(|| format!("killed: {killed}"));
        if killed {
            self.daemon.task.abort();
        } else {
            self.daemon.stop.notify_one();
        }
        let _ended = (&mut self.daemon.task).await;
        // Without a service manager everything is lost with the process.
        if killed && self.random.bool() {
            self.handed.lock().expect("not poisoned").take();
        }
        let lost = self.handed.lock().expect("not poisoned").is_none();
        self.trouble(|state| {
            let is_lost = |given: &Given| lost || (killed && now.since(given.at) < HANDED);
            state.given.iter_mut().for_each(|given| *given = given.take().filter(|given| !is_lost(given)));
            state.seen = Default::default();
            if lost {
                state.told = Default::default();
            }
        });
        self.daemon = Daemon::start(&self.world, &self.handed);
    }

    /// A caller looks at every role. What is not there it waits for.
    fn look(&mut self) {
        self.looks += 1;
        let now = self.world.clock.now();
        let snapshot = self.daemon.store.snapshot();
        let asks = self.random.u8(..) < 60;
        self.world.with(|state| {
            let truly = now.wall - state.ahead;
            let is_settled = state.fair_for(now.boot) > state.settled();
            for (number, name) in NAMES.into_iter().enumerate() {
                let role = snapshot.role(name);
                let slot = role.map(|role| Arc::clone(&role.slot()));
                let set = slot.as_deref().and_then(|slot| match slot {
                    Slot::Held { set, .. } => Some(set).filter(|set| set.is_valid(now)),
                    _ => None,
                });
                let seen = std::mem::replace(&mut state.seen[number], role.map(|_| now.boot));
                let was_there = seen.zip(state.silent).is_some_and(|(seen, silent)| seen > silent);
                assert!(role.is_some() || !was_there, "{name}: an outage has taken it away");
                // Refused, and with nothing to lose, the role was withdrawn before the set came.
                let is_withdrawn =
                    |given: &Given| role.is_none() && state.refused.is_some_and(|since| given.at >= since);
                let given = state.given[number].filter(|given| !is_withdrawn(given));
                state.given[number] = given;
                if let Some(set) = set {
                    assert!(now.wall < set.expiration, "{name}: expired by the wall clock");
                    let behind = given.filter(|given| given.end == set.expiration).map(|given| given.behind);
                    let unknown = behind.unwrap_or(SignedDuration::from_hours(24)).max(SignedDuration::ZERO);
                    assert!(truly < set.expiration + unknown, "{name}: truly expired");
                }
                let lives = given.filter(|given| now.wall < given.end && now.boot < given.ends);
                if let Some(given) = lives {
                    assert!(set.is_some_and(|set| set.expiration == given.end), "{name}: {given:?} is lost: {slot:?}");
                }
                if is_settled {
                    assert_eq!(set.is_some(), state.has[number], "{name} after a quiet time: {slot:?}");
                }
                if asks && let Some(role) = role.filter(|_| set.is_none()) {
                    role.ask(now.boot);
                    drop(self.daemon.store.awaited_change());
                }
            }
        });
    }
}

/// What came of many lives.
#[derive(Default)]
struct Lives {
    lived: u64,
    looks: u64,
    events: u64,
    calls: u64,
    /// The seeds of those in which something happened that must not.
    violated: Vec<u64>,
}

impl Lives {
    fn add(&mut self, seed: u64, outcome: thread::Result<[u64; 3]>) {
        self.lived += 1;
        match outcome {
            Ok([looks, events, calls]) => {
                self.looks += looks;
                self.events += events;
                self.calls += calls;
            }
            // What was violated stands in the message of the panic.
            Err(_panic) => {
                eprintln!("this was seed {seed}");
                self.violated.push(seed);
            }
        }
    }

    fn tell(&self, runs: u64, days: u64) {
        let Self { lived, looks, events, calls, violated } = self;
        let violated =
            if violated.is_empty() { String::new() } else { format!("; violated by the seeds {violated:?}") };
        println!("{lived} of {runs} lives of {days} days: {looks} looks, {events} events, {calls} calls{violated}");
    }
}

/// The life of a host with this seed: how many looks, events and calls there were.
fn life(seed: u64, days: u64) -> [u64; 3] {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let mut life = Life::begin(seed);
        life.run(Duration::from_hours(24 * days)).await;
        [life.looks, life.events, life.world.with(|state| state.asked.iter().map(|asked| asked.total).sum())]
    })
}

/// Lives of hosts with the seeds, `days` each, on all processors.
fn live(seeds: Range<u64>, days: u64) -> Lives {
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (runs, next, lives) = (seeds.end - seeds.start, AtomicU64::new(seeds.start), Mutex::<Lives>::default());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = panic::catch_unwind(|| life(seed, days));
                    let mut lives = lives.lock().expect("not poisoned");
                    lives.add(seed, outcome);
                    if lives.lived.is_multiple_of(REPORT) || lives.lived == runs {
                        lives.tell(runs, days);
                    }
                }
            });
        }
    });
    lives.into_inner().expect("not poisoned")
}

#[test]
fn no_host_serves_what_has_expired_or_loses_what_is_good() {
    let number = |name, usual| env::var(name).map_or(usual, |text| text.parse().expect("a number"));
    let (seed, runs) = (number("ALPPACA_YEARS_SEED", 0), number("ALPPACA_YEARS_RUNS", 100));
    let Lives { lived, events, calls, violated, .. } = live(seed..seed + runs, number("ALPPACA_YEARS_DAYS", 1));
    assert!(violated.is_empty(), "the seeds {violated:?}");
    assert!(lived == runs && events > runs && calls > events);
}
