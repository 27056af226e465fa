//! What a refresher leaves to the next process, so that a restart loses nothing, and how that one takes it over.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use super::{
    Carryover, Refresher, Timer,
    node::{Asked, Tracked},
    requests::Wanted,
};
use crate::{
    clock::{BootTime, Moment},
    credentials::{RoleId, RoleName},
    refresh_stats::Life,
    store::{Phase, Published, Slot},
};

/// What has changed is handed over after this time: the first fetches of a thousand roles are not a thousand handovers.
const PAUSE: Duration = Duration::from_secs(1);

/// Everything that the next process needs to serve what this one holds and to fetch it again on time.
#[derive(Debug, Clone)]
pub struct Handover {
    /// The configuration that the graph was made from. The refresher only passes it on.
    pub configuration: Arc<str>,
    /// The roles that the lister lists, in its order, if it has answered.
    pub listed: Option<Vec<RoleName>>,
    /// The sets that are held, long-term keys excepted.
    pub sets: Vec<HandedSet>,
}

/// One set that is handed over.
#[derive(Debug, Clone)]
pub struct HandedSet {
    /// The id of its role.
    pub id: Box<str>,
    /// The role of the graph, or of the lister, that this is of, if a user or a client has it for itself.
    pub of: Option<RoleName>,
    /// The set.
    pub set: Arc<Published>,
    /// When it is to be fetched again.
    pub due: BootTime,
    /// The label of the candidate that it came from, if its role has any.
    pub candidate: Option<Box<str>>,
    /// Since when the upstream refuses the role, if it does.
    pub refused: Option<Moment>,
}

/// Is given everything again after each change, at most once a second.
pub type HandOver = Box<dyn FnMut(Handover) + Send>;

/// Both ends of it.
pub(super) struct Succession {
    hand_over: Option<HandOver>,
    configuration: Arc<str>,
    /// Since when something is different from what was handed over, if it is.
    changed: Option<BootTime>,
    /// The sets that were taken over and whose roles are still to be made on demand, and what becomes of each then.
    unclaimed: HashMap<Box<str>, (HandedSet, Carryover)>,
}

impl Succession {
    pub(super) fn none() -> Self {
        Self { hand_over: None, configuration: "".into(), changed: None, unclaimed: HashMap::new() }
    }
}

impl Refresher {
    /// Remembers the `configuration` that the graph was made from, for the next process.
    #[must_use]
    pub fn made_from(mut self, configuration: Arc<str>) -> Self {
        self.succession.configuration = configuration;
        self
    }

    /// Has `hand_over` keep what the next process needs.
    #[must_use]
    pub fn with_hand_over(mut self, hand_over: HandOver) -> Self {
        self.succession.hand_over = Some(hand_over);
        self
    }

    /// Takes over what another process has handed over. `carryover` says what becomes of the sets of each role of the graph,
    /// those that a user or a client has for itself included; `lister` and `on_demand` of those that the lister lists, and that
    /// are made on demand.
    pub fn take_over_from(
        &mut self,
        handover: Handover,
        carryover: impl Fn(&str) -> Carryover,
        lister: Carryover,
        on_demand: Carryover,
    ) {
        let now = self.clock.now();
        if let Some(names) = handover.listed.filter(|_| self.lister.is_some() && lister != Carryover::Discard) {
            for name in &names {
                self.nodes.entry(RoleId::named(name)).or_insert_with(|| Tracked::new(now, None));
            }
            self.store.publish_roles(&names);
            self.order = names;
        }
        for mut handed in handover.sets.into_iter().filter(|handed| handed.set.may_live(now.boot)) {
            match self.nodes.get(&*handed.id).map(|node| node.plan.is_some()) {
                Some(true) => self.claim(carryover(&handed.id), handed, now),
                Some(false) => self.claim(lister, handed, now),
                None => {
                    let becomes = handed.of.as_ref().map_or(on_demand, |role| carryover(role.as_str()));
                    if becomes == Carryover::Refetch {
                        // Also by the process after this one, for which the configuration is not another one.
                        handed.due = now.boot;
                    }
                    if becomes != Carryover::Discard {
                        self.succession.unclaimed.insert(handed.id.clone(), (handed, becomes));
                    }
                }
            }
        }
        self.note_change();
    }

    /// A role has been made on demand: it has the set that was handed over for it, if any.
    pub(super) fn claim_handed(&mut self, id: &RoleId, now: Moment) {
        let Some((handed, becomes)) = self.succession.unclaimed.remove(id.as_str()) else { return };
        let of = self.wanted.get(id).and_then(Wanted::of_role);
        if handed.of.as_ref() == of && handed.set.may_live(now.boot) {
            self.claim(becomes, handed, now);
        }
    }

