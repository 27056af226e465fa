//! The person's browser: how it is sent to a page on loopback, and whether it is the person's.

use std::{
    io,
    net::SocketAddr,
    process::{Command, Stdio},
};

use super::environment;
use crate::caller::Kernel;

/// Where the URL goes in a command line of `$BROWSER`; without it, at its end.
const PLACE: &str = "%s";

/// Starts the first browser that can be started, with `spawn`, at `page`. The address is on its command line, where other users
/// can read it. An error says what was tried.
pub(super) fn start<C>(page: &str, spawn: impl Fn(Command) -> io::Result<C>) -> Result<C, String> {
    let mut failed = Vec::new();
    for browser in environment::browsers() {
        let mut words: Vec<String> = browser.iter().map(|word| word.replace(PLACE, page)).collect();
        if words == *browser {
            words.push(page.to_owned());
        }
        let Some((program, arguments)) = words.split_first() else { continue };
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match spawn(command) {
            Ok(child) => return Ok(child),
            Err(error) => failed.push(format!("{program}: {error}")),
        }
    }
    Err(failed.join("; "))
}

/// Whether the client at `client` of a page at `page` is a process of this user. One that the kernel does not name is not.
pub(super) fn is_own(kernel: &Kernel, client: SocketAddr, page: SocketAddr) -> bool {
    let own = rustix::process::geteuid().as_raw();
    matches!(kernel.client(client, page), Ok(Some(process)) if process.uid == own)
}

/// Asks the kernel whose a client is.
pub(super) fn kernel() -> Result<Kernel, super::Failure> {
    Kernel::open(None).map_err(|error| super::Failure::runtime(format!("cannot identify users: {error}")))
}
