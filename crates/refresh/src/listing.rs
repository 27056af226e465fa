//! The upstream's list of roles, and what follows from it.

use std::{collections::HashSet, mem, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::{
    Refresher, Timer,
    node::{Tracked, Who},
    report,
    task::Due,
};
use crate::{
    ErrorKind, RoleList, SourceError,
    clock::Moment,
    credentials::{RoleId, RoleName, render_refusal},
    requests::Wanted,
    store::Slot,
};

/// The code with which EC2 says that there is no such role for this host.
const NO_SUCH_ROLE: &str = "AssumeRoleUnauthorizedAccess";

/// Less than this between two clocks is not worth a word: the `Date` has whole seconds, and answers take a while.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_mins(1);

impl Refresher {
    pub(super) fn take_roles(&mut self, answer: Result<RoleList, SourceError>) {
        let now = self.clock.now();
        let random = self.random.f64();
        let Some(interval) = self.lister.as_ref().map(|lister| lister.interval) else { return };
        self.list.in_flight = false;
        match answer {
            Ok(list) => {
                self.list_refused = false;
                self.list.timer = Timer::after_list(now, interval, list.max_age, random);
                report::list_answered(&self.listed, &list, &mut self.list.failure);
                self.compare_clocks(now, list.date);
                self.refresh_stats.list_answered(now.wall, &self.listed);
                self.adopt(now, list);
            }
            Err(error) => {
                report::list_failed(&self.listed, &error, &mut self.list.failure);
                self.list_refused = matches!(error.kind, ErrorKind::Refused { .. });
                match error.kind {
                    ErrorKind::Refused { withdraws: true, .. } => {
                        self.list.timer = Timer::after_list(now, interval, None, random);
                        self.refresh_stats.list_answered(now.wall, &self.listed);
                        self.adopt(now, RoleList::default());
                    }
                    ErrorKind::Refused { withdraws: false, .. } => {
                        self.refresh_stats.list_refused(now.wall, &error.message);
                        self.doubt(now);
                        self.list.timer = self.after_list_failure(now, interval, random);
                    }
                    ErrorKind::Transient | ErrorKind::ParentExpired => {
                        self.list.timer =
                            self.after_list_failure(now, interval, random).told(error.again, None, random);
                    }
                }
            }
        }
    }

    /// Sets end by this host's clock, so it is worth knowing whether that is right.
    fn compare_clocks(&self, now: Moment, theirs: Option<Timestamp>) {
        let ahead = theirs.map(|theirs| now.wall.duration_since(theirs)).filter(|ahead| ahead.abs() >= CLOCKS_DIFFER);
        if ahead.is_some() != self.refresh_stats.clock_ahead().is_some() {
            report::clock(ahead);
        }
        self.refresh_stats.clock(ahead);
    }

    fn after_list_failure(&self, now: Moment, interval: Duration, random: f64) -> Timer {
        let known = (!self.order.is_empty()).then_some(interval);
        self.list.timer.after_list_failure(now, known, random)
    }

    /// Applies the upstream's list of roles. A list with lines that could not
    /// be read may add roles, but takes none away.
    fn adopt(&mut self, now: Moment, list: RoleList) {
        self.refresh_stats.list_accounts(list.accounts);
        let mut order = list.names;
        for name in &order {
            let role = self.nodes.entry(RoleId::named(name)).or_insert_with(|| {
                report::role_appeared(name);
                Tracked::new(now, None)
            });
            role.doubted = None;
        }
        let listed: HashSet<_> = order.iter().cloned().collect();
        let (mut kept, mut gone) = (Vec::new(), Vec::new());
        for name in self.order.drain(..).filter(|name| !listed.contains(name)) {
            if list.problems.is_empty() { gone.push(name) } else { kept.push(name) }
        }
        order.append(&mut kept);
        order.shrink_to_fit();
        self.order = order;
        for name in gone {
            self.withdraw(&name);
        }
        self.publish_order();
    }

    /// The upstream refuses the list. Is that its word, or its own trouble? What is held stays; with nothing to lose, it
    /// is taken at its word.
    fn doubt(&mut self, now: Moment) {
        for name in &self.order {
            if let Some(role) = self.nodes.get_mut(name.as_str()) {
                role.doubted.get_or_insert_with(|| Box::new(now));
            }
        }
        self.withdraw_overdue(now);
        self.publish_order();
    }

    /// Drops the roles that have been in doubt for too long, or have nothing more to lose. While the upstream is down after a
    /// refusal, they stay: what it says when it is back decides.
    pub(super) fn withdraw_overdue(&mut self, now: Moment) {
        if !self.list_refused {
            return;
        }
        // Idle roles have nothing to lose, and are no less there for that: the next list decides.
        let patience = self.lister.as_ref().filter(|lister| lister.on_request.is_some()).map(|lister| lister.interval);
        let has_waited = |role: &Tracked| {
            let waited = role.doubted.as_ref().map(|since| now.boot.since(since.boot)).unwrap_or_default();
            role.asked.failure.is_any() || waited >= patience.unwrap_or_default()
        };
        let overdue = |role: &Tracked| role.is_given_up(role.doubted.as_deref(), self.grace, now) && has_waited(role);
        let is_overdue = |name: &str| self.nodes.get(name).is_none_or(|role| overdue(role));
        let (gone, stay): (Vec<_>, Vec<_>) =
            mem::take(&mut self.order).into_iter().partition(|name| is_overdue(name.as_str()));
        self.order = stay;
        if gone.is_empty() {
            return;
        }
        for name in gone {
            self.withdraw(&name);
        }
        if self.order.is_empty() {
            // The next attempt was put off while there was something to serve.
            self.list.timer.nothing_is_held(now, self.random.f64());
        }
        self.publish_order();
    }

    /// Queues each listed role that is due; answers how long until the next one is. In the upstream's order: most programs
    /// take the first role.
    pub(super) fn start_listed(&mut self, now: Moment) -> Duration {
        let mut pause = self.tick;
        let on_request = self.lister.as_ref().and_then(|lister| lister.on_request.as_ref());
        let snapshot = on_request.map(|_| self.store.snapshot());
        for name in &self.order {
            let Some(role) = self.nodes.get_mut(name.as_str()) else { continue };
            if let Some((on_request, snapshot)) = on_request.zip(snapshot.as_ref()) {
                let shown = snapshot.role(name.as_str());
                if !on_request.is_in_use(name, shown.and_then(|role| role.asked()), now.boot) {
                    // What is valid is served to its end.
                    if !role.asked.in_flight && !role.is_alive(now) && shown.is_some_and(|role| !is_idle(&role.slot()))
                    {
                        let doubted = role.doubted.take();
                        *role = Tracked::new(now, None);
                        role.doubted = doubted;
                        self.refresh_stats.forget(name.as_str());
                        self.store.publish(name, Slot::Idle);
                    }
                    continue;
                }
                if shown.is_some_and(|role| is_idle(&role.slot())) {
                    self.store.publish(name, Slot::Warming);
                }
            }
            report::expiry(&Who::new(name.as_str(), None), role.held.as_deref(), now, &mut role.asked.failure);
            match role.asked.start_if_due(now) {
                Some(Duration::ZERO) => {
                    if let Some(call_limit) = self.queues.first_mut() {
                        call_limit.push(Due::Listed(name.clone()));
                    }
                }
                Some(remaining) => pause = pause.min(remaining),
                None => {}
            }
        }
        pause
    }

    /// Something outside has changed for the upstreams, such as who is signed in: asks again for the list, for all that is
    /// missing or could not be renewed, and for what they gave themselves, which may be another person's now.
    pub(super) fn look_again(&mut self, now: Moment) {
        if self.lister.is_some() && !self.list.in_flight {
            self.list.timer = Timer::due_now(now);
        }
        let personal = self.lister.as_ref().is_some_and(|lister| lister.on_request.is_some());
        for node in self.nodes.values_mut() {
            let theirs = node
                .plan
                .as_ref()
                .map_or(personal, |plan| plan.node.candidates.iter().any(|candidate| candidate.parent.is_none()));
            if theirs || node.asked.failure.is_any() || !node.is_alive(now) {
                node.hurry(now);
            }
        }
    }

    fn withdraw(&mut self, name: &RoleName) {
        report::role_withdrawn(name);
        self.nodes.remove(name.as_str());
        self.note_change();
        self.refresh_stats.forget(name.as_str());
        self.forget_due(&Due::Listed(name.clone()));
        self.withdraw_own(name);
    }

    /// The sets that users have for themselves go with the role that they are of. Whether they come back is asked at once.
    fn withdraw_own(&mut self, name: &RoleName) {
        let now = self.clock.now();
        let is_of_it = |wanted: &Wanted| wanted.of_role() == Some(name);
        for id in self.wanted.iter().filter(|(_, wanted)| is_of_it(wanted)).map(|(id, _)| id) {
            let Some(node) = self.nodes.get_mut(id) else { continue };
            node.held = None;
            node.hurry(now);
            let document = render_refusal(NO_SUCH_ROLE, "the upstream does not list this role any more", now.wall);
            self.store.publish(id, Slot::Denied(document.into()));
        }
    }

    /// Shows which roles there are, if that is not what is shown already.
    fn publish_order(&mut self) {
        let snapshot = self.store.snapshot();
        if !snapshot.answered() || !snapshot.roles().iter().map(|role| role.name()).eq(&self.order) {
            self.store.publish_roles(&self.order);
            drop(snapshot);
            self.note_change();
        }
    }
}

fn is_idle(slot: &Slot) -> bool {
    matches!(slot, Slot::Idle)
}
