//! The task that asks one source and publishes what it says.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::task::{JoinError, JoinSet};

use super::{
    Cadence, Timer,
    report::{self, Trouble},
};
use crate::{
    clock::{self, Moment, SharedClock},
    credentials::{Credentials, RoleName, format_timestamp, render_refusal},
    source::{ErrorKind, RoleList, Source, SourceError},
    store::{Phase, Published, State, Store},
};

/// Longest uninterrupted sleep: timers stand still during suspend and know nothing of clock steps,
/// so the schedule is looked at again at least this often.
const TICK: Duration = Duration::from_secs(15);

/// How a source is asked.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// While all is well.
    pub cadence: Cadence,
    /// How long a role that the upstream took away is still served.
    pub withdrawal_grace: Duration,
}

/// Asks one source, for ever.
pub struct Refresher {
    source: Arc<dyn Source>,
    store: Arc<Store>,
    clock: SharedClock,
    policy: Policy,
    random: fastrand::Rng,
    list: Asked,
    /// Boxed: a table has up to twice as many places as entries.
    roles: HashMap<RoleName, Box<Tracked>>,
    order: Vec<RoleName>,
    /// Whose set is due, first come, first served.
    due: VecDeque<RoleName>,
    fetching: usize,
    calls: JoinSet<Answer>,
}

enum Answer {
    Roles(Result<RoleList, SourceError>),
    Set(RoleName, Result<Credentials, SourceError>),
}

/// What the refresher remembers of a role.
struct Tracked {
    asked: Asked,
    held: Option<Arc<Published>>,
    /// Since when (boot clock) the upstream's list is without it.
    absent: Option<Duration>,
    /// Since when (boot clock) the upstream refuses its document.
    refused: Option<Duration>,
}

/// One question to the upstream, asked again and again.
struct Asked {
    timer: Timer,
    /// Queued, or being asked.
    in_flight: bool,
    trouble: Trouble,
}

impl Asked {
    fn new(now: Moment) -> Self {
        Self { timer: Timer::due_now(now), in_flight: false, trouble: Trouble::default() }
    }

    /// Marks it as being asked if it is time; answers how long there is still to wait.
    fn start_if_due(&mut self, now: Moment) -> Option<Duration> {
        let remaining = self.timer.remaining(now);
        if self.in_flight || !remaining.is_zero() {
            return (!self.in_flight).then_some(remaining);
        }
        self.in_flight = true;
        Some(Duration::ZERO)
    }
}

impl Refresher {
    /// A refresher that publishes what `source` says in `store`.
    pub fn new(source: Arc<dyn Source>, store: Arc<Store>, clock: SharedClock, policy: Policy) -> Self {
        let list = Asked::new(clock.now());
        Self {
            source,
            store,
            clock,
            policy,
            random: fastrand::Rng::new(),
            list,
            roles: HashMap::new(),
            order: Vec::new(),
            due: VecDeque::new(),
            fetching: 0,
            calls: JoinSet::new(),
        }
    }

    /// Runs until it is dropped.
    pub async fn run(mut self) {
        loop {
            let pause = self.start_due_calls();
            tokio::select! {
                Some(answer) = self.calls.join_next() => {
                    self.take(answer);
                    // One look at the schedule for all the answers that have arrived.
                    while let Some(answer) = self.calls.try_join_next() {
                        self.take(answer);
                    }
                }
                () = clock::sleep(pause) => {}
            }
        }
    }

    /// Starts every call that is due; answers how long until the next one may be.
    fn start_due_calls(&mut self) -> Duration {
        let now = self.clock.now();
        self.withdraw_overdue(now);
        let mut pause = TICK;
        match self.list.start_if_due(now) {
            Some(Duration::ZERO) => {
                let source = Arc::clone(&self.source);
                self.calls.spawn(async move { Answer::Roles(source.roles().await) });
            }
            Some(remaining) => pause = pause.min(remaining),
            None => {}
        }
        // In the upstream's order: most programs take the first role.
        for name in &self.order {
            let Some(role) = self.roles.get_mut(name).filter(|role| role.absent.is_none()) else { continue };
            report::expiry(name, role.held.as_deref(), now.wall, &mut role.asked.trouble);
            match role.asked.start_if_due(now) {
                Some(Duration::ZERO) => self.due.push_back(name.clone()),
                Some(remaining) => pause = pause.min(remaining),
                None => {}
            }
        }
        self.fetch_due();
        pause
    }

    /// Fetches what is due, as much at once as the source allows. What waits is only a name: the
    /// calls of a thousand roles would take megabytes.
    fn fetch_due(&mut self) {
        while self.fetching < self.source.concurrency().max(1)
            && let Some(name) = self.due.pop_front()
        {
            let held = self.roles.get(&name).filter(|role| !role.asked.trouble.is_any());
            if let Some(set) = held.and_then(|role| role.held.as_ref()) {
                self.store.publish(&name, State::Held { set: Arc::clone(set), phase: Phase::Refreshing });
            }
            self.fetching += 1;
            let source = Arc::clone(&self.source);
            self.calls.spawn(async move {
                let set = source.fetch(&name).await;
                Answer::Set(name, set)
            });
        }
    }

