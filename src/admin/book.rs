//! What the daemon remembers for its callers across a restart, and its file, written by a separate thread because requests
//! cannot wait for a disk.

use std::{
    fs, io,
    io::Write,
    ops::Deref,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};

use crate::caller::{Owner, budget::Share};

/// The file is written no more often than this.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a change may take to be written that another process waits for.
const HURRY: Duration = Duration::from_secs(2);
/// More than the largest file has.
const MAX_FILE: u64 = 4 * 1024 * 1024;
/// Enough for the writing thread, which formats a log record at most.
const STACK: usize = 128 * 1024;

/// A record, and its share of all that there may be.
#[derive(Debug)]
pub(super) struct Held<R> {
    pub(super) record: R,
    pub(super) _share: Share<Owner>,
}

/// What is held, and whether it has been written.
#[derive(Debug)]
pub(super) struct Book<R> {
    state: Mutex<State<R>>,
    changed: Condvar,
}

/// A book whose file is written for as long as this is there.
#[derive(Debug)]
pub(super) struct Kept<R> {
    book: Arc<Book<R>>,
    /// Writes it down; nowhere if there is no file.
    writer: Option<thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct State<R> {
    held: Vec<Held<R>>,
    unwritten: bool,
    /// Whether the file is being written at the moment.
    writing: bool,
    /// Whether another process waits for what is to be written.
    awaited: bool,
    /// Whether the file is another process's.
    handed_over: bool,
    /// Whether the daemon ends.
    over: bool,
}

impl<R: Clone + Serialize + Send + 'static> Kept<R> {
    /// A book that begins with what is held, which has been written to `file`. The writing thread has this `name`; where it
    /// cannot write it logs what is `lost`.
    pub(super) fn new(held: Vec<Held<R>>, file: Option<PathBuf>, name: &str, lost: &'static str) -> io::Result<Self> {
        let state = State { held, unwritten: false, writing: false, awaited: false, handed_over: false, over: false };
        let book = Arc::new(Book { state: Mutex::new(state), changed: Condvar::new() });
        let start = |file: PathBuf| {
            let book = Arc::clone(&book);
            thread::Builder::new().name(name.into()).stack_size(STACK).spawn(move || book.write_to(&file, lost))
        };
        let writer = file.map(start).transpose()?;
        Ok(Self { book, writer })
    }
}

impl<R> Deref for Kept<R> {
    type Target = Book<R>;

    fn deref(&self) -> &Book<R> {
        &self.book
    }
}

impl<R> Drop for Kept<R> {
    fn drop(&mut self) {
        self.book.close();
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("a thread that writes what the daemon remembers has failed");
        }
    }
}

