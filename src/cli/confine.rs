//! Confines the daemon to what its configuration needs, and reports what came of it.

use std::{net::SocketAddr, path::Path};

use super::{Failure, environment, helper, sockets::Sockets};
use crate::{
    admin::SandboxStatus,
    config::{Config, Loaded},
    confinement::{Confinement, State},
    daemon::{self, ExecSockets, FixedNeeds},
    http::Place,
    logging::LogGuard,
    sandbox,
    source::{HostEnv, process::helper::Started},
};

/// A configuration: with absolute paths, and as it was read.
pub(super) struct Configured<'a> {
    /// As the daemon uses it.
    pub(super) config: &'a Config,
    /// Where it was read.
    pub(super) path: &'a Path,
    /// What was read.
    pub(super) loaded: &'a Loaded,
    /// What the sources have to know of the host.
    pub(super) host_env: &'a HostEnv,
}

/// A process that is confined.
pub(super) struct Confined {
    confinement: Confinement,
    state: State,
    /// What runs programs for it, if there are any.
    helper: Option<Started>,
}

impl Configured<'_> {
    /// The confinement of a daemon of that user. It takes the addresses that are `taken` when they are free.
    pub(super) fn confinement(&self, uid: u32, taken: Vec<SocketAddr>) -> Confinement {
        let fixed = FixedNeeds {
            config: self.config,
            uid,
            session_dir: environment::session_dir(),
            taken,
            authorities: environment::authorities(),
            abstract_manager: environment::has_abstract_manager(),
        };
        Confinement::new(self.config.sandbox.mode, &daemon::needs(&fixed, self.path, self.loaded, self.host_env))
    }

    /// Confines this process, and makes before what it could not make then: sockets for `exec`, beside those that were
    /// kept, and a helper. There must be one thread, since others would not be confined.
    pub(super) fn confine(&self, sockets: &mut Sockets) -> Result<(ExecSockets, Confined), Failure> {
        let kept = std::mem::take(&mut sockets.exec);
        let socket = self.config.admin.socket.as_deref();
        let exec = socket.map(|socket| ExecSockets::bind(socket, kept)).unwrap_or_default();
        let places = sockets.places.iter().map(|(place, _)| place).chain(&sockets.metrics);
        let taken = places.filter_map(Place::taken).chain(exec.taken.iter().copied()).collect();
        self.config.logging.make_file();
        let locked = sandbox::lock_memory();
        let confinement = self.confinement(rustix::process::geteuid().as_raw(), taken);
        let helper = confinement.needs_helper().then(|| helper::begin(self.config, self.host_env)).transpose();
        let helper =
            helper.map_err(|error| Failure::runtime(format!("cannot start a helper for programs: {error}")))?;
        let state = confinement.apply(locked);
        Ok((exec, Confined { confinement, state, helper }))
    }
}

impl Confined {
    /// Logs what is in force, and has the helper run the programs from now on: the confinement as it is, and how it is shown.
    pub(super) fn begin(self, log: &LogGuard) -> Result<(Confinement, SandboxStatus), Failure> {
        let Self { confinement, state, helper } = self;
        notice!("sandbox: {state}");
        for line in confinement.explain() {
            tracing::info!("{line}");
        }
        for problem in &state.problems {
            tracing::error!("sandbox: {problem}");
        }
        for warning in confinement.warnings() {
            tracing::warn!("sandbox: {warning}");
        }
        for missing in &state.missing {
            tracing::warn!("sandbox: {missing} is not there, nor is its directory; if it appears, a restart is needed");
        }
        if let Some(helper) = helper {
            let flush = log.flusher();
            let is_restarted = environment::has_service_manager();
            helper.use_it(move || without_helper(is_restarted, &flush)).map_err(Failure::runtime)?;
        }
        Ok((confinement.as_applied(&state), shown(&state)))
    }
}

fn shown(state: &State) -> SandboxStatus {
    SandboxStatus {
        mode: state.mode.word().to_owned(),
        landlock: state.landlock,
        lacking: state.lacks().into_iter().map(str::to_owned).collect(),
        widened: [&*state.widened, &state.unrestricted_ports].concat(),
        system_calls: state.calls.clone().unwrap_or_else(|| "all".to_owned()),
        helper: state.helper,
        in_force: state.parts().into_iter().map(|(part, is)| (part.to_owned(), is)).collect(),
        summary: Some(state.to_string()),
    }
}

/// Where a service manager starts both again, the daemon does not live on half. Nothing else can start a helper, since the
/// daemon may execute nothing: elsewhere all sources that need none go on.
fn without_helper(is_restarted: bool, flush: &impl Fn()) {
    if is_restarted {
        tracing::error!("the helper that runs the programs of sources has ended, and so does the daemon");
        flush();
        std::process::exit(1);
    }
    tracing::error!(
        "the helper that runs the programs of sources has ended: what they gave is served until it expires, and all else goes on. \
         Restart the daemon to have a helper again"
    );
}