    fn take(&mut self, answer: Result<Answer, JoinError>) {
        match answer {
            Ok(Answer::Roles(answer)) => self.take_roles(answer),
            Ok(Answer::Set(name, answer)) => self.take_set(&name, answer),
            // A defect of ours inside the call: there is nothing sane to go on with. Calls are
            // cancelled only by dropping the refresher, when nobody joins them any more.
            Err(defect) => std::panic::resume_unwind(defect.into_panic()),
        }
    }

    fn take_roles(&mut self, answer: Result<RoleList, SourceError>) {
        let now = self.clock.now();
        let random = self.random.f64();
        self.list.in_flight = false;
        match answer {
            Ok(list) => {
                self.list.timer = Timer::after_answer(now, self.policy.cadence, random);
                report::list_answered(&list, &mut self.list.trouble);
                self.adopt(now, list);
            }
            Err(error) => {
                report::list_failed(&error, &mut self.list.trouble);
                match error.kind {
                    ErrorKind::Refused { withdraws: true, .. } => {
                        self.list.timer = Timer::after_refusal(now, self.policy.cadence, random);
                        self.adopt(now, RoleList::default());
                    }
                    _ => self.list.timer = self.list.timer.after_failure(now, None, random),
                }
            }
        }
    }

    /// Takes over what the upstream says of which roles there are. A list with lines that could not
    /// be read may add roles, but takes none away.
    fn adopt(&mut self, now: Moment, list: RoleList) {
        let mut order = list.names;
        for name in &order {
            let role = self.roles.entry(name.clone()).or_insert_with(|| {
                report::role_appeared(name);
                Box::new(Tracked { asked: Asked::new(now), held: None, absent: None, refused: None })
            });
            role.absent = None;
        }
        let listed: HashSet<_> = order.iter().cloned().collect();
        for name in self.order.drain(..).filter(|name| !listed.contains(name)) {
            if let Some(role) = self.roles.get_mut(&name).filter(|_| list.problems.is_empty()) {
                role.absent.get_or_insert(now.boot);
            }
            order.push(name);
        }
        self.order = order;
        self.withdraw_overdue(now);
        let snapshot = self.store.snapshot();
        if !snapshot.answered() || !snapshot.roles().iter().map(|role| role.name()).eq(&self.order) {
            self.store.publish_roles(&self.order);
        }
    }

    /// Drops the roles whose grace is over.
    fn withdraw_overdue(&mut self, now: Moment) {
        let grace = self.policy.withdrawal_grace;
        let before = self.order.len();
        self.order.retain(|name| {
            let overdue = |since: Duration| now.boot.saturating_sub(since) >= grace;
            let stays = self.roles.get(name).is_some_and(|role| !role.absent.is_some_and(overdue));
            if !stays {
                report::role_withdrawn(name);
                self.roles.remove(name);
                self.due.retain(|due| due != name);
            }
            stays
        });
        if self.order.len() < before {
            self.store.publish_roles(&self.order);
        }
    }

    fn take_set(&mut self, name: &RoleName, answer: Result<Credentials, SourceError>) {
        let now = self.clock.now();
        let random = self.random.f64();
        self.fetching -= 1;
        // Withdrawn while the call was under way: whatever came is of no use any more.
        let Some(role) = self.roles.get_mut(name) else { return };
        role.asked.in_flight = false;
        match answer {
            Ok(credentials) if credentials.expiration > now.wall => {
                let set = match role.held.take().filter(|held| held.is(&credentials)) {
                    Some(same) => same,
                    None => Arc::new(Published::new(&credentials, now.wall)),
                };
                role.refused = None;
                role.asked.timer = Timer::after_set(now, set.expiration, self.policy.cadence, random);
                report::set_arrived(name, &set, &mut role.asked.trouble);
                self.store.publish(name, State::Held { set: Arc::clone(&set), phase: Phase::Fresh });
                role.held = Some(set);
            }
            Ok(credentials) => {
                let error = SourceError::transient(format!(
                    "the credentials had already expired on arrival, at {}; is this host's clock right?",
                    format_timestamp(credentials.expiration)
                ));
                self.take_failure(name, now, random, &error);
            }
            Err(error) => self.take_failure(name, now, random, &error),
        }
    }

    fn take_failure(&mut self, name: &RoleName, now: Moment, random: f64, error: &SourceError) {
        let Some(role) = self.roles.get_mut(name) else { return };
        report::set_failed(name, error, &mut role.asked.trouble);
        let alive = role.held.clone().filter(|set| set.expiration > now.wall);
        if let ErrorKind::Refused { code, message, withdraws } = &error.kind {
            let since = *role.refused.get_or_insert(now.boot);
            let grace_over = now.boot.saturating_sub(since) >= self.policy.withdrawal_grace;
            if alive.is_none() || (*withdraws && grace_over) {
                role.held = None;
                role.asked.timer = Timer::after_refusal(now, self.policy.cadence, random);
                let document = render_refusal(code, message, now.wall);
                self.store.publish(name, State::Denied(document.into()));
                return;
            }
        }
        role.asked.timer = role.asked.timer.after_failure(now, alive.map(|set| set.expiration), random);
        if let Some(set) = &role.held {
            self.store.publish(name, State::Held { set: Arc::clone(set), phase: Phase::Stale });
        }
    }
}

#[cfg(test)]
mod tests;
