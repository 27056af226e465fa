//! Confines the daemon to what its configuration needs.

use std::{net::SocketAddr, path::Path};

use alppaca_command::confined::Confined;

use super::{Failure, environment, sockets::Sockets, traces};
use crate::{
    admin::SandboxStatus,
    config::{Config, Loaded},
    confinement::{Confinement, State},
    daemon::{self, ExecSockets, FixedNeeds},
    files,
    http::Place,
    source::HostEnv,
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
            traces: traces::url(self.config),
            former_files: files::recorded(&self.config.run_dir),
        };
        Confinement::new(self.config.sandbox.mode, &daemon::needs(&fixed, self.path, self.loaded, self.host_env))
    }

    /// Confines this process, and makes before what it could not make then: sockets for `exec`, beside those that were
    /// kept, and a helper. There must be one thread, since others would not be confined.
    pub(super) fn confine(&self, sockets: &mut Sockets) -> Result<(ExecSockets, Confined), Failure> {
        let kept = std::mem::take(&mut sockets.exec);
        let socket = self.config.admin.socket.as_deref();
        let exec = socket.map(|socket| ExecSockets::bind(socket, kept)).unwrap_or_default();
        let places = sockets.places.iter().map(|(place, _)| place).chain(&sockets.metrics).chain(&sockets.page);
        let taken = places.filter_map(Place::taken).chain(exec.taken.iter().copied()).collect();
        self.config.logging.make_file();
        let confinement = self.confinement(rustix::process::geteuid().as_raw(), taken);
        let sources = &self.config.upstreams.sources;
        let after_changes = daemon::programs_after_changes(self.config, self.host_env);
        let of_sources = || sources.iter().flat_map(|source| source.kind.programs(self.host_env));
        let programs = || of_sources().chain(after_changes).collect();
        Ok((exec, Confined::new(confinement, programs)?))
    }
}

/// What is in force, as the admin socket shows it.
pub(super) fn shown(state: &State) -> SandboxStatus {
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
