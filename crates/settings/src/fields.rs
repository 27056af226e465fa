//! The entries of a mapping, read one by one against a table of settings. All that is wrong is collected.

use std::{borrow::Cow, sync::Arc};

use crate::{
    problem::{Place, Problem},
    read,
    shape::{Mapping, Shape},
    table::{Setting, default, nearest},
    yaml::{Key, Node, Value},
};

/// The entries of one mapping, the table of the keys it may have, and what was found wrong or worth a warning.
pub struct Fields {
    entries: Vec<(Key, Node)>,
    table: &'static [Setting],
    at: Option<Place>,
    /// Where it is noted what keys mean to each other, if only that is to be learnt.
    mapping: Option<Arc<Mapping>>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What is legal, but perhaps not meant.
    pub warnings: Vec<Problem>,
}

/// One of the kinds of which a mapping can be: the word for it, its other keys, and what reads them.
pub type OneKind<T> = (&'static str, &'static [Setting], fn(&mut Fields) -> Option<T>);

impl Fields {
    /// The entries of a mapping that may have the keys of `table`.
    pub fn new(entries: Vec<(Key, Node)>, table: &'static [Setting]) -> Self {
        Self { entries, table, at: None, mapping: None, problems: Vec::new(), warnings: Vec::new() }
    }

    /// The entries of a whole document, in which there may be nothing.
    pub fn of_document(tree: Option<Node>, table: &'static [Setting]) -> Self {
        match tree.map(|node| node.value) {
            Some(Value::Map(entries)) => Self::new(entries, table),
            Some(Value::Any(shape)) => Self::inquire(&shape, table, None),
            _ => Self::new(Vec::new(), table),
        }
    }

    fn inquire(shape: &Shape, table: &'static [Setting], kind: Option<&'static str>) -> Self {
        let mapping = shape.mapping(table, kind);
        Self { mapping: Some(Arc::clone(&mapping)), ..Self::new(mapping.entries(), table) }
    }

    /// Whether nothing is given, and only that is to be learnt which keys are read: all of them should be.
    pub fn is_inquiry(&self) -> bool {
        self.mapping.is_some()
    }

    /// Complains of keys that are not in the table.
    pub fn refuse_unknown(&mut self) {
        let table = self.table;
        let known = || table.iter().map(|setting| setting.key);
        self.problems.extend(unknown(&self.entries, known));
    }

    /// The value of a key that is there and not empty.
    pub fn given(&self, key: &str) -> Option<&Node> {
        self.entries.iter().find(|(known, _)| known.text == key).map(|(_, node)| node).filter(|node| !node.is_null())
    }

    /// The value of a key that is there, even if it is empty.
    pub fn raw(&self, key: &str) -> Option<&Node> {
        self.entries.iter().find(|(known, _)| known.text == key).map(|(_, node)| node)
    }

    /// Where a key stands that is not empty.
    pub fn place(&self, key: &str) -> Option<Place> {
        self.entries.iter().find(|(known, node)| known.text == key && !node.is_null()).map(|(key, _)| key.place.clone())
    }

    /// Takes what was read, or notes what is wrong with it.
    pub fn note<T>(&mut self, read: Result<T, Problem>) -> Option<T> {
        read.map_err(|problem| self.problems.push(problem)).ok()
    }

    /// The value, or else the default, which the table has.
    pub fn value<T>(&mut self, key: &str, read: impl Fn(&Node) -> Result<T, Problem>) -> Option<T> {
        let read = self.read(key, read);
        self.note(read)
    }

    fn read<T>(&self, key: &str, read: impl Fn(&Node) -> Result<T, Problem>) -> Result<T, Problem> {
        match self.given(key) {
            Some(node) => read(node),
            None => read(&read::default_node(default(self.table, key))),
        }
    }

    /// The value or its default, if it is right; what is wrong with it is noted elsewhere.
    pub fn peek<T>(&self, key: &str, read: impl Fn(&Node) -> Result<T, Problem>) -> Option<T> {
        self.read(key, read).ok()
    }

    /// The value, if it is given. The outer `None` says that it was wrong.
    #[allow(clippy::option_option, reason = "wrong and absent are not the same")]
    pub fn optional<T>(&mut self, key: &str, read: impl Fn(&Node) -> Result<T, Problem>) -> Option<Option<T>> {
        match self.given(key).map(read) {
            None => Some(None),
            Some(read) => self.note(read).map(Some),
        }
    }

    /// The value, or an empty one if it is not given.
    pub fn or_empty<T: Default>(&mut self, key: &str, read: impl Fn(&Node) -> Result<T, Problem>) -> Option<T> {
        self.optional(key, read).map(Option::unwrap_or_default)
    }

    /// The value of a key that has to be there, or what is missing without it.
    pub fn required<T>(&mut self, key: &str, missing: &str, read: impl Fn(&Node) -> Result<T, Problem>) -> Option<T> {
        self.note_need(key);
        let value = self.optional(key, read)?;
        if value.is_none() {
            self.problems.push(Problem::nowhere(missing));
        }
        value
    }

