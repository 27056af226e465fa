//! What is printed with `--json` is as its published schema says.

#[path = "support/schema.rs"]
mod schema;
mod support;

use std::{fs, path::Path, process::Command};

use alppaca::mock_ims::{Answer, Behaviour};
use support::{Daemon, Ims};

/// Of the tests themselves: the first schema is not that of all records.
#[test]
fn records_are_checked_with_their_own_schema() {
    let schema = |key: &str| format!(r#"{{"properties": {{"{key}": {{}}}}, "required": ["{key}"]}}"#);
    for key in ["one", "two", "one"] {
        schema::check_records(&schema(key), &format!(r#"{{"{key}": 1}}"#));
    }
    #[allow(clippy::disallowed_methods, reason = "the environment says whether there is a validator")]
    let checks = std::env::var_os("ALPPACA_TEST_PYTHON").is_some();
    let other = std::panic::catch_unwind(|| schema::check_records(&schema("two"), r#"{"one": 1}"#));
    assert_eq!(other.is_err(), checks);
}

#[test]
fn each_document_is_as_its_schema_says() {
    let behaviour = Behaviour { documents: vec![("sick".into(), Answer::Status(403))], ..Behaviour::default() };
    let ims = Ims::start(behaviour);
    let sources = "sources: {me: {kind: site, url: 'http://127.0.0.1:1', sign_in: {kind: ssh}}}\n";
    let audit = tempfile::NamedTempFile::new().expect("a file");
    let audit = format!("audit_log: {}\npolicy: {{default: everything}}\n", audit.path().display());
    let daemon = Daemon::with_credentials(&format!("{}{sources}{audit}", ims.config()));
    let socket = daemon.socket();
    let url = format!("http://{}", daemon.address());
    for (name, arguments) in [
        ("status", &["status"][..]),
        ("roles", &["roles"]),
        ("whoami", &["whoami"]),
        ("doctor", &["doctor"]),
        ("conformance", &["conformance", &url, "--v1"]),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_alppaca"));
        let output = command.args(arguments).arg("--json").env("ALPPACA_SOCKET", &socket).output().expect("it runs");
        let document = String::from_utf8(output.stdout).expect("text");
        let json: serde_json::Value = serde_json::from_str(&document).unwrap_or_else(|_| panic!("{name}: {document}"));
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schemas").join(format!("{name}.schema.json"));
        let published = fs::read_to_string(path).expect("a schema");
        let published: serde_json::Value = serde_json::from_str(&published).expect("JSON");
        assert_eq!(schema::wrong(&published, &document), None, "{name}: {json:#}");
    }
}
