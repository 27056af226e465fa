//! What every program takes from its environment.

#![allow(clippy::disallowed_methods, reason = "the environment is read for commands only")]

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::{
    clock::SystemClock,
    fetch::ProxyVariables,
    launch::launcher,
    logging::Environment,
    sandbox::Identity,
    sign_in::SignIns,
    source::{HostEnv, aws},
};

/// What the log needs to know to find its default target.
pub fn for_logging() -> Environment {
    let program = std::env::current_exe().ok();
    let name = program.as_ref().and_then(|program| program.file_name()).and_then(|name| name.to_str());
    Environment::new(name.unwrap_or("alppaca"), std::env::var("JOURNAL_STREAM").ok())
}

/// What the sources have to know of this host.
pub fn host_env() -> HostEnv {
    HostEnv {
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        aws: aws::Environment::read(|name| std::env::var(name).ok()),
        proxies: proxies(),
        home: std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from),
        path: std::env::var("PATH").ok().filter(|path| !path.is_empty()),
        ssh_auth_sock: std::env::var_os("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty()).map(PathBuf::from),
        launcher: launcher(),
        sign_ins: SignIns::new(SystemClock::shared(), session_dir()),
        clock: SystemClock::shared(),
    }
}

/// The same for a process that becomes another account: `HOME` is then that account's, as with `User=` of systemd. An account
/// without an entry has none, so it is what the environment says.
pub fn host_env_as(identity: Option<&Identity>) -> HostEnv {
    let own = host_env();
    let other = identity.filter(|identity| identity.uid.as_raw() != rustix::process::geteuid().as_raw());
    HostEnv { home: other.and_then(|identity| identity.home.clone()).or(own.home), ..own }
}

/// Where the user's own daemon keeps what ends with the user's last session: memory, not a disk. After `su` the variable may
/// lead to another user's session, which is not ours, also not if we are root.
/// <https://specifications.freedesktop.org/basedir-spec/latest/>
pub fn session_dir() -> Option<PathBuf> {
    let session = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute())?;
    is_ours(&session).then(|| session.join("alppaca"))
}

fn is_ours(directory: &Path) -> bool {
    let own = rustix::process::geteuid().as_raw();
    fs::metadata(directory).is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == own)
}

/// The environment's proxies. They are in force only for the sources that say `proxy: environment`.
pub fn proxies() -> ProxyVariables {
    ProxyVariables::read(|name| std::env::var(name).ok())
}

/// Where the system's authorities are, if not where they usually are.
pub fn authorities() -> Vec<PathBuf> {
    let directories = std::env::var_os("SSL_CERT_DIR").unwrap_or_default();
    let directories = std::env::split_paths(&directories).filter(|path| path.is_absolute());
    std::env::var_os("SSL_CERT_FILE")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .into_iter()
        .chain(directories)
        .collect()
}

/// Whether the service manager listens at an abstract socket.
pub fn has_abstract_manager() -> bool {
    std::env::var("NOTIFY_SOCKET").is_ok_and(|socket| socket.starts_with('@'))
}

/// Whether a service manager listens to what this process says.
pub fn has_service_manager() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::{Account, identify};

    #[test]
    fn only_another_account_brings_its_home() {
        let as_user = |user: &str| {
            let account = Account { user: Some(user.to_owned()), group: None };
            host_env_as(identify(&account).expect("known").as_ref()).home
        };
        let own = rustix::process::geteuid().as_raw();
        assert_ne!(own, 1, "not as `daemon`");
        assert_eq!(as_user("daemon"), Some("/usr/sbin".into()));
        assert_eq!(as_user("424242"), host_env().home, "an account without an entry");
        assert_eq!(as_user(&own.to_string()), host_env().home);
        assert_eq!(host_env_as(None).home, host_env().home);
    }
}
