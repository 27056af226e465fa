//! The daemon in the background: started, found again by a lock, stopped.
//!
//! No fork: `alppacad start` starts `alppaca run --background`, which detaches itself and prints
//! `ready` on its standard output. The lock on the pid file shows whether it runs, and which process
//! it is, never the number in the file, so that no file can make us stop another process.

mod background;
mod control;
mod lock;

use std::{io, path::PathBuf};

pub use background::{Background, PidFile};
pub use control::{Late, Status, Stopped, reload, start, status, stop};

/// What the background process writes when it is ready.
const READY: &str = "ready";
/// What it writes when it waits for something that may never come.
const WAITING: &str = "waiting";
/// The name of the pid file in the run directory.
const PID_FILE: &str = "alppaca.pid";
/// Its name until the process has replaced the one before.
const NEW_PID_FILE: &str = "alppaca.pid.new";
/// The exit code of a process that cannot replace the running one, which has to be stopped first.
pub const CANNOT_REPLACE: u8 = 75;

/// Why the service cannot be started, stopped or asked for.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Something with a file or directory failed.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Another one has the lock.
    #[error("alppaca is already running (its lock on {} is held)", .0.display())]
    Running(PathBuf),
    /// A system call failed.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The reason.
        source: io::Error,
    },
    /// The started process ended or said nothing.
    #[error("alppaca did not start{0}")]
    NotStarted(String),
    /// The started process cannot take over from the running one.
    #[error("alppaca cannot be restarted without being stopped first")]
    CannotReplace,
    /// The holder of the lock is no daemon of that account's.
    #[error(
        "process {pid} of user {uid} holds the lock on the pid file, which is not the daemon's account: nothing is done"
    )]
    Stranger {
        /// The process.
        pid: i32,
        /// Its user.
        uid: u32,
    },
    /// The started process goes on, but is not ready, and said why.
    #[error("alppaca runs, but is not ready; `alppacad stop` stops it")]
    Waits,
}
