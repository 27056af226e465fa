//! What comes back from an upstream: a set, a failure or a refusal, and what follows from it.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinError;

use super::{
    Refresher,
    call::{Answer, Call, Due, Fetched},
};
use crate::{
    Cadence, EndedCall, ErrorKind, SourceError, Timer,
    clock::Moment,
    credentials::{Credentials, RoleId, format_timestamp, render_refusal},
    node::Who,
    refresh_stats::{Ending, Life, Question},
    report,
    requests::Wanted,
    store::{Phase, Published, Slot},
};

impl Refresher {
    pub(super) fn take(&mut self, answer: Result<Answer, JoinError>) {
        match answer {
            // That of a lister that is not asked any more says nothing.
            Ok(Answer::Roles(_, generation, _)) if generation < self.listed_since => {}
            Ok(Answer::Roles(call, _, answer)) => {
                self.ended(&call, None, &answer, None);
                self.take_roles(answer);
            }
            Ok(Answer::Set(fetched)) => self.take_set(fetched),
            // A defect of ours inside the call: there is nothing sane to go on with. Calls are
            // cancelled only by dropping the refresher, when they are not joined any more.
            Err(defect) => std::panic::resume_unwind(defect.into_panic()),
        }
    }

    fn take_set(&mut self, fetched: Fetched) {
        let now = self.clock.now();
        let Fetched { call, due, call_limit, generation, signed, answer, request_id } = fetched;
        if let Some(queue) = self.queues.get_mut(call_limit.0).filter(|_| generation == self.generation) {
            queue.done();
        }
        self.ended(&call, Some(&due), &answer, request_id.as_deref());
        // Withdrawn or changed while the call was under way: whatever came is of no use any more.
        if self.nodes.get(due.id()).is_none_or(|node| generation < node.since) {
            return;
        }
        let held = self.nodes.get(due.id()).and_then(|node| node.held.as_ref()).filter(|held| held.is_valid(now));
        let is_late = |set: &Credentials| {
            // By a clock that is behind it seems to live; what is held is better for certain.
            let ended = set.life.is_some_and(|life| life.is_zero());
            set.expiration <= now.wall || (ended && held.is_some_and(|held| held.expiration > set.expiration))
        };
        let answer = answer.and_then(|set| if is_late(&set) { Err(self.late(&set)) } else { Ok(set) });
        match (due, answer) {
            (due, Ok(credentials)) => self.take_good_set(&due, credentials, now),
            (Due::Listed(name), Err(error)) => {
                let interval = self.lister.as_ref().map_or(Duration::ZERO, |lister| lister.interval);
                self.take_failure(&RoleId::named(&name), now, Cadence::Ims { interval }, &error);
            }
            (Due::Planned(id), Err(error)) => self.candidate_failed(&id, signed.as_ref(), error, now),
        }
    }

    fn take_good_set(&mut self, due: &Due, credentials: Credentials, now: Moment) {
        let random = self.random.f64();
        let Some(node) = self.nodes.get_mut(due.id()) else { return };
        node.asked.in_flight = false;
        let first = node.held.is_none();
        let account = node.held.as_ref().and_then(|held| held.account_id);
        let set = match node.held.take().filter(|held| held.is(&credentials)) {
            Some(same) => {
                same.came_again(&credentials, now);
                same
            }
            None => Arc::new(Published::new(&credentials, now)),
        };
        node.refused = None;
        node.asked.timer = Timer::after_set(now, set.expiration, set.remaining(now), random);
        let who = Who::new(due.id(), node.plan.as_deref());
        let candidate = node.plan.as_ref().and_then(|plan| plan.candidate());
        let source = candidate.map_or(&self.listed, |candidate| &candidate.label);
        report::set_arrived(&who, source, &set, first, &mut node.asked.failure);
        if let (Some(before), Some(now)) = (account, set.account_id)
            && before != now
        {
            report::account_changed(&who, source, before, now);
        }
        let life = Life { end: set.expiration, again: node.asked.timer.due(now) };
        self.refresh_stats.fetched(&due.role_id(), source, now.wall, life);
        self.store.publish(&due.id(), Slot::Held { set: Arc::clone(&set), phase: Phase::Fresh });
        node.held = Some(set);
        self.note_change();
        if let Due::Planned(id) = due {
            self.candidate_worked(id, credentials, now);
        }
    }

