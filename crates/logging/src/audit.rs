//! Where audit records go: the sinks of the log, with a queue of their own. Each record is one line of JSON.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Duration,
};

use super::{
    Environment, FLUSH, LogError,
    file::{FileSink, Rotation},
    frame::Frame,
    handler::Stream,
    options::AuditTarget,
    queue::{Queue, Rank, Trouble, Warden},
    sink::Sink,
    syslog::{Address, SyslogSink},
};
use crate::clock::{BootTime, SharedClock};

/// `<facility and severity>` of `authpriv.info`, and a name for the records.
const SYSLOG: &str = "<86>alppaca-audit: ";
/// The journal's severity "informational".
const JOURNAL: &str = "<6>";

/// How often to report that there is no room.
const TELL_AGAIN: Duration = Duration::from_mins(1);

/// An open audit log. What was written is flushed when it is dropped.
pub struct AuditLog {
    queue: Arc<Queue>,
    before: &'static str,
    end: &'static str,
    clock: SharedClock,
    /// When to report again that there is no room.
    tell_again: Mutex<BootTime>,
    required: bool,
}

/// What a record is about, which says how much of the room it may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Importance {
    /// A denial, which clients can cause as often as they like.
    Denial,
    /// A hand-out, or a word on the records themselves.
    HandOut,
}

/// Reports to the log what is lost of the audit.
fn tell(trouble: &Trouble<'_>, required: bool) {
    match trouble {
        Trouble::Failing { target, error, lost: 0 } if required => tracing::error!(
            "audit: cannot write to {target}: {error}; no credentials are handed out until it can be written \
             (audit_required)"
        ),
        Trouble::Failing { target, error, lost } => {
            tracing::error!("audit: cannot write to {target}: {error}; {lost} record(s) are lost so far");
        }
        Trouble::Over { target } => notice!("audit: {target} can be written again"),
        Trouble::Lost(lost) => tracing::error!("audit: {lost} record(s) were lost while they could not be written"),
        Trouble::Dropped(dropped) => {
            tracing::error!("audit: {dropped} record(s) were lost: they came faster than they could be written");
        }
    }
}

impl AuditLog {
    /// Opens it, so that a mistake shows at the start. With `required` no record is given up while the program runs.
    pub fn open(
        target: &AuditTarget,
        required: bool,
        clock: SharedClock,
        environment: &Environment,
    ) -> Result<Self, LogError> {
        let (mut sink, before, end): (Box<dyn Sink>, _, _) = match target {
            AuditTarget::File(path) => (Box::new(FileSink::new(path.clone(), Rotation::Watched)), "", "\n"),
            AuditTarget::Syslog => {
                (Box::new(SyslogSink::new(Address::Local(environment.syslog.clone()))), SYSLOG, "\0")
            }
            AuditTarget::Journal => (Box::new(Stream::Stderr), JOURNAL, "\n"),
        };
        let opened: io::Result<()> = sink.open();
        opened.map_err(|source| LogError::Open { target: sink.name(), source })?;
        let tell = move |trouble: &Trouble<'_>| tell(trouble, required);
        let warden = Warden { record: "audit record(s)", tell: Box::new(tell), keeps: required };
        let queue = Queue::start("audit-log", sink, Frame::Json { before, end }, Arc::clone(&clock), warden);
        let queue = queue.map_err(LogError::Thread)?;
        Ok(Self { queue, before, end, clock, tell_again: Mutex::new(BootTime::ZERO), required })
    }

    /// The number of records that were lost, for whatever reason. It grows.
    pub fn lost(&self) -> Arc<AtomicU64> {
        self.queue.lost()
    }

    /// Whether the last attempt to write has failed. It changes.
    pub fn failing(&self) -> Arc<AtomicBool> {
        self.queue.failing()
    }

    /// Whether no record is given up.
    pub fn is_required(&self) -> bool {
        self.required
    }

    /// Takes a record, which is a line of JSON. If there is no room, a log that is required waits for it; any other drops
    /// and counts the record, which is logged immediately, and recorded in the audit when there is room again.
    pub fn write(&self, record: &str, importance: Importance) {
        let line = self.framed(record);
        let rank = match importance {
            Importance::Denial => Rank::Client,
            Importance::HandOut => Rank::Own,
        };
        if self.required && importance == Importance::HandOut {
            return self.queue.push_patiently(&line);
        }
        if self.queue.push(&line, rank) {
            return;
        }
        let now = self.clock.now().boot;
        let mut due = self.tell_again.lock().unwrap_or_else(PoisonError::into_inner);
        if now >= *due {
            *due = now + TELL_AGAIN;
            tracing::error!("audit: records are being lost: they come faster than they can be written");
        }
    }
}

impl AuditLog {
    /// Takes a record and waits until it is written, for `limit` at most; whether it is. What comes after it does not
    /// matter. One that is not written may still be later. Blocks.
    pub fn write_through(&self, record: &str, limit: Duration) -> bool {
        self.queue.push_through(&self.framed(record), limit)
    }

    fn framed(&self, record: &str) -> String {
        [self.before, record, self.end].concat()
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        self.queue.close();
        let late = self.queue.flush(FLUSH);
        if late > 0 {
            tracing::error!("audit: up to {late} record(s) were lost: the program stops before they could be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn a_record_that_is_written_through_is_there_at_once_or_reported() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit");
        let open = |path: &std::path::Path| {
            let environment = Environment::new("alppaca", None);
            AuditLog::open(&AuditTarget::File(path.to_owned()), true, SystemClock::shared(), &environment)
                .expect("it opens")
        };
        let log = open(&path);
        assert!(log.write_through(r#"{"a":1}"#, Duration::from_mins(1)));
        assert_eq!(std::fs::read_to_string(&path).expect("text"), "{\"a\":1}\n");
        let full = open("/dev/full".as_ref());
        assert!(!full.write_through(r#"{"a":1}"#, Duration::from_millis(300)));
    }

    #[test]
    fn a_file_gets_each_record_and_is_followed_when_it_is_rotated() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("audit.log");
        let environment = Environment::new("alppaca", None);
        let open = || AuditLog::open(&AuditTarget::File(path.clone()), false, SystemClock::shared(), &environment);
        let log = open().expect("writable");
        log.write(r#"{"a":1}"#, Importance::HandOut);
        log.queue.flush(FLUSH);
        std::fs::rename(&path, directory.path().join("audit.log.1")).expect("there");
        log.write(r#"{"a":2}"#, Importance::HandOut);
        drop(log);
        assert_eq!(std::fs::read_to_string(directory.path().join("audit.log.1")).expect("text"), "{\"a\":1}\n");
        assert_eq!(std::fs::read_to_string(&path).expect("text"), "{\"a\":2}\n");
        std::fs::remove_file(&path).expect("there");
        std::fs::create_dir(&path).expect("free");
        assert!(matches!(open(), Err(LogError::Open { .. })));
    }
}
