//! Mistakes in legal configurations, one at a time.

use std::{collections::BTreeSet, sync::Arc};

use alppaca_settings::{Node, Value, problem::Source, yaml};

/// Values of every type, and those that mean little.
const VALUES: [&str; 10] = ["[]", "{}", "[[]]", "null", "''", "frobnicate", "0", "-1", "1.5", "true"];

/// Makes each mistake once at each path of keys.
#[derive(Default)]
pub(super) struct Mistakes {
    made: BTreeSet<String>,
}

impl Mistakes {
    /// The text with one mistake each: a key that is removed, unknown, or has another value.
    pub(super) fn made_in(&mut self, text: &str) -> Vec<String> {
        let source = Arc::new(Source { name: "example.yaml".into(), text: text.to_owned() });
        let Some(root) = yaml::read(&source).expect("an example is legal") else { return Vec::new() };
        let mut changed = Vec::new();
        self.below(&root, "", &|document| document, &mut changed);
        changed
    }

    /// Those at this node and below; `whole` writes the document with another text in the place of the node.
    fn below(&mut self, node: &Node, path: &str, whole: &dyn Fn(String) -> String, changed: &mut Vec<String>) {
        match &node.value {
            Value::Map(entries) => {
                let kind = entries.iter().find(|(key, _)| key.text == "kind").map(|(_, kind)| written(kind));
                let path = format!("{path}{}", kind.map(|kind| format!("({kind})")).unwrap_or_default());
                let texts: Vec<_> = entries.iter().map(|(key, node)| entry(&key.text, &written(node))).collect();
                let with = |at: usize, text: Option<String>| {
                    let before = texts[..at].iter().cloned();
                    let after = texts.iter().skip(at + 1).cloned();
                    whole(format!("{{{}}}", before.chain(text).chain(after).collect::<Vec<_>>().join(", ")))
                };
                if self.made.insert(format!("{path}.?")) {
                    changed.push(with(texts.len(), Some(entry("frobnicate", "1"))));
                }
                for (at, (key, node)) in entries.iter().enumerate() {
                    let path = format!("{path}.{}", key.text);
                    let replaced = |text: String| with(at, Some(entry(&key.text, &text)));
                    if self.made.insert(path.clone()) {
                        changed.push(with(at, None));
                        changed.extend(VALUES.iter().map(|value| replaced((*value).to_owned())));
                    }
                    self.below(node, &path, &replaced, changed);
                }
            }
            Value::List(items) => {
                let path = format!("{path}[]");
                let texts: Vec<_> = items.iter().map(written).collect();
                for (at, node) in items.iter().enumerate() {
                    let replaced = |text: String| {
                        let (mut texts, text) = (texts.clone(), text);
                        texts[at] = text;
                        whole(format!("[{}]", texts.join(", ")))
                    };
                    if self.made.insert(path.clone()) {
                        changed.extend(VALUES.iter().map(|value| replaced((*value).to_owned())));
                    }
                    self.below(node, &path, &replaced, changed);
                }
            }
            _ => {}
        }
    }
}

fn entry(key: &str, value: &str) -> String {
    format!("{}: {value}", quoted(key))
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The node in one line.
fn written(node: &Node) -> String {
    match &node.value {
        Value::Map(entries) => {
            let entries: Vec<_> = entries.iter().map(|(key, node)| entry(&key.text, &written(node))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::List(items) => format!("[{}]", items.iter().map(written).collect::<Vec<_>>().join(", ")),
        // It may be a number, a boolean or nothing.
        Value::Scalar { text, plain: true }
            if text.chars().all(|c| c.is_ascii_alphanumeric() || "._+-".contains(c)) =>
        {
            if text.is_empty() {
                "null".to_owned()
            } else {
                text.clone()
            }
        }
        Value::Scalar { text, .. } => quoted(text),
        Value::Binary(_) | Value::Any(_) => unreachable!("no example has bytes"),
    }
}
