//! The metadata that do not depend on the credentials: a tree of files and directories, rendered once. Listings follow
//! from the tree.

mod defaults;
mod draft;

use std::{collections::BTreeMap, sync::Arc};

pub use defaults::HostFacts;

use self::{
    defaults::{defaults, interface},
    draft::Draft,
};
use super::{documents::Identity, options::Metadata};

/// What is laid over the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// There is no such thing, even if there would be by default.
    Removed,
    /// A file and its content.
    File(String),
    /// A file that is no text.
    Binary(Vec<u8>),
    /// A directory.
    Directory(Vec<(String, Entry)>),
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
    /// What the listing above it has in place of its name.
    label: Option<Box<str>>,
}

impl Tree {
    /// Lays what is set over the defaults, for a host in `region`.
    pub(super) fn new(metadata: &Metadata, region: Option<&str>, host: &HostFacts) -> Self {
        let usual = metadata.defaults();
        let mut draft = usual.map(|usual| defaults(usual, region, host)).unwrap_or_default();
        for (name, entry) in &metadata.overlay.0 {
            draft.lay_over(name, entry);
        }
        if usual.is_some() {
            interface(&mut draft, host);
        }
        let identity = ["dynamic", "instance-identity", "document"];
        if matches!(draft.at(&identity), Some(Draft::Identity)) {
            draft.put(&identity, Draft::Finished(Identity::new(&|path| draft.file(path), host)));
        }
        let info = draft.take(&["meta-data", "iam"]).and_then(|mut iam| iam.take(&["info"]));
        if let Some(keys) = draft.at_mut(&["meta-data", "public-keys"]) {
            keys.number_keys();
        }
        let with_iam = listing(draft.at(&["meta-data"]).into_iter().flat_map(Draft::names), Some("iam"));
        let root = match draft.finish() {
            Node::Directory(root) => root,
            Node::Removed | Node::File(_) | Node::Identity(_) => Directory::default(),
        };
        Self { root, with_iam, info: info.map(Draft::finish) }
    }

    /// The node at `path`, relative to the directory of the version; `None` if the tree does not cover it.
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

    /// Whether that exists below the version; `None` if the tree does not cover it.
    pub(super) fn has(&self, name: &str) -> Option<bool> {
        self.root.entry(name).map(|node| !matches!(node, Node::Removed))
    }
}

impl Directory {
    fn entry(&self, name: &str) -> Option<&Node> {
        let found = self.entries.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        self.entries.get(found).map(|(_, node)| node)
    }
}

/// The listing of a real IMDS, with the entries of `directory` laid over it. That of `meta-data` (`top`) omits the real
/// credentials, and contains `iam/` if there are roles here.
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
            Node::Directory(Directory { label: Some(label), .. }) => {
                names.retain(|other, _| other.split('=').next() != Some(name));
                names.insert(label, false)
            }
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
