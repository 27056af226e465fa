//! The server's own credentials, with which it signs its calls: fetched from their source ahead of their end, never listed
//! and never logged.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::regions::Regions;
use crate::{
    clock::{self, Moment, SharedClock, until},
    credentials::Credentials,
    refresh::{ErrorKind, Fetch, SourceError, Timer},
    source::sts::Request,
};

/// Timers stand still during suspend and know nothing of clock steps, so the schedule is looked at at least this often.
const TICK: std::time::Duration = std::time::Duration::from_secs(15);

/// Credentials that sign calls, and what AWS says of them.
pub(super) struct Own {
    pub(super) credentials: Credentials,
    /// The ARN of the user or the role's session; nothing if AWS could not be asked.
    pub(super) arn: Option<String>,
}

impl Own {
    /// Whether they are those of a user: only then may the console be told how long its session lasts.
    pub(super) fn is_user(&self) -> bool {
        match &self.arn {
            Some(arn) => arn.contains(":user/"),
            None => self.credentials.session_token.expose().is_empty(),
        }
    }

    /// Whether they are those of a role's session, so that what they assume is a chain.
    fn is_role_session(&self) -> bool {
        self.arn.as_ref().is_some_and(|arn| arn.contains(":assumed-role/"))
    }
}

/// Whence the credentials come.
pub(super) struct Source {
    /// The configured source.
    pub(super) fetch: Arc<dyn Fetch>,
    /// A role that is assumed with them before anything else is.
    pub(super) assume: Option<Request>,
}

/// The credentials in force.
pub(super) struct Signer {
    source: Source,
    regions: Arc<Regions>,
    clock: SharedClock,
    state: Mutex<State>,
    rejected: Notify,
}

#[derive(Default)]
struct State {
    own: Option<Arc<Own>>,
    trouble: Option<String>,
}

impl Signer {
    pub(super) fn new(source: Source, regions: Arc<Regions>, clock: SharedClock) -> Self {
        Self { source, regions, clock, state: Mutex::default(), rejected: Notify::new() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing that could panic is done while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The credentials, if they are valid.
    pub(super) fn get(&self) -> Option<Arc<Own>> {
        let now = self.clock.now().wall;
        self.state().own.clone().filter(|own| own.credentials.expiration > now)
    }

    /// Why there are none.
    pub(super) fn trouble(&self) -> Option<String> {
        self.state().trouble.clone()
    }

    /// AWS does not accept these: others are fetched at once.
    pub(super) fn reject(&self, own: &Own, why: &str) {
        let mut state = self.state();
        if state.own.as_ref().is_some_and(|held| held.credentials.access_key_id == own.credentials.access_key_id) {
            state.own = None;
            state.trouble = Some(why.to_owned());
            drop(state);
            self.rejected.notify_one();
        }
    }

    /// Keeps them fresh, and reports each change.
    pub(super) async fn run(&self, changed: impl Fn()) {
        let mut timer = Timer::due_now(self.clock.now());
        let mut said: Option<String> = None;
        let mut signer: Option<String> = None;
        loop {
            self.wait(&timer).await;
            let fetched = self.fetch().await;
            let now = self.clock.now();
            timer = match self.take(fetched, now) {
                Ok(timer) => {
                    if said.take().is_some() {
                        notice!("sts: the server has credentials of its own again");
                    }
                    timer
                }
                Err(error) => {
                    let held = self.get().map(|own| until(own.credentials.expiration, now.wall));
                    if said.as_ref() != Some(&error.message) {
                        tracing::warn!("sts: no new credentials for the server: {error}");
                        said = Some(error.message.clone());
                    }
                    let mut state = self.state();
                    state.trouble = Some(format!("the server's own credentials: {error}"));
                    drop(state);
                    timer.after_failure(now, held, fastrand::f64())
                }
            };
            changed();
            // After that, so that a reader of the log can rely on it.
            self.tell(&mut signer);
        }
    }

    /// Says by whom calls are signed, if that is another one than before.
    fn tell(&self, before: &mut Option<String>) {
        let Some(own) = self.get() else { return };
        let Some(arn) = own.arn.as_ref().filter(|arn| before.as_ref() != Some(arn)) else { return };
        let chain =
            if own.is_role_session() { "; roles that it assumes last an hour at most (role chaining)" } else { "" };
        tracing::info!("sts: calls are signed by {arn}{chain}");
        *before = Some(arn.clone());
    }

    async fn wait(&self, timer: &Timer) {
        loop {
            let remaining = timer.remaining(self.clock.now());
            if remaining.is_zero() {
                return;
            }
            tokio::select! {
                () = clock::sleep(remaining.min(TICK)) => {}
                () = self.rejected.notified() => return,
            }
        }
    }

    fn take(&self, fetched: Result<Own, SourceError>, now: Moment) -> Result<Timer, SourceError> {
        let own = fetched?;
        let expiration = own.credentials.expiration;
        let life = own.credentials.life_from(now.wall);
        if life.is_zero() {
            return Err(SourceError::transient("they have expired already"));
        }
        let mut state = self.state();
        state.own = Some(Arc::new(own));
        state.trouble = None;
        Ok(Timer::after_set(now, expiration, life, fastrand::f64()))
    }

    async fn fetch(&self) -> Result<Own, SourceError> {
        let mut credentials = self.source.fetch.fetch(None).await?;
        if let Some(request) = &self.source.assume {
            credentials = self.regions.first(|sts| sts.assume(request, &credentials)).await?.value;
        }
        let arn = match self.regions.first(|sts| sts.caller_identity(&credentials)).await {
            Ok(answered) => Some(answered.value),
            // They may be good; AWS will say when they are used.
            Err(error) if matches!(error.kind, ErrorKind::Transient) => None,
            Err(error) => return Err(error),
        };
        Ok(Own { credentials, arn })
    }
}
