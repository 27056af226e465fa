//! All sign-ins of the daemon: those of the sources in force, and the attempts that are under way.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{Notify, RwLock, futures::OwnedNotified},
};

use super::{
    attempt::{Attempt, PATIENCE, Progress},
    known::{Known, Method},
    options::Ssh,
    pkce::{Callback, random},
    provider::Settings,
    session::{Report, Session},
    ssh::SshSession,
};
use crate::clock::{self, SharedClock};

/// The sessions are looked at at least so often while anybody is signed in: timers stand still during suspend.
const TICK: Duration = Duration::from_secs(15);
/// The most attempts at a time.
const MAX_ATTEMPTS: usize = 8;

/// All sign-ins. Cheap to clone.
#[derive(Clone)]
pub struct SignIns(Arc<Inner>);

struct Inner {
    clock: SharedClock,
    /// Where sign-ins are kept that outlive the daemon.
    directory: Option<PathBuf>,
    /// All sessions that something holds. A reload finds its own again.
    sessions: Mutex<Vec<Weak<Session>>>,
    ssh_sessions: Mutex<Vec<Weak<SshSession>>>,
    /// Those of the sources in force, by their names.
    shown: Mutex<Vec<(String, Known)>>,
    attempts: Mutex<HashMap<String, Arc<Attempt>>>,
    changed: Arc<Notify>,
    /// Where the provider is called.
    beside: OnceLock<Handle>,
    /// Whether they are another process's, which renews them.
    held: Arc<AtomicBool>,
    /// Held while tokens that nobody has yet, or has any more, are on their way.
    under_way: Arc<RwLock<()>>,
}

/// Why a sign-in does not begin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BeginError {
    /// No source has one.
    #[error("no source of this daemon needs a sign-in")]
    None,
    /// There is none of that name.
    #[error("there is no source {0:?} with a sign-in; these have one: {1}")]
    Unknown(String, String),
    /// Which one is not said.
    #[error("several sources have a sign-in; name one of {0}")]
    Several(String),
    /// The daemon is about to start or stop, or too much is going on.
    #[error("the daemon cannot do that now; try again")]
    NotNow,
}

impl SignIns {
    /// None yet. Those that are to outlive the daemon are kept in `directory`.
    pub fn new(clock: SharedClock, directory: Option<PathBuf>) -> Self {
        Self(Arc::new(Inner {
            clock,
            directory,
            sessions: Mutex::default(),
            ssh_sessions: Mutex::default(),
            shown: Mutex::default(),
            attempts: Mutex::default(),
            changed: Arc::default(),
            beside: OnceLock::new(),
            held: Arc::default(),
            under_way: Arc::default(),
        }))
    }

    /// The session with these settings: the one that there is, or another.
    pub fn session(&self, settings: &Settings) -> Arc<Session> {
        let mut sessions = lock(&self.0.sessions);
        sessions.retain(|session| session.strong_count() > 0);
        let same = |session: &Weak<Session>| session.upgrade().filter(|session| **session.settings() == *settings);
        if let Some(session) = sessions.iter().find_map(same) {
            return session;
        }
        let (clock, changed, held) = (Arc::clone(&self.0.clock), Arc::clone(&self.0.changed), Arc::clone(&self.0.held));
        let session = Session::new(Arc::new(settings.clone()), clock, changed, held, self.0.directory.clone());
        let session = Arc::new(session);
        sessions.push(Arc::downgrade(&session));
        session
    }

    /// The same for keys in an agent, which is at `socket` unless the options or the person say otherwise.
    pub fn ssh(&self, options: &Ssh, socket: Option<PathBuf>) -> Known {
        let mut sessions = lock(&self.0.ssh_sessions);
        sessions.retain(|session| session.strong_count() > 0);
        let same = |session: &Weak<SshSession>| session.upgrade().filter(|session| session.options() == options);
        if let Some(session) = sessions.iter().find_map(same) {
            return Known::Ssh(session);
        }
        let (clock, changed) = (Arc::clone(&self.0.clock), Arc::clone(&self.0.changed));
        let session = Arc::new(SshSession::new(options.clone(), socket, clock, changed));
        sessions.push(Arc::downgrade(&session));
        Known::Ssh(session)
    }

    /// From now on these are the sessions of the sources in force.
    pub fn show(&self, sessions: Vec<(String, Known)>) {
        *lock(&self.0.shown) = sessions;
        self.0.changed.notify_waiters();
    }

    /// From now on they are another process's: here nothing is renewed, and nobody signs in or out.
    pub fn hold(&self) {
        self.0.held.store(true, Ordering::Relaxed);
    }

    /// The same; ready when what is under way is over. Attempts to sign in end.
    pub async fn pause(&self) {
        self.hold();
        lock(&self.0.attempts).values().for_each(|attempt| attempt.end("the daemon is being restarted"));
        // What is granted to them still is revoked.
        drop(self.0.under_way.write().await);
        for session in self.sessions() {
            session.renewed().await;
        }
    }

    /// They are this process's again, as they were.
    pub fn go_on(&self) {
        self.0.held.store(false, Ordering::Relaxed);
        self.0.changed.notify_waiters();
    }

    /// They are this process's from now on, as the other one has kept them.
    pub fn take_over(&self) {
        self.sessions().iter().for_each(|session| session.read_again());
        self.go_on();
    }

