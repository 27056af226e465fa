//! What the admin socket answers. Pure: who asks, what, the store and a moment in, an answer out.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use serde::Serialize;
use zeroize::Zeroizing;

use super::{
    ADMIN_LISTENER, Caller,
    document::{Code, CredentialsDocument, ErrorDocument, LastError, Listener, RoleStatus, Status},
    metrics::{self, shown},
};
use crate::{
    clock::Moment,
    credentials::{RoleId, format_timestamp, parse_document},
    journal::Journal,
    policy::{ConnectionFacts, Gatekeeper, Grant},
    serve::{Counters, View},
    store::{Condition, Published, Role, State, Store},
};

/// What is told, and about what.
pub struct Admin {
    /// The roles and their credentials.
    pub store: Arc<Store>,
    /// Where they came from, and what failed.
    pub journal: Arc<Journal>,
    /// How often was answered what.
    pub counters: Arc<Counters>,
    /// Who may have what.
    pub gatekeeper: Arc<dyn Gatekeeper>,
    /// When the daemon started.
    pub started: Moment,
    /// Where it serves.
    pub listeners: Vec<Listener>,
    /// The daemon's own account, which sees everything, as root does.
    pub own_uid: u32,
    /// Whether whoever could connect sees everything (`admin_group`).
    pub restricted: bool,
    /// Since when each role is in its state.
    pub since: Since,
}

/// Since when each role is in its state, as seen by looking again and again.
#[derive(Debug, Default)]
pub struct Since(Mutex<HashMap<RoleId, (Condition, Timestamp)>>);

/// A request.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// `GET`, …
    pub method: &'a str,
    /// Without the query.
    pub path: &'a str,
}

/// What a request leads to.
#[derive(Debug)]
pub enum Outcome {
    /// This answer.
    Reply(Reply),
    /// Something is still being fetched: ask again when the store has changed, or else answer this.
    Wait(Reply),
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// `Allow`.
    pub allow: Option<&'static str>,
    /// The body, which may be secret.
    pub body: Zeroizing<Vec<u8>>,
}

impl Reply {
    fn json(status: u16, document: &impl Serialize) -> Self {
        // Large enough for any document of one role: a buffer that grows leaves unwiped copies behind.
        let mut body = Zeroizing::new(Vec::with_capacity(16 * 1024));
        // Writing to a Vec cannot fail, and the documents have text keys only.
        let _infallible = serde_json::to_writer(&mut *body, document);
        body.push(b'\n');
        Self { status, content_type: "application/json", allow: None, body }
    }

    /// An error.
    pub fn error(code: Code, message: impl Into<String>) -> Self {
        Self::json(code.status(), &ErrorDocument { code, message: message.into() })
    }
}

impl Outcome {
    fn error(code: Code, message: impl Into<String>) -> Self {
        Self::Reply(Reply::error(code, message))
    }
}

impl Since {
    /// Looks at all roles. One whose set has expired is in that state since then; other changes are new.
    pub(super) fn look(&self, store: &Store, now: Timestamp) {
        let snapshot = store.snapshot();
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::take(&mut *seen);
        for role in snapshot.roles().iter().chain(snapshot.unlisted()) {
            let (id, state) = (role.id(), role.state());
            let condition = shown(state.condition(now));
            let since = match (old.get(&id), &**state) {
                (Some((before, since)), _) if *before == condition => *since,
                (_, State::Held { set, .. }) if condition == Condition::Expired => set.expiration,
                _ => now,
            };
            seen.insert(id, (condition, since));
        }
    }

    fn of(&self, role: &Role, condition: Condition) -> Option<Timestamp> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&role.id()).filter(|(seen, _)| *seen == condition).map(|(_, since)| *since)
    }
}

impl Admin {
    /// Answers `caller` at the moment `now`.
    pub fn respond(&self, call: Call, caller: &Caller, now: Moment) -> Outcome {
        let segments: Vec<&str> = call.path.split('/').skip(1).collect();
        match (segments.as_slice(), call.method) {
            (["v1", "status"], "GET") => Outcome::Reply(Reply::json(200, &self.status(caller, now))),
            (["v1", "credentials"] | ["v1", "credentials", ""], "GET") => self.credentials(None, caller, now.wall),
            (["v1", "credentials", name], "GET") => self.credentials(Some(name), caller, now.wall),
            (["metrics"], "GET") if self.sees_everything(caller) => Outcome::Reply(self.metrics(now.wall)),
            (["metrics"], "GET") => Outcome::error(
                Code::Forbidden,
                "the metrics are for root, the daemon's own account and the members of `admin_group`",
            ),
            (["v1", "status" | "credentials"] | ["v1", "credentials", _] | ["metrics"], _) => Outcome::Reply(Reply {
                allow: Some("GET"),
                ..Reply::error(Code::MethodNotAllowed, format!("{} is not possible here", call.method))
            }),
            _ => Outcome::error(Code::NoSuchPath, format!("there is nothing at {}", call.path)),
        }
    }

