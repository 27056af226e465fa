//! A hold on the first process of a container: proof that it is the container's, and that it still runs.

use std::{fmt, fs, os::fd::OwnedFd, path::PathBuf};

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};

use super::facts::{ContainerFacts, ContainerId};
use crate::caller::{
    cgroup,
    hierarchy::{Groups, MAX_BELOW, Subtree, Walk, host_made},
    pidfd,
};

/// What is known of the first process of a container.
#[derive(Debug)]
pub(super) enum Hold {
    /// This is it.
    Process {
        /// The process.
        process: OwnedFd,
        /// The container's control group in the unified hierarchy.
        group: Option<Box<str>>,
    },
    /// It is not known which one it is, or whether it runs.
    Nothing {
        /// Why.
        why: Unheld,
        /// Whether the administrator accepts that only the runtime reports the container's end.
        accepted: bool,
    },
}

/// Why there is no hold on a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unheld {
    /// The runtime names none.
    NoProcess,
    /// There is none of that number: it has just ended, or the number counts in another PID namespace than ours.
    Gone,
    /// The kernel does not let it be held onto.
    Refused,
    /// It is in no control group of that container.
    Elsewhere,
    /// Its control group cannot be found out.
    Hidden,
}

impl fmt::Display for Unheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoProcess => "the runtime does not report its process id",
            Self::Gone => {
                "there is no process with its id here; the daemon must be in the PID namespace of the runtime"
            }
            Self::Refused => "the kernel refuses a pidfd for it (pidfd_open)",
            Self::Elsewhere => {
                "the process with its id is in no control group of the container; the daemon must be in the PID \
                 namespace of the runtime, and the container in a control group of its own"
            }
            Self::Hidden => {
                "/proc hides its control group, and this kernel does not show it in another way (PIDFD_GET_INFO \
                 needs Linux 6.13 and \
                 control groups of version 2); under systemd the drop-in containers.conf does (`ProtectProc=default`)"
            }
        })
    }
}

/// Takes hold of processes.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    /// Whether a container counts as running if its process is not held onto.
    accepts: bool,
    /// Where control groups are.
    hierarchy: Option<PathBuf>,
    /// The groups that were there at the last look, and those that were given away.
    groups: Groups,
    delegated: Vec<Subtree>,
}

impl Keeper {
    /// One that finds groups by their ids in `hierarchy`, if there is one.
    pub(super) fn new(hierarchy: Option<PathBuf>, accepts: bool) -> Self {
        Self { accepts, hierarchy, ..Self::default() }
    }

    /// Takes hold of the first process of a container.
    pub(super) fn take(&mut self, facts: &ContainerFacts) -> Hold {
        self.proven(facts).unwrap_or_else(|why| Hold::Nothing { why, accepted: self.accepts })
    }

    fn proven(&mut self, facts: &ContainerFacts) -> Result<Hold, Unheld> {
        let pid = facts.pid.filter(|pid| *pid > 0).and_then(Pid::from_raw).ok_or(Unheld::NoProcess)?;
        let process = pidfd_open(pid, PidfdFlags::empty())
            .map_err(|error| if error == Errno::SRCH { Unheld::Gone } else { Unheld::Refused })?;
        // Asked after it was taken hold of: as long as that runs, no other process has its number.
        match self.group(&process, pid, &facts.id) {
            Ok(group) => Ok(Hold::Process { process, group }),
            Err(_) if pidfd::has_ended(&process) => Err(Unheld::Gone),
            Err(why) => Err(why),
        }
    }

    /// The control group of the container in which the process is.
    fn group(&mut self, process: &OwnedFd, pid: Pid, id: &ContainerId) -> Result<Option<Box<str>>, Unheld> {
        if let Ok(groups) = fs::read_to_string(format!("/proc/{}/cgroup", pid.as_raw_nonzero())) {
            let inside = cgroup::is_in_container(&groups, id);
            return inside.then(|| cgroup::group_in_container(&groups, id)).ok_or(Unheld::Elsewhere);
        }
        let group = pidfd::group_id(process).ok_or(Unheld::Hidden)?;
        let path = self.path(group, id).ok_or(Unheld::Elsewhere)?;
        cgroup::group_of(&path, id).map(Some).ok_or(Unheld::Elsewhere)
    }

