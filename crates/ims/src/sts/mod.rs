//! Credentials of STS: what the cache has, or a call, of which there is one at a time for each key.
//!
//! `desk` decides (pure), `regions` and `signer` call, and this ties them to clients that wait.

mod desk;
mod key;
mod options;
mod regions;
mod report;
mod signer;

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::{Notify, oneshot},
    task::JoinSet,
};

pub use desk::{Counts, ENDS, History, RegionReport, Tally};
pub use options::{Options, SETTINGS, read};
pub use report::Health;

use crate::{
    clock::{self, SharedClock},
    credentials::Credentials,
    identity::Identity,
    refresh::ErrorKind,
    rules::Grant,
    source::sts::Failed,
};
use desk::{Ask, Bounds, Desk, Job, Outcome};
use key::Key;
use regions::{Region, Regions};
use signer::Signer;

/// A client that has something usable waits no longer than this for what it would rather have.
const RATHER: Duration = Duration::from_secs(2);
/// The desk is looked at again at least this often, because timers stand still during suspend.
const TICK: Duration = Duration::from_secs(15);

/// Work that never ends, to be done beside the requests.
pub type Background = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Credentials as STS made them.
#[derive(Debug)]
pub struct Minted {
    /// The credentials.
    pub credentials: Credentials,
    /// When they were made.
    pub at: Timestamp,
    /// AWS's id of the call, which CloudTrail has, too.
    pub request_id: Option<String>,
    /// The region that made them.
    pub region: String,
    /// Whether the call was signed with the keys of a user, and not of a role: only then can a session of the console
    /// outlive an hour.
    pub by_user: bool,
}

/// Why there are no credentials. The reason is for the log and the audit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// STS, or the way to it, is broken, throttled or busy.
    #[error("{why}")]
    Unavailable {
        /// What is wrong.
        why: String,
        /// When the client should come back.
        again: Duration,
    },
    /// STS refuses this role to the server: its trust policy, tags, the source identity, or there is no such role. The
    /// site's configuration has to be put right.
    #[error("{why}")]
    Refused {
        /// What AWS says.
        why: String,
        /// When the client should come back.
        again: Duration,
    },
}

/// For whom a call is made.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Caller {
    name: String,
    method: &'static str,
    proven_by: String,
}

impl Caller {
    /// The caller with this identity.
    pub fn of(identity: &Identity) -> Self {
        Self { name: identity.name.clone(), method: identity.method, proven_by: identity.proven_by.clone() }
    }
}

/// STS, shared by all requests.
pub struct Sts {
    state: Mutex<State>,
    /// A call may have become due.
    wake: Notify,
    signer: Signer,
    regions: Arc<Regions>,
    partition: &'static str,
    patience: Duration,
    clock: SharedClock,
}

type Waiter = oneshot::Sender<Result<Arc<Minted>, Trouble>>;

struct State {
    desk: Desk<Key, Arc<Caller>, Arc<Minted>>,
    waiters: HashMap<Arc<Key>, Vec<Waiter>>,
}

