//! What the server needs of the system with its configuration, of which its confinement is made.

use std::path::Path;

use alppaca_command::environment;

use super::files;
use crate::{
    confinement::{self, Confinement},
    needs::{Need, Needs},
    server::Alarm,
    site::{Loaded, Site},
    source::{HostEnv, process::Program},
};

/// The confinement of a server with a configuration that was read from `path`.
pub fn confinement(path: &Path, loaded: &Loaded, host_env: &HostEnv) -> Confinement {
    Confinement::new(loaded.site.sandbox.mode, &needs(path, loaded, host_env))
}

/// The programs that a helper runs.
pub(super) fn programs(site: &Site, host_env: &HostEnv) -> Vec<Program> {
    let alarm = site.alarm.as_ref().map(|alarm| Alarm::program(alarm, host_env));
    site.sts.programs(host_env).into_iter().chain(alarm).collect()
}

/// All that is needed, but for the listeners, which are bound before.
fn needs(path: &Path, loaded: &Loaded, host_env: &HostEnv) -> Needs {
    let (mut needs, site) = (changeable(path, loaded, host_env), &loaded.site);
    confinement::host::needs(&mut needs);
    if environment::has_abstract_manager() {
        needs.add(Need::AbstractSockets, "the service manager");
    }
    for file in environment::authorities() {
        needs.read(&file, "the system's authorities");
    }
    for listen in &site.listen {
        if let Some(directory) = listen.socket().and_then(Path::parent) {
            needs.add(Need::Write(directory.to_owned()), "listen: the socket is removed at the end");
        }
    }
    if let Some(status) = &site.status_page {
        status.page.needs(&mut needs);
    }
    site.logging.needs(&mut needs.of("logging_handler"));
    if let Some(audit) = &site.audit_log {
        audit.needs(&mut needs.of("audit_log"));
    }
    site.sts.needs(host_env, &mut needs);
    site.sandbox.allow.needs(&mut needs);
    needs
}

/// What a reload may change.
pub(super) fn changeable(path: &Path, loaded: &Loaded, host_env: &HostEnv) -> Needs {
    let (mut needs, site) = (Needs::default(), &loaded.site);
    needs.read(path, "the configuration");
    for (file, what, _) in files::files(path, loaded, host_env) {
        needs.read(&file, &what);
    }
    for named in &site.identities {
        named.method.needs(&mut needs.of(&format!("identity method {}", named.name)));
    }
    for (name, options) in &site.directories {
        options.needs(&mut needs.of(&format!("directory {name}")));
    }
    if let Some(approvals) = &site.approvals {
        needs.of("approvals").add(Need::Write(approvals.directory.clone()), "records");
    }
    if let Some(alarm) = &site.alarm {
        needs.of("emergency_alert").add(Need::Program(Alarm::program(alarm, host_env).id()), "its program");
    }
    site.console.needs(host_env, &mut needs.of("console"));
    needs
}
