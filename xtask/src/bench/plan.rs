//! What is measured in which order.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Times;
use super::crowd::{Crowd, DRIPPING, IDLE};
use super::hostile::{self, Harm};
use super::http::{self, LIST};
use super::measure::{Sample, median};
use super::report::{self, Aim, Harmed, Pair, table};
use super::sdk;
use super::servers::{Place, ROLE, Server};
use super::wrk::{self, Load};
use crate::shell;

/// What one more role takes is measured between these: the buffers of the connections to the IMS,
/// of which there are at most 16, are in both.
const FEW_ROLES: usize = 100;
const MANY_ROLES: usize = 1_100;
const REFRESH: &str = "60s";

/// Runs everything; returns the report. The other server is nginx, or the program of `before`.
pub fn run(place: &Place, before: Option<&Place>, times: &Times) -> Result<String> {
    let path = format!("{LIST}{ROLE}");
    let mock = place.mock(1)?;
    let start = |place: &Place, name, log| place.ready_daemon(name, mock.address, REFRESH, log);
    let quiet = start(place, "quiet", false)?;
    let idle_ours = Idle::of(&quiet, times)?;
    let logging = start(place, "logging", true)?;
    let other =
        |name, log| before.map_or_else(|| place.nginx(name, quiet.address, log), |before| start(before, name, log));
    let other_quiet = other("other-quiet", false)?;
    let idle_before = before.map(|_| Idle::of(&other_quiet, times)).transpose()?;
    let other_logging = other("other-logging", true)?;

    let mut bench = Bench { place, before, times, path, rows: Vec::new(), pairs: Vec::new() };
    for (log, ours, other) in [("off", &quiet, &other_quiet), ("on", &logging, &other_logging)] {
        for keep_alive in [true, false] {
            for connections in [1, 64] {
                bench.wrk(&format!("request log {log}"), ours, other, Load { connections, keep_alive })?;
            }
        }
    }
    let plain = std::mem::take(&mut bench.rows);
    for clients in [1, 64, 1_000] {
        bench.sdk(&quiet, &other_quiet, clients)?;
    }
    let sdk = std::mem::take(&mut bench.rows);
    let loaded = [&quiet, &other_quiet].map(|server| server.process.resident());
    let crowd = bench.crowded(&quiet, &other_quiet)?;
    let crowded = [&quiet, &other_quiet].map(|server| server.process.resident());
    bench.without_ims(&other_quiet)?;
    let adverse = std::mem::take(&mut bench.rows);
    let pairs = bench.pairs;
    // What harm does is measured against its absence, not against another server.
    let harms = if before.is_some() { Vec::new() } else { hostile::run(place, None, times)? };

    let [loaded_ours, loaded_before] = loaded;
    let [crowded_ours, crowded_before] = crowded;
    let ours = Alone::of(place, &mock, times, idle_ours, loaded_ours?, crowded_ours?)?;
    let alone = if let (Some(before), Some(idle)) = (before, idle_before) {
        let before = Alone::of(before, &mock, times, idle, loaded_before?, crowded_before?)?;
        let rows = ours.rows().into_iter().zip(before.rows());
        let rows: Vec<_> = rows.map(|((what, new), (_, old))| format!("{what} | {new} | {old}")).collect();
        table("alppaca | new | old", &rows)
    } else {
        let rows: Vec<_> = ours.rows().into_iter().map(|(what, value)| format!("{what} | {value}")).collect();
        table("alppaca | value", &rows)
    };
    // It is built from this tree, so there is none of before.
    let identity = if before.is_some() { None } else { Some(identity()?) };
    let asking = identity.as_ref().map_or_else(String::new, |identity| {
        format!(
            "\nAsking the kernel whose a connection is, with {} sockets open: p50 {:.1} µs, p99 {:.1} µs.\n",
            identity.sockets, identity.median, identity.p99
        )
    });
    let header = format!("load | {}", report::columns(before.is_some()));
    let pattern = "A request here is the whole pattern: connect, PUT token, GET list, GET document.";
    let aims = identity.map_or_else(|| against(&pairs), |identity| aims(&pairs, &harms, &ours, &identity));
    Ok([
        report::head(before.is_some()),
        format!("\n## One document\n\n{}\n{}\n", table(&header, &plain), report::LOGGED),
        format!("\n## As SDKs do it\n\n{pattern}\n\n{}", table(&header, &sdk)),
        format!("\n## In adversity\n\n{}\n{crowd}\n", table(&header, &adverse)),
        report::harms(&harms),
        format!("\n## Alone\n\n{alone}{asking}"),
        format!("\n## Aims\n\n{}", report::aims(&aims)),
    ]
    .concat())
}

