//! The task that fetches from the upstreams and publishes their answers.

pub(super) mod answers;
mod call;

use std::{collections::HashMap, sync::Arc, time::Duration};

pub(super) use call::Due;
use call::{Answer, Call, Fetched};
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    CallLimit, CallLimitId, Graph, Lister, Node, OnDemandFactory, RoleRequests, Visibility,
    handover::Succession,
    limiter::CallQueue,
    node::{Asked, Plan, Tracked, Who},
    report,
    requests::{Request, Wanted},
    watch::{Watch, with_request_id},
};
use crate::{
    clock::{self, BootTime, Moment, SharedClock},
    credentials::{RoleId, RoleName},
    refresh_stats::RefreshStats,
    store::{Phase, Slot, Store},
};

/// Longest uninterrupted sleep: timers stand still during suspend and know nothing of clock steps,
/// so the schedule is looked at again at least this often.
const TICK: Duration = Duration::from_secs(15);

/// It is not looked at more often than this what callers wait for.
const LOOK_PAUSE: Duration = Duration::from_millis(250);

/// So many requests are taken before it is looked again at what is due, however fast they come.
const REQUESTS: usize = 64;

/// Fetches from the upstreams of one graph until it is dropped.
pub struct Refresher {
    pub(super) store: Arc<Store>,
    pub(super) clock: SharedClock,
    /// For how long an upstream has to refuse a role before that counts although a valid set is held; without it that
    /// set is served to its end.
    pub(super) grace: Option<Duration>,
    pub(super) random: fastrand::Rng,
    pub(super) lister: Option<Lister>,
    pub(super) list: Asked,
    /// Whether the last answer to the question for the list was a refusal.
    pub(super) list_refused: bool,
    /// Boxed: a table has up to twice as many places as entries.
    pub(super) nodes: HashMap<RoleId, Box<Tracked>>,
    /// The roles that the lister lists.
    pub(super) order: Vec<RoleName>,
    /// Everything else, in the order of the graph.
    pub(super) planned: Vec<RoleId>,
    pub(super) queues: Vec<CallQueue<Due>>,
    calls: JoinSet<Answer>,
    /// [`TICK`], except where years are simulated.
    pub(super) tick: Duration,
    requests: RoleRequests,
    requested: mpsc::UnboundedReceiver<Request>,
    pub(super) factory: Option<OnDemandFactory>,
    /// What was requested on demand, to make it again for another graph.
    pub(super) wanted: HashMap<RoleId, Wanted>,
    /// How many graphs there were before this one. A call belongs to the graph that began it.
    pub(super) generation: u64,
    /// The first graph with the present lister.
    pub(super) listed_since: u64,
    pub(super) refresh_stats: Arc<RefreshStats>,
    pub(super) watch: Option<Watch>,
    /// When it was last looked at what callers wait for, if that was just now.
    looked: Option<BootTime>,
    /// What the lister is called, for all of its roles.
    pub(super) listed: Arc<str>,
    pub(super) succession: Succession,
}

impl Refresher {
    /// A refresher that publishes in `store` what the upstreams of `graph` say. While an upstream merely refuses a role
    /// the set that is held is served to its end, or for as long as `grace`.
    pub fn new(graph: Graph, store: Arc<Store>, clock: SharedClock, grace: Option<Duration>) -> Self {
        let now = clock.now();
        let (requests, requested) = RoleRequests::new(Arc::clone(&store));
        let queue = |call_limit: CallLimit| CallQueue::new(call_limit, now.boot);
        let mut refresher = Self {
            store,
            clock,
            grace,
            random: fastrand::Rng::new(),
            listed: graph.lister.as_ref().map(|lister| Arc::clone(&lister.name)).unwrap_or_default(),
            lister: graph.lister,
            list: Asked::new(now),
            list_refused: false,
            nodes: HashMap::new(),
            order: Vec::new(),
            planned: Vec::new(),
            queues: graph.call_limits.into_iter().map(queue).collect(),
            calls: JoinSet::new(),
            tick: TICK,
            requests,
            requested,
            factory: None,
            wanted: HashMap::new(),
            generation: 0,
            listed_since: 0,
            refresh_stats: Arc::default(),
            watch: None,
            looked: None,
            succession: Succession::none(),
        };
        let listed: Vec<RoleName> = graph
            .nodes
            .iter()
            .filter(|node| node.visibility == Visibility::Listed)
            .map(|node| node.name.clone())
            .collect();
        if refresher.lister.is_none() {
            refresher.store.publish_roles(&listed);
        }
        refresher.add(now, graph.nodes);
        refresher
    }

