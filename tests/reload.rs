//! The configuration read anew by a running daemon: SIGHUP, `alppacad reload`, and what the service manager is told.

mod support;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::{
        fs::symlink,
        net::{UnixDatagram, UnixStream},
    },
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use alppaca::{
    config::{SETTINGS, restart_keys},
    mock_ims::{Behaviour, LIST_PATH},
};
use support::{Daemon, Ims, PATIENCE, get, request};

const READ_AGAIN: &str = "the configuration has been reloaded";
const REFUSED: &str = "is wrong; nothing has been changed";

/// A daemon whose configuration can be changed.
struct Reloaded {
    daemon: Daemon,
    listen: String,
}

impl Reloaded {
    fn start(config: &str) -> Self {
        let daemon = Daemon::with_credentials(config);
        let listen = format!("listen: ['{}']\n", daemon.address());
        // From now on the port is known; it was free before.
        Self { daemon, listen }
    }

    fn file(&self) -> PathBuf {
        self.daemon.directory.path().join("alppaca.yaml")
    }

    fn write(&self, config: &str) {
        let log = "logging_handler: {module: logging, class: StreamHandler}\n";
        let level = if config.contains("log_level") { "" } else { "log_level: debug\n" };
        let listen = if config.contains("listen:") { "" } else { self.listen.as_str() };
        fs::write(self.file(), format!("{config}{listen}{log}{level}")).expect("written");
    }

    fn count(&self, part: &str) -> usize {
        self.daemon.log().matches(part).count()
    }

    /// Reloads, and waits for one more line with `part`.
    fn reload(&self, part: &str) {
        let before = self.count(part);
        self.daemon.hang_up();
        self.daemon.wait_for_count(part, before + 1);
    }

    fn change(&self, config: &str) {
        self.write(config);
        self.reload(READ_AGAIN);
    }

    fn roles(&self) -> String {
        get(self.daemon.address(), LIST_PATH).body
    }
}

#[test]
fn fifty_reloads_lose_no_request_while_credentials_roll_over() {
    let ims = Ims::start(Behaviour { lifetime: Duration::from_secs(4), ..Behaviour::default() });
    let reloaded = Reloaded::start(&ims.config());
    reloaded.write(&ims.config());
    let address = reloaded.daemon.address();
    let over = Arc::new(AtomicBool::new(false));
    let programs: Vec<_> = (0..2)
        .map(|_| {
            let over = Arc::clone(&over);
            thread::spawn(move || {
                let mut keys = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    assert_eq!(get(address, LIST_PATH).body, "test_role");
                    let answer = get(address, &format!("{LIST_PATH}test_role"));
                    assert_eq!(answer.status, 200, "{answer:?}");
                    keys.push(answer.json()["AccessKeyId"].as_str().expect("a key").to_owned());
                }
                keys.dedup();
                keys
            })
        })
        .collect();
    let token = |ttl: u32| {
        let head = format!(
            "PUT /latest/api/token HTTP/1.1\r\nHost: 127.0.0.1\r\nX-aws-ec2-metadata-token-ttl-seconds: {ttl}\r\n"
        );
        request(address, &head).body
    };
    let early = token(600);
    // Until the credentials have rolled over twice, and fifty times at least.
    let mut reloads = 0;
    let first_key = |reloads: usize| reloads >= 50 && ims.calls() >= 6;
    while !first_key(reloads) {
        // Some change nothing, some change how the IMS is asked.
        reloaded.change(&format!("{}ims_timeout: {}s\n", ims.config(), 5 + reloads / 10));
        reloads += 1;
    }
    over.store(true, Ordering::Relaxed);
    for program in programs {
        let keys = program.join().expect("every request was answered well");
        assert!(keys.len() >= 2, "nothing rolled over: {keys:?}");
    }
    // An IMDS token of before all this is still good.
    let head = format!("GET {LIST_PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-aws-ec2-metadata-token: {early}\r\n");
    assert_eq!(request(address, &head).status, 200);
}

