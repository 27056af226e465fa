//! The lock on the pid file identifies the running daemon. The kernel names its holder, which cannot be forged; what is
//! written in the file is for people only, since the daemon's account can write anything there.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use rustix::{
    fs::{FlockOperation, OFlags, fcntl_lock},
    process::{Flock, FlockType, Pid, fcntl_getlk},
};

/// Never follows a link, and never waits, whatever has the name.
const FLAGS: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK);

/// Opens the pid file to look at it.
pub(super) fn open(path: &Path) -> io::Result<File> {
    plain(OpenOptions::new().read(true).custom_flags(FLAGS.bits().cast_signed()).open(path)?)
}

/// Opens the pid file, which is made if it is not there, to lock it.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o644);
    plain(options.custom_flags(FLAGS.bits().cast_signed()).open(path)?)
}

/// Locks it for as long as this process lives and opens the file nowhere else. `false`: another process has done so.
pub(super) fn take(file: &File) -> io::Result<bool> {
    match fcntl_lock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The process that has locked the file. A user who may only read it cannot.
pub(super) fn holder(file: &File) -> io::Result<Option<Pid>> {
    let found = fcntl_getlk(file, &Flock::from(FlockType::ReadLock))?;
    match found {
        None => Ok(None),
        Some(Flock { pid: Some(pid), .. }) => Ok(Some(pid)),
        Some(_) => Err(io::Error::other("it is locked by a process of another PID namespace")),
    }
}

fn plain(file: File) -> io::Result<File> {
    let found = file.metadata()?;
    if found.is_file() && found.nlink() == 1 {
        Ok(file)
    } else {
        Err(io::Error::other("it is not a regular file with one name; remove it"))
    }
}
