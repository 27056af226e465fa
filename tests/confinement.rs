//! The sandbox, by trying: code in a process that is confined as the daemon is tries what an attacker in it would. Each
//! attempt is made without the sandbox, too, where it works: else it would show nothing.

mod support;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Seek, SeekFrom},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::{
        fs::{OpenOptionsExt, PermissionsExt},
        process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::Instant,
};

use alppaca::{
    config,
    confinement::{
        Confinement,
        calls::{ALLOWED, Call, HOSTILE},
    },
    daemon::{self, FixedNeeds},
    mock_ims::{Behaviour, LIST_PATH},
};
use rustix::fs::OFlags;
use support::{Daemon, Ims, PATIENCE, cannot, connect_when_listening, get, manager::Manager, needs_root};

/// What the process that tries reads from its environment.
const ATTEMPT: &str = "ALPPACA_TEST_ATTEMPT";
const CONFIG: &str = "ALPPACA_TEST_CONFIG";
const ARGUMENT: &str = "ALPPACA_TEST_ARGUMENT";
/// The signal of a process that has made a hostile system call.
const SIGSYS: i32 = 31;
const DONE: &str = "attempt: done";
const DENIED: &str = "attempt: denied";
const CONFINED: &str = "attempt: confined";

/// The kernel's version of Landlock, as the log of a daemon has it.
fn has_landlock() -> bool {
    let ims = Ims::start(Behaviour::default());
    let line = Daemon::start(&ims.config()).wait_for_log("sandbox: ");
    line.contains("by Landlock") || cannot("Landlock", "this kernel has none")
}

#[test]
fn a_confined_daemon_knows_that_it_can_identify_callers() {
    if !has_landlock() {
        return;
    }
    let ims = Ims::start(Behaviour::default());
    let policy = "policy: {rules: [{match: {user: root}, role: test_role}], default: deny}\n";
    let daemon = Daemon::with_credentials(&format!("{}{policy}sandbox: enforce\n", ims.config()));
    let log = daemon.log();
    assert!(!log.contains("cannot identify") && !log.contains("can be identified"), "{log}");
}

/// What an attempt comes to.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    /// The call failed.
    Denied,
    /// The process was ended.
    Killed,
}

/// Has another process, which is confined by `config` with this mode, try something.
fn attempt(what: &str, argument: &str, mode: &str, config: &str, uid: u32) -> Outcome {
    attempt_after(|_| {}, what, argument, mode, config, uid)
}

/// The same, after something has happened that the process, which has this number, does not do.
fn attempt_after(
    meanwhile: impl FnOnce(u32),
    what: &str,
    argument: &str,
    mode: &str,
    config: &str,
    uid: u32,
) -> Outcome {
    let directory = tempfile::tempdir().expect("a directory");
    let run = directory.path().join("run");
    fs::create_dir(&run).expect("a directory");
    let file = directory.path().join("alppaca.yaml");
    fs::write(&file, format!("{config}sandbox: {mode}\nrun_dir: {}\n", run.display())).expect("a file");
    for path in [directory.path(), &run] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("ours");
    }
    let mut command = Command::new(std::env::current_exe().expect("a test"));
    command
        .args(["--exact", "tries", "--nocapture", "--test-threads=1"])
        .uid(uid)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command.env(ATTEMPT, what).env(CONFIG, &file).env(ARGUMENT, argument);
    let mut child = command.spawn().expect("it runs");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let mut said = String::new();
    while !said.contains(CONFINED) && out.read_line(&mut said).expect("text") > 0 {}
    meanwhile(child.id());
    drop(child.stdin.take());
    out.read_to_string(&mut said).expect("text");
    let status = child.wait().expect("it ends");
    outcome(status, &said).unwrap_or_else(|| panic!("{what} with {mode}: {said}"))
}

fn outcome(status: ExitStatus, out: &str) -> Option<Outcome> {
    match (status.signal(), out.contains(DONE), out.contains(DENIED)) {
        (Some(SIGSYS), ..) => Some(Outcome::Killed),
        (None, true, false) => Some(Outcome::Done),
        (None, false, true) => Some(Outcome::Denied),
        _ => None,
    }
}

