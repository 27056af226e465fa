//! What the daemon before this one has left, and what is left to the one after it: in the store of the service manager, or from
//! process to process.

use std::{
    net::SocketAddr,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    time::Duration,
};

use rustix::net::sockopt::socket_peercred;
use zeroize::Zeroizing;

use super::{Failure, environment};
use crate::{
    admin::{Client, ClientError, Code, REPLACEMENT},
    clock::Moment,
    daemon::{Daemon, KeepSockets, Turn, admin_file},
    handover::{
        self, FdStore, MemoryError,
        passing::{self, PROTOCOL},
    },
    refresh::Handover,
    service::CANNOT_REPLACE,
};

/// How long the daemon that runs has for each of its answers.
const PATIENCE: Duration = Duration::from_secs(5);

/// A file that a daemon before this one has left.
pub(super) struct LeftFile {
    /// The name under which it was kept.
    pub(super) name: String,
    /// What is in it.
    pub(super) content: Result<Zeroizing<Vec<u8>>, MemoryError>,
}

/// What was kept, and where more is kept.
pub(super) struct Kept {
    /// The newest that can be used.
    handover: Option<Handover>,
    /// None without a service manager.
    store: Option<FdStore>,
}

impl Kept {
    /// Has `daemon` take over what was kept, and has it and its sockets kept again: those that no socket unit has (`units`),
    /// in the place of those with the names `before`.
    pub(super) fn passed_on(self, daemon: Daemon, units: Vec<SocketAddr>, before: Vec<String>) -> Daemon {
        let mut daemon = daemon.with_runtime_directories(environment::runtime_directories());
        if let Some(store) = self.store {
            daemon = daemon.leaving_to(keeper(store)).keeping_sockets(sockets_keeper(units, before));
        }
        match self.handover {
            Some(handover) => daemon.after(handover),
            None => daemon,
        }
    }
}

/// Reads the files that were left. One that cannot be used is ignored, which the log says.
pub(super) fn kept(left: Vec<LeftFile>, now: Moment) -> Kept {
    let mut newest = None;
    for LeftFile { name, content } in left {
        let read = content.map_err(|error| error.to_string());
        match read.and_then(|bytes| handover::read(&bytes, now).map_err(|error| error.to_string())) {
            Ok((written, handover)) => {
                if newest.as_ref().is_none_or(|(_, before, _)| *before < written) {
                    newest = Some((name, written, handover));
                }
            }
            Err(problem) => tracing::warn!("what was kept over the restart ({name}) is not used: {problem}"),
        }
    }
    let name = newest.as_ref().map(|(name, ..)| &**name);
    let store = environment::has_service_manager().then(|| FdStore::after(name));
    Kept { handover: newest.map(|(_, _, handover)| handover), store }
}

/// Keeps what it is given in `store`. A failure is logged once, until it works again.
fn keeper(mut store: FdStore) -> impl FnMut(&[u8]) + Send + 'static {
    let mut failing = false;
    move |bytes| match store.keep(bytes) {
        Ok(()) => failing = false,
        Err(error) if std::mem::replace(&mut failing, true) => tracing::debug!("still not kept: {error}"),
        Err(error) => tracing::warn!("a restart would lose the credentials: they cannot be kept over it: {error}"),
    }
}

/// Keeps each socket once, and the admin socket in the place of the one before.
fn sockets_keeper(units: Vec<SocketAddr>, mut before: Vec<String>) -> KeepSockets {
    let mut kept: Vec<SocketAddr> = units;
    let mut admin: Option<String> = None;
    Box::new(move |open| {
        let mut keep = || {
            // The sockets of before are among those that listen, as far as they still do.
            for name in before.drain(..) {
                handover::drop_listeners(&name)?;
            }
            for socket in open {
                let descriptor = socket.socket.as_fd();
                if admin_file(&socket.name).is_some() {
                    if admin.as_deref() != Some(&*socket.name) {
                        handover::keep_listener(&socket.name, descriptor)?;
                        if let Some(former) = admin.replace(socket.name.to_string()) {
                            handover::drop_listeners(&handover::name_of_listener(&former))?;
                        }
                    }
                    continue;
                }
                let address = rustix::net::getsockname(descriptor)?;
                let Ok(address) = SocketAddr::try_from(address) else { continue };
                if !kept.contains(&address) {
                    handover::keep_listener(&socket.name, descriptor)?;
                    kept.push(address);
                }
            }
            Ok::<_, std::io::Error>(())
        };
        if let Err(error) = keep() {
            tracing::warn!("a restart closes the sockets that no socket unit has: {error}");
        }
    })
}

/// What a daemon passes on, by name.
pub(super) type Passed = Vec<(String, OwnedFd)>;

/// A daemon that runs, and that this process is to replace.
pub(super) struct Running(UnixStream);

impl Running {
    /// Asks the daemon at `socket`, which runs as root or as one of `accounts`, for what it has.
    pub(super) fn meet(socket: Option<&Path>, accounts: &[u32]) -> Result<(Self, Passed), Failure> {
        let Some(socket) = socket else { return Err(cannot_replace("it has no admin socket")) };
        let stream = Client::new(socket).upgrade(REPLACEMENT, PROTOCOL, PATIENCE).map_err(|error| match error {
            ClientError::Refused { code: Code::NoSuchPath, .. } => cannot_replace("it is another version of alppaca"),
            ClientError::Refused { .. } => Failure::runtime(error),
            error => cannot_replace(&error.to_string()),
        })?;
        let broken = |error| cannot_replace(&format!("it has not said what it has: {error}"));
        let uid = socket_peercred(&stream).map_err(|error| broken(error.into()))?.uid.as_raw();
        if uid != 0 && !accounts.contains(&uid) {
            return Err(Failure::runtime(format!("user {uid} answers at {}: nothing is done", socket.display())));
        }
        let passed = passing::receive(&stream).map_err(broken)?;
        Ok((Self(stream), passed))
    }

    /// To take its place.
    pub(super) fn turn(self) -> Turn {
        Turn(self.0)
    }
}

/// The daemon that runs has to be stopped first, and why.
pub(super) fn cannot_replace(why: &str) -> Failure {
    let message =
        format!("the daemon that runs cannot hand anything over: {why}. It is stopped, and another is started");
    Failure { code: CANNOT_REPLACE, message }
}
