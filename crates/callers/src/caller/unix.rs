//! The client of a Unix socket, as the kernel recorded it on connect.

use std::os::{fd::AsFd, unix::net::UnixStream};

use nix::sys::socket::{getsockopt, sockopt::PeerPidfd};
use rustix::{fs::fstat, net::sockopt::socket_peercred};

use super::{Membership, Origin, Peer, Process, cgroup, namespace, pidfd};

impl Peer {
    /// The other end of a Unix socket that was accepted.
    pub fn of_unix(socket: &UnixStream) -> Self {
        let origin = match (socket_peercred(socket), fstat(socket), namespace::overflow_uid()) {
            (Ok(credentials), Ok(stat), Ok(overflow)) if Some(credentials.uid.as_raw()) != overflow => {
                let pid = credentials.pid.as_raw_pid().unsigned_abs();
                Origin::Process(Process {
                    uid: credentials.uid.as_raw(),
                    gid: Some(credentials.gid.as_raw()),
                    pid: Some(pid),
                    inode: stat.st_ino,
                    cgroup: membership(socket, pid),
                })
            }
            _ => Origin::Unknown { ours: true },
        };
        Self { address: None, origin }
    }
}

/// The control group of the process that connected, if it still runs: its number may belong to another by now.
fn membership(socket: &UnixStream, pid: u32) -> Membership {
    // Before Linux 6.5 there is no such option; then nothing is certain.
    let Ok(process) = getsockopt(&socket.as_fd(), PeerPidfd) else { return Membership::Unknown };
    let group = match cgroup::of_process(pid) {
        Ok(group) if group.is_root() => Membership::Unknown,
        Ok(group) => Membership::Known(group.into()),
        // `/proc` may hide other users' processes; the directory of groups says which one this is.
        Err(_) => pidfd::group_id(&process).map_or(Membership::Unknown, Membership::Id),
    };
    if pidfd::has_ended(&process) { Membership::Unknown } else { group }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_end_is_the_process_that_connected() {
        let (one, _other) = UnixStream::pair().expect("a pair");
        let Origin::Process(process) = Peer::of_unix(&one).origin else { panic!("not known") };
        assert_eq!(process.uid, rustix::process::geteuid().as_raw());
        assert_eq!(process.pid, Some(std::process::id()));
        assert!(process.gid.is_some() && process.inode != 0);
    }
}
