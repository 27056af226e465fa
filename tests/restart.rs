//! `alppacad restart`: a new process takes over from the running one, or that one goes on.

mod support;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::SocketAddr,
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use support::{
    Over, get,
    load::{Load, ask, head},
    needs, needs_root,
    service::{Service, said},
};

const LIST: &str = "/latest/meta-data/iam/security-credentials/";
const DOCUMENT: &str = "/latest/meta-data/iam/security-credentials/test_role";
const ALPPACA: &str = env!("CARGO_BIN_EXE_alppaca");

const RESTARTED: (Option<i32>, &str) = (Some(0), "alppaca restarted\n");

fn key_at(address: SocketAddr) -> String {
    let answer = get(address, DOCUMENT);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["AccessKeyId"].as_str().expect("a key").to_owned()
}

fn restarts(service: &Service) {
    let (code, words) = service.say("restart");
    assert_eq!((code, &*words), RESTARTED, "{}", service.log());
}

/// There is no event for "somebody else's process has done it".
fn wait_until(done: impl Fn() -> bool, otherwise: impl Fn() -> String) {
    for _ in 0..1000 {
        if done() {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("it takes too long: {}", otherwise());
}

fn is_gone(pid: u32) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state.is_empty() || state.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

/// The process of which the log says for the last time that it prepares to take over.
fn preparing(service: &Service) -> Pid {
    let log = service.log();
    let line = log.lines().rev().find(|line| line.contains("prepares to take over")).expect("one does");
    let pid = line.split("process ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a number");
    Pid::from_raw(pid.parse().expect("a number")).expect("not 0")
}

#[test]
fn a_new_process_takes_over_everything_while_the_upstream_is_down() {
    let mut service = Service::new();
    assert_eq!(service.say("start").0, Some(0));
    let held = key_at(service.address());
    service.ims.stop();
    let socket = service.path("run/alppaca.sock");
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = Over(&over);
        // Commands do not notice it either.
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let mut stream = UnixStream::connect(&socket).expect("the socket is there");
                stream
                    .write_all(b"GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    .expect("it is read");
                let mut answer = String::new();
                stream.read_to_string(&mut answer).expect("an answer");
                assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            }
        });
        let load = Load::start(service.address(), &head(DOCUMENT), &held, 200);
        for _ in 0..5 {
            let before = service.pid().expect("a pid file");
            restarts(&service);
            let after = service.pid().expect("a pid file");
            assert_ne!(before, after);
            let (code, words) = service.say("status");
            assert!(code == Some(0) && words.contains(&format!("(process {after})")), "{words}");
            wait_until(|| is_gone(before), || service.log());
            assert_eq!(service.pid(), Some(after), "the old process has left the pid file alone");
            load.wait_for(20);
        }
        let tally = load.stop();
        assert!(tally.failed.is_empty() && tally.cut == 0, "{tally:?}\n{}", service.log());
    });
    assert_eq!(get(service.address(), LIST).body, "test_role");
    assert_eq!(service.log().matches("has taken over").count(), 5, "{}", service.log());
    assert!(service.log().contains("1 set(s) of credentials were held before the restart"), "{}", service.log());
    assert_eq!(service.say("stop"), (Some(0), "alppaca stopped\n".to_owned()));
    for left in ["alppaca.pid", "alppaca.pid.new", "alppaca.sock"] {
        assert!(!service.path("run").join(left).exists(), "{left}");
    }
    // What is stopped keeps nothing.
    service.configure(&service.config("ready_wait: 100ms\n"));
    assert_eq!(service.say("start").0, Some(0));
    assert_eq!(get(service.address(), DOCUMENT).status, 503);
}