/// Runs only the rows of harm, or `only` one of them; returns their report.
pub fn harm(place: &Place, only: Option<Harm>, times: &Times) -> Result<String> {
    let harms = hostile::run(place, only, times)?;
    Ok(format!("{}\n{}", report::harms(&harms), report::aims(&[within_twice(&harms)])))
}

fn within_twice(harms: &[Harmed]) -> Aim {
    let harmed = harms.iter().map(|harmed| harmed.pair.p99()).fold(0.0, f64::max);
    aim("p99 of an ordinary client within twice that without harm", format!("worst ×{harmed:.2}"), harmed <= 2.0)
}

fn aim(what: &'static str, measured: String, met: bool) -> Aim {
    Aim { what, measured, met }
}

fn no_failure(pairs: &[Pair]) -> Aim {
    let failures: u64 = pairs.iter().map(Pair::failures).sum();
    aim("no failed request", failures.to_string(), failures == 0)
}

fn aims(pairs: &[Pair], harms: &[Harmed], alone: &Alone, identity: &Identity) -> Vec<Aim> {
    let worst_core = pairs.iter().map(Pair::per_core).fold(f64::INFINITY, f64::min);
    let worst_p99 = pairs.iter().map(Pair::p99).fold(0.0, f64::max);
    let (prompt, fast) = alone
        .prompt
        .as_ref()
        .map_or_else(|| ("none".to_owned(), false), |prompt| (prompt.shown(), prompt.millis < 5.0));
    let (small, each, start) = (megabytes(alone.idle.resident), alone.roles.each, alone.start.ours);
    vec![
        no_failure(pairs),
        aim("nginx's throughput per core in every row", format!("worst row ×{worst_core:.2}"), worst_core >= 1.0),
        aim("p99 no worse than nginx's in every row", format!("worst row ×{worst_p99:.2}"), worst_p99 <= 1.0),
        within_twice(harms),
        aim("under 10 MB resident with one role", format!("{small:.1} MB"), small < 10.0),
        aim("under 1 KB per further role", format!("{each:.0} bytes"), each < 1024.0),
        aim("first credentials within 50 ms", format!("{start:.1} ms"), start < 50.0),
        aim("under 20 µs to ask whose a connection is", format!("{:.1} µs", identity.median), identity.median < 20.0),
        aim("under 5 ms for `alppaca prompt`", prompt, fast),
        aim("under 2 wake-ups a second when idle", format!("{:.2}", alone.idle.wakeups), alone.idle.wakeups < 2.0),
    ]
}

/// What a change should not make worse.
fn against(pairs: &[Pair]) -> Vec<Aim> {
    let worst_core = pairs.iter().map(Pair::per_core).fold(f64::INFINITY, f64::min);
    let what = "at least 0.95 of the throughput per core of before in every row";
    vec![no_failure(pairs), aim(what, format!("worst row ×{worst_core:.2}"), worst_core >= 0.95)]
}

struct Bench<'a> {
    place: &'a Place,
    before: Option<&'a Place>,
    times: &'a Times,
    path: String,
    rows: Vec<String>,
    pairs: Vec<Pair>,
}

