//! `imds_v1`, `list_roles`, and the section `metadata`: what IMDS serves in addition to credentials.

mod overlay;

use std::{sync::Arc, time::Duration};

use super::{Entry, HostFacts, Imds, TokenKey, passthrough};
use crate::{
    credentials::{AccountId, region_of_zone},
    faces::section::{OpenError, Opened, Opening},
    settings::{
        Fields, Node, Problem, Setting, Topic, read,
        render::{mapping, quoted},
        url::is_base_url,
    },
};

/// The settings of the face that have no section.
pub const SETTINGS: [Setting; 2] = [
    Setting::new(Topic::Serving, "imds_v1", "true", "Whether requests without an IMDSv2 token are answered."),
    Setting::new(
        Topic::Serving,
        "list_roles",
        "first",
        "`first`: a listing shows the first role, as EC2 does. `all`: all roles, one per line, as in the 2015 tool; \
         many SDKs cannot read that.",
    ),
];

/// The section `metadata`.
pub const SECTION: Setting = Setting::new(
    Topic::Serving,
    "metadata",
    "",
    "A mapping: metadata other than credentials. See [below](#metadata) and [Metadata](metadata.md).",
);

/// The settings of the section `metadata`.
pub const METADATA: &[Setting] = &[
    Setting::nested(
        "region",
        "",
        "The region that programs see. By default the one in which the first role is assumed; without one there is \
         no `placement/`, and programs must be configured with a region.",
    ),
    Setting::nested(
        "account_id",
        "",
        "The account, twelve digits. By default the one from the upstream, the role's ARN or the access key id.",
    ),
    Setting::nested(
        "defaults",
        "minimal",
        "The default tree. `minimal`: what SDKs need. `ec2`: everything that an EC2 instance has, such as \
         `ami-id`; agents then take this host for an instance of EC2. With `passthrough` there are no defaults.",
    ),
    Setting::nested(
        "meta-data",
        "",
        "A tree that is laid over the defaults: a mapping is a directory, a single value a file, a list a file of lines, \
         `null` removes. `iam` is built from the roles; only `iam: {info: …}` can be set there. Keys are written as \
         `public-keys: {\"0=NAME\": {openssh-key: …}}`.",
    ),
    Setting::nested("dynamic", "", "The same for `/latest/dynamic/`."),
    Setting::nested(
        "user-data",
        "",
        "The content of `/latest/user-data`: a text, or bytes in base64 after `!!binary`, such as a gzip archive. \
         Without it: 404.",
    ),
    Setting::nested(
        "security_credentials_extended",
        "off",
        "`off`: `iam/security-credentials-extended/` is 404, as on most real instances. `on`: it has the same roles, \
         and their documents also have the `AccountId`, if known.",
    ),
    Setting::nested(
        "passthrough",
        "",
        "URL of a real IMDS, such as `http://169.254.169.254`, for everything that is not set here. Never used for \
         credentials.",
    ),
    Setting::nested("passthrough_timeout", "1s", "Longest time for one of its answers."),
];

/// How the face behaves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether requests without a token are answered (`imds_v1`).
    pub v1: bool,
    /// Whether a listing shows all roles, one a line, as the 2015 tool did; otherwise the first in the source's order, as
    /// EC2 does: many SDKs paste the body into the next path (`list_roles`).
    pub list_all: bool,
    /// What is served in addition to credentials (`metadata`).
    pub metadata: Metadata,
}

/// What is served in addition to credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The region (`region`).
    pub region: Option<String>,
    /// The account, which takes precedence over that of the credentials (`account_id`).
    pub account_id: Option<AccountId>,
    /// What is there without being set, unless there is a `passthrough` (`defaults`).
    pub defaults: Defaults,
    /// What is laid over the defaults, from the directory of the version on: `meta-data`, `dynamic` and `user-data`, in
    /// the order of the file.
    pub overlay: Vec<(String, Entry)>,
    /// Whether there is `security-credentials-extended`.
    pub extended: bool,
    /// The base URL of a real IMDS, without a final slash (`passthrough`).
    pub passthrough: Option<String>,
    /// For one answer of it (`passthrough_timeout`).
    pub passthrough_timeout: Duration,
}

/// What is there without being set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Defaults {
    /// What SDKs need.
    #[default]
    Minimal,
    /// What every instance of EC2 has.
    Ec2,
}

impl Options {
    /// Reads them.
    pub fn read(fields: &mut Fields) -> Option<Self> {
        let v1 = fields.value("imds_v1", read::boolean);
        let list_all = fields.value("list_roles", |node| read::choice(node, &[("first", false), ("all", true)]));
        let metadata = match fields.section(SECTION.key, METADATA, Metadata::read)? {
            Some(metadata) => Some(metadata),
            None => Metadata::read(&mut Fields::new(Vec::new(), METADATA)),
        };
        Some(Self { v1: v1?, list_all: list_all?, metadata: metadata? })
    }

    /// The value of one of its keys as YAML.
    pub fn render(&self, key: &str) -> Option<String> {
        match key {
            "imds_v1" => Some(self.v1.to_string()),
            "list_roles" => Some(if self.list_all { "all" } else { "first" }.to_owned()),
            _ => (key == SECTION.key).then(|| self.metadata.render()),
        }
    }

