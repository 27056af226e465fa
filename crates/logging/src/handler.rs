//! The handlers of Python's `logging`: which there are, what arguments they take.

use std::{fmt, io, path::PathBuf};

use jiff::Timestamp;
use rustix::fs::fstat;

use super::{
    Environment, Format,
    file::{Daily, FileSink, Rotation, When},
    frame::Frame,
    journal::JournalSink,
    options::{Argument, Handler},
    sink::{Batch, Failure, Sink, write_most},
    syslog::{Address, Priority, SyslogSink},
};

/// A sink and what is put around each record for it.
pub(super) struct Target {
    pub(super) sink: Box<dyn Sink>,
    pub(super) frame: Frame,
}

/// What is wrong with a handler's arguments.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandlerError {
    /// No such handler.
    #[error("there is no handler {0}")]
    Unknown(String),
    /// More positional arguments than it takes.
    #[error("{class} takes at most {most} arguments: {names}")]
    TooMany {
        /// The class.
        class: String,
        /// How many it takes.
        most: usize,
        /// Their names.
        names: String,
    },
    /// An argument that it does not have, or that is given twice.
    #[error("{class} has no (further) argument {name:?}; it takes {names}")]
    Argument {
        /// The class.
        class: String,
        /// The argument.
        name: String,
        /// Those that it has.
        names: String,
    },
    /// An argument that is missing or of the wrong kind.
    #[error("{class}: {name} has to be {expected}")]
    Value {
        /// The class.
        class: String,
        /// The argument.
        name: &'static str,
        /// What it has to be.
        expected: &'static str,
    },
}

/// Says what is wrong with a handler, without opening anything.
pub fn check(handler: &Handler) -> Result<(), HandlerError> {
    Target::from_handler(handler, Format::default()).map(|_target| ())
}

/// The arguments of a handler, matched to their names as Python does.
struct Arguments<'a> {
    handler: &'a Handler,
    values: Vec<(&'static str, &'a Argument)>,
}

impl<'a> Arguments<'a> {
    fn match_to(handler: &'a Handler, names: &[&'static str]) -> Result<Self, HandlerError> {
        let class = || handler.class.clone();
        if handler.args.len() > names.len() {
            return Err(HandlerError::TooMany { class: class(), most: names.len(), names: names.join(", ") });
        }
        let mut values: Vec<_> = names.iter().copied().zip(&handler.args).collect();
        for (name, value) in &handler.kwargs {
            let free = names.iter().find(|known| *known == name && !values.iter().any(|(used, _)| used == *known));
            match free {
                Some(known) => values.push((known, value)),
                None => {
                    return Err(HandlerError::Argument { class: class(), name: name.clone(), names: names.join(", ") });
                }
            }
        }
        values.retain(|(_, value)| **value != Argument::Null);
        Ok(Self { handler, values })
    }

    fn get(&self, name: &str) -> Option<&'a Argument> {
        self.values.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    fn wrong(&self, name: &'static str, expected: &'static str) -> HandlerError {
        HandlerError::Value { class: self.handler.class.clone(), name, expected }
    }

    fn text(&self, name: &'static str, default: &str) -> Result<String, HandlerError> {
        match self.get(name) {
            None => Ok(default.to_owned()),
            Some(Argument::Text(text)) => Ok(text.clone()),
            Some(_) => Err(self.wrong(name, "a text")),
        }
    }

    fn number(&self, name: &'static str, default: u64) -> Result<u64, HandlerError> {
        let wrong = || self.wrong(name, "a whole number, 0 or more");
        match self.get(name) {
            None => Ok(default),
            Some(Argument::Integer(number)) => u64::try_from(*number).map_err(|_| wrong()),
            Some(Argument::Text(text)) => text.parse().map_err(|_| wrong()),
            Some(_) => Err(wrong()),
        }
    }

    fn truth(&self, name: &'static str) -> Result<bool, HandlerError> {
        match self.get(name) {
            None => Ok(false),
            Some(Argument::Bool(truth)) => Ok(*truth),
            Some(_) => Err(self.wrong(name, "true or false")),
        }
    }

    fn path(&self) -> Result<PathBuf, HandlerError> {
        match self.text("filename", "")?.as_str() {
            "" => Err(self.wrong("filename", "the path of a file")),
            path => Ok(PathBuf::from(path)),
        }
    }

    /// `mode`, `encoding` and `delay` are taken for compatibility. We always append, in UTF-8.
    fn refuse_modes(&self) -> Result<(), HandlerError> {
        match (self.text("mode", "a")?.as_str(), self.text("encoding", "utf-8")?.to_lowercase().as_str()) {
            ("a", "utf-8" | "utf8") => self.truth("delay").map(|_either_way| ()),
            ("a", _) => Err(self.wrong("encoding", "utf-8")),
            _ => Err(self.wrong("mode", "'a': a log is never overwritten")),
        }
    }
}

