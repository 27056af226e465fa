//! The configuration read anew while the daemon runs: all of it is checked before anything is changed.

use std::{io, path::PathBuf, sync::Arc};

use alppaca_command::fingerprint;
use arc_swap::ArcSwapOption;
use tokio::{
    runtime::Handle,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::{AbortHandle, JoinHandle},
};

use super::{
    carryover,
    containers::{self, ContainerDeps, Listener, Listening},
    faces::{self, Background, Built, Lasting},
    file_faults, needs, policy_engine,
    written_files::WrittenFiles,
};
use crate::plan::{self, Fetching};
use crate::source::HostEnv;
use crate::{
    clock::SharedClock,
    config::{self, Config, Containers, Loaded},
    confinement::{Confinement, Refusal},
    credentials::RoleName,
    http::CurrentFaces,
    logging::LevelSwitch,
    open_metrics::InForce,
    policy::PolicyEngine,
    refresh::{Carryover, Replacement, Replacer},
    refresh_stats::RefreshStats,
    sign_in::SignIns,
    store::Store,
    trust::Trust,
};

/// What is needed to read the configuration anew.
pub struct Reloading {
    /// Where it is.
    pub path: PathBuf,
    /// What was read when the daemon started.
    pub started: Loaded,
    /// What the sources have to know of the host.
    pub host_env: HostEnv,
    /// Who may change the files that are read.
    pub trust: Trust,
    /// To what the daemon was confined when it started.
    pub confinement: Confinement,
    /// The level of the log.
    pub level: LevelSwitch,
    /// Told when a reload begins (`true`) and when it is over, whether or not anything changed.
    pub notice: Box<dyn FnMut(bool) + Send>,
}

/// The parts of a running daemon that can be told something new.
pub(super) struct Running {
    pub(super) store: Arc<Store>,
    pub(super) clock: SharedClock,
    pub(super) lasting: Lasting,
    pub(super) current: CurrentFaces,
    /// Has it be looked whether the files in the run directory are there.
    pub(super) looks: watch::Sender<()>,
    pub(super) replacer: Replacer,
    pub(super) refresh_stats: Arc<RefreshStats>,
    /// The configuration, for the metrics.
    pub(super) in_force: Arc<InForce>,
    /// What is told to programs beside credentials.
    pub(super) region: Arc<ArcSwapOption<String>>,
    /// Where work for the faces is done, and what is under way there.
    pub(super) beside: Handle,
    pub(super) under_way: Vec<AbortHandle>,
    pub(super) engine: Arc<PolicyEngine>,
    pub(super) deps: ContainerDeps,
    /// Who listens to the runtimes of containers, if they are to have roles.
    pub(super) containers: Option<Listening>,
    /// Who has signed in.
    pub(super) sign_ins: SignIns,
    /// The files with credentials.
    pub(super) files: WrittenFiles,
}

/// What to read, and how.
struct Reading {
    path: PathBuf,
    host_env: HostEnv,
    trust: Trust,
    started: Arc<Loaded>,
    confinement: Arc<Confinement>,
    /// What is in force for containers.
    containers: Option<Containers>,
}

/// What was read, and what was made of it. Nothing of it is in force yet.
struct Prepared {
    loaded: Loaded,
    /// The keys that differ and that only a restart changes. The configuration has kept what was before.
    kept: Vec<String>,
    open_secrets: Vec<String>,
    fetching: Fetching,
    built: Built,
    containers: Runtimes,
}

/// Who listens to the runtimes of containers from now on.
enum Runtimes {
    AsBefore,
    Another(Option<Listener>),
}

/// From now on SIGHUP does not end the process. One that comes before the daemon runs is heard when it does.
pub fn ignore_sighup() -> io::Result<()> {
    // What tokio has installed once stays, whoever listens.
    super::runtime()?.block_on(async { signal(SignalKind::hangup()).map(drop) })
}

/// Begins to reload, if that is what SIGHUP is for; otherwise it stays what it was.
pub(super) fn begin(
    reloading: Option<Reloading>,
    hangup: Signal,
    running: Running,
) -> (Option<JoinHandle<()>>, Option<Signal>) {
    match reloading {
        Some(reloading) => (Some(tokio::spawn(reload_on_sighup(hangup, reloading, running))), None),
        None => (None, Some(hangup)),
    }
}

/// Reads the configuration anew at each SIGHUP, for ever.
async fn reload_on_sighup(mut hangup: Signal, mut reloading: Reloading, mut running: Running) {
    let started = Arc::new(reloading.started);
    let confinement = Arc::new(reloading.confinement);
    let mut in_force = started.config.clone();
    while hangup.recv().await.is_some() {
        (reloading.notice)(true);
        running.looks.send_replace(());
        let reading = Reading {
            path: reloading.path.clone(),
            host_env: reloading.host_env.clone(),
            trust: reloading.trust.clone(),
            started: Arc::clone(&started),
            confinement: Arc::clone(&confinement),
            containers: in_force.containers.clone(),
        };
        match running.prepare(reading).await {
            Ok(prepared) => in_force = Box::pin(running.take_over(in_force, prepared, &reloading.level)).await,
            Err(refusal) => {
                running.in_force.kept();
                tracing::error!("{refusal}");
            }
        }
        (reloading.notice)(false);
    }
}

