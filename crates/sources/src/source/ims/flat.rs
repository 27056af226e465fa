//! The flat keys of the configuration, `ims_…`, for one IMS that needs no name.

use super::identity;
use super::options::{LIST_PATH, Options, checked_url, list_url};
use crate::{
    fetch::{Proxying, proxying},
    settings::{Fields, Problem, Rendered, Setting, Topic, read, render::quoted},
};

/// What they begin with.
const PREFIX: &str = "ims_";

/// The keys.
pub const FLAT: [Setting; 13] = [
    setting("ims_host", "", "Host name or address of the IMS. This, `ims_url` or `sources` is required."),
    setting("ims_port", "8080", "Its port."),
    setting("ims_protocol", "https", "`https` or `http`."),
    setting(
        "ims_url",
        "",
        "Replaces the three above, for an IMS behind a path: the URL of the role list itself (it ends in \
         `/security-credentials/`), or the base to which `/latest/meta-data/iam/security-credentials/` is added.",
    ),
    setting("ims_connect_timeout", "2s", "Longest time for the TCP, proxy and TLS handshakes of a connection."),
    setting("ims_timeout", "10s", "Longest time for one whole call."),
    setting("ims_max_response_bytes", "65536", "The longest document that is read. A role list may have 1 MiB."),
    setting("ims_concurrency", "16", "How many calls may run at once."),
    setting("ims_ca_file", "", "PEM file of additional certificate authorities. The system's stay in force."),
    setting(
        "ims_client_certificate",
        "",
        "PEM file of the client certificate and its chain, for an IMS that requires one.",
    ),
    setting("ims_client_key", "", "PEM file of its private key."),
    setting("ims_identity", "", identity::MEANING),
    setting(
        "ims_proxy",
        "none",
        "HTTP proxy in front of the IMS: `none`, `environment` (`https_proxy` and related variables), or \
         `http://[user:password@]host:port`.",
    ),
];

const fn setting(key: &'static str, default: &'static str, meaning: &'static str) -> Setting {
    Setting::new(Topic::Upstream, key, default, meaning)
}

impl Options {
    /// Reads them.
    pub fn read_flat(fields: &mut Fields) -> Option<Self> {
        fields.exclude("ims_url", &["ims_host", "ims_port", "ims_protocol"]);
        let urls = flat_url(fields).map(|url| vec![url]);
        Self::read_rest(fields, PREFIX, urls, |fields| {
            let choice = fields.value("ims_proxy", proxying::choice)?;
            Some(Proxying { choice, except: Vec::new() })
        })
    }

    /// The value of one of them as YAML.
    pub fn render_flat(&self, key: &str) -> Option<String> {
        match key.strip_prefix(PREFIX)? {
            "url" => Some(quoted(&self.list_url)),
            key => self.render().into_iter().find(|(known, _)| *known == key).map(|(_, value)| value),
        }
    }
}

fn flat_url(fields: &mut Fields) -> Option<String> {
    if let Some(node) = fields.given("ims_url") {
        let place = node.place.clone();
        let read = read::text(node);
        let url = fields.note(read)?;
        return list_url(fields, place, &url);
    }
    let protocol = fields.value("ims_protocol", |node| read::choice(node, &[("https", "https"), ("http", "http")]));
    let port = fields.value("ims_port", read::port);
    let Some(node) = fields.given("ims_host") else {
        let message = "there is no source of credentials: `ims_host` (or `ims_url`, or `sources`) is missing; add a \
                       line such as\n  ims_host: ims.example.com";
        fields.problems.push(Problem::nowhere(message));
        return None;
    };
    let place = node.place.clone();
    let read = read::text(node);
    let host = fields.note(read)?;
    let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host };
    checked_url(fields, place, format!("{}://{host}:{}{LIST_PATH}", protocol?, port?))
}
