//! `kind: ims`: an IMS, on one or more hosts.

use std::{path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{Identity, ImsSource, Settings};
use crate::{
    fetch::{Proxies, Proxying, Renewed, is_clear_text, proxying},
    needs::Needs,
    refresh::{CallLimit, Source},
    settings::{
        Fields, Keys, NamedFiles, Node, Problem, Rendered, Setting,
        problem::Place,
        read::{self, render_duration},
        render::{list, quoted},
        table::concat,
        url::is_base_url,
    },
    source::{
        failover::Failover,
        host_env::HostEnv,
        kind::{CertificateEnd, Kind, Opened, Opening, Provides, Unfit, Written},
    },
};

/// What the IMS protocol adds to the base of an IMS.
pub(super) const LIST_PATH: &str = "/latest/meta-data/iam/security-credentials/";

/// The IMS and how to talk to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The URL of the role list, with a final slash: `ims_url`, or made of `ims_protocol`,
    /// `ims_host` and `ims_port`.
    pub list_url: String,
    /// The same on other hosts, which stand in for it in this order (`urls`).
    pub stand_ins: Vec<String>,
    /// For the TCP and TLS handshakes of one connection (`ims_connect_timeout`).
    pub connect_timeout: Duration,
    /// For one whole call (`ims_timeout`).
    pub timeout: Duration,
    /// The longest body that is read (`ims_max_response_bytes`).
    pub max_response_bytes: usize,
    /// How many calls may run at once (`ims_concurrency`).
    pub concurrency: usize,
    /// Further certificate authorities, PEM (`ims_ca_file`). The system's stay in force.
    pub ca_file: Option<PathBuf>,
    /// Certificate chain and key of the client, PEM (`ims_client_certificate`, `ims_client_key`).
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// How this host proves who it is, if not by its certificate (`identity`, `ims_identity`).
    pub identity: Option<Identity>,
    /// The HTTP proxy in front of the IMS (`ims_proxy`, `proxy`, `no_proxy`).
    pub proxying: Proxying,
}

const OWN: [Setting; 10] = [
    Setting::nested("url", "", "As `ims_url`. This or `urls` is required."),
    Setting::nested(
        "urls",
        "",
        "The same for several hosts with failover: the first that works is used, and the first of the list again \
         when it is back.",
    ),
    Setting::nested("connect_timeout", "2s", "As `ims_connect_timeout`."),
    Setting::nested("timeout", "10s", "As `ims_timeout`."),
    Setting::nested("max_response_bytes", "65536", "As `ims_max_response_bytes`."),
    Setting::nested("concurrency", "16", "As `ims_concurrency`."),
    Setting::nested("ca_file", "", "As `ims_ca_file`."),
    Setting::nested("client_certificate", "", "As `ims_client_certificate`."),
    Setting::nested("client_key", "", "As `ims_client_key`."),
    Setting::nested("identity", "", "As `ims_identity`."),
];
const SETTINGS: [Setting; 10 + proxying::COUNT] = concat(OWN, proxying::SETTINGS);

impl Written for Options {
    const WORD: &'static str = "ims";
}

impl Keys for Options {
    const SETTINGS: &'static [Setting] = &SETTINGS;

    fn read(fields: &mut Fields) -> Option<Self> {
        fields.exclude("url", &["urls"]);
        let urls = urls(fields);
        Self::read_rest(fields, "", urls, Proxying::read)
    }
}

impl Options {
    /// Reads what follows the URLs, from keys that begin with `prefix`.
    pub(super) fn read_rest(
        fields: &mut Fields,
        prefix: &str,
        urls: Option<Vec<String>>,
        proxying: impl FnOnce(&mut Fields) -> Option<Proxying>,
    ) -> Option<Self> {
        let key = |name: &str| format!("{prefix}{name}");
        let (certificate, private_key) = (key("client_certificate"), key("client_key"));
        fields.pair(&certificate, &private_key);
        let certificate = fields.optional(&certificate, read::path)?;
        let private_key = fields.optional(&private_key, read::path)?;
        let connect_timeout = fields.value(&key("connect_timeout"), read::limit);
        let timeout = fields.value(&key("timeout"), read::limit);
        let max_response_bytes = fields.value(&key("max_response_bytes"), read::count);
        let concurrency = fields.value(&key("concurrency"), read::count);
        let ca_file = fields.optional(&key("ca_file"), read::path);
        let identity = Identity::read(fields, &key("identity"));
        let proxying = proxying(fields);
        let mut urls = urls?.into_iter();
        Some(Self {
            list_url: urls.next()?,
            stand_ins: urls.collect(),
            connect_timeout: connect_timeout?,
            timeout: timeout?,
            max_response_bytes: max_response_bytes?,
            concurrency: concurrency?,
            ca_file: ca_file?,
            client_certificate: certificate.zip(private_key),
            identity: identity?,
            proxying: proxying?,
        })
    }

    fn on_one_host(&self, list_url: &str, proxies: &Proxies) -> Result<(Arc<dyn Source>, Arc<Renewed>), String> {
        let source = ImsSource::new(Settings {
            list_url: list_url.to_owned(),
            connect_timeout: self.connect_timeout,
            timeout: self.timeout,
            max_response_bytes: self.max_response_bytes,
            concurrency: self.concurrency,
            ca_file: self.ca_file.clone(),
            client_certificate: self.client_certificate.clone(),
            identity: self.identity.clone(),
            proxies: proxies.clone(),
        });
        let source = source.map_err(|error| error.to_string())?;
        let connections = source.connections();
        Ok((Arc::new(source), connections))
    }
}

