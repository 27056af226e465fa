//! Files that others may change are refused, secrets that others may read are warned of: by `check`, at the start, at a reload.

mod support;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use alppaca::mock_ims::Behaviour;
use rcgen::{CertificateParams, KeyPair};
use support::{Daemon, Ims, get, needs, needs_root};
use tempfile::TempDir;

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(TempDir::new().expect("a directory"))
    }

    fn file(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).expect("ours");
        set_mode(&path, mode);
        path
    }

    /// Exit code and complaints of `alppaca check`, and whether `alppaca run` refuses the same with the same words.
    fn check(&self, config: &str, mode: u32) -> (Option<i32>, String) {
        let config = self.file("alppaca.yaml", config, mode);
        let (code, said) = alppaca("check", &config);
        if code == Some(2) {
            let (run, complaint) = alppaca("run", &config);
            assert!(run == Some(2) && complaint.lines().all(|line| said.contains(line)), "{complaint}\n{said}");
        }
        (code, said)
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
}

fn alppaca(word: &str, config: &Path) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_alppaca")).arg(word).arg("-c").arg(config).output().expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_configuration_that_others_may_change_is_refused() {
    let place = Place::new();
    let config = "ims_host: localhost\nbind_port: 0\n";
    let (code, said) = place.check(config, 0o666);
    let path = place.0.path().join("alppaca.yaml");
    let wanted = format!("the configuration {0}: {0} can be changed by every user (mode 0666, owner ", path.display());
    assert!(code == Some(2) && said.contains(&wanted), "{said}");
    assert!(said.contains(&format!("; chmod o-w {}", path.display())), "{said}");
    let (code, said) = place.check(config, 0o644);
    assert_eq!((code, said.as_str()), (Some(0), ""), "no secret is in it");
    set_mode(place.0.path(), 0o777);
    let (code, said) = place.check(config, 0o644);
    assert!(code == Some(2) && said.contains("it could be replaced in its directory"), "{said}");
    let (code, said) = alppaca("check", place.0.path());
    assert!(code == Some(2) && said.contains("the directory of the configuration"), "{said}");
}

#[test]
fn files_of_all_kinds_that_others_may_change_are_refused() {
    let place = Place::new();
    let file = |name: &str| place.file(name, "x", 0o622).display().to_string();
    let source = |lines: &str| format!("bind_port: 0\nsources:\n  s: {{{lines}}}\n");
    let roles = "roles:\n  r: {source: s}\n";
    let open = file("open");
    let ims = "ims_host: localhost\nbind_port: 0\n";
    for (config, what) in [
        (format!("{ims}ims_ca_file: {open}\n"), "source ims: ca_file"),
        (format!("{}{roles}", source(&format!("kind: process, command: ['{open}']"))), "source s: its program"),
        (
            format!("{}{roles}", source(&format!("kind: process, command: [/bin/sh, '{open}']"))),
            "source s: a file that its program is given",
        ),
        (
            format!("{}{roles}", source(&format!("kind: profile, profile: p, config_file: '{open}'"))),
            "source s: config_file",
        ),
        (format!("{ims}containers: {{mapping_file: '{open}', allow: ['*']}}\n"), "containers: mapping_file"),
        (
            format!("{ims}container: {{roles: {{r: {{authorization_token_file: '{open}'}}}}}}\n"),
            "container: authorization_token_file of r",
        ),
    ] {
        let (code, said) = place.check(&config, 0o600);
        assert!(code == Some(2) && said.contains(&format!("{what} {open}: ")), "{config}{said}");
        assert!(said.contains("by every user (mode 0622, owner "), "{config}{said}");
    }
}

