//! What the daemon's commands take from the environment, beside what the commands of all programs do.

#![allow(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]

use std::{ffi::OsString, path::PathBuf};

use alppaca_settings::words::split_words;

use super::sdk::Variables;
use crate::capture::Host;
pub(super) use alppaca_command::environment::{
    authorities, for_logging, has_abstract_manager, has_service_manager, host_env, host_env_as, session_dir,
};

/// The daemon's admin socket, if the user names one (`ALPPACA_SOCKET`).
pub(super) fn socket() -> Option<PathBuf> {
    std::env::var_os("ALPPACA_SOCKET").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Where a plain user's programs keep their sockets: what the service manager made for the session, else a directory that
/// stays. <https://specifications.freedesktop.org/basedir-spec/latest/>
pub(super) fn run_dir() -> Option<PathBuf> {
    session_dir().or_else(|| directory("HOME").map(|home| home.join(".local/state/alppaca")))
}

/// What a program needs to find the desktop of the user's session, if this is one.
pub(super) fn desktop_session() -> Option<Vec<(String, String)>> {
    const NAMES: [&str; 4] = ["XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "WAYLAND_DISPLAY"];
    session_dir()?;
    Some(NAMES.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?))).collect())
}

/// Where a plain user's own configuration is.
pub(super) fn config_dir() -> Option<PathBuf> {
    let own = directory("XDG_CONFIG_HOME").or_else(|| directory("HOME").map(|home| home.join(".config")));
    own.map(|own| own.join("alppaca"))
}

/// Whether a browser can be shown to the user.
pub(super) fn has_browser() -> bool {
    ["BROWSER", "DISPLAY", "WAYLAND_DISPLAY"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|set| !set.is_empty()))
}

/// Where the user's ssh-agent listens.
pub(super) fn ssh_agent() -> Option<PathBuf> {
    directory("SSH_AUTH_SOCK")
}

fn directory(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// This program, as it was called: a later version may be at the same place.
pub(super) fn own_program() -> std::io::Result<PathBuf> {
    let called = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    if called.components().count() > 1 {
        return std::path::absolute(called);
    }
    let found = host().path.into_iter().map(|directory| directory.join(&called)).find(|path| path.is_file());
    found.map_or_else(std::env::current_exe, std::path::absolute)
}

/// The browsers to try, as command lines: those of `BROWSER`, or what the desktop has.
pub(super) fn browsers() -> Vec<Vec<String>> {
    let named = std::env::var("BROWSER").unwrap_or_default();
    let browsers: Vec<_> = named.split(':').filter_map(split_words).filter(|words| !words.is_empty()).collect();
    if browsers.is_empty() { vec![vec!["xdg-open".to_owned()]] } else { browsers }
}

/// All that is text.
pub(super) fn variables() -> Variables {
    let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    Variables(std::env::vars_os().filter_map(text).collect())
}

/// The directories that the service manager has made for the service, and removes with it.
pub(super) fn runtime_directories() -> Vec<PathBuf> {
    let own = std::env::var_os("RUNTIME_DIRECTORY").unwrap_or_default();
    std::env::split_paths(&own).filter(|directory| directory.is_absolute()).collect()
}

/// The names of the sockets that systemd hands over (`FileDescriptorName=`), in their order.
pub(super) fn socket_names() -> Vec<String> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    names.split(':').map(str::to_owned).collect()
}

/// Where programs are found.
pub(super) fn host() -> Host {
    let path = std::env::var_os("PATH").unwrap_or_default();
    Host { path: std::env::split_paths(&path).collect() }
}
