//! The files that hold tokens and ids: read again when they have changed.

use std::{fs, io, os::unix::fs::MetadataExt, path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::Notify;
use zeroize::Zeroizing;

use super::tokens::{EcsTokens, Key};
use crate::{
    clock::{self, SharedClock},
    credentials::RoleId,
    refresh_request::RefreshRequest,
};

/// How often the files are checked; a request with an unknown key triggers a check immediately.
const INTERVAL: Duration = Duration::from_secs(15);
/// The longest file.
const MAX_BYTES: u64 = 64 * 1024;

/// A file of tokens or ids, one a line.
#[derive(Debug, Clone)]
pub struct KeyFile {
    /// The role that they open.
    pub role: RoleId,
    /// What they are.
    pub kind: Key,
    /// Where the file is.
    pub path: PathBuf,
}

/// Which content of a file was read: device, inode, size, and the time of its last change in nanoseconds.
type Version = (u64, u64, u64, i64, i64);

/// Reads the files.
pub struct KeyFiles {
    files: Vec<KeyFile>,
    read: Vec<Option<Version>>,
    failing: Vec<bool>,
    tokens: EcsTokens,
    overlap: Duration,
    clock: SharedClock,
    refresh_request: Arc<RefreshRequest>,
    arrived: Arc<Notify>,
}

impl KeyFiles {
    /// Reads all of them for the first time. What cannot be read is logged and tried again.
    pub(super) fn new(
        files: Vec<KeyFile>,
        tokens: EcsTokens,
        overlap: Duration,
        clock: SharedClock,
        (refresh_request, arrived): (Arc<RefreshRequest>, Arc<Notify>),
    ) -> Self {
        let (read, failing) = (vec![None; files.len()], vec![false; files.len()]);
        tokens.keep_files(|index| files.get(index).map(|file| &file.role));
        let mut this = Self { files, read, failing, tokens, overlap, clock, refresh_request, arrived };
        this.read_changed();
        this
    }

    /// Reads what changes, until it is dropped.
    pub async fn run(mut self) {
        loop {
            tokio::select! {
                () = clock::sleep(INTERVAL) => {}
                () = self.refresh_request.requested() => {}
            }
            self.read_changed();
            self.refresh_request.done();
            self.arrived.notify_waiters();
        }
    }

    fn read_changed(&mut self) {
        let now = self.clock.boot();
        for (index, file) in self.files.iter().enumerate() {
            match read(file, self.read[index]) {
                Ok(None) => self.failing[index] = false,
                Ok(Some((version, text))) => {
                    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
                    let keys: Vec<&[u8]> = lines.filter(|line| !line.is_empty()).collect();
                    if keys.is_empty() {
                        tracing::warn!("{}: there is no token in it", file.path.display());
                    }
                    self.tokens.configure(index, (&file.role, file.kind), &keys, self.overlap, now);
                    self.read[index] = Some(version);
                    self.failing[index] = false;
                }
                // What was read before stays valid: a file is replaced in two steps by some.
                Err(error) if !self.failing[index] => {
                    tracing::error!("cannot read {}: {error}", file.path.display());
                    self.failing[index] = true;
                }
                Err(_) => {}
            }
        }
    }
}

/// `None` if it is what was read before.
fn read(file: &KeyFile, known: Option<Version>) -> io::Result<Option<(Version, Zeroizing<Vec<u8>>)>> {
    let metadata = fs::metadata(&file.path)?;
    if metadata.len() > MAX_BYTES {
        return Err(io::Error::other(format!("it is longer than {MAX_BYTES} bytes")));
    }
    let version = (metadata.dev(), metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec());
    if known == Some(version) {
        return Ok(None);
    }
    Ok(Some((version, Zeroizing::new(fs::read(&file.path)?))))
}
