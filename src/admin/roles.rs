//! Which roles a caller may have, and the one that its programs get by default. Pure but for the choice that it notes.

use super::{
    PeerCredentials,
    document::{ChoiceDocument, ChoiceRequest, Code, RolesDocument},
    reply::{Outcome, Reply},
    respond::Admin,
};
use crate::{clock::Moment, faces::VisibleRoles, policy::Grant};

impl Admin {
    /// What `caller` may have, whatever else it may see.
    pub(super) fn roles(&self, caller: &PeerCredentials, now: Moment) -> Outcome {
        let snapshot = self.store.snapshot();
        // Asked first: what is known by then is in the reply.
        let grant = self.grant(caller);
        let visible = VisibleRoles::new(&snapshot, &grant);
        let document = RolesDocument {
            chosen: self.chosen(caller),
            roles: visible.roles().into_iter().map(|role| self.role_status(role, now)).collect(),
        };
        waiting_for(&visible, &grant, Reply::json(200, &document))
    }

    /// What the programs of `caller` get by default.
    pub(super) fn choice(&self, caller: &PeerCredentials, now: Moment) -> Outcome {
        let snapshot = self.store.snapshot();
        let grant = self.grant(caller);
        let visible = VisibleRoles::new(&snapshot, &grant);
        let role = visible.first().map(|role| self.role_status(role, now));
        let sign_in_needed = !self.sign_in_needed(false).is_empty();
        let document = ChoiceDocument { chosen: self.chosen(caller), role, sign_in_needed };
        waiting_for(&visible, &grant, Reply::json(200, &document))
    }

    /// Has the programs of `caller` get another role by default, if it has valid credentials: otherwise the one that they
    /// have now is better.
    pub(super) fn choose(&self, body: &[u8], path: &str, caller: &PeerCredentials, now: Moment) -> Outcome {
        let wanted = match serde_json::from_slice(body) {
            Ok(ChoiceRequest::Role(name)) => Some(name),
            Ok(ChoiceRequest::Default) => None,
            Ok(ChoiceRequest::Back) => match self.selections.before(caller.uid) {
                Some(before) => before,
                None => return Outcome::error(Code::BadRequest, "you have not chosen a role before"),
            },
            Err(_) => {
                return Outcome::error(
                    Code::BadRequest,
                    "the body is {\"role\": \"ROLE\"}, \"back\" or \"default\", as JSON",
                );
            }
        };
        let role = match &wanted {
            None => None,
            Some(name) => match self.held(Some(name), caller, now) {
                Ok((role, _)) => Some(role),
                Err(outcome) => return self.noted(outcome, &format!("{path} {name}"), caller, now),
            },
        };
        if role.as_ref().is_some_and(|role| !role.listed()) {
            return Outcome::error(Code::Forbidden, "the role of a container is only for that container");
        }
        match self.selections.choose(caller.uid, role.as_ref().map(|role| role.name())) {
            // A choice that was made is not made again to wait for what it shows.
            Ok(()) => match self.choice(caller, now) {
                Outcome::Wait(reply) => Outcome::Reply(reply),
                reply @ Outcome::Reply(_) => reply,
            },
            Err(error) => Outcome::error(Code::Busy, error.to_string()),
        }
    }

    fn chosen(&self, caller: &PeerCredentials) -> Option<String> {
        self.selections.chosen(caller.uid).map(|role| role.to_string())
    }
}

/// The reply, at once if it cannot become another in a moment.
fn waiting_for(visible: &VisibleRoles<'_>, grant: &Grant, reply: Reply) -> Outcome {
    if visible.settled() || *grant == Grant::Unknown { Outcome::Reply(reply) } else { Outcome::Wait(reply) }
}
