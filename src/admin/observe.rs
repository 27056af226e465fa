//! What monitoring asks for: readiness and metrics.

use std::sync::atomic::Ordering;

use zeroize::Zeroizing;

use super::{
    Admin,
    metrics::{self, Beside},
    reply::Reply,
};
use crate::{clock::Moment, store::Slot};

impl Admin {
    /// Whether programs can be sent here: the daemon listens everywhere, has waited for its first credentials, and has valid
    /// ones, if it has roles.
    pub(super) fn readiness(&self, now: Moment) -> Reply {
        if !self.ready.load(Ordering::Relaxed) {
            return Reply::text(503, "starting");
        }
        let snapshot = self.store.snapshot();
        let mut roles = snapshot.roles().iter();
        if roles.all(|role| matches!(**role.slot(), Slot::Idle)) || self.store.has_valid_set(now) {
            Reply::text(200, "ok")
        } else if self.sign_in_needed(false).is_empty() {
            Reply::text(503, "no role has valid credentials")
        } else {
            Reply::text(503, "no role has valid credentials: sign-in needed")
        }
    }

    /// The metrics.
    pub fn metrics(&self, now: Moment) -> Reply {
        let (snapshot, reports) = (self.store.snapshot(), self.sign_ins.reports());
        let beside = Beside { audit: self.auditor.health(), sign_ins: &reports, sandbox: self.sandbox.as_ref() };
        let started = self.started.wall;
        let text = metrics::render(&snapshot, &self.refresh_stats, &self.counters, &beside, started, now);
        let body = Zeroizing::new(text.into_bytes());
        Reply { status: 200, content_type: metrics::CONTENT_TYPE, allow: None, upgrade: None, body }
    }
}
