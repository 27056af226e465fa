//! The graph of what to fetch: roles, each with one or more ways to get its credentials, and what the ways share.

use std::{sync::Arc, time::Duration};

use super::Cadence;
use crate::{
    Fetch, Source,
    credentials::{RoleId, RoleName},
};

/// Everything that is fetched.
#[derive(Default)]
pub struct Graph {
    /// The bounds of the upstreams; ways name theirs by its place here.
    pub lanes: Vec<Lane>,
    /// An upstream whose roles are all served, whichever it lists. Its lane is the first.
    pub lister: Option<Lister>,
    /// What is fetched in addition. Listed ones are served in this order.
    pub nodes: Vec<Node>,
}

/// An upstream that says itself which roles there are.
pub struct Lister {
    /// The upstream.
    pub source: Arc<dyn Source>,
    /// How often its list is asked for.
    pub interval: Duration,
}

/// How many calls one upstream gets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lane {
    /// How many calls may run concurrently; at least one may.
    pub concurrency: usize,
    /// How many calls may begin in a second, on average and in a burst. `None`: no limit.
    pub rate: Option<f64>,
}

/// The place of a [`Lane`] in [`Graph::lanes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LaneId(pub usize);

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
    pub ways: Arc<[Way]>,
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

/// One way to get one set of credentials.
#[derive(Clone)]
pub struct Way {
    /// What it is called in the log.
    pub label: Arc<str>,
    /// The call.
    pub fetch: Arc<dyn Fetch>,
    /// Whose bounds hold for it.
    pub lane: LaneId,
    /// The node with whose credentials the call is signed.
    pub parent: Option<RoleId>,
    /// Whether there is something new as soon as the parent has something new. Such a way passes on what the parent has.
    pub follows: bool,
    /// How the upstream is asked.
    pub cadence: Cadence,
}

impl Graph {
    /// A graph of all the roles that one upstream lists.
    pub fn listing(source: Arc<dyn Source>, interval: Duration) -> Self {
        let lane = Lane { concurrency: source.concurrency(), rate: None };
        Self { lanes: vec![lane], lister: Some(Lister { source, interval }), nodes: Vec::new() }
    }
}
