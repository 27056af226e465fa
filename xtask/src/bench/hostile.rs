//! An ordinary client beside those that do harm: clients of another user, and an upstream.

use std::env;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use super::http::{LIST, TOKEN};
use super::process::{LOAD_CORE, Process};
use super::report::{Harmed, Pair};
use super::servers::{Place, ROLE, Server};
use super::{Times, sdk};
use crate::shell;

/// The user of the harmful clients; nobody has this number.
const OTHER: &str = "52099";
/// As many connections as the server allows at all.
const SLOTS: usize = 8_192;
/// How many connections a flood has.
const FLOOD: usize = 64;
/// How many answers a client requests at once without reading them.
const UNREAD: usize = 200;

/// What the other user does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Harm {
    /// Takes all connections that there are.
    Slots,
    /// Requests much and reads nothing.
    Unread,
    /// Makes a connection for each request, from many threads at once.
    Connections,
    /// Makes tokens.
    Tokens,
    /// Requests what is refused, which is logged and recorded in the audit.
    Refusals,
    /// Requests the status at the admin socket.
    Admin,
}

impl Harm {
    fn title(self) -> &'static str {
        match self {
            Self::Slots => "another user takes all 8192 connections",
            Self::Unread => "another user reads nothing on 500 connections",
            Self::Connections => "another user makes a new connection for each request, 64 at a time",
            Self::Tokens => "another user makes tokens on 64 connections",
            Self::Refusals => "another user is refused on 64 connections, logged and in the audit",
            Self::Admin => "another user requests the status on 64 connections of the admin socket",
        }
    }
}

/// The program of the other user. Not for people.
#[derive(Args)]
pub struct Options {
    harm: Harm,
    server: SocketAddr,
    socket: PathBuf,
}

/// How an upstream does harm: `--misbehave` of the mock, and what it is called.
const UPSTREAMS: [(&str, &str); 6] = [
    ("hang", "the IMS does not answer"),
    ("drip", "the IMS sends a byte a second"),
    ("huge", "the IMS sends 100 MB"),
    ("garbage", "the IMS sends garbage"),
    ("expired", "the IMS sends sets that have expired"),
    ("half-refusal", "the IMS changes sides in the middle of its answers"),
];

/// All cases, or `only` one; each with the harm and without by turns.
pub fn run(place: &Place, only: Option<Harm>, times: &Times) -> Result<Vec<Harmed>> {
    let clients = Harm::value_variants().iter().filter(|harm| only.is_none_or(|only| only == **harm));
    let mut rows = beside_clients(place, clients, times)?;
    if only.is_none() {
        rows.extend(beside_upstreams(place, times)?);
    }
    Ok(rows)
}

fn beside_clients<'a>(place: &Place, harms: impl Iterator<Item = &'a Harm>, times: &Times) -> Result<Vec<Harmed>> {
    ensure!(rustix::process::geteuid().is_root(), "another user can only be had as root");
    let program = place.folder.join("xtask");
    fs::copy(env::current_exe()?, &program)?;
    for folder in place.folder.ancestors().take_while(|folder| *folder != shell::target()) {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    }
    let mock = place.mock(1)?;
    let start = |name: &str| {
        let audit = place.folder.join(format!("{name}-audit.log"));
        let more = format!(
            "audit_log: {}\npolicy: {{rules: [{{match: {{user: '{OTHER}'}}, deny: true}}], default: everything}}\n",
            audit.display()
        );
        place.ready_with(name, mock.address, "60s", true, &more)
    };
    let mut rows = Vec::new();
    for harm in harms {
        shell::heading(harm.title());
        let mut pair = Pair { ours: Vec::new(), other: Vec::new() };
        let mut elsewhere = Vec::new();
        for _ in 0..times.rounds {
            // It has not met the other user: after that a server is careful for minutes.
            let idle = start("hostile")?;
            pair.other.push(sdk::run(&idle, 1, times.round)?);
            let harmed = start("harmed")?;
            let other = other_user(&program, *harm, &harmed, &place.socket("harmed"), &place.folder)?;
            elsewhere.push(sdk::run(&idle, 1, times.round)?);
            drop((idle, other, harmed));
            let server = start("hostile")?;
            let _other = other_user(&program, *harm, &server, &place.socket("hostile"), &place.folder)?;
            pair.ours.push(sdk::run(&server, 1, times.round)?);
        }
        rows.push(Harmed { title: harm.title(), pair, elsewhere });
    }
    Ok(rows)
}

