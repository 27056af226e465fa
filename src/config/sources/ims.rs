//! `kind: ims`: an IMS, on one or more hosts.

use super::{
    super::{Ims, Proxying, build::ims_list_url, proxies},
    Kind, SourceKind, concat, setting,
};
use alppaca_settings::{
    Setting,
    fields::Fields,
    problem::Problem,
    read::{self, render_duration},
    render::{list, quoted},
};

pub(in crate::config) const KIND: Kind = Kind {
    word: "ims",
    settings: &SETTINGS,
    read: |fields| read_ims(fields).map(|ims| SourceKind::Ims(Box::new(ims))),
};

const OWN: [Setting; 9] = [
    setting("url", "", "As `ims_url`. This or `urls` is required."),
    setting(
        "urls",
        "",
        "The same for several hosts with failover: the first that works is used, and the first of the list again \
         when it is back.",
    ),
    setting("connect_timeout", "2s", "As `ims_connect_timeout`."),
    setting("timeout", "10s", "As `ims_timeout`."),
    setting("max_response_bytes", "65536", "As `ims_max_response_bytes`."),
    setting("concurrency", "16", "As `ims_concurrency`."),
    setting("ca_file", "", "As `ims_ca_file`."),
    setting("client_certificate", "", "As `ims_client_certificate`."),
    setting("client_key", "", "As `ims_client_key`."),
];
const SETTINGS: [Setting; 9 + proxies::COUNT] = concat(OWN, proxies::SETTINGS);

fn read_ims(fields: &mut Fields) -> Option<Ims> {
    fields.exclude("url", &["urls"]);
    fields.pair("client_certificate", "client_key");
    let urls = urls(fields);
    let certificate = fields.optional("client_certificate", read::path)?;
    let key = fields.optional("client_key", read::path)?;
    let connect_timeout = fields.value("connect_timeout", read::limit);
    let timeout = fields.value("timeout", read::limit);
    let max_response_bytes = fields.value("max_response_bytes", read::count);
    let concurrency = fields.value("concurrency", read::count);
    let ca_file = fields.optional("ca_file", read::path);
    let proxying = Proxying::read(fields);
    let mut urls = urls?.into_iter();
    Some(Ims {
        list_url: urls.next()?,
        stand_ins: urls.collect(),
        connect_timeout: connect_timeout?,
        timeout: timeout?,
        max_response_bytes: max_response_bytes?,
        concurrency: concurrency?,
        ca_file: ca_file?,
        client_certificate: certificate.zip(key),
        proxying: proxying?,
    })
}

fn urls(fields: &mut Fields) -> Option<Vec<String>> {
    let key = if fields.given("urls").is_some() { "urls" } else { "url" };
    let Some(node) = fields.given(key).cloned() else {
        fields.problems.push(Problem::nowhere("an IMS needs a `url`, such as https://ims.example.com"));
        return None;
    };
    let texts = fields.note(read::list(&node, |node| read::text(node).map(|text| (node.place.clone(), text))))?;
    if texts.is_empty() {
        fields.problems.push(Problem::new(node.place, "an empty list: there would be no host"));
        return None;
    }
    let urls: Vec<Option<String>> = texts.into_iter().map(|(place, text)| ims_list_url(fields, place, &text)).collect();
    urls.into_iter().collect()
}

pub(super) fn render(ims: &Ims) -> Vec<(&'static str, String)> {
    let path = |path: &std::path::PathBuf| quoted(&path.to_string_lossy());
    let urls = std::iter::once(&ims.list_url).chain(&ims.stand_ins);
    let optional = [
        ("ca_file", ims.ca_file.as_ref().map(path)),
        ("client_certificate", ims.client_certificate.as_ref().map(|(chain, _)| path(chain))),
        ("client_key", ims.client_certificate.as_ref().map(|(_, key)| path(key))),
    ];
    let mut all = vec![
        ("urls", list(urls.map(|url| quoted(url)))),
        ("connect_timeout", render_duration(ims.connect_timeout)),
        ("timeout", render_duration(ims.timeout)),
        ("max_response_bytes", ims.max_response_bytes.to_string()),
        ("concurrency", ims.concurrency.to_string()),
    ];
    all.extend(optional.into_iter().filter_map(|(key, value)| Some((key, value?))));
    all.extend(ims.proxying.render());
    all
}

impl Ims {
    /// In a few words.
    pub(in crate::config) fn summary(&self) -> String {
        let more = match self.stand_ins.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("{}{more}{}", self.list_url, self.proxying.summary())
    }
}
