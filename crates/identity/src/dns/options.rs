//! `kind: dns`: forward-confirmed reverse DNS.

use std::{sync::Arc, time::Duration};

use regex_lite::Regex;

use super::{Dns, Settings};
use crate::{
    expression::Expression,
    method::{Entry, Method, Opened, Opening},
    settings::{
        Fields, Node, Problem, Setting,
        read::{self, render_duration},
        render::{list, mapping, quoted},
    },
};

/// Which names count. Patterns are kept as they are written, since those can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Options {
    pattern: String,
    /// What is replaced, and by what.
    rewrite: Vec<(String, String)>,
    timeout: Duration,
}

/// How it is written.
pub static METHOD: Entry =
    Entry { word: "dns", settings: &SETTINGS, read: |fields| Some(Arc::new(Options::read(fields)?)) };

const SETTINGS: [Setting; 3] = [
    Setting::nested(
        "pattern",
        "",
        "A regular expression that the whole name has to match, such as `.*\\.example\\.com`. Names are in lower case. \
         Required.",
    ),
    Setting::nested("rewrite", "[]", "A list of replacements in the name, one after another."),
    Setting::nested("timeout", "2s", "How long the look-ups of one address may take together."),
];

const REWRITE: &[Setting] = &[
    Setting::nested("from", "", "A regular expression of the part that is replaced. Required."),
    Setting::nested("to", "", "What stands in its place; `$1` is the first group of `from`."),
];

impl Options {
    fn read(fields: &mut Fields) -> Option<Self> {
        let missing = "a dns method needs a `pattern` of the names that it accepts, such as '.*\\.example\\.com'";
        let pattern = fields.required("pattern", missing, |node| regex(node, |text| Expression::new(text).map(drop)));
        let rewrite = fields.items("rewrite", REWRITE, |place, fields| {
            let from = fields.optional("from", |node| regex(node, |text| Regex::new(text).map(drop)))?;
            let to = fields.optional("to", read::text)?;
            let Some(from) = from else {
                let message = "a replacement needs `from`: a regular expression of what is replaced";
                fields.problems.push(Problem::new(place.clone(), message));
                return None;
            };
            Some((from, to.unwrap_or_default()))
        });
        let timeout = fields.value("timeout", read::limit);
        Some(Self { pattern: pattern?, rewrite: rewrite?, timeout: timeout? })
    }
}

fn regex(node: &Node, check: impl FnOnce(&str) -> Result<(), regex_lite::Error>) -> read::Read<String> {
    let text = read::text(node)?;
    match check(&text) {
        Ok(()) => Ok(text),
        Err(error) => Err(Problem::new(node.place.clone(), format!("this is not a regular expression: {error}"))),
    }
}

impl Method for Options {
    fn entry(&self) -> &'static Entry {
        &METHOD
    }

    fn render(&self) -> Vec<(&'static str, String)> {
        let entry = |(from, to): &(String, String)| {
            mapping(vec![("from".to_owned(), quoted(from)), ("to".to_owned(), quoted(to))])
        };
        vec![
            ("pattern", quoted(&self.pattern)),
            ("rewrite", list(self.rewrite.iter().map(entry))),
            ("timeout", render_duration(self.timeout)),
        ]
    }

    fn open(&self, name: &str, opening: &Opening) -> Result<Opened, String> {
        let rewrite = self.rewrite.iter().map(|(from, to)| Ok((Regex::new(from)?, to.clone())));
        let compiled =
            Expression::new(&self.pattern).and_then(|pattern| Ok((pattern, rewrite.collect::<Result<_, _>>()?)));
        let (pattern, rewrite) = compiled.map_err(|error: regex_lite::Error| error.to_string())?;
        let settings = Settings { name: name.to_owned(), timeout: self.timeout, pattern, rewrite };
        let prove = Arc::new(Dns::new(settings, Arc::clone(&opening.resolver)));
        Ok(Opened::new(prove))
    }
}
