//! The directory with the signed records of approvals: one small file each, which replicas share by any file system. A
//! record is written aside and then linked to its name, so that none is seen half-written, and none is written twice.

mod options;

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use aws_lc_rs::rand;
use jiff::Timestamp;
use rustix::fs::OFlags;

pub use options::{Options, SECTION, SETTINGS};

use crate::{
    approvals::{Answer, Fault, Id, Key, Ledger, MAX_FILE, Record, Revoked},
    clock::{self, BootTime, Moment, until},
    open_metrics::Page,
    text::printable,
};

/// For how long what was read is believed. Another replica's answer is seen as soon.
pub const RECENT: Duration = Duration::from_secs(1);
/// The same before something is written, so that no client has the directory read as often as it likes.
pub const JUST_NOW: Duration = Duration::from_millis(100);
/// How long a client waits for the file system, which may be that of another host.
const PATIENCE: Duration = Duration::from_secs(3);
/// More files than all requests that are kept have: somebody else writes there.
const MOST_FILES: usize = 10_000;
/// How the names begin of files that are being written.
const UNFINISHED: &str = ".new-";
/// After this time such a file is what was left of a crash.
const ABANDONED: Duration = Duration::from_hours(1);

/// The records cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The key.
    #[error("approvals: key_file {path}: {problem}")]
    Key {
        /// Its file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The directory, or a file in it.
    #[error("approvals: {path}: {error}")]
    Io {
        /// Which.
        path: String,
        /// What is wrong with it.
        error: io::Error,
    },
    /// There is an answer already.
    #[error("another answer was faster")]
    Exists,
    /// Something that cannot be written.
    #[error("approvals: {0}")]
    Odd(&'static str),
}

/// Names of files, with what is in them.
type Contents = Vec<(String, Vec<u8>)>;

/// The directory.
#[derive(Debug)]
pub struct RecordFiles {
    options: Options,
    key: ArcSwap<Key>,
    memory: Mutex<Memory>,
    changing: tokio::sync::Mutex<()>,
    place: Arc<tokio::sync::Mutex<()>>,
    ignored: AtomicU64,
}

#[derive(Debug, Default)]
struct Memory {
    recent: Option<(BootTime, Arc<Ledger>)>,
    revoked: Revoked,
    told: BTreeSet<Fault>,
}

impl Memory {
    fn recent(&self, now: Moment, within: Duration) -> Option<Arc<Ledger>> {
        let (at, ledger) = self.recent.as_ref()?;
        (now.boot.since(*at) < within).then(|| Arc::clone(ledger))
    }
}

impl RecordFiles {
    /// Reads the key, and looks whether there is a directory.
    pub fn open(options: &Options) -> Result<Self, FilesError> {
        let key = ArcSwap::from_pointee(options.read_key()?);
        fs::read_dir(&options.directory).map_err(|error| failed(&options.directory, error))?;
        Ok(Self {
            options: options.clone(),
            key,
            memory: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            place: Arc::default(),
            ignored: AtomicU64::new(0),
        })
    }

    /// Reads the key again, which may be another one now.
    pub fn reload(&self) -> Result<(), FilesError> {
        self.key.store(Arc::new(self.options.read_key()?));
        self.memory().recent = None;
        Ok(())
    }

    /// Where it is.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Appends its metrics.
    pub fn render(&self, page: &mut Page) {
        let help = "Files among the records of approvals that did not count.";
        let ignored = self.ignored.load(Ordering::Relaxed);
        page.counter("alppaca_ims_approval_files_ignored_total", help).put(&[], ignored);
    }

    /// What the records say, if they were read `within` this time.
    pub fn recent(&self, now: Moment, within: Duration) -> Option<Arc<Ledger>> {
        self.memory().recent(now, within)
    }

    /// What the records say: now, or `within` this time. Files that do not count are reported, each once. Blocks.
    pub fn read(&self, now: Moment, within: Duration) -> Result<Arc<Ledger>, FilesError> {
        if let Some(ledger) = self.recent(now, within) {
            return Ok(ledger);
        }
        // Not with the memory locked: the file system may not answer.
        let (files, mut unreadable) = self.contents()?;
        let files = files.iter().map(|(name, content)| (name.as_str(), content.as_slice()));
        let mut memory = self.memory();
        let mut ledger = Ledger::read(files, &self.key.load(), now.wall, &mut memory.revoked);
        ledger.faults.append(&mut unreadable);
        let ledger = Arc::new(ledger);
        memory.recent = Some((now.boot, Arc::clone(&ledger)));
        let faults: BTreeSet<Fault> = ledger.faults.iter().cloned().collect();
        for Fault { file, problem } in faults.difference(&memory.told) {
            self.ignored.fetch_add(1, Ordering::Relaxed);
            let (directory, file) = (self.options.directory.display(), printable(file, 100));
            tracing::error!("approvals: {directory}/{file} does not count: {problem}");
        }
        memory.told = faults;
        Ok(ledger)
    }

    /// The files with their contents, and those that cannot be read.
    fn contents(&self) -> Result<(Contents, Vec<Fault>), FilesError> {
        let directory = &self.options.directory;
        let entries = fs::read_dir(directory).map_err(|error| failed(directory, error))?;
        let (mut files, mut unreadable) = (Contents::new(), Vec::new());
        for entry in entries {
            let entry = entry.map_err(|error| failed(directory, error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(UNFINISHED) {
                continue;
            }
            if files.len() + unreadable.len() >= MOST_FILES {
                return Err(failed(directory, io::Error::other("there are more than 10,000 files")));
            }
            match content(&entry.path()) {
                Ok(content) => files.push((name, content)),
                // Cleaned up meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => unreadable.push(Fault { file: name, problem: error.to_string() }),
            }
        }
        Ok((files, unreadable))
    }

    /// Does `work` on a thread of its own, one at a time, so that a file system that does not answer holds one thread, and
    /// no client for long. What takes longer goes on.
    pub async fn apart<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, FilesError> + Send + 'static,
    ) -> Result<T, FilesError> {
        let files = Arc::clone(self);
        let working = async {
            let place = Arc::clone(&self.place).lock_owned().await;
            let done = tokio::task::spawn_blocking(move || {
                let done = work(&files);
                drop(place);
                done
            });
            done.await.unwrap_or(Err(FilesError::Odd("the server is stopping")))
        };
        tokio::select! {
            done = working => done,
            () = clock::sleep(PATIENCE) => Err(FilesError::Odd("the file system of the directory does not answer")),
        }
    }

    /// Keeps others in this process from making requests, so that each is decided by what the one before it left.
    pub async fn alone(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, FilesError> {
        tokio::select! {
            alone = self.changing.lock() => Ok(alone),
            () = clock::sleep(PATIENCE) => Err(FilesError::Odd("the file system of the directory does not answer")),
        }
    }

    /// Writes a record that must not be there yet.
    pub fn add<R: Record>(&self, record: &R) -> Result<(), FilesError> {
        self.write(record, |aside, file| {
            let linked = fs::hard_link(aside, file);
            // NFS may repeat a call that was done, and then says that the file is there.
            let ours = || fs::metadata(aside).is_ok_and(|aside| aside.nlink() == 2);
            match linked {
                Err(_) if ours() => Ok(()),
                linked => linked,
            }
        })
    }

    /// Writes a revocation in the place of the approval, which counts no more even if it is put back.
    pub fn revoke(&self, revocation: &Answer) -> Result<(), FilesError> {
        self.write(revocation, |aside, file| fs::rename(aside, file))?;
        self.memory().revoked.note(revocation);
        Ok(())
    }

    fn write<R: Record>(
        &self,
        record: &R,
        place: impl FnOnce(&Path, &Path) -> io::Result<()>,
    ) -> Result<(), FilesError> {
        let directory = &self.options.directory;
        let text = record.seal(&self.key.load()).ok_or(FilesError::Odd("the record would be too long"))?;
        let file = directory.join(record.file_name());
        let aside = directory.join(format!("{UNFINISHED}{}", new_id()?.as_str()));
        let written = write_aside(&aside, &text).and_then(|()| place(&aside, &file));
        // It has another name by now, or is of no use.
        let _gone = fs::remove_file(&aside);
        self.memory().recent = None;
        match written {
            Ok(()) => {
                File::open(directory).and_then(|directory| directory.sync_all()).map_err(|e| failed(directory, e))
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(FilesError::Exists),
            Err(error) => Err(failed(&file, error)),
        }
    }

    /// Removes what need not be kept any longer. What cannot be removed is tried again with the next request.
    pub fn clean(&self, ledger: &Ledger, now: Timestamp) {
        let directory = &self.options.directory;
        for entry in ledger.old(now) {
            // The answer first: without its request it would be reported.
            if let Some(answer) = &entry.answer {
                let _again = fs::remove_file(directory.join(answer.file_name()));
            }
            let _again = fs::remove_file(directory.join(entry.request.file_name()));
        }
        for file in fs::read_dir(directory).into_iter().flatten().flatten() {
            let written = || Timestamp::try_from(file.metadata().ok()?.modified().ok()?).ok();
            let abandoned = || written().is_some_and(|written| until(now, written) > ABANDONED);
            if file.file_name().to_string_lossy().starts_with(UNFINISHED) && abandoned() {
                let _again = fs::remove_file(file.path());
            }
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // Each change of it is whole.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An id that no other request has.
pub fn new_id() -> Result<Id, FilesError> {
    let mut random = [0; 8];
    rand::fill(&mut random).map_err(|_| FilesError::Odd("the system gives no random numbers"))?;
    Ok(Id::of(random))
}

fn failed(path: &Path, error: io::Error) -> FilesError {
    FilesError::Io { path: path.display().to_string(), error }
}

/// Only a file, of a record's size: no link to elsewhere, and no pipe that would have to be waited for.
fn content(path: &Path) -> io::Result<Vec<u8>> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut content = Vec::new();
    file.take(MAX_FILE as u64 + 1).read_to_end(&mut content)?;
    if content.len() > MAX_FILE { Err(io::Error::other("it is too long")) } else { Ok(content) }
}

fn write_aside(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
