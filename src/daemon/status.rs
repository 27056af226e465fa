//! What is told of the daemon while it runs: readiness, and one line on the state of its roles.

use std::{
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::{Notify, oneshot, watch};

use super::succession::Succession;
use crate::{
    clock::{self, Moment, SharedClock},
    credentials::format_timestamp,
    http::OpenSocket,
    store::{RoleState, Slot, Snapshot, Store},
};

/// The status is told no more often than this.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// A role may expire without any change of the store.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// Whoever wants to know how it goes.
pub trait Progress: Send + 'static {
    /// Credentials can be had (`fetched`), or the wait for them is over and the daemon serves what
    /// it has.
    fn ready(&mut self, fetched: bool);

    /// It is about to serve in the place of another.
    fn takes_place(&mut self) {}

    /// The state of the roles has changed.
    fn status(&mut self, line: &str);

    /// The start may take so long, because it waits for the first credentials.
    fn awaits(&mut self, _ready_wait: Duration) {}

    /// The daemon is not ready yet, because another socket has one of its addresses. Called again and again.
    fn waits(&mut self) {}

    /// The store has changed, perhaps without a change of the status line.
    fn changed(&mut self, _store: &Store) {}
}

/// At how many of the places a socket listens.
pub(super) struct Listening {
    pub(super) open: watch::Receiver<Vec<OpenSocket>>,
    pub(super) wanted: usize,
    /// Set when the daemon is ready.
    pub(super) ready: Arc<AtomicBool>,
    /// Says when it is to be looked at once whether all is there.
    pub(super) looks: watch::Receiver<()>,
}

/// Who is told.
pub(super) struct Telling<P> {
    pub(super) progress: P,
    /// The daemon in whose place this one is, if there is one.
    pub(super) succession: Option<Succession>,
    /// Told why this daemon must not be in that place.
    pub(super) refuse: oneshot::Sender<String>,
    /// Notified as soon as this daemon serves in no other's place any more.
    pub(super) serves: Arc<Notify>,
}

impl Listening {
    fn everywhere(&mut self) -> bool {
        self.open.borrow_and_update().iter().filter(|socket| socket.awaited).count() >= self.wanted
    }

    /// Ready when there are more.
    async fn more(&mut self) {
        if self.open.changed().await.is_err() {
            // The server is gone, and with it the news.
            std::future::pending::<()>().await;
        }
    }
}

/// Waits until there are credentials, but no longer than `ready_wait`.
pub(super) async fn first_credentials(store: &Store, clock: &SharedClock, ready_wait: Duration) {
    let patience = clock::sleep(ready_wait);
    tokio::pin!(patience);
    loop {
        let changed = store.changed();
        if store.has_valid_set(clock.now()) {
            return;
        }
        tokio::select! {
            () = changed => {}
            () = &mut patience => return,
        }
    }
}

/// Tells `progress` what happens in `store`, for ever. It is ready when there is a socket at each place, and when there are
/// credentials, but after `ready_wait` at the latest; without that at once: no role is known yet that could be waited for.
pub(super) async fn follow(
    store: Arc<Store>,
    clock: SharedClock,
    ready_wait: Option<Duration>,
    mut listening: Listening,
    telling: Telling<impl Progress>,
) {
    let Telling { mut progress, mut succession, refuse, serves } = telling;
    let mut looks = listening.looks.clone();
    if succession.is_none() {
        serves.notify_one();
    }
    if let Some(ready_wait) = ready_wait {
        progress.awaits(ready_wait);
    }
    let patience = clock::sleep(ready_wait.unwrap_or_default());
    tokio::pin!(patience);
    // Whether there are credentials, as soon as that can be said.
    let mut fetched = ready_wait.is_none().then_some(true);
    let mut ready = false;
    let mut told = String::new();
    loop {
        let changed = store.changed();
        let now = clock.now();
        if fetched.is_none() && store.has_valid_set(now) {
            fetched = Some(true);
        }
        let everywhere = listening.everywhere();
        if let (false, true, Some(fetched)) = (ready, everywhere, fetched) {
            ready = true;
            if let Some(succession) = succession.take() {
                progress.takes_place();
                if let Err(why) = succession.conclude().await {
                    // Without the other side the daemon is about to stop.
                    let _stopping = refuse.send(why);
                    return;
                }
                serves.notify_one();
            }
            listening.ready.store(true, Ordering::Relaxed);
            progress.ready(fetched);
        }
        if !everywhere {
            progress.waits();
        }
        progress.changed(&store);
        let line = summary(&store.snapshot(), now);
        if line != told {
            progress.status(&line);
            told = line;
        }
        tokio::select! {
            () = changed => {}
            () = clock::sleep(LOOK_AGAIN) => {}
            () = listening.more(), if !everywhere => {}
            () = &mut patience, if fetched.is_none() => fetched = Some(false),
            Ok(()) = looks.changed() => continue,
        }
        if ready {
            clock::sleep(STATUS_INTERVAL).await;
        }
    }
}

/// One line: how many roles are in which state, and which is the first to expire.
pub fn summary(snapshot: &Snapshot, now: Moment) -> String {
    if !snapshot.answered() {
        return "waiting for the upstream's first answer".to_owned();
    }
    let roles = || snapshot.roles().iter().chain(snapshot.unlisted());
    if roles().next().is_none() {
        return "this host has no role".to_owned();
    }
    let mut states: Vec<RoleState> = Vec::with_capacity(roles().count());
    let mut first: Option<(Timestamp, &str)> = None;
    for role in roles() {
        let slot = role.slot();
        // Shown as what it was before and will be after: a refresh is over in a moment.
        states.push(match slot.state(now) {
            RoleState::Refreshing => RoleState::Fresh,
            state => state,
        });
        if let Slot::Held { set, .. } = &**slot {
            let expiration = (set.expiration, role.name().as_str());
            first = Some(first.map_or(expiration, |first| first.min(expiration)));
        }
    }
    let mut line = String::new();
    states.sort_unstable();
    for same in states.chunk_by(PartialEq::eq) {
        let separator = if line.is_empty() { "" } else { ", " };
        let state = same.first().map_or("", |state| state.as_str());
        // Writing to a String cannot fail.
        let _infallible = write!(line, "{separator}{} {state}", same.len());
    }
    if let Some((expiration, role)) = first {
        let _infallible = write!(line, "; first to expire: {role} at {}", format_timestamp(expiration));
    }
    line
}
