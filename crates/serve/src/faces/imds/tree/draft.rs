//! The metadata tree while it is being built.

use std::collections::BTreeMap;

use super::{Directory, Entry, Node, listing};
use crate::faces::imds::documents::Identity;

/// The tree while it is being made.
#[derive(Debug)]
pub(super) enum Draft {
    Removed,
    File(String),
    Binary(Vec<u8>),
    /// The identity document, to be made when all else is known.
    Identity,
    Finished(Identity),
    Directory(BTreeMap<String, Draft>),
    /// A directory that the listing above it shows by another text than its name: `0=my-key`.
    Labelled(String, BTreeMap<String, Draft>),
}

impl Default for Draft {
    fn default() -> Self {
        Self::Directory(BTreeMap::new())
    }
}

impl Draft {
    pub(super) fn is_directory(&self) -> bool {
        matches!(self, Self::Directory(_))
    }

    pub(super) fn at(&self, path: &[&str]) -> Option<&Self> {
        match (path, self) {
            ([], _) => Some(self),
            ([name, rest @ ..], Self::Directory(entries)) => entries.get(*name)?.at(rest),
            _ => None,
        }
    }

    pub(super) fn at_mut(&mut self, path: &[&str]) -> Option<&mut Self> {
        match (path, self) {
            ([], found) => Some(found),
            ([name, rest @ ..], Self::Directory(entries)) => entries.get_mut(*name)?.at_mut(rest),
            _ => None,
        }
    }

    pub(super) fn file(&self, path: &[&str]) -> Option<&str> {
        match self.at(path) {
            Some(Self::File(text)) => Some(text),
            _ => None,
        }
    }

    /// Puts something at a path, making the directories on the way.
    pub(super) fn put(&mut self, path: &[&str], draft: Self) {
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

    pub(super) fn take(&mut self, path: &[&str]) -> Option<Self> {
        let Self::Directory(entries) = self else { return None };
        match path {
            [] => None,
            [name] => entries.remove(*name),
            [name, rest @ ..] => entries.get_mut(*name)?.take(rest),
        }
    }

    /// Removals are recorded: a real IMDS may have the entry, or it would be derived from another one.
    pub(super) fn lay_over(&mut self, name: &str, entry: &Entry) {
        let Self::Directory(entries) = self else { return };
        match entry {
            Entry::Removed => {
                entries.insert(name.to_owned(), Self::Removed);
            }
            Entry::File(text) => {
                entries.insert(name.to_owned(), Self::File(text.clone()));
            }
            Entry::Binary(bytes) => {
                entries.insert(name.to_owned(), Self::Binary(bytes.clone()));
            }
            Entry::Directory(inner) => {
                let below = entries.entry(name.to_owned()).or_default();
                if !below.is_directory() {
                    *below = Self::default();
                }
                for (below_name, entry) in inner {
                    below.lay_over(below_name, entry);
                }
            }
        }
    }

    /// Whether it was removed, or a directory above it was.
    pub(super) fn has_removed(&self, path: &[&str]) -> bool {
        match (path, self) {
            (_, Self::Removed) => true,
            ([name, rest @ ..], Self::Directory(entries)) => {
                entries.get(*name).is_some_and(|draft| draft.has_removed(rest))
            }
            _ => false,
        }
    }

    pub(super) fn finish(self) -> Node {
        match self {
            Self::Removed | Self::Identity => Node::Removed,
            Self::File(text) => Node::File(text.into_bytes().into()),
            Self::Binary(bytes) => Node::File(bytes.into()),
            Self::Finished(identity) => Node::Identity(identity),
            Self::Directory(entries) => Node::Directory(directory(entries, None)),
            Self::Labelled(label, entries) => Node::Directory(directory(entries, Some(label))),
        }
    }

    /// The names of what is visible in it, as a listing shows them, and whether they get a slash.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, bool)> {
        let entries = match self {
            Self::Directory(entries) | Self::Labelled(_, entries) => Some(entries),
            _ => None,
        };
        entries.into_iter().flatten().filter_map(|(name, draft)| match draft {
            Self::Removed => None,
            Self::Labelled(label, _) => Some((&**label, false)),
            draft => Some((&**name, draft.is_directory())),
        })
    }

    /// `public-keys` is written as it is listed, `0=my-key`, and found by its number.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-categories.html>
    pub(super) fn number_keys(&mut self) {
        let Self::Directory(entries) = self else { return };
        let numbered = std::mem::take(entries).into_iter().map(|(name, draft)| match (name.split_once('='), draft) {
            (Some((number, _)), Self::Directory(mut key)) => {
                if let Some(Self::File(text)) = key.get_mut("openssh-key")
                    && !text.ends_with('\n')
                {
                    // Unlike other values of EC2, that one has a final newline.
                    text.push('\n');
                }
                (number.to_owned(), Self::Labelled(name, key))
            }
            (_, draft) => (name, draft),
        });
        *entries = numbered.collect();
    }
}

fn directory(entries: BTreeMap<String, Draft>, label: Option<String>) -> Directory {
    let draft = Draft::Directory(entries);
    let listing = listing(draft.names(), None);
    let Draft::Directory(entries) = draft else { return Directory::default() };
    let entries = entries.into_iter().map(|(name, draft)| (name.into(), draft.finish())).collect();
    Directory { entries, listing, label: label.map(Into::into) }
}