impl Sts {
    fn start(
        signer: Signer,
        regions: Arc<Regions>,
        partition: &'static str,
        bounds: Bounds,
        clock: SharedClock,
    ) -> (Arc<Self>, Background) {
        let mut desk = Desk::new(bounds, regions.0.len(), clock.now(), fastrand::Rng::new());
        desk.block(Some("the server has no credentials of its own yet"));
        let state = Mutex::new(State { desk, waiters: HashMap::new() });
        let patience = bounds.patience;
        let sts = Arc::new(Self { state, wake: Notify::new(), signer, regions, partition, patience, clock });
        let background = Arc::clone(&sts);
        let work = async move {
            tokio::join!(background.signer.run(|| background.signer_changed()), background.run());
        };
        (sts, Box::pin(work))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that could panic is done while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Credentials of the role of `grant` for `caller`.
    pub async fn credentials(&self, grant: &Grant, caller: &Caller) -> Result<Arc<Minted>, Trouble> {
        if grant.arn.partition() != self.partition {
            let why =
                format!("{} is in another partition than the server's credentials ({})", grant.arn, self.partition);
            return Err(Trouble::Refused { why, again: Duration::from_mins(1) });
        }
        let key = Key::new(grant, caller);
        let (key, held, answer) = {
            let mut state = self.state();
            match state.desk.ask(key, &Arc::new(caller.clone()), self.clock.now()) {
                Ask::Ready(set) => {
                    drop(state);
                    // It may have been an older one, whose renewal is now queued.
                    self.wake.notify_one();
                    return Ok(set);
                }
                Ask::No(trouble) => {
                    drop(state);
                    self.wake.notify_one();
                    return Err(trouble);
                }
                Ask::Wait(key, held) => {
                    if grant.emergency.is_some() || grant.approval.is_some() {
                        state.desk.expect_no_return(&key);
                    }
                    let (waiter, answer) = oneshot::channel();
                    state.waiters.entry(Arc::clone(&key)).or_default().push(waiter);
                    (key, held, answer)
                }
            }
        };
        self.wake.notify_one();
        let limit = if held.is_some() { RATHER.min(self.patience) } else { self.patience };
        let result = tokio::select! {
            result = answer => result.ok(),
            () = clock::sleep(limit) => None,
        };
        match (result, held) {
            (Some(Ok(set)), _) => Ok(set),
            (_, Some(held)) => Ok(held),
            (Some(Err(trouble)), None) => Err(trouble),
            (None, None) => self.too_late(&key, limit),
        }
    }

    /// The call took longer than the client may wait. It goes on.
    fn too_late(&self, key: &Key, limit: Duration) -> Result<Arc<Minted>, Trouble> {
        let state = self.state();
        if let Some(set) = state.desk.held(key, self.clock.now()) {
            return Ok(set);
        }
        let why = match state.desk.down() {
            Some(why) => why.to_string(),
            None => format!("AssumeRole of {}: no answer within {} ms", key.arn(), limit.as_millis()),
        };
        Err(Trouble::Unavailable { why, again: limit })
    }

    /// The server's own credentials are others, or there are none any more.
    fn signer_changed(&self) {
        let trouble = match self.signer.get() {
            Some(_) => None,
            None => {
                Some(self.signer.trouble().unwrap_or_else(|| "the server's own credentials have expired".to_owned()))
            }
        };
        self.state().desk.block(trouble.as_deref());
        self.wake.notify_one();
    }

    /// Makes the calls.
    async fn run(self: &Arc<Self>) {
        let mut calls = JoinSet::new();
        loop {
            let pause = self.begin(&mut calls);
            tokio::select! {
                Some(ended) = calls.join_next() => {
                    let mut ended = Some(ended);
                    // One look at the desk for all the calls that have ended.
                    while let Some(end) = ended.take().or_else(|| calls.try_join_next()) {
                        match end {
                            Ok((job, outcome)) => self.finish(&job, outcome),
                            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
                        }
                    }
                }
                () = self.wake.notified() => {}
                () = clock::sleep(pause.min(TICK)) => {}
            }
        }
    }

    /// Begins all calls that may begin; answers how long until there may be another.
    fn begin(self: &Arc<Self>, calls: &mut JoinSet<(Job<Key>, Outcome<Arc<Minted>>)>) -> Duration {
        loop {
            let next = self.state().desk.next(self.clock.now());
            match next {
                Err(pause) => return pause,
                Ok(job) => {
                    let this = Arc::clone(self);
                    calls.spawn(async move {
                        let outcome = this.call(&job).await;
                        (job, outcome)
                    });
                }
            }
        }
    }

    fn finish(&self, job: &Job<Key>, outcome: Outcome<Arc<Minted>>) {
        if let Outcome::Refused(why) = &outcome {
            tracing::warn!("sts: {why}");
        }
        let mut state = self.state();
        let Some(result) = state.desk.finished(&job.key, job.region, outcome, self.clock.now()) else { return };
        let waiters = state.waiters.remove(&job.key).unwrap_or_default();
        drop(state);
        for waiter in waiters {
            // A client that has left is no error.
            let _left = waiter.send(result.clone());
        }
    }

    async fn call(&self, job: &Job<Key>) -> Outcome<Arc<Minted>> {
        let Some(own) = self.signer.get() else {
            return Outcome::Unsigned("the server's own credentials have expired".to_owned());
        };
        let Some(Region { name: region, sts, took }) = self.regions.0.get(job.region) else {
            return Outcome::Odd("there is no such region".to_owned());
        };
        let Some(request) = job.key.request_at(self.clock.now().wall) else {
            return Outcome::Odd("the approval ends before a session could".to_owned());
        };
        let began = self.clock.boot();
        let answered = sts.assume(&request, &own.credentials).await;
        took.observe(self.clock.boot().since(began));
        match answered {
            Ok(answered) => {
                let expiration = answered.value.expiration;
                let minted = Minted {
                    credentials: answered.value,
                    at: self.clock.now().wall,
                    request_id: answered.request_id,
                    region: region.clone(),
                    by_user: own.is_user(),
                };
                Outcome::Made(Arc::new(minted), expiration)
            }
            Err(failed) => {
                let outcome = outcome(&failed, region);
                if let Outcome::Unsigned(why) = &outcome {
                    self.signer.reject(&own, why);
                }
                outcome
            }
        }
    }
}

/// What an error means for the key, the region, and the signer.
fn outcome<S>(failed: &Failed, region: &str) -> Outcome<S> {
    let id = failed.request_id.as_deref().map(|id| format!(", request {id}")).unwrap_or_default();
    let why = format!("{} ({region}{id})", failed.error);
    let of_key = matches!(failed.status, Some(400..=499)) && !matches!(failed.status, Some(403 | 408 | 429));
    match failed.error.kind {
        _ if failed.throttled => Outcome::Throttled(why),
        _ if failed.code.as_deref() == Some("RegionDisabledException") => Outcome::Failed(why),
        ErrorKind::ParentExpired => Outcome::Unsigned(why),
        ErrorKind::Refused { .. } => Outcome::Refused(why),
        // AWS answers, and says something about this call that we do not know.
        ErrorKind::Transient if failed.code.is_some() && of_key => Outcome::Odd(why),
        ErrorKind::Transient => Outcome::Failed(why),
    }
}

#[cfg(test)]
pub(crate) mod tests;