    /// The path of a group, if it is one of the host's own, or below the container's.
    fn path(&mut self, group: u64, id: &ContainerId) -> Option<Box<str>> {
        if !self.groups.contains_key(&group) {
            let found = host_made(self.hierarchy.as_deref()?).ok()?;
            (self.groups, self.delegated) = (found.groups, found.delegated);
        }
        if let Some(group) = self.groups.get(&group) {
            return Some(group.path.clone());
        }
        let own = self.delegated.iter().filter(|subtree| cgroup::group_of(&subtree.path, id).is_some());
        own.into_iter().find_map(|subtree| {
            let (mut walk, mut found) = (Walk::below(subtree, MAX_BELOW), None);
            while found.is_none()
                && walk.go_on(MAX_BELOW, |id, path| {
                    if id == group {
                        found = Some(path.into());
                    }
                })
            {}
            found
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::facts, *};

    impl Hold {
        pub(in crate::caller::containers) fn of(pid: Pid, group: Option<&str>) -> Self {
            let process = pidfd_open(pid, PidfdFlags::empty()).expect("it runs");
            Self::Process { process, group: group.map(Into::into) }
        }
    }

    fn why(keeper: &mut Keeper, pid: Option<i32>) -> (Unheld, bool) {
        match keeper.take(&ContainerFacts { pid, ..facts('a', "") }) {
            Hold::Nothing { why, accepted } => (why, accepted),
            hold @ Hold::Process { .. } => panic!("{hold:?}"),
        }
    }

    #[test]
    fn no_process_is_taken_for_a_containers_without_proof() {
        let own = std::process::id().try_into().expect("a number");
        for accepts in [false, true] {
            let mut keeper = Keeper::new(None, accepts);
            assert_eq!(why(&mut keeper, None), (Unheld::NoProcess, accepts));
            assert_eq!(why(&mut keeper, Some(0)), (Unheld::NoProcess, accepts));
            assert_eq!(why(&mut keeper, Some(i32::MAX)), (Unheld::Gone, accepts));
            assert_eq!(why(&mut keeper, Some(own)), (Unheld::Elsewhere, accepts));
        }
    }

    #[test]
    fn a_group_is_found_by_its_id_also_below_one_that_was_given_away() {
        use std::os::unix::fs::{MetadataExt, chown};
        let root = tempfile::tempdir().expect("a directory");
        let id = facts('a', "").id;
        let own = root.path().join(format!("docker/{}", id.as_str()));
        let inside = own.join("init");
        fs::create_dir_all(&inside).expect("made");
        let mut keeper = Keeper::new(Some(root.path().to_owned()), false);
        let number = |path: &PathBuf| fs::metadata(path).expect("made").ino();
        if rustix::process::geteuid().is_root() {
            chown(&own, Some(1), None).expect("root may");
        }
        for (path, expected) in [(&own, ""), (&inside, "/init")] {
            let expected = format!("/docker/{}{expected}", id.as_str());
            assert_eq!(keeper.path(number(path), &id).as_deref(), Some(expected.as_str()));
        }
        // One that is made later is found, too; what is another's is not looked at.
        let later = root.path().join("docker/later");
        fs::create_dir(&later).expect("made");
        assert_eq!(keeper.path(number(&later), &id).as_deref(), Some("/docker/later"));
        if rustix::process::geteuid().is_root() {
            chown(&later, Some(2), None).expect("root may");
            fs::create_dir(later.join("x")).expect("made");
            assert_eq!(keeper.path(number(&later.join("x")), &id), None);
        }
        assert_eq!(keeper.path(0, &id), None);
    }
}
