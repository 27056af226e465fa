//! What the admin socket answers. Pure: who asks, what, the store and a moment in, an answer out.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use zeroize::Zeroizing;

use super::{
    Peer,
    document::{Code, CredentialsDocument, ErrorDocument, Listener, RoleStatus, Status},
};
use crate::{
    clock::Moment,
    credentials::{format_timestamp, parse_document},
    store::{Condition, Published, Role, State, Store},
};

/// What is told, and about what.
pub struct Admin {
    /// The roles and their credentials.
    pub store: Arc<Store>,
    /// When the daemon started.
    pub started: Moment,
    /// Where it serves.
    pub listeners: Vec<Listener>,
    /// The daemon's own account, which sees everything, as root does.
    pub own_uid: u32,
    /// Whether whoever could connect sees everything (`admin_group`).
    pub restricted: bool,
}

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

impl Admin {
    /// Answers `peer` at the moment `now`.
    pub fn respond(&self, call: Call, peer: Peer, now: Moment) -> Outcome {
        let segments: Vec<&str> = call.path.split('/').skip(1).collect();
        match (segments.as_slice(), call.method) {
            (["v1", "status"], "GET") => Outcome::Reply(Reply::json(200, &self.status(peer, now))),
            (["v1", "credentials"] | ["v1", "credentials", ""], "GET") => self.credentials(None, peer, now.wall),
            (["v1", "credentials", name], "GET") => self.credentials(Some(name), peer, now.wall),
            (["v1", "status" | "credentials"] | ["v1", "credentials", _], _) => Outcome::Reply(Reply {
                allow: Some("GET"),
                ..Reply::error(Code::MethodNotAllowed, format!("{} is not possible here", call.method))
            }),
            _ => Outcome::error(Code::NoSuchPath, format!("there is nothing at {}", call.path)),
        }
    }

    /// Whether `peer` sees the state of all roles, whatever it may have.
    fn sees_everything(&self, peer: Peer) -> bool {
        self.restricted || peer.uid == 0 || peer.uid == self.own_uid
    }

    /// The roles that `peer` may have, its default first.
    fn roles_for(&self, _peer: Peer) -> Vec<Arc<Role>> {
        self.store.snapshot().roles().to_vec()
    }

    fn status(&self, peer: Peer, now: Moment) -> Status {
        let roles =
            if self.sees_everything(peer) { self.store.snapshot().roles().to_vec() } else { self.roles_for(peer) };
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: format_timestamp(self.started.wall),
            uptime_seconds: now.boot.saturating_sub(self.started.boot).as_secs(),
            answered: self.store.snapshot().answered(),
            listeners: self.listeners.clone(),
            roles: roles.iter().map(|role| role_status(role, now.wall)).collect(),
        }
    }

    /// The credentials of the role of that name, or of the caller's first.
    fn credentials(&self, name: Option<&str>, peer: Peer, now: Timestamp) -> Outcome {
        let not_answered = || Reply::error(Code::NotReady, "the upstream has not yet said which roles there are");
        let roles = self.roles_for(peer);
        let found = match name {
            Some(name) => roles.iter().find(|role| role.name().as_str() == name),
            None => roles.first(),
        };
        let Some(role) = found else {
            if !self.store.snapshot().answered() {
                return Outcome::Wait(not_answered());
            }
            return Outcome::error(
                Code::NoSuchRole,
                match name {
                    Some(name) => format!("there is no role {name} for user {}", peer.uid),
                    None => format!("there is no role for user {}", peer.uid),
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

fn role_status(role: &Role, now: Timestamp) -> RoleStatus {
    let state = role.state();
    let set = match &**state {
        State::Held { set, .. } => Some(set),
        _ => None,
    };
    // Shown as what it was before and will be after: a refresh is over in a moment.
    let condition = match state.condition(now) {
        Condition::Refreshing => Condition::Fresh,
        condition => condition,
    };
    RoleStatus {
        name: role.name().to_string(),
        state: condition.as_str().to_owned(),
        since: None,
        access_key_id: set.map(|set| set.access_key_id.to_string()),
        expiration: set.map(|set| format_timestamp(set.expiration)),
        seconds_left: set.map(|set| set.expiration.duration_since(now).as_secs()),
        source: None,
        last_error: None,
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
