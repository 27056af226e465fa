//! Whether the JSON Schema of a configuration agrees with the program on the texts of the tests.
#![allow(dead_code, reason = "each test file uses its own part")]

#[path = "mistakes.rs"]
mod mistakes;

use std::{
    collections::{HashMap, hash_map::Entry},
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{LazyLock, Mutex, OnceLock, PoisonError},
};

/// What is said of mistakes that no schema sees.
const UNSEEN: &[&str] = &[
    // The text itself: YAML, and what is in a text.
    "appears here a second time",
    "followed by base64",
    "there is no attribute",
    "which is not a URL with",
    "a network is an address",
    "the beginning of an address is written as a network",
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
    "an absolute path without `..`",
    "address:port, such as 127.0.0.1:8443, or unix:/path",
    "an address or a range such as",
    "a program is expected here",
    "these characters are not allowed in a key",
    "is not the ARN of a trust anchor",
    "is not the ARN of a profile",
    "the name of a profile has",
    "the name of a cluster has",
    "a session name is empty",
    "characters of A-Z a-z 0-9 _ + = , . @",
    "a line of the file",
    "host or host:port",
    "a name, an address, a network such as",
    "sha256// and the base64",
    "the URL of an access portal",
    "the name of a role at the source",
    "names no module-path",
    "a URL such as http://169.254.170.23/v1/credentials",
    "a text, a number, true, false or a list",
    "an address or a network, such as",
    "a URL such as ldaps://ldap.example.com",
    "a DN such as",
    "the name of an attribute",
    "a path such as /",
    "the name of a trust domain",
    "the name of a header",
    "a role name is empty",
    "an address alone proves no identity",
    // The names of a mapping's entries.
    "has the illegal character",
    "cannot be one segment of a path",
    "is a parameter that alppaca sets itself",
    // How deep.
    "deeper than",
    "an empty mapping",
    "no caller could prove who it is",
    "`deny` is empty",
    "`emergency` is empty",
    "`approval` is empty",
    // What one setting means to another.
    "there is no handler",
    "Vault needs a login",
    "is not captured by `match`",
    "a jwt method needs",
    "there is no account",
    "which is not one of `directories`",
    "an ssh method needs",
    "there is no identity method",
    "a proxy method needs",
    "a replacement needs `from`",
    "`sts` is missing",
    "`sts` needs `credentials`",
    "in clear text",
    "has no effect without",
    "is for emergencies",
    "needs approvals, and `approvals` is missing",
    "so a `role_arn` is needed",
    "it requests a role in the account",
    "cannot have a session with tags for each pod",
    "there is no audit to require",
    "static keys need a",
    "other hosts could read the status page",
    "an sso source needs a",
    "`associations` or `service_accounts` is missing",
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
    if let Some(disagreement) = disagreement(schema, text, refused) {
        panic!("{disagreement}");
    }
}

/// The same for each text that differs from a legal one by one mistake: how many there were, and where the two disagree.
pub(crate) fn compare_changed(
    schema: impl Fn() -> serde_json::Value,
    texts: impl IntoIterator<Item = String>,
    parse: impl Fn(&str) -> Option<String>,
) -> (usize, Vec<String>) {
    let (mut made, mut disagreements) = (mistakes::Mistakes::default(), Vec::new());
    let mut count = 0;
    for text in texts {
        for changed in made.made_in(&text) {
            count += 1;
            disagreements.extend(disagreement(&schema, &changed, parse(&changed).as_deref()));
        }
    }
    (count, disagreements)
}

fn disagreement(schema: impl FnOnce() -> serde_json::Value, text: &str, refused: Option<&str>) -> Option<String> {
    static VALIDATOR: OnceLock<Option<Mutex<Validator>>> = OnceLock::new();
    let validator = VALIDATOR.get_or_init(|| Validator::start(&schema()).map(Mutex::new)).as_ref()?;
    let wrong = validator.lock().unwrap_or_else(PoisonError::into_inner).wrong(text);
    match (wrong, refused) {
        (Some(wrong), None) => Some(format!("the schema refuses what is legal: {wrong}\n{text}")),
        (None, Some(said)) => {
            let unseen = said.lines().any(|line| UNSEEN.iter().any(|unseen| line.contains(unseen)));
            (!unseen).then(|| format!("the schema takes what is refused:\n{text}\n{said}"))
        }
        (Some(_), Some(_)) | (None, None) => None,
    }
}

/// What is wrong with a document, if there is something to ask with.
pub(crate) fn wrong(schema: &serde_json::Value, document: &str) -> Option<String> {
    Validator::start(schema)?.wrong(document)
}

/// Checks records, one a line, with their published schema. Newer keys than its own are legal for others, but not here.
#[allow(clippy::disallowed_methods, reason = "the environment says whether this is CI")]
pub(crate) fn check_records(published: &str, records: &str) {
    /// One for each schema.
    static VALIDATORS: LazyLock<Mutex<HashMap<String, Validator>>> = LazyLock::new(Mutex::default);
    let mut validators = VALIDATORS.lock().unwrap_or_else(PoisonError::into_inner);
    let validator = match validators.entry(published.to_owned()) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(entry) => {
            let mut schema = serde_json::from_str(published).expect("JSON");
            close(&mut schema);
            let Some(validator) = Validator::start(&schema) else {
                assert!(std::env::var_os("CI").is_none(), "no ALPPACA_TEST_PYTHON, which `cargo xtask test` makes");
                return;
            };
            entry.insert(validator)
        }
    };
    for record in records.lines() {
        assert_eq!(validator.wrong(record), None, "{record}");
    }
}

/// Has the schema refuse keys that it does not have.
fn close(schema: &mut serde_json::Value) {
    match schema {
        serde_json::Value::Object(parts) => {
            if parts.contains_key("properties") {
                parts.insert("additionalProperties".to_owned(), false.into());
            }
            // What stands below `if` only chooses.
            parts.iter_mut().filter(|(key, _)| *key != "if").for_each(|(_, part)| close(part));
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// Reads a configuration of the daemon, and compares.
pub(crate) fn parse(text: &str) -> Result<alppaca::config::Loaded, String> {
    let parsed = alppaca::config::parse(vec![("a.yaml".into(), text.to_owned())]).map_err(|errors| errors.to_string());
    let refused = parsed.as_ref().err().map(String::as_str);
    compare(|| alppaca::config::schema().expect("all keys are read"), text, refused);
    parsed
}
