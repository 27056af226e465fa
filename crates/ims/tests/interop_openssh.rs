//! Hosts and people who sign with the real OpenSSH.

#[path = "../../../tests/support/openssh.rs"]
mod openssh;
mod support;

use std::fs;

use openssh::{Agent, Signer, keygen, new_key, parameter, public};
use support::{Client, Scene, Server, Sts, client::Answer, needs::needs};

const WEB: &str = "/latest/meta-data/iam/security-credentials/web";
const READONLY: &str = "/account/demo/readonly/credentials";

/// A challenge of a 401, for signatures in this namespace.
fn challenge(client: &Client, path: &str, namespace: &str) -> String {
    let answer = client.get(path, &[]);
    assert_eq!(answer.status, 401, "{answer:?}");
    let challenges = answer.headers.iter().filter(|(name, _)| name == "www-authenticate").map(|(_, value)| value);
    let ours: Vec<_> = challenges.filter(|value| parameter(value, "namespace") == namespace).collect();
    let [ours] = ours.as_slice() else { panic!("{answer:?}") };
    parameter(ours, "challenge")
}

fn show(client: &Client, path: &str, authorization: &str) -> Answer {
    client.get(path, &[("Authorization", authorization)])
}

/// Takes a challenge, signs it and gets the answer.
fn sign_in(client: &Client, path: &str, signer: Signer<'_>) -> Answer {
    show(client, path, &signer.sign(path, "localhost", &challenge(client, path, signer.namespace)))
}

/// A server that knows the host key `host`, and the authority `ca` of people.
fn serve(scene: &Scene, sts: &Sts) -> Server {
    let folder = scene.path();
    for name in ["host", "ca", "other-ca", "alice", "mallory", "unlisted"] {
        new_key(folder, name, &["ed25519"]);
    }
    for (key, authority) in [("alice", "ca"), ("mallory", "other-ca")] {
        let public = format!("{key}.pub");
        keygen(folder, &["-s", authority, "-I", key, "-n", &format!("{key},aws-readonly"), "-V", "+1h", &public]);
    }
    let (hosts, people) = (folder.join("known_hosts"), folder.join("allowed_signers"));
    fs::write(&hosts, format!("web1.example.com {}\n", public(folder, "host"))).expect("ours");
    fs::write(&people, format!("* cert-authority {}\n", public(folder, "ca"))).expect("ours");
    let more = format!(
        "\
identities:
  fleet: {{kind: ssh, for: hosts, file: {}, hosts: localhost}}
  admins: {{kind: ssh, for: people, file: {}, hosts: localhost}}
rules:
  - {{name: web, match: {{method: fleet, name: 'web[0-9]+\\.example\\.com'}}, account: demo, role: web}}
  - {{name: groups, match: {{method: admins, groups: 'aws-(?P<role>[a-z]+)'}}, account: demo, role: '{{role}}'}}
",
        hosts.display(),
        people.display(),
    );
    Server::start(scene, &scene.config(&sts.url(), &more))
}

