//! What a person should know of the sources beside what the configuration says: for `check`, and for the log.

use crate::{
    config::Config,
    fetch::{ProxyChoice, ProxyVariables, is_clear_text},
    source::aws::Environment,
};

/// A sentence if the environment lets STS be asked in clear text.
pub fn clear_text(config: &Config, environment: &Environment) -> Option<String> {
    let url = environment.endpoint_url_sts.as_deref().filter(|url| is_clear_text(url))?;
    let calls = config.containers.is_some() || config.upstreams.roles().iter().any(|role| role.role_arn.is_some());
    calls.then(|| {
        format!("credentials will travel in clear text: AWS_ENDPOINT_URL_STS={url} asks STS by http over the network")
    })
}

/// A sentence that tells which of the environment's proxies are in force and for whom, if anybody asks for them.
pub fn proxies_in_force(config: &Config, variables: &ProxyVariables) -> Option<String> {
    let users: Vec<&str> = config
        .upstreams
        .sources
        .iter()
        .filter(|source| source.kind.proxying().is_some_and(|proxying| proxying.choice == ProxyChoice::Environment))
        .map(|source| source.name.as_str())
        .collect();
    if users.is_empty() {
        return None;
    }
    let set = variables.in_force().into_iter().map(|(name, value)| format!("{name}={value}"));
    let set = set.collect::<Vec<_>>().join(" ");
    let set = if set.is_empty() { "none is set here".to_owned() } else { set };
    Some(format!("the environment's proxies are in force for {}: {set}", users.join(", ")))
}
