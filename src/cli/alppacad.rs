//! `alppacad start|stop|restart|reload|status`: the daemon in the background, with the exit codes of LSB.
//!
//! <https://refspecs.linuxbase.org/LSB_5.0.0/LSB-Core-generic/LSB-Core-generic/iniscrptact.html>

use std::{
    fs,
    net::{Ipv4Addr, SocketAddrV4},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::{Failure, Outcome, USUAL_ACCOUNT, place};
use crate::{
    capture::{Answerer, who_answers},
    config::{self, Config},
    sandbox::{self, Account},
    service::{self, Late, ServiceError, Status, Stopped},
};
use alppaca_settings::{load, read};

/// What programs ask.
const IMDS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(169, 254, 169, 254), 80);
/// How long beyond `ready_wait` the start may take.
const START: Duration = Duration::from_secs(15);

/// LSB: the program is not configured.
const NOT_CONFIGURED: u8 = 6;
/// LSB: whether it runs is unknown.
const UNKNOWN: u8 = 4;
/// LSB, of anything but `status`: this user may not do that.
const NOT_ALLOWED: u8 = 4;

/// Arguments of `alppacad`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A restart leaves no gap: the daemon goes on until the new one has taken over its sockets and
credentials. If that one cannot start, the daemon stays as it was. A daemon is stopped, and its
status shown, also if its configuration is wrong by now.

Exit codes (LSB): start, stop, restart: 0 done (or nothing to do), 1 failed, 6 not configured.
reload: 0 signalled, 6 the configuration is wrong, 7 not running.
stop, restart, reload: 4 it is the daemon of the host, so that only root may.
status: 0 running, 1 dead but there is a pid file, 3 not running, 4 unknown.")]
pub(super) struct Args {
    #[arg(value_enum)]
    action: Action,
    /// A YAML file, or a directory whose *.yaml are merged in alphabetical order
    #[arg(short, long, value_name = "PATH", default_value = place::SYSTEM)]
    config: PathBuf,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Action {
    /// Start it and wait until it has credentials
    Start,
    /// Stop it and wait until it is gone
    Stop,
    /// Have a new process take over from the running one, or start it
    Restart,
    /// Check the configuration, and make the running daemon reload it
    Reload,
    /// Show whether it runs, and whether 169.254.169.254 reaches it
    Status,
}

/// What has been done.
type Said = Result<String, Failure>;

/// Does it.
pub(super) fn run(args: &Args) -> Outcome {
    let mut loaded = config::load(&args.config).map(|loaded| loaded.config);
    let run_dir = match &mut loaded {
        Ok(config) => {
            place::settle(config);
            Some(config.run_dir.clone())
        }
        Err(_) => written(&args.config).0,
    };
    match (run_dir.and_then(|own| of_host(&args.config, &own)), args.action) {
        (None, _) | (_, Action::Start) => {}
        (Some(pid), Action::Status) => {
            running(pid);
            return Ok(());
        }
        (Some(pid), Action::Stop | Action::Restart | Action::Reload) => {
            let message = format!("process {pid} is the daemon of the host, which is root's: use sudo");
            return Err(Failure { code: NOT_ALLOWED, message });
        }
    }
    let config = match (loaded, args.action) {
        (Ok(config), _) => config,
        (Err(errors), Action::Stop) => return say(stop_all_the_same(&args.config, &errors.to_string())),
        (Err(errors), Action::Status) => return status_all_the_same(&args.config, &errors.to_string()),
        (Err(errors), _) => return Err(Failure { code: NOT_CONFIGURED, message: errors.to_string() }),
    };
    match args.action {
        Action::Start => say(start(args, &config)),
        Action::Stop => say(stop(&config)),
        Action::Restart => say(restart(args, &config)),
        Action::Reload => say(reload(&config)),
        Action::Status => status(&config),
    }
}

/// The daemon of the host, if its configuration is meant and this user, whose `run_dir` is another one, has no daemon by it.
fn of_host(path: &Path, run_dir: &Path) -> Option<u32> {
    let hosts = place::hosts_run_dir();
    let is_own = run_dir != hosts && run_dir == place::run_dir();
    if path != Path::new(place::SYSTEM) || !is_own {
        return None;
    }
    match (service::status(run_dir), service::status(hosts)) {
        (Ok(Status::Stopped | Status::Dead), Ok(Status::Running(pid))) => Some(pid),
        _ => None,
    }
}

fn say(said: Said) -> Outcome {
    alppaca_command::println!("{}", said?);
    Ok(())
}

fn start(args: &Args, config: &Config) -> Said {
    if let Status::Running(pid) = service::status(&config.run_dir).map_err(Failure::runtime)? {
        return Ok(format!("alppaca is already running (process {pid})"));
    }
    service::start(daemon(args)?, config.ready_wait + START, Late::GoesOn).map_err(Failure::runtime)?;
    Ok("alppaca started".to_owned())
}

fn daemon(args: &Args) -> Result<Command, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::runtime(format!("cannot find the path of this program: {error}")))?;
    // It leaves this directory, so a relative path would lead elsewhere.
    let path = std::path::absolute(&args.config).map_err(Failure::runtime)?;
    let mut command = Command::new(program);
    command.arg("run").arg("--background").arg("-c").arg(path);
    Ok(command)
}

