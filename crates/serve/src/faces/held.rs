//! The one fixed answer for each state of a role. The faces have only the words for it.

use std::sync::Arc;

use crate::{
    clock::Moment,
    http::{Answer, Denial, Issued, Outcome},
    store::{Published, Role, Slot},
};

/// What there is of a role at a moment.
pub enum Standing<'a> {
    /// Nothing yet, or not until a caller asks.
    Warming,
    /// The upstream's refusal.
    Refused(&'a Arc<[u8]>),
    /// A set that is valid.
    Valid(&'a Arc<Published>),
    /// One that has ended.
    Expired(&'a Arc<Published>),
}

impl<'a> Standing<'a> {
    /// That of a role in `state`.
    pub fn of(state: &'a Slot, now: Moment) -> Self {
        match state {
            Slot::Idle | Slot::Warming => Self::Warming,
            Slot::Denied(document) => Self::Refused(document),
            Slot::Held { set, .. } if set.is_valid(now) => Self::Valid(set),
            Slot::Held { set, .. } => Self::Expired(set),
        }
    }
}

/// What to say about a role at the moment `now`: `give` hands out its credentials, `refuse` passes on the upstream's
/// refusal, `expired` is for credentials that have ended, unless `serve_expired`.
pub(super) fn held(
    role: &Role,
    now: Moment,
    serve_expired: bool,
    give: impl FnOnce(&Arc<Published>) -> Answer,
    refuse: impl FnOnce(&Arc<[u8]>) -> Answer,
    expired: impl FnOnce() -> Answer,
) -> Outcome {
    let hand_out = |set: &Arc<Published>| {
        let issued = Some(Issued { role: role.id(), set: Arc::clone(set) });
        Outcome::Answer(Answer { issued, ..give(set) })
    };
    role.ask(now.boot);
    match Standing::of(&role.slot(), now) {
        Standing::Warming => Outcome::Warming,
        Standing::Refused(document) => Outcome::Answer(refuse(document).denied(Denial::Refused)),
        Standing::Valid(set) => hand_out(set),
        Standing::Expired(set) if serve_expired => hand_out(set),
        // A 200 would make SDKs hold on to the dead set long after the upstream is back.
        Standing::Expired(_) => Outcome::Expired(expired()),
    }
}
