//! The admin socket and the commands that use it: the real binary, a real socket, other users.

mod support;

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use alppaca::{
    clock::{Clock, SystemClock},
    mock_ims::{Answer, Behaviour},
};
use support::{Daemon, Ims, get, needs, needs_root};

const ALPPACA: &str = env!("CARGO_BIN_EXE_alppaca");
const ROLE: &str = "/latest/meta-data/iam/security-credentials/test_role";

fn alppaca(socket: &Path, arguments: &[&str]) -> Output {
    Command::new(ALPPACA).args(arguments).env("ALPPACA_SOCKET", socket).output().expect("it runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("there").permissions().mode() & 0o777
}

#[test]
fn status_tells_people_and_programs_how_the_roles_are() {
    let behaviour = Behaviour {
        roles: vec!["web".into(), "sick".into()],
        documents: vec![("sick".into(), Answer::Status(403))],
        ..Behaviour::default()
    };
    let ims = Ims::start(behaviour);
    let daemon = Daemon::with_credentials(&ims.config());
    daemon.wait_for_log("role sick: cannot fetch");
    let output = alppaca(&daemon.socket(), &["status", "--json"]);
    assert_eq!(output.status.code(), Some(1), "not every role has credentials");
    let status = json(&output);
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["pid"], daemon.pid());
    assert_eq!(status["listeners"][0]["address"], daemon.address().to_string());
    let [web, sick] = status["roles"].as_array().expect("a list").as_slice() else { panic!("{status}") };
    assert_eq!((&web["name"], &web["state"]), (&"web".into(), &"fresh".into()));
    assert!(web["access_key_id"].as_str().is_some_and(|key| key.starts_with("ASIA")), "{web}");
    let left = web["seconds_left"].as_i64().expect("a number");
    assert!((3000..=3600).contains(&left), "{left}");
    assert_eq!((&sick["name"], &sick["state"]), (&"sick".into(), &"denied".into()));
    assert_eq!(sick["access_key_id"], serde_json::Value::Null);
    let text = stdout(&alppaca(&daemon.socket(), &["status"]));
    assert!(text.contains("\nROLE  STATE "), "{text}");
    assert!(text.contains("\nweb   fresh ") && text.contains("\nsick  denied"), "{text}");
    assert!(!text.contains('\x1b'), "colours are for terminals: {text:?}");
}

#[test]
fn status_is_a_check_for_nagios() {
    let behaviour = Behaviour { roles: vec!["web".into(), "batch".into()], ..Behaviour::default() };
    let ims = Ims::start(behaviour);
    let mut daemon = Daemon::with_credentials(&format!("{}refresh_interval: 1s\n", ims.config()));
    daemon.wait_for_count(" fetched ", 2);
    let check = |socket: &Path| {
        let output = alppaca(socket, &["status", "--nagios"]);
        (output.status.code(), stdout(&output))
    };
    let (code, line) = check(&daemon.socket());
    assert_eq!(code, Some(0), "{line}");
    assert!(line.starts_with("ALPPACA OK - 2 role(s) with valid credentials | roles=2;;;0 valid=2;;;0 "), "{line}");
    ims.handle.update(|behaviour| {
        behaviour.roles.push("sick".into());
        behaviour.documents.push(("sick".into(), Answer::Status(403)));
    });
    daemon.wait_for_log("role sick: cannot fetch");
    let (code, line) = check(&daemon.socket());
    assert_eq!(code, Some(2), "{line}");
    assert!(line.starts_with("ALPPACA CRITICAL - sick is denied ("), "{line}");
    assert!(line.lines().count() == 1 && line.contains(" | roles=3;;;0 valid=2;;;0 "), "{line}");
    daemon.stop();
    let (code, line) = check(&daemon.socket());
    assert!(code == Some(2) && line.starts_with("ALPPACA CRITICAL - "), "{code:?}: {line}");
    let output = alppaca(&daemon.socket(), &["status", "--nagios", "-c", "/nonexistent"]);
    assert!(output.status.code() == Some(3) && stdout(&output).starts_with("ALPPACA UNKNOWN - "), "{output:?}");
}

