//! Restarts under a service manager that keeps descriptors: nothing is lost, even if the upstream is down.

mod support;

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use alppaca::mock_ims::{Answer, Behaviour};
use support::{
    Daemon, Ims, Over, get,
    load::{Load, PROGRAMS, Tally, ask_on, head},
    manager::Manager,
    needs_root,
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

#[test]
fn what_a_newer_version_has_kept_keeps_no_older_one_from_starting() {
    let (mut manager, ims) = (Manager::new(), Ims::start(Behaviour::default()));
    let config = config(&ims, free_port());
    let mut daemon = manager.start(&config);
    manager.wait_for("FDSTORE=1\nFDNAME=alppaca-sets-");
    let held = key(&daemon);
    daemon.stop();
    drop(daemon);
    let memory = rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::CLOEXEC).expect("memory");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    manager.names();
    // Before those that are known, whose places must not change.
    manager.stored.insert(0, ("alppaca-of-tomorrow".to_owned(), memory));
    manager.stored.insert(1, ("alppaca-listener-of-tomorrow".to_owned(), listener.into()));
    let daemon = manager.start(&config);
    let told = daemon.wait_for_log("another version");
    assert!(told.ends_with(": alppaca-of-tomorrow, alppaca-listener-of-tomorrow"), "{told}");
    assert_eq!(key(&daemon), held);
    manager.wait_for("FDSTOREREMOVE=1\nFDNAME=alppaca-listener-of-tomorrow");
    assert!(manager.names().iter().all(|name| !name.ends_with("-of-tomorrow")));
    assert!(TcpStream::connect(address).is_err(), "it is closed");
}

#[test]
fn a_socket_of_a_unit_is_used_though_its_name_could_be_the_daemons() {
    let (mut manager, ims) = (Manager::new(), Ims::start(Behaviour::default()));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    manager.stored.push(("alppaca-site".to_owned(), listener.into()));
    let daemon = manager.start(&config(&ims, address));
    manager.wait_for("READY=1");
    TcpStream::connect(address).expect("it listens");
    assert!(!daemon.log().contains("another version"), "{}", daemon.log());
    assert!(!daemon.log().contains("takes the address"), "{}", daemon.log());
}

#[test]
fn the_socket_of_a_unit_whose_directory_was_removed_is_made_anew_by_the_daemon() {
    let (mut manager, ims) = (Manager::new(), Ims::start(Behaviour::default()));
    let directory = manager.directory.path().join("of_unit");
    let socket = directory.join("alppaca.sock");
    fs::create_dir(&directory).expect("ours");
    let listener = UnixListener::bind(&socket).expect("a socket");
    manager.stored.push(("admin".to_owned(), listener.into()));
    let config = format!("{}admin_socket: {}\n", config(&ims, free_port()), socket.display());
    let mut daemon = manager.start(&config);
    status_at(&socket).expect("it listens at that of the unit");
    daemon.stop();
    drop(daemon);
    fs::remove_dir_all(&directory).expect("ours");
    for _ in 0..2 {
        let mut daemon = manager.start(&config);
        let told = daemon.wait_for_log("the socket unit's file was removed");
        assert!(told.ends_with("restart alppaca.socket alppaca.service"), "{told}");
        manager.wait_for("READY=1");
        // That of the unit had perhaps been open to fewer.
        assert_eq!(fs::metadata(&socket).expect("it is there").permissions().mode() & 0o777, 0o600);
        status_at(&socket).expect("it has made its own");
        daemon.stop();
    }
    // As systemd does when the socket is restarted.
    fs::remove_file(&socket).expect("ours");
    let listener = UnixListener::bind(&socket).expect("a socket");
    manager.names();
    manager.stored.retain(|(name, _)| name != "admin");
    manager.stored.push(("admin".to_owned(), listener.into()));
    let daemon = manager.start(&config);
    status_at(&socket).expect("it listens at that of the unit");
    assert!(!daemon.log().contains("the socket unit's file was removed"), "{}", daemon.log());
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

/// Asks the daemon at its admin socket.
fn status_at(socket: &Path) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(b"GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn credentials_at(socket: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alppaca"));
    command.args(["credentials", "--wait", "60", "--socket"]).arg(socket);
    command
}

/// The daemon stores the admin socket, as `names` says; which of the two it was is in the name.
fn admin_names(manager: &mut Manager) -> Vec<String> {
    let names = manager.names().into_iter().filter(|name| name.starts_with("alppaca-listener-admin-"));
    names.map(ToOwned::to_owned).collect()
}

