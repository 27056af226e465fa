//! Roles that are made on demand, by a mapping file: it needs no container runtime.

use std::os::unix::net::UnixDatagram;

use crate::{
    HOUR, LIST,
    stand_in::{Reply, StandIn},
    support::{Daemon, PATIENCE},
};

fn mapped(directory: &std::path::Path, rest: &str, role: &str) -> String {
    let file = directory.join("mapping.json");
    std::fs::write(&file, format!("{{\"127.0.0.1\": {role}}}")).expect("written");
    format!(
        "sources:\n  base: {{kind: static, access_key_id: AKIAX, secret_access_key: s}}\n  {rest}  mapping_file: {}\n  \
         default_account: '123456789012'\npolicy: {{rules: [{{match: {{address: 127.0.0.1}}, own: true}}]}}\n",
        file.display()
    )
}

#[test]
fn they_are_assumed_as_via_says_and_the_daemon_is_ready_before_there_are_any() {
    let sts = StandIn::start(|_| Reply::Set(HOUR));
    let directory = tempfile::tempdir().expect("a directory");
    let rest = format!(
        "far: {{kind: sts, region: ap-south-1, endpoint: '{}'}}\ncontainers:\n  source: base\n  via: far\n",
        sts.url()
    );
    let socket = UnixDatagram::bind(directory.path().join("notify")).expect("bound");
    socket.set_read_timeout(Some(PATIENCE)).expect("settable");
    let config = format!("ready_wait: 1h\n{}", mapped(directory.path(), &rest, "\"app\""));
    let daemon = Daemon::start_with(&config, |command| {
        command.env("NOTIFY_SOCKET", directory.path().join("notify"));
    });
    // Its sockets are kept first.
    let mut first = [0; 100];
    let mut length = socket.recv(&mut first).expect("a message");
    while first.starts_with(b"FDSTORE") {
        length = socket.recv(&mut first).expect("a message");
    }
    assert!(first[..length].starts_with(b"READY=1"), "{}", String::from_utf8_lossy(&first));
    daemon.wait_for_log("role app: fetched ");
    let call = sts.calls().remove(0);
    assert_eq!((&*call.region, call.get("RoleArn")), ("ap-south-1", "arn:aws:iam::123456789012:role/app"));
    assert!(!daemon.log().contains("no credentials could be fetched yet"), "{}", daemon.log());
}

#[test]
fn an_external_id_that_would_go_nowhere_is_refused() {
    let sts = StandIn::start(|_| Reply::Set(HOUR));
    let directory = tempfile::tempdir().expect("a directory");
    let rest = format!(
        "oidc: {{kind: web_identity, token_file: /none, endpoint: '{}'}}\ncontainers:\n  source: oidc\n",
        sts.url()
    );
    let config = mapped(directory.path(), &rest, r#"{"name": "app", "external_id": "x1"}"#);
    let daemon = Daemon::start(&config);
    let told = daemon.wait_for_log("role app: cannot be fetched as arn:aws:iam::123456789012:role/app");
    assert!(told.contains("an external id is asked for, but source oidc (web_identity)"), "{told}");
    assert_ne!(daemon.get(&format!("{LIST}app")).status, 200);
    assert!(sts.calls().is_empty());
}