    /// The metrics.
    pub fn metrics(&self, now: Timestamp) -> Reply {
        let text = metrics::render(&self.store.snapshot(), &self.journal, &self.counters, self.started.wall, now);
        Reply { status: 200, content_type: metrics::CONTENT_TYPE, allow: None, body: Zeroizing::new(text.into_bytes()) }
    }

    /// Whether `caller` sees the state of all roles, whatever it may have.
    fn sees_everything(&self, caller: &Caller) -> bool {
        self.restricted || caller.uid == 0 || caller.uid == self.own_uid
    }

    /// What `caller` may have: the same as through IMDS.
    fn grant(&self, caller: &Caller) -> Grant {
        self.gatekeeper.admit(ConnectionFacts { listener: ADMIN_LISTENER, peer: &caller.peer }).grant
    }

    fn status(&self, caller: &Caller, now: Moment) -> Status {
        let snapshot = self.store.snapshot();
        let grant = self.grant(caller);
        let roles: Vec<&Arc<Role>> = if self.sees_everything(caller) {
            snapshot.roles().iter().chain(snapshot.unlisted()).collect()
        } else {
            View::new(&snapshot, &grant).roles()
        };
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: format_timestamp(self.started.wall),
            uptime_seconds: now.boot.saturating_sub(self.started.boot).as_secs(),
            answered: snapshot.answered(),
            listeners: self.listeners.clone(),
            roles: roles.into_iter().map(|role| self.role_status(role, now.wall)).collect(),
        }
    }

    fn role_status(&self, role: &Role, now: Timestamp) -> RoleStatus {
        let state = role.state();
        let set = match &**state {
            State::Held { set, .. } => Some(set),
            _ => None,
        };
        let condition = shown(state.condition(now));
        let entry = self.journal.entry(role.id().as_str());
        RoleStatus {
            name: role.name().to_string(),
            on_demand: !role.listed(),
            state: condition.as_str().to_owned(),
            since: self.since.of(role, condition).map(format_timestamp),
            access_key_id: set.map(|set| set.access_key_id.to_string()),
            expiration: set.map(|set| format_timestamp(set.expiration)),
            seconds_left: set.map(|set| set.expiration.duration_since(now).as_secs()),
            source: entry.source.map(|source| source.to_string()),
            last_error: entry
                .failure
                .map(|failure| LastError { at: format_timestamp(failure.at), message: failure.message.to_string() }),
        }
    }

    /// The credentials of the role of that name, or of the caller's first.
    fn credentials(&self, name: Option<&str>, caller: &Caller, now: Timestamp) -> Outcome {
        let grant = self.grant(caller);
        let snapshot = self.store.snapshot();
        let view = View::new(&snapshot, &grant);
        let found = match name {
            Some(name) => view.role(name),
            None => view.first(),
        };
        let Some(role) = found else {
            if !view.settled() {
                let what = match grant {
                    Grant::Pending => "it is not yet known who you are",
                    _ => "the upstream has not yet said which roles there are",
                };
                return Outcome::Wait(Reply::error(Code::NotReady, what));
            }
            let uid = caller.uid;
            return Outcome::error(
                Code::NoSuchRole,
                match name {
                    Some(name) => format!("there is no role {name} for user {uid}"),
                    None => format!("there is no role for user {uid}"),
                },
            );
        };
        let name = role.name();
        let state = role.state();
        match &**state {
            State::Held { set, .. } if set.expiration > now => match credentials_document(name.as_str(), set) {
                Some(document) => Outcome::Reply(Reply::json(200, &document)),
                None => Outcome::error(Code::Unknown, format!("role {name}: the held document cannot be read")),
            },
            State::Held { set, .. } => Outcome::Wait(Reply::error(
                Code::Expired,
                format!(
                    "role {name}: {} expired at {} and nothing newer could be fetched",
                    set.access_key_id,
                    format_timestamp(set.expiration)
                ),
            )),
            State::Warming => {
                Outcome::Wait(Reply::error(Code::NotReady, format!("role {name}: nothing has been fetched yet")))
            }
            State::Denied(document) => {
                Outcome::error(Code::Refused, format!("role {name}: the upstream refuses it{}", reason(document)))
            }
        }
    }
}

fn credentials_document(role: &str, set: &Published) -> Option<CredentialsDocument> {
    let credentials = parse_document(set.document().expose()).ok()?;
    Some(CredentialsDocument {
        version: 1,
        role: Some(role.to_owned()),
        secret_access_key: credentials.secret_access_key,
        session_token: credentials.session_token,
        access_key_id: credentials.access_key_id,
        expiration: format_timestamp(set.expiration),
        account_id: credentials.account_id.map(Into::into),
        region: None,
    })
}

/// What the upstream's refusal says.
fn reason(document: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(document).unwrap_or_default();
    let part = |key: &str| value.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
    format!(" ({}: {})", part("Code"), part("Message"))
}
