//! Identifies the client of the admin socket by the kernel (`SO_PEERCRED`, `SO_PEERPIDFD`; unix(7)).

use std::{
    io,
    os::{fd::AsFd, unix::net::UnixStream},
};

use nix::sys::socket::{getsockopt, sockopt};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{PidfdFlags, pidfd_open},
};

use crate::caller::{self, Origin};

/// The process that connected, as it was at that moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCredentials {
    /// Its effective user.
    pub uid: u32,
    /// Its number and what distinguishes it from later ones of that number; none if it is in a PID namespace that the daemon
    /// cannot see into, or has ended.
    pub process: Option<ProcessId>,
    /// The same for the policy.
    pub peer: caller::Peer,
}

/// A process, and no later one with its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProcessId {
    /// Its number.
    pub pid: u32,
    /// The inode of its pidfd: since Linux 6.9 each process has its own, before that all have the same.
    pub inode: u64,
}

impl PeerCredentials {
    /// The process that has connected.
    pub fn of(stream: &UnixStream) -> io::Result<Self> {
        let peer = caller::Peer::of_unix(stream);
        let Origin::Process(process) = &peer.origin else {
            return Err(io::Error::other("the kernel does not identify the caller"));
        };
        let uid = process.uid;
        let pid = process.pid.filter(|pid| *pid != 0);
        let process = pid.and_then(|pid| match getsockopt(stream, sockopt::PeerPidfd) {
            Ok(pidfd) => identify(&pidfd, pid),
            // Before Linux 6.5 there is only the number, which may be another's by now: good enough to see when a token
            // is of no more use.
            Err(_) => ProcessId::of(pid),
        });
        Ok(Self { uid, process, peer })
    }
}

impl ProcessId {
    /// The process with that number at this moment; `None` if there is none.
    pub fn of(pid: u32) -> Option<Self> {
        let number = rustix::process::Pid::from_raw(pid.try_into().ok()?)?;
        identify(&pidfd_open(number, PidfdFlags::empty()).ok()?, pid)
    }

    /// Whether it has not ended.
    pub fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

fn identify(pidfd: &impl AsFd, pid: u32) -> Option<ProcessId> {
    let inode = rustix::fs::fstat(pidfd).ok()?.st_ino;
    (!has_ended(pidfd)).then_some(ProcessId { pid, inode })
}

/// Also true if its parent has not waited for it yet.
fn has_ended(pidfd: &impl AsFd) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    // An error would mean that it is unknown; the process then counts as ended.
    !matches!(poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&at_once)), Ok(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_end_of_a_socket_is_known_while_it_runs() {
        let (ours, _theirs) = UnixStream::pair().expect("a pair");
        let caller = PeerCredentials::of(&ours).expect("connected");
        assert_eq!(caller.uid, nix::unistd::geteuid().as_raw());
        let process = caller.process.expect("it is us");
        assert_eq!(process.pid, std::process::id());
        assert!(process.is_alive());
    }

    #[test]
    fn a_process_that_has_ended_is_not_alive_even_before_it_is_waited_for() {
        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().expect("cat");
        let process = ProcessId::of(child.id()).expect("it runs");
        assert!(process.is_alive());
        drop(child.stdin.take());
        let pidfd = pidfd_open(rustix::process::Pid::from_child(&child), PidfdFlags::empty()).expect("not waited for");
        poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None).expect("it ends");
        assert!(!process.is_alive());
        child.wait().expect("it has ended");
        assert!(!process.is_alive());
        assert!(!ProcessId { inode: process.inode, pid: u32::MAX }.is_alive());
    }
}