#[test]
fn what_stays_the_same_causes_no_call() {
    let ims = Ims::start(Behaviour::default());
    let reloaded = Reloaded::start(&ims.config());
    let calls = ims.calls();
    for _again in 0..5 {
        reloaded.change(&ims.config());
    }
    assert_eq!(ims.calls(), calls, "a list and a document, before the reloads");
}

#[test]
fn a_bad_configuration_changes_nothing_and_is_told_with_its_place() {
    let ims = Ims::start(Behaviour::default());
    let reloaded = Reloaded::start(&ims.config());
    reloaded.write(&format!("{}imds_v1: perhaps\nserve_expierd: true\n", ims.config()));
    reloaded.reload(REFUSED);
    let log = reloaded.daemon.log();
    assert!(log.contains("alppaca.yaml:4:"), "{log}");
    assert!(log.contains("did you mean `serve_expired`?"), "{log}");
    assert_eq!(reloaded.roles(), "test_role");
    // A file of a source that is not there.
    reloaded.write(&format!(
        "{}ims_protocol: https\nims_ca_file: /nowhere/ca.pem\n",
        ims.config().replace("ims_protocol: http\n", "")
    ));
    reloaded.reload(REFUSED);
    assert!(reloaded.daemon.log().contains("/nowhere/ca.pem: cannot be read"));
    fs::remove_file(reloaded.file()).expect("removed");
    reloaded.reload(REFUSED);
    assert_eq!(get(reloaded.daemon.address(), &format!("{LIST_PATH}test_role")).status, 200);
    // And then a good one.
    reloaded.change(&format!("{}imds_v1: false\n", ims.config()));
    assert_eq!(get(reloaded.daemon.address(), LIST_PATH).status, 401);
}

#[test]
fn roles_come_and_go_and_keep_what_they_have() {
    let ims =
        Ims::start(Behaviour { roles: ["one", "two", "three"].map(str::to_owned).to_vec(), ..Behaviour::default() });
    let source = ims.config();
    let roles = |text: &str| format!("{source}list_roles: all\nroles: {{{text}}}\n");
    let reloaded = Reloaded::start(&roles("one: {source: ims}, two: {source: ims}"));
    let key = |role: &str| {
        let answer = get(reloaded.daemon.address(), &format!("{LIST_PATH}{role}"));
        (answer.status, answer.status == 200)
            .1
            .then(|| answer.json()["AccessKeyId"].as_str().expect("a key").to_owned())
    };
    reloaded.daemon.wait_for_count(" fetched ", 2);
    let two = key("two");
    assert!(two.is_some());
    reloaded.change(&roles("two: {source: ims}, three: {source: ims}"));
    assert_eq!(reloaded.roles(), "two\nthree");
    assert_eq!(key("two"), two, "it stayed, so nothing was fetched for it");
    assert_eq!(key("one"), None);
    assert!(key("three").is_some(), "a first fetch is waited for");
    let log = reloaded.daemon.log();
    assert!(log.contains("new role(s): three; role(s) gone: one"), "{log}");
    assert!(log.contains("role one: no longer configured; no longer served"), "{log}");
    // The same name for something else: nobody gets what it had before.
    reloaded.change(&roles("two: {source: ims, upstream_role: three}, three: {source: ims}"));
    assert!(key("two").is_some_and(|key| Some(key) != two));
}

#[test]
fn what_is_served_beside_roles_changes_too() {
    let ims = Ims::start(Behaviour::default());
    let reloaded = Reloaded::start(&ims.config());
    let region = || get(reloaded.daemon.address(), "/latest/meta-data/placement/region").body;
    reloaded.change(&format!("{}metadata: {{region: eu-west-1}}\n", ims.config()));
    assert_eq!(region(), "eu-west-1");
    reloaded.change(&format!("{}metadata: {{region: us-east-1}}\n", ims.config()));
    assert_eq!(region(), "us-east-1");
    let mut admin = UnixStream::connect(reloaded.daemon.socket()).expect("the admin socket");
    let asked = b"GET /v1/credentials/test_role HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    admin.write_all(asked).expect("sent");
    let mut told = String::new();
    admin.read_to_string(&mut told).expect("an answer");
    assert!(told.contains("\"us-east-1\""), "{told}");
    // The level of the log does not matter for the lines of requests, which have a switch of their own.
    reloaded.change(&format!("{}log_level: error\n", ims.config()));
    let before = reloaded.count("GET /latest");
    get(reloaded.daemon.address(), LIST_PATH);
    reloaded.change(&ims.config());
    let before = before + 1;
    assert_eq!(reloaded.count("GET /latest"), before, "it was logged");
    reloaded.change(&format!("{}access_log: false\n", ims.config()));
    get(reloaded.daemon.address(), LIST_PATH);
    reloaded.change(&ims.config());
    assert_eq!(reloaded.count("GET /latest"), before, "nor was this");
}

