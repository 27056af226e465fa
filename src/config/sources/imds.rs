//! `kind: imds`: the metadata service of a real EC2 instance, or of another alppaca.

use std::time::Duration;

use super::{Kind, SourceKind, setting};
use alppaca_settings::{
    Setting,
    fields::Fields,
    problem::Problem,
    read::{self, render_duration},
    render::quoted,
    yaml::Node,
};

/// The metadata service and how it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imds {
    /// `http://host[:port]` (`endpoint`).
    pub endpoint: String,
    /// Whether it is asked without a token if it has none (`v1_fallback`).
    pub v1_fallback: bool,
    /// For one connection (`connect_timeout`).
    pub connect_timeout: Duration,
    /// For one whole call (`timeout`).
    pub timeout: Duration,
    /// How many calls may run at once (`concurrency`).
    pub concurrency: usize,
}

pub(in crate::config) const KIND: Kind = Kind {
    word: "imds",
    settings: &SETTINGS,
    read: |fields| read_imds(fields).map(|imds| SourceKind::Imds(Box::new(imds))),
};

const SETTINGS: [Setting; 5] = [
    setting("endpoint", "http://169.254.169.254", "The URL of the IMDS. Never alppaca's own address."),
    setting("v1_fallback", "false", "Whether to use IMDSv1 if the endpoint returns no token (403, 404 or 405)."),
    setting("connect_timeout", "1s", "Longest time for a connection."),
    setting("timeout", "5s", "Longest time for one whole call."),
    setting("concurrency", "2", "How many calls may run at once. EC2 allows only a few."),
];

fn read_imds(fields: &mut Fields) -> Option<Imds> {
    let endpoint = fields.value("endpoint", endpoint);
    let v1_fallback = fields.value("v1_fallback", read::boolean);
    let connect_timeout = fields.value("connect_timeout", read::limit);
    let timeout = fields.value("timeout", read::limit);
    let concurrency = fields.value("concurrency", read::count);
    Some(Imds {
        endpoint: endpoint?,
        v1_fallback: v1_fallback?,
        connect_timeout: connect_timeout?,
        timeout: timeout?,
        concurrency: concurrency?,
    })
}

fn endpoint(node: &Node) -> Result<String, Problem> {
    let text = super::aws::endpoint(node)?;
    if text.starts_with("http://") {
        return Ok(text);
    }
    Err(Problem::new(node.place.clone(), "a metadata service speaks http: http://169.254.169.254 is expected here"))
}

pub(super) fn render(imds: &Imds) -> Vec<(&'static str, String)> {
    vec![
        ("endpoint", quoted(&imds.endpoint)),
        ("v1_fallback", imds.v1_fallback.to_string()),
        ("connect_timeout", render_duration(imds.connect_timeout)),
        ("timeout", render_duration(imds.timeout)),
        ("concurrency", imds.concurrency.to_string()),
    ]
}
