//! Why a request was refused: metrics, audit and log say the same, at every face.

mod support;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use alppaca::mock_ims::{Behaviour, LIST_PATH};
use support::{Daemon, Ims, needs_root, request};
use tempfile::TempDir;

const REASONS: [&str; 7] = ["forwarded", "web_page", "host", "no_token", "bad_token", "refused", "policy"];

/// How many requests were refused for each reason, where that is not 0.
fn denials(daemon: &Daemon) -> Vec<(&'static str, usize)> {
    let count = |reason| (reason, daemon.metric(&format!("alppaca_denials_total{{reason=\"{reason}\"}}")));
    REASONS.map(count).into_iter().filter(|(_, count)| *count > 0).collect()
}

/// What was asked for in the denials that were recorded. The daemon has ended.
fn recorded(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).expect("text");
    let records = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let denials = records.filter(|record| record["event"] == "denial");
    denials.map(|record| record["path"].as_str().expect("a path").to_owned()).collect()
}

fn get(address: SocketAddr, path: &str, headers: &str) -> u16 {
    request(address, &format!("GET {path} HTTP/1.1\r\n{headers}")).status
}

/// A daemon with an audit, all faces and the roles `mine` and `other`.
struct Audited {
    daemon: Daemon,
    audit: PathBuf,
    _directory: TempDir,
    _ims: Ims,
}

fn audited(policy: &str) -> Audited {
    let ims = Ims::start(Behaviour { roles: ["mine", "other"].map(str::to_owned).into(), ..Behaviour::default() });
    let directory = TempDir::new().expect("a directory");
    let audit = directory.path().join("audit.log");
    fs::write(directory.path().join("token"), "s3cr3t-token-of-mine").expect("a file");
    let token = directory.path().join("token");
    let keys = directory.path().join("keys.json");
    fs::write(&keys, r#"{"keys":[]}"#).expect("a file");
    let daemon = Daemon::start(&format!(
        "{}audit_log: {}\nimds_v1: true\n{policy}\
         container:\n  listen: ['127.0.0.1:0']\n  roles: {{mine: {{authorization_token_file: {}}}, other: {{open: true}}}}\n\
         pod_identity:\n  listen: ['127.0.0.1:0']\n  issuer: https://issuer.example\n  jwks_file: {}\n  \
         associations: [{{namespace: '*', service_account: '*', role: mine}}]\n",
        ims.config(),
        audit.display(),
        token.display(),
        keys.display(),
    ));
    daemon.wait_for_log("role mine: fetched ");
    daemon.wait_for_log("role other: fetched ");
    Audited { daemon, audit, _directory: directory, _ims: ims }
}

#[test]
fn every_face_counts_the_same_fault_for_the_same_reason() {
    let mut audited = audited("");
    let daemon = &audited.daemon;
    let imds = daemon.address();
    let (container, pod_identity) = (daemon.face("container"), daemon.face("pod-identity"));
    let ask_all = |headers: &str| {
        for (address, path) in [(imds, "/"), (container, "/role/mine"), (pod_identity, "/v1/credentials")] {
            let host = if headers.contains("Host:") { "" } else { "Host: 127.0.0.1\r\n" };
            assert!(get(address, path, &format!("{host}{headers}")) >= 400, "{headers} {path}");
        }
    };
    ask_all("Host: evil.example\r\n");
    assert_eq!(denials(daemon), [("host", 3)]);
    ask_all("X-Forwarded-For: 192.0.2.1\r\n");
    assert_eq!(denials(daemon), [("forwarded", 3), ("host", 3)]);
    ask_all("Origin: http://evil.example\r\n");
    assert_eq!(denials(daemon), [("forwarded", 3), ("web_page", 3), ("host", 3)]);
    ask_all("Authorization: wrong\r\nX-aws-ec2-metadata-token: wrong\r\n");
    assert_eq!(get(container, "/role/mine", "Host: 127.0.0.1\r\n"), 401);
    assert_eq!(get(pod_identity, "/v1/credentials", "Host: 127.0.0.1\r\n"), 400);
    let expected = [("forwarded", 3), ("web_page", 3), ("host", 3), ("no_token", 2), ("bad_token", 3)];
    assert_eq!(denials(daemon), expected);
    assert_eq!(audited.daemon.stop(), Some(0));
    assert!(recorded(&audited.audit).is_empty(), "no policy has refused anything");
}

#[test]
fn every_face_refuses_a_header_with_two_values_whichever_protocol_it_is_of() {
    let audited = audited("");
    let daemon = &audited.daemon;
    let faces = [daemon.address(), daemon.face("container"), daemon.face("pod-identity")];
    for name in
        ["Host", "Authorization", "Content-Length", "X-aws-ec2-metadata-token", "X-aws-ec2-metadata-token-ttl-seconds"]
    {
        for face in faces {
            let lines = |second: &str| format!("{name}: 1\r\n{}: {second}\r\n", name.to_lowercase());
            assert_eq!(get(face, "/nowhere", &lines("2")), 400, "{name} at {face}");
            assert_ne!(get(face, "/nowhere", &lines("1")), 400, "{name} at {face}");
        }
    }
}

#[test]
fn a_role_that_is_not_granted_is_a_denial_in_metrics_audit_and_log() {
    if !needs_root("denials: policy") {
        return;
    }
    let mut audited = audited("policy:\n  rules:\n  - {match: {user: 0}, role: mine}\n");
    let daemon = &audited.daemon;
    let (imds, container) = (daemon.address(), daemon.face("container"));
    let role = |name: &str| get(imds, &format!("{LIST_PATH}{name}"), "");
    assert_eq!((role("mine"), denials(daemon)), (200, vec![]));
    assert_eq!((role("other"), denials(daemon)), (404, vec![("policy", 1)]));
    assert_eq!(get(container, "/role/other", "Host: 127.0.0.1\r\n"), 404);
    assert_eq!(denials(daemon), [("policy", 2)]);
    // What has nothing to do with roles is denied to nobody.
    assert_eq!((get(imds, "/latest/meta-data/nowhere", ""), denials(daemon)), (404, vec![("policy", 2)]));
    daemon.wait_for_log("denied: user 0 at 127.0.0.1:");
    assert_eq!(audited.daemon.stop(), Some(0));
    assert_eq!(recorded(&audited.audit).first().map(String::as_str), Some(&*format!("{LIST_PATH}other")));
}

#[test]
fn a_role_that_is_not_there_is_denied_to_nobody_who_may_see_all() {
    let mut audited = audited("");
    let daemon = &audited.daemon;
    assert_eq!(get(daemon.address(), &format!("{LIST_PATH}nowhere"), ""), 404);
    assert_eq!(denials(daemon), []);
    assert_eq!(audited.daemon.stop(), Some(0));
    assert!(recorded(&audited.audit).is_empty());
    assert!(!audited.daemon.log().contains("denied:"), "{}", audited.daemon.log());
}
