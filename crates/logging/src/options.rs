//! The settings of the log and of the audit's records.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use alppaca_settings::{
    Fields, Node, Problem, Value,
    fields::unknown,
    read::{self, Read},
    render::{list, quoted},
};
use serde_json::{Value as Json, json};

use crate::{
    Format, check_handler,
    file::{FileSink, Rotation},
    handler::Target,
    needs::{Need, Needs},
    sink::Sink,
};

/// The least important level that is logged (`log_level`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// What the daemon does.
    Info,
    /// What one should know (start, stop, requests) and what is not as it should be: the default.
    Warning,
    /// Only what failed.
    Error,
}

/// Where the log goes and what it looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logging {
    /// The least important level that is logged.
    pub level: LogLevel,
    /// The Python %-style format (`log_format`).
    pub format: String,
    /// `logging_handler`; without it: the journal under systemd, else `/dev/log`, else stderr.
    pub handler: Option<Handler>,
    /// Whether each request is logged (`access_log`).
    pub access_log: bool,
}

/// A handler in the words of Python's `logging`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handler {
    /// `logging` or `logging.handlers`.
    pub module: String,
    /// The class in that module.
    pub class: String,
    /// Positional arguments.
    pub args: Vec<Argument>,
    /// Arguments by name.
    pub kwargs: Vec<(String, Argument)>,
}

/// A value of `args` or `kwargs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A text.
    Text(String),
    /// A list, such as the `[host, port]` of a `SysLogHandler`.
    List(Vec<Argument>),
}

/// Where hand-outs and denials are recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditTarget {
    /// In this file, which may be rotated by others.
    File(PathBuf),
    /// In the local syslog.
    Syslog,
    /// In the journal, on stderr.
    Journal,
}

/// The handlers of Python's `logging` that exist here.
const HANDLERS: [(&str, &str); 7] = [
    ("logging", "StreamHandler"),
    ("logging", "FileHandler"),
    ("logging", "NullHandler"),
    ("logging.handlers", "WatchedFileHandler"),
    ("logging.handlers", "RotatingFileHandler"),
    ("logging.handlers", "TimedRotatingFileHandler"),
    ("logging.handlers", "SysLogHandler"),
];

impl Logging {
    /// Reads `log_level`, `log_format`, `logging_handler` and `access_log`.
    pub fn read(fields: &mut Fields) -> Option<Self> {
        let level = fields.value("log_level", log_level);
        let format = fields.value("log_format", |node| {
            let format = read::text(node)?;
            match Format::parse(&format) {
                Ok(_) => Ok(format),
                Err(error) => Err(Problem::new(node.place.clone(), error.to_string())),
            }
        });
        let access_log = fields.value("access_log", read::boolean);
        let handler = handler(fields);
        Some(Self { level: level?, format: format?, handler: handler?, access_log: access_log? })
    }

    /// The value of one of these keys as YAML.
    pub fn render(&self, key: &str) -> Option<String> {
        Some(match key {
            "log_level" => match self.level {
                LogLevel::Debug => "debug".to_owned(),
                LogLevel::Info => "info".to_owned(),
                LogLevel::Warning => "warning".to_owned(),
                LogLevel::Error => "error".to_owned(),
            },
            "log_format" => quoted(&self.format),
            "logging_handler" => self.handler.as_ref()?.render(),
            "access_log" => self.access_log.to_string(),
            _ => return None,
        })
    }
}

impl Logging {
    /// Makes the file of a handler that never makes another one: a confined process may only append to it. What is wrong with
    /// it shows when the log is opened.
    pub fn make_file(&self) {
        let mut needs = Needs::default();
        self.needs(&mut needs);
        for needed in needs.iter() {
            if let Need::Append(path) = &needed.need {
                let _shown_later = FileSink::new(path.clone(), Rotation::None).open();
            }
        }
    }

    /// Adds what the handler needs of the system.
    pub fn needs(&self, needs: &mut Needs) {
        let target = self.handler.as_ref().map(|handler| Target::from_handler(handler, Format::default()));
        if let Some(Ok(Target { sink, .. })) = target {
            sink.needs(needs);
        }
    }
}

impl Handler {
    fn render(&self) -> String {
        let kwargs = self.kwargs.iter().map(|(key, value)| format!("{}: {}", quoted(key), render_argument(value)));
        format!(
            "{{module: {}, class: {}, args: {}, kwargs: {{{}}}}}",
            self.module,
            self.class,
            list(self.args.iter().map(render_argument)),
            kwargs.collect::<Vec<_>>().join(", ")
        )
    }
}

impl AuditTarget {
    /// Adds what it needs of the system.
    pub fn needs(&self, needs: &mut Needs) {
        if let Self::File(path) = self {
            needs.add(Need::Follow(path.clone()), "the file");
        }
    }

    /// What keeps its file from being made on this host: a sentence about the start of `whom`, such as "the daemon".
    pub fn warning(&self, whom: &str) -> Option<String> {
        let Self::File(path) = self else { return None };
        let is_missing = |directory: &&Path| {
            std::fs::metadata(directory).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
        };
        let directory = path.parent().filter(is_missing)?.display();
        Some(format!(
            "audit_log: there is no directory {directory}; unless its service makes it, {whom} will not start"
        ))
    }

    /// Reads the value of `audit_log`.
    pub fn read(node: &Node) -> Read<Self> {
        match read::text_like(node, "^(syslog|journal|/.*)$")?.as_str() {
            "syslog" => Ok(Self::Syslog),
            "journal" => Ok(Self::Journal),
            path if path.starts_with('/') => Ok(Self::File(path.into())),
            _ => Err(Problem::new(node.place.clone(), "an absolute path, `syslog` or `journal` is expected here")),
        }
    }