    /// Lets roles be made on demand.
    #[must_use]
    pub fn with_factory(mut self, factory: OnDemandFactory) -> Self {
        self.factory = Some(factory);
        self
    }

    /// Tells `watch` of each call.
    #[must_use]
    pub fn watched_by(mut self, watch: Watch) -> Self {
        self.watch = Some(watch);
        self
    }

    /// What is remembered for status and metrics.
    pub fn refresh_stats(&self) -> Arc<RefreshStats> {
        Arc::clone(&self.refresh_stats)
    }

    /// The way to ask for roles on demand.
    pub fn requests(&self) -> RoleRequests {
        self.requests.clone()
    }

    /// Runs for ever.
    pub async fn run(&mut self) {
        let store = Arc::clone(&self.store);
        loop {
            let mut pause = self.start_due_calls();
            if let Some(more) = self.hand_over_if_due() {
                pause = pause.min(more);
            }
            tokio::select! {
                Some(answer) = self.calls.join_next() => {
                    self.take(answer);
                    // One look at the schedule for all the answers that have arrived.
                    while let Some(answer) = self.calls.try_join_next() {
                        self.take(answer);
                    }
                }
                Some(request) = self.requested.recv() => {
                    self.take_request(request);
                    for _more in 1..REQUESTS {
                        let Ok(request) = self.requested.try_recv() else { break };
                        self.take_request(request);
                    }
                }
                // However many callers wait: one look is enough for all that come soon after.
                () = store.awaited(), if self.looked.is_none() => self.looked = Some(self.hasten()),
                () = clock::sleep(pause) => {}
            }
        }
    }

    /// A request waits. What is not here, and not refused, is fetched sooner. Returns the present time. That a set was refused
    /// while it lived says nothing any more when it has ended: the next answer decides.
    fn hasten(&mut self) -> BootTime {
        let now = self.clock.now();
        if self.lister.is_some() && !self.store.snapshot().answered() {
            self.list.timer.hasten();
        }
        let open =
            |node: &Tracked| node.refused.is_none() || node.held.as_ref().is_some_and(|set| !set.may_live(now.boot));
        for node in self.nodes.values_mut().filter(|node| !node.is_alive(now) && open(node)) {
            node.asked.timer.hasten();
        }
        now.boot
    }

    /// Something has changed that may let succeed what failed.
    fn try_again(&mut self) {
        if self.list.failure.is_any() {
            self.list.timer.again();
        }
        for node in self.nodes.values_mut().filter(|node| node.asked.failure.is_any()) {
            node.asked.timer.again();
        }
    }

    /// A node as it begins. A call for one that had its id before a reload may still be under way; its answer is not taken.
    pub(super) fn tracked(&self, node: Node, now: Moment) -> Box<Tracked> {
        let mut tracked = Tracked::new(now, Some(Plan::new(node)));
        tracked.since = self.generation;
        tracked
    }

    /// Takes over nodes that are new.
    fn add(&mut self, now: Moment, nodes: Vec<Node>) {
        let ids: Vec<RoleId> = nodes.iter().map(|node| node.id.clone()).collect();
        let parents: Vec<RoleId> = nodes
            .iter()
            .flat_map(|node| node.candidates.iter().filter_map(|candidate| candidate.parent.clone()))
            .collect();
        for node in nodes {
            let id = node.id.clone();
            if !self.nodes.contains_key(&id) {
                self.planned.push(id.clone());
                let tracked = self.tracked(node, now);
                self.nodes.insert(id, tracked);
            }
        }
        for parent in parents {
            self.keep(&parent, now);
        }
        for id in ids {
            self.claim_handed(&id, now);
        }
    }

    fn take_request(&mut self, request: Request) {
        let now = self.clock.now();
        match request {
            Request::Fetch(id, wanted) => {
                report::role_requested(&wanted);
                let made = self.make(&id, &wanted).inspect_err(|problem| self.deny(&id, &wanted, problem, now));
                self.wanted.insert(id, wanted);
                if let Ok(nodes) = made {
                    self.add(now, nodes);
                }
            }
            Request::LookAgain => self.look_again(now),
            Request::Replace(replacement, done) => {
                self.replace(*replacement);
                // The caller may have stopped waiting.
                let _gone = done.send(());
            }
            Request::TryAgain => self.try_again(),
            Request::HandOver(tell) => {
                // Whoever asked may have gone.
                let _gone = tell.send(self.handover(now));
            }
            Request::Drop(id) => {
                self.wanted.remove(&id);
                self.nodes.remove(&id);
                self.note_change();
                self.refresh_stats.forget(id.as_str());
                self.planned.retain(|planned| *planned != id);
                self.forget_due(&Due::Planned(id));
            }
        }
    }