/// No test, but the process that tries.
#[test]
#[allow(clippy::disallowed_methods, clippy::print_stdout, reason = "it is another program")]
fn tries() {
    let variable = |name| std::env::var(name).ok();
    let (Some(what), Some(path), Some(argument)) = (variable(ATTEMPT), variable(CONFIG), variable(ARGUMENT)) else {
        return;
    };
    let path = PathBuf::from(path);
    let loaded = config::load(&path).expect("legal");
    let fixed = FixedNeeds {
        config: &loaded.config,
        uid: rustix::process::geteuid().as_raw(),
        session_dir: None,
        taken: Vec::new(),
        authorities: Vec::new(),
        abstract_manager: false,
        traces: None,
        former_files: Vec::new(),
    };
    let needs = daemon::needs(&fixed, &path, &loaded, &alppaca_command::environment::host_env());
    let state = Confinement::new(loaded.config.sandbox.mode, &needs).apply(false);
    assert!(state.problems.is_empty(), "{state:?}");
    println!("\n{CONFINED}");
    std::io::stdin().read_to_string(&mut String::new()).expect("its end");
    println!("\n{}", if try_to(&what, &argument) { DONE } else { DENIED });
}

fn try_to(what: &str, argument: &str) -> bool {
    let pid = || nix::unistd::Pid::from_raw(argument.parse().expect("a number"));
    let raw = |family, protocol| rustix::net::socket(family, rustix::net::SocketType::RAW, protocol).is_ok();
    match what {
        "read" => fs::read(argument).is_ok(),
        "link" => fs::read_link(argument).is_ok(),
        "list" => fs::read_dir(argument).is_ok(),
        "write" => fs::write(argument, "x").is_ok(),
        "append" => fs::OpenOptions::new().append(true).create(true).open(argument).is_ok(),
        "remove" => fs::remove_file(argument).is_ok(),
        "execute" => Command::new(argument).status().is_ok(),
        "trace" => nix::sys::ptrace::attach(pid()).is_ok(),
        "signal" => nix::sys::signal::kill(pid(), nix::sys::signal::Signal::SIGCONT).is_ok(),
        "raw socket" => raw(rustix::net::AddressFamily::INET, Some(rustix::net::ipproto::ICMP)),
        "packet socket" => raw(rustix::net::AddressFamily::PACKET, None),
        "bind" => TcpListener::bind(argument).is_ok(),
        "connect" => TcpStream::connect(argument).is_ok(),
        // Two ways past Landlock's rules for ports, which are about plain TCP and the system call `connect`.
        "multipath" => stream_socket(Some(rustix::net::ipproto::MPTCP)).is_ok(),
        "fast open" => {
            let (socket, address) = (stream_socket(None).expect("TCP"), argument.parse::<SocketAddr>().expect("one"));
            let flags = rustix::net::SendFlags::from_bits_retain(0x2000_0000);
            rustix::net::sendto(&socket, b"x", flags, &address).is_ok()
        }
        "become" => rustix::process::getuid().is_root() && nix::unistd::setuid(nix::unistd::Uid::from_raw(1)).is_ok(),
        "lay open" => nix::sys::prctl::set_dumpable(true).is_ok(),
        "unlisted" => nix::unistd::sethostname(nix::unistd::gethostname().expect("a name")).is_ok(),
        _ => panic!("an unknown attempt: {what}"),
    }
}

fn stream_socket(protocol: Option<rustix::net::Protocol>) -> rustix::io::Result<std::os::fd::OwnedFd> {
    rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, protocol)
}

/// A server that every process may connect to.
fn server() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

fn config(ims: SocketAddr) -> String {
    format!("ims_protocol: http\nims_host: 127.0.0.1\nims_port: {}\n", ims.port())
}

/// Each attempt works without the sandbox, and comes to this with it.
fn each_comes_to(uid: u32, attempts: &[(&str, &str, Outcome)]) {
    let (_ims, ims) = server();
    for (what, argument, expected) in attempts {
        let config = config(ims);
        assert_eq!(attempt(what, argument, "off", &config, uid), Outcome::Done, "{what} {argument} without it");
        assert_eq!(attempt(what, argument, "enforce", &config, uid), *expected, "{what} {argument} with it");
    }
}

