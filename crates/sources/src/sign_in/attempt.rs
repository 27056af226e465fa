//! One attempt of a person to sign in, from the command to the tokens.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, OwnedRwLockReadGuard, RwLock},
    task::AbortHandle,
};

use super::{
    Failure,
    answer::DeviceCode,
    known::{Known, Method},
    pkce::Callback,
    provider::{Elsewhere, Granted, Provider},
    session::Session,
};
use crate::{
    clock::{self, BootTime, SharedClock},
    credentials::Secret,
};

/// A person has so long to come back with the browser.
pub(super) const PATIENCE: Duration = Duration::from_mins(10);
/// How much rarer a provider is asked that says `slow_down` (RFC 8628, section 3.5).
const SLOWER: Duration = Duration::from_secs(5);

/// How far an attempt is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The provider is being asked.
    Preparing,
    /// The person is to open this URL in the browser.
    Browser {
        /// It has the state and the challenge of this attempt in it.
        url: Secret,
    },
    /// The person is to open this URL in any browser, and to bring back the text that its last page shows.
    Paste {
        /// It has the state and the challenge of this attempt in it.
        url: Secret,
    },
    /// The person is to enter this code.
    Device {
        /// The code.
        code: String,
        /// Where.
        url: String,
        /// A URL that has the code in it.
        complete_url: Option<String>,
        /// For how many seconds it is valid, from the beginning.
        seconds: u64,
    },
    /// The browser has come back.
    Finishing,
    /// The person has signed in, under this name.
    Done {
        /// For people; empty if the provider does not say it.
        name: String,
    },
    /// It has failed.
    Failed(String),
}

/// One attempt.
pub(super) struct Attempt {
    pub(super) session: Known,
    pub(super) started: BootTime,
    clock: SharedClock,
    stage: Mutex<Stage>,
    /// What the browser brought back.
    callback: Mutex<Option<Callback>>,
    came_back: Notify,
    /// Notified of each step.
    changed: Arc<Notify>,
    task: Mutex<Option<AbortHandle>>,
    /// Held while a provider is asked for what must not be lost.
    under_way: Arc<RwLock<()>>,
}

/// What a provider has granted, until it is a person's or revoked.
type Kept = (Granted, OwnedRwLockReadGuard<()>);

/// Where an attempt is.
struct Stage {
    progress: Progress,
    /// Whether the provider is being asked for tokens: what it gives then must not be lost.
    asking: bool,
}

impl Stage {
    fn is_over(&self) -> bool {
        matches!(self.progress, Progress::Done { .. } | Progress::Failed(_))
    }
}

