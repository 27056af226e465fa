//! Each kind in the real binary, as a person configures it.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use alppaca::mock_ims::Behaviour;
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use crate::{
    server::Server,
    support::{Daemon, Ims},
    write,
};

const ISSUED: &str = "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleWithWebIdentityResult><AssumedRoleUser><AssumedRoleId>AROA:x</AssumedRoleId><Arn>arn:aws:sts::123456789012:assumed-role/app/x</Arn></AssumedRoleUser><Credentials><AccessKeyId>ASIAEXAMPLE</AccessKeyId><SecretAccessKey>wJalr</SecretAccessKey><SessionToken>IQoJ</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>";
const VAULT: &str = r#"{"request_id":"x","lease_id":"x","renewable":false,"lease_duration":3599,"data":{"access_key":"ASIAVAULT","secret_key":"wJalr","security_token":"IQoJ"},"wrap_info":null,"warnings":null,"auth":null}"#;

/// The daemon, once it has credentials; the access key that it serves as `role`.
pub(crate) fn served(daemon: &Daemon, role: &str) -> String {
    daemon.wait_for_log(" fetched ");
    let answer = daemon.get(&format!("/latest/meta-data/iam/security-credentials/{role}"));
    assert_eq!(answer.status, 200, "{answer:?}\n{}", daemon.log());
    answer.json()["AccessKeyId"].as_str().expect("a key").to_owned()
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

/// What `check` says: its exit code, standard output and standard error.
pub(crate) fn check(config: &str, variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let directory = directory();
    let file = directory.path().join("alppaca.yaml");
    write(&file, config);
    let mut command = Command::new(env!("CARGO_BIN_EXE_alppaca"));
    let output = command.arg("check").arg("-c").arg(&file).envs(variables.iter().copied()).output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn program(path: &Path, script: &str) {
    write(path, &format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("own");
}

#[test]
fn a_process_gets_no_socket_of_ours() {
    let directory = directory();
    let (path, seen) = (directory.path().join("login"), directory.path().join("seen"));
    let set = r#"{"Version":1,"AccessKeyId":"ASIAPROC","SecretAccessKey":"wJalr","SessionToken":"IQoJ","Expiration":"2099-01-01T00:00:00Z"}"#;
    program(&path, &format!("env > {}\nls -l /proc/self/fd >> {0}\necho '{set}'", seen.display()));
    let config = format!(
        "sources:\n  ext: {{kind: process, command: \"{} --role 'my app'\", environment: {{LANG: C}}}}\nroles:\n  app: {{source: ext}}\n",
        path.display()
    );
    let notify = directory.path().join("notify");
    let _socket = std::os::unix::net::UnixDatagram::bind(&notify).expect("a socket");
    let daemon = Daemon::start_with(&config, |command| {
        command.env("NOTIFY_SOCKET", &notify).env("AWS_SECRET_ACCESS_KEY", "s3cr3t").env("HOME", "/nonexistent");
    });
    assert_eq!(served(&daemon, "app"), "ASIAPROC");
    let seen = fs::read_to_string(seen).expect("written");
    for (text, there) in [
        ("NOTIFY_SOCKET", false),
        ("s3cr3t", false),
        ("socket:", false),
        ("LANG=C\n", true),
        ("HOME=/nonexistent\n", true),
        ("PATH=", true),
    ] {
        assert_eq!(seen.contains(text), there, "{text}: {seen}");
    }
}

#[test]
fn long_term_keys_are_served_only_where_that_is_said() {
    let directory = directory();
    let file = directory.path().join("secret");
    write(&file, "wJalrEXAMPLE\n");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("own");
    let config = |more: &str| {
        format!(
            "sources:\n  boot: {{kind: static, access_key_id: AKIAEXAMPLE, secret_access_key_file: {}{more}}}\nroles:\n  app: {{source: boot}}\n",
            file.display()
        )
    };
    let daemon = Daemon::start(&config(""));
    daemon.wait_for_log("can be read by every account of this host");
    daemon.wait_for_log("AKIAEXAMPLE is a long-term key");
    assert_ne!(daemon.get("/latest/meta-data/iam/security-credentials/app").json()["AccessKeyId"], "AKIAEXAMPLE");
    let daemon = Daemon::start(&config(", serve_long_term: true"));
    assert_eq!(served(&daemon, "app"), "AKIAEXAMPLE");
    assert!(!daemon.log().contains("wJalrEXAMPLE"));
    let (code, _, said) = check(&config(""), &[]);
    assert!(code == Some(0) && said.contains("warning: ") && said.contains("chmod 600"), "{said}");
}

#[test]
fn vault_is_asked_for_the_role_under_its_name_or_another() {
    let directory = directory();
    let token = directory.path().join("token");
    write(&token, "hvs.GOOD");
    let vault = Server::start(|_| (200, VAULT.to_owned()));
    let config = format!(
        "sources:\n  vlt: {{kind: vault, address: {}, token_file: {}}}\nroles:\n  app: {{source: vlt}}\n  other: {{source: vlt, upstream_role: deploy, duration: 30m}}\n",
        vault.url(),
        token.display()
    );
    let daemon = Daemon::start(&config);
    daemon.wait_for_log("app: fetched");
    daemon.wait_for_log("other: fetched");
    assert_eq!(served(&daemon, "other"), "ASIAVAULT");
    let mut lines = vault.lines();
    lines.sort();
    assert_eq!(lines, ["GET /v1/aws/sts/app", "GET /v1/aws/sts/deploy?ttl=1800s"]);
}

#[test]
fn a_web_identity_is_shown_to_the_endpoint_of_the_environment() {
    let directory = directory();
    let token = directory.path().join("token");
    write(&token, "ey.token");
    let sts = Server::start(|_| (200, ISSUED.to_owned()));
    let config = format!(
        "sources:\n  oidc: {{kind: web_identity, token_file: {}}}\nroles:\n  app: {{source: oidc, role_arn: 'arn:aws:iam::123456789012:role/app', session_name: 'x-{{role}}'}}\n",
        token.display()
    );
    let daemon = Daemon::start_with(&config, |command| {
        command.env("AWS_ENDPOINT_URL_STS", sts.url());
    });
    assert_eq!(served(&daemon, "app"), "ASIAEXAMPLE");
    let asked = sts.asked().pop().expect("a call");
    assert!(
        asked.body.contains("RoleSessionName=x-app") && asked.body.contains("WebIdentityToken=ey.token"),
        "{asked:?}"
    );
}

#[test]
fn a_profile_is_read_from_the_home_of_the_daemon() {
    let home = directory();
    fs::create_dir(home.path().join(".aws")).expect("writable");
    let text = "[work]\naws_access_key_id = ASIAPROFILE\naws_secret_access_key = s\naws_session_token = IQoJ\n";
    write(&home.path().join(".aws/credentials"), text);
    let config = "sources:\n  files: {kind: profile, profile: work}\nroles:\n  app: {source: files}\n";
    let daemon = Daemon::start_with(config, |command| {
        command.env("HOME", home.path()).env("AWS_ACCESS_KEY_ID", "AKIAWRONG").env("AWS_SECRET_ACCESS_KEY", "s");
    });
    assert_eq!(served(&daemon, "app"), "ASIAPROFILE");
}

#[test]
fn one_alppaca_is_the_imds_of_another_but_never_its_own() {
    let ims = Ims::start(Behaviour::default());
    let upstream = Daemon::with_credentials(&ims.config());
    let config = |endpoint: &str, more: &str| {
        format!(
            "sources:\n  ec2: {{kind: imds, endpoint: 'http://{endpoint}'}}\nroles:\n  app: {{source: ec2}}\n{more}"
        )
    };
    let daemon = Daemon::start(&config(&upstream.address().to_string(), ""));
    let key = served(&daemon, "app");
    assert!(ims.handle.issued_with(&key).is_some(), "{key}");
    let own = config("127.0.0.1:25772", "");
    let (code, _, said) = check(&own, &[]);
    assert!(code == Some(0) && said.contains("is where alppaca itself listens"), "{said}");
    let directory = directory();
    let file = directory.path().join("alppaca.yaml");
    write(&file, &own);
    let output = Command::new(env!("CARGO_BIN_EXE_alppaca")).arg("run").arg("-c").arg(&file).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("it would ask itself"), "{said}");
}

#[test]
fn the_environments_proxy_is_used_only_where_that_is_said() {
    let directory = directory();
    let token = directory.path().join("token");
    write(&token, "hvs.GOOD");
    let proxy = Server::start(|_| (200, VAULT.to_owned()));
    let vault = Server::start(|_| (200, VAULT.to_owned()));
    let config = |more: &str| {
        format!(
            "sources:\n  vlt: {{kind: vault, address: {}, token_file: {}{more}}}\nroles:\n  app: {{source: vlt}}\n",
            vault.url(),
            token.display()
        )
    };
    let variables = [("http_proxy", format!("me:s3cr3t@{}", proxy.address)), ("NO_PROXY", "example.com".to_owned())];
    let run = |more: &str| {
        let daemon = Daemon::start_with(&config(more), |command| {
            command.envs(variables.iter().map(|(name, value)| (name, value)));
        });
        served(&daemon, "app");
        daemon
    };
    run("");
    assert_eq!((proxy.asked().len(), vault.asked().len()), (0, 1));
    let daemon = run(", proxy: environment");
    daemon
        .wait_for_log(&format!("the environment's proxies are in force for vlt: http_proxy=http://{}", proxy.address));
    assert!(!daemon.log().contains("s3cr3t"));
    let through = proxy.asked().pop().expect("through the proxy");
    assert_eq!(through.target, format!("{}/v1/aws/sts/app", vault.url()));
    assert_eq!(through.header("proxy-authorization"), Some("Basic bWU6czNjcjN0"));
    run(", proxy: environment, no_proxy: [127.0.0.0/8]");
    assert_eq!((proxy.asked().len(), vault.asked().len()), (1, 2));

    let set: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let (_, out, _) = check(&config(", proxy: environment"), &set);
    assert!(out.contains("NO_PROXY=example.com") && out.contains("proxy: environment"), "{out}");
    assert!(!out.contains("s3cr3t"), "{out}");
    let (_, out, _) = check(&config(""), &set);
    assert!(!out.contains("NO_PROXY"), "{out}");
    let (_, _, said) = check(&config(", proxy: environment"), &[("http_proxy", "socks5://me:s3cr3t@p:1")]);
    assert!(said.contains("the variable http_proxy is not a proxy") && !said.contains("s3cr3t"), "{said}");
}

#[test]
fn check_fails_for_files_that_are_here_and_wrong() {
    let directory = directory();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(vec!["localhost".into()]).expect("a name").self_signed(&key);
    for (name, text) in [
        ("ca.pem", certificate.expect("a certificate").pem()),
        ("own.key", key.serialize_pem()),
        ("other.key", KeyPair::generate().expect("a key").serialize_pem()),
        ("empty", "nothing\n".to_owned()),
    ] {
        write(&directory.path().join(name), &text);
    }
    let ims = |ca: &str, key: &str| {
        let (ca, certificate, key) = (path(ca), path("ca.pem"), path(key));
        format!(
            "ims_host: x\nims_protocol: https\nims_ca_file: {ca}\nims_client_certificate: {certificate}\nims_client_key: {key}\n"
        )
    };
    let ssh = |key: &str| format!("ims_host: x\nims_identity: {{kind: ssh, key: {}}}\n", path(key));
    let sts = |ca: &str| format!("ims_host: x\nsources: {{s: {{kind: sts, ca_file: {}}}}}\n", path(ca));
    for (config, expected, said) in [
        (ims("ca.pem", "own.key"), 0, ""),
        (ims("empty", "own.key"), 2, "source ims: ca_file: "),
        (ims("none", "own.key"), 0, "none: cannot be read: No such file"),
        (ims("ca.pem", "empty"), 2, "empty: has no private key"),
        (ims("ca.pem", "other.key"), 2, "other.key: is not the key of the first certificate in"),
        (ims("own.key", "empty"), 2, "own.key: has no certificate"),
        (ims("own.key", "empty"), 2, "empty: has no private key"),
        (ssh("empty"), 2, "identity: "),
        (ssh("none"), 0, "; the daemon will not start"),
        (sts("empty"), 2, "source s: ca_file: "),
        (sts("none"), 0, ""),
    ] {
        let (code, _, told) = check(&config, &[]);
        assert!(code == Some(expected) && told.contains(said), "{config}: {code:?}: {told}");
    }
}
