//! What is recorded and explained of a decision.

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    process::Command,
};

use tempfile::TempDir;

use crate::{
    LIST, keys, names, records,
    support::{Daemon, connect, read_one, request},
    with_roles,
};

#[test]
fn each_hand_out_and_each_denial_is_recorded_without_a_secret() {
    let ims = with_roles(&names(&["mine", "other"]));
    let audit = TempDir::new().expect("a directory");
    let (file, socket) = (audit.path().join("audit.log"), audit.path().join("admin.sock"));
    let uid = rustix::process::getuid().as_raw();
    let config = format!(
        "{}audit_log: {}\nadmin_socket: {}\npolicy:\n  rules:\n  - {{name: tests, match: {{user: {uid}}}, role: mine}}\n",
        ims.config(),
        file.display(),
        socket.display()
    );
    let mut daemon = Daemon::start(&config);
    let issued = keys(&ims, &daemon, 2);
    let head = |method: &str, path: &str| {
        format!("{method} {LIST}{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: test \"agent\"\r\n")
    };
    // Held open, so that it can be found who holds it.
    let mut stream = connect(daemon.address());
    write!(stream, "{}\r\n", head("GET", "mine")).expect("it reads");
    let answer = read_one(&mut stream);
    assert_eq!(answer.status, 200);
    for (method, path) in [("HEAD", "mine"), ("GET", ""), ("GET", "other")] {
        request(daemon.address(), &head(method, path));
    }
    for path in ["mine", "other"] {
        let mut stream = UnixStream::connect(&socket).expect("it listens");
        write!(stream, "GET /v1/credentials/{path} HTTP/1.1\r\nHost: x\r\n\r\n").expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        assert_eq!(answer.contains("SecretAccessKey"), path == "mine", "{answer}");
    }
    daemon.stop();
    drop(stream);
    let records = records(&file);
    let told: Vec<_> = records.iter().map(|record| (record["event"].as_str(), record["face"].as_str())).collect();
    let expected = [("hand-out", "imds"), ("denial", "imds"), ("hand-out", "admin"), ("denial", "admin")];
    assert_eq!(told, expected.map(|(event, face)| (Some(event), Some(face))), "{records:?}");
    assert_eq!(records[2]["pid"], std::process::id());
    let (out, denial) = (&records[0], &records[1]);
    let key = answer.json()["AccessKeyId"].clone();
    assert_eq!(issued[key.as_str().expect("text")], "mine");
    for (name, value) in [
        ("event", "hand-out".into()),
        ("role", "mine".into()),
        ("access_key_id", key),
        ("expiration", answer.json()["Expiration"].clone()),
        ("reason", "rule 1 (tests)".into()),
        ("uid", uid.into()),
        ("pid", std::process::id().into()),
        ("face", "imds".into()),
        ("version", "v1".into()),
        ("user_agent", "test \"agent\"".into()),
    ] {
        assert_eq!(out[name], value, "{name}: {out}");
    }
    assert_eq!((&denial["event"], &denial["path"]), (&"denial".into(), &format!("{LIST}other").into()));
    let text = fs::read_to_string(&file).expect("text");
    for set in ims.handle.issued() {
        assert!(!text.contains(&set.secret_access_key) && !text.contains(&set.session_token));
    }
}

#[test]
fn explain_tells_which_rule_and_why() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("alppaca.yaml");
    let text = "ims_host: x\npolicy:\n  rules:\n  - {match: {user: daemon}, role: a}\n  \
                - {name: web, match: {label: {team: web}}, role: b}\n  - {match: {address: 10.0.0.0/8}, deny: true}\n";
    fs::write(&file, text).expect("a file");
    let explain = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_alppaca"))
            .args(["policy", "explain", "-c"])
            .arg(&file)
            .args(arguments)
            .output()
            .expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (code, said) = explain(&["--user", "daemon"]);
    assert!(
        code == Some(0) && said.starts_with("caller: user daemon (1), groups 1\n> rule 1: applies and gives a"),
        "{said}"
    );
    let (_, said) = explain(&["--container", "c", "--label", "team=web", "--address", "10.0.0.7"]);
    assert!(
        said.contains("rule 1: does not apply (it is not: user daemon)\n> rule 2 (web): applies and gives b"),
        "{said}"
    );
    let (_, said) = explain(&["--address", "10.0.0.7"]);
    assert!(
        said.ends_with(
            "? rule 2 (web): gives b, if this holds: label team: web\n> otherwise: rule 3: applies and gives nothing\n"
        ),
        "{said}"
    );
    let (_, said) = explain(&["--pid", &std::process::id().to_string()]);
    assert!(said.contains("cgroup /"), "{said}");
    assert_eq!(explain(&["--user", "no-such-user"]).0, Some(2));
    // A name that the host does not know, of which `check` warns, too.
    fs::write(&file, "ims_host: x\npolicy: {rules: [{match: {user: no-such-user}, deny: true}]}\n").expect("a file");
    let warning = "warning: policy: there is no user \"no-such-user\" on this host";
    let (code, said) = explain(&["--user", "daemon"]);
    assert!(code == Some(0) && said.contains(warning), "{said}");
    let check = Command::new(env!("CARGO_BIN_EXE_alppaca")).args(["check", "--quiet", "-c"]).arg(&file).output();
    let check = check.expect("it runs");
    let said = String::from_utf8_lossy(&check.stderr);
    assert!(check.status.success() && said.contains(warning), "{said}");
    // A daemon that goes by another policy.
    let socket = directory.path().join("admin.sock");
    let ims = with_roles(&names(&["a"]));
    let policy = "policy:\n  rules:\n  - {role: a}\n";
    let daemon = Daemon::start(&format!("{}admin_socket: {}\n{policy}", ims.config(), socket.display()));
    for (rules, differs) in [(text.split_once('\n').expect("lines").1, true), (policy, false)] {
        fs::write(&file, format!("ims_host: x\nadmin_socket: {}\n{rules}", socket.display())).expect("a file");
        let (_, said) = explain(&["--user", "daemon"]);
        let note = format!("note: the running daemon (process {}) uses another policy", daemon.pid());
        assert_eq!(said.contains(&note), differs, "{said}");
    }
    assert_eq!(explain(&[]).0, Some(2));
}
