//! The one fixed answer for each state of a role. The faces have only the words for it.

use std::sync::Arc;

use crate::{
    clock::Moment,
    http::{Answer, Denial, Handed, Outcome},
    store::{Published, Role, State},
};

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
    match &**role.state() {
        State::Warming => Outcome::Warming,
        State::Denied(document) => Outcome::Answer(refuse(document).denied(Denial::Refused)),
        State::Held { set, .. } if set.is_valid(now) || serve_expired => {
            let handed = Some(Handed { role: role.id(), set: Arc::clone(set) });
            Outcome::Answer(Answer { handed, ..give(set) })
        }
        // A 200 would make SDKs hold on to the dead set long after the upstream is back.
        State::Held { .. } => Outcome::Expired(expired()),
    }
}