fn urls(fields: &mut Fields) -> Option<Vec<String>> {
    fields.note_one_of(&["url", "urls"]);
    let key = if fields.given("urls").is_some() { "urls" } else { "url" };
    let Some(node) = fields.given(key).cloned() else {
        fields.problems.push(Problem::nowhere("an IMS needs a `url`, such as https://ims.example.com"));
        return None;
    };
    let text = |node: &Node| read::text(node).map(|text| (node.place.clone(), text));
    let texts = fields.note(read::filled_list(&node, "there would be no host", text))?;
    let urls: Vec<Option<String>> = texts.into_iter().map(|(place, text)| list_url(fields, place, &text)).collect();
    urls.into_iter().collect()
}

/// The URL of a role list from that URL or its base.
pub(super) fn list_url(fields: &mut Fields, place: Place, url: &str) -> Option<String> {
    let list = url.trim_end_matches('/');
    let is_list = list.ends_with("/security-credentials");
    checked_url(fields, place, if is_list { format!("{list}/") } else { format!("{list}{LIST_PATH}") })
}

/// A URL of a role list that can be used.
pub(super) fn checked_url(fields: &mut Fields, place: Place, url: String) -> Option<String> {
    if !is_base_url(&url) {
        let message = format!("this makes {url:?}, which is not a URL with http or https, a host and a path");
        fields.problems.push(Problem::new(place, message));
        return None;
    }
    if is_clear_text(&url) {
        let message = "credentials will travel in clear text: the IMS uses http over the network";
        fields.warnings.push(Problem::new(place, message));
    }
    Some(url)
}

impl Rendered for Options {
    fn render(&self) -> Vec<(&'static str, String)> {
        let path = |path: &std::path::PathBuf| quoted(&path.to_string_lossy());
        let urls = std::iter::once(&self.list_url).chain(&self.stand_ins);
        let optional = [
            ("ca_file", self.ca_file.as_ref().map(path)),
            ("client_certificate", self.client_certificate.as_ref().map(|(chain, _)| path(chain))),
            ("client_key", self.client_certificate.as_ref().map(|(_, key)| path(key))),
            ("identity", self.identity.as_ref().map(Identity::render)),
        ];
        let mut all = vec![
            ("urls", list(urls.map(|url| quoted(url)))),
            ("connect_timeout", render_duration(self.connect_timeout)),
            ("timeout", render_duration(self.timeout)),
            ("max_response_bytes", self.max_response_bytes.to_string()),
            ("concurrency", self.concurrency.to_string()),
        ];
        all.extend(optional.into_iter().filter_map(|(key, value)| Some((key, value?))));
        all.extend(self.proxying.render());
        all
    }
}

impl Kind for Options {
    fn provides(&self) -> Provides {
        Provides::Listed
    }

    fn summary(&self) -> String {
        let more = match self.stand_ins.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("{}{more}{}", self.list_url, self.proxying.summary())
    }

    fn call_limit(&self) -> CallLimit {
        CallLimit { concurrency: self.concurrency, rate: None }
    }

    fn proxying(&self) -> Option<&Proxying> {
        Some(&self.proxying)
    }

    fn files(&self, _: &HostEnv, files: &mut NamedFiles) {
        files.authorities("ca_file", self.ca_file.as_ref());
        files.client_certificate(self.client_certificate.as_ref());
        if let Some(identity) = &self.identity {
            identity.files(files);
        }
    }

    fn examine(&self, _: Timestamp) -> Option<Result<String, Unfit>> {
        self.identity.as_ref()?.examine().map(Err)
    }

    fn needs(&self, host_env: &HostEnv, needs: &mut Needs) {
        for url in std::iter::once(&self.list_url).chain(&self.stand_ins) {
            needs.url(url, "the IMS");
        }
        self.proxying.needs(&host_env.proxies, needs);
    }

    /// On one host or several.
    fn open(&self, opening: &Opening) -> Result<Arc<dyn Opened>, String> {
        let proxies = self.proxying.resolve(&opening.host_env.proxies)?;
        let hosts = std::iter::once(&self.list_url).chain(&self.stand_ins);
        let mut connections = Vec::new();
        let hosts = hosts.map(|url| {
            let (source, own) = self.on_one_host(url, &proxies)?;
            connections.push(own);
            Ok((url.clone(), source))
        });
        let mut hosts = hosts.collect::<Result<Vec<_>, String>>()?;
        let source = match hosts.pop() {
            Some((_, only)) if hosts.is_empty() => only,
            last => {
                let hosts = hosts.into_iter().chain(last).collect();
                let clock = Arc::clone(&opening.host_env.clock);
                Arc::new(Failover::new(hosts, clock, opening.return_wait))
            }
        };
        Ok(Arc::new(Ready { source, connections }))
    }
}

struct Ready {
    source: Arc<dyn Source>,
    connections: Vec<Arc<Renewed>>,
}

impl Opened for Ready {
    fn lister(&self) -> Option<Arc<dyn Source>> {
        Some(Arc::clone(&self.source))
    }

    fn certificate_end(&self) -> Option<CertificateEnd> {
        let connections = self.connections.clone();
        let end = move || connections.iter().filter_map(|connections| connections.certificate_end()).min();
        end().is_some().then(|| Box::new(end) as CertificateEnd)
    }
}