#[test]
fn status_draws_itself_again_and_again_on_a_terminal_only() {
    if !needs("status on a terminal", "script") {
        return;
    }
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&ims.config());
    let output = alppaca(&daemon.socket(), &["status", "--watch"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("needs a terminal"), "{output:?}");
    let command = format!("stty rows 6 cols 100; exec {ALPPACA} status --watch=1");
    let mut child = Command::new("script")
        .args(["-qefc", &command, "/dev/null"])
        .env("ALPPACA_SOCKET", daemon.socket())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut screens = BufReader::new(child.stdout.take().expect("piped")).split(b'H').map(|part| part.expect("text"));
    let mut next = || String::from_utf8_lossy(&screens.next().expect("it goes on")).into_owned();
    next();
    for _ in 0..2 {
        let screen = next();
        assert!(screen.contains("serves imds at") && screen.contains("more line(s)"), "{screen:?}");
        assert!(screen.lines().count() <= 6 && screen.contains("every 1 s; Ctrl-C ends"), "{screen:?}");
    }
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}

#[test]
fn status_finds_the_daemon_by_its_configuration() {
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&ims.config());
    let run = |config: &Path| {
        let mut command = Command::new(ALPPACA);
        command.args(["status", "--json", "-c"]).arg(config).env("ALPPACA_SOCKET", "/nonexistent");
        command.output().expect("it runs")
    };
    let output = run(&daemon.directory.path().join("alppaca.yaml"));
    assert_eq!((output.status.code(), &json(&output)["pid"]), (Some(0), &daemon.pid().into()), "{output:?}");
    let none = daemon.directory.path().join("none.yaml");
    fs::write(&none, "ims_host: localhost\nadmin_socket: off\n").expect("a file");
    assert_eq!(run(&none).status.code(), Some(2));
    assert_eq!(run(Path::new("/nonexistent")).status.code(), Some(2));
}

#[test]
fn the_run_directory_is_made_also_where_the_admin_socket_is_elsewhere() {
    let ims = Ims::start(Behaviour::default());
    for elsewhere in [|_: &Path| "off".to_owned(), |directory: &Path| directory.join("sock").display().to_string()] {
        let directory = tempfile::TempDir::new().expect("a directory");
        let (run, elsewhere) = (directory.path().join("new/run"), elsewhere(directory.path()));
        let config =
            format!("{}run_dir: {}\nadmin_socket: {elsewhere}\nsandbox: enforce\n", ims.config(), run.display());
        let daemon = Daemon::with_credentials(&config);
        assert!(run.join("imds-token.key").exists(), "{elsewhere}: {}", daemon.log());
    }
}

#[test]
fn a_run_directory_that_disappears_is_made_again_at_a_reload() {
    let ims = Ims::start(Behaviour::default());
    // The sandbox is about the directory that was there: in it a restart makes the next one.
    let daemon = Daemon::with_credentials(&format!("{}sandbox: report\n", ims.config()));
    let run = daemon.directory.path().join("run");
    let key = fs::read(run.join("imds-token.key")).expect("a key");
    fs::remove_dir_all(&run).expect("ours");
    assert_eq!(alppaca(&daemon.socket(), &["status"]).status.code(), Some(3));
    // Where it cannot be made, that is said once.
    fs::write(&run, "in the way").expect("a file");
    daemon.hang_up();
    daemon.wait_for_log("the admin socket has disappeared and cannot be created again");
    daemon.hang_up();
    daemon.wait_for_count("the configuration has been reloaded", 2);
    fs::remove_file(&run).expect("ours");
    daemon.hang_up();
    daemon.wait_for_log("the admin socket had disappeared and was created again");
    assert_eq!(alppaca(&daemon.socket(), &["status"]).status.code(), Some(0));
    assert_eq!(fs::read(run.join("imds-token.key")).expect("a key"), key);
    assert_eq!(daemon.log().matches("cannot be created again").count(), 1, "{}", daemon.log());
}

