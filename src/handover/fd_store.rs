//! The file-descriptor store of systemd, which keeps a sealed memory file while the daemon is restarted.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, RawFd},
};

use alppaca_command::service_manager::notify_with;
use sd_notify::NotifyState;
use zeroize::Zeroizing;

use super::memory::{MemoryError, read_sealed, sealed};

/// What all names there begin with.
const PREFIX: &str = "alppaca-";
/// The names of the files there: the one that is new is stored under the one name before the other is removed, so that there is
/// always one.
const NAMES: [&str; 2] = ["alppaca-sets-0", "alppaca-sets-1"];
/// What the names of the listeners begin with that the daemon has bound itself; then comes the face.
const LISTENER: &str = "alppaca-listener-";

/// The store of the service manager that started this daemon.
#[derive(Debug, Default)]
pub struct FdStore {
    /// Which of the names is next.
    next: usize,
}

/// Whether a descriptor of that name (`LISTEN_FDNAMES`) is one of ours.
pub fn is_ours(name: &str) -> bool {
    NAMES.contains(&name)
}

/// The face of a listener that was kept under that name.
pub fn face_of_listener(name: &str) -> Option<&str> {
    name.strip_prefix(LISTENER)
}

/// Whether a name is one of this program's, of whichever version. Those of socket units end in another way.
pub fn is_of_any_version(name: &str) -> bool {
    name.starts_with(PREFIX) && !name.ends_with(".socket")
}

impl FdStore {
    /// A store in which something is kept under the name `kept`.
    pub fn after(kept: Option<&str>) -> Self {
        let next = NAMES.iter().position(|name| Some(*name) != kept).unwrap_or_default();
        Self { next }
    }

    /// Keeps `bytes` in the place of what was kept before.
    pub fn keep(&mut self, bytes: &[u8]) -> Result<(), MemoryError> {
        let file = sealed(bytes)?;
        let (name, other) = (NAMES[self.next], NAMES[1 - self.next]);
        // A process that was killed may have left something there.
        remove(name)?;
        store(name, file.as_fd())?;
        remove(other)?;
        self.next = 1 - self.next;
        Ok(())
    }
}

/// The name under which the listener of a face is kept or handed over.
pub fn name_of_listener(face: &str) -> String {
    format!("{LISTENER}{face}")
}

/// Keeps a listener of `face`, beside the others of it.
pub fn keep_listener(face: &str, listener: BorrowedFd) -> io::Result<()> {
    store(&name_of_listener(face), listener)
}

/// Drops all that are kept under that name.
pub fn drop_listeners(name: &str) -> io::Result<()> {
    remove(name)
}

fn store(name: &str, descriptor: BorrowedFd) -> io::Result<()> {
    notify_with(&[NotifyState::FdStore, NotifyState::FdName(name)], Some(descriptor))
}

fn remove(name: &str) -> io::Result<()> {
    notify_with(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)], None)
}

/// Reads a file that was kept, and closes its descriptor, which programs that this process starts would inherit.
pub fn take(descriptor: RawFd) -> Result<Zeroizing<Vec<u8>>, MemoryError> {
    // Its own descriptor of the same file: adopting the number itself would need unsafe code.
    let file = File::open(format!("/proc/self/fd/{descriptor}"));
    nix::unistd::close(descriptor).map_err(io::Error::from)?;
    read_sealed(&file?)
}

/// Closes a descriptor that was kept and is of no use.
pub fn discard(descriptor: RawFd) {
    // It is closed in any case.
    let _closed = nix::unistd::close(descriptor);
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::fd::IntoRawFd};

    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;

    #[test]
    fn a_sealed_file_is_read_once_and_cannot_be_changed() {
        let file = sealed(b"sets").expect("memory");
        assert!((&file).write_all(b"other").is_err());
        let descriptor = file.into_raw_fd();
        assert_eq!(*take(descriptor).expect("it is good"), b"sets");
    }

    #[test]
    fn what_could_have_been_changed_is_not_read() {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = File::from(memfd_create("open", flags).expect("memory"));
        assert!(matches!(take(file.into_raw_fd()), Err(MemoryError::NotSealed)));
        let ordinary = File::open("/proc/self/exe").expect("it runs");
        assert!(take(ordinary.into_raw_fd()).is_err());
    }

    #[test]
    fn what_is_kept_is_not_overwritten_in_its_own_place() {
        for (kept, next) in [(None, 0), (Some(NAMES[0]), 1), (Some(NAMES[1]), 0)] {
            assert_eq!(FdStore::after(kept).next, next);
        }
        assert!(is_ours(NAMES[1]) && !is_ours("alppaca.socket"));
        for (name, ours) in
            [(NAMES[0], true), ("alppaca-queue-7", true), ("alppaca-ecs.socket", false), ("imds", false)]
        {
            assert_eq!(is_of_any_version(name), ours, "{name}");
        }
    }
}
