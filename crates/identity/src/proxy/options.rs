//! `kind: proxy`: identity headers of a reverse proxy.

use std::{path::PathBuf, sync::Arc};

use http::HeaderName;
use ipnet::IpNet;
use nix::unistd::User;

use super::{Proxy, Settings, Trusted};
use crate::{
    method::{Entry, Method, Opened, Opening},
    mtls::{self, Authority, Mtls, SanType, not_empty, paths},
    names::host,
    settings::{
        Fields, NamedFiles, Node, Problem, Setting, read,
        render::{list, quoted},
    },
};

/// Which headers count, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Options {
    name_header: HeaderName,
    groups_header: Option<HeaderName>,
    separator: char,
    /// Names or numbers.
    users: Vec<String>,
    networks: Vec<IpNet>,
    /// The names of the proxies' certificates.
    certificates: Vec<String>,
    ca_files: Vec<PathBuf>,
    crl_files: Vec<PathBuf>,
}

/// How it is written.
pub static METHOD: Entry =
    Entry { word: "proxy", settings: &SETTINGS, read: |fields| Some(Arc::new(Options::read(fields)?)) };

const SETTINGS: [Setting; 8] = [
    Setting::nested("name_header", "", "The header with the name of the person, such as `X-Remote-User`. Required."),
    Setting::nested("groups_header", "", "The header with the groups."),
    Setting::nested("groups_separator", ",", "The character between groups."),
    Setting::nested(
        "from_users",
        "[]",
        "Users, by name or number: their processes are believed on a Unix socket of the server.",
    ),
    Setting::nested(
        "from_networks",
        "[]",
        "Addresses or networks that are believed, such as `192.0.2.7`. Everyone there can be anybody: a certificate \
         or a Unix socket is better.",
    ),
    Setting::nested(
        "from_certificates",
        "[]",
        "Host names: the owner of a client certificate with one of them is believed. It needs `ca_files`.",
    ),
    Setting::nested("ca_files", "[]", "Files of the authorities of these certificates, PEM."),
    Setting::nested("crl_files", "[]", "Files of revocation lists of these authorities, PEM."),
];

impl Options {
    fn read(fields: &mut Fields) -> Option<Self> {
        fields.pair("from_certificates", "ca_files");
        let missing = "a proxy method needs a `name_header`: the header with the name, such as X-Remote-User";
        let name_header = fields.required("name_header", missing, header);
        let groups_header = fields.optional("groups_header", header);
        let separator = fields.value("groups_separator", separator);
        let users = fields.value("from_users", |node| read::list(node, read::text));
        let networks = fields.value("from_networks", |node| read::list(node, network));
        let certificates = fields.value("from_certificates", |node| read::list(node, host_name));
        let ca_files = match fields.given("ca_files") {
            Some(_) => fields.value("ca_files", |node| not_empty(node, "authority", read::path)),
            None => Some(Vec::new()),
        };
        let crl_files = fields.value("crl_files", |node| read::list(node, read::path));
        if let (Some(place), None) = (fields.place("crl_files"), fields.place("ca_files")) {
            fields.problems.push(Problem::new(place, "`crl_files` has no effect without `ca_files`"));
        }
        let (users, networks, certificates) = (users?, networks?, certificates?);
        if users.is_empty() && networks.is_empty() && certificates.is_empty() {
            fields.problems.push(Problem::nowhere(
                "a proxy method needs to know where the proxy is: set `from_users` (a Unix socket), `from_certificates` \
                 or `from_networks`",
            ));
        }
        Some(Self {
            name_header: name_header?,
            groups_header: groups_header?,
            separator: separator?,
            users,
            networks,
            certificates,
            ca_files: ca_files?,
            crl_files: crl_files?,
        })
    }

    /// The judge of the certificates of proxies.
    fn authority(&self) -> Result<Option<Arc<Authority>>, String> {
        if self.ca_files.is_empty() {
            return Ok(None);
        }
        let authority = Authority::load(self.ca_files.clone(), self.crl_files.clone());
        authority.map(|authority| Some(Arc::new(authority))).map_err(|error| error.to_string())
    }
}

