//! The metadata that do not depend on the credentials: a tree of files and directories, rendered once. Listings follow
//! from the tree.

use std::{collections::BTreeMap, sync::Arc};

use super::documents::Identity;
use crate::credentials::AccountId;

/// What is laid over the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// There is no such thing, even if there would be by default.
    Removed,
    /// A file and its content.
    File(String),
    /// A directory.
    Directory(Vec<(String, Entry)>),
}

/// What was found out about the host. What is not known is not served.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// `i-` and 17 hexadecimal digits.
    pub instance_id: Option<String>,
    /// The name of the host.
    pub hostname: Option<String>,
    /// Its address towards the default route.
    pub local_ipv4: Option<String>,
    /// The hardware address of the interface of the default route.
    pub mac: Option<String>,
    /// In EC2's words: `x86_64`, `arm64`.
    pub architecture: &'static str,
    /// When it started, as EC2 writes times.
    pub started: Option<String>,
}

/// What the tree is made of.
#[derive(Debug, Clone, Default)]
pub struct Metadata {
    /// The region.
    pub region: Option<String>,
    /// The account, where the credentials do not tell it.
    pub account_id: Option<AccountId>,
    /// What is laid over the defaults, from the directory of the version on: `meta-data`, `dynamic`, `user-data`.
    pub overlay: Vec<(String, Entry)>,
    /// The host.
    pub host: HostFacts,
    /// Whether somebody else is asked for what is not set: then there are no defaults.
    pub passthrough: bool,
}

/// The finished tree, from the directory of the version on.
#[derive(Debug)]
pub(super) struct Tree {
    root: Directory,
    /// The listing of `meta-data` with `iam/` in it.
    pub(super) with_iam: Arc<[u8]>,
    /// What is set for `iam/info`.
    pub(super) info: Option<Node>,
}

#[derive(Debug)]
pub(super) enum Node {
    /// Was removed.
    Removed,
    File(Arc<[u8]>),
    /// The instance identity document, which has the account in it.
    Identity(Identity),
    Directory(Directory),
}

#[derive(Debug, Default)]
pub(super) struct Directory {
    /// In the order of their names.
    entries: Box<[(Box<str>, Node)]>,
    /// The names, one a line; those of directories end in a slash.
    pub(super) listing: Arc<[u8]>,
}

impl Tree {
    /// Lays what is set over the defaults.
    pub(super) fn new(metadata: &Metadata) -> Self {
        let mut draft = Draft::default();
        if !metadata.passthrough {
            draft = defaults(metadata);
        }
        for (name, entry) in &metadata.overlay {
            draft.lay_over(name, entry, metadata.passthrough);
        }
        let identity = ["dynamic", "instance-identity", "document"];
        if !metadata.passthrough && matches!(draft.at(&identity), Some(Draft::Identity)) {
            draft.put(&identity, Draft::Finished(Identity::new(&|path| draft.file(path), metadata)));
        }
        let info = draft.take(&["meta-data", "iam"]).and_then(|mut iam| iam.take(&["info"]));
        let with_iam = match draft.at(&["meta-data"]) {
            Some(Draft::Directory(entries)) => listing(
                entries
                    .iter()
                    .filter(|(_, draft)| !draft.is_removed())
                    .map(|(name, draft)| (&**name, draft.is_directory())),
                Some("iam"),
            ),
            _ => listing(std::iter::empty(), Some("iam")),
        };
        let root = match draft.finish() {
            Node::Directory(root) => root,
            Node::Removed | Node::File(_) | Node::Identity(_) => Directory::default(),
        };
        Self { root, with_iam, info: info.map(Draft::finish) }
    }

    /// What is at `path`, from the directory of the version on; `None` if nothing is said of it.
    pub(super) fn find(&self, path: &[&str]) -> Option<&Node> {
        let (last, directories) = path.split_last()?;
        let mut directory = &self.root;
        for name in directories {
            match directory.entry(name)? {
                Node::Directory(next) => directory = next,
                // Nothing is below what is not there, or is a file.
                Node::Removed | Node::File(_) | Node::Identity(_) => return Some(&Node::Removed),
            }
        }
        directory.entry(last)
    }

    /// Whether there are user data.
    pub(super) fn has(&self, name: &str) -> bool {
        self.root.entry(name).is_some_and(|node| !matches!(node, Node::Removed))
    }
}

impl Directory {
    fn entry(&self, name: &str) -> Option<&Node> {
        let found = self.entries.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        self.entries.get(found).map(|(_, node)| node)
    }
}

/// A listing that somebody else gave, with the entries of `directory` laid over it. In that of `meta-data` (`top`) his
/// credentials are not mentioned, and `iam/` is if there are roles here.
pub(super) fn merge_listing(below: &[u8], directory: Option<&Directory>, top: bool, roles: bool) -> Arc<[u8]> {
    let text = String::from_utf8_lossy(below);
    let mut names: BTreeMap<&str, bool> = text
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| (line.trim_end_matches('/'), line.ends_with('/')))
        .filter(|(name, _)| !top || (*name != "iam" && !name.contains("credential")))
        .collect();
    for (name, node) in directory.iter().flat_map(|directory| &directory.entries) {
        match node {
            Node::Removed => names.remove(&**name),
            Node::Directory(_) => names.insert(name, true),
            Node::File(_) | Node::Identity(_) => names.insert(name, false),
        };
    }
    listing(names.into_iter(), (top && roles).then_some("iam"))
}

/// One name a line, in the order of the names; without a final newline.
fn listing<'a>(entries: impl Iterator<Item = (&'a str, bool)>, more: Option<&'a str>) -> Arc<[u8]> {
    let mut names: Vec<(&str, bool)> = entries.chain(more.map(|name| (name, true))).collect();
    names.sort_unstable();
    let lines: Vec<String> =
        names.into_iter().map(|(name, directory)| format!("{name}{}", if directory { "/" } else { "" })).collect();
    lines.join("\n").into_bytes().into()
}