fn beside_upstreams(place: &Place, times: &Times) -> Result<Vec<Harmed>> {
    let mut rows = Vec::new();
    for (kind, title) in UPSTREAMS {
        shell::heading(title);
        let mut pair = Pair { ours: Vec::new(), other: Vec::new() };
        for _ in 0..times.rounds {
            let mock = place.mock(1)?;
            let server = place.ready_with("hostile", mock.address, "1s", true, "")?;
            pair.other.push(sdk::run(&server, 1, times.round)?);
            let address = mock.address;
            drop(mock);
            let _mock = place.mock_at(address, &["--misbehave", kind, "--misbehave-list", kind])?;
            pair.ours.push(sdk::run(&server, 1, times.round)?);
        }
        rows.push(Harmed { title, pair, elsewhere: Vec::new() });
    }
    Ok(rows)
}

/// Starts the program of the other user, and waits until it is at work.
fn other_user(program: &Path, harm: Harm, server: &Server, socket: &Path, folder: &Path) -> Result<Process> {
    let name = harm.to_possible_value().context("it has a name")?;
    let (user, group) = (format!("--reuid={OTHER}"), format!("--regid={OTHER}"));
    let address = server.address.to_string();
    let (program, socket) = (program.to_string_lossy(), socket.to_string_lossy());
    // On the core of the ordinary client, but only when that one leaves time: what is measured is the server.
    let arguments =
        [&*user, &group, "--clear-groups", "nice", "-n", "19", &program, "harm", name.get_name(), &address, &socket];
    let log = folder.join("harm.log");
    let mut process = Process::start(LOAD_CORE, Path::new("setpriv"), &arguments, Stdio::piped(), &log)?;
    let mut ready = [0];
    let mut stdout = process.stdout().context("a pipe")?;
    stdout.read_exact(&mut ready).with_context(|| format!("the other user has ended; see {}", log.display()))?;
    Ok(process)
}

/// The other user's program: does harm until it is ended.
pub fn harm(options: &Options) -> Result<()> {
    let Options { harm, server, socket } = options;
    let request = match harm {
        Harm::Slots => return take_slots(*server),
        Harm::Unread => return leave_unread(*server),
        Harm::Connections => format!("GET {LIST} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n"),
        Harm::Tokens => format!(
            "PUT {TOKEN} HTTP/1.1\r\nHost: {server}\r\nX-aws-ec2-metadata-token-ttl-seconds: 21600\r\nContent-Length: 0\r\n\r\n"
        ),
        Harm::Refusals => format!("GET {LIST}{ROLE} HTTP/1.1\r\nHost: {server}\r\n\r\n"),
        Harm::Admin => "GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
    };
    for _ in 0..FLOOD {
        let (server, socket, request, admin) = (*server, socket.clone(), request.clone(), *harm == Harm::Admin);
        // The server may refuse; it is tried again soon.
        let pause = if *harm == Harm::Connections { Duration::ZERO } else { Duration::from_millis(1) };
        thread::spawn(move || {
            loop {
                let _ended = if admin {
                    UnixStream::connect(&socket).and_then(|stream| flood(stream, &request))
                } else {
                    TcpStream::connect(server).and_then(|stream| flood(stream, &request))
                };
                thread::sleep(pause);
            }
        });
    }
    at_work();
    loop {
        thread::park();
    }
}

/// Requests the same on one connection for as long as the server answers.
fn flood(mut stream: impl Read + Write, request: &str) -> std::io::Result<()> {
    let mut answer = [0; 16_384];
    loop {
        stream.write_all(request.as_bytes())?;
        if stream.read(&mut answer)? == 0 {
            return Ok(());
        }
    }
}

fn at_work() {
    println!("at work");
}

fn connect(server: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, Duration::from_secs(2))?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Keeps as many connections as there are; what the server closes is opened again at once.
fn take_slots(server: SocketAddr) -> Result<()> {
    let mut streams: Vec<_> = (0..SLOTS).map(|_| connect(server).ok()).collect();
    at_work();
    loop {
        for stream in &mut streams {
            let is_open = stream.as_mut().is_some_and(
                |stream| matches!(stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock),
            );
            if !is_open {
                *stream = connect(server).ok();
            }
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Requests the list many times at once on each of many connections, and reads nothing.
fn leave_unread(server: SocketAddr) -> Result<()> {
    let requests = format!("GET {LIST} HTTP/1.1\r\nHost: {server}\r\n\r\n").repeat(UNREAD);
    let mut streams: Vec<_> = (0..500).map(|_| None).collect();
    let mut is_first = true;
    loop {
        for stream in &mut streams {
            let goes_on = stream.as_mut().is_some_and(|stream: &mut TcpStream| {
                stream.write_all(requests.as_bytes()).err().is_none_or(|error| error.kind() == ErrorKind::WouldBlock)
            });
            if !goes_on {
                *stream = connect(server).ok();
            }
        }
        if std::mem::take(&mut is_first) {
            at_work();
        }
        thread::sleep(Duration::from_millis(50));
    }
}
