//! `sources`: the named upstreams. Their kinds, and the settings of each, are in `source`.

use std::{borrow::Cow, sync::Arc};

use crate::source::{Kind, read_kind};
use alppaca_settings::{
    fields::Fields,
    problem::Problem,
    read,
    yaml::{Key, Node},
};

/// One named upstream.
#[derive(Debug, Clone, Eq)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Arc<dyn Kind>,
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && *self.kind == *other.kind
    }
}

impl Source {
    /// It as one line of YAML.
    pub(super) fn render(&self) -> String {
        let settings: Vec<String> = self.kind.render().iter().map(|(key, value)| format!(", {key}: {value}")).collect();
        format!("{{kind: {}{}}}", self.kind.word(), settings.concat())
    }
}

/// Reads `sources`, in the order of the file. `None` if something is wrong.
pub(super) fn read_sources(fields: &mut Fields) -> Option<Vec<(Key, Source)>> {
    let Some(node) = fields.given("sources").cloned() else { return Some(Vec::new()) };
    let entries = fields.note(read::entries(&node, "a mapping of names").map(Cow::into_owned))?;
    let read: Vec<_> = entries.into_iter().map(|(key, node)| read_source(fields, key, node)).collect();
    read.into_iter().collect()
}

fn read_source(fields: &mut Fields, key: Key, node: Node) -> Option<(Key, Source)> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if key.text.is_empty() || key.text.len() > 64 || !key.text.chars().all(legal) {
        let message = "the name of a source has 1 to 64 letters, digits, _, - and dots";
        fields.problems.push(Problem::new(key.place, message));
        return None;
    }
    let kind = read_kind(fields, &format!("the source {:?}", key.text), &key.place, node)?;
    let name = key.text.clone();
    Some((key, Source { name, kind }))
}
