//! `use --duration`: a user has sets of its own that live as long as it wants.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{
    LIST, key,
    stand_in::{Reply, StandIn},
    support::{Daemon, needs, needs_root},
};

const LONG: &str = "14400";

/// As STS does it, for a role that may last four hours.
fn sts() -> StandIn {
    StandIn::start(|call| {
        let seconds: u64 = call.form.get("DurationSeconds").map_or(3600, |text| text.parse().expect("a number"));
        let message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.";
        if seconds > 14_400 {
            Reply::Error(400, "ValidationError", message)
        } else {
            Reply::Set(Duration::from_secs(seconds))
        }
    })
}

fn alppaca(socket: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alppaca"));
    command.args(arguments).env("ALPPACA_SOCKET", socket).output().expect("it runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

#[test]
fn a_user_has_sets_of_its_own_for_as_long_as_it_wants() {
    let sts = sts();
    let directory = tempfile::tempdir().expect("a directory");
    let config = format!(
        "run_dir: {}\nsources:\n  base: {{kind: static, access_key_id: AKIAX, secret_access_key: s}}\n  \
         sts1: {{kind: sts, endpoint: '{}'}}\nroles:\n  other: {{source: base, role_arn: 'arn:aws:iam::123456789012:role/other', via: sts1}}\n  \
         deploy: {{source: base, role_arn: 'arn:aws:iam::123456789012:role/deploy', via: sts1}}\n  \
         copy: {{source: deploy}}\n",
        directory.path().display(),
        sts.url()
    );
    let socket = directory.path().join("alppaca.sock");
    let run = |arguments: &[&str]| alppaca(&socket, arguments);
    let long = || {
        sts.calls_for("deploy")
            .iter()
            .filter(|call| call.form.get("DurationSeconds").is_some_and(|it| it == LONG))
            .count()
    };
    let mut daemon = Daemon::start(&config);
    daemon.wait_for_log("role copy: fetched ");
    let shared = key(&daemon, "deploy");

    let output = run(&["use", "deploy", "--duration", "4h"]);
    assert!(
        output.status.success() && said(&output).contains("deploy (account 123456789012): valid for 3h 59m"),
        "{output:?}"
    );
    assert_eq!((long(), daemon.get(LIST).body.lines().next()), (1, Some("deploy")));
    let own = key(&daemon, "deploy");
    assert_ne!(own, shared);
    let json: serde_json::Value = serde_json::from_slice(&run(&["credentials"]).stdout).expect("JSON");
    assert_eq!(json["AccessKeyId"], own.as_str());
    let roles = said(&run(&["roles"]));
    assert_eq!(roles.matches("deploy").count(), 1, "{roles}");
    let exec = run(&["exec", "--", "sh", "-c", "echo $AWS_CONTAINER_CREDENTIALS_FULL_URI"]);
    assert!(exec.status.success() && said(&exec).trim().ends_with("/role/deploy"), "{exec:?}");
    others_share(&daemon, &shared);

    // What cannot be had changes nothing.
    let output = run(&["use", "deploy", "--duration", "12h", "--wait", "2"]);
    assert!(output.status.code() == Some(4) && said(&output).contains("MaxSessionDuration"), "{output:?}");
    assert!(daemon.wait_for_log("MaxSessionDuration").contains("[INFO]"), "{}", daemon.log());
    let output = run(&["use", "copy", "--duration", "1h"]);
    let why = "deploy says how long its credentials live, and cannot be asked for another time";
    assert!(output.status.code() == Some(4) && said(&output).contains(why), "{output:?}");
    for arguments in [&["use", "-", "--duration", "1h"][..], &["use", "deploy", "--duration", "13h"]] {
        assert_eq!(run(arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert_eq!(key(&daemon, "deploy"), own);

    // It ends with the choice, and comes back with it.
    assert!(run(&["use", "deploy"]).status.success());
    assert_eq!(key(&daemon, "deploy"), shared);
    let status = said(&run(&["status", "--json"]));
    assert!(!status.contains("\"on_demand\":true") && !status.contains("\"on_demand\": true"), "{status}");
    assert!(run(&["use", "-"]).status.success());
    assert_eq!(long(), 2);
    daemon.stop();
    drop(daemon);
    let me = rustix::process::geteuid().as_raw();
    let policy = format!("policy: {{rules: [{{match: {{user: {me}}}, role: [other, deploy]}}], default: deny}}\n");
    let daemon = Daemon::start(&format!("{config}{policy}"));
    let fetched = || Some(()).filter(|()| long() == 3);
    crate::support::eventually("it is remembered", fetched, || daemon.log());
    crate::support::eventually(
        "it is served",
        || (daemon.get(&format!("{LIST}deploy")).status == 200).then_some(()),
        || daemon.log(),
    );
    assert_eq!(daemon.get(LIST).body, "deploy");
    let left = said(&run(&["prompt"]));
    assert!(left.contains("deploy") && left.contains("3h"), "{left}");
}

/// Begins to choose `deploy` with sets of its own, and waits as long as it may.
fn begin(socket: &Path, seconds: u32) -> UnixStream {
    let body = format!("{{\"timed\":{{\"role\":\"deploy\",\"seconds\":{seconds}}}}}");
    let mut stream = UnixStream::connect(socket).expect("the daemon listens");
    let head = format!("POST /v1/choice?wait=60 HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).expect("it reads");
    stream
}

fn end(mut stream: UnixStream) -> String {
    let mut reply = String::new();
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("not zero");
    stream.read_to_string(&mut reply).expect("an answer");
    reply
}

#[test]
fn of_two_requests_that_wait_the_later_is_granted() {
    let open = Arc::new(AtomicBool::new(false));
    let is_open = Arc::clone(&open);
    let sts = StandIn::start(move |call| match call.form.get("DurationSeconds").map(|text| text.parse()) {
        Some(_) if !is_open.load(Ordering::Relaxed) => Reply::Error(503, "ServiceUnavailable", "later"),
        seconds => Reply::Set(Duration::from_secs(seconds.map_or(3600, |seconds| seconds.expect("a number")))),
    });
    let directory = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(&format!(
        "run_dir: {}\nsources:\n  base: {{kind: static, access_key_id: AKIAX, secret_access_key: s}}\n  \
         sts1: {{kind: sts, endpoint: '{}'}}\nroles:\n  \
         deploy: {{source: base, role_arn: 'arn:aws:iam::123456789012:role/deploy', via: sts1}}\n",
        directory.path().display(),
        sts.url()
    ));
    let socket = directory.path().join("alppaca.sock");
    daemon.wait_for_log("role deploy: fetched ");
    let first = begin(&socket, 1000);
    daemon.wait_for_log("for 16m at a time");
    let second = begin(&socket, 2000);
    let first = end(first);
    assert!(first.starts_with("HTTP/1.1 503 ") && first.contains("another choice was made meanwhile"), "{first}");
    open.store(true, Ordering::Relaxed);
    let second = end(second);
    assert!(second.starts_with("HTTP/1.1 200 ") && second.contains("\"chosen\":\"deploy\""), "{second}");
    daemon.wait_for_log("for 33m at a time");
    assert_eq!(daemon.log().matches("m at a time").count(), 2, "{}", daemon.log());
    let calls =
        |seconds: &str| sts.calls_for("deploy").iter().filter(|call| call.get("DurationSeconds") == seconds).count();
    assert!(calls("1000") <= 5 && calls("2000") <= 5, "{:?}", sts.calls());
}

#[test]
fn a_role_that_becomes_another_takes_the_sets_of_its_users_along() {
    let sts = StandIn::start(|call| match call.form.get("DurationSeconds") {
        Some(_) if call.get("RoleArn").ends_with("/strict") => Reply::Error(400, "ValidationError", "too long"),
        _ => Reply::Set(Duration::from_hours(4)),
    });
    let daemon = Daemon::start(&format!(
        "sources:\n  base: {{kind: static, access_key_id: AKIAX, secret_access_key: s}}\n  \
         sts1: {{kind: sts, endpoint: '{}'}}\nroles:\n  \
         deploy: {{source: base, role_arn: 'arn:aws:iam::123456789012:role/first', via: sts1}}\n",
        sts.url()
    ));
    let run = |arguments: &[&str]| alppaca(&daemon.socket(), arguments);
    let becomes = |from: &str, to: &str| {
        let file = daemon.directory.path().join("alppaca.yaml");
        let text = std::fs::read_to_string(&file).expect("it was written");
        std::fs::write(&file, text.replace(from, to)).expect("it can be written");
        let count = daemon.log().matches("the configuration has been reloaded").count();
        daemon.hang_up();
        daemon.wait_for_count("the configuration has been reloaded", count + 1);
    };
    daemon.wait_for_log("role deploy: fetched ");
    let output = run(&["use", "deploy", "--duration", "4h"]);
    assert!(output.status.success(), "{output:?}");
    let own = key(&daemon, "deploy");
    becomes("role/first", "role/second");
    let new = key(&daemon, "deploy");
    assert!(new != own && new.ends_with("second"), "{new}");
    assert_eq!(sts.calls_for("second").iter().filter(|call| call.get("DurationSeconds") == LONG).count(), 1);
    // Those of all are served while one's own cannot be had, to programs that `exec` starts as well.
    becomes("role/second", "role/strict");
    daemon.wait_for_log("too long");
    crate::support::eventually(
        "those of all are served",
        || key(&daemon, "deploy").ends_with("strict").then_some(()),
        || daemon.log(),
    );
    assert!(run(&["exec", "--", "true"]).status.success());
    let roles = said(&run(&["roles"]));
    let why = "Your own sets of deploy, for 4h, cannot be had; those of all users are served: ";
    assert!(roles.contains(why) && roles.contains("too long"), "{roles}");
    // What the role says itself is the most.
    becomes("role/strict'", "role/third', duration: 30m");
    let output = run(&["use", "deploy", "--duration", "31m"]);
    let why = "the configuration allows its sessions 1800s at most (`duration`)";
    assert!(output.status.code() == Some(4) && said(&output).contains(why), "{output:?}");
    assert!(run(&["use", "deploy", "--duration", "20m"]).status.success());
    assert_eq!(sts.calls_for("third").iter().filter(|call| call.get("DurationSeconds") == "1200").count(), 1);
}

/// Another user gets what all have.
fn others_share(daemon: &Daemon, shared: &str) {
    if !needs_root("lengths: another user") || !needs("lengths: another user", "setpriv") {
        return;
    }
    let url = format!("http://{}{LIST}deploy", daemon.address());
    let mut other = Command::new("setpriv");
    other.args(["--reuid=65534", "--regid=65534", "--clear-groups", "curl", "-s", "-m", "20", "--noproxy", "*", &url]);
    let output = other.current_dir("/").output().expect("setpriv");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["AccessKeyId"], shared);
}
