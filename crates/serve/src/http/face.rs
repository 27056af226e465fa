//! What the server needs of a protocol that it serves, and which protocols are served at the moment. It knows none of them.

use std::{fmt::Debug, net::IpAddr, sync::Arc, time::Duration};

use tokio::sync::{Notify, futures::OwnedNotified};

use super::{
    answer::{Answer, Outcome, Status},
    request::{OWN_HEADERS, Request},
    request_context::RequestContext,
};
use crate::{clock::Moment, store::Store};

/// How long a request may wait for the first fetch. Go gives up after 500 ms, others after 1 s.
const WARMING_WAIT: Duration = Duration::from_millis(400);

/// A protocol that a listener may serve: what does not depend on settings.
pub trait Face: Debug + Sync {
    /// The word for it in status, metrics and audit records.
    fn name(&self) -> &'static str;

    /// The versions that are counted separately.
    fn versions(&self) -> &'static [&'static str] {
        &[]
    }

    /// The one of them that a request uses.
    fn version(&self, _request: &Request) -> Option<&'static str> {
        None
    }

    /// The error answer for this status, independent of the request: to what is no request, and when the patience is over.
    fn error(&self, status: Status) -> Answer;

    /// The headers that only this protocol has, in lower case, as [`Request::own`] gives them. What they say may be secret.
    fn headers(&self) -> [&'static str; OWN_HEADERS] {
        [""; OWN_HEADERS]
    }

    /// Whether a request has something that may be bound to its user: before it is refused as unauthorized, the user is
    /// looked up.
    fn may_be_bound(&self, _request: &Request) -> bool {
        false
    }

    /// A target of a request as it may be logged.
    fn loggable<'a>(&self, target: &'a str) -> &'a str {
        target
    }

    /// Whether clients look for the protocol at this address by themselves.
    fn is_at(&self, _address: IpAddr) -> bool {
        false
    }

    /// Whether it is served at listeners that the daemon opens for itself, not at configured ones.
    fn is_internal(&self) -> bool {
        false
    }
}

/// Faces are the same if they have the same name.
impl PartialEq for dyn Face {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for dyn Face {}

/// Answers the requests to a face, by its settings.
pub trait Respond: Debug + Send + Sync {
    /// Answers a request in its `context` at the moment `now`. Pure.
    fn respond(&self, request: &Request, context: RequestContext<'_>, now: Moment) -> Outcome;
}

/// What a request may have to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// A change of the store.
    Store,
    /// Something from elsewhere.
    Arrival,
}

/// All faces of a server.
#[derive(Debug)]
pub struct Faces {
    /// Those that there may be, now or after a reload.
    pub known: Vec<&'static dyn Face>,
    /// What answers for each of those that there are.
    pub served: Vec<(&'static dyn Face, Arc<dyn Respond>)>,
    /// The store that all of them show.
    pub store: Arc<Store>,
    /// Notified when something has arrived that a request may be waiting for, other than in the store.
    pub arrived: Arc<Notify>,
    /// How long a request waits for that.
    pub patience: Duration,
}

impl Faces {
    /// Answers a request in its `context` to a listener that shows `face`, at the moment `now`.
    pub fn respond(&self, face: &dyn Face, request: &Request, context: RequestContext<'_>, now: Moment) -> Outcome {
        match self.served.iter().find(|(served, _)| served.name() == face.name()) {
            Some((_, responder)) => responder.respond(request, context, now),
            // A reload has taken its section away, but not its listener.
            None => Outcome::Answer(face.error(Status::NotFound)),
        }
    }

    /// Becomes ready at the next change, which counts from the call on.
    pub(super) fn changed(&self, change: Change) -> OwnedNotified {
        match change {
            Change::Store => self.store.awaited_change(),
            Change::Arrival => Arc::clone(&self.arrived).notified_owned(),
        }
    }

    /// How long it is waited for.
    pub(super) fn patience(&self, change: Change) -> Duration {
        match change {
            Change::Store => WARMING_WAIT,
            Change::Arrival => self.patience,
        }
    }
}