#[test]
fn code_in_the_daemon_reaches_no_other_file_and_no_other_port() {
    if !needs_root("the files of other users") || !has_landlock() {
        return;
    }
    let other = tempfile::tempdir().expect("a directory");
    fs::set_permissions(other.path(), fs::Permissions::from_mode(0o777)).expect("ours");
    let (readable, new) = (other.path().join("theirs"), other.path().join("new"));
    fs::write(&readable, "another user's").expect("a file");
    let path = |path: &Path| path.to_str().expect("text").to_owned();
    let (_server, server) = server();
    let server = server.to_string();
    let mut process = Command::new("sleep").arg("1000").spawn().expect("it runs");
    let pid = process.id().to_string();
    each_comes_to(
        0,
        &[
            ("read", &path(&readable), Outcome::Denied),
            ("list", &path(other.path()), Outcome::Denied),
            ("list", "/root", Outcome::Denied),
            ("write", &path(&new), Outcome::Denied),
            ("link", &format!("/proc/{pid}/exe"), Outcome::Denied),
            ("signal", &pid, Outcome::Denied),
            ("bind", "127.0.0.1:0", Outcome::Denied),
            ("connect", &server, Outcome::Denied),
            ("fast open", &server, Outcome::Denied),
        ],
    );
    if fs::read_to_string("/proc/sys/net/mptcp/enabled").is_ok_and(|enabled| enabled.trim() == "1") {
        each_comes_to(0, &[("multipath", "", Outcome::Denied)]);
    }
    process.kill().and_then(|()| process.wait()).expect("ours");
}

#[test]
fn what_only_an_attacker_would_do_ends_the_daemon() {
    if !needs_root("raw sockets and other users' processes") {
        return;
    }
    let mut process = Command::new("sleep").arg("1000").spawn().expect("it runs");
    let pid = process.id().to_string();
    each_comes_to(
        0,
        &[
            ("execute", "/bin/true", Outcome::Killed),
            ("trace", &pid, Outcome::Killed),
            ("raw socket", "", Outcome::Killed),
            ("packet socket", "", Outcome::Killed),
            ("become", "", Outcome::Killed),
            ("lay open", "", Outcome::Killed),
            ("unlisted", "", Outcome::Killed),
        ],
    );
    process.kill().and_then(|()| process.wait()).expect("ours");
}

#[test]
#[allow(clippy::disallowed_methods, reason = "the kernel leaves out messages while there are many")]
fn the_kernel_logs_what_ends_the_daemon_and_what_a_report_would() {
    const WHAT: &str = "the log of the kernel";
    if !needs_root(WHAT) {
        return;
    }
    let is_taken = fs::read_dir("/proc")
        .expect("it is there")
        .flatten()
        .any(|process| fs::read_to_string(process.path().join("comm")).is_ok_and(|program| program == "auditd\n"));
    let open =
        || fs::OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open("/dev/kmsg");
    // The kernel knows processes by their numbers in the first namespace.
    let is_elsewhere = fs::read_link("/proc/self/ns/pid").is_ok_and(|name| name.as_os_str() != "pid:[4026531836]");
    let is_off =
        fs::read_to_string("/proc/cmdline").is_ok_and(|line| line.split_whitespace().any(|word| word == "audit=0"));
    if is_taken || is_elsewhere || is_off || open().is_err() {
        cannot(WHAT, "auditd takes the messages, audit=0, another PID namespace, or /dev/kmsg cannot be read");
        return;
    }
    let (_ims, ims) = server();
    for (mode, expected, sig) in [("enforce", Outcome::Killed, "sig=31"), ("report", Outcome::Done, "sig=0")] {
        let is_logged = || {
            let mut messages = open().expect("it could be opened");
            messages.seek(SeekFrom::End(0)).expect("it has an end");
            let mut pid = 0;
            let what = "raw socket";
            assert_eq!(attempt_after(|own| pid = own, what, "", mode, &config(ims), 0), expected, "{mode}");
            let (mut message, own) = ([0; 8192], format!(" pid={pid} "));
            // A message is overwritten if it is read too late (EPIPE); none is left (EAGAIN).
            std::iter::from_fn(|| messages.read(&mut message).ok().map(|length| message[..length].to_vec())).any(
                |line| {
                    let line = String::from_utf8_lossy(&line).into_owned();
                    line.contains("type=1326 ") && line.contains(&own) && line.contains(sig)
                },
            )
        };
        let began = Instant::now();
        while !is_logged() {
            assert!(began.elapsed() < PATIENCE, "{mode}");
        }
    }
}

