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
    lost: Arc<AtomicU64>,
    ended: Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Auditor {
    /// One that only writes lines about denials into the log.
    pub fn without_records() -> Self {
        Self { recorder: None, denials: Mutex::default() }
    }

    /// One that writes records to `log`, with what `directory` finds out.
    pub fn start(log: AuditLog, directory: Arc<Directory>, clock: SharedClock) -> io::Result<Self> {
        let (events, waiting) = channel(CAPACITY);
        let lost = Arc::new(AtomicU64::new(0));
        let writer = Writer { log, directory, lost: Arc::clone(&lost), clock };
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let (ending, ended) = std::sync::mpsc::channel();
        thread::Builder::new().name("audit".into()).stack_size(STACK).spawn(move || {
            runtime.block_on(writer.run(waiting));
            // If nobody waits for it any more, that is as good.
            let _unheard = ending.send(());
        })?;
        let recorder = Recorder { events, lost, ended: Mutex::new(ended) };
        Ok(Self { recorder: Some(recorder), denials: Mutex::default() })
    }

    /// Whether hand-outs are recorded.
    pub fn records(&self) -> bool {
        self.recorder.is_some()
    }

    /// Takes note. Never waits.
    pub fn note(&self, event: Event, now: Moment) {
        if let What::Denied { path } = &event.what {
            self.log_denial(&event, path, now);
        }
        if let Some(Recorder { events, lost, .. }) = &self.recorder
            && events.try_send(event).is_err()
        {
            lost.fetch_add(1, Ordering::Relaxed);
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
        if let Some(Recorder { events, ended, .. }) = self.recorder.take() {
            drop(events);
            let ended = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
            // Too late is too late: the program must be able to end.
            let _ended = ended.recv_timeout(LAST);
        }
    }
}

struct Writer {
    log: AuditLog,
    directory: Arc<Directory>,
    lost: Arc<AtomicU64>,
    clock: SharedClock,
}

impl Writer {
    async fn run(self, mut events: Receiver<Event>) {
        while let Some(event) = events.recv().await {
            let lost = self.lost.swap(0, Ordering::Relaxed);
            if lost > 0 {
                let message = format!("{lost} event(s) were lost: they came faster than they can be recorded");
                tracing::error!("audit: {message}");
                let time = self.clock.now().wall.to_string();
                self.log.write(&serde_json::json!({"time": time, "event": "notice", "message": message}).to_string());
            }
            let findings = self.find_out(&event, events.len() > BUSY).await;
            self.log.write(&event.render(&findings));
        }
    }

    async fn find_out(&self, event: &Event, busy: bool) -> Findings {
        let Origin::Process(process) = &event.peer.origin else { return Findings::default() };
        let account = || self.directory.account(process.uid);
        let account: Option<Arc<Account>> = self.wait_for(account).await;
        let cgroup: Option<Arc<Cgroup>> = match &process.cgroup {
            Membership::Known(group) => Some(Arc::clone(group)),
            Membership::Id(id) => self.wait_for(|| self.directory.cgroup(*id)).await,
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
