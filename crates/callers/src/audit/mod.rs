//! The audit: a record of each hand-out of credentials, by an answer or in a file, and of each denial, and a log line for each
//! denial. Answering a request only puts an event into a queue; a separate thread looks up the rest.

mod file;
mod record;

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

pub use file::{FileChange, FileEvent, Written};
pub use record::{Event, Findings, What};
use tokio::{
    runtime::Builder,
    sync::mpsc::{Receiver, Sender, channel},
    time::timeout,
};

use crate::{
    caller::{
        Account, Holder, IdentityCache, Known, Membership, Origin, Owner,
        budget::{Allowance, Rate},
        cgroup::Cgroup,
    },
    clock::{Moment, SharedClock},
    logging::{AuditLog, Importance},
};

/// How many events may wait to be recorded. More are dropped, counted and reported.
const CAPACITY: usize = 8192;
/// How many of these may be denials, which clients can cause as often as they like.
const DENIALS: usize = CAPACITY / 2;
/// How often a denial of one owner is recorded and logged. The others in between are counted.
const RATE: Rate = Rate { burst: 1, every: Duration::from_mins(1) };
/// How much of the path of a denial is logged.
const SHOWN: usize = 256;
/// The queue length from which on the calling process is not looked up, which takes longest.
const BUSY: usize = 64;
/// The same when the program ends, which does not wait for long.
const BUSY_AT_THE_END: usize = 8;
/// How long a name or a control group is waited for before it is left out.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the end of the program waits for what is to be recorded.
const LAST: Duration = Duration::from_secs(2);
const STACK: usize = 256 * 1024;

/// Takes note of what callers get.
#[derive(Debug)]
pub struct Auditor {
    recorder: Option<Recorder>,
    /// For each owner and face.
    denials: Mutex<Allowance<(Owner, &'static str)>>,
}

#[derive(Debug)]
struct Recorder {
    events: Sender<Entry>,
    counts: Arc<Counts>,
    /// All that was lost, with the records that could not be written.
    lost: Arc<AtomicU64>,
    /// Whether the last attempt to write has failed.
    failing: Arc<AtomicBool>,
    /// Whether nothing is handed out that cannot be recorded.
    required: bool,
    /// How many hand-outs did not take place for that reason.
    withheld: AtomicU64,
    ended: Mutex<std::sync::mpsc::Receiver<()>>,
}

/// What is to be recorded.
#[derive(Debug)]
enum Entry {
    Caller(Event),
    File(FileEvent),
}

/// How the records are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// How many events and records were lost.
    pub lost: u64,
    /// Whether records cannot be written now.
    pub failing: bool,
    /// How many hand-outs did not take place because they could not be recorded, where that is required.
    pub withheld: Option<u64>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Dropped events that have not been reported yet.
    untold: AtomicU64,
    /// Events that are to be recorded.
    waiting: AtomicU64,
}

impl Auditor {
    /// One that only writes lines about denials into the log.
    pub fn without_records() -> Self {
        Self::with(None)
    }

    fn with(recorder: Option<Recorder>) -> Self {
        Self { recorder, denials: Mutex::new(Allowance::new(RATE)) }
    }

    /// One that writes records to `log`, with what `identity_cache` finds out.
    pub fn start(log: AuditLog, identity_cache: Arc<IdentityCache>, clock: SharedClock) -> io::Result<Self> {
        let (events, waiting) = channel(CAPACITY);
        let counts = Arc::new(Counts::default());
        let (lost, failing, required) = (log.lost(), log.failing(), log.is_required());
        let writer = Writer { log, identity_cache, counts: Arc::clone(&counts), clock };
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let (ending, ended) = std::sync::mpsc::channel();
        thread::Builder::new().name("audit".into()).stack_size(STACK).spawn(move || {
            runtime.block_on(writer.run(waiting));
            // The receiver may have stopped waiting, which is fine.
            let _unheard = ending.send(());
        })?;
        let (withheld, ended) = (AtomicU64::new(0), Mutex::new(ended));
        Ok(Self::with(Some(Recorder { events, counts, lost, failing, required, withheld, ended })))
    }

    /// Whether hand-outs are recorded.
    pub fn records(&self) -> bool {
        self.recorder.is_some()
    }

    /// How the records are, if there are any.
    pub fn health(&self) -> Option<Health> {
        let Recorder { lost, failing, required, withheld, .. } = self.recorder.as_ref()?;
        Some(Health {
            lost: lost.load(Ordering::Relaxed),
            failing: failing.load(Ordering::Relaxed),
            withheld: required.then(|| withheld.load(Ordering::Relaxed)),
        })
    }

    /// Takes note of a hand-out that is about to take place; whether it may. Never waits.
    #[must_use]
    pub fn hand_out(&self, event: Event) -> bool {
        self.recorder.as_ref().is_none_or(|recorder| recorder.hand_out(Entry::Caller(event)))
    }

