//! One person's sign-in at one provider, as the daemon holds it: in memory, renewed ahead for as long as the provider
//! allows.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::Notify;

use super::{
    Failure,
    held::{FIRST_PAUSE, Held, MARGIN, Tokens},
    kept,
    person::Person,
    provider::{Granted, Provider, Settings},
};
use crate::{
    clock::{Moment, SharedClock},
    credentials::Secret,
};

/// A token that a site has refused is renewed once in this time.
const RENEWAL: Duration = Duration::from_mins(5);

/// One person's sign-in at one provider.
pub struct Session {
    settings: Arc<Settings>,
    clock: SharedClock,
    state: Mutex<State>,
    serial: AtomicU64,
    /// Held by the one who renews.
    renewing: tokio::sync::Mutex<()>,
    /// Notified of each change.
    changed: Arc<Notify>,
    /// Whether it is another process's, which renews and keeps it.
    held: Arc<AtomicBool>,
    /// Where it outlives the daemon.
    kept: Option<PathBuf>,
}

enum State {
    /// A person is needed, and why.
    Needed(String),
    /// The person has signed out.
    SignedOut,
    SignedIn(Box<Held>),
}

/// How it is with a sign-in, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The word for its kind.
    pub kind: &'static str,
    /// The provider, or the socket of the agent.
    pub issuer: String,
    /// Where a browser returns to, as configured.
    pub redirect_url: Option<String>,
    /// The fingerprint of the key that signs, and since when it does.
    pub key: Option<(String, Timestamp)>,
    /// Who has signed in, and since when, if anybody has.
    pub person: Option<(Person, Timestamp)>,
    /// Whether it is renewed without a person.
    pub renewed: bool,
    /// Why a person is needed, if one is.
    pub needed: Option<String>,
    /// Whether that is because the person has signed out.
    pub signed_out: bool,
    /// What went wrong when it was to be renewed.
    pub problem: Option<String>,
}

/// Why there is no token at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoToken {
    /// A person has to sign in, for this reason.
    Needed(String),
    /// The person has signed out.
    SignedOut,
    /// The provider cannot be reached, or is in trouble.
    Later(String),
}

impl Session {
    pub(super) fn new(
        settings: Arc<Settings>,
        clock: SharedClock,
        changed: Arc<Notify>,
        held: Arc<AtomicBool>,
        directory: Option<PathBuf>,
    ) -> Self {
        let kept = directory.filter(|_| settings.keeps_sign_in()).map(|directory| kept::path(&directory, &settings));
        let state = match kept.as_ref().and_then(|path| read(path, clock.now())) {
            Some(found) => State::SignedIn(Box::new(found)),
            None => State::Needed("nobody has signed in yet".to_owned()),
        };
        Self {
            settings,
            clock,
            state: Mutex::new(state),
            serial: AtomicU64::new(0),
            renewing: tokio::sync::Mutex::default(),
            changed,
            held,
            kept,
        }
    }

    pub(super) fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A token that is valid now, renewed if that is due.
    pub async fn token(&self) -> Result<Secret, NoToken> {
        self.token_with(MARGIN).await
    }

    /// The same, with more than that `life` left if it can be had.
    pub async fn token_with(&self, life: Duration) -> Result<Secret, NoToken> {
        for _before_and_after_renewal in 0..2 {
            let now = self.clock.now();
            let problem = match &*self.state() {
                State::Needed(reason) => return Err(NoToken::Needed(reason.clone())),
                State::SignedOut => return Err(NoToken::SignedOut),
                State::SignedIn(held) if held.left(now) > life => return Ok(held.tokens.bearer.clone()),
                // A shorter life is better than none.
                State::SignedIn(held) if held.not_before > now.boot && !held.has_ended(now) => {
                    return Ok(held.tokens.bearer.clone());
                }
                State::SignedIn(held) if held.not_before > now.boot => {
                    Some(held.problem.clone().unwrap_or_else(|| "the sign-in could not be renewed".to_owned()))
                }
                State::SignedIn(_) if self.is_held() => Some("the daemon is being restarted".to_owned()),
                State::SignedIn(_) => None,
            };
            if let Some(problem) = problem {
                return Err(NoToken::Later(problem));
            }
            self.renew(|held, now| held.left(now) <= life).await;
        }
        Err(NoToken::Later("the provider's tokens end as soon as they come; is this host's clock right?".to_owned()))
    }

