//! Files with credentials, written by the real binary with its sandbox.

#[path = "support/schema.rs"]
mod schema;
mod support;

use std::{
    collections::BTreeSet,
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown, symlink},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use alppaca::mock_ims::{Answer, Behaviour, Handle};
use support::{Daemon, Ims, Over, eventually, needs, needs_root, service::Service, small::Small};
use tempfile::TempDir;

const ALPPACA: &str = env!("CARGO_BIN_EXE_alppaca");

/// An upstream whose credentials live for so many seconds.
fn ims(seconds: u64) -> Ims {
    Ims::start(Behaviour { lifetime: Duration::from_secs(seconds), ..Behaviour::default() })
}

/// A run directory that outlives the daemon, through which every account may pass.
fn run_dir() -> TempDir {
    let directory = TempDir::new().expect("a directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711)).expect("ours");
    directory
}

fn config(ims: &Ims, run_dir: &Path, files: &str) -> String {
    format!("{}run_dir: {}\nfiles: [{files}]\n", ims.config(), run_dir.display())
}

fn values(text: &str) -> [&str; 3] {
    ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"].map(|key| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
        line.unwrap_or_else(|| panic!("no {key}: {text}"))
    })
}

/// The key in a text that is whole: all of one set that was issued.
fn whole(text: &str, handle: &Handle) -> String {
    let [key, secret, token] = values(text);
    let issued = handle.issued_with(key).expect("the upstream's");
    assert_eq!((secret, token), (&*issued.secret_access_key, &*issued.session_token), "of one set");
    key.to_owned()
}

/// Waits until the file has credentials.
fn written(daemon: &Daemon, path: &Path) -> String {
    eventually("the file", || fs::read_to_string(path).ok().filter(|text| !text.is_empty()), || daemon.log())
}

fn gone(daemon: &Daemon, path: &Path) {
    eventually("it is removed", || (!path.exists()).then_some(()), || daemon.log());
}

#[test]
fn a_reader_sees_every_rotation_and_never_a_torn_file() {
    let (ims, run) = (ims(4), run_dir());
    let mut daemon = Daemon::start(&config(&ims, run.path(), "{path: web, role: test_role}"));
    let file = run.path().join("files/web");
    written(&daemon, &file);
    let found = fs::metadata(&file).expect("there");
    assert_eq!((found.mode() & 0o7777, found.uid()), (0o600, rustix::process::geteuid().as_raw()));
    assert_eq!(fs::metadata(run.path().join("files")).expect("there").mode() & 0o7777, 0o711);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = Over(&over);
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut seen = BTreeSet::new();
                    while seen.len() < 4 && !over.load(Ordering::Relaxed) {
                        seen.insert(whole(&fs::read_to_string(&file).expect("it is always there"), &ims.handle));
                    }
                    seen
                })
            })
            .collect();
        for reader in readers {
            assert_eq!(reader.join().expect("never torn").len(), 4);
        }
    });
    let series = format!("alppaca_file_writes_total{{file=\"{}\",outcome=\"success\"}}", file.display());
    // It is counted when it is there.
    eventually("all are counted", || (daemon_metric(run.path(), &series) >= 4).then_some(()), || daemon.log());
    let secret = values(&fs::read_to_string(&file).expect("there"))[1].to_owned();
    assert_eq!(daemon.stop(), Some(0));
    assert!(!file.exists() && !run.path().join("alppaca.files").exists());
    assert!(!daemon.log().contains(&secret) && !daemon.log().contains("ERROR"), "{}", daemon.log());
}

/// A metric of the daemon with that run directory.
fn daemon_metric(run_dir: &Path, series: &str) -> u64 {
    let text = metrics(run_dir);
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series}: {text}")).parse().expect("a number")
}

