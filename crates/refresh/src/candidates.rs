//! The candidates of a node, one after the other, and the parents whose credentials sign the calls.

use std::{sync::Arc, time::Duration};

use super::{Refresher, Timer, node::Who, report, task::Due};
use crate::{
    ErrorKind, SourceError,
    clock::Moment,
    credentials::{Credentials, RoleId},
    store::{Phase, Slot},
};

/// The minimum time between two fetches of a parent because a child's call reported it expired.
const RENEWAL: Duration = Duration::from_mins(1);
/// Nothing is fetched more often than this.
const SHORTEST: Duration = Duration::from_secs(1);

/// What can be had of a parent.
enum Parental {
    Ready(Arc<Credentials>),
    /// Its upstream refuses it.
    Refused(SourceError),
    /// It could not be fetched, which says nothing.
    Failing,
    /// It is being fetched, or has to be.
    Missing,
}

impl Refresher {
    /// Begins an attempt to fetch a set for `id`, with the first candidate.
    pub(super) fn begin(&mut self, id: &RoleId, now: Moment) {
        if let Some(plan) = self.nodes.get_mut(id).and_then(|node| node.plan.as_mut()) {
            plan.begin();
        }
        self.advance(id, now);
    }

    /// Puts the call of the present candidate into its queue, or waits for the parent, or goes on to the next candidate.
    fn advance(&mut self, id: &RoleId, now: Moment) {
        loop {
            let Some(node) = self.nodes.get_mut(id) else { return };
            let Some(plan) = &mut node.plan else { return };
            if plan.is_back_where_it_was() {
                if !node.asked.timer.remaining(now).is_zero() {
                    return self.stay(id, now);
                }
                // The set has become due meanwhile: on with the candidates that are left.
                plan.returning = false;
            }
            let (alone, returning) = (plan.node.candidates.len() == 1, plan.returning);
            let Some(candidate) = plan.candidate() else { return self.give_up(id, now) };
            let (call_limit, label, parent) = (candidate.call_limit, candidate.label.clone(), candidate.parent.clone());
            let error = match parent.as_ref().map(|parent| self.parental(parent, now)) {
                None | Some(Parental::Ready(_)) => match self.queues.get_mut(call_limit.0) {
                    // A call without need must not delay others.
                    Some(queue) if returning && !queue.is_free(now.boot) => {
                        SourceError::transient(format!("{label}: other calls are waiting"))
                    }
                    Some(queue) => return queue.push(Due::Planned(id.clone())),
                    None => SourceError::transient(format!("{label} has no queue")),
                },
                Some(Parental::Refused(error)) => error,
                Some(Parental::Failing) if !alone => {
                    SourceError::transient(format!("{label}: there are no credentials to sign the call"))
                }
                Some(Parental::Failing | Parental::Missing) => {
                    return self.wait(id, parent.as_ref(), now);
                }
            };
            if let Some(plan) = self.nodes.get_mut(id).and_then(|node| node.plan.as_mut()) {
                plan.next_way(error);
            }
        }
    }

    fn wait(&mut self, id: &RoleId, parent: Option<&RoleId>, now: Moment) {
        let Some(plan) = self.nodes.get_mut(id).and_then(|node| node.plan.as_mut()) else { return };
        plan.waiting = true;
        if let Some(parent) = parent {
            self.fetch_soon(parent, now);
        }
    }

    fn parental(&self, parent: &RoleId, now: Moment) -> Parental {
        let Some(node) = self.nodes.get(parent) else {
            return Parental::Refused(SourceError::transient(format!("there is no {parent}")));
        };
        let Some(plan) = &node.plan else { return Parental::Missing };
        match (&plan.kept, &plan.refusal) {
            (Some(kept), _) if kept.expiration > now.wall => Parental::Ready(Arc::clone(kept)),
            (_, Some(refusal)) => Parental::Refused(SourceError::new(
                refusal.kind.clone(),
                format!("{} is refused: {refusal}", Who::new(parent.as_str(), Some(plan))),
            )),
            _ if node.asked.failure.is_any() => Parental::Failing,
            _ => Parental::Missing,
        }
    }