#[test]
#[ignore = "takes the whole machine; its figures are in docs/restarts.md"]
#[allow(clippy::print_stderr, reason = "it is run for its figures")]
fn a_thousand_requests_a_second_over_fifty_restarts() {
    let mut service = Service::new();
    assert_eq!(service.say("start").0, Some(0));
    let held = key_at(service.address());
    service.ims.stop();
    let load = Load::start(service.address(), &head(DOCUMENT), &held, 1000);
    for _ in 0..50 {
        load.wait_for(100);
        restarts(&service);
        assert!(service.pid().is_some(), "{}", service.log());
    }
    load.wait_for(100);
    let tally = load.stop();
    eprintln!("{tally:?}");
    assert!(tally.failed.is_empty() && tally.cut == 0, "{tally:?}\n{}", service.log());
}

#[test]
fn a_configuration_that_does_not_work_leaves_everything_as_it_was() {
    let mut service = Service::new();
    assert_eq!(service.say("start").0, Some(0));
    let (pid, held) = (service.pid(), key_at(service.address()));
    service.ims.stop();
    let (taken, no_file) = ("metrics_listen: 192.0.2.1:1\n", "audit_log: /nowhere/at/all\n");
    for (wrong, code, message) in [
        ("ims_hots: x\n", 6, "did you mean `ims_host`?"),
        (taken, 1, "this host does not have the address"),
        (no_file, 1, "audit_log: "),
        ("user: no-such-user\n", 1, "no-such-user"),
    ] {
        service.configure(&service.config(wrong));
        let (said_code, words) = service.say("restart");
        assert!(said_code == Some(code) && words.contains(message), "{wrong}: {said_code:?} {words}");
        assert!(code == 6 || words.contains("; the daemon that was running goes on"), "{wrong}: {words}");
        assert_eq!((service.pid(), key_at(service.address())), (pid, held.clone()), "{wrong}");
        assert!(service.path("run/alppaca.sock").exists(), "{wrong}");
    }
    let log = service.log();
    assert_eq!(log.matches("has not taken over (it ended before it said \"ready\")").count(), 2, "{log}");
    service.configure(&service.config(""));
    restarts(&service);
    assert_eq!(key_at(service.address()), held);
}

/// Nothing is held, so that the new process waits for its first credentials.
fn waiting() -> (Service, std::process::Child) {
    let mut service = Service::with("ready_wait: 100ms\n");
    service.ims.stop();
    assert_eq!(service.say("start").0, Some(0));
    service.configure(&service.config("ready_wait: 30s\n"));
    let restart = service.begin("restart");
    wait_until(|| service.log().contains("prepares to take over"), || service.log());
    (service, restart)
}

#[test]
fn a_process_that_dies_before_it_is_ready_leaves_everything_as_it_was() {
    let (service, restart) = waiting();
    let pid = service.pid();
    kill_process(preparing(&service), Signal::KILL).expect("it runs");
    let (code, words) = said(&restart.wait_with_output().expect("it ends"));
    assert!(code == Some(1) && words.contains("(signal: 9 (SIGKILL)); the daemon that was running goes on"), "{words}");
    assert_eq!(get(service.address(), DOCUMENT).status, 503, "it serves");
    assert_eq!(service.pid(), pid);
    service.configure(&service.config("ready_wait: 100ms\n"));
    restarts(&service);
    assert_ne!(service.pid(), pid);
}

#[test]
fn of_two_restarts_at_once_the_second_is_refused() {
    let (service, mut first) = waiting();
    let (code, words) = service.say("restart");
    assert!(code == Some(1) && words.contains("another restart is under way"), "{words}");
    assert!(first.try_wait().expect("ours").is_none(), "the first goes on");
    kill_process(preparing(&service), Signal::KILL).expect("it runs");
    first.wait().expect("it ends");
}

#[test]
fn a_stop_wins_over_a_restart() {
    let (service, restart) = waiting();
    assert_eq!(service.say("stop"), (Some(0), "alppaca stopped\n".to_owned()));
    let (code, words) = said(&restart.wait_with_output().expect("it ends"));
    assert!(code == Some(1) && words.contains("; no daemon runs any more"), "{words}");
    assert_eq!(service.say("status").0, Some(3));
}

