//! `imds_v1`, `list_roles`, and the section `metadata`: what IMDS serves in addition to credentials.

mod overlay;

use std::{sync::Arc, time::Duration};

pub use overlay::Overlay;

use super::{Entry, HostFacts, Imds, TokenKey, passthrough};
use crate::{
    credentials::{AccountId, region_of_zone},
    faces::section::{OpenError, Opened, Opening},
    needs::Needs,
    settings::{
        Fields, Keys, Node, Problem, Setting, Topic, options, read,
        render::{AsYaml, entries},
        url::{WEB_URL, is_base_url},
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

options! {
    /// What is served in addition to credentials.
    #[derive(Debug, Clone, Default, PartialEq, Eq)]
    pub struct Metadata {
        /// The region.
        pub region: Option<String> = Setting::nested(
            "region",
            "",
            "The region that programs see. By default the one in which the first role is assumed; without one there is \
             no `placement/`, and programs must be configured with a region.",
        ) => optional(read::region);
        /// The account, which takes precedence over that of the credentials.
        pub account_id: Option<AccountId> = Setting::nested(
            "account_id",
            "",
            "The account, twelve digits. By default the one from the upstream, the role's ARN or the access key id.",
        ) => optional(read::account_id);
        /// What is there without being set, unless there is a `passthrough`.
        pub defaults: Defaults = Setting::nested(
            "defaults",
            "minimal",
            "The default tree. `minimal`: what SDKs need. `ec2`: everything that an EC2 instance has, such as \
             `ami-id`; agents then take this host for an instance of EC2. With `passthrough` there are no defaults.",
        ) => value(|node| read::choice(node, &[("minimal", Defaults::Minimal), ("ec2", Defaults::Ec2)]));
        /// What is laid over the defaults.
        pub overlay: Overlay;
        /// Whether there is `security-credentials-extended`.
        pub extended: bool = Setting::nested(
            "security_credentials_extended",
            "off",
            "`off`: `iam/security-credentials-extended/` is 404, as on most real instances. `on`: it has the same roles, \
             and their documents also have the `AccountId`, if known.",
        ) => value(|node| read::choice(node, &SWITCH)) as render_switch;
        /// The base URL of a real IMDS, without a final slash.
        pub passthrough: Option<String> = Setting::nested(
            "passthrough",
            "",
            "URL of a real IMDS, such as `http://169.254.169.254`, for everything that is not set here. Never used for \
             credentials.",
        ) => optional(base_url);
        /// For one answer of it.
        pub passthrough_timeout: Duration = Setting::nested(
            "passthrough_timeout",
            "1s",
            "Longest time for one of its answers.",
        ) => value(read::limit);
    }
    after Metadata::agree;
}

const SWITCH: [(&str, bool); 6] =
    [("off", false), ("on", true), ("false", false), ("true", true), ("no", false), ("yes", true)];

#[expect(clippy::unnecessary_wraps, clippy::trivially_copy_pass_by_ref, reason = "as every key is written")]
fn render_switch(on: &bool) -> Option<String> {
    Some(if *on { "on" } else { "off" }.to_owned())
}

impl AsYaml for Defaults {
    fn as_yaml(&self) -> Option<String> {
        Some(if *self == Self::Ec2 { "ec2" } else { "minimal" }.to_owned())
    }
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
        let metadata = match fields.section(SECTION.key, Metadata::SETTINGS, Metadata::read)? {
            Some(metadata) => Some(metadata),
            None => Metadata::read(&mut Fields::new(Vec::new(), Metadata::SETTINGS)),
        };
        Some(Self { v1: v1?, list_all: list_all?, metadata: metadata? })
    }

    /// The value of one of its keys as YAML.
    pub fn render(&self, key: &str) -> Option<String> {
        match key {
            "imds_v1" => Some(self.v1.to_string()),
            "list_roles" => Some(if self.list_all { "all" } else { "first" }.to_owned()),
            _ => (key == SECTION.key).then(|| entries(&self.metadata)),
        }
    }

    /// Adds what it needs of the system.
    pub fn needs(&self, needs: &mut Needs) {
        if let Some(url) = &self.metadata.passthrough {
            needs.url(url, "the IMDS of `passthrough`");
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
    /// Refuses regions that contradict each other.
    fn agree(self, fields: &mut Fields) -> Option<Self> {
        let place = fields.place("meta-data").or_else(|| fields.place("region"));
        match (contradiction(&self), place) {
            (Some(message), Some(place)) => fields.note(Err(Problem::new(place, message))),
            _ => Some(self),
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
        let mut tree = &self.overlay.0;
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
    let text = read::text_like(node, WEB_URL)?;
    let base = text.trim_end_matches('/');
    let message = "a URL such as http://169.254.169.254 is expected here";
    if is_base_url(base) { Ok(base.to_owned()) } else { Err(Problem::new(node.place.clone(), message)) }
}
