//! `alppaca run`: the daemon in the foreground.

use std::{
    io,
    net::SocketAddr,
    os::unix::net::UnixListener,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use alppaca_command::service_manager::{end_at_panics, notify};
use nix::unistd::Gid;
use rustix::process::geteuid;
use sd_notify::NotifyState;

use super::{
    Failure, Outcome, USUAL_ACCOUNT,
    confine::{self, Configured},
    environment,
    page_sockets::PageFiles,
    place::{self, ConfigPath},
    predecessor::{self, Passed, Running},
    progress::{Service, reload_notice},
    sockets::{self, HandedOver, Sockets},
    traces,
};
use crate::{
    admin::{Access, AdminSocket, Former, SocketError},
    clock::SharedClock,
    config,
    daemon::{self, AdminSockets, Daemon, Identified, Reloading, ReplaceableBy, Watchdog},
    host,
    logging::{self, AuditLog, AuditTarget},
    plan,
    sandbox::{self, Identity},
    service::Background,
    source::{HostEnv, process::Program},
    trust::Trust,
};

/// Open files beside the clients' connections: listeners, log, upstreams, the runtime's own, the admin socket's.
const OTHER_FILES: usize = 160;

/// How long a notification may take to be shown.
const NOTIFICATION: Duration = Duration::from_secs(10);

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Stops on SIGTERM and SIGINT. An address that another socket has is taken as soon as it is free;
until then the log names its owner. Under systemd the daemon takes over sockets (socket activation)
and tells when it is ready (Type=notify).

Examples:
  alppaca run                      with the *.yaml in /etc/alppaca
  alppaca run -c ./alppaca.yaml    with one file
  alppaca check -c ./alppaca.yaml  show only its errors")]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigPath,
    /// Detach and keep a pid file, for `alppacad start`
    #[arg(long, hide = true)]
    background: bool,
    /// Take over from the daemon that runs in the background, for `alppacad restart`
    #[arg(long, hide = true, requires = "background")]
    replace: bool,
}

