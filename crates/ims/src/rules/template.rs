//! Texts with captures in braces, such as `{team}-deploy`.

use std::fmt;

use super::condition::Captures;

/// The capture that is always there: the name of the identity.
pub(super) const IDENTITY: &str = "identity";

/// A text with captures in braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Capture(String),
}

/// As it is written in the configuration.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Capture(name) => write!(f, "{{{name}}}"),
        })
    }
}

impl Template {
    /// Takes `text` apart. `known` are the captures that there are.
    pub fn new(text: &str, known: &[String]) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            let Some((name, after)) = from.strip_prefix('{').and_then(|inner| inner.split_once('}')) else {
                return Err("a brace belongs around the name of a capture, such as {team}".to_owned());
            };
            if name != IDENTITY && !known.iter().any(|other| other == name) {
                let list = match known {
                    [] => "there are no named captures".to_owned(),
                    known => format!("these are: {}", known.join(", ")),
                };
                return Err(format!("{{{name}}} is not captured by `match` in every case; {list}, and {{{IDENTITY}}}"));
            }
            parts.extend((!before.is_empty()).then(|| Part::Text(before.to_owned())));
            parts.push(Part::Capture(name.to_owned()));
            rest = after;
        }
        parts.extend((!rest.is_empty()).then(|| Part::Text(rest.to_owned())));
        Ok(Self(parts))
    }

    /// The text, if there is nothing to fill in.
    pub fn literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    pub(super) fn fill(&self, captures: &Captures, identity: &str) -> String {
        let value = |part: &'_ Part| match part {
            Part::Text(text) => text.clone(),
            Part::Capture(name) if name == IDENTITY => identity.to_owned(),
            Part::Capture(name) => captures.get(name).cloned().unwrap_or_default(),
        };
        self.0.iter().map(value).collect()
    }
}
