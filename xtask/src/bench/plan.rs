//! What is measured in which order.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Times;
use super::crowd::{Crowd, DRIPPING, IDLE};
use super::http::{self, LIST};
use super::measure::{Sample, median};
use super::report::{self, Aim, COLUMNS, Pair, table};
use super::sdk;
use super::servers::{Place, ROLE, Server};
use super::wrk::{self, Load};
use crate::shell;

/// What one more role takes is measured between these: the buffers of the connections to the IMS,
/// of which there are at most 16, are in both.
const FEW_ROLES: usize = 100;
const MANY_ROLES: usize = 1_100;
const REFRESH: &str = "60s";

/// Runs everything; returns the report.
pub fn run(place: &Place, times: &Times) -> Result<String> {
    let path = format!("{LIST}{ROLE}");
    let mock = place.mock(1)?;
    let quiet = place.ready_daemon("quiet", mock.address, REFRESH, false)?;
    let idle = idle(&quiet, times)?;
    let small = quiet.process.resident()?;
    let logging = place.ready_daemon("logging", mock.address, REFRESH, true)?;
    let nginx_quiet = place.nginx("nginx-quiet", quiet.address, false)?;
    let nginx_logging = place.nginx("nginx-logging", quiet.address, true)?;

    let mut bench = Bench { place, times, path, rows: Vec::new(), pairs: Vec::new() };
    for (log, ours, nginx) in [("off", &quiet, &nginx_quiet), ("on", &logging, &nginx_logging)] {
        for keep_alive in [true, false] {
            for connections in [1, 64] {
                bench.wrk(&format!("request log {log}"), ours, nginx, Load { connections, keep_alive })?;
            }
        }
    }
    let plain = std::mem::take(&mut bench.rows);
    for clients in [1, 64, 1_000] {
        bench.sdk(&quiet, &nginx_quiet, clients)?;
    }
    let sdk = std::mem::take(&mut bench.rows);
    let loaded = quiet.process.resident()?;
    let crowd = bench.crowded(&quiet, &nginx_quiet)?;
    let crowded = quiet.process.resident()?;
    bench.without_ims(&nginx_quiet)?;
    let adverse = std::mem::take(&mut bench.rows);
    let pairs = bench.pairs;

    let roles = many_roles(place)?;
    let identity = identity()?;
    let start = first_credentials(place, &mock, times.starts)?;
    let alone = [
        format!("resident, one role | {:.1} MB", megabytes(small)),
        format!("resident, after the load | {:.1} MB", megabytes(loaded)),
        format!("resident, after {IDLE} idle and {DRIPPING} dripping connections | {:.1} MB", megabytes(crowded)),
        format!("resident, {MANY_ROLES} roles | {:.1} MB", megabytes(roles.resident)),
        format!(
            "per further role (from {FEW_ROLES} on), beyond its document of {} bytes | {:.0} bytes",
            roles.document, roles.each
        ),
        format!("idle: wake-ups a second, CPU a minute | {:.2}, {:.0} ms", idle.wakeups, idle.cpu_millis),
        format!("first credentials after start, less the IMS's own {:.1} ms | {:.1} ms", start.ims, start.ours),
        format!(
            "asking the kernel whose a connection is, with {} sockets open: p50, p99 | {:.1}, {:.1} µs",
            identity.sockets, identity.median, identity.p99
        ),
    ];
    let header = format!("load | {COLUMNS}");
    let pattern = "A request here is the whole pattern: connect, PUT token, GET list, GET document.";
    Ok([
        report::HEAD.to_owned(),
        format!("\n## One document\n\n{}", table(&header, &plain)),
        format!("\n## As SDKs do it\n\n{pattern}\n\n{}", table(&header, &sdk)),
        format!("\n## In adversity\n\n{}\n{crowd}\n", table(&header, &adverse)),
        format!("\n## Alone\n\n{}", table("alppaca | value", &alone)),
        format!("\n## Aims\n\n{}", aims(&pairs, small, &roles, &start, &idle, &identity)),
    ]
    .concat())
}

fn aims(pairs: &[Pair], small: u64, roles: &Roles, start: &Start, idle: &Idle, identity: &Identity) -> String {
    let worst_core = pairs.iter().map(Pair::per_core).fold(f64::INFINITY, f64::min);
    let worst_p99 = pairs.iter().map(Pair::p99).fold(0.0, f64::max);
    let failures: u64 = pairs.iter().map(Pair::failures).sum();
    let aim = |aim, measured, met| Aim { what: aim, measured, met };
    report::aims(&[
        aim("no failed request", failures.to_string(), failures == 0),
        aim("nginx's throughput per core in every row", format!("worst row ×{worst_core:.2}"), worst_core >= 1.0),
        aim("p99 no worse than nginx's in every row", format!("worst row ×{worst_p99:.2}"), worst_p99 <= 1.0),
        aim("under 10 MB resident with one role", format!("{:.1} MB", megabytes(small)), megabytes(small) < 10.0),
        aim("under 1 KB per further role", format!("{:.0} bytes", roles.each), roles.each < 1024.0),
        aim("first credentials within 50 ms", format!("{:.1} ms", start.ours), start.ours < 50.0),
        aim("under 20 µs to ask whose a connection is", format!("{:.1} µs", identity.median), identity.median < 20.0),
        aim("under 2 wake-ups a second when idle", format!("{:.2}", idle.wakeups), idle.wakeups < 2.0),
    ])
}