impl Bench<'_> {
    fn wrk(&mut self, what: &str, ours: &Server, other: &Server, load: Load) -> Result<()> {
        let kind = if load.keep_alive { "keep-alive" } else { "connection per request" };
        let (place, path, round) = (self.place, self.path.clone(), self.times.round);
        self.take_turns(&format!("{kind}, {} at once, {what}", load.connections), ours, other, |server| {
            wrk::run(place, server, &path, load, round)
        })
    }

    fn sdk(&mut self, ours: &Server, other: &Server, clients: usize) -> Result<()> {
        let round = if self.times.brief { self.times.round / 2 } else { self.times.round };
        self.take_turns(&format!("{clients} clients"), ours, other, |server| sdk::run(server, clients, round))
    }

    /// A B A B …, so that what else happens on the machine hits both.
    fn take_turns(
        &mut self,
        name: &str,
        ours: &Server,
        other: &Server,
        load: impl Fn(&Server) -> Result<Sample>,
    ) -> Result<()> {
        shell::heading(name);
        let mut pair = Pair { ours: Vec::new(), other: Vec::new() };
        for _ in 0..self.times.rounds {
            pair.ours.push(load(ours).with_context(|| format!("alppaca: {name}"))?);
            pair.other.push(load(other).with_context(|| format!("the other server: {name}"))?);
        }
        self.rows.push(format!("{name} | {}", report::cells(&pair)));
        self.pairs.push(pair);
        Ok(())
    }

    /// Both servers have their own crowd for the whole time. Returns a sentence on it.
    fn crowded(&mut self, ours: &Server, other: &Server) -> Result<String> {
        shell::heading(&format!("opening {IDLE} idle and {DRIPPING} dripping connections to each"));
        let crowds = [Crowd::gather(ours.address)?, Crowd::gather(other.address)?];
        let what = format!("with {IDLE} idle and {DRIPPING} dripping connections");
        self.adverse(&what, ours, other)?;
        let [ours, other] = crowds.map(|crowd| crowd.reopened());
        Ok(format!("Connections of the crowd that the server closed, and that were opened again: {ours} / {other}."))
    }

    /// The mock is killed; a short interval makes the daemon notice while it is measured.
    fn without_ims(&mut self, nginx: &Server) -> Result<()> {
        let mock = self.place.mock(1)?;
        let orphan = |place: &Place| place.ready_daemon("orphan", mock.address, "1s", false);
        let daemon = orphan(self.place)?;
        let before = self.before.map(orphan).transpose()?;
        drop(mock);
        self.adverse("while the IMS is down", &daemon, before.as_ref().unwrap_or(nginx))
    }

    fn adverse(&mut self, what: &str, ours: &Server, other: &Server) -> Result<()> {
        if !self.times.brief {
            self.wrk(what, ours, other, Load { connections: 64, keep_alive: true })?;
        }
        self.wrk(what, ours, other, Load { connections: 64, keep_alive: false })
    }
}

struct Idle {
    resident: u64,
    wakeups: f64,
    cpu_millis: f64,
}

impl Idle {
    fn of(server: &Server, times: &Times) -> Result<Self> {
        shell::heading(&format!("idle for {} s", times.idle.as_secs()));
        // What belongs to the start is not idleness.
        thread::sleep(Duration::from_secs(1));
        let (wakeups, cpu) = (server.process.wakeups()?, server.process.cpu()?);
        thread::sleep(times.idle);
        let seconds = times.idle.as_secs_f64();
        #[allow(clippy::cast_precision_loss, reason = "a small count")]
        let wakeups = server.process.wakeups()?.saturating_sub(wakeups) as f64 / seconds;
        let cpu = server.process.cpu()?.checked_sub(cpu).unwrap_or_default();
        let cpu_millis = cpu.as_secs_f64() * 60_000.0 / seconds;
        Ok(Self { resident: server.process.resident()?, wakeups, cpu_millis })
    }
}

/// What is measured of one program without another beside it.
struct Alone {
    idle: Idle,
    /// Resident bytes after the load, and after the crowd.
    loaded: u64,
    crowded: u64,
    roles: Roles,
    start: Start,
    /// `None` of a program from before it had a prompt.
    prompt: Option<Prompt>,
}

impl Alone {
    fn of(place: &Place, mock: &Server, times: &Times, idle: Idle, loaded: u64, crowded: u64) -> Result<Self> {
        let roles = many_roles(place)?;
        let start = first_credentials(place, mock, times.starts)?;
        let prompt = prompt(place, mock, times.prompts)?;
        Ok(Self { idle, loaded, crowded, roles, start, prompt })
    }

    /// What, and the value.
    fn rows(&self) -> [(String, String); 8] {
        let prompt = self.prompt.as_ref().map_or_else(|| "–".to_owned(), Prompt::shown);
        let Self { idle, loaded, crowded, roles, start, .. } = self;
        let resident = |what: &str, bytes: u64| (format!("resident, {what}"), format!("{:.1} MB", megabytes(bytes)));
        [
            resident("one role", idle.resident),
            resident("after the load", *loaded),
            resident(&format!("after {IDLE} idle and {DRIPPING} dripping connections"), *crowded),
            resident(&format!("{MANY_ROLES} roles"), roles.resident),
            (
                format!("per further role (from {FEW_ROLES} on), beyond its document of {} bytes", roles.document),
                format!("{:.0} bytes", roles.each),
            ),
            (
                "idle: wake-ups a second, CPU a minute".to_owned(),
                format!("{:.2}, {:.0} ms", idle.wakeups, idle.cpu_millis),
            ),
            ("first credentials after start, less the IMS's own time".to_owned(), format!("{:.1} ms", start.ours)),
            ("`alppaca prompt`, from the start of the process to its end".to_owned(), prompt),
        ]
    }
}

