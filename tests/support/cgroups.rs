//! Control groups of a test's own, in the unified hierarchy.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use super::{cannot, needs_root};

/// A slice right below the root of the hierarchy; gone when it is dropped, with all groups in it.
pub struct Slice(PathBuf);

impl Slice {
    /// A new one; `None` if this machine has none, in which case the test `what` is reported as skipped.
    pub fn new(what: &str) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !needs_root(what) {
            return None;
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let Some(root) = alppaca::caller::cgroup::parse_mount_point(&mounts) else {
            cannot(what, "there is no cgroup v2 hierarchy");
            return None;
        };
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let slice = Self(root.join(format!("alptest{}n{number}.slice", std::process::id())));
        if let Err(error) = fs::create_dir(&slice.0) {
            cannot(what, &format!("cannot make a control group: {error}"));
            return None;
        }
        Some(slice)
    }

    /// Makes a group in it.
    pub fn group(&self, path: &str) -> PathBuf {
        let group = self.0.join(path);
        fs::create_dir_all(&group).expect("root may");
        group
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// Groups have files that cannot be removed, and go with their directory.
fn remove(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    for _ in 0..100 {
        // It is busy until its last process is gone for good, of which there is no event.
        if fs::remove_dir(group).is_ok() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// A command that runs `program` in a group.
pub fn command_in(group: &Path, program: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "echo $$ > \"$1\"/cgroup.procs && shift && exec \"$@\"", "sh"]).arg(group).arg(program);
    command
}