    fn sessions(&self) -> Vec<Arc<Session>> {
        lock(&self.0.sessions).iter().filter_map(Weak::upgrade).collect()
    }

    /// How it is with each, by the names of their sources.
    pub fn reports(&self) -> Vec<(String, Report)> {
        lock(&self.0.shown).iter().map(|(name, session)| (name.clone(), session.report())).collect()
    }

    /// Becomes ready at the next change; it counts from the call on.
    pub fn changed(&self) -> OwnedNotified {
        Arc::clone(&self.0.changed).notified_owned()
    }

    /// Renews tokens ahead, for ever; `news` is called when the sources may be asked again, or not any more.
    pub async fn run(self, news: impl Fn()) {
        let _started_once = self.0.beside.set(Handle::current());
        let mut before = Vec::new();
        loop {
            let changed = self.changed();
            let sessions: Vec<_> = lock(&self.0.shown).iter().map(|(_, session)| session.clone()).collect();
            let mut pause: Option<Duration> = None;
            for session in &sessions {
                let next = session.renew_ahead().await;
                pause = pause.into_iter().chain(next).min();
            }
            let now: Vec<u64> = sessions.iter().map(Known::serial).collect();
            if now != before {
                news();
                before = now;
            }
            drop(sessions);
            match pause {
                Some(pause) => tokio::select! {
                    () = changed => {}
                    () = clock::sleep(pause.min(TICK)) => {}
                },
                None => changed.await,
            }
        }
    }

    /// The sign-in of that source; without one the only one that there is, or that is as `meant`.
    fn find(&self, source: Option<&str>, meant: impl Fn(&Report) -> bool) -> Result<Known, BeginError> {
        if self.0.held.load(Ordering::Relaxed) {
            return Err(BeginError::NotNow);
        }
        let shown = lock(&self.0.shown);
        let names = || shown.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
        match (source, shown.as_slice()) {
            (_, []) => Err(BeginError::None),
            (None, all) => {
                // Several sources may share one.
                let only = |candidates: &[&Known]| match candidates {
                    [first, rest @ ..] if rest.iter().all(|other| first.is(other)) => Some((*first).clone()),
                    _ => None,
                };
                let all: Vec<&Known> = all.iter().map(|(_, session)| session).collect();
                let such = || all.iter().copied().filter(|session| meant(&session.report())).collect::<Vec<_>>();
                only(&all).or_else(|| only(&such())).ok_or_else(|| BeginError::Several(names()))
            }
            (Some(source), all) => {
                let found = all.iter().find(|(name, _)| name == source).map(|(_, session)| session.clone());
                found.ok_or_else(|| BeginError::Unknown(source.to_owned(), names()))
            }
        }
    }

    /// Begins to sign in for a source, the only one that needs it if none is named; answers the id of the attempt. One that is under way
    /// for the same provider ends.
    pub fn begin(&self, source: Option<&str>, method: Method) -> Result<String, BeginError> {
        let session = self.find(source, |report| report.needed.is_some())?;
        let beside = self.0.beside.get().ok_or(BeginError::NotNow)?;
        let id = random().map_err(|_| BeginError::NotNow)?.expose().to_owned();
        let mut attempts = lock(&self.0.attempts);
        let now = self.0.clock.now().boot;
        attempts.retain(|_, other| {
            let stays = !other.session.is(&session) && now.since(other.started) < 2 * PATIENCE;
            if !stays {
                other.end("another sign-in has been started instead");
            }
            stays
        });
        if attempts.len() >= MAX_ATTEMPTS {
            return Err(BeginError::NotNow);
        }
        let (clock, changed) = (Arc::clone(&self.0.clock), Arc::clone(&self.0.changed));
        let attempt = Attempt::new(session, clock, changed, Arc::clone(&self.0.under_way));
        let task = beside.spawn(Arc::clone(&attempt).run(method));
        attempt.runs_as(task.abort_handle());
        attempts.insert(id.clone(), attempt);
        Ok(id)
    }

    /// How far an attempt is.
    pub fn progress(&self, attempt: &str) -> Option<Progress> {
        lock(&self.0.attempts).get(attempt).map(|attempt| attempt.progress())
    }

    /// The browser has come back; `false` if there is no such attempt.
    pub fn come_back(&self, attempt: &str, callback: Callback) -> bool {
        let attempt = lock(&self.0.attempts).get(attempt).cloned();
        attempt.is_some_and(|attempt| {
            attempt.come_back(callback);
            true
        })
    }

    /// Forgets the tokens for a source, the only one with a person if none is named, and has the provider forget them, too.
    pub fn sign_out(&self, source: Option<&str>) -> Result<(), BeginError> {
        let session = self.find(source, |report| report.needed.is_none())?;
        // One that is under way must not sign in again.
        for attempt in lock(&self.0.attempts).values().filter(|attempt| attempt.session.is(&session)) {
            attempt.end("you have signed out meanwhile");
        }
        if let (Some((session, tokens)), Some(beside)) = (session.sign_out(), self.0.beside.get()) {
            // None while the daemon is being restarted, when nobody signs out.
            let under_way = Arc::clone(&self.0.under_way).try_read_owned();
            beside.spawn(async move {
                session.revoke(&tokens).await;
                drop(under_way);
            });
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
