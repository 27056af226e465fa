//! What the readers of settings take, found by letting them read. A node that [stands for every value](Value::Any) keeps a
//! [`Shape`]: each reader notes there what it takes, and reads on until all keys of all tables have been read once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value as Json;

use crate::{
    read,
    table::Setting,
    yaml::{Key, Node, Value},
};

/// More readings than any table needs: each makes progress, or the next tries the keys one by one.
const MOST_READINGS: usize = 1000;

/// What may stand at one place.
#[derive(Debug, Default)]
pub struct Shape(Mutex<Seen>);

/// What the readers have noted.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    /// Single values, as JSON Schemas.
    pub(crate) values: Vec<Json>,
    /// Whether it is a choice of words, on which it may depend what else is read.
    is_choice: bool,
    /// How often it was asked for a word, or a kind.
    turns: usize,
    /// What may stand in a list here.
    pub(crate) items: Option<Arc<Shape>>,
    /// How many have to be there.
    pub(crate) least_items: usize,
    /// Whether one item may stand here without the list.
    pub(crate) item_alone: bool,
    /// The values of a mapping of any names.
    pub(crate) named: Option<Arc<Shape>>,
    /// A mapping with a table.
    pub(crate) mapping: Option<Arc<Mapping>>,
    /// The words for the kinds of a mapping.
    pub(crate) words: Vec<&'static str>,
    /// Their mappings, each with its table.
    pub(crate) kinds: Vec<(&'static str, Arc<Mapping>)>,
    /// Keys beside `kind` that stand in each of them.
    pub(crate) beside: Vec<(String, Arc<Shape>)>,
}

