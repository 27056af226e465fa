//! All clients of the matrix at once, for as long as `ALPPACA_SOAK_MINUTES` says, while at random the upstream fails and the
//! daemon is reloaded, restarted and killed and its clock is set: no client sees an error, and nothing grows. In a file of its own, because it
//! takes the whole machine.
#![allow(clippy::disallowed_methods, reason = "the clients' clocks are real")]
#![allow(clippy::print_stdout, reason = "it is watched")]

#[path = "../interop/rig/mod.rs"]
mod rig;
#[path = "../support/mod.rs"]
mod support;

mod clock;

use std::{
    env, fmt, fs,
    net::TcpListener,
    ops::Range,
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use alppaca::mock_ims::{Answer, Behaviour};
use clock::Settable;
use fastrand::Rng;
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use rig::{
    client::Client,
    gate::Door,
    kinds::{KINDS, Kind, tell},
    moto::{BUCKET, Moto},
    tools::Tools,
};
use support::{Daemon, Ims, Over, get, manager::Manager};
use tempfile::TempDir;

const DOCUMENT: &str = "/latest/meta-data/iam/security-credentials/test_role";
/// Fetched again after ten seconds, so that there are always more than ten left.
const LIFE: Duration = Duration::from_secs(30);
/// As long as an outage may last, and the pause after it.
const OUTAGE: Duration = Duration::from_secs(5);
const RECOVERY: Duration = Duration::from_secs(10);
/// So far the clock is ahead at most: what is fetched then has ended by it so much earlier.
const AHEAD: i64 = 5;
/// So far it is behind, if not by seconds. Up to 15 minutes the host's clock is believed, and a set of seconds would be served for
/// so much longer; a real one lives for a quarter of an hour at least, and is fetched again long before its end.
const BEHIND: Range<i64> = 1_000..86_400;
/// An ordinary run of all tests spends no more on it.
const USUAL: f64 = 0.5;

/// How the upstream fails.
const FAULTS: [Answer; 12] = [
    Answer::Status(403),
    Answer::Status(404),
    Answer::Status(429),
    Answer::Status(500),
    Answer::Status(503),
    Answer::Empty,
    Answer::Html,
    Answer::Garbage,
    Answer::Reset,
    Answer::Hang,
    Answer::Drip(Duration::from_secs(1)),
    Answer::MissingField,
];

/// What is told of before a problem.
const BEFORE: Duration = Duration::from_secs(45);

/// What happened, and when. Who follows (`--nocapture`) sees all of it at once, and a failure shows what came before.
struct Story {
    began: Instant,
    lines: Mutex<Vec<(Instant, String)>>,
    is_followed: bool,
}

impl Story {
    fn begin() -> Self {
        let is_followed = env::args().any(|argument| argument == "--nocapture");
        Self { began: Instant::now(), lines: Mutex::default(), is_followed }
    }

    fn tell(&self, what: &str) {
        let now = Instant::now();
        let line = format!("{:7.1} s {what}", now.duration_since(self.began).as_secs_f64());
        if self.is_followed {
            println!("{line}");
        }
        self.lines.lock().expect("no panic").push((now, line));
    }

    /// The last lines.
    fn last(&self) -> String {
        let lines = self.lines.lock().expect("no panic");
        let recent = lines.iter().filter(|(when, _)| when.elapsed() < BEFORE);
        recent.map(|(_, line)| line.as_str()).collect::<Vec<_>>().join("\n")
    }
}

/// When the daemon got a `kill -9`.
type Kills = Mutex<Vec<Instant>>;

/// What happened, in numbers.
#[derive(Debug, Default)]
struct Events {
    faults: usize,
    reloads: usize,
    restarts: usize,
    kills: usize,
    settings_of_the_clock: usize,
}

/// How the rounds of one client went.
struct Record {
    name: &'static str,
    rounds: usize,
    /// Failed in the moment of a `kill -9`, which cuts what is under way; at once repeated, they worked.
    cut: usize,
    slowest: Duration,
    problems: Vec<String>,
}

/// What a daemon takes of the machine.
#[derive(Debug, Clone, Copy)]
struct Size {
    anonymous_kilobytes: usize,
    descriptors: usize,
}

impl Size {
    fn of(daemon: &Daemon) -> Self {
        let folder = PathBuf::from(format!("/proc/{}", daemon.pid()));
        let status = fs::read_to_string(folder.join("status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("the kernel says it");
        let anonymous_kilobytes = line.trim().trim_end_matches(" kB").parse().expect("a number");
        let descriptors = fs::read_dir(folder.join("fd")).expect("ours").count();
        Self { anonymous_kilobytes, descriptors }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} kB of anonymous memory, {} descriptors", self.anonymous_kilobytes, self.descriptors)
    }
}

/// The daemon that is restarted, and the upstream, and what is done to both.
struct Trouble<'a> {
    kills: &'a Kills,
    clock: &'a Settable,
    manager: Manager,
    daemon: Daemon,
    steady: &'a Daemon,
    ims: &'a Ims,
    config: String,
    random: Rng,
    events: Events,
    /// What every daemon that has ended wrote.
    logs: String,
    story: &'a Story,
    /// When the upstream is well again, or has been well for long enough.
    mended: Instant,
    is_down: bool,
}

impl Trouble<'_> {
    /// One thing at random.
    fn happen(&mut self) {
        // A service manager reads what it is told.
        self.manager.names();
        if self.mended <= Instant::now() {
            self.mend();
        }
        match self.random.u8(0..12) {
            0..5 if !self.is_down && self.mended <= Instant::now() => self.fail(),
            5 | 6 => {
                self.story.tell("reload");
                self.events.reloads += 1;
                self.daemon.hang_up();
                self.steady.hang_up();
            }
            7 | 8 => self.restart(false),
            9 => self.restart(true),
            10 | 11 => self.set_clock(),
            _ => {}
        }
    }

    fn mend(&mut self) {
        if std::mem::take(&mut self.is_down) {
            self.ims.handle.update(|behaviour| {
                behaviour.list = Answer::Good;
                behaviour.document = Answer::Good;
            });
            self.mended = Instant::now() + RECOVERY;
            self.story.tell("the upstream is well");
        }
    }

    fn fail(&mut self) {
        let [list, document] = [(); 2].map(|()| FAULTS[self.random.usize(..FAULTS.len())].clone());
        self.story.tell(&format!("the upstream fails: {list:?}, {document:?}"));
        self.events.faults += 1;
        self.ims.handle.update(|behaviour| (behaviour.list, behaviour.document) = (list, document));
        (self.is_down, self.mended) = (true, Instant::now() + OUTAGE.mul_f64(self.random.f64()));
    }

    /// By seconds or by hours, or to the right time.
    fn set_clock(&mut self) {
        let ahead = match self.random.u8(0..4) {
            0 => 0,
            1 => -self.random.i64(BEHIND),
            _ => self.random.i64(-AHEAD..=AHEAD),
        };
        self.story.tell(&format!("the clock is set: {ahead:+} s"));
        self.events.settings_of_the_clock += 1;
        self.clock.set(SignedDuration::from_secs(ahead));
        let answer = get(self.steady.address(), DOCUMENT);
        let date = answer.header("Date").and_then(|text| rfc2822::parse(text).ok()).expect("a date").timestamp();
        let theirs = date.duration_since(Timestamp::now()).as_secs();
        assert!((theirs - ahead).abs() <= 2, "{ahead} s ahead, and the daemon is {theirs} s ahead");
    }

    fn restart(&mut self, kill: bool) {
        // It takes a while, in which nothing else is done.
        self.mend();
        let stopped = Instant::now();
        if kill {
            self.events.kills += 1;
            // What ends in this moment knows of it.
            let mut kills = self.kills.lock().expect("no panic");
            self.daemon.kill();
            kills.push(Instant::now());
        } else {
            self.events.restarts += 1;
            assert_eq!(self.daemon.stop(), Some(0));
            self.daemon.kill();
        }
        self.logs += &self.daemon.log();
        self.daemon = self.manager.start(&self.config);
        self.manager.wait_for_all(&["READY=1", "FDSTORE=1\nFDNAME=alppaca-sets-"]);
        let what = if kill { "killed" } else { "restarted" };
        self.story.tell(&format!("{what}, {} ms without a daemon", stopped.elapsed().as_millis()));
    }
}

