//! The daemon's life: start the refresher and the server, tell when ready, stop on a signal.

mod admin;
mod carryover;
mod containers;
mod end;
mod exec;
mod faces;
mod files;
mod host_changes;
mod keeper;
mod needs;
mod notification;
mod policy_engine;
mod refreshing;
mod reload;
mod replacement;
mod status;
mod succession;
mod token_key;
mod watchdog;
mod written_files;

use std::{
    cell::Cell,
    io, mem,
    path::PathBuf,
    pin::pin,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use admin::AdminParts;
pub use admin::{AdminSockets, METRICS, PAGE, PageSockets};
use alppaca_command::fingerprint;
use arc_swap::ArcSwapOption;
use containers::{ContainerDeps, Listener, Listening};
use end::{End, end, hangups, hung_up, stop_signal};
pub use exec::ExecSockets;
use faces::Lasting;
pub use faces::addresses as face_addresses;
pub use files::{faults as file_faults, wrong_contents};
pub use keeper::{ADMIN, admin_file};
pub use needs::{Fixed as FixedNeeds, all as needs};
pub use policy_engine::{Identified, unknown_callers};
use refreshing::Refreshing;
use reload::Running;
pub use reload::{Reloading, ignore_sighup};
pub use replacement::ReplaceableBy;
pub use status::{Progress, summary};
pub use succession::{KeepSockets, Turn};
use tokio::{
    runtime::{Builder, Runtime},
    sync::{oneshot, watch},
    task::JoinHandle,
};
pub use watchdog::Watchdog;
use written_files::WrittenFiles;
pub use written_files::{programs as programs_after_changes, unknown_readers};

use crate::{
    admin::Conversations,
    caller::Subordinates,
    clock::SharedClock,
    config::Config,
    faces::OpenError,
    http::{Face, OpenSockets, Place, Server, ServerError, drive},
    logging::AuditLog,
    open_metrics::InForce,
    plan::Fetching,
    policy::PolicyEngine,
    refresh::{Refresher, RoleRequests},
    sign_in::SignIns,
    source::process::Program,
    store::Store,
};

/// More look-ups at once than the sources of any configuration make, so that a dead name server delays no other source.
const BLOCKED: usize = 256;

/// After so many tasks the kernel is asked what else is ready. With Tokio's 61, one client's requests delay those of others.
const EVENT_INTERVAL: u32 = 16;

/// Why the daemon does not run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// A thread or a runtime could not be started.
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
    /// The server could not be started.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A face cannot be opened.
    #[error(transparent)]
    Face(#[from] OpenError),
    /// The system has no randomness for the IMDS tokens.
    #[error("the system provides no random numbers")]
    Randomness,
    /// The daemon that this one was to replace does not leave its place.
    #[error("{0}")]
    NotReplaced(String),
}

/// A daemon that is about to run.
pub struct Daemon {
    config: Config,
    refresher: Refresher,
    clock: SharedClock,
    store: Arc<Store>,
    admin: AdminSockets,
    exec: ExecSockets,
    audit: Option<AuditLog>,
    reloading: Option<Reloading>,
    watchdog: Option<Watchdog>,
    sign_ins: SignIns,
    keep_sockets: Option<KeepSockets>,
    replaceable: Option<ReplaceableBy>,
    turn: Option<Turn>,
    notifier: Option<Program>,
    runtime_directories: Vec<PathBuf>,
    refreshing: Refreshing,
}

impl Daemon {
    /// A daemon that fetches what `fetching` says and behaves as `config` says.
    /// `sign_ins` has the sessions in it that `fetching` names.
    pub fn new(config: Config, fetching: Fetching, clock: SharedClock, sign_ins: SignIns) -> Self {
        let store = Store::shared();
        let grace = config.refresh.withdrawal_grace;
        let refresher = Refresher::new(fetching.graph, Arc::clone(&store), Arc::clone(&clock), grace)
            .with_factory(fetching.factory)
            .made_from(config.render().into());
        refresher.refresh_stats().use_certificates(fetching.certificates);
        sign_ins.show(fetching.sessions);
        Self {
            config,
            refresher,
            clock,
            store,
            admin: AdminSockets::default(),
            exec: ExecSockets::default(),
            audit: None,
            reloading: None,
            watchdog: None,
            sign_ins,
            keep_sockets: None,
            replaceable: None,
            turn: None,
            notifier: None,
            runtime_directories: Vec::new(),
            refreshing: Refreshing::default(),
        }
    }

    /// With sockets for programs that `exec` starts, which it would else bind itself.
    #[must_use]
    pub fn with_exec_sockets(self, exec: ExecSockets) -> Self {
        Self { exec, ..self }
    }

    /// With a record of who got what.
    #[must_use]
    pub fn with_audit(self, audit: Option<AuditLog>) -> Self {
        Self { audit, ..self }
    }

    /// One that reads its configuration again at each SIGHUP.
    #[must_use]
    pub fn with_reloading(self, reloading: Reloading) -> Self {
        Self { reloading: Some(reloading), ..self }
    }

    /// One whose life a service manager watches.
    #[must_use]
    pub fn with_watchdog(self, watchdog: Option<Watchdog>) -> Self {
        Self { watchdog, ..self }
    }

    /// One that tells its user by this program, which gets a title and a text, when a sign-in has ended.
    #[must_use]
    pub fn with_notifier(self, notifier: Option<Program>) -> Self {
        Self { notifier, ..self }
    }

    /// One for which the service manager has made these directories: it removes what is in them with the service, and keeps it
    /// while that is started again.
    #[must_use]
    pub fn with_runtime_directories(self, directories: Vec<PathBuf>) -> Self {
        Self { runtime_directories: directories, ..self }
    }

    /// What it holds.
    pub fn store(&self) -> Arc<Store> {
        Arc::clone(&self.store)
    }

    /// The way to ask for roles that are made on demand.
    pub fn role_requests(&self) -> RoleRequests {
        self.refresher.requests()
    }

    /// Serves at `places`, each with its face, until SIGTERM or SIGINT. `progress` is told what happens meanwhile.
    ///
    /// Requests are served by the calling thread, upstreams are asked by a thread of their own: a
    /// TLS handshake or a thousand documents to parse delay no answer.
    pub fn run(
        mut self,
        mut places: Vec<(Place, &'static dyn Face)>,
        progress: impl Progress,
    ) -> Result<(), DaemonError> {
        let (lasting, built, kept) = Lasting::new(&self.config, self.role_requests(), (&self.store, &self.clock))?;
        let (subordinates, access_log) = (Arc::new(Subordinates::read()), self.config.logging.access_log);
        let server =
            Server::new(built.faces, self.clock.clone(), self.config.limits, access_log, Arc::clone(&subordinates));
        // Before any other thread waits for signals: it would take one that nobody listens for yet.
        let main = runtime()?;
        let hangup = hangups(&main)?;
        let (requests, refresh_stats) = (self.role_requests(), self.refresher.refresh_stats());
        let (replacer, (stop, stopped)) = (self.refresher.replacer(), watch::channel(()));
        let (refresher, beside) = self.refreshing.start(self.refresher, stopped, self.sign_ins.clone())?;
        beside.spawn(host_changes::follow(requests.clone(), host_changes::Addresses::of(&places)));
        beside.spawn(notification::follow(self.sign_ins.clone(), self.notifier));
        let deps =
            ContainerDeps { requests: requests.clone(), clock: Arc::clone(&self.clock), lingering: beside.clone() };
        let listener = self.config.containers.as_ref().map(|config| containers::build(config, &deps)).transpose()?;
        let container_policy = listener.as_ref().map(Listener::container_policy);
        let (engine, audit) = policy_engine::build(&self.config, &self.clock, self.audit.take(), container_policy)?;
        let files = WrittenFiles::new(&self.config, self.reloading.as_ref(), &self.store, &self.clock, &beside, &audit);
        let server = server.guarded_by(Arc::<PolicyEngine>::clone(&engine), Arc::clone(&audit));
        let containers = listener.map(Listener::start).transpose()?;
        let awaits = self.turn.is_some() && faces::awaits_roles(&self.config);
        let wait = awaits.then(|| mem::take(&mut self.config.ready_wait));
        let prepared = prepared(&self.store, &self.clock, wait, containers.as_ref());
        let succession = self.turn.take().map(|turn| turn.take(&main, prepared, &self.sign_ins)).transpose()?;
        let (store, wanted) = (Arc::clone(&self.store), places.len());
        let region = Arc::new(ArcSwapOption::from_pointee(faces::region(&self.config)));
        let (socket, users) = (self.admin.socket.as_ref(), Arc::clone(&subordinates));
        let (leases, exec) = exec::open(socket, self.exec, lasting.tokens.clone(), &mut places, users)?;
        let (open, looks, ready) = (OpenSockets::default(), watch::Sender::new(()), Arc::<AtomicBool>::default());
        let parts = AdminParts {
            store: Arc::clone(&self.store),
            refresh_stats,
            counters: server.counters(),
            lasting: lasting.clone(),
            in_force: Arc::new(InForce::new(fingerprint(&self.config.render()), self.clock.now().wall)),
            gatekeeper: server.gatekeeper(),
            auditor: Arc::clone(&audit),
            leases,
            selections: admin::selections(self.admin.socket.as_ref(), engine.choices(), &subordinates, &requests)?,
            subordinates,
            exec,
            region: Arc::clone(&region),
            kept,
            ready: Arc::clone(&ready),
            sign_ins: self.sign_ins.clone(),
            looks: looks.clone(),
            open: open.clone(),
            conversations: Conversations::default(),
            replaceable: self.replaceable.map(|by| (requests.clone(), by)),
            files: files.reports(),
        };
        let (turning, conversations, ended) = (beside.clone(), parts.conversations.clone(), Cell::new(None));
        let serves = files.begin_when(&beside);
        let mut running = Running {
            looks,
            store: self.store.clone(),
            clock: Arc::clone(&self.clock),
            lasting,
            current: server.current(),
            replacer,
            refresh_stats: Arc::clone(&parts.refresh_stats),
            in_force: Arc::clone(&parts.in_force),
            beside,
            region,
            under_way: Vec::new(),
            engine,
            deps,
            containers,
            sign_ins: self.sign_ins.clone(),
            files: files.clone(),
        };
        running.replace_background(built.background);
        let served = driven(&main, async {
            let stop = stop_signal()?;
            let (reload, hangup) = reload::begin(self.reloading, hangup, running);
            let awaited = faces::awaits_roles(&self.config).then_some(self.config.ready_wait);
            let listening = status::Listening { open: open.follow(), wanted, ready, looks: parts.looks.subscribe() };
            let (refuse, refused) = oneshot::channel();
            let progress = status::Telling { progress, succession, refuse, serves };
            let progress = tokio::spawn(status::follow(store, Arc::clone(&self.clock), awaited, listening, progress));
            let watched = self.watchdog.map(|watchdog| tokio::spawn(watchdog::feed(watchdog, turning.clone())));
            let (mut admin, replaced) = admin::start(self.admin, parts, self.clock, &turning, &places);
            let kept = self.keep_sockets.map(|keep| tokio::spawn(succession::keep(open.clone(), keep)));
            let stop = async {
                let end = end(stop, hung_up(hangup), replaced, refused).await;
                files.end(&end, &self.runtime_directories).await;
                ended.set(Some(end));
                // This removes its socket, unless it is another process's by now.
                admin.shutdown().await;
                conversations.end();
                self.refreshing.end(&self.sign_ins).await;
                // Before the sockets are closed: what is kept stays kept.
                kept.iter().for_each(JoinHandle::abort);
            };
            let served = server.run(places, open, stop).await;
            conversations.ended().await;
            // The first has the pid file, to the end.
            [Some(progress), watched, reload].iter().flatten().for_each(JoinHandle::abort);
            served?;
            ended.into_inner().map_or(Ok(()), End::result)
        });
        drop((main, stop));
        refreshing::join(refresher);
        served
    }
}

/// What comes of `serving`.
fn driven(runtime: &Runtime, serving: impl Future<Output = Result<(), DaemonError>>) -> Result<(), DaemonError> {
    let mut served = Ok(());
    drive(runtime, pin!(async { served = serving.await }));
    served
}

/// Ready when there are credentials, after `wait` at the latest, and when it is known which containers run.
async fn prepared(store: &Store, clock: &SharedClock, wait: Option<Duration>, containers: Option<&Listening>) {
    if let Some(wait) = wait {
        status::first_credentials(store, clock, wait).await;
    }
    if let Some(containers) = containers {
        containers.settled().await;
    }
}

/// Look-ups of names block a thread each, for half a minute where no name server answers. Threads are made when they are
/// needed, and end soon after.
fn runtime() -> io::Result<Runtime> {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().max_blocking_threads(BLOCKED).thread_stack_size(256 * 1024);
    builder.event_interval(EVENT_INTERVAL).build()
}