impl<R> Book<R> {
    /// Changes what is held, and has it written.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Vec<Held<R>>) -> T) -> T {
        let mut state = self.state();
        state.unwritten = !state.handed_over;
        self.changed.notify_all();
        change(&mut state.held)
    }

    /// Whether something like this is held.
    pub(super) fn any(&self, like: impl Fn(&Held<R>) -> bool) -> bool {
        self.state().held.iter().any(like)
    }

    /// What `find` finds in all that is held.
    pub(super) fn collect<T, C: FromIterator<T>>(&self, find: impl Fn(&R) -> Option<T>) -> C {
        self.state().held.iter().filter_map(|held| find(&held.record)).collect()
    }

    /// Has it written again, where what was written has disappeared.
    pub(super) fn remember(&self) {
        if self.any(|_held| true) {
            self.change(|_held| ());
        }
    }

    /// Leaves the file to another process (`true`), when all is in it, or takes it back.
    pub(super) fn hand_over(&self, handed_over: bool) {
        let mut state = self.state();
        (state.awaited, state.unwritten) = (handed_over, state.unwritten || !handed_over);
        self.changed.notify_all();
        if handed_over {
            let unfinished = |state: &mut State<R>| (state.unwritten || state.writing) && !state.over;
            let waited = self.changed.wait_timeout_while(state, HURRY, unfinished);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        (state.awaited, state.handed_over) = (false, handed_over);
    }

    /// Lets the writing thread end.
    fn close(&self) {
        self.state().over = true;
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State<R>> {
        // Nothing under the lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: Clone + Serialize> Book<R> {
    /// Writes changes immediately, but no more often than once in a [`PAUSE`], and at the end.
    fn write_to(&self, file: &Path, lost: &str) {
        let mut state = self.state();
        loop {
            let waiting = self.changed.wait_while(state, |state| !state.unwritten && !state.over);
            state = waiting.unwrap_or_else(PoisonError::into_inner);
            if std::mem::take(&mut state.unwritten) {
                let records: Vec<R> = state.held.iter().map(|held| held.record.clone()).collect();
                state.writing = true;
                drop(state);
                // What is not remembered is in force until the daemon ends.
                if let Err(error) = write(file, &records) {
                    tracing::warn!("{}: {error}; {lost} when the daemon is restarted", file.display());
                }
                state = self.state();
                state.writing = false;
                self.changed.notify_all();
            } else if state.over {
                return;
            }
            let pause = self.changed.wait_timeout_while(state, PAUSE, |state| !state.over && !state.awaited);
            state = pause.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// What cannot be read is logged, and as good as nothing.
pub(super) fn read<R: DeserializeOwned>(file: &Path) -> Vec<R> {
    let read = || -> io::Result<Vec<R>> {
        let metadata = fs::symlink_metadata(file)?;
        let own = rustix::process::geteuid().as_raw();
        // To write here may be to let oneself in.
        if !metadata.is_file() || metadata.len() > MAX_FILE || metadata.uid() != own || metadata.mode() & 0o022 != 0 {
            return Err(io::Error::other("it is not a regular file that only the daemon's account can write"));
        }
        Ok(serde_json::from_slice(&fs::read(file)?)?)
    };
    match read() {
        Ok(held) => held,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            tracing::warn!("{}: {error}; it is ignored", file.display());
            Vec::new()
        }
    }
}

/// All or nothing.
fn write(file: &Path, held: &[impl Serialize]) -> io::Result<()> {
    // Another book in the same directory may differ only in the extension, and is written by a thread of its own.
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut target = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    target.write_all(&serde_json::to_vec(held)?)?;
    fs::rename(&new, file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::budget::{Bounds, Shares};

    #[test]
    fn a_file_that_was_handed_over_is_whole_and_not_written_any_more() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("book");
        let held = |record: &str| {
            let share = Shares::new(Bounds { total: 9, reserved: 0, each: 9, scarce: 0 }).note(&Owner::Nobody);
            Held { record: record.to_owned(), _share: share }
        };
        let book = Kept::new(Vec::new(), Some(file.clone()), "book", "nothing is lost").expect("a thread");
        for record in ["a", "b", "c"] {
            book.change(|records| records.push(held(record)));
        }
        // Not only after the pause between two times.
        book.hand_over(true);
        assert_eq!(read::<String>(&file), ["a", "b", "c"]);
        book.change(|records| records.push(held("d")));
        fs::write(&file, "[\"of the other process\"]").expect("ours");
        book.hand_over(true);
        assert_eq!(read::<String>(&file), ["of the other process"]);
        book.hand_over(false);
        drop(book);
        assert_eq!(read::<String>(&file), ["a", "b", "c", "d"], "it was taken back");
    }

    #[test]
    fn a_book_is_written_beside_another_whose_name_differs_only_in_the_extension() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        // What the writer of the other book is about to rename.
        for others in ["alppaca.new", "alppaca.choices.new"] {
            fs::write(path(others), others).expect("ours");
        }
        write(&path("alppaca.leases"), &["lease"]).expect("ours");
        assert_eq!(read::<String>(&path("alppaca.leases")), ["lease"]);
        assert!(!path("alppaca.leases.new").exists());
        for others in ["alppaca.new", "alppaca.choices.new"] {
            assert_eq!(fs::read_to_string(path(others)).expect("still there"), others);
        }
    }

    #[test]
    fn a_file_that_others_may_write_is_not_believed() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("leases");
        write(&file, &["record"]).expect("ours");
        assert_eq!(read::<String>(&file).len(), 1);
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o620)).expect("ours");
        assert!(read::<String>(&file).is_empty());
        fs::write(&file, "garbage").expect("ours");
        assert!(read::<String>(&file).is_empty());
    }
}