    /// From now on the credentials of `parent` are kept, for others.
    pub(super) fn keep(&mut self, parent: &RoleId, now: Moment) {
        let Some(node) = self.nodes.get_mut(parent) else { return };
        let fetched = node.held.is_some();
        let Some(plan) = node.plan.as_mut().filter(|plan| !plan.is_parent) else { return };
        plan.is_parent = true;
        if fetched {
            node.hurry(now);
        }
    }

    /// Has a parent fetched that is missing, unless that is under way or waits for its turn after a failure.
    fn fetch_soon(&mut self, parent: &RoleId, now: Moment) {
        let Some(node) = self.nodes.get_mut(parent) else { return };
        if !node.is_being_fetched() && !node.asked.failure.is_any() {
            let age = node.plan.as_ref().and_then(|plan| plan.age(now)).unwrap_or(SHORTEST);
            node.asked.timer = Timer::after(now, SHORTEST.saturating_sub(age));
        }
    }

    /// The credentials with which the call for `id` is to be signed, right before it begins. `None`: there is nothing to
    /// call any more, or not yet.
    #[allow(clippy::option_option, reason = "a call without a signer is still a call")]
    pub(super) fn signer(&mut self, id: &RoleId, now: Moment) -> Option<Option<Arc<Credentials>>> {
        let plan = self.nodes.get(id).and_then(|node| node.plan.as_ref())?;
        let Some(parent) = &plan.candidate()?.parent else { return Some(None) };
        if let Parental::Ready(credentials) = self.parental(parent, now) {
            return Some(Some(credentials));
        }
        // It has expired while the call was waiting for its turn.
        self.advance(id, now);
        None
    }

    /// The present candidate of `id` has given a set.
    pub(super) fn candidate_worked(&mut self, id: &RoleId, credentials: Credentials, now: Moment) {
        let random = self.random.f64();
        let Some(plan) = self.nodes.get_mut(id).and_then(|node| node.plan.as_mut()) else { return };
        plan.refusal = None;
        plan.fetched = Some(now.boot);
        let (before, after) = (plan.in_force, plan.candidate);
        plan.in_force = after;
        plan.plan_return(now, random);
        if before != after {
            let label = plan.candidate().map_or("", |candidate| &candidate.label);
            let who = Who::new(id.as_str(), Some(plan));
            report::candidate_changed(&who, label, after > before, plan.failed.last());
        }
        plan.failed.clear();
        plan.kept = plan.is_parent.then(|| Arc::new(credentials));
        if plan.is_parent {
            self.tell_children(id, &Event::Arrived, now);
        }
    }

    /// The present candidate of `id` has failed; `signed` is what the call was signed with.
    pub(super) fn candidate_failed(
        &mut self,
        id: &RoleId,
        signed: Option<&Arc<Credentials>>,
        error: SourceError,
        now: Moment,
    ) {
        if error.kind == ErrorKind::ParentExpired
            && let Some(signed) = signed
            && self.renew_parent(id, signed, now)
        {
            return;
        }
        if let Some(plan) = self.nodes.get_mut(id).and_then(|node| node.plan.as_mut()) {
            plan.next_way(error);
        }
        self.advance(id, now);
    }

