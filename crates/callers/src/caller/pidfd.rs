//! A process behind a pidfd: whether it still runs, and its control group without `/proc`, where it may be hidden.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use pidfd_util::{PidFd, PidFdExt};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{PidfdFlags, getpid, pidfd_open},
};

/// Whether it has ended, even if its parent has not taken note of that yet.
pub(super) fn has_ended(process: &impl AsFd) -> bool {
    let mut ended = [PollFd::new(process, PollFlags::IN)];
    // An error says nothing about the process: then it is not taken for alive.
    !matches!(poll(&mut ended, Some(&Timespec::default())), Ok(0))
}

/// The id of its control group in the unified hierarchy, which `PIDFD_GET_INFO` shows since Linux 6.13. `None` where that
/// is not certain.
pub(super) fn group_id(process: &impl AsFd) -> Option<u64> {
    let before = shown(&pidfd_open(getpid(), PidfdFlags::empty()).ok()?).ok()?;
    let group = shown(process).ok()?;
    let after = shown(&pidfd_open(getpid(), PidfdFlags::empty()).ok()?).ok()?;
    believed(group, [before, after])
}

/// The first kernels with this call answered with the group of its caller. Nothing that could be such an
/// answer is believed, so that no other process is ever taken for one of our own group's.
fn believed(group: u64, own: [u64; 2]) -> Option<u64> {
    (group != 0 && !own.contains(&group)).then_some(group)
}

fn shown(process: &impl AsFd) -> io::Result<u64> {
    let process: OwnedFd = process.as_fd().try_clone_to_owned()?;
    PidFd::from(process).get_cgroupid()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use rustix::process::Pid;

    use super::*;

    #[test]
    fn an_answer_that_may_be_our_own_group_is_not_believed() {
        assert_eq!(believed(7, [1, 1]), Some(7));
        for (group, own) in [(1, [1, 1]), (1, [1, 2]), (2, [1, 2]), (0, [1, 1])] {
            assert_eq!(believed(group, own), None, "{group} {own:?}");
        }
    }

    #[test]
    fn a_process_is_seen_to_end() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().expect("cat");
        let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).expect("it runs");
        assert!(!has_ended(&process));
        // It is in our own group.
        assert_eq!(group_id(&process), None);
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        assert!(has_ended(&process));
        assert_eq!(group_id(&process), None);
    }
}