    pub(super) fn make(&self, id: &RoleId, wanted: &Wanted) -> Result<Vec<Node>, String> {
        let factory = self.factory.as_ref().ok_or("this daemon has no roles on demand")?;
        factory(id, wanted)
    }

    pub(super) fn forget_due(&mut self, gone: &Due) {
        self.queues.iter_mut().for_each(|call_limit| call_limit.retain(|due| due != gone));
    }

    /// Starts every call that is due; answers how long until the next one may be.
    fn start_due_calls(&mut self) -> Duration {
        let now = self.clock.now();
        self.withdraw_overdue(now);
        let mut pause = self.tick;
        if let Some(looked) = self.looked {
            let left = LOOK_PAUSE.saturating_sub(now.boot.since(looked));
            pause = if left.is_zero() { pause } else { left };
            self.looked = Some(looked).filter(|_| !left.is_zero());
        }
        if let Some(lister) = &self.lister {
            match self.list.start_if_due(now) {
                Some(Duration::ZERO) => {
                    let (source, generation) = (Arc::clone(&lister.source), self.generation);
                    let call = Call { source: Arc::clone(&self.listed), began: now.boot };
                    self.calls.spawn(async move { Answer::Roles(call, generation, source.roles().await) });
                }
                Some(remaining) => pause = pause.min(remaining),
                None => {}
            }
        }
        let mut begin = Vec::new();
        for id in &self.planned {
            let Some(node) = self.nodes.get_mut(id) else { continue };
            let who = Who::new(id.as_str(), node.plan.as_deref());
            report::expiry(&who, node.held.as_deref(), now, &mut node.asked.failure);
            match node.start_if_due(now) {
                Some(Duration::ZERO) => begin.push(id.clone()),
                Some(remaining) => pause = pause.min(remaining),
                None => {}
            }
        }
        for id in begin {
            self.begin(&id, now);
        }
        pause.min(self.start_listed(now)).min(self.fetch_due(now))
    }

    /// Fetches what is due, as much as the upstreams are to bear. What waits is only a name: the
    /// calls of a thousand roles would take megabytes. Answers when the next one may begin.
    fn fetch_due(&mut self, now: Moment) -> Duration {
        let mut pause = self.tick;
        for call_limit in (0..self.queues.len()).map(CallLimitId) {
            while let Some(due) = self.queues.get_mut(call_limit.0).and_then(|queue| queue.next(now.boot)) {
                if !self.start(due, call_limit, now)
                    && let Some(queue) = self.queues.get_mut(call_limit.0)
                {
                    queue.done();
                }
            }
            pause = self.queues.get(call_limit.0).and_then(CallQueue::pause).map_or(pause, |more| pause.min(more));
        }
        pause
    }

    /// Starts one call; `false` if there is no longer a reason to.
    fn start(&mut self, due: Due, call_limit: CallLimitId, now: Moment) -> bool {
        let signed = match &due {
            Due::Listed(_) => None,
            Due::Planned(id) => match self.signer(id, now) {
                Some(signer) => signer,
                None => return false,
            },
        };
        let Some(node) = self.nodes.get(due.id()) else { return false };
        // While only a better candidate is tried the set that is there is as fresh as before.
        let is_fresh = !node.asked.failure.is_any() && node.is_being_fetched();
        if let Some(set) = node.held.as_ref().filter(|_| is_fresh) {
            self.store.publish(&due.id(), Slot::Held { set: Arc::clone(set), phase: Phase::Refreshing });
        }
        let generation = self.generation;
        match &due {
            Due::Listed(name) => {
                let Some(lister) = &self.lister else { return false };
                let (source, name) = (Arc::clone(&lister.source), name.clone());
                let call = Call { source: Arc::clone(&self.listed), began: now.boot };
                self.calls.spawn(async move {
                    let (answer, request_id) = with_request_id(source.fetch(&name)).await;
                    let (due, signed) = (Due::Listed(name), None);
                    Answer::Set(Fetched { call, due, call_limit, generation, signed, answer, request_id })
                });
            }
            Due::Planned(_) => {
                let Some(candidate) = node.plan.as_ref().and_then(|plan| plan.candidate()) else { return false };
                let fetch = Arc::clone(&candidate.fetch);
                let call = Call { source: Arc::clone(&candidate.label), began: now.boot };
                self.calls.spawn(async move {
                    let (answer, request_id) = with_request_id(fetch.fetch(signed.as_deref())).await;
                    Answer::Set(Fetched { call, due, call_limit, generation, signed, answer, request_id })
                });
            }
        }
        true
    }
}

#[cfg(test)]
mod tests;
