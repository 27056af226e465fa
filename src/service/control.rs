//! The side of `alppacad`: starts the daemon, checks on it, stops it.

use std::{
    fs,
    io::{self, BufRead, BufReader},
    os::fd::OwnedFd,
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use super::{CANNOT_REPLACE, PID_FILE, READY, ServiceError, WAITING, lock};

/// How long the daemon has for ending by itself.
const PATIENCE: Duration = Duration::from_secs(10);

/// How the service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It runs, with that process id.
    Running(u32),
    /// It does not, but its pid file is there.
    Dead,
    /// It does not.
    Stopped,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// It was not running.
    Already,
    /// By itself, after a signal.
    ByItself,
    /// It had to be killed.
    Killed,
}

/// How the service with that run directory is.
pub fn status(run_dir: &Path) -> Result<Status, ServiceError> {
    let path = run_dir.join(PID_FILE);
    let error = |source| ServiceError::File { path: path.clone(), source };
    let file = match lock::open(&path) {
        Ok(file) => file,
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(Status::Stopped),
        Err(other) => return Err(error(other)),
    };
    match lock::holder(&file).map_err(error)? {
        Some(pid) => Ok(Status::Running(pid.as_raw_nonzero().get().unsigned_abs())),
        None => Ok(Status::Dead),
    }
}

/// What becomes of a process that is not ready in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Late {
    /// It may still start.
    GoesOn,
    /// It is killed.
    Killed,
}

/// Starts `command` and waits until it says that it is ready. Its complaints go to our stderr.
pub fn start(mut command: Command, limit: Duration, late: Late) -> Result<(), ServiceError> {
    let system = |what| move |source| ServiceError::System { what, source };
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(system("start the daemon"))?;
    let stdout = child.stdout.take();
    let (tell, told) = mpsc::channel();
    // Not joined: it ends with the pipe, or with us.
    thread::spawn(move || {
        let lines = stdout.into_iter().flat_map(|pipe| BufReader::new(pipe).lines().map_while(Result::ok));
        let ready = lines.into_iter().find(|line| line == READY || line == WAITING);
        // The receiver is gone if the time was over.
        let _late = tell.send(ready);
    });
    match told.recv_timeout(limit) {
        Ok(Some(said)) if said == READY => Ok(()),
        Ok(Some(_waiting)) => Err(ServiceError::Waits),
        Ok(None) => {
            let status = child.wait().map_err(system("wait for the daemon"))?;
            if status.code() == Some(CANNOT_REPLACE.into()) {
                return Err(ServiceError::CannotReplace);
            }
            Err(ServiceError::NotStarted(format!(" ({status})")))
        }
        Err(_late) if late == Late::Killed => {
            child.kill().and_then(|()| child.wait()).map_err(system("kill the process that is late"))?;
            Err(ServiceError::NotStarted(format!(" within {limit:?}")))
        }
        Err(_late) => Err(ServiceError::NotStarted(format!(" within {limit:?}; it may still start"))),
    }
}

/// Has the service with that run directory, which runs as `account`, read its configuration again; whether it runs.
pub fn reload(run_dir: &Path, account: u32) -> Result<bool, ServiceError> {
    let Found::Running(process) = find(run_dir, account)? else { return Ok(false) };
    let told = pidfd_send_signal(&process, Signal::HUP);
    told.map_err(|source| ServiceError::System { what: "signal the daemon", source: source.into() })?;
    Ok(true)
}

enum Found {
    Running(OwnedFd),
    Nothing,
    /// Just now.
    Ended,
}

fn find(run_dir: &Path, account: u32) -> Result<Found, ServiceError> {
    let Status::Running(pid) = status(run_dir)? else { return Ok(Found::Nothing) };
    let system = |what| move |source: rustix::io::Errno| ServiceError::System { what, source: source.into() };
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(Found::Nothing) };
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH) => return Ok(Found::Ended),
        opened => opened.map_err(system("find the daemon"))?,
    };
    let uid = user_of(pid);
    // The number may have gone to another process before it was opened; the lock says if not.
    if status(run_dir)? != Status::Running(pid.as_raw_nonzero().get().unsigned_abs()) {
        return Ok(Found::Ended);
    }
    match uid {
        Some(uid) if uid == account || uid == 0 => Ok(Found::Running(process)),
        Some(uid) => Err(ServiceError::Stranger { pid: pid.as_raw_nonzero().get(), uid }),
        None => Ok(Found::Ended),
    }
}

/// The real user of a process; `None` if it has ended. The owner of its directory is root if it must not be dumped.
fn user_of(pid: Pid) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next()?.parse().ok())
}

/// Stops the service with that run directory, which runs as `account`, and waits until it is gone.
pub fn stop(run_dir: &Path, account: u32) -> Result<Stopped, ServiceError> {
    let stopped = stop_one(run_dir, account)?;
    // Just then it may have been replaced.
    match status(run_dir)? {
        Status::Running(_) if stopped != Stopped::Already => stop_one(run_dir, account),
        _ => Ok(stopped),
    }
}

fn stop_one(run_dir: &Path, account: u32) -> Result<Stopped, ServiceError> {
    let system = |what| move |source: rustix::io::Errno| ServiceError::System { what, source: source.into() };
    let process = match find(run_dir, account)? {
        Found::Running(process) => process,
        Found::Nothing => return Ok(Stopped::Already),
        Found::Ended => return Ok(Stopped::ByItself),
    };
    pidfd_send_signal(&process, Signal::TERM).map_err(system("stop the daemon"))?;
    let wait = |limit: Duration| {
        let limit = Timespec { tv_sec: limit.as_secs().cast_signed(), tv_nsec: 0 };
        poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&limit)).map_err(system("wait for the daemon"))
    };
    if wait(PATIENCE)? > 0 {
        return Ok(Stopped::ByItself);
    }
    pidfd_send_signal(&process, Signal::KILL).map_err(system("kill the daemon"))?;
    wait(PATIENCE)?;
    Ok(Stopped::Killed)
}
