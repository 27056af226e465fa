//! `alppaca-ims token`: what it prints is taken by the server.

mod support;

use std::{
    fs,
    process::{Command, Output, Stdio},
};

use support::{Scene, Server, Sts};

const WEB: &str = "/latest/meta-data/iam/security-credentials/web";

fn token(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alppaca-ims"));
    command.arg("token").args(arguments).stdin(Stdio::null()).output().expect("it runs")
}

/// The line and the secret.
fn made(arguments: &[&str]) -> (String, String) {
    let output = token(arguments);
    assert!(output.status.success(), "{output:?}");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (text(output.stdout), text(output.stderr).trim_end().to_owned())
}

#[test]
fn a_secret_that_was_made_proves_its_name() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let file = scene.path().join("tokens");
    let (lasting, secret) = made(&["web1.example.com"]);
    assert!(!lasting.contains(&secret), "{lasting}");
    fs::write(&file, &lasting).expect("ours");
    let config = scene.config(
        &sts.url(),
        &format!(
            "identities: {{hosts: {{kind: token, file: {}}}}}\nrules:\n  - {{name: web, match: {{method: hosts, name: 'web[0-9]\\.example\\.com'}}, \
             account: demo, role: web}}\n",
            file.display()
        ),
    );
    let server = Server::start(&scene, &config);
    let client = scene.client(server.address, None);
    let status = |secret: &str| client.get(WEB, &[("Authorization", &format!("Alppaca-Token {secret}"))]).status;
    assert_eq!((status(&secret), status(&secret)), (200, 200), "{}", server.log());
    let (once, other) = made(&["web2.example.com", "--until", "2099-01-01T00:00:00Z", "--once"]);
    assert!(once.ends_with(" until 2099-01-01T00:00:00Z once\n"), "{once}");
    assert_eq!(status(&other), 401);
    fs::write(&file, lasting + &once).expect("ours");
    server.reload(&config, "the configuration was read again");
    assert_eq!((status(&other), status(&other), status(&secret)), (200, 401, 200), "{}", server.log());
    let sessions: Vec<_> = sts.assumed().iter().map(|call| call.get("RoleSessionName").to_owned()).collect();
    assert_eq!(sessions, ["web1.example.com", "web2.example.com"]);
}

#[test]
fn what_would_never_be_taken_is_not_made() {
    for (arguments, part) in [
        (&["web 1"][..], "is not a name for a token"),
        (&["web1", "--once"], "--until <TIME>"),
        (&["web1", "--until", "tomorrow"], "--until <TIME>"),
        (&["web1", "--until", "2020-01-01T00:00:00Z"], "is over"),
    ] {
        let output = token(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && output.stdout.is_empty() && text.contains(part), "{output:?}");
    }
}
