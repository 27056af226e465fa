//! Traces of calls to upstreams, where this build has them: the feature `otel`. Elsewhere the configuration says that it has not.

pub(super) use of_build::{exposed, follower, url};

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

    /// A warning if they can be read on the way, with the key for the collector, if there is one.
    pub(in super::super) fn exposed(config: &Config) -> Option<String> {
        let target = target(config).ok().flatten()?;
        fetch::is_clear_text(&target.url).then(|| {
            let what = if target.has_headers() { "traces, and the headers with them," } else { "traces" };
            format!("traces_endpoint: {}: {what} are sent without TLS, and can be read on the way", target.url)
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

    pub(in super::super) fn exposed(_: &Config) -> Option<String> {
        None
    }
}