fn restart(args: &Args, config: &Config) -> Said {
    let running = service::status(&config.run_dir).map_err(Failure::runtime)?;
    if let Status::Running(_) = running {
        let mut command = daemon(args)?;
        command.arg("--replace");
        match service::start(command, config.ready_wait + START, Late::Killed) {
            Ok(()) => return Ok("alppaca restarted".to_owned()),
            Err(ServiceError::CannotReplace) => {}
            Err(error) => {
                // One that stops closes its socket first, and has the pid file to its end.
                let socket = config.admin.socket.as_deref();
                let runs = socket.is_some_and(|socket| UnixStream::connect(socket).is_ok());
                let state = if runs { "the daemon that was running goes on" } else { "no daemon runs any more" };
                return Err(Failure::runtime(format!("{error}; {state}")));
            }
        }
    }
    let stopped = stop(config)?;
    let started = start(args, config);
    // Not before: output that cannot be written ends this process.
    alppaca_command::println!("{stopped}");
    started
}

fn stop(config: &Config) -> Said {
    stop_in(&config.run_dir, &config.account, || absent(config))
}

/// Stops the daemon of this run directory; `absent` says that there is none.
fn stop_in(run_dir: &Path, of: &Account, absent: impl FnOnce() -> String) -> Said {
    Ok(match service::stop(run_dir, account(of)?).map_err(Failure::runtime)? {
        Stopped::Already => absent(),
        Stopped::ByItself => "alppaca stopped".to_owned(),
        Stopped::Killed => "alppaca did not stop by itself and was killed".to_owned(),
    })
}

/// What counts of a configuration that is wrong by now, since the daemon has read another one: where the daemon is, if that is
/// certain, and its account.
fn written(path: &Path) -> (Option<PathBuf>, Account) {
    let tree = load::texts(path, "").and_then(load::tree).ok().flatten();
    let entries = tree.as_ref().and_then(|tree| read::entries(tree, "").ok());
    let node = |key: &str| entries.as_ref()?.iter().find(|(name, _)| name.text == key).map(|(_, node)| node);
    let word = |key: &str| node(key).and_then(|node| read::text(node).ok());
    let run_dir = match (&entries, node("run_dir"), word("run_dir")) {
        (_, Some(_), Some(run_dir)) => Some(PathBuf::from(run_dir)),
        (Some(_), None, _) => Some(place::run_dir()),
        // Whatever is in it, no other one is that of the host's daemon.
        (None, ..) if path == Path::new(place::SYSTEM) && path.exists() => Some(place::run_dir()),
        _ => None,
    };
    (run_dir, Account { user: word("user"), group: word("group") })
}

