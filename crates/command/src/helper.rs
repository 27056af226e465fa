//! The hidden command `helper`: runs the programs of sources for a process that is confined and cannot. Its standard input is
//! a socket to that process.

use std::{
    io,
    os::{fd::AsFd, unix::net::UnixStream},
    process::Command,
};

use crate::{
    Failure, Outcome, sandbox,
    source::process::{
        Program,
        helper::{Started, serve, start},
    },
};

/// Starts a helper with these programs. It inherits the account and that it can gain no privileges.
pub fn begin(programs: Vec<Program>) -> io::Result<Started> {
    let mut command = Command::new("/proc/self/exe");
    // What its programs get is in its list.
    command.arg("helper").env_clear();
    start(command, programs)
}

/// Serves that process until it ends.
pub fn run() -> Outcome {
    // A terminal's signals are for the daemon. It fails only for the leader of a process group.
    let _leads_already = rustix::process::setsid();
    sandbox::harden().map_err(Failure::runtime)?;
    let socket = io::stdin().as_fd().try_clone_to_owned().map_err(Failure::runtime)?;
    serve(UnixStream::from(socket)).map_err(Failure::runtime)
}
