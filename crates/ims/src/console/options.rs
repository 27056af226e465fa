//! The section `console`.

use std::{collections::HashMap, path::PathBuf, sync::Mutex, time::Duration};

use super::{Callback, Console};
use crate::{
    federation::DURATIONS,
    fetch::{Proxying, parse_url, proxying},
    needs::Needs,
    settings::{
        Fields, Keys, NamedFiles, Node, Problem, Rendered, Setting,
        read::{self, render_duration},
        render::{list, mapping, quoted},
    },
    source::HostEnv,
};

/// How URLs of the console are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where the console sends the browser if the client says nothing (`issuer`).
    pub(super) issuer: Option<String>,
    /// What is opened (`destination`); the console's first page without it.
    pub(super) destination: Option<String>,
    /// How long a session lasts that may outlive its credentials (`session_duration`).
    pub(super) session_duration: Duration,
    /// Where the console may send the browser (`callback_urls`).
    pub(super) callbacks: Vec<Callback>,
    /// Another federation endpoint (`endpoint`).
    pub(super) endpoint: Option<String>,
    proxying: Proxying,
    ca_file: Option<PathBuf>,
    connect_timeout: Duration,
    timeout: Duration,
}

/// The settings.
pub const SETTINGS: &[Setting] = &[
    Setting::nested(
        "issuer",
        "",
        "Where the console sends the browser at the end of a session if the client says nothing.",
    ),
    Setting::nested("destination", "", "What is opened; the default is the first page of the partition's console."),
    Setting::nested(
        "session_duration",
        "12h",
        "How long a session lasts, from 15m to 12h, if a user's keys sign the calls. Otherwise it ends with its \
         credentials.",
    ),
    Setting::nested(
        "callback_urls",
        "[]",
        "URLs to which `callbackurl` may lead: the same scheme, host and port, and the same path or one below it.",
    ),
    Setting::nested("endpoint", "", "Another federation endpoint than that of the partition."),
    proxying::SETTINGS[0],
    proxying::SETTINGS[1],
    Setting::nested("ca_file", "", "PEM file of additional certificate authorities. The system's stay in force."),
    Setting::nested("connect_timeout", "2s", "Longest time for the TCP, proxy and TLS handshakes of a connection."),
    Setting::nested("timeout", "10s", "Longest time for one whole call."),
];

/// Reads the section `console`, which may be absent. `None` says that something is wrong, which is noted in `fields`.
pub fn read(fields: &mut Fields) -> Option<Options> {
    match fields.section("console", SETTINGS, Options::read)? {
        Some(options) => Some(options),
        None => Options::read(&mut Fields::new(Vec::new(), SETTINGS)),
    }
}

impl Options {
    fn read(fields: &mut Fields) -> Option<Self> {
        let issuer = fields.optional("issuer", url);
        let destination = fields.optional("destination", url);
        let within = |node: &Node| read::duration_within(node, &DURATIONS, "a time from 15m to 12h");
        let session_duration = fields.value("session_duration", within);
        let callbacks = fields.value("callback_urls", |node| read::list(node, Callback::read));
        let endpoint = fields.optional("endpoint", |node| {
            let text = read::text(node)?;
            match parse_url("sign-in of AWS", &text) {
                Ok(_) => Ok(text),
                Err(error) => Err(Problem::new(node.place.clone(), error.to_string()).without_line()),
            }
        });
        let proxying = Proxying::read(fields);
        let ca_file = fields.optional("ca_file", read::path);
        let connect_timeout = fields.value("connect_timeout", read::limit);
        let timeout = fields.value("timeout", read::limit);
        Some(Self {
            issuer: issuer?,
            destination: destination?,
            session_duration: session_duration?,
            callbacks: callbacks?,
            endpoint: endpoint?,
            proxying: proxying?,
            ca_file: ca_file?,
            connect_timeout: connect_timeout?,
            timeout: timeout?,
        })
    }

    /// Adds the files that it names.
    pub fn files(&self, files: &mut NamedFiles) {
        files.authorities("ca_file", &self.ca_file);
    }

    /// Adds what it needs of the system beside these files.
    pub fn needs(&self, host_env: &HostEnv, needs: &mut Needs) {
        needs.url(self.endpoint.as_deref().unwrap_or("https://signin.aws.amazon.com"), "the sign-in of AWS");
        self.proxying.needs(&host_env.proxies, needs);
    }

    /// The section as one line of YAML.
    pub fn render(&self) -> String {
        let text = |text: &Option<String>| text.as_deref().map(quoted);
        let optional = [
            ("issuer", text(&self.issuer)),
            ("destination", text(&self.destination)),
            ("endpoint", text(&self.endpoint)),
            ("ca_file", self.ca_file.as_ref().map(|path| quoted(&path.to_string_lossy()))),
        ];
        let mut all: Vec<_> = optional.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        all.extend(self.proxying.render());
        all.extend([
            ("session_duration", render_duration(self.session_duration)),
            ("callback_urls", list(self.callbacks.iter().map(|callback| quoted(&callback.render())))),
            ("connect_timeout", render_duration(self.connect_timeout)),
            ("timeout", render_duration(self.timeout)),
        ]);
        mapping(all.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// Makes it ready; nothing is sent yet.
    pub fn open(&self, host_env: &HostEnv) -> Result<Console, String> {
        let limits = (self.connect_timeout, self.timeout);
        let http = host_env.to_aws(limits, self.ca_file.as_ref(), &self.proxying);
        let http = http.map_err(|error| format!("console: {error}"))?;
        Ok(Console { options: self.clone(), http, clients: Mutex::new(HashMap::new()) })
    }
}

fn url(node: &Node) -> Result<String, Problem> {
    let text = read::text(node)?;
    let uri: Option<http::Uri> = text.parse().ok();
    let fine = uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some());
    if fine { Ok(text) } else { read::wrong(node, "a URL such as https://portal.example.com/") }
}
