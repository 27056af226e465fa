//! A file where it is: written as a whole beside it and then given its name, and removed. Nothing that others have put there is
//! followed or overwritten.

use std::{
    ffi::{OsStr, OsString},
    fs::File as OpenFile,
    io::{self, Read, Write},
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{
        AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, fstat, mkdirat, open, openat, renameat, renameat_with,
        statat, statfs, unlinkat,
    },
    io::Errno,
    process::geteuid,
};

use crate::{
    access::Readers,
    credentials::SecretBytes,
    file::{DIRECTORY, File},
    render::is_ours,
    trust::{Purpose, Trust},
};

/// File systems that are in memory (`statfs(2)`).
const TMPFS: i64 = 0x0102_1994;
const RAMFS: i64 = 0x8584_58f6;

/// Why a file is not written or removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// There is no such directory, or it cannot be used.
    #[error("its directory cannot be opened: {0}; it has to exist, and the daemon's account needs to write in it")]
    Directory(io::Error),
    /// Others could replace what is in the directory.
    #[error("{0}")]
    Untrusted(String),
    /// There is a file that we have not written.
    #[error("there is another file of that name, which alppaca has not written: move it away, or set another `path`")]
    Foreign,
    /// There is something else.
    #[error("what has that name is no regular file: remove it, or set another `path`")]
    NoFile,
    /// The audit is required, and cannot record it.
    #[error("the audit cannot be written, and `audit_required` is set")]
    NotRecorded,
    /// No such account.
    #[error("there is no user {0:?} on this host (`users`)")]
    NoUser(String),
    /// No such group.
    #[error("there is no group {0:?} on this host (`groups`)")]
    NoGroup(String),
    /// The file system has no access control lists.
    #[error("the file system has no access control lists, which `users` and `groups` need; use another one, or `mode`")]
    NoLists,
    /// Anything else.
    #[error("{step}: {source}")]
    Io {
        /// What was done.
        step: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

impl FileError {
    pub(crate) fn io(step: &'static str, error: impl Into<io::Error>) -> Self {
        Self::Io { step, source: error.into() }
    }
}

/// What there is under the name of a file.
enum Found {
    Nothing,
    Ours(OpenFile),
}

/// Where a file is: its directory, and its name there.
pub(crate) struct Place<'a> {
    directory: OwnedFd,
    name: &'a OsStr,
}

impl<'a> Place<'a> {
    /// The place of a file that is to be written: others must not be able to replace what is there. The directory of files
    /// that are named without one is made if it is not there.
    pub(crate) fn to_write(file: &'a File, trust: &Trust) -> Result<Self, FileError> {
        let path = file.directory();
        let opened = match directory(path) {
            Err(Errno::NOENT) if path.file_name() == Some(OsStr::new(DIRECTORY)) => {
                make(path).and_then(|()| directory(path))
            }
            opened => opened,
        };
        let directory = opened.map_err(|error| FileError::Directory(error.into()))?;
        match trust.judge(path, "its directory", Purpose::Obeyed).first() {
            Some(fault) => Err(FileError::Untrusted(fault.to_string())),
            None => Ok(Self { directory, name: name(&file.path)? }),
        }
    }

