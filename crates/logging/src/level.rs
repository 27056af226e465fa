//! How important a record is.

use tracing::Metadata;

use super::options::LogLevel;
use crate::notice;

/// The levels of Python's `logging`, and the notice of syslog, which Python does not have: there it is a warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "they are Python's")]
pub enum Level {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
}

impl Level {
    /// `%(levelname)s`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Notice | Self::Warning => "WARNING",
            Self::Error => "ERROR",
        }
    }

    /// Its word in JSON: that of syslog.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    /// The severity of syslog and the journal (RFC 5424, section 6.2.1).
    pub(super) fn severity(self) -> u8 {
        match self {
            Self::Error => 3,
            Self::Warning => 4,
            Self::Notice => 5,
            Self::Info => 6,
            Self::Debug => 7,
        }
    }

    /// `%(levelno)d`.
    pub fn number(self) -> u8 {
        match self {
            Self::Debug => 10,
            Self::Info => 20,
            Self::Notice | Self::Warning => 30,
            Self::Error => 40,
        }
    }
}

impl From<LogLevel> for Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Debug => Self::Debug,
            LogLevel::Info => Self::Info,
            LogLevel::Warning => Self::Warning,
            LogLevel::Error => Self::Error,
        }
    }
}

impl From<&Metadata<'_>> for Level {
    fn from(metadata: &Metadata<'_>) -> Self {
        match *metadata.level() {
            tracing::Level::ERROR => Self::Error,
            tracing::Level::WARN => Self::Warning,
            tracing::Level::INFO if metadata.fields().field(notice::FIELD).is_some() => Self::Notice,
            tracing::Level::INFO => Self::Info,
            _ => Self::Debug,
        }
    }
}
