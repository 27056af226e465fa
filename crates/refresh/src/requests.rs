//! Roles that are made on demand: the caller describes the role, and holds it for as long as it is needed.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};

use super::{Handover, Node, Replacement, Replacer};
use crate::{
    credentials::{RoleArn, RoleId, RoleName},
    store::Store,
    text,
};

/// A role that is assumed on demand. Two are the same role only if all fields are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnDemand {
    /// The name for clients.
    pub name: RoleName,
    /// The ARN of the role.
    pub role_arn: RoleArn,
    /// The configured source or role whose credentials assume it; by default the first that there is.
    pub source: Option<String>,
    /// The source that says how `AssumeRole` is called.
    pub via: Option<String>,
    /// As in `AssumeRole`.
    pub external_id: Option<String>,
    /// A template, such as `{host}-{role}`.
    pub session_name: Option<String>,
    /// How long a session shall last.
    pub duration: Option<Duration>,
    /// A session policy, JSON.
    pub policy: Option<String>,
    /// ARNs of session policies.
    pub policy_arns: Vec<String>,
    /// Session tags.
    pub tags: Vec<(String, String)>,
    /// As in `AssumeRole`.
    pub source_identity: Option<String>,
}

impl OnDemand {
    /// The role with that ARN, and nothing special about it.
    pub fn new(name: RoleName, role_arn: RoleArn) -> Self {
        Self {
            name,
            role_arn,
            source: None,
            via: None,
            external_id: None,
            session_name: None,
            duration: None,
            policy: None,
            policy_arns: Vec::new(),
            tags: Vec::new(),
            source_identity: None,
        }
    }

    /// Its id: a text that contains all fields.
    pub fn id(&self) -> RoleId {
        let duration = self.duration.map(|duration| duration.as_millis().to_string());
        let optional = [
            ("source", self.source.as_deref()),
            ("via", self.via.as_deref()),
            ("external_id", self.external_id.as_deref()),
            ("session_name", self.session_name.as_deref()),
            ("duration", duration.as_deref()),
            ("policy", self.policy.as_deref()),
            ("source_identity", self.source_identity.as_deref()),
        ];
        let mut inputs = vec![("name", self.name.as_str()), ("role_arn", self.role_arn.as_str())];
        inputs.extend(optional.into_iter().filter_map(|(key, value)| Some((key, value?))));
        inputs.extend(self.policy_arns.iter().map(|arn| ("policy_arn", &**arn)));
        inputs.extend(self.tags.iter().flat_map(|(key, value)| [("tag", &**key), ("value", &**value)]));
        RoleId::from_inputs("on demand", &inputs)
    }
}

/// A role of the configuration whose sets a user wants to live for another time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timed {
    /// The role.
    pub role: RoleName,
    /// The user.
    pub uid: u32,
    /// How long a session shall last.
    pub duration: Duration,
}

impl Timed {
    /// Its id: each user has sets of its own, so that they are new when they are chosen.
    pub fn id(&self) -> RoleId {
        let (uid, seconds) = (self.uid.to_string(), self.duration.as_secs().to_string());
        RoleId::from_inputs("timed", &[("role", self.role.as_str()), ("uid", &uid), ("seconds", &seconds)])
    }
}

/// A role of the configuration of which a client has a session of its own, which shows whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagged {
    /// The role.
    pub role: RoleName,
    /// The name of the session, legal for STS.
    pub session_name: String,
    /// Its tags, beside those of the role.
    pub tags: Vec<(String, String)>,
    /// Whether they are handed on along a chain.
    pub transitive: bool,
}

impl Tagged {
    /// Its id: a text that contains all fields.
    pub fn id(&self) -> RoleId {
        let transitive = self.transitive.to_string();
        let mut inputs =
            vec![("role", self.role.as_str()), ("session", &*self.session_name), ("transitive", &transitive)];
        inputs.extend(self.tags.iter().flat_map(|(key, value)| [("tag", &**key), ("value", &**value)]));
        RoleId::from_inputs("tagged", &inputs)
    }
}

