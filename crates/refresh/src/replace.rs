//! Replaces the graph while it runs: nodes that stay keep their credentials and their schedule.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};

use super::{
    Graph, Node, OnDemandFactory, Refresher, Timer, Visibility,
    limiter::CallQueue,
    node::{Asked, Tracked},
    report,
    requests::{Request, Wanted},
    task::Due,
};
use crate::{
    clock::Moment,
    credentials::{RoleId, RoleName, render_refusal},
    store::Slot,
};

/// What becomes of something that both graphs have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carryover {
    /// Nothing about it is different: not even a call is made.
    Unchanged,
    /// The same credentials, from another upstream: they are still served, and fetched again immediately.
    Refetch,
    /// It only has the same name. What was held for it is not served any more.
    Discard,
}

/// A graph that takes the place of another one.
pub struct Replacement {
    /// What is fetched from now on.
    pub graph: Graph,
    /// The configuration that it was made from, for the [`Handover`](super::Handover).
    pub configuration: Arc<str>,
    /// Makes roles on demand from now on.
    pub factory: Option<OnDemandFactory>,
    /// For how long a refusal has to stand before it counts against a valid set.
    pub grace: Option<Duration>,
    /// What becomes of a node that is in both graphs.
    pub carryover: Box<dyn Fn(&RoleId) -> Carryover + Send>,
    /// What becomes of the roles that are assumed on demand, all of them: what they are made of stands in their ids. `Discard`
    /// counts as `Refetch`. A user's, or a pod's, own sets of a role are made of that role, and `carryover` says what becomes of
    /// both.
    pub on_demand: Carryover,
    /// What becomes of the upstream that lists roles, if both graphs have one. `Discard` counts as `Refetch`: only its own
    /// answer says which roles there are.
    pub lister: Carryover,
}

/// Hands a new graph to the refresher.
#[derive(Debug, Clone)]
pub struct Replacer(pub(super) mpsc::UnboundedSender<Request>);

impl Replacer {
    /// Replaces the graph. Completes when that is done, or without effect if the daemon stops.
    pub async fn replace(&self, replacement: Replacement) {
        let (done, is_done) = oneshot::channel();
        let _stopping = self.0.send(Request::Replace(Box::new(replacement), done));
        let _stopped = is_done.await;
    }
}

impl Refresher {
    /// The way to replace the graph.
    pub fn replacer(&self) -> Replacer {
        self.requests().replacer()
    }

    pub(super) fn replace(&mut self, new: Replacement) {
        let now = self.clock.now();
        let Replacement { graph, configuration, factory, grace, carryover, on_demand, lister } = new;
        self.generation += 1;
        (self.factory, self.grace) = (factory, grace);
        let old_order = self.planned.clone();
        let mut old = std::mem::take(&mut self.nodes);
        self.planned.clear();
        // What waits for its turn is still due; which calls are running in the old queues is forgotten.
        let queued: Vec<Due> = self.queues.iter_mut().flat_map(CallQueue::drain).collect();
        self.queues = graph.call_limits.into_iter().map(|call_limit| CallQueue::new(call_limit, now.boot)).collect();

        let starts_anew = self.replace_lister(graph.lister, lister, &mut old, now);
        let listed: Vec<RoleName> = graph
            .nodes
            .iter()
            .filter(|node| node.visibility == Visibility::Listed)
            .map(|node| node.name.clone())
            .collect();
        let mut fresh = Vec::new();
        self.take_over(graph.nodes, &mut old, &carryover, &mut fresh, now);
        self.remake(&mut old, &carryover, on_demand, &mut fresh, now);
        self.replace_configuration(configuration, &carryover, on_demand);

        if self.lister.is_none() {
            self.store.publish_roles(&listed);
        } else if starts_anew {
            // What was listed or configured before is none of its roles, even if it has the same name.
            self.store.forget_roles();
        }
        for id in &fresh {
            self.store.publish(id, Slot::Warming);
        }
        for id in old_order.iter().filter(|id| !self.nodes.contains_key(*id)) {
            if let Some(gone) = old.get(id).and_then(|node| node.plan.as_ref()) {
                report::role_dropped(&gone.node);
            }
        }
        self.refresh_stats.retain(|id| self.nodes.contains_key(id));
        self.settle_parents(now);
        for due in queued {
            self.queue_again(due);
        }
    }

    /// Whether nothing is known of its roles, as at a start.
    fn replace_lister(
        &mut self,
        new: Option<super::Lister>,
        carryover: Carryover,
        old: &mut HashMap<RoleId, Box<Tracked>>,
        now: Moment,
    ) -> bool {
        if let Some(lister) = &new {
            self.listed = Arc::clone(&lister.name);
        }
        let interval = new.as_ref().map(|lister| lister.interval);
        let before = std::mem::replace(&mut self.lister, new).map(|lister| lister.interval);
        if before.is_none() || interval.is_none() || carryover == Carryover::Discard {
            self.order.clear();
            self.list = Asked::new(now);
            self.list_refused = false;
            self.listed_since = self.generation;
            return true;
        }
        let same = carryover == Carryover::Unchanged;
        if !same {
            self.list = Asked::new(now);
            self.listed_since = self.generation;
        } else if before != interval && !self.list.in_flight {
            // The next wait is as long as is wanted now.
            self.list.timer = Timer::due_now(now);
        }
        for name in &self.order {
            let Some((id, mut role)) = old.remove_entry(name.as_str()) else { continue };
            if !same {
                role.asked = Asked::new(now);
                role.since = self.generation;
            }
            self.nodes.insert(id, role);
        }
        false
    }

