//! The audit: a record of each hand-out of credentials and of each denial, and a line in the log for those who are
//! denied. Whoever answers a request only drops an event into a queue; a thread of its own finds out the rest.

mod limiter;
mod record;

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use limiter::Limiter;
pub use record::{Event, Findings, What};
use tokio::{
    runtime::Builder,
    sync::mpsc::{Receiver, Sender, channel},
    time::timeout,
};

use crate::{
    caller::{Account, Directory, Holder, Known, Membership, Origin, Owner, cgroup::Cgroup},
    clock::{Moment, SharedClock},
    logging::AuditLog,
};

/// How many events may wait to be recorded. More are dropped, counted and told.
const CAPACITY: usize = 8192;
/// If so many wait, the process that asked is not looked for: finding it takes longest.
const BUSY: usize = 64;
/// How long a name or a control group is waited for before it is left out.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the end of the program waits for what is to be recorded.
const LAST: Duration = Duration::from_secs(2);
const STACK: usize = 256 * 1024;

/// Takes note of what callers get.
#[derive(Debug)]
pub struct Auditor {
    recorder: Option<Recorder>,
    denials: Mutex<Limiter<Owner>>,
}

#[derive(Debug)]
struct Recorder {
    events: Sender<Event>,
    counts: Arc<Counts>,
    /// All that was lost, with the records that could not be written.
    lost: Arc<AtomicU64>,
    ended: Mutex<std::sync::mpsc::Receiver<()>>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Events that found no room, and of which that was not told yet.
    untold: AtomicU64,
    /// Events that are to be recorded.
    waiting: AtomicU64,
}

impl Auditor {
    /// One that only writes lines about denials into the log.
    pub fn without_records() -> Self {
        Self { recorder: None, denials: Mutex::default() }
    }

    /// One that writes records to `log`, with what `directory` finds out.
    pub fn start(log: AuditLog, directory: Arc<Directory>, clock: SharedClock) -> io::Result<Self> {
        let (events, waiting) = channel(CAPACITY);
        let (counts, lost) = (Arc::new(Counts::default()), log.lost());
        let writer = Writer { log, directory, counts: Arc::clone(&counts), clock };
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let (ending, ended) = std::sync::mpsc::channel();
        thread::Builder::new().name("audit".into()).stack_size(STACK).spawn(move || {
            runtime.block_on(writer.run(waiting));
            // If nobody waits for it any more, that is as good.
            let _unheard = ending.send(());
        })?;
        let recorder = Recorder { events, counts, lost, ended: Mutex::new(ended) };
        Ok(Self { recorder: Some(recorder), denials: Mutex::default() })
    }

    /// Whether hand-outs are recorded.
    pub fn records(&self) -> bool {
        self.recorder.is_some()
    }

    /// How many events and records were lost, if they are recorded at all.
    pub fn lost(&self) -> Option<u64> {
        self.recorder.as_ref().map(|recorder| recorder.lost.load(Ordering::Relaxed))
    }

