//! AWS STS for tests and demonstrations: it verifies each signature and enforces what AWS enforces: names, durations,
//! chaining, tags, trust, quota. It issues random credentials that AWS does not know, but its own stand-in for the console does.
//!
//! Facts: the STS API reference and IAM User Guide; what AWS does not document is said where it is guessed.

mod chunks;
mod federation;
mod limits;
pub mod refusal;
mod respond;
mod server;
pub mod sigv4;

use alppaca_core::{clock, text};

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::task::AbortHandle;

use clock::SharedClock;
pub use server::serve;

/// What the mock knows and does.
#[derive(Debug, Clone, Default)]
pub struct Script {
    /// The long-term keys of users, by key id.
    pub users: Vec<User>,
    /// The roles that there are.
    pub roles: Vec<Role>,
    /// How many calls each region takes in a second; no limit without it. AWS: 600.
    pub quota: Option<u32>,
    /// Regions that answer 503; `*` is all.
    pub down: Vec<String>,
    /// How long each answer is held back.
    pub latency: Duration,
}

/// A user with a long-term key.
#[derive(Debug, Clone)]
pub struct User {
    /// `arn:aws:iam::111111111111:user/ims`
    pub arn: String,
    /// `AKIA…`
    pub access_key_id: String,
    /// The secret half.
    pub secret_access_key: String,
}

/// A role, with its trust policy.
#[derive(Debug, Clone)]
pub struct Role {
    /// `arn:aws:iam::222222222222:role/web`
    pub arn: String,
    /// The users, and the roles whose sessions, that may assume it, by ARN.
    pub trusts: Vec<String>,
    /// The longest session.
    pub max_session: Duration,
    /// Whether the trust policy allows `sts:TagSession`.
    pub tag_session: bool,
    /// Whether the trust policy allows `sts:SetSourceIdentity`.
    pub set_source_identity: bool,
    /// The external id that it requires.
    pub external_id: Option<String>,
}

impl Role {
    /// A role that `trusted` may assume for an hour at most, with tags and a source identity.
    pub fn new(arn: impl Into<String>, trusted: impl Into<String>) -> Self {
        Self {
            arn: arn.into(),
            trusts: vec![trusted.into()],
            max_session: Duration::from_hours(1),
            tag_session: true,
            set_source_identity: true,
            external_id: None,
        }
    }
}

/// A call that came with a good signature.
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// The parameters of the form.
    pub form: HashMap<String, String>,
    /// The key that signed it.
    pub key: String,
    /// The region it was signed for.
    pub region: String,
    /// The id of the request, as answered.
    pub request_id: String,
    /// AWS's word for the refusal; nothing if it was answered.
    pub refused: Option<&'static str>,
}

impl Call {
    /// A parameter; empty if it is not there.
    pub fn get(&self, key: &str) -> &str {
        self.form.get(key).map_or("", String::as_str)
    }
}

/// Credentials that were issued.
#[derive(Debug, Clone)]
struct Session {
    secret: String,
    token: String,
    expires: Timestamp,
    /// The role, and the name of the session.
    role_arn: String,
    name: String,
    source_identity: Option<String>,
    /// Tags that are handed on.
    transitive: Vec<(String, String)>,
    /// Whether it was made with the session of another role.
    is_chained: bool,
}

#[derive(Debug, Default)]
struct State {
    script: Script,
    sessions: HashMap<String, Session>,
    /// The session that each sign-in token is for, and when that ends.
    sign_ins: HashMap<String, (String, Timestamp)>,
    calls: Vec<Call>,
    /// The second that is counted, and its calls, by region.
    counted: HashMap<String, (i64, u32)>,
}

struct Shared {
    state: Mutex<State>,
    clock: SharedClock,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that could panic is done while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running mock, which stops when this is dropped.
pub struct Handle {
    shared: Arc<Shared>,
    address: SocketAddr,
    task: AbortHandle,
}

impl Handle {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The endpoint.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// AWS's federation endpoint, where a session signs in to the console.
    pub fn federation_url(&self) -> String {
        format!("{}{}", self.url(), federation::PATH)
    }

    /// Changes what it does.
    pub fn change(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.shared.state().script);
    }

    /// The calls so far that had a good signature.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.state().calls.clone()
    }

    /// The ARN of the user or session to which an access key belongs; empty if it is of nobody.
    pub fn principal(&self, access_key_id: &str) -> String {
        respond::principal(&self.shared.state(), access_key_id).0
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.task.abort();
    }
}