    /// The value of a key that has to be there, or what is missing in this mapping without it.
    pub fn needed<T>(&mut self, key: &str, missing: &str, read: impl Fn(&Node) -> Result<T, Problem>) -> Option<T> {
        self.note_need(key);
        let value = self.optional(key, read)?;
        if value.is_none() {
            self.complain_here(missing);
        }
        value
    }

    /// Notes that at least one of these has to be there. The caller complains.
    pub fn note_one_of(&self, keys: &[&str]) {
        if let Some(mapping) = &self.mapping {
            mapping.need_one_of(keys);
        }
    }

    /// Notes that this has to be there. The caller complains.
    pub fn note_need(&self, key: &str) {
        if let Some(mapping) = &self.mapping {
            mapping.need(key);
        }
    }

    /// Notes what is wrong with the mapping as a whole.
    pub fn complain_here(&mut self, message: &str) {
        let problem = Problem::nowhere(message);
        self.problems.push(match &self.at {
            Some(place) => problem.or_at(place),
            None => problem,
        });
    }

    /// Complains if `key` is given together with one of `others`.
    pub fn exclude(&mut self, key: &str, others: &[&str]) {
        for other in others {
            if let Some(mapping) = &self.mapping {
                mapping.exclude(key, other);
            }
            if let (Some(place), Some(second)) = (self.place(key), self.place(other)) {
                let (file, line) = (second.source.name.display(), second.line);
                let message = format!("`{key}` replaces `{other}`, which is also set ({file}:{line}); remove one");
                self.problems.push(Problem::new(place, message));
            }
        }
    }

    /// Complains if only one of two keys is given.
    pub fn pair(&mut self, first: &str, second: &str) {
        self.only_with(first, second);
        self.only_with(second, first);
    }

    /// Complains if `part` is given without `whole`.
    pub fn only_with(&mut self, part: &str, whole: &str) {
        if let Some(mapping) = &self.mapping {
            mapping.pair(part, whole);
        }
        if let (Some(place), None) = (self.place(part), self.place(whole)) {
            self.problems.push(Problem::new(place, format!("`{part}` has no effect without `{whole}`")));
        }
    }

    /// Reads a mapping below `key` that may have the keys of `table`. The outer `None` says that something in it is
    /// wrong, the inner one that it is not given.
    #[allow(clippy::option_option, reason = "wrong and absent are not the same")]
    pub fn section<T>(
        &mut self,
        key: &str,
        table: &'static [Setting],
        read: impl FnOnce(&mut Fields) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.place(key).zip(self.given(key).cloned()) {
            None => Some(None),
            Some((place, node)) => self.nested_at(place, node, None, table, read).map(Some),
        }
    }

    /// Reads a mapping of names to mappings (`sources`, `roles`), in the order of the file.
    pub fn named<T>(
        &mut self,
        key: &str,
        table: &'static [Setting],
        mut read: impl FnMut(&Key, &mut Fields) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Some(node) = self.given(key).cloned() else { return Some(Vec::new()) };
        let entries = self.note(read::entries(&node, "a mapping of names").map(Cow::into_owned))?;
        // All are read, so that all problems are reported.
        let read: Vec<Option<T>> = entries
            .into_iter()
            .map(|(name, node)| self.nested_at(name.place.clone(), node, None, table, |fields| read(&name, fields)))
            .collect();
        read.into_iter().collect()
    }

    /// Reads a list of mappings (`rules`).
    pub fn items<T>(
        &mut self,
        key: &str,
        table: &'static [Setting],
        read: impl FnMut(&Place, &mut Fields) -> Option<T>,
    ) -> Option<Vec<T>> {
        self.at_least(0, key, table, read)
    }

    fn at_least<T>(
        &mut self,
        least: usize,
        key: &str,
        table: &'static [Setting],
        mut read: impl FnMut(&Place, &mut Fields) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Some(node) = self.given(key).cloned() else { return Some(Vec::new()) };
        let items = match node.value {
            Value::List(items) => items,
            Value::Any(shape) => vec![shape.item(false, least)],
            _ => {
                self.problems
                    .push(Problem::new(node.place.clone(), format!("a list is expected here, not {}", node.kind())));
                return None;
            }
        };
        let read: Vec<Option<T>> = items
            .into_iter()
            .map(|node| {
                let place = node.place.clone();
                self.nested(node, table, |fields| read(&place, fields))
            })
            .collect();
        read.into_iter().collect()
    }

    /// Reads a list of mappings that must not be empty if it is there; `without` says what an empty one would mean.
    pub fn filled_items<T>(
        &mut self,
        key: &str,
        without: &str,
        table: &'static [Setting],
        read: impl FnMut(&Place, &mut Fields) -> Option<T>,
    ) -> Option<Vec<T>> {
        let items = self.at_least(1, key, table, read)?;
        match self.given(key) {
            Some(node) if items.is_empty() => {
                let problem = Problem::new(node.place.clone(), format!("an empty list: {without}"));
                self.problems.push(problem);
                None
            }
            _ => Some(items),
        }
    }

