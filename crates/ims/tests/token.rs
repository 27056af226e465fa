//! `alppaca-ims token`: what it prints is taken by the server.

mod support;

use std::{
    fs::{self, File},
    process::{Command, Output, Stdio},
    thread,
};

use support::{Scene, Server, Sts, eventually};

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

/// A configuration with one token for one request, by a method of this name; and the token.
fn one_request(scene: &Scene, sts: &Sts) -> (impl Fn(&str) -> String, String) {
    let file = scene.path().join("tokens");
    let (line, secret) = made(&["web1.example.com", "--until", "2099-01-01T00:00:00Z", "--once"]);
    fs::write(&file, line).expect("ours");
    let config = move |name: &str| {
        let more = format!(
            "identities: {{{name}: {{kind: token, file: {}}}}}\nrules:\n  - {{name: web, match: {{method: {name}, name: 'web1.*'}}, \
             account: demo, role: web}}\n",
            file.display()
        );
        scene.config(&sts.url(), &more)
    };
    (config, secret)
}

#[test]
fn a_token_for_one_request_outlives_trouble_of_the_server() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let (config, secret) = one_request(&scene, &sts);
    let server = Server::start(&scene, &config("hosts"));
    let client = scene.client(server.address, None);
    let ask = || client.get(WEB, &[("Authorization", &format!("Alppaca-Token {secret}"))]);
    sts.change(|script| script.down.push("*".to_owned()));
    assert_eq!((ask().status, ask().status), (503, 503), "{}", server.log());
    sts.change(|script| script.down.clear());
    eventually("STS is back", || (ask().status == 200).then_some(()), || server.log());
    let answer = ask();
    assert!(answer.status == 401 && answer.body.contains("has been used"), "{answer:?}\n{}", server.log());
}

#[test]
fn a_token_for_one_request_is_for_one_of_many_at_once() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let (config, secret) = one_request(&scene, &sts);
    let server = Server::start(&scene, &config("hosts"));
    let client = scene.client(server.address, None);
    let ask = || client.get(WEB, &[("Authorization", &format!("Alppaca-Token {secret}"))]).status;
    let all: Vec<u16> = thread::scope(|scope| {
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|one| one.join().expect("an answer")).collect()
    });
    assert_eq!(all.iter().filter(|status| **status == 200).count(), 1, "{all:?}\n{}", server.log());
    assert!(all.iter().all(|status| [200, 401, 503].contains(status)), "{all:?}\n{}", server.log());
}

#[test]
fn a_token_for_one_request_is_not_good_again_after_a_change_of_its_method() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let (config, secret) = one_request(&scene, &sts);
    let server = Server::start(&scene, &config("hosts"));
    let client = scene.client(server.address, None);
    let ask = || client.get(WEB, &[("Authorization", &format!("Alppaca-Token {secret}"))]);
    assert_eq!((ask().status, ask().status), (200, 401), "{}", server.log());
    server.reload(&config("machines"), "the configuration was read again");
    let answer = ask();
    assert!(answer.status == 401 && answer.body.contains("has been used"), "{answer:?}\n{}", server.log());
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

#[test]
fn output_that_cannot_be_written_is_a_failure_like_any_other() {
    let scene = Scene::new();
    let place = |name: &str| scene.path().join(name).display().to_string();
    let (config, old) = (place("ims.yaml"), place("server.json"));
    fs::write(&config, scene.usual("http://127.0.0.1:1")).expect("ours");
    fs::write(&old, r#"{"ldap": {"host": "l:389", "basedn": "dc=x", "insecureldap": true}, "aws": {}}"#).expect("ours");
    let full = || File::options().write(true).open("/dev/full").expect("it is on every Linux");
    for arguments in [
        &["check", "-c", &config][..],
        &["explain", "--host", "web1.example.com", "-c", &config],
        &["migrate", "hologram", &old],
        &["token", "web1.example.com"],
        &["generate", "man"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_alppaca-ims"));
        let output = command.args(arguments).stdout(full()).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().last().unwrap_or_default();
        let expected = "alppaca-ims: cannot write: No space left on device (os error 28)";
        assert!(output.status.code() == Some(1) && last == expected, "{arguments:?}: {:?}: {said}", output.status);
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_alppaca-ims"));
    let output = command.args(["token", "web1.example.com"]).stderr(full()).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1), "a secret that nobody has seen");
}