#[test]
fn what_the_configuration_names_is_reached_with_the_sandbox_as_well() {
    let (_server, server) = server();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("token");
    fs::write(&file, "of the configuration").expect("a file");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    let named = format!("{}ims_identity: {{kind: token, file: {}}}\n", config(server), file.display());
    let uid = rustix::process::getuid().as_raw();
    assert_eq!(attempt("read", file.to_str().expect("text"), "enforce", &named, uid), Outcome::Done);
    assert_eq!(attempt("connect", &server.to_string(), "enforce", &named, uid), Outcome::Done);
    assert_eq!(attempt("read", "/etc/passwd", "enforce", &named, uid), Outcome::Done);
}

/// Kubernetes switches `..data`, certbot the links in `live`, and deployments `current`: the file is elsewhere then.
#[test]
fn files_behind_links_that_are_switched_are_read_after_the_switch_as_well() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    let root = directory.path().canonicalize().expect("there");
    let make = |file: &str| {
        let file = root.join(file);
        fs::create_dir_all(file.parent().expect("in one")).expect("ours");
        fs::write(file, "t").expect("a file");
    };
    let link = |to: &str, at: &str| {
        let (new, at) = (root.join("new-link"), root.join(at));
        fs::create_dir_all(at.parent().expect("in one")).expect("ours");
        std::os::unix::fs::symlink(to, &new).and_then(|()| fs::rename(&new, at)).expect("a link");
    };
    let uid = rustix::process::getuid().as_raw();
    let (_ims, ims) = server();
    let absolute = |to: &str| root.join(to).to_str().expect("text").to_owned();
    for (switched, first, second, path) in [
        ("secret/..data", "..first", "..second", "secret/token"),
        ("secret/..data", "..first", "..second", "secret/..data/token"),
        ("live/host/token", "../../archive/host/token1", "../../archive/host/token2", "live/host/token"),
        ("app/current", "releases/1", "releases/2", "app/current/token"),
        ("app/current", &absolute("app/releases/1"), &absolute("app/releases/2"), "app/current/token"),
    ] {
        for release in ["secret/..first/token", "archive/host/token1", "app/releases/1/token"] {
            make(release);
        }
        for release in ["secret/..second", "archive/host/token2", "app/releases/2"] {
            let _none_yet = fs::remove_file(root.join(release)).or_else(|_| fs::remove_dir_all(root.join(release)));
        }
        link("..data/token", "secret/token");
        link(first, switched);
        let switch = || {
            for release in ["secret/..second/token", "archive/host/token2", "app/releases/2/token"] {
                make(release);
            }
            link(second, switched);
        };
        let named = format!("{}ims_identity: {{kind: token, file: {}}}\n", config(ims), root.join(path).display());
        let reached = attempt_after(|_| switch(), "read", &absolute(path), "enforce", &named, uid);
        assert_eq!(reached, Outcome::Done, "{path}: {switched} -> {second}");
    }
}

/// What is needed beyond what the configuration says: by a module of the name service, for example.
#[test]
fn what_sandbox_allow_names_is_reached_and_nothing_beside_it() {
    if !has_landlock() {
        return;
    }
    let other = tempfile::tempdir().expect("a directory");
    for path in [other.path().to_owned(), other.path().join("read"), other.path().join("write")] {
        fs::create_dir_all(&path)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
            .expect("ours");
    }
    let path = |name: &str| other.path().join(name).to_str().expect("text").to_owned();
    for file in ["beside", "read/file"] {
        fs::write(path(file), "x").expect("a file");
    }
    let ((_ims, ims), (_open, open), (_closed, closed)) = (server(), server(), server());
    let allowed = format!(
        "{}sandbox_allow: {{read: {}, write: {}, connect: {}}}\n",
        config(ims),
        path("read"),
        path("write"),
        open.port()
    );
    let uid = rustix::process::getuid().as_raw();
    for (what, argument, with, without) in [
        ("read", path("read/file"), Outcome::Done, Outcome::Denied),
        ("write", path("read/file"), Outcome::Denied, Outcome::Denied),
        ("write", path("write/file"), Outcome::Done, Outcome::Denied),
        ("read", path("beside"), Outcome::Denied, Outcome::Denied),
        ("connect", open.to_string(), Outcome::Done, Outcome::Denied),
        ("connect", closed.to_string(), Outcome::Denied, Outcome::Denied),
    ] {
        assert_eq!(attempt(what, &argument, "enforce", &allowed, uid), with, "{what} {argument} with it");
        assert_eq!(attempt(what, &argument, "enforce", &config(ims), uid), without, "{what} {argument} without it");
    }
    // What is not there opens nothing above it.
    let missing = format!("{}sandbox_allow: {{read: {}, write: {}}}\n", config(ims), path("no/such"), path("missing"));
    for (what, argument) in [("read", path("beside")), ("write", path("write/file")), ("write", path("new"))] {
        assert_eq!(attempt(what, &argument, "enforce", &missing, uid), Outcome::Denied, "{what} {argument}");
    }
}