#[test]
fn a_new_policy_holds_for_connections_that_are_open() {
    let ims = Ims::start(Behaviour { roles: ["one", "two"].map(str::to_owned).to_vec(), ..Behaviour::default() });
    let source = format!("{}list_roles: all\n", ims.config());
    let reloaded = Reloaded::start(&source);
    let mut open = support::connect(reloaded.daemon.address());
    let mut ask = || {
        open.write_all(format!("GET {LIST_PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").as_bytes()).expect("sent");
        let answer = support::read_one(&mut open);
        (answer.status, answer.body)
    };
    reloaded.daemon.wait_for_count(" fetched ", 2);
    assert_eq!(ask(), (200, "one\ntwo".to_owned()));
    reloaded.change(&format!("{source}policy: {{rules: [{{match: {{address: 127.0.0.0/8}}, roles: [two]}}]}}\n"));
    assert_eq!(ask(), (200, "two".to_owned()));
    reloaded.change(&format!("{source}policy: {{rules: [{{match: {{address: 127.0.0.0/8}}, deny: true}}]}}\n"));
    assert_eq!(ask().0, 404);
    reloaded.change(&source);
    assert_eq!(ask(), (200, "one\ntwo".to_owned()));
}

/// Another value of a setting than `PLAIN` and the tests' own configuration have.
fn other(key: &str) -> &'static str {
    match key {
        "ims_host" => "localhost",
        "ims_port" => "1",
        "ims_protocol" => "http",
        "ims_url" => "http://127.0.0.1:1/security-credentials/",
        "ims_connect_timeout" | "ims_timeout" | "ready_wait" | "withdrawal_grace" => "3s",
        "header_timeout" | "idle_timeout" | "write_timeout" => "7s",
        "refresh_interval" => "1h",
        "ims_max_response_bytes" | "ims_concurrency" | "max_connections" => "7",
        "ims_proxy" => "http://127.0.0.1:1",
        "ims_identity" => "{kind: token, file: /nowhere/token}",
        "bind_ip" => "127.0.0.2",
        "bind_port" => "1",
        "listen" => "['127.0.0.1:1']",
        "capture_listen" | "metrics_listen" => "127.0.0.1:1",
        "imds_v1" | "access_log" => "false",
        "serve_expired" => "true",
        "list_roles" => "all",
        "allowed_hosts" => "[imds.example.com]",
        "metadata" => "{region: eu-west-3}",
        "policy" => "{default: everything}",
        "containers" => "{sockets: [/nowhere.sock]}",
        "log_level" => "info",
        "log_format" => "'%(message)s'",
        "logging_handler" => "{module: logging, class: NullHandler}",
        "audit_log" => "/nowhere/audit.log",
        "audit_required" => "true",
        "sandbox" => "off",
        "sandbox_allow" => "{connect: 1}",
        "sign_in_notification" => "yes",
        "traces_endpoint" => "http://127.0.0.1:1",
        "user" => "daemon",
        "group" | "admin_group" => "adm",
        "files" => "[{path: web, role: test_role}]",
        "run_dir" => "/elsewhere",
        "admin_socket" => "off",
        "sources" => "{keys: {kind: process, command: ['false']}}",
        "roles" => "{test_role: {source: ims}}",
        "aws_region" => "us-east-1",
        "container" => "{listen: '127.0.0.1:0', token_overlap: 1s}",
        "pod_identity" => {
            "{listen: '127.0.0.1:0', issuer: 'https://x', jwks_file: /dev/null, associations: [{role: test_role}]}"
        }
        "container.listen" | "pod_identity.listen" | "status_page.listen" => "127.0.0.1:1",
        // None at all.
        "status_page" => "",
        "status_page.hosts" => "127.0.0.1:0', hosts: 'status.example.com",
        "status_page.beyond_loopback" => "127.0.0.1:0', beyond_loopback: 'yes",
        _ => panic!("another value of {key} is missing here"),
    }
}