    fn claim(&mut self, carryover: Carryover, handed: HandedSet, now: Moment) {
        let random = self.random.f64();
        let Some(id) = self.nodes.get_key_value(&*handed.id).map(|(id, _)| id.clone()) else { return };
        let Some(node) = self.nodes.get_mut(&id).filter(|_| carryover != Carryover::Discard) else { return };
        let HandedSet { set, due, candidate, refused, .. } = handed;
        node.asked = Asked::new(now);
        let mut source = &self.listed;
        let mut unchanged = carryover == Carryover::Unchanged;
        if let Some(plan) = &mut node.plan {
            let label = |index: usize| plan.node.candidates.get(index).map(|candidate| &candidate.label);
            let same =
                (0..plan.node.candidates.len()).find(|index| label(*index).map(|l| &**l) == candidate.as_deref());
            unchanged &= same.is_some();
            plan.in_force = same.unwrap_or_default();
            plan.kept = set.credentials().filter(|_| plan.is_parent).map(Arc::new);
            plan.plan_return(now, random);
            if let Some(candidate) = plan.node.candidates.get(plan.in_force) {
                source = &candidate.label;
            }
        }
        if unchanged {
            node.asked.timer = Timer::handed_over(now, due, set.expiration, set.remaining(now));
        }
        node.refused = refused.map(Box::new);
        let life = Life { end: set.expiration, again: node.asked.timer.due(now) };
        self.refresh_stats.taken_over(&id, source, now.wall, life);
        self.store.publish(&id, Slot::Held { set: Arc::clone(&set), phase: Phase::Fresh });
        node.held = Some(set);
        // When programs last asked for it is not handed over: what was held counts as in use.
        if let Some(role) = self.store.snapshot().role(id.as_str()) {
            role.ask(now.boot);
        }
    }

    /// The graph was replaced by one that was made from `configuration`. `carryover` and `on_demand` say what becomes of the roles
    /// on demand, claimed or not.
    pub(super) fn replace_configuration(
        &mut self,
        configuration: Arc<str>,
        carryover: &dyn Fn(&RoleId) -> Carryover,
        on_demand: Carryover,
    ) {
        let now = self.clock.now().boot;
        self.succession.configuration = configuration;
        self.succession.unclaimed.retain(|_, (handed, becomes)| {
            let change = match &handed.of {
                Some(role) => carryover(&RoleId::named(role)),
                None if on_demand == Carryover::Unchanged => Carryover::Unchanged,
                // What it was made with is not known: it may sign for others, and its source be another one.
                None => Carryover::Discard,
            };
            if change == Carryover::Refetch {
                (*becomes, handed.due) = (change, now);
            }
            change != Carryover::Discard && handed.set.may_live(now)
        });
        self.note_change();
    }

    /// Something is different from what was handed over.
    pub(super) fn note_change(&mut self) {
        if self.succession.hand_over.is_some() && self.succession.changed.is_none() {
            self.succession.changed = Some(self.clock.now().boot);
        }
    }

    /// Hands over what there is, if something is different and it is time. Returns how long until it is.
    pub(super) fn hand_over_if_due(&mut self) -> Option<Duration> {
        let left = PAUSE.saturating_sub(self.clock.now().boot.since(self.succession.changed?));
        if left.is_zero() {
            self.hand_over();
        }
        Some(left).filter(|left| !left.is_zero())
    }

    /// Hands over what there is, if something is different.
    pub fn hand_over(&mut self) {
        if self.succession.changed.take().is_none() {
            return;
        }
        let handover = self.handover(self.clock.now());
        if let Some(hand_over) = &mut self.succession.hand_over {
            hand_over(handover);
        }
    }

    /// Everything that there is at the moment `now`.
    pub(super) fn handover(&mut self, now: Moment) -> Handover {
        self.succession.unclaimed.retain(|_, (handed, _)| handed.set.may_live(now.boot));
        let listed = self.lister.is_some() && self.store.snapshot().answered();
        let held = self.nodes.iter().filter_map(|(id, node)| {
            let set = node.held.clone().filter(|set| set.may_live(now.boot) && set.is_temporary())?;
            let candidate = node.plan.as_ref().and_then(|plan| plan.node.candidates.get(plan.in_force));
            Some(HandedSet {
                id: id.as_str().into(),
                of: self.wanted.get(id).and_then(Wanted::of_role).cloned(),
                set,
                due: now.boot + node.asked.timer.remaining(now),
                candidate: candidate.map(|candidate| (&*candidate.label).into()),
                refused: node.refused.as_deref().copied(),
            })
        });
        let configuration = Arc::clone(&self.succession.configuration);
        Handover {
            configuration,
            listed: listed.then(|| self.order.clone()),
            sets: held.chain(self.succession.unclaimed.values().map(|(handed, _)| handed.clone())).collect(),
        }
    }
}

impl fmt::Debug for Succession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Succession").field("unclaimed", &self.unclaimed.len()).finish_non_exhaustive()
    }
}
