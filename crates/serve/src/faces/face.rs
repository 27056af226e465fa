//! The faces of a server, and which of them a request meets: each listener shows one.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Notify, futures::OwnedNotified};

use super::{
    ecs::{self, Ecs},
    imds::Imds,
    pod_identity::PodIdentity,
};
use crate::{
    clock::Moment,
    http::{
        Visitor,
        answer::{Answer, Outcome, Status},
        request::Request,
    },
    store::Store,
};

/// How long a request may wait for the first fetch. Go gives up after 500 ms, others after 1 s.
const WARMING_WAIT: Duration = Duration::from_millis(400);

/// Which face a listener shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Face {
    /// EC2's instance metadata service.
    Imds,
    /// ECS's agent, and any URL with a token.
    Ecs,
    /// The EKS Pod Identity agent.
    PodIdentity,
    /// As `Ecs`, for programs that `alppaca exec` started, and nothing else.
    Exec,
}

impl Face {
    /// The word for it in status and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Imds => "imds",
            Self::Ecs => "container",
            Self::PodIdentity => "pod-identity",
            Self::Exec => "exec",
        }
    }

    /// A target of a request to this face as it may be logged.
    pub(crate) fn loggable(self, target: &str) -> &str {
        match self {
            Self::Ecs | Self::Exec => ecs::loggable(target),
            Self::Imds | Self::PodIdentity => target,
        }
    }
}

/// What a request may have to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// A change of the store.
    Store,
    /// Something from elsewhere.
    Arrival,
}

/// All faces of a server. Pure, as each of them is.
#[derive(Debug)]
pub struct Faces {
    /// EC2's instance metadata service.
    pub imds: Imds,
    /// ECS's agent, if there are listeners for it.
    pub ecs: Option<Ecs>,
    /// The EKS Pod Identity agent, if there are listeners for it.
    pub pod_identity: Option<PodIdentity>,
    /// For the tokens of `exec` alone.
    pub exec: Ecs,
    /// Notified when something has arrived that a request may be waiting for, other than in the store.
    pub arrived: Arc<Notify>,
    /// How long a request waits for that.
    pub patience: Duration,
}

impl Faces {
    /// The store that all of them show.
    pub fn store(&self) -> &Store {
        self.imds.store()
    }

    /// Answers a request of `visitor`, which came to a listener that shows `face`, at the moment `now`.
    pub fn respond(&self, face: Face, request: &Request, visitor: Visitor<'_>, now: Moment) -> Outcome {
        match (face, &self.ecs, &self.pod_identity) {
            (Face::Imds, ..) => self.imds.respond(request, visitor, now),
            (Face::Ecs, Some(ecs), _) => ecs.respond(request, visitor, now),
            (Face::PodIdentity, _, Some(pod_identity)) => pod_identity.respond(request, visitor, now),
            // A reload has taken the section away, but `exec` may have sent programs to its listener.
            (Face::Exec, ..) | (Face::Ecs, None, _) => self.exec.respond(request, visitor, now),
            // The same, where there are none.
            (Face::PodIdentity, _, None) => Outcome::Answer(self.error(face, Status::NotFound)),
        }
    }

    /// What `face` says where there is nothing to choose: to what is no request, and when the patience is over.
    pub fn error(&self, face: Face, status: Status) -> Answer {
        match face {
            Face::Imds => Answer::error(status),
            Face::Ecs | Face::Exec => Ecs::error(status),
            Face::PodIdentity => PodIdentity::error(status),
        }
    }

    /// Becomes ready at the next change, which counts from the call on.
    pub(crate) fn changed(&self, change: Change) -> OwnedNotified {
        match change {
            Change::Store => self.store().awaited_change(),
            Change::Arrival => Arc::clone(&self.arrived).notified_owned(),
        }
    }

    /// How long it is waited for.
    pub(crate) fn patience(&self, change: Change) -> Duration {
        match change {
            Change::Store => WARMING_WAIT,
            Change::Arrival => self.patience,
        }
    }
}