    /// How often somebody has signed in or out, or had to.
    pub fn serial(&self) -> u64 {
        self.serial.load(Ordering::Relaxed)
    }

    fn set(&self, state: &mut State, new: State) -> State {
        self.serial.fetch_add(1, Ordering::Relaxed);
        std::mem::replace(state, new)
    }

    /// A site did not accept `token`, for that reason: another one may do, else a person is needed.
    pub fn refused(&self, token: &Secret, reason: &str) {
        let now = self.clock.now();
        let mut state = self.state();
        let State::SignedIn(held) = &mut *state else { return };
        if held.tokens.bearer != *token {
            return;
        }
        // Another call had the same token; its renewal is under way.
        if held.refused.is_some() && held.tokens.refresh.is_some() && held.has_ended(now) {
            return;
        }
        let again = held.refused.is_some_and(|refused| now.boot.since(refused) < RENEWAL);
        if held.tokens.refresh.is_some() && !again {
            (held.refused, held.not_before) = (Some(now.boot), now.boot);
            held.person.until = now.wall;
        } else {
            self.need(&mut state, format!("the server does not accept the token: {reason}"));
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Renews the tokens if it is time; answers how long until it may be.
    pub(super) async fn renew_ahead(&self) -> Option<Duration> {
        self.renew(|held, now| held.due_in(now).is_zero()).await;
        let now = self.clock.now();
        match &*self.state() {
            State::SignedIn(held) => Some(held.due_in(now).max(Duration::from_secs(1))),
            State::Needed(_) | State::SignedOut => None,
        }
    }

    fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }

    /// Ready when no renewal is under way.
    pub(super) async fn renewed(&self) {
        drop(self.renewing.lock().await);
    }

    /// Takes it as another process has kept it.
    pub(super) fn read_again(&self) {
        let Some(path) = &self.kept else { return };
        let found = read(path, self.clock.now());
        let mut state = self.state();
        match (&*state, found) {
            (State::SignedIn(held), Some(found)) if held.tokens == found.tokens => {}
            (_, Some(found)) => drop(self.set(&mut state, State::SignedIn(Box::new(found)))),
            (State::SignedIn(_), None) => drop(self.set(&mut state, State::SignedOut)),
            (State::Needed(_) | State::SignedOut, None) => {}
        }
    }

    async fn renew(&self, wanted: impl Fn(&Held, Moment) -> bool) {
        let _renewing = self.renewing.lock().await;
        if self.is_held() {
            return;
        }
        let now = self.clock.now();
        let (before, person) = match &mut *self.state() {
            State::SignedIn(held) if wanted(held, now) && held.not_before <= now.boot => {
                (held.tokens.clone(), held.person.clone())
            }
            _ => return,
        };
        let outcome = match &before.refresh {
            Some(_) => self.ask(&before, &person).await,
            None => Err(Failure::refused("expired", "the provider gave no refresh token")),
        };
        // What comes too late is nobody's, and must not stay valid.
        if let Some(tokens) = self.take(&before, outcome) {
            self.revoke(&tokens).await;
        }
    }

    /// Takes over what came of these tokens; returns it if nobody has these any more.
    fn take(&self, before: &Tokens, outcome: Result<Granted, Failure>) -> Option<Tokens> {
        let now = self.clock.now();
        let mut state = self.state();
        let held = match &mut *state {
            State::SignedIn(held) if held.tokens.refresh == before.refresh => held,
            // The person has left, or somebody has signed in anew meanwhile.
            _ => return outcome.ok().map(|(tokens, _)| tokens),
        };
        let renewable = before.refresh.is_some();
        let mut late = None;
        match outcome {
            Ok((tokens, person)) if person.subject == held.person.subject => {
                let refused = held.refused;
                // Tokens that end as soon as they come are no reason to ask without a pause.
                let not_before = now.boot + FIRST_PAUSE;
                **held = Held { not_before, refused, ..Held::new(tokens, person, held.since, now) };
                self.keep(held);
                tracing::debug!("the sign-in at {} was renewed", self.settings.issuer());
            }
            Ok((tokens, _)) => {
                late = Some(tokens);
                self.need(&mut state, "the provider renewed it for another person".to_owned());
            }
            // Whatever a proxy or a portal on the way says is not the word of the provider.
            Err(Failure::Temporary(problem)) => held.failed(problem, now),
            Err(Failure::Wrong(problem)) if held.is_worth_another(now) => {
                held.wrong += 1;
                held.failed(problem, now);
            }
            // What is held is good until its end; only then a person is needed.
            Err(_) if !renewable && !held.has_ended(now) => held.not_before = now.boot + held.left(now),
            Err(failure) if renewable && !held.has_ended(now) => {
                held.tokens.refresh = None;
                held.problem = Some(format!("it cannot be renewed: {failure}"));
                held.not_before = now.boot + held.left(now);
                tracing::warn!("the sign-in at {} cannot be renewed: {failure}", self.settings.issuer());
            }
            Err(failure) => {
                let known = held.problem.take().filter(|_| !renewable);
                let reason = known.unwrap_or_else(|| format!("it has ended: {failure}"));
                self.need(&mut state, reason);
            }
        }
        drop(state);
        self.changed.notify_waiters();
        late
    }

    async fn ask(&self, tokens: &Tokens, person: &Person) -> Result<Granted, Failure> {
        self.provider().await?.renew(tokens, person).await
    }

    pub(super) async fn provider(&self) -> Result<Provider, Failure> {
        Provider::open(&self.settings, &self.clock).await
    }

    /// Somebody has signed in; answers under which name.
    pub(super) fn sign_in(&self, (tokens, person): Granted) -> String {
        let now = self.clock.now();
        let name = person.name.clone();
        let held = Held::new(tokens, person, now.wall, now);
        notice!("{} has signed in at {}", held.person.called(), self.settings.issuer());
        let mut state = self.state();
        self.keep(&held);
        self.set(&mut state, State::SignedIn(Box::new(held)));
        drop(state);
        self.changed.notify_waiters();
        name
    }

    /// Forgets the tokens; returns those that are to be revoked.
    pub(super) fn sign_out(&self) -> Option<Tokens> {
        let mut state = self.state();
        // A renewal that ends now must not keep it again.
        self.forget_kept();
        let before = self.set(&mut state, State::SignedOut);
        drop(state);
        self.changed.notify_waiters();
        match before {
            State::SignedIn(held) => {
                notice!("{} has signed out at {}", held.person.called(), self.settings.issuer());
                Some(held.tokens)
            }
            State::Needed(_) | State::SignedOut => None,
        }
    }

    /// Has the provider forget tokens, too, if it can.
    pub(super) async fn revoke(&self, tokens: &Tokens) {
        let issuer = self.settings.issuer();
        let revoked = async { self.provider().await?.revoke(tokens).await };
        match revoked.await {
            Ok(true) => tracing::info!("the sign-in was revoked at {issuer}"),
            Ok(false) => tracing::info!("there is nothing that {issuer} could revoke"),
            Err(failure) => tracing::warn!("the sign-in could not be revoked: {failure}"),
        }
    }

    /// How it is.
    pub fn report(&self) -> Report {
        let mut report = Report {
            kind: self.settings.kind(),
            issuer: self.settings.issuer().to_owned(),
            redirect_url: Some(self.settings.redirect_url().to_owned()),
            key: None,
            person: None,
            renewed: false,
            needed: None,
            signed_out: false,
            problem: None,
        };
        match &*self.state() {
            State::Needed(reason) => report.needed = Some(reason.clone()),
            State::SignedOut => {
                report.needed = Some("you have signed out".to_owned());
                report.signed_out = true;
            }
            State::SignedIn(held) => {
                report.person = Some((held.person.clone(), held.since));
                report.renewed = held.tokens.refresh.is_some();
                report.problem.clone_from(&held.problem);
                if held.has_ended(self.clock.now()) && !report.renewed {
                    report.needed = Some(held.problem.clone().unwrap_or_else(|| "it has ended".to_owned()));
                }
            }
        }
        report
    }

    fn need(&self, state: &mut State, reason: String) {
        notice!("sign-in needed at {}: {reason}; run `alppaca login`", self.settings.issuer());
        self.forget_kept();
        self.set(state, State::Needed(reason));
    }

    fn keep(&self, held: &Held) {
        if let Some(path) = &self.kept
            && let Err(problem) = kept::write(path, &held.tokens, &held.person, held.since)
        {
            tracing::error!("the sign-in cannot be kept: {problem}");
        }
    }

    fn forget_kept(&self) {
        if let Some(path) = self.kept.as_ref().filter(|_| !self.is_held())
            && let Err(error) = std::fs::remove_file(path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::error!("{}: cannot be removed: {error}", path.display());
        }
    }
}

/// The sign-in that is kept there, if there is one that can be used.
fn read(path: &Path, now: Moment) -> Option<Held> {
    let found = kept::read(path).map_err(|problem| tracing::warn!("{problem}")).ok()?;
    found.map(|(tokens, person, since)| Held::new(tokens, person, since, now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::fake::FakeClock, fetch::Options, sign_in::ConsoleSettings};

    /// A sign-in that is held for ten minutes, with what renews it.
    fn signed_in(clock: &Arc<FakeClock>) -> (Session, Tokens) {
        let shared: SharedClock = Arc::<FakeClock>::clone(clock);
        let http = Options::direct(Duration::from_secs(1), None);
        let settings = ConsoleSettings::new("me", ("eu-west-1", None, false), false, http);
        let session = Session::new(Arc::new(Settings::Console(settings)), shared, Arc::default(), Arc::default(), None);
        let secret = |text: &str| Some(Secret::new(text));
        let tokens = Tokens { bearer: Secret::new("bearer"), refresh: secret("refresh"), client: secret("client") };
        let until = crate::clock::Clock::now(&**clock).wall + Duration::from_mins(10);
        session.sign_in((
            tokens.clone(),
            Person { name: "alice".into(), subject: "alice".into(), groups: Vec::new(), until },
        ));
        (session, tokens)
    }

    fn failing(session: &Session, tokens: &Tokens, failure: &Failure, times: usize) -> Option<String> {
        for _attempt in 0..times {
            assert!(session.take(tokens, Err(failure.clone())).is_none());
        }
        session.report().needed
    }

    #[tokio::test(start_paused = true)]
    async fn what_no_repetition_changes_needs_the_person_soon_after_the_end() {
        let clock = FakeClock::new();
        let wrong = Failure::Wrong("the provider returned no ID token".into());
        let (session, tokens) = signed_in(&clock);
        assert_eq!(failing(&session, &tokens, &wrong, 3), None, "what is held is good");
        clock.suspend(Duration::from_mins(10));
        assert_eq!(failing(&session, &tokens, &wrong, 2), None, "a clock may be set");
        let needed = failing(&session, &tokens, &wrong, 1).expect("a person");
        assert!(needed.contains("no ID token"), "{needed}");
        assert!(matches!(session.token().await, Err(NoToken::Needed(_))));

        let (session, tokens) = signed_in(&clock);
        clock.suspend(Duration::from_mins(10));
        let down = Failure::Temporary("it is down".into());
        assert_eq!(failing(&session, &tokens, &down, 1000), None, "it is the provider's trouble");
        let refused = Failure::refused("invalid_grant", "");
        assert!(failing(&session, &tokens, &refused, 1).expect("a person").contains("invalid_grant"));
    }
}
