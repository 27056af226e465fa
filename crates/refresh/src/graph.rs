//! The graph of what to fetch: roles, each with one or more candidates for its credentials, and what these share.

use std::{sync::Arc, time::Duration};

use super::Cadence;
use crate::{
    Fetch, Source,
    clock::BootTime,
    credentials::{RoleId, RoleName},
};

/// Everything that is fetched.
#[derive(Default)]
pub struct Graph {
    /// The bounds of the upstreams; candidates name theirs by its place here.
    pub call_limits: Vec<CallLimit>,
    /// An upstream whose roles are all served, whichever it lists. Its limit is the first.
    pub lister: Option<Lister>,
    /// What is fetched in addition. Listed ones are served in this order.
    pub nodes: Vec<Node>,
}

/// An upstream that says itself which roles there are.
pub struct Lister {
    /// What it is called.
    pub name: Arc<str>,
    /// The upstream.
    pub source: Arc<dyn Source>,
    /// How often its list is asked for.
    pub interval: Duration,
    /// Which of its roles are fetched, if not all.
    pub on_request: Option<OnRequest>,
}

/// Only the roles in use are fetched: a person may have hundreds, and works with a few.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnRequest {
    /// These are always in use.
    pub ready: Vec<RoleName>,
    /// Any other is for so long after a caller last asked for it.
    pub idle_after: Duration,
}

impl OnRequest {
    /// Whether a role is in use at the moment `now`, if a caller last asked for it at the time `asked`.
    pub(crate) fn is_in_use(&self, name: &RoleName, asked: Option<BootTime>, now: BootTime) -> bool {
        asked.is_some_and(|asked| now.since(asked) < self.idle_after) || self.ready.contains(name)
    }
}

/// How many calls one upstream gets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CallLimit {
    /// How many calls may run concurrently; at least one may.
    pub concurrency: usize,
    /// How many calls may begin in a second, on average and in a burst. `None`: no limit.
    pub rate: Option<f64>,
}

/// The place of a [`CallLimit`] in [`Graph::call_limits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CallLimitId(pub usize);

/// One set of credentials that is fetched again and again.
#[derive(Clone)]
pub struct Node {
    /// Its id.
    pub id: RoleId,
    /// Its name for clients.
    pub name: RoleName,
    /// Which callers see it.
    pub visibility: Visibility,
    /// How to get it. The first is asked first each time; the next ones if it fails. Never empty.
    pub candidates: Arc<[Candidate]>,
}

/// Which callers see a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// Everybody, under its name.
    Listed,
    /// Callers that were given its id.
    Unlisted,
    /// None: it only signs the calls for others.
    Hidden,
}

/// One candidate for a set of credentials.
#[derive(Clone)]
pub struct Candidate {
    /// What it is called in the log.
    pub label: Arc<str>,
    /// The call.
    pub fetch: Arc<dyn Fetch>,
    /// Whose bounds hold for it.
    pub call_limit: CallLimitId,
    /// The node with whose credentials the call is signed.
    pub parent: Option<RoleId>,
    /// Whether there is something new as soon as the parent has something new. Such a candidate passes on what the parent has.
    pub follows: bool,
    /// How the upstream is asked.
    pub cadence: Cadence,
}

impl Graph {
    /// A graph of all the roles that one upstream lists, which is called `ims`.
    pub fn listing(source: Arc<dyn Source>, interval: Duration) -> Self {
        let call_limit = CallLimit { concurrency: source.concurrency(), rate: None };
        Self {
            call_limits: vec![call_limit],
            lister: Some(Lister { name: "ims".into(), source, interval, on_request: None }),
            nodes: Vec::new(),
        }
    }
}
