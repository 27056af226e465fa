//! A file in a cache that the AWS CLI and other SDKs share with us: read whole, and replaced in one step. It stays its
//! owner's, whatever account the daemon has.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Read, Write},
    os::fd::OwnedFd,
    path::Path,
};

use aws_lc_rs::digest::{Algorithm, digest};
use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid, fchmod, fchown, fstat, open, openat, renameat, unlinkat},
    io::Errno,
};
use zeroize::Zeroizing;

/// No login is longer: a refresh token has up to 12 KiB.
const MAX_BYTES: usize = 64 * 1024;

/// The name of the file that is about something of this name.
pub(super) fn file_name(algorithm: &'static Algorithm, name: &str) -> String {
    let mut file = String::new();
    for byte in digest(algorithm, name.as_bytes()).as_ref() {
        // A String takes whatever is written.
        let _ = write!(file, "{byte:02x}");
    }
    file + ".json"
}

/// A file that was read.
pub(super) struct Shared {
    directory: OwnedFd,
    name: String,
    stat: Stat,
    pub(super) bytes: Zeroizing<Vec<u8>>,
}

impl Shared {
    /// Reads it. The directory is kept open, so that what replaces the file lies where it lay.
    pub(super) fn read(directory: &Path, name: &str) -> io::Result<Self> {
        let directory = open(directory, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        // What is no file must not hold up others.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&directory, name, flags, Mode::empty())?;
        let stat = fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("it is not a regular file"));
        }
        // As large as it may become, since a buffer that grows leaves copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES + 1));
        File::from(file).take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > MAX_BYTES {
            return Err(io::Error::other("it is longer than 64 KiB"));
        }
        Ok(Self { directory, name: name.to_owned(), stat, bytes })
    }

    /// Puts another content in its place.
    pub(super) fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let new = format!(".{}.{:016x}", self.name, fastrand::u64(..));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.directory, &new, flags, Mode::RUSR | Mode::WUSR)?;
        let written = self.fill(file, bytes).and_then(|()| {
            renameat(&self.directory, &new, &self.directory, &self.name)?;
            Ok(())
        });
        if written.is_err() {
            // Nothing else can be done about it, and the first error is the one to report.
            let _left = unlinkat(&self.directory, &new, AtFlags::empty());
        }
        written
    }

    fn fill(&self, file: OwnedFd, bytes: &[u8]) -> io::Result<()> {
        let Stat { st_uid, st_gid, st_mode, .. } = self.stat;
        let own = fstat(&file)?;
        if (own.st_uid, own.st_gid) != (st_uid, st_gid) {
            fchown(&file, Some(Uid::from_raw(st_uid)), Some(Gid::from_raw(st_gid))).map_err(|error| match error {
                Errno::PERM => io::Error::other("it belongs to another account, which could not read it afterwards"),
                error => error.into(),
            })?;
        }
        fchmod(&file, Mode::from_raw_mode(st_mode & 0o666))?;
        let mut file = File::from(file);
        file.write_all(bytes)?;
        file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn it_is_replaced_in_one_step_and_keeps_its_mode() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("f.json");
        fs::write(&path, "old").expect("writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("ours");
        let file = Shared::read(directory.path(), "f.json").expect("there");
        assert_eq!(**file.bytes, *b"old");
        let reader = fs::File::open(&path).expect("there");
        file.replace(b"new").expect("writable");
        assert_eq!(io::read_to_string(reader).expect("readable"), "old", "one that reads gets all of the old one");
        assert_eq!(fs::read_to_string(&path).expect("there"), "new");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(directory.path()).expect("there").count(), 1, "nothing is left behind");
    }

    #[test]
    fn only_a_file_of_the_directory_itself_is_taken() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("f"), vec![b'a'; MAX_BYTES + 1]).expect("writable");
        symlink("f", directory.path().join("link")).expect("writable");
        fs::create_dir(directory.path().join("d")).expect("writable");
        for (name, part) in [
            ("f", "longer than 64 KiB"),
            ("link", "symbolic link"),
            ("d", "not a regular file"),
            ("none", "No such file"),
        ] {
            let said = Shared::read(directory.path(), name).err().expect(name).to_string();
            assert!(said.contains(part), "{name}: {said}");
        }
    }
}