    /// Tries the present candidate once more with newer credentials of the parent, if that has not been tried.
    fn renew_parent(&mut self, id: &RoleId, signed: &Arc<Credentials>, now: Moment) -> bool {
        let Some(plan) = self.nodes.get_mut(id).and_then(|node| node.plan.as_mut()) else { return false };
        if std::mem::replace(&mut plan.renewed, true) {
            return false;
        }
        let Some(parent) = plan.candidate().and_then(|candidate| candidate.parent.clone()) else { return false };
        let Some(node) = self.nodes.get_mut(&parent) else { return false };
        let under_way = node.is_being_fetched() || node.asked.failure.is_any();
        let Some(of_parent) = node.plan.as_mut() else { return false };
        // Another child may have noticed first: then newer ones are here, or on their way.
        if of_parent.kept.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, signed)) {
            if !under_way && of_parent.age(now).is_some_and(|age| age < RENEWAL) {
                return false;
            }
            of_parent.kept = None;
            report::parent_expired(&self.who(&parent), &self.who(id));
            self.fetch_soon(&parent, now);
        }
        self.advance(id, now);
        true
    }

    /// No better candidate of `id` works. The one in force is not asked for that: its set is not due.
    fn stay(&mut self, id: &RoleId, now: Moment) {
        let random = self.random.f64();
        let Some(node) = self.nodes.get_mut(id) else { return };
        node.asked.in_flight = false;
        let Some(plan) = &mut node.plan else { return };
        plan.returning = false;
        plan.plan_return(now, random);
        let failed = std::mem::take(&mut plan.failed);
        report::still_stands_in(&Who::new(id.as_str(), Some(plan)), &failed);
    }

    fn who<'a>(&'a self, id: &'a RoleId) -> Who<'a> {
        Who::new(id.as_str(), self.nodes.get(id).and_then(|node| node.plan.as_deref()))
    }

    /// All candidates of `id` have failed.
    fn give_up(&mut self, id: &RoleId, now: Moment) {
        let Some(plan) = self.nodes.get_mut(id).and_then(|node| node.plan.as_mut()) else { return };
        let error = plan.verdict();
        let cadence = plan.cadence();
        let is_parent = plan.is_parent;
        self.take_failure(id, now, cadence, &error);
        let Some(node) = self.nodes.get_mut(id) else { return };
        let refused = node.held.is_none() && matches!(error.kind, ErrorKind::Refused { .. });
        if let Some(plan) = node.plan.as_mut().filter(|_| refused) {
            plan.kept = None;
            plan.refusal = Some(error.clone());
        }
        if is_parent {
            let event = if refused { Event::Refused(error) } else { Event::Failed };
            self.tell_children(id, &event, now);
        }
    }

    /// Tells those that live on the credentials of `parent` what has become of it.
    fn tell_children(&mut self, parent: &RoleId, event: &Event, now: Moment) {
        let is_child = |id: &&RoleId| {
            self.nodes.get(*id).and_then(|node| node.plan.as_ref()).is_some_and(|plan| plan.is_child_of(parent))
        };
        let name = self.who(parent).to_string();
        let children: Vec<RoleId> = self.planned.iter().filter(is_child).cloned().collect();
        for id in children {
            let Some(node) = self.nodes.get_mut(&id) else { continue };
            let Some(plan) = node.plan.as_mut() else { continue };
            if !plan.waits_for(parent) {
                let of_use = match event {
                    Event::Arrived => node.asked.failure.is_any() || plan.follows(parent),
                    Event::Refused(error) => {
                        matches!(error.kind, ErrorKind::Refused { withdraws: true, .. }) && node.held.is_some()
                    }
                    Event::Failed => false,
                };
                if of_use {
                    node.hurry(now);
                }
                continue;
            }
            if matches!(event, Event::Failed) && plan.node.candidates.len() == 1 {
                // It goes on waiting: the parent is asked again anyway.
                report::waits(&Who::new(id.as_str(), Some(plan)), &name, &mut node.asked.failure);
                let message = format!("waits for {name}, which cannot be fetched");
                self.refresh_stats.failed(&id, now.wall, &message, node.refused.as_ref().map(|since| since.wall));
                if let Some(set) = &node.held {
                    self.store.publish(&id, Slot::Held { set: Arc::clone(set), phase: Phase::Stale });
                }
                if plan.is_parent {
                    self.tell_children(&id, event, now);
                }
                continue;
            }
            plan.waiting = false;
            self.advance(&id, now);
        }
    }
}

/// What has become of a parent.
enum Event {
    Arrived,
    Failed,
    Refused(SourceError),
}

#[cfg(test)]
mod tests;