/// What is made on demand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// A role that is assumed.
    Assumed(Box<OnDemand>),
    /// One of the configuration, with another length.
    Timed(Timed),
    /// One of the configuration, in a session for one client.
    Tagged(Box<Tagged>),
}

impl Wanted {
    fn id(&self) -> RoleId {
        match self {
            Self::Assumed(wanted) => wanted.id(),
            Self::Timed(wanted) => wanted.id(),
            Self::Tagged(wanted) => wanted.id(),
        }
    }

    /// The role of the configuration, or of the lister, that it is of.
    pub(super) fn of_role(&self) -> Option<&RoleName> {
        match self {
            Self::Assumed(_) => None,
            Self::Timed(Timed { role, .. }) => Some(role),
            Self::Tagged(wanted) => Some(&wanted.role),
        }
    }

    /// The name for clients.
    pub fn name(&self) -> &RoleName {
        match self {
            Self::Assumed(wanted) => &wanted.name,
            Self::Timed(wanted) => &wanted.role,
            Self::Tagged(wanted) => &wanted.role,
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Assumed(wanted) => write!(f, "as {}", wanted.role_arn),
            Self::Timed(wanted) => write!(f, "for {} at a time", text::time(wanted.duration.as_secs())),
            Self::Tagged(wanted) => write!(f, "in the session {}", wanted.session_name),
        }
    }
}

impl From<OnDemand> for Wanted {
    fn from(wanted: OnDemand) -> Self {
        Self::Assumed(Box::new(wanted))
    }
}

impl From<Timed> for Wanted {
    fn from(wanted: Timed) -> Self {
        Self::Timed(wanted)
    }
}

impl From<Tagged> for Wanted {
    fn from(wanted: Tagged) -> Self {
        Self::Tagged(Box::new(wanted))
    }
}

/// Makes the nodes for a role with that id, or says in one sentence why that cannot be: the role itself last, before it
/// the parents that it needs.
pub type OnDemandFactory = Box<dyn Fn(&RoleId, &Wanted) -> Result<Vec<Node>, String> + Send>;

/// What the refresher is asked to do.
#[derive(Debug)]
pub(super) enum Request {
    Fetch(RoleId, Wanted),
    Drop(RoleId),
    LookAgain,
    Replace(Box<Replacement>, oneshot::Sender<()>),
    TryAgain,
    HandOver(oneshot::Sender<Handover>),
}

/// Asks the refresher for roles. Cheap to clone; never waits.
#[derive(Debug, Clone)]
pub struct RoleRequests {
    store: Arc<Store>,
    /// By how many each role is held. The lock also keeps requests in the order of the counts.
    holders: Arc<Mutex<HashMap<RoleId, usize>>>,
    requests: mpsc::UnboundedSender<Request>,
}

impl RoleRequests {
    pub(super) fn new(store: Arc<Store>) -> (Self, mpsc::UnboundedReceiver<Request>) {
        let (requests, received) = mpsc::unbounded_channel();
        (Self { store, holders: Arc::default(), requests }, received)
    }

    /// Ensures that there is such a role. It is in the store immediately, warming, and is fetched ahead of need until it
    /// has been [released](Self::release) as often as this was called. If it cannot be had at all it is denied, with the
    /// reason.
    pub fn ensure(&self, wanted: impl Into<Wanted>) -> RoleId {
        let wanted = wanted.into();
        let id = wanted.id();
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        let count = holders.entry(id.clone()).or_default();
        *count += 1;
        if *count == 1 {
            self.store.add_unlisted(&id, wanted.name());
            self.send(Request::Fetch(id.clone(), wanted));
        }
        id
    }

    /// Gives back what [`ensure`](Self::ensure) gave. Without holders the role is dropped.
    pub fn release(&self, id: &RoleId) {
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = holders.get_mut(id) else { return };
        *count -= 1;
        if *count == 0 {
            holders.remove(id);
            self.store.remove_unlisted(id);
            self.send(Request::Drop(id.clone()));
        }
    }

    /// Has the upstreams asked at once for what is missing or could not be renewed, and for the list: something has changed
    /// for them, such as who is signed in.
    pub fn look_again(&self) {
        self.send(Request::LookAgain);
    }