/// A log may be in a directory with other files, such as a home.
#[test]
fn beside_a_log_no_more_can_be_written_than_its_rotation_needs() {
    use Outcome::{Denied, Done};

    if !has_landlock() {
        return;
    }
    let logs = tempfile::tempdir().expect("a directory");
    fs::set_permissions(logs.path(), fs::Permissions::from_mode(0o777)).expect("ours");
    let path = |name: &str| logs.path().join(name).to_str().expect("text").to_owned();
    let (_ims, ims) = server();
    let uid = rustix::process::getuid().as_raw();
    let handler = |class: &str, more: &str| {
        let module = if class == "FileHandler" { "logging" } else { "logging.handlers" };
        let handler = format!("{{module: {module}, class: {class}, args: ['{}'{more}]}}", path("log"));
        format!("{}logging_handler: {handler}\n", config(ims))
    };
    for (config, append, make, remove) in [
        (handler("FileHandler", ""), Done, Denied, Denied),
        (handler("RotatingFileHandler", ", a, 0, 3"), Done, Denied, Denied),
        (handler("WatchedFileHandler", ""), Done, Done, Denied),
        (format!("{}audit_log: {}\n", config(ims), path("log")), Done, Done, Denied),
        (handler("RotatingFileHandler", ", a, 1000, 3"), Done, Done, Done),
    ] {
        // An audit in a daemon of root's or a person's needs what `/proc` shows.
        let service = config.contains("audit_log");
        if service && uid != 0 {
            continue;
        }
        let uid = if service { 900 } else { uid };
        for file in ["log", "other"] {
            fs::write(path(file), "x")
                .and_then(|()| fs::set_permissions(path(file), fs::Permissions::from_mode(0o666)))
                .expect("ours");
        }
        let _none_yet = fs::remove_file(path("new"));
        let outcome = |what, file: &str| attempt(what, &path(file), "enforce", &config, uid);
        assert_eq!(outcome("append", "log"), append, "{config}");
        assert_eq!(outcome("append", "new"), make, "{config}");
        assert_eq!(outcome("read", "other"), Denied, "{config}");
        assert_eq!(outcome("remove", "other"), remove, "{config}");
    }
}

#[test]
fn a_file_handler_that_begins_a_log_needs_no_directory() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    let ims = Ims::start(Behaviour::default());
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("free").port();
    let config = format!(
        "{}bind_port: {port}\nrun_dir: {}\nlog_level: info\nlogging_handler: {{class: FileHandler, args: ['{}']}}\n",
        ims.config(),
        path("run").display(),
        path("log").display()
    );
    fs::write(path("alppaca.yaml"), config).expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_alppaca"));
    let mut daemon = command.args(["run", "-c"]).arg(path("alppaca.yaml")).spawn().expect("it runs");
    let address = ([127, 0, 0, 1], port).into();
    drop(connect_when_listening(address));
    // It listens for signals before it answers.
    get(address, LIST_PATH);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(daemon.id().cast_signed()), nix::sys::signal::Signal::SIGTERM)
        .expect("ours");
    daemon.wait().expect("it ends");
    let text = fs::read_to_string(path("log")).expect("a log");
    let granted = format!("append to {} (logging_handler: the file)", path("log").display());
    assert!(text.contains(&granted) && text.contains("stopped"), "{text}");
}

