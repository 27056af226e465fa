//! Where a plain user's daemon has its configuration, socket and pid file, and where the commands look for them:
//! `/etc/alppaca` and `/run/alppaca` are root's.

use std::{
    io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access};

use super::environment;
use crate::{admin::DEFAULT_SOCKET, config::Config};

/// Where the host's daemon has its configuration.
pub(super) const SYSTEM: &str = "/etc/alppaca";

/// Which configuration.
#[derive(Debug, clap::Args)]
pub(super) struct ConfigPath {
    /// A YAML file, or a directory whose *.yaml are merged in alphabetical order [default: a plain user's own
    /// ~/.config/alppaca, if there is one, else /etc/alppaca]
    #[arg(short, long, value_name = "PATH")]
    config: Option<PathBuf>,
}

impl ConfigPath {
    /// It, or the default.
    pub(super) fn path(&self) -> PathBuf {
        let own = || environment::config_dir().filter(|own| !is_root() && own.is_dir());
        self.config.clone().or_else(own).unwrap_or_else(|| SYSTEM.into())
    }
}

/// Lets the daemon of a plain user have a directory of that user's, where it was told no other than the default and may
/// not write there. A service manager may have made the default for it.
pub(super) fn settle(config: &mut Config) {
    let default = Path::new(DEFAULT_SOCKET);
    if Some(config.run_dir.as_path()) != default.parent() {
        return;
    }
    let run_dir = run_dir();
    if run_dir == config.run_dir {
        return;
    }
    if config.admin.socket.as_deref() == Some(default) {
        config.admin.socket = Some(socket_in(&run_dir));
    }
    config.run_dir = run_dir;
}

/// The run directory of the host's daemon.
pub(super) fn hosts_run_dir() -> &'static Path {
    Path::new(DEFAULT_SOCKET).parent().unwrap_or(Path::new("/"))
}

/// The run directory of a daemon that was told no other one.
pub(super) fn run_dir() -> PathBuf {
    let default = hosts_run_dir();
    let own = own().filter(|_| access(default, Access::WRITE_OK).is_err());
    own.unwrap_or_else(|| default.to_owned())
}

/// The socket of the user's own daemon, if there is one, else that of the host's.
pub(super) fn socket() -> PathBuf {
    own()
        .map(|directory| socket_in(&directory))
        .filter(|socket| listens(socket))
        .unwrap_or_else(|| DEFAULT_SOCKET.into())
}

/// Whether a daemon is at the socket, or will be: a file alone can be left from one that was killed. Where this user may not
/// connect it is another one's: `HOME` is still theirs after `sudo -E` and the like.
fn listens(socket: &Path) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied};
    match UnixStream::connect(socket) {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), NotFound | ConnectionRefused | PermissionDenied),
    }
}

/// None for root.
fn own() -> Option<PathBuf> {
    environment::run_dir().filter(|_| !is_root())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn socket_in(directory: &Path) -> PathBuf {
    directory.join(Path::new(DEFAULT_SOCKET).file_name().unwrap_or_default())
}