#[test]
fn a_probe_of_an_orchestrator_is_answered_beside_the_metrics() {
    let ims = Ims::start(Behaviour { latency: Duration::from_millis(300), ..Behaviour::default() });
    let daemon = Daemon::start(&format!("{}metrics_listen: '127.0.0.1:0'\n", ims.config()));
    let line = daemon.wait_for_log("metrics at ");
    let address = line.split("metrics at ").nth(1).and_then(|text| text.trim().parse().ok()).expect("an address");
    let first = get(address, "/readyz");
    assert_eq!((first.status, first.body.as_str()), (503, "starting\n"));
    assert_eq!(get(address, "/livez").status, 200);
    daemon.wait_for_log(" fetched ");
    while get(address, "/readyz").status != 200 {}
    assert_eq!(get(address, "/healthz").status, 404);
}

#[test]
fn credentials_are_those_that_imds_serves_in_each_format() {
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&ims.config());
    let served = daemon.get(ROLE).json();
    for arguments in [&["credentials"][..], &["credentials", "test_role"], &["credentials", "--format", "json"]] {
        let output = alppaca(&daemon.socket(), arguments);
        let document = json(&output);
        assert_eq!(document["Version"], 1);
        assert_eq!(document["AccessKeyId"], served["AccessKeyId"]);
        assert_eq!(document["SecretAccessKey"], served["SecretAccessKey"]);
        assert_eq!(document["SessionToken"], served["Token"]);
        assert_eq!(document["Expiration"], served["Expiration"]);
        assert_eq!(document["Role"].is_string(), arguments.contains(&"json"));
        assert!(output.stderr.is_empty());
    }
    let script = format!(
        "eval \"$({ALPPACA} credentials --format env)\"; \
         echo \"$AWS_ACCESS_KEY_ID $AWS_SECRET_ACCESS_KEY $AWS_SESSION_TOKEN $AWS_CREDENTIAL_EXPIRATION\""
    );
    let output = Command::new("sh").args(["-c", &script]).env("ALPPACA_SOCKET", daemon.socket()).output();
    let expected = ["AccessKeyId", "SecretAccessKey", "Token", "Expiration"]
        .map(|key| served[key].as_str().expect("a text").to_owned())
        .join(" ");
    assert_eq!(stdout(&output.expect("a shell")), format!("{expected}\n"));
}

#[test]
fn a_role_that_is_being_fetched_is_waited_for_but_not_for_ever() {
    let ims = Ims::start(Behaviour { latency: Duration::from_millis(700), ..Behaviour::default() });
    let daemon = Daemon::start(&ims.config());
    let output = alppaca(&daemon.socket(), &["credentials", "--wait", "0"]);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert!(stderr(&output).contains("the upstream has not listed its roles yet\n`alppaca status` shows why."));
    let output = alppaca(&daemon.socket(), &["credentials"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(json(&output)["AccessKeyId"], daemon.get(ROLE).json()["AccessKeyId"]);
}

#[test]
fn what_goes_wrong_has_its_exit_code_and_the_way_out() {
    let ims = Ims::start(Behaviour {
        roles: vec!["web".into(), "sick".into()],
        documents: vec![("sick".into(), Answer::Status(403))],
        ..Behaviour::default()
    });
    let daemon = Daemon::with_credentials(&ims.config());
    daemon.wait_for_log("role sick: cannot fetch");
    let directory = tempfile::tempdir().expect("a directory");
    let nowhere = directory.path().join("none.sock");
    let socket = daemon.socket();
    for (socket, arguments, code, part) in [
        (&socket, &["credentials", "wob"][..], 4, "there is no role wob for user "),
        (&socket, &["credentials", "sick"], 4, "role sick: the upstream refuses it"),
        (&socket, &["credentials", "a/b"], 2, "illegal character"),
        (&socket, &["credentials", "--wait", "61"], 2, "61 is not in 0..=60"),
        (&nowhere, &["credentials"], 3, "Is it running? Name another socket with --socket PATH"),
        (&nowhere, &["status"], 3, "no daemon answers at "),
    ] {
        let output = alppaca(socket, arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        assert!(stderr(&output).contains(part), "{arguments:?}: {output:?}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn other_paths_methods_and_no_http_at_all_are_refused_in_order() {
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&ims.config());
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "404 "),
        ("GET /v1/credentials/a/b HTTP/1.1\r\nHost: x\r\n\r\n", "404 "),
        ("GET /v1/credentials/%2e%2e HTTP/1.1\r\nHost: x\r\n\r\n", "404 "),
        ("GET /v1/status?x=1 HTTP/1.1\r\nHost: x\r\n\r\n", "400 "),
        ("DELETE /v1/status HTTP/1.1\r\nHost: x\r\n\r\n", "405 "),
        ("\x16\x03\x01 hello\r\n\r\n", "400 "),
        (&format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(20_000)), "431 "),
        (&format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(20_000)), "431 "),
    ] {
        let answer = converse(&daemon.socket(), request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request:.60?}: {answer}");
    }
}