#[test]
fn files_that_are_written_among_those_of_others_are_warned_of() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("alppaca.yaml");
    let handler = |path: &str| {
        format!("logging_handler: {{module: logging.handlers, class: WatchedFileHandler, args: ['{path}/none.log']}}")
    };
    for (settings, expected) in [
        (handler("/tmp"), Some("logging_handler: the file is in /tmp, in all of which")),
        (handler("/etc"), Some("logging_handler: the file is in /etc, in all of which")),
        (handler("/home/../root"), Some("logging_handler: the file is in /root, in all of which")),
        ("admin_socket: /tmp/alppaca.sock".to_owned(), Some("admin_socket is in /tmp, in all of which")),
        (format!("{}\nsandbox: off", handler("/tmp")), None),
        (handler(directory.path().to_str().expect("text")), None),
    ] {
        fs::write(&file, format!("ims_host: localhost\nrun_dir: {}\n{settings}\n", directory.path().display()))
            .expect("a file");
        let check = Command::new(env!("CARGO_BIN_EXE_alppaca")).args(["check", "--quiet", "-c"]).arg(&file).output();
        let check = check.expect("it runs");
        let err = String::from_utf8_lossy(&check.stderr).into_owned();
        match expected {
            Some(expected) => assert!(err.contains(&format!("warning: sandbox: {expected}")), "{settings}: {err}"),
            None => assert!(!err.contains("warning: sandbox"), "{settings}: {err}"),
        }
    }
}

/// Files in `/etc` are replaced, so the directory is allowed; which of them may be read the account decides.
#[test]
fn the_account_keeps_the_daemon_from_the_passwords() {
    if !needs_root("another account") {
        return;
    }
    let (_ims, ims) = server();
    assert_eq!(attempt("read", "/etc/shadow", "off", &config(ims), 0), Outcome::Done);
    assert_eq!(attempt("read", "/etc/shadow", "enforce", &config(ims), 65534), Outcome::Denied);
}

#[test]
fn a_report_refuses_nothing() {
    let (_ims, ims) = server();
    let uid = rustix::process::getuid().as_raw();
    for (what, argument) in [("execute", "/bin/true"), ("bind", "127.0.0.1:0"), ("read", "/usr/bin/env")] {
        assert_eq!(attempt(what, argument, "report", &config(ims), uid), Outcome::Done, "{what}");
    }
}

#[test]
fn the_daemon_says_what_is_in_force_and_the_kernel_agrees() {
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&ims.config());
    let line = daemon.wait_for_log("sandbox: ");
    assert!(line.contains("system calls: ") && line.contains("no new privileges, not dumpable"), "{line}");
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("it runs");
    for wanted in ["Seccomp:\t2", "NoNewPrivs:\t1"] {
        assert!(status.contains(wanted), "{wanted}: {status}");
    }
    // All threads, those that were started later, too.
    for thread in fs::read_dir(format!("/proc/{}/task", daemon.pid())).expect("it runs") {
        let status = fs::read_to_string(thread.expect("a thread").path().join("status")).unwrap_or_default();
        assert!(status.is_empty() || status.contains("Seccomp_filters:\t2"), "{status}");
    }
    let off = Daemon::with_credentials(&format!("{}sandbox: off\n", ims.config()));
    assert!(off.wait_for_log("sandbox: ").contains("sandbox: off; system calls: all"));
}

