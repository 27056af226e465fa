//! `alppaca-ims run`: the server in the foreground.

use std::{io, net::TcpListener, path::PathBuf, sync::Arc};

use alppaca_command::{
    Failure, Outcome,
    confined::Confined,
    environment, fingerprint,
    service_manager::{end_at_panics, notify},
};
use sd_notify::NotifyState;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinHandle,
};

use super::{
    Config, USUAL_ACCOUNT,
    confine::{self, changeable},
    files,
};
use crate::{
    clock::{Clock, SystemClock},
    confinement::{Confinement, Refusal, State},
    https::Certificate,
    identity::Opening,
    logging::{self, AuditLog, LogGuard},
    page, sandbox,
    server::{Aside, Background, Bound, Current, Running, Server, Shown, Tls, bind},
    site::{self, Limits, Loaded, Site},
    source::HostEnv,
    trust::Trust,
};

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Stops on SIGTERM and SIGINT, after the requests at hand are answered. Reads the configuration again
on SIGHUP; certificates, revocation lists and other files of identity methods once a minute.

Examples:
  alppaca-ims run                   with the *.yaml in /etc/alppaca-ims
  alppaca-ims run -c ./ims.yaml     with one file
  alppaca-ims check -c ./ims.yaml   show only its errors")]
pub(super) struct Args {
    #[command(flatten)]
    config: Config,
}

/// Runs the server until it is told to stop.
pub(super) fn run(args: &Args) -> Outcome {
    let path = std::path::absolute(&args.config.path).map_err(Failure::usage)?;
    let loaded = site::load(&path).map_err(Failure::usage)?;
    // What needs root comes first; what may fail comes before anything is changed.
    let identity = sandbox::resolve(&loaded.site.account, USUAL_ACCOUNT).map_err(Failure::usage)?;
    let trust = Trust::of(identity.as_ref());
    let host_env = environment::host_env_as(identity.as_ref());
    let faults = files::faults(&path, &loaded, &host_env, &trust);
    if let Some(refusal) = faults.refusal() {
        return Err(Failure::usage(refusal));
    }
    let site = &loaded.site;
    let group = site.socket_group.as_deref().map(sandbox::group).transpose();
    let group = group.map_err(|error| Failure::usage(format!("socket_{error}")))?;
    let bound: Vec<Bound> =
        site.listen.iter().map(|listen| bind(listen, group)).collect::<Result<_, _>>().map_err(Failure::runtime)?;
    let metrics = site.metrics.map(TcpListener::bind).transpose();
    let metrics = metrics.map_err(|error| Failure::runtime(format!("metrics_listen: {error}")))?;
    let status = site.status_page.as_ref();
    let page = status.iter().flat_map(|status| &status.page.listen).map(|listen| bind(listen, group));
    let page = page.collect::<Result<_, _>>().map_err(|error| Failure::runtime(format!("status_page: {error}")))?;
    let hosts = status.map(|status| status.page.hosts.clone()).unwrap_or_default();
    let shown = Aside { metrics, page, hosts };
    if let Some(identity) = &identity {
        sandbox::become_identity(identity).map_err(Failure::runtime)?;
    }
    sandbox::harden().map_err(Failure::runtime)?;
    site.logging.make_file();
    let confined =
        Confined::new(confine::confinement(&path, &loaded, &host_env), || confine::programs(site, &host_env))?;
    // As the account that will reopen the file after a rotation.
    let log =
        logging::init(&site.logging, SystemClock::shared(), &environment::for_logging()).map_err(Failure::runtime)?;
    end_at_panics(log.flusher());
    let unasked = identity.is_none() && site.account.user.is_none() && rustix::process::geteuid().is_root();
    let root = unasked.then(|| {
        format!(
            "the server runs as root with all privileges: there is no account {USUAL_ACCOUNT} on this host that it could \
             become. Make one, set `user`, or say that it is meant: `user: root`"
        )
    });
    for warning in loaded.warnings.iter().map(ToString::to_string).chain(faults.warnings).chain(root) {
        tracing::warn!("{warning}");
    }
    let (confinement, state) = confined.begin(&log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::runtime)?;
    let ended =
        runtime.block_on(serve(loaded, Reloading { path, host_env, trust, confinement, state }, bound, shown, &log));
    notice!("stopped");
    log.flush();
    // A file system that does not answer may hold a thread.
    runtime.shutdown_timeout(std::time::Duration::from_millis(100));
    ended
}

