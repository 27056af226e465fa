//! The hidden command `helper`: runs the programs of sources for a daemon that is confined and cannot. Its standard input is a
//! socket to the daemon.

use std::{
    io,
    os::{fd::AsFd, unix::net::UnixStream},
    process::Command,
};

use super::{Failure, Outcome};
use crate::{
    config::Config,
    sandbox,
    source::{
        HostEnv,
        process::helper::{Started, serve, start},
    },
};

/// Starts a helper with the programs of this configuration. It inherits the account and that it can gain no privileges.
pub(super) fn begin(config: &Config, host_env: &HostEnv) -> io::Result<Started> {
    let programs = config.upstreams.sources.iter().flat_map(|source| source.kind.programs(host_env)).collect();
    let mut command = Command::new("/proc/self/exe");
    // What its programs get is in its list.
    command.arg("helper").env_clear();
    start(command, programs)
}

/// Serves the daemon until it ends.
pub(super) fn run() -> Outcome {
    // A terminal's signals are for the daemon. It fails only for the leader of a process group.
    let _leads_already = rustix::process::setsid();
    sandbox::harden().map_err(Failure::runtime)?;
    let socket = io::stdin().as_fd().try_clone_to_owned().map_err(Failure::runtime)?;
    serve(UnixStream::from(socket)).map_err(Failure::runtime)
}
