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
    format::Record,
    frame::Frame,
    level::Level,
    options::LogLevel,
    queue::{Queue, Rank},
};
use crate::{clock::SharedClock, notice};

/// The target of the lines about requests (`access_log`).
pub const ACCESS: &str = "alppaca.access";

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