    /// Takes note. Never waits.
    pub fn note(&self, event: Event, now: Moment) {
        if let What::Denied { path } = &event.what {
            self.log_denial(&event, path, now);
        }
        if let Some(Recorder { events, counts, lost, .. }) = &self.recorder {
            counts.waiting.fetch_add(1, Ordering::Relaxed);
            if events.try_send(event).is_err() {
                counts.waiting.fetch_sub(1, Ordering::Relaxed);
                counts.untold.fetch_add(1, Ordering::Relaxed);
                lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn log_denial(&self, event: &Event, path: &str, now: Moment) {
        // Nothing under the lock can panic half-way.
        let mut denials = self.denials.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(untold) = denials.tell(event.peer.owner(), now.boot) else { return };
        drop(denials);
        let who = match &event.peer.origin {
            Origin::Process(process) => format!("user {}", process.uid),
            Origin::Elsewhere => "somebody who is not of this host".to_owned(),
            Origin::Unasked | Origin::Unknown => "somebody unknown".to_owned(),
        };
        let more = if untold == 0 { String::new() } else { format!(" ({untold} more since the last such line)") };
        let path = path.escape_debug();
        tracing::warn!("denied: {who} at {} asked for {path}: {}{more}", event.peer.place(), event.reason);
    }
}

impl Drop for Auditor {
    /// Waits, but not for long, until all is recorded.
    fn drop(&mut self) {
        if let Some(Recorder { events, counts, ended, .. }) = self.recorder.take() {
            drop(events);
            let ended = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
            // Too late is too late: the program must be able to end.
            if ended.recv_timeout(LAST).is_err() {
                match counts.waiting.load(Ordering::Relaxed) {
                    0 => {}
                    late => {
                        tracing::error!("audit: {late} event(s) were lost: the program ends before they are recorded");
                    }
                }
            }
        }
    }
}

struct Writer {
    log: AuditLog,
    directory: Arc<Directory>,
    counts: Arc<Counts>,
    clock: SharedClock,
}

impl Writer {
    async fn run(self, mut events: Receiver<Event>) {
        while let Some(event) = events.recv().await {
            self.tell_losses();
            let findings = self.find_out(&event, events.len() > BUSY).await;
            self.log.write(&event.render(&findings));
            self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        self.tell_losses();
    }

    fn tell_losses(&self) {
        let lost = self.counts.untold.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let message = format!("{lost} event(s) were lost: they came faster than they can be recorded");
            tracing::error!("audit: {message}");
            let time = self.clock.now().wall.to_string();
            self.log.write(&serde_json::json!({"time": time, "event": "notice", "message": message}).to_string());
        }
    }

    async fn find_out(&self, event: &Event, busy: bool) -> Findings {
        let Origin::Process(process) = &event.peer.origin else { return Findings::default() };
        let account = || self.directory.account(process.uid);
        let account: Option<Arc<Account>> = self.wait_for(account).await;
        let cgroup: Option<Arc<Cgroup>> = match &process.cgroup {
            Membership::Known(group) => Some(Arc::clone(group)),
            Membership::Id(id) => self.wait_for(|| self.directory.cgroup(*id, process.uid)).await,
            Membership::Unknown => None,
        };
        let holder = match process.pid {
            Some(pid) => Some(Holder::of(pid)),
            None if busy => None,
            None => Holder::find(process.uid, process.inode),
        };
        Findings { user: account.map(|account| account.name.clone()), cgroup, holder }
    }

    async fn wait_for<T>(&self, ask: impl Fn() -> Known<T>) -> Option<T> {
        let known = async {
            loop {
                let changed = self.directory.changed();
                match ask() {
                    Known::Yes(value) => return Some(value),
                    Known::Pending => changed.await,
                    Known::No | Known::Unknown => return None,
                }
            }
        };
        timeout(PATIENCE, known).await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        caller::{NameService, Peer},
        clock::SystemClock,
        config,
        logging::Environment,
    };

    #[test]
    fn each_event_of_a_flood_is_recorded_or_told_as_lost() {
        const FLOOD: u64 = 4 * CAPACITY as u64;
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("audit.log");
        let clock = SystemClock::shared();
        let environment = Environment { journal_stream: None, syslog: place.path().join("none") };
        let log = AuditLog::open(&config::AuditLog::File(path.clone()), Arc::clone(&clock), &environment);
        let directory = Directory::start(NameService, None, Arc::clone(&clock)).expect("a thread");
        let auditor =
            Auditor::start(log.expect("writable"), Arc::new(directory), Arc::clone(&clock)).expect("a thread");
        let now = clock.now();
        for number in 0..FLOOD {
            let event = Event {
                time: now.wall,
                peer: Peer::unasked("192.0.2.1:1".parse().expect("an address")),
                container: None,
                what: What::Denied { path: number.to_string().into() },
                reason: "a test".into(),
                face: "imds",
                version: None,
                user_agent: None,
            };
            auditor.note(event, now);
        }
        let lost = auditor.recorder.as_ref().map(|recorder| Arc::clone(&recorder.lost)).expect("it records");
        drop(auditor);
        let (mut recorded, mut told) = (0, 0);
        for line in std::fs::read_to_string(&path).expect("text").lines() {
            let record: serde_json::Value = serde_json::from_str(line).expect("JSON");
            match (record["event"].as_str(), record["message"].as_str().and_then(|text| text.split(' ').next())) {
                (Some("denial"), None) => recorded += 1,
                (Some("notice"), Some(number)) => told += number.parse::<u64>().expect("a number"),
                _ => panic!("{line}"),
            }
        }
        assert_eq!((recorded + told, lost.load(Ordering::Relaxed)), (FLOOD, told));
    }
}
