//! The open connections: how many there are, when each must be over, and which has to make room.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, task::AbortHandle};

/// What a connection tells of itself. Times are nanoseconds of the boot clock.
#[derive(Debug)]
pub(super) struct Slot {
    deadline: AtomicU64,
    /// When it was accepted or last answered: the longer ago, the sooner it must make room.
    useful: AtomicU64,
    /// Whether a request is being answered.
    busy: AtomicBool,
}

impl Slot {
    /// Of a connection that was accepted just now and must have got further by `deadline`.
    pub(super) fn new(now: Duration, deadline: Duration) -> Self {
        Self { deadline: nanoseconds(deadline).into(), useful: nanoseconds(now).into(), busy: AtomicBool::new(false) }
    }

    /// Tells that a request has come whose answer takes time.
    pub(super) fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::Relaxed);
    }

    /// Sets the time by which the connection must have got further.
    pub(super) fn set_deadline(&self, deadline: Duration) {
        self.deadline.store(nanoseconds(deadline), Ordering::Relaxed);
    }

    /// Tells that a request has just been answered; the next one must come by `deadline`.
    pub(super) fn answered(&self, now: Duration, deadline: Duration) {
        self.useful.store(nanoseconds(now), Ordering::Relaxed);
        self.set_deadline(deadline);
    }
}

fn nanoseconds(time: Duration) -> u64 {
    // Enough for 584 years.
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[derive(Debug, Default)]
struct Entries {
    next: u64,
    open: HashMap<u64, (Arc<Slot>, Option<AbortHandle>)>,
}

/// All open connections.
#[derive(Debug, Default)]
pub(super) struct Registry {
    entries: Mutex<Entries>,
    /// Told when the first connection opens and when the last one closes.
    edge: Notify,
    stopping: AtomicBool,
}

/// Keeps a connection registered until it is dropped.
#[derive(Debug)]
pub(super) struct Registration {
    registry: Arc<Registry>,
    id: u64,
}

impl Registry {
    /// Registers a connection.
    pub(super) fn open(self: &Arc<Self>, slot: Arc<Slot>) -> Registration {
        let mut entries = self.entries();
        let id = entries.next;
        entries.next += 1;
        entries.open.insert(id, (slot, None));
        if entries.open.len() == 1 {
            self.edge.notify_waiters();
        }
        Registration { registry: Arc::clone(self), id }
    }

    /// Tells how the connection can be ended.
    pub(super) fn set_abort(&self, id: u64, abort: AbortHandle) {
        if let Some((_, place)) = self.entries().open.get_mut(&id) {
            *place = Some(abort);
        }
    }

    /// How many are open.
    pub(super) fn len(&self) -> usize {
        self.entries().open.len()
    }

    /// Ends those whose deadline has passed.
    pub(super) fn sweep(&self, now: Duration) {
        let now = nanoseconds(now);
        for (slot, abort) in self.entries().open.values() {
            if let (Some(abort), true) = (abort, slot.deadline.load(Ordering::Relaxed) <= now) {
                abort.abort();
            }
        }
    }

    /// Ends the connection that has been of no use for the longest time, to make room.
    pub(super) fn evict(&self) {
        let mut entries = self.entries();
        let useful = |entry: &(Arc<Slot>, _)| entry.0.useful.load(Ordering::Relaxed);
        let oldest = entries.open.iter().min_by_key(|(_, entry)| useful(entry)).map(|(id, _)| *id);
        if let Some((_, Some(abort))) = oldest.and_then(|id| entries.open.remove(&id)) {
            abort.abort();
        }
    }

    /// From now on no connection waits for another request.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether [`Registry::stop`] was called.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Ends all, or all on which no request is being answered.
    pub(super) fn abort(&self, busy_too: bool) {
        for (slot, abort) in self.entries().open.values() {
            if let (Some(abort), true) = (abort, busy_too || !slot.busy.load(Ordering::Relaxed)) {
                abort.abort();
            }
        }
    }

    /// Waits until there is at least one connection (`some`), or none.
    pub(super) async fn until(&self, some: bool) {
        loop {
            let edge = self.edge.notified();
            tokio::pin!(edge);
            edge.as_mut().enable();
            if (self.len() > 0) == some {
                return;
            }
            edge.await;
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        // Nothing under the lock can panic half-way.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registration {
    /// The number under which it is registered.
    pub(super) fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut entries = self.registry.entries();
        entries.open.remove(&self.id);
        if entries.open.is_empty() {
            self.registry.edge.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task() -> (AbortHandle, tokio::task::JoinHandle<()>) {
        let task = tokio::spawn(std::future::pending());
        (task.abort_handle(), task)
    }

    fn slot(opened: u64, deadline: u64) -> Arc<Slot> {
        Arc::new(Slot::new(Duration::from_secs(opened), Duration::from_secs(deadline)))
    }

    fn open(registry: &Arc<Registry>, slot: &Arc<Slot>) -> (Registration, tokio::task::JoinHandle<()>) {
        let registration = registry.open(Arc::clone(slot));
        let (abort, task) = task();
        registry.set_abort(registration.id(), abort);
        (registration, task)
    }

    #[tokio::test]
    async fn the_sweep_ends_what_is_overdue() {
        let registry = Arc::new(Registry::default());
        let (_early, overdue) = open(&registry, &slot(1, 5));
        let (_late, in_time) = open(&registry, &slot(1, 6));
        registry.sweep(Duration::from_secs(5));
        assert!(overdue.await.is_err_and(|error| error.is_cancelled()));
        assert!(!in_time.is_finished());
    }

    #[tokio::test]
    async fn the_connection_that_was_of_no_use_for_longest_makes_room() {
        let registry = Arc::new(Registry::default());
        let useful = slot(1, 9);
        let (_old_but_useful, _task) = open(&registry, &useful);
        let (_idle, evicted) = open(&registry, &slot(2, 9));
        useful.answered(Duration::from_secs(3), Duration::from_secs(9));
        registry.evict();
        assert!(evicted.await.is_err_and(|error| error.is_cancelled()));
        assert_eq!(registry.len(), 1);
    }

    #[tokio::test]
    async fn opening_and_closing_is_told() {
        let registry = Arc::new(Registry::default());
        registry.until(false).await;
        let registration = registry.open(slot(0, 0));
        registry.until(true).await;
        drop(registration);
        registry.until(false).await;
        assert_eq!(registry.len(), 0);
    }
}