fn converse(socket: &Path, request: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = UnixStream::connect(socket).expect("it listens");
    stream.set_read_timeout(Some(support::PATIENCE)).expect("settable");
    // It may close before it has read all.
    let _rest = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    // A reset after the answer, because of what was not read, is no matter.
    let _reset = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn the_socket_is_made_safely_and_leaves_with_the_daemon() {
    let ims = Ims::start(Behaviour::default());
    let mut daemon = Daemon::with_credentials(&ims.config());
    let socket = daemon.socket();
    assert_eq!(mode(&socket), 0o666);
    assert_eq!(mode(socket.parent().expect("a directory")), 0o755);
    assert_eq!(daemon.stop(), Some(0));
    assert!(!socket.exists());
}

#[test]
fn a_daemon_without_its_socket_serves_all_the_same() {
    let ims = Ims::start(Behaviour::default());
    let first = Daemon::with_credentials(&ims.config());
    let config = format!("{}admin_socket: {}\n", ims.config(), first.socket().display());
    let second = Daemon::with_credentials(&config);
    second.wait_for_log("no admin socket, so no `alppaca status`, `credentials` and `exec`: ");
    assert!(second.log().contains("another daemon answers there"));
    assert_eq!(second.get(ROLE).status, 200);
    let off = Daemon::with_credentials(&format!("{}admin_socket: off\n", ims.config()));
    assert!(!off.socket().exists() && !off.log().contains("admin socket"));
}

/// A copy of the binary and a socket where everybody can reach them.
fn public_place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir();
    let directory = directory.expect("a directory");
    let binary = directory.path().join("alppaca");
    fs::copy(ALPPACA, &binary).expect("a copy");
    (directory, binary)
}

fn as_user(binary: &Path, uid: u32, groups: &str, arguments: &[&str], socket: &Path) -> Output {
    let mut command = Command::new("setpriv");
    command.args([&format!("--reuid={uid}"), "--regid=65534", groups]).arg(binary).args(arguments);
    command.arg("--socket").arg(socket).current_dir("/").output().expect("setpriv runs")
}

#[test]
fn everybody_may_ask_unless_a_group_is_named() {
    if !needs_root("admin: other users")
        || !needs("admin: other users", "setpriv")
        || !needs("admin: other users", "python3")
    {
        return;
    }
    let ims = Ims::start(Behaviour::default());
    let (directory, binary) = public_place();
    let run = directory.path().join("run");
    let config = format!("{}run_dir: {}\nuser: nobody\n", ims.config(), run.display());
    let socket = run.join("alppaca.sock");
    let mut daemon = Daemon::with_credentials(&config);
    for uid in [4242, 65534] {
        let output = as_user(&binary, uid, "--clear-groups", &["credentials"], &socket);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(json(&output)["AccessKeyId"], daemon.get(ROLE).json()["AccessKeyId"]);
        let output = as_user(&binary, uid, "--clear-groups", &["status", "--json"], &socket);
        assert_eq!(json(&output)["roles"][0]["name"], "test_role");
        // The account of the daemon may read the metrics, others may not.
        let said = metrics_as(uid, &socket);
        assert_eq!(stdout(&said).contains("# EOF"), uid == 65534, "{said:?}");
    }
    daemon.stop();
    assert!(!socket.exists(), "its directory belongs to the account");
    drop(daemon);
    // A group of its own, which no account has.
    let daemon = Daemon::with_credentials(&format!("{config}admin_group: '47110815'\n"));
    assert_eq!(mode(&socket), 0o660);
    assert_eq!(std::os::unix::fs::MetadataExt::gid(&fs::metadata(&socket).expect("there")), 47_110_815);
    let output = as_user(&binary, 4242, "--clear-groups", &["credentials"], &socket);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(stderr(&output).contains("Only the members of a group may connect (`admin_group`)"), "{output:?}");
    let output = as_user(&binary, 4242, "--groups=47110815", &["credentials"], &socket);
    assert!(output.status.success(), "{output:?}");
    drop(daemon);
}