    /// All that could be tried for a set has failed.
    pub(crate) fn take_failure(&mut self, id: &RoleId, now: Moment, cadence: Cadence, error: &SourceError) {
        let random = self.random.f64();
        let (grace, own) = (self.grace, matches!(self.wanted.get(id), Some(Wanted::Timed(_))));
        let Some(node) = self.nodes.get_mut(id) else { return };
        node.asked.in_flight = false;
        let who = Who::new(id.as_str(), node.plan.as_deref());
        let alive = node.held.clone().filter(|_| node.is_alive(now));
        let left = alive.as_ref().map(|set| set.remaining(now));
        let ErrorKind::Refused { code, message, withdraws } = &error.kind else {
            report::set_failed((&who, own), error, None, &mut node.asked.failure);
            self.refresh_stats.failed(id, now.wall, &error.message, node.refused.as_ref().map(|since| since.wall));
            let timer = node.asked.timer.after_failure(now, left, random);
            node.asked.timer = timer.told(error.again, left, random);
            self.refresh_stats.planned(id, node.asked.timer.due(now));
            return self.keep_serving(id);
        };
        let first = node.refused.is_none();
        let since = **node.refused.get_or_insert_with(|| Box::new(now));
        self.refresh_stats.failed(id, now.wall, &error.message, Some(since.wall));
        let given_up = *withdraws || node.is_given_up(Some(&since), grace, now);
        let kept = alive.as_ref().map(|set| set.expiration).filter(|_| !given_up);
        report::set_failed((&who, own), error, Some((cadence, kept)), &mut node.asked.failure);
        node.asked.timer = node.asked.timer.after_refusal(now, cadence, left.filter(|_| !given_up), random);
        self.refresh_stats.planned(id, node.asked.timer.due(now));
        if given_up {
            node.held = None;
            self.store.publish(id, Slot::Denied(render_refusal(code, message, now.wall).into()));
        } else {
            if let Some(grace) = grace {
                let refused = now.boot.since(since.boot);
                node.asked.timer = node.asked.timer.clone().within(grace.saturating_sub(refused));
            }
            self.keep_serving(id);
        }
        // For the next process the grace goes on.
        if first || given_up {
            self.note_change();
        }
    }

    /// Counts a call, for the set that was `due` or for a list, and tells of it.
    fn ended<T>(&mut self, call: &Call, due: Option<&Due>, answer: &Result<T, SourceError>, request_id: Option<&str>) {
        let now = self.clock.now();
        let (source, took) = (&*call.source, now.boot.since(call.began));
        let (ending, failure) = (ending(answer), answer.as_ref().err().map(|error| &*error.message));
        let question = if due.is_some() { Question::Credentials } else { Question::Roles };
        self.refresh_stats.count(&call.source, question, ending, took);
        self.refresh_stats.ended(&call.source, now.wall, ending, failure);
        let Some(watch) = &mut self.watch else { return };
        let role = match due {
            None => None,
            Some(Due::Listed(name)) => Some(name),
            // Of one that has been withdrawn meanwhile there is nothing to tell any more.
            Some(Due::Planned(id)) => match self.nodes.get(id).and_then(|node| node.plan.as_ref()) {
                Some(plan) => Some(&plan.node.name),
                None => return,
            },
        };
        let id = due.map(Due::id);
        watch(&EndedCall { role, id, source, ending, failure, request_id, ended: now.wall, took });
    }

    fn late(&self, credentials: &Credentials) -> SourceError {
        let clock = self.refresh_stats.clock_ahead().map(report::clock_difference);
        let clock = clock.unwrap_or_else(|| "is this host's clock right?".to_owned());
        let expiration = format_timestamp(credentials.expiration);
        SourceError::transient(format!("the credentials had already expired on arrival, at {expiration}; {clock}"))
    }

    /// What is held is served on, though nothing newer could be had.
    fn keep_serving(&self, id: &RoleId) {
        if let Some(set) = self.nodes.get(id).and_then(|node| node.held.as_ref()) {
            self.store.publish(id, Slot::Held { set: Arc::clone(set), phase: Phase::Stale });
        }
    }
}

fn ending<T>(answer: &Result<T, SourceError>) -> Ending {
    match answer.as_ref().map_err(|error| &error.kind) {
        Ok(_) => Ending::Success,
        Err(ErrorKind::Transient) => Ending::Transient,
        Err(ErrorKind::Refused { .. }) => Ending::Refused,
        Err(ErrorKind::ParentExpired) => Ending::ParentExpired,
    }
}
