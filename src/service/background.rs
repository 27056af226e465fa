//! The daemon's side: detach, lock the pid file, report readiness.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Gid, Uid, fchown},
    process::{chdir, setsid},
    stdio::{dup2_stderr, dup2_stdout},
};

use super::{PID_FILE, READY, ServiceError, WAITING, lock};
use crate::sandbox::{Identity, make_directory};

/// A process that has detached itself and is not ready yet.
#[derive(Debug)]
pub struct Background {
    pid_file: PidFile,
}

/// The locked pid file. It is removed when this is dropped, if the directory is still ours to write.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    _locked: File,
}

impl Background {
    /// Detaches from the session and takes the pid file in `run_dir`, which is made, and then belongs
    /// to `identity`, if it is not there. Called before privileges are dropped.
    pub fn begin(run_dir: &Path, identity: Option<&Identity>) -> Result<Self, ServiceError> {
        let file = |path: &Path| {
            let path = path.to_owned();
            move |source| ServiceError::File { path, source }
        };
        make_directory(run_dir, identity).map_err(file(run_dir))?;
        let path = run_dir.join(PID_FILE);
        let mut locked = lock::create(&path).map_err(file(&path))?;
        if !lock::take(&locked).map_err(file(&path))? {
            if lock::holder(&locked).map_err(file(&path))?.is_some() {
                return Err(ServiceError::Running(path));
            }
            // A user who may only read the file has locked it against us: let that user keep it.
            fs::remove_file(&path).map_err(file(&path))?;
            locked = lock::create(&path).map_err(file(&path))?;
            if !lock::take(&locked).map_err(file(&path))? {
                return Err(ServiceError::Running(path));
            }
        }
        locked.set_len(0).and_then(|()| writeln!(locked, "{}", std::process::id())).map_err(file(&path))?;
        if let Some(Identity { uid, gid, .. }) = identity {
            let (uid, gid) = (Uid::from_raw(uid.as_raw()), Gid::from_raw(gid.as_raw()));
            fchown(&locked, Some(uid), Some(gid)).map_err(|error| file(&path)(error.into()))?;
        }
        // It fails only for a leader of a process group, which has no terminal to lose either.
        let _leads_already = setsid();
        chdir("/").map_err(|error| ServiceError::System { what: "leave the directory", source: error.into() })?;
        Ok(Self { pid_file: PidFile { path, _locked: locked } })
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

impl Drop for PidFile {
    fn drop(&mut self) {
        // Not a mistake if it stays: only the lock counts.
        let _stays = fs::remove_file(&self.path);
    }
}
