//! `kind: process`: an external `credential_process`.

use std::time::Duration;

use super::{Kind, SourceKind, required, setting};
use alppaca_settings::{
    Setting,
    fields::Fields,
    problem::Problem,
    read::{self, render_duration},
    render::{list, quoted},
    words::split_words,
    yaml::{Node, Value},
};

/// The program and how it is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// The program and its arguments (`command`).
    pub command: Vec<String>,
    /// From its start to its end (`timeout`).
    pub timeout: Duration,
    /// Variables beside `PATH` and `HOME` (`environment`).
    pub environment: Vec<(String, String)>,
    /// How long a set without an end is taken to be good (`lifetime`).
    pub lifetime: Duration,
    /// Whether clients get sets without a session token (`serve_long_term`).
    pub serve_long_term: bool,
    /// How many programs may run at once (`concurrency`).
    pub concurrency: usize,
}

pub(in crate::config) const KIND: Kind = Kind {
    word: "process",
    settings: &SETTINGS,
    read: |fields| read_process(fields).map(|process| SourceKind::Process(Box::new(process))),
};

/// `lifetime`, wherever a set may come without an end.
pub(super) const LIFETIME: Setting = setting(
    "lifetime",
    "1h",
    "How long credentials without an expiration are assumed to be valid. New ones are fetched long before.",
);

/// `serve_long_term`, wherever a set may come without a session token.
pub(super) const SERVE_LONG_TERM: Setting = setting(
    "serve_long_term",
    "false",
    "Whether clients get keys without a session token: those of an IAM user, which never expire. Such keys may \
     always assume roles.",
);

const SETTINGS: [Setting; 6] = [
    setting("command", "", "The program and its arguments: a list, or a text that is split like in a shell. Required."),
    setting("timeout", "30s", "Longest time for the program, which is then killed with its process group."),
    setting("environment", "", "A mapping of variables. The program gets these, `PATH` and `HOME`, and no other."),
    LIFETIME,
    SERVE_LONG_TERM,
    setting("concurrency", "1", "How many may run at once."),
];

fn read_process(fields: &mut Fields) -> Option<Process> {
    let command =
        required(fields, "command", "a process needs a `command`, such as [/usr/local/bin/login, --json]", command);
    let timeout = fields.value("timeout", read::limit);
    let environment = fields.optional("environment", variables);
    let lifetime = fields.value("lifetime", lifetime);
    let serve_long_term = fields.value("serve_long_term", read::boolean);
    let concurrency = fields.value("concurrency", read::count);
    Some(Process {
        command: command?,
        timeout: timeout?,
        environment: environment?.unwrap_or_default(),
        lifetime: lifetime?,
        serve_long_term: serve_long_term?,
        concurrency: concurrency?,
    })
}

/// At least a minute: it is fetched anew after a part of it.
pub(super) fn lifetime(node: &Node) -> Result<Duration, Problem> {
    let duration = read::duration(node)?;
    if duration >= Duration::from_mins(1) {
        return Ok(duration);
    }
    Err(Problem::new(node.place.clone(), "a time of at least 1m is expected here"))
}

fn command(node: &Node) -> Result<Vec<String>, Problem> {
    let wrong = |message: &str| Problem::new(node.place.clone(), message);
    let words = match &node.value {
        Value::List(items) => items.iter().map(read::text).collect::<Result<_, _>>()?,
        _ => split_words(&read::text(node)?).ok_or_else(|| wrong("a quotation mark is not closed here"))?,
    };
    if words.first().is_none_or(String::is_empty) {
        return Err(wrong("a program is expected here"));
    }
    Ok(words)
}

pub(super) fn variables(node: &Node) -> Result<Vec<(String, String)>, Problem> {
    let Value::Map(entries) = &node.value else {
        let message = format!("a mapping of variables to their values is expected here, not {}", node.kind());
        return Err(Problem::new(node.place.clone(), message));
    };
    let variable = |(key, node): &(super::Key, Node)| {
        let value = if node.is_null() { String::new() } else { read::text(node)? };
        if key.text.is_empty() || key.text.contains(['=', '\0']) {
            return Err(Problem::new(key.place.clone(), "this is not the name of a variable"));
        }
        Ok((key.text.clone(), value))
    };
    entries.iter().map(variable).collect()
}

pub(super) fn render(process: &Process) -> Vec<(&'static str, String)> {
    // Arguments may hold passwords, though they should not: `/proc` shows them to every account.
    let mut all = vec![
        ("command", list(process.command.iter().map(|word| quoted(word)))),
        ("timeout", render_duration(process.timeout)),
    ];
    all.extend(render_variables(&process.environment));
    all.extend([
        ("lifetime", render_duration(process.lifetime)),
        ("serve_long_term", process.serve_long_term.to_string()),
        ("concurrency", process.concurrency.to_string()),
    ]);
    all
}

/// `environment`, if there is any.
pub(super) fn render_variables(variables: &[(String, String)]) -> Option<(&'static str, String)> {
    let all: Vec<String> =
        variables.iter().map(|(name, value)| format!("{}: {}", quoted(name), quoted(value))).collect();
    (!all.is_empty()).then(|| ("environment", format!("{{{}}}", all.join(", "))))
}

impl Process {
    /// In a few words. Arguments are not shown.
    pub(in crate::config) fn summary(&self) -> String {
        self.command.first().cloned().unwrap_or_default()
    }
}
