//! The server's own credentials, with which it signs its calls: fetched from their source ahead of their end, never listed
//! and never logged.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use super::regions::Regions;
use crate::{
    clock::{self, BootTime, Moment, SharedClock, until},
    credentials::Credentials,
    refresh::{ErrorKind, Fetch, SourceError, SourceFuture, Timer},
    source::sts::Request,
};

/// Timers stand still during suspend and know nothing of clock steps, so the schedule is looked at at least this often.
const TICK: Duration = Duration::from_secs(15);
/// While AWS has not said whose credentials they are, it is asked again after this.
const ASK_AGAIN: Duration = Duration::from_mins(1);

/// Credentials that sign calls, and what AWS says of them.
pub(super) struct Own {
    pub(super) credentials: Credentials,
    /// The ARN of the user or the role's session; nothing as long as AWS could not be asked.
    arn: OnceLock<String>,
    /// When the life is over that they had on arrival: a wall clock that is set back does not prolong it.
    ends: BootTime,
}

impl Own {
    /// The ARN of the user or the role's session, if it is known.
    pub(super) fn arn(&self) -> Option<&str> {
        self.arn.get().map(String::as_str)
    }

    /// Whether they are those of a user: only then may the console be told how long its session lasts.
    pub(super) fn is_user(&self) -> bool {
        match self.arn.get() {
            Some(arn) => arn.contains(":user/"),
            None => self.credentials.session_token.expose().is_empty(),
        }
    }

    /// How long they are valid for: as long as both clocks agree.
    pub(super) fn left(&self, now: Moment) -> Duration {
        until(self.credentials.expiration, now.wall).min(self.ends.since(now.boot))
    }

    /// Whether they are those of a role's session, so that what they assume is a chain.
    fn is_role_session(&self) -> bool {
        self.arn.get().is_some_and(|arn| arn.contains(":assumed-role/"))
    }
}

/// Whence the credentials come.
pub(super) struct Source {
    /// The configured source.
    pub(super) fetch: Arc<dyn Fetch>,
    /// A role that is assumed with them before anything else is.
    pub(super) assume: Option<Request>,
}

/// What says whose credentials these are.
pub(super) trait Identify: Send + Sync {
    /// The ARN of the user or the role's session.
    fn identify<'a>(&'a self, credentials: &'a Credentials) -> SourceFuture<'a, String>;
}