#[test]
fn a_daemon_that_hands_nothing_over_is_stopped_and_another_started() {
    let service = Service::with("admin_socket: off\n");
    assert_eq!(service.say("start").0, Some(0));
    let before = service.pid();
    let (code, words) = service.say("restart");
    assert!(code == Some(0) && words.contains("cannot hand anything over: it has no admin socket"), "{words}");
    assert!(words.contains("alppaca stopped\nalppaca started\n"), "{words}");
    assert_ne!(service.pid(), before);
}

/// It answers as a daemon before this feature.
#[test]
fn a_daemon_of_another_version_is_stopped_and_another_started() {
    let service = Service::new();
    assert_eq!(service.say("start").0, Some(0));
    let (before, socket) = (service.pid(), service.path("other.sock"));
    let listener = UnixListener::bind(&socket).expect("a socket");
    service.configure(&service.config(&format!("admin_socket: {}\n", socket.display())));
    let old = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("it is asked");
        let mut lines = BufReader::new(stream.try_clone().expect("a socket")).lines().map_while(Result::ok);
        assert_eq!(lines.next().as_deref(), Some("POST /v1/replacement HTTP/1.1"));
        while lines.next().is_some_and(|line| !line.is_empty()) {}
        let body = r#"{"code":"NoSuchPath","message":"there is nothing at /v1/replacement"}"#;
        let length = body.len();
        write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
            .expect("it reads");
    });
    let (code, words) = service.say("restart");
    old.join().expect("it was asked");
    assert!(code == Some(0) && words.contains("cannot hand anything over: it is another version"), "{words}");
    assert_ne!(service.pid(), before);
}

/// A socket for all addresses keeps its port from one for a single address.
#[test]
fn listeners_that_exclude_each_other_need_a_stop() {
    let what = "restart: listeners that exclude each other";
    if !needs_root(what) || !needs(what, "unshare") {
        return;
    }
    let service = Service::with("listen: ['127.0.0.1:99']\nready_wait: 100ms\n");
    let other = service.path("other.yaml");
    fs::write(&other, service.config("listen: ['0.0.0.0:99']\nready_wait: 100ms\n")).expect("a file");
    let script = "ip link set lo up && ./alppacad start -c alppaca.yaml && ./alppacad restart -c other.yaml && \
                  ./alppacad restart -c other.yaml; code=$?; ./alppacad stop -c other.yaml; exit $code";
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", script]).current_dir(service.directory.path());
    let (code, words) = said(&command.output().expect("it runs"));
    assert_eq!(code, Some(0), "{words}\n{}", service.log());
    assert!(words.contains("it listens at 127.0.0.1:99, and this configuration has 0.0.0.0:99"), "{words}");
    assert!(words.contains("alppaca stopped\nalppaca started\nalppaca restarted\nalppaca stopped\n"), "{words}");
}

