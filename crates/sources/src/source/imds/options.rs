//! `kind: imds`: the metadata service of a real EC2 instance, or of another alppaca.

use std::{sync::Arc, time::Duration};

use super::{Imds, asks_ourselves};
use crate::{
    credentials::RoleNameError,
    needs::Needs,
    refresh::{CallLimit, Fetch},
    settings::{Node, Problem, Setting, options, read},
    source::{
        aws,
        host_env::HostEnv,
        kind::{Kind, Opened, Opening, Provides, Written},
        purpose::{Purpose, Serves},
    },
};

options! {
    /// The IMDS and how to talk to it.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Settings {
        /// `http://host[:port]`, usually [`EC2_ENDPOINT`](super::EC2_ENDPOINT).
        pub endpoint: String = Setting::nested(
            "endpoint",
            "http://169.254.169.254",
            "The URL of the IMDS. Never alppaca's own address.",
        ) => value(endpoint);
        /// Whether it is asked without a token if it has none (403, 404 or 405 for the token).
        pub v1_fallback: bool = Setting::nested(
            "v1_fallback",
            "false",
            "Whether to use IMDSv1 if the endpoint returns no token (403, 404 or 405).",
        ) => value(read::boolean);
        /// For one connection.
        pub connect_timeout: Duration = Setting::nested("connect_timeout", "1s", "Longest time for a connection.")
            => value(read::limit);
        /// For one whole call.
        pub timeout: Duration = Setting::nested("timeout", "5s", "Longest time for one whole call.")
            => value(read::limit);
    }
}

options! {
    /// The metadata service and how it is asked.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(in crate::source) struct Options {
        /// Where it is.
        pub imds: Settings;
        /// How many calls may run at once.
        pub concurrency: usize = Setting::nested(
            "concurrency",
            "2",
            "How many calls may run at once. EC2 allows only a few.",
        ) => value(read::count);
    }
}

impl Written for Options {
    const WORD: &'static str = "imds";
}

fn endpoint(node: &Node) -> Result<String, Problem> {
    let text = aws::endpoint(node)?;
    if text.starts_with("http://") {
        return Ok(text);
    }
    Err(Problem::new(node.place.clone(), "a metadata service speaks http: http://169.254.169.254 is expected here"))
}

impl Kind for Options {
    fn provides(&self) -> Provides {
        Provides::Listed
    }

    fn summary(&self) -> String {
        self.imds.endpoint.clone()
    }

    fn call_limit(&self) -> CallLimit {
        CallLimit { concurrency: self.concurrency, rate: None }
    }

    /// EC2 has one role, which a role of the configuration stands for.
    fn is_lister(&self) -> bool {
        false
    }

    fn needs(&self, _: &HostEnv, needs: &mut Needs) {
        needs.url(&self.imds.endpoint, "the metadata service");
    }

    fn open(&self, opening: &Opening) -> Result<Arc<dyn Opened>, String> {
        let endpoint = &self.imds.endpoint;
        if asks_ourselves(endpoint, opening.listeners) {
            return Err(format!("{endpoint} is where alppaca itself listens; it would ask itself"));
        }
        Ok(Arc::new(Ready(Imds::new(&self.imds).map_err(|error| error.to_string())?)))
    }
}

/// It is shared by its roles.
struct Ready(Arc<Imds>);

impl Opened for Ready {
    fn call(&self, purpose: &Purpose, _: Serves) -> Result<Arc<dyn Fetch>, String> {
        let role = purpose.upstream_role.map(str::parse).transpose();
        Ok(Arc::new(self.0.role(role.map_err(|error: RoleNameError| error.to_string())?)))
    }
}