/// Stops the daemon of a configuration that is wrong by now. Which daemon it is has to be certain.
fn stop_all_the_same(path: &Path, errors: &str) -> Said {
    let not_configured = |message: String| Err(Failure { code: NOT_CONFIGURED, message });
    let (Some(run_dir), account) = written(path) else {
        let unknown = "so it is not known which daemon has this configuration, and none is stopped";
        return not_configured(format!("{errors}\nIts run_dir cannot be read, {unknown}."));
    };
    match service::status(&run_dir) {
        Ok(Status::Running(_)) => {}
        Ok(_) => return not_configured(errors.to_owned()),
        Err(error) => return not_configured(format!("{errors}\n{error}")),
    }
    alppaca_command::eprintln!(
        "alppacad: {errors}\nThe daemon, which has read another configuration, is stopped all the same."
    );
    // It ran a moment ago.
    stop_in(&run_dir, &account, || "alppaca stopped".to_owned())
}

/// Shows the daemon of a configuration that is wrong by now, if it runs.
fn status_all_the_same(path: &Path, errors: &str) -> Outcome {
    match written(path).0.map(|run_dir| service::status(&run_dir)) {
        Some(Ok(Status::Running(pid))) => {
            alppaca_command::eprintln!(
                "alppacad: {errors}\nThe daemon, which has read another configuration, runs on."
            );
            running(pid);
            Ok(())
        }
        Some(Err(error)) => Err(Failure { code: UNKNOWN, message: format!("{errors}\n{error}") }),
        _ => Err(Failure { code: UNKNOWN, message: errors.to_owned() }),
    }
}

fn reload(config: &Config) -> Said {
    if service::reload(&config.run_dir, account(&config.account)?).map_err(Failure::runtime)? {
        Ok("alppaca reloads its configuration; its log shows the result".to_owned())
    } else {
        Err(Failure { code: 7, message: absent(config) })
    }
}

/// That there is no daemon of this program's; there may be another.
fn absent(config: &Config) -> String {
    match config.admin.socket.as_deref().filter(|socket| is_listened_at(socket)) {
        None => "alppaca is not running".to_owned(),
        Some(socket) => format!(
            "alppaca is not running in the background, but {} is the socket of a daemon that was started otherwise (`alppaca \
             run`), or of systemd, which starts one: see `alppaca status`",
            socket.display()
        ),
    }
}

/// Whether somebody listens at this Unix socket. To connect would start a daemon where systemd listens, and may take for ever.
fn is_listened_at(socket: &Path) -> bool {
    // `man 5 proc_net`: the flag `__SO_ACCEPTCON` in hexadecimal, and the path at the end.
    let sockets = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let listens = |line: &str| line.split_ascii_whitespace().nth(3) == Some("00010000");
    sockets
        .lines()
        .any(|line| listens(line) && line.split_once('/').is_some_and(|(_, path)| socket == Path::new("/").join(path)))
}

/// The user that the daemon runs as.
fn account(account: &Account) -> Result<u32, Failure> {
    let own = rustix::process::geteuid().as_raw();
    match sandbox::resolve(account, USUAL_ACCOUNT) {
        Ok(identity) => Ok(identity.map_or(own, |identity| identity.uid.as_raw())),
        // Only a process of this user can be told anything.
        Err(sandbox::SandboxError::NotRoot(_)) => Ok(own),
        Err(error) => Err(Failure::runtime(error)),
    }
}

fn status(config: &Config) -> Outcome {
    let silent = |code| Err(Failure { code, message: String::new() });
    let status = service::status(&config.run_dir);
    match status.map_err(|error| Failure { code: UNKNOWN, message: error.to_string() })? {
        Status::Running(pid) => {
            running(pid);
            Ok(())
        }
        Status::Dead => {
            alppaca_command::println!("alppaca is not running, but its pid file is there");
            silent(1)
        }
        Status::Stopped => {
            alppaca_command::println!("{}", absent(config));
            silent(3)
        }
    }
}

/// Says that it runs, and whether programs reach it.
fn running(pid: u32) {
    alppaca_command::println!("alppaca is running (process {pid})");
    match who_answers(IMDS.into(), Duration::from_secs(1)) {
        Answerer::Alppaca { pid: Some(answering) } if answering == pid => {
            alppaca_command::println!("{IMDS} reaches it");
        }
        answerer => alppaca_command::println!("{IMDS} does not reach it: {answerer}; see `alppaca capture --help`"),
    }
}