#[test]
fn a_group_that_does_not_exist_keeps_the_daemon_from_starting() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("alppaca.yaml");
    fs::write(&file, "ims_host: localhost\nbind_port: 0\nadmin_group: no-such-group\n").expect("a file");
    let output = Command::new(ALPPACA).arg("run").arg("-c").arg(file).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("admin_group: there is no group \"no-such-group\" on this host"), "{output:?}");
}

#[test]
fn status_says_since_when_from_where_and_what_failed() {
    let ims = Ims::start(Behaviour { lifetime: Duration::from_secs(30), ..Behaviour::default() });
    let daemon = Daemon::with_credentials(&ims.config());
    let role = || json(&alppaca(&daemon.socket(), &["status", "--json"]))["roles"][0].clone();
    let fresh = role();
    assert_eq!((&fresh["source"], &fresh["last_error"]), (&"ims".into(), &serde_json::Value::Null), "{fresh}");
    ims.handle.update(|behaviour| behaviour.document = Answer::Status(500));
    daemon.wait_for_log("role test_role: cannot fetch credentials (attempt 1)");
    // The failure is noted before the state is published, and that before it is looked at.
    let stale = (0..100)
        .map(|_| role())
        .find(|role| role["state"] == "stale" && role["since"].is_string())
        .unwrap_or_else(|| panic!("{}", role()));
    assert_eq!(stale["source"], "ims");
    let message = stale["last_error"]["message"].as_str().expect("a text");
    assert!(message.contains("500"), "{message}");
    let text = stdout(&alppaca(&daemon.socket(), &["status"]));
    assert!(text.contains(message), "{text}");
}

