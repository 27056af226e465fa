//! Fetching once, outside the daemon: a way and everything that signs its call.

use std::{collections::HashMap, sync::Arc};

use super::{Blueprint, FetchingError};
use crate::{
    config::{Config, Origin, origin},
    credentials::{Credentials, RoleId, RoleName},
    refresh::{Node, SourceError, SourceFuture, Way},
    source::{Gives, Purpose, Serves, Session, Surroundings},
};

/// One way that can be tried.
pub struct Trial {
    /// What it is called.
    pub label: String,
    way: Way,
    nodes: Arc<HashMap<RoleId, Node>>,
}

impl Trial {
    /// Fetches what signs the call, and then the set.
    pub async fn run(&self) -> Result<Credentials, SourceError> {
        call(&self.way, &self.nodes).await
    }
}

fn call<'a>(way: &'a Way, nodes: &'a HashMap<RoleId, Node>) -> SourceFuture<'a, Credentials> {
    Box::pin(async move {
        let Some(parent) = way.parent.as_ref().and_then(|parent| nodes.get(parent)) else {
            return way.fetch.fetch(None).await;
        };
        let mut last = SourceError::transient("there is no way to what signs the call");
        for step in parent.ways.iter() {
            match call(step, nodes).await {
                Ok(signer) => return way.fetch.fetch(Some(&signer)).await,
                Err(error) => last = error,
            }
        }
        Err(last)
    })
}

/// The ways to the role or source `name`, in the order in which the daemon tries them.
pub fn trials(config: &Config, surroundings: Surroundings, name: &str) -> Result<Vec<Trial>, FetchingError> {
    let (blueprint, _) = Blueprint::new(config, surroundings)?;
    let roles = blueprint.upstreams.roles();
    let mut nodes = HashMap::new();
    for role in &roles {
        let (parents, node) = blueprint.role(role)?;
        nodes.extend(parents.into_iter().chain([node]).map(|node| (node.id.clone(), node)));
    }
    let ways: Vec<Way> = match origin(name, &blueprint.upstreams.sources, &roles) {
        Some(Origin::Role(role)) => {
            nodes.get(&RoleId::named(&role.name)).map(|node| node.ways.to_vec()).unwrap_or_default()
        }
        Some(Origin::Source(source)) => {
            let wrong = |problem: &str| FetchingError::new(name, problem);
            match source.kind.gives() {
                Gives::Nothing => {
                    return Err(wrong("has no credentials of its own: it says how AssumeRole is called; test a role"));
                }
                Gives::PerArn | Gives::PerName => {
                    return Err(wrong("gives a set for each role; test a role that comes from it"));
                }
                Gives::Listed | Gives::One => {}
            }
            // No call of a source without a role depends on it.
            let nobody: RoleName = "test".parse().map_err(|_| wrong("cannot be tested"))?;
            let session = Session::default();
            let purpose = Purpose {
                host: &blueprint.surroundings.host,
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
    let trial = |way: Way| Trial { label: way.label.to_string(), way, nodes: Arc::clone(&nodes) };
    Ok(ways.into_iter().map(trial).collect())
}