/// Runs the daemon, by this clock, until it is told to stop.
pub(super) fn run(args: &Args, clock: &SharedClock) -> Outcome {
    daemon::ignore_sighup().map_err(Failure::runtime)?;
    let path = args.config.path();
    let loaded = config::load(&path).map_err(Failure::usage)?;
    // In the background this directory is left.
    let path = std::path::absolute(&path).map_err(Failure::usage)?;
    // What needs root comes first; what may fail comes before anything is changed.
    let identity = sandbox::resolve(&loaded.config.account, USUAL_ACCOUNT).map_err(Failure::usage)?;
    let trust = Trust::of(identity.as_ref());
    let host_env = environment::host_env_as(identity.as_ref());
    let faults = daemon::file_faults(&path, &loaded, &host_env, &trust);
    if let Some(refusal) = faults.refusal() {
        return Err(Failure::usage(refusal));
    }
    let mut config = loaded.config.clone();
    place::settle(&mut config);
    let becomes_another = identity.as_ref().is_some_and(|other| other.uid.as_raw() != geteuid().as_raw());
    let notifier = if config.sign_in_notification { Some(notifier(becomes_another, &host_env)?) } else { None };
    let follower = traces::follower(&config).map_err(Failure::usage)?;
    let fetching = plan::fetching(&config, host_env.clone()).map_err(Failure::usage)?;
    config.limits.connections = config.limits.connections.min(most_connections());
    let admin_group = admin_group(&config)?;
    make_absolute(&mut config).map_err(Failure::usage)?;
    let lowest = if identity.is_some() || !geteuid().is_root() { host::unprivileged_ports() } else { 0 };
    let later = |address: SocketAddr| address.port() >= lowest;
    let running = args.replace.then(|| meet(config.admin.socket.as_deref(), identity.as_ref())).transpose()?;
    let (running, passed) = running.unzip();
    let mut handed_over = HandedOver::from_env().and_passed(passed.unwrap_or_default());
    let (former_admins, handed_admin) = (handed_over.former_admins()?, handed_over.admin()?);
    let left = handed_over.left();
    let mut sockets = sockets::places(&config, handed_over, later)?;
    let Sockets { places, metrics, page, .. } = &sockets;
    let waiting = sockets::in_the_way(places.iter().map(|(place, _)| place).chain(metrics).chain(page));
    if running.is_some() && !waiting.is_empty() {
        return Err(Failure::runtime(waiting.join("\n")));
    }
    let begin = if args.replace { Background::begin_beside } else { Background::begin };
    let background = args.background.then(|| begin(&config.run_dir, identity.as_ref())).transpose();
    let background = background.map_err(Failure::runtime)?;
    let run_dir = sandbox::make_directory(&config.run_dir, identity.as_ref());
    let admin = config.admin.socket.as_deref().map(|path| match handed_admin {
        Some(listener) => units_admin(listener, former_admins, admin_group, identity.as_ref(), running.is_some()),
        None => own_admin(former_admins, path, admin_group.into(), identity.as_ref(), running.is_some()),
    });
    let page = PageFiles::bind(&config, admin_group, identity.as_ref(), running.is_some());
    if let (Some(Err(error)), Some(_)) = (&admin, &running) {
        return Err(Failure::runtime(error));
    }
    if let (Some(Err(another @ SocketError::InUse(_))), [first, ..]) = (&admin, &*waiting) {
        return Err(Failure::runtime(format!("alppaca is running already: {another}\n{first}")));
    }
    if let Some(identity) = &identity {
        sandbox::become_identity(identity).map_err(Failure::runtime)?;
    }
    sandbox::harden().map_err(Failure::runtime)?;
    if let (Some(_), Some(background)) = (&running, &background) {
        can_replace(background, &config.run_dir, admin.as_ref().and_then(|bound| bound.as_ref().ok()))?;
    }
    let identified = Identified::attempt(&config);
    let configured = Configured { config: &config, path: &path, loaded: &loaded, host_env: &host_env };
    let (exec, confined) = configured.confine(&mut sockets)?;
    // As the account that will reopen the file after a rotation.
    let log =
        logging::init(&config.logging, Arc::clone(clock), &environment::for_logging()).map_err(Failure::runtime)?;
    let audit = config.audit_log.as_ref().map(|target| audit(target, &config, clock)).transpose()?;
    end_at_panics(log.flusher());
    warn(&loaded, &host_env, run_dir, faults.warnings, &sockets.unknown);
    identified.warn();
    let (confinement, state) = confined.begin(&log)?;
    announce(&config, &sockets);
    tell_waiting(&waiting, background.as_ref(), log.is_on_stderr());
    let admin = admin.and_then(usable);
    let ready = Arc::new(AtomicBool::new(false));
    let replaced = admin.iter().map(AdminSocket::place).chain(page.places()).filter(|_| running.is_some()).collect();
    let page = page.with_others(&config, &mut sockets);
    let progress = Service::new(background, Arc::clone(&ready), replaced);
    let sign_ins = host_env.sign_ins.clone();
    let reloading = Reloading {
        path,
        started: loaded,
        host_env,
        trust,
        confinement,
        level: log.level(),
        notice: reload_notice(Arc::clone(&ready)),
    };
    let admin = AdminSockets { socket: admin, metrics: sockets.metrics, page, sandbox: Some(confine::shown(&state)) };
    let kept = predecessor::kept(left, clock.now());
    let daemon = Daemon::new(config, fetching, Arc::clone(clock), sign_ins)
        .with_admin(admin)
        .with_exec_sockets(exec)
        .with_audit(audit)
        .with_reloading(reloading)
        .with_notifier(notifier)
        .with_watchdog(watchdog())
        .followed_by(follower)
        .replaceable(args.background.then_some(replaceable_by(becomes_another)))
        .instead_of_another(running.map(Running::turn));
    let daemon = kept.passed_on(daemon, sockets.units, sockets.kept);
    let ended = daemon.run(sockets.places, progress).map_err(Failure::runtime);
    notice!("stopped");
    log.flush();
    ended
}

/// As many as there can be open files.
fn most_connections() -> usize {
    let files = usize::try_from(sandbox::raise_file_limit()).unwrap_or(usize::MAX);
    files.saturating_sub(OTHER_FILES).max(1)
}

fn admin_group(config: &config::Config) -> Result<Option<Gid>, Failure> {
    let group = config.admin.group.as_deref().map(sandbox::group).transpose();
    group.map_err(|error| Failure::usage(format!("admin_{error}")))
}

/// In the background the directory is left that paths start from.
fn make_absolute(config: &mut config::Config) -> io::Result<()> {
    config.run_dir = std::path::absolute(&config.run_dir)?;
    config.admin.socket = config.admin.socket.as_deref().map(std::path::absolute).transpose()?;
    Ok(())
}