/// What a reload needs.
struct Reloading {
    path: PathBuf,
    host_env: HostEnv,
    trust: Trust,
    confinement: Confinement,
    state: State,
}

async fn serve(loaded: Loaded, reloading: Reloading, bound: Vec<Bound>, shown: Aside, log: &LogGuard) -> Outcome {
    let site = &loaded.site;
    let ready = Ready::open(site, &reloading.host_env, &bound)?;
    // Before it is said that the server is there: a SIGHUP would end it.
    let mut signals = Signals::new().map_err(Failure::runtime)?;
    announce(&bound, &shown);
    let (server, tls) = (Arc::clone(&ready.server), ready.tls.clone());
    server.show(reloading.state.clone());
    let started = ready.start(site, bound, shown);
    notify(&[NotifyState::Ready]);
    while signals.is_hangup().await {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => notify(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!("cannot notify the service manager: {error}"),
        }
        match reload(&reloading, site, &server, tls.as_deref(), log) {
            Ok(hash) => {
                server.shown().in_force.replaced(hash, SystemClock.now().wall);
                notice!("the configuration was read again");
            }
            Err(refusal) => {
                server.shown().in_force.kept();
                tracing::error!("{refusal}");
            }
        }
        notify(&[NotifyState::Ready]);
    }
    notify(&[NotifyState::Stopping]);
    started.stop().await
}

/// A server that is ready to be started.
pub(super) struct Ready {
    server: Arc<Server>,
    tls: Option<Arc<Tls>>,
    background: Vec<Background>,
}

impl Ready {
    /// Opens all that `site` names. `bound`: where the server listens.
    pub(super) fn open(site: &Site, host_env: &HostEnv, bound: &[Bound]) -> Result<Self, Failure> {
        let open =
            |target| AuditLog::open(target, site.audit_required, SystemClock::shared(), &environment::for_logging());
        let audit = site.audit_log.as_ref().map(open).transpose();
        let audit = audit.map_err(|error| Failure::runtime(format!("audit_log: {error}")))?;
        let current = Current::open(site, &Opening::system(), host_env, None).map_err(Failure::usage)?;
        let tls = match site.tls.clone() {
            Some(files) => {
                let certificate = Certificate::load(files).map_err(Failure::usage)?;
                Some(Arc::new(Tls::new(Arc::new(certificate), current.authorities()).map_err(Failure::usage)?))
            }
            None => None,
        };
        let listeners: Vec<_> = bound.iter().filter_map(Bound::tcp_address).collect();
        let (sts, background) = site.sts.open(host_env, &listeners).map_err(Failure::usage)?;
        let console = site.console.open(host_env).map_err(Failure::usage)?;
        let certificate = tls.as_ref().map(|tls: &Arc<Tls>| Arc::clone(tls.certificate()));
        let shown = Shown::new(SystemClock.now().wall, hash(site), certificate);
        let server = Server::new(current, sts, console, audit, shown, SystemClock::shared());
        Ok(Self { server, tls, background: vec![background] })
    }

    /// Starts it.
    pub(super) fn start(self, site: &Site, bound: Vec<Bound>, shown: Aside) -> Started {
        let (stop, stopped) = watch::channel(false);
        let Self { server, tls, background } = self;
        let (limits, balancers) = (limits(site), site.balancers.clone());
        if let Some(status) = &site.status_page {
            server.remember(status.callers);
        }
        let running = Running { server, bound, tls, limits, balancers, shown, background };
        Started { stop, running: tokio::spawn(running.run(stopped)) }
    }
}

