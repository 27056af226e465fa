//! Whether the JSON Schema of a configuration agrees with the program on the texts of the tests.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
};

/// What is said of mistakes that no schema sees.
const UNSEEN: &[&str] = &[
    // The text itself: YAML, and what is in a text.
    "appears here a second time",
    "followed by base64",
    "there is no attribute",
    "which is not a URL with",
    "a network is an address",
    "stands for all hosts",
    "an account has twelve digits",
    "is not the ARN of a role",
    "can be filled in",
    "a policy as JSON",
    "the ARN of a policy",
    "a session lasts from",
    "a list of scopes",
    "a URL with https",
    "an http URL of this host",
    // The names of a mapping's entries.
    "has the illegal character",
    "cannot be one segment of a path",
    "is a parameter that alppaca sets itself",
    // How many, or how deep.
    "an empty list",
    "deeper than",
    // What one setting means to another.
    "has no (further) argument",
    "filename has to be",
    "this kind of identity needs a `file`",
    "this has no meaning here",
    "an identity by SSH needs a `key`",
    "`user` is the name of a person",
    "an `issuer` without https",
    "there are `sources`, but no `roles`",
    "there is no source",
    "is no role",
    "a circle",
    "give this one another",
    "a source is also called",
    "has no effect here",
    "role chaining",
    "has no credentials of its own",
    "there is no tag",
    "set only one, or make them agree",
    // The tree of the metadata.
    "the metadata cannot be removed",
    "`iam` is built from the roles",
    "`public-keys` lists keys",
];

/// A real validator (jsonschema of Python) with a schema.
struct Validator {
    _child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Validator {
    #[allow(clippy::disallowed_methods, reason = "`cargo xtask test` says in the environment where its Python is")]
    fn start(schema: &serde_json::Value) -> Option<Self> {
        let python = std::env::var_os("ALPPACA_TEST_PYTHON")?;
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        write!(file, "{schema}").expect("written");
        let mut command = Command::new(python);
        command.arg("-c").arg(include_str!("schema.py")).arg(file.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("Python");
        let (to, from) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let mut validator = Self { _child: child, to, from: BufReader::new(from) };
        // It has read the schema when it answers.
        assert_eq!(validator.wrong(""), None);
        Some(validator)
    }

    fn wrong(&mut self, text: &str) -> Option<String> {
        writeln!(self.to, "{}", serde_json::Value::from(text)).expect("it reads");
        let mut line = String::new();
        self.from.read_line(&mut line).expect("it answers");
        serde_json::from_str(&line).expect("JSON, unless Python says why not")
    }
}

/// Checks that the schema takes what the program takes, and refuses what it refuses, but for what no schema can see.
pub(crate) fn compare(schema: impl FnOnce() -> serde_json::Value, text: &str, refused: Option<&str>) {
    static VALIDATOR: OnceLock<Option<Mutex<Validator>>> = OnceLock::new();
    let Some(validator) = VALIDATOR.get_or_init(|| Validator::start(&schema()).map(Mutex::new)) else { return };
    let wrong = validator.lock().unwrap_or_else(PoisonError::into_inner).wrong(text);
    match (wrong, refused) {
        (Some(wrong), None) => panic!("the schema refuses what is legal: {wrong}\n{text}"),
        (None, Some(said)) => {
            let unseen = said.lines().any(|line| UNSEEN.iter().any(|unseen| line.contains(unseen)));
            assert!(unseen, "the schema takes what is refused:\n{text}\n{said}");
        }
        (Some(_), Some(_)) | (None, None) => {}
    }
}

/// What is wrong with a document, if there is something to ask with.
pub(crate) fn wrong(schema: &serde_json::Value, document: &str) -> Option<String> {
    Validator::start(schema)?.wrong(document)
}

/// Reads a configuration of the daemon, and compares.
pub(crate) fn parse(text: &str) -> Result<alppaca::config::Loaded, String> {
    let parsed = alppaca::config::parse(vec![("a.yaml".into(), text.to_owned())]).map_err(|errors| errors.to_string());
    let refused = parsed.as_ref().err().map(String::as_str);
    compare(|| alppaca::config::schema().expect("all keys are read"), text, refused);
    parsed
}