struct Roles {
    resident: u64,
    /// Bytes of one document.
    document: usize,
    /// Bytes that one more role takes beyond its document.
    each: f64,
}

fn many_roles(place: &Place) -> Result<Roles> {
    let (few, _) = with_roles(place, FEW_ROLES)?;
    let (resident, document) = with_roles(place, MANY_ROLES)?;
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let each = (resident as f64 - few as f64) / (MANY_ROLES - FEW_ROLES) as f64 - document as f64;
    Ok(Roles { resident, document, each })
}

/// The resident bytes of a daemon with that many roles, and the size of a document.
fn with_roles(place: &Place, roles: usize) -> Result<(u64, usize)> {
    shell::heading(&format!("{roles} roles"));
    let mock = place.mock(roles)?;
    let names = http::ask(mock.address, "GET", LIST, "")?.body;
    anyhow::ensure!(names.lines().count() == roles, "mock-ims lists {} roles", names.lines().count());
    let daemon = place.ready_daemon("many", mock.address, REFRESH, false)?;
    let mut document = 0;
    for name in names.lines() {
        document = http::wait_for(daemon.address, &format!("{LIST}{}", name.trim()), Duration::from_secs(30))?.len();
    }
    Ok((daemon.process.resident()?, document))
}

/// What it costs to ask whose a connection is, in microseconds.
struct Identity {
    median: f64,
    p99: f64,
    sockets: u64,
}

fn identity() -> Result<Identity> {
    shell::heading("asking whose a connection is");
    let said = shell::output(shell::cargo().args(["bench", "--quiet", "--package", "alppaca", "--bench", "identify"]))?;
    // identify: median 4.2 p99 9.1 microseconds, 10000 sockets open
    let words: Vec<&str> = said.split_whitespace().collect();
    match words.as_slice() {
        ["identify:", "median", median, "p99", p99, "microseconds,", sockets, "sockets", "open"] => {
            Ok(Identity { median: median.parse()?, p99: p99.parse()?, sockets: sockets.parse()? })
        }
        _ => anyhow::bail!("the benchmark `identify` says something else: {said}"),
    }
}

/// Milliseconds, the median.
struct Start {
    ours: f64,
}

fn first_credentials(place: &Place, mock: &Server, starts: usize) -> Result<Start> {
    shell::heading(&format!("{starts} starts"));
    let path = format!("{LIST}{ROLE}");
    let millis = |since: Instant| since.elapsed().as_secs_f64() * 1e3;
    let (mut ours, mut ims) = (Vec::new(), Vec::new());
    for _ in 0..starts {
        let began = Instant::now();
        http::ask(mock.address, "GET", LIST, "")?;
        http::ask(mock.address, "GET", &path, "")?;
        ims.push(millis(began));
        let began = Instant::now();
        let daemon = place.daemon("start", mock.address, REFRESH, false)?;
        http::wait_for(daemon.address, &path, Duration::from_secs(5)).context("the daemon's first credentials")?;
        ours.push(millis(began));
    }
    Ok(Start { ours: median(ours) - median(ims) })
}

/// What a shell waits for before each prompt.
struct Prompt {
    /// The median.
    millis: f64,
    /// The median of the ratios to the run of `true` beside each.
    ratio: f64,
}

impl Prompt {
    fn shown(&self) -> String {
        format!("{:.1} ms, ×{:.1} of `true`", self.millis, self.ratio)
    }
}

fn prompt(place: &Place, mock: &Server, prompts: usize) -> Result<Option<Prompt>> {
    shell::heading(&format!("{prompts} prompts"));
    if !Command::new(&place.alppaca).args(["prompt", "--help"]).output()?.status.success() {
        return Ok(None);
    }
    let _daemon = place.ready_daemon("prompt", mock.address, REFRESH, false)?;
    let took = |program: &Path| -> Result<(f64, bool)> {
        let began = Instant::now();
        let output = Command::new(program).arg("prompt").env("ALPPACA_SOCKET", place.socket("prompt")).output()?;
        Ok((began.elapsed().as_secs_f64() * 1e3, output.stdout.starts_with(ROLE.as_bytes())))
    };
    let (mut millis, mut ratios) = (Vec::new(), Vec::new());
    for _ in 0..prompts {
        let (ours, says) = took(&place.alppaca)?;
        anyhow::ensure!(says, "`alppaca prompt` prints no role");
        let (other, _) = took(Path::new("true"))?;
        millis.push(ours);
        ratios.push(ours / other);
    }
    Ok(Some(Prompt { millis: median(millis), ratio: median(ratios) }))
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
