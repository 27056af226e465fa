//! A real Vault with its AWS secrets engine, which assumes roles at a real STS (moto's).
//!
//! Vault is in none of the registries that the tests install from, so this runs only where `ALPPACA_TEST_VAULT` names
//! a `vault` (or OpenBao's `bao`, with its AWS plugin). `tests/kinds/vault.rs` holds the source against the recorded
//! contract everywhere.
#![allow(clippy::disallowed_methods, reason = "the environment tells where Vault and Python are")]

mod support;

use std::{
    fs::File,
    io::Write,
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use alppaca::{
    clock::{Clock, SystemClock},
    fetch::{Options, Proxies},
    refresh::{ErrorKind, Fetch},
    source::{
        long_term::is_long_term,
        vault::{Auth, Endpoint, RoleSettings, Settings, Vault},
    },
};
use serde_json::{Value, json};
use support::PATIENCE;

/// A program that is ended with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

/// A port that was free a moment ago, for programs that cannot say which one they took.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound")
}

/// Starts a program that shall listen at `address`, and waits until it does.
fn start(command: &mut Command, address: SocketAddr) -> Program {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut program = Program(child.expect("it starts"));
    while TcpStream::connect(address).is_err() {
        assert!(program.0.try_wait().expect("a child").is_none(), "{command:?} has ended");
        // There is no event for "somebody else's process listens".
        std::thread::sleep(Duration::from_millis(20));
    }
    program
}

fn skip(why: &str) {
    if let Some(file) = std::env::var_os("ALPPACA_TEST_SKIPPED") {
        let mut file = File::options().append(true).open(file).expect("the file for skipped tests");
        writeln!(file, "a real Vault: {why}").expect("a line");
    }
}

/// Vault as its administrator sees it.
struct Admin(SocketAddr);

impl Admin {
    /// What Vault answers; it may be nothing.
    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let head = format!(
            "{method} /v1/{path} HTTP/1.1\r\nHost: vault\r\nX-Vault-Token: root\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        );
        let answer = support::raw(self.0, head.as_bytes());
        assert!((200..300).contains(&answer.status), "{method} {path}: {answer:?}");
        serde_json::from_str(&answer.body).unwrap_or(Value::Null)
    }

    /// The AWS secrets engine with a role `deploy`, and an `AppRole` that may use it; its role id and secret id.
    fn prepare(&self, aws: SocketAddr) -> (String, String) {
        self.call("POST", "sys/mounts/team/aws", &json!({"type": "aws"}));
        let endpoint = format!("http://{aws}");
        let root = json!({"access_key": "AKIAROOT", "secret_key": "s", "region": "eu-central-1",
            "iam_endpoint": endpoint, "sts_endpoint": endpoint, "sts_region": "eu-central-1"});
        self.call("POST", "team/aws/config/root", &root);
        let role = json!({"credential_type": "assumed_role",
            "role_arns": ["arn:aws:iam::123456789012:role/deploy", "arn:aws:iam::123456789012:role/other"]});
        self.call("POST", "team/aws/roles/deploy", &role);
        let user = json!({"credential_type": "iam_user",
            "policy_document": r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:ListBucket","Resource":"*"}]}"#});
        self.call("POST", "team/aws/roles/user", &user);
        let policy = "path \"team/aws/sts/deploy\" { capabilities = [\"read\"] }";
        self.call("POST", "sys/policies/acl/deployer", &json!({"policy": policy}));
        self.call("POST", "sys/auth/approle", &json!({"type": "approle"}));
        self.call("POST", "auth/approle/role/host", &json!({"token_policies": ["deployer"], "token_ttl": "20m"}));
        let text = |answer: &Value, key: &str| answer["data"][key].as_str().expect(key).to_owned();
        let role_id = text(&self.call("GET", "auth/approle/role/host/role-id", &Value::Null), "role_id");
        let secret_id = text(&self.call("POST", "auth/approle/role/host/secret-id", &json!({})), "secret_id");
        (role_id, secret_id)
    }
}

#[tokio::test]
async fn a_real_vault_hands_out_what_sts_gives_it() {
    let Some(program) = std::env::var_os("ALPPACA_TEST_VAULT") else { return skip("no ALPPACA_TEST_VAULT") };
    let Some(python) = std::env::var_os("ALPPACA_TEST_PYTHON") else { return skip("no ALPPACA_TEST_PYTHON") };
    let (aws, address) = (free_address(), free_address());
    let mut moto = Command::new(python);
    let _moto = start(moto.args(["-m", "moto.server", "-H", "127.0.0.1", "-p"]).arg(aws.port().to_string()), aws);
    let mut vault = Command::new(program);
    let listen = format!("-dev-listen-address={address}");
    let _vault = start(vault.args(["server", "-dev", &listen, "-dev-root-token-id=root"]), address);
    let admin = Admin(address);
    let (role_id, secret_id) = admin.prepare(aws);
    let directory = tempfile::tempdir().expect("a directory");
    let secret_id_file = directory.path().join("secret-id");
    std::fs::write(&secret_id_file, secret_id).expect("writable");

    let settings = |auth| Settings {
        address: format!("http://{address}"),
        namespace: None,
        mount: "team/aws".into(),
        auth,
        http: Options {
            connect_timeout: PATIENCE,
            timeout: PATIENCE,
            limit_name: None,
            ca_file: None,
            client_certificate: None,
            proxies: Proxies::none(),
        },
    };
    let app_role = Auth::AppRole { mount: "approle".into(), role_id, secret_id_file: Some(secret_id_file) };
    let vault = Vault::new(settings(app_role), SystemClock::shared()).expect("good settings");
    let deploy = RoleSettings {
        role: "deploy".into(),
        endpoint: Endpoint::Sts,
        ttl: Some(Duration::from_mins(30)),
        role_arn: "arn:aws:iam::123456789012:role/deploy".parse().ok(),
        session_name: Some("alppaca".into()),
    };
    let before = SystemClock.now().wall;
    let set = vault.role(deploy.clone()).fetch(None).await.expect("credentials");
    assert!(set.access_key_id.starts_with("ASIA") && !is_long_term(&set), "{set:?}");
    let life = set.expiration.duration_since(before).as_secs();
    assert!((1700..=1800).contains(&life), "half an hour was asked for, {life} s came");

    // Another ARN than the role in Vault has, another role than the policy allows: its word, not an accident.
    let foreign = RoleSettings { role_arn: "arn:aws:iam::123456789012:role/foreign".parse().ok(), ..deploy.clone() };
    let unknown = RoleSettings { role: "unknown".into(), ..deploy.clone() };
    for (role, part) in [(foreign, "not in allowed role arns"), (unknown, "permission denied")] {
        let error = vault.role(role).fetch(None).await.expect_err("refused");
        assert!(matches!(error.kind, ErrorKind::Refused { withdraws: false, .. }), "{error:?}");
        assert!(error.message.contains(part), "{error}");
    }

    // With a token from a file: the keys of an IAM user that Vault makes.
    let token_file = directory.path().join("token");
    std::fs::write(&token_file, "root\n").expect("writable");
    let vault = Vault::new(settings(Auth::TokenFile(token_file)), SystemClock::shared()).expect("good settings");
    let user =
        RoleSettings { role: "user".into(), endpoint: Endpoint::Creds, ttl: None, role_arn: None, session_name: None };
    let set = vault.role(user).fetch(None).await.expect("keys");
    assert!(is_long_term(&set), "{set:?}");
}