/// Rounds of one client until it is over.
fn rounds(
    kind: &'static Kind,
    command: impl Fn() -> std::process::Command,
    kills: &Kills,
    story: &Story,
    over: &AtomicBool,
) -> Record {
    let mut record = Record { name: kind.name, rounds: 0, cut: 0, slowest: Duration::ZERO, problems: Vec::new() };
    let (mut random, mut client) = (Rng::new(), None);
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let round = client.get_or_insert_with(|| Client::start(command())).round();
        record.rounds += 1;
        record.slowest = record.slowest.max(round.took);
        if let Err(problem) = round.result {
            story.tell(&format!("{}, begun {:.1} s ago: {problem}", kind.name, begun.elapsed().as_secs_f64()));
            let is_cut = kills.lock().expect("no panic").iter().any(|kill| *kill >= begun);
            if is_cut {
                record.cut += 1;
                client = None;
                continue;
            }
            record.problems.push(format!("{problem}\n{}", story.last()));
        }
        // A process of it would go on with a set of seconds for 15 minutes: it takes the expiration for a later one.
        if kind.stretches {
            client = None;
        }
        thread::sleep(Duration::from_millis(random.u64(200..2000)));
    }
    record
}

/// Programs that ask the daemon that is never restarted, all the time. Returns how many answers they got.
fn ask_all_the_time(daemon: &Daemon, over: &AtomicBool) -> usize {
    let mut count = 0;
    while !over.load(Ordering::Relaxed) {
        let answer = get(daemon.address(), DOCUMENT);
        assert_eq!(answer.status, 200, "{answer:?}");
        count += 1;
        thread::sleep(Duration::from_millis(5));
    }
    count
}

