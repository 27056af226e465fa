//! What is to be written, and where.

use std::{
    fmt,
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
};

use jiff::Timestamp;

use crate::{access::Access, credentials::RoleName};

/// The directory of the files that are named without one, in the run directory.
pub const DIRECTORY: &str = "files";

/// A file and what is written into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where it is; a name without a slash is one in [`DIRECTORY`].
    pub path: PathBuf,
    /// How it is written.
    pub format: Format,
    /// The roles in it, each in its profile. Never empty; only [`Format::Credentials`] has several.
    pub profiles: Vec<Profile>,
    /// Who may read it.
    pub access: Access,
}

/// A role in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The name of the profile.
    pub name: String,
    /// The role.
    pub role: RoleName,
}

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A shared credentials file, with profiles.
    Credentials,
    /// Variables, one a line.
    Env,
    /// What a `credential_process` prints.
    Process,
}

/// A file with what follows its changes.
#[derive(Clone)]
pub struct Sink {
    /// The file, at an absolute path.
    pub file: File,
    /// What is run after a change.
    pub on_change: Option<Command>,
}

/// A program that is run.
#[derive(Clone)]
pub struct Command {
    /// What it is called in messages.
    pub name: String,
    /// What stands for all that it is started with.
    pub id: u64,
    /// Runs it.
    pub run: Run,
}

/// What happens to a file: a change is about to take place, a removal has taken place.
#[derive(Debug)]
pub enum Deed<'a> {
    /// It gets these roles.
    Written {
        /// The file.
        file: &'a File,
        /// The account that owns it.
        owner: u32,
        /// What is written.
        sets: &'a [WrittenSet<'a>],
    },
    /// It is removed.
    Removed {
        /// Where it is.
        path: &'a Path,
        /// Why.
        why: &'static str,
    },
}

/// Credentials that are written, without what is secret.
#[derive(Debug)]
pub struct WrittenSet<'a> {
    /// Of this role.
    pub role: &'a RoleName,
    /// The public half of the key.
    pub access_key_id: &'a str,
    /// Until then they are valid.
    pub expiration: Timestamp,
}

/// Takes note of what is about to happen; whether credentials may be written. It does not block.
pub type Witness = Arc<dyn Fn(Deed<'_>) -> bool + Send + Sync>;

/// Runs a program to its end. An error says what went wrong, for after its name.
pub type Run = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

impl File {
    /// The same at an absolute path.
    #[must_use]
    pub fn in_run_dir(mut self, run_dir: &Path) -> Self {
        if !self.path.is_absolute() {
            self.path = run_dir.join(DIRECTORY).join(&self.path);
        }
        self
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// Its roles, in words.
    pub fn roles(&self) -> String {
        let roles: Vec<&str> = self.profiles.iter().map(|profile| profile.role.as_str()).collect();
        roles.join(", ")
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let command = self.on_change.as_ref().map(|command| &command.name);
        f.debug_struct("Sink").field("file", &self.file).field("on_change", &command).finish()
    }
}

impl PartialEq for Sink {
    fn eq(&self, other: &Self) -> bool {
        let id = |sink: &Self| sink.on_change.as_ref().map(|command| command.id);
        self.file == other.file && id(self) == id(other)
    }
}

impl Eq for Sink {}