impl Running {
    /// Reads files, validates what is in them and makes everything new that may fail, on a thread of its own.
    async fn prepare(&self, reading: Reading) -> Result<Prepared, Refusal> {
        let Reading { path, host_env, trust, started, confinement, containers: before } = reading;
        let deps = self.deps.clone();
        let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
        let (lasting, run_dir) = (self.lasting.clone(), self.files.run_dir());
        let reading = tokio::task::spawn_blocking(move || {
            let mut loaded = config::load(&path).map_err(|errors| errors.to_string())?;
            let faults = file_faults(&path, &loaded, &host_env, &trust);
            if let Some(refusal) = faults.refusal() {
                return Err(Refusal::Wrong(refusal));
            }
            let kept = loaded.keep_until_restart(&started);
            let lacking = confinement.lacks(&needs::changeable(&path, &loaded, &host_env, &run_dir));
            if !lacking.is_empty() {
                return Err(Refusal::Confined(lacking));
            }
            let fetching = plan::fetching(&loaded.config, host_env).map_err(|error| error.to_string())?;
            let built = faces::build(&loaded.config, &store, &clock, &lasting).map_err(|error| error.to_string())?;
            let containers = match &loaded.config.containers {
                same if *same == before => Runtimes::AsBefore,
                None => Runtimes::Another(None),
                Some(section) => {
                    let listener = containers::build(section, &deps).map_err(|error| error.to_string())?;
                    listener.check()?;
                    Runtimes::Another(Some(listener))
                }
            };
            Ok(Prepared { loaded, kept, open_secrets: faults.warnings, fetching, built, containers })
        });
        reading.await.unwrap_or_else(|error| Err(Refusal::Wrong(error.to_string())))
    }

    /// Puts it in force in the place of `old`.
    async fn take_over(&mut self, old: Config, prepared: Prepared, level: &LevelSwitch) -> Config {
        let Prepared { loaded, kept, open_secrets, fetching, built, containers } = prepared;
        let Built { faces, background, tokens } = built;
        let Loaded { config: mut new, warnings, .. } = loaded;
        for warning in warnings.iter().map(ToString::to_string).chain(open_secrets) {
            tracing::warn!("{warning}");
        }
        if !kept.is_empty() {
            tracing::warn!("restart required for: {}; everything else is in force now", kept.join(", "));
        }
        // First what is allowed: a role that is new must not be seen under the old rules.
        policy_engine::replace(&self.engine, &new).await;
        let carryovers = carryover::of_roles(&old.upstreams, &new.upstreams);
        let lister = carryover::of_listed(&old.upstreams, &new.upstreams);
        let others = carryover::of_others(&old.upstreams, &new.upstreams);
        // Which of them have to do with what is different nobody has noted.
        let on_demand = if old.upstreams == new.upstreams { Carryover::Unchanged } else { Carryover::Refetch };
        let replacement = Replacement {
            graph: fetching.graph,
            configuration: new.render().into(),
            factory: Some(fetching.factory),
            grace: new.refresh.withdrawal_grace,
            carryover: Box::new(move |id| carryovers.get(id).copied().unwrap_or(others)),
            on_demand,
            lister,
        };
        let source = |config: &Config| config.containers.as_ref().map(|section| section.source.clone());
        if let Runtimes::Another(Some(listener)) = &containers
            && source(&old) != source(&new)
        {
            // What they hold is about to end with its source: they wait for the new ones instead of being refused.
            self.engine.replace_container_policy(Some(listener.container_policy()));
        }
        self.replacer.replace(replacement).await;
        // At once: the old faces may have nothing for a role that has changed.
        self.current.show(faces, new.logging.access_log);
        self.lasting.tokens = tokens;
        self.files.replace(&new).await;
        self.refresh_stats.use_certificates(fetching.certificates);
        self.sign_ins.show(fetching.sessions);
        if let Runtimes::Another(listener) = containers
            && let Err(error) = self.replace_containers(listener).await
        {
            tracing::error!("the containers keep their previous settings: {error}");
            new.containers.clone_from(&old.containers);
        }
        self.region.store(faces::region(&new).map(Arc::new));
        self.in_force.replaced(fingerprint(&new.render()), self.clock.now().wall);
        self.replace_background(background);
        // Said at the level that says more.
        level.set(old.logging.level.min(new.logging.level));
        notice!("the configuration has been reloaded{}", difference(&old, &new));
        level.set(new.logging.level);
        new
    }

    /// Has another one listen to the runtimes. It begins beside the present one, which decides until the other knows who
    /// runs; so roles that both hold are held throughout.
    async fn replace_containers(&mut self, listener: Option<Listener>) -> io::Result<()> {
        let new = listener.map(Listener::start).transpose()?;
        if let Some(new) = &new {
            new.settled().await;
        }
        self.engine.replace_container_policy(new.as_ref().map(Listening::container_policy));
        let old = std::mem::replace(&mut self.containers, new);
        if let Err(defect) = tokio::task::spawn_blocking(move || drop(old)).await {
            std::panic::resume_unwind(defect.into_panic());
        }
        Ok(())
    }

    /// Begins work for the faces, in place of that before.
    pub(super) fn replace_background(&mut self, background: Background) {
        self.under_way.drain(..).for_each(|work| work.abort());
        self.under_way = background.into_iter().map(|work| self.beside.spawn(work).abort_handle()).collect();
    }
}

/// Which roles have come and gone, in words.
fn difference(old: &Config, new: &Config) -> String {
    let names = |config: &Config| config.upstreams.roles().into_iter().map(|role| role.name).collect::<Vec<_>>();
    let (old, new) = (names(old), names(new));
    let without = |all: &[RoleName], others: &[RoleName]| {
        let rest = all.iter().filter(|name| !others.contains(name)).map(ToString::to_string);
        rest.collect::<Vec<_>>().join(", ")
    };
    let mut text = String::new();
    for (what, names) in [("new role(s)", without(&new, &old)), ("role(s) gone", without(&old, &new))] {
        if !names.is_empty() {
            text += &["; ", what, ": ", &names].concat();
        }
    }
    text
}
