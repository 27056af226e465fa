//! The files with credentials: what status and metrics say of them.

use serde::{Deserialize, Serialize};

use crate::{
    credentials::format_timestamp,
    files::{FileReport, Format},
    open_metrics::Page,
};

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FileStatus {
    /// Where it is.
    pub path: String,
    /// The roles in it.
    pub roles: String,
    /// `written`, `absent` (no role of it has valid credentials) or `failing`.
    pub state: String,
    /// When it last was as it should be.
    pub success: Option<String>,
    /// Why it is not, if it is not.
    pub error: Option<String>,
    /// Why the command after the last change failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_error: Option<String>,
    /// Whether it is a shared credentials file, which several SDKs read only once.
    pub shared: bool,
    /// Whether every account of the host may read it.
    pub everybody: bool,
    /// Whether it reaches a disk.
    pub on_disk: bool,
}

impl From<FileReport> for FileStatus {
    fn from(report: FileReport) -> Self {
        Self {
            path: report.path,
            roles: report.roles,
            state: report.standing.as_str().to_owned(),
            success: report.success.map(format_timestamp),
            error: report.error,
            command_error: report.command_error,
            shared: report.format == Format::Credentials,
            everybody: report.everybody,
            on_disk: report.on_disk,
        }
    }
}

/// The metrics; nothing where there are no files.
pub(super) fn put_files(page: &mut Page, files: &[FileReport]) {
    if files.is_empty() {
        return;
    }
    let help = "When a file last was as it should be: with valid credentials, or not there.";
    let mut successes = page.gauge("alppaca_file_success_timestamp_seconds", help);
    for file in files {
        if let Some(success) = file.success {
            successes.put(&[("file", &file.path)], success.as_second());
        }
    }
    let mut failing = page.gauge("alppaca_file_failing", "Whether a file cannot be written, or removed.");
    for file in files {
        failing.put(&[("file", &file.path)], u8::from(file.error.is_some()));
    }
    let mut writes = page.counter("alppaca_file_writes_total", "Files written or removed, and how that ended.");
    for file in files {
        for (outcome, count) in [("success", file.changes), ("failure", file.failures)] {
            writes.put(&[("file", &file.path), ("outcome", outcome)], count);
        }
    }
    let mut commands = page.counter("alppaca_file_commands_total", "Commands after a change, and how they ended.");
    for file in files {
        for (outcome, count) in ["success", "failure"].into_iter().zip(file.commands) {
            commands.put(&[("file", &file.path), ("outcome", outcome)], count);
        }
    }
}
