//! Certificates that are renewed while the daemon runs.

use std::{fs, os::unix::fs::PermissionsExt};

use alppaca::source::roles_anywhere::Identity;

use crate::{
    fetch, files,
    pki::{Leaf, P256, Pki},
    role,
    server::Server,
};

#[test]
fn a_renewed_pair_is_used_at_once_and_a_half_written_one_never() {
    let Some(pki) = Pki::new() else { return };
    let server = Server::start(&pki.path("root.pem"));
    for name in ["first", "second"] {
        pki.issue(&Leaf::new(name, P256));
    }
    let (certificate, key) = (pki.path("live.pem"), pki.path("live.key"));
    let put = |from: &str, to: &std::path::Path| fs::copy(pki.path(from), to).expect("copied");
    put("first.pem", &certificate);
    put("first.key", &key);
    let mut settings = files(&certificate, &key);
    settings.chain = Some(pki.path("intermediate.pem"));
    let role = role(&server, &Identity::new(settings));
    let serial = || {
        fetch(&role).expect("credentials");
        server.last().serial
    };
    let first = serial();
    // The new certificate without its key; half a key; no key; and half a certificate.
    put("second.pem", &certificate);
    assert_eq!(serial(), first);
    let whole = fs::read(pki.path("second.key")).expect("a file");
    fs::write(&key, &whole[..whole.len() / 2]).expect("written");
    assert_eq!(serial(), first);
    fs::remove_file(&key).expect("removed");
    assert_eq!(serial(), first);
    put("second.key", &key);
    fs::write(&certificate, &fs::read(pki.path("second.pem")).expect("a file")[..100]).expect("written");
    assert_eq!(serial(), first);
    // Now both are there.
    put("second.pem", &certificate);
    let second = serial();
    assert_ne!(second, first);
    assert!(server.seen().iter().all(Result::is_ok), "no signature ever failed to fit");
}

#[test]
fn a_pair_that_is_incomplete_from_the_beginning_is_waited_for() {
    let Some(pki) = Pki::new() else { return };
    let server = Server::start(&pki.path("root.pem"));
    pki.issue(&Leaf::new("web", P256));
    let mut settings = files(&pki.path("web.pem"), &pki.path("later.key"));
    settings.chain = Some(pki.path("intermediate.pem"));
    let role = role(&server, &Identity::new(settings));
    let error = fetch(&role).expect_err("no key").message;
    assert!(error.contains("later.key: cannot be read: No such file"), "{error}");
    fs::copy(pki.path("web.key"), pki.path("later.key")).expect("copied");
    fs::set_permissions(pki.path("later.key"), fs::Permissions::from_mode(0o600)).expect("changed");
    fetch(&role).expect("credentials");
    assert_eq!(server.seen().len(), 1, "nothing was sent before");
}
