//! The upstream's list of roles, and what follows from it.

use std::{collections::HashSet, mem, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::{
    Refresher, Timer,
    node::Tracked,
    report,
    task::{Due, answers::ending},
};
use crate::{
    ErrorKind, RoleList, SourceError,
    clock::Moment,
    credentials::{RoleId, RoleName},
    refresh_stats::Question,
};

/// Less than this between two clocks is not worth a word: the `Date` has whole seconds, and answers take a while.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_mins(1);

impl Refresher {
    pub(super) fn take_roles(&mut self, answer: Result<RoleList, SourceError>) {
        let now = self.clock.now();
        let random = self.random.f64();
        let Some(interval) = self.lister.as_ref().map(|lister| lister.interval) else { return };
        self.list.in_flight = false;
        self.refresh_stats.count(Question::Roles, ending(&answer));
        match answer {
            Ok(list) => {
                self.list.timer = Timer::after_list(now, interval, list.max_age, random);
                report::list_answered(&list, &mut self.list.failure);
                self.compare_clocks(now, list.date);
                self.refresh_stats.list_answered(now.wall, &self.listed);
                self.adopt(now, list);
            }
            Err(error) => {
                report::list_failed(&error, &mut self.list.failure);
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
                            self.after_list_failure(now, interval, random).told(now, error.again, None, random);
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

    /// Drops the roles that have been in doubt for too long, or have nothing more to lose.
    pub(super) fn withdraw_overdue(&mut self, now: Moment) {
        let overdue = |role: &Tracked| role.is_given_up(role.doubted.as_deref(), self.grace, now);
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

    fn withdraw(&mut self, name: &RoleName) {
        report::role_withdrawn(name);
        self.nodes.remove(name.as_str());
        self.note_change();
        self.refresh_stats.forget(name.as_str());
        self.forget_due(&Due::Listed(name.clone()));
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