/// As many connections as may be, and have room below the limit of open files, which is raised as far as it goes.
fn limits(site: &Site) -> Limits {
    let files = usize::try_from(sandbox::raise_file_limit()).unwrap_or(usize::MAX);
    let limits = site.limits.within(files);
    if limits != site.limits {
        tracing::warn!(
            "at most {files} files may be open, so there is room for {} connections, {} of one address: raise the limit \
             (LimitNOFILE of systemd), or lower max_connections",
            limits.connections,
            limits.per_address
        );
    }
    limits
}

/// A server that runs.
pub(super) struct Started {
    stop: watch::Sender<bool>,
    running: JoinHandle<io::Result<()>>,
}

impl Started {
    /// Stops it, after the requests at hand are answered.
    pub(super) async fn stop(self) -> Outcome {
        // Nothing listens any more if this fails.
        let _all_gone = self.stop.send(true);
        match self.running.await {
            Ok(ended) => ended.map_err(Failure::runtime),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}

/// The digest of a configuration. `Debug` shows no secrets.
fn hash(site: &Site) -> String {
    fingerprint(&format!("{site:?}"))
}

/// Reads the configuration again: its digest. What only a restart changes stays as it is.
fn reload(
    reloading: &Reloading,
    started: &Site,
    server: &Server,
    tls: Option<&Tls>,
    log: &LogGuard,
) -> Result<String, Refusal> {
    let loaded = site::load(&reloading.path).map_err(|errors| errors.to_string())?;
    let host_env = &reloading.host_env;
    let faults = files::faults(&reloading.path, &loaded, host_env, &reloading.trust);
    if let Some(refusal) = faults.refusal() {
        return Err(refusal.into());
    }
    let site = &loaded.site;
    let lacking = reloading.confinement.lacks(&changeable(&reloading.path, &loaded, host_env));
    if !lacking.is_empty() {
        return Err(Refusal::Confined(lacking));
    }
    let before = server.current();
    let current = Current::open(site, &Opening::system(), host_env, Some(&before));
    let current = current.map_err(|error| error.to_string())?;
    let console = site.console.open(host_env)?;
    // What may fail comes first.
    if let Some(tls) = tls {
        tls.certificate().reload().map_err(|error| error.to_string())?;
        tls.replace(current.authorities()).map_err(|error| error.to_string())?;
    }
    server.replace(current, console);
    log.level().set(site.logging.level);
    let kept = started.restart_keys(site);
    if !kept.is_empty() {
        tracing::warn!("restart required for: {}; everything else is in force now", kept.join(", "));
    }
    for warning in loaded.warnings.iter().map(ToString::to_string).chain(faults.warnings) {
        tracing::warn!("{warning}");
    }
    Ok(if kept.is_empty() { hash(site) } else { fingerprint(&format!("{site:?}, but {kept:?} of {started:?}")) })
}

fn announce(bound: &[Bound], shown: &Aside) {
    let places = bound.iter().filter_map(|bound| bound.address().ok());
    let places: Vec<String> = places.map(|place| place.to_string()).collect();
    notice!("alppaca-ims {} serves at {}", env!("CARGO_PKG_VERSION"), places.join(", "));
    if let Some(address) = shown.metrics.as_ref().and_then(|listener| listener.local_addr().ok()) {
        notice!("metrics at {address}");
    }
    let page: Vec<_> = shown.page.iter().filter_map(|bound| bound.address().ok()).collect();
    for place in page::urls(&page) {
        notice!("status page at {place}");
    }
}

/// The signals that a server obeys.
pub(super) struct Signals {
    hangup: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Whether the next one is to reload; otherwise the server has to stop.
    pub(super) async fn is_hangup(&mut self) -> bool {
        tokio::select! {
            _hangup = self.hangup.recv() => true,
            _terminate = self.terminate.recv() => false,
            _interrupt = self.interrupt.recv() => false,
        }
    }
}