/// Logs what a person should know of the configuration.
fn warn(loaded: &config::Loaded, host_env: &HostEnv, run_dir: io::Result<()>, files: Vec<String>, unknown: &[String]) {
    let config = &loaded.config;
    let clear_text = plan::clear_text(config, &host_env.aws);
    let written = loaded.warnings.iter().map(ToString::to_string);
    let own = stays_root_unasked(config).into_iter().chain(traces::exposed(config));
    let run_dir = run_dir.err().map(|error| format!("run_dir: it cannot be made: {error}"));
    for warning in written.chain(files).chain(clear_text).chain(own).chain(run_dir) {
        tracing::warn!("{warning}");
    }
    if !unknown.is_empty() {
        let names = unknown.join(", ");
        tracing::warn!("what another version of alppaca has kept over the restart is of no use to this one: {names}");
    }
    if let Some(note) = plan::proxies_in_force(config, &host_env.proxies) {
        notice!("{note}");
    }
}

/// The record of who gets what.
fn audit(target: &AuditTarget, config: &config::Config, clock: &SharedClock) -> Result<AuditLog, Failure> {
    let required = config.audit_required;
    let log = AuditLog::open(target, required, Arc::clone(clock), &environment::for_logging());
    log.map_err(|error| Failure::runtime(format!("audit_log: {error}")))
}

/// Asks the daemon that runs for what it has. It is root's, ours, or that of the account which this process becomes.
fn meet(socket: Option<&Path>, identity: Option<&Identity>) -> Result<(Running, Passed), Failure> {
    let own = geteuid().as_raw();
    Running::meet(socket, &[own, identity.map_or(own, |identity| identity.uid.as_raw())])
}

/// The admin socket of the daemon before, or one in its place: when this daemon is ready if that one `runs`, else at once.
fn own_admin(
    former: Vec<Former>,
    path: &Path,
    access: Access,
    identity: Option<&Identity>,
    runs: bool,
) -> Result<AdminSocket, SocketError> {
    let own = geteuid().as_raw();
    let owners = [own, identity.map_or(own, |identity| identity.uid.as_raw())];
    let is_kept = former.iter().any(|(id, _)| id.is_at(path));
    if let Some(inherited) = AdminSocket::inherit(former, path, access, &owners) {
        return Ok(inherited);
    }
    if !runs && !is_kept {
        return AdminSocket::bind(path, access, identity);
    }
    let socket = AdminSocket::bind_beside(path, access, identity)?;
    if !runs {
        socket.place().take_place()?;
    }
    Ok(socket)
}

/// The admin socket of a socket unit, or one in its place if its file is gone. Which mode that had is not known any more.
fn units_admin(
    listener: UnixListener,
    former: Vec<Former>,
    group: Option<Gid>,
    identity: Option<&Identity>,
    runs: bool,
) -> Result<AdminSocket, SocketError> {
    match AdminSocket::path_of(&listener) {
        Some(path) if !path.exists() || former.iter().any(|(id, _)| id.is_at(&path)) => {
            let access = group.map_or(Access::Owner, Access::Group);
            own_admin(former, &path, access, identity, runs).map(AdminSocket::instead_of_unit)
        }
        _ => AdminSocket::adopt(listener),
    }
}

/// Fails if this process, by the rights that it has now, cannot give its files the names of those of the daemon that runs.
fn can_replace(background: &Background, run_dir: &Path, admin: Option<&AdminSocket>) -> Outcome {
    let cannot = |path: &Path, error: &io::Error| predecessor::cannot_replace(&format!("{}: {error}", path.display()));
    background.can_replace().map_err(|error| cannot(run_dir, &error))?;
    let place = admin.map(AdminSocket::place);
    place.map_or(Ok(()), |place| place.can_take_place().map_err(|error| cannot(place.path(), &error)))
}

/// The admin socket; without it the credentials are served all the same.
fn usable(bound: Result<AdminSocket, SocketError>) -> Option<AdminSocket> {
    let told = |error| tracing::error!("no admin socket, so no `alppaca status`, `credentials` and `exec`: {error}");
    let socket = bound.map_err(told).ok()?;
    if socket.is_instead_of_unit() {
        tracing::warn!(
            "{}: the socket unit's file was removed, so the daemon has made its own, for {}; for the unit's, at which commands start \
             the daemon again: systemctl {}restart alppaca.socket alppaca.service",
            socket.path().display(),
            if socket.is_restricted() { "the members of `admin_group`" } else { "root and its own account only" },
            if geteuid().is_root() { "" } else { "--user " }
        );
    }
    if environment::has_service_manager() {
        // It keeps the socket, at which clients wait for the next daemon.
        socket.place().set_stays(true);
    }
    Some(socket)
}