fn metrics(run_dir: &Path) -> String {
    use std::io::{Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(run_dir.join("alppaca.sock")).expect("it listens");
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

#[test]
fn a_role_that_is_withdrawn_refused_or_expired_leaves_no_file() {
    let run = run_dir();
    let ims = Ims::start(Behaviour { roles: vec!["web".into(), "db".into()], ..Behaviour::default() });
    let files = "{path: web, role: web}, {path: both, profiles: {default: web, db: db}}";
    let more = "refresh_interval: 1\nwithdrawal_grace: 0s\n";
    let daemon = Daemon::start(&format!("{}{more}", config(&ims, run.path(), files)));
    let [web, both] = ["web", "both"].map(|name| run.path().join("files").join(name));
    written(&daemon, &web);
    eventually("both", || written(&daemon, &both).contains("[db]").then_some(()), || daemon.log());
    ims.handle.update(|behaviour| behaviour.roles = vec!["db".into()]);
    gone(&daemon, &web);
    let one = || Some(()).filter(|()| !written(&daemon, &both).contains("[default]"));
    eventually("the other is alone", one, || daemon.log());
    ims.handle.update(|behaviour| behaviour.roles = vec!["db".into(), "web".into()]);
    written(&daemon, &web);
    ims.handle.update(|behaviour| {
        behaviour.lifetime = Duration::from_secs(3);
        behaviour.roles = vec!["late".into()];
    });
    gone(&daemon, &web);
    gone(&daemon, &both);
    ims.handle.update(|behaviour| behaviour.roles = vec!["web".into()]);
    written(&daemon, &web);
    // Not a refusal: what is held is served to its end.
    ims.handle.update(|behaviour| (behaviour.list, behaviour.document) = (Answer::Status(500), Answer::Status(500)));
    gone(&daemon, &web);
    daemon.wait_for_log("its credentials have expired");
}

#[test]
fn what_is_left_by_a_crash_is_replaced_or_removed_by_the_next_daemon() {
    let (mut ims, run, elsewhere) = (ims(3600), run_dir(), run_dir());
    let other = elsewhere.path().join("other");
    let files = format!("{{path: web, role: test_role}}, {{path: {}, role: test_role}}", other.display());
    let mut daemon = Daemon::start(&config(&ims, run.path(), &files));
    let web = run.path().join("files/web");
    let (first, _) = (written(&daemon, &web), written(&daemon, &other));
    daemon.kill();
    assert!(web.exists() && other.exists());
    // The sandbox lets the next one remove what its configuration does not name any more.
    let mut daemon = Daemon::start(&config(&ims, run.path(), "{path: web, role: test_role}"));
    gone(&daemon, &other);
    let replaced = || Some(()).filter(|()| whole(&written(&daemon, &web), &ims.handle) != values(&first)[0]);
    eventually("it is replaced", replaced, || daemon.log());
    daemon.kill();
    ims.stop();
    let more = "ready_wait: 300ms\n";
    let daemon = Daemon::start(&format!("{}{more}", config(&ims, run.path(), "{path: web, role: test_role}")));
    gone(&daemon, &web);
    daemon.wait_for_log("removed: there are no credentials of the role yet");
}

#[test]
fn a_reload_changes_drops_and_adds_files() {
    let (ims, run) = (ims(3600), run_dir());
    let mut daemon = Daemon::start(&config(&ims, run.path(), "{path: a, role: test_role}, {path: b, role: test_role}"));
    let [a, b, c] = ["a", "b", "c"].map(|name| run.path().join("files").join(name));
    let (before, inode) = (written(&daemon, &a), fs::metadata(&a).expect("there").ino());
    written(&daemon, &b);
    let reload = |files: &str| {
        let file = daemon.directory.path().join("alppaca.yaml");
        let log = "bind_port: 0\nlogging_handler: {module: logging, class: StreamHandler}\nlog_level: debug\n";
        fs::write(file, config(&ims, run.path(), files) + log).expect("ours");
        daemon.hang_up();
    };
    reload("{path: a, role: test_role}, {path: c, role: test_role, format: env}");
    daemon.wait_for_log("the configuration has been reloaded");
    gone(&daemon, &b);
    assert!(written(&daemon, &c).contains("\nAWS_ACCESS_KEY_ID=ASIA"), "{}", daemon.log());
    assert_eq!((written(&daemon, &a), fs::metadata(&a).expect("there").ino()), (before, inode), "it is left alone");
    let outside = run_dir();
    reload(&format!("{{path: {}/x, role: test_role}}", outside.path().display()));
    // It was not among what the sandbox was made of.
    if daemon.log().contains("by Landlock") {
        daemon.wait_for_log(&format!("{} (files: ", outside.path().display()));
        assert!(a.exists() && c.exists());
    }
    reload("{path: c, role: test_role, format: process}");
    let is_json = || serde_json::from_str::<serde_json::Value>(&written(&daemon, &c)).ok();
    let json = eventually("another format", is_json, || daemon.log());
    assert_eq!(json["Version"], 1);
    gone(&daemon, &a);
    assert_eq!(daemon.stop(), Some(0));
    assert!(!c.exists());
}

#[test]
fn nothing_that_others_have_put_in_the_way_is_followed_or_overwritten() {
    let (ims, run, out) = (ims(3600), run_dir(), run_dir());
    let [victim, link, foreign] = ["victim", "link", "foreign"].map(|name| out.path().join(name));
    fs::write(&victim, "theirs").expect("ours");
    fs::write(&foreign, "[default]\naws_access_key_id = AKIAOWN\n").expect("ours");
    symlink(&victim, &link).expect("a link");
    let files: Vec<_> =
        [&link, &foreign].iter().map(|path| format!("{{path: {}, role: test_role}}", path.display())).collect();
    let mut daemon = Daemon::start(&config(&ims, run.path(), &files.join(", ")));
    daemon.wait_for_log(&format!("{}: it cannot be written: what has that name is no regular file", link.display()));
    daemon.wait_for_log(&format!("{}: it cannot be written: there is another file of that name", foreign.display()));
    assert_eq!(fs::read_to_string(&victim).expect("there"), "theirs");
    assert!(fs::read_to_string(&foreign).expect("there").contains("AKIAOWN"));
    let series = format!("alppaca_file_failing{{file=\"{}\"}}", foreign.display());
    assert_eq!(daemon_metric(run.path(), &series), 1);
    fs::rename(&foreign, out.path().join("moved")).expect("ours");
    written(&daemon, &foreign);
    let is_good = || Some(()).filter(|()| daemon_metric(run.path(), &series) == 0);
    eventually("it is reported", is_good, || daemon.log());
    assert_eq!(daemon.stop(), Some(0));
    assert!(!foreign.exists() && link.is_symlink() && victim.exists());
}

#[test]
fn a_directory_in_which_others_can_write_is_refused_at_the_start_and_by_check() {
    let (ims, run, out) = (ims(3600), run_dir(), run_dir());
    fs::set_permissions(out.path(), fs::Permissions::from_mode(0o777)).expect("ours");
    let file = run.path().join("alppaca.yaml");
    let files = format!("{{path: {}/x, role: test_role}}", out.path().display());
    fs::write(&file, config(&ims, run.path(), &files)).expect("ours");
    for command in ["check", "run"] {
        let output = Command::new(ALPPACA).args([command, "-c"]).arg(&file).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(": its directory ") && said.contains("can be changed by every user"), "{said}");
    }
    fs::set_permissions(out.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    fs::write(&file, config(&ims, run.path(), "{path: /no/such/place/x, role: test_role}")).expect("ours");
    let output = Command::new(ALPPACA).args(["check", "-c"]).arg(&file).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("there is no directory /no/such/place; make it"), "{said}");
    let on_disk = format!("{{path: {}/x, role: test_role}}", env!("CARGO_TARGET_TMPDIR"));
    fs::write(&file, config(&ims, run.path(), &on_disk)).expect("ours");
    let output = Command::new(ALPPACA).args(["check", "-c"]).arg(&file).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let is_memory = alppaca::files::is_in_memory(Path::new(env!("CARGO_TARGET_TMPDIR"))) == Some(true);
    assert!(is_memory || said.contains("it is on a disk, where secrets can be found"), "{said}");
}

#[test]
fn only_the_users_and_groups_that_are_named_can_read() {
    const WHAT: &str = "files: users and groups";
    if !needs_root(WHAT) {
        return;
    }
    let (ims, run) = (ims(3600), run_dir());
    let files = "{path: acl, role: test_role, users: [61001], groups: [61500]}, {path: own, role: test_role}";
    let daemon = Daemon::start(&config(&ims, run.path(), files));
    let [acl, own] = ["acl", "own"].map(|name| run.path().join("files").join(name));
    written(&daemon, &acl);
    written(&daemon, &own);
    let reads = |path: &PathBuf, uid: u32, gid: u32| {
        let output = Command::new("cat").arg(path).uid(uid).gid(gid).output().expect("it runs");
        String::from_utf8_lossy(&output.stdout).contains("aws_secret_access_key")
    };
    assert!(reads(&acl, 61001, 61001) && reads(&acl, 61002, 61500));
    assert!(!reads(&acl, 61002, 61002) && !reads(&own, 61001, 61500));
    // Nor can they change it, or put something in its place.
    let sh = |script: &str| {
        let status = Command::new("sh").args(["-c", script, "sh"]).arg(&acl).uid(61001).gid(61500).status();
        status.expect("it runs").success()
    };
    assert!(!sh("echo x >\"$1\"") && !sh("rm -f \"$1\"") && !sh("ls \"$(dirname \"$1\")\""));
}

#[test]
fn check_warns_of_readers_that_the_host_does_not_know() {
    let (ims, run) = (ims(3600), run_dir());
    let files = "{path: f, role: test_role, users: [root, no-such-a], groups: [4242, no-such-b]}";
    let file = run.path().join("alppaca.yaml");
    fs::write(&file, config(&ims, run.path(), files)).expect("ours");
    let output = Command::new(ALPPACA).args(["check", "--quiet", "-c"]).arg(&file).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    for unknown in ["there is no user \"no-such-a\"", "there is no group \"no-such-b\""] {
        let wanted = format!("warning: files: {}/files/f: {unknown} on this host", run.path().display());
        assert!(said.lines().any(|line| line.starts_with(&wanted)), "{said}");
    }
    assert_eq!(said.matches("no-such").count(), 2, "{said}");
}

#[test]
fn a_full_disk_delays_nothing_and_is_told_once() {
    const WHAT: &str = "files: full disk";
    if !needs_root(WHAT) || !needs(WHAT, "unshare") || !needs(WHAT, "nsenter") {
        return;
    }
    let (ims, run, small) = (ims(4), run_dir(), Small::new("64k"));
    // Every account may write in one that is new.
    fs::set_permissions(small.outside(""), fs::Permissions::from_mode(0o755)).expect("ours");
    let (file, filler) = (small.outside("web"), small.outside("filler"));
    // More than fits: it ends with an error.
    assert!(fs::write(&filler, vec![b'x'; 1024 * 1024]).is_err());
    let files = format!("{{path: {}, role: test_role}}", small.inside("web").display());
    let config = config(&ims, run.path(), &files);
    let mut daemon = Daemon::start_through(&config, |program| small.enter(program), || {});
    daemon.wait_for_log("it cannot be written: its text cannot be stored: No space left on device");
    let requests = || daemon.get("/latest/meta-data/iam/security-credentials/test_role");
    let first = requests().json()["AccessKeyId"].clone();
    // Credentials are served and renewed all the same.
    let renewed = || Some(()).filter(|()| requests().json()["AccessKeyId"] != first);
    eventually("they are renewed", renewed, || daemon.log());
    assert!(!file.exists());
    assert_eq!(fs::read_dir(small.outside("")).expect("there").count(), 1, "nothing is left of the attempts");
    assert_eq!(daemon.log().matches("No space left on device").count(), daemon.log().matches("still not").count() + 1);
    fs::remove_file(&filler).expect("ours");
    whole(&written(&daemon, &file), &ims.handle);
    daemon.wait_for_log("web: has credentials of test_role");
    assert_eq!(daemon.stop(), Some(0));
    assert!(!file.exists());
}

#[test]
fn a_command_runs_after_each_change_with_the_path_and_without_a_secret() {
    let (ims, run, place) = (ims(4), run_dir(), run_dir());
    let script = |name: &str, text: &str| {
        let path = place.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("ours");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
        path
    };
    let seen = place.path().join("seen");
    let good = script("good", &format!("env >>{0}; echo end >>{0}; cat \"$ALPPACA_FILE\"", seen.display()));
    let bad = script("bad", "echo it is not there >&2; exit 3");
    let files = format!(
        "{{path: a, role: test_role, on_change: [{}, --now]}}, {{path: b, role: test_role, on_change: {}}}",
        good.display(),
        bad.display()
    );
    let daemon = Daemon::start(&config(&ims, run.path(), &files));
    let twice = || Some(()).filter(|()| fs::read_to_string(&seen).is_ok_and(|text| text.matches("end").count() >= 2));
    eventually("it has run twice", twice, || daemon.log());
    let text = fs::read_to_string(&seen).expect("there");
    let path = run.path().join("files/a");
    assert!(text.contains(&format!("ALPPACA_FILE={}\n", path.display())), "{text}");
    assert!(!text.contains("AWS_") && !text.contains("NOTIFY"), "{text}");
    for issued in ims.handle.issued() {
        assert!(!text.contains(&issued.secret_access_key) && !daemon.log().contains(&issued.secret_access_key));
    }
    daemon.wait_for_log("the command after a change (");
    let failed = daemon.wait_for_log("exit status: 3: it is not there");
    assert!(failed.contains(&bad.display().to_string()), "{failed}");
    let series = |file: &str, outcome: &str| {
        let path = run.path().join("files").join(file);
        format!("alppaca_file_commands_total{{file=\"{}\",outcome=\"{outcome}\"}}", path.display())
    };
    assert!(daemon_metric(run.path(), &series("a", "success")) >= 1);
    assert!(daemon_metric(run.path(), &series("b", "failure")) >= 1);
    assert_eq!(daemon_metric(run.path(), &series("a", "failure")), 0);
    let status = Command::new(ALPPACA)
        .args(["status", "--json", "--socket"])
        .arg(run.path().join("alppaca.sock"))
        .output()
        .expect("it runs");
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).expect("JSON");
    let file = |index: usize, key: &str| status["files"][index][key].clone();
    assert_eq!(
        (file(0, "state"), file(0, "roles"), file(0, "command_error")),
        ("written".into(), "test_role".into(), ().into())
    );
    assert!(file(1, "command_error").as_str().is_some_and(|error| error.contains("it is not there")), "{status}");
}

