//! A directory of the daemon's own, made by root without following symbolic links.

use std::{fs, io, path::Path};

use rustix::fs::{Gid, Mode, OFlags, Uid, fchown, fstat, mkdirat, open, openat};

use super::Identity;

/// Makes the directory, and those above it, if it is not there, and gives it to `identity`. One that was there before may be
/// anybody's: `run_dir: /run` is not given away.
pub fn make_directory(path: &Path, identity: Option<&Identity>) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mask = rustix::process::umask(Mode::from_bits_truncate(0o022));
    let made = make(parent, name);
    rustix::process::umask(mask);
    let Some(made) = made? else { return Ok(()) };
    if let Some(Identity { uid, gid, .. }) = identity {
        fchown(&made, Some(Uid::from_raw(uid.as_raw())), Some(Gid::from_raw(gid.as_raw())))?;
    }
    Ok(())
}

/// `None` if another process was faster.
fn make(parent: &Path, name: &std::ffi::OsStr) -> io::Result<Option<std::os::fd::OwnedFd>> {
    fs::create_dir_all(parent)?;
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = open(parent, flags, Mode::empty())?;
    match mkdirat(&parent, name, Mode::from_bits_truncate(0o755)) {
        Err(rustix::io::Errno::EXIST) => return Ok(None),
        made => made?,
    }
    let made = openat(&parent, name, flags | OFlags::NOFOLLOW, Mode::empty())?;
    if fstat(&made)?.st_uid != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("another user has replaced the directory that was just made"));
    }
    Ok(Some(made))
}
