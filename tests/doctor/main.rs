//! `alppaca doctor`: the real binary in environments that are right and wrong, with real servers to ask.
#![allow(unreachable_pub, missing_docs, reason = "a test, in several files")]
#![allow(clippy::disallowed_methods, reason = "the servers' clocks are real")]

mod answers;
mod blocked;
mod clock;
mod laptop;
mod server;
#[path = "../support/mod.rs"]
mod support;
mod variables;

use std::{
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use alppaca::mock_ims::Behaviour;
use support::{Daemon, Ims, needs_root};

const ALPPACA: &str = env!("CARGO_BIN_EXE_alppaca");

fn doctor(socket: &Path, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(ALPPACA);
    command.args(["doctor", "--json", "--socket"]).arg(socket).env_clear().envs(variables.iter().copied());
    command.output().expect("it runs")
}

/// What is in the finding of a port that a daemon has which root has started by hand.
const OF_ROOTS: &str = ", and not systemd, keeps other users from ";

/// The exit code, and `LEVEL RULE MESSAGE -> REMEDY` of each finding but the last one, which is on the sandbox: it depends on
/// the kernel; and but that on a port, which depends on who runs the tests.
fn findings(output: &Output) -> (Option<i32>, Vec<String>) {
    let all: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    let part = |finding: &serde_json::Value, key: &str| finding[key].as_str().expect("a text").to_owned();
    let line = |finding: &serde_json::Value| {
        let [level, rule, message, remedy] = ["level", "rule", "message", "remedy"].map(|key| part(finding, key));
        format!("{level} {rule} {message} -> {remedy}")
    };
    let mut lines: Vec<_> = all.iter().map(line).collect();
    let sandbox = lines.pop().expect("one at least");
    assert!(sandbox.contains(" sandbox sandbox"), "{sandbox}");
    lines.retain(|line| !(line.starts_with("note port ") && line.contains(OF_ROOTS)));
    (output.status.code(), lines)
}

#[test]
fn a_port_that_only_a_process_of_roots_keeps_is_told_to_root() {
    if !needs_root("doctor: a port of root's") {
        return;
    }
    let ims = Ims::start(Behaviour::default());
    for account in ["", "user: nobody\ngroup: nogroup\n"] {
        let daemon = Daemon::with_credentials(&format!("{}{account}", ims.config()));
        let output = doctor(&daemon.socket(), &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &endpoint(&daemon))]);
        let found = String::from_utf8_lossy(&output.stdout);
        let program = std::fs::canonicalize(ALPPACA).expect("there").display().to_string();
        let keeper = format!("only process {}, \\\"{program}\\\"{OF_ROOTS}{}: ", daemon.pid(), daemon.address());
        assert!(found.contains(&keeper), "{keeper}\n{found}");
        // A port that was free, which the unit does not have.
        let add =
            format!("add `[Socket]` and `ListenStream={}` by `sudo systemctl edit alppaca.socket`", daemon.address());
        assert!(found.contains(&add), "{add}\n{found}");
    }
}

/// Whether one of `lines` starts and goes on as it should.
fn assert_found(lines: &[String], start: &str, part: &str) {
    assert!(lines.iter().any(|line| line.starts_with(start) && line.contains(part)), "{start} … {part}: {lines:#?}");
}

fn endpoint(daemon: &Daemon) -> String {
    format!("http://{}", daemon.address())
}

#[test]
fn where_all_is_well_it_says_what_a_program_gets() {
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&format!("{}metadata: {{region: eu-west-1}}\n", ims.config()));
    let url = endpoint(&daemon);
    let output = doctor(&daemon.socket(), &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url)]);
    let (code, lines) = findings(&output);
    assert_eq!(code, Some(0), "{lines:#?}");
    let [protocol, fresh, region] = lines.as_slice() else { panic!("{lines:#?}") };
    assert_eq!(*protocol, format!("good protocol IMDSv2 at {url} -> "));
    assert!(fresh.starts_with("good fresh role test_role: ASIA") && fresh.contains(", valid for 59m more"), "{fresh}");
    assert_eq!(region, "good region the region is eu-west-1 -> ");
    let issued = ims.handle.issued();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(issued.iter().all(|set| !text.contains(&set.secret_access_key) && !text.contains(&set.session_token)));
    // For people: one line each, without colours where there is no terminal.
    let mut command = Command::new(ALPPACA);
    let output = command.arg("doctor").env_clear().env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url).output();
    let text = String::from_utf8_lossy(&output.expect("it runs").stdout).into_owned();
    assert!(text.starts_with(&format!("ok       IMDSv2 at {url}\n")) && text.lines().count() == 4, "{text}");
}

