//! Fetching once, outside the daemon: a candidate and everything that signs its call.

use std::{collections::HashMap, sync::Arc};

use super::{Blueprint, FetchingError};
use crate::{
    config::{Config, Origin, origin},
    credentials::{Credentials, RoleId, RoleName},
    refresh::{Candidate, Node, SourceError, SourceFuture},
    source::{HostEnv, Provides, Purpose, Serves, Session},
};

/// One candidate that can be tried.
pub struct Trial {
    /// What it is called.
    pub label: String,
    candidate: Candidate,
    nodes: Arc<HashMap<RoleId, Node>>,
}

impl Trial {
    /// Fetches what signs the call, and then the set.
    pub async fn run(&self) -> Result<Credentials, SourceError> {
        call(&self.candidate, &self.nodes).await
    }
}

fn call<'a>(candidate: &'a Candidate, nodes: &'a HashMap<RoleId, Node>) -> SourceFuture<'a, Credentials> {
    Box::pin(async move {
        let Some(parent) = candidate.parent.as_ref().and_then(|parent| nodes.get(parent)) else {
            return candidate.fetch.fetch(None).await;
        };
        let mut last = SourceError::transient("there is no way to what signs the call");
        for step in parent.candidates.iter() {
            match call(step, nodes).await {
                Ok(signer) => return candidate.fetch.fetch(Some(&signer)).await,
                Err(error) => last = error,
            }
        }
        Err(last)
    })
}

/// The candidates for the role or source `name`, in the order in which the daemon tries them.
pub fn trials(config: &Config, host_env: HostEnv, name: &str) -> Result<Vec<Trial>, FetchingError> {
    let (blueprint, _) = Blueprint::new(config, host_env)?;
    let roles = blueprint.upstreams.roles();
    let mut nodes = HashMap::new();
    for role in &roles {
        let (parents, node) = blueprint.role(role)?;
        nodes.extend(parents.into_iter().chain([node]).map(|node| (node.id.clone(), node)));
    }
    let candidates: Vec<Candidate> = match origin(name, &blueprint.upstreams.sources, &roles) {
        Some(Origin::Role(role)) => {
            nodes.get(&RoleId::named(&role.name)).map(|node| node.candidates.to_vec()).unwrap_or_default()
        }
        Some(Origin::Source(source)) => {
            let wrong = |problem: &str| FetchingError::new(name, problem);
            match source.kind.provides() {
                Provides::Nothing => {
                    return Err(wrong("has no credentials of its own: it says how AssumeRole is called; test a role"));
                }
                Provides::PerArn | Provides::PerName => {
                    return Err(wrong("gives a set for each role; test a role that comes from it"));
                }
                Provides::Listed | Provides::One => {}
            }
            // No call of a source without a role depends on it.
            let nobody: RoleName = "test".parse().map_err(|_| wrong("cannot be tested"))?;
            let session = Session::default();
            let purpose = Purpose {
                host: &blueprint.host_env.host,
                name: &nobody,
                upstream_role: None,
                role_arn: None,
                session: &session,
                via: None,
            };
            vec![blueprint.own_call(source, &purpose, Serves::ToSign)?]
        }
        None => {
            let known = blueprint.upstreams.sources.iter().map(|source| source.name.clone());
            let known: Vec<String> = known.chain(roles.iter().map(|role| role.name.to_string())).collect();
            let problem = format!("there is no source and no role of that name; there are {}", known.join(", "));
            return Err(FetchingError::new(name, problem));
        }
    };
    let nodes = Arc::new(nodes);
    let trial =
        |candidate: Candidate| Trial { label: candidate.label.to_string(), candidate, nodes: Arc::clone(&nodes) };
    Ok(candidates.into_iter().map(trial).collect())
}