#[test]
fn status_doctor_metrics_and_check_show_what_is_in_force() {
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&format!("{}metrics_listen: '127.0.0.1:0'\n", ims.config()));
    let line = daemon.wait_for_log("sandbox: ");
    let logged = line.split_once("sandbox: ").expect("the line").1.trim().to_owned();
    let alppaca = |arguments: &[&str], socket: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_alppaca"));
        let output = command.args(arguments).env("ALPPACA_SOCKET", socket).output().expect("it runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let (socket, nowhere) = (daemon.socket(), daemon.directory.path().join("no-socket"));
    let text = alppaca(&["status"], &socket);
    assert!(text.contains(&format!("sandbox: {logged}\n")), "{text}");
    let status: serde_json::Value = serde_json::from_str(&alppaca(&["status", "--json"], &socket)).expect("JSON");
    let sandbox = &status["sandbox"];
    assert_eq!((&sandbox["mode"], &sandbox["summary"]), (&"enforce".into(), &logged.into()));
    let own = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("it runs");
    for (part, line) in [("system_calls", "Seccomp:\t2"), ("no_new_privileges", "NoNewPrivs:\t1")] {
        assert_eq!(sandbox["in_force"][part], own.contains(line), "{part}: {own}");
    }
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).expect("it runs");
    let dumps = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
    assert_eq!(sandbox["in_force"]["no_core_dumps"], dumps.split_whitespace().nth(5) == Some("0"), "{dumps}");
    let line = daemon.wait_for_log("metrics at ");
    let address = line.split("metrics at ").nth(1).and_then(|text| text.trim().parse().ok()).expect("an address");
    let metrics = get(address, "/metrics").body;
    for (part, is) in sandbox["in_force"].as_object().expect("a mapping") {
        let is = u8::from(is.as_bool().expect("a truth"));
        let series = format!("alppaca_sandbox_in_force{{part=\"{part}\"}} {is}\n");
        assert!(metrics.contains(&series), "{series}: {metrics}");
    }
    let version = sandbox["landlock"].as_u64().unwrap_or_default();
    assert!(metrics.contains(&format!("alppaca_sandbox_landlock_version {version}\n")), "{metrics}");
    assert!(metrics.contains("alppaca_sandbox_info{mode=\"enforce\"} 1\n"), "{metrics}");
    let doctor = alppaca(&["doctor"], &socket);
    assert!(doctor.contains("sandbox of the daemon: files and ports"), "{doctor}");
    // Before a start as well.
    let file = daemon.directory.path().join("alppaca.yaml");
    let check = alppaca(&["check", "-c", file.to_str().expect("text")], &nowhere);
    let expected = check.lines().find_map(|line| line.strip_prefix("# on this kernel: ")).expect("a line");
    assert!(text.contains(&format!("sandbox: {expected}; ")), "{expected}: {text}");
    let doctor = alppaca(&["doctor"], &nowhere);
    let kernel = if version > 0 { format!("has Landlock {version}") } else { "has no Landlock".to_owned() };
    assert!(doctor.contains(&format!("a daemon on this kernel {kernel}")), "{doctor}");
    let report = Daemon::with_credentials(&format!("{}sandbox: report\n", ims.config()));
    let doctor = alppaca(&["doctor"], &report.socket());
    assert!(doctor.contains("note     sandbox of the daemon: report only"), "{doctor}");
}

#[test]
fn the_reasons_of_the_sandbox_are_for_those_who_see_everything() {
    if !needs_root("another user") {
        return;
    }
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&ims.config());
    let mut command = Command::new(env!("CARGO_BIN_EXE_alppaca"));
    command.args(["status", "--json", "--socket"]).arg(daemon.socket()).uid(65534);
    let output = command.output().expect("it runs");
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (&status["sandbox"]["mode"], &status["sandbox"]["summary"]),
        (&"enforce".into(), &().into()),
        "{status}"
    );
}

#[test]
fn a_reload_that_needs_more_is_refused_and_the_former_configuration_stays() {
    if !has_landlock() {
        return;
    }
    let (ims, other) = (Ims::start(Behaviour::default()), Ims::start(Behaviour::default()));
    let daemon = Daemon::with_credentials(&ims.config());
    let file = daemon.directory.path().join("alppaca.yaml");
    let before = fs::read_to_string(&file).expect("a configuration");
    let elsewhere = tempfile::tempdir().expect("a directory");
    let token = elsewhere.path().join("token");
    fs::write(&token, "t").expect("a file");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).expect("ours");
    for (count, (more, lacking)) in [
        (
            before.replace(&ims.config(), &other.config()),
            format!("port {} (source ims: the IMS)", other.address.port()),
        ),
        (
            format!("{before}ims_identity: {{kind: token, file: {}}}\n", token.display()),
            "(source ims: identity)".into(),
        ),
        (
            format!("{before}sources: {{p: {{kind: process, command: [/bin/true]}}}}\n"),
            "another program, or other arguments (source p: /bin/true".into(),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        fs::write(&file, more).expect("written");
        daemon.hang_up();
        daemon.wait_for_count("needs a restart, and nothing has been changed", count + 1);
        daemon.wait_for_log(&lacking);
        assert_eq!(get(daemon.address(), LIST_PATH).body, "test_role");
    }
    fs::write(&file, before).expect("written");
    daemon.hang_up();
    daemon.wait_for_log("the configuration has been reloaded");
}