    /// Adds nodes, each with what the old graph knew of it.
    fn take_over(
        &mut self,
        nodes: Vec<Node>,
        old: &mut HashMap<RoleId, Box<Tracked>>,
        carryover: &dyn Fn(&RoleId) -> Carryover,
        fresh: &mut Vec<RoleId>,
        now: Moment,
    ) {
        for node in nodes {
            let id = node.id.clone();
            if self.nodes.contains_key(&id) {
                continue;
            }
            let known = old.remove(&id).filter(|tracked| tracked.plan.is_some());
            let tracked = match (known, carryover(&id)) {
                (Some(mut tracked), Carryover::Unchanged) => {
                    if let Some(plan) = &mut tracked.plan {
                        plan.node = node;
                    }
                    tracked
                }
                (Some(tracked), Carryover::Refetch) => {
                    let mut renewed = self.tracked(node, now);
                    if let (Some(plan), Some(before)) = (&mut renewed.plan, tracked.plan) {
                        (plan.kept, plan.fetched) = (before.kept, before.fetched);
                    }
                    renewed.held = tracked.held;
                    renewed
                }
                (_, _) => {
                    fresh.push(id.clone());
                    self.tracked(node, now)
                }
            };
            self.planned.push(id.clone());
            self.nodes.insert(id, tracked);
        }
    }

    /// Makes the roles on demand again.
    fn remake(
        &mut self,
        old: &mut HashMap<RoleId, Box<Tracked>>,
        carryover: &dyn Fn(&RoleId) -> Carryover,
        on_demand: Carryover,
        fresh: &mut Vec<RoleId>,
        now: Moment,
    ) {
        let on_demand = if on_demand == Carryover::Unchanged { Carryover::Unchanged } else { Carryover::Refetch };
        for (id, wanted) in std::mem::take(&mut self.wanted) {
            let becomes = wanted.of_role().map_or(on_demand, |role| carryover(&RoleId::named(role)));
            match self.make(&id, &wanted) {
                Ok(nodes) => self.take_over(nodes, old, &|_| becomes, fresh, now),
                Err(problem) => self.deny(&id, &wanted, &problem, now),
            }
            self.wanted.insert(id, wanted);
        }
    }

    /// A role on demand cannot be made.
    pub(super) fn deny(&self, id: &RoleId, wanted: &Wanted, problem: &str, now: Moment) {
        report::role_impossible(wanted, problem);
        let document = render_refusal("AssumeRoleUnauthorizedAccess", problem, now.wall);
        self.store.publish(id, Slot::Denied(document.into()));
    }

    /// A parent keeps its credentials; a node that is no parent any more forgets them.
    fn settle_parents(&mut self, now: Moment) {
        let candidates = self
            .planned
            .iter()
            .filter_map(|id| self.nodes.get(id)?.plan.as_ref())
            .flat_map(|plan| plan.node.candidates.iter());
        let parents: HashSet<RoleId> = candidates.filter_map(|candidate| candidate.parent.clone()).collect();
        for id in &self.planned {
            let plan = self.nodes.get_mut(id).and_then(|node| node.plan.as_mut());
            if let Some(plan) = plan.filter(|_| !parents.contains(id)) {
                plan.is_parent = false;
                plan.kept = None;
            }
        }
        for parent in &parents {
            // What was kept for children before needs not be fetched again for them.
            let kept =
                self.nodes.get(parent).and_then(|node| node.plan.as_ref()).is_some_and(|plan| plan.kept.is_some());
            if let Some(plan) = self.nodes.get_mut(parent).and_then(|node| node.plan.as_mut()).filter(|_| kept) {
                plan.is_parent = true;
            }
            self.keep(parent, now);
        }
    }

    /// Queues again what was due in the old queues and has not begun since.
    fn queue_again(&mut self, due: Due) {
        let waits = |node: &Tracked| node.asked.in_flight;
        let call_limit = match &due {
            Due::Listed(name) => self.nodes.get(name.as_str()).filter(|role| waits(role)).map(|_| 0),
            Due::Planned(id) => self
                .nodes
                .get(id)
                .filter(|node| waits(node))
                .and_then(|node| node.plan.as_ref()?.candidate().map(|candidate| candidate.call_limit.0)),
        };
        if let Some(queue) = call_limit.and_then(|call_limit| self.queues.get_mut(call_limit)) {
            queue.push(due);
        }
    }
}

impl fmt::Debug for Replacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replacement").field("nodes", &self.graph.nodes.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
