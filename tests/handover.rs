//! Restarts under a service manager that keeps descriptors: nothing is lost, even if the upstream is down.

mod support;

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use alppaca::mock_ims::Behaviour;
use support::{
    Daemon, Ims, get,
    load::{Load, PROGRAMS, Tally, ask_on, head},
    manager::Manager,
};

const LIST: &str = "/latest/meta-data/iam/security-credentials/";
const DOCUMENT: &str = "/latest/meta-data/iam/security-credentials/test_role";

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

/// The key that is served.
fn key(daemon: &Daemon) -> String {
    let answer = get(daemon.address(), DOCUMENT);
    assert_eq!(answer.status, 200, "{answer:?}\n{}", daemon.log());
    answer.json()["AccessKeyId"].as_str().expect("a key").to_owned()
}

fn config(ims: &Ims, listen: SocketAddr) -> String {
    format!("{}listen: '{listen}'\n", ims.config())
}

#[test]
fn a_restart_or_a_crash_loses_nothing_while_the_upstream_is_down() {
    let (mut manager, mut ims) = (Manager::new(), Ims::start(Behaviour::default()));
    let config = config(&ims, free_port());
    let mut daemon = manager.start(&config);
    manager.wait_for("FDSTORE=1\nFDNAME=alppaca-sets-");
    let held = key(&daemon);
    ims.stop();
    for round in 0..4 {
        // SIGTERM, then SIGKILL.
        if round % 2 == 0 {
            assert_eq!(daemon.stop(), Some(0));
        }
        drop(daemon);
        let names = manager.names();
        // A process that was killed may have left the set before the last one, too.
        let most = 1 + round % 2;
        let sets = names.iter().filter(|name| name.starts_with("alppaca-sets-")).count();
        assert!((1..=most).contains(&sets), "{names:?}");
        assert_eq!(names.iter().filter(|name| **name == "alppaca-listener-imds").count(), 1, "{names:?}");
        daemon = manager.start(&config);
        assert_eq!(get(daemon.address(), LIST).body, "test_role", "round {round}");
        assert_eq!(key(&daemon), held, "round {round}");
        manager.wait_for("READY=1");
        manager.wait_for("FDSTORE=1\nFDNAME=alppaca-sets-");
    }
    assert!(daemon.log().contains("1 set(s) of credentials were held before the restart"), "{}", daemon.log());
}

#[test]
fn what_is_kept_cannot_be_changed_and_no_program_inherits_it() {
    let (mut manager, ims) = (Manager::new(), Ims::start(Behaviour::default()));
    let listen = free_port();
    let mut daemon = manager.start(&config(&ims, listen));
    manager.wait_for("FDSTORE=1\nFDNAME=alppaca-sets-");
    daemon.stop();
    let (_, descriptor) =
        manager.stored.iter().find(|(name, _)| name.starts_with("alppaca-sets-")).expect("it is stored");
    assert!(rustix::io::write(descriptor, b"x").is_err(), "it is sealed");
    let (program, seen) = (manager.directory.path().join("login"), manager.directory.path().join("seen"));
    let set = r#"{"Version":1,"AccessKeyId":"ASIAPROC","SecretAccessKey":"s","SessionToken":"t","Expiration":"2099-01-01T00:00:00Z"}"#;
    let script = format!("#!/bin/sh\nls -l /proc/self/fd > {}\necho '{set}'\n", seen.display());
    fs::write(&program, script).expect("a file");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("own");
    let process = format!(
        "listen: '{listen}'\nsources:\n  login: {{kind: process, command: {}}}\nroles:\n  made: {{source: login}}\n",
        program.display()
    );
    let daemon = manager.start(&process);
    daemon.wait_for_log(" fetched ");
    let seen = fs::read_to_string(seen).expect("written");
    assert!(seen.contains("/dev/null") && !seen.contains("memfd") && !seen.contains("socket:"), "{seen}");
    assert_eq!(get(listen, DOCUMENT).status, 404, "the configuration does not name that role any more");
}

#[test]
fn a_damaged_file_is_ignored_and_so_are_sets_of_another_role() {
    let (mut manager, ims) = (Manager::new(), Ims::start(Behaviour::default()));
    let config = config(&ims, free_port());
    let mut daemon = manager.start(&config);
    manager.wait_for("FDSTORE=1\nFDNAME=alppaca-sets-");
    daemon.stop();
    drop(daemon);
    manager.names();
    let good = manager.stored.iter().position(|(name, _)| name.starts_with("alppaca-sets-")).expect("it is stored");
    let (name, _) = manager.stored.remove(good);
    let file = rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::CLOEXEC).expect("memory");
    rustix::io::write(&file, b"alppaca handover 1\ngarbage").expect("room");
    manager.stored.push((name, file));
    let daemon = manager.start(&config);
    daemon.wait_for_log("is not used: ");
    daemon.wait_for_log(" fetched ");
}

/// What was measured.
#[derive(Debug)]
struct Measured {
    tally: Tally,
    /// From each start after a crash to the first answer.
    first_answers: Vec<Duration>,
}