#[test]
fn privileges_are_dropped_as_at_a_start() {
    if !needs_root("restart: privileges") {
        return;
    }
    // An address that no other test has, with a port that only root can bind.
    let mut service = Service::with("listen: ['127.45.67.90:81']\nuser: nobody\ngroup: nogroup\n");
    let address = "127.45.67.90:81".parse().expect("an address");
    assert_eq!(service.say("start").0, Some(0));
    let held = key_at(address);
    service.ims.stop();
    let user = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        status
            .lines()
            .filter(|line| line.starts_with("Uid:") || line.starts_with("CapPrm:"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let dropped = "Uid:\t65534\t65534\t65534\t65534 CapPrm:\t0000000000000000";
    for _ in 0..2 {
        restarts(&service);
        assert_eq!(user(service.pid().expect("a pid file")), dropped);
        assert_eq!(key_at(address), held);
    }
    // A socket for others than before is made anew.
    service
        .configure(&service.config("listen: ['127.45.67.90:81']\nuser: nobody\ngroup: nogroup\nadmin_group: daemon\n"));
    restarts(&service);
    assert_eq!(key_at(address), held);
    let output = Command::new(ALPPACA).arg("status").arg("--socket").arg(service.path("run/alppaca.sock")).output();
    assert!(output.expect("it runs").status.success());
    assert_eq!(service.say("stop").0, Some(0));
}

#[test]
fn another_user_cannot_take_over() {
    let what = "restart: another user";
    if !needs_root(what) || !needs(what, "setpriv") || !needs(what, "curl") {
        return;
    }
    // Programs that are sources have the account that the daemon has become.
    for (settings, uid) in [("", "61000"), ("user: nobody\ngroup: nogroup\n", "65534")] {
        let service = Service::with(settings);
        assert_eq!(service.say("start").0, Some(0));
        let mut command = Command::new("setpriv");
        command.args([&format!("--reuid={uid}"), "--regid=61000", "--clear-groups", "curl", "-sS", "--max-time", "10"]);
        command.arg("--unix-socket").arg(service.path("run/alppaca.sock"));
        command.args(["-H", "Connection: upgrade", "-H", "Upgrade: alppaca-replacement/2"]);
        let output = command.args(["-X", "POST", "http://x/v1/replacement"]).output().expect("it runs");
        let (_, words) = said(&output);
        assert!(words.contains("only who started the daemon can restart it, and root"), "{words}");
        let refused = format!("a process of user {uid} wanted to replace this daemon");
        wait_until(|| service.log().contains(&refused), || service.log());
        assert_eq!(service.say("stop").0, Some(0));
    }
}

#[test]
fn programs_of_exec_keep_their_port_and_their_token() {
    let mut service = Service::with("metrics_listen: 127.0.0.1:0\n");
    assert_eq!(service.say("start").0, Some(0));
    let script = "echo \"$AWS_CONTAINER_CREDENTIALS_FULL_URI\"; echo \"$AWS_CONTAINER_AUTHORIZATION_TOKEN\"; read line";
    let mut program = Command::new(ALPPACA);
    program.arg("exec").arg("--socket").arg(service.path("run/alppaca.sock")).args(["--", "sh", "-c", script]);
    let mut program = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(program.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let (url, token) = (lines.next().expect("a URL"), lines.next().expect("a token"));
    let (address, path) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).expect("a URL");
    let address: SocketAddr = address.parse().expect("an address");
    service.ims.stop();
    // At once: what was given out a moment ago is known to the next process, too.
    let head = format!("{}Authorization: {token}\r\n", head(&format!("/{path}")));
    let load = Load::start(address, &head, "AccessKeyId", 100);
    for _ in 0..3 {
        restarts(&service);
        load.wait_for(10);
    }
    let tally = load.stop();
    assert!(tally.failed.is_empty() && tally.cut == 0, "{tally:?}\n{}", service.log());
    drop(program.stdin.take());
    program.wait().expect("it ends");
    assert!(ask(address, &head).is_ok(), "it listens there still");
}

#[test]
fn the_status_page_goes_over_to_the_next_process() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("page.sock");
    let service = Service::with(&format!("status_page: {{listen: 'unix:{}'}}\n", path.display()));
    assert_eq!(service.say("start").0, Some(0));
    let page = || {
        let mut stream = UnixStream::connect(&path).expect("it listens");
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    };
    let process = |page: &str| page.split("process ").nth(1).and_then(|rest| rest.split('<').next()).map(str::to_owned);
    let before = process(&page());
    restarts(&service);
    let after = process(&page());
    assert!(before.is_some() && after.is_some() && before != after, "{before:?} {after:?}");
    assert_eq!(service.say("stop").0, Some(0));
    assert!(!path.exists(), "{}", service.log());
}

/// A process of the test that wants to take over from the daemon of `service`, as far as its protocol is text. The daemon has
/// sent what it has.
struct Newcomer {
    stream: UnixStream,
    lines: std::io::Lines<BufReader<UnixStream>>,
}

const WISH: &[u8] =
    b"POST /v1/replacement HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: alppaca-replacement/2\r\n\
                      Content-Length: 0\r\n\r\n";

impl Newcomer {
    fn meet(service: &Service) -> Self {
        Self::meet_at(&service.path("run"))
    }

    fn meet_at(run_dir: &Path) -> Self {
        let mut stream = UnixStream::connect(run_dir.join("alppaca.sock")).expect("the daemon listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("settable");
        stream.write_all(WISH).expect("it is read");
        let mut lines = BufReader::new(stream.try_clone().expect("ours")).lines();
        assert_eq!(lines.next().expect("a line").expect("text"), "HTTP/1.1 101 Switching Protocols");
        while !lines.next().expect("a line").expect("text").is_empty() {}
        let names = lines.next().expect("a line").expect("text");
        assert!(names.starts_with("sets "), "{names}");
        Self { stream, lines }
    }

    fn say(&mut self, word: &str) {
        writeln!(self.stream, "{word}").expect("it is read");
    }

    /// The next word, or nothing if the daemon has closed the connection.
    fn hear(&mut self) -> String {
        self.lines.next().map(|line| line.expect("text")).unwrap_or_default()
    }
}

/// Asks the daemon to give a token out, which changes something.
fn change(service: &Service) -> String {
    let mut stream = UnixStream::connect(service.path("run/alppaca.sock")).expect("the daemon listens");
    let head = "POST /v1/exec-token HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
    stream.write_all(head.as_bytes()).expect("it is read");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn a_daemon_goes_on_if_the_process_that_was_to_serve_ends() {
    let service = Service::new();
    assert_eq!(service.say("start").0, Some(0));
    let (pid, held) = (service.pid(), key_at(service.address()));
    for last in ["ready", "nonsense"] {
        let mut newcomer = Newcomer::meet(&service);
        newcomer.say("ready");
        assert_eq!(newcomer.hear(), "go");
        let refused = change(&service);
        assert!(refused.contains("\"Restarting\""), "{refused}");
        if last == "nonsense" {
            newcomer.say(last);
            assert_eq!(newcomer.hear(), "no", "that process must not serve");
        }
        drop(newcomer);
        wait_until(|| !change(&service).contains("\"Restarting\""), || service.log());
    }
    wait_until(|| service.log().matches("this process goes on").count() == 2, || service.log());
    assert_eq!((service.pid(), key_at(service.address())), (pid, held));
    restarts(&service);
}

/// Its run directory, for a process of the test that puts its own files in the place of the daemon's and ends.
const LATE: &str = "ALPPACA_TEST_LATE";

fn take_files_and_end(run_dir: &Path) {
    let mut newcomer = Newcomer::meet_at(run_dir);
    newcomer.say("ready");
    assert_eq!(newcomer.hear(), "go");
    let [pid_file, socket] = ["alppaca.pid", "alppaca.sock"].map(|name| run_dir.join(name));
    let beside = run_dir.join("beside");
    fs::write(&beside, std::process::id().to_string()).expect("ours");
    fs::rename(&beside, pid_file).expect("ours");
    let _listens = UnixListener::bind(&beside).expect("ours");
    fs::rename(&beside, socket).expect("ours");
    newcomer.say("nonsense");
    assert_eq!(newcomer.hear(), "no");
}

/// Runs itself again, as that process.
#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "the environment says which of the two this is; how long it takes is tested"
)]
fn a_daemon_that_goes_on_has_its_files_back_at_once() {
    if let Some(run_dir) = std::env::var_os(LATE) {
        return take_files_and_end(Path::new(&run_dir));
    }
    let service = Service::new();
    assert_eq!(service.say("start").0, Some(0));
    let pid = service.pid();
    // By itself the daemon looks every 15 seconds.
    for _ in 0..2 {
        let mut late = Command::new(std::env::current_exe().expect("a test"));
        late.args(["--exact", "a_daemon_that_goes_on_has_its_files_back_at_once"]).env(LATE, service.path("run"));
        let output = late.output().expect("it runs");
        assert!(output.status.success(), "{output:?}\n{}", service.log());
        let ended = Instant::now();
        wait_until(|| service.pid() == pid, || service.log());
        wait_until(|| UnixStream::connect(service.path("run/alppaca.sock")).is_ok(), || service.log());
        assert!(ended.elapsed() < Duration::from_secs(5), "{:?}\n{}", ended.elapsed(), service.log());
    }
    restarts(&service);
}

#[test]
fn a_stop_wins_over_a_process_that_is_about_to_serve() {
    let service = Service::new();
    assert_eq!(service.say("start").0, Some(0));
    let mut newcomer = Newcomer::meet(&service);
    newcomer.say("ready");
    assert_eq!(newcomer.hear(), "go");
    assert_eq!(service.say("stop"), (Some(0), "alppaca stopped\n".to_owned()));
    assert_eq!((newcomer.hear(), newcomer.hear()), ("no".to_owned(), String::new()));
}

#[test]
fn a_restart_that_meets_the_end_of_another_begins_anew() {
    let service = Service::new();
    assert_eq!(service.say("start").0, Some(0));
    let mut newcomer = Newcomer::meet(&service);
    // One that has come, and says what it wants after all is over.
    let mut late = UnixStream::connect(service.path("run/alppaca.sock")).expect("the daemon listens");
    late.write_all(&WISH[..40]).expect("it is read");
    newcomer.say("ready");
    assert_eq!(newcomer.hear(), "go");
    newcomer.say("done");
    assert_eq!(newcomer.hear(), "over");
    late.write_all(&WISH[40..]).expect("it is read");
    let mut answer = String::new();
    late.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\"Restarting\""), "{answer}");
}