    /// Reads a list of mappings that has to be there and must not be empty, or what is missing in this mapping without it.
    pub fn needed_items<T>(
        &mut self,
        key: &str,
        missing: &str,
        table: &'static [Setting],
        read: impl Fn(&mut Fields) -> Option<T>,
    ) -> Option<Vec<T>> {
        self.note_need(key);
        let items = self.at_least(1, key, table, |_, fields| read(fields))?;
        if items.is_empty() {
            self.complain_here(missing);
            return None;
        }
        Some(items)
    }

    /// Reads one mapping with a table of its own; what is wrong with it is noted here. `null` is an empty mapping.
    pub fn nested<T>(
        &mut self,
        node: Node,
        table: &'static [Setting],
        read: impl FnOnce(&mut Fields) -> Option<T>,
    ) -> Option<T> {
        self.nested_at(node.place.clone(), node, None, table, read)
    }

    /// Reads one mapping whose key `kind` says which of `kinds` it is. `what` stands at `place` and is a kind of `family`, for
    /// messages.
    pub fn of_kind<T>(
        &mut self,
        mut node: Node,
        (what, place): (&str, &Place),
        family: &str,
        kinds: impl Iterator<Item = OneKind<T>>,
    ) -> Option<T> {
        let kinds: Vec<_> = kinds.collect();
        let words: Vec<_> = kinds.iter().map(|(word, ..)| *word).collect();
        let (word, table, read) = *kinds.get(self.take_kind(&mut node, (what, place), family, &words)?)?;
        self.nested_at(node.place.clone(), node, Some(word), table, read)
    }

    /// The same; what is wrong with the whole of it stands at `place`.
    fn nested_at<T>(
        &mut self,
        place: Place,
        node: Node,
        kind: Option<&'static str>,
        table: &'static [Setting],
        read: impl FnOnce(&mut Fields) -> Option<T>,
    ) -> Option<T> {
        let mut fields = match node.value {
            Value::Map(entries) => Fields::new(entries, table),
            Value::Any(shape) => Fields::inquire(&shape, table, kind),
            _ if node.is_null() => Fields::new(Vec::new(), table),
            _ => {
                let message = format!("a mapping is expected here, not {}", node.kind());
                self.problems.push(Problem::new(node.place, message));
                return None;
            }
        };
        fields.at = Some(place);
        fields.refuse_unknown();
        let read = read(&mut fields);
        let fine = fields.problems.is_empty();
        self.problems.append(&mut fields.problems);
        self.warnings.append(&mut fields.warnings);
        read.filter(|_| fine)
    }
}

impl Fields {
    /// Takes `kind` out of the mapping `node`, which says which table the rest is read against: its place in `words`.
    fn take_kind(
        &mut self,
        node: &mut Node,
        (what, place): (&str, &Place),
        family: &str,
        words: &[&'static str],
    ) -> Option<usize> {
        if let Value::Any(shape) = &node.value {
            return Some(shape.choose_kind(words));
        }
        let all = words.join(", ");
        let Some(kind) = take(node, "kind") else {
            let message = format!("{what} needs a `kind`: one of {all}");
            self.problems.push(Problem::new(place.clone(), message));
            return None;
        };
        let text = self.note(read::text(&kind))?;
        let found = words.iter().position(|word| *word == text);
        if found.is_none() {
            let hint = nearest(&text, words.iter().copied());
            let hint = hint.map(|word| format!("; did you mean `{word}`?")).unwrap_or_default();
            let message = format!("there is no kind {text:?} of {family}; there are {all}{hint}");
            self.problems.push(Problem::new(kind.place, message));
        }
        found
    }
}

/// Takes the value of a key out of a mapping.
pub fn take(node: &mut Node, name: &str) -> Option<Node> {
    match &mut node.value {
        Value::Any(shape) => Some(shape.beside(name)),
        Value::Map(entries) => entries.iter().position(|(key, _)| key.text == name).map(|at| entries.remove(at).1),
        _ => None,
    }
}

/// What is wrong with keys that are not `known`, each with the known key that was probably meant.
pub fn unknown<'a, I: Iterator<Item = &'a str>>(entries: &[(Key, Node)], known: impl Fn() -> I) -> Vec<Problem> {
    let is_known = |key: &&(Key, Node)| !known().any(|known| known == key.0.text);
    let complain = |(key, _): &(Key, Node)| {
        let hint = nearest(&key.text, known()).map(|key| format!("; did you mean `{key}`?")).unwrap_or_default();
        Problem::new(key.place.clone(), format!("there is no setting {:?}{hint}", key.text))
    };
    entries.iter().filter(is_known).map(complain).collect()
}