#[test]
fn no_client_sees_an_error_and_nothing_grows() {
    let Some(tools) = Tools::find() else {
        support::skip("soak", "no ALPPACA_TEST_PYTHON; `cargo xtask test` makes one");
        return;
    };
    let number = |name| env::var(name).ok().map(|text| text.parse::<f64>().expect("a number"));
    let length = Duration::from_secs_f64(60.0 * number("ALPPACA_SOAK_MINUTES").unwrap_or(USUAL));
    let moto = Moto::start(&tools.python);
    moto.make_bucket(BUCKET);
    let ims = Ims::start(Behaviour { lifetime: LIFE, fail_percent: 10, ..Behaviour::default() });
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let run = TempDir::new().expect("a directory");
    let config = format!("{}refresh_interval: 5s\nims_timeout: 2s\n", ims.config());
    let clock = Settable::new();
    let steady = clock.daemon(&config);
    let config = format!("{config}listen: '{port}'\nrun_dir: {}\n", run.path().display());
    let mut manager = Manager::of(clock.program());
    let daemon = manager.start(&config);
    manager.wait_for("FDSTORE=1\nFDNAME=alppaca-sets-");
    let story = Story::begin();
    let kills = Kills::default();
    let mut trouble = Trouble {
        kills: &kills,
        clock: &clock,
        manager,
        daemon,
        steady: &steady,
        ims: &ims,
        config,
        random: Rng::new(),
        events: Events::default(),
        logs: String::new(),
        story: &story,
        mended: story.began,
        is_down: false,
    };

    let over = AtomicBool::new(false);
    let home = TempDir::new().expect("a directory");
    let mut sizes = Vec::new();
    let door = || Door::open(TcpListener::bind("127.0.0.1:0").expect("a port"), ims.handle.clone(), moto.address);
    let doors: Vec<_> = KINDS.iter().map(|_| door()).collect();
    let (records, answers) = thread::scope(|scope| {
        let _over = Over(&over);
        let clients: Vec<_> = KINDS
            .iter()
            .zip(&doors)
            .filter_map(|(kind, door)| {
                if let Err(why) = kind.command(&tools, home.path()) {
                    support::skip(&format!("{} in the soak", kind.name), &why);
                    return None;
                }
                let (tools, home, over, (kills, story)) = (&tools, home.path(), &over, (&kills, &story));
                let socket = run.path().join("alppaca.sock");
                let command = move || {
                    let mut command = kind.at(door, tools, home).expect("it was there before");
                    tell(&mut command, port);
                    command.env("ALPPACA_SOCKET", &socket);
                    command
                };
                Some(scope.spawn(move || rounds(kind, command, kills, story, over)))
            })
            .collect();
        let asking: Vec<_> = (0..4).map(|_| scope.spawn(|| ask_all_the_time(&steady, &over))).collect();
        while story.began.elapsed() < length {
            thread::sleep(Duration::from_millis(trouble.random.u64(500..3000)));
            trouble.happen();
            if sizes.is_empty() && story.began.elapsed() > length / 5 {
                sizes.push(Size::of(&steady));
            }
        }
        over.store(true, Ordering::Relaxed);
        let records: Vec<_> = clients.into_iter().map(|client| client.join().expect("no panic")).collect();
        (records, asking.into_iter().map(|asking| asking.join().expect("no panic")).sum::<usize>())
    });
    sizes.push(Size::of(&steady));

    let events = &trouble.events;
    println!("{} s: {events:?}", length.as_secs());
    println!("| client | rounds | slowest | cut by a kill -9 | errors |\n|---|---|---|---|---|");
    for record in &records {
        let slowest = record.slowest.as_secs_f64();
        let Record { name, rounds, cut, problems, .. } = record;
        println!("| {name} | {rounds} | {slowest:.1} s | {cut} | {} |", problems.len());
    }
    println!(
        "A daemon that was only reloaded answered {answers} requests more. After a fifth of the time: {}; at the end: {}.",
        sizes[0], sizes[1]
    );
    // In a short time it may not have come to that.
    assert!(length < Duration::from_mins(5) || events.settings_of_the_clock > 0, "{events:?}");
    for record in &records {
        assert!(record.problems.is_empty(), "{}: {}", record.name, record.problems.join("\n\n"));
    }
    assert!(doors.iter().all(|door| door.refusals().is_empty()));
    assert!(records.iter().all(|record| record.rounds > 0) && answers > 0);
    // In a short time the first buffers are still to come.
    let may_grow = if length > Duration::from_mins(3) { 1024 } else { 4096 };
    assert!(sizes[1].anonymous_kilobytes <= sizes[0].anonymous_kilobytes + may_grow, "{sizes:?}");
    assert!(sizes[1].descriptors <= sizes[0].descriptors + 4, "{sizes:?}");
    let logs = format!("{}{}{}", trouble.logs, trouble.daemon.log(), steady.log());
    assert!(!logs.contains("panicked"));
    for issued in ims.handle.issued() {
        assert!(!logs.contains(&issued.secret_access_key) && !logs.contains(&issued.session_token));
    }
}
