//! The real OpenSSH: its agent holds the keys, its `ssh-keygen` judges the signatures.

#[path = "../../../tests/support/openssh.rs"]
mod openssh;

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use alppaca_ssh_agent::{Agent, Choice, PrivateKey, RsaHash, Signer, SshError, sshsig};
use openssh::{folder, keygen, new_key, public};

/// What is signed.
const MESSAGE: &[u8] = b"GET / ims.example.com challenge";
const NAMESPACE: &str = "alppaca-user";
const KINDS: [(&str, &[&str]); 4] =
    [("rsa", &["rsa", "-b", "2048"]), ("p256", &["ecdsa"]), ("p384", &["ecdsa", "-b", "384"]), ("ed", &["ed25519"])];

fn client(agent: &openssh::Agent) -> Agent {
    Agent::new(&agent.socket, Duration::from_secs(30))
}

/// What `ssh-keygen -Y verify` says of a signature by alice, whose line in `allowed_signers` is `allowed`.
fn verify(folder: &Path, allowed: &str, sshsig: &[u8], namespace: &str) -> bool {
    fs::write(folder.join("allowed"), format!("alice {allowed}\n")).expect("a file");
    fs::write(folder.join("signature"), sshsig::armoured(sshsig)).expect("a file");
    let mut command = Command::new("ssh-keygen");
    command.args(["-Y", "verify", "-f", "allowed", "-I", "alice", "-n", namespace, "-s", "signature"]);
    command.current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("ssh-keygen");
    child.stdin.take().expect("piped").write_all(MESSAGE).expect("written");
    child.wait().expect("an end").success()
}

#[tokio::test]
async fn keys_of_an_agent_and_of_files_sign() {
    let Some(folder) = folder() else { return };
    let folder = folder.path();
    let running = openssh::Agent::start(folder);
    let agent = client(&running);
    for (name, kind) in KINDS {
        new_key(folder, name, kind);
        running.add(folder, name);
        let file = Arc::new(PrivateKey::read(&folder.join(name), None).expect("a key"));
        let in_agent = Signer::Agent { agent: agent.clone(), key: Some(Choice::parse(name)) };
        for signer in [in_agent, Signer::File(file)] {
            let signature = signer.sign(NAMESPACE, MESSAGE).await.expect("a signature");
            assert!(verify(folder, &public(folder, name), &signature, NAMESPACE), "{name} {signer:?}");
            assert!(!verify(folder, &public(folder, name), &signature, "git"), "{name}");
            assert!(!verify(folder, &public(folder, KINDS[0].0), &signature, NAMESPACE) || name == KINDS[0].0);
        }
    }
    let keys = agent.keys().await.expect("keys");
    assert_eq!(keys.iter().map(|key| key.comment.as_str()).collect::<Vec<_>>(), ["rsa", "p256", "p384", "ed"]);
    // For servers of old.
    for (hash, algorithm) in
        [(RsaHash::Sha1, "ssh-rsa"), (RsaHash::Sha256, "rsa-sha2-256"), (RsaHash::Sha512, "rsa-sha2-512")]
    {
        let signature = agent.sign(&keys[0].blob, MESSAGE, hash).await.expect("a signature");
        assert_eq!(signature.parts().expect("parts").0, algorithm);
    }
}

#[tokio::test]
async fn keys_in_hardware_sign_through_an_agent() {
    let Some(folder) = folder() else { return };
    let folder = folder.path();
    let Some(authenticator) = openssh::authenticator() else { return };
    let running = openssh::Agent::start(folder);
    for kind in ["ecdsa-sk", "ed25519-sk"] {
        openssh::new_hardware_key(folder, kind, kind, &authenticator, &[]);
        running.add_hardware(folder, kind, &authenticator);
        let signer = Signer::Agent { agent: client(&running), key: Some(Choice::parse(kind)) };
        let signature = signer.sign(NAMESPACE, MESSAGE).await.expect("a signature");
        assert!(verify(folder, &public(folder, kind), &signature, NAMESPACE), "{kind}");
        assert!(!verify(folder, &public(folder, kind), &signature, "git"), "{kind}");
    }
}

#[tokio::test]
async fn one_key_is_chosen() {
    let Some(folder) = folder() else { return };
    let folder = folder.path();
    let running = openssh::Agent::start(folder);
    let agent = client(&running);
    for name in ["one", "two"] {
        new_key(folder, name, &["ed25519"]);
    }
    running.add(folder, "one");
    let one = agent.key(None).await.expect("the only one");
    running.add(folder, "two");
    let choose = async |text: &str| agent.key(Some(&Choice::parse(text))).await;

    let file = folder.join("one.pub").display().to_string();
    for choice in ["one", &one.fingerprint(), &format!("{}=", one.fingerprint()), &file] {
        assert_eq!(choose(choice).await.as_ref(), Ok(&one), "{choice}");
    }
    let listed = Command::new("ssh-keygen").args(["-l", "-f", "one.pub"]).current_dir(folder).output().expect("a list");
    assert!(String::from_utf8_lossy(&listed.stdout).contains(&one.fingerprint()));
    let Err(SshError::Ambiguous { candidates }) = agent.key(None).await else { panic!("two keys") };
    assert!(candidates.len() == 2 && candidates[0].ends_with("(key \"one\")"), "{candidates:?}");
    let error = choose("three").await.expect_err("no such key");
    assert!(error.is_transient() && error.to_string().contains("(key \"two\")"), "{error}");
    let error = choose("/nowhere/x.pub").await.expect_err("no such file");
    assert!(!error.is_transient() && error.to_string().contains("/nowhere/x.pub: No such file"), "{error}");
}

