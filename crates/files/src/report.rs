//! What is shown of the files: status and metrics.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::file::{File, Format};

/// How a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has valid credentials.
    Written,
    /// It is not there: no role of it has valid credentials.
    Absent,
    /// It cannot be written or removed.
    Failing,
}

impl Standing {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Absent => "absent",
            Self::Failing => "failing",
        }
    }
}

/// What is known of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReport {
    /// Where it is.
    pub path: String,
    /// The roles in it.
    pub roles: String,
    /// How it is written.
    pub format: Format,
    /// How it is.
    pub standing: Standing,
    /// When it last was as it should be: written, or taken away.
    pub success: Option<Timestamp>,
    /// Why the last attempt failed, if it did.
    pub error: Option<String>,
    /// Why the command after the last change failed, if it did.
    pub command_error: Option<String>,
    /// Whether every account of the host may read it.
    pub everybody: bool,
    /// Whether it is known to reach a disk.
    pub on_disk: bool,
    /// How often it was written or removed.
    pub changes: u64,
    /// How often that failed.
    pub failures: u64,
    /// How often the command after a change ended well, and how often not.
    pub commands: [u64; 2],
}

/// What is known of all files, shared by those who write them and those who show it.
#[derive(Debug, Clone, Default)]
pub struct FileReports(Arc<Mutex<Vec<Arc<Mutex<FileReport>>>>>);

/// The report of one file.
pub(crate) type Report = Arc<Mutex<FileReport>>;

impl FileReports {
    /// All, in the order of the configuration.
    pub fn all(&self) -> Vec<FileReport> {
        lock(&self.0).iter().map(|report| lock(report).clone()).collect()
    }

    pub(crate) fn replace(&self, reports: Vec<Report>) {
        *lock(&self.0) = reports;
    }
}

/// Nothing under the lock can panic half-way.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The report of a file that is looked at for the first time.
pub(crate) fn begin(file: &File) -> Report {
    Arc::new(Mutex::new(FileReport {
        path: file.path.display().to_string(),
        roles: file.roles(),
        format: file.format,
        standing: Standing::Absent,
        success: None,
        error: None,
        command_error: None,
        everybody: file.access.is_for_everybody(),
        on_disk: false,
        changes: 0,
        failures: 0,
        commands: [0; 2],
    }))
}
