//! `kind: imds`: the metadata service of a real EC2 instance, or of another alppaca.

use std::sync::Arc;

use super::{Imds, Settings, asks_ourselves};
use crate::{
    credentials::RoleNameError,
    refresh::{CallLimit, Fetch},
    settings::{
        Fields, Keys, Node, Problem, Rendered, Setting,
        read::{self, render_duration},
        render::quoted,
    },
    source::{
        aws,
        kind::{Kind, Opened, Opening, Provides, Written},
        purpose::{Purpose, Serves},
    },
};

/// The metadata service and how it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) struct Options {
    /// Where it is.
    pub imds: Settings,
    /// How many calls may run at once (`concurrency`).
    pub concurrency: usize,
}

const SETTINGS: [Setting; 5] = [
    Setting::nested("endpoint", "http://169.254.169.254", "The URL of the IMDS. Never alppaca's own address."),
    Setting::nested(
        "v1_fallback",
        "false",
        "Whether to use IMDSv1 if the endpoint returns no token (403, 404 or 405).",
    ),
    Setting::nested("connect_timeout", "1s", "Longest time for a connection."),
    Setting::nested("timeout", "5s", "Longest time for one whole call."),
    Setting::nested("concurrency", "2", "How many calls may run at once. EC2 allows only a few."),
];

impl Written for Options {
    const WORD: &'static str = "imds";
}

impl Keys for Options {
    const SETTINGS: &'static [Setting] = &SETTINGS;

    fn read(fields: &mut Fields) -> Option<Self> {
        let endpoint = fields.value("endpoint", endpoint);
        let v1_fallback = fields.value("v1_fallback", read::boolean);
        let connect_timeout = fields.value("connect_timeout", read::limit);
        let timeout = fields.value("timeout", read::limit);
        let concurrency = fields.value("concurrency", read::count);
        let imds = Settings {
            endpoint: endpoint?,
            v1_fallback: v1_fallback?,
            connect_timeout: connect_timeout?,
            timeout: timeout?,
        };
        Some(Self { imds, concurrency: concurrency? })
    }
}

fn endpoint(node: &Node) -> Result<String, Problem> {
    let text = aws::endpoint(node)?;
    if text.starts_with("http://") {
        return Ok(text);
    }
    Err(Problem::new(node.place.clone(), "a metadata service speaks http: http://169.254.169.254 is expected here"))
}

impl Rendered for Options {
    fn render(&self) -> Vec<(&'static str, String)> {
        vec![
            ("endpoint", quoted(&self.imds.endpoint)),
            ("v1_fallback", self.imds.v1_fallback.to_string()),
            ("connect_timeout", render_duration(self.imds.connect_timeout)),
            ("timeout", render_duration(self.imds.timeout)),
            ("concurrency", self.concurrency.to_string()),
        ]
    }
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

    fn is_role_session(&self) -> bool {
        true
    }

    fn accepts(&self) -> &'static [&'static str] {
        &["upstream_role"]
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
