//! Roles in sessions that show whose they are: each with a name and tags of its own.

use std::sync::Arc;

use super::Blueprint;
use crate::{
    config::{self, Role},
    credentials::{Credentials, RoleId},
    refresh::{Candidate, Fetch, Node, SourceError, SourceFuture, Tagged, Visibility},
    source::Session,
};

impl Blueprint {
    /// A role of the configuration, in a session with that name and these tags.
    pub(super) fn tagged(&self, id: &RoleId, wanted: &Tagged) -> Result<Vec<Node>, String> {
        let roles = self.upstreams.roles();
        let role = roles.iter().find(|role| role.name == wanted.role).ok_or("there is no such role any more")?;
        let keys: Vec<&str> = wanted.tags.iter().map(|(key, _)| &**key).collect();
        config::can_be_tagged(role, &keys, &roles, &self.upstreams.sources)?;
        let name = &wanted.session_name;
        let own = &role.session;
        let handed_on = wanted.tags.iter().filter(|_| wanted.transitive).map(|(key, _)| key);
        let session = Session {
            name: name.parse().map_err(|error| format!("session name {name:?}: {error}"))?,
            tags: own.tags.iter().chain(&wanted.tags).cloned().collect(),
            transitive_tags: own.transitive_tags.iter().chain(handed_on).cloned().collect(),
            ..own.clone()
        };
        let (parents, node) = self.role(&Role { session, ..role.clone() }).map_err(|error| error.to_string())?;
        let label: Arc<str> = name.as_str().into();
        let named = |candidate: &Candidate| {
            let fetch = Arc::new(Named { session: Arc::clone(&label), call: Arc::clone(&candidate.fetch) });
            Candidate { fetch, ..candidate.clone() }
        };
        let candidates = node.candidates.iter().map(named).collect();
        let node = Node { id: id.clone(), visibility: Visibility::Unlisted, candidates, ..node };
        Ok(parents.into_iter().chain([node]).collect())
    }
}

/// A call whose failures say for which session it was: a role has many.
struct Named {
    session: Arc<str>,
    call: Arc<dyn Fetch>,
}

impl Fetch for Named {
    fn fetch<'a>(&'a self, parent: Option<&'a Credentials>) -> SourceFuture<'a, Credentials> {
        Box::pin(async move {
            let named = |error: SourceError| {
                let message = format!("session {}: {}", self.session, error.message);
                SourceError { message, ..error }
            };
            self.call.fetch(parent).await.map_err(named)
        })
    }
}