#[test]
fn many_restarts_at_once_never_stop_the_daemon() {
    let mut service = Service::new();
    assert_eq!(service.say("start").0, Some(0));
    let held = key_at(service.address());
    service.ims.stop();
    let load = Load::start(service.address(), &head(DOCUMENT), &held, 100);
    let said: Vec<_> = thread::scope(|scope| {
        let restart = || (0..4).map(|_| service.say("restart")).collect::<Vec<_>>();
        let all: Vec<_> = (0..3).map(|_| scope.spawn(restart)).collect();
        all.into_iter().flat_map(|restarts| restarts.join().expect("no panic")).collect()
    });
    let tally = load.stop();
    assert!(tally.failed.is_empty() && tally.cut == 0, "{tally:?}\n{}", service.log());
    assert!(said.iter().any(|said| (said.0, &*said.1) == RESTARTED), "{said:?}");
    for (code, words) in &said {
        let refused = *code == Some(1) && words.ends_with("the daemon that was running goes on\n");
        assert!((*code, &**words) == RESTARTED || refused, "{said:?}\n{}", service.log());
    }
    assert_eq!(service.say("stop"), (Some(0), "alppaca stopped\n".to_owned()));
}

/// The process that was started to take over from `old`, a listener of the test, after it has said that it is ready.
fn successor(service: &Service, old: &UnixListener) -> (std::process::Child, UnixStream) {
    let mut command = Command::new(ALPPACA);
    command.args(["run", "--background", "--replace", "-c", "alppaca.yaml"]).current_dir(service.directory.path());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let (mut stream, _) = old.accept().expect("it comes");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a head");
        head.extend(byte);
    }
    // It gets nothing: no sockets, and no credentials.
    stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n\n").expect("it reads");
    let mut word = [0; 6];
    stream.read_exact(&mut word).expect("a word");
    assert_eq!(&word, b"ready\n");
    (child, stream)
}