impl Attempt {
    pub(super) fn new(
        session: Known,
        clock: SharedClock,
        changed: Arc<Notify>,
        under_way: Arc<RwLock<()>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            session,
            started: clock.now().boot,
            clock,
            stage: Mutex::new(Stage { progress: Progress::Preparing, asking: false }),
            callback: Mutex::default(),
            came_back: Notify::new(),
            changed,
            task: Mutex::default(),
            under_way,
        })
    }

    pub(super) fn progress(&self) -> Progress {
        lock(&self.stage).progress.clone()
    }

    /// What has come to its end stays there.
    fn step(&self, progress: Progress) {
        let mut stage = lock(&self.stage);
        if !stage.is_over() {
            stage.progress = progress;
        }
        drop(stage);
        self.changed.notify_waiters();
    }

    /// What the browser brought back; only the first counts.
    pub(super) fn come_back(&self, callback: Callback) {
        if matches!(self.progress(), Progress::Browser { .. } | Progress::Paste { .. }) {
            *lock(&self.callback) = Some(callback);
            self.step(Progress::Finishing);
            self.came_back.notify_one();
        }
    }

    /// It ends when this is dropped, or another takes its place.
    pub(super) fn runs_as(&self, task: AbortHandle) {
        *lock(&self.task) = Some(task);
    }

    /// What comes of it from now on is nobody's.
    pub(super) fn end(&self, why: &str) {
        let mut stage = lock(&self.stage);
        if stage.is_over() {
            return;
        }
        stage.progress = Progress::Failed(why.to_owned());
        // What the provider gives now has to be revoked.
        if !stage.asking
            && let Some(task) = lock(&self.task).take()
        {
            task.abort();
        }
        drop(stage);
        self.changed.notify_waiters();
    }

    /// Does all of it.
    pub(super) async fn run(self: Arc<Self>, method: Method) {
        let outcome = match (&self.session, method) {
            (Known::Provider(session), Method::Browser { port }) => self.by_browser(session, port).await,
            (Known::Provider(session), Method::Device) => self.by_device(session).await,
            (Known::Ssh(session), Method::Agent { socket }) => {
                session.sign_in(socket).await.map(|name| self.step(Progress::Done { name }))
            }
            (Known::Provider(_), Method::Agent { .. }) => {
                Err(Failure::Wrong("this sign-in is at a provider, not by an ssh-agent".to_owned()))
            }
            (Known::Ssh(_), Method::Browser { .. } | Method::Device) => {
                Err(Failure::Wrong("this sign-in is by an ssh-agent, not at a provider".to_owned()))
            }
        };
        if let Err(failure) = outcome {
            self.step(Progress::Failed(failure.to_string()));
        }
    }

    async fn by_browser(&self, session: &Session, port: u16) -> Result<(), Failure> {
        let mut provider = session.provider().await?;
        let (request, url) = provider.begin(port).await?;
        self.step(Progress::Browser { url: Secret::new(url) });
        let callback = self.returned().await?;
        self.sign_in(session, self.ask(provider.redeem(&request, &callback)).await?).await
    }

    /// Asks for tokens; to the end, once it has begun.
    async fn ask(&self, call: impl Future<Output = Result<Granted, Failure>>) -> Result<Kept, Failure> {
        let under_way = Arc::clone(&self.under_way).read_owned().await;
        {
            let mut stage = lock(&self.stage);
            if stage.is_over() {
                return Err(Failure::Wrong("the sign-in is over".to_owned()));
            }
            stage.asking = true;
        }
        let granted = call.await;
        lock(&self.stage).asking = false;
        Ok((granted?, under_way))
    }

    /// The person has signed in, unless the attempt was ended meanwhile: then nobody has these tokens.
    async fn sign_in(&self, session: &Session, (granted, _under_way): Kept) -> Result<(), Failure> {
        let late = {
            let mut stage = lock(&self.stage);
            if stage.is_over() {
                Some(granted.0)
            } else {
                stage.progress = Progress::Done { name: session.sign_in(granted) };
                None
            }
        };
        match late {
            Some(tokens) => session.revoke(&tokens).await,
            None => self.changed.notify_waiters(),
        }
        Ok(())
    }

    /// What the browser brings back.
    async fn returned(&self) -> Result<Callback, Failure> {
        match tokio::time::timeout(PATIENCE, self.came_back.notified()).await {
            Ok(()) => Ok(lock(&self.callback).take().unwrap_or_default()),
            Err(_) => Err(Failure::Wrong("the browser did not come back in time".to_owned())),
        }
    }

    async fn by_device(&self, session: &Session) -> Result<(), Failure> {
        let mut provider = session.provider().await?;
        let code = match provider.device().await? {
            Elsewhere::Code(code) => code,
            Elsewhere::Paste(request, url) => {
                self.step(Progress::Paste { url: Secret::new(url) });
                let callback = self.returned().await?;
                return self.sign_in(session, self.ask(provider.redeem(&request, &callback)).await?).await;
            }
        };
        self.step(Progress::Device {
            code: code.user_code.clone(),
            url: code.verification_uri.clone(),
            complete_url: code.verification_uri_complete.clone(),
            seconds: code.life().as_secs(),
        });
        self.sign_in(session, self.poll(&provider, &code).await?).await
    }

    async fn poll(&self, provider: &Provider, code: &DeviceCode) -> Result<Kept, Failure> {
        let (began, mut pause) = (self.clock.now().boot, code.interval());
        loop {
            clock::sleep(pause).await;
            match self.ask(provider.poll(code)).await {
                Err(Failure::Refused { code, .. }) if code == "authorization_pending" => {}
                Err(Failure::Refused { code, .. }) if code == "slow_down" => pause += SLOWER,
                // A time-out asks for fewer calls as well (RFC 8628, section 3.5).
                Err(Failure::Temporary(_)) => pause = (pause * 2).min(Duration::from_mins(1)),
                outcome => return outcome,
            }
            if self.clock.now().boot.since(began) > code.life() {
                return Err(Failure::Wrong("the code has expired before it was entered".to_owned()));
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
