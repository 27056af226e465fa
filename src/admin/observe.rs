//! Whether programs can be sent here.

use std::sync::atomic::Ordering;

use super::{Admin, reply::Reply};
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
}