#[test]
fn a_process_serves_in_the_place_of_another_only_if_that_one_lets_it() {
    for (answer, serves) in [("over\n", true), ("", true), ("no\n", false)] {
        let service = Service::new();
        fs::create_dir(service.path("run")).expect("ours");
        let old = UnixListener::bind(service.path("run/alppaca.sock")).expect("a socket");
        let (mut child, mut stream) = successor(&service, &old);
        assert!(service.pid().is_none(), "{answer:?}");
        stream.write_all(b"go\n").expect("it reads");
        let mut word = [0; 5];
        stream.read_exact(&mut word).expect("a word");
        assert_eq!(&word, b"done\n");
        assert_eq!(service.pid(), Some(child.id()), "{answer:?}: it has the pid file before");
        stream.write_all(answer.as_bytes()).expect("it reads");
        drop((stream, old));
        let mut said = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut said).expect("text");
        assert_eq!(said == "ready\n", serves, "{answer:?}: {said}{}", service.log());
        if serves {
            key_at(service.address());
            assert_eq!(service.say("stop").0, Some(0));
        }
        let status = child.wait().expect("it ends");
        assert_eq!(status.success(), serves, "{answer:?}: {status}");
        let left: Vec<_> =
            fs::read_dir(service.path("run")).expect("ours").map(|entry| entry.expect("ours").file_name()).collect();
        let is_left = |name: &str| left.iter().any(|left| left.to_string_lossy().starts_with(name));
        assert!(!is_left("alppaca.pid") && !is_left("alppaca.sock"), "{answer:?}: {left:?}");
    }
}