/// `text` with another value for `key`.
fn changed(text: &str, key: &str) -> String {
    if let Some((section, _)) = key.split_once('.') {
        let line = text.lines().find(|line| line.starts_with(&format!("{section}: "))).expect("that section");
        return text.replace(line, &line.replace("127.0.0.1:0", other(key)));
    }
    // What cannot stand beside it, and what it has no meaning without.
    let (instead, with): (&[&str], _) = match key {
        "ims_url" => (&["ims_host:", "ims_port:", "ims_protocol:"], ""),
        "listen" => (&["bind_port:"], ""),
        "audit_required" => (&[], "audit_log: syslog"),
        _ => (&[], ""),
    };
    let gone =
        |line: &&str| line.starts_with(&format!("{key}:")) || instead.iter().any(|other| line.starts_with(other));
    let line = format!("{key}: {}", other(key));
    let lines = text.lines().filter(|line| !gone(line)).chain([line.as_str(), with, ""]);
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn each_setting_that_only_a_restart_changes_is_named_and_no_other() {
    let ims = Ims::start(Behaviour::default());
    let sections = "container: {listen: '127.0.0.1:0'}\npod_identity: {listen: '127.0.0.1:0', issuer: 'https://x', \
                    jwks_file: /dev/null, associations: [{role: test_role}]}\nstatus_page: {listen: '127.0.0.1:0'}\n";
    // Some of the changes need more than the sandbox allows.
    let daemon = Daemon::with_credentials(&[&ims.config(), sections, "sandbox: report\n"].concat());
    let file = daemon.directory.path().join("alppaca.yaml");
    let first = fs::read_to_string(&file).expect("written");
    let told = |text: &str| {
        fs::write(&file, text).expect("written");
        let before = daemon.log().len();
        let count = daemon.log().matches(READ_AGAIN).count();
        daemon.hang_up();
        daemon.wait_for_count(READ_AGAIN, count + 1);
        let log = daemon.log();
        let named = log[before..].split("restart required for: ").nth(1).and_then(|rest| rest.split(';').next());
        named.unwrap_or_default().to_owned()
    };
    // The daemon has nothing of the webhook, which names its own. What the sandbox allows is named as a whole.
    let is_named = |key: &String| !["webhook.", "sandbox_allow."].iter().any(|section| key.starts_with(section));
    let only_a_restart: Vec<String> = restart_keys().filter(is_named).collect();
    for key in &only_a_restart {
        let expected = match key.as_str() {
            "listen" => "bind_port, listen",
            "audit_required" => "audit_log, audit_required",
            key => key,
        };
        assert_eq!(told(&changed(&first, key)), expected);
        // It is named until it is as it was, though nothing has been changed since.
        assert_eq!(told(&changed(&first, key)), expected);
        assert_eq!(told(&first), "", "{key}");
    }
    // What stands here needs files, a network or other settings.
    let elsewhere = [
        "ims_ca_file",
        "ims_client_certificate",
        "ims_client_key",
        "assume_role",
        "aws_proxy_host",
        "aws_proxy_port",
        "webhook",
    ];
    for setting in SETTINGS.iter().filter(|setting| !elsewhere.contains(&setting.key)) {
        if !only_a_restart.iter().any(|key| key == setting.key) {
            assert_eq!(told(&changed(&first, setting.key)), "", "{}", setting.key);
        }
    }
}

#[test]
fn what_is_beside_a_setting_that_needs_a_restart_is_in_force() {
    let ims = Ims::start(Behaviour::default());
    let reloaded = Reloaded::start(&ims.config());
    reloaded.change(&format!("{}listen: ['127.0.0.1:1']\nimds_v1: false\n", ims.config()));
    assert_eq!(get(reloaded.daemon.address(), LIST_PATH).status, 401);
}

#[test]
fn the_pod_identity_agent_goes_on_at_its_address_until_a_restart() {
    let ims = Ims::start(Behaviour::default());
    let section = |address: &str| {
        let rest = "issuer: 'https://x', jwks_file: /dev/null, associations: [{role: test_role}]";
        format!("{}pod_identity: {{listen: '{address}', {rest}}}\n", ims.config())
    };
    let reloaded = Reloaded::start(&section("127.0.0.2:0"));
    let address = reloaded.daemon.face("pod-identity");
    let status = || request(address, &format!("GET /v1/credentials HTTP/1.1\r\nHost: {address}\r\n")).status;
    assert_eq!(status(), 400, "there is no token");
    reloaded.change(&section("127.0.0.3:0"));
    assert_eq!(status(), 400, "its own address is still a host that it knows");
}

#[test]
fn tokens_of_a_configuration_that_is_refused_open_nothing_and_those_in_force_stay() {
    let ims = Ims::start(Behaviour { roles: ["app", "other"].map(str::to_owned).into(), ..Behaviour::default() });
    let directory = tempfile::TempDir::new().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let section = |role: &str, token: &str| {
        let roles = format!("roles: {{{role}: {{authorization_token_file: '{token}'}}}}");
        // The mapping below would need a port that the sandbox does not allow.
        let listen = "listen: '127.0.0.1:0', token_overlap: 0s";
        format!("{}sandbox: off\ncontainer: {{{listen}, {roles}}}\n", ims.config())
    };
    let (first, second) = (section("app", &file("first", "one")), section("other", &file("second", "two")));
    let reloaded = Reloaded::start(&first);
    reloaded.daemon.wait_for_log("role other: fetched ");
    let address = reloaded.daemon.face("container");
    let opened = || {
        let get = |role: &str, token: &str| {
            let head = format!("GET /role/{role} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {token}\r\n");
            request(address, &head).status
        };
        (get("app", "one"), get("other", "two"))
    };
    assert_eq!(opened(), (200, 401));
    // What is wrong is found last.
    let mapping = file("mapping.json", "not JSON");
    reloaded.write(&format!("{second}containers: {{sockets: [/nowhere.sock], mapping_file: '{mapping}'}}\n"));
    reloaded.reload(REFUSED);
    assert_eq!(opened(), (200, 401));
    reloaded.change(&second);
    assert_eq!(opened(), (401, 200));
    reloaded.change(&first);
    assert_eq!(opened(), (200, 401));
    // Without the section only the tokens of `exec` are left.
    reloaded.change(&ims.config());
    assert_eq!(opened(), (401, 401));
    reloaded.change(&first);
    assert_eq!(opened(), (200, 401));
}

#[test]
fn a_hang_up_while_the_daemon_starts_ends_nothing() {
    let ims = Ims::start(Behaviour::default());
    let directory = tempfile::TempDir::new().expect("a directory");
    let (pipe, run) = (directory.path().join("alppaca.yaml"), directory.path().join("run"));
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).expect("a pipe");
    let mut command = Command::new(env!("CARGO_BIN_EXE_alppaca"));
    let mut child = command.arg("run").arg("-c").arg(&pipe).stderr(Stdio::piped()).spawn().expect("it starts");
    let pid = rustix::process::Pid::from_child(&child);
    // Opened when the daemon reads its configuration, which it does to the end of it.
    let mut first = fs::OpenOptions::new().write(true).open(&pipe).expect("a reader");
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("it runs");
    let config = format!(
        "{}bind_port: 0\nrun_dir: {}\nlogging_handler: {{module: logging, class: StreamHandler}}\n",
        ims.config(),
        run.display()
    );
    first.write_all(config.as_bytes()).expect("it is read");
    drop(first);
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains(" serves at ")));
    // It is not forgotten either: as soon as the daemon runs, it reads again.
    fs::OpenOptions::new().write(true).open(&pipe).expect("a reader").write_all(config.as_bytes()).expect("it is read");
    let told = lines.find(|line| line.contains(READ_AGAIN));
    child.kill().expect("it runs");
    child.wait().expect("a child");
    assert!(told.is_some());
}