#[test]
fn a_host_key_and_a_certificate_in_an_agent_get_roles() {
    if !needs("openssh", "ssh-keygen") || !needs("openssh", "ssh-agent") {
        return;
    }
    let (scene, sts) = (Scene::new(), Sts::start());
    let mut server = serve(&scene, &sts);
    let client = scene.client(server.address, None);
    let agent = Agent::start(scene.path());
    for key in ["alice", "mallory"] {
        agent.add(scene.path(), key);
    }
    let host = Signer { folder: scene.path(), key: "host", agent: None, namespace: "alppaca-host" };
    let alice = Signer { key: "alice-cert.pub", agent: Some(&agent), namespace: "alppaca-user", ..host };

    let document = sign_in(&client, WEB, host);
    assert_eq!((document.status, document.field("Code").as_str()), (200, "Success"), "{}", server.log());
    let credentials = sign_in(&client, READONLY, alice);
    assert_eq!(credentials.status, 200, "{credentials:?}\n{}", server.log());
    let sessions: Vec<_> = sts.assumed().iter().map(|call| call.get("RoleSessionName").to_owned()).collect();
    assert_eq!(sessions, ["web1.example.com", "alice"]);
    // Neither has what is of the other.
    assert_eq!((sign_in(&client, READONLY, host).status, sign_in(&client, WEB, alice).status), (403, 403));

    let mallory = sign_in(&client, READONLY, Signer { key: "mallory-cert.pub", ..alice });
    assert!(mallory.status == 401 && mallory.body.contains("of the SSH certificate is not listed"), "{mallory:?}");
    let unlisted = sign_in(&client, WEB, Signer { key: "unlisted", ..host });
    assert!(unlisted.status == 401 && unlisted.body.contains("is not listed"), "{unlisted:?}");

    assert_eq!(server.stop(), Some(0));
    let records = records(&scene);
    let handed: Vec<_> = records.iter().filter(|record| record["event"] == "handed_out").collect();
    let [web, readonly] = handed.as_slice() else { panic!("{records:?}") };
    assert_eq!((&web["method"], &web["proven_by"]), (&"ssh".into(), &"fleet".into()));
    assert!(web["proof"].as_str().is_some_and(|proof| proof.starts_with("SHA256:")), "{web}");
    assert!(readonly["proof"].as_str().is_some_and(|proof| proof.contains(r#"certificate 0 "alice" of SHA256:"#)));
}

#[test]
fn a_signature_is_taken_once_and_for_one_purpose() {
    if !needs("openssh", "ssh-keygen") {
        return;
    }
    let (scene, sts) = (Scene::new(), Sts::start());
    let mut server = serve(&scene, &sts);
    let client = scene.client(server.address, None);
    let host = Signer { folder: scene.path(), key: "host", agent: None, namespace: "alppaca-host" };
    let new = || challenge(&client, WEB, host.namespace);
    let replayed = host.sign(WEB, "localhost", &new());
    assert_eq!(show(&client, WEB, &replayed).status, 200, "{}", server.log());
    let mut refusals = Vec::new();
    let mut refused = |authorization: &str, reason: &str| {
        let answer = show(&client, WEB, authorization);
        assert_eq!(answer.status, 401, "{reason}: {answer:?}");
        assert!(answer.header("www-authenticate").is_some(), "{answer:?}");
        refusals.push(reason.to_owned());
    };
    refused(&replayed, "the challenge has been answered before");
    let git = Signer { namespace: "git", ..host };
    refused(
        &git.sign(WEB, "localhost", &new()),
        "the SSH signature is for the namespace \"git\", not \"alppaca-host\"",
    );
    refused(&host.sign(WEB, "evil.example.com", &new()), "the signature is wrong");
    refused(&host.sign(READONLY, "localhost", &new()), "the signature is wrong");
    // For people, where its key is not listed, with a challenge for hosts or for people.
    let person = Signer { namespace: "alppaca-user", ..host };
    refused(&person.sign(WEB, "localhost", &new()), "the challenge is not of this server");
    let own = challenge(&client, WEB, person.namespace);
    refused(&person.sign(WEB, "localhost", &own), "is not listed");
    refused("Bearer a.b.c", "no identity method of this path accepts such a proof");

    assert_eq!(server.stop(), Some(0));
    assert_eq!(sts.assumed().len(), 1);
    let records = records(&scene);
    let found: Vec<_> = records.iter().filter_map(|record| record["reason"].as_str()).collect();
    assert_eq!(found.len(), refusals.len(), "{records:?}");
    for (found, expected) in found.iter().zip(&refusals) {
        assert!(found.contains(expected.as_str()), "{found} has no {expected:?}");
    }
}

/// The audit of a server that has stopped.
fn records(scene: &Scene) -> Vec<serde_json::Value> {
    support::records(&fs::read_to_string(scene.path().join("audit.log")).expect("an audit"))
}
