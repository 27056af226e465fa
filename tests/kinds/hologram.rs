//! `hologram` in the real binary, with the real ssh-agent and a strict server.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    daemon::{check, served},
    hologram_server::{Hologram, Manner, State},
    openssh::{Agent, folder, new_key, public},
    support::Daemon,
};

const WARNING: &str = "the hologram-server is not verified";

/// 2099-01-01.
const END: i64 = 4_070_908_800;

/// An agent with a key of a server's user.
fn scene(folder: &Path, manner: Manner) -> (Agent, Hologram) {
    let agent = Agent::start(folder);
    new_key(folder, "alice", &["ed25519"]);
    agent.add(folder, "alice");
    let key = STANDARD.decode(public(folder, "alice").split(' ').nth(1).expect("base64")).expect("base64");
    let roles = vec!["dev".to_owned(), "arn:aws:iam::123456789012:role/x".to_owned()];
    (agent, Hologram::start(State { manner, keys: vec![key], roles, expiration: END, error: None }))
}

fn config(server: &Hologram, more: &str) -> String {
    format!(
        "sources:\n  desk: {{kind: hologram, server: '{}', key: alice{more}}}\nroles:\n  me: {{source: desk}}\n  \
         dev: {{source: desk, upstream_role: dev}}\n  x: {{source: desk, role_arn: 'arn:aws:iam::123456789012:role/x'}}\n",
        server.address
    )
}

#[test]
fn the_default_role_and_others_are_served() {
    let Some(folder) = folder() else { return };
    let (agent, server) = scene(folder.path(), Manner::Honest);
    let start = |more: &str| {
        Daemon::start_with(&config(&server, more), |command| {
            command.env("SSH_AUTH_SOCK", &agent.socket);
        })
    };
    let daemon = start("");
    daemon.wait_for_count(" fetched ", 3);
    assert_eq!(
        ["me", "dev", "x"].map(|role| served(&daemon, role)),
        ["ASIADEFAULT", "ASIADEV", "ASIAARNAWSIAM123456789012ROLEX"]
    );
    let log = daemon.log();
    assert!(log.contains(WARNING) && log.contains(&format!("set `pin: {}`", server.pin)), "{log}");

    let pinned = start(&format!(", pin: '{}', agent_socket: {}", server.pin, agent.socket.display()));
    assert_eq!(served(&pinned, "me"), "ASIADEFAULT");
    assert!(!pinned.log().contains("verifie"), "{}", pinned.log());
}

#[test]
fn an_attack_on_the_key_is_an_error_in_the_log() {
    let Some(folder) = folder() else { return };
    let (agent, server) = scene(folder.path(), Manner::Oracle(vec![7; 148]));
    let socket = format!(", agent_socket: {}", agent.socket.display());
    let daemon = Daemon::start(&config(&server, &socket));
    let log = daemon.wait_for_log("Nothing was signed");
    let line = log.lines().find(|line| line.contains("Nothing was signed")).unwrap_or(&log);
    assert!(line.contains("ERROR") && line.contains("148 bytes"), "{line}");
    assert!(!server.seen().contains(&"SIGNED".to_owned()));
}

#[test]
fn check_says_whether_the_server_is_verified() {
    let source = |more: &str| {
        format!(
            "sources:\n  desk: {{kind: hologram, server: hologram.example.com{more}}}\nroles:\n  me: {{source: desk}}\n"
        )
    };
    let run = |more: &str| check(&source(more), &[("SSH_AUTH_SOCK", "/run/agent")]);
    let (code, out, err) = run("");
    assert!(code == Some(0) && out.contains("hologram.example.com:3100") && out.contains("NOT VERIFIED"), "{out}{err}");
    assert!(err.contains(WARNING) || out.contains(WARNING), "{out}{err}");
    let (code, out, err) = run(", pin: 'sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='");
    assert!(code == Some(0) && !format!("{out}{err}").to_lowercase().contains("verified"), "{out}{err}");
    let (_, out, err) = run(", pin: 'sha256//Z1Ai4qQavSyuCtyUEn1ATGx6Wym53I3IXf3pJcEKiSA='");
    assert!(format!("{out}{err}").contains("its private half is public"), "{out}{err}");
    for (more, part) in [
        (", pin: x", "sha256// and the base64"),
        (", pin: 'sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=', ca_file: /x", "ca_file"),
        (":0", "host or host:port"),
        ("/x", "host or host:port"),
    ] {
        let (code, out, err) = run(more);
        assert!(code != Some(0) && format!("{out}{err}").contains(part), "{more}: {out}{err}");
    }
    let (_, _, err) = check(&source(""), &[("SSH_AUTH_SOCK", "")]);
    assert!(err.contains("SSH_AUTH_SOCK is not set"), "{err}");
}