/// What shows notifications at the desktop of the user whose daemon this is.
fn notifier(becomes_another: bool, host_env: &HostEnv) -> Result<Program, Failure> {
    let session = environment::desktop_session().filter(|_| !becomes_another);
    let session = session.ok_or_else(|| {
        Failure::usage(
            "sign_in_notification: this daemon has no desktop at which it could show anything, as it is not started in the \
             session of a user. Leave the setting out, or run the daemon as the user: systemctl --user enable --now alppaca",
        )
    })?;
    Ok(Program {
        command: ["notify-send", "--app-name=alppaca", "--icon=dialog-password", "--"].map(str::to_owned).to_vec(),
        launcher: host_env.launcher.clone(),
        timeout: NOTIFICATION,
        environment: host_env.variables(host_env.home.as_deref(), &session),
        facts: Vec::new(),
    })
}

/// What the service manager wants (`WatchdogSec=`).
fn watchdog() -> Option<Watchdog> {
    let limit = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero())?;
    Some(Watchdog { limit, feed: Box::new(|| notify(&[NotifyState::Watchdog])) })
}

/// An account that the daemon has become may be that of other programs, too, such as those of its sources.
fn replaceable_by(becomes_another: bool) -> ReplaceableBy {
    if becomes_another { ReplaceableBy::Root } else { ReplaceableBy::RootAnd(geteuid().as_raw()) }
}

/// A sentence if the daemon keeps all rights of root without having been told to.
fn stays_root_unasked(config: &config::Config) -> Option<String> {
    let root = config.account.user.is_none() && geteuid().is_root();
    root.then(|| {
        format!(
            "the daemon runs as root with all privileges: there is no account {USUAL_ACCOUNT} on this host that it could become. \
             Make \
             one (`useradd --system --user-group --shell /usr/sbin/nologin {USUAL_ACCOUNT}`), set `user`, or say that it is meant: \
             `user: root`"
        )
    })
}

fn announce(config: &config::Config, Sockets { places, metrics, .. }: &Sockets) {
    let (version, serves) = (env!("CARGO_PKG_VERSION"), sockets::describe(places));
    let serves =
        serves.map_or_else(|| "is waiting for its addresses".to_owned(), |places| format!("serves at {places}"));
    let upstreams: Vec<String> = config.upstreams.sources.iter().map(|source| source.kind.summary()).collect();
    notice!("alppaca {version} {serves}; upstream {}", upstreams.join(", "));
    if let Some(address) = metrics.as_ref().and_then(|place| place.address().ok()) {
        notice!("metrics at {address}");
    }
}

/// Shows it at the terminal, unless the log does that, and to the starter of a background process, which would
/// wait for a readiness that may not come. That process leaves the terminal before its log says so.
fn tell_waiting(waiting: &[String], background: Option<&Background>, logged_on_stderr: bool) {
    for problem in waiting.iter().filter(|_| background.is_some() || !logged_on_stderr) {
        alppaca_command::eprintln!("{problem}\nalppaca takes the address as soon as it is free.");
    }
    if let Some(background) = background.filter(|_| !waiting.is_empty())
        && let Err(error) = background.waits()
    {
        tracing::error!("cannot report that the daemon is waiting: {error}");
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::ExitStatusExt, process::Command, thread};

    use super::*;
    use crate::clock::SystemClock;

    const FILE: &str = "ALPPACA_TEST_PANIC";

    /// Runs itself again, as the process that panics.
    #[test]
    #[allow(clippy::disallowed_methods, reason = "the environment says which of the two this is")]
    fn a_panic_in_any_thread_is_logged_and_ends_the_process() {
        let Some(file) = std::env::var_os(FILE) else {
            let directory = tempfile::tempdir().expect("a directory");
            let log = directory.path().join("log");
            let mut command = Command::new(std::env::current_exe().expect("a test"));
            let name = "cli::run::tests::a_panic_in_any_thread_is_logged_and_ends_the_process";
            let output = command.args(["--exact", name]).env(FILE, &log).output().expect("it runs");
            assert_eq!(output.status.signal(), Some(6), "{output:?}");
            let log = std::fs::read_to_string(log).expect("a log");
            assert!(log.contains("because of a bug in it") && log.contains("nobody joins this thread"), "{log}");
            return;
        };
        let text = format!(
            "ims_host: localhost\nlogging_handler: {{module: logging, class: FileHandler, args: ['{}']}}\n",
            file.display()
        );
        let config = config::parse(vec![("test".into(), text)]).expect("legal").config;
        let log = logging::init(&config.logging, SystemClock::shared(), &environment::for_logging()).expect("a log");
        end_at_panics(log.flusher());
        let thread = thread::Builder::new().name("names".into()).spawn(|| panic!("nobody joins this thread"));
        drop(thread.expect("a thread"));
        thread::park();
    }
}