#[test]
fn commands_wait_while_there_is_no_daemon() {
    let (mut manager, mut ims) = (Manager::new(), Ims::start(Behaviour::default()));
    let run = manager.directory.path().join("run");
    let (config, socket) =
        (format!("{}run_dir: {}\n", config(&ims, free_port()), run.display()), run.join("alppaca.sock"));
    let mut daemon = manager.start(&config);
    manager.wait_for_all(&["FDSTORE=1\nFDNAME=alppaca-sets-", "FDSTORE=1\nFDNAME=alppaca-listener-admin-"]);
    ims.stop();
    let (over, killed) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let _over = Over(&over);
        for _ in 0..3 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let answer = status_at(&socket);
                    let good = matches!(&answer, Ok(answer) if answer.starts_with("HTTP/1.1 200 "));
                    // Of one that is killed only what it has begun is lost; it is never refused.
                    let cut = killed.load(Ordering::Relaxed)
                        && match &answer {
                            Ok(answer) => answer.is_empty(),
                            Err(error) => {
                                [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe].contains(&error.kind())
                            }
                        };
                    assert!(good || cut, "{answer:?}");
                }
            });
        }
        for round in 0..6 {
            killed.store(round % 2 == 1, Ordering::Relaxed);
            if round % 2 == 0 {
                assert_eq!(daemon.stop(), Some(0));
            }
            daemon.kill();
            let before = admin_names(&mut manager);
            assert_eq!(before.len(), 1, "round {round}: {before:?}");
            let command = credentials_at(&socket).stdout(Stdio::piped()).spawn().expect("it runs");
            // There is nobody who could say that it waits now.
            thread::sleep(Duration::from_millis(100));
            daemon = manager.start(&config);
            let output = command.wait_with_output().expect("it ends");
            assert!(output.status.success(), "round {round}: {output:?}");
            manager.wait_for_all(&["READY=1", "FDSTORE=1\nFDNAME=alppaca-listener-admin-"]);
            assert_eq!(admin_names(&mut manager), before, "the same socket goes on");
            killed.store(false, Ordering::Relaxed);
        }
    });
}

#[test]
fn an_admin_socket_that_is_not_the_one_at_its_path_is_made_anew() {
    let (mut manager, ims) = (Manager::new(), Ims::start(Behaviour::default()));
    let run = manager.directory.path().join("run");
    let (config, socket) =
        (format!("{}run_dir: {}\n", config(&ims, free_port()), run.display()), run.join("alppaca.sock"));
    let mut daemon = manager.start(&config);
    manager.wait_for("FDSTORE=1\nFDNAME=alppaca-listener-admin-");
    let replace: [(&str, &dyn Fn()); 4] = [
        ("gone", &|| fs::remove_file(&socket).expect("ours")),
        ("another, which nobody has", &|| {
            fs::remove_file(&socket).expect("ours");
            drop(UnixListener::bind(&socket).expect("a socket"));
        }),
        ("open to others", &|| {
            fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).expect("ours");
        }),
        ("for fewer", &|| fs::set_permissions(&socket, fs::Permissions::from_mode(0o600)).expect("ours")),
    ];
    for (what, replace) in replace {
        assert_eq!(daemon.stop(), Some(0));
        let before = admin_names(&mut manager);
        replace();
        daemon = manager.start(&config);
        manager.wait_for("FDSTORE=1\nFDNAME=alppaca-listener-admin-");
        let answer = status_at(&socket).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{what}: {answer}");
        let mode = fs::symlink_metadata(&socket).expect("there").permissions().mode();
        assert_eq!(mode & 0o7777, 0o666, "{what}");
        let after = admin_names(&mut manager);
        assert!(after.len() == 1 && after != before, "{what}: {before:?} {after:?}");
        assert_eq!(
            fs::read_dir(&run)
                .expect("ours")
                .filter(|entry| {
                    entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().ends_with(".new"))
                })
                .count(),
            0,
            "{what}"
        );
    }
    // One at which somebody else listens stays theirs.
    assert_eq!(daemon.stop(), Some(0));
    fs::remove_file(&socket).expect("ours");
    let theirs = UnixListener::bind(&socket).expect("a socket");
    let daemon = manager.start(&config);
    daemon.wait_for_log("another daemon answers there");
    drop(theirs);
}