#[test]
fn a_restart_for_another_group_that_fails_leaves_the_admin_socket() {
    if !needs_root("restart: admin_group") {
        return;
    }
    let service = Service::new();
    assert_eq!(service.say("start").0, Some(0));
    let socket = service.path("run/alppaca.sock");
    let gid = || std::os::unix::fs::MetadataExt::gid(&fs::symlink_metadata(&socket).expect("there"));
    // What the process finds after it has its admin socket.
    service.configure(&service.config("admin_group: daemon\naudit_log: /nowhere/at/all\n"));
    let (code, words) = service.say("restart");
    assert!(code == Some(1) && words.contains("audit_log: "), "{words}");
    let status = Command::new(ALPPACA).arg("status").arg("--socket").arg(&socket).output().expect("it runs");
    assert!(status.status.success(), "{status:?}");
    assert_eq!(gid(), 0);
    assert!(!service.path("run/alppaca.sock.new").exists());
    for (more, group) in [("admin_group: daemon\n", 1), ("admin_group: bin\n", 2), ("", 0)] {
        service.configure(&service.config(more));
        restarts(&service);
        let status = Command::new(ALPPACA).arg("status").arg("--socket").arg(&socket).output().expect("it runs");
        assert!(status.status.success(), "{status:?}");
        assert_eq!(gid(), group);
        assert!(!service.path("run/alppaca.sock.new").exists());
    }
    assert_eq!(service.say("stop").0, Some(0));
    assert!(!socket.exists());
}

#[test]
fn a_command_that_waits_for_credentials_is_answered_by_the_next_process() {
    let service = Service::with("ready_wait: 100ms\n");
    service.ims.handle.update(|behaviour| behaviour.list = alppaca::mock_ims::Answer::Status(503));
    assert_eq!(service.say("start").0, Some(0));
    let mut command = Command::new(ALPPACA);
    command.args(["credentials", "--wait", "60", "--socket"]).arg(service.path("run/alppaca.sock"));
    let waiting = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    // There is nobody who could say that it waits now.
    thread::sleep(Duration::from_millis(300));
    for _ in 0..2 {
        restarts(&service);
    }
    service.ims.handle.update(|behaviour| behaviour.list = alppaca::mock_ims::Answer::Good);
    let output = waiting.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}\n{}", service.log());
}
