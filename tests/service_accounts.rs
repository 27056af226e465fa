//! Roles by annotations of service accounts, with a stand-in for the API server. `tests/interop_kubernetes.rs` has a real one.

#![allow(clippy::disallowed_methods, reason = "an issuer has a clock of its own")]

#[path = "interop/rig/cluster.rs"]
#[allow(unreachable_pub, clippy::disallowed_methods, reason = "others share it, too; an issuer has a clock of its own")]
mod issuer;
#[path = "support/api_server.rs"]
mod stand_in;
mod support;

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use alppaca::mock_ims::Behaviour;
use issuer::{Cluster, ISSUER};
use jiff::Timestamp;
use serde_json::{Value, json};
use stand_in::{Mood, StandIn, TOKEN};
use support::{Daemon, Ims, Response, eventually, request};
use tempfile::TempDir;

const ROLE: &str = "alppaca.dev/role";
const ROLE_ARN: &str = "eks.amazonaws.com/role-arn";

/// A node whose daemon follows the accounts of a cluster.
struct Node {
    cluster: StandIn,
    issuer: Cluster,
    ims: Ims,
    directory: TempDir,
}

impl Node {
    fn new() -> Self {
        let behaviour = Behaviour { roles: ["web", "db", "admin"].map(str::to_owned).to_vec(), ..Behaviour::default() };
        let node = Self {
            cluster: StandIn::start(),
            issuer: Cluster::new(),
            ims: Ims::start(behaviour),
            directory: TempDir::new().expect("a directory"),
        };
        fs::write(node.path("jwks.json"), node.issuer.keys()).expect("written");
        symlink("..data/token", node.path("token")).expect("new");
        node.write_token("..1");
        let authority = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        fs::write(node.path("ca.crt"), authority.cert.pem()).expect("written");
        node
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes the token as the kubelet does: into a directory of its own, to which a link leads from then on.
    fn write_token(&self, directory: &str) {
        fs::create_dir(self.path(directory)).expect("new");
        fs::write(self.path(directory).join("token"), TOKEN).expect("written");
        symlink(directory, self.path("..data_tmp")).expect("new");
        fs::rename(self.path("..data_tmp"), self.path("..data")).expect("replaced");
    }

    fn config(&self, allow: &str, rest: &str) -> String {
        let [keys, token, ca] = ["jwks.json", "token", "ca.crt"].map(|name| self.path(name).display().to_string());
        format!(
            "{}sandbox: enforce\npod_identity:\n  listen: ['127.0.0.1:0']\n  issuer: {ISSUER}\n  jwks_file: {keys}\n\
             \x20 service_accounts:\n    api_server: {}\n    api_ca_file: {ca}\n    api_token_file: {token}\n\
             \x20   allow: {allow}\n{rest}",
            self.ims.config(),
            self.cluster.url(),
        )
    }

    /// What the account `prod/web` gets.
    fn ask(&self, daemon: &Daemon) -> Response {
        ask(daemon, &self.issuer.token())
    }

    /// A token of the account that was made ten minutes ago.
    fn old_token(&self) -> String {
        let made = Timestamp::now().as_second() - 600;
        self.issuer.sign(&json!({
            "iss": ISSUER, "aud": ["pods.eks.amazonaws.com"], "sub": "system:serviceaccount:prod:web",
            "exp": made + 3600, "nbf": made, "iat": made,
            "kubernetes.io": {"namespace": "prod", "serviceaccount": {"name": "web", "uid": "u"}},
        }))
    }

    /// The role whose credentials it gets, or the status.
    fn role(&self, daemon: &Daemon) -> Result<String, u16> {
        let response = self.ask(daemon);
        if response.status != 200 {
            return Err(response.status);
        }
        let key = response.json()["AccessKeyId"].as_str().expect("an id").to_owned();
        Ok(self.ims.handle.issued_with(&key).expect("of the mock").role)
    }

    fn until(&self, daemon: &Daemon, expected: Result<&str, u16>) {
        let expected = expected.map(str::to_owned);
        let fits = || (self.role(daemon) == expected).then_some(());
        eventually(&format!("the account gets {expected:?}"), fits, || daemon.log());
    }
}

fn ask(daemon: &Daemon, token: &str) -> Response {
    let head = format!("GET /v1/credentials HTTP/1.1\r\nHost: 169.254.170.23\r\nAuthorization: {token}\r\n");
    request(daemon.face("pod-identity"), &head)
}

fn status(daemon: &Daemon) -> Value {
    let socket = daemon.socket();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_alppaca"))
        .args(["status", "--json", "--socket"])
        .arg(&socket)
        .output()
        .expect("it runs");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn an_annotation_gives_a_role_as_long_as_it_is_there() {
    let node = Node::new();
    node.cluster.put("prod", "web", &[]);
    let daemon = Daemon::with_credentials(&node.config("[{namespace: prod, roles: [web, d*]}]", ""));
    node.until(&daemon, Err(404));
    node.cluster.put("prod", "web", &[(ROLE, "web")]);
    node.until(&daemon, Ok("web"));
    node.cluster.put("prod", "web", &[(ROLE, "db")]);
    node.until(&daemon, Ok("db"));
    node.cluster.put("prod", "web", &[(ROLE, "admin")]);
    node.until(&daemon, Err(403));
    assert!(node.ask(&daemon).body.contains("its namespace may not have"));
    daemon.wait_for_log("denied: an unidentified client (service account prod/web) at ");
    assert!(daemon.metric("alppaca_denials_total{reason=\"policy\"}") >= 2);
    node.cluster.put("prod", "web", &[(ROLE, "gone")]);
    node.until(&daemon, Err(403));
    node.cluster.put("prod", "web", &[(ROLE, "d/b")]);
    node.until(&daemon, Err(404));
    node.cluster.put("prod", "web", &[(ROLE, "db")]);
    node.until(&daemon, Ok("db"));
    node.cluster.remove("prod", "web");
    node.until(&daemon, Err(404));
    assert_eq!(daemon.metric("alppaca_service_accounts"), 0);
    assert!(!daemon.log().contains(TOKEN) && node.cluster.wrong().is_empty(), "{:?}", node.cluster.wrong());
}

#[test]
fn a_token_of_a_deleted_account_is_none_of_the_next_one_of_its_name() {
    let node = Node::new();
    node.cluster.put("prod", "web", &[(ROLE, "web")]);
    let daemon = Daemon::with_credentials(&node.config("[{namespace: prod, roles: web}]", ""));
    node.until(&daemon, Ok("web"));
    node.cluster.remove("prod", "web");
    node.until(&daemon, Err(404));
    node.cluster.put_with("prod", "web", "another", &[(ROLE, "web")]);
    // A token that is newer than what is known may be of an account that is not known yet: that is worth another try.
    node.until(&daemon, Err(503));
    let old = ask(&daemon, &node.old_token());
    assert!(old.status == 400 && old.body.contains("another one has its name"), "{old:?}");
    node.cluster.remove("prod", "web");
    node.cluster.put("prod", "web", &[(ROLE, "web")]);
    node.until(&daemon, Ok("web"));
    assert_eq!(ask(&daemon, &node.old_token()).status, 200, "an old token of this account counts");
}

#[test]
fn the_configuration_counts_before_an_annotation_and_says_what_an_arn_is() {
    let node = Node::new();
    node.cluster.put("prod", "web", &[(ROLE, "web")]);
    let allow = "[{namespace: '*', roles: '*'}]";
    let rest = "  associations: [{namespace: prod, service_account: web, role: db}]\n";
    let daemon = Daemon::with_credentials(&node.config(allow, rest));
    node.until(&daemon, Ok("db"));
    drop(daemon);
    let arn = "arn:aws:iam::123456789012:role/team/web";
    node.cluster.put("prod", "web", &[(ROLE_ARN, arn)]);
    let daemon = Daemon::with_credentials(&node.config(allow, ""));
    node.until(&daemon, Err(404));
    assert!(node.ask(&daemon).body.contains(arn), "{:?}", node.ask(&daemon));
}

#[test]
fn what_is_known_outlives_the_api_server_and_a_reload() {
    let node = Node::new();
    node.cluster.put("prod", "web", &[(ROLE, "web")]);
    let config = node.config("[{namespace: prod, roles: web}]", "");
    let daemon = Daemon::with_credentials(&config);
    node.until(&daemon, Ok("web"));
    let following = |is: bool| {
        let fits = || (status(&daemon)["service_accounts"]["following"] == is).then_some(());
        eventually("it is followed or not", fits, || daemon.log());
    };
    following(true);
    node.cluster.behave(Mood::Away);
    following(false);
    let told = &status(&daemon)["service_accounts"];
    assert!(told["accounts"] == 1 && told["synced"].is_string() && told["problem"].is_string(), "{told}");
    assert_eq!(node.role(&daemon).as_deref(), Ok("web"));
    // Another list of what is allowed counts at once, also without the API server.
    let file = daemon.directory.path().join("alppaca.yaml");
    let written = fs::read_to_string(&file).expect("there");
    fs::write(&file, written.replace("roles: web", "roles: db")).expect("written");
    daemon.hang_up();
    daemon.wait_for_log("the configuration has been reloaded");
    assert_eq!(node.role(&daemon), Err(403));
    fs::write(&file, written).expect("written");
    daemon.hang_up();
    daemon.wait_for_count("the configuration has been reloaded", 2);
    assert_eq!(node.role(&daemon).as_deref(), Ok("web"));
    // Meanwhile the kubelet has written another token.
    node.write_token("..2");
    fs::remove_dir_all(node.path("..1")).expect("removed");
    node.cluster.behave(Mood::Right);
    following(true);
    node.cluster.put("prod", "web", &[]);
    node.until(&daemon, Err(404));
}

#[test]
fn without_a_word_of_the_api_server_nobody_is_told_that_there_is_no_role() {
    let node = Node::new();
    node.cluster.put("prod", "web", &[(ROLE, "web")]);
    node.cluster.behave(Mood::Refusing(403));
    let daemon = Daemon::with_credentials(&node.config("[{namespace: prod, roles: web}]", ""));
    daemon.wait_for_log("ClusterRole with the verbs list and watch");
    assert_eq!(node.role(&daemon), Err(503));
    assert!(status(&daemon)["service_accounts"]["synced"].is_null());
    node.cluster.behave(Mood::Right);
    node.until(&daemon, Ok("web"));
}