#[test]
fn a_command_has_the_home_of_its_account_and_one_that_cannot_start_is_named() {
    if !needs_root("files: the account of a command") {
        return;
    }
    let (ims, run) = (ims(3600), run_dir());
    chown(run.path(), Some(65534), Some(65534)).expect("root may");
    let files = "{path: a, role: test_role, on_change: [/bin/sh, -c, 'echo home is $HOME >&2; exit 3']}, \
                 {path: b, role: test_role, on_change: /no/such/program}";
    let config = format!("{}user: nobody\ngroup: nogroup\nsandbox: enforce\n", config(&ims, run.path(), files));
    let of_root = |command: &mut Command| {
        command.env("HOME", "/root");
    };
    let daemon = Daemon::start_with(&config, of_root);
    let accounts = fs::read_to_string("/etc/passwd").expect("there");
    let home = accounts.lines().find_map(|line| line.strip_prefix("nobody:")?.split(':').nth(4)).expect("an account");
    daemon.wait_for_log(&format!("(/bin/sh): it ended with exit status: 3: home is {home}"));
    let said = daemon.wait_for_log("(/no/such/program): cannot be started: No such file or directory");
    assert!(said.contains("neither the file nor what its first line"), "{said}");
    let mut status = Command::new(ALPPACA);
    let status = status.args(["status", "--socket"]).arg(run.path().join("alppaca.sock")).output().expect("it runs");
    let status = String::from_utf8_lossy(&status.stdout);
    assert!(status.contains("the command after the change failed: /no/such/program: cannot be started: "), "{status}");
}