#[test]
fn roles_that_an_upstream_lists_come_from_it_by_its_name() {
    let ims = Ims::start(Behaviour::default());
    let config = format!("sources: {{corporate: {{kind: ims, url: 'http://{}'}}}}\n", ims.address);
    let daemon = Daemon::with_credentials(&config);
    let status = json(&alppaca(&daemon.socket(), &["status", "--json"]));
    assert_eq!(status["roles"][0]["source"], "corporate", "{status}");
    let metrics = converse(&daemon.socket(), "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    let calls = |source: &str| metrics.contains(&format!("alppaca_upstream_calls_total{{source=\"{source}\","));
    assert!(calls("corporate") && !calls("ims"), "{metrics}");
}

#[test]
fn metrics_tell_ends_states_outcomes_requests_and_denials() {
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&format!("{}metrics_listen: '127.0.0.1:0'\n", ims.config()));
    assert_eq!(daemon.get(ROLE).status, 200);
    assert_eq!(daemon.get("/nowhere").status, 404);
    let put = "PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n";
    let token = support::request(daemon.address(), put).body;
    for token in [&*token, "x"] {
        let head = format!("GET {ROLE} HTTP/1.1\r\nX-aws-ec2-metadata-token: {token}\r\n");
        support::request(daemon.address(), &head);
    }
    support::request(daemon.address(), "PUT /latest/api/token HTTP/1.1\r\nX-Forwarded-For: x\r\n");
    let answer = converse(&daemon.socket(), "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    let (head, text) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");
    for line in [
        "alppaca_role_state{role=\"test_role\",alppaca_role_state=\"fresh\"} 1\n",
        "alppaca_role_state{role=\"test_role\",alppaca_role_state=\"expired\"} 0\n",
        "alppaca_upstream_calls_total{source=\"ims\",question=\"roles\",outcome=\"success\"} 1\n",
        "alppaca_upstream_calls_total{source=\"ims\",question=\"credentials\",outcome=\"success\"} 1\n",
        "alppaca_upstream_calls_total{source=\"ims\",question=\"credentials\",outcome=\"refused\"} 0\n",
        "alppaca_requests_total{face=\"imds\",version=\"v1\",caller=\"local\",status=\"200\"} 1\n",
        "alppaca_requests_total{face=\"imds\",version=\"v1\",caller=\"local\",status=\"404\"} 1\n",
        "alppaca_requests_total{face=\"imds\",version=\"v2\",caller=\"local\",status=\"200\"} 2\n",
        // Of a caller that was looked up.
        "status=\"401\"} 1\n",
        "alppaca_denials_total{reason=\"forwarded\"} 1\n",
        "alppaca_denials_total{reason=\"bad_token\"} 1\n",
        "alppaca_denials_total{reason=\"policy\"} 0\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let end = daemon.metric("alppaca_credentials_expiration_timestamp_seconds{role=\"test_role\"}");
    let left = i64::try_from(end).expect("a time") - SystemClock.now().wall.as_second();
    assert!((3000..=3600).contains(&left), "{text}");
    assert!(text.ends_with("# EOF\n"));
    let line = daemon.wait_for_log("metrics at ");
    let address = line.rsplit(' ').next().and_then(|address| address.parse().ok()).expect("an address");
    let answer = support::get(address, "/metrics");
    assert!(answer.status == 200 && answer.body.ends_with("# EOF\n"), "{answer:?}");
    assert_eq!(support::get(address, "/v1/credentials").status, 404);
}

/// Nothing is configured but the upstream, as in the tour of the README.
#[test]
fn the_daemon_of_a_plain_user_is_found_by_that_user() {
    let what = "admin: a plain user's daemon";
    if !needs_root(what) || !needs(what, "setpriv") {
        return;
    }
    let ims = Ims::start(Behaviour::default());
    let (place, binary) = public_place();
    let file = place.path().join("alppaca.yaml");
    let log = "log_level: info\nlogging_handler: {module: logging, class: StreamHandler}\n";
    fs::write(&file, format!("{}bind_port: 0\n{log}", ims.config())).expect("a file");
    for (variable, sub) in [("XDG_RUNTIME_DIR", "alppaca"), ("HOME", ".local/state/alppaca")] {
        let own = place.path().join(variable);
        fs::create_dir(&own).expect("ours");
        std::os::unix::fs::chown(&own, Some(4242), Some(4242)).expect("root");
        let plain = |arguments: &[&str]| {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=4242", "--regid=4242", "--clear-groups"]).arg(&binary).args(arguments);
            command.env_clear().env("PATH", "/usr/bin:/bin").env(variable, &own).current_dir("/");
            command
        };
        let mut daemon =
            plain(&["run", "-c", file.to_str().expect("UTF-8")]).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut lines = BufReader::new(daemon.stderr.take().expect("piped")).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains(" fetched ")), "it fetches");
        let output = plain(&["check", "-c", file.to_str().expect("UTF-8")]).output().expect("setpriv runs");
        assert!(stdout(&output).contains(&format!("pid file are in {}", own.join(sub).display())), "{output:?}");
        let output = plain(&["credentials"]).output().expect("setpriv runs");
        let issued = ims.handle.issued();
        assert!(issued.iter().any(|set| json(&output)["AccessKeyId"] == set.access_key_id), "{output:?}");
        for file in ["alppaca.sock", "imds-token.key"] {
            assert!(own.join(sub).join(file).exists(), "{file} for {variable}");
        }
        daemon.kill().expect("it runs");
        daemon.wait().expect("it ends");
    }
}

/// What a user gets who asks for the metrics; this needs a client that can become that user.
fn metrics_as(uid: u32, socket: &Path) -> Output {
    let script = "import http.client, socket, sys\n\
                  s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n\
                  s.sendall(b'GET /metrics HTTP/1.0\\r\\n\\r\\n')\n\
                  sys.stdout.write(s.makefile().read())";
    let mut command = Command::new("setpriv");
    command
        .args([&format!("--reuid={uid}"), "--regid=65534", "--clear-groups", "/usr/bin/python3", "-c", script])
        .arg(socket);
    command.current_dir("/").output().expect("setpriv runs")
}
