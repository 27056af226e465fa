//! The log: `tracing` events in the formats and handlers of Python's `logging`, which the 2015
//! tool's users have configured. Logging never blocks on writing.

#[macro_use(notice)]
extern crate alppaca_core;

mod audit;
mod fields;
mod file;
mod format;
mod frame;
mod handler;
mod journal;
mod layer;
mod level;
mod options;
mod queue;
mod sink;
mod syslog;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

pub use audit::{AuditLog, Importance};
pub use fields::{Field, Fields};
pub use format::{Format, FormatError, Record};
use handler::Target;
pub use handler::{HandlerError, check as check_handler};
use layer::LogLayer;
pub use layer::{ACCESS, LevelSwitch};
pub use level::Level;
pub use options::{Argument, AuditTarget, Handler, LogLevel, Logging};
use queue::{Queue, Warden};
use tracing_subscriber::{layer::SubscriberExt, registry::Registry};

use alppaca_core::{clock, needs, notice};

use crate::clock::SharedClock;

/// How long the end of the program waits for the log to be written.
const FLUSH: Duration = Duration::from_secs(2);

/// What the log takes from its surroundings, handed in so that tests have their own.
#[derive(Debug, Clone)]
pub struct Environment {
    /// `JOURNAL_STREAM`: device and inode of the stream that is the journal.
    pub journal_stream: Option<String>,
    /// Where the journal listens.
    pub journal: PathBuf,
    /// What the journal is to call this program.
    pub identifier: String,
    /// Where the local syslog listens.
    pub syslog: PathBuf,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The format is none of Python's.
    #[error("log_format: {0}")]
    Format(#[from] FormatError),
    /// The handler's arguments make no sense.
    #[error("logging_handler: {0}")]
    Handler(#[from] HandlerError),
    /// The handler cannot be opened.
    #[error("cannot log to {target}: {source}")]
    Open {
        /// The file or socket.
        target: String,
        /// The reason.
        source: io::Error,
    },
    /// The writer's thread cannot be started.
    #[error("cannot start the thread that writes the log: {0}")]
    Thread(#[source] io::Error),
    /// A log has been set up before.
    #[error("a log is set up already")]
    Twice,
}

/// Keeps the log; flushes it when dropped.
#[derive(Debug)]
pub struct LogGuard {
    queue: Arc<Queue>,
    level: LevelSwitch,
    on_stderr: bool,
}

impl LogGuard {
    /// Whether a person who has started the daemon at a terminal sees the log there.
    pub fn is_on_stderr(&self) -> bool {
        self.on_stderr
    }

    /// Waits, for a limited time, until everything logged so far is written.
    pub fn flush(&self) {
        // There is no place left to report what was not written.
        let _late = self.queue.flush(FLUSH);
    }

    /// The same, to be called from elsewhere.
    pub fn flusher(&self) -> impl Fn() + Clone + Send + Sync + 'static {
        let queue = Arc::clone(&self.queue);
        move || {
            // There is no place left to report what was not written.
            let _late = queue.flush(FLUSH);
        }
    }

    /// The way to change the level.
    pub fn level(&self) -> LevelSwitch {
        self.level.clone()
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.queue.close();
        // There is no place left to report what was not written.
        let _late = self.queue.flush(FLUSH);
    }
}

/// Sets up the log of this process.
pub fn init(settings: &Logging, clock: SharedClock, environment: &Environment) -> Result<LogGuard, LogError> {
    let (subscriber, guard) = subscriber(settings, clock, environment)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_set| LogError::Twice)?;
    Ok(guard)
}

/// The same for one scope, so that tests can run side by side.
pub fn subscriber(
    settings: &Logging,
    clock: SharedClock,
    environment: &Environment,
) -> Result<(impl tracing::Subscriber + Send + Sync + use<>, LogGuard), LogError> {
    let format = Format::parse(&settings.format)?;
    let target = match &settings.handler {
        Some(handler) => Target::from_handler(handler, format)?,
        None => Target::standard(environment, format),
    };
    let Target { mut sink, frame } = target;
    sink.open().map_err(|source| LogError::Open { target: sink.name(), source })?;
    let on_stderr = sink.is_stderr();
    let queue =
        Queue::start("log", sink, frame.clone(), Arc::clone(&clock), Warden::of_log()).map_err(LogError::Thread)?;
    let level = LevelSwitch::new(settings.level.into());
    let layer = LogLayer::new(level.clone(), frame, clock, Arc::clone(&queue));
    Ok((Registry::default().with(layer), LogGuard { queue, level, on_stderr }))
}

impl Environment {
    /// The usual one of a program with that name, with the value of `JOURNAL_STREAM`.
    pub fn new(identifier: &str, journal_stream: Option<String>) -> Self {
        Self {
            journal_stream,
            journal: PathBuf::from("/run/systemd/journal/socket"),
            identifier: identifier.to_owned(),
            syslog: PathBuf::from("/dev/log"),
        }
    }

    /// Whether what is written to stderr goes to the journal.
    pub fn stderr_is_journal(&self) -> bool {
        self.journal_stream.as_deref().is_some_and(handler::is_stderr)
    }
}
