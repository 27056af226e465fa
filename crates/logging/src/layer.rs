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
    fields::Fields,
    format::Record,
    frame::Frame,
    level::Level,
    options::LogLevel,
    queue::{Queue, Rank},
};
use crate::{clock::SharedClock, notice};

/// How the targets of our events begin.
const OWN: &str = "alppaca";

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
    static BUFFERS: RefCell<Buffers> = const { RefCell::new(Buffers::new()) };
}

/// Where an event is rendered.
struct Buffers {
    message: String,
    fields: String,
    line: String,
}

impl Buffers {
    const fn new() -> Self {
        Self { message: String::new(), fields: String::new(), line: String::new() }
    }
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
                && (metadata.target().starts_with(OWN) || *metadata.level() <= tracing::Level::WARN)
    }

    fn write(&self, event: &Event<'_>, buffers: &mut Buffers) {
        let Buffers { message, fields, line } = buffers;
        message.clear();
        fields.clear();
        line.clear();
        let metadata = event.metadata();
        let own = metadata.target().starts_with(OWN);
        event.record(&mut Parts { message, fields: own.then_some(&mut *fields) });
        let thread = std::thread::current();
        let record = Record {
            created: self.clock.now().wall,
            started: self.started,
            level: metadata.into(),
            name: metadata.target(),
            message,
            fields: Fields::of(fields),
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
            Ok(mut buffers) => self.write(event, &mut buffers),
            // An event while an event is written: a `Debug` that logs.
            Err(_busy) => self.write(event, &mut Buffers::new()),
        });
    }
}

/// Collects the message and the fields of an event. Control characters are escaped: no upstream and
/// no client can forge a line, or a field.
struct Parts<'a> {
    message: &'a mut String,
    /// Where the fields of our own events go, whose messages say in words what is in them. Those of others are a part of the
    /// message.
    fields: Option<&'a mut String>,
}

impl Parts<'_> {
    fn push(&mut self, field: &Field, value: std::fmt::Arguments<'_>, is_number: bool) {
        use fmt::Write;
        let (into, start) = match (&mut self.fields, field.name()) {
            (_, notice::FIELD) => return,
            (Some(fields), name) if name != "message" => {
                fields.push_str(name);
                fields.push(if is_number { ':' } else { '=' });
                let start = fields.len();
                // Writing to a String cannot fail.
                let _infallible = write!(fields, "{value}");
                escape(fields, start);
                return fields.push('\n');
            }
            (_, name) => {
                let start = self.message.len();
                let separator = if start == 0 { "" } else { " " };
                let _infallible = match name {
                    "message" => Ok(()),
                    name => write!(self.message, "{separator}{name}="),
                };
                (&mut *self.message, start)
            }
        };
        let _infallible = write!(into, "{value}");
        escape(into, start);
    }
}

impl Visit for Parts<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push(field, format_args!("{value:?}"), false);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if self.fields.is_some() {
            self.push(field, format_args!("{value}"), false);
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, format_args!("{value}"), true);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, format_args!("{value}"), true);
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