    /// The value of `audit_log` as YAML.
    pub fn render(&self) -> String {
        match self {
            Self::File(file) => quoted(&file.to_string_lossy()),
            Self::Syslog => "syslog".to_owned(),
            Self::Journal => "journal".to_owned(),
        }
    }
}

/// The levels of Python's `logging`.
fn log_level(node: &Node) -> Read<LogLevel> {
    let levels = [
        ("debug", LogLevel::Debug),
        ("info", LogLevel::Info),
        ("warning", LogLevel::Warning),
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warning),
        ("critical", LogLevel::Error),
    ];
    read::choice(node, &levels)
}

#[allow(clippy::option_option, reason = "wrong and absent are not the same")]
fn handler(fields: &mut Fields) -> Option<Option<Handler>> {
    let Some(node) = fields.given("logging_handler").cloned() else { return Some(None) };
    fields.note(read::takes(&node, handler_schema))?;
    let Value::Map(entries) = &node.value else {
        let message = format!("a mapping with `module` and `class` is expected here, not {}", node.kind());
        fields.problems.push(Problem::new(node.place, message));
        return None;
    };
    let found = unknown(entries, || ["module", "class", "args", "kwargs"].into_iter());
    let mut wrong = !found.is_empty();
    fields.problems.extend(found);
    let part =
        |key: &str| entries.iter().find(|(known, _)| known.text == key).map(|(_, node)| node).filter(|n| !n.is_null());
    let read = part("module").map_or_else(|| Ok("logging".to_owned()), read::text);
    let module = fields.note(read)?;
    let Some(class_node) = part("class") else {
        fields.problems.push(Problem::new(node.place, "a handler needs a `class`, such as WatchedFileHandler"));
        return None;
    };
    let class = fields.note(read::text(class_node))?;
    if !HANDLERS.contains(&(&*module, &*class)) {
        let known: Vec<String> = HANDLERS.iter().map(|(module, class)| format!("{module}.{class}")).collect();
        let message = format!("there is no handler {module}.{class}; there are {}", known.join(", "));
        fields.problems.push(Problem::new(class_node.place.clone(), message));
        wrong = true;
    }
    let args = part("args").map_or_else(|| Ok(Vec::new()), |node| read::list(node, argument));
    let args = fields.note(args)?;
    let mut kwargs = Vec::new();
    match part("kwargs").map(|node| (&node.value, node)) {
        Some((Value::Map(entries), _)) => {
            for (key, node) in entries {
                kwargs.push((key.text.clone(), fields.note(argument(node))?));
            }
        }
        Some((_, node)) => {
            let message = format!("a mapping of arguments is expected here, not {}", node.kind());
            fields.problems.push(Problem::new(node.place.clone(), message));
            wrong = true;
        }
        None => {}
    }
    let handler = Handler { module, class, args, kwargs };
    if !wrong && let Err(error) = check_handler(&handler) {
        fields.problems.push(Problem::new(node.place.clone(), error.to_string()));
        wrong = true;
    }
    (!wrong).then_some(Some(handler))
}

/// A handler as a JSON Schema.
fn handler_schema() -> Json {
    let [modules, classes] = [|(module, _): &(&'static str, _)| *module, |(_, class): &(_, &'static str)| *class]
        .map(|part| HANDLERS.iter().map(part).collect::<BTreeSet<&str>>());
    json!({
        "type": "object", "additionalProperties": false, "required": ["class"], "properties": {
            "module": {"enum": modules, "default": "logging"},
            "class": {"enum": classes},
            "args": {"description": "Its arguments, as Python has them.", "type": ["array", "string", "number", "boolean", "null"]},
            "kwargs": {"description": "The same by name.", "type": ["object", "null"]},
        },
    })
}

/// An argument of a log handler.
fn argument(node: &Node) -> Read<Argument> {
    Ok(match &node.value {
        _ if node.is_null() => Argument::Null,
        Value::Scalar { text, plain: true } => match (read::parse_boolean(text), text.parse()) {
            (Some(truth), _) => Argument::Bool(truth),
            (None, Ok(number)) => Argument::Integer(number),
            (None, Err(_)) => Argument::Text(text.clone()),
        },
        Value::Scalar { text, .. } => Argument::Text(text.clone()),
        Value::List(items) => Argument::List(items.iter().map(argument).collect::<Read<_>>()?),
        Value::Binary(_) | Value::Map(_) | Value::Any(_) => {
            return read::wrong(node, "a text, a number, true, false or a list");
        }
    })
}

fn render_argument(value: &Argument) -> String {
    match value {
        Argument::Null => "null".to_owned(),
        Argument::Bool(truth) => truth.to_string(),
        Argument::Integer(number) => number.to_string(),
        Argument::Text(text) => quoted(text),
        Argument::List(items) => list(items.iter().map(render_argument)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_in_a_directory_that_is_not_there_is_warned_of() {
        let warning = |target: &AuditTarget| target.warning("the server");
        assert_eq!(
            warning(&AuditTarget::File("/no/such/place/audit.log".into())).as_deref(),
            Some(
                "audit_log: there is no directory /no/such/place; unless its service makes it, the server will not start"
            )
        );
        for target in [AuditTarget::File("/tmp/audit.log".into()), AuditTarget::Syslog, AuditTarget::Journal] {
            assert_eq!(warning(&target), None);
        }
    }
}
