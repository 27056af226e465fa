//! The open connections: how many there are, whose they are, when each must be over, and which have to make room.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, task::AbortHandle};

use super::crowd::{Member, choose};
use crate::{caller::Owner, clock::BootTime};

/// How many connections are looked up for each new one: more than one, so that all are known by the time that there is no
/// room left.
const LOOK_UPS: usize = 3;
/// A connection is not looked up before this age: most are over by then, and a look-up is work. Few can be accepted
/// meanwhile, so that few are left to be looked up when there is no room.
const SETTLED: Duration = Duration::from_millis(20);

/// What a connection reports of itself. Times are nanoseconds of the boot clock.
#[derive(Debug)]
pub(super) struct Slot {
    deadline: AtomicU64,
    /// When it was accepted or last answered: the longer ago, the sooner it must make room.
    useful: AtomicU64,
    /// Whether a request is being answered, or an answer being sent.
    busy: AtomicBool,
    /// Whether a request is being answered.
    answering: AtomicBool,
    /// Whose the connection is, once the client has proved it.
    owner: OnceLock<Owner>,
}

impl Slot {
    /// Of a connection that was accepted just now and must have got further by `deadline`.
    pub(super) fn new(now: BootTime, deadline: BootTime) -> Self {
        Self {
            deadline: nanoseconds(deadline).into(),
            useful: nanoseconds(now).into(),
            busy: false.into(),
            answering: false.into(),
            owner: OnceLock::new(),
        }
    }

    /// Notes what takes time: to answer a request (`answering`), or until the client has taken the answer (`sending`).
    pub(super) fn set_busy(&self, answering: bool, sending: bool) {
        self.busy.store(answering || sending, Ordering::Relaxed);
        self.answering.store(answering, Ordering::Relaxed);
    }

    /// Notes whose the connection is. Behind a redirection only the client itself can prove that.
    pub(super) fn prove(&self, owner: Owner) {
        // The first proof counts; a connection does not change hands.
        self.owner.get_or_init(|| owner);
    }

    /// Whose the connection is, if the client has proved it.
    pub(super) fn owner(&self) -> Option<Owner> {
        self.owner.get().copied()
    }

    /// Sets the time by which the connection must have got further.
    pub(super) fn set_deadline(&self, deadline: BootTime) {
        self.deadline.store(nanoseconds(deadline), Ordering::Relaxed);
    }

    /// Tells that a request has just been answered; the next one must come by `deadline`.
    pub(super) fn answered(&self, now: BootTime, deadline: BootTime) {
        self.useful.store(nanoseconds(now), Ordering::Relaxed);
        self.set_deadline(deadline);
    }
}

fn nanoseconds(time: BootTime) -> u64 {
    // Enough for 584 years.
    u64::try_from(time.uptime().as_nanos()).unwrap_or(u64::MAX)
}

/// The two ends of a connection.
#[derive(Debug, Clone)]
pub(super) struct Ends {
    pub(super) socket: Arc<TcpStream>,
    pub(super) peer: SocketAddr,
}

#[derive(Debug)]
struct Entry {
    slot: Arc<Slot>,
    opened: BootTime,
    ends: Ends,
    /// Whose it is, once that was asked.
    owner: Option<Owner>,
    abort: Option<AbortHandle>,
}

#[derive(Debug, Default)]
struct Entries {
    next: u64,
    open: BTreeMap<u64, Entry>,
    /// Of those before this one it was asked whose they are.
    unasked: u64,
}

/// All open connections.
#[derive(Debug, Default)]
pub(super) struct Registry {
    entries: Mutex<Entries>,
    /// Notified when the first connection opens and when the last one closes.
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
    /// Registers a connection that was accepted just now.
    pub(super) fn open(self: &Arc<Self>, slot: Arc<Slot>, ends: Ends, now: BootTime) -> Registration {
        let mut entries = self.entries();
        let id = entries.next;
        entries.next += 1;
        entries.open.insert(id, Entry { slot, opened: now, ends, owner: None, abort: None });
        if entries.open.len() == 1 {
            self.edge.notify_waiters();
        }
        Registration { registry: Arc::clone(self), id }
    }