#[test]
fn secrets_of_all_kinds_that_others_may_read_are_warned_of() {
    let place = Place::new();
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(vec!["localhost".into()]).expect("a name").self_signed(&key);
    // It is all that is asked for, so that nothing else is wrong.
    let both = certificate.expect("a certificate").pem() + &key.serialize_pem();
    let open = place.file("open", &both, 0o644).display().to_string();
    let fine = place.file("fine", &both, 0o600).display().to_string();
    let ims = "ims_host: localhost\nbind_port: 0\n";
    for (config, mode, what) in [
        (
            format!("{ims}ims_client_certificate: {open}\nims_client_key: {open}\n"),
            0o600,
            format!("source ims: client_key {open}"),
        ),
        (
            format!(
                "bind_port: 0\nsources:\n  s: {{kind: vault, address: 'http://127.0.0.1:1', token_file: {open}}}\nroles:\n  r: {{source: s, upstream_role: x}}\n"
            ),
            0o600,
            format!("source s: token_file {open}"),
        ),
        (
            format!("{ims}container: {{roles: {{r: {{authorization_token_file: {open}}}}}}}\n"),
            0o600,
            "container: authorization_token_file of r".to_owned(),
        ),
        (format!("{ims}ims_proxy: 'http://anna:s3cr3t@127.0.0.1:3128'\n"), 0o644, "the configuration ".to_owned()),
    ] {
        let said = place.check(&config, mode).1;
        assert!(
            said.contains(&what)
                && said.contains("it is a secret, and can be read by every account of this host (mode 0644)"),
            "{config}{said}"
        );
        let said = place.check(&config.replace(&open, &fine), 0o600).1;
        assert!(!said.contains("it is a secret"), "{config}{said}");
    }
}

#[test]
fn a_reload_with_such_a_file_changes_nothing() {
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&ims.config());
    let config = daemon.directory.path().join("alppaca.yaml");
    set_mode(&config, 0o646);
    daemon.hang_up();
    daemon.wait_for_log("the new configuration is wrong; nothing has been changed");
    daemon.wait_for_log("can be changed by every user (mode 0646, owner ");
    assert_eq!(get(daemon.address(), "/latest/meta-data/iam/security-credentials/").body, "test_role");
    set_mode(&config, 0o644);
    daemon.hang_up();
    daemon.wait_for_log("the configuration has been reloaded");
}

#[test]
fn root_is_asked_to_say_that_it_is_meant() {
    if !needs_root("privileges: root without an account") {
        return;
    }
    let ims = Ims::start(Behaviour::default());
    let unasked = "the daemon runs as root with all privileges";
    if nix::unistd::User::from_name("alppaca").is_ok_and(|user| user.is_none()) {
        Daemon::start(&ims.config()).wait_for_log(unasked);
    }
    let asked = Daemon::with_credentials(&format!("{}user: root\n", ims.config()));
    assert!(!asked.log().contains(unasked), "{}", asked.log());
}

#[test]
fn root_becomes_the_usual_account_where_there_is_one() {
    if !needs_root("privileges: the usual account") || !needs("privileges: the usual account", "unshare") {
        return;
    }
    let place = Place::new();
    let accounts = |file: &str, line: &str| {
        let text = fs::read_to_string(file).expect("accounts");
        let lines = text.lines().filter(|line| !line.starts_with("alppaca:")).map(|line| format!("{line}\n"));
        format!("{}{line}\n", lines.collect::<String>())
    };
    let passwd =
        place.file("passwd", &accounts("/etc/passwd", "alppaca:x:61017:61018::/nonexistent:/bin/false"), 0o644);
    let group = place.file("group", &accounts("/etc/group", "alppaca:x:61018:"), 0o644);
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::start_through(
        &ims.config(),
        |program| {
            let script =
                "mount --bind \"$1\" /etc/passwd && mount --bind \"$2\" /etc/group && shift 2 && exec \"$0\" \"$@\"";
            let mut command = Command::new("unshare");
            command.args(["--mount", "sh", "-c", script, program]).arg(&passwd).arg(&group);
            command
        },
        || {},
    );
    daemon.wait_for_log(" fetched ");
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("it runs");
    assert!(status.contains("Uid:\t61017\t61017\t61017\t61017\n"), "{status}");
    assert!(status.contains("Gid:\t61018\t61018\t61018\t61018\n"), "{status}");
    assert!(status.contains("CapEff:\t0000000000000000\n"), "{status}");
}
