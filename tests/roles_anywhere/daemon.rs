//! The real binary with a configuration: files and a token.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use alppaca::{config::parse, mock_ims::LIST_PATH};

use crate::{
    pki::{Leaf, P256, Pki},
    server::{Reply, Server},
    support::{Daemon, get},
};

/// The configuration of one role that comes from `server`.
pub fn configuration(server: &Server, identity: &str) -> String {
    format!(
        "sources:\n  x509:\n    kind: roles_anywhere\n    endpoint: {}\n{identity}    \
         trust_anchor_arn: arn:aws:rolesanywhere:eu-central-1:123456789012:trust-anchor/t\n    \
         profile_arn: arn:aws:rolesanywhere:eu-central-1:123456789012:profile/p\n\
         roles:\n  web:\n    source: x509\n    role_arn: arn:aws:iam::123456789012:role/web\n    duration: 2h\n",
        server.endpoint()
    )
}

#[test]
fn the_daemon_serves_what_a_certificate_gets() {
    let Some(pki) = Pki::new() else { return };
    let server = Server::start(&pki.path("root.pem"));
    pki.issue(&Leaf::new("web", P256));
    let path = |name: &str| pki.path(name).display().to_string();
    let (certificate, chain, key) = (path("web.pem"), path("intermediate.pem"), path("web.key"));
    let identity = format!("    certificate: {certificate}\n    chain: {chain}\n    key: {key}\n");
    let daemon = Daemon::with_credentials(&configuration(&server, &identity));
    assert_eq!(get(daemon.address(), LIST_PATH).body, "web");
    let answer = get(daemon.address(), &format!("{LIST_PATH}web")).json();
    assert_eq!(answer["AccessKeyId"], "ASIAFIRST");
    let seen = server.last();
    assert_eq!(seen.body["durationSeconds"], 7200);
    assert!(seen.body.get("roleSessionName").is_none(), "only a name that was written is sent");
    let log = daemon.log();
    assert!(log.contains("using the certificate") && !log.contains("too open"), "{log}");
    drop(daemon);
    // The same with a key that everybody may read.
    fs::set_permissions(pki.path("web.key"), fs::Permissions::from_mode(0o644)).expect("ours");
    let daemon = Daemon::with_credentials(&configuration(&server, &identity));
    assert!(daemon.log().contains("web.key is a secret and too open (mode 644)"), "{}", daemon.log());
}

#[test]
fn a_refusal_is_told_once_and_loudly() {
    let Some(pki) = Pki::new() else { return };
    let server = Server::start(&pki.path("root.pem"));
    pki.issue(&Leaf::new("web", P256));
    server.reply_with(Reply::error("403 Forbidden", "AccessDeniedException", "Unable to assume role"));
    let path = |name: &str| pki.path(name).display().to_string();
    let (certificate, chain, key) = (path("web.pem"), path("intermediate.pem"), path("web.key"));
    let identity = format!("    certificate: {certificate}\n    chain: {chain}\n    key: {key}\n");
    let daemon = Daemon::start(&configuration(&server, &identity));
    daemon.wait_for_log("AccessDeniedException: Unable to assume role");
    let answer = get(daemon.address(), &format!("{LIST_PATH}web"));
    assert_eq!(answer.json()["Code"], "AssumeRoleUnauthorizedAccess");
}

#[test]
fn check_looks_at_the_files() {
    let Some(pki) = Pki::new() else { return };
    let server = Server::start(&pki.path("root.pem"));
    for name in ["web", "other"] {
        pki.issue(&Leaf::new(name, P256));
    }
    let check = |key: &str| {
        let (certificate, key) = (pki.path("web.pem"), pki.path(key));
        let identity = format!("    certificate: {}\n    key: {}\n", certificate.display(), key.display());
        fs::write(pki.path("alppaca.yaml"), configuration(&server, &identity)).expect("written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_alppaca"));
        let output = command.args(["check", "--quiet", "-c"]).arg(pki.path("alppaca.yaml")).output().expect("it runs");
        assert!(output.stdout.is_empty(), "{output:?}");
        (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
    };
    let (code, fine) = check("web.key");
    assert_eq!(code, Some(0), "{fine}");
    assert!(
        fine.starts_with("source x509: CN=web,O=Test (ECDSA P-256, 0 more in the chain), valid until 20"),
        "{fine}"
    );
    fs::write(pki.path("empty.key"), "").expect("written");
    for (key, expected, said) in [
        ("other.key", 2, "source x509: the key "),
        ("empty.key", 2, "empty.key: "),
        ("none.key", 0, "warning: source x509: "),
        ("none.key", 0, "none.key: cannot be read: No such file"),
    ] {
        let (code, told) = check(key);
        assert!(code == Some(expected) && told.contains(said), "{key}: {code:?}: {told}");
    }
}

#[test]
fn a_configuration_that_cannot_be_is_refused_with_its_place() {
    let read = |text: &str| parse(vec![("f".into(), text.to_owned())]);
    let good = "sources:\n  x:\n    kind: roles_anywhere\n    certificate: /c\n    key: /k\n    trust_anchor_arn: \
                arn:aws:rolesanywhere:eu-central-1:123456789012:trust-anchor/t\n    profile_arn: \
                arn:aws:rolesanywhere:eu-central-1:123456789012:profile/p\nroles:\n  web:\n    source: x\n    role_arn: \
                arn:aws:iam::123456789012:role/web\n";
    let refused = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        read(&good.replace(from, to)).map(|_| ()).expect_err(to).to_string()
    };
    let config = read(good).expect("legal").config;
    assert_eq!(read(&config.render()).expect("legal").config, config);
    for (from, to, message) in [
        ("    key: /k\n", "", "a source of kind roles_anywhere needs a `key`"),
        ("key: /k", "keey: /k", "did you mean `key`?"),
        ("/k", "pkcs11:token=x", "names no module-path, and no PKCS#11 module is configured"),
        ("/k", "pkcs11:token=x?pin-value=1234", "pin-value would put the PIN into the configuration"),
        ("trust-anchor/t", "profile/t", "is not the ARN of a trust anchor"),
        ("eu-central-1:123456789012:profile", "eu-west-1:123456789012:profile", "they must be in the same region"),
        ("    role_arn: arn:aws:iam::123456789012:role/web\n", "", "so a `role_arn` is needed"),
    ] {
        let told = refused(from, to);
        assert!(told.contains(message) && !told.contains("1234\n"), "{told}");
    }
    assert!(!refused("/k", "pkcs11:token=x?pin-value=1234").contains("1234"), "a PIN is not shown");
}
