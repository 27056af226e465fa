//! The addresses that AWS's own agents have, in a network namespace of the test's own: what stands in
//! `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` is asked for at one of them, and pods are given the others.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    containers::{Cluster, ISSUER},
    support::{Daemon, needs, needs_root},
};

const ALPPACA: &str = env!("CARGO_BIN_EXE_alppaca");

/// A namespace with these addresses, and a mock IMS in it.
struct Namespace {
    name: String,
    mock: Option<Child>,
}

impl Namespace {
    fn new() -> Self {
        let mut namespace = Self { name: format!("alpc{}", std::process::id()), mock: None };
        let name = &namespace.name;
        run(Command::new("ip").args(["netns", "add", name]));
        run(namespace.command("ip").args(["link", "set", "lo", "up"]));
        for address in ["169.254.170.2/32", "169.254.170.23/32", "fd00:ec2::23/128"] {
            run(namespace.command("ip").args(["address", "add", address, "dev", "lo"]));
        }
        let mut mock = namespace.command(ALPPACA);
        mock.arg("mock-ims").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut mock = mock.spawn().expect("it starts");
        let mut said = String::new();
        BufReader::new(mock.stdout.take().expect("piped")).read_line(&mut said).expect("it says where it is");
        namespace.mock = Some(mock);
        namespace
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    fn curl(&self, url: &str, token: &str) -> Value {
        let mut curl = self.command("curl");
        curl.args(["--silent", "--show-error", "--fail", "--max-time", "10", "--noproxy", "*"]);
        let said = run(curl.args(["--header", &format!("Authorization: {token}"), url]));
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{url}: {error}: {said}"))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Some(mock) = &mut self.mock {
            // It may have ended already.
            let _gone = mock.kill();
            let _status = mock.wait();
        }
        run(Command::new("ip").args(["netns", "delete", &self.name]));
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn the_agents_are_at_their_own_addresses() {
    const WHAT: &str = "the addresses of the agents";
    if !needs_root(WHAT) || !needs(WHAT, "ip") || !needs(WHAT, "curl") {
        return;
    }
    let namespace = Namespace::new();
    let directory = TempDir::new().expect("a directory");
    let [id, token, keys] = ["id", "token", "jwks"].map(|name| directory.path().join(name));
    let cluster = Cluster::new();
    fs::write(&id, "0a1b2c3d").expect("a file");
    fs::write(&token, "s3cr3t").expect("a file");
    fs::write(&keys, cluster.keys("k")).expect("a file");
    let daemon = Daemon::start_through(
        &format!(
            "ims_protocol: http
ims_host: 127.0.0.1
container:
  listen: '169.254.170.2:80'
  roles: {{test_role: {{credentials_id_file: {}, authorization_token_file: {}}}}}
pod_identity:
  listen: ['169.254.170.23:80', '[fd00:ec2::23]:80']
  issuer: {ISSUER}
  jwks_file: {}
  associations: [{{role: test_role}}]
",
            id.display(),
            token.display(),
            keys.display()
        ),
        |program| namespace.command(program),
        || {},
    );
    daemon.wait_for_log(" fetched ");
    daemon.wait_for_log(" public keys from ");
    let jwt = cluster.token("k-rsa", |_| {});
    for (url, token) in [
        ("http://169.254.170.2/v2/credentials/0a1b2c3d", ""),
        ("http://169.254.170.2/", "s3cr3t"),
        ("http://169.254.170.23/v1/credentials", &*jwt),
        ("http://[fd00:ec2::23]/v1/credentials", &*jwt),
    ] {
        assert!(namespace.curl(url, token)["SecretAccessKey"].is_string(), "{url}");
    }
}