impl Target {
    /// The handler that the configuration names.
    pub(super) fn from_handler(handler: &Handler, format: Format) -> Result<Self, HandlerError> {
        let sink: Box<dyn Sink> = match (&*handler.module, &*handler.class) {
            ("logging", "NullHandler") => {
                Arguments::match_to(handler, &[])?;
                Box::new(Nothing)
            }
            ("logging", "StreamHandler") => Box::new(stream(handler)?),
            ("logging", "FileHandler") => Box::new(file(handler, false)?),
            ("logging.handlers", "WatchedFileHandler") => Box::new(file(handler, true)?),
            ("logging.handlers", "RotatingFileHandler") => Box::new(rotating(handler)?),
            ("logging.handlers", "TimedRotatingFileHandler") => Box::new(timed(handler)?),
            ("logging.handlers", "SysLogHandler") => return syslog(handler, format),
            (module, class) => return Err(HandlerError::Unknown(format!("{module}.{class}"))),
        };
        Ok(Self { sink, frame: Frame::Line(format) })
    }

    /// Where the log goes by default: the journal, syslog or stderr.
    pub(super) fn standard(environment: &Environment, format: Format) -> Self {
        if environment.stderr_is_journal() {
            let mut sink = JournalSink::new(environment.journal.clone());
            if sink.open().is_ok() {
                let frame = Frame::Entry { format, identifier: environment.identifier.clone() };
                return Self { sink: Box::new(sink), frame };
            }
            return Self { sink: Box::new(Stream::Stderr), frame: Frame::Journal(format) };
        }
        if environment.syslog.exists() {
            return Self::syslog(Address::Local(environment.syslog.clone()), Priority::default(), format);
        }
        let note = format!("alppaca: there is no {}; logging to stderr\n", environment.syslog.display());
        // If stderr is closed, the note is lost, which is fine.
        let _unheard = io::Write::write_all(&mut io::stderr(), note.as_bytes());
        Self { sink: Box::new(Stream::Stderr), frame: Frame::Line(format) }
    }

    fn syslog(address: Address, priority: Priority, format: Format) -> Self {
        // Python ends a packet with a NUL (`SysLogHandler.append_nul`).
        let frame = Frame::Syslog { format, priority, end: "\0" };
        Self { sink: Box::new(SyslogSink::new(address)), frame }
    }
}

/// Whether `JOURNAL_STREAM` (device:inode) is what our stderr is connected to.
pub(super) fn is_stderr(journal: &str) -> bool {
    fstat(io::stderr()).is_ok_and(|stat| format!("{}:{}", stat.st_dev, stat.st_ino) == journal)
}

fn stream(handler: &Handler) -> Result<Stream, HandlerError> {
    let arguments = Arguments::match_to(handler, &["stream"])?;
    match arguments.text("stream", "ext://sys.stderr")?.as_str() {
        "ext://sys.stderr" => Ok(Stream::Stderr),
        "ext://sys.stdout" => Ok(Stream::Stdout),
        _ => Err(arguments.wrong("stream", "ext://sys.stderr or ext://sys.stdout")),
    }
}

fn file(handler: &Handler, watched: bool) -> Result<FileSink, HandlerError> {
    let arguments = Arguments::match_to(handler, &["filename", "mode", "encoding", "delay"])?;
    arguments.refuse_modes()?;
    Ok(FileSink::new(arguments.path()?, if watched { Rotation::Watched } else { Rotation::None }))
}

