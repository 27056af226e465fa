//! `kind: mtls`: client certificates.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::{Authority, Mtls, SanType, Settings};
use crate::{
    method::{Entry, Method, Opened, Opening, Reload},
    names,
    settings::{
        Fields, NamedFiles, Node, Setting,
        read::{self, render_duration},
        render::{list, quoted},
    },
};

/// Which certificates prove what.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Options {
    ca_files: Vec<PathBuf>,
    crl_files: Vec<PathBuf>,
    names: Vec<SanType>,
    max_age: Option<Duration>,
    trust_domain: Option<String>,
}

/// How it is written.
pub static METHOD: Entry =
    Entry { word: "mtls", settings: &SETTINGS, read: |fields| Some(Arc::new(Options::read(fields)?)) };

const SETTINGS: [Setting; 5] = [
    Setting::nested("ca_files", "", "Files of the certificate authorities, PEM. Required."),
    Setting::nested(
        "crl_files",
        "[]",
        "Files of revocation lists, PEM. With one, each certificate needs a list of its issuer that is in force.",
    ),
    Setting::nested(
        "names",
        "dns",
        "A list of the types of subject alternative names that count: `dns`, `uri`, `ip`. The common name never counts.",
    ),
    Setting::nested("max_age", "", "The longest time since the beginning of a certificate's validity."),
    Setting::nested(
        "trust_domain",
        "",
        "The trust domain of SPIFFE, such as `example.org`: only X.509-SVIDs of it are accepted. It replaces `names`.",
    ),
];

const TYPES: [(&str, SanType); 3] = [("dns", SanType::Dns), ("uri", SanType::Uri), ("ip", SanType::Ip)];

impl Options {
    fn read(fields: &mut Fields) -> Option<Self> {
        fields.exclude("trust_domain", &["names"]);
        let missing = "an mtls method needs `ca_files`: the authorities that certify its clients";
        let ca_files = fields.required("ca_files", missing, |node| not_empty(node, "authority", read::path));
        let crl_files = fields.value("crl_files", |node| read::list(node, read::path));
        let names = fields.value("names", |node| not_empty(node, "type of name", |node| read::choice(node, &TYPES)));
        let max_age = fields.optional("max_age", read::interval);
        let trust_domain = fields.optional("trust_domain", trust_domain);
        Some(Self {
            ca_files: ca_files?,
            crl_files: crl_files?,
            names: names?,
            max_age: max_age?,
            trust_domain: trust_domain?,
        })
    }
}

/// A list of one or more.
pub(crate) fn not_empty<T>(node: &Node, what: &str, item: impl Fn(&Node) -> read::Read<T>) -> read::Read<Vec<T>> {
    read::filled_list(node, &format!("there would be no {what}"), item)
}

pub(crate) fn trust_domain(node: &Node) -> read::Read<String> {
    let text = read::text(node)?;
    if names::trust_domain(&format!("spiffe://{text}/x")) == Some(&*text) {
        return Ok(text);
    }
    read::wrong(node, "the name of a trust domain, such as example.org, without spiffe://,")
}

/// Reads the files of an authority again.
pub(crate) fn reload(authority: Arc<Authority>) -> Reload {
    Box::new(move || authority.reload().map_err(|error| error.to_string()))
}

/// Paths as YAML.
pub(crate) fn paths(paths: &[PathBuf]) -> String {
    list(paths.iter().map(|path| quoted(&path.to_string_lossy())))
}

impl Method for Options {
    fn entry(&self) -> &'static Entry {
        &METHOD
    }

    fn render(&self) -> Vec<(&'static str, String)> {
        let mut all = vec![("ca_files", paths(&self.ca_files)), ("crl_files", paths(&self.crl_files))];
        match &self.trust_domain {
            Some(domain) => all.push(("trust_domain", quoted(domain))),
            None => all.push(("names", list(self.names.iter().map(|name| name.word().to_owned())))),
        }
        all.extend(self.max_age.map(|age| ("max_age", render_duration(age))));
        all
    }

    fn files(&self, files: &mut NamedFiles) {
        files.obeyed("ca_files", &self.ca_files);
        files.obeyed("crl_files", &self.crl_files);
    }

    fn callers(&self) -> &[PathBuf] {
        // Without DNS names, certificates that have no others are left to the next method.
        if self.trust_domain.is_some() || self.names.contains(&SanType::Dns) { &self.ca_files } else { &[] }
    }

    fn open(&self, name: &str, _: &Opening) -> Result<Opened, String> {
        let authority = Authority::load(self.ca_files.clone(), self.crl_files.clone());
        let authority = Arc::new(authority.map_err(|error| error.to_string())?);
        let settings = Settings {
            name: name.to_owned(),
            names: self.names.clone(),
            max_age: self.max_age,
            trust_domain: self.trust_domain.clone(),
        };
        let prove = Arc::new(Mtls::new(settings, Arc::clone(&authority)));
        let reload = Some(reload(Arc::clone(&authority)));
        Ok(Opened { authority: Some(authority), reload, ..Opened::new(prove) })
    }
}
