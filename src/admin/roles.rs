//! Which roles a caller may have, and the one that its programs get by default. Pure but for the choice that it notes.

use std::{
    collections::HashSet,
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{
    PeerCredentials,
    document::{ChoiceDocument, ChoiceRequest, ChosenBy, Code, OwnSets, RoleStatus, RolesDocument},
    reply::{Call, Outcome, Reply},
    respond::Admin,
};
use crate::{
    clock::Moment,
    credentials::format_timestamp,
    faces::{Standing, VisibleRoles},
    policy::{Choice, Grant},
    store::{Published, Role, Snapshot},
    text,
};

/// How many seconds sessions last.
const LENGTHS: RangeInclusive<u64> = 900..=43_200;

impl Admin {
    /// What `caller` may have, whatever else it may see.
    pub(super) fn roles(&self, caller: &PeerCredentials, now: Moment) -> Outcome {
        let snapshot = self.store.snapshot();
        // Asked first: what is known by then is in the reply.
        let grant = self.grant(caller);
        let visible = VisibleRoles::new(&snapshot, &grant, now);
        // One's own sets of a role come before those that all have.
        let mut seen = HashSet::new();
        let roles = visible.roles().into_iter().filter(|role| seen.insert(role.name()));
        let document = RolesDocument {
            chosen: self.chosen(caller),
            own: self.own_sets(caller, &visible, now),
            roles: roles.map(|role| self.role_status(role, now)).collect(),
        };
        waiting_for(&visible, &grant, Reply::json(200, &document))
    }

    /// These, with the names of the sessions that pods have for themselves.
    pub(super) fn named_by_session<'a>(
        &self,
        roles: impl Iterator<Item = (&'a Arc<Role>, RoleStatus)>,
    ) -> Vec<RoleStatus> {
        let mut names = self.pod_sessions.names();
        roles.map(|(role, status)| RoleStatus { session_name: names.remove(&role.id()), ..status }).collect()
    }

    /// What the programs of `caller` get by default.
    pub(super) fn choice(&self, caller: &PeerCredentials, now: Moment) -> Outcome {
        let snapshot = self.store.snapshot();
        let grant = self.grant(caller);
        let visible = VisibleRoles::new(&snapshot, &grant, now);
        let role = visible.first().map(|role| self.role_status(role, now));
        let sign_in_needed = !self.sign_in_needed(false).is_empty();
        let document = ChoiceDocument { chosen: self.chosen(caller), role, sign_in_needed };
        waiting_for(&visible, &grant, Reply::json(200, &document))
    }

    /// Has the programs of `caller` get another role by default, if it has valid credentials: otherwise the one that they
    /// have now is better.
    pub(super) fn choose(&self, call: Call, caller: &PeerCredentials, now: Moment) -> Outcome {
        let wanted = match serde_json::from_slice(call.body) {
            Ok(ChoiceRequest::Role(name)) => Some((name, None)),
            Ok(ChoiceRequest::Timed { role, seconds }) if LENGTHS.contains(&seconds) => {
                Some((role, Some(Duration::from_secs(seconds))))
            }
            Ok(ChoiceRequest::Timed { .. }) => {
                return Outcome::error(Code::BadRequest, "sets live from 900 to 43200 seconds");
            }
            Ok(ChoiceRequest::Default) => None,
            Ok(ChoiceRequest::Back) => match self.selections.before(caller.uid) {
                Some(before) => before,
                None => return Outcome::error(Code::BadRequest, "you have not chosen a role before"),
            },
            Err(_) => {
                return Outcome::error(
                    Code::BadRequest,
                    "the body is {\"role\": \"ROLE\"}, {\"timed\": {\"role\": \"ROLE\", \"seconds\": 3600}}, \"back\" or \
                     \"default\", as JSON",
                );
            }
        };
        let (choice, length) = match wanted {
            None => (None, None),
            Some((name, length)) => match self.chooseable(&name, length, call.begun, caller, now) {
                Ok(choice) => (Some(choice), length),
                Err(outcome) => return self.noted(outcome, &format!("{} {name}", call.path), caller, now),
            },
        };
        match self.selections.choose(caller.uid, choice.as_ref(), length) {
            // A choice that was made is not made again to wait for what it shows.
            Ok(()) => match self.choice(caller, now) {
                Outcome::Wait(reply) => Outcome::Reply(reply),
                reply @ Outcome::Reply(_) => reply,
            },
            Err(error) => Outcome::error(Code::Busy, error.to_string()),
        }
    }

    /// The role of that name, if it can be the choice of `caller`, with sets of its own if they are to live so long.
    fn chooseable(
        &self,
        name: &str,
        length: Option<Duration>,
        begun: &AtomicBool,
        caller: &PeerCredentials,
        now: Moment,
    ) -> Result<Choice, Outcome> {
        let role = self.shared(self.find(Some(name), caller, now)?, caller)?;
        let Some(length) = length else {
            valid(&role, now)?;
            return Ok(Choice { role: role.name().clone(), own: None });
        };
        let again = begun.swap(true, Ordering::Relaxed);
        let id = self.selections.want(caller.uid, (role.name(), length), again, now.boot);
        let id = id.map_err(|error| Outcome::error(Code::Busy, error.to_string()))?;
        let own = self.store.snapshot().by_id(&id).cloned();
        let own = own.ok_or_else(|| Outcome::error(Code::NotReady, "the daemon is about to stop"))?;
        let life = text::time(length.as_secs());
        if let Standing::Refused(document) = Standing::of(&own.slot(), now) {
            self.selections.give_up(caller.uid, &id);
            let message = format!("role {name} cannot have sets that live for {life}{}", reason(document));
            return Err(Outcome::error(Code::Refused, message));
        }
        match valid(&own, now) {
            Ok(_) => Ok(Choice { role: role.name().clone(), own: Some(id) }),
            Err(Outcome::Wait(_)) => {
                let failure = self.refresh_stats.entry(id.as_str()).failure;
                let why = failure.map_or_else(|| "nothing has been fetched yet".into(), |failure| failure.message);
                Err(Outcome::Wait(Reply::error(Code::NotReady, format!("role {name} for {life}: {why}"))))
            }
            Err(other) => Err(other),
        }
    }

    /// The role that all share, in whose place the caller may have found its own sets.
    pub(super) fn shared(&self, found: Arc<Role>, caller: &PeerCredentials) -> Result<Arc<Role>, Outcome> {
        let is_own = !found.listed() && self.selections.is_own(caller.uid, &found.id());
        let listed = if is_own { self.store.snapshot().role(found.name().as_str()).cloned() } else { Some(found) };
        listed
            .filter(|role| role.listed())
            .ok_or_else(|| Outcome::error(Code::Forbidden, "the role of a container is only for that container"))
    }

    /// The caller's own sets of the role that it has chosen, and whether it sees them.
    fn own_sets(&self, caller: &PeerCredentials, visible: &VisibleRoles<'_>, now: Moment) -> Option<OwnSets> {
        let (id, seconds) = self.selections.own(caller.uid)?;
        let served = visible.first().is_some_and(|role| role.id() == id);
        let own = self.store.snapshot().by_id(&id).cloned();
        let refused = own.and_then(|own| match Standing::of(&own.slot(), now) {
            Standing::Refused(document) => Some(said(document, "Message")),
            _ => None,
        });
        let failed = || self.refresh_stats.entry(id.as_str()).failure.map(|failure| failure.message.to_string());
        Some(OwnSets { seconds, served, problem: refused.or_else(failed) })
    }

    /// All roles but sets that users have for themselves of a role that is not there.
    pub(super) fn all_roles<'a>(&'a self, snapshot: &'a Snapshot) -> impl Iterator<Item = &'a Arc<Role>> {
        let is_there =
            |role: &&Arc<Role>| snapshot.role(role.name().as_str()).is_some() || self.chosen_by(role).is_none();
        snapshot.roles().iter().chain(snapshot.unlisted().iter().filter(is_there))
    }

    pub(super) fn chosen_by(&self, role: &Role) -> Option<ChosenBy> {
        let (uid, length) = Some(role.id()).filter(|_| !role.listed()).and_then(|id| self.selections.length(&id))?;
        Some(ChosenBy { uid, seconds: length.as_secs() })
    }

    fn chosen(&self, caller: &PeerCredentials) -> Option<String> {
        self.selections.chosen(caller.uid).map(|role| role.to_string())
    }
}

/// The reply, at once if it cannot become another in a moment.
fn waiting_for(visible: &VisibleRoles<'_>, grant: &Grant, reply: Reply) -> Outcome {
    if visible.settled() || *grant == Grant::Unknown { Outcome::Reply(reply) } else { Outcome::Wait(reply) }
}

/// The valid set of a role, which a caller asks for.
pub(super) fn valid(role: &Role, now: Moment) -> Result<Arc<Published>, Outcome> {
    let name = role.name();
    role.ask(now.boot);
    let error = match Standing::of(&role.slot(), now) {
        Standing::Valid(set) => return Ok(Arc::clone(set)),
        Standing::Expired(set) => Outcome::Wait(Reply::error(
            Code::Expired,
            format!(
                "role {name}: {} expired at {} and nothing newer could be fetched",
                set.access_key_id,
                format_timestamp(set.expiration)
            ),
        )),
        Standing::Warming => {
            Outcome::Wait(Reply::error(Code::NotReady, format!("role {name}: nothing has been fetched yet")))
        }
        Standing::Refused(document) => {
            Outcome::error(Code::Refused, format!("role {name}: the upstream refuses it{}", reason(document)))
        }
    };
    Err(error)
}

/// What the upstream's refusal says.
fn reason(document: &[u8]) -> String {
    format!(" ({}: {})", said(document, "Code"), said(document, "Message"))
}

/// One text of such a document.
fn said(document: &[u8], key: &str) -> String {
    let value: serde_json::Value = serde_json::from_slice(document).unwrap_or_default();
    value.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
}