/// Has programs ask all the time while the daemon is restarted, and killed, so often, without an upstream.
#[allow(clippy::disallowed_methods, reason = "what programs see is measured by the real clock")]
fn restarted(restarts: usize, kills: usize, rate: u32) -> Measured {
    let (mut manager, mut ims) = (Manager::new(), Ims::start(Behaviour::default()));
    let listen = free_port();
    let config = config(&ims, listen);
    let mut daemon = manager.start(&config);
    manager.wait_for("FDSTORE=1\nFDNAME=alppaca-sets-");
    let held = key(&daemon);
    ims.stop();
    let load = Load::start(listen, &head(DOCUMENT), &held, rate);
    let mut first_answers = Vec::new();
    for round in 0..restarts + kills {
        load.wait_for(usize::try_from(rate / 10).expect("a number"));
        // Spread evenly.
        let kill = (round + 1) * kills / (restarts + kills) > round * kills / (restarts + kills);
        if !kill {
            assert_eq!(daemon.stop(), Some(0));
        }
        drop(daemon);
        // It waits in the queue of the socket, which is all that is there now.
        let waiting = TcpStream::connect(listen).expect("the port is open");
        let first = thread::spawn(move || {
            let answer = ask_on(waiting, &head(DOCUMENT));
            (answer, Instant::now())
        });
        let began = Instant::now();
        daemon = manager.start(&config);
        manager.wait_for("READY=1");
        let (answer, at) = first.join().expect("no panic");
        assert!(answer.expect("an answer").contains(&held), "round {round}");
        if kill {
            first_answers.push(at.duration_since(began));
        }
    }
    load.wait_for(100);
    Measured { tally: load.stop(), first_answers }
}

#[test]
fn clients_do_not_notice_restarts() {
    let Measured { tally, .. } = restarted(10, 0, 300);
    assert!(tally.failed.is_empty() && tally.cut == 0, "{tally:?}");
}

#[test]
fn clients_are_answered_at_once_after_a_crash() {
    let Measured { tally, first_answers } = restarted(3, 3, 300);
    assert!(tally.failed.is_empty(), "{tally:?}");
    // Only what was being answered.
    assert!(tally.cut <= 3 * PROGRAMS, "{tally:?}");
    // A debug build on a machine that does much else.
    assert!(first_answers.iter().all(|first| *first < Duration::from_secs(3)), "{first_answers:?}");
}

#[test]
#[ignore = "takes the whole machine; its figures are in docs/restarts.md"]
#[allow(clippy::print_stderr, reason = "it is run for its figures")]
fn a_thousand_requests_a_second_over_fifty_restarts_and_ten_crashes() {
    let measured = restarted(50, 10, 1000);
    eprintln!("{measured:?}");
    assert!(measured.tally.failed.is_empty(), "{measured:?}");
    assert!(measured.first_answers.iter().all(|first| *first < Duration::from_millis(100)), "{measured:?}");
}

#[test]
fn programs_of_exec_keep_their_port() {
    let (mut manager, mut ims) = (Manager::new(), Ims::start(Behaviour::default()));
    let run = manager.directory.path().join("run");
    let config = format!("{}run_dir: {}\n", config(&ims, free_port()), run.display());
    let mut daemon = manager.start(&config);
    manager.wait_for("FDSTORE=1\nFDNAME=alppaca-listener-exec");
    manager.wait_for("FDSTORE=1\nFDNAME=alppaca-sets-");
    let script = "echo \"$AWS_CONTAINER_CREDENTIALS_FULL_URI\"; echo \"$AWS_CONTAINER_AUTHORIZATION_TOKEN\"; read line";
    let mut program = Command::new(env!("CARGO_BIN_EXE_alppaca"));
    program.arg("exec").arg("--socket").arg(run.join("alppaca.sock")).args(["--", "sh", "-c", script]);
    let mut program = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(program.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let (url, token) = (lines.next().expect("a URL"), lines.next().expect("a token"));
    let (address, path) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).expect("a URL");
    let (address, head) = (
        address.parse::<SocketAddr>().expect("an address"),
        format!("{}Authorization: {token}\r\n", head(&format!("/{path}"))),
    );
    ims.stop();
    // A crash within a second of it may lose the token, but never the port.
    let leases = run.join("alppaca.leases");
    while !leases.exists() {
        thread::yield_now();
    }
    for round in 0..4 {
        if round % 2 == 0 {
            assert_eq!(daemon.stop(), Some(0));
        }
        drop(daemon);
        assert!(TcpListener::bind(address).is_err(), "round {round}: nobody else can take the port");
        let waiting = TcpStream::connect(address).expect("the port is open");
        daemon = manager.start(&config);
        let answer = ask_on(waiting, &head).expect("an answer");
        assert!(answer.contains("AccessKeyId"), "round {round}: {answer}");
        manager.wait_for("FDSTORE=1\nFDNAME=alppaca-listener-exec");
    }
    drop(program.stdin.take());
    program.wait().expect("it ends");
}
