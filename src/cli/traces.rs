//! Traces of calls to upstreams, where this build has them: the feature `otel`. Elsewhere the configuration says that it has not.

pub(super) use of_build::{exposed_key, follower, url};

#[cfg(feature = "otel")]
mod of_build {
    use alppaca_traces::Target;

    use super::super::environment;
    use crate::{
        config::{Config, TRACES_OF_ENVIRONMENT},
        fetch,
        refresh::Follower,
    };

    fn target(config: &Config) -> Result<Option<Target>, String> {
        let Some(endpoint) = &config.traces_endpoint else { return Ok(None) };
        let variables = environment::variables();
        Target::read(Some(&**endpoint).filter(|url| *url != TRACES_OF_ENVIRONMENT), |name| variables.get(name))
    }

    /// What sends them, if that is wanted.
    pub(in super::super) fn follower(config: &Config) -> Result<Option<Follower>, String> {
        let follower = target(config)?.map(alppaca_traces::follower).transpose();
        follower.map_err(|error| format!("traces_endpoint: {error}"))
    }

    /// Where they are sent.
    pub(in super::super) fn url(config: &Config) -> Option<String> {
        target(config).ok().flatten().map(|target| target.url)
    }

    /// A warning if a key goes with them that can be read on the way.
    pub(in super::super) fn exposed_key(config: &Config) -> Option<String> {
        let target = target(config).ok().flatten()?;
        (target.has_headers() && fetch::is_clear_text(&target.url)).then(|| {
            format!(
                "{}: the headers for the collector of traces are sent without TLS, and can be read on the way",
                target.url
            )
        })
    }
}

#[cfg(not(feature = "otel"))]
mod of_build {
    use crate::{config::Config, refresh::Follower};

    #[allow(clippy::unnecessary_wraps, reason = "as where there are traces")]
    pub(in super::super) fn follower(_: &Config) -> Result<Option<Follower>, String> {
        Ok(None)
    }

    pub(in super::super) fn url(_: &Config) -> Option<String> {
        None
    }

    pub(in super::super) fn exposed_key(_: &Config) -> Option<String> {
        None
    }
}
