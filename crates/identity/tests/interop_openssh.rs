//! Signatures by the real OpenSSH: with key files, and with certificates in an agent.

#[path = "../../../tests/support/openssh.rs"]
mod openssh;

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use alppaca_core::clock::{Clock as _, SystemClock};
use alppaca_identity::{
    Evidence, Identity, Peer, Prove as _, Refusal,
    ssh::{Settings, Ssh, Subjects},
};
use http::{HeaderMap, HeaderValue, Method, header};
use openssh::{Agent, Signer, folder, keygen, new_key, parameter, public};

fn server(folder: &Path, subjects: Subjects, lines: &str) -> Ssh {
    let file = folder.join("allowed");
    fs::write(&file, lines).expect("a file");
    let hosts = vec!["ims.example.com".to_owned()];
    Ssh::load(Settings { name: "keys".to_owned(), subjects, file: Some(file), hosts }, None, SystemClock::shared())
        .expect("a method")
}

fn prove(signer: Signer<'_>, server: &Ssh) -> Result<Option<Identity>, Refusal> {
    let asked = server.challenge().expect("a challenge");
    let authorization = signer.sign("/ROLE?x", "ims.example.com:8443", &parameter(&asked, "challenge"));
    show(server, &authorization, "/ROLE?x")
}

fn refused(signer: Signer<'_>, server: &Ssh) -> String {
    match prove(signer, server) {
        Err(Refusal::Refused(text)) => text,
        other => panic!("{other:?}"),
    }
}

fn now() -> SystemTime {
    let wall = SystemClock.now().wall.as_duration();
    SystemTime::UNIX_EPOCH + Duration::try_from(wall).expect("after 1970")
}

fn show(server: &Ssh, authorization: &str, path: &str) -> Result<Option<Identity>, Refusal> {
    let headers: HeaderMap = [
        (header::HOST, HeaderValue::from_static("IMS.example.com:8443")),
        (header::AUTHORIZATION, HeaderValue::from_str(authorization).expect("a value")),
    ]
    .into_iter()
    .collect();
    let peer = Peer::Tcp([192, 0, 2, 1].into());
    let method = Method::GET;
    server.prove(&Evidence { peer: &peer, certificates: &[], method: &method, path, headers: &headers, now: now() })
}

fn host<'a>(folder: &'a Path, key: &'a str) -> Signer<'a> {
    Signer { folder, key, agent: None, namespace: "alppaca-host" }
}

#[test]
fn host_keys_of_all_types() {
    let Some(folder) = folder() else { return };
    let folder = folder.path();
    let types =
        [("a", &["ed25519"][..]), ("b", &["ecdsa", "-b", "256"]), ("c", &["ecdsa", "-b", "384"]), ("d", &["rsa"])];
    let mut lines = "# by ssh-keyscan\n".to_owned();
    for (name, kind) in types {
        new_key(folder, name, kind);
        writeln!(lines, "{name}.example.com,192.0.2.7 {} comment", public(folder, name)).expect("a text");
    }
    let server = server(folder, Subjects::Hosts, &lines);
    for (name, _) in types {
        // OpenSSH makes a new signature each time; some have shorter numbers.
        for _ in 0..4 {
            let identity = prove(host(folder, name), &server).expect("accepted").expect("a proof");
            assert_eq!(identity.names, [format!("{name}.example.com"), "192.0.2.7".to_owned()]);
            assert!(identity.proof.starts_with("SHA256:") && identity.groups.is_empty(), "{identity:?}");
        }
    }
    new_key(folder, "other", &["ed25519"]);
    assert!(refused(host(folder, "other"), &server).contains("is not listed"));
    new_key(folder, "short", &["rsa", "-b", "1024"]);
    fs::write(folder.join("allowed"), format!("x {}\n", public(folder, "short"))).expect("a file");
    let error = server.reload().expect_err("too short").to_string();
    assert!(error.contains("allowed:1: ") && error.contains("fewer than 2048 bits"), "{error}");
    assert!(prove(host(folder, "a"), &server).is_ok(), "the old file stays in force");
}

#[test]
fn a_signature_is_for_one_request_in_one_namespace() {
    let Some(folder) = folder() else { return };
    let folder = folder.path();
    new_key(folder, "key", &["ed25519"]);
    let server = server(folder, Subjects::Hosts, &format!("web1.example.com {}\n", public(folder, "key")));
    let asked = server.challenge().expect("a challenge");
    assert_eq!(parameter(&asked, "namespace"), "alppaca-host");
    let challenge = parameter(&asked, "challenge");
    let client = host(folder, "key");
    let right = client.sign("/ROLE", "ims.example.com:8443", &challenge);
    let wrong = |authorization: &str, path: &str| show(&server, authorization, path).expect_err("refused").to_string();
    assert!(wrong(&right, "/OTHER").contains("the signature is wrong"));
    for host in ["evil.example.com", "ims.example.com"] {
        assert!(wrong(&client.sign("/ROLE", host, &challenge), "/ROLE").contains("the signature is wrong"), "{host}");
    }
    assert!(show(&server, &right, "/ROLE").is_ok());
    assert!(wrong(&right, "/ROLE").contains("has been answered before"));
    for namespace in ["file", "git"] {
        let other = Signer { namespace, ..host(folder, "key") };
        assert!(refused(other, &server).contains(&format!("for the namespace {namespace:?}")), "{namespace}");
    }
    // It is left to a method for people.
    let person = Signer { namespace: "alppaca-user", ..host(folder, "key") };
    assert_eq!(prove(person, &server), Ok(None));
}