fn rotating(handler: &Handler) -> Result<FileSink, HandlerError> {
    let names = ["filename", "mode", "maxBytes", "backupCount", "encoding", "delay"];
    let arguments = Arguments::match_to(handler, &names)?;
    arguments.refuse_modes()?;
    let rotation =
        Rotation::Size { limit: arguments.number("maxBytes", 0)?, backups: arguments.number("backupCount", 0)? };
    Ok(FileSink::new(arguments.path()?, rotation))
}

fn timed(handler: &Handler) -> Result<FileSink, HandlerError> {
    let names = ["filename", "when", "interval", "backupCount", "encoding", "delay", "utc"];
    let arguments = Arguments::match_to(handler, &names)?;
    arguments.refuse_modes()?;
    let when = When::parse(&arguments.text("when", "h")?)
        .ok_or_else(|| arguments.wrong("when", "one of S, M, H, D, midnight, W0 to W6"))?;
    let interval = arguments.number("interval", 1)?;
    let schedule = Daily::new(when, interval, arguments.truth("utc")?)
        .ok_or_else(|| arguments.wrong("interval", "at least 1, and no longer than ten years"))?;
    Ok(FileSink::new(arguments.path()?, Rotation::Time { schedule, backups: arguments.number("backupCount", 0)? }))
}

fn syslog(handler: &Handler, format: Format) -> Result<Target, HandlerError> {
    let arguments = Arguments::match_to(handler, &["address", "facility", "socktype"])?;
    // SOCK_STREAM; Python's default is SOCK_DGRAM. `ext://` names are those of Python's dictConfig.
    let stream = match arguments.get("socktype") {
        None => false,
        Some(Argument::Integer(2)) => false,
        Some(Argument::Integer(1)) => true,
        Some(Argument::Text(text)) if text == "ext://socket.SOCK_STREAM" => true,
        Some(Argument::Text(text)) if text == "ext://socket.SOCK_DGRAM" => false,
        Some(_) => return Err(arguments.wrong("socktype", "1 (stream) or 2 (datagram)")),
    };
    let address = match arguments.get("address") {
        None => Address::network("localhost", 514, stream),
        Some(Argument::Text(path)) => Address::Local(path.into()),
        Some(Argument::List(parts)) => match parts.as_slice() {
            [Argument::Text(host), Argument::Integer(port)] if u16::try_from(*port).is_ok_and(|port| port > 0) => {
                Address::network(host, u16::try_from(*port).unwrap_or_default(), stream)
            }
            _ => return Err(arguments.wrong("address", "a path such as /dev/log, or [host, port]")),
        },
        Some(_) => return Err(arguments.wrong("address", "a path such as /dev/log, or [host, port]")),
    };
    let priority = match arguments.get("facility") {
        None => Priority::default(),
        Some(Argument::Text(name)) => Priority::named(name)
            .ok_or_else(|| arguments.wrong("facility", "one of syslog's facilities, such as user, daemon or local0"))?,
        Some(Argument::Integer(number)) => u8::try_from(*number)
            .ok()
            .and_then(Priority::numbered)
            .ok_or_else(|| arguments.wrong("facility", "a number from 0 to 23"))?,
        Some(_) => return Err(arguments.wrong("facility", "a name or a number")),
    };
    Ok(Target::syslog(address, priority, format))
}

/// `NullHandler`.
struct Nothing;

impl Sink for Nothing {
    fn open(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn write(&mut self, _batch: &Batch, _now: Timestamp) -> Result<(), Failure> {
        Ok(())
    }

    fn name(&self) -> String {
        "nowhere".to_owned()
    }
}

/// `StreamHandler`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        })
    }
}

impl Sink for Stream {
    fn open(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn write(&mut self, batch: &Batch, _now: Timestamp) -> Result<(), Failure> {
        use io::Write;
        let (written, result) = match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                let (written, result) = write_most(&mut stdout, &batch.bytes);
                (written, result.and_then(|()| stdout.flush()))
            }
            Self::Stderr => write_most(&mut io::stderr().lock(), &batch.bytes),
        };
        result.map_err(|error| Failure { written: batch.whole(written).0, error })
    }

    fn name(&self) -> String {
        self.to_string()
    }

    fn is_stderr(&self) -> bool {
        matches!(self, Self::Stderr)
    }
}
