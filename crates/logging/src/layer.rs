//! The `tracing` layer: an event becomes a line in the queue.

use std::{
    cell::RefCell,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    subscriber::Interest,
};
use tracing_subscriber::{Layer, layer::Context};

use super::{
    format::{Format, Record},
    options::LogLevel,
    queue::{Queue, Rank},
    syslog::Priority,
};
use crate::{clock::SharedClock, notice};

/// The target of the lines about requests (`access_log`).
pub const ACCESS: &str = "alppaca.access";

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

/// What is put around a formatted line.
#[derive(Debug, Clone)]
pub(super) enum Frame {
    /// The line and its end.
    Line(Format),
    /// `<N>` of the journal before it, and its end.
    Journal(Format),
    /// A syslog packet: the priority before it, `end` behind it.
    Syslog { format: Format, priority: Priority, end: &'static str },
    /// A line of JSON. Only what the log has to say of itself is rendered by it.
    Json { before: &'static str, end: &'static str },
}

/// Which level is logged, to be changed while the program runs.
#[derive(Debug, Clone)]
pub struct LevelSwitch(Arc<AtomicU8>);

impl LevelSwitch {
    pub(super) fn new(level: Level) -> Self {
        Self(Arc::new(AtomicU8::new(level.number())))
    }

    /// From now on this level and what is more important is logged.
    pub fn set(&self, level: LogLevel) {
        self.0.store(Level::from(level).number(), Ordering::Relaxed);
        // Callsites cache whether their events are logged.
        tracing::callsite::rebuild_interest_cache();
    }

    fn number(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }
}

pub(super) struct LogLayer {
    level: LevelSwitch,
    frame: Frame,
    clock: SharedClock,
    queue: Arc<Queue>,
    started: jiff::Timestamp,
}

thread_local! {
    /// One per thread, so that an event costs no allocation.
    static BUFFERS: RefCell<(String, String)> = const { RefCell::new((String::new(), String::new())) };
}

impl LogLayer {
    pub(super) fn new(level: LevelSwitch, frame: Frame, clock: SharedClock, queue: Arc<Queue>) -> Self {
        let started = clock.now().wall;
        Self { level, frame, clock, queue, started }
    }

    /// Only ours: libraries have their own ideas of what is worth a line. Requests have a switch of their own
    /// (`access_log`), whatever the level.
    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == ACCESS
            || Level::from(metadata).number() >= self.level.number()
                && (metadata.target().starts_with("alppaca") || *metadata.level() <= tracing::Level::WARN)
    }

    fn write(&self, event: &Event<'_>, message: &mut String, line: &mut String) {
        message.clear();
        line.clear();
        event.record(&mut Message(message));
        let metadata = event.metadata();
        let thread = std::thread::current();
        let record = Record {
            created: self.clock.now().wall,
            started: self.started,
            level: metadata.into(),
            name: metadata.target(),
            message,
            thread: thread.name().unwrap_or("MainThread"),
            path: metadata.file().unwrap_or_default(),
            line: metadata.line().unwrap_or_default(),
        };
        self.frame.render(&record, line);
        let rank = if metadata.target() == ACCESS { Rank::Client } else { Rank::Own };
        // What finds no room is counted there.
        let _taken = self.queue.push(line, rank);
    }
}

impl Frame {
    pub(super) fn render(&self, record: &Record, line: &mut String) {
        match self {
            Self::Line(format) => {
                format.render(record, line);
                line.push('\n');
            }
            Self::Journal(format) => {
                Priority::push_severity(record.level, line);
                format.render(record, line);
                line.push('\n');
            }
            Self::Syslog { format, priority, end } => {
                priority.push(record.level, line);
                format.render(record, line);
                line.push_str(end);
            }
            Self::Json { before, end } => {
                let notice = serde_json::json!({
                    "time": record.created.to_string(),
                    "event": "notice",
                    "message": record.message,
                });
                line.push_str(before);
                line.push_str(&notice.to_string());
                line.push_str(end);
            }
        }
    }
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.wants(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _context: Context<'_, S>) -> bool {
        self.wants(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.level.number() {
            0..20 => LevelFilter::TRACE,
            // Requests and notices, too, are events of this level.
            _ => LevelFilter::INFO,
        })
    }

    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        BUFFERS.with(|buffers| match buffers.try_borrow_mut() {
            Ok(mut buffers) => {
                let (message, line) = &mut *buffers;
                self.write(event, message, line);
            }
            // An event while an event is written: a `Debug` that logs.
            Err(_busy) => self.write(event, &mut String::new(), &mut String::new()),
        });
    }
}

/// Collects the message and the fields of an event. Control characters are escaped: no upstream and
/// no client can forge a line.
struct Message<'a>(&'a mut String);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        use fmt::Write;
        let start = self.0.len();
        let separator = if self.0.is_empty() { "" } else { " " };
        // Writing to a String cannot fail.
        let _infallible = match field.name() {
            notice::FIELD => Ok(()),
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, "{separator}{name}={value:?}"),
        };
        escape(self.0, start);
    }
}

/// Escapes the control characters behind `start`. Nearly always there are none.
fn escape(text: &mut String, start: usize) {
    // 0xc2 begins the control characters beyond ASCII (and a few others).
    let suspect = |byte: &u8| *byte < b' ' || matches!(*byte, 0x7f | 0xc2);
    let Some(first) = text.as_bytes().iter().skip(start).position(suspect) else { return };
    let rest = text.split_off(start + first);
    for character in rest.chars() {
        if character.is_control() {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
}