struct Bench<'a> {
    place: &'a Place,
    times: &'a Times,
    path: String,
    rows: Vec<String>,
    pairs: Vec<Pair>,
}

impl Bench<'_> {
    fn wrk(&mut self, what: &str, ours: &Server, nginx: &Server, load: Load) -> Result<()> {
        let kind = if load.keep_alive { "keep-alive" } else { "connection per request" };
        let (place, path, round) = (self.place, self.path.clone(), self.times.round);
        self.take_turns(&format!("{kind}, {} at once, {what}", load.connections), ours, nginx, |server| {
            wrk::run(place, server, &path, load, round)
        })
    }

    fn sdk(&mut self, ours: &Server, nginx: &Server, clients: usize) -> Result<()> {
        let round = if self.times.brief { self.times.round / 2 } else { self.times.round };
        self.take_turns(&format!("{clients} clients"), ours, nginx, |server| sdk::run(server, clients, round))
    }

    /// A B A B …, so that what else happens on the machine hits both.
    fn take_turns(
        &mut self,
        name: &str,
        ours: &Server,
        nginx: &Server,
        load: impl Fn(&Server) -> Result<Sample>,
    ) -> Result<()> {
        shell::heading(name);
        let mut pair = Pair { ours: Vec::new(), nginx: Vec::new() };
        for _ in 0..self.times.rounds {
            pair.ours.push(load(ours).with_context(|| format!("alppaca: {name}"))?);
            pair.nginx.push(load(nginx).with_context(|| format!("nginx: {name}"))?);
        }
        self.rows.push(format!("{name} | {}", report::cells(&pair)));
        self.pairs.push(pair);
        Ok(())
    }

    /// Both servers have their own crowd for the whole time. Returns a sentence on it.
    fn crowded(&mut self, ours: &Server, nginx: &Server) -> Result<String> {
        shell::heading(&format!("opening {IDLE} idle and {DRIPPING} dripping connections to each"));
        let crowds = [Crowd::gather(ours.address)?, Crowd::gather(nginx.address)?];
        let what = format!("with {IDLE} idle and {DRIPPING} dripping connections");
        self.adverse(&what, ours, nginx)?;
        let [ours, nginx] = crowds.map(|crowd| crowd.reopened());
        Ok(format!("Connections of the crowd that the server closed, and that were opened again: {ours} / {nginx}."))
    }

    /// The mock is killed; a short interval makes the daemon notice while it is measured.
    fn without_ims(&mut self, nginx: &Server) -> Result<()> {
        let mock = self.place.mock(1)?;
        let daemon = self.place.ready_daemon("orphan", mock.address, "1s", false)?;
        drop(mock);
        self.adverse("while the IMS is down", &daemon, nginx)
    }

    fn adverse(&mut self, what: &str, ours: &Server, nginx: &Server) -> Result<()> {
        if !self.times.brief {
            self.wrk(what, ours, nginx, Load { connections: 64, keep_alive: true })?;
        }
        self.wrk(what, ours, nginx, Load { connections: 64, keep_alive: false })
    }
}

struct Idle {
    wakeups: f64,
    cpu_millis: f64,
}

fn idle(server: &Server, times: &Times) -> Result<Idle> {
    shell::heading(&format!("idle for {} s", times.idle.as_secs()));
    // What belongs to the start is not idleness.
    thread::sleep(Duration::from_secs(1));
    let (wakeups, cpu) = (server.process.wakeups()?, server.process.cpu()?);
    thread::sleep(times.idle);
    let seconds = times.idle.as_secs_f64();
    #[allow(clippy::cast_precision_loss, reason = "a small count")]
    let wakeups = server.process.wakeups()?.saturating_sub(wakeups) as f64 / seconds;
    let cpu = server.process.cpu()?.checked_sub(cpu).unwrap_or_default();
    Ok(Idle { wakeups, cpu_millis: cpu.as_secs_f64() * 60_000.0 / seconds })
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

/// Milliseconds, medians.
struct Start {
    ours: f64,
    ims: f64,
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
    let ims = median(ims);
    Ok(Start { ours: median(ours) - ims, ims })
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