    /// Takes note of what happens to a file; whether credentials may be written into it. A removal needs no leave, and is noted
    /// after it. Never waits.
    #[must_use]
    pub fn file(&self, event: FileEvent) -> bool {
        let Some(recorder) = &self.recorder else { return true };
        if matches!(event.what, FileChange::Written(_)) {
            return recorder.hand_out(Entry::File(event));
        }
        if !recorder.send(Entry::File(event)) {
            recorder.count_lost();
        }
        true
    }

    /// Records a denial. Never waits. The number of records per owner is limited; the rest is counted.
    pub fn denial(&self, event: Event, now: Moment) {
        // Nothing under the lock can panic half-way.
        let mut denials = self.denials.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(more) = denials.spend((event.peer.owner(), event.face), now.boot) else { return };
        drop(denials);
        let event = Event { more, ..event };
        log_denial(&event);
        if let Some(recorder) = &self.recorder {
            recorder.denial(event);
        }
    }
}

impl Recorder {
    fn hand_out(&self, event: Entry) -> bool {
        if !self.required {
            if !self.send(event) {
                self.count_lost();
            }
            return true;
        }
        let accepted = !self.failing.load(Ordering::Relaxed) && self.send(event);
        if !accepted {
            self.withheld.fetch_add(1, Ordering::Relaxed);
        }
        accepted
    }

    fn denial(&self, event: Event) {
        if self.events.capacity() <= CAPACITY - DENIALS || !self.send(Entry::Caller(event)) {
            self.count_lost();
        }
    }

    /// Whether there was room for it.
    fn send(&self, event: Entry) -> bool {
        self.counts.waiting.fetch_add(1, Ordering::Relaxed);
        let sent = self.events.try_send(event).is_ok();
        if !sent {
            self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        sent
    }

    fn count_lost(&self) {
        self.counts.untold.fetch_add(1, Ordering::Relaxed);
        self.lost.fetch_add(1, Ordering::Relaxed);
    }
}

fn log_denial(event: &Event) {
    let What::Denied { path, pod } = &event.what else { return };
    let peer = &event.peer;
    let who = match &peer.origin {
        Origin::Process(process) => format!("user {}", process.uid),
        Origin::Elsewhere => "a remote client".to_owned(),
        Origin::Unasked | Origin::Unknown { .. } => "an unidentified client".to_owned(),
    };
    let pod = pod.as_ref().map(|pod| format!(" ({pod})")).unwrap_or_default();
    let more = if event.more == 0 { String::new() } else { format!(" ({} more since the last such line)", event.more) };
    let (path, rest) = match path.get(..SHOWN) {
        Some(start) if start.len() < path.len() => (start, "..."),
        _ => (&**path, ""),
    };
    tracing::warn!(
        caller_uid = peer.uid(),
        caller_address = peer.address.map(tracing::field::display),
        "denied: {who}{pod} at {} requested {path}{rest}: {}{more}",
        peer.place(),
        event.reason
    );
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
                        tracing::error!("audit: {late} event(s) were lost: the program stops before they are recorded");
                    }
                }
            }
        }
    }
}

struct Writer {
    log: AuditLog,
    identity_cache: Arc<IdentityCache>,
    counts: Arc<Counts>,
    clock: SharedClock,
}

impl Writer {
    async fn run(self, mut events: Receiver<Entry>) {
        while let Some(event) = events.recv().await {
            self.tell_losses();
            let most = if events.is_closed() { BUSY_AT_THE_END } else { BUSY };
            match &event {
                Entry::Caller(event) => {
                    let findings = self.find_out(event, events.len() > most).await;
                    let importance = match &event.what {
                        What::Issued { .. } => Importance::HandOut,
                        What::Denied { .. } => Importance::Denial,
                    };
                    self.log.write(&event.render(&findings), importance);
                }
                Entry::File(event) => self.log.write(&event.render(), Importance::HandOut),
            }
            self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        self.tell_losses();
    }

    fn tell_losses(&self) {
        let lost = self.counts.untold.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let message = format!("{lost} event(s) were lost: they came faster than they could be recorded");
            tracing::error!("audit: {message}");
            let time = self.clock.now().wall.to_string();
            let notice = serde_json::json!({"time": time, "event": "notice", "message": message});
            self.log.write(&notice.to_string(), Importance::HandOut);
        }
    }

    async fn find_out(&self, event: &Event, busy: bool) -> Findings {
        let Origin::Process(process) = &event.peer.origin else { return Findings::default() };
        let account = || self.identity_cache.account(process.uid);
        let account: Option<Arc<Account>> = self.wait_for(account).await;
        let cgroup: Option<Arc<Cgroup>> = match &process.cgroup {
            Membership::Known(group) => Some(Arc::clone(group)),
            Membership::Id(id) => self.wait_for(|| self.identity_cache.cgroup(*id, process.uid)).await,
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
                let changed = self.identity_cache.changed();
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
mod tests;