#[tokio::test]
async fn a_certificate_is_preferred_to_its_key() {
    let Some(folder) = folder() else { return };
    let folder = folder.path();
    let running = openssh::Agent::start(folder);
    let agent = client(&running);
    for name in ["ca", "alice", "other"] {
        new_key(folder, name, &["ed25519"]);
    }
    keygen(folder, &["-s", "ca", "-I", "alice", "-n", "alice", "-V", "+1h", "alice.pub"]);
    // Both the key and its certificate.
    running.add(folder, "alice");
    let authority = format!("cert-authority {}", public(folder, "ca"));
    let path = |name: &str| folder.join(name);
    let sign = async |choice: Option<&str>| {
        let key = choice.map(Choice::parse);
        Signer::Agent { agent: agent.clone(), key }.sign(NAMESPACE, MESSAGE).await.expect("a signature")
    };
    let certificate = path("alice-cert.pub").display().to_string();
    for choice in [None, Some("alice"), Some(certificate.as_str())] {
        assert!(verify(folder, &authority, &sign(choice).await, NAMESPACE), "{choice:?}");
    }
    let plain = sign(Some(&path("alice.pub").display().to_string())).await;
    assert!(verify(folder, &public(folder, "alice"), &plain, NAMESPACE));
    assert!(!verify(folder, &authority, &plain, NAMESPACE));

    let file = PrivateKey::read(&path("alice"), Some(&path("alice-cert.pub"))).expect("a key with its certificate");
    let signature = Signer::File(Arc::new(file)).sign(NAMESPACE, MESSAGE).await.expect("a signature");
    assert!(verify(folder, &authority, &signature, NAMESPACE));
    for (key, certificate) in [("other", "alice-cert.pub"), ("alice", "alice.pub")] {
        let error = PrivateKey::read(&path(key), Some(&path(certificate))).expect_err("not its certificate");
        assert!(error.to_string().ends_with("not a certificate of the private key"), "{error}");
    }
}

#[tokio::test]
async fn an_agent_that_is_locked_or_gone_may_be_back() {
    let Some(folder) = folder() else { return };
    let folder = folder.path();
    let running = openssh::Agent::start(folder);
    let agent = client(&running);
    new_key(folder, "one", &["ed25519"]);
    assert_eq!(agent.key(None).await, Err(SshError::Empty));
    running.add(folder, "one");
    let key = agent.key(None).await.expect("a key");
    running.lock(folder, "-x");
    assert_eq!(agent.key(None).await, Err(SshError::Empty));
    assert_eq!(agent.sign(&key.blob, MESSAGE, RsaHash::Sha512).await, Err(SshError::Refused));
    running.lock(folder, "-X");
    agent.sign(&key.blob, MESSAGE, RsaHash::Sha512).await.expect("a signature");
    running.ssh_add(folder, &["-q", "-D"]);
    assert_eq!(agent.sign(&key.blob, MESSAGE, RsaHash::Sha512).await, Err(SshError::Refused));
    drop(running);
    let error = agent.keys().await.expect_err("no agent");
    assert!(matches!(error, SshError::Absent { .. }) && error.is_transient(), "{error}");
}

#[test]
fn private_keys_that_cannot_be_used_are_named() {
    let Some(folder) = folder() else { return };
    let folder = folder.path();
    let refused = |name: &str, part: &str| {
        let error = PrivateKey::read(&folder.join(name), None).expect_err(name).to_string();
        assert!(error.contains(name) && error.contains(part), "{name}: {error}");
    };
    keygen(folder, &["-N", "secret", "-f", "encrypted", "-t", "ed25519"]);
    refused("encrypted", "has a passphrase: put it into an agent");
    keygen(folder, &["-N", "", "-m", "PEM", "-f", "pem", "-t", "rsa"]);
    refused("pem", "ssh-keygen -p -f FILE");
    keygen(folder, &["-N", "", "-f", "p521", "-t", "ecdsa", "-b", "521"]);
    refused("p521", "of this type are not accepted");
    refused("missing", "No such file");
    new_key(folder, "right", &["ed25519"]);
    refused("right.pub", "not a private key");
    let text = fs::read_to_string(folder.join("right")).expect("a key");
    for end in (0..text.trim_end().len()).step_by(7) {
        PrivateKey::parse(&text.as_bytes()[..end]).expect_err("cut off");
    }
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with('-')) {
        // A letter more would not be base64.
        let changed: Vec<_> =
            text.lines().enumerate().map(|(at, l)| if at == index { &line[4..] } else { l }).collect();
        PrivateKey::parse(changed.join("\n").as_bytes()).expect_err("changed");
    }
    let shown = format!("{:?}", PrivateKey::parse(text.as_bytes()).expect("a key"));
    assert!(shown.starts_with("PrivateKey(SHA256:"), "{shown}");
}