#[test]
fn the_service_manager_is_told() {
    let ims = Ims::start(Behaviour::default());
    let directory = tempfile::TempDir::new().expect("a directory");
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("bound");
    socket.set_read_timeout(Some(PATIENCE)).expect("settable");
    let daemon = Daemon::start_with(&ims.config(), |command| {
        command.env("NOTIFY_SOCKET", &path);
    });
    let next = |wanted: &str| loop {
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).expect("a message");
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if text.contains(wanted) {
            return text;
        }
    };
    next("READY=1");
    let pid = rustix::process::Pid::from_raw(daemon.pid().try_into().expect("a pid")).expect("not 0");
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("it runs");
    let begun = next("RELOADING=1");
    let moment = begun.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).expect("the moment");
    assert!(moment.parse::<u64>().expect("a number") > 0);
    next("READY=1");
}

#[test]
fn alppacad_reloads_what_is_valid() {
    let ims = Ims::start(Behaviour::default());
    let directory = tempfile::TempDir::new().expect("a directory");
    let run_dir = directory.path().join("run");
    let alppacad = directory.path().join("alppacad");
    symlink(env!("CARGO_BIN_EXE_alppaca"), &alppacad).expect("a link");
    let file = directory.path().join("alppaca.yaml");
    let log = directory.path().join("log");
    let config = |more: &str| {
        let text = format!(
            "{}bind_port: 0\nrun_dir: {}\nlogging_handler: {{module: logging, class: FileHandler, args: [{}]}}\n{more}",
            ims.config(),
            run_dir.display(),
            log.display()
        );
        fs::write(&file, text).expect("written");
    };
    let say = |word: &str| {
        let output = Command::new(&alppacad).args([word, "-c"]).arg(&file).output().expect("it runs");
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.code(), text)
    };
    config("");
    let (code, text) = say("reload");
    assert!(code == Some(7) && text.contains("is not running"), "{code:?} {text}");
    assert_eq!(say("start").0, Some(0));
    let stop = scopeguard(|| {
        say("stop");
    });
    config("imds_v1: perhaps\n");
    let (code, text) = say("reload");
    assert!(code == Some(6) && text.contains("alppaca.yaml:"), "{code:?} {text}");
    config("imds_v1: false\n");
    assert_eq!(say("reload").0, Some(0));
    // It is told by a signal, so it is done a little later.
    let told = || fs::read_to_string(&log).expect("a log").contains(READ_AGAIN);
    for _ in 0..4000 {
        if told() {
            return drop(stop);
        }
        // There is no event for "somebody else has written to a file".
        thread::sleep(Duration::from_millis(5));
    }
    panic!("{}", fs::read_to_string(&log).expect("a log"));
}

