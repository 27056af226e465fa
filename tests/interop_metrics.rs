//! The metrics of a daemon that runs, read by the parser of `OpenMetrics` in Prometheus's client library for Python.

mod support;

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use alppaca::mock_ims::{Answer, Behaviour};
use serde_json::Value;
use support::{Daemon, Ims};

/// What the parser says to a text.
fn parse(python: &str, text: &str) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/python/openmetrics.py");
    let mut command = Command::new(python);
    command.arg(script).env("PYTHONDONTWRITEBYTECODE", "1");
    let mut parser =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("python starts");
    parser.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
    parser.wait_with_output().expect("it ends")
}

/// What has no sample here: a list that is refused, and a client certificate. Other tests see them.
const NOT_SEEN: [&str; 3] = [
    "alppaca_list_refused_since_timestamp_seconds",
    "alppaca_client_certificate_expiration_timestamp_seconds",
    "alppaca_sign_in_needed",
];
/// What is not even named while the clocks agree, the service accounts are not known, and calls are not traced.
const NOT_NAMED: usize = 4;

#[test]
#[allow(clippy::disallowed_methods, reason = "the environment tells which Python has the parser")]
fn every_metric_is_what_the_specification_wants() {
    let Ok(python) = std::env::var("ALPPACA_TEST_PYTHON") else {
        support::skip("the metrics", "no ALPPACA_TEST_PYTHON; `cargo xtask test` makes one");
        return;
    };
    // A role that has credentials, one that has none, and some traffic.
    let ims = Ims::start(Behaviour {
        roles: vec!["web".into(), "sick.er@x=y,z+1".into()],
        documents: vec![("sick.er@x=y,z+1".into(), Answer::Status(403))],
        lifetime: Duration::from_hours(1),
        ..Behaviour::default()
    });
    // With all that has metrics of its own.
    let folder = tempfile::tempdir().expect("a directory");
    let audit = folder.path().join("audit.log");
    let config = format!(
        "{}metrics_listen: '127.0.0.1:0'\naudit_log: {}\naudit_required: true\n\
         pod_identity: {{listen: '127.0.0.1:0', issuer: 'https://127.0.0.1:1', service_accounts: {{\
         api_server: 'https://127.0.0.1:1', allow: [{{namespace: prod, roles: web}}]}}}}\n\
         files: [{{path: app, role: web}}]\n",
        ims.config(),
        audit.display()
    );
    let daemon = Daemon::with_credentials(&config);
    daemon.wait_for_log("role sick.er@x=y,z+1: cannot fetch");
    daemon.get("/latest/meta-data/iam/security-credentials/web");
    support::raw(daemon.address(), b"no HTTP\r\n\r\n");
    let line = daemon.wait_for_log("metrics at ");
    let address = line.rsplit(' ').next().and_then(|address| address.parse().ok()).expect("an address");
    let text = support::get(address, "/metrics").body;

    let output = parse(&python, &text);
    assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
    let families: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let page = fs::read_to_string(page).expect("the page");
    let page = page.split("\n## The role server\n").next().expect("the daemon's");
    for family in &families {
        let part = |key: &str| family[key].as_str().expect("a text");
        let (name, help) = (part("name"), part("help"));
        assert!(help.ends_with('.') && !["unknown", ""].contains(&part("type")), "{family}");
        assert_eq!(part("unit"), if name.ends_with("_seconds") { "seconds" } else { "" }, "{family}");
        assert!(name.starts_with("alppaca_"), "{family}");
        assert!(page.contains(&format!("| `{name}")), "docs/metrics.md does not explain {name}");
        let seen = family["samples"] != serde_json::json!([]);
        assert_eq!(seen, !NOT_SEEN.contains(&name), "{family}: what was seen of it");
    }
    let explained = page.lines().filter(|line| line.starts_with("| `alppaca_")).count();
    assert_eq!(families.len() + NOT_NAMED, explained, "docs/metrics.md has a row for each: {families:?}");

    // The parser believes nothing by accident.
    for (from, to) in [("# EOF\n", ""), ("_total{", "{"), ("# UNIT ", "# UNIT x_"), (" counter\n", " countor\n")] {
        assert!(text.contains(from), "{from}");
        assert!(!parse(&python, &text.replace(from, to)).status.success(), "{from} became {to}");
    }
}