    /// Has what failed tried again, because something has changed that may let it succeed.
    pub fn try_again(&self) {
        self.send(Request::TryAgain);
    }

    /// What another process needs that takes the place of this one now. `None` if there is no refresher any more.
    pub async fn handover(&self) -> Option<Handover> {
        let (tell, told) = oneshot::channel();
        self.send(Request::HandOver(tell));
        told.await.ok()
    }

    pub(super) fn replacer(&self) -> Replacer {
        Replacer(self.requests.clone())
    }

    fn send(&self, request: Request) {
        // Without a refresher the daemon is about to stop.
        let _stopping = self.requests.send(request);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_there_at_once_and_until_its_last_holder_has_gone() {
        let store = Store::shared();
        let (requests, mut received) = RoleRequests::new(Arc::clone(&store));
        let wanted = OnDemand::new(
            "app".parse().expect("a name"),
            "arn:aws:iam::123456789012:role/app".parse().expect("an ARN"),
        );
        let first = requests.ensure(wanted.clone());
        let second = requests.ensure(wanted.clone());
        assert_eq!(first, second);
        assert!(store.snapshot().by_id(&first).is_some());
        let other = requests.ensure(OnDemand { external_id: Some("x".into()), ..wanted });
        assert_ne!(first, other);
        requests.release(&first);
        assert!(store.snapshot().by_id(&first).is_some());
        requests.release(&first);
        requests.release(&first);
        assert!(store.snapshot().by_id(&first).is_none() && store.snapshot().by_id(&other).is_some());
        let mut kinds = Vec::new();
        while let Ok(request) = received.try_recv() {
            kinds.push(matches!(request, Request::Fetch(..)));
        }
        assert_eq!(kinds, [true, true, false]);
    }

    #[test]
    fn each_input_makes_another_id() {
        let plain = OnDemand::new(
            "app".parse().expect("a name"),
            "arn:aws:iam::123456789012:role/app".parse().expect("an ARN"),
        );
        let text = || Some("x".to_owned());
        let variants = [
            plain.clone(),
            OnDemand { name: "b".parse().expect("a name"), ..plain.clone() },
            OnDemand { role_arn: "arn:aws:iam::123456789012:role/p/app".parse().expect("an ARN"), ..plain.clone() },
            OnDemand { source: text(), ..plain.clone() },
            OnDemand { via: text(), ..plain.clone() },
            OnDemand { external_id: text(), ..plain.clone() },
            OnDemand { session_name: text(), ..plain.clone() },
            OnDemand { duration: Some(Duration::from_secs(1)), ..plain.clone() },
            OnDemand { policy: text(), ..plain.clone() },
            OnDemand { policy_arns: vec!["x".into()], ..plain.clone() },
            OnDemand { tags: vec![("a".into(), "b".into())], ..plain.clone() },
            OnDemand { source_identity: text(), ..plain },
        ];
        let ids: std::collections::HashSet<RoleId> = variants.iter().map(OnDemand::id).collect();
        assert_eq!(ids.len(), variants.len());
        let timed = |role: &str, uid, seconds| {
            let role = role.parse().expect("a name");
            Timed { role, uid, duration: Duration::from_secs(seconds) }.id()
        };
        let ids = [timed("a", 1, 900), timed("b", 1, 900), timed("a", 2, 900), timed("a", 1, 901)];
        assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), ids.len());
        assert_eq!(timed("a", 1, 900), ids[0]);
        let tagged = Tagged {
            role: "a".parse().expect("a name"),
            session_name: "s".into(),
            tags: vec![("k".into(), "v".into())],
            transitive: true,
        };
        let variants = [
            tagged.clone(),
            Tagged { role: "b".parse().expect("a name"), ..tagged.clone() },
            Tagged { session_name: "t".into(), ..tagged.clone() },
            Tagged { tags: vec![("k".into(), "w".into())], ..tagged.clone() },
            Tagged { transitive: false, ..tagged },
        ];
        let ids: std::collections::HashSet<RoleId> = variants.iter().map(Tagged::id).collect();
        assert_eq!(ids.len(), variants.len());
    }
}