/// Runs `last` at the end, also when a test fails.
fn scopeguard(last: impl FnMut()) -> impl Drop {
    struct Last<F: FnMut()>(F);
    impl<F: FnMut()> Drop for Last<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    Last(last)
}

#[test]
fn tokens_outlive_the_coming_and_going_of_a_policy() {
    let ims = Ims::start(Behaviour::default());
    let config = format!("{}imds_v1: false\n", ims.config());
    let policy = format!(
        "policy: {{rules: [{{match: {{user: {}}}, everything: true}}]}}\n",
        rustix::process::geteuid().as_raw()
    );
    let reloaded = Reloaded::start(&config);
    let address = reloaded.daemon.address();
    let token = || {
        let put = "PUT /latest/api/token HTTP/1.1\r\nHost: 127.0.0.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n";
        request(address, put).body
    };
    let status = |token: &str| {
        let head = format!("GET {LIST_PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-aws-ec2-metadata-token: {token}\r\n");
        request(address, &head).status
    };
    let from_before = token();
    reloaded.change(&format!("{config}{policy}"));
    assert_eq!(status(&from_before), 200, "the policy judges the connection, not the token");
    let bound = token();
    assert_eq!(status(&bound), 200);
    reloaded.change(&config);
    assert_eq!([&from_before, &bound].map(|token| status(token)), [200, 200]);
    assert_eq!(status(&bound.replace('A', "B")), 401);
}
