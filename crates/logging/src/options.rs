//! The settings of the log and of the audit's records.

use std::path::PathBuf;

/// The least important level that is logged (`log_level`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// What the daemon does.
    Info,
    /// What one should know (start, stop, requests) and what is not as it should be: the default.
    Warning,
    /// Only what failed.
    Error,
}

/// Where the log goes and what it looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logging {
    /// The least important level that is logged.
    pub level: LogLevel,
    /// The Python %-style format (`log_format`).
    pub format: String,
    /// `logging_handler`; without it: the journal under systemd, else `/dev/log`, else stderr.
    pub handler: Option<Handler>,
    /// Whether each request is logged (`access_log`).
    pub access_log: bool,
}

/// A handler in the words of Python's `logging`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handler {
    /// `logging` or `logging.handlers`.
    pub module: String,
    /// The class in that module.
    pub class: String,
    /// Positional arguments.
    pub args: Vec<Argument>,
    /// Arguments by name.
    pub kwargs: Vec<(String, Argument)>,
}

/// A value of `args` or `kwargs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A text.
    Text(String),
    /// A list, such as the `[host, port]` of a `SysLogHandler`.
    List(Vec<Argument>),
}

/// Where hand-outs and denials are recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditTarget {
    /// In this file, which may be rotated by others.
    File(PathBuf),
    /// In the local syslog.
    Syslog,
    /// In the journal, on stderr.
    Journal,
}
