//! What is laid over the default metadata, as it is written.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::json;

use crate::{
    faces::imds::Entry,
    settings::{
        Fields, Keys, Node, Problem, Rendered, Setting, Value, read,
        render::{mapping, quoted},
    },
};

/// The deepest path below `/latest` that can be asked for.
const MAX_DEPTH: usize = 7;

/// What is laid over the defaults, from the directory of the version on: `meta-data`, `dynamic` and `user-data`, in this
/// order, each if it is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overlay(pub Vec<(String, Entry)>);

impl Keys for Overlay {
    const SETTINGS: &'static [Setting] = &[
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
    ];

    fn read(fields: &mut Fields) -> Option<Self> {
        let mut tree = Vec::new();
        for Setting { key, .. } in Self::SETTINGS {
            let Some(node) = fields.raw(key).cloned() else { continue };
            let form = if *key == "user-data" { json!({"not": {"type": "object"}}) } else { json!({"type": "object"}) };
            let read = read::takes(&node, || form)
                .and_then(|()| branch(&node, 1))
                .and_then(|read| check_top(key, &node, read));
            if let Some(read) = fields.note(read) {
                tree.push(((*key).to_owned(), read));
            }
        }
        Some(Self(tree))
    }
}

impl Rendered for Overlay {
    fn render(&self) -> Vec<(&'static str, String)> {
        let given =
            |row: &Setting| self.0.iter().find(|(name, _)| name == row.key).map(|(_, tree)| (row.key, render(tree)));
        Self::SETTINGS.iter().filter_map(given).collect()
    }
}

fn branch(node: &Node, depth: usize) -> Result<Entry, Problem> {
    if depth > MAX_DEPTH {
        return Err(Problem::new(
            node.place.clone(),
            format!("deeper than {MAX_DEPTH} levels: no request could reach it"),
        ));
    }
    match &node.value {
        _ if node.is_null() => Ok(Entry::Removed),
        Value::Scalar { text, .. } => Ok(Entry::File(text.clone())),
        Value::Binary(bytes) => Ok(Entry::Binary(bytes.clone())),
        Value::Any(_) => read::wrong(node, "a part of the tree"),
        Value::List(_) => Ok(Entry::File(read::list(node, line)?.join("\n"))),
        Value::Map(entries) => {
            let mut directory = Vec::with_capacity(entries.len());
            for (key, node) in entries {
                let legal = !matches!(&*key.text, "" | "." | "..") && !key.text.contains(['/', '%', '?', '#']);
                if !legal || key.text.chars().any(char::is_control) {
                    let message = format!("{:?} cannot be one segment of a path", key.text);
                    return Err(Problem::new(key.place.clone(), message));
                }
                directory.push((key.text.clone(), branch(node, depth + 1)?));
            }
            Ok(Entry::Directory(directory))
        }
    }
}

fn line(node: &Node) -> Result<String, Problem> {
    read::text(node).or_else(|_| read::wrong(node, "a line of the file"))
}

/// What may stand at the top of the tree, and of `iam` only `info`.
fn check_top(key: &str, node: &Node, tree: Entry) -> Result<Entry, Problem> {
    let wrong = |message: &str| Err(Problem::new(node.place.clone(), message));
    match (key, &tree) {
        ("user-data", Entry::Directory(_)) => wrong("user data is a text, not a mapping"),
        ("meta-data" | "dynamic", Entry::File(_) | Entry::Binary(_)) => wrong("a mapping is expected here"),
        ("meta-data", Entry::Removed) => wrong("the metadata cannot be removed: the credentials are part of them"),
        ("meta-data", Entry::Directory(entries))
            if entries.iter().any(|(name, below)| name == "public-keys" && !are_keys(below)) =>
        {
            wrong("`public-keys` lists keys as `0=NAME`: write `public-keys: {\"0=NAME\": {openssh-key: …}}`")
        }
        ("meta-data", Entry::Directory(entries)) => match entries.iter().find(|(name, _)| name == "iam") {
            None => Ok(tree),
            Some((_, Entry::Directory(inner))) if inner.iter().all(|(name, _)| name == "info") => Ok(tree),
            Some(_) => wrong("`iam` is built from the roles: only `iam: {info: …}` can be set"),
        },
        _ => Ok(tree),
    }
}

/// Whether all entries are a number, `=` and a name, each with a mapping.
fn are_keys(keys: &Entry) -> bool {
    let is_key = |(name, key): &(String, Entry)| {
        let number = name.split_once('=').map_or("", |(number, _)| number);
        let numbered = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        numbered && matches!(key, Entry::Directory(_))
    };
    match keys {
        Entry::Removed => true,
        Entry::File(_) | Entry::Binary(_) => false,
        Entry::Directory(keys) => keys.iter().all(is_key),
    }
}

/// A part of the tree as YAML.
fn render(tree: &Entry) -> String {
    match tree {
        Entry::Removed => "null".to_owned(),
        Entry::File(text) => quoted(text),
        Entry::Binary(bytes) => format!("!!binary {}", quoted(&BASE64_STANDARD.encode(bytes))),
        Entry::Directory(entries) => mapping(entries.iter().map(|(name, tree)| (quoted(name), render(tree))).collect()),
    }
}