/// Credentials and what describes the message are no names.
fn header(node: &Node) -> read::Read<HeaderName> {
    let text = read::text(node)?;
    let taken = ["authorization", "connection", "content-length", "cookie", "host", "transfer-encoding"];
    match text.parse::<HeaderName>() {
        Ok(name) if !taken.contains(&name.as_str()) => Ok(name),
        _ => read::wrong(node, "the name of a header of the proxy's own, such as X-Remote-User,"),
    }
}

fn separator(node: &Node) -> read::Read<char> {
    let text = read::text(node)?;
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(character), None) if character.is_ascii_punctuation() || character == ' ' => Ok(character),
        _ => read::wrong(node, "one character, such as , or ;"),
    }
}

/// Reads an address or a network of proxies, which is not every address.
pub fn network(node: &Node) -> read::Read<IpNet> {
    let text = read::text(node)?;
    let parsed = text.parse().or_else(|_| text.parse().map(|address: std::net::IpAddr| address.to_canonical().into()));
    match parsed {
        Ok(network) if IpNet::prefix_len(&network) == 0 => {
            Err(Problem::new(node.place.clone(), "this is every address: anybody could be anyone"))
        }
        Ok(network) => Ok(network.trunc()),
        Err(_) => read::wrong(node, "an address or a network, such as 192.0.2.7 or 192.0.2.0/28,"),
    }
}

fn host_name(node: &Node) -> read::Read<String> {
    host(&read::text(node)?).map_or_else(|| read::wrong(node, "a host name, without a wildcard,"), Ok)
}

fn user(text: &str) -> Result<u32, String> {
    if let Ok(uid) = text.parse() {
        return Ok(uid);
    }
    match User::from_name(text) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        Ok(None) => Err(format!("from_users: there is no user {text:?} on this host")),
        Err(error) => Err(format!("from_users: the user {text:?} cannot be looked up: {error}")),
    }
}

impl Method for Options {
    fn entry(&self) -> &'static Entry {
        &METHOD
    }

    fn render(&self) -> Vec<(&'static str, String)> {
        let texts = |texts: &[String]| list(texts.iter().map(|text| quoted(text)));
        let mut all = vec![("name_header", quoted(self.name_header.as_str()))];
        all.extend(self.groups_header.as_ref().map(|header| ("groups_header", quoted(header.as_str()))));
        all.push(("groups_separator", quoted(&self.separator.to_string())));
        all.push(("from_users", texts(&self.users)));
        all.push(("from_networks", list(self.networks.iter().map(|network| quoted(&network.to_string())))));
        if !self.ca_files.is_empty() {
            all.push(("from_certificates", texts(&self.certificates)));
            all.push(("ca_files", paths(&self.ca_files)));
            all.push(("crl_files", paths(&self.crl_files)));
        }
        all
    }

    fn files(&self, files: &mut NamedFiles) {
        files.obeyed("ca_files", &self.ca_files);
        files.obeyed("crl_files", &self.crl_files);
    }

    fn proxies(&self) -> &[PathBuf] {
        &self.ca_files
    }

    fn open(&self, name: &str, _: &Opening) -> Result<Opened, String> {
        let users = self.users.iter().map(|text| user(text).map(Trusted::Uid));
        let mut from = users.collect::<Result<Vec<_>, _>>()?;
        from.extend(self.networks.iter().map(|network| Trusted::Network(*network)));
        let authority = self.authority()?;
        if let Some(authority) = &authority {
            let settings =
                mtls::Settings { name: name.to_owned(), names: vec![SanType::Dns], max_age: None, trust_domain: None };
            let method = Arc::new(Mtls::new(settings, Arc::clone(authority)));
            from.push(Trusted::Certificate { method, names: self.certificates.clone() });
        }
        let settings = Settings {
            name: name.to_owned(),
            name_header: self.name_header.clone(),
            groups_header: self.groups_header.clone(),
            separator: self.separator,
            from,
        };
        let prove = Arc::new(Proxy::new(settings));
        let reload = authority.clone().map(mtls::reload);
        Ok(Opened { authority, reload, ..Opened::new(prove) })
    }
}