/// The tables of system calls in the documentation.
#[test]
#[allow(clippy::disallowed_methods, reason = "a developer asks for rewriting through the environment")]
fn the_documentation_has_every_system_call_as_the_code_has_it() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/sandbox.md");
    let text = fs::read_to_string(&path).expect("text");
    let (before, rest) = text.split_once("<!-- generated: calls -->\n").expect("a marker");
    let (generated, after) = rest.split_once("<!-- end -->").expect("a marker");
    let tables = format!("{}\n{}", table("allowed for", ALLOWED), table("hostile, since", HOSTILE));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let text = format!("{before}<!-- generated: calls -->\n{tables}<!-- end -->{after}");
        fs::write(&path, text).expect("writable");
        return;
    }
    assert_eq!(generated, tables, "run UPDATE_DOCS=1 cargo test --test confinement");
}

/// A row for each reason.
fn table(head: &str, calls: &[Call]) -> String {
    let mut rows: Vec<(&str, Vec<String>)> = Vec::new();
    for call in calls {
        let restriction = if call.only.is_empty() { String::new() } else { format!(" ({})", call.restriction) };
        let name = format!("`{}`{restriction}", call.name);
        match rows.iter_mut().find(|(reason, _)| *reason == call.reason) {
            Some((_, names)) => names.push(name),
            None => rows.push((call.reason, vec![name])),
        }
    }
    let rows = rows.into_iter().map(|(reason, names)| format!("| {reason} | {} |\n", names.join(", ")));
    format!("| {head} | system calls |\n|---|---|\n{}", rows.collect::<String>())
}

/// A source with a program that reads what the daemon may not, and the role that it gives, which is soon fetched again.
fn program_source(directory: &Path) -> String {
    let program = directory.join("login");
    let script = r#"#!/bin/sh
ls / >/dev/null || exit 1
end=$(date -u -d '+18 seconds' +%Y-%m-%dT%H:%M:%SZ)
echo '{"Version":1,"AccessKeyId":"ASIAPROC","SecretAccessKey":"wJalr","SessionToken":"IQoJ","Expiration":"'$end'"}'
"#;
    fs::write(&program, script).expect("a file");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("ours");
    format!(
        "sources: {{ext: {{kind: process, command: ['{}']}}}}\nroles: {{app: {{source: ext}}}}\n",
        program.display()
    )
}

fn kill_helper(daemon: &Daemon) {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", daemon.pid())).expect("it runs");
    let helper: i32 = children.trim().parse().expect("one child");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(helper), nix::sys::signal::Signal::SIGKILL).expect("ours");
}

#[test]
fn a_helper_runs_the_programs_and_the_daemon_stays_confined() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut daemon = Daemon::with_credentials(&program_source(directory.path()));
    let answer = daemon.get(&format!("{LIST_PATH}app"));
    assert_eq!(answer.json()["AccessKeyId"], "ASIAPROC", "{answer:?}");
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("it runs");
    assert!(status.contains("Seccomp:\t2"), "{status}");
    kill_helper(&daemon);
    // Nothing starts the daemon again here, so it serves what it has.
    daemon.wait_for_log("the helper that runs the programs of sources has ended: ");
    daemon.wait_for_log("the helper of the daemon that starts programs has ended; restart the daemon");
    assert_eq!(daemon.get(&format!("{LIST_PATH}app")).status, 200);
    assert!(daemon.ended().is_none());
}

#[test]
fn under_a_service_manager_the_daemon_ends_with_its_helper() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut manager = Manager::new();
    let mut daemon = manager.start(&program_source(directory.path()));
    manager.wait_for("READY=1");
    kill_helper(&daemon);
    daemon.wait_for_log("the helper that runs the programs of sources has ended, and so does the daemon");
    let ended = std::iter::repeat_with(|| daemon.ended()).flatten().next();
    assert_eq!(ended.and_then(|status| status.code()), Some(1));
}