/// The credentials in force.
pub(super) struct Signer {
    source: Source,
    regions: Arc<Regions>,
    whose: Arc<dyn Identify>,
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
        let whose = Arc::clone(&regions) as Arc<dyn Identify>;
        Self { source, regions, whose, clock, state: Mutex::default(), rejected: Notify::new() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing that could panic is done while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The credentials, if they are valid.
    pub(super) fn get(&self) -> Option<Arc<Own>> {
        let now = self.clock.now();
        self.state().own.clone().filter(|own| !own.left(now).is_zero())
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
        let mut asked = self.clock.boot();
        loop {
            tokio::select! {
                () = self.wait(&timer) => {}
                () = self.keep_asking(&mut asked, &mut signer) => {}
            }
            let fetched = self.fetch().await;
            let now = self.clock.now();
            asked = now.boot;
            timer = match self.take(fetched, now) {
                Ok(timer) => {
                    if said.take().is_some() {
                        notice!("sts: the server has credentials of its own again");
                    }
                    timer
                }
                Err(error) => {
                    let held = self.get().map(|own| own.left(now));
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
        let Some(arn) = own.arn.get().filter(|arn| before.as_ref() != Some(arn)) else { return };
        let chain =
            if own.is_role_session() { "; roles that it assumes last an hour at most (role chaining)" } else { "" };
        tracing::info!("sts: calls are signed by {arn}{chain}");
        *before = Some(arn.clone());
    }

    async fn wait(&self, timer: &Timer) {
        tokio::select! {
            () = self.sleep(|now| timer.remaining(now)) => {}
            () = self.rejected.notified() => {}
        }
    }

    /// Until nothing remains.
    async fn sleep(&self, remaining: impl Fn(Moment) -> Duration) {
        loop {
            let remaining = remaining(self.clock.now());
            if remaining.is_zero() {
                return;
            }
            clock::sleep(remaining.min(TICK)).await;
        }
    }

    /// Asks by whom calls are signed, again and again until AWS has said it. `asked`: when it was asked last. Never ends, and
    /// may be given up at any time.
    async fn keep_asking(&self, asked: &mut BootTime, before: &mut Option<String>) {
        loop {
            self.sleep(|now| ASK_AGAIN.saturating_sub(now.boot.since(*asked))).await;
            *asked = self.clock.boot();
            let Some(own) = self.get().filter(|own| own.arn.get().is_none()) else { continue };
            // They may be good all the same; AWS will say when they are used.
            let Ok(arn) = self.whose.identify(&own.credentials).await else { continue };
            own.arn.get_or_init(|| arn);
            self.tell(before);
        }
    }

    fn take(
        &self,
        fetched: Result<(Credentials, Option<String>), SourceError>,
        now: Moment,
    ) -> Result<Timer, SourceError> {
        let (credentials, arn) = fetched?;
        let expiration = credentials.expiration;
        let life = credentials.life_from(now.wall);
        if life.is_zero() {
            return Err(SourceError::transient("they have expired already"));
        }
        let mut state = self.state();
        let arn = arn.map(OnceLock::from).unwrap_or_default();
        state.own = Some(Arc::new(Own { credentials, arn, ends: now.boot + life }));
        state.trouble = None;
        Ok(Timer::after_set(now, expiration, life, fastrand::f64()))
    }

    /// A set, and whose it is, if AWS could be asked.
    async fn fetch(&self) -> Result<(Credentials, Option<String>), SourceError> {
        let mut credentials = self.source.fetch.fetch(None).await?;
        if let Some(request) = &self.source.assume {
            credentials = self.regions.first(|sts| sts.assume(request, &credentials)).await?.value;
        }
        let arn = match self.whose.identify(&credentials).await {
            Ok(arn) => Some(arn),
            // They may be good; AWS will say when they are used.
            Err(error) if matches!(error.kind, ErrorKind::Transient) => None,
            Err(error) => return Err(error),
        };
        Ok((credentials, arn))
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, future};

    use super::*;
    use crate::{
        clock::{Clock, fake::FakeClock},
        credentials::Secret,
    };

    const ARN: &str = "arn:aws:iam::111111111111:user/ims";

    /// Gives sets that live for so long, until it fails.
    struct Sets {
        clock: Arc<FakeClock>,
        life: Duration,
        left: Mutex<u32>,
    }

    impl Fetch for Sets {
        fn fetch<'a>(&'a self, _: Option<&'a Credentials>) -> SourceFuture<'a, Credentials> {
            let mut left = self.left.lock().expect("not poisoned");
            let Some(less) = left.checked_sub(1) else {
                return Box::pin(async { Err(SourceError::transient("down")) });
            };
            *left = less;
            let set = Credentials {
                access_key_id: format!("AKIA{less}"),
                secret_access_key: Secret::new("secret"),
                session_token: Secret::new(""),
                expiration: self.clock.now().wall + self.life,
                life: None,
                last_updated: None,
                account_id: None,
                role_arn: None,
            };
            Box::pin(async { Ok(set) })
        }
    }

    /// What AWS says one time after the other: an ARN, nothing that helps, or nothing ever.
    #[derive(Clone, Copy)]
    enum Say {
        Arn,
        Trouble,
        Silence,
    }

    /// Says that, and remembers when it was asked for which set.
    struct Aws {
        clock: Arc<FakeClock>,
        says: Mutex<VecDeque<Say>>,
        asked: Mutex<Vec<(u64, String)>>,
    }

    impl Identify for Aws {
        fn identify<'a>(&'a self, credentials: &'a Credentials) -> SourceFuture<'a, String> {
            let at = self.clock.boot().uptime().as_secs() - 3600;
            self.asked.lock().expect("not poisoned").push((at, credentials.access_key_id.clone()));
            let says = self.says.lock().expect("not poisoned").pop_front().unwrap_or(Say::Arn);
            Box::pin(async move {
                match says {
                    Say::Arn => Ok(ARN.to_owned()),
                    Say::Trouble => Err(SourceError::transient("throttled")),
                    Say::Silence => future::pending().await,
                }
            })
        }
    }

    struct Scene {
        clock: Arc<FakeClock>,
        aws: Arc<Aws>,
        signer: Arc<Signer>,
    }

    /// With so many sets that live for so long. Runs.
    fn scene(sets: u32, life: Duration, says: &[Say]) -> Scene {
        let clock = FakeClock::new();
        let says = Mutex::new(says.iter().copied().collect());
        let aws = Arc::new(Aws { clock: Arc::clone(&clock), says, asked: Mutex::default() });
        let fetch = Arc::new(Sets { clock: Arc::clone(&clock), life, left: Mutex::new(sets) });
        let regions = Arc::new(Regions(Vec::new()));
        let signer = Signer::new(Source { fetch, assume: None }, regions, Arc::clone(&clock) as SharedClock);
        let signer = Arc::new(Signer { whose: Arc::clone(&aws) as Arc<dyn Identify>, ..signer });
        let runs = Arc::clone(&signer);
        tokio::spawn(async move { runs.run(|| ()).await });
        Scene { clock, aws, signer }
    }

    impl Scene {
        fn asked(&self) -> Vec<(u64, String)> {
            self.aws.asked.lock().expect("not poisoned").clone()
        }

        fn arn(&self) -> Option<String> {
            self.signer.get().and_then(|own| own.arn().map(str::to_owned))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_aws_could_not_say_is_asked_again_after_a_minute() {
        let scene = scene(1, Duration::from_hours(12), &[Say::Trouble, Say::Trouble, Say::Trouble]);
        clock::sleep(Duration::from_secs(1)).await;
        let own = scene.signer.get().expect("the set is used all the same");
        assert_eq!((scene.arn(), own.is_user()), (None, true));
        clock::sleep(Duration::from_mins(10)).await;
        assert_eq!(scene.arn().as_deref(), Some(ARN));
        let at: Vec<u64> = scene.asked().iter().map(|(at, _)| *at).collect();
        assert_eq!(at, [0, 60, 120, 180], "and then no more");
        assert!(Arc::ptr_eq(&own, &scene.signer.get().expect("held")), "for that nothing is fetched");
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_without_an_answer_delays_no_credentials() {
        let scene = scene(2, Duration::from_mins(30), &[Say::Trouble, Say::Silence]);
        clock::sleep(Duration::from_secs(61)).await;
        assert_eq!((scene.asked().len(), scene.arn()), (2, None));
        // A third of their life.
        clock::sleep(Duration::from_mins(9)).await;
        assert_eq!(scene.asked()[1..].iter().map(|(_, key)| key.as_str()).collect::<Vec<_>>(), ["AKIA1", "AKIA0"]);
        assert_eq!(scene.signer.get().expect("held").credentials.access_key_id, "AKIA0");
        assert_eq!(scene.arn().as_deref(), Some(ARN));
    }

    #[tokio::test(start_paused = true)]
    async fn a_rejected_set_is_fetched_anew_at_once_while_aws_is_asked() {
        let scene = scene(2, Duration::from_hours(12), &[Say::Trouble, Say::Silence]);
        clock::sleep(Duration::from_secs(61)).await;
        scene.signer.reject(&scene.signer.get().expect("held"), "no");
        assert!(scene.signer.get().is_none());
        clock::sleep(Duration::from_millis(1)).await;
        assert_eq!(scene.signer.get().expect("another").credentials.access_key_id, "AKIA0");
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_back_prolongs_nothing() {
        let scene = scene(1, Duration::from_hours(1), &[]);
        clock::sleep(Duration::from_secs(1)).await;
        scene.clock.step_wall(-7200);
        let left = |now| scene.signer.get().map(|own| own.left(now));
        let rest = Duration::from_hours(1) - Duration::from_secs(1);
        assert_eq!(left(scene.clock.now()), Some(rest));
        clock::sleep(rest).await;
        assert_eq!(left(scene.clock.now()), None, "their life on arrival is over");
        assert!(scene.signer.trouble().is_some_and(|why| why.contains("down")), "it has been tried in time");
    }
}