/// A mapping with a table of its keys.
#[derive(Debug)]
pub(crate) struct Mapping {
    /// The keys, with what may stand there.
    pub(crate) keys: Vec<(&'static Setting, Arc<Shape>)>,
    rules: Mutex<Rules>,
}

/// What keys mean to each other.
#[derive(Debug, Default, Clone)]
pub(crate) struct Rules {
    readings: usize,
    /// Two that are not given together.
    pub(crate) exclusions: Vec<[String; 2]>,
    /// One that is given only with the other.
    pub(crate) pairs: Vec<[String; 2]>,
    /// Several of which one has to be there.
    pub(crate) one_of: Vec<Vec<String>>,
    /// One that has to be there, and how many of the readings said so.
    needed: Vec<(String, usize)>,
}

/// What a whole document may be: `read` reads it as often as needed. Otherwise the keys that it never reads.
pub(crate) fn inquire(read: impl Fn(Node)) -> Result<Arc<Shape>, Vec<String>> {
    let shape = Arc::new(Shape::default());
    for _ in 0..MOST_READINGS {
        read(Shape::node(&shape));
        if shape.is_complete() {
            return Ok(shape);
        }
    }
    let mut unread = Vec::new();
    shape.unread("", &mut unread);
    Err(unread)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shape {
    /// A node that stands for every value, of which `shape` is noted.
    fn node(shape: &Arc<Self>) -> Node {
        Node { value: Value::Any(Arc::clone(shape)), ..read::default_node("") }
    }

    fn entry(name: &str, shape: &Arc<Self>) -> (Key, Node) {
        let node = Self::node(shape);
        (Key { text: name.to_owned(), place: node.place.clone() }, node)
    }

    /// Notes a single value that is taken.
    pub(crate) fn note(&self, schema: Json) {
        let mut seen = lock(&self.0);
        if !seen.values.contains(&schema) {
            seen.values.push(schema);
        }
    }

    /// Notes a choice of so many words, and chooses one: another one each time.
    pub(crate) fn choose(&self, schema: Json, words: usize) -> usize {
        self.note(schema);
        let mut seen = lock(&self.0);
        seen.is_choice = true;
        seen.turns += 1;
        seen.turns % words.max(1)
    }

    /// What stands for each item of a list of at least so many. `alone`: also for a single value in the place of the list.
    pub(crate) fn item(&self, alone: bool, least: usize) -> Node {
        let mut seen = lock(&self.0);
        seen.item_alone |= alone;
        seen.least_items = if seen.items.is_some() { seen.least_items.min(least) } else { least };
        Self::node(seen.items.get_or_insert_default())
    }

    /// What stands for each entry of a mapping of any names.
    pub(crate) fn named_entry(&self) -> (Key, Node) {
        Self::entry("NAME", lock(&self.0).named.get_or_insert_default())
    }

    /// Chooses one of these kinds of mapping: another one each time.
    pub(crate) fn choose_kind(&self, words: &[&'static str]) -> usize {
        let mut seen = lock(&self.0);
        seen.is_choice = true;
        seen.words = words.to_vec();
        seen.turns += 1;
        seen.turns % words.len().max(1)
    }

    /// What stands at a key beside `kind`.
    pub(crate) fn beside(&self, name: &str) -> Node {
        let mut seen = lock(&self.0);
        if let Some((_, shape)) = seen.beside.iter().find(|(known, _)| known == name) {
            return Self::node(shape);
        }
        let shape = Arc::default();
        let node = Self::node(&shape);
        seen.beside.push((name.to_owned(), shape));
        node
    }

    /// The mapping with this table that may stand here, of the `kind` that was chosen if there are kinds.
    pub(crate) fn mapping(&self, table: &'static [Setting], kind: Option<&'static str>) -> Arc<Mapping> {
        let mut seen = lock(&self.0);
        match kind {
            Some(word) => match seen.kinds.iter().find(|(known, _)| *known == word) {
                Some((_, mapping)) => Arc::clone(mapping),
                None => {
                    let mapping = Mapping::new(table);
                    seen.kinds.push((word, Arc::clone(&mapping)));
                    mapping
                }
            },
            None => Arc::clone(seen.mapping.get_or_insert_with(|| Mapping::new(table))),
        }
    }

    /// What was noted.
    pub(crate) fn seen(&self) -> Seen {
        lock(&self.0).clone()
    }

    fn is_complete(&self) -> bool {
        let seen = self.seen();
        let shapes = seen.items.iter().chain(&seen.named).chain(seen.beside.iter().map(|(_, shape)| shape));
        let mappings = seen.mapping.iter().chain(seen.kinds.iter().map(|(_, mapping)| mapping));
        let known = !seen.values.is_empty()
            || seen.items.is_some()
            || seen.named.is_some()
            || seen.mapping.is_some()
            || !seen.words.is_empty();
        let all_kinds = seen.kinds.len() == seen.words.len();
        known
            && all_kinds
            && shapes.into_iter().all(|shape| shape.is_complete())
            && mappings.into_iter().all(|all| all.is_complete())
    }

    fn unread(&self, path: &str, into: &mut Vec<String>) {
        let seen = self.seen();
        for shape in seen.items.iter().chain(&seen.named) {
            shape.unread(&format!("{path}[]"), into);
        }
        for mapping in seen.mapping.iter().chain(seen.kinds.iter().map(|(_, mapping)| mapping)) {
            for (setting, shape) in mapping.keys.iter().filter(|(_, shape)| !shape.is_complete()) {
                let path = format!("{path}.{}", setting.key);
                if lock(&shape.0).mapping.is_none() && lock(&shape.0).kinds.is_empty() {
                    into.push(path.clone());
                }
                shape.unread(&path, into);
            }
        }
    }
}

impl Mapping {
    fn new(table: &'static [Setting]) -> Arc<Self> {
        let keys = table.iter().map(|setting| (setting, Arc::default())).collect();
        Arc::new(Self { keys, rules: Mutex::default() })
    }

    /// The entries for the next reading: in turn all keys of which too little is known, and one of them alone. Choices are
    /// always given, since others depend on them.
    pub(crate) fn entries(&self) -> Vec<(Key, Node)> {
        let mut rules = lock(&self.rules);
        let reading = rules.readings;
        rules.readings += 1;
        let unknown = || self.keys.iter().filter(|(_, shape)| !shape.is_complete());
        let only = (reading % 2 == 1).then(|| unknown().nth((reading / 2) % unknown().count().max(1))).flatten();
        let is_given = |(setting, shape): &&(&'static Setting, Arc<Shape>)| {
            let wanted = only.map_or(!shape.is_complete(), |(only, _)| only.key == setting.key);
            wanted || lock(&shape.0).is_choice
        };
        self.keys.iter().filter(is_given).map(|(setting, shape)| Shape::entry(setting.key, shape)).collect()
    }

    pub(crate) fn exclude(&self, one: &str, other: &str) {
        let pair = [one.to_owned(), other.to_owned()];
        let mut rules = lock(&self.rules);
        if !rules.exclusions.contains(&pair) {
            rules.exclusions.push(pair);
        }
    }

    pub(crate) fn pair(&self, given: &str, missing: &str) {
        let pair = [given.to_owned(), missing.to_owned()];
        let mut rules = lock(&self.rules);
        if !rules.pairs.contains(&pair) {
            rules.pairs.push(pair);
        }
    }

    pub(crate) fn need_one_of(&self, keys: &[&str]) {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        let mut rules = lock(&self.rules);
        if !rules.one_of.contains(&keys) {
            rules.one_of.push(keys);
        }
    }

    pub(crate) fn need(&self, key: &str) {
        let mut rules = lock(&self.rules);
        match rules.needed.iter_mut().find(|(known, _)| known == key) {
            Some((_, times)) => *times += 1,
            None => rules.needed.push((key.to_owned(), 1)),
        }
    }

    pub(crate) fn rules(&self) -> Rules {
        lock(&self.rules).clone()
    }

    fn is_complete(&self) -> bool {
        self.keys.iter().all(|(_, shape)| shape.is_complete())
    }
}

impl Rules {
    /// The keys that every reading needed: others are needed only with some choice.
    pub(crate) fn needed(&self) -> impl Iterator<Item = &str> {
        self.needed.iter().filter(|(_, times)| *times >= self.readings).map(|(key, _)| key.as_str())
    }

    /// Whether there may be no key at all.
    pub(crate) fn need_nothing(&self) -> bool {
        self.needed().next().is_none() && self.one_of.is_empty()
    }
}
