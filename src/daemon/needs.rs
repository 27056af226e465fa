//! What the daemon needs of the system with its configuration, of which its confinement is made. What a source or a face
//! needs, it says itself.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use crate::{
    config::{Config, Loaded},
    confinement,
    needs::{Need, Needs},
    source::HostEnv,
};

/// The first number of a person's account (`UID_MIN` of `login.defs(5)`).
const FIRST_PERSON: u32 = 1000;

/// What a running daemon needs that no reload changes.
pub struct Fixed<'a> {
    /// The configuration, with absolute paths.
    pub config: &'a Config,
    /// The account that it runs as.
    pub uid: u32,
    /// The directory of what outlives the daemon, of a user's own.
    pub session_dir: Option<PathBuf>,
    /// Addresses that other sockets have, and that are taken when they are free.
    pub taken: Vec<SocketAddr>,
    /// Whether the service manager listens at an abstract socket.
    pub abstract_manager: bool,
    /// The system's authorities, where the environment says that they are.
    pub authorities: Vec<PathBuf>,
    /// The URL of the collector of traces.
    pub traces: Option<String>,
    /// The files with credentials that a daemon before this one has written.
    pub former_files: Vec<PathBuf>,
}

/// All that is needed with a configuration that was read from `path`.
pub fn all(fixed: &Fixed, path: &Path, loaded: &Loaded, host_env: &HostEnv) -> Needs {
    let mut needs = Needs::default();
    confinement::host::needs(&mut needs);
    needs.add(Need::Write("/dev/null".into()), "the terminal is left in the background");
    let Fixed { config, uid, session_dir, taken, authorities, abstract_manager, traces, former_files } = fixed;
    if *abstract_manager {
        needs.add(Need::AbstractSockets, "the service manager");
    }
    for file in authorities {
        needs.read(file, "the system's authorities");
    }
    needs.add(Need::Own(config.run_dir.clone()), "run_dir");
    if let Some(directory) = config.admin.socket.as_deref().and_then(Path::parent) {
        needs.add(Need::Write(directory.to_owned()), "admin_socket");
    }
    if let Some(page) = &config.status_page {
        page.needs(&mut needs);
    }
    let personal = config.upstreams.sources.iter().any(|source| source.kind.is_personal());
    if let Some(directory) = session_dir.as_ref().filter(|_| personal) {
        needs.add(Need::Write(directory.clone()), "keep_sign_in");
    }
    config.logging.needs(&mut needs.of("logging_handler"));
    if let Some(audit) = &config.audit_log {
        let mut needs = needs.of("audit_log");
        audit.needs(&mut needs);
        // The account of a service sees only its own processes anyway, and these are none.
        if *uid == 0 || *uid >= FIRST_PERSON {
            needs.add(Need::Processes, "the program of a caller");
        }
    }
    if config.sign_in_notification {
        needs.of("sign_in_notification").add(Need::Programs, "notify-send");
    }
    if let Some(url) = traces {
        needs.of("traces_endpoint").url(url, "the collector of traces");
    }
    config.sandbox.allow.needs(&mut needs);
    for address in taken {
        needs.add(Need::Listen(address.port()), "an address that another socket has");
    }
    for file in former_files {
        // It is removed, unless the configuration has it.
        let directory = file.parent().unwrap_or(Path::new("/"));
        needs.of("files").add(Need::Write(directory.to_owned()), &format!("{}, of a daemon before", file.display()));
    }
    configured(&mut needs, path, loaded, host_env, &config.run_dir);
    needs
}

/// What a reload may change, in a daemon with this run directory.
pub(super) fn changeable(path: &Path, loaded: &Loaded, host_env: &HostEnv, run_dir: &Path) -> Needs {
    let mut needs = Needs::default();
    configured(&mut needs, path, loaded, host_env, run_dir);
    needs
}

fn configured(needs: &mut Needs, path: &Path, loaded: &Loaded, host_env: &HostEnv, run_dir: &Path) {
    needs.read(path, "the configuration");
    for (file, what, _) in super::files::files(path, loaded, host_env) {
        needs.read(&file, &what);
    }
    let upstreams = &loaded.config.upstreams;
    for source in &upstreams.sources {
        source.kind.needs(host_env, &mut needs.of(&format!("source {}", source.name)));
    }
    if loaded.config.containers.is_some() || upstreams.roles().iter().any(|role| role.role_arn.is_some()) {
        crate::source::Kind::needs(&upstreams.sts, host_env, &mut needs.of("sts"));
    }
    super::written_files::needs(&loaded.config, run_dir, host_env, needs);
    loaded.config.imds.needs(&mut needs.of("metadata"));
    for section in &loaded.config.faces {
        section.options.needs(&mut needs.of(section.key()));
    }
    if loaded.config.containers.as_ref().is_some_and(|containers| containers.host_name_pattern.is_some()) {
        needs.of("containers").add(Need::Programs, "getent, for host_name_pattern");
    }
}