#[test]
fn people_with_keys_and_certificates_in_an_agent() {
    let Some(folder) = folder() else { return };
    let folder = folder.path();
    for name in ["ca", "other-ca", "alice", "bob", "carol", "dave", "eve"] {
        new_key(folder, name, &["ed25519"]);
    }
    let agent = Agent::start(folder);
    for (key, ca, more) in [
        ("bob", "ca", &["-n", "bob,ops"][..]),
        ("carol", "ca", &["-n", "carol", "-V", "20200101:20200102"]),
        ("dave", "ca", &["-n", "dave", "-O", "source-address=198.51.100.0/24"]),
        ("eve", "other-ca", &["-n", "eve"]),
    ] {
        keygen(folder, &[&["-s", ca, "-I", "id", "-z", "7", "-V", "+1h"], more, &[&*format!("{key}.pub")]].concat());
        agent.add(folder, key);
    }
    agent.add(folder, "alice");
    let lines = format!(
        "alice,dev {}\n* cert-authority,namespaces=\"alppaca-user\" {}\n",
        public(folder, "alice"),
        public(folder, "ca")
    );
    let server = server(folder, Subjects::People, &lines);
    let client = |key| Signer { folder, key, agent: Some(&agent), namespace: "alppaca-user" };
    let alice = prove(client("alice.pub"), &server).expect("accepted").expect("a proof");
    assert_eq!(
        (&*alice.names, &*alice.groups),
        (&["alice".to_owned()][..], &["alice".to_owned(), "dev".to_owned()][..])
    );
    let bob = prove(client("bob-cert.pub"), &server).expect("accepted").expect("a proof");
    assert_eq!((&*bob.name, &*bob.groups), ("bob", &["bob".to_owned(), "ops".to_owned()][..]));
    assert!(bob.proof.contains("certificate 7 \"id\" of SHA256:"), "{}", bob.proof);
    assert!(bob.age.is_some_and(|age| age < Duration::from_hours(1)));
    for (key, part) in [
        ("carol-cert.pub", "it has expired"),
        ("dave-cert.pub", "it is not for this address"),
        ("eve-cert.pub", "is not listed"),
        ("bob.pub", "is not listed"),
    ] {
        let text = refused(client(key), &server);
        assert!(text.contains(part), "{key}: {text}");
    }
    for revoked in ["bob", "ca"] {
        fs::write(folder.join("allowed"), format!("{lines}@revoked * {}\n", public(folder, revoked))).expect("a file");
        server.reload().expect("right");
        assert!(refused(client("bob-cert.pub"), &server).contains("SHA256:"), "{revoked}");
        assert!(prove(client("alice.pub"), &server).is_ok());
    }
}

#[test]
fn hosts_with_certificates() {
    let Some(folder) = folder() else { return };
    let folder = folder.path();
    new_key(folder, "ca", &["ecdsa"]);
    let agent = Agent::start(folder);
    for (key, more) in [
        ("web", &["-h", "-n", "web1.example.com,web1"][..]),
        ("any", &["-h"]),
        ("wild", &["-h", "-n", "*.example.com"]),
        ("db", &["-h", "-n", "db.example.org"]),
        ("user", &["-n", "web1.example.com"]),
    ] {
        new_key(folder, key, if key == "web" { &["rsa"] } else { &["ed25519"] });
        keygen(folder, &[&["-s", "ca", "-I", key], more, &[&*format!("{key}.pub")]].concat());
        agent.add(folder, key);
    }
    let lines = format!("@cert-authority *.example.com {}\n", public(folder, "ca"));
    let server = server(folder, Subjects::Hosts, &lines);
    let client = |key| Signer { agent: Some(&agent), ..host(folder, key) };
    let web = prove(client("web-cert.pub"), &server).expect("accepted").expect("a proof");
    assert_eq!(web.names, ["web1.example.com"], "the authority certifies no others");
    for (key, part) in [
        ("any-cert.pub", "has no principal"),
        ("wild-cert.pub", "names nobody"),
        ("db-cert.pub", "has no principal"),
        ("user-cert.pub", "not a certificate for hosts"),
    ] {
        let text = refused(client(key), &server);
        assert!(text.contains(part), "{key}: {text}");
    }
}

#[test]
fn keys_in_hardware_are_for_a_person_who_touches_them() {
    let Some(folder) = folder() else { return };
    let folder = folder.path();
    let Some(authenticator) = openssh::authenticator() else { return };
    let agent = Agent::start(folder);
    new_key(folder, "ca", &["ed25519"]);
    let mut lines = format!("* cert-authority {}\n", public(folder, "ca"));
    for kind in ["ecdsa-sk", "ed25519-sk"] {
        let untouched = format!("untouched-{kind}");
        for (name, options) in [(kind, &[][..]), (&untouched, &["-O", "no-touch-required"])] {
            openssh::new_hardware_key(folder, name, kind, &authenticator, options);
            keygen(folder, &["-s", "ca", "-I", "id", "-n", "bob", "-V", "+1h", &format!("{name}.pub")]);
            agent.add_hardware(folder, name, &authenticator);
            writeln!(lines, "alice {}", public(folder, name)).expect("a text");
        }
    }
    let server = server(folder, Subjects::People, &lines);
    for kind in ["ecdsa-sk", "ed25519-sk"] {
        for (end, name) in [("", "alice"), ("-cert", "bob")] {
            let (key, untouched) = (format!("{kind}{end}.pub"), format!("untouched-{kind}{end}.pub"));
            let signer = Signer { folder, key: &key, agent: Some(&agent), namespace: "alppaca-user" };
            let proven = prove(signer, &server).expect("accepted").expect("a proof");
            assert_eq!(proven.name, name);
            let reason = refused(Signer { key: &untouched, ..signer }, &server);
            assert!(reason.contains("the key was used without the person"), "{kind}{end}: {reason}");
        }
    }
}
