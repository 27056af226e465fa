//! Agents that lie, and keys that no test can have: in hardware.

use tokio::net::UnixListener;

use super::*;
use crate::{Signer, fingerprint, sshsig::SshSig};

fn strings(parts: &[&[u8]]) -> Vec<u8> {
    let mut all = Vec::new();
    for part in parts {
        put(&mut all, part);
    }
    all
}

/// An agent that gives these answers, one to each call, and then is silent.
fn agent(answers: Vec<Vec<u8>>) -> (Agent, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("agent");
    let listener = UnixListener::bind(&socket).expect("a socket");
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let length = stream.read_u32().await.expect("a length");
            let mut request = vec![0; usize::try_from(length).expect("small")];
            stream.read_exact(&mut request).await.expect("a request");
            stream.write_all(&answer).await.expect("written");
        }
        let _silent = listener.accept().await;
        std::future::pending::<()>().await;
    });
    (Agent::new(socket, Duration::from_millis(300)), folder)
}

#[tokio::test]
async fn nonsense_is_bounded() {
    let huge = u32::MAX.to_be_bytes();
    for (answer, expected) in [
        (strings(&[&[FAILURE]]), SshError::Refused),
        (strings(&[&[SIGN.1]]), SshError::Protocol("it is of another type")),
        (strings(&[b""]), SshError::Protocol("its length is not allowed")),
        (huge.to_vec(), SshError::Protocol("its length is not allowed")),
        (strings(&[&[&[LIST.1][..], &huge].concat()]), SshError::Protocol("it ends too early")),
        (strings(&[&[&[LIST.1][..], &[0; 4], b"x"].concat()]), SshError::Protocol("something follows it")),
    ] {
        let (agent, _folder) = agent(vec![answer.clone()]);
        assert_eq!(agent.keys().await, Err(expected), "{answer:?}");
    }
    let (cut_off, _folder) = agent(vec![vec![0, 0, 0, 9, LIST.1]]);
    assert!(matches!(cut_off.keys().await, Err(SshError::Absent { .. })));
    let (silent, _folder) = agent(Vec::new());
    assert!(matches!(silent.keys().await, Err(SshError::TimedOut(_))));
}

#[tokio::test]
async fn flags_and_counter_of_a_key_in_hardware_are_passed_on() {
    let key = strings(&[b"sk-ssh-ed25519@openssh.com", &[7; 32], b"ssh:"]);
    let list = [&[LIST.1, 0, 0, 0, 1][..], &strings(&[&key, b"yubikey"])].concat();
    let signature = [&strings(&[b"sk-ssh-ed25519@openssh.com", &[8; 64]])[..], &[1, 0, 0, 0, 9]].concat();
    let signed = [&[SIGN.1][..], &strings(&[&signature])].concat();
    let (agent, _folder) = agent(vec![strings(&[&list]), strings(&[&list]), strings(&[&signed])]);
    let found = agent.key(None).await.expect("the only one");
    assert!(found.is_hardware());
    assert_eq!(found.fingerprint(), fingerprint(&key));
    let blob = Signer::Agent { agent, key: None }.sign("alppaca-user", b"x").await.expect("a signature");
    let sshsig = SshSig::parse(&blob).expect("an SSHSIG");
    assert_eq!((sshsig.key, sshsig.signature), (&key[..], &signature[..]));
}

#[tokio::test]
async fn an_agent_that_can_only_sha_1_is_refused() {
    let list = [&[LIST.1, 0, 0, 0, 1][..], &strings(&[&strings(&[b"ssh-rsa", b"e", b"n"]), b"old"])].concat();
    let signed = [&[SIGN.1][..], &strings(&[&strings(&[b"ssh-rsa", b"s"])])].concat();
    let (agent, _folder) = agent(vec![strings(&[&list]), strings(&[&signed])]);
    let error = Signer::Agent { agent, key: None }.sign("alppaca-user", b"x").await.expect_err("SHA-1");
    assert_eq!(error, SshError::Algorithm("ssh-rsa".to_owned()));
}