#[test]
fn the_admin_socket_follows_its_group_over_a_restart() {
    if !needs_root("handover: admin_group") {
        return;
    }
    let (mut manager, ims) = (Manager::new(), Ims::start(Behaviour::default()));
    let run = manager.directory.path().join("run");
    let (config, socket) =
        (format!("{}run_dir: {}\n", config(&ims, free_port()), run.display()), run.join("alppaca.sock"));
    let mut daemon = manager.start(&config);
    manager.wait_for("FDSTORE=1\nFDNAME=alppaca-listener-admin-");
    for (more, gid, mode) in [("admin_group: daemon\n", 1, 0o660), ("admin_group: bin\n", 2, 0o660), ("", 0, 0o666)] {
        assert_eq!(daemon.stop(), Some(0));
        let before = admin_names(&mut manager);
        daemon = manager.start(&format!("{config}{more}"));
        manager.wait_for("FDSTORE=1\nFDNAME=alppaca-listener-admin-");
        assert!(status_at(&socket).expect("an answer").starts_with("HTTP/1.1 200 "));
        let metadata = fs::symlink_metadata(&socket).expect("there");
        assert_eq!((metadata.gid(), metadata.permissions().mode() & 0o7777), (gid, mode), "{more}");
        let after = admin_names(&mut manager);
        assert!(after.len() == 1 && after != before, "{more}: {before:?} {after:?}");
    }
}

#[test]
fn a_command_that_waits_for_credentials_is_answered_after_a_restart_or_a_crash() {
    let (mut manager, ims) = (Manager::new(), Ims::start(Behaviour::default()));
    let run = manager.directory.path().join("run");
    let (config, socket) = (
        format!("{}run_dir: {}\nready_wait: 100ms\n", config(&ims, free_port()), run.display()),
        run.join("alppaca.sock"),
    );
    ims.handle.update(|behaviour| behaviour.list = Answer::Status(503));
    let mut daemon = manager.start(&config);
    manager.wait_for("FDSTORE=1\nFDNAME=alppaca-listener-admin-");
    let mut waiting = credentials_at(&socket).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut raw = UnixStream::connect(&socket).expect("it listens");
    raw.write_all(b"GET /v1/credentials?wait=60 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it is read");
    // There is nobody who could say that they wait now.
    thread::sleep(Duration::from_millis(300));
    assert_eq!(daemon.stop(), Some(0));
    let mut answer = String::new();
    raw.read_to_string(&mut answer).expect("a whole answer");
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\"Restarting\""), "{answer}");
    daemon = manager.start(&config);
    manager.wait_for("FDSTORE=1\nFDNAME=alppaca-listener-admin-");
    thread::sleep(Duration::from_millis(300));
    daemon.kill();
    assert!(waiting.try_wait().expect("ours").is_none(), "it waits for the next daemon");
    daemon = manager.start(&config);
    ims.handle.update(|behaviour| behaviour.list = Answer::Good);
    let output = waiting.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}\n{}", daemon.log());
}

#[test]
fn a_request_that_has_begun_is_answered_before_the_end() {
    let (mut manager, ims) = (Manager::new(), Ims::start(Behaviour::default()));
    let run = manager.directory.path().join("run");
    let (config, socket) =
        (format!("{}run_dir: {}\n", config(&ims, free_port()), run.display()), run.join("alppaca.sock"));
    let mut daemon = manager.start(&config);
    manager.wait_for("FDSTORE=1\nFDNAME=alppaca-listener-admin-");
    let begin = || {
        let mut stream = UnixStream::connect(&socket).expect("it listens");
        let head = b"POST /v1/exec-token HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{";
        stream.write_all(head).expect("it is read");
        stream
    };
    // One that never ends does not keep the daemon.
    let (mut begun, endless) = (begin(), begin());
    thread::sleep(Duration::from_millis(300));
    let pid = rustix::process::Pid::from_raw(daemon.pid().cast_signed()).expect("not 0");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    daemon.wait_for_log("stopping: SIGTERM");
    begun.write_all(b"}").expect("it is read");
    let mut answer = String::new();
    begun.read_to_string(&mut answer).expect("a whole answer");
    assert!(answer.starts_with("HTTP/1.1 ") && answer.ends_with("}\n"), "{answer}");
    let ended = std::iter::repeat_with(|| daemon.ended()).flatten().next();
    assert_eq!(ended.and_then(|status| status.code()), Some(0));
    daemon.wait_for_log("1 request(s) at the admin socket were not over after 2s");
    drop(endless);
}