#[test]
fn a_restart_leaves_the_file_and_a_stop_does_not() {
    let service = Service::with("files: [{path: web, role: test_role}]\n");
    assert_eq!(service.say("start").0, Some(0));
    let file = service.path("run/files/web");
    let text = eventually("the file", || fs::read_to_string(&file).ok(), || service.log());
    let inode = fs::metadata(&file).expect("there").ino();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = Over(&over);
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                assert_eq!(fs::read_to_string(&file).expect("it is always there"), text);
            }
        });
        for _ in 0..3 {
            let (code, words) = service.say("restart");
            assert_eq!((code, &*words), (Some(0), "alppaca restarted\n"), "{}", service.log());
        }
    });
    assert_eq!(fs::metadata(&file).expect("there").ino(), inode, "it was right already");
    assert_eq!(service.say("stop").0, Some(0));
    assert!(!file.exists(), "{}", service.log());
}

#[test]
fn what_the_service_manager_removes_is_left_to_it() {
    let (ims, run, out) = (ims(3600), run_dir(), run_dir());
    let other = out.path().join("other");
    let files = format!("{{path: web, role: test_role}}, {{path: {}, role: test_role}}", other.display());
    let config = config(&ims, run.path(), &files);
    let mut daemon = Daemon::start_with(&config, |command| {
        command.env("RUNTIME_DIRECTORY", run.path());
    });
    let web = run.path().join("files/web");
    written(&daemon, &web);
    written(&daemon, &other);
    assert_eq!(daemon.stop(), Some(0));
    assert!(web.exists() && !other.exists(), "{}", daemon.log());
}