/// The tree while it is being made.
#[derive(Debug)]
enum Draft {
    Removed,
    File(String),
    /// The identity document, to be made when all else is known.
    Identity,
    Finished(Identity),
    Directory(BTreeMap<String, Draft>),
}

impl Default for Draft {
    fn default() -> Self {
        Self::Directory(BTreeMap::new())
    }
}

impl Draft {
    fn is_removed(&self) -> bool {
        matches!(self, Self::Removed)
    }

    fn is_directory(&self) -> bool {
        matches!(self, Self::Directory(_))
    }

    fn at(&self, path: &[&str]) -> Option<&Self> {
        match (path, self) {
            ([], _) => Some(self),
            ([name, rest @ ..], Self::Directory(entries)) => entries.get(*name)?.at(rest),
            _ => None,
        }
    }

    fn file(&self, path: &[&str]) -> Option<&str> {
        match self.at(path) {
            Some(Self::File(text)) => Some(text),
            _ => None,
        }
    }

    /// Puts something at a path, making the directories on the way.
    fn put(&mut self, path: &[&str], draft: Self) {
        let [name, rest @ ..] = path else {
            *self = draft;
            return;
        };
        if !self.is_directory() {
            *self = Self::default();
        }
        if let Self::Directory(entries) = self {
            entries.entry((*name).to_owned()).or_default().put(rest, draft);
        }
    }

    fn take(&mut self, path: &[&str]) -> Option<Self> {
        let Self::Directory(entries) = self else { return None };
        match path {
            [] => None,
            [name] => entries.remove(*name),
            [name, rest @ ..] => entries.get_mut(*name)?.take(rest),
        }
    }

    /// `keep`: what was removed is remembered, because somebody else may have it, or make it.
    fn lay_over(&mut self, name: &str, entry: &Entry, keep: bool) {
        let Self::Directory(entries) = self else { return };
        match entry {
            Entry::Removed if keep => {
                entries.insert(name.to_owned(), Self::Removed);
            }
            Entry::Removed => {
                entries.remove(name);
            }
            Entry::File(text) => {
                entries.insert(name.to_owned(), Self::File(text.clone()));
            }
            Entry::Directory(inner) => {
                let below = entries.entry(name.to_owned()).or_default();
                if !below.is_directory() {
                    *below = Self::default();
                }
                for (below_name, entry) in inner {
                    below.lay_over(below_name, entry, keep || name == "iam");
                }
            }
        }
    }

    fn finish(self) -> Node {
        match self {
            Self::Removed | Self::Identity => Node::Removed,
            Self::File(text) => Node::File(text.into_bytes().into()),
            Self::Finished(identity) => Node::Identity(identity),
            Self::Directory(entries) => {
                let visible = entries.iter().filter(|(_, draft)| !draft.is_removed());
                let listing = listing(visible.map(|(name, draft)| (&**name, draft.is_directory())), None);
                let entries = entries.into_iter().map(|(name, draft)| (name.into(), draft.finish())).collect();
                Node::Directory(Directory { entries, listing })
            }
        }
    }
}

/// What is said without any configuration.
fn defaults(metadata: &Metadata) -> Draft {
    let mut draft = Draft::default();
    draft.put(&["meta-data"], Draft::default());
    let mut set = |path: &[&str], text: &str| draft.put(path, Draft::File(text.to_owned()));
    let host = &metadata.host;
    let instance_type = if host.architecture == "arm64" { "m6g.large" } else { "m6i.large" };
    for (name, value) in [
        ("ami-id", Some("ami-00000000000000000")),
        ("ami-launch-index", Some("0")),
        ("hostname", host.hostname.as_deref()),
        ("instance-action", Some("none")),
        ("instance-id", host.instance_id.as_deref()),
        ("instance-life-cycle", Some("on-demand")),
        ("instance-type", Some(instance_type)),
        ("local-hostname", host.hostname.as_deref()),
        ("local-ipv4", host.local_ipv4.as_deref()),
        ("mac", host.mac.as_deref()),
    ] {
        if let Some(value) = value {
            set(&["meta-data", name], value);
        }
    }
    let (region, zone) = place(metadata);
    if let Some(region) = region {
        let (partition, domain) = match &*region {
            region if region.starts_with("cn-") => ("aws-cn", "amazonaws.com.cn"),
            region if region.starts_with("us-gov-") => ("aws-us-gov", "amazonaws.com"),
            _ => ("aws", "amazonaws.com"),
        };
        set(&["meta-data", "placement", "availability-zone"], &zone.unwrap_or_else(|| format!("{region}a")));
        set(&["meta-data", "placement", "region"], &region);
        set(&["meta-data", "services", "domain"], domain);
        set(&["meta-data", "services", "partition"], partition);
    }
    draft.put(&["dynamic", "instance-identity", "document"], Draft::Identity);
    draft
}

/// Region and availability zone, of which either gives the other.
fn place(metadata: &Metadata) -> (Option<String>, Option<String>) {
    let mut overlay = Draft::default();
    for (name, entry) in &metadata.overlay {
        overlay.lay_over(name, entry, false);
    }
    let zone = overlay.file(&["meta-data", "placement", "availability-zone"]);
    let of_zone = zone.map(|zone| zone.trim_end_matches(|c: char| c.is_ascii_lowercase()));
    let region = overlay.file(&["meta-data", "placement", "region"]).or(metadata.region.as_deref()).or(of_zone);
    (region.map(str::to_owned), zone.map(str::to_owned))
}
