//! YAML text to a tree in which each value knows where it stands.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, Span, Tag};

use crate::{
    problem::{Place, Problem, Source},
    shape::Shape,
};

/// More values than any configuration has; aliases count with all that they stand for.
const MAX_NODES: usize = 100_000;
/// Deeper than any configuration is.
const MAX_DEPTH: usize = 32;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// Where it is.
    pub place: Place,
}

/// What a node is.
#[derive(Debug, Clone)]
pub enum Value {
    /// `plain`: without quotes, so that it may also be a number, a boolean or nothing.
    Scalar {
        /// The text, as it is meant.
        text: String,
        /// Whether it is written without quotes.
        plain: bool,
    },
    /// Bytes that are no text (`!!binary`).
    Binary(Vec<u8>),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the file.
    Map(Vec<(Key, Node)>),
    /// Any value at all, to learn what may stand here. It is in no file.
    Any(Arc<Shape>),
}

/// The key of a mapping and where it stands.
#[derive(Debug, Clone)]
pub struct Key {
    /// The key.
    pub text: String,
    /// Where it is.
    pub place: Place,
}

impl Node {
    /// Whether it is empty or says `null`.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(&**text, "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The value of a key, if this is a mapping that has it.
    pub fn entry(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(known, _)| known.text == key).map(|(_, node)| node),
            _ => None,
        }
    }

    /// The items, if this is a list.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            _ if self.is_null() => "nothing",
            Value::Scalar { .. } => "a single value",
            Value::Binary(_) => "binary data",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
            Value::Any(_) => "any value",
        }
    }
}

/// Reads the only document in `source`; `None` if there is none, or only comments.
pub fn read(source: &Arc<Source>) -> Result<Option<Node>, Problem> {
    let mut reader = Reader { source, anchors: HashMap::new(), nodes: 0 };
    let mut events = Parser::new_from_str(&source.text);
    let mut document = None;
    loop {
        let (event, span) = reader.next(&mut events)?;
        match event {
            Event::StreamEnd => return Ok(document),
            Event::DocumentStart(..) if document.is_some() => {
                return Err(Problem::new(
                    reader.place(span),
                    "a second document begins here; a file may have only one",
                ));
            }
            Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
            event => document = Some(reader.node(&mut events, event, span, 0)?),
        }
    }
}

/// What to do about the mistakes that are made most often.
fn advice(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::MappingValueNotAllowed => {
            "; is this line indented further than the one above? A text with `: ` in it needs quotation marks"
        }
        ErrorKind::TabNotAllowed | ErrorKind::TabInBlockIndentation => "; indent with spaces",
        _ => "",
    }
}

/// A single value, of the type that its tag requires.
fn scalar(text: String, plain: bool, tag: Option<&Tag>) -> Result<Value, String> {
    match tag.and_then(name_of).as_deref() {
        Some("binary") => {
            let digits: String = text.split_ascii_whitespace().collect();
            let bytes = BASE64_STANDARD.decode(digits);
            bytes.map(Value::Binary).map_err(|error| format!("`!!binary` is followed by base64: {error}"))
        }
        Some("str") => Ok(Value::Scalar { text, plain: false }),
        _ => check_tag(tag, &["null", "bool", "int", "float"]).map(|()| Value::Scalar { text, plain }),
    }
}

/// A tag that is not understood would change the meaning of what it stands before.
fn check_tag(tag: Option<&Tag>, known: &[&str]) -> Result<(), String> {
    match tag {
        Some(tag) if !name_of(tag).is_some_and(|name| known.contains(&&*name)) => {
            Err(format!("the tag {} is not allowed here: write the value without it", tag.original()))
        }
        _ => Ok(()),
    }
}

/// The name of one of YAML's own tags, such as `str`.
fn name_of(tag: &Tag) -> Option<Cow<'_, str>> {
    tag.suffix_in_namespace("tag:yaml.org,2002:")
}

struct Reader<'a> {
    source: &'a Arc<Source>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
}

type Events<'a> = Parser<'a, granit_parser::StrInput<'a>>;

impl<'a> Reader<'a> {
    fn place(&self, span: Span) -> Place {
        Place { source: Arc::clone(self.source), line: span.start.line(), column: span.start.col() + 1 }
    }

    fn next(&self, events: &mut Events<'a>) -> Result<(Event<'a>, Span), Problem> {
        match events.next() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => {
                let place = self.place(Span::empty(*error.marker()));
                Err(Problem::new(place, format!("this is not YAML: {}{}", error.info(), advice(error.kind()))))
            }
            // The parser ends with StreamEnd, after which no event is requested.
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn count(&mut self, nodes: usize, depth: usize, span: Span) -> Result<(), Problem> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            return Err(Problem::new(self.place(span), format!("more than {MAX_NODES} values, aliases resolved")));
        }
        if depth > MAX_DEPTH {
            return Err(Problem::new(self.place(span), format!("nested more than {MAX_DEPTH} levels deep")));
        }
        Ok(())
    }

    fn node(&mut self, events: &mut Events<'a>, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Problem> {
        self.count(1, depth, span)?;
        let before = self.nodes;
        let place = self.place(span);
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let value = scalar(text.into_owned(), plain, tag.as_deref());
                (value.map_err(|message| Problem::new(place.clone(), message))?, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                check_tag(tag.as_deref(), &["seq"]).map_err(|message| Problem::new(place.clone(), message))?;
                (Value::List(self.list(events, depth)?), anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                check_tag(tag.as_deref(), &["map"]).map_err(|message| Problem::new(place.clone(), message))?;
                (Value::Map(self.map(events, depth)?), anchor)
            }
            Event::Alias(anchor) => {
                let (node, nodes) = match self.anchors.get(&anchor) {
                    Some((node, nodes)) => (node.clone(), *nodes),
                    None => return Err(Problem::new(place, "this alias is inside of the node that it names")),
                };
                self.count(nodes, depth, span)?;
                return Ok(node);
            }
            _ => return Err(Problem::new(place, "a value is missing here")),
        };
        let node = Node { value, place };
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes - before + 1));
        }
        Ok(node)
    }

    fn list(&mut self, events: &mut Events<'a>, depth: usize) -> Result<Vec<Node>, Problem> {
        let mut list = Vec::new();
        loop {
            match self.next(events)? {
                (Event::SequenceEnd, _) => return Ok(list),
                (event, span) => list.push(self.node(events, event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, events: &mut Events<'a>, depth: usize) -> Result<Vec<(Key, Node)>, Problem> {
        let mut map: Vec<(Key, Node)> = Vec::new();
        loop {
            let (event, span) = self.next(events)?;
            if matches!(event, Event::MappingEnd) {
                return Ok(map);
            }
            let key = self.node(events, event, span, depth + 1)?;
            let kind = key.kind();
            let Value::Scalar { text, .. } = key.value else {
                return Err(Problem::new(key.place, format!("a key is a single word, not {kind}")));
            };
            if let Some((first, _)) = map.iter().find(|(known, _)| known.text == text) {
                let line = first.place.line;
                return Err(Problem::new(
                    key.place,
                    format!("{text:?} appears here a second time; first in line {line}"),
                ));
            }
            let (event, span) = self.next(events)?;
            let value = self.node(events, event, span, depth + 1)?;
            map.push((Key { text, place: key.place }, value));
        }
    }
}