fn records(path: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn the_audit_has_each_change_of_a_file_and_no_secret() {
    let (ims, run) = (ims(3600), run_dir());
    let audit = run.path().join("audit.log");
    let more = format!("audit_log: {}\n", audit.display());
    let config = config(&ims, run.path(), "{path: web, role: test_role, mode: 0640, groups: [root]}");
    let mut daemon = Daemon::start(&format!("{config}{more}"));
    let file = run.path().join("files/web");
    let text = written(&daemon, &file);
    let [key, secret, token] = values(&text);
    let found = eventually("its record", || records(&audit).into_iter().next(), || daemon.log());
    let expected = serde_json::json!({
        "time": found["time"], "event": "file-written", "role": "test_role", "access_key_id": key,
        "expiration": found["expiration"], "file": file, "owner": rustix::process::geteuid().as_raw(),
        "mode": "0640", "users": [], "groups": ["root"],
    });
    assert_eq!(found, expected);
    assert!(found["time"].is_string() && found["expiration"].is_string(), "{found}");
    assert_eq!(daemon.stop(), Some(0));
    let all = records(&audit);
    schema::check_records(
        include_str!("../docs/schemas/audit.schema.json"),
        &fs::read_to_string(&audit).expect("text"),
    );
    let last = all.last().expect("a record");
    assert_eq!((all.len(), &last["event"], &last["reason"]), (2, &"file-removed".into(), &"the daemon stops".into()));
    let raw = fs::read_to_string(&audit).expect("text");
    assert!(!raw.contains(secret) && !raw.contains(token), "{raw}");
}

#[test]
fn what_cannot_be_recorded_is_not_written_where_the_audit_is_required() {
    let (ims, run) = (ims(6), run_dir());
    let more = "audit_log: /dev/full\naudit_required: true\n";
    let daemon = Daemon::start(&format!("{}{more}", config(&ims, run.path(), "{path: web, role: test_role}")));
    let file = run.path().join("files/web");
    // The device is not known to be full until the first record.
    let first = whole(&written(&daemon, &file), &ims.handle);
    daemon.wait_for_log("audit: cannot write to /dev/full");
    daemon.wait_for_log("it cannot be written: the audit cannot be written, and `audit_required` is set");
    assert!(fs::read_to_string(&file).is_ok_and(|text| text.contains(&first)) || !file.exists(), "no newer ones");
    gone(&daemon, &file);
    assert!(daemon_metric(run.path(), "alppaca_audit_withheld_total") > 0);
}