    /// Tells how the connection can be ended.
    pub(super) fn set_abort(&self, id: u64, abort: AbortHandle) {
        if let Some(entry) = self.entries().open.get_mut(&id) {
            entry.abort = Some(abort);
        }
    }

    /// How many are open.
    pub(super) fn len(&self) -> usize {
        self.entries().open.len()
    }

    /// Ends those whose deadline has passed. Returns how many.
    pub(super) fn sweep(&self, now: BootTime) -> usize {
        let now = nanoseconds(now);
        let entries = self.entries();
        let late = entries.open.values().filter(|entry| entry.slot.deadline.load(Ordering::Relaxed) <= now);
        late.filter_map(|entry| entry.abort.as_ref()).map(AbortHandle::abort).count()
    }

    /// Finds out whose some of the connections are that are not new.
    pub(super) fn look_up(&self, now: BootTime, whose: impl Fn(&Ends) -> Owner) {
        let settled = |entry: &Entry| now.since(entry.opened) >= SETTLED;
        self.entries().look_up(LOOK_UPS, settled, whose);
    }

    /// Ends up to `count` connections to make room, none on which a request is being answered. Returns how many.
    pub(super) fn evict(&self, count: usize, whose: impl Fn(&Ends) -> Owner) -> usize {
        let mut entries = self.entries();
        entries.look_up(usize::MAX, |_| true, whose);
        let members = entries.open.iter().map(|(id, entry)| Member {
            id: *id,
            owner: entry.slot.owner().or(entry.owner).unwrap_or(Owner::Nobody),
            useful: entry.slot.useful.load(Ordering::Relaxed),
            busy: entry.abort.is_none() || entry.slot.answering.load(Ordering::Relaxed),
        });
        let chosen = choose(members, count);
        let ended = chosen.iter().filter_map(|id| entries.open.remove(id)?.abort);
        ended.map(|abort| abort.abort()).count()
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
        for entry in self.entries().open.values() {
            if let (Some(abort), true) = (&entry.abort, busy_too || !entry.slot.busy.load(Ordering::Relaxed)) {
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

impl Entries {
    /// Finds out whose up to `count` more connections are, up to the first that is not `ripe`.
    fn look_up(&mut self, count: usize, ripe: impl Fn(&Entry) -> bool, whose: impl Fn(&Ends) -> Owner) {
        for (id, entry) in self.open.range_mut(self.unasked..).take(count).take_while(|(_, entry)| ripe(entry)) {
            entry.owner = Some(entry.slot.owner().unwrap_or_else(|| whose(&entry.ends)));
            self.unasked = id + 1;
        }
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

    fn at(second: u64) -> BootTime {
        BootTime::from_millis(second * 1000)
    }

    fn slot(opened: u64, deadline: u64) -> Arc<Slot> {
        Arc::new(Slot::new(at(opened), at(deadline)))
    }

    /// A connection whose owner is the number of its port.
    fn ends(port: u16) -> Ends {
        let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let socket = TcpStream::connect(listener.local_addr().expect("bound")).expect("listening");
        Ends { socket: Arc::new(socket), peer: (std::net::Ipv4Addr::LOCALHOST, port).into() }
    }

    fn whose(ends: &Ends) -> Owner {
        Owner::User(ends.peer.port().into())
    }

    fn open(registry: &Arc<Registry>, slot: &Arc<Slot>) -> (Registration, tokio::task::JoinHandle<()>) {
        open_by(registry, slot, 1)
    }

    fn open_by(registry: &Arc<Registry>, slot: &Arc<Slot>, port: u16) -> (Registration, tokio::task::JoinHandle<()>) {
        let registration = registry.open(Arc::clone(slot), ends(port), at(1));
        let (abort, task) = task();
        registry.set_abort(registration.id(), abort);
        (registration, task)
    }

    #[tokio::test]
    async fn the_sweep_ends_what_is_overdue() {
        let registry = Arc::new(Registry::default());
        let (_early, overdue) = open(&registry, &slot(1, 5));
        let (_late, in_time) = open(&registry, &slot(1, 6));
        registry.sweep(at(5));
        assert!(overdue.await.is_err_and(|error| error.is_cancelled()));
        assert!(!in_time.is_finished());
    }

    #[tokio::test]
    async fn the_connection_that_was_of_no_use_for_longest_makes_room() {
        let registry = Arc::new(Registry::default());
        let useful = slot(1, 9);
        let (_old_but_useful, _task) = open(&registry, &useful);
        let (_idle, evicted) = open(&registry, &slot(2, 9));
        useful.answered(at(3), at(9));
        assert_eq!(registry.evict(1, whose), 1);
        assert!(evicted.await.is_err_and(|error| error.is_cancelled()));
        assert_eq!(registry.len(), 1);
    }

    #[tokio::test]
    async fn who_has_most_makes_room_and_is_asked_for_once() {
        let registry = Arc::new(Registry::default());
        let (_honest, _task) = open_by(&registry, &slot(1, 9), 7);
        let greedy: Vec<_> = (2..5).map(|at| open_by(&registry, &slot(at, 9), 8)).collect();
        let asked = std::cell::Cell::new(0);
        let count = |ends: &Ends| {
            asked.set(asked.get() + 1);
            whose(ends)
        };
        registry.look_up(at(1), count);
        assert_eq!(asked.get(), 0, "they may be over in a moment");
        registry.look_up(at(2), count);
        assert_eq!(asked.get(), LOOK_UPS);
        assert_eq!((registry.evict(2, count), asked.get()), (2, 4));
        let (_registrations, tasks): (Vec<_>, Vec<_>) = greedy.into_iter().unzip();
        let mut greedy = tasks.into_iter();
        for _ in 0..2 {
            let ended = greedy.next().expect("three").await;
            assert!(ended.is_err_and(|error| error.is_cancelled()));
        }
        assert!(!greedy.next().expect("three").is_finished());
        assert_eq!(registry.len(), 2);
        let busy = slot(0, 9);
        busy.set_busy(true, false);
        let (_answered, _task) = open_by(&registry, &busy, 8);
        assert_eq!((registry.evict(9, count), registry.len()), (2, 1), "never while a request is being answered");
    }

    #[tokio::test]
    async fn what_a_client_has_proved_goes_before_what_the_socket_says() {
        let registry = Arc::new(Registry::default());
        let slots: Vec<_> = (1..5).map(|at| slot(at, 9)).collect();
        let open: Vec<_> = slots.iter().map(|slot| open_by(&registry, slot, 1)).collect();
        slots[0].prove(Owner::User(7));
        for slot in &slots[1..] {
            slot.prove(Owner::User(8));
        }
        assert_eq!(registry.evict(2, whose), 2);
        let (_registrations, tasks): (Vec<_>, Vec<_>) = open.into_iter().unzip();
        let mut tasks = tasks.into_iter();
        assert!(!tasks.next().expect("four").is_finished(), "the oldest, but the only one of its user");
        for _ in 0..2 {
            assert!(tasks.next().expect("four").await.is_err_and(|error| error.is_cancelled()));
        }
    }

    #[tokio::test]
    async fn opening_and_closing_is_told() {
        let registry = Arc::new(Registry::default());
        registry.until(false).await;
        let registration = registry.open(slot(0, 0), ends(1), at(0));
        registry.until(true).await;
        drop(registration);
        registry.until(false).await;
        assert_eq!(registry.len(), 0);
    }
}