    /// The place of a file that may be there; nothing without its directory.
    pub(crate) fn of_former(path: &'a Path) -> Result<Option<Self>, FileError> {
        match directory(path.parent().unwrap_or(Path::new("/"))) {
            Ok(directory) => Ok(Some(Self { directory, name: name(path)? })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(FileError::Directory(error.into())),
        }
    }

    /// Whether there is a file of ours.
    pub(crate) fn exists(&self) -> Result<bool, FileError> {
        self.find().map(|found| matches!(found, Found::Ours(_)))
    }

    /// Has the file have this text and these readers; whether that is a change. Of a change, `witness` says whether it may
    /// take place, before anybody can read it.
    pub(crate) fn write(
        &self,
        text: &SecretBytes,
        readers: &Readers,
        witness: impl FnOnce() -> bool,
    ) -> Result<bool, FileError> {
        let found = self.find()?;
        if let Found::Ours(file) = &found
            && same(file, text)
            && readers.is_applied(file.as_fd())
        {
            return Ok(false);
        }
        let temporary = self.temporary();
        let written = self.write_beside(&temporary, text, readers, witness).and_then(|()| {
            let (directory, failed) =
                (&self.directory, |error| FileError::io("the new one cannot be put in its place", error));
            match found {
                Found::Ours(_) => renameat(directory, &temporary, directory, self.name).map_err(failed),
                // Whatever has come meanwhile is not overwritten.
                Found::Nothing => {
                    renameat_with(directory, &temporary, directory, self.name, RenameFlags::NOREPLACE).map_err(failed)
                }
            }
        });
        if written.is_err() {
            self.clear(&temporary)?;
        }
        written.map(|()| true)
    }

    /// Removes the file if it is ours, and has `witness` take note of that; whether it was there.
    pub(crate) fn remove(&self, witness: impl FnOnce()) -> Result<bool, FileError> {
        let removed = match self.find() {
            // Never ours to remove.
            Ok(Found::Nothing) | Err(FileError::Foreign | FileError::NoFile) => false,
            Ok(Found::Ours(_)) => {
                self.clear(self.name)?;
                witness();
                true
            }
            Err(error) => return Err(error),
        };
        self.clear(&self.temporary()).map(|()| removed)
    }

    /// Looks, without following a link, and reads no more than is needed.
    fn find(&self) -> Result<Found, FileError> {
        let failed = |error| FileError::io("what is there cannot be looked at", error);
        match statat(&self.directory, self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(Found::Nothing),
            // Neither is a FIFO opened, which could wait for its other end.
            Ok(found) if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile => {
                return Err(FileError::NoFile);
            }
            Ok(found) if found.st_uid != geteuid().as_raw() => return Err(FileError::Foreign),
            Ok(_) => {}
            Err(error) => return Err(failed(error)),
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = openat(&self.directory, self.name, flags, Mode::empty()).map_err(failed)?;
        let mut file = OpenFile::from(file);
        let mut head = [0; 64];
        let length = file.read(&mut head).map_err(|error| FileError::io("what is there cannot be read", error))?;
        if is_ours(&head[..length]) { Ok(Found::Ours(file)) } else { Err(FileError::Foreign) }
    }

    /// What a file is called until it is whole. The same each time, so that no more than one is ever left.
    fn temporary(&self) -> OsString {
        let mut name = OsString::from(".");
        name.push(self.name);
        name.push(".alppaca");
        name
    }

    fn write_beside(
        &self,
        name: &OsStr,
        text: &SecretBytes,
        readers: &Readers,
        witness: impl FnOnce() -> bool,
    ) -> Result<(), FileError> {
        self.clear(name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.directory, name, flags, Mode::RUSR | Mode::WUSR);
        let mut file =
            OpenFile::from(file.map_err(|error| FileError::io("a new one cannot be made beside it", error))?);
        file.write_all(text.expose()).map_err(|error| FileError::io("its text cannot be stored", error))?;
        // From here on others can read it, also under this name.
        if !witness() {
            return Err(FileError::NotRecorded);
        }
        readers.apply(file.as_fd())?;
        // On a disk the name could otherwise be there after a crash, and the text not.
        file.sync_all().map_err(|error| FileError::io("its text cannot be stored", error))
    }

    /// Removes what has that name, if anything has.
    fn clear(&self, name: &OsStr) -> Result<(), FileError> {
        match unlinkat(&self.directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(FileError::io("its name cannot be taken away", error)),
        }
    }
}

/// Whether a file has exactly this text. Its beginning has been read.
fn same(file: &OpenFile, text: &SecretBytes) -> bool {
    let length = text.expose().len();
    if fstat(file).map_or(-1, |found| found.st_size) != i64::try_from(length).unwrap_or(i64::MAX) {
        return false;
    }
    let mut found = vec![0; length];
    let read = std::os::unix::fs::FileExt::read_exact_at(file, &mut found, 0);
    read.is_ok() && SecretBytes::new(found) == *text
}

fn name(path: &Path) -> Result<&OsStr, FileError> {
    path.file_name().ok_or(FileError::NoFile)
}

fn directory(path: &Path) -> Result<OwnedFd, Errno> {
    open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Makes a directory that every account may pass, and only ours may list.
fn make(path: &Path) -> Result<(), Errno> {
    match mkdirat(CWD, path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => rustix::fs::chmod(path, Mode::from_bits_truncate(0o711)),
        failed => failed,
    }
}

/// Whether what is written in a directory stays in memory; `None` if that cannot be known. One that is not there yet is in the
/// file system of the one above.
pub fn is_in_memory(directory: &Path) -> Option<bool> {
    let found = directory.ancestors().find_map(|path| statfs(path).ok())?;
    #[allow(clippy::unnecessary_cast, reason = "the type differs between architectures")]
    let kind = found.f_type as i64;
    Some(matches!(kind, TMPFS | RAMFS))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt, PermissionsExt, symlink},
        path::PathBuf,
    };

    use tempfile::TempDir;

    use super::*;
    use crate::{Access, Format, Profile};

    const TEXT: &[u8] = b"# Written by alppaca: one\n";
    const OTHER: &[u8] = b"# Written by alppaca: two\n";

    fn file(path: PathBuf) -> File {
        let profiles = vec![Profile { name: "default".into(), role: "web".parse().expect("a name") }];
        File { path, format: Format::Credentials, profiles, access: Access::default() }
    }

    fn write(file: &File, text: &[u8]) -> Result<bool, FileError> {
        let place = Place::to_write(file, &Trust::of(None))?;
        place.write(&SecretBytes::new(text.to_vec()), &file.access.look_up()?, || true)
    }

    fn remove(path: &Path) -> Result<bool, FileError> {
        Place::of_former(path)?.map_or(Ok(false), |place| place.remove(|| {}))
    }

    fn names(directory: &TempDir) -> Vec<String> {
        let entries = fs::read_dir(directory.path()).expect("ours");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_written_whole_and_only_if_that_changes_it() {
        let directory = TempDir::new().expect("a directory");
        let mut file = file(directory.path().join("f"));
        assert!(write(&file, TEXT).expect("ours"));
        let found = fs::metadata(&file.path).expect("there");
        assert_eq!((found.mode() & 0o7777, fs::read(&file.path).expect("ours").as_slice()), (0o600, TEXT));
        assert!(!write(&file, TEXT).expect("ours"), "it is so already");
        assert_eq!(fs::metadata(&file.path).expect("there").ino(), found.ino());
        assert!(write(&file, OTHER).expect("ours"));
        assert_ne!(fs::metadata(&file.path).expect("there").ino(), found.ino(), "readers keep the one that they have");
        file.access.mode = 0o640;
        assert!(write(&file, OTHER).expect("ours"));
        assert_eq!(fs::metadata(&file.path).expect("there").mode() & 0o7777, 0o640);
        fs::set_permissions(&file.path, fs::Permissions::from_mode(0o644)).expect("ours");
        assert!(write(&file, OTHER).expect("ours"), "somebody has let all read it");
        assert_eq!(names(&directory), ["f"]);
        assert!(remove(&file.path).expect("ours"));
        assert!(!remove(&file.path).expect("ours"), "it is not there");
        assert_eq!(names(&directory), [""; 0]);
    }

    #[test]
    fn what_others_have_put_there_is_neither_followed_nor_overwritten_nor_removed() {
        let directory = TempDir::new().expect("a directory");
        let (victim, file) = (directory.path().join("victim"), file(directory.path().join("f")));
        fs::write(&victim, "theirs").expect("ours");
        symlink(&victim, &file.path).expect("a link");
        symlink(&victim, directory.path().join(".f.alppaca")).expect("a link");
        assert!(matches!(write(&file, TEXT), Err(FileError::NoFile)));
        assert!(!remove(&file.path).expect("nothing of ours"));
        fs::remove_file(&file.path).expect("ours");
        fs::write(&file.path, "[default]\n").expect("ours");
        assert!(matches!(write(&file, TEXT), Err(FileError::Foreign)));
        assert!(!remove(&file.path).expect("nothing of ours"));
        assert_eq!(fs::read_to_string(&file.path).expect("ours"), "[default]\n");
        fs::remove_file(&file.path).expect("ours");
        rustix::fs::mknodat(CWD, &file.path, FileType::Fifo, Mode::RUSR, 0).expect("a FIFO");
        assert!(matches!(write(&file, TEXT), Err(FileError::NoFile)), "without waiting for its other end");
        fs::remove_file(&file.path).expect("ours");
        symlink(&victim, directory.path().join(".f.alppaca")).expect("the first was removed");
        assert!(write(&file, TEXT).expect("ours"));
        assert_eq!(fs::read_to_string(&victim).expect("ours"), "theirs");
        assert_eq!(names(&directory), ["f", "victim"]);
    }

    #[test]
    fn a_directory_in_which_others_can_write_is_refused() {
        let directory = TempDir::new().expect("a directory");
        let file = file(directory.path().join("f"));
        for mode in [0o777, 0o1777] {
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).expect("ours");
            let error = write(&file, TEXT).expect_err("others could replace it").to_string();
            assert!(error.contains("can be changed by every user"), "{error}");
            assert_eq!(error.contains("chmod o-w"), mode == 0o777, "{error}");
        }
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("ours");
        assert!(write(&file, TEXT).is_ok());
    }

    #[test]
    fn only_the_directory_of_the_daemon_is_made() {
        let directory = TempDir::new().expect("a directory");
        let elsewhere = file(directory.path().join("elsewhere/f"));
        let error = write(&elsewhere, TEXT).expect_err("it is not there").to_string();
        assert!(error.starts_with("its directory cannot be opened: No such file"), "{error}");
        assert!(!remove(&elsewhere.path).expect("nothing"));
        let own = file("f".into()).in_run_dir(directory.path());
        assert!(write(&own, TEXT).expect("ours"));
        let found = fs::metadata(directory.path().join(DIRECTORY)).expect("there");
        assert_eq!(found.mode() & 0o7777, 0o711);
    }

    #[test]
    fn others_read_by_an_access_control_list() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let directory = TempDir::new().expect("a directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("ours");
        let mut file = file(directory.path().join("f"));
        file.access = Access { users: vec!["61001".into()], groups: vec!["61500".into()], ..Access::default() };
        match write(&file, TEXT) {
            Err(FileError::NoLists) => return,
            written => assert!(written.expect("ours")),
        }
        assert!(!write(&file, TEXT).expect("ours"), "it is so already");
        let reads = |uid: u32, gid: u32| {
            use std::os::unix::process::CommandExt;
            let mut cat = std::process::Command::new("cat");
            cat.arg(&file.path).uid(uid).gid(gid).output().expect("it runs").stdout == TEXT
        };
        assert!(reads(61001, 61001) && reads(61002, 61500) && !reads(61002, 61002));
        file.access = Access::default();
        assert!(write(&file, TEXT).expect("ours"));
        assert!(!std::process::Command::new("cat").arg(&file.path).output().expect("it runs").stdout.is_empty());
    }

    #[test]
    fn what_is_in_memory_is_known() {
        assert_eq!(is_in_memory(Path::new("/proc")), Some(false));
        if Path::new("/dev/shm").is_dir() {
            assert_eq!(is_in_memory(Path::new("/dev/shm/not/there")), Some(true));
        }
    }
}
