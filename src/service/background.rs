//! The daemon's side: detach, lock the pid file, report readiness.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, Gid, Uid, access, fchown},
    process::{chdir, setsid},
    stdio::{dup2_stderr, dup2_stdout},
};

use super::{NEW_PID_FILE, PID_FILE, READY, ServiceError, WAITING, lock};
use crate::sandbox::{Identity, make_directory};

/// A process that has detached itself and is not ready yet.
#[derive(Debug)]
pub struct Background {
    pid_file: PidFile,
}

/// The locked pid file. It is removed when this is dropped, unless it is another process's by then, if the directory is still
/// ours to write.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    locked: File,
}

impl Background {
    /// Detaches from the session and takes the pid file in `run_dir`, which is made, and then belongs
    /// to `identity`, if it is not there. Called before privileges are dropped.
    pub fn begin(run_dir: &Path, identity: Option<&Identity>) -> Result<Self, ServiceError> {
        Self::begin_with(PID_FILE, run_dir, identity)
    }

    /// The same beside a process that has the pid file, and that this one replaces when it is ready.
    pub fn begin_beside(run_dir: &Path, identity: Option<&Identity>) -> Result<Self, ServiceError> {
        Self::begin_with(NEW_PID_FILE, run_dir, identity)
    }

    fn begin_with(name: &str, run_dir: &Path, identity: Option<&Identity>) -> Result<Self, ServiceError> {
        let file = |path: &Path| {
            let path = path.to_owned();
            move |source| ServiceError::File { path, source }
        };
        make_directory(run_dir, identity).map_err(file(run_dir))?;
        let path = run_dir.join(name);
        let mut taken = take(&path).map_err(file(&path))?;
        if taken.is_none() && lock::open(&path).and_then(|file| lock::holder(&file)).map_err(file(&path))?.is_none() {
            // A user who may only read the file has locked it against us: let that user keep it.
            fs::remove_file(&path).map_err(file(&path))?;
            taken = take(&path).map_err(file(&path))?;
        }
        let Some(locked) = taken else { return Err(ServiceError::Running(path)) };
        if let Some(Identity { uid, gid, .. }) = identity {
            let (uid, gid) = (Uid::from_raw(uid.as_raw()), Gid::from_raw(gid.as_raw()));
            fchown(&locked, Some(uid), Some(gid)).map_err(|error| file(&path)(error.into()))?;
        }
        // It fails only for a leader of a process group, which has no terminal to lose either.
        let _leads_already = setsid();
        chdir("/").map_err(|error| ServiceError::System { what: "leave the directory", source: error.into() })?;
        Ok(Self { pid_file: PidFile { path, locked } })
    }

    /// Whether this process, by the rights that it has now, can give the pid file its name.
    pub fn can_replace(&self) -> io::Result<()> {
        let directory = self.pid_file.path.parent().unwrap_or(Path::new("/"));
        Ok(access(directory, Access::WRITE_OK | Access::EXEC_OK)?)
    }

    /// Puts the pid file in the place of that of the process which this one has replaced.
    pub fn replaces(&mut self) -> Result<(), ServiceError> {
        let path = self.pid_file.path.with_file_name(PID_FILE);
        // Where it cannot be renamed, `keep` makes it.
        let before = std::mem::replace(&mut self.pid_file.path, path.clone());
        fs::rename(before, &path).map_err(|source| ServiceError::File { path, source })
    }

    /// Reports to the starter that readiness may take any time, after stderr has shown why, and detaches from the terminal.
    pub fn waits(&self) -> Result<(), ServiceError> {
        say(WAITING)
    }

    /// Reports readiness to the starter, and detaches from the terminal.
    pub fn ready(self) -> Result<PidFile, ServiceError> {
        say(READY)?;
        Ok(self.pid_file)
    }
}

fn say(word: &str) -> Result<(), ServiceError> {
    let mut stdout = io::stdout();
    // The starter may have given up waiting, which is fine.
    let _unheard = writeln!(stdout, "{word}").and_then(|()| stdout.flush());
    let null = OpenOptions::new().read(true).write(true).open("/dev/null");
    let null = null.map_err(|source| ServiceError::File { path: "/dev/null".into(), source })?;
    for redirected in [dup2_stdout(&null), dup2_stderr(&null)] {
        redirected.map_err(|error| ServiceError::System { what: "detach from the terminal", source: error.into() })?;
    }
    Ok(())
}

impl PidFile {
    /// Makes it again if it has disappeared, or is that of a process that was about to replace this one and has ended, so that
    /// the process is found.
    pub fn keep(&mut self) -> Result<(), ServiceError> {
        if self.is_there() {
            return Ok(());
        }
        let file = |source| ServiceError::File { path: self.path.clone(), source };
        self.locked = take(&self.path).map_err(file)?.ok_or_else(|| ServiceError::Running(self.path.clone()))?;
        Ok(())
    }

    /// Whether the file at the path is the one that this process has locked.
    fn is_there(&self) -> bool {
        let id = |file: &fs::Metadata| (file.dev(), file.ino());
        self.locked
            .metadata()
            .is_ok_and(|own| fs::symlink_metadata(&self.path).is_ok_and(|found| id(&found) == id(&own)))
    }
}

/// The file with our number in it, unless another process has locked it.
fn take(path: &Path) -> io::Result<Option<File>> {
    let mut file = lock::create(path)?;
    if !lock::take(&file)? {
        return Ok(None);
    }
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())?;
    Ok(Some(file))
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if self.is_there() {
            // Not a mistake if it stays: only the lock counts.
            let _stays = fs::remove_file(&self.path);
        }
    }
}