#[test]
fn what_the_endpoint_does_wrong_is_found() {
    let two = || Ims::start(Behaviour { roles: vec!["a".into(), "b".into()], ..Behaviour::default() });
    let none = Ims::start(Behaviour { roles: vec![], ..Behaviour::default() });
    let short = Ims::start(Behaviour { lifetime: Duration::from_mins(10), ..Behaviour::default() });
    let (both, v2) = (two(), Ims::start(Behaviour::default()));
    let none = Daemon::start(&format!("{}imds_v1: true\n", none.config()));
    while none.get("/latest/meta-data/iam/").status != 404 {}
    let short = Daemon::with_credentials(&short.config());
    let both = Daemon::with_credentials(&format!("{}list_roles: all\n", both.config()));
    let v2 = Daemon::with_credentials(&format!("{}imds_v1: false\n", v2.config()));
    for (daemon, code, part) in [
        (&none, 1, "problem role there is no role here for this user (404) -> `alppaca status` shows the roles"),
        (&short, 0, "more; SDKs want 25 minutes -> make the upstream issue longer-lived credentials"),
        (
            &both,
            1,
            "problem role several roles are listed; most SDKs take the whole list for one name -> set `list_roles",
        ),
        (&v2, 0, "note protocol requests without a token are refused: IMDSv1 is off -> "),
    ] {
        let output = doctor(&daemon.socket(), &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &endpoint(daemon))]);
        let (found, lines) = findings(&output);
        assert_eq!(found, Some(code), "{lines:#?}");
        assert!(lines.iter().any(|line| line.contains(part)), "{part}: {lines:#?}");
    }
}

#[test]
fn nobody_and_somebody_else_at_the_address_are_told_apart() {
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&ims.config());
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("free");
    let nobody = format!("http://{free}");
    let (code, lines) = findings(&doctor(&daemon.socket(), &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &nobody)]));
    let remedy = format!("export AWS_EC2_METADATA_SERVICE_ENDPOINT={}/", endpoint(&daemon));
    assert!(code == Some(1) && lines.len() == 1, "{lines:#?}");
    assert!(lines[0].starts_with("problem reach ") && lines[0].ends_with(&remedy), "{lines:#?}");
    // The mock is a metadata service of 2015.
    let other = format!("http://{}", ims.address);
    let (_, lines) = findings(&doctor(&daemon.socket(), &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &other)]));
    assert!(lines.iter().any(|line| line.contains("a server other than alppaca answers at ")), "{lines:#?}");
    assert!(lines.iter().any(|line| line.starts_with("note protocol no IMDSv2: ")), "{lines:#?}");
}

#[test]
fn the_container_endpoint_is_asked_where_the_variables_name_it() {
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&format!("{}container: {{listen: '127.0.0.1:0'}}\n", ims.config()));
    let mut command = Command::new(ALPPACA);
    command.args(["exec", "--socket"]).arg(daemon.socket()).args(["--", ALPPACA, "doctor", "--json"]);
    let (code, lines) = findings(&command.env_clear().output().expect("it runs"));
    assert_eq!(code, Some(0), "{lines:#?}");
    assert!(lines[0].starts_with("good protocol container credentials at http://127.0.0.1:"), "{lines:#?}");
    assert!(lines[1].contains("valid for 59m more"), "{lines:#?}");
    let url = lines[0].split_whitespace().find(|word| word.starts_with("http://")).expect("a URL").to_owned();
    let (code, lines) = findings(&doctor(
        &daemon.socket(),
        &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url), ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "x")],
    ));
    assert_eq!(code, Some(1));
    assert!(lines[0].starts_with("problem token the token is not, or no longer, valid (401)"), "{lines:#?}");
}