    /// Makes the face ready to answer, with tokens that `key` makes, on a host of which `host` is known.
    pub fn open(&self, opening: &Opening, key: &Arc<TokenKey>, host: &HostFacts) -> Result<Opened, OpenError> {
        let Opening { shared, clock, remote, .. } = opening;
        let timeout = self.metadata.passthrough_timeout;
        let (relayed, work) = match &self.metadata.passthrough {
            Some(base) => {
                let (face, wanted) = passthrough(timeout, Arc::clone(&shared.arrived), Arc::clone(clock));
                (Some(face), Some(remote.documents(base, timeout, wanted)?))
            }
            None => (None, None),
        };
        let imds = Imds::new(self.clone(), shared.clone(), Arc::clone(key), relayed, host, clock.now().wall);
        Ok(Opened { respond: Arc::new(imds), work })
    }
}

impl Metadata {
    fn read(fields: &mut Fields) -> Option<Self> {
        let region = fields.optional("region", read::region);
        let account_id = fields.optional("account_id", read::account_id);
        let overlay = overlay::read(fields);
        let words = [("minimal", Defaults::Minimal), ("ec2", Defaults::Ec2)];
        let defaults = fields.value("defaults", |node| read::choice(node, &words));
        let choices = [("off", false), ("on", true), ("false", false), ("true", true), ("no", false), ("yes", true)];
        let extended = fields.value("security_credentials_extended", |node| read::choice(node, &choices));
        let passthrough = fields.optional("passthrough", base_url);
        let passthrough_timeout = fields.value("passthrough_timeout", read::limit);
        let metadata = Self {
            region: region?,
            account_id: account_id?,
            defaults: defaults?,
            overlay,
            extended: extended?,
            passthrough: passthrough?,
            passthrough_timeout: passthrough_timeout?,
        };
        let place = fields.place("meta-data").or_else(|| fields.place("region"));
        match (contradiction(&metadata), place) {
            (Some(message), Some(place)) => fields.note(Err(Problem::new(place, message))),
            _ => Some(metadata),
        }
    }

    /// What is there without being set: nothing if a real IMDS is asked.
    pub(super) fn defaults(&self) -> Option<Defaults> {
        self.passthrough.is_none().then_some(self.defaults)
    }

    /// The region that is set, by itself or with its zone.
    pub fn stated_region(&self) -> Option<&str> {
        let placement = |name| self.file(&["meta-data", "placement", name]);
        let of_zone = || placement("availability-zone").and_then(region_of_zone);
        placement("region").or(self.region.as_deref()).or_else(of_zone)
    }

    fn file(&self, path: &[&str]) -> Option<&str> {
        let mut tree = &self.overlay;
        let (last, directories) = path.split_last()?;
        let find = |tree: &'_ [(String, Entry)], name: &str| tree.iter().position(|(known, _)| known == name);
        for name in directories {
            let Entry::Directory(below) = &tree.get(find(tree, name)?)?.1 else { return None };
            tree = below;
        }
        match &tree.get(find(tree, last)?)?.1 {
            Entry::File(text) => Some(text),
            Entry::Binary(_) | Entry::Directory(_) | Entry::Removed => None,
        }
    }

    /// The section as YAML.
    fn render(&self) -> String {
        let mut entries = Vec::new();
        entries.extend(self.region.as_ref().map(|region| ("region".to_owned(), quoted(region))));
        entries.extend(self.account_id.map(|id| ("account_id".to_owned(), quoted(id.as_str()))));
        let defaults = if self.defaults == Defaults::Ec2 { "ec2" } else { "minimal" };
        entries.push(("defaults".to_owned(), defaults.to_owned()));
        entries.extend(self.overlay.iter().map(|(name, entry)| (name.clone(), overlay::render(entry))));
        let extended = if self.extended { "on" } else { "off" };
        entries.push(("security_credentials_extended".to_owned(), extended.to_owned()));
        entries.extend(self.passthrough.as_ref().map(|url| ("passthrough".to_owned(), quoted(url))));
        entries.push(("passthrough_timeout".to_owned(), read::render_duration(self.passthrough_timeout)));
        mapping(entries)
    }
}

/// Some SDKs take the region from `placement/region`, others from the zone: they have to agree.
fn contradiction(metadata: &Metadata) -> Option<String> {
    let placement = |name| metadata.file(&["meta-data", "placement", name]);
    let region = metadata.stated_region()?;
    let told = [
        ("`metadata.region`", metadata.region.as_deref(), metadata.region.as_deref()),
        ("the zone", placement("availability-zone"), placement("availability-zone").and_then(region_of_zone)),
    ];
    told.iter().find_map(|(what, text, other)| match (text, other) {
        (Some(text), Some(other)) if *other != region => Some(format!(
            "the region is {region} here, but {what} {text} is in {other}: set only one, or make them agree"
        )),
        _ => None,
    })
}

fn base_url(node: &Node) -> Result<String, Problem> {
    let text = read::text(node)?;
    let base = text.trim_end_matches('/');
    let message = "a URL such as http://169.254.169.254 is expected here";
    if is_base_url(base) { Ok(base.to_owned()) } else { Err(Problem::new(node.place.clone(), message)) }
}
